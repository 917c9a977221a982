"""Polygons are burned again with rasterio and measured with shapely and pyproj, which did not make them."""

import errno
import json
import re
import sqlite3
from contextlib import closing

import defusedxml.ElementTree
import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet
import pyogrio
import pyproj
import pytest
import rasterio.features
import shapely
from affine import Affine
from geopandas.testing import assert_geodataframe_equal
from odc.geo.geobox import GeoBox
from scipy import ndimage

from coslide.errors import InputError
from coslide.mapping import inventory as inventory_module
from coslide.mapping.attributes import Landslide, LandslideContext, count_density
from coslide.mapping.inventory import label_landslides, vectorize_landslides, write_inventory

TRANSFORM = Affine(10, 0, 300000, 0, -10, 3700000)
COLUMNS = [*Landslide.model_fields, "geometry"]


def grid_of(array):
    return GeoBox(array.shape, TRANSFORM, "EPSG:32648")


def drawn(*lines):
    """Return a probability map: # is 0.9, a space 0.1, ? not valid."""
    return np.array([[{"#": 0.9, " ": 0.1, "?": np.nan}[sign] for sign in line] for line in lines], np.float32)


def patches(share, seed=0, size=120):
    """Return smooth random patches in which `share` of the pixels is landslide."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.random((size, size)), 1.0) + 0.02 * rng.random((size, size))
    return field > np.quantile(field, 1 - share)


def burned(frame, grid):
    shapes = zip(frame.geometry, frame["id"], strict=True)
    return rasterio.features.rasterize(shapes, grid.shape, transform=grid.affine, dtype="int32")


@pytest.mark.parametrize("share", [0.03, 0.3, 0.6])
def test_polygons_burned_again_are_the_numbered_pixels(share):
    probability = patches(share).astype(np.float32)
    grid = grid_of(probability)
    np.testing.assert_array_equal(
        burned(vectorize_landslides(probability, grid), grid), label_landslides(probability, pixel_size_m=10)
    )


@pytest.mark.parametrize("share", [0.1, 0.4, 0.5, 0.8])
def test_every_polygon_of_random_pixels_is_valid(share):
    """R36: all geometries are valid."""
    probability = (np.random.default_rng(0).random((150, 150)) < share).astype(np.float32)
    assert vectorize_landslides(probability, grid_of(probability)).is_valid.all()


def test_random_pixels_burned_again_are_the_same_pixels():
    """R37: burning, outlining and burning again is the identity."""
    probability = (np.random.default_rng(0).random((150, 150)) < 0.5).astype(np.float32)
    grid = grid_of(probability)
    np.testing.assert_array_equal(burned(vectorize_landslides(probability, grid), grid) > 0, probability > 0)


def test_the_area_is_the_number_of_pixels_times_a_pixel():
    """R36: area is pixels times 100 m2."""
    probability = patches(0.3).astype(np.float32)
    frame = vectorize_landslides(probability, grid_of(probability))
    pixels = np.bincount(label_landslides(probability, pixel_size_m=10).ravel())[1:]
    np.testing.assert_array_equal(frame["area_m2"], pixels * 100.0)


def test_the_area_is_the_area_of_the_polygon():
    probability = patches(0.6).astype(np.float32)
    frame = vectorize_landslides(probability, grid_of(probability))
    np.testing.assert_allclose(frame["area_m2"], frame.area, rtol=1e-12)


def test_the_geodesic_area_is_the_one_pyproj_gives_for_the_whole_polygon():
    """R36: geodesic area."""
    probability = patches(0.6).astype(np.float32)
    frame = vectorize_landslides(probability, grid_of(probability))
    geod = pyproj.Geod(ellps="WGS84")
    expected = [
        geod.geometry_area_perimeter(shapely.MultiPolygon([shapely.geometry.polygon.orient(p) for p in shape.geoms]))[0]
        for shape in frame.to_crs(4326).geometry
    ]
    np.testing.assert_allclose(frame["area_geodesic_m2"], expected, rtol=1e-7)


def test_the_geodesic_area_differs_by_the_scale_of_the_projection():
    probability = np.ones((5, 5))
    grid = GeoBox((5, 5), Affine(10, 0, 500000, 0, -10, 3700000), "EPSG:32648")
    frame = vectorize_landslides(probability, grid)
    # On the central meridian of UTM the scale is 0.9996 both ways.
    np.testing.assert_allclose(frame["area_geodesic_m2"] / frame["area_m2"], 1 / 0.9996**2, rtol=1e-7)


def test_objects_that_touch_at_a_corner_are_one_landslide():
    frame = vectorize_landslides(drawn("# ", " #"), grid_of(np.zeros((2, 2))))
    assert (len(frame), frame.area[0], frame.is_valid[0]) == (1, 200.0, True)


def test_a_hole_stays_a_hole():
    """R36: holes are kept."""
    probability = drawn("###", "# #", "###")
    shape = vectorize_landslides(probability, grid_of(probability)).geometry[0]
    assert (shape.area, len(shape.geoms), len(shape.geoms[0].interiors)) == (800.0, 1, 1)


def test_a_hole_that_touches_the_outside_at_a_corner_is_valid():
    probability = drawn("## ", "# #", "###")
    shape = vectorize_landslides(probability, grid_of(probability)).geometry[0]
    assert (shape.area, shape.is_valid) == (700.0, True)


def test_a_landslide_inside_the_hole_of_another_is_its_own():
    probability = drawn("#####", "#   #", "# # #", "#   #", "#####")
    assert vectorize_landslides(probability, grid_of(probability))["area_m2"].tolist() == [1600.0, 100.0]


def test_pixels_that_are_not_valid_are_never_landslide():
    probability = drawn("#?#", "???")
    assert vectorize_landslides(probability, grid_of(probability))["area_m2"].tolist() == [100.0, 100.0]


def test_a_probability_at_the_threshold_is_landslide():
    assert label_landslides(np.array([[0.5, np.nextafter(0.5, 0)]]), pixel_size_m=10).tolist() == [[1, 0]]


@pytest.mark.parametrize(("min_area_m2", "count"), [(0, 3), (100, 3), (100.1, 2), (200, 2), (300, 1), (400, 0)])
def test_objects_below_the_smallest_area_are_left_out(min_area_m2, count):
    """R36: smallest area."""
    probability = drawn("# ## ###")
    assert label_landslides(probability, pixel_size_m=10, min_area_m2=min_area_m2).max() == count


@pytest.mark.parametrize("pixel_size_m", [0.1, 0.3, 1 / 3, 12.5])
def test_an_object_of_exactly_the_smallest_area_is_kept(pixel_size_m):
    assert label_landslides(np.ones((1, 27)), pixel_size_m=pixel_size_m, min_area_m2=27 * pixel_size_m**2).max() == 1


def test_ids_follow_the_first_pixel_of_each_landslide():
    """R36: ids are stable."""
    labels = label_landslides(patches(0.3).astype(np.float32), pixel_size_m=10, min_area_m2=300)
    first = [np.flatnonzero(labels == label)[0] for label in range(1, labels.max() + 1)]
    assert first == sorted(first)


def test_ids_do_not_depend_on_how_the_library_numbers(monkeypatch):
    probability = patches(0.3).astype(np.float32)
    expected = label_landslides(probability, pixel_size_m=10)

    def shuffled(mask):
        labels = ndimage.label(mask, structure=np.ones((3, 3)))[0]
        return np.concatenate([[0], np.random.default_rng(1).permutation(labels.max()) + 1])[labels]

    monkeypatch.setattr(inventory_module, "label_objects", shuffled)
    np.testing.assert_array_equal(label_landslides(probability, pixel_size_m=10), expected)


def test_mean_and_maximum_are_those_of_the_pixels_of_each_landslide():
    probability = np.random.default_rng(3).random((60, 60), dtype=np.float32)
    labels = label_landslides(probability, pixel_size_m=10, threshold=0.8)
    frame = vectorize_landslides(probability, grid_of(probability), threshold=0.8)
    expected = [(probability[labels == i].mean(dtype=float), probability[labels == i].max()) for i in frame["id"]]
    np.testing.assert_allclose(frame[["probability_mean", "probability_max"]], expected, rtol=1e-12)


def test_an_empty_result_has_the_columns_dtypes_and_crs_of_a_full_one():
    none, some = (vectorize_landslides(np.full((3, 3), p), grid_of(np.zeros((3, 3)))) for p in (0.0, 1.0))
    assert (len(none), none.crs, list(none.columns)) == (0, some.crs, COLUMNS)
    pd.testing.assert_series_equal(none.dtypes, some.dtypes)
    kinds = {int: "i", float: "f", bool: "b", str: "O"}
    expected = {name: kinds[field.annotation] for name, field in Landslide.model_fields.items()}
    assert {name: some[name].dtype.kind for name in expected} == expected


@pytest.mark.parametrize("threshold", [0.0, -0.1, 1.1, float("nan")])
def test_a_threshold_that_is_no_probability_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold: expected"):
        label_landslides(np.zeros((2, 2)), pixel_size_m=10, threshold=threshold)


@pytest.mark.parametrize("pixel_size_m", [0.0, -10.0, float("nan")])
def test_a_pixel_size_that_is_no_length_is_refused(pixel_size_m):
    with pytest.raises(ValueError, match="pixel_size_m: expected"):
        label_landslides(np.zeros((2, 2)), pixel_size_m=pixel_size_m)


def test_a_map_with_a_band_axis_is_refused():
    with pytest.raises(ValueError, match="expected \\(row, col\\), found 3"):
        label_landslides(np.zeros((1, 2, 2)), pixel_size_m=10)


def test_a_map_of_another_shape_than_its_grid_is_refused():
    with pytest.raises(ValueError, match="shape of the grid"):
        vectorize_landslides(np.zeros((2, 3)), grid_of(np.zeros((3, 2))))


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:2227", None])  # degrees, US survey feet
def test_a_grid_that_is_not_in_metres_is_refused(crs):
    with pytest.raises(ValueError, match="projected CRS in metres"):
        vectorize_landslides(np.zeros((2, 2)), GeoBox((2, 2), TRANSFORM, crs))


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_both_files_give_the_inventory_back(tmp_path, share):
    probability = patches(share).astype(np.float32)
    frame = vectorize_landslides(probability, grid_of(probability))
    package, parquet = write_inventory(frame, tmp_path / "new")
    assert_geodataframe_equal(gpd.read_parquet(parquet), frame)
    assert_geodataframe_equal(gpd.read_file(package, layer="landslides"), frame, check_like=True)


def test_the_layer_is_named_and_typed_even_when_it_is_empty(tmp_path):
    package, _ = write_inventory(vectorize_landslides(np.zeros((3, 3)), grid_of(np.zeros((3, 3)))), tmp_path)
    assert pyogrio.list_layers(package).tolist() == [["landslides", "MultiPolygon"], ["layer_styles", None]]


def test_only_the_two_files_are_left_in_the_folder(tmp_path):
    write_inventory(vectorize_landslides(np.ones((3, 3)), grid_of(np.zeros((3, 3)))), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["landslides.gpkg", "landslides.parquet"]


def test_a_package_that_lost_landslides_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(pyogrio, "read_info", lambda *_, **__: {"features": 0})
    with pytest.raises(OSError, match="expected 1 landslides in the file, found 0"):
        write_inventory(vectorize_landslides(np.ones((3, 3)), grid_of(np.zeros((3, 3)))), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_running_out_of_space_is_named(tmp_path, monkeypatch):
    def to_parquet(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(gpd.GeoDataFrame, "to_parquet", to_parquet)
    with pytest.raises(InputError, match=r"landslides\.parquet: the disk is full"):
        write_inventory(vectorize_landslides(np.ones((3, 3)), grid_of(np.zeros((3, 3)))), tmp_path)


def test_a_disk_that_really_fills_is_named_and_left_empty(small_disk):
    disk = small_disk(300)
    probability = patches(0.2, size=400).astype(np.float32)
    with pytest.raises(InputError, match="the disk is full"):
        write_inventory(vectorize_landslides(probability, grid_of(probability)), disk)
    assert list(disk.iterdir()) == []


def test_the_package_carries_its_metadata_and_a_style_that_is_whole(tmp_path):
    probability = patches(0.1).astype(np.float32)
    package, _ = write_inventory(
        vectorize_landslides(probability, grid_of(probability)), tmp_path, metadata={"event": "made <up>"}
    )
    assert pyogrio.read_info(package, layer="landslides")["layer_metadata"]["event"] == "made <up>"
    style = pyogrio.read_dataframe(package, layer="layer_styles").iloc[0]
    assert (style["f_table_name"], style["f_geometry_column"], style["useAsDefault"]) == ("landslides", "geom", True)
    assert pyogrio.read_info(package, layer="landslides")["geometry_name"] == "geom"
    root = defusedxml.ElementTree.fromstring(style["styleQML"], forbid_dtd=False)
    renderer = root.find("renderer-v2")
    assert renderer.get("attr") == "probability_mean"
    symbols = {symbol.get("name") for symbol in renderer.find("symbols")}
    assert {entry.get("symbol") for entry in renderer.find("ranges")} == symbols


def test_attributes_of_each_landslide_are_those_of_a_loop_over_its_pixels():
    """The witness takes each landslide by itself with numpy and shapely."""
    random = np.random.default_rng(5)
    probability = np.where(patches(0.2), random.uniform(0.5, 1, (120, 120)), 0.1).astype(np.float32)
    probability[:4, :30] = np.nan
    bands = {
        "elevation": random.uniform(100, 900, (120, 120)),
        "slope": random.uniform(0, 60, (120, 120)),
        "aspect_class": random.integers(1, 10, (120, 120)).astype(float),
        "stratum_class": random.integers(0, 5, (120, 120)).astype(float),
        "pga": random.uniform(0.1, 0.5, (120, 120)),
        "fault_distance": random.uniform(0, 6000, (120, 120)),
    }
    bands["slope"][50:60] = np.nan
    spread = random.uniform(0, 0.2, (120, 120)).astype(np.float32)
    context = LandslideContext(lambda place, name: bands[name].ravel()[place], spread, "2018-08-01", "2018-09-10")
    grid = grid_of(probability)
    frame = vectorize_landslides(probability, grid, context=context)
    labels = label_landslides(probability, pixel_size_m=10)
    nodata = np.pad(np.isnan(probability), 1, constant_values=True)
    names = ["", "flat", "N", "NE", "E", "SE", "S", "SW", "W", "NW"]
    assert len(frame) > 30
    for row in frame.itertuples():
        pixels = labels == row.id
        values = np.sort(probability[pixels].astype(float))
        assert row.probability_p10 == values[int(np.floor(0.1 * (len(values) - 1)))]
        assert row.uncertainty_mean == pytest.approx(spread[pixels].mean(), rel=1e-5)
        relief = bands["elevation"][pixels].max() - bands["elevation"][pixels].min()
        assert row.relief_m == pytest.approx(relief)
        slopes = bands["slope"][pixels][~np.isnan(bands["slope"][pixels])]
        if slopes.size:
            assert (row.slope_mean_deg, row.slope_max_deg) == (pytest.approx(slopes.mean()), slopes.max())
        else:
            assert np.isnan(row.slope_mean_deg)
        aspects = np.bincount(bands["aspect_class"][pixels].astype(int), minlength=10)
        assert row.aspect == names[int(aspects.argmax())]
        strata = np.bincount(bands["stratum_class"][pixels].astype(int), minlength=5)
        assert row.stratum == (0 if not strata[1:].any() else 1 + int(strata[1:].argmax()))
        assert row.pga_g == pytest.approx(bands["pga"][pixels].mean())
        assert row.fault_distance_m == bands["fault_distance"][pixels].min()
        assert row.perimeter_m == pytest.approx(row.geometry.length)
        assert row.length_m >= row.width_m > 0
        assert row.length_m * row.width_m == pytest.approx(row.geometry.minimum_rotated_rectangle.area)
        assert row.height_to_length == pytest.approx(relief / row.length_m)
        r, c = np.nonzero(pixels)
        near = any(nodata[i : i + 3, j : j + 3].any() for i, j in zip(r, c, strict=True))
        assert row.touches_nodata == near
    assert set(frame.scene_before) == {"2018-08-01"}


def test_what_the_cube_lacks_leaves_its_columns_empty():
    frame = vectorize_landslides(np.ones((3, 3)), grid_of(np.zeros((3, 3))))
    [row] = frame.itertuples()
    assert all(np.isnan(getattr(row, name)) for name in ("relief_m", "slope_max_deg", "pga_g", "fault_distance_m"))
    assert (row.aspect, row.stratum, row.scene_before, row.uncertainty_mean != row.uncertainty_mean) == (
        "",
        0,
        "",
        True,
    )


def test_the_density_of_a_square_is_that_of_its_valid_area():
    """1.5 x 2.3 km, of which a strip is nodata: every number by hand from the polygons."""
    random = np.random.default_rng(7)
    probability = np.where(random.random((150, 230)) < 0.01, 0.9, 0.1).astype(np.float32)
    probability[:, :20] = np.nan
    grid = grid_of(probability)
    frame = vectorize_landslides(probability, grid)
    density, squares = count_density(frame, np.isfinite(probability), grid)
    assert (squares.shape, squares.affine.a) == ((2, 3), 1000)
    left, top = grid.affine.c, grid.affine.f
    points = frame.geometry.representative_point()
    for row in range(2):
        for col in range(3):
            inside = (
                (points.x >= left + 1000 * col) & (points.x < left + 1000 * (col + 1))
                & (points.y <= top - 1000 * row) & (points.y > top - 1000 * (row + 1))
            )  # fmt: skip
            km2 = np.isfinite(probability[100 * row : 100 * (row + 1), 100 * col : 100 * (col + 1)]).sum() * 1e-4
            assert density[0, row, col] == pytest.approx(inside.sum() / km2, rel=1e-6)
            assert density[1, row, col] == pytest.approx(frame.area_m2[inside].sum() / 1e6 / km2, rel=1e-6)
    nothing, _ = count_density(frame.iloc[:0], np.zeros_like(probability, dtype=bool), grid)
    assert np.isnan(nothing).all()


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_the_geopackage_keeps_to_the_standard(tmp_path, share):
    """GeoPackage 1.2 (OGC 12-128), read with SQLite alone."""
    probability = patches(share).astype(np.float32)
    frame = vectorize_landslides(probability, grid_of(probability))
    package, _ = write_inventory(frame, tmp_path, metadata={"event": "a"})
    with closing(sqlite3.connect(package)) as database:

        def rows(statement):
            return database.execute(statement).fetchall()

        assert rows("pragma application_id") == [(0x47504B47,)]
        assert rows("pragma user_version") == [(10200,)]
        assert rows("pragma integrity_check") == [("ok",)]
        assert rows("pragma foreign_key_check") == []
        tables = {name for (name,) in rows("select name from sqlite_master")}
        contents = {name: rest for name, *rest in rows("select * from gpkg_contents")}
        assert contents.keys() == {"landslides", "layer_styles"}
        assert contents.keys() <= tables
        assert {kind for kind, *_ in contents.values()} == {"features", "attributes"}
        extent, srs = contents["landslides"][4:8], contents["landslides"][8]
        np.testing.assert_array_equal(np.float64(extent), frame.total_bounds if share else [np.nan] * 4)
        known = rows("select srs_id, organization, organization_coordsys_id from gpkg_spatial_ref_sys")
        assert (srs, "EPSG", 32648) in known
        assert {-1, 0, 4326} <= {number for number, *_ in known}
        assert rows("select * from gpkg_geometry_columns") == [("landslides", "geom", "MULTIPOLYGON", srs, 0, 0)]
        assert rows("select count(*) from rtree_landslides_geom") == [(len(frame),)]
        extensions = {extension for (extension,) in rows("select extension_name from gpkg_extensions")}
        assert extensions == {"gpkg_rtree_index", "gpkg_metadata"}
        (update_time,) = rows("select update_time from layer_styles")[0]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", update_time)


def test_the_geoparquet_states_its_version_crs_types_and_bounds(tmp_path):
    probability = patches(0.3).astype(np.float32)
    frame = vectorize_landslides(probability, grid_of(probability))
    _, path = write_inventory(frame, tmp_path)
    stated = json.loads(pyarrow.parquet.read_schema(path).metadata[b"geo"])
    column = stated["columns"][stated["primary_column"]]
    assert stated["version"] in {"1.0.0", "1.1.0"}
    assert (column["encoding"], column["geometry_types"]) == ("WKB", ["MultiPolygon"])
    assert pyproj.CRS.from_json_dict(column["crs"]).to_epsg() == 32648
    assert column["bbox"] == list(frame.total_bounds)
