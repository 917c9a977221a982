"""What the parts of the simulation hand to each other: arrays on one 10 m grid, and lines in its CRS."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from shapely import LineString

from coslide.simulate.frame import Frame

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class River:
    """A river: its middle line, from its head to the river it joins or the edge, and its mean width in metres."""

    line: LineString
    width_m: float


@dataclass(frozen=True)
class Terrain:
    """The shape of the ground before the earthquake, on `Frame.ground`.

    Attributes
    ----------
    frame
        Where it lies.
    height_m
        Elevation, float32 (row, col); every cell is known.
    slope_deg, aspect_deg, mean_curvature_per_m
        As `coslide.indices.derivatives.slope_aspect_curvature` defines them, from `height_m`, without gaps: the
        outermost ring repeats its neighbours; the aspect of flat ground is 0.
    receiver
        int32 (row, col): flat index of the neighbour that the water of a cell runs to, its own index where it leaves.
    drained_m2
        Ground whose water runs through a cell, itself included, float32 (row, col).
    valley_floor
        bool (row, col): flat ground that rivers have laid down.
    rivers
        From the widest to the narrowest.
    """

    frame: Frame
    height_m: Floats
    slope_deg: Floats
    aspect_deg: Floats
    mean_curvature_per_m: Floats
    receiver: NDArray[np.int32]
    drained_m2: Floats
    valley_floor: NDArray[np.bool_]
    rivers: tuple[River, ...]
