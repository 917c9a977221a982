"""Landslide by landslide agreement of recognised and mapped landslides, by their pixels, sizes and outlines."""

import math
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_dilation
from scipy.spatial import cKDTree

from coslide.evaluation.pixels import BoolArray, IntArray, check_masks
from coslide.evaluation.scores import BoundaryDistances, ObjectCounts, SizeClass, SizeFrequency
from coslide.labels import label_objects

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
    """Landslides of one map. Element k is object k + 1 of ``label_objects(mask)``.

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


def match_objects(recognised: BoolArray, mapped: BoolArray) -> Matching:
    """Match recognised and mapped landslides by the pixels they share.

    After Hoover et al. (1996), doi:10.1109/34.506791, with "more than" half. The states exclude each other:

    - matched: a mapped and a recognised landslide share more than half of the pixels of each;
    - split: two or more recognised landslides, each with more than half of its own pixels in one mapped landslide,
      together hold more than half of that one;
    - merged: the same with the two maps exchanged;
    - unmatched: all others, missed (mapped) or false (recognised), with some overlap or without any.

    Parameters
    ----------
    recognised, mapped
        Landslides of the model and of the inventory, bool (row, col), False outside the pixels to score. Of a landslide
        that reaches beyond them only the part inside counts, and what is connected only beyond them counts as several.

    Returns
    -------
    Matching
        Landslides are pixels that touch at a side or a corner. Where nothing is mapped or nothing recognised, the
        arrays of that map are empty.

    Raises
    ------
    TypeError
        If an array is not bool.
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> mapped = np.array([[True, True, True, True, False, True]])
    >>> recognised = np.array([[True, True, True, False, False, False]])
    >>> match_objects(recognised, mapped).mapped.state  # matched, missed
    array([1, 0], dtype=uint8)
    """
    check_masks(mapped.shape, recognised=recognised, mapped=mapped)
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
    state_of_pair = np.select([matched, part, union], [State.MATCHED, State.SPLIT, State.MERGED]).astype(np.uint8)
    found = []
    for number, pixels in ((i, mapped_px), (j, recognised_px)):
        state = np.zeros(len(pixels), np.uint8)
        np.maximum.at(state, number, state_of_pair)
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

    Examples
    --------
    >>> mapped = np.array([[True, True, True, True, False, True]])
    >>> recognised = np.array([[True, True, True, False, False, False]])
    >>> found = object_counts(match_objects(recognised, mapped), pixel_size_m=10)
    >>> found.n_matched, found.n_missed, found.object_recall, found.missed_area_m2
    (1, 1, 0.5, 100.0)
    """
    mapped, recognised = matching.mapped, matching.recognised
    n_missed, n_matched, n_split, n_merged = np.bincount(mapped.state, minlength=len(State)).tolist()
    n_false, _, n_split_parts, n_merging = np.bincount(recognised.state, minlength=len(State)).tolist()
    n_mapped, n_recognised, n_found = len(mapped.state), len(recognised.state), int(np.count_nonzero(matching.found))
    missed_px, false_px = (int(side.pixels[side.state == State.UNMATCHED].sum()) for side in (mapped, recognised))
    return ObjectCounts(
        n_mapped=n_mapped,
        n_matched=n_matched,
        n_split=n_split,
        n_merged=n_merged,
        n_missed=n_missed,
        n_recognised=n_recognised,
        n_split_parts=n_split_parts,
        n_merging=n_merging,
        n_false=n_false,
        n_false_without_overlap=int(np.count_nonzero(recognised.covered_pixels == 0)),
        n_found=n_found,
        share_found=n_found / max(1, n_mapped),
        object_precision=n_matched / max(1, n_recognised),
        object_recall=n_matched / max(1, n_mapped),
        object_f1=2 * n_matched / max(1, n_mapped + n_recognised),
        matched_iou_mean=float(matching.matched_iou.mean()) if n_matched else None,
        missed_area_m2=missed_px * pixel_size_m**2,
        false_area_m2=false_px * pixel_size_m**2,
    )


def recall_by_size(matching: Matching, *, pixel_size_m: float) -> list[SizeClass]:
    """Count for each size class of the mapped landslides how many there are and how many were found.

    Parameters
    ----------
    matching
        From `match_objects`.
    pixel_size_m
        Side of a pixel [m].

    Examples
    --------
    >>> mapped, recognised = np.ones((2, 5), bool), np.eye(2, 5) > 0
    >>> recall_by_size(match_objects(recognised, mapped), pixel_size_m=10)[1]
    SizeClass(pixels_min=8, pixels_max=11, area_min_m2=800.0, area_max_m2=1100.0, n_mapped=1, n_found=0, n_matched=0,
      recall=0.0)
    """
    area_m2, last = pixel_size_m**2, [*(first - 1 for first in SIZE_CLASSES_PX[1:]), None]
    place = np.searchsorted(SIZE_CLASSES_PX, matching.mapped.pixels, side="right") - 1
    chosen = np.s_[:], matching.found, matching.mapped.state == State.MATCHED
    counts = (np.bincount(place[mask], minlength=len(last)).tolist() for mask in chosen)
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
        for low, high, n_mapped, n_found, n_matched in zip(SIZE_CLASSES_PX, last, *counts, strict=True)
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
    # A bin more on both sides: log10 may be rounded to the other side of an edge.
    ends = areas.min(initial=1), areas.max(initial=1)
    first, last = (math.floor(_BINS_PER_DECADE * math.log10(area)) for area in ends)
    edges = np.array([10.0 ** (k / _BINS_PER_DECADE) for k in range(first - 1, last + 3)])
    number = np.histogram(areas, edges)[0]
    inside = (np.cumsum(number) > 0) & (np.cumsum(number[::-1])[::-1] > 0)
    low, high, number = edges[:-1][inside], edges[1:][inside], number[inside]
    return SizeFrequency(
        area_min_m2=low.tolist(),
        area_max_m2=high.tolist(),
        area_m2=np.sqrt(low * high).tolist(),
        n=number.tolist(),
        density_per_m2=(number / (areas.size * (high - low))).tolist(),
    )


def boundary_distance(
    recognised: BoolArray, mapped: BoolArray, where: BoolArray, *, pixel_size_m: float
) -> BoundaryDistances:
    """Measure how far the boundaries of recognised and mapped landslides lie from each other [m].

    A boundary pixel is a landslide pixel that shares a side with a scored pixel that is not landslide: the rim of the
    grid and the border of `where` make no boundary. Its distance is that to the nearest boundary pixel of the other
    map, from centre to centre. Landslides that only one map has count as well, from far away; `objects_kept` leaves
    them out.

    Parameters
    ----------
    recognised, mapped
        As for `match_objects`.
    where
        Pixels to score, bool (row, col).
    pixel_size_m
        Side of a pixel [m].

    Raises
    ------
    TypeError, ValueError
        As for `match_objects`.

    Examples
    --------
    >>> mapped, recognised = np.arange(8)[None] < 3, np.arange(8)[None] < 5
    >>> boundary_distance(recognised, mapped, np.ones((1, 8), bool), pixel_size_m=10).symmetric_mean_m
    20.0
    """
    check_masks(where.shape, recognised=recognised, mapped=mapped, where=where)
    # The boundary pixels are few: a tree of them takes less time and memory than a distance in every pixel.
    points = [
        np.argwhere(mask & binary_dilation(where & ~mask)).astype(np.float64) * pixel_size_m
        for mask in (mapped, recognised)
    ]
    if not (len(points[0]) and len(points[1])):
        return BoundaryDistances(**dict.fromkeys(BoundaryDistances.model_fields))
    trees = [cKDTree(own, balanced_tree=False, compact_nodes=False) for own in points]
    to_recognised, to_mapped = trees[1].query(points[0])[0], trees[0].query(points[1])[0]
    median, p95 = np.percentile(np.concatenate([to_mapped, to_recognised]), [50, 95]).tolist()
    return BoundaryDistances(
        recognised_to_mapped_mean_m=float(to_mapped.mean()),
        mapped_to_recognised_mean_m=float(to_recognised.mean()),
        symmetric_mean_m=(float(to_mapped.mean()) + float(to_recognised.mean())) / 2,
        median_m=median,
        p95_m=p95,
    )


def objects_kept(mask: BoolArray, kept: BoolArray) -> BoolArray:
    """Keep the pixels of some of the landslides of a map, bool (row, col).

    Parameters
    ----------
    mask
        Recognised or mapped landslides as given to `match_objects`.
    kept
        Which of its landslides to keep, bool (landslide,), such as ``matching.mapped.state == State.MATCHED``.

    Examples
    --------
    >>> objects_kept(np.array([[True, False, True, True]]), np.array([False, True]))
    array([[False, False,  True,  True]])
    """
    return np.asarray(np.concatenate([[False], kept])[label_objects(mask)])


def _numbered(mask: BoolArray, both: BoolArray) -> tuple[IntArray, IntArray]:
    """Count the pixels of each object of `mask`, and find the object (from 0 on) of each pixel of `both`."""
    labels = label_objects(mask)
    # Only the landslide pixels are widened to 64 bits, not the whole grid.
    return np.bincount(labels[mask].astype(np.int64))[1:], labels[both].astype(np.int64) - 1
