"""Small Sentinel-2 products for tests: those of the simulation, and what is odd in some of them."""

import datetime as dt
import re
from pathlib import Path

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin

from coslide.simulate.safe import NATIVE_M, Acquisition, write_jp2
from coslide.simulate.safe import write_safe as write_product

LEVEL_1C = {"MSIL2A": "MSIL1C", "S2MSI2A": "S2MSI1C", "Level-2A": "Level-1C"}


def write_safe(
    folder: Path,
    bands: dict[str, np.ndarray],
    *,
    crs="EPSG:32654",
    left=600000.0,
    top=4700040.0,
    baseline="05.09",
    offsets=None,
    quantification=10000,
    date="2018-09-11",
    tile="54TWN",
    short="2A",
    suffix=".jp2",
) -> Path:
    """Write a product into `folder` and return its SAFE folder.

    `bands` holds stored values by ESA's names (B02, B8A, SCL), each at its own pixel size. `offsets` are those of the
    ids 0 to 12; None leaves those of the baseline.
    """
    side = max(values.shape[0] * NATIVE_M[band] // 10 for band, values in bands.items())
    grid = GeoBox((side, side), from_origin(left, top, 10, 10), crs)
    sensed = dt.datetime.fromisoformat(f"{date}T01:26:51+00:00")
    angles = {"sun_zenith_deg": 40.1, "sun_azimuth_deg": 155.2}
    seen = Acquisition(sensed=sensed, tile=tile, baseline=baseline, relative_orbit=74, **angles)
    safe = write_product(folder, bands.items(), seen, grid)
    if offsets is not None:
        listed = "".join(f'<BOA_ADD_OFFSET band_id="{i}">{value}</BOA_ADD_OFFSET>' for i, value in enumerate(offsets))
        edit(safe / "MTD_MSIL2A.xml", r"(?s)<BOA_ADD_OFFSET .*</BOA_ADD_OFFSET>", listed)
    edit(safe / "MTD_MSIL2A.xml", r">10000</BOA_Q", f">{quantification}</BOA_Q")
    if suffix == ".tif":
        edit(safe / "MTD_MSIL2A.xml", "JPEG2000", "GeoTIFF")
        for image in sorted(safe.rglob("*.jp2")):
            _as_geotiff(image)
    return _as_level_1c(safe) if short == "1C" else safe


def write_image(path: Path, values: np.ndarray, *, crs, left, top, size, **tags) -> Path:
    """Write one band: lossless JPEG 2000 or tiled GeoTIFF, by the suffix of `path`."""
    transform = from_origin(left, top, size, size)
    if path.suffix == ".jp2":
        write_jp2(path, values, crs=crs, transform=transform)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "compress": "deflate", "tiled": True, "blockxsize": 128, "blockysize": 128}
    height, width = values.shape
    shape = {"count": 1, "height": height, "width": width, "dtype": values.dtype}
    nodata = tags.pop("nodata", None)
    with rasterio.open(path, "w", crs=crs, transform=transform, nodata=nodata, **shape, **profile) as file:
        file.write(values, 1)
        if tags:
            file.scales, file.offsets = (tags["scale"],), (tags["offset"],)
    return path


def edit(path: Path, old: str, new: str) -> None:
    """Put `new` where the expression `old` matches in a document."""
    path.write_text(re.sub(old, new, path.read_text("utf-8")), "utf-8")


def _as_geotiff(image):
    with rasterio.open(image) as file:
        values, crs, transform = file.read(1), file.crs, file.transform
    place = {"crs": crs, "left": transform.c, "top": transform.f, "size": transform.a}
    write_image(image.with_suffix(".tif"), values, **place)
    image.unlink()


def _as_level_1c(safe):
    for document in (safe / "MTD_MSIL2A.xml", safe / "manifest.safe"):
        for old, new in LEVEL_1C.items():
            edit(document, old, new)
    (safe / "MTD_MSIL2A.xml").rename(safe / "MTD_MSIL1C.xml")
    return safe.rename(safe.with_name(safe.name.replace("MSIL2A", "MSIL1C")))
