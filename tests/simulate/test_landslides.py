"""Inventories of landslides: the law of their areas; their share, sizes, places and shapes, and the file they go to."""

import itertools

import numpy as np
import pyogrio
import pytest
import shapely
from scipy.integrate import quad
from scipy.special import gamma
from scipy.stats import kstest
from shapely.geometry import box

from coslide.errors import InputError
from coslide.labels import LANDSLIDE
from coslide.simulate.frame import PIXEL_M, Frame, terrain_of
from coslide.simulate.landslides import (
    SMALLEST_M2,
    _free,
    amalgamate,
    place_landslides,
    size_law,
    valid_parts,
    write_inventory,
)
from coslide.simulate.recipe import Recipe
from coslide.sources.inventory import rasterize_inventory

# --- The law of areas ---

LAW = size_law(0.92, 4e5)


def density(area_m2, scale_m2):
    """Equation 3 of Malamud et al. (2004), not cut off."""
    x = area_m2 - 200.0
    return (scale_m2 / x) ** 2.4 * np.exp(-scale_m2 / x) / (scale_m2 * gamma(1.4))


def integral(function, largest_m2):
    parts = [200.0 + 1e-9, 400.0, 1000.0, *np.geomspace(2e3, largest_m2, 6)]
    return sum(quad(function, low, high)[0] for low, high in itertools.pairwise(parts))


@pytest.mark.parametrize("area_m2", [300.0, 1104.0, 2e4])
def test_the_share_below_an_area_is_the_integral_of_the_density_cut_off_at_the_largest(area_m2):
    below, whole = (quad(density, 200.0 + 1e-9, area, LAW.scale_m2, limit=500)[0] for area in (area_m2, 4e5))
    assert LAW.share_below(area_m2) == pytest.approx(below / whole, rel=1e-4)


def test_quantiles_turn_the_shares_about_and_end_at_the_limits():
    shares = np.linspace(0.001, 0.999, 60)
    np.testing.assert_allclose(LAW.share_below(LAW.area_m2(shares)), shares, rtol=1e-9)
    np.testing.assert_allclose(LAW.share_below([0.0, 200.0, 4e5, 1e9]), [0, 0, 1, 1])
    np.testing.assert_allclose(LAW.area_m2([0.0, 1.0]), [200.0, 4e5])


@pytest.mark.parametrize("largest_m2", [3e3, 5e4, 4e5])
def test_the_mean_is_the_integral_of_the_density(largest_m2):
    law = size_law(0.92, largest_m2)
    moment = integral(lambda area: area * density(area, law.scale_m2), largest_m2)
    whole = integral(lambda area: density(area, law.scale_m2), largest_m2)
    np.testing.assert_allclose(law.mean_m2(), moment / whole, rtol=1e-6)


@pytest.mark.parametrize("share", [0.5, 0.92, 0.95])
@pytest.mark.parametrize("largest_m2", [4e3, 4e5])
def test_as_many_landslides_are_small_as_asked_for(share, largest_m2):
    np.testing.assert_allclose(size_law(share, largest_m2).share_below(1104.0), share, rtol=1e-9)


def test_large_landslides_thin_out_with_the_power_of_malamud():
    areas = np.array([2e4, 4e4])
    found = np.diff(1 - LAW.share_below([[a, 1.01 * a] for a in areas]), axis=1)[:, 0] / (0.01 * areas)
    np.testing.assert_allclose(np.log(found[1] / found[0]) / np.log(2), -2.4, atol=0.03)


def test_drawn_areas_follow_the_law_and_stay_in_its_limits():
    areas = LAW.area_m2(np.random.default_rng(1).random(20_000))
    assert kstest(areas, LAW.share_below).pvalue > 0.01
    assert areas.min() > SMALLEST_M2
    assert areas.max() <= 4e5


# --- The inventory ---

FRAME = Frame(scene_px=360, margin_px=60)
SIDE = FRAME.side_px
RECIPE = Recipe(seed=1)


def ridges():
    """Return ridges that run north, 1 km apart, with spurs, and streams between them."""
    row, column = np.mgrid[:SIDE, :SIDE] * PIXEL_M
    height = 2500 + 180 * np.cos(2 * np.pi * column / 1000) + 30 * np.cos(2 * np.pi * row / 400) - 0.02 * row
    return terrain_of(FRAME, height, drained_m2=np.where(np.abs(column % 1000 - 500) < 10, 1e7, 1e3))


TERRAIN = ridges()
CHANCE = (0.3 / (1 + np.exp(-(TERRAIN.slope_deg - 42) / 2))).astype(np.float32)


@pytest.fixture(scope="module")
def slides():
    return place_landslides(RECIPE, TERRAIN, CHANCE)


def sampled(field, x, y):
    column, row = ~FRAME.grid.affine * (np.asarray(x), np.asarray(y))
    return field[row.astype(int), column.astype(int)]


@pytest.mark.parametrize("share", [1 / 29, 0.015, 0.08])
def test_they_cover_the_share_of_the_scene_that_was_asked_for(share):
    slides = place_landslides(Recipe(seed=2, landslide_share=share), TERRAIN, CHANCE)
    covered = shapely.union_all(slides.geometry.to_numpy()).intersection(FRAME.scene_box).area / FRAME.scene_box.area
    np.testing.assert_allclose(covered, share, rtol=0.01)


def test_most_are_small(slides):
    small = (slides["area_m2"] < 1104).mean()
    assert 0.89 < small < 0.96  # 0.92 give or take two standard deviations of so few


def test_none_is_smaller_than_two_pixels_or_larger_than_a_twentieth_of_all(slides):
    assert slides["area_m2"].min() > 0.8 * 200
    # Some of the largest may have grown together.
    assert slides["area_m2"].max() < 2 * max(0.05 * RECIPE.landslide_share * FRAME.scene_box.area, 2000)


def test_every_landslide_is_one_valid_polygon_with_its_area_apart_from_all_others(slides):
    shapes = slides.geometry.to_numpy()
    assert set(slides.geom_type) == {"Polygon"}
    assert slides.is_valid.all()
    assert shapely.get_num_interior_rings(shapes).sum() == 0
    np.testing.assert_allclose(slides["area_m2"], shapely.area(shapes))
    np.testing.assert_allclose(shapely.union_all(shapes).area, slides["area_m2"].sum(), rtol=1e-9)
    np.testing.assert_array_equal(slides["id"], np.arange(1, len(slides) + 1))
    assert (np.diff(slides["area_m2"]) <= 0).all()
    assert slides.crs == FRAME.grid.crs


def test_they_lie_where_the_slope_is_likely_to_fail(slides):
    centre = shapely.centroid(slides.geometry.to_numpy())
    there = sampled(CHANCE, shapely.get_x(centre), shapely.get_y(centre))
    assert there.mean() > 1.7 * CHANCE.mean()


def test_they_start_at_the_places_by_their_probability():
    west = np.arange(SIDE) < SIDE // 2
    chance = np.where(west, CHANCE, CHANCE / 4).astype(np.float32)
    slides = place_landslides(RECIPE, TERRAIN, chance)
    column, _ = ~FRAME.grid.affine * (slides.centroid.x.to_numpy(), slides.centroid.y.to_numpy())
    inside = np.abs(column - SIDE / 2) < 180
    np.testing.assert_allclose((column[inside] < SIDE / 2).mean(), 0.8, atol=0.06)


def test_they_are_long_down_the_slope(slides):
    shapes = slides.geometry.to_numpy()
    corners = shapely.get_coordinates(shapely.minimum_rotated_rectangle(shapes)).reshape(-1, 5, 2)
    sides = np.diff(corners[:, :3], axis=1)
    lengths = np.hypot(*np.moveaxis(sides, -1, 0))
    along = sides[np.arange(len(sides)), lengths.argmax(axis=1)]
    centre = shapely.centroid(shapes)
    aspect = np.radians(sampled(TERRAIN.aspect_deg, shapely.get_x(centre), shapely.get_y(centre)))
    cosine = np.abs(along[:, 0] * np.sin(aspect) + along[:, 1] * np.cos(aspect)) / lengths.max(axis=1)
    assert np.median(lengths.max(axis=1) / lengths.min(axis=1)) > 1.8
    assert np.median(np.degrees(np.arccos(np.minimum(cosine, 1)))) < 20


def test_they_do_not_reach_over_a_stream(slides):
    left, _, right, _ = slides.geometry.bounds.to_numpy().T
    first, last = ((edge - FRAME.grid.affine.c + 500) // 1000 for edge in (left + 20, right - 20))
    assert (first == last).mean() > 0.99


def test_larger_landslides_start_where_more_slopes_are_unstable():
    # Lone steep pixels in the north, the same number of them together in the south.
    lone = np.zeros((SIDE, SIDE), dtype=np.float32)
    lone[60:240:3, 60:420:3] = 0.2
    lone[280:360, 200:290] = 0.2
    slides = place_landslides(Recipe(seed=3, landslide_share=0.006), TERRAIN, lone)
    row = (~FRAME.grid.affine * (slides.centroid.x.to_numpy(), slides.centroid.y.to_numpy()))[1]
    large = slides["area_m2"].to_numpy() > 2500
    assert large.any()
    assert (row[large] > 260).all()
    assert (row[~large] < 260).any()


def test_the_same_recipe_gives_the_same_landslides(slides):
    again = place_landslides(RECIPE, TERRAIN, CHANCE)
    assert shapely.to_wkb(again.geometry.to_numpy()).tolist() == shapely.to_wkb(slides.geometry.to_numpy()).tolist()


def test_another_seed_gives_others(slides):
    other = place_landslides(Recipe(seed=9), TERRAIN, CHANCE)
    assert shapely.union_all(other.geometry.to_numpy()).intersection(slides.union_all()).area < 0.3 * other.area.sum()


def test_slopes_that_cannot_fail_is_refused_in_one_line():
    with pytest.raises(InputError, match=r"landslide_share: too few slopes can fail; found a share of 0.000, wanted"):
        place_landslides(RECIPE, TERRAIN, np.zeros_like(CHANCE))


def test_of_an_outline_that_crosses_itself_the_larger_part_is_kept():
    bow = shapely.Polygon([(0, 0), (6, 6), (6, 0), (0, 4)])
    [part] = valid_parts(np.array([bow], dtype=object))
    assert part.is_valid
    assert part.geom_type == "Polygon"
    assert part.contains(shapely.Point(5.9, 3))
    assert not part.contains(shapely.Point(0.2, 2))


def test_landslides_that_overlap_in_a_row_become_one():
    row = np.array([box(0, 0, 2, 1), box(1.5, 0, 4, 1), box(3.5, 0, 6, 1), box(9, 9, 10, 10)], dtype=object)
    found = amalgamate(row)
    assert sorted(shapely.area(found)) == [1, 6]


def test_landslides_that_share_an_edge_become_one_and_those_that_share_a_point_do_not():
    assert len(amalgamate(np.array([box(0, 0, 1, 1), box(1, 0, 2, 1)], dtype=object))) == 1
    assert len(amalgamate(np.array([box(0, 0, 1, 1), box(1, 1, 2, 2)], dtype=object))) == 2


def test_land_enclosed_by_landslides_counts_as_slid_with_the_landslides_in_it():
    frame = [box(0, 0, 10, 2), box(0, 8, 10, 10), box(0, 0, 2, 10), box(8, 0, 10, 10), box(4, 4, 5, 5)]
    [whole] = amalgamate(np.array(frame, dtype=object))
    assert whole.area == 100


def test_the_file_reads_as_an_inventory_of_the_scene(slides, tmp_path):
    path, area_path = tmp_path / "landslides.gpkg", tmp_path / "mapped.gpkg"
    write_inventory(path, area_path, slides, FRAME)
    labels = rasterize_inventory(path, FRAME.scene, area=area_path)
    assert len(pyogrio.read_dataframe(path)) == labels.polygons
    assert pyogrio.read_dataframe(area_path).union_all().equals(FRAME.scene_box)
    meets = shapely.intersects(slides.geometry.to_numpy(), FRAME.scene_box)
    assert labels.polygons == meets.sum() < len(slides)
    assert (labels.repaired, labels.empty) == (0, 0)
    np.testing.assert_allclose(labels.area_m2 / FRAME.scene_box.area, 1 / 29, rtol=0.01)
    np.testing.assert_allclose((labels.mask == LANDSLIDE).mean(), 1 / 29, rtol=0.02)
    assert set(np.unique(labels.mask)) == {0, LANDSLIDE}


def test_a_landslide_may_lie_by_a_tenth_on_those_that_are_there_but_not_by_more():
    placed = np.array([box(0, 0, 10, 10)], dtype=object)
    tried = [box(9, 0, 19, 10), box(8, 20, 18, 30), box(16, 20, 26, 30), box(5, 5, 15, 15), box(24, 20, 34, 30)]
    free = _free(placed, np.array(tried, dtype=object))
    # The last one lies on one that found no place.
    np.testing.assert_array_equal(free, [True, True, False, False, True])
