"""The probability map of a whole scene: read in strips, blended from overlapping windows, orientations and members."""

import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coslide.io.executor import prefetch
from coslide.samples.augment import ORIENTATIONS, AspectInputs, turn_inputs, undo_dihedral
from coslide.windows import window_starts

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
Predict = Callable[[FloatArray], FloatArray]
ReadRows = Callable[[int, int], tuple[FloatArray, BoolArray]]


class TilingOptions(NamedTuple):
    """Sizes by which a scene is cut into overlapping windows and put together again.

    Parameters
    ----------
    tile
        Side of a square window [pixels].
    stride
        Step from one window to the next [pixels], 1 to `tile`. At half a tile every pixel away from the rim is seen in
        four windows; at three quarters, in 1.8 on average.
    batch
        Windows given to the network at once. It changes memory and speed, not the result.
    threads
        How many threads give windows to the network at the same time, a batch each. It changes memory and speed, not
        the result.
    """

    tile: int = 128
    stride: int = 96
    batch: int = 8
    threads: int = 1


class Strip(NamedTuple):
    """Rows of a scene from `top` on: inputs, float32 (band, row, col), and where they are valid, bool (row, col)."""

    top: int
    inputs: FloatArray
    valid: BoolArray


def predict_rows(
    read_rows: ReadRows,
    predict: Predict,
    shape: tuple[int, int],
    *,
    tiling: TilingOptions,
    layers: int = 1,
    block_rows: int = 256,
    rows: tuple[int, int] | None = None,
) -> Iterator[tuple[int, FloatArray]]:
    """Predict a scene in blocks of rows, from the top down, as they are final.

    Overlapping windows are averaged with raised-cosine weights, w(i) = sin^2(pi (i + 1/2) / tile) along rows and
    columns, which are above zero up to the rim of a window and divided by their sum at each pixel. The rim of the scene
    is therefore mapped like its middle. Every row is read once, a little ahead, and memory depends on the width of the
    scene, not on its height.

    Parameters
    ----------
    read_rows
        ``read_rows(start, stop)`` gives rows start to stop - 1 of the network's input as float32 (band, row, col),
        normalised, with finite numbers also where the scene is not valid, and bool (row, col), True = valid.
    predict
        ``predict(windows)`` gives for float32 (window, band, row, col) the answer as (window, layer, row, col). It is
        called in other threads, `tiling.threads` of them at once; windows without any valid pixel are left out.
    shape
        Size of the scene (height, width) [pixels].
    tiling
        Window, stride, batch and threads.
    layers
        Number of layers that `predict` gives.
    block_rows
        Rows to read at once: those that a store compresses together.
    rows
        First row and one past the last that are wanted; all by default. They come out as they would among all.

    Yields
    ------
    tuple of int and ndarray
        First row of the block, and float32 (layer, row, col), NaN where the scene is not valid. The blocks follow each
        other without gap or overlap.

    Raises
    ------
    ValueError
        If the scene has no pixel, a size of the tiling is below 1 or the stride longer than the tile, what `read_rows`
        or `predict` give has another shape than described, or an answer is not finite.

    Notes
    -----
    The last row and column of windows is moved inwards so that it ends at the edge of the scene. A scene smaller than
    a window is padded by reflection at its lower and right edge, and the result is cropped.

    Examples
    --------
    >>> scene, valid = np.ones((1, 5, 3), dtype=np.float32), np.ones((5, 3), dtype=bool)
    >>> found = predict_rows(
    ...     lambda start, stop: (scene[:, start:stop], valid[start:stop]),
    ...     lambda windows: 0.25 * windows,
    ...     (5, 3),
    ...     tiling=TilingOptions(tile=2, stride=1),
    ... )
    >>> [(start, block.shape) for start, block in found]
    [(0, (1, 1, 3)), (1, (1, 1, 3)), (2, (1, 1, 3)), (3, (1, 2, 3))]
    """
    height, width = shape
    tile, stride, batch, threads = tiling
    if min(*shape, *tiling) < 1 or stride > tile:
        raise ValueError(f"expected at least one row and column, sizes from 1 on and stride <= tile: {shape}, {tiling}")
    first, last = rows or (0, height)
    weight: NDArray[np.float64] = np.sin(np.pi * (np.arange(tile) + 0.5) / tile) ** 2
    # The windows are a product grid, so weights that sum to 1 along each axis sum to 1 in the plane.
    down, across = (_normalised_weights(size, weight, stride) for size in shape)
    ends = dict(zip(down, [*list(down)[1:], height], strict=True))  # a row is final when no lower window covers it
    tops = [top for top in down if top + tile > first and top < last]
    batch = min(batch, -(-len(across) // threads))  # a narrow scene keeps all threads busy too
    pool = ThreadPoolExecutor(threads)

    def submit(strip: Strip) -> tuple[Strip, list[int], Iterator[FloatArray]]:
        lefts = [left for left in across if strip.valid[:, left : left + tile].any()]
        batches = [lefts[i : i + batch] for i in range(0, len(lefts), batch)]
        return strip, lefts, pool.map(functools.partial(_predict_windows, predict, layers, strip), batches)

    total = np.zeros((layers, tile, max(width, tile)))  # float64: sums to exactly 1 in float32
    strips = _read_strips(read_rows, shape, tops, tile=tile, block_rows=block_rows)
    try:
        with prefetch(map(submit, strips)) as submitted:  # no thread waits for the end of a row of windows
            for strip, lefts, answers in submitted:
                top, end = strip.top, ends[strip.top]
                for left, answer in zip(lefts, chain.from_iterable(answers), strict=True):
                    total[:, :, left : left + tile] += answer * (down[top][:, np.newaxis] * across[left])
                start, stop = max(top, first), min(end, last)
                if start < stop:
                    block = total[:, start - top : stop - top, :width].astype(np.float32)
                    block[:, ~strip.valid[start - top : stop - top, :width]] = np.nan
                    yield start, block
                total[:, : tile - (end - top)] = total[:, end - top :]
                total[:, tile - (end - top) :] = 0
    finally:
        pool.shutdown(cancel_futures=True)


def augmented(predict: Predict, aspect: AspectInputs | None = None) -> list[Predict]:
    """Make eight predictors of one: each turns or mirrors a window, its aspect with it, and turns the result back.

    Parameters
    ----------
    predict
        From encoded windows (window, input, row, col), square, to probability (window, row, col).
    aspect
        The inputs that hold aspect, or None.

    Examples
    --------
    >>> window = np.array([[[[0.25, 0.5], [0.75, 1.0]]]], dtype=np.float32)
    >>> all((turned(window) == window[:, 0]).all() for turned in augmented(lambda windows: windows[:, 0]))
    True
    """

    def turned(orientation: int, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        found = predict(turn_inputs(windows, orientation, aspect=aspect))
        return np.asarray(undo_dihedral(found, orientation))

    return [functools.partial(turned, orientation) for orientation in range(ORIENTATIONS)]


def mean_and_spread(predictors: Sequence[Predict]) -> Predict:
    """Combine predictors into the mean and the standard deviation of their probabilities, (window, 2, row, col).

    Of one predictor there is no deviation: (window, 1, row, col). Over the orientations of a window, the deviation
    tells how much the answer depends on how the terrain lies to the north and to the sun; over the members of an
    ensemble, on what chance decided in training. It is not the chance of being wrong.

    Parameters
    ----------
    predictors
        Functions from encoded windows (window, input, row, col) to probability (window, row, col).

    Examples
    --------
    >>> both = mean_and_spread([lambda windows: windows[:, 0], lambda windows: windows[:, 1]])
    >>> both(np.array([[[[0.25]], [[0.75]]]], dtype=np.float32)).ravel().tolist()
    [0.5, 0.25]
    """

    def combined(windows: NDArray[np.float32]) -> NDArray[np.float32]:
        found = np.stack([predict(windows) for predict in predictors])
        layers = [found.mean(axis=0, dtype=np.float64)]
        if len(predictors) > 1:
            layers.append(found.std(axis=0, dtype=np.float64))
        return np.stack(layers, axis=1, dtype=np.float32, casting="same_kind")

    return combined


def _normalised_weights(size: int, weight: NDArray[np.float64], stride: int) -> dict[int, NDArray[np.float64]]:
    """Weigh the pixels of each window along one axis, by its first pixel, so that they sum to 1 at each pixel."""
    tile = len(weight)
    starts = window_starts(max(size, tile), tile, stride)
    total = np.zeros(max(size, tile))
    for start in starts:
        total[start : start + tile] += weight
    return {start: weight / total[start : start + tile] for start in starts}


def _predict_windows(predict: Predict, layers: int, strip: Strip, lefts: list[int]) -> FloatArray:
    """Predict the windows of a strip that begin at some columns, float32 (window, layer, row, col)."""
    tile = strip.inputs.shape[1]
    windows = np.stack([strip.inputs[:, :, left : left + tile] for left in lefts], dtype=np.float32)
    found = np.asarray(predict(windows), dtype=np.float32)
    expected = (len(lefts), layers, tile, tile)
    if found.shape != expected:
        raise ValueError(f"predict: expected (window, layer, row, col) = {expected}, found {found.shape}")
    if not np.isfinite(found).all():
        raise ValueError(f"predict: found a probability that is not finite in the windows from row {strip.top}")
    return found


def _read_strips(
    read_rows: ReadRows, shape: tuple[int, int], tops: list[int], *, tile: int, block_rows: int
) -> Iterator[Strip]:
    """Read the strip under each row of windows; whole blocks are read, each of them once."""
    height, width = shape
    below, right = max(tile - height, 0), max(tile - width, 0)
    held: list[Strip] = []
    done = tops[0] // block_rows * block_rows
    for top in tops:
        bottom = min(top + tile, height)
        while done < bottom:
            # A copy of the few rows that are still needed: their block is let go before the next one is read.
            held = [_cut(held, top, done)] if held else []
            held.append(_read(read_rows, done, min(done + block_rows, height), width))
            done += len(held[-1].valid)
        strip = _cut(held, top, bottom)
        if below or right:
            inputs = np.pad(strip.inputs, ((0, 0), (0, below), (0, right)), mode="reflect")
            strip = Strip(top, inputs, np.pad(strip.valid, ((0, below), (0, right)), mode="reflect"))
        yield strip


def _cut(strips: list[Strip], top: int, bottom: int) -> Strip:
    """Copy rows `top` to `bottom` - 1 from strips that follow each other."""
    pairs = [(strip, slice(max(top - strip.top, 0), max(bottom - strip.top, 0))) for strip in strips]
    inputs = np.concatenate([strip.inputs[:, place] for strip, place in pairs], axis=1)
    return Strip(top, inputs, np.concatenate([strip.valid[place] for strip, place in pairs]))


def _read(read_rows: ReadRows, start: int, stop: int, width: int) -> Strip:
    inputs, valid = read_rows(start, stop)
    if inputs.ndim != 3 or not inputs.shape[1:] == valid.shape == (stop - start, width):
        expected = f"(band, row, col) and (row, col) = {(stop - start, width)}"
        raise ValueError(f"rows {start} to {stop - 1}: expected {expected}, found {inputs.shape} and {valid.shape}")
    return Strip(start, inputs, valid)
