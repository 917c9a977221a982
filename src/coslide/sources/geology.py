"""Geological maps, as polygons or as rasters of codes, as classes by age on the grid."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.features import rasterize
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from coslide.config.schema import GeologyConfig
from coslide.errors import InputError
from coslide.io.raster import open_raster, require_exact
from coslide.io.vector import as_text, field_as_text, holds_layers, quote_list, read_polygons
from coslide.labels import NO_CLASS
from coslide.windows import row_strips

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
    """

    codes: NDArray[np.uint8]
    units: tuple[str, ...]
    overlap: float = 0.0
    repaired: int = 0
    empty: int = 0


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
        return _from_polygons(geology, grid, classes)
    if geology.field is not None:
        raise InputError(
            f"{geology.path}: holds no polygons, expected some with geology.field {geology.field!r}; leave field out "
            "where it is a raster of codes"
        )
    return _from_raster(geology, grid, classes)


def _from_polygons(geology: GeologyConfig, grid: GeoBox, classes: dict[str, int]) -> StratumMap:
    polygons = read_polygons(geology.path, grid, what="polygons of a geological map")
    units = field_as_text(polygons.frame, geology.field, path=geology.path, key="geology.field")
    _require_named(units, classes, geology)
    codes = np.array([classes[unit] for unit in units], dtype=np.uint8)
    # What is rasterized last covers all others.
    order = np.argsort(np.where(codes == WITHOUT_AGE, NO_CLASS, codes), kind="stable")
    shapes = polygons.frame.geometry.to_numpy()
    options = {"fill": NO_CLASS, "transform": grid.affine, "dtype": np.uint8}
    youngest, oldest = (
        rasterize(zip(shapes[own], codes[own].tolist(), strict=True), grid.shape, **options)
        for own in (order, order[::-1])
    )
    overlap = float(np.mean(youngest != oldest))
    return StratumMap(youngest, tuple(sorted(set(units))), overlap, polygons.repaired, polygons.lost)


def _from_raster(geology: GeologyConfig, grid: GeoBox, classes: dict[str, int]) -> StratumMap:
    path, (rows, columns) = geology.path, grid.shape
    out = np.full(grid.shape, NO_CLASS, dtype=np.uint8)
    units: set[str] = set()
    with open_raster(path) as dataset:
        require_exact(str(path), dataset.crs, str(grid.crs))
        if dataset.count != 1:
            raise InputError(f"{path}: holds {dataset.count} bands, expected one, of codes of units")
        options = {"add_alpha": True} if dataset.nodata is None else {}
        with WarpedVRT(
            dataset, crs=str(grid.crs), transform=grid.affine, width=columns, height=rows,
            resampling=Resampling.nearest, **options,
        ) as warped:  # fmt: skip
            for strip in row_strips(rows, 1024):
                window = Window.from_slices(strip, (0, columns))
                codes, valid = warped.read(1, window=window), warped.read_masks(1, window=window) > 0
                indices, found = pd.factorize(codes[valid])  # -1 for NaN
                names = [as_text(code) for code in found]  # not of found.tolist(): a float32 has fewer digits
                units.update(names)
                if len(units) > _MAX_CODES:
                    raise InputError(f"{path}: found more than {_MAX_CODES} different values, expected codes of units")
                table = np.array([*(classes.get(name, NO_CLASS) for name in names), NO_CLASS], dtype=np.uint8)
                out[strip][valid] = table[indices]
    if not units:
        raise InputError(f"{path}: has no code on the grid; expected a geological map of the scene")
    _require_named(units, classes, geology)
    return StratumMap(out, tuple(sorted(units)))


def _require_named(units: Iterable[str], classes: dict[str, int], geology: GeologyConfig) -> None:
    missing = set(units) - set(classes)
    if missing:
        raise InputError(
            f"{geology.path}: found units on the grid that the event file does not name; add them to geology.ages "
            f"(old to young) or geology.without_age: {quote_list(missing, most=_MAX_CODES)}"
        )
