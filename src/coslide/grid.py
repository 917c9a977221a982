"""The one grid that every index of an event lies on: metres, north up, square cells.

A grid is an `odc.geo.geobox.GeoBox` (CRS, transform and shape). Rows run from north to south.
"""

from collections.abc import Sequence
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


def common_grid(extents: Sequence[Extent], *, cell_size_m: float = 10.0, crs: str | None = None) -> GeoBox:
    """Return the grid, in metres, that covers the ground all `extents` share.

    Its edges are multiples of the cell size, so grids of neighbouring areas fit together.

    Parameters
    ----------
    extents
        What must overlap: at least one source.
    cell_size_m
        Side of a cell.
    crs
        A projected CRS in metres (``"EPSG:32654"``). None chooses the WGS 84 UTM zone of the centre of the first
        extent.

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
    return GeoBox.from_bbox(shared, resolution=cell_size_m)


def cell_size_m(grid: GeoBox) -> float:
    """Return the side of a cell of `grid` in metres.

    Examples
    --------
    >>> cell_size_m(common_grid([Extent("scene", "EPSG:32654", (500000, 0, 500050, 50))]))
    10.0
    """
    return float(abs(grid.affine.a))


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
    to_degrees = Transformer.from_crs(extent.crs, "EPSG:4326", always_xy=True)
    left, bottom, right, top = extent.bounds
    lon, lat = to_degrees.transform((left + right) / 2, (bottom + top) / 2)
    zones = query_utm_crs_info(datum_name="WGS 84", area_of_interest=AreaOfInterest(lon, lat, lon, lat))
    if not zones:
        raise InputError(f"{extent.name}: no UTM zone at longitude {lon:.3f}, latitude {lat:.3f}; give grid.crs")
    return f"EPSG:{zones[0].code}"


def _reproject(extent: Extent, crs: str) -> BoundingBox:
    bounds = Transformer.from_crs(extent.crs, crs, always_xy=True).transform_bounds(*extent.bounds, densify_pts=21)
    return BoundingBox(*bounds, CRS(crs))
