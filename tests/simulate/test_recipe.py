"""What a simulation may be told, and where it then lies."""

import itertools

import numpy as np
import pytest
import shapely
from pydantic import ValidationError
from pyproj import Transformer

from coslide.simulate.frame import CRS, centres_m, frame_of, to_degrees
from coslide.simulate.recipe import DIFFICULTIES, Recipe


def test_the_parts_of_a_recipe_draw_from_streams_of_their_own():
    recipe = Recipe(seed=4)
    np.testing.assert_array_equal(recipe.random("rain").random(5), recipe.random("rain").random(5))
    assert recipe.random("rain").random() != recipe.random("terrain").random()
    assert recipe.random("rain").random() != Recipe(seed=5).random("rain").random()


def test_difficulty_grows_with_its_name():
    easy, paper, hard = (DIFFICULTIES[name] for name in ("easy", "paper", "hard"))
    for name in easy._fields:
        values = [getattr(step, name) for step in (easy, paper, hard)]
        assert values in (sorted(values), sorted(values, reverse=True)), name
        assert values[0] != values[2], name


@pytest.mark.parametrize("given", [{"size_km": 1}, {"size_km": 500}, {"difficulty": "brutal"}, {"seed": -1}, {"x": 1}])
def test_a_recipe_refuses_what_makes_no_sense(given):
    with pytest.raises(ValidationError):
        Recipe(**given)


def test_a_frame_is_made_of_whole_60_m_on_the_lattice():
    frame = frame_of(4.01)
    assert frame.scene.shape == (402, 402)
    assert frame.scene_px % 6 == frame.margin_px % 6 == 0
    assert frame.grid.shape == (642, 642)
    assert frame.fine_grid.shape == (1284, 1284)
    assert (frame.scene.affine.c % 60, (frame.scene.affine.f - 20) % 100) == (0, 0)


def test_the_scene_is_the_inner_part_of_the_frame():
    frame = frame_of(3)
    (x, y), (tile_x, tile_y) = centres_m(frame.grid), centres_m(frame.scene)
    rows, columns = frame.inner
    np.testing.assert_array_equal(x[columns], tile_x)
    np.testing.assert_array_equal(y[rows], tile_y)
    assert y[0] > y[-1]


def test_a_simulated_event_lies_in_the_open_ocean():
    """Nobody shall find its landslides on a base map of a real place."""
    transformer = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    west, south, east, north = transformer.transform_bounds(*frame_of(100).grid.extent.boundingbox.bbox)
    assert (west, east) == (pytest.approx(168.77, abs=0.1), pytest.approx(169.9, abs=0.1))
    assert (south, north) == (pytest.approx(35.2, abs=0.1), pytest.approx(36.15, abs=0.1))
    assert frame_of(100).tile == "59SLV"


def test_events_of_other_seeds_lie_apart_in_the_tiles_that_their_scenes_name():
    """The last two letters of a tile are the column and the row of its square of 100 km (pyproj knows no MGRS)."""
    frames = [frame_of(90, seed) for seed in range(16)]
    boxes = [shapely.box(*frame.scene.boundingbox.bbox) for frame in frames]
    assert not any(one.intersects(other) for one, other in itertools.combinations(boxes, 2))
    assert len({frame.tile for frame in frames}) == 16
    assert frame_of(90, 16) == frames[0]
    columns, rows = dict(zip("JKLMNPQR", range(1, 9), strict=True)), "ABCDEFGHJKLMNPQRSTUV"
    for frame, box in zip(frames, boxes, strict=True):
        assert int(box.centroid.x // 100_000) == columns[frame.tile[3]]
        assert int(box.centroid.y // 100_000) % 20 == rows.index(frame.tile[4])
        assert 32 < to_degrees(box.centroid.x, box.bounds[1])[1] < 40  # latitude band S
        assert (frame.scene.affine.c % 60, frame.scene.affine.f % 60) == (0, 0)
