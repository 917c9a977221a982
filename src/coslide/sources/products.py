"""Sentinel-2 products in the forms that they come in: SAFE folders, folders of GeoTIFF or COG, and STAC items."""

import json
import math
import os
import re
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin

import pandas as pd

from coslide.config.schema import SceneConfig
from coslide.errors import InputError
from coslide.io.paths import with_sidecar_files
from coslide.sources.bands import (
    HTTP,
    Band,
    BandRaster,
    first_line,
    locate_band,
    open_band,
    product_driver,
    read_document,
    read_xml,
    redact_url,
)

if TYPE_CHECKING:
    import pystac

BAND_IDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")
"""The bands in the order of the `band_id` of product metadata, from 0."""
FIRST_BASELINE_WITH_OFFSET = "04.00"
USUAL_QUANTIFICATION = 10000.0

COMMON_NAMES = {
    "coastal": "B1", "blue": "B2", "green": "B3", "red": "B4", "nir": "B8", "nir08": "B8A", "nir09": "B9",
    "rededge1": "B5", "rededge2": "B6", "rededge3": "B7", "rededge071": "B5", "rededge075": "B6", "rededge078": "B7",
    "cirrus": "B10", "swir16": "B11", "swir22": "B12",
}  # fmt: skip
"""What STAC catalogues call the bands; plain "rededge" is three of them and names none."""

_METADATA = re.compile(r"^(MTD_MSI(L1C|L2A)|S2\w_(OPER|USER)_MTD_SAF(L1C|L2A).*)\.xml$", re.IGNORECASE)
_BAND_FILE = re.compile(
    r"(?<![A-Za-z0-9])(?P<band>B(?:0?[1-9]|1[0-2]|8A)|SCL)(?![A-Za-z0-9])(?:.*_(?P<size>[126]0)m)?.*\.(?:tiff?|jp2)$",
    re.IGNORECASE,
)
_SENSING_DAY = re.compile(r"(?<!\d)(20\d\d)(\d\d)(\d\d)T\d{6}(?!\d)")
_TILE = re.compile(r"(?:^|[_\s-])T?(\d{2}[A-Z]{3})(?=_|\s|$)")
_NO_BANDS = re.compile(r"visual|tci|preview|thumbnail|overview|pvi|-jp2$", re.IGNORECASE)
_NO_BAND_ROLES = {"thumbnail", "overview", "visual", "metadata"}


class ProductMetadata(NamedTuple):
    """What the metadata of a product state; texts are empty where they state nothing.

    Attributes
    ----------
    name, acquired, baseline
        The name of the product, an ISO date, and such as ``"05.09"``.
    radiometry
        Scale and offset of each band in `BAND_IDS`: reflectance = stored value * scale + offset.
    images
        Paths of its rasters, relative to the SAFE folder.
    """

    name: str
    acquired: str
    baseline: str
    radiometry: dict[str, tuple[float, float]]
    images: list[str]


class Product(NamedTuple):
    """A Sentinel-2 product, or the rasters of a scene.

    Attributes
    ----------
    name
        What messages call it.
    rasters
        The bands by the names of the event file, and the scene classification as ``"SCL"`` where there is one.
    acquired, baseline, tile
        ISO date, such as ``"05.09"`` and ``"54TWN"``; empty where not stated.
    metadata
        The local files that this was read from.
    """

    name: str
    rasters: dict[str, BandRaster]
    acquired: str = ""
    baseline: str = ""
    tile: str = ""
    metadata: tuple[Path, ...] = ()

    @property
    def bands(self) -> dict[str, BandRaster]:
        """The rasters without the classification."""
        return {name: raster for name, raster in self.rasters.items() if name != "SCL"}

    @property
    def files(self) -> tuple[Path, ...]:
        """The local files that it consists of."""
        local = [Path(raster.href) for raster in self.rasters.values() if not raster.href.startswith(HTTP)]
        return tuple(dict.fromkeys([*self.metadata, *(file for path in local for file in with_sidecar_files(path))]))


def read_product(address: str | Path, scene: SceneConfig, root: Path) -> Product:
    """Open the rasters of a Sentinel-2 product, with what turns their values into reflectance.

    Parameters
    ----------
    address
        A SAFE folder, a folder of GeoTIFF, or a STAC item, local or at an http address.
    scene
        Which bands count, and their offset where it is given.
    root
        The folder that hrefs of local STAC items may not leave.

    Raises
    ------
    InputError
        If it is of no known form, cannot be read, is not L2A, or lacks a band, its scale or its offset.
    """
    names = {name: plain_band(name) for name in scene.band_names}
    if other := [name for name, plain in names.items() if plain not in BAND_IDS]:
        raise InputError(f"bands: found {other[0]!r}, expected bands of Sentinel-2: {', '.join(BAND_IDS)}")
    wanted = {*names.values(), "SCL"}
    if isinstance(address, str) or address.suffix.lower() in {".json", ".geojson"}:
        product, bands = _describe_item(address, root, wanted)
    elif address.is_dir():
        product, bands = _describe_folder(address, wanted)
    else:
        forms = "an unpacked SAFE folder (manifest.safe), a folder of GeoTIFF or COG, or a STAC item (.json or address)"
        raise InputError(f"{address}: is no product; expected {forms}")
    finest = {band.name: band for band in sorted(bands, key=lambda band: -band.size_m)}
    if lacking := [name for name, plain in names.items() if plain not in finest]:
        raise InputError(f"{product.name}: has no band {lacking[0]}; found {', '.join(sorted(finest)) or 'none'}")
    named = [finest[plain]._replace(name=name) for name, plain in names.items()]
    bands = [_with_radiometry(band, product.baseline, scene) for band in named]
    if "SCL" in finest:
        bands.append(finest["SCL"])
    return product._replace(rasters={band.name: locate_band(band, sentinel2=True) for band in bands})


def read_product_metadata(place: Path | str) -> ProductMetadata:
    """Read the metadata of a product, ``MTD_MSIL2A.xml``, a file or at an http address.

    Raises
    ------
    InputError
        If it cannot be read, is no XML, has a DTD or entities, is of another level than L2A, or lacks the
        quantification value or, from baseline 04.00 on, an offset for each band.

    Notes
    -----
    Reflectance = (stored value + offset) / quantification, of the elements ``BOA_QUANTIFICATION_VALUE`` and
    ``BOA_ADD_OFFSET``, whose ``band_id`` counts B1 to B8, B8A, B9 to B12 from 0 (Sentinel-2 Products Specification
    Document, S2-PDGS-TAS-DI-PSD, issue 14.9 and later). Before baseline 04.00 there is no offset.
    """
    name, root = redact_url(str(place)), read_xml(place)

    def text(tag: str) -> str:
        return (root.findtext(f".//{{*}}{tag}") or "").strip()

    require_level_2a(text("PRODUCT_TYPE"), name)
    baseline = text("PROCESSING_BASELINE")
    quantification = float(pd.to_numeric(text("BOA_QUANTIFICATION_VALUE"), errors="coerce"))
    if not quantification > 0:
        found = f"found BOA_QUANTIFICATION_VALUE {quantification:g}"
        raise InputError(f"{name}: {found}, expected a number above 0, such as 10000")
    stated = {item.get("band_id"): item.text for item in root.iterfind(".//{*}BOA_ADD_OFFSET")}
    usual = None if stated or baseline >= FIRST_BASELINE_WITH_OFFSET else "0"
    offsets = pd.to_numeric([stated.get(str(i), usual) for i in range(len(BAND_IDS))], errors="coerce").tolist()
    if lacking := [band for band, offset in zip(BAND_IDS, offsets, strict=True) if not math.isfinite(offset)]:
        expected = f"expected one for each band (baseline {baseline})"
        raise InputError(f"{name}: found no BOA_ADD_OFFSET for {lacking[0]}, {expected}")
    images = [
        f"{(image.text or '').strip()}{'.tif' if granule.get('imageFormat') == 'GeoTIFF' else '.jp2'}"
        for granule in root.iterfind(".//{*}Granule")
        for image in granule.iterfind(".//{*}IMAGE_FILE")
    ]
    radiometry = {band: (1 / quantification, dn / quantification) for band, dn in zip(BAND_IDS, offsets, strict=True)}
    return ProductMetadata(text("PRODUCT_URI"), text("PRODUCT_START_TIME")[:10], baseline, radiometry, images)


def _with_radiometry(band: Band, baseline: str, scene: SceneConfig) -> Band:
    """Decide on scale and offset of a band of a product."""
    name, fixed = redact_url(band.href), scene.boa_offset
    if band.scale is None and fixed == "auto":
        where = "its tags, an MTD_MSIL2A.xml beside it, raster:bands or raster:scale"
        hint = "give boa_offset (-1000 from processing baseline 04.00 on, else 0)"
        raise InputError(f"{name} has no scale that turns its values into reflectance, in {where}; {hint}")
    if band.offset is None and fixed == "auto" and baseline >= FIRST_BASELINE_WITH_OFFSET:
        hint = "give boa_offset (-1000, or 0 where it was applied already)"
        raise InputError(f"{name} has a scale and no offset, although its processing baseline is {baseline}; {hint}")
    scale: Any = 1 / USUAL_QUANTIFICATION if band.scale is None else band.scale
    offset: Any = (band.offset or 0.0) if fixed == "auto" else 0.0
    for what, value in (("scale", scale), ("offset", offset)):  # an item may hold anything
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InputError(f"{name}: found {what} {value!r}, expected a number")
    return band._replace(scale=float(scale), offset=float(offset) if fixed == "auto" else fixed * scale)


def _describe_folder(folder: Path, wanted: set[str]) -> tuple[Product, list[Band]]:
    """Describe a SAFE folder or a folder of GeoTIFF.

    Rasters of a SAFE folder are those that its metadata list, others are found by their names.
    """
    is_safe = (folder / "manifest.safe").is_file()
    listed = sorted(path for path in folder.iterdir() if _METADATA.match(path.name))
    files = listed[:1] or [folder / "MTD_MSIL2A.xml"] * is_safe
    metadata = read_product_metadata(files[0]) if files else ProductMetadata("", "", "", {}, [])
    rasters = [inside(folder, image) for image in metadata.images] if is_safe else sorted(folder.iterdir())
    bands: dict[tuple[str, float], Band] = {}
    days = set()
    for raster in rasters:
        if (match := _BAND_FILE.search(raster.name)) is None:
            continue
        days |= {"-".join(day) for day in _SENSING_DAY.findall(raster.name)[:1]}
        name, size_m = plain_band(match["band"]), float(match["size"] or 0)
        if same := bands.get((name, size_m)):
            found = f"{Path(same.href).name} and {raster.name} for {name}"
            raise InputError(f"{folder}: found {found}, expected one of them")
        scale, offset = metadata.radiometry.get(name, (None, None))
        if name in wanted and not is_safe:
            with open_band(str(raster), product_driver(raster.name)) as dataset:
                tagged, dtype = (dataset.scales[0], dataset.offsets[0]), dataset.dtypes[0]
            if tagged != (1, 0) or dtype.startswith("float"):  # else an integer without tags
                scale, offset = tagged
        bands[name, size_m] = Band(name, str(raster), scale=scale, offset=offset, size_m=size_m)
    if not bands:
        raise InputError(f"{folder}: found no band, expected GeoTIFF files such as B02.tif or T54TWN_B02_10m.tif")
    day = metadata.acquired or (days.pop() if len(days) == 1 else "")
    tile = "".join(_TILE.findall(metadata.name or folder.name)[:1])
    return Product(str(folder), {}, day, metadata.baseline, tile, tuple(files)), list(bands.values())


def _describe_item(address: Path | str, root: Path, wanted: set[str]) -> tuple[Product, list[Band]]:
    """Describe a STAC item; scale and offset come from the product metadata that it links to where it states none."""
    import pystac

    name, text = redact_url(str(address)), read_document(address)
    wrong = ValueError, LookupError, RecursionError, TypeError, AttributeError, pystac.STACError, pystac.STACTypeError
    try:
        item = pystac.Item.from_dict(json.loads(text), preserve_dict=False)
    except wrong as error:
        raise InputError(f"{name}: is not a STAC item ({first_line(error)[:200]})") from None
    stated = item.properties
    collection = "S2MSI1C" if re.search("l1c", str(item.collection_id or ""), re.IGNORECASE) else ""
    require_level_2a(str(stated.get("s2:product_type") or stated.get("product:type") or collection), name)
    places: list[Path | str] = [address]
    of_assets = [
        _bands_of_asset(key, asset)
        for key, asset in sorted(item.assets.items())
        if not _NO_BANDS.search(key) and not _NO_BAND_ROLES & {str(role) for role in asset.roles or []}
    ]
    alone = {found[0].name for found in of_assets if len(found) == 1}  # before those of an asset with several bands
    bands = [
        band._replace(href=str(_locate(band.href, address, root))) if band.name in wanted else band
        for found in of_assets
        for band in found
        if band.name and (len(found) == 1 or band.name not in alone)
    ]
    link = item.assets.get("product_metadata") or item.assets.get("product-metadata")
    if link is not None and all(band.scale is None for band in bands):
        places.append(_locate(link.href, address, root))
        radiometry = read_product_metadata(places[-1]).radiometry
        known = ((band, *radiometry.get(band.name, (None, None))) for band in bands)
        bands = [band._replace(scale=scale, offset=offset) for band, scale, offset in known]
    if stated.get("earthsearch:boa_offset_applied"):  # whatever the metadata state
        bands = [band._replace(offset=0.0) for band in bands]
    day = item.datetime.date().isoformat() if item.datetime else ""
    baseline = str(stated.get("s2:processing_baseline") or stated.get("processing:version") or "")
    tile = _TILE.findall(f"{stated.get('grid:code', '')} {stated.get('s2:mgrs_tile', '')} {item.id}")[:1]
    files = tuple(place for place in places if isinstance(place, Path))
    return Product(name, {}, day, baseline, "".join(tile), files), bands


def _locate(href: str, item: Path | str, root: Path) -> Path | str:
    """Resolve an href of an item: to a file that does not leave `root`, or to an http address."""
    joined = urljoin(item, href) if isinstance(item, str) else href
    if re.match(r"https?://[^/\s]", joined) and not re.search(r"[\s<>\"\\]", joined):
        return joined
    if isinstance(item, str) or re.match(r"\w{2,}:|/vsi|\s*<", href):
        name = redact_url(str(item))
        raise InputError(f"{name}: found the address {href[:100]!r}, expected a file beside it or http(s)")
    return inside(root, str(item.parent / href))


def _bands_of_asset(key: str, asset: "pystac.Asset") -> list[Band]:
    """List the bands of an asset in order, from the fields of STAC 1.0 and of STAC 1.1; the name of some may be ""."""
    lists = [asset.extra_fields.get(field) for field in ("bands", "eo:bands", "raster:bands")]
    known = [entries for entries in lists if isinstance(entries, list) and all(isinstance(e, dict) for e in entries)]
    bands = []
    for number, parts in enumerate(zip_longest(*known, fillvalue={}) if any(known) else [()], start=1):
        stated = {name.rpartition(":")[2]: v for part in (asset.extra_fields, *parts) for name, v in part.items()}
        in_name = map(float, re.findall(r"_(\d0)m", f"{key} {asset.href}")[:1])
        sizes = [stated.get("spatial_resolution"), *in_name, stated.get("gsd"), 0.0]
        size_m = next(size for size in sizes if isinstance(size, int | float))
        nodata = stated.get("nodata") if isinstance(stated.get("nodata"), int | float) else None
        name = _known_name(stated.get("name")) or _known_name(stated.get("common_name"))
        bands.append(Band(name, asset.href, number, stated.get("scale"), stated.get("offset"), nodata, size_m=size_m))
    if not any(band.name for band in bands):
        bands = [bands[0]._replace(name=_known_name(re.sub(r"_\d0m$", "", key)))]
    return bands


def _known_name(name: object) -> str:
    plain = COMMON_NAMES.get(str(name).lower()) or plain_band(str(name))
    return plain if plain in {*BAND_IDS, "SCL"} else ""


def require_level_2a(product_type: str, name: str) -> None:
    """Check that a product type, such as ``"S2MSI2A"``, is of level 2A, or not stated (empty).

    Raises
    ------
    InputError
        If it is of another level: top-of-atmosphere values are no surface reflectance.
    """
    if product_type and "2A" not in product_type:
        expected = "expected S2MSI2A (surface reflectance); take the L2A product, or make it with Sen2Cor"
        raise InputError(f"{name}: found product type {product_type}, {expected}")


def inside(folder: Path, href: str) -> Path:
    """Join `href` to `folder`, which it may not leave.

    Raises
    ------
    InputError
        If it leads out of `folder`.

    Examples
    --------
    >>> inside(Path("/data/scene"), "GRANULE/../b.jp2").as_posix()
    '/data/scene/b.jp2'
    """
    path = Path(os.path.normpath(folder / href))
    if not path.is_relative_to(os.path.normpath(folder)):
        raise InputError(f"{folder}: found {href!r}, which leads out of it; expected a path inside")
    return path


def plain_band(name: str) -> str:
    """Spell the name of a Sentinel-2 band as coslide does.

    Examples
    --------
    >>> plain_band("B02"), plain_band("b8a"), plain_band("B11")
    ('B2', 'B8A', 'B11')
    """
    return re.sub(r"^B0(?=\d)", "B", name.upper())
