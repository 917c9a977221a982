"""The page of a run: nothing from elsewhere, nothing unescaped, every picture described."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr
from PIL import Image
from pyproj import CRS

from coslide.cube.band import Band
from coslide.cube.cube import Cube
from coslide.report import page, pictures
from coslide.report.page import Page, Picture, Section, Table, html_page, score
from coslide.report.pictures import (
    COLOURS,
    CORRECT,
    FALSE_ALARM,
    MISSED,
    composites,
    hillshade,
    landslide_picture,
    loss_figure,
    probability_picture,
    size_figure,
)

EVIL = '<script>alert("x")</script> & "quoted"'
PAGE = Page(
    title=EVIL,
    lead=EVIL,
    warnings=[EVIL],
    sections=[
        Section(
            EVIL,
            EVIL,
            [Picture("data:image/png;base64,AAAA", EVIL, EVIL, [("#112233", EVIL)], 9.0)],
            Table((EVIL, "n"), [(EVIL, 1)]),
            [EVIL],
        ),
        Section("Empty"),
    ],
    credit=EVIL,
)


class _Reader(HTMLParser):
    """Collects the tags of a page with their attributes, and checks that they are closed in order."""

    VOID = ("meta", "img")

    def __init__(self):
        super().__init__()
        self.tags, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def read(text):
    reader = _Reader()
    reader.feed(text)
    assert reader.open == []
    return reader.tags


def test_texts_of_the_data_cannot_become_tags():
    tags = read(html_page(PAGE))
    assert "script" not in {tag for tag, _ in tags}
    assert next(attrs["alt"] for tag, attrs in tags if tag == "img") == EVIL


def test_nothing_is_loaded_from_elsewhere():
    text = html_page(PAGE)
    for _, attrs in read(text):
        for name in ("src", "href"):
            assert attrs.get(name, "data:").startswith("data:")
    assert not re.search(r"https?:|@import|url\(", text)


def test_headings_come_in_order_and_cells_say_what_they_head():
    tags = read(html_page(PAGE))
    assert [tag for tag, _ in tags if tag in {"h1", "h2", "h3"}] == ["h1", "h2", "h2"]
    assert {attrs["scope"] for tag, attrs in tags if tag == "th"} == {"col", "row"}


def test_what_is_missing_leaves_no_trace():
    text = html_page(Page("Event", "Nothing."))
    assert "<section>" not in text
    assert "<footer>" not in text
    assert 'class="warning"' not in text


def test_a_score_that_is_missing_is_a_dash():
    assert score({"f1": 0.12345}, "f1") == "0.123"
    assert score({}, "f1") == "–"


def test_both_dates_are_drawn_with_one_stretch():
    scene = np.linspace(0.02, 0.3, 3 * 40 * 50, dtype=np.float32).reshape(3, 40, 50)
    channels = ("B4", "B3", "B2")

    def cube_of(**scenes):
        variables = {}
        for date, values in scenes.items():
            band = Band(f"reflectance_{date}_B4", date=date, quantity="reflectance", channel="B4")
            variables[band.variable] = (("band", "y", "x"), values, band.attributes())
        coords = {"band": list(channels), "x": 5 + 10.0 * np.arange(50), "y": 995 - 10.0 * np.arange(40)}
        coords["spatial_ref"] = ((), 0, CRS.from_epsg(32654).to_cf())
        return Cube(xr.Dataset(variables, coords, {"indices": list(variables)}))

    same = composites(cube_of(pre=scene, post=scene), channels)
    assert same["pre"] == same["post"]
    darker = composites(cube_of(pre=scene, post=scene * 0.5), channels)
    assert darker["pre"] != darker["post"]
    assert composites(cube_of(post=scene), ("B8", "B4", "B3")) == {}


def test_pictures_stand_in_the_page_itself():
    probability = np.full((30, 40), 0.4, dtype=np.float32)
    probability[:16] = np.nan  # whole blocks of the JPEG
    for address in (
        size_figure({"mapped": np.array([300.0, 900.0]), "recognised": np.array([])}),
        loss_figure([0.5, 0.2]),
    ):
        assert address.startswith("data:image/png;base64,iVBOR")
    address = probability_picture(probability)
    assert address.startswith("data:image/jpeg;base64,/9j/")
    assert np.abs(colours_of(address)[2, 20] - 217).max() <= 3  # unknown is grey


@pytest.mark.parametrize("side", [100, 3000])
def test_a_picture_stays_small(side):
    random = np.random.default_rng(0).random((side, side)).astype(np.float32)
    assert len(probability_picture(random)) < 4_000_000


def test_the_browser_is_told_to_load_nothing():
    policy = next(attrs["content"] for tag, attrs in read(html_page(PAGE)) if attrs.get("http-equiv"))
    assert policy.startswith("default-src 'none'")


@pytest.mark.parametrize(
    ("width_km", "label", "share"), [(9.0, "2 km", 22.22), (1.0, "200 m", 20.0), (66.0, "20 km", 30.3)]
)
def test_the_scale_bar_is_as_long_as_it_says(width_km, label, share):
    text = html_page(
        Page("Event", "", sections=[Section("Map", pictures=[Picture("data:,", "map", width_km=width_km)])])
    )
    assert f'<div class="scale" style="width: {share:.2f}%">{label}</div>' in text


def test_texts_stand_out_from_their_ground():
    """WCAG 2.1, 1.4.3: a contrast of at least 4.5."""

    def luminance(colour):
        colour = "".join(2 * digit for digit in colour) if len(colour) == 3 else colour
        parts = np.array([int(colour[k : k + 2], 16) / 255 for k in (0, 2, 4)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    texts = re.findall(r"[^-]color: #(\w+)", page._STYLE)
    grounds = re.findall(r"background: #(\w+)", page._STYLE)
    assert len(texts) >= 2
    assert len(grounds) >= 2
    for text in texts:
        for ground in grounds:
            assert (luminance(ground) + 0.05) / (luminance(text) + 0.05) >= 4.5


def colours_of(address):
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_landslides_have_the_colours_of_the_legend():
    codes = np.zeros((60, 80), dtype=np.uint8)
    places = {CORRECT: np.s_[5:25, 5:25], FALSE_ALARM: np.s_[5:25, 35:55], MISSED: np.s_[35:55, 5:25]}
    for code, place in places.items():
        codes[place] = code
    drawn = colours_of(landslide_picture(codes, np.ones(codes.shape, bool), pixel_size_m=10.0))
    for code, (rows, columns) in places.items():
        wanted = [int(COLOURS[code][k : k + 2], 16) for k in (1, 3, 5)]
        inside = drawn[rows.start + 3 : rows.stop - 3, columns.start + 3 : columns.stop - 3].reshape(-1, 3)
        assert np.abs(inside - wanted).max() <= 12


def test_ground_beside_the_frame_is_paler_and_ground_without_a_map_is_grey():
    codes, known, held_out = np.zeros((60, 80), np.uint8), np.ones((60, 80), bool), np.zeros((60, 80), bool)
    held_out[:, 40:] = True
    known[:20] = False
    drawn = colours_of(landslide_picture(codes, known, held_out=held_out, pixel_size_m=10.0))
    assert drawn[40, 10].mean() > drawn[40, 70].mean() + 15
    assert np.abs(drawn[8, 10] - 217).max() <= 3
    assert drawn[30:, 38:43].min() < 60  # the frame has a dark edge


def test_no_landslide_is_lost_when_a_map_is_made_small():
    codes = np.zeros((7, 9), dtype=np.uint8)
    codes[0, 0] = MISSED
    codes[3:5, 3] = FALSE_ALARM
    codes[3, 4] = CORRECT
    codes[6, 8] = CORRECT
    small = pictures._commonest(codes, 3)
    np.testing.assert_array_equal(small, [[MISSED, 0, 0], [0, FALSE_ALARM, 0], [0, 0, CORRECT]])


@pytest.mark.parametrize(("east", "north"), [(0.0, 0.0), (0.3, -0.5), (-0.8, 0.2), (0.5, -0.5)])
def test_the_relief_of_a_plane_is_the_cosine_of_its_normal_and_the_light(east, north):
    y, x = np.mgrid[10:0:-1, 0:12] * 30.0
    light = np.array([-0.5, 0.5, np.sqrt(0.5)])
    normal = np.array([-east, -north, 1]) / np.sqrt(1 + east**2 + north**2)
    wanted = max(0.0, float(light @ normal))
    np.testing.assert_allclose(hillshade((east * x + north * y).astype(np.float32), 30.0), wanted, atol=1e-4)


def test_ground_without_two_rows_has_no_relief():
    assert np.isnan(hillshade(np.zeros((1, 5), np.float32), 10.0)).all()
