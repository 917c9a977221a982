"""Land cover: belts and rock by nature, a valley with people, openings, and the landslides of the later date."""

import dataclasses

import numpy as np
import pytest
import shapely
from shapely import union_all
from shapely.geometry import box

from coslide.simulate.changes import make_covers
from coslide.simulate.frame import FINE_M, Frame
from coslide.simulate.landcover import (
    PLANTS,
    Cover,
    build_villages,
    divide_fields,
    doubled,
    lay_roads,
    natural_cover,
    open_slopes,
    river_banks,
    river_water,
)
from coslide.simulate.recipe import Recipe
from coslide.simulate.terrain import make_terrain

RECIPE = Recipe(size_km=5, seed=3, relief_m=900)


@pytest.fixture(scope="module")
def terrain(valleys):
    return valleys[1]


@pytest.fixture(scope="module")
def strata(terrain):
    rows = np.arange(terrain.height_m.shape[0])[:, None] * 8 // terrain.height_m.shape[0]
    return np.broadcast_to(rows + 1, terrain.height_m.shape).astype(np.uint8)


@pytest.fixture(scope="module")
def natural(terrain, strata):
    return natural_cover(RECIPE, terrain, strata, [])


@pytest.fixture(scope="module")
def slides(terrain):
    left, bottom, right, top = terrain.frame.scene.boundingbox.bbox
    random = np.random.default_rng(0)
    corners = random.uniform((left, bottom), (right - 60, top - 90), (150, 2))
    return [box(x, y, x + 55, y + 85) for x, y in corners]


@pytest.fixture(scope="module")
def covers(terrain, strata, slides):
    return make_covers(RECIPE, terrain, strata=strata, slides=slides, scars=[])


def test_the_belts_follow_each_other_uphill(covers, terrain):
    kinds = (Cover.BROADLEAF, Cover.CONIFER, Cover.SHRUB)
    heights = [doubled(terrain.height_m)[covers.pre == kind].mean() for kind in kinds]
    assert heights == sorted(heights)


def test_rock_stands_out_where_it_is_steep_and_as_much_as_asked(terrain, natural):
    rock = (natural == Cover.OUTCROP)[doubled(~terrain.valley_floor)]
    assert rock.mean() == pytest.approx(0.6 * RECIPE.hardness.bare_share, rel=0.1)
    slope = doubled(terrain.slope_deg)
    assert slope[natural == Cover.OUTCROP].mean() > slope.mean() + 3


def test_rivers_are_water_from_end_to_end(terrain, natural, inside):
    wide = [river.line.buffer(river.width_m / 2 - FINE_M) for river in terrain.rivers if river.width_m > 12]
    assert (natural[inside(wide, terrain)] == Cover.WATER).all()


def test_old_scars_are_bare_at_both_dates_unless_they_slide(terrain, strata, inside):
    scar = terrain.frame.scene_box.centroid.buffer(60)
    covers = make_covers(RECIPE, terrain, strata=strata, slides=[], scars=[scar])
    there = inside([scar], terrain)
    steady = covers.pre[there] == Cover.OLD_SCAR
    assert steady.mean() > 0.3  # what is no river, road, field or village
    assert (covers.post[there][steady] == Cover.OLD_SCAR).mean() > 0.9  # snow may lie on the rest


def test_roads_are_9_m_wide_and_stay_out_of_the_rivers(terrain):
    roads = lay_roads(terrain)
    assert roads
    for road in roads:
        assert road.area / (road.length / 2) == pytest.approx(9, rel=0.05)
    water = union_all(river_water(terrain)[:1])
    assert union_all(roads[:1]).intersection(water).area < 0.01 * roads[0].area


def test_villages_stand_on_dry_valley_floor(terrain):
    rivers = river_water(terrain)
    roofs = build_villages(RECIPE, terrain, rivers)
    assert len(roofs) > 5
    assert not union_all(roofs).intersects(union_all(rivers))
    assert terrain.valley_floor[terrain.frame.pixels_at(shapely.get_coordinates(shapely.centroid(roofs)))].all()
    sides = np.sort([[*np.hypot(*np.diff(roof.exterior.coords, axis=0).T)[:2]] for roof in roofs])
    assert (sides.min() > 7.9, sides.max() < 26.1) == (True, True)


def test_fields_are_parcels_of_the_valley_floor(terrain):
    parcel = divide_fields(RECIPE, terrain)
    farmed = parcel >= 0
    assert terrain.valley_floor[farmed].all()
    sizes = np.bincount(parcel[farmed])
    assert (sizes > 0).all()
    assert 5 < np.median(sizes[sizes > 3]) < 80  # pixels of 100 m2; a whole parcel has about 66


def test_where_no_valley_floor_is_there_is_neither_village_nor_field(terrain):
    steep = dataclasses.replace(terrain, valley_floor=np.zeros_like(terrain.valley_floor), rivers=())
    assert len(build_villages(RECIPE, steep, [])) == 0
    assert divide_fields(RECIPE, steep).max() == -1
    assert lay_roads(steep) == []
    covers = make_covers(RECIPE, steep, strata=np.ones_like(steep.valley_floor, dtype=np.uint8), slides=[], scars=[])
    assert covers.shares["fields"] == 0


def test_a_landslide_is_debris_or_plants_that_survived_and_debris_lies_nowhere_else(covers, slides, terrain, inside):
    slid = inside(slides, terrain)
    survived = covers.post[slid] != Cover.DEBRIS
    assert (covers.post[slid][survived] == covers.pre[slid][survived]).all()
    assert np.isin(covers.pre[slid][survived], PLANTS).all()
    planted = np.isin(covers.pre[slid], PLANTS)
    assert survived[planted].mean() == pytest.approx(RECIPE.hardness.surviving_plants, abs=0.03)
    assert not (covers.post[~slid] == Cover.DEBRIS).any()
    assert not (covers.pre == Cover.DEBRIS).any()


def test_harvest_changes_the_share_of_the_crops_that_was_asked(terrain, strata):
    changed = []
    for seed in range(4):  # a scene has few parcels
        recipe = RECIPE.model_copy(update={"seed": seed})
        covers = make_covers(recipe, terrain, strata=strata, slides=[], scars=[])
        crop = (covers.pre == Cover.CROP) & np.isin(covers.post, (Cover.CROP, Cover.STUBBLE, Cover.SOIL))
        changed += [(covers.post[crop] != Cover.CROP).mean()]
    assert np.mean(changed) == pytest.approx(RECIPE.hardness.harvested_share, abs=0.12)


def test_snow_lies_only_near_the_summits(covers, terrain):
    height = doubled(terrain.height_m)
    summit = terrain.height_m[terrain.frame.inner].max()
    snow = height[covers.post == Cover.SNOW]
    assert snow.size
    reach = (RECIPE.hardness.snow_m + 300) * RECIPE.relief_m / 1600  # 90 m for the side and four deviations of 50 m
    assert snow.min() > summit - reach
    assert not (covers.pre == Cover.SNOW).any()


def test_nothing_but_the_named_changes_tells_the_dates_apart(covers):
    allowed = {Cover.CROP, Cover.STUBBLE, Cover.SOIL, Cover.WATER, Cover.GRAVEL, Cover.SNOW, Cover.DEBRIS, Cover.CUT}
    assert set(np.unique(covers.post[covers.pre != covers.post])) <= {int(kind) for kind in allowed}


def test_openings_lie_on_hillsides_that_carried_plants(covers, terrain):
    cut = covers.post == Cover.CUT
    assert cut.any()
    assert np.isin(covers.pre[cut], PLANTS).all()
    outlines = open_slopes(RECIPE, terrain)
    assert len(outlines) == round(RECIPE.hardness.openings_per_km2 * (terrain.frame.side_px / 100) ** 2)
    slope = terrain.slope_deg[_middles(outlines, terrain)]
    assert slope.min() > 3
    assert slope.max() < 35


def _middles(outlines, terrain):
    return terrain.frame.pixels_at(shapely.get_coordinates(shapely.centroid(outlines)))


def test_cuttings_lie_along_contours(terrain):
    outlines = open_slopes(RECIPE, terrain)
    cuttings = outlines[: round(0.35 * len(outlines))]
    downhill = np.radians(terrain.aspect_deg[_middles(cuttings, terrain)])
    corners = shapely.get_coordinates(cuttings).reshape(-1, 5, 2)
    sides = np.diff(corners[:, :3], axis=1)
    length = np.hypot(*np.moveaxis(sides, -1, 0))
    longest = sides[np.arange(len(sides)), length.argmax(axis=1)]
    turns = np.abs(longest[:, 0] * np.sin(downhill) + longest[:, 1] * np.cos(downhill)) / length.max(axis=1)
    assert np.median(turns) < np.sin(np.radians(10))


def test_easy_events_change_less(terrain, strata, covers):
    easy = make_covers(RECIPE.model_copy(update={"difficulty": "easy"}), terrain, strata=strata, slides=[], scars=[])
    for name in ("openings", "snow"):
        assert easy.shares[name] < covers.shares[name]


def test_the_same_recipe_gives_the_same_covers(terrain, strata, slides, covers):
    again = make_covers(RECIPE, terrain, strata=strata, slides=slides, scars=[])
    np.testing.assert_array_equal(again.pre, covers.pre)
    np.testing.assert_array_equal(again.post, covers.post)


# --- Roads ---


@pytest.fixture(scope="module", params=[0, 3])
def valley(request, terrain):
    return terrain if request.param == 3 else make_terrain(Recipe(size_km=5, relief_m=900), Frame(504, 60))


def test_roads_keep_to_gentle_terrain(valley):
    random = np.random.default_rng(0)
    for road in lay_roads(valley):
        left, bottom, right, top = road.bounds
        points = random.uniform((left, bottom), (right, top), (200_000, 2))
        slope = valley.slope_deg[valley.frame.pixels_at(points[shapely.contains_xy(road, *points.T)])]
        assert slope.size > 30
        assert slope.mean() < 15


def test_roads_run_beside_the_gravel_of_their_river(valley):
    roads = lay_roads(valley)
    assert roads
    rivers = sorted(valley.rivers, key=lambda river: -river.line.length)[:2]
    for road in roads:
        gaps = [road.distance(river.line) - (1.2 * river.width_m + 6 - 4.5) for river in rivers]
        assert min(gaps, key=abs) == pytest.approx(0, abs=3)
    banks = union_all(river_banks(valley))
    assert union_all(roads).intersection(banks).area < 0.1 * sum(road.area for road in roads)


def test_on_slopes_everywhere_there_is_no_road(valley):
    steep = dataclasses.replace(valley, slope_deg=np.full_like(valley.slope_deg, 30))
    assert lay_roads(steep) == []
