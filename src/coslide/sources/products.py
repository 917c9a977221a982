"""Satellite products in the forms that they come in: SAFE folders, folders of GeoTIFF or COG, STAC items."""

import re
from pathlib import Path

from coslide.config.schema import SceneConfig
from coslide.config.sensors import SENTINEL2
from coslide.errors import InputError
from coslide.io.http import redact_url
from coslide.sources.bands import Band, locate_band, open_band, product_driver
from coslide.sources.items import describe_item
from coslide.sources.safe import (
    BAND_IDS,
    FIRST_BASELINE_WITH_OFFSET,
    TILE,
    Product,
    ProductMetadata,
    Span,
    baseline_number,
    finite_number,
    inside,
    plain_band,
    read_product_metadata,
    read_time,
    require_one_overpass,
)
from coslide.sources.sensors import describe_sensor_product

_USUAL_QUANTIFICATION = 10000.0

_METADATA = re.compile(r"^(MTD_MSI(L1C|L2A)|S2\w_(OPER|USER)_MTD_SAF(L1C|L2A).*)\.xml$", re.IGNORECASE)
_BAND_FILE = re.compile(
    r"(?<![A-Za-z0-9])(?P<band>B(?:0?[1-9]|1[0-2]|8A)|SCL)(?![A-Za-z0-9])(?:.*_(?P<size>[126]0)m)?.*\.(?:tiff?|jp2)$",
    re.IGNORECASE,
)
_SENSING_TIME = re.compile(r"(?<!\d)20\d{6}T\d{6}(?!\d)")
_SAFE_FORM = "an unpacked SAFE folder (manifest.safe, MTD_MSIL2A.xml, GRANULE)"


def read_product(address: str | Path, scene: SceneConfig, root: Path) -> Product:
    """Open the rasters of a satellite product, with what turns their values into reflectance.

    Parameters
    ----------
    address
        A SAFE folder, a folder of GeoTIFF, or a STAC item, local or at an http address; or a product of another sensor
        (`coslide.sources.sensors`).
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
        product, bands = describe_item(address, root, wanted)
    elif (of_sensor := describe_sensor_product(address)) is not None:
        product, bands = of_sensor
    elif address.is_dir():
        product, bands = _describe_folder(address, wanted)
    else:
        forms = f"{_SAFE_FORM}, a folder of GeoTIFF or COG, a STAC item (.json or address), or Landsat 8/9 or Planet"
        raise InputError(f"{address}: is no product; expected {forms}")
    there = {band.name for band in bands}
    if lacking := [name for name, plain in names.items() if plain not in there]:
        known = [name for name in (*BAND_IDS, "SCL") if name in there]
        hint = "; choose with bands = [...]" if there else ""
        raise InputError(f"{product.name}: has no band {lacking[0]}; found {', '.join(known) or 'none'}{hint}")
    finest = {plain: _finest([band for band in bands if band.name == plain], product.name) for plain in wanted & there}
    named = [finest[plain]._replace(name=name) for name, plain in names.items()]
    if product.sensor and scene.boa_offset != "auto":
        raise InputError(
            f"{product.name}: found boa_offset = {scene.boa_offset:g}, which is for Sentinel-2; leave it out"
        )
    bands = named if product.sensor else [_with_radiometry(band, product.baseline, scene) for band in named]
    if "SCL" in finest:
        bands.append(finest["SCL"])
    rasters = {band.name: locate_band(band, of_product=True) for band in bands}
    return product._replace(rasters=rasters, sensor=product.sensor or SENTINEL2)


def _finest(bands: list[Band], product: str) -> Band:
    """Choose, of rasters of one band, the one with the smallest pixels; they are opened where metadata do not tell."""
    by_scale = sorted(bands, key=lambda band: band.scale is not None)  # of the same raster, that which states more
    bands = list({(band.href, band.number): band for band in by_scale}.values())
    sizes = [band.size_m for band in bands]
    if len(bands) > 1 and (min(sizes) <= 0 or sizes.count(min(sizes)) > 1):
        sizes = [abs(locate_band(band, of_product=True).geobox.affine.determinant) for band in bands]
    best = [redact_url(band.href) for band, size in zip(bands, sizes, strict=True) if size == min(sizes)]
    if len(best) > 1:
        raise InputError(f"{product}: found {' and '.join(best)} for {bands[0].name}, expected one of them")
    return bands[sizes.index(min(sizes))]


def _with_radiometry(band: Band, baseline: str, scene: SceneConfig) -> Band:
    """Decide on scale and offset of a band of a product."""
    name, fixed = redact_url(band.href), scene.boa_offset
    hint = "give boa_offset (-1000 from processing baseline 04.00 or Sen2Cor 2.10 on, 0 before or where it was applied)"
    if band.scale is None and fixed == "auto":
        where = "its tags, an MTD_MSIL2A.xml beside it, raster:bands or raster:scale"
        raise InputError(f"{name} has no scale that turns its values into reflectance, in {where}; {hint}")
    scale = 1 / _USUAL_QUANTIFICATION if band.scale is None else finite_number(band.scale)
    if scale is None or scale <= 0:
        raise InputError(f"{name}: found scale {band.scale!r}, expected a number above 0")
    if fixed != "auto":
        return band._replace(scale=scale, offset=fixed * scale)
    number = baseline_number(baseline)
    needed = bool(baseline) if number is None else number >= FIRST_BASELINE_WITH_OFFSET
    if (band.offset is None and needed) or band.offset != band.offset:  # NaN: the metadata should state one
        stated = f"its processing baseline is {baseline}" if baseline else "no processing baseline is stated"
        raise InputError(f"{name}: found a scale and no offset (BOA_ADD_OFFSET) of {band.name}, and {stated}; {hint}")
    if (offset := finite_number(band.offset or 0.0)) is None:
        raise InputError(f"{name}: found offset {band.offset!r}, expected a number")
    return band._replace(scale=scale, offset=offset)


def _describe_folder(folder: Path, wanted: set[str]) -> tuple[Product, list[Band]]:
    """Describe a SAFE folder or a folder of GeoTIFF.

    Rasters of a SAFE folder are those that its metadata list, others are found by their names.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror})") from None
    is_safe = (folder / "manifest.safe").is_file() or (folder / "GRANULE").is_dir()
    files = [path for path in entries if _METADATA.match(path.name)][:1]
    if is_safe and not files:
        raise InputError(f"{folder}: found no MTD_MSIL2A.xml, expected {_SAFE_FORM}")
    metadata = read_product_metadata(files[0]) if files else ProductMetadata()
    rasters = [inside(folder, image) for image in metadata.images] if is_safe else entries
    bands: dict[tuple[str, float], Band] = {}
    times: list[tuple[str, Span | None]] = []
    for raster in rasters:
        if (match := _BAND_FILE.search(raster.name)) is None:
            continue
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
        if name in wanted:
            read = [read_time(text) for text in _SENSING_TIME.findall(raster.name)[:1]]
            times += [(raster.name, (time, time)) for time in read if time]
        bands[name, size_m] = Band(name, str(raster), scale=scale, offset=offset, size_m=size_m)
    if not bands:
        unpacked = [path.name for path in entries if path.suffix.lower() == ".safe" and path.is_dir()]
        hint = f"; name {unpacked[0]} in it" if unpacked else ""
        expected = f"expected GeoTIFF files such as B02.tif or T54TWN_B02_10m.tif, or {_SAFE_FORM}{hint}"
        raise InputError(f"{folder}: found no band{' in its metadata' if is_safe else ''}, {expected}")
    in_names = require_one_overpass(times, str(folder))
    sensed = (metadata.sensed, metadata.sensed) if metadata.sensed else in_names
    tile = "".join(TILE.findall(metadata.name or folder.name)[:1])
    return Product(str(folder), {}, sensed, metadata.baseline, tile, tuple(files)), list(bands.values())
