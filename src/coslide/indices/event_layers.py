"""The parts of a cube: what an event has, from which files, and the key of each.

A key is a hash of what decides the values of a part: the grid, the settings and source files it is computed from, the
parts that it reads, and the version of coslide. (The libraries that computed it are recorded, not part of the key.)
"""

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
from coslide.config.schema import SceneConfig
from coslide.cube.band import Band
from coslide.cube.cube import CUBE_FORMAT
from coslide.cube.layer import LayerGroup
from coslide.cube.store import Store
from coslide.errors import InputError
from coslide.grid import Extent, common_grid, join_extents, utm_zone
from coslide.indices.coregister import coregistration
from coslide.indices.faults import prepare_fault_distance
from coslide.indices.geology import prepare_stratum
from coslide.indices.landslides import prepare_landslides
from coslide.indices.rainfall import prepare_rainfall
from coslide.indices.shaking import prepare_shaking
from coslide.indices.spectral import ndvi_roles, prepare_ndvi_difference, prepare_scene
from coslide.indices.terrain import prepare_terrain
from coslide.io.atomic import sha256
from coslide.io.raster import raster_extent
from coslide.io.sidecar_files import with_sidecar_files
from coslide.io.vector import read_vector
from coslide.sources.sentinel2 import SceneReader, open_scene


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
    """The opened scenes of an event, and the grid of its cube."""

    post: SceneReader
    pre: SceneReader | None
    grid: GeoBox


def open_event_scenes(event: Event) -> EventScenes:
    """Open the scenes of `event`, and compute the grid that the post-event scene, the DEM and the area asked for cover.

    Where the scene consists of Sentinel-2 tiles, the edges of the grid lie on edges of their 60 m pixels.

    Raises
    ------
    InputError
        If a source cannot be read or has no CRS, they do not overlap, or the CRS asked for is not in metres.
    """
    post = open_scene(event.scenes.post, root=event.root)
    pre = open_scene(event.scenes.pre, root=event.root) if event.scenes.pre else None
    extents = [join_extents("scenes.post", post.extents())]
    extents.append(join_extents("dem", [raster_extent(path, "dem") for path in event.dem.paths]))
    if event.grid.area is not None:
        extents.insert(0, _area_extent(event.grid.area))
    zones = {utm_zone(extent.crs) for extent in post.extents()}
    crs = event.grid.crs or (zones.pop() if len(zones) == 1 else None)  # in its own UTM zone nothing need be warped
    grid = common_grid(extents, pixel_size_m=event.grid.pixel_size_m, crs=crs, lattice=post.lattice())
    return EventScenes(post, pre, grid)


def layer_specs(event: Event, scenes: EventScenes) -> list[LayerSpec]:
    """List the parts of the cube of `event`, in the order of the cube."""
    specs, grid = [_post_spec(event, scenes)], scenes.grid
    if event.scenes.pre and scenes.pre:
        specs.append(_pre_spec(event, event.scenes.pre, scenes, scenes.pre))
        if {"B4", "B8"} <= set(scenes.pre.band_names):
            specs.append(_ndvi_difference_spec(event))

    def add(
        name: str, prepare: Callable[[], LayerGroup], settings: Any, *paths: Path | None, spread: bool = False
    ) -> None:
        files = tuple(file for path in paths if path is not None for file in with_sidecar_files(path))
        specs.append(LayerSpec(name, lambda _: prepare(), settings, files, spread=spread))

    add("terrain", lambda: prepare_terrain(event.dem, grid), event.dem, *event.dem.paths)
    if geology := event.geology:
        add("geology", lambda: prepare_stratum(geology, grid), geology, geology.path)
    if rain := event.rain:
        time = event.time_utc
        prepare = partial(prepare_rainfall, rain, grid, event_time=time)
        add("rain", prepare, [rain, time], rain.gauges, rain.raster)
    if shaking := event.shaking:
        paths = (shaking.shakemap, shaking.uncertainty, shaking.raster, shaking.raster_std)
        add("shaking", lambda: prepare_shaking(shaking, grid), shaking, *paths, shaking.contours, shaking.stations)
    if faults := event.faults:
        add("faults", lambda: prepare_fault_distance(faults, grid), faults, faults.path)
    if inventory := event.inventory:
        add("landslides", lambda: prepare_landslides(inventory, grid), inventory, inventory.path, inventory.area)
    return [*specs, _valid_spec()]


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


def _post_spec(event: Event, scenes: EventScenes) -> LayerSpec:
    reader, scene = scenes.post, event.scenes.post
    role = ndvi_roles(event.ndvi, has_pre=scenes.pre is not None).date

    def prepare(_: Store) -> LayerGroup:
        reader.check_radiometry(scenes.grid)
        attrs = {"resampling": scene.resampling}
        return prepare_scene(reader, "post", grid=scenes.grid, ndvi_role=role, attrs=attrs)

    settings = [scene, role, reader.remote_metadata]  # whether there is a scene before decides the role of NDVI
    return LayerSpec("scene_post", prepare, settings, reader.files, remote=reader.remote, spread=True)


def _pre_spec(event: Event, scene: SceneConfig, scenes: EventScenes, reader: SceneReader) -> LayerSpec:
    grid, role = scenes.grid, ndvi_roles(event.ndvi, has_pre=True).date

    def prepare(_: Store) -> LayerGroup:
        reader.check_radiometry(grid)
        shift = coregistration(event.scenes.coregister, reader, scenes.post, grid)
        attrs = {"resampling": scene.resampling}
        return prepare_scene(reader, "pre", grid=grid, shift=shift, ndvi_role=role, attrs=attrs)

    settings = [scene, event.ndvi, reader.remote_metadata]
    spec = LayerSpec("scene_pre", prepare, settings, reader.files, remote=reader.remote, spread=True)
    if event.scenes.coregister == "off":
        return spec
    # Co-registration reads the other scene too.
    settings += [event.scenes, scenes.post.remote_metadata]
    return spec._replace(looks_at=scenes.post.files)


def _ndvi_difference_spec(event: Event) -> LayerSpec:
    def prepare(store: Store) -> LayerGroup:
        role = ndvi_roles(event.ndvi, has_pre=True).difference
        return prepare_ndvi_difference(partial(store.read, "ndvi_pre"), partial(store.read, "ndvi_post"), role=role)

    return LayerSpec("ndvi_difference", prepare, event.ndvi, after=("scene_post", "scene_pre"))


def _valid_spec() -> LayerSpec:
    band = Band(
        "valid",
        kind="flag",
        class_names=("no", "yes"),
        first_class=0,
        role="mask",
        long_name="the pixel can be mapped",
        provenance={"source": ["reflectance_post", "elevation"], "resampling": "none"},
    )
    after = ("scene_post", "terrain")
    return LayerSpec("valid", lambda store: LayerGroup((band,), (), partial(_valid, store)), None, after=after)


def _valid(store: Store, window: GeoBox) -> dict[str, NDArray[Any]]:
    """Compute where a pixel can be mapped: the post-event scene and the elevation have a value there."""
    # Reflectance has a value in all bands or in none.
    valid = np.isfinite(store.read("reflectance_post", window, band=0))
    valid &= np.isfinite(store.read("elevation", window))
    return {"valid": valid.astype(np.uint8)}


def _as_json(value: object) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)


def _area_extent(path: Path) -> Extent:
    frame = read_vector(path, "EPSG:4326", what="the area to map")
    west, south, east, north = (float(edge) for edge in frame.total_bounds)
    if east - west > 180:
        raise InputError(f"{path}: lies on both sides of the 180th meridian; map each side for itself")
    return Extent(f"grid.area ({path})", "EPSG:4326", (west, south, east, north))
