"""How QGIS draws a raster or a layer: the style that it looks for beside the file, or in it; and projects of layers."""

import itertools
import re
import zipfile
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import tostring

import pandas as pd
import pyogrio
from defusedxml.ElementTree import fromstring
from odc.geo.geobox import GeoBox
from pyproj import CRS

from coslide.io.atomic import whole_output
from coslide.io.templates import templates_of

Colours = Mapping[float, tuple[int, int, int, int]]
"""(red, green, blue, opacity), each 0 to 255, of values."""

_HEAD = (
    '<!DOCTYPE qgis PUBLIC "http://mrcc.com/qgis.dtd" "SYSTEM">\n<qgis version="3.22.0" styleCategories="Symbology">\n'
)
_BAND = 'band="1" opacity="1" alphaBand="-1" nodataColor=""'
_TEMPLATES = templates_of("io")
_NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]")
_ZIPPED = (1980, 1, 1, 0, 0, 0)  # the earliest date of a ZIP file: equal projects give equal bytes


class Outline(NamedTuple):
    """How lines, or the outlines of polygons, are drawn.

    Attributes
    ----------
    colour
        (red, green, blue), each 0 to 255.
    width_mm
        Of the line.
    dashed
        Whether it is broken.
    bordered
        Whether it has a white border, which makes it stand out; many small shapes would become one white.
    label
        Expression of QGIS that gives the text along each line; empty for none.
    """

    colour: tuple[int, int, int]
    width_mm: float
    dashed: bool = False
    bordered: bool = True
    label: str = ""


class ProjectLayer(NamedTuple):
    """A layer of a project.

    Attributes
    ----------
    name, about
        What people call it, and what it shows.
    source
        A file beside the project: a raster, or ``FILE|layername=LAYER``.
    style
        As QGIS writes it (QML); empty for what QGIS does with such a raster by itself.
    group
        Heading above it.
    shown
        Whether it is drawn when the project is opened.
    """

    name: str
    about: str
    source: str
    style: str
    group: str
    shown: bool

    @property
    def id(self) -> str:
        """Identifies the layer in its project."""
        return re.sub(r"\W", "_", self.source)


def write_raster_style(path: Path, colours: Colours, *, names: Mapping[float, str] | None = None) -> Path:
    """Write the colours of the first band of a raster as a style of QGIS, ``.qml`` beside it, whole or not at all.

    Parameters
    ----------
    path
        The raster.
    colours
        Of its classes; or else of some values from the smallest to the largest, between which colours are mixed.
    names
        Of the classes, each with a colour; None where the values are no classes.

    Returns
    -------
    Path
        Of the style.

    Raises
    ------
    InputError
        If it cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> style = write_raster_style(Path(tempfile.mkdtemp()) / "a.tif", {1: (230, 159, 0, 255)}, names={1: "train"})
    >>> style.name, '<paletteEntry value="1" color="#e69f00" alpha="255" label="train"/>' in style.read_text()
    ('a.qml', True)
    """
    entries = "\n".join(
        f'<{"item" if names is None else "paletteEntry"} value="{value:g}" color="#{red:02x}{green:02x}{blue:02x}" '
        f'alpha="{alpha}" label="{escape((names or {}).get(value, f"{value:.3g}"))}"/>'
        for value, (red, green, blue, alpha) in colours.items()
    )
    if names is None:
        low, high = min(colours), max(colours)
        shader = f'colorRampType="INTERPOLATED" classificationMode="1" minimumValue="{low:g}" maximumValue="{high:g}"'
        renderer = f'type="singlebandpseudocolor" classificationMin="{low:g}" classificationMax="{high:g}"'
        entries = f"<rastershader>\n<colorrampshader {shader}>\n{entries}\n</colorrampshader>\n</rastershader>"
    else:
        renderer, entries = 'type="paletted"', f"<colorPalette>\n{entries}\n</colorPalette>"
    style = f"{_HEAD}<pipe>\n<rasterrenderer {renderer} {_BAND}>\n{entries}\n</rasterrenderer>\n</pipe>\n</qgis>\n"
    with whole_output(path.with_suffix(".qml")) as part:
        part.write_text(style, encoding="utf-8")
    return path.with_suffix(".qml")


def outline_style(outline: Outline, *, polygons: bool) -> str:
    """Write how lines, or the outlines of polygons, are drawn as a style of QGIS (QML)."""
    kind = "fill" if polygons else "line"
    return _TEMPLATES.get_template("outline.xml.j2").render(outline=outline, kind=kind)


def write_layer_style(package: Path, layer: str, style: str, *, about: str) -> None:
    """Add a style of QGIS to a GeoPackage, where QGIS looks for that of a layer: the table ``layer_styles``.

    Parameters
    ----------
    package, layer
        The GeoPackage, and its layer, whose column of shapes is ``geom``.
    style
        As QGIS writes it (QML).
    about
        What is drawn, for people.
    """
    place = {"f_table_catalog": "", "f_table_schema": "", "f_table_name": layer, "f_geometry_column": "geom"}
    named = {"styleName": layer, "styleQML": style, "styleSLD": "", "useAsDefault": True}
    recorded = {"ui": "", "update_time": pd.Timestamp.now("UTC")}  # QGIS ignores a style without them
    table = pd.DataFrame([{**place, **named, "description": about, "owner": "", **recorded}])
    there = "layer_styles" in pyogrio.list_layers(package)[:, 0]
    options = {} if there else {"layer_options": {"FID": "id"}}
    pyogrio.write_dataframe(table, package, layer="layer_styles", driver="GPKG", append=there, **options)


def write_project(path: Path, layers: Sequence[ProjectLayer], grid: GeoBox, *, title: str) -> None:
    """Write a project of QGIS, ``.qgz``, whole or not at all; QGIS need not be there.

    Addresses in it are relative, so that a folder can be moved or sent. Equal layers give equal bytes.

    Parameters
    ----------
    path
        Of the project, in the folder of its files.
    layers
        From the uppermost to the lowest; those of one group follow each other.
    grid
        Its CRS is that of the project and of all layers, and its bounds are what is seen first.
    title
        Of the project.

    Raises
    ------
    InputError
        If it cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from affine import Affine
    >>> path, grid = Path(tempfile.mkdtemp()) / "a.qgz", GeoBox((2, 3), Affine(10, 0, 0, 0, -10, 20), "EPSG:32648")
    >>> write_project(path, [ProjectLayer("Hills", "shade", "hills.tif", "", "Terrain", True)], grid, title="A & B")
    >>> with zipfile.ZipFile(path) as archive:
    ...     archive.namelist(), "<title>A &amp; B</title>" in archive.read("a.qgs").decode()
    (['a.qgs'], True)
    """
    crs = CRS.from_user_input(str(grid.crs))
    text = _TEMPLATES.get_template("project.xml.j2").render(
        title=_NOT_IN_XML.sub("", title),
        groups=[(name, list(members)) for name, members in itertools.groupby(layers, key=lambda one: one.group)],
        layers=[(layer, *_parts_of(layer.style)) for layer in layers],
        wkt=crs.to_wkt(),
        authority=":".join(crs.to_authority() or ()),
        geographic=str(crs.is_geographic).lower(),
        bounds=grid.boundingbox,
    )
    with whole_output(path) as part, zipfile.ZipFile(part, "w") as archive:
        entry = zipfile.ZipInfo(f"{path.stem}.qgs", _ZIPPED)
        archive.writestr(entry, text, zipfile.ZIP_DEFLATED)


def _parts_of(style: str) -> tuple[str, str]:
    """Take what a style says of a layer, and whether it has labels, "1" or "0"."""
    if not style:
        return "", "0"
    root = fromstring(style)
    return "".join(tostring(part, encoding="unicode") for part in root), root.get("labelsEnabled", "0")
