"""Distance to the nearest fault trace, and its classes."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from coslide.event import FAULT_EDGES_KM
from coslide.indices.classes import class_by_edges

EDGES_M = tuple(1000.0 * edge for edge in FAULT_EDGES_KM)


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
    cell_m = (abs(transform.e), abs(transform.a))
    margin_rows, margin_columns = (math.ceil(reach_m / side) + 1 for side in cell_m)
    wide = grid.pad(margin_columns, margin_rows)
    extent = box(*wide.boundingbox.bbox)
    near = [trace for trace in traces if trace.intersects(extent)]  # an empty trace intersects nothing
    if not near:
        return np.full(grid.shape, reach_m, dtype=np.float32)
    away = rasterize(
        near, out_shape=wide.shape, transform=wide.affine, fill=1, default_value=0, all_touched=True, dtype=np.uint8
    )
    rows, columns = grid.shape
    inside = slice(margin_rows, margin_rows + rows), slice(margin_columns, margin_columns + columns)
    distance_m = _distance_transform(away, cell_m)[inside]
    return np.minimum(distance_m, reach_m, dtype=np.float32)


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


def _distance_transform(away: NDArray[np.uint8], cell_m: tuple[float, float]) -> NDArray[np.float32]:
    # There is always a cell 0 here; without one edt says infinity and scipy a finite number that means nothing.
    distance_m: NDArray[np.float32]
    try:
        import edt
    except ImportError:  # several times slower, in float64
        from scipy.ndimage import distance_transform_edt

        distance_m = distance_transform_edt(away, sampling=cell_m).astype(np.float32)
    else:
        distance_m = edt.edt(away, anisotropy=cell_m, parallel=0)  # 0: all processors
    return distance_m
