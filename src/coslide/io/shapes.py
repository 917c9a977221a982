"""Shapes as files hold them made such that GEOS takes them: it aborts the process on some that have empty parts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from coslide.errors import InputError

Shapes = NDArray[np.object_]

LINES = ("LineString", "MultiLineString")
POLYGONS = ("Polygon", "MultiPolygon")

_MULTI = {"Point": shapely.multipoints, "LineString": shapely.multilinestrings, "Polygon": shapely.multipolygons}
_MANY = 4  # from this type id on, a shape has parts
_MOST_POINTS = 3e7


def flat_shapes(shapes: Sequence[Any] | Shapes) -> Shapes:
    """Make shapes flat (x, y), without empty parts, parts or rings without length, and collections in collections.

    Parts of one kind become a multi-shape of it. What is without length as a whole stays as it is.
    """
    flat: Shapes = shapely.force_2d(np.asarray(shapes, dtype=object))
    simple = (shapely.get_type_id(flat) < _MANY) & (shapely.get_num_interior_rings(flat) == 0)
    for i in np.flatnonzero(~simple):
        flat[i] = _rebuilt(flat[i])
    return flat


def only_kind(shape: Any, kinds: tuple[str, ...]) -> Any:
    """Take what a shape holds of `kinds` (`LINES` or `POLYGONS`); all of it where it holds nothing of them."""
    parts = [part for part in parts_of(shape) if part.geom_type in kinds]
    return joined(parts) if parts else shape


def densify(shapes: Shapes, step: float, *, name: str) -> Shapes:
    """Put vertices into the edges of flat shapes, none farther apart than `step`.

    Parameters
    ----------
    shapes
        As `flat_shapes` returns them.
    step
        In their units.
    name
        The file, for messages.

    Raises
    ------
    InputError
        If that would take more than 30 million vertices.
    """
    length = shapely.length(shapes)
    if not length.sum() / step < _MOST_POINTS:
        longest = f"found lines of {length.sum():.3g} units of its CRS in all, {length.max():.3g} in one feature"
        hint = "are its coordinates and its CRS right? If so, cut it to the surroundings of the scene"
        raise InputError(f"{name}: {longest}; expected less than {_MOST_POINTS * step:.3g} ({hint})")
    dense = shapes.copy()
    long = length > 0  # GEOS refuses what is but one place
    dense[long] = shapely.segmentize(shapes[long], step)
    return dense


def edges(shapes: Shapes) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
    """List the edges of flat shapes: their starts and ends, (edge, 2) each, and the number of the shape of each."""
    parts, owner = shapely.get_parts(shapes, return_index=True)
    areas = shapely.get_type_id(parts) == shapely.GeometryType.POLYGON
    rings, of = shapely.get_rings(parts[areas], return_index=True)
    lines, owner = np.concatenate([parts[~areas], rings]), np.concatenate([owner[~areas], owner[areas][of]])
    xy, line = shapely.get_coordinates(lines, return_index=True)
    joined = line[1:] == line[:-1]
    return xy[:-1][joined], xy[1:][joined], owner[line[1:][joined]]


def parts_of(shape: Any) -> list[Any]:
    """List the parts of a shape, and of its parts."""
    parts = [shape]
    while any(shapely.get_type_id(part) >= _MANY for part in parts):
        parts = [inner for part in parts for inner in shapely.get_parts(part)]
    return parts


def joined(parts: list[Any]) -> Any:
    """Make one shape of parts: a multi-shape if they are of one kind, else a collection."""
    if len(parts) == 1:
        return parts[0]
    kinds = {part.geom_type for part in parts}
    return _MULTI.get(kinds.pop() if len(kinds) == 1 else "", shapely.geometrycollections)(parts)


def _rebuilt(shape: Any) -> Any:
    whole = [part for part in parts_of(shape) if not part.is_empty and (part.length > 0 or part.geom_type == "Point")]
    return joined([_without_points(part) for part in whole]) if whole else shape


def _without_points(part: Any) -> Any:
    """Leave out the holes of a polygon that are but one place."""
    if part.geom_type != "Polygon" or all(ring.length > 0 for ring in part.interiors):
        return part
    return shapely.Polygon(part.exterior, [ring for ring in part.interiors if ring.length > 0])
