"""Maps of methods that are not networks, on the held-out ground of a split, to compare a model with."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from coslide.chain.areas import Area
from coslide.evaluation.baselines import as_probability, fit_forest, forest_probability, spectral_change
from coslide.evaluation.curves import best_threshold, curve
from coslide.files import whole_output
from coslide.indices.cube import Band
from coslide.labels import LANDSLIDE, UNKNOWN
from coslide.listener import Listener
from coslide.samples.split import Part, Split

FOREST, CHANGE = "random forest", "spectral change"
FOLDER = "baselines"
_CELLS = 400_000  # training cells drawn from each area
_ROWS = 256  # read at once
_TAILS = (0.1, 99.9)  # percentiles of change that become 0 and 1


class Baseline(NamedTuple):
    """A map to compare with: 0 to 1, float32 (row, col), NaN but on test ground; and from where on it is landslide."""

    probability: NDArray[np.float32]
    threshold: float


Baselines = dict[str, Baseline]
Method = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def make_baselines(areas: Sequence[Area], splits: Sequence[Split], *, seed: int, listener: Listener) -> list[Baselines]:
    """Return for each area what a random forest and a spectral change threshold make of its test ground.

    Both see the channels that all areas have, one cell at a time. Half of the cells drawn from the training ground
    teach the forest; the other half choose its threshold, and that of the change.

    Parameters
    ----------
    areas, splits
        Ground with known landslides, and how it was split.
    seed
        Decides the cells and the trees.
    listener
        Who hears of it.
    """
    shared = [band for band in areas[0].scene.bands if all(band in area.scene.bands for area in areas)]
    random = np.random.default_rng(seed)
    values, truth = _training_cells(areas, splits, shared, random)
    order = random.permutation(len(truth))
    taught, other = order[: len(order) // 2], order[len(order) // 2 :]
    methods: dict[str, Method] = {}
    if truth[taught].any() and not truth[taught].all():
        forest = fit_forest(values[taught], truth[taught], seed=seed)
        methods[FOREST] = lambda cells: forest_probability(forest, cells)
    names = [band.name for band in shared]
    change, what = spectral_change(values, names)
    if np.isfinite(change).any():
        low, high = np.nanpercentile(change, _TAILS)
        methods[CHANGE] = lambda cells: as_probability(spectral_change(cells, names)[0], low=low, high=high)
        listener.say(f"baselines: random forest on {len(shared)} bands; spectral change is the {what}")
    thresholds = {name: best_threshold(curve(of(values[other]), truth[other])) for name, of in methods.items()}
    found = []
    for area, split in zip(areas, splits, strict=True):
        maps = {name: np.full(area.labels.shape, np.nan, dtype=np.float32) for name in methods}
        for rows, where in _known(area, split, Part.TEST):
            cells = area.scene.read(rows, shared)[:, where].T
            for name, of in methods.items():
                maps[name][rows][where] = of(cells)
        found.append({name: Baseline(maps[name], thresholds[name]) for name in methods})
    return found


def write_baselines(path: Path, baselines: Baselines, grid: GeoBox) -> Path:
    """Return the path of a GeoTIFF with one band for each baseline, 0 to 1, NaN where it was not asked.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    height, width = grid.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": len(baselines), "dtype": "float32"}
    profile |= {"crs": str(grid.crs), "transform": grid.affine, "nodata": np.nan, "compress": "DEFLATE", "predictor": 3}
    with whole_output(path) as part, rasterio.open(part, "w", **profile) as file:
        for number, (name, baseline) in enumerate(baselines.items(), start=1):
            file.write(baseline.probability, number)
            file.set_band_description(number, name)
        file.update_tags(thresholds=json.dumps({name: b.threshold for name, b in baselines.items()}))
    return path


def read_baselines(folder: Path, grid: GeoBox) -> Baselines:
    """Return the baselines that a training left beside a map, those on `grid`; none where there are none."""
    for path in sorted((folder / FOLDER).glob("*.tif")):
        with rasterio.open(path) as file:
            if file.shape != tuple(grid.shape) or not grid.affine.almost_equals(file.transform):
                continue
            thresholds = json.loads(file.tags().get("thresholds", "{}"))
            bands = enumerate(file.descriptions, start=1)
            return {name: Baseline(file.read(i), thresholds[name]) for i, name in bands if name in thresholds}
    return {}


def _training_cells(
    areas: Sequence[Area], splits: Sequence[Split], bands: Sequence[Band], random: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    values, truth = [], []
    for area, split in zip(areas, splits, strict=True):
        known = int(((split.parts == Part.TRAIN) & (area.labels != UNKNOWN)).sum())
        share = min(1.0, _CELLS / max(known, 1))
        for rows, where in _known(area, split, Part.TRAIN):
            drawn = where & (random.random(where.shape) < share)
            values.append(area.scene.read(rows, bands)[:, drawn].T)
            truth.append(area.labels[rows][drawn] == LANDSLIDE)
    return np.concatenate(values), np.concatenate(truth)


def _known(area: Area, split: Split, part: Part) -> Iterator[tuple[slice, NDArray[np.bool_]]]:
    """Return strips of an area with their cells that belong to `part` and whose truth is known; none without such."""
    for start in range(0, area.labels.shape[0], _ROWS):
        rows = slice(start, start + _ROWS)
        where = (split.parts[rows] == part) & (area.labels[rows] != UNKNOWN) & area.scene.valid(rows)
        if where.any():
            yield rows, where
