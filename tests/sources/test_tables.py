"""Station tables and vector files."""

import geopandas as gpd
import numpy as np
import pytest
from odc.geo.geobox import GeoBox
from rasterio.transform import Affine
from shapely.geometry import LineString, Point, Polygon, box

from coslide.errors import InputError
from coslide.event import Shaking
from coslide.sources.faults import read_traces
from coslide.sources.inventory import read_inventory
from coslide.sources.shaking import read_stations

UTM = "EPSG:32654"
GRID = GeoBox((40, 50), Affine(10, 0, 500000, 0, -10, 4700000), UTM)


def save(path, geometry, crs=UTM):
    gpd.GeoDataFrame({"n": range(len(geometry))}, geometry=geometry, crs=crs).to_file(path)
    return path


def stations(tmp_path, text, unit="%g"):
    (tmp_path / "stations.csv").write_text(text)
    return read_stations(Shaking(stations=tmp_path / "stations.csv", unit=unit))


@pytest.mark.parametrize(
    ("unit", "value"), [("g", "0.25"), ("%g", "25"), ("m/s2", "2.4516625"), ("cm/s2", "245.16625")]
)
def test_every_unit_of_acceleration_becomes_g(tmp_path, unit, value):
    np.testing.assert_allclose(stations(tmp_path, f"lon,lat,pga\n141,42,{value}\n", unit).pga_g, [0.25])


def test_stations_without_a_value_are_left_out(tmp_path):
    found = stations(tmp_path, "lon,lat,pga\n141,42,10\n141.5,42.5,\n")
    assert (found.lon_deg.tolist(), found.lat_deg.tolist()) == ([141], [42])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lon,lat\n141,42\n", "has no column 'pga'; found lon, lat"),
        ("lon,lat,pga\n141,42,\n", "no station has a value"),
        ("lon,lat,pga\n141,42,high\n", "expected numbers"),
        ("lon,lat,pga\n141,42,0\n", "expected values above 0"),
        ("lon,lat,pga\n141,42,2500\n", "found 25 to 25 g with unit '%g'"),
        ("", "cannot be read as CSV"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        stations(tmp_path, text)


def test_traces_come_in_the_crs_of_the_grid_also_from_outside_it(tmp_path):
    far = gpd.GeoSeries([LineString([(400000, 4600000), (400000, 4700000)])], crs=UTM).to_crs(4326)
    (trace,) = read_traces(save(tmp_path / "faults.gpkg", far, crs=4326), GRID)
    np.testing.assert_allclose(trace.coords, [(400000, 4600000), (400000, 4700000)], atol=1e-3)


def test_a_fault_that_is_no_line_is_refused(tmp_path):
    with pytest.raises(InputError, match="found Point, expected fault traces as lines"):
        read_traces(save(tmp_path / "faults.gpkg", [Point(500000, 4700000)]), GRID)


def test_labels_follow_the_centre_rule(tmp_path):
    """The centres of columns 1 to 3 and rows 1 to 2 lie inside; touching cells do not count."""
    path = save(tmp_path / "l.gpkg", [box(500014, 4699971, 500036, 4699986)])
    mask = read_inventory(path, GRID).mask
    expected = np.zeros(GRID.shape, dtype=np.uint8)
    expected[1:3, 1:4] = 1
    expected[2, :] = 0  # its centre lies at 4699975
    expected[2, 1:4] = 1
    np.testing.assert_array_equal(mask, expected)


def test_a_landslide_without_a_cell_centre_is_burnt_by_touch_and_counted(tmp_path):
    """R38: small landslides are not lost."""
    small, large = box(500101, 4699901, 500103, 4699903), box(500200, 4699700, 500300, 4699800)
    labels = read_inventory(save(tmp_path / "l.gpkg", [small, large]), GRID)
    assert (labels.polygons, labels.reburned) == (2, 1)
    assert labels.mask[9, 10] == 1
    assert labels.mask.sum() == 101


def test_a_landslide_hidden_by_another_is_not_burnt_by_touch(tmp_path):
    inner, outer = box(500203, 4699703, 500223, 4699723), box(500200, 4699700, 500300, 4699800)
    assert read_inventory(save(tmp_path / "l.gpkg", [inner, outer]), GRID).reburned == 0


def test_the_burnt_area_is_that_of_the_polygons_within_two_percent(tmp_path):
    """R38, on 88 circles of 1 to 10 cells."""
    random = np.random.default_rng(0)
    centres = np.stack(np.meshgrid(np.arange(500040, 500480, 40), np.arange(4699640, 4699980, 40)), -1).reshape(-1, 2)
    circles = [
        Point(*xy).buffer(r)
        for xy, r in zip(
            centres + random.uniform(-5, 5, centres.shape), random.uniform(6, 18, len(centres)), strict=True
        )
    ]
    mask = read_inventory(save(tmp_path / "l.gpkg", circles), GRID).mask
    assert abs(mask.sum() * 100 / sum(c.area for c in circles) - 1) < 0.02


def test_ground_outside_the_mapped_area_is_unknown_not_background(tmp_path):
    landslides = save(tmp_path / "l.gpkg", [box(500000, 4699600, 500500, 4699700)])
    area = save(tmp_path / "a.gpkg", [box(500000, 4699600, 500250, 4700000)])
    mask = read_inventory(landslides, GRID, area=area).mask
    assert (mask[:, 25:] == 255).all()
    assert set(np.unique(mask[:, :25])) == {0, 1}


def test_an_inventory_in_another_crs_is_reprojected(tmp_path):
    polygons = gpd.GeoSeries([box(500100, 4699700, 500300, 4699900)], crs=UTM)
    here = read_inventory(save(tmp_path / "a.gpkg", polygons), GRID).mask
    there = read_inventory(save(tmp_path / "b.gpkg", polygons.to_crs("EPSG:2454"), crs="EPSG:2454"), GRID).mask
    assert here.sum() == 400
    assert (here != there).sum() <= 4


@pytest.mark.parametrize(
    ("geometry", "message"),
    [
        ([], "holds no feature; expected landslide polygons"),
        ([Polygon()], "holds no feature"),
        ([LineString([(500000, 4699700), (500100, 4699700)])], "found LineString, expected landslide polygons"),
        ([box(0, 0, 1, 1)], "none of its features meets the grid"),
    ],
)
def test_an_inventory_that_cannot_be_used_is_refused(tmp_path, geometry, message):
    with pytest.raises(InputError, match=message):
        read_inventory(save(tmp_path / "l.gpkg", geometry), GRID)


def test_features_beyond_the_reach_of_the_crs_are_left_out(tmp_path):
    """Half a world away a UTM zone has no coordinates."""
    here = gpd.GeoSeries([box(500100, 4699700, 500300, 4699900)], crs=UTM).to_crs(4326).iloc[0]
    labels = read_inventory(
        save(tmp_path / "l.gpkg", [here, box(-39, -1, -38, 1), box(50, 89, 52, 90)], crs=4326), GRID
    )
    assert (labels.polygons, labels.reburned) == (1, 0)
    assert labels.mask.sum() == 400


def test_a_vector_file_without_crs_is_refused(tmp_path):
    path = tmp_path / "l.shp"
    with pytest.warns(UserWarning, match="'crs' was not provided"):
        gpd.GeoDataFrame({"n": [0]}, geometry=[box(0, 0, 1, 1)]).to_file(path)
    with pytest.raises(InputError, match=r"l\.shp: has no CRS"):
        read_inventory(path, GRID)


def test_a_file_that_is_no_vector_file_is_refused(tmp_path):
    (tmp_path / "l.gpkg").write_text("nothing")
    with pytest.raises(InputError, match=r"l\.gpkg: cannot be read as a vector file"):
        read_inventory(tmp_path / "l.gpkg", GRID)


@pytest.mark.realdata
def test_the_real_inventory_keeps_its_area(data_folder):
    """The centre rule on the real polygons: within 1 % of their own area inside the grid."""
    grid = GeoBox((976, 647), Affine(10, 0, 572840, 0, -10, 4735680), UTM)
    path = data_folder / "iburi-2018" / "inventory" / "slope_failures.gpkg"
    polygons = gpd.read_file(path).to_crs(UTM).union_all().intersection(box(*grid.boundingbox.bbox))
    assert abs(read_inventory(path, grid).mask.sum() * 100 / polygons.area - 1) < 0.01
