"""The parts of a cube: what an event has, from which files, and the key of each.

A key is a hash of what decides the values of a part: the grid, the settings and source files it is computed from, the
parts that it reads, and the version of coslide. (The libraries that computed it are recorded, not part of the key.)
"""

import datetime as dt
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pydantic import BaseModel

import coslide
from coslide.config.event import Event
from coslide.crs import utm_zone
from coslide.cube.band import YES_NO, Band
from coslide.cube.cube import CUBE_FORMAT
from coslide.cube.store import LayerGroup, Store
from coslide.errors import InputError
from coslide.grid import Extent, common_grid, join_extents
from coslide.indices.coregister import measure_scene_shift
from coslide.indices.geology import prepare_fault_distance, prepare_stratum
from coslide.indices.landslides import prepare_landslides
from coslide.indices.rainfall import prepare_rainfall
from coslide.indices.shaking import prepare_shaking
from coslide.indices.spectral import When, ndvi_infrared, ndvi_roles, prepare_ndvi_difference, prepare_scene
from coslide.indices.terrain import prepare_terrain
from coslide.io.atomic import sha256
from coslide.io.paths import with_sidecar_files
from coslide.io.raster import raster_extent
from coslide.io.shapes import POLYGONS
from coslide.io.vector import VectorFile, read_vector
from coslide.sources.sentinel2 import SceneReader, open_scene

Days = tuple[dt.date, dt.date] | None
_LONG_AFTER = dt.timedelta(days=366)


class LayerSpec(NamedTuple):
    """A part of the cube of an event, before anything is read.

    Attributes
    ----------
    name
        Such as ``"terrain"``.
    prepare
        Prepares its layer group. It may read what the parts named in `after` have written.
    settings
        What decides its values besides the files: tables of the event file and what JSON holds.
    files
        The local files it is computed from, with those that are read beside them.
    looks_at
        Other local files that decide its values.
    remote
        The addresses that it reads; their metadata are among the settings.
    after
        The parts that it reads.
    spread
        Whether its windows are work enough to be given to other processes.
    """

    name: str
    prepare: Callable[[Store], LayerGroup]
    settings: Any
    files: tuple[Path, ...] = ()
    looks_at: tuple[Path, ...] = ()
    remote: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    spread: bool = False


class EventScenes(NamedTuple):
    """The opened scenes of an event, the grid of its cube, and lines of warning for the log."""

    post: SceneReader
    pre: SceneReader | None
    grid: GeoBox
    warnings: tuple[str, ...]


def open_event_scenes(event: Event) -> EventScenes:
    """Open the scenes of `event`, and compute the grid that the post-event scene, the DEM and the area asked for cover.

    Where the scene consists of Sentinel-2 tiles, the edges of the grid lie on edges of their 60 m pixels.

    Raises
    ------
    InputError
        If a source cannot be read or has no CRS, they do not overlap, or the CRS asked for is not in metres; or if the
        scenes were taken in another order than before and after the event.
    """
    post = open_scene(event.scenes.post, root=event.root)
    pre = open_scene(event.scenes.pre, root=event.root) if event.scenes.pre else None
    warnings = _check_order(event, post.days, pre.days if pre else None)
    of_dem = join_extents("dem", [raster_extent(path, "dem") for path in event.dem.paths])
    extents = [join_extents("scenes.post", post.extents()), of_dem]
    if event.grid.area is not None:
        extents.insert(0, _area_extent(VectorFile.of(event.grid.area, event.grid, "grid.area_")))
    zones = {utm_zone(extent.crs) for extent in post.extents()}
    crs = event.grid.crs or (zones.pop() if len(zones) == 1 else None)  # in its own UTM zone nothing need be warped
    grid = common_grid(extents, pixel_size_m=event.grid.pixel_size_m, crs=crs, lattice=post.lattice())
    return EventScenes(post, pre, grid, tuple(warnings))


def _check_order(event: Event, post: Days, pre: Days) -> list[str]:
    """Check that the scenes were taken before and after the event, as far as days tell; list what is odd."""
    odd = [] if event.time_utc is None else _check_against_event(event, event.time_utc.date(), post, pre)
    if post and pre and pre[0] > post[1]:
        found = f"found {pre[0]}, after scenes.post of {post[1]}"
        raise InputError(f"{event.file}: scenes.pre: {found}, expected the earlier scene; exchange them if so")
    if post and pre and pre[1] >= post[0]:
        odd.append(f"scenes.pre: taken on {pre[1]}, and scenes.post on {post[0]}: they may be the same scene")
    if post and pre and post[0] - pre[1] > 2 * _LONG_AFTER:
        years = (post[0] - pre[1]) / _LONG_AFTER
        odd.append(f"scenes.pre: taken on {pre[1]}, {years:.1f} years before scenes.post: other changes lie between")
    return [f"warning: {line}" for line in odd]


def _check_against_event(event: Event, day: dt.date, post: Days, pre: Days) -> list[str]:
    """Check the days of the scenes against that of the event; both may be local or of UTC, so a day is in doubt."""
    doubt, odd = dt.timedelta(days=1), []
    if pre and pre[0] > day + doubt:
        found = f"found {pre[0]}, after the event of {day} (time_utc)"
        raise InputError(f"{event.file}: scenes.pre: {found}, expected a scene before it")
    if post and post[1] < day - doubt:
        found = f"{post[1]}, before the event of {day} (time_utc)"
        if pre:
            raise InputError(f"{event.file}: scenes.post: found {found}, expected a scene after it")
        # One date against one time: which of the two is wrong is not certain.
        odd.append(f"scenes.post: taken on {found}: it cannot show its landslides")
    elif post and post[0] <= day:
        odd.append(f"scenes.post: taken on {post[0]}, the event was on {day}: it may show what was before")
    if pre and pre[1] >= day:
        odd.append(f"scenes.pre: taken on {pre[1]}, the event was on {day}: it may show what came after")
    if post and post[0] - day > _LONG_AFTER:
        years = (post[0] - day) / _LONG_AFTER
        odd.append(f"scenes.post: taken on {post[0]}, {years:.1f} years after the event: later changes are in it")
    return odd


def layer_specs(event: Event, scenes: EventScenes) -> list[LayerSpec]:
    """List the parts of the cube of `event`, in the order of the cube."""
    specs = _scene_specs(event, scenes)

    def add(name: str, prepare: Callable[..., LayerGroup], config: Any, *paths: Path | None, **settings: Any) -> None:
        files = tuple(file for path in paths if path is not None for file in with_sidecar_files(path))
        compute = partial(prepare, config, scenes.grid, **settings)
        specs.append(LayerSpec(name, lambda _: compute(), [config, settings], files))

    add("terrain", prepare_terrain, event.dem, *event.dem.paths)
    if geology := event.geology:
        add("geology", prepare_stratum, geology, geology.path)
    if rain := event.rain:
        add("rain", prepare_rainfall, rain, rain.path, event_time=event.time_utc)
    if shaking := event.shaking:
        add("shaking", prepare_shaking, shaking, shaking.path, shaking.uncertainty, shaking.raster_std)
    if faults := event.faults:
        add("faults", prepare_fault_distance, faults, faults.path)
    if inventory := event.inventory:
        add("landslides", prepare_landslides, inventory, inventory.path, inventory.area)
    source = {"source": ["reflectance_post", "elevation"], "resampling": "none"}
    band = Band("valid", role="mask", long_name="the pixel can be mapped", provenance=source, **YES_NO)
    after = ("scene_post", "terrain")
    valid = LayerSpec("valid", lambda store: LayerGroup((band,), (), partial(_valid, store)), None, after=after)
    return [*specs, valid]


def layer_keys(parts: Sequence[LayerSpec], event: Event, grid: GeoBox) -> dict[str, str]:
    """Compute the key of each part, 64 hexadecimal digits."""
    keys: dict[str, str] = {}
    for part in sorted(parts, key=lambda part: bool(part.after)):
        decides = {
            "coslide": coslide.__version__,
            "format": CUBE_FORMAT,
            "part": part.name,
            "grid": [str(grid.crs), *grid.affine[:6], *grid.shape],
            "settings": part.settings,
            "files": [sha256(path) for path in part.files + part.looks_at],
            "remote": part.remote,
            "after": [keys[name] for name in part.after],
        }
        text = json.dumps(decides, sort_keys=True, ensure_ascii=False, default=_as_json)
        text = text.replace(f'"{event.root}/', '"')  # data may be moved
        text = re.sub(r'(https?://[^"?]*)\?[^"]*', r"\1", text)  # and an address signed anew
        keys[part.name] = hashlib.sha256(text.encode()).hexdigest()
    return keys


def _scene_specs(event: Event, scenes: EventScenes) -> list[LayerSpec]:
    """List the parts that are computed from the scenes alone."""
    (post, pre, grid, _), asked = scenes, event.scenes.coregister
    role, role_of_difference = ndvi_roles(event.ndvi, has_pre=pre is not None)

    def scene_spec(reader: SceneReader, when: When, settings: list[Any], looks_at: tuple[Path, ...]) -> LayerSpec:
        def prepare(_: Store) -> LayerGroup:
            reader.check_radiometry(grid)
            measured = when == "pre" and asked != "off"
            shift = measure_scene_shift(reader, post, grid, apply=asked == "auto") if measured else None
            return prepare_scene(reader, when, shift=shift, ndvi_role=role, resampling=settings[0].resampling)

        decides = [*settings, reader.remote_metadata]
        return LayerSpec(f"scene_{when}", prepare, decides, reader.files, looks_at, reader.remote, spread=True)

    # Whether there is a scene before decides the role of NDVI.
    specs = [scene_spec(post, "post", [event.scenes.post, role], ())]
    if pre is None:
        return specs
    # Co-registration reads the other scene too.
    both = [event.scenes, post.remote_metadata] if asked != "off" else []
    specs.append(scene_spec(pre, "pre", [event.scenes.pre, event.ndvi, *both], post.files if both else ()))
    if ndvi_infrared(set(pre.band_names) & set(post.band_names)):
        after = ("scene_post", "scene_pre")
        difference = partial(prepare_ndvi_difference, role=role_of_difference)
        specs.append(LayerSpec("ndvi_difference", difference, event.ndvi, after=after))
    return specs


def _valid(store: Store, window: GeoBox) -> dict[str, NDArray[Any]]:
    """Compute where a pixel can be mapped: the post-event scene and the elevation have a value there."""
    # Reflectance has a value in all bands or in none.
    valid = np.isfinite(store.read("reflectance_post", window, band=0))
    valid &= np.isfinite(store.read("elevation", window))
    return {"valid": valid.astype(np.uint8)}


def _as_json(value: object) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)


def _area_extent(area: VectorFile) -> Extent:
    """Find the rectangle around an area; across the 180th meridian its longitudes go on beyond 180."""
    path, frame = area.path, read_vector(area, "EPSG:4326", what="polygons of the area to map", kinds=POLYGONS)
    west, south, east, north = frame.bounds.to_numpy().T
    if east.max() - west.min() > 180:  # the parts beyond the meridian, by features or by parts of them
        west, _, east, _ = (bounds := frame.explode().bounds.to_numpy()).T
        turn = np.where(bounds[:, [0, 2]].mean(axis=1) < 0, 360.0, 0.0)
        west, east = west + turn, east + turn
    if east.max() - west.min() > 180:
        raise InputError(f"{path}: found polygons more than half way round the Earth, expected an area to map")
    bounds_deg = (float(west.min()), float(south.min()), float(east.max()), float(north.max()))
    return Extent(f"grid.area ({path})", "EPSG:4326", bounds_deg)
