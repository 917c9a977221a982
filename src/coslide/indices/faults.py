"""Distance to the nearest fault trace, and its classes."""

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import edt
import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from shapely import clip_by_rect, total_bounds
from shapely.geometry.base import BaseGeometry

from coslide.config.schema import FaultsConfig
from coslide.cube.band import Band, class_by_edges, edge_classes
from coslide.cube.store import LayerGroup, cut
from coslide.sources.faults import read_traces


def prepare_fault_distance(faults: FaultsConfig, grid: GeoBox) -> LayerGroup:
    """Compute ``fault_distance_class`` (1 to n, an index) and ``fault_distance`` (metres) on `grid`.

    Parameters
    ----------
    faults
        The traces, which of them count, and the edges of the classes.
    grid
        In metres, square pixels.

    Raises
    ------
    InputError
        As `coslide.sources.faults.read_traces`.

    Notes
    -----
    Distances are looked for as far as the last edge, and are that edge beyond it. A grid without any fault in reach has
    the last class everywhere, which a note tells.
    """
    traces = read_traces(faults, grid)
    edges_m = tuple(1000.0 * edge for edge in faults.edges_km)
    distance_m = fault_distance(traces.lines, grid, reach_m=edges_m[-1])
    classes = class_by_edges(distance_m, edges_m, lowest=1)
    notes = [f"{len(traces.lines)} of {traces.features} features are taken for traces"]
    if traces.pointlike:
        notes.append(f"{traces.pointlike} features without length are left out")
    if (nearest_m := distance_m.min()) >= edges_m[-1]:
        notes.append(f"none within {edges_m[-1]:g} m of the grid, every pixel is in the last class")
    else:
        notes.append(f"the nearest pixel lies {nearest_m:.0f} m from a trace")
    name, method = "distance to the nearest fault trace", {"resampling": "Euclidean distance on the grid"}
    shared: dict[str, Any] = {"group": "faults", "optional": True}
    classed = {**shared, "measured": "fault_distance", **edge_classes(edges_m, "m", lowest=1, what="edges")}
    capped = {**shared, "role": "diagnostic", "provenance": {**method, "capped_at_m": edges_m[-1]}}
    of_classes, of_distance = f"{name}, classes 1 to {len(edges_m) + 1}", f"{name}, capped at {edges_m[-1]:g} m"
    bands = (
        Band("fault_distance_class", long_name=of_classes, provenance=method, **classed),
        Band("fault_distance", "m", long_name=of_distance, **capped),
    )
    compute = partial(cut, grid, {"fault_distance_class": classes, "fault_distance": distance_m})
    return LayerGroup(bands, tuple(notes), compute)


def fault_distance(traces: Iterable[BaseGeometry], grid: GeoBox, *, reach_m: float) -> NDArray[np.float32]:
    """Compute the distance in metres from each pixel centre to the nearest fault trace, at most `reach_m`.

    The traces are burnt into a grid that is larger by `reach_m` on all sides, so a fault beside the grid counts as much
    as one inside it; then an exact Euclidean distance transform (edt).

    Parameters
    ----------
    traces
        Lines in the CRS of the grid; empty ones are skipped.
    grid
        Target grid, axes along x and y, in metres.
    reach_m
        Distances are looked for up to here. Larger ones become `reach_m`, also where there is no fault at all: give the
        last edge of the classes.

    Returns
    -------
    ndarray of float32
        (row, col) of the grid, between 0 and `reach_m`, never NaN.

    Raises
    ------
    ValueError
        If `reach_m` is not a positive number or the grid is rotated.

    Notes
    -----
    A trace is as wide as the pixels that it touches, which have distance 0. The error is therefore at most half the
    diagonal of a pixel, 7.1 m on a grid of 10 m.

    Examples
    --------
    >>> from shapely import LineString
    >>> grid = GeoBox.from_bbox((0, 0, 50, 20), crs="EPSG:32654", resolution=10)
    >>> fault_distance([LineString([(5, -90), (5, 90)])], grid, reach_m=35.0)
    array([[ 0., 10., 20., 30., 35.],
           [ 0., 10., 20., 30., 35.]], dtype=float32)
    """
    if not 0 < reach_m < math.inf:
        raise ValueError(f"reach_m: found {reach_m}, expected a positive number")
    transform = grid.affine
    if transform.b or transform.d:
        raise ValueError(f"grid: found the transform {transform!r}, expected axes along x and y")
    around = grid.pad(1).boundingbox.buffered(reach_m)  # a pixel more than what is within reach
    near = [part for trace in traces if not (part := clip_by_rect(trace, *around.bbox)).is_empty]
    if not near:
        return np.full(grid.shape, reach_m, dtype=np.float32)
    (west, south, east, north), box = total_bounds(near), grid.boundingbox
    columns = math.ceil(max(box.left - west, east - box.right, 0.0) / abs(transform.a)) + 1
    rows = math.ceil(max(box.bottom - south, north - box.top, 0.0) / abs(transform.e)) + 1
    wide = grid.pad(columns, rows)
    # Pixels are one byte either way, but edt is faster with a mask than with labels.
    away = rasterize(
        near, out_shape=wide.shape, transform=wide.affine, fill=1, default_value=0, all_touched=True, dtype=np.uint8
    ).view(bool)
    # parallel=0: all processors.
    distance_m: NDArray[np.float32] = edt.edt(away, anisotropy=(abs(transform.e), abs(transform.a)), parallel=0)
    return np.minimum(distance_m[rows:-rows, columns:-columns], np.float32(reach_m))
