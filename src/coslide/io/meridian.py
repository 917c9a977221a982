"""Shapes in longitude and latitude that lie across the 180th meridian."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from coslide.errors import InputError
from coslide.io.shapes import Shapes, edges, joined, parts_of

_log = logging.getLogger(__name__)


def unwrap(shapes: Shapes, turn: float, *, numbers: Sequence[int], name: str) -> Shapes:
    """Take edges of more than half a turn of longitude the short way round, beyond 180 degrees if need be.

    Where the short way is clear: it is at most a quarter of a turn long, and polygons become at most as wide, and an
    eighth of a turn high. Edges along a whole parallel stay.

    Parameters
    ----------
    shapes
        In longitude and latitude, as `flat_shapes` returns them.
    turn
        The way round in their units, 360 degrees.
    numbers, name
        The number of each in its file, and the file, for messages.

    Raises
    ------
    InputError
        If the way is not clear.

    Examples
    --------
    >>> line = shapely.LineString([(179, 0), (-179, 0)])
    >>> unwrap(np.array([line]), 360, numbers=[0], name="faults.gpkg")[0]
    <LINESTRING (179 0, 181 0)>
    """
    starts, ends, owner = edges(shapes)
    long = np.abs(ends - starts)[:, 0] > turn / 2
    changed, done = 0, shapes.copy()
    for i in np.unique(owner[long]):
        parts = [_shortened(part, turn) for part in parts_of(shapes[i])]
        if any(part is None for part in parts):
            (x0, x1), *_ = np.column_stack([starts[:, 0], ends[:, 0]])[long & (owner == i)]
            found = f"found an edge from longitude {x0:g} to {x1:g}, which may go either way round"
            expected = "expected vertices between, or the feature split at the 180th meridian"
            raise InputError(f"{name}: feature {numbers[i]}: {found}; {expected}")
        done[i] = joined(parts)
        changed += int(done[i] != shapes[i])
    if changed:
        how = "edges of more than 180 degrees of longitude, which are taken the short way round"
        _log.info(f"{name}: {changed} features have {how}")
    return done


def _shortened(part: Any, turn: float) -> Any:
    """Take the edges of a shape without parts the short way round; None where it is not clear that they go there."""
    rings = [part.exterior, *part.interiors] if part.geom_type == "Polygon" else [part]
    outer, *holes = (shapely.get_coordinates(ring) for ring in rings)
    if not _is_long(outer, turn).any():
        return None if any(_is_long(hole, turn).any() for hole in holes) else part
    if _goes_round(outer, turn):
        return part
    for xy in (outer, *holes):
        way = np.where(_is_long(xy, turn), np.round(np.diff(xy[:, 0]) / turn), 0)
        xy[1:, 0] -= turn * np.cumsum(way)
    if not _is_clear(outer, turn, is_area=part.geom_type == "Polygon"):
        return None
    if part.geom_type != "Polygon":
        return shapely.LineString(outer)
    for hole in holes:
        hole[:, 0] -= turn * np.round((np.mean(hole[:, 0]) - np.mean(outer[:, 0])) / turn)
    return shapely.Polygon(outer, holes)


def _is_long(xy: NDArray[np.float64], turn: float) -> NDArray[np.bool_]:
    return np.asarray(np.abs(np.diff(xy[:, 0])) > turn / 2)


def _goes_round(xy: NDArray[np.float64], turn: float) -> bool:
    """Tell whether long edges go along parallels from end to end of the map: round the Earth, or to a pole and back."""
    step = np.diff(xy[:, 0])
    long = np.abs(step) > turn / 2
    whole = np.allclose(np.abs(step[long]), turn, rtol=0, atol=1e-9)
    short = step - np.where(long, turn * np.round(step / turn), 0)
    return bool(whole and (abs(short.sum()) > turn / 2 or np.abs(short).max() < 1e-9))


def _is_clear(xy: NDArray[np.float64], turn: float, *, is_area: bool) -> bool:
    """Tell whether a shape is so small, once its edges go the short way round, that it must be meant so."""
    if not is_area:
        return bool(np.abs(np.diff(xy[:, 0])).max() <= turn / 4)
    width, height = np.ptp(xy, axis=0)
    return bool((xy[0] == xy[-1]).all() and width <= turn / 4 and height <= turn / 8)
