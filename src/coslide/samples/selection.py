"""Which tiles train: those with landslides (Eq. 27), or all of them as the scene has them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coslide.config.training import TrainingSettings
from coslide.labels import LANDSLIDE, NODATA
from coslide.samples.split import Split, Subset
from coslide.windows import Window


class Selection(NamedTuple):
    """The training windows that are kept, and the share of landslide pixels before and after [0 to 1]."""

    windows: list[Window]
    share_before: float
    share_after: float


def select_tiles(split: Split, labels: NDArray[np.uint8], settings: TrainingSettings) -> Selection:
    """Select the training windows of `split` that ``settings.sampling`` keeps.

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

    Notes
    -----
    Differs from the paper: the share is that among the labelled training pixels of the tile. With the printed ratio of
    0.01 the paper keeps 1040 of 1085 tiles, which does not go with shares "mostly between 0 and 0.02"; how many survive
    is therefore always logged.
    """
    trained = np.where(split.parts == Subset.TRAIN, labels, NODATA)
    tiles = [trained[window.slices] for window in split.train]
    counts = np.array([[(tile == LANDSLIDE).sum(), (tile != NODATA).sum()] for tile in tiles]).reshape(-1, 2)
    kept = counts[:, 0] > settings.sampling.positive_share * counts[:, 1]
    if settings.sampling.select == "prevalence":
        kept[:] = True
    before, after = (float(some[:, 0].sum() / max(some[:, 1].sum(), 1)) for some in (counts, counts[kept]))
    return Selection([split.train[i] for i in np.flatnonzero(kept)], before, after)
