"""How a geographic information system draws the inventory: a style stored in the GeoPackage itself."""

from xml.sax.saxutils import quoteattr

import pandas as pd

# Outlines stay visible on a scene; the surer the map is of a landslide, the darker. Orange of Okabe and Ito (2008).
_CLASSES = ((0.0, 0.6, "254,224,182"), (0.6, 0.8, "230,159,0"), (0.8, 1.0, "179,88,6"))
_ATTRIBUTE = "probability_mean"
_NAME = "probability"


def style_table(layer: str) -> pd.DataFrame:
    """Return the row of the table ``layer_styles``, in which QGIS looks for the style of a layer of a GeoPackage.

    Parameters
    ----------
    layer
        Name of the layer, a column of polygons called ``geom``.
    """
    return pd.DataFrame(
        {
            "f_table_catalog": [""],
            "f_table_schema": [""],
            "f_table_name": [layer],
            "f_geometry_column": ["geom"],
            "styleName": [_NAME],
            "styleQML": [qml()],
            "styleSLD": [""],
            "useAsDefault": [True],
            "description": ["landslides by their mean probability"],
            "owner": [""],
        }
    )


def qml() -> str:
    """Return the style as QGIS writes it: three classes of mean probability, half transparent, with an outline."""
    ranges, symbols = [], []
    for number, (low, high, colour) in enumerate(_CLASSES):
        label = f"{low:g} to {high:g}"
        ranges.append(f'<range lower="{low}" upper="{high}" symbol="{number}" label={quoteattr(label)} render="true"/>')
        options = {
            "color": f"{colour},140",
            "outline_color": "120,50,0,255",
            "outline_width": "0.3",
            "outline_width_unit": "MM",
            "outline_style": "solid",
            "style": "solid",
        }
        inner = "".join(f'<Option type="QString" name="{key}" value="{value}"/>' for key, value in options.items())
        symbols.append(
            f'<symbol type="fill" name="{number}" alpha="1"><layer class="SimpleFill" enabled="1" pass="0">'
            f'<Option type="Map">{inner}</Option></layer></symbol>'
        )
    return (
        '<!DOCTYPE qgis PUBLIC "http://mrcc.com/qgis.dtd" "SYSTEM">'
        '<qgis version="3.22.0" styleCategories="Symbology">'
        f'<renderer-v2 type="graduatedSymbol" attr="{_ATTRIBUTE}" graduatedMethod="GraduatedColor" symbollevels="0">'
        f"<ranges>{''.join(ranges)}</ranges><symbols>{''.join(symbols)}</symbols></renderer-v2></qgis>"
    )
