"""The earthquakes of a made-up world, as ComCat lists them, and their ShakeMaps."""

import math
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from coslide.simulate.frame import EVENT_TIME

BASE = "{base}"
IDS = SimpleNamespace(
    simulated="us7000sim1",  # with the ShakeMap of the simulated event: give bounds, for it reaches beyond the scenes
    narrow="us7000sim2",  # shaken by 0.1 g or more inside the scenes only
    no_shakemap="us7000sim3",
    ocean="us7000sim4",
    dateline="us7000sim5",
    deleted="us7000sim6",
    small="us7000sim7",
    late="us7000sim8",  # no scene after it
    loma_prieta="nc216859",
    unknown="us7000none",
)
LATE_TIME = datetime(2022, 5, 16, 4, 0, tzinfo=UTC)
"""Of the event that no scene was acquired after: the next one of orbit 130 is due on 20 May 2022."""
PUBLISHED = EVENT_TIME + timedelta(days=2)

_PLACE = "/comcat/product/shakemap"


def milliseconds(time: datetime) -> int:
    """Write a time as ComCat does."""
    return round(time.timestamp() * 1000)


def add_events(content: Any, loma_prieta: Path | None) -> None:
    """Add all earthquakes to the content of a world; that of Loma Prieta where its real ShakeMap is given."""
    content.ids = IDS
    lon, lat = (sum(content.bounds_deg[axis::2]) / 2 for axis in (0, 1))
    grid = (content.event_file.parent / "grid.xml").read_text(encoding="utf-8")
    (at,) = re.findall(r'<event [^>]*lon="([^"]+)" lat="([^"]+)"', grid)
    place = (float(at[0]), float(at[1]), 6.1)
    _add_grids(content, IDS.simulated, grid)
    for name in (IDS.narrow, IDS.late):
        _add_grids(content, name, bullseye(name, lon, lat, time=LATE_TIME if name == IDS.late else EVENT_TIME))
    _add_grids(content, IDS.ocean, bullseye(IDS.ocean, -150.5, 20.5))
    _add_grids(content, IDS.dateline, bullseye(IDS.dateline, 180.0, -16.5, falls_km=30, step_deg=1 / 60))
    older = grid.replace('shakemap_version="1"', 'shakemap_version="0"').replace("RELEASED", "AUTOMATIC")
    content.files[f"{_PLACE}/{IDS.simulated}/older/grid.xml"] = older.encode()
    rupture = content.files[f"{_PLACE}/rupture.json"]
    for name in (IDS.simulated, IDS.narrow, IDS.late):
        content.files[f"{_PLACE}/{name}/rupture.json"] = rupture
    point = {
        "type": "Feature",
        "properties": {},
        "geometry": {"type": "Point", "coordinates": [[[180.0, -16.5, 10.0]]]},
    }
    document = {"type": "FeatureCollection", "metadata": {"reference": "Origin"}, "features": [point]}
    content.add_document(f"{_PLACE}/{IDS.dateline}/rupture.json", document)
    add = content.events.__setitem__
    add(IDS.simulated, _event(content, IDS.simulated, 6.5, place))
    add(IDS.narrow, _event(content, IDS.narrow, 6.6, (lon, lat, 6.0), after_s=60))
    add(IDS.no_shakemap, _event(content, IDS.no_shakemap, 6.7, (lon, lat, 6.0), after_s=120))
    add(IDS.ocean, _event(content, IDS.ocean, 7.0, (-150.5, 20.5, 6.0), after_s=180))
    add(IDS.dateline, _event(content, IDS.dateline, 7.1, (180.0, -16.5, 10.0), after_s=240))
    add(IDS.small, _event(content, IDS.small, 5.1, (lon, lat, 6.0), after_s=300))
    late_s = (LATE_TIME - EVENT_TIME).total_seconds()
    add(IDS.late, _event(content, IDS.late, 6.8, (lon, lat, 6.0), after_s=late_s))
    if loma_prieta is not None:
        for file in ("grid.xml", "uncertainty.xml"):
            content.files[f"{_PLACE}/{IDS.loma_prieta}/{file}"] = (loma_prieta / file).read_bytes()
        then = datetime(1989, 10, 18, 0, 4, 15, tzinfo=UTC)
        after_s = (then - EVENT_TIME).total_seconds()
        add(IDS.loma_prieta, _event(content, IDS.loma_prieta, 6.9, (-121.88, 37.04, 18.0), after_s=after_s))


def bullseye(
    name: str,
    lon: float,
    lat: float,
    *,
    falls_km: float = 1.0,
    step_deg: float = 1 / 600,
    time: datetime = EVENT_TIME,
) -> str:
    """Write a ShakeMap whose PGA falls off from 0.5 g in a circle, and is 0.1 g at 1.27 times `falls_km`."""
    half = math.ceil(4 * falls_km / 111 / step_deg)
    side = range(-half, half + 1)
    wide_deg = step_deg / math.cos(math.radians(lat))
    bounds = [lon - half * wide_deg, lat - half * step_deg, lon + half * wide_deg, lat + half * step_deg]
    rows = []
    for down in reversed(side):
        for right in side:
            far_km = 111.2 * step_deg * math.hypot(down, right)
            pga = 50 * math.exp(-((far_km / falls_km) ** 2)) + 0.1
            rows.append(f"{lon + right * wide_deg:.6f} {lat + down * step_deg:.6f} {pga:.4f} 0.5000")
    when = f"{time:%Y-%m-%dT%H:%M:%S}"
    corners = zip(("lon_min", "lat_min", "lon_max", "lat_max"), bounds, strict=True)
    specified = " ".join(f'{key}="{value:.6f}"' for key, value in corners)
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<shakemap_grid xmlns="http://earthquake.usgs.gov/eqcenter/shakemap" event_id="{name}" shakemap_id="{name}"
 shakemap_version="1" process_timestamp="{when}" shakemap_originator="us" map_status="RELEASED"
 shakemap_event_type="SCENARIO">
<event event_id="{name}" magnitude="6.6" depth="6.0" lon="{lon:.4f}" lat="{lat:.4f}" event_timestamp="{when}" />
<grid_specification {specified} nominal_lon_spacing="{wide_deg:.6f}" nominal_lat_spacing="{step_deg:.6f}"
 nlon="{len(side)}" nlat="{len(side)}" />
<grid_field index="1" name="LON" units="dd" />
<grid_field index="2" name="LAT" units="dd" />
<grid_field index="3" name="PGA" units="pctg" />
<grid_field index="4" name="STDPGA" units="ln(pctg)" />
<grid_data>
{chr(10).join(rows)}
</grid_data>
</shakemap_grid>
"""


def _add_grids(content: Any, name: str, grid: str) -> None:
    """Add ``grid.xml``, and ``uncertainty.xml`` with the deviations that stand in it."""
    content.files[f"{_PLACE}/{name}/grid.xml"] = grid.encode()
    head, data = grid.split("<grid_data>\n")
    head = re.sub(r'<grid_field index="3".*\n', "", head).replace('index="4"', 'index="3"')
    rows = [" ".join(line.split()[:2] + line.split()[3:]) for line in data.splitlines()]
    rows = ["</grid_data>" if "</grid_data" in row else row for row in rows]
    text = f"{head}<grid_data>\n" + "\n".join(row for row in rows if "<" not in row)
    content.files[f"{_PLACE}/{name}/uncertainty.xml"] = f"{text}\n</grid_data>\n</shakemap_grid>\n".encode()


def _event(content: Any, name: str, magnitude: float, place: tuple[float, float, float], after_s=0.0) -> dict[str, Any]:
    """Describe an earthquake as the answer to a query for its id does."""
    time = EVENT_TIME + timedelta(seconds=after_s)
    products: dict[str, list[Any]] = {"origin": [_product("origin", name, {}, weight=1, time=PUBLISHED)]}
    files = (path for path in content.files if path.rpartition("/")[0] == f"{_PLACE}/{name}")
    maps = {path.rpartition("/")[2]: len(content.files[path]) for path in files}
    if maps:
        contents = {f"download/{file}": _content(f"{_PLACE}/{name}/{file}", size) for file, size in maps.items()}
        products["shakemap"] = [_product("shakemap", name, contents, weight=231, time=PUBLISHED)]
    if name == IDS.simulated:
        path = f"{_PLACE}/{name}/older/grid.xml"
        old = {"download/grid.xml": _content(path, len(content.files[path]))}
        before = PUBLISHED - timedelta(days=1)
        earlier = _product("shakemap", name, old, weight=231, time=before, status="AUTOMATIC", version="0")
        other = _product(
            "shakemap", f"{name}_atlas", old, weight=81, time=PUBLISHED + timedelta(days=9), source="atlas"
        )
        products["shakemap"] += [earlier, other]
    properties = {
        "mag": magnitude, "place": "Made-up place", "time": milliseconds(time), "updated": milliseconds(PUBLISHED),
        "tz": None, "url": f"{BASE}/earthquakes/eventpage/{name}", "status": "reviewed", "tsunami": 0, "sig": 650,
        "detail": f"{BASE}/comcat/query?eventid={name}&format=geojson", "net": name[:2], "code": name[2:],
        "ids": f",{name},", "types": f",{','.join(products)},", "magType": "mww", "type": "earthquake",
        "title": f"M {magnitude} - Made-up place", "products": products,
    }  # fmt: skip
    geometry = {"type": "Point", "coordinates": list(place)}
    return {"type": "Feature", "properties": properties, "geometry": geometry, "id": name}


def _content(path: str, size: int) -> dict[str, Any]:
    known = {"contentType": "application/xml", "lastModified": milliseconds(PUBLISHED), "length": size}
    return {**known, "url": f"{BASE}{path}"}


def _product(kind, name, contents, *, weight, time, status="RELEASED", version="2", source="us") -> dict[str, Any]:
    """Describe a product; all its properties are texts."""
    properties = {"version": version, "map-status": status, "eventsource": name[:2], "eventsourcecode": name[2:]}
    known = {"id": f"urn:usgs-product:{source}:{kind}:{name}:{milliseconds(time)}", "type": kind, "code": name}
    known |= {"source": source, "updateTime": milliseconds(time), "status": "UPDATE", "preferredWeight": weight}
    return {**known, "indexid": "1", "properties": properties, "contents": contents}
