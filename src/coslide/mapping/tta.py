"""What several looks at a tile say of it together: the views of a window, the members of a model."""

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from coslide.mapping.model import Predict
from coslide.samples.dihedral import VIEWS, Directions, turn_inputs


def in_views(predict: Predict, *, directions: Directions | None = None) -> list[Predict]:
    """Return eight functions, each of which gives the probability [0 to 1] that `predict` sees in one view of a tile.

    The tile is turned and mirrored, its aspect with it, and what the network makes of it is turned back.

    Parameters
    ----------
    predict
        From encoded tiles (tile, input, row, col), square, to probability (tile, row, col).
    directions
        The inputs that hold aspect, or None.

    Examples
    --------
    >>> looks = in_views(lambda tiles: tiles[:, 0])  # what says of a cell what is there says it in any view
    >>> tile = np.array([[[[0.25, 0.5], [0.75, 1.0]]]], dtype=np.float32)
    >>> len(looks), all((look(tile) == tile[:, 0]).all() for look in looks)
    (8, True)
    """

    def look(view: int, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        return undo_dihedral(predict(turn_inputs(tiles, view, directions=directions)), view)

    return [functools.partial(look, view) for view in range(VIEWS)]


def ensemble_mean_std(looks: Sequence[Predict]) -> Predict:
    """Return a function that gives mean and standard deviation of the probability over all looks, (tile, 2, row, col).

    Over views, the deviation says how much the answer depends on how the ground lies to the north and to the sun; over
    the members of a model, on what chance decided in training. It is not the chance of being wrong.

    Parameters
    ----------
    looks
        Functions from encoded tiles (tile, input, row, col) to probability (tile, row, col).

    Examples
    --------
    >>> both = ensemble_mean_std([lambda tiles: tiles[:, 0], lambda tiles: tiles[:, 1]])
    >>> both(np.array([[[[0.25]], [[0.75]]]], dtype=np.float32)).ravel().tolist()
    [0.5, 0.25]
    """

    def both(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        total, squares = (np.zeros((len(tiles), *tiles.shape[2:])) for _ in range(2))
        for look in looks:
            found = look(tiles).astype(np.float64)
            total += found
            squares += found**2
        mean = total / len(looks)
        spread = np.sqrt(np.maximum(squares / len(looks) - mean**2, 0))
        return np.stack([mean, spread], axis=1).astype(np.float32)

    return both


def undo_dihedral(array: NDArray[np.float32], view: int) -> NDArray[np.float32]:
    """Return `array` (..., row, col) as it was before `coslide.samples.dihedral.apply_dihedral`.

    Examples
    --------
    >>> from coslide.samples.dihedral import apply_dihedral
    >>> tile = np.eye(3)[:2, :2]
    >>> all((undo_dihedral(apply_dihedral(tile, view), view) == tile).all() for view in range(VIEWS))
    True
    """
    turned = np.rot90(array, -(view % 4), axes=(-2, -1))
    return np.asarray(turned[..., ::-1] if view >= 4 else turned)
