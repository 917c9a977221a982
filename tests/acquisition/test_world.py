"""The made-up world is what it claims to be: what it serves is read by the readers of real services."""

import datetime as dt
import gzip
import io
import json
import socket
import ssl
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pystac
import pystac_client
import pytest
import rasterio
from pystac.validation import validate_dict
from rasterio.io import MemoryFile
from rasterio.warp import transform_bounds
from rio_cogeo.cogeo import cog_validate

from coslide.config.event import read_event
from coslide.config.schema import RainConfig, SceneConfig
from coslide.config.services import read_services
from coslide.errors import InputError
from coslide.io.http import MissingError, Web
from coslide.sources.bands import open_band
from coslide.sources.gauges import day_weights, read_gauges
from coslide.sources.items import describe_item
from coslide.sources.sentinel2 import open_scene
from coslide.sources.shaking import read_shakemap

SCENES, DEM = "sentinel-2-c1-l2a", "cop-dem-glo-30"
BANDS = ("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12")


NO_ROOTS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # reading the certificates of the machine takes long


def get(address, **options):
    return httpx.get(address, verify=NO_ROOTS, **options)


def read_json(address, **query):
    return get(address, params=query).raise_for_status().json()


@pytest.fixture
def client(world):
    opened = pystac_client.Client.open(world.services.stac_url)
    yield opened
    opened._stac_io.session.close()


class ClosingIO(pystac.StacIO):
    """Reads documents, and leaves no connection open."""

    def read_text(self, source, *_, **__):
        return get(source).text if source.startswith("http") else Path(source).read_text()

    def write_text(self, *_, **__):
        raise NotImplementedError


def newest_contents(event):
    maps = [one for one in event["properties"]["products"]["shakemap"] if one["source"] == "us"]
    return max(maps, key=lambda one: one["updateTime"])["contents"]


def item_file(world, scene):
    return f"{world.address}/static/{SCENES}/{scene.name}/{scene.name}.json"


def clear_share(world, scene):
    with rasterio.open(f"{world.address}/scenes/{scene.name}/SCL.tif") as file:
        return 1 - np.isin(file.read(1), (0, 1, 3, 8, 9, 10, 11)).mean()


def test_all_settings_lead_to_it_by_the_environment_too(world):
    assert read_services() == world.services
    assert {key for key, value in world.settings.items() if value.startswith(world.address)} == {
        key for key in type(world.services).model_fields if key.endswith("_url") and key != "sas_url"
    }
    assert read_services(given={"stac_url": world.static_url}) == world.services_with(stac_url=world.static_url)


# --- scenes ---


def test_pages_of_the_api_are_followed_to_the_last_item(world, client):
    found = list(client.search(collections=[SCENES], bbox=world.bounds_deg).items())
    assert [item.id for item in found] == [item["id"] for item in sorted_items(world)]
    assert world.requests("/stac/search") == 3  # of 3, 3 and 1


def sorted_items(world):
    return sorted(world.items(SCENES), key=lambda item: item["properties"]["datetime"], reverse=True)


def test_pages_are_followed_by_get_as_well(world, client):
    found = client.search(method="GET", collections=[SCENES], bbox=world.bounds_deg, limit=2)
    assert sum(1 for _ in found.items()) == 7
    assert Counter(one.method for one in world.asked if one.path == "/stac/search") == {"GET": 4}


def test_a_search_is_cut_by_time_and_box_and_without_what_is_hidden(world, client):
    after = client.search(collections=[SCENES], datetime="2022-04-28T06:12:00Z/2022-05-12T00:00:00Z")
    names = [world.scenes.east_cloudy.name, world.scenes.west_cloudy.name, world.scenes.all_cloudy.name]
    assert [item.id for item in after.items()] == names
    assert list(client.search(collections=[SCENES], bbox=[10, 10, 11, 11]).items()) == []
    world.hide(world.scenes.west_cloudy.name)
    assert world.scenes.west_cloudy.name not in {item.id for item in client.search(collections=[SCENES]).items()}


def test_items_have_the_structure_of_stac(world, client):
    for name in (SCENES, DEM):
        assert client.get_collection(name).id == name
        for item in client.search(collections=[name]).items():
            (schema,) = validate_dict(item.to_dict(), pystac.STACObjectType.ITEM, extensions=[])
            assert schema.endswith("item-spec/json-schema/item.json")


def test_the_static_catalog_has_the_same_items_on_the_server_and_on_the_disk(world, tmp_path):
    expected = {item["id"] for name in (SCENES, DEM) for item in world.items(name)}
    local = world.write_catalog(tmp_path / "catalog")
    for place in (world.static_url, str(local)):
        items = list(pystac.Catalog.from_file(place, stac_io=ClosingIO()).get_items(recursive=True))
        assert {item.id for item in items} == expected
        first = next(item for item in items if item.id == world.scenes.clear_post.name)
        with rasterio.open(first.assets["red"].get_absolute_href()) as file:
            assert file.shape == (300, 300)


@pytest.mark.parametrize("band", ["B04", "B11", "SCL"])
def test_rasters_are_cogs_with_overviews(world, band):
    address = f"{world.address}/scenes/{world.scenes.clear_post.name}/{band}.tif"
    assert cog_validate(address, quiet=True)[:2] == (True, [])
    with rasterio.open(address) as file:
        assert file.overviews(1)
        assert file.nodata == 0


def test_a_window_is_read_without_the_whole_raster(world):
    address = f"{world.address}/s3/copernicus-dem-30m/{dem_id(world)}/{dem_id(world)}.tif"
    with open_band(address, "GTiff") as file:
        file.read(1, window=((1000, 1010), (1000, 1010)))
    assert 0 < world.bytes_sent("*_DEM.tif") < world.size(address.removeprefix(world.address)) / 2
    assert all(one.part for one in world.asked if one.method == "GET")


def dem_id(world):
    (item,) = world.items(DEM)
    return item["id"]


def test_the_clear_scenes_are_those_of_the_simulated_event(world):
    event = read_event(world.event_file)
    for scene, config in ((world.scenes.clear_post, event.scenes.post), (world.scenes.clear_pre, event.scenes.pre)):
        own = open_scene(config.model_copy(update={"bands": BANDS}), root=world.event_file.parent)
        served = SceneConfig(products=(item_file(world, scene),), bands=BANDS)
        other = open_scene(served, root=world.event_file.parent)
        (product,), (expected,) = other.products, own.products
        for name in ("B4", "B12", "SCL"):
            geobox = expected.rasters[name].geobox
            assert product.rasters[name].geobox == geobox
            rows, cols = slice(0, geobox.shape[0]), slice(0, geobox.shape[1])
            np.testing.assert_array_equal(
                product.rasters[name].read(rows, cols), expected.rasters[name].read(rows, cols)
            )


def test_each_scene_has_the_clouds_the_orbit_and_the_baseline_of_its_name(world):
    scenes = world.scenes
    clear = {name: clear_share(world, scene) for name, scene in vars(scenes).items()}
    assert clear["all_cloudy"] == 0
    assert 0.3 < clear["east_cloudy"] < 0.5
    assert 0.3 < clear["west_cloudy"] < 0.5
    assert clear["clear_post"] > 0.85
    assert clear["clear_pre"] == clear["other_orbit"] > 0.85
    for item in world.items(SCENES):
        (scene,) = (one for one in vars(scenes).values() if one.name == item["id"])
        assert f"_N{scene.baseline.replace('.', '')}_R{scene.orbit:03d}_" in item["properties"]["s2:product_uri"]
    product, _ = describe_item(item_file(world, scenes.old_baseline), world.event_file.parent, set())
    assert (product.baseline, product.tile, product.acquired) == ("04.00", "59SPV", "2022-05-15")


def test_the_elevation_is_that_of_the_simulated_event(world):
    with rasterio.open(world.event_file.parent / "dem.tif") as file:
        expected, box = file.read(1, masked=True), file.bounds
    (item,) = world.items(DEM)
    address = item["assets"]["data"]["href"].replace("s3://", f"{world.address}/s3/")
    with rasterio.open(address) as file:
        found = file.read(1, window=file.window(*box).round_offsets().round_lengths())
    np.testing.assert_array_equal(found[~expected.mask], expected.compressed())


# --- earthquakes ---


def test_comcat_tells_what_is_known_unknown_and_deleted(world):
    address = f"{world.services.comcat_url}/query"
    assert read_json(address, eventid=world.ids.simulated, format="geojson")["properties"]["mag"] == 6.5
    for name, status in ((world.ids.unknown, 404), (world.ids.deleted, 409)):
        assert get(address, params={"eventid": name, "format": "geojson"}).status_code == status
    found = read_json(address, eventid=world.ids.no_shakemap, format="geojson")
    assert "shakemap" not in found["properties"]["products"]


def test_comcat_lists_by_magnitude_time_and_change(world):
    def listed(**query):
        found = read_json(f"{world.services.comcat_url}/query", format="geojson", **query)
        return [event["id"] for event in found["features"]]

    recent = {"starttime": "2022-01-01"}
    assert set(listed(minmagnitude=6.5, **recent)) == set(world.content.events) - {
        world.ids.small,
        world.ids.loma_prieta,
    }
    assert world.ids.small in listed(minmagnitude=5, **recent)
    assert listed(**recent)[0] == world.ids.late
    assert listed(orderby="time-asc", limit=2, **recent) == [world.ids.simulated, world.ids.narrow]
    assert listed(starttime="2022-05-01", endtime="2022-05-10") == []
    assert listed(updatedafter="2022-05-01T00:00:00") == []


def test_shakemaps_are_those_of_the_events(world, tmp_path):
    for name in ("simulated", "narrow", "dateline", "ocean", "loma_prieta"):
        if (event_id := getattr(world.ids, name)) not in world.content.events:
            continue
        event = read_json(f"{world.services.comcat_url}/query", eventid=event_id, format="geojson")
        for file in ("grid.xml", "uncertainty.xml"):
            content = newest_contents(event)[f"download/{file}"]
            (tmp_path / file).write_bytes(get(content["url"]).content)
            assert (tmp_path / file).stat().st_size == content["length"]
        found = read_shakemap(tmp_path / "grid.xml", uncertainty=tmp_path / "uncertainty.xml")
        if name == "simulated":
            own = read_shakemap(world.event_file.parent / "grid.xml")
            np.testing.assert_array_equal(found.pga_g.values, own.pga_g.values)
            np.testing.assert_array_equal(found.ln_std.values, own.ln_std.values)
        if name == "narrow":
            rows, cols = np.nonzero(found.pga_g.values >= 0.1)  # noqa: PD011
            affine = found.pga_g.geobox.affine
            west, north = affine * (cols.min(), rows.min())
            east, south = affine * (cols.max() + 1, rows.max() + 1)
            left, bottom, right, top = world.bounds_deg
            assert left < west < east < right
            assert bottom < south < north < top


def test_the_rupture_is_the_trace_of_the_simulated_fault_in_two_rings(world):
    event = read_json(f"{world.services.comcat_url}/query", eventid=world.ids.simulated, format="geojson")
    found = read_json(newest_contents(event)["download/rupture.json"]["url"])
    ((rings,),) = (one["geometry"]["coordinates"] for one in found["features"])
    own = json.loads((world.event_file.parent / "faults.geojson").read_text())["features"][0]["geometry"]["coordinates"]
    tops = [[place[:2] for place in ring[:-1] if place[2] == 0] for ring in rings]
    assert len(tops) == 2
    assert tops[0] + tops[1][1:] == own
    assert all(ring[0] == ring[-1] for ring in rings)
    lines = read_json(world.services.faults_url)["features"]
    assert [one["properties"]["name"] for one in lines] == ["seismogenic", "inactive", None]


# --- rain ---


def test_gauges_give_the_rain_of_the_simulated_event(world, tmp_path):
    event = read_event(world.event_file)
    inventory = get(world.services.gauges_list_url).text.splitlines()
    listed = {line[:11] for line in inventory if line[31:35] == "PRCP" and int(line[41:45]) >= 2022}
    weights = day_weights(RainConfig(gauges="rain.csv", unit="mm"), event.time_utc)
    query = {"stations": ",".join(sorted(listed)), "startDate": min(weights), "endDate": max(weights), "format": "csv"}
    query |= {"dataset": "daily-summaries", "dataTypes": "PRCP", "units": "metric"}
    query |= {"includeStationLocation": 1, "includeAttributes": "true"}
    table = pd.read_csv(io.BytesIO(get(world.services.gauges_url, params=query).content))
    assert len(table) == 11 * 11 - 1
    flags = table["PRCP_ATTRIBUTES"].str.split(",").str[1]
    assert table[flags == "X"]["PRCP"].tolist() == [900.0]
    table[(flags == "") & table["STATION"].str.startswith("SIM0000G")].to_csv(tmp_path / "rain.csv")
    names = {"station": "STATION", "lon": "LONGITUDE", "lat": "LATITUDE", "date": "DATE", "rain": "PRCP"}
    rain = RainConfig(gauges=tmp_path / "rain.csv", unit="mm", columns=names)
    found, own = (read_gauges(one, event_time=event.time_utc) for one in (rain, event.rain))
    for one in ("lon_deg", "lat_deg", "rain_mm"):
        np.testing.assert_allclose(getattr(found, one), getattr(own, one), rtol=1e-12)


def test_gauges_are_asked_for_by_name(world):
    assert get(world.services.gauges_url, params={"dataset": "daily-summaries", "format": "csv"}).status_code == 400


@pytest.mark.parametrize("kind", ["", "prelim/"])
def test_daily_rain_from_satellites_is_a_raster_whose_sea_is_not_tagged(world, kind):
    day = dt.date(2022, 4, 26)
    address = f"{world.services.chirps_url}/{kind}global_daily/tifs/p05/2022/chirps-v2.0.2022.04.26.tif.gz"
    with MemoryFile(gzip.decompress(get(address).content)) as memory, memory.open() as file:
        values, nodata = file.read(1), file.nodata
    assert nodata is None
    assert set(np.unique(values)) == {np.float32(-9999), np.float32(world.chirps_mm(day))}
    assert world.chirps_mm(day) > 0


# --- failures ---


def test_failures_are_switched_on_by_path_and_end(world):
    world.fail("/gem/*", times=1, status=429, Retry_After="7")
    answers = [get(world.services.faults_url) for _ in range(2)]
    assert [one.status_code for one in answers] == [429, 200]
    assert answers[0].headers["Retry-After"] == "7"
    world.fail("/gem/*", status=404)
    assert [get(world.services.faults_url).status_code for _ in range(2)] == [404, 404]
    world.mend()
    assert get(world.services.faults_url).status_code == 200
    assert world.requests("/gem/*") == 5


def test_a_body_that_is_cut_is_noticed_and_resumed(world, tmp_path):
    world.fail("/ghcn/*", times=1, cut_after=100)
    with Web(timeout_s=5) as web:
        done = web.download(world.services.gauges_list_url, tmp_path / "list.txt")
    assert done.bytes == world.size("/ghcn/ghcnd-inventory.txt")
    assert [one.part for one in world.asked] == ["", "bytes=100-"]
    assert world.bytes_sent() == done.bytes


def test_an_answer_can_be_late(world):
    world.fail("/gem/*", times=1, wait_s=5)
    with pytest.raises(httpx.ReadTimeout):
        get(world.services.faults_url, timeout=0.05)


def test_a_raster_that_fails_now_and_then_is_read_in_the_end(world):
    address = f"{world.address}/scenes/{world.scenes.clear_post.name}/B04.tif"
    world.fail("*/B04.tif", times=2, status=503)
    with open_band(address, "GTiff") as file:
        assert file.read(1).any()


def test_signed_assets_are_given_with_a_token_only(world):
    world.sign()
    address = f"{world.address}/scenes/{world.scenes.clear_post.name}/B04.tif"
    with pytest.raises(InputError, match="403"), open_band(address, "GTiff"):
        pass
    token = read_json(world.token_url.replace("{collection}", SCENES))["token"]
    with open_band(f"{address}?{token}", "GTiff") as file:
        assert file.shape == (300, 300)


def test_what_is_not_there_is_missing(world):
    with Web(timeout_s=5) as web, pytest.raises(MissingError):
        web.read(f"{world.address}/scenes/{world.scenes.clear_post.name}/TCI.tif")


# --- the guard ---


def test_a_socket_to_another_machine_is_caught(guard):
    with socket.socket() as one, pytest.raises(pytest.fail.Exception, match="192.0.2.1"):
        one.connect(("192.0.2.1", 80))
    with pytest.raises(pytest.fail.Exception, match="example.org"):
        socket.create_connection(("example.org", 443), timeout=1)
    assert guard == ["connect 192.0.2.1", "getaddrinfo example.org"]
    guard.clear()


def test_a_client_that_asks_another_machine_is_caught_at_the_proxy(guard):
    with pytest.raises(httpx.ProxyError):
        get("https://example.org/")
    assert guard == ["CONNECT example.org:443 HTTP/1.1"]
    guard.clear()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_gdal_that_asks_another_machine_is_caught_at_the_proxy(guard, scheme):
    with pytest.raises(rasterio.errors.RasterioIOError), rasterio.Env(GDAL_HTTP_TIMEOUT=5):
        rasterio.open(f"/vsicurl/{scheme}://192.0.2.1/{scheme}.tif")
    assert guard
    assert all("192.0.2.1" in line for line in guard)
    guard.clear()


def test_this_machine_is_not_guarded(world, guard):
    assert get(world.services.faults_url).status_code == 200
    assert guard == []
    assert transform_bounds("EPSG:4326", "EPSG:32659", *world.bounds_deg)[0] > 600000
