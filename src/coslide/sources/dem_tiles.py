"""The tiles of an elevation model: what they declare, and their elevations side by side."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.enums import MaskFlags, Resampling, WktVersion
from rasterio.warp import reproject
from rasterio.windows import Window

from coslide.config.schema import DemConfig
from coslide.errors import InputError
from coslide.grid import slice_within
from coslide.io.raster import nodata_of, open_raster

USUAL_VOIDS_M = (-32768.0, -9999.0, float(np.finfo(np.float32).min))
LOWEST_LAND_M, HIGHEST_LAND_M = -500.0, 9000.0  # the Dead Sea shore lies at -430 m, Everest at 8849 m
_OTHER_UNITS = ("f", "us", "dm", "deci", "cm", "centi", "km", "kilo", "mm", "milli")
_STRIP_PX = 2**24  # read at once
_OFF_LATTICE_PX = 0.02  # tiles of one model agree to a millionth


class DemTile(NamedTuple):
    """What a tile declares.

    Attributes
    ----------
    path
        Its file.
    crs
        Its horizontal CRS.
    vertical
        The name of its vertical CRS; "" where it declares none.
    transform, shape
        As in rasterio.
    integer
        Whether it stores integers.
    """

    path: Path
    crs: CRS
    vertical: str
    transform: Affine
    shape: tuple[int, int]
    integer: bool


class DemMosaic(NamedTuple):
    """Elevations of all tiles in the part that was asked for.

    Attributes
    ----------
    metres
        float32 (row, col), NaN where the tiles are void.
    transform
        Of `metres`.
    whole_metres
        Whether the tiles hold nothing but whole metres.
    undeclared
        The values that were taken for voids though the tiles do not declare them.
    """

    metres: NDArray[np.float32]
    transform: Affine
    whole_metres: bool
    undeclared: frozenset[float]


class _Elevations(NamedTuple):
    """A part of a tile in metres, NaN in its voids, with the undeclared values of these and whether it is whole."""

    metres: NDArray[np.float32]
    whole_metres: bool
    undeclared: frozenset[float]


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
        if not tile.crs.equals(first.crs, ignore_axis_order=True):
            raise InputError(
                f"dem: {tile.path}: found the CRS {tile.crs.name}, expected that of {first.path}, {first.crs.name}"
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
    rows, cols = _clip_part(tiles, part, factors)
    down, across = factors
    height, width = (rows.stop - rows.start) // down, (cols.stop - cols.start) // across
    transform = tiles[0].transform * Affine.translation(cols.start, rows.start)
    metres = np.empty((height, width), dtype=np.float32)
    whole, undeclared = True, frozenset[float]()
    step = max(1, _STRIP_PX // (down * width * across))
    for top in range(0, height, step):
        strip = np.full((min(step, height - top) * down, width * across), np.nan, dtype=np.float32)
        at = transform * Affine.translation(0, top * down)
        for tile in tiles:
            if (found := _read_onto(strip, at, tile, dem)) is not None:
                missing = np.isnan(strip)
                strip[missing] = found.metres[missing]
                whole, undeclared = whole and found.whole_metres, undeclared | found.undeclared
        metres[top : top + step] = _average(strip, down, across)
    # A float raster of one single value does not show its steps.
    whole = whole and (all(tile.integer for tile in tiles) or bool(np.ptp(metres[np.isfinite(metres)]) > 0))
    return DemMosaic(metres, transform * Affine.scale(across, down), whole, undeclared)


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
        return DemTile(path, crs, vertical, dataset.transform, dataset.shape, integer)


def _clip_part(tiles: list[DemTile], part: tuple[slice, slice], factors: tuple[int, int]) -> tuple[slice, slice]:
    """Cut off from `part` what lies beyond all tiles, in whole blocks of `factors`."""
    corners = np.concatenate([_corners(tile.shape, ~tiles[0].transform * tile.transform) for tile in tiles])
    found = []
    for reach, wanted, factor in zip(corners.T, part, factors, strict=True):
        start, stop = max(wanted.start, round(reach.min())), min(wanted.stop, round(reach.max()))
        if start >= stop:
            raise InputError(f"dem: {', '.join(str(tile.path) for tile in tiles)}: does not overlap the grid")
        found.append(slice(math.floor(start / factor) * factor, math.ceil(stop / factor) * factor))
    return found[0], found[1]


def _corners(shape: tuple[int, ...], transform: Affine) -> NDArray[np.float64]:
    """Transform the corners of a raster, (corner, row and column)."""
    height, width = shape
    return np.array([(transform * at)[::-1] for at in ((0, 0), (width, 0), (0, height), (width, height))])


def _read_onto(strip: NDArray[np.float32], transform: Affine, tile: DemTile, dem: DemConfig) -> _Elevations | None:
    """Read a tile onto the pixels of a strip; None where the two do not meet.

    Pixels that coincide are copied, within a fiftieth of a pixel; others are interpolated, or averaged where they are
    smaller.
    """
    to_tile = ~tile.transform * transform
    own = ~to_tile
    height, width = tile.shape
    drift = max(abs(own.a - 1) * width, abs(own.e - 1) * height, abs(own.b) * height, abs(own.d) * width)
    aligned = max(drift, abs(own.f - round(own.f)), abs(own.c - round(own.c))) < _OFF_LATTICE_PX
    reach, margin = _corners(strip.shape, to_tile), 0 if aligned else 2
    rows, cols = (
        slice_within(math.floor(round(axis.min(), 1)) - margin, math.ceil(round(axis.max(), 1)) + margin, size)
        for axis, size in zip(reach.T, tile.shape, strict=True)
    )
    if rows.start == rows.stop or cols.start == cols.stop:
        return None
    with open_raster(tile.path) as dataset:
        window = Window(cols.start, rows.start, cols.stop - cols.start, rows.stop - rows.start)
        found = _read_metres(dataset, dem, window)
        placed = np.full(strip.shape, np.nan, dtype=np.float32)
        if aligned:
            top, left = rows.start + round(own.f), cols.start + round(own.c)
            placed[top : top + window.height, left : left + window.width] = found.metres
        else:
            reproject(
                found.metres,
                placed,
                src_transform=dataset.window_transform(window),
                src_crs=dataset.crs,
                src_nodata=np.nan,
                dst_transform=transform,
                dst_crs=dataset.crs,
                dst_nodata=np.nan,
                resampling=Resampling.average if abs(to_tile.determinant) > 2 else Resampling.bilinear,
            )
    return found._replace(metres=placed)


def _read_metres(dataset: Any, dem: DemConfig, window: Window) -> _Elevations:
    """Read a part of a tile, and check that it holds land in metres."""
    stored = dataset.read(1, window=window)
    with np.errstate(over="ignore"):  # the lowest float64 means a void
        metres: NDArray[np.float32] = stored.astype(np.float32)
    void = ~np.isfinite(metres)
    nodata = nodata_of(dataset, given=dem.nodata, name=f"dem: {dataset.name}")
    if nodata is not None:
        void |= stored == nodata
    if MaskFlags.per_dataset in dataset.mask_flag_enums[0]:
        void |= dataset.read_masks(1, window=window) == 0
    usual = {value: (metres == np.float32(value)) & ~void for value in USUAL_VOIDS_M}
    undeclared = frozenset(value for value, found in usual.items() if found.any())
    for value in undeclared:
        void |= usual[value]
    scale, offset = dataset.scales[0], dataset.offsets[0]
    if (scale, offset) != (1.0, 0.0):
        metres = (metres * scale + offset).astype(np.float32)
    metres[void] = np.nan
    valid = metres[~void]
    lowest, highest = valid.min(initial=np.inf), valid.max(initial=-np.inf)
    if lowest < LOWEST_LAND_M:
        raise InputError(
            f"dem: {dataset.name}: found elevations down to {lowest:.0f} m, expected land; if that is its void, give "
            "dem.nodata"
        )
    if highest > HIGHEST_LAND_M:
        raise InputError(
            f"dem: {dataset.name}: found elevations up to {highest:.0f} m, expected metres (not feet or decimetres)"
        )
    return _Elevations(metres, bool((valid == np.rint(valid)).all()), undeclared)


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
