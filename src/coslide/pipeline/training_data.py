"""From the areas to train on to the tiles that a network sees: channels, split, selection, normalisation."""

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rasterio.features import rasterize

from coslide.config.training import TrainingSettings
from coslide.cube.cube import Band, band_mismatch
from coslide.errors import InputError
from coslide.indices.index_sets import index_set, missing_indices
from coslide.io.vector import read_vector
from coslide.labels import LANDSLIDE
from coslide.pipeline.labelled_scene import PATCH, Area
from coslide.samples.augment import Jitter
from coslide.samples.band_groups import band_groups
from coslide.samples.dataset import Raster, Tiles
from coslide.samples.encode import MEASURED, Encoder, chosen_encodings
from coslide.samples.normalise import Moments, Normalisation
from coslide.samples.rasters import encode_raster, read_raster, require_finite
from coslide.samples.selection import select_tiles
from coslide.samples.split import Split, SplitRaster, Subset, split_windows
from coslide.training.fit import require_trainable
from coslide.windows import row_strips

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """What a network is trained on.

    Attributes
    ----------
    encoder, optional_bands
        How bands become the inputs of the network, and the names of the bands that some event lacks or that tiles are
        seen without. The normalisation is that of the training pixels of all events; it is not used where each is
        normalised by itself.
    splits
        Of each area.
    tiles, validation
        The tiles of the training and, where there is one, of the validation part.
    """

    encoder: Encoder
    optional_bands: list[str]
    splits: list[Split]
    tiles: Tiles
    validation: Tiles | None


def prepare_tiles(areas: Sequence[Area], roles: Sequence[Subset], settings: TrainingSettings, folder: Path) -> Prepared:
    """Return the tiles of `areas`; their inputs are left in `folder`, from where they are read as they are needed.

    Parameters
    ----------
    areas, roles
        The ground, and for a split by events the part that each event as a whole belongs to.
    settings
        Channels, split, sampling and normalisation.
    folder
        For the inputs; a temporary place.

    Raises
    ------
    InputError
        If the areas share no channel or differ in its meaning; if the network cannot be trained on them; if the split
        cannot be made or gives no landslide to train on or no ground to score; if an input is infinite; or if the disk
        is full.
    """
    encoder, optional_bands = chosen_inputs(areas, settings)
    bands = encoder.bands
    require_trainable(settings, encoder.names)
    splits = [_split_of(area, role, settings) for area, role in zip(areas, roles, strict=True)]
    _require_ground(areas, splits, settings)
    windows = []
    for area, split in zip(areas, splits, strict=True):
        selection = select_tiles(split, area.labels, settings)
        windows.append(selection.windows)
        if settings.sampling.select == "positive" and split.train:
            _log.info(
                f"{area.name}: {len(selection.windows)} of {len(split.train)} training tiles have more than "
                f"{100 * settings.sampling.positive_share:g} % landslide (Eq. 27) and are kept; landslides cover "
                f"{100 * selection.share_after:.1f} % of them and {100 * selection.share_before:.1f} % of all"
            )
    if not any(windows):
        raise InputError(
            f"training.sampling.positive_share: no training tile has more than "
            f"{settings.sampling.positive_share:g} landslide; lower it, or set training.sampling.select = 'prevalence'"
        )
    used = [i for i, of_one in enumerate(windows) if of_one or splits[i].validation]
    for i in set(range(len(areas))) - set(used):  # found now, not when the training is done; the others are read below
        _require_finite_inputs(areas[i], bands)
    own_areas, own_splits = [areas[i] for i in used], [splits[i] for i in used]
    by_event = settings.inputs.normalise == "event"
    rasters, moments = _rasters(own_areas, own_splits, encoder, folder, by_event=by_event)
    for name in _unseen(moments, bands):
        _log.info(f"warning: band {name} has no value on the training ground; it is fed as missing everywhere")
    tiles = Tiles(
        rasters,
        [windows[i] for i in used],
        directions=encoder.directions,
        groups=list(encoder.groups.values()),
        jitter=Jitter(
            encoder.dates, settings.augment.jitter_gain, settings.augment.jitter_offset, settings.augment.jitter_band
        ),
    )
    validation = Tiles(rasters, [splits[i].validation for i in used], part=Subset.VALIDATION)
    encoder = encoder._replace(normalisation=moments.normalisation())
    return Prepared(encoder, optional_bands, splits, tiles, validation if len(validation) else None)


def chosen_inputs(areas: Sequence[Area], settings: TrainingSettings) -> tuple[Encoder, list[str]]:
    """Choose the bands to train on and how they are fed, and name those that a model may miss.

    The normalisation of the encoder is not known yet. What is left out is said.

    Raises
    ------
    InputError
        If there is no band, one means something else in another area, or an encoding does not go with its band.
    """
    indices, lacking = _indices_of(areas, settings)
    measured = [band for band in areas[0].scene.measured if all(band in area.scene.measured for area in areas)]
    behind = [band for band in measured if band.name in MEASURED.values()]
    if settings.inputs.flags:
        indices = [band for band in indices if band.name != "pre_available"]
    bands, encodings = chosen_encodings([*indices, *behind], settings.inputs.encoding)
    for band, how in zip(bands, encodings, strict=True):
        if how == "ordinal" and settings.inputs.encoding.get(band.name) == "continuous":  # type: ignore[call-overload]
            _log.info(f"{band.name} is fed by its classes: what was measured behind them is not in every cube")
    groups = band_groups([band.name for band in bands])
    dropped = {bands[i].name for group in groups.values() for i in group} if settings.augment.band_dropout else set()
    optional_bands = [band.name for band in bands if band.name in dropped or band.name in lacking]
    nothing = Normalisation(np.zeros(len(bands), np.float32), np.ones(len(bands), np.float32))
    return Encoder(bands, encodings, tuple(groups) if settings.inputs.flags else (), nothing), optional_bands


def _indices_of(areas: Sequence[Area], settings: TrainingSettings) -> tuple[list[Band], list[str]]:
    """Choose the indices of the cubes to train on, and name those that some area lacks."""
    found: dict[str, Band] = {}
    for area in areas:
        if text := band_mismatch(area.scene.bands, [b for b in found.values() if b.name in _names(area)]):
            raise InputError(f"{area.name}: does not go with {areas[0].name}: {text}")
        found.update({band.name: band for band in area.scene.bands if band.name not in found})
    lacking = [name for name in found if not all(name in _names(area) for area in areas)]
    if lacking and settings.inputs.bands == "common":
        _log.info(
            f"left out, as not every event has them: {', '.join(lacking)} (training.inputs.bands = 'all' keeps them)"
        )
        found = {name: band for name, band in found.items() if name not in lacking}
    bands = tuple(found.values())
    if settings.inputs.indices != "all":
        bands = tuple(index_set(settings.inputs.indices, bands))
        missing = missing_indices(settings.inputs.indices, tuple(found.values()))
        note = f"; the cube has no {', '.join(missing)}" if missing else ""
        if bands:
            _log.info(f"indices ({settings.inputs.indices}): {len(bands)} channels{note}")
    if not bands:
        where = f"the cube has no index of set ({settings.inputs.indices})" if found else "the events share no channel"
        raise InputError(f"training.inputs.indices: {where}")
    return list(bands), lacking


def _names(area: Area) -> set[str]:
    return {band.name for band in area.scene.bands}


def _split_of(area: Area, role: Subset, settings: TrainingSettings) -> Split:
    if area.patches and settings.sampling.tile != PATCH:
        raise InputError(
            f"training.sampling.tile: found {settings.sampling.tile}, expected {PATCH}, "
            f"the size of the patches of {area.name}"
        )
    if area.patches and settings.split.scheme == "regions":
        raise InputError(
            f"training.split.scheme: patches have no place, so {area.name} has no regions; expected blocks or events"
        )
    regions = _regions_of(area, settings) if settings.split.scheme == "regions" else None
    return split_windows(area.labels, settings, regions=regions, blocks=area.blocks, role=role)


def _regions_of(area: Area, settings: TrainingSettings) -> SplitRaster | None:
    """Return the `Subset` of each cell as a file of polygons says; None where there is no file."""
    grid, path = area.scene.grid, settings.split.regions
    if path is None or grid is None:
        return None
    frame = read_vector(path, str(grid.crs), what="regions")
    words = frame["part"].astype(str).str.lower().tolist() if "part" in frame.columns else ["test"] * len(frame)
    known = {part.name.lower(): part for part in (Subset.TRAIN, Subset.VALIDATION, Subset.TEST)}
    unknown = sorted(set(words) - set(known))
    if unknown:
        raise InputError(f"{path}: part: found {unknown[0]!r}, expected one of {', '.join(known)}")
    parts = np.full(area.labels.shape, Subset.GUARD if "train" in words else Subset.TRAIN, dtype=np.uint8)
    for name, part in known.items():  # where polygons overlap, the test part has the ground
        outlines = [g for g, word in zip(frame.geometry, words, strict=True) if word == name and not g.is_empty]
        if outlines:
            rasterize(outlines, out=parts, transform=grid.affine, default_value=int(part))
    return parts


def _require_ground(areas: Sequence[Area], splits: Sequence[Split], settings: TrainingSettings) -> None:
    if not any(split.train for split in splits):
        raise InputError("the split leaves no ground to train on; change training.split.scheme or its regions")
    if not any(split.test for split in splits):
        raise InputError("the split leaves no ground to score; change training.split.scheme or its regions")
    if not _landslide_in(Subset.TRAIN, areas, splits):
        raise InputError("the training part holds no landslide; choose another --seed, other regions or a larger area")
    if settings.split.validation_fraction and not any(split.validation for split in splits):
        raise InputError(
            "the split leaves no ground to choose the threshold on; lower training.split.block_windows or "
            "training.split.guard_px, or set training.split.validation_fraction = 0"
        )
    chooses = (
        "keep = 'best'" if settings.optimiser.keep == "best" else "patience" if settings.optimiser.patience else ""
    )
    if chooses and not _landslide_in(Subset.VALIDATION, areas, splits):
        raise InputError(
            f"training.{chooses}: the validation part holds no landslide to choose by; choose another --seed"
        )


def _landslide_in(part: Subset, areas: Sequence[Area], splits: Sequence[Split]) -> bool:
    both = zip(areas, splits, strict=True)
    return any((area.labels[split.parts == part] == LANDSLIDE).any() for area, split in both)


def _require_finite_inputs(area: Area, bands: tuple[Band, ...]) -> None:
    for rows in row_strips(area.labels.shape[0]):
        require_finite(area.scene.read(rows, bands), bands, area.name)


def _rasters(
    areas: Sequence[Area], splits: Sequence[Split], encoder: Encoder, folder: Path, *, by_event: bool
) -> tuple[list[Raster], Moments]:
    """Encode the inputs of each area, and take the moments of the training pixels of all."""
    bands = encoder.bands
    paths = [folder / f"{number}.npy" for number in range(len(areas))]
    whole = Moments(bands)
    each = []
    for area, split, path in zip(areas, splits, paths, strict=True):
        valid = area.scene.valid(slice(None))
        where = valid if by_event else valid & (split.parts == Subset.TRAIN)
        each.append(read_raster(functools.partial(area.scene.read, bands=bands), path, bands, where, name=area.name))
        whole.merge(each[-1])
    common = whole.normalisation()
    rasters = []
    for area, split, path, moments in zip(areas, splits, paths, each, strict=True):
        own = moments.normalisation() if by_event else common
        inputs = encode_raster(path, encoder._replace(normalisation=own))
        rasters.append(Raster(inputs, area.labels, split.parts, chips=bool(area.patches)))
    return rasters, whole


def _unseen(moments: Moments, bands: Sequence[Band]) -> list[str]:
    return [band.name for band, count in zip(bands, moments.count, strict=True) if not count]
