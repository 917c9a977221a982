"""Slope, aspect and curvature against surfaces with a closed form, and against xdem."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, laplace

from coslide.indices.derivatives import (
    aspect_class,
    esri_curvature,
    slope_aspect_curvature,
    smooth,
    smoothing_margin_px,
)

PIXEL_M = 10.0
INSIDE = (slice(1, -1), slice(1, -1))


def east_north(size=41):
    """Return metres east and north of the middle pixel, float64 (row, col), row 0 in the north."""
    offset = (np.arange(size) - size // 2) * PIXEL_M
    return np.meshgrid(offset, -offset)


def hills(seed=0, size=120):
    """Return smooth random terrain in metres, float32 (row, col), about 800 m high."""
    noise = np.random.default_rng(seed).normal(size=(size, size))
    return (gaussian_filter(noise, 6.0) * 2000.0 + 800.0).astype(np.float32)


def angle_between(one_deg, other_deg):
    """Return the smaller angle between two azimuths in degrees."""
    return np.abs((one_deg - other_deg + 180.0) % 360.0 - 180.0)


@pytest.mark.parametrize("azimuth_deg", [0.0, 30.0, 90.0, 135.0, 180.0, 200.5, 270.0, 337.5])
@pytest.mark.parametrize("slope_deg", [5.0, 35.0])
def test_a_plane_has_its_closed_form_slope_and_aspect(azimuth_deg, slope_deg):
    """R15."""
    east, north = east_north(9)
    azimuth = np.radians(azimuth_deg)
    fall = np.tan(np.radians(slope_deg))
    plane = slope_aspect_curvature(500.0 - fall * (np.sin(azimuth) * east + np.cos(azimuth) * north), PIXEL_M)
    np.testing.assert_allclose(plane.slope_deg[INSIDE], slope_deg, atol=1e-3)
    np.testing.assert_array_less(angle_between(plane.aspect_deg[INSIDE], azimuth_deg), 1e-2)
    np.testing.assert_allclose(plane.mean_curvature_per_m[INSIDE], 0.0, atol=2e-6)


@pytest.mark.parametrize("sign", [1, -1], ids=["dome", "bowl"])
def test_a_sphere_has_the_curvature_of_its_radius_wherever_it_is_steep_or_flat(sign):
    """R15: positive on the dome, within 0.5 % in float32."""
    radius_m = 2000.0
    east, north = east_north(161)
    sphere = slope_aspect_curvature(1500.0 + sign * np.sqrt(radius_m**2 - east**2 - north**2), PIXEL_M)
    np.testing.assert_allclose(sphere.mean_curvature_per_m[INSIDE] * radius_m, sign, rtol=5e-3)


def test_a_sphere_has_its_closed_form_slope():
    """R15."""
    radius_m = 2000.0
    east, north = east_north(161)
    sphere = slope_aspect_curvature(np.sqrt(radius_m**2 - east**2 - north**2), PIXEL_M)
    expected = np.degrees(np.arcsin(np.hypot(east, north) / radius_m))
    np.testing.assert_allclose(sphere.slope_deg[INSIDE], expected[INSIDE], atol=5e-3)


def test_a_cone_falls_away_from_its_tip_and_bends_in_one_direction_only():
    """R15: on a cone of slope a, H = cos(a) tan(a) / (2 r)."""
    east, north = east_north(101)
    r_m = np.hypot(east, north)
    cone = slope_aspect_curvature(1000.0 - 0.5 * r_m, PIXEL_M)
    far = r_m > 200.0
    far[[0, -1]] = far[:, [0, -1]] = False
    np.testing.assert_array_less(angle_between(cone.aspect_deg, np.degrees(np.arctan2(east, north)))[far], 0.1)
    expected = 0.5 / np.sqrt(1.25) / (2.0 * r_m[far])
    np.testing.assert_allclose(cone.mean_curvature_per_m[far], expected, rtol=0.02, atol=2e-6)


def test_a_saddle_has_no_mean_curvature_at_its_centre():
    """R15: the principal curvatures cancel; the Laplacian does too, but the mixed term must not leak in."""
    east, north = east_north(5)
    for saddle in (east**2 - north**2, east * north):
        centre = slope_aspect_curvature(saddle / 1000.0, PIXEL_M)
        assert abs(centre.mean_curvature_per_m[2, 2]) < 1e-7


def test_a_tilted_quadratic_has_the_curvature_of_the_formula():
    """R15: all terms of H, from the exact derivatives p, q, r, s, t of the surface."""
    east, north = east_north(5)
    r, s, t = -0.004, 0.002, -0.001
    surface = slope_aspect_curvature(
        0.4 * east - 0.7 * north + r / 2 * east**2 + s * east * north + t / 2 * north**2, 10
    )
    p, q = 0.4, -0.7
    expected = -((1 + q**2) * r - 2 * p * q * s + (1 + p**2) * t) / (2 * (1 + p**2 + q**2) ** 1.5)
    np.testing.assert_allclose(surface.mean_curvature_per_m[2, 2], expected, rtol=1e-4)


def test_the_curvature_of_arcgis_at_the_top_of_a_sphere_is_200_over_its_radius():
    """R15: 100 times the two principal curvatures together; more on the slopes, where H stays."""
    radius_m = 2000.0
    east, north = east_north(161)
    sphere = esri_curvature(np.sqrt(radius_m**2 - east**2 - north**2), PIXEL_M)
    assert sphere[80, 80] * radius_m == pytest.approx(200.0, rel=5e-3)
    assert sphere[80, 150] > 1.1 * sphere[80, 80]


def test_the_curvature_of_arcgis_is_minus_100_times_the_laplacian():
    """R15: on a quadratic the differences are exact, whatever the slope."""
    east, north = east_north(5)
    r, s, t = -0.004, 0.002, -0.001
    surface = 0.4 * east - 0.7 * north + r / 2 * east**2 + s * east * north + t / 2 * north**2
    np.testing.assert_allclose(esri_curvature(surface, PIXEL_M)[INSIDE], -100 * (r + t), rtol=1e-3)


def test_the_curvature_of_arcgis_equals_the_laplacian_of_scipy():
    """R16: another library, on random terrain."""
    elevation = hills(12, 40).astype(np.float64)
    expected = -100 * laplace(elevation) / PIXEL_M**2
    np.testing.assert_allclose(esri_curvature(elevation, PIXEL_M)[INSIDE], expected[INSIDE], atol=1e-3)


def test_the_curvature_of_arcgis_is_missing_where_slope_is():
    """R21: so that all layers have the same holes."""
    elevation = hills(13, 12)
    elevation[5, 6], elevation[9, 2] = np.nan, np.inf
    slope = slope_aspect_curvature(elevation, PIXEL_M).slope_deg
    np.testing.assert_array_equal(np.isnan(esri_curvature(elevation, PIXEL_M)), np.isnan(slope))


def test_slope_and_aspect_equal_those_of_xdem():
    """R16: Horn's method of another library."""
    elevation = hills()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # xdem and what it imports announce deprecations of their own
        from xdem import terrain as xdem

        expected = [
            np.asarray(attribute)
            for attribute in xdem.get_terrain_attribute(
                elevation, ["slope", "aspect"], resolution=PIXEL_M, surface_fit="Horn"
            )
        ]
    terrain = slope_aspect_curvature(elevation, PIXEL_M)
    np.testing.assert_allclose(terrain.slope_deg[INSIDE], expected[0][INSIDE], atol=0.01)
    steep = terrain.slope_deg[INSIDE] > 1.0
    np.testing.assert_array_less(angle_between(terrain.aspect_deg[INSIDE], expected[1][INSIDE])[steep], 0.2)


def test_mean_curvature_equals_half_the_sum_of_the_principal_curvatures_of_xdem():
    """R16: xdem gives them in 1/(100 m), fitted to other windows (Zevenbergen and Thorne: 3 x 3)."""
    elevation = smooth(hills(1), 4.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from xdem import terrain as xdem

        largest, smallest = (
            np.asarray(curvature(elevation.astype(np.float64), resolution=PIXEL_M, surface_fit="ZevenbergThorne"))
            for curvature in (xdem.max_curvature, xdem.min_curvature)
        )
    inside = (slice(20, -20), slice(20, -20))
    found = slope_aspect_curvature(elevation, PIXEL_M).mean_curvature_per_m[inside]
    expected = ((largest + smallest) / 2 / 100)[inside]
    spread = expected.std()
    assert np.sqrt(np.mean((found - expected) ** 2)) < 0.01 * spread
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.9999
    np.testing.assert_allclose(np.polyfit(expected.ravel(), found.ravel(), 1)[0], 1.0, atol=0.005)


def test_rotating_the_terrain_by_90_degrees_turns_the_aspect_and_nothing_else():
    """R19: rows and columns are not mixed up."""
    elevation = hills(2, 60)
    straight = slope_aspect_curvature(elevation, PIXEL_M)
    turned = slope_aspect_curvature(np.rot90(elevation), PIXEL_M)
    np.testing.assert_allclose(turned.slope_deg, np.rot90(straight.slope_deg), atol=1e-4)
    np.testing.assert_allclose(turned.mean_curvature_per_m, np.rot90(straight.mean_curvature_per_m), atol=1e-7)
    np.testing.assert_array_less(angle_between(turned.aspect_deg, np.rot90(straight.aspect_deg) - 90.0)[INSIDE], 1e-2)


def test_adding_height_changes_nothing():
    """The centre is subtracted first; sums of heights, of 24 bits each, would be rounded."""
    elevation = np.round(hills(3, 50) * 4096) / 4096
    low, high = (slope_aspect_curvature(elevation + lift, PIXEL_M) for lift in (0.0, 2048.0))
    for one, other in zip(low, high, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_nodata_pixel_is_missing_in_its_neighbours_and_nowhere_else():
    """R21."""
    elevation = hills(4, 12)
    elevation[5, 6] = np.nan
    missing = np.ones((12, 12), dtype=bool)
    missing[INSIDE] = False
    missing[4:7, 5:8] = True
    for values in slope_aspect_curvature(elevation, PIXEL_M):
        np.testing.assert_array_equal(np.isnan(values), missing)


def test_an_infinite_elevation_counts_as_missing():
    """R21: some DEMs mark voids so."""
    elevation = np.zeros((5, 5))
    elevation[1, 1] = np.inf
    assert np.isnan(slope_aspect_curvature(elevation, PIXEL_M).slope_deg[2, 2])


def test_several_threads_may_ask_at_once():
    """R14: numba's own threads would end the process here."""
    elevation = hills(15, 300)
    expected = slope_aspect_curvature(elevation, PIXEL_M).slope_deg
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: slope_aspect_curvature(elevation, PIXEL_M).slope_deg, range(12)):
            np.testing.assert_array_equal(found, expected)


def test_only_the_outermost_ring_is_missing():
    """R18: a margin of one pixel is enough for the derivatives."""
    for values in slope_aspect_curvature(hills(5, 20), PIXEL_M):
        assert np.isfinite(values[INSIDE]).all()
        assert np.isnan(values).sum() == 20 * 4 - 4


@pytest.mark.parametrize("shape", [(0, 0), (1, 5), (2, 2), (5, 2)])
def test_a_grid_too_small_for_a_window_is_all_missing(shape):
    """R18: such a grid is all ring."""
    for values in slope_aspect_curvature(np.zeros(shape), PIXEL_M):
        assert values.shape == shape
        assert np.isnan(values).all()


def test_flat_terrain_has_slope_0_and_no_aspect():
    """R17."""
    flat = slope_aspect_curvature(np.full((3, 3), 7), PIXEL_M)
    assert flat.slope_deg[1, 1] == 0
    assert np.isnan(flat.aspect_deg[1, 1])


def test_aspect_stays_below_360_for_terrain_that_falls_almost_exactly_north():
    """R17: a tiny negative angle rounds to 360 in float32."""
    east, north = east_north(3)
    aspect = slope_aspect_curvature(-north + 1e-7 * east, PIXEL_M).aspect_deg[1, 1]
    assert 0 <= aspect < 360


@pytest.mark.parametrize("flaw", [{"elevation": np.zeros(4)}, {"pixel_size_m": 0.0}, {"pixel_size_m": np.nan}])
def test_impossible_grids_are_refused(flaw):
    """The message says what was expected."""
    with pytest.raises(ValueError, match=r"expected (2|a positive)"):
        slope_aspect_curvature(**{"elevation": np.zeros((4, 4)), "pixel_size_m": PIXEL_M, **flaw})


@pytest.mark.parametrize(("aspect", "octant"), [(359.9, 2), (0.1, 2), (0.0, 2), (337.5, 2), (360.0, 2)])
def test_north_lies_on_both_sides_of_0(aspect, octant):
    """R17."""
    assert aspect_class(aspect, 30.0) == octant


@pytest.mark.parametrize("k", range(8))
def test_each_class_owns_its_lower_edge(k):
    """R17: edges at 22.5 + 45 k, to the last bit of float32."""
    edge = np.float32(22.5 + 45 * k)
    below = np.nextafter(edge, np.float32(0))
    classes = aspect_class([below, edge], [30.0, 30.0])
    np.testing.assert_array_equal(classes, [2 + k, 2 + (k + 1) % 8])


def test_flat_terrain_is_flat_and_never_north():
    """R17."""
    flat = slope_aspect_curvature(np.zeros((3, 3)), PIXEL_M)
    assert aspect_class(flat.aspect_deg, flat.slope_deg)[1, 1] == 1


def test_terrain_below_the_limit_is_flat_and_on_it_is_not():
    """R17: the limit can be set."""
    np.testing.assert_array_equal(aspect_class([90, 90, 90], [0.99, 1.0, 2.9]), [1, 4, 4])
    np.testing.assert_array_equal(aspect_class([90, 90, 90], [0.99, 1.0, 2.9], flat_below_deg=3.0), [1, 1, 1])


def test_terrain_without_a_slope_has_no_aspect_class():
    """R17: nodata is 255."""
    assert aspect_class(90.0, np.nan) == 255


def test_a_slope_without_an_aspect_is_flat():
    """R17: whatever the slope says."""
    assert aspect_class(np.nan, 30.0) == 1


def test_aspect_and_slope_of_different_shapes_are_refused():
    """The message names both shapes."""
    with pytest.raises(ValueError, match=r"\(2,\), expected that of aspect_deg, \(3,\)"):
        aspect_class(np.zeros(3), np.zeros(2))


def test_smoothing_equals_the_weighted_mean_of_the_valid_pixels():
    """R20: the definition, pixel by pixel."""
    elevation = hills(6, 30)
    elevation[10:14, 8:20] = np.nan
    sigma_px = 1.7
    rows, columns = np.mgrid[:30, :30]
    known = np.isfinite(elevation)
    for i, j in [(0, 0), (9, 9), (15, 15), (13, 21), (29, 14)]:
        weight = np.exp(-((rows - i) ** 2 + (columns - j) ** 2) / (2 * sigma_px**2))
        weight[(np.abs(rows - i) > 7) | (np.abs(columns - j) > 7)] = 0  # 4 sigma is 7 pixels
        expected = (weight * np.where(known, elevation, 0)).sum() / weight[known].sum()
        np.testing.assert_allclose(smooth(elevation, sigma_px)[i, j], expected, rtol=1e-6)


def test_smoothing_keeps_nodata_pixels_missing_and_spreads_none():
    """R21."""
    elevation = hills(7, 30)
    elevation[4, 4] = elevation[20:, 20:] = np.nan
    np.testing.assert_array_equal(np.isnan(smooth(elevation, 3.0)), np.isnan(elevation))


def test_smoothing_leaves_a_constant_beside_a_hole_alone():
    """R21: weights are normalised over the valid pixels."""
    elevation = np.full((20, 20), 123.0)
    elevation[8:12, 8:12] = np.nan
    np.testing.assert_allclose(smooth(elevation, 2.0)[np.isfinite(elevation)], 123.0)


def test_no_smoothing_returns_the_elevation():
    """R20: sigma 0 is for elevations that are not whole metres."""
    elevation = hills(8, 10)
    np.testing.assert_array_equal(smooth(elevation, 0.0), elevation)


@pytest.mark.parametrize("sigma_px", [0.0, 0.4, 1.0, 3.0])
def test_with_the_margin_a_part_gets_what_the_whole_grid_gets(sigma_px):
    """R14, R18: to the bit; one pixel less of margin would not do."""
    elevation = hills(9, 90)
    margin = smoothing_margin_px(sigma_px)
    part = (slice(30, 50), slice(35, 60))
    read = tuple(slice(side.start - margin, side.stop + margin) for side in part)
    inside = (slice(margin, -margin),) * 2
    whole = slope_aspect_curvature(smooth(elevation, sigma_px), PIXEL_M)
    alone = slope_aspect_curvature(smooth(elevation[read], sigma_px), PIXEL_M)
    for one, other in zip(whole, alone, strict=True):
        np.testing.assert_array_equal(one[part], other[inside])


def test_smoothing_in_strips_equals_smoothing_at_once(monkeypatch):
    """Strips only bound the memory."""
    elevation = hills(10, 70)
    at_once = smooth(elevation, 2.0)
    monkeypatch.setattr("coslide.indices.derivatives._STRIP_ROWS", 9)
    np.testing.assert_array_equal(smooth(elevation, 2.0), at_once)


@pytest.mark.parametrize("columns", [1, 10, 16, 17, 18, 40])
@pytest.mark.parametrize("sigma_px", [0.1, 2.0])
def test_terrain_without_holes_is_smoothed_like_terrain_with_them(columns, sigma_px):
    """R14: to the bit, whatever hole lies elsewhere; without holes the weights are found in a shorter way."""
    whole = hills(16, 60)[:, :columns]
    holed = whole.copy()
    holed[50, columns // 2] = np.nan
    far = slice(0, 50 - smoothing_margin_px(sigma_px))
    np.testing.assert_array_equal(smooth(whole, sigma_px)[far], smooth(holed, sigma_px)[far])


def test_smoothing_makes_the_curvature_of_whole_metre_elevations_usable():
    """R20: noise without it."""
    truth = smooth(hills(11, 150) / 15, 4.0)  # gentle terrain
    expected = slope_aspect_curvature(truth, PIXEL_M).mean_curvature_per_m[20:-20, 20:-20].ravel()
    raw, smoothed = (
        slope_aspect_curvature(smooth(np.round(truth), sigma_px), PIXEL_M).mean_curvature_per_m[20:-20, 20:-20].ravel()
        for sigma_px in (0.0, 3.0)
    )
    assert np.corrcoef(raw, expected)[0, 1] < 0.7
    assert np.corrcoef(smoothed, expected)[0, 1] > 0.9


@pytest.mark.parametrize("sigma_px", [-1.0, np.nan, np.inf])
def test_a_sigma_that_is_no_width_is_refused(sigma_px):
    """The message says what was expected."""
    with pytest.raises(ValueError, match="expected 0 or a positive number"):
        smooth(np.zeros((3, 3)), sigma_px)


def test_smoothing_of_anything_but_a_grid_is_refused():
    """The message says what was found."""
    with pytest.raises(ValueError, match="found 1 dimensions"):
        smooth(np.zeros(3), 1.0)
