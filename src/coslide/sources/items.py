"""STAC items of whatever a scene is given as: SAFE folders, folders of GeoTIFF, STAC items, rasters of single bands."""

import datetime as dt
import json
import re
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urljoin, urlsplit

from coslide.config.schema import BandFile, SceneConfig
from coslide.errors import InputError
from coslide.sources.bands import TIMEOUT_S, open_band, product_driver, redact_url
from coslide.sources.safe import (
    MANIFEST,
    Radiometry,
    first_line,
    inside,
    plain_band,
    product_metadata_in,
    read_metadata_file,
    read_radiometry,
    safe_item,
)

if TYPE_CHECKING:
    import pystac

_LARGEST_DOCUMENT_BYTES = 16 * 2**20
_BAND_FILE = re.compile(
    r"(?<![A-Za-z0-9])(?P<band>B(?:0?[1-9]|1[0-2]|8A)|SCL)(?![A-Za-z0-9])(?:.*_(?P<size>[126]0)m)?.*\.(?:tiff?|jp2)$",
    re.IGNORECASE,
)
_SENSING_DAY = re.compile(r"(?<!\d)(20\d{6})T\d{6}(?!\d)")


class Source(NamedTuple):
    """A STAC item and where its hrefs lead.

    Attributes
    ----------
    name
        What messages call it.
    item
        Its assets carry scale and offset, as ``raster:bands`` or ``bands``.
    base
        What hrefs are relative to: a folder, or an http address.
    limit
        The folder that local hrefs may not leave.
    files
        The local files that the item was made of.
    product
        Whether it is a Sentinel-2 product, whose rasters hold 0 and 65535 where there is no value.
    """

    name: str
    item: "pystac.Item"
    base: Path | str
    limit: Path
    files: tuple[Path, ...] = ()
    product: bool = True

    def locate(self, href: str) -> Path | str:
        """Return where `href` leads: a file, or an http address.

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


def sources_of(scene: SceneConfig, root: Path) -> list[Source]:
    """Return the sources of `scene`: one for each product, or a single one for its band rasters.

    Parameters
    ----------
    scene
        Its paths are absolute.
    root
        The folder of the event: local STAC items may only lead to files below it.

    Raises
    ------
    InputError
        If a product is of no known kind or cannot be read.
    """
    if isinstance(scene.bands, dict):
        return [_band_files(scene)]
    return [_product(address, scene, root.absolute()) for address in scene.products]


def _product(address: str | Path, scene: SceneConfig, root: Path) -> Source:
    if isinstance(address, str):
        return _stac(redact_url(address), _download(address), address, root)
    address = address.absolute()
    if address.is_dir() and (address / MANIFEST).is_file():
        item = safe_item(address)
        metadata = [item.assets[key].href for key in ("safe_manifest", "product_metadata", "granule_metadata")]
        return Source(str(address), item, address, address, tuple(inside(address, href) for href in metadata))
    if address.is_dir():
        return _folder(address, scene)
    if address.suffix.lower() in {".json", ".geojson"}:
        text = _read_bytes(address)
        source = _stac(str(address), text, address.parent, root)
        return source._replace(files=(address, *source.files))
    raise InputError(
        f"{address}: is no product; expected an unpacked SAFE folder (with manifest.safe), a folder of GeoTIFF or COG, "
        "or a STAC item (.json or an http address)"
    )


def _stac(name: str, text: bytes, base: Path | str, root: Path) -> Source:
    import pystac

    try:
        item = pystac.Item.from_dict(json.loads(text), preserve_dict=False)
    except (
        ValueError,
        LookupError,
        RecursionError,
        TypeError,
        AttributeError,
        pystac.STACError,
        pystac.STACTypeError,
    ) as error:
        raise InputError(f"{name}: is not a STAC item ({first_line(error)[:200]})") from None
    return _with_product_metadata(Source(name, item, base, root))


def band_entries(asset: "pystac.Asset", *fields: str) -> list[dict[str, Any]]:
    """Return what an asset says of each of its bands, in the first of `fields` that it has."""
    for field in fields:
        entries = asset.extra_fields.get(field)
        if isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries):
            return entries
    return []


def _with_product_metadata(source: Source) -> Source:
    """Return `source` with scale and offset from the product metadata that it links to, where it says none itself."""
    assets = source.item.assets
    key = next((key for key in ("product_metadata", "product-metadata") if key in assets), None)
    if key is None or any(_says_scale(asset) for asset in assets.values()):
        return source
    place = source.locate(assets[key].href)
    text = _download(place) if isinstance(place, str) else _read_bytes(place)
    radiometry = read_radiometry(text, redact_url(str(place)))
    for asset_key, asset in assets.items():
        names = [str(entry.get("name", "")) for entry in band_entries(asset, "eo:bands", "bands")]
        band = plain_band(names[0] if len(names) == 1 else asset_key.split("_")[0])
        if band in radiometry.offsets:
            asset.extra_fields["raster:bands"] = [_radiometric(radiometry, band)]
    return source._replace(files=source.files if isinstance(place, str) else (place,))


def _says_scale(asset: "pystac.Asset") -> bool:
    said = [asset.extra_fields, *band_entries(asset, "raster:bands"), *band_entries(asset, "bands")]
    return any(key in entry for entry in said for key in ("scale", "raster:scale"))


def _radiometric(radiometry: Radiometry, band: str) -> dict[str, float]:
    return {
        "scale": 1 / radiometry.quantification,
        "offset": radiometry.offsets[band] / radiometry.quantification,
    }


def _folder(folder: Path, scene: SceneConfig) -> Source:
    """Return the source of a folder with one raster a band; its tags, or metadata beside it, say what values mean."""
    import pystac

    rasters = _band_rasters(folder)
    metadata = product_metadata_in(folder)
    radiometry = read_metadata_file(metadata) if metadata else None
    days = {match for path in rasters.values() for match in _SENSING_DAY.findall(path.name)[:1]}
    acquired = radiometry.acquired if radiometry else days.pop() if len(days) == 1 else ""
    properties = {"s2:processing_baseline": radiometry.baseline} if radiometry else {}
    item = _empty_item(radiometry.name if radiometry else folder.name, acquired, properties)
    for band, path in rasters.items():
        fields: dict[str, Any] = {"eo:bands": [{"name": band}]}
        if band != "SCL":
            fields["raster:bands"] = [_folder_radiometry(path, band, radiometry, scene)]
        item.add_asset(band, pystac.Asset(path.name, roles=["data"], extra_fields=fields))
    return Source(str(folder), item, folder, folder, (metadata,) if metadata else ())


def _band_rasters(folder: Path) -> dict[str, Path]:
    """Return the raster of each band in `folder`: the finest, where it has several."""
    found: dict[str, tuple[int, Path]] = {}
    for path in sorted(folder.iterdir()):
        match = _BAND_FILE.search(path.name)
        if match is None:
            continue
        band, size = plain_band(match["band"]), int(match["size"] or 0)
        if band in found and found[band][0] == size:
            raise InputError(f"{folder}: found {found[band][1].name} and {path.name} for {band}, expected one of them")
        if band not in found or size < found[band][0]:
            found[band] = (size, path)
    if not found:
        raise InputError(f"{folder}: found no band, expected GeoTIFF files such as B02.tif or T54TWN_B02_10m.tif")
    return {band: path for band, (_, path) in found.items()}


def _folder_radiometry(path: Path, band: str, radiometry: Radiometry | None, scene: SceneConfig) -> dict[str, float]:
    with open_band(str(path), product_driver(path.name)) as dataset:
        scale, offset, dtype = dataset.scales[0], dataset.offsets[0], dataset.dtypes[0]
    if (scale, offset) != (1.0, 0.0) or dtype.startswith("float"):
        return {"scale": scale, "offset": offset}
    if radiometry is not None:
        return _radiometric(radiometry, band)
    if scene.boa_offset == "auto":
        raise InputError(
            f"{path}: says neither scale nor offset, and there is no MTD_MSIL2A.xml beside it; give boa_offset "
            "(-1000 from processing baseline 04.00 on, else 0)"
        )
    return {}


def _band_files(scene: SceneConfig) -> Source:
    """Return the source of rasters that the event file names one by one; what it says goes before what they say."""
    import pystac

    item = _empty_item("scene", "", {})
    files: dict[str, BandFile] = dict(scene.bands) if isinstance(scene.bands, dict) else {}
    if scene.scl is not None:
        files["SCL"] = scene.scl
    for name, band in files.items():
        own = {"scale": band.scale, "offset": band.offset, "nodata": band.nodata}
        fields = {
            "eo:bands": [{"name": name}],
            "raster:bands": [{key: value for key, value in own.items() if value is not None}],
            "coslide:band": band.band,
            "coslide:crs": band.crs,
        }
        item.add_asset(name, pystac.Asset(str(band.path.absolute()), roles=["data"], extra_fields=fields))
    return Source("scene", item, Path("/"), Path("/"), product=False)


def _empty_item(name: str, acquired: str, properties: dict[str, Any]) -> "pystac.Item":
    import pystac

    try:
        day = dt.datetime.fromisoformat(acquired).replace(tzinfo=dt.UTC)
    except ValueError:
        day = None
    if day is None:  # an item without a date needs an interval
        properties = {**properties, "start_datetime": "0001-01-01T00:00:00Z", "end_datetime": "9999-12-31T00:00:00Z"}
    return pystac.Item(name, geometry=None, bbox=None, datetime=day, properties=properties)


def _download(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310 - http(s) by pattern
            if urlsplit(answer.url).scheme not in {"http", "https"}:
                raise InputError(f"{redact_url(url)}: leads to {redact_url(answer.url)}, expected http(s)")
            return _limited(answer.read(_LARGEST_DOCUMENT_BYTES + 1), redact_url(url))
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, HTTPError):  # an answer of its own, with a connection
            error.close()
        raise InputError(f"{redact_url(url)}: cannot be fetched ({first_line(error)})") from None


def _read_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return _limited(file.read(_LARGEST_DOCUMENT_BYTES + 1), str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def _limited(text: bytes, name: str) -> bytes:
    if len(text) > _LARGEST_DOCUMENT_BYTES:
        raise InputError(f"{name}: is larger than {_LARGEST_DOCUMENT_BYTES // 2**20} MB, expected a STAC item")
    return text
