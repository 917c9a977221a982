"""Sentinel-2 L2A products as ESA packs them (SAFE): names, lossless JPEG 2000, and the XML that readers need."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from coslide.io.atomic import whole_output
from coslide.io.executor import available_processors
from coslide.simulate.documents import render, utc_text
from coslide.sources.safe import FIRST_BASELINE_WITH_OFFSET, baseline_number

Stored = NDArray[np.uint16] | NDArray[np.uint8]
"""A band as its file holds it, or the classes of SCL."""

QUANTIFICATION = 10_000
NATIVE_M = {
    "B02": 10, "B03": 10, "B04": 10, "B08": 10,
    "B05": 20, "B06": 20, "B07": 20, "B8A": 20, "B11": 20, "B12": 20, "SCL": 20,
    "B01": 60, "B09": 60,
}  # fmt: skip
"""Bands of L2A in the order in which a product lists them, and their pixels in metres."""

_PROCESSING = timedelta(hours=3)  # from the pass to the product
_CYCLE_ORBITS, _CYCLE = 143, timedelta(days=10)
_REAL_PASS, _REAL_ORBIT, _REAL_RELATIVE = datetime(2022, 10, 5, 11, 54, 11, tzinfo=UTC), 38058, 23
_BLOCK_PX = {10: 1024, 20: 640, 60: 192}  # tiles of the JPEG 2000 of ESA
_CLASSES = (
    "NODATA_PIXEL", "SATURATED_DEFECTIVE_PIXEL", "DARK_FEATURES", "CLOUD_SHADOW", "VEGETATION", "NOT_VEGETATED",
    "WATER", "UNCLASSIFIED", "MEDIUM_PROBA_CLOUDS", "HIGH_PROBA_CLOUDS", "THIN_CIRRUS", "SNOW_ICE",
)  # fmt: skip
_CLOUDS = slice(8, 11)


@dataclass(frozen=True, kw_only=True)
class Acquisition:
    """When and how Sentinel-2A sees a tile, how ESA processes it, and the names that follow from both.

    `sensed` is the time of the pass, with its time zone, and `baseline` that of the processing, such as ``"04.00"``,
    from which on stored values have an offset. The sun stands so at the middle of the tile, azimuth clockwise from
    north. The default of `relative_orbit`, 1 to 143, passes over the place of `coslide.simulate.frame`.

    Examples
    --------
    >>> noon = datetime(2022, 5, 15, 23, 36, 51, tzinfo=UTC)
    >>> seen = Acquisition(sensed=noon, tile="59SLV", baseline="04.00", sun_zenith_deg=24.6, sun_azimuth_deg=130.0)
    >>> seen.name
    'S2A_MSIL2A_20220515T233651_N0400_R130_T59SLV_20220516T023651.SAFE'
    >>> seen.image("B04").rpartition("/")[2], seen.offset_dn
    ('T59SLV_20220515T233651_B04_10m', -1000)
    """

    sensed: datetime
    tile: str
    baseline: str
    sun_zenith_deg: float
    sun_azimuth_deg: float
    relative_orbit: int = 130

    @property
    def made(self) -> datetime:
        """Time when the product was made."""
        return self.sensed + _PROCESSING

    @property
    def offset_dn(self) -> int:
        """What is added to a stored value before it is divided by 10000 [DN]: 0 before baseline 04.00, then -1000."""
        return -1000 if (baseline_number(self.baseline) or 0) >= FIRST_BASELINE_WITH_OFFSET else 0

    @property
    def absolute_orbit(self) -> int:
        """Number of the orbit since launch: of those with the relative orbit, the one that is nearest in time.

        Counted from a product of 5 October 2022 (orbit 38058, relative orbit 23); 143 orbits take 10 days.
        """
        about = _REAL_ORBIT + (self.sensed - _REAL_PASS) / _CYCLE * _CYCLE_ORBITS
        first = _REAL_ORBIT + self.relative_orbit - _REAL_RELATIVE
        return first + _CYCLE_ORBITS * round((about - first) / _CYCLE_ORBITS)

    @property
    def name(self) -> str:
        """Name of the product, with ``.SAFE``."""
        orbit = f"N{self.baseline.replace('.', '')}_R{self.relative_orbit:03d}"
        return f"S2A_MSIL2A_{utc_text(self.sensed)}_{orbit}_T{self.tile}_{utc_text(self.made)}.SAFE"

    @property
    def granule(self) -> str:
        """Folder of the granule in the product."""
        return f"GRANULE/L2A_T{self.tile}_A{self.absolute_orbit:06d}_{utc_text(self.sensed)}"

    @property
    def datastrip(self) -> str:
        """Folder of the datastrip in the product, of a processing centre that is called as no real one."""
        return f"DATASTRIP/DS_SIMU_{utc_text(self.made)}_S{utc_text(self.sensed)}"

    def image(self, band: str) -> str:
        """Locate a band in the product, without suffix."""
        size = f"{NATIVE_M[band]}m"
        return f"{self.granule}/IMG_DATA/R{size}/T{self.tile}_{utc_text(self.sensed)}_{band}_{size}"


def write_safe(folder: Path, bands: Iterable[tuple[str, Stored]], seen: Acquisition, grid: GeoBox) -> Path:
    """Write the SAFE folder of a product into `folder`, whole or not at all; the same values, the same bytes.

    `bands` are names of ESA (B02, B8A, SCL) with stored values, (row, col) at the pixel size of `NATIVE_M`: uint16,
    reflectance * 10000 - `Acquisition.offset_dn`, with 0 for nodata and 65535 for saturated, and uint8 for
    the classes of SCL. `grid` has pixels of 10 m, in UTM. Returns ``folder / seen.name``.

    Of the Sentinel-2 Products Specification Document (ESA, S2-PDGS-TAS-DI-PSD, issue 14) only elements are written that
    coslide, stactools and GDAL read. The shares of classes are counted in SCL; without it they are 0.

    Raises
    ------
    InputError
        If the product is there already or cannot be written.
    ValueError
        If a band has another name, type or shape, or `grid` other pixels.
    """
    affine = grid.affine
    if affine[:6] != (10, 0, affine.c, 0, -10, affine.f):
        raise ValueError(f"grid: found {affine.a} x {affine.e} pixels, expected 10 m, north up")
    counts = np.zeros(len(_CLASSES), dtype=np.int64)
    with whole_output(folder / seen.name) as part:
        for name, values in bands:
            if name not in NATIVE_M:
                raise ValueError(f"bands: found {name!r}, expected names such as {', '.join(NATIVE_M)}")
            size, dtype = NATIVE_M[name], "uint8" if name == "SCL" else "uint16"
            shape = tuple(side * 10 // size for side in grid.shape)
            if values.dtype != dtype or values.shape != shape:
                raise ValueError(f"{name}: found {values.dtype} {values.shape}, expected {dtype} {shape}")
            path, transform = part / f"{seen.image(name)}.jp2", affine * Affine.scale(size / 10)
            write_jp2(path, values, crs=str(grid.crs), transform=transform, block=_BLOCK_PX[size])
            if name == "SCL":
                counts = np.bincount(values.ravel(), minlength=len(_CLASSES))[: len(_CLASSES)]
        valid = max(counts[1:].sum(), 1)
        percent = dict(zip(_CLASSES, 100 * counts / valid, strict=True))
        percent |= {"CLOUDY_PIXEL": 100 * counts[_CLOUDS].sum() / valid}
        percent["NODATA_PIXEL"] = 100 * counts[0] / max(counts.sum(), 1)
        written = [name for name in NATIVE_M if (part / f"{seen.image(name)}.jp2").is_file()]
        corners = Transformer.from_crs(str(grid.crs), "EPSG:4326").transform(*grid.extent.exterior.xy)
        footprint = " ".join(f"{lat:.9f} {lon:.9f}" for lat, lon in zip(*corners, strict=True))
        content = {"seen": seen, "grid": grid, "bands": written, "percent": percent, "footprint": footprint}
        for template, href in {
            "product.xml": "MTD_MSIL2A.xml",
            "granule.xml": f"{seen.granule}/MTD_TL.xml",
            "datastrip.xml": f"{seen.datastrip}/MTD_DS.xml",
            "inspire.xml": "INSPIRE.xml",
            "manifest.xml": "manifest.safe",
        }.items():
            (part / href).parent.mkdir(parents=True, exist_ok=True)
            (part / href).write_text(render(template, **content), encoding="utf-8")
    return folder / seen.name


def write_jp2(path: Path, values: Stored, *, crs: str | None, transform: Affine, block: int = 1024) -> None:
    """Write an image of one band, (row, col), as lossless JPEG 2000; the same values, the same bytes.

    Folders above `path` are made; `block` is the side of the tiles in pixels.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES", "YCBCR420": "NO",
        "tiled": True, "blockxsize": block, "blockysize": block,
        "count": 1, "height": values.shape[0], "width": values.shape[1], "dtype": values.dtype,
    }  # fmt: skip
    # rasterio holds the interpreter's lock while a JPEG 2000 is coded, so the threads are those of the coder. It passes
    # the width of tiles on only with `tiled`, an option that this format lacks and GDAL would warn of.
    options = {"GDAL_NUM_THREADS": str(available_processors()), "GDAL_VALIDATE_CREATION_OPTIONS": "NO"}
    with rasterio.Env(**options), rasterio.open(path, "w", crs=crs, transform=transform, **profile) as file:
        file.write(values, 1)
