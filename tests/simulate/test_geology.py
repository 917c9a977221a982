"""The rupture: size, place and distances; the rocks: younger above older, displaced by the fault; and their maps."""

import time

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import shapely
from rasterio.features import shapes
from scipy.ndimage import distance_transform_edt
from shapely import box
from shapely.geometry import shape

from coslide.config.schema import FaultsConfig, GeologyConfig
from coslide.simulate.fields import rough_field, smooth_field
from coslide.simulate.frame import Frame, centres_m, terrain_of
from coslide.simulate.geology import (
    make_rupture,
    make_strata,
    rupture_size_km,
    without_small,
    write_faults,
    write_geology,
    write_gpkg,
)
from coslide.simulate.recipe import AGES, Recipe
from coslide.sources.geology import read_strata, read_traces

FRAME = Frame(300)
SEEDS = range(12)
RUPTURES = [make_rupture(Recipe(seed=seed), FRAME) for seed in SEEDS]

# --- Rupture ---


def points_around(rupture, count=400):
    """Return x and y of points within 25 km of the middle, half of them within 3 km of the trace."""
    random = np.random.default_rng(5)
    far = np.asarray(rupture.middle_m) + random.uniform(-25_000, 25_000, (count // 2, 2))
    near = shapely.get_coordinates(rupture.trace.interpolate(random.uniform(0, 1, count // 2), normalized=True))
    return np.concatenate([far, near + random.uniform(-3000, 3000, near.shape)]).T


@pytest.mark.parametrize("rupture", RUPTURES)
def test_the_joyner_boore_distance_is_0_above_the_rupture_and_that_to_its_rim_elsewhere(rupture):
    x, y = points_around(rupture)
    above = shapely.contains_xy(rupture.projection, x, y)
    rim = shapely.segmentize(rupture.projection.exterior, 5.0)
    corners = shapely.get_coordinates(rim)
    expected = [np.hypot(*(corners - place).T).min() for place in zip(x, y, strict=True)]
    np.testing.assert_allclose(rupture.distance_km(x, y), np.where(above, 0, expected) / 1000, atol=3e-3)
    assert 0 < above.mean() < 0.5


def test_distances_broadcast_eastings_against_northings():
    rupture, (x, y) = RUPTURES[1], centres_m(FRAME.grid)
    for measure in (rupture.distance_km, rupture.trace_distance_km, rupture.side):
        whole = measure(x[None, ::50], y[::50, None])
        assert whole.shape == (len(y[::50]), len(x[::50]))
        np.testing.assert_allclose(whole[3], measure(x[::50], y[150]))


@pytest.mark.parametrize("rupture", RUPTURES)
def test_the_hanging_wall_lies_to_the_right_of_strike_above_the_rupture(rupture):
    assert (rupture.side(*np.asarray(rupture.projection.exterior.coords).T) > 0).all()
    right = np.radians(rupture.strike_deg + 90)
    x, y = rupture.middle_m
    assert rupture.side(x + 3000 * np.sin(right), y + 3000 * np.cos(right)) > 0


@pytest.mark.parametrize("rupture", RUPTURES)
def test_the_side_is_nought_on_the_trace_and_no_less_than_the_distance_beside_it(rupture):
    np.testing.assert_allclose(rupture.side(*np.asarray(rupture.trace.coords).T), 0, atol=1e-6)
    x, y = points_around(rupture)
    near = rupture.trace_distance_km(x, y) * 1000
    beside = np.abs(rupture.along_across(x, y)[0]) < 450 * rupture.length_km
    side = np.abs(rupture.side(x, y))[beside]
    assert (side > near[beside] - 30).all()  # the trace is drawn with straight pieces
    assert (side < 1.25 * near[beside] + 30).all()


@pytest.mark.parametrize("rupture", RUPTURES)
def test_the_hypocentre_lies_on_the_fault_plane(rupture):
    across = rupture.along_across(*rupture.epicentre_m)[1]  # bends aside
    assert across / 1000 * np.tan(np.radians(rupture.dip_deg)) == pytest.approx(rupture.depth_km)
    assert 2 < rupture.depth_km < 14


def test_sizes_are_those_that_wells_and_coppersmith_tell_for_a_magnitude():
    """Their equations turned about: M = 4.49 + 1.49 log10(RLD) for reverse faults, 4.33 + 1.49 for strike-slip."""
    for magnitude in (6.3, 6.5, 6.8):
        reverse, slip = rupture_size_km(magnitude, "reverse"), rupture_size_km(magnitude, "strike-slip")
        assert 4.49 + 1.49 * np.log10(reverse[0]) == pytest.approx(magnitude, abs=0.12)
        assert 4.33 + 1.49 * np.log10(slip[0]) == pytest.approx(magnitude, abs=0.12)
        assert 4.37 + 1.95 * np.log10(reverse[1]) == pytest.approx(magnitude, abs=0.2)
        assert 3.80 + 2.59 * np.log10(slip[1]) == pytest.approx(magnitude, abs=0.5)


@pytest.mark.parametrize("seed", SEEDS)
def test_all_classes_of_fault_distance_occur_on_a_scene_of_12_km(seed):
    frame = Frame(1200)
    x, y = centres_m(frame.scene)
    distance = make_rupture(Recipe(seed=seed), frame).trace_distance_km(x[None, ::30], y[::30, None])
    classes = np.bincount(np.digitize(distance, [1, 2, 3, 4, 5, 6]).ravel(), minlength=7)
    assert (classes > 0.01 * classes.sum()).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_trace_passes_a_large_scene_near_its_middle_too(seed):
    frame = Frame(4500)
    middle = frame.scene_box.centroid
    assert make_rupture(Recipe(seed=seed), frame).trace_distance_km(middle.x, middle.y) < 4 + 1.5  # bends


def test_the_same_seed_is_the_same_rupture_and_both_styles_occur():
    assert make_rupture(Recipe(seed=4), FRAME) == RUPTURES[4] != RUPTURES[5]
    assert {rupture.style for rupture in RUPTURES} == {"reverse", "strike-slip"}


def test_the_fault_is_chosen_by_its_name_and_lies_where_it_broke(tmp_path):
    path, rupture = tmp_path / "faults.geojson", RUPTURES[1]
    write_faults(path, Recipe(seed=1), rupture)
    chosen = {
        name: read_traces(FaultsConfig(path=path, select={"field": "name", "values": (name,)}), FRAME.scene).lines
        for name in ("seismogenic", "inactive")
    }
    (seismogenic,), (inactive,) = chosen.values()
    assert seismogenic.hausdorff_distance(rupture.trace) < 0.1
    assert inactive.hausdorff_distance(rupture.trace) > 2000
    assert rupture.side(*np.asarray(inactive.interpolate(0.5, normalized=True).coords[0])) < 0


# --- Strata ---


def hills(seed=0):
    return 2000 + 250 * smooth_field(np.random.default_rng(seed), (FRAME.side_px,) * 2, 10.0, range_m=1500)


def strata_of(seed, height=None):
    return make_strata(Recipe(seed=seed), terrain_of(FRAME, hills(seed) if height is None else height), RUPTURES[seed])


@pytest.fixture(scope="module")
def strata():
    return strata_of(0)


@pytest.mark.parametrize("seed", range(6))
def test_every_age_has_its_share_of_the_scene(seed):
    strata = strata_of(seed)
    assert strata.dtype == np.uint8
    shares = np.bincount(strata[FRAME.inner].ravel(), minlength=9)[1:] / strata[FRAME.inner].size
    assert len(shares) == len(AGES)
    assert (shares > 0.04).all()
    assert (shares < 0.25).all()


def test_higher_terrain_is_never_older():
    height = hills()
    raised = height.copy()
    raised[1::4] += 200  # rows that do not tell where boundaries lie
    before, after = strata_of(1, height), strata_of(1, raised)
    assert (after >= before).all()
    assert (after[1::4] > before[1::4]).mean() > 0.3
    np.testing.assert_array_equal(after[::4], before[::4])


@pytest.mark.parametrize("seed", range(6))
def test_the_hanging_wall_is_older_than_the_footwall_across_the_fault(seed):
    strata = strata_of(seed, 2000.0)
    x, y = centres_m(FRAME.grid)
    side = RUPTURES[seed].side(x[None, :], y[:, None])
    if abs(np.sin(np.radians(RUPTURES[seed].strike_deg))) > 0.7:
        strata, side = strata.T, side.T  # so that rows cross the fault
    across = (side[:, 1:] > 0) != (side[:, :-1] > 0)
    near = np.minimum(np.abs(side[:, 1:]), np.abs(side[:, :-1])) < 1  # where the trace lies is interpolated
    left, right = (part[across & ~near].astype(int) for part in (strata[:, :-1], strata[:, 1:]))
    older = np.where(side[:, 1:][across & ~near] > 0, left - right, right - left)  # by how many ages
    assert (older >= 0).all()
    assert (older > 0).mean() > 0.5
    along = (strata[:, 1:] != strata[:, :-1]) & ~across & ~near  # elsewhere neighbours differ by one at most
    assert np.abs(np.diff(strata.astype(int), axis=1))[along].max() == 1


def test_the_same_seed_has_the_same_rocks_and_another_has_not():
    height = hills()
    np.testing.assert_array_equal(strata_of(3, height), strata_of(3, height))
    assert (strata_of(4, height) != strata_of(3, height)).mean() > 0.3


# --- The map ---


@pytest.mark.parametrize("difficulty", ["easy", "paper", "hard"])
def test_the_map_covers_the_frame_once(difficulty, tmp_path, strata):
    write_geology(tmp_path / "geology.gpkg", Recipe(difficulty=difficulty), FRAME, strata)
    drawn = gpd.read_file(tmp_path / "geology.gpkg")
    assert shapely.coverage_is_valid(drawn.geometry.to_numpy())
    frame = shapely.box(*FRAME.grid.boundingbox.bbox)
    assert drawn.union_all().equals(frame)
    assert drawn.area.sum() == pytest.approx(frame.area, rel=1e-12)
    assert drawn.area.min() > 5000
    assert set(drawn["age"]) == set(AGES)


def test_no_area_below_one_hectare_is_left_on_the_map():
    rough = rough_field(np.random.default_rng(0), (180, 180), 30.0, range_m=2000)
    codes = np.asarray(np.digitize(rough, [-1, -0.6, -0.3, 0, 0.3, 0.6, 1]) + 1, dtype=np.uint8)
    areas = [shape(outline).area for outline, _ in shapes(without_small(codes), connectivity=4)]
    assert min(shape(outline).area for outline, _ in shapes(codes, connectivity=4)) == 1
    assert min(areas) >= 12


def test_coslide_reads_the_map_without_gaps_and_overlaps(tmp_path, strata):
    write_geology(tmp_path / "geology.gpkg", Recipe(difficulty="easy"), FRAME, strata)
    found = read_strata(GeologyConfig(path=tmp_path / "geology.gpkg", field="age", ages=AGES), FRAME.grid)
    assert found.overlap == found.repaired == 0
    assert found.codes.max() == 8
    assert (found.codes == strata).mean() > 0.9


def test_boundaries_are_as_far_off_as_the_difficulty_asks(tmp_path, strata):
    off_m, truth = {}, np.zeros(strata.shape, dtype=bool)
    truth[:, 1:] |= strata[:, 1:] != strata[:, :-1]
    truth[1:] |= strata[1:] != strata[:-1]
    to_boundary_m = 10 * distance_transform_edt(~truth)
    edge = FRAME.grid.boundingbox.buffered(-50)
    for difficulty in ("easy", "paper", "hard"):
        write_geology(tmp_path / "geology.gpkg", Recipe(difficulty=difficulty), FRAME, strata)
        lines = gpd.read_file(tmp_path / "geology.gpkg").boundary
        places = shapely.get_coordinates(shapely.segmentize(lines.to_numpy(), 20))
        inside = ((places > [edge.left, edge.bottom]) & (places < [edge.right, edge.top])).all(axis=1)
        off_m[difficulty] = to_boundary_m[FRAME.pixels_at(places[inside])].mean()
    assert off_m["easy"] < 20 < off_m["paper"] < 50 < off_m["hard"] + 10
    assert off_m["easy"] < off_m["paper"] < off_m["hard"]


def test_a_geopackage_is_the_same_to_the_byte_a_second_later_and_leaves_no_trace_of_another(tmp_path):
    """GeoPackage notes the time of its last change, to the millisecond."""
    many = gpd.GeoDataFrame({"age": ["D1"] * 500}, geometry=[box(i, 0, i + 1, 1) for i in range(500)], crs=32659)
    path = tmp_path / "geology.gpkg"
    write_gpkg(many[:3], path)
    fresh = path.read_bytes()
    time.sleep(0.01)
    write_gpkg(many, path)
    write_gpkg(many[:3], path)
    assert path.read_bytes() == fresh
    assert pyogrio.get_gdal_config_option("OGR_CURRENT_DATE") is None
