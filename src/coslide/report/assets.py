"""What a page holds besides its texts: style, scripts and data, and the policy by which a browser runs nothing else."""

import base64
import hashlib
import json
from importlib.resources import files
from typing import Any, NamedTuple

from markupsafe import Markup

_OWN = ("map_places.js", "map_pictures.js", "map_view.js", "map_panel.js", "map_start.js")


class PageAssets(NamedTuple):
    """What goes into a page as it is.

    Attributes
    ----------
    style
        CSS.
    scripts
        The ``type`` of each script (empty for a classic one) and its text, in the order in which they run.
    data
        What the map shows, as JSON that cannot end its script element.
    policy
        Content-Security-Policy: nothing is loaded or sent, and only these very scripts run.
    licence
        Of the library that draws the map.
    """

    style: Markup
    scripts: list[tuple[str, Markup]]
    data: Markup
    policy: str
    licence: str


def page_assets(map_data: dict[str, Any] | None) -> PageAssets:
    """Gather style, scripts and data of a page.

    Parameters
    ----------
    map_data
        What its map shows (`coslide.pipeline.report_map.map_content`); None for a page without a map.
    """
    style, scripts, licence = [_read("report.css")], [("module", _read("page.js"))], ""
    if map_data is not None:
        style.insert(0, _read("maplibre/maplibre-gl.css"))
        own = "".join(_read(name) for name in _OWN)
        scripts = [("", _read("maplibre/maplibre-gl.js")), *scripts, ("module", own)]
        licence = _read("maplibre/LICENSE.txt")
    hashes = " ".join(f"'sha256-{_hash(text)}'" for _, text in scripts)
    # The library runs a copy of itself as a worker, from a blob; its pictures of controls are data addresses.
    policy = (
        f"default-src 'none'; script-src {hashes}; worker-src blob:; img-src data: blob:; style-src 'unsafe-inline'"
    )
    safe = [(kind, Markup(text)) for kind, text in scripts]  # noqa: S704 - files of coslide itself
    return PageAssets(Markup("\n".join(style)), safe, script_json(map_data), policy, licence)  # noqa: S704


def script_json(content: object) -> Markup:
    r"""Write JSON that can stand in a script element: no text of it can end the element or begin another.

    Examples
    --------
    >>> print(script_json({"name": "</script><b>"}))
    {"name":"\u003c/script>\u003cb>"}
    """
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))  # noqa: S704 - without "<" there is no tag


def _read(name: str) -> str:
    return files("coslide.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
