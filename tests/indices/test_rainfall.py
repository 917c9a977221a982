"""Rain at the pixels of a grid: against the direct solution of the kriging equations, the rules for what goes in."""

import datetime as dt
import pickle  # noqa: TID251 - as worker processes are sent families
import tracemalloc

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from pykrige.ok import OrdinaryKriging
from pyproj import Transformer
from rasterio.transform import Affine

from coslide.config.schema import GaugeColumns, RainConfig
from coslide.errors import InputError
from coslide.indices.kriging import fit_kriging
from coslide.indices.rainfall import prepare_rainfall

CRS = "EPSG:32648"
EAST_M, NORTH_M = 400_000.0, 3_680_000.0
GRID = GeoBox((801, 1203), Affine(10, 0, EAST_M, 0, -10, NORTH_M), CRS)
EVENT = dt.datetime(2017, 8, 8, 13, 19, 46, tzinfo=dt.UTC)


def gauges(count=30, seed=0, half_width_m=60e3):
    """Return x, y in metres and rain in mm around the grid."""
    rng = np.random.default_rng(seed)
    x_m, y_m = rng.uniform(-half_width_m, half_width_m, (2, count))
    rain_mm = 50 + 20 * np.sin(x_m / 3e4) + 15 * np.cos(y_m / 2.5e4) + rng.normal(0, 3, count)
    return x_m + EAST_M + 6e3, y_m + NORTH_M - 4e3, rain_mm.clip(0)


def table(folder, x_m, y_m, rain_mm, **options):
    """Return a CSV of gauges."""
    lon, lat = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(x_m, y_m)
    path = folder / "gauges.csv"
    rows = [f"{a:.12f},{b:.12f},{c:.9f}" for a, b, c in zip(lon, lat, rain_mm, strict=True)]
    path.write_text("\n".join(["lon,lat,rain", *rows]))
    return RainConfig(gauges=path, unit="mm", **options)


def computed(rain, grid=GRID, **options):
    """Return the family and its values on the whole grid."""
    family = prepare_rainfall(rain, grid, **{"event_time": None, **options})
    values = family.compute(grid)
    assert list(values) == [band.name for band in family.bands]
    assert {values[v.name].dtype.name for v in family.bands} == {v.dtype for v in family.bands} == {"float32"}
    assert all(value.shape == grid.shape for value in values.values())
    return family, values


def said(family):
    """Return the lines for the log as one text."""
    return "\n".join(family.notes)


@pytest.mark.parametrize("model", ["spherical", "exponential"])
def test_the_field_and_its_variance_are_those_of_the_direct_solution(tmp_path, model):
    """R29: within 0.1 mm at 2000 pixels and at the pixels of the gauges, by another program and another path."""
    x_m, y_m, rain_mm = gauges(40, half_width_m=15e3)
    inside = (np.abs(x_m - EAST_M - 6e3) < 6e3) & (np.abs(y_m - NORTH_M + 4e3) < 4e3)
    assert inside.sum() >= 2
    family, values = computed(table(tmp_path, x_m, y_m, rain_mm, variogram=model))
    psill, range_m, nugget = fit_kriging(x_m, y_m, rain_mm, model=model).variogram[1:]
    direct = OrdinaryKriging(
        x_m - EAST_M,
        y_m - NORTH_M,
        rain_mm,
        variogram_model=model,
        exact_values=False,
        variogram_parameters={"psill": psill, "range": range_m, "nugget": nugget},
    )
    rows, columns = np.random.default_rng(1).integers(0, GRID.shape, (2000, 2)).T
    at_gauge = ~GRID.affine @ (x_m[inside], y_m[inside])
    columns, rows = (
        np.concatenate([a, np.floor(b).astype(int)]) for a, b in zip((columns, rows), at_gauge, strict=True)
    )
    estimate, variance = direct.execute("points", 10 * (columns + 0.5), -10 * (rows + 0.5))
    np.testing.assert_allclose(values["rainfall"][rows, columns], estimate, atol=0.1)
    np.testing.assert_allclose(values["rainfall_variance"][rows, columns], variance, atol=0.02 * (psill + nugget))
    assert f"{model} variogram" in said(family)


def test_the_nodes_move_closer_where_the_field_is_steep(tmp_path):
    """R29: 0.1 mm also with five times the rain and gauges 3 km apart, which nodes 250 m apart do not reach."""
    x_m, y_m, rain_mm = gauges(40, half_width_m=9e3)
    family, values = computed(table(tmp_path, x_m, y_m, rain_mm * 5))
    variogram = family.bands[0].provenance["variogram"]
    direct = OrdinaryKriging(
        x_m - EAST_M,
        y_m - NORTH_M,
        rain_mm * 5,
        variogram_model="spherical",
        exact_values=False,
        variogram_parameters={
            "psill": variogram["psill"],
            "range": variogram["range_m"],
            "nugget": variogram["nugget"],
        },
    )
    columns, rows = (np.floor(axis).astype(int) for axis in ~GRID.affine @ (x_m, y_m))
    inside = (columns >= 0) & (columns < GRID.shape[1]) & (rows >= 0) & (rows < GRID.shape[0])
    estimate, _ = direct.execute("points", 10 * (columns[inside] + 0.5), -10 * (rows[inside] + 0.5))
    error_mm = np.abs(values["rainfall"][rows[inside], columns[inside]] - estimate).max()
    assert "nodes 250 m apart" not in said(family)
    assert error_mm < 0.1


@pytest.mark.parametrize(
    "part", [(slice(0, 1), slice(0, 1)), (slice(137, 251), slice(311, 470)), (slice(777, 801), slice(0, 1203))]
)
def test_a_window_is_the_crop_of_the_whole_to_the_bit(tmp_path, part):
    """R14: also after the family has been sent to another process."""
    family, values = computed(table(tmp_path, *gauges()))
    sent = pickle.loads(pickle.dumps(family))  # noqa: S301
    for name, window in sent.compute(GRID[part]).items():
        np.testing.assert_array_equal(window, values[name][part])


def test_the_variables_say_what_they_are(tmp_path):
    """The variance is not for networks."""
    family, _ = computed(table(tmp_path, *gauges()))
    rain, variance = family.bands
    assert (rain.name, rain.unit, rain.role) == ("rainfall", "mm", "index")
    assert (variance.name, variance.unit, variance.role) == ("rainfall_variance", "mm2", "diagnostic")
    assert rain.provenance["gauges"] == 30
    assert rain.provenance["variogram"]["model"] == "spherical"


def test_a_dry_week_is_dry_everywhere(tmp_path):
    """R29: all gauges 0."""
    x_m, y_m, rain_mm = gauges()
    family, values = computed(table(tmp_path, x_m, y_m, rain_mm * 0))
    assert list(values) == ["rainfall"]
    np.testing.assert_array_equal(values["rainfall"], 0.0)
    assert "all 30 gauges have 0.0 mm" in said(family)


def test_rain_is_never_negative(tmp_path):
    """R29: a front of 100 mm; before it kriging weights are negative and the field falls to -5 mm."""
    axis = np.arange(-3, 4) * 2e3
    x_m, y_m = (plane.ravel() for plane in np.meshgrid(EAST_M + 6e3 + axis, NORTH_M - 4e3 + axis))
    rain_mm = np.where(x_m > EAST_M + 7e3, 100.0, 0.0)
    family, values = computed(table(tmp_path, x_m, y_m, rain_mm))
    assert family.compute.args[0]["rainfall"](GRID).min() < -1
    assert values["rainfall"].min() == 0.0


def test_few_gauges_give_the_mean_by_inverse_square_of_distance_and_the_log_says_so(tmp_path):
    """R29: the documented fallback, within the 250 m between nodes."""
    x_m, y_m, rain_mm = (
        EAST_M + np.array([-9e3, 21e3, 5e3]),
        NORTH_M + np.array([3e3, -5e3, 16e3]),
        np.array([10.0, 20, 60]),
    )
    family, values = computed(table(tmp_path, x_m, y_m, rain_mm))
    rows, columns = np.indices(GRID.shape)
    cell_x, cell_y = EAST_M + 10 * (columns + 0.5), NORTH_M - 10 * (rows + 0.5)
    weights = [1 / ((cell_x - x) ** 2 + (cell_y - y) ** 2) for x, y in zip(x_m, y_m, strict=True)]
    expected = sum(w * mm for w, mm in zip(weights, rain_mm, strict=True)) / sum(weights)
    np.testing.assert_allclose(values["rainfall"], expected, atol=0.1)
    assert list(values) == ["rainfall"]
    assert "gauges in fewer than 5 places" in said(family)


def test_gauges_in_one_place_count_as_one(tmp_path):
    """R29: with the mean of their rain."""
    x_m, y_m, rain_mm = gauges()
    once = computed(table(tmp_path, x_m, y_m, rain_mm))[1]["rainfall"]
    twice = np.append(x_m, x_m[3]), np.append(y_m, y_m[3]), np.append(rain_mm, rain_mm[3] + 4.0)
    twice[2][3] -= 4.0
    np.testing.assert_allclose(computed(table(tmp_path, *twice))[1]["rainfall"], once, atol=2e-3)


def test_gauges_that_disagree_leave_no_spike(tmp_path):
    """R29: two gauges 300 m apart with 25 mm between them; pixels around them differ by little."""
    x_m, y_m, rain_mm = gauges(40, half_width_m=25e3)
    x_m[:2], y_m[:2], rain_mm[:2] = EAST_M + 5e3 + np.array([0, 300.0]), NORTH_M - 4e3, (40.0, 65.0)
    values = computed(table(tmp_path, x_m, y_m, rain_mm))[1]["rainfall"]
    assert np.abs(np.diff(values, axis=1)).max() < 0.5
    assert np.ptp(values[395:405, 495:535]) < 5.0


def test_gauges_far_outside_the_grid_count_and_those_on_another_continent_do_not(tmp_path):
    """R29: within 200 km, if there are 30 of them."""
    x_m, y_m, rain_mm = gauges(35, half_width_m=100e3)
    outside = np.maximum(np.abs(x_m - EAST_M - 6e3) - 6e3, np.abs(y_m - NORTH_M + 4e3) - 4e3) > 0
    assert outside.sum() > 30
    near, values = computed(table(tmp_path, x_m, y_m, rain_mm))
    assert "kriged from 35 gauges" in said(near)
    with_far = np.append(x_m, EAST_M + 9e5), np.append(y_m, NORTH_M), np.append(rain_mm, 900.0)
    family, found = computed(table(tmp_path, *with_far))
    assert "1 of 36 stations lie more than 500 km from the grid and are left out" in said(family)
    assert "kriged from 35 gauges" in said(family)
    np.testing.assert_allclose(found["rainfall"], values["rainfall"], atol=1e-4)


def test_the_log_says_how_far_a_gauge_is_off_when_estimated_from_the_others(tmp_path):
    """R29."""
    family, _ = computed(table(tmp_path, *gauges()))
    (line,) = [note for note in family.notes if "estimated from the others" in note]
    assert 1.0 < float(line.split("wrong by ")[1].split(" mm")[0]) < 20.0


def test_daily_rain_is_summed_to_the_event(tmp_path):
    """R29: the window of the table, with inches, passes through to the field."""
    rows = [
        f"{lon},{33 + lat / 10},2017-08-{day:02},{day}"
        for lon in (103, 104)
        for lat in range(3)
        for day in range(1, 12)
    ]
    path = tmp_path / "daily.csv"
    path.write_text("\n".join(["lon,lat,date,rain", *rows]))
    rain = RainConfig(gauges=path, unit="inch", columns=GaugeColumns(date="date"), window_days=2, event_day="drop")
    np.testing.assert_allclose(computed(rain, event_time=EVENT)[1]["rainfall"], 25.4 * (6 + 7), rtol=1e-6)
    with pytest.raises(InputError, match="time_utc"):
        prepare_rainfall(rain, GRID, event_time=None)


def test_gauges_without_a_place_in_the_projection_are_refused(tmp_path):
    """R29: a quarter of the world away."""
    path = tmp_path / "gauges.csv"
    path.write_text("lon,lat,rain\n15,0,1\n")
    with pytest.raises(
        InputError,
        match=r"1 of 1 stations lie more than 500 km from the grid, first the one at longitude 15, latitude 0; exp",
    ):
        prepare_rainfall(RainConfig(gauges=path, unit="mm"), GRID, event_time=None)


@pytest.mark.parametrize("place", ["33.1,-89", "103.9,90", "-76.1,33.1"])
def test_gauges_at_the_pole_or_on_the_far_side_are_refused(tmp_path, place):
    """R29: a projection may give them places beside the grid."""
    (tmp_path / "gauges.csv").write_text(f"lon,lat,rain\n{place},1\n")
    with pytest.raises(InputError, match=r"1 of 1 stations lie more than 500 km from the grid"):
        prepare_rainfall(RainConfig(gauges=tmp_path / "gauges.csv", unit="mm"), GRID, event_time=None)


def test_a_whole_tile_never_takes_a_gigabyte(tmp_path):
    """R30: 10980 x 10980 pixels and 30 gauges; prepared, and a strip of it computed."""
    grid = GeoBox((10980, 10980), Affine(10, 0, EAST_M, 0, -10, NORTH_M), CRS)
    rain = table(tmp_path, *gauges())
    prepare_rainfall(rain, GRID, event_time=None).compute(GRID[:1, :1])  # imports and compilation are not counted
    tracemalloc.start()
    family = prepare_rainfall(rain, grid, event_time=None)
    prepared = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    kept = tracemalloc.get_traced_memory()[0]
    family.compute(grid[:1024])
    strip = tracemalloc.get_traced_memory()[1] - kept
    tracemalloc.stop()
    assert prepared < 2**30
    assert kept < 32e6
    assert strip < 1.2 * 2 * 1024 * 10980 * 4


def save(path, values, *, crs="EPSG:4326", nodata=None):
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=values.shape[0],
        width=values.shape[1],
        count=1,
        dtype=values.dtype,
        crs=crs,
        transform=Affine(0.02, 0, 103.5, 0, -0.02, 33.5),
        nodata=nodata,
    ) as file:
        file.write(values, 1)
    return path


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1.0), ("0.1mm", 0.1), ("cm", 10.0), ("inch", 25.4)])
def test_a_raster_of_rain_is_interpolated_bilinearly_in_mm(tmp_path, unit, factor):
    """R28, R29: a plane in degrees, at the exact place of every pixel; its CRS is told."""
    rows, columns = np.indices((40, 50)) + 0.5
    path = save(tmp_path / "rain.tif", (columns + 2 * rows).astype(np.float32), crs=None)
    family, values = computed(RainConfig(raster=path, unit=unit, crs="EPSG:4326"))
    row, column = np.indices(GRID.shape)
    lon, lat = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(
        EAST_M + 10 * (column + 0.5), NORTH_M - 10 * (row + 0.5)
    )
    expected = factor * ((lon - 103.5) + 2 * (33.5 - lat)) / 0.02
    np.testing.assert_allclose(values["rainfall"], expected, rtol=1e-5)
    assert "rain from a raster, bilinear" in said(family)
    part = (slice(13, 57), slice(600, 1203))
    np.testing.assert_allclose(family.compute(GRID[part])["rainfall"], values["rainfall"][part], rtol=1e-6)


def test_an_area_without_rain_values_in_the_raster_is_nodata_and_its_share_is_told(tmp_path):
    """Not zero: dry and nodata differ."""
    rain_mm = np.full((40, 50), 3.0, dtype=np.float32)
    rain_mm[:, 22:] = -9999
    family, values = computed(RainConfig(raster=save(tmp_path / "rain.tif", rain_mm), unit="mm", nodata=-9999))
    share = np.isnan(values["rainfall"]).mean()
    assert 0.1 < share < 0.9
    np.testing.assert_array_equal(values["rainfall"][~np.isnan(values["rainfall"])], 3.0)
    assert f"{share:.1%} of the grid has no rain value" in said(family)


@pytest.mark.parametrize(
    ("fill", "options", "message"),
    [
        (
            -9999.0,
            {},
            r"rain.tif: found rain from -9999 to -9999 mm \(rain.unit 'mm'\), expected 0 to 22000 mm; is rain.unit",
        ),
        (1e20, {}, r"rain.tif: found rain from 1e\+20 to 1e\+20 mm"),
        (np.nan, {}, "rain.tif: has no value on the grid, expected rain"),
        (-9999.0, {"nodata": -9999}, "has no value on the grid"),
    ],
)
def test_a_raster_without_rain_is_refused(tmp_path, fill, options, message):
    """In one line."""
    path = save(tmp_path / "rain.tif", np.full((40, 50), fill, dtype=np.float32))
    with pytest.raises(InputError, match=message):
        prepare_rainfall(RainConfig(raster=path, unit="mm", **options), GRID, event_time=None)


def test_a_raster_of_another_place_or_without_a_crs_is_refused(tmp_path):
    """In one line."""
    path = save(tmp_path / "rain.tif", np.ones((40, 50), dtype=np.float32), crs=None)
    with pytest.raises(InputError, match="has no CRS"):
        prepare_rainfall(RainConfig(raster=path, unit="mm"), GRID, event_time=None)
    elsewhere = GeoBox((10, 10), Affine(10, 0, EAST_M, 0, -10, NORTH_M - 5e5), CRS)
    with pytest.raises(InputError, match="does not overlap the grid; found x 103.5 to 104.5, y 32.7 to 33.5"):
        prepare_rainfall(RainConfig(raster=path, unit="mm", crs="EPSG:4326"), elsewhere, event_time=None)


@pytest.mark.realdata
def test_the_real_raster_of_1989_has_the_rain_of_its_pixels(data_folder):
    """R28: mean annual precipitation without a CRS; away from the coast every pixel is within the four around it."""
    path = data_folder / "loma-prieta-1989" / "global_precip_fil_mm.grd"
    grid = GeoBox((400, 500), Affine(100, 0, 560000, 0, -100, 4110000), "EPSG:32610")
    values = computed(RainConfig(raster=path, unit="mm", crs="EPSG:4326"), grid)[1]
    with rasterio.open(path) as file:
        stored = file.read(1)
    lon, lat = Transformer.from_crs("EPSG:32610", "EPSG:4326", always_xy=True).transform(
        *grid.affine @ (np.array([100.5, 380.5, 470.5]), np.array([50.5, 150.5, 390.5]))
    )
    column, row = (np.floor(axis - 0.5).astype(int) for axis in ~file.transform @ (lon, lat))
    around = np.stack([stored[row + i, column + j] for i in (0, 1) for j in (0, 1)])
    found = values["rainfall"][[50, 150, 390], [100, 380, 470]]
    assert ((found >= around.min(axis=0) - 1e-3) & (found <= around.max(axis=0) + 1e-3)).all()
    assert np.isfinite(values["rainfall"]).mean() > 0.5
