"""Types of keys that several tables of an event file, or the settings of a training, share."""

import itertools
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator

from coslide.config.records import StrictModel, require
from coslide.errors import one_line

MAX_CLASSES = 100

Line = Annotated[str, AfterValidator(one_line)]
"""A text that is printed, drawn and written into files."""


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


def _layer_names(value: Any) -> Any:
    names = value if isinstance(value, list | tuple) else [value]
    named = names and all(isinstance(name, str) for name in names)
    require(named, f"found {value!r}, expected the name of a layer or a list of names")
    return value


Precision = Annotated[
    Literal["auto", "32", "bf16", "16"], BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)
]
"""Bits that a network is computed in; TOML reads 32 as a number where it stands without quotation marks."""

LayerNames = Annotated[str | tuple[str, ...], BeforeValidator(_layer_names)]


def _known_encoding(name: str) -> str:
    try:
        "".encode(name)  # LookupError also of what Python takes for no encoding of text, such as "hex"
    except (LookupError, ValueError):
        raise ValueError(f"found {name!r}, expected an encoding such as GBK, UTF-8 or Shift_JIS") from None
    return name


Encoding = Annotated[str, AfterValidator(_known_encoding)]


class VectorTable(StrictModel):
    """A table about features of a vector file."""

    path: Path
    """The file."""
    layer: LayerNames | None = None
    """Layer, or list of layers, in a file with several. By default the only one, all folders of a KML, or all layers
    that agree in kind of geometry, fields and CRS."""
    encoding: Encoding | None = None
    """Encoding of the text of the file, such as `"GBK"`; by default what the file states."""
