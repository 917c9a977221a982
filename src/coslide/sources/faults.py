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


class FaultTraces(NamedTuple):
    """Fault traces as lines in the CRS of a grid.

    `features` counts those of their file; `pointlike` the chosen ones without length, which are left out.
    """

    lines: list[BaseGeometry]
    features: int
    pointlike: int


def read_traces(faults: FaultsConfig, grid: GeoBox) -> FaultTraces:
    """Read the fault traces that `faults` chooses, in the CRS of `grid` (metres).

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
    chosen = of_kind(frame[_chosen(frame, faults)], LINES, path=faults.path, what=what)
    long = chosen[chosen.length > 0]
    if long.empty:
        raise InputError(f"{faults.path}: found {len(chosen)} traces, all without length, expected {what}")
    return FaultTraces(list(long.geometry), len(frame), len(chosen) - len(long))


def _chosen(frame: gpd.GeoDataFrame, faults: FaultsConfig) -> NDArray[np.bool_]:
    """Find the rows of `frame` that count; each value and number asked for must be there, or it was mistyped."""
    if faults.ids is not None:
        absent = [str(number) for number in faults.ids if number not in frame.index]
        if absent:
            raise InputError(
                f"faults.ids: found {', '.join(absent)}, expected numbers of features with a line in {faults.path}, "
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
