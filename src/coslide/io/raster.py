"""Rasters of any format and CRS, opened where their place on Earth is known; and the one writer of GeoTIFFs."""

import errno
import functools
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError
from rasterio.errors import RasterioError
from rasterio.windows import Window

from coslide.errors import InputError
from coslide.grid import Extent
from coslide.io.atomic import whole_output
from coslide.windows import row_strips

_BLOCK_PX = 512
_PLAIN = {
    "driver": "GTiff", "tiled": True, "blockxsize": _BLOCK_PX, "blockysize": _BLOCK_PX, "compress": "zstd",
    "zstd_level": 1, "bigtiff": "if_safer",
}  # fmt: skip
_COG = {"compress": "DEFLATE", "level": 6, "predictor": "YES", "blocksize": _BLOCK_PX, "num_threads": "ALL_CPUS"}
EARTH_CENTRED_SEMI_MAJOR_M = 6378137.0
"""Of the ellipsoids (WGS 84, GRS 80, CGCS2000) of datums that agree within about two metres."""


@contextmanager
def open_raster(path: Path, *, crs: str | None = None) -> Iterator[Any]:
    """Open a raster whose place on Earth is known.

    Parameters
    ----------
    path
        A raster in any format of GDAL.
    crs
        Its CRS where the file declares none. One that it declares goes before it.

    Yields
    ------
    DatasetReader
        Its own ``crs`` may be None; then `crs` was given.

    Raises
    ------
    InputError
        If GDAL cannot open or read it, it has no CRS and none is given, it has no transform, or it is a VRT that reads
        files outside its own folder.
    """
    try:
        require_data(path)
        with rasterio.open(path) as dataset:
            require_own_files(dataset, path)
            if dataset.crs is None and crs is None:
                raise InputError(f"{path}: has no CRS; expected a georeferenced raster")
            if dataset.transform.is_identity:
                raise InputError(f"{path}: has no transform; expected a georeferenced raster")
            yield dataset
    except RasterioError as error:
        raise InputError(f"{path}: cannot be read as a raster ({str(error).splitlines()[0]})") from None


def require_data(path: Path) -> None:
    """Require that a file holds data itself, or is a VRT; some formats of GDAL are texts that name other places.

    Parameters
    ----------
    path
        What is about to be opened as a raster.

    Raises
    ------
    InputError
        If it is such a text: XML or JSON that describes a web service, a tile index or a catalogue.
    """
    head = read_head(path).lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith((b"<", b"{")) and b"<VRTDataset" not in head:
        raise InputError(f"{path}: is a text that describes a raster elsewhere; expected the raster itself")


def read_head(path: Path) -> bytes:
    """Read the first 1024 bytes of a file, by which GDAL tells formats; none of a folder or what does not exist."""
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(1024)


def require_own_files(dataset: Any, path: Path) -> None:
    """Require that an opened raster reads no file outside the folder of `path`, as a VRT may want to.

    Parameters
    ----------
    dataset
        What rasterio opened.
    path
        Where.

    Raises
    ------
    InputError
        If it does; the line names the file.
    """
    if dataset.driver != "VRT":
        return
    folder = path.parent.resolve()
    for name in dataset.files:
        other = Path(name)
        if not other.resolve().is_relative_to(folder):
            raise InputError(f"{path}: reads {other}; expected a VRT of files in its own folder or below it")
        if other.resolve() != path.resolve():
            with rasterio.open(other) as part:
                require_own_files(part, other)


def nodata_of(dataset: Any, *, given: float | None, name: str, number: int = 1) -> float | None:
    """Find the nodata value of a band as its own type holds it: the one that is given, else the one it declares.

    NaN, and a declared value that the type cannot hold and which therefore cannot occur, are None.

    Raises
    ------
    InputError
        If `given` is a value that the type cannot hold; `name` is what the message calls the raster.
    """
    nodata = dataset.nodatavals[number - 1] if given is None else given
    dtype = np.dtype(dataset.dtypes[number - 1])
    if nodata is None or np.isnan(nodata):
        return None
    if rasterio.dtypes.can_cast_dtype(nodata, dtype.name):
        return float(dtype.type(nodata))
    if given is None:
        return None
    raise InputError(f"{name}: found nodata {nodata:g} for values of type {dtype.name}, which cannot hold it")


def raster_extent(path: Path, name: str, *, crs: str | None = None) -> Extent:
    """Read the bounds of a raster in its own CRS; `name` is what messages call it, `crs` as in `open_raster`.

    Raises
    ------
    InputError
        As `open_raster`.
    """
    with open_raster(path, crs=crs) as dataset:
        left, bottom, right, top = dataset.bounds
        ordered = (min(left, right), min(bottom, top), max(left, right), max(bottom, top))  # rows may run northwards
        return Extent(f"{name} ({path})", dataset.crs.to_wkt() if dataset.crs else str(crs), ordered)


def require_exact(name: str, crs: Any, target: str) -> None:
    """Require that PROJ knows an exact transformation from `crs` to the CRS `target`.

    Without its grid files PROJ falls back, without a word, on one that ignores the difference of the datums, and places
    end up tens or hundreds of metres away. Between Earth-centred datums (CGCS2000 and WGS 84, say) that is harmless.

    Parameters
    ----------
    name
        The source, for the message.
    crs
        Anything that pyproj or rasterio takes for a CRS.
    target
        The CRS of the grid.

    Raises
    ------
    InputError
        If only such a "ballpark" transformation is at hand, or `crs` is no CRS.
    """
    wkt = crs.to_wkt() if hasattr(crs, "to_wkt") else str(crs)
    if problem := _transformation_problem(wkt, target):
        raise InputError(f"{name}: {problem}")


@functools.lru_cache(maxsize=256)
def _transformation_problem(source: str, target: str) -> str:
    try:
        Transformer.from_crs(source, target, allow_ballpark=False)
    except CRSError:
        return f"found the CRS {source!r}, expected one such as 'EPSG:4326'"
    except ProjError:
        known = CRS.from_user_input(source)
        if known.ellipsoid is not None and known.ellipsoid.semi_major_metre == EARTH_CENTRED_SEMI_MAJOR_M:
            return ""
        name = known.name
        return f"no exact transformation from its CRS ({name}) to {target} is at hand; reproject it beforehand"
    return ""


class RasterBands(NamedTuple):
    """What the bands of a raster hold.

    Attributes
    ----------
    names
        One for each band.
    units
        One for each band, or none.
    dtype, nodata
        Of all bands.
    colours
        (red, green, blue, opacity) of the values of a band of classes.
    """

    names: Sequence[str]
    units: Sequence[str] = ()
    dtype: str = "float32"
    nodata: float = math.nan
    colours: Mapping[int, tuple[int, int, int, int]] | None = None


def write_cog(
    path: Path,
    grid: GeoBox,
    bands: RasterBands,
    read: Callable[[slice], NDArray[Any]],
    *,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Write a raster as a Cloud-Optimised GeoTIFF, whole or not at all, rows by rows.

    It is compressed by DEFLATE, in blocks of 512 x 512 pixels, with overviews.

    Parameters
    ----------
    path
        The file to write.
    grid
        CRS, transform and size.
    bands
        What it holds.
    read
        Gives rows of the raster, (band, row, col). Each is asked for twice: GDAL does not report a disk that fills
        while a file is closed, so the file is read again before it takes its name.
    tags
        Metadata of the file.

    Raises
    ------
    InputError
        If the disk is full or the folder cannot be written.
    ValueError
        If the grid has no CRS.
    OSError
        If the file does not read back as it was written although the disk has room.

    Examples
    --------
    >>> import tempfile
    >>> from affine import Affine
    >>> path, grid = Path(tempfile.mkdtemp()) / "a.tif", GeoBox((1, 2), Affine(10, 0, 0, 0, -10, 10), "EPSG:32648")
    >>> write_cog(path, grid, RasterBands(["rain"], ["mm"]), lambda rows: np.array([[[1, 2]]], np.float32)[:, rows])
    >>> with rasterio.open(path) as file:
    ...     file.read(1), file.units
    (array([[1., 2.]], dtype=float32), ('mm',))
    """
    if grid.crs is None:
        raise ValueError(f"expected a grid with a CRS, found {grid!r}")
    height, width = grid.shape
    profile = {
        "count": len(bands.names),
        "dtype": bands.dtype,
        "nodata": bands.nodata,
        "height": height,
        "width": width,
    }
    with whole_output(path) as part:
        work = part.with_suffix(".work")  # a fixed name: what a killed run left is removed by the next one
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        plain, cog = work / "plain.tif", work / "cog.tif"
        try:
            with rasterio.open(plain, "w", **_PLAIN, **profile, crs=str(grid.crs), transform=grid.affine) as file:
                file.descriptions, file.units = tuple(bands.names), tuple(bands.units or [""] * len(bands.names))
                file.update_tags(**(tags or {}))
                if bands.colours:
                    file.write_colormap(1, bands.colours)
                for rows in row_strips(height, _BLOCK_PX):
                    file.write(read(rows), window=Window.from_slices(rows, (0, width)))
            overviews = "AVERAGE" if np.dtype(bands.dtype).kind == "f" else "NEAREST"  # a mean of classes is none
            rasterio.shutil.copy(plain, cog, driver="COG", overview_resampling=overviews, **_COG)
            _require_equal(cog, read)
            cog.replace(part)
        except Exception as error:
            # GDAL names other causes than a full disk. As much may be needed: with overviews, not compressed.
            largest = len(bands.names) * height * width * np.dtype(bands.dtype).itemsize * 4 // 3 + 2**16
            if shutil.disk_usage(work).free < largest:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path.parent)) from error
            raise
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _require_equal(path: Path, read: Callable[[slice], NDArray[Any]]) -> None:
    with rasterio.open(path) as file:
        for rows in row_strips(file.height, _BLOCK_PX):
            found, expected = file.read(window=Window.from_slices(rows, (0, file.width))), read(rows)
            if not np.array_equal(found, expected, equal_nan=expected.dtype.kind == "f"):
                problem = f"rows {rows.start} to {rows.stop - 1} do not read back as written"
                raise OSError(errno.EIO, problem, str(path))
