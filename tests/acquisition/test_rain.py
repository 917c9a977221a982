"""Rain before an earthquake, against sums by slow loops over what the servers have."""

import csv
import datetime as dt
import gzip
import io
import math
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.io import MemoryFile

from coslide.acquisition import rain as module
from coslide.acquisition.rain import fetch_rain
from coslide.acquisition.records import Area
from coslide.config.schema import RainConfig
from coslide.config.services import Services
from coslide.grid import Extent, common_grid
from coslide.indices.rainfall import prepare_rainfall
from coslide.io.http import Web
from coslide.sources.gauges import read_gauges

AREA = Area((141.7, 42.6, 142.3, 42.9))
TIME = dt.datetime(2018, 9, 5, 18, 7, 59, tzinfo=dt.UTC)  # 3:07 on 6 September by the clocks there
DAYS = [dt.date(2018, 8, 27) + dt.timedelta(days=back) for back in range(11)]
SHARE = (3 * 3600 + 7 * 60 + 59) / 86400
STATIONS = {"JA000047424": (141.70, 42.80), "JAM00047430": (142.00, 43.05), "JA000047433": (142.60, 42.50)}
FAR = {"JA000047999": (144.0, 42.7)}


def station_line(name, lon, lat, *, element="PRCP", years=(1951, 2026)):
    return f"{name:11} {lat:8.4f} {lon:9.4f} {element} {years[0]} {years[1]}\n"


class Gauges:
    """What a service of daily rain would know: rain in mm and a flag of each station and day."""

    def __init__(self, server, stations, *, lines=()):
        random = np.random.default_rng(1)
        self.rain = {(name, day): round(random.gamma(0.5, 8), 1) for name in stations for day in DAYS}
        self.attributes = dict.fromkeys(self.rain, ",,C,0800")
        listed = [station_line(name, *place) for name, place in stations.items()]
        listed += [station_line("JA000047000", 142, 42.7, element="TMAX"), *lines]
        server.answers["/stations.txt"] = "".join(listed).encode()
        server.answers["/rain"] = self.answer

    def answer(self, path):
        query = {key: value for key, (value,) in parse_qs(urlsplit(path).query).items()}
        assert (query["dataset"], query["dataTypes"], query["format"]) == ("daily-summaries", "PRCP", "csv")
        first, last = (dt.date.fromisoformat(query[key]) for key in ("startDate", "endDate"))
        out = io.StringIO()
        writer = csv.writer(out, quoting=csv.QUOTE_ALL)
        writer.writerow(["STATION", "LATITUDE", "LONGITUDE", "ELEVATION", "DATE", "PRCP", "PRCP_ATTRIBUTES"])
        for (name, day), rain_mm in self.rain.items():
            if name in query["stations"].split(",") and first <= day <= last:
                writer.writerow([name, 42, 142, 10, day, rain_mm, self.attributes[name, day]])
        return out.getvalue().encode()


def services_of(server, **keys):
    own = {"gauges_url": f"{server.url}/rain", "gauges_list_url": f"{server.url}/stations.txt"}
    return Services(**own, chirps_url=f"{server.url}/chirps", **keys)


def fetch(server, folder, *, area=AREA, time=TIME):
    with Web(timeout_s=5, tries=1) as web:
        return fetch_rain(web, services_of(server), area=area, event_time=time, folder=folder)


def chirps(day, *, west=-180, north=50, shape=(100, 100), nodata=None, values=None):
    """A day of CHIRPS as a GeoTIFF: mm, -9999 where there is no rain and nothing that says so."""
    if values is None:
        values = np.random.default_rng(day.toordinal()).gamma(0.5, 8, shape).astype(np.float32)
        values[:, : shape[1] // 4] = -9999
    form = {"driver": "GTiff", "count": 1, "dtype": "float32", "crs": "EPSG:4326", "nodata": nodata}
    with MemoryFile() as memory:
        transform = Affine(0.05, 0, west, 0, -0.05, north)
        with memory.open(height=values.shape[0], width=values.shape[1], transform=transform, **form) as file:
            file.write(values, 1)
        return bytes(memory.getbuffer())


def serve_chirps(server, days, *, early=(), **options):
    for day in days:
        start = "/chirps/prelim" if day in early else "/chirps"
        name = f"{start}/global_daily/tifs/p05/{day:%Y}/chirps-v2.0.{day:%Y.%m.%d}.tif.gz"
        server.answers[name] = gzip.compress(chirps(day, **options), 1)


# --- gauges ---


def test_the_sums_of_gauges_are_those_of_their_days_before_the_earthquake(server, tmp_path):
    gauges = Gauges(server, STATIONS | FAR)
    part = fetch(server, tmp_path)
    keys = part.tables["rain"]
    assert keys["day_starts_utc_h"] == -9  # the clocks of the middle of the area
    config = RainConfig.model_validate(keys)
    lon, _, rain_mm, _ = read_gauges(config, event_time=TIME)
    expected = {}
    for name, (x, _) in STATIONS.items():
        total = 0.0
        for day in DAYS:
            total += gauges.rain[name, day] * (SHARE if day == dt.date(2018, 9, 6) else 1.0)
        expected[x] = total
    assert dict(zip(lon, rain_mm, strict=True)) == pytest.approx(expected)
    assert part.files[0].file == "rain/gauges.csv"
    assert sorted(path.name for path in (tmp_path / "rain").iterdir()) == ["gauges.csv"]
    assert prepare_rainfall(config, grid_of_area(), event_time=TIME).bands[0].unit == "mm"


def grid_of_area():
    return common_grid([Extent("area", "EPSG:4326", AREA.bounds_deg)], pixel_size_m=1000)


def test_rain_that_failed_quality_control_does_not_count(server, tmp_path):
    more = {"JA000047111": (142.1, 42.7)}
    gauges = Gauges(server, STATIONS | more)
    gauges.attributes["JA000047111", DAYS[4]] = ",X,C,0800"
    gauges.rain["JA000047111", DAYS[4]] = 900.0
    config = RainConfig.model_validate(fetch(server, tmp_path).tables["rain"])
    assert sorted(read_gauges(config, event_time=TIME).lon_deg) == sorted(x for x, _ in STATIONS.values())
    for row in csv.DictReader((tmp_path / "rain" / "gauges.csv").read_text().splitlines()):
        assert row["quality"] == ("X" if row["rain_mm"] == "900.0" else "")


def test_gauges_that_lack_a_day_are_left_out_and_with_two_left_the_satellites_are_asked(server, tmp_path):
    gauges = Gauges(server, STATIONS)
    del gauges.rain["JAM00047430", DAYS[2]]
    part = fetch(server, tmp_path)
    assert part.tables == {}
    assert part.notes[0] == (
        "no rain from gauges: found 2 with every day from 2018-08-27 to 2018-09-06, expected 3 or more"
    )
    assert "11 of 11 days are not published yet" in part.notes[1]
    assert not list((tmp_path / "rain").iterdir())


def test_an_earthquake_of_yesterday_is_told_that_days_are_not_there_yet(server, tmp_path):
    gauges = Gauges(server, STATIONS)
    gauges.rain = {(name, day): rain_mm for (name, day), rain_mm in gauges.rain.items() if day < dt.date(2018, 9, 4)}
    serve_chirps(server, [day for day in DAYS if day < dt.date(2018, 9, 4)], early=DAYS)
    notes = fetch(server, tmp_path).notes
    assert "the last day there is 2018-09-03: later ones may not be published yet" in notes[0]
    assert "the fullest has 8" in notes[0]
    assert "days are not published yet, the first is 2018-08-26" in notes[1]


def test_stations_without_rain_in_these_years_or_far_away_are_not_asked_for(server, tmp_path):
    lines = [
        station_line("JA00004OLD0", 142, 42.7, years=(1951, 2017)),
        station_line("JA00004NEW0", 142, 42.7, years=(2019, 2026)),
    ]
    Gauges(server, STATIONS | FAR, lines=lines)
    fetch(server, tmp_path)
    (asked,) = (parse_qs(urlsplit(path).query)["stations"][0] for path in server.asked if path.startswith("/rain?"))
    narrow = math.cos(math.radians(42.75))
    distance = {name: math.hypot((x - 142) * narrow, y - 42.75) for name, (x, y) in STATIONS.items()}
    assert asked.split(",") == sorted(STATIONS, key=distance.get)


def test_many_stations_are_asked_for_in_several_requests_and_the_farthest_are_left_out(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_AT_ONCE", 4)
    monkeypatch.setattr(module, "_MOST_STATIONS", 10)
    many = {f"JA0000{number:05}": (142 + 0.01 * number, 42.75) for number in range(12)}
    Gauges(server, many)
    lon, *_ = read_gauges(RainConfig.model_validate(fetch(server, tmp_path).tables["rain"]), event_time=TIME)
    assert len([path for path in server.asked if path.startswith("/rain?")]) == 3
    assert max(lon) == pytest.approx(142.09)


def test_stations_on_the_other_side_of_the_180th_meridian_are_near(server, tmp_path):
    area = Area((179.5, -17.0, 180.0, -16.5))
    time = dt.datetime(2018, 9, 6, 6, tzinfo=dt.UTC)
    Gauges(server, {"FJ000000001": (179.4, -17.0), "FJ000000002": (-179.9, -16.8), "FJ000000003": (-179.5, -16.6)})
    assert "gauges" in fetch(server, tmp_path, area=area, time=time).tables["rain"]


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("/stations.txt", b"<html>busy</html>", "stations.txt: holds no stations"),
        ("/rain", b"<html>busy</html>", "rain: found '<html>busy</html>', expected a CSV table with STATION"),
        ("/rain", b"\xff\xfe", "rain: cannot be read as CSV"),
        ("/rain", b'"STATION","DATE","PRCP","PRCP_ATTRIBUTES"\n"a', "rain: cannot be read as CSV"),
        ("/rain", b"", "none of its 0 rows has a place"),
    ],
)
def test_answers_that_are_none_are_told_and_the_satellites_asked(server, tmp_path, path, content, message):
    Gauges(server, STATIONS)
    server.answers[path] = content
    serve_chirps(server, [day - dt.timedelta(days=1) for day in DAYS], west=140, north=44)
    part = fetch(server, tmp_path)
    assert message in part.notes[0]
    assert set(part.tables["rain"]) == {"raster", "unit"}


# --- CHIRPS ---


def test_the_days_of_the_satellites_are_summed_with_the_share_of_the_last(server, tmp_path):
    days = [dt.date(2018, 8, 26) + dt.timedelta(days=back) for back in range(11)]  # of UTC, to 5 September
    serve_chirps(server, days, early=days[-2:], west=140, north=44)
    part = fetch(server, tmp_path)
    share = (18 * 3600 + 7 * 60 + 59) / 86400
    expected = np.zeros((100, 100))
    for day in days:
        with MemoryFile(chirps(day, west=140, north=44)) as memory, memory.open() as file:
            values = file.read(1)
        for row, col in np.ndindex(100, 100):
            rain_mm = float(values[row, col])
            expected[row, col] += math.nan if rain_mm < 0 else rain_mm * (share if day == days[-1] else 1.0)
    with rasterio.open(part.tables["rain"]["raster"]) as file:
        found, (west, north) = file.read(1), (file.transform.c, file.transform.f)
        assert math.isnan(file.nodata)
    row, col = round((44 - north) / 0.05), round((west - 140) / 0.05)
    inside = expected[row : row + found.shape[0], col : col + found.shape[1]]
    np.testing.assert_allclose(found, inside, rtol=1e-5)
    # At least two pixels around the area, for those who interpolate.
    assert west <= 141.6
    assert north >= 43.0
    assert west + 0.05 * found.shape[1] >= 142.4
    assert "2 days are preliminary" in part.notes[1]
    assert prepare_rainfall(RainConfig.model_validate(part.tables["rain"]), grid_of_area(), event_time=TIME).notes


def test_pixels_without_rain_stay_without_whether_or_not_the_file_says_so(server, tmp_path):
    days = [day - dt.timedelta(days=1) for day in DAYS]
    for nodata in (None, -9999):
        serve_chirps(server, days, west=141, north=44, nodata=nodata)  # no rain west of 142.25
        part = fetch(server, tmp_path)
        with rasterio.open(part.tables["rain"]["raster"]) as file:
            values, west = file.read(1), file.transform.c
        edge = round((142.25 - west) / 0.05)
        assert np.isnan(values[:, :edge]).all()
        assert (values[:, edge:] >= 0).all()
    serve_chirps(server, days, west=141, north=44, values=np.full((100, 100), -9999, np.float32))
    assert "CHIRPS: it has no value there" in fetch(server, tmp_path).notes[1]


@pytest.mark.parametrize("bounds", [(10.0, 49.9, 10.5, 50.2), (-70.0, -50.4, -69.5, -49.9)])
def test_beyond_50_degrees_there_are_no_satellites(server, tmp_path, bounds):
    part = fetch(server, tmp_path, area=Area(bounds))
    assert part == module.Part({}, notes=part.notes)
    assert "it ends at 50 degrees north and south" in part.notes[1]
    assert not [path for path in server.asked if path.startswith("/chirps")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(bytes(2**21), 1, mtime=0), "unpacks to more than 1 MB"),
        (gzip.compress(chirps(DAYS[0]), mtime=0)[:-100], "is cut off"),
        (b"\x1f\x8b\x08garbage of a disk", "cannot be unpacked"),
        (gzip.compress(b"<html>busy</html>", mtime=0), "cannot be read as a raster"),
        (b'<VRTDataset rasterXSize="9" rasterYSize="9"/>', "cannot be read as a raster"),
    ],
)
def test_days_that_are_none_are_refused(server, tmp_path, monkeypatch, content, message):
    monkeypatch.setattr(module, "_LARGEST_RASTER", 2**20)
    serve_chirps(server, [day - dt.timedelta(days=1) for day in DAYS], west=140, north=44)
    server.answers["/chirps/global_daily/tifs/p05/2018/chirps-v2.0.2018.09.01.tif.gz"] = content
    part = fetch(server, tmp_path)
    assert part.tables == {}
    assert f"chirps-v2.0.2018.09.01.tif.gz: {message}" in part.notes[1]


def test_days_on_different_grids_are_not_summed(server, tmp_path):
    days = [day - dt.timedelta(days=1) for day in DAYS]
    serve_chirps(server, days[:5], west=140, north=44)
    serve_chirps(server, days[5:], west=140.01, north=44)
    assert "its days lie on different grids" in fetch(server, tmp_path).notes[1]


def test_sources_are_credited_and_addresses_hold_no_secret(server, tmp_path):
    Gauges(server, STATIONS)
    (credit,) = fetch(server, tmp_path).attributions
    assert credit.address == f"{server.url}/rain"
    assert "doi:10.7289/V5D21VHZ" in credit.text
    assert "WMO Resolution 40" in credit.licence


def test_grids_of_the_real_size_are_read_in_windows():
    """7200 x 2000 pixels take 58 MB: what is kept is the window."""
    content = chirps(DAYS[0], values=np.ones((2000, 7200), np.float32))
    rain_mm, geobox = module._window(content, (141.5, 42.4, 142.5, 43.1), "day.tif")
    assert rain_mm.shape == (16, 22)  # with a pixel around
    assert geobox.boundingbox.bbox == pytest.approx((141.45, 42.35, 142.55, 43.15))
