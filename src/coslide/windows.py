"""Square windows over a raster, numbered from the bottom-left."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coslide.errors import InputError


class Window(NamedTuple):
    """A rectangle of pixels: its northernmost row, westernmost column, height and width."""

    row: int
    col: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """The slices that cut this window from a (row, col) array."""
        return slice(self.row, self.row + self.height), slice(self.col, self.col + self.width)


def require_tile(shape: tuple[int, int], tile: int) -> None:
    """Check that an area of `shape` (row, col) holds at least one tile.

    Raises
    ------
    InputError
        If it does not.
    """
    if min(shape) < tile:
        found = f"the area is {shape[0]} x {shape[1]} pixels, smaller than one tile of {tile} x {tile}"
        raise InputError(f"{found}; give a larger area or a smaller tile")


def window_starts(length: int, tile: int, stride: int) -> list[int]:
    """Find where windows start along one axis: every `stride` pixels, and a last one that ends at the end.

    Every pixel lies in a window. The last step may be shorter than `stride`.

    Raises
    ------
    ValueError
        If the axis is shorter than a tile, or stride is not between 1 and tile.

    Examples
    --------
    >>> window_starts(300, 128, 96)
    [0, 96, 172]
    """
    if not 1 <= stride <= tile <= length:
        raise ValueError(f"expected 1 <= stride <= tile <= length, found stride {stride}, tile {tile}, length {length}")
    last = length - tile
    return [*range(0, last, stride), last]


def windows_in(area: Window, *, tile: int, stride: int) -> list[Window]:
    """Cut the windows that cover `area`, from its bottom-left corner, row of windows by row of windows.

    Parameters
    ----------
    area
        Where to cut; at least one tile high and wide.
    tile, stride
        Side of a window and step between windows, in pixels. The last window of a row or column is shifted inwards, so
        that it ends at the edge of `area`.

    Raises
    ------
    InputError
        If `area` is smaller than one tile.

    Examples
    --------
    >>> windows_in(Window(0, 0, 128, 224), tile=128, stride=96)
    [Window(row=0, col=0, height=128, width=128), Window(row=0, col=96, height=128, width=128)]
    """
    require_tile((area.height, area.width), tile)
    bottom = area.row + area.height
    return [
        Window(bottom - tile - up, area.col + right, tile, tile)
        for up in window_starts(area.height, tile, stride)
        for right in window_starts(area.width, tile, stride)
    ]


def cover(windows: Iterable[Window], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Mark, on a raster of `shape` (row, col), where at least one of `windows` lies.

    Examples
    --------
    >>> cover([Window(0, 1, 1, 2)], (2, 3)).astype(int)
    array([[0, 1, 1],
           [0, 0, 0]])
    """
    covered = np.zeros(shape, dtype=bool)
    for window in windows:
        covered[window.slices] = True
    return covered


def row_strips(height: int, rows: int = 256) -> Iterator[slice]:
    """Cut a raster into strips of `rows` rows, from the north; the last may be lower.

    Examples
    --------
    >>> list(row_strips(600, 256))
    [slice(0, 256, None), slice(256, 512, None), slice(512, 600, None)]
    """
    return (slice(start, min(start + rows, height)) for start in range(0, height, rows))
