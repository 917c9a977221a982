"""Where a simulated earthquake lies: the square that its scenes cover, and the ground around it."""

import math
from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

CELL_M = 10.0  # of the ground as it is: terrain, strata, shaking, rain
FINE_M = 5.0  # of what covers it, from which the scenes are rendered
CRS = "EPSG:32659"
TILE = "59SLV"
_LEFT_M, _TOP_M = 300_000.0, 4_000_020.0  # a corner of the 60 m lattice of that tile, in the open North Pacific
_LATTICE_CELLS = 6  # 60 m
_MARGIN_CELLS = 120  # shadows fall, and landslides run, from outside the scenes too


@dataclass(frozen=True)
class Frame:
    """The square of ground of a simulated earthquake.

    It lies in the open ocean of UTM zone 59, so that on any base map it shows for what it is.

    Attributes
    ----------
    tile_cells
        Side of the square that the scenes cover, in cells of 10 m; a multiple of 6.
    margin_cells
        Ground around it on each side, in cells of 10 m; a multiple of 6.
    """

    tile_cells: int
    margin_cells: int = _MARGIN_CELLS

    @property
    def cells(self) -> int:
        """Side of the whole ground, with its margin, in cells of 10 m."""
        return self.tile_cells + 2 * self.margin_cells

    @property
    def inner(self) -> tuple[slice, slice]:
        """Rows and columns of the tile in an array of the whole ground at 10 m."""
        inside = slice(self.margin_cells, self.margin_cells + self.tile_cells)
        return inside, inside

    @property
    def ground(self) -> GeoBox:
        """Grid of the whole ground, 10 m cells."""
        return self._grid(CELL_M, self.margin_cells * CELL_M)

    @property
    def fine(self) -> GeoBox:
        """Grid of the whole ground, 5 m cells."""
        return self._grid(FINE_M, self.margin_cells * CELL_M)

    @property
    def tile(self) -> GeoBox:
        """Grid of the tile alone, 10 m cells."""
        return self._grid(CELL_M, 0.0)

    def _grid(self, cell_m: float, margin_m: float) -> GeoBox:
        side = round((self.tile_cells * CELL_M + 2 * margin_m) / cell_m)
        return GeoBox((side, side), Affine(cell_m, 0, _LEFT_M - margin_m, 0, -cell_m, _TOP_M + margin_m), CRS)


def frame_of(size_km: float) -> Frame:
    """Return the frame of a square of `size_km`, rounded up to whole 60 m.

    Examples
    --------
    >>> frame_of(12.0).tile.shape
    Shape2d(x=1200, y=1200)
    """
    return Frame(_LATTICE_CELLS * math.ceil(size_km * 1000 / (CELL_M * _LATTICE_CELLS)))


def centres_m(grid: GeoBox) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the eastings of the columns of `grid` and the northings of its rows, of cell centres in metres."""
    affine, (rows, columns) = grid.affine, grid.shape
    x = affine.c + affine.a * (np.arange(columns, dtype=np.float64) + 0.5)
    y = affine.f + affine.e * (np.arange(rows, dtype=np.float64) + 0.5)
    return x, y
