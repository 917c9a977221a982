"""Rasters of scenes, files or at http addresses: the raster of a band, and what its stored values mean."""

import functools
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import CRSError as RasterCRSError
from rasterio.errors import RasterioError
from rasterio.windows import Window

from coslide.config.sensors import Mask
from coslide.errors import InputError
from coslide.io.http import HTTP, TIMEOUT_S, redact_url
from coslide.io.raster import grid_of, open_own_files, reason_of
from coslide.io.stored import data_band, nodata_of, read_stored

_SLOWEST_BYTES, _SLOWEST_S = 100, 10
_HTTP_OPTIONS: dict[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".tif,.tiff,.jp2",
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_LOW_SPEED_LIMIT": f"{_SLOWEST_BYTES}",
    "GDAL_HTTP_LOW_SPEED_TIME": f"{_SLOWEST_S}",  # such a request is given up, not sent again
    "GDAL_HTTP_TIMEOUT": f"{TIMEOUT_S:.0f}",
}


class Band(NamedTuple):
    """A band as metadata describe it, before its raster is opened.

    Attributes
    ----------
    name
        Such as ``"B8A"``, or ``"SCL"`` for the scene classification.
    href
        A path, or an http address.
    number
        Of the band in the raster, from 1; None if the raster must hold only one.
    scale, offset, nodata
        Reflectance (1) = stored value * scale + offset. They precede what the raster declares; None takes that.
    crs
        CRS of a raster that declares none.
    size_m
        Pixel size; 0 where it is not stated.
    data
        Numbers of bands of the raster that hold data, even where it declares one to be an alpha band.
    mask
        How the flags of a mask tell the class; None for bands, and for a classification.
    """

    name: str
    href: str
    number: int | None = 1
    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None
    crs: str | None = None
    size_m: float = 0.0
    data: tuple[int, ...] = ()
    mask: Mask | None = None


class BandRaster(NamedTuple):
    """A band whose raster was opened: all that is needed to read it, in any thread or process.

    Attributes
    ----------
    href, number
        As in `Band`.
    scale, offset
        Reflectance (1) = stored value * scale + offset.
    invalid
        Stored values that are nodata.
    geobox
        Where its pixels lie.
    driver
        The format in which GDAL opens it; None leaves that to GDAL.
    data, mask
        As in `Band`.
    """

    href: str
    number: int
    scale: float
    offset: float
    invalid: tuple[float, ...]
    geobox: GeoBox
    driver: str | None
    data: tuple[int, ...] = ()
    mask: Mask | None = None

    def read(self, rows: slice, cols: slice, **options: Any) -> NDArray[np.float32]:
        """Read reflectance (or classes) at rows and columns of the raster, NaN where it is nodata.

        Raises
        ------
        InputError
            If the raster cannot be read.
        """
        with open_band(self.href, self.driver) as dataset:
            window = Window.from_slices(rows, cols)
            if self.mask is not None:
                return self._classes(dataset, self.mask, window, options)
            stored, void = read_stored(dataset, self.number, window, invalid=self.invalid, data=self.data, **options)
        with np.errstate(over="ignore"):  # what is beyond float32 is nodata
            values: NDArray[np.float32] = stored.astype(np.float32)  # before the offset: unsigned integers would wrap
        values += np.float32(self.offset / self.scale)
        values *= np.float32(self.scale)
        values[void] = np.nan
        return values

    def _classes(self, dataset: Any, mask: Mask, window: Window, options: dict[str, Any]) -> NDArray[np.float32]:
        """Read the classes that flags tell; NaN beyond the scene."""
        numbers = sorted({flag.number for flag in mask.flags})
        read = {n: read_stored(dataset, n, window, invalid=(), data=self.data, **options)[0] for n in numbers}
        classes = np.full(next(iter(read.values())).shape, mask.otherwise, dtype=np.float32)
        for flag in reversed(mask.flags):  # the first one that is set counts
            classes[read[flag.number] >> flag.bit & 1 == 1] = flag.scl
        classes[classes == 0] = np.nan
        return classes


@contextmanager
def open_band(href: str, driver: str | None) -> Iterator[Any]:
    """Open the dataset (rasterio) of a path or http address, for use in one thread.

    Raises
    ------
    InputError
        If it cannot be opened, or not be read inside the block; a failing http server is asked again before, one that
        sends next to nothing for ten seconds is given up.
    """
    remote = href.startswith(HTTP)
    options = dict(_HTTP_OPTIONS) if remote else {}
    if "?" in href:  # a signed address does not end as the extensions do
        options.pop("CPL_VSIL_CURL_ALLOWED_EXTENSIONS", None)
    state: tuple[int, ...] = (threading.get_ident(), os.getpid())
    with suppress(OSError, ValueError):
        found = Path(href).stat()
        state += (found.st_mtime_ns, found.st_size)
    started = time.monotonic()
    try:
        with rasterio.Env(**options):
            yield _dataset(f"/vsicurl/{href}" if remote else href, driver, state)
    except (RasterioError, RasterCRSError) as error:
        _dataset.cache_clear()
        reason = reason_of(error).replace(href, redact_url(href))
        if remote and time.monotonic() - started >= _SLOWEST_S and "HTTP response code" not in reason:
            reason = f"its server sends nothing, or less than {_SLOWEST_BYTES} bytes a second"
        raise InputError(f"{redact_url(href)}: cannot be read as a raster ({reason})") from None


@functools.lru_cache(maxsize=256)
def _dataset(place: str, driver: str | None, _state: tuple[int, ...]) -> Any:
    """Open a dataset, once for each thread, process and version of a file; the last ones stay open.

    GDAL forgets what it decoded when a dataset is closed, and strips of the grid do not end where tiles of JPEG 2000
    do, so most tiles are wanted twice.
    """
    return open_own_files(place, driver)


def locate_band(band: Band, *, of_product: bool) -> BandRaster:
    """Open the raster of a band once, to know where it lies and what its values mean.

    Parameters
    ----------
    band
        Neither scale nor offset is applied to ``"SCL"``, whose class 0 is nodata.
    of_product
        Whether it belongs to a satellite product: then it is GeoTIFF or JPEG 2000, by its name, and 0 and 65535 are
        nodata if it stores integers.

    Raises
    ------
    InputError
        If it cannot be read, has several bands and none is named, or fewer bands; if the scale is 0, or `nodata` is a
        value that it cannot hold; if a mask has not the flags of its sensor; or as `coslide.io.raster.grid_of`.
    """
    name, driver = redact_url(band.href), product_driver(band.href) if of_product else None
    with open_band(band.href, driver) as dataset:
        hint = f'the number of one, as in {{ path = "{Path(name).name}", band = 1 }}'
        number = band.number or data_band(dataset, name=name, expected=hint)
        if number > dataset.count:
            raise InputError(f"{name}: found band = {number}, expected at most {dataset.count}")
        last = max((flag.number for flag in band.mask.flags), default=1) if band.mask else 1
        if band.mask and (last > dataset.count or {np.dtype(dtype).kind for dtype in dataset.dtypes} - {"u", "i"}):
            found = f"{dataset.count} bands of type {dataset.dtypes[0]}"
            raise InputError(f"{name}: found {found}, expected the mask of the product, {last} bands of flags")
        nodata = nodata_of(dataset, given=band.nodata, name=name, number=number)
        invalid = set() if nodata is None else {nodata}
        scale = dataset.scales[number - 1] if band.scale is None else band.scale
        offset = dataset.offsets[number - 1] if band.offset is None else band.offset
        if band.name == "SCL":
            scale, offset, invalid = 1.0, 0.0, invalid | {0.0}
        elif of_product and np.dtype(dataset.dtypes[number - 1]).kind in "ui":
            invalid |= {0.0, 65535.0}  # no data, and saturated
        if scale == 0:
            raise InputError(f"{name}: found scale 0, expected the factor from stored value to reflectance")
        if dataset.crs is None and band.crs is None:
            raise InputError(f"{name}: has no CRS; expected a georeferenced raster, or crs in the event file")
        geobox = grid_of(dataset, crs=band.crs, name=name)
    return BandRaster(
        band.href, number, float(scale), float(offset), tuple(sorted(invalid)), geobox, driver, band.data, band.mask
    )


def product_driver(href: str) -> str:
    """Name the format of a raster of a product, in GDAL's words.

    Examples
    --------
    >>> product_driver("http://127.0.0.1/B02.jp2?signature=x"), product_driver("B02.tif")
    ('JP2OpenJPEG', 'GTiff')
    """
    return "JP2OpenJPEG" if href.partition("?")[0].lower().endswith(".jp2") else "GTiff"
