"""``coslide fetch``: from the id of an earthquake to the files of an event and its event file."""

import datetime as dt
import json
import logging
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import shapely

from coslide.acquisition.area import area_of_bounds, area_of_shaking
from coslide.acquisition.catalog import Catalog, open_catalog
from coslide.acquisition.comcat import Earthquake, fetch_shakemap, find_earthquake, require_event_id
from coslide.acquisition.composite import write_composite
from coslide.acquisition.elevation import DemPlan, plan_dem, write_dem
from coslide.acquisition.event_file import event_text
from coslide.acquisition.faults import fetch_faults
from coslide.acquisition.items import ItemPlan, folder_name, plan_item, write_item
from coslide.acquisition.manifest import MANIFEST, Manifest
from coslide.acquisition.overpasses import NoClearSceneError, SceneChoice, choose_scene, group_overpasses
from coslide.acquisition.rain import fetch_rain
from coslide.acquisition.records import Area, Fetched, Part
from coslide.config.event import Attribution
from coslide.config.fetching import FetchOptions
from coslide.config.schema import SceneConfig
from coslide.config.services import Services, read_services
from coslide.errors import InputError
from coslide.io.atomic import sha256, whole_output, write_json
from coslide.io.cog import ITEM
from coslide.io.http import Web
from coslide.io.outputs import output_folder
from coslide.progress import report_progress
from coslide.sources.shaking import read_shakemap

_log = logging.getLogger(__name__)

EVENT_FILE = "event.toml"
_AREA = "area.geojson"
_SENTINEL2 = "Sentinel-2 L2A"
_SIDES = {"post": "after", "pre": "before"}


class _Asked(NamedTuple):
    """What is asked for, and who is asked."""

    web: Web
    catalog: Catalog
    options: FetchOptions

    @property
    def services(self) -> Services:
        """Give the settings of all services."""
        return self.catalog.services


class PlanLine(NamedTuple):
    """What is fetched for a part of an event.

    Attributes
    ----------
    part
        Such as "scene after".
    chosen
        What was chosen, and why.
    date
        Of what day it is; empty where that means nothing.
    size_mb
        What will be read, in MB; None where only the reading tells.
    """

    part: str
    chosen: str
    date: str = ""
    size_mb: float | None = None


class FetchPlan(NamedTuple):
    """What a map of an earthquake needs, and where it is.

    Attributes
    ----------
    earthquake, area
        Which one, and where to map.
    scenes
        The overpasses chosen for ``"post"`` and, where there is one, ``"pre"``.
    windows
        What is read of every item of each of them.
    dem
        What is read of the elevation.
    lines
        All of it for people.
    """

    earthquake: Earthquake
    area: Area
    scenes: dict[str, SceneChoice]
    windows: dict[str, tuple[tuple[ItemPlan, ...], ...]]
    dem: DemPlan
    lines: tuple[PlanLine, ...]


def plan_event(event_id: str, options: FetchOptions | None = None, services: Services | None = None) -> FetchPlan:
    """Find out what a map of an earthquake needs and where it is, without writing anything.

    Parameters
    ----------
    event_id
        Its id in ComCat, such as ``"us2000h8ty"``.
    options
        How large an area, and which scenes.
    services
        Whom to ask; by default as the environment has it.

    Raises
    ------
    InputError
        If there is no such earthquake, no ShakeMap, no land, or no clear scene yet (`NoClearSceneError`, which knows
        when the next overpass is due); or if a service cannot be reached.

    Examples
    --------
    >>> from coslide import Services, plan_event
    >>> nobody = Services(comcat_url="http://127.0.0.1:9", stac_url="http://127.0.0.1:9", tries=1)
    >>> plan_event("us2000h8ty", services=nobody)
    Traceback (most recent call last):
        ...
    coslide.errors.InputError: http://127.0.0.1:9: cannot be fetched ([Errno 111] Connection refused)
    """
    require_event_id(event_id)
    with tempfile.TemporaryDirectory() as folder, _asked(options, services) as asked:
        return _plan(asked, find_earthquake(asked.web, asked.services, event_id), Path(folder))[0]


def fetch_event(
    event_id: str, out: Path | str, options: FetchOptions | None = None, services: Services | None = None
) -> FetchPlan:
    """Fetch all that a map of an earthquake needs into a folder, and write its ``event.toml``.

    A fetch that was interrupted goes on: what the manifest knows and is whole is not read again.

    Parameters
    ----------
    event_id, options, services
        As `plan_event`.
    out
        The folder; new, empty, or of an earlier fetch of the same earthquake.

    Raises
    ------
    InputError
        As `plan_event`; if the folder holds something else; or if something cannot be fetched or written.

    Examples
    --------
    >>> from coslide import fetch_event
    >>> fetch_event("event.toml", folder / "event")
    Traceback (most recent call last):
        ...
    coslide.errors.InputError: found 'event.toml', expected the id of an earthquake, such as us2000h8ty
    """
    out = Path(out)
    require_event_id(event_id)
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise InputError(f"{out}: is not empty, and no fetch has written into it; choose another --out")
    with output_folder(out), _asked(options, services) as asked:
        earthquake = find_earthquake(asked.web, asked.services, event_id)
        manifest = Manifest(out, event_id)
        manifest.add(())
        plan, shaking = _plan(asked, earthquake, out)
        for line in plan.lines:
            _log.info(f"{line.part}: {line.chosen}{f' ({line.size_mb:.1f} MB)' if line.size_mb else ''}")
        parts = []
        for part in chain([shaking] if shaking else [], _fetched_parts(asked, plan, manifest)):
            manifest.add(part.files)
            parts.append(part)
        _write_event(plan, parts, manifest)
    return plan


@contextmanager
def _asked(options: FetchOptions | None, services: Services | None) -> Iterator[_Asked]:
    """Open what all requests go through, and the catalog of scenes."""
    services = services or read_services()
    with Web(timeout_s=services.timeout_s, tries=services.tries) as web:
        yield _Asked(web, open_catalog(services, web), options or FetchOptions())


def _plan(asked: _Asked, earthquake: Earthquake, folder: Path) -> tuple[FetchPlan, Part | None]:
    """Choose area, scenes and elevation; the ShakeMap, which the area follows from, is fetched into the folder."""
    web, catalog, options = asked
    services, time = catalog.services, earthquake.time_utc
    shaking = None
    if options.bounds_deg is None or earthquake.shakemap is not None:
        shaking = fetch_shakemap(web, earthquake, folder)
    area = _area(options, folder / "shakemap" / "grid.xml", name=f"ShakeMap of {earthquake.id}")
    _log.info(f"{earthquake.title}: {area.note}")
    dem = plan_dem(catalog, services, area)
    span = time - dt.timedelta(days=options.days_before), time + dt.timedelta(days=options.days_after)
    overpasses = group_overpasses(catalog.search(services.scene_collection, area.bounds_deg, *span))
    choose = partial(choose_scene, overpasses, area, event_time=time, min_clear=options.min_clear)
    scenes, absent = {"post": choose(when="post")}, ""
    try:
        scenes["pre"] = choose(when="pre", orbit=scenes["post"].overpasses[0].orbit)
    except NoClearSceneError as error:
        absent = str(error)
    windows = {when: _windows(choice, area, services) for when, choice in scenes.items()}
    plan = FetchPlan(earthquake, area, scenes, windows, dem, ())
    return plan._replace(lines=_lines(plan, shaking, absent)), shaking


def _area(options: FetchOptions, shakemap: Path, *, name: str) -> Area:
    """Take the area that was given, else that of the shaking."""
    if options.bounds_deg is not None:
        return area_of_bounds(options.bounds_deg, largest_km2=options.largest_km2)
    pga_g = read_shakemap(shakemap).pga_g
    return area_of_shaking(pga_g, least_g=options.pga_g, largest_km2=options.largest_km2, name=name)


def _windows(choice: SceneChoice, area: Area, services: Services) -> tuple[tuple[ItemPlan, ...], ...]:
    """Plan what is read of each item of a scene, for each of its overpasses."""
    with ThreadPoolExecutor(services.at_once) as pool:
        plan = partial(plan_item, area=area, tries=services.tries)
        plans = [list(pool.map(plan, overpass.items)) for overpass in choice.overpasses]
    return tuple(tuple(one for one in of_overpass if one.overlaps) for of_overpass in plans)


def _fetched_parts(asked: _Asked, plan: FetchPlan, manifest: Manifest) -> Iterator[Part]:
    """Fetch what was planned, one source after the other."""
    web, services, folder, earthquake = asked.web, asked.services, manifest.folder, plan.earthquake
    write_json(folder / _AREA, json.loads(shapely.to_geojson(shapely.box(*plan.area.bounds_deg))))
    yield Part({"grid": {"area": folder / _AREA}}, notes=(plan.area.note,))
    for when in plan.scenes:
        yield _scene(plan, when, services, manifest)
    yield write_dem(plan.dem, folder, tries=services.tries, known=manifest.known)
    yield fetch_rain(web, services, area=plan.area, event_time=earthquake.time_utc, folder=folder)
    rupture = folder / "shakemap" / "rupture.json"
    epicentre, known = (earthquake.lon_deg, earthquake.lat_deg), rupture if rupture.is_file() else None
    given = asked.options.faults
    yield fetch_faults(web, services, epicentre=epicentre, rupture=known, given=given, folder=folder)


def _scene(plan: FetchPlan, when: str, services: Services, manifest: Manifest) -> Part:
    """Fetch a scene; of several dates, one is made of them."""
    root, choice, dates = manifest.folder, plan.scenes[when], plan.windows[when]
    folder, known = root / "scenes" / when, dict(manifest.known)
    of_items = {folder / folder_name(item.item.id): item for item in chain(*dates)}
    sizes = {own / file: window.bytes for own, item in of_items.items() for file, window in item.windows.values()}
    files, done = list[Fetched](), 0
    for item in of_items.values():
        for got in write_item(item, folder, root=root, source=_SENTINEL2, services=services, known=known):
            manifest.add([got])
            files.append(got)
            done += sizes.get(root / got.file, 0)
            report_progress(f"scene {_SIDES[when]}", done, sum(sizes.values()))
    products = [[folder / folder_name(one.item.id) / ITEM for one in of_date] for of_date in dates]
    if len(products) == 1:
        keys: dict[str, Any] = {"products": products[0]}
    else:
        scenes = [SceneConfig(products=tuple(of_date)) for of_date in products]
        keys = write_composite(scenes, folder / "composite", root=root, event_time=plan.earthquake.time_utc)
    years = sorted({overpass.sensed.year for overpass in choice.overpasses})
    credit = Attribution(
        source=_SENTINEL2,
        licence="free, full and open (Copernicus Sentinel Data Legal Notice)",
        text=f"Contains modified Copernicus Sentinel data {' and '.join(map(str, years))}",
        address=services.stac_url if services.stac_url.startswith("http") else "",
    )
    note = f"Sentinel-2 of {_days(choice)}: {_in_words(choice)}"
    return Part({f"scenes.{when}": keys}, tuple(files), (credit,), (note,))


def _write_event(plan: FetchPlan, parts: Sequence[Part], manifest: Manifest) -> None:
    """Write the event file, unless a person has changed the one that is there."""
    path, earthquake = manifest.folder / EVENT_FILE, plan.earthquake
    known = manifest.known.get(EVENT_FILE)
    if path.is_file() and (known is None or sha256(path) != known.sha256):
        _log.warning(f"warning: {path} was changed since it was written, and stays as it is")
        return
    about = {"name": earthquake.title, "id": earthquake.id, "time_utc": earthquake.time_utc}
    size = {} if earthquake.magnitude is None else {"magnitude": earthquake.magnitude}
    with whole_output(path) as part:
        part.write_text(event_text(about | size, parts, folder=manifest.folder), encoding="utf-8")
    manifest.add([Fetched.of(path, manifest.folder, address="", source="event file")])


def _lines(plan: FetchPlan, shaking: Part | None, absent: str) -> tuple[PlanLine, ...]:
    """Tell what was chosen."""
    lines = [PlanLine("earthquake", plan.earthquake.title, f"{plan.earthquake.time_utc:%Y-%m-%d %H:%M} UTC")]
    if shaking:
        size = sum(file.bytes for file in shaking.files) / 1e6
        lines.append(PlanLine("shaking", "; ".join(shaking.notes), size_mb=size))
    lines.append(PlanLine("area", plan.area.note))
    for when, name in _SIDES.items():
        if (choice := plan.scenes.get(when)) is not None:
            size = sum(item.bytes for of_date in plan.windows[when] for item in of_date) / 1e6
            lines.append(PlanLine(f"scene {name}", _in_words(choice), _days(choice), size))
    if absent:
        lines.append(PlanLine("scene before", absent))
    lines.append(PlanLine("elevation", "; ".join(plan.dem.notes), size_mb=plan.dem.bytes / 1e6))
    return (*lines, PlanLine("rain", "gauges of GHCN-Daily, else CHIRPS"), PlanLine("fault", "rupture, else GEM"))


def _in_words(choice: SceneChoice) -> str:
    tiles = sum(len(overpass.items) for overpass in choice.overpasses)
    dates = len(choice.overpasses)
    first = choice.overpasses[0]
    orbit = f", relative orbit {first.orbit}" if first.orbit and dates == 1 else ""
    together = f"{dates} dates together, " if dates > 1 else ""
    return f"{together}{choice.clear:.0%} of the area clear, {tiles} tile{'s' if tiles > 1 else ''}{orbit}"


def _days(choice: SceneChoice) -> str:
    days = sorted({f"{overpass.sensed:%Y-%m-%d}" for overpass in choice.overpasses})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
