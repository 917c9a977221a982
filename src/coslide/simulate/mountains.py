"""Mountains carved by rivers and landslides: the stream power law, threshold slopes, and a landscape at 30 m.

Where uplift and erosion balance, the slope of a channel is S = (U / K) A^-m, and no hillslope is steeper than its
threshold.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike
from scipy.ndimage import map_coordinates, zoom

from coslide.simulate.drainage import DIAGONAL, drain, rim_of
from coslide.simulate.fields import rough_field, smooth_field
from coslide.simulate.frame import PIXEL_M, Floats, Frame, Mask, Window
from coslide.simulate.recipe import Recipe

STEP_PX = 3  # pixels of 10 m along one of these
STEP_M = STEP_PX * PIXEL_M
LOWEST_M = 1500.0  # above the sea, of the lowest valley in the scene

_AROUND_PX = 132  # 4 km on each side, so that rivers enter the terrain from outside
_COARSE_M = 4 * STEP_M
_UPLIFT_M = 62.0  # in a step, before the relief is set; channel heads then cut back by 80 m
# m. Of rivers in mountains half lie between 0.225 and 0.575 (Gailleton et al. 2021, doi:10.1029/2020JF006060); below
# 0.3 large rivers would be too steep to lay down a floor.
_CONCAVITY = (0.3, 0.575)
_WANTED = 1.75  # relief before stretching over that of the recipe: slopes then come down from 38 to about 30 degrees
_THRESHOLD = 0.78  # tangent of the steepest slope on average, before the relief is set; about 38 degrees
# Wavelengths and typical shifts by which the landscape is bent.
_BENDS_M = ((4000.0, 350.0), (1500.0, 160.0), (600.0, 35.0))
_HEADS = 0.65  # drainage per km times the square root of a channel head's area in km2; measured on this terrain


class _Level(NamedTuple):
    """Steps on pixels of one size: with a share of uplift and erosion, up to slopes that are so many times as steep."""

    steps: int
    share: float = 1.0
    steeper: float = 1.0
    spread: float = 0.4  # of ln(erodibility) from pixel to pixel
    through_gap: bool = True  # water leaves through a gap in one side, else all around


# Three response times at 120 m, then less at 60 and 30 m. On the bent landscape rivers then cut through again where
# bending has broken their beds, and gullies into the hillslopes.
_LEVELS = (_Level(45), _Level(20), _Level(12), _Level(4, share=0.3, steeper=1.35, spread=0.0, through_gap=False))


class Law(NamedTuple):
    """Uplift, river erosion and landsliding in one step; each a number or an array of the shape of the terrain.

    `uplift_m` is U times the step, in metres; `erodibility` K times the step, in m^(1 - 2m); `threshold` the tangent of
    the steepest slope that stands; `concavity` the m of the stream power law, a number; `corner` as for `drain`.
    """

    uplift_m: ArrayLike
    erodibility: ArrayLike
    threshold: ArrayLike
    concavity: float
    corner: ArrayLike = DIAGONAL


def erode(height_m: Floats, pixel_m: float, *, outlets: Mask, law: Law, steps: int) -> Floats:
    """Evolve a landscape by `steps` of uplift, river erosion and landsliding; elevation in metres, float32 (row, col).

    One step routes the flow, lifts the terrain but for the `outlets`, bool (row, col), lets rivers incise by the stream
    power law with n = 1, implicitly, from the outlets upstream (Braun & Willett 2013, Geomorphology 180-181, 170-179,
    doi:10.1016/j.geomorph.2012.10.008), and takes off what stands steeper than the threshold (`limit_slope`)::

        dz/dt = U - K A^m S

    Examples
    --------
    A river that drains 100, 200 and 300 m2 in the balance of uplift and erosion; its slope is 1 / A:

    >>> line = np.array([[0.0, 1.0, 2.0, 3.0]], dtype=np.float32)
    >>> law = Law(uplift_m=1e3, erodibility=1e3, threshold=9.0, concavity=1.0)
    >>> outlet = np.array([[True, False, False, False]])
    >>> 100 * erode(line, 10.0, outlets=outlet, law=law, steps=20)
    array([[ 0.   ,  3.333,  8.333, 18.333]], dtype=float32)
    """
    uplift, erodibility = (np.broadcast_to(np.asarray(values, dtype=np.float32), height_m.shape) for values in law[:2])
    height = height_m
    for _ in range(steps):
        flow = drain(height, outlets, corner=law.corner)
        strength = erodibility * flow.upstream_area_m2(pixel_m**2) ** np.float32(law.concavity) / np.float32(pixel_m)
        height = np.where(outlets, flow.height_m, flow.height_m + uplift)
        _incise(height.reshape(-1), (flow.receiver, flow.network.idxs_seq), strength.reshape(-1), height.shape[1])
        height = limit_slope(height, pixel_m, law.threshold)
    return height


def limit_slope(height_m: Floats, pixel_m: float, threshold: ArrayLike) -> Floats:
    """Take off all that stands steeper than `threshold`, a tangent; elevation in metres, float32 (row, col).

    The highest surface that is nowhere above the given one and nowhere steeper than the threshold, as slopes that
    fail as soon as rivers have made them too steep (Burbank et al. 1996, doi:10.1038/379505a0). Below the given one it
    solves |grad z| = threshold by fast sweeping, upwind and first order (Zhao 2005, doi:10.1090/S0025-5718-04-01678-3);
    two rounds of four sweeps are exact where slopes are straight or bend once between crest and foot.

    Examples
    --------
    >>> cliff = np.array([[0.0, 90.0, 90.0, 90.0]], dtype=np.float32)
    >>> limit_slope(cliff, 10.0, 1.0)
    array([[ 0., 10., 20., 30.]], dtype=float32)
    """
    limited = np.array(height_m, dtype=np.float32, order="C")
    rise = np.broadcast_to(np.asarray(threshold, dtype=np.float32) * np.float32(pixel_m), limited.shape)
    ways = (slice(None), slice(None, None, -1))
    for turned, mirrored in 2 * list(itertools.product(ways, ways)):
        _sweep(limited[turned, mirrored], rise[turned, mirrored])
    return limited


def channel_head_m2(drainage_per_km: float) -> float:
    """Compute the drained area in m2 from which on water cuts a channel.

    The length of all channels per area, D in km per km2, goes with the inverse square root of that area, as in any
    network without a scale of its own (Tarboton, Bras & Rodriguez-Iturbe 1991, doi:10.1002/hyp.3360050107)::

        D = 0.65 / sqrt(A)
    """
    return (_HEADS / drainage_per_km) ** 2 * 1e6


def carve_mountains(recipe: Recipe, frame: Frame) -> tuple[Floats, Window]:
    """Carve mountains at 30 m that drain to one outlet, near the balance of uplift and erosion, from coarse to fine.

    Channels, where more than `channel_head_m2` is drained, follow the stream power law, S ~ A^-m; hillslopes above
    them stand at their threshold, and both are equally steep at the channel head. Of the m that rivers show, 0.3 to
    0.575, the terrain gets the one with which slopes come out at about 30 degrees after all heights have been stretched
    to the relief of the recipe, if there is one: 1600 m within 3 km take 55 degrees. Rock and uplift vary.

    Returns the elevation in metres, float32 (row, col), of more than the frame, and the rows and columns of
    `Frame.grid` in it.
    """
    side = frame.side_px // STEP_PX
    inner = slice(_AROUND_PX, _AROUND_PX + side)
    start = _AROUND_PX + frame.margin_px // STEP_PX
    scene = slice(start, start + frame.scene_px // STEP_PX)
    height = _grow(recipe, side + 2 * _AROUND_PX, scene)
    return stretch(height, height[scene, scene], recipe.relief_m), (inner, inner)


def stretch(height_m: Floats, scene_m: Floats, relief_m: float) -> Floats:
    """Scale elevations in metres so that those of the scene reach from `LOWEST_M` up by `relief_m`."""
    low, high = float(scene_m.min()), float(scene_m.max())
    scale = np.float32(relief_m / max(high - low, 1e-3))
    return np.asarray((height_m - np.float32(low)) * scale + np.float32(LOWEST_M), dtype=np.float32)


def _grow(recipe: Recipe, side: int, scene: slice) -> Floats:
    """Evolve the landscape on square pixels of 120, 60 and 30 m in turn, bend it, and cut gullies."""
    first = _COARSE_M / STEP_M
    shape = (math.ceil(side / first),) * 2
    random = recipe.random("rock")
    erodibility = np.exp(0.25 * rough_field(random, shape, _COARSE_M, range_m=4000.0))
    threshold = _THRESHOLD * np.exp(0.26 * rough_field(random, shape, _COARSE_M, range_m=1500.0))
    uplift_m = _UPLIFT_M * np.exp(0.25 * smooth_field(random, shape, _COARSE_M, range_m=9000.0))
    side_of_outlet, place = int(random.integers(4)), float(random.uniform(0.35, 0.65))
    shift_m = np.zeros((2, *shape), dtype=np.float32)
    for axis, (range_m, typical_m) in itertools.product(range(2), _BENDS_M):
        shift_m[axis] += typical_m * smooth_field(random, shape, _COARSE_M, range_m=range_m)

    def erode_level(height: Floats, random: np.random.Generator, concavity: float, level: _Level) -> Floats:
        times = height.shape[0] // shape[0]
        if level.through_gap:
            outlets = np.zeros(height.shape, dtype=np.bool_)
            start = int(place * shape[0]) * times
            outlets[0, start : start + times] = True
            outlets = np.ascontiguousarray(np.rot90(outlets, side_of_outlet))
            height = np.where(outlets, np.float32(0), height)
        else:
            outlets = rim_of(height.shape)
        # With this K channels in balance are at their heads as steep as the slopes above.
        pace = level.share * _UPLIFT_M / _THRESHOLD / float(channel_head_m2(recipe.drainage_per_km) ** concavity)
        spread = np.exp(level.spread * random.standard_normal(height.shape, dtype=np.float32))
        law = Law(
            uplift_m=level.share * refine(uplift_m, times),
            erodibility=refine(erodibility, times) * spread * pace,
            threshold=level.steeper * refine(threshold, times),
            concavity=concavity,
            corner=1 / (2 - random.random(height.shape, dtype=np.float32)),
        )
        return erode(height, _COARSE_M / times, outlets=outlets, law=law, steps=level.steps)

    def start(concavity: float) -> tuple[Floats, np.random.Generator, float]:
        random = recipe.random("mountains")
        height = 3000 + 300 * rough_field(random, shape, _COARSE_M, range_m=5000.0, hurst=0.4)
        height = erode_level(height, random, concavity, _LEVELS[0])
        part = slice(int(scene.start / first), int(scene.stop / first) + 1)
        relief_m = np.ptp(_bend(height, shift_m)[part, part])
        return height, random, float(np.log(relief_m / (_WANTED * recipe.relief_m)))

    # The concavity with which slopes come out natural at the relief of the recipe; straight in its logarithm.
    low, high = _CONCAVITY
    at_low, at_high = start(low)[2], start(high)[2]
    concavity = float(np.clip(low + (high - low) * at_low / max(at_low - at_high, 1e-3), low, high))
    height, random, _ = start(concavity)
    for level in _LEVELS[1:3]:
        height = refine(height, 2) + random.standard_normal([2 * size for size in height.shape], dtype=np.float32)
        height = erode_level(height, random, concavity, level)
    return erode_level(_bend(height, shift_m), random, concavity, _LEVELS[3])


def _bend(height: Floats, shift_m: Floats) -> Floats:
    """Bend the landscape in the plane, for eight directions of flow leave straight valleys behind."""
    times = height.shape[0] // shift_m.shape[1]
    shift = zoom(shift_m * (times / _COARSE_M), (1, times, times), order=3, grid_mode=True, mode="nearest")
    shift += np.indices(height.shape, dtype=np.float32)
    return np.asarray(map_coordinates(height, shift, order=1, mode="nearest"))


def refine(values: Floats, times: int, order: int = 1) -> Floats:
    """Interpolate values of pixels, float32 (row, col), on pixels that are `times` smaller, by splines of an order."""
    return np.asarray(zoom(values, times, order=order, grid_mode=True, mode="nearest"), dtype=np.float32)


@njit(cache=True, nogil=True)
def _incise(height, flow, strength, columns):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    receiver, order = flow
    for pixel in order:
        below = receiver[pixel]
        # Uplift may have left the receiver above: then nothing is cut. At an outlet both are one.
        if height[pixel] > height[below]:
            diagonal = pixel // columns != below // columns and pixel % columns != below % columns
            factor = strength[pixel] * np.float32(math.sqrt(0.5) if diagonal else 1.0)
            height[pixel] = (height[pixel] + factor * height[below]) / (np.float32(1) + factor)


@njit(cache=True, nogil=True)
def _sweep(height, rise):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    rows, columns = height.shape
    ceiling, half, two = np.float32(np.inf), np.float32(0.5), np.float32(2)
    for i in range(rows):
        for j in range(columns):
            a = min(height[i - 1, j] if i > 0 else ceiling, height[i + 1, j] if i < rows - 1 else ceiling)
            b = min(height[i, j - 1] if j > 0 else ceiling, height[i, j + 1] if j < columns - 1 else ceiling)
            step = rise[i, j]
            apart = abs(a - b)
            slope = two * step * step - apart * apart
            most = min(a, b) + step if apart >= step else half * (a + b + math.sqrt(slope))
            height[i, j] = min(height[i, j], most)
