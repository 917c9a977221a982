"""The page of a run: nothing from elsewhere, nothing unescaped, every picture described."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from importlib.resources import files
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from coslide.evaluation.assessment import assess_tally, compare_tally
from coslide.evaluation.scores import NetworkDiagnostics
from coslide.evaluation.scoring import Baseline, ScoredMap, score
from coslide.evaluation.stratified import Tally
from coslide.evaluation.unlabelled import ExpectedScores
from coslide.pipeline.evaluate import COLUMNS
from coslide.pipeline.report import Picture
from coslide.report.assets import page_assets, script_json
from coslide.report.page import render, score_text

EVIL = '<script>alert("x")</script> & "quoted"'
FILES = {"index.zarr", "probability.tif", "metrics.json", "training", "run.json"}
NOTHING = {
    "title": "Event", "files": FILES, "cube": None, "time": None, "scores": None, "map": None,
    "model": None, "assessment": None,
    "scenes": {}, "bands": [], "loss": None, "vital_signs": [], "sizes": {}, "charts": {}, "version": "1", "cost": {},
    "map_data": None, "page": page_assets(None), "inputs": [], "absent": [], "sources": [], "told": [],
    "bibtex": "", "largest": [],
}  # fmt: skip
MAP_DATA = {"thresholds": {"mapped": 5, "judged": 100}, "shapes": {"mapped": {"columns": {"name": [EVIL]}}}}


def scores_of(**options):
    random = np.random.default_rng(0)
    probability, labels = random.random((300, 300)).astype(np.float32), (random.random((300, 300)) < 0.2).astype("u1")
    seen = np.zeros(labels.shape, np.uint8)
    baselines = {"random forest": Baseline(probability, 0.5), EVIL: Baseline(probability[::-1].copy(), 0.7)}
    return score([ScoredMap(EVIL, probability, labels, seen, 10.0, baselines=baselines, **options)])


class EvilCube:
    attrs = MappingProxyType({"credit": EVIL, "simulated": 1, "history": EVIL})
    bands = ()

    def __contains__(self, band):
        return False


def assessed():
    labels = np.zeros((4, 4, 2), np.int64)
    labels[0, 3], labels[1:, 0] = (3, 7), (9, 1)
    pair = Tally(labels, labels.sum(axis=2) * 100)
    found = assess_tally(Tally(labels[:, ::3], pair.pixels[:, ::3]), [(1, 2)] * 4, pixel_km2=1e-4, map_sha256="")
    return found.model_copy(update={"comparison": compare_tally(pair, EVIL, pixel_km2=1e-4)})


EXPECTED = ExpectedScores(precision=0.5, recall=0.25, f1=0.33, landslide_share=0.02)
SOURCE = SimpleNamespace(expected=EXPECTED, model=SimpleNamespace(threshold_of="scene", threshold=0.4))


def evil_run():
    picture = Picture("data:image/png;base64,AAAA", EVIL, EVIL, [("#112233", EVIL)], 9.0)
    grid = GeoBox((3, 3), Affine(10, 0, 0, 0, -10, 0), "EPSG:32654")
    band = {"band": EVIL, "unit": EVIL, "valid_share": 1, "smallest": 0, "largest": 1, "source": [EVIL] * 3}
    adapted = SimpleNamespace(event=EVIL, tiles=5, steps=900, indices=[EVIL])
    own = {"card": SimpleNamespace(name=EVIL, limits=EVIL), "events": [""], "adapted": adapted}
    model = SimpleNamespace(network=EVIL, options={}, settings={}, coslide_version=EVIL, citation=EVIL, **own)
    charts = dict.fromkeys(("precision_recall", "reliability", "roc", "recall_by_size"), picture)
    signs = NetworkDiagnostics(average_precision=0.5, windows=3, depths=[{"depth": 1, "kernel_spread": 0.01}])
    return NOTHING | {
        "title": EVIL, "cube": EvilCube(), "scores": scores_of(), "assessment": assessed(),
        "map": SimpleNamespace(threshold=0.5, pixel_size_m=10.0, grid=grid, metadata=SOURCE),
        "model": model,
        "scenes": {EVIL: [picture]}, "bands": [band], "charts": charts, "loss": picture,
        "vital_signs": [(signs, picture)],
        "maps": [picture] * 2, "probability": picture, "framed": True,
        "mapped_km2": 9.0, "nodata_share": 0.1, "areas_m2": [100.0, 300.0], "summary": picture,
        "sizes": {EVIL: np.array([100.0, 300.0])}, "size_chart": picture,
        "map_data": MAP_DATA, "page": page_assets(MAP_DATA), "inputs": [[EVIL] * 4], "absent": [EVIL], "told": [EVIL],
        "sources": [[EVIL, EVIL, EVIL, "javascript:alert(1)"]],
        "bibtex": EVIL, "largest": [(0, picture)], "largest_text": EVIL,
    }  # fmt: skip


@pytest.fixture(scope="module")
def page():
    return render("report.html.j2", run=evil_run())


class _Reader(HTMLParser):
    """Collects the tags of a page with their attributes, and checks that they are closed in order."""

    VOID = ("meta", "img", "input", "br")

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


def test_the_page_tells_that_a_model_was_adapted(page):
    assert "by 5 labelled tiles in 900 steps, without flips, relighting and TTA; fed besides: " in page
    assert "training before that" in page


def test_texts_of_the_data_cannot_become_tags(page):
    tags = read(page)
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL)
    own = [str(text) for _, text in page_assets(MAP_DATA).scripts]
    assert scripts == [scripts[0], *own]
    assert json.loads(scripts[0]) == MAP_DATA
    assert "<" not in scripts[0]
    assert len([tag for tag, _ in tags if tag == "script"]) == len(scripts)
    assert page.count("&lt;script&gt;") > 25
    assert next(attrs["alt"] for tag, attrs in tags if tag == "img") == EVIL


def test_nothing_is_loaded_from_elsewhere(page):
    tags = read(page)
    for _, attrs in tags:
        for name in ("src", "href"):
            assert attrs.get(name, "data:").startswith("data:")
    assert not {"link", "iframe", "object", "embed", "base", "form action"} & {tag for tag, _ in tags}
    style = re.search(r"<style>(.*)</style>", page, re.DOTALL)[1]
    assert "@import" not in style
    assert set(re.findall(r"url\(.(\w+):", style)) <= {"data"}
    policy = next(attrs["content"] for tag, attrs in tags if attrs.get("http-equiv"))
    allowed = dict(one.split(" ", 1) for one in policy.split("; "))
    assert allowed["default-src"] == "'none'"  # so nothing is fetched, sent, or shown in a frame
    assert set(allowed) == {"default-src", "script-src", "worker-src", "img-src", "style-src"}


def test_the_browser_is_told_to_run_the_scripts_of_coslide_alone(page):
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    allowed = re.search(r"script-src ([^;]*);", policy.replace("&#39;", "'"))[1].split(" ")
    scripts = re.findall(r"<script(?: type=\"module\")?>(.*?)</script>", page, re.DOTALL)
    digests = [hashlib.sha256(text.encode()).digest() for text in scripts]
    assert allowed == [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]
    assert len(scripts) == 3


def test_no_text_in_the_data_of_the_map_can_end_its_element():
    found = script_json({"a": "</script><!--<script>", "b": [1.5, None]})
    assert "<" not in found
    assert json.loads(found) == {"a": "</script><!--<script>", "b": [1.5, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        script_json([float("nan")])


def test_the_library_of_the_map_is_whole_and_its_licence_in_the_page(page):
    assert "MapLibre contributors" in page
    assert "BSD" in page
    assert all("</script" not in text for _, text in page_assets(MAP_DATA).scripts)
    folder = files("coslide.report").joinpath("maplibre")
    listed = re.findall(r"([0-9a-f]{64})  (\S+)", folder.joinpath("README.md").read_text())
    assert [name for _, name in listed] == ["maplibre-gl.js", "maplibre-gl.css"]
    for digest, name in listed:  # unchanged, as npm has it
        assert hashlib.sha256(folder.joinpath(name).read_bytes()).hexdigest() == digest


def test_headings_come_in_order_and_table_heads_have_a_scope(page):
    tags = read(page)
    headings = [tag for tag, _ in tags if tag in {"h1", "h2", "h3"}]
    assert headings[:3] == ["h1", "h2", "h3"]
    assert set(headings[3:]) == {"h2"}
    assert len(headings) > 12
    assert {attrs["scope"] for tag, attrs in tags if tag == "th"} == {"col", "row"}


def test_what_is_missing_leaves_no_trace():
    text = render("report.html.j2", run=NOTHING)
    read(text)
    assert text.count("<section>") == 3  # how it came about, how to cite, and that no model is there
    assert "<li>model: network and settings</li>" in text
    assert "<footer>" not in text
    assert 'class="warning"' not in text
    assert "MapLibre" not in text
    assert "No map of landslides has been made yet." in text


def test_every_score_of_the_model_and_the_baselines_stands_in_the_table(page):
    found = scores_of()
    for one in (found.pixels, *found.baselines.values()):
        for name in ("f1", "precision", "recall", "iou_landslide", "average_precision", "oa", "kappa"):
            assert f'<td class="number">{getattr(one, name):.3f}</td>' in page
    low, high = found.pixels.intervals["f1"]
    assert f"{low:.2f} to {high:.2f}" in page
    assert f"{found.calibration.ece:.3f}" in page


@pytest.mark.parametrize(
    ("width_km", "label", "share"), [(9.0, "2 km", 22.22), (1.0, "200 m", 20.0), (66.0, "20 km", 30.3)]
)
def test_the_scale_bar_is_as_long_as_its_label(width_km, label, share):
    text = render("report.html.j2", run=NOTHING | {"loss": Picture("data:,", "map", width_km=width_km)})
    assert f'<div class="scale" style="width: {share:.2f}%">{label}</div>' in text


def test_texts_have_enough_contrast(page):
    """WCAG 2.1, 1.4.3: a contrast of at least 4.5."""

    def luminance(colour):
        colour = "".join(2 * digit for digit in colour) if len(colour) == 3 else colour
        parts = np.array([int(colour[k : k + 2], 16) / 255 for k in (0, 2, 4)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    style = re.search(r"<style>(.*)</style>", page, re.DOTALL)[1]
    themes = [dict(re.findall(r"--(\w+): #(\w+)", rule)) for rule in re.findall(r"\{([^{}]*--text:[^{}]*)\}", style)]
    assert len(themes) == 4  # light, dark by the button, dark by the system, paper
    assert themes[1] == themes[2]
    for theme in themes:
        backgrounds = [theme[name] for name in ("page", "warning", "field") if name in theme]
        for text in ("text", "faint"):
            for background in backgrounds:
                light, dark = sorted((luminance(theme[text]), luminance(background)), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_tables_of_markdown_keep_their_columns_whatever_a_place_is_called():
    found = scores_of()
    found = found.model_copy(update={"events": {"one | two": found.pixels}})
    text = render("metrics.md.j2", found=found, columns=COLUMNS, rates={"f1": "F1"}, smallest_px=8)
    assert f"| one / two | {found.pixels.f1:.4f} |" in text
    assert "| events | F1 |\n|---|---|\n" in text
    assert f"| model | {found.pixels.f1:.4f} | {found.pixels.precision:.4f} |" in text


def test_a_score_that_is_missing_is_a_dash():
    assert score_text(0.12345) == "0.123"
    assert score_text(None) == "–"
