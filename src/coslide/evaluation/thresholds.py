"""What a map would be at other thresholds: pixels above each, and how many of them are mapped landslides, exactly."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NO_VALUE = 255
"""Level of a pixel without a probability."""


class ThresholdTable(NamedTuple):
    """Counts of a map at several thresholds.

    Attributes
    ----------
    thresholds
        Rising; from a threshold on a pixel counts as landslide.
    pixels
        Pixels from each threshold on, judged or not.
    tp, fp
        Those of the judged ones that are mapped landslides, and that are not; empty without an inventory.
    mapped, judged
        Mapped landslide pixels among the judged ones, and all judged ones.
    """

    thresholds: list[float]
    pixels: list[int]
    tp: list[int]
    fp: list[int]
    mapped: int
    judged: int


def thresholds_around(own: float) -> NDArray[np.float32]:
    """List 0.01, 0.02 to 1 and a map's own threshold, rising.

    Single precision, as the map itself: a pixel reaches the threshold here where ``probability >= own``.

    Examples
    --------
    >>> found = thresholds_around(0.437)
    >>> len(found), found[42:45].tolist()
    (101, [0.43, 0.437, 0.44])
    """
    return np.unique(np.append(np.arange(1, 101, dtype=np.float32) / np.float32(100), np.float32(own)))


def levels_of(probability: NDArray[np.float32], thresholds: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Count the thresholds that each pixel reaches, uint8; `NO_VALUE` where it has no probability.

    Examples
    --------
    >>> levels_of(np.array([0.2, 0.5, np.nan], np.float32), np.array([0.3, 0.5], np.float32))
    array([  0,   2, 255], dtype=uint8)
    """
    levels = np.searchsorted(thresholds, probability, side="right").astype(np.uint8)
    levels[np.isnan(probability)] = NO_VALUE
    return levels


def threshold_table(
    levels: NDArray[np.uint8],
    thresholds: NDArray[np.float32],
    *,
    mapped: NDArray[np.bool_] | None,
    judged: NDArray[np.bool_],
) -> ThresholdTable:
    """Count pixels, correct ones and false alarms at every threshold.

    Parameters
    ----------
    levels, thresholds
        From `levels_of`.
    mapped
        Mapped landslides, bool (row, col); None without an inventory.
    judged
        Where they are known and training did not see them, bool (row, col).
    """
    count = len(thresholds)

    def reaching(chosen: NDArray[np.uint8]) -> list[int]:
        at_least = np.bincount(chosen[chosen != NO_VALUE], minlength=count + 1)[::-1].cumsum()[::-1]
        return [int(number) for number in at_least[1:]]

    shown = [round(float(one), 6) for one in thresholds]
    if mapped is None:
        return ThresholdTable(shown, reaching(levels), [], [], 0, 0)
    tp, fp = reaching(levels[judged & mapped]), reaching(levels[judged & ~mapped])
    total = int(np.count_nonzero(judged & mapped)), int(np.count_nonzero(judged))
    return ThresholdTable(shown, reaching(levels), tp, fp, *total)
