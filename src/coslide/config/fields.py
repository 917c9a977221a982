"""Types of keys that several tables of an event file share."""

import itertools
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from coslide.config.training import Encoding, LayerNames, StrictModel, require

MAX_CLASSES = 100


def _increasing(values: tuple[float, ...]) -> tuple[float, ...]:
    rising = all(b - a > 1e-6 for a, b in itertools.pairwise(values))
    fits = 0 < len(values) <= MAX_CLASSES and values[0] > 0 and rising
    require(fits, f"found {list(values)}, expected 1 to {MAX_CLASSES} rising numbers above 0")
    return values


Increasing = Annotated[tuple[float, ...], AfterValidator(_increasing)]


def _no_number(value: Any) -> Any:
    number = isinstance(value, int | float) or (isinstance(value, str) and value.strip().lstrip("+-").isdigit())
    require(not number, f"found {value!r}, expected such as 2018-09-06")  # else taken for seconds since 1970
    return value


NO_NUMBER = BeforeValidator(_no_number)
"""For dates and times."""


class VectorTable(StrictModel):
    """A table about features of a vector file."""

    path: Path
    """The file."""
    layer: LayerNames | None = None
    """Layer, or list of layers, in a file with several. By default the only one, all folders of a KML, or all layers
    that agree in kind of geometry, fields and CRS."""
    encoding: Encoding | None = None
    """Encoding of the text of the file, such as `"GBK"`; by default what the file states."""
