"""The forms that Sentinel-2 products come in: SAFE folders, folders of GeoTIFF or COG, and STAC items."""

import json
import re
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urljoin

from coslide.errors import InputError
from coslide.sources.bands import Band, open_band, product_driver, redact_url
from coslide.sources.safe import (
    BAND_IDS,
    first_line,
    inside,
    plain_band,
    read_document,
    read_product_metadata,
    require_level_2a,
)

if TYPE_CHECKING:
    import pystac

COMMON_NAMES = {
    "coastal": "B1", "blue": "B2", "green": "B3", "red": "B4", "nir": "B8", "nir08": "B8A", "nir09": "B9",
    "rededge1": "B5", "rededge2": "B6", "rededge3": "B7", "rededge071": "B5", "rededge075": "B6", "rededge078": "B7",
    "cirrus": "B10", "swir16": "B11", "swir22": "B12",
}  # fmt: skip
"""What STAC catalogues call the bands; plain "rededge" is three of them and names none."""

_MANIFEST = "manifest.safe"
_METADATA = re.compile(r"^(MTD_MSI(L1C|L2A)|S2\w_(OPER|USER)_MTD_SAF(L1C|L2A).*)\.xml$", re.IGNORECASE)
_BAND_FILE = re.compile(
    r"(?<![A-Za-z0-9])(?P<band>B(?:0?[1-9]|1[0-2]|8A)|SCL)(?![A-Za-z0-9])(?:.*_(?P<size>[126]0)m)?.*\.(?:tiff?|jp2)$",
    re.IGNORECASE,
)
_SENSING_DAY = re.compile(r"(?<!\d)(20\d\d)(\d\d)(\d\d)T\d{6}(?!\d)")
_TILE = re.compile(r"(?:^|[_\s-])T?(\d{2}[A-Z]{3})(?=_|\s|$)")
_NO_BANDS = re.compile(r"visual|tci|preview|thumbnail|overview|pvi|-jp2$", re.IGNORECASE)
_NO_BAND_ROLES = {"thumbnail", "overview", "visual", "metadata"}


class ProductDescription(NamedTuple):
    """What a Sentinel-2 product states of itself.

    Attributes
    ----------
    name
        What messages call it.
    bands
        All that it holds, several of a name where it has them at several pixel sizes.
    base, limit
        What their hrefs are relative to, a folder or an http address; and the folder that local ones may not leave.
    acquired, baseline, tile
        ISO date, such as ``"05.09"`` and ``"54TWN"``; empty where not stated.
    files
        The local files that this was read from.
    offset_applied
        Whether its stored values have the offset subtracted already, whatever its metadata state.
    """

    name: str
    bands: tuple[Band, ...]
    base: Path | str
    limit: Path
    acquired: str
    baseline: str
    tile: str
    files: tuple[Path, ...]
    offset_applied: bool = False

    def locate(self, href: str) -> Path | str:
        """Resolve an href: to a file, or to an http address.

        Raises
        ------
        InputError
            If it leads out of `limit`, or to anything that is neither.
        """
        joined = urljoin(self.base, href) if isinstance(self.base, str) else href
        if re.match(r"https?://[^/\s]", joined) and not re.search(r"[\s<>\"\\]", joined):
            return joined
        if isinstance(self.base, str) or re.match(r"\w{2,}:|/vsi|\s*<", href):
            raise InputError(f"{self.name}: found the address {href[:100]!r}, expected a file beside it or http(s)")
        return inside(self.limit, str(self.base / href))


def describe_product(address: str | Path, root: Path, wanted: set[str]) -> ProductDescription:
    """Read what a product states of itself.

    Parameters
    ----------
    address
        A SAFE folder, a folder of GeoTIFF, or a STAC item, local or at an http address.
    root
        The folder that hrefs of local STAC items may not leave.
    wanted
        The bands of a folder that count.

    Raises
    ------
    InputError
        If it is of no known form, cannot be read or is not L2A.
    """
    if isinstance(address, str) or address.suffix.lower() in {".json", ".geojson"}:
        return _describe_item(address, root)
    if address.is_dir():
        return _describe_folder(address, wanted)
    raise InputError(
        f"{address}: is no product; expected an unpacked SAFE folder (with manifest.safe), a folder of GeoTIFF or COG, "
        "or a STAC item (.json or an http address)"
    )


def _describe_folder(folder: Path, wanted: set[str]) -> ProductDescription:
    """Describe a folder; rasters of a SAFE folder are those that its metadata list, others are found by their names."""
    is_safe = (folder / _MANIFEST).is_file()
    listed = sorted(path for path in folder.iterdir() if _METADATA.match(path.name))
    path = listed[0] if listed else folder / "MTD_MSIL2A.xml" if is_safe else None
    metadata = read_product_metadata(path) if path else None
    rasters = [folder / image for image in metadata.images] if metadata and is_safe else sorted(folder.iterdir())
    bands: dict[tuple[str, float], Band] = {}
    days = set()
    for raster in rasters:
        match = _BAND_FILE.search(raster.name)
        if match is None:
            continue
        days |= {"-".join(day) for day in _SENSING_DAY.findall(raster.name)[:1]}
        band = Band(plain_band(match["band"]), str(raster), size_m=float(match["size"] or 0))
        if (same := bands.get((band.name, band.size_m))) is not None:
            files = f"{Path(same.href).name} and {raster.name}"
            raise InputError(f"{folder}: found {files} for {band.name}, expected one of them")
        if band.name in wanted and band.name != "SCL":
            scale, offset = metadata.radiometry(band.name) if metadata else (None, None)
            tagged = None if is_safe else _tagged_radiometry(raster)
            scale, offset = tagged or (scale, offset)
            band = band._replace(scale=scale, offset=offset)
        bands[band.name, band.size_m] = band
    if not bands:
        raise InputError(f"{folder}: found no band, expected GeoTIFF files such as B02.tif or T54TWN_B02_10m.tif")
    name = metadata.name if metadata and metadata.name else folder.name
    return ProductDescription(
        name=str(folder),
        bands=tuple(bands.values()),
        base=folder,
        limit=folder,
        acquired=metadata.acquired if metadata else days.pop() if len(days) == 1 else "",
        baseline=metadata.baseline if metadata else "",
        tile=_first_tile(name),
        files=(path,) if path else (),
    )


def _tagged_radiometry(path: Path) -> tuple[float, float] | None:
    """Read scale and offset from the tags of a raster; None where it has none and holds integers."""
    with open_band(str(path), product_driver(path.name)) as dataset:
        scale, offset, dtype = dataset.scales[0], dataset.offsets[0], dataset.dtypes[0]
    return (scale, offset) if (scale, offset) != (1, 0) or dtype.startswith("float") else None


def _describe_item(address: Path | str, root: Path) -> ProductDescription:
    """Describe a STAC item; scale and offset come from the product metadata that it links to where it states none."""
    name = redact_url(str(address))
    item = _parse_item(read_document(address), name)
    stated = item.properties
    collection = "S2MSI1C" if re.search("l1c", str(item.collection_id or ""), re.IGNORECASE) else ""
    require_level_2a(str(stated.get("s2:product_type") or stated.get("product:type") or collection), name)
    product = ProductDescription(
        name=name,
        bands=_bands_of(item),
        base=address if isinstance(address, str) else address.parent,
        limit=root,
        acquired=item.datetime.date().isoformat() if item.datetime else "",
        baseline=str(stated.get("s2:processing_baseline") or stated.get("processing:version") or ""),
        tile=_first_tile(f"{stated.get('grid:code', '')} {stated.get('s2:mgrs_tile', '')} {item.id}"),
        files=(address,) if isinstance(address, Path) else (),
        offset_applied=bool(stated.get("earthsearch:boa_offset_applied")),
    )
    link = item.assets.get("product_metadata") or item.assets.get("product-metadata")
    if link is None or any(band.scale is not None for band in product.bands):
        return product
    place = product.locate(link.href)
    metadata = read_product_metadata(place)
    known = ((band, *metadata.radiometry(band.name)) for band in product.bands)
    return product._replace(
        bands=tuple(band._replace(scale=scale, offset=offset) for band, scale, offset in known),
        files=product.files + ((place,) if isinstance(place, Path) else ()),
    )


def _parse_item(text: bytes, name: str) -> "pystac.Item":
    import pystac

    wrong = ValueError, LookupError, RecursionError, TypeError, AttributeError, pystac.STACError, pystac.STACTypeError
    try:
        return pystac.Item.from_dict(json.loads(text), preserve_dict=False)
    except wrong as error:
        raise InputError(f"{name}: is not a STAC item ({first_line(error)[:200]})") from None


def _bands_of(item: "pystac.Item") -> tuple[Band, ...]:
    """List the bands of an item: of an asset with several bands only those that no asset holds alone."""
    alone: list[Band] = []
    together: list[Band] = []
    for key, asset in sorted(item.assets.items()):
        if not _NO_BANDS.search(key) and not _NO_BAND_ROLES & {str(role) for role in asset.roles or []}:
            bands = _bands_of_asset(key, asset)
            (alone if len(bands) == 1 else together).extend(bands)
    names = {band.name for band in alone}
    return tuple(band for band in alone + [band for band in together if band.name not in names] if band.name)


def _bands_of_asset(key: str, asset: "pystac.Asset") -> list[Band]:
    """List the bands of an asset in order, from the fields of STAC 1.0 and of STAC 1.1; the name of some may be ""."""
    lists = [asset.extra_fields.get(field) for field in ("bands", "eo:bands", "raster:bands")]
    known = [entries for entries in lists if isinstance(entries, list) and all(isinstance(e, dict) for e in entries)]
    bands = []
    for number, parts in enumerate(zip_longest(*known, fillvalue={}) if any(known) else [()], start=1):
        stated = {name.rpartition(":")[2]: v for part in (asset.extra_fields, *parts) for name, v in part.items()}
        in_name = re.search(r"_(\d0)m", f"{key} {asset.href}")
        sizes = [stated.get("spatial_resolution"), float(in_name[1]) if in_name else None, stated.get("gsd"), 0.0]
        nodata = stated.get("nodata")
        band = Band(
            name=_known_name(stated.get("name")) or _known_name(stated.get("common_name")),
            href=asset.href,
            number=number,
            scale=stated.get("scale"),
            offset=stated.get("offset"),
            nodata=nodata if isinstance(nodata, int | float) else None,
            size_m=next(size for size in sizes if isinstance(size, int | float)),
        )
        bands.append(band)
    if not any(band.name for band in bands):
        bands = [bands[0]._replace(name=_known_name(re.sub(r"_\d0m$", "", key)))]
    return bands


def _known_name(name: object) -> str:
    plain = COMMON_NAMES.get(str(name).lower()) or plain_band(str(name))
    return plain if plain in {*BAND_IDS, "SCL"} else ""


def _first_tile(text: str) -> str:
    match = _TILE.search(text)
    return match[1] if match else ""
