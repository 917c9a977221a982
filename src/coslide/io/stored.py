"""Stored values of a band of a raster, and where they mean nothing: the one way to its nodata values and masks."""

from collections.abc import Collection
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window

from coslide.errors import InputError

BEYOND_MEASURE = 1e30
"""No quantity is that large: it is a nodata value that a file declares rounded, or not at all (-3.4e38, 1e38)."""


def data_band(dataset: Any, *, name: str, expected: str) -> int:
    """Find the number of the one band of an opened raster that is no alpha band (which says how opaque others are).

    Raises
    ------
    InputError
        If there are several, or none; `name` is what the message calls the raster, `expected` what it should hold.
    """
    alphas = [band is ColorInterp.alpha for band in dataset.colorinterp]
    found = [number for number, alpha in enumerate(alphas, start=1) if not alpha]
    if dataset.count == 1 or len(found) == 1:
        return (found or [1])[0]
    inside = f" but {len(dataset.subdatasets)} datasets" if dataset.subdatasets else ""
    raise InputError(f"{name}: holds {len(found)} bands{inside}; expected {expected}")


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


def read_stored(
    dataset: Any,
    number: int,
    window: Window,
    *,
    invalid: Collection[float | None],
    data: Collection[int] = (),
    **options: Any,
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Read stored values of a band, and where they mean nothing.

    That is where they are one of `invalid`, not finite, or beyond any measure; where a mask (of the band or of the
    file, inside it or beside it) says so; and where an alpha band is fully transparent.

    Parameters
    ----------
    dataset
        An opened raster.
    number
        Of the band, from 1.
    window
        What to read.
    invalid
        Its nodata values; None counts for nothing.
    data
        Numbers of bands that hold data, whatever the file says: GDAL declares the fourth of four bands of bytes to be
        an alpha band, and often it is the near infrared.
    **options
        Of rasterio's ``read``, such as ``out_shape``.

    Raises
    ------
    InputError
        If it holds complex numbers.
    """
    stored = dataset.read(number, window=window, **options)
    if stored.dtype.kind == "c":
        raise InputError(f"{dataset.name}: found complex numbers, expected real ones")
    void = ~(np.abs(stored) < BEYOND_MEASURE) if stored.dtype.kind == "f" else np.zeros(stored.shape, dtype=bool)
    for value in invalid:
        if value is not None:
            void |= stored == value
    flags = set(dataset.mask_flag_enums[number - 1])
    alpha = next((i for i, band in enumerate(dataset.colorinterp, start=1) if band is ColorInterp.alpha), None)
    if alpha is not None and alpha not in {number, *data}:
        void |= ~(dataset.read(alpha, window=window, **options) >= _least_opaque(dataset, alpha))
    if MaskFlags.alpha not in flags and flags not in ({MaskFlags.all_valid}, {MaskFlags.nodata}):
        void |= dataset.read_masks(number, window=window, **options) == 0
    return stored, void


def _least_opaque(dataset: Any, alpha: int) -> float:
    """Find the least value of an alpha band that is not transparent; lossy compression makes some out of 0."""
    dtype = np.dtype(dataset.dtypes[alpha - 1])
    if dtype.kind == "f":
        return float(np.finfo(dtype).tiny)
    structure = dataset.tags(ns="IMAGE_STRUCTURE")
    lossy = structure.get("COMPRESSION_REVERSIBILITY") == "LOSSY" or "JPEG" in structure.get("COMPRESSION", "")
    return np.iinfo(dtype).max / 2 if lossy else 1.0
