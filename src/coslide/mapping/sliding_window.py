"""The probability map of a whole scene: read in strips, blended from overlapping tiles."""

import functools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from coslide.io.executor import prefetch
from coslide.mapping.strips import BoolArray, FloatArray, ReadRows, Strip, ValidRows, slabs_of, strips_of
from coslide.windows import window_starts

Predict = Callable[[npt.NDArray[np.float32]], FloatArray]
Progress = Callable[[int, int], None]
Rows = tuple[int, npt.NDArray[np.float32]]

_READ_AHEAD = 2  # strips that are read while one is predicted


@dataclass(frozen=True, slots=True)
class TilingOptions:
    """Return the sizes by which a scene is cut into overlapping tiles and put together again.

    Parameters
    ----------
    tile
        Edge of a square tile [pixels]; the size the network was trained with.
    stride
        Step from one tile to the next [pixels], 1 to `tile`. At half a tile every pixel away from the rim is seen by
        four tiles; at three quarters, by 1.8 on average.
    batch
        Tiles given to the network at once. It changes memory and speed, not the result.
    threads
        How many threads give tiles to the network at the same time, a batch each. It changes memory and speed, not the
        result.

    Raises
    ------
    ValueError
        If a size is below 1 or the stride is longer than the tile, which would leave gaps.

    Examples
    --------
    >>> TilingOptions(tile=128, stride=96).stride
    96
    """

    tile: int = 128
    stride: int = 96
    batch: int = 8
    threads: int = 1

    def __post_init__(self) -> None:
        if min(self.tile, self.stride, self.batch, self.threads) < 1 or self.stride > self.tile:
            raise ValueError(f"expected sizes of at least 1 and stride <= tile, found {self}")


def collect(rows: Iterable[Rows]) -> npt.NDArray[np.float32]:
    """Return blocks of rows, as `predict_rows` gives them, as one float32 array (row, col) in memory.

    Raises
    ------
    ValueError
        If there is no block.

    Examples
    --------
    >>> collect([(0, np.zeros((1, 2), np.float32)), (1, np.ones((1, 2), np.float32))])
    array([[0., 0.],
           [1., 1.]], dtype=float32)
    """
    return np.concatenate([block for _, block in rows])


def predict_rows(
    read_rows: ReadRows,
    predict: Predict,
    shape: tuple[int, int],
    *,
    blending: TilingOptions | None = None,
    valid_rows: ValidRows | None = None,
    layers: int = 1,
    rows: tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> Iterator[Rows]:
    """Return the landslide probability [0 to 1] of a scene in blocks of rows, from the top down, as they are final.

    Overlapping tiles are averaged with raised-cosine weights, w(i) = sin^2(pi (i + 1/2) / tile) along rows and columns,
    which are above zero up to the rim of a tile and divided by their sum at each pixel. The rim of the scene is
    therefore mapped like its middle. Every row is read once, in a thread of its own and a little ahead, and memory
    depends on the width of the scene, not on its height.

    Parameters
    ----------
    read_rows
        ``read_rows(start, stop)`` gives rows start to stop - 1 of the network's input as float32 (band, row, col),
        normalised, with finite numbers also where the scene is not valid.
    predict
        ``predict(tiles)`` gives for float32 (tile, band, row, col) the landslide probability as (tile, row, col). It
        is called in other threads, `blending.threads` of them at once.
    shape
        Size of the scene (height, width) [pixels].
    blending
        Tile, stride and batch; 128, 96 and 8 by default.
    valid_rows
        ``valid_rows(start, stop)`` gives bool (row, col), True = usable. Tiles without any valid pixel are not given
        to `predict`. None: all is valid.
    layers
        With more than one, `predict` gives (tile, layer, row, col), and blocks are (layer, row, col).
    rows
        First row and one past the last that are wanted; all by default. They come out as they would among all.
    progress
        Called with (rows done, rows in all) after each block.

    Yields
    ------
    tuple of int and ndarray
        First row of the block and its probability, float32 (row, col), NaN where the scene is not valid. The blocks
        follow each other without gap or overlap.

    Raises
    ------
    ValueError
        If the scene has no pixel, if what `read_rows`, `valid_rows` or `predict` give has another shape than
        described, or if a probability of a tile is not finite.

    Notes
    -----
    The last row and column of tiles is moved inwards so that it ends at the edge of the scene. A scene smaller than
    a tile is padded by reflection at its lower and right edge, and the result is cropped.

    Examples
    --------
    >>> scene = np.ones((1, 5, 3), dtype=np.float32)
    >>> found = predict_rows(
    ...     lambda start, stop: scene[:, start:stop],
    ...     lambda tiles: 0.25 * tiles[:, 0],
    ...     (5, 3),
    ...     blending=TilingOptions(tile=2, stride=1),
    ... )
    >>> [(start, block.shape) for start, block in found]
    [(0, (1, 3)), (1, (1, 3)), (2, (1, 3)), (3, (2, 3))]
    """
    height, width = shape
    if height < 1 or width < 1:
        raise ValueError(f"expected a scene of at least one row and column, found (height, width) = {shape}")
    sizes = blending or TilingOptions()
    first, last = rows or (0, height)
    tops, row_total = _windows(height, sizes)
    lefts, col_total = _windows(width, sizes)
    ends = [*tops[1:], height]
    # A row is complete only with every row of windows that covers it.
    needed = [k for k, top in enumerate(tops) if top + sizes.tile > first and top < last]
    # The windows are a product grid, so weights that sum to 1 along each axis sum to 1 in the plane.
    weight = _raised_cosine(sizes.tile)
    across = np.stack([weight / col_total[left : left + sizes.tile] for left in lefts])
    total = np.zeros((layers, sizes.tile, max(width, sizes.tile)))  # float64: sums to exactly 1 in float32
    strips = strips_of(read_rows, valid_rows, shape, tile=sizes.tile, tops=[tops[k] for k in needed])
    with prefetch(strips, _READ_AHEAD) as read, _pool(sizes.threads) as pool:
        slabs = zip((tops[k] for k in needed), slabs_of(read, sizes.tile), strict=True)
        found = functools.partial(_found, predict=predict, layers=layers)
        begun = _begun(slabs, np.array(lefts), found, sizes=sizes, pool=pool)
        for k, windows in zip(needed, _one_behind(begun), strict=True):  # no thread waits for the end of a row
            down = weight / row_total[tops[k] : tops[k] + sizes.tile]
            for own, probability in zip(windows.groups, windows.found, strict=True):
                _add(total, probability.result(), np.array(lefts)[own], down, across[own])
            final = ends[k] - tops[k]
            start, stop = max(tops[k], first), min(ends[k], last)
            if start < stop:
                block = total[:, start - tops[k] : stop - tops[k], :width].astype(np.float32)
                if windows.valid is not None:
                    block[:, ~windows.valid[start - tops[k] : stop - tops[k], :width]] = np.nan
                yield start, block if layers > 1 else block[0]
                if progress is not None:
                    progress(stop - first, last - first)
            total[:, : sizes.tile - final] = total[:, final:]
            total[:, sizes.tile - final :] = 0


class _Begun(NamedTuple):
    """A row of windows that is being predicted: where it is valid, its windows in groups, and what is found of each."""

    valid: BoolArray | None
    groups: list[list[int]]
    found: list[Future[npt.NDArray[np.float32]]]


@contextmanager
def _pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Return threads to predict in; what has not begun when the block ends is not done."""
    pool = ThreadPoolExecutor(threads)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _begun(
    slabs: Iterable[tuple[int, Strip]],
    lefts: npt.NDArray[np.int64],
    found: Callable[..., npt.NDArray[np.float32]],
    *,
    sizes: TilingOptions,
    pool: ThreadPoolExecutor,
) -> Iterator[_Begun]:
    """Give the windows over each slab to the threads; those without a valid pixel are left out."""
    batch = min(sizes.batch, -(-len(lefts) // sizes.threads))  # a narrow scene keeps all threads busy too
    for top, slab in slabs:
        usable = np.ones(slab.inputs.shape[2], dtype=bool)
        if slab.valid is not None:
            usable[:] = slab.valid.any(axis=0)
        picked = [j for j, left in enumerate(lefts) if usable[left : left + sizes.tile].any()]
        groups = [picked[i : i + batch] for i in range(0, len(picked), batch)]
        yield _Begun(slab.valid, groups, [pool.submit(found, slab, lefts[own], top=top) for own in groups])


def _one_behind(items: Iterable[_Begun]) -> Iterator[_Begun]:
    """Return each item when the next one is there too; before an error of `items`, what was there."""
    waiting: list[_Begun] = []
    try:
        for item in items:
            waiting.append(item)
            if len(waiting) > 1:
                yield waiting.pop(0)
    except Exception:
        yield from waiting
        raise
    yield from waiting


def _found(
    slab: Strip, lefts: npt.NDArray[np.int64], *, predict: Predict, layers: int, top: int
) -> npt.NDArray[np.float32]:
    """Return what `predict` makes of the windows of a slab that begin at `lefts`, float32 (tile, layer, row, col)."""
    bands, tile, _ = slab.inputs.shape
    tiles = np.empty((len(lefts), bands, tile, tile), dtype=np.float32)
    for place, left in zip(tiles, lefts, strict=True):
        place[...] = slab.inputs[:, :, left : left + tile]
    probability = np.asarray(predict(tiles), dtype=np.float32)
    expected = (len(tiles), *([layers] if layers > 1 else []), tile, tile)
    if probability.shape != expected:
        what = "(tile, row, col)" if layers == 1 else "(tile, layer, row, col)"
        raise ValueError(f"predict: expected {what} = {expected}, found {probability.shape}")
    if not np.isfinite(probability).all():
        raise ValueError(f"predict: found a probability that is not finite in the tiles from row {top}")
    return np.ascontiguousarray(probability).reshape(len(tiles), layers, tile, tile)


@njit(nogil=True, cache=True)
def _add(total, probability, lefts, down, across):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, PLR0917
    count, layers, tile, _ = probability.shape
    for i in range(count):
        for layer in range(layers):
            for row in range(tile):
                for col in range(tile):
                    total[layer, row, lefts[i] + col] += probability[i, layer, row, col] * (down[row] * across[i, col])


def _windows(size: int, sizes: TilingOptions) -> tuple[list[int], npt.NDArray[np.float64]]:
    """Return the first pixel of each window along one axis and the sum of the windows' weights at each pixel."""
    starts = window_starts(max(size, sizes.tile), sizes.tile, sizes.stride)
    weight = _raised_cosine(sizes.tile)
    total = np.zeros(max(size, sizes.tile))
    for start in starts:
        total[start : start + sizes.tile] += weight
    return starts, total


def _raised_cosine(tile: int) -> npt.NDArray[np.float64]:
    weight: npt.NDArray[np.float64] = np.sin(np.pi * (np.arange(tile) + 0.5) / tile) ** 2
    return weight
