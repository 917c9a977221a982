"""From a map without an inventory to places, from their labels to scores: what is written, and what is refused."""

import json
import re
import shutil
import sqlite3
from contextlib import closing

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from coslide.cube.cube import open_cube
from coslide.errors import InputError
from coslide.evaluation.assessment import Assessment
from coslide.io.resumable import ResumableRaster
from coslide.labels import LANDSLIDE
from coslide.mapping.metadata import load_metadata
from coslide.mapping.probability_map import MapMetadata, write_probability_map
from coslide.pipeline.assess import assess
from coslide.pipeline.report import write_report
from coslide.pipeline.sample import sample

N = 60


def write_map(folder, cube, metadata, *, shift=0, valid=None):
    """Write a map of the landslides of the cube, moved by some pixels, with a margin of low probability."""
    truth = np.roll(cube.labels == LANDSLIDE, shift, axis=1)
    probability = np.where(truth, 0.8, np.where(np.roll(truth, 3, axis=0), 0.2, 0.01)).astype(np.float32)
    probability[~cube.valid()] = np.nan
    if valid is not None:
        probability[~valid] = np.nan
    folder.mkdir()
    store = ResumableRaster(folder / "rows", cube.shape)
    store.write(0, probability[np.newaxis])
    write_probability_map(folder, store, cube.grid, metadata)
    shutil.rmtree(folder / "rows")
    return folder


@pytest.fixture(scope="module")
def metadata(made_up_model):
    model = load_metadata(made_up_model)
    return MapMetadata(event="a", threshold=0.5, model=model.model_copy(update={"threshold": 0.5, "footprints": []}))


@pytest.fixture(scope="module")
def sampled(made_up_cube, metadata, tmp_path_factory):
    """The folder of a map with its sample, and the labels that its cube gives."""
    cube = open_cube(made_up_cube)
    folder = write_map(tmp_path_factory.mktemp("assessment") / "map", cube, metadata)
    drawn = sample(folder, n=N, index=made_up_cube, seed=3)
    places = json.loads((drawn / "strata.json").read_text())["places"]
    true = [cube.labels[one["row"], one["col"]] == LANDSLIDE for one in places]
    table = pd.DataFrame({"id": [one["id"] for one in places], "label": np.where(true, "landslide", "no landslide")})
    return folder, table


@pytest.fixture
def copied(sampled, tmp_path):
    return shutil.copytree(sampled[0], tmp_path / "map")


def written(table, path):
    table.to_csv(path, index=False)
    return path


def points_of(folder):
    return gpd.read_file(folder / "sample" / "sample.gpkg", layer="sample")


def test_points_lie_at_the_centres_of_their_pixels_and_tell_nothing_of_the_map(sampled, made_up_cube):
    frame, cube = points_of(sampled[0]), open_cube(made_up_cube)
    assert list(frame.columns) == ["id", "stratum", "label", "geometry"]
    assert frame.crs.to_epsg() == 32654
    assert frame["label"].isna().all()
    cols, rows = ~cube.grid.affine @ (frame.geometry.x.to_numpy(), frame.geometry.y.to_numpy())
    parts = frame["id"].str.split("-", expand=True)
    np.testing.assert_allclose(rows, parts[1].astype(int) + 0.5)
    np.testing.assert_allclose(cols, parts[2].astype(int) + 0.5)
    assert cube.valid()[rows.astype(int), cols.astype(int)].all()


def test_each_stratum_is_what_its_name_says(sampled, made_up_cube):
    design = json.loads((sampled[0] / "sample" / "strata.json").read_text())
    cube = open_cube(made_up_cube)
    truth = cube.labels == LANDSLIDE
    by_name = {one["name"]: one for one in design["strata"]}
    assert sum(one["places"] for one in design["strata"]) == N
    assert by_name["landslide"]["pixels"] == (truth & cube.valid()).sum()
    assert by_name["landslide"]["probability_mean"] == pytest.approx(0.8)
    assert by_name["doubtful"]["probability_mean"] == pytest.approx(0.2)
    for one in design["places"]:
        assert (one["stratum"] == 1) == bool(truth[one["row"], one["col"]])


def test_a_picture_shows_a_place_after_and_before_and_its_relief_around_a_mark(sampled):
    pictures = sorted((sampled[0] / "sample" / "pictures").iterdir())
    assert len(pictures) == N
    with Image.open(pictures[0]) as picture:
        assert picture.size == (3 * 64 * 5 + 2 * 8, 64 * 5)
        colours = np.asarray(picture.convert("RGB"))
    for left in (0, 328, 656):
        panel = colours[:, left : left + 320].astype(int)
        assert (panel[158:167, 158:167] == (255, 255, 0)).all(axis=-1).any()
        middle = panel[161:164, 161:164].reshape(-1, 3)
        assert len(np.unique(middle, axis=0)) == 1
        assert middle[0].tolist() != [255, 255, 0]


def test_the_page_names_the_places_and_loads_nothing_from_elsewhere(sampled):
    text = (sampled[0] / "sample" / "label.html").read_text()
    assert set(sampled[1]["id"]) <= set(re.findall(r'"([0-9a-f]{6}-\d+-\d+)"', text))
    assert not re.search(r"https?://", text)
    assert "default-src 'none'" in text
    assert not re.search(r"stratum|probability|doubtful", text)


def test_labels_of_the_points_and_of_the_page_give_the_same(sampled, copied):
    from_page = assess(copied, written(sampled[1], copied / "labels.csv"))
    frame = points_of(copied).merge(sampled[1], on="id", suffixes=("_", ""))
    frame[["id", "stratum", "label", "geometry"]].to_file(copied / "filled.gpkg", layer="sample")
    assert assess(copied, copied / "filled.gpkg") == from_page
    assert Assessment.model_validate_json((copied / "assessment.json").read_text()) == from_page
    assert (from_page.precision.estimate, from_page.f1.estimate) == (1, 1)
    assert from_page.precision.low < 0.99
    assert from_page.area_km2.estimate == pytest.approx(from_page.mapped_km2)
    assert from_page.area_km2.low < from_page.mapped_km2 < from_page.area_km2.high


def test_labels_given_in_the_package_itself_are_read(sampled, copied):
    with closing(sqlite3.connect(copied / "sample" / "sample.gpkg")) as package:
        for name in ("ST_IsEmpty", "ST_MinX", "ST_MaxX", "ST_MinY", "ST_MaxY"):  # of its triggers
            package.create_function(name, 1, lambda _: 0)
        package.executemany("update sample set label = ? where id = ?", sampled[1][["label", "id"]].to_numpy().tolist())
        package.commit()
    assert assess(copied, copied / "sample" / "sample.gpkg").labelled == N


def test_what_cannot_be_told_or_has_no_label_yet_is_left_out_and_counted(sampled, copied):
    table = sampled[1].copy()
    table.loc[0, "label"], table.loc[1, "label"], table.loc[2, "label"] = "Cannot tell ", "", "cannot tell"
    found = assess(copied, written(table, copied / "labels.csv"))
    assert (found.labelled, found.cannot_tell, found.not_labelled) == (N - 3, 2, 1)
    assert sum(row.labelled for row in found.strata) == N - 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.assign(label=""), "no place has a label yet; give labels on label.html or in sample.gpkg"),
        (lambda t: t.assign(label="maybe"), "found label 'maybe', expected landslide, no landslide, cannot tell or no"),
        (lambda t: t.assign(label="cannot tell"), r"found 0 in stratum 'landslide' that are .*, expected at least 2"),
        (lambda t: t.iloc[:-2], f"lacks 2 of {N} places, such as '.*'; expected all"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "has id '.*' 2 times, expected once"),
        (lambda t: t.assign(id="ffffff-1-1"), "found id 'ffffff-1-1', of another map; expected those of the sample"),
        (lambda t: t.assign(id=t["id"].str[:7] + "9999-1"), "9999-1', no place of this sample; expected"),
        (lambda t: t.rename(columns={"label": "what"}), "has no column 'label'"),
    ],
)
def test_labels_that_cannot_be_used_are_refused_in_one_line(sampled, copied, change, message):
    with pytest.raises(InputError, match=message) as error:
        assess(copied, written(change(sampled[1]), copied / "labels.csv"))
    assert "\n" not in str(error.value)
    assert not (copied / "assessment.json").exists()


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (3, "expected at least 2; someone has looked at all 3 pixels of it, so too few"),
        (1, "expected at least 1; some"),
    ],
)
def test_a_stratum_of_which_nothing_can_be_told_asks_for_no_more_places(
    made_up_cube, metadata, tmp_path, pixels, expected
):
    cube = open_cube(made_up_cube)
    slid = np.flatnonzero((cube.labels == LANDSLIDE) & cube.valid())
    valid = cube.labels != LANDSLIDE
    valid.flat[slid[:pixels]] = True
    folder = write_map(tmp_path / "map", cube, metadata, valid=valid)
    drawn = sample(folder, n=40, index=made_up_cube)
    places = json.loads((drawn / "strata.json").read_text())["places"]
    mapped = [one["stratum"] == 1 for one in places]
    assert sum(mapped) == pixels
    labels = np.where(mapped, "cannot tell", "no landslide")
    table = pd.DataFrame({"id": [one["id"] for one in places], "label": labels})
    with pytest.raises(InputError, match=f"found 0 in stratum 'landslide' that are .*, {expected}"):
        assess(folder, written(table, folder / "labels.csv"))
    table.loc[np.flatnonzero(mapped)[0], "label"] = ""
    with pytest.raises(InputError, match="label more places, or draw more"):
        assess(folder, written(table, folder / "labels.csv"))


def test_points_without_labels_are_refused(copied):
    with pytest.raises(InputError, match="no place has a label yet"):
        assess(copied, copied / "sample" / "sample.gpkg")
    points_of(copied)[["id", "geometry"]].to_file(copied / "other.gpkg", layer="sample")
    with pytest.raises(InputError, match="has no column 'label'"):
        assess(copied, copied / "other.gpkg")


def test_a_sample_of_another_map_and_one_that_was_changed_are_refused(sampled, copied, made_up_cube, metadata):
    labels = written(sampled[1], copied / "labels.csv")
    other = write_map(copied.parent / "other", open_cube(made_up_cube), metadata, shift=2)
    with pytest.raises(InputError, match=r"not found; draw a sample first"):
        assess(other, labels)
    with pytest.raises(InputError, match=r"strata\.json: is a sample of another map than .*probability\.tif"):
        assess(other, labels, sample=copied / "sample")
    design = copied / "sample" / "strata.json"
    text = design.read_text()
    for change in ('"row": 9999', '"row": 0'):
        design.write_text(re.sub(r'"row": \d+', change, text, count=1))
        with pytest.raises(InputError, match=r"found place '.*' at row \d+, column \d+, expected it in stratum"):
            assess(copied, labels)
    design.write_text(text.replace('"name": "near"', '"name": "far"'))
    with pytest.raises(InputError, match=r"strata\.json: .*expected landslide, doubtful, near, background; restore it"):
        assess(copied, labels)


def test_two_maps_are_compared_where_both_are_valid(sampled, copied, made_up_cube, metadata):
    cube = open_cube(made_up_cube)
    valid = np.ones(cube.shape, bool)
    valid[:, :10] = False
    labels = written(sampled[1], copied / "labels.csv")
    other = write_map(copied.parent / "other", cube, metadata, shift=2, valid=valid)
    found = assess(copied, labels, other=other).comparison
    assert found.sampled_km2 == pytest.approx((valid & cube.valid()).sum() * 1e-4)
    assert found.labelled < N
    assert found.f1.this == 1 > found.f1.other
    assert 0 <= found.f1.low < found.f1.difference < found.f1.high
    narrow = np.zeros(cube.shape, bool)
    narrow[:2] = True
    third = write_map(copied.parent / "third", cube, metadata, valid=narrow)
    with pytest.raises(InputError, match="on the pixels that both maps can be judged on: found"):
        assess(copied, labels, other=third)


def test_the_report_shows_the_assessment_of_this_map_alone(sampled, copied, made_up_cube, metadata, listening):
    found = assess(copied, written(sampled[1], copied / "labels.csv"), other=copied)
    text = write_report(copied).read_text()
    assert "How good is it here?" in text
    assert f"{found.area_km2.high:.3g}" in text
    assert "Compared with the map in" in text
    write_map(copied.parent / "other", open_cube(made_up_cube), metadata, shift=2)
    shutil.copy(copied.parent / "other" / "probability.tif", copied)
    messages = listening()
    assert "How good is it here?" not in write_report(copied).read_text()
    assert any("assessment.json: is of another probability.tif" in message for message in messages)


@pytest.mark.parametrize("change", [lambda t: t[:-20], lambda t: "[]", lambda t: t.replace('"f1"', '"f2"', 1)])
def test_an_assessment_that_was_damaged_is_one_line(sampled, copied, change):
    assess(copied, written(sampled[1], copied / "labels.csv"))
    path = copied / "assessment.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match=r"assessment\.json: .*; assess again") as error:
        write_report(copied)
    assert "\n" not in str(error.value)


def test_a_sample_that_is_there_is_never_overwritten(copied, made_up_cube):
    before = (copied / "sample" / "sample.gpkg").read_bytes()
    with pytest.raises(InputError, match=r"sample: is there already, maybe with labels; move it away, or give another"):
        sample(copied, n=N, index=made_up_cube)
    assert (copied / "sample" / "sample.gpkg").read_bytes() == before
    larger = sample(copied, n=2 * N, index=made_up_cube, seed=3, out=copied / "larger")
    ids = [
        set(re.findall(r'"([0-9a-f]{6}-\d+-\d+)"', (f / "label.html").read_text())) for f in (copied / "sample", larger)
    ]
    assert ids[0] < ids[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 10}, "--n: found 10, expected 40 to 2000 places"),
        ({"seed": -1}, "--seed: found -1, expected a whole number from 0 on"),
        ({"index": None}, r"has no index\.zarr to draw pictures from; give the cube by --index INDEX\.zarr"),
    ],
)
def test_options_that_cannot_be_are_refused_and_leave_nothing(copied, made_up_cube, options, message):
    shutil.rmtree(copied / "sample")
    before = sorted(copied.iterdir())
    with pytest.raises(InputError, match=message):
        sample(copied, **{"n": N, "index": made_up_cube, **options})
    assert sorted(copied.iterdir()) == before


def test_pixels_that_training_saw_are_not_sampled(made_up_cube, made_up_model, metadata, tmp_path):
    trained = metadata.model_copy(update={"model": load_metadata(made_up_model)})
    cube = open_cube(made_up_cube)
    everywhere = write_map(tmp_path / "a", cube, metadata)
    held_out = write_map(tmp_path / "b", cube, trained)
    pixels = [
        sum(
            one["pixels"]
            for one in json.loads((sample(f, n=40, index=made_up_cube) / "strata.json").read_text())["strata"]
        )
        for f in (everywhere, held_out)
    ]
    assert pixels[0] == cube.valid().sum() > pixels[1] >= 40
    nothing = write_map(tmp_path / "c", cube, trained, valid=np.zeros(cube.shape, bool))
    with pytest.raises(
        InputError, match=r"has 0 valid pixels that training did not see, expected at least 40 to label"
    ):
        sample(nothing, n=40, index=made_up_cube)
