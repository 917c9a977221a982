"""The landslides of a simulated earthquake: how large they are, where they start, what they cover, as mapped."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import map_coordinates, uniform_filter
from scipy.optimize import brentq
from scipy.special import gamma, gammaincc
from scipy.stats import invgamma

from coslide.errors import InputError
from coslide.indices.derivatives import smooth
from coslide.simulate.frame import CRS, PIXEL_M, Floats, Frame, Mask, Numbers, Polygons, Terrain, apply_affine
from coslide.simulate.geology import write_gpkg
from coslide.simulate.recipe import Recipe

SHAPE = 1.40  # rho: areas of large landslides thin out as A^-2.4, in all three inventories of Malamud et al. (2004)
SMALLEST_M2 = 200.0  # two pixels of 10 m: nobody maps less on such a scene
SMALL_M2 = 1104.0  # 11 pixels and less: "small" in Yang et al. (2023, doi:10.3390/rs15040977)

_SMALL_SHARE = 0.94  # of single landslides under 1104 m2; mapped as one where they touch, fewer of them are
_LARGEST_M2, _LARGEST_SHARE = 400_000.0, 0.05  # no landslide has more, nor more than this share of all that slides
# From the area on, in m2, the pixels around a place over which the chance to fail must be high, to each side, and the
# standard deviation of the filter, in pixels, that smooths the terrain they run over.
_CLASSES = ((15_000.0, 6, 4.0), (2_500.0, 3, 4.0), (0.0, 0, 1.5))
_MOST_TRIES = 12  # at places for one landslide; the least mobile ones fit nowhere
_OVERLAP = 0.10  # of a landslide that may lie on others: where there is no slope left, none can fail
_SPARE, _MORE_SPARE = 1.5, 50  # more are drawn, so that enough are left of those that find a place in the scene
_LEAST_WITHIN = 0.05  # of the chances to fail that must lie in the scene; what is beyond is margin
_ROUNDS = 8  # of adding or taking away, until the share is met
_LEAST_CHANCE = 1e-3
_BARRIER_M2 = 3e6  # area drained by a stream that stops landslides
_CLOSE_ENOUGH = 0.003  # of the area that shall slide

_PATH = 41  # points of a path
_STATIONS = 28  # points on each side of an outline
KNOTS = 11  # of random width along each side
_SOURCE = 0.7  # of its length, which comes loose as a whole
_SHORTEST = 0.8  # length over width of what stops early; what is wider finds no place
_KEEPS_ON = 0.55  # of its direction that a moving mass keeps at each step
_BORDER_PX = 4
_CLIMB = 0.35  # an edge may lie this much higher than the middle, for each metre it is away from it
_NARROWER, _NARROWINGS = 0.65, 6  # so an edge is moved in that lies too high
# Shares of the length and logarithms of the width there: source, narrower path, wider deposit.
_WIDTHS = ((0.0, 0.2, 0.6, 0.85, 1.0), (0.05, 0.12, -0.22, 0.10, 0.12))


@dataclass(frozen=True)
class SizeLaw:
    """Three-parameter inverse-gamma law of landslide areas, cut off at a largest area.

    With x = A - 200 m2 and rho = 1.4, the density of Malamud et al. (2004, doi:10.1002/esp.1064)::

        p(A) = (a / x)^(rho + 1) exp(-a / x) / (a Γ(rho))

    `scale_m2` is a, where the density turns from its exponential rise to its power-law fall; no landslide is larger
    than `largest_m2`.
    """

    scale_m2: float
    largest_m2: float

    def share_below(self, area_m2: ArrayLike) -> Numbers:
        """Compute the share of landslides (no unit, 0 to 1) that are smaller than `area_m2`."""
        return np.asarray(self._cdf(np.minimum(area_m2, self.largest_m2)) / self._cdf(self.largest_m2))

    def area_m2(self, share: ArrayLike) -> Numbers:
        """Compute the area in m2 below which a `share` (0 to 1) of the landslides are: the quantile."""
        whole = np.asarray(share) * self._cdf(self.largest_m2)
        return np.asarray(invgamma.ppf(whole, SHAPE, loc=SMALLEST_M2, scale=self.scale_m2))

    def mean_m2(self) -> float:
        """Compute the mean area in m2: ∫ x p dx up to the largest x is a Γ(rho - 1, a / x) / Γ(rho)."""
        reach = self.scale_m2 / (self.largest_m2 - SMALLEST_M2)
        partial = gammaincc(SHAPE - 1, reach) * gamma(SHAPE - 1) / gamma(SHAPE)
        return float(SMALLEST_M2 + self.scale_m2 * partial / self._cdf(self.largest_m2))

    def _cdf(self, area_m2: ArrayLike) -> Numbers:
        return np.asarray(invgamma.cdf(area_m2, SHAPE, loc=SMALLEST_M2, scale=self.scale_m2))


def size_law(small_share: float, largest_m2: float) -> SizeLaw:
    """Fit the law by which a share of `small_share` has less than 1104 m2 (Yang et al. 2023 count 0.92)."""

    def excess(scale_m2: float) -> float:
        return float(SizeLaw(scale_m2, largest_m2).share_below(SMALL_M2)) - small_share

    return SizeLaw(float(brentq(excess, 1e-3, 100 * largest_m2, xtol=1e-9)), largest_m2)


def place_landslides(recipe: Recipe, terrain: Terrain, probability: Floats) -> gpd.GeoDataFrame:
    """Place the mapped landslides: valid polygons in the CRS of the frame, with columns ``id`` and ``area_m2``.

    Landslides start at places drawn by their probability, each place once, the larger ones where much of the terrain
    around may fail. Areas follow `SizeLaw`: 94 % are under 1104 m2. Each runs out as `run_out` has it.
    Those that touch become one polygon without holes, as mappers draw them; of these about 92 % are under 1104 m2.
    They cover `Recipe.landslide_share` of the scene within 1 %, may lie in the margin, and come from the largest on.

    Raises
    ------
    InputError
        If too few slopes can fail for the share.
    """
    frame = terrain.frame
    target_m2 = recipe.landslide_share * frame.scene_box.area
    law = size_law(_SMALL_SHARE, max(min(_LARGEST_M2, _LARGEST_SHARE * target_m2), 2000.0))
    random = recipe.random("landslides")
    within = float(probability[frame.inner].sum(dtype=np.float64) / max(probability.sum(dtype=np.float64), 1e-9))
    count = int(_SPARE * target_m2 / law.mean_m2() / max(within, _LEAST_WITHIN)) + _MORE_SPARE
    areas_m2 = np.sort(law.area_m2(random.random(count)))[::-1]
    singles = _find_places(random, areas_m2, terrain, probability)
    chosen = _choose(random.permutation(singles), frame.scene_box, target_m2)
    area_m2 = shapely.area(chosen)
    order = np.lexsort((shapely.get_y(shapely.centroid(chosen)), -area_m2))
    columns = {"id": np.arange(1, len(order) + 1), "area_m2": area_m2[order]}
    return gpd.GeoDataFrame(columns, geometry=chosen[order], crs=CRS)


def write_inventory(path: Path, area_path: Path, slides: gpd.GeoDataFrame, frame: Frame) -> None:
    """Write the landslides that meet the scene, whole, and the square in which they were mapped, as GeoPackages."""
    meets = shapely.intersects(slides.geometry.to_numpy(), frame.scene_box)
    write_gpkg(slides[meets].reset_index(drop=True), path)
    write_gpkg(gpd.GeoDataFrame({"id": [1]}, geometry=[frame.scene_box], crs=slides.crs), area_path)


def amalgamate(polygons: Polygons) -> Polygons:
    """Unite polygons that touch or overlap and fill their holes: what a mapper would draw.

    No two of the polygons returned share more than single points; two that share a point only stay two.
    """
    while True:
        parts = shapely.get_parts(shapely.disjoint_subset_union_all(polygons))
        merged = np.asarray(shapely.polygons(shapely.get_exterior_ring(parts)))
        if len(merged) == len(polygons):  # nothing touches, but in single points
            return merged
        polygons = merged


def valid_parts(polygons: Polygons) -> Polygons:
    """Replace polygons that cross themselves by their largest valid part."""
    for number in np.flatnonzero(~shapely.is_valid(polygons)):
        parts = shapely.get_parts(shapely.make_valid(polygons[number], method="structure"))
        polygons[number] = parts[np.argmax(shapely.area(parts))]
    return polygons


def _find_places(random: np.random.Generator, areas_m2: Numbers, terrain: Terrain, probability: Floats) -> Polygons:
    """Outline those landslides that find a place, from the largest; each tries places in turn until one fits."""
    draws, affine = draw_shapes(random, areas_m2), terrain.frame.grid.affine
    barrier = terrain.drained_m2 > _BARRIER_M2
    placed: Polygons = np.empty(0, dtype=object)
    start = 0
    for from_m2, around, sigma_px in _CLASSES:
        end = int(np.count_nonzero(areas_m2 >= from_m2))
        height = smooth(terrain.height_m, sigma_px)
        candidates = _candidates(random, probability, around, count=_MOST_TRIES * (end - start))
        waiting = np.arange(start, end)
        for _ in range(_MOST_TRIES):
            waiting = waiting[: len(candidates)]
            if not len(waiting):
                break
            pixels, candidates = candidates[: len(waiting)], candidates[len(waiting) :]
            corners = np.stack(np.divmod(pixels, height.shape[1])[::-1], axis=1)
            # Were all to start at centres, they would hold more centres of pixels than their areas tell.
            waiting_draws = Draws(*(values[waiting] for values in draws))
            outlines, fits = run_out(corners + random.random(corners.shape), waiting_draws, height, barrier)
            xy = apply_affine(affine, *np.moveaxis(outlines[fits], -1, 0))
            polygons = valid_parts(np.asarray(shapely.polygons(xy), dtype=object).reshape(-1))
            free = _free(placed, polygons)
            placed = np.concatenate([placed, polygons[free]])
            fits[fits] = free
            waiting = waiting[~fits]
        start = end
    return placed


def _candidates(random: np.random.Generator, probability: Floats, around: int, *, count: int) -> NDArray[np.int64]:
    """Draw `count` pixels (or fewer) without repeats by weight, in the order in which they come.

    The smallest of exponential variates over weights are such a draw (Efraimidis & Spirakis 2006,
    doi:10.1016/j.ipl.2005.11.003).
    """
    weight = probability
    if around:
        weight = weight * np.square(uniform_filter(weight, 2 * around + 1, mode="nearest"))
    pixels = np.flatnonzero(probability > _LEAST_CHANCE)
    key = random.standard_exponential(len(pixels), dtype=np.float32)
    key /= np.maximum(weight.reshape(-1)[pixels], np.float32(1e-12))
    return pixels[np.argsort(key, kind="stable")][:count]


def _free(placed: Polygons, polygons: Polygons) -> Mask:
    """Tell which polygons lie by no more than a tenth on those placed and on free ones before them."""
    everything = np.concatenate([placed, polygons])
    first, second = shapely.STRtree(everything).query(polygons, predicate="intersects")[::-1]
    second = second + len(placed)
    first, second = first[first < second], second[first < second]
    overlap = shapely.area(shapely.intersection(everything[first], everything[second]))
    share, free = np.zeros(len(everything)), np.ones(len(everything), dtype=np.bool_)
    for k in np.lexsort((first, second)).tolist():  # when a polygon has its turn, those before it have had theirs
        if free[first[k]]:
            share[second[k]] += overlap[k] / everything[second[k]].area
            free[second[k]] = share[second[k]] <= _OVERLAP
    return free[len(placed) :]


def _choose(polygons: Polygons, scene: shapely.Polygon, target_m2: float) -> Polygons:
    """Amalgamate the first of `polygons`, so many that they cover `target_m2` of the scene."""
    alone = shapely.area(shapely.intersection(polygons, scene))
    if alone.sum() < target_m2:
        found = f"{alone.sum() / scene.area:.3f}, wanted {target_m2 / scene.area:.3f}"
        raise InputError(f"landslide_share: too few slopes can fail; found a share of {found}")
    first = np.arange(len(polygons)) <= int(np.searchsorted(np.cumsum(alone), target_m2))
    for _ in range(_ROUNDS):
        merged = amalgamate(polygons[first])
        gap_m2 = target_m2 - shapely.area(shapely.intersection(merged, scene)).sum()
        if abs(gap_m2) < _CLOSE_ENOUGH * target_m2:
            break
        left_m2 = abs(gap_m2)
        for number in np.flatnonzero(~first) if gap_m2 > 0 else np.flatnonzero(first)[::-1]:
            if 0 < alone[number] <= left_m2:  # the others are too large for what is left of the gap
                first[number] = gap_m2 > 0
                left_m2 -= alone[number]
    return merged


class Draws(NamedTuple):
    """What is drawn for landslides before they have a place, float64, the first axis the landslide.

    `elongation` is the length over the mean width, `reach` the height lost over the length run at which they stop (no
    unit), `sides` (landslide, side, knot) the logarithms of the width to the left and right at even shares of the
    length, over the mean width.
    """

    area_m2: Numbers
    elongation: Numbers
    reach: Numbers
    sides: Numbers


def draw_shapes(random: np.random.Generator, area_m2: Numbers) -> Draws:
    """Draw how landslides of given areas in m2 move and look.

    Volume from area: V = 10^-0.836 A^1.332 (Larsen et al. 2010, doi:10.1038/ngeo776, all landslides). Height lost over
    length run where it stops: log10(H / L) = -0.012 - 0.105 log10 V (Corominas 1996, doi:10.1139/t96-005, debris
    slides, flows and avalanches), with a scatter of 0.1. Length over mean width is drawn around 3.6 (1.6 to 9;
    inventories have 1.2 to 15, Taylor et al. 2018, doi:10.1002/esp.4479); what stops early is shorter.
    """
    count = len(area_m2)
    elongation = np.clip(3.6 * np.exp(0.35 * random.standard_normal(count)), 1.6, 9.0)
    volume_m3 = 10**-0.836 * area_m2**1.332
    reach = 10 ** (-0.012 - 0.105 * np.log10(volume_m3) + 0.1 * random.standard_normal(count))
    shares = np.linspace(0, 1, KNOTS)
    neck = random.uniform(0, 1.2, (count, 1, 1)) * np.interp(shares, *_WIDTHS)
    taper = 0.2 * random.standard_normal((count, 1, 1)) * (2 * shares - 1)
    return Draws(area_m2, elongation, reach, neck + taper + 0.12 * random.standard_normal((count, 2, KNOTS)))


def run_out(start_px: Numbers, draws: Draws, height_m: Floats, barrier: Mask) -> tuple[Numbers, Mask]:
    """Let landslides run down from their places and outline them.

    Each runs down the terrain until it has lost too little height for its volume, meets a barrier, or has its length.
    Around that path it is as wide as its area asks for, but climbs no valley side.

    `start_px` (landslide, xy) are the crowns, in pixels from the north-west corner; `height_m` the smoothed elevation,
    float32 (row, col) of 10 m; `barrier`, bool (row, col), rivers that no landslide crosses. Returns outlines
    (landslide, vertex, xy) in pixels, and whether each fits: neither stuck nor short of room.
    """
    path, length_m = _descend(start_px, draws, height_m, barrier)
    share = (1 - np.cos(np.pi * np.linspace(0, 1, _STATIONS))) / 2  # dense at both ends, which are round
    knot, rest = _between(share, _PATH)
    middle = path[:, knot] + rest[:, None] * (path[:, knot + 1] - path[:, knot])
    along = _unit(path[:, np.minimum(knot + 4, _PATH - 1)] - path[:, np.maximum(knot - 3, 0)])
    left = np.stack([along[..., 1], -along[..., 0]], axis=-1)
    out = np.stack([left, -left], axis=1)
    knot, rest = _between(share, KNOTS)
    ease = rest**2 * (3 - 2 * rest)
    drawn = np.exp(draws.sides[..., knot] + ease * (draws.sides[..., knot + 1] - draws.sides[..., knot]))
    height, target = _at(height_m, middle)[:, None], draws.area_m2 / PIXEL_M**2
    length = np.maximum(length_m / PIXEL_M, 1e-3)
    width = target / length
    for _ in range(4):  # the area grows with the width, but where the terrain rises at its sides
        cap = np.clip(0.6 * width / length, 0.08, 0.4)[:, None]
        ends = np.minimum(np.minimum(share, 1 - share) / cap, 1)
        wide = width[:, None, None] / 2 * drawn * np.sqrt(np.maximum(1 - (1 - ends) ** 2, 0.01))[:, None]
        for _ in range(_NARROWINGS):
            climb = _at(height_m, middle[:, None] + out * wide[..., None]) - height
            wide[climb > 1 + _CLIMB * PIXEL_M * wide] *= _NARROWER
        edges = middle[:, None] + out * wide[..., None]
        outline = np.concatenate([edges[:, 0], edges[:, 1, ::-1]], axis=1)
        x, y = outline[..., 0], outline[..., 1]
        area = np.abs((np.roll(x, 1, axis=1) * y - x * np.roll(y, 1, axis=1)).sum(axis=1)) / 2
        width = width * np.clip(target / np.maximum(area, 1e-6), 0.5, 2.0)
    fits = (length_m**2 >= _SHORTEST * draws.area_m2) & (area > 0.8 * target) & (area < 1.25 * target)
    return outline, fits


def _descend(start: Numbers, draws: Draws, height_m: Floats, barrier: Mask) -> tuple[Numbers, Numbers]:
    """Run down from `start`; return evenly spaced points (landslide, point, xy) in pixels, and lengths run in m."""
    step = np.sqrt(draws.area_m2 * draws.elongation) / PIXEL_M / (_PATH - 1)
    down, east = (np.asarray(part) for part in np.gradient(height_m))
    path = np.repeat(start[:, None], _PATH, axis=1)
    limit = np.array(height_m.shape)[::-1] - _BORDER_PX
    points, along = np.full(len(start), _PATH), np.zeros_like(start)
    first = last = _at(height_m, start)
    for i in range(1, _PATH):
        fall = -np.stack([_at(east, path[:, i - 1]), _at(down, path[:, i - 1])], axis=-1)
        along = _unit(_unit(fall) + _KEEPS_ON * along)
        path[:, i] = path[:, i - 1] + step[:, None] * along
        here = _at(height_m, path[:, i])
        inside = np.clip(path[:, i], _BORDER_PX, limit)
        columns, rows = inside.astype(np.intp).T
        stops = (inside != path[:, i]).any(axis=1) | barrier[rows, columns] | (here >= last)
        if i > _SOURCE * _PATH:  # beyond its source a mass stops where its energy is spent
            stops |= first - here < draws.reach * i * step * PIXEL_M
        points = np.where(stops, np.minimum(points, i), points)
        last = here
    run = (points[:, None] - 1) * np.linspace(0, 1, _PATH)
    knot = np.clip(run.astype(np.intp), 0, np.maximum(points - 2, 0)[:, None])[..., None]
    before, after = (np.take_along_axis(path, np.minimum(knot + k, points[:, None, None] - 1), axis=1) for k in (0, 1))
    return before + (run[..., None] - knot) * (after - before), (points - 1) * step * PIXEL_M


def _between(share: Numbers, count: int) -> tuple[NDArray[np.intp], Numbers]:
    """Find the knot before each share of a length that has `count` even knots, and how far it lies towards the next."""
    knot = np.minimum((share * (count - 1)).astype(np.intp), count - 2)
    return knot, share * (count - 1) - knot


def _at(values: NDArray[np.floating], places: Numbers) -> Numbers:
    """Interpolate a raster at places (..., xy) in pixels from the corner; beyond the last centres it stays level."""
    x, y = np.moveaxis(places, -1, 0)
    return np.asarray(map_coordinates(values, [y - 0.5, x - 0.5], order=1, mode="nearest", output=np.float64))


def _unit(vectors: Numbers) -> Numbers:
    """Bring vectors (..., xy) to the length 1; those without a length stay."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12))
