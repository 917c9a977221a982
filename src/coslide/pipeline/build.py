"""Building the index cube of an event: part by part, window by window, and only what has changed."""

import datetime as dt
import functools
import hashlib
import json
import logging
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
import zarr
from odc.geo.geobox import GeoBox, GeoboxTiles
from rasterio.errors import NotGeoreferencedWarning

import coslide
from coslide.config.event import Event
from coslide.cube.band import Band, by_variable
from coslide.cube.cube import CUBE_FORMAT, open_cube
from coslide.cube.store import CHUNK, NOTHING, Entry, LayerGroup, Span, Store, recorded
from coslide.cube.stored import lost_chunks
from coslide.errors import InputError
from coslide.indices.event_layers import LayerSpec, layer_keys, layer_specs, open_event_scenes
from coslide.io.atomic import Marker, report_write_errors, require_replaceable, sha256, whole_output
from coslide.io.executor import available_processors, map_unordered
from coslide.io.outputs import output_folder
from coslide.memory import peak_memory_gb, restart_peak
from coslide.progress import report_progress

_log = logging.getLogger(__name__)


CUBE = Marker(".zattrs", "coslide_cube_format")
WINDOW_ROWS = 2 * CHUNK  # as high as the tiles that JPEG 2000 bands of Sentinel-2 consist of
WINDOW_COLUMNS = 24 * CHUNK


class _Ready(NamedTuple):
    """A part whose sources are read and found good, and the time and memory that this took."""

    spec: LayerSpec
    group: LayerGroup
    wall_s: float
    peak_gb: float


def build_cube(
    event: Event,
    path: Path | str,
    *,
    executor: Executor | None = None,
    require: Callable[[Sequence[Band]], object] | None = None,
) -> Path:
    """Build the index cube of `event`; only what is not there yet, or has changed, is computed.

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
        Computes the windows (`coslide.io.executor.open_executor`); None takes threads of this process. The values are
        the same to the bit.
    require
        Is given the bands of a new cube as soon as all sources are read, before anything is computed; what it raises
        ends the build.

    Raises
    ------
    InputError
        If a source cannot be read or does not fit the others, the disk is full, or another process is writing `path`.

    Examples
    --------
    >>> from coslide import open_cube, read_event
    >>> open_cube(build_cube(read_event(event_file), folder / "index.zarr")).title
    'Made-up earthquake'
    """
    path = Path(path)
    require_replaceable(path, CUBE)
    with output_folder((path.resolve() if path.is_dir() else path).parent):
        return _build(event, path, executor, require)


def _build(
    event: Event, path: Path, executor: Executor | None, require: Callable[[Sequence[Band]], object] | None
) -> Path:
    """Build the cube where it can be written."""
    scenes = open_event_scenes(event)
    for line in scenes.warnings:
        _log.info(line)
    specs, grid = layer_specs(event, scenes), scenes.grid
    keys = layer_keys(specs, event, grid)
    _log.info(f"grid: {grid.shape.y} x {grid.shape.x} pixels of {event.grid.pixel_size_m:g} m, {grid.crs}")
    old = _reusable(path, grid)
    if CUBE.is_in(path) and old == keys:
        describe_cube(path, event)
        _log.info(f"{path}: kept, its sources and settings have not changed")
        return path
    keep = whole_output(path, marker=CUBE, worth_resuming=lambda folder: bool(recorded(folder)))
    with keep as folder, warnings.catch_warnings():
        # rasterio silences this one for itself, but in a way that threads undo for each other.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        store = Store(folder, grid)
        store.open_group()
        whole, todo = _keys_of(folder), []
        for spec in specs:  # all sources are read before anything is computed: what is wrong with one shows at once
            if whole.get(spec.name) == keys[spec.name]:
                _log.info(f"{spec.name}: kept from a build that was interrupted")
            elif old.get(spec.name) == keys[spec.name]:
                store.take_over(spec.name, path)
                _log.info(f"{spec.name}: not changed")
            else:
                todo.append(_prepare(spec, store))
        if require is not None and len(todo) == len(specs):
            require([band for ready in todo for band in ready.group.bands])
        todo.sort(key=lambda ready: bool(ready.spec.after), reverse=True)
        while todo:  # and forget each, with the memory that it holds
            ready = todo.pop()
            variables = _compute(ready, store, event.root, executor)
            store.record(ready.spec.name, Entry(keys[ready.spec.name], variables))
            del ready
        store.keep_only([spec.name for spec in specs])
        _require_valid(store, event)
        names = [name for spec in specs for name in recorded(folder)[spec.name].variables]
        zarr.open_group(folder, mode="r+").attrs.update({"indices": names, CUBE.key: CUBE_FORMAT})
        describe_cube(folder, event)
    return path


def describe_cube(path: Path, event: Event) -> None:
    """Write into the cube what `event` is called, its training settings, and the fingerprint of the cube.

    Values are left alone, so that a cube can be kept when only the description of its event has changed; it is then
    changed in place.

    Raises
    ------
    InputError
        If the disk is full or the cube cannot be written.
    """
    keys = json.dumps(dict(sorted(_keys_of(path).items())))
    description = {
        "Conventions": "CF-1.10",
        "title": event.name,
        "event_id": event.id,
        "event_time_utc": event.time_utc.isoformat() if event.time_utc else "",
        "event_magnitude": event.magnitude,
        "credit": event.credit_line,
        "attributions": json.dumps([one.model_dump() for one in event.attributions], ensure_ascii=False),
        "simulated": int(event.simulated),
        "coslide_training": event.training.model_dump_json(exclude_unset=True),
        "coslide_fingerprint": hashlib.sha256(keys.encode()).hexdigest(),
    }
    with report_write_errors(path):
        attributes = zarr.open_group(path, mode="r").attrs
        kept = (path / ".zmetadata").is_file()  # not after a kill just before it was written
        if kept and all(attributes.get(key) == value for key, value in description.items()):
            return
        history = f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ} coslide {coslide.__version__}"
        zarr.open_group(path, mode="a").attrs.update({**description, "history": history})
        zarr.consolidate_metadata(path)


def _keys_of(cube: Path) -> dict[str, str]:
    return {name: entry.key for name, entry in recorded(cube).items()}


def _reusable(path: Path, grid: GeoBox) -> dict[str, str]:
    """Find the keys of the parts that an older cube can hand over; none where it lies elsewhere or is damaged."""
    if not CUBE.is_in(path):
        return {}
    try:
        open_cube(path)
    except InputError as error:
        _log.info(f"warning: nothing is taken over from the older cube ({error})")
        return {}
    if not Store(path, grid).lies_on_grid_of(path):
        return {}
    return {
        name: entry.key
        for name, entry in recorded(path).items()
        if not any(lost_chunks(path / one, zarr.open_array(path / one, mode="r")) for one in entry.variables)
    }


def _prepare(spec: LayerSpec, store: Store) -> _Ready:
    restart_peak()
    started = time.monotonic()
    group = spec.prepare(store)
    for line in group.notes:
        _log.info(f"{spec.name}: {line}")
    return _Ready(spec, group, time.monotonic() - started, peak_memory_gb(since_restart=True))


def _compute(ready: _Ready, store: Store, root: Path, executor: Executor | None) -> tuple[str, ...]:
    """Compute a prepared part, leave its variables whole in the store, and list them."""
    restart_peak()
    started = time.monotonic()
    spec, bands = ready.spec, ready.group.bands
    store.create(bands)
    # They hold whole chunks, so no two write to the same one.
    tiles = GeoboxTiles(store.grid, (WINDOW_ROWS, WINDOW_COLUMNS))
    windows: list[Any] = [tiles[row, col] for row, col in np.ndindex(*tiles.shape)]
    spans = [NOTHING] * len(bands)
    report_progress(spec.name, 0, len(windows))
    with ThreadPoolExecutor(available_processors()) as threads:
        own = executor if executor and spec.spread else threads
        computed = map_unordered(own, _compute_window, (ready.group, store), windows)
        for done, (_, found) in enumerate(computed, start=1):
            spans = [one.joined(other) for one, other in zip(spans, found, strict=True)]
            report_progress(spec.name, done, len(windows))
    made: dict[str, Any] = {"computed": f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ}", "libraries": _libraries()}
    if spec.files or spec.remote:
        made["source"] = [str(path.relative_to(root)) for path in spec.files] + list(spec.remote)
        made["source_sha256"] = [sha256(path) for path in spec.files]
    store.finish(bands, made, spans)
    wall_s, peak_gb = ready.wall_s + time.monotonic() - started, max(ready.peak_gb, peak_memory_gb(since_restart=True))
    here = " in this process" if executor and spec.spread else ""
    names = tuple(by_variable(bands))
    _log.info(f"{spec.name}: {', '.join(names)} in {wall_s:.1f} s, peak memory {peak_gb:.1f} GB{here}")
    return names


def _compute_window(shared: tuple[LayerGroup, Store], window: GeoBox) -> list[Span]:
    group, store = shared
    return store.write(group.bands, group.compute(window), window)


@functools.cache
def _libraries() -> str:
    """List the versions of what computes values, as ``"coslide 0.1.0, GDAL 3.10.3, ..."``."""
    names = ("numpy", "rasterio", "pyproj", "scipy", "odc-geo", "pykrige", "edt", "numba")
    own = (f"coslide {coslide.__version__}", f"GDAL {rasterio.__gdal_version__}")
    return ", ".join([*own, *(f"{name} {version(name)}" for name in names)])


def _require_valid(store: Store, event: Event) -> None:
    if "scene_pre" in recorded(store.path) and not store.reaches("pre_available", 1):
        raise InputError(f"{event.file}: scenes.pre: has no value on the grid; expected to overlap scenes.post")
    if not store.reaches("valid", 1):
        found = "no pixel has both a clear reflectance after the event and an elevation"
        why = "clouds (by the SCL) and nodata do not count"
        raise InputError(f"{event.file}: {found} ({why}); expected a clearer scene or a wider DEM")
