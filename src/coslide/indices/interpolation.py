"""Fields at coarse nodes, evaluated at the pixels of a grid window by window.

A pixel's value follows from its row and column in the whole grid alone, so it is the same, to the bit, in whatever
window it is asked for. Fields hold their nodes only: they are small, can be sent to other processes, and may be asked
from several threads at once.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling

from coslide.grid import slices_of
from coslide.io.coarse_raster import CoarseRaster
from coslide.io.resample import resample

MOST_NODES = 2**21
"""Where nodes as close as asked for would be more than this, their spacing is widened."""

_MARGIN_NODES = 2
_MOST_SAMPLES = 2048  # along each side


class Summary(NamedTuple):
    """Smallest and largest value of a field on a grid, and its share of nodata; NaN and 1 where it has no value."""

    low: float
    high: float
    nodata: float


class Field(Protocol):
    """A quantity that has a value, or NaN, at every pixel of a grid."""

    def at(self, window: GeoBox) -> NDArray[np.float32]:
        """Interpolate the values at the pixel centres of `window`, a part of the grid, float32 (row, col)."""
        ...

    def sampled(self) -> NDArray[np.float32]:
        """Interpolate at pixels that are spread evenly over the grid, up to its edges, at most 2048 along each side."""
        ...


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
        field = self._between(self.nodes, *_indices_of(window, self.grid))
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
        return self._between(self.variance, *_indices_of(window, self.grid))

    def sampled(self) -> NDArray[np.float32]:
        """Interpolate at pixels that are spread evenly over the grid (`Field.sampled`)."""
        rows, columns = (
            np.unique(np.linspace(0, size - 1, min(size, _MOST_SAMPLES)).round().astype(np.int64))
            for size in self.grid.shape
        )
        field = self._between(self.nodes, rows, columns)
        return np.exp(field, out=field) if self.log else field

    def node_value(self, x_m: float, y_m: float) -> float:
        """Interpolate between the nodes at one place on the grid; a logarithm if `log`."""
        value = np.empty((1, 1), dtype=np.float32)
        column, row = x_m / self.spacing_m - self.first_node[0], y_m / self.spacing_m - self.first_node[1]
        _bilinear(self.nodes, np.array([row]), np.array([column]), value)
        return float(value[0, 0])

    def _between(
        self, nodes: NDArray[np.float32], rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        transform = self.grid.affine
        x_m = transform.c + transform.a * (columns + 0.5)
        y_m = transform.f + transform.e * (rows + 0.5)
        column, row = x_m / self.spacing_m - self.first_node[0], y_m / self.spacing_m - self.first_node[1]
        field = np.empty((rows.size, columns.size), dtype=np.float32)
        _bilinear(nodes, row, column, field)
        return field


@dataclass(frozen=True, eq=False)
class NodesField:
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
        return self._at(window)

    def sampled(self) -> NDArray[np.float32]:
        """Interpolate at pixels that are spread evenly over the grid (`Field.sampled`)."""
        rows, columns = (min(size, _MOST_SAMPLES) for size in self.grid.shape)
        return self._at(self.grid.zoom_to((rows, columns)))

    def _at(self, window: GeoBox) -> NDArray[np.float32]:
        values = self.nodes.values
        field: NDArray[np.float32] = resample(
            self.nodes.geobox, lambda rows, columns: values[rows, columns], window, how=Resampling.bilinear
        )
        return field


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


def _indices_of(window: GeoBox, grid: GeoBox) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rows, columns = slices_of(window, grid)
    return np.arange(rows.start, rows.stop), np.arange(columns.start, columns.stop)


def summary_of(field: Field) -> Summary:
    """Compute the range of a field on its grid and its share of nodata, from the pixels that it samples."""
    sampled = field.sampled()
    nodata = float(np.isnan(sampled).mean())
    if nodata == 1:
        return Summary(np.nan, np.nan, nodata)
    return Summary(float(np.nanmin(sampled)), float(np.nanmax(sampled)), nodata)


@njit(nogil=True, cache=True)
def _bilinear(
    nodes: NDArray[np.float32],
    row: NDArray[np.floating[Any]],
    column: NDArray[np.floating[Any]],
    out: NDArray[np.float32],
) -> None:
    left = np.floor(column).astype(np.int64)
    right_share = column - left
    line = np.empty(nodes.shape[1], dtype=np.float64)
    for i in range(row.size):
        above = math.floor(row[i])
        share = row[i] - above
        for k in range(line.size):
            line[k] = nodes[above, k] * (1.0 - share) + nodes[above + 1, k] * share
        for j in range(column.size):
            k = left[j]
            out[i, j] = line[k] * (1.0 - right_share[j]) + line[k + 1] * right_share[j]
