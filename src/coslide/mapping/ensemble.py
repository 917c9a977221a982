"""Several predictions of one window put together: those of an ensemble, and of test-time augmentation (TTA)."""

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from coslide.mapping.model import Predict
from coslide.samples.augment import ORIENTATIONS, Directions, turn_inputs, undo_dihedral


def augmented(predict: Predict, directions: Directions | None = None) -> list[Predict]:
    """Make eight predictors of one: each turns or mirrors a window, its aspect with it, and turns the result back.

    Parameters
    ----------
    predict
        From encoded windows (window, input, row, col), square, to probability (window, row, col).
    directions
        The inputs that hold aspect, or None.

    Examples
    --------
    >>> window = np.array([[[[0.25, 0.5], [0.75, 1.0]]]], dtype=np.float32)
    >>> all((turned(window) == window[:, 0]).all() for turned in augmented(lambda windows: windows[:, 0]))
    True
    """

    def turned(orientation: int, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        found = predict(turn_inputs(windows, orientation, directions=directions))
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
