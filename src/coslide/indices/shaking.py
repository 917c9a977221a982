"""Peak ground acceleration (PGA) on the grid, from the stations that recorded it, and its classes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from coslide.errors import InputError
from coslide.event import PGA_LEVELS_G
from coslide.indices.classes import class_by_edges
from coslide.indices.kriging import krige_onto

NEAREST_STATIONS = 30
_COARSE_M = 100.0  # largest error against the direct solution 0.4 %, see krige_onto


def pga_class(pga_g: ArrayLike, *, levels_g: Sequence[float] = PGA_LEVELS_G) -> NDArray[np.uint8]:
    """Return the class of each peak ground acceleration: the number of levels it reaches (no unit).

    The levels of Table 2 of Yang et al. (2023, doi:10.3390/rs15040977) are contours of the ShakeMap, 0.04 g apart, and
    its maximum.

    Parameters
    ----------
    pga_g
        Peak ground acceleration in g, any shape.
    levels_g
        Lower edges of classes 1, 2, ... in g, ascending.

    Returns
    -------
    ndarray of uint8
        0 below the first level, a class of its own and not nodata; 255 where `pga_g` is NaN.

    Raises
    ------
    ValueError
        If the levels do not ascend, there are more than 254, or an acceleration is negative (then it is likely a
        logarithm).

    Notes
    -----
    Compared as float32, so that 0.26 reaches the level 0.26 in whichever of the two precisions it is stored.

    Examples
    --------
    >>> pga_class([0.05, 0.12, 0.25, 0.26, np.nan])
    array([  0,   1,   4,   5, 255], dtype=uint8)
    """
    return class_by_edges(pga_g, levels_g, lowest=0)


def pga_field(
    grid: GeoBox, *, lon_deg: ArrayLike, lat_deg: ArrayLike, pga_g: ArrayLike, within_km: float = 150.0
) -> NDArray[np.float32]:
    """Return the peak ground acceleration in g at the cell centres of `grid`, kriged from stations.

    The logarithm is kriged (`coslide.indices.kriging.krige_onto`): accelerations vary by factors, and none can become
    negative.

    Parameters
    ----------
    grid
        Target grid in a projected CRS in metres.
    lon_deg, lat_deg
        Stations, WGS 84, 1-D.
    pga_g
        What they recorded, in g, 1-D. Stations whose value is NaN, infinite, 0 or negative are left out.
    within_km
        Only stations this near to the edge of the grid count, but never fewer than the 30 nearest. Far stations tell
        nothing of the grid and bend the variogram towards long distances.

    Returns
    -------
    ndarray of float32
        (row, col) of the grid, finite and positive everywhere.

    Raises
    ------
    InputError
        If no station has a usable value and position.
    ValueError
        If the CRS of the grid is not projected in metres or the columns differ in length.

    Notes
    -----
    The field has no term for site conditions or for the distance to the source. On the 130 stations within 150 km of
    the centre of the 2018 Hokkaido event, each estimated from the others is wrong by a factor of 1.5 to 1.6 (0.42 to
    0.46 in ln PGA, whichever model and radius from 100 km up; a trend in the logarithm of the distance did not lower
    it): the ground under neighbouring stations differs by as much.

    Examples
    --------
    >>> grid = GeoBox.from_bbox((574000, 4725000, 574020, 4725010), crs="EPSG:32654", resolution=10)
    >>> pga_field(grid, lon_deg=[141.8, 142.1], lat_deg=[42.7, 42.7], pga_g=[0.5, 0.5])
    array([[0.5, 0.5]], dtype=float32)
    """
    if grid.crs is None or not grid.crs.projected or set(grid.crs.units) != {"metre"}:
        raise ValueError(f"grid: found the CRS {grid.crs}, expected a projected one in metres")
    to_grid = Transformer.from_crs("EPSG:4326", grid.crs.to_wkt(), always_xy=True)
    table = np.array([*to_grid.transform(lon_deg, lat_deg), pga_g], dtype=np.float64)
    # A projection answers with infinity far from its own zone.
    x_m, y_m, recorded_g = table[:, np.isfinite(table).all(axis=0) & (table[2] > 0)]
    if recorded_g.size == 0:
        raise InputError(f"shaking: found no station with a PGA above 0 among {table.shape[1]}, expected at least one")
    distance_m = _distance_to(grid, x_m, y_m)
    reach_m = max(within_km * 1000.0, np.sort(distance_m)[:NEAREST_STATIONS][-1])
    near = distance_m <= reach_m
    return krige_onto(grid, x_m[near], y_m[near], recorded_g[near], coarse_m=_COARSE_M, log=True)


def _distance_to(grid: GeoBox, x_m: NDArray[np.float64], y_m: NDArray[np.float64]) -> NDArray[np.float64]:
    box = grid.boundingbox
    beside = np.maximum(np.maximum(box.left - x_m, x_m - box.right), 0.0)
    beyond = np.maximum(np.maximum(box.bottom - y_m, y_m - box.top), 0.0)
    distance_m: NDArray[np.float64] = np.hypot(beside, beyond)
    return distance_m
