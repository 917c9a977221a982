"""Elevation around an area: windows of the tiles of the Copernicus DEM, as they are stored."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pystac import Asset, Item
from rasterio.warp import transform_bounds

from coslide.acquisition.records import Area, Bounds, Fetched, Part
from coslide.acquisition.windows import RasterWindow, is_there, plan_window, write_window
from coslide.config.event import Attribution
from coslide.config.services import Services
from coslide.errors import InputError
from coslide.io.http import HTTP, redact_url
from coslide.progress import report_progress

SOURCE = "Copernicus DEM GLO-30"
RIM_KM = 1.0
"""How far beyond the area elevation is fetched: slopes look at their surroundings."""

_KM_PER_DEGREE = 111.0  # a little less than anywhere, so that the rim is no narrower
_NEAREST_POLE_DEG = 89.0
_LICENCE = "licence of the Copernicus DEM GLO-30 (ESA), free of charge for everybody"
_NOTICE = (
    "produced using Copernicus WorldDEM-30 © DLR e.V. 2010-2014 and © Airbus Defence and Space GmbH 2014-2018 "
    "provided under COPERNICUS by the European Union and ESA; all rights reserved. The organisations in charge of the "
    "Copernicus programme by law or by delegation do not incur any liability for any use of the Copernicus WorldDEM-30"
)


class OceanError(InputError):
    """There is only sea."""


class Searched(Protocol):
    """What is asked of a catalog."""

    def search(self, collection: str, bounds_deg: Bounds, start: Any, end: Any) -> Sequence[Item]:
        """Find the items of a collection that meet the bounds."""


class DemPlan(NamedTuple):
    """The windows to fetch by the names of their files, and lines for people."""

    windows: dict[str, RasterWindow]
    notes: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Sum what is read of all tiles."""
        return sum(window.bytes for window in self.windows.values())


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
    planned = {name: plan_window(href, bounds, tries=services.tries) for name, href in hrefs.items()}
    windows = {name: window for name, window in planned.items() if window is not None}
    if not windows:
        west, south, east, north = area.bounds_deg
        place = f"longitude {west:.2f} to {east:.2f}, latitude {south:.2f} to {north:.2f}"
        raise OceanError(f"{services.dem_collection}: found no elevation within {place}, only sea; expected some land")
    notes = [f"{SOURCE}: {len(windows)} tile{'s' if len(windows) > 1 else ''}"]
    if missing := _missing_share(windows.values(), bounds):
        why = "sea, or tiles that are not released (Armenia, Azerbaijan)"
        notes.append(f"no elevation on {missing:.0%} of the area and its rim: {why}")
    return DemPlan(windows, tuple(notes))


def write_dem(plan: DemPlan, folder: Path, *, tries: int = 5, known: Mapping[str, Fetched] | None = None) -> Part:
    """Fetch the elevation of a plan into ``dem/`` of the folder of an event, values as they are stored.

    Parameters
    ----------
    plan
        Of `plan_dem`.
    folder
        Of the event.
    tries
        How often a server is asked for something.
    known
        What an earlier fetch left, by the paths in `folder`; it is not read again.

    Raises
    ------
    InputError
        If a tile cannot be read or written.
    """
    files, paths = [], []
    for done, (name, window) in enumerate(plan.windows.items(), start=1):
        path = folder / "dem" / name
        if not is_there(path, window, (known or {}).get(f"dem/{name}")):
            write_window(window, path, tries=tries)
        files.append(Fetched.of(path, folder, address=window.href, source=SOURCE))
        paths.append(path)
        report_progress(SOURCE, done, len(plan.windows))
    href = next(iter(plan.windows.values())).href
    address = redact_url(href) if href.startswith(HTTP) else ""
    credit = Attribution(source=SOURCE, licence=_LICENCE, text=_NOTICE, address=address)
    return Part({"dem": {"path": paths}}, tuple(files), (credit,), plan.notes)


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


def _missing_share(windows: Iterable[RasterWindow], bounds_deg: Bounds) -> float:
    """Compute which share of the bounds no tile covers; below 0.5 % it is but the rim of pixels."""
    west, south, east, north = bounds_deg
    covered = 0.0
    for window in windows:
        left, bottom, right, top = transform_bounds(
            str(window.geobox.crs), "EPSG:4326", *window.geobox.boundingbox.bbox
        )
        width, height = min(east, right) - max(west, left), min(north, top) - max(south, bottom)
        covered += max(width, 0.0) * max(height, 0.0)
    missing = 1 - covered / ((east - west) * (north - south))
    return missing if missing > 0.005 else 0.0
