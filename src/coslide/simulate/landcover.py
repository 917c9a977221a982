"""What covers the ground by nature: belts of plants, rock, old scars, rivers and their banks."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rasterio.features import rasterize
from shapely import Polygon
from shapely.geometry.base import BaseGeometry

from coslide.simulate.covers import Cover
from coslide.simulate.frame import CELL_M, Frame
from coslide.simulate.land import Terrain
from coslide.simulate.noise import cell_noise, rough_field, smooth_field
from coslide.simulate.recipe import Recipe

Covers8 = NDArray[np.uint8]
Floats = NDArray[np.float32]

# Upper edges of the belts, as shares of the relief, on slopes that face neither north nor south.
_BELTS = ((0.28, Cover.BROADLEAF), (0.66, Cover.CONIFER), (0.82, Cover.SHRUB), (np.inf, Cover.MEADOW))
_COOL_SIDE = 0.05  # how much lower the belts lie on north slopes, and higher on south slopes
_UNEVEN = 0.07  # how far they wander, as a standard deviation
_OPEN_BEYOND = 1.25  # deviations of a field beyond which a forest is open
_DRY_SIDE = 0.55  # of the south slopes' openness
_ROCK_SHARE = 0.6  # of the bare ground; the rest is old scars
# How readily the strata, D1 to T3, stand out as bare rock: limestones do, slates do not.
_STANDS_OUT = np.array([0.0, 0.5, 0.8, 0.6, 0.1, 0.3, -0.2, -0.5], dtype=np.float32)
_EDGE = 0.6  # of a 10 m cell: how far the outlines of patches are roughened
_STRIP_ROWS = 1024
BANK_SHARE = 0.7
"""Width of the bare gravel on each side of a river over that of its water."""


def natural_cover(recipe: Recipe, terrain: Terrain, strata: Covers8, scars: Sequence[Polygon]) -> Covers8:
    """Return what covers the ground without people and before the earthquake, a `Cover` in uint8, on `Frame.fine`.

    Belts of plants follow height, shifted by the side of the hill that they lie on; rock stands out where it is steep,
    convex and hard; `scars` are bare; rivers run between banks of gravel.

    Parameters
    ----------
    recipe
        Its seed, and `Difficulty.bare_share`.
    terrain
        The ground.
    strata
        uint8 (row, col) on `Frame.ground`, 1 to 8.
    scars
        Outlines of landslides long before the earthquake, in the CRS of the frame.
    """
    ground = _belts(recipe, terrain)
    ground[_outcrops(recipe, terrain, strata)] = Cover.OUTCROP
    cover = roughened(recipe, ground)
    burn(cover, scars, Cover.OLD_SCAR, terrain.frame)
    rivers = river_shapes(terrain)
    burn(cover, rivers.banks, Cover.GRAVEL, terrain.frame)
    burn(cover, rivers.water, Cover.WATER, terrain.frame)
    return cover


def old_scar_share(recipe: Recipe) -> float:
    """Return the share of the ground that old scars cover (no unit)."""
    return (1 - _ROCK_SHARE) * recipe.hardness.bare_share


class RiverShapes(NamedTuple):
    """Polygons of rivers in the CRS of the frame: the wider ones with their banks, and the water of all."""

    banks: list[BaseGeometry]
    water: list[BaseGeometry]


def river_shapes(terrain: Terrain) -> RiverShapes:
    """Return the polygons of the rivers of `terrain`."""
    wide = [river for river in terrain.rivers if river.width_m > CELL_M]
    banks = [river.line.buffer(river.width_m * (0.5 + BANK_SHARE)) for river in wide]
    return RiverShapes(banks, [river.line.buffer(river.width_m / 2) for river in terrain.rivers])


def burn(cover: Covers8, shapes: Sequence[BaseGeometry], value: int, frame: Frame) -> None:
    """Set the cells of `cover`, on `Frame.fine`, whose centre lies in one of `shapes`, to `value`."""
    if len(shapes):
        rasterize(shapes, out=cover, transform=frame.fine.affine, default_value=int(value))


def doubled(values: NDArray[Any]) -> NDArray[Any]:
    """Return values of 10 m cells, (row, col), on the 5 m cells that they consist of."""
    return np.repeat(np.repeat(values, 2, axis=0), 2, axis=1)


def roughened(recipe: Recipe, ground: Covers8) -> Covers8:
    """Return a raster of 10 m cells on 5 m cells, its outlines frayed: each cell looks a few metres beside itself."""
    rows, columns = 2 * ground.shape[0], 2 * ground.shape[1]
    fine = np.empty((rows, columns), dtype=np.uint8)
    seed = int(recipe.random("fray").integers(2**31))
    across = np.arange(columns, dtype=np.float32) / 2
    for top in range(0, rows, _STRIP_ROWS):
        shape = (min(_STRIP_ROWS, rows - top), columns)
        down = (np.arange(top, top + shape[0], dtype=np.float32) / 2)[:, None]
        row = (down + np.float32(_EDGE) * cell_noise(seed, shape, first_row=top)).round().astype(np.int32)
        column = (across + np.float32(_EDGE) * cell_noise(seed + 1, shape, first_row=top)).round().astype(np.int32)
        np.clip(row, 0, ground.shape[0] - 1, out=row)
        np.clip(column, 0, ground.shape[1] - 1, out=column)
        fine[top : top + shape[0]] = ground[row, column]
    return fine


def northness(aspect_deg: Floats, slope_deg: Floats) -> Floats:
    """Return how much a slope faces north: 1 for a steep northern one, -1 for a southern, 0 for flat ground."""
    tilt = np.minimum(slope_deg / np.float32(30), 1)
    return np.asarray(np.cos(np.radians(aspect_deg)) * tilt, dtype=np.float32)


def _belts(recipe: Recipe, terrain: Terrain) -> Covers8:
    random = recipe.random("belts")
    shape = terrain.height_m.shape
    lowest = terrain.height_m[terrain.frame.inner].min()
    level = (terrain.height_m - lowest) / np.float32(recipe.relief_m)
    north = northness(terrain.aspect_deg, terrain.slope_deg)
    level += np.float32(_COOL_SIDE) * north
    level += np.float32(_UNEVEN) * rough_field(random, shape, CELL_M, range_m=800.0, hurst=0.3)
    edges = np.array([edge for edge, _ in _BELTS[:-1]], dtype=np.float32)
    kinds = np.array([kind for _, kind in _BELTS], dtype=np.uint8)
    cover: Covers8 = kinds[np.searchsorted(edges, level)]
    openness = rough_field(random, shape, CELL_M, range_m=500.0, hurst=0.4) - np.float32(_DRY_SIDE) * north
    trees = cover <= Cover.BROADLEAF
    cover[trees & (openness > _OPEN_BEYOND)] = Cover.SHRUB
    cover[(trees | (cover == Cover.SHRUB)) & (openness > _OPEN_BEYOND + 0.5)] = Cover.MEADOW
    # Conifers and broad leaves mingle: each stands in the other's belt here and there.
    mixed = trees & (smooth_field(random, shape, CELL_M, range_m=60.0) > 1.2)
    swapped = np.where(cover == Cover.CONIFER, np.uint8(Cover.BROADLEAF), np.uint8(Cover.CONIFER))
    swap = mixed & (cover <= Cover.BROADLEAF)
    cover[swap] = swapped[swap]
    return cover


def _outcrops(recipe: Recipe, terrain: Terrain, strata: Covers8) -> NDArray[np.bool_]:
    """Return where rock is bare: the given share of the slopes, where they are steep, convex and of hard strata."""
    random = recipe.random("outcrops")
    score = terrain.slope_deg / np.float32(6)
    score += np.clip(terrain.mean_curvature_per_m * np.float32(150), -1, 1)
    score += _STANDS_OUT[strata - 1]
    score += rough_field(random, score.shape, CELL_M, range_m=300.0, hurst=0.3)
    slopes = ~terrain.valley_floor
    wanted = _ROCK_SHARE * recipe.hardness.bare_share
    return np.asarray(slopes & (score > np.quantile(score[slopes], 1 - wanted)))
