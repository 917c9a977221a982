"""STAC items of Sentinel-2 products: their bands, and what they state of them."""

import json
import re
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urljoin

from pydantic import BaseModel, ValidationError

from coslide.errors import InputError, first_line
from coslide.io.http import ADDRESS, redact_url
from coslide.sources.bands import Band
from coslide.sources.documents import read_document
from coslide.sources.safe import (
    BAND_IDS,
    TILE,
    Product,
    Span,
    finite_number,
    inside,
    plain_band,
    read_product_metadata,
    read_time,
    require_level_2a,
)

COMMON_NAMES = {
    "coastal": "B1", "blue": "B2", "green": "B3", "red": "B4", "nir": "B8", "nir08": "B8A", "nir09": "B9",
    "rededge1": "B5", "rededge2": "B6", "rededge3": "B7", "rededge071": "B5", "rededge075": "B6", "rededge078": "B7",
    "cirrus": "B10", "swir16": "B11", "swir22": "B12",
}  # fmt: skip
"""What STAC catalogues call the bands; plain "rededge" is three of them and names none."""

METADATA_ASSETS = ("product_metadata", "product-metadata")
"""What catalogues call the metadata of the product."""

_NO_BANDS = re.compile(r"visual|tci|preview|thumbnail|overview|pvi|-jp2$", re.IGNORECASE)
_NO_BAND_ROLES = {"thumbnail", "overview", "visual", "metadata"}


class _Asset(BaseModel, extra="allow"):
    """A file that an item links to; all fields but these are extra."""

    href: str
    roles: Any = None


class _Item(BaseModel):
    """The fields of a STAC item that are read; properties may hold anything."""

    type: Literal["Feature"]
    id: str
    properties: dict[str, Any]
    assets: dict[str, _Asset]
    collection: Any = None

    def text(self, *names: str) -> str:
        """Take the first of these properties that is a text, or a number, else ""."""
        stated = (self.properties.get(name) for name in names)
        return next((str(value) for value in stated if isinstance(value, str | float)), "")


def _read_item(address: Path | str) -> _Item:
    name, text = redact_url(str(address)), read_document(address)
    try:
        return _Item.model_validate(json.loads(text))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
    except (ValueError, RecursionError) as error:
        reason = "found HTML or XML" if text.lstrip().startswith(b"<") else first_line(error)
    raise InputError(f"{name}: is not a STAC item ({reason})")


def describe_item(address: Path | str, root: Path, wanted: set[str]) -> tuple[Product, list[Band]]:
    """Describe a STAC item; scale and offset come from the product metadata that it links to where it states none.

    Parameters
    ----------
    address
        A file, or an http address.
    root
        The folder that hrefs of local items may not leave.
    wanted
        Names of the bands whose addresses are resolved.

    Returns
    -------
    tuple of Product and list of Band
        The product without its rasters, and the bands that it has.

    Raises
    ------
    InputError
        If it cannot be read, is no STAC item, is not L2A, states a time that is none, or leads elsewhere.
    """
    name, item = redact_url(str(address)), _read_item(address)
    collection = "S2MSI1C" if isinstance(item.collection, str) and "l1c" in item.collection.lower() else ""
    require_level_2a(item.text("s2:product_type", "product:type") or collection, name)
    sensed, baseline = _sensed(item, name), item.text("s2:processing_baseline", "processing:version")
    places: list[Path | str] = [address]
    of_assets = list(bands_of_assets(item.assets).values())
    alone = {found[0].name for found in of_assets if len(found) == 1}  # before those of an asset with several bands
    bands = [
        band._replace(href=str(locate_asset(band.href, address, root))) if band.name in wanted else band
        for found in of_assets
        for band in found
        if band.name and (len(found) == 1 or band.name not in alone)
    ]
    link = next((item.assets[key] for key in METADATA_ASSETS if key in item.assets), None)
    if link is not None and all(band.scale is None for band in bands):
        places.append(locate_asset(link.href, address, root))
        metadata = read_product_metadata(places[-1])
        known = ((band, *metadata.radiometry.get(band.name, (None, None))) for band in bands)
        bands = [band._replace(scale=scale, offset=offset) for band, scale, offset in known]
        baseline = baseline or metadata.baseline
        sensed = sensed or ((metadata.sensed, metadata.sensed) if metadata.sensed else None)
    applied = item.properties.get("earthsearch:boa_offset_applied", False)
    if not isinstance(applied, bool):
        raise InputError(f"{name}: found earthsearch:boa_offset_applied {str(applied)[:99]!r}, expected true or false")
    if applied:  # whatever the metadata state
        bands = [band._replace(offset=0.0) for band in bands]
    tile = TILE.findall(f"{item.text('grid:code')} {item.text('s2:mgrs_tile')} {item.id}")[:1]
    files = tuple(place for place in places if isinstance(place, Path))
    return Product(name, {}, sensed, baseline, "".join(tile), files), bands


def _sensed(item: _Item, name: str) -> Span | None:
    """Read when an item was sensed, at a time or between two times."""
    keys = ["datetime"] if item.properties.get("datetime") is not None else ["start_datetime", "end_datetime"]
    times = []
    for key in keys:
        if (stated := item.properties.get(key)) is None:
            continue
        if not isinstance(stated, str) or (time := read_time(stated)) is None:
            raise InputError(f"{name}: {key}: found {str(stated)[:99]!r}, expected such as 2018-09-11T01:26:51Z")
        times.append(time)
    return (min(times), max(times)) if times else None


def locate_asset(href: str, item: Path | str, root: Path) -> Path | str:
    """Resolve an href of an item: to a file that does not leave `root`, or to an http address.

    Raises
    ------
    InputError
        If it leads elsewhere; a remote item leads to http alone.
    """
    try:
        joined = urljoin(item, href) if isinstance(item, str) else href
    except ValueError:
        joined = ""
    if ADDRESS.fullmatch(joined):
        return joined
    if isinstance(item, str) or re.match(r"\w{2,}:|/vsi|\s*<", href):
        name = redact_url(str(item))
        raise InputError(f"{name}: found the address {redact_url(href)[:100]!r}, expected a file beside it or http(s)")
    return inside(root, str(item.parent / href))


def bands_of_assets(assets: Mapping[str, Any]) -> dict[str, list[Band]]:
    """List the bands of each asset of an item that may hold some, in order; the name of a band may be "".

    Raises
    ------
    ValidationError
        If an asset has no href.

    Examples
    --------
    >>> found = bands_of_assets({"red": {"href": "B04.tif"}, "thumbnail": {"href": "preview.jpg"}})
    >>> {key: [band.name for band in bands] for key, bands in found.items()}
    {'red': ['B4']}
    """
    return {
        key: _bands_of_asset(key, asset)
        for key, asset in ((key, _Asset.model_validate(assets[key])) for key in sorted(assets))
        if not _NO_BANDS.search(key)
        and not (isinstance(asset.roles, list) and _NO_BAND_ROLES & {str(role)[:99] for role in asset.roles})
    }


def _bands_of_asset(key: str, asset: _Asset) -> list[Band]:
    """List the bands of an asset in order, from the fields of STAC 1.0 and of STAC 1.1; the name of some may be ""."""
    extra = asset.model_extra or {}
    lists = [extra.get(field) for field in ("bands", "eo:bands", "raster:bands")]
    known = [entries for entries in lists if isinstance(entries, list) and all(isinstance(e, dict) for e in entries)]
    bands = []
    for number, parts in enumerate(zip_longest(*known, fillvalue={}) if any(known) else [()], start=1):
        stated = {name.rpartition(":")[2]: v for part in (extra, *parts) for name, v in part.items()}
        in_name = map(float, re.findall(r"_(\d0)m", f"{key} {asset.href}")[:1])
        sizes = map(finite_number, (stated.get("spatial_resolution"), *in_name, stated.get("gsd"), 0.0))
        size_m = next(size for size in sizes if size is not None)
        nodata = finite_number(stated.get("nodata"))
        name = _known_name(stated.get("name")) or _known_name(stated.get("common_name"))
        bands.append(Band(name, asset.href, number, stated.get("scale"), stated.get("offset"), nodata, size_m=size_m))
    if not any(band.name for band in bands):
        bands = [bands[0]._replace(name=_known_name(re.sub(r"_\d0m$", "", key)))]
    return bands


def _known_name(name: object) -> str:
    text = name if isinstance(name, str) else ""
    plain = COMMON_NAMES.get(text.lower()) or plain_band(text)
    return plain if plain in {*BAND_IDS, "SCL"} else ""
