"""Small Sentinel-2 products as ESA packs them (SAFE), for tests: lossless JPEG 2000 and the XML that describes it."""

from pathlib import Path

import numpy as np
import rasterio
from pyproj import Transformer
from rasterio.transform import from_origin

NATIVE_M = {
    "B01": 60, "B02": 10, "B03": 10, "B04": 10, "B05": 20, "B06": 20, "B07": 20, "B08": 10, "B8A": 20, "B09": 60,
    "B11": 20, "B12": 20, "SCL": 20,
}  # fmt: skip

MANIFEST = """<?xml version="1.0" encoding="UTF-8"?>
<xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1"><dataObjectSection>
<dataObject ID="S2_Level-{level}_Product_Metadata"><byteStream>
<fileLocation href="{product}"/></byteStream></dataObject>
<dataObject ID="S2_Level-{level}_Tile1_Metadata"><byteStream><fileLocation href="{granule}"/></byteStream></dataObject>
<dataObject ID="INSPIRE_Metadata"><byteStream><fileLocation href="./INSPIRE.xml"/></byteStream></dataObject>
<dataObject ID="S2_Level-{level}_Datastrip1_Metadata"><byteStream>
<fileLocation href="./DATASTRIP/DS/MTD_DS.xml"/></byteStream></dataObject>
</dataObjectSection></xfdu:XFDU>
"""

PRODUCT = """<?xml version="1.0" encoding="UTF-8"?>{doctype}
<n1:Level-2A_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-2A.xsd">
<n1:General_Info>
<Product_Info>
<PRODUCT_START_TIME>{date}T012651.024Z</PRODUCT_START_TIME><PRODUCT_STOP_TIME>{date}T012651.024Z</PRODUCT_STOP_TIME>
<PRODUCT_URI>{name}</PRODUCT_URI><PROCESSING_LEVEL>Level-{level}</PROCESSING_LEVEL>
<PRODUCT_TYPE>S2MSI{short}</PRODUCT_TYPE><PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>
<GENERATION_TIME>{date}T040000.000000Z</GENERATION_TIME>
<Datatake datatakeIdentifier="GS2A_{compact}T012651_016797_N{baseline}"><SPACECRAFT_NAME>Sentinel-2A</SPACECRAFT_NAME>
<DATATAKE_TYPE>INS-NOBS</DATATAKE_TYPE><SENSING_ORBIT_NUMBER>74</SENSING_ORBIT_NUMBER>
<SENSING_ORBIT_DIRECTION>DESCENDING</SENSING_ORBIT_DIRECTION></Datatake>
<Product_Organisation><Granule_List><Granule imageFormat="{image_format}"
 datastripIdentifier="S2A_OPER_MSI_L{short}_DS_2APS_{compact}T040000_S{compact}T012648_N{baseline}"
 granuleIdentifier="S2A_OPER_MSI_L{short}_TL_2APS_{compact}T040000_A016797_T{tile}_N{baseline}">
{images}
</Granule></Granule_List></Product_Organisation>
</Product_Info>
<Product_Image_Characteristics>
<QUANTIFICATION_VALUES_LIST><BOA_QUANTIFICATION_VALUE unit="none">{quantification}</BOA_QUANTIFICATION_VALUE>
<AOT_QUANTIFICATION_VALUE unit="none">1000.0</AOT_QUANTIFICATION_VALUE></QUANTIFICATION_VALUES_LIST>
{offsets}
<Reflectance_Conversion><U>0.984</U></Reflectance_Conversion>
</Product_Image_Characteristics>
</n1:General_Info>
<n1:Geometric_Info><Product_Footprint><Product_Footprint><Global_Footprint>
<EXT_POS_LIST>{footprint}</EXT_POS_LIST></Global_Footprint></Product_Footprint></Product_Footprint></n1:Geometric_Info>
<n1:Quality_Indicators_Info><Cloud_Coverage_Assessment>12.5</Cloud_Coverage_Assessment></n1:Quality_Indicators_Info>
</n1:Level-2A_User_Product>
"""

GRANULE = """<?xml version="1.0" encoding="UTF-8"?>
<n1:Level-2A_Tile_ID xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-2A_Tile_Metadata.xsd">
<n1:General_Info>
<TILE_ID>S2A_OPER_MSI_L{short}_TL_2APS_{compact}T040000_A016797_T{tile}_N{baseline}</TILE_ID>
</n1:General_Info>
<n1:Geometric_Info><Tile_Geocoding><HORIZONTAL_CS_NAME>WGS84</HORIZONTAL_CS_NAME>
<HORIZONTAL_CS_CODE>{crs}</HORIZONTAL_CS_CODE>{sizes}
<Geoposition resolution="10"><ULX>{left}</ULX><ULY>{top}</ULY><XDIM>10</XDIM><YDIM>-10</YDIM></Geoposition>
</Tile_Geocoding>
<Tile_Angles><Mean_Sun_Angle><ZENITH_ANGLE unit="deg">40.1</ZENITH_ANGLE>
<AZIMUTH_ANGLE unit="deg">155.2</AZIMUTH_ANGLE></Mean_Sun_Angle>
<Mean_Viewing_Incidence_Angle_List>{angles}</Mean_Viewing_Incidence_Angle_List></Tile_Angles>
</n1:Geometric_Info>
<n1:Quality_Indicators_Info><Image_Content_QI><CLOUDY_PIXEL_PERCENTAGE>12.5</CLOUDY_PIXEL_PERCENTAGE>
<SNOW_ICE_PERCENTAGE>0.0</SNOW_ICE_PERCENTAGE></Image_Content_QI></n1:Quality_Indicators_Info>
</n1:Level-2A_Tile_ID>
"""


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
    doctype="",
) -> Path:
    """Write a product into `folder` and return its SAFE folder.

    `bands` holds stored values by ESA's names (B02, B8A, SCL), each at its own cell size. `offsets` are those of the
    ids 0 to 12; None writes -1000 for each from baseline 04.00 on, and no list before.
    """
    compact = date.replace("-", "")
    name = f"S2A_MSIL{short}_{compact}T012651_N{baseline.replace('.', '')}_R074_T{tile}_{compact}T040000.SAFE"
    safe = folder / name
    granule = f"GRANULE/L{short}_T{tile}_A016797_{compact}T012648"
    images = {}
    for band, values in bands.items():
        size = NATIVE_M[band]
        images[band] = f"{granule}/IMG_DATA/R{size}m/T{tile}_{compact}T012651_{band}_{size}m"
        write_image(safe / f"{images[band]}{suffix}", values, crs=crs, left=left, top=top, size=size)
    if offsets is None and baseline >= "04.00":
        offsets = [-1000] * 13
    listed = "".join(f'<BOA_ADD_OFFSET band_id="{i}">{value}</BOA_ADD_OFFSET>' for i, value in enumerate(offsets or []))
    side = max(values.shape[0] * NATIVE_M[band] // 10 for band, values in bands.items())
    words = {
        "level": short,
        "product": f"./MTD_MSIL{short}.xml",
        "granule": f"./{granule}/MTD_TL.xml",
        "name": name,
        "date": date,
        "compact": compact,
        "short": short,
        "baseline": baseline,
        "tile": tile,
        "crs": crs,
        "left": f"{left:.0f}",
        "top": f"{top:.0f}",
        "doctype": doctype,
        "quantification": quantification,
        "image_format": "JPEG2000" if suffix == ".jp2" else "GeoTIFF",
        "images": "".join(f"<IMAGE_FILE>{image}</IMAGE_FILE>" for image in images.values()),
        "offsets": f"<BOA_ADD_OFFSET_VALUES_LIST>{listed}</BOA_ADD_OFFSET_VALUES_LIST>" if listed else "",
        "footprint": _footprint(crs, left, top, 10.0 * side),
        "sizes": "".join(
            f'<Size resolution="{size}"><NROWS>{side * 10 // size}</NROWS><NCOLS>{side * 10 // size}</NCOLS></Size>'
            for size in (10, 20, 60)
        ),
        "angles": "".join(
            f'<Mean_Viewing_Incidence_Angle bandId="{i}"><ZENITH_ANGLE unit="deg">5</ZENITH_ANGLE>'
            '<AZIMUTH_ANGLE unit="deg">104</AZIMUTH_ANGLE></Mean_Viewing_Incidence_Angle>'
            for i in range(13)
        ),
    }
    (safe / "manifest.safe").write_text(MANIFEST.format(**words))
    (safe / f"MTD_MSIL{short}.xml").write_text(PRODUCT.format(**words))
    (safe / granule / "MTD_TL.xml").write_text(GRANULE.format(**words))
    return safe


def write_image(path: Path, values: np.ndarray, *, crs, left, top, size, **tags) -> Path:
    """Write one band: lossless JPEG 2000 or tiled GeoTIFF, by the suffix of `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    jp2 = {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES", "YCBCR420": "NO"}
    tif = {"driver": "GTiff", "compress": "deflate", "tiled": True, "blockxsize": 128, "blockysize": 128}
    profile = jp2 if path.suffix == ".jp2" else tif
    height, width = values.shape
    shape = {"count": 1, "height": height, "width": width, "dtype": values.dtype}
    nodata = tags.pop("nodata", None)
    with rasterio.open(
        path, "w", crs=crs, transform=from_origin(left, top, size, size), nodata=nodata, **shape, **profile
    ) as file:
        file.write(values, 1)
        if tags:
            file.scales, file.offsets = (tags["scale"],), (tags["offset"],)
    return path


def _footprint(crs, left, top, side_m):
    to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    corners = [(left, top), (left, top - side_m), (left + side_m, top - side_m), (left + side_m, top), (left, top)]
    places = [to_degrees.transform(*corner) for corner in corners]
    return " ".join(f"{lat:.9f} {lon:.9f}" for lon, lat in places)
