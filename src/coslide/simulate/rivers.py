"""Rivers and the flat ground that they lay down: how high their floors lie, where they run and how wide they are."""

import math
from typing import NamedTuple

import numpy as np
from affine import Affine
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from shapely import LineString

from coslide.simulate.drainage import first_marked
from coslide.simulate.land import River

Floats = NDArray[np.float32]
Points = NDArray[np.float64]

RIVER_M2 = 4e6  # drained area from which on a stream is a river that a scene shows
FOOTSLOPE_M = 4.0  # height over which a floor bends up into the hillside

_WIDTH_M, _NARROWEST_M, _WIDEST_M = 3.0, 6.0, 50.0
_SPACING_M = 5.0  # of the points along a river
_BEND_M = 70.0  # of the smoothing of its course
_KEEP_EVERY = 4
_SHORTEST_CELLS = 10  # of a river that joins another
_FILL_POWER = 0.35
_BACKFILL = 0.3  # of the bed's fall that is left where a larger river has dammed a smaller one


class Network(NamedTuple):
    """Drainage of a grid.

    Attributes
    ----------
    height_m, drained_m2
        float32 (row, col).
    receiver
        int32 (row, col), flat indices.
    order
        int32 (cells,), downstream first.
    """

    height_m: Floats
    drained_m2: Floats
    receiver: NDArray[np.int32]
    order: NDArray[np.int32]


class Course(NamedTuple):
    """A river as points 5 m apart: places in the CRS (point, xy), level of its banks in m, and the river itself."""

    xy_m: Points
    level_m: Points
    river: River


def river_width_m(drained_m2: NDArray[np.floating] | float) -> Points:
    """Return the width of a river in metres from the area that it drains, 6 to 50 m.

    The square root that downstream hydraulic geometry finds for the discharge (Leopold & Maddock 1953, USGS
    Professional Paper 252, doi:10.3133/pp252), the discharge being proportional to the area::

        w = 3 m (A / 1 km²)^0.5

    Examples
    --------
    >>> river_width_m(1e8)
    array(30.)
    """
    width = _WIDTH_M * np.sqrt(np.asarray(drained_m2, dtype=np.float64) / 1e6)
    return np.asarray(np.clip(width, _NARROWEST_M, _WIDEST_M))


def floor_level(network: Network, inner: tuple[slice, slice], share: float) -> Floats:
    """Return the level in metres to which rivers have filled their valleys, as far as each cell is concerned.

    That of the river which the cell drains to (the height above which is HAND, Rennó et al. 2008,
    doi:10.1016/j.rse.2008.03.018). The fill begins with the river and grows with the square root of the drained
    area, by a factor such that `share` of the ground comes to lie under it; behind the floor of a larger river the
    smaller one fills its valley up too.

    Parameters
    ----------
    network
        Of the ground and more.
    inner
        The part of it that `share` is about.
    share
        Of the cells that will be floor (no unit, 0 to 1).

    Returns
    -------
    ndarray of float32
        (row, col); -inf where no river is reached.
    """
    height, area = network.height_m, network.drained_m2
    river = first_marked(area >= RIVER_M2, network.receiver, network.order)
    at = np.maximum(river, 0)
    growth = np.maximum((area / np.float32(RIVER_M2)) ** np.float32(_FILL_POWER) - 1, 0)
    above = height - height.reshape(-1)[at] + np.float32(FOOTSLOPE_M)
    needed = np.where(river >= 0, above / np.maximum(growth.reshape(-1)[at], np.float32(1e-3)), np.inf)[inner]
    count = int(share * needed.size)
    factor = np.partition(needed, count, axis=None)[count]
    if not np.isfinite(factor):
        return np.full(height.shape, -np.inf, dtype=np.float32)
    level = height + np.float32(factor) * growth
    _dam(level.reshape(-1), height.reshape(-1), river.reshape(-1), network.receiver.reshape(-1), network.order)
    return np.where(river >= 0, level.reshape(-1)[at], np.float32(-np.inf))


def trace_courses(network: Network, inner: tuple[slice, slice], *, level_m: Floats, affine: Affine) -> list[Course]:
    """Return the courses of all rivers within `inner`, from the one that drains most at its end to the least.

    Each runs from its head, or from where it enters, along the larger branch, to the river that it joins or to the
    edge. The steps of the grid are smoothed out; levels never rise on the way.

    Parameters
    ----------
    network
        Of the ground and more.
    inner
        The part of it in which rivers are wanted.
    level_m
        As `floor_level` returns it.
    affine
        From (col, row) of the network's grid to x and y in metres.
    """
    placed: dict[int, Points] = {}
    columns = network.height_m.shape[1]
    courses = []
    for stem in _stems(network, inner):
        rows, cols = np.divmod(np.asarray(stem), columns)
        nodes = np.stack([affine.c + affine.a * (cols + 0.5), affine.f + affine.e * (rows + 0.5)], axis=1)
        own = np.asarray([cell not in placed for cell in stem])
        if not own[-1]:
            nodes[-1] = placed[stem[-1]]
        levels = level_m.reshape(-1)[np.asarray(stem)].astype(np.float64)
        xy, level, at_nodes = _smooth_course(nodes, levels)
        placed.update({cell: xy[k] for cell, k, new in zip(stem, at_nodes, own, strict=True) if new})
        area = network.drained_m2.reshape(-1)[np.asarray(stem)[own]]
        kept = np.concatenate([xy[:-1:_KEEP_EVERY], xy[-1:]])
        courses.append(Course(xy, level, River(LineString(kept), float(river_width_m(area).mean()))))
    return courses


def cut_beds(height_m: Floats, courses: list[Course], affine: Affine) -> None:
    """Lower `height_m` in place to the bed wherever a river covers a cell, and one cell wide at least.

    Parameters
    ----------
    height_m
        Metres, float32 (row, col).
    courses
        As `trace_courses` returns them.
    affine
        From (col, row) of the grid to x and y in metres.
    """
    for course in courses:
        width = course.river.width_m
        depth = min(max(width / 15, 0.8), 3.0)  # below the banks; rivers of gravel are 10 to 30 times wider than deep
        cols, rows = (course.xy_m[:, 0] - affine.c) / affine.a, (course.xy_m[:, 1] - affine.f) / affine.e
        _cut_discs(height_m, (rows, cols), course.level_m - depth, max(width / (2 * affine.a), 0.75))


def _stems(network: Network, inner: tuple[slice, slice]) -> list[list[int]]:
    """Return the cells of each river from its head to its end, that in another river included if there is one."""
    inside = np.zeros(network.height_m.shape, dtype=np.bool_)
    inside[inner] = True
    area, receiver = network.drained_m2.reshape(-1), network.receiver.reshape(-1)
    cells = np.flatnonzero((inside & (network.drained_m2 >= RIVER_M2)).reshape(-1))
    cells = cells[np.argsort(area[cells], kind="stable")]
    known = set(cells.tolist())
    pairs = zip(receiver[cells].tolist(), cells.tolist(), strict=True)
    largest = {below: cell for below, cell in pairs if below in known and below != cell}  # the last one is kept
    stems = []
    for end, below in zip(cells[::-1].tolist(), receiver[cells[::-1]].tolist(), strict=True):
        if largest.get(below) == end:
            continue
        stem = [below, end] if below in known and below != end else [end]
        while stem[-1] in largest:
            stem.append(largest[stem[-1]])
        if len(stem) > (_SHORTEST_CELLS if stem[0] != end else 2):
            stems.append(stem[::-1])
    return stems


def _smooth_course(nodes: Points, levels: Points) -> tuple[Points, Points, NDArray[np.intp]]:
    """Return points 5 m apart along a smooth course, their levels, and which of them is nearest to each node."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(nodes, axis=0).T))])
    places = np.linspace(0.0, along[-1], max(math.ceil(along[-1] / _SPACING_M), 2) + 1)
    xy = np.stack([_smoothed(np.interp(places, along, axis)) for axis in nodes.T], axis=1)
    level = _smoothed(np.minimum.accumulate(np.interp(places, along, levels)))
    return xy, level, np.rint(along / places[1]).astype(np.intp)


def _smoothed(values: Points) -> Points:
    """Return values along a course, smoothed; both ends stay where they are."""
    sigma = _BEND_M / _SPACING_M
    pad = min(int(4 * sigma), values.size - 1)
    padded = np.pad(values, pad, mode="reflect", reflect_type="odd")
    return np.asarray(gaussian_filter1d(padded, sigma, mode="nearest")[pad : pad + values.size])


@njit(cache=True, nogil=True)
def _dam(level, height, river, receiver, order):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, PLR0917
    share = np.float32(_BACKFILL)
    for cell in order:
        below = receiver[cell]
        if river[cell] == cell and below != cell:
            level[cell] = max(level[cell], level[below] + share * (height[cell] - height[below]))


@njit(cache=True, nogil=True)
def _cut_discs(height, places, bed, radius):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    rows, cols = places
    for point in range(rows.size):
        top, left = math.floor(rows[point] - radius), math.floor(cols[point] - radius)
        for i in range(max(top, 0), min(math.ceil(rows[point] + radius) + 1, height.shape[0])):
            for j in range(max(left, 0), min(math.ceil(cols[point] + radius) + 1, height.shape[1])):
                if (i + 0.5 - rows[point]) ** 2 + (j + 0.5 - cols[point]) ** 2 <= radius**2:
                    height[i, j] = min(height[i, j], np.float32(bed[point]))
