"""The Zarr store of a cube while it is built: variables are created, written window by window, and finished.

What was computed together, a part, is recorded when all its variables are whole, with a key that stands for all that
decides their values. So a build that was killed knows what it need not do again, and a part of an older cube is taken
over if its key is the same.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr
from numba import njit
from numcodecs import Blosc
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS

from coslide.cube.cube import BAND_DIMENSION
from coslide.cube.layer import Layer
from coslide.grid import slices_of
from coslide.io.atomic import link_or_copy
from coslide.labels import NO_CLASS

CHUNK = 512
_RECORD = "coslide_parts"


class Span(NamedTuple):
    """Of the cells of a band that have a value: how many there are, and their smallest and largest value."""

    known: int
    smallest: float
    largest: float

    def joined(self, other: "Span") -> "Span":
        """Return the span of both together."""
        return Span(self.known + other.known, min(self.smallest, other.smallest), max(self.largest, other.largest))


NOTHING = Span(0, np.inf, -np.inf)


class Entry(NamedTuple):
    """A whole part of a cube: the key that stands for all that decides its values, and its variables."""

    key: str
    variables: tuple[str, ...]


class Store(NamedTuple):
    """A Zarr folder, format 2, whose variables lie on `grid`.

    Zarr 2: GDAL and QGIS read it everywhere, Zarr 3 only in the newest releases.
    """

    path: Path
    grid: GeoBox

    def open_group(self) -> None:
        """Return nothing; makes the folder a Zarr group with the coordinates of the grid. Its variables stay."""
        group = zarr.open_group(self.path, mode="a", zarr_format=2)
        for name, (values, attrs) in _coordinates(self.grid).items():
            _write_coordinate(group, name, values, attrs, dimension=name)

    def take_over(self, part: str, source: Path) -> None:
        """Return nothing; takes a whole part from the cube `source`, without copying its values if possible."""
        entry = recorded(source)[part]
        for name in entry.variables:
            self._discard(name)
            link_or_copy(source / name, self.path / name)
            dimensions: Any = zarr.open_array(source / name, mode="r").attrs["_ARRAY_DIMENSIONS"]
            if BAND_DIMENSION in dimensions:
                self._discard(BAND_DIMENSION)
                link_or_copy(source / BAND_DIMENSION, self.path / BAND_DIMENSION)
        self.record(part, entry)

    def create(self, variable: Layer) -> None:
        """Return nothing; makes `variable` anew, without values and not yet whole."""
        self._discard(variable.name)
        group = zarr.open_group(self.path, mode="a", zarr_format=2)
        bands = (len(variable.bands),) if variable.bands else ()
        group.create_array(
            variable.name,
            shape=bands + tuple(self.grid.shape),
            chunks=(1,) * len(bands) + tuple(min(CHUNK, size) for size in self.grid.shape),
            dtype=variable.dtype,
            compressors=Blosc(cname="zstd", clevel=1, shuffle=Blosc.SHUFFLE),
            fill_value=_fill_value(variable),
            attributes={"_ARRAY_DIMENSIONS": list(_dimensions(variable))},
        )

    def write(self, variable: Layer, values: NDArray[Any], window: GeoBox) -> list[Span]:
        """Return the span of each band of `values`, which are written to where `window` lies.

        Raises
        ------
        ValueError
            If shape or dtype are not those of the variable.
        """
        expected = ((len(variable.bands),) if variable.bands else ()) + tuple(window.shape)
        if values.shape != expected or values.dtype != np.dtype(variable.dtype):
            raise ValueError(
                f"{variable.name}: found {values.dtype} {values.shape}, expected {variable.dtype} {expected}"
            )
        array = zarr.open_array(self.path / variable.name, mode="r+")
        array[(..., *slices_of(window, self.grid))] = values
        return [span(band) for band in values.reshape(-1, *window.shape)]

    def read(self, name: str, window: GeoBox, *, band: int | None = None) -> NDArray[Any]:
        """Return the stored values of a variable, or of one of its bands (from 0), on `window`."""
        array = zarr.open_array(self.path / name, mode="r")
        rows, columns = slices_of(window, self.grid)
        return np.asarray(array[(..., rows, columns) if band is None else (band, rows, columns)])

    def finish(self, variable: Layer, attrs: dict[str, Any], spans: Sequence[Span]) -> None:
        """Return nothing; gives `variable` its attributes: its own, `attrs`, and the spans of its bands."""
        if variable.bands:
            group = zarr.open_group(self.path, mode="r+")
            _write_coordinate(group, BAND_DIMENSION, np.array(variable.bands, dtype=str), {}, dimension=BAND_DIMENSION)
        cells = self.grid.shape.y * self.grid.shape.x
        valid_share = [round(each.known / cells, 6) for each in spans]
        ranges = [[each.smallest, each.largest] if each.known else None for each in spans]
        own = {
            "role": variable.role,
            "long_name": variable.long_name,
            "units": variable.units,
            **variable.attrs,
            **attrs,
            "valid_share": valid_share if variable.bands else valid_share[0],
            "value_range": ranges if variable.bands else ranges[0],
            "grid_mapping": "spatial_ref",
            "_CRS": {"wkt": CRS.from_user_input(str(self.grid.crs)).to_wkt()},
        }
        zarr.open_array(self.path / variable.name, mode="r+").attrs.update(own)

    def reaches(self, name: str, value: float) -> bool:
        """Return whether the largest value of a finished variable without bands is at least `value`."""
        found: Any = zarr.open_array(self.path / name, mode="r").attrs["value_range"]
        return found is not None and bool(found[1] >= value)

    def record(self, part: str, entry: Entry) -> None:
        """Return nothing; notes that all variables of `part` are whole."""
        entries = {**recorded(self.path), part: entry}
        self._write_record(entries)

    def keep_only(self, parts: Sequence[str]) -> None:
        """Return nothing; removes the variables of all other parts, and what was begun and never finished."""
        entries = {name: entry for name, entry in recorded(self.path).items() if name in parts}
        self._write_record(entries)
        wanted = {name for entry in entries.values() for name in entry.variables}
        wanted |= {"x", "y", "spatial_ref", BAND_DIMENSION}
        for folder in self.path.iterdir():
            if folder.is_dir() and folder.name not in wanted:
                self._discard(folder.name)

    def _write_record(self, entries: dict[str, Entry]) -> None:
        text = {name: {"key": entry.key, "variables": list(entry.variables)} for name, entry in entries.items()}
        zarr.open_group(self.path, mode="r+").attrs.update({_RECORD: text})

    def _discard(self, name: str) -> None:
        shutil.rmtree(self.path / name, ignore_errors=True)


def recorded(cube: Path) -> dict[str, Entry]:
    """Return the whole parts of a cube, or of one that is being built; none where there is no such folder."""
    try:
        found: Any = zarr.open_group(cube, mode="r").attrs.get(_RECORD, {})
        return {name: Entry(str(each["key"]), tuple(each["variables"])) for name, each in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # not there, cut off, or something else
        return {}


def span(values: NDArray[Any]) -> Span:
    """Return count and range of the values of one band that are known: finite floats, or class numbers below 255.

    Examples
    --------
    >>> span(np.array([[2.0, np.nan, 1.0]], dtype=np.float32))
    Span(known=2, smallest=1.0, largest=2.0)
    """
    flat = np.ascontiguousarray(values).reshape(-1)
    if values.dtype == np.uint8:
        counts = np.bincount(flat, minlength=NO_CLASS + 1)[:NO_CLASS]
        found = np.flatnonzero(counts)
        return Span(int(counts.sum()), float(found[0]), float(found[-1])) if found.size else NOTHING
    known, smallest, largest = _span(flat)
    return Span(int(known), float(smallest), float(largest)) if known else NOTHING


def _span_of_floats(values):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    known, smallest, largest = 0, np.float32(np.inf), np.float32(-np.inf)
    for value in values:
        if np.isfinite(value):
            known += 1
            smallest = min(smallest, value)
            largest = max(largest, value)
    return known, smallest, largest


_span = njit(nogil=True, cache=True)(_span_of_floats)


def _dimensions(variable: Layer) -> tuple[str, ...]:
    return (BAND_DIMENSION, "y", "x") if variable.bands else ("y", "x")


def _fill_value(variable: Layer) -> Any:
    return np.float32(np.nan) if np.dtype(variable.dtype).kind == "f" else np.uint8(NO_CLASS)


def _coordinates(grid: GeoBox) -> dict[str, tuple[NDArray[Any], dict[str, Any]]]:
    """Return cell centres and CRS as xarray, rioxarray and the CF conventions want them (GDAL reads ``_CRS``)."""
    crs, affine = CRS.from_user_input(str(grid.crs)), grid.affine
    x = affine.c + affine.a * (np.arange(grid.shape.x) + 0.5)
    y = affine.f + affine.e * (np.arange(grid.shape.y) + 0.5)
    mapping = {**crs.to_cf(), "GeoTransform": " ".join(str(number) for number in affine.to_gdal())}
    return {
        "y": (y, {"standard_name": "projection_y_coordinate", "units": "m"}),
        "x": (x, {"standard_name": "projection_x_coordinate", "units": "m"}),
        "spatial_ref": (np.array(0), mapping),
    }


def _write_coordinate(
    group: zarr.Group, name: str, values: NDArray[Any], attrs: dict[str, Any], *, dimension: str
) -> None:
    dimensions = [dimension] * values.ndim
    array = group.create_array(
        name,
        shape=values.shape,
        chunks=tuple(max(1, size) for size in values.shape),
        dtype=values.dtype,
        fill_value=None,  # every value counts, 0 too
        attributes={**attrs, "_ARRAY_DIMENSIONS": dimensions},
        overwrite=True,
    )
    array[...] = values
