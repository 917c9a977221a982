"""Rasters warped by GDAL, the same to the bit whatever the window."""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.warp import reproject

from coslide.io.footprint import Footprint, places_at, span_within

Read = Callable[[slice, slice], NDArray[Any]]
"""Returns the values at rows and columns of a raster: float32 with NaN, or uint8 with 0, where there is none."""

BLOCK = (256, 384)
"""Rows and columns of the blocks that GDAL warps, in cells of the grid, counted from the origin of its CRS."""

_BEND_PX = 0.003  # cells of the raster by which GDAL may misplace a cell of the grid
_MOST_PIECES = 16
_NO_COARSER = 0.75  # cells of a raster at least this large against those of the grid are interpolated, not averaged
_KERNEL_PX = {Resampling.nearest: 1, Resampling.bilinear: 1, Resampling.cubic: 2, Resampling.cubic_spline: 2}


class Axis(NamedTuple):
    """Cells of a window along one axis: they lie at ``phase + index * step``, with `index` from `first` on."""

    phase: float
    step: float
    first: int
    size: int


class _Block(NamedTuple):
    """What GDAL warps at once: cells of the grid, the part of the raster they need, and how to look at it."""

    first: tuple[int, int]
    shape: tuple[int, int]
    part: tuple[slice, slice]
    scale: tuple[float, float]


def warped(raster: Footprint, read: Read, axes: tuple[Axis, Axis], crs: str, *, how: Resampling) -> NDArray[Any]:
    """Return the values of a raster that GDAL finds on a window, block by block, in the raster's unit.

    Parameters
    ----------
    raster
        Where its cells lie.
    read
        Reads its values.
    axes
        The rows and columns of the window.
    crs
        Of the window.
    how
        The kernel.

    Returns
    -------
    ndarray, (row, col)
        Of the type that `read` returns; NaN (or 0) as in `coslide.io.resample.resample`.

    Notes
    -----
    GDAL's rounding depends on where its target begins, so its targets are blocks that are counted from the origin of
    the CRS. It takes the transformation for linear along each row of its target (its approximate transformer; the
    tolerance that rasterio is given has no effect, measured with GDAL 3.10). So a block is cut into pieces so narrow
    that this misplaces a cell by 0.003 cells of the raster at most. The scale of kernels GDAL guesses, block by block,
    from the bounding box of what it reads, with ripples of 0.06 cells. It is told the scale instead (``XSCALE`` and
    ``YSCALE`` of `GDALWarpOptions <https://gdal.org/en/stable/api/gdalwarp_cpp.html>`_).

    In threads, rasterio may warn of a raster without georeference (its own, in memory): callers silence
    ``NotGeoreferencedWarning`` for all of them.
    """
    blocks = list(_blocks(raster, axes, crs, how))
    rows, cols = (_hull([block.part[k] for block in blocks]) for k in (0, 1))
    values = read(rows, cols)
    out = nodata_array((axes[0].size, axes[1].size), values.dtype)
    pair = CRS.from_user_input(raster.crs), CRS.from_user_input(crs)
    for block in blocks:
        down, right = block.part
        placed = raster.transform @ Affine.translation(right.start, down.start)
        own = values[
            down.start - rows.start : down.stop - rows.start, right.start - cols.start : right.stop - cols.start
        ]
        found = _warp(own, (placed, _affine(axes, block)), pair, how=how, block=block)
        top, left = (first - axis.first for first, axis in zip(block.first, axes, strict=True))
        inside = slice(max(top, 0), top + block.shape[0]), slice(max(left, 0), left + block.shape[1])
        out[inside] = found[max(-top, 0) : axes[0].size - top, max(-left, 0) : axes[1].size - left]
    return out


def _blocks(raster: Footprint, axes: tuple[Axis, Axis], crs: str, how: Resampling) -> Iterator[_Block]:
    """Yield the blocks that a window and the raster have in common."""
    (rows, y), (cols, x) = (_numbered(axis, size) for axis, size in zip(axes, BLOCK, strict=True))
    places = places_at(raster, crs, y, x)
    for (i, row), (j, col) in itertools.product(enumerate(rows), enumerate(cols)):
        own = places[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        if not np.isfinite(own).all():  # so far away that the CRS of the raster does not reach
            continue
        # Cells of the raster to a cell of the grid.
        down, right = np.hypot((own[:, 1, 2] - own[:, 1, 0]) / BLOCK[1], (own[:, 2, 1] - own[:, 0, 1]) / BLOCK[0])
        part = _part(own[0], down, raster.shape[0], how), _part(own[1], right, raster.shape[1], how)
        if any(side.start == side.stop for side in part):
            continue
        for start, stop in _pieces(own):
            first = row * BLOCK[0], col * BLOCK[1] + start
            if axes[1].first - (stop - start) < first[1] < axes[1].first + axes[1].size:
                yield _Block(first, (BLOCK[0], stop - start), part, (_scale(right), _scale(down)))


def _numbered(axis: Axis, size: int) -> tuple[range, NDArray[np.float64]]:
    """Return the numbers of the blocks along an axis, and where they begin, have their middles and end."""
    numbers = range(axis.first // size, (axis.first + axis.size - 1) // size + 1)
    halves: NDArray[np.float64] = np.arange(2 * numbers.start, 2 * numbers.stop + 1, dtype=np.float64)
    return numbers, axis.phase + axis.step * (size / 2) * halves


def _scale(cells: float) -> float:
    return 1.0 if cells <= 1 / _NO_COARSER else 1 / float(cells)


def _part(places: NDArray[np.float64], reach: float, size: int, how: Resampling) -> slice:
    """Return the part of an axis of the raster that a block needs, kernels included."""
    margin = math.ceil(_KERNEL_PX[how] * max(1.0, reach)) + 2
    return span_within(math.floor(places.min()) - margin, math.ceil(places.max()) + margin, size)


def _pieces(places: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last column (exclusive) of the pieces of a block; half a row bends by a quarter."""
    bend = np.abs(places[:, :, 1] - (places[:, :, 0] + places[:, :, 2]) / 2).max()
    edges = np.linspace(0, BLOCK[1], min(max(math.ceil(math.sqrt(bend / _BEND_PX)), 1), _MOST_PIECES) + 1).astype(int)
    yield from itertools.pairwise(edges.tolist())


def _hull(parts: list[slice]) -> slice:
    if not parts:
        return slice(0, 0)
    return slice(min(part.start for part in parts), max(part.stop for part in parts))


def _affine(axes: tuple[Axis, Axis], block: _Block) -> Affine:
    rows, cols = axes
    top, left = (axis.phase + first * axis.step for axis, first in zip(axes, block.first, strict=True))
    return Affine(cols.step, 0, left, 0, rows.step, top)


def _warp(
    values: NDArray[Any], transforms: tuple[Affine, Affine], crs: tuple[CRS, CRS], *, how: Resampling, block: _Block
) -> NDArray[Any]:
    out = nodata_array(block.shape, values.dtype)
    nothing = out[0, 0]
    reproject(
        values,
        out,
        src_transform=transforms[0],
        src_crs=crs[0],
        src_nodata=nothing,
        dst_transform=transforms[1],
        dst_crs=crs[1],
        dst_nodata=nothing,
        resampling=how,
        num_threads=1,  # with more, GDAL leaves out what it cannot read without a word
        XSCALE=block.scale[0],
        YSCALE=block.scale[1],
    )
    return out


def nodata_array(shape: tuple[int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return an array without a value anywhere: NaN if `dtype` is a float, else 0.

    Examples
    --------
    >>> nodata_array((1, 2), np.dtype(np.float32))
    array([[nan, nan]], dtype=float32)
    """
    empty: NDArray[Any] = np.full(shape, np.nan if dtype.kind == "f" else 0, dtype=dtype)
    return empty
