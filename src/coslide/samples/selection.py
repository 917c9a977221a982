"""Which tiles train: those with landslides (Eq. 27), or all of them as the scene has them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coslide.config.training import TrainingSettings
from coslide.labels import LANDSLIDE, NODATA
from coslide.samples.split import Split, Subset
from coslide.windows import Window


class Selection(NamedTuple):
    """The training windows that are kept, and the share of landslide cells before and after [0 to 1]."""

    windows: list[Window]
    share_before: float
    share_after: float


def select_tiles(split: Split, labels: NDArray[np.uint8], settings: TrainingSettings) -> Selection:
    """Return the training windows of `split` that ``settings.sampling`` keeps.

    ``"positive"`` is Eq. 27 of Yang et al. (2023, doi:10.3390/rs15040977): a tile is kept if landslides cover more than
    `positive_share` of it. The network then never sees empty ground, and calls more of it landslide. ``"prevalence"``
    keeps all tiles, so that landslides are as rare as they are in the scene.

    Parameters
    ----------
    split
        Of the area that `labels` (row, col) are of.
    labels
        0 background, 1 landslide, 255 unknown.
    settings
        `sampling` and `positive_share` are read.

    Notes
    -----
    Differs from the paper: the share is that among the known cells of the training part in the tile. With the printed
    ratio of 0.01 the paper keeps 1040 of 1085 tiles, which does not go with shares "mostly between 0 and 0.02"; how
    many survive is therefore always said.
    """
    counts = [_counts(split, labels, window) for window in split.train]
    kept = [i for i, (slides, known) in enumerate(counts) if slides > settings.sampling.positive_share * known]
    if settings.sampling.select == "prevalence":
        kept = list(range(len(counts)))
    return Selection([split.train[i] for i in kept], _share(counts), _share([counts[i] for i in kept]))


def _counts(split: Split, labels: NDArray[np.uint8], window: Window) -> tuple[int, int]:
    own = labels[window.slices][split.parts[window.slices] == Subset.TRAIN]
    return int((own == LANDSLIDE).sum()), int((own != NODATA).sum())


def _share(counts: Sequence[tuple[int, int]]) -> float:
    slides, known = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
    return slides / known if known else 0.0
