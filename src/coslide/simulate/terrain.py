"""The ground of a simulated earthquake at 10 m: mountains, valley floors, rivers and where the water runs."""

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

from coslide.indices.derivatives import slope_aspect_curvature
from coslide.simulate.drainage import downstream_order, drained_area, fill_depressions, steepest_receivers
from coslide.simulate.erosion import limit_slope
from coslide.simulate.frame import CELL_M, Frame
from coslide.simulate.land import River, Terrain
from coslide.simulate.mountains import STEP_CELLS, STEP_M, Mountains, carve_mountains, stretch
from coslide.simulate.noise import rough_field, smooth_field
from coslide.simulate.recipe import Recipe
from coslide.simulate.rivers import FOOTSLOPE_M, Network, cut_beds, floor_level, trace_courses

Floats = NDArray[np.float32]

FLOOR_SHARE = 0.045  # of the ground that is valley floor
_FLATTEST_DEG = 12.0  # slope below which filled ground is valley floor
_ROUGH_M, _ROUGH_RANGE_M = 7.0, 300.0  # typical height of the relief below the 30 m grid, on slopes of 45 degrees
_UNEVEN_M = 0.25  # of a valley floor
_CLIFF = 1.5  # tangent of the steepest slope in detail
_BORDER = 4  # cells of 30 m around the ground that interpolation looks at


def make_terrain(recipe: Recipe, frame: Frame) -> Terrain:
    """Return the ground before the earthquake.

    `carve_mountains` at 30 m; rivers fill their valleys to a flat floor (`floor_level`); on the 10 m grid steep ground
    gets the small relief of rock, rivers get their beds, and depressions are filled, so that the water of every cell
    reaches the edge.

    Parameters
    ----------
    recipe
        Its `relief_m`, `drainage_per_km` and `seed` matter.
    frame
        Where the ground lies.

    Notes
    -----
    The highest less the lowest height of the tile is exactly `relief_m`; the lowest is 1500 m. Channels, the cells
    with more than `channel_head_m2` of drained area, are `drainage_per_km` long per km2, to about 20 %
    on 12 km; a smaller tile holds few of them.
    """
    mountains = carve_mountains(recipe, frame)
    network = _network(mountains.height_m)
    level = floor_level(network, mountains.inner, FLOOR_SHARE)
    affine = _coarse_affine(frame, mountains)
    courses = trace_courses(network, mountains.inner, level_m=level, affine=affine)
    height, filled = _refine(recipe, mountains, level)
    cut_beds(height, courses, frame.ground.affine)
    height = fill_depressions(limit_slope(height, CELL_M, _CLIFF))
    height = fill_depressions(stretch(height, height[frame.inner], recipe.relief_m))  # rounding may level what fell
    shape = slope_aspect_curvature(height, CELL_M)
    slope, aspect, curvature = (_close_ring(values) for values in shape)
    receiver = steepest_receivers(height)
    source = _enter(height, network, mountains.inner)
    return Terrain(
        frame=frame,
        height_m=height,
        slope_deg=slope,
        aspect_deg=np.nan_to_num(aspect, copy=False, nan=0.0),
        mean_curvature_per_m=curvature,
        receiver=receiver,
        drained_m2=drained_area(receiver, downstream_order(receiver), source),
        valley_floor=filled & (slope < np.float32(_FLATTEST_DEG)),
        rivers=_sorted_rivers([course.river for course in courses]),
    )


def _network(height: Floats) -> Network:
    """Return the drainage of the 30 m grid."""
    receiver = steepest_receivers(height)
    order = downstream_order(receiver)
    return Network(height, drained_area(receiver, order, STEP_M**2), receiver, order)


def _coarse_affine(frame: Frame, mountains: Mountains) -> Affine:
    """Return the transform of the mountains' grid, of which the ground is a part."""
    ground, (rows, columns) = frame.ground.affine, mountains.inner
    return Affine(
        STEP_M, 0, ground.c - columns.start * STEP_M, 0, -STEP_M, ground.f + rows.start * STEP_M
    )  # fmt: skip


def _refine(recipe: Recipe, mountains: Mountains, level_m: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the heights of the ground at 10 m, with valleys filled, and which cells are filled."""
    around = tuple(slice(part.start - _BORDER, part.stop + _BORDER) for part in mountains.inner)
    coarse = mountains.height_m[around]
    random = recipe.random("detail")
    height = _finer(coarse, 3)
    steep = np.hypot(*np.gradient(coarse, np.float32(STEP_M)))
    rough = rough_field(random, height.shape, CELL_M, range_m=_ROUGH_RANGE_M)
    rough *= _finer(np.minimum(steep, 1.5) ** 2, 1) * np.float32(_ROUGH_M)
    height += rough
    rough = smooth_field(random, height.shape, CELL_M, range_m=100.0)
    level = level_m[around]
    known = np.isfinite(level)
    if not known.all():  # no river there; far below the ground it fills nothing
        level = np.where(known, level, coarse.min() - np.float32(1000))
    floor = _finer(gaussian_filter(level, 1.0), 1)
    floor += rough * np.float32(_UNEVEN_M)
    above = (height - floor) / np.float32(FOOTSLOPE_M)
    filled = above < -1
    # A smooth maximum of ground and floor: the foot of the hillside rises gently.
    np.logaddexp(above, np.float32(0), out=above)
    return np.asarray(floor + above * np.float32(FOOTSLOPE_M), dtype=np.float32), filled


def _finer(values: Floats, order: int) -> Floats:
    """Return values of 30 m cells, with their border, on the 10 m cells of the ground."""
    fine = zoom(np.asarray(values, dtype=np.float32), STEP_CELLS, order=order, grid_mode=True, mode="nearest")
    cut = _BORDER * STEP_CELLS
    return np.ascontiguousarray(fine[cut:-cut, cut:-cut])


def _enter(height: Floats, network: Network, inner: tuple[slice, slice]) -> Floats:
    """Return what each 10 m cell adds to the drained area: itself, and at the edge what flows in from outside."""
    source = np.full(height.shape, CELL_M**2, dtype=np.float32)
    inside = np.zeros(network.height_m.shape, dtype=np.bool_)
    inside[inner] = True
    receiver, within = network.receiver.reshape(-1), inside.reshape(-1)
    givers = np.flatnonzero(~within & within[receiver])
    rows, columns = np.divmod(receiver[givers], network.height_m.shape[1])
    area = network.drained_m2.reshape(-1)[givers]
    tops, lefts = (rows - inner[0].start) * STEP_CELLS, (columns - inner[1].start) * STEP_CELLS
    for top, left, more in zip(tops.tolist(), lefts.tolist(), area.tolist(), strict=True):
        block = height[top : top + STEP_CELLS, left : left + STEP_CELLS]
        row, column = divmod(int(block.argmin()), STEP_CELLS)
        source[top + row, left + column] += more
    return source


def _close_ring(values: Floats) -> Floats:
    """Return values with those beside it in the outermost ring."""
    return np.pad(values[1:-1, 1:-1], 1, mode="edge")


def _sorted_rivers(rivers: list[River]) -> tuple[River, ...]:
    """Return rivers from the widest to the narrowest, equally wide ones as they came."""
    return tuple(sorted(rivers, key=lambda river: -river.width_m))
