"""What the probabilities of a map lead to expect where nobody has labelled anything: a threshold, and its scores."""

import numpy as np
import numpy.typing as npt

from coslide.evaluation.pixels import ScoreRecord
from coslide.evaluation.probabilities import STEPS, Curve, FloatArray, best_threshold

LOWEST = 0.1
"""Threshold below which, its expected F1 under 0.2, a map does not tell landslides from the rest: where all pixels are
alike, the highest expected F1 would call all of them landslide."""


class ExpectedScores(ScoreRecord):
    """Scores of a map that its own probabilities lead to expect, without a label; as right as they are."""

    precision: float
    """Mean probability of the pixels that are recognised."""
    recall: float
    """Their share of all probability."""
    f1: float
    """Harmonic mean of the two."""
    landslide_share: float
    """Mean probability: the share of the area that is expected to be landslide."""


class Expectation:
    """The expected curve of a map, gathered piece by piece: a pixel of probability p is p landslide and 1 - p not.

    The F1 that the curve leads to expect is highest at a threshold of half of itself, if the probabilities are right
    (Lipton et al. 2014, doi:10.1007/978-3-662-44851-9_15). That needs no label of the event: where a network that was
    trained elsewhere is less sure than it was there, the threshold falls with its probabilities.

    Examples
    --------
    >>> expectation = Expectation()
    >>> expectation.add(np.array([0.9, 0.8, 0.2, np.nan, 0.1]))
    >>> expectation.threshold
    0.8
    >>> expectation.scores(0.5).f1  # of 2 expected landslides 1.7 are among the 2 that are recognised
    0.85
    """

    def __init__(self) -> None:
        self._pixels = np.zeros(STEPS + 1, dtype=np.int64)
        self._landslides = np.zeros(STEPS + 1)

    def add(self, probability: FloatArray) -> None:
        """Count some pixels, 0 to 1, any shape; NaN is left out."""
        given = probability[np.isfinite(probability)].astype(np.float64)
        step = (given * STEPS).astype(np.int64)
        self._pixels += np.bincount(step, minlength=STEPS + 1)
        self._landslides += np.bincount(step, given, minlength=STEPS + 1)

    @property
    def threshold(self) -> float:
        """The threshold with the highest expected F1, `LOWEST` to 1; 0.5 without a pixel."""
        return max(best_threshold(self._curve()), LOWEST)

    def scores(self, threshold: float) -> ExpectedScores | None:
        """Tell what is to be expected at a threshold; None where no landslide is."""
        found = self._curve()
        if not found.tp[-1]:
            return None
        place = np.flatnonzero(found.threshold >= threshold - 1e-12)[-1]
        f1 = 2 * found.tp[place] / (found.tp[-1] + found.tp[place] + found.fp[place])
        share = found.tp[-1] / (found.tp[-1] + found.fp[-1])
        rates = {"precision": found.precision[place], "recall": found.recall[place], "f1": f1, "landslide_share": share}
        return ExpectedScores(**{name: float(value) for name, value in rates.items()})

    def _curve(self) -> Curve:
        tp: npt.NDArray[np.float64] = np.cumsum(self._landslides[::-1])
        fp = np.cumsum((self._pixels - self._landslides)[::-1])
        return Curve(np.arange(STEPS, -1, -1) / STEPS, tp, np.maximum(fp, 0.0))
