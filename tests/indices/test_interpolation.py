"""Fields at coarse nodes against closed forms and against GDAL, and that windows do not matter."""

import pickle  # noqa: TID251 - as worker processes are sent fields
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine
from scipy.interpolate import RegularGridInterpolator

from coslide.indices.interpolation import MOST_NODES, CoarseField, coarse_axes, interpolate_raster, span_of
from coslide.io.raster import CoarseRaster, read_coarse_raster

CRS = "EPSG:32610"
GRID = GeoBox((701, 903), Affine(10, 0, 560000, 0, -10, 4110000), CRS)
DEGREES = Affine(0.01, 0, -122.45, 0, -0.01, 37.2)
WINDOWS = [(slice(0, 1), slice(0, 1)), (slice(137, 251), slice(311, 470)), (slice(690, 701), slice(0, 903))]


def coarse(grid=GRID, coarse_m=250.0, **options):
    """Return a field whose nodes are a product of sines of their place."""
    spacing_m, first, (x_m, y_m) = coarse_axes(grid, coarse_m)
    nodes = (np.sin(x_m / 900.0) * np.cos(y_m / 700.0)[:, np.newaxis] + 2.0).astype(np.float32)
    return CoarseField(grid, spacing_m, first, nodes, **options)


def wavy_nodes(step_deg=0.0083, rows=40, columns=60):
    """Return a lattice of degrees around the grid."""
    values = np.random.default_rng(0).uniform(1, 2, (rows, columns)).astype(np.float32)
    return CoarseRaster(values, GeoBox(values.shape, Affine(step_deg, 0, -122.45, 0, -step_deg, 37.2), "EPSG:4326"))


def on(grid):
    """Return longitude and latitude of all pixel centres."""
    rows, columns = np.indices(grid.shape)
    x_m = grid.affine.c + grid.affine.a * (columns + 0.5)
    y_m = grid.affine.f + grid.affine.e * (rows + 0.5)
    return Transformer.from_crs(str(grid.crs), "EPSG:4326", always_xy=True).transform(x_m, y_m)


@pytest.mark.parametrize("part", WINDOWS)
@pytest.mark.parametrize("log", [False, True])
def test_a_window_of_a_coarse_field_is_the_crop_of_the_whole_to_the_bit(part, log):
    """R14."""
    field = coarse(log=log)
    np.testing.assert_array_equal(field.at(GRID[part]), field.at(GRID)[part])


@pytest.mark.parametrize("part", WINDOWS)
def test_a_window_of_a_raster_is_the_crop_of_the_whole(part):
    """R14."""
    nodes = wavy_nodes()
    np.testing.assert_allclose(interpolate_raster(nodes, GRID[part]), interpolate_raster(nodes, GRID)[part], rtol=1e-6)


def test_windows_agree_where_pixels_have_no_exact_size():
    """R14: 10 m has few digits, a third of a metre has not."""
    grid = GeoBox((400, 300), Affine(1 / 3, 0, 560000.1, 0, -1 / 3, 4110000.7), CRS)
    field, raster = coarse(grid, coarse_m=7.0).at, partial(interpolate_raster, wavy_nodes(step_deg=0.005))
    for part in [(slice(i, i + 7), slice(2 * j, 2 * j + 31)) for i, j in [(3, 5), (100, 77), (393, 134)]]:
        np.testing.assert_array_equal(field(grid[part]), field(grid)[part])
        np.testing.assert_allclose(raster(grid[part]), raster(grid)[part], rtol=1e-6)


def test_strips_may_be_computed_by_threads_and_in_other_processes():
    """R14: a field is what it was after it has been sent."""
    for field in (coarse().at, partial(interpolate_raster, wavy_nodes())):
        sent = pickle.loads(pickle.dumps(field))  # noqa: S301
        whole = field(GRID)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # as the builder does
            with ThreadPoolExecutor(2) as pool:
                tops = range(0, 701, 100)
                strips = list(pool.map(lambda top, sent=sent: sent(GRID[top : min(top + 100, 701)]), tops))
        np.testing.assert_array_equal(np.concatenate(strips), whole)


def test_a_bilinear_field_is_met_exactly_at_the_pixel_centres():
    """R28: a + bx + cy + dxy; half a pixel of shift would be 0.05."""
    spacing_m, first, (x_m, y_m) = coarse_axes(GRID, 250.0)

    def surface(x_m, y_m):
        x_km, y_km = (x_m - 560000) / 1000, (y_m - 4110000) / 1000
        return 3 + 10 * x_km - 20 * y_km + 0.5 * x_km * y_km

    field = CoarseField(GRID, spacing_m, first, surface(x_m, y_m[:, np.newaxis]).astype(np.float32))
    rows, columns = np.indices(GRID.shape)
    expected = surface(560000 + 10 * (columns + 0.5), 4110000 - 10 * (rows + 0.5))
    np.testing.assert_allclose(field.at(GRID), expected, atol=2e-4)


def test_a_raster_that_is_linear_in_degrees_is_met_at_the_pixel_centres():
    """R28: nodes are pixel centres; half a node of shift would be 0.4, and half a metre is allowed."""
    template = wavy_nodes()
    rows, columns = np.indices(template.values.shape)
    lon, lat = template.geobox.affine.c + 0.0083 * (columns + 0.5), template.geobox.affine.f - 0.0083 * (rows + 0.5)
    plane = template._replace(values=(100 * (lon + 122) + 30 * (lat - 37)).astype(np.float32))
    pixel_lon, pixel_lat = on(GRID)
    expected = 100 * (pixel_lon + 122) + 30 * (pixel_lat - 37)
    np.testing.assert_allclose(interpolate_raster(plane, GRID), expected, atol=4e-4)


def test_a_raster_with_kinks_is_interpolated_as_scipy_does_it_at_the_exact_place_of_every_pixel():
    """R28: within half a metre, on slopes of up to 1 per 740 m."""
    nodes = wavy_nodes()
    lon, lat = on(GRID)
    rows, columns = nodes.values.shape
    axes = (np.arange(rows) + 0.5, np.arange(columns) + 0.5)
    witness = RegularGridInterpolator(axes, nodes.values.astype(np.float64))
    expected = witness(np.stack([(37.2 - lat) / 0.0083, (lon + 122.45) / 0.0083], axis=-1))
    np.testing.assert_allclose(interpolate_raster(nodes, GRID), expected, atol=0.5 / 740)


def test_beside_nodata_nodes_the_valid_ones_share_the_weight_and_nodata_pixels_stay_so():
    """A hole is as large as its raster pixels, no larger."""
    nodes = wavy_nodes(step_deg=0.02, rows=20, columns=30)
    nodes.values[...] = 7.0
    nodes.values[4:6, 8:10] = np.nan
    field = interpolate_raster(nodes, GRID)
    lon, lat = on(GRID)
    column, row = (lon + 122.45) / 0.02, (37.2 - lat) / 0.02
    hole = (row >= 4) & (row < 6) & (column >= 8) & (column < 10)
    clear = np.minimum(np.abs(row - row.round()), np.abs(column - column.round())) > 1e-4
    assert 0.02 < hole.mean() < 0.5
    np.testing.assert_array_equal(field[clear], np.where(hole, np.nan, np.float32(7.0))[clear])


def test_a_raster_ends_where_its_outer_pixels_end():
    """R28: half a pixel beyond the outermost nodes, with their value; then nothing."""
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    nodes = CoarseRaster(values, GeoBox(values.shape, Affine(1000, 0, 561000, 0, -1000, 4109000), CRS))
    field = interpolate_raster(nodes, GRID)
    valid = np.isfinite(field)
    assert valid.sum() == 200 * 300
    assert valid[100:300, 100:400].all()
    np.testing.assert_array_equal(field[100:150, 100:150], 0.0)
    np.testing.assert_array_equal(field[250:300, 350:400], 5.0)


def test_a_raster_with_rows_running_north_gives_the_same_field():
    """R19."""
    nodes = wavy_nodes()
    south_up = CoarseRaster(nodes.values[::-1].copy(), nodes.geobox.flipy())
    np.testing.assert_allclose(interpolate_raster(south_up, GRID), interpolate_raster(nodes, GRID), atol=2e-6)


def test_the_summary_reaches_the_edges_of_the_grid():
    """Strip by strip."""
    grid = GeoBox((5000, 3000), Affine(10, 0, 560000, 0, -10, 4110000), CRS)
    spacing_m, first, (x_m, y_m) = coarse_axes(grid, 250.0)
    plane = (x_m - 2.0 * y_m[:, np.newaxis]).astype(np.float32)
    field = CoarseField(grid, spacing_m, first, plane - plane.mean())
    valid, low, high = span_of(field.at, grid)
    corners = [field.at(grid[row : row + 1, col : col + 1])[0, 0] for row, col in ((0, 0), (4999, 2999))]
    assert (valid, low, high) == (5000 * 3000, *corners)
    whole = coarse().at(GRID)
    assert span_of(coarse().at, GRID) == (whole.size, whole.min(), whole.max())
    assert span_of(CoarseField(grid, spacing_m, first, np.full_like(plane, np.nan)).at, grid).valid == 0


def test_nodes_are_spread_out_where_they_would_be_too_many():
    """R30: 1000 x 1000 km at 250 m would be 16 million."""
    grid = GeoBox((10_000, 10_000), Affine(100, 0, 0, 0, -100, 4110000), CRS)
    spacing_m, (first_x, first_y), (x_m, y_m) = coarse_axes(grid, 250.0)
    assert 0.95 * MOST_NODES < x_m.size * y_m.size < 1.05 * MOST_NODES
    assert x_m[0] == first_x * spacing_m <= 0
    assert y_m[0] == first_y * spacing_m <= 3110000
    assert x_m[-1] >= 1000000
    assert y_m[-1] >= 4110000


def test_a_window_that_is_no_part_of_the_grid_is_refused():
    spacing_m, first, (x_m, y_m) = coarse_axes(GRID, 250.0)
    field = CoarseField(GRID, spacing_m, first, np.zeros((y_m.size, x_m.size), dtype=np.float32))
    with pytest.raises(ValueError, match="window: found"):
        field.at(GRID.pad(1))


def save(path, values, *, crs="EPSG:4326", transform=DEGREES, **profile):
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=values.shape[0],
        width=values.shape[1],
        count=1,
        dtype=values.dtype,
        crs=crs,
        transform=transform,
        **profile,
    ) as file:
        file.write(values, 1)
    return path


def test_only_the_part_of_a_raster_around_the_grid_is_read_and_nothing_changes(tmp_path):
    """R14: the nodes at its rim lie beyond the grid."""
    values = np.random.default_rng(1).uniform(0, 9, (500, 600)).astype(np.float32)
    path = save(tmp_path / "a.tif", values, transform=Affine(0.01, 0, -125, 0, -0.01, 39))
    part = read_coarse_raster(path, GRID)
    assert part.values.size < 400
    whole = CoarseRaster(values, GeoBox(values.shape, Affine(0.01, 0, -125, 0, -0.01, 39), "EPSG:4326"))
    np.testing.assert_allclose(interpolate_raster(part, GRID), interpolate_raster(whole, GRID), atol=1e-5)


@pytest.mark.parametrize(("declared", "given"), [(-9999, None), (None, -9999), (-1, -9999)])
def test_nodata_is_what_is_given_or_else_declared(tmp_path, declared, given):
    """A declared value that is wrong is overruled."""
    values = np.full((60, 60), 5, dtype=np.int16)
    values[10, 18] = -9999
    path = save(tmp_path / "a.tif", values, nodata=declared)
    found = read_coarse_raster(path, GRID, nodata=given).values
    assert np.isnan(found).sum() == 1
    assert np.nanmin(found) == 5


def test_a_scale_that_the_raster_declares_is_applied(tmp_path):
    """As packed NetCDF has it."""
    path = save(tmp_path / "a.tif", np.full((60, 60), 50, dtype=np.int16))
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (0.1,), (2.0,)
    np.testing.assert_allclose(read_coarse_raster(path, GRID).values, 7.0)
