"""What covers the simulated ground: belts and rock by nature, a valley with people, and what changes in it."""

import dataclasses

import numpy as np
import pytest
from rasterio.features import rasterize
from shapely import union_all
from shapely.geometry import box

from coslide.simulate.built import build_villages, divide_fields, lay_roads
from coslide.simulate.changes import PLANTS, make_covers
from coslide.simulate.covers import Cover
from coslide.simulate.frame import FINE_M, Frame
from coslide.simulate.landcover import natural_cover, river_shapes
from coslide.simulate.openings import open_ground
from coslide.simulate.recipe import Recipe
from coslide.simulate.terrain import make_terrain

RECIPE = Recipe(size_km=5, seed=3, relief_m=900)


@pytest.fixture(scope="module")
def terrain():
    return make_terrain(RECIPE, Frame(504, 60))


@pytest.fixture(scope="module")
def strata(terrain):
    rows = np.arange(terrain.height_m.shape[0])[:, None] * 8 // terrain.height_m.shape[0]
    return np.broadcast_to(rows + 1, terrain.height_m.shape).astype(np.uint8)


@pytest.fixture(scope="module")
def slides(terrain):
    left, bottom, right, top = terrain.frame.tile.boundingbox.bbox
    random = np.random.default_rng(0)
    corners = random.uniform((left, bottom), (right - 60, top - 90), (150, 2))
    return [box(x, y, x + 55, y + 85) for x, y in corners]


@pytest.fixture(scope="module")
def covers(terrain, strata, slides):
    return make_covers(RECIPE, terrain, strata=strata, slides=slides, scars=[])


def _fine(values):
    return np.repeat(np.repeat(values, 2, axis=0), 2, axis=1)


def _inside(shapes, terrain):
    grid = terrain.frame.fine
    return rasterize(shapes, out_shape=grid.shape, transform=grid.affine, dtype=np.uint8) == 1


def _mean_height(cover, kind, terrain):
    return _fine(terrain.height_m)[cover == kind].mean()


def test_the_belts_follow_each_other_uphill(covers, terrain):
    kinds = (Cover.BROADLEAF, Cover.CONIFER, Cover.SHRUB)
    heights = [_mean_height(covers.pre, kind, terrain) for kind in kinds]
    assert heights == sorted(heights)


def test_rock_stands_out_where_it_is_steep_and_as_much_as_asked(terrain, strata):
    cover = natural_cover(RECIPE, terrain, strata, [])
    rock = (cover == Cover.OUTCROP)[_fine(~terrain.valley_floor)]
    assert rock.mean() == pytest.approx(0.6 * RECIPE.hardness.bare_share, rel=0.1)
    slope = _fine(terrain.slope_deg)
    assert slope[cover == Cover.OUTCROP].mean() > slope.mean() + 3


def test_rivers_are_water_from_end_to_end(terrain, strata):
    cover = natural_cover(RECIPE, terrain, strata, [])
    inside = _inside(
        [river.line.buffer(river.width_m / 2 - FINE_M) for river in terrain.rivers if river.width_m > 12], terrain
    )
    assert inside.any()
    assert (cover[inside] == Cover.WATER).all()


def test_old_scars_are_bare_at_both_dates_unless_they_slide(terrain, strata):
    scar = box(*terrain.frame.tile.boundingbox.bbox).centroid.buffer(60)
    covers = make_covers(RECIPE, terrain, strata=strata, slides=[], scars=[scar])
    inside = _inside([scar], terrain)
    steady = covers.pre[inside] == Cover.OLD_SCAR
    assert steady.mean() > 0.3  # what is no river, road, field or village
    assert (covers.post[inside][steady] == Cover.OLD_SCAR).mean() > 0.9  # snow may lie on the rest


def test_roads_are_9_m_wide_and_stay_out_of_the_rivers(terrain):
    roads = lay_roads(terrain)
    assert roads
    for road in roads:
        assert road.area / (road.length / 2) == pytest.approx(9, rel=0.05)
    water = union_all(river_shapes(terrain).water[:1])
    assert union_all(roads[:1]).intersection(water).area < 0.01 * roads[0].area


def test_villages_stand_on_dry_valley_floor(terrain):
    rivers = river_shapes(terrain).water
    roofs = build_villages(RECIPE, terrain, rivers)
    assert len(roofs) > 5
    assert not union_all(roofs).intersects(union_all(rivers))
    assert _fine(terrain.valley_floor)[_inside([roof.centroid.buffer(4) for roof in roofs], terrain)].mean() > 0.9


def test_fields_are_parcels_of_the_valley_floor(terrain):
    fields = divide_fields(RECIPE, terrain)
    farmed = fields.parcel >= 0
    assert terrain.valley_floor[farmed].all()
    assert fields.parcel.max() == fields.parcels - 1
    sizes = np.bincount(fields.parcel[farmed])
    assert 5 < np.median(sizes[sizes > 3]) < 80  # cells of 100 m2; a whole parcel has about 66


def test_where_no_valley_floor_is_there_is_neither_village_nor_field(terrain):
    steep = dataclasses.replace(terrain, valley_floor=np.zeros_like(terrain.valley_floor), rivers=())
    assert build_villages(RECIPE, steep, []) == []
    assert divide_fields(RECIPE, steep).parcels == 0
    assert lay_roads(steep) == []
    covers = make_covers(RECIPE, steep, strata=np.ones_like(steep.valley_floor, dtype=np.uint8), slides=[], scars=[])
    assert covers.shares["fields"] == 0


def test_a_landslide_is_debris_or_the_plants_that_survived(covers, slides, terrain):
    inside = _inside(slides, terrain)
    survived = covers.post[inside] != Cover.DEBRIS
    assert (covers.post[inside][survived] == covers.pre[inside][survived]).all()
    assert np.isin(covers.pre[inside][survived], PLANTS).all()
    planted = np.isin(covers.pre[inside], PLANTS)
    assert survived[planted].mean() == pytest.approx(RECIPE.hardness.surviving_plants, abs=0.03)


def test_debris_lies_nowhere_else(covers, slides, terrain):
    inside = _inside(slides, terrain)
    assert not (covers.post[~inside] == Cover.DEBRIS).any()
    assert not (covers.pre == Cover.DEBRIS).any()


def test_harvest_changes_the_share_of_the_crops_that_was_asked(terrain, strata):
    changed = []
    for seed in range(6):  # a tile has few parcels
        recipe = RECIPE.model_copy(update={"seed": seed})
        covers = make_covers(recipe, terrain, strata=strata, slides=[], scars=[])
        crop = (covers.pre == Cover.CROP) & np.isin(covers.post, (Cover.CROP, Cover.STUBBLE, Cover.SOIL))
        changed += [(covers.post[crop] != Cover.CROP).mean()]
    assert np.mean(changed) == pytest.approx(RECIPE.hardness.harvested_share, abs=0.12)


def test_snow_lies_only_near_the_summits(covers, terrain):
    height = _fine(terrain.height_m)
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
    outlines = open_ground(RECIPE, terrain)
    assert len(outlines) == round(RECIPE.hardness.openings_per_km2 * (terrain.frame.cells / 100) ** 2)
    slope = [_at(terrain.slope_deg, outline, terrain) for outline in outlines]
    assert min(slope) > 3
    assert max(slope) < 35


def test_cuttings_lie_along_contours(terrain):
    outlines = open_ground(RECIPE, terrain)
    cuttings = outlines[: round(0.35 * len(outlines))]
    turns = []
    for outline in cuttings:
        corners = np.array(outline.minimum_rotated_rectangle.exterior.coords)
        sides = np.diff(corners, axis=0)
        longest = sides[np.hypot(*sides.T).argmax()]
        downhill = np.radians(_at(terrain.aspect_deg, outline, terrain))
        turns.append(abs(longest @ [np.sin(downhill), np.cos(downhill)]) / np.hypot(*longest))
    assert np.median(turns) < np.sin(np.radians(10))


def _at(values, shape, terrain):
    column, row = ~terrain.frame.ground.affine * (shape.centroid.x, shape.centroid.y)
    return values[int(row), int(column)]


def test_easy_ground_changes_less(terrain, strata, covers):
    easy = make_covers(RECIPE.model_copy(update={"difficulty": "easy"}), terrain, strata=strata, slides=[], scars=[])
    for name in ("openings", "snow"):
        assert easy.shares[name] < covers.shares[name]


def test_the_same_recipe_gives_the_same_covers(terrain, strata, slides, covers):
    again = make_covers(RECIPE, terrain, strata=strata, slides=slides, scars=[])
    np.testing.assert_array_equal(again.pre, covers.pre)
    np.testing.assert_array_equal(again.post, covers.post)
