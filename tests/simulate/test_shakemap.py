"""The ShakeMap of a simulated earthquake: it reads as a real one does, and says honestly how uncertain it is."""

import json

import numpy as np
import pyproj
import pytest
from defusedxml import ElementTree
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern

from coslide.config.schema import FaultsConfig
from coslide.indices.classes import class_by_edges
from coslide.indices.interpolation import NodesField
from coslide.simulate.dates import EVENT_TIME
from coslide.simulate.frame import CRS, Frame
from coslide.simulate.ground_motion import make_shaking, pga_median_g
from coslide.simulate.recipe import Recipe
from coslide.simulate.rupture import make_rupture
from coslide.simulate.shakemap import (
    _conditioned,
    _stations,
    intensity,
    levels_g,
    make_shakemap,
    write_fault,
    write_shakemap,
)
from coslide.sources.faults import read_traces
from coslide.sources.shakemap import read_shakemap

FRAME = Frame(120)


def projected(lon, lat):
    return pyproj.Transformer.from_crs("EPSG:4326", CRS, always_xy=True).transform(lon, lat)


def geographic(x, y):
    return pyproj.Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(x, y)


def shaken(seed, frame=FRAME, degrees=25.0):
    recipe = Recipe(seed=seed)
    slope = np.full((frame.cells, frame.cells), degrees, dtype=np.float32)
    return recipe, make_shaking(recipe, frame, make_rupture(recipe, frame), slope)


@pytest.fixture(scope="module")
def event():
    return shaken(1)


def test_coslide_reads_what_was_written(event, tmp_path):
    recipe, shaking = event
    nodes = make_shakemap(recipe, shaking)
    write_shakemap(tmp_path / "grid.xml", recipe, shaking)
    found = read_shakemap(tmp_path / "grid.xml")
    np.testing.assert_allclose(found.pga_g.values, nodes.pga_g, rtol=1e-3)
    np.testing.assert_allclose(found.ln_std.values, nodes.ln_std, atol=1e-4)
    column, row = ~found.pga_g.transform * (nodes.lon_deg[5], nodes.lat_deg[7])
    assert (column, row) == pytest.approx((5.5, 7.5), abs=1e-3)
    assert not any("no unit" in note for note in found.notes)


def test_the_file_is_the_same_to_the_byte_and_says_that_it_is_a_scenario(event, tmp_path):
    for name in ("one.xml", "two.xml"):
        write_shakemap(tmp_path / name, *event)
    assert (tmp_path / "one.xml").read_bytes() == (tmp_path / "two.xml").read_bytes()
    root = ElementTree.parse(tmp_path / "one.xml").getroot()
    assert root.attrib["shakemap_event_type"] == "SCENARIO"
    about = next(child.attrib for child in root if child.tag.endswith("}event"))
    assert about["event_timestamp"] == EVENT_TIME.strftime("%Y-%m-%dT%H:%M:%S")
    assert float(about["magnitude"]) == event[1].rupture.magnitude


def test_the_map_reaches_a_tenth_of_a_degree_beyond_the_ground(event):
    nodes = make_shakemap(*event)
    box = event[1].frame.ground.boundingbox
    corners = geographic([box.left, box.left, box.right, box.right], [box.bottom, box.top, box.bottom, box.top])
    for ground, axis in zip(corners, (nodes.lon_deg, nodes.lat_deg), strict=True):
        assert min(ground) - 0.11 < axis.min() < min(ground) - 0.1
        assert max(ground) + 0.1 < axis.max() < max(ground) + 0.11
    np.testing.assert_allclose(np.diff(nodes.lon_deg), 1 / 120)


def test_the_residual_of_the_map_is_that_of_a_gaussian_process(event):
    recipe, shaking = event
    stations = _stations(recipe, shaking)
    x, y = np.meshgrid(*(np.linspace(centre - 9000, centre + 9000, 7) for centre in shaking.rupture.middle_m))
    mean, variance = _conditioned(stations, x, y)
    kernel = Matern(length_scale=8500 / 3, length_scale_bounds="fixed", nu=0.5)
    witness = GaussianProcessRegressor(kernel, alpha=0.0, optimizer=None)
    witness.fit(np.stack([stations.x_m, stations.y_m], axis=1), stations.residual)
    expected, deviation = witness.predict(np.stack([x.ravel(), y.ravel()], axis=1), return_std=True)
    np.testing.assert_allclose(mean.ravel(), expected, atol=1e-6)
    np.testing.assert_allclose(np.sqrt(variance).ravel(), deviation, atol=1e-6)


def test_the_map_is_off_by_as_much_as_it_says():
    """Over many earthquakes, at nodes on the ground; sites are alike, so that only the residual is unknown."""
    scores = []
    for seed in range(40):
        recipe, shaking = shaken(seed)
        nodes = make_shakemap(recipe, shaking)
        column, row = ~FRAME.ground.affine * projected(*np.meshgrid(nodes.lon_deg, nodes.lat_deg))
        inside = (column >= 0) & (column < FRAME.cells) & (row >= 0) & (row < FRAME.cells)
        truth = shaking.pga_g[row[inside].astype(int), column[inside].astype(int)]
        scores.append((np.log(truth / nodes.pga_g[inside]) / nodes.ln_std[inside]).ravel())
    scores = np.concatenate(scores)
    assert np.sqrt(np.mean(np.square(scores))) == pytest.approx(1, abs=0.15)
    assert abs(np.mean(scores)) < 0.3


@pytest.mark.parametrize("seed", range(6))
def test_levels_divide_the_tile_into_all_six_classes(seed, tmp_path):
    frame = Frame(300)
    recipe, shaking = shaken(seed, frame)
    levels = levels_g(recipe, shaking)
    write_shakemap(tmp_path / "grid.xml", recipe, shaking)
    pga = NodesField(read_shakemap(tmp_path / "grid.xml").pga_g, frame.tile).at(frame.tile)
    classes = class_by_edges(pga, levels, lowest=0)
    assert np.unique(classes).tolist() == [0, 1, 2, 3, 4, 5]
    assert np.bincount(classes.ravel()).min() > 0.03 * classes.size


def test_intensity_is_that_of_the_table_of_shakemap():
    """Worden et al. (2012), as the legend of ShakeMap gives it: VI from 11.5 %g, VII 21.5, VIII 40.1, IX 74.7."""
    np.testing.assert_allclose(intensity(np.array([0.115, 0.215, 0.401, 0.747])), [6, 7, 8, 9], atol=0.05)


def test_without_a_residual_near_a_station_the_map_is_the_median(event):
    recipe, shaking = event
    nodes = make_shakemap(recipe, shaking)
    far = np.unravel_index(nodes.ln_std.argmax(), nodes.ln_std.shape)
    assert nodes.ln_std[far] == pytest.approx(0.495, abs=0.01)
    median = pga_median_g(
        shaking.rupture.magnitude,
        shaking.rupture.distance_km(*projected(nodes.lon_deg[far[1]], nodes.lat_deg[far[0]])),
        760.0,
        style=shaking.rupture.style,
    )
    assert nodes.pga_g[far] == pytest.approx(median, rel=0.1)


def test_the_fault_is_chosen_by_its_name_and_lies_where_it_broke(event, tmp_path):
    recipe, shaking = event
    path = tmp_path / "faults.geojson"
    write_fault(path, recipe, shaking.rupture)
    chosen = {
        name: read_traces(FaultsConfig(path=path, select={"field": "name", "values": (name,)}), FRAME.tile).lines
        for name in ("seismogenic", "inactive")
    }
    (seismogenic,), (inactive,) = chosen.values()
    assert seismogenic.hausdorff_distance(shaking.rupture.trace) < 0.1
    assert inactive.hausdorff_distance(shaking.rupture.trace) > 2000
    x, y = np.asarray(inactive.interpolate(0.5, normalized=True).coords[0])
    assert shaking.rupture.side(x, y) < 0
    assert [feature["properties"]["name"] for feature in json.loads(path.read_text())["features"]] == list(chosen)
