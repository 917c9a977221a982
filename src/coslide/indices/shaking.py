"""Peak ground acceleration (PGA) on the grid, from ShakeMap, rasters, contours or stations, and its classes."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from odc.geo.geobox import GeoBox
from odc.geo.roi import roi_is_empty

from coslide.config.schema import ShakingConfig
from coslide.cube.band import Band
from coslide.cube.layer import LayerGroup
from coslide.errors import InputError
from coslide.grid import overlap_slices
from coslide.indices.classes import class_by_edges, class_names
from coslide.indices.contours import contour_field
from coslide.indices.interpolation import Field, NodesField, summary_of
from coslide.indices.kriging import KrigedField, fit_kriging, krige_coarse
from coslide.indices.stations import place_stations
from coslide.io.coarse_raster import CoarseRaster
from coslide.sources.shakemap import read_shakemap
from coslide.sources.shaking import read_contours, read_pga_raster, read_stations

WITHIN_KM = 150.0
_CLOSEST_M, _WIDEST_M = 100.0, 250.0  # largest error against the direct solution 0.4 % and 0.9 %, see krige_coarse
_NODES = 300_000  # take seconds with hundreds of stations
_KRIGED = "ordinary kriging of ln PGA on a coarse grid, then bilinear"


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
    placed = place_stations(grid, lon_deg=lon_deg, lat_deg=lat_deg, values=usable, within_km=within_km)
    if placed.values.size == 0:
        raise InputError(f"shaking: found no station with a PGA above 0 among {usable.size}, expected at least one")
    kriging = fit_kriging(placed.x_m, placed.y_m, np.log(placed.values))
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
    source = _source(shaking, grid)
    low_g, high_g, nodata = summary_of(source.pga)
    if nodata == 1:
        raise InputError(f"shaking: {source.path} does not reach the grid; expected PGA there")
    notes = [*source.notes, f"PGA from {low_g:.3g} to {high_g:.3g} g on the grid"]
    notes += [f"{nodata:.1%} of the grid has no PGA: it lies outside"] if nodata else []
    compute = partial(_compute, source, shaking.levels_g)
    return LayerGroup(_bands(shaking, source, (low_g, high_g)), tuple(notes), compute)


class _Source(NamedTuple):
    """PGA in g on a grid, the standard deviation of its logarithm, and what is recorded of them."""

    path: Path | None
    pga: Field
    resampling: str
    ln_std: Callable[[GeoBox], NDArray[np.float32]] | None = None
    notes: tuple[str, ...] = ()
    attrs: dict[str, Any] = {}  # noqa: RUF012 - never changed


def _compute(source: _Source, levels_g: tuple[float, ...], window: GeoBox) -> dict[str, NDArray[Any]]:
    """Compute the classes of PGA, PGA in g and, where it has one, the deviation of its logarithm on `window`."""
    pga_g = source.pga.at(window)
    computed: dict[str, NDArray[Any]] = {"pga_class": class_by_edges(pga_g, levels_g, lowest=0), "pga": pga_g}
    if source.ln_std is not None:
        computed["pga_ln_std"] = source.ln_std(window)
    return computed


def _bands(shaking: ShakingConfig, source: _Source, range_g: tuple[float, float]) -> tuple[Band, ...]:
    name = "peak ground acceleration"
    classes = Band(
        "pga_class",
        kind="ordinal",
        class_names=class_names(shaking.levels_g, "g"),
        first_class=0,
        definition=f"levels {', '.join(f'{level:g}' for level in shaking.levels_g)} g",
        group="shaking",
        optional=True,
        measured="pga",
        long_name=f"{name}: number of the levels that it reaches",
        provenance={"resampling": source.resampling, "range_g": list(range_g), **source.attrs},
    )
    shared: dict[str, Any] = {"group": "shaking", "optional": True, "role": "diagnostic"}
    shared["provenance"] = classes.provenance
    bands = [classes, Band("pga", "g", long_name=name, **shared)]
    if source.ln_std is not None:
        bands.append(Band("pga_ln_std", long_name=f"standard deviation of the logarithm of {name}", **shared))
    return tuple(bands)


def _source(shaking: ShakingConfig, grid: GeoBox) -> _Source:
    if shaking.shakemap is not None:
        found = read_shakemap(shaking.shakemap, uncertainty=shaking.uncertainty)
        said = {"shakemap": found.version}
        _require_meeting(found.pga_g, grid, shaking.shakemap)
        return _from_nodes(shaking.shakemap, grid, found.pga_g, found.ln_std)._replace(notes=found.notes, attrs=said)
    if shaking.raster is not None:
        return _from_nodes(shaking.raster, grid, *read_pga_raster(shaking, grid))
    if shaking.contours is not None:
        contours = read_contours(shaking, str(grid.crs))
        kind = contours.geom_type.iloc[0].lower()
        how = "pixel centres in polygons" if kind == "polygon" else "Clough-Tocher of ln PGA between lines"
        note = f"PGA from {len(contours)} contours ({kind}) of {contours['pga_g'].nunique()} values"
        return _Source(shaking.contours, contour_field(contours, grid, name=str(shaking.contours)), how, notes=(note,))
    stations = read_stations(shaking)
    field = krige_pga(grid, lon_deg=stations.lon_deg, lat_deg=stations.lat_deg, pga_g=stations.pga_g)
    count = field.kriging.values.size
    notes = [f"PGA kriged from {count} of {stations.pga_g.size} stations"]
    if count > 1:
        factor = np.exp(field.kriging.leave_one_out_rmse())
        notes.append(f"each station estimated from the others is wrong by a factor of {factor:.2f}")
    ln_std = partial(_ln_std, field) if field.variance is not None else None
    return _Source(shaking.stations, field, _KRIGED, ln_std, tuple(notes), {"stations": count})


def _ln_std(field: KrigedField, window: GeoBox) -> NDArray[np.float32]:
    variance = field.variance_at(window)
    return np.sqrt(variance, out=variance)


def _require_meeting(nodes: CoarseRaster, grid: GeoBox, path: Path) -> None:
    if roi_is_empty(overlap_slices(nodes.geobox, grid)):
        rows, columns = nodes.values.shape
        (west, north), (east, south) = (nodes.transform @ corner for corner in ((0, 0), (columns, rows)))
        found = f"longitude {west:.2f} to {east:.2f}, latitude {south:.2f} to {north:.2f}"
        raise InputError(f"{path}: does not overlap the grid; found {found}")


def _from_nodes(path: Path, grid: GeoBox, pga_g: CoarseRaster, ln_std: CoarseRaster | None) -> _Source:
    ln_std_at = NodesField(ln_std, grid).at if ln_std is not None else None
    return _Source(path, NodesField(pga_g, grid), "bilinear in g", ln_std_at)
