"""The page of a run shows what its files hold."""

import json
import re
import shutil

import geopandas as gpd
import numpy as np
import pytest
import rasterio

from coslide.config.event import read_event
from coslide.cube.cube import Cube, open_cube
from coslide.errors import InputError
from coslide.pipeline.build import build_cube, describe_cube
from coslide.pipeline.predict import predict_scene
from coslide.pipeline.report import write_report


@pytest.fixture(scope="module")
def finished(made_up_run):
    return made_up_run


def test_the_numbers_of_the_page_are_those_of_the_scores(finished):
    text = (finished / "report.html").read_text()
    metrics = json.loads((finished / "metrics.json").read_text())
    for name in ("f1", "precision", "recall", "iou_landslide", "kappa"):
        assert f"{metrics['pixels'][name]:.3f}" in text
    assert f"{metrics['pixels']['tp']} found" in text
    for heading in ("Before and after", "Landslides", "Probability", "Scores", "Training", "What the network saw"):
        assert heading in text
    assert "Simulated terrain" not in text


def test_a_page_without_scores_says_so(made_up_model, made_up_cube, tmp_path):
    shutil.copytree(made_up_cube, tmp_path / "index.zarr")
    predict_scene(made_up_model, made_up_cube, tmp_path)
    text = write_report(tmp_path).read_text()
    assert "There is no inventory to score them against." in text
    assert "Scores on pixels" not in text
    assert "Training" not in text


def test_a_simulated_event_is_said_to_be_one(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "run")
    for name in (".zattrs", ".zmetadata"):
        path = folder / "index.zarr" / name
        path.write_text(path.read_text().replace('"simulated": 0', '"simulated": 1'))
    assert "Simulated terrain" in write_report(folder).read_text()


def test_a_name_with_tags_in_it_is_text(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "run")
    for name in (".zattrs", ".zmetadata"):
        path = folder / "index.zarr" / name
        path.write_text(path.read_text().replace("Made-up earthquake", "<img src=x onerror=alert(1)>"))
    text = write_report(folder).read_text()
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert "<img src=x" not in text


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"has neither index\.zarr nor probability\.tif"):
        write_report(tmp_path)


def test_areas_of_objects_are_those_of_their_pixels():
    from coslide.mapping.inventory import object_areas_m2

    mask = np.zeros((6, 6), dtype=bool)
    mask[0, 0] = mask[1, 1] = mask[4, 4] = True
    assert sorted(object_areas_m2(mask, 10.0)) == [100.0, 200.0]
    assert object_areas_m2(np.zeros((3, 3), dtype=bool), 10.0).size == 0


@pytest.fixture
def copied(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "copy")


def lead_of(path):
    return re.search(r'<p class="lead">(.*?)</p>', path.read_text()).group(1)


def test_every_picture_is_described_and_stands_in_the_page(finished):
    images = re.findall(r"<img ([^>]*)>", (finished / "report.html").read_text())
    assert len(images) >= 7
    for attributes in images:
        assert re.search(r'src="data:image/(png|jpeg);base64,', attributes)
        assert re.search(r'alt="[^"]+"', attributes)


def test_a_training_that_was_interrupted_in_its_first_epoch_has_a_page(copied):
    """Its first log has no column for the loss of an epoch."""
    log = copied / "training" / "csv" / "version_0"
    log.rename(log.with_name("version_1"))
    log.mkdir()
    (log / "metrics.csv").write_text("epoch,loss_step,step\n0,0.5,0\n")
    assert "Training loss of each epoch" in write_report(copied).read_text()


def test_the_landslides_that_are_counted_are_those_that_are_delivered(copied):
    """Small ones may have been left out of the inventory (coslide map --min-area-m2)."""
    landslides = gpd.read_file(copied / "landslides.gpkg", layer="landslides")
    kept = landslides[landslides.area_m2 > landslides.area_m2.median()]
    assert 0 < len(kept) < len(landslides)
    kept.to_file(copied / "landslides.gpkg", layer="landslides", driver="GPKG")
    assert f"area {len(kept)} landslides" in lead_of(write_report(copied))
    (copied / "landslides.gpkg").unlink()
    assert f"area {len(landslides)} landslides" in lead_of(write_report(copied))


def test_an_area_without_a_mapped_landslide_gives_a_warning_in_place_of_an_f1(copied):
    path = copied / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["pixels"] |= {"tp": 0, "fn": 0, "f1": 0.0, "recall": 0.0, "precision": 0.0}
    path.write_text(json.dumps(metrics))
    page = write_report(copied)
    assert "F1" not in lead_of(page)
    assert "the scores below do not tell" in page.read_text()


def test_a_map_without_its_cube_has_a_page_that_says_what_is_missing(copied):
    shutil.rmtree(copied / "index.zarr")
    shutil.rmtree(copied / "training")
    text = write_report(copied).read_text()
    assert '<h1 dir="auto">Made-up earthquake</h1>' in text
    assert "Recognised landslides" in text
    for gone in ("Before and after", "What the network saw", "Training loss"):
        assert gone not in text
    for name in ("index.zarr", "training"):
        assert f"<li>{name}: " in text


def test_a_cube_without_a_map_has_a_page_of_what_the_network_would_see(made_up_cube, tmp_path):
    shutil.copytree(made_up_cube, tmp_path / "index.zarr")
    text = write_report(tmp_path).read_text()
    assert "No map of landslides has been made yet." in text
    assert "Before and after" in text
    assert "Both dates have the same stretch" in text


def test_sources_are_credited_in_the_words_of_their_owners_and_as_text(made_up_cube, made_up_event, tmp_path):
    shutil.copytree(made_up_cube, tmp_path / "index.zarr")
    assert "Sources and licences" not in write_report(tmp_path).read_text()
    link = {"source": "DEM <b>", "licence": "free & open", "text": "© all " * 40, "address": "javascript:alert(1)"}
    told = {"attributions": (link, {"source": "Scenes"}), "credit": ""}
    event = read_event(made_up_event)
    describe_cube(tmp_path / "index.zarr", type(event).model_validate({**event.model_dump(), **told}))
    assert open_cube(tmp_path / "index.zarr").attrs["credit"] == "DEM <b>; Scenes"
    text = write_report(tmp_path).read_text()
    assert "<h2>Sources and licences</h2>" in text
    cells = ["free &amp; open", ("© all " * 40).strip(), "javascript:alert(1)"]
    assert f'<th scope="row">DEM &lt;b&gt;</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>' in text
    assert '<th scope="row">Scenes</th><td>–</td><td>–</td><td>–</td></tr>' in text
    assert 'href="javascript' not in text


def test_one_date_is_not_called_two(made_up_cube, tmp_path, monkeypatch):
    shutil.copytree(made_up_cube, tmp_path / "index.zarr")
    both = Cube.reflectance
    monkeypatch.setattr(
        Cube, "reflectance", lambda cube, date, bands: both(cube, date, bands) if date == "post" else []
    )
    text = write_report(tmp_path).read_text()
    assert "<h2>After the earthquake</h2>" in text
    for gone in ("Before and after", "Both dates"):
        assert gone not in text
    assert "<li>probability.tif: " in text


@pytest.mark.slow
def test_time_and_magnitude_are_said_where_the_event_file_has_them(copied, made_up_event):
    assert lead_of(write_report(copied)).startswith("On ")
    event = read_event(made_up_event)
    told = {"time_utc": "2018-09-06T03:07:59+09:00", "magnitude": 6.6}
    describe_cube(copied / "index.zarr", type(event).model_validate({**event.model_dump(), **told}))
    assert lead_of(write_report(copied)).startswith("Magnitude 6.6, 5 September 2018, 18:07 UTC. On ")


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ({"scheme": "unknown", "leak_fraction": 0.0}, "may count pixels that training saw"),
        ({"scheme": "all", "leak_fraction": 0.0}, "The model was trained elsewhere"),
        ({"scheme": "paper-random", "leak_fraction": 0.87}, "87.0 % of the pixels of the held-out tiles"),
    ],
)
def test_the_page_says_what_the_scores_are_worth(copied, split, words):
    path = copied / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["split"] |= split
    path.write_text(json.dumps(metrics))
    text = write_report(copied).read_text()
    assert words in text
    assert ("Scores on pixels that training did not see" in text) == (split["scheme"] != "unknown")


def test_a_model_of_another_event_is_named(copied):
    with rasterio.open(copied / "probability.tif", "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        metadata = json.loads(file.tags()["coslide"])
        metadata["model"]["events"] = ["Other <b>earthquake"]
        file.update_tags(coslide=json.dumps(metadata))
    assert "trained on another event: Other &lt;b&gt;earthquake." in write_report(copied).read_text()


def test_cube_and_map_on_different_grids_are_refused(copied, made_up_event):
    event = read_event(made_up_event)
    grid = event.grid.model_copy(update={"pixel_size_m": 20.0})
    shutil.rmtree(copied / "index.zarr")
    build_cube(event.model_copy(update={"grid": grid}), copied / "index.zarr")
    with pytest.raises(InputError, match="expected that of the map"):
        write_report(copied)


@pytest.mark.parametrize("text", ["{", "[1]", '{"pixels": {}}'])
def test_scores_that_coslide_did_not_write_are_refused(copied, text):
    (copied / "metrics.json").write_text(text)
    with pytest.raises(InputError, match=r"metrics\.json: "):
        write_report(copied)


def test_the_same_folder_gives_the_same_page(copied):
    first = write_report(copied).read_bytes()
    assert write_report(copied).read_bytes() == first


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.json", '{"wall_s": "long"}', "run.json: wall_s: found 'long', expected"),
        ("run.json", "[1]", "run.json: found [1], expected"),
        ("training/csv/version_0/metrics.csv", "epoch,loss_epoch\n0,high\n", "metrics.csv: cannot be read as the log"),
    ],
)
def test_a_damaged_file_of_a_run_is_named_in_one_line(made_up_cube, tmp_path, name, content, message):
    (tmp_path / "index.zarr").symlink_to(made_up_cube)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError) as caught:
        write_report(tmp_path)
    assert message in str(caught.value)
