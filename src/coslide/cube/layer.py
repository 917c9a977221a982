"""What computes bands: a layer group is prepared once for a grid, then computed window by window.

Preparing reads and checks the sources and computes what needs the whole area. Windows are computed in any order and in
several processes. What is prepared may hold a few bytes for each pixel of the grid; what a window takes does not grow
with the area.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from coslide.cube.band import Band
from coslide.grid import slices_of


@dataclass(frozen=True, eq=False)
class LayerGroup:
    """Bands that come from one source and are computed together.

    Attributes
    ----------
    bands
        What is computed, in the order of the cube.
    notes
        Lines for the log: what was found in the source and what was decided.
    compute
        ``compute(window)`` computes each variable on a part of the grid: (row, col), or (band, row, col) if it has
        several. Whatever the window, a pixel has the same value, to the bit. The caller may change what it gets.
    """

    bands: tuple[Band, ...]
    notes: tuple[str, ...]
    compute: Callable[[GeoBox], dict[str, NDArray[Any]]]


def cut(grid: GeoBox, values: Mapping[str, NDArray[Any]], window: GeoBox) -> dict[str, NDArray[Any]]:
    """Cut a part of a grid from variables that are computed already."""
    return {name: whole[slices_of(window, grid)].copy() for name, whole in values.items()}
