"""Tiles cut from the encoded inputs of scenes, which lie in files, as a data set of torch."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from coslide.cube.band import Band
from coslide.errors import InputError
from coslide.io.atomic import report_write_errors
from coslide.labels import NODATA
from coslide.samples.augment import Directions, Jitter, apply_dihedral, turn_inputs
from coslide.samples.encode import Encoder
from coslide.samples.normalise import Moments
from coslide.samples.split import SplitRaster, Subset, shown_to_training
from coslide.windows import Window, row_strips

ReadRows = Callable[[slice], NDArray[np.float32]]


class TileSample(NamedTuple):
    """A tile to draw: where it is cut, its orientation, the groups of inputs that it goes without, and its light.

    `light_seed` seeds the jitter of the sample; None leaves it as it is. A sample that does not count is a filler: none
    of its labels does.
    """

    raster: int
    window: Window
    orientation: int = 0
    dropped: tuple[int, ...] = ()
    light_seed: int | None = None
    counts: bool = True


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
        part: NDArray[Any] = np.load(self.path, mmap_mode="r", allow_pickle=False)[place]
        return part


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
    found: np.memmap[Any, np.dtype[np.float32]] = np.lib.format.open_memmap(
        path, mode="w+", dtype=np.float32, shape=shape
    )
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


class Raster(NamedTuple):
    """What tiles are cut from: encoded inputs float32 (input, row, col), labels and subsets uint8 (row, col).

    `chips` tells that the raster is a pile of chips of the size of a tile, one below the other: no window may cross
    from one to the next.
    """

    inputs: NDArray[np.float32] | MappedArray
    labels: NDArray[np.uint8]
    subsets: SplitRaster
    chips: bool = False


class Tiles(Dataset[tuple[Tensor, Tensor]]):
    """Tiles of rasters: what the network sees, float32 (input, row, col), and the labels, int64 (row, col).

    A label counts where the pixel belongs to the subset of the tiles; it is 255 elsewhere. A training tile shows zero,
    the mean, where validation or test pixels lie.

    Parameters
    ----------
    rasters
        One for each event.
    windows
        For each raster, where its tiles lie.
    subset
        The subset that the tiles are of.
    directions
        The inputs that hold aspect, or None.
    groups
        Numbers of the inputs that a `TileSample` may drop together.
    jitter
        How the light of a date varies, or None.
    """

    def __init__(
        self,
        rasters: Sequence[Raster],
        windows: Sequence[Sequence[Window]],
        *,
        subset: Subset = Subset.TRAIN,
        directions: Directions | None = None,
        groups: Sequence[Sequence[int]] = (),
        jitter: Jitter | None = None,
    ) -> None:
        self.rasters, self.subset, self.groups = rasters, subset, groups
        self.draws = [TileSample(number, window) for number, of_one in enumerate(windows) for window in of_one]
        self._directions, self._jitter = directions, jitter

    def __len__(self) -> int:
        return len(self.draws)

    def __getitem__(self, draw: TileSample) -> tuple[Tensor, Tensor]:
        raster, (rows, cols) = self.rasters[draw.raster], draw.window.slices
        tile = np.array(raster.inputs[:, rows, cols])  # a copy: what follows changes it
        subsets = raster.subsets[rows, cols]
        if self._jitter is not None and draw.light_seed is not None:
            self._jitter.apply(tile, draw.light_seed)
        if self.subset == Subset.TRAIN:
            tile[:, ~shown_to_training(subsets)] = 0
        for group in draw.dropped:
            tile[list(self.groups[group])] = 0
        labels = np.where(subsets == self.subset, raster.labels[rows, cols], np.uint8(NODATA))
        if not draw.counts:
            labels = np.full_like(labels, NODATA)
        seen = turn_inputs(tile, draw.orientation, directions=self._directions)
        return torch.from_numpy(seen), torch.from_numpy(apply_dihedral(labels, draw.orientation).astype(np.int64))
