"""Rain before a simulated earthquake: what fell on the ground, and what rain gauges around it measured."""

import datetime as dt
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyproj
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from coslide.indices.interpolation import CoarseField, coarse_axes
from coslide.simulate.dates import EVENT_TIME
from coslide.simulate.frame import CELL_M, CRS, Frame
from coslide.simulate.noise import smooth_field
from coslide.simulate.recipe import Recipe

Floats = NDArray[np.float32]

WINDOW_DAYS = 10
MARGIN_M = 6000.0
"""How far around the ground gauges stand."""

_DAYS = 14  # in the table of gauges, the last one that of the event
_TOTAL_MM = (70.0, 130.0)
_SPREAD, _RANGE_M = 0.25, 15_000.0  # of ln(rain) at one height
_PER_KM = 0.30
_BREADTH_M = 1000.0  # standard deviation of the Gaussian that smooths the heights that lift the air
_MOST_LIFT_KM = 1.5
_NODES_M = 250.0
_GAUGE_KM2, _FEWEST = 60.0, 8
_CANDIDATES = 12
_ERROR = 0.03  # of a gauge's daily rain
_DRY_SHARE = 0.3


@dataclass(frozen=True, eq=False)
class Rain:
    """Rain before a simulated earthquake.

    Attributes
    ----------
    frame
        Where the ground lies.
    total_mm
        Of the ten times 24 hours before the event, float32 on `Frame.ground`.
    field
        The same, every 250 m, also `MARGIN_M` beyond the ground.
    days
        Dates (UTC) and the share of `total_mm` that fell on each, from the first to that of the event. The two days
        that beginning and end of the ten days cut are dry; what fell before them is no part of the total.
    """

    frame: Frame
    total_mm: Floats
    field: CoarseField
    days: tuple[tuple[dt.date, float], ...]


def make_rain(recipe: Recipe, frame: Frame, height_m: Floats) -> Rain:
    """Return the rain of the ten days before the event: smooth, and more on high ground than on low.

    At the mean height between 70 and 130 mm; its logarithm varies by 0.25 over 15 km. With the height z, smoothed over
    1 km, it is multiplied by (1 + f) / (1 - f) with f = 0.30 per km times z above the mean, which is what [1]_ take for
    April.

    Parameters
    ----------
    recipe
        Its `seed` decides how much falls where and when.
    frame
        Where the ground lies.
    height_m
        Of the ground, float32 on `Frame.ground`. Around it, heights are mirrored at its edge.

    References
    ----------
    .. [1] Liston, Elder (2006), A meteorological distribution system for high-resolution terrestrial modeling
       (MicroMet), J. Hydrometeorol. 7, 217-234, doi:10.1175/JHM486.1, equation 33 and table 1.
    """
    random = recipe.random("rain")
    around = frame.ground.pad(round(MARGIN_M / CELL_M))
    spacing, first, (x, y) = coarse_axes(around, _NODES_M)
    lift_km = _smoothed_m(frame, height_m, x, y) / 1000
    lift_km = np.clip(lift_km - lift_km.mean(dtype=np.float64), -_MOST_LIFT_KM, _MOST_LIFT_KM)
    base = float(random.uniform(*_TOTAL_MM))
    varies = smooth_field(random, (y.size, x.size), spacing, range_m=_RANGE_M)
    nodes = base * np.exp(_SPREAD * varies) * (1 + _PER_KM * lift_km) / (1 - _PER_KM * lift_km)
    field = CoarseField(around, spacing, first, nodes.astype(np.float32))
    return Rain(frame, field.at(frame.ground), field, _draw_days(random))


def write_gauges(path: Path, recipe: Recipe, rain: Rain) -> None:
    """Write what rain gauges measured as a CSV table with the columns station, lon, lat, date and rain_mm.

    One gauge for each 60 km2 of the ground and 6 km around it, but 8 at least, spread more evenly than by chance. Rows
    are days from 00:00 UTC, fourteen up to that of the event, with an error of 3 % and rounded to 0.1 mm.

    Parameters
    ----------
    path
        File to write.
    recipe
        Its `seed` decides where gauges stand and how they err.
    rain
        What fell.
    """
    random = recipe.random("gauges")
    x, y = _spread(random, rain)
    lon, lat = pyproj.Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(x, y)
    lines = ["station,lon,lat,date,rain_mm"]
    for number, place in enumerate(zip(x.tolist(), y.tolist(), lon.tolist(), lat.tolist(), strict=True), start=1):
        total = rain.field.node_value(place[0], place[1])
        for date, share in rain.days:
            measured = max(total * share * (1 + _ERROR * float(random.standard_normal())), 0.0)
            lines.append(f"G{number:03d},{place[2]:.5f},{place[3]:.5f},{date.isoformat()},{measured:.1f}")
    path.write_text("\n".join([*lines, ""]), encoding="utf-8", newline="\n")


def _smoothed_m(frame: Frame, height_m: Floats, x_m: NDArray[np.float64], y_m: NDArray[np.float64]) -> Floats:
    """Return smoothed heights at nodes, also around the ground, (row, col), row 0 in the south."""
    step = round(_NODES_M / CELL_M)
    means = _block_means(height_m, step)
    beyond = math.ceil((MARGIN_M + 4 * _NODES_M) / _NODES_M)
    smooth = gaussian_filter(np.pad(means, beyond, mode="symmetric"), _BREADTH_M / _NODES_M, mode="nearest")
    box = frame.ground.boundingbox
    rows, columns = (box.top - y_m) / _NODES_M - 0.5 + beyond, (x_m - box.left) / _NODES_M - 0.5 + beyond
    found: Floats = map_coordinates(smooth, np.meshgrid(rows, columns, indexing="ij"), order=1, mode="nearest")
    return found


def _block_means(values: Floats, step: int) -> Floats:
    """Return means of blocks of `step` cells; rows and columns that fill no block are left out."""
    rows, columns = (size // step for size in values.shape)
    blocks = values[: rows * step, : columns * step].reshape(rows, step, columns, step)
    means: Floats = blocks.mean(axis=(1, 3), dtype=np.float64).astype(np.float32)
    return means


def _draw_days(random: np.random.Generator) -> tuple[tuple[dt.date, float], ...]:
    """Return the dates and shares of `Rain.days`."""
    dates = [EVENT_TIME.date() - dt.timedelta(days=back) for back in reversed(range(_DAYS))]
    amounts = random.gamma(0.8, 1.0, _DAYS) * (random.random(_DAYS) > _DRY_SHARE)
    amounts[-2] += 0.5  # it has rained shortly before
    amounts[-1] = amounts[-1 - WINDOW_DAYS] = 0.0
    whole = amounts[-WINDOW_DAYS:].sum()
    return tuple(zip(dates, (amounts / whole).tolist(), strict=True))


def _spread(random: np.random.Generator, rain: Rain) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return places of gauges: each is that of a few at random which is farthest from those before."""
    box = rain.field.grid.boundingbox
    side = box.right - box.left
    count = max(_FEWEST, round((side / 1000) ** 2 / _GAUGE_KM2))
    placed = np.empty((0, 2))
    for _ in range(count):
        offered = random.random((_CANDIDATES, 2)) * side
        far = np.hypot(*(offered[:, None, :] - placed[None, :, :]).transpose(2, 0, 1))
        best = int(far.min(axis=1).argmax()) if len(placed) else 0
        placed = np.vstack([placed, offered[best]])
    return box.left + placed[:, 0], box.bottom + placed[:, 1]
