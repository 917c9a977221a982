"""The XML documents of a Sentinel-2 L2A product.

What is put into them are numbers, checked names (`Acquisition`) and paths made of those: nothing that XML would escape.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer

from coslide.simulate.acquisition import QUANTIFICATION, Acquisition, iso
from coslide.sources.safe import BAND_IDS

_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_PSD = "https://psd-14.sentinel2.eo.esa.int/PSD"
_RESOLUTIONS_M = (10, 20, 60)

# Of Sentinel-2A, in the order of BAND_IDS: cells [m]; shortest, longest and central wavelength [nm]; irradiance of the
# sun [W/m2/um]; as the metadata of its products give them.
_SPECTRUM = (
    (60, 412, 456, 442.7, 1884.69),
    (10, 456, 533, 492.7, 1959.66),
    (10, 538, 583, 559.8, 1823.24),
    (10, 646, 684, 664.6, 1512.06),
    (20, 695, 714, 704.1, 1424.64),
    (20, 731, 749, 740.5, 1287.61),
    (20, 769, 797, 782.8, 1162.08),
    (10, 760, 907, 832.8, 1041.63),
    (20, 837, 881, 864.7, 955.32),
    (60, 932, 958, 945.1, 812.92),
    (60, 1337, 1412, 1373.5, 367.15),
    (20, 1539, 1682, 1613.7, 245.59),
    (20, 2078, 2320, 2202.4, 85.25),
)
_CLASSES = (
    ("SC_NODATA", "NODATA_PIXEL_PERCENTAGE"),
    ("SC_SATURATED_DEFECTIVE", "SATURATED_DEFECTIVE_PIXEL_PERCENTAGE"),
    ("SC_DARK_FEATURE_SHADOW", "DARK_FEATURES_PERCENTAGE"),
    ("SC_CLOUD_SHADOW", "CLOUD_SHADOW_PERCENTAGE"),
    ("SC_VEGETATION", "VEGETATION_PERCENTAGE"),
    ("SC_NOT_VEGETATED", "NOT_VEGETATED_PERCENTAGE"),
    ("SC_WATER", "WATER_PERCENTAGE"),
    ("SC_UNCLASSIFIED", "UNCLASSIFIED_PERCENTAGE"),
    ("SC_CLOUD_MEDIUM_PROBA", "MEDIUM_PROBA_CLOUDS_PERCENTAGE"),
    ("SC_CLOUD_HIGH_PROBA", "HIGH_PROBA_CLOUDS_PERCENTAGE"),
    ("SC_THIN_CIRRUS", "THIN_CIRRUS_PERCENTAGE"),
    ("SC_SNOW_ICE", "SNOW_ICE_PERCENTAGE"),
)
_CLOUDS = slice(8, 11)


class Part(NamedTuple):
    """A file of a product as the manifest lists it: identifier, path in the product, size in bytes, SHA3-256."""

    key: str
    href: str
    size: int
    digest: str

    @classmethod
    def of(cls, key: str, folder: Path, href: str) -> "Part":
        """Return the part that lies at `href` in `folder`."""
        path = folder / href
        with path.open("rb") as file:
            return cls(key, href, path.stat().st_size, hashlib.file_digest(file, "sha3_256").hexdigest())


def product_xml(seen: Acquisition, grid: GeoBox, images: list[str], counts: NDArray[np.int64]) -> str:
    """Return the document ``MTD_MSIL2A.xml``.

    Parameters
    ----------
    seen, grid
        As `coslide.simulate.safe.write_safe`.
    images
        Paths of the bands in the product, without suffix.
    counts
        How many cells of the scene classification each of its 12 classes has.
    """
    files = "\n".join(f"<IMAGE_FILE>{image}</IMAGE_FILE>" for image in images)
    return f"""{_HEAD}<n1:Level-2A_User_Product xmlns:n1="{_PSD}/User_Product_Level-2A.xsd">
<n1:General_Info>
<Product_Info>
<PRODUCT_START_TIME>{iso(seen.sensed)}</PRODUCT_START_TIME>
<PRODUCT_STOP_TIME>{iso(seen.sensed)}</PRODUCT_STOP_TIME>
<PRODUCT_URI>{seen.name}</PRODUCT_URI>
<PROCESSING_LEVEL>Level-2A</PROCESSING_LEVEL>
<PRODUCT_TYPE>S2MSI2A</PRODUCT_TYPE>
<PROCESSING_BASELINE>{seen.baseline}</PROCESSING_BASELINE>
<GENERATION_TIME>{iso(seen.generated)}</GENERATION_TIME>
<PREVIEW_IMAGE_URL>Not applicable</PREVIEW_IMAGE_URL>
<PREVIEW_GEO_INFO>Not applicable</PREVIEW_GEO_INFO>
<Datatake datatakeIdentifier="{seen.datatake_id}">
{_datatake(seen)}
</Datatake>
<Query_Options completeSingleTile="true"><PRODUCT_FORMAT>SAFE_COMPACT</PRODUCT_FORMAT></Query_Options>
<Product_Organisation><Granule_List>
<Granule datastripIdentifier="{seen.datastrip_id}" granuleIdentifier="{seen.granule_id}" imageFormat="JPEG2000">
{files}
</Granule>
</Granule_List></Product_Organisation>
</Product_Info>
<Product_Image_Characteristics>
{_characteristics(seen)}
</Product_Image_Characteristics>
</n1:General_Info>
<n1:Geometric_Info>
<Product_Footprint>
<Product_Footprint><Global_Footprint><EXT_POS_LIST>{_footprint(grid)}</EXT_POS_LIST></Global_Footprint>
</Product_Footprint>
<RASTER_CS_TYPE>POINT</RASTER_CS_TYPE><PIXEL_ORIGIN>1</PIXEL_ORIGIN>
</Product_Footprint>
<Coordinate_Reference_System>
<GEO_TABLES version="1">EPSG</GEO_TABLES><HORIZONTAL_CS_TYPE>GEOGRAPHIC</HORIZONTAL_CS_TYPE>
</Coordinate_Reference_System>
</n1:Geometric_Info>
<n1:Quality_Indicators_Info>
<Cloud_Coverage_Assessment>{_cloud_percentage(counts):.6f}</Cloud_Coverage_Assessment>
<Image_Content_QI>
{_class_percentages(counts)}
</Image_Content_QI>
</n1:Quality_Indicators_Info>
</n1:Level-2A_User_Product>
"""


def granule_xml(seen: Acquisition, grid: GeoBox, counts: NDArray[np.int64]) -> str:
    """Return the document ``MTD_TL.xml``; parameters as `product_xml`."""
    (rows, columns), left, top = grid.shape, grid.affine.c, grid.affine.f
    crs = CRS.from_user_input(str(grid.crs))
    sizes = "\n".join(
        f'<Size resolution="{cell}"><NROWS>{rows * 10 // cell}</NROWS><NCOLS>{columns * 10 // cell}</NCOLS></Size>'
        for cell in _RESOLUTIONS_M
    )
    positions = "\n".join(
        f'<Geoposition resolution="{cell}"><ULX>{left:.0f}</ULX><ULY>{top:.0f}</ULY>'
        f"<XDIM>{cell}</XDIM><YDIM>-{cell}</YDIM></Geoposition>"
        for cell in _RESOLUTIONS_M
    )
    views = "\n".join(
        f'<Mean_Viewing_Incidence_Angle bandId="{band}">{_angles(seen.view_zenith_deg, seen.view_azimuth_deg)}'
        "</Mean_Viewing_Incidence_Angle>"
        for band in range(len(BAND_IDS))
    )
    return f"""{_HEAD}<n1:Level-2A_Tile_ID xmlns:n1="{_PSD}/S2_PDI_Level-2A_Tile_Metadata.xsd">
<n1:General_Info>
<TILE_ID metadataLevel="Brief">{seen.granule_id}</TILE_ID>
<DATASTRIP_ID metadataLevel="Standard">{seen.datastrip_id}</DATASTRIP_ID>
<DOWNLINK_PRIORITY metadataLevel="Standard">NOMINAL</DOWNLINK_PRIORITY>
<SENSING_TIME metadataLevel="Standard">{iso(seen.sensed)}</SENSING_TIME>
{_archiving(seen)}
</n1:General_Info>
<n1:Geometric_Info>
<Tile_Geocoding metadataLevel="Brief">
<HORIZONTAL_CS_NAME>{crs.name.replace("WGS 84", "WGS84")}</HORIZONTAL_CS_NAME>
<HORIZONTAL_CS_CODE>EPSG:{crs.to_epsg()}</HORIZONTAL_CS_CODE>
{sizes}
{positions}
</Tile_Geocoding>
<Tile_Angles metadataLevel="Standard">
<Mean_Sun_Angle>{_angles(seen.sun_zenith_deg, seen.sun_azimuth_deg)}</Mean_Sun_Angle>
<Mean_Viewing_Incidence_Angle_List>
{views}
</Mean_Viewing_Incidence_Angle_List>
</Tile_Angles>
</n1:Geometric_Info>
<n1:Quality_Indicators_Info metadataLevel="Standard">
<Image_Content_QI>
<CLOUDY_PIXEL_PERCENTAGE>{_cloud_percentage(counts):.6f}</CLOUDY_PIXEL_PERCENTAGE>
{_class_percentages(counts)}
</Image_Content_QI>
</n1:Quality_Indicators_Info>
</n1:Level-2A_Tile_ID>
"""


def datastrip_xml(seen: Acquisition) -> str:
    """Return the document ``MTD_DS.xml``."""
    return f"""{_HEAD}<n1:Level-2A_DataStrip_ID xmlns:n1="{_PSD}/S2_PDI_Level-2A_Datastrip_Metadata.xsd">
<n1:General_Info>
<Datatake_Info datatakeIdentifier="{seen.datatake_id}">
{_datatake(seen)}
</Datatake_Info>
<Datastrip_Time_Info>
<DATASTRIP_SENSING_START>{iso(seen.sensed)}</DATASTRIP_SENSING_START>
<DATASTRIP_SENSING_STOP>{iso(seen.sensed)}</DATASTRIP_SENSING_STOP>
</Datastrip_Time_Info>
<Processing_Info>
<PROCESSING_BASELINE>{seen.baseline}</PROCESSING_BASELINE>
<UTC_DATE_TIME>{iso(seen.generated)}</UTC_DATE_TIME>
<PROCESSING_CENTER>{seen.centre}</PROCESSING_CENTER>
</Processing_Info>
{_archiving(seen)}
</n1:General_Info>
</n1:Level-2A_DataStrip_ID>
"""


def inspire_xml(seen: Acquisition, grid: GeoBox) -> str:
    """Return the document ``INSPIRE.xml`` (ISO 19139), which says in words that nobody saw this ground."""
    places = np.array(_footprint(grid).split(), dtype=np.float64)
    south, north, west, east = places[::2].min(), places[::2].max(), places[1::2].min(), places[1::2].max()
    bounds = {"westBoundLongitude": west, "eastBoundLongitude": east, "southBoundLatitude": south}
    corners = "\n".join(
        f"<gmd:{tag}><gco:Decimal>{value:.9f}</gco:Decimal></gmd:{tag}>"
        for tag, value in {**bounds, "northBoundLatitude": north}.items()
    )
    return f"""{_HEAD}<gmd:MD_Metadata xmlns:gmd="http://www.isotc211.org/2005/gmd"
 xmlns:gco="http://www.isotc211.org/2005/gco">
<gmd:fileIdentifier><gco:CharacterString>{seen.name}</gco:CharacterString></gmd:fileIdentifier>
<gmd:dateStamp><gco:Date>{iso(seen.generated)[:10]}</gco:Date></gmd:dateStamp>
<gmd:identificationInfo><gmd:MD_DataIdentification>
<gmd:citation><gmd:CI_Citation>
<gmd:title><gco:CharacterString>{seen.name}</gco:CharacterString></gmd:title>
</gmd:CI_Citation></gmd:citation>
<gmd:abstract><gco:CharacterString>Simulated by coslide. No satellite has seen this ground.</gco:CharacterString>
</gmd:abstract>
<gmd:extent><gmd:EX_Extent><gmd:geographicElement><gmd:EX_GeographicBoundingBox>
{corners}
</gmd:EX_GeographicBoundingBox></gmd:geographicElement></gmd:EX_Extent></gmd:extent>
</gmd:MD_DataIdentification></gmd:identificationInfo>
</gmd:MD_Metadata>
"""


def manifest_xml(seen: Acquisition, grid: GeoBox, parts: list[Part]) -> str:
    """Return the document ``manifest.safe``, which lists `parts`."""
    units = "\n".join(
        f'<xfdu:contentUnit ID="{part.key}_Unit"><dataObjectPointer dataObjectID="{part.key}"/></xfdu:contentUnit>'
        for part in parts
    )
    objects = "\n".join(_data_object(part) for part in parts)
    facts = {
        "acquisitionPeriod": f"<safe:startTime>{iso(seen.sensed)}</safe:startTime>",
        "orbitReference": f'<safe:orbitNumber type="start" groundTrackDirection="descending">{seen.absolute_orbit:06d}'
        f'</safe:orbitNumber><safe:relativeOrbitNumber type="start">{seen.relative_orbit:03d}'
        "</safe:relativeOrbitNumber>",
        "platform": "<safe:familyName>SENTINEL</safe:familyName><safe:number>2A</safe:number><safe:instrument>"
        '<safe:familyName abbreviation="MSI">Multi-Spectral Instrument</safe:familyName></safe:instrument>',
        "frameSet": '<safe:footPrint srsName="http://www.opengis.net/gml/srs/epsg.xml#4326"><gml:coordinates>'
        f"{_footprint(grid)}</gml:coordinates></safe:footPrint>",
    }
    described = "\n".join(
        f'<metadataObject ID="{key}" category="DMD" classification="DESCRIPTION"><metadataWrap mimeType="text/xml" '
        f'vocabularyName="Sentinel-SAFE"><xmlData><safe:{key}>{fact}</safe:{key}></xmlData></metadataWrap>'
        "</metadataObject>"
        for key, fact in facts.items()
    )
    return f"""{_HEAD}<xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1" xmlns:gml="http://www.opengis.net/gml"
 xmlns:safe="http://www.esa.int/safe/sentinel/1.1"
 version="esa/safe/sentinel/1.1/sentinel-2/msi/archive_l2a_user_product">
<informationPackageMap>
<xfdu:contentUnit textInfo="SENTINEL-2 MSI Level-2A User Product" unitType="Product_Level-2A">
{units}
</xfdu:contentUnit>
</informationPackageMap>
<metadataSection>
{described}
</metadataSection>
<dataObjectSection>
{objects}
</dataObjectSection>
</xfdu:XFDU>
"""


def _data_object(part: Part) -> str:
    mime = "text/xml" if part.href.endswith(".xml") else "application/octet-stream"
    return f"""<dataObject ID="{part.key}"><byteStream mimeType="{mime}" size="{part.size}">
<fileLocation locatorType="URL" href="./{part.href}"/>
<checksum checksumName="SHA3-256">{part.digest}</checksum>
</byteStream></dataObject>"""


def _datatake(seen: Acquisition) -> str:
    return f"""<SPACECRAFT_NAME>Sentinel-2A</SPACECRAFT_NAME>
<DATATAKE_TYPE>INS-NOBS</DATATAKE_TYPE>
<DATATAKE_SENSING_START>{iso(seen.sensed)}</DATATAKE_SENSING_START>
<SENSING_ORBIT_NUMBER>{seen.relative_orbit}</SENSING_ORBIT_NUMBER>
<SENSING_ORBIT_DIRECTION>DESCENDING</SENSING_ORBIT_DIRECTION>"""


def _archiving(seen: Acquisition) -> str:
    return f"""<Archiving_Info metadataLevel="Expertise"><ARCHIVING_CENTRE>{seen.centre}</ARCHIVING_CENTRE>
<ARCHIVING_TIME>{iso(seen.generated)}</ARCHIVING_TIME></Archiving_Info>"""


def _characteristics(seen: Acquisition) -> str:
    special = "\n".join(
        f"<Special_Values><SPECIAL_VALUE_TEXT>{text}</SPECIAL_VALUE_TEXT>"
        f"<SPECIAL_VALUE_INDEX>{value}</SPECIAL_VALUE_INDEX></Special_Values>"
        for text, value in (("NODATA", 0), ("SATURATED", 65535))
    )
    offsets = "".join(
        f'<BOA_ADD_OFFSET band_id="{band}">{seen.offset_dn}</BOA_ADD_OFFSET>\n' for band in range(len(BAND_IDS))
    )
    listed = f"<BOA_ADD_OFFSET_VALUES_LIST>\n{offsets}</BOA_ADD_OFFSET_VALUES_LIST>\n" if seen.offset_dn else ""
    sun = "\n".join(
        f'<SOLAR_IRRADIANCE bandId="{band}" unit="W/m²/µm">{irradiance}</SOLAR_IRRADIANCE>'
        for band, (*_, irradiance) in enumerate(_SPECTRUM)
    )
    spectrum = "\n".join(
        f'<Spectral_Information bandId="{band}" physicalBand="{BAND_IDS[band]}"><RESOLUTION>{cell}</RESOLUTION>'
        f'<Wavelength><MIN unit="nm">{shortest}</MIN><MAX unit="nm">{longest}</MAX>'
        f'<CENTRAL unit="nm">{central}</CENTRAL></Wavelength></Spectral_Information>'
        for band, (cell, shortest, longest, central, _) in enumerate(_SPECTRUM)
    )
    classes = "\n".join(
        f"<Scene_Classification_ID><SCENE_CLASSIFICATION_TEXT>{text}</SCENE_CLASSIFICATION_TEXT>"
        f"<SCENE_CLASSIFICATION_INDEX>{index}</SCENE_CLASSIFICATION_INDEX></Scene_Classification_ID>"
        for index, (text, _) in enumerate(_CLASSES)
    )
    return f"""{special}
<Image_Display_Order><RED_CHANNEL>3</RED_CHANNEL><GREEN_CHANNEL>2</GREEN_CHANNEL><BLUE_CHANNEL>1</BLUE_CHANNEL>
</Image_Display_Order>
<QUANTIFICATION_VALUES_LIST>
<BOA_QUANTIFICATION_VALUE unit="none">{QUANTIFICATION}</BOA_QUANTIFICATION_VALUE>
<AOT_QUANTIFICATION_VALUE unit="none">1000.0</AOT_QUANTIFICATION_VALUE>
<WVP_QUANTIFICATION_VALUE unit="cm">1000.0</WVP_QUANTIFICATION_VALUE>
</QUANTIFICATION_VALUES_LIST>
{listed}<Reflectance_Conversion><U>{seen.reflectance_conversion:.12f}</U>
<Solar_Irradiance_List>
{sun}
</Solar_Irradiance_List>
</Reflectance_Conversion>
<Spectral_Information_List>
{spectrum}
</Spectral_Information_List>
<Scene_Classification_List>
{classes}
</Scene_Classification_List>"""


def _angles(zenith_deg: float, azimuth_deg: float) -> str:
    return (
        f'<ZENITH_ANGLE unit="deg">{zenith_deg:.9f}</ZENITH_ANGLE>'
        f'<AZIMUTH_ANGLE unit="deg">{azimuth_deg:.9f}</AZIMUTH_ANGLE>'
    )


def _class_percentages(counts: NDArray[np.int64]) -> str:
    """Return the share of each class: of no data among all cells, of the others among those with data."""
    known = max(int(counts[1:].sum()), 1)
    shares = [100 * counts[0] / max(int(counts.sum()), 1), *(100 * counts[1:] / known)]
    return "\n".join(f"<{tag}>{share:.6f}</{tag}>" for (_, tag), share in zip(_CLASSES, shares, strict=True))


def _cloud_percentage(counts: NDArray[np.int64]) -> float:
    return float(100 * counts[_CLOUDS].sum() / max(int(counts[1:].sum()), 1))


def _footprint(grid: GeoBox) -> str:
    """Return the corners as latitudes and longitudes, the first one again at the end."""
    left, bottom, right, top = grid.boundingbox.bbox
    to_degrees = Transformer.from_crs(str(grid.crs), "EPSG:4326", always_xy=True)
    corners = [(left, top), (left, bottom), (right, bottom), (right, top), (left, top)]
    places = [to_degrees.transform(*corner) for corner in corners]
    return " ".join(f"{latitude:.9f} {longitude:.9f}" for longitude, latitude in places)
