"""Rasters onto the grid: scenes and elevation."""

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.transform import Affine

from coslide.errors import InputError
from coslide.event import BandFile, Dem, Scene
from coslide.sources.dem import read_elevation
from coslide.sources.raster import raster_extent, warp_onto
from coslide.sources.sentinel2 import read_reflectance

GRID = GeoBox((40, 50), Affine(10, 0, 500000, 0, -10, 4700000), "EPSG:32654")


def write(path, values, *, transform=GRID.affine, crs="EPSG:32654", **profile):
    height, width = values.shape
    profile |= {"height": height, "width": width, "dtype": values.dtype, "crs": crs, "transform": transform}
    with rasterio.open(path, "w", driver="GTiff", count=1, **profile) as file:
        file.write(values, 1)
    return path


def scene(path, **keys):
    return Scene.model_validate({"bands": {"B4": {"path": str(path), **keys}}})


def test_a_raster_on_the_grid_itself_comes_back_unchanged(tmp_path):
    values = np.random.default_rng(0).uniform(0, 1, GRID.shape).astype(np.float32)
    path = write(tmp_path / "a.tif", values)
    np.testing.assert_allclose(warp_onto(path, GRID, resampling=Resampling.bilinear), values, atol=1e-6)


def test_a_plane_in_degrees_is_a_plane_on_the_grid(tmp_path):
    """Half a cell of shift would be 0.06 or more; GDAL's widened kernel ripples by 0.01 around the plane."""
    from pyproj import Transformer

    west, north, step = 140.99, 42.46, 1e-4
    rows, cols = np.mgrid[:200, :300]
    lon, lat = west + (cols + 0.5) * step, north - (rows + 0.5) * step
    path = write(
        tmp_path / "plane.tif",
        1e3 * (lon - 141) + 2e3 * (lat - 42.45),
        crs="EPSG:4326",
        transform=Affine(step, 0, west, 0, -step, north),
    )
    found = warp_onto(path, GRID, resampling=Resampling.bilinear)
    x, y = np.meshgrid(500005 + 10.0 * np.arange(50), 4699995 - 10.0 * np.arange(40))
    at_lon, at_lat = Transformer.from_crs("EPSG:32654", "EPSG:4326", always_xy=True).transform(x, y)
    error = found - (1e3 * (at_lon - 141) + 2e3 * (at_lat - 42.45))
    assert np.abs(error).max() < 0.012
    assert abs(error.mean()) < 1e-3


def test_south_up_rasters_are_turned(tmp_path):
    values = np.arange(2000, dtype=np.float32).reshape(GRID.shape)
    path = write(tmp_path / "a.tif", values[::-1].copy(), transform=Affine(10, 0, 500000, 0, 10, 4699600))
    np.testing.assert_allclose(warp_onto(path, GRID, resampling=Resampling.nearest), values)


def test_nodata_is_nan_and_does_not_bleed_into_its_neighbours(tmp_path):
    values = np.full(GRID.shape, 5000, dtype=np.uint16)
    values[10, 10] = 0
    path = write(tmp_path / "a.tif", values, nodata=0, transform=Affine(10, 0, 500003, 0, -10, 4699997))
    found = warp_onto(path, GRID, resampling=Resampling.bilinear)
    known = found[np.isfinite(found)]
    assert (known == 5000).all()
    assert np.isnan(found[11:, :]).sum() < np.isnan(found).sum()


def test_ground_beyond_the_raster_is_nan(tmp_path):
    path = write(tmp_path / "a.tif", np.ones((40, 20), dtype=np.float32))
    found = warp_onto(path, GRID, resampling=Resampling.bilinear)
    assert np.isfinite(found[:, :20]).all()
    assert np.isnan(found[:, 21:]).all()


def test_reflectance_is_value_times_scale_plus_offset_with_nodata_first(tmp_path):
    """R4: 0 means nothing, whatever the offset; a reflectance below 0 is kept."""
    values = np.full(GRID.shape, 1500, dtype=np.uint16)
    values[0, 0], values[0, 1] = 0, 900
    path = write(tmp_path / "a.tif", values, nodata=0)
    found = read_reflectance(scene(path, scale=1e-4, offset=-0.1), GRID)[0]
    assert np.isnan(found[0, 0])
    np.testing.assert_allclose(found[0, 1], -0.01, atol=1e-6)
    np.testing.assert_allclose(found[1:], 0.05, atol=1e-6)


def test_scale_offset_and_nodata_come_from_the_file_unless_given(tmp_path):
    path = write(tmp_path / "a.tif", np.full(GRID.shape, 2000, dtype=np.uint16), nodata=7)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (1e-4,), (-0.1,)
    np.testing.assert_allclose(read_reflectance(scene(path), GRID), 0.1, atol=1e-6)
    np.testing.assert_allclose(read_reflectance(scene(path, scale=2e-4), GRID), 0.3, atol=1e-6)
    assert np.isnan(read_reflectance(scene(path, nodata=2000), GRID)).all()


def test_bands_come_in_the_order_of_wavelength(tmp_path):
    bands = {
        name: {"path": str(write(tmp_path / f"{name}.tif", np.full(GRID.shape, value, dtype=np.float32)))}
        for name, value in (("B8A", 0.4), ("B11", 0.5), ("B2", 0.1), ("B8", 0.3))
    }
    found = read_reflectance(Scene.model_validate({"bands": bands}), GRID)
    np.testing.assert_allclose(found[:, 0, 0], [0.1, 0.3, 0.4, 0.5], atol=1e-6)


def test_a_forgotten_scale_is_refused(tmp_path):
    path = write(tmp_path / "a.tif", np.full(GRID.shape, 1500, dtype=np.uint16))
    with pytest.raises(InputError, match=r"a\.tif: found a median of 1500, .* give its scale"):
        read_reflectance(scene(path), GRID)


def test_a_band_without_crs_is_refused(tmp_path):
    path = write(tmp_path / "a.tif", np.ones(GRID.shape, dtype=np.float32), crs=None)
    with pytest.raises(InputError, match=r"a\.tif: has no CRS"):
        read_reflectance(scene(path), GRID)


def test_a_file_that_is_no_raster_is_refused(tmp_path):
    (tmp_path / "a.tif").write_text("not a raster")
    with pytest.raises(InputError, match=r"a\.tif: cannot be read as a raster"):
        raster_extent(tmp_path / "a.tif", "scene")


def test_a_band_of_a_raster_with_several_must_be_named(tmp_path):
    values = np.stack([np.full(GRID.shape, value, dtype=np.float32) for value in (0.1, 0.2, 0.3)])
    profile = {"count": 3, "height": 40, "width": 50, "dtype": "float32", "crs": "EPSG:32654"}
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", transform=GRID.affine, **profile) as file:
        file.write(values)
    np.testing.assert_allclose(read_reflectance(scene(tmp_path / "a.tif", band=2), GRID), 0.2, atol=1e-6)
    with pytest.raises(InputError, match=r"a\.tif: holds 3 bands; say which"):
        read_reflectance(scene(tmp_path / "a.tif"), GRID)
    with pytest.raises(InputError, match="found band = 4, expected at most 3"):
        read_reflectance(scene(tmp_path / "a.tif", band=4), GRID)


def test_a_truncated_raster_is_refused_and_not_taken_for_missing_ground(tmp_path):
    values = np.random.default_rng(0).integers(1000, 2000, (400, 500)).astype(np.uint16)
    path = write(tmp_path / "a.tif", values, compress="deflate", tiled=True, blockxsize=128, blockysize=128)
    path.write_bytes(path.read_bytes()[: int(0.7 * path.stat().st_size)])
    with pytest.raises(InputError, match=r"a\.tif: cannot be read as a raster"):
        read_reflectance(scene(path, scale=1e-4), GRID.pad(300))


def test_a_nodata_value_that_the_raster_cannot_hold_is_refused(tmp_path):
    path = write(tmp_path / "a.tif", np.full(GRID.shape, 1500, dtype=np.uint16))
    with pytest.raises(InputError, match="found nodata -9999 for values of type uint16"):
        read_reflectance(scene(path, scale=1e-4, nodata=-9999), GRID)


@pytest.mark.parametrize("void", [1e20, -3.4028235e38, 0.1])
def test_a_void_of_a_float_raster_is_known_by_its_rounded_value(tmp_path, void):
    values = np.full(GRID.shape, 120, dtype=np.float32)
    values[5:9, 5:9] = void
    path = write(tmp_path / "dem.tif", values)
    found = warp_onto(path, GRID, resampling=Resampling.bilinear, nodata=void)
    assert np.isnan(found).sum() == 16
    np.testing.assert_allclose(found[np.isfinite(found)], 120)


def test_holes_of_nan_do_not_grow_where_nothing_else_is_declared(tmp_path):
    values = np.full(GRID.shape, 120, dtype=np.float32)
    values[5:9, 5:9] = np.nan
    path = write(tmp_path / "dem.tif", values)
    assert np.isnan(warp_onto(path, GRID, resampling=Resampling.cubic_spline)).sum() == 16


def test_the_extent_of_a_south_up_raster_is_in_order(tmp_path):
    path = write(tmp_path / "a.tif", np.ones(GRID.shape, np.float32), transform=Affine(10, 0, 500000, 0, 10, 4699600))
    assert raster_extent(path, "scene").bounds == (500000, 4699600, 500500, 4700000)


@pytest.mark.parametrize(("dtype", "integer"), [("int16", True), ("float32", False)])
def test_an_elevation_model_knows_whether_it_holds_whole_metres(tmp_path, dtype, integer):
    path = write(tmp_path / "dem.tif", np.full(GRID.shape, 120, dtype=dtype))
    found = read_elevation(Dem(path=path), GRID)
    assert found.integer is integer
    np.testing.assert_allclose(found.metres, 120, atol=1e-4)


def test_an_undeclared_void_of_a_dem_is_refused_and_a_declared_one_is_nan(tmp_path):
    values = np.full(GRID.shape, 120, dtype=np.int16)
    values[5:9, 5:9] = -9999
    path = write(tmp_path / "dem.tif", values)
    with pytest.raises(InputError, match="give dem.nodata"):
        read_elevation(Dem(path=path), GRID)
    metres = read_elevation(Dem(path=path, nodata=-9999), GRID).metres
    assert np.isnan(metres[6, 6])
    np.testing.assert_allclose(metres[np.isfinite(metres)], 120, atol=1e-3)


@pytest.mark.realdata
def test_the_real_post_event_scene_fills_its_footprint(data_folder):
    folder = data_folder / "iburi-2018" / "sentinel2"
    grid = GeoBox((976, 647), Affine(10, 0, 572840, 0, -10, 4735680), "EPSG:32654")
    files = {name: BandFile(path=folder / f"post_{name}.tif", scale=1e-4) for name in ("B2", "B3", "B4")}
    found = read_reflectance(Scene(bands=files), grid)
    assert np.isfinite(found).all(axis=0).mean() > 0.97
    assert 0.07 < np.nanmedian(found) < 0.11
