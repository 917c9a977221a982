"""Maps of methods that are not networks, on the held-out pixels of a split, to compare a model with."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from coslide.cube.band import Band
from coslide.evaluation.baselines import Baseline, Baselines, Method, fit_change, fit_forest
from coslide.evaluation.curves import best_threshold, curve
from coslide.grid import same_grid, short_crs
from coslide.io.atomic import write_json
from coslide.io.raster import RasterBands, write_cog
from coslide.labels import LANDSLIDE, NODATA
from coslide.pipeline.labelled_scene import LabelledScene
from coslide.progress import report_progress
from coslide.samples.split import Subset
from coslide.windows import row_strips

_log = logging.getLogger(__name__)

FOREST, CHANGE = "random forest", "spectral change"
FOLDER, _THRESHOLDS = "baselines", "thresholds.json"
_PIXELS = 400_000  # training pixels drawn from each area


def make_baselines(scenes: Sequence[LabelledScene], bands: Sequence[Band], *, seed: int) -> list[LabelledScene]:
    """Add to split scenes maps of their test sets by a random forest and by a threshold on spectral change.

    Both see one pixel at a time. Half of the pixels drawn from the training set teach the forest. Its threshold, and
    that of the change, are chosen on the validation set, as a network's is; without one, on the other half.

    Parameters
    ----------
    scenes
        Split scenes.
    bands
        The channels that they see: those of the network.
    seed
        Decides the pixels and the trees.
    """
    random = np.random.default_rng(seed)
    values, truth = _pixels(scenes, Subset.TRAIN, bands, random=random)
    order = random.permutation(len(truth))
    taught, other = order[: len(order) // 2], order[len(order) // 2 :]
    methods: dict[str, Method] = {}
    if truth[taught].any() and not truth[taught].all():
        methods[FOREST] = fit_forest(values[taught], truth[taught], seed=seed)
    if change := fit_change(values, bands):
        methods[CHANGE], what = change
        _log.info(f"baselines: random forest on {len(bands)} bands; spectral change is the {what}")
    chosen_on = _pixels(scenes, Subset.VALIDATION, bands, random=random)
    pixels, known = chosen_on if chosen_on[1].any() else (values[other], truth[other])
    thresholds = {name: best_threshold(curve(predict(pixels), known)) for name, predict in methods.items()}
    return [
        replace(scene, baselines={n: Baseline(m, thresholds[n]) for n, m in _maps(scene, bands, methods).items()})
        for scene in scenes
    ]


def write_baselines(path: Path, baselines: Baselines, grid: GeoBox) -> None:
    """Write a GeoTIFF with one band for each baseline, 0 to 1, NaN where it was not asked, and their thresholds.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    maps = [baseline.probability for baseline in baselines.values()]
    write_cog(path, grid, RasterBands(list(baselines)), lambda rows: np.stack([one[rows] for one in maps]))
    write_json(path.with_name(_THRESHOLDS), {name: baseline.threshold for name, baseline in baselines.items()})


def read_baselines(folder: Path, grid: GeoBox) -> Baselines:
    """Read the baselines that a training left beside a map, those on `grid`; none where it is not clear which."""
    thresholds = folder / FOLDER / _THRESHOLDS
    if not thresholds.is_file():
        return {}
    found, known = [], json.loads(thresholds.read_text(encoding="utf-8"))
    for path in sorted((folder / FOLDER).glob("*.tif")):
        with rasterio.open(path) as file:
            own = GeoBox(file.shape, file.transform, short_crs(file.crs.to_wkt()))
            if same_grid(own, grid):
                names = enumerate(file.descriptions, start=1)
                found.append({name: Baseline(file.read(number), known[name]) for number, name in names})
    return found[0] if len(found) == 1 else {}


def _maps(scene: LabelledScene, bands: Sequence[Band], methods: Mapping[str, Method]) -> dict[str, NDArray[np.float32]]:
    """Map the test pixels of a scene by each method, NaN elsewhere."""
    height = scene.labels.shape[0]
    maps = {name: np.full(scene.labels.shape, np.nan, dtype=np.float32) for name in methods}
    for rows, where in _labelled(scene, Subset.TEST):
        pixels = scene.scene.read(rows, bands)[:, where].T
        for name, predict in methods.items():
            maps[name][rows][where] = predict(pixels)
        report_progress("baselines", rows.stop, height)
    report_progress("baselines", height, height)
    return maps


def _pixels(
    scenes: Sequence[LabelledScene], part: Subset, bands: Sequence[Band], *, random: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Draw pixels from a subset: their values (pixel, band) and whether they are landslide."""
    values, truth = [np.zeros((0, len(bands)), dtype=np.float32)], [np.zeros(0, dtype=bool)]
    for scene in scenes:
        known = int(((scene.split.parts == part) & (scene.labels != NODATA)).sum())
        share = min(1.0, _PIXELS / max(known, 1))
        for rows, where in _labelled(scene, part):
            drawn = where & (random.random(where.shape) < share)
            values.append(scene.scene.read(rows, bands)[:, drawn].T)
            truth.append(scene.labels[rows][drawn] == LANDSLIDE)
    return np.concatenate(values), np.concatenate(truth)


def _labelled(scene: LabelledScene, part: Subset) -> Iterator[tuple[slice, NDArray[np.bool_]]]:
    """Yield strips of a scene with their valid, labelled pixels of `part`; none without such."""
    for rows in row_strips(scene.labels.shape[0]):
        where = (scene.split.parts[rows] == part) & (scene.labels[rows] != NODATA) & scene.scene.valid(rows)
        if where.any():
            yield rows, where
