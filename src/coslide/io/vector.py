"""Vector files of any format, brought into the CRS of the grid."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import shapely
from odc.geo.geobox import GeoBox
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj import CRS
from shapely.errors import GEOSException
from shapely.geometry import box

from coslide.crs import flat_crs
from coslide.errors import InputError
from coslide.io.databases import as_saved
from coslide.io.paths import read_head, require_regular_source
from coslide.io.raster import require_exact
from coslide.io.shapes import POLYGONS, densify, flat_shapes, only_kind

_ASSUMED = "ISO-8859-1"  # as pyogrio takes a Shapefile without .cpg
_STEP_DEG, _STEP_UNITS = 0.01, 1000.0  # about a kilometre: then a straight line is off by 2 cm after reprojection
_FARTHEST_DEG, _FARTHEST_UNITS = 720.0, 1e9  # beyond it a number is no coordinate, and cutting the line has no end
# At the far side of the Earth a transverse Mercator jumps from one end to the other; what crosses there would run
# straight through the grid.
_FARTHEST_NORTHING_M = 1.9e7


class Polygons(NamedTuple):
    """Polygons that overlap a grid, in its CRS and valid; the index is the number of each in its file, from 0.

    `repaired` counts those that were not valid, `lost` those of them that enclose no area and were left out.
    """

    frame: gpd.GeoDataFrame
    repaired: int
    lost: int


def read_vector(path: Path, crs: str, *, what: str, may_be_empty: bool = False) -> gpd.GeoDataFrame:
    """Read the features of a vector file into `crs`, flat (x, y), without missing or empty geometries.

    Parameters
    ----------
    path
        GeoPackage, GeoJSON, Shapefile, FlatGeobuf, KML or what else GDAL opens, or GeoParquet; with one layer.
    crs
        The CRS to return.
    what
        What the file holds, for messages ("landslides").
    may_be_empty
        Whether a file without any feature is returned as it is.

    Returns
    -------
    GeoDataFrame
        Its index is the number of each feature in the file, from 0.

    Raises
    ------
    InputError
        If it cannot be read, has no geometry, no CRS, several layers or no feature, or if its CRS cannot be brought to
        `crs`.

    Notes
    -----
    A line that is straight in the CRS of the file stays where it was: long edges get vertices between their ends before
    they are reprojected. Features that reach the far side of the Earth, where coordinates in `crs` mean nothing, are
    left out. Arcs become polylines.
    """
    with np.errstate(invalid="ignore"):  # shapely warns of NaN, which is refused below
        frame = _read(path)
    if not isinstance(frame, gpd.GeoDataFrame):
        raise InputError(f"{path}: has no geometry; expected {what}")
    frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty)]
    if frame.empty and not may_be_empty:
        raise InputError(f"{path}: holds no feature; expected {what}")
    if frame.crs is None:
        raise InputError(f"{path}: has no CRS; expected {what} in a known CRS")
    there = _reproject(frame, path, crs)
    if there.empty and not frame.empty:
        x, y = frame.total_bounds[:2]
        raise InputError(f"{path}: found x {x:g}, y {y:g} in {frame.crs.name}, expected {what} within reach of {crs}")
    return there


def read_polygons(path: Path, grid: GeoBox, *, what: str) -> Polygons:
    """Read the polygons of a vector file that overlap `grid`, in its CRS.

    Polygons that cross themselves are repaired: what the outline encloses, once or more, is inside.

    Parameters
    ----------
    path, what
        As in `read_vector`.
    grid
        Where polygons are wanted.

    Raises
    ------
    InputError
        As `read_vector`; or if a feature is no polygon, or none overlaps the grid.
    """
    frame = of_kind(read_vector(path, str(grid.crs), what=what), POLYGONS, path=path, what=what)
    area = box(*grid.boundingbox.bbox)
    frame = frame[shapely.intersects(shapely.box(*frame.bounds.to_numpy().T), area)]
    invalid = ~frame.is_valid.to_numpy()
    shapes = frame.geometry.to_numpy().copy()
    shapes[invalid] = shapely.make_valid(shapes[invalid], method="structure", keep_collapsed=False)
    frame = frame.set_geometry(shapes, crs=frame.crs)
    overlaps = frame.intersects(area)
    if not overlaps.any():
        raise InputError(f"{path}: none of its features overlaps the grid; expected {what} over the scene")
    return Polygons(frame[overlaps], int(invalid.sum()), int(frame.is_empty.sum()))


def of_kind(frame: gpd.GeoDataFrame, kinds: tuple[str, ...], *, path: Path, what: str) -> gpd.GeoDataFrame:
    """Require geometries of `kinds` (`LINES` or `POLYGONS`) only.

    Of a geometry collection, what it holds of these kinds is taken.

    Raises
    ------
    InputError
        If a geometry is or holds nothing of these kinds.
    """
    shapes = frame.geometry.to_numpy().copy()
    for i in np.flatnonzero(frame.geom_type == "GeometryCollection"):
        shapes[i] = only_kind(shapes[i], kinds)
    frame = frame.set_geometry(shapes, crs=frame.crs)
    if others := sorted(set(frame.geom_type) - set(kinds)):
        raise InputError(f"{path}: found {', '.join(others)}, expected {what}")
    return frame


def as_text(value: Any) -> str:
    """Write a value of a field as a user would: a whole number without decimals, nothing as "".

    Examples
    --------
    >>> as_text(12.0), as_text(" T1 "), as_text(None), as_text(float("nan")), as_text(-3.22)
    ('12', 'T1', '', '', '-3.22')
    """
    if pd.isna(value) is True:  # of a list it is an array
        return ""
    if isinstance(value, float | np.floating):
        return np.format_float_positional(value + 0.0, trim="-")  # + 0.0: there is no code -0
    return str(value).strip()


def field_as_text(frame: gpd.GeoDataFrame, field: str | None, *, path: Path, key: str) -> list[str]:
    """Read the values of a field as text (`as_text`), one per feature; `key` is where its name was given.

    Raises
    ------
    InputError
        If there is no such field, or `field` is None.
    """
    fields = [str(name) for name in frame.columns if name != frame.geometry.name]
    if field not in fields:
        found = "missing" if field is None else f"found {field!r}"
        raise InputError(
            f"{key}: {found}, expected a field of {path}: {', '.join(fields) or 'it has none'}{encoding_hint(frame)}"
        )
    return [as_text(value) for value in frame[field].to_list()]


def encoding_hint(frame: gpd.GeoDataFrame) -> str:
    """Tell, for a message, how to state the encoding of the text of a file where it was assumed, else nothing."""
    return str(frame.attrs.get("encoding", ""))


def quote_list(names: Iterable[str], *, most: int = 20) -> str:
    """Quote names for a message, sorted and shortened after `most`.

    Examples
    --------
    >>> quote_list(["T2", "T1", "T3"], most=2)
    "'T1', 'T2' and 1 more"
    """
    ordered = sorted(set(names))
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(repr(name) for name in ordered[:most]) + more


def holds_layers(path: Path) -> bool:
    """Tell whether `path` opens as a vector file.

    Raises
    ------
    InputError
        If it is a text that names other places, or no file whose reading comes to an end.
    """
    _require_features(path)
    if path.suffix.lower() == ".parquet":
        return True
    try:
        with as_saved(path) as saved:
            return len(pyogrio.list_layers(saved)) > 0
    except (DataSourceError, DataLayerError):
        return False


def _read(path: Path) -> Any:
    try:
        _require_features(path)
        if path.suffix.lower() == ".parquet":
            return gpd.read_parquet(path).reset_index(drop=True)
        with as_saved(path) as saved:
            layers = [str(name) for name, kind in pyogrio.list_layers(saved) if kind is not None]
            if len(layers) > 1:  # tables, such as the styles that QGIS leaves, do not count
                raise InputError(f"{path}: found the layers {', '.join(layers)}; expected a file with one of them")
            return _read_layer(saved, layers[0] if layers else None)
    except UnicodeDecodeError:
        raise InputError(f"{path}: found text in an unknown encoding, expected UTF-8 (save it as GeoPackage)") from None
    except (DataSourceError, DataLayerError, GEOSException, ValueError, OSError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: cannot be read as a vector file ({reason})") from None


def _read_layer(path: Path, layer: str | None) -> Any:
    """Read a layer; where a file does not tell the encoding of its text, UTF-8 is taken if the text is that."""
    if pyogrio.read_info(path, layer=layer)["encoding"] != _ASSUMED:
        return gpd.read_file(path, layer=layer)
    try:
        return gpd.read_file(path, layer=layer, encoding="UTF-8")
    except UnicodeDecodeError:
        frame = gpd.read_file(path, layer=layer, encoding=_ASSUMED)
        frame.attrs["encoding"] = f" ({_ASSUMED} was assumed; if its text has another encoding, a .cpg file with "
        frame.attrs["encoding"] += "its name, such as GBK, UTF-8 or SHIFT_JIS, beside the .shp tells)"
        return frame


def _require_features(path: Path) -> None:
    """Raise, before GDAL opens it, if a source is no file, or a text (known by its head) that names other places."""
    require_regular_source(path)
    if any(word in read_head(path) for word in (b"<OGRVRTDataSource", b"<OGRWFSDataSource")):
        raise InputError(f"{path}: is a VRT or describes a web service; expected the features themselves")


def _reproject(frame: gpd.GeoDataFrame, path: Path, crs: str) -> gpd.GeoDataFrame:
    source = CRS.from_user_input(flat_crs(frame.crs.to_wkt(), str(path)))
    frame = frame.set_crs(source, allow_override=True)
    require_exact(str(path), source, crs)
    step, farthest = (_STEP_DEG, _FARTHEST_DEG) if source.is_geographic else (_STEP_UNITS, _FARTHEST_UNITS)
    _require_numbers(frame, path)
    frame = frame[(frame.bounds.abs() <= farthest).all(axis=1)]
    shapes = flat_shapes(frame.geometry.to_numpy())
    if source != CRS.from_user_input(crs):
        dense = densify(shapes, step, name=str(path))
        shapes = gpd.GeoSeries(dense, crs=source).to_crs(crs).to_numpy()
    frame = frame.set_geometry(shapes, crs=crs)
    bounds = frame.bounds  # infinite where `crs` has no coordinates
    return frame[(bounds["miny"] > -_FARTHEST_NORTHING_M) & (bounds["maxy"] < _FARTHEST_NORTHING_M)]


def _require_numbers(frame: gpd.GeoDataFrame, path: Path) -> None:
    """Require finite coordinates: bounds do not show a NaN in a line."""
    xy, owner = shapely.get_coordinates(frame.geometry.to_numpy(), return_index=True)
    if (wrong := ~np.isfinite(xy).all(axis=1)).any():
        x, y = xy[wrong][0]
        number = frame.index[int(owner[wrong][0])]
        raise InputError(f"{path}: feature {number}: found x {x:g}, y {y:g}, expected finite coordinates")
