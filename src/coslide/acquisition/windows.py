"""Windows of rasters on servers, as files beside a STAC item that lists them."""

import errno
import hashlib
import itertools
import math
import re
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pystac
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from coslide.acquisition.records import Area, Bounds, Fetched
from coslide.config.schema import SENTINEL2_BANDS
from coslide.config.services import Services
from coslide.errors import InputError
from coslide.grid import overlap_slices, same_grid
from coslide.io import http
from coslide.io.atomic import report_write_errors, sha256, whole_output, write_json
from coslide.io.cog import ITEM, place_in_item
from coslide.io.http import MissingError, redact_url
from coslide.io.raster import grid_of, require_few_pixels
from coslide.sources.bands import Band, open_band, product_driver
from coslide.sources.documents import read_document
from coslide.sources.items import METADATA_ASSETS, bands_of_assets
from coslide.sources.safe import BAND_IDS
from coslide.sources.sentinel2 import TILE_LATTICE_M

SCENE_BANDS = (*SENTINEL2_BANDS, "SCL")
"""What is fetched of a scene: the bands that a map is made from, and the classification."""

_BLOCK_PX = 512
_MOST_PIXELS = 2**31
_FILE = {
    "driver": "GTiff", "tiled": True, "blockxsize": _BLOCK_PX, "blockysize": _BLOCK_PX, "bigtiff": "if_safer",
    "compress": "deflate",
}  # fmt: skip
_LONGEST_NAME = 100
_METADATA_FILE = "MTD_MSIL2A.xml"
_FOR_GOOD = re.compile(r"HTTP response code: (401|403|404|410)\b")
# What an item states of a whole raster or of its place elsewhere, no longer true of a window of it.
_OF_THE_WHOLE = {
    "proj:shape", "proj:transform", "proj:bbox", "proj:geometry", "proj:centroid", "file:size", "file:checksum",
    "file:local_path", "alternate", "storage:refs", "href:servers", "table:storage_options",
}  # fmt: skip
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


class ItemPlan(NamedTuple):
    """What is to be fetched of an item.

    Attributes
    ----------
    item
        As the catalog has it.
    windows
        By the key of their asset: the name of the file, and the part of the raster. None if the area lies elsewhere.
    """

    item: pystac.Item
    windows: dict[str, tuple[str, RasterWindow]]

    @property
    def bytes(self) -> int:
        """How much is read from servers."""
        return sum(window.bytes for _, window in self.windows.values())

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the rasters."""
        return tuple(name for name, _ in self.windows.values())

    @property
    def overlaps(self) -> bool:
        """Whether the rasters of the item reach into the area."""
        return bool(self.windows)


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


def find_band(item: pystac.Item, name: str) -> tuple[str, Band]:
    """Find the asset of an item that holds a band: of several, that with the smallest pixels.

    Parameters
    ----------
    item
        A product of Sentinel-2.
    name
        Such as ``"B8A"``, or ``"SCL"``.

    Raises
    ------
    InputError
        If it has no such band.
    """
    found = bands_of_assets({key: asset.to_dict() for key, asset in item.assets.items()})
    held = [
        (len(bands) > 1, band.size_m or math.inf, key, band)
        for key, bands in found.items()
        for band in bands
        if band.name == name
    ]
    if not held:
        there = {band.name for bands in found.values() for band in bands}
        known = ", ".join(one for one in (*BAND_IDS, "SCL") if one in there)
        raise InputError(f"item {item.id[:200]}: has no band {name}; found {known or 'none'}")
    _, _, key, band = min(held, key=lambda one: one[:3])
    return key, band


def plan_item(item: pystac.Item, area: Area, band_names: Sequence[str] = SCENE_BANDS, *, tries: int = 5) -> ItemPlan:
    """Plan which windows of the rasters of an item cover an area.

    They end where pixels of 60 m of the tile do, so those of all bands have the same bounds, with one such pixel around
    the area, so that at its edge bands of 20 m can be resampled; they are cut at the edge of the tile.

    Parameters
    ----------
    item
        Of a `Catalog`.
    area
        What is to be covered.
    band_names
        Names as in an event file.
    tries
        How often servers are asked.

    Raises
    ------
    InputError
        If the item lacks a band, or a raster of it cannot be opened.
    """
    windows: dict[str, tuple[str, RasterWindow]] = {}
    for name in band_names:
        key, band = find_band(item, name)
        if key in windows:
            continue
        window = plan_window(band.href, area.bounds_deg, lattice_m=TILE_LATTICE_M, tries=tries)
        if window is None:
            return ItemPlan(item, {})
        windows[key] = (f"{re.sub('^B(?=[0-9]$)', 'B0', name)}.tif", window)
    return ItemPlan(item, windows)


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


def write_item(
    plan: ItemPlan,
    folder: Path,
    *,
    root: Path,
    source: str,
    services: Services,
    known: Mapping[str, Fetched] | None = None,
) -> Iterator[Fetched]:
    """Write the windows of an item, and an item that lists them, into a folder of its own.

    Parameters
    ----------
    plan
        Of `plan_item`.
    folder
        Where the folder of the item is put.
    root
        The folder of the event.
    source
        As in `Fetched`.
    services
        How servers are asked: `tries`, `at_once`.
    known
        What an earlier attempt fetched, by the paths in `root`: a raster among it that is whole, of the same address
        and has this window is not read again.

    Yields
    ------
    Fetched
        Each file once it is whole: the rasters, the metadata of the product where the item links to them, and then
        ``item.json``. That has no links and addresses beside itself alone; what the catalog states of the item and of
        its values stays as it is.

    Raises
    ------
    InputError
        If something cannot be read from a server, or not be written.
    OSError
        As `write_window`.
    """
    own = folder / folder_name(plan.item.id)
    earlier = known or {}

    def fetch(name: str, window: RasterWindow) -> Fetched:
        path = own / name
        if not is_there(path, window, earlier.get(path.relative_to(root).as_posix())):
            write_window(window, path, tries=services.tries)
        return Fetched.of(path, root, address=window.href, source=source)

    pool = ThreadPoolExecutor(services.at_once)
    try:
        for done in as_completed([pool.submit(fetch, *each) for each in plan.windows.values()]):
            yield done.result()
    finally:
        pool.shutdown(cancel_futures=True)  # after an error, or Ctrl-C, no further one is begun
    files = {key: (name, window.geobox) for key, (name, window) in plan.windows.items()}
    metadata = _write_metadata(plan.item, own / _METADATA_FILE)
    if metadata is not None:
        yield Fetched.of(own / _METADATA_FILE, root, address=plan.item.assets[metadata].href, source=source)
    write_json(own / ITEM, _rewritten(plan.item, files, metadata))
    yield Fetched.of(own / ITEM, root, address=plan.item.get_self_href() or "", source=source)


def folder_name(item_id: str) -> str:
    """Make a name for the folder of an item that is one folder, whatever its catalog calls it.

    Examples
    --------
    >>> folder_name("S2B_T31UET_20260921T105030_L2A"), folder_name("../a b")
    ('S2B_T31UET_20260921T105030_L2A', 'a_b-2c2c791a')
    """
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", item_id).strip("._-")[:_LONGEST_NAME]
    if plain and plain == item_id:
        return plain
    return f"{plain}-{hashlib.sha256(item_id.encode(errors='replace')).hexdigest()[:8]}".lstrip("-")


def is_there(path: Path, window: RasterWindow, earlier: Fetched | None) -> bool:
    """Tell whether a file still is what an earlier fetch made of this window."""
    address = redact_url(window.href) if window.href.startswith(http.HTTP) else ""
    if earlier is None or earlier.address != address or not path.is_file() or sha256(path) != earlier.sha256:
        return False
    with open_band(str(path), "GTiff") as dataset:
        return same_grid(grid_of(dataset), window.geobox)


def _write_metadata(item: pystac.Item, path: Path) -> str | None:
    """Write the metadata of the product that an item links to; None where it links to none, or only seems to."""
    key = next((key for key in METADATA_ASSETS if key in item.assets), None)
    if key is None:
        return None
    try:
        text = read_document(_place(item.assets[key].href))
    except MissingError:
        return None
    with whole_output(path) as part:
        part.write_bytes(text)
    return key


def _place(href: str) -> Path | str:
    return href if href.startswith(http.HTTP) else Path(href)


def _rewritten(item: pystac.Item, files: Mapping[str, tuple[str, GeoBox]], metadata: str | None) -> dict[str, Any]:
    """Write an item that lists files beside itself."""
    document = item.to_dict(include_self_link=False, transform_hrefs=False)
    stated = {
        key: {name: value for name, value in asset.items() if name not in _OF_THE_WHOLE}
        for key, asset in document["assets"].items()
    }
    assets = {
        key: {**stated[key], "href": f"./{name}", "type": pystac.MediaType.GEOTIFF, **place_in_item(geobox)}
        for key, (name, geobox) in files.items()
    }
    if metadata is not None:
        assets[metadata] = {**stated[metadata], "href": f"./{_METADATA_FILE}"}
    properties = {name: value for name, value in document["properties"].items() if name not in _OF_THE_WHOLE}
    return {**document, "properties": properties, "links": [], "assets": assets}
