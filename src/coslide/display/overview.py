"""What a result is, in a few lines: its `repr`, and the same with tables and a small picture for a notebook."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from coslide.errors import one_line

Row = Sequence[str]


class Overview(NamedTuple):
    """What a console and a notebook say of a result.

    Attributes
    ----------
    name
        What it is of, such as the earthquake.
    facts
        What there is to say, each by its name; empty ones are left out.
    tables
        What a notebook folds away below, by title: rows, of which the first has the headings.
    """

    name: str
    facts: Mapping[str, str]
    tables: Mapping[str, Sequence[Row]]


class Shown:
    """A base of results: shown by its `overview`, never by all that it holds.

    Examples
    --------
    >>> class Count(Shown):
    ...     def overview(self):
    ...         return Overview("landslides", {"mapped": "12", "missed": ""}, {})
    >>> Count()
    <Count 'landslides'>
      mapped  12
    """

    def overview(self) -> Overview:
        """Say what this is; a class says it in its own words."""
        raise NotImplementedError

    def thumbnail(self) -> str:
        """Draw a small picture as a data address; empty where there is none, or drawing it would take long."""
        return ""

    def __repr__(self) -> str:
        """Write the overview as text, for a console."""
        name, facts, _ = self.overview()
        given = {key: one_line(text) for key, text in facts.items() if text}
        width = max(map(len, given), default=0)
        lines = [f"  {key:{width}}  {text}" for key, text in given.items()]
        return "\n".join([f"<{type(self).__name__}{f' {one_line(name)!r}' if name else ''}>", *lines])

    def __str__(self) -> str:
        """Write the same: pydantic's own would list all that it holds."""
        return repr(self)

    def _repr_html_(self) -> str:
        """Write the overview for a notebook; every text is escaped."""
        from coslide.io.templates import templates_of

        name, facts, tables = self.overview()
        content = {
            "kind": type(self).__name__,
            "name": one_line(name),
            "facts": {key: one_line(text) for key, text in facts.items() if text},
            "tables": {title: [[one_line(text) for text in row] for row in rows] for title, rows in tables.items()},
            "picture": self.thumbnail(),
        }
        return templates_of("display").get_template("overview.html.j2").render(content)


def share_text(share: float) -> str:
    """Write a share in percent; it is neither 0 nor 100 where it is not exactly that.

    Examples
    --------
    >>> share_text(0.943), share_text(0.002), share_text(0.9999), share_text(1.0)
    ('94 %', '<1 %', '>99 %', '100 %')
    """
    if 0 < share < 0.01:
        return "<1 %"
    return ">99 %" if 0.99 < share < 1 else f"{100 * share:.0f} %"


def grid_text(shape: Sequence[int], pixel_size_m: float, crs: object) -> str:
    """Write the size of a grid, (row, col), and where it is.

    Examples
    --------
    >>> grid_text((300, 400), 10.0, "EPSG:32654")
    '400 x 300 pixels of 10 m (4 x 3 km), EPSG:32654'
    """
    rows, columns = shape
    km = [f"{length * pixel_size_m / 1000:.3g}" for length in (columns, rows)]
    return f"{columns} x {rows} pixels of {pixel_size_m:g} m ({' x '.join(km)} km), {crs}"
