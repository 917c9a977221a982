"""Where to look: strata of a map, how many places to label in each, and the places themselves, drawn at random."""

from typing import Any

import edt
import numpy as np
from numpy.typing import NDArray

from coslide.evaluation.stratified import Floats, spread

STRATA = ("landslide", "doubtful", "near", "background")
"""Strata 1 to 4: mapped; below the threshold, but not far; close to what is mapped; all else."""
_RARER_THAN_PROMISED = 0.005
_LEAST_SHARE = 10


def strata_of(
    probability: NDArray[np.floating], where: NDArray[np.bool_], *, threshold: float, doubtful_from: float, near_px: int
) -> NDArray[np.uint8]:
    """Divide the pixels of a map into strata, uint8 (row, col): the numbers of `STRATA`, 0 where none is wanted.

    Parameters
    ----------
    probability
        Landslide probability, 0 to 1, (row, col); NaN is not valid, and in no stratum.
    where
        Pixels that are wanted, bool (row, col).
    threshold, doubtful_from
        Probabilities from which a pixel is landslide, and doubtful.
    near_px
        How far from a landslide pixel another is near it [pixels].

    Examples
    --------
    >>> row = np.array([[0.9, 0.2, 0.0, 0.0, np.nan]])
    >>> strata_of(row, row < 2, threshold=0.5, doubtful_from=0.1, near_px=2)
    array([[1, 2, 3, 4, 0]], dtype=uint8)
    """
    landslide = probability >= threshold
    found = np.full(probability.shape, 4, np.uint8)
    if landslide.any():
        away: NDArray[np.float32] = edt.edt(np.ascontiguousarray(~landslide))
        found[away <= near_px] = 3
    found[probability >= doubtful_from] = 2
    found[landslide] = 1
    found[~where | np.isnan(probability)] = 0
    return found


def allocate(pixels: NDArray[np.int64], rates: Floats, n: int) -> NDArray[np.int64]:
    """Share out `n` labels over strata so that the interval of F1 becomes as narrow as it can (Neyman 1934).

    A stratum gets labels in proportion to its size times the deviation in it of what F1 is made of. None gets less than
    a tenth of `n`, or all of its pixels: a rate that was wrongly thought to be 0 would else go unseen.

    Parameters
    ----------
    pixels
        Of each stratum, (stratum,); the first is that of the mapped landslides, and may have none.
    rates
        Share of landslide that is anticipated in each, 0 to 1: the mean of a calibrated probability. Taken to be at
        least 0.005, and at most 0.995: no map of another event is that sure.
    n
        Labels in all; at most the pixels there are. A tenth more leaves no stratum with fewer; one more may.

    Returns
    -------
    ndarray
        int64 (stratum,), `n` in all.

    References
    ----------
    Neyman (1934), doi:10.2307/2342192; Cochran (1977), Sampling Techniques, 5.5.

    Examples
    --------
    >>> allocate(np.array([2_000, 2_000, 10_000, 86_000]), np.array([0.7, 0.25, 0.03, 0.002]), 200)
    array([ 39,  20,  31, 110])
    """
    rates = np.clip(rates, _RARER_THAN_PROMISED, 1 - _RARER_THAN_PROMISED)
    shares = np.zeros((len(pixels), 2, 2))
    mapped = np.arange(len(pixels)) == 0
    shares[mapped, 1], shares[~mapped, 0] = (np.stack([1 - rates, rates], axis=-1)[part] for part in (mapped, ~mapped))
    weights = pixels / pixels.sum()
    wanted = weights * spread(shares, weights, "f1" if pixels[0] else "area")
    least = np.minimum(pixels, n // _LEAST_SHARE).astype(np.float64)
    exact = _fill(wanted, least, pixels.astype(np.float64), float(n))
    found = np.floor(exact + 1e-9).astype(np.int64)
    open_ = np.where(found < pixels, exact - found, -1.0)
    found[np.argsort(-open_, kind="stable")[: n - found.sum()]] += 1
    return found


def _fill(wanted: Floats, least: Floats, most: Floats, total: float) -> Floats:
    """Share out `total` in proportion to `wanted`, but at least `least` and at most `most` of each."""
    low, high = 0.0, 1.0
    while np.clip(high * wanted, least, most).sum() < total and high < 1e300:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.clip(middle * wanted, least, most).sum() < total else (low, middle)
    return np.asarray(np.clip(high * wanted, least, most))


def draw_places(strata: NDArray[np.uint8], sizes: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Draw pixels of each stratum at random, none twice, and mix them: int64 (place,), numbers in the raveled grid.

    Parameters
    ----------
    strata
        From `strata_of`.
    sizes
        How many of each, (stratum,).
    seed
        With the same seed more places of a stratum hold the fewer ones.
    """
    found: list[Any] = []
    for number, size in enumerate(sizes, start=1):
        random = np.random.default_rng((seed, number))
        found.append(random.permutation(np.flatnonzero(strata == number))[:size])
    return np.random.default_rng((seed, 0)).permutation(np.concatenate(found)).astype(np.int64)
