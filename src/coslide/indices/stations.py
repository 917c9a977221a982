"""Which stations a grid is interpolated from, and where they stand in its CRS."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer

NEAREST_STATIONS = 30


class Placed(NamedTuple):
    """Stations near a grid: x and y in metres in its CRS and what they measured, each float64 (station,)."""

    x_m: NDArray[np.float64]
    y_m: NDArray[np.float64]
    values: NDArray[np.float64]


def place_stations(
    grid: GeoBox, *, lon_deg: ArrayLike, lat_deg: ArrayLike, values: ArrayLike, within_km: float
) -> Placed:
    """Select the stations to interpolate a grid from, in metres: those near it, and never fewer than the 30 nearest.

    Far stations tell nothing of the grid and bend the variogram towards long distances.

    Parameters
    ----------
    grid
        In a projected CRS in metres.
    lon_deg, lat_deg
        Stations, WGS 84, 1-D. Those so far away that the projection has no place for them are left out.
    values
        What they measured, 1-D. Stations whose value is NaN or infinite are left out.
    within_km
        Distance from the edge of the grid; stations on it are at distance 0.

    Returns
    -------
    Placed
        Without any station where none is usable.

    Raises
    ------
    ValueError
        If the CRS of the grid is not projected in metres or the columns differ in length.

    Examples
    --------
    >>> grid = GeoBox.from_bbox((574000, 4725000, 574020, 4725010), crs="EPSG:32654", resolution=10)
    >>> place_stations(grid, lon_deg=[141.8, 141.9], lat_deg=[42.7, 42.7], values=[3.0, np.nan], within_km=10).values
    array([3.])
    """
    if grid.crs is None or not grid.crs.projected or set(grid.crs.units) != {"metre"}:
        raise ValueError(f"grid: found the CRS {grid.crs}, expected a projected one in metres")
    to_grid = Transformer.from_crs("EPSG:4326", grid.crs.to_wkt(), always_xy=True)
    table = np.array([*to_grid.transform(lon_deg, lat_deg), values], dtype=np.float64)
    # A projection answers with infinity far from its own zone.
    x_m, y_m, measured = table[:, np.isfinite(table).all(axis=0)]
    if measured.size == 0:
        return Placed(x_m, y_m, measured)
    distance_m = _distance_to(grid, x_m, y_m)
    near = distance_m <= max(within_km * 1000.0, np.sort(distance_m)[:NEAREST_STATIONS][-1])
    return Placed(x_m[near], y_m[near], measured[near])


def _distance_to(grid: GeoBox, x_m: NDArray[np.float64], y_m: NDArray[np.float64]) -> NDArray[np.float64]:
    box = grid.boundingbox
    beside = np.maximum(np.maximum(box.left - x_m, x_m - box.right), 0.0)
    beyond = np.maximum(np.maximum(box.bottom - y_m, y_m - box.top), 0.0)
    distance_m: NDArray[np.float64] = np.hypot(beside, beyond)
    return distance_m
