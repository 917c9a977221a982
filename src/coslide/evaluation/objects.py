"""Landslide by landslide agreement of recognised and mapped landslides, by their cells, sizes and outlines."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from coslide.connected import connected

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
StateArray = npt.NDArray[np.uint8]
Float64Array = npt.NDArray[np.float64]


PAPER_SMALLEST_CELLS = 8  # of Yang et al. (2023), whose smallest class is 8 to 11 cells


class State(IntEnum):
    """Return the number that says how a landslide of one map appears in the other one (`match_objects`)."""

    UNMATCHED = 0  # a mapped one is missed, a recognised one is false
    MATCHED = 1
    SPLIT = 2  # a mapped one is recognised in parts; a recognised one is such a part
    MERGED = 3  # a mapped one is recognised in one with others; a recognised one holds several mapped ones


@dataclass(frozen=True, slots=True)
class Matching:
    """Return the landslides of two maps, object by object, and how each appears in the other map.

    Element k is object k + 1 of ``connected(mask & where)``, so ``connected`` finds its place on the grid again.

    Parameters
    ----------
    mapped_cells, mapped_covered_cells
        Cells of each mapped landslide, and how many of them are recognised [cells].
    mapped_state
        `State` of each mapped landslide, uint8.
    recognised_cells, recognised_covered_cells
        Cells of each recognised landslide, and how many of them are mapped [cells].
    recognised_state
        `State` of each recognised landslide, uint8.
    matched_iou
        Cells in both over cells in either [0 to 1], of each matched pair; in the order of the mapped ones.
    """

    mapped_cells: IntArray
    mapped_covered_cells: IntArray
    mapped_state: StateArray
    recognised_cells: IntArray
    recognised_covered_cells: IntArray
    recognised_state: StateArray
    matched_iou: Float64Array

    def found(self, share: float = 0.5) -> BoolArray:
        """Return which mapped landslides have at least `share` of their cells recognised, whatever the shapes.

        Raises
        ------
        ValueError
            If `share` is not above 0 and at most 1.
        """
        if not 0 < share <= 1:
            raise ValueError(f"found_share: expected a share above 0 and at most 1, found {share}")
        return np.asarray(self.mapped_covered_cells / self.mapped_cells >= share)


def match_objects(
    recognised: BoolArray, mapped: BoolArray, where: BoolArray | None = None, *, tolerance: float = 0.5
) -> Matching:
    """Return how each recognised and each mapped landslide [cells] appears in the other map.

    After Hoover et al. (1996), doi:10.1109/34.506791, with "more than" for "at least" `tolerance`. The states exclude
    each other:

    - matched: a mapped and a recognised landslide share more than `tolerance` of the cells of each;
    - split: two or more recognised landslides, each with more than `tolerance` of its own cells in one mapped
      landslide, together hold more than `tolerance` of that one;
    - merged: the same with the two maps exchanged;
    - unmatched: all others, missed (mapped) or false (recognised), with some overlap or without any.

    Parameters
    ----------
    recognised
        Recognised landslides, bool (row, col).
    mapped
        Landslides of the inventory, bool, of the same shape.
    where
        Cells to score, bool, of the same shape. None scores all. Of a landslide that reaches beyond them only the part
        inside counts, and what is connected only beyond them counts as several.
    tolerance
        From 0.5, below which a landslide may match several others, to below 1.

    Returns
    -------
    Matching
        Landslides are cells that touch at a side or a corner. Where nothing is mapped, nothing recognised or nothing
        scored, the arrays of the mapped ones, of the recognised ones or all of them are empty.

    Raises
    ------
    TypeError
        If an array is not bool.
    ValueError
        If the shapes differ or are not (row, col), or `tolerance` is out of its range.

    Examples
    --------
    >>> mapped = np.array([[True, True, True, True, False, True]])
    >>> recognised = np.array([[True, True, True, False, False, False]])
    >>> match_objects(recognised, mapped).mapped_state  # matched, missed
    array([1, 0], dtype=uint8)
    """
    if not 0.5 <= tolerance < 1:
        raise ValueError(f"tolerance: expected a share from 0.5 to below 1, found {tolerance}")
    mapped, recognised = scored_masks(where, mapped=mapped, recognised=recognised)
    both = recognised & mapped
    mapped_cells, i = _numbered(mapped, both)
    recognised_cells, j = _numbered(recognised, both)
    pairs, shared = np.unique(i * len(recognised_cells) + j, return_counts=True)
    i, j = np.divmod(pairs, len(recognised_cells))
    # A quotient is rounded correctly, so that 58 of 100 cells are not more than 0.58; 0.58 * 100 is below 58.
    of_mapped, of_recognised = shared / mapped_cells[i] > tolerance, shared / recognised_cells[j] > tolerance
    matched, part, union = of_mapped & of_recognised, of_recognised & ~of_mapped, of_mapped & ~of_recognised
    part &= _held(i, shared, part, cells=mapped_cells, tolerance=tolerance)[i]
    union &= _held(j, shared, union, cells=recognised_cells, tolerance=tolerance)[j]
    mapped_state, recognised_state = (np.zeros(len(cells), np.uint8) for cells in (mapped_cells, recognised_cells))
    for state, chosen in ((State.MATCHED, matched), (State.SPLIT, part), (State.MERGED, union)):
        mapped_state[i[chosen]] = state
        recognised_state[j[chosen]] = state
    return Matching(
        mapped_cells=mapped_cells,
        mapped_covered_cells=np.bincount(i, shared, len(mapped_cells)).astype(np.int64),
        mapped_state=mapped_state,
        recognised_cells=recognised_cells,
        recognised_covered_cells=np.bincount(j, shared, len(recognised_cells)).astype(np.int64),
        recognised_state=recognised_state,
        matched_iou=(shared / (mapped_cells[i] + recognised_cells[j] - shared))[matched],
    )


def pooled_matching(matchings: Sequence[Matching]) -> Matching:
    """Return the landslides [cells] of several maps as those of one, in the order of the maps."""
    names = [field.name for field in fields(Matching)]
    return Matching(**{name: np.concatenate([getattr(one, name) for one in matchings]) for name in names})


def object_scores(
    matching: Matching, *, pixel_size_m: float, found_share: float = 0.5
) -> dict[str, int | float | None]:
    """Return how many landslides were matched, found, missed or false, and the areas of the last two [m2].

    Parameters
    ----------
    matching
        From `match_objects`.
    pixel_size_m
        Side of a cell [m].
    found_share
        A mapped landslide is found if at least this share of its cells is recognised, whatever the shapes.

    Returns
    -------
    dict
        ``n_mapped`` = ``n_matched`` + ``n_split`` + ``n_merged`` + ``n_missed``.
        ``n_recognised`` = ``n_matched`` + ``n_split_parts`` + ``n_merging`` + ``n_false``.
        ``n_false_without_overlap``: those of ``n_false`` that share no cell with a mapped landslide.
        ``n_found``, ``share_found``: mapped landslides that are found, and their share of the mapped ones.
        ``object_precision``, ``object_recall``: matched ones per recognised one and per mapped one.
        ``object_f1``: 2 matched / (mapped + recognised).
        ``matched_iou_mean``: mean IoU of the matched pairs; None if there is none.
        ``missed_area_m2``, ``false_area_m2``: of the landslides in ``n_missed`` and ``n_false``.

        A share with nothing to divide by is 0: precision where nothing is recognised, recall and found where nothing
        is mapped, f1 where both.

    Raises
    ------
    ValueError
        If `pixel_size_m` is not above 0, or `found_share` not above 0 and at most 1.

    Examples
    --------
    >>> mapped = np.array([[True, True, True, True, False, True]])
    >>> recognised = np.array([[True, True, True, False, False, False]])
    >>> found = object_scores(match_objects(recognised, mapped), pixel_size_m=10)
    >>> found["n_matched"], found["n_missed"], found["object_recall"], found["missed_area_m2"]
    (1, 1, 0.5, 100.0)
    """
    cell_area_m2 = pixel_area_m2(pixel_size_m)
    mapped, recognised = (
        np.bincount(s, minlength=4).tolist() for s in (matching.mapped_state, matching.recognised_state)
    )
    n_mapped, n_recognised, n_matched = sum(mapped), sum(recognised), mapped[State.MATCHED]
    missed, false = matching.mapped_state == State.UNMATCHED, matching.recognised_state == State.UNMATCHED
    n_found = int(np.count_nonzero(matching.found(found_share)))
    return {
        "n_mapped": n_mapped,
        "n_matched": n_matched,
        "n_split": mapped[State.SPLIT],
        "n_merged": mapped[State.MERGED],
        "n_missed": mapped[State.UNMATCHED],
        "n_recognised": n_recognised,
        "n_split_parts": recognised[State.SPLIT],
        "n_merging": recognised[State.MERGED],
        "n_false": recognised[State.UNMATCHED],
        "n_false_without_overlap": int(np.count_nonzero(matching.recognised_covered_cells == 0)),
        "n_found": n_found,
        "share_found": n_found / max(1, n_mapped),
        "object_precision": n_matched / max(1, n_recognised),
        "object_recall": n_matched / max(1, n_mapped),
        "object_f1": 2 * n_matched / max(1, n_mapped + n_recognised),
        "matched_iou_mean": float(matching.matched_iou.mean()) if n_matched else None,
        "missed_area_m2": int(matching.mapped_cells[missed].sum()) * cell_area_m2,
        "false_area_m2": int(matching.recognised_cells[false].sum()) * cell_area_m2,
    }


def recall_by_size(
    matching: Matching,
    *,
    pixel_size_m: float,
    edges_cells: Sequence[float] = (1, 8, 12, 25, 50, 100, 200, math.inf),
    found_share: float = 0.5,
) -> list[dict[str, int | float | None]]:
    """Return for each size class of the mapped landslides [cells, m2] how many there are and how many were found.

    8 to 11 cells is a class of its own: 8 is the smallest size of Yang et al. (2023), doi:10.3390/rs15040977.

    Parameters
    ----------
    matching
        From `match_objects`.
    pixel_size_m
        Side of a cell [m].
    edges_cells
        Edges of the classes in ascending order, whole numbers from 1 on; the last one may be infinite. A class holds
        its lower edge and not its upper one. Landslides outside all classes are left out.
    found_share
        As for `object_scores`.

    Returns
    -------
    list of dict
        In ascending order: ``cells_min``, ``cells_max`` (the largest size in the class), ``area_min_m2``,
        ``area_max_m2``, ``n_mapped``, ``n_found``, ``n_matched`` and ``recall``, the share that is found. The largest
        size is None in a class without end, recall is None in an empty class.

    Raises
    ------
    ValueError
        If `pixel_size_m` is not above 0, `found_share` not above 0 and at most 1, or the edges are not as described.

    Examples
    --------
    >>> mapped, recognised = np.ones((2, 5), bool), np.eye(2, 5) > 0
    >>> recall_by_size(match_objects(recognised, mapped), pixel_size_m=10, edges_cells=(8, 12))
    [{'cells_min': 8, 'cells_max': 11, 'area_min_m2': 800.0, 'area_max_m2': 1100.0, 'n_mapped': 1, 'n_found': 0,
      'n_matched': 0, 'recall': 0.0}]
    """
    cell_area_m2 = pixel_area_m2(pixel_size_m)
    edges = np.asarray(edges_cells, np.float64)
    rising = len(edges) > 1 and bool((edges[1:] > edges[:-1]).all())
    if not rising or edges[0] < 1 or (np.floor(edges) != edges).any():
        raise ValueError(f"edges_cells: expected ascending whole numbers from 1 on, found {tuple(edges_cells)}")
    place = np.searchsorted(edges, matching.mapped_cells, side="right")
    matched = matching.mapped_state == State.MATCHED
    mapped, found, matched = (
        np.bincount(place[chosen], minlength=len(edges) + 1)[1:-1].tolist()
        for chosen in (np.s_[:], matching.found(found_share), matched)
    )
    last = [int(edge) - 1 if math.isfinite(edge) else None for edge in edges[1:].tolist()]
    return [
        {
            "cells_min": int(edges[k]),
            "cells_max": last_k,
            "area_min_m2": int(edges[k]) * cell_area_m2,
            "area_max_m2": None if last_k is None else last_k * cell_area_m2,
            "n_mapped": mapped[k],
            "n_found": found[k],
            "n_matched": matched[k],
            "recall": found[k] / mapped[k] if mapped[k] else None,
        }
        for k, last_k in enumerate(last)
    ]


def size_frequency(areas_m2: npt.ArrayLike, *, bins_per_decade: int = 5) -> dict[str, list[int] | list[float]]:
    """Return the area-frequency curve of an inventory: the probability density [m-2] of landslide areas [m2].

    p(A) = dN / (N dA), Malamud et al. (2004), doi:10.1002/esp.1064.

    Parameters
    ----------
    areas_m2
        Area of each landslide [m2].
    bins_per_decade
        The edges are 10^(k / bins_per_decade) m2 with whole k, so that two inventories share theirs.

    Returns
    -------
    dict
        Lists of one element a bin, from the first bin with a landslide to the last one: ``area_min_m2`` (in the bin),
        ``area_max_m2`` (not in it), ``area_m2`` (their geometric mean), ``n``, ``density_per_m2``. Without a landslide
        the lists are empty.

    Raises
    ------
    ValueError
        If an area is not finite and above 0, or `bins_per_decade` is below 1.

    Notes
    -----
    Areas counted in cells come in steps: where a bin is hardly wider than a cell the curve jumps.

    Examples
    --------
    >>> curve = size_frequency([200.0, 500.0, 900.0, 2000.0], bins_per_decade=1)
    >>> curve["n"], curve["density_per_m2"]
    ([3, 1], [0.000833, 0.0000278])
    """
    areas = np.asarray(areas_m2, np.float64).ravel()
    if bins_per_decade < 1:
        raise ValueError(f"bins_per_decade: expected at least 1, found {bins_per_decade}")
    if not (np.isfinite(areas) & (areas > 0)).all():
        raise ValueError("areas_m2: expected finite areas above 0, found others")
    if not areas.size:
        return {"area_min_m2": [], "area_max_m2": [], "area_m2": [], "n": [], "density_per_m2": []}
    # A bin more on both sides: log10 may be rounded to the other side of an edge.
    first, last = (math.floor(bins_per_decade * math.log10(area)) for area in (areas.min(), areas.max()))
    edges = np.array([10.0 ** (k / bins_per_decade) for k in range(first - 1, last + 3)])
    number = np.bincount(np.searchsorted(edges, areas, side="right") - 1, minlength=len(edges) - 1)
    filled = np.flatnonzero(number)
    bins = np.arange(filled[0], filled[-1] + 1)
    low, high, number = edges[bins], edges[bins + 1], number[bins]
    return {
        "area_min_m2": low.tolist(),
        "area_max_m2": high.tolist(),
        "area_m2": np.sqrt(low * high).tolist(),
        "n": number.tolist(),
        "density_per_m2": (number / (areas.size * (high - low))).tolist(),
    }


def pixel_area_m2(pixel_size_m: float) -> float:
    """Return the area of a cell [m2].

    Raises
    ------
    ValueError
        If its side is not above 0.
    """
    if not pixel_size_m > 0:
        raise ValueError(f"pixel_size_m: expected a length above 0, found {pixel_size_m}")
    return float(pixel_size_m) ** 2


def scored_masks(where: BoolArray | None, **maps: BoolArray) -> list[BoolArray]:
    """Return the maps, bool (row, col), with nothing outside the scored cells.

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
    """Return the cells of each object of `mask`, and the object (from 0 on) of each cell of `both`."""
    labels = connected(mask)
    # Only the landslide cells are widened to 64 bits, not the whole grid.
    return np.bincount(labels[mask].astype(np.int64))[1:], labels[both].astype(np.int64) - 1


def _held(whole: IntArray, shared: IntArray, parts: BoolArray, *, cells: IntArray, tolerance: float) -> BoolArray:
    """Return which objects have more than `tolerance` of their cells in the parts.

    These are two or more then: one part with so much of an object is its match, and matches are not among the parts.
    """
    return np.asarray(np.bincount(whole[parts], shared[parts], len(cells)) / cells > tolerance)
