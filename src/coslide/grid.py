"""The one grid that every index of an event lies on: metres, north up, square cells.

A grid is an `odc.geo.geobox.GeoBox` (CRS, transform and shape). Rows run from north to south.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pyproj
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from odc.geo.geom import BoundingBox
from pyproj import Transformer
from pyproj.aoi import AreaOfInterest
from pyproj.database import query_utm_crs_info
from pyproj.exceptions import CRSError

from coslide.errors import InputError


class Extent(NamedTuple):
    """The bounds of a source, (left, bottom, right, top) in the units of its own CRS, and what to call it."""

    name: str
    crs: str
    bounds: tuple[float, float, float, float]


class Lattice(NamedTuple):
    """Where the cells of a source lie: those of `crs` with a corner at (`x_m`, `y_m`) and every `step_m` from there."""

    crs: str
    x_m: float
    y_m: float
    step_m: float


def common_grid(
    extents: Sequence[Extent], *, pixel_size_m: float = 10.0, crs: str | None = None, lattice: Lattice | None = None
) -> GeoBox:
    """Return the grid, in metres, that covers the ground all `extents` share.

    Its edges are multiples of the cell size, so grids of neighbouring areas fit together.

    Parameters
    ----------
    extents
        What must overlap: at least one source.
    pixel_size_m
        Side of a cell.
    crs
        A projected CRS in metres (``"EPSG:32654"``). None chooses the WGS 84 UTM zone of the centre of the first
        extent.
    lattice
        If it is in the CRS of the grid and its step is a multiple of the cell size, the edges lie on it, and the ground
        grows by less than a step. So the 20 and 60 m cells of a Sentinel-2 tile hold whole cells of the grid.

    Returns
    -------
    GeoBox
        Row 0 is the northernmost.

    Raises
    ------
    InputError
        If the CRS is unknown or not in metres, or the extents do not overlap.

    Examples
    --------
    >>> common_grid([Extent("scene", "EPSG:4326", (141.89, 42.68, 141.97, 42.77))]).crs.to_epsg()
    32654
    """
    target = _metric_crs(crs) if crs else _utm_crs(extents[0])
    boxes = [(extent.name, _reproject(extent, target)) for extent in extents]
    shared = boxes[0][1]
    for name, box in boxes[1:]:
        left, bottom = max(shared.left, box.left), max(shared.bottom, box.bottom)
        right, top = min(shared.right, box.right), min(shared.top, box.top)
        if left >= right or bottom >= top:
            raise InputError(
                f"{name}: does not overlap {boxes[0][0]}; found {_describe(box)}, expected to meet {_describe(shared)}"
                f" ({target})"
            )
        shared = BoundingBox(left, bottom, right, top, CRS(target))
    if lattice is not None and _fits(lattice, target, pixel_size_m):
        shared = _onto(shared, lattice)
    return GeoBox.from_bbox(shared, resolution=pixel_size_m)  # anchored at multiples of the cell size


def joined(name: str, extents: Sequence[Extent]) -> Extent:
    """Return the smallest extent that holds all `extents`, in the CRS of the first one.

    Parameters
    ----------
    name
        What to call it.
    extents
        At least one.

    Raises
    ------
    InputError
        If they lie on both sides of the 180th meridian.

    Examples
    --------
    >>> tiles = [Extent("a", "EPSG:32654", (0, 0, 60, 60)), Extent("b", "EPSG:32654", (60, 0, 120, 90))]
    >>> joined("scene", tiles).bounds
    (0, 0, 120, 90)
    """
    crs = extents[0].crs
    boxes = [extent.bounds if extent.crs == crs else _reproject(extent, crs).bbox for extent in extents]
    longitudes = [_centre(extent)[0] for extent in extents]
    if max(longitudes) - min(longitudes) > 180:
        raise InputError(f"{name}: lies on both sides of the 180th meridian; map each side for itself")
    lefts, bottoms, rights, tops = zip(*boxes, strict=True)
    return Extent(name, crs, (min(lefts), min(bottoms), max(rights), max(tops)))


def pixel_size_m(grid: GeoBox) -> float:
    """Return the side of a cell of `grid` in metres.

    Examples
    --------
    >>> pixel_size_m(common_grid([Extent("scene", "EPSG:32654", (500000, 0, 500050, 50))]))
    10.0
    """
    return float(abs(grid.affine.a))


def slices_of(window: GeoBox, grid: GeoBox) -> tuple[slice, slice]:
    """Return the rows and the columns of `grid` that `window` covers.

    Parameters
    ----------
    window
        A part of `grid`: same CRS, same cells.
    grid
        The whole.

    Raises
    ------
    ValueError
        If the window reaches beyond the grid or its cells are not cells of the grid.

    Examples
    --------
    >>> grid = common_grid([Extent("scene", "EPSG:32654", (500000, 0, 500050, 80))])
    >>> slices_of(grid[2:5, :3], grid)
    (slice(2, 5, None), slice(0, 3, None))
    """
    column, row = ~grid.affine * (window.affine.c, window.affine.f)
    top, left = round(row), round(column)
    fits = abs(row - top) < 1e-6 and abs(column - left) < 1e-6 and window.crs == grid.crs
    inside = 0 <= top <= grid.shape.y - window.shape.y and 0 <= left <= grid.shape.x - window.shape.x
    if not (fits and inside):
        raise ValueError(f"window: found {window.boundingbox.bbox}, expected a part of {grid.boundingbox.bbox}")
    return slice(top, top + window.shape.y), slice(left, left + window.shape.x)


def utm_zone(crs: str) -> str | None:
    """Return the code of `crs` if it is a UTM zone, as ``"EPSG:32654"``, else None.

    Examples
    --------
    >>> utm_zone(pyproj.CRS.from_epsg(32654).to_wkt()), utm_zone("EPSG:4326")
    ('EPSG:32654', None)
    """
    known = pyproj.CRS.from_user_input(crs)
    code = known.to_epsg() if known.utm_zone else None
    return f"EPSG:{code}" if code else None


def short_crs(wkt: str) -> str:
    """Return the EPSG code of a CRS given as WKT, as ``"EPSG:32654"``; the WKT itself where it has none.

    Examples
    --------
    >>> short_crs(pyproj.CRS.from_epsg(32654).to_wkt())
    'EPSG:32654'
    """
    code = pyproj.CRS.from_wkt(wkt).to_epsg()
    return f"EPSG:{code}" if code else wkt


def _describe(box: BoundingBox) -> str:
    return f"x {box.left:.0f} to {box.right:.0f} m, y {box.bottom:.0f} to {box.top:.0f} m"


def _metric_crs(text: str) -> str:
    try:
        found = pyproj.CRS.from_user_input(text)
    except CRSError:
        raise InputError(f"grid.crs: found {text!r}, expected a CRS such as 'EPSG:32654'") from None
    units = {axis.unit_name for axis in found.axis_info[:2]}
    if not found.is_projected or units != {"metre"}:
        kind = "latitude and longitude" if found.is_geographic else f"units {sorted(units)}"
        raise InputError(f"grid.crs: found {text!r} ({kind}), expected a projected CRS in metres, such as a UTM zone")
    return text


def _utm_crs(extent: Extent) -> str:
    lon, lat = _centre(extent)
    zones = query_utm_crs_info(datum_name="WGS 84", area_of_interest=AreaOfInterest(lon, lat, lon, lat))
    if not zones:
        raise InputError(f"{extent.name}: no UTM zone at longitude {lon:.3f}, latitude {lat:.3f}; give grid.crs")
    return f"EPSG:{zones[0].code}"


def _centre(extent: Extent) -> tuple[float, float]:
    left, bottom, right, top = extent.bounds
    to_degrees = Transformer.from_crs(extent.crs, "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform((left + right) / 2, (bottom + top) / 2)
    return float(lon), float(lat)


def _fits(lattice: Lattice, target: str, pixel_size_m: float) -> bool:
    whole = abs(lattice.step_m / pixel_size_m - round(lattice.step_m / pixel_size_m)) < 1e-9
    return whole and pyproj.CRS.from_user_input(lattice.crs) == pyproj.CRS.from_user_input(target)


def _onto(box: BoundingBox, lattice: Lattice) -> BoundingBox:
    def snap(value: float, origin: float, rounding: Callable[[float], int]) -> float:
        # A millionth of a step: bounds that come back from another CRS are off by less.
        slack = 1e-6 if rounding is math.floor else -1e-6
        return origin + rounding((value - origin) / lattice.step_m + slack) * lattice.step_m

    return BoundingBox(
        snap(box.left, lattice.x_m, math.floor),
        snap(box.bottom, lattice.y_m, math.floor),
        snap(box.right, lattice.x_m, math.ceil),
        snap(box.top, lattice.y_m, math.ceil),
        box.crs,
    )


def _reproject(extent: Extent, crs: str) -> BoundingBox:
    bounds = Transformer.from_crs(extent.crs, crs, always_xy=True).transform_bounds(*extent.bounds, densify_pts=21)
    return BoundingBox(*bounds, CRS(crs))
