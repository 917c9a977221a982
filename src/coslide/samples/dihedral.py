"""The eight ways to mirror and turn a tile, with the aspect classes turned along."""

import numpy as np
from numpy.typing import NDArray

VIEWS = 8
FIRST_DIRECTION = 2  # aspect classes: 1 flat, then 2 N, 3 NE ... 9 NW clockwise
DIRECTIONS = 8
ASPECT_CLASSES = 9


def turn(array: NDArray[np.generic], view: int) -> NDArray[np.generic]:
    """Return a view of `array` mirrored left to right if `view` is 4 to 7, then turned left `view` % 4 quarters.

    Parameters
    ----------
    array
        (..., row, col).
    view
        0 to 7; 0 changes nothing.

    Examples
    --------
    >>> turn(np.array([[1, 2], [3, 4]]), 1)
    array([[2, 4],
           [1, 3]])
    """
    mirrored = array[..., ::-1] if view >= 4 else array
    return np.rot90(mirrored, view % 4, axes=(-2, -1))


def turn_aspect(classes: NDArray[np.integer], view: int) -> NDArray[np.integer]:
    """Return aspect classes as they are called after `turn`: a north slope turned left once faces west.

    Only the names of the directions change here; `turn` moves the cells. Flat (1) and nodata stay.

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


def turn_inputs(tiles: NDArray[np.float32], view: int, *, aspect: int | None) -> NDArray[np.float32]:
    """Return normalised inputs (..., band, row, col) in one of the eight views, their aspect classes turned along.

    Parameters
    ----------
    tiles
        What a network sees; not changed.
    view
        As for `turn`.
    aspect
        Number of the channel that holds aspect classes divided by nine, or None.
    """
    if view and aspect is not None:
        tiles = np.array(tiles)
        classes = np.rint(tiles[..., aspect, :, :] * ASPECT_CLASSES).astype(np.int64)
        tiles[..., aspect, :, :] = turn_aspect(classes, view) / np.float32(ASPECT_CLASSES)
    return np.ascontiguousarray(turn(tiles, view), dtype=np.float32)
