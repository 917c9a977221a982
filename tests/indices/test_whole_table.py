"""All indices of Table 2 of the paper, from the formats that their sources come in, in one cube."""

import importlib.util
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
from pyproj import Transformer
from rasterio.transform import from_origin
from shapely.geometry import LineString, box

from coslide.config.event import read_event
from coslide.config.schema import SENTINEL2_BANDS
from coslide.cube.cube import open_cube
from coslide.indices.event_layers import open_event_scenes
from coslide.indices.index_sets import index_set, missing_indices
from coslide.networks.dates import date_bands
from coslide.pipeline.build import build_cube

SPEC = importlib.util.spec_from_file_location("safe_files", Path(__file__).parents[1] / "sources" / "safe_files.py")
safe_files = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(safe_files)

PIXELS = 240
LEFT, TOP, CRS = 600000.0, 4700040.0, "EPSG:32654"
EVENT = """
name = "All of Table 2"
time_utc = 2018-09-05T18:07:59Z

[scenes.post]
products = ["{post}"]

[scenes.pre]
products = ["{pre}"]

[dem]
path = "dem.tif"

[geology]
path = "geology.gpkg"
field = "age"
ages = ["D1", "D2", "C2", "P1", "P2-T1", "T1", "T2", "T3"]

[rain]
gauges = "gauges.csv"
unit = "mm"
columns = {{ date = "date" }}
window_days = 2
event_day = "drop"

[shaking]
shakemap = "grid.xml"

[faults]
path = "faults.geojson"
select = {{ field = "name", values = ["seismogenic"] }}
edges_km = [0.5, 1]

[inventory]
path = "landslides.gpkg"
"""


@pytest.fixture(scope="module")
def event_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table2")
    products = _write_scenes(folder)
    to_degrees = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    ground = (LEFT, TOP - 10 * PIXELS, LEFT + 10 * PIXELS, TOP)
    west, south, east, north = to_degrees.transform_bounds(*ground)
    _write_dem(folder / "dem.tif", (west, south, east, north))
    halves = [
        box(LEFT - 900, ground[1] - 900, LEFT + 1200, TOP + 900),
        box(LEFT + 1200, ground[1] - 900, LEFT + 3300, TOP + 900),
    ]
    gpd.GeoDataFrame({"age": ["D1", "P2-T1"]}, geometry=halves, crs=CRS).to_file(folder / "geology.gpkg")
    random = np.random.default_rng(1)
    rows = [
        {"lon": west + dx, "lat": south + dy, "date": f"2018-09-0{day}", "rain": 10.0 + 100 * dx + day}
        for dx, dy in random.uniform(-0.1, 0.1, (8, 2))
        for day in (3, 4, 5)
    ]
    pd.DataFrame(rows).to_csv(folder / "gauges.csv", index=False)
    _write_shakemap(folder / "grid.xml", west, north)
    traces = [
        LineString([(LEFT + 300, TOP), (LEFT + 300, ground[1])]),
        LineString([(LEFT + 2000, TOP), (LEFT + 2000, ground[1])]),
    ]
    faults = gpd.GeoDataFrame({"name": ["seismogenic", "old"]}, geometry=traces, crs=CRS)
    faults.to_crs(4326).to_file(folder / "faults.geojson", driver="GeoJSON")
    gpd.GeoDataFrame(geometry=[box(LEFT + 500, TOP - 700, LEFT + 600, TOP - 500)], crs=CRS).to_file(
        folder / "landslides.gpkg"
    )
    (folder / "event.toml").write_text(EVENT.format(**products))
    return folder / "event.toml"


@pytest.fixture(scope="module")
def cube(event_file, tmp_path_factory):
    return open_cube(build_cube(read_event(event_file), tmp_path_factory.mktemp("cube") / "index.zarr"))


def test_the_whole_set_has_the_papers_30_bands_in_its_order(cube):
    """Table 6 (d), in the order that the networks of two dates take 30 bands to have."""
    bands = index_set("d", cube.inputs)
    names = [band.name for band in bands]
    assert len(names) == 30
    assert missing_indices("d", cube.inputs) == []
    dates = date_bands(30)
    before = [f"reflectance_pre_{band}" for band in SENTINEL2_BANDS]
    assert [names[i] for i in dates.pre[:11]] == [*before, "ndvi_pre"]
    assert [names[i].replace("post", "pre") for i in dates.post[:11]] == [names[i] for i in dates.pre[:11]]


@pytest.mark.parametrize(("name", "count"), [("a", 20), ("b", 23), ("c", 25), ("d", 30)])
def test_the_sets_of_table_6_have_their_sizes(cube, name, count):
    assert len(index_set(name, cube.inputs)) == count


def test_a_surface_that_did_not_change_between_two_baselines_has_no_ndvi_difference(cube):
    """R5: the scene before is of baseline 02.14, the one after of 05.09."""
    difference = cube.to_xarray()["ndvi_difference"].to_numpy()
    assert np.isfinite(difference).mean() > 0.9
    np.testing.assert_allclose(difference[np.isfinite(difference)], 0, atol=1e-6)


def test_the_grid_lies_on_the_60_m_lattice_of_the_tile(event_file):
    """R10."""
    grid = open_event_scenes(read_event(event_file)).grid
    assert (grid.affine.c - LEFT) % 60 == 0
    assert (grid.affine.f - TOP) % 60 == 0
    assert grid.shape.y % 6 == grid.shape.x % 6 == 0


def test_a_cloud_of_either_scene_is_nodata_there_and_nowhere_else(cube):
    post, pre = cube.to_xarray()["reflectance_post"].to_numpy(), cube.to_xarray()["reflectance_pre"].to_numpy()
    cloud = np.zeros(post.shape[1:], dtype=bool)
    cloud[20:60, 40:80] = True  # of the scene after; 2 x 2 pixels of its classification
    np.testing.assert_array_equal(np.isnan(post).all(axis=0), cloud)
    assert not cube.valid()[cloud].any()
    assert cube.valid()[~cloud].all()
    assert np.isfinite(pre[:, ~cloud]).all()


def test_each_index_has_the_value_that_its_source_says(cube):
    rows = {row["band"]: row for row in cube.contents()}
    classes = cube.to_xarray()["stratum_class"].to_numpy()
    assert (classes[:, :120] == 1).all()
    assert (classes[:, 120:] == 5).all()
    # 26 %g everywhere is the highest class; the days wholly within the window are the third to the fourth
    assert set(np.unique(cube.to_xarray()["pga_class"].to_numpy())) == {5}
    assert cube.to_xarray()["pga_ln_std"].to_numpy() == pytest.approx(0.5)
    assert 18 < rows["rainfall"]["smallest"] <= rows["rainfall"]["largest"] < 60
    distance = cube.to_xarray()["fault_distance_class"].to_numpy()
    assert (distance[:, :70] == 1).all()  # the other trace, 2 km east, was not chosen
    assert (distance[:, 140:] == 3).all()
    assert (cube.to_xarray()["landslide"].to_numpy() == 1).sum() == 200
    np.testing.assert_allclose(
        cube.to_xarray()["elevation"].to_numpy(),
        _height(*np.meshgrid(cube.to_xarray()["x"], cube.to_xarray()["y"])),
        atol=0.05,
    )


def _height(x, y):
    return 500 + 0.2 * (x - LEFT) + 30 * np.sin((y - TOP) / 400)


def _write_scenes(folder):
    random = np.random.default_rng(0)
    native = safe_files.NATIVE_M
    names = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
    ground = {name: random.integers(300, 4000, (10 * PIXELS // native[name],) * 2).astype(np.uint16) for name in names}
    clear = np.full((PIXELS // 2, PIXELS // 2), 4, dtype=np.uint8)
    cloudy = clear.copy()
    cloudy[10:30, 20:40] = 9
    shared = {"left": LEFT, "top": TOP, "crs": CRS}
    pre = safe_files.write_safe(folder, {**ground, "SCL": clear}, baseline="02.14", date="2018-08-30", **shared)
    later = {name: values + np.uint16(1000) for name, values in ground.items()}
    post = safe_files.write_safe(folder, {**later, "SCL": cloudy}, baseline="05.09", date="2018-09-11", **shared)
    return {"pre": pre.name, "post": post.name}


def _write_dem(path, bounds):
    west, south, east, north = bounds
    step = 1 / 3600
    shape = (int((north - south) / step) + 12, int((east - west) / step) + 12)
    transform = from_origin(west - 6 * step, north + 6 * step, step, step)
    lon = transform.c + (np.arange(shape[1]) + 0.5) * step
    lat = transform.f - (np.arange(shape[0]) + 0.5) * step
    to_metres = Transformer.from_crs("EPSG:4326", CRS, always_xy=True)
    metres = _height(*to_metres.transform(*np.meshgrid(lon, lat))).astype(np.float32)
    profile = {"driver": "GTiff", "height": shape[0], "width": shape[1], "count": 1, "dtype": "float32"}
    with rasterio.open(path, "w", crs="EPSG:4326", transform=transform, nodata=-9999, **profile) as file:
        file.write(metres, 1)


def _write_shakemap(path, west, north):
    step, side = 0.05, 9
    lon = [west - 0.2 + step * i for i in range(side)]
    lat = [north + 0.2 - step * i for i in range(side)]
    lines = "\n".join(f"{x:.4f} {y:.4f} 6.5 26.0 0.5" for y in lat for x in lon)
    names = [("LON", "dd"), ("LAT", "dd"), ("MMI", "intensity"), ("PGA", "pctg"), ("STDPGA", "ln(pctg)")]
    fields = "".join(
        f'<grid_field index="{i}" name="{name}" units="{unit}"/>' for i, (name, unit) in enumerate(names, 1)
    )
    path.write_text(
        '<?xml version="1.0"?><shakemap_grid xmlns="http://earthquake.usgs.gov/eqcenter/shakemap" event_id="x" '
        f'shakemap_version="1"><grid_specification lon_min="{lon[0]}" lat_min="{lat[-1]}" lon_max="{lon[-1]}" '
        f'lat_max="{lat[0]}" nominal_lon_spacing="{step}" nominal_lat_spacing="{step}" nlon="{side}" nlat="{side}"/>'
        f"{fields}<grid_data>\n{lines}\n</grid_data></shakemap_grid>"
    )
