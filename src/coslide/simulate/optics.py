"""How a satellite's detector blurs the ground: from fine cells to the cells of a band."""

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import erf

from coslide.simulate.frame import FINE_M

Floats = NDArray[np.float32]

MTF_AT_NYQUIST = {10: 0.27, 20: 0.30}
"""Contrast that is left of waves two cells long, by cell size in metres; the instrument is specified for 0.15 to 0.30
(Drusch et al. 2012, doi:10.1016/j.rse.2011.11.026)."""


def blur_sigma_m(cell_m: int) -> float:
    """Return the standard deviation in metres of the Gaussian blur of optics and platform, for bands of `cell_m`.

    The contrast at the Nyquist frequency is that of a square detector, 2 / pi, times that of a Gaussian blur,
    exp(-(pi sigma / cell)² / 2)::

        sigma = cell / pi * sqrt(-2 ln(pi / 2 * MTF))

    Examples
    --------
    >>> blur_sigma_m(10)
    4.169
    """
    return float(cell_m / np.pi * np.sqrt(-2 * np.log(np.pi / 2 * MTF_AT_NYQUIST[cell_m])))


def weights_along(cell_m: int, *, shift_m: float = 0.0) -> tuple[int, Floats]:
    """Return how much each fine cell along one axis adds to a cell of a band (no unit), and where the first one lies.

    The detector is a square, blurred by a Gaussian; a fine cell counts with the integral of that over its width, which
    the error function gives. The square and the Gaussian act along each axis alone, so rows and columns can be
    filtered one after the other.

    Parameters
    ----------
    cell_m
        Side of the band's cells in metres: 10 or 20.
    shift_m
        How far the ground seen lies from where the cell says, in metres along the axis.

    Returns
    -------
    (int, ndarray)
        Number of the first fine cell, counted from the first fine cell within the band's cell (so it is negative), and
        float32 weights that sum to 1.
    """
    sigma, reach = blur_sigma_m(cell_m), 4 * blur_sigma_m(cell_m) + cell_m / 2
    middle = cell_m / 2 + shift_m
    first, last = int(np.floor((middle - reach) / FINE_M)), int(np.ceil((middle + reach) / FINE_M))
    edges = np.arange(first, last + 1, dtype=np.float64) * FINE_M - middle
    weights = np.diff(_integral(edges, cell_m, sigma))
    return first, np.asarray(weights / weights.sum(), dtype=np.float32)


def _integral(x_m: NDArray[np.float64], cell_m: float, sigma_m: float) -> NDArray[np.float64]:
    """Return the integral of the blurred square from minus infinity to each place."""

    def ramp(z: NDArray[np.float64]) -> NDArray[np.float64]:  # of the cumulative normal distribution
        below = (1 + erf(z / (sigma_m * np.sqrt(2)))) / 2
        found: NDArray[np.float64] = z * below + sigma_m / np.sqrt(2 * np.pi) * np.exp(-((z / sigma_m) ** 2) / 2)
        return found

    return (ramp(x_m + cell_m / 2) - ramp(x_m - cell_m / 2)) / cell_m


def rows_needed(first_row: int, last_row: int, cell_m: int, *, shift_m: float = 0.0) -> tuple[int, int]:
    """Return the fine rows, from and to, that the rows `first_row` to `last_row` of a band look at."""
    ratio = round(cell_m / FINE_M)
    start, weights = weights_along(cell_m, shift_m=shift_m)
    return first_row * ratio + start, (last_row - 1) * ratio + start + len(weights)


def seen_by(fine: Floats, cell_m: int, *, rows: int, columns: int, shift_m: tuple[float, float] = (0.0, 0.0)) -> Floats:
    """Return what a band sees of the ground, float32 (`rows`, `columns`), in the unit of `fine`.

    Parameters
    ----------
    fine
        Fine cells: those of `rows_needed` for the rows, and likewise for the columns, around the ground wanted.
    cell_m
        Side of the band's cells in metres.
    rows, columns
        How many cells are wanted.
    shift_m
        How far the ground seen lies to the east and to the south of where the cells say, in metres.

    Raises
    ------
    ValueError
        If `fine` has other rows or columns than are needed.
    """
    ratio = round(cell_m / FINE_M)
    (_, across), (_, down) = (weights_along(cell_m, shift_m=shift) for shift in shift_m)
    expected = ((rows - 1) * ratio + len(down), (columns - 1) * ratio + len(across))
    if fine.shape != expected:
        raise ValueError(f"fine: found {fine.shape[0]} x {fine.shape[1]} cells, expected {expected[0]} x {expected[1]}")
    narrow = np.empty((fine.shape[0], columns), dtype=np.float32)
    _along_rows(fine, across, ratio, narrow)
    seen = np.zeros((rows, columns), dtype=np.float32)
    for offset, weight in enumerate(down):
        seen += weight * narrow[offset : offset + (rows - 1) * ratio + 1 : ratio]
    return seen


@njit(cache=True, nogil=True)
def _along_rows(fine, weights, ratio, found):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    for row in range(fine.shape[0]):
        for column in range(found.shape[1]):
            total = np.float32(0)
            for offset in range(weights.size):
                total += weights[offset] * fine[row, column * ratio + offset]
            found[row, column] = total
