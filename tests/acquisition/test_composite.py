"""A scene out of several dates."""

import datetime as dt
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox

from coslide.acquisition.composite import write_composite
from coslide.config.schema import SceneConfig
from coslide.io import cog
from coslide.sources.sentinel2 import open_scene

SPEC = importlib.util.spec_from_file_location("small_server", Path(__file__).with_name("small_server.py"))
small_server = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(small_server)

EVENT = dt.datetime(2018, 9, 5, 18, 7, 59, tzinfo=dt.UTC)
INVALID = (0, 1, 3, 8, 9, 10, 11)
DAYS = {"a": ("2018-09-11T01:26:51Z", 6), "b": ("2018-09-16T01:26:51Z", 11), "c": ("2018-09-01T01:26:51Z", -4)}
BANDS = ("B1", "B2", "B11")
SIZES = {"B1": 60, "B2": 10, "B11": 20}


def clouds(seed):
    """Draw clouds in patches of 100 m, with classes of all kinds."""
    small = np.random.default_rng(seed).choice(range(12), (96, 96))
    return small.repeat(5, 0).repeat(5, 1).astype(np.uint8)


def config(folder, name, *, bands=BANDS, **keys):
    return SceneConfig(products=(folder / name / "item.json",), bands=bands, **keys)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Three dates of a tile."""
    folder = tmp_path_factory.mktemp("archive")
    for seed, (name, (date, _)) in enumerate(DAYS.items()):
        small_server.write_tile(folder, name, date=date, scl=clouds(seed), seed=seed)
    return folder


@pytest.fixture(scope="module")
def composite(archive, tmp_path_factory):
    """A scene of them."""
    folder = tmp_path_factory.mktemp("composite")
    keys = write_composite([config(archive, name) for name in DAYS], folder, root=archive, event_time=EVENT)
    return folder, keys


def stored(path):
    with rasterio.open(path) as file:
        return file.read(1)


@pytest.mark.parametrize("band", BANDS)
def test_each_pixel_has_the_stored_value_of_the_first_clear_date(archive, composite, band):
    """The witness goes from pixel to pixel."""
    folder, _ = composite
    esa = {"B1": "B01", "B2": "B02", "B11": "B11"}[band]
    values = [stored(archive / name / f"{esa}.tif") for name in DAYS]
    classes = [stored(archive / name / "SCL.tif") for name in DAYS]
    found, days = stored(folder / f"{band}.tif"), stored(folder / "days.tif")
    assert found.shape == values[0].shape
    for row in range(0, found.shape[0], 7):
        for col in range(0, found.shape[1], 5):
            y, x = (int((place + 0.5) * SIZES[band] / 20) for place in (row, col))
            first = next((number for number in range(3) if classes[number][y, x] not in INVALID), None)
            assert found[row, col] == (0 if first is None else values[first][row, col])
            assert days[y, x] == (-32768 if first is None else list(DAYS.values())[first][1])


def test_the_classification_is_that_of_the_chosen_date(archive, composite):
    folder, _ = composite
    classes = [stored(archive / name / "SCL.tif") for name in DAYS]
    expected = np.zeros_like(classes[0])
    for own in reversed(classes):
        expected = np.where(np.isin(own, INVALID), expected, own)
    np.testing.assert_array_equal(stored(folder / "SCL.tif"), expected)


def test_the_event_file_reads_it_as_it_reads_a_scene(archive, composite):
    folder, keys = composite
    assert str(keys["date"]) == "2018-09-11"
    table = {key: value for key, value in keys.items() if key not in {"bands", "scl"}}
    files = {"bands": {name: str(path) for name, path in keys["bands"].items()}, "scl": str(keys["scl"])}
    scene = open_scene(SceneConfig.model_validate(table | files), root=folder)
    single = open_scene(config(archive, "a"), root=archive)
    with rasterio.open(folder / "B2.tif") as file:
        grid = GeoBox(file.shape, file.transform, "EPSG:32654")[60:300, 120:480]
    clear = single.clear(grid)
    np.testing.assert_array_equal(scene.reflectance("B2", grid)[clear], single.reflectance("B2", grid)[clear])
    assert (scene.clear(grid) & clear == clear).all()
    assert scene.clear(grid).mean() > clear.mean() + 0.1


@pytest.mark.slow
def test_products_of_another_offset_and_zone_are_put_together(tmp_path):
    """R5, R13: an old baseline and a tile of the other UTM zone give the same reflectance as their scenes."""
    gap = np.full((480, 480), 4, np.uint8)
    gap[:, 300:] = 9
    first = small_server.write_tile(tmp_path, "a", scl=gap, left=252000, orbit=74)
    clear = np.full((480, 480), 5, np.uint8)
    second = small_server.write_tile(
        tmp_path, "b", scl=clear, epsg=32653, left=741000, date=DAYS["b"][0], baseline="02.14", seed=1
    )
    for name, item in (("a", first), ("b", second)):
        for key in ("blue", "swir16", "coastal"):
            item["assets"][key]["raster:bands"][0]["offset"] = 0 if name == "b" else -0.1
        (tmp_path / name / "item.json").write_text(small_server.json.dumps(item))
    scenes = [config(tmp_path, name, bands=("B11",)) for name in ("a", "b")]
    keys = write_composite(scenes, tmp_path / "out", root=tmp_path, event_time=EVENT)
    with rasterio.open(keys["bands"]["B11"]) as file:
        grid, found = GeoBox(file.shape, file.transform, str(file.crs)), file.read(1, masked=True)
        assert str(file.crs) == "EPSG:32654"
        assert file.scales == (1.0,)
    readers = [open_scene(scene, root=tmp_path) for scene in scenes]
    expected = readers[0].reflectance("B11", grid)
    expected[~readers[0].clear(grid)] = np.nan
    filled = np.where(np.isnan(expected) & readers[1].clear(grid), readers[1].reflectance("B11", grid), expected)
    np.testing.assert_allclose(np.ma.filled(found * 1e-4 - 0.1, np.nan), filled, atol=6e-5)
    assert np.isfinite(filled).mean() > np.isfinite(expected).mean() + 0.05


def test_strips_of_rows_give_what_the_whole_gives(archive, composite, tmp_path, monkeypatch):
    """Memory is bounded by strips, whatever the area."""
    monkeypatch.setattr(cog, "_BLOCK_PX", 128)
    asked = []
    strips = cog.row_strips
    monkeypatch.setattr(cog, "row_strips", lambda *at: [asked.append(rows) or rows for rows in strips(*at)])
    write_composite([config(archive, name) for name in DAYS], tmp_path, root=archive, event_time=EVENT)
    assert max(rows.stop - rows.start for rows in asked) == 128
    for path in composite[0].glob("*.tif"):
        np.testing.assert_array_equal(stored(path), stored(tmp_path / path.name))


def test_of_one_date_it_is_that_date_where_it_is_clear(archive, tmp_path):
    keys = write_composite([config(archive, "c", scl_invalid=(9,))], tmp_path, root=archive, event_time=EVENT)
    classes, days = stored(archive / "c" / "SCL.tif"), stored(tmp_path / "days.tif")
    np.testing.assert_array_equal(days == -4, ~np.isin(classes, (0, 9)))
    assert str(keys["date"]) == "2018-09-01"
