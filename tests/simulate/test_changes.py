"""What moves between the dates without a landslide: rivers that stay whole, and openings that leave slides alone."""

import dataclasses

import numpy as np
import pytest
import shapely
from rasterio.features import shapes
from shapely import LineString

from coslide.simulate.changes import make_covers
from coslide.simulate.frame import FINE_M, Frame, River
from coslide.simulate.landcover import Cover, doubled, open_slopes, river_banks
from coslide.simulate.recipe import Recipe
from coslide.simulate.terrain import make_terrain

RECIPE = Recipe(size_km=5, seed=3, relief_m=900)
EASY = RECIPE.model_copy(update={"difficulty": "easy"})  # without snow


@pytest.fixture(scope="module")
def terrain(valleys):
    return valleys[1]


@pytest.fixture(scope="module")
def covers(terrain):
    return make_covers(RECIPE, terrain, strata=_one_stratum(terrain), slides=[], scars=[])


def _one_stratum(terrain):
    return np.ones(terrain.height_m.shape, dtype=np.uint8)


@pytest.mark.slow
def test_in_a_gorge_rivers_move_within_their_gravel_and_stay_whole(terrain):
    x, y = terrain.frame.scene.boundingbox.bbox[:2]
    river = River(LineString([(x + 500, y + 1000), (x + 4500, y + 4000)]), 24.0)
    gorge = dataclasses.replace(
        terrain,
        rivers=(river,),
        valley_floor=np.zeros_like(terrain.valley_floor),
        slope_deg=np.full_like(terrain.slope_deg, 30),  # so that no road bridges it
    )
    covers = make_covers(EASY, gorge, strata=_one_stratum(terrain), slides=[], scars=[])
    assert covers.shares["rivers"] > 0
    water = _outlines(covers.post == Cover.WATER, terrain)
    assert len(water) == 1
    assert water[0].area == pytest.approx(river.line.length * river.width_m, rel=0.1)


@pytest.mark.parametrize("width_m", [8.0, 16.0])
def test_a_river_reaches_the_one_it_joins_after_that_one_moved(terrain, width_m, inside):
    x, y = terrain.frame.scene.boundingbox.bbox[:2]
    main = River(LineString([(x + 500, y + 2500), (x + 4500, y + 2500)]), 40.0)
    side = [River(LineString([(x + at, y + 3500), (x + at, y + 2500)]), width_m) for at in (1000, 2000, 3000, 4000)]
    plain = _floor_around(terrain, (main, *side), 600, inside)
    for seed in range(3):
        recipe = EASY.model_copy(update={"seed": seed})
        covers = make_covers(recipe, plain, strata=_one_stratum(terrain), slides=[], scars=[])
        assert covers.shares["rivers"] > 0
        assert len(_outlines(np.isin(covers.post, (Cover.WATER, Cover.ROAD)), terrain)) == 1


def _floor_around(terrain, rivers, reach_m, inside):
    near = inside([river.line.buffer(reach_m) for river in rivers], terrain)[::2, ::2]
    return dataclasses.replace(terrain, rivers=rivers, valley_floor=near)


def _outlines(mask, terrain):
    found = shapes(mask.astype(np.uint8), mask=mask, connectivity=8, transform=terrain.frame.fine_grid.affine)
    return [shapely.geometry.shape(outline) for outline, _ in found]


@pytest.mark.parametrize("length_m", [12.0, 120.0])
def test_a_short_river_moves_no_further_than_a_long_one(terrain, length_m, inside):
    x, y = terrain.frame.scene.boundingbox.bbox[:2]
    course = LineString([(x + 2000, y + 2000), (x + 2000 + length_m, y + 2000)])
    floored = _floor_around(terrain, (River(course, 20.0),), 1000, inside)
    near = inside([course.buffer(3.5 * 0.8 * 20 + 10 + FINE_M)], terrain)  # 3.5 deviations and half its width
    for seed in range(3):
        recipe = EASY.model_copy(update={"seed": seed})
        moved = make_covers(recipe, floored, strata=_one_stratum(terrain), slides=[], scars=[]).post == Cover.WATER
        assert moved.any()
        assert near[moved].all()


def test_rivers_move_within_the_valley_floor_and_their_beds(covers, terrain, inside):
    moved = (covers.pre != covers.post) & np.isin(covers.post, (Cover.WATER, Cover.GRAVEL))
    bed = inside(river_banks(terrain), terrain)
    assert moved.any()
    assert (doubled(terrain.valley_floor) | bed)[moved].all()
    assert not np.isin(covers.pre[moved], (Cover.ROAD, Cover.ROOF)).any()


def test_narrow_rivers_stay_where_they_are(terrain):
    x, y = terrain.frame.scene.boundingbox.bbox[:2]
    course = LineString([(x + 1000, y + 2000), (x + 3000, y + 2000)])
    for width_m, moves in ((11.0, False), (13.0, True)):
        floored = dataclasses.replace(terrain, rivers=(River(course, width_m),))
        covers = make_covers(RECIPE, floored, strata=_one_stratum(terrain), slides=[], scars=[])
        assert (covers.shares["rivers"] > 0) == moves


def test_an_opening_in_a_landslide_is_part_of_the_landslide(terrain, covers, inside):
    slides = [outline.buffer(15) for outline in open_slopes(RECIPE, terrain)[::2]]
    slid = inside(slides, terrain)
    assert (covers.post[slid] == Cover.CUT).any()
    post = make_covers(RECIPE, terrain, strata=_one_stratum(terrain), slides=slides, scars=[]).post
    assert not np.isin(post[slid], (Cover.CUT, Cover.SNOW)).any()
    np.testing.assert_array_equal(post[~slid], covers.post[~slid])


def test_snow_lies_lower_on_north_slopes():
    recipe = RECIPE.model_copy(update={"difficulty": "hard"})
    terrain = make_terrain(recipe, Frame(300, 60))
    post = make_covers(recipe, terrain, strata=_one_stratum(terrain), slides=[], scars=[]).post
    snow, height = post[::2, ::2] == Cover.SNOW, terrain.height_m
    steep = terrain.slope_deg > 15
    facing = np.cos(np.radians(terrain.aspect_deg))
    north, south = (np.percentile(height[snow & steep & side], 5) for side in (facing > 0.7, facing < -0.7))
    assert north < south - 30
