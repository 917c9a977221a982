"""What is fetched of a STAC item: windows of its rasters, as files beside an item that lists them."""

import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import pystac
from odc.geo.geobox import GeoBox

from coslide.acquisition.records import Area, Fetched
from coslide.acquisition.windows import RasterWindow, is_there, plan_window, write_window
from coslide.config.schema import SENTINEL2_BANDS
from coslide.config.services import Services
from coslide.errors import InputError
from coslide.io.atomic import whole_output, write_json
from coslide.io.cog import ITEM, place_in_item
from coslide.io.http import HTTP, MissingError
from coslide.sources.bands import Band
from coslide.sources.documents import read_document
from coslide.sources.items import METADATA_ASSETS, bands_of_assets
from coslide.sources.safe import BAND_IDS
from coslide.sources.sentinel2 import TILE_LATTICE_M

SCENE_BANDS = (*SENTINEL2_BANDS, "SCL")
"""What is fetched of a scene: the bands that a map is made from, and the classification."""

_LONGEST_NAME = 100
_METADATA_FILE = "MTD_MSIL2A.xml"
# What an item states of a whole raster or of its place elsewhere, no longer true of a window of it.
_OF_THE_WHOLE = {
    "proj:shape", "proj:transform", "proj:bbox", "proj:geometry", "proj:centroid", "file:size", "file:checksum",
    "file:local_path", "alternate", "storage:refs", "href:servers", "table:storage_options",
}  # fmt: skip


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
    return href if href.startswith(HTTP) else Path(href)


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
