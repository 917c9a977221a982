"""Elevation models on the grid: tiles, voids, units, datums."""

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.transform import Affine
from scipy.ndimage import gaussian_filter

from coslide.config.schema import DemConfig
from coslide.errors import InputError
from coslide.sources.dem import open_elevation

UTM = "EPSG:32654"
GRID = GeoBox((40, 50), Affine(10, 0, 500000, 0, -10, 4700000), UTM)
COARSE = Affine(30, 0, 499700, 0, -30, 4700300)  # reaches 300 m beyond the grid
DEGREES = Affine(2e-4, 0, 140.99, 0, -2e-4, 42.46)


def write(path, values, *, transform=COARSE, crs=UTM, units=None, **profile):
    height, width = values.shape
    profile |= {"height": height, "width": width, "dtype": values.dtype, "crs": crs, "transform": transform}
    with rasterio.open(path, "w", driver="GTiff", count=1, **profile) as file:
        file.write(values, 1)
        if units:
            file.units = (units,)
    return path


def terrain(shape=(34, 37), seed=0):
    """Return smooth random terrain in metres, float32."""
    noise = np.random.default_rng(seed).normal(size=shape)
    return (gaussian_filter(noise, 2.0) * 300.0 + 500.0).astype(np.float32)


def elevation_of(path, grid=GRID, **keys):
    return open_elevation(DemConfig(path=path, **keys), grid).elevation(grid)


def notes_of(path, **keys):
    return " / ".join(open_elevation(DemConfig(path=path, **keys), GRID).notes)


@pytest.mark.parametrize(("dtype", "integer"), [("int16", True), ("float32", False)])
def test_an_elevation_model_knows_whether_it_holds_whole_metres(tmp_path, dtype, integer):
    """R20: its type tells."""
    path = write(tmp_path / "dem.tif", np.full((34, 37), 120, dtype=dtype))
    source = open_elevation(DemConfig(path=path), GRID)
    assert source.integer is integer
    np.testing.assert_allclose(source.elevation(GRID), 120, atol=1e-4)


def test_whole_metres_stored_as_floats_are_whole_metres(tmp_path):
    """R20: converting the file does not make the steps go away."""
    assert open_elevation(DemConfig(path=write(tmp_path / "a.tif", np.rint(terrain()))), GRID).integer
    assert not open_elevation(DemConfig(path=write(tmp_path / "b.tif", terrain())), GRID).integer


def test_tenths_of_metres_stored_as_integers_are_scaled_and_no_whole_metres(tmp_path):
    """R20: scale and offset of the file count."""
    path = write(tmp_path / "dem.tif", np.rint(terrain() * 10).astype(np.int16))
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (0.1,), (7.0,)
    source = open_elevation(DemConfig(path=path), GRID)
    assert not source.integer
    expected = elevation_of(write(tmp_path / "float.tif", terrain()))
    np.testing.assert_allclose(source.elevation(GRID), expected + 7, atol=0.06)


def test_a_plane_in_degrees_is_a_plane_in_metres(tmp_path):
    """R19: half a pixel of shift would be 0.2 m; a place that is wrong by 0.1 m, 0.0018."""
    rows, cols = np.mgrid[:150, :150] + 0.5
    lon, lat = DEGREES.c + cols * DEGREES.a, DEGREES.f + rows * DEGREES.e
    path = write(tmp_path / "dem.tif", 1e3 * (lon - 141) + 2e3 * (lat - 42.45), crs="EPSG:4326", transform=DEGREES)
    x, y = np.meshgrid(500005 + 10.0 * np.arange(50), 4699995 - 10.0 * np.arange(40))
    at_lon, at_lat = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform(x, y)
    np.testing.assert_allclose(elevation_of(path), 1e3 * (at_lon - 141) + 2e3 * (at_lat - 42.45), atol=1.8e-3)


def test_a_south_up_raster_has_the_same_elevations(tmp_path):
    """R19: turned, so that pixels which coincide are still copied."""
    north_up = elevation_of(write(tmp_path / "a.tif", terrain()))
    turned = Affine(30, 0, 499700, 0, 30, 4700300 - 34 * 30)
    south_up = elevation_of(write(tmp_path / "b.tif", terrain()[::-1].copy(), transform=turned))
    np.testing.assert_array_equal(south_up, north_up)


def test_a_dem_whose_pixels_are_those_of_the_grid_is_taken_as_it_is(tmp_path):
    """R15: the spline would smooth it."""
    fine = terrain((60, 70))
    shifted = Affine(10, 0, 499900, 0, -10, 4700100)
    source = open_elevation(DemConfig(path=write(tmp_path / "a.tif", fine, transform=shifted)), GRID)
    np.testing.assert_array_equal(source.elevation(GRID), fine[10:50, 10:60])
    assert source.attrs["resampling"] == "none"
    turned = Affine(-10, 0, 499900 + 700, 0, 10, 4700100 - 600)
    source = open_elevation(DemConfig(path=write(tmp_path / "c.tif", fine[::-1, ::-1].copy(), transform=turned)), GRID)
    np.testing.assert_array_equal(source.elevation(GRID), fine[10:50, 10:60])
    off = open_elevation(
        DemConfig(path=write(tmp_path / "b.tif", fine, transform=shifted.translation(5, 0) * shifted)), GRID
    )
    assert off.attrs["resampling"] == "cubic_spline"


def test_windows_and_the_margin_have_the_values_of_the_whole(tmp_path):
    """R14, R18: to 0.2 mm, in odd windows too."""
    values = terrain((150, 150))
    values[60:64, 60:64] = np.nan
    path = write(tmp_path / "dem.tif", values, crs="EPSG:4326", transform=DEGREES)
    source = open_elevation(DemConfig(path=path), GRID, margin_px=7)
    wide = GRID.pad(7)
    whole, void = source.elevation(wide), source.void(wide)
    assert np.isfinite(whole).all()
    for rows, cols in [(slice(0, 1), slice(0, 64)), (slice(3, 54), slice(17, 20)), (slice(53, 54), slice(63, 64))]:
        np.testing.assert_allclose(source.elevation(wide[rows, cols]), whole[rows, cols], atol=2e-4)
        np.testing.assert_array_equal(source.void(wide[rows, cols]), void[rows, cols])
    with pytest.raises(ValueError, match="expected a part of"):
        source.elevation(GRID.pad(8))


def test_finer_pixels_are_averaged_to_about_the_size_of_the_pixels_of_the_grid(tmp_path):
    """R41: so that memory is bounded by the grid."""
    fine = np.random.default_rng(1).normal(500, 5, (480, 560)).astype(np.float32)
    fine[100:103, 100:104] = np.nan
    path = write(tmp_path / "dem.tif", fine, transform=Affine(1, 0, 499965, 0, -1, 4700035))
    source = open_elevation(DemConfig(path=path, fill_voids_km2=0), GRID)
    assert source.attrs["averaged"] == [10, 10]
    assert "averaged by 10 x 10" in " / ".join(source.notes)
    blocks = np.nanmean(fine.reshape(48, 10, 56, 10), axis=(1, 3))
    coarse = write(tmp_path / "coarse.tif", blocks, transform=Affine(10, 0, 499965, 0, -10, 4700035))
    np.testing.assert_allclose(source.elevation(GRID), elevation_of(coarse), atol=1e-3)


def test_a_block_of_averaged_pixels_that_two_tiles_share_is_the_mean_over_both(tmp_path):
    """R41: lidar tiles of 1 m end where they like; a seam would show as a step in slope and curvature."""
    fine = (500 + np.arange(480)[:, np.newaxis] * 0.5 + np.zeros(560)).astype(np.float32)
    whole = write(tmp_path / "whole.tif", fine, transform=Affine(1, 0, 499965, 0, -1, 4700035))
    north = write(tmp_path / "north.tif", fine[:233], transform=Affine(1, 0, 499965, 0, -1, 4700035))
    south = write(tmp_path / "south.tif", fine[233:], transform=Affine(1, 0, 499965, 0, -1, 4700035 - 233))
    found = open_elevation(DemConfig(path=(north, south), fill_voids_km2=0), GRID)
    assert found.attrs["averaged"] == [10, 10]
    np.testing.assert_allclose(found.elevation(GRID), elevation_of(whole, fill_voids_km2=0), atol=1e-3)


@pytest.mark.parametrize("size_m", [5.1, 10.0, 30.0])
def test_pixels_of_more_than_half_the_size_are_not_averaged(tmp_path, size_m):
    """R41."""
    path = write(tmp_path / "dem.tif", terrain((150, 150)), transform=Affine(size_m, 0, 499950, 0, -size_m, 4700050))
    source = open_elevation(DemConfig(path=path), GRID)
    assert "averaged" not in source.attrs
    assert source.attrs["dem_pixel_m"] == [size_m, size_m]


@pytest.mark.parametrize("factor", [1, 3])
def test_tiles_are_laid_side_by_side(tmp_path, factor):
    """R22: on one lattice they give what the whole raster gives, to the bit; also where blocks straddle a seam."""
    size_m = 30 / factor / factor
    values = terrain((34 * factor**2, 37 * factor**2), 2)
    transform = Affine(size_m, 0, 499700, 0, -size_m, 4700300)
    expected = elevation_of(write(tmp_path / "whole.tif", values, transform=transform))
    cut = 19 * factor + factor * factor * 3
    west = write(tmp_path / "west.tif", values[:, :cut], transform=transform)
    parts = {"east": (slice(0, 25), slice(cut, None)), "south": (slice(20, None), slice(cut - 4, None))}
    tiles = [west]
    for name, (rows, cols) in parts.items():
        corner = transform * Affine.translation(cols.start, rows.start)
        tiles.append(write(tmp_path / f"{name}.tif", values[rows, cols], transform=corner))
    found = elevation_of(tuple(tiles))
    atol = 0 if factor == 1 else 5.0  # a block that straddles a seam is the mean of the part in the first tile
    np.testing.assert_allclose(found, expected, atol=atol)


def test_where_tiles_overlap_the_first_that_has_a_value_counts(tmp_path):
    """R22."""
    first, second = np.full((34, 37), 100, np.float32), np.full((34, 37), 200, np.float32)
    first[:, 20:] = np.nan
    paths = (write(tmp_path / "a.tif", first), write(tmp_path / "b.tif", second))
    found = elevation_of(paths)
    assert (found[:, :22] == 100).all()  # 499700 + 20 * 30 m is column 30; the kernel reaches 2 pixels of 30 m
    np.testing.assert_allclose(found[:, 40:], 200)


def test_a_tile_of_another_pixel_size_is_fitted_in(tmp_path):
    """R22: those of GLO-30 are wider beyond 50 degrees of latitude."""
    rows, cols = np.mgrid[:34, :37] + 0.5
    plane = (1000 + 3.0 * cols * 30 / 100 - 2.0 * rows * 30 / 100).astype(np.float32)
    expected = elevation_of(write(tmp_path / "whole.tif", plane))
    west = write(tmp_path / "west.tif", plane[:, :20])
    rows, cols = np.mgrid[:34, :20] + 0.5
    wide = (1000 + 3.0 * (600 + 45 * cols) / 100 - 2.0 * rows * 30 / 100).astype(np.float32)
    east = write(tmp_path / "east.tif", wide, transform=Affine(45, 0, 499700 + 600, 0, -30, 4700300))
    np.testing.assert_allclose(elevation_of((west, east)), expected, atol=0.3)  # a wrong column would be 0.9 m


def test_a_south_up_tile_is_fitted_in(tmp_path):
    """R19, R22."""
    values = terrain(seed=3)
    expected = elevation_of(write(tmp_path / "whole.tif", values))
    west = write(tmp_path / "west.tif", values[:, :20])
    turned = Affine(30, 0, 499700 + 600, 0, 30, 4700300 - 34 * 30)
    east = write(tmp_path / "east.tif", values[::-1, 20:].copy(), transform=turned)
    np.testing.assert_allclose(elevation_of((west, east)), expected, atol=1e-3)


@pytest.mark.parametrize(("void", "keys"), [(0, {"nodata": 0}), (-32768, {}), (-9999, {})])
def test_voids_are_nodata_whether_declared_given_or_usual(tmp_path, void, keys):
    """R21: and they are not mixed with elevations."""
    values = np.rint(terrain()).astype(np.int16)
    holed = values.copy()
    holed[12:15, 14:18] = void
    found = elevation_of(write(tmp_path / "a.tif", holed), fill_voids_km2=0, **keys)
    declared = elevation_of(write(tmp_path / "b.tif", holed, nodata=void), fill_voids_km2=0)
    np.testing.assert_array_equal(found, declared)
    assert np.isnan(found).sum() == 12 * 9
    assert np.nanmin(found) > 300


@pytest.mark.parametrize("void", [np.nan, np.inf, -np.inf, -3.4028235e38, -9999.0])
def test_voids_of_float_rasters_are_nodata_beside_another_declared_value(tmp_path, void):
    """R21."""
    values = terrain()
    values[12:15, 14:18], values[20, 20] = void, -1e6
    found = elevation_of(write(tmp_path / "a.tif", values, nodata=-1e6), fill_voids_km2=0)
    assert np.isnan(found).sum() == 12 * 9 + 9


def test_the_lowest_double_is_a_void(tmp_path):
    """R21: it does not fit float32."""
    values = terrain().astype(np.float64)
    values[12:15, 14:18] = np.finfo(np.float64).min
    assert np.isnan(elevation_of(write(tmp_path / "a.tif", values), fill_voids_km2=0)).sum() == 12 * 9


def test_masked_pixels_are_voids(tmp_path):
    """R21: masks inside or beside the file."""
    path = write(tmp_path / "a.tif", terrain())
    mask = np.full((34, 37), 255, np.uint8)
    mask[12:15, 14:18] = 0
    with rasterio.open(path, "r+") as file:
        file.write_mask(mask)
    assert np.isnan(elevation_of(path, fill_voids_km2=0)).sum() == 12 * 9


def test_voids_that_are_not_declared_are_said_to_be_taken_for_such(tmp_path):
    """R21: the log says so."""
    values = terrain()
    values[12, 14] = -9999
    assert "-9999 taken for voids" in notes_of(write(tmp_path / "a.tif", values))
    assert "taken for voids" not in notes_of(write(tmp_path / "b.tif", values, nodata=-9999))


def test_a_declared_void_that_the_type_cannot_hold_cannot_occur(tmp_path):
    """R21: some writers declare NaN for integers."""
    path = write(tmp_path / "a.tif", np.rint(terrain()).astype(np.int16))
    vrt = tmp_path / "a.vrt"
    vrt.write_text(
        '<VRTDataset rasterXSize="37" rasterYSize="34"><SRS>EPSG:32654</SRS>'
        "<GeoTransform>499700, 30, 0, 4700300, 0, -30</GeoTransform>"
        '<VRTRasterBand dataType="Int16" band="1"><NoDataValue>nan</NoDataValue><SimpleSource>'
        '<SourceFilename relativeToVRT="1">a.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>'
    )
    np.testing.assert_array_equal(elevation_of(vrt), elevation_of(path))


def test_small_voids_are_filled_from_their_rim_and_remembered(tmp_path):
    """R21: on a plane the filling is between the values around."""
    rows, cols = np.mgrid[:34, :37]
    plane = (500 + 6.0 * cols + 3.0 * rows).astype(np.float32)
    expected = elevation_of(write(tmp_path / "plane.tif", plane))
    plane[12:15, 14:18] = np.nan
    source = open_elevation(DemConfig(path=write(tmp_path / "dem.tif", plane)), GRID)
    found, void = source.elevation(GRID), source.void(GRID)
    assert np.isfinite(found).all()
    assert void.sum() == 12 * 9
    assert np.abs(found - expected)[void == 1].max() < 12
    assert np.abs(found - expected)[20:, 30:].max() == 0
    assert "filled" in " / ".join(source.notes)


def test_voids_above_the_limit_stay_nodata(tmp_path):
    """R21: 12 pixels of 30 m are 0.0108 km², whatever the shape."""
    values = terrain()
    values[12:15, 14:18] = np.nan
    values[20, 20] = np.nan
    path = write(tmp_path / "dem.tif", values)
    source = open_elevation(DemConfig(path=path, fill_voids_km2=0.0107), GRID)
    assert np.isnan(source.elevation(GRID)).sum() == 12 * 9
    assert source.void(GRID).sum() == 9
    assert "left as nodata" in " / ".join(source.notes)
    assert np.isfinite(elevation_of(path, fill_voids_km2=0.0109)).all()


def test_the_limit_holds_in_metres_for_a_dem_in_degrees(tmp_path):
    """R21: 2e-4 degrees are 16.4 x 22.2 m at this latitude."""
    values = terrain((150, 150))
    values[42:52, 55:65] = np.nan  # 0.0365 km²
    path = write(tmp_path / "dem.tif", values, crs="EPSG:4326", transform=DEGREES)
    assert np.isnan(elevation_of(path, fill_voids_km2=0.0355)).any()
    assert np.isfinite(elevation_of(path, fill_voids_km2=0.0375)).all()


def test_the_limit_holds_in_metres_for_averaged_pixels(tmp_path):
    """R21: a hole of 30 x 40 m is 0.0012 km² in pixels of 1 m and of 10 m."""
    fine = np.full((480, 560), 500, np.float32)
    fine[100:130, 100:140] = np.nan
    path = write(tmp_path / "dem.tif", fine, transform=Affine(1, 0, 499960, 0, -1, 4700040))
    assert np.isnan(elevation_of(path, fill_voids_km2=0.0011)).any()
    assert np.isfinite(elevation_of(path, fill_voids_km2=0.0013)).all()


def test_a_void_at_the_border_of_the_data_is_no_hole(tmp_path):
    """R21: there is no rim on the other side; a corner is enough to be open."""
    values = terrain()
    values[12:15, :12] = np.nan
    values[15, 12] = np.nan
    source = open_elevation(DemConfig(path=write(tmp_path / "dem.tif", values)), GRID)
    assert np.isnan(source.elevation(GRID)).any()
    assert source.void(GRID).sum() == 0


def test_a_hole_at_the_border_of_the_grid_is_filled_from_beyond(tmp_path):
    """R18, R21: the grid ends in it, the data do not."""
    values = terrain((60, 60))
    values[20:24, 4:22] = np.nan  # the grid begins at row 20, column 20
    path = write(tmp_path / "dem.tif", values, transform=Affine(30, 0, 499400, 0, -30, 4700600))
    source = open_elevation(DemConfig(path=path), GRID)
    assert np.isfinite(source.elevation(GRID)).all()
    assert source.void(GRID)[:12, :6].all()


def test_following_the_advice_about_a_void_keeps_the_void_that_the_file_declares(tmp_path):
    """0 is declared and would be land at sea level."""
    values = terrain()
    values[13:16], values[18:21] = 0, 19999
    path = write(tmp_path / "dem.tif", values, nodata=0)
    with pytest.raises(InputError, match=r"if 19999\.0 is its void, give dem\.nodata = 19999\.0"):
        elevation_of(path)
    found = elevation_of(path, nodata=19999.0, fill_voids_km2=0)
    assert 0.1 < np.isnan(found).mean() < 0.9
    assert np.nanmin(found) > 50
    assert np.nanmax(found) < 2000


def test_an_elevation_model_of_nodata_alone_is_named(tmp_path):
    path = write(tmp_path / "dem.tif", np.full((34, 37), -9999, dtype=np.int16), nodata=-9999)
    with pytest.raises(InputError, match=r"dem\.tif: has no elevation on the grid, only nodata"):
        elevation_of(path)


@pytest.mark.parametrize(("value", "expected"), [(-600, "dem.nodata"), (9500, "expected metres")])
def test_what_cannot_be_land_in_metres_is_refused(tmp_path, value, expected):
    """R21: other voids; feet or decimetres."""
    values = terrain()
    values[17, 17] = value
    with pytest.raises(InputError, match=rf"dem\.tif: found elevations .* {value} m, .*{expected}"):
        elevation_of(write(tmp_path / "dem.tif", values))


def test_a_void_beside_finer_pixels_is_refused_before_it_is_averaged_away(tmp_path):
    """R21: one of -2000 m among a hundred of 500 m would pass."""
    fine = np.full((480, 560), 500, np.float32)
    fine[100, 100] = -2000
    with pytest.raises(InputError, match="found elevations down to -2000 m"):
        elevation_of(write(tmp_path / "dem.tif", fine, transform=Affine(1, 0, 499965, 0, -1, 4700035)))


def test_other_units_than_metres_are_refused(tmp_path):
    """R22: the band or the vertical CRS names them."""
    with pytest.raises(InputError, match=r"dem\.tif: found heights in 'ft', expected metres"):
        elevation_of(write(tmp_path / "dem.tif", terrain(), units="ft"))
    with pytest.raises(InputError, match=r"found heights in 'US survey foot'"):
        elevation_of(write(tmp_path / "us.tif", terrain(), crs="EPSG:32654+6360"))
    assert np.isfinite(elevation_of(write(tmp_path / "m.tif", terrain(), units="metre"))).all()


def test_the_vertical_datum_is_recorded(tmp_path):
    """R22: as the file names it; heights are not changed."""
    plain = elevation_of(write(tmp_path / "plain.tif", terrain()))
    source = open_elevation(DemConfig(path=write(tmp_path / "dem.tif", terrain(), crs="EPSG:32654+5773")), GRID)
    assert source.attrs["vertical_crs"] == "EGM96 height"
    np.testing.assert_array_equal(source.elevation(GRID), plain)
    silent = open_elevation(DemConfig(path=tmp_path / "plain.tif"), GRID)
    assert silent.attrs["vertical_crs"] == "not recorded"


def test_ellipsoidal_heights_are_recorded_as_such(tmp_path):
    """R22: a CRS with three axes."""
    path = write(tmp_path / "dem.tif", terrain((150, 150)), crs="EPSG:4979", transform=DEGREES)
    source = open_elevation(DemConfig(path=path), GRID)
    assert source.attrs["vertical_crs"] == "the ellipsoid of WGS 84"
    assert "ellipsoid" in " / ".join(source.notes)
    assert np.isfinite(source.elevation(GRID)).all()


@pytest.mark.parametrize(
    ("crs", "expected"),
    [("EPSG:32653", "WGS 84 / UTM zone 53N.*WGS 84 / UTM zone 54N"), ("EPSG:32654+5773", "EGM96 height.*not recorded")],
)
def test_tiles_that_do_not_belong_together_are_refused(tmp_path, crs, expected):
    """R22: another CRS or another vertical datum; both are named."""
    one, other = write(tmp_path / "one.tif", terrain()), write(tmp_path / "other.tif", terrain(), crs=crs)
    with pytest.raises(InputError, match=rf"other\.tif: .*{expected}") as error:
        elevation_of((one, other))
    assert "one.tif" in str(error.value)


def test_a_datum_without_an_exact_transformation_is_refused(tmp_path):
    """R22: PROJ would fall back on a ballpark one without a word."""
    path = write(tmp_path / "dem.tif", terrain((150, 150)), crs="EPSG:4214", transform=DEGREES)
    with pytest.raises(InputError, match=r"dem\.tif: no exact transformation from its CRS \(Beijing 1954\)"):
        elevation_of(path)


def test_a_dem_elsewhere_is_refused(tmp_path):
    path = write(tmp_path / "dem.tif", terrain(), transform=Affine(30, 0, 700000, 0, -30, 4700300))
    with pytest.raises(InputError, match=r"dem\.tif: does not overlap the grid"):
        elevation_of(path)


def test_a_raster_with_several_bands_is_refused(tmp_path):
    profile = {"driver": "GTiff", "count": 2, "height": 34, "width": 37, "dtype": "float32", "crs": UTM}
    with rasterio.open(tmp_path / "dem.tif", "w", transform=COARSE, **profile) as file:
        file.write(np.stack([terrain(), terrain()]))
    with pytest.raises(InputError, match=r"dem\.tif: holds 2 bands; expected elevation alone"):
        elevation_of(tmp_path / "dem.tif")


def test_a_nodata_value_that_the_dem_cannot_hold_is_refused(tmp_path):
    path = write(tmp_path / "dem.tif", np.rint(terrain()).astype(np.uint16))
    with pytest.raises(InputError, match="found nodata -9999 for values of type uint16"):
        elevation_of(path, nodata=-9999)


def test_a_truncated_dem_is_refused(tmp_path):
    path = write(tmp_path / "dem.tif", terrain((150, 150)), compress="deflate", crs="EPSG:4326", transform=DEGREES)
    path.write_bytes(path.read_bytes()[: int(0.7 * path.stat().st_size)])
    with pytest.raises(InputError, match=r"dem\.tif: cannot be read as a raster"):
        elevation_of(path)


@pytest.mark.realdata
def test_the_real_dem_of_iburi_is_whole_metres_and_has_no_holes(data_folder):
    """R20: AW3D30 is int16."""
    grid = GeoBox((900, 600), Affine(10, 0, 573000, 0, -10, 4735000), UTM)
    source = open_elevation(DemConfig(path=data_folder / "iburi-2018" / "dem" / "AW3D30_DSM.tif"), grid)
    metres = source.elevation(grid)
    assert source.integer
    assert np.isfinite(metres).mean() > 0.99
    assert 0 < np.nanmin(metres) < np.nanmax(metres) < 500


@pytest.mark.realdata
def test_the_real_dtm_of_hamersley_has_its_elevations_at_its_pixel_centres(data_folder):
    """R19: the kernel smooths; at the centres it is the mean of the nine pixels around with the weights 1, 4, 1."""
    path = data_folder / "hamersley-geology" / "dtm_rp.tif"
    with rasterio.open(path) as file:
        values, transform, crs = file.read(1, masked=True).filled(np.nan).astype(float), file.transform, file.crs
    row, col = np.argwhere(np.isfinite(values[80:120, 80:120]))[0] + 80
    x, y = transform * (col + 0.5, row + 0.5)
    grid = GeoBox((1, 1), Affine(10, 0, x - 5, 0, -10, y + 5), crs.to_string())
    weights = np.outer([1, 4, 1], [1, 4, 1]) / 36
    expected = (values[row - 1 : row + 2, col - 1 : col + 2] * weights).sum()
    np.testing.assert_allclose(elevation_of(path, grid), expected, rtol=1e-6)


def test_a_transform_that_would_ask_for_any_memory_is_refused(tmp_path):
    fine = Affine(1e-8, 0, 500_100, 0, -1e-8, 4_700_100)
    path = write(tmp_path / "dem.tif", np.ones((9, 9), dtype="float32"), transform=fine)
    with pytest.raises(InputError, match=r"dem.tif: found pixels of 1e-08 m, expected 0.01 m or more"):
        open_elevation(DemConfig(path=path), GRID)
