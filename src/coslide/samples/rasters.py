"""The inputs of a training in a file that tiles are read from: decoded once, normalised, mapped into memory."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coslide.errors import InputError
from coslide.files import unwritable_is_named
from coslide.indices.cube import Band
from coslide.samples.dataset import MappedArray
from coslide.samples.normalise import Moments, Normalisation, normalise
from coslide.samples.windows import row_strips

ReadRows = Callable[[slice], NDArray[np.float32]]


def read_raster(read: ReadRows, path: Path, bands: Sequence[Band], where: NDArray[np.bool_], *, name: str) -> Moments:
    """Return the moments of the inputs of an area, which are left as they are in the file `path`.

    Parameters
    ----------
    read
        ``read(rows)`` gives rows of the inputs, float32 (band, row, col), NaN where there is no value.
    path
        File to write (.npy, float32).
    bands
        What the inputs are.
    where
        The cells that count, bool (row, col).

    name
        What the area is called in an error.

    Raises
    ------
    InputError
        If a value is infinite, or the disk is full.
    """
    moments = Moments(bands)
    with unwritable_is_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stored = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(len(bands), *where.shape))
        with path.open("r+b") as file:  # a full disk is an error now; met later, through the map, it kills the process
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        for rows in row_strips(where.shape[0]):
            values = read(rows)
            require_finite(values, bands, name)
            stored[:, rows] = values
            moments.add(values, where[rows])
        stored.flush()
    return moments


def normalise_raster(path: Path, normalisation: Normalisation) -> MappedArray:
    """Return the inputs of the file `path`, which are replaced by what a network sees of them; NaN becomes 0.

    Raises
    ------
    InputError
        If the disk is full.
    """
    with unwritable_is_named(path):
        stored = np.lib.format.open_memmap(path, mode="r+")
        for rows in row_strips(stored.shape[1]):
            stored[:, rows] = normalise(stored[:, rows], normalisation)
        stored.flush()
    return MappedArray(path)


def require_finite(values: NDArray[np.float32], bands: Sequence[Band], name: str) -> None:
    """Return nothing if no value (band, row, col) is infinite; NaN, no value, may occur.

    Raises
    ------
    InputError
        If one is; `name` is what the area is called in it.
    """
    for channel, band in zip(values, bands, strict=True):
        infinite = int(np.isinf(channel).sum())
        if infinite:
            raise InputError(
                f"{name}: band {band.name} is infinite in {infinite} cells, expected numbers (or no data); "
                "correct its source and build the cube again"
            )
