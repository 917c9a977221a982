"""How far the outlines of recognised and mapped landslides lie apart."""

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from coslide.connected import connected
from coslide.evaluation.objects import pixel_area_m2, scored_masks

BoolArray = npt.NDArray[np.bool_]


def boundary_distance(
    recognised: BoolArray, mapped: BoolArray, where: BoolArray | None = None, *, pixel_size_m: float
) -> dict[str, float | None]:
    """Return how far the boundaries of recognised and mapped landslides lie from each other [m].

    A boundary cell is a landslide cell that shares a side with a scored cell that is not landslide: the rim of the grid
    and the border of `where` make no boundary. Its distance is that to the nearest boundary cell of the other map, from
    centre to centre. Landslides that only one map has count as well, from far away; `objects_kept` leaves them out.

    Parameters
    ----------
    recognised, mapped, where
        As for `match_objects`.
    pixel_size_m
        Side of a cell [m].

    Returns
    -------
    dict
        ``recognised_to_mapped_mean_m``, ``mapped_to_recognised_mean_m``: means over the boundary cells of one map.
        ``symmetric_mean_m``: the mean of these two.
        ``median_m``, ``p95_m``: median and 95th percentile of the distances of both maps together.
        All None if one of the maps has no boundary cell: nothing is landslide, everything is, or nothing is scored.

    Raises
    ------
    TypeError
        If an array is not bool.
    ValueError
        If the shapes differ or are not (row, col), or `pixel_size_m` is not above 0.

    Examples
    --------
    >>> mapped, recognised = np.arange(8)[None] < 3, np.arange(8)[None] < 5
    >>> boundary_distance(recognised, mapped, pixel_size_m=10)["symmetric_mean_m"]
    20.0
    """
    pixel_area_m2(pixel_size_m)
    inside = scored_masks(where, mapped=mapped, recognised=recognised)
    names = "recognised_to_mapped_mean_m", "mapped_to_recognised_mean_m", "symmetric_mean_m", "median_m", "p95_m"
    # The boundary cells are few: a tree of them takes less time and memory than a distance in every cell.
    points = [np.argwhere(_boundary(mask, where)).astype(np.float64) * pixel_size_m for mask in inside]
    if not (len(points[0]) and len(points[1])):
        return dict.fromkeys(names)
    to_recognised, to_mapped = (
        cKDTree(others, balanced_tree=False, compact_nodes=False).query(own)[0]
        for own, others in (points, points[::-1])
    )
    means = float(to_mapped.mean()), float(to_recognised.mean())
    median, p95 = np.percentile(np.concatenate([to_mapped, to_recognised]), [50, 95]).tolist()
    return dict(zip(names, (*means, sum(means) / 2, median, p95), strict=True))


def objects_kept(mask: BoolArray, kept: BoolArray, where: BoolArray | None = None) -> BoolArray:
    """Return the cells of some of the landslides of a map, bool (row, col).

    Parameters
    ----------
    mask, where
        Recognised or mapped landslides and the cells to score, as given to `match_objects`.
    kept
        Which of its landslides to keep, bool (object,), such as ``matching.mapped_state == State.MATCHED``.

    Raises
    ------
    TypeError
        If an array is not bool.
    ValueError
        If the shapes of the masks differ or are not (row, col), or `kept` is not one for each landslide.

    Examples
    --------
    >>> objects_kept(np.array([[True, False, True, True]]), np.array([False, True]))
    array([[False, False,  True,  True]])
    """
    if kept.dtype != np.bool_:
        raise TypeError(f"kept: expected bool, found {kept.dtype}")
    labels = connected(scored_masks(where, mask=mask)[0])
    if kept.shape != (found := (int(labels.max(initial=0)),)):
        raise ValueError(f"kept: expected one for each landslide {found}, found {kept.shape}")
    return np.asarray(np.concatenate([[False], kept])[labels])


def _boundary(mask: BoolArray, where: BoolArray | None) -> BoolArray:
    """Return the cells of `mask` that share a side with a scored cell outside it."""
    other = ~mask if where is None else where & ~mask
    beside = np.zeros_like(mask)
    beside[1:] |= other[:-1]
    beside[:-1] |= other[1:]
    beside[:, 1:] |= other[:, :-1]
    beside[:, :-1] |= other[:, 1:]
    return np.asarray(beside & mask)
