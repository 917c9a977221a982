"""Windows of rasters on servers, as files."""

import errno
import itertools
import re
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from coslide.acquisition.records import Bounds, Fetched
from coslide.errors import InputError
from coslide.grid import overlap_slices, same_grid
from coslide.io import http
from coslide.io.atomic import report_write_errors, sha256, whole_output
from coslide.io.http import redact_url
from coslide.io.raster import grid_of, require_few_pixels
from coslide.sources.bands import open_band, product_driver

_BLOCK_PX = 512
_MOST_PIXELS = 2**31
_FILE = {
    "driver": "GTiff", "tiled": True, "blockxsize": _BLOCK_PX, "blockysize": _BLOCK_PX, "bigtiff": "if_safer",
    "compress": "deflate",
}  # fmt: skip
_FOR_GOOD = re.compile(r"HTTP response code: (401|403|404|410)\b")
_failures: Counter[str] = Counter()
Result = TypeVar("Result")


class RasterWindow(NamedTuple):
    """A part of a raster that is to be fetched.

    Attributes
    ----------
    href
        An http address, or a path.
    rows, cols
        Which part.
    geobox
        Where its pixels lie.
    bytes
        How much is read for it: the blocks of the raster that it touches, compressed where the raster tells.
    """

    href: str
    rows: slice
    cols: slice
    geobox: GeoBox
    bytes: int


def read_again(href: str, read: Callable[[str], Result], *, tries: int) -> Result:
    """Call ``read(href)``; where a server fails, call it again after 1, 2, 4, ... seconds.

    GDAL asks again too, but not long, and what it was refused once it takes to be absent as long as the program runs.
    So after a failure the address is another one, by what follows ``#``, which servers are not told.

    Parameters
    ----------
    href
        An http address, or a path, which is read once.
    read
        Raises `InputError` where it cannot be read.
    tries
        How often it is tried. What a server does not have or give (401, 403, 404, 410) is asked for once.

    Raises
    ------
    InputError
        That of the last try.
    """
    for number in range(tries):
        mark = f"#{_failures[href]}{Path(redact_url(href)).suffix}" if href in _failures else ""
        try:
            return read(f"{href}{mark}")
        except InputError as error:
            if href.startswith(http.HTTP):
                _failures[href] += 1
            if href not in _failures or number == tries - 1 or _FOR_GOOD.search(str(error)):
                raise
        time.sleep(min(http.FIRST_WAIT_S * 2**number, http.LONGEST_WAIT_S))
    raise AssertionError  # the last try raised


def plan_window(href: str, bounds_deg: Bounds, *, lattice_m: float = 0.0, tries: int = 5) -> RasterWindow | None:
    """Plan which part of a raster covers an area; None if it lies elsewhere.

    Parameters
    ----------
    href
        An http address or a path of a GeoTIFF (or JPEG 2000, by its name).
    bounds_deg
        West, south, east and north.
    lattice_m
        The window ends where pixels of this size do, counted from the corner of the raster; 0 for those of the raster.
    tries
        How often its server is asked.

    Raises
    ------
    InputError
        If it cannot be opened.
    """
    found = read_again(href, lambda place: _plan(place, bounds_deg, lattice_m), tries=tries)
    return None if found is None else found._replace(href=href)


def _plan(href: str, bounds_deg: Bounds, lattice_m: float) -> RasterWindow | None:
    name = redact_url(href)
    with open_band(href, product_driver(href)) as dataset:
        raster = grid_of(dataset, name=name)
        rows, cols = covering_pixels(raster, bounds_deg, lattice_m=lattice_m)
        if rows.start >= rows.stop or cols.start >= cols.stop:
            return None
        require_few_pixels(name, (rows.stop - rows.start, cols.stop - cols.start), most=_MOST_PIXELS)
        return RasterWindow(href, rows, cols, raster[rows, cols], _stored_bytes(dataset, rows, cols))


def covering_pixels(raster: GeoBox, bounds_deg: Bounds, *, lattice_m: float = 0.0) -> tuple[slice, slice]:
    """Find the rows and columns of a raster that cover an area and a pixel (of the lattice) around it; empty elsewhere.

    Parameters
    ----------
    raster
        Where its pixels lie.
    bounds_deg, lattice_m
        As in `plan_window`.
    """
    west, south, east, north = bounds_deg
    area = GeoBox((1, 1), Affine(east - west, 0, west, 0, south - north, north), "EPSG:4326")
    step = max(1, round(lattice_m / abs(raster.affine.a)))
    spans = zip(overlap_slices(raster, area, padding=step), raster.shape, strict=True)
    rows, cols = (slice(s.start // step * step, min(-(-s.stop // step) * step, size)) for s, size in spans)
    return rows, cols


def _stored_bytes(dataset: Any, rows: slice, cols: slice) -> int:
    """Add up the compressed sizes of the blocks that hold a window; of other formats than GeoTIFF, of its values."""
    numbers = dataset.indexes if dataset.profile.get("interleave") == "band" else dataset.indexes[:1]
    if dataset.driver != "GTiff":
        pixels = (rows.stop - rows.start) * (cols.stop - cols.start)
        return int(pixels * dataset.count * np.dtype(dataset.dtypes[0]).itemsize)
    height, width = dataset.block_shapes[0]
    blocks = itertools.product(
        numbers,
        range(cols.start // width, -(-cols.stop // width)),
        range(rows.start // height, -(-rows.stop // height)),
    )
    sizes = (dataset.get_tag_item(f"BLOCK_SIZE_{x}_{y}", "TIFF", bidx=number) for number, x, y in blocks)
    return sum(int(size) for size in sizes if size)  # None: a block that is not stored, all nodata


def write_window(window: RasterWindow, path: Path, *, tries: int = 5) -> None:
    """Write a part of a raster as a GeoTIFF, whole or not at all: its stored values, and what it states of them.

    Parameters
    ----------
    window
        Of `plan_window`.
    path
        The file to write.
    tries
        How often a server is asked for something.

    Raises
    ------
    InputError
        If the raster cannot be read, or the file not be written.
    OSError
        If the file does not read back as it was written although the disk has room.
    """
    profile, step = read_again(window.href, _profile, tries=tries)
    profile["predictor"] = 3 if profile["dtype"].startswith("float") else 2
    height, width = window.geobox.shape
    scales, offsets = profile.pop("scales"), profile.pop("offsets")
    place = {"height": height, "width": width, "crs": str(window.geobox.crs), "transform": window.geobox.affine}
    largest = height * width * profile["count"] * np.dtype(profile["dtype"]).itemsize + 2**16
    sums: dict[Window, int] = {}
    with whole_output(path) as part, report_write_errors(path, needed_bytes=largest):
        with rasterio.open(part, "w", **_FILE, **profile, **place) as file:
            file.scales, file.offsets = scales, offsets
            for rows in _strips(window.rows, step):
                read = partial(_read, rows=rows, cols=window.cols)
                values = read_again(window.href, read, tries=tries)
                at = Window(0, rows.start - window.rows.start, width, rows.stop - rows.start)
                file.write(values, window=at)
                sums[at] = zlib.crc32(values.tobytes())
        with rasterio.open(part) as file:  # GDAL does not report a disk that fills while a file is closed
            if any(zlib.crc32(file.read(window=at).tobytes()) != found for at, found in sums.items()):
                raise OSError(errno.EIO, "does not read back as it was written", str(part))


def _profile(href: str) -> tuple[dict[str, Any], int]:
    """Read what a raster states of its values, and how many rows of it are best read at once."""
    with open_band(href, product_driver(href)) as dataset:
        stated = {"count": dataset.count, "dtype": dataset.dtypes[0], "nodata": dataset.nodata}
        block = dataset.block_shapes[0][0]
        return {**stated, "scales": dataset.scales, "offsets": dataset.offsets}, -(-_BLOCK_PX // block) * block


def _strips(rows: slice, step: int) -> Iterator[slice]:
    """Cut rows where blocks of the raster end, so that each block is read once."""
    for start in range(rows.start // step * step, rows.stop, step):
        yield slice(max(start, rows.start), min(start + step, rows.stop))


def _read(href: str, rows: slice, cols: slice) -> NDArray[Any]:
    with open_band(href, product_driver(href)) as dataset:
        values: NDArray[Any] = dataset.read(window=Window.from_slices(rows, cols))
    return values


def is_there(path: Path, window: RasterWindow, earlier: Fetched | None) -> bool:
    """Tell whether a file still is what an earlier fetch made of this window."""
    address = redact_url(window.href) if window.href.startswith(http.HTTP) else ""
    if earlier is None or earlier.address != address or not path.is_file() or sha256(path) != earlier.sha256:
        return False
    with open_band(str(path), "GTiff") as dataset:
        return same_grid(grid_of(dataset), window.geobox)
