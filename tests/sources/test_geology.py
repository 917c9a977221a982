"""Classes by age are compared with the unit that shapely, or the pixel that pyproj, finds at pixel centres."""

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from odc.geo.geobox import GeoBox
from rasterio.transform import Affine, from_origin
from shapely.geometry import LineString, Polygon, box

from coslide.config.schema import GeologyConfig
from coslide.errors import InputError
from coslide.sources.geology import class_of_units, read_strata

UTM = "EPSG:32648"
GRID = GeoBox((60, 80), Affine(10, 0, 300000, 0, -10, 3700000), UTM)
PAPER = ("D1", "D2", "C2", "P1", "P2-T1", "T1", "T2", "T3")


def stripes(units, *, north=3700000, south=3699400, width=100):
    """Return units side by side, 100 m wide each, from west to east."""
    shapes = [box(300000 + width * i, south, 300000 + width * (i + 1), north) for i in range(len(units))]
    return gpd.GeoDataFrame({"unit": units}, geometry=shapes, crs=UTM)


def polygons(tmp_path, frame, name="map.gpkg", **options):
    frame.to_file(tmp_path / name)
    return GeologyConfig(path=tmp_path / name, field="unit", **options)


def raster(tmp_path, values, *, transform=GRID.affine, crs=UTM, nodata=None, **options):
    profile = {"driver": "GTiff", "count": 1, "dtype": values.dtype.name, "height": len(values)}
    path = tmp_path / "map.tif"
    with rasterio.open(
        path, "w", width=values.shape[1], transform=transform, crs=crs, nodata=nodata, **profile
    ) as file:
        file.write(values, 1)
    return GeologyConfig(path=path, **options)


def pixel_centres(grid):
    columns, rows = np.meshgrid(np.arange(grid.shape.x) + 0.5, np.arange(grid.shape.y) + 0.5)
    return grid.affine @ (columns, rows)


def test_the_units_of_the_paper_are_classes_1_to_8_from_old_to_young(tmp_path):
    """R31: P2-T1 comes after P1 and before T1, wherever the map has them."""
    order = ["T3", "P2-T1", "D1", "T1", "C2", "P1", "T2", "D2"]
    codes = read_strata(polygons(tmp_path, stripes(order), ages=PAPER), GRID).codes
    np.testing.assert_array_equal(codes, np.repeat([[8, 5, 1, 6, 3, 4, 7, 2]], 10, axis=1).repeat(60, axis=0))


@pytest.mark.parametrize("name", ["map.gpkg", "map.geojson", "map.shp", "map.fgb"])
def test_a_pixel_has_the_unit_of_its_centre_in_every_format(tmp_path, name):
    """R31: against shapely, for units in degrees with edges across the pixels."""
    rng = np.random.default_rng(0)
    seeds = shapely.multipoints(rng.uniform((299900, 3699300), (300900, 3700100), (12, 2)))
    pixels = shapely.get_parts(shapely.voronoi_polygons(seeds, extend_to=box(299000, 3698000, 302000, 3701000)))
    frame = gpd.GeoDataFrame({"unit": [f"u{i % 5}" for i in range(len(pixels))]}, geometry=list(pixels), crs=UTM)
    geology = polygons(tmp_path, frame.to_crs(4326), name, ages=("u0", "u1", "u2", "u3", "u4"))
    x, y = pixel_centres(GRID)
    expected = np.zeros(GRID.shape, dtype=np.uint8)
    for unit, shape in zip(frame["unit"], frame.geometry, strict=True):
        expected[shapely.contains_xy(shape, x, y)] = int(unit[1]) + 1
    strata = read_strata(geology, GRID)
    assert (strata.codes != expected).sum() <= 5  # centres within a millimetre of an edge
    assert strata.overlap < 1e-3


def test_units_of_one_age_share_a_class_and_units_without_age_have_none(tmp_path):
    """R31."""
    frame = stripes(["T1", "T1f", "water", "D1", "ice", "D1", "T1", "D1"])
    strata = read_strata(polygons(tmp_path, frame, ages=("D1", ("T1", "T1f")), without_age=("water", "ice")), GRID)
    assert strata.codes[0, ::10].tolist() == [2, 2, 0, 1, 0, 1, 2, 1]
    assert strata.units == ("D1", "T1", "T1f", "ice", "water")


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_where_units_overlap_the_younger_counts_whatever_their_order(tmp_path, order):
    """R31: overlaps are resolved deterministically, and reported; a lake lies on top of all."""
    old, young = box(300000, 3699400, 300500, 3700000), box(300400, 3699400, 300800, 3700000)
    lake = box(300700, 3699400, 300720, 3700000)
    shapes = {"unit": ["D1", "T1", "water"]}
    frame = gpd.GeoDataFrame(shapes, geometry=[old, young, lake], crs=UTM).iloc[order]
    strata = read_strata(polygons(tmp_path, frame, ages=("D1", "T1"), without_age=("water",)), GRID)
    np.testing.assert_array_equal(strata.codes[7], [1] * 40 + [2] * 30 + [0] * 2 + [2] * 8)
    np.testing.assert_allclose(strata.overlap, (10 + 2) / 80)


def test_pixels_without_a_polygon_are_not_mapped(tmp_path):
    """R31."""
    codes = read_strata(polygons(tmp_path, stripes(["D1"] * 4), ages=("D1",)), GRID).codes
    np.testing.assert_array_equal(codes == 255, np.broadcast_to(np.arange(80) >= 40, GRID.shape))


def test_every_unit_on_the_grid_must_be_named_or_the_run_stops_naming_them_all(tmp_path):
    """R31: in one line; a unit elsewhere does not matter."""
    frame = stripes(["D1", "T9", "D1", None, "Q2", "D1", "D1", "D1", "D1", "far"])
    geology = polygons(tmp_path, frame, ages=("D1",))
    with pytest.raises(InputError, match=r"map\.gpkg: .* add them to geology.ages .*: '', 'Q2', 'T9'$") as caught:
        read_strata(geology, GRID)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("values", [[12, 3], [12.0, 3.0], [" 12", "3 "]])
def test_units_are_compared_as_text(tmp_path, values):
    """R31: whether the file holds numbers or text, and the event file either."""
    frame = stripes(values)
    for ages in ((3, 12), ("3", "12")):
        assert read_strata(polygons(tmp_path, frame, ages=ages), GRID).codes[0, :20:10].tolist() == [2, 1]


def test_polygons_that_cross_themselves_are_repaired_and_counted(tmp_path):
    bowtie = Polygon([(300000, 3699400), (300800, 3700000), (300800, 3699400), (300000, 3700000)])
    frame = gpd.GeoDataFrame({"unit": ["D1"]}, geometry=[bowtie], crs=UTM)
    strata = read_strata(polygons(tmp_path, frame, ages=("D1",)), GRID)
    assert strata.repaired == 1
    assert abs((strata.codes == 1).mean() - 0.5) < 0.02


@pytest.mark.parametrize(
    ("ages", "without", "message"),
    [
        (("D1", "T1", "D1"), (), "found 'D1' twice"),
        (("D1", ("T1", "D1")), (), "found 'D1' twice"),
        (("D1", "1"), (1,), "found '1' twice"),
        (("D1", ()), (), "geology.ages: found an empty list in place 2"),
    ],
)
def test_ages_that_contradict_themselves_are_refused(tmp_path, ages, without, message):
    """R31."""
    with pytest.raises(InputError, match=message):
        class_of_units(GeologyConfig(path=tmp_path, ages=ages, without_age=without))


def test_a_field_that_there_is_not_is_refused_naming_those_there_are(tmp_path):
    """R31."""
    geology = polygons(tmp_path, stripes(["D1"]), ages=("D1",))
    with pytest.raises(InputError, match=r"geology.field: found 'age', expected a field of .*map\.gpkg: unit"):
        read_strata(geology.model_copy(update={"field": "age"}), GRID)
    with pytest.raises(InputError, match=r"geology.field: missing, expected a field of .*map\.gpkg: unit"):
        read_strata(geology.model_copy(update={"field": None}), GRID)


@pytest.mark.parametrize(
    ("geometry", "message"),
    [
        (box(0, 0, 1, 1), "none of its features overlaps the grid"),
        (LineString([(300000, 3699700), (300100, 3699700)]), "found LineString, expected polygons of a geological map"),
    ],
)
def test_a_map_that_cannot_be_used_is_refused(tmp_path, geometry, message):
    frame = gpd.GeoDataFrame({"unit": ["D1"]}, geometry=[geometry], crs=UTM)
    with pytest.raises(InputError, match=message):
        read_strata(polygons(tmp_path, frame, ages=("D1",)), GRID)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
@pytest.mark.parametrize("nodata", [0, None])
def test_a_raster_of_codes_gives_the_same_classes_as_polygons(tmp_path, dtype, nodata):
    """R31: on the pixels of the grid themselves, with codes that need 32 bits where there are so many."""
    big = 2**24 + 1 if dtype in {"int32", "float64"} else 200
    values = np.repeat(np.repeat([[7, big, 3, 7, 3, 3, 7, 0]], 10, axis=1), 60, axis=0).astype(dtype)
    without = () if nodata == 0 else (0,)
    strata = read_strata(raster(tmp_path, values, nodata=nodata, ages=(3, (7, big)), without_age=without), GRID)
    assert strata.codes[0, ::10].tolist() == [2, 2, 1, 2, 1, 1, 2, 255 if nodata == 0 else 0]


def test_a_raster_in_degrees_has_the_code_of_the_nearest_pixel(tmp_path):
    """R12: against pyproj, pixel by pixel; no code appears that the map has not."""
    to_degrees = pyproj.Transformer.from_crs(UTM, 4326, always_xy=True)
    west, south, east, north = to_degrees.transform_bounds(*GRID.boundingbox.bbox)
    step = 9e-4
    shape = int((north - south) / step) + 3, int((east - west) / step) + 3
    values = np.random.default_rng(0).choice(np.array([1, 5, 9, 13], dtype=np.uint8), shape)
    transform = from_origin(west - step, north + step, step, step)
    strata = read_strata(raster(tmp_path, values, transform=transform, crs=4326, ages=(1, 5, 9, 13)), GRID)
    lon, lat = to_degrees.transform(*pixel_centres(GRID))
    columns, rows = ~transform @ (lon, lat)
    nearest = values[np.floor(rows).astype(int), np.floor(columns).astype(int)]
    found = np.array([0, 1, 5, 9, 13])[strata.codes]
    assert set(np.unique(found)) <= {1, 5, 9, 13}
    edge = np.maximum(np.abs(rows % 1 - 0.5), np.abs(columns % 1 - 0.5)) > 0.45  # GDAL is right to 1/8 of a pixel
    np.testing.assert_array_equal(found[~edge], nearest[~edge])


def test_a_raster_whose_rows_run_northwards_is_not_upside_down(tmp_path):
    """R19."""
    values = np.repeat(np.arange(1, 61, dtype=np.uint8), 80).reshape(60, 80)
    geology = raster(tmp_path, values[::-1].copy(), transform=Affine(10, 0, 300000, 0, 10, 3699400), ages=range(1, 61))
    np.testing.assert_array_equal(read_strata(geology, GRID).codes, values)


def test_pixels_beyond_a_raster_are_not_mapped(tmp_path):
    """R31: also where the raster declares no nodata."""
    codes = read_strata(raster(tmp_path, np.full((60, 30), 4, np.uint8), ages=(4,)), GRID).codes
    assert (codes[:, :30] == 1).all()
    assert (codes[:, 30:] == 255).all()


@pytest.mark.parametrize(
    ("values", "crs", "message"),
    [
        (np.full((60, 80), 7, np.uint8), UTM, "add them to geology.ages .*: '7'"),
        (np.arange(4800, dtype=np.float32).reshape(60, 80), UTM, "more than 1000 different values, expected codes"),
        (np.full((60, 80), 3, np.uint8), None, "has no CRS"),
        (np.zeros((60, 80), np.uint8), UTM, "has no code on the grid"),
    ],
)
def test_a_raster_that_is_no_map_of_the_units_is_refused(tmp_path, values, crs, message):
    """R31."""
    with pytest.raises(InputError, match=message):
        read_strata(raster(tmp_path, values, crs=crs, nodata=0, ages=(3,)), GRID)


def test_a_pixel_that_is_no_number_are_not_mapped(tmp_path):
    """R31."""
    values = np.full((60, 80), 2.5, np.float32)
    values[:, 40:] = np.nan
    strata = read_strata(raster(tmp_path, values, ages=("2.5",)), GRID)
    assert strata.units == ("2.5",)
    np.testing.assert_array_equal(strata.codes[0], [1] * 40 + [255] * 40)


def test_a_raster_of_a_datum_that_only_a_guess_leads_from_is_refused(tmp_path):
    """R22."""
    geology = raster(
        tmp_path, np.ones((60, 80), np.uint8), transform=from_origin(103, 34, 0.1, 0.1), crs=4610, ages=(1,)
    )
    with pytest.raises(InputError, match=r"map\.tif: no exact transformation from its CRS"):
        read_strata(geology, GRID)


def test_a_raster_with_several_bands_is_refused(tmp_path):
    with rasterio.open(
        tmp_path / "map.tif", "w", driver="GTiff", count=3, dtype="uint8", height=60, width=80, crs=UTM,
        transform=GRID.affine,
    ) as file:  # fmt: skip
        file.write(np.ones((3, 60, 80), np.uint8))
    with pytest.raises(InputError, match=r"map\.tif: holds 3 bands; expected one, of codes"):
        read_strata(GeologyConfig(path=tmp_path / "map.tif", ages=(1,)), GRID)


def test_a_raster_with_a_field_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"map\.tif: holds no polygons, expected some with geology.field 'unit'"):
        read_strata(raster(tmp_path, np.ones((60, 80), np.uint8), field="unit", ages=(1,)), GRID)


def test_a_file_that_is_neither_polygons_nor_raster_is_refused(tmp_path):
    (tmp_path / "map.tif").write_text("nothing")
    with pytest.raises(InputError, match=r"map\.tif: cannot be read as a raster"):
        read_strata(GeologyConfig(path=tmp_path / "map.tif", ages=(1,)), GRID)


@pytest.mark.realdata
@pytest.mark.parametrize("field", ["code", "unitname", "rocktype1", "group_"])
def test_the_real_map_of_polygons_has_the_unit_of_each_pixel_centre(data_folder, field):
    """R31: on several fields of the Hamersley map, against a spatial join."""
    path = data_folder / "hamersley-geology" / "geology.geojson"
    frame = gpd.read_file(path).to_crs("EPSG:32750")
    left, bottom, _, _ = frame.total_bounds
    grid = GeoBox.from_bbox((left + 5e3, bottom + 5e3, left + 25e3, bottom + 25e3), crs="EPSG:32750", resolution=100)
    units = frame[field].fillna("").str.strip()
    ages = tuple(sorted(set(units)))
    strata = read_strata(GeologyConfig(path=path, field=field, ages=ages), grid)
    x, y = pixel_centres(grid)
    expected = np.full(grid.shape, 255, dtype=np.uint8)
    for shape, unit in sorted(zip(frame.geometry, units, strict=True), key=lambda pair: pair[1]):
        shapely.prepare(shape)
        expected[shapely.contains_xy(shape, x, y)] = ages.index(unit) + 1
    assert (strata.codes != expected).mean() < 1e-3
    assert len(np.unique(strata.codes)) > 3


@pytest.mark.realdata
def test_the_real_raster_of_lithology_has_the_code_of_the_nearest_pixel(data_folder):
    """R12: GLiM codes such as -3.22, as float32 in degrees."""
    path = data_folder / "loma-prieta-1989" / "GLIM_replace.tif"
    grid = GeoBox.from_bbox((560000, 4060000, 640000, 4120000), crs="EPSG:32610", resolution=100)
    ages = ("-3.22", "-1.92", "-1.88", "-1.87", "-1.61", "-1.54", "-1.5", "-0.95", "-0.81", "-0.78")
    strata = read_strata(GeologyConfig(path=path, ages=ages, without_age=(0,)), grid)
    with rasterio.open(path) as file:
        values, transform = file.read(1), file.transform
    lon, lat = pyproj.Transformer.from_crs("EPSG:32610", 4326, always_xy=True).transform(*pixel_centres(grid))
    columns, rows = ~transform @ (lon, lat)
    nearest = values[np.floor(rows).astype(int), np.floor(columns).astype(int)]
    known = np.array([0, *ages], dtype=np.float32)
    assert (known[strata.codes] != nearest).mean() < 0.01  # on edges of pixels
    assert len(np.unique(strata.codes)) > 5
    with pytest.raises(InputError, match=r"GLIM_replace\.tif: found units .*: '-0.78', '0'$"):
        read_strata(GeologyConfig(path=path, ages=ages[:-1]), grid)
