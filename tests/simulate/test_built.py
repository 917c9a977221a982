"""Where people build: roads on gentle ground beside rivers."""

import dataclasses

import numpy as np
import pytest
import shapely

from coslide.simulate.built import lay_roads
from coslide.simulate.frame import Frame
from coslide.simulate.landcover import river_shapes
from coslide.simulate.recipe import Recipe
from coslide.simulate.terrain import make_terrain


@pytest.fixture(scope="module", params=[0, 3])
def terrain(request):
    recipe = Recipe(size_km=5, seed=request.param, relief_m=900)
    return make_terrain(recipe, Frame(504, 60))


def test_roads_keep_to_gentle_ground(terrain):
    for road in lay_roads(terrain):
        random = np.random.default_rng(0)
        left, bottom, right, top = road.bounds
        points = random.uniform((left, bottom), (right, top), (200_000, 2))
        points = points[shapely.contains_xy(road, *points.T)]
        columns, rows = np.floor(~terrain.frame.ground.affine * points.T).astype(int)
        last = terrain.frame.cells - 1
        slope = terrain.slope_deg[np.clip(rows, 0, last), np.clip(columns, 0, last)]
        assert slope.size > 30
        assert slope.mean() < 15


def test_roads_run_beside_the_gravel_of_their_river(terrain):
    roads = lay_roads(terrain)
    assert roads
    rivers = sorted(terrain.rivers, key=lambda river: -river.line.length)[:2]
    for road in roads:
        gaps = [road.distance(river.line) - (1.2 * river.width_m + 6 - 4.5) for river in rivers]
        assert min(gaps, key=abs) == pytest.approx(0, abs=3)
    banks = shapely.union_all(river_shapes(terrain).banks)
    assert shapely.union_all(roads).intersection(banks).area < 0.1 * sum(road.area for road in roads)


def test_on_slopes_everywhere_there_is_no_road(terrain):
    steep = dataclasses.replace(terrain, slope_deg=np.full_like(terrain.slope_deg, 30))
    assert lay_roads(steep) == []
