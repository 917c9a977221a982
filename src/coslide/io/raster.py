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
from pyproj.exceptions import ProjError
from rasterio.enums import WktVersion
from rasterio.errors import CRSError as RasterCRSError
from rasterio.errors import RasterioError
from rasterio.windows import Window

from coslide.crs import flat_crs
from coslide.errors import InputError
from coslide.grid import Extent, overlap_slices
from coslide.io.paths import read_head, require_regular_source
from coslide.io.stored import data_band, nodata_of, read_stored
from coslide.io.whole import require_whole_raster

_FARTHEST_DEG, _FARTHEST_UNITS = 720.0, 1e9  # beyond it a number is no coordinate
EARTH_CENTRED_SEMI_MAJOR_M = 6378137.0
"""Of the ellipsoids (WGS 84, GRS 80, CGCS2000) of datums that agree within about two metres."""
LARGEST_NODES = 2**28
"""Most nodes that are held at once (1 GiB); a raster with more around the grid is no coarse one."""
MOST_PIXELS = 2**32
"""Most pixels of one raster that are read for a grid: 0.5 m on 33 x 33 km."""


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
        If GDAL cannot open or read it, it is a VRT that reads files outside its own folder, or as `grid_of`.
    """
    try:
        with open_own_files(str(path)) as dataset:
            grid_of(dataset, crs=crs)
            yield dataset
    except (RasterioError, RasterCRSError) as error:
        raise InputError(f"{path}: cannot be read as a raster ({reason_of(error)})") from None


def reason_of(error: BaseException) -> str:
    """Take the first line of an error of rasterio, or of the one of GDAL that it only points to.

    Examples
    --------
    >>> error = RasterioError("Read failed. See previous exception for details.")
    >>> error.__cause__ = RasterioError("TIFFReadEncodedTile: got 0 bytes")
    >>> reason_of(error)
    'TIFFReadEncodedTile: got 0 bytes'
    """
    while error.__cause__ is not None and ("previous exception" in str(error) or "failed" in str(error)):
        error = error.__cause__
    return (str(error).splitlines() or [type(error).__name__])[0]


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
        files elsewhere; or if it, or what belongs to it, is no file whose reading comes to an end; or if it was
        cut off.
    RasterioError
        If GDAL cannot open it.
    """
    return _open(place, driver, ())


def _open(place: str, driver: str | None, above: tuple[Path, ...]) -> Any:
    """Open a raster that `above`, VRTs, read."""
    path = Path(place)
    require_regular_source(path)
    head = read_head(path).lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith((b"<", b"{")) and b"<VRTDataset" not in head:
        raise InputError(f"{path}: is a text that describes a raster elsewhere; expected the raster itself")
    dataset = rasterio.open(place, driver=driver)
    require_whole_raster(dataset, path)
    own = path.resolve()
    for other in map(Path, dataset.files if dataset.driver == "VRT" else ()):
        if not _lies_beside(other, path):
            raise InputError(f"{path}: reads {other}; expected a VRT of files in its own folder or below it")
        if other.resolve() in above:
            raise InputError(f"{path}: reads {other}, which reads it; expected a VRT of other rasters")
        if other.resolve() != own:
            _open(str(other), None, (*above, own)).close()
    return dataset


def _lies_beside(other: Path, path: Path) -> bool:
    """Tell whether `other` lies in the folder of `path` or below it, as written; links there are the user's own."""
    if other.resolve().is_relative_to(path.parent.resolve()):
        return True
    folders = (path.parent.absolute(), path.resolve().parent)
    return ".." not in other.parts and any(other.absolute().is_relative_to(folder) for folder in folders)


def raster_extent(path: Path, name: str) -> Extent:
    """Read the bounds of a raster in its own CRS; `name` is what messages call it.

    Raises
    ------
    InputError
        As `open_raster`.
    """
    with open_raster(path) as dataset:
        grid = grid_of(dataset)
    return Extent(f"{name} ({path})", str(grid.crs), grid.boundingbox.bbox)


def grid_of(dataset: Any, *, crs: str | None = None, name: str | None = None) -> GeoBox:
    """Find the grid that the pixels of an opened raster lie on, in the horizontal part of its CRS.

    Parameters
    ----------
    dataset
        An opened raster.
    crs
        Its CRS where the file declares none, or one that gives no place on Earth.
    name
        What messages call it; by default its path.

    Raises
    ------
    InputError
        If it has no CRS (and none is given) or no transform, or they place its pixels nowhere on Earth.
    """
    name, affine = name or dataset.name, dataset.transform
    if affine.is_identity and (dataset.gcps[0] or dataset.rpcs):
        raise InputError(
            f"{name}: is placed by control points (GCPs) or RPCs alone; rectify it first, as gdalwarp does"
        )
    if dataset.crs is None and crs is None:
        raise InputError(f"{name}: has no CRS; expected a georeferenced raster")
    if affine.is_identity:
        raise InputError(f"{name}: has no transform; expected a georeferenced raster")
    try:
        own = flat_crs(crs if dataset.crs is None else wkt_of(dataset), name)
    except InputError:
        if crs is None:
            raise
        own = flat_crs(crs, name)
    grid = GeoBox(dataset.shape, affine, own)
    with np.errstate(all="ignore"):
        corners = np.array([affine @ (x, y) for x in (0.0, dataset.width) for y in (0.0, dataset.height)])
        farthest = _FARTHEST_DEG if CRS(own).is_geographic else _FARTHEST_UNITS
        if not (np.isfinite(affine.determinant) and affine.determinant != 0 and (np.abs(corners) < farthest).all()):
            found = ", ".join(f"{number:g}" for number in affine.to_gdal())
            expected = f"expected pixels of some size within reach of {CRS(own).name}"
            raise InputError(f"{name}: found the transform {found}, {expected}")
    return grid


def require_few_pixels(name: str, shape: tuple[int, int], *, most: int = MOST_PIXELS) -> None:
    """Require that a raster called `name`, of which `shape` (rows, columns) lies on the grid, is read in finite time.

    A file of a few kB may declare any size.

    Raises
    ------
    InputError
        If it has more than `most` pixels there.
    """
    rows, cols = shape
    if rows * cols > most:
        expected = f"expected at most {most:.2g}; give a coarser one, or a smaller grid.area"
        raise InputError(f"{name}: has {cols} x {rows} pixels on the grid, {expected}")


def wkt_of(dataset: Any) -> str:
    """Write the whole CRS of an opened raster, heights too, as WKT."""
    return str(dataset.crs.to_wkt(version=WktVersion.WKT2_2019))


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
        If only such a "ballpark" transformation is at hand.
    """
    try:
        Transformer.from_crs(crs, target, allow_ballpark=False)
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
        number, geobox = data_band(dataset, name=str(path), expected="one"), grid_of(dataset, crs=crs)
        require_exact(str(path), str(geobox.crs), str(grid.crs))
        part = overlap_slices(geobox, grid, padding=2)
        window = Window.from_slices(*part)
        if window.width == 0:
            left, bottom, right, top = geobox.boundingbox
            found = f"x {left:g} to {right:g}, y {bottom:g} to {top:g}"
            raise InputError(f"{path}: does not overlap the grid; found {found}")
        require_few_pixels(str(path), (window.height, window.width), most=LARGEST_NODES)
        invalid = [nodata_of(dataset, given=value, name=str(path), number=number) for value in (nodata, None)]
        stored, void = read_stored(dataset, number, window, invalid=invalid)
        scale, offset = (np.float32(each[number - 1]) for each in (dataset.scales, dataset.offsets))
        values = np.where(void, np.nan, stored).astype(np.float32) * scale + offset
        return CoarseRaster(values, geobox[part])
