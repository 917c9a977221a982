"""Peak ground acceleration (PGA): its units, and stations, rasters and contours of it.

`coslide.sources.shakemap` reads ShakeMap grids.
"""

import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import geopandas as gpd
import numpy as np
from numpy.typing import ArrayLike, NDArray
from odc.geo.geobox import GeoBox

from coslide.config.schema import ShakingConfig
from coslide.errors import InputError
from coslide.io.raster import CoarseRaster, read_coarse_raster
from coslide.io.vector import read_table, read_vector

STANDARD_GRAVITY_M_S2 = 9.80665
G_PER_UNIT = {"g": 1.0, "%g": 0.01, "m/s2": 1 / STANDARD_GRAVITY_M_S2, "cm/s2": 0.01 / STANDARD_GRAVITY_M_S2}
LARGEST_RECORDED_G = 5.0  # 4.36 g at IWTH25 on 2008-06-14 is the largest recorded so far (Aoi et al. 2008)
SMALLEST_LN_G = 1e-6  # below it a logarithm is no acceleration that anybody measures
LARGEST_LN_STD = 5.0
"""A standard deviation of ln PGA beyond this (a factor of 148) is none; ground motion models have 0.5 to 0.8."""

_OTHER_NAMES = {
    "pctg": "%g", "percentg": "%g", "gal": "cm/s2", "cm/s^2": "cm/s2", "cm/s/s": "cm/s2", "m/s^2": "m/s2",
    "m/s/s": "m/s2",
}  # fmt: skip


class Stations(NamedTuple):
    """Longitude and latitude in degrees (WGS 84) and peak ground acceleration in g, each float64 (station,)."""

    lon_deg: NDArray[np.float64]
    lat_deg: NDArray[np.float64]
    pga_g: NDArray[np.float64]


def parse_unit(text: str) -> str | None:
    """Parse a unit of acceleration to a key of `G_PER_UNIT` or ``"ln(...)"`` of one; None where it is no such unit.

    Examples
    --------
    >>> parse_unit("pctg"), parse_unit("ln(pctg)"), parse_unit("cm/s")
    ('%g', 'ln(%g)', None)
    """
    plain = text.lower().replace(" ", "")
    if plain.startswith("ln(") and plain.endswith(")"):
        inner = parse_unit(plain[3:-1])
        return f"ln({inner})" if inner else None
    unit = _OTHER_NAMES.get(plain, plain)
    return unit if unit in G_PER_UNIT else None


def pga_in_g(name: str, values: ArrayLike, unit: str, *, positive: bool = False) -> NDArray[np.float64]:
    """Convert peak ground accelerations to g, float64 of the shape of `values`; each must be a possible one, or NaN.

    Parameters
    ----------
    name
        What messages call the source.
    values
        In `unit`.
    unit
        A key of `G_PER_UNIT`, or ``"ln(...)"`` of one for natural logarithms.
    positive
        Whether 0 is refused too.

    Raises
    ------
    InputError
        If one is negative, less than 1e-6 g as a logarithm (the exponential of -9999 is 0: an undeclared nodata value
        would pass for no shaking), or beyond 5 g: then the unit is wrong, or a value stands for nodata.

    Examples
    --------
    >>> pga_in_g("grid.xml", [25.0], "%g"), pga_in_g("pga_mean.flt", [np.log(0.25)], "ln(g)")
    (array([0.25]), array([0.25]))
    """
    numbers, logarithms = np.asarray(values, dtype=np.float64), unit.startswith("ln(")
    with np.errstate(over="ignore"):  # what is too large for a float becomes infinite, and is refused
        linear = np.exp(numbers) if logarithms else numbers
    pga_g = np.asarray(linear * G_PER_UNIT[unit.removeprefix("ln(").removesuffix(")")])
    least_g = SMALLEST_LN_G if logarithms else 0.0
    valid = pga_g[~np.isnan(pga_g)]
    if ((valid < least_g) | (valid > LARGEST_RECORDED_G) | (positive & (valid == 0))).any():
        expected = "above 0" if positive else f"of {least_g:g} or more"
        raise InputError(
            f"{name}: found PGA from {valid.min():.3g} to {valid.max():.3g} g with unit {unit!r}, expected values "
            f"{expected} and up to {LARGEST_RECORDED_G:g} g (is the unit right, and is nodata declared?)"
        )
    return pga_g


def require_ln_std(name: str, ln_std: NDArray[Any]) -> None:
    """Check that values can be standard deviations of ln PGA; NaN passes.

    Raises
    ------
    InputError
        If they are negative or beyond 5.
    """
    valid = ln_std[~np.isnan(ln_std)]
    if not ((valid >= 0) & (valid <= LARGEST_LN_STD)).all():
        found = f"found {valid.min():.3g} to {valid.max():.3g}"
        raise InputError(f"{name}: {found}, expected standard deviations of ln PGA from 0 to {LARGEST_LN_STD:g}")


def read_stations(shaking: ShakingConfig) -> Stations:
    """Read the stations of a CSV table that recorded a peak ground acceleration, in g.

    Rows without a value or a place are left out.

    Raises
    ------
    InputError
        If the table cannot be read, lacks a column, holds text where a number belongs, a place that is none or no
        station with a value, or if a value is not positive or beyond 5 g (a wrong unit).
    """
    path, columns = shaking.path, shaking.columns
    names = columns.lon, columns.lat, columns.pga
    lon, lat, pga = values = read_table(path, names, numbers=names)[[*names]].to_numpy().T
    usable = np.isfinite(values).all(axis=0)
    if not usable.any():
        raise InputError(f"{path}: no station has a value in column {columns.pga!r}")
    return Stations(lon[usable], lat[usable], pga_in_g(str(path), pga[usable], str(shaking.unit), positive=True))


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
        As `coslide.io.raster.read_coarse_raster`, or if values are negative, or beyond 5 g: then the unit is
        wrong, or an undeclared value means "nothing here".
    """
    stored = read_coarse_raster(shaking.path, grid, crs=shaking.crs, nodata=shaking.nodata)
    pga_g = pga_in_g(str(shaking.path), stored.values, str(shaking.unit)).astype(np.float32)
    pga = stored._replace(values=pga_g)
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
        pga_g = pga_in_g(str(path), frame[field].astype("float64"), unit, positive=True)
    except (ValueError, TypeError):
        raise InputError(f"{path}: field {field!r} holds something that is no number") from None
    if np.isnan(pga_g).any():
        raise InputError(f"{path}: field {field!r} is empty for some contours, expected numbers")
    kinds = set(frame.geom_type)
    if kinds not in ({"LineString"}, {"Polygon"}):
        raise InputError(f"{path}: found {' and '.join(sorted(kinds))}, expected either lines or polygons")
    return gpd.GeoDataFrame({"pga_g": pga_g}, geometry=frame.geometry, crs=frame.crs)


def _refuse_hazus(path: Path, fields: set[str]) -> None:
    if "PARAMVALUE" not in fields:
        return
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as archive:
            beside = {Path(name).stem.lower() for name in archive.namelist()}
    else:
        beside = {file.stem.lower() for file in path.parent.glob("*.shp")}
    named = any(name.lower().startswith("hazus") for name in (path.stem, path.parent.name))
    if named or (path.stem.lower() == "pga" and not {"mi", "mmi"} & beside):
        expected = "expected one with mi.shp beside it as in shape.zip, or raster.zip or grid.xml"
        raise InputError(f"{path}: may be one of the HAZUS shapefiles, which are scaled down by 15 %; {expected}")
