"""The event file."""

import shutil
from pathlib import Path

import pytest

from coslide.config.event import read_event
from coslide.errors import InputError


def test_paths_start_from_root_and_are_absolute(made_up_event):
    event = read_event(made_up_event)
    assert event.scenes.post.bands["B2"].path == made_up_event.parent / "post_B2.tif"
    assert event.inventory.area == made_up_event.parent / "area.gpkg"


def test_the_regions_of_a_split_are_a_path_of_the_event(made_up_event, tmp_path):
    folder = shutil.copytree(made_up_event.parent, tmp_path / "event")
    file = folder / "event.toml"
    text = file.read_text() + 'split.scheme = "regions"\nsplit.regions = "area.gpkg"\n'
    file.write_text(text)
    event = read_event(file)
    assert event.training.split.regions == folder / "area.gpkg"
    assert event.training.changed(seed=3).width == 8
    file.write_text(text.replace('regions = "area.gpkg"', 'regions = "../area.gpkg"'))
    with pytest.raises(InputError, match=r"training\.split\.regions: \.\./area\.gpkg leads out of"):
        read_event(file)


def test_the_keys_of_a_band_override_those_of_its_scene(made_up_event, tmp_path):
    text = made_up_event.read_text().replace('B2 = "post_B2.tif"', 'B2 = { path = "post_B2.tif", scale = 2e-4 }')
    file = _beside(made_up_event, text, tmp_path)
    bands = read_event(file).scenes.post.bands
    assert (bands["B2"].scale, bands["B3"].scale) == (2e-4, 1e-4)


@pytest.mark.parametrize("scl", ['"dem.tif"', '{ path = "dem.tif", band = 1 }'])
def test_a_scene_classification_is_a_path_or_a_table(made_up_event, tmp_path, scl):
    text = made_up_event.read_text().replace("[scenes.post]", f"[scenes.post]\nscl = {scl}")
    read = read_event(_beside(made_up_event, text, tmp_path)).scenes.post.scl
    assert read.path.name == "dem.tif"
    assert read.scale is None  # that of the scene is for reflectance


def test_root_takes_an_environment_variable_and_its_default(made_up_event, tmp_path, monkeypatch):
    text = made_up_event.read_text()
    file = tmp_path / "event.toml"
    file.write_text(f'root = "${{EVENT_FOLDER:-{made_up_event.parent}}}"\n{text}')
    monkeypatch.delenv("EVENT_FOLDER", raising=False)
    assert read_event(file).root == made_up_event.parent
    monkeypatch.setenv("EVENT_FOLDER", "/nowhere")
    with pytest.raises(InputError, match="/nowhere/post_B2.tif does not exist"):
        read_event(file)


@pytest.mark.parametrize("name", ["dem.tif", "post_B2.tif", "stations.csv", "faults.geojson", "landslides.gpkg"])
def test_a_source_that_may_not_be_read_is_named_with_its_key(made_up_event, monkeypatch, name):
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != name)  # root may read all
    with pytest.raises(InputError, match=rf"event.toml: \w+[.\w]*: .*{name}: may not be read \(permission denied\)"):
        read_event(made_up_event)


def test_an_unset_variable_without_default_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("EVENT_FOLDER", raising=False)
    (tmp_path / "event.toml").write_text('root = "${EVENT_FOLDER}"\nname = "x"')
    with pytest.raises(InputError, match=r"root: \$\{EVENT_FOLDER\} is not set"):
        read_event(tmp_path / "event.toml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('id = "made-up"', 'idd = "made-up"'), "idd: unknown key"),
        (("[grid]", "[grid]\ncell_size_m = 10"), "grid.cell_size_m: unknown key"),
        (('name = "Made-up earthquake"', ""), "name: missing"),
        (('path = "dem.tif"', 'path = "none.tif"'), "dem.path: .*none.tif does not exist"),
        (
            ('path = "dem.tif"', 'path = "https://example.org/a/dem.tif?key=x"'),
            r"dem.path: found the address https://example.org/a/dem.tif.*; expected a file, so fetch it first",
        ),
        (('path = "dem.tif"', 'path = "s3://bucket/dem.tif"'), "the address s3://bucket/dem.tif; expected a file"),
        (('path = "dem.tif"', 'path = "../../etc/passwd"'), "dem.path: .* leads out of"),
        (('path = "dem.tif"', 'path = "/etc/passwd"'), "dem.path: /etc/passwd leads out of"),
        (('unit = "%g"', 'unit = "percent"'), "shaking.unit: found 'percent', expected"),
        (("epochs = 1", "epochs = 0"), "training.optimiser.epochs: found 0, expected"),
        (("stride = 24", "stride = 64"), "sampling.stride: found 64, expected at most the tile, 32"),
        (
            ('bands = { B2 = "pre_B2.tif", B3', "bands = { B3"),
            r"pre.bands: found \['B3', 'B4'\], expected those of post",
        ),
        (('unit = "%g"', 'unit = "%g"\nlevels_g = [0.2, 0.1]'), "levels_g: found .* expected 1 to 100 rising"),
        (('unit = "%g"', 'unit = "%g"\nlevels_g = [0, 0.1]'), "expected 1 to 100 rising numbers above 0"),
        (('path = "faults.geojson"', 'path = "faults.geojson"\nedges_km = [1, 100]'), "expected edges up to 50 km"),
        (
            ('path = "faults.geojson"', 'path = "faults.geojson"\nlayer = []'),
            r"faults.layer: found \[\], expected the name of",
        ),
        (
            ('path = "faults.geojson"', 'path = "faults.geojson"\nencoding = "hex"'),
            "faults.encoding: found 'hex', expected an",
        ),
        (("[grid]", '[grid]\narea_layer = "a"'), "grid: area_layer: goes with area"),
        (('crs = "EPSG:32654"', "pixel_size_m = inf"), "grid.pixel_size_m: found inf"),
        (('id = "made-up"', 'file = "x"'), "file: unknown key"),
        (("[dem]", "[dem"), "not a TOML file"),
    ],
)
def test_a_wrong_key_or_value_is_one_line_that_names_it(made_up_event, tmp_path, change, message):
    text = made_up_event.read_text()
    assert change[0] in text
    file = _beside(made_up_event, text.replace(*change), tmp_path)
    with pytest.raises(InputError, match=message) as error:
        read_event(file)
    assert "\n" not in str(error.value)


def test_a_missing_event_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.toml: cannot be read"):
        read_event(tmp_path / "none.toml")


def _beside(event_file, text, folder):
    """Write an event file into `folder` that finds the sources of another."""
    file = folder / "event.toml"
    file.write_text(f'root = "{event_file.parent}"\n{text}')
    return file
