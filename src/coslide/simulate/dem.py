"""The elevation model of a simulated event: the true ground as a global model would have it."""

import math
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.warp import Resampling, reproject, transform_bounds

from coslide.simulate.frame import Frame
from coslide.simulate.land import Terrain
from coslide.simulate.noise import smooth_field
from coslide.simulate.recipe import Recipe

NODATA = -9999.0
_PER_DEGREE = 3600  # cells of one arc second
_CELL_M = 30.0  # about
_ERROR_M, _ERROR_RANGE_M = 1.0, 2000.0
_RIM_CELLS = 2


def write_dem(path: Path, recipe: Recipe, terrain: Terrain) -> None:
    """Write the elevation in metres as a GeoTIFF in degrees, one arc second, as Copernicus GLO-30 has it.

    Each cell is the mean of the ground in it, plus an error that varies slowly (standard deviation 1 m, correlated over
    2 km): on well-seen ground the absolute error of such models is of that order.

    Parameters
    ----------
    path
        File to write; one that is there is replaced.
    recipe
        Its `seed` decides the error.
    terrain
        The true ground.

    Notes
    -----
    EPSG:4326, float32, tiled, deflate; the edges lie on whole arc seconds. Cells that the ground does not touch are
    -9999: the square of the ground is not square in degrees.
    """
    grid = dem_grid(terrain.frame)
    height = np.full(grid.shape, NODATA, dtype=np.float32)
    reproject(
        terrain.height_m,
        height,
        src_transform=terrain.frame.ground.affine,
        src_crs=str(terrain.frame.ground.crs),
        dst_transform=grid.affine,
        dst_crs="EPSG:4326",
        dst_nodata=NODATA,
        resampling=Resampling.average,
        num_threads=1,
    )
    known = height != np.float32(NODATA)
    error = smooth_field(recipe.random("dem"), height.shape, _CELL_M, range_m=_ERROR_RANGE_M)
    height[known] += np.float32(_ERROR_M) * error[known]
    profile = {
        "driver": "GTiff", "dtype": "float32", "count": 1, "nodata": NODATA,
        "width": height.shape[1], "height": height.shape[0], "crs": "EPSG:4326", "transform": grid.affine,
        "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "predictor": 3,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(height, 1)
        file.update_tags(1, units="m")


def dem_grid(frame: Frame) -> GeoBox:
    """Return the grid of the elevation model: whole arc seconds around the ground, two cells more on each side."""
    box = frame.ground.boundingbox
    west, south, east, north = transform_bounds(str(frame.ground.crs), "EPSG:4326", *box.bbox, densify_pts=41)
    left, right = (math.floor(west * _PER_DEGREE) - _RIM_CELLS, math.ceil(east * _PER_DEGREE) + _RIM_CELLS)
    bottom, top = (math.floor(south * _PER_DEGREE) - _RIM_CELLS, math.ceil(north * _PER_DEGREE) + _RIM_CELLS)
    cell = 1 / _PER_DEGREE
    affine = Affine(cell, 0, left / _PER_DEGREE, 0, -cell, top / _PER_DEGREE)
    return GeoBox((top - bottom, right - left), affine, "EPSG:4326")
