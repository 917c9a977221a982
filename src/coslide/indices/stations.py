"""Which stations tell something of a grid."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from odc.geo.geobox import GeoBox
from pyproj import Geod, Transformer

from coslide.errors import InputError

NEAREST_STATIONS = 30
FARTHEST_KM = 500.0
"""What lies farther from a grid tells nothing of it, and is more likely in a wrong place."""


def near_stations(
    grid: GeoBox, *, lon_deg: NDArray[np.float64], lat_deg: NDArray[np.float64], name: str
) -> tuple[NDArray[np.bool_], list[str]]:
    """Find the stations within 500 km of a grid, and a line for the log about the others, if there are any.

    Parameters
    ----------
    grid
        Target grid.
    lon_deg, lat_deg
        Stations, WGS 84, 1-D.
    name
        The table, for messages.

    Raises
    ------
    InputError
        If none is so near; in the log and here a line tells if they were, with longitude and latitude swapped.
    """
    left, bottom, right, top = grid.boundingbox
    to_degrees = Transformer.from_crs(str(grid.crs), "EPSG:4326", always_xy=True)
    middle = np.array(to_degrees.transform((left + right) / 2, (bottom + top) / 2))
    corners = to_degrees.transform([left, left, right, right], [bottom, top, bottom, top])
    earth = Geod(ellps="WGS84")

    def distances_m(lons_deg: ArrayLike, lats_deg: ArrayLike) -> NDArray[np.float64]:
        lons, lats = np.asarray(lons_deg), np.clip(lats_deg, -90, 90)
        from_lons, from_lats = np.outer(middle, np.ones(lons.size))
        return np.asarray(earth.inv(from_lons, from_lats, lons, lats)[2])

    reach_m = FARTHEST_KM * 1000.0 + distances_m(*corners).max()
    far = distances_m(lon_deg, lat_deg) > reach_m
    if not far.any():
        return ~far, []
    first = np.flatnonzero(far)[0]
    found = f"{far.sum()} of {far.size} stations lie more than {FARTHEST_KM:g} km from the grid"
    place = f"first the one at longitude {lon_deg[first]:g}, latitude {lat_deg[first]:g}"
    swapped = (np.abs(lon_deg[far]) <= 90) & (distances_m(lat_deg[far], lon_deg[far]) <= reach_m)
    hint = " (with longitude and latitude swapped they would be near: are the columns right?)" if swapped.any() else ""
    if far.all():
        raise InputError(f"{name}: {found}, {place}; expected some around it{hint}")
    return ~far, [f"{found} and are left out, {place}{hint}"]


def place_stations(
    grid: GeoBox, *, lon_deg: ArrayLike, lat_deg: ArrayLike, values: ArrayLike, within_km: float
) -> NDArray[np.float64]:
    """Select the stations to interpolate a grid from, in metres: those near it, and never fewer than the 30 nearest.

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
    ndarray of float64, (3, station)
        x and y in metres in the CRS of the grid, and what was measured; without any station where none is usable.

    Raises
    ------
    ValueError
        If the CRS of the grid is not projected in metres or the columns differ in length.

    Examples
    --------
    >>> grid = GeoBox.from_bbox((574000, 4725000, 574020, 4725010), crs="EPSG:32654", resolution=10)
    >>> place_stations(grid, lon_deg=[141.8, 141.9], lat_deg=[42.7, 42.7], values=[3.0, np.nan], within_km=10)[2]
    array([3.])
    """
    if grid.crs is None or not grid.crs.projected or set(grid.crs.units) != {"metre"}:
        raise ValueError(f"grid: found the CRS {grid.crs}, expected a projected one in metres")
    to_grid = Transformer.from_crs("EPSG:4326", grid.crs.to_wkt(), always_xy=True)
    table = np.array([*to_grid.transform(lon_deg, lat_deg), values], dtype=np.float64)
    table = table[:, np.isfinite(table).all(axis=0)]  # a projection answers with infinity far from its own zone
    (x_m, y_m, _), box = table, grid.boundingbox
    distance_m = np.hypot(x_m - np.clip(x_m, box.left, box.right), y_m - np.clip(y_m, box.bottom, box.top))
    nearest_m = np.sort(distance_m)[:NEAREST_STATIONS]
    return table[:, distance_m <= max([within_km * 1000.0, *nearest_m[-1:]])]
