"""Metadata of Sentinel-2 products as ESA writes them: how stored values become reflectance, and where bands lie."""

import math
import os
import re
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from coslide.errors import InputError
from coslide.sources.bands import TIMEOUT_S, redact_url

BAND_IDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")
"""The bands in the order of the `band_id` of product metadata, from 0."""

FIRST_BASELINE_WITH_OFFSET = "04.00"
_LARGEST_DOCUMENT_BYTES = 64 * 2**20


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

    name: str = ""
    acquired: str = ""
    baseline: str = ""
    radiometry: Mapping[str, tuple[float, float]] = MappingProxyType({})
    images: tuple[str, ...] = ()


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
    name = redact_url(str(place))
    root = parse_xml(read_document(place), name)

    def text(tag: str) -> str:
        return (root.findtext(f".//{{*}}{tag}") or "").strip()

    require_level_2a(text("PRODUCT_TYPE"), name)
    quantification, baseline = _number(text("BOA_QUANTIFICATION_VALUE")), text("PROCESSING_BASELINE")
    if not quantification > 0:
        found = f"found BOA_QUANTIFICATION_VALUE {quantification:g}"
        raise InputError(f"{name}: {found}, expected a number above 0, such as 10000")
    offsets = {str(item.get("band_id")): _number(item.text) for item in root.iterfind(".//{*}BOA_ADD_OFFSET")}
    if not offsets and baseline < FIRST_BASELINE_WITH_OFFSET:
        offsets = {str(i): 0.0 for i in range(len(BAND_IDS))}
    for i, band in enumerate(BAND_IDS):
        if not math.isfinite(offsets.get(str(i), math.nan)):
            expected = f"expected one for each band (baseline {baseline})"
            raise InputError(f"{name}: found no BOA_ADD_OFFSET for {band}, {expected}")
    images = [
        f"{(image.text or '').strip()}{'.tif' if granule.get('imageFormat') == 'GeoTIFF' else '.jp2'}"
        for granule in root.iterfind(".//{*}Granule")
        for image in granule.iterfind(".//{*}IMAGE_FILE")
    ]
    return ProductMetadata(
        name=text("PRODUCT_URI"),
        acquired=text("PRODUCT_START_TIME")[:10],
        baseline=baseline,
        radiometry={band: (1 / quantification, offsets[str(i)] / quantification) for i, band in enumerate(BAND_IDS)},
        images=tuple(images),
    )


def require_level_2a(product_type: str, name: str) -> None:
    """Check that a product type, such as ``"S2MSI2A"``, is of level 2A, or not stated (empty).

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


def read_document(place: Path | str) -> bytes:
    """Read a document of metadata, a file or at an http address.

    Raises
    ------
    InputError
        If it cannot be read, or is larger than any metadata.
    """
    name = redact_url(str(place))
    local = isinstance(place, Path)
    try:
        opened: Any = place.open("rb") if isinstance(place, Path) else urlopen(place, timeout=TIMEOUT_S)  # noqa: S310
        with opened as file:
            if not local and urlsplit(file.url).scheme not in {"http", "https"}:
                raise InputError(f"{name}: leads to {redact_url(file.url)}, expected http(s)")
            text: bytes = file.read(_LARGEST_DOCUMENT_BYTES + 1)
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, HTTPError):  # an answer of its own, with a connection
            error.close()
        reason = getattr(error, "strerror", None) or first_line(error)
        raise InputError(f"{name}: cannot be {'read' if local else 'fetched'} ({reason})") from None
    if len(text) > _LARGEST_DOCUMENT_BYTES:
        raise InputError(f"{name}: is larger than {_LARGEST_DOCUMENT_BYTES // 2**20} MB, expected metadata")
    return text


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


def parse_xml(xml: bytes, name: str) -> Element:
    """Parse an XML document that has neither a DTD nor entities.

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


def plain_band(name: str) -> str:
    """Spell the name of a Sentinel-2 band as coslide does.

    Examples
    --------
    >>> plain_band("B02"), plain_band("b8a"), plain_band("B11")
    ('B2', 'B8A', 'B11')
    """
    return re.sub(r"^B0(?=\d)", "B", name.upper())


def first_line(error: BaseException) -> str:
    """Take the first line of the text of an error, or its name where it has no text.

    Examples
    --------
    >>> first_line(ValueError("no number")), first_line(TimeoutError())
    ('no number', 'TimeoutError')
    """
    return (str(error).splitlines() or [type(error).__name__])[0] or type(error).__name__


def _number(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return math.nan
