"""What a console and a notebook say of a result: short, without reading it, and safe to show."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from coslide.config.event import read_event
from coslide.cube.cube import Cube, open_cube
from coslide.display.overview import Overview, Shown
from coslide.mapping.model import load_model
from coslide.mapping.probability_map import ProbabilityMap

EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>\x1b[31m & "quoted"'


class Evil(Shown):
    def overview(self):
        return Overview(EVIL, {"fact": EVIL, "missed": ""}, {EVIL: [(EVIL, "b"), ("1", EVIL)]})


class Tags(HTMLParser):
    """Collects the tags of a page, their attributes, and the text."""

    def __init__(self, page):
        super().__init__()
        self.found, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_no_text_of_the_data_becomes_a_tag_or_an_attribute():
    page = Tags(Evil()._repr_html_())
    allowed = {"div", "span", "strong", "table", "thead", "tbody", "tr", "th", "td", "details", "summary"}
    assert {tag for tag, _ in page.found} <= allowed
    assert {name for _, attributes in page.found for name in attributes} <= {"style", "scope"}
    assert page.text.count('<script>alert("x")</script>') == 5


def test_no_text_of_the_data_steers_the_terminal():
    assert "\x1b" not in repr(Evil())
    assert len(repr(Evil()).splitlines()) == 2  # the fact that is empty is left out


def test_a_notebook_keeps_its_colours_dark_or_light(made_up_cube):
    page = open_cube(made_up_cube)._repr_html_()
    styles = "; ".join(attributes.get("style", "") for _, attributes in Tags(page).found)
    assert set(re.findall(r"(?:background|(?<!-)color): ([^;\"]+)", styles)) == {"transparent", "inherit"}


def test_a_cube_is_told_without_reading_a_pixel(made_up_cube, monkeypatch):
    cube = open_cube(made_up_cube)
    monkeypatch.setattr(Cube, "_stored", None)
    monkeypatch.setattr(Cube, "array", None)
    text = repr(cube)
    assert "100 x 100 pixels of 10 m (1 x 1 km), EPSG:32654" in text
    assert re.search(r"after\s+94 % of the pixels", text)
    assert "scene after 3, scene before 4, terrain 4" in text


def test_what_was_counted_of_a_whole_cube_is_not_said_of_a_part(made_up_cube):
    part = Cube(open_cube(made_up_cube).to_xarray().isel(y=slice(0, 50)))
    assert "100 x 50 pixels" in repr(part)
    assert "94 %" not in repr(part)


def test_a_notebook_shows_a_small_picture_of_a_cube_and_the_range_of_each_band(made_up_cube):
    page = Tags(open_cube(made_up_cube)._repr_html_())
    (picture,) = (attributes for tag, attributes in page.found if tag == "img")
    assert picture["src"].startswith("data:image/jpeg;base64,")
    assert "Made-up earthquake" in picture["alt"]
    assert "slope" in page.text
    assert "mean_curvature" in page.text


def test_a_large_cube_is_not_read_for_its_picture(made_up_cube, monkeypatch):
    monkeypatch.setattr("coslide.report.drawing._CHEAP_PIXELS", 99 * 100)
    assert open_cube(made_up_cube).thumbnail() == ""


def test_a_map_is_told_in_a_few_lines_whatever_its_size():
    probability = np.zeros((3000, 4000), np.float32)
    probability[:, 3000:] = np.nan
    probability[:, :30] = 0.9
    found = ProbabilityMap(probability, GeoBox(probability.shape, Affine(10, 0, 0, 0, -10, 0), "EPSG:32654"))
    assert repr(found).splitlines() == [
        "<ProbabilityMap>",
        "  size       4000 x 3000 pixels of 10 m (40 x 30 km), EPSG:32654",
        "  valid      75 % of the pixels",
        "  landslide  1 % of the valid pixels, by the threshold 0.5",
    ]


@pytest.mark.parametrize("name", ["all-bands-simulated", "post-rgb"])
def test_a_model_that_comes_with_coslide_says_its_limits(name):
    text = repr(load_model(name))
    assert f"<Model '{name}'>" in text
    assert re.search(r"network\s+unet, [12] members? of [\d,]+ parameters", text)
    assert re.search(r"limits\s+\w+", text)


def test_an_event_says_which_sources_it_has_and_lacks(made_up_event):
    event = read_event(made_up_event)
    assert re.search(r"sources\s+scene after, scene before, DEM, shaking, faults\n", repr(event))
    assert re.search(r"absent\s+geology, rain\n", repr(event))
    assert str(event) == repr(event)
