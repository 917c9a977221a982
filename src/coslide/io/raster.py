"""Rasters of any format and CRS, opened where their place on Earth is known."""

import functools
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError
from rasterio.errors import RasterioError
from rasterio.windows import Window

from coslide.errors import InputError
from coslide.grid import Extent, overlap_slices, short_crs
from coslide.io.paths import read_head, require_regular_source

EARTH_CENTRED_SEMI_MAJOR_M = 6378137.0
"""Of the ellipsoids (WGS 84, GRS 80, CGCS2000) of datums that agree within about two metres."""
LARGEST_NODES = 2**28
"""Most nodes that are held at once (1 GiB); a raster with more around the grid is no coarse one."""


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
        with open_own_files(str(path)) as dataset:
            if dataset.crs is None and crs is None:
                raise InputError(f"{path}: has no CRS; expected a georeferenced raster")
            if dataset.transform.is_identity:
                raise InputError(f"{path}: has no transform; expected a georeferenced raster")
            yield dataset
    except RasterioError as error:
        raise InputError(f"{path}: cannot be read as a raster ({str(error).splitlines()[0]})") from None


def open_own_files(place: str, driver: str | None = None) -> Any:
    """Open a raster that reads no file outside its own folder, whether or not its place on Earth is known.

    Parameters
    ----------
    place
        A path, or an address as GDAL takes it.
    driver
        Its format in GDAL's words; None lets GDAL find it.

    Returns
    -------
    DatasetReader
        To be closed.

    Raises
    ------
    InputError
        If it is a text (XML or JSON) that describes a web service, a tile index or a catalogue, or a VRT that reads
        files elsewhere; or if it, or what belongs to it, is no file whose reading comes to an end.
    RasterioError
        If GDAL cannot open it.
    """
    path = Path(place)
    require_regular_source(path)
    head = read_head(path).lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith((b"<", b"{")) and b"<VRTDataset" not in head:
        raise InputError(f"{path}: is a text that describes a raster elsewhere; expected the raster itself")
    dataset = rasterio.open(place, driver=driver)
    for other in map(Path, dataset.files if dataset.driver == "VRT" else ()):
        if not other.resolve().is_relative_to(path.parent.resolve()):
            raise InputError(f"{path}: reads {other}; expected a VRT of files in its own folder or below it")
        if other.resolve() != path.resolve():
            open_own_files(str(other)).close()
    return dataset


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


def raster_extent(path: Path, name: str) -> Extent:
    """Read the bounds of a raster in its own CRS; `name` is what messages call it.

    Raises
    ------
    InputError
        As `open_raster`.
    """
    with open_raster(path) as dataset:
        return Extent(f"{name} ({path})", dataset.crs.to_wkt(), grid_of(dataset).boundingbox.bbox)


def grid_of(dataset: Any) -> GeoBox:
    """Find the grid that the pixels of an opened raster lie on; it declares a CRS."""
    return GeoBox(dataset.shape, dataset.transform, short_crs(dataset.crs.to_wkt()))


@functools.lru_cache(maxsize=256)
def require_exact(name: str, crs: Hashable, target: str) -> None:
    """Require that PROJ knows an exact transformation from `crs` to the CRS `target`.

    Without its grid files PROJ falls back, without a word, on one that ignores the difference of the datums, and places
    end up tens or hundreds of metres away. Between Earth-centred datums (CGCS2000 and WGS 84, say) that is harmless.

    Parameters
    ----------
    name
        The source, for the message.
    crs
        Anything that pyproj takes for a CRS.
    target
        The CRS of the grid.

    Raises
    ------
    InputError
        If only such a "ballpark" transformation is at hand, or `crs` is no CRS.
    """
    try:
        Transformer.from_crs(crs, target, allow_ballpark=False)
    except CRSError:
        raise InputError(f"{name}: found the CRS {str(crs)!r}, expected one such as 'EPSG:4326'") from None
    except ProjError:
        known = CRS.from_user_input(crs)
        if known.ellipsoid is None or known.ellipsoid.semi_major_metre != EARTH_CENTRED_SEMI_MAJOR_M:
            problem = f"no exact transformation from its CRS ({known.name}) to {target} is at hand"
            raise InputError(f"{name}: {problem}; reproject it beforehand") from None


class CoarseRaster(NamedTuple):
    """Values at the nodes of a regular lattice; a node is the centre of a pixel.

    Attributes
    ----------
    values
        float32 (row, col), NaN where it is nodata.
    geobox
        Where its pixels lie.
    """

    values: NDArray[np.float32]
    geobox: GeoBox


def read_coarse_raster(
    path: Path, grid: GeoBox, *, crs: str | None = None, nodata: float | None = None
) -> CoarseRaster:
    """Read the part of a raster around `grid`, in the raster's own unit.

    Parameters
    ----------
    path
        A raster in any format of GDAL. A scale and an offset that it declares are applied.
    grid
        What is to be covered.
    crs
        Where the file declares none.
    nodata
        A value that means "nothing here", besides the one that the file declares and NaN.

    Raises
    ------
    InputError
        If it cannot be read, has several bands, has no CRS and none is given, does not overlap the grid, cannot hold
        `nodata`, or has more than 2**28 pixels there.
    """
    with open_raster(path, crs=crs) as dataset:
        if dataset.count > 1:
            raise InputError(f"{path}: holds {dataset.count} bands; expected one")
        own_crs = dataset.crs.to_wkt() if dataset.crs else str(crs)
        require_exact(str(path), own_crs, str(grid.crs))
        geobox = GeoBox(dataset.shape, dataset.transform, own_crs)
        part = overlap_slices(geobox, grid, padding=2)
        window = Window.from_slices(*part)
        if window.width == 0:
            left, bottom, right, top = geobox.boundingbox
            found = f"x {left:g} to {right:g}, y {bottom:g} to {top:g}"
            raise InputError(f"{path}: does not overlap the grid; found {found}")
        if window.width * window.height > LARGEST_NODES:
            raise InputError(f"{path}: has {window.width} x {window.height} pixels on the grid; give a coarser raster")
        given = nodata_of(dataset, given=nodata, name=str(path))
        stored = dataset.read(1, window=window, masked=True)
        values = stored.data.astype(np.float32) * np.float32(dataset.scales[0]) + np.float32(dataset.offsets[0])
        values[np.ma.getmaskarray(stored) | (stored.data == given)] = np.nan
        return CoarseRaster(values, geobox[part])
