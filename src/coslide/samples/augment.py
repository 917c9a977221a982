"""Light that varies from sample to sample, so that a network does not learn that of one scene by heart."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Jitter(NamedTuple):
    """A radiometric jitter of each date: sun, haze and season seen otherwise than they were.

    All inputs of a date are multiplied by one exp(N(0, `gain`)) and moved by one N(0, `offset`), and each by an
    N(0, `band`) of its own, in standardised units. Pixels that the date lacks, where all its inputs are 0, stay 0.

    Attributes
    ----------
    dates
        Numbers of the inputs of each date.
    gain, offset, band
        Standard deviations.

    Examples
    --------
    >>> tile = np.ones((3, 1, 2), dtype=np.float32)
    >>> tile[:2, 0, 1] = 0  # a pixel that the date lacks
    >>> Jitter([[0, 1]], gain=0.2, offset=0.2, band=0.0).apply(tile, seed=1)
    >>> tile.round(2)[:, 0]
    array([[1.24, 0.  ],
           [1.24, 0.  ],
           [1.  , 1.  ]], dtype=float32)
    """

    dates: Sequence[Sequence[int]]
    gain: float
    offset: float
    band: float

    def apply(self, tile: NDArray[np.float32], seed: int) -> None:
        """Change the light of a tile (input, row, col) in place, drawn from `seed`."""
        random = np.random.default_rng(seed)
        for inputs in self.dates:
            own = list(inputs)
            factor = np.exp(random.normal(0, self.gain))
            shift = random.normal(0, self.offset) + random.normal(0, self.band, size=(len(own), 1, 1))
            seen = tile[own]
            there = (seen != 0).any(axis=0)
            tile[own] = np.where(there, seen * np.float32(factor) + shift.astype(np.float32), 0)
