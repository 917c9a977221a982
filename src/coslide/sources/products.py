"""What there is to read of a scene: for each product, the raster of each band and what its values mean."""

import math
from pathlib import Path
from typing import Any, NamedTuple

from coslide.config.schema import SceneConfig
from coslide.errors import InputError
from coslide.io.sidecar_files import with_sidecar_files
from coslide.sources.bands import Band, BandRaster, locate_band
from coslide.sources.product_forms import ProductDescription, describe_product
from coslide.sources.safe import BAND_IDS, FIRST_BASELINE_WITH_OFFSET, plain_band

USUAL_QUANTIFICATION = 10000.0


class Product(NamedTuple):
    """A Sentinel-2 product, or the rasters of a scene.

    Attributes
    ----------
    name
        What messages call it.
    bands
        By the names of the event file.
    scl
        The scene classification, or None.
    files
        The local files that it consists of.
    sentinel2
        Whether it is a product of Sentinel-2.
    acquired, baseline, tile
        ISO date, such as ``"05.09"`` and ``"54TWN"``; empty where not known.
    """

    name: str
    bands: dict[str, BandRaster]
    scl: BandRaster | None
    files: tuple[Path, ...]
    sentinel2: bool = False
    acquired: str = ""
    baseline: str = ""
    tile: str = ""

    @property
    def rasters(self) -> dict[str, BandRaster]:
        """The bands and, where there is one, the classification."""
        return {**self.bands, **({"SCL": self.scl} if self.scl else {})}


def read_products(scene: SceneConfig, *, root: Path) -> tuple[list[Product], list[str]]:
    """Open the products of `scene` in the order of the event file, with all that is needed to read their bands.

    Every raster is opened once, to know where it lies.

    Parameters
    ----------
    scene
        Its paths are absolute.
    root
        The folder of the event: hrefs of local STAC items may not leave it.

    Returns
    -------
    tuple
        The products, and lines for the log.

    Raises
    ------
    InputError
        If a product cannot be read, is not L2A, lacks a band or what turns its values into reflectance; if products
        are of several days, or of another day than `scene.date`; or if only some have a scene classification.

    Notes
    -----
    Of products of one tile, those of the highest processing baseline are kept. In a product, 0 (no data) and 65535
    (saturated) are nodata, and so is the nodata value of its metadata [1]_. An offset is never applied to the
    classification.

    References
    ----------
    .. [1] Sentinel-2 Products Specification Document (ESA, S2-PDGS-TAS-DI-PSD), special values of the L2A product.
    """
    if isinstance(scene.bands, dict):
        return [_own_rasters(scene)], []
    found = [_read_product(address, scene, root.absolute()) for address in scene.products]
    _require_one_day(found, scene)
    newest: dict[str, str] = {}
    for product in found:
        newest[product.tile] = max(product.baseline, newest.get(product.tile, ""))
    kept = [product for product in found if not product.tile or product.baseline == newest[product.tile]]
    notes = [_describe(product, scene) for product in kept]
    notes += [
        f"{product.name}: left out, tile {product.tile} is there with a higher processing baseline than its "
        f"{product.baseline}"
        for product in found
        if product not in kept
    ]
    without = [product.name for product in kept if product.scl is None]
    if 0 < len(without) < len(kept):
        raise InputError(f"{without[0]}: has no scene classification (SCL), and other products of the scene have one")
    if without:
        notes.append("no scene classification (SCL): clouds, shadows and snow are not masked")
    return kept, notes


def _own_rasters(scene: SceneConfig) -> Product:
    """Open the rasters that the event file names one by one; what it states precedes what they declare."""
    files = {name: scene.bands[name] for name in scene.band_names} if isinstance(scene.bands, dict) else {}
    bands = {
        name: locate_band(
            Band(name, str(own.path.absolute()), own.band, own.scale, own.offset, own.nodata, own.crs), sentinel2=False
        )
        for name, own in ({**files, "SCL": scene.scl} if scene.scl else files).items()
    }
    scl = bands.pop("SCL", None)
    return Product("scene", bands, scl, _local_files((), bands, scl))


def _read_product(address: str | Path, scene: SceneConfig, root: Path) -> Product:
    unknown = [name for name in scene.band_names if plain_band(name) not in BAND_IDS]
    if unknown:
        raise InputError(f"bands: found {unknown[0]!r}, expected bands of Sentinel-2: {', '.join(BAND_IDS)}")
    wanted = {plain_band(name) for name in scene.band_names}
    about = describe_product(address if isinstance(address, str) else address.absolute(), root, wanted)
    finest = {band.name: band for band in sorted(about.bands, key=lambda band: -band.size_m)}
    lacking = [name for name in scene.band_names if plain_band(name) not in finest]
    if lacking:
        raise InputError(f"{about.name}: has no band {lacking[0]}; found {', '.join(sorted(finest)) or 'none'}")
    bands = {name: _locate(finest[plain_band(name)], about, scene) for name in scene.band_names}
    scl = _locate(finest["SCL"], about, scene) if "SCL" in finest else None
    files = _local_files(about.files, bands, scl)
    return Product(about.name, bands, scl, files, True, about.acquired, about.baseline, about.tile)


def _locate(band: Band, product: ProductDescription, scene: SceneConfig) -> BandRaster:
    scale, offset = (None, None) if band.name == "SCL" else _radiometry(band, product, scene)
    located = band._replace(href=str(product.locate(band.href)), scale=scale, offset=offset)
    return locate_band(located, sentinel2=True)


def _radiometry(band: Band, product: ProductDescription, scene: SceneConfig) -> tuple[float, float]:
    """Decide on scale and offset of a band of a product."""
    name = f"{product.name}: {band.href}"
    if scene.boa_offset != "auto":
        scale = _finite(1 / USUAL_QUANTIFICATION if band.scale is None else band.scale, "scale", name)
        return scale, scene.boa_offset * scale
    if band.scale is None:
        raise InputError(
            f"{name} has no scale that turns its values into reflectance (in its tags, in an MTD_MSIL2A.xml beside it, "
            "as raster:bands or raster:scale); give boa_offset (-1000 from processing baseline 04.00 on, else 0)"
        )
    offset = 0.0 if product.offset_applied else band.offset
    if offset is None and product.baseline >= FIRST_BASELINE_WITH_OFFSET:
        raise InputError(
            f"{name} has a scale and no offset, although its processing baseline is {product.baseline}; "
            "give boa_offset (-1000, or 0 where it was applied already)"
        )
    return _finite(band.scale, "scale", name), _finite(offset or 0.0, "offset", name)


def _finite(value: Any, what: str, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{name}: found {what} {value!r}, expected a number")
    return float(value)


def _local_files(metadata: tuple[Path, ...], bands: dict[str, BandRaster], scl: BandRaster | None) -> tuple[Path, ...]:
    rasters = [raster.href for raster in [*bands.values(), *([scl] if scl else [])] if not raster.remote]
    return tuple(dict.fromkeys([*metadata, *(file for href in rasters for file in with_sidecar_files(Path(href)))]))


def _require_one_day(products: list[Product], scene: SceneConfig) -> None:
    days = {product.acquired: product.name for product in products if product.acquired}
    if scene.date is not None and days and set(days) != {str(scene.date)}:
        other = next(day for day in days if day != str(scene.date))
        raise InputError(f"date: found {scene.date}, but {days[other]} was acquired on {other}")
    if len(days) > 1:
        (first, one), (second, other) = sorted(days.items())[:2]
        raise InputError(f"products: found {one} of {first} and {other} of {second}, expected products of one day")


def _describe(product: Product, scene: SceneConfig) -> str:
    offsets = sorted({round(raster.offset / raster.scale, 3) for raster in product.bands.values()})
    scales = sorted({raster.scale for raster in product.bands.values()})
    origin = "of its metadata" if scene.boa_offset == "auto" else "of the event file"
    return (
        f"{product.name}: tile {product.tile or 'unknown'}, {product.acquired or 'no date'}, baseline "
        f"{product.baseline or 'unknown'}, offset {', '.join(f'{offset:g}' for offset in offsets)} {origin}, "
        f"scale {', '.join(f'{scale:g}' for scale in scales)}"
    )
