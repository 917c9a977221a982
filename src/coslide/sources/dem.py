"""Elevation models on the grid."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling

from coslide.config.schema import DemConfig
from coslide.errors import InputError
from coslide.grid import pixel_size_m, slices_of
from coslide.io.footprint import Footprint, pixel_coordinates
from coslide.io.raster import require_exact
from coslide.io.resample import coincides, resample
from coslide.sources.dem_tiles import Mosaic, Tile, describe_tiles, read_mosaic

_KERNEL = 5  # cells of the DEM around a point that the spline and its neighbours need
_POINTS = 33  # along each side of the grid, where the DEM is looked for


@dataclass(frozen=True, eq=False)
class ElevationSource:
    """An elevation model, read for a grid and a margin around it.

    Attributes
    ----------
    integer
        Whether it stores whole metres.
    attrs
        What the cube says of it: ``resampling``, ``vertical_crs``, ``dem_cell_m``, and ``averaged`` where its cells
        were averaged before.
    notes
        Lines for the log.
    """

    integer: bool
    attrs: dict[str, Any]
    notes: tuple[str, ...]
    _frame: GeoBox
    _metres: NDArray[np.float32]
    _filled: NDArray[np.uint8] | None
    _footprint: Footprint

    def elevation(self, window: GeoBox) -> NDArray[np.float32]:
        """Return the elevation in metres on `window`, float32 (row, col), NaN where unknown.

        Whatever the window, a cell has the same value, to the bit.

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
        """Return 1 on cells of `window` whose nearest cell of the DEM was a void that has been filled, 0 elsewhere.

        Parameters
        ----------
        window
            A part of the grid and its margin.

        Raises
        ------
        ValueError
            If it reaches beyond.
        """
        if self._filled is None:
            slices_of(window, self._frame)  # refuses what reaches beyond
            return np.zeros(window.shape, dtype=np.uint8)
        return self._onto(window, self._filled, Resampling.nearest)

    def _onto(self, window: GeoBox, values: NDArray[Any], how: Resampling) -> NDArray[Any]:
        slices_of(window, self._frame)  # refuses what reaches beyond
        return resample(self._footprint, lambda rows, cols: values[rows, cols], window, how=how)


def open_elevation(dem: DemConfig, grid: GeoBox, *, margin_px: int = 0) -> ElevationSource:
    """Return the elevation model of `dem` around `grid`, in metres, ready to be asked for windows.

    It is read once, in its own CRS. Where its cells are at most half as large as those of the grid, they are averaged
    to about that size. Between them the cubic B-spline is taken (facets of a bilinear surface make curvature noise);
    where they coincide with cells of the grid, they are taken as they are.

    Parameters
    ----------
    dem
        The raster or tiles, and how voids are treated: those up to ``fill_voids_km2`` are filled from their rim by
        inverse distances (GDAL's fillnodata). A void that reaches the end of the data is open, not a hole.
    grid
        Where it will be asked for.
    margin_px
        How many cells around the grid it may be asked for too.

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
    require_exact(f"dem: {first.path}", first.crs, str(grid.crs))
    tile = Footprint(first.crs.to_wkt(), first.transform, first.shape)
    places = pixel_coordinates(tile, frame, each_way=_POINTS)
    size_m = _dem_cell_m(first, places, frame)
    factors = tuple(max(1, math.floor(pixel_size_m(grid) / size + 1e-3)) for size in size_m)
    factors = (factors[0], factors[1])
    reach_m = 2000.0 * math.sqrt(dem.fill_voids_km2)  # to see the far rim of holes at the border of the grid
    reach = tuple(math.ceil(reach_m / size) + _KERNEL * factor for size, factor in zip(size_m, factors, strict=True))
    part = (_span(places[0], reach[0]), _span(places[1], reach[1]))
    mosaic = _turned_north_up(read_mosaic(dem, tiles, part, factors=factors))
    footprint = Footprint(tile.crs, mosaic.transform, mosaic.metres.shape)
    area_m2 = math.prod(size_m) * math.prod(factors)
    filled = _fill_voids(mosaic.metres, limit_px=dem.fill_voids_km2 * 1e6 / area_m2)
    attrs = {
        "resampling": "none" if coincides(footprint, frame) else "cubic_spline",
        "vertical_crs": first.vertical or "not recorded",
        "dem_cell_m": [round(size, 2) for size in size_m],
    }
    if factors != (1, 1):
        attrs["averaged"] = list(factors)
    around = pixel_coordinates(footprint, frame, each_way=_POINTS)
    notes = (*_describe_source(first, mosaic, factors, size_m), *_describe_voids(mosaic.metres, filled, around))
    return ElevationSource(mosaic.whole_metres, attrs, notes, frame, mosaic.metres, filled, footprint)


def _dem_cell_m(tile: Tile, places: NDArray[np.float64], frame: GeoBox) -> tuple[float, float]:
    """Return height and width of a cell of the DEM in metres, at the middle of the grid."""
    k = _POINTS // 2
    lengths = []
    for own in places:
        per_cell = np.hypot(
            (own[k + 1, k] - own[k, k]) * (_POINTS - 1) / frame.shape.y,
            (own[k, k + 1] - own[k, k]) * (_POINTS - 1) / frame.shape.x,
        )
        lengths.append(pixel_size_m(frame) / float(per_cell) if np.isfinite(per_cell) and per_cell > 0 else math.nan)
    if not all(map(math.isfinite, lengths)):
        raise InputError(f"dem: {tile.path}: does not overlap the grid")
    return lengths[0], lengths[1]


def _turned_north_up(mosaic: Mosaic) -> Mosaic:
    """Return it with rows from north to south and columns to the east, as those of the grid run."""
    metres, transform = mosaic.metres, mosaic.transform
    if transform.e > 0:
        metres, transform = metres[::-1], transform @ Affine(1, 0, 0, 0, -1, metres.shape[0])
    if transform.a < 0:
        metres, transform = metres[:, ::-1], transform @ Affine(-1, 0, metres.shape[1], 0, 1, 0)
    return mosaic._replace(metres=np.ascontiguousarray(metres), transform=transform)


def _span(places: NDArray[np.float64], reach: int) -> slice:
    known = places[np.isfinite(places)]
    return slice(math.floor(known.min()) - reach, math.ceil(known.max()) + reach + 1)


def _fill_voids(metres: NDArray[np.float32], *, limit_px: float) -> NDArray[np.uint8] | None:
    """Fill voids of up to `limit_px` cells in place, and return 1 where that was done; None if nowhere."""
    void = np.isnan(metres)
    if limit_px < 1 or not void.any():
        return None
    import cc3d  # lazily: it is for DEMs with voids only
    from rasterio.fill import fillnodata

    labels = cc3d.connected_components(void.astype(np.uint8), connectivity=8)
    sizes = cc3d.statistics(labels)["voxel_counts"]
    hole = sizes <= limit_px
    hole[0] = False  # the ground
    for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        hole[side] = False
    if not hole.any():
        return None
    wanted = hole[labels]
    reach = 2 * math.ceil(math.sqrt(sizes[hole].max())) + 2  # more than to the rim of a hole of that size
    box = _box_around(wanted, reach)
    wanted_here, part = wanted[box], metres[box]
    guess = fillnodata(part, mask=(~void[box]).astype(np.uint8), max_search_distance=reach, smoothing_iterations=0)
    part[wanted_here] = guess[wanted_here]
    filled: NDArray[np.uint8] = (wanted & np.isfinite(metres)).astype(np.uint8)
    return filled


def _box_around(wanted: NDArray[np.bool_], reach: int) -> tuple[slice, slice]:
    found = (np.flatnonzero(wanted.any(axis=axis)) for axis in (1, 0))
    rows, cols = (slice(max(0, int(side[0]) - reach), int(side[-1]) + reach + 1) for side in found)
    return rows, cols


def _describe_source(
    tile: Tile, mosaic: Mosaic, factors: tuple[int, int], size_m: tuple[float, float]
) -> tuple[str, ...]:
    notes = []
    if factors != (1, 1):
        notes.append(f"dem: cells of {size_m[1]:.3g} x {size_m[0]:.3g} m averaged by {factors[1]} x {factors[0]}")
    if mosaic.undeclared:
        values = ", ".join(f"{value:g}" for value in mosaic.undeclared)
        notes.append(f"dem: {values} taken for voids, though the file does not declare them so")
    if tile.vertical:
        notes.append(f"dem: heights refer to {tile.vertical}")
    return tuple(notes)


def _describe_voids(
    metres: NDArray[np.float32], filled: NDArray[np.uint8] | None, places: NDArray[np.float64]
) -> tuple[str, ...]:
    """Return a line on the voids in the box around the grid."""
    spans = [_span(own, 0) for own in places]
    rows, cols = (slice(max(0, span.start), max(0, span.stop)) for span in spans)
    within = metres[rows, cols]
    opened = int(np.isnan(within).sum())
    closed = 0 if filled is None else int(filled[rows, cols].sum())
    if not opened and not closed:
        return ()
    share = f"({opened / within.size:.2%})"
    return (f"dem: voids around the grid: {closed} of its cells filled, {opened} {share} left unknown",)
