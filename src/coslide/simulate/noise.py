"""Random fields: smooth ones on a grid, and noise of single cells that does not depend on who asks for which rows."""

from collections.abc import Callable

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.fft import irfft2, rfft2

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SHIFT_1, _SHIFT_2, _SHIFT_3 = np.uint64(30), np.uint64(27), np.uint64(31)
_HALF, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)
_PADDING = 0.5  # of the range, twice: opposite edges of the field would resemble each other without it


def smooth_field(
    random: np.random.Generator, shape: tuple[int, int], cell_m: float, *, range_m: float
) -> NDArray[np.float32]:
    """Return a Gaussian random field of mean 0 and standard deviation 1 (no unit), smooth over `range_m`.

    White noise times a Gaussian in the spectrum; its correlation at distance d is exp(-(d / range_m)²).

    Parameters
    ----------
    random
        Where the numbers come from.
    shape
        (rows, columns).
    cell_m
        Side of a cell in metres.
    range_m
        Distance in metres at which the correlation is 1/e.
    """
    return _spectral(
        random, shape, cell_m, range_m=range_m, amplitude=lambda k: np.exp(-((np.pi * range_m * k) ** 2) / 2)
    )


def rough_field(
    random: np.random.Generator, shape: tuple[int, int], cell_m: float, *, range_m: float, hurst: float = 0.8
) -> NDArray[np.float32]:
    """Return a self-affine random field of mean 0 and standard deviation 1 (no unit), as natural ground has.

    Its spectrum falls as k^-(2 hurst + 2) for wavelengths shorter than `range_m` and is level above (fractional
    Brownian relief; Turcotte 1997, Fractals and Chaos in Geology and Geophysics, chapter 7).

    Parameters
    ----------
    random
        Where the numbers come from.
    shape
        (rows, columns).
    cell_m
        Side of a cell in metres.
    range_m
        Longest wavelength in metres whose amplitude still grows.
    hurst
        Roughness exponent, between 0 (rough) and 1 (smooth).
    """
    return _spectral(
        random, shape, cell_m, range_m=range_m, amplitude=lambda k: (k**2 + range_m**-2.0) ** (-(hurst + 1) / 2)
    )


def _spectral(
    random: np.random.Generator,
    shape: tuple[int, int],
    cell_m: float,
    *,
    range_m: float,
    amplitude: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> NDArray[np.float32]:
    """Filter white noise by `amplitude` of the wave number k [1/m] and bring it to mean 0 and deviation 1."""
    padding = min(int(2 * _PADDING * range_m / cell_m) + 1, max(shape))
    rows, columns = shape[0] + padding, shape[1] + padding
    white = random.standard_normal((rows, columns), dtype=np.float32)
    k = np.hypot(np.fft.fftfreq(rows, cell_m)[:, None], np.fft.rfftfreq(columns, cell_m)[None, :])
    spectrum = rfft2(white)
    k[0, 0] = 1 / cell_m  # the mean, taken out below anyway; in float32 it would drown the rest
    spectrum *= amplitude(k).astype(np.float32)
    field = irfft2(spectrum, s=(rows, columns))[: shape[0], : shape[1]]
    field -= field.mean(dtype=np.float64)
    field /= field.std(dtype=np.float64)
    return np.ascontiguousarray(field, dtype=np.float32)


def cell_noise(seed: int, shape: tuple[int, int], *, first_row: int = 0, first_column: int = 0) -> NDArray[np.float32]:
    """Return noise of mean 0 and standard deviation 1 (no unit), independent from cell to cell, float32 (row, col).

    Each value is a hash of `seed` and of the row and column alone, so any window of a raster can be made by anyone.
    The hash is the finaliser of SplitMix64 (Steele et al. 2014, doi:10.1145/2714064.2660195); four uniform numbers of
    16 bits are summed, which is nearly normal and never beyond 3.5.

    Parameters
    ----------
    seed
        Any integer from 0; another seed is another field.
    shape
        (rows, columns) of the window.
    first_row, first_column
        Where the window begins.

    Examples
    --------
    >>> whole = cell_noise(1, (6, 5))
    >>> bool((whole[2:] == cell_noise(1, (4, 5), first_row=2)).all())
    True
    """
    values = np.empty(shape, dtype=np.float32)
    _hash_cells(np.uint64(seed), first_row, first_column, values)
    return values


@njit(cache=True, nogil=True)
def _hash_cells(seed, first_row, first_column, values):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    base = _mixed(seed * _GOLDEN + _GOLDEN)
    scale = np.float32(np.sqrt(3.0) / 65536)  # the sum of four has the deviation 65536 / sqrt(3)
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            place = (np.uint64(first_row + row) << _HALF) | (np.uint64(first_column + column) & _LOW)
            bits = _mixed(base ^ _mixed(place * _GOLDEN + _GOLDEN))
            total = np.float32(0)
            for part in range(4):
                total += np.float32((bits >> np.uint64(16 * part)) & np.uint64(0xFFFF)) - np.float32(32767.5)
            values[row, column] = total * scale


@njit(cache=True, nogil=True, inline="always")
def _mixed(x):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    x = (x ^ (x >> _SHIFT_1)) * _MIX_1
    x = (x ^ (x >> _SHIFT_2)) * _MIX_2
    return x ^ (x >> _SHIFT_3)
