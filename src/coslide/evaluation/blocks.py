"""Counts of one map for each of many places, and how sure a score is."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from coslide.evaluation.pixels import Confusion, scores

BoolArray = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]

_PIXELS_AT_ONCE = 2**22


def counts_by(
    groups: npt.NDArray[np.integer], predicted: BoolArray, mapped: BoolArray, where: BoolArray, *, count: int
) -> Counts:
    """Count tp, fp, fn and tn [pixels] of each group, int64 (group, 4).

    Parameters
    ----------
    groups
        Number of the group that each pixel belongs to, 0 to count - 1, integers (row, col) or any shape.
    predicted, mapped, where
        As for `coslide.evaluation.pixels.confusion`, of the same shape.
    count
        Number of groups.

    Raises
    ------
    ValueError
        If the shapes differ or a number is outside its range.

    Examples
    --------
    >>> predicted, mapped = np.array([True, True, False]), np.array([True, False, False])
    >>> counts_by(np.array([0, 0, 1]), predicted, mapped, np.ones(3, dtype=bool), count=2)
    array([[1, 1, 0, 0],
           [0, 0, 0, 1]])
    """
    if not groups.shape == predicted.shape == mapped.shape == where.shape:
        raise ValueError("expected groups, predicted, mapped and where of one shape")
    found = np.zeros(4 * count, dtype=np.int64)
    arrays = [array.reshape(-1) for array in (groups, predicted, mapped, where)]
    for start in range(0, groups.size, _PIXELS_AT_ONCE):
        group, recognised, landslide, counted = (array[start : start + _PIXELS_AT_ONCE] for array in arrays)
        number = group[counted].astype(np.int64)
        if number.size and not 0 <= number.min() <= number.max() < count:
            raise ValueError(f"groups: expected numbers from 0 to {count - 1}, found {number.min()} to {number.max()}")
        case = 2 * (~landslide[counted]) + (recognised[counted] != landslide[counted])  # tp, fn, tn, fp
        found += np.bincount(4 * number + case, minlength=4 * count)
    return found.reshape(count, 4)[:, [0, 3, 1, 2]]


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
    counts: Counts, names: Sequence[str], *, replicates: int = 1000
) -> dict[str, tuple[float, float]]:
    """Compute the bounds between which scores lie in 95 % of the replicates of a bootstrap over spatial blocks.

    Neighbouring pixels are alike, so pixels drawn one by one would promise far too much: whole blocks are drawn, with
    replacement, and their counts pooled (percentile intervals; Efron and Tibshirani 1993, chapter 13).

    Parameters
    ----------
    counts
        tp, fp, fn, tn of each block, int (block, 4). Blocks without a scored pixel do not take part.
    names
        Scores, fields of `coslide.evaluation.pixels.PixelRates`.
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
    >>> low < scores(Confusion(60, 30, 60, 2850)).f1 < high
    True
    """
    blocks = counts[counts.sum(axis=1) > 0]
    if len(blocks) < 2:
        return {}
    times = np.random.default_rng(0).multinomial(len(blocks), np.full(len(blocks), 1 / len(blocks)), size=replicates)
    found = [scores(Confusion(*pooled)) for pooled in (times @ blocks).tolist()]
    bounds = {name: np.percentile([getattr(row, name) for row in found], (2.5, 97.5)).tolist() for name in names}
    return {name: (low, high) for name, (low, high) in bounds.items()}
