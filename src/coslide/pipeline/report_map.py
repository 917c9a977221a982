"""The map of a report: its layers, from the cube and the map of a run, as the page takes them."""

from pathlib import Path
from typing import Any, NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio.features
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from scipy import ndimage

from coslide.cube.cube import Cube
from coslide.errors import InputError
from coslide.evaluation.thresholds import NO_VALUE, levels_of, threshold_table, thresholds_around
from coslide.io.paths import file_exists
from coslide.io.shapes import POLYGONS
from coslide.io.vector import read_vector
from coslide.labels import LANDSLIDE, NODATA
from coslide.mapping.attributes import LandslideContext
from coslide.mapping.inventory import PACKAGE, label_landslides, vectorize_landslides
from coslide.mapping.probability_map import ProbabilityMap
from coslide.pipeline.context import shaking_contours
from coslide.report import images
from coslide.report.web_pictures import WIDEST_PX, level_picture, picture
from coslide.report.web_shapes import place_mesh, vector_layer
from coslide.samples.footprint import is_held_out

Mask = NDArray[np.bool_]

_UNITS = {"_m2": "m²", "_m": "m", "_deg": "°", "_g": "g"}
_OUTLINE_PX = 1024  # that areas are drawn from
_OF_MAPPED = ("probability", "uncertainty", "scene_", "area_geodesic")


class Judged(NamedTuple):
    """What a map can be judged by.

    Attributes
    ----------
    mapped
        Mapped landslides, bool (row, col); None without an inventory.
    known
        Where landslides were looked for, bool (row, col); None without an inventory.
    held_out
        Pixels that training did not see, bool (row, col).
    judged
        Those of them with a value that the inventory, if there is one, tells of.
    """

    mapped: Mask | None
    known: Mask | None
    held_out: Mask
    judged: Mask


def judge(found: ProbabilityMap, cube: Cube | None) -> Judged:
    """Find where a map can be judged."""
    labels = cube.labels if cube and "landslide" in cube else None
    held_out, judged = is_held_out(found.seen), np.isfinite(found.probability)
    judged &= held_out
    if labels is None:
        return Judged(None, None, held_out, judged)
    return Judged(labels == LANDSLIDE, labels != NODATA, held_out, judged & (labels != NODATA))


def delivered_landslides(folder: Path, found: ProbabilityMap) -> gpd.GeoDataFrame:
    """Read the landslides that are delivered, with ``id`` and ``area_m2``, or draw those of the map where none are.

    Raises
    ------
    InputError
        If the file cannot be read, or a landslide has no area.
    """
    path = folder / PACKAGE
    if not file_exists(path):
        return vectorize_landslides(found.probability, found.grid, threshold=found.threshold)
    frame = read_vector(path, str(found.grid.crs), what="landslide polygons", kinds=POLYGONS, may_be_empty=True)
    frame["area_m2"] = pd.to_numeric(frame.get("area_m2", frame.geometry.area), errors="coerce").astype(np.float64)
    if not (frame["area_m2"] > 0).all() or np.isinf(frame["area_m2"]).any():
        raise InputError(f"{path}: area_m2: found what is no area, expected m2 above 0; map again")
    numbers = pd.to_numeric(frame.get("id", pd.Series(index=frame.index, dtype=float)), errors="coerce")
    usable = numbers.notna().all() and numbers.is_unique and (numbers % 1 == 0).all() and (numbers.abs() < 2**53).all()
    frame["id"] = numbers.astype(np.int64) if usable else np.arange(1, len(frame) + 1)
    return frame


def map_content(
    cube: Cube | None, found: ProbabilityMap | None, landslides: gpd.GeoDataFrame | None, judged: Judged | None
) -> dict[str, Any]:
    """Collect all that the map of a page shows, as JSON holds it.

    Parameters
    ----------
    cube, found
        At least one of them.
    landslides, judged
        From `delivered_landslides` and `judge`, where there is a map.

    Returns
    -------
    dict
        ``mesh`` (`coslide.report.web_shapes.place_mesh`), ``pictures``, ``shapes``, ``epicentre`` (longitude and
        latitude, or None), ``words`` and ``colours``; with a map ``thresholds``
        (`coslide.evaluation.thresholds.ThresholdTable`) and ``own``, the place of the map's threshold in it.
    """
    grid = found.grid if found else cube.grid if cube else None
    if grid is None:
        raise ValueError("expected a cube or a map")
    content: dict[str, Any] = {
        "mesh": place_mesh(grid),
        "pictures": scene_pictures(cube) if cube else {},
        "shapes": _context_shapes(cube) if cube else {},
        "epicentre": _epicentre(cube) if cube else None,
        "colours": {"recognised": images.ORANGE, "mapped": images.SKY, "ramp": list(images.PROBABILITY)},
    }
    if found is not None and landslides is not None and judged is not None:
        thresholds = thresholds_around(found.threshold)
        levels = levels_of(found.probability, thresholds)
        content["pictures"]["levels"] = level_picture(np.where(levels == NO_VALUE, levels, levels + 1), grid)
        table = threshold_table(levels, thresholds, mapped=judged.mapped, judged=judged.judged)
        content["thresholds"] = table._asdict()
        content["own"] = int(np.searchsorted(thresholds, np.float32(found.threshold)))
        content["shapes"]["recognised"] = _recognised(landslides, levels, grid, judged)
        if not judged.held_out.all():
            content["shapes"]["held_out"] = _outline(judged.held_out, grid)
    if cube and "landslide" in cube:
        content["shapes"]["mapped"] = _mapped(cube, found, judged)
    names = {name for layer in content["shapes"].values() for name in layer["columns"]}
    content["words"] = {name: _words(name) for name in sorted(names)}
    return content


def scene_pictures(cube: Cube) -> dict[str, Any]:
    """Draw the scenes before and after, each with a stretch of its own, and the relief, for the map of a page."""
    step, grid = images.step_of(cube.shape, WIDEST_PX), cube.grid
    found: dict[str, Any] = {}
    for when, date in (("after", "post"), ("before", "pre")):
        drawn = ((words, cube.reflectance(date, channels)) for words, channels in images.COMPOSITES.items())
        words, bands = next((one for one in drawn if one[1]), ("", []))
        if bands:
            scene = np.stack([images.thumbnail(cube.array(band), step).image for band in bands], axis=-1)
            (colours,) = images.true_colours([scene])
            text = f"{when.capitalize()}: {cube.acquired(date)[:10] or 'date not recorded'}, {words}"
            found[when] = {
                **picture(colours, np.asarray(np.isfinite(scene).all(axis=-1)), grid, step=step),
                "text": text,
            }
    if "elevation" in cube:
        metres = images.thumbnail(cube.to_xarray()["elevation"], step).image
        relief = images.shaded_relief(metres, cube.pixel_size_m * step)
        found["relief"] = {**picture(relief, np.isfinite(metres), grid, step=step), "text": "Shaded relief"}
    return found


def _recognised(
    landslides: gpd.GeoDataFrame, levels: NDArray[np.uint8], grid: GeoBox, judged: Judged
) -> dict[str, Any]:
    """Write the landslides, with the highest level and the correct and false pixels inside each (by pixel centres)."""
    numbers = np.zeros(levels.shape, dtype=np.int32)
    if len(landslides):
        burnt = zip(landslides.geometry, range(1, len(landslides) + 1), strict=True)
        rasterio.features.rasterize(burnt, out=numbers, transform=grid.affine)
    inside, count = numbers > 0, len(landslides) + 1

    def counted(where: Mask) -> list[int]:
        return [int(number) for number in np.bincount(numbers[where], minlength=count)[1:]]

    reach = np.zeros(count, dtype=np.uint8)
    np.maximum.at(reach, numbers[inside], np.where(levels == NO_VALUE, 0, levels)[inside])
    layer = {**vector_layer(landslides, grid), "reach": reach[1:].tolist()}
    if judged.mapped is not None:
        layer |= {"tp": counted(inside & judged.judged & judged.mapped)}
        layer |= {"fp": counted(inside & judged.judged & ~judged.mapped)}
    return layer


def _mapped(cube: Cube, found: ProbabilityMap | None, judged: Judged | None) -> dict[str, Any]:
    """Write the landslides of the inventory as they are scored: patches of pixels, with what the map has of each."""
    labels = cube.labels
    mask = np.where(labels == NODATA, np.float32(np.nan), (labels == LANDSLIDE).astype(np.float32))
    context = LandslideContext(lambda place, name: cube.read_pixels(name, place))
    frame = vectorize_landslides(mask, cube.grid, context=context)
    frame = frame.drop(columns=[name for name in frame if name.startswith(_OF_MAPPED)])
    if found is not None and judged is not None and len(frame):
        numbers, every = label_landslides(mask, pixel_size_m=cube.pixel_size_m), frame["id"]
        probability = np.nan_to_num(found.probability)
        frame["share_recognised"] = ndimage.mean(probability >= found.threshold, numbers, every)
        frame["share_held_out"] = ndimage.mean(judged.judged, numbers, every)
        frame["highest_probability"] = ndimage.maximum(probability, numbers, every)
    return vector_layer(frame, cube.grid)


def _context_shapes(cube: Cube) -> dict[str, Any]:
    """Write what lies around the landslides, as far as the cube has it: area mapped, faults, contours of shaking."""
    found: dict[str, Any] = {}
    bands = {band.name: band for band in cube.bands}
    if "landslide" in cube:
        known = cube.array(bands["landslide"]).to_numpy() != NODATA  # under clouds too
        found |= {} if known.all() else {"area": _outline(known, cube.grid)}
    if "fault_distance" in bands:
        traces = cube.array(bands["fault_distance"]).to_numpy() == 0
        found |= {"faults": _outline(traces, cube.grid, finest=True)} if traces.any() else {}
    lines = shaking_contours(cube)
    if len(lines):
        labelled = lines.assign(pga=[f"{level_g:.3g} g" for level_g in lines["pga_g"]])
        found["contours"] = vector_layer(labelled[["pga", "geometry"]], cube.grid)
    return found


def _outline(mask: Mask, grid: GeoBox, *, finest: bool = False) -> dict[str, Any]:
    """Outline an area, reduced to about 1000 pixels where it need not be exact."""
    step = 1 if finest else images.step_of(mask.shape, _OUTLINE_PX)
    small = images.reduce_blocks(mask, step, np.any).astype(np.uint8)
    transform = grid.affine * grid.affine.scale(step)
    traced = rasterio.features.shapes(small, mask=small > 0, connectivity=8, transform=transform)
    shapes = [shapely.geometry.shape(shape) for shape, _ in traced]
    return vector_layer(gpd.GeoDataFrame(geometry=shapes, crs=str(grid.crs)), grid)


def _epicentre(cube: Cube) -> list[float] | None:
    """Read the epicentre that a ShakeMap told of."""
    places = (band.provenance.get("epicentre_lon_lat") for band in cube.bands)
    return next((list(place) for place in places if place), None)


def _words(name: str) -> list[str]:
    """Write what a column is called, and its unit."""
    ending = next((ending for ending in _UNITS if name.endswith(ending)), "")
    return [name.removesuffix(ending).replace("_", " "), _UNITS.get(ending, "")]
