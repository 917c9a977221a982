"""Mean and deviation of bands, by which measurements are standardised."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coslide.cube.band import Band


class Normalisation(NamedTuple):
    """Of each band: a network sees ``(value - offset) / scale``. Both are float32 (band,), scale is never 0."""

    offset: NDArray[np.float32]
    scale: NDArray[np.float32]


class Moments:
    """Mean and deviation of bands, gathered piece by piece (Chan et al. 1983, doi:10.2307/2683386).

    Parameters
    ----------
    bands
        The bands.

    Attributes
    ----------
    count, mean, squares
        For each band the pixels counted, their mean, and the sum of their squared distances from it.

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
        self.count, self.mean, self.squares = (np.zeros(len(bands)) for _ in range(3))

    def add(self, inputs: NDArray[np.float32], where: NDArray[np.bool_]) -> None:
        """Count the pixels of `inputs` (band, row, col) that `where` (row, col) is True for and that have a value."""
        for number, band in enumerate(inputs):
            values = band[where & np.isfinite(band)].astype(np.float64)
            if values.size:
                self._merge(number, values.size, values.mean(), values.var() * values.size)

    def merge(self, other: "Moments") -> None:
        """Count what `other` has counted."""
        self._merge(slice(None), other.count, other.mean, other.squares)

    def _merge(self, at: int | slice, count: Any, mean: Any, squares: Any) -> None:
        total = self.count[at] + count
        share = count / np.maximum(total, 1)
        shift = mean - self.mean[at]
        self.squares[at] += squares + shift**2 * self.count[at] * share
        self.mean[at] += shift * share
        self.count[at] = total

    def normalisation(self) -> Normalisation:
        """Derive the normalisation.

        A measurement is standardised by its mean and standard deviation. A class map is divided by its number of
        classes, so that class k of n becomes k / n on every event. A band that is constant or empty is only shifted.
        """
        classes = np.array([band.classes for band in self.bands])
        deviation = np.sqrt(self.squares / np.maximum(self.count, 1))
        offset = np.where(classes > 0, 0.0, self.mean).astype(np.float32)
        scale = np.where(classes > 0, classes, deviation).astype(np.float32)
        return Normalisation(offset, np.where(scale > 0, scale, np.float32(1)))
