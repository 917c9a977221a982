"""The tiles of an elevation model: what they say of themselves, and their elevations side by side."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.enums import MaskFlags, Resampling, WktVersion
from rasterio.warp import reproject
from rasterio.windows import Window

from coslide.config.schema import DemConfig
from coslide.errors import InputError
from coslide.io.raster import open_raster

USUAL_VOIDS_M = (-32768.0, -9999.0, float(np.finfo(np.float32).min))
LOWEST_LAND_M, HIGHEST_LAND_M = -500.0, 9000.0  # the Dead Sea shore lies at -430 m, Everest at 8849 m
_OTHER_UNITS = ("f", "us", "dm", "deci", "cm", "centi", "km", "kilo", "mm", "milli")
_STRIP_CELLS = 2**24  # read at once
_OFF_LATTICE = 0.02  # cells; tiles of one model agree to a millionth


class Tile(NamedTuple):
    """What a tile says of itself.

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
    """

    path: Path
    crs: CRS
    vertical: str
    transform: Affine
    shape: tuple[int, int]


class Mosaic(NamedTuple):
    """Elevations of all tiles in the part that was asked for.

    Attributes
    ----------
    metres
        float32 (row, col), NaN where unknown.
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
    undeclared: tuple[float, ...]


class _Canvas(NamedTuple):
    """What tiles are laid onto: elevations, and of how many known cells of tiles each one is the mean."""

    metres: NDArray[np.float32]
    known: NDArray[np.uint32]

    def lay(
        self, place: tuple[slice, slice], mean: NDArray[np.float32], known: NDArray[np.uint32], *, most: int
    ) -> None:
        """Take means of `known` cells in, where there are fewer than `most` yet: an edge of a tile may cut a block."""
        metres, before = self.metres[place], self.known[place]
        wanted = (before < most) & (known > 0)
        old, new = before[wanted].astype(np.float64), known[wanted].astype(np.float64)
        total = np.where(old > 0, metres[wanted], 0) * old + mean[wanted] * new
        metres[wanted] = total / (old + new)
        before[wanted] += known[wanted]


class _Findings:
    """What is learnt while tiles are read."""

    def __init__(self) -> None:
        self.integer, self.whole = True, True
        self.lowest, self.highest = math.inf, -math.inf
        self.undeclared: set[float] = set()


def describe_tiles(dem: DemConfig) -> list[Tile]:
    """Return what each tile of `dem` says of itself.

    Raises
    ------
    InputError
        If a tile cannot be read, lacks a CRS, has several bands or is not in metres, or the tiles differ in their CRS
        or vertical CRS.
    """
    tiles = [_describe_tile(path) for path in dem.paths]
    first = tiles[0]
    for tile in tiles[1:]:
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
    dem: DemConfig, tiles: Sequence[Tile], part: tuple[slice, slice], *, factors: tuple[int, int] = (1, 1)
) -> Mosaic:
    """Return the elevations, in metres, of a part of the lattice that the cells of the first tile lie on.

    Parameters
    ----------
    dem
        What the event file says of them.
    tiles
        As `describe_tiles` returns them. Where two have a value, the first one's counts; a block of averaged cells that
        the edge of a tile cuts is the mean over both.
    part
        Rows and columns, from the first tile's upper left corner; they may be negative. What no tile reaches is cut
        off.
    factors
        How many rows and columns are averaged into one; unknown cells are left out.

    Returns
    -------
    Mosaic
        Voids are NaN: the declared value (or `dem.nodata`), masked cells, -32768, -9999, the lowest float32, NaN and
        infinity.

    Raises
    ------
    InputError
        If a tile cannot be read, no tile reaches into `part`, elevations lie below -500 m or above 9000 m, or
        `dem.nodata` is a value that a tile cannot hold.
    """
    lattice = tiles[0].transform
    rows, cols = _clip_part(tiles, part, factors)
    shape = (rows.stop - rows.start) // factors[0], (cols.stop - cols.start) // factors[1]
    transform = lattice * Affine.translation(cols.start, rows.start) * Affine.scale(factors[1], factors[0])
    canvas = _Canvas(np.full(shape, np.nan, dtype=np.float32), np.zeros(shape, dtype=np.uint32))
    findings = _Findings()
    for tile in tiles:
        with open_raster(tile.path) as dataset:
            if offset := _offset_on(lattice, tile):
                frame = (rows.start - offset[0], cols.start - offset[1], *factors)
                _paste(dataset, dem, canvas, frame=frame, findings=findings)
            else:
                _paste_warped(
                    dataset, dem, canvas, transform=transform, most=factors[0] * factors[1], findings=findings
                )
        _require_land(tile.path, findings)
    # A float raster of one single value says nothing about its steps.
    whole = findings.whole and (findings.integer or findings.highest > findings.lowest)
    return Mosaic(canvas.metres, transform, whole, tuple(sorted(findings.undeclared)))


def _describe_tile(path: Path) -> Tile:
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
        return Tile(path, crs, vertical, dataset.transform, dataset.shape)


def _clip_part(tiles: Sequence[Tile], part: tuple[slice, slice], factors: tuple[int, int]) -> tuple[slice, slice]:
    """Return `part` without what lies beyond all tiles, in whole blocks of `factors`."""
    corners = []
    for tile in tiles:
        height, width = tile.shape
        to_lattice = ~tiles[0].transform * tile.transform
        corners += [to_lattice * corner for corner in ((0, 0), (width, 0), (0, height), (width, height))]
    found = []
    for axis, (wanted, factor) in enumerate(zip(part, factors, strict=True)):
        reach = [corner[1 - axis] for corner in corners]
        start, stop = max(wanted.start, round(min(reach))), min(wanted.stop, round(max(reach)))
        if start >= stop:
            raise InputError(f"dem: {', '.join(str(tile.path) for tile in tiles)}: does not overlap the grid")
        found.append(slice(math.floor(start / factor) * factor, math.ceil(stop / factor) * factor))
    return found[0], found[1]


def _offset_on(lattice: Affine, tile: Tile) -> tuple[int, int] | None:
    """Return the row and the column where a tile begins, or None if its cells are not those of the lattice."""
    own = ~lattice * tile.transform
    row, col = round(own.f), round(own.c)
    height, width = tile.shape
    drift = max(abs(own.a - 1) * width, abs(own.e - 1) * height, abs(own.b) * height, abs(own.d) * width)
    off = max(drift, abs(own.f - row), abs(own.c - col))
    return (row, col) if off < _OFF_LATTICE else None


def _paste(
    dataset: Any, dem: DemConfig, canvas: _Canvas, *, frame: tuple[int, int, int, int], findings: _Findings
) -> None:
    """Lay averages of the blocks of a tile onto the canvas.

    `frame` is the row and the column of the tile where the canvas begins, and the factors.
    """
    top, left, down, across = frame
    height, width = canvas.metres.shape
    first, last = max(0, -top // down), min(height, math.ceil((dataset.height - top) / down))
    start, stop = max(0, left), min(dataset.width, left + width * across)
    if start >= stop:
        return
    # Whole blocks; only their known part is read.
    cols = slice((start - left) // across, math.ceil((stop - left) / across))
    step = max(1, _STRIP_CELLS // (down * (stop - start)))
    for row in range(first, last, step):
        end = min(row + step, last)
        begin, finish = max(0, top + row * down), min(dataset.height, top + end * down)
        if begin >= finish:
            continue
        block = np.full(((end - row) * down, (cols.stop - cols.start) * across), np.nan, dtype=np.float32)
        y, x = begin - top - row * down, start - left - cols.start * across
        window = Window(start, begin, stop - start, finish - begin)
        block[y : y + finish - begin, x : x + stop - start] = _read_metres(dataset, dem, window, findings)
        canvas.lay((slice(row, end), cols), *_average(block, down, across), most=down * across)


def _paste_warped(
    dataset: Any, dem: DemConfig, canvas: _Canvas, *, transform: Affine, most: int, findings: _Findings
) -> None:
    """Lay a tile whose cells lie elsewhere or have another size onto the canvas."""
    to_tile = ~dataset.transform * transform
    height, width = canvas.metres.shape
    corners = [to_tile * corner for corner in ((0, 0), (width, 0), (0, height), (width, height))]
    cols, rows = ([corner[axis] for corner in corners] for axis in (0, 1))
    left, top = max(0, math.floor(min(cols)) - 2), max(0, math.floor(min(rows)) - 2)
    right, bottom = min(dataset.width, math.ceil(max(cols)) + 2), min(dataset.height, math.ceil(max(rows)) + 2)
    if left >= right or top >= bottom:
        return
    own = _read_metres(dataset, dem, Window(left, top, right - left, bottom - top), findings)
    warped = np.full(canvas.metres.shape, np.nan, dtype=np.float32)
    reproject(
        own,
        warped,
        src_transform=dataset.transform * Affine.translation(left, top),
        src_crs=dataset.crs,
        src_nodata=np.nan,
        dst_transform=transform,
        dst_crs=dataset.crs,
        dst_nodata=np.nan,
        resampling=Resampling.average if abs(to_tile.determinant) > 2 else Resampling.bilinear,
    )
    known = np.where(np.isfinite(warped) & (canvas.known == 0), most, 0).astype(np.uint32)
    canvas.lay((slice(None), slice(None)), warped, known, most=most)


def _read_metres(dataset: Any, dem: DemConfig, window: Window, findings: _Findings) -> NDArray[np.float32]:
    """Return a part of a tile, NaN in its voids."""
    stored = dataset.read(1, window=window)
    dtype = stored.dtype
    with np.errstate(over="ignore"):  # the lowest float64 means a void
        metres: NDArray[np.float32] = stored.astype(np.float32)
    void = ~np.isfinite(metres)
    nodata = _stored_nodata(dataset, dem, dtype)
    if nodata is not None:
        void |= stored == nodata
    if MaskFlags.per_dataset in dataset.mask_flag_enums[0]:
        void |= dataset.read_masks(1, window=window) == 0
    for value in USUAL_VOIDS_M:
        usual = metres == np.float32(value)
        usual &= ~void
        if usual.any():
            findings.undeclared.add(value)
            void |= usual
    scale, offset = dataset.scales[0], dataset.offsets[0]
    if (scale, offset) != (1.0, 0.0):
        metres = (metres * scale + offset).astype(np.float32)
    metres[void] = np.nan
    findings.integer = findings.integer and dtype.kind in "iu"
    _note_values(metres[~void] if void.any() else metres, findings)
    return metres


def _stored_nodata(dataset: Any, dem: DemConfig, dtype: np.dtype[Any]) -> Any:
    """Return the value of voids in the type of the raster; None where there is none or it cannot occur."""
    nodata = dataset.nodata if dem.nodata is None else dem.nodata
    if nodata is None:
        return None
    if rasterio.dtypes.can_cast_dtype(nodata, dtype.name):
        return dtype.type(nodata)
    if dem.nodata is None:
        return None
    raise InputError(
        f"dem: {dataset.name}: found nodata {nodata:g} for values of type {dtype.name}, which cannot hold it"
    )


def _note_values(known: NDArray[np.float32], findings: _Findings) -> None:
    if known.size:
        findings.whole = findings.whole and bool((known == np.rint(known)).all())
        findings.lowest = min(findings.lowest, float(known.min()))
        findings.highest = max(findings.highest, float(known.max()))


def _require_land(path: Path, findings: _Findings) -> None:
    if findings.lowest < LOWEST_LAND_M:
        raise InputError(
            f"dem: {path}: found elevations down to {findings.lowest:.0f} m, expected land; if that is its void, give "
            "dem.nodata"
        )
    if findings.highest > HIGHEST_LAND_M:
        raise InputError(
            f"dem: {path}: found elevations up to {findings.highest:.0f} m, expected metres (not feet or decimetres)"
        )


def _average(block: NDArray[np.float32], down: int, across: int) -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
    """Return the mean of the known cells in each block of `down` x `across` cells, and how many they are."""
    if (down, across) == (1, 1):
        return block, np.isfinite(block).astype(np.uint32)
    height, width = block.shape
    blocks = block.reshape(height // down, down, width // across, across)
    known = np.isfinite(blocks)
    count = known.sum(axis=(1, 3))
    total = np.where(known, blocks, 0).sum(axis=(1, 3), dtype=np.float64)
    mean: NDArray[np.float32] = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0).astype(
        np.float32
    )
    return mean, count.astype(np.uint32)
