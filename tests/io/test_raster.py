"""Rasters onto the grid."""

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.transform import Affine, from_origin
from shapely.geometry import box

from coslide.errors import InputError
from coslide.io.atomic import sha256
from coslide.io.paths import with_sidecar_files
from coslide.io.raster import open_raster, raster_extent, require_exact

GRID = GeoBox((40, 50), Affine(10, 0, 500000, 0, -10, 4700000), "EPSG:32654")


def write(path, values, *, transform=GRID.affine, crs="EPSG:32654", **profile):
    height, width = values.shape
    profile |= {"height": height, "width": width, "dtype": values.dtype, "crs": crs, "transform": transform}
    with rasterio.open(path, "w", driver="GTiff", count=1, **profile) as file:
        file.write(values, 1)
    return path


def test_a_raster_without_crs_is_refused_unless_it_is_given(tmp_path):
    path = write(tmp_path / "r.tif", np.ones((4, 5), dtype=np.uint8), crs=None)
    with pytest.raises(InputError, match=r"r\.tif: has no CRS"), open_raster(path):
        pass
    with open_raster(path, crs="EPSG:32654") as dataset:
        assert dataset.crs is None


def test_a_file_that_is_no_raster_is_refused(tmp_path):
    path = tmp_path / "r.tif"
    path.write_text("no raster")
    with pytest.raises(InputError, match=r"r\.tif: cannot be read as a raster"), open_raster(path):
        pass


def test_a_truncated_raster_is_refused(tmp_path):
    path = write(tmp_path / "r.tif", np.ones((400, 500), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="cannot be read as a raster"), open_raster(path) as dataset:
        dataset.read()


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:4490", "EPSG:6668", "EPSG:32655"])
def test_what_proj_can_bring_to_the_grid_is_taken(crs):
    assert require_exact("r.tif", crs, "EPSG:32654") is None


def test_a_transformation_that_ignores_the_datum_is_refused():
    """R22: a ballpark transformation is refused."""
    with pytest.raises(InputError, match=r"r\.tif: no exact transformation from its CRS \(NAD27\) to EPSG:32654"):
        require_exact("r.tif", "EPSG:4267", "EPSG:32654")


def test_the_extent_of_a_south_up_raster_is_in_order(tmp_path):
    path = write(tmp_path / "a.tif", np.ones(GRID.shape, np.float32), transform=Affine(10, 0, 500000, 0, 10, 4699600))
    assert raster_extent(path, "scene").bounds == (500000, 4699600, 500500, 4700000)


@pytest.mark.parametrize("nested", [False, True])
def test_a_vrt_may_read_its_own_folder_and_no_other(tmp_path, nested):
    """No path from an input file leaves its folder, also not by a VRT in a VRT."""
    folder = tmp_path / "event"
    folder.mkdir()
    for place in (folder / "own.tif", tmp_path / "secret.tif"):
        write(place, np.ones((2, 2), np.uint8), transform=from_origin(500000, 20, 10, 10))

    def vrt(name, source):
        path = folder / name
        path.write_text(
            '<VRTDataset rasterXSize="2" rasterYSize="2"><SRS>EPSG:32654</SRS>'
            "<GeoTransform>500000, 10, 0, 20, 0, -10</GeoTransform>"
            '<VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
            f"<SourceFilename>{source}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
        )
        return path

    with open_raster(vrt("own.vrt", folder / "own.tif")) as dataset:
        assert dataset.read(1).tolist() == [[1, 1], [1, 1]]
    stranger = vrt("stranger.vrt", tmp_path / "secret.tif")
    outer = vrt("outer.vrt", stranger) if nested else stranger
    with (
        pytest.raises(InputError, match=r"reads .*secret\.tif; expected a VRT of files in its own folder"),
        open_raster(outer),
    ):
        pass


@pytest.mark.parametrize(
    "text", ["<GDAL_WMS><Service name='TMS'/></GDAL_WMS>", '{"stac_version": "1.0.0"}', "\ufeff <MRF_META/>"]
)
def test_a_text_that_describes_a_raster_elsewhere_is_refused(tmp_path, text):
    path = tmp_path / "dem.tif"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"dem\.tif: is a text that describes a raster elsewhere"), open_raster(path):
        pass


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
        write(tmp_path / f"{name}.tif", np.ones((2, 2), np.uint8), transform=from_origin(0, 20, 10, 10))
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
    names = [file.name for file in with_sidecar_files(tmp_path / "pga.flt")]
    assert names == ["pga.flt", "pga.flt.aux.xml", "pga.hdr"]
