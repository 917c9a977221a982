"""The elevation model is the mean of the ground in cells of one arc second, plus a slow error."""

import numpy as np
import pytest
import rasterio
from pyproj import Transformer

from coslide.simulate.dem import NODATA, dem_grid, write_dem
from coslide.simulate.frame import Frame, centres_m
from coslide.simulate.land import Terrain
from coslide.simulate.recipe import Recipe

FRAME = Frame(120)


def _ground(height):
    """Return a terrain of which only the heights matter."""
    height = np.broadcast_to(height, FRAME.ground.shape).astype(np.float32)
    flat, no = np.zeros_like(height), np.zeros(height.shape, dtype=bool)
    return Terrain(FRAME, np.ascontiguousarray(height), flat, flat, flat, flat.astype(np.int32), flat, no, ())


def _plane(x, y):
    return 2000 + 0.3 * (x - 300_000) - 0.2 * (y - 4_000_000)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A plane, and level ground, as elevation models."""
    folder = tmp_path_factory.mktemp("dem")
    x, y = centres_m(FRAME.ground)
    for name, height in (("plane", _plane(x[None, :], y[:, None])), ("level", np.float32(2000))):
        write_dem(folder / f"{name}.tif", Recipe(), _ground(height))
    return folder


def _read(path):
    with rasterio.open(path) as file:
        return file.read(1), file.profile


def test_cells_are_the_mean_of_a_plane(files):
    """Whose mean over a cell is its height at the middle; the error, the same in both files, is taken off."""
    plane, profile = _read(files / "plane.tif")
    level, _ = _read(files / "level.tif")
    rows, columns = np.indices(plane.shape)
    lon = profile["transform"].c + (columns + 0.5) / 3600
    lat = profile["transform"].f - (rows + 0.5) / 3600
    x, y = Transformer.from_crs(4326, 32659, always_xy=True).transform(lon, lat)
    box = FRAME.ground.boundingbox
    inside = (x > box.left + 40) & (x < box.right - 40) & (y > box.bottom + 40) & (y < box.top - 40)
    error = (plane - (level - 2000) - _plane(x, y))[inside]
    assert abs(error.mean()) < 0.05
    assert np.abs(error).max() < 1.5  # whole 10 m cells in one of 25 by 31 m, on a slope of 0.36


def test_the_whole_ground_is_covered_and_the_rim_is_marked(files):
    level, profile = _read(files / "level.tif")
    assert profile["nodata"] == NODATA
    assert (level == NODATA).any()
    x, y = centres_m(FRAME.ground)
    to_degrees = Transformer.from_crs(32659, 4326, always_xy=True)
    lon, lat = to_degrees.transform(*np.meshgrid(x, y))
    columns, rows = ~profile["transform"] * (lon, lat)
    assert (level[rows.astype(int), columns.astype(int)] != NODATA).all()


def test_the_error_is_about_a_metre_and_varies_slowly(files):
    level, _ = _read(files / "level.tif")
    error = level[20:-20, 20:-20] - 2000
    assert 0.2 < np.sqrt((error**2).mean()) < 3
    assert np.abs(np.diff(error, axis=1)).max() < 0.15


def test_edges_lie_on_whole_arc_seconds(files):
    _, profile = _read(files / "level.tif")
    transform = profile["transform"]
    assert transform.a == pytest.approx(1 / 3600, rel=1e-12)
    for edge in (transform.c, transform.f):
        assert edge * 3600 == pytest.approx(round(edge * 3600), abs=1e-6)
    assert profile["crs"].to_epsg() == 4326
    assert profile["dtype"] == "float32"
    assert profile["tiled"]
    assert profile["compress"] == "deflate"
    assert (profile["height"], profile["width"]) == tuple(dem_grid(FRAME).shape)


def test_the_same_recipe_is_the_same_file(files):
    write_dem(files / "again.tif", Recipe(), _ground(np.float32(2000)))
    assert (files / "again.tif").read_bytes() == (files / "level.tif").read_bytes()
