"""Vector files of a simulation do not depend on when they are written."""

import time

import geopandas as gpd
import pyogrio
from shapely import box

from coslide.simulate.vectors import write_gpkg


def test_a_geopackage_is_the_same_to_the_byte_a_second_later(tmp_path):
    """GeoPackage notes the time of its last change, to the millisecond."""
    table = gpd.GeoDataFrame({"age": ["D1", "T3"]}, geometry=[box(0, 0, 1, 1), box(1, 0, 2, 1)], crs=32659)
    written = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        written.append(write_gpkg(table, tmp_path / name / "geology.gpkg").read_bytes())
        time.sleep(0.01)
    assert written[0] == written[1]


def test_a_geopackage_that_is_replaced_leaves_no_trace(tmp_path):
    many = gpd.GeoDataFrame({"age": ["D1"] * 500}, geometry=[box(i, 0, i + 1, 1) for i in range(500)], crs=32659)
    fresh = write_gpkg(many[:3], tmp_path / "geology.gpkg").read_bytes()
    write_gpkg(many, tmp_path / "geology.gpkg")
    assert write_gpkg(many[:3], tmp_path / "geology.gpkg").read_bytes() == fresh


def test_what_gdal_takes_for_now_is_left_as_it_was(tmp_path):
    write_gpkg(gpd.GeoDataFrame(geometry=[box(0, 0, 1, 1)], crs=32659), tmp_path / "one.gpkg")
    assert pyogrio.get_gdal_config_option("OGR_CURRENT_DATE") is None
