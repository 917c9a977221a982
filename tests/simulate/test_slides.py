"""Inventories of landslides: their share, sizes, places and shapes, and the file they go to."""

import numpy as np
import pyogrio
import pytest
import shapely
from shapely.geometry import box

from coslide.errors import InputError
from coslide.indices.derivatives import slope_aspect_curvature
from coslide.labels import LANDSLIDE
from coslide.simulate.frame import CELL_M, Frame
from coslide.simulate.land import Terrain
from coslide.simulate.recipe import Recipe
from coslide.simulate.slides import _valid, amalgamate, place_landslides, write_inventory
from coslide.sources.inventory import read_inventory

FRAME = Frame(tile_cells=360, margin_cells=60)
SIDE = FRAME.cells
TILE = box(*FRAME.tile.boundingbox.bbox)
RECIPE = Recipe(seed=1)


def make_ground():
    """Return ridges that run north, 1 km apart, with spurs, and streams between them."""
    row, column = np.mgrid[:SIDE, :SIDE] * CELL_M
    height = 2500 + 180 * np.cos(2 * np.pi * column / 1000) + 30 * np.cos(2 * np.pi * row / 400) - 0.02 * row
    shape = slope_aspect_curvature(height, CELL_M)
    slope, aspect, curvature = (np.nan_to_num(np.pad(part[1:-1, 1:-1], 1, mode="edge")) for part in shape)
    stream = np.abs(column % 1000 - 500) < 10
    drained = np.where(stream, 1e7, 1e3).astype(np.float32)
    receiver = np.arange(SIDE * SIDE, dtype=np.int32).reshape(SIDE, SIDE)
    height = height.astype(np.float32)
    return Terrain(FRAME, height, slope, aspect, curvature, receiver, drained, slope < 5, ())


GROUND = make_ground()
CHANCE = (0.3 / (1 + np.exp(-(GROUND.slope_deg - 42) / 2))).astype(np.float32)


@pytest.fixture(scope="module")
def slides():
    return place_landslides(RECIPE, GROUND, CHANCE)


def sampled(field, x, y):
    column, row = ~FRAME.ground.affine * (np.asarray(x), np.asarray(y))
    return field[row.astype(int), column.astype(int)]


@pytest.mark.parametrize("share", [1 / 29, 0.015, 0.08])
def test_they_cover_the_share_of_the_tile_that_was_asked_for(share):
    slides = place_landslides(Recipe(seed=2, landslide_share=share), GROUND, CHANCE)
    covered = shapely.union_all(slides.geometry.to_numpy()).intersection(TILE).area / TILE.area
    np.testing.assert_allclose(covered, share, rtol=0.01)


def test_most_are_small(slides):
    small = (slides["area_m2"] < 1104).mean()
    assert 0.89 < small < 0.96  # 0.92 give or take two standard deviations of so few


def test_none_is_smaller_than_two_cells_or_larger_than_a_twentieth_of_all():
    slides = place_landslides(RECIPE, GROUND, CHANCE)
    assert slides["area_m2"].min() > 0.8 * 200
    # Some of the largest may have grown together.
    assert slides["area_m2"].max() < 2 * max(0.05 * RECIPE.landslide_share * TILE.area, 2000)


def test_every_landslide_is_one_valid_polygon_with_its_area_apart_from_all_others(slides):
    shapes = slides.geometry.to_numpy()
    assert set(slides.geom_type) == {"Polygon"}
    assert slides.is_valid.all()
    assert shapely.get_num_interior_rings(shapes).sum() == 0
    np.testing.assert_allclose(slides["area_m2"], shapely.area(shapes))
    np.testing.assert_allclose(shapely.union_all(shapes).area, slides["area_m2"].sum(), rtol=1e-9)
    np.testing.assert_array_equal(slides["id"], np.arange(1, len(slides) + 1))
    assert (np.diff(slides["area_m2"]) <= 0).all()
    assert slides.crs == FRAME.ground.crs


def test_they_lie_where_the_ground_is_likely_to_fail(slides):
    centre = shapely.centroid(slides.geometry.to_numpy())
    there = sampled(CHANCE, shapely.get_x(centre), shapely.get_y(centre))
    assert there.mean() > 1.7 * CHANCE.mean()


def test_they_start_at_the_places_by_their_probability():
    west = np.arange(SIDE) < SIDE // 2
    chance = np.where(west, CHANCE, CHANCE / 4).astype(np.float32)
    slides = place_landslides(RECIPE, GROUND, chance)
    column, _ = ~FRAME.ground.affine * (slides.centroid.x.to_numpy(), slides.centroid.y.to_numpy())
    inside = np.abs(column - SIDE / 2) < 180
    np.testing.assert_allclose((column[inside] < SIDE / 2).mean(), 0.8, atol=0.06)


def test_they_are_long_down_the_slope(slides):
    shapes = slides.geometry.to_numpy()
    corners = shapely.get_coordinates(shapely.minimum_rotated_rectangle(shapes)).reshape(-1, 5, 2)
    sides = np.diff(corners[:, :3], axis=1)
    lengths = np.hypot(*np.moveaxis(sides, -1, 0))
    along = sides[np.arange(len(sides)), lengths.argmax(axis=1)]
    centre = shapely.centroid(shapes)
    aspect = np.radians(sampled(GROUND.aspect_deg, shapely.get_x(centre), shapely.get_y(centre)))
    cosine = np.abs(along[:, 0] * np.sin(aspect) + along[:, 1] * np.cos(aspect)) / lengths.max(axis=1)
    assert np.median(lengths.max(axis=1) / lengths.min(axis=1)) > 1.8
    assert np.median(np.degrees(np.arccos(np.minimum(cosine, 1)))) < 20


def test_they_do_not_reach_over_a_stream(slides):
    left, _, right, _ = slides.geometry.bounds.to_numpy().T
    first, last = ((edge - FRAME.ground.affine.c + 500) // 1000 for edge in (left + 20, right - 20))
    assert (first == last).mean() > 0.99


def test_larger_landslides_start_where_more_ground_is_unstable():
    # Lone steep cells in the north, the same number of them together in the south.
    lone = np.zeros((SIDE, SIDE), dtype=np.float32)
    lone[60:240:3, 60:420:3] = 0.2
    lone[280:360, 200:290] = 0.2
    slides = place_landslides(Recipe(seed=3, landslide_share=0.006), GROUND, lone)
    row = (~FRAME.ground.affine * (slides.centroid.x.to_numpy(), slides.centroid.y.to_numpy()))[1]
    large = slides["area_m2"].to_numpy() > 2500
    assert large.any()
    assert (row[large] > 260).all()
    assert (row[~large] < 260).any()


def test_the_same_recipe_gives_the_same_landslides(slides):
    again = place_landslides(RECIPE, GROUND, CHANCE)
    assert shapely.to_wkb(again.geometry.to_numpy()).tolist() == shapely.to_wkb(slides.geometry.to_numpy()).tolist()


def test_another_seed_gives_others(slides):
    other = place_landslides(Recipe(seed=9), GROUND, CHANCE)
    assert shapely.union_all(other.geometry.to_numpy()).intersection(slides.union_all()).area < 0.3 * other.area.sum()


def test_ground_that_cannot_fail_is_refused_in_one_line():
    with pytest.raises(InputError, match=r"landslide_share: too few slopes can fail; found a share of 0.000, wanted"):
        place_landslides(RECIPE, GROUND, np.zeros_like(CHANCE))


def test_of_an_outline_that_crosses_itself_the_larger_part_is_kept():
    bow = shapely.Polygon([(0, 0), (6, 6), (6, 0), (0, 4)])
    [part] = _valid(np.array([bow], dtype=object))
    assert part.is_valid
    assert part.geom_type == "Polygon"
    assert part.contains(shapely.Point(5.9, 3))
    assert not part.contains(shapely.Point(0.2, 2))


def test_landslides_that_overlap_in_a_chain_become_one():
    chain = np.array([box(0, 0, 2, 1), box(1.5, 0, 4, 1), box(3.5, 0, 6, 1), box(9, 9, 10, 10)], dtype=object)
    found = amalgamate(chain)
    assert sorted(shapely.area(found)) == [1, 6]


def test_landslides_that_share_an_edge_become_one_and_those_that_share_a_point_do_not():
    assert len(amalgamate(np.array([box(0, 0, 1, 1), box(1, 0, 2, 1)], dtype=object))) == 1
    assert len(amalgamate(np.array([box(0, 0, 1, 1), box(1, 1, 2, 2)], dtype=object))) == 2


def test_ground_enclosed_by_landslides_counts_as_slid_with_the_landslides_in_it():
    frame = [box(0, 0, 10, 2), box(0, 8, 10, 10), box(0, 0, 2, 10), box(8, 0, 10, 10), box(4, 4, 5, 5)]
    [whole] = amalgamate(np.array(frame, dtype=object))
    assert whole.area == 100


def test_the_file_reads_as_an_inventory_of_the_tile(slides, tmp_path):
    path, area_path = tmp_path / "landslides.gpkg", tmp_path / "mapped.gpkg"
    write_inventory(path, area_path, slides, FRAME)
    labels = read_inventory(path, FRAME.tile, area=area_path)
    assert len(pyogrio.read_dataframe(path)) == labels.polygons
    assert pyogrio.read_dataframe(area_path).union_all().equals(TILE)
    meets = shapely.intersects(slides.geometry.to_numpy(), TILE)
    assert labels.polygons == meets.sum() < len(slides)
    assert (labels.repaired, labels.empty) == (0, 0)
    np.testing.assert_allclose(labels.area_m2 / TILE.area, 1 / 29, rtol=0.01)
    np.testing.assert_allclose((labels.mask == LANDSLIDE).mean(), 1 / 29, rtol=0.02)
    assert set(np.unique(labels.mask)) == {0, LANDSLIDE}
