"""ShakeMap: the shaking of an earthquake at nodes of longitude and latitude, as ``grid.xml``."""

from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element  # the type only: defusedxml does the reading

import numpy as np
from numpy.typing import NDArray
from rasterio.transform import Affine

from coslide.errors import InputError
from coslide.io.coarse_raster import CoarseRaster
from coslide.sources.pga_units import LARGEST_LN_STD, LARGEST_RECORDED_G, in_g, known_unit
from coslide.sources.safe import parse_xml

_CRS = "EPSG:4326"
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
        What the map says of itself: its id, version and status.
    notes
        Lines for the log.
    """

    pga_g: CoarseRaster
    ln_std: CoarseRaster | None
    version: str
    notes: tuple[str, ...]


class _Grid(NamedTuple):
    path: Path
    root: Element
    units: dict[str, str]
    columns: dict[str, NDArray[np.float64]]  # (row, col), from north to south
    transform: Affine


def read_shakemap(path: Path, *, uncertainty: Path | None = None) -> ShakeMap:
    """Return the peak ground acceleration, in g, of a ShakeMap ``grid.xml`` and how uncertain it is.

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
    Rows of the file are nodes, with longitude running fastest, from north to south [1]_. A node is the centre of a cell
    that reaches half a spacing to each side. Longitudes and latitudes follow from the corners and the number of nodes:
    the printed ones are rounded and only show the order. Units are those of the field: ``pctg`` or ``%g`` (percent of
    g), ``g``, or logarithms. Where the file leaves them empty, PGA is in percent of g, as documented [1]_; the log says
    so. STDPGA is the standard deviation of the natural logarithm, whatever unit the field bears.

    References
    ----------
    .. [1] Worden, Thompson, Hearne, Wald (2020), ShakeMap Manual, doi:10.5066/F7D21VPQ, "XML grid".
    """
    grid = _read_grid(path)
    pga, said = _pga_g(grid)
    deviation = _ln_std(grid if uncertainty is None else _read_grid(uncertainty), required=uncertainty is not None)
    about = grid.root.attrib
    version = f"{about.get('shakemap_id', 'no id')} version {about.get('shakemap_version', 'not recorded')}"
    version += f" ({about.get('map_status', 'no status')}, {about.get('process_timestamp', 'no time')})"
    rows, columns = pga.shape
    notes = (f"ShakeMap {version}: {columns} x {rows} nodes, {np.nanmin(pga):.3g} to {np.nanmax(pga):.3g} g", *said)
    return ShakeMap(CoarseRaster(pga.astype(np.float32), grid.transform, _CRS), deviation, version, notes)


def _pga_g(grid: _Grid) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    if "PGA" not in grid.columns:
        raise InputError(f"{grid.path}: has no field PGA; found {', '.join(grid.columns)}")
    stated = grid.units["PGA"]
    unit = known_unit(stated) if stated else "%g"
    if unit is None:
        raise InputError(f"{grid.path}: found the unit {stated!r} for PGA, expected pctg, %g, g, ln(g) or ln(pctg)")
    pga = in_g(grid.columns["PGA"], unit)
    known = pga[~np.isnan(pga)]
    if known.size == 0:
        raise InputError(f"{grid.path}: holds no value of PGA")
    if known.min() < 0 or not 0 < known.max() <= LARGEST_RECORDED_G:
        raise InputError(
            f"{grid.path}: found PGA from {known.min():.3g} to {known.max():.3g} g with the unit {stated or '%g'!r}, "
            f"expected values of 0 or more and up to {LARGEST_RECORDED_G:g} g"
        )
    return pga, () if stated else ("PGA has no unit in the file: taken for percent of g, as ShakeMap documents it",)


def _ln_std(grid: _Grid, *, required: bool) -> CoarseRaster | None:
    if "STDPGA" not in grid.columns:
        if required:
            raise InputError(f"{grid.path}: has no field STDPGA; found {', '.join(grid.columns)}")
        return None
    stated = grid.units["STDPGA"]
    if stated and known_unit(stated) is None:
        raise InputError(f"{grid.path}: found the unit {stated!r} for STDPGA, expected ln(g) or ln(pctg)")
    deviation = grid.columns["STDPGA"]
    known = deviation[~np.isnan(deviation)]
    if known.size and not 0 <= known.min() <= known.max() <= LARGEST_LN_STD:
        found = f"{known.min():.3g} to {known.max():.3g}"
        raise InputError(f"{grid.path}: found STDPGA from {found}, expected 0 to {LARGEST_LN_STD:g}")
    return CoarseRaster(deviation.astype(np.float32), grid.transform, _CRS)


def _read_grid(path: Path) -> _Grid:
    try:
        xml = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    root = parse_xml(xml, str(path))
    parts = {child.tag.rpartition("}")[2]: child for child in root}  # whichever namespace they are in
    if not {"grid_specification", "grid_data"} <= set(parts):
        raise InputError(f"{path}: has no grid_specification and grid_data; expected a ShakeMap grid.xml")
    bounds, (rows, columns) = _specification(path, parts["grid_specification"])
    fields = _fields(path, root)
    values = _values(path, parts["grid_data"], len(fields), rows * columns).reshape(rows, columns, len(fields))
    named = {name: values[..., index] for index, name in fields}
    west, south, east, north = bounds
    step_x, step_y = (east - west) / (columns - 1), (north - south) / (rows - 1)
    transform = Affine(step_x, 0.0, west - step_x / 2, 0.0, -step_y, north + step_y / 2)
    _require_order(path, named, transform)
    units = {_name(field): field.get("units", "").strip() for field in _field_elements(root)}
    return _Grid(path, root, units, named, transform)


def _specification(path: Path, element: Element) -> tuple[tuple[float, float, float, float], tuple[int, int]]:
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
    return (west, south, east, north), (int(rows), int(columns))


def _field_elements(root: Element) -> list[Element]:
    return [child for child in root if child.tag.rpartition("}")[2] == "grid_field"]


def _name(field: Element) -> str:
    return field.get("name", "").strip().upper()


def _fields(path: Path, root: Element) -> list[tuple[int, str]]:
    """Return the column, from 0, and the name of each field."""
    elements = _field_elements(root)
    try:
        fields = sorted((int(element.get("index", "")) - 1, _name(element)) for element in elements)
    except ValueError:
        fields = []
    if not fields or [index for index, _ in fields] != list(range(len(fields))):
        found = [element.get("index") for element in elements]
        raise InputError(f"{path}: found grid_field with index {found}, expected 1, 2, 3, ...")
    return fields


def _values(path: Path, data: Element, fields: int, nodes: int) -> NDArray[np.float64]:
    try:
        values: NDArray[np.float64] = np.fromstring(data.text or "", sep=" ")  # 27 MB of text in less than a second
    except ValueError:
        raise InputError(f"{path}: grid_data holds something that is no number") from None
    data.text = None
    if values.size != fields * nodes:
        expected = f"{fields * nodes} ({fields} fields of {nodes} nodes)"
        raise InputError(f"{path}: found {values.size} values in grid_data, expected {expected}")
    return values


def _require_order(path: Path, named: dict[str, NDArray[np.float64]], transform: Affine) -> None:
    """Refuse nodes that do not run eastwards and then southwards; the printed places drift by far less than a node."""
    if not {"LON", "LAT"} <= set(named):
        return
    rows, columns = named["LON"].shape
    lon = transform.c + transform.a * (np.arange(columns) + 0.5)
    lat = transform.f + transform.e * (np.arange(rows) + 0.5)
    off_x = np.abs((named["LON"] - lon + 180.0) % 360.0 - 180.0).max() / transform.a
    off_y = np.abs(named["LAT"] - lat[:, np.newaxis]).max() / -transform.e
    if not max(off_x, off_y) < 0.5:
        raise InputError(f"{path}: grid_data is in another order, expected rows from west to east, north to south")
