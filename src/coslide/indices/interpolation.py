"""Fields at coarse nodes, evaluated at the pixels of a grid window by window.

A pixel's value follows from its row and column in the whole grid alone, so it is the same, to the bit, in whatever
window it is asked for. Fields hold their nodes only: they are small, can be sent to other processes, and may be asked
from several threads at once.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.enums import Resampling

from coslide.cube.store import Span, span
from coslide.grid import slices_of
from coslide.io.raster import CoarseRaster
from coslide.io.resample import resample
from coslide.windows import row_strips

Field = Callable[[GeoBox], NDArray[np.float32]]
"""A quantity that has a value, or NaN, at every pixel of a grid: float32 (row, col) at those of a part of the grid."""

NEAREST_STATIONS = 30

MOST_NODES = 2**21
"""Where nodes as close as asked for would be more than this, their spacing is widened."""

_MARGIN_NODES = 2


@dataclass(frozen=True, eq=False)
class CoarseField:
    """A field at nodes every `spacing_m` along x and y of a grid, bilinear between them.

    Attributes
    ----------
    grid
        The grid for whose pixels it was made.
    spacing_m
        Of the nodes; they lie on whole multiples of it.
    first_node
        Of the first column and the first row, in multiples of `spacing_m`; both count upwards, to the east and north.
    nodes
        float32 (row, col), in the unit of the field, or its natural logarithm if `log`. Nodata is NaN.
    log
        Whether `at` returns the exponential of what it interpolates.
    variance
        The variance of `nodes`, of the same shape; None where there is none.
    """

    grid: GeoBox
    spacing_m: float
    first_node: tuple[int, int]
    nodes: NDArray[np.float32]
    log: bool = False
    variance: NDArray[np.float32] | None = None

    def at(self, window: GeoBox) -> NDArray[np.float32]:
        """Interpolate the field at the pixel centres of `window`, a part of the grid, float32 (row, col).

        Raises
        ------
        ValueError
            If `window` is no part of the grid.
        """
        field = self._between_nodes(self.nodes, window)
        return np.exp(field, out=field) if self.log else field

    def variance_at(self, window: GeoBox) -> NDArray[np.float32]:
        """Interpolate the variance at the pixel centres of `window`, float32 (row, col), in squared units of `nodes`.

        Raises
        ------
        ValueError
            If the field has no variance, or `window` is no part of the grid.
        """
        if self.variance is None:
            raise ValueError("variance: found None, expected a field that was kriged with a variogram")
        return self._between_nodes(self.variance, window)

    def node_value(self, x_m: float, y_m: float) -> float:
        """Interpolate between the nodes at one place on the grid; a logarithm if `log`."""
        return float(self._bilinear(self.nodes, np.array([x_m]), np.array([y_m]))[0, 0])

    def _between_nodes(self, nodes: NDArray[np.float32], window: GeoBox) -> NDArray[np.float32]:
        transform = self.grid.affine
        rows, columns = (np.arange(part.start, part.stop) + 0.5 for part in slices_of(window, self.grid))
        return self._bilinear(nodes, transform.c + transform.a * columns, transform.f + transform.e * rows)

    def _bilinear(
        self, nodes: NDArray[np.float32], x_m: NDArray[np.float64], y_m: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        column, row = x_m / self.spacing_m - self.first_node[0], y_m / self.spacing_m - self.first_node[1]
        left, above = (np.floor(place).astype(np.int64) for place in (column, row))
        right_share, below_share = column - left, (row - above)[:, np.newaxis]
        lines = nodes[above] * (1.0 - below_share) + nodes[above + 1] * below_share
        field = np.empty((row.size, column.size), dtype=np.float32)
        for line, pixels in zip(lines, field, strict=True):
            pixels[:] = line[left] * (1.0 - right_share) + line[left + 1] * right_share
        return field


class NodesField(NamedTuple):
    """A raster in any CRS at the pixels of a grid, bilinear between its nodes (`coslide.io.resample.resample`).

    Attributes
    ----------
    nodes
        In a CRS that can be brought to that of the grid exactly (`coslide.io.raster.require_exact`).
    grid
        In metres.

    Notes
    -----
    Between nodes of which some are nodata, the others share the weight; pixels in the raster pixel of a nodata node
    are nodata, and so are those beyond the outermost raster pixels.
    """

    nodes: CoarseRaster
    grid: GeoBox

    def at(self, window: GeoBox) -> NDArray[np.float32]:
        """Interpolate the raster, in its own unit, at the pixel centres of `window`, a part of the grid, as float32.

        Raises
        ------
        ValueError
            If `window` is no part of the grid.
        """
        slices_of(window, self.grid)  # refuses what is no part of it
        return resample(self.nodes.geobox, lambda *part: self.nodes.values[part], window, how=Resampling.bilinear)


def coarse_axes(
    grid: GeoBox, coarse_m: float
) -> tuple[float, tuple[int, int], tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Compute the spacing in metres, the first node, and x and y in metres of nodes that enclose the pixels of `grid`.

    Parameters
    ----------
    grid
        Axes along x and y, in metres.
    coarse_m
        Spacing asked for; it is widened so that there are no more than about two million nodes (that is, beyond 360 km
        for 250 m).

    Raises
    ------
    ValueError
        If the grid is rotated or `coarse_m` is not positive.

    Examples
    --------
    >>> grid = GeoBox.from_bbox((0, 0, 500, 10), "EPSG:32654", resolution=10)
    >>> spacing_m, first, (x_m, y_m) = coarse_axes(grid, 250.0)
    >>> x_m, first
    (array([-500., -250., 0., 250., 500., 750., 1000.]), (-2, -2))
    """
    transform = grid.affine
    if transform.b or transform.d:
        raise ValueError(f"grid: found the transform {transform!r}, expected axes along x and y")
    if not coarse_m > 0:
        raise ValueError(f"coarse_m: found {coarse_m}, expected a positive number")
    box = grid.boundingbox
    spacing_m = max(coarse_m, math.sqrt((box.right - box.left) * (box.top - box.bottom) / MOST_NODES))
    limits = [
        (math.floor(low / spacing_m) - _MARGIN_NODES, math.ceil(high / spacing_m) + _MARGIN_NODES)
        for low, high in ((box.left, box.right), (box.bottom, box.top))
    ]
    x_m, y_m = (np.arange(first, last + 1) * spacing_m for first, last in limits)
    return spacing_m, (limits[0][0], limits[1][0]), (x_m, y_m)


def span_of(field: Field, grid: GeoBox) -> Span:
    """Count the pixels of `grid` that have a value, and find the smallest and the largest value, strip by strip."""
    strips = (field(grid[rows, :]) for rows in row_strips(grid.shape.y, 1024))
    return functools.reduce(Span.joined, map(span, strips))


def place_stations(
    grid: GeoBox, *, lon_deg: ArrayLike, lat_deg: ArrayLike, values: ArrayLike, within_km: float
) -> NDArray[np.float64]:
    """Select the stations to interpolate a grid from, in metres: those near it, and never fewer than the 30 nearest.

    Far stations tell nothing of the grid and bend the variogram towards long distances.

    Parameters
    ----------
    grid
        In a projected CRS in metres.
    lon_deg, lat_deg
        Stations, WGS 84, 1-D. Those so far away that the projection has no place for them are left out.
    values
        What they measured, 1-D. Stations whose value is NaN or infinite are left out.
    within_km
        Distance from the edge of the grid; stations on it are at distance 0.

    Returns
    -------
    ndarray of float64, (3, station)
        x and y in metres in the CRS of the grid, and what was measured; without any station where none is usable.

    Raises
    ------
    ValueError
        If the CRS of the grid is not projected in metres or the columns differ in length.

    Examples
    --------
    >>> grid = GeoBox.from_bbox((574000, 4725000, 574020, 4725010), crs="EPSG:32654", resolution=10)
    >>> place_stations(grid, lon_deg=[141.8, 141.9], lat_deg=[42.7, 42.7], values=[3.0, np.nan], within_km=10)[2]
    array([3.])
    """
    if grid.crs is None or not grid.crs.projected or set(grid.crs.units) != {"metre"}:
        raise ValueError(f"grid: found the CRS {grid.crs}, expected a projected one in metres")
    to_grid = Transformer.from_crs("EPSG:4326", grid.crs.to_wkt(), always_xy=True)
    table = np.array([*to_grid.transform(lon_deg, lat_deg), values], dtype=np.float64)
    table = table[:, np.isfinite(table).all(axis=0)]  # a projection answers with infinity far from its own zone
    (x_m, y_m, _), box = table, grid.boundingbox
    distance_m = np.hypot(x_m - np.clip(x_m, box.left, box.right), y_m - np.clip(y_m, box.bottom, box.top))
    nearest_m = np.sort(distance_m)[:NEAREST_STATIONS]
    return table[:, distance_m <= max([within_km * 1000.0, *nearest_m[-1:]])]
