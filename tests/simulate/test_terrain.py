"""The ground has the relief and the streams that were asked for, and its water runs down to the edge."""

import numpy as np
import pytest

from coslide.indices.derivatives import slope_aspect_curvature
from coslide.simulate.frame import CELL_M, Frame
from coslide.simulate.mountains import channel_head_m2
from coslide.simulate.recipe import Recipe
from coslide.simulate.terrain import make_terrain

RECIPE = Recipe(size_km=3, relief_m=900, drainage_per_km=4, seed=2)
FRAME = Frame(300)


@pytest.fixture(scope="module")
def terrain():
    return make_terrain(RECIPE, FRAME)


def _leaves(terrain):
    return terrain.receiver == np.arange(terrain.receiver.size).reshape(terrain.receiver.shape)


def _cells_along(terrain, line):
    """Return rows and columns under a line, every 5 m."""
    points = np.array([line.interpolate(m).coords[0] for m in np.arange(0, line.length, 5.0)])
    affine = terrain.frame.ground.affine
    columns = ((points[:, 0] - affine.c) / affine.a).astype(int)
    return ((points[:, 1] - affine.f) / affine.e).astype(int), columns


def test_the_tile_spans_the_relief_from_1500_m_up(terrain):
    tile = terrain.height_m[FRAME.inner]
    assert tile.min() == pytest.approx(1500, abs=0.01)
    assert np.ptp(tile) == pytest.approx(RECIPE.relief_m, abs=0.01)


def _stream_km_per_km2(terrain, drainage_per_km):
    """Count on the whole ground: a small tile holds too few streams to tell."""
    step = np.abs(terrain.receiver - np.arange(terrain.receiver.size).reshape(terrain.receiver.shape))
    straight = (step == 1) | (step == terrain.frame.cells)
    length = np.where(step == 0, 0, np.where(straight, CELL_M, CELL_M * np.sqrt(2)))
    stream = terrain.drained_m2 >= channel_head_m2(drainage_per_km)
    return length[stream].sum() / 1000 / (terrain.height_m.size * CELL_M**2 / 1e6)


def test_streams_are_as_long_as_asked(terrain):
    assert _stream_km_per_km2(terrain, RECIPE.drainage_per_km) == pytest.approx(RECIPE.drainage_per_km, rel=0.2)
    coarse = make_terrain(Recipe(size_km=4.8, relief_m=900, drainage_per_km=2), Frame(480))
    assert _stream_km_per_km2(coarse, 2) == pytest.approx(2, rel=0.2)


def test_water_leaves_at_the_edge_alone(terrain):
    inside = np.zeros(terrain.receiver.shape, dtype=bool)
    inside[1:-1, 1:-1] = True
    assert not (_leaves(terrain) & inside).any()


def test_water_never_runs_uphill(terrain):
    moves = ~_leaves(terrain)
    below = terrain.height_m.ravel()[terrain.receiver]
    assert (below[moves] < terrain.height_m[moves]).all()


def test_all_water_that_falls_or_enters_leaves(terrain):
    leaving = terrain.drained_m2[_leaves(terrain)].sum(dtype=float)
    fallen = terrain.height_m.size * CELL_M**2
    assert leaving >= fallen * (1 - 1e-6)
    donors = np.bincount(terrain.receiver.ravel(), minlength=terrain.receiver.size).reshape(terrain.receiver.shape)
    heads = (donors == 0)[3:-3, 3:-3]  # outside, water enters
    np.testing.assert_array_equal(terrain.drained_m2[3:-3, 3:-3][heads], CELL_M**2)


def test_rivers_run_downhill_where_much_water_runs(terrain):
    assert terrain.rivers
    for river in terrain.rivers:
        rows, columns = _cells_along(terrain, river.line)
        height = terrain.height_m[rows, columns]
        assert (height - np.minimum.accumulate(height)).max() < 1.0
        assert height[0] > height[-1]
    rows, columns = _cells_along(terrain, terrain.rivers[0].line)
    near = [
        terrain.drained_m2[max(i - 3, 0) : i + 4, max(j - 3, 0) : j + 4].max()
        for i, j in zip(rows, columns, strict=True)
    ]
    assert np.mean(np.array(near) > 3e6) > 0.9


def test_rivers_come_widest_first_and_6_to_50_m_wide(terrain):
    widths = [river.width_m for river in terrain.rivers]
    assert widths == sorted(widths, reverse=True)
    assert min(widths) >= 6
    assert max(widths) <= 50


def test_valley_floors_are_flat_low_and_a_small_part(terrain):
    floor = terrain.valley_floor
    assert 0.02 < floor.mean() < 0.12
    assert np.median(terrain.slope_deg[floor]) < 8
    assert np.median(terrain.slope_deg[~floor]) > 20
    assert np.median(terrain.height_m[floor]) < np.median(terrain.height_m)


def test_the_shape_of_the_ground_is_that_of_its_heights(terrain):
    inside = (slice(1, -1), slice(1, -1))
    expected = slope_aspect_curvature(terrain.height_m, CELL_M)
    for name, values in zip(("slope_deg", "aspect_deg", "mean_curvature_per_m"), expected, strict=True):
        mine = getattr(terrain, name)
        assert np.isfinite(mine).all()
        np.testing.assert_array_equal(mine[inside], np.nan_to_num(values[inside]))
        np.testing.assert_array_equal(mine[0, 1:-1], mine[1, 1:-1])


def test_the_same_recipe_is_the_same_ground_and_another_seed_another(terrain):
    again = make_terrain(RECIPE, FRAME)
    np.testing.assert_array_equal(again.height_m, terrain.height_m)
    np.testing.assert_array_equal(again.drained_m2, terrain.drained_m2)
    assert [river.line.wkb for river in again.rivers] == [river.line.wkb for river in terrain.rivers]
    other = make_terrain(RECIPE.model_copy(update={"seed": 3}), FRAME)
    assert np.corrcoef(other.height_m.ravel(), terrain.height_m.ravel())[0, 1] < 0.9
