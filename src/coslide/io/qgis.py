"""How QGIS draws a raster or a layer: the style that it looks for beside the file, or in it."""

from collections.abc import Mapping
from html import escape
from pathlib import Path

import pandas as pd
import pyogrio

from coslide.io.atomic import whole_output

Colours = Mapping[float, tuple[int, int, int, int]]
"""(red, green, blue, opacity), each 0 to 255, of values."""

_HEAD = (
    '<!DOCTYPE qgis PUBLIC "http://mrcc.com/qgis.dtd" "SYSTEM">\n<qgis version="3.22.0" styleCategories="Symbology">\n'
)
_BAND = 'band="1" opacity="1" alphaBand="-1" nodataColor=""'


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


def write_layer_style(package: Path, layer: str, style: str, *, about: str) -> None:
    """Write a style of QGIS into a GeoPackage, where QGIS looks for that of a layer: the table ``layer_styles``.

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
    pyogrio.write_dataframe(table, package, layer="layer_styles", driver="GPKG", layer_options={"FID": "id"})
