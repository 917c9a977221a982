"""Rasters as Cloud-Optimised GeoTIFFs, and the STAC item that lists the files of a folder."""

import datetime as dt
import errno
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.enums import ColorInterp
from rasterio.windows import Window
from shapely.geometry import MultiPolygon, box, mapping

from coslide.io.atomic import report_write_errors, whole_output, write_json
from coslide.windows import row_strips

RowReader = Callable[[slice], NDArray[Any]]
"""Gives rows of a raster, (band, row, col)."""
Fields = Mapping[str, Any]

ITEM = "item.json"
_EXTENSIONS = "https://stac-extensions.github.io"
_BLOCK_PX = 512
_PLAIN = {"driver": "GTiff", "tiled": True, "compress": "zstd", "zstd_level": 1, "bigtiff": "if_safer"}
_COG = {"compress": "DEFLATE", "level": 6, "predictor": "YES", "blocksize": _BLOCK_PX, "num_threads": "ALL_CPUS"}
_PICTURE = {"compress": "JPEG", "quality": 85, "blocksize": _BLOCK_PX, "num_threads": "ALL_CPUS"}
_PICTURE_OFF = 16  # of 255: more than JPEG is off by on average over some rows, less than a block that was lost


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
    picture
        Whether it is for the eye: grey or red, green and blue, and then opacity, 0 or 255, uint8. The file is a JPEG
        with a mask, ten times as small, and its values are not exact.
    """

    names: Sequence[str]
    units: Sequence[str] = ()
    dtype: str = "float32"
    nodata: float = math.nan
    colours: Mapping[int, tuple[int, int, int, int]] | None = None
    picture: bool = False


def write_cog(
    path: Path, grid: GeoBox, bands: RasterBands, read: RowReader, *, tags: Mapping[str, str] | None = None
) -> None:
    """Write a raster as a Cloud-Optimised GeoTIFF, whole or not at all, rows by rows.

    It is compressed by DEFLATE, a picture by JPEG, in blocks of 512 x 512 pixels, with overviews.

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
    place = {"height": height, "width": width, "crs": str(grid.crs), "transform": grid.affine}
    nodata = None if bands.picture else bands.nodata
    profile = {"count": len(bands.names), "dtype": bands.dtype, "nodata": nodata}
    with whole_output(path) as part:
        work = part.with_suffix(".work")  # a fixed name: what a killed run left is removed by the next one
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        plain, cog = work / "plain.tif", work / "cog.tif"
        # GDAL names other causes than a full disk. As much may be needed: with overviews, not compressed.
        largest = len(bands.names) * height * width * np.dtype(bands.dtype).itemsize * 4 // 3 + 2**16
        try:
            with report_write_errors(path, needed_bytes=largest):
                with rasterio.open(plain, "w", **_PLAIN, **profile, **place) as file:
                    file.descriptions, file.units = tuple(bands.names), tuple(bands.units or [""] * len(bands.names))
                    file.update_tags(**(tags or {}))
                    if bands.colours:
                        file.write_colormap(1, bands.colours)
                    if bands.picture:
                        file.colorinterp = [*(ColorInterp[name] for name in bands.names)]
                    for rows in row_strips(height, _BLOCK_PX):
                        file.write(read(rows), window=Window.from_slices(rows, (0, width)))
                mean = bands.picture or np.dtype(bands.dtype).kind == "f"  # that of classes is none
                options = _PICTURE if bands.picture else _COG
                overviews = "AVERAGE" if mean else "NEAREST"
                rasterio.shutil.copy(plain, cog, driver="COG", overview_resampling=overviews, **options)
                _require_equal(cog, read, off=_PICTURE_OFF if bands.picture else 0)
                cog.replace(part)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _require_equal(path: Path, read: RowReader, *, off: float) -> None:
    """Require that rows read back as they were written, or those of a picture nearly so (on average `off`)."""
    with rasterio.open(path) as file:
        for rows in row_strips(file.height, _BLOCK_PX):
            found, expected = file.read(window=Window.from_slices(rows, (0, file.width))), read(rows)
            if off:
                same = np.abs(found.astype(np.int16) - expected[:-1]).mean() <= off  # its last band became the mask
            else:
                same = np.array_equal(found, expected, equal_nan=expected.dtype.kind == "f")
            if not same:
                raise OSError(errno.EIO, f"rows {rows.start} to {rows.stop - 1} do not read back as written", str(path))


def place_in_item(grid: GeoBox) -> dict[str, Any]:
    """Give the size and transform of a raster as a STAC item states them, of all its rasters or of one asset."""
    return {"proj:shape": list(grid.shape), "proj:transform": list(grid.affine[:6])}


def write_item(
    folder: Path, grid: GeoBox, *, name: str, date: dt.datetime, properties: Fields, assets: Mapping[str, Fields]
) -> None:
    """Write ``item.json`` into a folder, its addresses relative to itself.

    Parameters
    ----------
    folder
        Of the files.
    grid
        Of the rasters that say nothing else (`place_in_item`).
    name
        Identifies the item.
    date
        Of the scene.
    properties
        What else is known of all files, in plain JSON values.
    assets
        Of each file, by its name in `folder`: `title`, `description` and `extra_fields` of a `pystac.Asset`.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    from pystac import Asset, Item, MediaType

    kinds = {".tif": MediaType.COG, ".gpkg": MediaType.GEOPACKAGE, ".parquet": MediaType.VND_APACHE_PARQUET}
    kinds |= {".json": MediaType.JSON, ".png": MediaType.PNG}
    to_degrees = Transformer.from_crs(str(grid.crs), "EPSG:4326", always_xy=True)
    west, south, east, north = to_degrees.transform_bounds(*grid.boundingbox.bbox)
    outline = box(west, south, east, north)
    if west > east:  # across the 180th meridian, where GeoJSON wants two parts
        outline = MultiPolygon([box(west, south, 180, north), box(-180, south, east, north)])
    found = {"proj:code": str(grid.crs), **place_in_item(grid), **properties}
    extensions = [f"{_EXTENSIONS}/projection/v2.0.0/schema.json"]
    if any("raster:bands" in asset.get("extra_fields", {}) for asset in assets.values()):
        extensions.append(f"{_EXTENSIONS}/raster/v1.1.0/schema.json")
    item = Item(name, mapping(outline), [west, south, east, north], date, found, stac_extensions=extensions)
    for file, fields in assets.items():
        asset = Asset(f"./{file}", media_type=kinds[Path(file).suffix], roles=["data"], **fields)
        item.add_asset(file.removesuffix(".tif"), asset)
    write_json(folder / ITEM, item.to_dict(include_self_link=False))
