"""Features of a vector file brought into the CRS of a grid: across the 180th meridian, and as far as it reaches."""

import logging
import math
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer

from coslide.crs import flat_crs
from coslide.errors import InputError
from coslide.io.meridian import unwrap
from coslide.io.raster import require_exact
from coslide.io.shapes import Shapes, densify, edges, flat_shapes, joined, parts_of

_log = logging.getLogger(__name__)
_STEP_DEG, _STEP_UNITS = 0.01, 1000.0  # about a kilometre: then a straight line is off by 2 cm after reprojection
_FARTHEST_DEG, _FARTHEST_UNITS = 720.0, 1e9  # beyond it a number is no coordinate, and cutting the line has no end
_WIDE_STEPS = 6000  # what is as wide may hold the places where a projection has no end
_JUMP_M = 1e6  # between vertices a kilometre apart: there the plane of a projection is cut open
_AROUND_M = 200_000.0  # around the grid; no reader looks for anything farther away


def reproject(frame: gpd.GeoDataFrame, to: str | GeoBox, *, name: str) -> gpd.GeoDataFrame:
    """Bring features into another CRS, flat (x, y) and with vertices in long edges.

    Edges of more than half a turn of longitude are taken the short way round where that is clear. What is very wide, or
    that the CRS cannot hold, is cut to the surroundings of the grid. What is left out, as it has no place on Earth or
    lies beyond reach, is counted in a warning.

    Parameters
    ----------
    frame
        With a CRS, and without empty geometries.
    to
        The CRS, or a grid in it.
    name
        The file, for messages.

    Raises
    ------
    InputError
        If its CRS cannot be brought there, a coordinate is not finite, an edge of more than half a turn may go either
        way, or a feature with impossible coordinates has others in the surroundings of the grid.
    """
    crs = to if isinstance(to, str) else str(to.crs)
    source, target = CRS.from_user_input(flat_crs(frame.crs.to_wkt(), name)), CRS.from_user_input(crs)
    frame = frame.set_crs(source, allow_override=True)
    require_exact(name, source, crs)
    near = None if isinstance(to, str) else _surroundings(to, source)
    _require_numbers(frame, name)
    frame = _leave_impossible(frame, near, name)
    shapes = flat_shapes(frame.geometry.to_numpy())
    if source.is_geographic:
        shapes = unwrap(shapes, _turn(source), numbers=frame.index, name=name)
    if source != target:
        step = _STEP_DEG if source.is_geographic else _STEP_UNITS
        shapes = _moved(shapes, (source, target), step, near=near, name=name)
    if target.is_geographic and not source.is_geographic:
        shapes = unwrap(shapes, _turn(target), numbers=frame.index, name=name)
    left_out = shapely.is_empty(shapes)
    if left_out.any():
        _log.info(f"warning: {name}: {left_out.sum()} of {len(frame)} features lie beyond reach of {crs}: left out")
    return frame.set_geometry(shapes, crs=crs)[~left_out]


def _turn(crs: CRS) -> float:
    return round(2 * math.pi / crs.axis_info[0].unit_conversion_factor, 6)  # 360 degrees or 400 grads


def _surroundings(grid: GeoBox, crs: CRS) -> Any:
    """Outline the surroundings of a grid in another CRS, in every turn of the Earth; None where that has no place."""
    bounds = grid.boundingbox.buffered(_AROUND_M).bbox
    to_crs = Transformer.from_crs(str(grid.crs), crs, always_xy=True)
    west, south, east, north = to_crs.transform_bounds(*bounds, densify_pts=21)
    if not np.isfinite((west, south, east, north)).all():
        return None
    if not crs.is_geographic:
        return shapely.box(west, south, east, north)
    turn = _turn(crs)
    east += turn if east < west else 0.0
    return shapely.multipolygons([shapely.box(west + x, south, east + x, north) for x in turn * np.arange(-3, 4)])


def _leave_impossible(frame: gpd.GeoDataFrame, near: Any, name: str) -> gpd.GeoDataFrame:
    """Leave out what has coordinates that are none, unless it may belong to the grid."""
    farthest = _FARTHEST_DEG if frame.crs.is_geographic else _FARTHEST_UNITS
    impossible = ~(frame.bounds.abs() <= farthest).all(axis=1).to_numpy()
    if not impossible.any():
        return frame
    for number, shape in frame.geometry[impossible].items():
        xy = shapely.get_coordinates(shape)
        x, y = xy[np.abs(xy).max(axis=1).argmax()]
        if near is not None and shapely.intersects_xy(near, xy).any():
            found = f"found x {x:g}, y {y:g} beside coordinates near the grid"
            raise InputError(f"{name}: feature {number}: {found}, expected coordinates in {frame.crs.name}")
    found = f"such as x {x:g}, y {y:g} in feature {number}"
    if not impossible.all():
        count = f"{impossible.sum()} of {len(frame)} features"
        _log.info(f"warning: {name}: {count} have coordinates that are no place on Earth, {found}: left out")
    return frame[~impossible]


def _moved(shapes: Shapes, crs: tuple[CRS, CRS], step: float, *, near: Any, name: str) -> Shapes:
    """Transform shapes from one CRS to another; empty where the other does not reach."""

    def transformed(shapes: Shapes) -> Shapes:
        moved: Shapes = gpd.GeoSeries(densify(shapes, step, name=name), crs=crs[0]).to_crs(crs[1]).to_numpy().copy()
        return moved

    bounds = shapely.bounds(shapes)
    lost = (bounds[:, 2:] - bounds[:, :2]).max(axis=1, initial=0) > _WIDE_STEPS * step
    lost &= near is not None
    moved = shapes.copy()
    moved[~lost] = transformed(shapes[~lost])
    lost |= _torn(moved, metric=crs[1].is_projected) & ~lost
    if lost.any():
        moved[lost] = shapely.GeometryCollection()
        if near is not None:
            cut = _cut(shapes[lost], near)
            there = ~shapely.is_empty(cut)
            moved[np.flatnonzero(lost)[there]] = transformed(cut[there])
            moved[lost & _torn(moved, metric=crs[1].is_projected)] = shapely.GeometryCollection()
    return moved


def _torn(shapes: Shapes, *, metric: bool) -> NDArray[np.bool_]:
    """Find the shapes that have no place, or an edge across the cut of a projection."""
    starts, ends, owner = edges(shapes)
    with np.errstate(invalid="ignore"):
        length = np.hypot(*(ends - starts).T)
    torn = np.zeros(len(shapes), dtype=bool)
    torn[owner[~(length < (_JUMP_M if metric else np.inf))]] = True
    torn |= ~np.isfinite(shapely.bounds(shapes)).all(axis=1) & ~shapely.is_empty(shapes)
    return torn


def _cut(shapes: Shapes, near: Any) -> Shapes:
    """Cut shapes to the rectangles `near`; empty where they do not meet."""
    pieces = [shapely.clip_by_rect(shapes, *box.bounds) for box in shapely.get_parts(near)]
    cut: Shapes = np.array([shapely.GeometryCollection()] * len(shapes), dtype=object)
    for i, own in enumerate(zip(*pieces, strict=True)):
        if there := [part for piece in own for part in parts_of(piece) if not part.is_empty]:
            cut[i] = joined(there)
    return cut


def _require_numbers(frame: gpd.GeoDataFrame, name: str) -> None:
    """Require finite coordinates: bounds do not show a NaN in a line."""
    xy, owner = shapely.get_coordinates(frame.geometry.to_numpy(), return_index=True)
    if (wrong := ~np.isfinite(xy).all(axis=1)).any():
        x, y = xy[wrong][0]
        number = frame.index[int(owner[wrong][0])]
        raise InputError(f"{name}: feature {number}: found x {x:g}, y {y:g}, expected finite coordinates")
