"""Landslide inventories as labels on the grid."""

from pathlib import Path
from typing import Any, NamedTuple

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from shapely.geometry import box

from coslide.io.vector import read_polygons
from coslide.labels import LANDSLIDE, NODATA


class Labels(NamedTuple):
    """What an inventory says of each cell.

    Attributes
    ----------
    mask
        uint8 (row, col): 0 background, 1 landslide, 255 unknown (outside the mapped area).
    polygons
        How many landslides meet the grid.
    touched
        The numbers in the file, from 0, of those without a cell centre inside, which were burnt by touch instead.
    repaired
        How many crossed themselves and were repaired.
    area_m2
        Of their union on the grid, inside the mapped area.
    empty
        How many enclose no ground, and are left out.
    """

    mask: NDArray[np.uint8]
    polygons: int
    touched: tuple[int, ...]
    repaired: int
    area_m2: float
    empty: int


def read_inventory(path: Path, grid: GeoBox, *, area: Path | None = None) -> Labels:
    """Return the labels of an inventory on `grid`.

    A cell is landslide if its centre lies inside a polygon, which keeps the mapped area (burning every touched cell
    inflates small landslides by about 40 %). A polygon too small to hold a centre is burnt by touch, so that none is
    lost. Outside the mapped area a cell is unknown, not background.

    Parameters
    ----------
    path
        Landslide polygons in any CRS.
    grid
        Where the labels are wanted.
    area
        Polygons within which landslides were mapped; None means the whole grid was.

    Raises
    ------
    InputError
        If a file cannot be read, has no CRS, holds no or other features than polygons, or does not meet the grid.
    """
    found = read_polygons(path, grid, what="landslide polygons")
    landslides = found.frame
    mask = burn(landslides, grid)
    small = landslides[_is_lost(landslides, grid)]
    if not small.empty:
        mask |= rasterize(small.geometry, grid.shape, transform=grid.affine, all_touched=True, dtype=np.uint8)
    ground: Any = box(*grid.boundingbox.bbox)
    if area is not None:
        mapped = read_polygons(area, grid, what="polygons of the mapped area").frame
        mask[burn(mapped, grid) == 0] = NODATA
        ground = shapely.intersection(shapely.union_all(mapped.geometry.to_numpy()), ground)
    shapely.prepare(ground)
    area_m2 = shapely.union_all(shapely.intersection(landslides.geometry.to_numpy(), ground)).area
    touched = tuple(int(number) for number in small.index)
    return Labels(mask, len(landslides), touched, found.repaired, float(area_m2), found.lost)


def burn(polygons: gpd.GeoDataFrame, grid: GeoBox) -> NDArray[np.uint8]:
    """Return 1 where the centre of a cell of `grid` lies in one of `polygons` (same CRS), else 0.

    Examples
    --------
    >>> from coslide.grid import Extent, common_grid
    >>> grid = common_grid([Extent("scene", "EPSG:32654", (500000, 0, 500040, 20))])
    >>> burn(gpd.GeoDataFrame(geometry=[box(500000, 0, 500016, 14)], crs="EPSG:32654"), grid)
    array([[0, 0, 0, 0],
           [1, 1, 0, 0]], dtype=uint8)
    """
    if polygons.empty:
        return np.zeros(grid.shape, dtype=np.uint8)
    burnt: NDArray[np.uint8] = rasterize(
        polygons.geometry, grid.shape, transform=grid.affine, default_value=LANDSLIDE, dtype=np.uint8
    )
    return burnt


def _is_lost(polygons: gpd.GeoDataFrame, grid: GeoBox) -> NDArray[np.bool_]:
    """Return which polygons hold no cell centre: each is burnt with its own number, over those before it."""
    numbers = np.arange(1, len(polygons) + 1)
    shapes = polygons.geometry.to_numpy()
    lost = np.ones(len(polygons), dtype=bool)
    # A polygon may hide under a later one; a second pass in reverse order tells it from one without any centre.
    for order in (slice(None), slice(None, None, -1)):
        burnt = rasterize(
            zip(shapes[order], numbers[order], strict=True), grid.shape, transform=grid.affine, dtype=np.int32
        )
        lost[np.unique(burnt[burnt > 0]) - 1] = False
    # What is left may hide under two others, or lie mostly beyond the edge of the grid.
    for i in np.flatnonzero(lost):
        lost[i] = not _holds_a_centre(shapes[i], grid)
    return lost


def _holds_a_centre(polygon: Any, grid: GeoBox) -> bool:
    """Return whether the centre of any cell lies in `polygon`, where `grid` goes on without end."""
    left, bottom, right, top = polygon.bounds
    (first_column, first_row), (last_column, last_row) = ~grid.affine * (left, top), ~grid.affine * (right, bottom)
    column, row = int(np.floor(first_column)), int(np.floor(first_row))
    shape = int(np.ceil(last_row)) - row + 1, int(np.ceil(last_column)) - column + 1
    transform = grid.affine * Affine.translation(column, row)
    return bool(rasterize([polygon], shape, transform=transform, dtype=np.uint8).any())
