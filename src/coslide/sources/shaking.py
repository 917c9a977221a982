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
from coslide.sources.pga_units import LARGEST_LN_STD, LARGEST_RECORDED_G, SMALLEST_LN_G, in_g, known_unit


class Stations(NamedTuple):
    """Longitude and latitude in degrees (WGS 84) and peak ground acceleration in g, each float64 (station,)."""

    lon_deg: NDArray[np.float64]
    lat_deg: NDArray[np.float64]
    pga_g: NDArray[np.float64]


def read_stations(shaking: ShakingConfig) -> Stations:
    """Return the stations of a CSV table that recorded a peak ground acceleration, in g.

    Rows without a value or a place are left out.

    Raises
    ------
    InputError
        If the table cannot be read, lacks a column, holds text where a number belongs, a place that is none or no
        station with a value, or if a value is not positive or beyond 5 g (a wrong unit).
    """
    path, columns = _given(shaking.stations, "stations"), shaking.columns
    table = read_table(path, (columns.lon, columns.lat, columns.pga))
    lon, lat, pga = (numbers_of(path, table[name]) for name in (columns.lon, columns.lat, columns.pga))
    require_on_earth(path, lon, lat)
    usable = np.isfinite(lon) & np.isfinite(lat) & np.isfinite(pga)
    pga_g = in_g(pga[usable], str(shaking.unit))
    if pga_g.size == 0:
        raise InputError(f"{path}: no station has a value in column {columns.pga!r}")
    if pga_g.min() <= 0 or pga_g.max() > LARGEST_RECORDED_G:
        raise InputError(
            f"{path}: found {pga_g.min():.3g} to {pga_g.max():.3g} g with unit {shaking.unit!r}, "
            f"expected values above 0 and up to {LARGEST_RECORDED_G:g} g"
        )
    return Stations(lon[usable], lat[usable], pga_g)


def read_pga_raster(shaking: ShakingConfig, grid: GeoBox) -> tuple[CoarseRaster, CoarseRaster | None]:
    """Return the peak ground acceleration, in g, of a raster around `grid`, and the deviation of its logarithm.

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
    path = _given(shaking.raster, "raster")
    stored = read_coarse_raster(path, grid, crs=shaking.crs, nodata=shaking.nodata)
    pga = in_g(stored.values, str(shaking.unit)).astype(np.float32)
    known = pga[~np.isnan(pga)]
    # The exponential of -9999 is 0: an undeclared nodata value would pass for ground at rest.
    lowest_g = SMALLEST_LN_G if str(shaking.unit).startswith("ln") else 0.0
    if known.size and not lowest_g <= known.min() <= known.max() <= LARGEST_RECORDED_G:
        raise InputError(
            f"{path}: found PGA from {known.min():.3g} to {known.max():.3g} g with unit {shaking.unit!r}, expected "
            f"values of {lowest_g:g} or more and up to {LARGEST_RECORDED_G:g} g "
            "(is the unit right, and is nodata declared?)"
        )
    if shaking.raster_std is None:
        return stored._replace(values=pga), None
    deviation = read_coarse_raster(shaking.raster_std, grid, crs=shaking.crs, nodata=shaking.nodata)
    known = deviation.values[~np.isnan(deviation.values)]
    if known.size and not 0 <= known.min() <= known.max() <= LARGEST_LN_STD:
        raise InputError(
            f"{shaking.raster_std}: found {known.min():.3g} to {known.max():.3g}, expected standard deviations of "
            f"ln PGA from 0 to {LARGEST_LN_STD:g}"
        )
    return stored._replace(values=pga), deviation


def read_contours(shaking: ShakingConfig, crs: str) -> gpd.GeoDataFrame:
    """Return contours of peak ground acceleration, with the column ``pga_g`` in g, in `crs`: all lines or all polygons.

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
    path, field = _given(shaking.contours, "contours"), shaking.contour_field
    frame = read_vector(path, crs, what="contours of PGA").explode(ignore_index=True)
    _refuse_hazus(path, set(frame.columns))
    if field not in frame.columns:
        raise InputError(f"{path}: has no field {field!r}; found {', '.join(set(frame.columns) - {'geometry'})}")
    _require_unit(path, frame, str(shaking.unit))
    try:
        pga_g = in_g(frame[field].astype("float64"), str(shaking.unit))
    except (ValueError, TypeError):
        raise InputError(f"{path}: field {field!r} holds something that is no number") from None
    if not 0 < pga_g.min() <= pga_g.max() <= LARGEST_RECORDED_G:
        raise InputError(
            f"{path}: found {pga_g.min():.3g} to {pga_g.max():.3g} g with unit {shaking.unit!r}, "
            f"expected contours above 0 and up to {LARGEST_RECORDED_G:g} g"
        )
    kinds = set(frame.geom_type)
    if kinds not in ({"LineString"}, {"Polygon"}):
        raise InputError(f"{path}: found {' and '.join(sorted(kinds))}, expected either lines or polygons")
    return gpd.GeoDataFrame({"pga_g": pga_g}, geometry=frame.geometry, crs=frame.crs)


def _given(path: Path | None, key: str) -> Path:
    if path is None:
        raise ValueError(f"shaking.{key}: found None, expected a file")
    return path


def _refuse_hazus(path: Path, fields: set[str]) -> None:
    if "PARAMVALUE" not in fields:
        return
    if any(name.lower().startswith("hazus") for name in (path.stem, path.parent.name)):
        raise InputError(
            f"{path}: HAZUS shapefiles are scaled down by 15 %; expected shape.zip, raster.zip or grid.xml"
        )
    if path.stem.lower() == "pga" and not ({"mi", "mmi"} & _names_beside(path)):
        raise InputError(
            f"{path}: may be from hazus.zip, which is scaled down by 15 %; expected mi.shp beside it as in shape.zip, "
            "or raster.zip or grid.xml"
        )


def _names_beside(path: Path) -> set[str]:
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as archive:
            return {Path(name).stem.lower() for name in archive.namelist()}
    return {file.stem.lower() for file in path.parent.glob("*.shp")}


def _require_unit(path: Path, frame: gpd.GeoDataFrame, unit: str) -> None:
    """Refuse a unit other than the one that the features state, as those of ShakeMap do."""
    if "units" not in frame.columns:
        return
    stated = {str(text) for text in frame["units"].dropna().unique()}
    if any(known_unit(text) != unit for text in stated):
        raise InputError(f"{path}: found units {', '.join(sorted(stated))}, expected {unit!r} as shaking.unit says")
