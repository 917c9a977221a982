"""Tiles cut from rasters, as a data set of torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from coslide.labels import NODATA
from coslide.samples.augment import Jitter
from coslide.samples.dihedral import Directions, apply_dihedral, turn_inputs
from coslide.samples.split import SplitRaster, Subset, shown_to_training
from coslide.windows import Window


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


class MappedArray:
    """An array in a file (.npy), of which only what is looked at is read; another process opens the file anew.

    Parameters
    ----------
    path
        What `numpy.save` or `numpy.lib.format.open_memmap` wrote.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._array: NDArray[Any] | None = None

    @property
    def array(self) -> NDArray[Any]:
        """The array; of it, what is indexed is read."""
        if self._array is None:
            self._array = np.load(self._path, mmap_mode="r", allow_pickle=False)
        return self._array

    def __getstate__(self) -> dict[str, Any]:
        return {"_path": self._path, "_array": None}  # a copy in another process must not carry the data


class Raster(NamedTuple):
    """What tiles are cut from: encoded inputs float32 (input, row, col), labels and parts uint8 (row, col).

    `chips` tells that the raster is a pile of chips of the size of a tile, one below the other: no window may cross
    from one to the next.
    """

    inputs: NDArray[np.float32] | MappedArray
    labels: NDArray[np.uint8]
    parts: SplitRaster
    chips: bool = False


class Tiles(Dataset[tuple[Tensor, Tensor]]):
    """Tiles of rasters: what the network sees, float32 (input, row, col), and the labels, int64 (row, col).

    A label counts where the pixel belongs to the part that the tiles are of; it is 255 elsewhere. A training tile shows
    zero, the mean, where validation or test pixels lie.

    Parameters
    ----------
    rasters
        One for each event.
    windows
        For each raster, where its tiles lie.
    part
        The part that the tiles are of.
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
        part: Subset = Subset.TRAIN,
        directions: Directions | None = None,
        groups: Sequence[Sequence[int]] = (),
        jitter: Jitter | None = None,
    ) -> None:
        self.rasters, self.part, self.groups = rasters, part, groups
        self.draws = [TileSample(number, window) for number, of_one in enumerate(windows) for window in of_one]
        self._directions, self._jitter = directions, jitter

    def __len__(self) -> int:
        return len(self.draws)

    def __getitem__(self, draw: TileSample) -> tuple[Tensor, Tensor]:
        raster, (rows, cols) = self.rasters[draw.raster], draw.window.slices
        stored = raster.inputs.array if isinstance(raster.inputs, MappedArray) else raster.inputs
        tile = np.array(stored[:, rows, cols])  # a copy: what follows changes it
        parts = raster.parts[rows, cols]
        if self._jitter is not None and draw.light_seed is not None:
            self._jitter.apply(tile, draw.light_seed)
        if self.part == Subset.TRAIN:
            tile[:, ~shown_to_training(parts)] = 0
        for group in draw.dropped:
            tile[list(self.groups[group])] = 0
        labels = np.where(parts == self.part, raster.labels[rows, cols], np.uint8(NODATA))
        if not draw.counts:
            labels = np.full_like(labels, NODATA)
        seen = turn_inputs(tile, draw.orientation, directions=self._directions)
        return torch.from_numpy(seen), torch.from_numpy(apply_dihedral(labels, draw.orientation).astype(np.int64))
