"""Held-out windows to look into a network with."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from coslide.chain.areas import Area
from coslide.chain.map import encoder_for
from coslide.labels import LANDSLIDE, UNKNOWN
from coslide.mapping.bundle import Card
from coslide.mapping.ground import may_be_scored
from coslide.mapping.vital_signs import HeldOut
from coslide.samples.split import PartMap, Split
from coslide.samples.windows import Window

_MOST = 32  # windows: enough to see what a depth is worth, and mapped in seconds


def held_out_windows(areas: Sequence[Area], splits: Sequence[Split], seen: Sequence[PartMap], card: Card) -> HeldOut:
    """Read some of the held-out windows of all areas, evenly chosen, as a model is fed them.

    Parameters
    ----------
    areas, splits, seen
        As for scoring: pixels that training saw do not count.
    card
        Of the model.
    """
    places = [(number, window) for number, split in enumerate(splits) for window in split.test]
    chosen = [
        places[i] for i in np.unique(np.linspace(0, len(places) - 1, min(len(places), _MOST)).round().astype(int))
    ]
    inputs, landslide, scored = [], [], []
    for number, area in enumerate(areas):
        own = [window for at, window in chosen if at == number]
        for window, values in zip(own, _inputs(area, own, card), strict=True):
            labels = area.labels[window.slices]
            inputs.append(values)
            landslide.append(labels == LANDSLIDE)
            valid = area.scene.valid(window.slices[0])[:, window.slices[1]]
            scored.append(may_be_scored(seen[number][window.slices]) & (labels != UNKNOWN) & valid)
    return HeldOut(np.stack(inputs), np.stack(landslide), np.stack(scored))


def _inputs(area: Area, windows: Sequence[Window], card: Card) -> Iterator[NDArray[np.float32]]:
    if not windows:
        return
    encoder = encoder_for(card, area.scene)
    for window in windows:
        rows, cols = window.slices
        yield encoder.encode(np.ascontiguousarray(area.scene.read(rows, card.bands)[:, :, cols]))
