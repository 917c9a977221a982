"""Rasters of any CRS on windows of the grid: the one way onto the grid."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT

from coslide.grid import overlap_slices, pixel_coordinates, pixel_offset

Read = Callable[[slice, slice], NDArray[Any]]
"""Reads rows and columns of a raster: float32 with NaN, or unsigned integers with 0, where there is no value."""

LARGEST_READ_PX = 2**24
"""Read at once; a window that needs more of a raster is done in halves."""
_PLACE_PX = 3e-6  # pixels of the raster by which a pixel of the grid may be misplaced
_NOT_COARSER = 0.75  # pixels of a raster at least this large against those of the grid are interpolated, not averaged
_KERNEL_PX = {Resampling.nearest: 1, Resampling.bilinear: 1, Resampling.cubic: 2, Resampling.cubic_spline: 2}


def resample(
    raster: GeoBox, read: Read, window: GeoBox, *, how: Resampling, shift_m: tuple[float, float] = (0.0, 0.0)
) -> NDArray[Any]:
    """Bring the values of a raster onto the pixels of `window`, in the raster's unit.

    Parameters
    ----------
    raster
        Where its pixels lie.
    read
        Reads its values.
    window
        North up.
    how
        ``nearest``, ``bilinear``, ``cubic`` or ``cubic_spline``, where pixels do not coincide. Where the pixels of the
        raster are smaller than three quarters of those of the grid, kernels are widened, which averages.
    shift_m
        By how much (east, north) the content is moved, in the same step.

    Returns
    -------
    ndarray, (row, col)
        Of the type that `read` returns; NaN (or 0) where the centre of a pixel lies in a raster pixel without a value,
        or beyond the raster. Other raster pixels without a value are left out of kernels, and the rest is re-weighted;
        so a raster goes on level from its outermost pixel centres to its edge.

    Notes
    -----
    Whatever the window, a pixel is taken from the same place to 3e-6 of a raster pixel: 0.1 mm of one of 30 m. GDAL,
    which warps what is neither copied nor bilinear in one CRS, is therefore told the tolerance of its transformer (by
    default an eighth of a pixel) and the scale of its kernels (``XSCALE`` and ``YSCALE`` of `GDALWarpOptions
    <https://gdal.org/en/stable/api/gdalwarp_cpp.html>`_): it would guess that from the bounding box of what it reads,
    with ripples of 0.06 pixels.

    Examples
    --------
    >>> values = np.array([[1.0, 2.0], [3.0, 4.0]], dtype=np.float32)
    >>> raster = GeoBox(values.shape, Affine(20, 0, 500000, 0, -20, 4700040), "EPSG:32654")
    >>> grid = GeoBox((1, 4), Affine(10, 0, 500000, 0, -10, 4700040), "EPSG:32654")
    >>> resample(raster, lambda rows, cols: values[rows, cols], grid, how=Resampling.bilinear)
    array([[1.  , 1.25, 1.75, 2.  ]], dtype=float32)
    """
    place = Affine.translation(-shift_m[0], -shift_m[1]) * window
    if raster.crs == window.crs and raster.axis_aligned:
        if how is Resampling.nearest or pixel_offset(raster, place) is not None:
            return _sampled(raster, read, place)
        if how is Resampling.bilinear and max(_scale_of_grid(raster, place)) <= 1:
            return _sampled(raster, read, place, bilinear=True)
    return _warped(raster, read, place, how)


def _sampled(raster: GeoBox, read: Read, place: GeoBox, *, bilinear: bool = False) -> NDArray[Any]:
    """Take the nearest pixels of a raster in the CRS of the grid, or interpolate between them.

    GDAL takes ten times as long to interpolate, and there are a dozen such bands to a scene.
    """
    to_raster = ~raster.affine @ place.affine
    down = to_raster.f + to_raster.e * (np.arange(place.shape.y) + 0.5)
    right = to_raster.c + to_raster.a * (np.arange(place.shape.x) + 0.5)
    rows, own_rows, has_row = _reached(down, raster.shape.y, margin=int(bilinear))
    cols, own_cols, has_col = _reached(right, raster.shape.x, margin=int(bilinear))
    if _is_large(rows, cols, place):
        return _in_halves(place, lambda half: _sampled(raster, read, half, bilinear=bilinear))
    values = read(rows, cols)
    if not values.size:
        return np.full(place.shape, _nodata(values.dtype), values.dtype)
    found: NDArray[Any] = values.take(own_rows - rows.start, axis=0).take(own_cols - cols.start, axis=1)
    if bilinear:
        positions, valid, missing = (down - rows.start, right - cols.start), np.isfinite(values), ~np.isfinite(found)
        found = _interpolate(np.where(valid, values, 0), *positions)
        if not valid.all():
            with np.errstate(divide="ignore", invalid="ignore"):
                found /= _interpolate(valid.astype(np.float32), *positions)
            found[missing] = np.nan
    found[~np.logical_and.outer(has_row, has_col)] = _nodata(values.dtype)
    return found


def _is_large(rows: slice, cols: slice, place: GeoBox) -> bool:
    return (rows.stop - rows.start) * (cols.stop - cols.start) > LARGEST_READ_PX and max(place.shape) > 1


def _in_halves(place: GeoBox, resampled: Callable[[GeoBox], NDArray[Any]]) -> NDArray[Any]:
    """Resample the halves of a window along its longer side."""
    (height, width), axis = place.shape, int(place.shape.x > place.shape.y)
    halves = (
        (place[: height // 2], place[height // 2 :]) if axis == 0 else (place[:, : width // 2], place[:, width // 2 :])
    )
    return np.concatenate([resampled(half) for half in halves], axis=axis)


def _reached(at: NDArray[np.float64], size: int, *, margin: int) -> tuple[slice, NDArray[np.int64], NDArray[np.bool_]]:
    """Find the part of an axis of a raster that holds some positions, the pixel of each, and whether it lies on one.

    A position on the border of two pixels, as 12.5 m have with 10 m, belongs to the same one in every window.
    """
    index = np.floor(at + _PLACE_PX).astype(int)
    inside, nearest = (index >= 0) & (index < size), index.clip(0, size - 1)
    if not inside.any():
        return slice(0, 0), nearest, inside
    return slice(max(int(nearest.min()) - margin, 0), min(int(nearest.max()) + 1 + margin, size)), nearest, inside


def _interpolate(
    values: NDArray[np.float32], down: NDArray[np.float64], right: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Interpolate between pixel centres, at positions in pixels from the outer corner; level beyond the outermost."""
    for axis, at in ((1, right), (0, down)):  # columns first, while rows are few
        last = values.shape[axis] - 1
        place = (at - 0.5).clip(0, last)
        low = place.astype(int)
        share = np.expand_dims((place - low).astype(np.float32), 1 - axis)
        lower, upper = values.take(low, axis=axis), values.take(np.minimum(low + 1, last), axis=axis)
        values = lower + share * (upper - lower)
    return values


def _warped(raster: GeoBox, read: Read, place: GeoBox, how: Resampling) -> NDArray[Any]:
    """Let GDAL warp the part of a raster around `place`."""
    scale = _scale_of_grid(raster, place)
    rows, cols = slice(0, 0), slice(0, 0)
    if np.isfinite(scale).all():  # else it lies so far away that a CRS does not reach
        rows, cols = overlap_slices(raster, place, padding=math.ceil(_KERNEL_PX[how] * max(1.0, *scale)) + 2)
    if _is_large(rows, cols, place):
        return _in_halves(place, lambda half: _warped(raster, read, half, how))
    values, part = read(rows, cols), raster[rows, cols]
    out = np.full(place.shape, _nodata(values.dtype), values.dtype)
    if not values.size:
        return out
    down, right = (1.0 if size <= 1 / _NOT_COARSER else 1 / size for size in scale)
    options = {"resampling": how, "tolerance": _PLACE_PX, "XSCALE": right, "YSCALE": down}
    turns_deg, (west, _, east, _) = [0.0], part.boundingbox.bbox
    if raster.crs is not None and raster.crs.geographic:  # PROJ's longitudes run from -180 to 180
        turns_deg = [turn for turn in (-360.0, 0.0, 360.0) if west + turn < 180 and east + turn > -180]
    for turn_deg in turns_deg:
        found = _warp(values, Affine.translation(turn_deg, 0) * part, place, **options)
        missing = np.isnan(out) if out.dtype.kind == "f" else out == 0
        out[missing] = found[missing]
    return out


def _warp(values: NDArray[Any], raster: GeoBox, place: GeoBox, **options: Any) -> NDArray[Any]:
    source = {"crs": str(raster.crs), "transform": raster.affine, "height": raster.shape.y, "width": raster.shape.x}
    target = {"crs": str(place.crs), "transform": place.affine, "height": place.shape.y, "width": place.shape.x}
    nodata = _nodata(values.dtype)
    with MemoryFile() as file:
        with file.open(driver="GTiff", count=1, dtype=values.dtype, nodata=nodata, **source) as dataset:
            dataset.write(values, 1)
        with file.open() as dataset, WarpedVRT(dataset, **target, **options) as warped:
            return np.asarray(warped.read(1))


def _scale_of_grid(raster: GeoBox, grid: GeoBox) -> tuple[float, float]:
    """Measure a pixel of the grid in rows and columns of the raster: at the middle of the raster, for every window."""
    to_grid = Transformer.from_crs(str(raster.crs), str(grid.crs), always_xy=True)
    x, y = to_grid.transform(*(raster.affine @ (raster.shape.x / 2, raster.shape.y / 2)))
    pixel = GeoBox((1, 1), Affine(grid.affine.a, 0, x, 0, grid.affine.e, y), grid.crs)
    at = pixel_coordinates(raster, pixel, points=2)
    down, right = np.hypot(at[:, 0, 1] - at[:, 0, 0], at[:, 1, 0] - at[:, 0, 0])
    return float(down), float(right)


def _nodata(dtype: np.dtype[Any]) -> float:
    """Name what stands for no value: NaN in floats, 0 in integers."""
    return np.nan if dtype.kind == "f" else 0
