"""Mean and deviation of bands, by which measurements are standardised."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coslide.cube.band import Band


class Normalisation(NamedTuple):
    """Per channel: a network sees ``(value - offset) / scale``. Both are float32 (band,), scale is never 0."""

    offset: NDArray[np.float32]
    scale: NDArray[np.float32]


class Moments:
    """Mean and deviation of channels, gathered a piece of ground at a time (Chan et al. 1983, doi:10.2307/2683386).

    Parameters
    ----------
    bands
        What the channels are.

    Attributes
    ----------
    count, mean, squares
        For each channel the cells counted, their mean, and the sum of their squared distances from it.

    Examples
    --------
    >>> stratum = Band("stratum_class", kind="ordinal", class_names=("D1", "D2", "C2", "P1"))
    >>> moments = Moments([Band("elevation", "m"), stratum])
    >>> inputs = np.array([[[1.0, 3.0, 99.0]], [[2.0, 4.0, 4.0]]], dtype=np.float32)
    >>> moments.add(inputs, np.array([[True, True, False]]))
    >>> moments.normalisation()
    Normalisation(offset=array([2., 0.], dtype=float32), scale=array([1., 4.], dtype=float32))
    """

    def __init__(self, bands: Sequence[Band]) -> None:
        self.bands = tuple(bands)
        self.count = np.zeros(len(bands), dtype=np.int64)
        self.mean = np.zeros(len(bands))
        self.squares = np.zeros(len(bands))  # sum of squared distances from the mean

    def add(self, inputs: NDArray[np.float32], where: NDArray[np.bool_]) -> None:
        """Return nothing; counts the cells of `inputs` (band, row, col) that `where` (row, col) is True for.

        NaN cells do not count.
        """
        piece = Moments(self.bands)
        for i, channel in enumerate(inputs):
            values = channel[where].astype(np.float64)
            values = values[np.isfinite(values)]
            if values.size:
                piece.count[i], piece.mean[i] = values.size, values.mean()
                piece.squares[i] = ((values - piece.mean[i]) ** 2).sum()
        self.merge(piece)

    def merge(self, other: "Moments") -> None:
        """Return nothing; counts what `other` has counted."""
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        shift = other.mean - self.mean
        self.squares += other.squares + shift**2 * self.count * share
        self.mean += shift * share
        self.count = count

    def normalisation(self) -> Normalisation:
        """Return the normalisation that follows.

        A channel of measurements is standardised by its mean and standard deviation. A class map is divided by its
        number of classes, so that class k of n becomes k / n on every event. A channel that is constant or empty is
        only shifted.
        """
        classes = np.array([band.classes for band in self.bands])
        deviation = np.sqrt(self.squares / np.maximum(self.count, 1))
        offset = np.where(classes > 0, 0.0, self.mean).astype(np.float32)
        scale = np.where(classes > 0, classes, deviation).astype(np.float32)
        return Normalisation(offset, np.where(scale > 0, scale, np.float32(1)))
