"""Fields at coarse nodes, evaluated at the pixels of a grid window by window.

A pixel's value follows from its row and column in the whole grid alone, so it is the same, to the bit, in whatever
window it is asked for. Fields hold their nodes only: they are small, can be sent to other processes, and may be asked
from several threads at once.
"""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling

from coslide.cube.store import Span, span
from coslide.grid import slices_of
from coslide.io.raster import CoarseRaster
from coslide.io.resample import resample
from coslide.windows import row_strips

Field = Callable[[GeoBox], NDArray[np.float32]]
"""A quantity that has a value, or NaN, at every pixel of a grid: float32 (row, col) at those of a part of the grid."""

Fields = tuple[Mapping[str, Field], tuple[str, ...], dict[str, Any]]
"""The fields that come from one source by the names of their bands, lines for the log, and what the cube records."""

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
    """

    grid: GeoBox
    spacing_m: float
    first_node: tuple[int, int]
    nodes: NDArray[np.float32]
    log: bool = False

    def at(self, window: GeoBox) -> NDArray[np.float32]:
        """Interpolate the field at the pixel centres of `window`, a part of the grid, float32 (row, col).

        Raises
        ------
        ValueError
            If `window` is no part of the grid.
        """
        transform = self.grid.affine
        rows, columns = (np.arange(part.start, part.stop) + 0.5 for part in slices_of(window, self.grid))
        field = self._bilinear(transform.c + transform.a * columns, transform.f + transform.e * rows)
        return np.exp(field, out=field) if self.log else field

    def node_value(self, x_m: float, y_m: float) -> float:
        """Interpolate between the nodes at one place on the grid; a logarithm if `log`."""
        return float(self._bilinear(np.array([x_m]), np.array([y_m]))[0, 0])

    def _bilinear(self, x_m: NDArray[np.float64], y_m: NDArray[np.float64]) -> NDArray[np.float32]:
        column, row = x_m / self.spacing_m - self.first_node[0], y_m / self.spacing_m - self.first_node[1]
        left, above = (np.floor(place).astype(np.int64) for place in (column, row))
        right_share, below_share = column - left, (row - above)[:, np.newaxis]
        lines = self.nodes[above] * (1.0 - below_share) + self.nodes[above + 1] * below_share
        field = np.empty((row.size, column.size), dtype=np.float32)
        for line, pixels in zip(lines, field, strict=True):
            pixels[:] = line[left] * (1.0 - right_share) + line[left + 1] * right_share
        return field


def interpolate_raster(nodes: CoarseRaster, window: GeoBox) -> NDArray[np.float32]:
    """Interpolate a raster in any CRS, in its own unit, at the pixel centres of `window`: bilinear between its nodes.

    Parameters
    ----------
    nodes
        In a CRS that can be brought to that of the window exactly (`coslide.io.raster.require_exact`).
    window
        In metres.

    Notes
    -----
    Between nodes of which some are nodata, the others share the weight; pixels in the raster pixel of a nodata node
    are nodata, and so are those beyond the outermost raster pixels (`coslide.io.resample.resample`).
    """
    return resample(nodes.geobox, lambda *part: nodes.values[part], window, how=Resampling.bilinear)


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

    Examples
    --------
    >>> grid = GeoBox.from_bbox((0, 0, 500, 10), "EPSG:32654", resolution=10)
    >>> spacing_m, first, (x_m, y_m) = coarse_axes(grid, 250.0)
    >>> x_m, first
    (array([-500., -250., 0., 250., 500., 750., 1000.]), (-2, -2))
    """
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
