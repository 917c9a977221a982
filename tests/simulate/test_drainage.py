"""Routing against another library and slow copies of the definitions; rivers on terrain of given shape."""

import numpy as np
import pytest
from affine import Affine
from skimage.morphology import reconstruction

from coslide.simulate.drainage import (
    DIAGONAL,
    RIVER_M2,
    cut_beds,
    drain,
    floor_level,
    river_width_m,
    trace_courses,
)
from coslide.simulate.fields import rough_field

PIXEL_M = 30.0
AFFINE = Affine(PIXEL_M, 0, 1000.0, 0, -PIXEL_M, 9000.0)
INNER = (slice(5, 195), slice(5, 145))


@pytest.fixture(scope="module")
def hollows():
    """Rough terrain with many depressions, some of them large."""
    height = 1500 + 40 * rough_field(np.random.default_rng(4), (90, 70), 10.0, range_m=400.0, hurst=0.5)
    height[30:50, 20:40] -= 60
    height[60:66, 50:60] = 1480.0
    return height.astype(np.float32)


@pytest.fixture(scope="module")
def flow(hollows):
    return drain(hollows)


def _moves(flow):
    return flow.receiver != np.arange(flow.receiver.size)


def test_filled_terrain_is_that_of_morphological_reconstruction(hollows, flow):
    """By erosion from a surface that is as high as the terrain at the rim and higher than all within."""
    seed = np.full(hollows.shape, hollows.max())
    seed[[0, -1], :], seed[:, [0, -1]] = hollows[[0, -1], :], hollows[:, [0, -1]]
    expected = reconstruction(seed, hollows, method="erosion")
    assert (expected > hollows).mean() > 0.1
    np.testing.assert_allclose(flow.height_m, expected, rtol=1e-6)


def test_flow_never_climbs_and_leaves_at_the_rim_alone(flow):
    height = flow.height_m.ravel()
    assert (height[flow.receiver] <= height).all()
    assert _moves(flow).reshape(flow.height_m.shape)[1:-1, 1:-1].all()


def test_without_depressions_nothing_is_filled(flow):
    np.testing.assert_array_equal(drain(flow.height_m).height_m, flow.height_m)


def test_flow_leaves_at_the_outlet_alone(hollows):
    outlet = np.zeros(hollows.shape, dtype=bool)
    outlet[44, 0] = True
    flow = drain(hollows, outlet)
    area = flow.upstream_area_m2(1.0)
    assert area[44, 0] == hollows.size
    assert flow.height_m[44, 0] == hollows[44, 0]


@pytest.mark.parametrize("corner", [DIAGONAL, 0.5, 1.0])
def test_flow_takes_the_steepest_fall_where_there_is_one(hollows, corner):
    """A slow search over the neighbours; any of equally steep ones is right."""
    flow = drain(hollows, corner=corner)
    filled, receiver = flow.height_m, flow.receiver.reshape(hollows.shape)
    for i in range(0, 90, 3):
        for j in range(0, 70, 2):
            falls = {i * 70 + j: np.float32(0)}
            for a in range(max(i - 1, 0), min(i + 2, 90)):
                for b in range(max(j - 1, 0), min(j + 2, 70)):
                    fall = filled[i, j] - filled[a, b]
                    falls[a * 70 + b] = fall * np.float32(corner) if a != i and b != j else fall
            assert falls[receiver[i, j]] == max(falls.values())


def test_the_order_goes_upstream(flow):
    order = flow.network.idxs_seq
    np.testing.assert_array_equal(np.sort(order), np.arange(order.size))
    place = np.empty(order.size, dtype=int)
    place[order] = np.arange(order.size)
    moves = _moves(flow)
    assert (place[flow.receiver[moves]] < place[moves]).all()


def test_upstream_area_is_that_of_walking_down_from_each_pixel(flow):
    source = np.random.default_rng(1).uniform(50, 150, flow.height_m.shape)
    expected = np.zeros(source.size)
    for start in range(source.size):
        pixel = start
        expected[pixel] += source.flat[start]
        while flow.receiver[pixel] != pixel:
            pixel = flow.receiver[pixel]
            expected[pixel] += source.flat[start]
    area = flow.upstream_area_m2(source)
    np.testing.assert_allclose(area.ravel(), expected, rtol=1e-6)
    assert area.ravel()[~_moves(flow)].sum() == pytest.approx(source.sum(), rel=1e-6)


# --- Rivers ---


def _axis(row):
    return 60 + 4 * np.sin(row / 9)


@pytest.fixture(scope="module")
def valley():
    """A winding valley about column 60 that falls to the south, with a side valley along row 100 from the east."""
    row, column = np.mgrid[:200, :150].astype(np.float32)
    axis = _axis(row)
    main = 9 * np.abs(column - axis) + 1.0 * (200 - row)
    side = 9 * np.abs(row - 100) + 3.0 * (column - axis) + 101
    flow = drain(np.where(column > axis, np.minimum(main, side), main))
    return flow, flow.upstream_area_m2(PIXEL_M**2)


@pytest.fixture(scope="module")
def courses(valley):
    return trace_courses(*valley, INNER, level_m=floor_level(*valley, INNER, 0.05), affine=AFFINE)


def test_rivers_grow_with_the_square_root_of_what_they_drain():
    np.testing.assert_allclose(river_width_m(np.array([9e6, 36e6, 1e4, 1e12])), [9, 18, 6, 50])


def test_courses_follow_the_valleys_and_join(courses):
    main, side = courses
    x, y = np.asarray(main.river.line.coords).T
    np.testing.assert_allclose(x, 1000 + (_axis((9000 - y) / PIXEL_M - 0.5) + 0.5) * PIXEL_M, atol=2 * PIXEL_M)
    assert y[0] > y[-1]
    x, y = np.asarray(side.river.line.coords).T
    np.testing.assert_allclose(y, 9000 - 100.5 * PIXEL_M, atol=PIXEL_M)
    assert x[0] > x[-1]
    np.testing.assert_allclose(np.hypot(*(main.xy_m - side.xy_m[-1]).T).min(), 0, atol=1e-6)


def test_a_large_river_dams_the_small_one_that_joins_it(valley):
    flow, area = valley
    level = floor_level(flow, area, INNER, 0.08)
    river = area >= RIVER_M2
    below = level.ravel()[flow.receiver].reshape(level.shape)
    assert (level[river] >= below[river]).all()
    assert (level[river] > flow.height_m[river]).mean() > 0.8


def test_the_level_of_a_course_never_rises(courses):
    for course in courses:
        assert (np.diff(course.level_m) <= 1e-9).all()
        np.testing.assert_allclose(np.hypot(*np.diff(course.xy_m, axis=0).T), 5.0, rtol=0.3)


@pytest.mark.parametrize("share", [0.02, 0.08])
def test_floors_take_the_share_of_the_area_that_was_asked_for(valley, share):
    under = (floor_level(*valley, INNER, share) - 4 > valley[0].height_m)[INNER]
    assert under.mean() == pytest.approx(share, rel=0.3)


def test_terrain_without_a_river_has_no_floor():
    flow = drain(np.mgrid[:40, :40][0])
    area, everything = flow.upstream_area_m2(PIXEL_M**2), (slice(0, 40), slice(0, 40))
    level = floor_level(flow, area, everything, 0.05)
    assert np.isneginf(level).all()
    assert trace_courses(flow, area, everything, level_m=level, affine=AFFINE) == []


def test_beds_are_cut_as_wide_as_the_river_and_nowhere_else(courses):
    height = np.full((3000, 2250), 900, dtype=np.float32)
    cut_beds(height, courses[:1], Affine(2.0, 0, 1000.0, 0, -2.0, 9000.0))
    across = (height[1500] < 900).sum() * 2.0
    assert across == pytest.approx(courses[0].river.width_m, abs=4.0)
    at = np.argmin(np.abs(courses[0].xy_m[:, 1] - (9000 - 1500.5 * 2)))
    assert height[1500].min() == pytest.approx(courses[0].level_m[at] - 0.9, abs=0.5)
