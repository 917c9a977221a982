"""What lies around the landslides of a map: shapes for the eye, each kind a layer of ``context.gpkg``."""

import math
from pathlib import Path
from typing import NamedTuple

import geopandas as gpd
import numpy as np
import pyogrio
import rasterio.features
import shapely
from odc.geo.geobox import GeoBox
from shapely.geometry import shape
from skimage.measure import find_contours

from coslide.config.event import Event
from coslide.cube.cube import Cube
from coslide.io.atomic import whole_output
from coslide.io.qgis import Outline, outline_style, write_layer_style
from coslide.io.vector import read_polygons
from coslide.mapping.probability_map import ProbabilityMap
from coslide.report import images
from coslide.samples.footprint import is_held_out
from coslide.sources.geology import read_traces
from coslide.sources.inventory import inventory_files

CONTEXT = "context.gpkg"
_AROUND_M = 20_000.0  # how far beyond the map faults are drawn
_MOST_CONTOURS = 10
_CONTOUR_STEPS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # [g]; by the last, up to 5 g
_WIDEST_PX = 600  # of the raster that contours are drawn from: shaking is smooth


class Look(NamedTuple):
    """A layer of ``context.gpkg``: name and heading for people, what it shows, how it is drawn, if it is at first."""

    title: str
    group: str
    about: str
    outline: Outline
    polygons: bool
    shown: bool

    @property
    def style(self) -> str:
        """As QGIS writes it (QML)."""
        return outline_style(self.outline, polygons=self.polygons)


LOOKS = {
    "mapped": Look(
        "Mapped landslides",
        group="Landslides",
        about="Landslides of the inventory, as they are in its file.",
        outline=Outline((86, 180, 233), 0.4, bordered=False),
        polygons=True,
        shown=True,
    ),
    "mapped_area": Look(
        "Mapped area",
        group="Landslides",
        about="Where the inventory was mapped.",
        outline=Outline((0, 114, 178), 0.5, dashed=True),
        polygons=True,
        shown=False,
    ),
    "held_out": Look(
        "Held-out area",
        group="Landslides",
        about="Kept from the training of the model: only here is a score fair.",
        outline=Outline((0, 0, 0), 0.5, dashed=True),
        polygons=True,
        shown=True,
    ),
    "faults": Look(
        "Faults",
        group="Earthquake",
        about="Traces of faults, on the map and up to 20 km around it.",
        outline=Outline((213, 94, 0), 0.7),
        polygons=False,
        shown=True,
    ),
    "shaking": Look(
        "Shaking",
        group="Earthquake",
        about="Peak ground acceleration in g, as lines of equal value.",
        outline=Outline((204, 121, 167), 0.5, label="\"pga_g\" || ' g'"),
        polygons=False,
        shown=False,
    ),
}
"""In the order of drawing, from above."""


def write_context(out: Path, cube: Cube, found: ProbabilityMap, event: Event | None = None) -> list[str]:
    """Write ``context.gpkg``, with its styles for QGIS, and name its layers in the order of `LOOKS`.

    Parameters
    ----------
    out
        Folder of the map; where nothing lies around, an older file is removed.
    cube, found
        What was mapped, and its map.
    event
        Brings faults and mapped landslides; None where only the cube is known.

    Raises
    ------
    InputError
        If a file of the event cannot be read, another program has the older file open, or it cannot be written.
    """
    layers = {
        "held_out": _held_out(found),
        "shaking": shaking_contours(cube),
        **(_of_event(event, cube.grid) if event else {}),
    }
    names = [name for name in LOOKS if name in layers and not layers[name].empty]
    path = out / CONTEXT
    if not names:
        path.unlink(missing_ok=True)
        return []
    with whole_output(path) as part:
        for name in names:
            options = {} if part.exists() else {"dataset_options": {"VERSION": "1.2"}}  # GDAL before 3.7 warns of 1.4
            kind = "MultiPolygon" if LOOKS[name].polygons else "MultiLineString"
            form = {"geometry_type": kind, "promote_to_multi": True}
            pyogrio.write_dataframe(layers[name], part, layer=name, driver="GPKG", **form, **options)
        for name in names:
            write_layer_style(part, name, LOOKS[name].style, about=LOOKS[name].about)
    return names


def _of_event(event: Event, grid: GeoBox) -> dict[str, gpd.GeoDataFrame]:
    """Read what the files of an event have for eyes only; each was read for the cube, so it can be."""
    found = {}
    if event.inventory:
        mapped, area = inventory_files(event.inventory)
        found["mapped"] = _numbered(read_polygons(mapped, grid, what="landslide polygons").frame)
        if area is not None:
            found["mapped_area"] = _numbered(read_polygons(area, grid, what="polygons of the mapped area").frame)
    if event.faults:
        traces = gpd.GeoSeries(read_traces(event.faults, grid).lines, crs=str(grid.crs))
        near = traces.clip_by_rect(*grid.boundingbox.buffered(_AROUND_M))
        found["faults"] = gpd.GeoDataFrame(geometry=near[near.length > 0])
    return found


def _numbered(frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Keep shapes and the number of each in its file, from 1; fields of any kind and name are left behind."""
    numbers = frame.index.to_numpy() + 1
    return gpd.GeoDataFrame({"number": numbers}, geometry=frame.geometry.to_numpy(), crs=frame.crs)


def _held_out(found: ProbabilityMap) -> gpd.GeoDataFrame:
    """Outline where a score is fair, where that is not everywhere."""
    held_out = is_held_out(found.seen)
    if held_out.all() or not held_out.any():
        return gpd.GeoDataFrame(geometry=[], crs=str(found.grid.crs))
    outlines = rasterio.features.shapes(held_out.astype(np.uint8), mask=held_out, transform=found.grid.affine)
    parts = [shape(outline) for outline, _ in outlines]
    return gpd.GeoDataFrame(geometry=[shapely.MultiPolygon(parts)], crs=str(found.grid.crs))


def shaking_contours(cube: Cube) -> gpd.GeoDataFrame:
    """Draw lines of equal peak ground acceleration, ``pga_g``, at round values; none where the cube has no shaking."""
    lines, levels_g = [], []
    if "pga" in cube:
        step = images.step_of(cube.shape, _WIDEST_PX)
        pga = images.thumbnail(cube.to_xarray()["pga"], step)
        for level_g in _levels(pga.low, pga.high) if pga.valid and min(pga.image.shape) > 1 else ():
            found = find_contours(pga.image.astype(np.float64), level_g)  # type: ignore[no-untyped-call]
            for places in found:
                row, column = step * (places.T + 0.5)
                lines.append(shapely.linestrings(*(cube.grid.affine @ (column, row))))
                levels_g.append(level_g)
    return gpd.GeoDataFrame({"pga_g": levels_g}, geometry=lines, crs=str(cube.grid.crs))


def _levels(low: float, high: float) -> list[float]:
    """Choose at most 10 round values between two, or none where they are nearly the same."""
    for step in _CONTOUR_STEPS:
        first, last = math.ceil(low / step), math.floor(high / step)
        if last - first < _MOST_CONTOURS:
            return [round(number * step, 3) for number in range(first, last + 1)]
    return []
