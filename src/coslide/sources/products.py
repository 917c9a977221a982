"""What there is to read of a scene: for each product, the raster of each band and what its values mean."""

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from coslide.config.schema import SceneConfig
from coslide.errors import InputError
from coslide.io.sidecar_files import with_sidecar_files
from coslide.sources.bands import BandRaster, band_raster
from coslide.sources.items import Source, band_entries, sources_of
from coslide.sources.safe import BAND_IDS, FIRST_BASELINE_WITH_OFFSET, plain_band, require_level_2a

if TYPE_CHECKING:
    import pystac

USUAL_QUANTIFICATION = 10000.0
COMMON_NAMES = {
    "coastal": "B1", "blue": "B2", "green": "B3", "red": "B4", "nir": "B8", "nir08": "B8A", "nir09": "B9",
    "rededge1": "B5", "rededge2": "B6", "rededge3": "B7", "rededge071": "B5", "rededge075": "B6", "rededge078": "B7",
    "cirrus": "B10", "swir16": "B11", "swir22": "B12",
}  # fmt: skip
"""What STAC catalogues call the bands; plain "rededge" is three of them and tells nothing."""

_NO_BANDS = re.compile(r"visual|tci|preview|thumbnail|overview|pvi|-jp2$", re.IGNORECASE)


class Product(NamedTuple):
    """A Sentinel-2 product, or the rasters of a scene.

    Attributes
    ----------
    name
        What messages call it.
    acquired
        ISO date, or empty where it is not known.
    platform, baseline, orbit, tile
        Such as ``"sentinel-2a"``, ``"05.09"``, ``"74"`` and ``"54TWN"``; empty where not known.
    bands
        By the names of the event file.
    scl
        The scene classification, or None.
    sentinel2
        Whether it is a product of Sentinel-2.
    files
        The local files that it is made of.
    """

    name: str
    acquired: str
    platform: str
    baseline: str
    orbit: str
    tile: str
    bands: dict[str, BandRaster]
    scl: BandRaster | None
    sentinel2: bool
    files: tuple[Path, ...]

    @property
    def rasters(self) -> list[BandRaster]:
        """The bands and, where there is one, the classification."""
        return [*self.bands.values(), *([self.scl] if self.scl else [])]


class Products(NamedTuple):
    """The products of a scene in the order of the event file, and lines for the log."""

    products: tuple[Product, ...]
    notes: tuple[str, ...]


def read_products(scene: SceneConfig, *, root: Path) -> Products:
    """Return the products of `scene`, with all that is needed to read their bands.

    Every raster is opened once, to know where it lies.

    Parameters
    ----------
    scene
        Its paths are absolute.
    root
        The folder of the event: hrefs of local STAC items may not leave it.

    Raises
    ------
    InputError
        If a product cannot be read, is not L2A, lacks a band or what turns its values into reflectance; if products
        are of several days, or of another day than `scene.date`; or if only some have a scene classification.

    Notes
    -----
    Of products of one tile, those of the highest processing baseline are kept. In a product, 0 (no data) and 65535
    (saturated) mean nothing, and so does the nodata value of its metadata [1]_. An offset is never applied to the
    classification.

    References
    ----------
    .. [1] Sentinel-2 Products Specification Document (ESA, S2-PDGS-TAS-DI-PSD), special values of the L2A product.
    """
    found = [_product(source, scene) for source in sources_of(scene, root)]
    _require_one_day(found, scene)
    kept = [product for product in found if product.baseline == _newest(product, found)]
    notes = [_describe(product, scene) for product in kept if product.sentinel2]
    notes += [
        f"{product.name}: left out, tile {product.tile} is there with a higher processing baseline than its "
        f"{product.baseline}"
        for product in found
        if product not in kept
    ]
    if len({product.scl is None for product in kept}) > 1:
        without = next(product for product in kept if product.scl is None)
        raise InputError(f"{without.name}: has no scene classification (SCL), and other products of the scene have one")
    if any(product.sentinel2 and product.scl is None for product in kept):
        notes.append("no scene classification (SCL): clouds, shadows and snow are not masked")
    return Products(tuple(kept), tuple(notes))


def _product(source: Source, scene: SceneConfig) -> Product:
    properties = source.item.properties
    if source.product:
        _require_level_2a(source)
    baseline = str(properties.get("s2:processing_baseline") or properties.get("processing:version") or "")
    bands = {name: _band(source, name, scene, baseline) for name in scene.band_names}
    scl = _find(source, "SCL") if source.product else source.item.assets.get("SCL")
    classes = _classes(source, scl) if scl else None
    tile = re.search(r"(?:MGRS-|_T)(\d{2}[A-Z]{3})", f"{properties.get('grid:code', '')} _T{_tile(source)}")
    when = source.item.datetime
    rasters = [raster for raster in [*bands.values(), *([classes] if classes else [])] if not raster.remote]
    local = [file for raster in rasters for file in with_sidecar_files(Path(raster.href))]
    return Product(
        name=source.name,
        acquired=when.date().isoformat() if when else "",
        platform=str(properties.get("platform") or ""),
        baseline=baseline,
        orbit=str(properties.get("sat:relative_orbit") or ""),
        tile=tile[1] if tile else "",
        bands=bands,
        scl=classes,
        sentinel2=source.product,
        files=tuple(dict.fromkeys([*source.files, *local])),
    )


def _tile(source: Source) -> str:
    named = re.search(r"(?:^|_)T?(\d{2}[A-Z]{3})(?:_|$)", source.item.id)
    return str(source.item.properties.get("s2:mgrs_tile") or (named[1] if named else ""))


def _require_level_2a(source: Source) -> None:
    properties = source.item.properties
    known = properties.get("s2:product_type") or properties.get("product:type") or ""
    if not known and re.search("l1c", str(source.item.collection_id or ""), re.IGNORECASE):
        known = "S2MSI1C"
    require_level_2a(str(known), source.name)


def _band(source: Source, name: str, scene: SceneConfig, baseline: str) -> BandRaster:
    if not source.product:
        return _single_band(source, source.item.assets[name])
    wanted = plain_band(name)
    if wanted not in BAND_IDS:
        raise InputError(f"bands: found {name!r}, expected bands of Sentinel-2: {', '.join(BAND_IDS)}")
    asset = _find(source, wanted)
    if asset is None:
        raise InputError(f"{source.name}: has no band {name}; found {', '.join(sorted(source.item.assets)) or 'none'}")
    number = _number(asset, wanted)
    said = {**asset.extra_fields, **_entry(asset, "bands", number), **_entry(asset, "raster:bands", number)}
    scale, offset = _radiometry(f"{source.name}: {asset.href}", said, scene, baseline=baseline, source=source)
    nodata = said.get("nodata")
    declared = float(nodata) if isinstance(nodata, int | float) else None
    href = str(source.locate(asset.href))
    return band_raster(href, number, scale=scale, offset=offset, nodata=declared, product=True)


def _single_band(source: Source, asset: "pystac.Asset") -> BandRaster:
    """Return a band that the event file gives as a raster of its own."""
    said = _entry(asset, "raster:bands", 1)
    return band_raster(
        str(source.locate(asset.href)),
        asset.extra_fields["coslide:band"],
        scale=said.get("scale"),
        offset=said.get("offset"),
        nodata=said.get("nodata"),
        product=False,
        crs=asset.extra_fields["coslide:crs"],
    )


def _classes(source: Source, asset: "pystac.Asset") -> BandRaster:
    """Return the scene classification: neither scale nor offset ever holds for classes."""
    if not source.product:
        return _single_band(source, asset)._replace(scale=1.0, offset=0.0)
    href, number = str(source.locate(asset.href)), _number(asset, "SCL")
    return band_raster(href, number, scale=1.0, offset=0.0, nodata=None, product=True, special=False)


def _find(source: Source, band: str) -> "pystac.Asset | None":
    """Return the asset of a band: the finest, and one of its own rather than one of several bands."""
    found = []
    for key, asset in source.item.assets.items():
        if _NO_BANDS.search(key) or {"thumbnail", "overview", "visual", "metadata"} & {
            str(role) for role in asset.roles or []
        }:
            continue
        names = _names(asset)
        own = [_plain(re.sub(r"_\d0m$", "", key)), *(names[:1] if len(names) == 1 else [])]
        if band in own or band in names:
            found.append((band not in own, _spacing(key, asset), key, asset))
    return min(found, key=lambda entry: entry[:3])[3] if found else None


def _plain(name: str) -> str:
    return COMMON_NAMES.get(name.lower()) or plain_band(name)


def _names(asset: "pystac.Asset") -> list[str]:
    """Return the band that each band of an asset holds, empty where it is not known."""
    names = []
    for entry in band_entries(asset, "eo:bands", "bands"):
        common = entry.get("common_name") or entry.get("eo:common_name") or ""
        given = [_plain(str(name)) for name in (entry.get("name"), common) if name]
        names.append(next((name for name in given if name in (*BAND_IDS, "SCL")), ""))
    return names


def _number(asset: "pystac.Asset", band: str) -> int:
    names = _names(asset)
    return names.index(band) + 1 if band in names else 1


def _spacing(key: str, asset: "pystac.Asset") -> float:
    """Return the cell size of an asset in metres as far as its description says, else 0."""
    in_name = re.search(r"_(\d0)m", f"{key} {asset.href}")
    for entry in band_entries(asset, "raster:bands", "bands"):
        size = entry.get("spatial_resolution", entry.get("raster:spatial_resolution"))
        if isinstance(size, int | float):
            return float(size)
    gsd = asset.extra_fields.get("gsd")
    if in_name:
        return float(in_name[1])
    return float(gsd) if isinstance(gsd, int | float) else 0.0


def _radiometry(
    name: str, said: dict[str, Any], scene: SceneConfig, *, baseline: str, source: Source
) -> tuple[float, float]:
    """Return scale and offset of a band of a product, from what is said of it."""
    scale, offset = (said.get(key, said.get(f"raster:{key}")) for key in ("scale", "offset"))
    if scene.boa_offset != "auto":
        scale = _finite(1 / USUAL_QUANTIFICATION if scale is None else scale, "scale", name)
        return scale, scene.boa_offset * scale
    if scale is None:
        raise InputError(
            f"{name} has no scale (raster:bands or raster:scale) that turns its values into reflectance; "
            "give boa_offset (-1000 from processing baseline 04.00 on, else 0)"
        )
    if source.item.properties.get("earthsearch:boa_offset_applied"):
        offset = 0.0
    elif offset is None and baseline >= FIRST_BASELINE_WITH_OFFSET:
        raise InputError(
            f"{name} has a scale and no offset, although its processing baseline is {baseline}; "
            "give boa_offset (-1000, or 0 where it was applied already)"
        )
    return _finite(scale, "scale", name), _finite(offset or 0.0, "offset", name)


def _entry(asset: "pystac.Asset", field: str, number: int) -> dict[str, Any]:
    entries = band_entries(asset, field)
    return entries[number - 1] if number <= len(entries) else {}


def _finite(value: Any, what: str, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{name}: found {what} {value!r}, expected a number")
    return float(value)


def _require_one_day(products: list[Product], scene: SceneConfig) -> None:
    days = {product.acquired: product.name for product in products if product.acquired}
    if scene.date is not None and days and set(days) != {str(scene.date)}:
        other = next(day for day in days if day != str(scene.date))
        raise InputError(f"date: found {scene.date}, but {days[other]} was acquired on {other}")
    if len(days) > 1:
        (first, one), (second, other) = sorted(days.items())[:2]
        raise InputError(f"products: found {one} of {first} and {other} of {second}, expected products of one day")


def _newest(product: Product, products: list[Product]) -> str:
    same = [other.baseline for other in products if other.tile == product.tile and other.acquired == product.acquired]
    return max(same) if product.tile else product.baseline


def _describe(product: Product, scene: SceneConfig) -> str:
    offsets = sorted({round(raster.offset / raster.scale, 3) for raster in product.bands.values()})
    scales = sorted({raster.scale for raster in product.bands.values()})
    origin = "as metadata say" if scene.boa_offset == "auto" else "as the event file says"
    shown = ", ".join(f"{offset:g}" for offset in offsets)
    return (
        f"{product.name}: tile {product.tile or 'unknown'}, {product.acquired or 'no date'}, baseline "
        f"{product.baseline or 'unknown'}, offset {shown} {origin}, scale {', '.join(f'{scale:g}' for scale in scales)}"
    )
