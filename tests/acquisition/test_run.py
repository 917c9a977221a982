"""From the id of an earthquake to its report."""

import geopandas as gpd
import pytest
from typer.testing import CliRunner

import coslide
from coslide.cli import app
from coslide.errors import InputError


def invoke(*arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments])


@pytest.mark.slow
def test_the_id_of_an_earthquake_leads_to_a_report_with_the_credits_of_its_sources(world, tmp_path):
    out = tmp_path / "run"
    found = invoke("run", world.content.ids.narrow, "--out", out)
    assert found.exit_code == 0, found.output
    page = (out / "report.html").read_text()
    for credit in (
        "Contains modified Copernicus Sentinel data 2022",
        "GHCN-Daily",
        "produced using Copernicus WorldDEM-30",
    ):
        assert credit in page
    slides = gpd.read_file(out / "landslides.gpkg", layer="landslides")
    west, south, east, north = world.bounds_deg
    inside = slides.to_crs("EPSG:4326").total_bounds if len(slides) else (west, south, east, north)
    assert (inside[0] > west - 0.01, inside[3] < north + 0.01) == (True, True)
    world.forget()
    assert invoke("run", world.content.ids.narrow, "--out", out, "--resume").exit_code == 0
    assert world.bytes_sent("/s3/*") < 100_000  # heads of files, to see that nothing has changed


def test_a_run_of_an_id_has_no_inventory_to_train_on(world, tmp_path):
    found = invoke("run", world.content.ids.narrow, "--out", tmp_path / "run", "--epochs", 3)
    assert "has no [inventory] to train on" in str(found.exception)
    assert world.requests() == 0


def test_a_run_of_an_id_that_ends_leaves_nothing(world, tmp_path):
    with pytest.raises(InputError, match="only sea"):
        coslide.run(world.content.ids.ocean, tmp_path / "run")
    assert not (tmp_path / "run" / "event" / "event.toml").exists()


def test_a_file_that_is_there_is_no_id(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "us2000h8ty").write_text("name = 'x'")
    with pytest.raises(InputError, match="missing"):
        coslide.run("us2000h8ty", tmp_path / "run")
    assert world.requests() == 0
