"""Products of other sensors, made up in the layout that USGS and Planet give them."""

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin

from coslide.config.schema import SceneConfig
from coslide.config.sensors import SENSORS, channel_name, sensor_of
from coslide.errors import InputError
from coslide.sources.sentinel2 import open_scene

LANDSAT = "LC08_L2SP_107030_20180911_20200830_02_T1"
PLANET = "20200915_014512_44_2424_3B"
SIDE = 8


def write(path, bands, *, pixel_m, dtype="uint16", nodata=0):
    bands = np.asarray(bands, dtype=dtype)
    profile = {"driver": "GTiff", "height": SIDE, "width": SIDE, "count": len(bands), "dtype": dtype, "nodata": nodata}
    transform = from_origin(399_985.0, 4_740_015.0, pixel_m, pixel_m)  # centres of Landsat's pixels are at multiples
    with rasterio.open(path, "w", crs="EPSG:32654", transform=transform, **profile) as file:
        file.write(bands)


def grid(pixel_m):
    return GeoBox((SIDE, SIDE), from_origin(399_985.0, 4_740_015.0, pixel_m, pixel_m), "EPSG:32654")


@pytest.fixture
def landsat(tmp_path):
    folder = tmp_path / LANDSAT
    folder.mkdir()
    rows = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    for band in range(1, 8):
        stored = 8000 + 100 * band + rows
        stored[0, 0] = 0
        write(folder / f"{LANDSAT}_SR_B{band}.TIF", [stored], pixel_m=30)
    write(folder / f"{LANDSAT}_ST_B10.TIF", [rows + 40_000], pixel_m=30)
    # clear land, and then: dilated cloud, cirrus, cloud, shadow, snow, water; fill. As the guide of USGS lists them.
    quality = np.full((SIDE, SIDE), 21824)
    quality[0, :8] = [1, 21826, 54596, 22280, 23888, 30048, 21952, 21824]
    write(folder / f"{LANDSAT}_QA_PIXEL.TIF", [quality], pixel_m=30, nodata=1)
    return folder


@pytest.mark.parametrize("form", ["folder", "raster"])
def test_a_landsat_product_is_read_with_its_scale_and_its_mask(landsat, tmp_path, form):
    product = landsat if form == "folder" else landsat / f"{LANDSAT}_SR_B2.TIF"
    names = ("blue", "green", "red", "nir08", "swir16", "swir22")
    reader = open_scene(SceneConfig(products=(product,), bands=names), root=tmp_path)
    assert reader.band_names == ["B2", "B3", "B4", "B8A", "B11", "B12"]
    assert (reader.acquired, reader.sensor) == ("2018-09-11", "Landsat 8/9 (30 m)")
    files = {"B2": 2, "B3": 3, "B4": 4, "B8A": 5, "B11": 6, "B12": 7}
    for name, band in files.items():
        with rasterio.open(landsat / f"{LANDSAT}_SR_B{band}.TIF") as file:
            expected = file.read(1).astype(float) * 0.0000275 - 0.2
        read = reader.reflectance(name, grid(30))
        assert np.isnan(read[0, 0])
        np.testing.assert_allclose(read.ravel()[1:], expected.ravel()[1:], atol=1e-6)
    assert reader.clear(grid(30))[0].tolist() == [False] * 6 + [True, True]
    assert reader.clear(grid(30))[1:].all()
    reader.check_radiometry(grid(30))


def test_what_the_mask_takes_out_can_be_chosen(landsat, tmp_path):
    scene = SceneConfig(products=(landsat,), bands=("red",), scl_invalid=(6, 9))
    clear = open_scene(scene, root=tmp_path).clear(grid(30))
    assert clear[0].tolist() == [False, True, True, False, True, True, False, True]


def test_of_several_flags_the_gravest_counts(landsat, tmp_path):
    path = landsat / f"{LANDSAT}_QA_PIXEL.TIF"
    write(path, [np.full((SIDE, SIDE), 22280 | 2)], pixel_m=30)  # cloud, in its own dilation
    for classes, clear in (((8,), True), ((9,), False)):
        scene = SceneConfig(products=(landsat,), bands=("red",), scl_invalid=classes)
        assert bool(open_scene(scene, root=tmp_path).clear(grid(30))[4, 4]) is clear


@pytest.mark.parametrize(("eight", "bands"), [(False, "1 2 3 4"), (True, "2 4 6 8")])
def test_a_planetscope_scene_is_read_with_the_order_of_its_bands_and_its_mask(tmp_path, eight, bands):
    path = tmp_path / f"{PLANET}_AnalyticMS_SR{'_8b' if eight else ''}_harmonized_clip.tif"
    count = 8 if eight else 4
    write(path, [np.full((SIDE, SIDE), 1000 * (band + 1)) for band in range(count)], pixel_m=3)
    flags = np.zeros((8, SIDE, SIDE))
    flags[0] = 1
    for number in range(1, 6):  # snow, shadow, light haze, heavy haze, cloud
        flags[0, 0, number], flags[number, 0, number] = 0, 1
    flags[0, 0, 0], flags[7, 0, 0] = 0, 1  # beyond the scene
    write(tmp_path / f"{PLANET}_udm2_clip.tif", flags, pixel_m=3, dtype="uint8", nodata=None)
    names = ["B2", "B3", "B4", "B8A" if eight else "B8"]
    reader = open_scene(SceneConfig(products=(path,), bands=tuple(names)), root=tmp_path)
    assert "PlanetScope" in reader.sensor
    assert reader.acquired == "2020-09-15"
    for name, number in zip(names, bands.split(), strict=True):
        np.testing.assert_allclose(reader.reflectance(name, grid(3)), 0.1 * int(number), rtol=1e-6)
    assert reader.clear(grid(3))[0].tolist() == [False] * 6 + [True] * 2


def test_a_folder_of_several_products_asks_for_a_raster_of_each(landsat, tmp_path):
    other = LANDSAT.replace("107030", "107031")
    (landsat / f"{LANDSAT}_SR_B2.TIF").rename(landsat / f"{other}_SR_B2.TIF")
    with pytest.raises(InputError, match="holds 2 products; name a raster of each instead, such as LC08"):
        open_scene(SceneConfig(products=(landsat,), bands=("B3",)), root=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bands": ("B8",)}, r"has no band B8; found B1, B2, B3, B4, B8A, B11, B12, SCL; choose with bands"),
        ({"bands": ("B4",), "boa_offset": -1000.0}, "boa_offset = -1000, which is for Sentinel-2"),
    ],
)
def test_what_a_landsat_product_has_not_is_told(landsat, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        open_scene(SceneConfig(products=(landsat,), **change), root=tmp_path)


def test_a_mask_of_another_form_is_refused(landsat, tmp_path):
    write(landsat / f"{LANDSAT}_QA_PIXEL.TIF", [np.zeros((SIDE, SIDE))], pixel_m=30, dtype="float32")
    with pytest.raises(InputError, match="expected the mask of the product, 1 bands of flags"):
        open_scene(SceneConfig(products=(landsat,), bands=("B4",)), root=tmp_path)


def test_a_band_has_one_name_whatever_it_is_called():
    scene = SceneConfig(bands={"red": "a.tif", "0.86 um": "b.tif"})
    assert list(scene.bands) == ["B4", "B8A"]
    with pytest.raises(ValueError, match="found red and 655 nm, both of channel B4"):
        SceneConfig(bands={"red": "a.tif", "655 nm": "b.tif"})
    with pytest.raises(ValueError, match="within 40 nm"):
        SceneConfig(bands={"10900 nm": "a.tif"})


@pytest.mark.parametrize("sensor", SENSORS, ids=lambda sensor: sensor.name)
def test_bands_of_sensors_are_near_the_channels_that_they_stand_for(sensor):
    assert [channel_name(f"{band.wavelength_nm:g} nm") for band in sensor.bands] == [b.channel for b in sensor.bands]


@pytest.mark.parametrize(
    "name", [f"{LANDSAT}_ST_B10.TIF", "LC08_L1TP_107030_20180911_20200830_02_T1_B4.TIF", "B04.tif"]
)
def test_what_is_no_surface_reflectance_of_a_sensor_is_not_taken_for_it(name):
    assert sensor_of(name) is None
