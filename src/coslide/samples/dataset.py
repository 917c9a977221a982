"""Tiles cut from the encoded inputs of scenes, as a data set of torch, and the batches in which they are drawn."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from coslide.config.training import TrainingSettings
from coslide.errors import InputError
from coslide.labels import BACKGROUND, LANDSLIDE, NODATA
from coslide.samples.augment import ORIENTATIONS, AspectInputs, Jitter, apply_dihedral, turn_inputs
from coslide.samples.light import Shade
from coslide.samples.rasters import MappedArray
from coslide.samples.relight import Relighting
from coslide.samples.split import SplitRaster, Subset, shown_to_training
from coslide.windows import Window

ROUNDS = 20  # into which a training at random places is cut; a checkpoint is written after each


class TileSample(NamedTuple):
    """A tile to draw: where it is cut, its orientation, the groups of inputs dropped, and its light.

    `light_seed` seeds how the light of the sample is varied; None leaves it as it is. A sample that does not count is a
    filler: none of its labels does.
    """

    raster: int
    window: Window
    orientation: int = 0
    dropped: tuple[int, ...] = ()
    light_seed: int | None = None
    counts: bool = True


class Raster(NamedTuple):
    """What tiles are cut from: encoded inputs float32 (input, row, col), labels and subsets uint8 (row, col)."""

    inputs: NDArray[np.float32] | MappedArray
    labels: NDArray[np.uint8]
    subsets: SplitRaster


@dataclass(eq=False)
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
    aspect
        The inputs that hold aspect, or None.
    groups
        Numbers of the inputs that a `TileSample` may drop together.
    lights
        How the light of a training tile is varied, one after the other.
    shade
        Where background does not count in a training tile, or None.
    side_px
        Side to which a window of another size is resampled (nearest pixel); None where all are as they come.
    """

    rasters: Sequence[Raster]
    windows: Sequence[Sequence[Window]]
    _: KW_ONLY
    subset: Subset = Subset.TRAIN
    aspect: AspectInputs | None = None
    groups: Sequence[Sequence[int]] = ()
    lights: Sequence[Jitter | Relighting] = ()
    shade: Shade | None = None
    side_px: int | None = None

    def __post_init__(self) -> None:
        self.draws = [TileSample(number, window) for number, of_one in enumerate(self.windows) for window in of_one]

    def __len__(self) -> int:
        return len(self.draws)

    def __getitem__(self, draw: TileSample) -> tuple[Tensor, Tensor]:
        raster, (rows, cols) = self.rasters[draw.raster], draw.window.slices
        tile = self._resampled(np.array(raster.inputs[:, rows, cols]))  # a copy: what follows changes it
        subsets, labels = (self._resampled(one[rows, cols]) for one in (raster.subsets, raster.labels))
        labels = np.where((subsets == self.subset) & draw.counts, labels, np.uint8(NODATA))
        if self.shade is not None:
            labels[self.shade.find(tile) & (labels == BACKGROUND)] = NODATA
        if draw.light_seed is not None:
            for light in self.lights:
                light.apply(tile, draw.light_seed)
        if self.subset == Subset.TRAIN:
            tile[:, ~shown_to_training(subsets)] = 0
        for group in draw.dropped:
            tile[list(self.groups[group])] = 0
        seen = turn_inputs(tile, draw.orientation, aspect=self.aspect)
        return torch.from_numpy(seen), torch.from_numpy(apply_dihedral(labels, draw.orientation).astype(np.int64))

    def _resampled(self, window: NDArray[Any]) -> NDArray[Any]:
        side, found = self.side_px or window.shape[-1], window.shape[-1]
        pick = ((np.arange(side) + 0.5) * (found / side)).astype(np.intp)
        return window if found == side else window[..., pick[:, np.newaxis], pick]


class TileBatches(Sampler[list[TileSample]]):
    """The batches of one epoch after the other; `places` draws the samples of an epoch.

    What is drawn depends on the seed and the number of the epoch alone, so a resumed training sees what an
    uninterrupted one would have. Where several processes train together, each takes its share of every batch.

    Parameters
    ----------
    tiles
        What to draw from.
    settings
        The groups `optimiser` (samples in a batch, over all processes together) and `augment`, and `seed`, are read.
    in_order
        Keep the tiles in their order, and vary none.
    """

    def __init__(self, tiles: Tiles, settings: TrainingSettings, *, in_order: bool = False) -> None:
        self.tiles, self.size = tiles, settings.optimiser.batch
        self._settings, self._in_order = settings, in_order
        self._epoch = 0

    @property
    def sampler(self) -> "TileBatches":
        """Give Lightning the sampler that it tells the number of the epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Begin the epoch of this number (Lightning calls this)."""
        self._epoch = epoch

    def __len__(self) -> int:
        return math.ceil(len(self.tiles) / self.size)

    def __iter__(self) -> Iterator[list[TileSample]]:
        random = np.random.default_rng((self._settings.seed, self._epoch))
        draws = self.tiles.draws if self._in_order else self._varied(self.places(random), random)
        rank, ranks = _place_among_processes()
        for start in range(0, len(draws), self.size):
            batch = draws[start : start + self.size]
            batch += [batch[0]._replace(counts=False)] * (-len(batch) % ranks)  # fillers make the shares equal
            share = len(batch) // ranks
            yield batch[rank * share : (rank + 1) * share]

    def places(self, random: np.random.Generator) -> list[TileSample]:
        """Draw the samples of an epoch: here every tile once, shuffled."""
        return [self.tiles.draws[i] for i in random.permutation(len(self.tiles))]

    def _varied(self, draws: Sequence[TileSample], random: np.random.Generator) -> list[TileSample]:
        count, augment = len(draws), self._settings.augment
        varied = max(augment.jitter_gain, augment.jitter_offset, augment.jitter_band, augment.relight) > 0
        orientations = random.integers(ORIENTATIONS, size=count).tolist() if augment.flips else [0] * count
        dropped = random.random((count, len(self.tiles.groups))) < augment.band_dropout
        seeds = random.integers(2**32, size=count).tolist() if varied else [None] * count
        return [
            draw._replace(orientation=orientation, dropped=tuple(np.flatnonzero(groups).tolist()), light_seed=seed)
            for draw, orientation, groups, seed in zip(draws, orientations, dropped, seeds, strict=True)
        ]


class RandomWindows(TileBatches):
    """Batches of windows at random places of the training subset.

    An epoch is a twentieth of the steps, rounded up; of a training whose length is given in epochs, it is as many
    windows as would cover the training pixels once.

    The middle of a window is a labelled training pixel, by `sampling.balance` each as likely as any other of all events
    or of its own. A share, `sampling.landslide_windows`, holds a landslide pixel instead, drawn likewise, which may lie
    anywhere in them: in the middle, a network would learn to find landslides there. A window is moved inwards where it
    would cross the edge of the raster, and may reach into held-out pixels, of which `Tiles` shows nothing.

    Parameters
    ----------
    tiles
        What to draw from.
    settings
        As for `TileBatches`; the side of a window and the steps of the whole training are read too.
    """

    def __init__(self, tiles: Tiles, settings: TrainingSettings) -> None:
        super().__init__(tiles, settings)
        trains = [(raster.subsets == tiles.subset) & (raster.labels != NODATA) for raster in tiles.rasters]
        slid = [where & (raster.labels == LANDSLIDE) for where, raster in zip(trains, tiles.rasters, strict=True)]
        self._share = settings.sampling.landslide_windows
        self._anywhere = _Pixels(trains, settings)
        self._landslides = _Pixels(slid, settings) if self._share else self._anywhere
        if self._share and not self._landslides.count:
            why = "no training pixel is a landslide"
            raise InputError(f"training.sampling.landslide_windows: found {self._share:g}, expected 0: {why}")

    def __len__(self) -> int:
        steps = self._settings.optimiser.steps
        windows = self._anywhere.count / self._settings.sampling.tile**2
        return math.ceil(windows / self.size if steps is None else steps / ROUNDS)

    def places(self, random: np.random.Generator) -> list[TileSample]:
        """Draw the windows of an epoch."""
        count = len(self) * self.size
        landslides = int(random.binomial(count, self._share)) if self._share else 0
        drawn = self._landslides.draw(landslides, random, anywhere=True) + self._anywhere.draw(
            count - landslides, random
        )
        return [drawn[i] for i in random.permutation(count)] if landslides else drawn


class _Pixels:
    """Pixels of rasters, bool (row, col) each, around which windows are drawn."""

    def __init__(self, where: Sequence[NDArray[np.bool_]], settings: TrainingSettings) -> None:
        self._where, self._side, self._zoom = where, settings.sampling.tile, settings.augment.zoom
        self._up_to_row = [np.cumsum(one.sum(axis=1)) for one in where]
        counts = np.array([up_to[-1] for up_to in self._up_to_row])
        self.count = int(counts.sum())
        self._weights = np.sign(counts) if settings.sampling.balance == "events" else counts

    def draw(self, count: int, random: np.random.Generator, *, anywhere: bool = False) -> list[TileSample]:
        """Draw windows with a pixel in their middle, or `anywhere` in them."""
        rasters = random.choice(len(self._weights), size=count, p=self._weights / self._weights.sum())
        return [TileSample(int(number), self._window(int(number), random, anywhere=anywhere)) for number in rasters]

    def _window(self, number: int, random: np.random.Generator, *, anywhere: bool) -> Window:
        """Draw a window of one raster, moved inwards where it would cross its edge."""
        where, up_to, side = self._where[number], self._up_to_row[number], self._side
        if self._zoom:
            side = min(round(side * math.exp(random.uniform(-self._zoom, self._zoom))), *where.shape)
        row = int(np.searchsorted(up_to, random.integers(up_to[-1]), side="right"))
        col = int(random.choice(np.flatnonzero(where[row])))
        height, width = where.shape
        down, across = random.integers(side, size=2) if anywhere else (side // 2, side // 2)
        return Window(min(max(0, row - down), height - side), min(max(0, col - across), width - side), side, side)


def _place_among_processes() -> tuple[int, int]:
    """Find the number of this process, and how many train together."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
