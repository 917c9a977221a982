"""Tiles as a data set, and the order in which they are seen."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from coslide.labels import UNKNOWN
from coslide.samples.dihedral import VIEWS, turn, turn_inputs
from coslide.samples.split import Part, PartMap, shown_to_training
from coslide.samples.windows import Window


class Draw(NamedTuple):
    """Which tile to take, in which of the eight views, without which groups of bands.

    A tile that does not count is a filler: its labels are all unknown.
    """

    tile: int
    view: int = 0
    dropped: tuple[int, ...] = ()
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
        """Return the array, read from the file as it is looked at."""
        if self._array is None:
            self._array = np.load(self._path, mmap_mode="r", allow_pickle=False)
        return self._array

    def __getstate__(self) -> dict[str, Any]:
        return {"_path": self._path, "_array": None}  # a copy in another process must not carry the data


class Raster(NamedTuple):
    """What tiles are cut from: normalised inputs float32 (band, row, col), labels and parts uint8 (row, col)."""

    inputs: NDArray[np.float32] | MappedArray
    labels: NDArray[np.uint8]
    parts: PartMap


class Tiles(Dataset[tuple[Tensor, Tensor]]):
    """Tiles of rasters: what the network sees, float32 (band, row, col), and the labels, int64 (row, col).

    A label counts where the cell belongs to the part that the tiles are of; it is 255 elsewhere. A training tile shows
    zero, the mean, where validation or test ground lies.

    Parameters
    ----------
    rasters
        One for each event.
    windows
        For each raster, where its tiles lie.
    part
        The part that the tiles are of.
    aspect
        Number of the channel that holds aspect classes (divided by nine), or None.
    groups
        Numbers of the channels that a `Draw` may drop together.
    """

    def __init__(
        self,
        rasters: Sequence[Raster],
        windows: Sequence[Sequence[Window]],
        *,
        part: Part = Part.TRAIN,
        aspect: int | None = None,
        groups: Sequence[Sequence[int]] = (),
    ) -> None:
        self._rasters, self._part, self._aspect, self._groups = rasters, part, aspect, groups
        self._places = [(number, window) for number, of_one in enumerate(windows) for window in of_one]

    def __len__(self) -> int:
        return len(self._places)

    @property
    def group_count(self) -> int:
        """Return how many groups of channels can be dropped."""
        return len(self._groups)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        number, window = self._places[draw.tile]
        raster, (rows, cols) = self._rasters[number], window.slices
        stored = raster.inputs.array if isinstance(raster.inputs, MappedArray) else raster.inputs
        tile = np.array(stored[:, rows, cols])  # a copy: what follows changes it
        parts = raster.parts[rows, cols]
        if self._part == Part.TRAIN:
            tile[:, ~shown_to_training(parts)] = 0
        labels = np.where(parts == self._part, raster.labels[rows, cols], np.uint8(UNKNOWN))
        if not draw.counts:
            labels = np.full_like(labels, UNKNOWN)
        seen = turn_inputs(tile, draw.view, aspect=self._aspect)
        for group in draw.dropped:
            seen[list(self._groups[group])] = 0
        return torch.from_numpy(seen), torch.from_numpy(turn(labels, draw.view).astype(np.int64))


class Batches(Sampler[list[Draw]]):
    """The batches of an epoch: every tile once, shuffled; in a random view and without random groups if asked.

    The draws depend on `seed` and the epoch alone, so a resumed training sees what an uninterrupted one would have.
    Where several processes train together, each takes its share of every batch.

    Parameters
    ----------
    count
        Number of tiles.
    size
        Tiles in a batch, over all processes together.
    seed
        Decides all.
    augment
        Turn and mirror at random.
    dropout
        Chance that a tile is seen without a group of channels.
    groups
        How many groups there are.
    """

    def __init__(
        self, count: int, size: int, *, seed: int, augment: bool = False, dropout: float = 0.0, groups: int = 0
    ) -> None:
        self._count, self._size, self._seed = count, size, seed
        self._augment, self._dropout, self._groups = augment, dropout, groups
        self._epoch = 0

    @property
    def sampler(self) -> "Batches":
        """Return itself: Lightning looks here for whom to tell the epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Return nothing; the next pass is that of `epoch` (Lightning calls this)."""
        self._epoch = epoch

    def __len__(self) -> int:
        return math.ceil(self._count / self._size)

    def __iter__(self) -> Iterator[list[Draw]]:
        random = np.random.default_rng((self._seed, self._epoch))
        order = random.permutation(self._count)
        views = random.integers(VIEWS, size=self._count) if self._augment else np.zeros(self._count, dtype=int)
        gone = random.random((self._count, self._groups)) < self._dropout
        draws = [
            Draw(int(tile), int(view), tuple(np.flatnonzero(without).tolist()))
            for tile, view, without in zip(order, views, gone, strict=True)
        ]
        yield from _shared(draws, self._size)


class InOrder(Sampler[list[Draw]]):
    """Batches of `size` of all tiles in their order, as they are; shared by processes like `Batches`."""

    def __init__(self, count: int, size: int) -> None:
        self._count, self._size = count, size

    def __len__(self) -> int:
        return math.ceil(self._count / self._size)

    def __iter__(self) -> Iterator[list[Draw]]:
        yield from _shared([Draw(tile) for tile in range(self._count)], self._size)


def _shared(draws: Sequence[Draw], size: int) -> Iterator[list[Draw]]:
    """Return the share of this process in each batch; fillers make the shares equal."""
    rank, ranks = _place_among_processes()
    for start in range(0, len(draws), size):
        batch = list(draws[start : start + size])
        while len(batch) % ranks:
            batch.append(batch[0]._replace(counts=False))
        share = len(batch) // ranks
        yield batch[rank * share : (rank + 1) * share]


def _place_among_processes() -> tuple[int, int]:
    """Return the number of this process and how many train together."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
