"""Stability of a slope in an earthquake: a block on an infinite slope that slides while the shaking overcomes it."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]

ROCK_KN_PER_M3 = 22.0  # weathered rock and its cover
_WATER_KN_PER_M3 = 9.81
_LEAST_SLOPE_DEG = 0.1  # flatter ground cannot slide, and the equation divides by its tangent
_LEAST_RATIO = 0.01  # of critical to peak acceleration; below it the fit has no data, and at 0 no end


def factor_of_safety(
    slope_deg: ArrayLike,
    *,
    cohesion_kpa: ArrayLike,
    friction_deg: ArrayLike,
    depth_m: float,
    wetness: ArrayLike = 0.0,
) -> Floats:
    """Return the factor of safety of an infinite slope (no unit): what holds a block over what drives it.

    With cohesion c, friction angle φ, unit weight γ of the rock, depth t of the slip surface across the slope, the
    share m of it that is under water, unit weight γw of water and slope α, [1]_ writes::

        FS = c / (γ t sin α) + tan φ / tan α - m γw tan φ / (γ tan α)

    Parameters
    ----------
    slope_deg
        Slope in degrees. Ground below 0.1 degrees counts as 0.1.
    cohesion_kpa, friction_deg
        Effective strength of the rock: cohesion in kPa, friction angle in degrees.
    depth_m
        Thickness of the block across the slope, in metres.
    wetness
        Share of the block's thickness that is saturated, 0 to 1.

    Returns
    -------
    ndarray of float32
        Of the shape that the arguments have together; NaN where one of them is.

    References
    ----------
    .. [1] Jibson, Harp & Michael (2000), A method for producing digital probabilistic seismic landslide hazard maps,
       Eng. Geol. 58, 271-289, doi:10.1016/S0013-7952(00)00039-9.

    Examples
    --------
    >>> factor_of_safety(30.0, cohesion_kpa=0.0, friction_deg=30.0, depth_m=2.0)  # dry sand at its angle of repose
    array(1., dtype=float32)
    """
    slope = _inclined(slope_deg)
    cohesion = np.asarray(cohesion_kpa, dtype=np.float32)
    friction = np.tan(np.radians(np.asarray(friction_deg, dtype=np.float32)))
    afloat = 1 - np.asarray(wetness, dtype=np.float32) * np.float32(_WATER_KN_PER_M3 / ROCK_KN_PER_M3)
    held = cohesion / (np.float32(ROCK_KN_PER_M3 * depth_m) * np.sin(slope))
    return np.asarray(held + afloat * friction / np.tan(slope), dtype=np.float32)


def critical_acceleration_g(safety: ArrayLike, slope_deg: ArrayLike) -> Floats:
    """Return the acceleration along the slope, in g, from which on the block slides: (FS - 1) sin α.

    Newmark (1965, doi:10.1680/geot.1965.15.2.139), as Jibson, Harp & Michael (2000) apply it to each cell.

    Parameters
    ----------
    safety
        Factor of safety at rest. Negative results are given for slopes that would slide without an earthquake.
    slope_deg
        Slope in degrees. Ground below 0.1 degrees counts as 0.1.

    Examples
    --------
    >>> critical_acceleration_g([1.0, 1.4], 30.0)
    array([0. , 0.2], dtype=float32)
    """
    return np.asarray((np.asarray(safety, dtype=np.float32) - 1) * np.sin(_inclined(slope_deg)), dtype=np.float32)


def displacement_cm(critical_g: ArrayLike, pga_g: ArrayLike) -> Floats:
    """Return how far the block slides during the shaking, in centimetres (Newmark displacement).

    Regression of [1]_ on 2270 records, D in cm, r the critical over the peak acceleration::

        log10 D = 0.215 + log10((1 - r)^2.341 r^-1.438)

    Parameters
    ----------
    critical_g
        Critical acceleration in g.
    pga_g
        Peak ground acceleration in g, not negative.

    Returns
    -------
    ndarray of float32
        0 where the shaking does not reach the critical acceleration. A ratio below 0.01 counts as 0.01.

    References
    ----------
    .. [1] Jibson (2007), Regression models for estimating coseismic landslide displacement, Eng. Geol. 91, 209-218,
       doi:10.1016/j.enggeo.2007.01.013, equation 6.

    Examples
    --------
    >>> displacement_cm([0.1, 0.5], [0.4, 0.4]).round(2)
    array([6.14, 0.  ], dtype=float32)
    """
    critical, peak = np.asarray(critical_g, dtype=np.float32), np.asarray(pga_g, dtype=np.float32)
    ratio = np.divide(critical, peak, out=np.ones(np.broadcast(critical, peak).shape, np.float32), where=peak > 0)
    ratio = np.clip(ratio, np.float32(_LEAST_RATIO), np.float32(1))
    return np.asarray(10**0.215 * (1 - ratio) ** 2.341 * ratio**-1.438, dtype=np.float32)


def failing_share(moved_cm: ArrayLike) -> Floats:
    """Return the share of cells that fail (no unit, 0 to 0.335) where the computed displacement is `moved_cm`.

    The Weibull curve that Jibson, Harp & Michael (2000) fitted to the landslides of the Northridge earthquake::

        P = 0.335 (1 - exp(-0.048 D^1.565))

    Parameters
    ----------
    moved_cm
        Newmark displacement in cm, not negative.

    Examples
    --------
    >>> failing_share([0.0, 5.0, 100.0]).round(2)
    array([0.  , 0.15, 0.34], dtype=float32)
    """
    moved = np.asarray(moved_cm, dtype=np.float32)
    return np.asarray(-0.335 * np.expm1(-0.048 * moved**1.565), dtype=np.float32)


def _inclined(slope_deg: ArrayLike) -> Floats:
    """Return the slope in radians, never so flat that the equations divide by nothing."""
    return np.radians(np.maximum(np.asarray(slope_deg, dtype=np.float32), np.float32(_LEAST_SLOPE_DEG)))
