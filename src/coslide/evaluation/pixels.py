"""Pixel by pixel agreement of recognised and mapped landslides, as a whole and for each of many places."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from pydantic import model_validator

from coslide.config.records import StrictModel, require

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

_PIXELS_AT_ONCE = 2**22
_LARGEST = 1e15  # of what can be counted or measured, and drawn


class Confusion(NamedTuple):
    """Counts of pixels in each case.

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
    """

    tp: int
    fp: int
    fn: int
    tn: int


class ScoreRecord(StrictModel):
    """A record of scores: its numbers are such as can be measured, and its lists are the columns of one table."""

    @model_validator(mode="after")
    def _can_be_drawn(self) -> Self:
        columns = {name: value for name, value in self if isinstance(value, list)}
        for name, value in self:
            for one in columns.get(name, [value]):
                within = not isinstance(one, int | float) or abs(one) <= _LARGEST
                require(within, f"{name}: found {one!r}, expected numbers up to {_LARGEST:g}")
        lengths = sorted({len(column) for column in columns.values()})
        require(len(lengths) < 2, f"{', '.join(columns)}: found lists of {lengths} values, expected as many in each")
        return self


class PixelCounts(ScoreRecord):
    """Counts of pixels in each case of a `Confusion`."""

    tp: int
    """Landslide pixels found."""
    fp: int
    """False alarms: background pixels called landslide."""
    fn: int
    """Landslide pixels missed."""
    tn: int
    """Background pixels left alone."""


class PixelRates(ScoreRecord):
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
    counted, whole = np.ones_like(mapped) if where is None else where, np.zeros(mapped.shape, dtype=np.uint8)
    return Confusion(*counts_by(whole, predicted, mapped, counted, count=1)[0].tolist())


def scores(tp: int = 0, fp: int = 0, fn: int = 0, tn: int = 0) -> PixelScores:
    """Compute the scores of a map from its counts of pixels.

    Parameters
    ----------
    tp, fp, fn, tn
        As in `Confusion`, pooled over everything that is scored: scores averaged over tiles or batches differ.

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
    >>> found = scores(tp=40, fp=10, fn=10, tn=940)
    >>> {name: round(getattr(found, name), 4) for name in ("oa", "miou", "kappa", "f1", "iou_landslide")}
    {'oa': 0.98, 'miou': 0.8228, 'kappa': 0.7895, 'f1': 0.8, 'iou_landslide': 0.6667}
    """
    total = tp + fp + fn + tn
    oa = _ratio(tp + tn, total)
    iou_landslide, iou_background = _ratio(tp, tp + fp + fn), _ratio(tn, tn + fp + fn)
    # Kappa in counts (both sides times N^2): exact integers, so that Pe = 1 is found as such.
    chance = (tp + fp) * (tp + fn) + (fn + tn) * (fp + tn)
    return PixelScores(
        **Confusion(tp, fp, fn, tn)._asdict(),
        oa=oa,
        miou=(iou_landslide + iou_background) / 2,
        miou_paper=oa / (2 - oa),
        kappa=_ratio((tp + tn) * total - chance, total**2 - chance),
        f1=_ratio(2 * tp, 2 * tp + fp + fn),
        precision=_ratio(tp, tp + fp),
        recall=_ratio(tp, tp + fn),
        iou_landslide=iou_landslide,
    )


def counts_by(
    groups: npt.NDArray[np.integer], predicted: BoolArray, mapped: BoolArray, where: BoolArray, *, count: int
) -> IntArray:
    """Count tp, fp, fn and tn [pixels] of each group, int64 (group, 4).

    Parameters
    ----------
    groups
        Number of the group that each pixel belongs to, 0 to count - 1, integers (row, col) or any shape.
    predicted, mapped, where
        As for `confusion`, of the same shape.
    count
        Number of groups.

    Raises
    ------
    TypeError, ValueError
        As for `confusion`; also if a number is outside its range.

    Examples
    --------
    >>> predicted, mapped = np.array([True, True, False]), np.array([True, False, False])
    >>> counts_by(np.array([0, 0, 1]), predicted, mapped, np.ones(3, dtype=bool), count=2)
    array([[1, 1, 0, 0],
           [0, 0, 0, 1]])
    """
    check_masks(groups.shape, predicted=predicted, mapped=mapped, where=where)
    found = np.zeros(4 * count, dtype=np.int64)
    for group, recognised, landslide, counted in in_pieces(groups, predicted, mapped, where):
        number = group[counted].astype(np.int64)
        if number.size and not 0 <= number.min() <= number.max() < count:
            raise ValueError(f"groups: expected numbers from 0 to {count - 1}, found {number.min()} to {number.max()}")
        case = 2 * (~landslide[counted]) + (recognised[counted] != landslide[counted])  # tp, fn, tn, fp
        found += np.bincount(4 * number + case, minlength=4 * count)
    return found.reshape(count, 4)[:, [0, 3, 1, 2]]


def check_masks(shape: tuple[int, ...], **masks: BoolArray) -> None:
    """Check that masks are bool and of one shape.

    Raises
    ------
    TypeError
        If one is not bool. (A mask with 255 for nodata would count as landslide.)
    ValueError
        If one has another shape.
    """
    for name, mask in masks.items():
        if mask.dtype != np.bool_:
            raise TypeError(f"{name}: expected bool, found {mask.dtype}")
        if mask.shape != shape:
            raise ValueError(f"{name}: expected shape {shape}, found {mask.shape}")


def in_pieces(*arrays: npt.NDArray[Any]) -> Iterator[list[npt.NDArray[Any]]]:
    """Yield arrays of one shape some million pixels at a time, flat, so that memory stays small."""
    for start in range(0, arrays[0].size, _PIXELS_AT_ONCE):
        yield [array.reshape(-1)[start : start + _PIXELS_AT_ONCE] for array in arrays]


def square_blocks(shape: tuple[int, int], side_px: int) -> tuple[npt.NDArray[np.int32], int]:
    """Split a raster into numbered squares: the number of each pixel, int32 (row, col), and how many there are.

    Parameters
    ----------
    shape
        (row, col).
    side_px
        Side of a square [pixels]; those at the right and at the bottom may be smaller.

    Examples
    --------
    >>> square_blocks((2, 3), 2)
    (array([[0, 0, 1],
           [0, 0, 1]], dtype=int32), 2)
    """
    down, across = (-(-length // side_px) for length in shape)
    rows, cols = (np.arange(length, dtype=np.int32) // side_px for length in shape)
    return rows[:, np.newaxis] * np.int32(across) + cols, down * across


def bootstrap_intervals(
    counts: IntArray, names: Sequence[str], *, replicates: int = 1000
) -> dict[str, tuple[float, float]]:
    """Compute the bounds between which scores lie in 95 % of the replicates of a bootstrap over spatial blocks.

    Neighbouring pixels are alike, so pixels drawn one by one would promise far too much: whole blocks are drawn, with
    replacement, and their counts pooled (percentile intervals; Efron and Tibshirani 1993, chapter 13).

    Parameters
    ----------
    counts
        tp, fp, fn, tn of each block, int (block, 4). Blocks without a scored pixel do not take part.
    names
        Scores, fields of `PixelRates`.
    replicates
        How many times the blocks are drawn; the draws are the same in every call.

    Returns
    -------
    dict
        (lower, upper) for each name; empty with fewer than two blocks, which have no spread.

    Examples
    --------
    >>> counts = np.array([[30, 10, 10, 950], [10, 10, 30, 950], [20, 10, 20, 950]])
    >>> low, high = bootstrap_intervals(counts, ["f1"])["f1"]
    >>> low < scores(60, 30, 60, 2850).f1 < high
    True
    """
    blocks = counts[counts.sum(axis=1) > 0]
    if len(blocks) < 2:
        return {}
    found = [scores(*pooled) for pooled in (draw_blocks(len(blocks), replicates) @ blocks).tolist()]
    bounds = np.percentile([[getattr(row, name) for name in names] for row in found], (2.5, 97.5), axis=0)
    return dict(zip(names, map(tuple, bounds.T.tolist()), strict=True))


def draw_blocks(count: int, replicates: int = 1000, *, random: np.random.Generator | None = None) -> IntArray:
    """Draw blocks with replacement: how often each is drawn, int64 (replicate, block).

    The same in every call, unless `random` draws them: then calls go on where the last one ended.
    """
    random = random or np.random.default_rng(0)
    return random.multinomial(count, np.full(count, 1 / count), size=replicates)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
