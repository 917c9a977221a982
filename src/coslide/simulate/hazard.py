"""How likely each place is to slide: strength, water and shaking of the ground put together."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coslide.indices.derivatives import slope_aspect_curvature, smooth
from coslide.simulate.frame import CELL_M
from coslide.simulate.land import Terrain
from coslide.simulate.newmark import critical_acceleration_g, displacement_cm, factor_of_safety, failing_share
from coslide.simulate.noise import smooth_field
from coslide.simulate.recipe import AGES, Recipe

Floats = NDArray[np.float32]

# Cohesion [kPa] and friction angle [deg] of the outermost metres, from D1 to T3. Massive carbonate rocks (D2 to P1)
# hold best, sandstones and slates of the Triassic flysch worst; strength near the surface differs by less than a
# factor of two between map units, as in the Longmen Shan (Gallen et al. 2015, doi:10.1130/G36080.1).
_COHESION_KPA = np.array([20.0, 24.0, 26.0, 23.0, 17.0, 19.0, 15.5, 13.5], dtype=np.float32)
_FRICTION_DEG = np.array([38.0, 40.0, 41.0, 40.0, 36.0, 37.0, 35.0, 33.5], dtype=np.float32)

_DEPTH_M = 2.4  # of slip, as Jibson et al. (2000) take for shallow landslides
_TRANSMISSIVITY_M2_PER_DAY = 4.0  # of the thin cover of steep slopes
_RAIN_DAYS = 10.0

_ROOTS_KPA = 6.0  # in closed forest on the cool side of a hill; a few kPa (Schmidt et al. 2001, doi:10.1139/t01-031)
_FOREST_M, _TREELINE_M = 1500.0, 3600.0  # roots grow weaker from the one to the other
_WARM_SIDE_LOSS = 0.7  # of the roots: dry slopes carry open woods and grass
_FROST_PER_KM = 0.10  # of the rock's cohesion lost for each km up, to frost

_DAMAGE_LOSS, _DAMAGE_M = 0.35, 1500.0  # of the rock's strength in the fault's core, and how fast that fades
_RIDGE_GAIN, _RIDGE_CURVATURE_PER_M = 0.35, 0.003
_RIDGE_SIGMA_M = 80.0

_UNKNOWN = 0.20  # standard deviation of ln(strength) within one unit
_UNKNOWN_RANGES_M = (600.0, 90.0)
_STANDS = 1.03  # factor of safety that slopes had before the earthquake, or they would have slid long before it
_CAN_FAIL, _MOST_CAN_FAIL = 2.0, 0.25  # mean probability over the share that slides, and its limit
_THINNED = 8  # every eighth row and column tells the mean probability
_MOST_OCTAVES = 2.0  # of the factor that brings it about, up and down
_STRIP_ROWS = 512


class Strength(NamedTuple):
    """Strength of the ground: cohesion with roots in kPa, friction angle in degrees; float32 of one shape."""

    cohesion_kpa: Floats
    friction_deg: Floats


class _Slopes(NamedTuple):
    """All that decides, arrays of one shape; `pga_g` with the gain of ridges."""

    slope_deg: Floats
    aspect_deg: Floats
    height_m: Floats
    drained_m2: Floats
    strata: NDArray[np.uint8]
    pga_g: Floats
    rain_mm: Floats
    fault_m: Floats
    unknown: Floats

    def cut(self, *where: slice) -> "_Slopes":
        """Return a part of the ground."""
        parts: list[Any] = [values[where] for values in self]
        return _Slopes(*parts)


def failure_probability(
    recipe: Recipe,
    terrain: Terrain,
    *,
    strata: NDArray[np.uint8],
    pga_g: ArrayLike,
    rain_mm: ArrayLike,
    fault_m: ArrayLike,
    scale: float | None = None,
) -> Floats:
    """Return how likely a landslide is to start in each cell (no unit, 0 to 0.335).

    The infinite slope of `coslide.simulate.newmark`, with the strength of its stratum, its height, its aspect and its
    distance from the fault, the water of `wetness`, the shaking times `ridge_gain`, and with a strength that varies
    from place to place and that no index of a cube shows.

    Parameters
    ----------
    recipe, terrain
        What to simulate and on which ground.
    strata
        uint8 (row, col) on `Frame.ground`, 1 (oldest) to 8.
    pga_g
        Peak ground acceleration in g, (row, col).
    rain_mm
        Rain of the ten days before the earthquake in mm, (row, col).
    fault_m
        Horizontal distance from the trace of the fault in metres, (row, col).
    scale
        Factor on all strength. None finds the one with which the mean probability is twice
        `Recipe.landslide_share` (at most 0.25): steep mountains stand because their rock is strong, and the share
        of the ground that slides is given. It lies between 1/4 and 4 whether that is enough or not.

    Returns
    -------
    ndarray of float32
        (row, col) on `Frame.ground`, without gaps.

    Notes
    -----
    Slopes that the equation would not let stand at rest get a factor of safety of 1.03 before the earthquake: what
    has stood is stronger than its unit on average (Jibson et al. 2000 raise strengths until that holds).
    """
    pga, rain, fault = (np.asarray(values, dtype=np.float32) for values in (pga_g, rain_mm, fault_m))
    slopes = _Slopes(
        slope_deg=terrain.slope_deg,
        aspect_deg=terrain.aspect_deg,
        height_m=terrain.height_m,
        drained_m2=terrain.drained_m2,
        strata=strata,
        pga_g=pga * ridge_gain(terrain.height_m),
        rain_mm=rain,
        fault_m=fault,
        unknown=_unknown_strength(recipe, terrain.height_m.shape),
    )
    if scale is None:
        thin = slice(None, None, _THINNED)
        scale = _calibrated(slopes.cut(thin, thin), min(_CAN_FAIL * recipe.landslide_share, _MOST_CAN_FAIL))
    probability = np.empty_like(terrain.height_m)
    for top in range(0, probability.shape[0], _STRIP_ROWS):
        rows = slice(top, top + _STRIP_ROWS)
        probability[rows] = _failing(slopes.cut(rows), scale)
    return probability


def strength(strata: NDArray[np.uint8], *, height_m: ArrayLike, aspect_deg: ArrayLike, fault_m: ArrayLike) -> Strength:
    """Return cohesion in kPa, of rock and roots, and friction angle in degrees of the outermost metres of the ground.

    Rock loses strength near the fault, and some with height, where frost breaks it. Roots hold less with height and
    where a slope faces the warm south-west (the folded aspect of McCune & Keon 2002,
    doi:10.1111/j.1654-1103.2002.tb02087.x). The numbers are plausible ones, chosen for the simulation.

    Parameters
    ----------
    strata
        uint8, 1 (oldest) to 8, any shape.
    height_m
        Elevation in metres, same shape.
    aspect_deg
        Degrees clockwise from north, same shape.
    fault_m
        Distance from the fault in metres, not negative, same shape.

    Examples
    --------
    >>> old, young = (strength(np.array(unit, np.uint8), height_m=2000, aspect_deg=0, fault_m=9e9) for unit in (1, 8))
    >>> bool(old.cohesion_kpa > young.cohesion_kpa)
    True
    """
    unit = np.clip(strata, 1, len(AGES)) - 1
    height = np.asarray(height_m, dtype=np.float32)
    intact = 1 - np.float32(_DAMAGE_LOSS) * np.exp(-np.asarray(fault_m, dtype=np.float32) / np.float32(_DAMAGE_M))
    frozen = 1 - np.float32(_FROST_PER_KM / 1000) * np.clip(height - np.float32(_FOREST_M), 0, 4000)
    warm = (1 - np.cos(np.radians(np.asarray(aspect_deg, dtype=np.float32) - 45))) / 2
    wooded = np.clip((_TREELINE_M - height) / np.float32(_TREELINE_M - _FOREST_M), 0, 1)
    roots = np.float32(_ROOTS_KPA) * wooded * (1 - np.float32(_WARM_SIDE_LOSS) * warm)
    cohesion = _COHESION_KPA[unit] * intact * frozen + roots
    friction = np.degrees(np.arctan(np.tan(np.radians(_FRICTION_DEG[unit])) * intact))
    return Strength(np.asarray(cohesion, dtype=np.float32), np.asarray(friction, dtype=np.float32))


def wetness(slope_deg: ArrayLike, drained_m2: ArrayLike, rain_mm: ArrayLike) -> Floats:
    """Return the share of the cover's thickness that is under water (no unit, 0 to 1).

    Steady flow of the rain through the cover, q the rain in m per day, a the ground drained through a cell per width
    of the cell, T the transmissivity, α the slope (Montgomery & Dietrich 1994, doi:10.1029/93WR02979)::

        m = min(1, q a / (T sin α))

    Parameters
    ----------
    slope_deg
        Slope in degrees.
    drained_m2
        Ground drained through the cell, in m2, itself included.
    rain_mm
        Rain of ten days in mm.

    Examples
    --------
    >>> wetness(30.0, 1000.0, 80.0)  # 0.008 m/day from 100 m of slope, through 4 m2/day times 0.5
    array(0.4, dtype=float32)
    """
    width = np.asarray(drained_m2, dtype=np.float32) / np.float32(CELL_M)
    flow = np.asarray(rain_mm, dtype=np.float32) * np.float32(1e-3 / _RAIN_DAYS) * width
    fall = np.sin(np.radians(np.maximum(np.asarray(slope_deg, dtype=np.float32), np.float32(0.1))))
    return np.asarray(np.minimum(flow / (np.float32(_TRANSMISSIVITY_M2_PER_DAY) * fall), 1), dtype=np.float32)


def ridge_gain(height_m: Floats) -> Floats:
    """Return by how much the shape of the ground multiplies the shaking: over 1 on ridges, under 1 in valleys.

    Shaking grows with the curvature of the ground, smoothed over about half a wavelength of S waves (Maufroy et al.
    2015, doi:10.1785/0120140089). Only that idea is theirs; that it adds or takes up to 35 % is set here.

    Parameters
    ----------
    height_m
        float32 (row, col), cells of 10 m, without gaps.

    Returns
    -------
    ndarray of float32
        Same shape. The outermost ring is 1.
    """
    smoothed = smooth(height_m, _RIDGE_SIGMA_M / CELL_M)
    curvature = slope_aspect_curvature(smoothed, CELL_M).mean_curvature_per_m
    bend = np.tanh(np.nan_to_num(curvature, copy=False) / np.float32(_RIDGE_CURVATURE_PER_M))
    return np.asarray(1 + np.float32(_RIDGE_GAIN) * bend, dtype=np.float32)


def _failing(slopes: _Slopes, scale: float) -> Floats:
    """Return the probability of failure with all strength times `scale`."""
    held = strength(slopes.strata, height_m=slopes.height_m, aspect_deg=slopes.aspect_deg, fault_m=slopes.fault_m)
    factor = slopes.unknown * np.float32(scale)
    safety = factor_of_safety(
        slopes.slope_deg,
        cohesion_kpa=held.cohesion_kpa * factor,
        friction_deg=np.degrees(np.arctan(np.tan(np.radians(held.friction_deg)) * factor)),
        depth_m=_DEPTH_M,
        wetness=wetness(slopes.slope_deg, slopes.drained_m2, slopes.rain_mm),
    )
    critical = critical_acceleration_g(np.maximum(safety, np.float32(_STANDS)), slopes.slope_deg)
    return failing_share(displacement_cm(critical, slopes.pga_g))


def _calibrated(slopes: _Slopes, mean: float) -> float:
    """Return the factor on strength with which the mean probability is `mean`, found by halving."""
    low, high = -_MOST_OCTAVES, _MOST_OCTAVES
    for _ in range(12):  # to a thousandth of an octave
        middle = (low + high) / 2
        if _failing(slopes, 2**middle).mean(dtype=np.float64) > mean:
            low = middle
        else:
            high = middle
    return float(2 ** ((low + high) / 2))


def _unknown_strength(recipe: Recipe, shape: tuple[int, int]) -> Floats:
    """Return the factor by which the strength of each place differs from that of its unit."""
    random = recipe.random("unknown strength")
    total = np.zeros(shape, dtype=np.float32)
    for range_m in _UNKNOWN_RANGES_M:
        total += smooth_field(random, shape, CELL_M, range_m=range_m)
    total *= np.float32(_UNKNOWN / np.sqrt(len(_UNKNOWN_RANGES_M)))
    return np.exp(total, out=total)
