"""What can be mapped, and what a network can be trained on: the cube of an event, or chips; and its split."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize

from coslide.config.training import SplitSettings, TrainingSettings
from coslide.cube.cube import Cube, open_cube
from coslide.cube.mosaic import Mosaic, open_mosaics
from coslide.errors import InputError
from coslide.evaluation.scoring import Baselines
from coslide.io.atomic import whole_output
from coslide.io.shapes import POLYGONS
from coslide.io.vector import VectorFile, read_vector
from coslide.labels import LANDSLIDE, NODATA
from coslide.samples.footprint import (
    TrainingFootprint,
    footprint_of,
    footprint_of_windows,
    is_held_out,
    seen_elsewhere,
    split_raster,
    write_split_raster,
)
from coslide.samples.split import (
    Split,
    SplitRaster,
    Subset,
    landslide_share,
    leak_fraction,
    numbered_samples,
    split_windows,
)
from coslide.sources.chips import chips_config
from coslide.windows import Window

_log = logging.getLogger(__name__)

_SUBSETS = {"train": Subset.TRAIN, "validation": Subset.VALIDATION, "test": Subset.TEST}
_UNSPLIT = Split(np.zeros((0, 0), dtype=np.uint8), [], [], [], 0.0)


Scene = Cube | Mosaic
"""A raster that can be mapped, read a few rows at a time."""


@dataclass(frozen=True, eq=False)
class LabelledScene:
    """A scene whose landslides are mapped, with all that training and scoring need of it.

    Attributes
    ----------
    name, fingerprint
        What the event is called, and a hash of all that is read from it.
    scene
        What can be read of it.
    labels
        uint8 (row, col): 0 background, 1 landslide, 255 nodata.
    credit
        Whom its data are from, and their terms.
    whole
        Whether it may only be held out as a whole, as nobody knows which of its parts are neighbours.
    relative
        Whether bands of it are in an unknown scale.
    simulated
        Whether nature had no part in it.
    role
        With a split by events, the subset that it belongs to as a whole: TRAIN or TEST.
    split, footprint
        Its split, and where the subsets lie on Earth; None where the scene has no location.
    seen
        `Subset` of each pixel, (row, col), by what the training on all scenes saw of it, wherever they overlap.
    baselines
        Maps of its test set by simpler methods, by name.
    """

    name: str
    fingerprint: str
    scene: Scene
    labels: NDArray[np.uint8]
    credit: str = ""
    whole: bool = False
    relative: bool = False
    simulated: bool = False
    role: Subset = Subset.TRAIN
    split: Split = _UNSPLIT
    footprint: TrainingFootprint | None = None
    seen: SplitRaster = field(default_factory=lambda: _UNSPLIT.subsets)
    baselines: Baselines = field(default_factory=dict)


Scenes = Sequence[LabelledScene]
"""The scenes of a training."""


def open_labelled_scenes(path: Path | str) -> list[LabelledScene]:
    """Open what can be trained on: the index cube of an event, or chips, of which each event is a scene.

    Parameters
    ----------
    path
        A cube; or as `coslide.sources.chips.chips_config`.

    Raises
    ------
    InputError
        If `path` is neither, cannot be read, or has no landslide labels.
    """
    config = chips_config(Path(path))
    if config is None:
        return [open_labelled_scene(path)]
    return [
        LabelledScene(
            mosaic.name,
            mosaic.fingerprint,
            mosaic,
            mosaic.labels,
            credit=config.credit,
            whole=not mosaic.placed,
            relative=mosaic.relative,
        )
        for mosaic in open_mosaics(config)
    ]


def open_labelled_scene(path: Path | str) -> LabelledScene:
    """Open an index cube with labels.

    Raises
    ------
    InputError
        If it is none, cannot be read, or has no landslide labels.
    """
    cube = open_cube(path)
    return scene_of_cube(cube, cube.labels)


def scene_of_cube(cube: Cube, labels: NDArray[np.uint8]) -> LabelledScene:
    """Describe a cube with labels, its own or others, uint8 (row, col), as a scene that is not split yet."""
    credit, simulated = str(cube.attrs.get("credit", "")), bool(cube.attrs.get("simulated", 0))
    return LabelledScene(cube.title, cube.fingerprint, cube, labels, credit=credit, simulated=simulated)


def split_scenes(scenes: Scenes, settings: TrainingSettings) -> tuple[list[LabelledScene], dict[str, Any]]:
    """Split every scene, note what the training on all of them sees of its pixels, and record the split of all.

    Where scenes overlap, a pixel that is held out in one and trains in another counts as seen.

    Returns
    -------
    tuple
        The split scenes; and scheme, seed and width of the guard, the number of tiles of each subset, and the leak
        [0 to 1] averaged over all held-out tiles, as the metadata of a model has them.

    Raises
    ------
    InputError
        If the split cannot be made, has no landslide to train on, or leaves no pixel to score.
    """
    found = [_split(scene, settings) for scene in scenes]
    _require_subsets(found, settings)
    found = [_seen_from(scene, [other for other in found if other is not scene]) for scene in found]
    record = _record(found, settings)
    leak = f"{100 * record['leak_fraction']:.1f} %"
    _log.info(
        "split {scheme}: {train_tiles} training, {validation_tiles} validation and {test_tiles} held-out tiles, "
        "{leak} of the pixels of held-out tiles leak into training".format(**record, leak=leak)
    )
    if record["leak_fraction"]:
        _log.info(
            f"warning: {leak} of the pixels of a held-out tile, on average, were seen in training; they "
            "are not scored, and what is scored lies beside them, so the scores are better than in a new area"
        )
    if not any((is_held_out(s.seen) & (s.labels != NODATA)).any() for s in found if s.split.test):
        raise InputError("no pixel is left to score: training saw all held-out pixels with a label; hold out others")
    return found, record


def _record(scenes: Scenes, settings: TrainingSettings) -> dict[str, Any]:
    leaks = [scene.split.leak_fraction for scene in scenes for _ in scene.split.test]
    return {
        "scheme": settings.split.scheme,
        "seed": settings.seed,
        **{f"{name}_tiles": sum(len(getattr(scene.split, name)) for scene in scenes) for name in _SUBSETS},
        "guard_px": settings.split.guard_px,
        "leak_fraction": float(np.mean(leaks)) if leaks else 0.0,
    }


def write_splits(folder: Path, scenes: Scenes, settings: TrainingSettings) -> None:
    """Write the subset of each pixel of each scene, of chips how much of each (CSV), and the paper's samples (CSV).

    Raises
    ------
    InputError
        If the disk is full or the folder cannot be written.
    """
    for number, scene in enumerate(scenes):
        name, split = folder / file_name(scene, number), scene.split
        if isinstance(scene.scene, Mosaic):
            _write_table(name.with_suffix(".csv"), _of_chips(scene.scene, split))
        else:
            write_split_raster(name.with_suffix(".tif"), split.subsets, scene.scene.grid, fingerprint=scene.fingerprint)
        if settings.split.by_samples:
            samples = numbered_samples([Window(0, 0, *scene.labels.shape)], settings)
            subset_of = {window: subset for subset in _SUBSETS for window in getattr(split, subset)}
            columns = {
                "sample": range(1, len(samples) + 1),
                "subset": [subset_of.get(window, "unused") for window in samples],
                "row": [window.row for window in samples],
                "col": [window.col for window in samples],
                "landslide_share": [landslide_share(scene.labels[window.slices]) for window in samples],
            }
            _write_table(name.with_name(f"{name.name}-samples.csv"), columns)


def _of_chips(mosaic: Mosaic, split: Split) -> dict[str, Sequence[Any]]:
    """List the chips, their places and the share of each subset in them."""
    windows = list(mosaic.windows.values())
    shares = {
        subset.name.lower(): [float(np.mean(split.subsets[window.slices] == subset)) for window in windows]
        for subset in Subset
        if subset != Subset.NONE
    }
    place = {"row": [window.row for window in windows], "col": [window.col for window in windows]}
    return {"chip": list(mosaic.windows), **place, **shares}


def file_name(scene: LabelledScene, number: int) -> str:
    """Name the files about the scene of this number: from its name, safe on every disk."""
    words = safe_name(scene.name)
    return f"{number + 1}-{words}" if words else f"{number + 1}"


def safe_name(name: str) -> str:
    """Turn a name into one of a file that is safe on every disk; empty where it has no Latin letter or digit."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60]


def unlike_names(names: Sequence[str], *, otherwise: str) -> list[str]:
    """Turn names into safe ones of files of which no two are alike; `otherwise` where nothing is left of one.

    Examples
    --------
    >>> unlike_names(["k = 8", "K8", "k-8", "八"], otherwise="case")
    ['k-8', 'k8', 'k-8-3', 'case']
    """
    found: list[str] = []
    for number, name in enumerate(names, start=1):
        safe = safe_name(name) or otherwise
        while safe in found:
            safe = f"{safe}-{number}"
        found.append(safe)
    return found


def _write_table(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    with whole_output(path) as part:
        pd.DataFrame(columns).to_csv(part, index=False, float_format="%.5f", lineterminator="\n")


def _split(scene: LabelledScene, settings: TrainingSettings) -> LabelledScene:
    """Split a scene, and outline its subsets where it has a location."""
    grid, scheme = scene.scene.grid, settings.split.scheme
    if scene.whole and scheme != "events":
        why = f"nobody knows which chips of {scene.name} are neighbours, so they are held out together or not at all"
        raise InputError(f"training.split.scheme: found {scheme}, expected events (--test-on ANOTHER): {why}")
    regions = None
    if scheme == "regions" and settings.split.regions is not None:
        if grid is None:
            expected = "expected training.split.test_side, or another scheme"
            raise InputError(f"training.split.regions: {scene.name} has no place on Earth; {expected}")
        regions = burn_regions(settings.split, grid)
    split = split_windows(scene.labels, settings, regions=regions, role=scene.role)
    return replace(scene, split=split, footprint=_footprint(scene.scene, split.subsets))


def _footprint(scene: Scene, subsets: SplitRaster) -> TrainingFootprint | None:
    """Outline the subsets of a scene on Earth; None where it is not known where it lies."""
    if isinstance(scene, Cube):
        return footprint_of(subsets, scene.grid)
    return footprint_of_windows(subsets, list(scene.windows.values()), scene.bounds) if scene.bounds else None


def burn_regions(split: SplitSettings, grid: GeoBox) -> SplitRaster:
    """Burn the subsets that the file of polygons of `split` gives.

    Raises
    ------
    InputError
        If it cannot be read, or names a subset that there is not.
    """
    path = split.regions or Path()
    source = VectorFile.of(path, split, "training.split.regions_")
    frame = read_vector(source, grid, what="regions as polygons", kinds=POLYGONS)
    words = frame.get("part", pd.Series("test", index=frame.index)).astype(str).str.lower()
    if wrong := set(words) - set(_SUBSETS):
        raise InputError(f"{path}: part: found {min(wrong)!r}, expected one of {', '.join(_SUBSETS)}")
    parts = np.full(grid.shape, Subset.GUARD if (words == "train").any() else Subset.TRAIN, dtype=np.uint8)
    for name, subset in _SUBSETS.items():  # where polygons overlap, the test set has the pixels
        outlines = frame.geometry[(words == name) & ~frame.geometry.is_empty]
        if len(outlines):
            rasterize(outlines, out=parts, transform=grid.affine, default_value=int(subset))
    return parts


def _seen_from(scene: LabelledScene, others: Scenes) -> LabelledScene:
    """Note what training sees of the pixels of a scene, in other scenes too, and what of it leaks."""
    split = scene.split
    elsewhere = [other.footprint for other in others if other.footprint is not None]
    if scene.footprint is None or not elsewhere:
        return replace(scene, seen=split.subsets)
    if isinstance(scene.scene, Mosaic):
        seen, windows = split.subsets.copy(), list(scene.scene.windows.values())
        for subset in (Subset.VALIDATION, Subset.TRAIN):
            for i in np.flatnonzero(seen_elsewhere(elsewhere, scene.scene.bounds or [], subset)):
                own = seen[windows[i].slices]
                own[own != Subset.TRAIN] = subset
        trained = seen == Subset.TRAIN
    else:
        trained = split_raster(elsewhere, scene.scene.grid) == Subset.TRAIN
        seen = split_raster([scene.footprint, *elsewhere], scene.scene.grid)
    if split.test:
        leak = split.leak_fraction + leak_fraction(trained, split.test, split.subsets == Subset.TEST)
        split = split._replace(leak_fraction=min(1.0, leak))
    return replace(scene, split=split, seen=seen)


def _require_subsets(scenes: Scenes, settings: TrainingSettings) -> None:
    counts = _record(scenes, settings)
    for name, purpose in (("train_tiles", "train on"), ("test_tiles", "score")):
        if not counts[name]:
            raise InputError(f"the split leaves nothing to {purpose}; change training.split.scheme or its regions")
    slid = {number for scene in scenes for number in np.unique(scene.split.subsets[scene.labels == LANDSLIDE])}
    if Subset.TRAIN not in slid:
        raise InputError("the training set holds no landslide; choose another --seed, other regions or a larger area")
    if settings.split.validation_fraction and not counts["validation_tiles"]:
        how = "lower training.split.block_windows or .guard_px, or set training.split.validation_fraction = 0"
        raise InputError(f"the split leaves nothing to choose the threshold on; {how}")
    if (chooses := settings.optimiser.chooses) and Subset.VALIDATION not in slid:
        why = "the validation set holds no landslide to choose by"
        raise InputError(f"training.optimiser.{chooses}: {why}; choose another --seed")
