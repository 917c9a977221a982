"""The steps from files to files, and all of them in one run."""

import json
import shutil

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from coslide.config.event import read_event
from coslide.cube.cube import Cube, open_cube
from coslide.errors import InputError
from coslide.evaluation.scores import read_scores
from coslide.mapping.model import load_model
from coslide.mapping.probability_map import read_probability_map
from coslide.pipeline.evaluate import evaluate
from coslide.pipeline.labelled_scene import open_labelled_scene
from coslide.pipeline.predict import predict_scene
from coslide.pipeline.run import run
from coslide.pipeline.scene_predictor import InferenceOptions
from coslide.pipeline.train import cube_settings, fit_model, train
from coslide.samples.dataset import Tiles
from coslide.samples.footprint import split_raster
from coslide.samples.split import Subset

OUTPUTS = {
    "baselines",
    "context.gpkg",
    "density.qml",
    "density.tif",
    "figures",
    "hillshade.tif",
    "index.zarr",
    "item.json",
    "landslides.gpkg",
    "landslides.parquet",
    "landslides.png",
    "landslides.qgz",
    "report.html",
    "metrics.json",
    "metrics.md",
    "model",
    "splits",
    "probability.qml",
    "probability.tif",
    "run.json",
    "scene_after.tif",
    "scene_before.tif",
    "summary.json",
    "summary.png",
    "tiles.csv",
    "training",
}


@pytest.fixture(scope="module")
def finished(made_up_event, tmp_path_factory, listen):
    """The folder of a whole run on the made-up event, and its messages."""
    with listen() as messages:
        out = run(made_up_event, tmp_path_factory.mktemp("whole") / "run")
    return out, messages


@pytest.fixture
def mapped(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "run")


def test_a_run_leaves_every_output_and_nothing_half_written(finished):
    assert {path.name for path in finished[0].iterdir()} == OUTPUTS


def test_the_leak_of_the_split_and_what_the_cube_lacks_of_the_index_set_are_logged(finished):
    assert any("0.0 % of the pixels of held-out tiles leak" in line for line in finished[1])
    assert any("the cube has no ndvi_pre, ndvi_post, stratum_class, rainfall" in line for line in finished[1])


def test_the_model_carries_its_scores_and_their_split(finished):
    out = finished[0]
    metrics = json.loads((out / "metrics.json").read_text())
    scores = load_model(out / "model").metadata.scores
    assert scores["pixels"]["f1"] == metrics["pixels"]["f1"]
    assert scores["split"] == metrics["split"]


def test_what_each_depth_has_learned_is_in_the_scores_and_on_the_page(finished):
    (signs,) = json.loads((finished[0] / "metrics.json").read_text())["vital_signs"]
    assert [row["depth"] for row in signs["depths"]] == [1, 2, 3, 4, 5]
    assert "What each depth has learned" in (finished[0] / "report.html").read_text()


def test_the_scores_repeat_what_the_model_that_made_the_map_has_learned_not_one_beside_it(mapped, made_up_event):
    metadata = json.loads((mapped / "model" / "model.json").read_text())
    (mapped / "model" / "model.json").write_text(json.dumps({**metadata, "vital_signs": []}))
    event = read_event(made_up_event)
    assert len(evaluate(mapped, event.inventory.path, area=event.inventory.area).vital_signs) == 1


def test_every_valid_pixel_is_mapped_and_no_other(finished):
    with rasterio.open(finished[0] / "probability.tif") as file:
        probability = file.read(1)
    np.testing.assert_array_equal(np.isfinite(probability), open_cube(finished[0] / "index.zarr").valid())
    assert np.nanmin(probability) >= 0
    assert np.nanmax(probability) <= 1


def test_the_metrics_count_exactly_the_labelled_pixels_that_training_did_not_see(finished):
    out = finished[0]
    metrics = json.loads((out / "metrics.json").read_text())
    trained = read_probability_map(out).seen == 1
    labels = open_cube(out / "index.zarr").labels
    pixels = metrics["pixels"]
    assert sum(pixels[key] for key in ("tp", "fp", "fn", "tn")) == ((labels != 255) & ~trained).sum()
    assert metrics["split"]["scheme"] == "blocks"
    assert metrics["split"]["leak_fraction"] == 0
    assert trained.any()


def test_the_counts_are_those_of_the_map_by_hand(finished):
    out = finished[0]
    with rasterio.open(out / "probability.tif") as file:
        recognised = file.read(1) >= 0.5
    held_out = read_probability_map(out).seen != 1
    labels = open_cube(out / "index.zarr").labels
    pixels = json.loads((out / "metrics.json").read_text())["pixels"]
    assert pixels["tp"] == (recognised & (labels == 1) & held_out).sum()
    assert pixels["fp"] == (recognised & (labels == 0) & held_out).sum()
    assert pixels["fn"] == (~recognised & (labels == 1) & held_out).sum()


@pytest.mark.slow
def test_the_steps_alone_give_what_the_run_gave(finished, made_up_event, made_up_cube, tmp_path, assert_same_map):
    event = read_event(made_up_event)
    scores = train(made_up_cube, tmp_path / "run")  # the cube has the settings of its event
    predict_scene(tmp_path / "run" / "model", made_up_cube, tmp_path / "map")
    again = evaluate(tmp_path / "map", event.inventory.path, area=event.inventory.area, grid=made_up_cube)
    whole = read_scores(finished[0] / "metrics.json")
    assert scores.pixels == again.pixels == whole.pixels
    assert scores.split == again.split == whole.split
    assert_same_map(finished[0], tmp_path / "map")


def test_a_run_is_not_overwritten(mapped, made_up_event):
    with pytest.raises(InputError, match="is not empty; use --resume"):
        run(made_up_event, mapped)


@pytest.mark.slow
def test_a_resumed_run_keeps_the_cube_and_the_map_of_an_event_that_was_renamed_and_moved(
    finished, mapped, made_up_event, tmp_path, assert_same_map, listening
):
    moved = shutil.copytree(made_up_event.parent, tmp_path / "moved")
    (moved / "event.toml").write_text(made_up_event.read_text().replace("Made-up", "Renamed"))
    chunk = mapped / "index.zarr" / "slope" / "0.0"
    stamp = chunk.stat().st_mtime_ns
    (mapped / "probability.tif").unlink()
    messages = listening()
    run(moved / "event.toml", mapped, resume=True)
    assert_same_map(mapped, finished[0])
    assert chunk.stat().st_mtime_ns == stamp
    assert any("kept" in line for line in messages)
    assert open_cube(mapped / "index.zarr").title == "Renamed earthquake"


@pytest.mark.slow
def test_a_given_model_maps_without_training(made_up_event, made_up_model, tmp_path):
    before = (made_up_model / "model.json").read_bytes()
    run(made_up_event, tmp_path / "run", model=made_up_model)
    assert (made_up_model / "model.json").read_bytes() == before
    found = {path.name for path in (tmp_path / "run").iterdir()}
    assert found == OUTPUTS - {"model", "training", "splits", "baselines"}


def test_an_event_without_inventory_is_mapped_but_not_scored_and_drawn_in_grey_without_true_colour(
    made_up_event, made_up_model, tmp_path, monkeypatch
):
    folder = shutil.copytree(made_up_event.parent, tmp_path / "event")
    text = made_up_event.read_text()
    start, end = text.index("[inventory]"), text.index("[training]")
    (folder / "event.toml").write_text(text[:start] + text[end:])
    monkeypatch.setattr(Cube, "reflectance", lambda *_: [])
    run(folder / "event.toml", tmp_path / "run", model=made_up_model)
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert (tmp_path / "run" / "landslides.png").stat().st_size > 10_000


def test_an_area_smaller_than_a_tile_is_refused_before_anything_is_built(made_up_event, tmp_path):
    settings = read_event(made_up_event).training.changed({"sampling.tile": 128, "sampling.stride": 96})
    with pytest.raises(InputError, match="smaller than one tile of 128 x 128"):
        run(made_up_event, tmp_path / "run", settings=settings)
    assert not (tmp_path / "run").exists()


def test_a_training_part_without_landslides_is_refused(made_up_cube, tmp_path):
    cube = shutil.copytree(made_up_cube, tmp_path / "index.zarr")
    import zarr

    labels = zarr.open_group(cube)["landslide"]
    labels[:] = np.zeros(labels.shape, dtype=np.uint8)
    with pytest.raises(InputError, match="the training set holds no landslide"):
        train(cube, tmp_path / "run")


def change_footprints(path, footprints):
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        metadata = json.loads(file.tags()["coslide"])
        metadata["model"]["footprints"] = footprints
        file.update_tags(coslide=json.dumps(metadata))


def footprint(*bounds):
    rings = [[list(box(*bounds).exterior.coords)]]
    return [{"crs": "EPSG:32654", "train": rings, "test": []}]


def test_a_map_whose_pixels_were_all_trained_on_is_not_scored(mapped, made_up_event):
    change_footprints(mapped / "probability.tif", footprint(0, 0, 1e6, 1e7))
    inventory = read_event(made_up_event).inventory
    with pytest.raises(InputError, match="no pixel is left to score"):
        evaluate(mapped, inventory.path, area=inventory.area)


def test_a_map_of_another_event_is_scored_everywhere(mapped, made_up_event):
    change_footprints(mapped / "probability.tif", footprint(0, 0, 10, 10))
    inventory = read_event(made_up_event).inventory
    metrics = evaluate(mapped, inventory.path, area=inventory.area)
    labelled = (open_cube(mapped / "index.zarr").labels != 255).sum()
    assert metrics.to_json()["split"] == {"scheme": "all", "leak_fraction": 0.0, "scored_pixels": labelled}


def test_a_map_without_the_footprints_of_its_training_is_not_scored(mapped, made_up_event):
    """Otherwise a map could be scored on pixels that training saw."""
    change_footprints(mapped / "probability.tif", "unknown")
    with pytest.raises(InputError, match="lacks what coslide map writes into its tags"):
        evaluate(mapped, read_event(made_up_event).inventory.path)


def test_the_normalisation_is_that_of_the_training_pixels_only(finished):
    """A leak of held-out pixels through mean and deviation would show here."""
    out = finished[0]
    cube, metadata = open_cube(out / "index.zarr"), load_model(out / "model").metadata
    trained = (split_raster(metadata.footprints, cube.grid) == Subset.TRAIN) & cube.valid()
    elevation = cube.to_xarray()["elevation"].values
    channel = next(channel for channel in metadata.channels if channel.band.name == "elevation")
    assert channel.offset == pytest.approx(elevation[trained].mean(), rel=1e-5)
    assert channel.scale == pytest.approx(elevation[trained].std(), rel=1e-4)
    assert channel.offset != pytest.approx(elevation[cube.valid()].mean(), rel=1e-5)


def test_tiles_are_told_which_inputs_turn_with_the_terrain(made_up_cube, tmp_path, monkeypatch):
    seen = {}

    class Noted(Tiles):
        def __init__(self, rasters, windows, **options):
            seen.update(options)
            super().__init__(rasters, windows, **options)

    monkeypatch.setattr("coslide.pipeline.training_data.Tiles", Noted)
    settings = cube_settings(made_up_cube)
    found, _ = fit_model([open_labelled_scene(made_up_cube)], tmp_path, settings, compare=False)
    aspect = seen["aspect"]
    assert aspect.encoding == "ordinal"
    assert found.metadata.encoder.names[aspect.first] == "aspect_class"


@pytest.mark.slow
def test_a_network_trained_on_an_index_set_maps_the_whole_cube(made_up_cube, made_up_event, tmp_path, listening):
    """Table 6: set (b) is reflectance before and after, slope, curvature and aspect; the cube has more."""
    lines = listening()
    settings = read_event(made_up_event).training.changed({"inputs.indices": "b"})
    model = fit_model([open_labelled_scene(made_up_cube)], tmp_path / "run", settings)[0]
    reflectance = [f"reflectance_{when}_{band}" for when in ("pre", "post") for band in ("B2", "B3", "B4")]
    assert [band.name for band in model.metadata.bands] == [*reflectance, "slope", "mean_curvature", "aspect_class"]
    assert any(line.startswith("indices (b): 9 bands") for line in lines)
    predict_scene(tmp_path / "run" / "model", made_up_cube, tmp_path / "map")
    assert (tmp_path / "map" / "probability.tif").exists()


def test_what_cannot_be_trained_is_refused_before_anything_is_built(made_up_event, tmp_path):
    settings = read_event(made_up_event).training
    for changed, message in (
        (settings.changed({"sampling.tile": 40}), "tile: found 40, expected a multiple of 16"),
        (settings.changed(network="none"), "network none: unknown"),
        (settings.changed(width=12), "network egcn"),
        (settings.changed({"options.k": 100_000}), "network egcn: option k: found 100000, expected at most 4096"),
        (settings.changed({"inputs.encoding.pga_class": "circular"}), "training.inputs.encoding: found 'circular'"),
    ):
        with pytest.raises(InputError, match=message):
            run(made_up_event, tmp_path / "run", settings=changed)
    with pytest.raises(InputError, match="is no model"):
        run(made_up_event, tmp_path / "run", model=tmp_path / "none")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("given", ["model", "encoding"])
def test_an_event_that_cannot_have_what_is_needed_is_refused_and_leaves_no_folder(
    event_writer, made_up_model, tmp_path, monkeypatch, given
):
    """A model that was trained with faults, or an encoding that needs what is not measured."""
    monkeypatch.setattr("coslide.pipeline.build._compute", lambda *_: pytest.fail("computed"))
    event = event_writer(tmp_path)
    settings, model = read_event(event).training, made_up_model if given == "model" else None
    if given == "model":
        event.write_text(event.read_text().replace('[faults]\npath = "faults.geojson"', ""))
        message = r"event\.toml: does not fit the model: fault_distance_class is missing"
    else:
        settings = settings.changed({"inputs.encoding.aspect_class": "continuous"})
        message = "training.inputs.encoding: found 'continuous' for aspect_class"
    with pytest.raises(InputError, match=message):
        run(event, tmp_path / "out" / "run", model=model, settings=settings)
    assert not (tmp_path / "out").exists()


def test_polygons_alone_can_be_scored_on_the_grid_of_a_cube(made_up_cube, made_up_event, tmp_path):
    inventory = read_event(made_up_event).inventory
    gpd.read_file(inventory.path).to_file(tmp_path / "landslides.gpkg")
    metrics = evaluate(tmp_path, inventory.path, area=inventory.area, grid=made_up_cube)
    assert metrics.pixels.f1 == 1
    assert metrics.calibration is None
    assert metrics.split.scheme == "unknown"
    gpd.read_file(inventory.path).iloc[:0].to_file(tmp_path / "landslides.gpkg")
    nothing = evaluate(tmp_path, inventory.path, area=inventory.area, grid=made_up_cube).pixels
    assert (nothing.recall, nothing.fp) == (0, 0)
    (tmp_path / "landslides.gpkg").unlink()
    with pytest.raises(InputError, match=r"has no probability\.tif"):
        evaluate(tmp_path, inventory.path)


def test_a_cube_on_another_grid_than_the_map_is_refused(mapped, made_up_event, monkeypatch):
    elsewhere = open_cube(mapped / "index.zarr")
    elsewhere.grid = GeoBox((100, 100), elsewhere.grid.affine, "EPSG:32653")
    monkeypatch.setattr("coslide.pipeline.evaluate.open_cube", lambda _: elsewhere)
    with pytest.raises(InputError, match=r"EPSG:32653\), expected that of the map, .* \(EPSG:32654"):
        evaluate(mapped, read_event(made_up_event).inventory.path, grid=mapped / "index.zarr")


def test_a_folder_of_the_user_in_place_of_the_model_is_refused_before_training(made_up_cube, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.json").write_text("{}")
    with pytest.raises(InputError, match="holds something else"):
        train(made_up_cube, tmp_path)
    assert not (tmp_path / "training").exists()


def test_a_stride_longer_than_the_tile_is_refused(made_up_model, made_up_cube, tmp_path):
    with pytest.raises(InputError, match="--stride: found 64, expected 1 to 32"):
        predict_scene(made_up_model, made_up_cube, tmp_path, options=InferenceOptions(stride=64))


def test_small_landslides_can_be_left_out_of_the_inventory_only(made_up_model, made_up_cube, tmp_path):
    predict_scene(made_up_model, made_up_cube, tmp_path / "all")
    predict_scene(made_up_model, made_up_cube, tmp_path / "large", min_area_m2=1000)
    areas = [
        gpd.read_file(tmp_path / name / "landslides.gpkg", layer="landslides").area_m2 for name in ("all", "large")
    ]
    assert sorted(areas[0][areas[0] >= 1000]) == sorted(areas[1])
    maps = [(tmp_path / name / "probability.tif").read_bytes() for name in ("all", "large")]
    assert maps[0] == maps[1]
