"""Regions of a study: chosen by rule or named, scored as training scores, and never on what training saw."""

import json
import shutil
from collections import Counter
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
from scipy import ndimage
from shapely.geometry import box

from coslide.config.training import TrainingSettings
from coslide.errors import InputError
from coslide.evaluation.pixels import confusion
from coslide.evaluation.study_regions import RegionOfStudy
from coslide.io.vector import VectorFile
from coslide.mapping.model import load_model, save_model
from coslide.pipeline.labelled_scene import LabelledScene, open_labelled_scenes
from coslide.pipeline.scene_predictor import InferenceOptions, predict_array
from coslide.pipeline.study_regions import choose_tiles, draw_regions, find_regions
from coslide.pipeline.train import plan_training
from coslide.pipeline.training_data import split_fingerprint
from coslide.samples.split import Split, Subset
from coslide.windows import Window, windows_in

SIDE_PX = 10.0


@pytest.fixture(scope="module")
def scene(made_up_cube, made_up_model):
    """The made-up event, split as its model was trained."""
    settings = TrainingSettings().changed(load_model(made_up_model).metadata.settings)
    return plan_training(open_labelled_scenes(made_up_cube), settings).scenes[0]


@pytest.fixture(scope="module")
def runs(scene, made_up_model, tmp_path_factory):
    """Two runs of the same network with thresholds that call many and few pixels landslide."""
    model, folder = load_model(made_up_model), tmp_path_factory.mktemp("runs")
    given = predict_array(model, scene.scene, InferenceOptions(precision="32"))[0]
    found = {}
    for case, share in (("many", 0.5), ("few", 0.9)):
        metadata = model.metadata.model_copy(update={"threshold": float(np.nanquantile(given, share))})
        save_model(replace(model, metadata=metadata), folder / case / "model")
        found[case] = folder / case
    return found


@pytest.fixture(scope="module")
def whole(scene, runs, polygons, tmp_path_factory):
    """What is found of a region that is the whole event, much of which trained."""
    return draw_regions(runs, scene, tmp_path_factory.mktemp("whole"), regions=polygons([("all", (0, 0, 100, 100))]))[0]


@pytest.fixture(scope="module")
def polygons(scene, tmp_path_factory):
    """A function that writes rectangles, by row, col, height and width, into a file."""

    def write(places):
        west, _, _, north = scene.scene.grid.boundingbox.bbox
        shapes = [
            box(west + SIDE_PX * x, north - SIDE_PX * (y + h), west + SIDE_PX * (x + w), north - SIDE_PX * y)
            for _, (y, x, h, w) in places
        ]
        path = tmp_path_factory.mktemp("regions") / "places.gpkg"
        frame = gpd.GeoDataFrame({"name": [name for name, _ in places]}, geometry=shapes, crs=scene.scene.grid.crs)
        frame.to_file(path)
        return VectorFile(path)

    return write


def scene_of(seed, tile=8):
    """A scene of random labels and subsets; tiles at every fourth pixel are its test set."""
    random = np.random.default_rng(seed)
    labels = (ndimage.gaussian_filter(random.normal(size=(48, 56)), 1) > random.uniform(0.2, 0.7)).astype(np.uint8)
    labels[random.random(labels.shape) < 0.08] = 255  # some tiles have fewer labels than the rule asks for
    seen = np.full(labels.shape, Subset.TEST, np.uint8)
    for row, col in random.integers(0, 48, (4, 2)):
        seen[row : row + 6, col : col + 6] = random.choice([Subset.TRAIN, Subset.VALIDATION, Subset.GUARD])
    tests = windows_in(Window(0, 0, *labels.shape), tile=tile, stride=tile // 2)
    return LabelledScene("made up", "", None, labels, split=Split(seen, [], [], tests, 0.0), seen=seen)


def chosen_slowly(scene):
    """The choice of tiles, written as it is described."""
    numbers, _ = ndimage.label(scene.labels == 1, np.ones((3, 3)))
    left = []
    for window in scene.split.test:
        seen, labels = scene.seen[window.slices], scene.labels[window.slices]
        fair = not {Subset.TRAIN, Subset.VALIDATION, Subset.GUARD} & set(seen.ravel().tolist())
        if fair and (labels == 255).sum() <= 0.1 * labels.size and (labels == 1).any():
            count = len(set(numbers[window.slices].ravel().tolist()) - {0})
            left.append((window, (labels == 1).sum(), count))
    found = {}
    for name, by in (("A", 1), ("B", 2), ("C", 2)):
        taken = {(y, x) for w in found.values() for y in range(w.row, w.row + 8) for x in range(w.col, w.col + 8)}
        left = [
            one for one in left if not taken & {(one[0].row + y, one[0].col + x) for y in range(8) for x in range(8)}
        ]
        if name == "C" and left:
            least = np.percentile([one[1] for one in left], 25)
            left = [one for one in left if one[1] <= least]
        if left:
            found[name] = sorted(left, key=lambda one: (-one[by], one[0].row, one[0].col))[0][0]
    return found


@pytest.mark.parametrize("seed", range(12))
def test_the_tiles_chosen_are_those_of_the_rule(seed):
    scene = scene_of(seed)
    found = choose_tiles(scene)
    assert found == chosen_slowly(scene)
    assert set(found) == set("ABC")


def test_where_there_are_fewer_tiles_there_are_fewer_regions():
    scene = scene_of(0)
    one = choose_tiles(scene)["C"]
    assert choose_tiles(replace(scene, split=scene.split._replace(test=[one]))) == {"A": one}
    assert choose_tiles(replace(scene, seen=np.full_like(scene.seen, Subset.GUARD))) == {}
    assert choose_tiles(replace(scene, labels=np.zeros_like(scene.labels))) == {}


def test_a_region_is_scored_on_held_out_pixels_alone_and_at_the_threshold_of_each_model(scene, runs, whole):
    where = (scene.seen == Subset.TEST) & (scene.labels != 255)
    assert (scene.seen == Subset.TRAIN).sum() > 3000
    assert whole.held_out == pytest.approx(where.mean())
    for case, folder in runs.items():
        model = load_model(folder / "model")
        given = predict_array(model, scene.scene, InferenceOptions(precision="32"))[0]
        expected = confusion(given >= model.metadata.threshold, scene.labels == 1, where)
        found = whole.scores[case]
        assert (found.tp, found.fp, found.fn, found.tn) == expected
        assert found.scored_pixels == where.sum()
    numbers, _ = ndimage.label(scene.labels == 1, np.ones((3, 3)))
    assert whole.landslides_scored == len(set(numbers[where].tolist()) - {0}) < whole.landslides
    assert f"{whole.landslides} landslides ({whole.landslides_scored} scored)" in whole.size
    assert whole.scores["many"].recall >= whole.scores["few"].recall > 0
    assert whole.scores["many"].fp > whole.scores["few"].fp


def test_a_small_region_has_the_values_of_the_map_of_the_whole_scene(scene, runs, polygons, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("coslide.pipeline.study_regions.region_figure", lambda *given: drawn.append(given[2]))
    place = Window(63, 3, 21, 19)
    (found,) = draw_regions(runs, scene, tmp_path, regions=polygons([("a", place)]))
    rows = place.slices
    where = (scene.seen[rows] == Subset.TEST) & (scene.labels[rows] != 255)
    for case, folder in runs.items():
        model = load_model(folder / "model")
        given = predict_array(model, scene.scene, InferenceOptions(precision="32"))[0][rows]
        recognised = where & (given >= model.metadata.threshold)
        np.testing.assert_array_equal(drawn[0].recognised[case], recognised)
        scores = found.scores[case]
        assert (scores.tp, scores.fp, scores.fn, scores.tn) == confusion(recognised, scene.labels[rows] == 1, where)
    assert drawn[0].recognised["many"].any()
    assert not drawn[0].recognised["many"].all()


def test_a_threshold_of_the_scene_is_chosen_from_all_that_training_scores(scene, runs, polygons, tmp_path, monkeypatch):
    model, asked = load_model(runs["many"] / "model"), []
    metadata = model.metadata.model_copy(update={"threshold_of": "scene"})
    save_model(replace(model, metadata=metadata), tmp_path / "run" / "model")
    monkeypatch.setattr("coslide.pipeline.study_regions.region_figure", lambda *_: None)
    monkeypatch.setattr(
        "coslide.pipeline.study_regions.choose_threshold", lambda _, maps: (asked.extend(maps), (0.5, None))[1]
    )
    small = polygons([("a", (70, 5, 10, 10))])
    draw_regions({"scene": tmp_path / "run", "own": runs["few"]}, scene, tmp_path, regions=small)
    held_out = (scene.seen == Subset.TEST) & scene.scene.valid()
    assert np.isfinite(asked[0]).sum() == held_out.sum()
    assert np.isfinite(asked[1]).sum() == held_out[70:80, 5:15].sum()


def test_landslides_are_counted_with_a_pixel_inside_and_measured_as_a_whole(scene, runs, polygons, tmp_path):
    row, col, height, width = 60, 2, 30, 28
    (found,) = draw_regions({}, scene, tmp_path, regions=polygons([("a", (row, col, height, width))]))
    numbers, _ = ndimage.label(scene.labels == 1, np.ones((3, 3)))
    inside = numbers[row : row + height, col : col + width]
    areas = Counter(numbers[np.isin(numbers, inside[inside > 0])].tolist())
    assert found.window == Window(row, col, height, width)
    assert found.landslides == len(areas) > 1
    assert (found.smallest_m2, found.largest_m2) == (100 * min(areas.values()), 100 * max(areas.values()))
    assert areas != Counter(inside[inside > 0].tolist())  # one reaches beyond
    labels = scene.labels[row : row + height, col : col + width]
    assert found.landslide_share == pytest.approx((labels == 1).sum() / (labels != 255).sum())
    assert found.area_km2 == pytest.approx(height * width * 1e-4)


def test_the_environment_is_that_of_the_valid_pixels_of_the_region(scene, whole):
    data, valid = scene.scene.to_xarray(), scene.scene.valid()
    found = {index.index: index for index in whole.environment}
    assert list(found) == ["elevation", "slope", "aspect", "PGA", "distance to the fault"]
    for words, band in (("elevation", "elevation"), ("slope", "slope"), ("PGA", "pga")):
        values = data[band].values[valid]
        expected = [np.nanmedian(values), np.nanmin(values), np.nanmax(values)]
        assert [found[words].median, found[words].lowest, found[words].highest] == pytest.approx(expected)
        assert found[words].unit == data[band].attrs["units"]
    classes = data["aspect_class"].values[valid]
    names = ("flat", "N", "NE", "E", "SE", "S", "SW", "W", "NW")
    number, count = Counter(classes[classes != 255].tolist()).most_common(1)[0]
    assert found["aspect"].main_class == names[number - 1]
    assert found["aspect"].main_share == pytest.approx(count / (classes != 255).sum())
    assert found["distance to the fault"].band == "fault_distance"


def test_a_study_has_a_picture_of_each_region_and_their_tables_and_those_of_before_are_gone(scene, runs, tmp_path):
    old = tmp_path / "figures" / "region-old.png"
    old.parent.mkdir()
    old.write_bytes(b"")
    (tmp_path / "figures" / "scores.png").write_bytes(b"")
    found = draw_regions(runs, scene, tmp_path)
    assert {one.name: one.window for one in found} == choose_tiles(scene)
    assert [one.held_out for one in found] == [(scene.labels[one.window.slices] != 255).mean() for one in found]
    files = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert files == [*(f"region-{one.name.lower()}.png" for one in found), "scores.png"]
    text = (tmp_path / "regions.md").read_text()
    first = found[0].scores["many"]
    assert f"| many | {first.f1:.2f} ({first.precision:.2f}, {first.recall:.2f}) |" in text
    assert "![Region A](figures/region-a.png)" in text
    assert [RegionOfStudy.model_validate_json(one.model_dump_json()) for one in found] == found


def test_where_no_tile_can_be_drawn_none_is_and_what_was_there_is_gone(scene, runs, tmp_path):
    (tmp_path / "regions.md").write_text("of another study")
    assert draw_regions(runs, replace(scene, labels=np.zeros_like(scene.labels)), tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_regions_are_named_as_in_the_file_and_their_pictures_so_that_no_two_are_one(scene, polygons, tmp_path):
    names = ["a-3", "a", "a!", "厚真", "all"]
    places = [(2, 40, 30, 20), (70, 5, 10, 10), (60, 0, 40, 30), (61, 0, 40, 30), (-9, -9, 300, 300)]
    found = draw_regions({}, scene, tmp_path, regions=polygons(list(zip(names, places, strict=True))))
    assert [one.name for one in found] == names
    files = ["region-a-3.png", "region-a.png", "region-a-3-3.png", "region.png", "region-all.png"]
    assert [one.figure for one in found] == [f"figures/{file}" for file in files]
    assert found[-1].window == Window(0, 0, 100, 100)
    assert found[0].rule == "named in places.gpkg"


def test_polygons_of_one_name_are_one_region_however_it_is_spaced_and_those_without_one_are_numbered(scene, polygons):
    corners = [(70, 5), (80, 5), (70, 25), (80, 25), (60, 5)]
    names = ["B a", " B   a", None, "  ", "4"]
    found = find_regions(scene, polygons([(name, (*at, 5, 5)) for name, at in zip(names, corners, strict=True)]))
    assert [one.name for one in found] == ["B a", "3", "4 (no name)", "4"]
    assert found[0].window == Window(70, 5, 15, 5)
    assert found[0].inside.sum() == 50


def test_more_regions_than_can_be_looked_at_are_refused(scene, polygons):
    with pytest.raises(InputError, match="found 51 regions, expected at most 50; merge some by a common name"):
        find_regions(scene, polygons([(str(i), (70, 5, 9, 9)) for i in range(51)]))


@pytest.mark.parametrize(
    ("place", "said"),
    [((0, 200, 20, 20), "region there: found it outside"), ((4, 4, 12, 12), "region there: found no labelled pixel")],
)
def test_a_region_that_cannot_be_scored_is_named_before_anything_is_mapped(scene, polygons, place, said):
    with pytest.raises(InputError, match=said):
        find_regions(scene, polygons([("here", (70, 5, 10, 10)), ("there", place)]))


def test_a_model_of_another_split_is_refused(scene, runs, tmp_path):
    other = replace(scene, seen=np.full_like(scene.seen, Subset.TEST))
    (tmp_path / "regions.md").write_text("of before")
    with pytest.raises(InputError, match="many: its model was trained on 5578 pixels that are held out here"):
        draw_regions(runs, other, tmp_path)
    assert (tmp_path / "regions.md").read_text() == "of before"


def test_a_model_of_chips_that_were_split_in_another_way_is_refused(chips_writer, made_up_model, tmp_path, monkeypatch):
    path, _ = chips_writer(tmp_path, [f"one,{i},{j}" for i in (0, 32) for j in (0, 32)])
    (scene,) = open_labelled_scenes(path)
    seen = np.full(scene.labels.shape, Subset.TEST, np.uint8)
    seen[:32] = Subset.TRAIN
    scene = replace(scene, seen=seen, split=Split(seen, [], [], list(scene.scene.windows.values())[2:], 0.0))
    shutil.copytree(made_up_model, tmp_path / "run" / "model")
    record = tmp_path / "run" / "training" / "settings.json"
    record.parent.mkdir()
    monkeypatch.setattr("coslide.pipeline.study_regions.mapped_where", lambda *_: np.ones(seen.shape, np.float32))
    record.write_text(json.dumps({"parts": split_fingerprint([scene])}))
    assert [one.name for one in draw_regions({"case": tmp_path / "run"}, scene, tmp_path)] == ["A", "B"]
    other = replace(scene, split=scene.split._replace(subsets=seen[::-1]))
    record.write_text(json.dumps({"parts": split_fingerprint([other])}))
    with pytest.raises(InputError, match=r"run: its model was trained on other parts of .*, expected runs"):
        draw_regions({"case": tmp_path / "run"}, scene, tmp_path)


def test_chips_without_a_place_take_no_polygons_but_tiles(chips_writer, polygons, tmp_path):
    path, _ = chips_writer(tmp_path, [f"one,{i},{j}" for i in (0, 32) for j in (0, 32)])
    (scene,) = open_labelled_scenes(path)
    seen, tests = np.full(scene.labels.shape, Subset.TEST, np.uint8), list(scene.scene.windows.values())
    scene = replace(scene, seen=seen, split=Split(seen, [], [], tests, 0.0))
    with pytest.raises(InputError, match="has no place on Earth"):
        draw_regions({}, scene, tmp_path, regions=polygons([("a", (0, 0, 9, 9))]))
    found = draw_regions({}, scene, tmp_path)
    assert [one.name for one in found] == ["A", "B", "C"]
    assert [one.environment for one in found] == [[]] * 3
