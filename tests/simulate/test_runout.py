"""Run-out and outlines on terrain of given shape."""

import numpy as np
import pytest
import shapely

from coslide.simulate.landslides import KNOTS, Draws, draw_shapes, run_out

SIDE = 120
ROW, COLUMN = np.mgrid[:SIDE, :SIDE] + 0.5
TAN = {angle: np.tan(np.radians(angle)) for angle in (20, 35, 45)}


def slide(height_m, *, area_m2=9000.0, elongation=3.0, reach=0.5, sides=None, starts=((30.5, 60.5),), barrier=None):
    """Return the outlines in pixels of landslides that fit, from the given (row, column)."""
    start = np.array(starts, dtype=float)[:, ::-1]
    sides = np.zeros((2, KNOTS)) if sides is None else sides
    draws = Draws(
        *(np.full(len(start), value, dtype=float) for value in (area_m2, elongation, reach)),
        np.broadcast_to(sides, (len(start), 2, KNOTS)),
    )
    blocked = np.zeros((SIDE, SIDE), dtype=bool) if barrier is None else barrier
    outlines, fits = run_out(start, draws, np.asarray(height_m, dtype=np.float32), blocked)
    return [shapely.Polygon(outline) for outline in outlines[fits]]


def south(angle):
    return 3000 - TAN[angle] * ROW * 10


def test_on_a_plane_it_runs_straight_down_with_its_length_and_area():
    [outline] = slide(south(35))
    left, top, right, bottom = outline.bounds
    np.testing.assert_allclose(outline.area * 100, 9000, rtol=0.02)
    np.testing.assert_allclose([top, bottom - top], [30.5, np.sqrt(9000 * 3) / 10], atol=0.05)
    np.testing.assert_allclose((left + right) / 2, 60.5, atol=0.02)
    assert 2 < (bottom - top) / (right - left) < 4


@pytest.mark.parametrize(("down_row", "down_column"), [(0, 1), (0, -1), (-1, 0), (0.6, 0.8)])
def test_it_runs_where_the_terrain_falls(down_row, down_column):
    [outline] = slide(3000 - 7 * (down_row * ROW + down_column * COLUMN), starts=((60.5, 60.5),))
    away = np.array(outline.centroid.coords[0]) - 60.5
    np.testing.assert_allclose(away / np.hypot(*away), [down_column, down_row], atol=0.02)


def test_where_it_is_gentle_it_stops_where_its_energy_is_spent():
    # The plane of 35 degrees ends in a level one; from the crown, the line of its reach angle meets the surface there.
    height = np.maximum(south(35), 3000 - TAN[35] * 400.0 - 0.01 * ROW)
    [outline] = slide(height, area_m2=9000.0, elongation=2.2, reach=0.6)
    fallen_m = TAN[35] * (400.0 - 305.0)
    np.testing.assert_allclose(outline.bounds[3] * 10, 305.0 + fallen_m / 0.6, atol=12)


def test_a_slope_below_its_reach_angle_keeps_a_landslide_short_or_refuses_it():
    [outline] = slide(south(20), elongation=6.0, reach=0.6)
    assert outline.bounds[3] - outline.bounds[1] < 0.75 * np.sqrt(9000 * 6) / 10
    assert slide(south(20), elongation=1.5, reach=0.6) == []


def test_it_does_not_cross_a_river():
    [outline] = slide(south(35), elongation=4.0, barrier=ROW > 44)
    assert outline.bounds[3] <= 44
    np.testing.assert_allclose(outline.area * 100, 9000, rtol=0.02)


def test_in_a_valley_it_follows_the_floor_and_does_not_climb_its_sides():
    valley = 3000 - 5 * ROW + 6 * np.abs(COLUMN - 60.5)
    [outline] = slide(valley, area_m2=2500.0, elongation=6.0, reach=0.3, starts=((30.5, 66.5),))
    x, y = np.array(outline.exterior.coords).T
    assert abs(x[y > y.max() - 1].mean() - 60.5) < 1.5
    assert (6 * np.abs(x - 60.5) - 5 * y).max() < 6 * 6 - 5 * 30.5 + 5  # nothing much higher than the crown


def test_an_edge_may_not_lie_much_higher_than_the_middle():
    # A gully 20 m wide in a steep slope, of walls of 60 degrees: only what fits into it finds a place.
    gully = 3000 - 7 * ROW + 17 * np.maximum(np.abs(COLUMN - 60.5) - 1, 0)
    assert slide(gully, area_m2=6000.0, elongation=2.0) == []
    [outline] = slide(gully, area_m2=1500.0, elongation=4.0)
    assert outline.bounds[2] - outline.bounds[0] < 3


def test_it_never_ends_higher_than_it_began():
    bowl = np.hypot(ROW - 60, COLUMN - 60) ** 2 / 4
    [outline] = slide(bowl, area_m2=20_000.0, elongation=7.0, reach=0.1, starts=((60.5, 35.5),))
    x, y = outline.centroid.coords[0]
    assert outline.bounds[2] < 63  # not up the other side
    assert np.hypot(x - 60, y - 60) < 25


def test_drawn_widths_make_one_side_wider_than_the_other():
    [outline] = slide(south(35), sides=np.stack([np.full(KNOTS, 0.5), np.full(KNOTS, -0.5)]))
    left, _, right, _ = outline.bounds
    np.testing.assert_allclose(max(60.5 - left, right - 60.5) / min(60.5 - left, right - 60.5), np.e, rtol=0.05)


def test_near_the_border_it_finds_no_place():
    assert slide(south(35), starts=((1.5, 60.5), (60.5, 1.5), (118.5, 60.5), (60.5, 118.5))) == []


def test_many_at_once_are_those_of_one_after_the_other():
    starts = ((30.5, 60.5), (40.2, 30.7), (20.1, 90.9))
    together = slide(south(35), starts=starts)
    alone = [slide(south(35), starts=(start,))[0] for start in starts]
    assert all(one.equals_exact(other, 1e-9) for one, other in zip(together, alone, strict=True))


def test_larger_landslides_reach_farther_and_are_a_few_times_longer_than_wide():
    area_m2 = np.repeat([300.0, 30_000.0], 2000)
    draws = draw_shapes(np.random.default_rng(0), area_m2)
    small, large = draws.reach[:2000], draws.reach[2000:]
    volume_m3 = 10**-0.836 * 300.0**1.332
    assert np.median(small) == pytest.approx(10 ** (-0.012 - 0.105 * np.log10(volume_m3)), rel=0.02)
    assert np.median(large) < 0.6 * np.median(small)
    assert np.median(draws.elongation) == pytest.approx(3.6, rel=0.03)
    assert draws.elongation.min() >= 1.6
    assert draws.elongation.max() <= 9
