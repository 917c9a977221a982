"""How far landslides run and what outline they leave, for many of them at once."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from coslide.simulate.frame import PIXEL_M, Floats, Mask, Numbers

_PATH = 41  # points of a path
_STATIONS = 28  # points on each side of an outline
KNOTS = 11  # of random width along each side
_SOURCE = 0.7  # of its length, which comes loose as a whole
_SHORTEST = 0.8  # length over width of what stops early; what is wider finds no place
_KEEPS_ON = 0.55  # of its direction that a moving mass keeps at each step
_BORDER_PX = 4
_CLIMB = 0.35  # an edge may lie this much higher than the middle, for each metre it is away from it
_NARROWER, _NARROWINGS = 0.65, 6  # so an edge is moved in that lies too high
# Shares of the length and logarithms of the width there: source, narrower path, wider deposit.
_WIDTHS = ((0.0, 0.2, 0.6, 0.85, 1.0), (0.05, 0.12, -0.22, 0.10, 0.12))


class Draws(NamedTuple):
    """What is drawn for landslides before they have a place, float64, the first axis the landslide.

    `elongation` is the length over the mean width, `reach` the height lost over the length run at which they stop (no
    unit), `sides` (landslide, side, knot) the logarithms of the width to the left and right at even shares of the
    length, over the mean width.
    """

    area_m2: Numbers
    elongation: Numbers
    reach: Numbers
    sides: Numbers


def draw_shapes(random: np.random.Generator, area_m2: Numbers) -> Draws:
    """Draw how landslides of given areas in m2 move and look.

    Volume from area: V = 10^-0.836 A^1.332 (Larsen et al. 2010, doi:10.1038/ngeo776, all landslides). Height lost over
    length run where it stops: log10(H / L) = -0.012 - 0.105 log10 V (Corominas 1996, doi:10.1139/t96-005, debris
    slides, flows and avalanches), with a scatter of 0.1. Length over mean width is drawn around 3.6 (1.6 to 9;
    inventories have 1.2 to 15, Taylor et al. 2018, doi:10.1002/esp.4479); what stops early is shorter.
    """
    count = len(area_m2)
    elongation = np.clip(3.6 * np.exp(0.35 * random.standard_normal(count)), 1.6, 9.0)
    volume_m3 = 10**-0.836 * area_m2**1.332
    reach = 10 ** (-0.012 - 0.105 * np.log10(volume_m3) + 0.1 * random.standard_normal(count))
    shares = np.linspace(0, 1, KNOTS)
    neck = random.uniform(0, 1.2, (count, 1, 1)) * np.interp(shares, *_WIDTHS)
    taper = 0.2 * random.standard_normal((count, 1, 1)) * (2 * shares - 1)
    return Draws(area_m2, elongation, reach, neck + taper + 0.12 * random.standard_normal((count, 2, KNOTS)))


def run_out(start_px: Numbers, draws: Draws, height_m: Floats, barrier: Mask) -> tuple[Numbers, Mask]:
    """Let landslides run down from their places and outline them.

    Each runs down the terrain until it has lost too little height for its volume, meets a barrier, or has its length.
    Around that path it is as wide as its area asks for, but climbs no valley side.

    `start_px` (landslide, xy) are the crowns, in pixels from the north-west corner; `height_m` the smoothed elevation,
    float32 (row, col) of 10 m; `barrier`, bool (row, col), rivers that no landslide crosses. Returns outlines
    (landslide, vertex, xy) in pixels, and whether each fits: neither stuck nor short of room.
    """
    path, length_m = _descend(start_px, draws, height_m, barrier)
    share = (1 - np.cos(np.pi * np.linspace(0, 1, _STATIONS))) / 2  # dense at both ends, which are round
    knot, rest = _between(share, _PATH)
    middle = path[:, knot] + rest[:, None] * (path[:, knot + 1] - path[:, knot])
    along = _unit(path[:, np.minimum(knot + 4, _PATH - 1)] - path[:, np.maximum(knot - 3, 0)])
    left = np.stack([along[..., 1], -along[..., 0]], axis=-1)
    out = np.stack([left, -left], axis=1)
    knot, rest = _between(share, KNOTS)
    ease = rest**2 * (3 - 2 * rest)
    drawn = np.exp(draws.sides[..., knot] + ease * (draws.sides[..., knot + 1] - draws.sides[..., knot]))
    height, target = _at(height_m, middle)[:, None], draws.area_m2 / PIXEL_M**2
    length = np.maximum(length_m / PIXEL_M, 1e-3)
    width = target / length
    for _ in range(4):  # the area grows with the width, but where the terrain rises at its sides
        cap = np.clip(0.6 * width / length, 0.08, 0.4)[:, None]
        ends = np.minimum(np.minimum(share, 1 - share) / cap, 1)
        wide = width[:, None, None] / 2 * drawn * np.sqrt(np.maximum(1 - (1 - ends) ** 2, 0.01))[:, None]
        for _ in range(_NARROWINGS):
            climb = _at(height_m, middle[:, None] + out * wide[..., None]) - height
            wide[climb > 1 + _CLIMB * PIXEL_M * wide] *= _NARROWER
        edges = middle[:, None] + out * wide[..., None]
        outline = np.concatenate([edges[:, 0], edges[:, 1, ::-1]], axis=1)
        x, y = outline[..., 0], outline[..., 1]
        area = np.abs((np.roll(x, 1, axis=1) * y - x * np.roll(y, 1, axis=1)).sum(axis=1)) / 2
        width = width * np.clip(target / np.maximum(area, 1e-6), 0.5, 2.0)
    fits = (length_m**2 >= _SHORTEST * draws.area_m2) & (area > 0.8 * target) & (area < 1.25 * target)
    return outline, fits


def _descend(start: Numbers, draws: Draws, height_m: Floats, barrier: Mask) -> tuple[Numbers, Numbers]:
    """Run down from `start`; return evenly spaced points (landslide, point, xy) in pixels, and lengths run in m."""
    step = np.sqrt(draws.area_m2 * draws.elongation) / PIXEL_M / (_PATH - 1)
    down, east = (np.asarray(part) for part in np.gradient(height_m))
    path = np.repeat(start[:, None], _PATH, axis=1)
    limit = np.array(height_m.shape)[::-1] - _BORDER_PX
    points, along = np.full(len(start), _PATH), np.zeros_like(start)
    first = last = _at(height_m, start)
    for i in range(1, _PATH):
        fall = -np.stack([_at(east, path[:, i - 1]), _at(down, path[:, i - 1])], axis=-1)
        along = _unit(_unit(fall) + _KEEPS_ON * along)
        path[:, i] = path[:, i - 1] + step[:, None] * along
        here = _at(height_m, path[:, i])
        inside = np.clip(path[:, i], _BORDER_PX, limit)
        columns, rows = inside.astype(np.intp).T
        stops = (inside != path[:, i]).any(axis=1) | barrier[rows, columns] | (here >= last)
        if i > _SOURCE * _PATH:  # beyond its source a mass stops where its energy is spent
            stops |= first - here < draws.reach * i * step * PIXEL_M
        points = np.where(stops, np.minimum(points, i), points)
        last = here
    run = (points[:, None] - 1) * np.linspace(0, 1, _PATH)
    knot = np.clip(run.astype(np.intp), 0, np.maximum(points - 2, 0)[:, None])[..., None]
    before, after = (np.take_along_axis(path, np.minimum(knot + k, points[:, None, None] - 1), axis=1) for k in (0, 1))
    return before + (run[..., None] - knot) * (after - before), (points - 1) * step * PIXEL_M


def _between(share: Numbers, count: int) -> tuple[NDArray[np.intp], Numbers]:
    """Find the knot before each share of a length that has `count` even knots, and how far it lies towards the next."""
    knot = np.minimum((share * (count - 1)).astype(np.intp), count - 2)
    return knot, share * (count - 1) - knot


def _at(values: NDArray[np.floating], places: Numbers) -> Numbers:
    """Interpolate a raster at places (..., xy) in pixels from the corner; beyond the last centres it stays level."""
    x, y = np.moveaxis(places, -1, 0)
    return np.asarray(map_coordinates(values, [y - 0.5, x - 0.5], order=1, mode="nearest", output=np.float64))


def _unit(vectors: Numbers) -> Numbers:
    """Bring vectors (..., xy) to the length 1; those without a length stay."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12))
