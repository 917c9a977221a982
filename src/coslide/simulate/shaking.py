"""How strongly a simulated earthquake shakes, by a ground-motion model, and the ShakeMap that a service makes of it."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from affine import Affine
from numpy.typing import ArrayLike, NDArray
from odc.geo.geobox import GeoBox
from scipy.ndimage import uniform_filter
from scipy.spatial.distance import cdist

from coslide.indices.interpolation import CoarseField, interpolate_raster
from coslide.io.raster import CoarseRaster
from coslide.simulate.documents import render
from coslide.simulate.fields import NODES_M, coarse_field, rough_field
from coslide.simulate.frame import EVENT_TIME, PIXEL_M, Floats, Frame, Numbers, to_degrees, to_metres
from coslide.simulate.geology import Rupture
from coslide.simulate.recipe import Recipe

MARGIN_M = 16_000.0  # so far beyond the frame the residual reaches; a ShakeMap covers more than the frame
CORRELATION_KM = 8.5  # distance at which the correlation of within-event residuals of PGA is exp(-3)
_LARGEST = 3.0  # standard deviations, as in studies of hazard

# Coefficients for PGA of Boore et al. (2014), as revised by them on 15 July 2014.
_E = {"strike-slip": 0.4856, "normal": 0.2459, "reverse": 0.4539}
_E4, _E5, _E6, _HINGE_MAGNITUDE = 1.431, 0.05053, -0.1662, 5.5
_C1, _C2, _C3, _MAGNITUDE, _DEPTH_KM = -1.134, 0.1917, -0.008088, 4.5, 4.5
_SITE, _FASTEST_M_S, _ROCK_M_S = -0.6, 1500.0, 760.0
_F3_G, _F4, _F5 = 0.1, -0.15, -0.00701
_PHI_SMALL, _PHI_LARGE = 0.695, 0.495  # below magnitude 4.5 and above 5.5
_PHI_FAR, _FAR_KM = 0.1, (110.0, 270.0)
_PHI_SOFT, _SOFT_M_S = 0.07, (225.0, 300.0)

# Slope (tangent) and Vs30 in m/s in active regions: Allen and Wald (2009), as the program grad2vs30 of the USGS has it.
_SLOPES = np.array([3.0e-4, 3.5e-3, 0.01, 0.018, 0.05, 0.10, 0.14])
_SPEEDS_M_S = np.array([180.0, 240.0, 300.0, 360.0, 490.0, 620.0, 760.0])
_SLOPE_PX = 27  # 270 m, nine arc seconds

_NODES_PER_DEGREE = 120
_AROUND_DEGREES = 0.1
_STATION_KM2 = 150.0  # of area for each station that records the shaking
_SITE_PX = 93  # 1/120 degree of latitude
_CLASSES = 6


@dataclass(frozen=True, eq=False)
class Shaking:
    """The shaking of a simulated earthquake.

    `pga_g` is the peak ground acceleration as it was, in g, `vs30_m_s` the mean speed of shear waves in the upper 30 m,
    both float32 on `Frame.grid`; `residual` tells by how many standard deviations ln PGA lies above its median, also
    `MARGIN_M` beyond the frame.
    """

    frame: Frame
    rupture: Rupture
    pga_g: Floats
    vs30_m_s: Floats
    residual: CoarseField


def make_shaking(recipe: Recipe, frame: Frame, rupture: Rupture, slope_deg: Floats) -> Shaking:
    """Shake the frame: the median of a ground-motion model times a residual within the event.

    Median and standard deviation are those of `pga_median_g` and `pga_phi`, with Vs30 from the slope (`vs30_of`). The
    residual is Gaussian with correlation exp(-3 d / 8.5 km) (Jayaram & Baker 2009, doi:10.1002/eqe.922, equations 17
    and 20, period 0, sites that differ), cut off at three standard deviations, and drawn every 100 m. That of the event
    as a whole is 0; directivity and the focusing of waves on ridges are left out.
    """
    # A spectrum that falls as (k² + (2 pi a)^-2)^-1.5 is that of exp(-d / a) in the plane: the "Hurst exponent" 0.5.
    range_m = 2 * math.pi * 1000 * CORRELATION_KM / 3
    random = recipe.random("residual")

    def nodes(x: Numbers, y: Numbers) -> Floats:
        drawn = rough_field(random, (y.size, x.size), NODES_M, range_m=range_m, hurst=0.5)
        return np.clip(drawn, -_LARGEST, _LARGEST)

    residual = coarse_field(frame.grid.pad(round(MARGIN_M / PIXEL_M)), NODES_M, nodes)
    distance_km = coarse_field(frame.grid, NODES_M, rupture.distance_km).at(frame.grid)
    vs30 = vs30_of(slope_deg)
    median = pga_median_g(rupture.magnitude, distance_km, vs30, style=rupture.style)
    pga = median * np.exp(residual.at(frame.grid) * pga_phi(rupture.magnitude, distance_km, vs30))
    return Shaking(frame, rupture, pga.astype(np.float32), vs30, residual)


def pga_median_g(magnitude: float, distance_km: ArrayLike, vs30_m_s: ArrayLike, *, style: str) -> NDArray[np.floating]:
    """Compute the median peak ground acceleration in g for shallow earthquakes of active regions.

    The model of Boore, Stewart, Seyhan and Atkinson (2014), Earthq. Spectra 30, 1057-1085, doi:10.1193/070113EQS184M,
    equations 1 to 12, without regional adjustments: ln PGA is the sum of a source term in magnitude M and style, a path
    term in R = sqrt(distance² + 4.5²), and a site term in Vs30 that is linear for weak and less for strong shaking. The
    component is RotD50, a little less than ShakeMap's larger horizontal one.

    `magnitude` is the moment magnitude, 3 to 8.5; `distance_km` the Joyner-Boore distance up to 400 km, broadcast
    against `vs30_m_s`, 150 to 1500; `style` ``"reverse"``, ``"strike-slip"`` or ``"normal"``.

    Examples
    --------
    >>> pga_median_g(6.5, [0.0, 10.0], 760.0, style="reverse")
    array([0.419, 0.204])
    """
    r = np.sqrt(np.square(distance_km) + _DEPTH_KM**2)
    above = magnitude - _HINGE_MAGNITUDE
    source = _E[style] + (_E6 * above if above > 0 else _E4 * above + _E5 * above**2)
    ln_rock = source + (_C1 + _C2 * (magnitude - _MAGNITUDE)) * np.log(r) + _C3 * (r - 1)
    linear = _SITE * np.log(np.minimum(vs30_m_s, _FASTEST_M_S) / _ROCK_M_S)
    softness = np.exp(_F5 * (np.minimum(vs30_m_s, _ROCK_M_S) - 360)) - math.exp(_F5 * (_ROCK_M_S - 360))
    return np.exp(ln_rock + linear + _F4 * softness * np.log1p(np.exp(ln_rock) / _F3_G))


def pga_phi(magnitude: float, distance_km: ArrayLike, vs30_m_s: ArrayLike) -> NDArray[np.floating]:
    """Compute the standard deviation of ln PGA within an earthquake (no unit).

    Equations 15 to 17 of Boore et al. (2014); arguments as those of `pga_median_g`.
    """
    phi = _PHI_SMALL + (_PHI_LARGE - _PHI_SMALL) * min(max(magnitude - 4.5, 0.0), 1.0)
    near, far = _FAR_KM
    remote = np.log(np.clip(distance_km, near, far) / near) / math.log(far / near)
    soft, firm = _SOFT_M_S
    softness = np.log(firm / np.clip(vs30_m_s, soft, firm)) / math.log(firm / soft)
    return np.asarray(phi + _PHI_FAR * remote - _PHI_SOFT * softness)


def vs30_of(slope_deg: Floats) -> Floats:
    """Estimate Vs30 in m/s from the slope in degrees of 10 m pixels, float32 of the same shape.

    Steep slopes are rock, flat ones are sediment (Wald & Allen 2007, doi:10.1785/0120060267): 180 m/s at a tangent of
    0.0003 and below, 760 m/s at 0.14 and above, between those and five more points linear in the logarithms of both.
    The tangents are averaged over 270 m (nine arc seconds, a resolution for which Allen & Wald 2009,
    doi:10.1785/0120080255, found the relation to hold); beyond the edge they are mirrored.

    Examples
    --------
    >>> vs30_of(np.full((1, 2), np.rad2deg(np.arctan(0.05)), dtype=np.float32))
    array([[490., 490.]], dtype=float32)
    """
    mean = uniform_filter(np.tan(np.deg2rad(slope_deg)), _SLOPE_PX, mode="reflect")
    speed = np.interp(np.log(np.maximum(mean, np.float32(_SLOPES[0]))), np.log(_SLOPES), np.log(_SPEEDS_M_S))
    return np.asarray(np.exp(speed), dtype=np.float32)


class ShakeMapNodes(NamedTuple):
    """A ShakeMap at nodes of longitude (of the columns, to the east) and latitude (of the rows, to the south).

    `pga_g` is the estimate of the peak ground acceleration in g, `ln_std` the standard deviation of its natural
    logarithm, (row, col); `stations` the number of stations that it rests on.
    """

    lon_deg: Numbers
    lat_deg: Numbers
    pga_g: NDArray[np.floating]
    ln_std: NDArray[np.floating]
    stations: int


def make_shakemap(recipe: Recipe, shaking: Shaking) -> ShakeMapNodes:
    """Estimate the shaking as a service would: the median of the model, corrected near its stations.

    The residual at a node is the expectation given the residuals at the stations, and its variance what is left: simple
    kriging with the correlation exp(-3 d / 8.5 km), as ShakeMap does it (Worden et al. 2018, BSSA 108, 866-875,
    doi:10.1785/0120170201). So the map is smoother than the shaking was, and its standard deviation tells by how much
    they differ, but for errors of Vs30.

    There is one station for each 150 km2. Nodes lie every 1/120 degree, over the frame and 0.1 degree around it. Vs30
    of a node is the geometric mean of some 900 m, beyond the frame that at its edge.
    """
    corners = to_degrees(*shaking.frame.grid.extent.exterior.xy)
    west, south = (math.floor((axis.min() - _AROUND_DEGREES) * _NODES_PER_DEGREE) for axis in corners)
    east, north = (math.ceil((axis.max() + _AROUND_DEGREES) * _NODES_PER_DEGREE) for axis in corners)
    lon, lat = np.arange(west, east + 1) / _NODES_PER_DEGREE, np.arange(north, south - 1, -1) / _NODES_PER_DEGREE
    x, y = to_metres(*np.meshgrid(lon, lat))
    places, residuals = stations(recipe, shaking)
    at, rupture = np.stack([x.ravel(), y.ravel()], axis=1), shaking.rupture
    vs30 = np.exp(uniform_filter(np.log(shaking.vs30_m_s), _SITE_PX)[shaking.frame.pixels_at(at)]).reshape(x.shape)
    mean, variance = krige(places, residuals, at)
    distance = rupture.distance_km(x, y)
    phi = pga_phi(rupture.magnitude, distance, vs30)
    median = pga_median_g(rupture.magnitude, distance, vs30, style=rupture.style)
    pga = median * np.exp(phi * mean.reshape(x.shape))
    return ShakeMapNodes(lon, lat, pga, phi * np.sqrt(variance).reshape(x.shape), len(places))


def stations(recipe: Recipe, shaking: Shaking) -> tuple[Numbers, Numbers]:
    """Draw places of stations (station, xy) in metres, and read the residual there, in standard deviations."""
    box = shaking.frame.grid.pad(round((MARGIN_M - 1000) / PIXEL_M)).boundingbox
    side_m = box.right - box.left
    count = max(4, round((side_m / 1000) ** 2 / _STATION_KM2))
    places = (box.left, box.bottom) + side_m * recipe.random("stations").random((count, 2))
    return places, np.array([shaking.residual.node_value(x, y) for x, y in places.tolist()])


def krige(stations_m: Numbers, residual: Numbers, places_m: Numbers) -> tuple[Numbers, Numbers]:
    """Estimate mean and variance of the residual at places (place, xy) from that at stations, in standard units."""
    between, near = (np.exp(-3e-3 / CORRELATION_KM * cdist(stations_m, to)) for to in (stations_m, places_m))
    weights = np.linalg.solve(between, near)
    return weights.T @ residual, np.clip(1 - (weights * near).sum(axis=0), 0, 1)


def write_shakemap(path: Path, recipe: Recipe, shaking: Shaking, nodes: ShakeMapNodes) -> None:
    """Write a ShakeMap as ``grid.xml``, of the type ``SCENARIO``: PGA in percent of g and the deviation of ln PGA."""
    rupture = shaking.rupture
    at = [round(float(degrees), 4) for degrees in to_degrees(*rupture.epicentre_m)]
    header = render("shakemap.xml", seed=recipe.seed, time=EVENT_TIME, rupture=rupture, at=at, nodes=nodes)
    columns = (*np.meshgrid(nodes.lon_deg, nodes.lat_deg), 100 * nodes.pga_g, nodes.ln_std)
    rows = np.stack([column.ravel() for column in columns], axis=1)
    footer = "</grid_data>\n</shakemap_grid>"
    np.savetxt(path, rows, "%.6f %.6f %.4g %.4f", header=header, footer=footer, comments="", encoding="utf-8")


def levels_g(shaking: Shaking, nodes: ShakeMapNodes) -> list[float]:
    """Choose five levels in g, rounded to 0.001 g, that divide the scene by PGA of its ShakeMap into equal parts."""
    step = 1 / _NODES_PER_DEGREE
    corner = Affine(step, 0, nodes.lon_deg[0] - step / 2, 0, -step, nodes.lat_deg[0] + step / 2)
    raster = CoarseRaster(nodes.pga_g.astype(np.float32), GeoBox(nodes.pga_g.shape, corner, "EPSG:4326"))
    pga = interpolate_raster(raster, shaking.frame.scene)
    return [round(float(level), 3) for level in np.quantile(pga, np.arange(1, _CLASSES) / _CLASSES)]
