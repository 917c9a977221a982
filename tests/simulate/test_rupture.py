"""The rupture of a simulated earthquake: its size, where it lies, and distances to it."""

import numpy as np
import pytest
import shapely

from coslide.simulate.frame import Frame, centres_m
from coslide.simulate.recipe import Recipe
from coslide.simulate.rupture import make_rupture, rupture_size_km

FRAME = Frame(300)
SEEDS = range(12)


def points_around(rupture, count=400):
    """Return x and y of points within 25 km of the middle, half of them within 3 km of the trace."""
    random = np.random.default_rng(5)
    far = np.asarray(rupture.middle_m) + random.uniform(-25_000, 25_000, (count // 2, 2))
    near = shapely.get_coordinates(rupture.trace.interpolate(random.uniform(0, 1, count // 2), normalized=True))
    return np.concatenate([far, near + random.uniform(-3000, 3000, near.shape)]).T


@pytest.mark.parametrize("seed", SEEDS)
def test_the_joyner_boore_distance_is_that_of_shapely_to_the_projection(seed):
    rupture = make_rupture(Recipe(seed=seed), FRAME)
    x, y = points_around(rupture)
    expected = shapely.distance(rupture.projection, shapely.points(x, y)) / 1000
    np.testing.assert_allclose(rupture.distance_km(x, y), expected, atol=1e-5)
    assert 0 < (expected == 0).mean() < 0.5


@pytest.mark.parametrize("seed", SEEDS)
def test_the_distance_to_the_trace_is_that_of_shapely(seed):
    rupture = make_rupture(Recipe(seed=seed), FRAME)
    x, y = points_around(rupture)
    expected = shapely.distance(rupture.trace, shapely.points(x, y)) / 1000
    np.testing.assert_allclose(rupture.trace_distance_km(x, y), expected, atol=1e-5)


def test_distances_broadcast_eastings_against_northings():
    rupture = make_rupture(Recipe(seed=1), FRAME)
    x, y = centres_m(FRAME.ground)
    whole = rupture.distance_km(x[None, ::50], y[::50, None])
    assert whole.shape == (len(y[::50]), len(x[::50]))
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(whole[3], rupture.distance_km(x[::50], y[150]))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_hanging_wall_lies_to_the_right_of_strike_above_the_rupture(seed):
    rupture = make_rupture(Recipe(seed=seed), FRAME)
    assert (rupture.side(*np.asarray(rupture.projection.exterior.coords).T) > 0).all()
    right = np.radians(rupture.strike_deg + 90)
    x, y = rupture.middle_m
    assert rupture.side(x + 3000 * np.sin(right), y + 3000 * np.cos(right)) > 0


@pytest.mark.parametrize("seed", SEEDS)
def test_the_side_is_nought_on_the_trace_and_no_less_than_the_distance_beside_it(seed):
    rupture = make_rupture(Recipe(seed=seed), FRAME)
    line = rupture.trace
    np.testing.assert_allclose(rupture.side(*np.asarray(line.coords).T), 0, atol=1e-6)
    x, y = points_around(rupture)
    near = rupture.trace_distance_km(x, y) * 1000
    beside = np.abs(rupture._along_across(x, y)[0]) < 450 * rupture.length_km
    side = np.abs(rupture.side(x, y))[beside]
    assert (side > near[beside] - 30).all()  # the trace is drawn with straight pieces
    assert (side < 1.25 * near[beside] + 30).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_hypocentre_lies_on_the_fault_plane(seed):
    rupture = make_rupture(Recipe(seed=seed), FRAME)
    across = rupture._along_across(*rupture.hypocentre_m)[1]  # bends aside
    depth = across / 1000 * np.tan(np.radians(rupture.dip_deg))
    assert depth == pytest.approx(rupture.hypocentre_km)
    assert 2 < depth < 14


def test_sizes_are_those_that_wells_and_coppersmith_tell_for_a_magnitude():
    """Their equations turned about: M = 4.49 + 1.49 log10(RLD) for reverse faults, 4.33 + 1.49 for strike-slip."""
    for magnitude in (6.3, 6.5, 6.8):
        reverse, slip = rupture_size_km(magnitude, "reverse"), rupture_size_km(magnitude, "strike-slip")
        assert 4.49 + 1.49 * np.log10(reverse[0]) == pytest.approx(magnitude, abs=0.12)
        assert 4.33 + 1.49 * np.log10(slip[0]) == pytest.approx(magnitude, abs=0.12)
        assert 4.37 + 1.95 * np.log10(reverse[1]) == pytest.approx(magnitude, abs=0.2)
        assert 3.80 + 2.59 * np.log10(slip[1]) == pytest.approx(magnitude, abs=0.5)


@pytest.mark.parametrize("seed", SEEDS)
def test_all_classes_of_fault_distance_occur_on_a_tile_of_12_km(seed):
    frame = Frame(1200)
    rupture = make_rupture(Recipe(seed=seed), frame)
    x, y = centres_m(frame.tile)
    distance = rupture.trace_distance_km(x[None, ::30], y[::30, None])
    classes = np.bincount(np.digitize(distance, [1, 2, 3, 4, 5, 6]).ravel(), minlength=7)
    assert (classes > 0.01 * classes.sum()).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_trace_passes_a_large_tile_near_its_middle_too(seed):
    frame = Frame(4500)
    box = frame.tile.boundingbox
    rupture = make_rupture(Recipe(seed=seed), frame)
    middle = (box.left + box.right) / 2, (box.bottom + box.top) / 2
    assert rupture.trace_distance_km(*middle) < 4 + 1.5  # bends


def test_the_same_seed_is_the_same_rupture_and_another_is_not():
    assert make_rupture(Recipe(seed=4), FRAME) == make_rupture(Recipe(seed=4), FRAME)
    assert make_rupture(Recipe(seed=4), FRAME) != make_rupture(Recipe(seed=5), FRAME)


def test_both_styles_occur():
    assert {make_rupture(Recipe(seed=seed), FRAME).style for seed in SEEDS} == {"reverse", "strike-slip"}
