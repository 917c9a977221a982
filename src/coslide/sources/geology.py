"""Geological maps, as polygons or as rasters of codes, as classes by age on the grid."""

from typing import Any, NamedTuple

import geopandas as gpd
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

WITHOUT_AGE = 0
"""Cells of units that have no age, in what `read_strata` returns."""

_MAX_CODES = 1000  # a raster with more different values holds measurements
_STRIP_ROWS = 1024
_NOTHING = np.uint16(65535)


class Strata(NamedTuple):
    """What a geological map says of each cell.

    `codes` is uint8 (row, col): 1 to n from old to young, 0 a unit without age, 255 not mapped. `overlap` is the share
    of the grid on which polygons of different age lie. `repaired` counts polygons that crossed themselves, `empty`
    those that enclose no ground and are left out; `units` names those on the grid.
    """

    codes: NDArray[np.uint8]
    overlap: float
    repaired: int
    units: tuple[str, ...]
    empty: int = 0


def class_of_units(geology: GeologyConfig) -> dict[str, int]:
    """Return the class of each unit that `geology` names: 1, 2, ... from old to young, 0 for those without age.

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
    classes: dict[str, int] = {}
    ranked = [(number, names) for number, names in enumerate(units_by_age(geology), start=1)]
    without = tuple(as_text(unit) for unit in geology.without_age)
    for number, names in [*ranked, (WITHOUT_AGE, without)]:
        if not names and number != WITHOUT_AGE:
            raise InputError(f"geology.ages: found an empty list in place {number}, expected units")
        for name in names:
            if name in classes:
                raise InputError(f"geology.ages, geology.without_age: found {name!r} twice, expected each unit once")
            classes[name] = number
    return classes


def units_by_age(geology: GeologyConfig) -> tuple[tuple[str, ...], ...]:
    """Return the units of each class as text, from old to young."""
    entries = [entry if isinstance(entry, tuple) else (entry,) for entry in geology.ages]
    return tuple(tuple(as_text(unit) for unit in entry) for entry in entries)


def read_strata(geology: GeologyConfig, grid: GeoBox) -> Strata:
    """Return the classes by age of a geological map on `grid`.

    A cell has the unit in which its centre lies. Where polygons overlap, the youngest counts, and a unit without age
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
    Codes of a raster are never blended: each cell has the code of the nearest pixel. A code of a float raster is
    named by the shortest number that stands for it, such as "-3.22".
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


def _from_polygons(geology: GeologyConfig, grid: GeoBox, classes: dict[str, int]) -> Strata:
    polygons = read_polygons(geology.path, grid, what="polygons of a geological map")
    units = field_as_text(polygons.frame, geology.field, path=geology.path, key="geology.field")
    _require_named(units, classes, geology)
    codes = np.array([classes[unit] for unit in units], dtype=np.uint8)
    # Burnt last, a class covers all others.
    order = np.argsort(np.where(codes == WITHOUT_AGE, NO_CLASS, codes), kind="stable")
    youngest = _burn(polygons.frame, codes, order, grid)
    oldest = _burn(polygons.frame, codes, order[::-1], grid)
    overlap = float(np.mean(youngest != oldest))
    return Strata(youngest, overlap, polygons.repaired, tuple(sorted(set(units))), polygons.lost)


def _burn(frame: gpd.GeoDataFrame, codes: NDArray[np.uint8], order: NDArray[Any], grid: GeoBox) -> NDArray[np.uint8]:
    shapes = zip(frame.geometry.to_numpy()[order], codes[order].tolist(), strict=True)
    burnt: NDArray[np.uint8] = rasterize(
        shapes, grid.shape, fill=NO_CLASS, transform=grid.affine, dtype=np.uint8, all_touched=False
    )
    return burnt


def _from_raster(geology: GeologyConfig, grid: GeoBox, classes: dict[str, int]) -> Strata:
    indices, values = _codes_onto(geology, grid)
    units = [as_text(value) for value in values]
    if not units:
        raise InputError(f"{geology.path}: has no code on the grid; expected a geological map of the scene")
    _require_named(units, classes, geology)
    table = np.full(int(_NOTHING) + 1, NO_CLASS, dtype=np.uint8)
    table[: len(units)] = [classes[unit] for unit in units]
    return Strata(table[indices], 0.0, 0, tuple(sorted(units)))


def _codes_onto(geology: GeologyConfig, grid: GeoBox) -> tuple[NDArray[np.uint16], list[Any]]:
    """Return the place of each cell's code in a list, and the list: a code may be any number, an index is small."""
    path = geology.path
    indices = np.full(grid.shape, _NOTHING, dtype=np.uint16)
    with open_raster(path) as dataset:
        require_exact(str(path), dataset.crs, str(grid.crs))
        if dataset.count != 1:
            raise InputError(f"{path}: holds {dataset.count} bands, expected one, of codes of units")
        values = pd.Index(np.array([], dtype=dataset.dtypes[0]))
        options = {"add_alpha": True} if dataset.nodata is None else {}
        rows, columns = grid.shape
        with WarpedVRT(
            dataset, crs=str(grid.crs), transform=grid.affine, width=columns, height=rows,
            resampling=Resampling.nearest, **options,
        ) as warped:  # fmt: skip
            for top in range(0, rows, _STRIP_ROWS):
                window = Window(0, top, columns, min(_STRIP_ROWS, rows - top))
                codes, known = warped.read(1, window=window), warped.read_masks(1, window=window) > 0
                known &= codes == codes  # noqa: PLR0124 - no NaN
                values = values.append(pd.Index(pd.unique(codes[known]))).unique()
                if len(values) > _MAX_CODES:
                    raise InputError(f"{path}: found more than {_MAX_CODES} different values, expected codes of units")
                strip = indices[top : top + window.height]
                strip[known] = values.get_indexer(codes[known])
    return indices, list(values.to_numpy())  # not to_list: a float32 has fewer digits


def _require_named(units: list[str], classes: dict[str, int], geology: GeologyConfig) -> None:
    missing = set(units) - set(classes)
    if missing:
        raise InputError(
            f"{geology.path}: found units on the grid that the event file does not name; add them to geology.ages "
            f"(old to young) or geology.without_age: {quote_list(missing, most=_MAX_CODES)}"
        )
