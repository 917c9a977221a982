"""Geological maps, as polygons or as rasters of codes, as classes by age on the grid; and fault traces."""

from typing import NamedTuple

import geopandas as gpd
import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from coslide.config.schema import FaultsConfig, GeologyConfig
from coslide.errors import InputError
from coslide.io.codes import read_codes
from coslide.io.shapes import LINES
from coslide.io.vector import (
    VectorFile,
    as_text,
    encoding_hint,
    field_as_text,
    holds_layers,
    of_kind,
    quote_list,
    read_polygons,
    read_vector,
)
from coslide.labels import NO_CLASS

WITHOUT_AGE = 0
"""Pixels of units that have no age, in what `read_strata` returns."""

_MAX_CODES = 1000  # a raster with more different values holds measurements


class StratumMap(NamedTuple):
    """The classes of a geological map on a grid.

    Attributes
    ----------
    codes
        uint8 (row, col): 1 to n from old to young, 0 a unit without age, 255 not mapped.
    units
        Those on the grid.
    overlap
        Share of the grid on which polygons of different age lie.
    repaired, empty
        How many polygons crossed themselves; how many enclose no area and are left out.
    hint
        For messages about units: that their encoding was assumed.
    """

    codes: NDArray[np.uint8]
    units: tuple[str, ...]
    overlap: float = 0.0
    repaired: int = 0
    empty: int = 0
    hint: str = ""


def class_of_units(geology: GeologyConfig) -> dict[str, int]:
    """Map each unit that `geology` names to its class: 1, 2, ... from old to young, 0 for those without age.

    Raises
    ------
    InputError
        If a unit is named twice, or an entry of `ages` is empty.

    Examples
    --------
    >>> from pathlib import Path
    >>> class_of_units(GeologyConfig(path=Path("map.gpkg"), ages=("D1", ("T1", 12)), without_age=("water",)))
    {'D1': 1, 'T1': 2, '12': 2, 'water': 0}
    """
    ranked = units_by_age(geology)
    if () in ranked:
        raise InputError(f"geology.ages: found an empty list in place {ranked.index(()) + 1}, expected units")
    classes: dict[str, int] = {}
    for number, names in [*enumerate(ranked, start=1), (WITHOUT_AGE, map(as_text, geology.without_age))]:
        for name in names:
            if name in classes:
                raise InputError(f"geology.ages, geology.without_age: found {name!r} twice, expected each unit once")
            classes[name] = number
    return classes


def units_by_age(geology: GeologyConfig) -> tuple[tuple[str, ...], ...]:
    """List the units of each class as text, from old to young."""
    entries = [entry if isinstance(entry, tuple) else (entry,) for entry in geology.ages]
    return tuple(tuple(as_text(unit) for unit in entry) for entry in entries)


def read_strata(geology: GeologyConfig, grid: GeoBox) -> StratumMap:
    """Read the classes by age of a geological map on `grid`.

    A pixel has the unit in which its centre lies. Where polygons overlap, the youngest counts, and a unit without age
    before all: water and ice lie on top.

    Parameters
    ----------
    geology
        Where the map is, and the ages of its units. Units are compared as text, without blanks around them; a polygon
        without a unit has the unit "".
    grid
        Where the classes are wanted.

    Raises
    ------
    InputError
        If the map cannot be read, does not meet the grid, or has a unit on it that `geology` does not name; or
        `geology` names a unit twice, a field that there is not, or none where one is needed.

    Notes
    -----
    Codes of a raster are never blended: each pixel has the code of the nearest pixel of the raster. A code of a float
    raster is named by the shortest number that stands for it, such as "-3.22".
    """
    classes = class_of_units(geology)
    if holds_layers(geology.path):
        strata = _from_polygons(geology, grid, classes)
    elif geology.layer or geology.encoding:
        raise InputError(f"{geology.path}: holds no polygons, to which geology.layer and geology.encoding belong")
    elif geology.field is None:
        strata = _from_raster(geology, grid, classes)
    else:
        expected = f"expected some with geology.field {geology.field!r}; leave field out for a raster of codes"
        raise InputError(f"{geology.path}: holds no polygons, {expected}")
    if missing := set(strata.units) - set(classes):
        found, names = "found units on the grid that the event file does not name", quote_list(missing, most=_MAX_CODES)
        raise InputError(
            f"{geology.path}: {found}; add them to geology.ages (old to young) or without_age: {names}{strata.hint}"
        )
    return strata


def _from_polygons(geology: GeologyConfig, grid: GeoBox, classes: dict[str, int]) -> StratumMap:
    polygons = read_polygons(
        VectorFile.of(geology.path, geology, "geology."), grid, what="polygons of a geological map"
    )
    units = field_as_text(polygons.frame, geology.field, path=geology.path, key="geology.field")
    codes = np.array([classes.get(unit, NO_CLASS) for unit in units], dtype=np.uint8)
    # What is rasterized last covers all others.
    order = np.argsort(np.where(codes == WITHOUT_AGE, NO_CLASS, codes), kind="stable")
    shapes = polygons.frame.geometry.to_numpy()
    options = {"fill": NO_CLASS, "transform": grid.affine, "dtype": np.uint8}
    youngest, oldest = (
        rasterize(zip(shapes[own], codes[own].tolist(), strict=True), grid.shape, **options)
        for own in (order, order[::-1])
    )
    overlap = float(np.mean(youngest != oldest))
    return StratumMap(
        youngest, tuple(sorted(set(units))), overlap, polygons.repaired, polygons.lost, encoding_hint(polygons.frame)
    )


def _from_raster(geology: GeologyConfig, grid: GeoBox, classes: dict[str, int]) -> StratumMap:
    numbers, codes = read_codes(geology.path, grid, most=_MAX_CODES, what="units")
    units = [as_text(code) for code in codes]  # not of codes.tolist(): a float32 has fewer digits
    table = np.array([NO_CLASS, *(classes.get(unit, NO_CLASS) for unit in units)], dtype=np.uint8)
    return StratumMap(table[numbers], tuple(sorted(set(units))))


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
    frame = read_vector(VectorFile.of(faults.path, faults, "faults."), grid, what=what)
    chosen = of_kind(frame[_chosen(frame, faults)], LINES, path=faults.path, what=what)
    long = chosen[chosen.length > 0]
    if long.empty:
        raise InputError(f"{faults.path}: found {len(chosen)} traces, all without length, expected {what}")
    return FaultTraces(list(long.geometry), len(frame), len(chosen) - len(long))


def _chosen(frame: gpd.GeoDataFrame, faults: FaultsConfig) -> NDArray[np.bool_]:
    """Find the rows of `frame` that count; each value and number asked for must be there, or it was mistyped."""
    if faults.ids is not None:
        if missing := [str(number) for number in faults.ids if number not in frame.index]:
            expected = f"features with a line in {faults.path}, {frame.index.min()} to {frame.index.max()}"
            raise InputError(f"faults.ids: found {', '.join(missing)}, expected numbers of {expected}")
        return np.isin(frame.index, faults.ids)
    if faults.select is None:
        return np.ones(len(frame), dtype=bool)
    field = faults.select.field
    values = field_as_text(frame, field, path=faults.path, key="faults.select.field")
    wanted = {as_text(value) for value in faults.select.values}
    if absent := wanted - set(values):
        expected = f"expected values of {field!r} in {faults.path}: {quote_list(values, most=40)}{encoding_hint(frame)}"
        raise InputError(f"faults.select.values: found {quote_list(absent)}, {expected}")
    return np.isin(values, list(wanted))
