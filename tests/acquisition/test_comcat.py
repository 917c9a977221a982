"""The earthquake catalogue, as its answers come."""

import datetime as dt
import json

import pytest

from coslide.acquisition.comcat import NoShakeMapError, fetch_shakemap, find_earthquake, list_earthquakes
from coslide.config.services import Services
from coslide.errors import InputError
from coslide.io.http import Download, MissingError

TIME_MS = 1536174479580
FILES = ("grid.xml", "uncertainty.xml", "rupture.json")


class FakeWeb:
    """Answers as it was told, and remembers what it was asked."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def read(self, address, *, params=None):
        self.asked.append((address, dict(params)))
        if isinstance(self.answer, Exception):
            raise self.answer
        return json.dumps(self.answer).encode() if isinstance(self.answer, dict) else self.answer

    def download(self, address, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(address)
        return Download(address, len(address), "0" * 64)


def shakemap(*, weight=100, updated=1, code="us2000h8ty", status="UPDATE", prefix="download/", version="3"):
    files = {name: f"https://example.org/{version}/{name}" for name in (*FILES, "intensity.jpg")}
    return {
        "code": code, "source": "us", "status": status, "preferredWeight": weight, "updateTime": updated,
        "properties": {"version": version, "map-status": "RELEASED"},
        "contents": {f"{prefix}{name}": {"url": url, "length": 9} for name, url in files.items()},
    }  # fmt: skip


def feature(*products, lon=142.0, **properties):
    about = {
        "mag": 6.6,
        "place": "27 km E of Tomakomai, Japan",
        "time": TIME_MS,
        "products": {"shakemap": list(products)},
    }
    geometry = {"type": "Point", "coordinates": [lon, 42.7, 35.0]}
    return {"type": "Feature", "id": "us2000h8ty", "properties": {**about, **properties}, "geometry": geometry}


def find(answer, event_id="us2000h8ty"):
    return find_earthquake(FakeWeb(answer), Services(), event_id)


def test_an_earthquake_has_what_the_catalogue_states():
    web = FakeWeb(feature(shakemap(), title="M 6.6 - Iburi"))
    found = find_earthquake(web, Services(comcat_url="http://127.0.0.1:9/fdsnws/event/1/"), "us2000h8ty")
    assert web.asked == [("http://127.0.0.1:9/fdsnws/event/1/query", {"eventid": "us2000h8ty", "format": "geojson"})]
    assert (found.title, found.place, found.magnitude) == ("M 6.6 - Iburi", "Iburi", 6.6)
    assert (found.lon_deg, found.lat_deg) == (142.0, 42.7)
    assert found.time_utc == dt.datetime(2018, 9, 5, 19, 7, 59, 580000, dt.UTC)


def test_a_longitude_beyond_180_degrees_is_turned():
    assert find(feature(lon=-190.5)).lon_deg == pytest.approx(169.5)


def test_of_several_shakemaps_the_contributor_that_counts_most_has_its_newest_version_taken():
    """A newer version of one contributor may be listed with less weight than its older ones."""
    old = [shakemap(weight=232, updated=t, version=str(t)) for t in (1, 2, 3)]
    new = shakemap(weight=228, updated=9, version="14")
    other = shakemap(weight=227, updated=99, code="other", version="1")
    for order in ((*old, new, other), (other, new, *old)):
        found = find(feature(*order)).shakemap
        assert found.contents["grid.xml"] == "https://example.org/14/grid.xml"
        assert found.version.startswith("usus2000h8ty version 14 (RELEASED, ")


def test_a_deleted_shakemap_and_one_without_a_grid_are_none():
    without = shakemap()
    del without["contents"]["download/grid.xml"]
    assert find(feature(shakemap(status="DELETE"), without)).shakemap is None
    assert find(feature(shakemap(prefix=""))).shakemap.contents.keys() == {
        "grid.xml",
        "uncertainty.xml",
        "rupture.json",
    }


def test_the_files_of_a_shakemap_become_keys_of_the_event_file(tmp_path):
    web = FakeWeb(feature(shakemap()))
    part = fetch_shakemap(web, find_earthquake(web, Services(), "us2000h8ty"), tmp_path)
    folder = tmp_path / "shakemap"
    assert part.tables == {"shaking": {"shakemap": folder / "grid.xml", "uncertainty": folder / "uncertainty.xml"}}
    assert sorted(path.name for path in folder.iterdir()) == ["grid.xml", "rupture.json", "uncertainty.xml"]
    assert [one.file for one in part.files] == [
        "shakemap/grid.xml",
        "shakemap/uncertainty.xml",
        "shakemap/rupture.json",
    ]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (MissingError("x"), r"us2000h8ty: https://\S+ knows no such earthquake; look for it"),
        (InputError("x (HTTP 409 Conflict)"), "us2000h8ty: was deleted from the catalogue"),
        (b"<html>", "found HTML, expected the GeoJSON of ComCat"),
        (b"{", "is not valid JSON, expected the GeoJSON of ComCat"),
        ({"id": "us2000h8ty"}, r"properties: missing.*expected the GeoJSON of ComCat"),
        (feature(lon=None), "found the epicentre None, 42.7, expected longitude and latitude"),
    ],
)
def test_what_the_catalogue_answers_instead_is_one_line(answer, said):
    with pytest.raises(InputError, match=said):
        find(answer)


@pytest.mark.parametrize("event_id", ["", "a/b", "../x", "us2000h8ty&x=1", "event.toml", "é" * 5])
def test_what_is_no_id_is_asked_of_nobody(event_id):
    with pytest.raises(InputError, match="expected the id of an earthquake"):
        find(AssertionError(), event_id)


def test_an_earthquake_without_a_shakemap_says_whether_one_may_come(tmp_path):
    old = find(feature())
    with pytest.raises(NoShakeMapError, match="has no ShakeMap; give --bounds"):
        fetch_shakemap(FakeWeb({}), old, tmp_path)
    new = old._replace(time_utc=dt.datetime.now(dt.UTC) - dt.timedelta(minutes=9))
    with pytest.raises(NoShakeMapError, match="has no ShakeMap yet; the first comes within an hour"):
        fetch_shakemap(FakeWeb({}), new, tmp_path)


def test_earthquakes_are_listed_by_magnitude_and_time():
    web = FakeWeb({"type": "FeatureCollection", "features": [feature(), feature()]})
    since = dt.datetime(2018, 9, 1, tzinfo=dt.UTC)
    assert len(list_earthquakes(web, Services(), min_magnitude=6.5, since=since)) == 2
    asked = web.asked[0][1]
    assert (asked["minmagnitude"], asked["starttime"], asked["orderby"]) == (6.5, "2018-09-01T00:00:00", "time")
    assert list_earthquakes(FakeWeb(MissingError("x")), Services(), min_magnitude=9, since=since) == []
