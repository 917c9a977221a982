"""What the probabilities of a map are worth: curves over all thresholds, calibration and temperature.

Pixels are counted at 16384 thresholds in one pass. scikit-learn sorts them instead, which takes tens of seconds and
gigabytes for a whole scene; in the tests it is the witness.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.optimize
import scipy.special
from pydantic import Field

from coslide.evaluation.pixels import BoolArray, ScoreRecord, check_masks, draw_blocks, in_pieces

FloatArray = npt.NDArray[np.floating]
Float64Array = npt.NDArray[np.float64]

STEPS = 2**14  # thresholds k / STEPS: a power of two, so that none of them is rounded
_SURE = 1e-7  # what a network cannot be surer than in single precision
_LOG_TEMPERATURES = (-math.log(20), math.log(20))


class Reliability(ScoreRecord):
    """Reliability table: equal bins of probability from 0 to 1, and how often their pixels are landslide.

    A bin holds its lower edge; the last one holds 1 too.
    """

    pixels: list[int] = Field(min_length=1)
    """Pixels in each bin."""
    probability_mean: list[float | None]
    """Mean probability of the pixels of each bin; null if none."""
    landslide_share: list[float | None]
    """Share of them that is mapped as landslide; null if none."""


class Curve(NamedTuple):
    """Pixels recognised at each threshold, from 1 down to 0.

    Parameters
    ----------
    threshold
        A pixel is recognised from this probability on, float64 (step,), falling.
    tp, fp
        Landslide and background pixels recognised, int64 (step,), rising; the last of each are all there are. Expected
        pixels (`coslide.evaluation.unlabelled`) are float64.
    """

    threshold: Float64Array
    tp: npt.NDArray[np.int64] | Float64Array
    fp: npt.NDArray[np.int64] | Float64Array

    @property
    def precision(self) -> Float64Array:
        """Share of recognised pixels that are landslide [0 to 1]; 1 where nothing is recognised."""
        recognised = self.tp + self.fp
        return np.where(recognised > 0, self.tp / np.where(recognised > 0, recognised, 1), 1.0)

    @property
    def recall(self) -> Float64Array:
        """Share of landslide pixels that are recognised [0 to 1]; 0 where there is none."""
        return np.asarray(self.tp / (self.tp[-1] or 1))

    @property
    def false_alarm_rate(self) -> Float64Array:
        """Share of background pixels that are recognised [0 to 1]; 0 where there is none."""
        return np.asarray(self.fp / (self.fp[-1] or 1))


class CurvePoints(ScoreRecord):
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
    for given, landslide in _checked(probability, mapped):
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
    f1 = 2 * found.tp / (found.tp[-1] + found.tp + found.fp)
    return float(found.threshold[:-1][np.argmax(f1[:-1])])


def decimate_curve(found: Curve, count: int = 200) -> CurvePoints:
    """Pick about `count` points of the curves, evenly over their course, for a file or a figure."""
    course = np.cumsum(np.abs(np.diff(found.recall, prepend=0.0)) + np.abs(np.diff(found.precision, prepend=1.0)))
    wanted = np.linspace(0, course[-1], count)
    points = np.unique(np.clip(np.searchsorted(course, wanted), 0, len(course) - 1))
    return CurvePoints(
        **{name: np.round(getattr(found, name)[points], 6).tolist() for name in CurvePoints.model_fields}
    )


def bootstrap_average_precision(
    probability: FloatArray, mapped: BoolArray, blocks: npt.NDArray[np.integer], found: Curve
) -> tuple[float, float] | None:
    """Find the bounds of the average precision in 95 % of 1000 replicates, each of blocks drawn with replacement.

    As `coslide.evaluation.pixels.bootstrap_intervals`, with the same draws; from about 1000 thresholds.

    Parameters
    ----------
    probability, mapped
        As for `brier`, float and bool (pixel,).
    blocks
        Number of the block of each pixel, from 0 on, int (pixel,).
    found
        Their curve.

    Returns
    -------
    tuple
        (lower, upper); None with fewer than two blocks, which have no spread, and without a landslide.

    Examples
    --------
    >>> probability, mapped = np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, False, True, False])
    >>> bootstrap_average_precision(probability, mapped, np.array([0, 0, 1, 1]), curve(probability, mapped))
    (0.833, 1.0)
    """
    names, own = np.unique(blocks, return_inverse=True)
    if len(names) < 2 or not mapped.any():
        return None
    edges = np.unique(np.append(decimate_curve(found, 1000).threshold, 0.0))
    bins = len(edges)
    counts = np.zeros(len(names) * 2 * bins)
    for number, given, landslide in in_pieces(own, probability, mapped):
        place = np.searchsorted(edges, given, side="right") - 1
        counts += np.bincount((2 * number + landslide) * bins + place, minlength=counts.size)
    drawn = draw_blocks(len(names)) @ counts.reshape(len(names), 2 * bins)
    fp, tp = np.cumsum(drawn.reshape(-1, 2, bins)[..., ::-1], axis=-1).swapaxes(0, 1)
    gained = np.diff(tp, axis=-1, prepend=0.0) / np.maximum(tp[:, -1:], 1)
    low, high = np.percentile((gained * tp / np.maximum(tp + fp, 1)).sum(axis=-1), (2.5, 97.5))
    return float(low), float(high)


def brier(probability: FloatArray, mapped: BoolArray) -> float:
    """Compute the Brier score [0 to 1], the mean of (probability - mapped)^2; 0 is perfect.

    Brier (1950), doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2, in its form for one class.

    Parameters
    ----------
    probability
        Landslide probability of the pixels to score [0 to 1], float, any shape.
    mapped
        Whether they are landslide in the inventory, bool, of the same shape.

    Returns
    -------
    float
        NaN without a pixel.

    Raises
    ------
    TypeError
        If `mapped` is not bool.
    ValueError
        If the shapes differ, or a probability is NaN or outside 0 to 1.

    Examples
    --------
    >>> brier(np.array([1.0, 0.5, 0.0]), np.array([True, True, False]))
    0.0833
    """
    squares = sum(float(np.sum((given - landslide) ** 2)) for given, landslide in _checked(probability, mapped))
    return squares / probability.size if probability.size else math.nan


def reliability(probability: FloatArray, mapped: BoolArray, *, bins: int = 15) -> Reliability:
    """Compute the reliability table of a map: the pixels, mean probability and landslide share of each bin.

    Parameters
    ----------
    probability, mapped
        As for `brier`.
    bins
        Number of bins of equal width between 0 and 1.

    Raises
    ------
    TypeError, ValueError
        As for `brier`.

    Examples
    --------
    >>> reliability(np.array([0.1, 0.3, 0.8, 1.0]), np.array([False, True, True, True]), bins=2)
    Reliability(pixels=[2, 2], probability_mean=[0.2, 0.9], landslide_share=[0.5, 1.0])
    """
    edges, sums = np.linspace(0, 1, bins + 1), np.zeros((3, bins))
    for given, landslide in _checked(probability, mapped):
        place = np.minimum(np.searchsorted(edges, given, side="right") - 1, bins - 1)
        sums += [np.bincount(place, weights, minlength=bins) for weights in (None, given, landslide)]
    pixels, parts = sums[0].astype(np.int64).tolist(), sums[1:].tolist()
    means, shares = ([p / n if n else None for p, n in zip(part, pixels, strict=True)] for part in parts)
    return Reliability(pixels=pixels, probability_mean=means, landslide_share=shares)


def expected_calibration_error(table: Reliability) -> float:
    """Compute the expected calibration error [0 to 1], the mean of |probability - landslide share| over the pixels.

    The difference is that of the means of a bin, weighted with its pixels: Guo et al. (2017), On calibration of modern
    neural networks, arXiv:1706.04599, equation 3, for the probability of the landslide class. NaN without a pixel.

    Notes
    -----
    Landslides are rare, so most pixels lie in the lowest bin and the error is small even for a poor map. Read it next
    to the reliability table.

    Examples
    --------
    >>> table = reliability(np.array([0.1, 0.3, 0.8, 1.0]), np.array([False, True, True, True]), bins=2)
    >>> expected_calibration_error(table)
    0.2
    """
    if not sum(table.pixels):
        return math.nan
    given, share = (np.array(column, np.float64) for column in (table.probability_mean, table.landslide_share))
    return float(np.nansum(np.abs(given - share) * table.pixels) / sum(table.pixels))


def apply_temperature(probability: FloatArray, temperature: float) -> FloatArray:
    """Divide the logit of a probability [0 to 1] by `temperature`; the result has the dtype of `probability`.

    Guo et al. (2017), arXiv:1706.04599, for two classes. Above 1 the map becomes less sure of itself; which of two
    pixels is the likelier does not change.

    Parameters
    ----------
    probability
        Landslide probability [0 to 1], any shape; NaN stays NaN.
    temperature
        Above 0; 1 changes nothing.

    Examples
    --------
    >>> apply_temperature(np.array([0.1, 0.5, 0.9, 1.0]), 2.0)
    array([0.25, 0.5 , 0.75, 1.  ])
    """
    if temperature == 1:
        return probability
    logit = scipy.special.logit(probability.astype(np.float64))
    return np.asarray(scipy.special.expit(logit / temperature), dtype=probability.dtype)


def fit_temperature(probability: FloatArray, mapped: BoolArray) -> float:
    """Find the temperature with the lowest mean negative log-likelihood of the truth; see `apply_temperature`.

    Parameters
    ----------
    probability, mapped
        As for `brier`: pixels that are neither trained on nor scored.

    Returns
    -------
    float
        Between 1/20 and 20; 1 without a pixel, or where all pixels are of one class.

    Raises
    ------
    TypeError, ValueError
        As for `brier`.

    Examples
    --------
    Nine of ten pixels at 0.99 are landslide: the map was too sure by log(99) / log(9).

    >>> probability = np.full(10, 0.99)
    >>> round(fit_temperature(probability, np.arange(10) < 9), 2)
    2.09
    """
    if mapped.all() or not mapped.any():
        return 1.0
    given, truth = (np.concatenate(parts) for parts in zip(*_checked(probability, mapped), strict=True))
    away = np.where(truth, -1.0, 1.0) * scipy.special.logit(given.clip(_SURE, 1 - _SURE))  # of the class not true

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp(0.0, away * math.exp(-log_temperature)).mean())

    return float(math.exp(scipy.optimize.minimize_scalar(loss, bounds=_LOG_TEMPERATURES, method="bounded").x))


def _checked(probability: FloatArray, mapped: BoolArray) -> Iterator[tuple[Float64Array, BoolArray]]:
    """Check probability and truth, and yield them some million pixels at a time."""
    check_masks(probability.shape, mapped=mapped)
    for piece, landslide in in_pieces(probability, mapped):
        given = piece.astype(np.float64)
        if not ((given >= 0) & (given <= 1)).all():
            raise ValueError("probability: expected numbers from 0 to 1 in every pixel to score, found others or NaN")
        yield given, landslide
