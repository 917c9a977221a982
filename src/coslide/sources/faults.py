"""Fault traces."""

from typing import NamedTuple

import geopandas as gpd
import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from coslide.config.schema import FaultsConfig
from coslide.errors import InputError
from coslide.io.vector import LINES, as_text, field_as_text, of_kind, quote_list, read_vector


class Traces(NamedTuple):
    """Fault traces as lines in the CRS of a grid, and how many features their file holds.

    `pointlike` counts chosen features without length, which are no traces and are left out.
    """

    lines: list[BaseGeometry]
    features: int
    pointlike: int


def read_traces(faults: FaultsConfig, grid: GeoBox) -> Traces:
    """Return the fault traces that `faults` chooses, in the CRS of `grid` (metres).

    Also those outside the grid: a fault beyond the edge still counts for distances inside.

    Parameters
    ----------
    faults
        The file, and which of its features count. Values of `faults.select` are compared as text.
    grid
        Where distances are wanted.

    Raises
    ------
    InputError
        If the file cannot be read, has no CRS, or holds no feature; if it has no such field, value or feature number
        as is asked for; or if what is chosen is not lines.
    """
    what = "fault traces as lines"
    frame = read_vector(faults.path, str(grid.crs), what=what)
    chosen = of_kind(frame[_choice(frame, faults)], LINES, path=faults.path, what=what)
    long = chosen.length.to_numpy() > 0
    if not long.any():
        raise InputError(f"{faults.path}: found {len(chosen)} traces, all without length, expected {what}")
    return Traces(list(chosen.geometry[long]), len(frame), int((~long).sum()))


def _choice(frame: gpd.GeoDataFrame, faults: FaultsConfig) -> NDArray[np.bool_]:
    """Return which rows of `frame` count; each value and number asked for must be there, or it was mistyped."""
    if faults.ids is not None:
        there = np.isin(faults.ids, frame.index)
        if not there.all():
            absent = ", ".join(str(number) for number, found in zip(faults.ids, there, strict=True) if not found)
            raise InputError(
                f"faults.ids: found {absent}, expected numbers of features with a line in {faults.path}, "
                f"{frame.index.min()} to {frame.index.max()}"
            )
        return np.isin(frame.index, faults.ids)
    if faults.select is None:
        return np.ones(len(frame), dtype=bool)
    field = faults.select.field
    values = field_as_text(frame, field, path=faults.path, key="faults.select.field")
    wanted = {as_text(value) for value in faults.select.values}
    if not wanted <= set(values):
        raise InputError(
            f"faults.select.values: found {quote_list(wanted - set(values))}, expected values of {field!r} in "
            f"{faults.path}: {quote_list(values, most=40)}"
        )
    return np.isin(values, list(wanted))
