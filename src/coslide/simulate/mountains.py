"""Mountains on a 30 m grid, carved by rivers and landslides from coarse to fine."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, zoom

from coslide.simulate.drainage import fill_depressions
from coslide.simulate.erosion import Law, erode
from coslide.simulate.frame import CELL_M, Frame
from coslide.simulate.noise import rough_field, smooth_field
from coslide.simulate.recipe import Recipe

Floats = NDArray[np.float32]

STEP_CELLS = 3  # cells of 10 m along one of these
STEP_M = STEP_CELLS * CELL_M
LOWEST_M = 1500.0  # above the sea, of the lowest valley in the tile

_AROUND_CELLS = 132  # 4 km on each side, so that rivers enter the ground from outside
_LEVELS = ((4, 45), (2, 20), (1, 12))  # side of a cell in cells of 30 m, and steps: three response times, then less
_UPLIFT_M = 62.0  # in a step, before the relief is set; channels' heads then cut back by 80 m
# m. Of rivers in mountains half lie between 0.225 and 0.575 (Gailleton et al. 2021, doi:10.1029/2020JF006060); below
# 0.3 large rivers would be too steep to lay down a floor.
_CONCAVITY = (0.3, 0.575)
_WANTED = 1.75  # relief before stretching over that of the recipe: slopes then come down from 38 to about 30 degrees
_THRESHOLD = 0.78  # tangent of the steepest slope on average, before the relief is set; about 38 degrees
_HEADS = 0.65  # drainage per km times the square root of a channel head's area in km2; measured on this ground
_ROWS_AT_ONCE = 256


class Mountains(NamedTuple):
    """Ground of 30 m cells, wider than a frame's.

    Attributes
    ----------
    height_m
        float32 (row, col); the tile within spans the relief of the recipe.
    inner
        Rows and columns of `Frame.ground` in it.
    """

    height_m: Floats
    inner: tuple[slice, slice]


def channel_head_m2(drainage_per_km: float) -> float:
    """Return the drained area in m2 from which on water cuts a channel.

    The length of all channels per area goes with the inverse square root of that area, as in any network without a
    scale of its own (Tarboton, Bras & Rodriguez-Iturbe 1991, doi:10.1002/hyp.3360050107)::

        D = 0.65 / sqrt(A)

    Parameters
    ----------
    drainage_per_km
        Length of channels per area, D, in km per km2.
    """
    return (_HEADS / drainage_per_km) ** 2 * 1e6


def carve_mountains(recipe: Recipe, frame: Frame) -> Mountains:
    """Return mountains that drain to one outlet, at 30 m, near the balance of uplift and erosion.

    Channels, where more than `channel_head_m2` is drained, follow the stream power law, S ~ A^-m; what lies above
    them stands at its threshold slope, and both are equally steep where the channel begins. Of the m that rivers
    show, 0.3 to 0.575, the ground gets the one with which slopes come out at about 30 degrees after all heights have
    been stretched to the relief of the recipe. Where no such m gives it, slopes are steeper or gentler: 1600 m within
    3 km take 55 degrees. Rock and uplift vary from place to place.

    Parameters
    ----------
    recipe
        Its `relief_m`, `drainage_per_km` and `seed` matter.
    frame
        Where the ground lies.
    """
    ground = frame.cells // STEP_CELLS
    cells = ground + 2 * _AROUND_CELLS
    cells += -cells % _LEVELS[0][0]
    inner = (slice(_AROUND_CELLS, _AROUND_CELLS + ground),) * 2
    start = _AROUND_CELLS + frame.margin_cells // STEP_CELLS
    tile = slice(start, start + frame.tile_cells // STEP_CELLS)
    height = _heal(*_grow(recipe, cells, tile), recipe)
    return Mountains(stretch(height, height[tile, tile], recipe.relief_m), inner)


def stretch(height_m: Floats, tile_m: Floats, relief_m: float) -> Floats:
    """Return heights in metres so that those of the tile reach from `LOWEST_M` up by `relief_m`."""
    low, high = float(tile_m.min()), float(tile_m.max())
    scale = np.float32(relief_m / max(high - low, 1e-3))
    return np.asarray((height_m - np.float32(low)) * scale + np.float32(LOWEST_M), dtype=np.float32)


class _Rock(NamedTuple):
    """What decides how the ground grows, on coarse cells: factors, shifts in metres, and where its outlet is."""

    erodibility: Floats
    threshold: Floats
    uplift: Floats
    south_m: Floats
    east_m: Floats
    side: int
    place: float


def _grow(recipe: Recipe, cells: int, tile: slice) -> tuple[Floats, float]:
    """Return the bent ground after uplift and erosion, on square cells of 120, 60 and 30 m in turn, and concavity."""
    first = _LEVELS[0][0]
    rock = _draw_rock(recipe.random("rock"), cells // first)
    part = slice(tile.start // first, tile.stop // first + 1)

    def start(concavity: float) -> tuple[Floats, np.random.Generator, float]:
        random = recipe.random("mountains")
        height = 3000 + 300 * rough_field(random, rock.uplift.shape, first * STEP_M, range_m=5000.0, hurst=0.4)
        height = _erode_level(height, rock, recipe, random=random, level=0, concavity=concavity)
        relief_m = float(np.ptp(_bend(height, rock)[part, part]))
        return height, random, float(np.log(relief_m / (_WANTED * recipe.relief_m)))

    # The concavity with which slopes come out natural at the relief of the recipe; straight in its logarithm.
    low, high = _CONCAVITY
    at_low, at_high = start(low)[2], start(high)[2]
    concavity = float(np.clip(low + (high - low) * at_low / max(at_low - at_high, 1e-3), low, high))
    height, random, _ = start(concavity)
    for level in range(1, len(_LEVELS)):
        height = _refine(height, 2)
        height += random.standard_normal(height.shape, dtype=np.float32)
        height = _erode_level(height, rock, recipe, random=random, level=level, concavity=concavity)
    return _bend(height, rock), concavity


def _draw_rock(random: np.random.Generator, cells: int) -> _Rock:
    """Return rock and uplift that vary from place to place."""
    shape, size_m = (cells, cells), _LEVELS[0][0] * STEP_M
    return _Rock(
        erodibility=np.exp(0.25 * rough_field(random, shape, size_m, range_m=4000.0)),
        threshold=np.exp(0.26 * rough_field(random, shape, size_m, range_m=1500.0)),
        uplift=np.exp(0.25 * smooth_field(random, shape, size_m, range_m=9000.0)),
        south_m=_draw_shift(random, shape, size_m),
        east_m=_draw_shift(random, shape, size_m),
        side=int(random.integers(4)),
        place=float(random.uniform(0.35, 0.65)),
    )


def _draw_shift(random: np.random.Generator, shape: tuple[int, int], size_m: float) -> Floats:
    """Return by how many metres the ground is shifted along one axis."""
    shift = np.zeros(shape, dtype=np.float32)
    for range_m, typical_m in ((4000.0, 350.0), (1500.0, 160.0), (600.0, 35.0)):
        shift += smooth_field(random, shape, size_m, range_m=range_m) * np.float32(typical_m)
    return shift


def _erode_level(
    height: Floats, rock: _Rock, recipe: Recipe, *, random: np.random.Generator, level: int, concavity: float
) -> Floats:
    """Return the ground after the steps of one level."""
    size, steps = _LEVELS[level]
    times = _LEVELS[0][0] // size
    outlets = _outlet(height.shape[0], rock.side, rock.place, times)
    spread = np.exp(0.4 * random.standard_normal(height.shape, dtype=np.float32))
    law = Law(
        uplift_m=_UPLIFT_M * _refine(rock.uplift, times),
        erodibility=_refine(rock.erodibility, times) * spread * _pace(recipe, concavity),
        threshold=_THRESHOLD * _refine(rock.threshold, times),
        concavity=concavity,
        aslant=_leaning(random, height.shape),
    )
    return erode(np.where(outlets, np.float32(0), height), size * STEP_M, outlets=outlets, law=law, steps=steps)


def _leaning(random: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Return the factor of Rho8 on the fall to corners."""
    return np.asarray(1 / (2 - random.random(shape, dtype=np.float32)))


def _outlet(cells: int, side: int, place: float, width: int) -> NDArray[np.bool_]:
    """Return the cells of one side through which all water leaves."""
    outlets = np.zeros((cells, cells), dtype=np.bool_)
    start = int(place * cells / width) * width
    outlets[0, start : start + width] = True
    return np.ascontiguousarray(np.rot90(outlets, side))


def _bend(height: Floats, rock: _Rock) -> Floats:
    """Return the ground bent in the plane, for eight directions of flow leave straight valleys behind."""
    times = height.shape[0] // rock.uplift.shape[0]
    cell_m = np.float32(_LEVELS[0][0] * STEP_M / times)
    south, east = (_refine(shift, times, order=3) / cell_m for shift in (rock.south_m, rock.east_m))
    bent = np.empty_like(height)
    columns = np.arange(height.shape[1], dtype=np.float32)
    for top in range(0, height.shape[0], _ROWS_AT_ONCE):
        rows = np.arange(top, min(top + _ROWS_AT_ONCE, height.shape[0]), dtype=np.float32)
        part = slice(top, top + rows.size)
        places = [rows[:, None] + south[part], columns + east[part]]
        map_coordinates(height, places, order=1, mode="nearest", output=bent[part])
    return bent


def _refine(values: Floats, times: int, order: int = 1) -> Floats:
    """Return values of cells on cells that are `times` smaller."""
    if times == 1:
        return values
    return np.asarray(zoom(values, times, order=order, grid_mode=True, mode="nearest"), dtype=np.float32)


def _heal(height: Floats, concavity: float, recipe: Recipe) -> Floats:
    """Return the ground with rivers that run through again where bending has broken their beds."""
    random = recipe.random("healing")
    rim = np.zeros(height.shape, dtype=np.bool_)
    rim[[0, -1], :] = rim[:, [0, -1]] = True
    share = 0.3
    law = Law(
        uplift_m=share * _UPLIFT_M,
        erodibility=share * _pace(recipe, concavity),
        threshold=1.5 * _THRESHOLD,
        concavity=concavity,
        aslant=_leaning(random, height.shape),
    )
    return fill_depressions(erode(fill_depressions(height), STEP_M, outlets=rim, law=law, steps=4))


def _pace(recipe: Recipe, concavity: float) -> float:
    """Return K times a step, with which channels in balance are at their heads as steep as the slopes above."""
    return _UPLIFT_M / _THRESHOLD / float(channel_head_m2(recipe.drainage_per_km) ** concavity)
