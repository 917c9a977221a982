"""What the documentation becomes as a site: links to lines of code, formulas, nothing fetched from the web."""

import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
from mkdocs.config.base import load_config
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

import coslide
from coslide.cube.cube import open_cube
from coslide.simulate.recipe import Recipe

ROOT = Path(__file__).parents[1]
PAGES = sorted(ROOT.glob("docs/*.md"))
HOOKS = runpy.run_path(str(ROOT / "docs" / "hooks.py"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_in_the_repository_is_there(page):
    for name, symbol in HOOKS["linked_files"](page.read_text(encoding="utf-8")):
        assert (ROOT / name).exists(), name
        if symbol:
            assert HOOKS["line_of"]((ROOT / name).read_text(encoding="utf-8"), symbol) > 0


def test_each_decision_where_the_paper_is_silent_links_to_the_code():
    page = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    table = page.partition("## Where the paper is silent")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 20
    assert [row for row in rows if not list(HOOKS["linked_files"](row))] == []


def test_a_symbol_is_found_by_its_name_wherever_it_is_defined():
    code = "A = 1\n\nB: int = 2\n\ndef f():\n    pass\n\n@wrapped\nclass C:\n    x: int = 0\n\n    def f(self): ...\n"
    assert [HOOKS["line_of"](code, name) for name in ("A", "B", "f", "C", "C.x", "C.f")] == [1, 3, 5, 9, 10, 12]
    with pytest.raises(LookupError, match=r"C\.g"):
        HOOKS["line_of"](code, "C.g")


@pytest.fixture(scope="module")
def site():
    """The configuration of the site, and a page of it called ``a/b.md``."""
    config = load_config(str(ROOT / "mkdocs.yml"))
    config.plugins._current_plugin = "hooks"  # as while a site is built
    return config, File.generated(
        config, "a/b.md", content="[a](../src/coslide/grid.py#common_grid) [b](../examples/studies)"
    )


def test_a_link_leads_to_the_line_of_the_listing(site):
    config, page = site
    files = HOOKS["on_files"](Files([page]), config=config)
    turned = HOOKS["on_page_markdown"](page.content_string, page=SimpleNamespace(file=page), files=files)
    line = HOOKS["line_of"]((ROOT / "src/coslide/grid.py").read_text(), "common_grid")
    assert turned == f"[a](../source/src/coslide/grid.py.md#L-{line}) [b](../source/examples/studies.md)"
    listing = files.get_file_from_path("source/src/coslide/grid.py.md").content_string
    shown = re.search(rf'<span id="L-{line}">(.*)', listing)[1]
    assert "common_grid" in shown
    assert files.get_file_from_path("source/examples/studies/nodes.toml.md") is not None


@pytest.mark.parametrize("link", ["../src/coslide/none.py", "../src/coslide/grid.py#none"])
def test_a_link_to_what_is_not_there_ends_the_build(site, link):
    config, _ = site
    page = File.generated(config, "c.md", content=f"[x]({link})")
    files = HOOKS["on_files"](Files([page]), config=config)
    with pytest.raises(PluginError, match=r"c\.md: .*none"):
        HOOKS["on_page_markdown"](page.content_string, page=SimpleNamespace(file=page), files=files)


def test_formulas_become_mathml():
    page = r'<p><span class="arithmatex">\(a &lt; \frac{1}{2}\)</span></p><div class="arithmatex">\[\sum_n x_n\]</div>'
    drawn = HOOKS["mathml"](page)
    assert "arithmatex" not in drawn
    assert drawn.count("<math") == 2
    assert re.search(r"<mfrac>.*<mn>1</mn>.*<mn>2</mn>.*</mfrac>", drawn)
    assert "<mo>&#x0003C;</mo>" in drawn
    assert 'display="block"' in drawn


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://example.org/a.js"></script>',
        '<link rel="stylesheet" href="//example.org/a.css">',
        "@import url(https://example.org/a.css);",
        "src: url('http://example.org/a.woff2')",
    ],
)
def test_a_page_that_fetches_from_the_web_ends_the_build(tmp_path, text):
    (tmp_path / "a.html").write_text(
        '<a href="https://doi.org/1">a source</a><link rel="canonical" href="https://a.b">'
    )
    HOOKS["on_post_build"](config={"site_dir": tmp_path})
    (tmp_path / "b.css").write_text(text)
    with pytest.raises(PluginError, match=r"b\.css: would fetch"):
        HOOKS["on_post_build"](config={"site_dir": tmp_path})


def test_every_public_name_has_its_place_on_the_page_of_python():
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert set(coslide.__all__) - set(re.findall(r"^::: coslide\.(\w+)$", page, re.MULTILINE)) == set()


def check_indices(cube):
    """Compare the tables of the page of indices with the bands of a cube."""
    page = (ROOT / "docs" / "indices.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| `")]
    told = {name: [cell.strip() for cell in row] for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    for band in cube.bands:
        cells = told[band.variable]
        classes = f"class {band.first_class} to {band.classes if band.variable != 'stratum_class' else 'n'}"
        units = {"m-1": "1/m", **({"1": classes} if band.class_names and band.role in {"index", "diagnostic"} else {})}
        assert cells[1] == units.get(band.unit, band.unit), band.name
        if len(cells) == 4:
            assert cells[2] == band.role, band.name


def test_the_page_of_indices_has_every_band_of_a_cube_with_its_unit(made_up_cube):
    check_indices(open_cube(made_up_cube))


@pytest.mark.slow
def test_the_page_of_indices_has_every_band_of_an_event_with_all_sources(tmp_path):
    event = coslide.simulate_event(tmp_path / "event", Recipe(size_km=3.6))
    check_indices(open_cube(coslide.build_cube(coslide.read_event(event), tmp_path / "index.zarr")))
