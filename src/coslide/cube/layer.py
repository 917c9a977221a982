"""What computes bands: a layer group is prepared once for a grid, then computed window by window.

Preparing reads and checks the sources and computes what needs the whole area. Windows are computed in any order and in
several processes. What is prepared may hold a few bytes for each pixel of the grid; what a window takes does not grow
with the area.
"""

from typing import Any, Protocol

from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from coslide.cube.band import Band


class LayerGroup(Protocol):
    """Bands that come from one source and are computed together.

    Attributes
    ----------
    bands
        What `compute` computes, in the order of the cube.
    notes
        Lines for the log: what was found in the source and what was decided.
    """

    @property
    def bands(self) -> tuple[Band, ...]:
        """What `compute` computes."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines for the log."""
        ...

    def compute(self, window: GeoBox) -> dict[str, NDArray[Any]]:
        """Compute each variable on `window`, a part of the grid: (row, col), or (band, row, col) if it has several.

        Whatever the window, a pixel has the same value, to the bit.
        """
        ...
