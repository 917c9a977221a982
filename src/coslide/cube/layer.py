"""What a family of indices is: variables of the cube that come from one source and are computed together.

A family is prepared once for a grid (sources are checked, what needs the whole ground is computed), then computed
window by window, in any order and in several processes. What is prepared may hold a byte or a few for each cell of the
grid; what a window takes does not grow with the area.
"""

from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray
from odc.geo.geobox import GeoBox


class Layer(NamedTuple):
    """One variable of the cube.

    Attributes
    ----------
    name
        Unique in the cube, such as ``"slope"``.
    long_name, units
        As CF has them: what it is, and a UDUNITS string (``"1"`` for reflectance and classes).
    dtype
        ``"float32"``, where NaN means unknown, or ``"uint8"``, where 255 does.
    role
        ``"index"`` (input of a network), ``"diagnostic"`` (to look at, no input), ``"mask"`` or ``"label"``.
    attrs
        What else the cube says of it, as JSON holds it: ``resampling``; for class maps ``classes`` (how many) and
        ``definition`` (what bounds them).
    bands
        Names of its bands, where it has several; then it is (band, row, col), else (row, col).
    """

    name: str
    long_name: str
    units: str
    dtype: str
    role: str
    attrs: dict[str, Any]
    bands: tuple[str, ...] = ()


class LayerGroup(Protocol):
    """Variables that are computed together.

    Attributes
    ----------
    variables
        What `compute` returns, in the order of the cube.
    notes
        Lines for the log: what was found in the source and what was decided.
    """

    @property
    def variables(self) -> tuple[Layer, ...]:
        """What `compute` returns."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines for the log."""
        ...

    def compute(self, window: GeoBox) -> dict[str, NDArray[Any]]:
        """Return the values of each variable on `window`, a part of the grid that the family was prepared for.

        Whatever the window, a cell has the same value, to the bit.
        """
        ...
