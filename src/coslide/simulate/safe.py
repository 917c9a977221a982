"""Sentinel-2 L2A products as ESA packs them (SAFE): names, lossless JPEG 2000, and the XML that readers need."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer

from coslide.io.atomic import whole_output
from coslide.io.executor import available_processors
from coslide.sources.safe import BAND_IDS, FIRST_BASELINE_WITH_OFFSET

QUANTIFICATION = 10_000
NATIVE_M = {
    "B02": 10, "B03": 10, "B04": 10, "B08": 10,
    "B05": 20, "B06": 20, "B07": 20, "B8A": 20, "B11": 20, "B12": 20, "SCL": 20,
    "B01": 60, "B09": 60,
}  # fmt: skip
"""Bands of L2A in the order in which a product lists them, and their pixels in metres."""

_OFFSET_DN = -1000
_PROCESSING = timedelta(hours=3)  # from the pass to the product
_CENTRE = "SIMU"  # which no real processing centre is called
_CYCLE_ORBITS, _CYCLE = 143, timedelta(days=10)
_REAL_PASS, _REAL_ORBIT, _REAL_RELATIVE = datetime(2022, 10, 5, 11, 54, 11, tzinfo=UTC), 38058, 23
_BLOCK_PX = {10: 1024, 20: 640, 60: 192}  # tiles of the JPEG 2000 of ESA
_CLASSES = (
    "NODATA_PIXEL", "SATURATED_DEFECTIVE_PIXEL", "DARK_FEATURES", "CLOUD_SHADOW", "VEGETATION", "NOT_VEGETATED",
    "WATER", "UNCLASSIFIED", "MEDIUM_PROBA_CLOUDS", "HIGH_PROBA_CLOUDS", "THIN_CIRRUS", "SNOW_ICE",
)  # fmt: skip
_CLOUDS = slice(8, 11)
_PSD = "https://psd-14.sentinel2.eo.esa.int/PSD"


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
    def offset_dn(self) -> int:
        """What is added to a stored value before it is divided by 10000 [DN]: 0 before baseline 04.00, then -1000."""
        return _OFFSET_DN if self.baseline >= FIRST_BASELINE_WITH_OFFSET else 0

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
        return f"S2A_MSIL2A_{_compact(self.sensed)}_{orbit}_T{self.tile}_{_compact(self.sensed + _PROCESSING)}.SAFE"

    @property
    def granule(self) -> str:
        """Folder of the granule in the product."""
        return f"GRANULE/L2A_T{self.tile}_A{self.absolute_orbit:06d}_{_compact(self.sensed)}"

    @property
    def datastrip(self) -> str:
        """Folder of the datastrip in the product."""
        return f"DATASTRIP/DS_{_CENTRE}_{_compact(self.sensed + _PROCESSING)}_S{_compact(self.sensed)}"

    @property
    def granule_id(self) -> str:
        """Identifier of the granule in the archive of ESA."""
        made = f"{_CENTRE}_{_compact(self.sensed + _PROCESSING)}"
        return f"S2A_OPER_MSI_L2A_TL_{made}_A{self.absolute_orbit:06d}_T{self.tile}_N{self.baseline}"

    def image(self, band: str) -> str:
        """Locate a band in the product, without suffix."""
        size = f"{NATIVE_M[band]}m"
        return f"{self.granule}/IMG_DATA/R{size}/T{self.tile}_{_compact(self.sensed)}_{band}_{size}"


def write_safe(
    folder: Path, bands: Iterable[tuple[str, NDArray[np.unsignedinteger[Any]]]], seen: Acquisition, grid: GeoBox
) -> Path:
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
    written = set()
    with whole_output(folder / seen.name) as part:
        for name, values in bands:
            _require_band(name, values, grid)
            size = NATIVE_M[name]
            path, transform = part / f"{seen.image(name)}.jp2", affine * Affine.scale(size / 10)
            write_jp2(path, values, crs=str(grid.crs), transform=transform, block=_BLOCK_PX[size])
            written.add(name)
            if name == "SCL":
                counts = np.bincount(values.ravel(), minlength=len(_CLASSES))[: len(_CLASSES)]
        images = {name: seen.image(name) for name in NATIVE_M if name in written}
        documents = {
            "S2_Level-2A_Product_Metadata": ("MTD_MSIL2A.xml", _product_xml(seen, grid, list(images.values()), counts)),
            "S2_Level-2A_Tile1_Metadata": (f"{seen.granule}/MTD_TL.xml", _granule_xml(seen, grid, counts)),
            "S2_Level-2A_Datastrip1_Metadata": (f"{seen.datastrip}/MTD_DS.xml", _DATASTRIP.format(seen.baseline)),
            "INSPIRE_Metadata": ("INSPIRE.xml", _INSPIRE.format(seen.name)),
        }
        hrefs = {key: href for key, (href, _) in documents.items()}
        hrefs |= {f"IMG_DATA_Band_{name}_{NATIVE_M[name]}m_Tile1_Data": f"{path}.jp2" for name, path in images.items()}
        for href, text in [*documents.values(), ("manifest.safe", _manifest_xml(hrefs))]:
            (part / href).parent.mkdir(parents=True, exist_ok=True)
            (part / href).write_text(f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n', encoding="utf-8")
    return folder / seen.name


def write_jp2(
    path: Path, values: NDArray[np.unsignedinteger[Any]], *, crs: str | None, transform: Affine, block: int = 1024
) -> None:
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


def _require_band(name: str, values: NDArray[Any], grid: GeoBox) -> None:
    if name not in NATIVE_M:
        raise ValueError(f"bands: found {name!r}, expected names such as {', '.join(NATIVE_M)}")
    dtype = "uint8" if name == "SCL" else "uint16"
    shape = tuple(side * 10 // NATIVE_M[name] for side in grid.shape)
    if values.dtype != dtype or values.shape != shape:
        raise ValueError(f"{name}: found {values.dtype} {values.shape}, expected {dtype} {shape}")


def _compact(time: datetime) -> str:
    """Write a time in UTC as the names of products have it."""
    return f"{time.astimezone(UTC):%Y%m%dT%H%M%S}"


# What is filled in are numbers, names and paths made of those: nothing that XML would escape.
_DATASTRIP = f"""<n1:Level-2A_DataStrip_ID xmlns:n1="{_PSD}/S2_PDI_Level-2A_Datastrip_Metadata.xsd"><n1:General_Info>
<Processing_Info><PROCESSING_BASELINE>{{}}</PROCESSING_BASELINE><PROCESSING_CENTER>{_CENTRE}</PROCESSING_CENTER>
</Processing_Info></n1:General_Info></n1:Level-2A_DataStrip_ID>"""
_INSPIRE = """<gmd:MD_Metadata xmlns:gmd="http://www.isotc211.org/2005/gmd" xmlns:gco="http://www.isotc211.org/2005/gco">
<gmd:fileIdentifier><gco:CharacterString>{}</gco:CharacterString></gmd:fileIdentifier>
<gmd:identificationInfo><gmd:MD_DataIdentification><gmd:abstract><gco:CharacterString>
Simulated by coslide. No satellite has seen this place.
</gco:CharacterString></gmd:abstract></gmd:MD_DataIdentification></gmd:identificationInfo></gmd:MD_Metadata>"""


def _product_xml(seen: Acquisition, grid: GeoBox, images: list[str], counts: NDArray[np.int64]) -> str:
    """Compose ``MTD_MSIL2A.xml``; `images` are paths without suffix, `counts` the pixels of each class of SCL."""
    left, bottom, right, top = grid.boundingbox.bbox
    lat, lon = Transformer.from_crs(str(grid.crs), "EPSG:4326").transform(
        [left, left, right, right, left], [top, bottom, bottom, top, top]
    )
    footprint = " ".join(f"{a:.9f} {b:.9f}" for a, b in zip(lat, lon, strict=True))
    files = "\n".join(f"<IMAGE_FILE>{image}</IMAGE_FILE>" for image in images)
    offsets = "".join(f'<BOA_ADD_OFFSET band_id="{k}">{seen.offset_dn}</BOA_ADD_OFFSET>' for k in range(len(BAND_IDS)))
    listed = f"<BOA_ADD_OFFSET_VALUES_LIST>{offsets}</BOA_ADD_OFFSET_VALUES_LIST>\n" if seen.offset_dn else ""
    sensed, made = (
        f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S.000Z}" for time in (seen.sensed, seen.sensed + _PROCESSING)
    )
    datastrip = f"S2A_OPER_MSI_L2A_{seen.datastrip.rpartition('/')[2]}_N{seen.baseline}"
    return f"""<n1:Level-2A_User_Product xmlns:n1="{_PSD}/User_Product_Level-2A.xsd">
<n1:General_Info><Product_Info>
<PRODUCT_START_TIME>{sensed}</PRODUCT_START_TIME><GENERATION_TIME>{made}</GENERATION_TIME>
<PRODUCT_URI>{seen.name}</PRODUCT_URI><PROCESSING_LEVEL>Level-2A</PROCESSING_LEVEL><PRODUCT_TYPE>S2MSI2A</PRODUCT_TYPE>
<PROCESSING_BASELINE>{seen.baseline}</PROCESSING_BASELINE>
<Datatake datatakeIdentifier="GS2A_{_compact(seen.sensed)}_{seen.absolute_orbit:06d}_N{seen.baseline}">
<SPACECRAFT_NAME>Sentinel-2A</SPACECRAFT_NAME><DATATAKE_TYPE>INS-NOBS</DATATAKE_TYPE>
<SENSING_ORBIT_NUMBER>{seen.relative_orbit}</SENSING_ORBIT_NUMBER>
<SENSING_ORBIT_DIRECTION>DESCENDING</SENSING_ORBIT_DIRECTION>
</Datatake>
<Query_Options><PRODUCT_FORMAT>SAFE_COMPACT</PRODUCT_FORMAT></Query_Options>
<Product_Organisation><Granule_List>
<Granule datastripIdentifier="{datastrip}" granuleIdentifier="{seen.granule_id}" imageFormat="JPEG2000">
{files}
</Granule>
</Granule_List></Product_Organisation></Product_Info>
<Product_Image_Characteristics><QUANTIFICATION_VALUES_LIST>
<BOA_QUANTIFICATION_VALUE unit="none">{QUANTIFICATION}</BOA_QUANTIFICATION_VALUE></QUANTIFICATION_VALUES_LIST>
{listed}<Reflectance_Conversion/>
</Product_Image_Characteristics></n1:General_Info>
<n1:Geometric_Info><Product_Footprint><Product_Footprint><Global_Footprint>
<EXT_POS_LIST>{footprint}</EXT_POS_LIST>
</Global_Footprint></Product_Footprint></Product_Footprint></n1:Geometric_Info>
<n1:Quality_Indicators_Info>
<Cloud_Coverage_Assessment>{_percentage(counts, _CLOUDS):.6f}</Cloud_Coverage_Assessment>
</n1:Quality_Indicators_Info></n1:Level-2A_User_Product>"""


def _granule_xml(seen: Acquisition, grid: GeoBox, counts: NDArray[np.int64]) -> str:
    """Compose ``MTD_TL.xml``; parameters as `_product_xml`."""
    (rows, columns), crs = grid.shape, CRS.from_user_input(str(grid.crs))
    geocoding = "\n".join(
        f'<Size resolution="{size}"><NROWS>{rows * 10 // size}</NROWS><NCOLS>{columns * 10 // size}</NCOLS></Size>'
        f'<Geoposition resolution="{size}"><ULX>{grid.affine.c:.0f}</ULX><ULY>{grid.affine.f:.0f}</ULY>'
        f"<XDIM>{size}</XDIM><YDIM>-{size}</YDIM></Geoposition>"
        for size in _BLOCK_PX
    )
    shares = {name: _percentage(counts, slice(k, k + 1)) for k, name in enumerate(_CLASSES)}
    shares |= {"CLOUDY_PIXEL": _percentage(counts, _CLOUDS)}
    shares["NODATA_PIXEL"] = 100 * float(counts[0]) / max(int(counts.sum()), 1)
    classes = "\n".join(f"<{name}_PERCENTAGE>{share:.6f}</{name}_PERCENTAGE>" for name, share in shares.items())
    return f"""<n1:Level-2A_Tile_ID xmlns:n1="{_PSD}/S2_PDI_Level-2A_Tile_Metadata.xsd">
<n1:General_Info><TILE_ID>{seen.granule_id}</TILE_ID></n1:General_Info>
<n1:Geometric_Info><Tile_Geocoding>
<HORIZONTAL_CS_NAME>{crs.name.replace("WGS 84", "WGS84")}</HORIZONTAL_CS_NAME>
<HORIZONTAL_CS_CODE>EPSG:{crs.to_epsg()}</HORIZONTAL_CS_CODE>
{geocoding}
</Tile_Geocoding><Tile_Angles><Mean_Sun_Angle>
<ZENITH_ANGLE unit="deg">{seen.sun_zenith_deg:.9f}</ZENITH_ANGLE>
<AZIMUTH_ANGLE unit="deg">{seen.sun_azimuth_deg:.9f}</AZIMUTH_ANGLE>
</Mean_Sun_Angle><Mean_Viewing_Incidence_Angle_List><Mean_Viewing_Incidence_Angle bandId="1">
<ZENITH_ANGLE unit="deg">3.0</ZENITH_ANGLE><AZIMUTH_ANGLE unit="deg">104.0</AZIMUTH_ANGLE>
</Mean_Viewing_Incidence_Angle></Mean_Viewing_Incidence_Angle_List></Tile_Angles></n1:Geometric_Info>
<n1:Quality_Indicators_Info><Image_Content_QI>
{classes}
</Image_Content_QI></n1:Quality_Indicators_Info></n1:Level-2A_Tile_ID>"""


def _manifest_xml(hrefs: dict[str, str]) -> str:
    """Compose ``manifest.safe``, which lists all other files by their keys."""
    objects = "\n".join(
        f'<dataObject ID="{key}"><byteStream><fileLocation href="./{href}"/></byteStream></dataObject>'
        for key, href in hrefs.items()
    )
    return f"""<xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1"><dataObjectSection>
{objects}
</dataObjectSection></xfdu:XFDU>"""


def _percentage(counts: NDArray[np.int64], classes: slice) -> float:
    """Compute the share of classes among valid pixels, in percent."""
    return 100 * float(counts[classes].sum()) / max(int(counts[1:].sum()), 1)
