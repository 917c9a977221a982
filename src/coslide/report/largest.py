"""Pictures of the largest landslides of an inventory, before and after the earthquake."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from shapely.geometry.base import BaseGeometry

from coslide.cube.band import Band
from coslide.cube.cube import Cube
from coslide.report import images
from coslide.windows import Window

_SIDE_PX, _AROUND, _SMALLEST_PX = 300, 1.5, 30  # of one picture; of the landslide; that it shows
_GAP_PX = 6


class Scene(NamedTuple):
    """Red, green and blue bands of a date, and the values that become 0 and 1."""

    when: str
    bands: Sequence[Band]
    low: NDArray[np.floating]
    high: NDArray[np.floating]


def scenes_of(cube: Cube) -> list[Scene]:
    """Find what of the scenes before and after can be drawn in colours, each with a stretch of its own."""
    found, step = [], images.step_of(cube.shape)
    for when, date in (("before", "pre"), ("after", "post")):
        drawn = (cube.reflectance(date, channels) for channels in images.COMPOSITES.values())
        bands = next(filter(None, drawn), [])
        if bands:
            small = np.stack([images.thumbnail(cube.array(band), step).image for band in bands], axis=-1)
            found.append(Scene(when, bands, *images.stretch_of([small])))
    return found


def largest_pictures(cube: Cube, landslides: gpd.GeoDataFrame, scenes: Sequence[Scene], count: int) -> Iterator[str]:
    """Draw the largest landslides one after the other, the dates side by side, as JPEG data addresses.

    Parameters
    ----------
    cube
        With the scenes.
    landslides
        In the CRS of the cube, the largest first.
    scenes
        From `scenes_of`.
    count
        How many are drawn.
    """
    for shape in landslides.geometry.iloc[:count]:
        panels = [_panel(cube, scene, shape) for scene in scenes]
        gap = np.full((_SIDE_PX, _GAP_PX, 3), 255, np.uint8)
        parts = [part for panel in panels for part in (gap, panel)][1:]
        yield images.jpeg_uri(np.concatenate(parts, axis=1) / 255)


def _panel(cube: Cube, scene: Scene, shape: BaseGeometry) -> NDArray[np.uint8]:
    """Draw what lies around a landslide, and its outline."""
    left, top, size_m = cube.grid.affine.c, cube.grid.affine.f, cube.pixel_size_m
    west, south, east, north = shape.bounds
    x, y = ((west + east) / 2 - left) / size_m, (top - (south + north) / 2) / size_m
    side = max(_SMALLEST_PX, round(_AROUND * max(east - west, north - south) / size_m))
    col, row = round(x - side / 2), round(y - side / 2)
    values = np.full((side, side, 3), np.nan, np.float32)
    rows, cols = (slice(max(0, k), min(k + side, length)) for k, length in zip((row, col), cube.shape, strict=True))
    if rows.start < rows.stop and cols.start < cols.stop:
        window = Window(rows.start, cols.start, rows.stop - rows.start, cols.stop - cols.start)
        inner = slice(rows.start - row, rows.stop - row), slice(cols.start - col, cols.stop - col)
        values[inner] = np.moveaxis(cube.read(window, scene.bands), 0, -1)
    colours = images.stretched(values, scene.low, scene.high)
    drawn = Image.fromarray(np.rint(255 * colours).astype(np.uint8))
    drawn = drawn.resize((_SIDE_PX, _SIDE_PX), Image.Resampling.NEAREST if side < _SIDE_PX else Image.Resampling.BOX)
    pen, scale = ImageDraw.Draw(drawn), _SIDE_PX / side
    for polygon in shapely.get_parts(shape):
        for ring in (polygon.exterior, *polygon.interiors):
            across, down = np.asarray(ring.coords)[:, :2].T
            line = [*zip(((across - left) / size_m - col) * scale, ((top - down) / size_m - row) * scale, strict=True)]
            pen.line(line, fill=(0, 0, 0), width=3)
            pen.line(line, fill=(255, 255, 0), width=1)
    return np.asarray(drawn)
