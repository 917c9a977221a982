"""Coarse rasters, such as of shaking or rain, read once around the grid."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.windows import Window

from coslide.errors import InputError
from coslide.io.footprint import Footprint, pixel_coordinates
from coslide.io.raster import open_raster, require_exact

LARGEST_NODES = 2**28
"""Most nodes that are held at once (1 GiB); a raster with more around the grid is no coarse one."""

_MARGIN = 2
_POINTS = 33


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
    def footprint(self) -> Footprint:
        """Where its cells lie."""
        height, width = self.values.shape
        return Footprint(self.crs, self.transform, (height, width))


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
        If it cannot be read, has several bands, has no CRS and none is given, does not meet the grid, cannot hold
        `nodata`, or has more than 2**28 cells there.
    """
    with open_raster(path, crs=crs) as dataset:
        if dataset.count > 1:
            raise InputError(f"{path}: holds {dataset.count} bands; expected one")
        own_crs = dataset.crs.to_wkt() if dataset.crs else str(crs)
        require_exact(str(path), dataset.crs or crs, str(grid.crs))
        window = _window_around(grid, Footprint(own_crs, dataset.transform, dataset.shape))
        if window.width == 0:
            raise InputError(f"{path}: does not meet the grid; found {_describe(dataset)}")
        if window.width * window.height > LARGEST_NODES:
            raise InputError(f"{path}: has {window.width} x {window.height} cells on the grid; give a coarser raster")
        values = _read(path, dataset, window, nodata)
        return CoarseRaster(values, dataset.window_transform(window), own_crs)


def meets(nodes: CoarseRaster, grid: GeoBox) -> bool:
    """Return whether the cells of `nodes` and `grid` have ground in common, judged by their bounding boxes."""
    window = _window_around(grid, nodes.footprint)
    return bool(window.width > 0 and window.height > 0)


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


def _window_around(grid: GeoBox, raster: Footprint) -> Window:
    """Return the cells of a raster that surround `grid`; without any where the two do not meet."""
    limits = []
    for places, size in zip(pixel_coordinates(raster, grid, each_way=_POINTS), raster.shape, strict=True):
        finite = places[np.isfinite(places)]
        if finite.size == 0 or finite.max() <= 0 or finite.min() >= size:
            return Window(0, 0, 0, 0)
        limits.append((max(int(finite.min()) - _MARGIN, 0), min(int(finite.max()) + _MARGIN + 1, size)))
    (top, bottom), (left, right) = limits
    return Window(left, top, right - left, bottom - top)


def _describe(dataset: Any) -> str:
    left, bottom, right, top = dataset.bounds
    return f"x {left:g} to {right:g}, y {bottom:g} to {top:g}"
