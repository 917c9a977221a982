"""The eight ways to mirror and turn a tile, with the aspect classes turned along."""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

VIEWS = 8
FIRST_DIRECTION = 2  # aspect classes: 1 flat, then 2 N, 3 NE ... 9 NW clockwise
DIRECTIONS = 8
ASPECT_CLASSES = 9


def apply_dihedral(array: NDArray[np.generic], view: int) -> NDArray[np.generic]:
    """Mirror `array` left to right if `view` is 4 to 7, then turn it left by `view` % 4 quarters; a view of it.

    Parameters
    ----------
    array
        (..., row, col).
    view
        0 to 7; 0 changes nothing.

    Examples
    --------
    >>> apply_dihedral(np.array([[1, 2], [3, 4]]), 1)
    array([[2, 4],
           [1, 3]])
    """
    mirrored = array[..., ::-1] if view >= 4 else array
    return np.rot90(mirrored, view % 4, axes=(-2, -1))


def turn_aspect(classes: NDArray[np.integer], view: int) -> NDArray[np.integer]:
    """Rename aspect classes as `apply_dihedral` turns them: a north slope turned left once faces west.

    Only the names of the directions change here; `apply_dihedral` moves the pixels. Flat (1) and nodata stay.

    Examples
    --------
    >>> turn_aspect(np.array([1, 2, 4]), 1)  # flat, north, east
    array([1, 8, 2])
    """
    last = FIRST_DIRECTION + DIRECTIONS - 1
    direction = classes - FIRST_DIRECTION
    turned = (-direction if view >= 4 else direction) - 2 * (view % 4)
    is_direction = (classes >= FIRST_DIRECTION) & (classes <= last)
    return np.where(is_direction, FIRST_DIRECTION + turned % DIRECTIONS, classes)


class Directions(NamedTuple):
    """Which inputs hold directions: how the aspect classes are encoded, and the number of their first input."""

    encoding: Literal["ordinal", "onehot", "circular"]
    first: int


def turn_inputs(tiles: NDArray[np.float32], view: int, *, directions: Directions | None) -> NDArray[np.float32]:
    """Turn the inputs of a network (..., input, row, col) into one of the eight views, and their directions along.

    Parameters
    ----------
    tiles
        What a network sees; not changed.
    view
        As for `apply_dihedral`.
    directions
        The inputs that hold aspect, or None.
    """
    if view and directions is not None:
        tiles = np.array(tiles)
        _turn_directions(tiles, view, directions)
    return np.ascontiguousarray(apply_dihedral(tiles, view), dtype=np.float32)


def _turn_directions(tiles: NDArray[np.float32], view: int, directions: Directions) -> None:
    first = directions.first
    if directions.encoding == "ordinal":
        classes = np.rint(tiles[..., first, :, :] * ASPECT_CLASSES).astype(np.int64)
        tiles[..., first, :, :] = turn_aspect(classes, view) / np.float32(ASPECT_CLASSES)
    elif directions.encoding == "onehot":
        classes = np.arange(1, ASPECT_CLASSES + 1)
        tiles[..., first + turn_aspect(classes, view) - 1, :, :] = tiles[..., first + classes - 1, :, :]
    else:
        sine, cosine = tiles[..., first, :, :].copy(), tiles[..., first + 1, :, :].copy()
        sine = -sine if view >= 4 else sine
        quarter = view % 4  # turned left by that many: the angle, clockwise from north, falls
        tiles[..., first, :, :] = (sine, -cosine, -sine, cosine)[quarter]
        tiles[..., first + 1, :, :] = (cosine, sine, -cosine, -sine)[quarter]
