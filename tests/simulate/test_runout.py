"""Run-out and outlines on grounds whose shape is known."""

import numpy as np
import pytest
import shapely

from coslide.simulate.runout import KNOTS, MOST_TRIES, MOST_VERTICES, Draws, Ground, find_places

SIDE = 120
ROW, COLUMN = np.mgrid[:SIDE, :SIDE] + 0.5
TAN = {angle: np.tan(np.radians(angle)) for angle in (20, 35, 45)}


def ground_of(height_m, barrier=None):
    height = np.asarray(height_m, dtype=np.float32)
    blocked = np.zeros(height.shape, dtype=bool) if barrier is None else barrier
    return Ground(height, height, blocked, np.zeros(height.shape, dtype=bool), 10.0)


def slide(ground, *, area_m2=9000.0, elongation=3.0, reach=0.5, sides=None, starts=((30, 60),), times=1):
    """Return the outlines of `times` landslides in cells, from the given (row, column) in turn, and starts used."""
    sides = np.zeros((2, KNOTS)) if sides is None else sides
    sides = np.broadcast_to(sides, (times, 2, KNOTS)).copy()
    draws = Draws(
        *(np.full(times, value, dtype=float) for value in (area_m2, elongation, reach)), sides, np.full((times, 2), 0.5)
    )
    outlines, counts = np.empty((times, MOST_VERTICES, 2)), np.zeros(times, dtype=np.int64)
    cells = np.array([row * SIDE + column for row, column in starts])
    used = find_places(draws, cells, ground, 1e9, outlines, counts)
    return [shapely.Polygon(outline[:count]) for outline, count in zip(outlines, counts, strict=True) if count], used


def south(angle):
    return ground_of(3000 - TAN[angle] * ROW * 10)


def test_on_a_plane_it_runs_straight_down_with_its_length_and_area():
    [outline], _ = slide(south(35))
    left, top, right, bottom = outline.bounds
    np.testing.assert_allclose(outline.area * 100, 9000, rtol=0.02)
    np.testing.assert_allclose([top, bottom - top], [30.5, np.sqrt(9000 * 3) / 10], atol=0.05)
    np.testing.assert_allclose((left + right) / 2, 60.5, atol=0.02)
    assert 2 < (bottom - top) / (right - left) < 4


@pytest.mark.parametrize(("down_row", "down_column"), [(0, 1), (0, -1), (-1, 0), (0.6, 0.8)])
def test_it_runs_where_the_ground_falls(down_row, down_column):
    ground = ground_of(3000 - 7 * (down_row * ROW + down_column * COLUMN))
    [outline], _ = slide(ground, starts=((60, 60),))
    away = np.array(outline.centroid.coords[0]) - 60.5
    np.testing.assert_allclose(away / np.hypot(*away), [down_column, down_row], atol=0.02)


def test_on_gentle_ground_it_stops_where_its_energy_is_spent():
    # The plane of 35 degrees ends in a level one; from the crown, the line of its reach angle meets the ground there.
    height = np.maximum(3000 - TAN[35] * ROW * 10, 3000 - TAN[35] * 400.0 - 0.01 * ROW)
    [outline], _ = slide(ground_of(height), area_m2=9000.0, elongation=2.2, reach=0.6)
    fallen_m = TAN[35] * (400.0 - 305.0)
    np.testing.assert_allclose(outline.bounds[3] * 10, 305.0 + fallen_m / 0.6, atol=12)


def test_a_slope_below_its_reach_angle_keeps_a_landslide_short_or_refuses_it():
    [outline], _ = slide(south(20), elongation=6.0, reach=0.6)
    assert outline.bounds[3] - outline.bounds[1] < 0.75 * np.sqrt(9000 * 6) / 10
    assert slide(south(20), elongation=1.5, reach=0.6)[0] == []


def test_it_does_not_cross_a_river():
    [outline], _ = slide(ground_of(3000 - TAN[35] * ROW * 10, barrier=ROW > 44), elongation=4.0)
    assert outline.bounds[3] <= 44
    np.testing.assert_allclose(outline.area * 100, 9000, rtol=0.02)


def test_in_a_valley_it_follows_the_floor_and_does_not_climb_its_sides():
    valley = ground_of(3000 - 5 * ROW + 6 * np.abs(COLUMN - 60.5))
    [outline], _ = slide(valley, area_m2=2500.0, elongation=6.0, reach=0.3, starts=((30, 66),))
    x, y = np.array(outline.exterior.coords).T
    assert abs(x[y > y.max() - 1].mean() - 60.5) < 1.5
    assert (6 * np.abs(x - 60.5) - 5 * y).max() < 6 * 6 - 5 * 30.5 + 5  # nothing much higher than the crown


def test_an_edge_may_not_lie_much_higher_than_the_middle():
    # A gully 20 m wide in steep ground, of walls of 60 degrees: only what fits into it finds a place.
    walls = 17 * np.maximum(np.abs(COLUMN - 60.5) - 1, 0)
    gully = ground_of(3000 - 7 * ROW + walls)
    assert slide(gully, area_m2=6000.0, elongation=2.0)[0] == []
    [outline], _ = slide(gully, area_m2=1500.0, elongation=4.0)
    assert outline.bounds[2] - outline.bounds[0] < 3


def test_it_never_ends_higher_than_it_began():
    bowl = ground_of(np.hypot(ROW - 60, COLUMN - 60) ** 2 / 4)
    outlines, _ = slide(bowl, area_m2=20_000.0, elongation=7.0, reach=0.1, starts=((60, 35),))
    x, y = outlines[0].centroid.coords[0]
    assert outlines[0].bounds[2] < 63  # not up the other side
    assert np.hypot(x - 60, y - 60) < 25


def test_where_one_has_slid_no_other_starts():
    ground = south(35)
    starts = ((30, 60), (31, 60), (33, 60), (30, 90))
    outlines, used = slide(ground, starts=starts, times=2)
    assert used == 4
    assert not outlines[0].intersects(outlines[1])


def test_a_large_one_does_not_start_in_a_small_one():
    outlines, used = slide(south(35), area_m2=[300.0, 90_000.0], starts=((30, 60), (31, 60)), times=2)
    assert (len(outlines), used) == (1, 2)


def test_a_landslide_may_not_lie_on_others():
    outlines, _ = slide(south(35), starts=((40, 60), (30, 60)), times=2)  # the second runs onto the first
    assert len(outlines) == 1


def test_the_cells_marked_are_those_whose_centres_it_holds():
    ground = south(35)
    rough = np.random.default_rng(2).normal(0, 0.2, (2, KNOTS))
    [outline], _ = slide(ground, sides=rough)
    expected = shapely.contains_xy(outline, COLUMN, ROW)
    expected[30, 60] = ground.taken[30, 60]  # the crown, on the outline itself
    np.testing.assert_array_equal(ground.taken, expected)
    assert 70 < expected.sum() < 110


def test_drawn_widths_make_one_side_wider_than_the_other():
    sides = np.stack([np.full(KNOTS, 0.5), np.full(KNOTS, -0.5)])
    [outline], _ = slide(south(35), sides=sides)
    left, _, right, _ = outline.bounds
    np.testing.assert_allclose(max(60.5 - left, right - 60.5) / min(60.5 - left, right - 60.5), np.e, rtol=0.05)


def test_one_that_cannot_move_anywhere_does_not_use_up_the_places_of_others():
    starts = tuple((30, column) for column in range(20, 100))
    outlines, used = slide(south(35), area_m2=600.0, elongation=[1.5, 3.0], reach=[9.0, 0.5], starts=starts, times=2)
    assert (len(outlines), used) == (1, MOST_TRIES + 1)


def test_near_the_border_it_finds_no_place():
    assert slide(south(35), starts=((1, 60), (60, 1), (118, 60), (60, 118)))[0] == []
