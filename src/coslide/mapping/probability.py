"""The probability map on disk: written row by row as it is made, and delivered as a Cloud-Optimised GeoTIFF."""

import errno
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from coslide.files import whole_output
from coslide.mapping.scene import Rows
from coslide.workers import ahead

_COG = {"compress": "DEFLATE", "level": 6, "predictor": "YES", "blocksize": 512, "overview_resampling": "AVERAGE"}


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
        with ahead(rows) as made:  # the next rows are computed while these are written
            for start, given in made:
                block = np.asarray(given, np.float32)
                if start != done or block.shape[1:] != (width,) or done + len(block) > height:
                    wanted = f"the rows from {done} of a map of {height} x {width}"
                    raise ValueError(f"expected {wanted}, found {block.shape} at row {start}")
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
