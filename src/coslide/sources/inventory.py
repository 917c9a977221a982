"""Landslide inventories as labels on the grid."""

from pathlib import Path
from typing import NamedTuple

import geopandas as gpd
import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from shapely.geometry import box

from coslide.errors import InputError
from coslide.labels import UNKNOWN
from coslide.sources.vector import read_vector


class Labels(NamedTuple):
    """What an inventory says of each cell.

    `mask` is uint8 (row, col): 0 background, 1 landslide, 255 unknown (outside the mapped area). `polygons` counts the
    landslides that meet the grid, `reburned` those without a cell centre inside that were burnt by touch instead.
    """

    mask: NDArray[np.uint8]
    polygons: int
    reburned: int


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
    landslides = _polygons_on(path, grid, what="landslide polygons")
    mask = burn(landslides, grid)
    small = landslides[_is_lost(landslides, grid)]
    if not small.empty:
        mask |= rasterize(small.geometry, grid.shape, transform=grid.affine, all_touched=True, dtype=np.uint8)
    if area is not None:
        mapped = burn(_polygons_on(area, grid, what="polygons of the mapped area"), grid)
        mask[mapped == 0] = UNKNOWN
    return Labels(mask, len(landslides), len(small))


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
    burnt: NDArray[np.uint8] = rasterize(polygons.geometry, grid.shape, transform=grid.affine, dtype=np.uint8)
    return burnt


def _polygons_on(path: Path, grid: GeoBox, *, what: str) -> gpd.GeoDataFrame:
    frame = read_vector(path, str(grid.crs), what=what)
    kinds = set(frame.geometry.geom_type)
    if not kinds <= {"Polygon", "MultiPolygon"}:
        raise InputError(f"{path}: found {', '.join(sorted(kinds))}, expected {what}")
    frame = frame[frame.intersects(box(*grid.boundingbox.bbox))]
    if frame.empty:
        raise InputError(f"{path}: none of its features meets the grid; expected {what} over the scene")
    return frame


def _is_lost(polygons: gpd.GeoDataFrame, grid: GeoBox) -> NDArray[np.bool_]:
    """Return which polygons hold no cell centre: each is burnt with its own number, over those before it."""
    numbers = np.arange(1, len(polygons) + 1)
    lost = np.ones(len(polygons), dtype=bool)
    # A polygon may hide under a later one; a second pass in reverse order tells it from one without any centre.
    for order in (slice(None), slice(None, None, -1)):
        shapes = zip(polygons.geometry.to_numpy()[order], numbers[order], strict=True)
        burnt = rasterize(shapes, grid.shape, transform=grid.affine, dtype=np.int32)
        lost[np.unique(burnt[burnt > 0]) - 1] = False
    return lost
