"""How likely each slope is to fail in the earthquake: strength, water and shaking, and the Newmark displacement."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from coslide.indices.derivatives import slope_aspect_curvature, smooth
from coslide.simulate.fields import smooth_field
from coslide.simulate.frame import PIXEL_M, Codes, Floats, Terrain
from coslide.simulate.recipe import AGES, Recipe

# Cohesion [kPa] and friction angle [deg] of the outermost metres, from D1 to T3. Massive carbonate rocks (D2 to P1)
# hold best, sandstones and slates of the Triassic flysch worst; strength near the surface differs by less than a
# factor of two between map units, as in the Longmen Shan (Gallen et al. 2015, doi:10.1130/G36080.1).
_COHESION_KPA = np.array([20.0, 24.0, 26.0, 23.0, 17.0, 19.0, 15.5, 13.5], dtype=np.float32)
_FRICTION_DEG = np.array([38.0, 40.0, 41.0, 40.0, 36.0, 37.0, 35.0, 33.5], dtype=np.float32)

ROCK_KN_PER_M3 = 22.0  # weathered rock and its cover
_WATER_KN_PER_M3 = 9.81
_LEAST_SLOPE_DEG = 0.1  # flatter slopes cannot slide, and the equation divides by their tangent
_LEAST_RATIO = 0.01  # of critical to peak acceleration; below it the fit has no data, and at 0 no end
_DEPTH_M = 2.4  # of slip, as Jibson et al. (2000) take for shallow landslides
_TRANSMISSIVITY_M2_PER_DAY = 4.0  # of the thin cover of steep slopes
_RAIN_DAYS = 10.0

_ROOTS_KPA = 6.0  # in closed forest on the cool side of a hill; a few kPa (Schmidt et al. 2001, doi:10.1139/t01-031)
_FOREST_M, _TREELINE_M = 1500.0, 3600.0  # roots grow weaker from the one to the other
_WARM_SIDE_LOSS = 0.7  # of the roots: dry slopes carry open woods and grass
_FROST_PER_KM = 0.10  # of the rock's cohesion lost for each km up, to frost
_DAMAGE_LOSS, _DAMAGE_M = 0.35, 1500.0  # of the rock's strength in the fault's core, and how fast that fades
_RIDGE_GAIN, _RIDGE_CURVATURE_PER_M, _RIDGE_SIGMA_M = 0.35, 0.003, 80.0

_HIDDEN, _HIDDEN_RANGES_M = 0.20, (600.0, 90.0)  # standard deviation of ln(strength) within one unit
_STANDS = 1.03  # factor of safety that slopes had before the earthquake, or they would have slid long before it
_CAN_FAIL, _MOST_CAN_FAIL = 2.0, 0.25  # mean probability over the share that slides, and its limit
_THINNED = slice(None, None, 4)  # rows and columns that tell the mean probability
_MOST_OCTAVES = 2.0  # of the factor that brings it about, up and down


class Strength(NamedTuple):
    """Strength of slopes: cohesion with roots in kPa, friction angle in degrees; float32 of one shape."""

    cohesion_kpa: Floats
    friction_deg: Floats


class Causes(NamedTuple):
    """What makes slopes fail besides the terrain, (row, col) on `Frame.grid`.

    `strata` are 1 (oldest) to 8, `pga_g` the peak ground acceleration in g, `rain_mm` the rain of ten days, and
    `fault_m` the distance from the trace of the fault.
    """

    strata: Codes
    pga_g: Floats
    rain_mm: Floats
    fault_m: Floats


def failure_probability(recipe: Recipe, terrain: Terrain, causes: Causes, *, scale: float | None = None) -> Floats:
    """Compute how likely a landslide is to start in each pixel (no unit, 0 to 0.335), float32 (row, col).

    The infinite slope (`factor_of_safety`) with the `strength` of its stratum, height, aspect and distance from the
    fault, the water of `wetness`, the shaking times `ridge_gain`, and with a strength that varies from place to place
    and that no index of a cube shows.

    `scale` is a factor on all strength. None finds the one between 1/4 and 4 with which the mean probability is twice
    `Recipe.landslide_share` (at most 0.25): steep mountains stand because their rock is strong.

    Slopes that the equation would not let stand at rest get a factor of safety of 1.03 before the earthquake: what
    has stood is stronger than its unit on average (Jibson et al. 2000 raise strengths until that holds).
    """
    slope = terrain.slope_deg
    held = strength(causes.strata, height_m=terrain.height_m, aspect_deg=terrain.aspect_deg, fault_m=causes.fault_m)
    random = recipe.random("unknown strength")
    hidden = sum(smooth_field(random, slope.shape, PIXEL_M, range_m=range_m) for range_m in _HIDDEN_RANGES_M)
    hidden = np.exp(np.float32(_HIDDEN / np.sqrt(len(_HIDDEN_RANGES_M))) * hidden)
    pga = causes.pga_g * ridge_gain(terrain.height_m)
    wet = wetness(slope, terrain.drained_m2, causes.rain_mm)

    def failing(scale: float, part: slice = slice(None)) -> Floats:
        at = (part, part)
        factor = hidden[at] * np.float32(scale)
        safety = factor_of_safety(
            slope[at],
            cohesion_kpa=held.cohesion_kpa[at] * factor,
            friction_deg=np.degrees(np.arctan(np.tan(np.radians(held.friction_deg[at])) * factor)),
            depth_m=_DEPTH_M,
            wetness=wet[at],
        )
        critical = critical_acceleration_g(np.maximum(safety, np.float32(_STANDS)), slope[at])
        return failing_share(displacement_cm(critical, pga[at]))

    if scale is None:
        wanted = min(_CAN_FAIL * recipe.landslide_share, _MOST_CAN_FAIL)
        low, high = -_MOST_OCTAVES, _MOST_OCTAVES
        for _ in range(12):  # to a thousandth of an octave
            middle = (low + high) / 2
            too_many = failing(2**middle, _THINNED).mean(dtype=np.float64) > wanted
            low, high = (middle, high) if too_many else (low, middle)
        scale = 2 ** ((low + high) / 2)
    return failing(scale)


def strength(strata: Codes, *, height_m: ArrayLike, aspect_deg: ArrayLike, fault_m: ArrayLike) -> Strength:
    """Compute cohesion in kPa, of rock and roots, and friction angle in degrees of the outermost metres.

    Rock loses strength near the fault, and some with height, where frost breaks it. Roots hold less with height and
    where a slope faces the warm south-west (the folded aspect of McCune & Keon 2002,
    doi:10.1111/j.1654-1103.2002.tb02087.x). The numbers are plausible ones, chosen for the simulation. `strata` is
    uint8, 1 (oldest) to 8; heights, aspects and distances from the fault are of the same shape.
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
    """Compute the share of the cover's thickness that is under water (no unit, 0 to 1).

    Steady flow of the rain of ten days through the cover, q the rain in m per day, a the upstream area (`drained_m2`)
    per width of a pixel, T the transmissivity, α the slope (Montgomery & Dietrich 1994, doi:10.1029/93WR02979)::

        m = min(1, q a / (T sin α))
    """
    width = np.asarray(drained_m2, dtype=np.float32) / np.float32(PIXEL_M)
    flow = np.asarray(rain_mm, dtype=np.float32) * np.float32(1e-3 / _RAIN_DAYS) * width
    return np.minimum(flow / (np.float32(_TRANSMISSIVITY_M2_PER_DAY) * np.sin(_inclined(slope_deg))), np.float32(1))


def ridge_gain(height_m: Floats) -> Floats:
    """Compute by how much relief multiplies the shaking: over 1 on ridges, under 1 in valleys, float32 (row, col).

    Shaking grows with the curvature of the terrain, smoothed over about half a wavelength of S waves (Maufroy et al.
    2015, doi:10.1785/0120140089). Only that idea is theirs; that it adds or takes up to 35 % is set here. The outermost
    ring is 1.
    """
    smoothed = smooth(height_m, _RIDGE_SIGMA_M / PIXEL_M)
    curvature = slope_aspect_curvature(smoothed, PIXEL_M).mean_curvature_per_m
    bend = np.tanh(np.nan_to_num(curvature, copy=False) / np.float32(_RIDGE_CURVATURE_PER_M))
    return np.asarray(1 + np.float32(_RIDGE_GAIN) * bend, dtype=np.float32)


def factor_of_safety(
    slope_deg: ArrayLike, *, cohesion_kpa: ArrayLike, friction_deg: ArrayLike, depth_m: float, wetness: ArrayLike = 0.0
) -> Floats:
    """Compute the factor of safety of an infinite slope (no unit): what holds a block over what drives it.

    With cohesion c, friction angle φ, unit weight γ of the rock, depth t of the slip surface across the slope, the
    share m of it that is under water, unit weight γw of water and slope α (0.1 degrees at least)::

        FS = c / (γ t sin α) + tan φ / tan α - m γw tan φ / (γ tan α)

    Jibson, Harp & Michael (2000), A method for producing digital probabilistic seismic landslide hazard maps, Eng.
    Geol. 58, 271-289, doi:10.1016/S0013-7952(00)00039-9.

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
    """Compute the acceleration along the slope, in g, from which on the block slides: (FS - 1) sin α.

    Newmark (1965, doi:10.1680/geot.1965.15.2.139). Negative for slopes that would slide without an earthquake.
    """
    return np.asarray((np.asarray(safety, dtype=np.float32) - 1) * np.sin(_inclined(slope_deg)), dtype=np.float32)


def displacement_cm(critical_g: ArrayLike, pga_g: ArrayLike) -> Floats:
    """Compute how far the block slides during the shaking, in centimetres (Newmark displacement).

    With r the critical over the peak acceleration (0.01 at least), the regression on 2270 records of Jibson (2007,
    Eng. Geol. 91, 209-218, doi:10.1016/j.enggeo.2007.01.013, equation 6); 0 where the shaking is less than
    critical::

        log10 D = 0.215 + log10((1 - r)^2.341 r^-1.438)

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
    """Compute the share of pixels that fail (no unit, 0 to 0.335) where the Newmark displacement is `moved_cm`.

    The Weibull curve that Jibson, Harp & Michael (2000) fitted to the landslides of the Northridge earthquake::

        P = 0.335 (1 - exp(-0.048 D^1.565))
    """
    moved = np.asarray(moved_cm, dtype=np.float32)
    return np.asarray(-0.335 * np.expm1(-0.048 * moved**1.565), dtype=np.float32)


def _inclined(slope_deg: ArrayLike) -> Floats:
    """Convert slopes to radians, never so flat that the equations divide by nothing."""
    return np.radians(np.maximum(np.asarray(slope_deg, dtype=np.float32), np.float32(_LEAST_SLOPE_DEG)))
