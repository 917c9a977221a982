"""The landslides of a simulated earthquake: how large they are, where they start, what they cover, as mapped."""

from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import uniform_filter
from scipy.optimize import brentq
from scipy.special import gamma, gammaincc
from scipy.stats import invgamma

from coslide.errors import InputError
from coslide.indices.derivatives import smooth
from coslide.simulate.frame import CRS, Floats, Frame, Mask, Numbers, Polygons, Terrain, apply_affine
from coslide.simulate.geology import write_gpkg
from coslide.simulate.recipe import Recipe
from coslide.simulate.runout import Draws, draw_shapes, run_out

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
    around may fail. Areas follow `SizeLaw`: 94 % are under 1104 m2. Each runs out as `coslide.simulate.runout` has it.
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
