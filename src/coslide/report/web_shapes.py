"""Shapes of the map in a page: as small whole numbers that its script turns back into places on Earth."""

import base64
import math
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer

Shapes = NDArray[np.object_]

FINE_PX = 1 / 64
"""Coordinates that are no corners of pixels are rounded to this part of a pixel."""
_ON_CORNERS_PX = 1e-3
_MESH_M = 10_000.0  # parabolas through nodes so far apart are within a centimetre of a UTM grid
_FEWEST_NODES, _MOST_NODES = 9, 65
_AROUND = 0.5  # of the grid, on each side, that the mesh covers too
_LONGEST_TEXT = 300
_DECIMALS = {"_m2": 1, "_m": 1, "_deg": 1}  # of numbers by the ending of their column; of others:
_OTHER_DECIMALS = 3


def varints(numbers: NDArray[np.int64]) -> str:
    """Write whole numbers of either sign as base64: seven bits to a byte, the lowest first, the sign in bit 0.

    Examples
    --------
    >>> base64.b64decode(varints(np.array([0, -1, 1, 64, -300]))).hex(" ")
    '00 01 02 80 01 d7 04'
    """
    rest = ((numbers << 1) ^ (numbers >> 63)).astype(np.uint64)
    columns = max(1, -(-int(rest.max(initial=0)).bit_length() // 7))
    digits = (rest[:, np.newaxis] >> (7 * np.arange(columns, dtype=np.uint64))).astype(np.uint64)
    wanted = digits > 0
    wanted[:, 0] = True
    more = np.zeros_like(wanted)
    more[:, :-1] = digits[:, 1:] > 0
    stored = ((digits & np.uint64(127)) | (more.astype(np.uint64) << np.uint64(7))).astype(np.uint8)
    return base64.b64encode(stored[wanted].tobytes()).decode()


def encode_shapes(shapes: Shapes, grid: GeoBox) -> dict[str, Any]:
    """Write polygons or lines as differences of whole numbers, in parts of a pixel of the grid.

    Parameters
    ----------
    shapes
        Polygons and MultiPolygons, or lines and MultiLineStrings, in the CRS of the grid.
    grid
        Coordinates are counted from its northwestern corner, to the east and to the south.

    Returns
    -------
    dict
        ``kind`` (``polygon`` or ``line``), ``count`` (of the shapes), ``unit`` (in pixels: 1 where all coordinates are
        corners of pixels, and nothing is rounded, else `FINE_PX`), and as `varints` ``parts`` (polygons of each shape),
        ``rings`` (of each polygon), ``points`` (of each ring, the closing one left out) and ``xy`` (x and y of each
        point less those of the one before).
    """
    lines = len(shapes) > 0 and shapely.get_type_id(shapes[0]) in {1, 5}
    gather = shapely.multilinestrings if lines else shapely.multipolygons
    parts, owner = shapely.get_parts(shapes, return_index=True)
    whole = gather(parts, indices=owner) if len(parts) else shapes
    nothing: Any = None, np.zeros((0, 2)), ([0], [0], [0])
    _, xy, offsets = shapely.to_ragged_array(whole, include_z=False) if len(parts) else nothing
    counts = [np.diff(offset).astype(np.int64) for offset in offsets]
    if not lines and len(parts):
        closing = np.asarray(offsets[0][1:]) - 1
        xy, counts[0] = np.delete(xy, closing, axis=0), counts[0] - 1
    if lines:
        counts.insert(1, np.ones(len(counts[0]), dtype=np.int64))  # one ring to a part
    left, top, size_m = grid.affine.c, grid.affine.f, grid.affine.a
    places = np.column_stack([(xy[:, 0] - left) / size_m, (top - xy[:, 1]) / size_m])
    unit = 1.0 if (np.abs(places - places.round()) < _ON_CORNERS_PX).all() else FINE_PX
    steps = np.asarray(np.diff(np.rint(places / unit), axis=0, prepend=0), dtype=np.int64)
    return {
        "kind": "line" if lines else "polygon",
        "count": len(shapes),
        "unit": unit,
        "points": varints(counts[0]),
        "rings": varints(counts[1]),
        "parts": varints(counts[2]),
        "xy": varints(steps.ravel()),
    }


def encode_columns(frame: pd.DataFrame) -> dict[str, list[Any]]:
    """List the columns of a table as JSON holds them: numbers rounded, other values as text, nothing as None.

    Areas, lengths and angles have one digit after the point, other numbers three; whole ones none. A column without any
    value is left out.

    Examples
    --------
    >>> encode_columns(pd.DataFrame({"area_m2": [900.0, 112.5], "pga_g": [0.12345, np.nan], "name": ["<b>", None]}))
    {'area_m2': [900, 112.5], 'pga_g': [0.123, None], 'name': ['<b>', None]}
    """
    found = {}
    for name, column in frame.items():
        if column.notna().any():
            found[str(name)] = _numbers(column, str(name)) if _is_number(column) else _texts(column)
    return found


def _is_number(column: "pd.Series[Any]") -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _numbers(column: "pd.Series[Any]", name: str) -> list[float | int | None]:
    digits = next((digits for ending, digits in _DECIMALS.items() if name.endswith(ending)), _OTHER_DECIMALS)
    rounded = column.to_numpy(np.float64, na_value=np.nan).round(digits).tolist()
    return [None if not math.isfinite(one) else int(one) if one == int(one) else one for one in rounded]


def _texts(column: "pd.Series[Any]") -> list[Any]:
    given = zip(column, column.isna(), strict=True)
    return [None if missing else bool(one) if isinstance(one, (bool, np.bool_)) else str(one)[:_LONGEST_TEXT]
            for one, missing in given]  # fmt: skip


def place_mesh(grid: GeoBox) -> dict[str, Any]:
    """Compute longitude and latitude on a mesh over the grid and half its size around it, for parabolas between nodes.

    Returns
    -------
    dict
        ``crs`` (its name, for people), ``left``, ``top`` and ``pixel_m``, ``rows`` and ``cols`` of the grid; ``nodes``
        to a side; ``from`` and ``step``, the place of the first node and the distance of nodes as (row, col) in pixels;
        ``lon`` and ``lat`` of the nodes in degrees, row by row. Longitudes do not jump at the 180th meridian.
    """
    rows, cols = grid.shape
    size_m = float(grid.affine.a)
    longest_m = (1 + 2 * _AROUND) * max(rows, cols) * size_m
    nodes = int(np.clip(math.ceil(longest_m / _MESH_M) + 1, _FEWEST_NODES, _MOST_NODES))
    row, col = (np.linspace(-_AROUND * side, (1 + _AROUND) * side, nodes) for side in (rows, cols))
    x, y = grid.affine.c + size_m * col, grid.affine.f - size_m * row
    to_degrees = Transformer.from_crs(str(grid.crs), "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform(*np.meshgrid(x, y))
    middle = lon[nodes // 2, nodes // 2]
    lon = lon - 360 * np.round((lon - middle) / 360)
    return {
        "crs": f"{grid.crs.proj.name} ({grid.crs})" if grid.crs else "",
        "left": float(grid.affine.c),
        "top": float(grid.affine.f),
        "pixel_m": size_m,
        "rows": rows,
        "cols": cols,
        "nodes": nodes,
        "from": [float(row[0]), float(col[0])],
        "step": [float(row[1] - row[0]), float(col[1] - col[0])],
        "lon": lon.round(9).ravel().tolist(),
        "lat": lat.round(9).ravel().tolist(),
    }


def vector_layer(frame: gpd.GeoDataFrame, grid: GeoBox) -> dict[str, Any]:
    """Write shapes with their attributes as a page takes them: `encode_shapes`, and ``columns`` (`encode_columns`)."""
    table = pd.DataFrame(frame.drop(columns=frame.geometry.name))
    return {**encode_shapes(frame.geometry.to_numpy(), grid), "columns": encode_columns(table)}
