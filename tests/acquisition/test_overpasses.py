"""Overpasses: which belong together, how much of an area they show, which one is chosen, and which comes next."""

import datetime as dt
import importlib.util
import json
import logging
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.warp import reproject

from coslide.acquisition import overpasses
from coslide.acquisition.catalog import open_catalog
from coslide.acquisition.overpasses import (
    NoClearSceneError,
    choose_scene,
    group_overpasses,
    next_overpass,
    orbit_of,
)
from coslide.acquisition.records import Area
from coslide.config.services import Services
from coslide.errors import InputError
from coslide.io import http
from coslide.io.http import Web
from coslide.sources import bands as raster_bands

SPEC = importlib.util.spec_from_file_location("small_server", Path(__file__).with_name("small_server.py"))
small_server = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(small_server)

EVENT = dt.datetime(2018, 9, 5, 18, 7, 59, tzinfo=dt.UTC)
INSIDE = Area((142.2300, 42.3800, 142.3100, 42.4400))  # of the tile
WHOLE = Area((142.2170, 42.3800, 142.3290, 42.4400))  # nearly all of its columns
LAND, CLOUD, VOID = 4, 9, 0


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(http, "FIRST_WAIT_S", 0.01)
    monkeypatch.setitem(raster_bands._HTTP_OPTIONS, "GDAL_HTTP_RETRY_DELAY", "0.01")


def at(day, hour=1):
    return f"{(dt.datetime(2018, 9, 5, hour, 26, 51) + dt.timedelta(days=day)).isoformat()}Z"


def clear_share(overpass, area, invalid=overpasses._USUALLY_INVALID):
    """Find the share of an area that an overpass shows clearly."""
    return overpasses._look(overpass, overpasses._samples(area), invalid)[0].clear


def item_of(item_id, time="2018-09-11T01:26:51Z", *, href="no.tif", **properties):
    known = {"datetime": time, "platform": "sentinel-2b", "sat:relative_orbit": 74, "grid:code": "MGRS-54TWN"}
    known |= {"s2:processing_baseline": "05.09"} | properties
    document = {"type": "Feature", "stac_version": "1.0.0", "id": item_id, "geometry": None, "links": []}
    document["assets"] = {"scl": {"href": href}}
    return pystac.Item.from_dict({**document, "properties": known}, migrate=False)


def scl_of(*clear, side=480):
    """Draw clouds over all but one or more shares of a tile: from left to right, in columns."""
    scl = np.full((side, side), CLOUD, np.uint8)
    for start, stop in clear:
        scl[:, int(start * side) : int(stop * side)] = LAND
    return scl


def tile(folder, day, *clear, name="", **keys):
    """Write the classification of a tile that is clear in parts, and take its item."""
    keys = {"date": at(day), "scl": scl_of(*clear), "names": ("SCL",), **keys}
    item_id = name or f"day{day}"
    document = small_server.write_tile(folder, item_id, **keys)
    document["assets"]["scl"]["href"] = str(folder / item_id / "SCL.tif")
    return pystac.Item.from_dict(document, migrate=False)


def choose(items, *, when="post", area=INSIDE, min_clear=0.7, orbit=None):
    overpasses = group_overpasses(items)
    return choose_scene(overpasses, area, when=when, event_time=EVENT, min_clear=min_clear, orbit=orbit)


def names(choice):
    return [item.id for overpass in choice.overpasses for item in overpass.items]


# --- What belongs together ---


@pytest.mark.parametrize(
    ("times", "orbits", "together"),
    [
        (("2018-09-11T01:26:51Z", "2018-09-11T01:27:05Z"), (74, 74), 1),
        (("2018-09-10T23:59:52Z", "2018-09-11T00:00:06Z"), (74, 74), 1),
        (("2018-09-11T01:26:51Z", "2018-09-11T01:27:05Z"), (74, 31), 2),
        (("2018-09-11T01:26:51Z", "2018-09-16T01:26:51Z"), (74, 74), 2),
        (("2018-09-11T01:26:51Z", "2018-09-11T01:27:05Z"), (None, None), 1),
    ],
)
def test_tiles_of_one_orbit_within_hours_are_one_overpass(times, orbits, together):
    items = [
        item_of(f"{tile_id}", time, **{"grid:code": f"MGRS-{tile_id}", "sat:relative_orbit": orbit})
        for tile_id, time, orbit in zip(("54TWN", "54TXN"), times, orbits, strict=True)
    ]
    found = group_overpasses(reversed(items))
    assert len(found) == together
    assert [overpass.sensed for overpass in found] == sorted(overpass.sensed for overpass in found)
    assert {overpass.orbit for overpass in found} == set(orbits)


def test_of_a_tile_the_highest_baseline_is_kept_and_of_what_was_made_twice_the_newest():
    strip = "S2B_OPER_MSI_L2A_DS_2BPS_2018_S{}_N05.09"
    first, second = ({"s2:datastrip_id": strip.format(time)} for time in ("20180911T012651", "20180911T012702"))
    items = [
        item_of("old", **{"s2:processing_baseline": "02.14"}, **first),
        item_of("made-2023", **{"s2:generation_time": "2023-01-01T00:00:00Z"}, **first),
        item_of("a-made-2024", **{"s2:generation_time": "2024-01-01T00:00:00Z"}, **first),
        item_of("rest-of-the-tile", **{"s2:generation_time": "2023-01-01T00:00:00Z"}, **second),
        item_of("neighbour", **{"s2:processing_baseline": "02.14", "grid:code": "MGRS-54TXN"}),
        item_of("home-made", **{"s2:processing_baseline": "99.99"}),
    ]
    (found,) = group_overpasses(items)
    assert sorted(item.id for item in found.items) == ["a-made-2024", "neighbour", "rest-of-the-tile"]


@pytest.mark.parametrize(
    ("properties", "item_id", "orbit"),
    [
        ({"sat:relative_orbit": 74}, "x_R100_", 74),
        ({"s2:product_uri": "S2B_MSIL2A_20260921T105030_N0511_R051_T31UET_20260921T150000.SAFE"}, "x", 51),
        ({}, "S2B_MSIL2A_20260921T105029_R051_T31UET_20260921T150000", 51),
        ({"title": "S2B_MSIL2A_20260921T105030_N0511_R051_T31UET_20260921T150000.SAFE"}, "x", 51),
        ({}, "S2B_T31UET_20260921T105030_L2A", None),
        ({"sat:relative_orbit": "74"}, "x", None),
        ({"sat:relative_orbit": 999, "s2:product_uri": 3}, "x_R000_", None),
    ],
)
def test_the_relative_orbit_is_found_in_properties_and_names(properties, item_id, orbit):
    item = item_of(item_id)
    del item.properties["sat:relative_orbit"]
    item.properties |= properties
    assert orbit_of(item) == orbit


def test_items_that_state_no_time_are_in_no_overpass():
    item = item_of("x")
    item.properties["datetime"], item.datetime = None, None
    assert group_overpasses([item]) == []


# --- How much they show ---


def slow_share(files, area, invalid):
    """Mosaic classifications on pixels of 20 m and count those in the area, by another way than coslide's."""
    to_utm = Transformer.from_crs("EPSG:4326", "EPSG:32654", always_xy=True)
    west, south, east, north = area.bounds_deg
    x, y = to_utm.transform(*np.meshgrid(np.linspace(west, east, 50), np.linspace(south, north, 50)))
    transform = rasterio.transform.from_origin(x.min(), y.max(), 20, 20)
    shape = (int((y.max() - y.min()) / 20) + 1, int((x.max() - x.min()) / 20) + 1)
    mosaic = np.zeros(shape, np.uint8)
    for path in files:
        own = np.zeros(shape, np.uint8)
        with rasterio.open(path) as file:
            reproject(
                file.read(1), own, src_transform=file.transform, src_crs=file.crs, dst_transform=transform,
                dst_crs="EPSG:32654", resampling=Resampling.nearest,
            )  # fmt: skip
        mosaic = np.where(mosaic == 0, own, mosaic)
    rows, cols = np.mgrid[: shape[0], : shape[1]] + 0.5
    lon, lat = to_utm.transform(x.min() + 20 * cols, y.max() - 20 * rows, direction="INVERSE")
    counts = (lon >= west) & (lon <= east) & (lat >= south) & (lat <= north)
    return (~np.isin(mosaic, [0, *invalid]))[counts].mean()


@pytest.fixture(scope="module")
def two_zones(tmp_path_factory):
    """Two tiles that meet where two UTM zones do, with clouds of some hundred metres."""
    folder, items = tmp_path_factory.mktemp("zones"), []
    for number, (epsg, left, top) in enumerate([(32654, 252000, 4700040), (32653, 740040, 4700040)]):
        small = np.random.default_rng(number).choice([0, 2, 3, 4, 5, 7, 8, 9, 10, 11], (24, 24))
        scl = small.repeat(20, 0).repeat(20, 1).astype(np.uint8)
        name = f"zone{number}"
        items.append(tile(folder, 6, name=name, scl=scl, epsg=epsg, left=left, top=top, tile=f"5{4 - number}TWN"))
    return folder, items


@pytest.mark.parametrize("bounds", [(137.92, 42.35, 138.08, 42.42), (137.99, 42.36, 138.12, 42.5)])
@pytest.mark.parametrize("invalid", [(0, 1, 3, 8, 9, 10, 11), (8, 9)])
def test_the_clear_share_is_that_of_a_mosaic_of_all_pixels(two_zones, bounds, invalid):
    """R13: tiles of two UTM zones; all of the area counts, also what no tile shows."""
    folder, items = two_zones
    (overpass,) = group_overpasses(items)
    expected = slow_share([folder / item.id / "SCL.tif" for item in overpass.items], Area(bounds), invalid)
    assert abs(clear_share(overpass, Area(bounds), invalid) - expected) < 0.01
    assert 0.02 < expected < 0.8


def test_the_share_is_of_the_area_not_of_the_tile(tmp_path):
    (overpass,) = group_overpasses([tile(tmp_path, 6, (0, 0.5))])
    assert abs(clear_share(overpass, Area((142.215, 42.38, 142.27, 42.44))) - 1) < 0.02
    assert abs(clear_share(overpass, Area((142.28, 42.38, 142.32, 42.44)))) < 0.02


def test_few_bytes_tell_how_clear_an_overpass_is(tmp_path):
    random = np.random.default_rng(0).choice([4, 5, 9], (480, 480)).astype(np.uint8)
    with small_server.serve(tmp_path) as server:
        item = tile(tmp_path, 6, scl=random)
        item.assets["scl"].href = f"{server.url}/day6/SCL.tif"
        (overpass,) = group_overpasses([item])
        assert 0.6 < clear_share(overpass, INSIDE) < 0.73
        assert server.sent <= 3 * 16384
        assert server.sent < 0.8 * (tmp_path / "day6" / "SCL.tif").stat().st_size


# --- Which one is chosen ---


def test_the_nearest_one_that_shows_enough_is_chosen_and_no_other_is_read(tmp_path):
    items = [tile(tmp_path, 6, (0, 0.4)), tile(tmp_path, 11, (0, 1)), item_of("day16", at(16))]
    choice = choose(items)
    assert names(choice) == ["day11"]
    assert choice.clear > 0.99
    assert [round(candidate.clear, 1) for candidate in choice.considered] == [0.4, 1.0]


@pytest.mark.parametrize(("when", "expected"), [("post", "after"), ("pre", "before")])
def test_after_is_strictly_after_and_before_strictly_before(tmp_path, when, expected):
    late = EVENT.replace(tzinfo=None).isoformat()
    items = [
        tile(tmp_path, 0, (0, 1), name="at", date=f"{late}Z"),
        tile(tmp_path, 0, (0, 1), name="before", date=f"{late[:-2]}58Z", orbit=31),
        tile(tmp_path, 0, (0, 1), name="after", date=f"{late[:-4]}8:00Z", orbit=31, platform="sentinel-2a"),
    ]
    overpasses = [overpass for item in items for overpass in group_overpasses([item])]
    choice = choose_scene(overpasses, INSIDE, when=when, event_time=EVENT, min_clear=0.7)
    assert names(choice) == [expected]


@pytest.mark.parametrize(
    ("same_orbit_day", "orbit", "expected"),
    [(-20, 74, "same"), (-45, 74, "other"), (-20, None, "other"), (-20, 100, "other")],
)
def test_the_orbit_of_the_other_scene_is_preferred_but_not_a_month_away(tmp_path, same_orbit_day, orbit, expected):
    same = tile(tmp_path, same_orbit_day, (0, 1), name="same", orbit=74)
    other = tile(tmp_path, -3, (0, 1), name="other", orbit=31)
    assert names(choose([same, other], when="pre", orbit=orbit)) == [expected]


def test_a_catalog_without_orbits_will_do(tmp_path):
    items = [tile(tmp_path, day, (0, 1), orbit=None) for day in (-4, 6)]
    assert names(choose(items)) == ["day6"]
    choice = choose(items, when="pre", orbit=choose(items).overpasses[0].orbit)
    assert names(choice) == ["day-4"]


def test_dates_are_put_together_where_none_alone_is_clear_enough(tmp_path):
    items = [
        tile(tmp_path, 6, (0, 0.5)),
        tile(tmp_path, 11, (0.1, 0.5)),  # adds nothing
        tile(tmp_path, 16, (0.5, 0.8)),
        tile(tmp_path, 21, (0.7, 1.0)),
        tile(tmp_path, 26, (0, 0.2)),
    ]
    choice = choose(items, area=WHOLE, min_clear=0.95)
    assert names(choice) == ["day6", "day16", "day21"]
    assert choice.clear > 0.99
    assert len(choice.considered) == 5
    items[-1] = tile(tmp_path, 31, (0, 1))
    assert names(choose(items, area=WHOLE, min_clear=0.95)) == ["day31"]  # one date is better than several


def test_at_most_six_dates_are_put_together(tmp_path):
    items = [tile(tmp_path, 6 + 5 * number, (number / 8, (number + 1) / 8)) for number in range(8)]
    choice = choose(items, area=WHOLE, min_clear=0.7)
    assert len(choice.overpasses) == 6
    with pytest.raises(NoClearSceneError, match="together 7[4-7]%, expected 80%"):
        choose(items, area=WHOLE, min_clear=0.8)


def test_tiles_that_show_nothing_of_the_area_are_left_out(tmp_path):
    """An area may touch the edge of a tile, where that has no data."""
    scl = np.full((480, 480), VOID, np.uint8)
    scl[:, :40] = LAND
    items = [
        tile(tmp_path, 6, name="edge", scl=scl, tile="54TXN"),
        tile(tmp_path, 6, (0, 1), name="good"),
        tile(tmp_path, 1, name="empty", scl=scl, orbit=31),
    ]
    choice = choose(items)
    assert names(choice) == ["good"]
    assert [candidate.seen for candidate in choice.considered] == [0, 1]


# --- When there is none ---


def test_no_scene_yet_says_when_the_next_overpass_could_come(tmp_path, monkeypatch):
    monkeypatch.setattr(overpasses, "_now", lambda: dt.datetime(2018, 9, 5, tzinfo=dt.UTC) + dt.timedelta(days=0))
    scl = np.full((480, 480), VOID, np.uint8)
    items = [tile(tmp_path, -4, (0, 1)), tile(tmp_path, -7, name="blind", scl=scl, orbit=31)]
    with pytest.raises(
        NoClearSceneError, match=r"no clear scene yet: found no scene after 2018-09-05 18:07 UTC"
    ) as caught:
        choose(items[:1])
    assert caught.value.next_due == dt.datetime(2018, 9, 6, 1, 26, 51, tzinfo=dt.UTC)
    assert "could come on 2018-09-06 01:26 UTC" in str(caught.value)
    monkeypatch.setattr(overpasses, "_now", lambda: dt.datetime(2018, 9, 5, tzinfo=dt.UTC) + dt.timedelta(days=99))
    with pytest.raises(NoClearSceneError, match="take more days after the earthquake, or be content with less"):
        choose(items[:1])
    items += [tile(tmp_path, 1, (0, 0.5)), tile(tmp_path, 0, name="blind-too", scl=scl, orbit=31, date=at(0, 23))]
    with pytest.raises(NoClearSceneError, match=r"the clearest \(2018-09-06\) shows 54% of the area") as caught:
        choose(items)
    assert caught.value.next_due == dt.datetime(2018, 9, 11, 1, 26, 51, tzinfo=dt.UTC)  # not of the orbit that is blind


def test_no_item_at_all_is_no_scene_yet():
    for when, words in (
        ("post", "no clear scene yet: found no scene after"),
        ("pre", "no clear scene: found no scene before"),
    ):
        with pytest.raises(NoClearSceneError, match=words) as caught:
            choose([], when=when)
        assert caught.value.next_due is None


def test_a_classification_that_is_not_there_is_passed_over_with_a_word(tmp_path, caplog):
    with small_server.serve(tmp_path) as server:
        gone = item_of("gone", at(6), href=f"{server.url}/gone.tif?sig=hush")
        with caplog.at_level(logging.WARNING):
            assert names(choose([gone, tile(tmp_path, 11, (0, 1))])) == ["day11"]
        assert f"{server.url}/gone.tif: cannot be read" in caplog.text
        assert "hush" not in caplog.text
        with pytest.raises(InputError, match=r"gone\.tif: cannot be read as a raster .*404") as caught:
            choose([gone])
        assert not isinstance(caught.value, NoClearSceneError)


def test_tiles_that_are_all_clouds_by_their_catalog_are_not_read(tmp_path):
    items = [
        item_of("overcast", at(6), **{"eo:cloud_cover": 100}),
        tile(tmp_path, 11, (0, 1), **{"eo:cloud_cover": 99.99}),
    ]
    choice = choose(items)
    assert names(choice) == ["day11"]
    assert [candidate.clear > 0.5 for candidate in choice.considered] == [False, True]


@pytest.mark.parametrize("cover", [None, "100", 99.9])
def test_a_tile_that_may_show_something_is_read(cover):
    with pytest.raises(InputError, match="no.tif"):
        choose([item_of("x", at(6), **{"eo:cloud_cover": cover})])


@pytest.mark.parametrize(
    ("days", "after", "due"),
    [
        ([0], 0, 5), ([0], 4.9, 5), ([0], 5, 10), ([0, 3], 3, 5), ([0, 3], 6, 8), ([0, 2, 7], 7.5, 10), ([8], 1, 13),
        ([], 1, None),
    ],
)  # fmt: skip
def test_each_orbit_comes_again_after_five_days(days, after, due):
    begun = dt.datetime(2018, 9, 5, 1, 26, 51, tzinfo=dt.UTC)
    overpasses = group_overpasses(item_of(f"{day}", at(day), **{"sat:relative_orbit": day + 1}) for day in days)
    expected = None if due is None else begun + dt.timedelta(days=due)
    assert next_overpass(overpasses, begun + dt.timedelta(days=after)) == expected


# --- From the catalog on ---


def test_a_search_and_a_choice_take_few_requests(tmp_path):
    """Of three dates with two tiles each, on a server; the second is clear."""
    with small_server.serve(tmp_path) as server:
        items = []
        for day, clear in ((6, (0, 0.4)), (11, (0, 1)), (16, (0, 1))):
            for left, name in ((600000, "54TWN"), (609600, "54TXN")):
                keys = {"names": ("SCL",), "left": left, "tile": name, "scl": scl_of(clear), "url": server.url}
                items.append(small_server.write_tile(tmp_path, f"{name}-{day}", date=at(day), **keys))
        small_server.serve_api(server, items, page=100)
        with Web(timeout_s=5) as web:
            catalog = open_catalog(Services(stac_url=server.url), web)
            found = catalog.search(small_server.COLLECTION, (142.3, 42.38, 142.4, 42.44), EVENT, None)
        choice = choose_scene(
            group_overpasses(found), Area((142.3, 42.38, 142.4, 42.44)), when="post", event_time=EVENT, min_clear=0.7
        )
        assert names(choice) == ["54TWN-11", "54TXN-11"]
        assert len(server.asked) <= 3 + 4 * 3
        assert not [path for _, path, _ in server.asked if "-16" in path]
        assert "token" not in json.dumps([item.to_dict() for item in found])
