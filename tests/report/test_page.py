"""The page of a run: nothing from elsewhere, nothing unescaped, every picture described."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr

from coslide.report.page import Page, Picture, Section, Table, html_page, score
from coslide.report.pictures import composites, loss_figure, probability_picture, size_figure

EVIL = '<script>alert("x")</script> & "quoted"'
PAGE = Page(
    title=EVIL,
    lead=EVIL,
    warnings=[EVIL],
    sections=[
        Section(EVIL, EVIL, [Picture("data:image/png;base64,AAAA", EVIL, EVIL)], Table((EVIL, "n"), [(EVIL, 1)])),
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
    bands = {"band": ["B4", "B3", "B2"]}
    cube = xr.Dataset(
        {
            "reflectance_pre": (("band", "y", "x"), scene),
            "reflectance_post": (("band", "y", "x"), scene),
        },
        coords=bands,
    )
    found = composites(cube, ("B4", "B3", "B2"))
    assert found["reflectance_pre"] == found["reflectance_post"]
    cube["reflectance_post"] = cube["reflectance_post"] * 0.5
    found = composites(cube, ("B4", "B3", "B2"))
    assert found["reflectance_pre"] != found["reflectance_post"]
    assert composites(cube, ("B8", "B4", "B3")) == {}


def test_pictures_stand_in_the_page_itself():
    probability = np.full((30, 40), 0.4, dtype=np.float32)
    probability[:5] = np.nan
    for address in (
        probability_picture(probability),
        size_figure({"mapped": np.array([300.0, 900.0]), "recognised": np.array([])}),
        loss_figure([0.5, 0.2]),
    ):
        assert address.startswith("data:image/png;base64,iVBOR")


@pytest.mark.parametrize("side", [100, 3000])
def test_a_picture_stays_small(side):
    random = np.random.default_rng(0).random((side, side)).astype(np.float32)
    assert len(probability_picture(random)) < 4_000_000
