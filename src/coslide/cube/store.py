"""What computes the bands of a cube, and the Zarr store that they are written to while it is built.

A layer group is prepared once for a grid: that reads and checks the sources and computes what needs the whole area.
Then windows are computed in any order and in several processes, and written. What is prepared may hold a few bytes for
each pixel of the grid; what a window takes does not grow with the area.

A part, what was computed together, is recorded when all its variables are whole, with a key that stands for all that
decides their values. So a build that was killed knows what it need not do again, and a part of an older cube is taken
over if its key is the same.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr
from numcodecs import Blosc
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS

from coslide.cube.band import BAND_DIMENSION, Band, by_variable
from coslide.grid import slices_of
from coslide.io.atomic import link_or_copy
from coslide.labels import NO_CLASS

CHUNK = 512
COUNTED = "counted_pixels"
"""Attribute with the (row, col) of the array whose values were counted: all its chunks are there, if it is not cut."""
_RECORD = "coslide_parts"


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


class Span(NamedTuple):
    """Number of pixels of a band that have a value, and their smallest and largest value."""

    valid: int
    smallest: float
    largest: float

    def joined(self, other: "Span") -> "Span":
        """Count both together."""
        return Span(self.valid + other.valid, min(self.smallest, other.smallest), max(self.largest, other.largest))


NOTHING = Span(0, np.inf, -np.inf)


class Entry(NamedTuple):
    """A whole part of a cube: the key that stands for all that decides its values, and its variables."""

    key: str
    variables: Sequence[str]


class Store(NamedTuple):
    """A Zarr folder, format 2, whose variables lie on `grid`.

    Zarr 2: GDAL and QGIS read it everywhere, Zarr 3 only in the newest releases.
    """

    path: Path
    grid: GeoBox

    def open_group(self) -> None:
        """Make the folder a Zarr group with the coordinates of the grid; variables that are there stay."""
        group = zarr.open_group(self.path, mode="a", zarr_format=2)
        for name, (values, attrs) in _coordinates(self.grid).items():
            _write_coordinate(group, name, values, attrs)

    def lies_on_grid_of(self, other: Path) -> bool:
        """Tell whether a cube has the coordinates of the grid: an older one may lie elsewhere, or may have been cut."""
        try:
            group, own = zarr.open_group(other, mode="r"), _coordinates(self.grid)
            return all(np.array_equal(np.asarray(group[name]), values) for name, (values, _) in own.items())
        except (OSError, KeyError, ValueError):
            return False

    def take_over(self, part: str, source: Path) -> None:
        """Take a whole part from the cube `source`, without copying its values if possible."""
        entry = recorded(source)[part]
        several = any(zarr.open_array(source / name, mode="r").ndim == 3 for name in entry.variables)
        for name in [*entry.variables, *([BAND_DIMENSION] * several)]:
            shutil.rmtree(self.path / name, ignore_errors=True)
            link_or_copy(source / name, self.path / name)
        self.record(part, entry)

    def create(self, bands: Sequence[Band]) -> None:
        """Make the variables of `bands` anew, without values and not yet whole."""
        group = zarr.open_group(self.path, mode="a", zarr_format=2)
        for name, members in by_variable(bands).items():
            first, several = members[0], (len(members),) if members[0].channel else ()
            shutil.rmtree(self.path / name, ignore_errors=True)
            group.create_array(
                name,
                shape=several + tuple(self.grid.shape),
                chunks=(1,) * len(several) + tuple(min(CHUNK, size) for size in self.grid.shape),
                dtype=first.dtype,
                compressors=Blosc(cname="zstd", clevel=1, shuffle=Blosc.SHUFFLE),
                fill_value=np.dtype(first.dtype).type(first.nodata),
                attributes={"_ARRAY_DIMENSIONS": [*([BAND_DIMENSION] * len(several)), "y", "x"]},
            )

    def write(self, bands: Sequence[Band], values: dict[str, NDArray[Any]], window: GeoBox) -> list[Span]:
        """Write the values of the variables of `bands` to where `window` lies, and count those of each band.

        Raises
        ------
        ValueError
            If shape or dtype are not those of a variable.
        """
        spans = []
        for name, members in by_variable(bands).items():
            found, dtype = values.pop(name), members[0].dtype  # each is let go when it is written
            expected = ((len(members),) if members[0].channel else ()) + tuple(window.shape)
            if found.shape != expected or found.dtype != dtype:
                raise ValueError(f"{name}: found {found.dtype} {found.shape}, expected {dtype} {expected}")
            array = zarr.open_array(self.path / name, mode="r+").with_config({"write_empty_chunks": True})
            array[(..., *slices_of(window, self.grid))] = found
            spans += [span(band) for band in found.reshape(-1, *window.shape)]
        return spans

    def read(self, name: str, window: GeoBox, *, band: int | None = None) -> NDArray[Any]:
        """Read the stored values of a variable, or of one of its bands (from 0), on `window`."""
        array = zarr.open_array(self.path / name, mode="r")
        rows, columns = slices_of(window, self.grid)
        return np.asarray(array[(..., rows, columns) if band is None else (band, rows, columns)])

    def finish(self, bands: Sequence[Band], provenance: dict[str, Any], spans: Sequence[Span]) -> None:
        """Give the variables of `bands` their attributes: those of the bands, `provenance`, and the spans."""
        pixels = self.grid.shape.y * self.grid.shape.x
        counted = dict(zip([band.name for band in bands], spans, strict=True))
        located = {"grid_mapping": "spatial_ref", "_CRS": {"wkt": CRS.from_user_input(str(self.grid.crs)).to_wkt()}}
        for name, members in by_variable(bands).items():
            found = [counted[band.name] for band in members]
            shares: list[Any] = [round(each.valid / pixels, 6) for each in found]
            ranges: list[Any] = [[each.smallest, each.largest] if each.valid else None for each in found]
            if members[0].channel:
                channels = np.array([band.channel for band in members])
                _write_coordinate(zarr.open_group(self.path, mode="r+"), BAND_DIMENSION, channels, {})
            else:
                [shares], [ranges] = shares, ranges
            counts = {"valid_share": shares, "value_range": ranges, COUNTED: list(self.grid.shape)}
            attributes = {**members[0].attributes(), **provenance, **counts, **located}
            zarr.open_array(self.path / name, mode="r+").attrs.update(attributes)

    def reaches(self, name: str, value: float) -> bool:
        """Tell whether the largest value of a finished variable of one band is at least `value`."""
        found: Any = zarr.open_array(self.path / name, mode="r").attrs["value_range"]
        return found is not None and bool(found[1] >= value)

    def record(self, part: str, entry: Entry) -> None:
        """Note that all variables of `part` are whole."""
        self._write_record({**recorded(self.path), part: entry})

    def keep_only(self, parts: Sequence[str]) -> None:
        """Remove the variables of all other parts, and what was begun and never finished."""
        entries = {name: entry for name, entry in recorded(self.path).items() if name in parts}
        self._write_record(entries)
        wanted = {name for entry in entries.values() for name in entry.variables}
        wanted |= {"x", "y", "spatial_ref", BAND_DIMENSION}
        for folder in self.path.iterdir():
            if folder.is_dir() and folder.name not in wanted:
                shutil.rmtree(folder)

    def _write_record(self, entries: dict[str, Entry]) -> None:
        text: dict[str, Any] = {name: entry._asdict() for name, entry in entries.items()}
        zarr.open_group(self.path, mode="r+").attrs.update({_RECORD: text})


def recorded(cube: Path) -> dict[str, Entry]:
    """Read which parts of a cube are whole, or of one that is being built: none where there is no such folder."""
    try:
        found: Any = zarr.open_group(cube, mode="r").attrs.get(_RECORD, {})
        return {name: Entry(**each) for name, each in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):  # not there, cut off, or something else
        return {}


def span(values: NDArray[Any]) -> Span:
    """Count the values of one band, finite floats or class numbers below 255, and find their range.

    Examples
    --------
    >>> span(np.array([[2.0, np.nan, 1.0]], dtype=np.float32))
    Span(valid=2, smallest=1.0, largest=2.0)
    """
    found = values[values != NO_CLASS if values.dtype == np.uint8 else np.isfinite(values)]
    return Span(found.size, float(found.min()), float(found.max())) if found.size else NOTHING


def _coordinates(grid: GeoBox) -> dict[str, tuple[NDArray[Any], dict[str, Any]]]:
    """Compute pixel centres and CRS as xarray, rioxarray and the CF conventions want them (GDAL reads ``_CRS``).

    There is no GeoTransform: as an attribute it would stay the same when a cube is cut.
    """
    affine = grid.affine
    x = affine.c + affine.a * (np.arange(grid.shape.x) + 0.5)
    y = affine.f + affine.e * (np.arange(grid.shape.y) + 0.5)
    return {
        "y": (y, {"standard_name": "projection_y_coordinate", "units": "m"}),
        "x": (x, {"standard_name": "projection_x_coordinate", "units": "m"}),
        "spatial_ref": (np.array(0), CRS.from_user_input(str(grid.crs)).to_cf()),
    }


def _write_coordinate(group: zarr.Group, name: str, values: NDArray[Any], attrs: dict[str, Any]) -> None:
    attributes = {**attrs, "_ARRAY_DIMENSIONS": [name] * values.ndim}
    # No fill value: every value counts, 0 too.
    group.create_array(name, data=values, chunks=values.shape, fill_value=None, attributes=attributes, overwrite=True)
