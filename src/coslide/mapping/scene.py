"""The probability map of a whole scene: read in strips, blended from overlapping tiles."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from coslide.samples.windows import window_starts
from coslide.workers import ahead

FloatArray = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]
ReadRows = Callable[[int, int], FloatArray]
Predict = Callable[[npt.NDArray[np.float32]], FloatArray]
ValidRows = Callable[[int, int], BoolArray]
Progress = Callable[[int, int], None]
Rows = tuple[int, npt.NDArray[np.float32]]

_READ_AHEAD = 2  # strips that are read while one is predicted


@dataclass(frozen=True, slots=True)
class Blending:
    """Return the sizes by which a scene is cut into overlapping tiles and put together again.

    Parameters
    ----------
    tile
        Edge of a square tile [pixels]; the size the network was trained with.
    stride
        Step from one tile to the next [pixels], 1 to `tile`. Half a tile is the usual choice: every pixel away from
        the rim is then seen by four tiles.
    batch
        Tiles given to the network at once. It changes memory and speed, not the result.

    Raises
    ------
    ValueError
        If a size is below 1 or the stride is longer than the tile, which would leave gaps.

    Examples
    --------
    >>> Blending(tile=128, stride=96).stride
    96
    """

    tile: int = 128
    stride: int = 64
    batch: int = 8

    def __post_init__(self) -> None:
        if min(self.tile, self.stride, self.batch) < 1 or self.stride > self.tile:
            raise ValueError(f"expected tile, stride and batch of at least 1 and stride <= tile, found {self}")


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
    blending: Blending | None = None,
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
        must not keep `tiles`, which are overwritten.
    shape
        Size of the scene (height, width) [pixels].
    blending
        Tile, stride and batch; 128, 64 and 8 by default.
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
    ...     blending=Blending(tile=2, stride=1),
    ... )
    >>> [(start, block.shape) for start, block in found]
    [(0, (1, 3)), (1, (1, 3)), (2, (1, 3)), (3, (2, 3))]
    """
    height, width = shape
    if height < 1 or width < 1:
        raise ValueError(f"expected a scene of at least one row and column, found (height, width) = {shape}")
    sizes = blending or Blending()
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
    strips = _strips(read_rows, valid_rows, shape, tile=sizes.tile, tops=[tops[k] for k in needed])
    with ahead(strips, _READ_AHEAD) as read:
        seen = _Slab(sizes.tile)
        for k, strip in zip(needed, read, strict=True):
            seen.take(strip)
            down = weight / row_total[tops[k] : tops[k] + sizes.tile]
            weights = _Weights(np.array(lefts), down, across)
            _add_windows(total, seen, predict, weights=weights, batch=sizes.batch, top=tops[k])
            final = ends[k] - tops[k]
            start, stop = max(tops[k], first), min(ends[k], last)
            if start < stop:
                block = total[:, start - tops[k] : stop - tops[k], :width].astype(np.float32)
                if seen.valid is not None:
                    block[:, ~seen.valid[start - tops[k] : stop - tops[k], :width]] = np.nan
                yield start, block if layers > 1 else block[0]
                if progress is not None:
                    progress(stop - first, last - first)
            total[:, : sizes.tile - final] = total[:, final:]
            total[:, sizes.tile - final :] = 0


def in_blocks(read_rows: ReadRows, height: int, rows: int) -> ReadRows:
    """Return a reader of rows that asks `read_rows` for whole blocks of `rows` rows only, and for each of them once.

    A store that is compressed in blocks is then decoded once, though windows are read a few rows at a time. Rows must
    be asked for from the top down; the last two blocks are kept.

    Parameters
    ----------
    read_rows
        As for `predict_rows`.
    height
        Of the scene.
    rows
        Height of a block of the store.

    Examples
    --------
    >>> asked = []
    >>> reader = in_blocks(lambda a, b: asked.append((a, b)) or np.arange(a, b).reshape(1, -1, 1), 10, 4)
    >>> reader(1, 3).ravel().tolist(), reader(3, 6).ravel().tolist(), reader(6, 10).ravel().tolist(), asked
    ([1, 2], [3, 4, 5], [6, 7, 8, 9], [(0, 4), (4, 8), (8, 10)])
    """
    kept: dict[int, FloatArray] = {}

    def read(start: int, stop: int) -> FloatArray:
        wanted = range(start // rows, -(-stop // rows))
        for block in [k for k in kept if k not in wanted]:
            del kept[block]
        pieces = []
        for k in wanted:
            top = k * rows
            if k not in kept:
                kept[k] = read_rows(top, min(top + rows, height))
            pieces.append(kept[k][:, max(start - top, 0) : stop - top])
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)

    return read


class _Weights(NamedTuple):
    """First column of each window of a row, and what its rows (row,) and columns (window, col) count."""

    lefts: npt.NDArray[np.int64]
    down: npt.NDArray[np.float64]
    across: npt.NDArray[np.float64]


class _Strip(NamedTuple):
    """Rows that a row of windows needs beyond those of the one above: inputs, and where they are valid."""

    inputs: npt.NDArray[np.float32]
    valid: BoolArray | None


class _Slab:
    """The inputs under one row of windows, float32 (band, row, col), and where they are valid."""

    def __init__(self, tile: int) -> None:
        self._tile = tile
        self.inputs: npt.NDArray[np.float32] | None = None
        self.valid: BoolArray | None = None

    def take(self, strip: _Strip) -> None:
        """Move up by the rows of `strip`, which come in at the bottom."""
        count = strip.inputs.shape[1]
        if self.inputs is None:
            self.inputs = np.array(strip.inputs, dtype=np.float32)  # a copy: the caller may hand out views of the scene
            self.valid = None if strip.valid is None else np.array(strip.valid)
            return
        for band in self.inputs:
            band[: self._tile - count] = band[count:]
        self.inputs[:, self._tile - count :] = strip.inputs
        if self.valid is not None and strip.valid is not None:
            self.valid[: self._tile - count] = self.valid[count:]
            self.valid[self._tile - count :] = strip.valid


def _strips(
    read_rows: ReadRows, valid_rows: ValidRows | None, shape: tuple[int, int], *, tile: int, tops: list[int]
) -> Iterator[_Strip]:
    """Read each row under the windows once; small scenes are padded to one tile."""
    height, width = shape
    below, right = max(tile - height, 0), max(tile - width, 0)
    done = tops[0] if tops else 0
    for top in tops:
        start, stop = done, min(top + tile, height)
        inputs = np.asarray(read_rows(start, stop))
        _require_shape(inputs, (stop - start, width), start)
        valid = None if valid_rows is None else np.asarray(valid_rows(start, stop))
        if valid is not None:
            _require_shape(valid[np.newaxis], (stop - start, width), start)
        if below or right:
            inputs = np.pad(inputs, ((0, 0), (0, below), (0, right)), mode="reflect")
            valid = None if valid is None else np.pad(valid, ((0, below), (0, right)), mode="reflect")
        yield _Strip(inputs, valid)
        done = stop


def _require_shape(rows: npt.NDArray[np.generic], expected: tuple[int, int], start: int) -> None:
    if rows.ndim != 3 or rows.shape[1:] != expected:
        raise ValueError(
            f"rows {start} to {start + expected[0] - 1}: expected (band, row, col) with (row, col) = {expected}, "
            f"found {rows.shape}"
        )


def _add_windows(
    total: npt.NDArray[np.float64],
    seen: _Slab,
    predict: Predict,
    *,
    weights: _Weights,
    batch: int,
    top: int,
) -> None:
    """Predict the windows over a slab and add them, weighted, to `total`."""
    inputs, lefts = seen.inputs, weights.lefts
    if inputs is None:
        return
    tile = inputs.shape[1]
    usable = np.ones(inputs.shape[2], dtype=bool) if seen.valid is None else np.asarray(seen.valid.any(axis=0))
    picked = [j for j, left in enumerate(lefts) if usable[left : left + tile].any()]
    tiles = np.empty((min(batch, len(picked)), len(inputs), tile, tile), dtype=np.float32)
    for i in range(0, len(picked), batch):
        own = picked[i : i + batch]
        for place, j in zip(tiles, own, strict=False):
            place[...] = inputs[:, :, lefts[j] : lefts[j] + tile]
        probability = _predicted(predict, tiles[: len(own)], len(total), top)
        _add(total, probability, lefts[own], weights.down, weights.across[own])


@njit(nogil=True, cache=True)
def _add(total, probability, lefts, down, across):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, PLR0917
    count, layers, tile, _ = probability.shape
    for i in range(count):
        for layer in range(layers):
            for row in range(tile):
                for col in range(tile):
                    total[layer, row, lefts[i] + col] += probability[i, layer, row, col] * (down[row] * across[i, col])


def _windows(size: int, sizes: Blending) -> tuple[list[int], npt.NDArray[np.float64]]:
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


def _predicted(predict: Predict, tiles: npt.NDArray[np.float32], layers: int, top: int) -> npt.NDArray[np.float32]:
    """Return what `predict` makes of the tiles, float32 (tile, layer, row, col)."""
    probability = np.asarray(predict(tiles), dtype=np.float32)
    expected = (len(tiles), *([layers] if layers > 1 else []), *tiles.shape[2:])
    if probability.shape != expected:
        what = "(tile, row, col)" if layers == 1 else "(tile, layer, row, col)"
        raise ValueError(f"predict: expected {what} = {expected}, found {probability.shape}")
    if not np.isfinite(probability).all():
        raise ValueError(f"predict: found a probability that is not finite in the tiles from row {top}")
    return np.ascontiguousarray(probability).reshape(len(tiles), layers, *tiles.shape[2:])
