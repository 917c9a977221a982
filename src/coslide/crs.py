"""Coordinate reference systems: what of them tells where on Earth something lies, and how they are written."""

import functools

import pyproj
from pyproj import Transformer
from pyproj.exceptions import CRSError, ProjError

from coslide.errors import InputError


@functools.lru_cache(maxsize=256)
def flat_crs(crs: str, name: str, *, like: str = "EPSG:4326") -> str:
    """Find the horizontal part of a CRS that tells where on Earth something lies.

    Of a compound CRS that is what heights stand beside, of one in three dimensions the one without heights.

    Parameters
    ----------
    crs
        WKT, a code such as ``"EPSG:9518"``, or a name.
    name, like
        The source, and what would be right there, for messages.

    Returns
    -------
    str
        Its EPSG code, as ``"EPSG:4326"``, or WKT where it has none.

    Raises
    ------
    InputError
        If it is no CRS, or one of plane coordinates somewhere (engineering), of heights alone, from the centre of the
        Earth, or of another planet.

    Examples
    --------
    >>> flat_crs("EPSG:9518", "dem"), flat_crs("EPSG:4979", "dem"), flat_crs("WGS 84 / UTM zone 59N", "grid.crs")
    ('EPSG:4326', 'EPSG:4326', 'EPSG:32659')
    """
    try:
        found = pyproj.CRS.from_user_input(crs).to_2d()
    except CRSError:
        raise InputError(f"{name}: found the CRS {crs!r}, expected one such as {like!r}") from None
    try:
        Transformer.from_crs(found, "EPSG:4326")
        reaches = len(found.axis_info) == 2 and found.ellipsoid is not None
    except ProjError:
        reaches = False
    if not reaches:
        kind = f"{found.type_name}, {found.name!r}"
        raise InputError(f"{name}: found a CRS that gives no place on Earth ({kind}), expected one such as {like!r}")
    return short_crs(found.to_wkt())


def metric_crs(text: str) -> str:
    """Read the CRS that a grid is asked for, its horizontal part, as `flat_crs` writes it.

    Raises
    ------
    InputError
        If it is no projected CRS in metres whose axes run east and north.

    Examples
    --------
    >>> metric_crs("EPSG:32654+5773")
    'EPSG:32654'
    """
    crs = flat_crs(text, "grid.crs", like="EPSG:32654")
    found = pyproj.CRS.from_user_input(crs)
    units, directions = ({getattr(axis, key) for axis in found.axis_info} for key in ("unit_name", "direction"))
    if not found.is_projected or units != {"metre"} or "west" in directions:
        kind = "latitude and longitude" if found.is_geographic else f"units {sorted(units)}"
        kind = "axes to the west and south" if "west" in directions else kind
        raise InputError(f"grid.crs: found {text!r} ({kind}), expected a projected CRS in metres, such as a UTM zone")
    return crs


def utm_zone(crs: str) -> str | None:
    """Find the code of `crs` if it is a UTM zone, as ``"EPSG:32654"``, else None.

    Examples
    --------
    >>> utm_zone(pyproj.CRS.from_epsg(32654).to_wkt()), utm_zone("EPSG:4326")
    ('EPSG:32654', None)
    """
    found = pyproj.CRS.from_user_input(crs)
    code = found.to_epsg() if found.utm_zone else None
    return f"EPSG:{code}" if code else None


def short_crs(wkt: str) -> str:
    """Find the EPSG code of a CRS given as WKT, as ``"EPSG:32654"``; the WKT itself where it has none.

    Examples
    --------
    >>> short_crs(pyproj.CRS.from_epsg(32654).to_wkt())
    'EPSG:32654'
    """
    code = pyproj.CRS.from_wkt(wkt).to_epsg()
    return f"EPSG:{code}" if code else wkt
