"""The landslides of a simulated earthquake: where they start, how large they are, what they cover, as mapped."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from shapely.geometry import box

from coslide.errors import InputError
from coslide.indices.derivatives import smooth
from coslide.simulate.frame import CELL_M, CRS, Frame
from coslide.simulate.land import Terrain
from coslide.simulate.recipe import Recipe
from coslide.simulate.runout import KNOTS, MOST_TRIES, MOST_VERTICES, Draws, Ground, find_places
from coslide.simulate.sizes import size_law
from coslide.simulate.vectors import write_gpkg

Polygons = NDArray[np.object_]
Probability = NDArray[np.float32]

_SMALL_SHARE = 0.94  # of single landslides under 1104 m2; mapped as one where they touch, fewer of them are
_LARGEST_M2, _LARGEST_SHARE = 400_000.0, 0.05  # no landslide has more, nor more than this share of all that slides
# From the area on, in m2, and the cells around a place over which the chance to fail must be high, to each side.
_CLASSES = ((15_000.0, 6), (2_500.0, 3), (0.0, 0))
_BROAD_FROM_M2 = 2_500.0
_FINE_SIGMA, _BROAD_SIGMA = 1.5, 4.0  # cells
_SPARE, _MORE_SPARE = 1.5, 50  # more are drawn, so that enough are left of those that find a place in the tile
_LEAST_WITHIN = 0.05  # of the chances to fail that must lie in the tile; what is beyond is margin
_ROUNDS = 8  # of adding or taking away, until the share is met
_LEAST_CHANCE = 1e-3
_BARRIER_M2 = 3e6  # ground drained by a stream that stops landslides
# Shares of the length and logarithms of the width there: source, narrower path, wider deposit.
_WIDTHS = ((0.0, 0.2, 0.6, 0.85, 1.0), (0.05, 0.12, -0.22, 0.10, 0.12))
_CLOSE_ENOUGH = 0.003  # of the area that shall slide


def place_landslides(recipe: Recipe, terrain: Terrain, probability: Probability) -> gpd.GeoDataFrame:
    """Return the mapped landslides: valid polygons in the CRS of the frame, with columns ``id`` and ``area_m2``.

    Landslides start at places drawn by their probability, each place once. Areas follow `coslide.simulate.sizes`; the
    larger ones start where much of the ground around may fail. Each runs down the smoothed ground, and stops where it
    has lost too little height for its volume, at a river, or when it has its length. Those that touch become one
    polygon without holes, as mappers draw them.

    Parameters
    ----------
    recipe
        `Recipe.landslide_share` is the share of the tile that they cover, met within 1 %.
    terrain
        The ground.
    probability
        float32 (row, col) on `Frame.ground`: how likely a landslide is to start there.

    Returns
    -------
    GeoDataFrame
        From the largest to the smallest; `id` counts from 1. Some lie in the margin around the tile or reach into it.

    Raises
    ------
    InputError
        If too few slopes can fail for the share.

    Notes
    -----
    Of single landslides 94 % are drawn under 1104 m2. Of the mapped ones, some of which are several grown together,
    92 to 94 % were on five grounds of 3 to 12 km with the default share, and 90 % where 15 % of the ground slid.

    Volume from area: V = 10^-0.836 A^1.332 (Larsen et al. 2010, doi:10.1038/ngeo776, all landslides). Height lost over
    length run where it stops: log10(H / L) = -0.012 - 0.105 log10 V (Corominas 1996, doi:10.1139/t96-005, debris
    slides, flows and avalanches), with a scatter of 0.1. Length over mean width is drawn around 3.6
    (1.6 to 9; inventories have 1.2 to 15, Taylor et al. 2018, doi:10.1002/esp.4479); what stops early is shorter.
    """
    frame = terrain.frame
    tile = box(*frame.tile.boundingbox.bbox)
    target_m2 = recipe.landslide_share * tile.area
    law = size_law(_SMALL_SHARE, max(min(_LARGEST_M2, _LARGEST_SHARE * target_m2), 2000.0))
    random = recipe.random("landslides")
    within = float(probability[frame.inner].sum(dtype=np.float64) / max(probability.sum(dtype=np.float64), 1e-9))
    count = int(_SPARE * target_m2 / law.mean_m2() / max(within, _LEAST_WITHIN)) + _MORE_SPARE
    draws = _draw(random, np.sort(law.draw(random, count))[::-1])
    singles = _run_down(random, draws, terrain, probability)
    chosen = _choose(random.permutation(singles), tile, target_m2)
    area_m2 = shapely.area(chosen)
    order = np.lexsort((shapely.get_y(shapely.centroid(chosen)), -area_m2))
    columns = {"id": np.arange(1, len(order) + 1), "area_m2": area_m2[order]}
    return gpd.GeoDataFrame(columns, geometry=chosen[order], crs=CRS)


def write_inventory(path: Path, area_path: Path, slides: gpd.GeoDataFrame, frame: Frame) -> None:
    """Write the landslides that meet the tile of `frame`, and the square in which they were mapped, as GeoPackages.

    Parameters
    ----------
    path
        Of the landslides; they are whole where they reach over the edge of the tile.
    area_path
        Of the mapped area: the tile.
    slides
        As `place_landslides` returns them.
    frame
        Where they lie.
    """
    tile = box(*frame.tile.boundingbox.bbox)
    meets = shapely.intersects(slides.geometry.to_numpy(), tile)
    write_gpkg(slides[meets].reset_index(drop=True), path)
    write_gpkg(gpd.GeoDataFrame({"id": [1]}, geometry=[tile], crs=slides.crs), area_path)


def amalgamate(polygons: Polygons) -> Polygons:
    """Return the polygons with those that touch or overlap made one, and holes filled: what a mapper would draw.

    Parameters
    ----------
    polygons
        Valid shapely Polygons.

    Returns
    -------
    ndarray of Polygon
        No two of them share more than single points; two that share a point only stay two.
    """
    while True:
        first, second = shapely.STRtree(polygons).query(polygons, predicate="intersects")
        first, second = first[first < second], second[first < second]
        links = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(len(polygons),) * 2)
        _, group = connected_components(links, directed=False)
        together = np.flatnonzero(np.bincount(group)[group] > 1)
        together = together[np.argsort(group[together], kind="stable")]
        cuts = np.flatnonzero(np.diff(group[together])) + 1
        unions = [shapely.union_all(part) for part in np.split(polygons[together], cuts)]
        merged = np.concatenate([np.delete(polygons, together), _without_holes(unions)])
        if len(merged) == len(polygons):  # nothing touches, but in single points
            return merged
        polygons = merged


def _draw(random: np.random.Generator, area_m2: NDArray[np.float64]) -> Draws:
    """Draw the shapes of landslides of these areas."""
    count = len(area_m2)
    elongation = np.clip(3.6 * np.exp(0.35 * random.standard_normal(count)), 1.6, 9.0)
    volume_m3 = 10**-0.836 * area_m2**1.332
    reach = 10 ** (-0.012 - 0.105 * np.log10(volume_m3) + 0.1 * random.standard_normal(count))
    shares = np.linspace(0, 1, KNOTS)
    neck = random.uniform(0, 1.2, (count, 1)) * np.interp(shares, *_WIDTHS)
    taper = 0.2 * random.standard_normal((count, 1)) * (2 * shares - 1)
    rough = 0.12 * random.standard_normal((count, 2, KNOTS))
    return Draws(area_m2, elongation, reach, (neck + taper)[:, None] + rough, random.random((count, 2)))


def _run_down(random: np.random.Generator, draws: Draws, terrain: Terrain, probability: Probability) -> Polygons:
    """Return the outlines of those of `draws` that find a place, from the largest, each a valid polygon."""
    barrier = terrain.drained_m2 > _BARRIER_M2
    fine, broad = (smooth(terrain.height_m, sigma) for sigma in (_FINE_SIGMA, _BROAD_SIGMA))
    ground = Ground(fine, broad, barrier, np.zeros(barrier.shape, dtype=np.bool_), CELL_M)
    outlines = np.empty((len(draws.area_m2), MOST_VERTICES, 2))
    counts = np.zeros(len(draws.area_m2), dtype=np.int64)
    start = 0
    for from_m2, around in _CLASSES:
        end = int(np.count_nonzero(draws.area_m2 >= from_m2))
        part = Draws(*(np.ascontiguousarray(values[start:end]) for values in draws))
        candidates = _candidates(random, probability, around, count=MOST_TRIES * (end - start))
        find_places(part, candidates, ground, _BROAD_FROM_M2, outlines[start:end], counts[start:end])
        start = end
    placed = np.flatnonzero(counts)
    owner = np.repeat(np.arange(len(placed)), counts[placed])
    cells = np.concatenate([outlines[k, : counts[k]] for k in placed]) if len(placed) else np.empty((0, 2))
    corner = terrain.frame.ground.affine
    xy = np.column_stack([corner.c + corner.a * cells[:, 0], corner.f + corner.e * cells[:, 1]])
    return _valid(shapely.polygons(shapely.linearrings(xy, indices=owner)))


def _candidates(random: np.random.Generator, probability: Probability, around: int, *, count: int) -> NDArray[np.int64]:
    """Return `count` cells (or fewer) without repeats, drawn by weight in the order in which they come.

    The smallest of exponential variates over weights are such a draw (Efraimidis & Spirakis 2006,
    doi:10.1016/j.ipl.2005.11.003).
    """
    weight = probability.astype(np.float32)
    if around:
        weight = weight * np.square(uniform_filter(weight, 2 * around + 1, mode="nearest"))
    cells = np.flatnonzero(probability > _LEAST_CHANCE)
    key = random.standard_exponential(len(cells), dtype=np.float32)
    key /= np.maximum(weight.reshape(-1)[cells], np.float32(1e-12))
    if count < len(cells):
        nearest = np.argpartition(key, count)[:count]
        cells, key = cells[nearest], key[nearest]
    return cells[np.argsort(key, kind="stable")]


def _choose(polygons: Polygons, tile: Any, target_m2: float) -> Polygons:
    """Return the first of `polygons`, amalgamated, so many that they cover `target_m2` of `tile`."""
    alone = shapely.area(shapely.intersection(polygons, tile))
    if alone.sum() < target_m2:
        found = f"{alone.sum() / tile.area:.3f}, wanted {target_m2 / tile.area:.3f}"
        raise InputError(f"landslide_share: too few slopes can fail; found a share of {found}")
    first = np.arange(len(polygons)) <= int(np.searchsorted(np.cumsum(alone), target_m2))
    for _ in range(_ROUNDS):
        merged = amalgamate(polygons[first])
        gap_m2 = target_m2 - shapely.area(shapely.intersection(merged, tile)).sum()
        if abs(gap_m2) < _CLOSE_ENOUGH * target_m2:
            break
        turned = _fill(alone, np.flatnonzero(~first) if gap_m2 > 0 else np.flatnonzero(first)[::-1], abs(gap_m2))
        first[turned] = gap_m2 > 0
    return merged


def _fill(area_m2: NDArray[np.float64], order: Iterable[int], gap_m2: float) -> list[int]:
    """Return those that fill the gap, in their order, leaving out what is too large for what is left of it."""
    taken = []
    for number in order:
        if 0 < area_m2[number] <= gap_m2:
            taken.append(int(number))
            gap_m2 -= area_m2[number]
    return taken


def _valid(polygons: Polygons) -> Polygons:
    """Return the polygons, of those that cross themselves the largest valid part."""
    crossed = np.flatnonzero(~shapely.is_valid(polygons))
    for number in crossed:
        parts = shapely.get_parts(shapely.make_valid(polygons[number], method="structure"))
        polygons[number] = parts[np.argmax(shapely.area(parts))]
    return polygons


def _without_holes(shapes: list[Any]) -> Polygons:
    parts = shapely.get_parts(np.array(shapes, dtype=object))
    return np.asarray(shapely.polygons(shapely.get_exterior_ring(parts)), dtype=object)
