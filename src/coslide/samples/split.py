"""Which ground trains and which is held out.

Overlapping windows drawn at random share most of their ground between the two parts, and even windows that only touch
are alike; whole blocks keep them apart. `leak_fraction` measures how far a split fails to.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coslide.errors import InputError
from coslide.labels import LANDSLIDE, UNKNOWN
from coslide.samples.windows import Window, cover, require_tile, windows_in
from coslide.settings import TrainingSettings


class Split(NamedTuple):
    """The windows of each part; `train_area` and `test_area` are the rectangles they were cut from."""

    train: list[Window]
    test: list[Window]
    train_area: list[Window]
    test_area: list[Window]


def split_windows(labels: NDArray[np.uint8], settings: TrainingSettings) -> Split:
    """Return the split of a raster as `settings` ask: by blocks, or by random windows as in the paper.

    Parameters
    ----------
    labels
        (row, col): 0 background, 1 landslide, 255 unknown. Blocks and windows without a known cell are left out.
    settings
        `split`, `tile`, `stride`, `block_windows`, `test_fraction` and `seed` are read.

    Raises
    ------
    InputError
        If the raster is smaller than one tile, or too small to give both parts something with a known cell.
    """
    return _block_split(labels, settings) if settings.split == "blocks" else _random_split(labels, settings)


def blocks_of(shape: tuple[int, int], *, tile: int, block_px: int) -> list[Window]:
    """Return rectangles of nearly equal size, about `block_px` on a side, that cover a raster without overlap.

    None is smaller than a tile.

    Parameters
    ----------
    shape
        (row, col) of the raster, at least one tile each.
    tile, block_px
        Side of a tile, and wanted side of a block, in cells.

    Raises
    ------
    InputError
        If the raster is smaller than one tile.

    Examples
    --------
    >>> blocks_of((100, 260), tile=100, block_px=120)
    [Window(row=0, col=0, height=100, width=130), Window(row=0, col=130, height=100, width=130)]
    """
    require_tile(shape, tile)
    edges = []
    for length in shape:
        count = max(1, min(round(length / block_px), length // tile))
        edges.append(np.linspace(0, length, count + 1).round().astype(int).tolist())
    rows, cols = edges
    return [
        Window(top, left, bottom - top, right - left)
        for top, bottom in itertools.pairwise(rows)
        for left, right in itertools.pairwise(cols)
    ]


def leak_fraction(train: Sequence[Window], test: Sequence[Window], shape: tuple[int, int]) -> float:
    """Return the mean share (0 to 1) of a test window's cells that lie in a training window.

    Examples
    --------
    >>> leak_fraction([Window(0, 0, 4, 4)], [Window(0, 3, 4, 4), Window(0, 7, 4, 4)], (4, 12))
    0.125
    """
    trained = cover(train, shape)
    return float(np.mean([trained[window.slices].mean() for window in test])) if test else 0.0


def _block_split(labels: NDArray[np.uint8], settings: TrainingSettings) -> Split:
    block_px = settings.tile + (settings.block_windows - 1) * settings.stride
    blocks = blocks_of(labels.shape, tile=settings.tile, block_px=block_px)
    blocks = [block for block in blocks if _known(labels, block)]
    if len(blocks) < 2:
        raise InputError(
            f"the area of {labels.shape[0]} x {labels.shape[1]} cells holds {len(blocks)} block(s) of about {block_px} "
            "cells with known ground, expected at least 2 (one to train, one to hold out); lower training.block_windows"
        )
    landslide_cells = [int((labels[block.slices] == LANDSLIDE).sum()) for block in blocks]
    held_out = _stratified_choice(landslide_cells, settings.test_fraction, settings.seed)
    train_area = [block for i, block in enumerate(blocks) if i not in held_out]
    test_area = [block for i, block in enumerate(blocks) if i in held_out]
    return Split(_cut(labels, train_area, settings), _cut(labels, test_area, settings), train_area, test_area)


def _random_split(labels: NDArray[np.uint8], settings: TrainingSettings) -> Split:
    windows = _cut(labels, [Window(0, 0, *labels.shape)], settings)
    count = round(settings.test_fraction * len(windows))
    if not 0 < count < len(windows):
        raise InputError(f"{len(windows)} window(s) cannot be split with test_fraction {settings.test_fraction}")
    order = np.random.default_rng(settings.seed).permutation(len(windows))
    test = [windows[i] for i in sorted(order[:count])]
    train = [windows[i] for i in sorted(order[count:])]
    return Split(train, test, train, test)


def _stratified_choice(amounts: Sequence[int], fraction: float, seed: int) -> set[int]:
    """Return which items to hold out: ranked by amount and cut into runs, each run gives one to the smaller part."""
    random = np.random.default_rng(seed)
    order = np.argsort(amounts, kind="stable")[::-1]
    wanted = min(max(1, round(fraction * len(order))), len(order) - 1)
    strata = np.array_split(order, min(wanted, len(order) - wanted))  # one of each run goes to the smaller part
    smaller = {int(random.choice(stratum)) for stratum in strata}
    return smaller if wanted == len(smaller) else set(range(len(order))) - smaller


def _known(labels: NDArray[np.uint8], window: Window) -> bool:
    return bool((labels[window.slices] != UNKNOWN).any())


def _cut(labels: NDArray[np.uint8], areas: Sequence[Window], settings: TrainingSettings) -> list[Window]:
    windows = [w for area in areas for w in windows_in(area, tile=settings.tile, stride=settings.stride)]
    return [window for window in windows if _known(labels, window)]
