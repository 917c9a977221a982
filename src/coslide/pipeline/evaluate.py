"""Scores of a map against a mapped inventory, never on pixels that training saw."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.features import rasterize
from rasterio.vrt import WarpedVRT

from coslide.cube.cube import open_cube
from coslide.errors import InputError
from coslide.evaluation.scores import Scores
from coslide.evaluation.scoring import ScoredMap, score, score_places
from coslide.grid import same_grid
from coslide.io.raster import open_raster
from coslide.io.vector import read_vector
from coslide.mapping.probability_map import ProbabilityMap, read_probability_map
from coslide.pipeline.baselines import read_baselines
from coslide.pipeline.results import write_scores
from coslide.sources.inventory import rasterize_inventory, rasterize_polygons

_NO_CLASS = -(2**31)


def evaluate(
    folder: Path | str,
    inventory: Path | str,
    *,
    area: Path | str | None = None,
    grid: Path | str | None = None,
    regions: Path | str | None = None,
    classes: Path | str | None = None,
) -> Scores:
    """Score the map in `folder` against `inventory`.

    The scores are left in ``metrics.json`` and, for people, in ``metrics.md`` and ``figures/``; ``tiles.csv`` has those
    of each square of 128 pixels.

    Pixels count where the map has a value, the inventory has labels, and the model was not trained on them.

    Parameters
    ----------
    folder
        What `coslide.map_scene` leaves; or any folder with a ``landslides.gpkg``, if `grid` is given.
    inventory, area
        Mapped landslides, and where they were mapped; None means everywhere.
    grid
        A cube on whose grid, and on whose valid pixels, to score. Needed where there is no ``probability.tif``.
    regions
        Polygons to score one by one; a column ``name`` (or else ``id``) names them.
    classes
        A raster of whole numbers: each class of environment is scored by itself. Nodata is left out.

    Returns
    -------
    Scores
        What ``metrics.json`` holds; `docs/metrics.md` describes every key.

    Raises
    ------
    InputError
        If there is no map, a file cannot be read, the grids differ, or no pixel is left to score.

    Examples
    --------
    >>> from coslide import predict_scene
    >>> scores = evaluate(predict_scene(bundle, index, folder / "map"), inventory, grid=index)
    >>> scores.split.scheme, 0 <= scores.pixels.f1 <= 1
    ('blocks', True)
    """
    folder = Path(folder)
    calibrated = (folder / "probability.tif").exists()
    found = read_probability_map(folder) if calibrated else _map_of_polygons(folder, grid)
    if calibrated and grid is not None:
        require_grid(found.grid, Path(grid))
        found.probability[~open_cube(grid).valid()] = np.nan
    one = ScoredMap(
        folder.resolve().name,
        found.probability,
        rasterize_inventory(Path(inventory), found.grid, area=Path(area) if area else None).mask,
        found.seen,
        found.pixel_size_m,
        threshold=found.threshold,
        temperature=found.temperature if calibrated else None,
        baselines=read_baselines(folder, found.grid) if calibrated else {},
    )
    split = found.split if calibrated else {"scheme": "unknown"}  # nothing tells what polygons were drawn from
    metrics = score([one], split=split, learned=found.metadata.model.learned if found.metadata else {})
    places = {
        key: score_places(one, *read(Path(path), found.grid))
        for key, path, read in (("regions", regions, _regions), ("classes", classes, _classes))
        if path is not None
    }
    metrics = metrics.model_copy(update=places)
    write_scores(folder, metrics, [one])
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


def require_grid(found: GeoBox, index: Path) -> None:
    """Check that a map has the grid of the cube `index`.

    Raises
    ------
    InputError
        If it has another.
    """
    expected = open_cube(index).grid
    if not same_grid(found, expected):
        raise InputError(
            f"{index}: found a grid of {expected.shape.y} x {expected.shape.x} pixels at {expected.affine.c:.0f}, "
            f"{expected.affine.f:.0f} ({expected.crs}), expected that of the map, {found.shape.y} x {found.shape.x} at "
            f"{found.affine.c:.0f}, {found.affine.f:.0f} ({found.crs})"
        )


def _regions(path: Path, grid: GeoBox) -> tuple[NDArray[np.int32], list[str]]:
    """Find the number of the polygon that each pixel lies in, 0 for none, and the names of the polygons."""
    frame = read_vector(path, str(grid.crs), what="regions")
    column = next((name for name in ("name", "id") if name in frame.columns), None)
    names = [str(text) for text in (frame[column] if column else range(1, len(frame) + 1))]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names), start=1)}
    shapes = [(outline, numbers[name]) for outline, name in zip(frame.geometry, names, strict=True)]
    found = rasterize(shapes, out_shape=tuple(grid.shape), transform=grid.affine, dtype="int32")
    return found, list(numbers)


def _classes(path: Path, grid: GeoBox) -> tuple[NDArray[np.int32], list[str]]:
    """Read the number of the class of each pixel of the map, 0 for none, and the names of the classes."""
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
