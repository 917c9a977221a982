"""Peak ground acceleration (PGA) at the pixels of a grid from its contours."""

from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize

from coslide.errors import InputError
from coslide.grid import slices_of
from coslide.indices.interpolation import CoarseField, Field, coarse_axes
from coslide.labels import NO_CLASS

_COARSE_M = 100.0
_VERTEX_EVERY_M = 200.0
_REACH_M = 50_000.0  # contours beyond shape the field at the edge of the grid no more
_MOST_VERTICES = 300_000


def contour_field(contours: gpd.GeoDataFrame, grid: GeoBox, *, name: str) -> Field:
    """Interpolate PGA, in g, on `grid` from contours.

    Parameters
    ----------
    contours
        All lines or all polygons, with PGA in g in the column ``pga_g``, in the CRS of the grid.
    grid
        In metres.
    name
        The source, for messages.

    Returns
    -------
    Field
        A pixel in polygons has the value of the highest one there, by its centre. Between lines the
        logarithm is interpolated (Clough and Tocher [1]_: smooth, so that it goes on rising inside the innermost line
        and falling in a hollow), from vertices at most 200 m apart. NaN outside all polygons, or outside the convex
        hull of the lines: beyond the outermost contour nothing is recorded.

    Raises
    ------
    InputError
        If there are more than 254 different values among polygons, or lines of fewer than two values near the grid.

    References
    ----------
    .. [1] Alfeld (1984), A trivariate Clough-Tocher scheme for tetrahedral data, Comput. Aided Geom. Des. 1, 169-181,
       doi:10.1016/0167-8396(84)90029-3; as in `scipy.interpolate.CloughTocher2DInterpolator`.
    """
    if (contours.geom_type == "Polygon").all():
        return _burnt(contours, grid, name)
    return _between_lines(contours, grid, name)


@dataclass(frozen=True, eq=False)
class _Burnt:
    """Polygons on a grid: `values_g` of the code at each pixel; code 255 has NaN."""

    grid: GeoBox
    codes: NDArray[np.uint8]
    values_g: NDArray[np.float32]

    def at(self, window: GeoBox) -> NDArray[np.float32]:
        """Look PGA up on `window`, in g (`Field.at`)."""
        return self.values_g[self.codes[slices_of(window, self.grid)]]

    def sampled(self) -> NDArray[np.float32]:
        """Look PGA up at pixels that are spread evenly over the grid (`Field.sampled`)."""
        step = max(1, max(self.codes.shape) // 2048)
        return self.values_g[self.codes[::step, ::step]]


def _burnt(contours: gpd.GeoDataFrame, grid: GeoBox, name: str) -> Field:
    levels, codes = np.unique(contours["pga_g"].to_numpy(), return_inverse=True)
    if levels.size > NO_CLASS:
        raise InputError(f"{name}: found {levels.size} different values, expected at most {NO_CLASS}")
    order = np.argsort(codes, kind="stable")  # the highest is burnt last
    burnt = rasterize(
        zip(contours.geometry.to_numpy()[order], codes[order], strict=True),
        out_shape=tuple(grid.shape),
        transform=grid.affine,
        fill=NO_CLASS,
        dtype="uint8",
    )
    values_g = np.full(NO_CLASS + 1, np.nan, dtype=np.float32)
    values_g[: levels.size] = levels
    return _Burnt(grid, burnt, values_g)


def _between_lines(contours: gpd.GeoDataFrame, grid: GeoBox, name: str) -> Field:
    from scipy.interpolate import CloughTocher2DInterpolator
    from scipy.spatial import QhullError

    xy_m, ln_g = _vertices(contours, grid)
    spacing_m, first_node, (x_m, y_m) = coarse_axes(grid, _COARSE_M)
    if np.unique(ln_g).size < 2:
        raise InputError(f"{name}: found fewer than two values of contours around the grid, expected more")
    origin_m = xy_m.mean(axis=0)  # squares of UTM northings waste digits
    try:
        interpolate = CloughTocher2DInterpolator((xy_m - origin_m) / 1000.0, ln_g)
    except QhullError:
        raise InputError(f"{name}: found contours along one straight line, expected them around the grid") from None
    nodes = np.empty((y_m.size, x_m.size), dtype=np.float32)
    for row, y in enumerate(y_m):
        nodes[row] = interpolate((x_m - origin_m[0]) / 1000.0, (y - origin_m[1]) / 1000.0)
    return CoarseField(grid, spacing_m, first_node, nodes, log=True)


def _vertices(contours: gpd.GeoDataFrame, grid: GeoBox) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute vertices of the lines near the grid, x and y in metres, (vertex, 2), and the logarithm of their PGA."""
    left, bottom, right, top = grid.boundingbox.bbox
    around = shapely.box(left - _REACH_M, bottom - _REACH_M, right + _REACH_M, top + _REACH_M)
    lines = shapely.intersection(contours.geometry.to_numpy(), around)
    spacing_m = max(_VERTEX_EVERY_M, float(shapely.length(lines).sum()) / _MOST_VERTICES)
    places, owner = shapely.get_coordinates(shapely.segmentize(lines, spacing_m), return_index=True)
    # Closed lines repeat their first vertex, and files may repeat a line.
    _, kept = np.unique(places.round(1), axis=0, return_index=True)
    places, owner = places[kept], owner[kept]
    return places, np.log(contours["pga_g"].to_numpy()[owner])
