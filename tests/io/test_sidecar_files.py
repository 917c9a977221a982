"""Files that belong together."""

import geopandas as gpd
import numpy as np
import rasterio
from rasterio.transform import from_origin
from shapely.geometry import box

from coslide.io.atomic import sha256
from coslide.io.sidecar_files import with_sidecar_files


def test_a_shapefile_is_all_its_files(tmp_path):
    frame = gpd.GeoDataFrame({"age": ["T1"]}, geometry=[box(0, 0, 1, 1)], crs=4326)
    frame.to_file(tmp_path / "units.shp")
    names = {file.suffix for file in with_sidecar_files(tmp_path / "units.shp")}
    assert {".shp", ".shx", ".dbf", ".prj"} <= names
    before = [sha256(file) for file in with_sidecar_files(tmp_path / "units.shp")]
    frame.assign(age="T2").to_file(tmp_path / "units.shp")
    assert [sha256(file) for file in with_sidecar_files(tmp_path / "units.shp")] != before


def test_the_tiles_behind_a_vrt_belong_to_it(tmp_path):
    for name in ("a", "b"):
        with rasterio.open(
            tmp_path / f"{name}.tif", "w", driver="GTiff", width=2, height=2, count=1, dtype="uint8", crs=32654,
            transform=from_origin(0, 20, 10, 10),
        ) as file:  # fmt: skip
            file.write(np.ones((1, 2, 2), dtype=np.uint8))
    sources = "".join(
        f'<SimpleSource><SourceFilename relativeToVRT="1">{name}.tif</SourceFilename>'
        "<SourceBand>1</SourceBand></SimpleSource>"
        for name in ("a", "b")
    )
    (tmp_path / "dem.vrt").write_text(
        '<VRTDataset rasterXSize="2" rasterYSize="2"><SRS>EPSG:32654</SRS>'
        "<GeoTransform>0, 10, 0, 20, 0, -10</GeoTransform>"
        f'<VRTRasterBand dataType="Byte" band="1">{sources}</VRTRasterBand></VRTDataset>'
    )
    assert {file.name for file in with_sidecar_files(tmp_path / "dem.vrt")} == {"dem.vrt", "a.tif", "b.tif"}


def test_the_metadata_beside_a_raster_belong_to_it(tmp_path):
    for name in ("pga.flt", "pga.hdr", "pga.flt.aux.xml", "std.hdr"):
        (tmp_path / name).touch()
    assert [file.name for file in with_sidecar_files(tmp_path / "pga.flt")] == ["pga.flt", "pga.hdr", "pga.flt.aux.xml"]
