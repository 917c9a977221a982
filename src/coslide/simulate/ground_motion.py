"""How strongly a simulated earthquake shakes the ground: a model, the sites, and what the model leaves open."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import uniform_filter

from coslide.indices.interpolation import CoarseField, coarse_axes
from coslide.simulate.frame import CELL_M, Frame
from coslide.simulate.noise import rough_field
from coslide.simulate.recipe import Recipe
from coslide.simulate.rupture import Rupture

Floats = NDArray[np.float32]

MARGIN_M = 16_000.0
"""How far beyond the ground the residual is known; a ShakeMap shows more than the ground."""

# Coefficients for PGA of Boore et al. (2014), as revised by them on 15 July 2014.
_E = {"strike-slip": 0.4856, "normal": 0.2459, "reverse": 0.4539}
_E4, _E5, _E6, _HINGE_MAGNITUDE = 1.431, 0.05053, -0.1662, 5.5
_C1, _C2, _C3, _MAGNITUDE, _DEPTH_KM = -1.134, 0.1917, -0.008088, 4.5, 4.5
_SITE, _FASTEST_M_S, _ROCK_M_S = -0.6, 1500.0, 760.0
_F3_G, _F4, _F5 = 0.1, -0.15, -0.00701
_PHI_SMALL, _PHI_LARGE = 0.695, 0.495  # below magnitude 4.5 and above 5.5
_PHI_FAR, _FAR_KM = 0.1, (110.0, 270.0)
_PHI_SOFT, _SOFT_M_S = 0.07, (225.0, 300.0)

# Slope (tangent) and Vs30 in m/s in active regions: Allen and Wald (2009), as the program grad2vs30 of the USGS has it.
_SLOPES = np.array([3.0e-4, 3.5e-3, 0.01, 0.018, 0.05, 0.10, 0.14])
_SPEEDS_M_S = np.array([180.0, 240.0, 300.0, 360.0, 490.0, 620.0, 760.0])
_SLOPE_CELLS = 27  # 270 m, nine arc seconds

CORRELATION_KM = 8.5
"""Distance at which the correlation of within-event residuals of PGA is exp(-3)."""

_LARGEST = 3.0  # standard deviations, as in studies of hazard
_NODES_M = 100.0  # of the residual and of the distance
_STRIP_ROWS = 256


@dataclass(frozen=True, eq=False)
class Shaking:
    """The shaking of a simulated earthquake.

    Attributes
    ----------
    frame
        Where the ground lies.
    rupture
        What shook it.
    pga_g
        Peak ground acceleration as it was, in g, float32 on `Frame.ground`.
    vs30_m_s
        Mean speed of shear waves in the upper 30 m, float32 on `Frame.ground`.
    residual
        By how many standard deviations ln PGA lies above its median, also `MARGIN_M` beyond the ground.
    """

    frame: Frame
    rupture: Rupture
    pga_g: Floats
    vs30_m_s: Floats
    residual: CoarseField


def make_shaking(recipe: Recipe, frame: Frame, rupture: Rupture, slope_deg: Floats) -> Shaking:
    """Return the shaking of the ground: the median of a ground-motion model and a residual within the event.

    Median and standard deviation are those of `pga_median_g` and `pga_phi`, with Vs30 from the slope (`vs30_of`). The
    residual is Gaussian with correlation exp(-3 d / 8.5 km) [1]_, cut off at three standard deviations. That of the
    event as a whole is 0.

    Parameters
    ----------
    recipe
        Its `seed` decides the residual.
    frame
        Where the ground lies.
    rupture
        What shakes it.
    slope_deg
        Of the ground in degrees, float32 on `Frame.ground`.

    Notes
    -----
    The residual is known every 100 m and bilinear between; what varies within less is left out. So are directivity and
    the focusing of waves on ridges.

    References
    ----------
    .. [1] Jayaram, Baker (2009), Correlation model for spatially distributed ground-motion intensities, Earthq. Eng.
       Struct. Dyn. 38, 1687-1708, doi:10.1002/eqe.922, equations 17 and 20 (period 0, sites that differ).
    """
    vs30 = vs30_of(slope_deg)
    residual, distance = _residual(recipe, frame), _distance(frame, rupture)
    pga = np.empty(slope_deg.shape, dtype=np.float32)
    for top in range(0, frame.cells, _STRIP_ROWS):
        rows = slice(top, min(top + _STRIP_ROWS, frame.cells))
        window = frame.ground[rows, :]
        r_km, speed = distance.at(window), vs30[rows]
        median = pga_median_g(rupture.magnitude, r_km, speed, style=rupture.style)
        pga[rows] = median * np.exp(residual.at(window) * pga_phi(rupture.magnitude, r_km, speed))
    return Shaking(frame, rupture, pga, vs30, residual)


def pga_median_g(magnitude: float, distance_km: ArrayLike, vs30_m_s: ArrayLike, *, style: str) -> NDArray[np.float64]:
    """Return the median peak ground acceleration in g for shallow earthquakes of active regions.

    The model of Boore, Stewart, Seyhan and Atkinson [1]_ without regional adjustments: ln PGA is the sum of a source
    term in magnitude M and style, a path term in R = sqrt(distance² + 4.5²), and a site term in Vs30 that is linear for
    weak and less for strong shaking.

    Parameters
    ----------
    magnitude
        Moment magnitude, 3 to 8.5.
    distance_km
        Joyner-Boore distance, 0 to 400 km.
    vs30_m_s
        150 to 1500; broadcast against `distance_km`.
    style
        ``"reverse"``, ``"strike-slip"`` or ``"normal"``.

    Notes
    -----
    The component is RotD50, about the mean of the two horizontal ones. ShakeMap's is the larger of them, a little more.

    References
    ----------
    .. [1] Boore, Stewart, Seyhan, Atkinson (2014), NGA-West2 equations for predicting PGA, PGV, and 5 % damped PSA for
       shallow crustal earthquakes, Earthq. Spectra 30, 1057-1085, doi:10.1193/070113EQS184M, equations 1 to 12.

    Examples
    --------
    >>> pga_median_g(6.5, [0.0, 10.0], 760.0, style="reverse")
    array([0.419, 0.204])
    """
    r = np.sqrt(np.square(np.asarray(distance_km, dtype=np.float64)) + _DEPTH_KM**2)
    speed = np.asarray(vs30_m_s, dtype=np.float64)
    above = magnitude - _HINGE_MAGNITUDE
    source = _E[style] + (_E6 * above if above > 0 else _E4 * above + _E5 * above**2)
    ln_rock = source + (_C1 + _C2 * (magnitude - _MAGNITUDE)) * np.log(r) + _C3 * (r - 1)
    linear = _SITE * np.log(np.minimum(speed, _FASTEST_M_S) / _ROCK_M_S)
    softness = np.exp(_F5 * (np.minimum(speed, _ROCK_M_S) - 360)) - math.exp(_F5 * (_ROCK_M_S - 360))
    ln_pga: NDArray[np.float64] = ln_rock + linear + _F4 * softness * np.log1p(np.exp(ln_rock) / _F3_G)
    return np.exp(ln_pga)


def pga_phi(magnitude: float, distance_km: ArrayLike, vs30_m_s: ArrayLike) -> NDArray[np.float64]:
    """Return the standard deviation of ln PGA within an earthquake (no unit).

    Equations 15 to 17 of Boore et al. (2014); arguments as those of `pga_median_g`.

    Examples
    --------
    >>> pga_phi(6.5, [10.0, 10.0], [760.0, 200.0])
    array([0.495, 0.425])
    """
    phi = _PHI_SMALL + (_PHI_LARGE - _PHI_SMALL) * min(max(magnitude - 4.5, 0.0), 1.0)
    near, far = _FAR_KM
    remote = np.log(np.clip(np.asarray(distance_km, dtype=np.float64), near, far) / near) / math.log(far / near)
    soft, firm = _SOFT_M_S
    softness = np.log(firm / np.clip(np.asarray(vs30_m_s, dtype=np.float64), soft, firm)) / math.log(firm / soft)
    found: NDArray[np.float64] = phi + _PHI_FAR * remote - _PHI_SOFT * softness
    return found


def vs30_of(slope_deg: Floats) -> Floats:
    """Return Vs30 in m/s from the slope of the ground, float32 of the same shape.

    Steep ground is rock, flat ground is sediment [1]_ [2]_: 180 m/s at a slope of 0.0003 and below, 760 m/s at 0.14 and
    above, between those and five more points linear in the logarithms of both.

    Parameters
    ----------
    slope_deg
        Degrees, (row, col), cells of 10 m. The tangents are averaged over 270 m (nine arc seconds, a resolution for
        which [2]_ found the relation to hold); beyond the edge they are mirrored.

    References
    ----------
    .. [1] Wald, Allen (2007), Topographic slope as a proxy for seismic site conditions and amplification, BSSA 97,
       1379-1395, doi:10.1785/0120060267.
    .. [2] Allen, Wald (2009), On the use of high-resolution topographic data as a proxy for seismic site conditions
       (VS30), BSSA 99, 935-943, doi:10.1785/0120080255.

    Examples
    --------
    >>> vs30_of(np.full((2, 2), np.rad2deg(np.arctan(0.05)), dtype=np.float32))
    array([[490., 490.],
           [490., 490.]], dtype=float32)
    """
    mean = uniform_filter(np.tan(np.deg2rad(slope_deg)), _SLOPE_CELLS, mode="reflect")
    np.maximum(mean, np.float32(_SLOPES[0]), out=mean)
    speed = np.interp(np.log(mean), np.log(_SLOPES), np.log(_SPEEDS_M_S))
    vs30: Floats = np.exp(speed).astype(np.float32)
    return vs30


def _residual(recipe: Recipe, frame: Frame) -> CoarseField:
    """Return a field of mean 0 and deviation 1 whose correlation at distance d is exp(-3 d / 8.5 km)."""
    around = frame.ground.pad(round(MARGIN_M / CELL_M))
    spacing, first, (x, y) = coarse_axes(around, _NODES_M)
    # A spectrum that falls as (k² + (2 pi a)^-2)^-1.5 is that of exp(-d / a) in the plane: the "Hurst exponent" 0.5.
    range_m = 2 * math.pi * 1000 * CORRELATION_KM / 3
    nodes = rough_field(recipe.random("residual"), (y.size, x.size), spacing, range_m=range_m, hurst=0.5)
    np.clip(nodes, -_LARGEST, _LARGEST, out=nodes)
    return CoarseField(around, spacing, first, nodes)


def _distance(frame: Frame, rupture: Rupture) -> CoarseField:
    """Return the Joyner-Boore distance in km on the ground."""
    spacing, first, (x, y) = coarse_axes(frame.ground, _NODES_M)
    return CoarseField(frame.ground, spacing, first, rupture.distance_km(x[None, :], y[:, None]))
