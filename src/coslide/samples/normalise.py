"""From indices in their own units to the inputs of a network."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coslide.indices.cube import Band


class Normalisation(NamedTuple):
    """Per channel: a network sees ``(value - offset) / scale``. Both are float32 (band,), scale is never 0."""

    offset: NDArray[np.float32]
    scale: NDArray[np.float32]


def fit_normalisation(inputs: NDArray[np.float32], bands: Sequence[Band], where: NDArray[np.bool_]) -> Normalisation:
    """Return the normalisation of `inputs`, from the cells that training may see.

    A channel of measurements is standardised by its mean and standard deviation. A class map is divided by its number
    of classes, so that class k of n becomes k / n on every event. A channel that is constant or empty is only shifted.

    Parameters
    ----------
    inputs
        (band, row, col), NaN where a channel has no value.
    bands
        What the channels are.
    where
        (row, col), True where values count: valid training ground.

    Examples
    --------
    >>> inputs = np.array([[[1.0, 3.0, 99.0]], [[2.0, 4.0, 4.0]]], dtype=np.float32)
    >>> bands = [Band("elevation", "m", 0), Band("aspect_class", "1", 4)]
    >>> fit_normalisation(inputs, bands, np.array([[True, True, False]]))
    Normalisation(offset=array([2., 0.], dtype=float32), scale=array([1., 4.], dtype=float32))
    """
    offset = np.zeros(len(bands), dtype=np.float32)
    scale = np.ones(len(bands), dtype=np.float32)
    for i, band in enumerate(bands):
        if band.classes:
            scale[i] = band.classes
            continue
        values = inputs[i][where].astype(np.float64)
        values = values[np.isfinite(values)]
        if values.size:
            offset[i] = values.mean()
            scale[i] = values.std() or 1.0
    return Normalisation(offset, scale)


def normalise(inputs: NDArray[np.float32], normalisation: Normalisation) -> NDArray[np.float32]:
    """Return what a network sees of `inputs` (band, row, col), in a new array; NaN becomes 0, the mean.

    Examples
    --------
    >>> fitted = Normalisation(np.float32([2.0]), np.float32([0.5]))
    >>> normalise(np.array([[[3.0, np.nan]]], dtype=np.float32), fitted)
    array([[[2., 0.]]], dtype=float32)
    """
    shift, scale = (array[:, np.newaxis, np.newaxis] for array in normalisation)
    seen: NDArray[np.float32] = (inputs - shift) / scale
    seen[np.isnan(seen)] = 0.0
    return seen
