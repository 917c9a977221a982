"""Whether a probability means what it says: Brier score, reliability table, expected calibration error."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.optimize
import scipy.special

FloatArray = npt.NDArray[np.floating]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_PIXELS_AT_ONCE = 2**22
_SURE = 1e-7  # what a network cannot be surer than in single precision
_LOG_TEMPERATURES = (-math.log(20), math.log(20))


@dataclass(frozen=True, slots=True)
class Reliability:
    """Return a reliability table: equal bins of probability, and how often their pixels are landslide.

    Parameters
    ----------
    edges
        Edges of the bins [0 to 1], float64 (bins + 1,). A bin holds its lower edge; the last one holds 1 too.
    pixels
        Pixels in each bin, int64 (bins,).
    probability_mean
        Mean probability of the pixels of each bin [0 to 1], float64 (bins,); NaN in an empty bin.
    landslide_share
        Share of the pixels of each bin that are mapped as landslide [0 to 1], float64 (bins,); NaN in an empty bin.
    """

    edges: Float64Array
    pixels: npt.NDArray[np.int64]
    probability_mean: Float64Array
    landslide_share: Float64Array


def brier(probability: FloatArray, mapped: BoolArray, where: BoolArray | None = None) -> float:
    """Return the Brier score [0 to 1], the mean of (probability - mapped)^2; 0 is perfect.

    Brier (1950), doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2, in its form for one class.

    Parameters
    ----------
    probability
        Landslide probability [0 to 1], float (row, col) or any shape; NaN where it is not known.
    mapped
        Landslides of the inventory, bool, of the same shape.
    where
        Pixels to score, bool, of the same shape. None scores every pixel with a probability.

    Returns
    -------
    float
        NaN where no pixel is scored.

    Raises
    ------
    TypeError
        If `mapped` or `where` is not bool.
    ValueError
        If the shapes differ, or a pixel to score has no probability or one outside 0 to 1.

    Examples
    --------
    >>> brier(np.array([1.0, 0.5, 0.0]), np.array([True, True, False]))
    0.0833
    """
    squares, pixels = 0.0, 0
    for given, landslide in scored_pieces(probability, mapped, where):
        squares += float(np.sum((given - landslide) ** 2))
        pixels += len(given)
    return squares / pixels if pixels else float("nan")


def reliability(
    probability: FloatArray, mapped: BoolArray, where: BoolArray | None = None, *, bins: int = 15
) -> Reliability:
    """Return the reliability table of a probability map: for each bin its pixels, mean probability, landslide share.

    Parameters
    ----------
    probability, mapped, where
        As for `brier`.
    bins
        Number of bins of equal width between 0 and 1, at least 1.

    Raises
    ------
    TypeError
        If `mapped` or `where` is not bool.
    ValueError
        If the number of bins is below 1, the shapes differ, or a pixel to score has no probability or one outside
        0 to 1.

    Examples
    --------
    >>> table = reliability(np.array([0.1, 0.3, 0.8, 1.0]), np.array([False, True, True, True]), bins=2)
    >>> table.pixels, table.probability_mean, table.landslide_share
    (array([2, 2]), array([0.2, 0.9]), array([0.5, 1. ]))
    """
    if bins < 1:
        raise ValueError(f"bins: expected at least 1, found {bins}")
    edges = np.linspace(0, 1, bins + 1)
    pixels, total, landslides = np.zeros(bins, np.int64), np.zeros(bins), np.zeros(bins)
    for given, landslide in scored_pieces(probability, mapped, where):
        place = np.minimum(np.searchsorted(edges, given, side="right") - 1, bins - 1)
        pixels += np.bincount(place, minlength=bins)
        total += np.bincount(place, given, minlength=bins)
        landslides += np.bincount(place, landslide, minlength=bins)
    filled = np.where(pixels > 0, pixels, np.nan)
    return Reliability(edges, pixels, total / filled, landslides / filled)


def expected_calibration_error(
    probability: FloatArray, mapped: BoolArray, where: BoolArray | None = None, *, bins: int = 15
) -> float:
    """Return the expected calibration error [0 to 1], the mean of |probability - landslide share| over the pixels.

    The difference is that of the means of a bin (`reliability`), weighted with its pixels: Guo et al. (2017), On
    calibration of modern neural networks, arXiv:1706.04599, equation 3, for the probability of the landslide class.

    Parameters
    ----------
    probability, mapped, where
        As for `brier`.
    bins
        Number of bins of equal width between 0 and 1, at least 1.

    Returns
    -------
    float
        NaN where no pixel is scored.

    Raises
    ------
    TypeError
        If `mapped` or `where` is not bool.
    ValueError
        As for `reliability`.

    Notes
    -----
    Landslides are rare, so most pixels lie in the lowest bin and the error is small even for a poor map. Read it next
    to the reliability table.

    Examples
    --------
    >>> expected_calibration_error(np.array([0.1, 0.3, 0.8, 1.0]), np.array([False, True, True, True]), bins=2)
    0.2
    """
    return calibration_error(reliability(probability, mapped, where=where, bins=bins))


def calibration_error(table: Reliability) -> float:
    """Return the expected calibration error [0 to 1] of a reliability table; NaN where no pixel is scored."""
    pixels = int(table.pixels.sum())
    if not pixels:
        return float("nan")
    gaps = np.abs(table.probability_mean - table.landslide_share)
    return float(np.nansum(gaps * table.pixels) / pixels)


def apply_temperature(probability: FloatArray, temperature: float) -> FloatArray:
    """Return the probability [0 to 1] that its logit, divided by `temperature`, stands for; of the same dtype.

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


def fit_temperature(probability: FloatArray, mapped: BoolArray, where: BoolArray | None = None) -> float:
    """Return the temperature with the lowest mean negative log-likelihood of the truth; see `apply_temperature`.

    Parameters
    ----------
    probability, mapped, where
        As for `brier`: ground that is neither trained on nor scored.

    Returns
    -------
    float
        Between 1/20 and 20; 1 where no pixel is scored, or all of them are of one class.

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
    pieces = list(scored_pieces(probability, mapped, where))
    truth = np.concatenate([landslide for _, landslide in pieces]) if pieces else np.zeros(0, dtype=bool)
    if truth.all() or not truth.any():
        return 1.0
    given = np.concatenate([piece for piece, _ in pieces]).clip(_SURE, 1 - _SURE)
    away = np.where(truth, -1.0, 1.0) * scipy.special.logit(given)  # logit of the class that is not true

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp(0.0, away * math.exp(-log_temperature)).mean())

    return float(math.exp(scipy.optimize.minimize_scalar(loss, bounds=_LOG_TEMPERATURES, method="bounded").x))


def scored_pieces(
    probability: FloatArray, mapped: BoolArray, where: BoolArray | None
) -> Iterator[tuple[Float64Array, BoolArray]]:
    """Return the probability and the truth of the pixels to score, a piece of the map at a time.

    Parameters
    ----------
    probability, mapped, where
        As for `brier`.

    Raises
    ------
    TypeError
        If `mapped` or `where` is not bool.
    ValueError
        If the shapes differ, or a pixel to score has no probability or one outside 0 to 1.
    """
    arrays = {"mapped": mapped} if where is None else {"mapped": mapped, "where": where}
    for name, array in arrays.items():
        if array.dtype != np.bool_:
            raise TypeError(f"{name}: expected bool, found {array.dtype}")
        if array.shape != probability.shape:
            raise ValueError(f"{name}: expected the shape of probability {probability.shape}, found {array.shape}")
    flat, truth = probability.reshape(-1), mapped.reshape(-1)
    wanted = None if where is None else where.reshape(-1)
    for start in range(0, flat.size, _PIXELS_AT_ONCE):
        piece = np.s_[start : start + _PIXELS_AT_ONCE]
        picked = ~np.isnan(flat[piece]) if wanted is None else wanted[piece]
        given = flat[piece][picked].astype(np.float64)
        if not ((given >= 0) & (given <= 1)).all():
            raise ValueError("probability: expected numbers from 0 to 1 in every pixel to score, found others or NaN")
        yield given, truth[piece][picked]
