"""Coarse rasters, such as of shaking or rain, read once around the grid."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.transform import Affine
from rasterio.windows import Window

from coslide.errors import InputError
from coslide.grid import overlap_slices
from coslide.io.raster import nodata_of, open_raster, require_exact

LARGEST_NODES = 2**28
"""Most nodes that are held at once (1 GiB); a raster with more around the grid is no coarse one."""

_MARGIN = 2


class CoarseRaster(NamedTuple):
    """Values at the nodes of a regular lattice; a node is the centre of a pixel.

    Attributes
    ----------
    values
        float32 (row, col), NaN where it is nodata.
    transform
        From (column, row), counted from the outer corner of the first pixel, to x and y.
    crs
        Of x and y, as text.
    """

    values: NDArray[np.float32]
    transform: Affine
    crs: str

    @property
    def geobox(self) -> GeoBox:
        """Where its pixels lie."""
        return GeoBox(self.values.shape, self.transform, self.crs)


def read_coarse_raster(
    path: Path, grid: GeoBox, *, crs: str | None = None, nodata: float | None = None
) -> CoarseRaster:
    """Read the part of a raster around `grid`, in the raster's own unit.

    Parameters
    ----------
    path
        A raster in any format of GDAL. A scale and an offset that it declares are applied.
    grid
        What is to be covered.
    crs
        Where the file declares none.
    nodata
        A value that means "nothing here", besides the one that the file declares and NaN.

    Raises
    ------
    InputError
        If it cannot be read, has several bands, has no CRS and none is given, does not overlap the grid, cannot hold
        `nodata`, or has more than 2**28 pixels there.
    """
    with open_raster(path, crs=crs) as dataset:
        if dataset.count > 1:
            raise InputError(f"{path}: holds {dataset.count} bands; expected one")
        own_crs = dataset.crs.to_wkt() if dataset.crs else str(crs)
        require_exact(str(path), own_crs, str(grid.crs))
        part = overlap_slices(GeoBox(dataset.shape, dataset.transform, own_crs), grid, padding=_MARGIN)
        window = Window.from_slices(*part)
        if window.width == 0:
            left, bottom, right, top = dataset.bounds
            found = f"x {left:g} to {right:g}, y {bottom:g} to {top:g}"
            raise InputError(f"{path}: does not overlap the grid; found {found}")
        if window.width * window.height > LARGEST_NODES:
            raise InputError(f"{path}: has {window.width} x {window.height} pixels on the grid; give a coarser raster")
        given = nodata_of(dataset, given=nodata, name=str(path))
        stored = dataset.read(1, window=window, masked=True)
        values = stored.data.astype(np.float32) * np.float32(dataset.scales[0]) + np.float32(dataset.offsets[0])
        values[np.ma.getmaskarray(stored) | (stored.data == given)] = np.nan
        return CoarseRaster(values, dataset.window_transform(window), own_crs)
