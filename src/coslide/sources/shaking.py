"""Shaking from stations, rasters and contours; `coslide.sources.shakemap` reads ShakeMap grids."""

import zipfile
from pathlib import Path
from typing import NamedTuple

import geopandas as gpd
import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from coslide.config.schema import ShakingConfig
from coslide.errors import InputError
from coslide.io.coarse_raster import CoarseRaster, read_coarse_raster
from coslide.io.tables import numbers_of, read_table, require_on_earth
from coslide.io.vector import read_vector
from coslide.sources.pga import SMALLEST_LN_G, in_g, parse_unit, require_ln_std, require_pga


class Stations(NamedTuple):
    """Longitude and latitude in degrees (WGS 84) and peak ground acceleration in g, each float64 (station,)."""

    lon_deg: NDArray[np.float64]
    lat_deg: NDArray[np.float64]
    pga_g: NDArray[np.float64]


def read_stations(shaking: ShakingConfig) -> Stations:
    """Read the stations of a CSV table that recorded a peak ground acceleration, in g.

    Rows without a value or a place are left out.

    Raises
    ------
    InputError
        If the table cannot be read, lacks a column, holds text where a number belongs, a place that is none or no
        station with a value, or if a value is not positive or beyond 5 g (a wrong unit).
    """
    path, unit, columns = shaking.path, str(shaking.unit), shaking.columns
    names = columns.lon, columns.lat, columns.pga
    table = read_table(path, names)
    lon, lat, pga = values = np.stack([numbers_of(path, table[name]) for name in names])
    require_on_earth(path, lon, lat)
    usable = np.isfinite(values).all(axis=0)
    if not usable.any():
        raise InputError(f"{path}: no station has a value in column {columns.pga!r}")
    pga_g = in_g(pga[usable], unit)
    require_pga(str(path), pga_g, unit, positive=True)
    return Stations(lon[usable], lat[usable], pga_g)


def read_pga_raster(shaking: ShakingConfig, grid: GeoBox) -> tuple[CoarseRaster, CoarseRaster | None]:
    """Read the peak ground acceleration, in g, of a raster around `grid`, and the deviation of its logarithm.

    Parameters
    ----------
    shaking
        With `raster` and its unit; `raster_std`, the standard deviation, may be missing.
    grid
        What is to be covered.

    Raises
    ------
    InputError
        As `coslide.io.coarse_raster.read_coarse_raster`, or if values are negative, or beyond 5 g: then the unit is
        wrong, or an undeclared value means "nothing here".
    """
    unit = str(shaking.unit)
    stored = read_coarse_raster(shaking.path, grid, crs=shaking.crs, nodata=shaking.nodata)
    pga = stored._replace(values=in_g(stored.values, unit).astype(np.float32))
    # The exponential of -9999 is 0: an undeclared nodata value would pass for no shaking.
    require_pga(str(shaking.path), pga.values, unit, least_g=SMALLEST_LN_G if unit.startswith("ln") else 0.0)
    if shaking.raster_std is None:
        return pga, None
    deviation = read_coarse_raster(shaking.raster_std, grid, crs=shaking.crs, nodata=shaking.nodata)
    require_ln_std(str(shaking.raster_std), deviation.values)
    return pga, deviation


def read_contours(shaking: ShakingConfig, crs: str) -> gpd.GeoDataFrame:
    """Read contours of peak ground acceleration, with the column ``pga_g`` in g, in `crs`: all lines or all polygons.

    Parameters
    ----------
    shaking
        With `contours`, the field that holds their values, and its unit.
    crs
        The CRS to return.

    Raises
    ------
    InputError
        If the file cannot be read, has no such field, states another unit, mixes lines and polygons or holds something
        else, has values that are not positive or beyond 5 g, or may be a HAZUS shapefile.

    Notes
    -----
    The shapefiles of ``hazus.zip`` are made for loss estimates: their shaking is scaled down by 15 % [1]_. They bear
    the same names and fields as those of ``shape.zip``, but without the one of intensity. So ``pga.shp`` is taken only
    with ``mi.shp`` (or ``mmi.shp``) beside it.

    References
    ----------
    .. [1] Worden, Wald (2016), ShakeMap Manual 3.5, "GIS files", doi:10.5066/F7D21VPQ.
    """
    path, field, unit = shaking.path, shaking.contour_field, str(shaking.unit)
    frame = read_vector(path, crs, what="contours of PGA").explode(ignore_index=True)
    _refuse_hazus(path, set(frame.columns))
    if field not in frame.columns:
        raise InputError(f"{path}: has no field {field!r}; found {', '.join(set(frame.columns) - {'geometry'})}")
    stated = {str(text) for text in frame["units"].dropna()} if "units" in frame.columns else set()
    if any(parse_unit(text) != unit for text in stated):
        raise InputError(f"{path}: found units {', '.join(sorted(stated))}, expected {unit!r} as in shaking.unit")
    try:
        pga_g = in_g(frame[field].astype("float64"), unit)
    except (ValueError, TypeError):
        raise InputError(f"{path}: field {field!r} holds something that is no number") from None
    if np.isnan(pga_g).any():
        raise InputError(f"{path}: field {field!r} is empty for some contours, expected numbers")
    require_pga(str(path), pga_g, unit, positive=True)
    kinds = set(frame.geom_type)
    if kinds not in ({"LineString"}, {"Polygon"}):
        raise InputError(f"{path}: found {' and '.join(sorted(kinds))}, expected either lines or polygons")
    return gpd.GeoDataFrame({"pga_g": pga_g}, geometry=frame.geometry, crs=frame.crs)


def _refuse_hazus(path: Path, fields: set[str]) -> None:
    if "PARAMVALUE" not in fields:
        return
    if any(name.lower().startswith("hazus") for name in (path.stem, path.parent.name)):
        raise InputError(
            f"{path}: HAZUS shapefiles are scaled down by 15 %; expected shape.zip, raster.zip or grid.xml"
        )
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as archive:
            beside = {Path(name).stem.lower() for name in archive.namelist()}
    else:
        beside = {file.stem.lower() for file in path.parent.glob("*.shp")}
    if path.stem.lower() == "pga" and not {"mi", "mmi"} & beside:
        raise InputError(
            f"{path}: may be from hazus.zip, which is scaled down by 15 %; expected mi.shp beside it as in shape.zip, "
            "or raster.zip or grid.xml"
        )
