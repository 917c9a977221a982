"""Which ground trains, which chooses, and which is held out.

Overlapping windows drawn at random share most of their ground between the parts, and even windows that only touch are
alike; whole blocks or regions keep them apart. The leak fraction of a split measures how far it fails to.
"""

import itertools
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple

import edt
import numpy as np
from numpy.typing import NDArray

from coslide.config.training import TrainingSettings
from coslide.errors import InputError
from coslide.io.executor import available_processors
from coslide.labels import LANDSLIDE, NODATA
from coslide.samples.paper_split import paper_parts
from coslide.windows import Window, cover, require_tile, windows_in


class Subset(IntEnum):
    """What a split does with a cell; the numbers are those of ``splits/*.tif``."""

    NONE = 0  # never seen
    TRAIN = 1
    TEST = 2
    VALIDATION = 3
    GUARD = 4  # of no part: training may see its bands but not its label, and it is not scored


SplitRaster = NDArray[np.uint8]


class Split(NamedTuple):
    """What a split does with an area.

    `parts` is uint8 (row, col), a `Subset` for each cell; `train`, `validation` and `test` are the windows to cut.
    `leak_fraction` (0 to 1) is the mean share of a test window's cells that training sees.
    """

    parts: SplitRaster
    train: list[Window]
    validation: list[Window]
    test: list[Window]
    leak_fraction: float


def split_windows(
    labels: NDArray[np.uint8],
    settings: TrainingSettings,
    *,
    regions: SplitRaster | None = None,
    blocks: Sequence[Window] | None = None,
    role: Subset = Subset.TRAIN,
) -> Split:
    """Return the split of an area as `settings` ask.

    Parameters
    ----------
    labels
        (row, col): 0 background, 1 landslide, 255 unknown. Blocks and windows without a known cell are left out.
    settings
        `split`, `tile`, `stride`, `block_windows`, `test_side`, `test_fraction`, `validation_fraction`, `guard_px`
        and `seed` are read.
    regions
        For ``split = "regions"`` with polygons: `Subset` of each cell as they say, (row, col).
    blocks
        Rectangles that make up the area, if not the raster as a whole: nothing is cut across them.
    role
        For ``split = "events"``: the part that this event as a whole belongs to, TRAIN or TEST.

    Raises
    ------
    InputError
        If the area is smaller than one tile, or too small to give each part something with a known cell.
    """
    require_tile(labels.shape, settings.sampling.tile)
    if settings.split.by_samples:
        if settings.split.guard_px:
            raise InputError(
                f"training.split.guard_px: samples that overlap have no border to guard; expected 0 with "
                f"{settings.split.scheme}"
            )
        return _split_of_samples(labels, settings, blocks or [Window(0, 0, *labels.shape)])
    block_px = settings.sampling.tile + (settings.split.block_windows - 1) * settings.sampling.stride
    pieces = blocks or blocks_of(labels.shape, tile=settings.sampling.tile, block_px=block_px)
    pieces = [block for block in pieces if _known(labels, block)]
    if settings.split.scheme == "blocks":
        parts = _of_blocks(labels, pieces, settings, block_px)
    elif settings.split.scheme == "events":
        parts = np.full(labels.shape, role, dtype=np.uint8)
    else:
        parts = _of_side(labels.shape, settings) if regions is None else regions.copy()
    if role == Subset.TRAIN and not (parts == Subset.VALIDATION).any():
        _take_validation(parts, labels, pieces, settings)
    if blocks is None:  # given blocks do not lie beside each other on Earth
        _guard(parts, settings.split.guard_px)
    areas = pieces if settings.split.scheme == "blocks" or blocks else [Window(0, 0, *labels.shape)]
    return _cut(parts, labels, areas, settings)


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


def leak_fraction(seen: NDArray[np.bool_], test: Iterable[Window], own: NDArray[np.bool_] | None = None) -> float:
    """Return the mean share (0 to 1) of a test window's cells that training sees.

    Parameters
    ----------
    seen
        Cells that a training tile shows to the network, (row, col).
    test
        The test windows.
    own
        Cells of the windows that count; all by default.

    Examples
    --------
    >>> seen = cover([Window(0, 0, 4, 4)], (4, 12))
    >>> leak_fraction(seen, [Window(0, 3, 4, 4), Window(0, 7, 4, 4)])
    0.125
    """
    shares = []
    for window in test:
        counted = seen[window.slices] if own is None else seen[window.slices][own[window.slices]]
        shares.append(counted.mean() if counted.size else 0.0)
    return float(np.mean(shares)) if shares else 0.0


def shown_to_training(parts: SplitRaster) -> NDArray[np.bool_]:
    """Tell where a training tile shows the network its inputs: on training pixels and the guard beside them."""
    return np.asarray((parts == Subset.TRAIN) | (parts == Subset.GUARD))


def _of_blocks(
    labels: NDArray[np.uint8], blocks: Sequence[Window], settings: TrainingSettings, block_px: int
) -> SplitRaster:
    wanted = 3 if settings.split.validation_fraction else 2
    if len(blocks) < wanted:
        purposes = "train, one to choose the threshold, one to hold out" if wanted == 3 else "train, one to hold out"
        raise InputError(
            f"the area of {labels.shape[0]} x {labels.shape[1]} cells holds {len(blocks)} block(s) of about {block_px} "
            f"cells with known ground, expected at least {wanted} (one to {purposes}); lower "
            "training.split.block_windows"
        )
    landslide_cells = _landslide_cells(labels, blocks)
    held_out = _stratified_choice(landslide_cells, settings.split.test_fraction, settings.seed, leave=wanted - 1)
    parts = np.zeros(labels.shape, dtype=np.uint8)
    for i, block in enumerate(blocks):
        parts[block.slices] = Subset.TEST if i in held_out else Subset.TRAIN
    return parts


def _take_validation(
    parts: SplitRaster, labels: NDArray[np.uint8], blocks: Sequence[Window], settings: TrainingSettings
) -> None:
    """Turn the training cells of some blocks into validation cells; of none where only one block trains."""
    blocks = [b for b in blocks if ((parts[b.slices] == Subset.TRAIN) & (labels[b.slices] != NODATA)).any()]
    if not settings.split.validation_fraction or len(blocks) < 2:
        return
    trained = np.where(parts == Subset.TRAIN, labels, np.uint8(NODATA))
    chosen = _stratified_choice(_landslide_cells(trained, blocks), settings.split.validation_fraction, settings.seed)
    for i in chosen:
        inside = parts[blocks[i].slices]
        inside[inside == Subset.TRAIN] = Subset.VALIDATION


def _of_side(shape: tuple[int, int], settings: TrainingSettings) -> SplitRaster:
    rows, cols = shape
    along = rows if settings.split.test_side in {"north", "south"} else cols
    count = round(settings.split.test_fraction * along)
    if not settings.sampling.tile <= count <= along - settings.sampling.tile:
        raise InputError(
            f"a share of {settings.split.test_fraction:g} in the {settings.split.test_side} is {count} of {along} "
            f"pixels, expected at least one tile of {settings.sampling.tile} on either side; "
            "change training.split.test_fraction"
        )
    held_out = {
        "north": np.s_[:count, :],
        "south": np.s_[rows - count :, :],
        "west": np.s_[:, :count],
        "east": np.s_[:, cols - count :],
    }
    parts = np.full(shape, Subset.TRAIN, dtype=np.uint8)
    parts[held_out[settings.split.test_side]] = Subset.TEST
    return parts


def _guard(parts: SplitRaster, guard_px: int) -> None:
    """Take training cells within `guard_px` of held-out ground, and validation cells of test ground, out of them."""
    if not guard_px:
        return
    for part, held_out in (
        (Subset.VALIDATION, parts == Subset.TEST),
        (Subset.TRAIN, (parts == Subset.TEST) | (parts == Subset.VALIDATION)),
    ):
        if held_out.any():
            near = edt.edt(~held_out, parallel=available_processors()) <= guard_px
            parts[near & (parts == part)] = Subset.GUARD


def _cut(parts: SplitRaster, labels: NDArray[np.uint8], areas: Sequence[Window], settings: TrainingSettings) -> Split:
    windows = [
        w for area in areas for w in windows_in(area, tile=settings.sampling.tile, stride=settings.sampling.stride)
    ]
    known = labels != NODATA
    cut = {
        part: [w for w in windows if ((parts[w.slices] == part) & known[w.slices]).any()]
        for part in (Subset.TRAIN, Subset.VALIDATION, Subset.TEST)
    }
    seen = cover(cut[Subset.TRAIN], parts.shape) & shown_to_training(parts)
    leak = leak_fraction(seen, cut[Subset.TEST], parts == Subset.TEST)
    return Split(parts, cut[Subset.TRAIN], cut[Subset.VALIDATION], cut[Subset.TEST], leak)


def _split_of_samples(labels: NDArray[np.uint8], settings: TrainingSettings, areas: Sequence[Window]) -> Split:
    train, validation, test = paper_parts(labels, areas, settings)
    parts = np.zeros(labels.shape, dtype=np.uint8)
    for part, windows in ((Subset.TEST, test), (Subset.VALIDATION, validation), (Subset.TRAIN, train)):
        parts[cover(windows, labels.shape)] = part  # where they overlap, training has seen the pixels
    return Split(parts, train, validation, test, leak_fraction(cover(train, labels.shape), test))


def _landslide_cells(labels: NDArray[np.uint8], blocks: Sequence[Window]) -> list[int]:
    return [int((labels[block.slices] == LANDSLIDE).sum()) for block in blocks]


def _stratified_choice(amounts: Sequence[int], fraction: float, seed: int, *, leave: int = 1) -> set[int]:
    """Return which items to hold out, so that both parts hold much and little alike; at least `leave` are left.

    Ranked by amount and cut into runs, each run gives one to the smaller part; where that is one item in all, it comes
    from the upper half, so that it is not likely to hold nothing.
    """
    random = np.random.default_rng(seed)
    order = np.argsort(amounts, kind="stable")[::-1]
    wanted = min(max(1, round(fraction * len(order))), len(order) - leave)
    count = min(wanted, len(order) - wanted)
    strata = np.array_split(order, count) if count > 1 else [order[: max(1, len(order) // 2)]]
    smaller = {int(random.choice(stratum)) for stratum in strata}
    return smaller if wanted == len(smaller) else set(range(len(order))) - smaller


def _known(labels: NDArray[np.uint8], window: Window) -> bool:
    return bool((labels[window.slices] != NODATA).any())
