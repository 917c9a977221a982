"""Rasters of any format and CRS, brought onto the grid."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.warp import reproject

from coslide.errors import InputError
from coslide.grid import Extent


@contextmanager
def open_raster(path: Path) -> Iterator[Any]:
    """Return the opened raster dataset (rasterio) of `path`, known to say where on Earth it lies.

    Raises
    ------
    InputError
        If GDAL cannot open or read it, or it has no CRS or no transform.
    """
    try:
        with rasterio.open(path) as dataset:
            if dataset.crs is None:
                raise InputError(f"{path}: has no CRS; expected a georeferenced raster")
            if dataset.transform.is_identity:
                raise InputError(f"{path}: has no transform; expected a georeferenced raster")
            yield dataset
    except RasterioError as error:
        raise InputError(f"{path}: cannot be read as a raster ({str(error).splitlines()[0]})") from None


def raster_extent(path: Path, name: str) -> Extent:
    """Return the bounds of a raster in its own CRS; `name` is what messages call it.

    Raises
    ------
    InputError
        As `open_raster`.
    """
    with open_raster(path) as dataset:
        left, bottom, right, top = dataset.bounds
        ordered = (min(left, right), min(bottom, top), max(left, right), max(bottom, top))  # rows may run northwards
        return Extent(f"{name} ({path})", dataset.crs.to_wkt(), ordered)


def warp_onto(
    path: Path, grid: GeoBox, *, resampling: Resampling, nodata: float | None = None, band: int = 1
) -> NDArray[np.float32]:
    """Return one band of a raster on `grid`, in the raster's own unit.

    Parameters
    ----------
    path
        A raster in any format of GDAL.
    grid
        The target.
    resampling
        How values between cell centres are found. Kernels leave nodata out and re-weight the rest.
    nodata
        The value that means "nothing here"; None takes what the raster declares, and NaN where it declares nothing.
        A NaN beside another nodata value is not left out of kernels: holes of it grow by the width of the kernel.
    band
        Band number, from 1.

    Returns
    -------
    ndarray of float32, (row, col)
        NaN where the raster has no value or does not reach.

    Raises
    ------
    InputError
        As `open_raster`; or if `nodata` is a value that the raster cannot hold.
    """
    out = np.full(grid.shape, np.nan, dtype=np.float32)
    with open_raster(path) as dataset:
        dtype = np.dtype(dataset.dtypes[band - 1])
        if nodata is not None and not rasterio.dtypes.can_cast_dtype(nodata, dtype.name):
            raise InputError(f"{path}: found nodata {nodata:g} for values of type {dtype.name}, which cannot hold it")
        reproject(
            rasterio.band(dataset, band),
            out,
            src_nodata=_source_nodata(dataset.nodata if nodata is None else nodata, dtype),
            dst_transform=grid.affine,
            dst_crs=str(grid.crs),
            dst_nodata=np.nan,
            init_dest_nodata=True,
            resampling=resampling,
            num_threads=1,  # with more, GDAL leaves out what it cannot read without a word
        )
    return out


def _source_nodata(nodata: float | None, dtype: np.dtype[np.generic]) -> float | None:
    """Return nodata as the raster itself stores it, for GDAL compares exactly; NaN for floats that declare none."""
    if nodata is None:
        return np.nan if dtype.kind == "f" else None
    return float(dtype.type(nodata))
