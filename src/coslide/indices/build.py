"""Building the index cube of an event, one index after the other."""

import datetime as dt
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
import zarr
from numcodecs import Blosc
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS

import coslide
from coslide.errors import InputError
from coslide.event import Event, Faults, Inventory, Scene, Shaking
from coslide.files import Marker, sha256, unwritable_is_named, whole_output
from coslide.grid import cell_size_m, common_grid
from coslide.indices import faults, shaking, terrain
from coslide.indices.cube import BAND_DIMENSION, CUBE_FORMAT
from coslide.labels import NO_CLASS
from coslide.sources import dem, inventory, raster, sentinel2
from coslide.sources.faults import read_traces
from coslide.sources.shaking import read_stations

CHUNK = 512
INTEGER_DEM_SIGMA_PX = 3.0  # the sigma at which curvature from a whole-metre DEM agrees best with the truth


class _Layer(NamedTuple):
    """A variable of the cube: its values, (row, col) or (band, row, col), and its attributes."""

    name: str
    values: NDArray[Any]
    attrs: dict[str, Any]
    bands: list[str] | None = None


def event_grid(event: Event) -> GeoBox:
    """Return the grid of `event`: the ground that the scene after the event and the DEM share.

    Raises
    ------
    InputError
        If a raster cannot be read or has no CRS, they do not overlap, or the CRS asked for is not in metres.
    """
    extents = [raster.raster_extent(band.path, "scenes.post") for band in event.scenes.post.bands.values()]
    extents.append(raster.raster_extent(event.dem.path, "dem"))
    return common_grid(extents, cell_size_m=event.grid.cell_size_m, crs=event.grid.crs)


def fingerprint(event: Event) -> str:
    """Return a hash, 64 hexadecimal digits, of all that decides the values of the cube: source files and settings."""
    sources = {"grid", "scenes", "dem", "shaking", "faults", "inventory"}
    settings = json.dumps(event.model_dump(mode="json", include=sources), sort_keys=True, ensure_ascii=False)
    parts = [coslide.__version__, str(CUBE_FORMAT), settings.replace(f'"{event.root}/', '"')]  # data may be moved
    parts += [sha256(path) for path in _source_files(event)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def build_cube(event: Event, path: Path | str, *, progress: Callable[[str], None] = lambda _: None) -> Path:
    """Return the path of the index cube of `event`, written whole or not at all.

    Parameters
    ----------
    event
        What `coslide.event.read_event` returns.
    path
        The Zarr folder to write; replaced if it exists.
    progress
        Called with the name of each index before it is built.

    Raises
    ------
    InputError
        If a source cannot be read or does not fit the others, or the disk is full.
    """
    path = Path(path)
    grid = event_grid(event)
    with whole_output(path, marker=Marker(".zattrs", "coslide_cube_format")) as part:
        names: list[str] = []
        valid = np.ones(grid.shape, dtype=bool)
        for layer in _layers(event, grid, progress):
            names.append(layer.name)
            if layer.name in {"reflectance_post", "elevation"}:
                valid &= np.isfinite(layer.values).reshape(-1, *grid.shape).all(axis=0)
            _write(part, layer, grid)
        if not valid.any():
            raise InputError(f"{event.file}: no cell has both post-event reflectance and elevation; nothing to map")
        _write(part, _valid_layer(valid), grid)
        zarr.open_group(part, mode="a").attrs.update({"indices": names, "coslide_cube_format": CUBE_FORMAT})
        describe_cube(part, event)
    return path


def describe_cube(path: Path, event: Event) -> None:
    """Return nothing; writes into the cube what `event` is called, how it wants to be trained, and its fingerprint.

    Values are left alone, so that a cube can be kept when only the description of its event has changed.

    Raises
    ------
    InputError
        If the disk is full or the cube cannot be written.
    """
    description = {
        "Conventions": "CF-1.10",
        "title": event.name,
        "event_id": event.id,
        "credit": event.credit,
        "coslide_training": event.training.model_dump_json(exclude_unset=True),
        "coslide_fingerprint": fingerprint(event),
    }
    with unwritable_is_named(path):
        attributes = zarr.open_group(path, mode="r").attrs
        if all(attributes.get(key) == value for key, value in description.items()):
            return
        history = f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ} coslide {coslide.__version__}"
        zarr.open_group(path, mode="a").attrs.update({**description, "history": history})
        zarr.consolidate_metadata(path)


def _layers(event: Event, grid: GeoBox, progress: Callable[[str], None]) -> Iterator[_Layer]:
    progress("reflectance_post")
    yield _reflectance(event.scenes.post, "post", grid, event)
    if event.scenes.pre:
        progress("reflectance_pre")
        pre = _reflectance(event.scenes.pre, "pre", grid, event)
        available = np.isfinite(pre.values).all(axis=0)
        if not available.any():
            raise InputError(f"{event.file}: scenes.pre: has no value on the grid; expected to overlap scenes.post")
        yield pre._replace(values=np.where(available, pre.values, np.float32(np.nan)))
        yield _available_layer(available, pre.attrs)
    progress("terrain")
    yield from _terrain_layers(event, grid)
    if event.shaking:
        progress("pga_class")
        yield _pga_layer(event.shaking, grid, event.root)
    if event.faults:
        progress("fault_distance_class")
        yield _fault_layer(event.faults, grid, event.root)
    if event.inventory:
        progress("landslide")
        yield _label_layer(event.inventory, grid, event.root)


def _reflectance(scene: Scene, when: str, grid: GeoBox, event: Event) -> _Layer:
    names = sentinel2.band_names(scene)
    paths = [scene.bands[name].path for name in names]
    attrs = {
        "role": "index",
        "long_name": f"surface reflectance {when}-event",
        "units": "1",
        "resampling": sentinel2.RESAMPLING.name,
        "acquired": str(scene.date or "not recorded"),
        **_provenance(event.root, *paths),
    }
    return _Layer(f"reflectance_{when}", sentinel2.read_reflectance(scene, grid), attrs, names)


def _available_layer(available: NDArray[np.bool_], attrs: dict[str, Any]) -> _Layer:
    own = {"long_name": "1 where every pre-event band has a value", "classes": 1, "resampling": "none"}
    return _Layer("pre_available", available.astype(np.uint8), {**attrs, **own})


def _terrain_layers(event: Event, grid: GeoBox) -> Iterator[_Layer]:
    # Read with a margin, so that smoothing and 3 x 3 derivatives see real ground beyond the edge of the grid.
    margin = terrain.smoothing_margin_px(event.dem.smoothing_sigma_px or INTEGER_DEM_SIGMA_PX)
    elevation = dem.read_elevation(event.dem, grid.pad(margin))
    sigma_px = event.dem.smoothing_sigma_px
    if sigma_px is None:
        sigma_px = INTEGER_DEM_SIGMA_PX if elevation.integer else 0.0
    shape = terrain.slope_aspect_curvature(terrain.smooth(elevation.metres, sigma_px), cell_size_m(grid))
    inside = (slice(margin, -margin), slice(margin, -margin))
    aspect = terrain.aspect_class(
        shape.aspect_deg[inside], shape.slope_deg[inside], flat_below_deg=event.dem.flat_below_deg
    )
    source = {"role": "index", "resampling": dem.RESAMPLING.name, **_provenance(event.root, event.dem.path)}
    smoothed = {**source, "smoothing_sigma_px": sigma_px}
    yield _Layer(
        "elevation", elevation.metres[inside], {**source, "long_name": "elevation, not smoothed", "units": "m"}
    )
    yield _Layer("slope", shape.slope_deg[inside], {**smoothed, "long_name": "slope (Horn)", "units": "degree"})
    classes = "aspect: 1 flat, 2 N, 3 NE, 4 E, 5 SE, 6 S, 7 SW, 8 W, 9 NW"
    yield _Layer("aspect_class", aspect, {**smoothed, "long_name": classes, "units": "1", "classes": 9})
    curvature = {"long_name": "mean curvature, positive on hilltops", "units": "m-1"}
    yield _Layer("mean_curvature", shape.mean_curvature_per_m[inside], {**smoothed, **curvature})


def _pga_layer(source: Shaking, grid: GeoBox, root: Path) -> _Layer:
    stations, levels_g = read_stations(source), source.levels_g
    pga_g = shaking.pga_field(grid, lon_deg=stations.lon_deg, lat_deg=stations.lat_deg, pga_g=stations.pga_g)
    attrs = {
        "role": "index",
        "long_name": "peak ground acceleration: number of the levels that it reaches",
        "definition": f"levels {', '.join(f'{level:g}' for level in levels_g)} g",
        "units": "1",
        "classes": len(levels_g),
        "resampling": "ordinary kriging of ln PGA on a coarse grid, then bilinear",
        "range_g": [float(pga_g.min()), float(pga_g.max())],
        **_provenance(root, source.stations),
    }
    return _Layer("pga_class", shaking.pga_class(pga_g, levels_g=levels_g), attrs)


def _fault_layer(source: Faults, grid: GeoBox, root: Path) -> _Layer:
    edges_m = tuple(1000.0 * edge for edge in source.edges_km)
    distance_m = faults.fault_distance(read_traces(source.path, grid), grid, reach_m=edges_m[-1])
    attrs = {
        "role": "index",
        "long_name": f"distance to the nearest fault trace, classes 1 to {len(edges_m) + 1}",
        "definition": f"edges {', '.join(f'{edge:g}' for edge in edges_m)} m",
        "units": "1",
        "classes": len(edges_m) + 1,
        "resampling": "Euclidean distance on the grid",
        **_provenance(root, source.path),
    }
    return _Layer("fault_distance_class", faults.distance_class(distance_m, edges_m=edges_m), attrs)


def _label_layer(source: Inventory, grid: GeoBox, root: Path) -> _Layer:
    labels = inventory.read_inventory(source.path, grid, area=source.area)
    paths = [path for path in (source.path, source.area) if path]
    attrs = {
        "role": "label",
        "long_name": "mapped landslides: 0 background, 1 landslide, 255 unknown",
        "units": "1",
        "resampling": "cell centres; polygons without one by touch",
        "polygons": labels.polygons,
        "polygons_burnt_by_touch": labels.reburned,
        **_provenance(root, *paths),
    }
    return _Layer("landslide", labels.mask, attrs)


def _valid_layer(valid: NDArray[np.bool_]) -> _Layer:
    attrs = {"role": "mask", "long_name": "1 where the cell can be mapped", "units": "1"}
    attrs |= {"source": "reflectance_post and elevation", "resampling": "none"}
    return _Layer("valid", valid.astype(np.uint8), attrs)


def _provenance(root: Path, *paths: Path) -> dict[str, list[str]]:
    return {
        "source": [str(path.relative_to(root)) for path in paths],
        "source_sha256": [sha256(path) for path in paths],
    }


def _source_files(event: Event) -> list[Path]:
    found = [band.path for scene in (event.scenes.post, event.scenes.pre) if scene for band in scene.bands.values()]
    found.append(event.dem.path)
    if event.shaking:
        found.append(event.shaking.stations)
    if event.faults:
        found.append(event.faults.path)
    if event.inventory:
        found += [path for path in (event.inventory.path, event.inventory.area) if path]
    return found


def _write(store: Path, layer: _Layer, grid: GeoBox) -> None:
    dims = ("y", "x") if layer.bands is None else (BAND_DIMENSION, "y", "x")
    coords = _coordinates(grid)
    if layer.bands is not None:
        coords[BAND_DIMENSION] = np.array(layer.bands, dtype=str)
    attrs = {**layer.attrs, "grid_mapping": "spatial_ref", "_CRS": {"wkt": coords["spatial_ref"].attrs["crs_wkt"]}}
    variable = xr.Dataset({layer.name: (dims, layer.values, attrs)}, coords=coords)
    encoding: dict[str, Any] = {
        "chunks": (1,) * (len(dims) - 2) + tuple(min(CHUNK, size) for size in grid.shape),
        "compressors": Blosc(cname="zstd", clevel=3, shuffle=Blosc.SHUFFLE),
    }
    encoding["_FillValue"] = np.float32(np.nan) if layer.values.dtype.kind == "f" else np.uint8(NO_CLASS)
    # Zarr 2: GDAL and QGIS read it everywhere, Zarr 3 only in the newest releases.
    variable.to_zarr(store, mode="a", zarr_format=2, encoding={layer.name: encoding}, consolidated=False)


def _coordinates(grid: GeoBox) -> dict[str, Any]:
    """Return cell centres and CRS as xarray, rioxarray and the CF conventions want them (GDAL reads ``_CRS``)."""
    crs, affine = CRS.from_user_input(str(grid.crs)), grid.affine
    x = affine.c + affine.a * (np.arange(grid.shape.x) + 0.5)
    y = affine.f + affine.e * (np.arange(grid.shape.y) + 0.5)
    mapping = {**crs.to_cf(), "GeoTransform": " ".join(str(number) for number in affine.to_gdal())}
    return {
        "y": ("y", y, {"standard_name": "projection_y_coordinate", "units": "m"}),
        "x": ("x", x, {"standard_name": "projection_x_coordinate", "units": "m"}),
        "spatial_ref": xr.DataArray(0, attrs=mapping),
    }
