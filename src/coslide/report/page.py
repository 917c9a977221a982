"""One page about a run that opens anywhere: no network, no script, every text from the data escaped."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff; }
body { max-width: 70rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0.5rem 0; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 0.6rem; border-bottom: 1px solid #ccc; padding-bottom: 0.2rem; }
.lead { font-size: 1.1rem; max-width: 50rem; }
.warning { background: #fff3cd; border-left: 0.4rem solid #b8860b; padding: 0.7rem 1rem; }
.pair { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; flex: 1 1 20rem; }
img { width: 100%; display: block; }
figure:only-child .chart { max-width: 36rem; }
figure:only-child .map { display: inline-block; }
figure:only-child img { width: auto; max-width: 100%; max-height: 46rem; }
.scale { border-bottom: 0.2rem solid #1b1b1b; font-size: 0.85rem; line-height: 1.4; margin-top: 0.2rem; }
.legend { list-style: none; margin: 0.4rem 0 0; padding: 0; display: flex; flex-wrap: wrap; gap: 0.2rem 1rem; }
.swatch { display: inline-block; width: 1.1em; height: 0.8em; margin-right: 0.4em; border: 1px solid #4a4a4a; }
.swatch, .warning { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
ul.points { max-width: 50rem; padding-left: 1.2rem; }
figcaption, .note { color: #4a4a4a; font-size: 0.9rem; margin: 0.3rem 0 1rem; max-width: 50rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 0.25rem 0.9rem 0.25rem 0; border-bottom: 1px solid #e3e3e3; vertical-align: top; }
td.number, th.number { text-align: right; white-space: nowrap; }
footer { margin-top: 3rem; color: #4a4a4a; font-size: 0.85rem; }
@media print {
  body { max-width: none; font-size: 11pt; }
  h2 { break-after: avoid; }
  figure, tr { break-inside: avoid; }
}
"""


# The browser itself is told to load nothing, whatever a text of the data might hold.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class Picture:
    """A picture of a page.

    Attributes
    ----------
    address
        Its data address.
    alt, caption
        What it shows, for those who cannot see it, and the text below it.
    legend
        Colours (``"#rrggbb"``) with what they stand for.
    width_km
        How much ground its width is, for a scale bar; 0 for a picture that is no map.
    """

    address: str
    alt: str
    caption: str = ""
    legend: Sequence[tuple[str, str]] = ()
    width_km: float = 0.0


@dataclass(frozen=True)
class Table:
    """A table of a page; columns named in `numbers` are set to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    numbers: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Section:
    """A part of a page: a heading, pictures side by side, a table, points and a note, as far as there are any."""

    title: str
    note: str = ""
    pictures: Sequence[Picture] = ()
    table: Table | None = None
    points: Sequence[str] = ()


@dataclass(frozen=True)
class Page:
    """A whole page.

    Attributes
    ----------
    title, lead
        Heading, and the paragraph below it that says it all.
    warnings
        What must not be overlooked.
    sections
        In the order in which they are read.
    credit
        Who made the data.
    """

    title: str
    lead: str
    warnings: Sequence[str] = ()
    sections: Sequence[Section] = field(default_factory=list)
    credit: str = ""


def html_page(page: Page) -> str:
    """Return the text of a HTML file. Nothing in it is loaded from elsewhere, and all texts are escaped.

    Examples
    --------
    >>> "&lt;script&gt;" in html_page(Page("<script>", "Nothing happened."))
    True
    """
    parts = [f"<h1>{escape(page.title)}</h1>"]
    parts += [f'<p class="warning" role="note">{escape(text)}</p>' for text in page.warnings]
    parts.append(f'<p class="lead">{escape(page.lead)}</p>')
    parts += [_section(section) for section in page.sections]
    parts.append(f"<footer><p>{escape(page.credit)}</p></footer>" if page.credit else "")
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(page.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        "</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    parts = [f"<section>\n<h2>{escape(section.title)}</h2>"]
    if section.pictures:
        parts.append('<div class="pair">' + "".join(_picture(picture) for picture in section.pictures) + "</div>")
    if section.table:
        parts.append(_table(section.table))
    if section.points:
        points = "".join(f"<li>{escape(point)}</li>" for point in section.points)
        parts.append(f'<ul class="points">{points}</ul>')
    if section.note:
        parts.append(f'<p class="note">{escape(section.note)}</p>')
    return "\n".join([*parts, "</section>"])


def _picture(picture: Picture) -> str:
    image = f'<img src="{escape(picture.address)}" alt="{escape(picture.alt)}">'
    caption = f"<figcaption>{escape(picture.caption)}</figcaption>" if picture.caption else ""
    kind = "map" if picture.width_km else "chart"
    framed = f'<div class="{kind}">{image}{_scale(picture.width_km)}</div>'
    return f"<figure>{framed}{_legend(picture.legend)}{caption}</figure>"


def _scale(width_km: float) -> str:
    """Return a bar as long as a round length on a picture so wide; it grows and shrinks with the picture."""
    if not width_km:
        return ""
    length_km = round_length(width_km / 3)
    label = f"{length_km:g} km" if length_km >= 1 else f"{1000 * length_km:g} m"
    return f'<div class="scale" style="width: {100 * length_km / width_km:.2f}%">{label}</div>'


def _legend(legend: Sequence[tuple[str, str]]) -> str:
    items = "".join(
        f'<li><span class="swatch" style="background: {escape(colour)}"></span>{escape(label)}</li>'
        for colour, label in legend
    )
    return f'<ul class="legend">{items}</ul>' if items else ""


def _table(table: Table) -> str:
    kinds = ["number" if column in table.numbers else "" for column in table.columns]
    head = "".join(_cell("th", name, kind, scope="col") for name, kind in zip(table.columns, kinds, strict=True))
    rows = "".join(f"<tr>{_row(row, kinds)}</tr>\n" for row in table.rows)
    return f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>'


def _row(row: Iterable[object], kinds: Sequence[str]) -> str:
    first, *others = zip(row, kinds, strict=True)
    return _cell("th", *first, scope="row") + "".join(_cell("td", *each) for each in others)


def _cell(tag: str, value: object, kind: str, *, scope: str = "") -> str:
    attributes = (f' scope="{scope}"' if scope else "") + (f' class="{kind}"' if kind else "")
    return f"<{tag}{attributes}>{escape(str(value))}</{tag}>"


def round_length(longest: float) -> float:
    """Return the longest of ..., 1, 2, 5, 10, 20, ... that is not above `longest`, a number above 0.

    Examples
    --------
    >>> round_length(3.9), round_length(0.7), round_length(10)
    (2.0, 0.5, 10.0)
    """
    power = 10.0 ** math.floor(math.log10(longest))
    return float(max(digit * power for digit in (1, 2, 5) if digit * power <= longest))


def percent(share: float) -> str:
    """Return a share as text in percent.

    Examples
    --------
    >>> percent(0.034)
    '3.4 %'
    """
    return f"{100 * share:.1f} %"


def score(values: dict[str, Any], name: str) -> str:
    """Return a score as text with three digits, or a dash where there is none."""
    value = values.get(name)
    return "–" if value is None else f"{value:.3f}"
