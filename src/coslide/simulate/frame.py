"""Where and when a simulated earthquake happens: its square of 10 m pixels, the terrain on it, and the dates."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import shapely
from affine import Affine
from numpy.typing import ArrayLike, NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely import LineString, Polygon

from coslide.indices.derivatives import slope_aspect_curvature

Floats = NDArray[np.float32]
Numbers = NDArray[np.float64]
Codes = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Polygons = NDArray[np.object_]
Window = tuple[slice, slice]  # rows and columns

EVENT_TIME = datetime(2022, 4, 28, 6, 12, 0, tzinfo=UTC)
SCENE_TIMES = {
    "pre": datetime(2020, 9, 12, 23, 36, 51, tzinfo=UTC),  # late summer
    "post": datetime(2022, 5, 15, 23, 36, 51, tzinfo=UTC),  # spring
}

PIXEL_M = 10.0  # of terrain, strata, shaking and rain
FINE_M = 5.0  # of the land cover, from which the scenes are rendered
CRS = "EPSG:32659"
_COLUMNS, _ROWS = "LMNP", "VUTS"  # letters of 16 tiles of 100 km (MGRS 59S) in the open North Pacific
_LEFT_M, _TOP_M, _TILE_M = 300_000.0, 4_000_000.0, 100_000.0  # of the first of them
_LATTICE_PX = 6  # 60 m
_MARGIN_PX = 120  # shadows fall, and landslides run, from outside the scenes too


@dataclass(frozen=True)
class Frame:
    """The square of a simulated earthquake, in the open ocean of UTM zone 59, so that no base map lends it a place.

    `scene_px` is the side of the square that the scenes cover, `margin_px` the width of the margin around it, in pixels
    of 10 m; both are multiples of 6. `place` is one of 16 tiles.
    """

    scene_px: int
    margin_px: int = _MARGIN_PX
    place: int = 0

    @property
    def tile(self) -> str:
        """Name of the Sentinel-2 tile that it lies in."""
        row, column = divmod(self.place, len(_COLUMNS))
        return f"59S{_COLUMNS[column]}{_ROWS[row]}"

    @property
    def side_px(self) -> int:
        """Side of the whole square, with its margin, in pixels of 10 m."""
        return self.scene_px + 2 * self.margin_px

    @property
    def inner(self) -> Window:
        """Rows and columns of the scenes in an array of the whole square."""
        inside = slice(self.margin_px, self.margin_px + self.scene_px)
        return inside, inside

    @property
    def grid(self) -> GeoBox:
        """Grid of the whole square, 10 m pixels."""
        return self.scene.pad(self.margin_px)

    @property
    def fine_grid(self) -> GeoBox:
        """Grid of the whole square, 5 m pixels."""
        return self.grid.zoom_out(FINE_M / PIXEL_M)

    @property
    def scene(self) -> GeoBox:
        """Grid of the scenes, 10 m pixels."""
        row, column = divmod(self.place, len(_COLUMNS))
        lattice_m = _LATTICE_PX * PIXEL_M  # on which tiles begin, as far to the northwest as it takes
        left = lattice_m * math.floor((_LEFT_M + column * _TILE_M) / lattice_m)
        top = lattice_m * math.ceil((_TOP_M - row * _TILE_M) / lattice_m)
        return GeoBox((self.scene_px, self.scene_px), Affine(PIXEL_M, 0, left, 0, -PIXEL_M, top), CRS)

    @property
    def scene_box(self) -> Polygon:
        """The square that the scenes cover, which is also the mapped area."""
        return shapely.box(*self.scene.boundingbox.bbox)

    def pixels_at(self, xy_m: Numbers) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Find rows and columns of the pixels that hold places (place, xy), of the nearest ones for places outside."""
        pixels = np.clip(np.floor(apply_affine(~self.grid.affine, *np.asarray(xy_m).T)), 0, self.side_px - 1)
        return pixels[:, 1].astype(np.intp), pixels[:, 0].astype(np.intp)


@dataclass(frozen=True)
class River:
    """A river: its centre line, from its head to the river it joins or the edge, and its mean width in metres."""

    line: LineString
    width_m: float


@dataclass(frozen=True)
class Terrain:
    """The terrain before the earthquake, arrays (row, col) on `Frame.grid`.

    `height_m` is the elevation; slope, aspect and curvature are those of
    `coslide.indices.derivatives.slope_aspect_curvature`, but the outermost ring repeats its neighbours and the aspect
    of level terrain is 0. `drained_m2` is the upstream area of each pixel, itself included; `valley_floor` tells where
    rivers have laid down sediment, and `rivers` come from the widest to the narrowest.
    """

    frame: Frame
    height_m: Floats
    slope_deg: Floats
    aspect_deg: Floats
    mean_curvature_per_m: Floats
    drained_m2: Floats
    valley_floor: Mask
    rivers: tuple[River, ...]


def terrain_of(
    frame: Frame,
    height_m: ArrayLike,
    *,
    drained_m2: ArrayLike = PIXEL_M**2,
    valley_floor: ArrayLike = False,
    rivers: tuple[River, ...] = (),
) -> Terrain:
    """Derive slope, aspect and curvature of elevations in metres, (row, col) on `Frame.grid`, for a `Terrain`."""
    height = np.ascontiguousarray(np.broadcast_to(np.asarray(height_m, dtype=np.float32), frame.grid.shape))
    shape = (np.pad(part[1:-1, 1:-1], 1, mode="edge") for part in slope_aspect_curvature(height, PIXEL_M))
    slope, aspect, curvature = (np.nan_to_num(part, copy=False) for part in shape)
    drained = np.broadcast_to(np.asarray(drained_m2, dtype=np.float32), height.shape)
    floor = np.broadcast_to(valley_floor, height.shape)
    return Terrain(frame, height, slope, aspect, curvature, drained, floor, rivers)


def frame_of(size_km: float, seed: int = 0) -> Frame:
    """Frame a square of `size_km`, rounded up to whole 60 m; 16 seeds in a row have places of their own."""
    side_px = _LATTICE_PX * math.ceil(size_km * 1000 / (PIXEL_M * _LATTICE_PX))
    return Frame(side_px, place=seed % (len(_COLUMNS) * len(_ROWS)))


def apply_affine(affine: Affine, x: ArrayLike, y: ArrayLike) -> Numbers:
    """Transform x and y, or columns and rows, of one shape to places (..., xy)."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    return np.stack([affine.a * x + affine.b * y + affine.c, affine.d * x + affine.e * y + affine.f], axis=-1)


def centres_m(grid: GeoBox) -> tuple[Numbers, Numbers]:
    """Compute the eastings of the columns and the northings of the rows of a grid, at pixel centres in metres."""
    affine, (rows, columns) = grid.affine, grid.shape
    return affine.c + affine.a * np.arange(0.5, columns), affine.f + affine.e * np.arange(0.5, rows)


def to_degrees(x_m: ArrayLike, y_m: ArrayLike) -> tuple[Numbers, Numbers]:
    """Transform eastings and northings in the CRS of the frame to longitudes and latitudes."""
    lon, lat = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(x_m, y_m)
    return np.asarray(lon), np.asarray(lat)


def to_metres(lon_deg: ArrayLike, lat_deg: ArrayLike) -> tuple[Numbers, Numbers]:
    """Transform longitudes and latitudes to eastings and northings in the CRS of the frame."""
    x, y = Transformer.from_crs("EPSG:4326", CRS, always_xy=True).transform(lon_deg, lat_deg)
    return np.asarray(x), np.asarray(y)
