"""How far the outlines of recognised and mapped landslides lie apart."""

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_dilation
from scipy.spatial import cKDTree

from coslide.config.training import StrictModel
from coslide.evaluation.objects import pixel_area_m2, scored_masks
from coslide.labels import label_objects

BoolArray = npt.NDArray[np.bool_]


class BoundaryDistances(StrictModel):
    """Distances [m] between the boundaries of two maps; all null if one of them has none."""

    recognised_to_mapped_mean_m: float | None = None
    """Mean over the recognised boundary pixels."""
    mapped_to_recognised_mean_m: float | None = None
    """Mean over the mapped boundary pixels."""
    symmetric_mean_m: float | None = None
    """Mean of these two."""
    median_m: float | None = None
    """Median of the distances of both maps together."""
    p95_m: float | None = None
    """Their 95th percentile."""


def boundary_distance(
    recognised: BoolArray, mapped: BoolArray, where: BoolArray | None = None, *, pixel_size_m: float
) -> BoundaryDistances:
    """Measure how far the boundaries of recognised and mapped landslides lie from each other [m].

    A boundary pixel is a landslide pixel that shares a side with a scored pixel that is not landslide: the rim of the
    grid and the border of `where` make no boundary. Its distance is that to the nearest boundary pixel of the other
    map, from centre to centre. Landslides that only one map has count as well, from far away; `objects_kept` leaves
    them out.

    Parameters
    ----------
    recognised, mapped, where
        As for `coslide.evaluation.objects.match_objects`.
    pixel_size_m
        Side of a pixel [m].

    Raises
    ------
    TypeError
        If an array is not bool.
    ValueError
        If the shapes differ or are not (row, col), or `pixel_size_m` is not above 0.

    Examples
    --------
    >>> mapped, recognised = np.arange(8)[None] < 3, np.arange(8)[None] < 5
    >>> boundary_distance(recognised, mapped, pixel_size_m=10).symmetric_mean_m
    20.0
    """
    pixel_area_m2(pixel_size_m)
    points = []
    # The boundary pixels are few: a tree of them takes less time and memory than a distance in every pixel.
    for mask in scored_masks(where, mapped=mapped, recognised=recognised):
        beside = binary_dilation(~mask if where is None else where & ~mask)
        points.append(np.argwhere(beside & mask).astype(np.float64) * pixel_size_m)
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


def objects_kept(mask: BoolArray, kept: BoolArray, where: BoolArray | None = None) -> BoolArray:
    """Keep the pixels of some of the landslides of a map, bool (row, col).

    Parameters
    ----------
    mask, where
        Recognised or mapped landslides and the pixels to score, as given to
        `coslide.evaluation.objects.match_objects`.
    kept
        Which of its landslides to keep, bool (landslide,), such as ``matching.mapped.state == State.MATCHED``.

    Raises
    ------
    TypeError, ValueError
        As for `coslide.evaluation.objects.match_objects`.

    Examples
    --------
    >>> objects_kept(np.array([[True, False, True, True]]), np.array([False, True]))
    array([[False, False,  True,  True]])
    """
    labels = label_objects(scored_masks(where, mask=mask)[0])
    return np.asarray(np.concatenate([[False], kept])[labels])
