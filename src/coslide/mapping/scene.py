"""The probability map of a whole scene: read in strips, blended from overlapping tiles, written as a COG."""

import errno
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.shutil
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from coslide.files import whole_output
from coslide.samples.windows import window_starts

FloatArray = npt.NDArray[np.floating]
ReadRows = Callable[[int, int], FloatArray]
Predict = Callable[[npt.NDArray[np.float32]], FloatArray]
ValidRows = Callable[[int, int], npt.NDArray[np.bool_]]
Progress = Callable[[int, int], None]
Rows = tuple[int, npt.NDArray[np.float32]]

_COG = {"compress": "DEFLATE", "level": 6, "predictor": "YES", "blocksize": 512, "overview_resampling": "AVERAGE"}


@dataclass(frozen=True, slots=True)
class Blending:
    """Return the sizes by which a scene is cut into overlapping tiles and put together again.

    Parameters
    ----------
    tile
        Edge of a square tile [pixels]; the size the network was trained with.
    stride
        Step from one tile to the next [pixels], 1 to `tile`. Half a tile is the usual choice: every pixel away from
        the rim is then seen by four tiles.
    batch
        Tiles given to the network at once. It changes memory and speed, not the result.

    Raises
    ------
    ValueError
        If a size is below 1 or the stride is longer than the tile, which would leave gaps.

    Examples
    --------
    >>> Blending(tile=128, stride=96).stride
    96
    """

    tile: int = 128
    stride: int = 64
    batch: int = 8

    def __post_init__(self) -> None:
        if min(self.tile, self.stride, self.batch) < 1 or self.stride > self.tile:
            raise ValueError(f"expected tile, stride and batch of at least 1 and stride <= tile, found {self}")


def collect(rows: Iterable[Rows]) -> npt.NDArray[np.float32]:
    """Return blocks of rows, as `predict_rows` gives them, as one float32 array (row, col) in memory.

    Raises
    ------
    ValueError
        If there is no block.

    Examples
    --------
    >>> collect([(0, np.zeros((1, 2), np.float32)), (1, np.ones((1, 2), np.float32))])
    array([[0., 0.],
           [1., 1.]], dtype=float32)
    """
    return np.concatenate([block for _, block in rows])


def predict_rows(
    read_rows: ReadRows,
    predict: Predict,
    shape: tuple[int, int],
    *,
    blending: Blending | None = None,
    valid_rows: ValidRows | None = None,
    progress: Progress | None = None,
) -> Iterator[Rows]:
    """Return the landslide probability [0 to 1] of a scene in blocks of rows, from the top down, as they are final.

    Overlapping tiles are averaged with raised-cosine weights, w(i) = sin^2(pi (i + 1/2) / tile) along rows and columns,
    which are above zero up to the rim of a tile and divided by their sum at each pixel. The rim of the scene is
    therefore mapped like its middle. Every row is read once, and memory depends on the width of the scene, not on
    its height.

    Parameters
    ----------
    read_rows
        ``read_rows(start, stop)`` gives rows start to stop - 1 of the network's input as float32 (band, row, col),
        normalised, with finite numbers also where the scene is not valid.
    predict
        ``predict(tiles)`` gives for float32 (tile, band, row, col) the landslide probability as (tile, row, col).
    shape
        Size of the scene (height, width) [pixels].
    blending
        Tile, stride and batch; 128, 64 and 8 by default.
    valid_rows
        ``valid_rows(start, stop)`` gives bool (row, col), True = usable. Tiles without any valid pixel are not given
        to `predict`. None: all is valid.
    progress
        Called with (rows done, rows in all) after each block.

    Yields
    ------
    tuple of int and ndarray
        First row of the block and its probability, float32 (row, col), NaN where the scene is not valid. The blocks
        follow each other without gap or overlap.

    Raises
    ------
    ValueError
        If the scene has no pixel, if what `read_rows`, `valid_rows` or `predict` give has another shape than
        described, or if a probability of a tile is not finite.

    Notes
    -----
    The last row and column of tiles is moved inwards so that it ends at the edge of the scene. A scene smaller than
    a tile is padded by reflection at its lower and right edge, and the result is cropped.

    Examples
    --------
    >>> scene = np.ones((1, 5, 3), dtype=np.float32)
    >>> rows = predict_rows(
    ...     lambda start, stop: scene[:, start:stop],
    ...     lambda tiles: 0.25 * tiles[:, 0],
    ...     (5, 3),
    ...     blending=Blending(tile=2, stride=1),
    ... )
    >>> [(start, block.shape) for start, block in rows]
    [(0, (1, 3)), (1, (1, 3)), (2, (1, 3)), (3, (2, 3))]
    """
    height, width = shape
    if height < 1 or width < 1:
        raise ValueError(f"expected a scene of at least one row and column, found (height, width) = {shape}")
    sizes = blending or Blending()
    tops, row_total = _windows(height, sizes)
    lefts, col_total = _windows(width, sizes)
    # The windows are a product grid, so weights that sum to 1 along each axis sum to 1 in the plane.
    weight = _raised_cosine(sizes.tile)
    across = [weight / col_total[left : left + sizes.tile] for left in lefts]
    scene = _Slab(read_rows, shape, sizes.tile)
    valid = None if valid_rows is None else _Slab(_with_band(valid_rows), shape, sizes.tile)
    total = np.zeros((sizes.tile, max(width, sizes.tile)))  # float64: sums to exactly 1 in float32
    for k, top in enumerate(tops):
        down = weight / row_total[top : top + sizes.tile]
        rows = scene.at(top)
        usable = None if valid is None else valid.at(top)[0].astype(bool)
        picked = [j for j, left in enumerate(lefts) if usable is None or usable[:, left : left + sizes.tile].any()]
        for i in range(0, len(picked), sizes.batch):
            batch = picked[i : i + sizes.batch]
            tiles = np.stack([rows[:, :, lefts[j] : lefts[j] + sizes.tile] for j in batch])
            for j, probability in zip(batch, _predicted(predict, tiles, top), strict=True):
                total[:, lefts[j] : lefts[j] + sizes.tile] += probability * np.outer(down, across[j])
        final = (tops[k + 1] if k + 1 < len(tops) else height) - top
        block = total[:final, :width].astype(np.float32)
        if usable is not None:
            block[~usable[:final, :width]] = np.nan
        yield top, block
        if progress is not None:
            progress(top + final, height)
        _slide(total, final)
        total[-final:] = 0


def write_probability(path: Path, rows: Iterable[Rows], grid: GeoBox, *, tags: Mapping[str, str] | None = None) -> Path:
    """Return the path of the probability map [0 to 1], written from blocks of rows as a Cloud-Optimised GeoTIFF.

    Parameters
    ----------
    path
        The file to write; it appears whole or not at all.
    rows
        Blocks as `predict_rows` gives them: first row and float32 (row, col), from the top down without gap.
    grid
        CRS, transform and size of the map.
    tags
        Metadata of the file, for instance the model and the date.

    Returns
    -------
    Path
        `path`: one float32 band, nodata NaN, DEFLATE, blocks of 512 x 512 pixels, averaged overviews.

    Raises
    ------
    InputError
        If the disk is full or the folder cannot be written.
    ValueError
        If the grid has no CRS, or the blocks do not fill it row by row.
    OSError
        If the file does not read back as it was written although the disk has room.

    Notes
    -----
    GDAL does not report a disk that fills while a file is closed. The map is therefore read again and the checksum of
    each block compared before it takes its name.

    Examples
    --------
    >>> import tempfile
    >>> from affine import Affine
    >>> grid = GeoBox((2, 3), Affine(10, 0, 300000, 0, -10, 3700000), "EPSG:32648")
    >>> rows = [(0, np.full((2, 3), 0.25, np.float32))]
    >>> path = write_probability(Path(tempfile.mkdtemp()) / "probability.tif", rows, grid)
    >>> with rasterio.open(path) as written:
    ...     written.read(1)
    array([[0.25, 0.25, 0.25],
           [0.25, 0.25, 0.25]], dtype=float32)
    """
    if grid.crs is None:
        raise ValueError(f"expected a grid with a CRS, found {grid!r}")
    with whole_output(path) as part, _work_folder(part) as work:
        plain, cog = work / "rows.tif", work / "cog.tif"
        checksums = _write_plain(plain, rows, grid, dict(tags or {}))
        with _full_disk_named(work, grid):
            rasterio.shutil.copy(plain, cog, driver="COG", **_COG)
            _compare(cog, checksums)
        cog.replace(part)
    return path


class _Slab:
    """The rows under one row of windows; each row is read once, small scenes are padded to one tile."""

    def __init__(self, read: Callable[[int, int], npt.NDArray[np.generic]], shape: tuple[int, int], tile: int) -> None:
        self._read, self._tile = read, tile
        self._height, self._width = shape
        self._top = self._stop = 0
        self._rows: npt.NDArray[np.generic] | None = None

    def at(self, top: int) -> npt.NDArray[np.generic]:
        """Return rows top to top + tile - 1 as (band, row, col); valid until the next call, which must lie lower."""
        stop = min(top + self._tile, self._height)
        fresh = np.asarray(self._read(self._stop, stop))
        expected = (stop - self._stop, self._width)
        if fresh.ndim != 3 or fresh.shape[1:] != expected:
            raise ValueError(
                f"rows {self._stop} to {stop - 1}: expected (band, row, col) with (row, col) = {expected}, "
                f"found {fresh.shape}"
            )
        below, right = max(self._tile - self._height, 0), max(self._tile - self._width, 0)
        if below or right:
            fresh = np.pad(fresh, ((0, 0), (0, below), (0, right)), mode="reflect")
        if self._rows is None:
            self._rows = np.array(fresh)  # a copy: the caller may hand out views of the scene
        else:
            for band in self._rows:
                _slide(band, top - self._top)
            self._rows[:, self._tile - fresh.shape[1] :] = fresh
        self._top, self._stop = top, stop
        return self._rows


def _slide(rows: npt.NDArray[np.generic], count: int) -> None:
    rows[: len(rows) - count] = rows[count:]


def _with_band(valid_rows: ValidRows) -> Callable[[int, int], npt.NDArray[np.bool_]]:
    return lambda start, stop: valid_rows(start, stop)[np.newaxis]


def _windows(size: int, sizes: Blending) -> tuple[list[int], npt.NDArray[np.float64]]:
    """Return the first pixel of each window along one axis and the sum of the windows' weights at each pixel."""
    starts = window_starts(max(size, sizes.tile), sizes.tile, sizes.stride)
    weight = _raised_cosine(sizes.tile)
    total = np.zeros(max(size, sizes.tile))
    for start in starts:
        total[start : start + sizes.tile] += weight
    return starts, total


def _raised_cosine(tile: int) -> npt.NDArray[np.float64]:
    weight: npt.NDArray[np.float64] = np.sin(np.pi * (np.arange(tile) + 0.5) / tile) ** 2
    return weight


def _predicted(predict: Predict, tiles: npt.NDArray[np.float32], top: int) -> FloatArray:
    probability = np.asarray(predict(tiles))
    expected = (len(tiles), *tiles.shape[2:])
    if probability.shape != expected:
        raise ValueError(f"predict: expected (tile, row, col) = {expected}, found {probability.shape}")
    if not np.isfinite(probability).all():
        raise ValueError(f"predict: found a probability that is not finite in the tiles from row {top}")
    return probability


@contextmanager
def _work_folder(part: Path) -> Iterator[Path]:
    folder = part.with_suffix(".work")  # a fixed name: what a killed run left is removed by the next one
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _full_disk_named(folder: Path, grid: GeoBox) -> Iterator[None]:
    """Raise ENOSPC for a failure of GDAL, which names another cause, where the map could not have fitted."""
    try:
        yield
    except Exception as error:
        largest = grid.shape[0] * grid.shape[1] * 4 * 4 // 3 + 2**16  # float32 with overviews, not compressed, header
        if shutil.disk_usage(folder).free < largest:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        raise


def _write_plain(path: Path, rows: Iterable[Rows], grid: GeoBox, tags: dict[str, str]) -> list[tuple[int, int, int]]:
    """Return (first row, count, CRC-32) of each block, written to a striped file that the COG driver can read."""
    height, width = grid.shape
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": "float32", "nodata": np.nan}
    profile |= {"crs": str(grid.crs), "transform": grid.affine, "BIGTIFF": "IF_SAFER"}
    checksums: list[tuple[int, int, int]] = []
    done = 0
    with rasterio.open(path, "w", **profile) as file:
        file.update_tags(**tags)
        file.set_band_description(1, "landslide probability")
        for start, given in rows:
            block = np.asarray(given, np.float32)
            if start != done or block.shape[1:] != (width,) or done + len(block) > height:
                raise ValueError(
                    f"expected the rows from {done} of a map of {height} x {width}, found {block.shape} at row {start}"
                )
            with _full_disk_named(path.parent, grid):
                file.write(block, 1, window=Window(0, start, width, len(block)))
            checksums.append((start, len(block), zlib.crc32(block.tobytes())))
            done += len(block)
    if done < height:
        raise ValueError(f"expected {height} rows, found {done}")
    return checksums


def _compare(path: Path, checksums: list[tuple[int, int, int]]) -> None:
    with rasterio.open(path) as file:
        for start, count, checksum in checksums:
            block = file.read(1, window=Window(0, start, file.width, count))
            if zlib.crc32(block.tobytes()) != checksum:
                raise OSError(errno.EIO, f"rows {start} to {start + count - 1} do not read back as written", str(path))
