"""Reflectance as it is seen in the light and through the haze of its own scene."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DARK_PERCENT = 1.0
_MOST_SAMPLES = 2**20  # of a scene: the median of so many is good to a thousandth of their spread
_FLOOR, _BRIGHTEST, _SPREAD = np.float32(0.3), np.float32(15), np.float32(0.6)


def encode_light(above_dark: NDArray[np.float32]) -> NDArray[np.float32]:
    """Encode how far reflectance is above the dark level of its scene, in medians of the scene, for a network.

    The haze over a scene adds to reflectance, and the sun on a slope multiplies it. So the dark level, which is haze,
    is subtracted (Chavez 1988, doi:10.1016/0034-4257(88)90019-3), and of the rest the logarithm taken, in which light
    and shade of the same surface lie a step apart. `_FLOOR` keeps noise in deep shade from becoming large.

    Parameters
    ----------
    above_dark
        (reflectance - dark level) / (median - dark level), any shape; NaN stays.

    Returns
    -------
    ndarray of float32
        0 at the median, -2.4 at the dark level, and 3.7 where reflectance is twelve times as far above it.

    Examples
    --------
    >>> encode_light(np.array([0, 1, 12], dtype=np.float32)).round(2)
    array([-2.44,  0.  ,  3.74], dtype=float32)
    """
    clipped = np.clip(above_dark, -_FLOOR / 2, _BRIGHTEST)
    return np.asarray((np.log(clipped + _FLOOR) - np.log1p(_FLOOR)) / _SPREAD)


def decode_light(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Undo `encode_light`, save for what it clipped.

    Examples
    --------
    >>> decode_light(encode_light(np.array([0, 1, 12], dtype=np.float32))).round(2) + 0
    array([ 0.,  1., 12.], dtype=float32)
    """
    return np.asarray(np.exp(inputs * _SPREAD + np.log1p(_FLOOR)) - _FLOOR)


class Shade(NamedTuple):
    """Where the inputs with these numbers, all seen in the light of their scene, are darker than a level on average.

    The level is in medians of the scene above its dark level.
    """

    inputs: Sequence[int]
    level: float

    def find(self, tile: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Find it in a tile (input, row, col), bool (row, col)."""
        return np.asarray(decode_light(tile[list(self.inputs)]).mean(axis=0) < self.level)


class LightSamples:
    """Values of reflectance bands at evenly chosen valid pixels of a scene, gathered strip by strip.

    Parameters
    ----------
    bands
        How many bands there are.
    shape
        Rows and columns of the scene.

    Examples
    --------
    >>> samples = LightSamples(1, (2, 3))
    >>> values = np.array([[[0.02, 0.04, 0.06], [0.08, 0.10, 9.0]]], dtype=np.float32)
    >>> samples.add(values, np.array([[True, True, True], [True, True, False]]))
    >>> samples.count, samples.levels()
    (5, (array([0.0208], dtype=float32), array([0.06], dtype=float32)))
    """

    def __init__(self, bands: int, shape: tuple[int, int]) -> None:
        self.count = 0  # pixels
        self._step = math.ceil(shape[0] * shape[1] / _MOST_SAMPLES)
        self._values: list[list[NDArray[np.float32]]] = [[np.zeros(0, np.float32)] for _ in range(bands)]

    def add(self, values: NDArray[np.float32], where: NDArray[np.bool_]) -> None:
        """Gather from the next rows of the scene.

        Parameters
        ----------
        values
            float32 (band, row, col), NaN where a band has no value.
        where
            The pixels that count, bool (row, col).
        """
        chosen = np.flatnonzero(where)[-self.count % self._step :: self._step]
        self.count += int(np.count_nonzero(where))
        for own, band in zip(self._values, values, strict=True):
            found = band.ravel()[chosen]
            own.append(found[np.isfinite(found)])

    def levels(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Find the dark level and the median of each band, float32 (band,); 0 of a band without values."""
        gathered = [np.concatenate(own) for own in self._values]
        levels = [np.percentile(own, (DARK_PERCENT, 50)) if own.size else np.zeros(2) for own in gathered]
        dark, median = np.array(levels, dtype=np.float32).reshape(-1, 2).T
        return dark, median
