"""Flow routing, and the rivers that come of it: their courses and widths, and the valley floors that they lay down."""

import math
from typing import NamedTuple

import numpy as np
from affine import Affine
from numba import njit
from numpy.typing import ArrayLike, NDArray
from pyflwdir import FlwdirRaster
from pyflwdir.core_d8 import from_array
from pyflwdir.dem import fill_depressions
from rasterio.features import rasterize
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import KDTree
from shapely import LineString

from coslide.simulate.frame import Floats, Mask, Numbers, River, Window, apply_affine

DIAGONAL = 1 / math.sqrt(2.0)  # D8's factor on the fall to a diagonal neighbour
RIVER_M2 = 4e6  # drained area from which on a stream is a river that a scene shows
FOOTSLOPE_M = 4.0  # height over which a floor bends up into the hillside

_WIDTH_M, _NARROWEST_M, _WIDEST_M = 3.0, 6.0, 50.0
_SPACING_M = 5.0  # of the points along a river
_BEND_M = 70.0  # standard deviation of the filter that smooths its course
_KEEP_EVERY = 4
_SHORTEST_PX = 10  # of a river that joins another
_FILL_POWER = 0.35
_BACKFILL = 0.3  # of the bed's fall that is left where a larger river has dammed a smaller one


class Drainage(NamedTuple):
    """Drainage of a grid of square pixels.

    `height_m` is the elevation with its depressions filled, float32 (row, col); `receiver` the flat index of the
    neighbour that each pixel drains to, its own index where water leaves, int32 (pixels,); `network` the same for
    pyflwdir, whose `idxs_seq` are the flat indices from downstream to upstream.
    """

    height_m: Floats
    receiver: NDArray[np.int32]
    network: FlwdirRaster

    def upstream_area_m2(self, source_m2: ArrayLike) -> Floats:
        """Sum up `source_m2`, a number or (row, col), over all that drains through each pixel, itself included."""
        source = np.broadcast_to(np.asarray(source_m2, dtype=np.float64), self.height_m.shape)
        return np.asarray(self.network.accuflux(source), dtype=np.float32)


def drain(height_m: ArrayLike, outlets: Mask | None = None, *, corner: ArrayLike = DIAGONAL) -> Drainage:
    """Fill depressions and route the flow of every pixel downhill to an outlet.

    Priority flood fills depressions (Wang & Liu 2006, doi:10.1080/13658810500433453, in pyflwdir); each pixel then
    drains to its steepest lower neighbour (D8; O'Callaghan & Mark 1984, doi:10.1016/S0734-189X(84)80011-0), and where
    filled level to the pixel from which the flood reached it, so that no flow stops or turns in circles. Water may
    leave at the `outlets`, bool (row, col); None means the outermost ring.

    `corner` is a factor on the fall to the four diagonal neighbours, a number or (row, col). 1 / (2 - r), with r drawn
    from 0 to 1 for each pixel, lets rivers run in any direction on average (Rho8; Fairfield & Leymarie 1991,
    doi:10.1029/90WR02658), where D8 prefers eight.

    Examples
    --------
    >>> slope = drain([[1.0, 2.0, 1.5, 3.0]], np.array([[True, False, False, False]]))
    >>> slope.height_m, slope.receiver
    (array([[1., 2., 2., 3.]], dtype=float32), array([0, 0, 1, 2], dtype=int32))
    >>> slope.upstream_area_m2(100.0)
    array([[400., 300., 200., 100.]], dtype=float32)
    """
    height = np.ascontiguousarray(height_m, dtype=np.float32)
    pits = np.flatnonzero(rim_of(height.shape) if outlets is None else outlets)
    filled, flood = fill_depressions(height, idxs_pit=pits)
    receiver, _, _ = from_array(flood, dtype=np.int32)
    _steepen(filled, np.broadcast_to(np.asarray(corner, dtype=np.float32), filled.shape), receiver)
    return Drainage(filled, receiver, FlwdirRaster(receiver, filled.shape, "d8"))


def rim_of(shape: tuple[int, ...]) -> Mask:
    """Mark the outermost ring of a grid."""
    return np.pad(np.zeros([side - 2 for side in shape], dtype=np.bool_), 1, constant_values=True)


class Course(NamedTuple):
    """A river as points 5 m apart: places in the CRS (point, xy), level of its banks in m, and the river itself."""

    xy_m: Numbers
    level_m: Numbers
    river: River


def river_width_m(drained_m2: NDArray[np.floating] | float) -> Numbers:
    """Estimate the width of a river in metres from its drained area, 6 to 50 m.

    Downstream hydraulic geometry has the square root of the discharge (Leopold & Maddock 1953, USGS Professional Paper
    252, doi:10.3133/pp252), here proportional to the area: w = 3 m (A / 1 km²)^0.5.
    """
    width = _WIDTH_M * np.sqrt(np.asarray(drained_m2, dtype=np.float64) / 1e6)
    return np.asarray(np.clip(width, _NARROWEST_M, _WIDEST_M))


def floor_level(flow: Drainage, area_m2: Floats, inner: Window, share: float) -> Floats:
    """Compute the level in metres to which the river that each pixel drains to has filled its valley.

    The height above that river is HAND (Rennó et al. 2008, doi:10.1016/j.rse.2008.03.018). The fill begins with the
    river and grows with its drained area, by a factor such that `share` of the pixels of `inner` come to lie under it;
    behind the floor of a larger river the smaller one fills its valley up too.

    `area_m2` is the upstream area of `flow`. The levels are float32 (row, col), -inf where no river is reached.
    """
    height = flow.height_m
    pixels = np.arange(height.size, dtype=np.int32).reshape(height.shape)
    river = flow.network.fillnodata(np.where(area_m2 >= RIVER_M2, pixels, -1), -1, direction="up")
    at, has = np.maximum(river, 0), river >= 0
    growth = np.maximum((area_m2 / np.float32(RIVER_M2)) ** np.float32(_FILL_POWER) - 1, 0)
    above = height - height.reshape(-1)[at] + np.float32(FOOTSLOPE_M)
    needed = np.where(has, above / np.maximum(growth.reshape(-1)[at], np.float32(1e-3)), np.inf)[inner]
    count = int(share * needed.size)
    factor = np.partition(needed, count, axis=None)[count]
    if not np.isfinite(factor):
        return np.full(height.shape, -np.inf, dtype=np.float32)
    level = (height + np.float32(factor) * growth).reshape(-1)
    bed, order = height.reshape(-1), flow.network.idxs_seq
    for pixel in order[(area_m2.reshape(-1) >= RIVER_M2)[order]]:
        below = flow.receiver[pixel]
        level[pixel] = max(level[pixel], level[below] + _BACKFILL * (bed[pixel] - bed[below]))
    return np.where(has, level[at], np.float32(-np.inf))


def trace_courses(flow: Drainage, area_m2: Floats, inner: Window, *, level_m: Floats, affine: Affine) -> list[Course]:
    """Trace the courses of all rivers within `inner`, from the one that drains most at its end to the least.

    Each runs from its head, or from where it enters, along the larger branch, to the river that it joins or to the
    edge. The steps of the grid are smoothed out; levels never rise downstream. `level_m` is that of `floor_level`;
    `affine` leads from (col, row) of the grid to x and y in metres.
    """
    placed: dict[int, Numbers] = {}
    courses = []
    for stem in _stems(flow, area_m2, inner):
        rows, columns = np.divmod(stem, flow.height_m.shape[1])
        nodes = apply_affine(affine, columns + 0.5, rows + 0.5)
        own = np.array([pixel not in placed for pixel in stem.tolist()])
        if not own[-1]:
            nodes[-1] = placed[int(stem[-1])]
        xy, level, at_nodes = _smooth_course(nodes, level_m.reshape(-1)[stem].astype(np.float64))
        placed.update(zip(stem[own].tolist(), xy[at_nodes[own]], strict=True))
        width = float(river_width_m(area_m2.reshape(-1)[stem[own]]).mean())
        courses.append(Course(xy, level, River(LineString([*xy[:-1:_KEEP_EVERY], xy[-1]]), width)))
    return courses


def cut_beds(height_m: Floats, courses: list[Course], affine: Affine) -> None:
    """Lower elevations (row, col) in metres to the bed wherever a river covers a pixel, in place.

    `affine` leads from (col, row) to x and y in metres. A bed is one pixel wide at least.
    """
    for course in courses:
        width = course.river.width_m
        depth = min(max(width / 15, 0.8), 3.0)  # below the banks; rivers of gravel are 10 to 30 times wider than deep
        shape = LineString(course.xy_m).buffer(max(width / 2, 0.75 * affine.a))
        rows, columns = np.nonzero(rasterize([shape], out_shape=height_m.shape, transform=affine, dtype=np.uint8))
        _, nearest = KDTree(course.xy_m).query(apply_affine(affine, columns + 0.5, rows + 0.5))
        bed = (course.level_m[nearest] - depth).astype(np.float32)
        height_m[rows, columns] = np.minimum(height_m[rows, columns], bed)


def _stems(flow: Drainage, area_m2: Floats, inner: Window) -> list[NDArray[np.int64]]:
    """List the pixels of each river from its head to its end, with the one in the river that it joins if there is."""
    inside = np.zeros(area_m2.shape, dtype=np.bool_)
    inside[inner] = area_m2[inner] >= RIVER_M2
    pixels = np.flatnonzero(inside)
    pixels = pixels[np.argsort(area_m2.reshape(-1)[pixels], kind="stable")]
    below = dict(zip(pixels.tolist(), flow.receiver[pixels].tolist(), strict=True))
    ends = {pixel: to for pixel, to in below.items() if to not in below or to == pixel}
    largest = {to: pixel for pixel, to in below.items() if pixel not in ends}  # the last one, which drains most
    stems = []
    for pixel, to in reversed(below.items()):
        joins = pixel not in ends
        if joins and largest[to] == pixel:
            continue
        stem = [to, pixel] if joins else [pixel]
        while stem[-1] in largest:
            stem.append(largest[stem[-1]])
        if len(stem) > (_SHORTEST_PX if joins else 2):
            stems.append(np.array(stem[::-1]))
    return stems


def _smooth_course(nodes: Numbers, levels: Numbers) -> tuple[Numbers, Numbers, NDArray[np.intp]]:
    """Place points 5 m apart along a smooth course; also their levels, and which of them is nearest to each node."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(nodes, axis=0).T))])
    places = np.linspace(0.0, along[-1], max(math.ceil(along[-1] / _SPACING_M), 2) + 1)
    xy = np.stack([_smoothed(np.interp(places, along, axis)) for axis in nodes.T], axis=1)
    level = _smoothed(np.minimum.accumulate(np.interp(places, along, levels)))
    return xy, level, np.rint(along / places[1]).astype(np.intp)


def _smoothed(values: Numbers) -> Numbers:
    """Smooth values along a course; both ends stay where they are."""
    sigma = _BEND_M / _SPACING_M
    pad = min(int(4 * sigma), values.size - 1)
    padded = np.pad(values, pad, mode="reflect", reflect_type="odd")
    return np.asarray(gaussian_filter1d(padded, sigma, mode="nearest")[pad : pad + values.size])


@njit(cache=True, nogil=True)
def _steepen(height, corner, receiver):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Put the steepest lower neighbour of each pixel, where it has one, into `receiver`; the straight one of equals."""
    rows, columns = height.shape
    for i in range(rows):
        for j in range(columns):
            steepest = np.float32(0)
            for straight in (True, False):
                for a in range(max(i - 1, 0), min(i + 2, rows)):
                    for b in range(max(j - 1, 0), min(j + 2, columns)):
                        if ((a == i) != (b == j)) == straight:
                            fall = (height[i, j] - height[a, b]) * (np.float32(1) if straight else corner[i, j])
                            if fall > steepest:
                                steepest = fall
                                receiver[i * columns + j] = a * columns + b
