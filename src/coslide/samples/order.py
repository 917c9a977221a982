"""The order in which samples are seen: fixed tiles shuffled, or windows at random places."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import Sampler

from coslide.config.training import AugmentSettings
from coslide.labels import NODATA
from coslide.samples.augment import ORIENTATIONS
from coslide.samples.dataset import Tiles, TileSample
from coslide.windows import Window

_ROUNDS = 20  # into which a training at random places is cut; a checkpoint is written after each


class TileBatches(Sampler[list[TileSample]]):
    """The batches of one pass or round after the other; `places` draws the samples of a round.

    What is drawn depends on the seed and the number of the round alone, so a resumed training sees what an
    uninterrupted one would have. Where several processes train together, each takes its share of every batch.

    Parameters
    ----------
    tiles
        What to draw from.
    size
        Samples in a batch, over all processes together.
    seed
        Decides all; None keeps the tiles in their order.
    augment
        How to vary the samples; not at all by default.
    """

    def __init__(self, tiles: Tiles, size: int, *, seed: int | None, augment: AugmentSettings | None = None) -> None:
        self.tiles, self.size, self._seed = tiles, size, seed
        self._augment = augment or AugmentSettings()
        self._round = 0

    @property
    def sampler(self) -> "TileBatches":
        """Give Lightning the sampler that it tells the number of the epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Begin the round of this number (Lightning calls this)."""
        self._round = epoch

    def __len__(self) -> int:
        return math.ceil(len(self.tiles) / self.size)

    def __iter__(self) -> Iterator[list[TileSample]]:
        if self._seed is None:
            yield from _shared(self.tiles.draws, self.size)
        else:
            random = np.random.default_rng((self._seed, self._round))
            yield from _shared(self._varied(self.places(random), random), self.size)

    def places(self, random: np.random.Generator) -> list[TileSample]:
        """Draw the samples of a round: here every tile once, shuffled."""
        return [self.tiles.draws[i] for i in random.permutation(len(self.tiles))]

    def _varied(self, draws: Sequence[TileSample], random: np.random.Generator) -> list[TileSample]:
        count, augment = len(draws), self._augment
        jitters = max(augment.jitter_gain, augment.jitter_offset, augment.jitter_band) > 0
        orientations = random.integers(ORIENTATIONS, size=count) if augment.flips else np.zeros(count, dtype=int)
        gone = random.random((count, len(self.tiles.groups))) < augment.band_dropout
        lights = random.integers(2**32, size=count).tolist() if jitters else [None] * count
        return [
            draw._replace(
                orientation=int(orientation), dropped=tuple(np.flatnonzero(without).tolist()), light_seed=light
            )
            for draw, orientation, without, light in zip(draws, orientations, gone, lights, strict=True)
        ]


class RandomPlaces(TileBatches):
    """Batches of windows at random places of the training subset, in rounds of a twentieth of all steps.

    The middle of a window is a labelled training pixel, each as likely as any other of all events; the window is moved
    inwards where it would cross the rim of the raster. It may reach into held-out pixels, of which `Tiles` shows
    nothing.

    Parameters
    ----------
    tiles, size, seed, augment
        As for `TileBatches`.
    side_px
        Side of a window.
    steps
        Of the whole training, rounded up to full rounds.
    """

    def __init__(
        self, tiles: Tiles, size: int, *, seed: int, side_px: int, steps: int, augment: AugmentSettings | None = None
    ) -> None:
        super().__init__(tiles, size, seed=seed, augment=augment)
        self._side = side_px
        self._steps = math.ceil(steps / _ROUNDS)  # of a round
        self._trains = [(raster.subsets == tiles.subset) & (raster.labels != NODATA) for raster in tiles.rasters]
        self._up_to_row = [np.cumsum(where.sum(axis=1)) for where in self._trains]  # training pixels

    def __len__(self) -> int:
        return self._steps

    def places(self, random: np.random.Generator) -> list[TileSample]:
        """Draw the windows of a round."""
        counts = np.array([up_to[-1] for up_to in self._up_to_row])
        rasters = random.choice(len(counts), size=self._steps * self.size, p=counts / counts.sum())
        return [self._place(int(number), random) for number in rasters]

    def _place(self, number: int, random: np.random.Generator) -> TileSample:
        trains, up_to = self._trains[number], self._up_to_row[number]
        row = int(np.searchsorted(up_to, random.integers(up_to[-1]), side="right"))
        col = int(random.choice(np.flatnonzero(trains[row])))
        if self.tiles.rasters[number].chips:
            return TileSample(number, Window(row - row % self._side, 0, self._side, self._side))
        side = self._side
        top, left = (
            min(max(0, at - side // 2), size - side) for at, size in zip((row, col), trains.shape, strict=True)
        )
        return TileSample(number, Window(top, left, side, side))


def rounded_steps(steps: int) -> int:
    """Round the steps of a training up to full rounds.

    Examples
    --------
    >>> rounded_steps(960), rounded_steps(961), rounded_steps(3)
    (960, 980, 3)
    """
    of_round = math.ceil(steps / _ROUNDS)
    return math.ceil(steps / of_round) * of_round


def _shared(draws: Sequence[TileSample], size: int) -> Iterator[list[TileSample]]:
    """Give this process its share of each batch; fillers make the shares equal."""
    rank, ranks = _place_among_processes()
    for start in range(0, len(draws), size):
        batch = list(draws[start : start + size])
        while len(batch) % ranks:
            batch.append(batch[0]._replace(counts=False))
        share = len(batch) // ranks
        yield batch[rank * share : (rank + 1) * share]


def _place_among_processes() -> tuple[int, int]:
    """Find the number of this process, and how many train together."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
