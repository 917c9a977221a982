"""The one grid that every index of an event lies on: metres, north up, square pixels.

A grid is an `odc.geo.geobox.GeoBox` (CRS, transform and shape). Rows run from north to south.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from odc.geo import xy_
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from odc.geo.geom import BoundingBox
from odc.geo.math import is_almost_int
from odc.geo.roi import roi_from_points, roi_is_empty, roi_pad
from pyproj import Transformer

from coslide.crs import metric_crs
from coslide.errors import InputError

LARGEST_GRID_PX = 2 * 10**9
"""Of a grid: a band of that size has 8 GB, and an elevation model is held whole."""
_SAME_PIXEL = 1e-3  # of a pixel
_WIDE_DEG, _AROUND_DEG = 20.0, 5.0  # bounds of a raster of half the Earth mean nothing in a UTM zone: clipped before


class Extent(NamedTuple):
    """The bounds of a source, (left, bottom, right, top) in the units of its own CRS, and what to call it."""

    name: str
    crs: str
    bounds: tuple[float, float, float, float]


def common_grid(
    extents: Sequence[Extent], *, pixel_size_m: float = 10.0, crs: str | None = None, lattice: GeoBox | None = None
) -> GeoBox:
    """Build the grid, in metres, that covers what all `extents` share.

    Its edges are multiples of the pixel size, so grids of neighbouring areas fit together.

    Parameters
    ----------
    extents
        What must overlap: at least one source.
    pixel_size_m
        Side of a pixel.
    crs
        A projected CRS in metres (``"EPSG:32654"``). None chooses the WGS 84 UTM zone of the centre of the first
        extent.
    lattice
        Any pixel of a coarser raster. If it is in the CRS of the grid and its side is a multiple of the pixel size, the
        edges lie on those of such pixels, and the grid grows by less than one. So the 20 and 60 m pixels of a
        Sentinel-2 tile hold whole pixels of the grid.

    Returns
    -------
    GeoBox
        Row 0 is the northernmost.

    Raises
    ------
    InputError
        If the CRS is unknown or not in metres, the extents do not overlap, or share more than 2 billion pixels.

    Examples
    --------
    >>> common_grid([Extent("scene", "EPSG:4326", (141.89, 42.68, 141.97, 42.77))]).crs.to_epsg()
    32654
    """
    target = metric_crs(crs) if crs else _utm_crs(extents[0])
    shared = _reproject(extents[0], target)
    for extent in extents[1:]:
        box, before = _reproject(extent, target, near=shared), shared
        shared = before & box
        if shared.left >= shared.right or shared.bottom >= shared.top:
            expected = f"expected to meet {_describe(before)} ({target})"
            raise InputError(f"{extent.name}: does not overlap {extents[0].name}; found {_describe(box)}, {expected}")
    if lattice is not None and is_almost_int(lattice.affine.a / pixel_size_m, 1e-9) and lattice.crs == shared.crs:
        step_m, _, x_m, _, _, y_m = lattice.affine[:6]
        anchor = xy_(x_m % step_m / step_m, y_m % step_m / step_m)
        # A millionth of a step: bounds that come back from another CRS are off by less.
        shared = GeoBox.from_bbox(shared, resolution=step_m, anchor=anchor, tol=1e-6).boundingbox
    if shared.span_x * shared.span_y > LARGEST_GRID_PX * pixel_size_m**2:
        shape = f"{shared.span_x / pixel_size_m:.0f} x {shared.span_y / pixel_size_m:.0f} pixels of {pixel_size_m:g} m"
        raise InputError(f"grid: found an area of {shape}, expected at most {LARGEST_GRID_PX:g}; give grid.area")
    return GeoBox.from_bbox(shared, resolution=pixel_size_m)  # anchored at multiples of the pixel size


def join_extents(name: str, extents: Sequence[Extent]) -> Extent:
    """Join extents to the smallest one that holds all, in the CRS of the first one.

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
    >>> join_extents("scene", tiles).bounds
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
    """Measure the side of a pixel of `grid` in metres.

    Examples
    --------
    >>> pixel_size_m(common_grid([Extent("scene", "EPSG:32654", (500000, 0, 500050, 50))]))
    10.0
    """
    return float(abs(grid.affine.a))


def pixel_offset(part: GeoBox, whole: GeoBox) -> tuple[int, int] | None:
    """Find the row and the column of `whole` at which `part` begins; None where their pixels do not coincide.

    Both may reach beyond the other. Pixels coincide if all over `part` they do to a thousandth of a pixel.

    Examples
    --------
    >>> grid = common_grid([Extent("scene", "EPSG:32654", (500000, 0, 500050, 80))])
    >>> pixel_offset(grid[2:5, 1:3], grid), pixel_offset(grid.pad(1), grid), pixel_offset(grid.zoom_out(2), grid)
    ((2, 1), (-1, -1), None)
    """
    if part.crs != whole.crs:
        return None
    corners = np.array([(0, 0), (part.shape.x, 0), (0, part.shape.y)], dtype=np.float64).T
    moved = np.stack(~whole.affine @ (part.affine @ tuple(corners))) - corners
    column, row = offset = moved[:, 0].round()
    return (int(row), int(column)) if np.abs(moved.T - offset).max() < _SAME_PIXEL else None


def same_grid(one: GeoBox, other: GeoBox) -> bool:
    """Tell whether two rasters lie on one grid: the same CRS, shape and pixels, to a thousandth of a pixel.

    Examples
    --------
    >>> grid = common_grid([Extent("scene", "EPSG:32654", (500000, 0, 500050, 80))])
    >>> same_grid(grid, grid[:, :]), same_grid(grid, grid[1:, :])
    (True, False)
    """
    return one.shape == other.shape and pixel_offset(one, other) == (0, 0)


def slices_of(window: GeoBox, grid: GeoBox) -> tuple[slice, slice]:
    """Find the rows and the columns of `grid` that `window` covers.

    Parameters
    ----------
    window
        A part of `grid`: same CRS, same pixels.
    grid
        The whole.

    Raises
    ------
    ValueError
        If the window reaches beyond the grid or its pixels are not pixels of the grid.

    Examples
    --------
    >>> grid = common_grid([Extent("scene", "EPSG:32654", (500000, 0, 500050, 80))])
    >>> slices_of(grid[2:5, :3], grid)
    (slice(2, 5, None), slice(0, 3, None))
    """
    top, left = pixel_offset(window, grid) or (-1, -1)
    if not (0 <= top <= grid.shape.y - window.shape.y and 0 <= left <= grid.shape.x - window.shape.x):
        raise ValueError(f"window: found {window.boundingbox.bbox}, expected a part of {grid.boundingbox.bbox}")
    return slice(top, top + window.shape.y), slice(left, left + window.shape.x)


def pixel_coordinates(raster: GeoBox, grid: GeoBox, *, points: int = 33) -> NDArray[np.float64]:
    """Compute where points of `grid` lie in a raster, in pixels of the raster from its outer corner.

    Parameters
    ----------
    raster
        If its CRS is geographic, longitudes are taken in the turn of the globe that its middle lies in: a raster may
        run from 0 to 360 degrees or beyond 180.
    grid
        Turned or not: a tile of an elevation model is asked about too.
    points
        How many there are along each side of the grid, from edge to edge.

    Returns
    -------
    ndarray of float64, (2, row, col)
        Row and column in the raster; not finite where its CRS does not reach.

    Examples
    --------
    >>> from affine import Affine
    >>> raster = GeoBox((8, 8), Affine(1, 0, 176, 0, -1, 4), "EPSG:4326")
    >>> grid = GeoBox((2, 2), Affine(0.5, 0, -180, 0, -0.5, 1), "EPSG:4326")
    >>> pixel_coordinates(raster, grid, points=2).tolist()
    [[[3.0, 3.0], [4.0, 4.0]], [[4.0, 5.0], [4.0, 5.0]]]
    """
    rows, cols = (np.linspace(0, size, points) for size in grid.shape)
    to_raster = Transformer.from_crs(str(grid.crs), str(raster.crs), always_xy=True)
    (col, row), (a, b, c, d, e, f) = np.meshgrid(cols, rows), grid.affine[:6]
    x, y = to_raster.transform(c + a * col + b * row, f + d * col + e * row)
    if to_raster.target_crs is not None and to_raster.target_crs.is_geographic:
        middle, _ = raster.affine @ (raster.shape.x / 2, raster.shape.y / 2)
        x = x - 360.0 * np.round((x - middle) / 360.0)
    with np.errstate(invalid="ignore"):  # infinity where the CRS does not reach
        return np.stack((~raster.affine @ (x, y))[::-1])


def overlap_slices(raster: GeoBox, grid: GeoBox, *, padding: int = 0) -> tuple[slice, slice]:
    """Find the rows and the columns of a raster that cover `grid`, and so many more; empty where the two do not meet.

    Examples
    --------
    >>> from affine import Affine
    >>> raster = GeoBox((8, 8), Affine(1, 0, 176, 0, -1, 4), "EPSG:4326")
    >>> overlap_slices(raster, GeoBox((2, 2), Affine(0.5, 0, -180, 0, -0.5, 1), "EPSG:4326"), padding=1)
    (slice(2, 5, None), slice(3, 6, None))
    """
    part = roi_from_points(pixel_coordinates(raster, grid)[::-1].reshape(2, -1).T, raster.shape)
    if roi_is_empty(part):
        return slice(0, 0), slice(0, 0)
    rows, cols = (slice(span.start, span.stop) for span in roi_pad(part, padding, tuple(raster.shape)))
    return rows, cols


def _describe(box: BoundingBox) -> str:
    return f"x {box.left:.0f} to {box.right:.0f} m, y {box.bottom:.0f} to {box.top:.0f} m"


def _utm_crs(extent: Extent) -> str:
    lon, lat = _centre(extent)
    try:
        return str(CRS.utm(lon, lat))
    except ValueError:
        problem = f"no UTM zone at longitude {lon:.3f}, latitude {lat:.3f}; give grid.crs"
        raise InputError(f"{extent.name}: {problem}") from None


def _centre(extent: Extent) -> tuple[float, float]:
    left, bottom, right, top = extent.bounds
    to_degrees = Transformer.from_crs(extent.crs, "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform((left + right) / 2, (bottom + top) / 2)
    return (float(lon) + 180.0) % 360.0 - 180.0, float(lat)


def _reproject(extent: Extent, crs: str, near: BoundingBox | None = None) -> BoundingBox:
    """Find the bounds of an extent in `crs`; those of a very wide one only around `near`, a box in `crs`."""
    bounds = extent.bounds
    if near is not None and CRS(extent.crs).geographic and max(np.subtract(bounds[2:], bounds[:2])) > _WIDE_DEG:
        back = Transformer.from_crs(crs, extent.crs, always_xy=True).transform_bounds(*near.bbox, densify_pts=21)
        bounds = _around(back, bounds)
    found = Transformer.from_crs(extent.crs, crs, always_xy=True).transform_bounds(*bounds, densify_pts=21)
    if not np.isfinite(found).all():
        left, bottom, right, top = bounds
        place = f"x {left:g} to {right:g}, y {bottom:g} to {top:g}"
        raise InputError(f"{extent.name}: found {place}, expected an area that {crs} has coordinates for")
    return BoundingBox(*found, CRS(crs))


def _around(
    near: tuple[float, float, float, float], bounds: tuple[float, float, float, float]
) -> tuple[float, float, float, float]:
    """Clip bounds in degrees to a few degrees around `near`; all of them where the two do not meet."""
    west, east = near[0] - _AROUND_DEG, near[2] + _AROUND_DEG + (360 if near[0] > near[2] else 0)
    if bounds[2] - bounds[0] < 360 - 1e-6:  # else there is no western and no eastern end
        west, east = max(west, bounds[0]), min(east, bounds[2])
    south, north = max(near[1] - _AROUND_DEG, bounds[1]), min(near[3] + _AROUND_DEG, bounds[3])
    return (west, south, east, north) if west < east and south < north else bounds
