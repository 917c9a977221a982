"""Fault traces: which features of a file are taken, and where they lie."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
from odc.geo.geobox import GeoBox
from rasterio.transform import Affine
from shapely.geometry import LineString, MultiLineString, Point

from coslide.config.schema import FaultChoice, FaultsConfig
from coslide.errors import InputError
from coslide.sources.geology import read_traces

UTM = "EPSG:32654"
GRID = GeoBox((40, 50), Affine(10, 0, 500000, 0, -10, 4700000), UTM)
FAR = LineString([(400000, 4600000), (400000, 4700000)])
NEAR = [LineString([(500000 + 100 * i, 4699700), (500000 + 100 * i, 4699900)]) for i in range(4)]


def save(tmp_path, geometry, crs=UTM, name="faults.gpkg", **fields):
    frame = gpd.GeoDataFrame({"n": range(len(geometry)), **fields}, geometry=geometry, crs=crs)
    frame.to_file(tmp_path / name)
    return tmp_path / name


def places(traces):
    """Return the x of each line, as its number among `NEAR`."""
    return [round((line.bounds[0] - 500000) / 100) for line in traces.lines]


@pytest.mark.parametrize("name", ["f.gpkg", "f.geojson", "f.shp", "f.fgb", "f.kml"])
def test_traces_come_in_the_crs_of_the_grid_also_from_outside_it(tmp_path, name):
    """R23: a fault beside the grid counts."""
    there = gpd.GeoSeries([FAR], crs=UTM).to_crs(4326)
    (trace,) = read_traces(FaultsConfig(path=save(tmp_path, there, 4326, name)), GRID).lines
    np.testing.assert_allclose(trace.coords[0], FAR.coords[0], atol=0.01)
    np.testing.assert_allclose(trace.coords[-1], FAR.coords[-1], atol=0.01)
    assert shapely.hausdorff_distance(trace, FAR) < 100  # what is straight in degrees is not in metres


def test_heights_of_traces_are_dropped(tmp_path):
    path = save(tmp_path, [shapely.force_3d(NEAR[0], 800.0)])
    assert not read_traces(FaultsConfig(path=path), GRID).lines[0].has_z


def test_all_traces_count_where_nothing_is_chosen(tmp_path):
    traces = read_traces(FaultsConfig(path=save(tmp_path, NEAR)), GRID)
    assert (places(traces), traces.features, traces.pointlike) == ([0, 1, 2, 3], 4, 0)


@pytest.mark.parametrize(
    ("values", "chosen"), [(("Tazang",), [0, 2]), (("Tazang", "Huya"), [0, 1, 2]), ((" Huya ",), [1])]
)
def test_traces_are_chosen_by_a_field(tmp_path, values, chosen):
    path = save(tmp_path, NEAR, name_en=["Tazang", "Huya", "Tazang ", None])
    choice = FaultChoice(field="name_en", values=values)
    assert places(read_traces(FaultsConfig(path=path, select=choice), GRID)) == chosen


@pytest.mark.parametrize("values", [(1111,), ("1111",)])
@pytest.mark.parametrize("codes", [[1111, 7, 1111, 8], [1111.0, 7, 1111, np.nan], ["1111", "7", "1111", "x"]])
def test_numbers_are_chosen_as_text(tmp_path, values, codes):
    path = save(tmp_path, NEAR, code=codes)
    assert places(read_traces(FaultsConfig(path=path, select=FaultChoice(field="code", values=values)), GRID)) == [0, 2]


def test_traces_are_chosen_by_the_number_of_their_feature_in_the_file(tmp_path):
    """Counted from 0, with features that have no geometry."""
    path = save(tmp_path, [NEAR[0], None, NEAR[2], LineString(), NEAR[3]])
    assert places(read_traces(FaultsConfig(path=path, ids=(4, 2)), GRID)) == [2, 3]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"ids": (1, 9)}, r"faults.ids: found 9, expected numbers of features with a line in .*faults\.gpkg, 0 to 3"),
        ({"select": {"field": "type", "values": ["a"]}}, r"faults.select.field: found 'type', expected .*: n, kind$"),
        (
            {"select": {"field": "kind", "values": ["thrust", "thrsut"]}},
            r"faults.select.values: found 'thrsut', expected values of 'kind' in .*gpkg: '', 'normal', 'thrust'$",
        ),
    ],
)
def test_a_choice_of_what_is_not_there_is_refused_listing_what_is(tmp_path, choice, message):
    """Also if only one of several values is not there: it was mistyped."""
    path = save(tmp_path, NEAR, kind=["thrust", "normal", "thrust", None])
    with pytest.raises(InputError, match=message) as caught:
        read_traces(FaultsConfig.model_validate({"path": path, **choice}), GRID)
    assert "\n" not in str(caught.value)


def test_a_long_list_of_values_is_shortened(tmp_path):
    path = save(tmp_path, [NEAR[0]] * 50, kind=[f"k{i}" for i in range(50)])
    with pytest.raises(InputError, match="'k0', 'k1', .* and 10 more"):
        read_traces(FaultsConfig(path=path, select=FaultChoice(field="kind", values=("k",))), GRID)


def test_a_line_without_length_is_no_trace_and_is_counted(tmp_path):
    still = LineString([(500100, 4699700), (500100, 4699700)])
    traces = read_traces(FaultsConfig(path=save(tmp_path, [still, NEAR[1]])), GRID)
    assert (places(traces), traces.pointlike) == ([1], 1)
    with pytest.raises(InputError, match="found 1 traces, all without length, expected fault traces as lines"):
        read_traces(FaultsConfig(path=save(tmp_path, [still])), GRID)


def test_a_trace_in_several_parts_is_one_trace(tmp_path):
    (trace,) = read_traces(FaultsConfig(path=save(tmp_path, [MultiLineString([FAR, NEAR[0]])])), GRID).lines
    assert len(trace.geoms) == 2


def test_a_fault_that_is_no_line_is_refused(tmp_path):
    with pytest.raises(InputError, match="found Point, expected fault traces as lines"):
        read_traces(FaultsConfig(path=save(tmp_path, [Point(500000, 4700000)])), GRID)


def test_what_is_not_chosen_may_be_anything(tmp_path):
    path = save(tmp_path, [NEAR[0], Point(500000, 4700000)], kind=["trace", "epicentre"])
    choice = FaultChoice(field="kind", values=("trace",))
    assert places(read_traces(FaultsConfig(path=path, select=choice), GRID)) == [0]


@pytest.mark.realdata
def test_the_real_map_of_tibet_is_read_far_beyond_its_utm_zone(data_folder):
    """From 61 to 114 degrees east, in the zone of Jiuzhaigou."""
    path = data_folder / "faults" / "HimaTibetMap.geojson"
    grid = GeoBox.from_bbox((370000, 3660000, 390000, 3680000), crs="EPSG:32648", resolution=100)
    traces = read_traces(FaultsConfig(path=path), grid)
    assert (len(traces.lines), traces.pointlike) == (940, 0)
    assert np.isfinite(shapely.total_bounds(traces.lines)).all()
    thrusts = read_traces(FaultsConfig(path=path, select=FaultChoice(field="Type", values=("thrust",))), grid)
    assert len(thrusts.lines) == (gpd.read_file(path)["Type"] == "thrust").sum()
    with pytest.raises(InputError, match="expected values of 'Type' in .*'thrust'"):
        read_traces(FaultsConfig(path=path, select=FaultChoice(field="Type", values=("thurst",))), grid)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "crs", "features"),
    [("hamersley-geology/faults.geojson", "EPSG:32750", 35), ("iburi-2018/faults/gem_active_faults.gpkg", UTM, 18)],
)
def test_the_other_real_traces_are_all_read(data_folder, name, crs, features):
    grid = GeoBox.from_bbox((500000, 4700000, 510000, 4710000), crs=crs, resolution=100)
    traces = read_traces(FaultsConfig(path=data_folder / name), grid)
    assert len(traces.lines) == features
    assert len(read_traces(FaultsConfig(path=data_folder / name, ids=(0, features - 1)), grid).lines) == 2
