"""What a network says of a tile in all eight views: the mean, and how far the views lie apart."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from coslide.samples.dihedral import VIEWS, turn_inputs

Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def over_views(predict: Predict, *, aspect: int | None = None) -> Predict:
    """Return a function that gives mean and standard deviation of the probability over the views, (tile, 2, row, col).

    Each tile is turned and mirrored, its aspect classes with it, and what the network makes of it is turned back. The
    deviation says how much the answer depends on how the ground lies to the north and to the sun; it is not the chance
    of being wrong.

    Parameters
    ----------
    predict
        From normalised tiles (tile, band, row, col), square, to probability (tile, row, col).
    aspect
        Number of the channel that holds aspect classes divided by nine, or None.

    Examples
    --------
    >>> both = over_views(lambda tiles: tiles[:, 0])
    >>> both(np.array([[[[0.2, 0.4], [0.6, 0.8]]]], dtype=np.float32)).round(3)
    array([[[[0.2, 0.4],
             [0.6, 0.8]],
            [[0. , 0. ],
             [0. , 0. ]]]], dtype=float32)
    """

    def both(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        total, squares = (np.zeros((len(tiles), *tiles.shape[2:])) for _ in range(2))
        for view in range(VIEWS):
            found = turn_back(predict(turn_inputs(tiles, view, aspect=aspect)), view).astype(np.float64)
            total += found
            squares += found**2
        mean = total / VIEWS
        spread = np.sqrt(np.maximum(squares / VIEWS - mean**2, 0))
        return np.stack([mean, spread], axis=1).astype(np.float32)

    return both


def turn_back(array: NDArray[np.float32], view: int) -> NDArray[np.float32]:
    """Return `array` (..., row, col) as it was before `coslide.samples.dihedral.turn`.

    Examples
    --------
    >>> from coslide.samples.dihedral import turn
    >>> all((turn_back(turn(np.eye(3)[:2, :2], view), view) == np.eye(3)[:2, :2]).all() for view in range(VIEWS))
    True
    """
    turned = np.rot90(array, -(view % 4), axes=(-2, -1))
    return np.asarray(turned[..., ::-1] if view >= 4 else turned)
