"""Tiles as a data set, and the order in which they are seen."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from coslide.samples.dihedral import VIEWS, turn, turn_aspect
from coslide.samples.windows import Window


class Draw(NamedTuple):
    """Which tile to take, and in which of the eight views."""

    tile: int
    view: int


class Tiles(Dataset[tuple[Tensor, Tensor]]):
    """Tiles of a raster: what the network sees, float32 (band, row, col), and the labels, int64 (row, col).

    Parameters
    ----------
    inputs
        Normalised raster, (band, row, col).
    labels
        (row, col): 0 background, 1 landslide, 255 unknown.
    windows
        Where the tiles lie.
    aspect
        Number of the channel that holds aspect classes (divided by nine), or None.
    """

    ASPECT_CLASSES = 9

    def __init__(
        self,
        inputs: NDArray[np.float32],
        labels: NDArray[np.uint8],
        windows: Sequence[Window],
        *,
        aspect: int | None = None,
    ) -> None:
        self._inputs, self._labels, self._windows, self._aspect = inputs, labels, windows, aspect

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        rows, cols = self._windows[draw.tile].slices
        tile = self._inputs[:, rows, cols]
        if draw.view and self._aspect is not None:
            tile = tile.copy()
            classes = np.rint(tile[self._aspect] * self.ASPECT_CLASSES).astype(np.int64)
            tile[self._aspect] = turn_aspect(classes, draw.view) / np.float32(self.ASPECT_CLASSES)
        seen = np.ascontiguousarray(turn(tile, draw.view))
        labels = turn(self._labels[rows, cols], draw.view).astype(np.int64)
        return torch.from_numpy(seen), torch.from_numpy(labels)


class Order(Sampler[Draw]):
    """Every tile once per epoch, shuffled; in a random view if `augment`.

    The order depends on `seed` and the epoch alone, so a resumed training sees what an uninterrupted one would have.
    """

    def __init__(self, count: int, *, seed: int, augment: bool) -> None:
        self._count, self._seed, self._augment = count, seed, augment
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Return nothing; the next pass is that of `epoch` (Lightning calls this)."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Draw]:
        random = np.random.default_rng((self._seed, self._epoch))
        order = random.permutation(self._count)
        views = random.integers(VIEWS, size=self._count) if self._augment else np.zeros(self._count, dtype=int)
        return (Draw(int(tile), int(view)) for tile, view in zip(order, views, strict=True))
