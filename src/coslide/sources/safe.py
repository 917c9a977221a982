"""Sentinel-2 products, and what their metadata state: level, time, processing baseline, images, scale and offsets."""

import datetime as dt
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

import pandas as pd

from coslide.errors import InputError
from coslide.io.http import HTTP, redact_url
from coslide.io.paths import with_sidecar_files
from coslide.sources.bands import BandRaster
from coslide.sources.documents import read_xml

BAND_IDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")
"""The bands in the order of the `band_id` of product metadata, from 0."""
FIRST_BASELINE_WITH_OFFSET = 4.0
_HOME_MADE = 90.0  # 99.99 is what Sen2Cor writes outside ESA
FIRST_OFFSETS = dt.datetime(2022, 1, 25, tzinfo=dt.UTC)  # baseline 04.00
_FIRST_PSD_WITH_OFFSETS = 14
_LONGEST_PATH = 4096
ONE_OVERPASS = dt.timedelta(hours=13)
"""The next overpass of a place comes about a day later; a day without a time is its noon, give or take 12 h."""

TILE = re.compile(r"(?:^|[_\s-])T?(\d{2}[A-Z]{3})(?=_|\s|$)")
"""The tile in a name."""
Span = tuple[dt.datetime, dt.datetime]
"""First and last time, in UTC."""


class Product(NamedTuple):
    """A satellite product, or the rasters of a scene.

    Attributes
    ----------
    name
        What messages call it.
    rasters
        The bands by the names of the event file, and the scene classification as ``"SCL"`` where there is one.
    sensed
        When it was sensed; None where not stated. A day without a time is its noon.
    baseline, tile
        Such as ``"05.09"`` and ``"54TWN"``; empty where not stated.
    metadata
        The local files that this was read from.
    sensor
        What acquired it, with the size of its pixels; empty where nothing tells.
    """

    name: str
    rasters: dict[str, BandRaster]
    sensed: Span | None = None
    baseline: str = ""
    tile: str = ""
    metadata: tuple[Path, ...] = ()
    sensor: str = ""

    @property
    def acquired(self) -> str:
        """The ISO date (UTC) on which it was sensed, empty where not stated."""
        return self.sensed[0].date().isoformat() if self.sensed else ""

    @property
    def bands(self) -> dict[str, BandRaster]:
        """The rasters without the classification."""
        return {name: raster for name, raster in self.rasters.items() if name != "SCL"}

    @property
    def files(self) -> tuple[Path, ...]:
        """The local files that it consists of."""
        local = [Path(raster.href) for raster in self.rasters.values() if not raster.href.startswith(HTTP)]
        return tuple(dict.fromkeys([*self.metadata, *(file for path in local for file in with_sidecar_files(path))]))


class ProductMetadata(NamedTuple):
    """What the metadata of a product state; texts are empty where they state nothing.

    Attributes
    ----------
    name, baseline
        The name of the product, and such as ``"05.09"``.
    sensed
        When sensing began, in UTC.
    radiometry
        Scale and offset of each band in `BAND_IDS`: reflectance = stored value * scale + offset. The offset is NaN
        where none is stated, or no single number, and 0 cannot be concluded.
    images
        Paths of its rasters, relative to the SAFE folder.
    """

    name: str = ""
    baseline: str = ""
    sensed: dt.datetime | None = None
    radiometry: dict[str, tuple[float, float]] = {}  # noqa: RUF012 - never written to
    images: tuple[str, ...] = ()


def read_product_metadata(place: Path | str) -> ProductMetadata:
    """Read the metadata of a product, ``MTD_MSIL2A.xml``, a file or at an http address.

    Raises
    ------
    InputError
        If it cannot be read, is no XML, has a DTD or entities, is of another level than L2A, or lacks the
        quantification value; or if the time in it is none.

    Notes
    -----
    Reflectance = (stored value + offset) / quantification, of the elements ``BOA_QUANTIFICATION_VALUE`` and
    ``BOA_ADD_OFFSET``, whose ``band_id`` counts B1 to B8, B8A, B9 to B12 from 0 (Sentinel-2 Products Specification
    Document, S2-PDGS-TAS-DI-PSD, issue 14.9 and later). Before baseline 04.00 there is no offset. A product that was
    made with Sen2Cor outside ESA (baseline 99.99), or states no baseline, has none if it was made before the first
    product with offsets, or by an issue of the specification that has no element for them. The tags of Sen2Cor before
    2.5 begin with ``L2A_`` or end with ``_2A``.
    """
    name, root = redact_url(str(place)), read_xml(place)

    def text(*tags: str) -> str:
        found = (root.findtext(f".//{{*}}{tag}") or "" for tag in tags)
        return next((text.strip() for text in found if text.strip()), "")

    require_level_2a(text("PRODUCT_TYPE"), name)
    product = text("PRODUCT_URI", "PRODUCT_URI_2A")
    baseline = text("PROCESSING_BASELINE") or "".join(re.findall(r"_(N\d{4})_", product)[:1])
    stated = text("BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE")
    quantification = float(pd.to_numeric(stated, errors="coerce"))
    if not (quantification > 0 and math.isfinite(quantification)):
        found = f"found BOA_QUANTIFICATION_VALUE {stated!r}" if stated else "found no BOA_QUANTIFICATION_VALUE"
        raise InputError(f"{name}: {found}, expected a number above 0, such as 10000")
    offsets = _stated_offsets(root)
    usual = 0.0 if not offsets and _made_without_offsets(root, baseline, text("GENERATION_TIME")) else math.nan
    in_dn = {band: offsets.get(str(number), usual) for number, band in enumerate(BAND_IDS)}
    begun = text("PRODUCT_START_TIME", "DATATAKE_SENSING_START")
    if (sensed := read_time(begun)) is None and begun:
        raise InputError(f"{name}: found PRODUCT_START_TIME {begun!r}, expected such as 2018-09-11T01:26:51Z")
    radiometry = {band: (1 / quantification, offset / quantification) for band, offset in in_dn.items()}
    return ProductMetadata(product, baseline, sensed, radiometry, _listed_images(root))


def _stated_offsets(root: Element) -> dict[str, float]:
    """Collect the offsets in stored values by band id; NaN where one is no number, or is stated twice and differs."""
    offsets: dict[str, float] = {}
    for item in root.iterfind(".//{*}BOA_ADD_OFFSET"):
        band = (item.get("band_id") or "").strip()
        offset = float(pd.to_numeric((item.text or "").strip(), errors="coerce"))
        offsets[band] = offset if math.isfinite(offset) and offsets.get(band, offset) == offset else math.nan
    return offsets


def _listed_images(root: Element) -> tuple[str, ...]:
    listed = [
        ((image.text or "").strip(), ".tif" if granule.get("imageFormat") == "GeoTIFF" else ".jp2")
        for tag in ("Granule", "Granules")
        for granule in root.iterfind(f".//{{*}}{tag}")
        for tag_of_image in ("IMAGE_FILE", "IMAGE_FILE_2A")
        for image in granule.iterfind(f".//{{*}}{tag_of_image}")
    ]
    return tuple(path if path.endswith(suffix) else path + suffix for path, suffix in listed if path)


def _made_without_offsets(root: Element, baseline: str, made: str) -> bool:
    """Tell whether a product comes from before offsets: a list that is missing means 0 then."""
    if (number := baseline_number(baseline)) is not None:
        return number < FIRST_BASELINE_WITH_OFFSET
    issue = re.search(r"psd-(\d{1,3})\.", root.tag)
    generated = read_time(made)
    without_element = issue is not None and int(issue[1]) < _FIRST_PSD_WITH_OFFSETS
    return without_element or (generated is not None and generated < FIRST_OFFSETS)


def baseline_number(baseline: str) -> float | None:
    """Read a processing baseline of ESA; None where it is none, as that of products made elsewhere (99.99).

    Examples
    --------
    >>> [baseline_number(text) for text in ("05.09", "N0400", "2.14", "99.99", "")]
    [5.09, 4.0, 2.14, None, None]
    """
    match = re.fullmatch(r"N?(\d\d?)(?:\.?(\d\d?))?", baseline)
    number = float(f"{match[1]}.{match[2] or 0}") if match else _HOME_MADE
    return number if number < _HOME_MADE else None


def read_time(text: object) -> dt.datetime | None:
    """Read a time as metadata and names write it, in UTC; None where it is none.

    A time without a zone is in UTC. Midnight to the second stands for a day without a time, and becomes its noon.

    Examples
    --------
    >>> [str(read_time(text)) for text in ("20180911T012651", "2021-03-02T08:59:52+09:00", "2021-03-02", "soon")]
    ['2018-09-11 01:26:51+00:00', '2021-03-01 23:59:52+00:00', '2021-03-02 12:00:00+00:00', 'None']
    """
    try:
        found = dt.datetime.fromisoformat(str(text).strip().upper())
        found = found.astimezone(dt.UTC) if found.tzinfo else found.replace(tzinfo=dt.UTC)
    except (ValueError, OverflowError):
        return None
    if not 1900 < found.year < 2200:
        return None
    return found.replace(hour=12) if found.time() == dt.time() else found


def require_one_overpass(spans: Sequence[tuple[str, Span | None]], where: str) -> Span | None:
    """Check that times belong to one overpass, which may cross midnight in UTC; return the first and the last of them.

    Parameters
    ----------
    spans
        A name, and when what it names was sensed; None where that is not stated.
    where
        What messages call all of them.

    Raises
    ------
    InputError
        If they lie more than 13 hours apart: the next overpass of a place comes a day later.

    Examples
    --------
    >>> late, early = read_time("2021-03-01T23:59:52Z"), read_time("2021-03-02T00:00:06Z")
    >>> require_one_overpass([("a", (late, late)), ("b", (early, early))], "products") == (late, early)
    True
    """
    stated = [(name, span) for name, span in spans if span is not None]
    if not stated:
        return None
    first, last = min(stated, key=lambda one: one[1][1]), max(stated, key=lambda one: one[1][0])
    if last[1][0] - first[1][1] > ONE_OVERPASS:
        found = f"{first[0]} of {first[1][1]:%Y-%m-%d %H:%M} and {last[0]} of {last[1][0]:%Y-%m-%d %H:%M} UTC"
        raise InputError(f"{where}: found {found}, expected one day")
    return min(span[0] for _, span in stated), max(span[1] for _, span in stated)


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


def finite_number(value: object) -> float | None:
    """Take a finite number from what an item holds, which may be anything; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def inside(folder: Path, href: str) -> Path:
    """Join `href` to `folder`, which it may not leave.

    Raises
    ------
    InputError
        If it leads out of `folder`, or can be no path.

    Examples
    --------
    >>> inside(Path("/data/scene"), "GRANULE/../b.jp2").as_posix()
    '/data/scene/b.jp2'
    """
    if len(href) > _LONGEST_PATH or re.search(r"[\x00-\x1f\ud800-\udfff]", href):
        raise InputError(f"{folder}: found {href[:100]!r} ({len(href)} characters), expected a path inside")
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
