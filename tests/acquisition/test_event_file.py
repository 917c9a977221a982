"""The event file of what was fetched, as the reader of event files reads it."""

import datetime as dt
import tomllib
from pathlib import Path

import pytest

from coslide.acquisition.event_file import event_text
from coslide.acquisition.records import Part
from coslide.config.event import Attribution, read_event
from coslide.errors import InputError

TIME = dt.datetime(2018, 9, 5, 18, 7, 59, tzinfo=dt.UTC)
HEAD = {"name": "M 6.6, 27 km ENE of Tomakomai", "id": "us2000h8ty", "time_utc": TIME, "magnitude": 6.6}
DEM = Attribution(source="DEM", licence="free", text="owners of heights " * 5, address="https://127.0.0.1/dem.tif")
SCENES = Attribution(source="Sentinel-2 L2A", licence="free", text="Contains modified Copernicus Sentinel data 2018")
NASTY = "line\nbreak \x1b[31m \"quotes\" 'single' \\back \x7f \u2028 \ud800 # no = toml [x]"


def parts_of(folder):
    """Sources in a folder, as fetching leaves them."""
    files = ["scenes/post/A/item.json", "scenes/pre/B/item.json", "dem/a.tif", "dem/b.tif", "faults/faults.gpkg"]
    files += ["rain/gauges.csv", "shakemap/grid.xml"]
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    scenes = {
        f"scenes.{when}": {"products": [folder / "scenes" / when / name / "item.json"]}
        for when, name in (("post", "A"), ("pre", "B"))
    }
    columns = {"lon": "lon", "lat": "lat", "rain": "rain_mm", "date": "date"}
    rain = {"gauges": folder / "rain" / "gauges.csv", "unit": "mm", "day_starts_utc_h": -9.0, "columns": columns}
    return [
        Part({"shaking": {"shakemap": folder / "shakemap" / "grid.xml"}}),
        Part({"dem": {"path": [folder / "dem" / "a.tif", folder / "dem" / "b.tif"]}}, (), (DEM,), ("two tiles",)),
        Part(scenes, (), (SCENES,), ("before and after",)),
        Part({"rain": rain}),
        Part({"faults": {"path": folder / "faults" / "faults.gpkg"}}),
    ]


def write(folder, text):
    file = folder / "event.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_reader_of_event_files_finds_all_that_was_written(tmp_path):
    event = read_event(write(tmp_path, event_text(HEAD, parts_of(tmp_path), folder=tmp_path)))
    assert {name: getattr(event, name) for name in HEAD} == HEAD
    assert event.dem.paths == (tmp_path / "dem" / "a.tif", tmp_path / "dem" / "b.tif")
    assert event.scenes.pre.products == (tmp_path / "scenes" / "pre" / "B" / "item.json",)
    assert (event.rain.day_starts_utc_h, event.rain.columns.date) == (-9.0, "date")
    assert event.shaking.shakemap == tmp_path / "shakemap" / "grid.xml"
    assert event.attributions == (DEM, SCENES)
    assert event.credit_line == "DEM; Contains modified Copernicus Sentinel data 2018"


def test_the_folder_can_be_moved(tmp_path):
    text = event_text(HEAD, parts_of(tmp_path / "one"), folder=tmp_path / "one")
    assert str(tmp_path) not in text
    write(tmp_path / "one", text)
    (tmp_path / "one").rename(tmp_path / "two")
    assert read_event(tmp_path / "two" / "event.toml").dem.paths[0].parent == tmp_path / "two" / "dem"


def test_where_sources_come_from_stands_above_their_tables(tmp_path):
    parts = [*parts_of(tmp_path), Part({}, notes=("no fault: none near",))]
    text = event_text(HEAD, parts, folder=tmp_path, notes=["area: 40 x 30 km"])
    assert "# two tiles\n# from https://127.0.0.1/dem.tif\n[dem]\n" in text
    assert text.startswith("# Written by coslide fetch; ")
    head = text[: text.index("name = ")]
    assert "# area: 40 x 30 km\n# no fault: none near\n" in head
    tables = [line for line in text.splitlines() if line.startswith("[")]
    order = ["scenes.post", "scenes.pre", "dem", "rain", "shaking", "faults", "[attributions]", "[attributions]"]
    assert tables == [f"[{name}]" for name in order]


@pytest.mark.parametrize("nasty", [NASTY, "# ]\r[dem]\rpath = 'x'", "a\n[dem]\npath='x'"])
def test_texts_of_servers_stay_texts(tmp_path, nasty):
    parts = parts_of(tmp_path)
    credit = Attribution(**dict.fromkeys(("source", "licence", "text", "address"), nasty.replace("\ud800", "")))
    parts.append(Part({"ndvi": {"inputs": "all"}}, (), (credit,), (nasty,)))
    parts.append(Part({}, notes=(nasty,)))
    text = event_text({**HEAD, "name": nasty, "id": nasty}, parts, folder=tmp_path, notes=[nasty])
    expected = tomllib.loads(event_text(HEAD, parts_of(tmp_path), folder=tmp_path))
    found = tomllib.loads(text)
    assert {key: found[key] for key in ("dem", "rain", "scenes", "faults")} == {
        key: expected[key] for key in ("dem", "rain", "scenes", "faults")
    }
    assert set(found) == set(expected) | {"ndvi"}
    event = read_event(write(tmp_path, text))
    assert event.attributions[-1] == credit
    assert "\n" not in event.name
    assert "\x1b" not in text


def test_secrets_of_addresses_are_never_written(tmp_path):
    secret = "https://user:WORD@127.0.0.1/a.tif?signature=SECRET"  # noqa: S105
    parts = [*parts_of(tmp_path), Part({}, (), (Attribution(source="x", address=secret),), (f"from {secret}",))]
    text = event_text({**HEAD, "name": secret}, parts, folder=tmp_path, notes=[secret])
    assert not {word for word in ("WORD", "SECRET") if word in text}


def test_the_same_credit_stands_once_and_keys_of_two_parts_are_joined(tmp_path):
    parts = parts_of(tmp_path)
    parts.append(Part({"shaking": {"levels_g": [0.1, 0.2]}}, (), (DEM,), ("levels of the user",)))
    event = read_event(write(tmp_path, event_text(HEAD, parts, folder=tmp_path)))
    assert event.attributions == (DEM, SCENES)
    assert (event.shaking.levels_g, event.shaking.shakemap.name) == ((0.1, 0.2), "grid.xml")


def test_a_file_outside_the_folder_is_a_fault(tmp_path):
    with pytest.raises(ValueError, match="is not in the subpath"):
        event_text(HEAD, [Part({"dem": {"path": Path("/elsewhere/dem.tif")}})], folder=tmp_path)


# --- credits of event files ---


def test_a_credit_of_the_event_file_precedes_what_attributions_make(tmp_path):
    text = event_text({**HEAD, "credit": "all of us"}, parts_of(tmp_path), folder=tmp_path)
    assert read_event(write(tmp_path, text)).credit_line == "all of us"
    event = read_event(write(tmp_path, event_text(HEAD, parts_of(tmp_path)[1:3], folder=tmp_path)))
    long = Attribution(source="B", text="x" * 81)
    parts = {
        "attributions": (SCENES, SCENES, long, long.model_copy(update={"text": "x" * 80}), Attribution(source="C"))
    }
    assert event.model_copy(update=parts).credit_line == "; ".join([SCENES.text, "B", "x" * 80, "C"])
    assert event.model_copy(update={"attributions": ()}).credit_line == ""


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('licence = "free"', r"attributions\.0\.source: missing"),
        ('source = ""', r"attributions\.0\.source: found ''"),
        ('source = "x"\nlicense = "free"', r"attributions\.0\.license: unknown key"),
    ],
)
def test_an_attribution_that_is_wrong_is_named(tmp_path, table, message):
    text = event_text(HEAD, parts_of(tmp_path)[:3], folder=tmp_path).partition("\n[[")[0]
    with pytest.raises(InputError, match=message):
        read_event(write(tmp_path, f"{text}\n[[attributions]]\n{table}\n"))
