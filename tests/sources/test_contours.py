"""Contours of shaking: what is taken and what is refused."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
from shapely.geometry import LineString, MultiLineString, Point

from coslide.config.schema import ShakingConfig
from coslide.errors import InputError
from coslide.sources.contours import read_contours

CRS = "EPSG:32654"
LINES = [LineString([(141.8, 42.6), (142.0, 42.8)]), LineString([(141.9, 42.6), (142.1, 42.8)])]
BOXES = [shapely.box(141.8, 42.6, 142.0, 42.8), shapely.box(141.9, 42.7, 141.95, 42.75)]


def read(path, geometry, values=(12.0, 24.0), *, field="value", unit="%g", **columns):
    """Write contours and read them again."""
    gpd.GeoDataFrame({field: values, **columns}, geometry=geometry, crs=4326).to_file(path)
    return read_contours(ShakingConfig(contours=path, unit=unit, contour_field=field), CRS)


@pytest.mark.parametrize(("unit", "values"), [("%g", (12, 24)), ("g", (0.12, 0.24)), ("cm/s2", (117.6798, 235.3596))])
@pytest.mark.parametrize("geometry", [LINES, BOXES])
def test_every_unit_becomes_g_and_every_crs_that_of_the_grid(tmp_path, unit, values, geometry):
    """R27: lines or polygons."""
    found = read(tmp_path / "c.json", geometry, values, unit=unit)
    np.testing.assert_allclose(found["pga_g"], [0.12, 0.24])
    assert found.crs == CRS
    expected = gpd.GeoSeries(geometry, crs=4326).to_crs(CRS).total_bounds
    np.testing.assert_allclose(found.total_bounds, expected, atol=0.01)


def test_parts_of_a_contour_keep_its_value(tmp_path):
    """R27: cont_pga.json has one MultiLineString for each value."""
    found = read(tmp_path / "c.json", [MultiLineString(LINES), LINES[0]])
    assert found["pga_g"].tolist() == [0.12, 0.12, 0.24]
    assert set(found.geom_type) == {"LineString"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"field": "PGA", "unit": "g", "values": (0.12, 24)},
            "found PGA from 0.12 to 24 g with unit 'g', expected values above 0",
        ),
        ({"values": (0, 12)}, "found PGA from 0 to 0.12 g"),
        ({"values": ("a", "b")}, "field 'value' holds something that is no number"),
        ({"units": "cm/s"}, "found units cm/s, expected '%g' as in shaking.unit"),
        ({"units": "g"}, "found units g, expected '%g'"),
        ({"geometry": [LINES[0], BOXES[0]]}, "found LineString and Polygon, expected either lines or polygons"),
        ({"geometry": [Point(142, 42.7), Point(142, 42.8)]}, "found Point, expected either lines or polygons"),
    ],
)
def test_contours_that_cannot_be_used_are_refused(tmp_path, options, message):
    """R27: unknown units, PGV for PGA, and so on, in one line."""
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path / "c.json", **{"geometry": LINES, **options})
    assert "\n" not in str(caught.value)


def test_the_unit_that_the_features_state_may_have_another_name(tmp_path):
    """R27: pctg is %g."""
    np.testing.assert_allclose(read(tmp_path / "c.json", LINES, units="pctg")["pga_g"], [0.12, 0.24])


def test_a_field_that_is_not_there_is_named(tmp_path):
    """With those that are."""
    read(tmp_path / "c.json", LINES)
    with pytest.raises(InputError, match=r"c.json: has no field 'PGA'; found value"):
        read_contours(ShakingConfig(contours=tmp_path / "c.json", unit="%g", contour_field="PGA"), CRS)


def test_a_shapefile_of_hazus_is_refused(tmp_path):
    """R27: it looks like that of shape.zip, but its shaking is scaled down; shape.zip has intensity beside it."""
    with pytest.raises(InputError, match=r"pga.shp: may be one of the HAZUS shapefiles, which are scaled down by 15 %"):
        read(tmp_path / "pga.shp", BOXES, field="PARAMVALUE")
    gpd.GeoDataFrame({"PARAMVALUE": [5.0]}, geometry=BOXES[:1], crs=4326).to_file(tmp_path / "mi.shp")
    np.testing.assert_allclose(read(tmp_path / "pga.shp", BOXES, field="PARAMVALUE")["pga_g"], [0.12, 0.24])
    (tmp_path / "hazus").mkdir()
    with pytest.raises(InputError, match="contours.shp: may be one of the HAZUS shapefiles"):
        read(tmp_path / "hazus" / "contours.shp", BOXES, field="PARAMVALUE")
