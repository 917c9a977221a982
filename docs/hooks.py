"""What mkdocs does to the pages of ``docs/``: formulas, links to the code, and pages of files that lie elsewhere.

- A link to a file of the repository, such as ``../src/coslide/grid.py#common_grid``, leads to a page with that file.
  What follows ``#`` is the name of what is defined there, with dots; its line is looked up while the site is built.
- ``$...$`` and ``$$...$$`` become MathML, which browsers draw themselves.
- ``CHANGELOG.md`` and ``CONTRIBUTING.md`` are pages too.
- The build fails where a page would fetch anything from the web.
"""

import ast
import html
import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_for_filename

ROOT = Path(__file__).parents[1]
ELSEWHERE = {"changes.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}
"""Pages that are files of the repository's root."""

_LINK = re.compile(r"(?<=\]\()\.\./([\w./-]+)(?:#([\w.]+))?(?=\))")
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
_FETCHES = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*?\bsrc(?:set)?=["']?(?:https?:)?//[^"'\s>]+"""
    r"""|<link\b(?=[^>]*\brel=["']?(?:stylesheet|icon|preconnect|preload))[^>]*?\bhref=["']?(?:https?:)?//[^"'\s>]+"""
    r"""|(?:url\(|@import)\s*["']?(?:https?:)?//[^)"']+""",
    re.IGNORECASE,
)


def linked_files(text: str) -> Iterator[tuple[str, str]]:
    """List the files of the repository that a page links to, each with the name of what is meant in it, or "".

    Examples
    --------
    >>> list(linked_files("[the grid](../src/coslide/grid.py#common_grid), [studies](../examples/studies)"))
    [('src/coslide/grid.py', 'common_grid'), ('examples/studies', '')]
    """
    for found in _LINK.finditer(text):
        yield found[1], found[2] or ""


def line_of(code: str, name: str) -> int:
    r"""Find the line of Python code in which `name` is defined: a function, a class, a constant, or one in a class.

    Raises
    ------
    LookupError
        If nothing has that name.

    Examples
    --------
    >>> line_of("SIDE_PX = 128\n\n\nclass Tile:\n    def area(self): ...\n", "Tile.area")
    5
    """
    body: list[ast.stmt] = ast.parse(code).body
    line = 0
    for part in name.split("."):
        found = next((node for node in body if part in _names(node)), None)
        if found is None:
            raise LookupError(f"nothing is called {name}")
        line, body = found.lineno, getattr(found, "body", [])
    return line


def mathml(page: str) -> str:
    """Write the formulas of a page, which arithmatex has marked, as MathML."""

    def drawn(found: re.Match[str]) -> str:
        return convert(html.unescape(found[2]).strip(), display="block" if found[1] == "div" else "inline")

    return _FORMULA.sub(drawn, page)


def fetched(text: str) -> list[str]:
    """List what a page or a style sheet would fetch from the web when it is opened; links to follow are not meant.

    Examples
    --------
    >>> fetched('<a href="https://doi.org/1"></a><img src="https://example.org/a.png"><script src="a.js"></script>')
    ['<img src="https://example.org/a.png']
    """
    return [found[0] for found in _FETCHES.finditer(text)]


def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages of files that lie elsewhere, and of those that pages link to."""
    for page, name in ELSEWHERE.items():
        text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    pages = [file for file in files if file.is_documentation_page()]
    for name in sorted({name for page in pages for name, _ in linked_files(page.content_string)}):
        path = ROOT / name
        if path.is_dir():
            listed = [f"- [{one.name}]({path.name}/{one.name}.md)" for one in sorted(path.iterdir()) if one.is_file()]
            _add(files, config, name, f"# {name}\n\n" + "\n".join(listed))
            for one in sorted(path.iterdir()):
                if one.is_file():
                    _add(files, config, f"{name}/{one.name}", _listing(one))
        elif path.is_file():
            _add(files, config, name, _listing(path))
    return files


def on_page_markdown(markdown: str, *, page: Any, files: Files, **_: Any) -> str:
    """Turn links to files of the repository into links to their pages, at the line that is meant."""
    if page.file.src_uri.startswith("source/"):  # what looks like a link there is part of a file
        return markdown

    def to_page(found: re.Match[str]) -> str:
        name, symbol = found[1], found[2]
        target = f"source/{name}.md"
        if files.get_file_from_path(target) is None:
            raise PluginError(f"{page.file.src_uri}: links to {name}, which is not there")
        link = posixpath.relpath(target, posixpath.dirname(page.file.src_uri) or ".")
        try:
            line = line_of((ROOT / name).read_text(encoding="utf-8"), symbol) if symbol else 0
        except LookupError as error:
            raise PluginError(f"{page.file.src_uri}: {name}: {error}") from None
        return f"{link}#L-{line}" if line else link

    return _LINK.sub(to_page, markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Draw the formulas of a page."""
    return mathml(content)


def on_post_build(*, config: Mapping[str, Any]) -> None:
    """Check that nothing of the site is fetched from the web."""
    for path in sorted(Path(config["site_dir"]).rglob("*")):
        if path.suffix in {".html", ".css"} and (found := fetched(path.read_text(encoding="utf-8"))):
            raise PluginError(f"{path}: would fetch {found[0]}")


def _names(node: ast.stmt) -> set[str]:
    """Tell which names a statement defines."""
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    named = {target.id for target in targets if isinstance(target, ast.Name)}
    return named | ({node.name} if isinstance(node, ast.FunctionDef | ast.ClassDef) else set())


def _add(files: Files, config: Any, name: str, text: str) -> None:
    """Add the page of a file of the repository, outside of the navigation and of the search."""
    if files.get_file_from_path(f"source/{name}.md") is None:
        page = f"---\nsearch: {{ exclude: true }}\nhide: [navigation, toc]\n---\n{text}\n"
        files.append(File.generated(config, f"source/{name}.md", content=page, inclusion=InclusionLevel.NOT_IN_NAV))


def _listing(path: Path) -> str:
    """Write a file as a listing, whose line n is the element ``L-n``; of a notebook only what its cells hold."""
    text, name = path.read_text(encoding="utf-8"), path.name
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        mark = {"markdown": "# %% [markdown]\n# ", "code": "# %%\n"}
        sources = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
        text = "\n\n".join(mark[kind] + (one if kind == "code" else one.replace("\n", "\n# ")) for kind, one in sources)
        name = f"{path.stem}.py"
    look = HtmlFormatter(linespans="L", linenos="inline", wrapcode=True, cssclass="highlight listing")
    return f"# {path.relative_to(ROOT)}\n\n{highlight(text, get_lexer_for_filename(name), look)}"
