"""The shaking of a simulated earthquake against other programs of the same model, and its residual."""

import numpy as np
import pytest

from coslide.simulate.frame import Frame, centres_m
from coslide.simulate.ground_motion import make_shaking, pga_median_g, pga_phi, vs30_of
from coslide.simulate.recipe import Recipe
from coslide.simulate.rupture import make_rupture

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
    return np.full((frame.cells, frame.cells), degrees, dtype=np.float32)


@pytest.mark.parametrize(("magnitude", "distance", "vs30", "style", "expected"), OF_PYGMM)
def test_the_median_is_that_of_pygmm(magnitude, distance, vs30, style, expected):
    assert pga_median_g(magnitude, distance, vs30, style=style) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("magnitude", "distance", "vs30", "style", "expected"), OF_OPENQUAKE)
def test_the_median_is_that_of_the_tables_of_openquake(magnitude, distance, vs30, style, expected):
    assert pga_median_g(magnitude, distance, vs30, style=style) == pytest.approx(expected, rel=3e-6)


@pytest.mark.parametrize(("distance", "vs30", "total"), TOTAL_STD)
def test_the_deviation_within_the_event_is_that_of_pygmm(distance, vs30, total):
    assert np.hypot(pga_phi(6.5, distance, vs30), 0.348) == pytest.approx(total, rel=1e-12)


def test_shaking_fades_with_distance_and_soft_ground_amplifies_weak_shaking_more():
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
    x, y = centres_m(frame.ground)
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
