"""Pixel by pixel agreement of recognised and mapped landslides."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from coslide.config.training import StrictModel

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts of pixels in each case; the sum of two is that of both areas together.

    Parameters
    ----------
    tp
        Landslide, recognised.
    fp
        Background, recognised as landslide (false alarm).
    fn
        Landslide, not recognised (missed).
    tn
        Background, recognised as background. (Table 4 of Yang et al. 2023 exchanges the names FN and TN.)

    Examples
    --------
    >>> Confusion(tp=3, fp=1, fn=2, tn=94) + Confusion(tp=1, fp=0, fn=0, tn=9)
    Confusion(tp=4, fp=1, fn=2, tn=103)
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    def __add__(self, other: "Confusion") -> "Confusion":
        return Confusion(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)


class PixelCounts(StrictModel):
    """Counts of pixels in each case of a `Confusion`."""

    tp: int
    """Landslide pixels found."""
    fp: int
    """False alarms: background pixels called landslide."""
    fn: int
    """Landslide pixels missed."""
    tn: int
    """Background pixels left alone."""


class PixelRates(StrictModel):
    """Scores of a map from 0 to 1 (Cohen's kappa from -1 to 1)."""

    oa: float
    """Overall accuracy, (tp + tn) / all."""
    miou: float
    """Mean of the intersection over union (IoU) of landslide and of background."""
    miou_paper: float
    """What Yang et al. (2023) call mIoU, oa / (2 - oa): a function of oa alone, of no use beside it."""
    kappa: float
    """Cohen's kappa, agreement beyond chance, -1 to 1."""
    f1: float
    """F1 of the landslide class, 2 tp / (2 tp + fp + fn)."""
    precision: float
    """Share of the pixels called landslide that are one, tp / (tp + fp)."""
    recall: float
    """Share of the landslide pixels that were found, tp / (tp + fn)."""
    iou_landslide: float
    """IoU of the landslide class, tp / (tp + fp + fn)."""


class PixelScores(PixelRates, PixelCounts):
    """Counts of pixels and the scores that follow from them."""


def confusion(predicted: BoolArray, mapped: BoolArray, where: BoolArray | None = None) -> Confusion:
    """Count the pixels that are landslide or background in two maps.

    Parameters
    ----------
    predicted
        Recognised landslides, bool (row, col) or any shape.
    mapped
        Landslides of the inventory, bool, of the same shape.
    where
        Pixels to count, bool, of the same shape: valid, inside the mapped area, held out. None counts all.

    Returns
    -------
    Confusion
        All zero where no pixel is counted.

    Raises
    ------
    TypeError
        If an array is not bool. (A mask with 255 for nodata would count as landslide.)
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> predicted, mapped = np.array([True, True, False, False]), np.array([True, False, True, False])
    >>> confusion(predicted, mapped, where=np.array([True, True, True, False]))
    Confusion(tp=1, fp=1, fn=1, tn=0)
    """
    counted = np.ones_like(mapped) if where is None else where
    for name, array in (("predicted", predicted), ("mapped", mapped), ("where", counted)):
        if array.dtype != np.bool_:
            raise TypeError(f"{name}: expected bool, found {array.dtype}")
        if array.shape != mapped.shape:
            raise ValueError(f"{name}: expected the shape of mapped {mapped.shape}, found {array.shape}")
    landslide = mapped & counted
    total, recognised, positives, tp = (
        int(np.count_nonzero(mask)) for mask in (counted, predicted & counted, landslide, predicted & landslide)
    )
    return Confusion(tp, recognised - tp, positives - tp, total - recognised - positives + tp)


def scores(counts: Confusion) -> PixelScores:
    """Compute the scores of a map from its counts of pixels.

    Parameters
    ----------
    counts
        Pooled over everything that is scored: scores averaged over tiles or batches differ.

    Notes
    -----
    A score whose denominator is zero is 0:

    - no pixel at all: every score;
    - nothing recognised: precision;
    - nothing mapped: recall;
    - nothing recognised and nothing mapped: precision, recall, f1 and iou_landslide, also kappa, for which chance
      agrees as well (Pe = 1); oa is 1 and miou 1/2;
    - everything recognised and everything mapped: kappa; the IoU of background counts as 0, so miou is 1/2.

    Kappa is (OA - Pe) / (1 - Pe) with Pe = ((TP + FP)(TP + FN) + (FN + TN)(FP + TN)) / N^2. Source: Yang et al. (2023),
    doi:10.3390/rs15040977, Table 4, with its TN and FN put in the usual places and Pe and recall in their usual form;
    the printed ones do not give the reported numbers.

    Examples
    --------
    >>> found = scores(Confusion(tp=40, fp=10, fn=10, tn=940))
    >>> {name: round(getattr(found, name), 4) for name in ("oa", "miou", "kappa", "f1", "iou_landslide")}
    {'oa': 0.98, 'miou': 0.8228, 'kappa': 0.7895, 'f1': 0.8, 'iou_landslide': 0.6667}
    """
    tp, fp, fn, tn = counts.tp, counts.fp, counts.fn, counts.tn
    total = tp + fp + fn + tn
    oa = _ratio(tp + tn, total)
    iou_landslide, iou_background = _ratio(tp, tp + fp + fn), _ratio(tn, tn + fp + fn)
    # Kappa in counts (both sides times N^2): exact integers, so that Pe = 1 is found as such.
    chance = (tp + fp) * (tp + fn) + (fn + tn) * (fp + tn)
    return PixelScores(
        tp=tp,
        fp=fp,
        fn=fn,
        tn=tn,
        oa=oa,
        miou=(iou_landslide + iou_background) / 2,
        miou_paper=oa / (2 - oa),
        kappa=_ratio((tp + tn) * total - chance, total**2 - chance),
        f1=_ratio(2 * tp, 2 * tp + fp + fn),
        precision=_ratio(tp, tp + fp),
        recall=_ratio(tp, tp + fn),
        iou_landslide=iou_landslide,
    )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
