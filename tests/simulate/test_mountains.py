"""Erosion ends in the closed forms of its balance."""

import numpy as np
import pytest

from coslide.simulate.drainage import DIAGONAL, drain, rim_of
from coslide.simulate.fields import rough_field
from coslide.simulate.frame import Frame
from coslide.simulate.mountains import LOWEST_M, Law, carve_mountains, erode, limit_slope
from coslide.simulate.recipe import Recipe

PIXEL_M = 30.0


@pytest.fixture(scope="module")
def balanced():
    """Terrain after so long that nothing changes any more, and its law."""
    start = 100 + 20 * rough_field(np.random.default_rng(0), (60, 60), PIXEL_M, range_m=500.0)
    outlet = np.zeros(start.shape, dtype=bool)
    outlet[0, 30] = True
    start[outlet] = 0
    law = Law(uplift_m=30.0, erodibility=2.0, threshold=0.6, concavity=0.45)
    return erode(start, PIXEL_M, outlets=outlet, law=law, steps=150), law, outlet


def test_channels_in_balance_have_the_slope_of_the_stream_power_law(balanced):
    """S = (U / K) A^-m, wherever that is gentler than what stands."""
    height, law, outlet = balanced
    flow = drain(height, outlet)
    area = flow.upstream_area_m2(PIXEL_M**2).ravel()
    pixels = np.flatnonzero(flow.receiver != np.arange(height.size))
    rows, columns = np.divmod(pixels, 60)
    to_rows, to_columns = np.divmod(flow.receiver[pixels], 60)
    length = PIXEL_M * np.hypot(rows - to_rows, columns - to_columns)
    slope = (height[rows, columns] - height[to_rows, to_columns]) / length
    expected = law.uplift_m / law.erodibility * area[pixels] ** -law.concavity
    channel = expected < 0.3
    assert channel.sum() > 100
    error = np.abs(slope[channel] / expected[channel] - 1)
    assert np.median(error) < 0.01
    assert np.mean(error < 0.05) > 0.95


def test_nothing_stands_steeper_than_it_can(balanced):
    height, law, _ = balanced
    rise = max(np.abs(np.diff(height, axis=axis)).max() for axis in (0, 1))
    assert rise / PIXEL_M <= law.threshold * 1.001


def test_a_cliff_falls_back_to_a_cone_around_what_has_been_cut():
    """The closed form: threshold times the distance from the one low pixel; first order, so near to a few per cent."""
    height = np.full((81, 81), 1e4, dtype=np.float32)
    height[40, 40] = 0
    cone = limit_slope(height, 10.0, 0.5)
    row, column = np.mgrid[:81, :81] - 40
    expected = 5.0 * np.hypot(row, column)
    np.testing.assert_allclose(cone, expected, rtol=0.06, atol=4.0)
    np.testing.assert_allclose(cone[40], expected[40], rtol=1e-6)
    assert (cone >= expected - 1e-2).all()


def test_gentle_slopes_are_left_as_they_are():
    row, column = np.mgrid[:30, :40].astype(np.float32)
    plane = 3 * row + 2 * column
    np.testing.assert_array_equal(limit_slope(plane, 10.0, 0.4), plane)


def test_the_threshold_may_differ_from_place_to_place():
    height = np.array([[0, 99, 99, 99, 99]], dtype=np.float32)
    limited = limit_slope(height, 10.0, np.array([[1.0, 1.0, 0.5, 0.5, 2.0]]))
    np.testing.assert_allclose(limited, [[0, 10, 15, 20, 40]])


def test_outlets_keep_their_height_and_uplift_lifts_the_rest():
    rim = rim_of((5, 5))
    law = Law(uplift_m=1.0, erodibility=0.0, threshold=9.0, concavity=0.5, corner=DIAGONAL)
    lifted = erode(np.zeros((5, 5), dtype=np.float32), 10.0, outlets=rim, law=law, steps=3)
    np.testing.assert_array_equal(lifted[rim], 0)
    np.testing.assert_allclose(lifted[1:-1, 1:-1], 3.0)


@pytest.mark.parametrize("relief_m", [700.0, pytest.param(1100.0, marks=pytest.mark.slow)])
def test_mountains_have_the_relief_of_the_recipe_and_slopes_that_stand(relief_m):
    frame = Frame(480)
    height, inner = carve_mountains(Recipe(size_km=4.8, relief_m=relief_m, seed=1), frame)
    assert height[inner].shape == (240, 240)
    scene = height[inner][40:-40, 40:-40]
    assert (scene.min(), np.ptp(scene)) == pytest.approx((LOWEST_M, relief_m), abs=0.01)
    slope = np.degrees(np.arctan(np.hypot(*np.gradient(scene, 30.0))))
    assert 20 < np.median(slope) < 45
