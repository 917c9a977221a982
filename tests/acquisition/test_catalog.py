"""Catalogs: APIs and static ones, and where what they list is read."""

import datetime as dt
import functools
import importlib.util
import json
import logging
from pathlib import Path

import pytest

from coslide.acquisition.catalog import open_catalog
from coslide.config.services import Services
from coslide.errors import InputError
from coslide.io import http
from coslide.io.http import Web

SPEC = importlib.util.spec_from_file_location("small_server", Path(__file__).with_name("small_server.py"))
small_server = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(small_server)

BOUNDS = (142.0, 42.3, 142.3, 42.5)
DAY = dt.datetime(2018, 9, 11, tzinfo=dt.UTC)
SIGNATURE = "se=2026-11-30T00%3A00&sig=hush"


@functools.cache
def web_of_tests():
    return Web(timeout_s=5, tries=3)


@pytest.fixture(scope="module", autouse=True)
def _close_web():
    yield
    with web_of_tests():
        web_of_tests.cache_clear()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(http, "FIRST_WAIT_S", 0.01)


@pytest.fixture
def server(tmp_path):
    with small_server.serve(tmp_path) as running:
        yield running


def item_of(number=0, *, date="2018-09-11T01:26:51Z", bbox=(142.0, 42.2, 142.4, 42.6), href="B02.tif", **more):
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": f"item-{number}", "collection": small_server.COLLECTION,
        "geometry": {"type": "Point", "coordinates": [142.1, 42.4]}, "bbox": list(bbox),
        "properties": {"datetime": date}, "links": [], "assets": {"blue": {"href": href}}, **more,
    }  # fmt: skip


def search(stac_url, *, start=None, end=None, bounds=BOUNDS, collection=small_server.COLLECTION, **services):
    catalog = open_catalog(Services(stac_url=str(stac_url), **services), web_of_tests())
    return catalog.search(collection, bounds, start, end)


def static(folder, *items):
    """Write a static catalog of items, each in a folder of its own."""
    for item in items:
        (folder / item["id"]).mkdir(parents=True)
        (folder / item["id"] / "item.json").write_text(json.dumps(item))
    return small_server.write_catalog(folder, [f"{item['id']}/item.json" for item in items])


# --- APIs ---


@pytest.mark.parametrize("media_type", ["application/geo+json", "application/json", None])
def test_all_pages_of_a_search_are_read(server, media_type):
    items = [item_of(number, href="https://127.0.0.1/B02.tif") for number in range(5)]
    small_server.serve_api(server, items, media_type=media_type)
    found = search(server.url, start=DAY - dt.timedelta(9), end=DAY + dt.timedelta(9))
    assert [item.id for item in found] == [f"item-{number}" for number in range(5)]
    asked = [path for _, path, _ in server.asked if path.startswith("/search")]
    assert len(asked) == 3
    assert "bbox=142.0%2C42.3%2C142.3%2C42.5" in asked[0]
    assert "datetime=2018-09-02T00%3A00%3A00Z%2F2018-09-20T00%3A00%3A00Z" in asked[0]


@pytest.mark.parametrize("failure", [(429, {"Retry-After": "0"}), (503, {}), "cut"])
def test_a_server_that_is_busy_or_cuts_an_answer_short_is_asked_again(server, failure):
    small_server.serve_api(server, [item_of(href="https://127.0.0.1/B02.tif")])
    server.failures["/search"] = [failure, failure]
    assert len(search(server.url)) == 1


def test_a_server_that_stays_busy_is_named(server):
    small_server.serve_api(server, [item_of()])
    server.failures["/search"] = [(429, {})] * 9
    with pytest.raises(InputError, match=rf"{server.url}/search: cannot be fetched \(HTTP 429"):
        search(server.url)


def test_what_an_api_returns_besides_what_was_asked_for_is_left_out(server):
    far, late = item_of(1, bbox=(10, 42.2, 11, 42.6)), item_of(2, date="2019-01-01T00:00:00Z")
    small_server.serve_api(server, [item_of(href="https://127.0.0.1/B02.tif"), far, late])
    assert [item.id for item in search(server.url, end=DAY + dt.timedelta(9))] == ["item-0"]


def test_items_without_a_time_or_that_are_none_are_left_out_with_a_word(server, caplog):
    good = item_of(href="https://127.0.0.1/B02.tif")
    untimed, untyped = item_of(1, date=None), item_of(2, type="Something")
    spanned = item_of(3)
    spanned["properties"] = {"datetime": None} | dict.fromkeys(("start_datetime", "end_datetime"), "2018-09-12T00:00Z")
    small_server.serve_api(server, [untimed, untyped, good, spanned])
    with caplog.at_level(logging.WARNING):
        for times in ({}, {"start": DAY, "end": DAY + dt.timedelta(3)}):
            assert [item.id for item in search(server.url, **times)] == ["item-0", "item-3"]
    assert "item-1" in caplog.text
    assert "item-2" in caplog.text


def test_a_next_page_that_wants_another_method_is_refused(server):
    small_server.serve_api(server, [item_of(), item_of(1), item_of(2)])
    searched = server.routes["/search"]

    def by_post(query):
        found = searched(query)
        return found | {"links": [{"rel": "next", "href": f"{server.url}/search", "method": "POST", "body": {}}]}

    server.routes["/search"] = by_post
    with pytest.raises(InputError, match="asked for by POST, expected GET"):
        search(server.url)


@pytest.mark.slow
def test_pages_without_end_are_not_followed(server, monkeypatch):
    monkeypatch.setattr("coslide.acquisition.catalog._MOST_DOCUMENTS", 20)
    small_server.serve_api(server, [item_of()])
    server.routes["/search"] = lambda _: {
        "features": [item_of()],
        "links": [{"rel": "next", "href": f"{server.url}/search"}],
    }
    with pytest.raises(InputError, match="lists 20 items or more there"):
        search(server.url)


# --- Static catalogs ---


@pytest.mark.parametrize("remote", [False, True])
def test_a_static_catalog_is_searched_by_box_and_time(tmp_path, server, remote):
    items = [item_of(), item_of(1, bbox=(10, 42.2, 11, 42.6)), item_of(2, date="2019-01-01T00:00:00Z")]
    path = static(tmp_path, *items, item_of(3, collection="cop-dem-glo-30"))
    found = search(
        f"{server.url}/catalog.json" if remote else path, start=DAY - dt.timedelta(1), end=DAY + dt.timedelta(1)
    )
    assert [item.id for item in found] == ["item-0"]
    place = f"{server.url}/item-0/B02.tif" if remote else str(tmp_path / "item-0" / "B02.tif")
    assert found[0].assets["blue"].href == place


def test_collections_that_are_not_asked_for_are_not_read(tmp_path, server):
    static(tmp_path, item_of())
    assert search(f"{server.url}/catalog.json", collection="cop-dem-glo-30") == []
    assert [path for _, path, _ in server.asked] == ["/catalog.json", "/catalog.json", "/collection.json"]


def test_a_catalog_that_lists_itself_is_read_once(tmp_path):
    path = static(tmp_path, item_of())
    root = json.loads(path.read_text())
    root["links"] += [{"rel": "child", "href": "./catalog.json"}, {"rel": "child", "href": "./collection.json"}]
    path.write_text(json.dumps(root))
    assert len(search(path)) == 1


def test_the_180th_meridian_divides_no_item_from_what_it_touches(tmp_path):
    path = static(tmp_path, item_of(bbox=(179.5, -17, -179.5, -16)), item_of(1, bbox=(0, -17, 1, -16)))
    for bounds in ((179.8, -16.5, 179.9, -16.4), (-179.9, -16.5, -179.8, -16.4)):
        assert [item.id for item in search(path, bounds=bounds)] == ["item-0"]
    assert search(path, bounds=(178, -16.5, 179, -16.4)) == []


@pytest.mark.parametrize("href", ["../../secret.tif", "/etc/hostname", "file:///etc/hostname", "/vsizip/a.zip/B02.tif"])
def test_a_local_catalog_does_not_lead_out_of_its_folder(tmp_path, href):
    path = static(tmp_path / "catalog", item_of(href=href))
    with pytest.raises(InputError, match="leads out of it|expected a file beside it or http"):
        search(path)


def test_a_local_catalog_lists_nothing_outside_its_folder(tmp_path):
    (tmp_path / "other.json").write_text(json.dumps(item_of()))
    path = static(tmp_path / "catalog")
    small_server.write_catalog(path.parent, ["../other.json"])
    with pytest.raises(InputError, match="leads out of it"):
        search(path)


def test_an_asset_that_a_server_lists_elsewhere_is_none(tmp_path, server):
    item = item_of()
    item["assets"]["other"] = {"href": "file:///etc/hostname"}
    static(tmp_path, item)
    (found,) = search(f"{server.url}/catalog.json")
    assert list(found.assets) == ["blue"]


@pytest.mark.parametrize("text", ["", "[]", "<html/>", '{"type": "Feature"}', "{}", "[" * 99999])
def test_what_is_no_catalog_is_refused(tmp_path, text):
    (tmp_path / "catalog.json").write_text(text)
    with pytest.raises(InputError, match=r"catalog\.json: is no STAC"):
        search(tmp_path / "catalog.json")


def test_a_catalog_that_is_not_there_is_named(tmp_path, server):
    for place in (tmp_path / "no.json", f"{server.url}/no.json"):
        with pytest.raises(InputError, match=r"no\.json: "):
            search(place)


# --- Addresses ---


@pytest.mark.parametrize(
    ("s3_url", "place"),
    [
        ("https://{bucket}.s3.amazonaws.com", "https://sentinel-2.s3.amazonaws.com/54/T%20W/B02.tif"),
        ("http://127.0.0.1:9/{bucket}", "http://127.0.0.1:9/sentinel-2/54/T%20W/B02.tif"),
    ],
)
def test_s3_is_read_where_the_services_say(tmp_path, s3_url, place):
    path = static(tmp_path, item_of(href="s3://sentinel-2/54/T W/B02.tif"))
    assert search(path, s3_url=s3_url)[0].assets["blue"].href == place


def test_a_token_is_put_on_addresses_and_nowhere_else(tmp_path, server, caplog):
    item = item_of()
    item["assets"]["preview"] = {"href": "http://127.0.0.1:9/preview?item=0"}
    static(tmp_path, item)
    server.routes["/token/sentinel-2-c1-l2a"] = lambda _: {"msft:expiry": "2026-11-30T00:00:00Z", "token": SIGNATURE}
    with caplog.at_level(logging.DEBUG):
        (found,) = search(f"{server.url}/catalog.json", sas_url=f"{server.url}/token/{{collection}}")
    assert found.assets["blue"].href == f"{server.url}/item-0/B02.tif?{SIGNATURE}"
    assert found.assets["preview"].href == "http://127.0.0.1:9/preview?item=0"  # has a query of its own
    assert "hush" not in caplog.text
    assert sum("token" in path for _, path, _ in server.asked) == 1


@pytest.mark.parametrize("answer", [{}, [], {"token": 3}, {"token": "a b"}, {"token": "a#b"}, {"token": ""}])
def test_what_is_no_token_is_refused(tmp_path, server, answer):
    static(tmp_path, item_of())
    server.routes["/token"] = lambda _: answer
    with pytest.raises(InputError, match=f"{server.url}/token: gives"):
        search(f"{server.url}/catalog.json", sas_url=f"{server.url}/token")


def test_what_an_address_may_keep_secret_is_in_no_message(server):
    server.routes["/broken"] = lambda _: []
    with pytest.raises(InputError) as caught:
        search(f"{server.url}/broken?key=hush")
    assert "hush" not in str(caught.value)
