"""The page of a run says what its files say."""

import json
import shutil

import numpy as np
import pytest

from coslide.chain.map import map_scene
from coslide.chain.report import write_report
from coslide.chain.run import run
from coslide.errors import InputError


@pytest.fixture(scope="module")
def finished(made_up_event, tmp_path_factory):
    return run(made_up_event, tmp_path_factory.mktemp("report") / "run")


def test_the_numbers_of_the_page_are_those_of_the_scores(finished):
    text = (finished / "report.html").read_text()
    metrics = json.loads((finished / "metrics.json").read_text())
    for name in ("f1", "precision", "recall", "iou_landslide", "kappa"):
        assert f"{metrics['pixels'][name]:.3f}" in text
    assert f"{metrics['pixels']['tp']} found" in text
    for heading in ("Before and after", "Landslides", "Probability", "Scores", "Training", "What the network saw"):
        assert heading in text
    assert "Simulated ground" not in text


def test_a_page_without_scores_says_so(made_up_model, made_up_cube, tmp_path):
    shutil.copytree(made_up_cube, tmp_path / "index.zarr")
    map_scene(made_up_model, made_up_cube, tmp_path)
    text = write_report(tmp_path).read_text()
    assert "There is no inventory to score them against." in text
    assert "Scores on ground" not in text
    assert "Training" not in text


def test_a_simulated_event_is_said_to_be_one(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "run")
    for name in (".zattrs", ".zmetadata"):
        path = folder / "index.zarr" / name
        path.write_text(path.read_text().replace('"event_id": "made-up"', '"event_id": "simulated-paper-0"'))
    assert "Simulated ground" in write_report(folder).read_text()


def test_a_name_with_tags_in_it_is_text(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "run")
    for name in (".zattrs", ".zmetadata"):
        path = folder / "index.zarr" / name
        path.write_text(path.read_text().replace("Made-up earthquake", "<img src=x onerror=alert(1)>"))
    text = write_report(folder).read_text()
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert "<img src=x" not in text


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"index.zarr: not found"):
        write_report(tmp_path)


def test_areas_of_objects_are_those_of_their_cells():
    from coslide.mapping.inventory import object_areas_m2

    mask = np.zeros((6, 6), dtype=bool)
    mask[0, 0] = mask[1, 1] = mask[4, 4] = True
    assert sorted(object_areas_m2(mask, 10.0)) == [100.0, 200.0]
    assert object_areas_m2(np.zeros((3, 3), dtype=bool), 10.0).size == 0
