"""Scores of a map against a mapped inventory, never on ground that training saw."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.features import rasterize
from rasterio.vrt import WarpedVRT

from coslide.cube.cube import open_cube
from coslide.errors import InputError
from coslide.grid import pixel_size_m, same_grid
from coslide.io.raster import open_raster
from coslide.io.vector import read_vector
from coslide.mapping.model import BUNDLE, training_facts
from coslide.mapping.probability_map import ProbabilityMap, read_probability_map
from coslide.pipeline.baselines import read_baselines
from coslide.pipeline.results import write_scores
from coslide.pipeline.scoring import ScoredMap, held_out_scores, score_line, scores_by
from coslide.sources.inventory import rasterize_polygons, read_inventory

_log = logging.getLogger(__name__)


_NO_CLASS = -(2**31)


def evaluate(
    folder: Path | str,
    inventory: Path | str,
    *,
    area: Path | str | None = None,
    grid: Path | str | None = None,
    regions: Path | str | None = None,
    classes: Path | str | None = None,
) -> dict[str, Any]:
    """Return the scores of the map in `folder` against `inventory`.

    They are left in ``metrics.json`` and, for people, in ``metrics.md`` and ``figures/``; ``tiles.csv`` has them for
    each square of 128 cells.

    Cells count where the map has a value, the inventory says what they are, and the model was not trained on them.

    Parameters
    ----------
    folder
        What `coslide.map_scene` leaves; or any folder with a ``landslides.gpkg``, if `grid` is given.
    inventory, area
        Mapped landslides, and where they were mapped; None means everywhere.
    grid
        A cube on whose grid, and on whose valid cells, to score. Needed where there is no ``probability.tif``.
    regions
        Polygons to score one by one; a column ``name`` (or else ``id``) says what they are called.
    classes
        A raster of whole numbers: each class of environment is scored by itself. Nodata is left out.

    Returns
    -------
    dict
        ``pixels``, ``objects``, ``calibration`` and ``curves`` (empty without probabilities), ``tiles``, ``baselines``
        (where a training left some), ``regions`` and ``classes`` (where asked for) and ``split``; `docs/metrics.md`
        names every key.

    Raises
    ------
    InputError
        If there is no map, a file cannot be read, the grids differ, or no cell is left to score.
    """
    folder = Path(folder)
    if (folder / "probability.tif").exists():
        found = read_probability_map(folder)
        if grid is not None:
            _require_grid(found.grid, Path(grid))
            found.probability[~open_cube(grid).valid()] = np.nan
        calibrated = True
    else:
        found = _map_of_polygons(folder, grid)
        calibrated = False
    labels = read_inventory(Path(inventory), found.grid, area=Path(area) if area else None).mask
    one = ScoredMap(
        folder.resolve().name,
        found.probability,
        labels,
        found.seen,
        pixel_size_m(found.grid),
        read_baselines(folder, found.grid) if calibrated else {},
    )
    metrics = held_out_scores([one], threshold=found.threshold, temperature=found.metadata.temperature)
    if regions is not None:
        metrics["regions"] = scores_by(one, *_regions(Path(regions), found.grid), threshold=found.threshold)
    if classes is not None:
        metrics["classes"] = scores_by(one, *_classes(Path(classes), found.grid), threshold=found.threshold)
    if not calibrated:  # nothing says what the polygons were drawn from
        metrics["calibration"], metrics["curves"] = {}, {}
        metrics["pixels"] |= {"average_precision": None, "roc_auc": None}
        metrics["split"]["scheme"] = "unknown"
    metrics["split"] |= found.split
    if BUNDLE.is_in(folder / "model"):  # of whatever format
        metadata = json.loads((folder / "model" / BUNDLE.file).read_text(encoding="utf-8"))
        if metadata.get("split") == found.split:  # another model may have mapped into the folder of a training
            metrics |= training_facts(metadata)
    write_scores(folder, metrics, [one], threshold=found.threshold)
    _log.info(score_line(metrics))
    return metrics


def _map_of_polygons(folder: Path, grid: Path | str | None) -> ProbabilityMap:
    path = folder / "landslides.gpkg"
    if grid is None or not path.exists():
        raise InputError(f"{folder}: has no probability.tif; expected one, or a landslides.gpkg and --grid INDEX.zarr")
    cube = open_cube(grid)
    target = cube.grid
    landslides = read_vector(path, str(target.crs), what="landslide polygons", may_be_empty=True)
    burnt = rasterize_polygons(landslides, target).astype(np.float32)
    burnt[~cube.valid()] = np.nan
    return ProbabilityMap(burnt, target)


def _require_grid(found: GeoBox, index: Path) -> None:
    expected = open_cube(index).grid
    if not same_grid(found, expected):
        raise InputError(
            f"{index}: found a grid of {expected.shape.y} x {expected.shape.x} cells at {expected.affine.c:.0f}, "
            f"{expected.affine.f:.0f} ({expected.crs}), expected that of the map, {found.shape.y} x {found.shape.x} at "
            f"{found.affine.c:.0f}, {found.affine.f:.0f} ({found.crs})"
        )


def _regions(path: Path, grid: GeoBox) -> tuple[NDArray[np.int32], list[str]]:
    """Return the number of the polygon that each cell lies in, 0 for none, and what the polygons are called."""
    frame = read_vector(path, str(grid.crs), what="regions")
    column = next((name for name in ("name", "id") if name in frame.columns), None)
    names = [str(text) for text in (frame[column] if column else range(1, len(frame) + 1))]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names), start=1)}
    shapes = [(outline, numbers[name]) for outline, name in zip(frame.geometry, names, strict=True)]
    found = rasterize(shapes, out_shape=tuple(grid.shape), transform=grid.affine, dtype="int32")
    return found, list(numbers)


def _classes(path: Path, grid: GeoBox) -> tuple[NDArray[np.int32], list[str]]:
    """Return the number of the class of each cell of the map, 0 for none, and what the classes are called."""
    with open_raster(path) as file:
        if not np.issubdtype(np.dtype(file.dtypes[0]), np.integer):
            raise InputError(f"{path}: found values of type {file.dtypes[0]}, expected classes in whole numbers")
        options = {"crs": str(grid.crs), "transform": grid.affine, "height": grid.shape[0], "width": grid.shape[1]}
        with WarpedVRT(file, resampling=Resampling.nearest, nodata=_NO_CLASS, dtype="int32", **options) as warped:
            found = warped.read(1)
    values = [int(value) for value in np.unique(found) if value != _NO_CLASS]
    if not values:
        raise InputError(f"{path}: has no class where the map lies; expected a raster that covers it")
    numbers = np.searchsorted(values, found) + 1
    return np.where(found == _NO_CLASS, 0, numbers).astype(np.int32), [str(value) for value in values]
