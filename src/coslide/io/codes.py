"""Rasters of codes (units, classes) on the grid: never blended, whatever numbers stand for them."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.windows import Window

from coslide.errors import InputError
from coslide.grid import overlap_slices
from coslide.io.raster import grid_of, open_raster, require_exact, require_few_pixels
from coslide.io.resample import resample
from coslide.io.stored import data_band, nodata_of, read_stored
from coslide.windows import row_strips


class CodeRaster(NamedTuple):
    """The codes of a raster on a grid.

    Attributes
    ----------
    numbers
        uint16 (row, col): 1 for the first of `codes`, and so on; 0 where there is none.
    codes
        Those on the grid, from the least, in the type of the raster.
    """

    numbers: NDArray[np.uint16]
    codes: NDArray[Any]


def read_codes(path: Path, grid: GeoBox, *, most: int, what: str) -> CodeRaster:
    """Read the code of the nearest pixel of a raster, at each pixel of `grid`.

    Parameters
    ----------
    path
        A raster of one band in any CRS.
    grid
        Where codes are wanted.
    most
        How many different codes it may hold around the grid; with more it holds measurements.
    what
        What the codes stand for, for messages.

    Raises
    ------
    InputError
        As `coslide.io.raster.open_raster`; or if it has several bands, more codes, or none on the grid.
    """
    seen: dict[Any, int] = {}  # in the order in which they were found
    out = np.zeros(grid.shape, dtype=np.uint16)
    with open_raster(path) as dataset:
        raster = grid_of(dataset)
        require_exact(str(path), str(raster.crs), str(grid.crs))
        rows, cols = overlap_slices(raster, grid)
        require_few_pixels(str(path), (rows.stop - rows.start, cols.stop - cols.start))
        band = data_band(dataset, name=str(path), expected=f"one, of codes of {what}")
        nodata = nodata_of(dataset, given=None, name=str(path), number=band)

        def read(rows: slice, cols: slice) -> NDArray[np.uint16]:
            stored, void = read_stored(dataset, band, Window.from_slices(rows, cols), invalid=[nodata])
            indices, found = pd.factorize(stored[~void])
            own = [seen.setdefault(code, len(seen) + 1) for code in found]
            if len(seen) > most:
                raise InputError(f"{path}: found more than {most} different values, expected codes of {what}")
            numbers = np.zeros(stored.shape, dtype=np.uint16)
            numbers[~void] = np.array(own, dtype=np.uint16)[indices]
            return numbers

        for strip in row_strips(grid.shape[0], 1024):
            out[strip] = resample(raster, read, grid[strip], how=Resampling.nearest)
    present = np.setdiff1d(out, 0)
    if not present.size:
        raise InputError(f"{path}: has no code on the grid; expected a raster of {what} that covers it")
    codes = np.array(list(seen))[present - 1]
    order = np.argsort(codes)
    table = np.zeros(len(seen) + 1, dtype=np.uint16)
    table[present[order]] = np.arange(1, present.size + 1)
    return CodeRaster(table[out], codes[order])
