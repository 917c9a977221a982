"""The probability map on disk: kept row by row while it is made, and delivered as a Cloud-Optimised GeoTIFF."""

import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import rasterio
import rasterio.shutil
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from coslide.io.atomic import report_write_errors, whole_output
from coslide.io.executor import prefetch
from coslide.io.resumable_raster import ResumableRaster
from coslide.mapping.sliding_window import Rows
from coslide.windows import row_strips

PROBABILITY = "landslide probability"
_COG = {
    "compress": "DEFLATE",
    "level": 6,
    "predictor": "YES",
    "blocksize": 512,
    "overview_resampling": "AVERAGE",
    "num_threads": "ALL_CPUS",
}


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
        `path`, as `write_cog` makes it.

    Raises
    ------
    InputError
        If the disk is full or the folder cannot be written.
    ValueError
        If the grid has no CRS, or the blocks do not fill it row by row.
    OSError
        If the file does not read back as it was written although the disk has room.

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
    height, width = grid.shape
    with report_write_errors(path), _folder_for_now(path.with_name(f".{path.stem}.rows")) as folder:
        store = ResumableRaster(folder, (height, width))
        done = 0
        with prefetch(rows) as made:  # the next rows are computed while these are written
            for start, block in made:
                if start != done or block.shape[1:] != (width,) or done + len(block) > height:
                    wanted = f"the rows from {done} of a map of {height} x {width}"
                    raise ValueError(f"expected {wanted}, found {block.shape} at row {start}")
                store.write(start, block[np.newaxis])
                done += len(block)
        if done < height:
            raise ValueError(f"expected {height} rows, found {done}")
        return write_cog(store, 0, path, grid, tags=tags)


def write_cog(
    store: ResumableRaster,
    layer: int,
    path: Path,
    grid: GeoBox,
    *,
    tags: Mapping[str, str] | None = None,
    what: str = PROBABILITY,
) -> Path:
    """Return the path of a layer of a whole map as a Cloud-Optimised GeoTIFF.

    Parameters
    ----------
    store, layer
        The rows, all of them there, and which layer of them.
    path
        The file to write; it appears whole or not at all.
    grid
        CRS, transform and size of the map.
    tags
        Metadata of the file.
    what
        What the band is called.

    Returns
    -------
    Path
        `path`: one float32 band, nodata NaN, DEFLATE, blocks of 512 x 512 pixels, averaged overviews.

    Raises
    ------
    InputError
        If the disk is full or the folder cannot be written.
    ValueError
        If the grid has no CRS.
    OSError
        If the file does not read back as it was written although the disk has room.

    Notes
    -----
    GDAL does not report a disk that fills while a file is closed. The map is therefore read again before it takes its
    name.
    """
    if grid.crs is None:
        raise ValueError(f"expected a grid with a CRS, found {grid!r}")
    source = store.path(layer).with_suffix(".vrt")
    source.write_text(_raw_vrt(store.path(layer).name, grid, dict(tags or {}), what), encoding="utf-8")
    with (
        whole_output(path) as part,
        _folder_for_now(part.with_suffix(".work")) as work,
        _full_disk_named(path.parent, grid),
    ):
        cog = work / "cog.tif"
        rasterio.shutil.copy(source, cog, driver="COG", **_COG)
        _compare(cog, store.path(layer))
        cog.replace(part)
    return path


def _raw_vrt(name: str, grid: GeoBox, tags: Mapping[str, str], what: str) -> str:
    """Return the description by which GDAL reads the rows as they lie on the disk."""
    height, width = grid.shape
    items = "".join(f"<MDI key={quoteattr(key)}>{escape(text)}</MDI>" for key, text in tags.items())
    transform = ", ".join(repr(float(number)) for number in grid.affine.to_gdal())
    order = "LSB" if np.little_endian else "MSB"
    return (
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><SRS>{escape(str(grid.crs))}</SRS>'
        f"<GeoTransform>{transform}</GeoTransform><Metadata>{items}</Metadata>"
        '<VRTRasterBand dataType="Float32" band="1" subClass="VRTRawRasterBand">'
        f"<Description>{escape(what)}</Description><NoDataValue>nan</NoDataValue>"
        f'<SourceFilename relativeToVRT="1">{escape(name)}</SourceFilename><ImageOffset>0</ImageOffset>'
        f"<PixelOffset>4</PixelOffset><LineOffset>{4 * width}</LineOffset><ByteOrder>{order}</ByteOrder>"
        "</VRTRasterBand></VRTDataset>"
    )


@contextmanager
def _folder_for_now(folder: Path) -> Iterator[Path]:
    shutil.rmtree(folder, ignore_errors=True)  # a fixed name: what a killed run left is removed by the next one
    try:
        folder.mkdir(parents=True)
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


def _compare(path: Path, rows: Path) -> None:
    with rasterio.open(path) as file:
        expected = np.memmap(rows, dtype=np.float32, mode="r", shape=(file.height, file.width))
        for strip in row_strips(file.height, 512):
            found = file.read(1, window=Window(0, strip.start, file.width, strip.stop - strip.start))
            if not np.array_equal(found, expected[strip], equal_nan=True):
                raise OSError(
                    errno.EIO, f"rows {strip.start} to {strip.stop - 1} do not read back as written", str(path)
                )
