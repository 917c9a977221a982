"""Building a cube again: only what changed, after a kill, and on other processes."""

import shutil
import signal
import subprocess
import sys

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 - gives xarray its .rio
import xarray as xr
import zarr

from coslide.config.event import read_event
from coslide.config.schema import NdviConfig
from coslide.cube.band import Band
from coslide.cube.cube import open_cube
from coslide.cube.store import NOTHING, Store
from coslide.errors import InputError
from coslide.indices.event_layers import LayerSpec, layer_keys, layer_specs, open_event_scenes
from coslide.io.atomic import whole_output
from coslide.io.executor import open_executor
from coslide.pipeline.build import CUBE, build_cube


@pytest.fixture
def event_folder(made_up_event, tmp_path):
    return shutil.copytree(made_up_event.parent, tmp_path / "event")


@pytest.fixture
def messages_of_build(listening):
    """A function that builds a cube and returns the messages of the build."""

    def build(event, path):
        lines = listening()
        build_cube(event, path)
        return lines

    return build


def assert_equal_cubes(found, expected):
    one, two = zarr.open_group(found, mode="r"), zarr.open_group(expected, mode="r")
    assert set(one.array_keys()) == set(two.array_keys())
    for name, array in one.arrays():
        np.testing.assert_array_equal(array[...], two[name][...], err_msg=name)


def killed_build(event_file, path, *, at):
    """Build in a process that kills itself when it logs a line that starts with `at`."""
    code = f"""
import logging, os, signal, sys
from coslide.config.event import read_event
from coslide.pipeline.build import build_cube
class Killer(logging.Handler):
    def emit(self, record):
        if record.getMessage().startswith({at!r}):
            os.kill(os.getpid(), signal.SIGKILL)
logging.getLogger("coslide").addHandler(Killer())
logging.getLogger("coslide").setLevel(logging.INFO)
build_cube(read_event(sys.argv[1]), sys.argv[2])
"""
    done = subprocess.run([sys.executable, "-c", code, str(event_file), str(path)], check=False)  # noqa: S603
    assert done.returncode == -signal.SIGKILL


def test_nothing_is_built_twice(made_up_event, tmp_path, messages_of_build):
    event, path = read_event(made_up_event), tmp_path / "index.zarr"
    build_cube(event, path)
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*") if file.is_file()}
    assert any("kept, its sources and settings have not changed" in line for line in messages_of_build(event, path))
    assert {file: file.stat().st_mtime_ns for file in path.rglob("*") if file.is_file()} == before


def test_only_what_changed_is_built_again(event_folder, tmp_path, messages_of_build):
    event, path = read_event(event_folder / "event.toml"), tmp_path / "index.zarr"
    build_cube(event, path)
    table = (event_folder / "stations.csv").read_text()
    (event_folder / "stations.csv").write_text(table + "141.95,42.70,45\n")
    lines = messages_of_build(event, path)
    assert "terrain: not changed" in lines
    assert "scene_post: not changed" in lines
    assert any(line.startswith("shaking: pga_class") for line in lines)
    assert_equal_cubes(path, build_cube(event, tmp_path / "fresh.zarr"))


def _lose_a_chunk(cube):
    (cube / "slope" / "0.0").unlink()


def _lose_an_end(cube):
    (cube / "y" / "0").unlink()
    (cube / "y" / "0").symlink_to("/dev/zero")


def _bend_the_metadata(cube):
    (cube / "slope" / ".zarray").write_text("[" * 100_000)


@pytest.mark.parametrize("damage", [_lose_a_chunk, _lose_an_end, _bend_the_metadata])
def test_what_is_damaged_in_an_older_cube_is_built_again(made_up_event, made_up_cube, tmp_path, damage):
    path = shutil.copytree(made_up_cube, tmp_path / "index.zarr")
    damage(path)
    build_cube(read_event(made_up_event), path)
    assert_equal_cubes(path, made_up_cube)


def test_a_changed_setting_rebuilds_its_part_and_what_stands_on_it(event_folder, tmp_path, messages_of_build):
    event, path = read_event(event_folder / "event.toml"), tmp_path / "index.zarr"
    build_cube(event, path)
    rougher = event.model_copy(update={"dem": event.dem.model_copy(update={"smoothing_sigma_px": 0.0})})
    lines = messages_of_build(rougher, path)
    assert any(line.startswith("terrain: elevation") for line in lines)
    assert any(line.startswith("valid: valid") for line in lines)
    assert "scene_pre: not changed" in lines
    assert_equal_cubes(path, build_cube(rougher, tmp_path / "fresh.zarr"))


def test_an_index_whose_source_is_gone_leaves_the_cube(event_folder, tmp_path):
    event, path = read_event(event_folder / "event.toml"), tmp_path / "index.zarr"
    build_cube(event, path)
    build_cube(event.model_copy(update={"faults": None}), path)
    assert "fault_distance_class" not in open_cube(path)
    assert not (path / "fault_distance_class").exists()


def test_a_new_name_of_the_event_changes_no_value(event_folder, tmp_path, messages_of_build):
    event, path = read_event(event_folder / "event.toml"), tmp_path / "index.zarr"
    build_cube(event, path)
    lines = messages_of_build(event.model_copy(update={"name": "Renamed"}), path)
    assert any("kept" in line for line in lines)
    assert open_cube(path).title == "Renamed"


def test_a_killed_build_shows_nothing_and_the_next_one_goes_on(made_up_event, tmp_path, messages_of_build):
    path = tmp_path / "index.zarr"
    killed_build(made_up_event, path, at="terrain: elevation")
    assert not path.exists()
    with pytest.raises(InputError, match="is no index cube, or not a whole one"):
        open_cube(tmp_path / ".index.part.zarr")
    lines = messages_of_build(read_event(made_up_event), path)
    assert "shaking: kept from a build that was interrupted" in lines
    assert [file.name for file in tmp_path.iterdir()] == ["index.zarr"]
    assert_equal_cubes(path, build_cube(read_event(made_up_event), tmp_path / "fresh.zarr"))


@pytest.mark.slow
def test_an_older_cube_stays_whole_when_the_build_of_a_new_one_is_killed(event_folder, tmp_path):
    event_file, path = event_folder / "event.toml", tmp_path / "index.zarr"
    build_cube(read_event(event_file), path)
    old = shutil.copytree(path, tmp_path / "old.zarr")
    event_file.write_text(event_file.read_text().replace("[dem]", "[dem]\nsmoothing_sigma_px = 1.0"))
    killed_build(event_file, path, at="valid:")
    assert_equal_cubes(path, old)
    assert open_cube(path).inputs == open_cube(old).inputs
    build_cube(read_event(event_file), path)
    assert open_cube(path).to_xarray()["slope"].attrs["smoothing_sigma_px"] == 1.0
    assert_equal_cubes(path, build_cube(read_event(event_file), tmp_path / "fresh.zarr"))


def test_two_builds_of_one_cube_do_not_mix(made_up_event, tmp_path):
    path = tmp_path / "index.zarr"
    with (
        whole_output(path, marker=CUBE, worth_resuming=lambda _: False),
        pytest.raises(InputError, match="another process is writing it"),
    ):
        build_cube(read_event(made_up_event), path)


def test_a_folder_of_the_user_is_never_replaced(made_up_event, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="is a folder that holds something else"):
        build_cube(read_event(made_up_event), tmp_path)
    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.slow
def test_workers_of_a_cluster_build_the_same_cube_to_the_bit(made_up_event, made_up_cube, tmp_path):
    with open_executor(count=2) as executor:
        path = build_cube(read_event(made_up_event), tmp_path / "index.zarr", executor=executor)
    assert_equal_cubes(path, made_up_cube)


@pytest.mark.parametrize("rows", [512, 32])
def test_the_height_of_the_windows_changes_no_value(made_up_event, made_up_cube, tmp_path, monkeypatch, rows):
    """R14: reading a window equals cropping a full read."""
    monkeypatch.setattr("coslide.cube.store.CHUNK", 16)
    monkeypatch.setattr("coslide.pipeline.build.WINDOW_ROWS", rows)
    monkeypatch.setattr("coslide.pipeline.build.WINDOW_COLUMNS", 48)
    assert_equal_cubes(build_cube(read_event(made_up_event), tmp_path / "index.zarr"), made_up_cube)


def test_everything_lies_on_one_grid(made_up_cube, made_up_event):
    """R10: same CRS, transform and shape for every band."""
    grid = open_event_scenes(read_event(made_up_event)).grid
    for name in open_cube(made_up_cube).attrs["indices"]:
        with rasterio.open(f'ZARR:"{made_up_cube}":/{name}') as file:
            assert (file.crs.to_epsg(), file.transform, file.shape) == (32654, grid.affine, tuple(grid.shape))


def test_rioxarray_finds_crs_and_place(made_up_cube):
    with xr.open_zarr(made_up_cube, chunks=None, decode_coords="all") as cube:
        grid = open_cube(made_up_cube).grid
        assert cube["slope"].rio.crs.to_epsg() == 32654
        assert cube["slope"].rio.transform() == grid.affine


def test_each_band_says_all_that_a_reader_must_know(made_up_cube):
    """R32: name, unit, dtype, nodata, source with its hash, date and the libraries that made it."""
    dataset = open_cube(made_up_cube).to_xarray()
    for name in dataset.attrs["indices"]:
        attrs = dataset[name].attrs
        assert {"long_name", "units", "role", "source", "resampling", "libraries", "valid_share", "value_range"} <= set(
            attrs
        )
        assert dataset[name].dtype in (np.float32, np.uint8)
        assert "_FillValue" in attrs
    assert "GDAL" in dataset["slope"].attrs["libraries"]


def test_the_contents_count_what_is_stored(made_up_cube):
    cube = open_cube(made_up_cube)
    rows = {row["band"]: row for row in cube.contents()}
    slope = cube.to_xarray()["slope"].values
    assert rows["slope"]["valid_share"] == pytest.approx(np.isfinite(slope).mean(), abs=1e-6)
    assert rows["slope"]["smallest"] == np.nanmin(slope)
    assert rows["slope"]["largest"] == np.nanmax(slope)
    blue = cube.to_xarray()["reflectance_pre"].sel(band="B2").values
    assert rows["reflectance_pre_B2"]["valid_share"] == pytest.approx(np.isfinite(blue).mean(), abs=1e-6)
    assert rows["reflectance_pre_B2"]["source"] == ["pre_B2.tif", "pre_B3.tif", "pre_B4.tif"]


def test_a_corrected_attribute_of_a_shapefile_is_seen(event_folder, tmp_path, messages_of_build):
    """The names of faults lie in a file beside the one that the event file names."""
    traces = gpd.read_file(event_folder / "faults.geojson")
    traces["name"] = "old"
    traces.to_file(event_folder / "faults.shp")
    event_file = event_folder / "event.toml"
    event_file.write_text(event_file.read_text().replace("faults.geojson", "faults.shp"))
    path = tmp_path / "index.zarr"
    build_cube(read_event(event_file), path)
    shape = (event_folder / "faults.shp").read_bytes()
    traces.assign(name="new").to_file(event_folder / "faults.shp")
    assert (event_folder / "faults.shp").read_bytes() == shape
    assert any(
        line.startswith("faults: fault_distance_class") for line in messages_of_build(read_event(event_file), path)
    )


def test_a_cube_behind_a_link_is_replaced_where_it_lies(event_folder, tmp_path):
    event, place = read_event(event_folder / "event.toml"), tmp_path / "scratch" / "index.zarr"
    build_cube(event, place)
    link = tmp_path / "index.zarr"
    link.symlink_to(place)
    build_cube(event.model_copy(update={"faults": None}), link)
    assert link.is_symlink()
    assert "fault_distance_class" not in open_cube(place)


def test_a_part_that_is_taken_over_brings_the_names_of_its_bands(made_up_cube, tmp_path):
    store = Store(tmp_path / "part.zarr", open_cube(made_up_cube).grid)
    store.open_group()
    other = [Band(f"reflectance_post_{channel}", channel=channel) for channel in ("B5", "B6", "B7")]
    store.create(other)
    store.finish(other, {}, [NOTHING] * 3)
    store.take_over("scene_post", made_up_cube)
    assert zarr.open_array(store.path / "band", mode="r")[:].tolist() == ["B2", "B3", "B4"]


def test_the_key_of_a_part_does_not_know_where_data_lie_or_how_an_address_is_signed(made_up_event):
    event = read_event(made_up_event)
    scenery = open_event_scenes(event)
    keys = []
    for token in ("a", "b"):
        part = LayerSpec(
            "x", lambda _: None, [f"https://example.org/item.json?sig={token}", str(event.root / "dem.tif")]
        )
        keys.append(layer_keys([part], event, scenery.grid)["x"])
    assert keys[0] == keys[1]


def test_the_role_of_ndvi_decides_the_key_of_the_scene(event_folder):
    """Without a scene before the event there is no difference: NDVI itself is then an input."""
    event = read_event(event_folder / "event.toml")
    event = event.model_copy(update={"ndvi": NdviConfig(inputs="difference")})
    alone = event.model_copy(update={"scenes": event.scenes.model_copy(update={"pre": None})})
    keys = []
    for each in (event, alone):
        scenery = open_event_scenes(each)
        keys.append(layer_keys(layer_specs(each, scenery), each, scenery.grid)["scene_post"])
    assert keys[0] != keys[1]
