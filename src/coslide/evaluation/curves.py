"""Precision, recall and false alarms at every threshold, and the best threshold.

Pixels are counted at 16384 thresholds in one pass. scikit-learn sorts them instead, which takes tens of seconds and
gigabytes for a whole scene; in the tests it is the witness.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from coslide.config.training import StrictModel
from coslide.evaluation.calibration import in_pieces

FloatArray = npt.NDArray[np.floating]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

STEPS = 2**14  # thresholds k / STEPS: a power of two, so that none of them is rounded


@dataclass(frozen=True, slots=True)
class Curve:
    """Pixels recognised at each threshold, from 1 down to 0.

    Parameters
    ----------
    threshold
        A pixel is recognised from this probability on, float64 (step,), falling.
    tp, fp
        Landslide and background pixels recognised, int64 (step,), rising; the last of each are all there are.
    """

    threshold: Float64Array
    tp: npt.NDArray[np.int64]
    fp: npt.NDArray[np.int64]

    @property
    def precision(self) -> Float64Array:
        """Share of recognised pixels that are landslide [0 to 1]; 1 where nothing is recognised."""
        recognised = self.tp + self.fp
        return np.where(recognised > 0, self.tp / np.maximum(recognised, 1), 1.0)

    @property
    def recall(self) -> Float64Array:
        """Share of landslide pixels that are recognised [0 to 1]; 0 where there is none."""
        return np.asarray(self.tp / max(int(self.tp[-1]), 1))

    @property
    def false_alarm_rate(self) -> Float64Array:
        """Share of background pixels that are recognised [0 to 1]; 0 where there is none."""
        return np.asarray(self.fp / max(int(self.fp[-1]), 1))

    @property
    def f1(self) -> Float64Array:
        """F1 of the landslide class [0 to 1]; 0 where nothing is recognised and nothing mapped."""
        wanted = int(self.tp[-1]) + self.tp + self.fp
        return np.asarray(2 * self.tp / np.maximum(wanted, 1))


class CurvePoints(StrictModel):
    """About 200 points of the curves, in the order of falling thresholds, evenly over their course."""

    threshold: list[float]
    """From this probability on a pixel is recognised."""
    precision: list[float]
    """Share of recognised pixels that are landslide."""
    recall: list[float]
    """Share of landslide pixels that are recognised."""
    false_alarm_rate: list[float]
    """Share of background pixels that are recognised."""


def curve(probability: FloatArray, mapped: BoolArray) -> Curve:
    """Count the pixels that are recognised, rightly and wrongly, at the thresholds k / 16384.

    Parameters
    ----------
    probability
        Landslide probability of the pixels to score [0 to 1], float, any shape.
    mapped
        Whether they are landslide in the inventory, bool, of the same shape.

    Raises
    ------
    TypeError
        If `mapped` is not bool.
    ValueError
        If the shapes differ, or a probability is NaN or outside 0 to 1.

    Examples
    --------
    >>> found = curve(np.array([0.9, 0.8, 0.3, 0.1]), np.array([True, False, True, False]))
    >>> int(found.tp[-1]), int(found.fp[-1]), average_precision(found)
    (2, 2, 0.833)
    """
    counts = np.zeros((2, STEPS + 1), np.int64)  # background, landslide
    for given, landslide in in_pieces(probability, mapped):
        step = (given * STEPS).astype(np.int64)  # the highest threshold that the pixel reaches
        counts += np.bincount(step + (STEPS + 1) * landslide, minlength=counts.size).reshape(counts.shape)
    fp, tp = np.cumsum(counts[:, ::-1], axis=1)
    return Curve(np.arange(STEPS, -1, -1) / STEPS, tp, fp)


def average_precision(found: Curve) -> float:
    """Compute the area under the precision-recall curve [0 to 1], as steps: the sum of precision x gain of recall.

    NaN without any landslide pixel.
    """
    if not found.tp[-1]:
        return math.nan
    return float(np.sum(np.diff(found.recall, prepend=0.0) * found.precision))


def roc_auc(found: Curve) -> float:
    """Compute the area under the ROC curve [0 to 1]: how often a landslide pixel gets more than a background pixel.

    NaN without any landslide pixel, or without any other. Landslides are rare, so it is near 1 for poor maps too: read
    the average precision first.
    """
    if not found.tp[-1] or not found.fp[-1]:
        return math.nan
    return float(np.trapezoid(np.r_[0.0, found.recall], np.r_[0.0, found.false_alarm_rate]))


def best_threshold(found: Curve) -> float:
    """Find the threshold with the highest F1 of landslide pixels, above 0 and at most 1; 0.5 without a landslide.

    It is to be chosen on pixels that are neither trained on nor scored. Of equally good ones the highest.
    """
    if not found.tp[-1]:
        return 0.5
    return float(found.threshold[:-1][np.argmax(found.f1[:-1])])


def decimate_curve(found: Curve, count: int = 200) -> CurvePoints:
    """Pick about `count` points of the curves, evenly over their course, for a file or a figure."""
    course = np.cumsum(np.abs(np.diff(found.recall, prepend=0.0)) + np.abs(np.diff(found.precision, prepend=1.0)))
    wanted = np.linspace(0, course[-1], count)
    points = np.unique(np.clip(np.searchsorted(course, wanted), 0, len(course) - 1))
    return CurvePoints(
        **{name: np.round(getattr(found, name)[points], 6).tolist() for name in CurvePoints.model_fields}
    )
