"""Text in any script: what is drawn has a glyph, whatever fonts the machine has."""

import logging
import warnings

import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

from coslide.report import fonts
from coslide.report.fonts import cut, fit_fonts, wrap
from coslide.report.images import figure_uri

NAMES = {
    "Japanese": "平成30年北海道胆振東部地震",
    "Korean": "제주 지진",
    "Thai": "แผ่นดินไหว",
    "Devanagari": "भूकंप 2015",
    "Arabic": "زلزال الحوز",
    "emoji": "quake 🌋 👩‍🔬 🏔️",
    "marks": "e\u0301 a\u0338 o\u20dd",
    "controls": "a\x07b\tc",
    "directions": "a\u202ed",
    "undefined": "\ue000 \U000e0041 \U0010ffff",
    "mathematics": "cost $x_1$ and $\\frac{$, 5 % of a_b",
}


@pytest.fixture(autouse=True)
def forgotten():
    """Lines said once are said again."""
    fonts._say.cache_clear()


@pytest.fixture
def without_fonts(monkeypatch):
    """A machine that has the fonts that come with matplotlib, and no other."""
    monkeypatch.setattr(fonts, "findSystemFonts", list)
    own = [entry for entry in font_manager.fontManager.ttflist if "mpl-data" in entry.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    fonts._families.cache_clear()
    yield
    fonts._families.cache_clear()


def figure_of(*texts):
    figure = Figure(figsize=(4, 3))
    for number, text in enumerate(texts):
        figure.text(0, number / len(texts), text, parse_math=False)
    return figure


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_any_script_is_drawn_without_a_box(name, without_fonts):
    figure = figure_of(NAMES[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of each glyph that is missing
        figure_uri(figure)
    shown = figure.texts[0].get_text()
    assert shown == NAMES[name] if name in ("Arabic", "mathematics") else shown


def test_letters_that_no_font_has_are_left_out_and_one_line_says_what_to_install(without_fonts, listening):
    said = listening()
    figures = [figure_of(NAMES["Japanese"], "made of 国土地理院 data"), figure_of("北海道")]
    for figure in figures:
        fit_fonts(figure)
    assert [text.get_text() for text in figures[0].texts] == ["…30…", "made of … data"]
    [line] = said
    assert line.endswith("no font here has: East Asian letters; install Noto Sans CJK (Debian, Ubuntu: fonts-noto-cjk)")


def test_a_font_installed_since_matplotlib_made_its_list_is_found(without_fonts, monkeypatch):
    """The font of mathematics that matplotlib brings stands for it: DejaVu Sans lacks its letters."""
    added = font_manager.findfont("STIXGeneral")
    left = [entry for entry in font_manager.fontManager.ttflist if not entry.name.startswith(("STIX", "DejaVu Serif"))]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", left)
    letter = next(chr(code) for code in font_manager.get_font(added).get_charmap() if lacks_dejavu(chr(code)))
    fonts._families.cache_clear()
    monkeypatch.setattr(fonts, "findSystemFonts", lambda: [added])
    figure = figure_of(f"a {letter}")
    fit_fonts(figure)
    assert figure.texts[0].get_text() == f"a {letter}"
    assert "STIXGeneral" in figure.texts[0].get_fontfamily()


def lacks_dejavu(letter):
    return bool(fonts._missed(Text(text=letter))) and letter.isalpha()


def test_labels_of_an_axis_keep_what_was_made_of_them_when_it_is_drawn(without_fonts):
    figure = Figure(figsize=(4, 3))
    axes = figure.add_subplot()
    axes.set_xticks([0, 1], ["平成 a", "b$c$"], parse_math=False)
    figure_uri(figure)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["… a", "b$c$"]


def test_figures_in_latin_letters_stay_as_they_are(caplog):
    figure = figure_of("area [m²] – “Ñandú”, Đà Nẵng", "Ελλάδα")
    before = [(text.get_text(), text.get_fontfamily()) for text in figure.texts]
    with caplog.at_level(logging.INFO):
        fit_fonts(figure)
    assert [(text.get_text(), text.get_fontfamily()) for text in figure.texts] == before
    assert not caplog.records


def test_a_long_title_is_cut_to_one_line_of_what_fits():
    assert cut("a\r\n b\n\nc", 90) == "a b c"
    assert cut("earthquake " * 30, 90) == ("earthquake " * 30)[:89] + "…"
    assert cut("地" * 300, 90) == "地" * 44 + "…"
    assert cut("", 90) == ""


def test_a_long_credit_is_wrapped_and_ends_in_dots():
    assert wrap("地" * 7, 4, 9) == "地地\n地地\n地地\n地"
    assert wrap("made of open data of the agency", 8, 2) == "made of\nopen da…"
    assert all(len(line) <= 20 for line in wrap("words " * 50 + "x" * 90, 20, 99).splitlines())
    assert wrap("words " * 50 + "x" * 90, 20, 99).replace("\n", "").replace(" ", "") == "words" * 50 + "x" * 90
