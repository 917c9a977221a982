"""Coarse rasters, such as of shaking or rain, read once around the grid."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.roi import roi_is_empty
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.windows import Window

from coslide.errors import InputError
from coslide.grid import overlap_slices
from coslide.io.raster import open_raster, require_exact

LARGEST_NODES = 2**28
"""Most nodes that are held at once (1 GiB); a raster with more around the grid is no coarse one."""

_MARGIN = 2


class CoarseRaster(NamedTuple):
    """Values at the nodes of a regular lattice; a node is the centre of a raster cell.

    Attributes
    ----------
    values
        float32 (row, col), NaN where unknown.
    transform
        From (column, row), counted from the outer corner of the first cell, to x and y.
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
    """Return the part of a raster around `grid`, in the raster's own unit.

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
        `nodata`, or has more than 2**28 cells there.
    """
    with open_raster(path, crs=crs) as dataset:
        if dataset.count > 1:
            raise InputError(f"{path}: holds {dataset.count} bands; expected one")
        own_crs = dataset.crs.to_wkt() if dataset.crs else str(crs)
        require_exact(str(path), dataset.crs or crs, str(grid.crs))
        part = overlap_slices(GeoBox(dataset.shape, dataset.transform, own_crs), grid, padding=_MARGIN)
        window = Window.from_slices(*part)
        if roi_is_empty(part):
            raise InputError(f"{path}: does not overlap the grid; found {_describe(dataset)}")
        if window.width * window.height > LARGEST_NODES:
            raise InputError(f"{path}: has {window.width} x {window.height} cells on the grid; give a coarser raster")
        values = _read(path, dataset, window, nodata)
        return CoarseRaster(values, dataset.window_transform(window), own_crs)


def _read(path: Path, dataset: Any, window: Window, nodata: float | None) -> NDArray[np.float32]:
    dtype = np.dtype(dataset.dtypes[0])
    if nodata is not None and not rasterio.dtypes.can_cast_dtype(nodata, dtype.name):
        raise InputError(f"{path}: found nodata {nodata:g} for values of type {dtype.name}, which cannot hold it")
    try:
        masked = dataset.read(1, window=window, masked=True)
    except RasterioError as error:
        raise InputError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from None
    unknown, stored = np.ma.getmaskarray(masked), masked.data
    if nodata is not None:
        unknown = unknown | (stored == dtype.type(nodata))
    values: NDArray[np.float32] = stored.astype(np.float32)
    scale, offset = dataset.scales[0], dataset.offsets[0]
    if (scale, offset) != (1.0, 0.0):
        values = values * np.float32(scale) + np.float32(offset)
    values[unknown] = np.nan
    return values


def _describe(dataset: Any) -> str:
    left, bottom, right, top = dataset.bounds
    return f"x {left:g} to {right:g}, y {bottom:g} to {top:g}"
