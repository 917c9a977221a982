"""Bands of a cube made small enough to look at, read strip by strip."""

from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from coslide.labels import NO_CLASS
from coslide.report.images import MEAN, reduce_blocks

_STRIP_ROWS = 512


class Thumbnail(NamedTuple):
    """A band made small, and what was counted on the whole of it.

    Attributes
    ----------
    image
        float32 (row, col), NaN where unknown.
    low, high, mean
        Of the known cells, in the band's unit; NaN where there is none.
    known
        Share of the cells that are known, 0 to 1.
    """

    image: NDArray[np.float32]
    low: float
    high: float
    mean: float
    known: float


def thumbnail(variable: xr.DataArray, step: int) -> Thumbnail:
    """Return a band made `step` times smaller, in its own unit.

    Parameters
    ----------
    variable
        A variable of a cube with the dimensions y and x, as stored.
    step
        Cells along a side of the block that becomes one pixel.

    Notes
    -----
    Numbers are averaged over the known cells of a block. Of classes, whose mean means nothing, the most northwestern is
    taken; of labels the highest, so that no landslide is lost. NaN is unknown, and so is the fill value of integers:
    what the variable declares, or 255.

    Examples
    --------
    >>> thumbnail(xr.DataArray(np.array([[1.0, np.nan], [3.0, 5.0]], np.float32), dims=("y", "x")), 2)
    Thumbnail(image=array([[3.]], dtype=float32), low=1.0, high=5.0, mean=3.0, known=0.75)
    """
    rows = step * max(1, _STRIP_ROWS // step)
    images, lows, highs, total, count = [], [], [], 0.0, 0
    for top in range(0, variable.sizes["y"], rows):
        strip = _as_float(variable.isel(y=slice(top, top + rows)))
        finite = np.isfinite(strip)
        lows.append(strip.min(where=finite, initial=np.inf))
        highs.append(strip.max(where=finite, initial=-np.inf))
        total += float(strip.sum(where=finite, dtype=np.float64))
        count += int(finite.sum())
        images.append(_reduced(strip, step, variable))
    image = np.concatenate(images)
    if not count:
        return Thumbnail(image, np.nan, np.nan, np.nan, 0.0)
    return Thumbnail(image, float(min(lows)), float(max(highs)), total / count, count / variable.size)


def _as_float(strip: xr.DataArray) -> NDArray[np.float32]:
    values = np.asarray(strip.values)
    if values.dtype.kind == "f":
        return values.astype(np.float32, copy=False)
    fill = strip.attrs.get("_FillValue", NO_CLASS)
    return np.where(values == fill, np.float32(np.nan), values.astype(np.float32))


def _reduced(strip: NDArray[np.float32], step: int, variable: xr.DataArray) -> NDArray[np.float32]:
    """Return one value for each block of step x step cells; blocks at the edge may have fewer."""
    label = variable.attrs.get("role") == "label"
    if variable.dtype.kind != "f" and not label:
        return strip[::step, ::step]
    return reduce_blocks(strip, step, np.nanmax if label else MEAN)
