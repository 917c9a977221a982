"""Pictures of the map in a page, in the projection of web maps: north is up, and pixels are square on the screen."""

import io
import math
from typing import Any

import numpy as np
import rasterio.warp
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from PIL import Image
from pyproj import Transformer
from rasterio.enums import Resampling

from coslide.report import images
from coslide.report.images import Floats, Mask

WIDEST_PX = 4096
"""Longer side of a picture of the map."""
OUTSIDE, NO_VALUE = 0, 255
"""Levels of pixels beside the grid, and of those without a probability."""
_RADIUS_M = 6378137.0
_WORLD_M = 2 * math.pi * _RADIUS_M
_WEBP: dict[str, Any] = {"quality": 82, "method": 4}


def picture(colours: Floats, shown: Mask, grid: GeoBox, *, step: int) -> dict[str, Any]:
    """Bring a picture into the projection of web maps, as a data address (WebP) and its bounds.

    Parameters
    ----------
    colours
        Red, green, blue, 0 to 1, (row, col, 3), on the grid reduced by `step`.
    shown
        bool (row, col); the rest is transparent.
    grid
        Of the whole map.
    step
        Side of the block of pixels that became one of the picture (`images.step_of`).

    Returns
    -------
    dict
        ``uri``, and ``bounds``: west, north, east and south as parts of the world, 0 to 1 to the east and to the south.
    """
    opaque = np.where(shown[..., np.newaxis], np.rint(255 * np.clip(np.nan_to_num(colours), 0, 1)), 0).astype(np.uint8)
    bands = np.concatenate([np.moveaxis(opaque, -1, 0), (255 * shown.astype(np.uint8))[np.newaxis]])
    warped, bounds = _warp(bands, grid, step, Resampling.bilinear)
    alpha = np.maximum(warped[3:].astype(np.float32), 1) / 255  # what lies beside nodata is not darkened by it
    warped[:3] = np.where(warped[3:] > 0, np.clip(np.rint(warped[:3] / alpha), 0, 255), 0).astype(np.uint8)
    warped[3] = np.where(warped[3] >= 128, 255, 0)
    buffer = io.BytesIO()
    Image.fromarray(np.moveaxis(warped, 0, -1)).save(buffer, "webp", **_WEBP)
    return {"uri": images.data_uri(buffer.getvalue(), "webp"), "bounds": bounds}


def level_picture(levels: NDArray[np.uint8], grid: GeoBox) -> dict[str, Any]:
    """Bring whole numbers, 1 to `NO_VALUE`, into the projection of web maps, as a data address (PNG) and its bounds.

    Parameters
    ----------
    levels
        uint8 (row, col), on the grid. Where it has more pixels than a picture, each block has its highest level below
        `NO_VALUE`, so that no landslide is lost.
    grid
        Of the map.
    """
    step = images.step_of(levels.shape, WIDEST_PX)
    if step > 1:
        highest = images.reduce_blocks(np.where(levels == NO_VALUE, 0, levels).astype(np.uint8), step, np.max)
        levels = np.where(highest == 0, NO_VALUE, highest).astype(np.uint8)
    warped, bounds = _warp(levels[np.newaxis], grid, step, Resampling.nearest)
    buffer = io.BytesIO()
    Image.fromarray(warped[0]).save(buffer, "png", optimize=True)
    return {"uri": images.data_uri(buffer.getvalue(), "png"), "bounds": bounds}


def _warp(bands: NDArray[np.uint8], grid: GeoBox, step: int, how: Resampling) -> tuple[NDArray[np.uint8], list[float]]:
    """Reproject (band, row, col) onto pixels of about the same size; 0 where it does not reach."""
    rows, cols = bands.shape[1:]
    transform, crs = grid.affine * Affine.scale(step), str(grid.crs)
    # As EPSG:3857, but counted from the middle of the grid, so that the 180th meridian is no edge.
    (x, y), to_degrees = grid.boundingbox.bbox[:2], Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    lon, _ = to_degrees.transform(x, y)
    web = f"+proj=merc +a={_RADIUS_M} +b={_RADIUS_M} +lon_0={lon:.9f} +units=m +nadgrids=@null +wktext +no_defs"
    west, north = transform @ (0, 0)
    east, south = transform @ (cols, rows)
    target, width, height = rasterio.warp.calculate_default_transform(crs, web, cols, rows, west, south, east, north)
    shrink = max(1.0, max(width, height) / WIDEST_PX)
    width, height = max(1, round(width / shrink)), max(1, round(height / shrink))
    target = target * Affine.scale(shrink)
    found = np.zeros((len(bands), height, width), dtype=np.uint8)
    places: dict[str, Any] = {"src_transform": transform, "src_crs": crs, "dst_transform": target, "dst_crs": web}
    rasterio.warp.reproject(bands, found, resampling=how, **places)
    edges = [target @ corner for corner in ((0, 0), (width, height))]
    bounds = [
        part
        for x_m, y_m in edges
        for part in (x_m / _WORLD_M + (lon + 180) / 360, 0.5 - y_m / _WORLD_M)
    ]  # fmt: skip
    return found, bounds
