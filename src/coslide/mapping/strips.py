"""The rows of a scene as rows of windows need them: each read once, each block of a store decoded once."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]
ReadRows = Callable[[int, int], FloatArray]
ValidRows = Callable[[int, int], BoolArray]


class Strip(NamedTuple):
    """Some rows of a scene: inputs, float32 (band, row, col), and where they are valid, bool (row, col) or None."""

    inputs: npt.NDArray[np.float32]
    valid: BoolArray | None


def strips_of(
    read_rows: ReadRows, valid_rows: ValidRows | None, shape: tuple[int, int], *, tile: int, tops: list[int]
) -> Iterator[Strip]:
    """Return what each row of windows needs beyond the one above it; each row of the scene is read once.

    Parameters
    ----------
    read_rows, valid_rows, shape
        As for `coslide.mapping.sliding_window.predict_rows`.
    tile
        Side of a window; a scene that is smaller is continued to it by reflection.
    tops
        First row of each row of windows, ascending.

    Raises
    ------
    ValueError
        If the rows that are read have another shape.
    """
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
        yield Strip(inputs, valid)
        done = stop


def slabs_of(strips: Iterable[Strip], tile: int) -> Iterator[Strip]:
    """Return the rows under each row of windows, from the strips that `strips_of` gives; each an array of its own."""
    seen: Strip | None = None
    for new in strips:
        kept = 0 if seen is None else tile - new.inputs.shape[1]
        inputs = np.empty((new.inputs.shape[0], tile, new.inputs.shape[2]), dtype=np.float32)
        inputs[:, kept:] = new.inputs
        valid = new.valid
        if seen is not None:
            inputs[:, :kept] = seen.inputs[:, tile - kept :]
            if valid is not None and seen.valid is not None:
                valid = np.concatenate([seen.valid[tile - kept :], valid])
        seen = Strip(inputs, valid)
        yield seen


def in_blocks(read_rows: ReadRows, height: int, rows: int) -> ReadRows:
    """Return a reader of rows that asks `read_rows` for whole blocks of `rows` rows only, and for each of them once.

    A store that is compressed in blocks is then decoded once, though windows are read a few rows at a time. Rows must
    be asked for from the top down, each of them once: a block is let go when its last row has been given.

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
        pieces = []
        for k in range(start // rows, -(-stop // rows)):
            top, end = k * rows, min((k + 1) * rows, height)
            block = kept.pop(k) if k in kept else read_rows(top, end)
            pieces.append(np.array(block[:, max(start - top, 0) : stop - top]))  # a copy: the block is to go
            if stop < end:
                kept[k] = block
            del block  # before the next one is read
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)

    return read


def _require_shape(rows: npt.NDArray[np.generic], expected: tuple[int, int], start: int) -> None:
    if rows.ndim != 3 or rows.shape[1:] != expected:
        raise ValueError(
            f"rows {start} to {start + expected[0] - 1}: expected (band, row, col) with (row, col) = {expected}, "
            f"found {rows.shape}"
        )
