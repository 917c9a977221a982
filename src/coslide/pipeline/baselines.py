"""Maps of methods that are not networks, on the held-out ground of a split, to compare a model with."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from coslide.cube.band import Band
from coslide.evaluation.baselines import as_probability, fit_forest, forest_probability, spectral_change
from coslide.evaluation.curves import best_threshold, curve
from coslide.grid import same_grid, short_crs
from coslide.io.atomic import whole_output
from coslide.labels import LANDSLIDE, NODATA
from coslide.pipeline.labelled_scene import Baseline, Baselines, LabelledScene
from coslide.progress import report_progress
from coslide.samples.split import Subset
from coslide.windows import row_strips

_log = logging.getLogger(__name__)


FOREST, CHANGE = "random forest", "spectral change"
FOLDER = "baselines"
_CELLS = 400_000  # training cells drawn from each area
_TAILS = (0.1, 99.9)  # percentiles of change that become 0 and 1


Method = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def make_baselines(scenes: Sequence[LabelledScene], bands: Sequence[Band], *, seed: int) -> list[LabelledScene]:
    """Add to split scenes what a random forest and a spectral change threshold make of their test sets.

    Both see one cell at a time. Half of the cells drawn from the training ground teach the forest. Its threshold, and
    that of the change, are chosen on the validation ground, as a network's is; without one, on the other half.

    Parameters
    ----------
    scenes
        Split scenes.
    bands
        The channels that they see: those of the network.
    seed
        Decides the cells and the trees.
    """
    random = np.random.default_rng(seed)
    values, truth = _cells(scenes, Subset.TRAIN, bands, random=random)
    order = random.permutation(len(truth))
    taught, other = order[: len(order) // 2], order[len(order) // 2 :]
    methods: dict[str, Method] = {}
    if truth[taught].any() and not truth[taught].all():
        forest = fit_forest(values[taught], truth[taught], seed=seed)
        methods[FOREST] = lambda cells: forest_probability(forest, cells)
    change, what = spectral_change(values, bands)
    if np.isfinite(change).any():
        low, high = np.nanpercentile(change, _TAILS)
        methods[CHANGE] = lambda cells: as_probability(spectral_change(cells, bands)[0], low=low, high=high)
        _log.info(f"baselines: random forest on {len(bands)} bands; spectral change is the {what}")
    chosen_on = _cells(scenes, Subset.VALIDATION, bands, random=random)
    cells, known = chosen_on if chosen_on[1].any() else (values[other], truth[other])
    thresholds = {name: best_threshold(curve(of(cells), known)) for name, of in methods.items()}
    return [
        replace(scene, baselines={n: Baseline(m, thresholds[n]) for n, m in _maps(scene, bands, methods).items()})
        for scene in scenes
    ]


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
    """Return the baselines that a training left beside a map, those on `grid`; none where it is not clear which."""
    found = []
    for path in sorted((folder / FOLDER).glob("*.tif")):
        with rasterio.open(path) as file:
            own = GeoBox(file.shape, file.transform, short_crs(file.crs.to_wkt()))
            if same_grid(own, grid):
                thresholds = json.loads(file.tags().get("thresholds", "{}"))
                bands = [(i, name) for i, name in enumerate(file.descriptions, start=1) if name in thresholds]
                found.append({name: Baseline(file.read(i), thresholds[name]) for i, name in bands})
    return found[0] if len(found) == 1 else {}


def _maps(scene: LabelledScene, bands: Sequence[Band], methods: dict[str, Method]) -> dict[str, NDArray[np.float32]]:
    """Return what each method makes of the test ground of an area, NaN elsewhere."""
    height = scene.labels.shape[0]
    maps = {name: np.full(scene.labels.shape, np.nan, dtype=np.float32) for name in methods}
    for rows, where in _known(scene, Subset.TEST):
        cells = scene.scene.read(rows, bands)[:, where].T
        for name, of in methods.items():
            maps[name][rows][where] = of(cells)
        report_progress("baselines", rows.stop, height)
    report_progress("baselines", height, height)
    return maps


def _cells(
    scenes: Sequence[LabelledScene], part: Subset, bands: Sequence[Band], *, random: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return values (cell, band) and truth of cells drawn from a part."""
    values, truth = [np.zeros((0, len(bands)), dtype=np.float32)], [np.zeros(0, dtype=bool)]
    for scene in scenes:
        known = int(((scene.split.parts == part) & (scene.labels != NODATA)).sum())
        share = min(1.0, _CELLS / max(known, 1))
        for rows, where in _known(scene, part):
            drawn = where & (random.random(where.shape) < share)
            values.append(scene.scene.read(rows, bands)[:, drawn].T)
            truth.append(scene.labels[rows][drawn] == LANDSLIDE)
    return np.concatenate(values), np.concatenate(truth)


def _known(scene: LabelledScene, part: Subset) -> Iterator[tuple[slice, NDArray[np.bool_]]]:
    """Return strips of an area with their cells that belong to `part` and whose truth is known; none without such."""
    for rows in row_strips(scene.labels.shape[0]):
        where = (scene.split.parts[rows] == part) & (scene.labels[rows] != NODATA) & scene.scene.valid(rows)
        if where.any():
            yield rows, where
