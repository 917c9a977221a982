"""Classes of shaking, and the fields of ShakeMap, rasters, contours and stations on the grid."""

import csv
import itertools
import pickle  # noqa: TID251 - as worker processes are sent families

import geopandas as gpd
import numpy as np
import pytest
import shapely
from contourpy import contour_generator
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from scipy.interpolate import RegularGridInterpolator
from scipy.ndimage import maximum_filter, minimum_filter
from shapely.geometry import LineString, Polygon

from coslide.config.schema import ShakingConfig
from coslide.cube.band import class_by_edges
from coslide.errors import InputError
from coslide.indices.kriging import fit_kriging
from coslide.indices.shaking import krige_pga, prepare_shaking

CRS = "EPSG:32654"
EAST_M, NORTH_M = 575_000.0, 4_730_000.0
GRID = GeoBox.from_bbox((EAST_M, NORTH_M, EAST_M + 4000, NORTH_M + 3000), crs=CRS, resolution=100)
PGA_LEVELS_G = (0.12, 0.16, 0.20, 0.24, 0.26)


def pga_class(pga_g, *, levels_g=PGA_LEVELS_G):
    return class_by_edges(pga_g, levels_g, lowest=0)


def pga_field(grid, **options):
    return krige_pga(grid, **options).at(grid)


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
    """R29: at pixel centres, in the CRS of the grid, within 0.5 % of the direct solution, stations inside."""
    table = stations(10, half_width_m=8e3)
    x_m, y_m = Transformer.from_crs("EPSG:4326", CRS, always_xy=True).transform(table["lon_deg"], table["lat_deg"])
    axes = EAST_M + 50 + 100 * np.arange(40), NORTH_M + 2950 - 100 * np.arange(30)
    direct, _ = fit_kriging(x_m, y_m, np.log(table["pga_g"])).solve(*axes)
    found = pga_field(GRID, **table)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.exp(direct), rtol=0.005)


@pytest.mark.parametrize(
    ("lon_deg", "lat_deg", "pga_g"),
    [(141.9, 42.7, np.nan), (141.9, 42.7, 0.0), (141.9, 42.7, np.inf), (141.9, 95.0, 0.5), (np.nan, 42.7, 0.5)],
)
def test_a_station_without_a_usable_value_or_place_is_left_out(lon_deg, lat_deg, pga_g):
    """R29: empty fields of a table, zeros of dead instruments, places that the projection cannot show."""
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
    assert fit_kriging(x_m[near], y_m[near], np.log(pga_g[near])).leave_one_out_rmse() < 0.47


STEP_DEG = 1 / 60


def shaking_at(lon, lat):
    """Return PGA in g: 0.45 g at one end of a fault, a hollow of 0.14 g beside it, far less around."""
    x, y = (lon - 141.92) * 82.0, (lat - 42.73) * 111.0  # km
    peak, hollow = 0.43 * np.exp(-(x**2 + 0.4 * y**2) / 60), 0.16 * np.exp(-((x - 6) ** 2 + (y + 4) ** 2) / 8)
    return 0.03 + peak - hollow + 0.1 * np.exp(-((x + 9) ** 2 + (y - 8) ** 2) / 40)


def nodes_around():
    """Return longitudes, latitudes (north to south) and PGA in g of ShakeMap nodes around the grid."""
    lon, lat = 141.5 + STEP_DEG * np.arange(55), 43.0 - STEP_DEG * np.arange(36)
    return lon, lat, shaking_at(lon, lat[:, np.newaxis])


def shakemap(folder, *, units="pctg", factor=100.0, deviation=None):
    """Return a grid.xml of the nodes, with PGA after PGV."""
    lon, lat, pga_g = nodes_around()
    fields = ["LON", "LAT", "PGV", "PGA"] + (["STDPGA"] if deviation is not None else [])
    text = "".join(
        f'<grid_field index="{i}" name="{name}" units="{units if name == "PGA" else ""}"/>'
        for i, name in enumerate(fields, 1)
    )
    columns = [np.tile(lon, lat.size), np.repeat(lat, lon.size), pga_g.ravel() * 80, pga_g.ravel() * factor]
    columns += [np.full(pga_g.size, deviation)] if deviation is not None else []
    rows = "\n".join(" ".join(f"{number:.9g}" for number in row) for row in np.stack(columns, axis=1))
    path = folder / "grid.xml"
    path.write_text(
        f'<shakemap_grid xmlns="http://earthquake.usgs.gov/eqcenter/shakemap" shakemap_id="us1" shakemap_version="2">'
        f'<grid_specification lon_min="{lon[0]}" lat_min="{lat[-1]}" lon_max="{lon[-1]}" lat_max="{lat[0]}" '
        f'nlon="{lon.size}" nlat="{lat.size}"/>{text}<grid_data>\n{rows}\n</grid_data></shakemap_grid>'
    )
    return path


def flt(path, values):
    """Return a raster of the nodes as ShakeMap has them in raster.zip: 32 bits, a header, no CRS."""
    lon, lat, _ = nodes_around()
    values.astype("<f4").tofile(path)
    header = {
        "BYTEORDER": "I", "LAYOUT": "BIL", "NROWS": lat.size, "NCOLS": lon.size, "NBANDS": 1, "NBITS": 32,
        "BANDROWBYTES": 4 * lon.size, "TOTALROWBYTES": 4 * lon.size, "PIXELTYPE": "FLOAT",
        "ULXMAP": lon[0], "ULYMAP": lat[0], "XDIM": STEP_DEG, "YDIM": STEP_DEG,
    }  # fmt: skip
    path.with_suffix(".hdr").write_text("\n".join(f"{key} {value}" for key, value in header.items()))
    return path


def contours(path, levels_g, *, polygons=False, unit=100.0, crs=4326, **columns):
    """Return contours of the interpolated nodes, traced on pixels of 50 m far around the grid."""
    lon, lat, pga_g = nodes_around()
    box = FINE.boundingbox
    x_m, y_m = np.arange(box.left - 15e3, box.right + 15e3, 50.0), np.arange(box.bottom - 12e3, box.top + 12e3, 50.0)
    places = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(*np.meshgrid(x_m, y_m))
    field = RegularGridInterpolator((lat[::-1], lon), pga_g[::-1])(np.stack(places[::-1], axis=-1))
    tracer = contour_generator(x_m, y_m, field, fill_type="OuterOffset", line_type="Separate")
    if polygons:
        shapes = [
            (level, Polygon(points[offsets[0] : offsets[1]], [points[a:b] for a, b in itertools.pairwise(offsets[1:])]))
            for level, upper in zip(levels_g, [*levels_g[1:], 9.9], strict=True)
            for points, offsets in zip(*tracer.filled(level, upper), strict=True)
        ]
    else:
        shapes = [(level, LineString(line)) for level in levels_g for line in tracer.lines(level)]
    values, geometry = zip(*shapes, strict=True)
    name = columns.pop("field", "value")
    frame = gpd.GeoDataFrame({name: np.array(values) * unit, **columns}, geometry=list(geometry), crs=CRS)
    frame.to_crs(crs).to_file(path)
    return path


FINE = GeoBox.from_bbox((EAST_M - 4000, NORTH_M - 4000, EAST_M + 8000, NORTH_M + 5000), crs=CRS, resolution=10)
CONTOUR_LEVELS_G = (0.04, 0.08, 0.12, 0.16, 0.20, 0.24, 0.26, 0.30, 0.34, 0.38, 0.42)


def computed(source, grid=FINE):
    """Return the family and its values on the whole grid."""
    family = prepare_shaking(source, grid)
    values = family.compute(grid)
    assert list(values) == [band.name for band in family.bands]
    assert all(values[v.name].dtype.name == v.dtype and values[v.name].shape == grid.shape for v in family.bands)
    return family, values


def said(family):
    """Return the lines for the log as one text."""
    return "\n".join(family.notes)


def test_a_shakemap_is_interpolated_bilinearly_between_its_nodes(tmp_path):
    """R26, R28: against scipy at the exact place of every pixel; half a node of shift would be up to 0.05 g."""
    family, values = computed(ShakingConfig(shakemap=shakemap(tmp_path)))
    lon, lat, pga_g = nodes_around()
    rows, columns = np.indices(FINE.shape)
    x_m, y_m = FINE.affine.c + 10 * (columns + 0.5), FINE.affine.f - 10 * (rows + 0.5)
    places = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(x_m, y_m)
    expected = RegularGridInterpolator((lat[::-1], lon), pga_g[::-1])(np.stack(places[::-1], axis=-1))
    np.testing.assert_allclose(values["pga"], expected, atol=2e-5)  # half a metre
    clear = np.abs(expected[..., np.newaxis] - PGA_LEVELS_G).min(axis=-1) > 2e-5
    np.testing.assert_array_equal(values["pga_class"][clear], np.searchsorted(PGA_LEVELS_G, expected, "right")[clear])
    assert set(np.unique(values["pga_class"])) == {0, 1, 2, 3, 4, 5}
    assert "ShakeMap us1 version 2" in said(family)
    assert family.bands[0].classes == 5
    np.testing.assert_allclose(family.bands[0].provenance["range_g"], [expected.min(), expected.max()], rtol=1e-5)


@pytest.mark.parametrize("units", [("", 100.0), ("g", 1.0), ("cm/s2", 980.665)])
def test_the_unit_of_a_shakemap_does_not_change_the_classes(tmp_path, units):
    """R26: without one it is taken for percent of g, and the log says so."""
    expected = computed(ShakingConfig(shakemap=shakemap(tmp_path)))[1]["pga"]
    family, values = computed(ShakingConfig(shakemap=shakemap(tmp_path, units=units[0], factor=units[1])))
    np.testing.assert_allclose(values["pga"], expected, rtol=1e-6)
    assert ("no unit" in said(family)) == (units[0] == "")


def test_an_undeclared_nodata_value_among_logarithms_is_not_a_pga_of_0(tmp_path):
    """R27: the exponential of -9999 is 0 g."""
    logs = np.log(nodes_around()[2])
    logs[logs.shape[0] // 2, logs.shape[1] // 2] = -9999
    path = flt(tmp_path / "pga_mean.flt", logs)
    with pytest.raises(InputError, match="expected values of 1e-06 or more"):
        prepare_shaking(ShakingConfig(raster=path, unit="ln(g)", crs="EPSG:4326"), GRID)
    family = prepare_shaking(ShakingConfig(raster=path, unit="ln(g)", crs="EPSG:4326", nodata=-9999), GRID)
    assert family.compute(GRID)["pga"].shape == GRID.shape


@pytest.mark.parametrize(
    ("unit", "stored"),
    [
        ("ln(g)", np.log),
        ("ln(%g)", lambda g: np.log(100 * g)),
        ("%g", lambda g: 100 * g),
        ("m/s2", lambda g: 9.80665 * g),
    ],
)
def test_a_raster_gives_the_classes_of_the_grid(tmp_path, unit, stored):
    """R27: ln(g) is what pga_mean.flt of raster.zip holds."""
    expected = computed(ShakingConfig(shakemap=shakemap(tmp_path)))[1]
    path = flt(tmp_path / "pga_mean.flt", stored(nodes_around()[2]))
    values = computed(ShakingConfig(raster=path, unit=unit, crs="EPSG:4326"))[1]
    np.testing.assert_allclose(values["pga"], expected["pga"], rtol=1e-5)
    assert (values["pga_class"] != expected["pga_class"]).mean() < 1e-4


@pytest.mark.parametrize("polygons", [False, True])
def test_contours_give_the_classes_of_the_grid_within_a_pixel_of_a_contour(tmp_path, polygons):
    """R27: in percent of g; with a peak, a hollow and a pass."""
    expected = computed(ShakingConfig(shakemap=shakemap(tmp_path)))[1]["pga_class"]
    path = contours(tmp_path / "cont_pga.json", CONTOUR_LEVELS_G, polygons=polygons, units="pctg")
    family, values = computed(ShakingConfig(contours=path, unit="%g"))
    found = values["pga_class"]
    near = [maximum_filter(expected, 3), minimum_filter(expected, 3)]
    beyond = (found != expected) & (found != near[0]) & (found != near[1])
    assert (found != expected).mean() < 0.01
    assert beyond.sum() <= 1e-5 * beyond.size  # a few beside kinks of the bilinear field
    assert "contours" in said(family)


def test_contours_other_than_the_levels_are_interpolated(tmp_path):
    """R27: cont_pga.json has levels of its own; PGA is right to a few percent between lines, also at the peak."""
    expected = computed(ShakingConfig(shakemap=shakemap(tmp_path)))[1]["pga"]
    values = computed(
        ShakingConfig(contours=contours(tmp_path / "c.json", (0.02, 0.05, 0.1, 0.2, 0.3, 0.4)), unit="%g")
    )[1]
    error = np.abs(np.log(values["pga"] / expected))
    assert np.median(error) < 0.02
    assert error.max() < 0.25


def test_lines_with_few_vertices_hold_between_them_too(tmp_path):
    """R27: a straight contour without a vertex for 20 km, and two others that come close to it in the middle."""
    middle_x, middle_y = GRID.boundingbox.left + 2000, GRID.boundingbox.top - 1500
    bent = np.array([(-10e3, 6e3), (-500, 500), (500, 500), (10e3, 6e3)])
    lines = [bent, np.array([(-10e3, 0), (10e3, 0)]), bent * (1, -1)]
    geometry = [LineString(line + np.array([middle_x, middle_y])) for line in lines]
    gpd.GeoDataFrame({"value": [24, 12, 10]}, geometry=geometry, crs=CRS).to_file(tmp_path / "c.gpkg")
    values = computed(ShakingConfig(contours=tmp_path / "c.gpkg", unit="%g"), GRID)[1]
    assert GRID.boundingbox.top - 1500 == middle_y  # the contour of 0.12 g is the edge between rows 14 and 15
    np.testing.assert_allclose(values["pga"][14:16], 0.12, rtol=0.1)
    assert (values["pga_class"][:15] >= 1).all()
    assert (values["pga_class"][15:] == 0).all()


def test_the_highest_of_nested_polygons_counts(tmp_path):
    """R27: whatever their order in the file; outside all of them is nodata."""
    boxes = [shapely.box(EAST_M + a, NORTH_M + a, EAST_M + 4000 - a, NORTH_M + 3000 - a) for a in (1000, 0, 500)]
    frame = gpd.GeoDataFrame({"PGA": [0.3, 0.1, 0.2]}, geometry=boxes, crs=CRS)
    frame.to_file(tmp_path / "p.gpkg")
    family, values = computed(ShakingConfig(contours=tmp_path / "p.gpkg", contour_field="PGA", unit="g"), GRID.pad(5))
    assert values["pga_class"][20].tolist() == [255] * 5 + [0] * 5 + [3] * 5 + [5] * 20 + [3] * 5 + [0] * 5 + [255] * 5
    assert np.isnan(values["pga"][0]).all()
    assert "of the grid has no PGA" in said(family)


def test_a_window_is_the_crop_of_the_whole(tmp_path):
    """R14: from each source, also after the family has been sent to another process."""
    table = stations()
    rows = "\n".join(f"{a},{b},{c}" for a, b, c in zip(*table.values(), strict=True))
    (tmp_path / "stations.csv").write_text(f"lon,lat,pga\n{rows}")
    sources = [
        ShakingConfig(shakemap=shakemap(tmp_path, deviation=0.4)),
        ShakingConfig(raster=flt(tmp_path / "a.flt", nodes_around()[2]), unit="g", crs="EPSG:4326"),
        ShakingConfig(contours=contours(tmp_path / "l.json", CONTOUR_LEVELS_G), unit="%g"),
        ShakingConfig(contours=contours(tmp_path / "p.json", CONTOUR_LEVELS_G, polygons=True), unit="%g"),
        ShakingConfig(stations=tmp_path / "stations.csv", unit="g"),
    ]
    for source in sources:
        family, values = computed(source)
        sent = pickle.loads(pickle.dumps(family))  # noqa: S301
        for part in (
            (slice(0, 1), slice(0, 1)),
            (slice(333, 457), slice(101, 1200)),
            (slice(899, 900), slice(0, 1200)),
        ):
            for name, window in sent.compute(FINE[part]).items():
                np.testing.assert_allclose(window, values[name][part], rtol=1e-6, err_msg=f"{source} {name}")


def test_the_standard_deviation_comes_from_the_map_the_raster_or_the_kriging(tmp_path):
    """R26: as a diagnostic; without one it is not there."""
    family, values = computed(ShakingConfig(shakemap=shakemap(tmp_path, deviation=0.4)))
    np.testing.assert_allclose(values["pga_ln_std"], 0.4, rtol=1e-6)
    assert [band.role for band in family.bands] == ["index", "diagnostic", "diagnostic"]
    assert "pga_ln_std" not in computed(ShakingConfig(shakemap=shakemap(tmp_path)))[1]
    lattice = nodes_around()[2]
    files = {"raster": flt(tmp_path / "m.flt", lattice), "raster_std": flt(tmp_path / "s.flt", 0 * lattice + 0.7)}
    values = computed(ShakingConfig(**files, unit="g", crs="EPSG:4326"))[1]
    np.testing.assert_allclose(values["pga_ln_std"], 0.7, rtol=1e-6)


def test_the_deviation_of_kriged_shaking_is_that_of_the_logarithm(tmp_path):
    """R29: against the direct solution."""
    table = stations(12, half_width_m=12e3)
    rows = "\n".join(f"{a},{b},{100 * c}" for a, b, c in zip(*table.values(), strict=True))
    (tmp_path / "stations.csv").write_text(f"lon,lat,pga\n{rows}")
    family, values = computed(ShakingConfig(stations=tmp_path / "stations.csv", unit="%g"), GRID)
    x_m, y_m = Transformer.from_crs("EPSG:4326", CRS, always_xy=True).transform(table["lon_deg"], table["lat_deg"])
    axes = EAST_M + 50 + 100 * np.arange(40), NORTH_M + 2950 - 100 * np.arange(30)
    direct, variance = fit_kriging(x_m, y_m, np.log(table["pga_g"])).solve(*axes)
    np.testing.assert_allclose(values["pga_ln_std"], np.sqrt(variance), rtol=0.03, atol=0.01)
    np.testing.assert_allclose(values["pga"], np.exp(direct), rtol=0.005)
    np.testing.assert_array_equal(values["pga"], pga_field(GRID, **table))
    assert "kriged from 12 of 12 stations" in said(family)
    assert "wrong by a factor of 1." in said(family)


def test_few_stations_have_no_deviation(tmp_path):
    """R29: there is no variogram."""
    (tmp_path / "stations.csv").write_text("lon,lat,pga\n141.9,42.7,20\n142.1,42.8,30\n")
    family, values = computed(ShakingConfig(stations=tmp_path / "stations.csv", unit="%g"), GRID)
    assert list(values) == ["pga_class", "pga"]
    assert "kriged from 2 of 2" in said(family)


def test_pixels_outside_the_map_is_nodata_and_its_share_is_told(tmp_path):
    """R28: the map ends half a node beyond its outermost nodes."""
    lon, lat, _ = nodes_around()
    x_m, y_m = Transformer.from_crs("EPSG:4326", CRS, always_xy=True).transform(lon[-1] + STEP_DEG / 2, lat[9])
    grid = GeoBox.from_bbox(
        (round(x_m, -1) - 2000, y_m - 100, round(x_m, -1) + 3000, y_m + 100), crs=CRS, resolution=10
    )
    family, values = computed(ShakingConfig(shakemap=shakemap(tmp_path)), grid)
    known = values["pga_class"] != 255
    np.testing.assert_array_equal(known, ~np.isnan(values["pga"]))
    assert abs(known.mean() - 0.4) < 0.005
    assert "60.0% of the grid has no PGA" in said(family).replace("59.9", "60.0").replace("60.1", "60.0")


@pytest.mark.parametrize(
    ("east_m", "message"), [(EAST_M + 90e3, "grid.xml: does not overlap the grid; found longitude 141.49 to 142.41")]
)
def test_a_map_of_another_place_is_refused(tmp_path, east_m, message):
    """R28: in one line that says where it lies."""
    grid = GeoBox.from_bbox((east_m, NORTH_M, east_m + 1000, NORTH_M + 1000), crs=CRS, resolution=10)
    with pytest.raises(InputError, match=message):
        prepare_shaking(ShakingConfig(shakemap=shakemap(tmp_path)), grid)
    with pytest.raises(InputError, match=r"a.flt: does not overlap the grid"):
        raster = flt(tmp_path / "a.flt", nodes_around()[2])
        prepare_shaking(ShakingConfig(raster=raster, unit="g", crs="EPSG:4326"), grid)
    with pytest.raises(InputError, match="c.json has no PGA on the grid"):
        path = contours(tmp_path / "c.json", CONTOUR_LEVELS_G, polygons=True)
        prepare_shaking(ShakingConfig(contours=path, unit="%g"), grid)
    with pytest.raises(InputError, match="l.json.* around the grid"):
        path = contours(tmp_path / "l.json", CONTOUR_LEVELS_G)
        prepare_shaking(
            ShakingConfig(contours=path, unit="%g"), GeoBox.from_bbox((800e3, 0, 801e3, 1e3), crs=CRS, resolution=10)
        )


@pytest.mark.parametrize(
    ("unit", "stored", "message"),
    [
        ("ln(g)", lambda g: 100 * g, "found PGA from .* to .* g with unit 'ln\\(g\\)'"),
        ("g", np.log, "found PGA from -"),
        ("g", lambda g: 100 * g, "with unit 'g', expected values of 0 or more and up to 5 g"),
        ("%g", lambda g: 100 * g - 9999, "found PGA from -99.9"),
    ],
)
def test_a_raster_in_another_unit_than_stated_is_refused(tmp_path, unit, stored, message):
    """R27: logarithms taken for g, percent for logarithms, undeclared nodata."""
    path = flt(tmp_path / "a.flt", stored(nodes_around()[2]))
    with pytest.raises(InputError, match=message):
        prepare_shaking(ShakingConfig(raster=path, unit=unit, crs="EPSG:4326"), FINE)


def test_a_raster_of_deviations_that_are_none_is_refused(tmp_path):
    """R27: the mean given for the deviation, in %g."""
    lattice = nodes_around()[2]
    files = {"raster": flt(tmp_path / "m.flt", lattice), "raster_std": flt(tmp_path / "s.flt", 100 * lattice)}
    with pytest.raises(InputError, match=r"s.flt: found .* expected standard deviations of ln PGA from 0 to 5"):
        prepare_shaking(ShakingConfig(**files, unit="g", crs="EPSG:4326"), FINE)


def test_a_raster_that_has_no_value_on_the_grid_is_refused(tmp_path):
    """It lies there, but empty."""
    path = flt(tmp_path / "a.flt", nodes_around()[2] * np.nan)
    with pytest.raises(InputError, match="a.flt has no PGA on the grid"):
        prepare_shaking(ShakingConfig(raster=path, unit="g", crs="EPSG:4326"), FINE)


@pytest.mark.realdata
def test_the_map_of_1989_has_its_epicentre_in_strong_shaking(data_folder):
    """R26: empty units; 0.08 to 1.14 g in the file, and the deviation of the file beside it."""
    folder = data_folder / "loma-prieta-1989"
    grid = GeoBox.from_bbox((575000, 4050000, 625000, 4110000), crs="EPSG:32610", resolution=50)
    family, values = computed(ShakingConfig(shakemap=folder / "grid.xml", uncertainty=folder / "uncertainty.xml"), grid)
    x_m, y_m = Transformer.from_crs("EPSG:4326", "EPSG:32610", always_xy=True).transform(-121.88, 37.04)
    column, row = (int(axis) for axis in ~grid.affine @ (x_m, y_m))
    assert values["pga"][row, column] > 0.3
    assert values["pga_class"][row, column] == 5
    assert 0.08 < np.nanmin(values["pga"]) < np.nanmax(values["pga"]) < 1.15
    assert 0.1 < np.nanmedian(values["pga_ln_std"]) < 0.6
    assert "no unit" in said(family)


@pytest.mark.realdata
def test_the_stations_of_2018_make_a_family(data_folder):
    """R29: with a deviation of the size of what neighbouring stations differ by."""
    path = data_folder / "iburi-2018" / "seismic" / "stations_pga_percent_g.csv"
    grid = GeoBox.from_bbox((572840, 4725920, 579310, 4735680), crs=CRS, resolution=10)
    family, values = computed(ShakingConfig(stations=path, unit="%g"), grid)
    assert (values["pga_class"] == 5).all()
    assert 0.2 < values["pga_ln_std"].min() < values["pga_ln_std"].max() < 0.8
    assert "stations" in said(family)
