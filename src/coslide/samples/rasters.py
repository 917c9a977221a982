"""The inputs of whole scenes, encoded and left in files from which windows are cut."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coslide.cube.band import Band
from coslide.errors import InputError
from coslide.io.atomic import report_write_errors
from coslide.samples.encode import Encoder, Moments
from coslide.windows import row_strips

ReadRows = Callable[[slice], NDArray[np.float32]]


@dataclass(frozen=True)
class MappedArray:
    """An array in a file (.npy), of which only what is indexed is read, in whatever process.

    Attributes
    ----------
    path
        What `numpy.save` or `numpy.lib.format.open_memmap` wrote.
    """

    path: Path

    def __getitem__(self, place: Any) -> NDArray[Any]:
        return np.asarray(np.load(self.path, mmap_mode="r", allow_pickle=False)[place])


def read_raster(read: ReadRows, path: Path, bands: Sequence[Band], where: NDArray[np.bool_], *, name: str) -> Moments:
    """Copy the bands of an area into the file `path`, and take their moments on the way.

    Parameters
    ----------
    read
        ``read(rows)`` gives rows of the inputs, float32 (band, row, col), NaN where there is no value.
    path
        File to write (.npy, float32).
    bands
        What the inputs are.
    where
        The pixels that count, bool (row, col).
    name
        What the area is called in an error.

    Raises
    ------
    InputError
        If a value is infinite, or the disk is full.
    """
    moments = Moments(bands)
    with report_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stored = _allocated(path, (len(bands), *where.shape))
        for rows in row_strips(where.shape[0]):
            values = read(rows)
            require_finite(values, bands, name)
            stored[:, rows] = values
            moments.add(values, where[rows])
        stored.flush()
    return moments


def encode_raster(path: Path, encoder: Encoder) -> MappedArray:
    """Encode the bands of the file `path` into one beside it, and remove them.

    Raises
    ------
    InputError
        If the disk is full.
    """
    encoded = path.with_suffix(".inputs.npy")
    with report_write_errors(path):
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
        out = _allocated(encoded, (len(encoder.names), *stored.shape[1:]))
        for rows in row_strips(stored.shape[1]):
            out[:, rows] = encoder.encode(np.array(stored[:, rows]))
        out.flush()
        path.unlink()
    return MappedArray(encoded)


def _allocated(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.float32]]:
    """Make a float32 file and take all its space: a full disk met later, through the map, kills the process."""
    found = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return found


def require_finite(values: NDArray[np.float32], bands: Sequence[Band], name: str) -> None:
    """Check that no value (band, row, col) is infinite; NaN, nodata, may occur.

    Raises
    ------
    InputError
        If one is; `name` is what the area is called in it.
    """
    for band, infinite in zip(bands, np.isinf(values).sum(axis=(1, 2)), strict=True):
        if infinite:
            raise InputError(
                f"{name}: band {band.name} is infinite in {infinite} pixels, expected numbers (or nodata); "
                "correct its source and build the cube again"
            )
