"""Mapping a scene: test-time augmentation, resuming, workers, and the files that a map consists of."""

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pystac
import pytest
import rasterio

from coslide.cube.cube import open_cube
from coslide.errors import InputError
from coslide.io.executor import open_executor
from coslide.io.resumable import ResumableRaster
from coslide.mapping.export import export_onnx
from coslide.mapping.metadata import load_metadata
from coslide.mapping.model import Model, load_model
from coslide.mapping.probability_map import read_probability_map
from coslide.mapping.sliding_window import augmented, mean_and_spread
from coslide.pipeline import predict as map_module
from coslide.pipeline.predict import predict_scene
from coslide.pipeline.scene_predictor import InferenceOptions, ScenePredictor, encoder_for, predict_array
from coslide.samples.augment import apply_dihedral, undo_dihedral

FILES = {
    "probability.tif", "landslides.gpkg", "landslides.parquet", "density.tif", "summary.json", "summary.png",
    "item.json", "probability.qml", "density.qml", "scene_after.tif", "scene_before.tif", "hillshade.tif",
    "landslides.qgz", "context.gpkg",
}  # fmt: skip


@pytest.fixture(scope="module")
def mapped(made_up_model, made_up_cube, tmp_path_factory):
    return predict_scene(made_up_model, made_up_cube, tmp_path_factory.mktemp("map"))


def test_a_map_leaves_its_files_and_nothing_else(mapped):
    assert {path.name for path in mapped.iterdir()} == FILES


def test_the_inventory_says_what_the_cube_knows(mapped, made_up_cube):
    cube = open_cube(made_up_cube)
    frame = gpd.read_parquet(mapped / "landslides.parquet")
    assert len(frame)
    assert frame.relief_m.notna().all()
    assert frame.pga_g.between(0.1, 0.4).all()
    assert (frame.fault_distance_m > 0).all()
    slope = cube.to_xarray()["slope"].values
    assert (frame.slope_max_deg.dropna() <= np.nanmax(slope) + 1e-4).all()  # no slope at the rim
    assert (frame.stratum == 0).all()  # this event has no geological map


def test_the_item_lists_every_file_of_the_map(mapped):
    item = pystac.Item.from_file(str(mapped / "item.json"))
    hrefs = {asset.href.removeprefix("./") for asset in item.assets.values()}
    for_qgis = {name for name in FILES if name.endswith((".qml", ".qgz"))} | {"context.gpkg"}
    assert hrefs == FILES - {"item.json"} - for_qgis
    with rasterio.open(mapped / "density.tif") as file:  # its pixels are not those of the map
        stated = item.assets["density"].extra_fields
        assert (stated["proj:shape"], stated["proj:transform"]) == (list(file.shape), list(file.transform[:6]))
    assert item.properties["coslide:landslides"] == len(gpd.read_parquet(mapped / "landslides.parquet"))
    west, south, east, north = item.bbox
    with rasterio.open(mapped / "probability.tif") as file:
        x, y = rasterio.warp.transform(file.crs, "EPSG:4326", [file.bounds.left + 480], [file.bounds.bottom + 480])
    assert west < x[0] < east
    assert south < y[0] < north


def test_the_summary_counts_what_the_files_hold(mapped, made_up_cube):
    found = json.loads((mapped / "summary.json").read_text())
    frame = gpd.read_parquet(mapped / "landslides.parquet")
    valid = open_cube(made_up_cube).valid().sum()
    assert found["landslides"] == len(frame) == sum(found["size_frequency"]["n"])
    assert found["area_km2"] == pytest.approx(frame.area_m2.sum() / 1e6)
    assert found["valid_km2"] == pytest.approx(valid * 100 / 1e6)
    assert found["landslides_per_km2"] == pytest.approx(len(frame) / (valid * 1e-4))
    assert found["area_m2"]["largest"] == frame.area_m2.max()
    widths = np.diff([found["size_frequency"][key] for key in ("area_min_m2", "area_max_m2")], axis=0)
    assert (widths * found["size_frequency"]["density_per_m2"]).sum() == pytest.approx(1)


def test_a_map_without_a_landslide_has_a_summary_that_says_so(made_up_model, made_up_cube, tmp_path):
    folder = predict_scene(made_up_model, made_up_cube, tmp_path, min_area_m2=1e9)
    found = json.loads((folder / "summary.json").read_text())
    assert (found["landslides"], found["area_km2"], found["area_m2"]["median"]) == (0, 0, None)
    assert found["min_area_m2"] == 1e9
    assert (folder / "summary.png").stat().st_size > 1000


def killing(after):
    """Return a store whose process seems to die after so many blocks."""

    class Killed(ResumableRaster):
        written = 0

        def write(self, start, block):
            if Killed.written == after:
                raise KeyboardInterrupt
            Killed.written += 1
            super().write(start, block)

    return Killed


@pytest.mark.parametrize("after", [0, 1, 3])
def test_an_interrupted_map_goes_on_and_gives_the_same_map(
    mapped, made_up_model, made_up_cube, tmp_path, monkeypatch, assert_same_map, after, listening
):
    monkeypatch.setattr(map_module, "ResumableRaster", killing(after))
    with pytest.raises(KeyboardInterrupt):
        predict_scene(made_up_model, made_up_cube, tmp_path)
    assert not FILES & {path.name for path in tmp_path.iterdir()}
    monkeypatch.setattr(map_module, "ResumableRaster", ResumableRaster)
    said = listening()
    predict_scene(made_up_model, made_up_cube, tmp_path, resume=True)
    assert_same_map(tmp_path, mapped)
    assert any("rows are there already" in line for line in said) == (after > 0)
    assert {path.name for path in tmp_path.iterdir()} == FILES


@pytest.mark.slow
def test_without_resume_or_for_other_options_rows_are_computed_anew(
    made_up_model, made_up_cube, tmp_path, monkeypatch, listening
):
    for options in ({"resume": False}, {"resume": True, "options": InferenceOptions(stride=8)}):
        monkeypatch.setattr(map_module, "ResumableRaster", killing(2))
        with pytest.raises(KeyboardInterrupt):
            predict_scene(made_up_model, made_up_cube, tmp_path)
        monkeypatch.setattr(map_module, "ResumableRaster", ResumableRaster)
        said = listening()
        predict_scene(made_up_model, made_up_cube, tmp_path, **options)
        assert not any("already" in line for line in said)


@pytest.mark.slow
def test_a_process_killed_while_mapping_leaves_no_map_and_can_be_resumed(
    mapped, made_up_model, made_up_cube, tmp_path, assert_same_map, listening
):
    """SIGKILL at an arbitrary moment after the first rows."""
    code = (
        "import sys, time\nfrom coslide.pipeline import predict as m\nreal = m.ResumableRaster.write\n"
        "def slow(self, start, block):\n    real(self, start, block)\n    time.sleep(0.2)\n"
        "m.ResumableRaster.write = slow\nm.predict_scene(*sys.argv[1:])\n"
    )
    command = [sys.executable, "-c", code, str(made_up_model), str(made_up_cube), str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    deadline, folder = time.monotonic() + 60, tmp_path / ".map.part" / "rows"
    first_rows = slice(4)  # four bytes tell whether the first row is there
    while not any(any(file.read_bytes()[first_rows]) for file in folder.glob("*")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not FILES & {path.name for path in tmp_path.iterdir()}
    said = listening()
    predict_scene(made_up_model, made_up_cube, tmp_path, resume=True)
    assert any("already" in line for line in said)
    assert_same_map(tmp_path, mapped)


def test_two_processes_do_not_map_into_one_folder(made_up_model, made_up_cube, tmp_path):
    from coslide.io.atomic import exclusive_lock

    (tmp_path / ".map.part").mkdir()
    with (
        exclusive_lock(tmp_path / ".map.part", tmp_path),
        pytest.raises(InputError, match="another process is writing it"),
    ):
        predict_scene(made_up_model, made_up_cube, tmp_path)


@pytest.mark.slow
def test_workers_of_a_cluster_make_the_same_map_though_one_dies(
    mapped, made_up_model, made_up_cube, tmp_path, monkeypatch, assert_same_map
):
    """Blocks of 20 rows on two processes; the first one that starts is killed by its own work, once."""
    monkeypatch.setattr(map_module, "_BLOCK_ROWS", 20)
    flag = tmp_path / "died"

    def killing_once(real, flag):
        def work(job, rows):
            if rows[0] == 40 and not flag.exists():
                flag.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return real(job, rows)

        return work

    monkeypatch.setattr(map_module, "_block_of", killing_once(map_module._block_of, flag))
    with open_executor(count=2) as executor:
        predict_scene(made_up_model, made_up_cube, tmp_path / "map", executor=executor)
    assert flag.exists()
    assert_same_map(tmp_path / "map", mapped)


@pytest.mark.slow
def test_eight_orientations_are_averaged_and_their_spread_is_mapped(made_up_model, made_up_cube, tmp_path):
    """The witness turns whole tiles by hand with numpy and asks the network for each orientation."""
    folder = predict_scene(made_up_model, made_up_cube, tmp_path, options=InferenceOptions(tta=True))
    assert {path.name for path in folder.iterdir()} == FILES | {"uncertainty.tif", "uncertainty.qml"}
    model, scene = load_model(made_up_model), open_cube(made_up_cube)
    place = [band.name for band in model.metadata.bands].index("aspect_class")
    predict = model.predictors()[0]
    seen = []

    def noted(tiles):
        seen.append(tiles.copy())
        return predict(tiles)

    tile = np.zeros((1, len(model.metadata.encoder.names), 32, 32), dtype=np.float32)
    tile[:] = np.random.default_rng(0).normal(size=tile.shape)
    tile[:, place] = np.random.default_rng(1).integers(1, 10, (32, 32)) / 9
    mean, spread = mean_and_spread(augmented(noted, model.metadata.encoder.aspect))(tile)[0]
    turned_back = [undo_dihedral(predict(one), k)[0] for k, one in enumerate(seen)]
    np.testing.assert_allclose(mean, np.mean(turned_back, axis=0), atol=1e-6)
    np.testing.assert_allclose(spread, np.std(turned_back, axis=0), atol=1e-5)
    for k, one in enumerate(seen):
        others = [i for i in range(tile.shape[1]) if i != place]
        np.testing.assert_array_equal(one[:, others], apply_dihedral(tile[:, others], k))
    with rasterio.open(folder / "uncertainty.tif") as file:
        found = file.read(1)
    np.testing.assert_array_equal(np.isfinite(found), open_cube(made_up_cube).valid())
    assert 0 <= np.nanmin(found) < np.nanmax(found) <= 0.5
    frame = gpd.read_parquet(folder / "landslides.parquet")
    assert frame.uncertainty_mean.notna().all()
    whole = predict_array(model, scene, InferenceOptions(tta=True))
    scored_so = replace(model, metadata=model.metadata.model_copy(update={"tta": True}))
    np.testing.assert_array_equal(predict_array(scored_so, scene), whole)
    assert len(predict_array(scored_so, scene, InferenceOptions(tta=False))) == 1
    np.testing.assert_array_equal(whole[1], found)


def test_a_map_has_a_threshold_of_its_own_where_asked(made_up_model, made_up_cube, tmp_path, listening):
    said = listening()
    options = InferenceOptions(threshold="scene", precision="32")
    found = read_probability_map(predict_scene(made_up_model, made_up_cube, tmp_path / "scene", options=options))
    given = found.probability[np.isfinite(found.probability)].astype(np.float64)
    f1 = [2 * given[given >= t].sum() / ((given >= t).sum() + given.sum()) for t in np.arange(1, 100) / 100]
    assert found.metadata.expected.f1 == pytest.approx(max(f1), abs=2e-3)
    assert found.threshold == pytest.approx((np.argmax(f1) + 1) / 100, abs=0.02)
    assert [line for line in said if line.startswith(f"threshold {found.threshold:.3f}, chosen from the map alone")]
    frame = gpd.read_file(tmp_path / "scene" / "landslides.gpkg", layer="landslides")
    assert frame.probability_mean.min() >= found.threshold
    summary = json.loads((tmp_path / "scene" / "summary.json").read_text())
    assert summary["threshold"] == f"{found.threshold:g}"
    other = read_probability_map(predict_scene(made_up_model, made_up_cube, tmp_path / "validation"))
    assert other.threshold == load_metadata(made_up_model).threshold != found.threshold
    with pytest.raises(InputError, match="--threshold: found half, expected validation or scene"):
        predict_scene(made_up_model, made_up_cube, tmp_path / "x", options=InferenceOptions(threshold="half"))
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_a_map_without_tta_does_not_keep_the_uncertainty_of_an_earlier_one(made_up_model, made_up_cube, tmp_path):
    predict_scene(made_up_model, made_up_cube, tmp_path, options=InferenceOptions(tta=True))
    predict_scene(made_up_model, made_up_cube, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == FILES
    assert gpd.read_parquet(tmp_path / "landslides.parquet").uncertainty_mean.isna().all()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_height_of_the_scene(made_up_model, made_up_cube, tmp_path):
    """From the blocks of a store to the rows on the disk, with the network of a bundle; the scene is read as noise.

    Five times the height may not cost half a band of the added rows: kept rows of the map alone would cost a whole one.
    """
    model, real = load_model(made_up_model), open_cube(made_up_cube)

    def peak_mb(height):
        def read(rows, bands):
            values = np.random.default_rng(rows.start).normal(size=(len(bands), rows.stop - rows.start, 50))
            return values.astype(np.float32)

        shape = (height, 50)
        valid = lambda rows: np.ones((rows.stop - rows.start, 50), bool)  # noqa: E731
        scene = SimpleNamespace(shape=shape, read=read, valid=valid, block_rows=real.block_rows)
        store = ResumableRaster(tmp_path / str(height), shape, key="")
        tracemalloc.start()
        for start, block in ScenePredictor(model, scene, InferenceOptions(stride=32)).blocks():
            store.write(start, block)
            gc.collect()  # garbage in cycles would lie about for as long as earlier tests decided
        found = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
        return found

    peak_mb(300)  # compiled once
    gc.freeze()  # what earlier tests left need not be searched after each block
    growth_mb, band_mb = peak_mb(3000) - peak_mb(600), (3000 - 600) * 50 * 4 / 1e6
    gc.unfreeze()
    assert growth_mb < band_mb / 2


def test_what_maps_is_made_once_for_all_blocks_of_a_worker(made_up_model, made_up_cube, tmp_path, monkeypatch):
    made, real = [], encoder_for
    monkeypatch.setattr("coslide.pipeline.scene_predictor.encoder_for", lambda *args: made.append(1) or real(*args))
    monkeypatch.setattr(map_module, "_BLOCK_ROWS", 20)
    with ThreadPoolExecutor(1) as thread:
        predict_scene(made_up_model, made_up_cube, tmp_path, executor=thread)
    assert len(made) == 1


def test_a_temperature_moves_probability_and_spread_together(made_up_model, made_up_cube):
    """The spread follows as the difference of two near probabilities would."""
    model, scene = load_model(made_up_model), open_cube(made_up_cube)
    warm = Model(model.networks, model.metadata.model_copy(update={"temperature": 2.0}))
    cold, found = (predict_array(m, scene, InferenceOptions(tta=True)) for m in (model, warm))
    p = cold[0].astype(np.float64)

    def at_two(q):
        return 1 / (1 + np.sqrt((1 - q) / q))

    np.testing.assert_allclose(found[0], at_two(p), atol=1e-6)
    step = 1e-6
    slope = (at_two(p + step) - at_two(p - step)) / (2 * step)
    np.testing.assert_allclose(found[1], cold[1] * slope, rtol=1e-3, atol=1e-6)


def test_a_full_disk_is_named_before_anything_is_computed(made_up_model, made_up_cube, small_disk):
    disk = small_disk(30)
    with pytest.raises(InputError, match="the disk is full"):
        predict_scene(made_up_model, made_up_cube, disk / "map")


def test_the_card_of_an_older_format_is_refused_in_one_line(made_up_model, tmp_path):
    folder = shutil.copytree(made_up_model, tmp_path / "model")
    metadata = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**metadata, "bundle_format": 1}))
    with pytest.raises(InputError, match="bundle_format: found 1"):
        load_model(folder)


def test_collected_rows_are_the_map(mapped, made_up_model, made_up_cube):
    found = predict_array(load_model(made_up_model), open_cube(made_up_cube))[0]
    with rasterio.open(mapped / "probability.tif") as file:
        np.testing.assert_array_equal(file.read(1), found)


@pytest.mark.slow
def test_the_onnx_form_of_a_model_maps_the_same(mapped, made_up_model, made_up_cube, tmp_path):
    pytest.importorskip("onnxruntime")
    model = shutil.copytree(made_up_model, tmp_path / "model")
    with pytest.raises(InputError, match="has no model.onnx; coslide export makes one"):
        predict_scene(model, made_up_cube, tmp_path / "map", options=InferenceOptions(onnx=True))
    assert not (tmp_path / "map").exists()
    (path,), apart = export_onnx(model)
    assert path == model / "model.onnx"
    assert 0 <= apart <= 1e-4
    folder = predict_scene(model, made_up_cube, tmp_path / "map", options=InferenceOptions(onnx=True, batch=3))
    with rasterio.open(folder / "probability.tif") as a, rasterio.open(mapped / "probability.tif") as b:
        np.testing.assert_allclose(a.read(1), b.read(1), atol=1e-4)
