"""Classes of shaking, and the field of stations on the grid."""

import csv

import numpy as np
import pytest
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from coslide.errors import InputError
from coslide.indices.kriging import krige, leave_one_out_rmse
from coslide.indices.shaking import PGA_LEVELS_G, pga_class, pga_field

CRS = "EPSG:32654"
EAST_M, NORTH_M = 575_000.0, 4_730_000.0
GRID = GeoBox.from_bbox((EAST_M, NORTH_M, EAST_M + 4000, NORTH_M + 3000), crs=CRS, resolution=100)


def stations(count=40, seed=0, half_width_m=80e3):
    """Return longitude, latitude and PGA of stations around the grid, which decays from its middle."""
    rng = np.random.default_rng(seed)
    x_m, y_m = rng.uniform(-half_width_m, half_width_m, (2, count))
    pga_g = 0.8 * np.exp(-np.hypot(x_m, y_m) / 40e3 + rng.normal(0, 0.2, count))
    lon_deg, lat_deg = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(EAST_M + x_m, NORTH_M + y_m)
    return {"lon_deg": lon_deg, "lat_deg": lat_deg, "pga_g": pga_g}


@pytest.mark.parametrize(("k", "level"), list(enumerate(PGA_LEVELS_G)))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_level_belongs_to_the_class_that_it_opens(k, level, dtype):
    """R26, R27: 0.26 g is class 5, in float32 as well."""
    below = np.nextafter(np.float32(level), np.float32(0))
    np.testing.assert_array_equal(pga_class(np.array([below, level], dtype=dtype)), [k, k + 1])


def test_shaking_below_the_first_level_is_a_class_and_missing_shaking_is_none():
    """R26: 0 is not nodata, 255 is."""
    np.testing.assert_array_equal(pga_class([[0.0, 0.119], [np.nan, 3.0]]), [[0, 0], [255, 5]])


def test_the_levels_can_be_set():
    """R26."""
    np.testing.assert_array_equal(pga_class([0.05, 0.1, 0.2, 0.3], levels_g=(0.1, 0.3)), [0, 1, 1, 2])


@pytest.mark.parametrize("levels_g", [(0.2, 0.1), (0.1, 0.1), ((0.1,), (0.2,)), tuple(np.arange(255))])
def test_levels_that_do_not_ascend_are_refused(levels_g):
    """The message shows them."""
    with pytest.raises(ValueError, match="ascending"):
        pga_class([0.1], levels_g=levels_g)


def test_negative_accelerations_are_refused():
    """R27: ln(g) taken for g."""
    with pytest.raises(ValueError, match=r"found -1\.7,"):
        pga_class([0.1, -1.7])


def test_the_field_is_the_exponential_of_the_kriged_logarithm():
    """R29: at cell centres, in the CRS of the grid, within 0.5 % of the direct solution, stations inside."""
    table = stations(10, half_width_m=8e3)
    x_m, y_m = Transformer.from_crs("EPSG:4326", CRS, always_xy=True).transform(table["lon_deg"], table["lat_deg"])
    direct = krige(
        x_m,
        y_m,
        np.log(table["pga_g"]),
        grid_x_m=EAST_M + 50 + 100 * np.arange(40),
        grid_y_m=NORTH_M + 2950 - 100 * np.arange(30),
    )
    found = pga_field(GRID, **table)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.exp(direct.field), rtol=0.005)


@pytest.mark.parametrize(
    ("lon_deg", "lat_deg", "pga_g"),
    [(141.9, 42.7, np.nan), (141.9, 42.7, 0.0), (141.9, 42.7, np.inf), (141.9, 95.0, 0.5), (np.nan, 42.7, 0.5)],
)
def test_a_station_without_a_usable_value_or_place_is_left_out(lon_deg, lat_deg, pga_g):
    """R29: empty cells of a table, zeros of dead instruments, places that the projection cannot show."""
    table = stations(8)
    spoilt = {"lon_deg": lon_deg, "lat_deg": lat_deg, "pga_g": pga_g}
    both = {key: np.append(table[key], spoilt[key]) for key in table}
    np.testing.assert_array_equal(pga_field(GRID, **both), pga_field(GRID, **table))


def test_far_stations_do_not_count_where_30_are_near():
    """R29: `within_km` is measured from the edge of the grid."""
    near, far = stations(35, half_width_m=40e3), stations(20, seed=1)
    far["lon_deg"] = far["lon_deg"] + 6.0
    both = {key: np.append(near[key], far[key]) for key in near}
    np.testing.assert_array_equal(pga_field(GRID, **both), pga_field(GRID, **near))
    assert np.abs(pga_field(GRID, **both, within_km=1000.0) - pga_field(GRID, **near)).max() > 1e-4


def test_the_30_nearest_stations_count_however_far_they_are():
    """R29: a sparse network still makes a field."""
    table = stations(30)
    further = stations(10, seed=2, half_width_m=1e3)
    further["lat_deg"] = further["lat_deg"] + 5.0
    both = {key: np.append(table[key], further[key]) for key in table}
    np.testing.assert_array_equal(pga_field(GRID, **both, within_km=1.0), pga_field(GRID, **table))


def test_a_station_inside_the_grid_is_at_distance_0():
    """R29: with a reach of nearly nothing the 30 nearest still begin inside."""
    inside = stations(31, half_width_m=1e3)
    x_m, y_m = EAST_M + np.linspace(100, 3900, 31), NORTH_M + np.full(31, 1500.0)
    inside["lon_deg"], inside["lat_deg"] = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(x_m, y_m)
    moved = {**inside, "pga_g": np.append(inside["pga_g"][:-1], 0.9)}
    assert not np.array_equal(pga_field(GRID, **inside, within_km=0.001), pga_field(GRID, **moved, within_km=0.001))


def test_no_usable_station_is_the_users_error():
    """One line that says what was found."""
    with pytest.raises(InputError, match="found no station with a PGA above 0 among 2"):
        pga_field(GRID, lon_deg=[141.9, 142.0], lat_deg=[42.7, 42.7], pga_g=[np.nan, 0.0])


def test_a_grid_in_degrees_is_refused():
    """R19: distances need metres."""
    grid = GeoBox.from_bbox((141.9, 42.7, 142.0, 42.8), crs="EPSG:4326", resolution=0.001)
    with pytest.raises(ValueError, match="EPSG:4326, expected a projected one in metres"):
        pga_field(grid, **stations())


@pytest.mark.realdata
def test_the_2018_hokkaido_stations_make_strong_shaking_with_errors_of_site_effects(data_folder):
    """R29: 0.5 to 0.9 g over the landslides, as at the stations around; a station is known to a factor of 1.6."""
    with (data_folder / "iburi-2018/seismic/stations_pga_percent_g.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["pga"]]
    lon_deg, lat_deg, pga_g = (np.array([float(row[key]) for row in rows]) for key in ("lon", "lat", "pga"))
    pga_g /= 100
    to_grid = Transformer.from_crs("EPSG:4326", CRS, always_xy=True)
    left, bottom, right, top = to_grid.transform_bounds(141.89, 42.68, 141.97, 42.77)
    grid = GeoBox.from_bbox((left, bottom, right, top), crs=CRS, resolution=10)
    field = pga_field(grid, lon_deg=lon_deg, lat_deg=lat_deg, pga_g=pga_g)
    assert field.min() > 0.5
    assert field.max() < 0.9
    x_m, y_m = to_grid.transform(lon_deg, lat_deg)
    near = np.hypot(x_m - (left + right) / 2, y_m - (bottom + top) / 2) < 150e3
    assert leave_one_out_rmse(x_m[near], y_m[near], np.log(pga_g[near])) < 0.47
