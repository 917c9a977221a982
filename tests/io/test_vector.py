"""Vector files are written with geopandas or by hand, and compared with what was written."""

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pyproj
import pytest
import shapely
import shapely.affinity
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pydantic import ValidationError
from rasterio.transform import Affine
from shapely.geometry import GeometryCollection, LineString, MultiPolygon, Point, Polygon, box

from coslide.config.schema import GridConfig, InventoryConfig
from coslide.config.training import SplitSettings
from coslide.errors import InputError
from coslide.io.shapes import LINES, POLYGONS
from coslide.io.vector import (
    VectorFile,
    as_text,
    encoding_hint,
    field_as_text,
    of_kind,
    quote_list,
    read_polygons,
    read_vector,
)

UTM = "EPSG:32654"
GRID = GeoBox((40, 50), Affine(10, 0, 500000, 0, -10, 4700000), UTM)
SQUARES = [box(500100, 4699700, 500300, 4699900), box(500310, 4699710, 500340, 4699760)]
BOWTIE = Polygon([(500000, 4699600), (500200, 4699800), (500200, 4699600), (500000, 4699800)])


def frame_of(geometry, crs=UTM):
    return gpd.GeoDataFrame({"unit": [f"u{i}" for i in range(len(geometry))]}, geometry=geometry, crs=crs)


def save(path, geometry, crs=UTM, **options):
    frame_of(geometry, crs).to_file(path, **options)
    return path


@pytest.mark.parametrize("name", ["v.gpkg", "v.geojson", "v.shp", "v.fgb", "v.kml", "v.gml", "v.parquet"])
def test_every_format_gives_the_same_polygons(tmp_path, name):
    path = tmp_path / name
    degrees = frame_of(SQUARES).to_crs(4326)
    degrees.to_parquet(path) if name.endswith("parquet") else degrees.to_file(path, engine="pyogrio")
    found = read_vector(path, UTM, what="squares")
    order = np.argsort(-found.area.to_numpy())  # FlatGeobuf sorts features by place
    for shape, expected in zip(found.geometry.iloc[order], SQUARES, strict=True):
        assert shape.symmetric_difference(expected).area < 1.0
    assert found.crs == UTM


@pytest.mark.skipif("KML" not in pyogrio.list_drivers(), reason="this GDAL has no KML")
def test_heights_are_dropped(tmp_path):
    path = save(tmp_path / "v.kml", [LineString([(141, 42, 700), (141.001, 42, 800)])], crs=4326)
    (line,) = read_vector(path, UTM, what="lines").geometry
    assert not line.has_z


def test_the_index_is_the_number_of_the_feature_in_the_file(tmp_path):
    path = save(tmp_path / "v.gpkg", [Polygon(), SQUARES[0], None, SQUARES[1]])
    assert read_vector(path, UTM, what="squares").index.to_list() == [1, 3]


def test_an_edge_along_a_parallel_stays_on_the_parallel(tmp_path):
    """An edge of one degree would be 100 m off in its middle, if only its ends were reprojected."""
    path = save(tmp_path / "v.gpkg", [box(140.5, 42, 141.5, 43)], crs=4326)
    (shape,) = read_vector(path, UTM, what="the area").geometry
    to_metres = pyproj.Transformer.from_crs(4326, UTM, always_xy=True)
    middle = Point(to_metres.transform(141.0, 42.0))
    assert shape.exterior.distance(middle) < 0.1
    ends = LineString([to_metres.transform(140.5, 42), to_metres.transform(141.5, 42)])
    assert ends.distance(middle) > 90


def test_a_table_of_styles_beside_the_layer_does_not_matter(tmp_path):
    path = save(tmp_path / "v.gpkg", SQUARES, layer="landslides")
    pyogrio.write_dataframe(pd.DataFrame({"style": ["red"]}), path, layer="layer_styles")
    assert len(read_vector(path, UTM, what="squares")) == 2


def test_layers_that_agree_are_read_one_after_the_other_and_named_in_a_warning(tmp_path, caplog):
    path = save(tmp_path / "v.gpkg", [SQUARES[0], None], layer="before")
    save(path, [MultiPolygon(SQUARES[1:])], layer="after", mode="a")
    with caplog.at_level("INFO", "coslide"):
        found = read_vector(path, UTM, what="squares")
    assert found.index.to_list() == [0, 2]
    assert f"warning: read the layers before, after of {path}; name one by layer" in caplog.text


@pytest.mark.parametrize(
    ("shape", "crs", "renamed"),
    [(SQUARES[0], UTM, "name"), (Point(500100, 4699700), UTM, "unit"), (SQUARES[0], "EPSG:32655", "unit")],
)
def test_layers_that_differ_in_field_kind_or_crs_are_refused_naming_them_and_the_key(tmp_path, shape, crs, renamed):
    path = save(tmp_path / "v.gpkg", SQUARES, layer="before")
    frame_of([shape], crs).rename(columns={"unit": renamed}).to_file(path, layer="after", mode="a")
    with pytest.raises(
        InputError, match=r"v\.gpkg: found the layers before, after, which differ; .* in geology\.layer$"
    ):
        read_vector(VectorFile(path, key="geology.layer"), UTM, what="squares")


def test_named_layers_are_read_in_their_order_also_from_different_crs(tmp_path):
    path = save(tmp_path / "v.gpkg", SQUARES, layer="a")
    frame_of(SQUARES[:1]).to_crs(4326).to_file(path, layer="b", mode="a")
    save(path, SQUARES, layer="c", mode="a")
    assert len(read_vector(VectorFile(path, "c"), UTM, what="squares")) == 2
    found = read_vector(VectorFile(path, ("b", "a")), UTM, what="squares")
    assert found.geometry[0].symmetric_difference(found.geometry[1]).area < 1
    assert (len(found), found.crs) == (3, UTM)
    with pytest.raises(InputError, match=r"v\.gpkg: layer: found 'd', expected of its layers: a, b, c"):
        read_vector(VectorFile(path, ("a", "d")), UTM, what="squares")


@pytest.mark.skipif("KML" not in pyogrio.list_drivers(), reason="this GDAL has no KML")
def test_all_folders_of_a_kml_are_read_also_two_of_one_name(tmp_path):
    corners = [
        "141,42 141.1,42 141.1,42.1 141,42",
        "141,43 141.1,43 141.1,43.1 141,43",
        "141,44 141.1,44 141.1,44.1 141,44",
    ]
    folders = "".join(
        f"<Folder><name>{name}</name><Placemark><Polygon><outerBoundaryIs><LinearRing><coordinates>{ring}</coordinates>"
        "</LinearRing></outerBoundaryIs></Polygon></Placemark></Folder>"
        for name, ring in zip(["south", "north", "north"], corners, strict=True)
    )
    path = tmp_path / "v.kml"
    path.write_text(f'<kml xmlns="http://www.opengis.net/kml/2.2"><Document>{folders}</Document></kml>')
    found = read_vector(path, "EPSG:4326", what="squares")
    assert found.bounds["miny"].to_list() == [42, 43, 44]
    assert read_vector(VectorFile(path, "south"), "EPSG:4326", what="squares").bounds["miny"].to_list() == [42]
    with pytest.raises(InputError, match=r"found Polygon, expected lines \(it has several layers; name .* by layer\)"):
        of_kind(found, LINES, path=path, what="lines")


@pytest.mark.parametrize("stated", [None, "UTF-8"])
def test_the_encoding_that_is_given_goes_before_what_a_shapefile_states(tmp_path, stated):
    frame = frame_of(SQUARES[:1])
    frame["unit"] = "上三叠统"
    frame.to_file(tmp_path / "v.shp", encoding="GBK")
    (tmp_path / "v.cpg").write_text(stated) if stated else (tmp_path / "v.cpg").unlink()
    found = read_vector(VectorFile(tmp_path / "v.shp", encoding="GBK"), UTM, what="squares")
    assert (found["unit"].to_list(), encoding_hint(found)) == (["上三叠统"], "")
    with pytest.raises(InputError, match=r"v\.shp: found text in an unknown encoding, expected UTF-8"):
        read_vector(VectorFile(tmp_path / "v.shp", encoding="UTF-8"), UTM, what="squares")


def test_coordinates_that_are_no_degrees_are_refused(tmp_path):
    path = save(tmp_path / "v.geojson", [])
    feature = {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(SQUARES[0])}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    with pytest.raises(InputError, match=r"v\.geojson: found x 500100, y 4.6997e\+06 in WGS 84, expected squares"):
        read_vector(path, UTM, what="squares")


def test_a_datum_that_only_a_guess_leads_from_is_refused(tmp_path):
    """R22: without its grids, PROJ would take one datum for the other, hundreds of metres away."""
    path = save(tmp_path / "v.gpkg", [box(103, 33, 104, 34)], crs="EPSG:4214")
    with pytest.raises(InputError, match=r"v\.gpkg: no exact transformation from its CRS \(Beijing 1954\)"):
        read_vector(path, UTM, what="squares")


@pytest.mark.parametrize("encoding", ["UTF-8", "GBK"])
def test_a_shapefile_that_does_not_tell_its_encoding_is_utf8_or_the_line_says_that_it_was_assumed(tmp_path, encoding):
    frame = frame_of(SQUARES[:1])
    frame["unit"] = "上三叠统"
    frame.to_file(tmp_path / "v.shp", encoding=encoding)
    (tmp_path / "v.cpg").unlink()
    found = read_polygons(tmp_path / "v.shp", GRID, what="squares").frame
    assert (found["unit"].to_list() == ["上三叠统"]) == (encoding == "UTF-8")
    assert ("ISO-8859-1 was assumed" in encoding_hint(found)) == (encoding == "GBK")


def test_text_in_an_unknown_encoding_is_refused(tmp_path):
    frame = frame_of(SQUARES[:1])
    frame["unit"] = "Trías"
    frame.to_file(tmp_path / "v.shp", encoding="latin1")
    (tmp_path / "v.cpg").write_text("UTF-8")
    with pytest.raises(InputError, match=r"v\.shp: found text in an unknown encoding, expected UTF-8"):
        read_vector(tmp_path / "v.shp", UTM, what="squares")


@pytest.mark.parametrize(
    ("name", "content"),
    [("v.gpkg", "nothing"), ("v.geojson", '{"type": "FeatureCollection", "features": [{'), ("v.parquet", "PAR1")],
)
def test_a_file_that_is_no_vector_file_is_refused(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=rf"{name}: cannot be read as a vector file"):
        read_vector(tmp_path / name, UTM, what="squares")


def test_a_table_without_geometry_is_refused(tmp_path):
    (tmp_path / "v.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"v\.csv: has no geometry; expected squares"):
        read_vector(tmp_path / "v.csv", UTM, what="squares")


def test_whoever_names_a_file_may_state_layer_and_encoding_by_keys_of_one_kind(tmp_path):
    path = tmp_path / "v.shp"
    frame = frame_of([box(500100, 4699700, 500300, 4699900)])
    frame["name"] = "汶川"
    frame.to_file(path, encoding="GBK")
    (tmp_path / "v.cpg").write_text("UTF-8")
    tables = {
        "grid.area_": GridConfig(area=path, area_encoding="GBK"),
        "inventory.area_": InventoryConfig(path=path, area=path, area_encoding="GBK"),
        "inventory.": InventoryConfig(path=path, encoding="GBK"),
        "training.split.regions_": SplitSettings(regions=path, regions_encoding="GBK"),
    }
    for prefix, table in tables.items():
        source = VectorFile.of(path, table, prefix)
        assert read_vector(source, UTM, what="squares")["name"].to_list() == ["汶川"]
        with pytest.raises(InputError, match=rf"expected UTF-8 \(name it by {prefix}encoding, or save"):
            read_vector(source._replace(encoding=None), UTM, what="squares")
    with pytest.raises(ValidationError, match="area_encoding: goes with area"):
        GridConfig(area_encoding="GBK")
    with pytest.raises(ValidationError, match="regions_encoding: goes with regions"):
        SplitSettings(regions_encoding="GBK")


@pytest.mark.parametrize("encoding", ["xyz", "hex"])
def test_an_encoding_that_there_is_not_is_refused_naming_what_stated_it(tmp_path, encoding):
    path = save(tmp_path / "v.shp", SQUARES)
    with pytest.raises(InputError, match=rf"--area-encoding: found '{encoding}', expected an encoding such as GBK"):
        read_vector(VectorFile(path, None, encoding, "--area-layer"), UTM, what="squares")


def test_a_file_without_crs_is_refused(tmp_path):
    path = tmp_path / "v.shp"
    with pytest.warns(UserWarning, match="'crs' was not provided"):
        frame_of(SQUARES, crs=None).to_file(path)
    with pytest.raises(InputError, match=r"v\.shp: has no CRS"):
        read_vector(path, UTM, what="squares")


def test_a_file_without_features_is_refused_unless_it_may_be_empty(tmp_path):
    path = save(tmp_path / "v.gpkg", [], engine="pyogrio", geometry_type="Polygon")
    assert read_vector(path, UTM, what="squares", may_be_empty=True).empty
    with pytest.raises(InputError, match=r"v\.gpkg: holds no feature; expected squares"):
        read_vector(path, UTM, what="squares")


def test_features_on_the_far_side_of_the_earth_are_left_out(tmp_path):
    """A quarter of the way round, a UTM zone has no coordinates; half way round, they would run through the grid."""
    here = frame_of(SQUARES[:1]).to_crs(4326).geometry.iloc[0]
    path = save(tmp_path / "v.gpkg", [box(50, -1, 52, 1), here, box(-39.01, -1, -38, 1)], crs=4326)
    assert read_vector(path, UTM, what="squares").index.to_list() == [1]
    assert read_polygons(path, GRID, what="squares").frame.index.to_list() == [1]


def test_polygons_that_cross_themselves_are_repaired_and_counted(tmp_path):
    twice = Polygon([(0, 0), (40, 0), (40, 40), (10, 40), (10, 10), (30, 10), (30, 30), (0, 30)])
    twice = shapely.affinity.translate(twice, 500010, 4699710)
    flat = Polygon([(500010, 4699700), (500020, 4699700), (500010, 4699700)])
    polygons = read_polygons(save(tmp_path / "v.gpkg", [BOWTIE, SQUARES[0], twice, flat]), GRID, what="squares")
    assert (polygons.repaired, polygons.lost) == (3, 1)
    assert polygons.frame.is_valid.all()
    np.testing.assert_allclose(polygons.frame.area, [2e4, 4e4, 1500])  # enclosed twice is enclosed


def test_polygons_beside_the_grid_are_left_out(tmp_path):
    around = Polygon([(499000, 4699000), (501000, 4699000), (499000, 4699900)])  # only its bounds meet the grid
    path = save(tmp_path / "v.gpkg", [around, SQUARES[0], box(0, 0, 1, 1)])
    assert read_polygons(path, GRID, what="squares").frame.index.to_list() == [1]
    with pytest.raises(InputError, match=r"a\.gpkg: none of its features overlaps the grid; expected squares"):
        read_polygons(save(tmp_path / "a.gpkg", [box(0, 0, 1, 1)]), GRID, what="squares")


def test_of_a_collection_the_parts_of_the_kind_are_taken(tmp_path):
    line = LineString([(500000, 4699600), (500100, 4699600)])
    mixed = GeometryCollection([SQUARES[0], MultiPolygon(SQUARES[1:]), line])
    frame = frame_of([mixed])
    assert of_kind(frame, POLYGONS, path=tmp_path, what="squares").area.to_list() == [4e4 + 1500]
    assert of_kind(frame, LINES, path=tmp_path, what="lines").length.to_list() == [100]


@pytest.mark.parametrize("other", [Point(500000, 4699700), GeometryCollection([Point(500000, 4699700)])])
def test_what_is_of_another_kind_is_refused(tmp_path, other):
    with pytest.raises(InputError, match=rf"found {other.geom_type}, expected squares"):
        of_kind(frame_of([SQUARES[0], other]), POLYGONS, path=tmp_path / "v.gpkg", what="squares")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12, "12"), (np.int64(12), "12"), (12.0, "12"), (np.float32(-3.22), "-3.22"), (-0.0, "0"), ("P2 ", "P2"),
        (1e20, "100000000000000000000"), (None, ""), (np.nan, ""), (pd.NaT, ""), (pd.NA, ""),
    ],
)  # fmt: skip
def test_values_become_text_as_a_user_writes_them(value, text):
    assert as_text(value) == text


def test_a_field_that_there_is_not_is_refused_naming_those_there_are(tmp_path):
    frame = frame_of(SQUARES)
    assert field_as_text(frame, "unit", path=tmp_path, key="geology.field") == ["u0", "u1"]
    with pytest.raises(InputError, match=r"geology.field: found 'geometry', expected a field of .*: unit$"):
        field_as_text(frame, "geometry", path=tmp_path, key="geology.field")
    with pytest.raises(InputError, match=r"geology.field: missing, expected a field of .*: unit$"):
        field_as_text(frame, None, path=tmp_path, key="geology.field")


def test_a_long_list_of_names_is_shortened():
    assert quote_list([str(i) for i in range(30)], most=3) == "'0', '1', '10' and 27 more"
    assert quote_list(["b", "a", "b"]) == "'a', 'b'"


ROUND = "(500100 4699700, 500300 4699700, 500300 4699900, 500100 4699700)"


@pytest.mark.parametrize(
    "wkt",
    [
        f"MULTIPOLYGON (EMPTY, ({ROUND}))",
        f"GEOMETRYCOLLECTION (LINESTRING EMPTY, POLYGON ({ROUND}))",
        f"GEOMETRYCOLLECTION (POINT (1 1), GEOMETRYCOLLECTION (MULTIPOLYGON (({ROUND})), POINT EMPTY))",
        f"POLYGON ({ROUND}, (500250 4699750, 500250 4699750, 500250 4699750, 500250 4699750))",
        f"MULTIPOLYGON (((1 1, 1 1, 1 1, 1 1)), ({ROUND}))",
    ],
)
def test_parts_that_are_empty_or_one_place_stop_nothing(tmp_path, wkt):
    """GEOS aborts the process, or raises, on them when edges get vertices."""
    path = tmp_path / "v.parquet"
    frame_of([shapely.from_wkt(wkt), SQUARES[0]]).to_parquet(path)
    frame = of_kind(read_vector(path, "EPSG:32653", what="squares"), POLYGONS, path=path, what="squares")
    np.testing.assert_allclose(frame.to_crs(UTM).area, [2e4, 4e4], rtol=1e-4)


def test_a_line_that_is_one_place_stays(tmp_path):
    place, line = LineString([(5e5, 4.7e6)] * 3), LineString([(5e5, 4.7e6), (5e5, 4.7e6), (5.01e5, 4.7e6)])
    path = save(tmp_path / "v.gpkg", [place, line])
    np.testing.assert_allclose(read_vector(path, "EPSG:32653", what="lines").to_crs(UTM).length, [0, 1000], atol=1)


def test_points_instead_of_lines_are_called_so(tmp_path):
    path = save(tmp_path / "v.gpkg", [shapely.MultiPoint([(5e5, 4.7e6), (5.01e5, 4.7e6)])])
    with pytest.raises(InputError, match=r"v\.gpkg: found MultiPoint, expected traces$"):
        read_vector(path, UTM, what="traces", kinds=LINES)


@pytest.mark.parametrize("far", [1.8e8, 170.0])
def test_lines_that_have_no_end_are_refused(tmp_path, far):
    """Vertices every kilometre would fill the memory."""
    x = np.tile([0, far], 10_000)
    crs, y = (4326, np.linspace(10, 60, x.size)) if far == 170 else (32653, np.linspace(4e6, 5e6, x.size))
    path = save(tmp_path / "v.gpkg", [LineString(np.column_stack([x, y]))], crs=crs)
    with pytest.raises(InputError, match=r"v\.gpkg: found lines of .* in all, .* cut it to the surroundings"):
        read_vector(path, UTM, what="lines")


def test_coordinates_that_are_no_numbers_are_refused_naming_the_feature(tmp_path):
    path = tmp_path / "v.parquet"
    with np.errstate(invalid="ignore"):
        line = shapely.from_wkt("LINESTRING (5e5 4.7e6, NaN 4.7e6, 5.1e5 4.7e6)")
        frame_of([SQUARES[0], line]).to_parquet(path)
    with pytest.raises(InputError, match=r"v\.parquet: feature 1: found x nan, y 4.7e\+06, expected finite"):
        read_vector(path, UTM, what="lines")


NUMBER = st.one_of(st.floats(130, 150), st.sampled_from([0.0, 1e308, -180.0, 141.0]))
PLACE = st.tuples(NUMBER, st.one_of(st.floats(30, 50), st.sampled_from([90.0, -91.0, 42.0])))
LINE = st.lists(PLACE, max_size=4).filter(lambda points: len(points) != 1).map(LineString)
RING = st.lists(PLACE, min_size=3, max_size=5).map(Polygon)
ONE = st.one_of(LINE, RING, PLACE.map(Point), st.just(Polygon()))
NESTED = st.recursive(
    st.lists(ONE, max_size=3).map(GeometryCollection),
    lambda inner: st.lists(inner, max_size=2).map(GeometryCollection),
    max_leaves=3,
)
SHAPE = st.one_of(ONE, NESTED)


@pytest.mark.slow
@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.lists(SHAPE, min_size=1, max_size=4))
def test_whatever_shapes_a_file_holds_they_are_read_or_refused_in_one_line(tmp_path_factory, shapes):
    path = tmp_path_factory.getbasetemp() / "any.parquet"
    gpd.GeoDataFrame(geometry=shapes, crs=4326).to_parquet(path)
    for kinds in (LINES, POLYGONS):
        try:
            frame = of_kind(read_vector(path, UTM, what="shapes"), kinds, path=path, what="shapes")
        except InputError as refused:
            lines = str(refused).splitlines()
            assert len(lines) == 1
        else:
            assert set(frame.geom_type) <= set(kinds)
            assert np.isfinite(shapely.get_coordinates(frame.geometry.to_numpy())).all()


def test_a_vrt_that_reads_another_file_is_refused(tmp_path):
    """No path from an input file leaves its folder."""
    gpd.GeoDataFrame(geometry=[box(0, 0, 1, 1)], crs=4326).to_file(tmp_path / "secret.geojson", driver="GeoJSON")
    (tmp_path / "event").mkdir()
    vrt = tmp_path / "event" / "units.vrt"
    vrt.write_text(
        f'<OGRVRTDataSource><OGRVRTLayer name="secret"><SrcDataSource>{tmp_path}/secret.geojson</SrcDataSource>'
        "</OGRVRTLayer></OGRVRTDataSource>"
    )
    with pytest.raises(InputError, match="is a VRT or describes a web service"):
        read_vector(vrt, "EPSG:32654", what="units")


def test_a_text_that_describes_a_web_service_is_refused_before_it_is_asked(tmp_path, monkeypatch):
    path = tmp_path / "units.xml"
    path.write_text("<OGRWFSDataSource><URL>http://127.0.0.1:9/wfs</URL></OGRWFSDataSource>")
    monkeypatch.setattr("pyogrio.list_layers", lambda _: pytest.fail("was opened"))
    with pytest.raises(InputError, match="is a VRT or describes a web service; expected the features themselves"):
        read_vector(path, "EPSG:32654", what="units")
