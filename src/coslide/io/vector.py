"""Vector files of any format, brought into the CRS of the grid."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, Self

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import shapely
from odc.geo.geobox import GeoBox
from pyogrio.errors import DataLayerError, DataSourceError
from shapely.errors import GEOSException
from shapely.geometry import box

from coslide.errors import InputError, first_line
from coslide.io.databases import as_saved
from coslide.io.paths import read_head, require_regular_source
from coslide.io.reproject import reproject
from coslide.io.shapes import POLYGONS, only_kind
from coslide.io.whole import require_whole_shapefile

_log = logging.getLogger(__name__)
_FOLDERS = {"KML", "LIBKML"}  # formats whose layers are the folders of one drawing
_ASSUMED = "ISO-8859-1"  # as pyogrio takes a Shapefile without .cpg


class VectorFile(NamedTuple):
    """A vector file, which of its layers to read (a name or several; None: see `read_vector`), and its encoding.

    `encoding` is that of its text; None means what it states. `key` is what chooses a layer, for messages; what states
    the encoding has the same name, with encoding for layer.
    """

    path: Path
    layer: str | tuple[str, ...] | None = None
    encoding: str | None = None
    key: str = "layer"

    @classmethod
    def of(cls, path: Path, table: object, prefix: str) -> Self:
        """Take layer and encoding of the file at `path` from a table of settings.

        `prefix` is what their names begin with, after the name of the table: ``"grid.area_"``, ``"faults."``.
        """
        begin = prefix.rpartition(".")[2]
        layer, encoding = getattr(table, f"{begin}layer"), getattr(table, f"{begin}encoding")
        return cls(path, layer, encoding, f"{prefix}layer")

    @property
    def encoding_key(self) -> str:
        """What states the encoding."""
        return f"{self.key.removesuffix('layer')}encoding"


class Polygons(NamedTuple):
    """Polygons that overlap a grid, in its CRS and valid; the index is the number of each in its file, from 0.

    `repaired` counts those that were not valid, `lost` those of them that enclose no area and were left out.
    """

    frame: gpd.GeoDataFrame
    repaired: int
    lost: int


def read_vector(
    source: Path | VectorFile,
    to: str | GeoBox,
    *,
    what: str,
    kinds: tuple[str, ...] | None = None,
    may_be_empty: bool = False,
) -> gpd.GeoDataFrame:
    """Read the features of a vector file into the CRS `to`, flat (x, y), without missing or empty geometries.

    Parameters
    ----------
    source
        GeoPackage, GeoJSON, Shapefile, FlatGeobuf, KML or what else GDAL opens, or GeoParquet. Where no layer is named,
        all folders of a KML are read, and all layers of another file if they agree in kind of geometry, fields and CRS.
    to
        The CRS to return, or a grid in it.
    what
        What the file holds, for messages ("landslides").
    kinds
        The kinds of geometry that it may hold, as for `of_kind`; None allows any.
    may_be_empty
        Whether a file without any feature is returned as it is.

    Returns
    -------
    GeoDataFrame
        Its index is the number of each feature in the file, from 0; layers are counted one after the other.

    Raises
    ------
    InputError
        If it cannot be read, has no geometry, no CRS or no feature, other kinds of geometry, other layers than `source`
        names or several that do not agree, text in another encoding, or if it cannot be brought to `to`
        (`coslide.io.reproject.reproject`).

    Notes
    -----
    A line that is straight in the CRS of the file stays where it was: long edges get vertices between their ends before
    they are reprojected. Edges across the 180th meridian are taken the short way round. What lies beyond reach of the
    CRS is left out with a warning; what is very wide is cut to the surroundings of the grid. Arcs become polylines.
    """
    source = source if isinstance(source, VectorFile) else VectorFile(source)
    with np.errstate(invalid="ignore"):  # shapely warns of NaN, which is refused below
        layers = _read(source)
    frames, count = [], 0
    for frame in layers:
        if not isinstance(frame, gpd.GeoDataFrame):
            raise InputError(f"{source.path}: has no geometry; expected {what}")
        frame.index += count
        count += len(frame)
        frames.append(frame[~(frame.geometry.isna() | frame.geometry.is_empty)])
    frames = [frame for frame in frames if not frame.empty] or frames[:1]
    if frames[0].empty and not may_be_empty:
        raise InputError(f"{source.path}: holds no feature; expected {what}")
    if any(frame.crs is None for frame in frames):
        raise InputError(f"{source.path}: has no CRS; expected {what} in a known CRS")
    there = [reproject(frame, to, name=str(source.path)) for frame in frames]
    found = there[0] if len(there) == 1 else _joined(there)
    if found.empty and not frames[0].empty:
        x, y = frames[0].total_bounds[:2]
        wrong = f"found x {x:g}, y {y:g} in {frames[0].crs.name}"
        raise InputError(f"{source.path}: {wrong}, expected {what} within reach of {found.crs}")
    if len(layers) > 1:
        found.attrs["layers"] = f" (it has several layers; name those to read by {source.key})"
    return found if kinds is None else of_kind(found, kinds, path=source.path, what=what)


def read_polygons(source: Path | VectorFile, grid: GeoBox, *, what: str) -> Polygons:
    """Read the polygons of a vector file that overlap `grid`, in its CRS.

    Polygons that cross themselves are repaired: what the outline encloses, once or more, is inside.

    Parameters
    ----------
    source, what
        As in `read_vector`.
    grid
        Where polygons are wanted.

    Raises
    ------
    InputError
        As `read_vector`; or if a feature is no polygon, or none overlaps the grid.
    """
    path = source.path if isinstance(source, VectorFile) else source
    frame = read_vector(source, grid, what=what, kinds=POLYGONS)
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
        raise InputError(f"{path}: found {', '.join(others)}, expected {what}{frame.attrs.get('layers', '')}")
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


def _read(source: VectorFile) -> list[Any]:
    """Read the layers that are asked for, one or more."""
    path, encoding = source.path, source.encoding
    try:
        "".encode(encoding or "UTF-8")  # LookupError; GDAL would read without converting
        _require_features(path)
        if path.suffix.lower() == ".parquet":
            if source.layer or encoding:
                raise InputError(
                    f"{path}: found {source.key} or {source.encoding_key} for GeoParquet, which has neither"
                )
            return [gpd.read_parquet(path).reset_index(drop=True)]
        with as_saved(path) as saved:
            return [_read_layer(saved, layer, source) for layer in _choose_layers(source, saved)]
    except UnicodeDecodeError:
        hint = encoding or f"UTF-8 (name it by {source.encoding_key}, or save the file as GeoPackage)"
        raise InputError(f"{path}: found text in an unknown encoding, expected {hint}") from None
    except LookupError:
        expected = "expected an encoding such as GBK, UTF-8 or Shift_JIS"
        raise InputError(f"{source.encoding_key}: found {encoding!r}, {expected}") from None
    except (DataSourceError, DataLayerError, GEOSException, ValueError, OSError) as error:
        reason = first_line(error)
        raise InputError(f"{path}: cannot be read as a vector file ({reason})") from None


def _choose_layers(source: VectorFile, saved: Path) -> list[int]:
    """Find the numbers of the layers to read: names need not differ, as those of folders of a KML."""
    # Tables, such as the styles that QGIS leaves, do not count.
    layers = {i: str(name) for i, (name, kind) in enumerate(pyogrio.list_layers(saved)) if kind is not None}
    shown = ", ".join(layers.values())
    if source.layer is not None:
        wanted = dict.fromkeys([source.layer] if isinstance(source.layer, str) else source.layer)
        if missing := [name for name in wanted if name not in layers.values()]:
            raise InputError(f"{source.path}: {source.key}: found {missing[0]!r}, expected of its layers: {shown}")
        return [i for name in wanted for i in layers if layers[i] == name]
    if len(layers) > 1:
        infos = [pyogrio.read_info(saved, layer=i) for i in layers]
        if infos[0]["driver"] not in _FOLDERS:
            if any(_form(info) != _form(infos[0]) for info in infos):
                expected = f"expected one, or the name of one in {source.key}"
                raise InputError(f"{source.path}: found the layers {shown}, which differ; {expected}")
            _log.info(f"warning: read the layers {shown} of {source.path}; name one by {source.key}")
    return list(layers) or [0]


def _form(info: dict[str, Any]) -> tuple[str, frozenset[str], str | None]:
    """Tell what layers must share to be read as one: kind of geometry, fields and CRS."""
    kind = str(info["geometry_type"]).removeprefix("2.5D ").removesuffix(" M").removesuffix(" Z").removesuffix(" ZM")
    return kind.removeprefix("Multi"), frozenset(map(str, info["fields"])), info["crs"]


def _joined(frames: list[gpd.GeoDataFrame]) -> gpd.GeoDataFrame:
    """Put layers in the same CRS into one frame."""
    joined = gpd.GeoDataFrame(pd.concat(frames), crs=frames[0].crs)
    joined.attrs = next((frame.attrs for frame in frames if frame.attrs), {})
    return joined


def _read_layer(path: Path, layer: int, source: VectorFile) -> Any:
    """Read a layer; where nothing tells the encoding of its text, UTF-8 is taken if the text is that."""
    if source.encoding or pyogrio.read_info(path, layer=layer)["encoding"] != _ASSUMED:
        return gpd.read_file(path, layer=layer, encoding=source.encoding)
    try:
        return gpd.read_file(path, layer=layer, encoding="UTF-8")
    except UnicodeDecodeError:
        frame = gpd.read_file(path, layer=layer, encoding=_ASSUMED)
        frame.attrs["encoding"] = f" ({_ASSUMED} was assumed; if its text has another encoding, such as GBK, UTF-8 or "
        frame.attrs["encoding"] += (
            f"SHIFT_JIS, {source.encoding_key} or a .cpg file with its name beside the .shp tells)"
        )
        return frame


def _require_features(path: Path) -> None:
    """Raise, before GDAL opens it, if a source is no file, or a text (known by its head) that names other places."""
    require_regular_source(path)
    if any(word in read_head(path) for word in (b"<OGRVRTDataSource", b"<OGRWFSDataSource")):
        raise InputError(f"{path}: is a VRT or describes a web service; expected the features themselves")
    if path.suffix.lower() == ".shp":
        require_whole_shapefile(path)
