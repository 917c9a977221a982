"""Sentinel-2 products as ESA packs them (SAFE), and the XML in them that says how values become reflectance."""

import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from coslide.errors import InputError

if TYPE_CHECKING:
    import pystac

MANIFEST = "manifest.safe"
PRODUCT_METADATA = re.compile(r"^(MTD_MSI(L1C|L2A)|S2\w_(OPER|USER)_MTD_SAF(L1C|L2A).*)\.xml$", re.IGNORECASE)
BAND_IDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")
"""The bands in the order of the `band_id` of product metadata, from 0."""

FIRST_BASELINE_WITH_OFFSET = "04.00"
_LARGEST_METADATA_BYTES = 64 * 2**20


class Radiometry(NamedTuple):
    """What product metadata say about stored values: reflectance = (value + offset) / quantification.

    `offsets` holds one number for each band in `BAND_IDS`, in stored units; they are 0 for products of processing
    baselines before 04.00. `baseline` is such as ``"05.09"``, `acquired` an ISO date, `name` that of the product; each
    may be empty.
    """

    quantification: float
    offsets: dict[str, float]
    product_type: str
    baseline: str
    acquired: str
    name: str


def read_radiometry(xml: bytes, name: str) -> Radiometry:
    """Return what the metadata of a product (``MTD_MSIL2A.xml``) say about its stored values.

    Parameters
    ----------
    xml
        The document.
    name
        What messages call it.

    Raises
    ------
    InputError
        If it is no XML, has a DTD or entities, is of another level than L2A, or lacks the quantification value or, from
        baseline 04.00 on, an offset for each band.

    Notes
    -----
    Elements ``BOA_QUANTIFICATION_VALUE`` and ``BOA_ADD_OFFSET``, whose ``band_id`` counts B1 to B8, B8A, B9 to B12 from
    0 (Sentinel-2 Products Specification Document, S2-PDGS-TAS-DI-PSD, issue 14.9 and later).

    Examples
    --------
    >>> xml = b"<P><PRODUCT_TYPE>S2MSI2A</PRODUCT_TYPE><BOA_QUANTIFICATION_VALUE>10000</BOA_QUANTIFICATION_VALUE></P>"
    >>> read_radiometry(xml, "MTD_MSIL2A.xml").offsets["B8A"]
    0.0
    """
    root = parse_xml(xml, name)
    product_type = _text(root, "PRODUCT_TYPE")
    require_level_2a(product_type, name)
    return Radiometry(
        quantification=_quantification(root, name),
        offsets=_offsets(root, name),
        product_type=product_type,
        baseline=_text(root, "PROCESSING_BASELINE"),
        acquired=_text(root, "PRODUCT_START_TIME")[:10],
        name=_text(root, "PRODUCT_URI"),
    )


def require_level_2a(product_type: str, name: str) -> None:
    """Return nothing if a product type, such as ``"S2MSI2A"``, is of level 2A or not known (empty).

    Raises
    ------
    InputError
        If it is of another level: top-of-atmosphere values are no surface reflectance.
    """
    if product_type and "2A" not in product_type:
        raise InputError(
            f"{name}: found product type {product_type}, expected S2MSI2A (surface reflectance); "
            "take the L2A product, or make it with Sen2Cor"
        )


def safe_item(folder: Path) -> "pystac.Item":
    """Return the STAC item of a SAFE folder, with the scale and offset of each band as its metadata say.

    Parameters
    ----------
    folder
        It holds ``manifest.safe``; its own name does not matter.

    Returns
    -------
    pystac.Item
        The hrefs of its assets are relative to `folder`. Asset ``product_metadata`` says where the metadata lie.

    Raises
    ------
    InputError
        If a metadata file is missing, leads out of the folder, has a DTD or entities, or lacks what is needed; or if
        the product is not L2A.

    Notes
    -----
    ``stactools.sentinel2`` reads the metadata, but takes for granted a quantification value of 10000; so scale and
    offset are read here.
    """
    from stactools.sentinel2.stac import create_item

    alias = f"{folder}/.SAFE"  # create_item takes for a SAFE folder only what ends so
    found: list[Radiometry] = []

    def checked(href: str) -> str:
        path = inside(folder, os.path.relpath(href, alias))
        xml = _read(path)
        if parse_xml(xml, str(path)).tag.endswith("_User_Product"):
            found.append(read_radiometry(xml, str(path)))
        return str(path)

    try:
        # "." as prefix: create_item looks for band names in the whole path, and folders above may look like one.
        item: pystac.Item = create_item(alias, read_href_modifier=checked, asset_href_prefix=".")
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 - stactools raises bare Exception, and what its parsing stumbles over
        raise InputError(f"{folder}: its metadata are not those of a SAFE product ({first_line(error)})") from None
    if not found:
        raise InputError(f"{folder}: its manifest names no product metadata (MTD_MSIL2A.xml)")
    for asset in item.assets.values():
        if asset.href and asset.href.startswith(alias):
            asset.href = os.path.relpath(asset.href, alias)
    _set_radiometry(item, found[0])
    return item


def inside(folder: Path, href: str) -> Path:
    """Return the path of `href`, which is relative to `folder`.

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


def parse_xml(xml: bytes, name: str) -> Element:
    """Return the root of an XML document that has neither a DTD nor entities.

    Raises
    ------
    InputError
        If it has, or is no XML.
    """
    try:
        root: Element = fromstring(xml, forbid_dtd=True)
    except DefusedXmlException:
        raise InputError(f"{name}: found a DTD or entities, expected plain XML") from None
    except (ParseError, ValueError, LookupError) as error:
        raise InputError(f"{name}: is not XML ({first_line(error)})") from None
    return root


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST_METADATA_BYTES:
            raise InputError(f"{path}: found {path.stat().st_size} bytes, expected metadata of a few MB at most")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); is the product complete?") from None


def product_metadata_in(folder: Path) -> Path | None:
    """Return the metadata file of a product that lies in `folder` itself, or None."""
    found = sorted(path for path in folder.iterdir() if PRODUCT_METADATA.match(path.name))
    return found[0] if found else None


def read_metadata_file(path: Path) -> Radiometry:
    """Return `read_radiometry` of a file.

    Raises
    ------
    InputError
        As `read_radiometry`, or if it cannot be read.
    """
    return read_radiometry(_read(path), str(path))


def _set_radiometry(item: "pystac.Item", radiometry: Radiometry) -> None:
    for asset in item.assets.values():
        names = [band["name"] for band in asset.extra_fields.get("eo:bands", [])]
        if "reflectance" not in (asset.roles or []) or len(names) != 1:
            continue
        offset = radiometry.offsets[plain_band(names[0])]
        for band in asset.extra_fields["raster:bands"]:
            band["scale"] = 1 / radiometry.quantification
            band["offset"] = offset / radiometry.quantification


def plain_band(name: str) -> str:
    """Return the name of a Sentinel-2 band as coslide writes it.

    Examples
    --------
    >>> plain_band("B02"), plain_band("b8a"), plain_band("B11")
    ('B2', 'B8A', 'B11')
    """
    return re.sub(r"^B0(?=\d)", "B", name.upper())


def _quantification(root: Element, name: str) -> float:
    value = _number(_text(root, "BOA_QUANTIFICATION_VALUE"))
    if not value > 0:
        raise InputError(f"{name}: found BOA_QUANTIFICATION_VALUE {value:g}, expected a number above 0, such as 10000")
    return value


def _offsets(root: Element, name: str) -> dict[str, float]:
    listed = {element.get("band_id"): _number(element.text or "") for element in _all(root, "BOA_ADD_OFFSET")}
    baseline = _text(root, "PROCESSING_BASELINE")
    if not listed and baseline < FIRST_BASELINE_WITH_OFFSET:
        return dict.fromkeys(BAND_IDS, 0.0)
    missing = [band for i, band in enumerate(BAND_IDS) if not math.isfinite(listed.get(str(i), math.nan))]
    if missing:
        raise InputError(
            f"{name}: found no BOA_ADD_OFFSET for {missing[0]}, expected one for each band (baseline {baseline})"
        )
    return {band: listed[str(i)] for i, band in enumerate(BAND_IDS)}


def _all(root: Element, tag: str) -> list[Element]:
    """Return the elements of a name, whatever their namespace."""
    return [element for element in root.iter() if str(element.tag).rpartition("}")[2] == tag]


def _text(root: Element, tag: str) -> str:
    found = _all(root, tag)
    return (found[0].text or "").strip() if found else ""


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or what it is called where it says nothing.

    Examples
    --------
    >>> first_line(ValueError("no number")), first_line(TimeoutError())
    ('no number', 'TimeoutError')
    """
    return (str(error).splitlines() or [type(error).__name__])[0] or type(error).__name__
