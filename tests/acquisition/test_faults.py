"""The fault of an earthquake: of the user, of the ShakeMap, of a catalogue of active faults."""

import json

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
from odc.geo.geobox import GeoBox
from pyproj import Geod, Transformer
from shapely.geometry import LineString, MultiLineString, Point

from coslide.acquisition.faults import fetch_faults, top_edge
from coslide.config.schema import FaultsConfig
from coslide.config.services import Services
from coslide.errors import InputError
from coslide.indices.geology import prepare_fault_distance
from coslide.io.http import Web
from coslide.sources.geology import read_traces

EPICENTRE = (141.93, 42.69)
GRID = GeoBox.from_bbox((570000, 4720000, 590000, 4740000), "EPSG:32654", resolution=100)
GEM = "/gem.geojson"


def fetch(server, folder, *, epicentre=EPICENTRE, rupture=None, given=None):
    services = Services(faults_url=f"{server.url}{GEM}")
    with Web(timeout_s=5, tries=1) as web:
        return fetch_faults(web, services, epicentre=epicentre, rupture=rupture, given=given, folder=folder)


def lines_of(part):
    """The traces that were written, as lists of longitude and latitude."""
    frame = gpd.read_file(part.tables["faults"]["path"])
    assert frame.crs == "EPSG:4326"
    return [[tuple(place) for place in line.coords] for shape in frame.geometry for line in shape.geoms]


def write_rupture(folder, *geometries, **metadata):
    features = [{"type": "Feature", "properties": {}, "geometry": geometry} for geometry in geometries]
    path = folder / "rupture.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "metadata": metadata, "features": features}))
    return path


def ring(top, bottom):
    """A ring as a ShakeMap writes it: top edge along strike, bottom edge back, and the first corner again."""
    return [*top, *reversed(bottom), top[0]]


QUAD = ring([[142.0, 42.60, 2.0], [142.1, 42.70, 2.0]], [[142.2, 42.55, 20.0], [142.3, 42.65, 20.0]])
# Seven points: three corners above, three below.
LONG = ring(
    [[142.1, 42.70, 2.0], [142.15, 42.80, 3.0], [142.2, 42.85, 1.0]],
    [[142.3, 42.65, 20.0], [142.35, 42.75, 21.0], [142.4, 42.8, 19.0]],
)


def active_faults(*lines, **fields):
    frame = gpd.GeoDataFrame(fields, geometry=list(lines), crs="EPSG:4326")
    return frame.to_json().encode()


def no_web(server):
    """Check that nothing was asked for."""
    assert server.asked == []


# --- the rupture of the ShakeMap ---


def test_the_segments_of_a_rupture_are_rings_of_one_polygon_and_each_has_a_top_edge(server, tmp_path):
    """A reader of GeoJSON would take the second segment for a hole in the first."""
    rupture = write_rupture(tmp_path, {"type": "MultiPolygon", "coordinates": [[QUAD, LONG]]}, reference="Us (2018)")
    part = fetch(server, tmp_path, rupture=rupture)
    assert lines_of(part) == [
        [(142.0, 42.60), (142.1, 42.70)],
        [(142.1, 42.70), (142.15, 42.80), (142.2, 42.85)],
    ]
    assert part.notes == ("fault: top edge of the rupture of the ShakeMap, 2 segments, 1.0 to 3.0 km deep",)
    (credit,) = part.attributions
    assert credit.text == "U.S. Geological Survey; Us (2018)"
    no_web(server)
    traces = read_traces(FaultsConfig(path=part.tables["faults"]["path"]), GRID)
    assert (traces.features, traces.pointlike) == (2, 0)


def test_segments_may_be_polygons_of_their_own(server, tmp_path):
    rupture = write_rupture(
        tmp_path,
        {"type": "MultiPolygon", "coordinates": [[QUAD], [LONG]]},
        {"type": "Polygon", "coordinates": [QUAD]},
    )
    assert [len(line) for line in lines_of(fetch(server, tmp_path, rupture=rupture))] == [2, 3, 2]


@pytest.mark.parametrize("turn", range(6))
def test_the_top_edge_is_found_by_depth_wherever_the_ring_begins(turn):
    corners = LONG[:-1]
    turned = [*corners[turn:], *corners[:turn]]
    assert top_edge([*turned, turned[0]])[:, 2].tolist() == [2.0, 3.0, 1.0]


def test_the_top_edge_may_have_more_corners_than_the_bottom():
    uneven = ring([[0, 0, 1], [1, 0, 1], [2, 0, 2]], [[0, 1, 9], [2, 1, 12]])
    assert top_edge(uneven)[:, 0].tolist() == [0, 1, 2]
    uneven = ring([[0, 0, 1], [2, 0, 2]], [[0, 1, 9], [1, 1, 9], [2, 1, 12]])
    assert top_edge(uneven)[:, 0].tolist() == [0, 2]


@pytest.mark.parametrize("depth", [[], [7.0]])
def test_without_depths_the_first_half_of_the_ring_is_the_top_edge(depth):
    flat = [[*corner[:2], *depth] for corner in LONG]
    assert top_edge(flat)[:, :2].tolist() == [corner[:2] for corner in LONG[:3]]


def test_an_open_ring_and_a_line_there_and_back_are_taken():
    assert top_edge(QUAD[:-1]).tolist() == QUAD[:2]
    assert top_edge([[0, 0, 1], [1, 0, 1], [0, 0, 1]]).tolist() == [[0, 0, 1], [1, 0, 1]]


@pytest.mark.parametrize("corners", [[[142, 42.6, 1]], [], [[0, 0], [0, float("nan")]], [[0, 0], [0, 95]]])
def test_a_ring_that_is_none_is_refused(corners):
    with pytest.raises(ValueError, match="expected two or more"):
        top_edge(corners)


@pytest.mark.parametrize("coordinates", [[141.93, 42.69, 35.0], [[[141.93, 42.69, 35.0]]]])
def test_a_point_is_no_fault(server, tmp_path, coordinates):
    server.answers[GEM] = active_faults(LineString([(142, 42.7), (142, 42.8)]), name=["Ishikari"])
    rupture = write_rupture(tmp_path, {"type": "Point", "coordinates": coordinates})
    part = fetch(server, tmp_path, rupture=rupture)
    assert part.notes[0] == "the rupture of the ShakeMap has no extent"
    assert part.notes[1].startswith("fault: the nearest active one, Ishikari, ")


@pytest.mark.parametrize(
    "content",
    [
        "<html>busy</html>",
        "[]",
        '{"features": [{"geometry": null}]}',
        '{"features": [{"geometry": {"type": "Polygon", "coordinates": [[[1, "a"], [2, 3]]]}}]}',
        '{"features": [{"geometry": {"type": "Polygon", "coordinates": [[[1, 2]]]}}]}',
        '{"features": [], "metadata": 7}',
    ],
)
def test_a_rupture_that_cannot_be_read_is_told_and_active_faults_asked_for(server, tmp_path, content):
    rupture = tmp_path / "rupture.json"
    rupture.write_text(content)
    part = fetch(server, tmp_path, rupture=rupture)
    assert part.tables == {}
    assert part.notes[0].startswith("rupture.json: cannot be read as the rupture of a ShakeMap")
    assert part.notes[1].startswith("no fault: ")
    assert "404" in part.notes[1]


# --- active faults ---


def test_the_nearest_active_fault_is_taken_with_all_its_traces_that_are_near(server, tmp_path):
    x, y = EPICENTRE
    traces = [
        LineString([(x + 0.20, y - 0.2), (x + 0.20, y + 0.2)]),  # the nearest
        MultiLineString([[(x + 0.21, y + 0.2), (x + 0.21, y + 0.3)]]),  # the same fault goes on
        LineString([(x + 1.0, y), (x + 1.0, y + 0.1)]),  # far away
        LineString([(x - 0.25, y - 0.2), (x - 0.25, y + 0.2)]),
    ]
    names = {"name": ["East", "East", "East", None], "catalog_name": ["A", "A", "A", "B"], "slip_type": ["Reverse"] * 4}
    server.answers[GEM] = active_faults(*traces, **names)
    part = fetch(server, tmp_path)
    assert lines_of(part) == [[tuple(place) for place in shape.coords] for shape in (traces[0], traces[1].geoms[0])]
    _, _, metres = Geod(ellps="WGS84").inv(x, y, x + 0.20, y)
    told = f"fault: the nearest active one, East (Reverse), {metres / 1000:.1f} km from the epicentre"
    assert part.notes == (f"{told}; another one may have broken",)
    (credit,) = part.attributions
    assert credit.licence.startswith("CC BY-SA 4.0")
    assert credit.address == f"{server.url}{GEM}" == part.files[0].address
    assert [path.name for path in (tmp_path / "faults").iterdir()] == ["faults.gpkg"]
    # A pixel at the epicentre is as far from it as the file says.
    group = prepare_fault_distance(FaultsConfig(path=part.tables["faults"]["path"], edges_km=(1.0, 30.0)), GRID)
    pixel = GRID[100:101, 100:101]
    left, _, _, top = pixel.boundingbox
    to_degrees = Transformer.from_crs("EPSG:32654", "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform(left + 50, top - 50)
    along = np.array([traces[0].interpolate(share, normalized=True).coords[0] for share in np.linspace(0, 1, 2001)])
    _, _, metres = Geod(ellps="WGS84").inv(np.full(2001, lon), np.full(2001, lat), *along.T)
    assert group.compute(pixel)["fault_distance"].item() == pytest.approx(metres.min(), abs=120)


def test_faults_beyond_50_km_do_not_count(server, tmp_path):
    x, y = EPICENTRE
    server.answers[GEM] = active_faults(LineString([(x - 1, y + 0.46), (x + 1, y + 0.46)]))  # 51 km away
    part = fetch(server, tmp_path)
    assert part.tables == {}
    assert part.notes == ("no fault: GEM Global Active Faults has none within 50 km of the epicentre",)
    server.answers[GEM] = active_faults(LineString([(x - 1, y + 0.44), (x + 1, y + 0.44)]))  # 49 km away
    assert "without a name" in fetch(server, tmp_path).notes[0]


def test_a_fault_on_the_other_side_of_the_180th_meridian_is_near(server, tmp_path):
    server.answers[GEM] = active_faults(LineString([(-179.95, 51), (-179.95, 52)]), LineString([(178, 51), (178, 52)]))
    part = fetch(server, tmp_path, epicentre=(179.9, 51.5))
    assert lines_of(part) == [[(-179.95, 51), (-179.95, 52)]]


def test_what_is_no_file_of_faults_is_told(server, tmp_path):
    server.answers[GEM] = b"<html>busy</html>"
    (note,) = fetch(server, tmp_path).notes
    assert note.startswith(f"no fault: {server.url}{GEM}: cannot be read as a vector file")
    server.answers[GEM] = active_faults(Point(142, 42.7))
    (note,) = fetch(server, tmp_path).notes
    assert note == f"no fault: {server.url}{GEM}: found Point, expected active faults"


# --- lines of the user ---


def test_lines_of_the_user_come_before_all_else_in_any_crs(server, tmp_path):
    given = tmp_path / "mine.shp"
    lines = [LineString([(580000, 4725000), (581000, 4735000)]), LineString([(582000, 4725000), (582000, 4730000)])]
    mine = gpd.GeoDataFrame({"name": ["a", "b"]}, geometry=lines, crs="EPSG:32654")
    mine.to_file(given)
    rupture = write_rupture(tmp_path, {"type": "Polygon", "coordinates": [QUAD]})
    part = fetch(server, tmp_path / "event", rupture=rupture, given=given)
    found = read_traces(FaultsConfig(path=part.tables["faults"]["path"]), GRID).lines
    for line, shape in zip(lines, found, strict=True):
        assert line.hausdorff_distance(shape) < 0.1
    assert part.notes == ("fault: 2 traces of mine.shp, as given",)
    assert (part.attributions, part.files[0].address) == ((), "")
    assert str(tmp_path) not in str(part.files)
    no_web(server)


def test_a_file_of_the_user_without_lines_is_refused(server, tmp_path):
    given = tmp_path / "mine.geojson"
    gpd.GeoDataFrame(geometry=[Point(142, 42.7)], crs="EPSG:4326").to_file(given)
    with pytest.raises(InputError, match=r"mine.geojson: found Point, expected fault traces as lines"):
        fetch(server, tmp_path, given=given)
    with pytest.raises(InputError, match=r"none.gpkg"):
        fetch(server, tmp_path, given=tmp_path / "none.gpkg")


# --- real files ---


@pytest.mark.realdata
def test_the_point_of_iburi_leads_to_the_nearest_trace_of_gem(server, data_folder, tmp_path):
    folder = data_folder / "iburi-2018"
    faults = pyogrio.read_dataframe(folder / "faults" / "gem_active_faults.gpkg")
    server.answers[GEM] = faults.to_json().encode()
    part = fetch(server, tmp_path, epicentre=(141.9303, 42.6864), rupture=folder / "seismic" / "rupture_USGS.json")
    geod = Geod(ellps="WGS84")
    metres = []
    for line in faults.geometry:
        places = np.array([line.interpolate(share, normalized=True).coords[0] for share in np.linspace(0, 1, 501)])
        metres.append(min(geod.inv(141.9303, 42.6864, lon, lat)[2] for lon, lat in places))
    nearest = faults.geometry[int(np.argmin(metres))]
    if min(metres) > 50_000:
        assert part.tables == {}
    else:
        assert lines_of(part) == [[tuple(place) for place in nearest.coords]]
        assert f"{min(metres) / 1000:.1f} km from the epicentre" in part.notes[1]
    assert part.notes[0] == "the rupture of the ShakeMap has no extent"


@pytest.mark.realdata
def test_a_thousand_real_traces_are_searched(server, data_folder, tmp_path):
    """Where the earthquake of Jiuzhaigou was."""
    server.answers[GEM] = (data_folder / "faults" / "HimaTibetMap.geojson").read_bytes()
    part = fetch(server, tmp_path, epicentre=(103.86, 33.20))
    assert "km from the epicentre" in part.notes[0]
