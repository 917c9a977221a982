"""The rocks of a simulated place: folded layers of eight ages that a fault displaces, and their map."""

import math
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import shapes, sieve
from shapely.geometry import shape

from coslide.indices.interpolation import CoarseField, coarse_axes
from coslide.simulate.frame import CELL_M, CRS, Frame, centres_m
from coslide.simulate.land import Terrain
from coslide.simulate.noise import smooth_field
from coslide.simulate.recipe import AGES, Recipe
from coslide.simulate.rupture import Rupture
from coslide.simulate.vectors import write_gpkg

Codes = NDArray[np.uint8]

_WAVELENGTH_M, _AMPLITUDE_M = (3500.0, 6500.0), (250.0, 450.0)  # of the folds
_AXIS_OFF_DEG = 12.0  # between fold axes and the fault, at most
_PLUNGE_DEG = 3.0  # of the axes, at most
_WARP_M, _WARP_RANGE_M = 500.0, 6000.0  # sideways, so that axes are not straight
_UNEVEN_M, _UNEVEN_RANGE_M = 120.0, 3000.0
_THROW_M = {"reverse": (350.0, 700.0), "strike-slip": (120.0, 300.0)}  # of all earthquakes on the fault together
_SHARES = (0.6, 1.4)  # of the tile under each age, relative to each other
_NODES_M = 100.0
_SAMPLED = 4
_STRIP_ROWS = 512

_MAP_CELLS = 3  # of the ground in a cell of the map, along each side
_MAP_RANGE_M = 500.0  # over which its errors are alike
_SMALLEST_CELLS = 12  # 1 ha, 2 x 2 mm on a map of 1 : 50 000
_STRAIGHTENED_M = 45.0


def make_strata(recipe: Recipe, terrain: Terrain, rupture: Rupture) -> Codes:
    """Return the age of the rock at the surface, uint8 (row, col): 1 for the oldest of `AGES` to 8 for the youngest.

    Layers one above the other are bent into folds whose axes run about along the fault and plunge a little; the hanging
    wall has been lifted along the fault. Where the folds and the fault have brought layers up, or valleys cut deep, the
    rock at the surface is old. Boundaries between ages lie such that each has its share of the tile.

    Parameters
    ----------
    recipe
        Its `seed` decides folds and shares.
    terrain
        The ground.
    rupture
        The fault that displaces the layers.

    Notes
    -----
    The level of a place in the pile of layers is its height less how far folds and fault have lifted the layers there;
    an age is an interval of levels. Layers are as thick everywhere, measured upright, and none is missing.
    """
    level = np.empty(terrain.height_m.shape, dtype=np.float32)
    frame = terrain.frame
    lifted = _lifted(recipe, frame, rupture)
    throw_m = float(recipe.random("throw").uniform(*_THROW_M[rupture.style]))
    x, y = centres_m(frame.ground)
    for top in range(0, frame.cells, _STRIP_ROWS):
        rows = slice(top, min(top + _STRIP_ROWS, frame.cells))
        hanging = rupture.side(x[None, :], y[rows, None]) > 0
        level[rows] = terrain.height_m[rows] - lifted.at(frame.ground[rows, :]) - np.float32(throw_m) * hanging
    shares = recipe.random("shares").uniform(*_SHARES, len(AGES))
    below = np.cumsum(shares)[:-1] / shares.sum()
    edges = np.quantile(level[frame.inner][::_SAMPLED, ::_SAMPLED], below)
    return np.asarray(np.digitize(level, edges) + 1, dtype=np.uint8)


def write_geology(path: Path, recipe: Recipe, frame: Frame, strata: Codes) -> None:
    """Write the geological map of the ground as a GeoPackage of polygons with the field ``age``, as one of 1 : 50 000.

    Boundaries are displaced, each way by a standard deviation of `Difficulty.map_error_m` that varies over 500 m, drawn
    with straight pieces of some 50 m, and areas below 1 ha are left out. The polygons cover the whole ground once.

    Parameters
    ----------
    path
        File to write.
    recipe
        Its `hardness` and its `seed` decide the errors.
    frame
        Where the ground lies.
    strata
        What is there, as `make_strata` returns it.
    """
    drawn = _without_small(_displaced(recipe, frame, strata))
    ground = frame.ground.affine
    affine = ground * Affine.scale(_MAP_CELLS)
    areas = [(shape(outline), AGES[int(code) - 1]) for outline, code in shapes(drawn, connectivity=4, transform=affine)]
    outlines, ages = zip(*areas, strict=True)
    # A vertex at every corner of a cell: where three areas meet, all of them must have one.
    corners = shapely.transform(shapely.segmentize(list(outlines), _MAP_CELLS * CELL_M), np.rint)
    smooth = shapely.coverage_simplify(corners, _STRAIGHTENED_M, simplify_boundary=False)
    write_gpkg(gpd.GeoDataFrame({"age": ages}, geometry=smooth, crs=CRS), path)


def _without_small(codes: Codes) -> Codes:
    """Return codes with areas below 1 ha taken by their largest neighbours; one pass may leave a few."""
    fewer = sieve(codes, size=_SMALLEST_CELLS, connectivity=4)
    while not np.array_equal(fewer, codes):
        codes, fewer = fewer, sieve(fewer, size=_SMALLEST_CELLS, connectivity=4)
    return np.asarray(fewer, dtype=np.uint8)


def _lifted(recipe: Recipe, frame: Frame, rupture: Rupture) -> CoarseField:
    """Return by how many metres folds have lifted the layers."""
    random = recipe.random("folds")
    spacing, first, (x, y) = coarse_axes(frame.ground, _NODES_M)
    axis = math.radians(rupture.strike_deg + float(random.uniform(-_AXIS_OFF_DEG, _AXIS_OFF_DEG)))
    sine, cosine = math.sin(axis), math.cos(axis)
    dx, dy = x[None, :] - rupture.middle_m[0], y[:, None] - rupture.middle_m[1]
    along, across = dx * sine + dy * cosine, dx * cosine - dy * sine
    sizes = (y.size, x.size)
    across = across + _WARP_M * smooth_field(random, sizes, spacing, range_m=_WARP_RANGE_M)
    wavelength, amplitude = (float(random.uniform(*limits)) for limits in (_WAVELENGTH_M, _AMPLITUDE_M))
    phase = float(random.uniform(0, 2 * math.pi))
    lifted = amplitude * np.sin(across * (2 * math.pi / wavelength) + phase)
    lifted += along * math.tan(math.radians(float(random.uniform(-_PLUNGE_DEG, _PLUNGE_DEG))))
    lifted += _UNEVEN_M * smooth_field(random, sizes, spacing, range_m=_UNEVEN_RANGE_M)
    return CoarseField(frame.ground, spacing, first, lifted.astype(np.float32))


def _displaced(recipe: Recipe, frame: Frame, strata: Codes) -> Codes:
    """Return strata at cells of 30 m, each taken from where the map's error has it from."""
    random = recipe.random("geological map")
    step_m = _MAP_CELLS * CELL_M
    size = frame.cells // _MAP_CELLS
    moves = [smooth_field(random, (size, size), step_m, range_m=_MAP_RANGE_M) for _ in range(2)]
    centre = np.arange(size) * _MAP_CELLS + _MAP_CELLS // 2
    scale = np.float32(recipe.hardness.map_error_m / CELL_M)
    rows, columns = (
        np.clip(np.rint(start + scale * move).astype(np.int64), 0, frame.cells - 1)
        for start, move in zip((centre[:, None], centre[None, :]), moves, strict=True)
    )
    taken: Codes = strata[rows, columns]
    return taken
