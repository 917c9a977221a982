"""Peak ground acceleration (PGA) on the grid, from ShakeMap, rasters, contours or stations, and its classes."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from odc.geo.geobox import GeoBox
from odc.geo.roi import roi_is_empty
from rasterio.features import rasterize

from coslide.config.schema import ShakingConfig
from coslide.cube.band import Band, class_by_edges, edge_classes
from coslide.cube.store import LayerGroup
from coslide.errors import InputError
from coslide.grid import overlap_slices, slices_of
from coslide.indices.interpolation import CoarseField, Field, Fields, coarse_axes, interpolate_raster, span_of
from coslide.indices.kriging import KrigedField, fit_kriging, krige_coarse
from coslide.indices.stations import near_stations, place_stations
from coslide.labels import NO_CLASS
from coslide.sources.contours import read_contours
from coslide.sources.shaking import read_pga_raster, read_shakemap, read_stations

Floats = NDArray[np.float32]

WITHIN_KM = 150.0
_CLOSEST_M, _WIDEST_M = 100.0, 250.0  # largest error against the direct solution 0.4 % and 0.9 %, see krige_coarse
_NODES = 300_000  # take seconds with hundreds of stations
_CONTOUR_NODES_M = 100.0
_VERTEX_EVERY_M = 200.0
_REACH_M = 50_000.0  # contours beyond shape the field at the edge of the grid no more
_MOST_VERTICES = 300_000


def krige_pga(
    grid: GeoBox, *, lon_deg: ArrayLike, lat_deg: ArrayLike, pga_g: ArrayLike, within_km: float = WITHIN_KM
) -> KrigedField:
    """Krige the peak ground acceleration of stations, in g, to the pixels of `grid`.

    The logarithm is kriged (`coslide.indices.kriging.krige_coarse`): accelerations vary by factors, and none can become
    negative.

    Parameters
    ----------
    grid
        Target grid in a projected CRS in metres.
    lon_deg, lat_deg
        Stations, WGS 84, 1-D.
    pga_g
        What they recorded, in g, 1-D. Stations whose value is NaN, infinite, 0 or negative are left out.
    within_km
        Only stations this near to the edge of the grid count, but never fewer than the 30 nearest. Far stations tell
        nothing of the grid and bend the variogram towards long distances.

    Returns
    -------
    KrigedField
        Finite and positive everywhere.

    Raises
    ------
    InputError
        If no station has a usable value and position.
    ValueError
        If the CRS of the grid is not projected in metres or the columns differ in length.

    Notes
    -----
    The field has no term for site conditions or for the distance to the source. On the 130 stations within 150 km of
    the centre of the 2018 Hokkaido event, each estimated from the others is wrong by a factor of 1.5 to 1.6 (0.42 to
    0.46 in ln PGA, whichever model and radius from 100 km up; a trend in the logarithm of the distance did not lower
    it): the ground under neighbouring stations differs by as much. Nodes lie 100 m apart on grids up to 55 km wide and
    up to 250 m on wider ones.

    Examples
    --------
    >>> grid = GeoBox.from_bbox((574000, 4725000, 574020, 4725010), crs="EPSG:32654", resolution=10)
    >>> krige_pga(grid, lon_deg=[141.8, 142.1], lat_deg=[42.7, 42.7], pga_g=[0.5, 0.5]).at(grid)
    array([[0.5, 0.5]], dtype=float32)
    """
    recorded_g = np.asarray(pga_g, dtype=np.float64)
    usable = np.where(recorded_g > 0, recorded_g, np.nan)
    x_m, y_m, near_g = place_stations(grid, lon_deg=lon_deg, lat_deg=lat_deg, values=usable, within_km=within_km)
    if near_g.size == 0:
        raise InputError(f"shaking: found no station with a PGA above 0 among {usable.size}, expected at least one")
    kriging = fit_kriging(x_m, y_m, np.log(near_g))
    box = grid.boundingbox
    spacing_m = math.sqrt((box.right - box.left) * (box.top - box.bottom) / _NODES)
    return krige_coarse(grid, kriging, coarse_m=min(max(spacing_m, _CLOSEST_M), _WIDEST_M), log=True)


def prepare_shaking(shaking: ShakingConfig, grid: GeoBox) -> LayerGroup:
    """Prepare the classes of peak ground acceleration, and the acceleration itself, in g.

    Parameters
    ----------
    shaking
        A ShakeMap, a raster, contours or stations, and the levels, in g, that bound the classes.
    grid
        Target grid in a projected CRS in metres.

    Returns
    -------
    LayerGroup
        ``pga_class`` (uint8, index: the number of levels that PGA reaches, 0 below the first, a class of its own and
        not nodata), ``pga`` (g, float32, diagnostic) and, where the source has it, ``pga_ln_std``, the standard
        deviation of ln PGA (float32, diagnostic). Nodata where the source does not reach.

    Raises
    ------
    InputError
        If the source cannot be read (`read_shakemap`, `read_pga_raster`, `read_contours`, `read_stations`) or does not
        reach the grid.

    Notes
    -----
    PGA of a ShakeMap or a raster is interpolated bilinearly, in g (never as a logarithm), between its nodes, which are
    the centres of raster pixels; the outer half of the outermost ones has the value of their nodes. So ``grid.xml`` and
    ``pga_mean.flt`` of one event give the same classes. For contours see `contour_field`, for stations `krige_pga`. The
    levels of Table 2 of Yang et al. (2023, doi:10.3390/rs15040977) are contours of the ShakeMap, 0.04 g apart, and its
    maximum.
    """
    read = _from_contours if shaking.contours else _from_stations if shaking.stations else _from_raster
    fields, remarks, made = read(shaking, grid)
    valid, low_g, high_g = span_of(fields["pga"], grid)
    if not valid:
        raise InputError(
            f"shaking: {shaking.path} has no PGA on the grid: it does not reach it, or holds only nodata there"
        )
    notes = [*remarks, f"PGA from {low_g:.3g} to {high_g:.3g} g on the grid"]
    if nodata := 1 - valid / (grid.shape.y * grid.shape.x):
        notes.append(f"{nodata:.1%} of the grid has no PGA: it lies outside")
    name, levels = "peak ground acceleration", edge_classes(shaking.levels_g, "g", lowest=0, what="levels")
    reached, deviation = (
        f"{name}: number of the levels that it reaches",
        f"standard deviation of the logarithm of {name}",
    )
    shared: dict[str, Any] = {"group": "shaking", "optional": True, "provenance": {**made, "range_g": [low_g, high_g]}}
    bands = (
        Band("pga_class", measured="pga", long_name=reached, **levels, **shared),
        Band("pga", "g", role="diagnostic", long_name=name, **shared),
        Band("pga_ln_std", role="diagnostic", long_name=deviation, **shared),
    )
    return LayerGroup(bands[: 1 + len(fields)], tuple(notes), partial(_compute, fields, shaking.levels_g))


def _compute(fields: Mapping[str, Field], levels_g: tuple[float, ...], window: GeoBox) -> dict[str, NDArray[Any]]:
    """Compute the classes of PGA, PGA in g and, where it has one, the deviation of its logarithm on `window`."""
    computed: dict[str, NDArray[Any]] = {name: field(window) for name, field in fields.items()}
    return {"pga_class": class_by_edges(computed["pga"], levels_g, lowest=0), **computed}


def _from_raster(shaking: ShakingConfig, grid: GeoBox) -> Fields:
    """Prepare the fields of a ShakeMap or of a raster."""
    made: dict[str, Any] = {"resampling": "bilinear in g"}
    if shaking.shakemap:
        found = read_shakemap(shaking.shakemap, uncertainty=shaking.uncertainty)
        pga_g, ln_std, made["shakemap"], notes, epicentre = found
        made |= {"epicentre_lon_lat": list(epicentre)} if epicentre else {}
        if roi_is_empty(overlap_slices(pga_g.geobox, grid)):
            west, south, east, north = pga_g.geobox.boundingbox.bbox
            place = f"longitude {west:.2f} to {east:.2f}, latitude {south:.2f} to {north:.2f}"
            raise InputError(f"{shaking.path}: does not overlap the grid; found {place}")
    else:
        (pga_g, ln_std), notes = read_pga_raster(shaking, grid), ()
    rasters = {"pga": pga_g} | ({"pga_ln_std": ln_std} if ln_std else {})
    return {name: partial(interpolate_raster, raster) for name, raster in rasters.items()}, notes, made


def _from_contours(shaking: ShakingConfig, grid: GeoBox) -> Fields:
    contours = read_contours(shaking, grid)
    kind = contours.geom_type.iloc[0].lower()
    how = "pixel centres in polygons" if kind == "polygon" else "Clough-Tocher of ln PGA between lines"
    note = f"PGA from {len(contours)} contours ({kind}) of {contours['pga_g'].nunique()} values"
    return {"pga": contour_field(contours, grid, name=str(shaking.path))}, (note,), {"resampling": how}


def _from_stations(shaking: ShakingConfig, grid: GeoBox) -> Fields:
    stations = read_stations(shaking)
    near, far = near_stations(grid, lon_deg=stations.lon_deg, lat_deg=stations.lat_deg, name=str(shaking.path))
    field = krige_pga(grid, **{name: column[near] for name, column in stations._asdict().items()})
    count = field.kriging.values.size
    notes = [*far, f"PGA kriged from {count} of {stations.pga_g.size} stations"]
    if count > 1:
        factor = np.exp(field.kriging.leave_one_out_rmse())
        notes.append(f"each station estimated from the others is wrong by a factor of {factor:.2f}")
    fields = {"pga": field.at} | ({"pga_ln_std": partial(_ln_std, field.variance)} if field.variance else {})
    made: dict[str, Any] = {
        "resampling": "ordinary kriging of ln PGA on a coarse grid, then bilinear",
        "stations": count,
    }
    return fields, tuple(notes), made


def _ln_std(variance: CoarseField, window: GeoBox) -> Floats:
    return np.sqrt(variance.at(window))


def contour_field(contours: gpd.GeoDataFrame, grid: GeoBox, *, name: str) -> Field:
    """Interpolate PGA, in g, on `grid` from contours.

    Parameters
    ----------
    contours
        All lines or all polygons, with PGA in g in the column ``pga_g``, in the CRS of the grid.
    grid
        In metres.
    name
        The source, for messages.

    Returns
    -------
    Field
        A pixel in polygons has the value of the highest one there, by its centre. Between lines the
        logarithm is interpolated (Clough and Tocher [1]_: smooth, so that it goes on rising inside the innermost line
        and falling in a hollow), from vertices at most 200 m apart. NaN outside all polygons, or outside the convex
        hull of the lines: beyond the outermost contour nothing is recorded.

    Raises
    ------
    InputError
        If there are more than 254 different values among polygons, or lines of fewer than two values near the grid.

    References
    ----------
    .. [1] Alfeld (1984), A trivariate Clough-Tocher scheme for tetrahedral data, Comput. Aided Geom. Des. 1, 169-181,
       doi:10.1016/0167-8396(84)90029-3; as in `scipy.interpolate.CloughTocher2DInterpolator`.
    """
    from scipy.interpolate import CloughTocher2DInterpolator
    from scipy.spatial import QhullError

    if (contours.geom_type == "Polygon").all():
        return _burnt(contours, grid, name)
    lines = shapely.intersection(contours.geometry.to_numpy(), shapely.box(*grid.boundingbox.buffered(_REACH_M).bbox))
    every_m = max(_VERTEX_EVERY_M, float(shapely.length(lines).sum()) / _MOST_VERTICES)
    xy_m, owner = shapely.get_coordinates(shapely.segmentize(lines, every_m), return_index=True)
    # Closed lines repeat their first vertex, and files may repeat a line.
    _, kept = np.unique(xy_m.round(1), axis=0, return_index=True)
    xy_m, ln_g = xy_m[kept], np.log(contours["pga_g"].to_numpy()[owner[kept]])
    spacing_m, first_node, (x_m, y_m) = coarse_axes(grid, _CONTOUR_NODES_M)
    if np.unique(ln_g).size < 2:
        raise InputError(f"{name}: found fewer than two values of contours around the grid, expected more")
    origin_m = xy_m.mean(axis=0)  # squares of UTM northings waste digits
    try:
        interpolate = CloughTocher2DInterpolator((xy_m - origin_m) / 1000.0, ln_g)
    except QhullError:
        raise InputError(f"{name}: found contours along one straight line, expected them around the grid") from None
    x_km, y_km = (x_m - origin_m[0]) / 1000.0, (y_m - origin_m[1]) / 1000.0
    nodes = np.array([interpolate(x_km, y) for y in y_km], dtype=np.float32)
    return CoarseField(grid, spacing_m, first_node, nodes, log=True).at


def _burnt(contours: gpd.GeoDataFrame, grid: GeoBox, name: str) -> Field:
    levels_g, codes = np.unique(contours["pga_g"].to_numpy(), return_inverse=True)
    if levels_g.size > NO_CLASS:
        raise InputError(f"{name}: found {levels_g.size} different values, expected at most {NO_CLASS}")
    order = np.argsort(codes, kind="stable")  # the highest is burnt last
    shapes = zip(contours.geometry.to_numpy()[order], codes[order], strict=True)
    burnt = rasterize(shapes, tuple(grid.shape), fill=levels_g.size, transform=grid.affine, dtype="uint8")
    return partial(_look_up, np.append(levels_g, np.nan).astype(np.float32), burnt, grid)


def _look_up(values_g: Floats, codes: NDArray[np.uint8], grid: GeoBox, window: GeoBox) -> Floats:
    return values_g[codes[slices_of(window, grid)]]
