"""Rasters on windows of the grid, against scipy at positions from pyproj, and against GDAL on its own."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.transform import Affine
from rasterio.warp import reproject
from scipy.ndimage import gaussian_filter, map_coordinates

from coslide.grid import pixel_coordinates, pixel_offset
from coslide.io.resample import resample

UTM = "EPSG:32654"
GRID = GeoBox((600, 900), Affine(10, 0, 572000, 0, -10, 4735000), UTM)
DEGREES = GeoBox((260, 450), Affine(1 / 3600, 0, 141.87, 0, -1 / 3600, 42.78), "EPSG:4326")  # 500 m beyond the grid
PLACES = {  # the grid, and a raster of pixels of 30 m or 10 m around it
    "degrees": (GRID, DEGREES),
    "degrees in the far north": (
        GeoBox((600, 900), Affine(10, 0, 640000, 0, -10, 7750000), UTM),
        GeoBox((260, 350), Affine(1 / 1200, 0, 144.6, 0, -1 / 3600, 69.83), "EPSG:4326"),
    ),
    "the next zone": (
        GeoBox((600, 900), Affine(10, 0, 256000, 0, -10, 4735000), UTM),
        GeoBox((1100, 1200), Affine(10, 0, 745000, 0, -10, 4739000), "EPSG:32653"),
    ),
}
KERNELS = [Resampling.bilinear, Resampling.cubic, Resampling.cubic_spline]
WINDOWS = [(slice(0, 1), slice(0, 900)), (slice(131, 402), slice(377, 391)), (slice(599, 600), slice(899, 900))]


def exact(grid, raster):
    """Return row and column in a raster, of every pixel; whole numbers are centres of its pixels."""
    rows, cols = np.indices(grid.shape) + 0.5
    x, y = grid.affine.c + grid.affine.a * cols, grid.affine.f + grid.affine.e * rows
    x, y = Transformer.from_crs(str(grid.crs), str(raster.crs), always_xy=True).transform(x, y)
    back = ~raster.transform
    return back.d * x + back.e * y + back.f - 0.5, back.a * x + back.b * y + back.c - 0.5


def rough(shape, seed=0):
    """Return numbers between 0 and 1, each pixel for itself."""
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def terrain(shape, seed=0):
    """Return smooth random terrain in metres."""
    noise = np.random.default_rng(seed).normal(size=shape)
    return (gaussian_filter(noise, 3.0) * 1000.0 + 800.0).astype(np.float32)


def steepest(values):
    return max(np.abs(np.diff(values, axis=axis)).max() for axis in (0, 1))


def resampled(values, raster, grid=GRID, *, how=Resampling.bilinear, **keys):
    return resample(raster, lambda rows, cols: values[rows, cols], grid, how=how, **keys)


@pytest.mark.parametrize("how", [Resampling.bilinear, Resampling.cubic_spline])
@pytest.mark.parametrize("place", PLACES)
def test_values_come_from_the_exact_place(place, how):
    """R19, R28: to 1e-4 pixels of the raster; the value of each is its row, then its column."""
    grid, raster = PLACES[place]
    for expected, ramp in zip(exact(grid, raster), np.indices(raster.shape, dtype=np.float32), strict=True):
        found = resampled(ramp, raster, grid, how=how)
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("place", PLACES)
def test_bilinear_values_are_those_of_scipy(place):
    """R28: no wider a kernel than the four pixels around; GDAL left alone would be wrong by 0.05."""
    grid, raster = PLACES[place]
    values = rough(raster.shape)
    expected = map_coordinates(values.astype(float), exact(grid, raster), order=1)
    np.testing.assert_allclose(resampled(values, raster, grid), expected, atol=1e-4)


@pytest.mark.parametrize("place", PLACES)
def test_the_cubic_spline_is_the_b_spline_of_scipy(place):
    """R19: it smooths a little and never overshoots."""
    grid, raster = PLACES[place]
    values = terrain(raster.shape)
    expected = map_coordinates(values.astype(float), exact(grid, raster), order=3, prefilter=False)
    found = resampled(values, raster, grid, how=Resampling.cubic_spline)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_turned_raster_is_sampled_where_it_lies():
    """R28: rows of the raster need not run along those of the grid."""
    turned = Affine.translation(570000, 4738000) @ Affine.rotation(-20) @ Affine.scale(30, -30)
    raster = GeoBox((400, 600), turned, UTM)
    values = rough(raster.shape)
    expected = map_coordinates(values.astype(float), exact(GRID, raster), order=1, cval=np.nan)
    found = resampled(values, raster)
    clear = np.isfinite(expected)
    assert clear.mean() > 0.9
    np.testing.assert_allclose(found[clear], expected[clear], atol=1e-4)


def test_finer_pixels_are_averaged():
    """Stripes of 2.5 m leave no trace in pixels of 10 m, whichever of the four the centre is near."""
    raster = GeoBox((700, 900), Affine(3e-5, 0, 141.9, 0, -3e-5, 42.76), "EPSG:4326")
    stripes = np.tile(np.arange(900, dtype=np.float32) % 2, (700, 1))
    found = resampled(stripes, raster)
    valid = found[np.isfinite(found)]
    assert valid.size > 30_000
    assert np.abs(valid - 0.5).mean() < 0.03


@pytest.mark.parametrize("size_m", [20.0, 15.0, 60.0])
def test_in_one_crs_bilinear_values_are_those_of_gdal(size_m):
    """R15: nodata pixels are left out and the others share the weight; a hole keeps its size."""
    raster = GeoBox((int(6200 / size_m), int(9200 / size_m)), Affine(size_m, 0, 571990, 0, -size_m, 4735040), UTM)
    values = rough(raster.shape)
    values[20:24, 30:37], values[40, 41], values[-9:, -9:] = np.nan, np.nan, np.nan
    expected = np.full(GRID.shape, np.nan, dtype=np.float32)
    places = {"src_transform": raster.transform, "src_crs": UTM, "dst_transform": GRID.affine, "dst_crs": UTM}
    reproject(values, expected, **places, src_nodata=np.nan, resampling=Resampling.bilinear, XSCALE=1, YSCALE=1)
    np.testing.assert_allclose(resampled(values, raster), expected, atol=1e-6)


@pytest.mark.parametrize("how", KERNELS)
def test_beside_nodata_pixels_the_others_count_in_proportion(how):
    """R21: a constant stays a constant, a hole keeps its size."""
    values = np.full(DEGREES.shape, 120, dtype=np.float32)
    values[100:103, 145:155], values[200, 31] = np.nan, np.nan
    found = resampled(values, DEGREES, how=how)
    row, col = exact(GRID, DEGREES)
    clear = (np.abs(row % 1 - 0.5) > 0.004) & (np.abs(col % 1 - 0.5) > 0.004)
    nodata = np.isnan(values[np.rint(row).astype(int), np.rint(col).astype(int)])
    assert nodata.sum() > 200
    np.testing.assert_array_equal(np.isnan(found)[clear], nodata[clear])
    np.testing.assert_allclose(found[np.isfinite(found)], 120, atol=1e-3)


@pytest.mark.parametrize("how", KERNELS)
def test_a_raster_reaches_to_its_outer_edge_and_no_further(how):
    """R18, R28: the outermost half pixel counts too; bilinear goes on level there."""
    raster = DEGREES[70:190, 80:280]
    values = terrain(raster.shape)
    found = resampled(values, raster, how=how)
    row, col = exact(GRID, raster)
    inside = (row > -0.496) & (row < 119.496) & (col > -0.496) & (col < 199.496)
    outside = (row < -0.504) | (row > 119.504) | (col < -0.504) | (col > 199.504)
    assert min(inside.sum(), outside.sum()) > 100_000
    assert np.isfinite(found[inside]).all()
    assert np.isnan(found[outside]).all()
    if how is Resampling.bilinear:
        level = map_coordinates(values.astype(float), (row, col), order=1, mode="nearest")
        np.testing.assert_allclose(found[inside], level[inside], atol=0.3)


def assert_same(found, expected, *, steepest=1.0):
    """To 3e-6 of a raster pixel each, where `steepest` is the largest step from one pixel to the next."""
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=6e-6 * steepest)


@pytest.mark.parametrize("part", WINDOWS)
@pytest.mark.parametrize("how", [Resampling.nearest, *KERNELS])
@pytest.mark.parametrize("place", PLACES)
def test_a_window_has_the_values_of_the_whole(place, how, part):
    """R14."""
    grid, raster = PLACES[place]
    values = rough(raster.shape)
    values[65:75, 45:165] = np.nan
    whole = resampled(values, raster, grid, how=how)
    assert_same(resampled(values, raster, grid[part], how=how), whole[part])


@pytest.mark.parametrize("size_deg", [3e-5, 8e-5])
def test_a_window_has_the_values_of_the_whole_where_finer_pixels_are_averaged(size_deg):
    """R14."""
    raster = GeoBox((700, 900), Affine(size_deg, 0, 141.9, 0, -size_deg, 42.76), "EPSG:4326")
    values = rough(raster.shape)
    whole = resampled(values, raster)
    for part in WINDOWS:
        assert_same(resampled(values, raster, GRID[part]), whole[part])


@pytest.mark.parametrize("raster", [DEGREES, GeoBox((310, 460), Affine(20, 0, 571990, 0, -20, 4735040), UTM)])
@pytest.mark.parametrize("corner", [(573000.1, 4734000.7), (573000.0, 4734000.0)])
def test_windows_agree_where_pixels_have_no_exact_size(raster, corner):
    """R14: 10 m has few digits, a third of a metre has not; nor has a shift."""
    grid = GeoBox((400, 300), Affine(1 / 3, 0, corner[0], 0, -1 / 3, corner[1]), UTM)
    values = rough(raster.shape)
    for shift_m in [(0.0, 0.0), (3.21, -1.234567)]:
        whole = resampled(values, raster, grid, shift_m=shift_m)
        for i in range(0, 390, 13):
            part = slice(i, i + 7), slice(i // 2, i // 2 + 31)
            assert_same(resampled(values, raster, grid[part], shift_m=shift_m), whole[part])


def test_neighbouring_grids_agree_where_they_overlap():
    """R14: so maps of neighbouring areas fit together."""
    values = terrain(DEGREES.shape)
    other = GRID[70:600, 230:810].pad(11)
    found = resampled(values, DEGREES, other, how=Resampling.cubic_spline)
    whole = resampled(values, DEGREES, how=Resampling.cubic_spline)
    assert_same(found[11:-11, 11:-11], whole[70:600, 230:810], steepest=steepest(values))


def test_strips_may_be_computed_by_threads():
    """R14: GDAL shares nothing between them."""
    values = terrain(DEGREES.shape)
    whole = resampled(values, DEGREES)
    with ThreadPoolExecutor(4) as pool:
        strips = list(pool.map(lambda top: resampled(values, DEGREES, GRID[top : top + 50]), range(0, 600, 50)))
    assert_same(np.concatenate(strips), whole, steepest=steepest(values))


def test_classes_come_from_the_nearest_pixel_and_none_is_new():
    """R12: whatever the CRS; 0 beyond the raster."""
    raster = DEGREES[:200, :300]
    values = np.random.default_rng(4).choice(np.array([3, 7, 200], dtype=np.uint8), raster.shape)
    found = resampled(values, raster, how=Resampling.nearest)
    assert found.dtype == np.uint8
    row, col = exact(GRID, raster)
    clear = (np.abs(row % 1 - 0.5) > 0.004) & (np.abs(col % 1 - 0.5) > 0.004)
    inside = (row > -0.5) & (row < 199.5) & (col > -0.5) & (col < 299.5)
    expected = np.zeros(GRID.shape, dtype=np.uint8)
    expected[inside] = values[np.rint(row[inside]).astype(int), np.rint(col[inside]).astype(int)]
    np.testing.assert_array_equal(found[clear], expected[clear])


@pytest.mark.parametrize("how", KERNELS)
def test_pixels_that_coincide_are_copied(how):
    """R15: to the bit, whichever kernel is asked for."""
    values = rough((700, 1000))
    raster = GeoBox(values.shape, Affine(10, 0, 571900, 0, -10, 4735100), UTM)
    assert pixel_offset(raster, GRID) is not None
    np.testing.assert_array_equal(resampled(values, raster, how=how), values[10:610, 10:910])
    moved = resampled(values, raster, how=how, shift_m=(30.0, -20.0))
    np.testing.assert_array_equal(moved, values[8:608, 7:907])


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (Affine(10, 0, 571900.005, 0, -10, 4735100), True),
        (Affine(10, 0, 571900.05, 0, -10, 4735100), False),
        (Affine(10.00005, 0, 571900, 0, -10, 4735100), False),  # 5 cm from end to end
        (Affine(10, 0, 571900, 0, 10, 4728100), False),
        (Affine(20, 0, 571900, 0, -20, 4735100), False),
    ],
)
def test_pixels_coincide_to_a_thousandth_over_the_whole_raster(transform, expected):
    """R14: a small window does not coincide where the whole grid does not."""
    raster = GeoBox((700, 1000), transform, UTM)
    assert (pixel_offset(raster, GRID) is not None) is expected
    assert (pixel_offset(raster, GRID[5:6, 7:8]) is not None) is expected


@pytest.mark.parametrize("west_deg", [178.5, 178.5 - 360])
def test_longitudes_may_run_beyond_180_degrees_or_start_again(west_deg):
    """R28: Fiji, on both sides of the 180th meridian, which PROJ calls -180."""
    grid = GeoBox((500, 800), Affine(100, 0, 160000, 0, -100, 8000000), "EPSG:32701")
    raster = GeoBox((80, 60), Affine(0.05, 0, west_deg, 0, -0.05, -16), "EPSG:4326")
    longitudes = np.tile(np.arange(60, dtype=np.float32) * 0.05 + 178.525, (80, 1))
    east_deg = (exact(grid, GeoBox(raster.shape, Affine.translation(0.5, 0.5), raster.crs))[1] + 1) % 360
    assert east_deg.min() < 179.9
    assert east_deg.max() > 180.5
    np.testing.assert_allclose(resampled(longitudes, raster, grid), east_deg, atol=2e-4)


def test_where_a_crs_does_not_reach_there_is_no_value():
    """R22: PROJ says infinity there."""
    far = GeoBox((50, 50), Affine(10, 0, 500000, 0, -10, 6200000), "EPSG:32733")
    assert np.isnan(resampled(rough(far.shape), far)).all()
    ortho = GeoBox((50, 50), Affine(10, 0, 0, 0, -10, 0), "+proj=ortho +lat_0=-42 +lon_0=-40")
    assert not np.isfinite(pixel_coordinates(ortho, GRID, points=3)).any()
    assert np.isnan(resampled(rough(ortho.shape), ortho)).all()


def test_only_the_part_around_the_window_is_read():
    """R41: so a scene need not fit into memory."""
    grid, raster = PLACES["the next zone"]
    asked = []

    def read(rows, cols):
        asked.append((rows.stop - rows.start, cols.stop - cols.start))
        return np.zeros(asked[-1], dtype=np.float32)

    resample(raster, read, grid[300:310, 500:510], how=Resampling.bilinear)
    assert len(asked) == 1
    assert asked[0][0] < 600 > asked[0][1]


@pytest.mark.parametrize("how", [Resampling.nearest, Resampling.bilinear, Resampling.cubic])
@pytest.mark.parametrize("crs", ["EPSG:32654", "EPSG:32655"])
def test_a_window_done_in_halves_is_the_same(monkeypatch, how, crs):
    """The work of a huge raster is cut, its values are not."""
    values = np.random.default_rng(0).normal(size=(300, 300)).astype(np.float32)
    x, y = Transformer.from_crs("EPSG:32654", crs, always_xy=True).transform(500000, 4700000)
    raster = GeoBox(values.shape, Affine(2, 0, x, 0, -2, y), crs)
    window = GeoBox((50, 40), Affine(10, 0, 500050, 0, -10, 4699950), "EPSG:32654")
    most = []

    def read(rows, cols):
        most.append((rows.stop - rows.start) * (cols.stop - cols.start))
        return values[rows, cols]

    whole = resample(raster, read, window, how=how)
    monkeypatch.setattr("coslide.io.resample.LARGEST_READ_PX", 5000)
    halves = resample(raster, read, window, how=how)
    np.testing.assert_allclose(halves, whole, atol=1e-4)
    assert max(most[1:]) <= 5000 < most[0]
