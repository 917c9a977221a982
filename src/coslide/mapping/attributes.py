"""What is known of each landslide of a map: size and shape, how sure the map is, terrain, shaking, fault."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely
from scipy import ndimage

FloatArray = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int32]
Gather = Callable[[str], FloatArray | None]

DIRECTIONS = ("flat", "N", "NE", "E", "SE", "S", "SW", "W", "NW")  # aspect classes 1 to 9
LOW_QUANTILE = 0.1


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of landslides 1, 2, ..., ordered by landslide.

    Attributes
    ----------
    place
        Number of each cell in the raveled map, int64 (cell,).
    start
        Where each landslide begins, int64 (landslide,).
    owner
        Landslide of each cell, from 0 on, int64 (cell,).
    """

    place: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    owner: npt.NDArray[np.int64]

    @property
    def count(self) -> int:
        """Return the number of landslides."""
        return len(self.start)

    def mean(self, values: FloatArray) -> FloatArray:
        """Return the mean of `values` (cell,) in each landslide; NaN cells do not count."""
        known = np.isfinite(values)
        total = np.bincount(self.owner[known], values[known], minlength=self.count)
        cells = np.bincount(self.owner[known], minlength=self.count)
        return np.where(cells > 0, total / np.maximum(cells, 1), np.nan)

    def smallest(self, values: FloatArray) -> FloatArray:
        """Return the smallest of `values` (cell,) in each landslide; NaN where none is known."""
        found = (
            np.minimum.reduceat(np.where(np.isnan(values), np.inf, values), self.start) if self.count else values[:0]
        )
        return np.where(np.isfinite(found), found, np.nan)

    def largest(self, values: FloatArray) -> FloatArray:
        """Return the largest of `values` (cell,) in each landslide; NaN where none is known."""
        return -self.smallest(-values)

    def quantile(self, values: FloatArray, share: float) -> FloatArray:
        """Return the lower empirical quantile of `values` (cell,), all known, in each landslide: one of its values."""
        ordered = values[np.lexsort((values, self.owner))]
        cells = np.bincount(self.owner, minlength=self.count)
        return np.asarray(ordered[self.start + np.floor(share * (cells - 1)).astype(np.int64)])

    def commonest(self, classes: npt.NDArray[np.integer], largest: int) -> npt.NDArray[np.int64]:
        """Return the commonest of `classes` (cell,), 1 to `largest`, in each landslide; 0 where none is known.

        Of two that are as common, the lower one.
        """
        known = (classes >= 1) & (classes <= largest)
        table = np.bincount(
            self.owner[known] * (largest + 1) + classes[known], minlength=self.count * (largest + 1)
        ).reshape(self.count, largest + 1)
        return np.where(table.any(axis=1), table.argmax(axis=1), 0)


def cells_of(labels: Labels) -> Cells:
    """Return the cells of the landslides 1, 2, ... of a labelled map, int32 (row, col)."""
    place = np.flatnonzero(labels)
    owner = labels.ravel()[place].astype(np.int64) - 1
    order = np.argsort(owner, kind="stable")
    owner = owner[order]
    start = np.searchsorted(owner, np.arange(int(owner[-1]) + 1 if owner.size else 0))
    return Cells(place[order], start, owner)


def shapes_of(geometry: npt.NDArray[np.object_]) -> dict[str, FloatArray]:
    """Return perimeter, length and width of polygons [m], as columns.

    Length and width are the sides of the smallest rectangle, turned as it likes, around a landslide.

    Examples
    --------
    >>> {name: float(sides[0]) for name, sides in shapes_of(np.array([shapely.box(0, 0, 30, 10)])).items()}
    {'perimeter_m': 80.0, 'length_m': 30.0, 'width_m': 10.0}
    """
    corners = shapely.get_coordinates(shapely.oriented_envelope(geometry)).reshape(-1, 5, 2)  # closed
    sides = np.hypot(*np.moveaxis(np.diff(corners[:, :3], axis=1), -1, 0))
    return {
        "perimeter_m": shapely.length(geometry),
        "length_m": sides.max(axis=1),
        "width_m": sides.min(axis=1),
    }


def ground_of_landslides(cells: Cells, gather: Gather, *, length_m: FloatArray) -> dict[str, npt.NDArray[np.generic]]:
    """Return what terrain, geology, shaking and fault say of each landslide, as columns.

    Parameters
    ----------
    cells
        Of the landslides.
    gather
        ``gather(name)`` gives the values of a variable of the cube in the cells, NaN where unknown, or None where the
        cube does not have it. Columns of what it lacks are empty (NaN, 0 for a class, "" for a direction).
    length_m
        Length of each landslide [m].

    Returns
    -------
    dict
        ``relief_m`` (highest less lowest cell), ``height_to_length`` (relief over length; 0 on one cell),
        ``slope_mean_deg``, ``slope_max_deg``, ``aspect`` (commonest of flat, N, NE ... NW), ``stratum`` (commonest
        class, 1 the oldest, 0 unknown), ``pga_g`` (mean) and ``fault_distance_m`` (smallest).
    """

    def known(name: str) -> FloatArray:
        values = gather(name)
        return np.full(len(cells.place), np.nan, dtype=np.float32) if values is None else values

    def classes(name: str) -> npt.NDArray[np.int64]:
        return np.nan_to_num(known(name)).astype(np.int64)

    elevation, slope = known("elevation"), known("slope")
    relief = cells.largest(elevation) - cells.smallest(elevation)
    stratum = classes("stratum_class")
    directions = np.array(["", *DIRECTIONS], dtype=object)
    return {
        "relief_m": relief,
        "height_to_length": relief / length_m,
        "slope_mean_deg": cells.mean(slope),
        "slope_max_deg": cells.largest(slope),
        "aspect": directions[cells.commonest(classes("aspect_class"), len(DIRECTIONS))],
        "stratum": cells.commonest(stratum, int(stratum.max(initial=1))).astype(np.int32),
        "pga_g": cells.mean(known("pga")),
        "fault_distance_m": cells.smallest(known("fault_distance")),
    }


def touches_unknown(cells: Cells, known: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return which landslides may go on where nothing is known: beside an unknown cell, or at the edge of the map.

    Parameters
    ----------
    cells
        Of the landslides.
    known
        Where the map has a value, bool (row, col).
    """
    beside = ndimage.maximum_filter((~known).view(np.uint8), size=3, mode="constant", cval=1)
    return np.asarray(np.bincount(cells.owner, beside.ravel()[cells.place], minlength=cells.count) > 0)
