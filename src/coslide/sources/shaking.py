"""Peak ground acceleration (PGA): its units, and ShakeMap grids, stations and rasters of it."""

from pathlib import Path
from typing import NamedTuple, Self
from xml.etree.ElementTree import Element  # the type only: defusedxml does the reading

import numpy as np
from numpy.typing import ArrayLike, NDArray
from odc.geo.geobox import GeoBox
from rasterio.transform import Affine

from coslide.config.schema import ShakingConfig
from coslide.errors import InputError
from coslide.io.raster import CoarseRaster, read_coarse_raster
from coslide.io.table import read_table
from coslide.sources.documents import read_xml

STANDARD_GRAVITY_M_S2 = 9.80665
G_PER_UNIT = {"g": 1.0, "%g": 0.01, "m/s2": 1 / STANDARD_GRAVITY_M_S2, "cm/s2": 0.01 / STANDARD_GRAVITY_M_S2}
LARGEST_RECORDED_G = 5.0  # 4.36 g at IWTH25 on 2008-06-14 is the largest recorded so far (Aoi et al. 2008)
SMALLEST_LN_G = 1e-6  # below it a logarithm is no acceleration that anybody measures
LARGEST_LN_STD = 5.0
"""A standard deviation of ln PGA beyond this (a factor of 148) is none; ground motion models have 0.5 to 0.8."""

_SPECIFICATION = ("lon_min", "lat_min", "lon_max", "lat_max", "nlon", "nlat")
_OTHER_NAMES = {"pctg": "%g", "percentg": "%g", "gal": "cm/s2"}


class ShakeMap(NamedTuple):
    """A ShakeMap.

    Attributes
    ----------
    pga_g
        Peak ground acceleration in g.
    ln_std
        Standard deviation of its natural logarithm (no unit); None where the map has none.
    version
        Its id, version and status, as the map states them.
    notes
        Lines for the log.
    epicentre
        Longitude and latitude in degrees; None where the map does not tell.
    """

    pga_g: CoarseRaster
    ln_std: CoarseRaster | None
    version: str
    notes: tuple[str, ...]
    epicentre: tuple[float, float] | None


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
    plain = text.lower().replace(" ", "").replace("^", "").replace("/s/s", "/s2")
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
        found = f"found PGA from {valid.min():.3g} to {valid.max():.3g} g with unit {unit!r}"
        expected = f"{'above 0' if positive else f'of {least_g:g} or more'} and up to {LARGEST_RECORDED_G:g} g"
        raise InputError(f"{name}: {found}, expected values {expected} (is the unit right, and is nodata declared?)")
    return pga_g


def read_shakemap(path: Path, *, uncertainty: Path | None = None) -> ShakeMap:
    """Read the peak ground acceleration, in g, of a ShakeMap ``grid.xml`` and how uncertain it is.

    Parameters
    ----------
    path
        ``grid.xml`` of any version of ShakeMap. Its fields are found by name, wherever they stand.
    uncertainty
        The ``uncertainty.xml`` beside it; its STDPGA then goes before that of ``grid.xml``, which may have none.

    Raises
    ------
    InputError
        If a file is no ShakeMap grid, declares a document type or entities, has no PGA (or `uncertainty` no STDPGA),
        states a unit that is none of acceleration, has more or fewer values than nodes, lists its nodes in another
        order, or holds impossible values.

    Notes
    -----
    Rows of the file are nodes, with longitude running fastest, from north to south [1]_. A node is the centre of a
    pixel that reaches half a spacing to each side. Longitudes and latitudes follow from the corners and the number of
    nodes: the printed ones are rounded and only show the order. Units are those of the field: ``pctg`` or ``%g``
    (percent of g), ``g``, or logarithms. Where the file leaves them empty, PGA is in percent of g, as documented [1]_,
    and that is logged. STDPGA is the standard deviation of the natural logarithm, whatever unit the field bears.

    References
    ----------
    .. [1] Worden, Thompson, Hearne, Wald (2020), ShakeMap Manual, doi:10.5066/F7D21VPQ, "XML grid".
    """
    grid = _ShakeMapGrid.read(path)
    pga_g = pga_in_g(str(path), *grid.values_and_unit("PGA"))
    if not (pga_g > 0).any():
        raise InputError(f"{path}: holds no value of PGA above 0")
    ln_std = None
    if uncertainty is not None or "STDPGA" in grid.fields:
        other = grid if uncertainty is None else _ShakeMapGrid.read(uncertainty)
        values, _ = other.values_and_unit("STDPGA")
        ln_std = _checked_ln_std(other.path, CoarseRaster(values.astype(np.float32), other.geobox))
    version = f"{grid.about.get('shakemap_id', 'no id')} version {grid.about.get('shakemap_version', 'not recorded')}"
    version += f" ({grid.about.get('map_status', 'no status')}, {grid.about.get('process_timestamp', 'no time')})"
    rows, columns = pga_g.shape
    notes = [f"ShakeMap {version}: {columns} x {rows} nodes, {np.nanmin(pga_g):.3g} to {np.nanmax(pga_g):.3g} g"]
    if not grid.fields["PGA"][1]:
        notes.append("PGA has no unit in the file: taken for percent of g, as ShakeMap documents it")
    pga = CoarseRaster(pga_g.astype(np.float32), grid.geobox)
    return ShakeMap(pga, ln_std, version, tuple(notes), grid.epicentre)


def read_stations(shaking: ShakingConfig) -> Stations:
    """Read the stations of a CSV table that recorded a peak ground acceleration, in g.

    Rows without a value or a place are left out.

    Raises
    ------
    InputError
        If the table cannot be read, lacks a column, holds text where a number belongs, a place that is none or no
        station with a value, or if a value is not positive or beyond 5 g (a wrong unit).
    """
    path, columns, unit = shaking.path, shaking.columns, str(shaking.unit)
    names = columns.lon, columns.lat, columns.pga
    table = read_table(path, names, numbers=names).dropna()
    lon, lat, pga = table.to_numpy(dtype=np.float64).T
    if not pga.size:
        raise InputError(f"{path}: no station has a value in column {columns.pga!r}")
    pga_g = pga * G_PER_UNIT[unit]
    for row in np.flatnonzero((pga_g <= 0) | (pga_g > LARGEST_RECORDED_G)):
        found = f"found {pga[row]:g} as {columns.pga}, {pga_g[row]:.3g} g with shaking.unit {unit!r}"
        expected = (
            f"expected above 0 and up to {LARGEST_RECORDED_G:g} g (is shaking.unit right? Leave empty what is none)"
        )
        raise InputError(f"{path}: line {table.index[int(row)]}: {found}; {expected}")
    return Stations(lon, lat, pga_g)


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
    pga = read_coarse_raster(shaking.path, grid, crs=shaking.crs, nodata=shaking.nodata)
    pga = pga._replace(values=pga_in_g(str(shaking.path), pga.values, str(shaking.unit)).astype(np.float32))
    if shaking.raster_std is None:
        return pga, None
    deviation = read_coarse_raster(shaking.raster_std, grid, crs=shaking.crs, nodata=shaking.nodata)
    return pga, _checked_ln_std(shaking.raster_std, deviation)


class _ShakeMapGrid(NamedTuple):
    """What the file at `path` holds; of each field the values, (row, col) from north to south, and the stated unit."""

    path: Path
    about: dict[str, str]
    geobox: GeoBox
    fields: dict[str, tuple[NDArray[np.float64], str]]
    epicentre: tuple[float, float] | None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a grid; its nodes run eastwards and then southwards (printed places drift by far less than a node)."""
        root = read_xml(path)
        specification, data = root.find("{*}grid_specification"), root.find("{*}grid_data")  # whatever their namespace
        if specification is None or data is None:
            raise InputError(f"{path}: has no grid_specification and grid_data; expected a ShakeMap grid.xml")
        geobox = _geobox(path, specification)
        listed = root.findall("{*}grid_field")
        indices = [field.get("index", "") for field in listed]
        if not listed or set(indices) != {str(number) for number in range(1, len(listed) + 1)}:
            raise InputError(f"{path}: found grid_field with index {indices}, expected 1, 2, 3, ...")
        try:
            # 27 MB of text in less than a second
            values: NDArray[np.float64] = np.fromstring(data.text or "", sep=" ")
        except ValueError:
            raise InputError(f"{path}: grid_data holds something that is no number") from None
        nodes = geobox.shape.x * geobox.shape.y
        if values.size != len(listed) * nodes:
            expected = f"{len(listed) * nodes} ({len(listed)} fields of {nodes} nodes)"
            raise InputError(f"{path}: found {values.size} values in grid_data, expected {expected}")
        planes = np.moveaxis(values.reshape(*geobox.shape, len(listed)), -1, 0)
        fields = {
            field.get("name", "").strip().upper(): (planes[int(index) - 1], field.get("units", "").strip())
            for index, field in zip(indices, listed, strict=True)
        }
        if {"LON", "LAT"} <= set(fields):
            north, east = (axis.values for axis in geobox.coordinates.values())
            off_x = np.abs((fields["LON"][0] - east + 180.0) % 360.0 - 180.0).max() / geobox.affine.a
            off_y = np.abs(fields["LAT"][0] - north[:, np.newaxis]).max() / -geobox.affine.e
            if not max(off_x, off_y) < 0.5:
                expected = "expected rows from west to east, north to south"
                raise InputError(f"{path}: grid_data is in another order, {expected}")
        return cls(path, dict(root.attrib), geobox, fields, _epicentre(root.find("{*}event")))

    def values_and_unit(self, name: str) -> tuple[NDArray[np.float64], str]:
        """Find the values of a field and their unit: percent of g where the file states none."""
        if name not in self.fields:
            raise InputError(f"{self.path}: has no field {name}; found {', '.join(self.fields)}")
        values, stated = self.fields[name]
        unit = parse_unit(stated or "%g")
        if unit is None:
            expected = "expected pctg, %g, g, ln(g) or ln(pctg)"
            raise InputError(f"{self.path}: found the unit {stated!r} for {name}, {expected}")
        return values, unit


def _epicentre(element: Element | None) -> tuple[float, float] | None:
    """Read longitude and latitude of the earthquake; None where the file does not tell, or tells no place on Earth."""
    try:
        lon, lat = (float(element.attrib[key]) for key in ("lon", "lat")) if element is not None else (np.nan, np.nan)
    except (KeyError, ValueError):
        return None
    return (lon, lat) if abs(lon) <= 360 and abs(lat) <= 90 else None


def _geobox(path: Path, element: Element) -> GeoBox:
    """Read the grid of pixels that have the nodes in their centres."""
    try:
        west, south, east, north, columns, rows = (float(element.attrib[key]) for key in _SPECIFICATION)
    except KeyError as error:
        raise InputError(f"{path}: grid_specification has no {error.args[0]}") from None
    except ValueError as error:
        raise InputError(f"{path}: grid_specification: {error}, expected numbers") from None
    if east < west:
        east += 360.0  # the map lies across the 180th meridian
    fits = west < east <= west + 360 and -90 <= south < north <= 90
    if not (fits and columns >= 2 and rows >= 2 and columns % 1 == rows % 1 == 0):
        found = ", ".join(f"{key} {element.attrib[key]}" for key in _SPECIFICATION)
        raise InputError(f"{path}: grid_specification: found {found}, expected an area and at least 2 x 2 nodes")
    step_x, step_y = (east - west) / (columns - 1), (north - south) / (rows - 1)
    transform = Affine(step_x, 0.0, west - step_x / 2, 0.0, -step_y, north + step_y / 2)
    return GeoBox((int(rows), int(columns)), transform, "EPSG:4326")


def _checked_ln_std(path: Path, ln_std: CoarseRaster) -> CoarseRaster:
    """Check that values can be standard deviations of ln PGA; NaN passes."""
    valid = ln_std.values[~np.isnan(ln_std.values)]
    if not ((valid >= 0) & (valid <= LARGEST_LN_STD)).all():
        found = f"found {valid.min():.3g} to {valid.max():.3g}"
        raise InputError(f"{path}: {found}, expected standard deviations of ln PGA from 0 to {LARGEST_LN_STD:g}")
    return ln_std
