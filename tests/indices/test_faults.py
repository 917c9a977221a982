"""Distance to faults against shapely and scipy."""

from concurrent.futures import ThreadPoolExecutor

import geopandas as gpd
import numpy as np
import pytest
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from scipy.ndimage import distance_transform_edt
from shapely import LineString, MultiLineString, STRtree, points

from coslide.config.schema import FaultsConfig
from coslide.cube.band import class_by_edges
from coslide.indices.geology import fault_distance, prepare_fault_distance
from coslide.sources.geology import read_traces

REACH_M = 6000.0
GRID = GeoBox.from_bbox((500_000, 3_700_000, 504_000, 3_703_000), crs="EPSG:32654", resolution=10)


def distance_class(distance_m, *, edges_m=tuple(1000.0 * edge for edge in range(1, 7))):
    return class_by_edges(distance_m, edges_m, lowest=1)


def broken_trace(seed=0, count=40):
    """Return a trace that wanders across the grid and beyond it."""
    rng = np.random.default_rng(seed)
    x_m = np.linspace(498_000, 507_000, count)
    return LineString(np.stack([x_m, 3_701_500 + np.cumsum(rng.normal(0, 150, count))], axis=1))


def exact_distance(traces, grid, rows, columns):
    """Return the distance in metres from pixel centres to the nearest trace, from shapely."""
    x_m, y_m = grid.affine @ (columns + 0.5, rows + 0.5)
    centres = points(np.asarray(x_m), np.asarray(y_m))
    parts = np.array(traces)
    return centres, STRtree(parts).query_nearest(centres, return_distance=True, all_matches=False)[1]


@pytest.mark.parametrize(
    "traces",
    [
        [broken_trace()],
        [broken_trace(1), LineString([(500_333, 3_690_000), (502_777, 3_710_000)])],
        [LineString([(495_000, 3_690_000), (495_100, 3_710_000)])],
        [MultiLineString([[(503_000, 3_698_000), (509_000, 3_701_000)], [(0, 0), (1, 1)]])],
    ],
    ids=["across", "two", "beside", "corner"],
)
def test_distances_are_within_10_m_of_the_exact_ones(traces):
    """R25: even within half the diagonal of a pixel."""
    rows, columns = np.random.default_rng(3).integers(0, [[300], [400]], (2, 4000))
    _, expected = exact_distance(traces, GRID, rows, columns)
    found = fault_distance(traces, GRID, reach_m=REACH_M)[rows, columns]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.minimum(expected, REACH_M), atol=7.2)


def test_a_fault_beside_the_grid_gives_what_a_larger_grid_gives():
    """R23: but for the corners of single pixels, as GDAL clips the line elsewhere."""
    trace = LineString([(509_000, 3_699_000), (506_500, 3_706_000)])
    large = GRID.pad(700)
    expected = fault_distance([trace], large, reach_m=REACH_M)[700:-700, 700:-700]
    found = fault_distance([trace], GRID, reach_m=REACH_M)
    np.testing.assert_allclose(found, expected, atol=5.0)
    assert np.mean(distance_class(found) != distance_class(expected)) < 5e-4
    assert len(np.unique(distance_class(found))) > 3


def test_a_fault_at_the_very_end_of_the_reach_still_counts():
    """R23: the margin holds the whole reach."""
    trace = LineString([(504_000 - 5 + REACH_M - 12, 3_690_000), (504_000 - 5 + REACH_M - 12, 3_710_000)])
    distance_m = fault_distance([trace], GRID, reach_m=REACH_M)
    assert distance_m[0, -1] < REACH_M
    assert distance_m[0, 0] == REACH_M


@pytest.mark.parametrize("traces", [[], [LineString()], [LineString([(600_000, 0), (700_000, 0)])]])
def test_without_a_fault_in_reach_every_pixel_is_in_the_last_class(traces):
    """R24: scipy alone answers with finite numbers that mean nothing."""
    distance_m = fault_distance(traces, GRID, reach_m=REACH_M)
    assert distance_m.shape == GRID.shape
    assert (distance_class(distance_m) == 7).all()


def test_pixels_that_are_not_square_have_the_distance_in_metres():
    """R25: 30 m to the north, 10 m to the east."""
    grid = GeoBox((40, 50), GRID.affine @ GRID.affine.scale(1.0, 3.0), GRID.crs)
    x_m, y_m = grid.affine @ (20.5, 10.5)
    distance_m = fault_distance([LineString([(x_m, y_m), (x_m + 1, y_m)])], grid, reach_m=REACH_M)
    rows, columns = np.indices(grid.shape)
    np.testing.assert_allclose(distance_m, np.hypot(30 * (rows - 10), 10 * (columns - 20)), rtol=1e-6)


def test_a_south_up_grid_gets_the_same_distances_upside_down():
    """R19."""
    traces = [broken_trace()]
    np.testing.assert_array_equal(
        fault_distance(traces, GRID.flipy(), reach_m=REACH_M), fault_distance(traces, GRID, reach_m=REACH_M)[::-1]
    )


def test_every_pixel_that_a_trace_touches_has_distance_0():
    """R25: also where it cuts a corner."""
    trace = broken_trace()
    zero = fault_distance([trace], GRID, reach_m=REACH_M) == 0
    along = [trace.interpolate(metre) for metre in np.arange(3.3, trace.length, 7.0)]
    pixels = np.floor(np.array([~GRID.affine @ (place.x, place.y) for place in along])).astype(int)
    inside = ((pixels >= 0) & (pixels < [400, 300])).all(axis=1)
    assert zero[pixels[inside, 1], pixels[inside, 0]].all()


def test_a_shorter_reach_only_cuts_the_distances_off():
    """R23."""
    traces = [broken_trace()]
    far, near = (fault_distance(traces, GRID, reach_m=reach_m) for reach_m in (REACH_M, 500.0))
    np.testing.assert_array_equal(near, np.minimum(far, 500))


@pytest.mark.parametrize(
    ("distance_m", "expected"),
    [(0.0, 1), (999.9, 1), (1000.0, 2), (1999.9, 2), (2000.0, 3), (5999.0, 6), (6000.0, 7), (np.inf, 7), (np.nan, 255)],
)
def test_an_edge_belongs_to_the_class_beyond_it(distance_m, expected):
    """R25."""
    classes = distance_class(distance_m)
    assert classes == expected
    assert classes.dtype == np.uint8


def test_the_edges_can_be_set():
    """R25."""
    np.testing.assert_array_equal(distance_class([[0, 500], [1500, 9e9]], edges_m=(500, 1500)), [[1, 2], [3, 3]])


@pytest.mark.parametrize("edges_m", [(2000, 1000), (1000, 1000), ((1,), (2,)), tuple(range(254))])
def test_edges_that_do_not_ascend_are_refused(edges_m):
    """The message shows them."""
    with pytest.raises(ValueError, match="ascending"):
        distance_class([0.0], edges_m=edges_m)


def test_negative_distances_are_refused():
    """The message names the smallest."""
    with pytest.raises(ValueError, match="found -2,"):
        distance_class([3.0, -1.0, -2.0])


@pytest.mark.parametrize("seed", [1, 2])
def test_the_distance_transform_agrees_with_that_of_scipy(seed):
    """R24."""
    trace = broken_trace(seed)
    wide = GRID.pad(700)
    away = rasterize([trace], out_shape=wide.shape, transform=wide.affine, fill=1, default_value=0, all_touched=True)
    expected = np.minimum(distance_transform_edt(away, sampling=10.0), REACH_M)[700:-700, 700:-700]
    np.testing.assert_allclose(fault_distance([trace], GRID, reach_m=REACH_M), expected, atol=5.0)
    inner = (slice(100, -100), slice(100, -100))
    assert np.mean(np.abs(fault_distance([trace], GRID, reach_m=REACH_M) - expected)[inner] > 1e-3) < 0.01


@pytest.fixture
def faults(tmp_path):
    """A trace across the grid, in degrees."""
    frame = gpd.GeoDataFrame({"n": [0]}, geometry=[broken_trace()], crs=GRID.crs.to_wkt()).to_crs(4326)
    frame.to_file(tmp_path / "faults.gpkg")
    return FaultsConfig(path=tmp_path / "faults.gpkg", edges_km=(0.25, 0.5, 1.2))


def test_the_index_and_the_distance_say_what_they_are(faults):
    """R25."""
    index, distance = prepare_fault_distance(faults, GRID).bands
    assert (index.name, index.dtype, index.unit, index.role) == ("fault_distance_class", "uint8", "1", "index")
    assert (index.classes, index.definition) == (4, "edges 250, 500, 1200 m")
    assert (distance.name, distance.dtype, distance.unit, distance.role) == (
        "fault_distance", "float32", "m", "diagnostic",
    )  # fmt: skip
    assert "capped at 1200 m" in distance.long_name


def test_the_classes_are_those_of_the_distance(faults):
    """R25: and the distance is that to the lines of the file."""
    found = prepare_fault_distance(faults, GRID).compute(GRID)
    distance_m = found["fault_distance"]
    assert distance_m.max() == 1200
    np.testing.assert_array_equal(found["fault_distance_class"], 1 + np.digitize(distance_m, (250, 500, 1200)))
    rows, columns = np.random.default_rng(3).integers(0, [[300], [400]], (2, 2000))
    _, expected = exact_distance(read_traces(faults, GRID).lines, GRID, rows, columns)
    np.testing.assert_allclose(distance_m[rows, columns], np.minimum(expected, 1200), atol=7.2)


def test_a_grid_without_a_fault_in_reach_is_in_the_last_class_and_it_is_noted(faults):
    """R24."""
    far = GeoBox.from_bbox((560_000, 3_700_000, 561_000, 3_701_000), crs=GRID.crs, resolution=10)
    family = prepare_fault_distance(faults, far)
    assert (family.compute(far)["fault_distance_class"] == 4).all()
    assert (family.compute(far)["fault_distance"] == 1200).all()
    assert "no trace lies within 1200 m of the grid: every pixel is in the last class" in family.notes


def test_how_many_traces_count_is_noted(faults):
    notes = prepare_fault_distance(faults, GRID).notes
    assert notes == ("1 of 1 features are taken for traces", "the nearest pixel lies 0 m from a trace")


def test_a_pixel_has_the_same_distance_and_class_whatever_the_window(faults):
    """R14: from several threads."""
    family = prepare_fault_distance(faults, GRID)
    whole = family.compute(GRID)
    windows = [
        np.s_[r : min(r + 37, 300), c : min(c + 101, 400)] for r in range(0, 300, 37) for c in range(0, 400, 101)
    ]
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda window: family.compute(GRID[window]), windows))
    for window, part in zip(windows, parts, strict=True):
        for name, values in part.items():
            np.testing.assert_array_equal(values, whole[name][window])


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "crs", "corner"),
    [
        ("faults/HimaTibetMap.geojson", "EPSG:32648", (370_000, 3_640_000)),  # Jiuzhaigou
        ("faults/HimaTibetMap.geojson", "EPSG:32645", (260_000, 3_040_000)),  # Gorkha
        ("hamersley-geology/faults.geojson", "EPSG:32750", (530_000, 7_480_000)),
        ("iburi-2018/faults/gem_active_faults.gpkg", "EPSG:32654", (540_000, 4_720_000)),
    ],
)
def test_the_distance_to_real_faults_is_that_of_shapely(data_folder, name, crs, corner):
    """R25: within 10 m, on pixels of 10 m."""
    x, y = corner
    grid = GeoBox.from_bbox((x, y, x + 25_000, y + 20_000), crs=crs, resolution=10)
    faults = FaultsConfig(path=data_folder / name)
    distance_m = prepare_fault_distance(faults, grid).compute(grid)["fault_distance"]
    rows, columns = np.random.default_rng(3).integers(0, [[2000], [2500]], (2, 3000))
    _, expected = exact_distance(read_traces(faults, grid).lines, grid, rows, columns)
    np.testing.assert_allclose(distance_m[rows, columns], np.minimum(expected, REACH_M), atol=10)
    assert distance_m.min() < REACH_M
