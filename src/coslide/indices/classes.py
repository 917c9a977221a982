"""From measurements to numbered classes."""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coslide.labels import NO_CLASS


def class_by_edges(values: ArrayLike, edges: Sequence[float], *, lowest: int) -> NDArray[np.uint8]:
    """Classify values, uint8 of the same shape: `lowest` plus the number of edges that it reaches.

    Parameters
    ----------
    values
        Measurements of 0 or more, any shape and unit.
    edges
        Rising numbers in the same unit; a value equal to an edge reaches it.
    lowest
        Class of a value below the first edge.

    Returns
    -------
    ndarray of uint8
        255 where a value is NaN.

    Raises
    ------
    ValueError
        If a value is negative, or the edges do not rise or are too many for uint8.

    Notes
    -----
    Compared as float32, so that 0.26 reaches the edge 0.26 in whichever of the two precisions it is stored.

    Examples
    --------
    >>> class_by_edges([0.05, 0.12, 0.3, np.nan], (0.12, 0.16), lowest=0)
    array([  0,   1,   2, 255], dtype=uint8)
    """
    limits = np.asarray(edges, dtype=np.float32)
    if limits.ndim != 1 or lowest + limits.size >= NO_CLASS or (np.diff(limits) <= 0).any():
        raise ValueError(f"edges: found {tuple(edges)}, expected fewer than {NO_CLASS - lowest} ascending numbers")
    measured = np.asarray(values, dtype=np.float32)
    if (measured < 0).any():
        raise ValueError(f"values: found {measured[measured < 0].min():g}, expected 0 or more")
    classes = np.full(measured.shape, lowest, dtype=np.uint8)
    for limit in limits:
        classes += measured >= limit
    classes[np.isnan(measured)] = NO_CLASS
    return classes


def class_names(edges: Sequence[float], unit: str) -> tuple[str, ...]:
    """Name the classes that `class_by_edges` numbers, from the lowest on.

    Examples
    --------
    >>> class_names((1000.0, 2500.0), "m")
    ('below 1000 m', '1000 to 2500 m', '2500 m and more')
    """
    between = [f"{low:g} to {high:g} {unit}" for low, high in itertools.pairwise(edges)]
    return (f"below {edges[0]:g} {unit}", *between, f"{edges[-1]:g} {unit} and more")
