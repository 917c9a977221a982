"""Shaking against other programs of the same model, its residual, and a ShakeMap that tells how uncertain it is."""

import numpy as np
import pytest
from defusedxml import ElementTree
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern

from coslide.cube.band import class_by_edges
from coslide.indices.interpolation import interpolate_raster
from coslide.simulate.frame import EVENT_TIME, Frame, centres_m, to_degrees, to_metres
from coslide.simulate.geology import make_rupture
from coslide.simulate.recipe import Recipe
from coslide.simulate.shaking import (
    krige,
    levels_g,
    make_shakemap,
    make_shaking,
    pga_median_g,
    pga_phi,
    stations,
    vs30_of,
    write_shakemap,
)
from coslide.sources.shaking import read_shakemap

FRAME = Frame(120)

# (magnitude, Joyner-Boore distance in km, Vs30 in m/s, style, PGA in g)
OF_PYGMM = [  # 0.8.0
    (6.5, 0, 760, "reverse", 0.4191323683558135),
    (6.5, 10, 400, "reverse", 0.2668257547956651),
    (6.5, 3, 250, "strike-slip", 0.44633023258776133),
    (6.3, 30, 900, "strike-slip", 0.06868735390267153),
    (6.8, 7.5, 520, "reverse", 0.3161013337094692),
    (6.5, 150, 250, "reverse", 0.017594738901579015),
    (5.2, 20, 600, "strike-slip", 0.05070239083803217),
    (7.0, 50, 180, "strike-slip", 0.11957739660919808),
    (6.5, 0, 200, "normal", 0.38838184752832805),
]
OF_OPENQUAKE = [  # its table BSSA_2014_MEAN.csv, six digits
    (3.0, 0, 200, "normal", 0.0122054),
    (3.0, 100, 600, "normal", 3.63104e-05),
    (3.0, 50, 400, "normal", 0.000184913),
    (3.0, 20, 760, "normal", 0.000571533),
    (4.0, 75, 760, "normal", 0.000453469),
    (4.0, 0, 600, "normal", 0.0293795),
    (4.0, 20, 200, "normal", 0.00764461),
]
# Total standard deviations of pygmm, and its between-event part of 0.348 above magnitude 5.5.
TOTAL_STD = [(0, 760, 0.6050859443087403), (3, 250, 0.5693658656681451), (150, 250, 0.5970771522416201)]


def steep(frame=FRAME, degrees=25.0):
    return np.full((frame.side_px, frame.side_px), degrees, dtype=np.float32)


@pytest.mark.parametrize(("magnitude", "distance", "vs30", "style", "expected"), OF_PYGMM)
def test_the_median_is_that_of_pygmm(magnitude, distance, vs30, style, expected):
    assert pga_median_g(magnitude, distance, vs30, style=style) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("magnitude", "distance", "vs30", "style", "expected"), OF_OPENQUAKE)
def test_the_median_is_that_of_the_tables_of_openquake(magnitude, distance, vs30, style, expected):
    assert pga_median_g(magnitude, distance, vs30, style=style) == pytest.approx(expected, rel=3e-6)


@pytest.mark.parametrize(("distance", "vs30", "total"), TOTAL_STD)
def test_the_deviation_within_the_event_is_that_of_pygmm(distance, vs30, total):
    assert np.hypot(pga_phi(6.5, distance, vs30), 0.348) == pytest.approx(total, rel=1e-12)


def test_shaking_fades_with_distance_and_soft_soil_amplifies_weak_shaking_more():
    distance = np.linspace(0, 200, 500)
    rock, soil = (pga_median_g(6.5, distance, vs30, style="reverse") for vs30 in (760.0, 300.0))
    assert (np.diff(rock) < 0).all()
    assert (np.diff(soil / rock) > 0).all()


@pytest.mark.parametrize(
    ("slope", "expected"),
    [
        (0.0, 180),
        (0.0003, 180),
        (0.0035, 240),
        (0.01, 300),
        (0.018, 360),
        (0.05, 490),
        (0.1, 620),
        (0.14, 760),
        (1, 760),
    ],
)
def test_vs30_is_that_of_the_table_of_the_usgs(slope, expected):
    found = vs30_of(np.full((3, 3), np.rad2deg(np.arctan(slope)), dtype=np.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_vs30_between_the_points_of_the_table_is_a_power_of_the_slope():
    slope = np.sqrt(0.018 * 0.05)
    found = vs30_of(np.full((3, 3), np.rad2deg(np.arctan(slope)), dtype=np.float32))
    np.testing.assert_allclose(found, np.sqrt(360 * 490), rtol=1e-4)


def test_a_valley_floor_is_softer_than_the_slopes_beside_it():
    slope = steep()
    slope[:, 100:150] = 0.5
    vs30 = vs30_of(slope)
    assert vs30[:, 125].max() < 300
    assert vs30[:, :80].min() > 759


def test_the_residual_is_correlated_as_jayaram_and_baker_found_it():
    products = {2: [], 4: [], 8: []}
    for seed in range(16):
        recipe = Recipe(seed=seed)
        nodes = make_shaking(recipe, FRAME, make_rupture(recipe, FRAME), steep()).residual.nodes
        assert abs(nodes.std() - 1) < 0.02
        for km, found in products.items():
            shift = 10 * km  # nodes of 100 m
            found += [np.mean(nodes[:, shift:] * nodes[:, :-shift]), np.mean(nodes[shift:] * nodes[:-shift])]
    for km, found in products.items():
        assert np.mean(found) == pytest.approx(np.exp(-3 * km / 8.5), abs=0.06)


def test_the_shaking_is_the_median_times_the_residual():
    frame, recipe = Frame(300), Recipe(seed=2)
    rupture = make_rupture(recipe, frame)
    shaking = make_shaking(recipe, frame, rupture, steep(frame))
    x, y = centres_m(frame.grid)
    for row, column in [(0, 0), (17, 500), (255, 256), (256, 3), (539, 539)]:
        median = pga_median_g(
            rupture.magnitude,
            rupture.distance_km(x[column], y[row]),
            shaking.vs30_m_s[row, column],
            style=rupture.style,
        )
        residual = shaking.residual.node_value(x[column], y[row])
        assert shaking.pga_g[row, column] == pytest.approx(median * np.exp(0.495 * residual), rel=2e-3)


def test_the_same_recipe_shakes_the_same_and_another_seed_does_not():
    recipe = Recipe(seed=3)
    rupture = make_rupture(recipe, FRAME)
    first, again = (make_shaking(recipe, FRAME, rupture, steep()).pga_g for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (make_shaking(Recipe(seed=4), FRAME, rupture, steep()).pga_g != first).any()


# --- ShakeMap ---


def shaken(seed, frame=FRAME, degrees=25.0):
    recipe = Recipe(seed=seed)
    return recipe, make_shaking(recipe, frame, make_rupture(recipe, frame), steep(frame, degrees))


@pytest.fixture(scope="module")
def event():
    return shaken(1)


def test_coslide_reads_what_was_written(event, tmp_path):
    recipe, shaking = event
    nodes = make_shakemap(recipe, shaking)
    write_shakemap(tmp_path / "grid.xml", recipe, shaking, nodes)
    found = read_shakemap(tmp_path / "grid.xml")
    np.testing.assert_allclose(found.pga_g.values, nodes.pga_g, rtol=1e-3)
    np.testing.assert_allclose(found.ln_std.values, nodes.ln_std, atol=1e-4)
    column, row = ~found.pga_g.geobox.affine * (nodes.lon_deg[5], nodes.lat_deg[7])
    assert (column, row) == pytest.approx((5.5, 7.5), abs=1e-3)
    assert not any("no unit" in note for note in found.notes)


def test_the_file_is_the_same_to_the_byte_and_is_marked_as_a_scenario(event, tmp_path):
    for name in ("one.xml", "two.xml"):
        write_shakemap(tmp_path / name, *event, make_shakemap(*event))
    assert (tmp_path / "one.xml").read_bytes() == (tmp_path / "two.xml").read_bytes()
    root = ElementTree.parse(tmp_path / "one.xml").getroot()
    assert root.attrib["shakemap_event_type"] == "SCENARIO"
    about = next(child.attrib for child in root if child.tag.endswith("}event"))
    assert about["event_timestamp"] == EVENT_TIME.strftime("%Y-%m-%dT%H:%M:%S")
    assert float(about["magnitude"]) == event[1].rupture.magnitude


def test_the_map_reaches_a_tenth_of_a_degree_beyond_the_frame(event):
    nodes = make_shakemap(*event)
    box = event[1].frame.grid.boundingbox
    corners = to_degrees([box.left, box.left, box.right, box.right], [box.bottom, box.top, box.bottom, box.top])
    for degrees, axis in zip(corners, (nodes.lon_deg, nodes.lat_deg), strict=True):
        assert min(degrees) - 0.11 < axis.min() < min(degrees) - 0.1
        assert max(degrees) + 0.1 < axis.max() < max(degrees) + 0.11
    np.testing.assert_allclose(np.diff(nodes.lon_deg), 1 / 120)


def test_the_residual_of_the_map_is_that_of_a_gaussian_process(event):
    places, residual = stations(*event)
    middle = event[1].rupture.middle_m
    x, y = np.meshgrid(*(np.linspace(centre - 9000, centre + 9000, 7) for centre in middle))
    at = np.stack([x.ravel(), y.ravel()], axis=1)
    kernel = Matern(length_scale=8500 / 3, length_scale_bounds="fixed", nu=0.5)
    witness = GaussianProcessRegressor(kernel, alpha=0.0, optimizer=None).fit(places, residual)
    expected, deviation = witness.predict(at, return_std=True)
    mean, variance = krige(places, residual, at)
    np.testing.assert_allclose(mean, expected, atol=1e-6)
    np.testing.assert_allclose(np.sqrt(variance), deviation, atol=1e-6)


def test_the_error_of_the_map_is_as_large_as_its_standard_deviation():
    """Over many earthquakes, at nodes on the frame; sites are alike, so that only the residual is uncertain."""
    scores = []
    for seed in range(30):
        recipe, shaking = shaken(seed)
        nodes = make_shakemap(recipe, shaking)
        column, row = ~FRAME.grid.affine * to_metres(*np.meshgrid(nodes.lon_deg, nodes.lat_deg))
        inside = (column >= 0) & (column < FRAME.side_px) & (row >= 0) & (row < FRAME.side_px)
        truth = shaking.pga_g[row[inside].astype(int), column[inside].astype(int)]
        scores.append((np.log(truth / nodes.pga_g[inside]) / nodes.ln_std[inside]).ravel())
    scores = np.concatenate(scores)
    assert np.sqrt(np.mean(np.square(scores))) == pytest.approx(1, abs=0.15)
    assert abs(np.mean(scores)) < 0.3


@pytest.mark.parametrize("seed", range(4))
def test_levels_divide_the_scene_into_all_six_classes(seed, tmp_path):
    frame = Frame(300)
    recipe, shaking = shaken(seed, frame)
    nodes = make_shakemap(recipe, shaking)
    levels = levels_g(shaking, nodes)
    write_shakemap(tmp_path / "grid.xml", recipe, shaking, nodes)
    pga = interpolate_raster(read_shakemap(tmp_path / "grid.xml").pga_g, frame.scene)
    classes = class_by_edges(pga, levels, lowest=0)
    assert np.unique(classes).tolist() == [0, 1, 2, 3, 4, 5]
    assert np.bincount(classes.ravel()).min() > 0.03 * classes.size


def test_without_a_residual_near_a_station_the_map_is_the_median(event):
    recipe, shaking = event
    nodes = make_shakemap(recipe, shaking)
    far = np.unravel_index(nodes.ln_std.argmax(), nodes.ln_std.shape)
    assert nodes.ln_std[far] == pytest.approx(0.495, abs=0.01)
    median = pga_median_g(
        shaking.rupture.magnitude,
        shaking.rupture.distance_km(*to_metres(nodes.lon_deg[far[1]], nodes.lat_deg[far[0]])),
        760.0,
        style=shaking.rupture.style,
    )
    assert nodes.pga_g[far] == pytest.approx(median, rel=0.1)
