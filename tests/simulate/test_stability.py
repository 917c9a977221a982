"""Newmark displacement against closed forms and another regression; every cause changes the chance its own way."""

from dataclasses import replace

import numpy as np
import pytest

from coslide.simulate.frame import PIXEL_M, Frame, terrain_of
from coslide.simulate.recipe import Recipe
from coslide.simulate.stability import (
    ROCK_KN_PER_M3,
    Causes,
    critical_acceleration_g,
    displacement_cm,
    factor_of_safety,
    failing_share,
    failure_probability,
    ridge_gain,
    strength,
    wetness,
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


def test_a_slope_that_is_shaken_less_than_critically_stays():
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


def test_level_terrain_does_not_slide():
    safety = factor_of_safety(0.0, cohesion_kpa=0.0, friction_deg=25.0, depth_m=2.0, wetness=0.5)
    assert failing_share(displacement_cm(critical_acceleration_g(safety, 0.0), 0.6)) < 0.02


# --- Probability of failure ---

FRAME = Frame(scene_px=60, margin_px=30)
SIDE = FRAME.side_px
RECIPE = Recipe(seed=4)


def plane(slope_deg, aspect_deg=0.0):
    row, column = np.mgrid[:SIDE, :SIDE] * PIXEL_M
    away = column * np.sin(np.radians(aspect_deg)) - row * np.cos(np.radians(aspect_deg))
    return terrain_of(FRAME, 2200 - np.tan(np.radians(slope_deg)) * away, drained_m2=800.0)


def chance(terrain, *, unit=5, pga_g=0.35, rain_mm=60.0, fault_m=2000.0, recipe=RECIPE, scale=1.0):
    fields = {"pga_g": pga_g, "rain_mm": rain_mm, "fault_m": fault_m}
    full = {name: np.full((SIDE, SIDE), value, dtype=np.float32) for name, value in fields.items()}
    return failure_probability(recipe, terrain, Causes(np.full((SIDE, SIDE), unit, np.uint8), **full), scale=scale)


BASE = plane(36)


def higher(terrain, by_m):
    return replace(terrain, height_m=terrain.height_m + np.float32(by_m))


def facing(aspect_deg):
    return replace(BASE, aspect_deg=np.full((SIDE, SIDE), aspect_deg, np.float32))


CHANGES = {
    "a steeper slope": lambda: chance(replace(BASE, slope_deg=BASE.slope_deg + 4)),
    "a weaker stratum": lambda: chance(BASE, unit=8),
    "stronger shaking": lambda: chance(BASE, pga_g=0.45),
    "more rain": lambda: chance(BASE, rain_mm=120.0),
    "more water from above": lambda: chance(replace(BASE, drained_m2=BASE.drained_m2 * 2)),
    "a nearer fault": lambda: chance(BASE, fault_m=500.0),
    "a higher place": lambda: chance(higher(BASE, 500)),
    "a warmer side": lambda: chance(facing(225.0)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_makes_failure_more_likely(change):
    before = chance(facing(45.0)) if change == "a warmer side" else chance(BASE)
    after = CHANGES[change]()
    assert (after >= before).all()
    assert after.mean() > 1.05 * before.mean()


def test_no_factor_decides_alone():
    before = chance(BASE).mean()
    for change in ("a weaker stratum", "stronger shaking", "more rain", "a nearer fault", "a higher place"):
        assert CHANGES[change]().mean() < 4 * before


def test_ridges_fail_more_than_valleys_of_the_same_slope():
    column = np.broadcast_to(np.arange(SIDE) * PIXEL_M, (SIDE, SIDE))
    wave = 60 * np.cos(2 * np.pi * column / 600.0)  # ridges at 0, 600 and 1200 m
    ridge, valley = np.s_[40:-40, 60], np.s_[40:-40, 30]
    gain = ridge_gain(wave.astype(np.float32))
    assert (gain[ridge] > 1.1).all()
    assert (gain[valley] < 0.9).all()
    for place, better in ((ridge, True), (valley, False)):
        curved = chance(replace(BASE, height_m=(2200 + wave).astype(np.float32)))
        level = chance(replace(BASE, height_m=np.full((SIDE, SIDE), 2200 + wave[place][0], np.float32)))
        assert (curved[place].mean() > level[place].mean()) == better


def test_a_plane_neither_adds_to_the_shaking_nor_takes_from_it():
    # Near the border the smoothed terrain bends, for lack of terrain beyond.
    np.testing.assert_allclose(ridge_gain(BASE.height_m)[40:-40, 40:-40], 1, atol=1e-3)


def test_level_terrain_does_not_fail():
    assert chance(plane(1), pga_g=0.75, rain_mm=170.0).max() < 0.02


def test_without_shaking_nothing_fails():
    assert chance(plane(50), pga_g=0.0).max() == 0


def test_what_stood_before_the_earthquake_needs_some_shaking():
    assert chance(plane(60), unit=8, pga_g=0.02).max() < 0.1


def test_places_that_look_the_same_differ_in_what_cannot_be_seen():
    probability = chance(BASE)
    assert probability.std() > 0.3 * probability.mean()
    east = np.corrcoef(probability[:, :-2].ravel(), probability[:, 2:].ravel())[0, 1]
    assert 0.8 < east < 1
    assert not np.array_equal(probability, chance(BASE, recipe=Recipe(seed=5)))


def test_the_same_recipe_gives_the_same_probabilities():
    np.testing.assert_array_equal(chance(BASE), chance(BASE))


def test_strength_is_found_so_that_the_share_that_slides_can_fail():
    for share in (0.01, 0.05):
        found = chance(BASE, recipe=Recipe(seed=4, landslide_share=share), scale=None)
        np.testing.assert_allclose(found.mean(), 2 * share, rtol=0.1)  # from every 16th pixel


def test_more_strength_fails_less():
    assert (chance(BASE, scale=1.1) <= chance(BASE)).all()


def test_rock_loses_strength_with_height_beyond_its_roots():
    unit = np.uint8(3)
    bare = [strength(unit, height_m=height, aspect_deg=0.0, fault_m=1e6).cohesion_kpa for height in (3600, 4600)]
    np.testing.assert_allclose(bare, [26 * 0.79, 26 * 0.69], rtol=1e-5)


def test_roots_hold_less_higher_up_and_on_the_warm_side():
    def held(height_m, aspect_deg):
        rock = strength(np.uint8(3), height_m=3600.0, aspect_deg=0.0, fault_m=1e6).cohesion_kpa / 0.79
        frozen = 1 - 1e-4 * (height_m - 1500)
        found = strength(np.uint8(3), height_m=height_m, aspect_deg=aspect_deg, fault_m=1e6).cohesion_kpa
        return found - rock * frozen

    roots = [held(1500.0, 45.0), held(2550.0, 45.0), held(1500.0, 225.0), held(1500.0, 135.0)]
    np.testing.assert_allclose(roots, [6, 3, 1.8, 3.9], atol=1e-4)


def test_near_the_fault_rock_loses_cohesion_and_friction():
    far, core = (strength(np.uint8(3), height_m=3600.0, aspect_deg=0.0, fault_m=away) for away in (1e7, 0.0))
    np.testing.assert_allclose(core.cohesion_kpa / far.cohesion_kpa, 0.65, rtol=1e-5)
    ratio = np.tan(np.radians(core.friction_deg)) / np.tan(np.radians(far.friction_deg))
    np.testing.assert_allclose(ratio, 0.65, rtol=1e-5)


def test_strata_differ_in_strength_by_less_than_a_factor_of_two():
    held = strength(np.arange(1, 9, dtype=np.uint8), height_m=2000.0, aspect_deg=0.0, fault_m=1e6)
    assert held.cohesion_kpa.max() < 2 * held.cohesion_kpa.min()
    assert len(set(held.cohesion_kpa.tolist())) == 8
    assert held.friction_deg.argmin() == held.cohesion_kpa.argmin() == 7


def test_wetness_is_the_flow_over_what_the_cover_carries_and_never_over_one():
    drained = np.array([400.0, 4000.0, 4e6], dtype=np.float32)
    found = wetness(30.0, drained, 50.0)
    np.testing.assert_allclose(found, np.minimum(0.005 * drained / 10 / (4.0 * 0.5), 1), rtol=1e-6)
    assert found[-1] == 1
