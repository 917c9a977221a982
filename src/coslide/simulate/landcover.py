"""Land cover by nature, and what people build, farm and lay open."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize
from scipy.ndimage import binary_erosion, label, uniform_filter, uniform_filter1d
from shapely import LineString, Polygon
from shapely.geometry.base import BaseGeometry
from shapely.ops import substring

from coslide.simulate.fields import Random, rough_field, smooth_field
from coslide.simulate.frame import PIXEL_M, Codes, Floats, Frame, Numbers, Polygons, River, Terrain, centres_m
from coslide.simulate.recipe import Recipe

Shapes = Sequence[BaseGeometry] | Polygons


class Cover(IntEnum):
    """Land cover of a fine (5 m) pixel; rasters of it are uint8."""

    CONIFER = 0
    BROADLEAF = 1
    SHRUB = 2
    MEADOW = 3
    CROP = 4  # a field with its plants
    STUBBLE = 5  # a field after harvest
    SOIL = 6  # ploughed
    OUTCROP = 7  # rock and scree that have weathered
    OLD_SCAR = 8  # of landslides long before the earthquake
    DEBRIS = 9  # broken rock and soil of the earthquake's landslides
    GRAVEL = 10  # banks and bars of rivers
    WATER = 11
    ROAD = 12
    ROOF = 13
    SNOW = 14
    CUT = 15  # rock and soil that people have laid open; to a satellite it is debris


PLANTS = (Cover.CONIFER, Cover.BROADLEAF, Cover.SHRUB, Cover.MEADOW)
BANK_SHARE = 0.7
"""Width of the bare gravel on each side of a river over that of its water."""

ROCK_SHARE = 0.6
"""Share of rock in what is bare; the rest is old scars."""

# Upper edges of the belts, as shares of the relief, on slopes that face neither north nor south.
_BELT_EDGES, _BELTS = (0.28, 0.66, 0.82), (Cover.BROADLEAF, Cover.CONIFER, Cover.SHRUB, Cover.MEADOW)
_COOL_SIDE = 0.05  # how much lower the belts lie on north slopes, and higher on south slopes
_UNEVEN = 0.07  # how far they wander, as a standard deviation
_OPEN_BEYOND = 1.25  # deviations of a field beyond which a forest is open
_DRY_SIDE = 0.55  # of the south slopes' openness
# How readily the strata, D1 to T3, stand out as bare rock: limestones do, slates do not.
_STANDS_OUT = np.array([0.0, 0.5, 0.8, 0.6, 0.1, 0.3, -0.2, -0.5], dtype=np.float32)
_EDGE = 0.6  # of a 10 m pixel: how far the outlines of patches are roughened

_ROAD_WIDTH_M, _ROAD_FROM_GRAVEL_M = 9.0, 6.0  # the second to its middle
_STEEPEST_ROAD_DEG, _STEEP_OVER_M = 15.0, 300.0  # the mean slope under it, and over which length
_ROAD_STEP_M = 10.0
_SHORTEST_ROAD_M = 500.0
_AREA_PER_VILLAGE_KM2 = 40.0
_VILLAGE_M = 130.0  # standard deviation of the distance of houses from its middle
_HOUSES = (50, 110)
_HOUSE_M = ((10.0, 26.0), (8.0, 16.0))  # length and width, from the smallest to the largest
_NEAR_M = 5.0  # houses keep this far from water and roads
_FIELD_M = (55.0, 120.0)  # width and length of a typical parcel
_BLOCK_M = 700.0  # parcels within one block lie in one direction
_STEEPEST_FIELD_DEG = 9.0
_FARMED = -0.25  # deviations of a smooth field above which a floor is farmed

_CUT_SHARE = 0.35  # of all openings; the others are clearings
_CUT_LENGTH_M, _CUT_WIDTH_M, _CUT_SLOPE_DEG = (40.0, 160.0), (8.0, 20.0), (10.0, 35.0)
_CLEARED_M2, _CLEARED_SPREAD, _CLEARED_LONG = 700.0, 0.8, (1.0, 2.0)  # median, deviation of ln(area), length over width
_CLEARED_SLOPE_DEG = (3.0, 24.0)


def natural_cover(recipe: Recipe, terrain: Terrain, strata: Codes, scars: Shapes) -> Codes:
    """Cover the area as it is without people and before the earthquake: `Cover` in uint8, on `Frame.fine_grid`.

    Belts of plants follow height, shifted by the side of the hill that they lie on; rock stands out where it is steep,
    convex and hard; `scars`, outlines in the CRS of the frame, are bare; rivers run between banks of gravel.
    """
    frame, shape, north = terrain.frame, terrain.height_m.shape, northness(terrain)
    random = recipe.random("belts")
    level = (terrain.height_m - terrain.height_m[frame.inner].min()) / recipe.relief_m
    level += _COOL_SIDE * north
    level += _UNEVEN * rough_field(random, shape, PIXEL_M, range_m=800.0, hurst=0.3)
    coarse: Codes = np.array(_BELTS, dtype=np.uint8)[np.digitize(level, _BELT_EDGES)]
    openness = rough_field(random, shape, PIXEL_M, range_m=500.0, hurst=0.4) - _DRY_SIDE * north
    coarse[(coarse <= Cover.BROADLEAF) & (openness > _OPEN_BEYOND)] = Cover.SHRUB
    coarse[(coarse <= Cover.SHRUB) & (openness > _OPEN_BEYOND + 0.5)] = Cover.MEADOW
    # Conifers and broad leaves mingle: each stands in the other's belt here and there.
    mixed = (coarse <= Cover.BROADLEAF) & (smooth_field(random, shape, PIXEL_M, range_m=60.0) > 1.2)
    coarse[mixed] = Cover.BROADLEAF - coarse[mixed]
    coarse[_outcrops(recipe, terrain, strata)] = Cover.OUTCROP
    # Outlines frayed: each fine pixel is taken from a few metres beside it.
    random = recipe.random("fray")
    places = np.arange(2 * frame.side_px, dtype=np.float32) / 2
    rows, columns = (
        (at + _EDGE * random.standard_normal(frame.fine_grid.shape, dtype=np.float32)).round()
        for at in (places[:, None], places)
    )
    last = frame.side_px - 1
    cover: Codes = coarse[rows.clip(0, last).astype(np.int32), columns.clip(0, last).astype(np.int32)]
    burn(cover, scars, Cover.OLD_SCAR, frame)
    burn(cover, river_banks(terrain), Cover.GRAVEL, frame)
    burn(cover, river_water(terrain), Cover.WATER, frame)
    return cover


def river_banks(terrain: Terrain) -> list[BaseGeometry]:
    """Outline the wider rivers with their banks of gravel, in the CRS of the frame."""
    wide = (river for river in terrain.rivers if river.width_m > PIXEL_M)
    return [river.line.buffer(river.width_m * (0.5 + BANK_SHARE)) for river in wide]


def river_water(terrain: Terrain) -> list[BaseGeometry]:
    """Outline the water of all rivers, in the CRS of the frame."""
    return [river.line.buffer(river.width_m / 2) for river in terrain.rivers]


def burn(cover: Codes, shapes: Shapes, value: int, frame: Frame) -> None:
    """Set the pixels of `cover`, on `Frame.fine_grid`, whose centre lies in one of `shapes`, to `value`, in place."""
    if len(shapes):
        rasterize(shapes, out=cover, transform=frame.fine_grid.affine, default_value=int(value))


def doubled(values: NDArray[Any]) -> NDArray[Any]:
    """Repeat values of 10 m pixels, (row, col), on the 5 m pixels that they consist of."""
    return values.repeat(2, axis=0).repeat(2, axis=1)


def northness(terrain: Terrain) -> Floats:
    """Compute how much slopes face north: 1 for a steep northern one, -1 for a southern, 0 where level."""
    return np.asarray(np.cos(np.radians(terrain.aspect_deg)) * np.minimum(terrain.slope_deg / 30, 1))


def _outcrops(recipe: Recipe, terrain: Terrain, strata: Codes) -> NDArray[np.bool_]:
    """Find bare rock: the given share of the slopes, where they are steep, convex and of hard strata."""
    score = terrain.slope_deg / 6 + np.clip(terrain.mean_curvature_per_m * 150, -1, 1)
    score += _STANDS_OUT[strata - 1]
    score += rough_field(recipe.random("outcrops"), score.shape, PIXEL_M, range_m=300.0, hurst=0.3)
    slopes = ~terrain.valley_floor
    return np.asarray(slopes & (score > np.quantile(score[slopes], 1 - ROCK_SHARE * recipe.hardness.bare_share)))


def lay_roads(terrain: Terrain) -> list[Polygon]:
    """Lay roads, 9 m wide: one along each of the two longest rivers, beside its banks, where the valley is gentle."""
    longest = sorted(terrain.rivers, key=lambda river: -river.line.length)[:2]
    lines = (_beside(river, terrain) for river in longest)
    return [line.buffer(_ROAD_WIDTH_M / 2, cap_style="flat") for line in lines if line.length > _SHORTEST_ROAD_M]


def build_villages(recipe: Recipe, terrain: Terrain, keep_off: list[BaseGeometry]) -> Polygons:
    """Build villages on the widest parts of the valley floor: their roofs as rectangles.

    No roof comes near `keep_off`, rivers and roads. Without a valley floor there is no village.
    """
    random = recipe.random("villages")
    roofs: list[Polygons] = []
    for middle in _village_places(terrain):
        count = int(random.integers(*_HOUSES))
        places = middle + random.normal(0, _VILLAGE_M, (count, 2)) * [1.0, 0.6]
        places = places[terrain.valley_floor[terrain.frame.pixels_at(places)]]
        length_m, width_m = (random.uniform(*span, len(places)) for span in _HOUSE_M)
        turns = random.uniform(0, 180) + random.choice([0, 90], len(places)) + random.normal(0, 6, len(places))
        roofs.append(_rectangles(places, turns, length_m=length_m, width_m=width_m))
    taken = shapely.buffer(shapely.union_all(keep_off), _NEAR_M)
    built = np.concatenate(roofs) if roofs else np.empty(0, dtype=object)
    return np.asarray(built[~shapely.intersects(built, taken)])


def divide_fields(recipe: Recipe, terrain: Terrain) -> NDArray[np.int32]:
    """Divide the farmed valley floor into parcels, numbered from 0, int32 on `Frame.grid`, -1 where it is no field.

    Within a block of some hundred metres all parcels lie in one direction, with uneven widths.
    """
    random = recipe.random("fields")
    shape = terrain.height_m.shape
    farmed = terrain.valley_floor & (terrain.slope_deg < _STEEPEST_FIELD_DEG)
    farmed &= smooth_field(random, shape, PIXEL_M, range_m=500.0) > _FARMED
    parcel = np.full(shape, -1, dtype=np.int32)
    rows, columns = np.nonzero(farmed)
    if not rows.size:
        return parcel
    x, y = columns * PIXEL_M, rows * PIXEL_M
    block = (y // _BLOCK_M).astype(int), (x // _BLOCK_M).astype(int)
    turn = random.uniform(0, np.pi, [part.max() + 1 for part in block])[block]
    along = (x * np.cos(turn) + y * np.sin(turn)) / _FIELD_M[1]
    across = (y * np.cos(turn) - x * np.sin(turn)) / _FIELD_M[0]
    across += 0.25 * np.sin(2 * np.pi * across / 2.7)  # uneven widths
    key = np.stack([*block, np.floor(along).astype(int), np.floor(across).astype(int)])
    key -= key.min(axis=1, keepdims=True)
    flat = np.ravel_multi_index(tuple(key), tuple(key.max(axis=1) + 1))
    parcel[rows, columns] = np.unique(flat, return_inverse=True)[1]
    return parcel


def open_slopes(recipe: Recipe, terrain: Terrain) -> Polygons:
    """Outline cuttings, then clearings: what people lay open and what a single pixel cannot tell from a landslide.

    Cuttings are narrow and lie along the contours of slopes; clearings are as large as landslides, lie any way, and on
    slopes that are gentler than those that slide. There are `Difficulty.openings_per_km2` of both together.
    """
    random = recipe.random("openings")
    count = round(recipe.hardness.openings_per_km2 * (terrain.frame.side_px * PIXEL_M / 1000) ** 2)
    cuts = round(_CUT_SHARE * count)
    places, aspect = _slope_places(random, terrain, _CUT_SLOPE_DEG, cuts)
    length_m, width_m = (random.uniform(*span, len(places)) for span in (_CUT_LENGTH_M, _CUT_WIDTH_M))
    contour = aspect + 90 + random.normal(0, 8, len(places))
    cuttings = _rectangles(places, contour, length_m=length_m, width_m=width_m)
    places, _ = _slope_places(random, terrain, _CLEARED_SLOPE_DEG, count - cuts)
    area_m2 = _CLEARED_M2 * np.exp(random.normal(0, _CLEARED_SPREAD, len(places)))
    length_m = np.sqrt(area_m2 * random.uniform(*_CLEARED_LONG, len(places)))
    turns = random.uniform(0, 180, len(places))
    return np.concatenate([cuttings, _rectangles(places, turns, length_m=length_m, width_m=area_m2 / length_m)])


def _beside(river: River, terrain: Terrain) -> LineString:
    """Find the longest stretch beside a river where a road can lie; it may be empty."""
    moved = river.line.simplify(2.0).offset_curve((0.5 + BANK_SHARE) * river.width_m + _ROAD_FROM_GRAVEL_M)
    longest = max(shapely.get_parts(moved), key=lambda part: part.length, default=LineString())
    places = np.arange(0.0, longest.length, _ROAD_STEP_M)
    points = shapely.get_coordinates(shapely.line_interpolate_point(longest, places))
    slope = terrain.slope_deg[terrain.frame.pixels_at(points)]
    stretch, count = label(uniform_filter1d(slope, round(_STEEP_OVER_M / _ROAD_STEP_M)) < _STEEPEST_ROAD_DEG)
    if not count:
        return LineString()
    kept = places[stretch == np.bincount(stretch[stretch > 0]).argmax()]
    return substring(longest, kept[0], kept[-1])


def _village_places(terrain: Terrain) -> Numbers:
    """Choose the middles of the villages (village, xy) in the CRS: where most floor is around, far from each other."""
    frame, around = terrain.frame, int(2 * _VILLAGE_M / PIXEL_M)
    floor = np.zeros(frame.grid.shape, dtype=np.float32)
    floor[frame.inner] = uniform_filter(terrain.valley_floor.astype(np.float32), around)[frame.inner]
    floor[~binary_erosion(terrain.valley_floor, iterations=2)] = 0
    x, y = centres_m(frame.grid)
    places = np.empty((0, 2))
    wanted = 1 + round((frame.scene_px * PIXEL_M / 1000) ** 2 / _AREA_PER_VILLAGE_KM2)
    while len(places) < wanted and floor.max() > 0:
        row, column = np.unravel_index(int(floor.argmax()), floor.shape)
        places = np.vstack([places, (x[column], y[row])])
        floor[max(0, row - 6 * around) : row + 6 * around, max(0, column - 6 * around) : column + 6 * around] = 0
    return places


def _slope_places(random: Random, terrain: Terrain, slope_deg: Sequence[float], count: int) -> tuple[Numbers, Numbers]:
    """Draw places (place, xy) on hillsides of such slopes, none where there are no such, and the aspect there."""
    low, high = slope_deg
    fit = np.flatnonzero((terrain.slope_deg > low) & (terrain.slope_deg < high) & ~terrain.valley_floor)
    rows, columns = np.unravel_index(random.choice(fit, count) if fit.size else fit, terrain.slope_deg.shape)
    x, y = centres_m(terrain.frame.grid)
    return np.stack([x[columns], y[rows]], axis=1), terrain.aspect_deg[rows, columns].astype(np.float64)


def _rectangles(places: Numbers, along_deg: Numbers, *, length_m: Numbers, width_m: Numbers) -> Polygons:
    """Draw rectangles around places (place, xy), their lengths in directions clockwise from north."""
    turn = np.radians(along_deg)
    along = np.stack([np.sin(turn), np.cos(turn)], axis=1) * length_m[:, None] / 2
    across = np.stack([np.cos(turn), -np.sin(turn)], axis=1) * width_m[:, None] / 2
    corners = np.stack([along + across, along - across, -along - across, across - along], axis=1)
    return np.asarray(shapely.polygons(places[:, None] + corners), dtype=object).reshape(-1)
