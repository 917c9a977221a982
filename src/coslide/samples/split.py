"""Which pixels are for training, for validation, and held out: by blocks, regions, events or the paper's samples.

Overlapping windows drawn at random share most of their pixels between the subsets, and even windows that only touch are
alike; whole blocks or regions keep them apart. The leak fraction of a split measures how far it fails to.
"""

import itertools
import logging
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
from coslide.windows import Window, cover, require_tile, windows_in

_log = logging.getLogger(__name__)


class Subset(IntEnum):
    """What a split does with a pixel; the numbers are those of ``splits/*.tif``."""

    NONE = 0  # never seen
    TRAIN = 1
    TEST = 2
    VALIDATION = 3
    GUARD = 4  # of no subset: training may see its bands but not its label, and it is not scored


SplitRaster = NDArray[np.uint8]


class Split(NamedTuple):
    """The split of a scene.

    `subsets` is uint8 (row, col), a `Subset` for each pixel; `train`, `validation` and `test` are the windows to cut.
    `leak_fraction` (0 to 1) is the mean share of a test window's pixels that training sees.
    """

    subsets: SplitRaster
    train: list[Window]
    validation: list[Window]
    test: list[Window]
    leak_fraction: float


def split_windows(
    labels: NDArray[np.uint8],
    settings: TrainingSettings,
    *,
    regions: SplitRaster | None = None,
    role: Subset = Subset.TRAIN,
) -> Split:
    """Split a scene as `settings` ask.

    Parameters
    ----------
    labels
        (row, col): 0 background, 1 landslide, 255 nodata. Blocks and windows without a labelled pixel are left out.
    settings
        `split`, `sampling` and `seed` are read.
    regions
        For ``scheme = "regions"`` with polygons: the `Subset` of each pixel that they give, (row, col).
    role
        For ``scheme = "events"``: the subset that this event as a whole belongs to, TRAIN or TEST.

    Raises
    ------
    InputError
        If the scene is smaller than one tile, or too small to give each subset something with a labelled pixel.
    """
    tile, rules = settings.sampling.tile, settings.split
    require_tile(labels.shape, tile)
    areas = [Window(0, 0, *labels.shape)]
    if rules.by_samples:
        return _split_samples(labels, areas, settings)
    block_px = tile + (rules.block_windows - 1) * settings.sampling.stride
    pieces = blocks_of(labels.shape, tile=tile, block_px=block_px)
    pieces = [block for block in pieces if (labels[block.slices] != NODATA).any()]
    if rules.scheme == "blocks":
        subsets, areas = _of_blocks(labels, pieces, settings, block_px), pieces
    elif rules.scheme == "events":
        subsets = np.full(labels.shape, role, dtype=np.uint8)
    else:
        subsets = _of_side(labels.shape, settings) if regions is None else regions.copy()
    if role == Subset.TRAIN and not (subsets == Subset.VALIDATION).any():
        _take_validation(subsets, labels, pieces, settings)
    if rules.guard_px:
        _guard(subsets, rules.guard_px)
    labelled = np.where(labels == NODATA, np.uint8(Subset.NONE), subsets)
    train, validation, test = (
        [w for w in numbered_samples(areas, settings) if (labelled[w.slices] == subset).any()]
        for subset in (Subset.TRAIN, Subset.VALIDATION, Subset.TEST)
    )
    seen = cover(train, subsets.shape) & shown_to_training(subsets)
    return Split(subsets, train, validation, test, leak_fraction(seen, test, subsets == Subset.TEST))


def numbered_samples(areas: Sequence[Window], settings: TrainingSettings) -> list[Window]:
    """Cut the samples of some areas; the number of a sample is its place in the list, from the bottom-left."""
    tile, stride = settings.sampling.tile, settings.sampling.stride
    return [window for area in areas for window in windows_in(area, tile=tile, stride=stride)]


def blocks_of(shape: tuple[int, int], *, tile: int, block_px: int) -> list[Window]:
    """Cut a raster of `shape` (row, col) into rectangles about `block_px` on a side, without overlap.

    They are of nearly equal size, and none is smaller than a tile; the raster must hold one.

    Examples
    --------
    >>> blocks_of((100, 260), tile=100, block_px=120)
    [Window(row=0, col=0, height=100, width=130), Window(row=0, col=130, height=100, width=130)]
    """
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
    """Compute the mean share (0 to 1) of a test window's pixels that training sees.

    Parameters
    ----------
    seen
        Pixels that a training tile shows to the network, (row, col).
    test
        The test windows.
    own
        Pixels of the windows that count; all by default.

    Examples
    --------
    >>> seen = cover([Window(0, 0, 4, 4)], (4, 12))
    >>> leak_fraction(seen, [Window(0, 3, 4, 4), Window(0, 7, 4, 4)])
    0.125
    """
    counted = [seen[w.slices] if own is None else seen[w.slices][own[w.slices]] for w in test]
    return float(np.mean([pixels.mean() if pixels.size else 0.0 for pixels in counted])) if counted else 0.0


def select_tiles(split: Split, labels: NDArray[np.uint8], settings: TrainingSettings, *, name: str) -> list[Window]:
    """Select the training windows of a split that ``sampling.select`` keeps.

    ``"positive"`` is Eq. 27 of Yang et al. (2023, doi:10.3390/rs15040977): a tile is kept if landslides cover more than
    `positive_share` of it. The network then never sees empty areas, and calls more pixels landslide. ``"prevalence"``
    keeps all tiles, so that landslides are as rare as they are in the scene.

    Parameters
    ----------
    split
        Of the scene that `labels` (row, col) are of.
    labels
        0 background, 1 landslide, 255 nodata.
    settings
        `sampling` is read.
    name
        What the scene is called in the log.

    Notes
    -----
    Differs from the paper: the share is that among the labelled training pixels of the tile. With the printed ratio of
    0.01 the paper keeps 1040 of 1085 tiles, which does not go with shares "mostly between 0 and 0.02"; how many survive
    is therefore always logged.
    """
    if settings.sampling.select == "prevalence" or not split.train:
        return split.train
    least = settings.sampling.positive_share
    trained = np.where(split.subsets == Subset.TRAIN, labels, NODATA)
    tiles = [trained[window.slices] for window in split.train]
    counts = np.array([((tile == LANDSLIDE).sum(), (tile != NODATA).sum()) for tile in tiles])
    kept = counts[:, 0] > least * counts[:, 1]
    before, after = (100 * some[:, 0].sum() / max(some[:, 1].sum(), 1) for some in (counts, counts[kept]))
    _log.info(
        f"{name}: {kept.sum()} of {len(kept)} training tiles have more than {100 * least:g} % landslide (Eq. 27) and "
        f"are kept; landslides cover {after:.1f} % of them and {before:.1f} % of all"
    )
    return list(itertools.compress(split.train, kept))


def shown_to_training(subsets: SplitRaster) -> NDArray[np.bool_]:
    """Tell where a training tile shows the network its inputs: on training pixels and the guard beside them."""
    return np.asarray((subsets == Subset.TRAIN) | (subsets == Subset.GUARD))


def _of_blocks(
    labels: NDArray[np.uint8], blocks: Sequence[Window], settings: TrainingSettings, block_px: int
) -> SplitRaster:
    wanted = 3 if settings.split.validation_fraction else 2
    if len(blocks) < wanted:
        purposes = "train, one to choose the threshold, one to hold out" if wanted == 3 else "train, one to hold out"
        raise InputError(
            f"the area of {labels.shape[0]} x {labels.shape[1]} pixels holds {len(blocks)} block(s) of about "
            f"{block_px} pixels with labels, expected at least {wanted} (one to {purposes}); lower "
            "training.split.block_windows"
        )
    held_out = _stratified_choice(labels, blocks, settings.split.test_fraction, settings.seed, leave=wanted - 1)
    subsets = np.zeros(labels.shape, dtype=np.uint8)
    for i, block in enumerate(blocks):
        subsets[block.slices] = Subset.TEST if i in held_out else Subset.TRAIN
    return subsets


def _take_validation(
    subsets: SplitRaster, labels: NDArray[np.uint8], blocks: Sequence[Window], settings: TrainingSettings
) -> None:
    """Turn the training pixels of some blocks into validation pixels; of none where only one block trains."""
    trained = np.where(subsets == Subset.TRAIN, labels, np.uint8(NODATA))
    blocks = [block for block in blocks if (trained[block.slices] != NODATA).any()]
    if settings.split.validation_fraction and len(blocks) > 1:
        for i in _stratified_choice(trained, blocks, settings.split.validation_fraction, settings.seed):
            inside = subsets[blocks[i].slices]
            inside[inside == Subset.TRAIN] = Subset.VALIDATION


def _of_side(shape: tuple[int, int], settings: TrainingSettings) -> SplitRaster:
    rules, tile = settings.split, settings.sampling.tile
    subsets = np.full(shape, Subset.TRAIN, dtype=np.uint8)
    lines = subsets if rules.test_side in {"north", "south"} else subsets.T
    count = round(rules.test_fraction * len(lines))
    if not tile <= count <= len(lines) - tile:
        raise InputError(
            f"a share of {rules.test_fraction:g} in the {rules.test_side} is {count} of {len(lines)} pixels, expected "
            f"at least one tile of {tile} on either side; change training.split.test_fraction"
        )
    lines[:count] = Subset.TEST
    return subsets if rules.test_side in {"north", "west"} else np.ascontiguousarray(subsets[::-1, ::-1])


def _guard(subsets: SplitRaster, guard_px: int) -> None:
    """Take training pixels within `guard_px` of held-out ones, and validation pixels of test ones, out of them."""
    for subset, held_out in (
        (Subset.VALIDATION, subsets == Subset.TEST),
        (Subset.TRAIN, (subsets == Subset.TEST) | (subsets == Subset.VALIDATION)),
    ):
        if held_out.any():
            near = edt.edt(~held_out, parallel=available_processors()) <= guard_px
            subsets[near & (subsets == subset)] = Subset.GUARD


def _split_samples(labels: NDArray[np.uint8], areas: Sequence[Window], settings: TrainingSettings) -> Split:
    """Divide the overlapping samples of some areas as Yang et al. (2023) do.

    Samples are chosen by Eq. 27 first (``sampling.select = "positive"``; others are unused) and divided then, so the
    same rule holds for both sets. With ``split.scheme = "paper"`` the held-out set grows from a random sample by those
    that overlap it, and begins anew elsewhere where there are no more: samples that overlap are in the same set as far
    as halving allows. With ``"paper-random"`` it is drawn at random.

    The paper has both that the samples were halved and that "samples with some overlapping regions" went into the same
    set. On its grid of 128 pixels every 96, each sample overlaps all that surround it, so all of them hang together,
    and no two sets can keep the rule: somewhere a line runs between samples that overlap. A random half breaks it for
    nearly every sample: 46 % of the held-out pixels then lie in training samples. The growth here breaks it along that
    line alone.
    """
    rules, rule = settings.split, ""
    kept = [window for window in numbered_samples(areas, settings) if (labels[window.slices] != NODATA).any()]
    if settings.sampling.select == "positive":
        least = settings.sampling.positive_share
        kept = [window for window in kept if landslide_share(labels[window.slices]) > least]
        rule = f" with more than {100 * least:g} % landslide (Eq. 27)"
    tests = round(rules.test_fraction * len(kept))
    validations = round(rules.validation_fraction * (len(kept) - tests))
    if not 0 < tests < len(kept) - validations or (rules.validation_fraction and not validations):
        raise InputError(
            f"{len(kept)} sample(s){rule} cannot be split with test_fraction {rules.test_fraction:g}; lower "
            "training.sampling.positive_share, or give a larger area"
        )
    random = np.random.default_rng(settings.seed)
    order = _grown(kept, random) if rules.scheme == "paper" else random.permutation(len(kept))
    test, validation, train = (
        [kept[i] for i in sorted(chosen)] for chosen in np.split(order, [tests, tests + validations])
    )
    subsets = np.zeros(labels.shape, dtype=np.uint8)
    for subset, windows in ((Subset.TEST, test), (Subset.VALIDATION, validation), (Subset.TRAIN, train)):
        subsets[cover(windows, labels.shape)] = subset  # where they overlap, training has seen the pixels
    return Split(subsets, train, validation, test, leak_fraction(cover(train, labels.shape), test))


def landslide_share(labels: NDArray[np.uint8]) -> float:
    """Compute the share of landslide among labelled pixels; 0 where there is none."""
    labelled = int((labels != NODATA).sum())
    return int((labels == LANDSLIDE).sum()) / labelled if labelled else 0.0


def _grown(windows: Sequence[Window], random: np.random.Generator) -> NDArray[np.intp]:
    """Order windows so that each overlaps as many of those before it as any that is left; the first at random."""
    corners = np.array([(window.row, window.col) for window in windows])
    sides = np.array([(window.height, window.width) for window in windows])
    overlapped = np.zeros(len(windows), dtype=int)  # by how many that are in the order already; -1: in it itself
    order: list[int] = []
    for _ in windows:
        taken = int(random.choice(np.flatnonzero(overlapped == overlapped.max())))
        order.append(taken)
        overlapped[(np.abs(corners - corners[taken]) < sides).all(axis=1) & (overlapped >= 0)] += 1
        overlapped[taken] = -1
    return np.array(order)


def _stratified_choice(
    labels: NDArray[np.uint8], blocks: Sequence[Window], fraction: float, seed: int, *, leave: int = 1
) -> set[int]:
    """Choose blocks to hold out, so that both sides hold many and few landslides alike; at least `leave` are left.

    Ranked by their landslides and cut into runs, each run gives one to the smaller side; where that is one in all, it
    comes from the upper half, so that it is not likely to hold nothing.
    """
    random = np.random.default_rng(seed)
    order = np.argsort([(labels[block.slices] == LANDSLIDE).sum() for block in blocks], kind="stable")[::-1]
    wanted = min(max(1, round(fraction * len(order))), len(order) - leave)
    count = min(wanted, len(order) - wanted)
    strata = np.array_split(order, count) if count > 1 else [order[: max(1, len(order) // 2)]]
    smaller = {int(random.choice(stratum)) for stratum in strata}
    return smaller if wanted == len(smaller) else set(range(len(order))) - smaller
