"""How a sample is varied: its orientation (dihedral group D4), its aspect turned along, and its light."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ORIENTATIONS = 8
FIRST_DIRECTION = 2  # of the classes of a circular band: 1 is flat, then north and clockwise


def apply_dihedral(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Mirror `array` left to right if `orientation` is 4 to 7, then turn it left by `orientation` % 4 quarters.

    The result is a view of the array.

    Parameters
    ----------
    array
        (..., row, col).
    orientation
        0 to 7; 0 changes nothing.

    Examples
    --------
    >>> apply_dihedral(np.array([[1, 2], [3, 4]]), 1)
    array([[2, 4],
           [1, 3]])
    """
    mirrored = array[..., ::-1] if orientation >= 4 else array
    return np.rot90(mirrored, orientation % 4, axes=(-2, -1))


def undo_dihedral(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn and mirror `array` (..., row, col) back to what it was before `apply_dihedral`.

    Examples
    --------
    >>> tile = np.eye(3)[:2, :2]
    >>> all((undo_dihedral(apply_dihedral(tile, k), k) == tile).all() for k in range(ORIENTATIONS))
    True
    """
    turned = np.rot90(array, -(orientation % 4), axes=(-2, -1))
    return turned[..., ::-1] if orientation >= 4 else turned


def turn_aspect(classes: NDArray[np.integer], orientation: int, *, last: int) -> NDArray[np.integer]:
    """Rename aspect classes as `apply_dihedral` turns them: a north slope turned left once faces west.

    Only the names of the directions change here; `apply_dihedral` moves the pixels. Flat (1) and nodata stay. `last`
    is the number of the last class.

    Examples
    --------
    >>> turn_aspect(np.array([1, 2, 4]), 1, last=9)  # flat, north, east
    array([1, 8, 2])
    """
    directions = last - FIRST_DIRECTION + 1
    direction = classes - FIRST_DIRECTION
    turned = (-direction if orientation >= 4 else direction) - directions // 4 * (orientation % 4)
    is_direction = (classes >= FIRST_DIRECTION) & (classes <= last)
    return np.where(is_direction, FIRST_DIRECTION + turned % directions, classes)


class AspectInputs(NamedTuple):
    """Which inputs hold the aspect: how its classes are encoded, their first input, and their number."""

    encoding: str
    first: int
    classes: int


def turn_inputs(tiles: NDArray[np.float32], orientation: int, *, aspect: AspectInputs | None) -> NDArray[np.float32]:
    """Turn the inputs of a network (..., input, row, col) into an orientation, and their aspect along.

    Parameters
    ----------
    tiles
        What a network sees; not changed.
    orientation
        As for `apply_dihedral`.
    aspect
        The inputs that hold aspect, or None.
    """
    # A copy where something is turned; else only if the array is no C-ordered float32.
    turned = np.array(apply_dihedral(tiles, orientation), np.float32, order="C", copy=bool(orientation) or None)
    if not orientation or aspect is None:
        return turned
    encoding, first, last = aspect
    own = turned[..., first : first + {"ordinal": 1, "circular": 2}.get(encoding, last), :, :]
    if encoding == "ordinal":
        own[...] = turn_aspect(np.rint(own * last).astype(np.int64), orientation, last=last) / np.float32(last)
    elif encoding == "onehot":
        own[..., turn_aspect(np.arange(1, last + 1), orientation, last=last) - 1, :, :] = own.copy()
    else:
        angle = own[..., 1, :, :] + 1j * own[..., 0, :, :]  # cosine and sine, clockwise from north
        angle = (angle.conj() if orientation >= 4 else angle) * (-1j) ** (orientation % 4)  # a quarter left: 90° less
        own[..., 0, :, :], own[..., 1, :, :] = angle.imag, angle.real
    return turned


class Jitter(NamedTuple):
    """A radiometric jitter of each date: sun, haze and season seen otherwise than they were.

    All inputs of a date are multiplied by one exp(N(0, `gain`)) and moved by one N(0, `offset`), and each by an
    N(0, `band`) of its own, in standardised units. Pixels that the date lacks, where all its inputs are 0, stay 0.

    Attributes
    ----------
    dates
        Numbers of the inputs of each date.
    gain, offset, band
        Standard deviations.

    Examples
    --------
    >>> tile = np.ones((3, 1, 2), dtype=np.float32)
    >>> tile[:2, 0, 1] = 0  # a pixel that the date lacks
    >>> Jitter([[0, 1]], gain=0.2, offset=0.2, band=0.0).apply(tile, seed=1)
    >>> tile.round(2)[:, 0]
    array([[1.24, 0.  ],
           [1.24, 0.  ],
           [1.  , 1.  ]], dtype=float32)
    """

    dates: Sequence[Sequence[int]]
    gain: float
    offset: float
    band: float

    def apply(self, tile: NDArray[np.float32], seed: int) -> None:
        """Change the light of a tile (input, row, col) in place, drawn from `seed`."""
        random = np.random.default_rng(seed)
        for inputs in self.dates:
            own = list(inputs)
            factor = np.exp(random.normal(0, self.gain))
            shift = random.normal(0, self.offset) + random.normal(0, self.band, size=(len(own), 1, 1))
            seen = tile[own]
            there = (seen != 0).any(axis=0)
            tile[own] = np.where(there, seen * np.float32(factor) + shift.astype(np.float32), 0)
