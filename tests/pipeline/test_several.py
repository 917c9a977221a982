"""Several events, regions, chips and classes of environment: what trains, what is scored, what is written down."""

import csv
import itertools
import json
import shutil
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import torch
from rasterio.warp import transform_bounds
from shapely.geometry import box

from coslide.config.event import read_event
from coslide.config.training import TrainingSettings
from coslide.cube.cube import open_cube
from coslide.errors import InputError
from coslide.evaluation.pixels import confusion, scores
from coslide.evaluation.scores import read_scores
from coslide.evaluation.scoring import ScoredMap, score
from coslide.io.atomic import exclusive_lock
from coslide.mapping.model import load_model
from coslide.pipeline.build import build_cube
from coslide.pipeline.evaluate import evaluate
from coslide.pipeline.labelled_scene import open_labelled_scene, open_labelled_scenes, split_scenes
from coslide.pipeline.predict import predict_scene
from coslide.pipeline.scene_predictor import InferenceOptions, predict_array
from coslide.pipeline.train import cube_settings, fit_model, train
from coslide.pipeline.training_data import choose_inputs, prepare_tiles
from coslide.samples.light import Shade
from coslide.samples.split import Subset

SETTINGS = TrainingSettings(
    width=8,
    sampling={"tile": 32, "stride": 24, "select": "prevalence"},
    split={"block_windows": 1},
    optimiser={"epochs": 1, "learning_rate": 1e-3},
)


@pytest.fixture(scope="module")
def other_event(event_writer, tmp_path_factory):
    """A second made-up event, 50 km to the east, without shaking and a scene before."""
    file = event_writer(tmp_path_factory.mktemp("other"), left=625000.0)
    text = file.read_text().replace('name = "Made-up earthquake"', 'name = "Another earthquake"')
    shaking, faults = text.index("[shaking]"), text.index("[faults]")
    before, dem = text.index("[scenes.pre]"), text.index("[dem]")
    file.write_text(text[:before] + text[dem:shaking] + text[faults:])
    return file


@pytest.fixture(scope="module")
def other_cube(other_event, tmp_path_factory):
    return build_cube(read_event(other_event), tmp_path_factory.mktemp("other_cube") / "index.zarr")


@pytest.fixture(scope="module")
def chips(chips_writer, tmp_path_factory):
    """Chips of two events, in 8 bits and a scale of their own; landslide where red is bright."""
    places = [
        f"{event},{row},{col},{factor}"
        for event, factor in (("east", 1), ("west", 3))
        for row in (0, 1)
        for col in (0, 1)
    ]
    table = 'event = "event"\nrow = "row"\ncol = "col"\nstep_px = 32\nfactor = "factor"'
    return chips_writer(tmp_path_factory.mktemp("chips"), places, table=table, keys='unit = "relative"\n')[0]


def parts_of(run):
    paths = sorted((run / "splits").glob("*.tif"))
    found = []
    for path in paths:
        with rasterio.open(path) as file:
            found.append(file.read(1))
    return found


def test_an_event_is_trained_on_and_another_as_a_whole_is_scored(made_up_cube, other_cube, tmp_path, listening):
    messages = listening()
    settings = SETTINGS.changed({"split.scheme": "events", "split.validation_fraction": 0.2})
    metrics = train(made_up_cube, tmp_path, settings, test_on=[other_cube])
    first, second = parts_of(tmp_path)
    assert set(np.unique(first)) == {Subset.TRAIN, Subset.VALIDATION}
    assert set(np.unique(second)) == {Subset.TEST}
    assert metrics.split.scored_pixels == (open_cube(other_cube).labels != 255).sum()
    assert metrics.split.leak_fraction == 0
    metadata = load_model(tmp_path / "model").metadata
    assert metadata.events == ["Made-up earthquake"]
    assert not any(band.name.startswith(("pga", "reflectance_pre")) for band in metadata.bands)
    assert any(line.startswith("left out, as not every event has them: reflectance_pre_B2") for line in messages)
    assert 0 < metadata.threshold <= 1


def test_pixels_held_out_in_one_event_and_trained_on_in_another_are_a_leak_and_not_scored(
    made_up_cube, tmp_path, listening
):
    """The same cube twice: what one holds out, the other trains on."""
    messages = listening()
    with pytest.raises(InputError, match="no pixel is left to score"):
        train(
            made_up_cube,
            tmp_path,
            SETTINGS.changed({"split.scheme": "events"}),
            test_on=[made_up_cube],
            compare=False,
        )
    assert any(line.startswith("warning: 100.0 % of the pixels of a held-out tile") for line in messages)


def test_each_of_two_events_is_split_and_scored_and_both_together(made_up_cube, other_cube, tmp_path):
    metrics = train(
        [made_up_cube, other_cube], tmp_path, SETTINGS.changed({"inputs.bands": "all", "inputs.indices": "all"})
    )
    assert list(metrics.events) == ["Made-up earthquake", "Another earthquake"]
    for key in ("tp", "fp", "fn", "tn"):
        assert getattr(metrics.pixels, key) == sum(getattr(event, key) for event in metrics.events.values())
    metadata = load_model(tmp_path / "model").metadata
    assert {"pga_class", "reflectance_pre_B2", "pre_available"} <= set(metadata.optional_bands)
    assert not {"slope", "reflectance_post_B2"} & set(metadata.optional_bands)
    assert {path.suffix for path in (tmp_path / "baselines").iterdir()} == {".tif", ".json"}
    assert len(list((tmp_path / "figures").glob("errors*.png"))) == 2
    with (tmp_path / "tiles.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(int(row["tp"]) for row in rows) == metrics.pixels.tp
    assert {row["event"] for row in rows} == set(metrics.events)


def test_a_model_with_optional_bands_maps_a_cube_without_them(mapped, made_up_model, tmp_path):
    folder, cube, messages = mapped
    assert any(line.startswith("mapped without reflectance_pre_B2") for line in messages)
    with rasterio.open(folder / "probability.tif") as file:
        assert json.loads(file.tags()["coslide"])["missing_bands"][0] == "reflectance_pre_B2"
        np.testing.assert_array_equal(np.isfinite(file.read(1)), open_cube(cube).valid())
    with pytest.raises(InputError, match=r"does not fit the model: reflectance_pre_B2, .* is missing"):
        predict_scene(made_up_model, cube, tmp_path / "other")


def prepared(cubes, tmp_path, changes=None, **own):
    settings = SETTINGS.changed(changes, **own)
    scenes, _ = split_scenes([open_labelled_scene(cube) for cube in cubes], settings)
    return scenes, *prepare_tiles(scenes, choose_inputs(scenes, settings)[0], settings, tmp_path / "tiles")


def test_global_normalisation_pools_the_training_pixels_of_all_events(made_up_cube, other_cube, tmp_path):
    areas, _, encoder = prepared([made_up_cube, other_cube], tmp_path)
    elevation = [
        area.scene.read(slice(None), encoder.bands)[[band.name for band in encoder.bands].index("elevation")][
            (area.split.subsets == Subset.TRAIN) & area.scene.valid(slice(None))
        ].astype(np.float64)
        for area in areas
    ]
    place = [band.name for band in encoder.bands].index("elevation")
    assert encoder.normalisation.offset[place] == pytest.approx(np.concatenate(elevation).mean(), rel=1e-6)
    assert encoder.normalisation.scale[place] == pytest.approx(np.concatenate(elevation).std(), rel=1e-5)


def in_light(values, slopes):
    """Encode reflectance (row, col) by the dark level and the median of its slopes, as the equation reads."""
    dark, median = np.percentile(values[slopes & np.isfinite(values)].astype(np.float64), (1, 50))
    above = ((values - dark) / (median - dark)).clip(-0.15, 15)
    return np.nan_to_num(np.log((above + 0.3) / 1.3) / 0.6)


def test_reflectance_is_seen_in_the_light_of_its_own_event_if_asked(made_up_cube, other_cube, tmp_path):
    areas, data, encoder = prepared([made_up_cube, other_cube], tmp_path, {"inputs.normalise": "event"})
    names = [band.name for band in encoder.bands]
    red, slope = names.index("reflectance_post_B4"), names.index("slope")
    window = areas[1].split.train[0]
    seen, _ = data.tiles[data.tiles.draws[len(areas[0].split.train)]]  # the first tile of the second event
    values = areas[1].scene.read(slice(None), encoder.bands)
    by_hand = in_light(values[red], areas[1].scene.valid(slice(None)) & (values[slope] >= 3))
    np.testing.assert_allclose(seen[red], by_hand[window.slices], atol=1e-4)
    offset, scale = (part[slope] for part in encoder.normalisation)
    np.testing.assert_allclose(seen[slope], np.nan_to_num((values[slope][window.slices] - offset) / scale), atol=1e-5)


def test_what_is_lit_anew_and_where_shade_is_looked_for_are_the_inputs_of_reflectance(made_up_cube, tmp_path):
    indices = ["aspect_class", "reflectance_pre_B4", "slope", "reflectance_post_B4", "reflectance_post_B3"]
    changes = {"inputs.indices": indices, "inputs.encoding": {"aspect_class": "onehot"}, "inputs.normalise": "event"}
    changes |= {"augment.relight": 0.7, "sampling.shade": 0.4}
    _, data, encoder = prepared([made_up_cube], tmp_path, changes)
    number = {name: encoder.names.index(name) for name in indices[1:]}
    relighting, _ = data.tiles.lights
    after = [number["reflectance_post_B4"], number["reflectance_post_B3"]]
    assert relighting.dates == [[number["reflectance_pre_B4"]], after]
    assert relighting.chance == 0.7
    assert data.tiles.shade == Shade(after, 0.4)
    plain = prepared([made_up_cube], tmp_path, {"inputs.indices": indices, "inputs.normalise": "event"})[1].tiles
    assert plain.shade is None
    assert plain.lights[0].chance == 0


def test_a_scene_is_mapped_in_its_own_light_where_the_model_was_trained_so(made_up_cube, other_cube, tmp_path):
    model = fit_model(
        [open_labelled_scene(made_up_cube)],
        tmp_path,
        SETTINGS.changed({"inputs.normalise": "event", "inputs.bands": "all"}),
        compare=False,
    )[0]
    scene = open_labelled_scene(other_cube).scene
    values, valid = scene.read(slice(None), model.metadata.bands), scene.valid(slice(None))
    steep = values[[band.name for band in model.metadata.bands].index("slope")] >= 3
    seen = model.metadata.encoder.encode(values.copy())
    for number, band in enumerate(model.metadata.bands):
        if band.name.startswith("reflectance") and np.isfinite(values[number]).any():  # there is no scene before
            seen[number] = in_light(values[number], valid & steep)
    tile = np.ascontiguousarray(seen[:, :32, :32])[None]
    by_hand = model.predictors()[0](tile)[0]
    mapped = predict_array(model, scene, InferenceOptions(stride=32))[0][:32, :32]
    np.testing.assert_allclose(mapped[valid[:32, :32]], by_hand[valid[:32, :32]], atol=1e-5)


def test_a_band_that_means_something_else_in_another_event_is_refused(made_up_cube, tmp_path):
    copy = shutil.copytree(made_up_cube, tmp_path / "index.zarr")
    for path in (copy / "elevation" / ".zattrs", copy / ".zmetadata"):
        if path.exists():
            path.write_text(
                path.read_text().replace('"units": "m"', '"units": "ft"').replace('"units":"m"', '"units":"ft"')
            )
    with pytest.raises(InputError, match="elevation has unit 'ft' instead of unit 'm'"):
        choose_inputs([open_labelled_scene(made_up_cube), open_labelled_scene(copy)], SETTINGS)
    scenes = [open_labelled_scene(made_up_cube), open_labelled_scene(copy)]
    named = SETTINGS.changed({"inputs.indices": ["slope", "reflectance_post_B4"]})  # what is not chosen may differ
    assert [band.name for band in choose_inputs(scenes, named)[0].bands] == ["slope", "reflectance_post_B4"]
    with pytest.raises(InputError, match=r"indices: found gravity, which no cube has"):
        choose_inputs(scenes, SETTINGS.changed({"inputs.indices": ["slope", "gravity"]}))


@pytest.mark.slow
def test_polygons_decide_what_is_held_out(made_up_cube, tmp_path):
    """The eastern third is test, a strip beside it validation; the rest trains."""
    grid = open_cube(made_up_cube).grid
    left, bottom, right, top = grid.boundingbox.bbox
    width = right - left
    strips = {"test": (0.66, 1.1), "validation": (0.5, 0.66)}
    shapes = [box(left + a * width, bottom - 50, left + b * width, top + 50) for a, b in strips.values()]
    frame = gpd.GeoDataFrame({"part": list(strips)}, geometry=shapes, crs=str(grid.crs))
    frame.to_crs(4326).to_file(tmp_path / "regions.gpkg")
    settings = SETTINGS.changed(
        {"split.scheme": "regions", "split.regions": tmp_path / "regions.gpkg", "split.guard_px": 2}
    )
    train(made_up_cube, tmp_path / "run", settings, compare=False)
    [parts] = parts_of(tmp_path / "run")
    columns = [set(np.unique(parts[:, c]).tolist()) for c in range(parts.shape[1])]
    share = np.arange(parts.shape[1]) / parts.shape[1]
    assert all(columns[c] == {Subset.TRAIN} for c in np.flatnonzero(share < 0.45))
    assert all(columns[c] == {Subset.VALIDATION} for c in np.flatnonzero((share > 0.53) & (share < 0.61)))
    assert all(columns[c] == {Subset.TEST} for c in np.flatnonzero(share > 0.7))
    metadata = json.loads((tmp_path / "run" / "model" / "model.json").read_text())
    assert metadata["settings"]["split.regions"] == "regions.gpkg"
    frame["part"] = ["test", "train"]  # the west is of no part then: neither trained on nor scored
    frame.to_file(tmp_path / "named.gpkg", layer="parts")
    frame[["geometry"]].to_file(tmp_path / "named.gpkg", layer="other", mode="a")
    given = {"split.regions": tmp_path / "named.gpkg", "split.regions_layer": "parts"}
    named = settings.changed({**given, "split.guard_px": 0})
    metrics = train(made_up_cube, tmp_path / "named", named, compare=False)
    [parts] = parts_of(tmp_path / "named")
    assert all(set(np.unique(parts[:, c])) == {Subset.GUARD} for c in np.flatnonzero(share < 0.45))
    labels = open_cube(made_up_cube).labels
    assert metrics.split.scored_pixels == ((labels != 255) & (parts == Subset.TEST)).sum()
    frame["part"] = ["test", "exam"]
    frame.to_file(tmp_path / "wrong.gpkg")
    with pytest.raises(InputError, match="part: found 'exam', expected one of train, validation, test"):
        train(made_up_cube, tmp_path / "wrong", settings.changed({"split.regions": tmp_path / "wrong.gpkg"}))


def test_chips_and_a_cube_train_together_and_an_event_of_chips_is_held_out(chips, made_up_cube, tmp_path):
    """In a scale of their own, and reflectance: each event is normalised by itself."""
    west = chips.with_name("chips.toml#west")
    settings = SETTINGS.changed({"split.scheme": "events", "split.validation_fraction": 0.2})
    with pytest.raises(InputError, match=r"normalise: found global, expected event: Made-up chips \(east\) has bands"):
        train([made_up_cube, chips], tmp_path / "global", settings, test_on=[west])
    settings = settings.changed({"inputs.normalise": "event"})
    with pytest.raises(InputError, match=r"Made-up chips \(west\): is given twice, to train on or to hold out"):
        train([made_up_cube, chips], tmp_path / "twice", settings, test_on=[west])
    east = chips.with_name("chips.toml#east")
    metrics = train([made_up_cube, east], tmp_path / "run", settings, test_on=[west], compare=False)
    assert metrics.split.scored_pixels == 4 * 32 * 32
    model = load_model(tmp_path / "run" / "model")
    assert model.metadata.events == ["Made-up earthquake", "Made-up chips (east)"]
    assert model.metadata.events_without_location == ["Made-up chips (east)"]
    assert model.metadata.credits == ["Made-up chips: nobody (CC0)", "made up"]
    assert {band.name for band in model.metadata.bands} == {f"reflectance_post_B{k}" for k in (2, 3, 4)}
    with (tmp_path / "run" / "splits" / "2-made-up-chips-east.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["chip"], row["row"], row["col"]) for row in rows][1:3] == [("2", "0", "32"), ("3", "32", "0")]
    assert all(float(row["train"]) + float(row["validation"]) == pytest.approx(1) for row in rows)


def test_a_model_of_events_that_are_normalised_by_themselves_maps_any_scale_alike(chips, tmp_path):
    """A chips scene, and the same thrice as bright."""
    east, west = open_labelled_scenes(chips)
    settings = SETTINGS.changed({"split.scheme": "events", "inputs.normalise": "event"})
    model, (_, mapped) = fit_model([east, replace(west, role=Subset.TEST)], tmp_path, settings)
    forest = mapped.baselines["random forest"]
    counts = confusion(forest.probability >= forest.threshold, west.labels == 1, west.labels != 255)
    assert scores(*counts).f1 > 0.95  # it too sees each event as it is for itself
    brighter = chips.with_name("brighter.toml")
    brighter.write_text(f"scale = 3\n{chips.read_text()}")
    found = [predict_array(model, open_labelled_scenes(path)[0].scene) for path in (chips, brighter)]
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)


def test_a_map_by_a_model_trained_on_chips_is_not_taken_for_one_of_a_new_area(chips, other_event, other_cube, tmp_path):
    """Where the chips lie is not recorded: the map may show the same area."""
    settings = SETTINGS.changed({"inputs.normalise": "event"})
    model = fit_model(open_labelled_scenes(chips)[:1], tmp_path / "run", settings, compare=False)[0]
    assert model.metadata.footprints == []
    predict_scene(tmp_path / "run" / "model", other_cube, tmp_path / "map")
    event = read_event(other_event)
    metrics = evaluate(tmp_path / "map", event.inventory.path, area=event.inventory.area)
    assert metrics.split.scheme == "unknown"


def test_what_a_cube_trains_on_is_not_scored_in_chips_nor_the_other_way(chips_writer, made_up_cube, tmp_path):
    """Two chips: one in the middle of the cube, one that touches it from the east."""
    cube = open_labelled_scene(made_up_cube)
    west, south, east, north = transform_bounds("EPSG:32654", "EPSG:4326", *cube.scene.grid.boundingbox.bbox)
    middle, step = ((west + east) / 2, (south + north) / 2), (east - west) / 8
    bounds = [(*middle, middle[0] + step, middle[1] + step), (east + step / 8, south, east + step, north)]
    table = 'row = "row"\ncol = "col"\nstep_px = 32\nbounds = ["west", "south", "east", "north"]'
    path, _ = chips_writer(tmp_path, ["a,0,0", "a,0,1"], table=table)
    lines = [f"{i},{0},{i - 1},{','.join(f'{end:.9f}' for end in one)}" for i, one in enumerate(bounds, start=1)]
    (tmp_path / "chips.csv").write_text("\n".join(["id,row,col,west,south,east,north", *lines]))
    (mosaic,) = open_labelled_scenes(path)
    settings = SETTINGS.changed({"split.scheme": "events"})
    (_, held_out), record = split_scenes([cube, replace(mosaic, role=Subset.TEST)], settings)
    np.testing.assert_array_equal(held_out.seen[0, [0, 31, 32, 63]], [Subset.TRAIN] * 2 + [Subset.TEST] * 2)
    assert record["leak_fraction"] == pytest.approx((1 + 0.25 + 0) / 3)  # of windows at columns 0, 24 and 32
    (_, held_out), record = split_scenes([mosaic, replace(cube, role=Subset.TEST)], settings)
    share = (held_out.seen == Subset.TRAIN).mean()
    assert share == pytest.approx(step**2 / ((east - west) * (north - south)), rel=0.15)
    assert record["leak_fraction"] > 0
    (tmp_path / "chips.csv").write_text("\n".join(["id,row,col,west,south,east,north", "1,0,0,3,0,2,1"]))
    with pytest.raises(InputError, match="line 2: found 3, 0, 2, 1 as bounds, expected west < east"):
        open_labelled_scenes(path)


def test_chips_have_no_place_for_polygons_of_regions(chips, tmp_path):
    settings = SETTINGS.changed(
        {"inputs.normalise": "event", "split.scheme": "regions", "split.regions": tmp_path / "regions.gpkg"}
    )
    with pytest.raises(InputError, match=r"regions: Made-up chips \(east\) has no place on Earth; expected"):
        train(chips, tmp_path / "run", settings)


def test_a_folder_that_holds_a_training_is_left_as_it_is(made_up_cube, made_up_model, tmp_path):
    folder = shutil.copytree(made_up_model.parent, tmp_path / "run")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    settings = cube_settings(made_up_cube).changed(seed=1)
    with pytest.raises(InputError, match="already holds a training; use --resume"):
        train(made_up_cube, folder, settings, compare=False)
    with pytest.raises(InputError, match="found seed = 0, expected 1"):
        train(made_up_cube, folder, settings, resume=True, compare=False)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_only_one_process_trains_in_a_folder(made_up_cube, tmp_path):
    (tmp_path / "training").mkdir()
    with (
        exclusive_lock(tmp_path / "training", tmp_path / "training"),
        pytest.raises(InputError, match="another process is writing it"),
    ):
        train(made_up_cube, tmp_path, SETTINGS)


def test_best_weights_need_landslides_to_choose_by(made_up_cube, tmp_path):
    area = open_labelled_scene(made_up_cube)
    left, bottom, right, top = area.scene.grid.boundingbox.bbox
    edges = np.linspace(left, right, 4)
    strips = [box(a, bottom, b, top) for a, b in itertools.pairwise(edges)]
    frame = gpd.GeoDataFrame({"part": ["train", "validation", "test"]}, geometry=strips, crs="EPSG:32654")
    frame.to_file(tmp_path / "regions.gpkg")
    columns = np.abs(np.arange(area.labels.shape[1]) / area.labels.shape[1] - 0.5) < 0.2  # somewhat more than the strip
    area.labels[:, columns] = np.where(area.labels[:, columns] == 1, 0, area.labels[:, columns])
    settings = SETTINGS.changed(
        {"split.scheme": "regions", "split.regions": tmp_path / "regions.gpkg", "optimiser.keep": "best"}
    )
    with pytest.raises(InputError, match=r"keep = 'best': the validation set holds no landslide to choose by"):
        fit_model([area], tmp_path / "run", settings)


@pytest.fixture(scope="module")
def mapped(made_up_cube, other_cube, tmp_path_factory, listen):
    """A map of the other event by a model that was not trained on it, that event's cube, and the messages."""
    out = tmp_path_factory.mktemp("mapped")
    settings = SETTINGS.changed({"augment.band_dropout": 0.2, "optimiser.epochs": 3})
    fit_model([open_labelled_scene(made_up_cube)], out / "run", settings, compare=False)
    with listen() as messages:
        return predict_scene(out / "run" / "model", other_cube, out / "map"), other_cube, messages


def test_regions_and_classes_are_scored_one_by_one(mapped, other_event, tmp_path):
    folder, cube, _ = mapped
    event, grid = read_event(other_event), open_cube(cube).grid
    left, bottom, right, top = grid.boundingbox.bbox
    middle = (left + right) / 2
    halves = gpd.GeoDataFrame(
        {"name": ["west", "east"]},
        geometry=[box(left, bottom, middle, top), box(middle, bottom, right, top)],
        crs=str(grid.crs),
    )
    halves.to_file(tmp_path / "halves.gpkg")
    classes = np.where(np.arange(grid.shape[0])[:, None] < 40, 3, 7) * np.ones(grid.shape, dtype=int)
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "crs": str(grid.crs), "transform": grid.affine}
    with rasterio.open(tmp_path / "classes.tif", "w", height=grid.shape[0], width=grid.shape[1], **profile) as file:
        file.write(classes.astype(np.uint8), 1)
    metrics = evaluate(
        folder,
        event.inventory.path,
        area=event.inventory.area,
        regions=tmp_path / "halves.gpkg",
        classes=tmp_path / "classes.tif",
    )
    for key, names in (("regions", {"west", "east"}), ("classes", {"3", "7"})):
        assert set(getattr(metrics, key)) == names
        for count in ("tp", "fp", "fn", "tn"):
            assert sum(getattr(row, count) for row in getattr(metrics, key).values()) == getattr(metrics.pixels, count)
    with rasterio.open(folder / "probability.tif") as file:
        recognised = file.read(1) >= metrics.calibration.threshold
    labels = open_cube(cube).labels
    assert metrics.classes["3"].fp == (recognised & (labels == 0) & (classes == 3)).sum()
    text = (folder / "metrics.md").read_text()
    assert "## Regions" in text
    assert "| west |" in text
    assert read_scores(folder / "metrics.json").regions == metrics.regions


def test_a_raster_of_measurements_is_no_raster_of_classes(mapped, other_event, tmp_path):
    folder = mapped[0]
    inventory = read_event(other_event).inventory.path
    with rasterio.open(folder / "probability.tif") as file:
        profile = {
            "driver": "GTiff",
            "count": 1,
            "dtype": "uint8",
            "nodata": 0,
            "crs": file.crs,
            "transform": file.transform,
        }
    with rasterio.open(tmp_path / "empty.tif", "w", height=5, width=5, **profile) as file:
        file.write(np.zeros((5, 5), dtype=np.uint8), 1)
    with pytest.raises(InputError, match="has no code on the grid; expected a raster of classes"):
        evaluate(folder, inventory, classes=tmp_path / "empty.tif")
    with pytest.raises(InputError, match="expected classes in whole numbers"):
        evaluate(folder, inventory, classes=folder / "probability.tif")


def scorable(probability, labels):
    seen = np.zeros(labels.shape, dtype=np.uint8)
    return ScoredMap("made up", probability.astype(np.float32), labels.astype(np.uint8), seen, 10.0)


@pytest.mark.parametrize("landslides", [0, 1])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_maps_with_nothing_or_everything_have_scores_that_json_knows(landslides, value):
    metrics = score([scorable(np.full((40, 40), value), np.full((40, 40), landslides))])
    json.dumps(metrics.to_json(), allow_nan=False)
    assert metrics.pixels.oa == float(landslides == value)
    assert metrics.objects.n_mapped == landslides


def test_the_false_alarm_area_is_that_of_1000_square_kilometres():
    probability, labels = np.zeros((100, 100)), np.zeros((100, 100))
    probability[:10, :10] = 1  # 100 of 10 000 pixels
    metrics = score([scorable(probability, labels)])
    assert metrics.pixels.false_alarm_km2_per_1000_km2 == pytest.approx(10)
    assert metrics.pixels.scored_km2 == pytest.approx(1)


def test_an_infinite_input_is_one_line_with_the_band(made_up_cube, tmp_path):
    area = open_labelled_scene(made_up_cube)
    real = area.scene.read

    def broken(rows, bands):
        values = real(rows, bands)
        values[[band.name for band in bands].index("slope"), 0, 0] = np.inf
        return values

    area.scene.read = broken
    with pytest.raises(InputError, match="Made-up earthquake: band slope is infinite in 1 pixels, expected numbers"):
        fit_model([area], tmp_path, SETTINGS)
    assert not (tmp_path / "training" / "tiles").exists()


def test_tiles_are_read_from_a_file_that_goes_when_training_is_done(made_up_model):
    assert (made_up_model.parent / "training").exists()
    assert not (made_up_model.parent / "training" / "tiles").exists()


def test_a_split_by_events_needs_an_event_to_hold_out(made_up_cube, tmp_path):
    with pytest.raises(InputError, match="found events, but no event to hold out; expected --test-on"):
        train(made_up_cube, tmp_path / "a", SETTINGS.changed({"split.scheme": "events"}))
    with pytest.raises(InputError, match="found blocks, expected events where --test-on is given"):
        train(made_up_cube, tmp_path / "b", SETTINGS, test_on=[made_up_cube])


def test_a_ratio_that_no_tile_reaches_is_refused(made_up_cube, tmp_path):
    with pytest.raises(InputError, match="no training tile has more than 0.9 landslide; lower it"):
        train(made_up_cube, tmp_path, SETTINGS.changed({"sampling.select": "positive", "sampling.positive_share": 0.9}))


def test_samples_are_scored_as_published_each_by_itself(made_up_cube, tmp_path):
    """The witness predicts each held-out sample with the bare network and counts its pixels, leaked ones too."""
    settings = SETTINGS.changed({"split.scheme": "paper"})
    model, (area,) = fit_model([open_labelled_scene(made_up_cube)], tmp_path, settings, compare=False)
    split = area.split
    values = model.metadata.encoder.encode(area.scene.read(slice(None), model.metadata.bands))
    rows = []
    for window in split.test:
        with torch.no_grad():
            tile = torch.from_numpy(np.ascontiguousarray(values[(slice(None), *window.slices)]))[None]
            given = model.networks[0](tile).softmax(1)[0, 1].numpy() >= model.metadata.threshold
        labels = area.labels[window.slices]
        rows.append(confusion(given, labels == 1, labels != 255))
    expected = [scores(*row).f1 for row in rows if row.tp + row.fn]
    samples = model.metadata.samples
    assert samples["count"] == len(split.test)
    assert samples["mean"]["f1"] == pytest.approx(np.mean(expected), abs=1e-6)
    assert samples["pooled"]["f1"] == pytest.approx(scores(*map(sum, zip(*rows, strict=True))).f1, abs=1e-6)
    table = (tmp_path / "splits" / "1-made-up-earthquake-samples.csv").read_text().splitlines()
    assert sum(",test," in line for line in table) == len(split.test)
    assert table[1].startswith("1,")


def test_a_temperature_and_a_threshold_come_from_the_validation_set_alone(made_up_cube, tmp_path):
    """The witness maps the validation pixels with the bare network and searches both by brute force."""
    from scipy.special import expit, logit

    settings = SETTINGS.changed({"split.validation_fraction": 0.3, "optimiser.epochs": 3})
    model, (area,) = fit_model([open_labelled_scene(made_up_cube)], tmp_path, settings, compare=False)
    metadata = model.metadata
    split = area.split
    bare = model.__class__(model.networks, metadata.model_copy(update={"temperature": 1.0}))
    where = (split.subsets == Subset.VALIDATION) & (area.labels != 255)
    probability = predict_array(bare, area.scene)[0][where].astype(np.float64)
    truth = area.labels[where] == 1

    def loss(temperature):
        p = expit(logit(probability.clip(1e-7, 1 - 1e-7)) / temperature)
        return -np.log(np.where(truth, p, 1 - p)).mean()

    candidates = np.exp(np.linspace(-3, 3, 2001))
    assert metadata.temperature == pytest.approx(candidates[np.argmin([loss(t) for t in candidates])], rel=0.01)
    scaled = expit(logit(probability.clip(1e-7, 1 - 1e-7)) / metadata.temperature)

    def f1(threshold):
        found = scaled >= threshold
        return 2 * (found & truth).sum() / max(found.sum() + truth.sum(), 1)

    assert f1(metadata.threshold) == pytest.approx(max(f1(k / 4096) for k in range(1, 4097)), abs=2e-3)
