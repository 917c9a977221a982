"""Where a raster lies, and where places lie in it."""

import functools
from typing import NamedTuple

import numpy as np
import pyproj
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox


class Footprint(NamedTuple):
    """Where a raster lies.

    Attributes
    ----------
    crs
        As text.
    transform
        From (column, row), counted from the outer corner of its first cell, to x and y.
    shape
        (height, width) in cells.
    """

    crs: str
    transform: Affine
    shape: tuple[int, int]


def pixel_coordinates(raster: Footprint, grid: GeoBox, *, each_way: int) -> NDArray[np.float64]:
    """Return where points of `grid` lie in a raster, in cells of the raster from its outer corner.

    Parameters
    ----------
    raster
        If its CRS is geographic, longitudes are taken in the turn of the globe that its middle lies in: a raster may
        run from 0 to 360 degrees or beyond 180.
    grid
        Axes along x and y.
    each_way
        How many points there are along each side of the grid, from edge to edge.

    Returns
    -------
    ndarray of float64, (2, row, col)
        Row and column in the raster; not finite where its CRS does not reach.

    Examples
    --------
    >>> raster = Footprint("EPSG:4326", Affine(1, 0, 176, 0, -1, 4), (8, 8))
    >>> grid = GeoBox((2, 2), Affine(0.5, 0, -180, 0, -0.5, 1), "EPSG:4326")
    >>> pixel_coordinates(raster, grid, each_way=2).tolist()
    [[[3.0, 3.0], [4.0, 4.0]], [[4.0, 5.0], [4.0, 5.0]]]
    """
    rows, cols = (np.linspace(0, size, each_way) for size in grid.shape)
    affine = grid.affine
    return places_at(raster, str(grid.crs), affine.f + affine.e * rows, affine.c + affine.a * cols)


def places_at(raster: Footprint, crs: str, y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where the nodes of a lattice lie in a raster, in cells of the raster, as `pixel_coordinates` does.

    Parameters
    ----------
    raster
        Where its cells lie.
    crs
        Of the lattice.
    y, x
        Its lines, in the unit of `crs`, each float64 (line,).

    Examples
    --------
    >>> raster = Footprint("EPSG:32654", Affine(10, 0, 500000, 0, -10, 4700040), (3, 3))
    >>> places_at(raster, "EPSG:32654", np.array([4700025.0]), np.array([500000.0, 500010.0])).tolist()
    [[[1.5, 1.5]], [[0.0, 1.0]]]
    """
    columns, rows = np.meshgrid(x, y)
    to_raster = pyproj.Transformer.from_crs(crs, raster.crs, always_xy=True)
    own_x, own_y = to_raster.transform(columns, rows)
    if to_raster.target_crs is not None and to_raster.target_crs.is_geographic:
        middle, _ = raster.transform @ (raster.shape[1] / 2, raster.shape[0] / 2)
        own_x = own_x - 360.0 * np.round((own_x - middle) / 360.0)
    back = ~raster.transform
    with np.errstate(invalid="ignore"):  # infinity where the CRS does not reach
        return np.stack([back.d * own_x + back.e * own_y + back.f, back.a * own_x + back.b * own_y + back.c])


def span_within(start: int, stop: int, size: int) -> slice:
    """Return that part of ``start:stop`` that lies on an axis of `size` cells; it may be empty.

    Examples
    --------
    >>> span_within(-2, 3, 10), span_within(12, 14, 10)
    (slice(0, 3, None), slice(10, 10, None))
    """
    start = min(max(start, 0), size)
    return slice(start, max(min(stop, size), start))


@functools.lru_cache(maxsize=256)
def same_crs(one: str, other: str) -> bool:
    """Return whether two CRS are the same.

    Examples
    --------
    >>> same_crs("EPSG:32654", "+proj=utm +zone=54 +datum=WGS84 +type=crs"), same_crs("EPSG:32654", "EPSG:32653")
    (True, False)
    """
    first, second = pyproj.CRS.from_user_input(one), pyproj.CRS.from_user_input(other)
    codes = first.to_epsg(), second.to_epsg()
    return bool(first.equals(second, ignore_axis_order=True)) or (codes[0] is not None and codes[0] == codes[1])
