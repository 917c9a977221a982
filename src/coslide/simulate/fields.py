"""Gaussian random fields, and fields at coarse nodes."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from scipy.fft import irfft2, next_fast_len, rfft2

from coslide.indices.interpolation import CoarseField, coarse_axes
from coslide.simulate.frame import Floats, Numbers

Random = np.random.Generator
Shape = tuple[int, int]
Filter = Callable[[Numbers], Numbers]

NODES_M = 100.0  # spacing of the nodes of what varies over kilometres


def smooth_field(random: Random, shape: Shape, pixel_m: float, *, range_m: float) -> Floats:
    """Draw a Gaussian random field of mean 0 and standard deviation 1 (no unit) with a Gaussian correlation.

    `shape` is (rows, columns); at the distance `range_m` the correlation, exp(-(d / range_m)²), is 1/e.
    """
    return _filtered(random, shape, (pixel_m, range_m), lambda k: np.exp(-((np.pi * range_m * k) ** 2) / 2))


def rough_field(random: Random, shape: Shape, pixel_m: float, *, range_m: float, hurst: float = 0.8) -> Floats:
    """Draw a self-affine random field of mean 0 and standard deviation 1 (no unit), as natural terrain is.

    Its spectrum falls as k^-(2 hurst + 2) for wavelengths below `range_m` and is level above (fractional Brownian
    relief; Turcotte 1997, Fractals and Chaos in Geology and Geophysics, chapter 7); `hurst` is between 0 (rough) and 1
    (smooth).
    """
    return _filtered(random, shape, (pixel_m, range_m), lambda k: (k**2 + range_m**-2.0) ** (-(hurst + 1) / 2))


def coarse_field(grid: GeoBox, spacing_m: float, values: Callable[[Numbers, Numbers], NDArray[Any]]) -> CoarseField:
    """Compute a field at nodes every `spacing_m` around `grid`, bilinear between them.

    `values` gets eastings (1, col) and northings (row, 1) of the nodes, row 0 in the south.
    """
    spacing, first, (x, y) = coarse_axes(grid, spacing_m)
    return CoarseField(grid, spacing, first, np.asarray(values(x[None, :], y[:, None]), dtype=np.float32))


def _filtered(random: Random, shape: Shape, sizes_m: tuple[float, float], amplitude: Filter) -> Floats:
    """Filter white noise by `amplitude` of the wave number k [1/m] and standardise it; `sizes_m` of pixel and range."""
    pixel_m, range_m = sizes_m
    # Without padding, opposite edges would resemble each other.
    padding = min(int(range_m / pixel_m) + 1, max(shape))
    rows, columns = (next_fast_len(size + padding, real=True) for size in shape)
    spectrum = rfft2(random.standard_normal((rows, columns), dtype=np.float32))
    k = np.hypot(np.fft.fftfreq(rows, pixel_m)[:, None], np.fft.rfftfreq(columns, pixel_m)[None, :])
    k[0, 0] = 1 / pixel_m  # the mean, taken out below anyway; in float32 it would drown the rest
    spectrum *= amplitude(k).astype(np.float32)
    field = irfft2(spectrum, s=(rows, columns))[: shape[0], : shape[1]]
    field -= field.mean(dtype=np.float64)
    field /= field.std(dtype=np.float64)
    return np.ascontiguousarray(field, dtype=np.float32)
