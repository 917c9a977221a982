"""Newmark displacement against closed forms and against another regression."""

import numpy as np
import pytest

from coslide.simulate.newmark import (
    ROCK_KN_PER_M3,
    critical_acceleration_g,
    displacement_cm,
    factor_of_safety,
    failing_share,
)


@pytest.mark.parametrize("angle", [10.0, 25.0, 38.0, 55.0])
def test_dry_sand_stands_at_its_angle_of_friction(angle):
    safety = factor_of_safety(angle, cohesion_kpa=0.0, friction_deg=angle, depth_m=7.0)
    np.testing.assert_allclose(safety, 1, rtol=1e-6)


def test_saturated_sand_loses_the_weight_of_the_water():
    safety = factor_of_safety(20.0, cohesion_kpa=0.0, friction_deg=30.0, depth_m=2.0, wetness=1.0)
    expected = (1 - 9.81 / ROCK_KN_PER_M3) * np.tan(np.radians(30)) / np.tan(np.radians(20))
    np.testing.assert_allclose(safety, expected, rtol=1e-6)


def test_cohesion_alone_holds_a_critical_depth():
    # Force balance of a block without friction: c / sin of slope, per weight of the block above.
    depth_m = 12.0 / (ROCK_KN_PER_M3 * np.sin(np.radians(40)))
    safety = factor_of_safety(40.0, cohesion_kpa=12.0, friction_deg=0.0, depth_m=depth_m)
    np.testing.assert_allclose(safety, 1, rtol=1e-6)


def test_at_the_critical_acceleration_the_forces_on_the_block_balance():
    slope, cohesion, friction, depth_m = np.radians(35.0), 18.0, np.radians(33.0), 2.4
    safety = factor_of_safety(35.0, cohesion_kpa=18.0, friction_deg=33.0, depth_m=depth_m)
    weight = ROCK_KN_PER_M3 * depth_m  # of a column of 1 m2 of slip surface
    driving = weight * (np.sin(slope) + critical_acceleration_g(safety, 35.0))
    np.testing.assert_allclose(driving, cohesion + weight * np.cos(slope) * np.tan(friction), rtol=1e-6)


def test_displacement_is_the_published_regression():
    critical, peak = np.meshgrid([0.05, 0.1, 0.2], [0.25, 0.4, 0.8])
    ratio = critical / peak
    expected = 10 ** (0.215 + np.log10((1 - ratio) ** 2.341 * ratio**-1.438))
    np.testing.assert_allclose(displacement_cm(critical, peak), expected, rtol=1e-5)


def test_displacement_agrees_with_another_regression_within_a_factor_of_five():
    ratio = np.linspace(0.1, 0.9, 17)
    ambraseys_and_menu_1988 = 10 ** (0.90 + np.log10((1 - ratio) ** 2.53 * ratio**-1.09))
    # Theirs is of fewer and stronger records; a wrong sign or logarithm would be off by orders of magnitude.
    quotient = ambraseys_and_menu_1988 / displacement_cm(ratio, 1.0)
    assert quotient.min() > 1
    assert quotient.max() < 5


def test_ground_that_is_shaken_less_than_critically_stays():
    np.testing.assert_array_equal(displacement_cm([0.3, 0.3, 0.0], [0.3, 0.1, 0.0]), 0)
    assert displacement_cm(0.29, 0.3) > 0


def test_a_block_without_any_strength_left_moves_a_finite_way():
    moved = displacement_cm([-0.1, 0.0, 0.004], [0.4, 0.4, 0.4])
    assert np.isfinite(moved).all()
    assert (moved > 1000).all()


def test_the_failing_share_has_the_published_half_and_limit():
    half_cm = (np.log(2) / 0.048) ** (1 / 1.565)
    np.testing.assert_allclose(failing_share([0.0, half_cm, 1e3]), [0, 0.335 / 2, 0.335], rtol=1e-6)


def test_more_displacement_never_fails_less():
    assert (np.diff(failing_share(np.linspace(0, 50, 500))) >= 0).all()


def test_level_ground_does_not_slide():
    safety = factor_of_safety(0.0, cohesion_kpa=0.0, friction_deg=25.0, depth_m=2.0, wetness=0.5)
    assert failing_share(displacement_cm(critical_acceleration_g(safety, 0.0), 0.6)) < 0.02
