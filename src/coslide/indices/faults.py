"""Distance to the nearest fault trace, and its classes."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import ArrayLike, NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from shapely import clip_by_rect, total_bounds
from shapely.geometry.base import BaseGeometry

from coslide.config.schema import FAULT_EDGES_KM, FaultsConfig
from coslide.cube.band import Band
from coslide.cube.layer import LayerGroup
from coslide.grid import slices_of
from coslide.indices.classes import class_by_edges, class_names
from coslide.sources.faults import FaultTraces, read_traces

EDGES_M = tuple(1000.0 * edge for edge in FAULT_EDGES_KM)

_STRIP_ROWS = 1024


@dataclass(frozen=True)
class _FaultDistance:
    grid: GeoBox
    distance_m: NDArray[np.float32]
    edges_m: tuple[float, ...]
    bands: tuple[Band, ...]
    notes: tuple[str, ...]

    def compute(self, window: GeoBox) -> dict[str, NDArray[Any]]:
        """Return the values on `window`, a part of the grid; the caller may change them."""
        distance_m = self.distance_m[slices_of(window, self.grid)].copy()
        return {
            "fault_distance_class": distance_class(distance_m, edges_m=self.edges_m),
            "fault_distance": distance_m,
        }


def prepare_fault_distance(faults: FaultsConfig, grid: GeoBox) -> LayerGroup:
    """Return the family of ``fault_distance_class`` (1 to n, an index) and ``fault_distance`` (metres) on `grid`.

    Parameters
    ----------
    faults
        The traces, which of them count, and the edges of the classes.
    grid
        In metres, square cells.

    Raises
    ------
    InputError
        As `coslide.sources.faults.read_traces`.

    Notes
    -----
    Distances are looked for as far as the last edge, and are that edge beyond it. A grid without any fault in reach has
    the last class everywhere, and a note says so.
    """
    traces = read_traces(faults, grid)
    edges_m = tuple(1000.0 * edge for edge in faults.edges_km)
    distance_m = fault_distance(traces.lines, grid, reach_m=edges_m[-1])
    notes = _notes(traces, float(distance_m.min()), edges_m[-1])
    return _FaultDistance(grid, distance_m, edges_m, _bands(edges_m), notes)


def fault_distance(traces: Iterable[BaseGeometry], grid: GeoBox, *, reach_m: float) -> NDArray[np.float32]:
    """Return the distance in metres from each cell centre to the nearest fault trace, at most `reach_m`.

    The traces are burnt into a grid that is larger by `reach_m` on all sides, so a fault beside the grid counts as much
    as one inside it; then an exact Euclidean distance transform (edt, or scipy where edt is not installed).

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
    A trace is known to the cell: every cell it touches has distance 0. The error is therefore at most half the diagonal
    of a cell, 7.1 m on a grid of 10 m.

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
    near = _within_reach(traces, grid, reach_m=reach_m)
    if not near:
        return np.full(grid.shape, reach_m, dtype=np.float32)
    wide, inside = _widened_to(near, grid)
    # Cells are one byte either way, but edt is faster with a mask than with labels.
    away = rasterize(
        near, out_shape=wide.shape, transform=wide.affine, fill=1, default_value=0, all_touched=True, dtype=np.uint8
    ).view(bool)
    distance_m = _distance_transform(away, (abs(transform.e), abs(transform.a)), reach_m=reach_m)[inside]
    return np.minimum(distance_m, np.float32(reach_m))


def distance_class(distance_m: ArrayLike, *, edges_m: Sequence[float] = EDGES_M) -> NDArray[np.uint8]:
    """Return the class of each distance to a fault: 1 below the first edge, one more for each edge reached (no unit).

    The default edges are those of Table 2 of Yang et al. (2023, doi:10.3390/rs15040977): classes 1 to 7.

    Parameters
    ----------
    distance_m
        Distance in metres, any shape.
    edges_m
        Lower edges of classes 2, 3, ... in metres, ascending.

    Returns
    -------
    ndarray of uint8
        255 where the distance is NaN.

    Raises
    ------
    ValueError
        If the edges do not ascend, there are more than 253, or a distance is negative.

    Examples
    --------
    >>> distance_class([0.0, 999.9, 1000.0, 5999.0, 6000.0, np.nan])
    array([  1,   1,   2,   6,   7, 255], dtype=uint8)
    """
    return class_by_edges(distance_m, edges_m, lowest=1)


def _within_reach(traces: Iterable[BaseGeometry], grid: GeoBox, *, reach_m: float) -> list[BaseGeometry]:
    """Return what lies of each trace up to `reach_m`, and a cell more, beside the grid."""
    bounds = grid.pad(1).boundingbox.buffered(reach_m)
    parts = [clip_by_rect(trace, *bounds.bbox) for trace in traces]
    return [part for part in parts if not part.is_empty]


def _widened_to(near: list[BaseGeometry], grid: GeoBox) -> tuple[GeoBox, tuple[slice, slice]]:
    """Return the smallest grid of the same cells that holds `grid` and the traces, and where in it `grid` is."""
    west, south, east, north = total_bounds(near)
    corners = np.array([~grid.affine * corner for corner in ((west, south), (east, north))])
    columns, rows = grid.shape.x, grid.shape.y
    left, top = np.maximum(0, 1 - np.floor(corners.min(axis=0))).astype(int).tolist()
    right, bottom = np.maximum(0, np.ceil(corners.max(axis=0)) + 1 - (columns, rows)).astype(int).tolist()
    shape = top + rows + bottom, left + columns + right
    wide = GeoBox(shape, grid.affine * Affine.translation(-left, -top), grid.crs)
    return wide, (slice(top, top + rows), slice(left, left + columns))


def _distance_transform(away: NDArray[np.bool_], cell_m: tuple[float, float], *, reach_m: float) -> NDArray[np.float32]:
    """Return the distance to the nearest cell that is not away; beyond `reach_m`, some larger number."""
    try:
        import edt
    except ImportError:  # several times slower
        return _distance_in_strips(away, cell_m, reach_m=reach_m)
    distance_m: NDArray[np.float32] = edt.edt(away, anisotropy=cell_m, parallel=0)  # 0: all processors
    return distance_m


def _distance_in_strips(away: NDArray[np.bool_], cell_m: tuple[float, float], *, reach_m: float) -> NDArray[np.float32]:
    """Return what edt would, by scipy: strip by strip, as it takes 40 bytes for each cell."""
    from scipy.ndimage import distance_transform_edt

    margin = math.ceil(reach_m / cell_m[0])
    distance_m = np.full(away.shape, np.inf, dtype=np.float32)
    for top in range(0, len(away), _STRIP_ROWS):
        first, last = max(0, top - margin), top + _STRIP_ROWS + margin
        strip = away[first:last]
        if not strip.all():  # without a cell 0, scipy answers with finite numbers that mean nothing
            rows = slice(top - first, top - first + _STRIP_ROWS)
            distance_m[top : top + _STRIP_ROWS] = distance_transform_edt(strip, sampling=cell_m)[rows]
    return distance_m


def _bands(edges_m: tuple[float, ...]) -> tuple[Band, ...]:
    method, long_name = {"resampling": "Euclidean distance on the grid"}, "distance to the nearest fault trace"
    classes = Band(
        "fault_distance_class",
        kind="ordinal",
        class_names=class_names(edges_m, "m"),
        definition=f"edges {', '.join(f'{edge:g}' for edge in edges_m)} m",
        group="faults",
        optional=True,
        measured="fault_distance",
        long_name=f"{long_name}, classes 1 to {len(edges_m) + 1}",
        provenance=method,
    )
    distance = Band(
        "fault_distance",
        "m",
        group="faults",
        optional=True,
        role="diagnostic",
        long_name=f"{long_name}, capped at {edges_m[-1]:g} m",
        provenance={**method, "capped_at_m": edges_m[-1]},
    )
    return classes, distance


def _notes(traces: FaultTraces, nearest_m: float, reach_m: float) -> tuple[str, ...]:
    notes = [f"{len(traces.lines)} of {traces.features} features are taken for traces"]
    if traces.pointlike:
        notes.append(f"{traces.pointlike} features without length are left out")
    if nearest_m >= reach_m:
        notes.append(f"none within {reach_m:g} m of the grid, every cell is in the last class")
    else:
        notes.append(f"the nearest cell lies {nearest_m:.0f} m from a trace")
    return tuple(notes)
