"""``coslide watch``: one look at the catalogue for new earthquakes, what can be mapped, and what each waits for."""

import datetime as dt
import logging
from functools import partial
from pathlib import Path
from typing import Literal

from coslide.acquisition.comcat import Earthquake, NoShakeMapError, list_earthquakes
from coslide.acquisition.elevation import OceanError
from coslide.acquisition.overpasses import NoClearSceneError
from coslide.config.fetching import FetchOptions
from coslide.config.records import StrictModel, read_record
from coslide.config.services import Services, read_services
from coslide.errors import InputError
from coslide.io.atomic import write_json
from coslide.io.http import Web
from coslide.io.outputs import output_folder
from coslide.pipeline.fetch import plan_event

_log = logging.getLogger(__name__)

STATE = "watch.json"
_FORMAT = 1
_FOR_GOOD = {"mapped", "sea"}

State = Literal["ready", "mapped", "waits", "sea", "failed"]


class Watched(StrictModel):
    """An earthquake, and how far its map is."""

    id: str
    """Its id."""
    title: str
    """Magnitude and place."""
    time_utc: dt.datetime
    """When it was."""
    state: State
    """`ready` to be mapped, `mapped`, `waits` for a ShakeMap or a scene, only `sea`, or `failed`."""
    told: str
    """What it waits for, what could be fetched, or what failed."""
    next_overpass: dt.datetime | None = None
    """When the next overpass is due, where it waits for a scene."""
    looked_utc: dt.datetime
    """When it was looked at last."""


class _Memory(StrictModel):
    coslide_watch: int = _FORMAT
    earthquakes: tuple[Watched, ...] = ()


def watch_earthquakes(
    out: Path | str,
    options: FetchOptions | None = None,
    services: Services | None = None,
    *,
    min_magnitude: float = 6.5,
    run_ready: bool = False,
) -> list[Watched]:
    """Look once at the earthquakes of the last weeks, and tell which can be mapped, and what the others wait for.

    Parameters
    ----------
    out
        Folder of ``watch.json``, which remembers what was mapped, and of the maps.
    options
        How large areas are, and which scenes are taken; earthquakes are looked at for `days_after` days.
    services
        Whom to ask; by default as the environment has it.
    min_magnitude
        Smaller earthquakes are left out.
    run_ready
        Map what is ready, each into the folder of its id, with the model of coslide's own that fits best.

    Returns
    -------
    list of Watched
        The newest first. What failed is told, and tried again by the next look.

    Raises
    ------
    InputError
        If the catalogue cannot be asked, or the folder not be written.

    Examples
    --------
    >>> from coslide import Services, watch_earthquakes
    >>> watch_earthquakes(folder / "watch", services=Services(comcat_url="http://127.0.0.1:9", tries=1))
    Traceback (most recent call last):
        ...
    coslide.errors.InputError: http://127.0.0.1:9/query: cannot be fetched ([Errno 111] Connection refused)
    """
    out, options, services = Path(out), options or FetchOptions(), services or read_services()
    now = _now()
    with output_folder(out):
        path = out / STATE
        memory = read_record(path, _Memory, advice="remove it to begin anew") if path.exists() else _Memory()
        known = {one.id: one for one in memory.earthquakes}
        with Web(timeout_s=services.timeout_s, tries=services.tries) as web:
            since = now - dt.timedelta(days=options.days_after)
            found = list_earthquakes(web, services, min_magnitude=min_magnitude, since=since)
        for earthquake in found:
            if earthquake.id in known and known[earthquake.id].state in _FOR_GOOD:
                continue
            seen = _look(earthquake, options, services, now)
            if seen.state == "ready" and run_ready:
                seen = _map(seen, out / earthquake.id)
            _log.info(f"{seen.title}: {seen.state}, {seen.told}")
            known[earthquake.id] = seen
            write_json(path, _Memory(earthquakes=tuple(known.values())).model_dump(mode="json"))
    return sorted(known.values(), key=lambda one: one.time_utc, reverse=True)


def _look(earthquake: Earthquake, options: FetchOptions, services: Services, now: dt.datetime) -> Watched:
    """Find out whether an earthquake can be mapped."""
    about = partial(Watched, id=earthquake.id, title=earthquake.title, time_utc=earthquake.time_utc, looked_utc=now)
    try:
        plan = plan_event(earthquake.id, options, services)
    except OceanError as error:
        return about(state="sea", told=str(error))
    except NoShakeMapError as error:
        return about(state="waits", told=str(error))
    except NoClearSceneError as error:
        return about(state="waits", told=str(error), next_overpass=error.next_due)
    except InputError as error:
        return about(state="failed", told=str(error))
    size_mb = sum(line.size_mb or 0.0 for line in plan.lines)
    post = next(line for line in plan.lines if line.part == "scene after")
    return about(state="ready", told=f"scene of {post.date}, {post.chosen}; {size_mb:,.0f} MB to fetch")


def _map(seen: Watched, folder: Path) -> Watched:
    """Map an earthquake; what fails is told."""
    from coslide.pipeline.run import run  # brings torch, which a look does not need

    try:
        run(seen.id, folder, resume=folder.is_dir())
    except InputError as error:
        return seen.model_copy(update={"state": "failed", "told": str(error)})
    return seen.model_copy(update={"state": "mapped", "told": f"{folder / 'report.html'}"})


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
