"""Building the index cube of an event: part by part, window by window, and only what has changed."""

import datetime as dt
import functools
import hashlib
import json
import logging
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import rasterio
import zarr
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning

import coslide
from coslide.config.event import Event
from coslide.cube.band import by_variable
from coslide.cube.cube import CUBE_FORMAT
from coslide.cube.layer import LayerGroup
from coslide.cube.store import CHUNK, NOTHING, Entry, Span, Store, recorded
from coslide.errors import InputError
from coslide.indices.event_layers import LayerSpec, layer_keys, layer_specs, open_event_scenes
from coslide.io.atomic import Marker, report_write_errors, resumed_output, sha256
from coslide.io.executor import available_processors, map_unordered
from coslide.memory import peak_memory_gb, restart_peak
from coslide.progress import report_progress

_log = logging.getLogger(__name__)


CUBE = Marker(".zattrs", "coslide_cube_format")
WINDOW_ROWS = 2 * CHUNK  # as high as the tiles that JPEG 2000 bands of Sentinel-2 consist of
WINDOW_COLUMNS = 24 * CHUNK


class _Build(NamedTuple):
    """A build under way: what stands at its place already, where the new cube is written, and what computes it."""

    old: Path
    store: Store
    root: Path
    keys: dict[str, str]
    executor: Executor | None


class _Ready(NamedTuple):
    """A part whose sources are read and found good, and the time and memory that this took."""

    part: LayerSpec
    family: LayerGroup
    wall_s: float
    peak_gb: float


class _Place(NamedTuple):
    """Rows from `top` to before `bottom`, columns from `left` to before `right`."""

    top: int
    bottom: int
    left: int
    right: int


class _Work(NamedTuple):
    """What every window of a part needs: sent once to each process."""

    family: LayerGroup
    store: Store


def event_grid(event: Event) -> GeoBox:
    """Return the grid of `event`: the ground of its post-event scene, its DEM and the area it asks for.

    Raises
    ------
    InputError
        If a raster cannot be read or has no CRS, they do not overlap, or the CRS asked for is not in metres.
    """
    return open_event_scenes(event).grid


def build_cube(event: Event, path: Path | str, *, executor: Executor | None = None) -> Path:
    """Return the path of the index cube of `event`; only what is not there yet, or has changed, is computed.

    While it is built the cube lies under a hidden name beside `path`. A build that was killed leaves it, and the next
    one goes on from the parts that were whole. An older cube at `path` stays as it is until the new one takes its
    place, and hands over the parts whose sources and settings are the same.

    Parameters
    ----------
    event
        What `coslide.config.event.read_event` returns.
    path
        The Zarr folder to write.
    executor
        What computes, as `coslide.io.executor.open_executor` opens it; None takes threads of this process. The values
        are the same to the bit.

    Raises
    ------
    InputError
        If a source cannot be read or does not fit the others, the disk is full, or another process is writing `path`.
    """
    path = Path(path)
    scenery = open_event_scenes(event)
    parts = layer_specs(event, scenery)
    keys = layer_keys(parts, event, scenery.grid)
    rows, columns = scenery.grid.shape
    _log.info(f"grid: {rows} x {columns} cells of {event.grid.pixel_size_m:g} m, {scenery.grid.crs}")
    store = Store(path, scenery.grid)
    if (
        CUBE.is_in(path)
        and store.lies_on_grid_of(path)
        and {name: entry.key for name, entry in recorded(path).items()} == keys
    ):
        describe_cube(path, event)
        _log.info(f"{path}: kept, its sources and settings have not changed")
        return path
    keep = resumed_output(path, marker=CUBE, worth_keeping=lambda folder: bool(recorded(folder)))
    with keep as folder, warnings.catch_warnings():
        # rasterio silences this one for itself, but in a way that threads undo for each other.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        store = Store(folder, scenery.grid)
        store.open_group()
        build = _Build(path, store, event.root, keys, executor)
        # All sources are looked at before anything is computed: what is wrong with one shows at once.
        todo = [_prepared(build, part) for part in parts if not _stands_already(build, part)]
        todo.sort(key=lambda ready: bool(ready.part.after), reverse=True)
        while todo:
            _compute(build, todo.pop())  # and forget it, with the memory that it holds
        store.keep_only([part.name for part in parts])
        _require_ground(store, event)
        names = [name for part in parts for name in recorded(folder)[part.name].variables]
        zarr.open_group(folder, mode="r+").attrs.update({"indices": names, CUBE.key: CUBE_FORMAT})
        describe_cube(folder, event)
    return path


def describe_cube(path: Path, event: Event) -> None:
    """Return nothing; writes into the cube what `event` is called, how it wants to be trained, and its fingerprint.

    Values are left alone, so that a cube can be kept when only the description of its event has changed; it is then
    changed in place.

    Raises
    ------
    InputError
        If the disk is full or the cube cannot be written.
    """
    keys = {name: entry.key for name, entry in recorded(path).items()}
    description = {
        "Conventions": "CF-1.10",
        "title": event.name,
        "event_id": event.id,
        "event_time_utc": event.time_utc.isoformat() if event.time_utc else "",
        "event_magnitude": event.magnitude,
        "credit": event.credit,
        "simulated": int(event.simulated),
        "coslide_training": event.training.model_dump_json(exclude_unset=True),
        "coslide_fingerprint": _fingerprint(keys),
    }
    with report_write_errors(path):
        attributes = zarr.open_group(path, mode="r").attrs
        consolidated = (path / ".zmetadata").is_file()  # not after a kill just before
        if consolidated and all(attributes.get(key) == value for key, value in description.items()):
            return
        history = f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ} coslide {coslide.__version__}"
        zarr.open_group(path, mode="a").attrs.update({**description, "history": history})
        zarr.consolidate_metadata(path)


def _stands_already(build: _Build, part: LayerSpec) -> bool:
    """Return whether `part` is whole in the store: kept there, or taken over from the older cube."""
    key = build.keys[part.name]
    if _key_of(part, build.store.path) == key:
        _log.info(f"{part.name}: kept from a build that was interrupted")
        return True
    if _key_of(part, build.old) == key and build.store.lies_on_grid_of(build.old):
        build.store.take_over(part.name, build.old)
        _log.info(f"{part.name}: not changed")
        return True
    return False


def _prepared(build: _Build, part: LayerSpec) -> _Ready:
    restart_peak()
    started = time.monotonic()
    family = part.prepare(build.store)
    for line in family.notes:
        _log.info(f"{part.name}: {line}")
    return _Ready(part, family, time.monotonic() - started, peak_memory_gb(since_restart=True))


def _compute(build: _Build, ready: _Ready) -> None:
    """Leave the variables of a prepared part whole in the store."""
    restart_peak()
    started = time.monotonic()
    part, family = ready.part, ready.family
    spans = _computed(build, part, family)
    provenance = _provenance(part, build.root)
    variables = by_variable(family.bands)
    for name, bands in variables.items():
        build.store.finish(bands, provenance, spans[name])
    names = tuple(variables)
    build.store.record(part.name, Entry(build.keys[part.name], names))
    wall_s, peak_gb = ready.wall_s + time.monotonic() - started, max(ready.peak_gb, peak_memory_gb(since_restart=True))
    here = " in this process" if build.executor and part.spread else ""
    _log.info(f"{part.name}: {', '.join(names)} in {wall_s:.1f} s, peak memory {peak_gb:.1f} GB{here}")


def _key_of(part: LayerSpec, cube: Path) -> str:
    entry = recorded(cube).get(part.name)
    return entry.key if entry else ""


def _computed(build: _Build, part: LayerSpec, family: LayerGroup) -> dict[str, list[Span]]:
    """Return the spans of the bands of each variable, whose values are written into the store."""
    variables = by_variable(family.bands)
    for bands in variables.values():
        build.store.create(bands)
    spans = {name: [NOTHING] * len(bands) for name, bands in variables.items()}
    places = list(_places(build.store.grid))
    report_progress(part.name, 0, len(places))
    with ThreadPoolExecutor(available_processors()) as threads:
        executor = build.executor if build.executor and part.spread else threads
        computed = map_unordered(executor, _compute_window, _Work(family, build.store), places)
        for done, (_, found) in enumerate(computed, start=1):
            for name, of_window in found.items():
                spans[name] = [old.joined(new) for old, new in zip(spans[name], of_window, strict=True)]
            report_progress(part.name, done, len(places))
    return spans


def _compute_window(work: _Work, place: _Place) -> dict[str, list[Span]]:
    window = work.store.grid[place.top : place.bottom, place.left : place.right]
    values = work.family.compute(window)
    variables = by_variable(work.family.bands)
    return {name: work.store.write(bands, values.pop(name), window) for name, bands in variables.items()}


def _places(grid: GeoBox) -> Iterator[_Place]:
    """Return the windows that the grid is computed in; they hold whole chunks, so no two write to the same one."""
    height, width = grid.shape
    for top in range(0, height, WINDOW_ROWS):
        for left in range(0, width, WINDOW_COLUMNS):
            yield _Place(top, min(top + WINDOW_ROWS, height), left, min(left + WINDOW_COLUMNS, width))


def _provenance(part: LayerSpec, root: Path) -> dict[str, Any]:
    """Return where the values of a part come from, as every variable of it says."""
    made = {"computed": f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ}", "libraries": _libraries()}
    if not part.files and not part.remote:
        return made
    return {
        **made,
        "source": [str(path.relative_to(root)) for path in part.files] + list(part.remote),
        "source_sha256": [sha256(path) for path in part.files],
    }


@functools.cache
def _libraries() -> str:
    """Return the versions of what computes values, as ``"coslide 0.1.0, GDAL 3.10.3, ..."``."""
    names = ("numpy", "rasterio", "pyproj", "scipy", "odc-geo", "pykrige", "edt", "numba")
    found = [f"{name} {version(name)}" for name in names]
    return ", ".join([f"coslide {coslide.__version__}", f"GDAL {rasterio.__gdal_version__}", *found])


def _require_ground(store: Store, event: Event) -> None:
    if "scene_pre" in recorded(store.path) and not store.reaches("pre_available", 1):
        raise InputError(f"{event.file}: scenes.pre: has no value on the grid; expected to overlap scenes.post")
    if not store.reaches("valid", 1):
        raise InputError(f"{event.file}: no cell has both post-event reflectance and elevation; nothing to map")


def _fingerprint(keys: dict[str, str]) -> str:
    text = json.dumps(dict(sorted(keys.items())))
    return hashlib.sha256(text.encode()).hexdigest()
