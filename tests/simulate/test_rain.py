"""Rain of a simulated place: it follows the relief, and gauges measure what fell."""

import numpy as np
import pandas as pd
import pyproj
import pytest

from coslide.config.schema import RainConfig as RainSettings
from coslide.simulate.frame import CRS, EVENT_TIME, Frame
from coslide.simulate.rain import MARGIN_M, make_rain, write_gauges
from coslide.simulate.recipe import Recipe
from coslide.sources.gauges import read_gauges

FRAME = Frame(300)
COLUMNS = {"lon": "lon", "lat": "lat", "rain": "rain_mm", "date": "date", "station": "station"}


def flat():
    return np.full((FRAME.side_px, FRAME.side_px), 2000, dtype=np.float32)


def stepped():
    """Return terrain whose eastern half is 1 km above the western one."""
    height = flat()
    height[:, FRAME.side_px // 2 :] += 1000
    return height


@pytest.fixture(scope="module")
def rain():
    return make_rain(Recipe(seed=1), FRAME, stepped())


@pytest.fixture
def table(rain, tmp_path):
    write_gauges(tmp_path / "gauges.csv", Recipe(seed=1), rain)
    return tmp_path / "gauges.csv"


def read(path, **changes):
    return read_gauges(RainSettings(gauges=path, unit="mm", columns=COLUMNS, **changes), event_time=EVENT_TIME)


def test_gauges_sum_up_to_what_fell_where_they_stand(rain, table):
    gauges = read(table)
    x, y = pyproj.Transformer.from_crs("EPSG:4326", CRS, always_xy=True).transform(gauges.lon_deg, gauges.lat_deg)
    fell = [rain.field.node_value(a, b) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(gauges.rain_mm, fell, rtol=0.06)
    assert gauges.rain_mm.size == 8


def test_rain_before_the_window_is_in_the_table_but_not_in_the_sum(table):
    assert (read(table, window_days=13).rain_mm > 1.01 * read(table).rain_mm).all()


def test_the_days_that_the_window_cuts_are_dry(table):
    np.testing.assert_array_equal(read(table, event_day="share").rain_mm, read(table).rain_mm)


def test_the_table_has_every_gauge_on_every_day(table):
    rows = pd.read_csv(table)
    assert len(rows) == 8 * 14
    assert rows["date"].max() == EVENT_TIME.date().isoformat()
    assert not rows.duplicated(["station", "date"]).any()


def test_gauges_stand_apart_and_within_the_margin(rain, table):
    gauges = read(table)
    x, y = pyproj.Transformer.from_crs("EPSG:4326", CRS, always_xy=True).transform(gauges.lon_deg, gauges.lat_deg)
    box = FRAME.grid.boundingbox
    assert (x > box.left - MARGIN_M).all()
    assert (x < box.right + MARGIN_M).all()
    assert (y > box.bottom - MARGIN_M).all()
    assert (y < box.top + MARGIN_M).all()
    apart = np.hypot(x[:, None] - x, y[:, None] - y) + 1e9 * np.eye(x.size)
    assert apart.min() > 0.3 * (box.right - box.left + 2 * MARGIN_M) / np.sqrt(x.size)


def test_rain_grows_with_height_as_liston_and_elder_take_it_for_april(rain):
    """Half a km above the mean by (1 + 0.15) / (1 - 0.15), as far below by its inverse."""
    gain = rain.total_mm / make_rain(Recipe(seed=1), FRAME, flat()).total_mm
    np.testing.assert_allclose(gain[:, -10:], 1.15 / 0.85, rtol=0.02)
    np.testing.assert_allclose(gain[:, :10], 0.85 / 1.15, rtol=0.02)
    assert (np.diff(gain[200]) >= -1e-4).all()


def test_rain_grows_with_height_in_the_north_too():
    gain = make_rain(Recipe(seed=1), FRAME, np.rot90(stepped())).total_mm  # high in the north
    gain /= make_rain(Recipe(seed=1), FRAME, flat()).total_mm
    np.testing.assert_allclose(gain[:10], 1.15 / 0.85, rtol=0.02)
    np.testing.assert_allclose(gain[-10:], 0.85 / 1.15, rtol=0.02)


def test_narrow_relief_does_not_show_in_the_rain():
    waves = np.sin(np.arange(FRAME.side_px) * 2 * np.pi / 150)  # 1.5 km from ridge to ridge
    height = flat() + 300 * waves[:, None].astype(np.float32)
    even = make_rain(Recipe(seed=1), FRAME, flat()).total_mm
    inner = slice(150, -150)  # mirrored at the edge, waves do not go on as they were
    found = make_rain(Recipe(seed=1), FRAME, height).total_mm
    np.testing.assert_allclose(found[inner], even[inner], rtol=0.02)


def test_the_same_recipe_has_the_same_rain_and_the_same_table(rain, table, tmp_path):
    again = make_rain(Recipe(seed=1), FRAME, stepped())
    np.testing.assert_array_equal(rain.total_mm, again.total_mm)
    write_gauges(tmp_path / "again.csv", Recipe(seed=1), again)
    assert (tmp_path / "again.csv").read_bytes() == table.read_bytes()
    assert (make_rain(Recipe(seed=2), FRAME, stepped()).total_mm != again.total_mm).any()


def test_days_share_the_whole_total(rain):
    assert sum(share for _, share in rain.days[-10:]) == pytest.approx(1)
    assert all(share >= 0 for _, share in rain.days)
