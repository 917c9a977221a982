"""Where rasters and vectors lie: CRSs of every sort, transforms, and links beside a VRT."""

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from rasterio.transform import Affine
from shapely.geometry import box

from coslide.config.schema import DemConfig, GeologyConfig
from coslide.errors import InputError
from coslide.grid import Extent, common_grid
from coslide.io.raster import open_raster, raster_extent, read_coarse_raster
from coslide.io.vector import read_polygons
from coslide.sources.bands import Band, locate_band
from coslide.sources.dem import open_elevation
from coslide.sources.geology import read_strata

GRID = GeoBox((30, 40), Affine(10, 0, 500000, 0, -10, 4700000), "EPSG:32654")
DEGREES = Affine(1 / 3600, 0, 140.995, 0, -1 / 3600, 42.455)
ESRI = CRS.from_epsg(32654).to_wkt("WKT1_ESRI")
UNNAMED = (
    CRS.from_epsg(32654).to_wkt().replace("WGS 84 / UTM zone 54N", "ours").rpartition(',ID["EPSG",32654]')[0] + "]"
)
PLACED = [
    ("EPSG:9518", DEGREES),
    ("EPSG:4326+5773", DEGREES),
    ("EPSG:6697", DEGREES),
    ("EPSG:4979", DEGREES),
    ("EPSG:32654+5773", GRID.affine),
    (CRS.from_epsg(32654).to_3d().to_wkt(), GRID.affine),
    (ESRI, GRID.affine),
    (UNNAMED, GRID.affine),
    ("+proj=utm +zone=54 +ellps=WGS84 +towgs84=0,0,0 +type=crs", GRID.affine),
]
NOWHERE = ['LOCAL_CS["site",UNIT["metre",1]]', "IAU_2015:30100", "EPSG:4978"]


def write(path, values, *, transform=GRID.affine, crs="EPSG:32654", **profile):
    profile = {"driver": "GTiff", "count": 1, "dtype": values.dtype, "crs": crs, "transform": transform} | profile
    with rasterio.open(path, "w", height=values.shape[0], width=values.shape[1], **profile) as file:
        file.write(values, 1)
    return path


@pytest.mark.parametrize(("crs", "transform"), PLACED, ids=lambda each: str(each)[:20])
def test_a_raster_lies_where_its_horizontal_crs_says(tmp_path, crs, transform):
    """R22: heights beside it change nothing."""
    path = write(tmp_path / "r.tif", np.full((90, 90), 700, dtype=np.float32), crs=crs, transform=transform)
    flat = CRS.from_user_input(crs).to_2d()
    there = Transformer.from_crs(flat, "EPSG:32654", always_xy=True).transform(*(transform @ (45.0, 45.0)))
    grid = common_grid([raster_extent(path, "dem")], crs="EPSG:32654")
    assert np.abs(np.array(grid.boundingbox.bbox).reshape(2, 2).mean(axis=0) - there).max() < 50
    window = grid[20:30, 20:30]
    assert (open_elevation(DemConfig(path=path), window).elevation(window) == 700).all()
    assert (read_coarse_raster(path, window).values == 700).all()
    assert (read_strata(GeologyConfig(path=path, ages=(700,)), window).codes == 1).all()
    assert locate_band(Band("B2", str(path)), of_product=False).geobox.crs == flat


@pytest.mark.parametrize("crs", NOWHERE)
def test_a_crs_that_gives_no_place_on_earth_is_refused(tmp_path, crs):
    path = write(tmp_path / "r.tif", np.ones((9, 9), np.float32), crs=crs)
    for read in (lambda: raster_extent(path, "dem"), lambda: locate_band(Band("B2", str(path)), of_product=False)):
        with pytest.raises(InputError, match=r"r\.tif: found a CRS that gives no place on Earth"):
            read()
    assert locate_band(Band("B2", str(path), crs="EPSG:32654"), of_product=False).geobox.crs == "EPSG:32654"


@pytest.mark.parametrize(
    "transform",
    [(np.nan, 0, 0, 0, 1, 0), (0, 0, 5, 0, 0, 5), (10, 0, np.inf, 0, -10, 5), (1e300, 0, 0, 0, -1e300, 0)],
)
def test_a_transform_that_places_nothing_is_refused(tmp_path, transform):
    write(tmp_path / "r.tif", np.ones((9, 9), np.float32))
    numbers = ",".join(map(str, Affine(*transform).to_gdal()))
    (tmp_path / "r.vrt").write_text(
        f"<VRTDataset rasterXSize='9' rasterYSize='9'><SRS>EPSG:32654</SRS><GeoTransform>{numbers}</GeoTransform>"
        "<VRTRasterBand band='1' dataType='Float32'/></VRTDataset>"
    )
    with pytest.raises(InputError, match=r"r\.vrt: found the transform"), open_raster(tmp_path / "r.vrt"):
        pass


@pytest.mark.parametrize("crs", ["EPSG:9518", "EPSG:4979", "EPSG:4326"])
def test_polygons_lie_where_their_horizontal_crs_says(tmp_path, crs):
    here = Transformer.from_crs("EPSG:32654", "EPSG:4326", always_xy=True).transform_bounds(*GRID.boundingbox.bbox)
    gpd.GeoDataFrame(geometry=[box(*here)], crs=crs).to_file(tmp_path / "p.gpkg")
    found = read_polygons(tmp_path / "p.gpkg", GRID, what="polygons").frame
    assert found.crs == "EPSG:32654"
    assert np.abs(np.array(found.total_bounds) - GRID.boundingbox.bbox).max() < 2


@pytest.mark.parametrize(
    ("crs", "epsg"),
    [("EPSG:32654+5773", 32654), ("WGS 84 / UTM zone 54N", 32654), (CRS.from_epsg(32654).to_wkt("WKT1_ESRI"), 32654)],
)
def test_a_grid_takes_the_horizontal_part_of_the_crs_asked_for(crs, epsg):
    grid = common_grid([Extent("scene", "EPSG:32654", (500000, 4690000, 500100, 4690100))], crs=crs)
    assert (grid.crs.epsg, grid.shape) == (epsg, (10, 10))


@pytest.mark.parametrize("crs", ["EPSG:9518", "EPSG:5773", "EPSG:4978", "EPSG:2048", "rubbish", 'LOCAL_CS["a"]', ""])
def test_a_grid_in_a_crs_without_metres_to_east_and_north_is_refused(crs):
    with pytest.raises(InputError, match=r"^grid\.crs: found"):
        common_grid([Extent("scene", "EPSG:32654", (500000, 4690000, 500100, 4690100))], crs=crs or " ")


def test_a_raster_of_the_whole_earth_covers_a_scene():
    scene = Extent("scene", "EPSG:32654", (500000, 4690000, 500100, 4690100))
    assert common_grid([scene, Extent("dem", "EPSG:4326", (-180, -90, 180, 90))]).shape == (10, 10)


def test_a_grid_of_absurd_size_is_refused():
    scene = Extent("scene", "EPSG:32654", (-500000, 3000000, 1500000, 5000000))
    with pytest.raises(InputError, match=r"grid: found an area of 200000 x 200000 pixels of 10 m.*; give grid\.area"):
        common_grid([scene])


def vrt(path, source, *, relative=True):
    path.write_text(
        "<VRTDataset rasterXSize='9' rasterYSize='9'><SRS>EPSG:32654</SRS>"
        f"<GeoTransform>{','.join(map(str, GRID.affine.to_gdal()))}</GeoTransform>"
        f"<VRTRasterBand band='1' dataType='Float32'><SimpleSource><SourceFilename relativeToVRT='{int(relative)}'>"
        f"{source}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    return path


def test_a_vrt_reads_links_beside_it_but_no_path_out_of_its_folder(tmp_path):
    here, store = tmp_path / "here", tmp_path / "store"
    here.mkdir()
    store.mkdir()
    write(store / "tile.tif", np.full((9, 9), 7, np.float32))
    (here / "link.tif").symlink_to(store / "tile.tif")
    (here / "folder").symlink_to(store)
    for source in ("link.tif", "folder/tile.tif"):
        with open_raster(vrt(here / "a.vrt", source)) as dataset:
            assert (dataset.read(1) == 7).all()
    for source, relative in (
        ("../store/tile.tif", True),
        (store / "tile.tif", False),
        ("folder/../store/tile.tif", True),
    ):
        path = vrt(here / "a.vrt", source, relative=relative)
        with pytest.raises(InputError, match="expected a VRT of files in its own folder"), open_raster(path):
            pass


def test_two_rasters_that_read_each_other_are_refused(tmp_path):
    vrt(tmp_path / "b.vrt", vrt(tmp_path / "a.vrt", "b.vrt").name)
    with pytest.raises(InputError, match=r"reads .*a\.vrt, which reads it"), open_raster(tmp_path / "a.vrt"):
        pass


@settings(derandomize=True, max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    dtype=st.sampled_from(["uint8", "int16", "uint16", "int32", "float32", "float64"]),
    nodata=st.sampled_from([None, 0, 3, 255]),
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    side_m=st.sampled_from([3.0, 10.0, 25.0]),
    corner=st.tuples(st.integers(-30, 300), st.integers(-30, 300)),
    seed=st.integers(0, 99),
)
def test_a_band_holds_the_value_of_the_pixel_below_each_point(tmp_path, dtype, nodata, shape, side_m, corner, seed):
    values = np.random.default_rng(seed).integers(0, 5, shape).astype(dtype)
    affine = Affine(side_m, 0, 500000 + corner[0], 0, -side_m, 4700000 - corner[1])
    path = write(tmp_path / "r.tif", values, transform=affine, nodata=nodata)
    raster = locate_band(Band("B2", str(path), scale=1.0), of_product=False)
    found = raster.read(slice(0, shape[0]), slice(0, shape[1]))
    expected = np.where(values == (-1 if nodata is None else nodata), np.nan, values.astype(float))
    np.testing.assert_array_equal(found, expected)
    rows, cols = np.indices(GRID.shape)
    x, y = GRID.affine @ (cols + 0.5, rows + 0.5)
    own_cols, own_rows = (np.floor(each + 3e-6).astype(int) for each in ~affine @ (x, y))
    inside = (own_rows >= 0) & (own_rows < shape[0]) & (own_cols >= 0) & (own_cols < shape[1])
    codes = np.full(GRID.shape, 255)
    codes[inside] = np.nan_to_num(expected + 1, nan=255)[own_rows[inside], own_cols[inside]]
    geology = GeologyConfig(path=path, ages=(0, 1, 2, 3, 4))
    if (codes == 255).all():
        with pytest.raises(InputError, match="has no code on the grid"):
            read_strata(geology, GRID)
        return
    strata = read_strata(geology, GRID)
    assert (strata.codes == codes).all()
