"""The index cube."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import xarray as xr

from coslide.config.event import read_event
from coslide.cube.band import Band
from coslide.cube.cube import open_cube
from coslide.cube.store import Store
from coslide.errors import InputError
from coslide.indices.derivatives import slope_aspect_curvature, smooth
from coslide.indices.event_layers import layer_keys, layer_specs, open_event_scenes
from coslide.pipeline.build import build_cube
from coslide.sources.dem import open_elevation
from coslide.windows import Window

CHANNELS = (
    [f"reflectance_post_{band}" for band in ("B2", "B3", "B4")]
    + [f"reflectance_pre_{band}" for band in ("B2", "B3", "B4")]
    + ["pre_available", "elevation", "slope", "aspect_class", "mean_curvature", "pga_class", "fault_distance_class"]
)


KEPT = ("dtype", "_FillValue")


def without(event_file, *tables):
    """Return the event without some of its tables."""
    event = read_event(event_file)
    if "pre" in tables:
        event = event.model_copy(update={"scenes": event.scenes.model_copy(update={"pre": None})})
    return event.model_copy(update={name: None for name in tables if name != "pre"})


@pytest.fixture(scope="module")
def cube(made_up_cube):
    return open_cube(made_up_cube)


def test_the_channels_have_a_fixed_order(cube):
    assert [band.name for band in cube.inputs] == CHANNELS


def test_every_variable_says_what_it_is_and_where_it_comes_from(cube):
    for variable in cube.to_xarray().data_vars.values():
        assert {"long_name", "units", "role", "source"} <= variable.attrs.keys()
        assert "_FillValue" in variable.attrs
    assert cube.to_xarray()["slope"].attrs["source"] == ["dem.tif"]
    assert len(cube.to_xarray()["slope"].attrs["source_sha256"][0]) == 64
    assert cube.to_xarray()["slope"].attrs["resampling"] == "cubic_spline"


def test_the_grid_survives_the_store(cube, made_up_event):
    assert cube.grid == open_event_scenes(read_event(made_up_event)).grid


def test_gdal_reads_the_cube_with_its_crs_and_place(made_up_cube, cube):
    with rasterio.open(f'ZARR:"{made_up_cube}":/slope') as file:
        assert file.crs.to_epsg() == 32654
        assert file.transform == cube.grid.affine
        np.testing.assert_array_equal(file.read(1), cube.to_xarray()["slope"].values)


def test_xarray_decodes_the_cube_as_cf(made_up_cube):
    with xr.open_zarr(made_up_cube, chunks=None, decode_coords="all") as decoded:
        assert np.isnan(decoded["aspect_class"].values).sum() == (decoded["slope"].isnull()).sum()


def test_a_pixel_without_the_pre_event_scene_stays_valid_and_is_marked(cube):
    available, valid = cube.to_xarray()["pre_available"].values == 1, cube.valid()
    assert (valid & ~available).sum() > 0.2 * valid.sum()
    pre = cube.to_xarray()["reflectance_pre"].values
    assert np.isfinite(pre[:, available]).all()
    assert np.isnan(pre[:, ~available]).all()


def test_a_pixel_is_valid_where_the_post_event_scene_and_the_dem_are(cube):
    post = np.isfinite(cube.to_xarray()["reflectance_post"].values).all(axis=0)
    np.testing.assert_array_equal(cube.valid(), post & np.isfinite(cube.to_xarray()["elevation"].values))
    assert 0.9 < cube.valid().mean() < 1


def test_terrain_has_no_empty_ring_where_the_dem_goes_on(made_up_event, tmp_path):
    """R18: the DEM is read with a margin; here the scene is cut smaller than the DEM."""
    folder = shutil.copytree(made_up_event.parent, tmp_path / "event")
    for path in folder.glob("p*_B*.tif"):
        with rasterio.open(path) as file:
            window = rasterio.windows.Window(20, 20, file.width - 40, file.height - 40)
            values, profile = file.read(window=window), file.profile
            profile |= {"width": window.width, "height": window.height, "transform": file.window_transform(window)}
        with rasterio.open(path, "w", **profile) as file:
            file.write(values)
    cube = open_cube(build_cube(read_event(folder / "event.toml"), tmp_path / "index.zarr"))
    assert np.isfinite(cube.to_xarray()["slope"].values).all()
    assert np.isfinite(cube.to_xarray()["mean_curvature"].values).all()


def test_terrain_lies_where_the_dem_says(cube, made_up_event):
    """The margin that derivatives need is cut off again to the pixel: a shift by one row would show."""
    event = read_event(made_up_event)
    alone = open_elevation(event.dem, cube.grid).elevation(cube.grid)
    inner = (slice(20, -20), slice(20, -20))  # beyond the reach of the edge, which `alone` has no margin for
    np.testing.assert_allclose(cube.to_xarray()["elevation"].values[inner], alone[inner], atol=0.05)
    smoothed = smooth(alone, 3.0)
    slope = slope_aspect_curvature(smoothed, 10.0).slope_deg
    np.testing.assert_allclose(cube.to_xarray()["slope"].values[inner], slope[inner], atol=0.05)


def test_an_integer_dem_is_smoothed_and_the_cube_says_so(cube):
    """R20."""
    assert cube.to_xarray()["slope"].attrs["smoothing_sigma_px"] == 3.0
    assert "smoothing_sigma_px" not in cube.to_xarray()["elevation"].attrs


def test_missing_sources_leave_their_index_out_and_nothing_breaks(made_up_event, tmp_path):
    event = without(made_up_event, "pre", "shaking", "faults", "inventory")
    cube = open_cube(build_cube(event, tmp_path / "index.zarr"))
    assert [band.name for band in cube.inputs] == [*CHANNELS[:3], *CHANNELS[7:11]]
    with pytest.raises(InputError, match="no landslide labels"):
        _ = cube.labels


def test_rows_read_alone_are_those_of_the_whole(cube):
    np.testing.assert_array_equal(cube.read(slice(20, 41)), cube.read()[:, 20:41])


def test_channels_are_picked_by_name_in_the_order_asked(cube):
    bands = {band.name: place for place, band in enumerate(cube.inputs)}
    wanted = [cube.inputs[bands[name]] for name in ("slope", "reflectance_pre_B3", "reflectance_post_B3")]
    expected = cube.read()[[bands[band.name] for band in wanted]]
    np.testing.assert_array_equal(cube.read(bands=wanted), expected)


def test_an_unclassified_pixel_is_nan_to_the_network(cube):
    aspect = [band.name for band in cube.inputs].index("aspect_class")
    np.testing.assert_array_equal(np.isnan(cube.read()[aspect]), cube.to_xarray()["aspect_class"].values == 255)


def test_labels_are_nodata_outside_the_mapped_area_and_where_nothing_is_valid(cube):
    labels = cube.labels
    assert (labels[~cube.valid()] == 255).all()
    assert (labels[:4] == 255).all()
    assert set(np.unique(labels)) == {0, 1, 255}


def test_the_keys_change_with_a_source_and_a_setting_but_not_with_the_training(made_up_event, tmp_path):
    def keys(event):
        scenery = open_event_scenes(event)
        return layer_keys(layer_specs(event, scenery), event, scenery.grid)

    folder = shutil.copytree(made_up_event.parent, tmp_path / "event")
    event = read_event(folder / "event.toml")
    first = keys(event)
    assert keys(event.model_copy(update={"training": event.training.changed(seed=9)})) == first
    assert keys(event.model_copy(update={"shaking": event.shaking.model_copy(update={"unit": "g"})})) != first
    (folder / "stations.csv").write_text((folder / "stations.csv").read_text() + "141.0,42.0,9\n")
    assert keys(event) != first


@pytest.mark.parametrize(("setting", "measured"), [("auto", True), ("measure", True), ("off", False)])
def test_the_scenes_are_coregistered_unless_the_event_file_turns_it_off(made_up_event, setting, measured):
    event = read_event(made_up_event)
    event = event.model_copy(update={"scenes": event.scenes.model_copy(update={"coregister": setting})})
    [before] = [part for part in layer_specs(event, open_event_scenes(event)) if part.name == "scene_pre"]
    assert ("coregistration" in before.prepare(None).bands[0].provenance) == measured


def test_a_window_that_is_no_part_of_the_grid_is_not_written(cube, tmp_path):
    store, band = Store(tmp_path / "index.zarr", cube.grid), Band("slope", "degree")
    store.open_group()
    store.create([band])
    beyond = cube.grid.pad(1)
    with pytest.raises(ValueError, match="expected a part of"):
        store.write([band], {"slope": np.zeros(beyond.shape, np.float32)}, beyond)


def test_long_band_names_stay_apart(made_up_event, tmp_path):
    event = without(made_up_event, "pre", "shaking", "faults", "inventory")
    bands = event.scenes.post.bands
    named = {"rededge1": bands["B2"], "rededge2": bands["B3"], "green": bands["B4"]}
    scenes = event.scenes.model_copy(update={"post": event.scenes.post.model_copy(update={"bands": named})})
    cube = open_cube(build_cube(event.model_copy(update={"scenes": scenes}), tmp_path / "index.zarr"))
    assert {f"reflectance_post_{name}" for name in named} == {band.name for band in cube.inputs[:3]}


def test_a_build_that_fails_leaves_nothing_under_its_name(made_up_event, tmp_path):
    event = read_event(made_up_event)
    broken = event.model_copy(
        update={"faults": event.faults.model_copy(update={"path": event.root / "points.geojson"})}
    )
    with pytest.raises(InputError, match="found Point, expected fault traces"):
        build_cube(broken, tmp_path / "index.zarr")
    assert not (tmp_path / "index.zarr").exists()


@pytest.mark.parametrize("content", [None, "empty folder", "zarr of something else"])
def test_what_is_no_cube_is_refused(tmp_path, content):
    path = tmp_path / "index.zarr"
    if content == "empty folder":
        path.mkdir()
    elif content:
        xr.Dataset({"a": ("x", [1])}).to_zarr(path, zarr_format=2)
    with pytest.raises(InputError, match=r"index\.zarr"):
        open_cube(path)


@pytest.mark.realdata
def test_the_real_event_becomes_a_cube(data_folder, tmp_path, monkeypatch):
    """Shapes and ranges that a geologist would expect of this terrain."""
    monkeypatch.setenv("COSLIDE_DATA", str(data_folder))
    from pathlib import Path

    example = Path(__file__).parents[2] / "examples" / "iburi-2018" / "event.toml"
    cube = open_cube(build_cube(read_event(example), tmp_path / "index.zarr"))
    assert [band.name for band in cube.inputs] == CHANNELS
    assert cube.grid.crs.to_epsg() == 32654
    valid = cube.valid()
    assert 0.5 < (cube.to_xarray()["pre_available"].values[valid] == 1).mean() < 0.75
    assert 0 <= np.nanmin(cube.to_xarray()["elevation"].values) < 20
    assert np.nanpercentile(cube.to_xarray()["slope"].values, 99) < 35
    low_g, high_g = cube.to_xarray()["pga_class"].attrs["range_g"]
    assert 0.6 < low_g < high_g < 0.76
    assert set(np.unique(cube.to_xarray()["fault_distance_class"].values)) == {1, 2, 3, 4, 5, 6, 7}
    labels = cube.labels
    assert 0.1 < (labels == 1).sum() / (labels != 255).sum() < 0.15


@pytest.fixture(
    params=[2, pytest.param(3, marks=pytest.mark.filterwarnings("ignore:.*Zarr V3 specification", "ignore:Consol"))]
)
def saved(request, made_up_cube, tmp_path):
    """Save a part of the cube with xarray as people do, and give the path."""

    def save(change):
        with xr.open_zarr(made_up_cube) as dataset:
            changed = change(dataset)
            for variable in changed.variables.values():  # the codecs of one format are not those of the other
                variable.encoding = {key: variable.encoding[key] for key in KEPT if key in variable.encoding}
            changed.to_zarr(tmp_path / "part.zarr", zarr_format=request.param)
        return tmp_path / "part.zarr"

    return save


def test_a_cut_cube_lies_where_its_coordinates_say(saved, cube):
    part = open_cube(saved(lambda dataset: dataset.isel(y=slice(20, 70), x=slice(10, 60))))
    assert part.grid == cube.grid[20:70, 10:60]
    assert part.bands == cube.bands
    np.testing.assert_array_equal(part.read(), cube.read(Window(20, 10, 50, 50)))
    np.testing.assert_array_equal(part.labels, cube.labels[20:70, 10:60])
    assert part.fingerprint != cube.fingerprint


def test_a_cube_of_every_second_pixel_has_pixels_of_twice_the_size(saved, cube):
    part = open_cube(saved(lambda dataset: dataset.isel(y=slice(0, 40, 2), x=slice(0, 60, 2))))
    assert abs(part.grid.affine.a) == abs(part.grid.affine.e) == 20
    np.testing.assert_array_equal(part.read(bands=part.bands[:1]), cube.read(bands=cube.bands[:1])[:, 0:40:2, 0:60:2])
    centre, same = part.grid.affine @ (2.5, 1.5), cube.grid.affine @ (4.5, 2.5)
    assert centre == same


@pytest.mark.parametrize(
    "change",
    [
        lambda dataset: dataset.isel(y=slice(None, None, -1)),
        lambda dataset: dataset.isel(x=slice(None, None, 2)),
        lambda dataset: dataset.isel(x=[0, 1, 2, 7, 8]),
        lambda dataset: dataset.drop_vars(["x", "y"]),
        lambda dataset: dataset.isel(band=[0, 2]),
    ],
    ids=["flipped", "every second column", "with a gap", "without coordinates", "two bands of three"],
)
def test_a_cube_that_is_no_rectangle_of_square_pixels_is_refused_in_one_line(made_up_cube, change, tmp_path):
    with xr.open_zarr(made_up_cube) as dataset:
        change(dataset).to_zarr(tmp_path / "part.zarr", zarr_format=2)
    with pytest.raises(InputError, match=r"part\.zarr: [^\n]*expected[^\n]*$"):
        open_cube(tmp_path / "part.zarr")


def test_a_cut_cube_is_not_kept_for_the_whole(made_up_event, made_up_cube, cube, tmp_path):
    with xr.open_zarr(made_up_cube) as dataset:
        dataset.isel(y=slice(0, 50)).to_zarr(tmp_path / "index.zarr", zarr_format=2)
    built = open_cube(build_cube(read_event(made_up_event), tmp_path / "index.zarr"))
    np.testing.assert_array_equal(built.read(), cube.read())


def test_a_class_map_that_was_decoded_is_refused(made_up_cube, tmp_path):
    """As floats its nodata would be a class."""
    with xr.open_zarr(made_up_cube) as dataset:
        dataset.drop_encoding().to_zarr(tmp_path / "part.zarr", zarr_format=2)
    with pytest.raises(InputError, match=r"pre_available: found float32, expected uint8"):
        open_cube(tmp_path / "part.zarr")


def test_the_metadata_of_a_band_survive_the_store(cube, made_up_event):
    event = read_event(made_up_event)
    scenery = open_event_scenes(event)
    [terrain] = [part for part in layer_specs(event, scenery) if part.name == "terrain"]
    for band in terrain.prepare(None).bands:
        [found] = [each for each in cube.bands if each.name == band.name]
        assert replace(found, provenance={}) == replace(band, provenance={})
        for name in ("group", "optional", "role", "long_name", "signed"):
            assert getattr(found, name) == getattr(band, name)
        assert band.provenance.items() <= found.provenance.items()


def test_classes_are_written_as_cf_has_them(cube):
    attrs = cube.to_xarray()["pga_class"].attrs
    assert attrs["flag_values"] == [0, 1, 2, 3, 4, 5]
    assert attrs["flag_meanings"].split()[:2] == ["below_0.12_g", "0.12_to_0.16_g"]
