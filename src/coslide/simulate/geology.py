"""The fault that breaks in a simulated earthquake, the folded rocks around it, and the maps of both."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import shapely
from affine import Affine
from numpy.typing import ArrayLike
from rasterio.features import shapes, sieve
from shapely import LineString, Polygon
from shapely.geometry import shape

from coslide.io.atomic import write_json
from coslide.simulate.fields import NODES_M, coarse_field, smooth_field
from coslide.simulate.frame import CRS, PIXEL_M, Codes, Frame, Numbers, Terrain, apply_affine
from coslide.simulate.recipe import AGES, Recipe

# log10 of length along strike and of width down dip in km = a + b M, for the rupture below the surface: Wells and
# Coppersmith (1994), Table 2A, "RLD" and "RW".
_LENGTH = {"reverse": (-2.42, 0.58), "strike-slip": (-2.57, 0.62)}
_WIDTH = {"reverse": (-1.61, 0.41), "strike-slip": (-0.76, 0.27)}

_VERTEX_M = 250.0
_OFF_CENTRE, _FARTHEST_M = 0.35, 4000.0  # from the middle of the scene passes the trace, of half its side and at most
_OFF_ALONG = 0.15  # of the length, at most this far is the middle of the rupture from where it passes the scene
_BENDS = ((1.0, 0.020), (0.30, 0.020), (0.11, 0.015))  # wavelength as a share of the length, amplitude of wavelength

SEISMOGENIC, INACTIVE = "seismogenic", "inactive"
"""Names of the two faults of `write_faults`."""

_WAVELENGTH_M, _AMPLITUDE_M = (3500.0, 6500.0), (250.0, 450.0)  # of the folds
_AXIS_OFF_DEG = 12.0  # between fold axes and the fault, at most
_PLUNGE_DEG = 3.0  # of the axes, at most
_WARP_M, _WARP_RANGE_M = 500.0, 6000.0  # sideways, so that axes are not straight
_UNEVEN_M, _UNEVEN_RANGE_M = 120.0, 3000.0
_THROW_M = {"reverse": (350.0, 700.0), "strike-slip": (120.0, 300.0)}  # of all earthquakes on the fault together
_SHARES = (0.6, 1.4)  # of the scene under each age, relative to each other
_SAMPLED = 4

_MAP_PX = 3  # of 10 m in a pixel of the map, along each side
_MAP_RANGE_M = 500.0  # over which its errors are alike
_SMALLEST_PX = 12  # 1 ha, 2 x 2 mm on a map of 1 : 50 000
_STRAIGHTENED_M = 45.0

_WRITTEN = "2022-05-16T00:00:00.000Z"  # what GeoPackage notes as the time of the last change


@dataclass(frozen=True)
class Rupture:
    """A rupture, ``"reverse"`` or ``"strike-slip"``, whose surface follows the bends of its trace with the same dip.

    The strike is clockwise from grid north; the fault dips to the right of it. `width_km` counts down dip from the
    upper edge at the depth `top_km`: rock above it is displaced, but radiates little. `middle_m` is the easting and
    northing of the middle of the trace, had it no bends, each an (amplitude_m, wavelength_m, phase); `epicentre_m` that
    of the epicentre, `depth_km` the depth of the hypocentre.
    """

    style: str
    magnitude: float
    strike_deg: float
    dip_deg: float
    length_km: float
    width_km: float
    top_km: float
    middle_m: tuple[float, float]
    bends: tuple[tuple[float, float, float], ...]
    epicentre_m: tuple[float, float]
    depth_km: float

    @property
    def trace(self) -> LineString:
        """Where the fault meets the surface, along the length of the rupture, in the CRS of the frame."""
        return LineString(self._line(0.0))

    @property
    def projection(self) -> Polygon:
        """The rupture seen from above, in the CRS of the frame."""
        dip = math.radians(self.dip_deg)
        near_m = 1000 * self.top_km / math.tan(dip)
        far_m = near_m + 1000 * self.width_km * math.cos(dip)
        return Polygon(np.concatenate([self._line(near_m), self._line(far_m)[::-1]]))

    def side(self, x_m: ArrayLike, y_m: ArrayLike) -> Numbers:
        """Measure how far places lie from the line of the trace, at right angles to the strike, in metres.

        Positive over the hanging wall (to the right of strike), negative over the footwall. The line goes on, with its
        bends, beyond the ends of the trace. Coordinates in the CRS of the frame are broadcast against each other.
        """
        along, across = self.along_across(x_m, y_m)
        return across - self._bend_m(along)

    def along_across(self, x_m: ArrayLike, y_m: ArrayLike) -> tuple[Numbers, Numbers]:
        """Measure distances in metres along strike and to its right, from the middle of the trace."""
        found = apply_affine(~_local(self.strike_deg, self.middle_m), *np.broadcast_arrays(x_m, y_m))
        return found[..., 0], found[..., 1]

    def distance_km(self, x_m: ArrayLike, y_m: ArrayLike) -> Numbers:
        """Measure the Joyner-Boore distance in km: to the surface projection of the rupture, 0 above it."""
        return np.asarray(shapely.distance(self.projection, shapely.points(*np.broadcast_arrays(x_m, y_m))) / 1000)

    def trace_distance_km(self, x_m: ArrayLike, y_m: ArrayLike) -> Numbers:
        """Measure the distance to the trace in km."""
        return np.asarray(shapely.distance(self.trace, shapely.points(*np.broadcast_arrays(x_m, y_m))) / 1000)

    def _line(self, across_m: float) -> Numbers:
        """Place points (point, xy) along the rupture, so far to the right of its trace."""
        half_m = 500 * self.length_km
        along = np.linspace(-half_m, half_m, math.ceil(2 * half_m / _VERTEX_M) + 1)
        return apply_affine(_local(self.strike_deg, self.middle_m), along, self._bend_m(along) + across_m)

    def _bend_m(self, along: Numbers) -> Numbers:
        parts = (amplitude * np.sin(along * (2 * np.pi / length) + phase) for amplitude, length, phase in self.bends)
        return np.asarray(sum(parts))


def _local(strike_deg: float, middle_m: tuple[float, float]) -> Affine:
    """Lay axes along strike and to its right."""
    sine, cosine = math.sin(math.radians(strike_deg)), math.cos(math.radians(strike_deg))
    return Affine(sine, cosine, middle_m[0], cosine, -sine, middle_m[1])


def make_rupture(recipe: Recipe, frame: Frame) -> Rupture:
    """Draw the rupture of a simulated earthquake: magnitude 6.3 to 6.8, reverse or strike-slip.

    Length and width are the medians for the magnitude (`rupture_size_km`). The trace crosses the scene, a few km from
    its middle.
    """
    random = recipe.random("rupture")
    reverse = bool(random.random() < 0.6)
    style = "reverse" if reverse else "strike-slip"
    magnitude = round(float(random.uniform(6.3, 6.8)), 1)
    length, width = rupture_size_km(magnitude, style)
    strike = float(random.uniform(0, 360))
    dip_deg = float(random.uniform(40, 60) if reverse else random.uniform(75, 86))
    top = float(random.uniform(0.5, 2.5))
    off = float(random.uniform(-1, 1)) * min(_OFF_CENTRE * frame.scene_px * PIXEL_M / 2, _FARTHEST_M)
    along = float(random.uniform(-_OFF_ALONG, _OFF_ALONG)) * 1000 * length
    bends = []
    for share, amplitude in _BENDS:
        metres = share * 1000 * length * float(random.uniform(0.8, 1.2))
        bends.append((amplitude * metres, metres, float(random.uniform(0, 2 * math.pi))))
    down = float(random.uniform(0.5, 0.8)) * width
    start = float(random.uniform(-0.3, 0.3)) * 1000 * length

    local = _local(strike, frame.scene_box.centroid.coords[0])
    dip = math.radians(dip_deg)
    return Rupture(
        style=style,
        magnitude=magnitude,
        strike_deg=strike,
        dip_deg=dip_deg,
        length_km=length,
        width_km=width,
        top_km=top,
        middle_m=local * (along, off),
        bends=tuple(bends),
        epicentre_m=local * (along + start, off + 1000 * (down * math.cos(dip) + top / math.tan(dip))),
        depth_km=top + down * math.sin(dip),
    )


def rupture_size_km(magnitude: float, style: str) -> tuple[float, float]:
    """Compute the median length along strike and width down dip in km of ruptures of a moment magnitude.

    Wells and Coppersmith (1994), BSSA 84, 974-1002, doi:10.1785/BSSA0840040974, Table 2A.
    """
    (a, b), (c, d) = _LENGTH[style], _WIDTH[style]
    return 10 ** (a + b * magnitude), 10 ** (c + d * magnitude)


def write_faults(path: Path, recipe: Recipe, rupture: Rupture) -> None:
    """Write two fault traces as GeoJSON: the one that broke, named "seismogenic", and one named "inactive".

    The inactive one crosses the footwall at an angle; nothing of the earthquake depends on it.
    """
    random = recipe.random("inactive fault")
    strike = rupture.strike_deg + float(random.choice([-1.0, 1.0]) * random.uniform(30, 70))
    beside = _local(rupture.strike_deg, rupture.middle_m) * (0.0, -float(random.uniform(3500, 6500)))
    inactive = dataclasses.replace(
        rupture,
        strike_deg=strike,
        length_km=float(random.uniform(12, 18)),
        middle_m=beside,
        bends=tuple((*bend[:2], float(random.uniform(0, 2 * math.pi))) for bend in rupture.bends),
    )
    names = {"name": [SEISMOGENIC, INACTIVE]}
    faults = gpd.GeoDataFrame(names, geometry=[rupture.trace, inactive.trace], crs=CRS).to_crs("EPSG:4326")
    faults.geometry = faults.transform(lambda places: np.round(places, 7))
    write_json(path, faults.to_geo_dict(drop_id=True))


def make_strata(recipe: Recipe, terrain: Terrain, rupture: Rupture) -> Codes:
    """Make the age of the rock at the surface, uint8 (row, col): 1 for the oldest of `AGES` to 8 for the youngest.

    Layers one above the other are bent into folds whose axes run about along the fault and plunge a little; the hanging
    wall has been lifted along the fault. Where the folds and the fault have brought layers up, or valleys cut deep, the
    rock at the surface is old. The level of a place in the pile of layers is its height less how far folds and fault
    have lifted them there; an age is an interval of levels, such that each has its share of the scene.
    """
    frame, random = terrain.frame, recipe.random("folds")
    axis = math.radians(float(random.uniform(-_AXIS_OFF_DEG, _AXIS_OFF_DEG)))
    wavelength, amplitude = (float(random.uniform(*limits)) for limits in (_WAVELENGTH_M, _AMPLITUDE_M))
    phase, plunge = float(random.uniform(0, 2 * math.pi)), float(random.uniform(-_PLUNGE_DEG, _PLUNGE_DEG))

    def lifted(x: Numbers, y: Numbers) -> Numbers:
        a, b = rupture.along_across(x, y)
        along, across = a * math.cos(axis) + b * math.sin(axis), b * math.cos(axis) - a * math.sin(axis)
        warp = _WARP_M * smooth_field(random, across.shape, NODES_M, range_m=_WARP_RANGE_M)
        uneven = _UNEVEN_M * smooth_field(random, across.shape, NODES_M, range_m=_UNEVEN_RANGE_M)
        folds = amplitude * np.sin((across + warp) * (2 * math.pi / wavelength) + phase)
        return folds + along * math.tan(math.radians(plunge)) + uneven

    throw_m = np.float32(recipe.random("throw").uniform(*_THROW_M[rupture.style]))
    hanging = coarse_field(frame.grid, NODES_M, rupture.side).at(frame.grid) > 0
    level = terrain.height_m - coarse_field(frame.grid, NODES_M, lifted).at(frame.grid) - throw_m * hanging
    shares = recipe.random("shares").uniform(*_SHARES, len(AGES))
    below = np.cumsum(shares)[:-1] / shares.sum()
    edges = np.quantile(level[frame.inner][::_SAMPLED, ::_SAMPLED], below)
    return np.asarray(np.digitize(level, edges) + 1, dtype=np.uint8)


def write_geology(path: Path, recipe: Recipe, frame: Frame, strata: Codes) -> None:
    """Write the geological map of the frame as a GeoPackage of polygons with the field ``age``, as one of 1 : 50 000.

    Boundaries are displaced, each way by a standard deviation of `Difficulty.map_error_m` that varies over 500 m, drawn
    with straight pieces of some 50 m, and areas below 1 ha are left out. The polygons cover the whole frame once.
    """
    random, size = recipe.random("geological map"), frame.side_px // _MAP_PX
    moves = [smooth_field(random, (size, size), _MAP_PX * PIXEL_M, range_m=_MAP_RANGE_M) for _ in range(2)]
    places = np.indices((size, size)) * _MAP_PX + _MAP_PX // 2 + recipe.hardness.map_error_m / PIXEL_M * np.array(moves)
    rows, columns = np.clip(np.rint(places).astype(np.int64), 0, frame.side_px - 1)
    drawn = without_small(strata[rows, columns])
    affine = frame.grid.affine * Affine.scale(_MAP_PX)
    areas = [(shape(outline), AGES[int(code) - 1]) for outline, code in shapes(drawn, connectivity=4, transform=affine)]
    outlines, ages = zip(*areas, strict=True)
    # A vertex at every corner of a pixel: where three areas meet, all of them must have one.
    corners = shapely.transform(shapely.segmentize(list(outlines), _MAP_PX * PIXEL_M), np.rint)
    smooth = shapely.coverage_simplify(corners, _STRAIGHTENED_M, simplify_boundary=False)
    write_gpkg(gpd.GeoDataFrame({"age": ages}, geometry=smooth, crs=CRS), path)


def without_small(codes: Codes) -> Codes:
    """Replace areas below 1 ha by their largest neighbours, in uint8 (row, col) of 30 m; one pass may leave a few."""
    fewer = sieve(codes, size=_SMALLEST_PX, connectivity=4)
    while not np.array_equal(fewer, codes):
        codes, fewer = fewer, sieve(fewer, size=_SMALLEST_PX, connectivity=4)
    return np.asarray(fewer, dtype=np.uint8)


def write_gpkg(table: gpd.GeoDataFrame, path: Path) -> None:
    """Write a table as a GeoPackage with one layer named as the file; the same table, the same bytes.

    A file that is there is replaced; GDAL alone would leave traces of it.
    """
    path.unlink(missing_ok=True)
    before = pyogrio.get_gdal_config_option("OGR_CURRENT_DATE")
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": _WRITTEN})
    try:
        table.to_file(path, driver="GPKG", layer=path.stem, index=False)
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": before})
