"""Rain before a simulated earthquake: what fell, and what rain gauges measured."""

import datetime as dt
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter

from coslide.indices.interpolation import CoarseField
from coslide.simulate.fields import coarse_field, smooth_field
from coslide.simulate.frame import EVENT_TIME, PIXEL_M, Floats, Frame, Numbers, to_degrees
from coslide.simulate.recipe import Recipe

WINDOW_DAYS = 10
MARGIN_M = 6000.0
"""How far around the frame gauges stand."""

_DAYS = 14  # in the table of gauges, the last one that of the event
_TOTAL_MM = (70.0, 130.0)
_SPREAD, _RANGE_M = 0.25, 15_000.0  # of ln(rain) at one height
_PER_KM = 0.30
_BREADTH_M = 1000.0  # standard deviation of the Gaussian that smooths the heights that lift the air
_MOST_LIFT_KM = 1.5
_NODES_M = 250.0
_GAUGE_KM2, _FEWEST = 60.0, 8
_ERROR = 0.03  # of a gauge's daily rain
_DRY_SHARE = 0.3


@dataclass(frozen=True, eq=False)
class Rain:
    """Rain before a simulated earthquake.

    `total_mm` is that of the ten times 24 hours before the event, float32 on `Frame.grid`, and `field` the same every
    250 m, also `MARGIN_M` beyond the frame. `days` are dates (UTC) and the share of it that fell on each, up to that of
    the event. The two days that beginning and end of the ten days cut are dry; what fell before does not count.
    """

    total_mm: Floats
    field: CoarseField
    days: tuple[tuple[dt.date, float], ...]


def make_rain(recipe: Recipe, frame: Frame, height_m: Floats) -> Rain:
    """Make the rain of the ten days before the event: smooth, and more on high terrain than on low.

    At the mean height between 70 and 130 mm; its logarithm varies by 0.25 over 15 km. With the height z, smoothed over
    1 km and repeated beyond the edge, it is multiplied by (1 + f) / (1 - f) with f = 0.30 per km times z above the
    mean, which is what Liston & Elder (2006, doi:10.1175/JHM486.1, equation 33 and table 1) take for April.
    """
    random = recipe.random("rain")
    base_mm = float(random.uniform(*_TOTAL_MM))
    step, box = round(_NODES_M / PIXEL_M), frame.grid.boundingbox
    means_km = uniform_filter(height_m / 1000, step, mode="mirror")[step // 2 :: step, step // 2 :: step]
    above_km = gaussian_filter(means_km, _BREADTH_M / _NODES_M, mode="mirror")
    above_km -= above_km.mean(dtype=np.float64)
    lift = _PER_KM * np.clip(above_km, -_MOST_LIFT_KM, _MOST_LIFT_KM)

    def nodes(x: Numbers, y: Numbers) -> Numbers:
        down, right = ((part / _NODES_M).astype(int).clip(0, len(lift) - 1) for part in (box.top - y, x - box.left))
        varies = smooth_field(random, (y.size, x.size), _NODES_M, range_m=_RANGE_M)
        return np.asarray(base_mm * np.exp(_SPREAD * varies) * (1 + lift[down, right]) / (1 - lift[down, right]))

    field = coarse_field(frame.grid.pad(round(MARGIN_M / PIXEL_M)), _NODES_M, nodes)
    dates = [EVENT_TIME.date() - dt.timedelta(days=back) for back in reversed(range(_DAYS))]
    amounts = random.gamma(0.8, 1.0, _DAYS) * (random.random(_DAYS) > _DRY_SHARE)
    amounts[-2] += 0.5  # it has rained shortly before
    amounts[-1] = amounts[-1 - WINDOW_DAYS] = 0.0
    shares = (amounts / amounts[-WINDOW_DAYS:].sum()).tolist()
    return Rain(field.at(frame.grid), field, tuple(zip(dates, shares, strict=True)))


def write_gauges(path: Path, recipe: Recipe, rain: Rain) -> None:
    """Write what rain gauges measured as a CSV table with the columns station, lon, lat, date and rain_mm.

    One gauge for each 60 km2 of the frame and 6 km around it, but 8 at least, spread more evenly than by chance. Rows
    are days from 00:00 UTC, fourteen up to that of the event, with an error of 3 % and rounded to 0.1 mm.
    """
    random = recipe.random("gauges")
    box = rain.field.grid.boundingbox
    side_m = box.right - box.left
    count = max(_FEWEST, round((side_m / 1000) ** 2 / _GAUGE_KM2))
    squares = math.ceil(math.sqrt(count))  # along each side of a lattice, in each of which one gauge stands at most
    places = np.argwhere(np.ones((squares, squares))) + random.uniform(0.2, 0.8, (squares**2, 2))
    places = random.permutation(places)[:count] * (side_m / squares) + np.array([box.left, box.bottom])
    lines = ["station,lon,lat,date,rain_mm"]
    for number, (x, y) in enumerate(places.tolist(), start=1):
        lon, lat = to_degrees(x, y)
        total = rain.field.node_value(x, y)
        for date, share in rain.days:
            measured = max(total * share * (1 + _ERROR * float(random.standard_normal())), 0.0)
            lines.append(f"G{number:03d},{lon:.5f},{lat:.5f},{date.isoformat()},{measured:.1f}")
    path.write_text("\n".join([*lines, ""]), encoding="utf-8", newline="\n")
