"""Where a landslide runs to and what outline it leaves: compiled loops for `coslide.simulate.slides`."""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

KNOTS = 11  # of random width along each side of a landslide
MOST_VERTICES = 64
MOST_TRIES = 30  # at places for one landslide: the least mobile ones would try all
_PATH = 41  # points of a path
_STEP_SHARE = 1 / (_PATH - 1)
_SOURCE = 0.7  # of its length, which comes loose as a whole
_SHORTEST = 0.8  # length over width of what stops early; what is wider finds no place
_KEEPS_ON = 0.55  # of its direction that a moving mass keeps at each step
_CLIMB = 0.35  # an edge may lie this much higher than the middle, for each metre it is away from it
_OVERLAP = 0.10  # of a landslide's cells that others may hold already: where there is no slope left, none can fail


class Ground(NamedTuple):
    """What a landslide runs over, arrays (row, col) of cells of `cell_m`.

    `fine_m` and `broad_m` are elevations smoothed for small and for large landslides, float32 in m; `barrier` marks
    rivers, which a landslide does not cross; `taken` marks cells that have slid already.
    """

    fine_m: NDArray[np.float32]
    broad_m: NDArray[np.float32]
    barrier: NDArray[np.bool_]
    taken: NDArray[np.bool_]
    cell_m: float


class Draws(NamedTuple):
    """What is drawn for each landslide before it has a place, float64, the first axis the landslide.

    `area_m2`; `elongation`, its length over its width; `reach`, height lost over length run at which it stops; `sides`,
    (landslide, side, knot), logarithms of its width on the left and right at even shares of its length, over the mean
    width; `within`, (landslide, 2), where in its cell it starts, x and y from 0 to 1: were all to start at
    centres, they would hold more centres of cells than their areas tell.
    """

    area_m2: NDArray[np.float64]
    elongation: NDArray[np.float64]
    reach: NDArray[np.float64]
    sides: NDArray[np.float64]
    within: NDArray[np.float64]


@njit(cache=True, nogil=True)
def find_places(draws, candidates, ground, broad_from_m2, outlines, counts):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201, PLR0917
    """Give each landslide the next of `candidates` (flat cell numbers) where it fits, and return how many were used.

    `outlines` (landslide, vertex, 2) receives x and y in cells from the north-west corner, `counts` how many vertices
    each has, 0 where it fitted at none of `MOST_TRIES` or no candidate was left.
    """
    columns = ground.fine_m.shape[1]
    path = np.empty((_PATH, 2))
    used = 0
    for k in range(draws.area_m2.size):
        height = ground.broad_m if draws.area_m2[k] >= broad_from_m2 else ground.fine_m
        last = min(used + MOST_TRIES, candidates.size)
        while used < last and counts[k] == 0:
            cell = candidates[used]
            used += 1
            path[0, 0], path[0, 1] = cell % columns + draws.within[k, 0], cell // columns + draws.within[k, 1]
            if ground.taken[cell // columns, cell % columns]:
                continue
            length = _descend(path, height, ground, math.sqrt(draws.area_m2[k] * draws.elongation[k]), draws.reach[k])
            if length * length < _SHORTEST * draws.area_m2[k]:
                continue
            count = _outline(path, length, draws.area_m2[k], draws.sides[k], height, ground.cell_m, outlines[k])
            if count > 0 and _take(outlines[k, :count], ground.taken):
                counts[k] = count
    return used


@njit(cache=True, nogil=True)
def _descend(path, height, ground, length_m, reach):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, PLR0917
    """Run down from the first point of `path`, fill the others evenly, and return the length run in m (0 if none)."""
    step = length_m / ground.cell_m * _STEP_SHARE
    x, y = path[0, 0], path[0, 1]
    start = last = _at(height, x, y)
    along_x, along_y, points = 0.0, 0.0, 1
    for i in range(1, _PATH):
        down_x, down_y = _downhill(height, x, y)
        along_x, along_y = _unit(down_x + _KEEPS_ON * along_x, down_y + _KEEPS_ON * along_y)
        x, y = x + step * along_x, y + step * along_y
        if not (4 <= x < height.shape[1] - 4 and 4 <= y < height.shape[0] - 4) or ground.barrier[int(y), int(x)]:
            break
        here = _at(height, x, y)
        # Beyond its source a mass stops where its energy is spent.
        if here >= last or (i > _SOURCE * _PATH and start - here < reach * i * step * ground.cell_m):
            break
        path[i, 0], path[i, 1], last, points = x, y, here, i + 1
    _stretch(path, points)
    return (points - 1) * step * ground.cell_m


@njit(cache=True, nogil=True)
def _stretch(path, points):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Spread the first `points` of `path` evenly over all its points."""
    kept = path[:points].copy()
    for i in range(_PATH):
        at = i * (points - 1) * _STEP_SHARE
        first = min(int(at), max(points - 2, 0))
        second = min(first + 1, points - 1)
        for axis in range(2):
            path[i, axis] = kept[first, axis] + (at - first) * (kept[second, axis] - kept[first, axis])


@njit(cache=True, nogil=True)
def _outline(path, length_m, area_m2, sides, height, cell_m, vertices):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, PLR0917
    """Write the outline around `path` to `vertices`, in cells, and return how many it has (0 if it has no room)."""
    stations = min(MOST_VERTICES // 2, 12 + int(length_m / 20.0))
    width = area_m2 / length_m / cell_m
    target = area_m2 / (cell_m * cell_m)
    for _ in range(3):  # the area grows with the width, but where the ground rises at its sides
        _lay_sides(path, length_m, stations, width / 2, sides, height, cell_m, vertices)
        area = abs(_shoelace(vertices[: 2 * stations]))
        if area <= 0.0:
            return 0
        width *= min(max(target / area, 0.5), 2.0)
    _lay_sides(path, length_m, stations, width / 2, sides, height, cell_m, vertices)
    area = abs(_shoelace(vertices[: 2 * stations]))
    return 2 * stations if 0.8 * target < area < 1.25 * target else 0


@njit(cache=True, nogil=True)
def _lay_sides(path, length_m, stations, half, sides, height, cell_m, vertices):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, PLR0917
    """Lay points to the left of `path` on the way down and to its right on the way back."""
    cap = min(max(1.2 * half * cell_m / length_m, 0.08), 0.4)
    for i in range(stations):
        share = (1 - math.cos(math.pi * i / (stations - 1))) / 2  # dense at both ends, which are round
        place = min(share * (_PATH - 1), _PATH - 1.001)
        j = int(place)
        x = path[j, 0] + (place - j) * (path[j + 1, 0] - path[j, 0])
        y = path[j, 1] + (place - j) * (path[j + 1, 1] - path[j, 1])
        before, after = max(j - 3, 0), min(j + 4, _PATH - 1)
        along_x, along_y = _unit(path[after, 0] - path[before, 0], path[after, 1] - path[before, 1])
        for side in range(2):
            wide = half * _width(sides[side], share, cap)
            sign = 1.0 - 2.0 * side
            wide = _room(height, x, y, sign * along_y, -sign * along_x, wide, cell_m)
            k = i if side == 0 else 2 * stations - 1 - i
            vertices[k, 0], vertices[k, 1] = x + sign * along_y * wide, y - sign * along_x * wide


@njit(cache=True, nogil=True)
def _width(side, share, cap):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Return the width of one side at a share of the length, over the mean: as drawn, with round ends `cap` long."""
    place = min(share * (KNOTS - 1), KNOTS - 1.001)
    j = int(place)
    ease = (place - j) ** 2 * (3 - 2 * (place - j))
    ends = min(share / cap, (1 - share) / cap, 1.0)
    return math.exp(side[j] + ease * (side[j + 1] - side[j])) * math.sqrt(max(1 - (1 - ends) ** 2, 0.01))


@njit(cache=True, nogil=True)
def _room(height, x, y, out_x, out_y, wide, cell_m):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, PLR0917
    """Return how far out from (x, y) a landslide reaches before the ground climbs, at most `wide` cells."""
    middle = _at(height, x, y)
    for _ in range(10):
        if _at(height, x + out_x * wide, y + out_y * wide) - middle <= 1.0 + _CLIMB * wide * cell_m:
            break
        wide *= 0.75
    return wide


@njit(cache=True, nogil=True)
def _take(outline, taken):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Mark the cells whose centres `outline` holds, unless others hold too many of them; return whether it did."""
    left, right = int(outline[:, 0].min()), int(outline[:, 0].max()) + 1
    top, bottom = int(outline[:, 1].min()), int(outline[:, 1].max()) + 1
    if left < 0 or top < 0 or right > taken.shape[1] or bottom > taken.shape[0]:
        return False
    inside = np.zeros((bottom - top, right - left), dtype=np.bool_)
    held = clash = 0
    for row in range(top, bottom):
        for column in range(left, right):
            if _holds(outline, column + 0.5, row + 0.5):
                inside[row - top, column - left] = True
                held += 1
                clash += taken[row, column]
    if clash > _OVERLAP * held:
        return False
    taken[top:bottom, left:right] |= inside
    return True


@njit(cache=True, nogil=True)
def _holds(outline, x, y):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Return whether a ray from (x, y) crosses the outline an odd number of times."""
    inside = False
    last = outline.shape[0] - 1
    for i in range(outline.shape[0]):
        x0, y0, x1, y1 = outline[last, 0], outline[last, 1], outline[i, 0], outline[i, 1]
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) / (y1 - y0) * (x1 - x0):
            inside = not inside
        last = i
    return inside


@njit(cache=True, nogil=True)
def _shoelace(outline):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    total = 0.0
    last = outline.shape[0] - 1
    for i in range(outline.shape[0]):
        total += outline[last, 0] * outline[i, 1] - outline[i, 0] * outline[last, 1]
        last = i
    return total / 2


@njit(cache=True, nogil=True)
def _at(height, x, y):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Interpolate the elevation at x, y in cells from the corner; beyond the last centres it stays level."""
    column = min(max(x - 0.5, 0.0), height.shape[1] - 1.001)
    row = min(max(y - 0.5, 0.0), height.shape[0] - 1.001)
    i, j = int(row), int(column)
    down, right = row - i, column - j
    north = height[i, j] * (1 - right) + height[i, j + 1] * right
    south = height[i + 1, j] * (1 - right) + height[i + 1, j + 1] * right
    return north * (1 - down) + south * down


@njit(cache=True, nogil=True)
def _downhill(height, x, y):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    return _unit(_at(height, x - 1, y) - _at(height, x + 1, y), _at(height, x, y - 1) - _at(height, x, y + 1))


@njit(cache=True, nogil=True)
def _unit(x, y):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    length = math.sqrt(x * x + y * y)
    return (x / length, y / length) if length > 0 else (0.0, 0.0)
