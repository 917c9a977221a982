"""The terrain has the relief and the streams that were asked for; the elevation model is its mean plus a slow error."""

import numpy as np
import pytest
import rasterio

from coslide.indices.derivatives import slope_aspect_curvature
from coslide.simulate.drainage import drain
from coslide.simulate.frame import PIXEL_M, Frame, centres_m, terrain_of, to_degrees, to_metres
from coslide.simulate.mountains import channel_head_m2
from coslide.simulate.recipe import Recipe
from coslide.simulate.terrain import NODATA, dem_grid, make_terrain, write_dem

RECIPE = Recipe(size_km=3, relief_m=900, drainage_per_km=4, seed=2)
FRAME = Frame(300)


@pytest.fixture(scope="module")
def terrain():
    return make_terrain(RECIPE, FRAME)


@pytest.fixture(scope="module")
def receiver(terrain):
    return drain(terrain.height_m).receiver.reshape(terrain.height_m.shape)


def _leaves(receiver):
    return receiver == np.arange(receiver.size).reshape(receiver.shape)


def test_the_scene_spans_the_relief_from_1500_m_up(terrain):
    scene = terrain.height_m[FRAME.inner]
    assert scene.min() == pytest.approx(1500, abs=0.01)
    assert np.ptp(scene) == pytest.approx(RECIPE.relief_m, abs=0.01)


@pytest.mark.parametrize("drainage_per_km", [4, pytest.param(2, marks=pytest.mark.slow)])
def test_streams_are_as_long_as_asked(terrain, drainage_per_km):
    """Counted on the whole frame: a small scene holds too few streams to tell."""
    if drainage_per_km == 2:
        terrain = make_terrain(Recipe(size_km=4.8, relief_m=900, drainage_per_km=2), Frame(480))
    receiver = drain(terrain.height_m).receiver
    step = np.abs(receiver - np.arange(receiver.size)).reshape(terrain.height_m.shape)
    straight = (step == 1) | (step == terrain.frame.side_px)
    length = np.where(step == 0, 0, np.where(straight, PIXEL_M, PIXEL_M * np.sqrt(2)))
    stream = terrain.drained_m2 >= channel_head_m2(drainage_per_km)
    found = length[stream].sum() / 1000 / (step.size * PIXEL_M**2 / 1e6)
    assert found == pytest.approx(drainage_per_km, rel=0.2)


def test_water_runs_downhill_and_leaves_at_the_edge_alone(terrain, receiver):
    assert not _leaves(receiver)[1:-1, 1:-1].any()
    assert (terrain.height_m.ravel()[receiver] <= terrain.height_m).all()


def test_nothing_is_left_to_fill(terrain):
    np.testing.assert_array_equal(drain(terrain.height_m).height_m, terrain.height_m)


def test_all_water_that_falls_or_enters_leaves(terrain, receiver):
    leaving = terrain.drained_m2[_leaves(receiver)].sum(dtype=float)
    assert leaving >= terrain.height_m.size * PIXEL_M**2 * (1 - 1e-6)
    donors = np.bincount(receiver.ravel(), minlength=receiver.size).reshape(receiver.shape)
    heads = (donors == 0)[3:-3, 3:-3]  # outside, water enters
    np.testing.assert_array_equal(terrain.drained_m2[3:-3, 3:-3][heads], PIXEL_M**2)


def test_rivers_run_downhill_where_much_water_runs(terrain):
    assert terrain.rivers
    for number, river in enumerate(terrain.rivers):
        points = np.array([river.line.interpolate(m).coords[0] for m in np.arange(0, river.line.length, 5.0)])
        rows, columns = terrain.frame.pixels_at(points)
        height = terrain.height_m[rows, columns]
        assert (height - np.minimum.accumulate(height)).max() < 1.0
        assert height[0] > height[-1]
        if not number:
            near = zip(np.maximum(rows - 3, 0), rows + 4, np.maximum(columns - 3, 0), columns + 4, strict=True)
            around = [terrain.drained_m2[top:bottom, left:right].max() for top, bottom, left, right in near]
            assert np.mean(np.array(around) > 3e6) > 0.9


def test_rivers_come_widest_first_and_6_to_50_m_wide(terrain):
    widths = [river.width_m for river in terrain.rivers]
    assert widths == sorted(widths, reverse=True)
    assert min(widths) >= 6
    assert max(widths) <= 50


def test_valley_floors_are_flat_low_and_a_small_part(terrain):
    floor = terrain.valley_floor
    assert 0.02 < floor.mean() < 0.12
    assert np.median(terrain.slope_deg[floor]) < 8
    assert np.median(terrain.slope_deg[~floor]) > 20
    assert np.median(terrain.height_m[floor]) < np.median(terrain.height_m)


def test_slope_aspect_and_curvature_are_those_of_the_heights(terrain):
    inside = (slice(1, -1), slice(1, -1))
    expected = slope_aspect_curvature(terrain.height_m, PIXEL_M)
    for name, values in zip(("slope_deg", "aspect_deg", "mean_curvature_per_m"), expected, strict=True):
        mine = getattr(terrain, name)
        assert np.isfinite(mine).all()
        np.testing.assert_array_equal(mine[inside], np.nan_to_num(values[inside]))
        np.testing.assert_array_equal(mine[0, 1:-1], mine[1, 1:-1])


@pytest.mark.slow
def test_the_same_recipe_is_the_same_terrain_and_another_seed_another(terrain):
    again = make_terrain(RECIPE, FRAME)
    np.testing.assert_array_equal(again.height_m, terrain.height_m)
    np.testing.assert_array_equal(again.drained_m2, terrain.drained_m2)
    assert [river.line.wkb for river in again.rivers] == [river.line.wkb for river in terrain.rivers]
    other = make_terrain(RECIPE.model_copy(update={"seed": 3}), FRAME)
    assert np.corrcoef(other.height_m.ravel(), terrain.height_m.ravel())[0, 1] < 0.9


# --- The elevation model ---

SMALL = Frame(120)


def _plane(x, y):
    return 2000 + 0.3 * (x - 300_000) - 0.2 * (y - 4_000_000)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A plane, and level terrain, as elevation models."""
    folder = tmp_path_factory.mktemp("dem")
    x, y = centres_m(SMALL.grid)
    for name, height in (("plane", _plane(x[None, :], y[:, None])), ("level", 2000.0)):
        write_dem(folder / f"{name}.tif", Recipe(), terrain_of(SMALL, height))
    return folder


def _read(path):
    with rasterio.open(path) as file:
        return file.read(1), file.profile


def test_pixels_are_the_mean_of_a_plane(files):
    """Whose mean over a pixel is its height at the middle; the error, the same in both files, is taken off."""
    plane, profile = _read(files / "plane.tif")
    level, _ = _read(files / "level.tif")
    rows, columns = np.indices(plane.shape)
    lon, lat = profile["transform"].c + (columns + 0.5) / 3600, profile["transform"].f - (rows + 0.5) / 3600
    x, y = to_metres(lon, lat)
    box = SMALL.grid.boundingbox
    inside = (x > box.left + 40) & (x < box.right - 40) & (y > box.bottom + 40) & (y < box.top - 40)
    error = (plane - (level - 2000) - _plane(x, y))[inside]
    assert abs(error.mean()) < 0.05
    assert np.abs(error).max() < 1.5  # whole 10 m pixels in one of 25 by 31 m, on a slope of 0.36


def test_the_whole_frame_is_covered_and_the_rim_is_marked(files):
    level, profile = _read(files / "level.tif")
    assert profile["nodata"] == NODATA
    assert (level == NODATA).any()
    columns, rows = ~profile["transform"] * to_degrees(*np.meshgrid(*centres_m(SMALL.grid)))
    assert (level[rows.astype(int), columns.astype(int)] != NODATA).all()


def test_the_error_is_about_a_metre_and_varies_slowly(files):
    error = _read(files / "level.tif")[0][20:-20, 20:-20] - 2000
    assert 0.2 < np.sqrt((error**2).mean()) < 3
    assert np.abs(np.diff(error, axis=1)).max() < 0.15


def test_edges_lie_on_whole_arc_seconds(files):
    _, profile = _read(files / "level.tif")
    transform = profile["transform"]
    assert transform.a == pytest.approx(1 / 3600, rel=1e-12)
    for edge in (transform.c, transform.f):
        assert edge * 3600 == pytest.approx(round(edge * 3600), abs=1e-6)
    assert (profile["crs"].to_epsg(), profile["dtype"], profile["compress"]) == (4326, "float32", "deflate")
    assert profile["tiled"]
    assert (profile["height"], profile["width"]) == tuple(dem_grid(SMALL).shape)


def test_the_same_recipe_is_the_same_file(files):
    write_dem(files / "again.tif", Recipe(), terrain_of(SMALL, 2000.0))
    assert (files / "again.tif").read_bytes() == (files / "level.tif").read_bytes()
