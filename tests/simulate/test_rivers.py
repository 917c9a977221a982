"""Rivers on ground so simple that one knows where they run."""

import numpy as np
import pytest
from affine import Affine

from coslide.simulate.drainage import downstream_order, drained_area, fill_depressions, steepest_receivers
from coslide.simulate.rivers import RIVER_M2, Network, cut_beds, floor_level, river_width_m, trace_courses

CELL_M = 30.0
AFFINE = Affine(CELL_M, 0, 1000.0, 0, -CELL_M, 9000.0)


def _axis(row):
    return 60 + 4 * np.sin(row / 9)


@pytest.fixture(scope="module")
def valley():
    """A winding valley about column 60 that falls to the south, with a side valley along row 100 from the east."""
    row, column = np.mgrid[:200, :150].astype(np.float32)
    axis = _axis(row)
    main = 9 * np.abs(column - axis) + 1.0 * (200 - row)
    side = 9 * np.abs(row - 100) + 3.0 * (column - axis) + 101
    height = fill_depressions(np.where(column > axis, np.minimum(main, side), main).astype(np.float32))
    receiver = steepest_receivers(height)
    order = downstream_order(receiver)
    return Network(height, drained_area(receiver, order, CELL_M**2), receiver, order)


INNER = (slice(5, 195), slice(5, 145))


def test_rivers_grow_with_the_square_root_of_what_they_drain():
    np.testing.assert_allclose(river_width_m(np.array([9e6, 36e6, 1e4, 1e12])), [9, 18, 6, 50])


def test_courses_follow_the_valleys_and_join(valley):
    level = floor_level(valley, INNER, 0.05)
    main, side = trace_courses(valley, INNER, level_m=level, affine=AFFINE)
    x, y = np.asarray(main.river.line.coords).T
    np.testing.assert_allclose(x, 1000 + (_axis((9000 - y) / CELL_M - 0.5) + 0.5) * CELL_M, atol=2 * CELL_M)
    assert y[0] > y[-1]
    x, y = np.asarray(side.river.line.coords).T
    np.testing.assert_allclose(y, 9000 - 100.5 * CELL_M, atol=CELL_M)
    assert x[0] > x[-1]
    np.testing.assert_allclose(np.hypot(*(main.xy_m - side.xy_m[-1]).T).min(), 0, atol=1e-6)


def test_a_large_river_dams_the_small_one_that_joins_it(valley):
    level = floor_level(valley, INNER, 0.08)
    river = valley.drained_m2 >= RIVER_M2
    below = level.ravel()[valley.receiver]
    assert (level[river] >= below[river]).all()
    assert (level[river] > valley.height_m[river]).mean() > 0.8


def test_the_level_of_a_course_never_rises(valley):
    level = floor_level(valley, INNER, 0.05)
    for course in trace_courses(valley, INNER, level_m=level, affine=AFFINE):
        assert (np.diff(course.level_m) <= 1e-9).all()
        np.testing.assert_allclose(np.hypot(*np.diff(course.xy_m, axis=0).T), 5.0, rtol=0.3)


@pytest.mark.parametrize("share", [0.02, 0.08])
def test_floors_take_the_share_of_the_ground_that_was_asked_for(valley, share):
    level = floor_level(valley, INNER, share)
    under = (level - 4 > valley.height_m)[INNER]
    assert under.mean() == pytest.approx(share, rel=0.3)


def test_ground_without_a_river_has_no_floor():
    height = fill_depressions(np.mgrid[:40, :40][0].astype(np.float32))
    receiver = steepest_receivers(height)
    order = downstream_order(receiver)
    network = Network(height, drained_area(receiver, order, CELL_M**2), receiver, order)
    everything = (slice(0, 40), slice(0, 40))
    level = floor_level(network, everything, 0.05)
    assert np.isneginf(level).all()
    assert trace_courses(network, everything, level_m=level, affine=AFFINE) == []


def test_beds_are_cut_as_wide_as_the_river_and_nowhere_else(valley):
    level = floor_level(valley, INNER, 0.05)
    courses = trace_courses(valley, INNER, level_m=level, affine=AFFINE)[:1]
    fine = Affine(2.0, 0, 1000.0, 0, -2.0, 9000.0)
    ground = np.full((3000, 2250), 900, dtype=np.float32)
    cut_beds(ground, courses, fine)
    across = (ground[1500] < 900).sum() * 2.0
    assert across == pytest.approx(courses[0].river.width_m, abs=4.0)
    at = np.argmin(np.abs(courses[0].xy_m[:, 1] - (9000 - 1500.5 * 2)))
    assert ground[1500].min() == pytest.approx(courses[0].level_m[at] - 0.9, abs=0.5)
