"""What a seismological service would publish of a simulated earthquake: its ShakeMap, and the traces of faults."""

import dataclasses
import itertools
import math
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import quoteattr

import numpy as np
import pyproj
from affine import Affine
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from shapely import LineString

from coslide.indices.classes import class_by_edges
from coslide.indices.interpolation import NodesField
from coslide.io.atomic import write_json
from coslide.io.coarse_raster import CoarseRaster
from coslide.simulate.dates import EVENT_TIME
from coslide.simulate.frame import CELL_M, CRS
from coslide.simulate.ground_motion import CORRELATION_KM, MARGIN_M, Shaking, pga_median_g, pga_phi
from coslide.simulate.recipe import Recipe
from coslide.simulate.rupture import Rupture

Numbers = NDArray[np.float64]

_NODES_PER_DEGREE = 120
_AROUND_DEGREES = 0.1
_STATION_KM2 = 150.0  # of ground for each station that records the shaking
_SITE_CELLS = 93  # 1/120 degree of latitude
_NAMESPACE = "http://earthquake.usgs.gov/eqcenter/shakemap"
_FIELDS = (("LON", "dd"), ("LAT", "dd"), ("PGA", "pctg"), ("MMI", "intensity"), ("STDPGA", "ln(pctg)"), ("SVEL", "m/s"))
_CM_S2_PER_G = 980.665
_CLASSES = 6

SEISMOGENIC, INACTIVE = "seismogenic", "inactive"
"""Names of the two faults of `write_fault`."""


class ShakeMapNodes(NamedTuple):
    """A ShakeMap at nodes of longitude and latitude.

    Attributes
    ----------
    lon_deg, lat_deg
        Of the columns, to the east, and of the rows, to the south; WGS 84.
    pga_g
        Estimate of the peak ground acceleration in g, (row, col).
    ln_std
        Standard deviation of its natural logarithm (no unit).
    vs30_m_s
        Of the sites, in m/s.
    stations
        How many stations it rests on.
    """

    lon_deg: Numbers
    lat_deg: Numbers
    pga_g: Numbers
    ln_std: Numbers
    vs30_m_s: Numbers
    stations: int


class _Stations(NamedTuple):
    x_m: Numbers
    y_m: Numbers
    residual: Numbers


def make_shakemap(recipe: Recipe, shaking: Shaking) -> ShakeMapNodes:
    """Return what a service would know of the shaking: the median of the model, corrected near its stations.

    The residual at a node is the expectation given the residuals at the stations, and its variance what is left: simple
    kriging with the correlation exp(-3 d / 8.5 km), as ShakeMap does it [1]_. So the map is smoother than the shaking
    was, and its standard deviation says by how much they differ.

    Parameters
    ----------
    recipe
        Its `seed` decides where stations stand, one for each 150 km2.
    shaking
        As it was.

    Notes
    -----
    Nodes lie every 1/120 degree, over the ground and 0.1 degree around it. Vs30 of a node is the geometric mean of some
    900 m, beyond the ground that of all of it; the standard deviation does not count that error, nor one of the event
    term (which is 0).

    References
    ----------
    .. [1] Worden, Thompson, Baker, Bradley, Luco, Wald (2018), Spatial and spectral interpolation of ground-motion
       intensity measure observations, BSSA 108, 866-875, doi:10.1785/0120170201.
    """
    lon, lat = _node_axes(shaking)
    x, y = _projected(*np.meshgrid(lon, lat))
    stations = _stations(recipe, shaking)
    vs30 = _vs30_at(shaking, x, y)
    rupture = shaking.rupture
    distance = rupture.distance_km(x, y)
    mean, variance = _conditioned(stations, x, y)
    phi = pga_phi(rupture.magnitude, distance, vs30)
    median = pga_median_g(rupture.magnitude, distance, vs30, style=rupture.style)
    return ShakeMapNodes(lon, lat, median * np.exp(phi * mean), phi * np.sqrt(variance), vs30, stations.x_m.size)


def write_shakemap(path: Path, recipe: Recipe, shaking: Shaking) -> None:
    """Write the ShakeMap of `make_shakemap` as ``grid.xml``, of the type ``SCENARIO``.

    PGA in percent of g, macroseismic intensity (`intensity`), the standard deviation of ln PGA and Vs30 in m/s.

    Parameters
    ----------
    path
        File to write.
    recipe
        Its `seed` is part of the event's id.
    shaking
        As it was.
    """
    nodes = make_shakemap(recipe, shaking)
    lon, lat = np.meshgrid(nodes.lon_deg, nodes.lat_deg)
    columns = (lon, lat, 100 * nodes.pga_g, intensity(nodes.pga_g), nodes.ln_std, nodes.vs30_m_s)
    form = "%.6f %.6f %.4g %.2f %.4f %.1f"
    rows = [form % values for values in zip(*(column.ravel().tolist() for column in columns), strict=True)]
    lines = [*_header(recipe, shaking, nodes), "<grid_data>", *rows, "</grid_data>", "</shakemap_grid>", ""]
    path.write_text("\n".join(lines), encoding="utf-8", newline="\n")


def levels_g(recipe: Recipe, shaking: Shaking) -> tuple[float, ...]:
    """Return five levels in g, rounded to 0.01 g, that divide the tile by PGA of its ShakeMap into six classes.

    Each class gets about a sixth of the tile. Where 0.01 g is too coarse for six classes, more digits are kept.

    Raises
    ------
    ValueError
        If the map has the same value all over the tile.
    """
    nodes = make_shakemap(recipe, shaking)
    step = 1 / _NODES_PER_DEGREE
    corner = Affine(step, 0, nodes.lon_deg[0] - step / 2, 0, -step, nodes.lat_deg[0] + step / 2)
    map_nodes = CoarseRaster(nodes.pga_g.astype(np.float32), corner, "EPSG:4326")
    pga = NodesField(map_nodes, shaking.frame.tile).sampled()
    wanted = np.quantile(pga, np.arange(1, _CLASSES) / _CLASSES)
    for digits in range(2, 7):
        levels = tuple(round(float(level), digits) for level in wanted)
        if len(np.unique(class_by_edges(pga, levels, lowest=0)) if _ascend(levels) else ()) == _CLASSES:
            return levels
    raise ValueError(f"shaking: found {pga.min():.4g} to {pga.max():.4g} g on the tile, expected different values")


def intensity(pga_g: Numbers) -> Numbers:
    """Return the macroseismic intensity (MMI, 1 to 10) that goes with a peak ground acceleration.

    With Y in cm/s2, 1.78 + 1.55 log10 Y, and above log10 Y = 1.57 -1.60 + 3.70 log10 Y: Worden, Gerstenberger, Rhoades
    and Wald (2012, doi:10.1785/0120110156).

    Examples
    --------
    >>> intensity(np.array([0.02, 0.2, 0.5]))
    array([3.78, 6.88, 8.35])
    """
    log = np.log10(np.maximum(pga_g, 1e-6) * _CM_S2_PER_G)
    found: Numbers = np.clip(np.where(log <= 1.57, 1.78 + 1.55 * log, -1.60 + 3.70 * log), 1, 10)
    return found


def write_fault(path: Path, recipe: Recipe, rupture: Rupture) -> None:
    """Write two fault traces as GeoJSON: the one that broke, by the name "seismogenic", and one called "inactive".

    The inactive one crosses the footwall at an angle; nothing of the earthquake depends on it.

    Parameters
    ----------
    path
        File to write.
    recipe
        Its `seed` decides where the inactive fault lies.
    rupture
        What broke.
    """
    traces = {SEISMOGENIC: rupture.trace, INACTIVE: _inactive(recipe, rupture)}
    features = [
        {
            "type": "Feature",
            "properties": {"name": name},
            "geometry": {"type": "LineString", "coordinates": _degrees(line)},
        }
        for name, line in traces.items()
    ]
    write_json(path, {"type": "FeatureCollection", "features": features})


def _ascend(levels: tuple[float, ...]) -> bool:
    return all(low < high for low, high in itertools.pairwise(levels))


def _node_axes(shaking: Shaking) -> tuple[Numbers, Numbers]:
    """Return longitudes from west and latitudes from north of nodes on whole 1/120 degrees."""
    box = shaking.frame.ground.boundingbox
    to_degrees = pyproj.Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    west, south, east, north = to_degrees.transform_bounds(*box.bbox)
    first, last = (
        [math.floor((low - _AROUND_DEGREES) * _NODES_PER_DEGREE) for low in (west, south)],
        [math.ceil((high + _AROUND_DEGREES) * _NODES_PER_DEGREE) for high in (east, north)],
    )
    lon, lat = (np.arange(a, b + 1) / _NODES_PER_DEGREE for a, b in zip(first, last, strict=True))
    return lon, lat[::-1]


def _projected(lon: Numbers, lat: Numbers) -> tuple[Numbers, Numbers]:
    x, y = pyproj.Transformer.from_crs("EPSG:4326", CRS, always_xy=True).transform(lon, lat)
    return np.asarray(x), np.asarray(y)


def _degrees(line: LineString) -> list[list[float]]:
    x, y = np.asarray(line.coords).T
    lon, lat = pyproj.Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(x, y)
    return [[round(float(a), 7), round(float(b), 7)] for a, b in zip(lon, lat, strict=True)]


def _stations(recipe: Recipe, shaking: Shaking) -> _Stations:
    """Return stations on the ground and around it, and what the residual is there."""
    box = shaking.frame.ground.pad(round((MARGIN_M - 1000) / CELL_M)).boundingbox
    random = recipe.random("stations")
    side_m = box.right - box.left
    count = max(4, round((side_m / 1000) ** 2 / _STATION_KM2))
    x, y = box.left + side_m * random.random(count), box.bottom + side_m * random.random(count)
    at = [shaking.residual.node_value(a, b) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    return _Stations(x, y, np.array(at))


def _conditioned(stations: _Stations, x_m: Numbers, y_m: Numbers) -> tuple[Numbers, Numbers]:
    """Return mean and variance of the residual, in standard deviations, given what the stations recorded."""
    between = _correlation(stations, stations.x_m, stations.y_m)
    near = _correlation(stations, x_m, y_m)
    weights = np.linalg.solve(between, near.reshape(near.shape[0], -1)).reshape(near.shape)
    mean = (weights * stations.residual[:, None, None]).sum(axis=0)
    variance = np.clip(1 - (weights * near).sum(axis=0), 0, 1)
    return mean, variance


def _correlation(stations: _Stations, x_m: Numbers, y_m: Numbers) -> Numbers:
    """Return the correlation of each station, along the first axis, with each place."""
    rest = (slice(None), *(None for _ in range(x_m.ndim)))
    distance_km = np.hypot(x_m - stations.x_m[rest], y_m - stations.y_m[rest]) / 1000
    found: Numbers = np.exp(-3 * distance_km / CORRELATION_KM)
    return found


def _vs30_at(shaking: Shaking, x_m: Numbers, y_m: Numbers) -> Numbers:
    logs = np.log(shaking.vs30_m_s)
    typical = float(logs.mean(dtype=np.float64))
    smooth = uniform_filter(logs, _SITE_CELLS, mode="reflect")
    column, row = (np.floor(part).astype(np.int64) for part in ~shaking.frame.ground.affine * (x_m, y_m))
    rows, columns = shaking.frame.ground.shape
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    found = np.full(x_m.shape, typical)
    found[inside] = smooth[row[inside], column[inside]]
    vs30: Numbers = np.exp(found)
    return vs30


def _inactive(recipe: Recipe, rupture: Rupture) -> LineString:
    random = recipe.random("inactive fault")
    strike = rupture.strike_deg + float(random.choice([-1.0, 1.0]) * random.uniform(30, 70))
    away = math.radians(rupture.strike_deg - 90)
    off = float(random.uniform(3500, 6500))
    length = float(random.uniform(12, 18))
    bends = tuple((a, w, float(random.uniform(0, 2 * math.pi))) for a, w, _ in rupture.bends)
    x, y = rupture.middle_m
    middle = (x + off * math.sin(away), y + off * math.cos(away))
    return dataclasses.replace(rupture, strike_deg=strike, length_km=length, middle_m=middle, bends=bends).trace


def _header(recipe: Recipe, shaking: Shaking, nodes: ShakeMapNodes) -> list[str]:
    """Return the lines above the data."""
    rupture, when = shaking.rupture, EVENT_TIME.strftime("%Y-%m-%dT%H:%M:%S")
    lon, lat = pyproj.Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(*rupture.hypocentre_m)
    spacing = f"{1 / _NODES_PER_DEGREE:.6f}"
    name = f"coslide{recipe.seed}"
    about = {
        "xmlns": _NAMESPACE, "event_id": name, "shakemap_id": name, "shakemap_version": "1", "code_version": "coslide",
        "process_timestamp": when, "shakemap_originator": "coslide", "map_status": "RELEASED",
        "shakemap_event_type": "SCENARIO",
    }  # fmt: skip
    event = {
        "event_id": name, "magnitude": f"{rupture.magnitude:.1f}", "depth": f"{rupture.hypocentre_km:.1f}",
        "lat": f"{lat:.4f}", "lon": f"{lon:.4f}", "event_timestamp": when, "event_network": "coslide",
        "event_description": "Simulated earthquake",
    }  # fmt: skip
    specification = {
        "lon_min": f"{nodes.lon_deg[0]:.6f}", "lat_min": f"{nodes.lat_deg[-1]:.6f}",
        "lon_max": f"{nodes.lon_deg[-1]:.6f}", "lat_max": f"{nodes.lat_deg[0]:.6f}",
        "nominal_lon_spacing": spacing, "nominal_lat_spacing": spacing,
        "nlon": str(nodes.lon_deg.size), "nlat": str(nodes.lat_deg.size),
    }  # fmt: skip
    uncertainty = {"name": "pga", "value": f"{nodes.ln_std.mean():.4f}", "numsta": str(nodes.stations)}
    fields = [{"index": str(k), "name": field, "units": units} for k, (field, units) in enumerate(_FIELDS, start=1)]
    return [
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>',
        f"<shakemap_grid{_attributes(about)}>",
        f"<event{_attributes(event)} />",
        f"<grid_specification{_attributes(specification)} />",
        f"<event_specific_uncertainty{_attributes(uncertainty)} />",
        *(f"<grid_field{_attributes(field)} />" for field in fields),
    ]


def _attributes(values: dict[str, str]) -> str:
    return "".join(f" {key}={quoteattr(value)}" for key, value in values.items())
