"""Rasters of any format and CRS: opened, and known to be where they say they are."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError
from rasterio.errors import RasterioError

from coslide.errors import InputError
from coslide.grid import Extent
from coslide.io.atomic import first_bytes

EARTH_CENTRED_SEMI_MAJOR_M = 6378137.0
"""Of the ellipsoids (WGS 84, GRS 80, CGCS2000) of datums that agree within about two metres."""


@contextmanager
def open_raster(path: Path, *, crs: str | None = None) -> Iterator[Any]:
    """Return the opened raster dataset (rasterio) of `path`, known to say where on Earth it lies.

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
    """Return nothing if a file holds data itself, or is a VRT; some formats of GDAL are texts that name other places.

    Parameters
    ----------
    path
        What is about to be opened as a raster.

    Raises
    ------
    InputError
        If it is such a text: XML or JSON that describes a web service, a tile index or a catalogue.
    """
    head = first_bytes(path).lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith((b"<", b"{")) and b"<VRTDataset" not in head:
        raise InputError(f"{path}: is a text that describes a raster elsewhere; expected the raster itself")


def require_own_files(dataset: Any, path: Path) -> None:
    """Return nothing if an opened raster reads no file outside the folder of `path`, as a VRT may want to.

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
    """Return the bounds of a raster in its own CRS; `name` is what messages call it, `crs` as in `open_raster`.

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
    """Return nothing if coordinates in `crs` can be brought to the CRS `target` by a transformation that PROJ knows.

    Without its grid files PROJ falls back, without a word, on one that ignores the difference of the datums, and ground
    ends up tens or hundreds of metres away. Between Earth-centred datums (CGCS2000 and WGS 84, say) that is harmless.

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
