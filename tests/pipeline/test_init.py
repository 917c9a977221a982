"""An event file from a folder of files: what each is taken for, and what is left out and why."""

import datetime as dt
import json
import shutil
import sys

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from shapely.geometry import box

from coslide.cli import main
from coslide.config.event import read_event
from coslide.config.toml import read_toml
from coslide.errors import InputError
from coslide.pipeline.build import build_cube
from coslide.pipeline.init import init_event

GRID_XML = """<shakemap_grid xmlns="http://earthquake.usgs.gov/eqcenter/shakemap" shakemap_event_type="{kind}">
<event event_id="us1" magnitude="6.5" event_timestamp="{time}" event_description="Made up"/>
<grid_specification lon_min="141" lat_min="42" lon_max="142" lat_max="43" nlon="2" nlat="2"
 nominal_lon_spacing="1" nominal_lat_spacing="1"/>
<grid_field index="1" name="LON" units="dd"/><grid_field index="2" name="LAT" units="dd"/>
<grid_field index="3" name="PGA" units="pctg"/>
<grid_data>141 43 30 142 43 31 141 42 32 142 42 33</grid_data></shakemap_grid>"""


def write_raster(path, bands, *, dtype="uint16", pixel_m=10.0, left=575_000.0, **more):
    bands = np.asarray(bands)
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff",
        "height": bands.shape[1],
        "width": bands.shape[2],
        "count": len(bands),
        "dtype": dtype,
    }
    transform = from_origin(left, 4_731_000, pixel_m, pixel_m)
    with rasterio.open(path, "w", crs="EPSG:32654", transform=transform, **profile, **more) as file:
        file.write(bands.astype(dtype))
    return path


def scene(folder, name, *, bands=("B02", "B03", "B04"), value=800):
    for band in bands:
        write_raster(folder / name.format(band), np.full((1, 40, 40), value))


def dem(folder, name="dem.tif", **more):
    heights = np.linspace(100, 900, 1600).reshape(1, 40, 40)
    return write_raster(folder / name, heights, dtype="float32", **more)


def why(written, name):
    return next(line.why for line in written.lines if name in line.name and not line.purpose)


def test_the_files_of_an_event_are_found_and_the_written_file_builds(made_up_event, tmp_path):
    """The same event as the file that a person wrote for them."""
    folder = shutil.copytree(made_up_event.parent, tmp_path / 'an "odd" fold =er')
    (folder / "event.toml").unlink()
    (folder / "stations.csv").rename(folder / "pga_percent_g.csv")
    written = init_event(folder)
    assert written.path == folder / "event.toml"
    by_hand, own = read_toml(made_up_event), read_event(written.path)
    found = read_toml(written.path)
    for table in ("scenes", "dem", "faults"):
        assert found[table] == by_hand[table]
    assert (own.shaking.stations.name, own.shaking.unit) == ("pga_percent_g.csv", "%g")
    assert (own.inventory.path.name, own.inventory.area.name) == ("landslides.gpkg", "area.gpkg")
    assert why(written, "points.geojson") == "geometry of type Point"
    build_cube(own, tmp_path / "index.zarr")


def test_dates_tell_the_scenes_apart_where_the_time_of_the_earthquake_is_known(tmp_path):
    (tmp_path / "grid.xml").write_text(GRID_XML.format(kind="ACTUAL", time="2018-09-05T18:07:59"))
    for day in ("20180101", "2018-08-25", "20180911", "20190601"):
        scene(tmp_path / day, "x_{}_10m.tif")
    dem(tmp_path)
    written = init_event(tmp_path)
    event = written.event
    assert event.time_utc == dt.datetime(2018, 9, 5, 18, 7, 59, tzinfo=dt.UTC)
    assert (event.magnitude, event.id, event.name) == (6.5, "us1", "M 6.5, Made up")
    assert (event.scenes.post.date, event.scenes.pre.date) == (dt.date(2018, 9, 11), dt.date(2018, 8, 25))
    assert event.scenes.post.bands["B2"].scale == 1e-4
    assert event.shaking.shakemap == tmp_path / "grid.xml"
    assert not event.simulated
    left_out = [line.why for line in written.lines if not line.purpose]
    assert sum("was taken instead" in text for text in left_out) == 2
    assert "11 days before the earthquake" in str(written.lines)


@pytest.mark.parametrize(
    ("names", "post", "pre"),
    [
        (("before/{}.tif", "after/{}.tif"), "after", "before"),
        (("2018-09-01_{}.tif", "2018-09-11_{}.tif"), "2018-09-11", "2018-09-01"),
        (("only_{}.tif",), "only", None),
        (("20180911_post_{}.tif", "20180901_pre_{}.tif", "20180906_{}.tif"), "post", "pre"),
    ],
)
def test_names_or_the_order_of_dates_tell_where_nothing_else_does(tmp_path, names, post, pre):
    for name in names:
        scene(tmp_path, name)
    dem(tmp_path)
    scenes = init_event(tmp_path).event.scenes
    assert post in str(scenes.post.bands["B2"].path)
    assert (scenes.pre is None) if pre is None else (pre in str(scenes.pre.bands["B2"].path))


def test_a_scene_of_the_day_itself_is_left_out_unless_its_name_tells(tmp_path):
    (tmp_path / "grid.xml").write_text(GRID_XML.format(kind="SCENARIO", time="2018-09-05T18:07:59"))
    scene(tmp_path, "20180905_{}.tif")
    scene(tmp_path, "20180906_{}.tif")
    dem(tmp_path)
    written = init_event(tmp_path)
    assert "before or after the earthquake?" in why(written, "20180905")
    assert written.event.simulated
    (tmp_path / "event.toml").unlink()
    scene(tmp_path, "20180905_pre_{}.tif")
    assert init_event(tmp_path).event.scenes.pre.date == dt.date(2018, 9, 5)


def test_one_raster_that_names_its_bands_is_a_scene(tmp_path):
    path = write_raster(tmp_path / "a.tif", np.full((4, 40, 40), 0.1), dtype="float32")
    with rasterio.open(path, "r+") as file:
        file.descriptions = ("Red", "B03 (green)", "490 nm", "texture")
    dem(tmp_path)
    bands = init_event(tmp_path).event.scenes.post.bands
    assert {name: band.band for name, band in bands.items()} == {"B4": 1, "B3": 2, "B2": 3}
    assert {band.scale for band in bands.values()} == {None}


def test_a_picture_in_8_bits_is_taken_and_told_of(tmp_path):
    write_raster(tmp_path / "rgb.tif", np.full((3, 40, 40), 90), dtype="uint8", photometric="RGB")
    dem(tmp_path)
    written = init_event(tmp_path)
    assert {name: band.band for name, band in written.event.scenes.post.bands.items()} == {"B4": 1, "B3": 2, "B2": 3}
    assert "whose scale is not known" in str(written.lines)


def test_a_landsat_product_is_taken_with_its_own_pixels_where_there_is_an_inventory(tmp_path):
    product = "LC09_L2SP_107030_20180911_20200830_02_T1"
    for band in range(1, 8):
        write_raster(tmp_path / product / f"{product}_SR_B{band}.TIF", np.full((1, 40, 40), 9000), pixel_m=30)
    write_raster(tmp_path / product / f"{product}_QA_PIXEL.TIF", np.full((1, 40, 40), 21824), pixel_m=30)
    (tmp_path / product / f"{product}_MTL.txt").touch()
    dem(tmp_path, pixel_m=30)
    written = init_event(tmp_path, tmp_path / "a.toml")
    assert read_toml(written.path)["scenes"]["post"] == {
        "products": [product], "bands": ["B2", "B3", "B4", "B8A", "B11", "B12"],
    }  # fmt: skip
    assert "grid" not in read_toml(written.path)
    assert [line for line in written.lines if not line.purpose] == []
    slides = gpd.GeoDataFrame(geometry=[box(575_100, 4_730_000, 575_300, 4_730_200)], crs="EPSG:32654")
    slides.to_file(tmp_path / "landslides.gpkg")
    assert init_event(tmp_path, tmp_path / "b.toml").event.grid.pixel_size_m == 30


def test_tiles_of_an_elevation_model_are_taken_together_and_of_two_models_one(tmp_path):
    scene(tmp_path, "post_{}.tif")
    for number in range(2):
        dem(tmp_path / "tiles", f"dem_{number}.tif", left=575_000 + 400 * number)
    assert len(init_event(tmp_path, tmp_path / "a.toml").event.dem.paths) == 2
    dem(tmp_path / "tiles", "dem_2.tif")
    asked = []

    def ask(question, options):
        asked.append((question, options))
        return next(number for number, option in enumerate(options) if "dem_2" in option)

    written = init_event(tmp_path, tmp_path / "b.toml", ask=ask)  # the third overlaps the first
    assert [(question, len(options)) for question, options in asked] == [("Which file is it for [dem] path?", 3)]
    assert written.event.dem.path.name == "dem_2.tif"


def test_what_is_no_elevation_is_not_taken_for_it(tmp_path):
    scene(tmp_path, "post_{}.tif")
    for name in ("slope.tif", "other.tif"):
        write_raster(tmp_path / name, np.linspace(0, 0.5, 1600).reshape(1, 40, 40), dtype="float32")
    with pytest.raises(InputError, match="found no elevation model"):
        init_event(tmp_path)
    assert not (tmp_path / "event.toml").exists()
    dem(tmp_path)
    written = init_event(tmp_path)
    assert "something else" in why(written, "slope.tif")
    assert "no name that tells" in why(written, "other.tif")


def test_geology_is_put_in_order_where_its_units_tell_an_age(tmp_path):
    scene(tmp_path, "post_{}.tif")
    dem(tmp_path)
    units = ["Q", "T1", "P2-T1", "D2", "Cretaceous"]
    squares = [box(575_000 + 80 * i, 4_730_600, 575_080 + 80 * i, 4_731_000) for i in range(5)]
    frame = gpd.GeoDataFrame({"rock": ["a"] * 5, "unit": units}, geometry=squares, crs="EPSG:32654")
    frame.to_file(tmp_path / "geology.gpkg")
    geology = init_event(tmp_path, tmp_path / "a.toml").event.geology
    assert (geology.field, geology.ages) == ("unit", ("D2", "P2-T1", "T1", "Cretaceous", "Q"))
    frame.drop(columns="unit").to_file(tmp_path / "geology.gpkg")
    written = init_event(tmp_path, tmp_path / "b.toml")
    assert written.event.geology is None
    assert "add [geology] with field and ages" in why(written, "geology.gpkg")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("stations.csv", "lon,lat,pga\n141,42,0.3", "whose unit neither its column nor its name tells"),
        ("rain.csv", "lon,lat,rain_mm,date\n141,42,3,2018-09-01", "nothing tells when the event was"),
        ("notes.csv", "a,b\n1,2", "without columns of longitude"),
        ("scene.SAFE.zip", "", "an archive; unpack it first"),
        ("notes.txt", "", "no kind of file that an event has"),
        ("bad.xml", "<a", "is not XML"),
        ("bad.geojson", "{", "no vector file, or not whole"),
        ("bad.tif", "II*", "cannot be read as a raster"),
    ],
)
def test_what_cannot_be_used_is_left_out_with_the_reason(tmp_path, name, text, expected):
    scene(tmp_path, "post_{}.tif")
    dem(tmp_path)
    (tmp_path / name).write_text(text)
    assert expected in why(init_event(tmp_path), name)


def test_a_link_that_leads_out_of_the_folder_is_not_followed(tmp_path):
    scene(tmp_path / "in", "post_{}.tif")
    dem(tmp_path)
    (tmp_path / "in" / "dem.tif").symlink_to(tmp_path / "dem.tif")
    with pytest.raises(InputError, match="no elevation model"):
        init_event(tmp_path / "in")


def test_a_folder_without_a_scene_is_refused_with_what_was_seen(tmp_path):
    dem(tmp_path)
    (tmp_path / "scene.zip").touch()
    with pytest.raises(InputError, match=r"found no scene after the earthquake.*scene\.zip: an archive"):
        init_event(tmp_path)
    (tmp_path / "event.toml").touch()
    with pytest.raises(InputError, match="exists already; name another file with --out"):
        init_event(tmp_path)


def test_the_rupture_of_a_shakemap_tells_time_and_size(tmp_path):
    scene(tmp_path, "post_{}.tif")
    dem(tmp_path)
    about = {"id": "us1", "time": "2018-09-05T18:07:59.000000Z", "mag": 6.6, "locstring": "Tomakomai"}
    (tmp_path / "rupture.json").write_text(json.dumps({"type": "FeatureCollection", "metadata": about, "features": []}))
    event = init_event(tmp_path).event
    assert (event.name, event.magnitude, event.time_utc.hour) == ("M 6.6, Tomakomai", 6.6, 18)


def test_the_command_tells_what_it_took_and_asks_nothing_when_piped(tmp_path, monkeypatch, capsys):
    scene(tmp_path, "post_{}.tif")
    for name in ("dem.tif", "dem2.tif"):
        dem(tmp_path, name)
    monkeypatch.setattr(sys, "argv", ["coslide", "init", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert not ended.value.code
    assert "scenes.post" in out
    assert "dem.tif was taken instead" in out
    assert f"made: {tmp_path / 'event.toml'}" in err
    assert "next: look through it, then: coslide run" in err


@pytest.mark.realdata
def test_the_files_of_a_real_event_are_found(data_folder, tmp_path):
    """Those that a person chose in the event file of the example."""
    event = init_event(data_folder / "iburi-2018", tmp_path / "event.toml").event
    assert event.time_utc == dt.datetime(2018, 9, 5, 18, 7, 59, tzinfo=dt.UTC)
    assert [band.path.name for band in event.scenes.pre.bands.values()] == ["pre_B2.tif", "pre_B3.tif", "pre_B4.tif"]
    assert event.dem.path.name == "AW3D30_DSM.tif"
    assert (event.shaking.stations.name, event.shaking.unit) == ("stations_pga_percent_g.csv", "%g")
    assert (event.faults.path.name, event.inventory.path.name) == ("gem_active_faults.gpkg", "slope_failures.gpkg")
    assert event.inventory.area.name == "interpretation_area.gpkg"
