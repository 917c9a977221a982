"""Elevation around an area: windows of the tiles of the Copernicus DEM, as they are stored."""

import errno
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox
from odc.geo.geom import BoundingBox
from pystac import Asset, Item
from rasterio.warp import transform_bounds
from rasterio.windows import Window

from coslide.acquisition.records import Area, Fetched, Part
from coslide.config.event import Attribution
from coslide.config.services import Services
from coslide.errors import InputError
from coslide.grid import overlap_slices
from coslide.io.atomic import report_write_errors, whole_output
from coslide.io.http import HTTP, redact_url
from coslide.io.raster import grid_of, open_raster, require_few_pixels
from coslide.progress import report_progress
from coslide.sources.bands import open_band, product_driver

SOURCE = "Copernicus DEM GLO-30"
RIM_KM = 1.0
"""How far beyond the area elevation is fetched: slopes look at their surroundings."""

_KM_PER_DEGREE = 111.0  # a little less than anywhere, so that the rim is no narrower
_NEAREST_POLE_DEG = 89.0
_MOST_PIXELS = 2**28
_TAG = "SOURCE_OF_WINDOW"
_LICENCE = "licence of the Copernicus DEM GLO-30 (ESA), free of charge for everybody"
_NOTICE = (
    "produced using Copernicus WorldDEM-30 © DLR e.V. 2010-2014 and © Airbus Defence and Space GmbH 2014-2018 "
    "provided under COPERNICUS by the European Union and ESA; all rights reserved. The organisations in charge of the "
    "Copernicus programme by law or by delegation do not incur any liability for any use of the Copernicus WorldDEM-30"
)

Bounds = tuple[float, float, float, float]


class OceanError(InputError):
    """There is only sea."""


class Searched(Protocol):
    """What is asked of a catalog."""

    def search(self, collection: str, bounds_deg: Bounds, start: Any, end: Any) -> Sequence[Item]:
        """Find the items of a collection that meet the bounds."""


class DemTile(NamedTuple):
    """A tile of the elevation model, and what of it is fetched.

    Attributes
    ----------
    name
        Of the file that it becomes.
    href
        A path or address, which may hold a secret.
    rows, cols
        What is read of it.
    geobox
        Where these pixels lie.
    bytes
        Of the compressed blocks that they are in.
    """

    name: str
    href: str
    rows: slice
    cols: slice
    geobox: GeoBox
    bytes: int


class DemPlan(NamedTuple):
    """The tiles to fetch, and lines for people."""

    tiles: tuple[DemTile, ...]
    notes: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Sum what is read of all tiles."""
        return sum(tile.bytes for tile in self.tiles)


def plan_dem(catalog: Searched, services: Services, area: Area) -> DemPlan:
    """Find the tiles of the elevation model around an area, and what of each is needed.

    Parameters
    ----------
    catalog
        Searched for ``services.dem_collection``; its items are tiles, with the heights as the asset ``data``.
    services
        Which collection it is.
    area
        Elevation is wanted on it and `RIM_KM` around.

    Raises
    ------
    OceanError
        If there is no tile: the sea has none.
    InputError
        If the catalog cannot be searched, or a tile cannot be read.
    """
    bounds = _with_rim(area.bounds_deg)
    found = {_file_name(item): item for item in catalog.search(services.dem_collection, bounds, start=None, end=None)}
    hrefs = {name: _heights_of(item).href for name, item in sorted(found.items())}
    tiles = [tile for name, href in hrefs.items() if (tile := _plan_tile(name, href, bounds))]
    if not tiles:
        west, south, east, north = area.bounds_deg
        place = f"longitude {west:.2f} to {east:.2f}, latitude {south:.2f} to {north:.2f}"
        raise OceanError(f"{services.dem_collection}: found no elevation within {place}, only sea; expected some land")
    notes = [f"{SOURCE}: {len(tiles)} tile{'s' if len(tiles) > 1 else ''}"]
    if missing := _missing_share(tiles, bounds):
        why = "sea, or tiles that are not released (Armenia, Azerbaijan)"
        notes.append(f"no elevation on {missing:.0%} of the area and its rim: {why}")
    return DemPlan(tuple(tiles), tuple(notes))


def write_dem(plan: DemPlan, folder: Path) -> Part:
    """Fetch the elevation of a plan into ``dem/`` of the folder of an event, values as they are stored.

    A tile that is there from an earlier call is not read again.

    Raises
    ------
    InputError
        If a tile cannot be read or written.
    """
    files, paths = [], []
    for done, tile in enumerate(plan.tiles, start=1):
        path = folder / "dem" / tile.name
        if not _is_there(path, tile):
            _write_tile(tile, path)
        files.append(Fetched.of(path, folder, address=tile.href, source=SOURCE))
        paths.append(path)
        report_progress(SOURCE, done, len(plan.tiles))
    address = redact_url(plan.tiles[0].href) if plan.tiles[0].href.startswith(HTTP) else ""
    credit = Attribution(source=SOURCE, licence=_LICENCE, text=_NOTICE, address=address)
    return Part({"dem": {"path": paths}}, tuple(files), (credit,), plan.notes)


def window_of(dataset: Any, bounds_deg: Bounds, *, name: str) -> tuple[slice, slice]:
    """Find the rows and columns of an opened raster that cover an area; empty where the two do not meet.

    Parameters
    ----------
    dataset
        An opened raster of any CRS.
    bounds_deg
        West, south, east and north of the area.
    name
        What messages call the raster.

    Raises
    ------
    InputError
        As `coslide.io.raster.grid_of`; or if they are too many to be read.
    """
    wanted = GeoBox.from_bbox(BoundingBox(*bounds_deg, crs="EPSG:4326"), shape=(16, 16), tight=True)
    rows, cols = overlap_slices(grid_of(dataset, name=name), wanted)
    require_few_pixels(name, (rows.stop - rows.start, cols.stop - cols.start), most=_MOST_PIXELS)
    return rows, cols


def _with_rim(bounds_deg: Bounds) -> Bounds:
    west, south, east, north = bounds_deg
    high = RIM_KM / _KM_PER_DEGREE
    wide = high / math.cos(math.radians(min(max(abs(south), abs(north)) + high, _NEAREST_POLE_DEG)))
    return max(west - wide, -180.0), max(south - high, -90.0), min(east + wide, 180.0), min(north + high, 90.0)


def _file_name(item: Item) -> str:
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', item.id)[:100]}.tif"


def _heights_of(item: Item) -> Asset:
    """Find the asset that holds the heights: ``data``, else the only GeoTIFF."""
    rasters = [one for one in item.assets.values() if one.href.partition("?")[0].lower().endswith((".tif", ".tiff"))]
    found = item.assets.get("data") or (rasters[0] if len(rasters) == 1 else None)
    if found is None:
        raise InputError(f"{item.id}: found the assets {', '.join(item.assets)}, expected data, the elevation")
    return found


def _plan_tile(name: str, href: str, bounds_deg: Bounds) -> DemTile | None:
    with open_band(href, product_driver(href)) as dataset:
        rows, cols = window_of(dataset, bounds_deg, name=redact_url(href))
        if rows.start == rows.stop:
            return None  # it only touches the bounds
        size = sum(map(int, _block_sizes(dataset, rows, cols)))
        return DemTile(name, href, rows, cols, grid_of(dataset, name=redact_url(href))[rows, cols], size)


def _block_sizes(dataset: Any, rows: slice, cols: slice) -> list[str]:
    """List the sizes of the compressed blocks of a GeoTIFF, as the file states them, that hold some pixels."""
    down, across = dataset.block_shapes[0]
    places = [
        (row, col)
        for row in range(rows.start // down, -(-rows.stop // down))
        for col in range(cols.start // across, -(-cols.stop // across))
    ]
    return [dataset.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=1) or "0" for row, col in places]


def _missing_share(tiles: Sequence[DemTile], bounds_deg: Bounds) -> float:
    """Compute which share of the bounds no tile covers; below 0.5 % it is but the rim of pixels."""
    west, south, east, north = bounds_deg
    covered = 0.0
    for tile in tiles:
        left, bottom, right, top = transform_bounds(str(tile.geobox.crs), "EPSG:4326", *tile.geobox.boundingbox.bbox)
        width, height = min(east, right) - max(west, left), min(north, top) - max(south, bottom)
        covered += max(width, 0.0) * max(height, 0.0)
    missing = 1 - covered / ((east - west) * (north - south))
    return missing if missing > 0.005 else 0.0


def _is_there(path: Path, tile: DemTile) -> bool:
    """Tell whether an earlier call left this window of this tile; files appear whole or not at all."""
    if not path.is_file():
        return False
    try:
        with open_raster(path) as dataset:
            return bool(grid_of(dataset) == tile.geobox) and dataset.tags().get(_TAG) == _mark(tile)
    except InputError:
        return False


def _mark(tile: DemTile) -> str:
    """Tell what a window is of, for people and for `_is_there`; of a local path, the name alone."""
    own = redact_url(tile.href) if tile.href.startswith(HTTP) else Path(tile.href).name
    return f"{own}, rows {tile.rows.start} to {tile.rows.stop - 1}, columns {tile.cols.start} to {tile.cols.stop - 1}"


def _write_tile(tile: DemTile, path: Path) -> None:
    """Read a window of a tile, and write its stored values as a GeoTIFF of the same type and nodata value."""
    with open_band(tile.href, product_driver(tile.href)) as dataset:
        values = dataset.read(1, window=Window.from_slices(tile.rows, tile.cols))
        profile = {"dtype": dataset.dtypes[0], "nodata": dataset.nodata, "crs": dataset.crs}
        scale, offset = dataset.scales[0], dataset.offsets[0]
    height, width = values.shape
    place = {"height": height, "width": width, "count": 1, "transform": tile.geobox.affine}
    layout = {"driver": "GTiff", "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"}
    predictor = 3 if values.dtype.kind == "f" else 2
    with whole_output(path) as part, report_write_errors(path, needed_bytes=values.nbytes + 2**16):
        with rasterio.open(part, "w", predictor=predictor, **layout, **place, **profile) as file:
            file.write(values, 1)
            file.scales, file.offsets = (scale,), (offset,)
            file.update_tags(**{_TAG: _mark(tile)})
        with rasterio.open(part) as file:  # GDAL does not report a disk that fills while a file is closed
            if not np.array_equal(file.read(1), values, equal_nan=values.dtype.kind == "f"):
                raise OSError(errno.EIO, "does not read back as it was written", str(path))
