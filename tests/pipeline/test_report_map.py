"""The map of a report holds what the files of the run hold, and no number that they do not give."""

import json
import re
import shutil

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import rasterio.features

from coslide.cube.cube import open_cube
from coslide.errors import InputError
from coslide.labels import LANDSLIDE, NODATA
from coslide.mapping.probability_map import read_probability_map
from coslide.pipeline.report import write_report
from coslide.pipeline.report_facts import absent_indices, bibtex, input_rows, model_words
from coslide.pipeline.report_map import delivered_landslides, judge, map_content
from coslide.samples.split import Subset


@pytest.fixture(scope="module")
def finished(made_up_run):
    return made_up_run


@pytest.fixture(scope="module")
def content(finished):
    found, cube = read_probability_map(finished), open_cube(finished / "index.zarr")
    return map_content(cube, found, delivered_landslides(finished, found), judge(found, cube))


@pytest.fixture
def landslides(finished):
    return gpd.read_file(finished / "landslides.gpkg", layer="landslides")


def test_the_page_holds_this_very_map(finished, content):
    text = (finished / "report.html").read_text()
    found = json.loads(re.search(r'id="map-data">(.*?)</script>', text, re.DOTALL)[1])
    assert found == json.loads(json.dumps(content)) | {"name": "landslides"}


def test_attributes_are_those_of_the_file(content, landslides):
    layer = content["shapes"]["recognised"]
    assert layer["count"] == len(landslides) > 1
    assert layer["columns"]["id"] == landslides.id.tolist()
    assert layer["columns"]["aspect"] == landslides.aspect.tolist()
    for name, within in (("area_m2", 0.05), ("probability_max", 5e-4), ("slope_mean_deg", 0.05), ("length_m", 0.05)):
        np.testing.assert_allclose(
            np.array(layer["columns"][name], float), landslides[name], atol=within
        )  # None is NaN
    assert content["words"]["area_m2"] == ["area", "m²"]
    assert layer["unit"] == 1  # along pixels: nothing is rounded


def test_all_landslides_together_have_the_scores_of_the_map(finished, content):
    metrics = json.loads((finished / "metrics.json").read_text())["pixels"]
    layer, table, own = content["shapes"]["recognised"], content["thresholds"], content["own"]
    assert sum(layer["tp"]) == table["tp"][own] == metrics["tp"]
    assert sum(layer["fp"]) == table["fp"][own] == metrics["fp"]
    assert table["mapped"] == metrics["tp"] + metrics["fn"]
    assert table["judged"] == sum(metrics[name] for name in ("tp", "fp", "fn", "tn"))


def test_only_pixels_that_training_did_not_see_are_counted(finished, content, landslides):
    found, cube = read_probability_map(finished), open_cube(finished / "index.zarr")
    fair = np.isin(found.seen, (Subset.NONE, Subset.TEST)) & np.isfinite(found.probability) & (cube.labels != NODATA)
    assert 0 < fair.sum() < fair.size
    for number, shape in enumerate(landslides.geometry):
        inside = rasterio.features.geometry_mask([shape], found.grid.shape, found.grid.affine, invert=True) & fair
        assert content["shapes"]["recognised"]["tp"][number] == np.count_nonzero(cube.labels[inside] == LANDSLIDE)
        assert content["shapes"]["recognised"]["fp"][number] == np.count_nonzero(cube.labels[inside] != LANDSLIDE)


def test_a_landslide_reaches_the_thresholds_that_its_highest_pixel_does(content, landslides):
    thresholds = np.array(content["thresholds"]["thresholds"], np.float32)
    highest = landslides.probability_max.to_numpy(np.float32)
    assert content["shapes"]["recognised"]["reach"] == (highest[:, None] >= thresholds).sum(axis=1).tolist()
    assert thresholds[content["own"]] == np.float32(0.5)


def test_mapped_landslides_tell_what_the_map_has_of_them(finished, content):
    found, cube = read_probability_map(finished), open_cube(finished / "index.zarr")
    columns, mapped = content["shapes"]["mapped"]["columns"], cube.labels == LANDSLIDE
    pixels = np.array(columns["area_m2"]) / 100
    assert pixels.sum() == mapped.sum()
    recognised = np.nan_to_num(found.probability[mapped]) >= found.threshold
    assert (np.array(columns["share_recognised"]) * pixels).sum() == pytest.approx(recognised.sum(), abs=0.5)
    assert max(columns["highest_probability"]) == pytest.approx(np.nanmax(found.probability[mapped]), abs=1e-3)
    assert not {"probability_mean", "scene_before"} & set(columns)


def test_what_the_cube_has_around_the_landslides_is_there(content):
    assert set(content["shapes"]) == {"recognised", "mapped", "area", "held_out", "contours"}  # no fault crosses it
    levels = [float(text.removesuffix(" g")) for text in content["shapes"]["contours"]["columns"]["pga"]]
    assert levels
    assert 0.15 < min(levels) <= max(levels) < 0.26
    assert set(content["pictures"]) == {"before", "after", "relief", "levels"}
    assert content["epicentre"] is None
    assert all(0 < bound < 1 for picture in content["pictures"].values() for bound in picture["bounds"])


def test_faults_and_an_epicentre_are_drawn_where_the_cube_has_them(finished):
    cube = open_cube(finished / "index.zarr")
    data = cube.to_xarray().copy()
    distance = np.full(cube.shape, 500, np.float32)
    distance[np.arange(90), np.arange(90)] = 0
    data["fault_distance"] = data["fault_distance"].copy(data=distance)
    data["pga"].attrs["epicentre_lon_lat"] = [141.9, 42.7]
    content = map_content(type(cube)(data), None, None, None)
    assert content["shapes"]["faults"]["count"] == 1
    assert content["epicentre"] == [141.9, 42.7]
    assert "thresholds" not in content


def test_landslides_that_a_person_edited_are_shown_as_edited(finished, tmp_path, landslides):
    folder = shutil.copytree(finished, tmp_path / "run")
    edited = landslides.iloc[1:].drop(columns="id")
    edited["geometry"] = edited.geometry.translate(3.3, 1.7)
    edited["remark"] = "</script><b>certain"
    edited.to_crs(4326).to_file(folder / "landslides.gpkg", layer="landslides", driver="GPKG")
    text = write_report(folder).read_text()
    assert "</script><b>" not in text
    layer = json.loads(re.search(r'id="map-data">(.*?)</script>', text, re.DOTALL)[1])["shapes"]["recognised"]
    assert layer["columns"]["id"] == list(range(1, len(edited) + 1))
    assert set(layer["columns"]["remark"]) == {"</script><b>certain"}
    assert layer["unit"] < 1


@pytest.mark.parametrize("area", [-1.0, 0.0, float("inf"), None])
def test_a_landslide_without_an_area_is_refused(finished, tmp_path, landslides, area):
    found = read_probability_map(finished)
    landslides["area_m2"] = area
    landslides.to_file(tmp_path / "landslides.gpkg", layer="landslides", driver="GPKG")
    with pytest.raises(InputError, match="area_m2: found what is no area"):
        delivered_landslides(tmp_path, found)


def test_a_map_alone_has_its_map_too(finished, tmp_path):
    for name in ("probability.tif", "metrics.json"):
        shutil.copy(finished / name, tmp_path / name)
    text = write_report(tmp_path).read_text()
    found = json.loads(re.search(r'id="map-data">(.*?)</script>', text, re.DOTALL)[1])
    assert set(found["pictures"]) == {"levels"}
    assert found["shapes"]["recognised"]["count"] > 0
    assert found["thresholds"]["tp"] == []


def test_a_page_says_what_went_in_and_what_did_not(finished):
    cube = open_cube(finished / "index.zarr")
    rows = {row[0]: row for row in input_rows(cube)}
    assert list(rows) == ["scene before", "scene after", "terrain model", "shaking", "faults", "inventory"]
    share = next(band.provenance["valid_share"] for band in cube.bands if band.date == "pre")
    assert f"B2, B3, B4; {100 * (1 - share):.1f} % cloud" in rows["scene before"][2]
    assert rows["scene before"][1] == "date not recorded"
    assert "stations.csv" in rows["shaking"][3]
    assert "rain before it" in absent_indices(cube)
    assert "aspect" not in absent_indices(cube)


def test_a_page_says_what_the_model_learned_from_and_how_its_threshold_came(finished):
    found = read_probability_map(finished)
    trained, threshold, limits = model_words(found.metadata.model, found)
    assert "trained on 1 event: Made-up earthquake." in trained
    assert "threshold of 0.50 was not chosen" in threshold
    assert "It knows one event, Made-up earthquake" in limits
    other = found.metadata.model.model_copy(update={"threshold_of": "scene", "simulated": ["Made-up earthquake"]})
    trained, threshold, _ = model_words(other, found)
    assert trained.count("All of it is simulated.") == 1
    assert "from this map alone" in threshold


def test_every_owner_of_data_is_cited_once_and_in_tex():
    found = bibtex("Quake & co", ["50 % of it", "", "50 % of it", "GSI_x"])
    assert found.count("@misc{") == 2
    assert r"50 \% of it" in found
    assert r"Quake \& co" in found
    assert found.startswith("@article{yang2023,")
    assert found.count("{") == found.count("}")
