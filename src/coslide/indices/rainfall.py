"""Rain before the event at the pixels of a grid: kriged from gauges, or from a raster."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from coslide.config.schema import RainConfig
from coslide.cube.band import Band
from coslide.cube.store import LayerGroup
from coslide.errors import InputError
from coslide.indices.interpolation import MOST_NODES, Field, Fields, interpolate_raster, span_of
from coslide.indices.kriging import FEWEST_STATIONS, KrigedField, Kriging, fit_kriging, krige_coarse
from coslide.indices.stations import near_stations, place_stations
from coslide.io.raster import read_coarse_raster
from coslide.sources.gauges import MM_PER_UNIT, MOST_MM_PER_DAY, read_gauges

WITHIN_KM = 200.0
"""Gauges this near to the grid count, but never fewer than the 30 nearest."""

_COARSE_M, _CLOSEST_M = 250.0, 30.0
_MOST_WORK = 1e11  # nodes times the square of the gauges: half a minute
_LARGEST_ERROR_MM = 0.08  # at the gauges, where it is largest; 0.1 mm is promised


def prepare_rainfall(rain: RainConfig, grid: GeoBox, *, event_time: dt.datetime | None) -> LayerGroup:
    """Prepare the rain before the event, in mm, and for gauges its kriging variance, in mm2.

    Parameters
    ----------
    rain
        Gauges or a raster, and how to read them.
    grid
        Target grid in a projected CRS in metres.
    event_time
        Of the earthquake, UTC; needed for daily gauges.

    Returns
    -------
    LayerGroup
        ``rainfall`` (float32, index) and, where a variogram could be fitted, ``rainfall_variance`` (float32,
        diagnostic). From gauges the rain has a value everywhere and is never negative; from a raster it is NaN where
        the raster has no value.

    Raises
    ------
    InputError
        As `coslide.sources.gauges.read_gauges` and `coslide.io.raster.read_coarse_raster`; if no gauge has a
        place in the CRS of the grid; or if a raster has negative rain or no value on the grid.

    Notes
    -----
    Gauges are kriged [1]_ in metres with all those within 200 km, however far outside the grid, at nodes every 250 m.
    Bilinear interpolation between the nodes errs most at the gauges, and that error is measured: the nodes are set
    closer until it is below 0.08 mm, unless that takes more than two million nodes or half a minute; the log tells what
    was reached. Below five gauges, or where all of them agree, there is no variogram: the field is the mean weighted by
    the inverse square of the distance, or their common value. Kriging weights can be negative, so the field is cut off
    at 0. A raster is interpolated bilinearly between the centres of its pixels.

    References
    ----------
    .. [1] Cressie (1993), Statistics for Spatial Data, section 3.2, doi:10.1002/9781119115151.
    """
    fields, notes, made = _from_gauges(rain, grid, event_time) if rain.gauges else _from_raster(rain, grid)
    band = Band("rainfall", "mm", group="rain", optional=True, long_name="rain before the event", provenance=made)
    variance: dict[str, Any] = {"unit": "mm2", "role": "diagnostic", "long_name": "kriging variance of the rain"}
    bands = (band, replace(band, name="rainfall_variance", **variance))
    return LayerGroup(bands[: len(fields)], notes, partial(_compute, fields))


def _compute(fields: Mapping[str, Field], window: GeoBox) -> dict[str, NDArray[Any]]:
    computed = {name: field(window) for name, field in fields.items()}
    np.maximum(computed["rainfall"], np.float32(0.0), out=computed["rainfall"])
    return computed


def _from_gauges(rain: RainConfig, grid: GeoBox, event_time: dt.datetime | None) -> Fields:
    *table, notes = read_gauges(rain, event_time=event_time)
    inside, far = near_stations(grid, lon_deg=table[0], lat_deg=table[1], name=str(rain.path))
    lon_deg, lat_deg, rain_mm = (column[inside] for column in table)
    near = place_stations(grid, lon_deg=lon_deg, lat_deg=lat_deg, values=rain_mm, within_km=WITHIN_KM)
    count = near.shape[1]
    kriging = fit_kriging(*near, model=rain.variogram)
    field, error_mm = _kriged(kriging, grid)
    fields = {"rainfall": field.at} | ({"rainfall_variance": field.variance.at} if field.variance else {})
    made: dict[str, Any] = {"resampling": "ordinary kriging on a coarse grid, then bilinear", "gauges": count}
    if kriging.variogram:
        made["variogram"] = kriging.variogram._asdict()
    return fields, (*notes, *far, *_accuracy(kriging, count, field.spacing_m, error_mm)), made


def _kriged(kriging: Kriging, grid: GeoBox) -> tuple[KrigedField, float]:
    """Krige on nodes close enough to err by less than `_LARGEST_ERROR_MM`, and compute the error, in mm."""
    field = krige_coarse(grid, kriging, coarse_m=_COARSE_M)
    while (error_mm := field.coarse_error()) > _LARGEST_ERROR_MM:
        closer_m, nodes = field.spacing_m / 2, 4 * field.nodes.size
        if closer_m < _CLOSEST_M or nodes > min(MOST_NODES, _MOST_WORK / kriging.values.size**2):
            break
        field = krige_coarse(grid, kriging, coarse_m=closer_m)
    return field, error_mm


def _accuracy(kriging: Kriging, count: int, spacing_m: float, error_mm: float) -> list[str]:
    """Describe for the log how the rain was interpolated, and how far it is off."""
    if kriging.constant and count > 1:
        return [f"all {count} gauges have {kriging.values[0]:.1f} mm, so every pixel has"]
    rmse_mm = kriging.leave_one_out_rmse() if kriging.values.size > 1 else None
    off = [f"each gauge estimated from the others is wrong by {rmse_mm:.1f} mm (root mean square)"] if rmse_mm else []
    if kriging.variogram is None:
        text = f"gauges in fewer than {FEWEST_STATIONS} places, which a variogram needs: "
        return ["; ".join([f"{text}rain is their mean weighted by the inverse square of the distance", *off])]
    model, psill, range_m, nugget = kriging.variogram
    fit = f"sill {psill + nugget:.3g} mm2, nugget {nugget:.3g} mm2, range {range_m / 1000.0:.3g} km"
    return [
        f"kriged from {count} gauges: {model} variogram, {fit}",
        *off,
        f"nodes {spacing_m:g} m apart err by {error_mm:.3f} mm at most",
    ]


def _from_raster(rain: RainConfig, grid: GeoBox) -> Fields:
    nodes = read_coarse_raster(rain.path, grid, crs=rain.crs, nodata=rain.nodata)
    values = nodes.values * np.float32(MM_PER_UNIT[rain.unit])
    most_mm = MOST_MM_PER_DAY * (rain.window_days + 1)
    if ((values < 0) | (values > most_mm)).any():
        found = f"found rain from {np.nanmin(values):g} to {np.nanmax(values):g} mm (rain.unit {rain.unit!r})"
        hint = "is rain.unit right, and is nodata declared or given as rain.nodata?"
        raise InputError(f"{rain.path}: {found}, expected 0 to {most_mm:g} mm; {hint}")
    field = partial(interpolate_raster, nodes._replace(values=values))
    valid, low_mm, high_mm = span_of(field, grid)
    if not valid:
        raise InputError(f"{rain.path}: has no value on the grid, expected rain")
    notes = [f"rain from a raster, bilinear: {low_mm:.1f} to {high_mm:.1f} mm on the grid"]
    if nodata := 1 - valid / (grid.shape.y * grid.shape.x):
        notes.append(f"{nodata:.1%} of the grid has no rain value")
    return {"rainfall": field}, tuple(notes), {"resampling": "bilinear"}
