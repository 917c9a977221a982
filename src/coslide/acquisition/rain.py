"""Rain before an earthquake: daily rain of gauges (GHCN-Daily), else of satellites and gauges (CHIRPS)."""

import csv
import datetime as dt
import io
import math
import re
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile
from rasterio.windows import Window

from coslide.acquisition.records import Area, Bounds, Fetched, Part
from coslide.acquisition.windows import covering_pixels
from coslide.config.event import Attribution
from coslide.config.schema import RainConfig
from coslide.config.services import Services
from coslide.errors import InputError
from coslide.io.atomic import whole_output
from coslide.io.cog import RasterBands, write_cog
from coslide.io.http import MissingError, Web, redact_url
from coslide.io.raster import grid_of, reason_of
from coslide.io.stored import read_stored
from coslide.sources.gauges import day_weights, read_gauges

FEWEST_GAUGES = 3
"""Of fewer, CHIRPS tells more."""

_AROUND_DEG = 1.0  # where gauges count
_MOST_STATIONS, _AT_ONCE = 300, 50  # an address holds the names of the second number
_COLUMNS = {"lon": "lon", "lat": "lat", "rain": "rain_mm", "date": "date", "station": "station", "quality": "quality"}
# ID, latitude, longitude, element, first and last year, in fixed columns
_STATION = re.compile(rb"(\S{11}) ([ \d.-]{8}) ([ \d.-]{9}) (\S{4}) (\d{4}) (\d{4})\s*")
_CHIRPS_REACHES_DEG, _CHIRPS_RIM_DEG = 50.0, 0.15  # the second: three of its pixels
_LARGEST_PACKED, _LARGEST_RASTER = 2**25, 2**27  # bytes; a day has 3 MB, unpacked 58 MB
_GAUGES = Attribution(
    source="GHCN-Daily",
    licence="free to use; data of some countries are not for commercial redistribution (WMO Resolution 40)",
    text="Menne, M. J., et al. (2012), Global Historical Climatology Network - Daily (GHCN-Daily), Version 3, "
    "NOAA National Climatic Data Center, doi:10.7289/V5D21VHZ",
)
_CHIRPS = Attribution(
    source="CHIRPS 2.0",
    licence="public domain",
    text="Funk, C., et al. (2015), The climate hazards infrared precipitation with stations - a new environmental "
    "record for monitoring extremes, Scientific Data 2, 150066, doi:10.1038/sdata.2015.66",
)

Places = dict[str, tuple[float, float]]


class _Day(NamedTuple):
    """Rain of a day around an area in mm, NaN where there is none, and whether the day is preliminary."""

    rain_mm: NDArray[np.float64]
    geobox: GeoBox
    preliminary: bool


def fetch_rain(web: Web, services: Services, *, area: Area, event_time: dt.datetime, folder: Path) -> Part:
    """Fetch the rain before an earthquake into ``rain/`` of the folder of an event.

    At least three gauges within a degree of the area that have every day of the window (`day_weights`) are taken as
    they are, and kriged later. Else the days of CHIRPS are summed, which has them between 50 degrees south and north.

    Parameters
    ----------
    web, services
        Where they are fetched.
    area
        What is to be mapped.
    event_time
        Of the earthquake, UTC.
    folder
        Of the event.

    Returns
    -------
    Part
        Without tables where there is no rain: what kept it from being fetched stands in its notes, and a map can be
        made without.

    Notes
    -----
    Most gauges count days by the clock on their wall; their day is taken to begin at midnight of the hour of the
    middle of the area. Days of CHIRPS are those of UTC.
    """
    notes: list[str] = []
    for name, fetch in (("gauges", _fetch_gauges), ("CHIRPS", _fetch_chirps)):
        try:
            part = fetch(web, services, area=area, event_time=event_time, folder=folder)
        except InputError as error:
            notes.append(f"no rain from {name}: {error}")
            continue
        return part._replace(notes=(*notes, *part.notes))
    return Part({}, notes=tuple(notes))


def _fetch_gauges(web: Web, services: Services, *, area: Area, event_time: dt.datetime, folder: Path) -> Part:
    path = folder / "rain" / "gauges.csv"
    west, _, east, _ = area.bounds_deg
    keys: dict[str, Any] = {"unit": "mm", "day_starts_utc_h": float(-round((west + east) / 2 / 15))}
    keys["columns"] = _COLUMNS
    rain = RainConfig(gauges=path, **keys)
    days = sorted(day_weights(rain, event_time))
    stations = _stations_near(web, services, area=area, days=days, path=path.with_name("stations.txt"))
    if len(stations) < FEWEST_GAUGES:
        raise InputError(f"found {len(stations)} within {_AROUND_DEG:g} degree, expected {FEWEST_GAUGES} or more")
    names = list(stations)
    batches = [names[start : start + _AT_ONCE] for start in range(0, len(names), _AT_ONCE)]
    rows = [row for batch in batches for row in _rows(web, services, batch, days)]
    known = [(name, day, *stations[name], rain_mm, flag) for name, day, rain_mm, flag in rows if name in stations]
    last = max((day for _, day, *_ in known), default="")
    with whole_output(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS[key] for key in ("station", "date", "lon", "lat", "rain", "quality"))
        writer.writerows(sorted(known))
    try:
        gauges = read_gauges(rain, event_time=event_time)
        if gauges.rain_mm.size < FEWEST_GAUGES:
            found = f"found {gauges.rain_mm.size} with every day from {days[0]} to {days[-1]}"
            raise InputError(f"{found}, expected {FEWEST_GAUGES} or more")
    except InputError as error:
        path.unlink()
        late = f"; the last day there is {last or 'none'}: later ones may not be published yet"
        reason = str(error).removeprefix(f"{path}: ").partition("; give ")[0]
        raise InputError(f"{reason}{late if last < str(days[-1]) else ''}") from None
    fetched = Fetched.of(path, folder, address=services.gauges_url, source=_GAUGES.source)
    credit = _GAUGES.model_copy(update={"address": redact_url(services.gauges_url)})
    notes = tuple(f"{_GAUGES.source}: {note}" for note in gauges.notes)
    return Part({"rain": {"gauges": path, **keys}}, (fetched,), (credit,), notes)


def _stations_near(web: Web, services: Services, *, area: Area, days: list[dt.date], path: Path) -> Places:
    """Find the stations around an area that measure rain in the years of the days, the nearest first.

    Their list, 34 MB, lies at `path` meanwhile.
    """
    web.download(services.gauges_list_url, path)
    west, south, east, north = area.bounds_deg
    x, y = (west + east) / 2, (south + north) / 2
    narrow = math.cos(math.radians(y))
    found: dict[str, tuple[float, float]] = {}
    lines = 0
    with path.open("rb") as file:
        for line in iter(partial(file.readline, 1000), b""):
            if not (fields := _STATION.fullmatch(line)):
                continue
            lines += 1
            if fields[4] != b"PRCP" or int(fields[5]) > days[0].year or int(fields[6]) < days[-1].year:
                continue
            lat, lon = float(fields[2]), float(fields[3])
            around = south - _AROUND_DEG <= lat <= north + _AROUND_DEG
            # The shortest way round, for an area beside the 180th meridian.
            if around and abs((lon - x + 180) % 360 - 180) <= (east - west) / 2 + _AROUND_DEG:
                found[fields[1].decode("ascii", "replace")] = (lon, lat)
    path.unlink()
    if not lines:
        raise InputError(f"{redact_url(services.gauges_list_url)}: holds no stations, expected lines of GHCN-Daily")

    def distance(name: str) -> float:
        lon, lat = found[name]
        return math.hypot(((lon - x + 180) % 360 - 180) * narrow, lat - y)

    return {name: found[name] for name in sorted(found, key=distance)[:_MOST_STATIONS]}


def _rows(
    web: Web, services: Services, names: Iterable[str], days: list[dt.date]
) -> Iterator[tuple[str, str, str, str]]:
    """Ask for the days of stations: yield station, date, rain in mm and quality flag where rain was reported."""
    asked = {"dataset": "daily-summaries", "dataTypes": "PRCP", "format": "csv", "units": "metric"}
    asked |= {"startDate": f"{days[0]}", "endDate": f"{days[-1]}", "stations": ",".join(names)}
    asked |= {"includeAttributes": "true", "includeStationLocation": "1"}
    try:
        content = web.read(services.gauges_url, params=asked)
    except MissingError:  # so it answers where no station has a value
        return
    address, wanted = redact_url(services.gauges_url), ("STATION", "DATE", "PRCP", "PRCP_ATTRIBUTES")
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig")), strict=True, restval="")
        if content.strip() and (missing := [name for name in wanted if name not in (reader.fieldnames or ())]):
            head = ",".join(reader.fieldnames or ())[:60]
            raise InputError(f"{address}: found {head!r}, expected a CSV table with {missing[0]}")
        for row in reader:
            station, day, rain_mm, attributes = (row[name].strip() for name in wanted)
            if rain_mm:  # of "measurement, quality, source, time", the second tells what failed
                yield station, day, rain_mm, [*attributes.split(","), ""][1]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{address}: cannot be read as CSV ({error})") from None


def _fetch_chirps(web: Web, services: Services, *, area: Area, event_time: dt.datetime, folder: Path) -> Part:
    path = folder / "rain" / "rain.tif"
    weights = day_weights(RainConfig(raster=path, unit="mm"), event_time)
    west, south, east, north = area.bounds_deg
    if max(-south, north) > _CHIRPS_REACHES_DEG:
        raise InputError(f"it ends at {_CHIRPS_REACHES_DEG:g} degrees north and south")
    rim = _CHIRPS_RIM_DEG
    bounds = max(west - rim, -180.0), south - rim, min(east + rim, 180.0), north + rim
    with ThreadPoolExecutor(services.at_once) as threads:
        read = dict(zip(weights, threads.map(partial(_read_day, web, services, bounds), weights), strict=True))
    days = {day: one for day, one in read.items() if one is not None}
    if missing := [day for day in weights if day not in days]:
        raise InputError(f"{len(missing)} of {len(weights)} days are not published yet, the first is {missing[0]}")
    first = next(iter(days.values()))
    if any(one.geobox != first.geobox for one in days.values()):
        raise InputError("its days lie on different grids, expected one")
    rain_mm = sum(weights[day] * one.rain_mm for day, one in days.items())
    values = np.asarray(rain_mm, dtype=np.float32)[np.newaxis]
    if np.isnan(values).all():
        raise InputError("it has no value there")
    span = f"{min(weights)} to {max(weights)}"
    bands = RasterBands(["rain before the event"], ["mm"])
    write_cog(path, first.geobox, bands, lambda rows: values[:, rows], tags={"days": span})
    fetched = Fetched.of(path, folder, address=services.chirps_url, source=_CHIRPS.source)
    credit = _CHIRPS.model_copy(update={"address": redact_url(services.chirps_url)})
    note = (
        f"{_CHIRPS.source}: rain of {len(weights)} days, {span}, {np.nanmin(values):.1f} to {np.nanmax(values):.1f} mm"
    )
    if early := sum(one.preliminary for one in days.values()):
        note += f"; {early} days are preliminary"
    return Part({"rain": {"raster": path, "unit": "mm"}}, (fetched,), (credit,), (note,))


def _read_day(web: Web, services: Services, bounds: Bounds, day: dt.date) -> _Day | None:
    """Read a day of CHIRPS, the final one if there is one, else the preliminary one; None where there is neither."""
    name = f"global_daily/tifs/p05/{day:%Y}/chirps-v2.0.{day:%Y.%m.%d}.tif"
    for preliminary, file in ((False, f"{name}.gz"), (True, f"prelim/{name}.gz"), (True, f"prelim/{name}")):
        address = f"{services.chirps_url.rstrip('/')}/{file}"
        try:
            packed = web.read(address, largest_bytes=_LARGEST_PACKED if file.endswith(".gz") else _LARGEST_RASTER)
        except MissingError:
            continue
        rain_mm, geobox = _window(_unpacked(packed, address), bounds, address)
        return _Day(rain_mm, geobox, preliminary)
    return None


def _unpacked(content: bytes, name: str) -> bytes:
    """Unpack what is gzipped, as far as a day may be large."""
    if not content.startswith(b"\x1f\x8b"):
        return content
    unpacking = zlib.decompressobj(wbits=31)
    try:
        found = unpacking.decompress(content, _LARGEST_RASTER + 1)
    except zlib.error as error:
        raise InputError(f"{redact_url(name)}: cannot be unpacked ({error})") from None
    if len(found) > _LARGEST_RASTER:
        raise InputError(f"{redact_url(name)}: unpacks to more than {_LARGEST_RASTER // 2**20} MB, expected a day")
    if not unpacking.eof:
        raise InputError(f"{redact_url(name)}: is cut off")
    return found


def _window(content: bytes, bounds: Bounds, name: str) -> tuple[NDArray[np.float64], GeoBox]:
    """Read the rain around an area, in mm, of the content of a GeoTIFF; what is below 0 is no rain."""
    name = redact_url(name)
    try:
        with MemoryFile(content) as memory, memory.open(driver="GTiff") as dataset:
            raster = grid_of(dataset, name=name)
            rows, cols = covering_pixels(raster, bounds)
            geobox = raster[rows, cols]
            stored, void = read_stored(dataset, 1, Window.from_slices(rows, cols), invalid=[dataset.nodata])
    except RasterioError as error:
        raise InputError(f"{name}: cannot be read as a raster ({reason_of(error)})") from None
    return np.where(void | (stored < 0), np.nan, stored).astype(np.float64), geobox  # -9999 is not declared
