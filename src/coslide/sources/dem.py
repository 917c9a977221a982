"""Elevation models on the grid."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling

from coslide.config.schema import DemConfig
from coslide.errors import InputError
from coslide.grid import pixel_coordinates, pixel_offset, pixel_size_m, slices_of
from coslide.io.raster import require_exact
from coslide.io.resample import resample
from coslide.labels import label_objects
from coslide.sources.dem_tiles import describe_tiles, read_mosaic

_KERNEL_PX = 5  # pixels of the DEM around a point that the spline and its neighbours need
_POINTS = 33  # along each side of the grid, where the DEM is located


@dataclass(frozen=True, eq=False)
class ElevationSource:
    """An elevation model, read for a grid and a margin around it.

    Attributes
    ----------
    integer
        Whether it stores whole metres.
    attrs
        Attributes of its variables in the cube: ``resampling``, ``vertical_crs``, ``dem_pixel_m``, and ``averaged``
        where its pixels were averaged before.
    notes
        Lines for the log.
    """

    integer: bool
    attrs: dict[str, Any]
    notes: tuple[str, ...]
    _frame: GeoBox
    _geobox: GeoBox
    _metres: NDArray[np.float32]
    _filled: NDArray[np.uint8]

    def elevation(self, window: GeoBox) -> NDArray[np.float32]:
        """Resample the elevation in metres to `window`, float32 (row, col), NaN where it is nodata.

        Whatever the window, a pixel has the same value, to 1e-4 m.

        Parameters
        ----------
        window
            A part of the grid and its margin.

        Raises
        ------
        ValueError
            If it reaches beyond.
        """
        return self._onto(window, self._metres, Resampling.cubic_spline)

    def void(self, window: GeoBox) -> NDArray[np.uint8]:
        """Mark with 1 the pixels of `window` whose nearest pixel of the DEM was a void that has been filled, else 0.

        Parameters
        ----------
        window
            A part of the grid and its margin.

        Raises
        ------
        ValueError
            If it reaches beyond.
        """
        return self._onto(window, self._filled, Resampling.nearest)

    def _onto(self, window: GeoBox, values: NDArray[Any], kernel: Resampling) -> NDArray[Any]:
        slices_of(window, self._frame)  # refuses what reaches beyond
        return resample(self._geobox, lambda rows, cols: values[rows, cols], window, how=kernel)


def open_elevation(dem: DemConfig, grid: GeoBox, *, margin_px: int = 0) -> ElevationSource:
    """Read the elevation model of `dem` around `grid`, in metres, to be resampled window by window.

    It is read once, in its own CRS. Where its pixels are at most half as large as those of the grid, they are averaged
    to about that size. Between them the cubic B-spline is taken (facets of a bilinear surface make curvature noise);
    where they coincide with pixels of the grid, they are taken as they are.

    Parameters
    ----------
    dem
        The raster or tiles, and how voids are treated: those up to ``fill_voids_km2`` are filled from their rim by
        inverse distances (GDAL's fillnodata). A void that reaches the edge of the data is open, not a hole.
    grid
        Where elevations are wanted.
    margin_px
        How many pixels around the grid may be wanted too.

    Raises
    ------
    InputError
        If a tile cannot be read, lacks a CRS, holds several bands, other units than metres or no land, or cannot hold
        the nodata value that is given; tiles differ in CRS or vertical datum; no exact transformation to the grid is
        known; or the DEM does not overlap the grid.
    """
    frame = grid.pad(margin_px) if margin_px else grid
    tiles = describe_tiles(dem)
    first = tiles[0]
    require_exact(f"dem: {first.path}", first.geobox.crs, str(grid.crs))
    places = pixel_coordinates(first.geobox, frame, points=_POINTS)
    size_m = _dem_pixel_m(places, frame)
    if not np.isfinite(size_m).all():
        raise InputError(f"dem: {first.path}: does not overlap the grid")
    down, across = (max(1, math.floor(pixel_size_m(grid) / size + 1e-3)) for size in size_m)
    reach_m = 2000.0 * math.sqrt(dem.fill_voids_km2)  # to see the far rim of holes at the border of the grid
    reach = [
        math.ceil(reach_m / size) + _KERNEL_PX * factor for size, factor in zip(size_m, (down, across), strict=True)
    ]
    part = _span(places[0], reach[0]), _span(places[1], reach[1])
    mosaic = read_mosaic(dem, tiles, part, factors=(down, across))
    metres, geobox = _turned_north_up(mosaic.metres, mosaic.geobox)
    filled = _fill_voids(metres, limit_px=dem.fill_voids_km2 * 1e6 / (math.prod(size_m) * down * across))
    attrs: dict[str, Any] = {
        "resampling": "cubic_spline" if pixel_offset(geobox, frame) is None else "none",
        "vertical_crs": first.vertical or "not recorded",
        "dem_pixel_m": [round(size, 2) for size in size_m],
    }
    notes = []
    if (down, across) != (1, 1):
        attrs["averaged"] = [down, across]
        notes.append(f"dem: pixels of {size_m[1]:.3g} x {size_m[0]:.3g} m averaged by {across} x {down}")
    if mosaic.undeclared:
        values = ", ".join(f"{value:g}" for value in sorted(mosaic.undeclared))
        notes.append(f"dem: {values} taken for voids, though the file does not declare them so")
    if first.vertical:
        notes.append(f"dem: heights refer to {first.vertical}")
    around = pixel_coordinates(geobox, frame, points=_POINTS)
    notes += _describe_voids(metres, filled, around)
    return ElevationSource(mosaic.whole_metres, attrs, tuple(notes), frame, geobox, metres, filled)


def _dem_pixel_m(places: NDArray[np.float64], frame: GeoBox) -> list[float]:
    """Measure height and width of a pixel of the DEM in metres, at the middle of the grid; not finite far from it."""
    k = _POINTS // 2
    rows, cols = (size * pixel_size_m(frame) / (_POINTS - 1) for size in frame.shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        down, right = (places[:, k + 1, k] - places[:, k, k]) / rows, (places[:, k, k + 1] - places[:, k, k]) / cols
        return [float(size) for size in 1 / np.hypot(down, right)]


def _turned_north_up(metres: NDArray[np.float32], geobox: GeoBox) -> tuple[NDArray[np.float32], GeoBox]:
    """Turn elevations so that rows run from north to south and columns to the east, as those of the grid."""
    if geobox.affine.e > 0:
        metres, geobox = metres[::-1], geobox.flipy()
    if geobox.affine.a < 0:
        metres, geobox = metres[:, ::-1], geobox.flipx()
    return np.ascontiguousarray(metres), geobox


def _span(places: NDArray[np.float64], reach: int) -> slice:
    finite = places[np.isfinite(places)]
    return slice(math.floor(finite.min()) - reach, math.ceil(finite.max()) + reach + 1)


def _fill_voids(metres: NDArray[np.float32], *, limit_px: float) -> NDArray[np.uint8]:
    """Fill voids of up to `limit_px` pixels in place, and mark them with 1."""
    from rasterio.fill import fillnodata

    void = np.isnan(metres)
    if limit_px < 1 or not void.any():
        return np.zeros(metres.shape, dtype=np.uint8)
    labels = label_objects(void)
    sizes = np.bincount(labels.ravel())
    hole = sizes <= limit_px
    hole[0] = False  # what is no void
    for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        hole[side] = False
    filled: NDArray[np.bool_] = hole[labels]
    if filled.any():
        reach = 2 * math.ceil(math.sqrt(sizes[hole].max())) + 2  # more than to the rim of a hole of that size
        rows, cols = (np.flatnonzero(filled.any(axis=axis)) for axis in (1, 0))
        box = slice(max(0, rows[0] - reach), rows[-1] + reach + 1), slice(max(0, cols[0] - reach), cols[-1] + reach + 1)
        valid = (~void[box]).astype(np.uint8)
        guess = fillnodata(metres[box], mask=valid, max_search_distance=reach, smoothing_iterations=0)
        metres[box] = np.where(filled[box], guess, metres[box])
    return (filled & np.isfinite(metres)).astype(np.uint8)


def _describe_voids(metres: NDArray[np.float32], filled: NDArray[np.uint8], places: NDArray[np.float64]) -> list[str]:
    """Count the voids in the box around the grid."""
    spans = [_span(own, 0) for own in places]
    rows, cols = (
        slice(*np.clip((span.start, span.stop), 0, size)) for span, size in zip(spans, metres.shape, strict=True)
    )
    within = metres[rows, cols]
    open_px, closed_px = int(np.isnan(within).sum()), int(filled[rows, cols].sum())
    if not open_px and not closed_px:
        return []
    share = f"({open_px / within.size:.2%})"
    return [f"dem: voids around the grid: {closed_px} of its pixels filled, {open_px} {share} left as nodata"]
