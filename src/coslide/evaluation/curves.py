"""Precision, recall and false alarms at every threshold, and the threshold that is best."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from coslide.evaluation.calibration import scored_pieces

FloatArray = npt.NDArray[np.floating]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

STEPS = 2**14  # thresholds k / STEPS: a power of two, so that none of them is rounded


@dataclass(frozen=True, slots=True)
class Curve:
    """Return the pixels recognised at each threshold, from 1 down to 0.

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
        """Return the share of recognised pixels that are landslide [0 to 1]; 1 where nothing is recognised."""
        recognised = self.tp + self.fp
        return np.where(recognised > 0, self.tp / np.maximum(recognised, 1), 1.0)

    @property
    def recall(self) -> Float64Array:
        """Return the share of landslide pixels that are recognised [0 to 1]; 0 where there is none."""
        return np.asarray(self.tp / max(int(self.tp[-1]), 1))

    @property
    def false_alarm_rate(self) -> Float64Array:
        """Return the share of background pixels that are recognised [0 to 1]; 0 where there is none."""
        return np.asarray(self.fp / max(int(self.fp[-1]), 1))

    @property
    def f1(self) -> Float64Array:
        """Return F1 of the landslide class [0 to 1]; 0 where nothing is recognised and nothing mapped."""
        wanted = int(self.tp[-1]) + self.tp + self.fp
        return np.asarray(2 * self.tp / np.maximum(wanted, 1))


def curve(probability: FloatArray, mapped: BoolArray, where: BoolArray | None = None) -> Curve:
    """Return how many pixels are recognised, rightly and wrongly, at the thresholds k / 16384.

    Parameters
    ----------
    probability
        Landslide probability [0 to 1], float (row, col) or any shape; NaN where it is not known.
    mapped
        Landslides of the inventory, bool, of the same shape.
    where
        Pixels to score, bool, of the same shape. None scores every pixel with a probability.

    Raises
    ------
    TypeError
        If `mapped` or `where` is not bool.
    ValueError
        If the shapes differ, or a pixel to score has no probability or one outside 0 to 1.

    Examples
    --------
    >>> found = curve(np.array([0.9, 0.8, 0.3, 0.1]), np.array([True, False, True, False]))
    >>> int(found.tp[-1]), int(found.fp[-1]), average_precision(found)
    (2, 2, 0.833)
    """
    slides, others = np.zeros(STEPS + 1, np.int64), np.zeros(STEPS + 1, np.int64)
    for given, landslide in scored_pieces(probability, mapped, where):
        step = (given * STEPS).astype(np.int64)  # the highest threshold that the pixel reaches
        both = np.bincount(step + (STEPS + 1) * landslide, minlength=2 * (STEPS + 1))
        others += both[: STEPS + 1]
        slides += both[STEPS + 1 :]
    return Curve(np.arange(STEPS, -1, -1) / STEPS, np.cumsum(slides[::-1]), np.cumsum(others[::-1]))


def average_precision(found: Curve) -> float:
    """Return the area under the precision-recall curve [0 to 1], as steps: the sum of precision x gain of recall.

    NaN without any landslide pixel.
    """
    if not found.tp[-1]:
        return float("nan")
    return float(np.sum(np.diff(found.recall, prepend=0.0) * found.precision))


def roc_auc(found: Curve) -> float:
    """Return the area under the ROC curve [0 to 1]: how often a landslide pixel gets more than a background pixel.

    NaN without any landslide pixel, or without any other. Landslides are rare, so it is near 1 for poor maps too: read
    the average precision first.
    """
    if not found.tp[-1] or not found.fp[-1]:
        return float("nan")
    return float(np.trapezoid(np.r_[0.0, found.recall], np.r_[0.0, found.false_alarm_rate]))


def best_threshold(found: Curve) -> float:
    """Return the threshold with the highest F1 of landslide pixels, above 0 and at most 1; 0.5 without a landslide.

    It is to be chosen on ground that is neither trained on nor scored. Of equally good ones the highest.
    """
    if not found.tp[-1]:
        return 0.5
    return float(found.threshold[:-1][np.argmax(found.f1[:-1])])


def decimate_curve(found: Curve, count: int = 200) -> dict[str, list[float]]:
    """Return about `count` points of the curves, evenly over their course, as lists for a file or a figure.

    Returns
    -------
    dict
        ``threshold``, ``precision``, ``recall`` and ``false_alarm_rate`` [0 to 1], in the order of falling thresholds.
    """
    course = np.cumsum(np.abs(np.diff(found.recall, prepend=0.0)) + np.abs(np.diff(found.precision, prepend=1.0)))
    wanted = np.linspace(0, course[-1], count)
    points = np.unique(np.clip(np.searchsorted(course, wanted), 0, len(course) - 1))
    columns = ("threshold", "precision", "recall", "false_alarm_rate")
    return {name: np.round(getattr(found, name)[points], 6).tolist() for name in columns}
