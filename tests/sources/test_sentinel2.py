"""Scenes on windows of the grid: reflectance, pixels, clouds."""

import importlib.util
import pickle  # noqa: TID251 - how other processes get a reader; only our own is read
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.warp import reproject

from coslide.config.schema import SceneConfig
from coslide.errors import InputError
from coslide.grid import common_grid
from coslide.sources.sentinel2 import open_scene

SPEC = importlib.util.spec_from_file_location("safe_files", Path(__file__).with_name("safe_files.py"))
safe_files = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(safe_files)

LEFT, TOP = 600000.0, 4700040.0
GRID = GeoBox((120, 120), Affine(10, 0, LEFT, 0, -10, TOP), "EPSG:32654")
TAGS = {"scale": 1e-4, "offset": -0.1}


def random_dn(shape, seed=0):
    return np.random.default_rng(seed).integers(1001, 6000, shape).astype(np.uint16)


def write(path, values, *, size=10, left=LEFT, top=TOP, crs="EPSG:32654", **tags):
    return safe_files.write_image(path, values, crs=crs, left=left, top=top, size=size, **tags)


def files_scene(root, **bands):
    """A scene of rasters that the event file names: ``B2=path`` or ``B2={"path": ..., "scale": ...}``."""
    own = {name: band if isinstance(band, dict) else {"path": band} for name, band in bands.items()}
    return open_scene(SceneConfig.model_validate({"bands": own}), root=root)


def product_scene(*folders, bands=("B4",), **keys):
    keys = {"products": folders, "bands": bands, **keys}
    return open_scene(SceneConfig.model_validate(keys), root=folders[0].parent)


def folder_of(folder, **bands):
    """Write a folder of GeoTIFF: ``B04=values`` at the pixel size that the band has."""
    for name, values in bands.items():
        tags = {} if name == "SCL" else TAGS
        write(folder / f"{name}.tif", values, size=safe_files.NATIVE_M[name], **tags)
    return folder


# --- Radiometry ---


def test_reflectance_is_stored_value_plus_offset_by_scale(tmp_path):
    folder = folder_of(tmp_path / "a", B04=random_dn(GRID.shape))
    expected = (random_dn(GRID.shape).astype(float) - 1000) / 10000
    np.testing.assert_allclose(product_scene(folder).reflectance("B4", GRID), expected, atol=1e-7)


def test_no_data_and_saturated_values_are_taken_out_before_the_offset(tmp_path):
    """R4: 0 and 65535 are nodata, a reflectance below 0 is legal, and 0 - 1000 does not wrap."""
    values = np.full(GRID.shape, 1500, dtype=np.uint16)
    values[0, :3] = 0, 65535, 900
    found = product_scene(folder_of(tmp_path / "a", B04=values)).reflectance("B4", GRID)
    assert np.isnan(found[0, :2]).all()
    np.testing.assert_allclose(found[0, 2], -0.01, atol=1e-7)
    np.testing.assert_allclose(found[1:], 0.05, atol=1e-7)


def test_nodata_of_a_raster_of_ones_own_is_taken_out_before_the_offset(tmp_path):
    """R4: and only what is declared: 65535 is a value like any other there."""
    values = np.full(GRID.shape, 1500, dtype=np.uint16)
    values[0, :3] = 0, 900, 65535
    path = write(tmp_path / "a.tif", values, nodata=0)
    found = files_scene(tmp_path, B4={"path": path, "scale": 1e-4, "offset": -0.1}).reflectance("B4", GRID)
    assert np.isnan(found[0, 0])
    np.testing.assert_allclose(found[0, 1:3], [-0.01, 6.4535], atol=1e-6)
    np.testing.assert_allclose(found[1:], 0.05, atol=1e-6)


def test_products_with_and_without_offset_give_the_same_bits(tmp_path):
    """R5: an unchanged surface before and after the change of baseline has no difference at all."""
    stored = random_dn(GRID.shape)
    before = safe_files.write_safe(tmp_path, {"B04": stored, "SCL": np.full((60, 60), 4, np.uint8)}, baseline="02.14")
    after = safe_files.write_safe(
        tmp_path, {"B04": stored + 1000, "SCL": np.full((60, 60), 4, np.uint8)}, baseline="05.09", date="2018-09-16"
    )
    one, other = (product_scene(path).reflectance("B4", GRID) for path in (before, after))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(one, stored / 1e4, atol=1e-7)


def test_neighbouring_tiles_of_different_baselines_form_one_scene(tmp_path):
    """R5: the offset of each tile is its own."""
    stored = random_dn((120, 240))
    classes = np.full((60, 60), 4, np.uint8)
    west = safe_files.write_safe(tmp_path, {"B04": stored[:, :120], "SCL": classes}, baseline="02.14")
    east = safe_files.write_safe(
        tmp_path, {"B04": stored[:, 120:] + 1000, "SCL": classes}, baseline="05.09", tile="54TXN", left=LEFT + 1200
    )
    found = product_scene(west, east).reflectance("B4", GeoBox((120, 240), GRID.affine, "EPSG:32654"))
    np.testing.assert_allclose(found, stored / 1e4, atol=1e-7)


def test_an_offset_that_was_subtracted_twice_is_found_and_can_be_overruled(tmp_path):
    """R6: more than 5 % below -0.02 stops; `boa_offset` in stored values goes before the metadata."""
    dark = np.full(GRID.shape, 300, dtype=np.uint16)
    folder = folder_of(tmp_path / "a", B04=dark)
    with pytest.raises(InputError, match=r"B04\.tif: found 100% of its values below reflectance -0.02.*boa_offset"):
        product_scene(folder).check_radiometry(GRID)
    scene = product_scene(folder, boa_offset=0)
    scene.check_radiometry(GRID)
    np.testing.assert_allclose(scene.reflectance("B4", GRID), 0.03, atol=1e-7)


@pytest.mark.parametrize(("share", "stops"), [(0.03, False), (0.08, True)])
def test_a_few_values_below_zero_are_no_fault(tmp_path, share, stops):
    """R6: water and shadow lie there too."""
    values = random_dn(GRID.shape) + 500
    values.ravel()[: int(share * values.size)] = 700
    np.random.default_rng(1).shuffle(values.ravel())
    scene = product_scene(folder_of(tmp_path / "a", B04=values))
    if stops:
        with pytest.raises(InputError, match="8% of its values"):
            scene.check_radiometry(GRID)
    else:
        scene.check_radiometry(GRID)


def test_a_look_at_overviews_is_enough(tmp_path):
    """R6: large rasters are looked at where they hold reduced images, and in sampled windows where not."""
    values = np.full((1200, 1200), 300, dtype=np.uint16)
    folder = folder_of(tmp_path / "a", B04=values)
    grid = GeoBox(values.shape, GRID.affine, GRID.crs)
    with pytest.raises(InputError, match="100% of its values"):
        product_scene(folder).check_radiometry(grid)
    beyond = grid.translate_pix(2000, 0)
    product_scene(folder).check_radiometry(beyond)  # a tile may lie beside the grid
    with rasterio.open(folder / "B04.tif", "r+") as file:
        file.build_overviews([4, 8])
    with pytest.raises(InputError, match="100% of its values"):
        product_scene(folder).check_radiometry(grid)
    product_scene(folder).check_radiometry(beyond)


def test_a_forgotten_scale_is_refused(tmp_path):
    path = write(tmp_path / "a.tif", np.full(GRID.shape, 1500, dtype=np.uint16))
    with pytest.raises(InputError, match=r"a\.tif: found a median of 1500, .* give its scale"):
        files_scene(tmp_path, B4=path).check_radiometry(GRID)


def test_scale_offset_and_nodata_come_from_the_file_unless_given(tmp_path):
    path = write(tmp_path / "a.tif", np.full(GRID.shape, 2000, np.uint16), nodata=7, scale=1e-4, offset=-0.1)
    np.testing.assert_allclose(files_scene(tmp_path, B4=path).reflectance("B4", GRID), 0.1, atol=1e-6)
    own = {"path": path, "scale": 2e-4}
    np.testing.assert_allclose(files_scene(tmp_path, B4=own).reflectance("B4", GRID), 0.3, atol=1e-6)
    own = {"path": path, "nodata": 2000}
    assert np.isnan(files_scene(tmp_path, B4=own).reflectance("B4", GRID)).all()


@pytest.mark.parametrize("void", [1e20, -3.4028235e38, 0.1])
def test_a_void_of_a_float_raster_is_recognised_by_its_rounded_value(tmp_path, void):
    values = np.full(GRID.shape, 0.3, dtype=np.float32)
    values[5:9, 5:9] = void
    path = write(tmp_path / "a.tif", values)
    found = files_scene(tmp_path, B4={"path": path, "nodata": void}).reflectance("B4", GRID)
    assert np.isnan(found).sum() == 16


@pytest.mark.parametrize(("value", "problem"), [(12, "found the class 12"), (4.5, "found the class 4.5"), (255, None)])
def test_what_is_no_class_of_the_scene_classification_shows_no_surface(tmp_path, value, problem):
    classes = np.full((60, 60), 4, dtype=np.float32 if value == 4.5 else np.uint8)
    classes[10, 10] = value
    scene = product_scene(folder_of(tmp_path / "a", B04=random_dn(GRID.shape), SCL=classes))
    assert np.count_nonzero(~scene.clear(GRID)) == 4
    if problem is None:
        scene.check_radiometry(GRID)
        return
    with pytest.raises(InputError, match=rf"SCL\.tif: {problem}"):
        scene.check_radiometry(GRID)


# --- Pixels ---


def test_a_20_m_checkerboard_lands_on_blocks_of_four_pixels(tmp_path):
    """R11: with nearest, each 20 m pixel fills exactly its own 2 x 2 pixels."""
    board = np.where(np.indices((60, 60)).sum(axis=0) % 2, 3000, 1500).astype(np.uint16)
    scene = product_scene(folder_of(tmp_path / "a", B11=board), bands=("B11",), resampling="nearest")
    np.testing.assert_allclose(scene.reflectance("B11", GRID), board.repeat(2, 0).repeat(2, 1) / 1e4 - 0.1, atol=1e-7)


def test_20_m_pixels_are_interpolated_without_half_a_pixel_of_shift(tmp_path):
    """R11: the centres of 10 m pixels lie a quarter inside, so the weights are 0.75 and 0.25."""
    values = random_dn((60, 60))
    found = product_scene(folder_of(tmp_path / "a", B11=values), bands=("B11",)).reflectance("B11", GRID)
    rho = values / 1e4 - 0.1
    row = lambda k: 0.75 * rho[k] + 0.25 * rho[k - 1]  # noqa: E731
    upper = row(7)
    np.testing.assert_allclose(found[14, 20], 0.75 * upper[10] + 0.25 * upper[9], atol=1e-7)
    np.testing.assert_allclose(found[14, 21], 0.75 * upper[10] + 0.25 * upper[11], atol=1e-7)
    np.testing.assert_allclose(found[0, 0], rho[0, 0], atol=1e-7)  # the corner has no neighbours to lean on


@pytest.mark.parametrize(("band", "size"), [("B11", 20), ("B09", 60)])
def test_interpolation_agrees_with_gdal(tmp_path, band, size):
    values = random_dn((1200 // size, 1200 // size))
    name = band.replace("B0", "B")
    found = product_scene(folder_of(tmp_path / "a", **{band: values}), bands=(name,)).reflectance(name, GRID)
    expected = np.empty(GRID.shape, dtype=np.float32)
    source = {"src_transform": Affine(size, 0, LEFT, 0, -size, TOP), "src_crs": "EPSG:32654"}
    target = {"dst_transform": GRID.affine, "dst_crs": "EPSG:32654"}
    rho = (values / 1e4 - 0.1).astype(np.float32)
    reproject(rho, expected, **source, **target, resampling=Resampling.bilinear)
    np.testing.assert_allclose(found, expected, atol=2e-7)


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic"])
@pytest.mark.parametrize("source", ["same pixels", "20 m", "other zone", "degrees", "finer"])
@pytest.mark.parametrize("shift_m", [(0.0, 0.0), (3.7, -11.3)])
def test_a_window_is_the_crop_of_a_full_read(tmp_path, source, resampling, shift_m):
    """R14: to the bit, whatever the window, in each way that pixels are found, and with the scene moved."""
    rasters = {
        "same pixels": (10, "EPSG:32654", LEFT, TOP, 700),
        "20 m": (20, "EPSG:32654", LEFT, TOP, 350),
        "other zone": (10, "EPSG:32653", 1089000, 4733000, 1400),
        "degrees": (1e-4, "EPSG:4326", 142.195, 42.46, 1200),
        "finer": (7, "EPSG:32654", LEFT + 3, TOP - 2, 990),
    }
    size, crs, left, top, side = rasters[source]
    values = random_dn((side, side))
    values[::7, ::5] = 0
    path = write(tmp_path / "a.tif", values, size=size, crs=crs, left=left, top=top, nodata=0)
    band = {"path": path, "scale": 1e-4, "offset": -0.1}
    scene = open_scene(SceneConfig.model_validate({"bands": {"B4": band}, "resampling": resampling}), root=tmp_path)
    grid = GeoBox((610, 605), Affine(10, 0, LEFT - 7, 0, -10, TOP + 13), "EPSG:32654")
    whole = scene.reflectance("B4", grid, shift_m=shift_m)
    assert np.isfinite(whole).mean() > 0.5
    for rows, cols in (
        (slice(0, 64), slice(0, 605)),
        (slice(301, 437), slice(3, 111)),
        (slice(600, 610), slice(9, 10)),
    ):
        window = scene.reflectance("B4", grid[rows, cols], shift_m=shift_m)
        np.testing.assert_allclose(window, whole[rows, cols], atol=1e-5)


def test_a_pixel_without_a_value_stays_one_and_its_neighbours_keep_theirs(tmp_path):
    values = np.full((60, 60), 3000, dtype=np.uint16)
    values[10, 10] = 0
    found = product_scene(folder_of(tmp_path / "a", B11=values), bands=("B11",)).reflectance("B11", GRID)
    nodata = np.zeros(GRID.shape, dtype=bool)
    nodata[20:22, 20:22] = True
    np.testing.assert_array_equal(np.isnan(found), nodata)
    np.testing.assert_allclose(found[~nodata], 0.2, atol=1e-7)


def test_a_warped_hole_neither_grows_nor_vanishes(tmp_path):
    values = np.full((400, 400), 3000, dtype=np.uint16)
    values[150:160, 150:160] = 0
    path = write(tmp_path / "a.tif", values, size=1.2e-4, crs="EPSG:4326", left=142.2, top=42.46, nodata=0)
    found = files_scene(tmp_path, B4={"path": path, "scale": 1e-4}).reflectance("B4", GRID.pad(100))
    inside = found[100:-100, 100:-100]
    area_m2 = 100 * np.isnan(inside).sum()
    width_m, height_m = 10 * 1.2e-4 * 111320 * np.cos(np.radians(42.44)), 10 * 1.2e-4 * 111070
    np.testing.assert_allclose(area_m2, width_m * height_m, rtol=0.05)
    np.testing.assert_allclose(inside[np.isfinite(inside)], 0.3, atol=1e-6)


def test_content_moves_by_whole_pixels_to_the_east_and_to_the_north(tmp_path):
    values = random_dn(GRID.shape)
    scene = product_scene(folder_of(tmp_path / "a", B04=values))
    still, moved = scene.reflectance("B4", GRID), scene.reflectance("B4", GRID, shift_m=(30.0, 20.0))
    np.testing.assert_array_equal(moved[:-2, 3:], still[2:, :-3])
    assert np.isnan(moved[-2:]).all()
    assert np.isnan(moved[:, :3]).all()


def test_a_plane_moved_by_part_of_a_pixel_is_the_plane_there(tmp_path):
    """R11: moving and refining a 20 m band is one resampling, so a plane stays exact."""
    cols = 1100 + 40 * np.arange(60)
    values = np.broadcast_to(cols, (60, 60)).astype(np.uint16)
    scene = product_scene(folder_of(tmp_path / "a", B11=values), bands=("B11",))
    found = scene.reflectance("B11", GRID, shift_m=(4.0, 0.0))
    x_20m = (10 * np.arange(120) + 5 - 4) / 20 - 0.5
    expected = (100 + 40 * x_20m) / 1e4
    np.testing.assert_allclose(found[50, 4:-4], expected[4:-4], atol=1e-7)


def test_two_tiles_of_two_zones_form_one_seamless_scene(tmp_path):
    """R10, R13: no gap at the seam, and each place has its own value."""
    to_degrees = {zone: Transformer.from_crs(f"EPSG:326{zone}", "EPSG:4326", always_xy=True) for zone in (53, 54)}
    tiles = []
    for zone, left, top in ((53, 739980.0, 4700040.0), (54, 251000.0, 4699000.0)):
        x, y = np.meshgrid(left + 10 * np.arange(600) + 5, top - 10 * np.arange(600) - 5)
        lon, lat = to_degrees[zone].transform(x, y)
        stored = np.rint(1000 + 20000 * (lon - 137.9) + 3000 * (lat - 42.3)).astype(np.uint16)
        folder = tmp_path / f"zone{zone}"
        write(folder / "B04.tif", stored, left=left, top=top, crs=f"EPSG:326{zone}", **TAGS)
        tiles.append(folder)
    scene = product_scene(*tiles)
    boxes = [extent.bounds for extent in scene.extents()]
    assert [extent.crs for extent in scene.extents()] == ["EPSG:32653", "EPSG:32654"]
    from_54 = Transformer.from_crs("EPSG:32654", "EPSG:32653", always_xy=True)
    reach = from_54.transform_bounds(*boxes[1])
    assert reach[0] < boxes[0][2] < reach[2]  # they overlap
    grid = GeoBox((300, 900), Affine(10, 0, boxes[0][0] + 500, 0, -10, 4700040 - 2500), "EPSG:32653")
    found = scene.reflectance("B4", grid)
    assert np.isfinite(found).all()
    x, y = np.meshgrid(grid.affine.c + 10 * np.arange(900) + 5, grid.affine.f - 10 * np.arange(300) - 5)
    lon, lat = to_degrees[53].transform(x, y)
    np.testing.assert_allclose(found, (20000 * (lon - 137.9) + 3000 * (lat - 42.3)) / 1e4, atol=1.5e-4)


@pytest.mark.parametrize(("crs", "top"), [("EPSG:32654", 4700040.0), ("EPSG:32754", 8200000.0)])
def test_the_grid_of_a_tile_lies_on_its_own_60_m_lattice(tmp_path, crs, top):
    """R10: origins of tiles are no multiples of 60 m in the south; the 20 and 60 m pixels still hold whole pixels."""
    bands = {"B04": 10, "B11": 20, "B09": 60}
    for name, size in bands.items():
        write(tmp_path / f"a/{name}.tif", random_dn((1200 // size,) * 2), size=size, top=top, crs=crs, **TAGS)
    scene = product_scene(tmp_path / "a", bands=("B4", "B11", "B9"), resampling="nearest")
    inner = scene.extents()[0]
    inner = inner._replace(bounds=(inner.bounds[0] + 110, inner.bounds[1] + 50, inner.bounds[2], inner.bounds[3] - 70))
    grid = common_grid([inner], crs=crs, lattice=scene.lattice())
    coarse = scene.reflectance("B9", grid)
    assert grid.shape[0] % 6 == grid.shape[1] % 6 == 0
    np.testing.assert_array_equal(coarse, coarse[::6, ::6].repeat(6, 0).repeat(6, 1))


def test_rasters_of_ones_own_have_no_lattice(tmp_path):
    path = write(tmp_path / "a.tif", random_dn(GRID.shape))
    assert files_scene(tmp_path, B4=path).lattice() is None


def test_the_extent_is_what_all_bands_share(tmp_path):
    one = write(tmp_path / "a.tif", random_dn((120, 120)))
    other = write(tmp_path / "b.tif", random_dn((120, 120)), left=LEFT + 300, top=TOP - 100)
    (extent,) = files_scene(tmp_path, B3=one, B4=other).extents()
    assert extent.bounds == (LEFT + 300, TOP - 1200, LEFT + 1200, TOP - 100)
    far = write(tmp_path / "c.tif", random_dn((120, 120)), left=LEFT + 5000)
    with pytest.raises(InputError, match=r"c\.tif: does not overlap .*a\.tif"):
        files_scene(tmp_path, B3=one, B4=far).extents()


# --- Clouds ---


def test_clouds_are_told_by_the_class_of_the_nearest_pixel(tmp_path):
    """R12, R3: classes are never interpolated, and no offset ever changes them."""
    classes = np.random.default_rng(0).integers(0, 12, (60, 60)).astype(np.uint8)
    safe = safe_files.write_safe(tmp_path, {"B04": random_dn((120, 120)), "SCL": classes})
    expected = ~np.isin(classes, [0, 1, 3, 8, 9, 10, 11]).repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(product_scene(safe).clear(GRID), expected)
    shadows = product_scene(safe, scl_invalid=(2,), boa_offset=-500)
    np.testing.assert_array_equal(shadows.clear(GRID), ~np.isin(classes, [0, 2]).repeat(2, 0).repeat(2, 1))


def test_no_new_class_comes_out_of_another_crs(tmp_path):
    """R12: between snow (11) and vegetation (4) lie clouds, if classes were averaged."""
    classes = np.where(np.indices((300, 300)).sum(axis=0) // 9 % 2, 11, 4).astype(np.uint8)
    band = write(tmp_path / "a.tif", random_dn((300, 300)), size=2e-4, crs="EPSG:4326", left=142.2, top=42.46)
    scl = write(tmp_path / "scl.tif", classes, size=2e-4, crs="EPSG:4326", left=142.2, top=42.46)
    keys = {"bands": {"B4": {"path": band}}, "scl": {"path": scl}, "scale": 1e-4}
    for invalid, share in (((8, 9, 10, 5, 6, 7), 1.0), ((11,), 0.5), ((4,), 0.5)):
        scene = open_scene(SceneConfig.model_validate({**keys, "scl_invalid": invalid}), root=tmp_path)
        assert scene.clear(GRID).mean() == pytest.approx(share, abs=0.03)
    assert not scene.clear(GRID.translate_pix(5000, 0)).any()  # nodata beyond the scene classification


def test_windows_of_the_cloud_mask_are_crops_too(tmp_path):
    """R14: for classes, moved with their scene."""
    classes = np.random.default_rng(0).integers(0, 12, (60, 60)).astype(np.uint8)
    scene = product_scene(folder_of(tmp_path / "a", B04=random_dn((120, 120)), SCL=classes))
    whole = scene.clear(GRID, shift_m=(3.0, -14.0))
    np.testing.assert_array_equal(scene.clear(GRID[31:77, 5:50], shift_m=(3.0, -14.0)), whole[31:77, 5:50])


def test_without_a_classification_everything_is_clear(tmp_path):
    scene = product_scene(folder_of(tmp_path / "a", B04=random_dn((120, 120))))
    assert scene.clear(GRID).all()
    assert "no scene classification" in " ".join(scene.notes)


# --- Rasters that the event file names ---


def test_bands_come_in_the_order_of_wavelength(tmp_path):
    path = write(tmp_path / "a.tif", np.ones(GRID.shape, dtype=np.float32))
    assert files_scene(tmp_path, B11=path, B8A=path, B2=path, B8=path).band_names == ["B2", "B8", "B8A", "B11"]


def test_a_band_without_crs_is_refused(tmp_path):
    path = write(tmp_path / "a.tif", np.ones(GRID.shape, dtype=np.float32), crs=None)
    with pytest.raises(InputError, match=r"a\.tif: has no CRS"):
        files_scene(tmp_path, B4=path)


def test_a_band_of_a_raster_with_several_must_be_named(tmp_path):
    values = np.stack([np.full(GRID.shape, value, dtype=np.float32) for value in (0.1, 0.2, 0.3)])
    profile = {"count": 3, "height": 120, "width": 120, "dtype": "float32", "crs": "EPSG:32654"}
    path = tmp_path / "a.tif"
    with rasterio.open(path, "w", driver="GTiff", transform=GRID.affine, **profile) as file:
        file.write(values)
    found = files_scene(tmp_path, B4={"path": path, "band": 2}).reflectance("B4", GRID)
    np.testing.assert_allclose(found, 0.2, atol=1e-6)
    with pytest.raises(InputError, match=r"a\.tif: holds 3 bands; expected the number of one"):
        files_scene(tmp_path, B4=path)
    with pytest.raises(InputError, match="found band = 4, expected at most 3"):
        files_scene(tmp_path, B4={"path": path, "band": 4})


def test_a_truncated_raster_is_refused_and_not_taken_for_missing_values(tmp_path):
    path = write(tmp_path / "a.tif", random_dn((400, 500)))
    path.write_bytes(path.read_bytes()[: int(0.7 * path.stat().st_size)])
    with pytest.raises(InputError, match=r"a\.tif: cannot be read as a raster"):
        files_scene(tmp_path, B4={"path": path, "scale": 1e-4}).reflectance("B4", GRID.pad(300))


@pytest.mark.parametrize(
    ("own", "problem"),
    [
        ({"nodata": -9999}, "found nodata -9999 for values of type uint16"),
        ({"scale": 0}, "found scale 0, expected the factor"),
    ],
)
def test_what_the_event_file_says_of_a_raster_must_fit_it(tmp_path, own, problem):
    path = write(tmp_path / "a.tif", np.full(GRID.shape, 1500, dtype=np.uint16))
    with pytest.raises(InputError, match=problem):
        files_scene(tmp_path, B4={"path": path, **own})


def test_south_up_rasters_are_turned(tmp_path):
    values = random_dn(GRID.shape)
    path = tmp_path / "a.tif"
    profile = {"count": 1, "height": 120, "width": 120, "dtype": "uint16", "crs": "EPSG:32654"}
    with rasterio.open(path, "w", driver="GTiff", transform=Affine(10, 0, LEFT, 0, 10, TOP - 1200), **profile) as file:
        file.write(values[::-1], 1)
    scene = files_scene(tmp_path, B4={"path": path, "scale": 1e-4})
    np.testing.assert_allclose(scene.reflectance("B4", GRID), values / 1e4, atol=1e-6)
    assert scene.extents()[0].bounds == (LEFT, TOP - 1200, LEFT + 1200, TOP)


def test_a_reader_travels_to_another_process(tmp_path):
    scene = product_scene(folder_of(tmp_path / "a", B04=random_dn(GRID.shape)))
    copy = pickle.loads(pickle.dumps(scene))  # noqa: S301
    np.testing.assert_array_equal(copy.reflectance("B4", GRID), scene.reflectance("B4", GRID))
    assert copy.files == (tmp_path / "a" / "B04.tif",)
    assert copy.remote == ()


def test_threads_read_at_once_what_one_reads_alone(tmp_path):
    """R14: a reader is shared, the open files are not."""
    safe = safe_files.write_safe(tmp_path, {"B04": random_dn((600, 600)), "SCL": np.full((300, 300), 4, np.uint8)})
    scene = product_scene(safe)
    grid = GeoBox((600, 600), GRID.affine, GRID.crs)
    whole = scene.reflectance("B4", grid)
    starts = [start % 590 for start in range(0, 5900, 59)]
    with ThreadPoolExecutor(4) as pool:
        windows = list(pool.map(lambda start: scene.reflectance("B4", grid[start : start + 10]), starts))
    for start, window in zip(starts, windows, strict=True):
        np.testing.assert_array_equal(window, whole[start : start + 10])


def test_a_file_that_was_replaced_is_read_anew(tmp_path):
    values = random_dn(GRID.shape)
    folder = folder_of(tmp_path / "a", B04=values)
    scene = product_scene(folder)
    np.testing.assert_allclose(scene.reflectance("B4", GRID), values / 1e4 - 0.1, atol=1e-7)
    folder_of(tmp_path / "b", B04=values + 500)
    (tmp_path / "b" / "B04.tif").replace(folder / "B04.tif")
    np.testing.assert_allclose(scene.reflectance("B4", GRID), values / 1e4 - 0.05, atol=1e-7)


# --- Real data ---


@pytest.mark.realdata
def test_the_real_post_event_scene_fills_its_footprint(data_folder):
    folder = data_folder / "iburi-2018" / "sentinel2"
    grid = GeoBox((976, 647), Affine(10, 0, 572840, 0, -10, 4735680), "EPSG:32654")
    bands = {name: {"path": folder / f"post_{name}.tif", "scale": 1e-4} for name in ("B2", "B3", "B4")}
    scene = files_scene(data_folder, **bands)
    scene.check_radiometry(grid)
    found = np.stack([scene.reflectance(name, grid) for name in scene.band_names])
    assert np.isfinite(found).all(axis=0).mean() > 0.97
    assert 0.07 < np.nanmedian(found) < 0.11
    np.testing.assert_allclose(scene.reflectance("B2", grid[300:400]), found[0, 300:400], atol=1e-6)


@pytest.mark.realdata
def test_real_bands_of_10_and_20_m_in_netcdf_3_are_read(data_folder, tmp_path):
    """The files have no CRS that GDAL sees, and an attribute that is not UTF-8; two of them have pixels of 20 m."""
    folder = data_folder / "sentinel2-six-bands"
    files = {"B4": "red_band.nc", "B8": "nir_band.nc", "B11": "swir1_band.nc"}
    bands = {name: {"path": folder / file, "scale": 1e-4, "crs": "EPSG:32719"} for name, file in files.items()}
    scene = files_scene(folder, **bands)
    assert scene.extents()[0].bounds == (600000, 4698020, 603000, 4700020)
    grid = GeoBox((200, 300), Affine(10, 0, 600000, 0, -10, 4700020), "EPSG:32719")
    scene.check_radiometry(grid)
    with rasterio.open(data_folder / "sentinel2-six-bands" / "red_band.nc") as file:
        np.testing.assert_allclose(scene.reflectance("B4", grid), file.read(1) / 1e4, atol=1e-7)
    with rasterio.open(data_folder / "sentinel2-six-bands" / "swir1_band.nc") as file:
        coarse = file.read(1) / 1e4
    found = scene.reflectance("B11", grid)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[1::2, 1::2][:99, :149].mean(), coarse[:100, :150].mean(), rtol=0.01)
