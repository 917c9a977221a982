"""Jinja templates, from which the documents that people and other programs read are filled in."""

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape


def templates_of(folder: str) -> Environment:
    """Open the templates that lie in a folder of coslide; in HTML and XML every text is escaped.

    Parameters
    ----------
    folder
        Such as ``"report"``; a template is named in it as ``"metrics.md.j2"``.

    Examples
    --------
    >>> templates_of("simulate").get_template("inspire.xml.j2").name
    'inspire.xml.j2'
    """
    return Environment(
        loader=PackageLoader("coslide", folder),
        autoescape=select_autoescape(["html.j2", "xml.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
