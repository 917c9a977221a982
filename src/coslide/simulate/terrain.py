"""The terrain of a simulated earthquake at 10 m, and the elevation model that one would have of it."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.warp import Resampling, reproject, transform_bounds
from scipy.ndimage import gaussian_filter

from coslide.simulate.drainage import FOOTSLOPE_M, Drainage, cut_beds, drain, floor_level, trace_courses
from coslide.simulate.fields import rough_field, smooth_field
from coslide.simulate.frame import PIXEL_M, Floats, Frame, Mask, Terrain, Window, terrain_of
from coslide.simulate.mountains import STEP_M, STEP_PX, carve_mountains, limit_slope, refine, stretch
from coslide.simulate.recipe import Recipe

FLOOR_SHARE = 0.045  # of the area that is valley floor
_FLATTEST_DEG = 12.0  # slope below which filled terrain is valley floor
_ROUGH_M, _ROUGH_RANGE_M = 7.0, 300.0  # typical height of the relief below the 30 m grid, on slopes of 45 degrees
_UNEVEN_M = 0.25  # of a valley floor
_CLIFF = 1.5  # tangent of the steepest slope in detail
_BORDER = 4  # pixels of 30 m around the area, for interpolation

NODATA = -9999.0
_PER_DEGREE = 3600  # pixels of one arc second
_DEM_PIXEL_M = 30.0  # about
_ERROR_M, _ERROR_RANGE_M = 1.0, 2000.0
_RIM_PX = 2


def make_terrain(recipe: Recipe, frame: Frame) -> Terrain:
    """Make the terrain before the earthquake.

    `carve_mountains` at 30 m; rivers fill their valleys to a flat floor (`floor_level`); on the 10 m grid steep slopes
    get the small relief of rock, rivers get their beds, and depressions are filled, so that the water of every pixel
    reaches the edge.

    The relief of the scene is exactly `Recipe.relief_m`, its lowest height 1500 m. Channels, the pixels with more than
    `channel_head_m2` of drained area, are `drainage_per_km` long per km2, to about 20 % on 12 km; a smaller scene holds
    few of them.
    """
    coarse, inner = carve_mountains(recipe, frame)
    flow = drain(coarse)
    area = flow.upstream_area_m2(STEP_M**2)
    level = floor_level(flow, area, inner, FLOOR_SHARE)
    corner = frame.grid.affine * Affine.translation(*(-STEP_PX * part.start for part in inner[::-1]))
    courses = trace_courses(flow, area, inner, level_m=level, affine=corner * Affine.scale(STEP_PX))
    height, filled = _refine(recipe, coarse, level, inner)
    cut_beds(height, courses, frame.grid.affine)
    height = drain(limit_slope(height, PIXEL_M, _CLIFF)).height_m
    fine = drain(stretch(height, height[frame.inner], recipe.relief_m))
    terrain = terrain_of(
        frame,
        fine.height_m,
        drained_m2=fine.upstream_area_m2(_inflow(fine.height_m, flow, area, inner)),
        rivers=tuple(sorted((course.river for course in courses), key=lambda river: -river.width_m)),
    )
    return replace(terrain, valley_floor=filled & (terrain.slope_deg < _FLATTEST_DEG))


def write_dem(path: Path, recipe: Recipe, terrain: Terrain) -> None:
    """Write the elevation in metres as a GeoTIFF in degrees, one arc second, as Copernicus GLO-30 has it.

    Each pixel is the mean of the terrain in it, plus an error that varies slowly (standard deviation 1 m, correlated
    over 2 km), about the absolute error of such models. EPSG:4326, float32, tiled, deflate; the edges lie on whole arc
    seconds. Pixels that the square of the frame does not touch are -9999.
    """
    grid = dem_grid(terrain.frame)
    height = np.full(grid.shape, NODATA, dtype=np.float32)
    reproject(
        terrain.height_m,
        height,
        src_transform=terrain.frame.grid.affine,
        src_crs=str(terrain.frame.grid.crs),
        dst_transform=grid.affine,
        dst_crs="EPSG:4326",
        dst_nodata=NODATA,
        resampling=Resampling.average,
    )
    valid = height != np.float32(NODATA)
    error = smooth_field(recipe.random("dem"), height.shape, _DEM_PIXEL_M, range_m=_ERROR_RANGE_M)
    height[valid] += np.float32(_ERROR_M) * error[valid]
    profile = {
        "driver": "GTiff", "dtype": "float32", "count": 1, "nodata": NODATA,
        "width": height.shape[1], "height": height.shape[0], "crs": "EPSG:4326", "transform": grid.affine,
        "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "predictor": 3,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(height, 1)
        file.update_tags(1, units="m")


def dem_grid(frame: Frame) -> GeoBox:
    """Lay the grid of the elevation model: whole arc seconds around the frame, two pixels more on each side."""
    bounds = transform_bounds(str(frame.grid.crs), "EPSG:4326", *frame.grid.boundingbox.bbox, densify_pts=41)
    left, bottom = (math.floor(edge * _PER_DEGREE) - _RIM_PX for edge in bounds[:2])
    right, top = (math.ceil(edge * _PER_DEGREE) + _RIM_PX for edge in bounds[2:])
    affine = Affine(1 / _PER_DEGREE, 0, left / _PER_DEGREE, 0, -1 / _PER_DEGREE, top / _PER_DEGREE)
    return GeoBox((top - bottom, right - left), affine, "EPSG:4326")


def _refine(recipe: Recipe, height: Floats, level: Floats, inner: Window) -> tuple[Floats, Mask]:
    """Interpolate the 30 m grid on the frame at 10 m with valleys filled; also tell which pixels are filled."""
    around = tuple(slice(part.start - _BORDER, part.stop + _BORDER) for part in inner)
    coarse = height[around]
    random = recipe.random("detail")
    fine = _finer(coarse, 3)
    steep = np.hypot(*np.gradient(coarse, np.float32(STEP_M)))
    rough = rough_field(random, fine.shape, PIXEL_M, range_m=_ROUGH_RANGE_M)
    fine += rough * _finer(np.minimum(steep, 1.5) ** 2, 1) * np.float32(_ROUGH_M)
    # Where no river is, the floor lies far below the terrain and fills nothing.
    floor = _finer(gaussian_filter(np.maximum(level[around], coarse.min() - np.float32(1000)), 1.0), 1)
    floor += smooth_field(random, fine.shape, PIXEL_M, range_m=100.0) * np.float32(_UNEVEN_M)
    above = (fine - floor) / np.float32(FOOTSLOPE_M)
    # A smooth maximum of terrain and floor: the foot of the hillside rises gently.
    return floor + np.logaddexp(above, np.float32(0)) * np.float32(FOOTSLOPE_M), above < -1


def _finer(values: Floats, order: int) -> Floats:
    """Interpolate values of 30 m pixels, with their border, on the 10 m pixels without it."""
    cut = slice(_BORDER * STEP_PX, -_BORDER * STEP_PX)
    return np.ascontiguousarray(refine(values, STEP_PX, order)[cut, cut])


def _inflow(height: Floats, flow: Drainage, area: Floats, inner: Window) -> Floats:
    """Compute what each 10 m pixel adds to the drained area in m2: itself, and at the edge what flows in there."""
    source = np.full(height.shape, PIXEL_M**2, dtype=np.float32)
    inside = np.zeros(area.shape, dtype=np.bool_)
    inside[inner] = True
    within = inside.ravel()
    givers = np.flatnonzero(~within & within[flow.receiver])
    rows, columns = np.divmod(flow.receiver[givers], area.shape[1])
    rows, columns = STEP_PX * (rows - inner[0].start), STEP_PX * (columns - inner[1].start)
    steps = np.arange(STEP_PX)
    block = height[rows[:, None, None] + steps[:, None], columns[:, None, None] + steps]
    down, right = np.divmod(block.reshape(len(rows), -1).argmin(axis=1), STEP_PX)
    np.add.at(source, (rows + down, columns + right), area.reshape(-1)[givers])
    return source
