"""Ground that people lay open between the dates, and that looks like a landslide to a single cell."""

import numpy as np
from numpy.typing import NDArray
from shapely import LineString
from shapely.geometry.base import BaseGeometry

from coslide.simulate.frame import CELL_M, centres_m
from coslide.simulate.land import Terrain
from coslide.simulate.recipe import Recipe

_CUT_SHARE = 0.35  # of all openings; the others are clearings
_CUT_LENGTH_M, _CUT_WIDTH_M, _CUT_SLOPE_DEG = (40.0, 160.0), (8.0, 20.0), (10.0, 35.0)
_CLEARED_M2, _CLEARED_SPREAD, _CLEARED_LONG = 700.0, 0.8, (1.0, 2.0)  # median, deviation of ln(area), length over width
_CLEARED_SLOPE_DEG = (3.0, 24.0)


def open_ground(recipe: Recipe, terrain: Terrain) -> list[BaseGeometry]:
    """Return the outlines of cuttings and clearings, in the CRS of the frame.

    Cuttings are narrow and lie along the contours of slopes; clearings are as large as landslides, lie any way, and on
    slopes that are gentler than those that slide. There are `Difficulty.openings_per_km2` of both together.

    Parameters
    ----------
    recipe
        Its seed and difficulty.
    terrain
        The ground.
    """
    random = recipe.random("openings")
    count = round(recipe.hardness.openings_per_km2 * (terrain.frame.cells * CELL_M / 1000) ** 2)
    cuts = round(_CUT_SHARE * count)
    places = _places(random, terrain, _CUT_SLOPE_DEG, cuts)
    across = terrain.aspect_deg[places] + 90 + random.normal(0, 8, len(places[0]))
    lengths, widths = (random.uniform(*span, len(across)) for span in (_CUT_LENGTH_M, _CUT_WIDTH_M))
    outlines = _strips(terrain, places, across, lengths=lengths, widths=widths)
    places = _places(random, terrain, _CLEARED_SLOPE_DEG, count - cuts)
    areas = _CLEARED_M2 * np.exp(random.normal(0, _CLEARED_SPREAD, len(places[0])))
    lengths = np.sqrt(areas * random.uniform(*_CLEARED_LONG, len(areas)))
    turns = random.uniform(0, 180, len(areas))
    return outlines + _strips(terrain, places, turns, lengths=lengths, widths=areas / lengths)


def _places(
    random: np.random.Generator, terrain: Terrain, slope_deg: tuple[float, float], count: int
) -> tuple[NDArray[np.intp], ...]:
    """Return rows and columns of cells on hillsides of such slopes; none where there are no such."""
    low, high = slope_deg
    fit = np.flatnonzero((terrain.slope_deg > low) & (terrain.slope_deg < high) & ~terrain.valley_floor)
    chosen = random.choice(fit, count) if fit.size else fit
    return np.unravel_index(chosen, terrain.slope_deg.shape)


def _strips(
    terrain: Terrain,
    places: tuple[NDArray[np.intp], ...],
    along_deg: NDArray[np.floating],
    *,
    lengths: NDArray[np.float64],
    widths: NDArray[np.float64],
) -> list[BaseGeometry]:
    """Return strips around places, their length in a direction clockwise from north."""
    x, y = centres_m(terrain.frame.ground)
    middles = np.column_stack([x[places[1]], y[places[0]]])
    along = np.column_stack([np.sin(np.radians(along_deg)), np.cos(np.radians(along_deg))]) * lengths[:, None] / 2
    return [
        LineString([start, end]).buffer(width / 2, cap_style="flat")
        for start, end, width in zip(middles - along, middles + along, widths, strict=True)
    ]
