"""The raster of one band: where it lies, what its stored values mean, and how it is opened."""

import math
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import pyproj
import rasterio
from affine import Affine
from rasterio.errors import RasterioError

from coslide.errors import InputError
from coslide.grid import short_crs
from coslide.io.footprint import Footprint
from coslide.io.raster import require_data, require_own_files

NODATA_DN, SATURATED_DN = 0.0, 65535.0
TIMEOUT_S = 30.0
_OPEN = threading.local()
_MOST_OPEN = 32
_HTTP = ("http://", "https://")
_HTTP_OPTIONS: dict[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".tif,.tiff,.jp2",
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_TIMEOUT": f"{TIMEOUT_S:.0f}",
}


class BandRaster(NamedTuple):
    """One band of a product: where it lies, and how its stored values become reflectance.

    Attributes
    ----------
    href
        A path, or an http address.
    number
        Of the band in the raster, from 1.
    scale, offset
        Reflectance (1) = stored value * scale + offset.
    invalid
        Stored values that mean nothing.
    crs, transform, shape, dtype
        Of the raster; shape is (height, width).
    driver
        The format that GDAL takes it for, as in `open_band`.
    """

    href: str
    number: int
    scale: float
    offset: float
    invalid: tuple[float, ...]
    crs: str
    transform: Affine
    shape: tuple[int, int]
    dtype: str
    driver: str | None

    @property
    def remote(self) -> bool:
        """Whether it is read over http."""
        return self.href.startswith(_HTTP)

    @property
    def footprint(self) -> Footprint:
        """Where it lies."""
        return Footprint(self.crs, self.transform, self.shape)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) in its own CRS."""
        corners = [
            self.transform * corner for corner in ((0, 0), self.shape[::-1], (0, self.shape[0]), (self.shape[1], 0))
        ]
        xs, ys = zip(*corners, strict=True)
        return min(xs), min(ys), max(xs), max(ys)


@contextmanager
def open_band(href: str, driver: str | None) -> Iterator[Any]:
    """Return the opened dataset (rasterio) of a raster, for use in one thread.

    Parameters
    ----------
    href
        A path, or an http address, which is read piece by piece.
    driver
        The format that GDAL takes it for, as in `open_band`.

    Raises
    ------
    InputError
        If it cannot be opened, or not be read inside the block; a failing http server is asked again before.
    """
    options = dict(_HTTP_OPTIONS) if href.startswith(_HTTP) else {}
    if "?" in href:  # a signed address does not end as the extensions do
        options.pop("CPL_VSIL_CURL_ALLOWED_EXTENSIONS", None)
    key = _key(href, driver)
    try:
        with rasterio.Env(**options):
            yield _opened(key)
    except RasterioError as error:
        _datasets().pop(key, None)
        reason = str(error).splitlines()[0].replace(href, redact_url(href))
        raise InputError(f"{redact_url(href)}: cannot be read as a raster ({reason})") from None


class _Key(NamedTuple):
    place: str
    driver: str | None
    process: int
    state: tuple[int, ...]


def _key(href: str, driver: str | None) -> _Key:
    """Return what an open dataset goes by; a file that was replaced since, or a parent process's, is another one."""
    state: tuple[int, ...] = ()
    with suppress(OSError, ValueError):
        found = Path(href).stat()
        state = found.st_mtime_ns, found.st_size
    return _Key(f"/vsicurl/{href}" if href.startswith(_HTTP) else href, driver, os.getpid(), state)


def _datasets() -> OrderedDict[_Key, Any]:
    """Return the open datasets of this thread."""
    kept: OrderedDict[_Key, Any] = _OPEN.__dict__.setdefault("datasets", OrderedDict())
    return kept


def _opened(key: _Key) -> Any:
    """Return a dataset of this thread. The last ones stay open, for GDAL forgets what it decoded when they are closed.

    Strips of the grid do not end where tiles of JPEG 2000 do, so most tiles are wanted twice.
    """
    kept = _datasets()
    if key not in kept:
        require_data(Path(key.place))
        dataset = rasterio.open(key.place, driver=key.driver)
        require_own_files(dataset, Path(key.place))
        kept[key] = dataset
    kept.move_to_end(key)
    while len(kept) > _MOST_OPEN:
        kept.popitem(last=False)[1].close()
    return kept[key]


def band_raster(
    href: str,
    number: int | None,
    *,
    scale: float | None,
    offset: float | None,
    nodata: float | None,
    product: bool,
    special: bool = True,
    crs: str | None = None,
) -> BandRaster:
    """Return what is known of a band, after a look at its raster.

    Parameters
    ----------
    href
        A path, or an http address.
    number
        Of the band, from 1; None if the raster has only one.
    scale, offset, nodata
        What is said elsewhere, which goes before what the raster declares; None takes that.
    product
        Whether it belongs to a Sentinel-2 product: then it is GeoTIFF or JPEG 2000, by its name.
    special
        Whether 0 and 65535 mean nothing if the product stores integers.
    crs
        Its CRS, where the raster declares none.

    Raises
    ------
    InputError
        If it cannot be read, has no CRS or transform, or several bands and none is named, or fewer bands; if the scale
        is 0, or `nodata` is a value that it cannot hold.
    """
    driver = product_driver(href) if product else None
    with open_band(href, driver) as dataset:
        name = redact_url(href)
        placed = _crs_of(dataset, name, crs)
        number = _checked_number(dataset, name, number)
        declared_scale, declared_offset = dataset.scales[number - 1], dataset.offsets[number - 1]
        scale = float(declared_scale if scale is None else scale)
        if scale == 0:
            raise InputError(f"{name}: found scale 0, expected the factor from stored value to reflectance")
        dtype = np.dtype(dataset.dtypes[number - 1])
        nothing = _invalid(name, dataset.nodatavals[number - 1] if nodata is None else nodata, dtype)
        if product and special and dtype.kind in "ui":
            nothing |= {NODATA_DN, SATURATED_DN}
        return BandRaster(
            href=href,
            number=number,
            scale=scale,
            offset=float(declared_offset if offset is None else offset),
            invalid=tuple(sorted(nothing)),
            crs=placed,
            transform=dataset.transform,
            shape=dataset.shape,
            dtype=dtype.name,
            driver=driver,
        )


def redact_url(href: str) -> str:
    """Return an address as messages and records show it: without what may be a secret. Paths stay as they are.

    Examples
    --------
    >>> redact_url("https://user:word@127.0.0.1:80/B02.tif?signature=x")
    'https://127.0.0.1:80/B02.tif'
    """
    if not href.startswith(_HTTP):
        return href
    scheme, place, path, _, _ = urlsplit(href)
    return f"{scheme}://{place.rpartition('@')[2]}{path}"


def product_driver(href: str) -> str:
    """Return the format of a raster of a product, in GDAL's words.

    Examples
    --------
    >>> product_driver("http://127.0.0.1/B02.jp2?signature=x"), product_driver("B02.tif")
    ('JP2OpenJPEG', 'GTiff')
    """
    return "JP2OpenJPEG" if href.partition("?")[0].lower().endswith(".jp2") else "GTiff"


def _crs_of(dataset: Any, place: str, given: str | None) -> str:
    if dataset.transform.is_identity:
        raise InputError(f"{place}: has no transform; expected a georeferenced raster")
    if dataset.crs is not None:
        return short_crs(dataset.crs.to_wkt())
    if given is None:
        raise InputError(f"{place}: has no CRS; expected a georeferenced raster, or crs in the event file")
    try:
        return short_crs(pyproj.CRS.from_user_input(given).to_wkt())
    except pyproj.exceptions.CRSError:
        raise InputError(f"{place}: crs: found {given!r}, expected one such as 'EPSG:32654'") from None


def _checked_number(dataset: Any, place: str, number: int | None) -> int:
    if number is None and dataset.count > 1:
        hint = f'{{ path = "{Path(place).name}", band = 1 }}'
        raise InputError(f"{place}: holds {dataset.count} bands; say which, as in {hint}")
    if number is not None and number > dataset.count:
        raise InputError(f"{place}: found band = {number}, expected at most {dataset.count}")
    return number or 1


def _invalid(place: str, nodata: float | None, dtype: np.dtype[Any]) -> set[float]:
    """Return the nodata value as the raster's own type holds it; NaN means nothing anyway."""
    if nodata is None or math.isnan(nodata):
        return set()
    if not rasterio.dtypes.can_cast_dtype(nodata, dtype.name):
        raise InputError(f"{place}: found nodata {nodata:g} for values of type {dtype.name}, which cannot hold it")
    return {float(dtype.type(nodata))}
