"""Rocks of a simulated place: younger above older, displaced by the fault; and the map of them."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
from rasterio.features import shapes
from scipy.ndimage import distance_transform_edt
from shapely.geometry import shape

from coslide.config.schema import GeologyConfig
from coslide.simulate.frame import Frame, centres_m
from coslide.simulate.land import Terrain
from coslide.simulate.noise import rough_field, smooth_field
from coslide.simulate.recipe import AGES, Recipe
from coslide.simulate.rupture import make_rupture
from coslide.simulate.strata import _without_small, make_strata, write_geology
from coslide.sources.geology import read_strata

FRAME = Frame(300)


def terrain_of(height, frame=FRAME):
    rest = dict.fromkeys(
        ("slope_deg", "aspect_deg", "mean_curvature_per_m", "receiver", "drained_m2", "valley_floor"), np.zeros((1, 1))
    )
    return Terrain(frame=frame, height_m=height, rivers=(), **rest)


def hills(seed=0, frame=FRAME):
    return 2000 + 250 * smooth_field(np.random.default_rng(seed), (frame.cells, frame.cells), 10.0, range_m=1500)


def strata_of(seed, height=None):
    recipe = Recipe(seed=seed)
    return make_strata(recipe, terrain_of(hills(seed) if height is None else height), make_rupture(recipe, FRAME))


@pytest.mark.parametrize("seed", range(6))
def test_every_age_has_its_share_of_the_tile(seed):
    strata = strata_of(seed)
    assert strata.dtype == np.uint8
    shares = np.bincount(strata[FRAME.inner].ravel(), minlength=9)[1:] / strata[FRAME.inner].size
    assert len(shares) == len(AGES)
    assert (shares > 0.04).all()
    assert (shares < 0.25).all()


def test_higher_ground_is_never_older():
    height = hills()
    raised = height.copy()
    raised[1::4] += 200  # rows that do not tell where boundaries lie
    before, after = strata_of(1, height), strata_of(1, raised)
    assert (after >= before).all()
    assert (after[1::4] > before[1::4]).mean() > 0.3
    np.testing.assert_array_equal(after[::4], before[::4])


@pytest.mark.parametrize("seed", range(6))
def test_the_hanging_wall_is_older_than_the_footwall_across_the_fault(seed):
    strata = strata_of(seed, np.full((FRAME.cells, FRAME.cells), 2000, dtype=np.float32))
    x, y = centres_m(FRAME.ground)
    side = make_rupture(Recipe(seed=seed), FRAME).side(x[None, :], y[:, None])
    across = (side[:, 1:] > 0) != (side[:, :-1] > 0)
    left, right = strata[:, :-1][across].astype(int), strata[:, 1:][across].astype(int)
    older = np.where(side[:, 1:][across] > 0, left - right, right - left)  # by how many ages
    assert (older >= 0).all()
    assert (older > 0).mean() > 0.5
    along = (strata[:, 1:] != strata[:, :-1]) & ~across  # elsewhere neighbours differ by one at most
    assert np.abs(np.diff(strata.astype(int), axis=1))[along].max() == 1


def test_the_same_seed_has_the_same_rocks_and_another_has_not():
    height = hills()
    np.testing.assert_array_equal(strata_of(3, height), strata_of(3, height))
    assert (strata_of(4, height) != strata_of(3, height)).mean() > 0.3


@pytest.mark.parametrize("difficulty", ["easy", "paper", "hard"])
def test_the_map_covers_the_ground_once(difficulty, tmp_path):
    write_geology(tmp_path / "geology.gpkg", Recipe(difficulty=difficulty), FRAME, strata_of(0))
    drawn = gpd.read_file(tmp_path / "geology.gpkg")
    assert shapely.coverage_is_valid(drawn.geometry.to_numpy())
    ground = shapely.box(*FRAME.ground.boundingbox.bbox)
    assert drawn.union_all().equals(ground)
    assert drawn.area.sum() == pytest.approx(ground.area, rel=1e-12)
    assert drawn.area.min() > 5000
    assert set(drawn["age"]) == set(AGES)


def test_no_area_below_one_hectare_is_left_on_the_map():
    rough = rough_field(np.random.default_rng(0), (180, 180), 30.0, range_m=2000)
    codes = np.asarray(np.digitize(rough, [-1, -0.6, -0.3, 0, 0.3, 0.6, 1]) + 1, dtype=np.uint8)
    areas = [shape(outline).area for outline, _ in shapes(_without_small(codes), connectivity=4)]
    assert min(shape(outline).area for outline, _ in shapes(codes, connectivity=4)) == 1
    assert min(areas) >= 12


def test_coslide_reads_the_map_without_gaps_and_overlaps(tmp_path):
    strata = strata_of(0)
    write_geology(tmp_path / "geology.gpkg", Recipe(difficulty="easy"), FRAME, strata)
    found = read_strata(GeologyConfig(path=tmp_path / "geology.gpkg", field="age", ages=AGES), FRAME.ground)
    assert found.overlap == 0
    assert found.repaired == 0
    assert found.codes.max() == 8
    assert (found.codes == strata).mean() > 0.9


def test_boundaries_are_as_far_off_as_the_difficulty_says(tmp_path):
    strata, off_m = strata_of(0), {}
    truth = np.zeros(strata.shape, dtype=bool)
    truth[:, 1:] |= strata[:, 1:] != strata[:, :-1]
    truth[1:] |= strata[1:] != strata[:-1]
    to_boundary_m = 10 * distance_transform_edt(~truth)
    for difficulty in ("easy", "paper", "hard"):
        recipe = Recipe(difficulty=difficulty)
        write_geology(tmp_path / "geology.gpkg", recipe, FRAME, strata)
        lines = gpd.read_file(tmp_path / "geology.gpkg").boundary
        places = shapely.get_coordinates(shapely.segmentize(lines.to_numpy(), 20))
        box = FRAME.ground.boundingbox
        inside = ((places > [box.left + 50, box.bottom + 50]) & (places < [box.right - 50, box.top - 50])).all(axis=1)
        column, row = ~FRAME.ground.affine * places[inside].T
        off_m[difficulty] = to_boundary_m[row.astype(int), column.astype(int)].mean()
    assert off_m["easy"] < 20 < off_m["paper"] < 50 < off_m["hard"] + 10
    assert off_m["easy"] < off_m["paper"] < off_m["hard"]


def test_the_map_is_the_same_to_the_byte(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_geology(tmp_path / name / "geology.gpkg", Recipe(), FRAME, strata_of(0))
    one, two = (tmp_path / name / "geology.gpkg" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
