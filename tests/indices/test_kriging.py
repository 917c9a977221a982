"""Kriging against the equations solved by hand, and the coarse grid against the direct solution."""

import tracemalloc
from typing import NamedTuple

import numpy as np
import pytest
from odc.geo.geobox import GeoBox
from pykrige.ok import OrdinaryKriging
from rasterio.transform import Affine
from scipy.spatial import cKDTree

from coslide.errors import InputError
from coslide.indices import kriging as module
from coslide.indices.kriging import Variogram, fit_kriging
from coslide.indices.stations import near_stations

EAST_M, NORTH_M = 500_000.0, 3_700_000.0


class Kriged(NamedTuple):
    field: np.ndarray
    variance: np.ndarray
    variogram: Variogram | None


def fitted(*stations, variogram="spherical"):
    """Return stations with a variogram, given or fitted."""
    if isinstance(variogram, Variogram):
        return fit_kriging(*stations)._replace(variogram=variogram)
    return fit_kriging(*stations, model=variogram)


def krige(*stations, grid_x_m, grid_y_m, variogram="spherical"):
    kriging = fitted(*stations, variogram=variogram)
    return Kriged(*kriging.solve(grid_x_m, grid_y_m), kriging.variogram)


def fit_variogram(*stations, model="spherical"):
    return fit_kriging(*stations, model=model).variogram


def leave_one_out_rmse(*stations, variogram="spherical"):
    return fitted(*stations, variogram=variogram).leave_one_out_rmse()


def krige_coarse(grid, x_m, y_m, values, *, variogram="spherical", log=False, coarse_m=250.0):
    kriging = fitted(x_m, y_m, np.log(values) if log else values, variogram=variogram)
    return module.krige_coarse(grid, kriging, log=log, coarse_m=coarse_m)


def krige_onto(grid, *stations, **options):
    return krige_coarse(grid, *stations, **options).at(grid)


def gauges(count=30, seed=0, half_width_m=60e3):
    """Return x, y in metres and rain in mm of stations around the middle of a UTM zone."""
    rng = np.random.default_rng(seed)
    x_m, y_m = rng.uniform(-half_width_m, half_width_m, (2, count))
    rain_mm = 50 + 20 * np.sin(x_m / 3e4) + 15 * np.cos(y_m / 2.5e4) + rng.normal(0, 3, count)
    return x_m + EAST_M, y_m + NORTH_M, rain_mm


def grid_around(width_m=20e3, height_m=10e3, resolution=10.0):
    """Return a grid of 10 m pixels about the middle of the gauges."""
    return GeoBox.from_bbox(
        (EAST_M - width_m / 2, NORTH_M - height_m / 2, EAST_M + width_m / 2, NORTH_M + height_m / 2),
        crs="EPSG:32654",
        resolution=resolution,
    )


def centres(grid, row, column):
    """Return x and y in metres of pixel centres."""
    return grid.affine @ (np.asarray(column) + 0.5, np.asarray(row) + 0.5)


def semivariance(variogram, distance_m):
    """Return the textbook form of the two models."""
    share = distance_m / variogram.range_m
    if variogram.model == "exponential":
        return variogram.nugget + variogram.psill * (1 - np.exp(-3 * share))
    return variogram.nugget + variogram.psill * np.where(share < 1, 1.5 * share - 0.5 * share**3, 1.0)


def krige_by_hand(x_m, y_m, values, *, at, variogram):
    """Return estimate and variance at one place, from the linear system with a Lagrange multiplier."""
    places = np.stack([x_m, y_m], axis=1)
    count = len(values)
    left = np.ones((count + 1, count + 1))
    left[:count, :count] = semivariance(variogram, np.linalg.norm(places[:, None] - places[None], axis=-1))
    np.fill_diagonal(left, 0.0)
    right = np.append(semivariance(variogram, np.linalg.norm(places - at, axis=1)), 1.0)
    solution = np.linalg.solve(left, right)
    return solution[:count] @ values, solution @ right


@pytest.mark.parametrize("model", ["spherical", "exponential"])
@pytest.mark.parametrize("nugget", [0.0, 0.3])
@pytest.mark.parametrize("count", [2, 3, 8])
def test_field_and_variance_solve_the_kriging_equations(model, nugget, count):
    """R29: the system of two, three and eight stations, solved with numpy."""
    x_m, y_m, rain_mm = gauges(count, seed=3, half_width_m=20e3)
    variogram = Variogram(model, psill=40.0, range_m=30e3, nugget=nugget)
    grid_x_m, grid_y_m = EAST_M + np.array([-9e3, 0.0, 17e3]), NORTH_M + np.array([5e3, -2e3])
    kriged = krige(x_m, y_m, rain_mm, grid_x_m=grid_x_m, grid_y_m=grid_y_m, variogram=variogram)
    expected = np.array(
        [
            [krige_by_hand(x_m, y_m, rain_mm, at=np.array([x, y]), variogram=variogram) for x in grid_x_m]
            for y in grid_y_m
        ]
    )
    np.testing.assert_allclose(kriged.field, expected[..., 0], rtol=1e-9)
    np.testing.assert_allclose(kriged.variance, expected[..., 1], rtol=1e-7)


def test_two_stations_share_the_weight_at_equal_distance():
    """R29: by symmetry, whatever the variogram."""
    variogram = Variogram("spherical", psill=1.0, range_m=5e3, nugget=0.2)
    middle = krige([0, 1000], [0, 0], [2.0, 5.0], grid_x_m=[500], grid_y_m=[700], variogram=variogram)
    np.testing.assert_allclose(middle.field, [[3.5]])


def test_stations_in_one_place_count_as_one_with_their_mean():
    """R29: as they are, they make a singular matrix."""
    x_m, y_m, rain_mm = gauges(12)
    nodes = {"grid_x_m": EAST_M + np.arange(3) * 5e3, "grid_y_m": NORTH_M + np.arange(2) * 5e3}
    merged = krige(x_m, y_m, rain_mm, **nodes)
    twice = krige(np.append(x_m, x_m[4] + 0.01), np.append(y_m, y_m[4]), np.append(rain_mm, rain_mm[4] + 6.0), **nodes)
    rain_mm[4] += 3.0
    expected = krige(x_m, y_m, rain_mm, **nodes)
    np.testing.assert_allclose(twice.field, expected.field, rtol=1e-6)
    assert np.abs(twice.field - merged.field).max() > 0.01


@pytest.mark.parametrize("value", [0.0, 7.25, 1e-9])
def test_equal_values_make_a_constant_field_without_variance(value):
    """R29: a dry week, all gauges 0."""
    x_m, y_m, rain_mm = gauges(10)
    kriged = krige(x_m, y_m, np.full_like(rain_mm, value), grid_x_m=[EAST_M, EAST_M + 1], grid_y_m=[NORTH_M])
    np.testing.assert_array_equal(kriged.field, [[value, value]])
    np.testing.assert_array_equal(kriged.variance, [[0.0, 0.0]])


def test_below_five_stations_the_field_is_the_mean_by_inverse_square_of_distance():
    """R29: the documented fallback."""
    kriged = krige([0, 3000, 0, 0], [0, 0, 1000, -4000], [1.0, 2.0, 5.0, 7.0], grid_x_m=[1000], grid_y_m=[0])
    weight = 1 / np.array([1.0, 4.0, 2.0, 17.0])
    np.testing.assert_allclose(kriged.field, [[weight @ [1.0, 2.0, 5.0, 7.0] / weight.sum()]])
    assert np.isnan(kriged.variance).all()
    assert kriged.variogram is None


def test_below_five_stations_the_value_at_a_station_is_its_own():
    """R29: the weight there is finite."""
    kriged = krige([0, 3000], [0, 0], [1.0, 2.0], grid_x_m=[3000], grid_y_m=[0])
    np.testing.assert_allclose(kriged.field, [[2.0]], rtol=1e-6)


def test_one_station_makes_a_constant_field():
    """R29."""
    kriged = krige([0], [0], [3.0], grid_x_m=[0, 1e4], grid_y_m=[5.0])
    np.testing.assert_array_equal(kriged.field, [[3.0, 3.0]])


def test_a_nugget_leaves_no_spike_at_a_station():
    """R29: the node on a station continues its neighbours 1 m away."""
    x_m, y_m, rain_mm = gauges(15)
    variogram = Variogram("spherical", psill=300.0, range_m=80e3, nugget=60.0)
    around = krige(x_m, y_m, rain_mm, grid_x_m=x_m[3] + np.arange(-1, 2), grid_y_m=[y_m[3]], variogram=variogram)
    assert abs(around.field[0, 1] - rain_mm[3]) > 0.5
    np.testing.assert_allclose(around.field[0, 1], around.field[0, [0, 2]].mean(), atol=0.01)


def test_without_a_nugget_the_field_meets_the_stations():
    """R29: an exact interpolator."""
    x_m, y_m, rain_mm = gauges(15)
    variogram = Variogram("spherical", psill=300.0, range_m=80e3, nugget=0.0)
    kriged = krige(x_m, y_m, rain_mm, grid_x_m=x_m, grid_y_m=y_m, variogram=variogram)
    np.testing.assert_allclose(np.diag(kriged.field), rain_mm, atol=1e-6)


def test_the_scale_of_the_values_does_not_matter():
    """R29: neither for the fit nor for the condition of the matrix."""
    x_m, y_m, rain_mm = gauges(20)
    nodes = {"grid_x_m": [EAST_M, EAST_M + 9e3], "grid_y_m": [NORTH_M]}
    one, tiny = (krige(x_m, y_m, rain_mm * factor, **nodes) for factor in (1.0, 1e-7))
    np.testing.assert_allclose(tiny.field * 1e7, one.field, rtol=1e-8)  # threads of the machine move the fit
    np.testing.assert_allclose(tiny.variance * 1e14, one.variance, rtol=1e-8)


def test_the_fit_finds_the_variogram_of_a_simulated_field():
    """R29: a Gaussian field with a known spherical variogram, averaged over realisations."""
    rng = np.random.default_rng(1)
    truth = Variogram("spherical", psill=4.0, range_m=40e3, nugget=0.5)
    x_m, y_m = rng.uniform(0, 120e3, (2, 250))
    distance_m = np.hypot(np.subtract.outer(x_m, x_m), np.subtract.outer(y_m, y_m))
    root = np.linalg.cholesky(4.5 - semivariance(truth, distance_m) + 0.5 * np.eye(250))
    fits = [fit_variogram(x_m, y_m, root @ rng.normal(size=250)) for _ in range(12)]
    sill, range_m = (np.median(column) for column in ([f.psill + f.nugget for f in fits], [f.range_m for f in fits]))
    np.testing.assert_allclose(sill, 4.5, rtol=0.25)
    np.testing.assert_allclose(range_m, 40e3, rtol=0.35)


def test_neighbours_that_disagree_show_up_as_nugget():
    """R29: two stations 40 m apart must not make a cliff."""
    x_m, y_m, rain_mm = gauges(20)
    variogram = fit_variogram(np.append(x_m, x_m[0] + 40.0), np.append(y_m, y_m[0]), np.append(rain_mm, rain_mm[0] + 8))
    assert variogram.nugget >= 0.5 * 8.0**2 * (1 - 1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_a_range_is_no_shorter_than_the_spacing_of_the_stations(seed):
    """R29: values without a pattern fit a range of 0, which would put a spike on each station."""
    x_m, y_m, _ = gauges(5, seed=seed)
    noise = np.random.default_rng(seed).normal(size=5)
    nearest_m = cKDTree(np.stack([x_m, y_m], axis=1)).query(np.stack([x_m, y_m], axis=1), k=2)[0][:, 1]
    assert fit_variogram(x_m, y_m, noise).range_m >= np.median(nearest_m) * (1 - 1e-9)


@pytest.mark.parametrize("model", ["spherical", "exponential"])
def test_the_fit_is_that_of_pykrige_with_15_classes_and_less_weight_for_the_far_ones(model):
    """R29: on values with a standard deviation of 1 and coordinates in km, where no two stations are close."""
    axis_km = np.arange(0, 80, 10.0)
    x_km, y_km = (axis.ravel() + np.random.default_rng(6).uniform(-3, 3, 64) for axis in np.meshgrid(axis_km, axis_km))
    values = np.sin(x_km / 20) + np.cos(y_km / 15)
    values = (values - values.mean()) / values.std()
    witness = OrdinaryKriging(x_km, y_km, values, variogram_model=model, nlags=15, weight=True)
    found = fit_variogram(x_km * 1e3, y_km * 1e3, values * 7.0, model=model)
    psill, range_km, nugget = witness.variogram_model_parameters
    np.testing.assert_allclose(
        [found.psill, found.range_m, found.nugget], [psill * 49, range_km * 1e3, nugget * 49], rtol=1e-3, atol=1e-6
    )


@pytest.mark.parametrize("log", [False, True])
def test_the_coarse_grid_equals_the_direct_solution_of_pykrige(log):
    """R29: within 0.1 mm, and within 1 % where the logarithm is kriged."""
    x_m, y_m, rain_mm = gauges()
    kriged = np.log(rain_mm) if log else rain_mm
    grid = grid_around(40e3, 40e3)
    psill, range_m, nugget = fit_variogram(x_m, y_m, kriged)[1:]
    direct = OrdinaryKriging(
        x_m - EAST_M,
        y_m - NORTH_M,
        kriged,
        variogram_model="spherical",
        variogram_parameters={"psill": psill, "range": range_m, "nugget": nugget},
        exact_values=False,
    )
    rows, columns = np.random.default_rng(2).integers(0, 4000, (2, 3000))
    inside = (np.abs(x_m - EAST_M) < 19e3) & (np.abs(y_m - NORTH_M) < 19e3)
    at_station = ~grid.affine @ (x_m[inside], y_m[inside])  # where a bilinear cut is worst
    assert inside.sum() > 1
    columns, rows = (
        np.concatenate([pixels, np.floor(own).astype(int)])
        for pixels, own in zip((columns, rows), at_station, strict=True)
    )
    pixel_x_m, pixel_y_m = centres(grid, rows, columns)
    expected, _ = direct.execute("points", pixel_x_m - EAST_M, pixel_y_m - NORTH_M)
    found = krige_onto(grid, x_m, y_m, rain_mm, log=log)[rows, columns]
    if log:
        np.testing.assert_allclose(found, np.exp(expected), rtol=0.01)
    else:
        np.testing.assert_allclose(found, expected, atol=0.1)


def test_a_linear_field_is_met_at_the_pixel_centres():
    """R28, R29: half a pixel of shift is 5 m, here 0.05; the slope differs in x and y and the grid is no square."""
    x_m, y_m = (axis.ravel() for axis in np.meshgrid(*2 * [np.arange(-6e3, 6.1e3, 1e3)]))
    grid = grid_around(3e3, 2e3)
    values = 100.0 + 0.01 * x_m - 0.02 * y_m
    rows, columns = np.indices(grid.shape)
    pixel_x_m, pixel_y_m = centres(grid, rows, columns)
    found = krige_onto(grid, x_m + EAST_M, y_m + NORTH_M, values)
    expected = 100.0 + 0.01 * (pixel_x_m - EAST_M) - 0.02 * (pixel_y_m - NORTH_M)
    np.testing.assert_allclose(found, expected, atol=0.03)


def test_a_part_of_a_grid_gets_what_the_whole_grid_gets():
    """R14: nodes lie on multiples of their spacing, wherever the grid begins."""
    x_m, y_m, rain_mm = gauges()
    grid = grid_around(6e3, 4e3)
    part = (slice(137, 251), slice(311, 470))
    whole = krige_onto(grid, x_m, y_m, rain_mm)
    np.testing.assert_allclose(krige_onto(grid[part], x_m, y_m, rain_mm), whole[part], rtol=1e-6)


def test_a_south_up_grid_gets_the_same_field_upside_down():
    """R19."""
    x_m, y_m, rain_mm = gauges()
    grid = grid_around(2e3, 1e3)
    np.testing.assert_allclose(
        krige_onto(grid.flipy(), x_m, y_m, rain_mm), krige_onto(grid, x_m, y_m, rain_mm)[::-1], rtol=1e-6
    )


def test_kriging_the_logarithm_returns_positive_values_in_the_unit_of_the_stations():
    """R29: and scales with them."""
    x_m, y_m, _ = gauges()
    pga_g = np.exp(np.random.default_rng(4).normal(-2, 1.5, x_m.size))
    field = krige_onto(grid_around(2e3, 1e3), x_m, y_m, pga_g, log=True)
    assert field.min() > 0
    np.testing.assert_allclose(
        krige_onto(grid_around(2e3, 1e3), x_m, y_m, pga_g * 100, log=True), field * 100, rtol=1e-4
    )


def test_large_grids_are_solved_in_blocks(monkeypatch):
    """R30: 40,000 nodes and 60 stations would take 20 MB for each of several arrays."""
    x_m, y_m, rain_mm = gauges(60)
    nodes = {"grid_x_m": EAST_M + np.arange(200) * 250.0, "grid_y_m": NORTH_M + np.arange(200) * 250.0}
    variogram = fit_variogram(x_m, y_m, rain_mm)
    at_once = krige(x_m, y_m, rain_mm, **nodes, variogram=variogram)
    monkeypatch.setattr("coslide.indices.kriging._BLOCK_BYTES", 2**19)
    tracemalloc.start()
    in_blocks = krige(x_m, y_m, rain_mm, **nodes, variogram=variogram)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(in_blocks.field, at_once.field, rtol=1e-9)
    assert peak_bytes < 8e6


@pytest.mark.parametrize("model", ["spherical", "exponential"])
@pytest.mark.parametrize("nugget", [0.0, 25.0])
def test_leaving_one_out_at_once_equals_leaving_each_out_in_turn(model, nugget):
    """R29: Dubrule's formula against 15 kriging systems."""
    x_m, y_m, rain_mm = gauges(15)
    variogram = Variogram(model, psill=300.0, range_m=70e3, nugget=nugget)
    errors = [
        krige_by_hand(
            np.delete(x_m, i),
            np.delete(y_m, i),
            np.delete(rain_mm, i),
            at=np.array([x_m[i], y_m[i]]),
            variogram=variogram,
        )[0]
        - rain_mm[i]
        for i in range(15)
    ]
    expected = np.sqrt(np.mean(np.square(errors)))
    np.testing.assert_allclose(leave_one_out_rmse(x_m, y_m, rain_mm, variogram=variogram), expected, rtol=1e-9)


def test_leaving_one_out_of_a_smooth_field_errs_less_than_its_mean_does():
    """R29: with a fitted variogram."""
    x_m, y_m, rain_mm = gauges(60)
    assert leave_one_out_rmse(x_m, y_m, rain_mm) < 0.5 * rain_mm.std()


def test_leaving_one_out_of_few_or_equal_stations():
    """R29: the fallback's own error, and none."""
    np.testing.assert_allclose(
        leave_one_out_rmse([0, 1e3, 3e3], [0, 0, 0], [1.0, 2.0, 4.0]),
        np.sqrt(
            np.mean(
                np.square(
                    [
                        (2 + 4 / 9) / (1 + 1 / 9) - 1,
                        (1 + 4 / 4) / (1 + 1 / 4) - 2,
                        (1 / 9 + 2 / 4) / (1 / 9 + 1 / 4) - 4,
                    ]
                )
            )
        ),
    )
    assert leave_one_out_rmse([0, 1e3, 3e3, 4e3, 5e3], [0] * 5, [0.0] * 5) == 0.0


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([], [], []), r"shape \(3, 0\)"),
        (([0.0], [0.0, 1.0], [0.0, 1.0]), "inhomogeneous"),
        (([[0.0]], [[0.0]], [[1.0]]), r"shape \(3, 1, 1\)"),
        (([0.0, 1.0], [0.0, 0.0], [1.0, np.nan]), "or NaN, expected finite"),
    ],
)
def test_unusable_stations_are_refused(columns, message):
    """The message says what was expected."""
    with pytest.raises(ValueError, match=message):
        krige(*columns, grid_x_m=[0.0], grid_y_m=[0.0])


def test_there_is_no_variogram_of_too_few_stations():
    """R29."""
    assert fit_variogram([0, 1e3, 2e3, 3e3], [0] * 4, [1.0, 2.0, 3.0, 4.0]) is None


def test_a_single_station_cannot_be_left_out():
    """R29."""
    with pytest.raises(ValueError, match="at least two"):
        leave_one_out_rmse([0.0, 0.2], [0.0, 0.0], [1.0, 2.0])


@pytest.mark.parametrize("log", [False, True])
def test_a_coarse_field_is_evaluated_window_by_window_to_the_bit(log):
    """R14: and is what `krige_onto` returns at once."""
    x_m, y_m, rain_mm = gauges()
    grid = grid_around(6e3, 4e3)
    field = krige_coarse(grid, x_m, y_m, rain_mm, log=log)
    whole = krige_onto(grid, x_m, y_m, rain_mm, log=log)
    for part in (
        (slice(0, 400), slice(0, 600)),
        (slice(137, 251), slice(311, 470)),
        (slice(399, 400), slice(599, 600)),
    ):
        np.testing.assert_array_equal(field.at(grid[part]), whole[part])


def test_the_variance_of_a_coarse_field_is_that_of_the_direct_solution():
    """R29: at the pixels, in squared units of the values, with the variogram that the field names."""
    x_m, y_m, rain_mm = gauges()
    grid = grid_around(6e3, 4e3)
    field = krige_coarse(grid, x_m, y_m, rain_mm, variogram="exponential")
    pixel_x_m, _ = centres(grid, 0, np.arange(600))
    _, pixel_y_m = centres(grid, np.arange(400), 0)
    direct = krige(x_m, y_m, rain_mm, grid_x_m=pixel_x_m, grid_y_m=pixel_y_m, variogram=field.kriging.variogram)
    assert field.kriging.variogram.model == "exponential"
    np.testing.assert_allclose(field.variance.at(grid), direct.variance, rtol=0.05)
    assert krige_coarse(grid, x_m, y_m, rain_mm * 0).variance is None


def test_the_error_of_the_nodes_is_what_they_err_by_at_the_stations_on_the_grid():
    """R29: a station half-way between nodes, and one outside the grid that does not count."""
    x_m, y_m, rain_mm = gauges()
    x_m[0], y_m[0], rain_mm[0] = EAST_M + 125.0, NORTH_M + 125.0, 90.0
    grid = grid_around(2e3, 2e3)
    inside = (np.abs(x_m - EAST_M) < 1e3) & (np.abs(y_m - NORTH_M) < 1e3)
    assert inside.tolist() == [True] + [False] * 29
    errors = {}
    for coarse_m in (250.0, 1000.0):
        field = krige_coarse(grid, x_m, y_m, rain_mm, coarse_m=coarse_m)
        station = {"grid_x_m": [x_m[0]], "grid_y_m": [y_m[0]], "variogram": field.kriging.variogram}
        direct = krige(x_m, y_m, rain_mm, **station).field[0, 0]
        column, row = np.floor(~grid.affine @ (x_m[0], y_m[0])).astype(int)
        errors[coarse_m] = field.coarse_error()
        np.testing.assert_allclose(errors[coarse_m], abs(direct - field.at(grid)[row, column]), atol=0.05)
    assert errors[1000.0] > 1.5 * errors[250.0] > 0.02
    assert krige_coarse(grid, x_m, y_m, rain_mm * 0).coarse_error() == 0.0


@pytest.mark.parametrize(("lon", "hint"), [(42.0, True), (36.9, False)])
def test_stations_far_from_the_grid_are_told_and_whether_their_columns_may_be_swapped(lon, hint):
    """R29: at longitude 42, latitude 37 both numbers may be either."""
    grid = GeoBox((50, 50), Affine(10, 0, 320_000, 0, -10, 4_100_000), "EPSG:32638")
    near, lines = near_stations(grid, lon_deg=np.array([43.0, 37.0]), lat_deg=np.array([37.0, lon]), name="a.csv")
    assert near.tolist() == [True, False]
    assert ("with longitude and latitude swapped they would be near" in lines[0]) == hint
    with pytest.raises(
        InputError, match=r"a.csv: 1 of 1 stations lie more than 500 km from the grid, first .* expected"
    ):
        near_stations(grid, lon_deg=np.array([37.0]), lat_deg=np.array([lon]), name="a.csv")
