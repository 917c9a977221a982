"""Elevation models, one raster or several tiles, on the grid."""

import itertools
import math
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS
from rasterio.enums import Resampling
from rasterio.windows import Window
from scipy import ndimage

from coslide.config.schema import DemConfig
from coslide.errors import InputError
from coslide.grid import LARGEST_GRID_PX, overlap_slices, pixel_coordinates, pixel_offset, pixel_size_m, slices_of
from coslide.io.raster import grid_of, open_raster, require_exact, require_few_pixels, wkt_of
from coslide.io.resample import resample
from coslide.io.stored import BEYOND_MEASURE, data_band, nodata_of, read_stored
from coslide.labels import label_objects
from coslide.windows import row_strips

USUAL_VOIDS_M = (-32768.0, -9999.0)
LOWEST_LAND_M, HIGHEST_LAND_M = -500.0, 9000.0  # the Dead Sea shore lies at -430 m, Everest at 8849 m
_OTHER_UNITS = ("f", "us", "dm", "deci", "cm", "centi", "km", "kilo", "mm", "milli")
_STRIP_PX = 2**24  # read at once
_SMALLEST_PIXEL_M = 0.01  # no survey is finer, and a transform that is wrong would ask for any memory
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

        Raises
        ------
        ValueError
            If `window` reaches beyond the grid and its margin.
        """
        return self._onto(window, self._metres, Resampling.cubic_spline)

    def void(self, window: GeoBox) -> NDArray[np.uint8]:
        """Mark with 1 the pixels of `window` whose nearest pixel of the DEM was a void that has been filled, else 0.

        Raises
        ------
        ValueError
            If `window` reaches beyond the grid and its margin.
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
        known; or the DEM does not overlap the grid, has more pixels around it than are read, or pixels below a
        centimetre.
    """
    frame = grid.pad(margin_px) if margin_px else grid
    tiles = _describe_tiles(dem)
    first = tiles[0]
    require_exact(f"dem: {first.path}", first.geobox.crs, str(grid.crs))
    places = pixel_coordinates(first.geobox, frame, points=_POINTS)
    size_m = _dem_pixel_m(places, frame)
    if not np.isfinite(size_m).all():
        raise InputError(f"dem: {first.path}: does not overlap the grid")
    if min(size_m) < _SMALLEST_PIXEL_M:
        raise InputError(
            f"dem: {first.path}: found pixels of {min(size_m):.3g} m, expected {_SMALLEST_PIXEL_M:g} m or more"
        )
    down, across = factors = [max(1, math.floor(pixel_size_m(grid) / size + 1e-3)) for size in size_m]
    reach_m = 2000.0 * math.sqrt(dem.fill_voids_km2)  # to see the far rim of holes at the border of the grid
    part = []
    for own, size, factor in zip(places, size_m, factors, strict=True):
        reach, inside = math.ceil(reach_m / size) + _KERNEL_PX * factor, own[np.isfinite(own)]
        part.append(slice(math.floor(inside.min()) - reach, math.ceil(inside.max()) + reach + 1))
    seen = _Seen()
    metres, geobox = _read_mosaic(dem, tiles, part=part, factors=factors, seen=seen)
    if np.isnan(metres).all():
        raise InputError(f"dem: {', '.join(map(str, dem.paths))}: has no elevation on the grid, only nodata")
    filled = _fill_voids(metres, limit_px=dem.fill_voids_km2 * 1e6 / (math.prod(size_m) * down * across))
    attrs: dict[str, Any] = {
        "resampling": "cubic_spline" if pixel_offset(geobox, frame) is None else "none",
        "vertical_crs": first.vertical or "not recorded",
        "dem_pixel_m": [round(size, 2) for size in size_m],
    }
    notes = []
    if max(factors) > 1:
        attrs["averaged"] = factors
        notes.append(f"dem: pixels of {size_m[1]:.3g} x {size_m[0]:.3g} m averaged by {across} x {down}")
    if seen.undeclared:
        values = ", ".join(f"{value:g}" for value in sorted(seen.undeclared))
        notes.append(f"dem: {values} taken for voids, though the file does not declare them so")
    if first.vertical:
        notes.append(f"dem: heights refer to {first.vertical}")
    around = overlap_slices(geobox, frame)
    open_px, closed_px = int(np.isnan(metres[around]).sum()), int(filled[around].sum())
    if open_px or closed_px:
        left = f"{open_px} ({open_px / metres[around].size:.2%}) left as nodata"
        notes.append(f"dem: voids around the grid: {closed_px} of its pixels filled, {left}")
    return ElevationSource(seen.whole_metres, attrs, tuple(notes), frame, geobox, metres, filled)


class _Tile(NamedTuple):
    """What a tile declares: where its pixels lie, the name of its vertical CRS or "", whether it stores integers."""

    path: Path
    geobox: GeoBox
    vertical: str
    integer: bool


@dataclass
class _Seen:
    """What is learnt while tiles are read: whether all is whole metres, and which values stood for undeclared voids."""

    whole_metres: bool = True
    undeclared: set[float] = field(default_factory=set)


def _describe_tiles(dem: DemConfig) -> list[_Tile]:
    """Read what each tile declares; all must have one CRS and one vertical CRS."""
    tiles: list[_Tile] = []
    for path in dem.paths:
        with open_raster(path) as dataset:
            number = data_band(dataset, name=f"dem: {path}", expected="elevation alone")
            crs, geobox = CRS.from_wkt(wkt_of(dataset)), grid_of(dataset)
            unit, integer = (dataset.units[number - 1] or "").strip(), np.dtype(dataset.dtypes[number - 1]).kind in "iu"
        vertical = ""
        if len(crs.axis_info) == 3:
            unit = crs.axis_info[2].unit_name
            vertical = crs.sub_crs_list[1].name if crs.is_compound else f"the ellipsoid of {crs.name}"
        if unit.lower().startswith(_OTHER_UNITS):
            raise InputError(f"dem: {path}: found heights in {unit!r}, expected metres")
        tiles.append(_Tile(path, geobox, vertical, integer))
        found, first = (CRS.from_user_input(str(tile.geobox.crs)) for tile in (tiles[-1], tiles[0]))
        if not found.equals(first, ignore_axis_order=True):
            expected = f"expected that of {tiles[0].path}, {first.name}"
            raise InputError(f"dem: {path}: found the CRS {found.name}, {expected}")
        if vertical != tiles[0].vertical:
            own, other = (each or "a datum not recorded" for each in (vertical, tiles[0].vertical))
            expected = f"expected one vertical datum, and those of {tiles[0].path} refer to {other}"
            raise InputError(f"dem: {path}: its heights refer to {own}, {expected}")
    return tiles


def _read_mosaic(
    dem: DemConfig, tiles: list[_Tile], *, part: list[slice], factors: list[int], seen: _Seen
) -> tuple[NDArray[np.float32], GeoBox]:
    """Mosaic the elevations, in metres and north up, of a part of the lattice that the pixels of the first tile lie on.

    Rows and columns of `part` count from that tile's upper left corner; what no tile reaches is cut off. `factors` are
    how many rows and columns are averaged into one, without voids. Where two tiles have a value, the first one's
    counts.
    """
    lattice, (down, across) = tiles[0].geobox, factors
    corners = np.stack([pixel_coordinates(lattice, tile.geobox, points=2).reshape(2, -1) for tile in tiles])
    least, most = corners.min(axis=2), corners.max(axis=2)  # each (tile, row and column)
    blocks = []
    for start, stop, wanted, factor in zip(least.min(axis=0), most.max(axis=0), part, factors, strict=True):
        first, last = max(wanted.start, round(start)), min(wanted.stop, round(stop))
        if first >= last:
            raise InputError(f"dem: {', '.join(str(tile.path) for tile in tiles)}: does not overlap the grid")
        blocks.append(range(first // factor, -(-last // factor)))
    rows, cols = blocks
    name, held = f"dem: {tiles[0].path}", (len(rows), len(cols))
    require_few_pixels(name, held, most=LARGEST_GRID_PX)
    require_few_pixels(name, (held[0] * down, held[1] * across))
    metres = np.empty(held, dtype=np.float32)
    strips = row_strips(held[0], max(1, _STRIP_PX // (down * across * held[1])))
    for strip, span in itertools.product(strips, row_strips(held[1], max(1, _STRIP_PX // (down * across)))):
        shape = (strip.stop - strip.start) * down, (span.stop - span.start) * across
        begin = np.array([(rows.start + strip.start) * down, (cols.start + span.start) * across])
        window = GeoBox(shape, lattice.affine * Affine.translation(begin[1], begin[0]), lattice.crs)
        values = np.full(shape, np.nan, dtype=np.float32)
        for tile, own_least, own_most in zip(tiles, least, most, strict=True):
            if (own_least < begin + shape).all() and (own_most > begin).all():
                with open_raster(tile.path) as dataset:
                    read = partial(_read_metres, dataset=dataset, dem=dem, seen=seen)
                    found = resample(tile.geobox, read, window, how=Resampling.bilinear)
                np.copyto(values, found, where=np.isnan(values))
        if factors != [1, 1]:
            valid = np.ma.masked_invalid(values.reshape(-1, down, shape[1] // across, across).astype(np.float64))
            values = valid.mean(axis=(1, 3)).filled(np.nan)
        metres[strip, span] = values
    # A float raster of one single value does not show its steps.
    seen.whole_metres &= all(tile.integer for tile in tiles) or bool(np.ptp(metres[np.isfinite(metres)]) > 0)
    corner = Affine.translation(cols.start * across, rows.start * down) * Affine.scale(across, down)
    geobox = GeoBox(metres.shape, lattice.affine * corner, lattice.crs)
    if geobox.affine.e > 0:  # rows from south to north: turned as those of the grid run
        metres, geobox = metres[::-1], geobox.flipy()
    if geobox.affine.a < 0:
        metres, geobox = metres[:, ::-1], geobox.flipx()
    return np.ascontiguousarray(metres), geobox


def _read_metres(rows: slice, cols: slice, *, dataset: Any, dem: DemConfig, seen: _Seen) -> NDArray[np.float32]:
    """Read a part of a tile, NaN in its voids, and check that it holds land in metres."""
    window = Window.from_slices(rows, cols)
    name = f"dem: {dataset.name}"
    number = data_band(dataset, name=name, expected="elevation alone")
    nodata = nodata_of(dataset, given=dem.nodata, name=name, number=number)
    declared = nodata_of(dataset, given=None, name=name, number=number)  # whoever names another void keeps it
    stored, void = read_stored(dataset, number, window, invalid=[nodata, declared])
    with np.errstate(over="ignore"):  # the lowest float64 means a void
        metres: NDArray[np.float32] = stored.astype(np.float32)
    undeclared = np.isin(metres, np.array(USUAL_VOIDS_M, np.float32)) & ~void
    void |= undeclared
    if stored.dtype.kind == "f":
        undeclared |= (np.abs(stored) >= BEYOND_MEASURE) & np.isfinite(stored) & (stored != nodata)
    seen.undeclared.update(np.unique(metres[undeclared]).tolist())
    metres = metres * np.float32(dataset.scales[number - 1]) + np.float32(dataset.offsets[number - 1])
    metres[void] = np.nan
    seen.whole_metres &= bool((metres[~void] == np.rint(metres[~void])).all())
    _require_land(metres, stored, name)
    return metres


def _require_land(metres: NDArray[np.float32], stored: NDArray[Any], name: str) -> None:
    """Require elevations that there are on land; the line names the stored value, which may be an undeclared void."""
    if np.isnan(metres).all():
        return
    lowest, highest = np.nanargmin(metres), np.nanargmax(metres)
    for at, direction, expected in ((lowest, "down", "land"), (highest, "up", "metres (not feet or decimetres)")):
        if not LOWEST_LAND_M <= metres.flat[at] <= HIGHEST_LAND_M:
            value, found = str(stored.flat[at]), metres.flat[at]
            advice = f"if {value} is its void, give dem.nodata = {value}"
            raise InputError(f"{name}: found elevations {direction} to {found:.6g} m, expected {expected}; {advice}")


def _dem_pixel_m(places: NDArray[np.float64], frame: GeoBox) -> list[float]:
    """Measure height and width of a pixel of the DEM in metres, at the middle of the grid; not finite far from it."""
    k = _POINTS // 2
    rows, cols = (size * pixel_size_m(frame) / (_POINTS - 1) for size in frame.shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        down, right = (places[:, k + 1, k] - places[:, k, k]) / rows, (places[:, k, k + 1] - places[:, k, k]) / cols
        return [float(size) for size in 1 / np.hypot(down, right)]


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
    hole[np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])] = False  # open
    filled: NDArray[np.uint8] = hole[labels].astype(np.uint8)
    if filled.any():
        reach = 2 * math.ceil(math.sqrt(sizes[hole].max())) + 2  # more than to the rim of a hole of that size
        box = tuple(slice(max(0, s.start - reach), s.stop + reach) for s in ndimage.find_objects(filled)[0])
        guess = fillnodata(metres[box], mask=~void[box], max_search_distance=reach, smoothing_iterations=0)
        np.copyto(metres[box], guess, where=filled[box] == 1)
    return filled * np.isfinite(metres)
