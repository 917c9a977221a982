"""What a notebook draws of cubes, maps and scores."""

import re
import sys

import geopandas as gpd
import matplotlib.pyplot as plt
import numpy as np
import pytest
from affine import Affine
from matplotlib.colors import to_rgb
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely.geometry import box

from coslide.cube.cube import Cube, open_cube
from coslide.errors import InputError
from coslide.evaluation.scoring import ScoredMap, score
from coslide.mapping.probability_map import ProbabilityMap
from coslide.report.images import NODATA

EVIL = '</script><img src=x onerror=alert(1)> $x_1$ "quoted"'
GRID = GeoBox((80, 120), Affine(10, 0, 575000, 0, -10, 4730000), "EPSG:32654")


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def cube(made_up_cube):
    return open_cube(made_up_cube)


@pytest.fixture(scope="module")
def found():
    probability = np.full(GRID.shape, 0.05, np.float32)
    probability[20:30, 40:60] = 0.9
    probability[:, 100:] = np.nan
    return ProbabilityMap(probability, GRID)


@pytest.fixture(scope="module")
def scores():
    random = np.random.default_rng(0)
    labels = (random.random((260, 260)) < 0.2).astype(np.uint8)
    probability = np.clip(0.5 * labels + 0.5 * random.random(labels.shape), 0, 1).astype(np.float32)
    return score([ScoredMap("made up", probability, labels, np.zeros_like(labels), 10.0)])


def test_a_cube_is_drawn_in_true_colour_after_the_earthquake_with_nodata_grey(cube):
    ax = cube.plot()
    (image,) = ax.images
    drawn = np.asarray(image.get_array())
    rgb = cube.read(bands=cube.reflectance("post", ("B4", "B3", "B2")))
    missing = np.isnan(rgb).any(axis=0)
    assert missing.any()
    np.testing.assert_allclose(drawn[missing], np.broadcast_to(to_rgb(NODATA), (missing.sum(), 3)), atol=1e-6)
    red = drawn[..., 0][~missing]  # brighter where the band is
    assert np.corrcoef(red, rgb[0][~missing])[0, 1] > 0.9
    assert ax.get_title(loc="left") == "true colour after the earthquake"


def test_polygons_of_the_cube_can_be_drawn_on_its_picture(cube):
    ax = cube.plot("slope")
    west, south, east, north = cube.grid.boundingbox.bbox
    assert (*ax.get_xlim(), *ax.get_ylim()) == (west, east, south, north)
    assert ax.yaxis.get_major_formatter()(4730500.0, 0) == "4730.5"  # km
    (image,) = ax.images
    np.testing.assert_allclose(image.get_array().filled(np.nan), cube.read(bands=[band_of(cube, "slope")])[0])


def band_of(cube, name):
    return next(band for band in cube.bands if band.name == name)


def test_a_raster_made_smaller_keeps_its_place(cube, monkeypatch):
    monkeypatch.setattr("coslide.report.drawing._LONGEST_PX", 30)  # blocks of 4 pixels
    ax = cube.plot("elevation")
    (image,) = ax.images
    west, _, _, north = cube.grid.boundingbox.bbox
    assert image.get_extent() == [west, west + 1000, north - 1000, north]
    assert image.get_array().shape == (25, 25)


def test_measurements_have_a_colour_bar_with_their_unit_and_classes_have_names(cube):
    measured, classes = cube.plot("slope", "aspect_class")
    (bar,) = measured.child_axes
    assert bar.get_ylabel().startswith("slope (Horn) [degree]")
    names = [text.get_text() for text in classes.get_legend().get_texts()]
    assert set(names) <= {"flat", "N", "NE", "E", "SE", "S", "SW", "W", "NW", "nodata"}
    assert {"N", "S"} <= set(names)


def test_several_pictures_stand_side_by_side_and_one_is_drawn_where_it_is_asked_for(cube):
    assert len(cube.plot("pre", "post", [f"reflectance_post_{name}" for name in ("B3", "B4", "B2")])) == 3
    _, ax = plt.subplots()
    assert cube.plot("slope", ax=ax) is ax
    with pytest.raises(InputError, match="ax: found one for 2 pictures"):
        cube.plot("slope", "elevation", ax=ax)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("picture", "line"),
    [
        ("slop", "picture slop: no band of this cube; expected pre, post or a band, such as slope"),
        (["slope", "elevation"], "picture: found 2 bands in one; expected one, or three"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_named_with_what_can(cube, picture, line):
    with pytest.raises(InputError, match=re.escape(line)):
        cube.plot(picture)


def test_a_cube_without_a_scene_before_says_so(cube):
    after = Cube(cube.to_xarray().drop_vars([name for name in cube.to_xarray() if "pre" in str(name)]))
    with pytest.raises(InputError, match="picture pre: the cube has no scene before the earthquake"):
        after.plot("pre")


def test_a_map_is_drawn_with_its_threshold_around_the_landslides(found):
    ax = found.plot()
    (image,) = ax.images
    np.testing.assert_array_equal(image.get_array().filled(np.nan), found.probability)
    (line,) = ax.collections
    (path,) = (path for path in line.get_paths() if len(path.vertices))
    west, north = GRID.affine * (40, 20)
    east, south = GRID.affine * (60, 30)
    (left, bottom), (right, top) = path.vertices.min(axis=0), path.vertices.max(axis=0)
    np.testing.assert_allclose([left, bottom, right, top], [west, south, east, north], atol=10)
    assert "hatched: nodata" in ax.child_axes[0].get_ylabel()


def test_a_map_without_a_landslide_and_one_without_a_value_are_drawn_too():
    for value in (0.0, np.nan):
        ax = ProbabilityMap(np.full(GRID.shape, value, np.float32), GRID).plot()
        assert len(ax.collections) == 0


def test_text_of_the_data_is_not_read_as_mathematics(cube):
    dataset = cube.to_xarray().copy()
    dataset["slope"] = dataset["slope"].assign_attrs(long_name="slope $x_1$")
    bar = Cube(dataset).plot("slope").child_axes[0]
    assert not bar.yaxis.label.get_parse_math()


def test_the_charts_of_the_report_are_those_of_scores(scores):
    figure = scores.plot()
    assert figure.axes[0].get_xlabel().startswith("recall")
    assert len(scores.plot("reliability").axes) == 2
    with pytest.raises(InputError, match="chart size: not one of these scores; expected precision_recall, reliab"):
        scores.plot("size")
    assert "F1 " in repr(scores)
    assert "(95 %: " in repr(scores)


@pytest.fixture(scope="module")
def web_map(found):
    columns = {"id": [1, 2], "area_m2": [123456.789, 2.0], EVIL: ["a", EVIL]}
    places = [box(575400, 4729700, 575600, 4729800), box(575000, 4729300, 575010, 4729310)]
    return found.explore(gpd.GeoDataFrame(columns, geometry=places, crs=GRID.crs), tiles=None)


def test_the_web_map_lies_where_the_map_does(web_map):
    west, south, east, north = GRID.boundingbox.bbox
    to_degrees = Transformer.from_crs("EPSG:32654", "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform([west, east, west, east], [south, south, north, north])
    (bounds,) = (child.get_bounds() for child in web_map._children.values() if child._name == "ImageOverlay")
    np.testing.assert_allclose(bounds, [[min(lat), min(lon)], [max(lat), max(lon)]], atol=3e-4)  # about three pixels


def test_text_of_polygons_stays_text_on_the_web_map(web_map):
    page = web_map.get_root().render()
    assert "<img src=x" not in page
    assert "</script><img" not in page
    assert page.count("\\u0026lt;img src=x") >= 2  # the value, and the name of the column
    assert "123500.0" in page


def test_the_web_map_draws_its_own_landslides_where_none_are_given(found):
    page = found.explore().get_root().render()
    assert "20000.0" in page  # of 200 pixels
    assert "openstreetmap.org" in page
    empty = ProbabilityMap(np.zeros(GRID.shape, np.float32), GRID)
    assert "area_m2" not in empty.explore(tiles=None).get_root().render()


@pytest.mark.parametrize("missing", ["folium", "mapclassify"])
def test_the_web_map_says_what_to_install(found, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError, match=rf"explore needs {missing}: pip install 'coslide\[notebook\]'"):
        found.explore()
