"""The tiles of an elevation model: what they declare, and their elevations side by side."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS
from rasterio.enums import MaskFlags, Resampling, WktVersion

from coslide.config.schema import DemConfig
from coslide.errors import InputError
from coslide.grid import pixel_coordinates
from coslide.io.raster import nodata_of, open_raster
from coslide.io.resample import resample

USUAL_VOIDS_M = (-32768.0, -9999.0, float(np.finfo(np.float32).min))
LOWEST_LAND_M, HIGHEST_LAND_M = -500.0, 9000.0  # the Dead Sea shore lies at -430 m, Everest at 8849 m
_OTHER_UNITS = ("f", "us", "dm", "deci", "cm", "centi", "km", "kilo", "mm", "milli")
_STRIP_PX = 2**24  # read at once


class DemTile(NamedTuple):
    """What a tile declares.

    Attributes
    ----------
    path
        Its file.
    geobox
        Where its pixels lie, in its horizontal CRS.
    vertical
        The name of its vertical CRS; "" where it declares none.
    integer
        Whether it stores integers.
    """

    path: Path
    geobox: GeoBox
    vertical: str
    integer: bool


class DemMosaic(NamedTuple):
    """Elevations of all tiles in the part that was asked for.

    Attributes
    ----------
    metres
        float32 (row, col), NaN where the tiles are void.
    geobox
        Where its pixels lie.
    whole_metres
        Whether the tiles hold nothing but whole metres.
    undeclared
        The values that were taken for voids though the tiles do not declare them.
    """

    metres: NDArray[np.float32]
    geobox: GeoBox
    whole_metres: bool
    undeclared: frozenset[float]


@dataclass
class _Seen:
    """What the values of all tiles have in common, learnt while they are read."""

    whole_metres: bool = True
    undeclared: set[float] = field(default_factory=set)


def describe_tiles(dem: DemConfig) -> list[DemTile]:
    """Read what each tile of `dem` declares.

    Raises
    ------
    InputError
        If a tile cannot be read, lacks a CRS, has several bands or is not in metres, or the tiles differ in their CRS
        or vertical CRS.
    """
    first, *others = tiles = [_describe_tile(path) for path in dem.paths]
    for tile in others:
        found, expected = (CRS.from_user_input(str(own.geobox.crs)) for own in (tile, first))
        if not found.equals(expected, ignore_axis_order=True):
            raise InputError(
                f"dem: {tile.path}: found the CRS {found.name}, expected that of {first.path}, {expected.name}"
            )
        if tile.vertical != first.vertical:
            raise InputError(
                f"dem: {tile.path}: its heights refer to {tile.vertical or 'a datum not recorded'}, those of "
                f"{first.path} to {first.vertical or 'one not recorded'}; expected one vertical datum"
            )
    return tiles


def read_mosaic(
    dem: DemConfig, tiles: list[DemTile], part: tuple[slice, slice], *, factors: tuple[int, int] = (1, 1)
) -> DemMosaic:
    """Mosaic the elevations, in metres, of a part of the lattice that the pixels of the first tile lie on.

    Parameters
    ----------
    dem
        The table of the event file.
    tiles
        As `describe_tiles` returns them. Where two have a value, the first one's counts.
    part
        Rows and columns, from the first tile's upper left corner; they may be negative. What no tile reaches is cut
        off.
    factors
        How many rows and columns are averaged into one; voids are left out.

    Returns
    -------
    DemMosaic
        Voids are NaN: the declared value (or `dem.nodata`), masked pixels, -32768, -9999, the lowest float32, NaN and
        infinity.

    Raises
    ------
    InputError
        If a tile cannot be read, no tile reaches into `part`, elevations lie below -500 m or above 9000 m, or
        `dem.nodata` is a value that a tile cannot hold.
    """
    lattice = tiles[0].geobox
    corners = np.stack([pixel_coordinates(lattice, tile.geobox, points=2).reshape(2, -1) for tile in tiles])
    least, most = corners.min(axis=2), corners.max(axis=2)  # each (tile, row and column)
    blocks = []
    for start, stop, wanted, factor in zip(least.min(axis=0), most.max(axis=0), part, factors, strict=True):
        first, last = max(wanted.start, round(start)), min(wanted.stop, round(stop))
        if first >= last:
            raise InputError(f"dem: {', '.join(str(tile.path) for tile in tiles)}: does not overlap the grid")
        blocks.append(range(first // factor, -(-last // factor)))
    (rows, cols), (down, across) = blocks, factors
    metres = np.empty((len(rows), len(cols)), dtype=np.float32)
    seen = _Seen()
    step = max(1, _STRIP_PX // (down * across * len(cols)))
    for top in range(0, len(rows), step):
        shape = min(step, len(rows) - top) * down, len(cols) * across
        begin = np.array([(rows.start + top) * down, cols.start * across])
        window = GeoBox(shape, lattice.affine * Affine.translation(begin[1], begin[0]), lattice.crs)
        strip = np.full(shape, np.nan, dtype=np.float32)
        for tile, own_least, own_most in zip(tiles, least, most, strict=True):
            if (own_least < begin + shape).all() and (own_most > begin).all():
                with open_raster(tile.path) as dataset:
                    read = partial(_read_metres, dataset=dataset, dem=dem, seen=seen)
                    values = resample(tile.geobox, read, window, how=Resampling.bilinear)
                strip = np.where(np.isnan(strip), values, strip)
        metres[top : top + step] = _average(strip, down, across)
    # A float raster of one single value does not show its steps.
    steps = all(tile.integer for tile in tiles) or bool(np.ptp(metres[np.isfinite(metres)]) > 0)
    corner = Affine.translation(cols.start * across, rows.start * down) * Affine.scale(across, down)
    geobox = GeoBox(metres.shape, lattice.affine * corner, lattice.crs)
    return DemMosaic(metres, geobox, seen.whole_metres and steps, frozenset(seen.undeclared))


def _describe_tile(path: Path) -> DemTile:
    with open_raster(path) as dataset:
        if dataset.count > 1:
            raise InputError(f"dem: {path}: holds {dataset.count} bands; expected elevation alone")
        crs = CRS.from_wkt(dataset.crs.to_wkt(version=WktVersion.WKT2_2019))
        unit = (dataset.units[0] or "").strip()
        vertical = ""
        if crs.is_compound:
            crs, upright = crs.sub_crs_list[:2]
            vertical, unit = upright.name, upright.axis_info[0].unit_name
        elif len(crs.axis_info) == 3:
            vertical, unit = f"the ellipsoid of {crs.name}", crs.axis_info[2].unit_name
            crs = crs.to_2d()
        if unit.lower().startswith(_OTHER_UNITS):
            raise InputError(f"dem: {path}: found heights in {unit!r}, expected metres")
        integer = np.dtype(dataset.dtypes[0]).kind in "iu"
        return DemTile(path, GeoBox(dataset.shape, dataset.transform, crs.to_wkt()), vertical, integer)


def _read_metres(rows: slice, cols: slice, *, dataset: Any, dem: DemConfig, seen: _Seen) -> NDArray[np.float32]:
    """Read a part of a tile, NaN in its voids, and check that it holds land in metres."""
    if rows.start == rows.stop or cols.start == cols.stop:
        return np.empty((0, 0), dtype=np.float32)
    window = (rows.start, rows.stop), (cols.start, cols.stop)
    stored = dataset.read(1, window=window)
    with np.errstate(over="ignore"):  # the lowest float64 means a void
        metres: NDArray[np.float32] = stored.astype(np.float32)
    void = ~np.isfinite(metres)
    nodata = nodata_of(dataset, given=dem.nodata, name=f"dem: {dataset.name}")
    if nodata is not None:
        void |= stored == nodata
    if MaskFlags.per_dataset in dataset.mask_flag_enums[0]:
        void |= dataset.read_masks(1, window=window) == 0
    for value in USUAL_VOIDS_M:
        usual = (metres == np.float32(value)) & ~void
        if usual.any():
            seen.undeclared.add(value)
            void |= usual
    scale, offset = dataset.scales[0], dataset.offsets[0]
    if (scale, offset) != (1.0, 0.0):
        metres = (metres * scale + offset).astype(np.float32)
    metres[void] = np.nan
    valid = metres[~void]
    seen.whole_metres &= bool((valid == np.rint(valid)).all())
    lowest, highest = valid.min(initial=np.inf), valid.max(initial=-np.inf)
    if lowest < LOWEST_LAND_M:
        hint = "land; if that is its void, give dem.nodata"
        raise InputError(f"dem: {dataset.name}: found elevations down to {lowest:.0f} m, expected {hint}")
    if highest > HIGHEST_LAND_M:
        hint = "metres (not feet or decimetres)"
        raise InputError(f"dem: {dataset.name}: found elevations up to {highest:.0f} m, expected {hint}")
    return metres


def _average(block: NDArray[np.float32], down: int, across: int) -> NDArray[np.float32]:
    """Average the valid pixels in each block of `down` x `across` pixels."""
    if (down, across) == (1, 1):
        return block
    height, width = block.shape
    blocks = block.reshape(height // down, down, width // across, across)
    valid = np.isfinite(blocks)
    count = valid.sum(axis=(1, 3))
    total = np.where(valid, blocks, 0).sum(axis=(1, 3), dtype=np.float64)
    mean: NDArray[np.float64] = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
    return mean.astype(np.float32)
