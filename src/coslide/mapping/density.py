"""How dense landslides are: their number and their area in each square kilometre."""

import math
from pathlib import Path

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import rasterio
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from coslide.io.atomic import whole_output

SQUARE_M = 1000.0


def density_grid(
    frame: gpd.GeoDataFrame, known: npt.NDArray[np.bool_], grid: GeoBox
) -> tuple[npt.NDArray[np.float32], GeoBox]:
    """Return landslides per km2 and the share of the ground that slid [0 to 1], float32 (2, row, col), and their grid.

    A landslide counts where a point inside it lies, with all its area. Squares are of 1 km, and both numbers are those
    of the known ground of a square; NaN where nothing is known.

    Parameters
    ----------
    frame
        Landslides as `coslide.mapping.inventory.vectorize_landslides` gives them, in the CRS of `grid`.
    known
        Where the map has a value, bool (row, col).
    grid
        The grid of the map, north up.

    Examples
    --------
    >>> grid = GeoBox((100, 150), Affine(10, 0, 0, 0, -10, 1000), "EPSG:32648")
    >>> frame = gpd.GeoDataFrame({"area_m2": [500.0]}, geometry=[shapely.box(1200, 500, 1220, 525)], crs=32648)
    >>> density, _ = density_grid(frame, np.ones((100, 150), dtype=bool), grid)
    >>> density[:, 0].tolist()  # the second square is cut in half by the edge of the map
    [[0.0, 2.0], [0.0, 0.001]]
    """
    left, top, cell_m = grid.affine.c, grid.affine.f, abs(grid.affine.a)
    shape = (math.ceil(grid.shape[0] * cell_m / SQUARE_M), math.ceil(grid.shape[1] * cell_m / SQUARE_M))
    own = GeoBox(shape, Affine(SQUARE_M, 0, left, 0, -SQUARE_M, top), grid.crs)
    rows, cols = ((np.arange(length) * cell_m / SQUARE_M).astype(np.int64) for length in known.shape)
    across = np.stack([np.bincount(cols, row, minlength=shape[1]) for row in known.astype(np.float64)])
    known_m2 = np.zeros(shape)
    np.add.at(known_m2, rows, across * cell_m**2)
    points = shapely.point_on_surface(frame.geometry.to_numpy())
    x, y = shapely.get_x(points), shapely.get_y(points)
    place = ((top - y) // SQUARE_M).astype(np.int64) * shape[1] + ((x - left) // SQUARE_M).astype(np.int64)
    number = np.bincount(place, minlength=known_m2.size).reshape(shape)
    area_m2 = np.bincount(place, frame["area_m2"].to_numpy(), minlength=known_m2.size).reshape(shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.stack([number / (known_m2 / 1e6), area_m2 / known_m2])
    found[:, known_m2 == 0] = np.nan
    return found.astype(np.float32), own


def write_density(path: Path, density: npt.NDArray[np.float32], grid: GeoBox) -> Path:
    """Return the path of a GeoTIFF of what `density_grid` gives, written whole or not at all.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    profile = {"driver": "GTiff", "count": 2, "dtype": "float32", "nodata": np.nan, "compress": "DEFLATE"}
    profile |= {"height": grid.shape[0], "width": grid.shape[1], "crs": str(grid.crs), "transform": grid.affine}
    with whole_output(path) as part, rasterio.open(part, "w", **profile) as file:
        file.write(density)
        file.descriptions = ("landslides per km2", "share of the ground that slid")
        file.units = ("km-2", "1")
    return path
