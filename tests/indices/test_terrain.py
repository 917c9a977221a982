"""The terrain indices of an elevation model: on surfaces with a closed form, in windows, with holes."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine
from scipy.ndimage import gaussian_filter

from coslide.config.schema import DemConfig
from coslide.indices.derivatives import aspect_class, esri_curvature, slope_aspect_curvature, smooth
from coslide.indices.terrain import prepare_terrain

UTM = "EPSG:32654"
GRID = GeoBox((60, 70), Affine(10, 0, 572000, 0, -10, 4735000), UTM)
DEGREES = Affine(1 / 3600, 0, 141.86, 0, -1 / 3600, 42.79)
DEGREES_SHAPE = (180, 130)


def write(path, values, *, transform, crs=UTM):
    profile = {"height": values.shape[0], "width": values.shape[1], "dtype": values.dtype, "crs": crs}
    with rasterio.open(path, "w", driver="GTiff", count=1, transform=transform, **profile) as file:
        file.write(values, 1)
    return path


def on_pixels(path, surface, *, margin=20, south_up=False):
    """Write `surface`, a function of x and y in metres from the middle of the grid, on the grid's own pixels."""
    wide = GRID.pad(margin)
    height, width = wide.shape
    rows, cols = np.mgrid[:height, :width] + 0.5
    east, north = 10 * (cols - width / 2), 10 * (height / 2 - rows)
    values = surface(east, north).astype(np.float32)
    if not south_up:
        return write(path, values, transform=wide.affine)
    corner = wide.affine * (0, height)
    return write(path, values[::-1].copy(), transform=Affine(10, 0, corner[0], 0, 10, corner[1]))


def hills(path, *, whole=False, hole=False):
    """Write smooth random terrain in degrees, 30 m pixels."""
    values = gaussian_filter(np.random.default_rng(0).normal(size=DEGREES_SHAPE), 4.0) * 2000 + 900
    values = np.rint(values).astype(np.int16) if whole else values.astype(np.float32)
    if hole:
        values[98:102, 85:91] = -9999
    return write(path, values, transform=DEGREES, crs="EPSG:4326")


def compute(path, grid=GRID, window=None, **keys):
    return prepare_terrain(DemConfig(path=path, **keys), grid).compute(grid if window is None else window)


def test_a_plane_has_its_slope_and_aspect_everywhere(tmp_path):
    """R15, R18: also on the outermost pixels of the grid."""
    found = compute(on_pixels(tmp_path / "dem.tif", lambda east, north: 500.1 - 0.5 * east + 0.2 * north))
    np.testing.assert_allclose(found["slope"], np.degrees(np.arctan(np.hypot(0.5, 0.2))), atol=1e-3)
    assert (found["aspect_class"] == 4).all()  # azimuth 111.8
    np.testing.assert_allclose(found["mean_curvature"], 0, atol=3e-6)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_sphere_has_the_curvature_of_its_radius(tmp_path, sign):
    """R15: positive on the dome."""
    radius_m = 2000.0
    path = on_pixels(tmp_path / "dem.tif", lambda east, north: sign * np.sqrt(radius_m**2 - east**2 - north**2) + 2000)
    np.testing.assert_allclose(compute(path)["mean_curvature"] * radius_m, sign, rtol=6e-3)
    esri = compute(path, curvature="esri")
    assert "mean_curvature" not in esri
    assert esri["esri_curvature"][30, 35] * radius_m == pytest.approx(sign * 200, rel=1e-2)


def test_a_plane_in_degrees_has_its_slope_in_metres(tmp_path):
    """R19: derivatives in degrees would be wrong by 100,000, derivatives of unequal pixels by the cosine."""
    rows, cols = np.mgrid[: DEGREES_SHAPE[0], : DEGREES_SHAPE[1]] + 0.5
    to_metres = Transformer.from_crs("EPSG:4326", UTM, always_xy=True)
    x, y = to_metres.transform(DEGREES.c + cols / 3600, DEGREES.f - rows / 3600)
    plane = (800.05 + 0.3 * (x - 572300) + 0.4 * (y - 4734700)).astype(np.float32)
    found = compute(write(tmp_path / "dem.tif", plane, transform=DEGREES, crs="EPSG:4326"))
    np.testing.assert_allclose(found["slope"], np.degrees(np.arctan(0.5)), atol=0.02)
    assert (found["aspect_class"] == 7).all()  # azimuth 216.9: south-west


def test_a_south_up_dem_has_the_same_indices(tmp_path):
    """R19: north stays north."""

    def surface(east, north):
        return 700.3 + 60 * np.sin(east / 90) + 0.4 * north

    north_up = compute(on_pixels(tmp_path / "a.tif", surface))
    south_up = compute(on_pixels(tmp_path / "b.tif", surface, south_up=True))
    for name, values in north_up.items():
        np.testing.assert_allclose(south_up[name], values, atol=1e-6, err_msg=name)
    assert set(np.unique(north_up["aspect_class"])) <= {5, 6, 7}


def test_flat_terrain_is_flat_and_never_north(tmp_path):
    """R17: with the limit of the event file."""
    flat = compute(on_pixels(tmp_path / "flat.tif", lambda east, _: 80.5 + 0 * east))
    assert (flat["aspect_class"] == 1).all()
    gentle = on_pixels(tmp_path / "gentle.tif", lambda _, north: 80.5 - 0.03 * north)  # 1.7 degrees to the north
    assert (compute(gentle)["aspect_class"] == 2).all()
    assert (compute(gentle, flat_below_deg=2)["aspect_class"] == 1).all()


@pytest.mark.parametrize("keys", [{}, {"curvature": "esri", "smoothing_sigma_px": 1.3}, {"smoothing_sigma_px": 0}])
@pytest.mark.parametrize("whole", [True, False])
def test_windows_have_the_values_of_the_whole_grid(tmp_path, whole, keys):
    """R14, R18: in odd windows, with holes filled and open, and without a rim of nodata."""
    path = hills(tmp_path / "dem.tif", whole=whole, hole=True)
    for limit_km2 in (0.25, 0.0):
        terrain = prepare_terrain(DemConfig(path=path, fill_voids_km2=limit_km2, **keys), GRID)
        whole_grid = terrain.compute(GRID)
        assert np.isnan(whole_grid["elevation"]).any() == (limit_km2 == 0)
        assert np.isfinite(whole_grid["slope"][:10]).all()
        windows = [(slice(0, 1), slice(0, 70)), (slice(17, 60), slice(31, 34)), (slice(59, 60), slice(69, 70))]
        for rows, cols in windows:
            for name, values in terrain.compute(GRID[rows, cols]).items():
                np.testing.assert_allclose(values, whole_grid[name][rows, cols], atol=5e-4, err_msg=name)


def test_threads_may_compute_at_once(tmp_path):
    """R14: strips run side by side."""
    terrain = prepare_terrain(DemConfig(path=hills(tmp_path / "dem.tif", whole=True)), GRID)
    expected = terrain.compute(GRID)
    strips = [slice(row, row + 5) for row in range(0, 60, 5)] * 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # as the builder does
        with ThreadPoolExecutor(4) as pool:
            computed = list(pool.map(lambda strip: terrain.compute(GRID[strip, :]), strips))
    for strip, found in zip(strips, computed, strict=True):
        for name, values in found.items():
            np.testing.assert_array_equal(values, expected[name][strip])


def test_the_indices_are_those_of_the_derivatives_of_the_smoothed_elevation(tmp_path):
    """R20: a DEM of whole metres, sigma 3; the elevation itself is not smoothed."""
    dem = DemConfig(path=hills(tmp_path / "dem.tif", whole=True))
    metres = compute(dem.path, grid=GRID.pad(13), smoothing_sigma_px=0)["elevation"]
    inside = (slice(13, -13), slice(13, -13))
    smoothed = smooth(metres, 3.0)
    expected = slope_aspect_curvature(smoothed, 10.0)
    found = compute(dem.path)
    np.testing.assert_allclose(found["elevation"], metres[inside], atol=2e-4)
    np.testing.assert_allclose(found["slope"], expected.slope_deg[inside], atol=5e-4)
    np.testing.assert_allclose(found["mean_curvature"], expected.mean_curvature_per_m[inside], atol=1e-6)
    classes = aspect_class(expected.aspect_deg, expected.slope_deg)[inside]
    assert (found["aspect_class"] == classes).mean() > 0.999
    esri = compute(dem.path, curvature="esri")["esri_curvature"]
    np.testing.assert_allclose(esri, esri_curvature(smoothed, 10.0)[inside], atol=1e-3)


@pytest.mark.parametrize(
    ("whole", "asked", "sigma_px"), [(True, None, 3), (False, None, 0), (True, 0, 0), (False, 2.5, 2.5)]
)
def test_the_attributes_say_how_wide_the_smoothing_is(tmp_path, whole, asked, sigma_px):
    """R20."""
    path = hills(tmp_path / "dem.tif", whole=whole)
    terrain = prepare_terrain(DemConfig(path=path, smoothing_sigma_px=asked), GRID)
    bands = {band.name: band for band in terrain.bands}
    for name in ("slope", "aspect_class", "mean_curvature"):
        assert bands[name].provenance["smoothing_sigma_px"] == sigma_px
    assert "smoothing_sigma_px" not in bands["elevation"].provenance
    assert bands["elevation"].provenance["integer_source"] == whole
    assert ("whole metres" in " / ".join(terrain.notes)) == (whole and asked is None)


def test_filled_voids_are_remembered_and_open_ones_are_nodata(tmp_path):
    """R21."""
    path = hills(tmp_path / "dem.tif", hole=True)
    filled, opened = compute(path), compute(path, fill_voids_km2=0)
    hole = opened["dem_void"] == 255
    assert hole.sum() > 100
    np.testing.assert_array_equal(hole, np.isnan(opened["elevation"]))
    assert (opened["dem_void"][~hole] == 0).all()
    np.testing.assert_array_equal(filled["dem_void"], hole.astype(np.uint8))
    assert np.isfinite(filled["elevation"]).all()
    assert (opened["aspect_class"][hole] == 255).all()
    assert (filled["aspect_class"] != 255).all()


@pytest.mark.parametrize("curvature", ["mean", "esri"])
def test_what_is_computed_is_what_is_announced(tmp_path, curvature):
    """Names, order and types are those of `variables`; `dem_void` is no input of a network."""
    terrain = prepare_terrain(DemConfig(path=hills(tmp_path / "dem.tif"), curvature=curvature), GRID)
    found = terrain.compute(GRID)
    assert list(found) == [band.name for band in terrain.bands]
    for band in terrain.bands:
        assert found[band.name].dtype == band.dtype
        assert found[band.name].shape == GRID.shape
        assert band.role == ("diagnostic" if band.name == "dem_void" else "index")
        assert band.provenance["resampling"] == ("nearest" if band.name == "dem_void" else "cubic_spline")
    units = {band.name: band.unit for band in terrain.bands}
    assert units[f"{curvature}_curvature"] == ("m-1" if curvature == "mean" else "1e-2 m-1")
    assert next(band for band in terrain.bands if band.name == "aspect_class").classes == 9


@pytest.mark.realdata
def test_the_real_dem_of_iburi_gives_plausible_terrain(data_folder):
    """R18, R20: hills of 100 to 300 m, gentle; no nodata inside the DEM."""
    grid = GeoBox((700, 500), Affine(10, 0, 573500, 0, -10, 4734000), UTM)
    found = compute(data_folder / "iburi-2018" / "dem" / "AW3D30_DSM.tif", grid=grid)
    assert np.isfinite(found["slope"]).all()
    assert 5 < np.median(found["slope"]) < 20
    assert np.abs(found["mean_curvature"]).max() < 0.05
    assert np.bincount(found["aspect_class"].ravel(), minlength=10)[2:].min() > 0.03 * grid.shape[0] * grid.shape[1]
    assert abs(np.mean(found["mean_curvature"])) < 1e-4


@pytest.mark.realdata
def test_the_real_dtm_of_hamersley_gives_plausible_terrain(data_folder):
    """R41: pixels of 344 m, 30 times as large as those of the grid."""
    path = data_folder / "hamersley-geology" / "dtm_rp.tif"
    with rasterio.open(path) as file:
        left, top, crs = file.transform.c + 20_000, file.transform.f - 20_000, file.crs.to_string()
    grid = GeoBox((300, 300), Affine(10, 0, left, 0, -10, top), crs)
    found = compute(path, grid=grid)
    assert np.isfinite(found["elevation"]).all()
    assert 0 <= found["slope"].min() <= found["slope"].max() < 45
    assert np.abs(np.diff(found["elevation"], axis=1)).max() < 10
