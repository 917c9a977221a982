"""Landslide by landslide agreement of recognised and mapped landslides, by their pixels, sizes and outlines."""

import math
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from coslide.config.training import StrictModel
from coslide.labels import label_objects

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

PAPER_SMALLEST_PX = 8  # of Yang et al. (2023), doi:10.3390/rs15040977, whose smallest class is 8 to 11 pixels
SIZE_CLASSES_PX = (1, PAPER_SMALLEST_PX, 12, 25, 50, 100, 200)  # the first size in each class; the last has no end
FOUND_SHARE = 0.5  # of a mapped landslide's pixels that must be recognised for it to count as found
_MOST = 0.5  # of a landslide's pixels that its match must hold more than
_BINS_PER_DECADE = 5


class State(IntEnum):
    """How a landslide of one map appears in the other one (`match_objects`)."""

    UNMATCHED = 0  # a mapped one is missed, a recognised one is false
    MATCHED = 1
    SPLIT = 2  # a mapped one is recognised in parts; a recognised one is such a part
    MERGED = 3  # a mapped one is recognised in one with others; a recognised one holds several mapped ones


class Landslides(NamedTuple):
    """Landslides of one map. Element k is object k + 1 of ``label_objects(mask & where)``.

    Parameters
    ----------
    pixels, covered_pixels
        Pixels of each landslide, and those of them that are landslide in the other map too, int64 (landslide,).
    state
        `State` of each landslide, uint8 (landslide,).
    """

    pixels: IntArray
    covered_pixels: IntArray
    state: npt.NDArray[np.uint8]


class Matching(NamedTuple):
    """Landslides of two maps, and how each appears in the other map.

    `matched_iou` is the IoU [0 to 1] of each matched pair, float64, in the order of the mapped ones.
    """

    mapped: Landslides
    recognised: Landslides
    matched_iou: npt.NDArray[np.float64]

    @property
    def found(self) -> BoolArray:
        """Which mapped landslides have at least half of their pixels recognised, whatever the shapes."""
        return np.asarray(self.mapped.covered_pixels / self.mapped.pixels >= FOUND_SHARE)


class ObjectCounts(StrictModel):
    """Landslides that were matched, found, missed or false. A share with nothing to divide by is 0."""

    n_mapped: int
    """Landslides of the inventory: matched + split + merged + missed."""
    n_matched: int
    """Matched one to one: the overlap is more than half of each."""
    n_split: int
    """Mapped ones recognised in several parts, each more than half inside."""
    n_merged: int
    """Mapped ones that one recognised landslide holds together with others."""
    n_missed: int
    """Mapped ones that are none of these."""
    n_recognised: int
    """Landslides of the map: matched + split parts + merging + false."""
    n_split_parts: int
    """Recognised ones that are parts of a split one."""
    n_merging: int
    """Recognised ones that hold several merged ones."""
    n_false: int
    """Recognised ones that are none of these."""
    n_false_without_overlap: int
    """Those of the false ones that touch no mapped landslide pixel."""
    n_found: int
    """Mapped ones with at least half of their pixels recognised, whatever the outline."""
    share_found: float
    """Their share of the mapped ones."""
    object_precision: float
    """Matched ones per recognised one."""
    object_recall: float
    """Matched ones per mapped one."""
    object_f1: float
    """2 matched / (mapped + recognised)."""
    matched_iou_mean: float | None
    """Mean IoU of the matched pairs; null if there is none."""
    missed_area_m2: float
    """Area of the missed ones."""
    false_area_m2: float
    """Area of the false ones."""


class SizeClass(StrictModel):
    """Mapped landslides of one size class; 8 to 11 pixels is the smallest of Yang et al. (2023)."""

    pixels_min: int
    """Smallest size in the class [pixels]."""
    pixels_max: int | None
    """Largest size in the class [pixels]; null in the class without end."""
    area_min_m2: float
    """Smallest size."""
    area_max_m2: float | None
    """Largest size."""
    n_mapped: int
    """Mapped landslides."""
    n_found: int
    """Those with half of their pixels recognised."""
    n_matched: int
    """Those matched one to one."""
    recall: float | None
    """Share that was found; null in an empty class."""


class SizeFrequency(StrictModel):
    """Area-frequency curve p(A) = dN / (N dA), Malamud et al. (2004), in five bins to a decade; empty without any."""

    area_min_m2: list[float]
    """Lower edge of each bin, in the bin."""
    area_max_m2: list[float]
    """Upper edge of each bin, not in it."""
    area_m2: list[float]
    """Their geometric mean."""
    n: list[int]
    """Landslides in each bin."""
    density_per_m2: list[float]
    """Probability density [1/m²]."""


def match_objects(recognised: BoolArray, mapped: BoolArray, where: BoolArray | None = None) -> Matching:
    """Match recognised and mapped landslides by the pixels they share.

    After Hoover et al. (1996), doi:10.1109/34.506791, with "more than" half. The states exclude each other:

    - matched: a mapped and a recognised landslide share more than half of the pixels of each;
    - split: two or more recognised landslides, each with more than half of its own pixels in one mapped landslide,
      together hold more than half of that one;
    - merged: the same with the two maps exchanged;
    - unmatched: all others, missed (mapped) or false (recognised), with some overlap or without any.

    Parameters
    ----------
    recognised
        Recognised landslides, bool (row, col).
    mapped
        Landslides of the inventory, bool, of the same shape.
    where
        Pixels to score, bool, of the same shape. None scores all. Of a landslide that reaches beyond them only the part
        inside counts, and what is connected only beyond them counts as several.

    Returns
    -------
    Matching
        Landslides are pixels that touch at a side or a corner. Where nothing is mapped, nothing recognised or nothing
        scored, the arrays of the mapped ones, of the recognised ones or all of them are empty.

    Raises
    ------
    TypeError
        If an array is not bool.
    ValueError
        If the shapes differ or are not (row, col).

    Examples
    --------
    >>> mapped = np.array([[True, True, True, True, False, True]])
    >>> recognised = np.array([[True, True, True, False, False, False]])
    >>> match_objects(recognised, mapped).mapped.state  # matched, missed
    array([1, 0], dtype=uint8)
    """
    mapped, recognised = scored_masks(where, mapped=mapped, recognised=recognised)
    both = recognised & mapped
    mapped_px, i = _numbered(mapped, both)
    recognised_px, j = _numbered(recognised, both)
    pairs, shared = np.unique(i * len(recognised_px) + j, return_counts=True)
    i, j = np.divmod(pairs, len(recognised_px))
    of_mapped, of_recognised = shared / mapped_px[i] > _MOST, shared / recognised_px[j] > _MOST
    matched, part, union = of_mapped & of_recognised, of_recognised & ~of_mapped, of_mapped & ~of_recognised
    # Parts that hold most of a landslide are two or more: one part alone with so much of it would be its match.
    part &= (np.bincount(i[part], shared[part], len(mapped_px)) / mapped_px > _MOST)[i]
    union &= (np.bincount(j[union], shared[union], len(recognised_px)) / recognised_px > _MOST)[j]
    found = []
    for number, pixels in ((i, mapped_px), (j, recognised_px)):
        state = np.zeros(len(pixels), np.uint8)
        for one, chosen in ((State.MATCHED, matched), (State.SPLIT, part), (State.MERGED, union)):
            state[number[chosen]] = one
        found.append(Landslides(pixels, np.bincount(number, shared, len(pixels)).astype(np.int64), state))
    return Matching(found[0], found[1], (shared / (mapped_px[i] + recognised_px[j] - shared))[matched])


def pooled_matching(matchings: Sequence[Matching]) -> Matching:
    """Pool the landslides of several maps, in the order of the maps."""
    mapped, recognised, iou = zip(*matchings, strict=True)
    one, other = (Landslides(*map(np.concatenate, zip(*parts, strict=True))) for parts in (mapped, recognised))
    return Matching(one, other, np.concatenate(iou))


def object_counts(matching: Matching, *, pixel_size_m: float) -> ObjectCounts:
    """Count the landslides that were matched, found, missed or false, and the areas of the last two [m2].

    Parameters
    ----------
    matching
        From `match_objects`.
    pixel_size_m
        Side of a pixel [m].

    Raises
    ------
    ValueError
        If `pixel_size_m` is not above 0.

    Examples
    --------
    >>> mapped = np.array([[True, True, True, True, False, True]])
    >>> recognised = np.array([[True, True, True, False, False, False]])
    >>> found = object_counts(match_objects(recognised, mapped), pixel_size_m=10)
    >>> found.n_matched, found.n_missed, found.object_recall, found.missed_area_m2
    (1, 1, 0.5, 100.0)
    """
    area_m2 = pixel_area_m2(pixel_size_m)
    sides = matching.mapped, matching.recognised
    mapped, recognised = (np.bincount(side.state, minlength=4).tolist() for side in sides)
    missed_px, false_px = (int(side.pixels[side.state == State.UNMATCHED].sum()) for side in sides)
    n_mapped, n_recognised, n_matched = sum(mapped), sum(recognised), mapped[State.MATCHED]
    n_found = int(np.count_nonzero(matching.found))
    return ObjectCounts(
        n_mapped=n_mapped,
        n_matched=n_matched,
        n_split=mapped[State.SPLIT],
        n_merged=mapped[State.MERGED],
        n_missed=mapped[State.UNMATCHED],
        n_recognised=n_recognised,
        n_split_parts=recognised[State.SPLIT],
        n_merging=recognised[State.MERGED],
        n_false=recognised[State.UNMATCHED],
        n_false_without_overlap=int(np.count_nonzero(matching.recognised.covered_pixels == 0)),
        n_found=n_found,
        share_found=n_found / max(1, n_mapped),
        object_precision=n_matched / max(1, n_recognised),
        object_recall=n_matched / max(1, n_mapped),
        object_f1=2 * n_matched / max(1, n_mapped + n_recognised),
        matched_iou_mean=float(matching.matched_iou.mean()) if n_matched else None,
        missed_area_m2=missed_px * area_m2,
        false_area_m2=false_px * area_m2,
    )


def recall_by_size(matching: Matching, *, pixel_size_m: float) -> list[SizeClass]:
    """Count for each size class of the mapped landslides how many there are and how many were found.

    Parameters
    ----------
    matching
        From `match_objects`.
    pixel_size_m
        Side of a pixel [m].

    Raises
    ------
    ValueError
        If `pixel_size_m` is not above 0.

    Examples
    --------
    >>> mapped, recognised = np.ones((2, 5), bool), np.eye(2, 5) > 0
    >>> recall_by_size(match_objects(recognised, mapped), pixel_size_m=10)[1]
    SizeClass(pixels_min=8, pixels_max=11, area_min_m2=800.0, area_max_m2=1100.0, n_mapped=1, n_found=0, n_matched=0,
      recall=0.0)
    """
    area_m2 = pixel_area_m2(pixel_size_m)
    place = np.searchsorted(SIZE_CLASSES_PX, matching.mapped.pixels, side="right") - 1
    chosen = (np.s_[:], matching.found, matching.mapped.state == State.MATCHED)
    counts = np.array([np.bincount(place[mask], minlength=len(SIZE_CLASSES_PX)) for mask in chosen]).T.tolist()
    last = [*(first - 1 for first in SIZE_CLASSES_PX[1:]), None]
    return [
        SizeClass(
            pixels_min=low,
            pixels_max=high,
            area_min_m2=low * area_m2,
            area_max_m2=None if high is None else high * area_m2,
            n_mapped=n_mapped,
            n_found=n_found,
            n_matched=n_matched,
            recall=n_found / n_mapped if n_mapped else None,
        )
        for low, high, (n_mapped, n_found, n_matched) in zip(SIZE_CLASSES_PX, last, counts, strict=True)
    ]


def size_frequency(areas_m2: npt.ArrayLike) -> SizeFrequency:
    """Compute the area-frequency curve of an inventory: the probability density [m-2] of landslide areas [m2].

    p(A) = dN / (N dA), Malamud et al. (2004), doi:10.1002/esp.1064. The edges are 10^(k / 5) m2 with whole k, so that
    two inventories share theirs; the bins run from the first with a landslide to the last one.

    Parameters
    ----------
    areas_m2
        Area of each landslide [m2].

    Raises
    ------
    ValueError
        If an area is not finite and above 0.

    Notes
    -----
    Areas counted in pixels come in steps: where a bin is hardly wider than a pixel the curve jumps.

    Examples
    --------
    >>> curve = size_frequency([200.0, 240.0, 290.0, 500.0])
    >>> curve.n, curve.density_per_m2
    ([2, 1, 1], [0.0054, 0.0017, 0.0011])
    """
    areas = np.asarray(areas_m2, np.float64).ravel()
    if not (np.isfinite(areas) & (areas > 0)).all():
        raise ValueError("areas_m2: expected finite areas above 0, found others")
    if not areas.size:
        return SizeFrequency(area_min_m2=[], area_max_m2=[], area_m2=[], n=[], density_per_m2=[])
    # A bin more on both sides: log10 may be rounded to the other side of an edge.
    first, last = (math.floor(_BINS_PER_DECADE * math.log10(area)) for area in (areas.min(), areas.max()))
    edges = np.array([10.0 ** (k / _BINS_PER_DECADE) for k in range(first - 1, last + 3)])
    number = np.histogram(areas, edges)[0]
    filled = np.flatnonzero(number)
    bins = np.arange(filled[0], filled[-1] + 1)
    low, high, number = edges[bins], edges[bins + 1], number[bins]
    return SizeFrequency(
        area_min_m2=low.tolist(),
        area_max_m2=high.tolist(),
        area_m2=np.sqrt(low * high).tolist(),
        n=number.tolist(),
        density_per_m2=(number / (areas.size * (high - low))).tolist(),
    )


def pixel_area_m2(pixel_size_m: float) -> float:
    """Compute the area of a pixel [m2].

    Raises
    ------
    ValueError
        If its side is not above 0.
    """
    if not pixel_size_m > 0:
        raise ValueError(f"pixel_size_m: expected a length above 0, found {pixel_size_m}")
    return float(pixel_size_m) ** 2


def scored_masks(where: BoolArray | None, **maps: BoolArray) -> list[BoolArray]:
    """Clear maps, bool (row, col), outside the scored pixels.

    Raises
    ------
    TypeError
        If an array is not bool.
    ValueError
        If the shapes differ or are not (row, col).
    """
    name_first, first = next(iter(maps.items()))
    for name, array in (maps if where is None else {**maps, "where": where}).items():
        if array.dtype != np.bool_:
            raise TypeError(f"{name}: expected bool, found {array.dtype}")
        if array.shape != first.shape or array.ndim != 2:
            shape = f"(row, col), the shape of {name_first} {first.shape}"
            raise ValueError(f"{name}: expected {shape}, found {array.shape}")
    return [array if where is None else array & where for array in maps.values()]


def _numbered(mask: BoolArray, both: BoolArray) -> tuple[IntArray, IntArray]:
    """Count the pixels of each object of `mask`, and find the object (from 0 on) of each pixel of `both`."""
    labels = label_objects(mask)
    # Only the landslide pixels are widened to 64 bits, not the whole grid.
    return np.bincount(labels[mask].astype(np.int64))[1:], labels[both].astype(np.int64) - 1
