"""Landslide inventories as labels on the grid."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from shapely.geometry import box

from coslide.config.schema import InventoryConfig
from coslide.errors import InputError
from coslide.io.vector import VectorFile, read_polygons
from coslide.labels import LANDSLIDE, NODATA
from coslide.windows import row_strips

_STRIP_PX = 2**22  # what is burnt at once beside the labels: 16 MB


class Labels(NamedTuple):
    """An inventory on a grid.

    Attributes
    ----------
    mask
        uint8 (row, col): 0 background, 1 landslide, 255 nodata (outside the mapped area).
    polygons
        How many landslides meet the grid.
    touched
        The numbers in the file, from 0, of those without a pixel centre inside, which were rasterized by touch instead.
    repaired
        How many crossed themselves and were repaired.
    area_m2
        Of their union on the grid, inside the mapped area.
    empty
        How many enclose no area, and are left out.
    """

    mask: NDArray[np.uint8]
    polygons: int
    touched: tuple[int, ...]
    repaired: int
    area_m2: float
    empty: int


def rasterize_inventory(source: Path | VectorFile, grid: GeoBox, *, area: Path | VectorFile | None = None) -> Labels:
    """Read the labels of an inventory on `grid`.

    A pixel is landslide if its centre lies inside a polygon, which keeps the mapped area (rasterizing every touched
    pixel inflates small landslides by about 40 %). A polygon too small to hold a centre is rasterized by touch, so that
    none is lost. Outside the mapped area a pixel is nodata, not background.

    Parameters
    ----------
    source
        Landslide polygons in any CRS.
    grid
        Where the labels are wanted.
    area
        Polygons within which landslides were mapped; None means the whole grid was.

    Raises
    ------
    InputError
        If a file cannot be read, has no CRS, holds no or other features than polygons, or does not meet the grid; or if
        both are one file and `source` names no layer.
    """
    source = source if isinstance(source, VectorFile) else VectorFile(source)
    of_area = VectorFile(area) if isinstance(area, Path) else area
    if of_area and of_area.path == source.path and source.layer is None:  # else the area may count as a landslide
        raise InputError(f"{source.path}: holds landslides and mapped area; name the layer of each, first {source.key}")
    landslides, repaired, empty = read_polygons(source, grid, what="landslide polygons")
    mask = rasterize_polygons(landslides, grid)
    small = landslides[_lack_centres(landslides, grid)]
    mask |= rasterize_polygons(small, grid, all_touched=True)
    mapped_shape: Any = box(*grid.boundingbox.bbox)
    if of_area is not None:
        mapped = read_polygons(of_area, grid, what="polygons of the mapped area").frame
        mask[rasterize_polygons(mapped, grid) == 0] = NODATA
        mapped_shape = shapely.intersection(mapped.union_all(), mapped_shape)
    shapely.prepare(mapped_shape)
    area_m2 = shapely.union_all(shapely.intersection(landslides.geometry.to_numpy(), mapped_shape)).area
    touched = tuple(int(number) for number in small.index)
    return Labels(mask, len(landslides), touched, repaired, float(area_m2), empty)


def inventory_files(inventory: InventoryConfig) -> tuple[VectorFile, VectorFile | None]:
    """Tell what to read of an inventory: its landslides, and the area in which they were mapped."""
    landslides = VectorFile.of(inventory.path, inventory, "inventory.")
    if inventory.area is None:
        return landslides, None
    return landslides, VectorFile.of(inventory.area, inventory, "inventory.area_")


def rasterize_polygons(polygons: gpd.GeoDataFrame, grid: GeoBox, *, all_touched: bool = False) -> NDArray[np.uint8]:
    """Rasterize polygons, in the CRS of `grid`: 1 where the centre of a pixel lies in one of them, else 0.

    Parameters
    ----------
    polygons
        May be empty.
    grid
        Of the raster.
    all_touched
        Whether to take every pixel that they touch instead.

    Examples
    --------
    >>> from coslide.grid import Extent, common_grid
    >>> grid = common_grid([Extent("scene", "EPSG:32654", (500000, 0, 500040, 20))])
    >>> rasterize_polygons(gpd.GeoDataFrame(geometry=[box(500000, 0, 500016, 14)], crs="EPSG:32654"), grid)
    array([[0, 0, 0, 0],
           [1, 1, 0, 0]], dtype=uint8)
    """
    if polygons.empty:
        return np.zeros(grid.shape, dtype=np.uint8)
    options = {"transform": grid.affine, "all_touched": all_touched, "default_value": LANDSLIDE, "dtype": np.uint8}
    rasterized: NDArray[np.uint8] = rasterize(polygons.geometry, grid.shape, **options)
    return rasterized


def _lack_centres(polygons: gpd.GeoDataFrame, grid: GeoBox) -> NDArray[np.bool_]:
    """Find the polygons that hold no pixel centre of a grid that goes on without end."""
    shapes, bounds = polygons.geometry.to_numpy(), polygons.bounds.to_numpy()
    lack = np.ones(len(shapes), dtype=bool)
    for strip in _strips(grid):
        _, south, _, north = strip.boundingbox.bbox
        here = np.flatnonzero(lack & (bounds[:, 1] <= north) & (bounds[:, 3] >= south))
        if here.size:
            numbered = zip(shapes[here], here.tolist(), strict=True)
            present = rasterize(numbered, strip.shape, fill=-1, transform=strip.affine, dtype=np.int32)
            lack[here] &= ~np.isin(here, pd.unique(present.ravel()))
    # What is left may hide under others, or lie mostly beyond the edge of the grid: each on a window of its own.
    for i in np.flatnonzero(lack):
        left, bottom, right, top = bounds[i]
        (west, north), (east, south) = ~grid.affine * (left, top), ~grid.affine * (right, bottom)
        rows, columns = (slice(int(np.floor(a)), int(np.ceil(b))) for a, b in ((north, south), (west, east)))
        shape = max(rows.stop - rows.start, 1), max(columns.stop - columns.start, 1)
        window = GeoBox(shape, grid.translate_pix(columns.start, rows.start).affine, grid.crs)
        lack[i] = not any(
            rasterize([shapes[i]], strip.shape, transform=strip.affine, dtype=np.uint8).any()
            for strip in _strips(window)
        )
    return lack


def _strips(grid: GeoBox) -> Iterator[GeoBox]:
    """Cut a grid into strips of whole rows that take little memory."""
    return (grid[rows, :] for rows in row_strips(grid.shape.y, max(1, _STRIP_PX // grid.shape.x)))
