"""ShakeMap: the shaking of an earthquake at nodes of longitude and latitude, as ``grid.xml``."""

from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element  # the type only: defusedxml does the reading

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.transform import Affine

from coslide.errors import InputError
from coslide.io.raster import CoarseRaster
from coslide.sources.safe import parse_xml, read_document
from coslide.sources.shaking import parse_unit, pga_in_g, require_ln_std

_SPECIFICATION = ("lon_min", "lat_min", "lon_max", "lat_max", "nlon", "nlat")


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
    """

    pga_g: CoarseRaster
    ln_std: CoarseRaster | None
    version: str
    notes: tuple[str, ...]


class _Grid(NamedTuple):
    about: dict[str, str]
    geobox: GeoBox
    fields: dict[str, tuple[str, NDArray[np.float64]]]  # unit, and values (row, col) from north to south

    def field(self, path: Path, name: str) -> tuple[str, NDArray[np.float64]]:
        """Find the unit and the values of a field of the file at `path`."""
        if name not in self.fields:
            raise InputError(f"{path}: has no field {name}; found {', '.join(self.fields)}")
        return self.fields[name]


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
    grid = _read_grid(path)
    stated, values = grid.field(path, "PGA")
    unit = parse_unit(stated or "%g")
    if unit is None:
        raise InputError(f"{path}: found the unit {stated!r} for PGA, expected pctg, %g, g, ln(g) or ln(pctg)")
    pga_g = pga_in_g(str(path), values, unit)
    if not (pga_g > 0).any():
        raise InputError(f"{path}: holds no value of PGA above 0")
    ln_std = None
    if uncertainty is not None:
        ln_std = _ln_std(uncertainty, _read_grid(uncertainty))
    elif "STDPGA" in grid.fields:
        ln_std = _ln_std(path, grid)
    about = grid.about
    version = f"{about.get('shakemap_id', 'no id')} version {about.get('shakemap_version', 'not recorded')}"
    version += f" ({about.get('map_status', 'no status')}, {about.get('process_timestamp', 'no time')})"
    rows, columns = pga_g.shape
    notes = [f"ShakeMap {version}: {columns} x {rows} nodes, {np.nanmin(pga_g):.3g} to {np.nanmax(pga_g):.3g} g"]
    if not stated:
        notes.append("PGA has no unit in the file: taken for percent of g, as ShakeMap documents it")
    pga = CoarseRaster(pga_g.astype(np.float32), grid.geobox)
    return ShakeMap(pga, ln_std, version, tuple(notes))


def _ln_std(path: Path, grid: _Grid) -> CoarseRaster:
    stated, values = grid.field(path, "STDPGA")
    if stated and parse_unit(stated) is None:
        raise InputError(f"{path}: found the unit {stated!r} for STDPGA, expected ln(g) or ln(pctg)")
    require_ln_std(str(path), values)
    return CoarseRaster(values.astype(np.float32), grid.geobox)


def _read_grid(path: Path) -> _Grid:
    root = parse_xml(read_document(path), str(path))
    specification, data = root.find("{*}grid_specification"), root.find("{*}grid_data")  # whatever their namespace
    if specification is None or data is None:
        raise InputError(f"{path}: has no grid_specification and grid_data; expected a ShakeMap grid.xml")
    geobox = _geobox(path, specification)
    rows, columns = geobox.shape
    listed = root.findall("{*}grid_field")
    by_index = {field.get("index", ""): field for field in listed}
    order = [str(number) for number in range(1, len(listed) + 1)]
    if not listed or set(order) != set(by_index):
        found = [field.get("index") for field in listed]
        raise InputError(f"{path}: found grid_field with index {found}, expected 1, 2, 3, ...")
    names = [by_index[index].get("name", "").strip().upper() for index in order]
    units = [by_index[index].get("units", "").strip() for index in order]
    try:
        # 27 MB of text in less than a second
        values: NDArray[np.float64] = np.fromstring(data.text or "", sep=" ")
    except ValueError:
        raise InputError(f"{path}: grid_data holds something that is no number") from None
    if values.size != len(names) * rows * columns:
        expected = f"{len(names) * rows * columns} ({len(names)} fields of {rows * columns} nodes)"
        raise InputError(f"{path}: found {values.size} values in grid_data, expected {expected}")
    planes = np.moveaxis(values.reshape(rows, columns, len(names)), -1, 0)
    fields = {name: (unit, plane) for name, unit, plane in zip(names, units, planes, strict=True)}
    if {"LON", "LAT"} <= set(fields):
        _require_order(path, fields["LON"][1], fields["LAT"][1], geobox)
    return _Grid(dict(root.attrib), geobox, fields)


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


def _require_order(path: Path, lon: NDArray[np.float64], lat: NDArray[np.float64], geobox: GeoBox) -> None:
    """Refuse nodes that do not run eastwards and then southwards; the printed places drift by far less than a node."""
    expected_lat, expected_lon = (axis.values for axis in geobox.coordinates.values())
    off_x = np.abs((lon - expected_lon + 180.0) % 360.0 - 180.0).max() / geobox.affine.a
    off_y = np.abs(lat - expected_lat[:, np.newaxis]).max() / -geobox.affine.e
    if not max(off_x, off_y) < 0.5:
        raise InputError(f"{path}: grid_data is in another order, expected rows from west to east, north to south")
