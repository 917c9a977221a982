"""From the cells of a raster to those of a window of the grid, the same to the bit whatever the window.

Three ways, the first that fits: cells that coincide are copied; a raster in the CRS of the grid is interpolated with
weights that depend on the cell alone; everything else is warped by GDAL in blocks that do not depend on the window.
"""

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling

from coslide.io.footprint import Footprint, same_crs, span_within
from coslide.io.warp import Axis, Read, nodata_array, warped

_SAME_CELL = 1e-3  # of a cell


def resample(
    raster: Footprint, read: Read, window: GeoBox, *, how: Resampling, shift_m: tuple[float, float] = (0.0, 0.0)
) -> NDArray[Any]:
    """Return the values of a raster on the cells of `window`, in the raster's unit.

    Parameters
    ----------
    raster
        Where its cells lie.
    read
        Reads its values.
    window
        North up.
    how
        ``nearest``, ``bilinear``, ``cubic`` or ``cubic_spline``, where cells do not coincide. Where the cells of the
        raster are smaller than three quarters of those of the grid, kernels are widened, which averages.
    shift_m
        By how much (east, north) the content is moved, in the same step.

    Returns
    -------
    ndarray, (row, col)
        Of the type that `read` returns; NaN (or 0) where the centre of a cell lies in a raster cell without a value,
        or beyond the raster. Other raster cells without a value are left out of kernels, and the rest is re-weighted;
        so a raster goes on level from its outermost cell centres to its edge.

    Notes
    -----
    A cell has the same value, to the bit, whatever the window: positions are counted from the origin of the CRS in
    whole cells, also where GDAL's blocks begin (`coslide.io.warp` says how exact they are).

    In threads, rasterio may warn of a raster without georeference (its own, in memory): callers silence
    ``NotGeoreferencedWarning`` for all of them.

    Examples
    --------
    >>> from affine import Affine
    >>> values = np.array([[1.0, 2.0], [3.0, 4.0]], dtype=np.float32)
    >>> raster = Footprint("EPSG:32654", Affine(20, 0, 500000, 0, -20, 4700040), values.shape)
    >>> grid = GeoBox((1, 4), Affine(10, 0, 500000, 0, -10, 4700040), "EPSG:32654")
    >>> resample(raster, lambda rows, cols: values[rows, cols], grid, how=Resampling.bilinear)
    array([[1.  , 1.25, 1.75, 2.  ]], dtype=float32)
    """
    axes = _axes(window, shift_m)
    if _upright(raster, window):
        down, right = (_positions(axis, *line) for axis, line in zip(axes, _lines(raster), strict=True))
        if _coincide(raster, axes):
            return _picked(raster, read, np.rint(down - 0.5).astype(int), np.rint(right - 0.5).astype(int))
        if how is Resampling.nearest:
            return _picked(raster, read, np.floor(down).astype(int), np.floor(right).astype(int))
        finer = abs(axes[0].step) <= -raster.transform.e and axes[1].step <= raster.transform.a
        if how is Resampling.bilinear and finer:
            return _interpolated(raster, read, down, right)
    return warped(raster, read, axes, str(window.crs), how=how)


def coincides(raster: Footprint, grid: GeoBox) -> bool:
    """Return whether cells of `grid` are cells of the raster, to a thousandth; then `resample` copies them.

    Examples
    --------
    >>> from affine import Affine
    >>> raster = Footprint("EPSG:32654", Affine(10, 0, 500000, 0, -10, 4700040), (3, 3))
    >>> coincides(raster, GeoBox((9, 9), Affine(10, 0, 500010, 0, -10, 4700040), "EPSG:32654"))
    True
    """
    return _upright(raster, grid) and _coincide(raster, _axes(grid, (0.0, 0.0)))


def _axes(window: GeoBox, shift_m: tuple[float, float]) -> tuple[Axis, Axis]:
    affine = window.affine
    return (
        _axis(affine.f - shift_m[1], affine.e, window.shape.y),
        _axis(affine.c - shift_m[0], affine.a, window.shape.x),
    )


def _axis(start: float, step: float, count: int) -> Axis:
    # Rounding takes away what the transform of a window gathered on its way from the grid's.
    cells = round(start / step, 6)
    first = math.floor(cells)
    return Axis(round((cells - first) * step, 6), step, first, count)


def _lines(raster: Footprint) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return where rows and columns of an upright raster begin, and their steps."""
    return (raster.transform.f, raster.transform.e), (raster.transform.c, raster.transform.a)


def _upright(raster: Footprint, grid: GeoBox) -> bool:
    north_up = raster.transform.b == 0 == raster.transform.d and raster.transform.a > 0 > raster.transform.e
    return north_up and same_crs(raster.crs, str(grid.crs))


def _positions(axis: Axis, origin: float, spacing: float) -> NDArray[np.float64]:
    """Return where the centres of cells lie, in cells of the raster from its edge."""
    index: NDArray[np.float64] = np.arange(axis.first, axis.first + axis.size, dtype=np.float64)
    return (axis.phase + (index + 0.5) * axis.step - origin) / spacing


def _coincide(raster: Footprint, axes: tuple[Axis, Axis]) -> bool:
    """Return whether cells coincide over the whole raster, so that it does not depend on the window."""
    for axis, (origin, spacing), size in zip(axes, _lines(raster), raster.shape, strict=True):
        cells = (origin - axis.phase) / axis.step
        if abs(spacing / axis.step - 1) * size > _SAME_CELL or abs(cells - round(cells)) > _SAME_CELL:
            return False
    return True


def _span(indices: NDArray[np.int64], size: int, *, margin: int = 0) -> slice:
    """Return the part of an axis of a raster that holds `indices`; empty where it does not reach them."""
    return span_within(int(indices[0]) - margin, int(indices[-1]) + 1 + margin, size)


def _picked(raster: Footprint, read: Read, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[Any]:
    """Return the values of the raster cells `rows` x `cols`."""
    down, right = _span(rows, raster.shape[0]), _span(cols, raster.shape[1])
    values = read(down, right)
    out = nodata_array((rows.size, cols.size), values.dtype)
    if values.size == 0:
        return out
    there = tuple(
        slice(*np.searchsorted(index, (part.start, part.stop))) for index, part in ((rows, down), (cols, right))
    )
    own_rows, own_cols = rows[there[0]] - down.start, cols[there[1]] - right.start
    if own_rows.size != values.shape[0]:
        values = values[own_rows]
    out[there] = values if own_cols.size == values.shape[1] else values[:, own_cols]
    return out


def _interpolated(
    raster: Footprint, read: Read, down: NDArray[np.float64], right: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return what GDAL returns too, but it takes 16 times as long, and there are a dozen such bands to a scene."""
    rows, cols = np.floor(down).astype(int), np.floor(right).astype(int)
    part = _span(rows, raster.shape[0], margin=1), _span(cols, raster.shape[1], margin=1)
    values = read(*part)
    out = np.full((down.size, right.size), np.nan, dtype=np.float32)
    if values.size:
        _bilinear(values, down - part[0].start, right - part[1].start, out)
    return out


def _known_mean(values, down, right):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Return the mean of those of the four cells around a position that exist and are known."""
    top, left = math.floor(down - 0.5), math.floor(right - 0.5)
    low, east = down - 0.5 - top, right - 0.5 - left
    total, weight = 0.0, 0.0
    for m in range(2):
        for n in range(2):
            if 0 <= top + m < values.shape[0] and 0 <= left + n < values.shape[1]:
                value = values[top + m, left + n]
                if not math.isnan(value):
                    own = (low if m else 1 - low) * (east if n else 1 - east)
                    total += own * value
                    weight += own
    return total / weight


def _bilinear_cells(values, down, right, out):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Fill `out` with `values` at the positions `down` x `right`, in cells from the edge of `values`."""
    height, width = values.shape
    lefts = np.floor(right - 0.5).astype(np.int64)
    right_weights = right - 0.5 - lefts
    for i in range(down.size):
        near, top = math.floor(down[i]), math.floor(down[i] - 0.5)
        if near < 0 or near >= height:
            continue
        low = down[i] - 0.5 - top
        for j in range(right.size):
            left, east = lefts[j], right_weights[j]
            if top >= 0 and top + 1 < height and left >= 0 and left + 1 < width:
                upper = (1 - east) * values[top, left] + east * values[top, left + 1]
                lower = (1 - east) * values[top + 1, left] + east * values[top + 1, left + 1]
                mean = (1 - low) * upper + low * lower
                if not math.isnan(mean):
                    out[i, j] = mean
                    continue
            col = math.floor(right[j])
            if 0 <= col < width and not math.isnan(values[near, col]):
                out[i, j] = _mean(values, down[i], right[j])


# Strips are computed in threads already: nogil, not parallel. fastmath stays off, it would drop NaN.
_mean = njit(nogil=True, cache=True)(_known_mean)
_bilinear = njit(nogil=True, cache=True)(_bilinear_cells)
