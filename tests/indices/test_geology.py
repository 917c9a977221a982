"""Gap filling against a slow search, and the stratum index as a family."""

from concurrent.futures import ThreadPoolExecutor

import geopandas as gpd
import numpy as np
import pytest
from odc.geo.geobox import GeoBox
from rasterio.transform import Affine
from scipy import ndimage
from scipy.spatial import cKDTree
from shapely.geometry import box

from coslide.config.schema import GeologyConfig
from coslide.indices import geology as geology_module
from coslide.indices.geology import fill_gaps, prepare_stratum

UTM = "EPSG:32648"
GRID = GeoBox((60, 80), Affine(10, 0, 300000, 0, -10, 3700000), UTM)


def patchy(seed=0, shape=(90, 70), share=0.6):
    """Return patches of codes 0 to 5 with gaps (255) of many sizes between them."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 6, (shape[0] // 10, shape[1] // 10)).astype(np.uint8).repeat(10, 0).repeat(10, 1)
    gaps = ndimage.gaussian_filter(rng.random(shape), 2.5)
    codes[gaps < np.quantile(gaps, share)] = 255
    return codes


def nearest_codes(codes, reach):
    """Return for each gap pixel the set of codes at its least distance, by searching all pixels; None if too far."""
    known = np.argwhere(codes != 255)
    tree = cKDTree(known)
    found = {}
    for row, column in np.argwhere(codes == 255):
        least = tree.query((row, column))[0]
        equal = tree.query_ball_point((row, column), least + 1e-9)
        found[row, column] = {codes[tuple(known[i])] for i in equal} if least <= reach + 1e-9 else {255}
    return found


@pytest.mark.parametrize("block", [512, 16])
@pytest.mark.parametrize("reach_m", [10.0, 25.0, 64.0])
def test_gaps_get_the_code_of_the_nearest_pixel_up_to_the_reach(monkeypatch, block, reach_m):
    """R31: against a search over all pixels, in one block and in many."""
    monkeypatch.setattr(geology_module, "_BLOCK", block)
    codes = patchy()
    filled = fill_gaps(codes, pixel_size_m=10, reach_m=reach_m)
    np.testing.assert_array_equal(filled[codes != 255], codes[codes != 255])
    expected = nearest_codes(codes, reach_m / 10)
    assert all(filled[place] in candidates for place, candidates in expected.items())
    assert 0 < (filled == 255).sum() < (codes == 255).sum()


@pytest.mark.parametrize(("reach_m", "filled"), [(0.0, 0), (9.9, 0), (10.0, 1), (30.0, 3), (1e4, 9)])
def test_the_reach_is_the_largest_distance_between_centres(reach_m, filled):
    """R31."""
    codes = np.full((1, 10), 255, dtype=np.uint8)
    codes[0, 0] = 4
    assert (fill_gaps(codes, pixel_size_m=10, reach_m=reach_m) == 4).sum() == 1 + filled


def test_a_map_without_gaps_or_without_units_stays_as_it_is():
    """R31."""
    for codes in (np.full((30, 30), 3, np.uint8), np.full((30, 30), 255, np.uint8)):
        np.testing.assert_array_equal(fill_gaps(codes, pixel_size_m=10, reach_m=500), codes)


@pytest.fixture
def geology(tmp_path):
    """Three units with a sliver between them, one overlap, a lake, and nothing in the east."""
    shapes = [
        box(300000, 3699400, 300190, 3700000), box(300210, 3699400, 300400, 3700000),
        box(300380, 3699400, 300500, 3700000), box(300450, 3699500, 300470, 3699600),
    ]  # fmt: skip
    frame = gpd.GeoDataFrame({"age": ["D1", "T1", "P1", "water"]}, geometry=shapes, crs=UTM)
    frame.to_file(tmp_path / "map.gpkg")
    ages = ("D1", ("P1", "P2"), "T1", "T3")
    return GeologyConfig(path=tmp_path / "map.gpkg", field="age", ages=ages, without_age=("water",), fill_gaps_m=20)


def test_the_index_says_what_its_classes_mean(geology):
    """R31: so that a model trained with other ages refuses the cube."""
    (band,) = prepare_stratum(geology, GRID).bands
    assert (band.name, band.dtype, band.role) == ("stratum_class", "uint8", "index")
    assert band.classes == 4
    assert band.definition == "old to young: D1; P1 = P2; T1; T3"


def test_gaps_and_overlaps_are_reported_as_shares_of_the_grid(geology):
    """R31: 2 columns of sliver and 30 in the east of 80 are not mapped; 2 in the east are filled; a lake is no gap."""
    family = prepare_stratum(geology, GRID)
    attrs = family.bands[0].provenance
    np.testing.assert_allclose(attrs["share_unmapped"], 32 / 80)
    np.testing.assert_allclose(attrs["share_unmapped_after_filling"], 28 / 80)
    np.testing.assert_allclose(attrs["share_overlapping"], (2 * 60 + 2 * 10) / 4800)
    notes = "\n".join(family.notes)
    assert "40.00% of the grid is not mapped, 35.00% of the grid after filling gaps up to 20 m" in notes
    assert "overlap on 2.92% of the grid" in notes
    assert "0.42% of the grid has a unit without age" in notes
    assert "3 of the 5 units with an age lie on the grid, not 'P2', 'T3'" in notes


def test_units_without_age_and_large_gaps_are_nodata(geology):
    """R31."""
    classes = prepare_stratum(geology, GRID).compute(GRID)["stratum_class"]
    assert classes.dtype == np.uint8
    np.testing.assert_array_equal(classes[0], [1] * 20 + [3] * 20 + [2] * 12 + [255] * 28)
    assert (classes[40:50, 45:47] == 255).all()


def test_a_pixel_has_the_same_class_whatever_the_window(geology):
    """R14: in single pixels and odd windows, from several threads."""
    family = prepare_stratum(geology, GRID)
    whole = family.compute(GRID)["stratum_class"]
    windows = [np.s_[r : min(r + 7, 60), c : min(c + 11, 80)] for r in range(0, 60, 7) for c in range(0, 80, 11)]
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda window: family.compute(GRID[window])["stratum_class"], windows))
    for window, part in zip(windows, parts, strict=True):
        np.testing.assert_array_equal(part, whole[window])


def test_what_is_computed_may_be_changed_without_harm(geology):
    family = prepare_stratum(geology, GRID)
    family.compute(GRID)["stratum_class"][:] = 9
    assert (family.compute(GRID)["stratum_class"] != 9).all()


@pytest.mark.realdata
def test_the_real_map_covers_its_area(data_folder):
    """R31: the Hamersley map has no gaps beyond slivers, and its overlaps are none."""
    path = data_folder / "hamersley-geology" / "geology.geojson"
    frame = gpd.read_file(path).to_crs("EPSG:32750")
    left, bottom, _, _ = frame.total_bounds
    grid = GeoBox.from_bbox((left + 5e3, bottom + 5e3, left + 25e3, bottom + 25e3), crs="EPSG:32750", resolution=50)
    family = prepare_stratum(GeologyConfig(path=path, field="code", ages=tuple(sorted(set(frame["code"])))), grid)
    attrs = family.bands[0].provenance
    assert attrs["share_unmapped_after_filling"] == 0
    assert attrs["share_unmapped"] < 1e-3
    assert attrs["share_overlapping"] < 1e-3
