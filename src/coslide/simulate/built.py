"""What people have laid on the valley floor: a road, villages and fields."""

from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, label, uniform_filter, uniform_filter1d
from shapely import LineString, Polygon
from shapely.geometry.base import BaseGeometry
from shapely.ops import substring

from coslide.simulate.frame import CELL_M, Frame, centres_m
from coslide.simulate.land import River, Terrain
from coslide.simulate.landcover import BANK_SHARE
from coslide.simulate.noise import smooth_field
from coslide.simulate.recipe import Recipe

_ROAD_WIDTH_M, _ROAD_FROM_GRAVEL_M = 9.0, 6.0  # the second to its middle
_STEEPEST_ROAD_DEG, _STEEP_OVER_M = 15.0, 300.0  # the mean slope of the ground under it, and over which length
_ROAD_STEP_M = 10.0
_SHORTEST_ROAD_M = 500.0
_GROUND_PER_VILLAGE_KM2 = 40.0
_VILLAGE_M = 130.0  # standard deviation of the distance of houses from its middle
_HOUSES = (50, 110)
_HOUSE_M = ((8.0, 16.0), (10.0, 26.0))  # width and length, from the smallest to the largest
_NEAR_M = 5.0  # houses keep this far from water and roads
_FIELD_M = (55.0, 120.0)  # width and length of a typical parcel
_BLOCK_M = 700.0  # parcels within one block lie in one direction
_STEEPEST_FIELD_DEG = 9.0
_FARMED = -0.25  # deviations of a smooth field above which a floor is farmed


class Fields(NamedTuple):
    """Which parcel each 10 m cell belongs to, int32 (row, col), -1 where it is no field; and how many there are."""

    parcel: NDArray[np.int32]
    parcels: int


def lay_roads(terrain: Terrain) -> list[Polygon]:
    """Return the roads as polygons, 9 m wide: one along each of the two longest rivers, beside its banks.

    Where the valley gets too steep for a road, it ends.
    """
    roads = []
    for river in sorted(terrain.rivers, key=lambda river: -river.line.length)[:2]:
        line = _beside(river, terrain)
        if line is not None:
            roads.append(line.buffer(_ROAD_WIDTH_M / 2, cap_style="flat"))
    return roads


def build_villages(recipe: Recipe, terrain: Terrain, keep_off: list[BaseGeometry]) -> list[Polygon]:
    """Return the roofs of the villages as rectangles, on the widest parts of the valley floor.

    Parameters
    ----------
    recipe
        Its seed.
    terrain
        The ground; without a valley floor there is no village.
    keep_off
        Rivers and roads, which no roof comes near.
    """
    random = recipe.random("villages")
    middles = _village_places(terrain)
    taken = shapely.union_all([shape.buffer(_NEAR_M) for shape in keep_off]) if keep_off else Polygon()
    roofs: list[Polygon] = []
    for middle in middles:
        count = int(random.integers(*_HOUSES))
        angle = random.uniform(0, np.pi)
        places = middle + random.normal(0, _VILLAGE_M, (count, 2)) * [1.0, 0.6]
        sizes = np.array([random.uniform(*span, count) for span in _HOUSE_M]).T
        turns = angle + random.choice([0.0, np.pi / 2], count) + random.normal(0, 0.1, count)
        roofs += [_rectangle(place, size, turn) for place, size, turn in zip(places, sizes, turns, strict=True)]
    return [roof for roof in roofs if not roof.intersects(taken) and _on_floor(roof, terrain)]


def divide_fields(recipe: Recipe, terrain: Terrain) -> Fields:
    """Return the parcels of the farmed valley floor, on `Frame.ground`.

    Within a block of some hundred metres all parcels lie in one direction, with uneven widths.
    """
    random = recipe.random("fields")
    shape = terrain.height_m.shape
    farmed = terrain.valley_floor & (terrain.slope_deg < _STEEPEST_FIELD_DEG)
    farmed &= smooth_field(random, shape, CELL_M, range_m=500.0) > _FARMED
    parcel = np.full(shape, -1, dtype=np.int32)
    rows, columns = np.nonzero(farmed)
    if not rows.size:
        return Fields(parcel, 0)
    blocks = max(1, round(max(shape) * CELL_M / _BLOCK_M)) + 1
    angle = random.uniform(0, np.pi, (blocks, blocks))
    block = (rows * CELL_M / _BLOCK_M).astype(int), (columns * CELL_M / _BLOCK_M).astype(int)
    turn = angle[np.minimum(block[0], blocks - 1), np.minimum(block[1], blocks - 1)]
    x, y = columns * CELL_M, rows * CELL_M
    along = (x * np.cos(turn) + y * np.sin(turn)) / _FIELD_M[1]
    across = (y * np.cos(turn) - x * np.sin(turn)) / _FIELD_M[0]
    across += 0.25 * np.sin(2 * np.pi * across / 2.7)  # uneven widths
    key = np.stack([block[0], block[1], np.floor(along).astype(int), np.floor(across).astype(int)])
    _, number = np.unique(key, axis=1, return_inverse=True)
    parcel[rows, columns] = number.ravel()
    return Fields(parcel, int(number.max()) + 1)


def _beside(river: River, terrain: Terrain) -> LineString | None:
    """Return the line of a road that follows a river where the ground is gentle, or None if it is too short for one."""
    smooth = river.line.simplify(2.0)
    moved = smooth.offset_curve((0.5 + BANK_SHARE) * river.width_m + _ROAD_FROM_GRAVEL_M)
    longest = max(shapely.get_parts(moved), key=lambda part: part.length, default=LineString())
    if longest.length <= _SHORTEST_ROAD_M:
        return None
    places = np.arange(0.0, longest.length, _ROAD_STEP_M)
    points = shapely.get_coordinates(shapely.line_interpolate_point(longest, places))
    columns, rows = np.floor(~terrain.frame.ground.affine * points.T).astype(int)
    last = terrain.frame.cells - 1
    slope = terrain.slope_deg[np.clip(rows, 0, last), np.clip(columns, 0, last)]
    stretch, count = label(uniform_filter1d(slope, round(_STEEP_OVER_M / _ROAD_STEP_M)) < _STEEPEST_ROAD_DEG)
    if not count:
        return None
    kept = np.flatnonzero(stretch == np.bincount(stretch[stretch > 0]).argmax()) * _ROAD_STEP_M
    road = substring(longest, kept[0], kept[-1])
    return road if road.length > _SHORTEST_ROAD_M else None


def _village_places(terrain: Terrain) -> NDArray[np.float64]:
    """Return the middles of the villages, (village, xy) in the CRS: where most floor is around, far from each other."""
    frame = terrain.frame
    around = int(2 * _VILLAGE_M / CELL_M)
    floor = uniform_filter(terrain.valley_floor.astype(np.float32), around)
    rows, columns = frame.inner
    inside = np.zeros(floor.shape, dtype=np.bool_)
    inside[rows, columns] = True
    floor[~inside | ~binary_erosion(terrain.valley_floor, iterations=2)] = 0
    x, y = centres_m(frame.ground)
    places: list[tuple[float, float]] = []
    wanted = 1 + round(frame.tile_cells**2 * CELL_M**2 / 1e6 / _GROUND_PER_VILLAGE_KM2)
    while len(places) < wanted and floor.max() > 0:
        row, column = np.unravel_index(int(floor.argmax()), floor.shape)
        places.append((x[column], y[row]))
        near = 6 * around
        floor[max(0, row - near) : row + near, max(0, column - near) : column + near] = 0
    return np.array(places).reshape(-1, 2)


def _rectangle(place: NDArray[np.float64], size: NDArray[np.float64], turn: float) -> Polygon:
    across, along = (
        np.array([np.cos(turn), np.sin(turn)]) * size[0] / 2,
        np.array([-np.sin(turn), np.cos(turn)]) * size[1] / 2,
    )
    return Polygon([place + across + along, place - across + along, place - across - along, place + across - along])


def _on_floor(shape: Polygon, terrain: Terrain) -> bool:
    row, column = _cell_of(shape.centroid.x, shape.centroid.y, terrain.frame)
    inside = 0 <= row < terrain.frame.cells and 0 <= column < terrain.frame.cells
    return inside and bool(terrain.valley_floor[row, column])


def _cell_of(x_m: float, y_m: float, frame: Frame) -> tuple[int, int]:
    column, row = ~frame.ground.affine * (x_m, y_m)
    return int(np.floor(row)), int(np.floor(column))
