"""Pictures of maps, checked pixel by pixel."""

import base64
import io
import re
from importlib.resources import files

import numpy as np
import pytest
from affine import Affine
from matplotlib.colors import to_rgb
from odc.geo.geobox import GeoBox
from PIL import Image

from coslide.report import images
from coslide.report.charts import loss_figure, size_figure, summary_figure
from coslide.report.images import (
    COLOURS,
    CORRECT,
    FALSE_ALARM,
    MISSED,
    NOT_SCORED,
    figure_uri,
    hillshade,
    jpeg_uri,
    landslide_codes,
    landslide_colours,
    probability_colours,
    reduce_blocks,
    shaded_relief,
    true_colours,
)

VALID = np.ones((60, 80), bool)


def decoded(uri):
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_reduction_averages_what_is_valid_and_keeps_incomplete_blocks():
    band = np.array(
        [[1, 3, np.nan, 5], [5, 7, 9, np.nan], [np.nan, np.nan, 0, 0], [np.nan, np.nan, 0, 4], [2, 2, 2, 6]]
    )
    np.testing.assert_array_equal(reduce_blocks(band, 2), [[4, 7], [np.nan, 1], [2, 4]])
    np.testing.assert_array_equal(reduce_blocks(band, 3, np.nanmax), [[9, 5], [2, 6]])
    np.testing.assert_array_equal(reduce_blocks(band > 6, 2, np.any), [[True, True], [False, False], [False, False]])
    assert reduce_blocks(band, 1) is band


def test_both_dates_are_drawn_with_one_stretch_that_keeps_the_order_of_brightness():
    scene = np.linspace(0.02, 0.3, 3 * 40 * 50, dtype=np.float32).reshape(40, 50, 3)
    before, after = true_colours([scene, scene])
    np.testing.assert_array_equal(before, after)
    before, after = true_colours([scene, scene * 0.5])
    assert before.mean() > after.mean()
    assert (np.diff(before[..., 0].ravel()) >= 0).all()
    assert (after.min(), before.max()) == (0, 1)


@pytest.mark.parametrize("value", [np.nan, 0.1])
def test_a_scene_without_data_or_contrast_is_drawn(value):
    (drawn,) = true_colours([np.full((4, 5, 3), value, np.float32)])
    assert np.isfinite(drawn).all()


def test_pictures_stand_in_the_page_itself():
    sizes = {"mapped": np.array([300.0, 900.0]), "recognised": np.array([])}
    for figure in (size_figure(sizes), loss_figure([0.5, 0.2])):
        assert figure_uri(figure).startswith("data:image/png;base64,iVBOR")
    assert jpeg_uri(np.zeros((30, 40, 3))).startswith("data:image/jpeg;base64,/9j/")


def test_landslides_of_one_size_are_one_point_that_counts_them_all():
    (line,) = size_figure({"recognised": np.array([100.0, 400.0, 100.0, 900.0])}).axes[0].lines
    assert (line.get_xdata().tolist(), line.get_ydata().tolist()) == ([100, 400, 900], [4, 2, 1])


def test_a_map_without_landslides_is_pale():
    summary = {"landslides": 0, "area_km2": 0.0, "valid_km2": 3.0}
    summary["size_frequency"] = {"area_m2": [], "density_per_m2": []}
    per_km2 = np.array([[0, 0], [0, np.nan]], np.float32)
    squares = GeoBox((2, 2), Affine(1000, 0, 0, 0, -1000, 2000), "EPSG:32648")
    figure = summary_figure(summary, per_km2, squares, title="Nothing moved")
    assert figure.axes[1].images[0].get_clim() == (0, 1)


def test_the_relief_shines_through_a_low_probability_and_nodata_is_grey():
    probability = np.full((60, 80), 0.0, np.float32)
    probability[:, 40:] = 1
    probability[:16] = np.nan
    relief = shaded_relief(np.full((60, 80), np.nan), 10.0)
    drawn = probability_colours(probability, relief, step=1)
    np.testing.assert_allclose(drawn[30, 10], relief[30, 10], atol=0.01)
    np.testing.assert_allclose(drawn[30, 60], to_rgb(images.PROBABILITY[-1]), atol=0.01)
    np.testing.assert_allclose(drawn[5, 5], to_rgb(images.NODATA), atol=0.01)
    assert drawn.min() > 0.02  # nothing of a map is black


@pytest.mark.parametrize("side", [100, 3000])
def test_a_picture_stays_small(side):
    random = np.random.default_rng(0).random((side, side)).astype(np.float32)
    step = images.step_of(random.shape)
    small = -(-side // step)
    drawn = probability_colours(random, shaded_relief(np.full((small, small), np.nan), 10.0), step=step)
    assert len(jpeg_uri(drawn, sharp=True)) < 4_000_000


def test_correct_false_and_missed_landslides_are_told_apart_where_they_can_be_judged():
    recognised, mapped = np.array([True, True, False, False, True]), np.array([True, False, True, False, True])
    judged = np.array([True, True, True, True, False])
    assert landslide_codes(recognised, mapped, judged).tolist() == [CORRECT, FALSE_ALARM, MISSED, 0, NOT_SCORED]
    assert landslide_codes(recognised, None, judged).tolist() == [NOT_SCORED, NOT_SCORED, 0, 0, NOT_SCORED]


def test_the_style_for_qgis_has_the_colours_of_the_page():
    style = files("coslide.mapping").joinpath("style.qml").read_text()
    found = re.findall(r'name="(?:color|outline_color)" value="(\d+),(\d+),(\d+),', style)
    drawn = {f"#{bytes(map(int, colour)).hex().upper()}" for colour in found}
    assert drawn == {*images.PROBABILITY, images.OUTLINE}


def test_landslides_have_the_colours_of_the_legend():
    codes = np.zeros(VALID.shape, dtype=np.uint8)
    places = {CORRECT: np.s_[5:25, 5:25], FALSE_ALARM: np.s_[5:25, 35:55], MISSED: np.s_[35:55, 5:25]}
    for code, place in places.items():
        codes[place] = code
    drawn = decoded(jpeg_uri(landslide_colours(codes, VALID, None, step=1), sharp=True))
    for code, (rows, columns) in places.items():
        wanted = [int(COLOURS[code][k : k + 2], 16) for k in (1, 3, 5)]
        inside = drawn[rows.start + 3 : rows.stop - 3, columns.start + 3 : columns.stop - 3].reshape(-1, 3)
        assert np.abs(inside - wanted).max() <= 12


def test_what_lies_outside_the_frame_is_paler_and_what_has_no_map_is_grey():
    codes, valid, held_out = np.zeros((60, 80), np.uint8), VALID.copy(), np.zeros((60, 80), bool)
    held_out[:, 40:] = True
    valid[:20] = False
    drawn = landslide_colours(codes, valid, None, held_out, step=1)
    assert drawn[40, 10].mean() > drawn[40, 70].mean() + 0.06
    np.testing.assert_allclose(drawn[8, 10], to_rgb(images.NODATA), atol=0.01)
    assert (drawn[30, 39], drawn[30, 40]) == (pytest.approx([0, 0, 0]), pytest.approx([1, 1, 1]))


def test_no_landslide_is_lost_when_a_map_is_made_small():
    codes = np.zeros((7, 9), dtype=np.uint8)
    codes[0, 0] = MISSED
    codes[3:5, 3] = FALSE_ALARM
    codes[3, 4] = CORRECT
    codes[6, 8] = CORRECT
    small = images._commonest(codes, 3)
    np.testing.assert_array_equal(small, [[MISSED, 0, 0], [0, FALSE_ALARM, 0], [0, 0, CORRECT]])


@pytest.mark.parametrize(("east", "north"), [(0.0, 0.0), (0.3, -0.5), (-0.8, 0.2), (0.5, -0.5)])
def test_the_relief_of_a_plane_is_the_cosine_of_its_normal_and_the_light(east, north):
    y, x = np.mgrid[10:0:-1, 0:12] * 30.0
    light = np.array([-0.5, 0.5, np.sqrt(0.5)])
    normal = np.array([-east, -north, 1]) / np.sqrt(1 + east**2 + north**2)
    wanted = max(0.0, float(light @ normal))
    np.testing.assert_allclose(hillshade((east * x + north * y).astype(np.float32), 30.0), wanted, atol=1e-4)


def test_terrain_without_two_rows_has_no_relief():
    assert np.isnan(hillshade(np.zeros((1, 5), np.float32), 10.0)).all()
