"""The tiles that a network is fed: bands, selection, encoded inputs."""

import functools
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from coslide.config.training import TrainingSettings
from coslide.cube.band import Band, band_mismatch, optional_groups
from coslide.errors import InputError
from coslide.indices.index_sets import index_set, missing_indices
from coslide.pipeline.labelled_scene import LabelledScene
from coslide.samples.augment import Jitter
from coslide.samples.dataset import Raster, Tiles
from coslide.samples.encode import (
    Encoder,
    Moments,
    Normalisation,
    choose_encodings,
    encode_raster,
    read_raster,
    require_finite,
)
from coslide.samples.split import Subset, select_tiles
from coslide.training.fit import TrainingData
from coslide.windows import row_strips

_log = logging.getLogger(__name__)


def prepare_tiles(
    scenes: Sequence[LabelledScene], encoder: Encoder, settings: TrainingSettings, folder: Path
) -> tuple[TrainingData, Encoder]:
    """Prepare the tiles of split scenes; their inputs are left in `folder`, from where they are read when needed.

    The encoder has the normalisation of the training pixels of all scenes then; it is not used where each event is
    normalised by itself.

    Raises
    ------
    InputError
        If no tile is selected, an input is infinite, or the disk is full.
    """
    selected = [select_tiles(scene.split, scene.labels, settings, name=scene.name) for scene in scenes]
    if not any(selected):
        raise InputError(
            f"training.sampling.positive_share: no training tile has more than {settings.sampling.positive_share:g} "
            "landslide; lower it, or set training.sampling.select = 'prevalence'"
        )
    used = [i for i, windows in enumerate(selected) if windows or scenes[i].split.validation]
    for i in set(range(len(scenes))) - set(used):  # found now, not when the training is done; the others are read below
        for rows in row_strips(scenes[i].labels.shape[0]):
            require_finite(scenes[i].scene.read(rows, encoder.bands), encoder.bands, scenes[i].name)
    own = [scenes[i] for i in used]
    rasters, moments = _rasters(own, encoder, folder, by_event=settings.inputs.normalise == "event")
    for band, count in zip(encoder.bands, moments.count, strict=True):
        if not count:
            _log.info(f"warning: band {band.name} has no value on training pixels; it is fed as nodata everywhere")
    augment = settings.augment
    tiles = Tiles(
        rasters,
        [selected[i] for i in used],
        aspect=encoder.aspect,
        groups=list(encoder.groups.values()),
        jitter=Jitter(encoder.dates, augment.jitter_gain, augment.jitter_offset, augment.jitter_band),
    )
    validation = Tiles(rasters, [scene.split.validation for scene in own], subset=Subset.VALIDATION)
    fingerprints = [scene.fingerprint for scene in scenes]
    parts = b"\n".join(scene.split.subsets.tobytes() for scene in scenes)
    made_from = {
        "cube": hashlib.sha256("\n".join(fingerprints).encode()).hexdigest() if fingerprints[1:] else fingerprints[0],
        "parts": hashlib.sha256(parts).hexdigest(),
    }
    data = TrainingData(tiles, encoder.inputs, validation if len(validation) else None, made_from)
    return data, encoder._replace(normalisation=moments.normalisation())


def choose_inputs(scenes: Sequence[LabelledScene], settings: TrainingSettings) -> tuple[Encoder, list[str]]:
    """Choose the bands to train on and how they are fed, and name those that a model may lack.

    The normalisation of the encoder is not known yet. What is left out is logged.

    Raises
    ------
    InputError
        If there is no band, one means something else in another scene, or an encoding does not go with its band.
    """
    indices, lacking = _indices_of(scenes, settings)
    classified = {band.measured for band in indices}
    first, *others = (scene.scene.diagnostics for scene in scenes)
    behind = [band for band in first if band.name in classified and all(band in other for other in others)]
    if settings.inputs.flags:
        indices = [band for band in indices if band.kind != "flag"]
    bands, encodings = choose_encodings([*indices, *behind], settings.inputs.encoding)
    asked = {str(name): how for name, how in settings.inputs.encoding.items()}
    for band, how in zip(bands, encodings, strict=True):
        if how == "ordinal" and asked.get(band.name) == "continuous":
            _log.info(f"{band.name} is fed by its classes: what was measured behind them is not in every cube")
    groups = optional_groups(bands)
    dropped = {bands[i].name for group in groups.values() for i in group} if settings.augment.band_dropout else set()
    optional_bands = [band.name for band in bands if band.name in dropped or band.name in lacking]
    nothing = Normalisation(np.zeros(len(bands), np.float32), np.ones(len(bands), np.float32))
    return Encoder(bands, encodings, tuple(groups) if settings.inputs.flags else (), nothing), optional_bands


def _indices_of(scenes: Sequence[LabelledScene], settings: TrainingSettings) -> tuple[list[Band], list[str]]:
    """Choose the indices of the cubes to train on, and name those that some scene lacks."""
    found: dict[str, Band] = {}
    names = [{band.name for band in scene.scene.inputs} for scene in scenes]
    for scene, own in zip(scenes, names, strict=True):
        if text := band_mismatch(scene.scene.inputs, [band for name, band in found.items() if name in own]):
            raise InputError(f"{scene.name}: does not go with {scenes[0].name}: {text}")
        found |= {band.name: band for band in scene.scene.inputs if band.name not in found}
    lacking = [name for name in found if not all(name in own for own in names)]
    if lacking and settings.inputs.bands == "common":
        _log.info(
            f"left out, as not every event has them: {', '.join(lacking)} (training.inputs.bands = 'all' keeps them)"
        )
        found = {name: band for name, band in found.items() if name not in lacking}
    bands = tuple(found.values())
    if settings.inputs.indices != "all":
        missing = missing_indices(settings.inputs.indices, bands)
        bands = tuple(index_set(settings.inputs.indices, bands))
        note = f"; the cube has no {', '.join(missing)}" if missing else ""
        if bands:
            _log.info(f"indices ({settings.inputs.indices}): {len(bands)} bands{note}")
    if not bands:
        where = f"the cube has no index of set ({settings.inputs.indices})" if found else "the events share no band"
        raise InputError(f"training.inputs.indices: {where}")
    return list(bands), lacking


def _rasters(
    scenes: Sequence[LabelledScene], encoder: Encoder, folder: Path, *, by_event: bool
) -> tuple[list[Raster], Moments]:
    """Encode the inputs of each scene, and take the moments of the training pixels of all."""
    bands, whole, each = encoder.bands, Moments(encoder.bands), []
    for number, scene in enumerate(scenes):
        valid = scene.scene.valid(slice(None))
        where = valid if by_event else valid & (scene.split.subsets == Subset.TRAIN)
        read = functools.partial(scene.scene.read, bands=bands)
        each.append(read_raster(read, folder / f"{number}.npy", bands, where, name=scene.name))
        whole.merge(each[-1])
    rasters = []
    for number, (scene, moments) in enumerate(zip(scenes, each, strict=True)):
        own = (moments if by_event else whole).normalisation()
        inputs = encode_raster(folder / f"{number}.npy", encoder._replace(normalisation=own))
        rasters.append(Raster(inputs, scene.labels, scene.split.subsets, chips=bool(scene.chips)))
    return rasters, whole
