"""One look at the catalogue: what can be mapped, what waits for what, and what is remembered."""

import datetime as dt
import json

import pytest
from typer.testing import CliRunner

from coslide.cli import app
from coslide.config.fetching import FetchOptions
from coslide.errors import InputError
from coslide.pipeline import watch as module
from coslide.pipeline.watch import watch_earthquakes

OPTIONS = FetchOptions(days_after=30)


@pytest.fixture(autouse=True)
def the_days_of_the_world(monkeypatch, world):
    """Look on 20 May 2022, three weeks after the made-up earthquakes."""
    monkeypatch.setattr(module, "_now", lambda: dt.datetime(2022, 5, 20, tzinfo=dt.UTC))


def look(folder, **how):
    return {one.id: one for one in watch_earthquakes(folder, OPTIONS, **how)}


def test_each_earthquake_is_ready_or_says_what_it_waits_for(world, tmp_path):
    ids, seen = world.content.ids, look(tmp_path)
    assert ids.small not in seen
    assert seen[ids.narrow].state == "ready"
    assert seen[ids.narrow].told.startswith("scene of 2022-05-15, 91% of the area clear")
    assert seen[ids.ocean].state == "sea"
    assert (seen[ids.no_shakemap].state, seen[ids.late].state) == ("waits", "waits")
    assert "has no ShakeMap" in seen[ids.no_shakemap].told
    assert seen[ids.late].next_overpass > dt.datetime(2022, 5, 16, 4, 0, tzinfo=dt.UTC)
    assert "180th meridian" in seen[ids.dateline].told
    assert seen[ids.dateline].state == "failed"


def test_what_is_done_is_not_looked_at_again_and_what_waits_is(world, tmp_path, monkeypatch):
    ids = world.content.ids
    monkeypatch.setattr("coslide.pipeline.run.run", lambda event_id, folder, *, resume: folder.mkdir())
    first = look(tmp_path, run_ready=True)
    assert first[ids.narrow].state == "mapped"
    assert first[ids.narrow].told.endswith(f"{ids.narrow}/report.html")
    world.forget()
    again = look(tmp_path, run_ready=True)
    asked = {one.query.get("eventid") for one in world.asked if one.path.startswith("/comcat/")}
    assert ids.narrow not in asked
    assert ids.ocean not in asked
    assert ids.late in asked
    assert again[ids.narrow] == first[ids.narrow]


@pytest.mark.slow
def test_what_fails_is_told_and_the_others_are_mapped(world, tmp_path, monkeypatch):
    def fail(event_id, folder, *, resume):
        raise InputError(f"{folder}: the disk is full; free some space and run again")

    monkeypatch.setattr("coslide.pipeline.run.run", fail)
    seen = look(tmp_path, run_ready=True)
    assert seen[world.content.ids.narrow].state == "failed"
    assert "the disk is full" in seen[world.content.ids.narrow].told
    monkeypatch.setattr("coslide.pipeline.run.run", lambda event_id, folder, *, resume: None)
    assert look(tmp_path, run_ready=True)[world.content.ids.narrow].state == "mapped"


@pytest.mark.slow
def test_the_memory_is_one_file_that_reads_back(world, tmp_path):
    look(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["watch.json"]
    record = json.loads((tmp_path / "watch.json").read_text())
    assert {one["id"] for one in record["earthquakes"]} == set(look(tmp_path))
    (tmp_path / "watch.json").write_text("{}x")
    with pytest.raises(InputError, match=r"watch\.json: .*remove it to begin anew"):
        look(tmp_path)


def test_a_catalogue_that_cannot_be_asked_ends_the_look(world, tmp_path):
    world.fail("/comcat/*", status=403)
    with pytest.raises(InputError, match=r"/comcat/query: cannot be fetched \(HTTP 403"):
        look(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_command_prints_a_table_and_json(world, tmp_path):
    found = CliRunner().invoke(app, ["watch", "--out", str(tmp_path), "--min-magnitude", "6.9", "--json"])
    assert found.exit_code == 0, found.output
    assert {one["id"]: one["state"] for one in json.loads(found.stdout)} == {
        world.content.ids.ocean: "sea", world.content.ids.dateline: "failed",
    }  # fmt: skip
    found = CliRunner().invoke(app, ["watch", "--out", str(tmp_path), "--min-magnitude", "6.9"])
    assert world.content.ids.ocean in found.stdout
