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
from rasterio.errors import RasterioIOError
from rasterio.warp import reproject

from coslide.errors import InputError
from coslide.grid import Extent

WARP_THREADS = 2


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
    except RasterioIOError as error:
        raise InputError(f"{path}: cannot be read as a raster ({str(error).splitlines()[0]})") from None


def raster_extent(path: Path, name: str) -> Extent:
    """Return the bounds of a raster in its own CRS; `name` is what messages call it.

    Raises
    ------
    InputError
        As `open_raster`.
    """
    with open_raster(path) as dataset:
        return Extent(f"{name} ({path})", dataset.crs.to_wkt(), tuple(dataset.bounds))


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
        The value that means "nothing here"; None takes what the raster declares. NaN always does.
    band
        Band number, from 1.

    Returns
    -------
    ndarray of float32, (row, col)
        NaN where the raster has no value or does not reach.

    Raises
    ------
    InputError
        As `open_raster`.
    """
    out = np.full(grid.shape, np.nan, dtype=np.float32)
    with open_raster(path) as dataset:
        reproject(
            rasterio.band(dataset, band),
            out,
            src_nodata=dataset.nodata if nodata is None else nodata,
            dst_transform=grid.affine,
            dst_crs=str(grid.crs),
            dst_nodata=np.nan,
            init_dest_nodata=True,
            resampling=resampling,
            num_threads=WARP_THREADS,
        )
    return out
