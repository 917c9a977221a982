"""What a network is fed: tiles to train on, and held-out windows to examine it with and to score samples by."""

import functools
import hashlib
import itertools
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coslide.config.training import TrainingSettings
from coslide.cube.band import Band, band_mismatch, optional_groups
from coslide.cube.cube import Cube
from coslide.errors import InputError
from coslide.evaluation.pixels import PixelRates, confusion, scores
from coslide.evaluation.probabilities import apply_temperature
from coslide.evaluation.scores import SampleScores
from coslide.evaluation.scoring import mean_rates
from coslide.indices.index_sets import index_set, missing_indices
from coslide.labels import LANDSLIDE, NODATA
from coslide.mapping.diagnostics import HeldOut
from coslide.mapping.metadata import ModelMetadata
from coslide.mapping.model import Model
from coslide.pipeline.labelled_scene import LabelledScene, Scenes
from coslide.pipeline.scene_predictor import encoder_for
from coslide.samples.augment import Jitter
from coslide.samples.dataset import Raster, Tiles
from coslide.samples.encode import Encoder, Moments, choose_encodings
from coslide.samples.footprint import is_held_out
from coslide.samples.light import Shade
from coslide.samples.rasters import encode_raster, read_raster, require_finite
from coslide.samples.relight import Relighting
from coslide.samples.split import Subset, select_tiles
from coslide.training.fit import TrainingData, require_trainable
from coslide.windows import Window, row_strips

_log = logging.getLogger(__name__)

_MOST_WINDOWS = 32  # enough to see what a depth is worth


def prepare_tiles(
    scenes: Scenes, encoder: Encoder, settings: TrainingSettings, folder: Path, *, normalised: bool = False
) -> tuple[TrainingData, Encoder]:
    """Prepare the tiles of split scenes; their inputs are left in `folder`, from where they are read when needed.

    The encoder has the normalisation of the training pixels of all scenes then, unless it was `normalised` before.

    Raises
    ------
    InputError
        If no tile is selected, an input is infinite, or the disk is full.
    """
    selected = [select_tiles(scene.split, scene.labels, settings, name=scene.name) for scene in scenes]
    if not any(selected):
        how = "lower it, or set training.sampling.select = 'prevalence'"
        why = f"no training tile has more than {settings.sampling.positive_share:g} landslide"
        raise InputError(f"training.sampling.positive_share: {why}; {how}")
    used = [i for i, windows in enumerate(selected) if windows or scenes[i].split.validation]
    for i in set(range(len(scenes))) - set(used):  # found now, not when the training is done; the others are read below
        for rows in row_strips(scenes[i].labels.shape[0]):
            require_finite(scenes[i].scene.read(rows, encoder.bands), encoder.bands, scenes[i].name)
    own = [scenes[i] for i in used]
    rasters, moments = _rasters(own, encoder, folder, keep=normalised)
    for band, count in zip(encoder.bands, moments.count, strict=True):
        if not count:
            _log.info(f"warning: band {band.name} has no value on training pixels; it is fed as nodata everywhere")
    augment, windows, groups = (
        settings.augment,
        [selected[i] for i in used],
        list(optional_groups(encoder.inputs).values()),
    )
    jitter = Jitter(encoder.dates, augment.jitter_gain, augment.jitter_offset, augment.jitter_band)
    lights: list[Jitter | Relighting] = [Relighting.of(encoder.inputs, encoder.light_inputs, chance=augment.relight)]
    lights.append(jitter)
    after = [number for number in encoder.light_inputs if encoder.inputs[number].date != "pre"]
    shade = Shade(after, settings.sampling.shade) if settings.sampling.shade and after else None
    tiles = Tiles(
        rasters,
        windows,
        aspect=encoder.aspect,
        groups=groups,
        lights=lights,
        shade=shade,
        side_px=settings.sampling.tile,
    )
    validation = Tiles(rasters, [scene.split.validation for scene in own], subset=Subset.VALIDATION)
    fingerprints = [scene.fingerprint for scene in scenes]
    cube = hashlib.sha256("\n".join(fingerprints).encode()).hexdigest() if fingerprints[1:] else fingerprints[0]
    made_from = {"cube": cube, "parts": split_fingerprint(scenes)}
    data = TrainingData(tiles, encoder.inputs, validation if len(validation) else None, made_from)
    return data, encoder if normalised else encoder._replace(normalisation=moments.normalisation())


def split_fingerprint(scenes: Scenes) -> str:
    """Hash the subset of each pixel of split scenes, as a training notes it (``parts``)."""
    return hashlib.sha256(b"\n".join(scene.split.subsets.tobytes() for scene in scenes)).hexdigest()


def choose_inputs(scenes: Scenes, settings: TrainingSettings) -> tuple[Encoder, list[str]]:
    """Choose the bands to train on and how they are fed, and name those that a model may lack.

    The encoder does not normalise yet (`prepare_tiles`). What is left out is logged.

    Raises
    ------
    InputError
        If there is no band, one means something else in another scene, or an encoding does not go with its band.
    """
    indices, lacking = _indices_of(scenes, settings)
    first, *others = (scene.scene.diagnostics for scene in scenes)
    shared = [band for band in first if all(band in other for other in others)]
    encoder = _encoder(indices, shared, settings)
    asked = {str(name): how for name, how in settings.inputs.encoding.items()}
    for band, how in zip(encoder.bands, encoder.encodings, strict=True):
        if how == "ordinal" and asked.get(band.name) == "continuous":
            _log.info(f"{band.name} is fed by its classes: what was measured behind them is not in every cube")
    groups = optional_groups(encoder.bands)
    dropped = (
        {encoder.bands[i].name for group in groups.values() for i in group} if settings.augment.band_dropout else set()
    )
    return encoder, [band.name for band in encoder.bands if band.name in dropped or band.name in lacking]


def further_inputs(cube: Cube, indices: Sequence[str], settings: TrainingSettings, known: Sequence[Band]) -> Encoder:
    """Choose inputs that a model which knows some bands is to be fed besides, normalised by all of the cube.

    Parameters
    ----------
    cube
        Has them.
    indices
        Names of indices, or of their bands.
    settings
        ``inputs`` tells how bands are fed.
    known
        Bands that the model is fed.

    Raises
    ------
    InputError
        If the cube has no index of a name, or the model is fed it.
    """
    names = {band.name for band in known}
    for name in indices:
        bands = index_set([name], cube.inputs)
        if not bands:
            has = ", ".join(dict.fromkeys(band.variable for band in cube.inputs))
            raise InputError(f"--indices: found {name}, expected an index of the cube ({has})")
        fed = [band.name for band in _encoder(bands, cube.diagnostics, settings).bands]
        if not fed or names & {*fed}:
            what = ", ".join(one for one in fed if one in names) or "by its flags"
            raise InputError(f"--indices: found {name}, expected what the model is not fed yet ({what})")
    encoder = _encoder(index_set(indices, cube.inputs), cube.diagnostics, settings)
    moments = Moments(encoder.bands)
    for rows in row_strips(cube.shape[0]):
        moments.add(cube.read(rows, encoder.bands), cube.valid(rows))
    return encoder._replace(normalisation=moments.normalisation())


def require_inputs(bands: Sequence[Band], settings: TrainingSettings) -> None:
    """Check, before a cube with these bands is built, that the network of `settings` can be trained on it alone.

    Raises
    ------
    InputError
        If there is no band, an encoding does not go with its band, or the network lacks what it compares.
    """
    indices = _of_set([band for band in bands if band.role == "index"], settings)
    diagnostics = [band for band in bands if band.role == "diagnostic"]
    require_trainable(settings, _encoder(indices, diagnostics, settings).inputs)


def _encoder(indices: Sequence[Band], diagnostics: Sequence[Band], settings: TrainingSettings) -> Encoder:
    """Choose how indices, or what was measured behind them, are fed; not normalised yet."""
    classified = {band.measured for band in indices}
    behind = [band for band in diagnostics if band.name in classified]
    if settings.inputs.flags:
        indices = [band for band in indices if band.kind != "flag"]
    light = settings.inputs.normalise == "event"
    bands, encodings = choose_encodings([*indices, *behind], settings.inputs.encoding, light=light)
    flags = tuple(optional_groups(bands)) if settings.inputs.flags else ()
    return Encoder(bands, encodings, flags, Moments(bands).normalisation())


def _indices_of(scenes: Scenes, settings: TrainingSettings) -> tuple[list[Band], list[str]]:
    """Choose the indices of the cubes to train on, and name those that some scene lacks."""
    found: dict[str, Band] = {}
    own = [_chosen(scene.scene.inputs, settings) for scene in scenes]
    names = [{band.name for band in bands} for bands in own]
    for scene, bands, named in zip(scenes, own, names, strict=True):
        if text := band_mismatch(bands, [band for name, band in found.items() if name in named]):
            raise InputError(f"{scene.name}: does not go with {scenes[0].name}: {text}")
        found |= {band.name: band for band in bands if band.name not in found}
    lacking = [name for name in found if not all(name in own for own in names)]
    if lacking and settings.inputs.bands == "common":
        how = "training.inputs.bands = 'all' keeps them"
        _log.info(f"left out, as not every event has them: {', '.join(lacking)} ({how})")
        found = {name: band for name, band in found.items() if name not in lacking}
    bands = _of_set(list(found.values()), settings)
    if settings.inputs.indices != "all":
        missing = missing_indices(settings.inputs.indices, list(found.values()))
        note = f"; the cube has no {', '.join(missing)}" if missing else ""
        if missing and not isinstance(settings.inputs.indices, str):
            raise InputError(f"training.inputs.indices: found {', '.join(missing)}, which no cube has as an index")
        _log.info(f"indices ({_name_of(settings)}): {len(bands)} bands{note}")
    return bands, lacking


def _of_set(bands: Sequence[Band], settings: TrainingSettings) -> list[Band]:
    """Choose the indices of the set of `settings`, of which there must be some."""
    chosen = _chosen(bands, settings)
    if not chosen:
        where = f"the cube has no index of set ({_name_of(settings)})" if bands else "the events share no band"
        raise InputError(f"training.inputs.indices: {where}")
    return chosen


def _chosen(bands: Sequence[Band], settings: TrainingSettings) -> list[Band]:
    return list(bands) if settings.inputs.indices == "all" else index_set(settings.inputs.indices, bands)


def _name_of(settings: TrainingSettings) -> str:
    chosen = settings.inputs.indices
    return chosen if isinstance(chosen, str) else ", ".join(chosen)


def _rasters(scenes: Scenes, encoder: Encoder, folder: Path, *, keep: bool) -> tuple[list[Raster], Moments]:
    """Encode the inputs of each scene, and take the moments of the training pixels of all.

    With `keep` the normalisation of the encoder stays.
    """
    bands, moments = encoder.bands, Moments(encoder.bands)
    for number, scene in enumerate(scenes):
        where = scene.scene.valid(slice(None)) & (scene.split.subsets == Subset.TRAIN)
        read = functools.partial(scene.scene.read, bands=bands)
        moments.merge(read_raster(read, folder / f"{number}.npy", bands, where, name=scene.name))
    encoder = encoder if keep else encoder._replace(normalisation=moments.normalisation())
    rasters = []
    for number, scene in enumerate(scenes):
        inputs = encode_raster(folder / f"{number}.npy", encoder_for(encoder, scene.scene))
        rasters.append(Raster(inputs, scene.labels, scene.split.subsets))
    return rasters, moments


def held_out_windows(scenes: Scenes, metadata: ModelMetadata) -> HeldOut:
    """Read some of the held-out windows of all scenes, evenly chosen from those with a landslide to score.

    Without any landslide they are chosen from all.

    Parameters
    ----------
    scenes
        Split scenes; pixels that training saw do not count.
    metadata
        Of the model.
    """
    places = [(number, window) for number, scene in enumerate(scenes) for window in scene.split.test]

    def truth(number: int, window: Window) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Find landslides, and what is scored."""
        labels, seen = (raster[window.slices] for raster in (scenes[number].labels, scenes[number].seen))
        return labels == LANDSLIDE, is_held_out(seen) & (labels != NODATA)

    telling = [place for place in places if np.logical_and(*truth(*place)).any()] or places
    numbers = np.unique(np.linspace(0, len(telling) - 1, min(len(telling), _MOST_WINDOWS)).round().astype(int))
    chosen = [telling[number] for number in numbers]
    inputs: list[NDArray[np.float32]] = []
    for number, own in itertools.groupby(chosen, key=lambda place: place[0]):
        inputs += read_windows(scenes[number], [window for _, window in own], metadata)
    landslide, scored = (np.stack(arrays) for arrays in zip(*(truth(*place) for place in chosen), strict=True))
    return HeldOut(np.stack(inputs), landslide, scored)


def read_windows(
    scene: LabelledScene, windows: Sequence[Window], metadata: ModelMetadata
) -> Iterator[NDArray[np.float32]]:
    """Read windows of a scene one after the other, encoded as a model is fed them, (input, row, col).

    Windows that follow each other on the same rows are cut from the same strip, which is decoded once.
    """
    encoder = encoder_for(metadata.encoder, scene.scene)
    for _, row in itertools.groupby(windows, key=lambda window: window.slices[0]):
        own = list(row)
        strip = scene.scene.read(own[0].slices[0], metadata.bands)
        for window in own:
            yield encoder.encode(np.ascontiguousarray(strip[:, :, window.slices[1]]))


def sample_scores(model: Model, scenes: Scenes) -> SampleScores:
    """Score a model on the held-out samples, as Yang et al. (2023) seem to have: averaged over samples, and pooled.

    Every labelled pixel of a sample counts, also one that a training sample shows: these scores are not of held-out
    pixels alone, and only stand beside those that are.
    """
    predictors = model.predictors()
    rows = []
    for scene in scenes:
        test = scene.split.test
        for window, inputs in zip(test, read_windows(scene, test, model.metadata), strict=True):
            labels = scene.labels[window.slices]
            given = np.stack([predict(inputs[None])[0] for predict in predictors]).mean(axis=0)
            recognised = apply_temperature(given, model.metadata.temperature) >= model.metadata.threshold
            rows.append(confusion(recognised, labels == LANDSLIDE, labels != NODATA))
    pooled = scores(*map(sum, zip(*rows, strict=True))).model_dump(include=set(PixelRates.model_fields))
    with_landslide = [scores(*row) for row in rows if row.tp + row.fn]
    return SampleScores(count=len(rows), mean=mean_rates(with_landslide), pooled=PixelRates(**pooled))
