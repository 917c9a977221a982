"""Every factor of landslides changes their probability, each in its own direction."""

from dataclasses import replace

import numpy as np
import pytest

from coslide.indices.derivatives import slope_aspect_curvature
from coslide.simulate import hazard
from coslide.simulate.frame import CELL_M, Frame
from coslide.simulate.hazard import failure_probability, ridge_gain, strength, wetness
from coslide.simulate.land import Terrain
from coslide.simulate.recipe import Recipe

FRAME = Frame(tile_cells=60, margin_cells=30)
SIDE = FRAME.cells
RECIPE = Recipe(seed=4)


def terrain_of(height_m):
    shape = slope_aspect_curvature(height_m, CELL_M)
    slope, aspect, curvature = (np.nan_to_num(np.pad(part[1:-1, 1:-1], 1, mode="edge")) for part in shape)
    return Terrain(
        FRAME,
        np.asarray(height_m, dtype=np.float32),
        slope,
        aspect,
        curvature,
        np.arange(SIDE * SIDE, dtype=np.int32).reshape(SIDE, SIDE),
        np.full((SIDE, SIDE), 800.0, dtype=np.float32),
        slope < 5,
        (),
    )


def plane(slope_deg, aspect_deg=0.0):
    row, column = np.mgrid[:SIDE, :SIDE] * CELL_M
    away = column * np.sin(np.radians(aspect_deg)) - row * np.cos(np.radians(aspect_deg))
    return terrain_of(2200 - np.tan(np.radians(slope_deg)) * away)


def chance(terrain, *, unit=5, pga_g=0.35, rain_mm=60.0, fault_m=2000.0, recipe=RECIPE, scale=1.0):
    fields = {"pga_g": pga_g, "rain_mm": rain_mm, "fault_m": fault_m}
    full = {name: np.full((SIDE, SIDE), value, dtype=np.float32) for name, value in fields.items()}
    return failure_probability(recipe, terrain, strata=np.full((SIDE, SIDE), unit, np.uint8), scale=scale, **full)


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
    column = np.broadcast_to(np.arange(SIDE) * CELL_M, (SIDE, SIDE))
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
    # Near the border the smoothed ground bends, for lack of ground beyond.
    np.testing.assert_allclose(ridge_gain(BASE.height_m)[40:-40, 40:-40], 1, atol=1e-3)


def test_level_ground_does_not_fail():
    assert chance(plane(3), pga_g=0.8, rain_mm=300.0).max() < 0.02


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


def test_strips_of_rows_do_not_show(monkeypatch):
    whole = chance(BASE)
    monkeypatch.setattr(hazard, "_STRIP_ROWS", 7)
    np.testing.assert_array_equal(chance(BASE), whole)


def test_strength_is_found_so_that_the_share_that_slides_can_fail():
    for share in (0.01, 0.05):
        found = chance(BASE, recipe=Recipe(seed=4, landslide_share=share), scale=None)
        np.testing.assert_allclose(found.mean(), 2 * share, rtol=0.1)  # from every 64th cell


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
