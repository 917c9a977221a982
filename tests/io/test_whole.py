"""Files are written with geopandas and rasterio and cut off; what is left must not become a smaller truth."""

import os
import shutil

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from rasterio.shutil import copy
from rasterio.transform import from_origin
from shapely.geometry import box

from coslide.errors import InputError
from coslide.io.raster import open_raster
from coslide.io.vector import read_vector

UTM = "EPSG:32654"


@pytest.fixture
def shapefile(tmp_path):
    squares = [box(500000 + x, 4700000, 500010 + x, 4700010) for x in (0, 20, 40)]
    gpd.GeoDataFrame({"unit": ["a", "b", "c"]}, geometry=squares, crs=UTM).to_file(tmp_path / "v.shp")
    return tmp_path / "v.shp"


@pytest.mark.parametrize("suffix", [".shp", ".shx", ".dbf"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95])
def test_each_file_of_a_shapefile_that_was_cut_off_is_refused(shapefile, suffix, share):
    cut = shapefile.with_suffix(suffix)
    os.truncate(cut, int(share * cut.stat().st_size))
    with pytest.raises(InputError, match=r"v\.sh|v\.dbf"):
        read_vector(shapefile, UTM, what="squares")


def test_a_table_of_another_shapefile_is_refused(shapefile, tmp_path):
    read = gpd.read_file(shapefile)
    read[:2].to_file(tmp_path / "w.shp")
    shutil.copy(tmp_path / "w.dbf", shapefile.with_suffix(".dbf"))
    with pytest.raises(InputError, match=r"found 3 features in its \.shx, 2 in its \.dbf; expected the files of one"):
        read_vector(shapefile, UTM, what="squares")


def test_a_whole_shapefile_is_read_with_files_in_capitals_and_without_a_table(shapefile):
    for suffix in (".shp", ".shx", ".dbf", ".prj"):
        shapefile.with_suffix(suffix).rename(shapefile.with_suffix(suffix.upper()))
    assert len(read_vector(shapefile.with_suffix(".SHP"), UTM, what="squares")) == 3
    shapefile.with_suffix(".DBF").unlink()
    assert len(read_vector(shapefile.with_suffix(".SHP"), UTM, what="squares")) == 3


@pytest.fixture(scope="module")
def raster(tmp_path_factory):
    path = tmp_path_factory.mktemp("raster") / "r.tif"
    place = {"crs": UTM, "transform": from_origin(500000, 4700000, 10, 10)}
    with rasterio.open(path, "w", driver="GTiff", height=40, width=50, count=1, dtype="int16", **place) as file:
        file.write(np.ones((1, 40, 50), dtype=np.int16))
    return path


FORMATS = {
    "EHdr": "r.bil", "ENVI": "r.img", "ERS": "r.ers", "GTiff": "r.tif", "HFA": "h.img", "ISCE": "i.int",
    "netCDF": "r.nc", "PAux": "r.raw", "RRASTER": "r.grd", "RST": "r.rst", "SAGA": "r.sdat", "AAIGrid": "r.asc",
    "BT": "r.bt", "LAN": "r.lan",
}  # fmt: skip


@pytest.mark.parametrize("driver", FORMATS)
def test_a_raster_of_any_format_is_read_whole_and_refused_once_it_was_cut_off(raster, tmp_path, driver):
    path = tmp_path / FORMATS[driver]
    copy(raster, path, driver=driver)
    with open_raster(path, crs=UTM) as dataset:
        assert (dataset.read(1) == 1).all()
    values = max(tmp_path.iterdir(), key=lambda file: file.stat().st_size)
    os.truncate(values, int(0.7 * values.stat().st_size))
    with pytest.raises(InputError, match=rf"{path.name}: "), open_raster(path, crs=UTM) as dataset:
        dataset.read()
