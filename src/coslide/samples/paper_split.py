"""The split of Yang et al. (2023): numbered samples that overlap, chosen by Eq. 27 and halved."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from coslide.config.training import TrainingSettings
from coslide.errors import InputError
from coslide.labels import LANDSLIDE, NODATA
from coslide.windows import Window, windows_in


def numbered_samples(areas: Sequence[Window], settings: TrainingSettings) -> list[Window]:
    """Cut the samples of some areas; the number of a sample is its place in the list, from the bottom-left."""
    return [
        window
        for area in areas
        for window in windows_in(area, tile=settings.sampling.tile, stride=settings.sampling.stride)
    ]


def split_samples(
    labels: NDArray[np.uint8], areas: Sequence[Window], settings: TrainingSettings
) -> tuple[list[Window], list[Window], list[Window]]:
    """Divide the samples of an area into those that train, that validate, and that are held out.

    Samples are chosen by Eq. 27 first (``sampling.select = "positive"``; others are unused) and divided then, so the
    same rule holds for both sets. With ``split.scheme = "paper"`` the held-out set grows from a random sample by those
    that overlap it, and begins anew elsewhere where there are no more: samples that overlap are in the same set as far
    as halving allows. With ``"paper-random"`` it is drawn at random.

    Parameters
    ----------
    labels
        (row, col): 0 background, 1 landslide, 255 nodata.
    areas
        Rectangles that nothing is cut across.
    settings
        The groups `split` and `sampling`, and `seed`, are read.

    Raises
    ------
    InputError
        If there are too few samples.

    Notes
    -----
    The paper has both that the samples were halved and that "samples with some overlapping regions" went into the same
    set. On its grid of 128 pixels every 96, each sample overlaps all that surround it, so all of them hang together,
    and no two sets can keep the rule: somewhere a line runs between samples that overlap. A random half breaks it for
    nearly every sample: 46 % of the held-out pixels then lie in training samples. The growth here breaks it along that
    line alone.
    """
    kept = [window for window in numbered_samples(areas, settings) if _chosen(labels[window.slices], settings)]
    tests = round(settings.split.test_fraction * len(kept))
    validations = round(settings.split.validation_fraction * (len(kept) - tests))
    if not 0 < tests < len(kept) - validations or (settings.split.validation_fraction and not validations):
        rule = f" with more than {100 * settings.sampling.positive_share:g} % landslide (Eq. 27)"
        raise InputError(
            f"{len(kept)} sample(s){rule if settings.sampling.select == 'positive' else ''} cannot be split with "
            f"test_fraction {settings.split.test_fraction:g}; lower training.sampling.positive_share, or "
            "give a larger area"
        )
    random = np.random.default_rng(settings.seed)
    order = _grown(kept, random) if settings.split.scheme == "paper" else random.permutation(len(kept)).tolist()
    test, validation, train = (
        [kept[i] for i in sorted(chosen)] for chosen in np.split(np.array(order), [tests, tests + validations])
    )
    return train, validation, test


def landslide_share(labels: NDArray[np.uint8]) -> float:
    """Compute the share of landslide among labelled pixels; 0 where there is none."""
    labelled = int((labels != NODATA).sum())
    return int((labels == LANDSLIDE).sum()) / labelled if labelled else 0.0


def _chosen(labels: NDArray[np.uint8], settings: TrainingSettings) -> bool:
    if settings.sampling.select == "prevalence":
        return bool((labels != NODATA).any())
    return landslide_share(labels) > settings.sampling.positive_share


def _grown(windows: Sequence[Window], random: np.random.Generator) -> list[int]:
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
    return order
