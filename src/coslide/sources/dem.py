"""Elevation models on the grid."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling

from coslide.errors import InputError
from coslide.event import Dem
from coslide.sources.raster import open_raster, warp_onto

RESAMPLING = Resampling.cubic_spline  # bilinear facets make curvature noise; nearest makes it meaningless
USUAL_VOIDS_M = (-32768.0, -9999.0)
LOWEST_LAND_M = -500.0  # the Dead Sea shore lies at -430 m


class Elevation(NamedTuple):
    """Elevation in metres, float32 (row, col), NaN in voids; `integer` if the source stores whole metres."""

    metres: NDArray[np.float32]
    integer: bool


def read_elevation(dem: Dem, grid: GeoBox) -> Elevation:
    """Return the elevation, in metres, of `dem` on `grid` by cubic-spline resampling.

    Voids (the declared nodata value or the one of the event file) are NaN. They are not filled.

    Raises
    ------
    InputError
        If the raster cannot be read, lacks a CRS or has several bands, or holds -32768 or -9999 as ground because it
        declares no nodata.
    """
    with open_raster(dem.path) as dataset:
        if dataset.count > 1:
            raise InputError(f"{dem.path}: holds {dataset.count} bands; expected elevation alone")
        integer = np.issubdtype(np.dtype(dataset.dtypes[0]), np.integer)
    metres = warp_onto(dem.path, grid, resampling=RESAMPLING, nodata=dem.nodata)
    if np.any(metres < LOWEST_LAND_M):
        raise InputError(
            f"{dem.path}: found elevations down to {np.nanmin(metres):.0f} m, expected land; its voids "
            f"(often {USUAL_VOIDS_M[0]:.0f} or {USUAL_VOIDS_M[1]:.0f}) are not declared: give dem.nodata"
        )
    return Elevation(metres, bool(integer))
