"""Filling, flow and drained area against other libraries and slow copies of the definitions."""

import numpy as np
import pytest
from skimage.morphology import reconstruction

from coslide.simulate.drainage import (
    DIAGONAL,
    downstream_order,
    drained_area,
    fill_depressions,
    first_marked,
    steepest_receivers,
)
from coslide.simulate.noise import rough_field


@pytest.fixture(scope="module")
def ground():
    """Rough ground with many depressions, some of them large."""
    height = 1500 + 40 * rough_field(np.random.default_rng(4), (90, 70), 10.0, range_m=400.0, hurst=0.5)
    height[30:50, 20:40] -= 60
    height[60:66, 50:60] = 1480.0
    return height.astype(np.float32)


@pytest.fixture(scope="module")
def network(ground):
    filled = fill_depressions(ground)
    receiver = steepest_receivers(filled)
    return filled, receiver, downstream_order(receiver)


def test_filled_ground_is_that_of_morphological_reconstruction(ground):
    """By erosion from a surface that is as high as the ground at the rim and higher than all within."""
    seed = np.full(ground.shape, ground.max())
    seed[[0, -1], :], seed[:, [0, -1]] = ground[[0, -1], :], ground[:, [0, -1]]
    expected = reconstruction(seed, ground, method="erosion")
    filled = fill_depressions(ground)
    assert (expected > ground).mean() > 0.1
    np.testing.assert_allclose(filled, expected, rtol=0, atol=0.02)  # 100 cells of 0.12 mm
    assert (filled >= expected.astype(np.float32)).all()


def test_every_cell_inside_has_a_lower_neighbour(network):
    filled, receiver, _ = network
    flat = np.arange(filled.size).reshape(filled.shape)
    inside = (slice(1, -1), slice(1, -1))
    assert (receiver[inside] != flat[inside]).all()
    assert (filled.ravel()[receiver] <= filled).all()


def test_without_depressions_nothing_is_filled(network):
    filled, _, _ = network
    np.testing.assert_array_equal(fill_depressions(filled), filled)


def test_water_leaves_at_the_outlet_alone(ground):
    outlet = np.zeros(ground.shape, dtype=bool)
    outlet[44, 0] = True
    filled = fill_depressions(ground, outlet)
    receiver = steepest_receivers(filled)
    area = drained_area(receiver, downstream_order(receiver), 1.0)
    assert area[44, 0] == ground.size
    assert filled[44, 0] == ground[44, 0]


@pytest.mark.parametrize(
    ("outlets", "message"), [(np.zeros((90, 70), bool), "found none"), (np.ones((3, 3), bool), "shape")]
)
def test_outlets_that_cannot_be_are_refused(ground, outlets, message):
    with pytest.raises(ValueError, match=message):
        fill_depressions(ground, outlets)


@pytest.mark.parametrize("aslant", [DIAGONAL, 0.5, 1.0])
def test_water_takes_the_steepest_way(network, aslant):
    """A slow search over the neighbours; any of equally steep ones is right."""
    filled, _, _ = network
    receiver = steepest_receivers(filled, aslant)
    for i in range(0, 90, 3):
        for j in range(0, 70, 2):
            falls = {i * 70 + j: np.float32(0)}
            for a in range(max(i - 1, 0), min(i + 2, 90)):
                for b in range(max(j - 1, 0), min(j + 2, 70)):
                    fall = filled[i, j] - filled[a, b]
                    falls[a * 70 + b] = fall * np.float32(aslant) if a != i and b != j else fall
            assert falls[receiver[i, j]] == max(falls.values())


def test_the_order_goes_upstream(network):
    _, receiver, order = network
    place = np.empty(order.size, dtype=int)
    place[order] = np.arange(order.size)  # fails if a cell is missing
    np.testing.assert_array_equal(np.sort(order), np.arange(order.size))
    flat = receiver.ravel()
    moves = flat != np.arange(flat.size)
    assert (place[flat[moves]] < place[moves]).all()


def test_drained_area_is_that_of_walking_down_from_each_cell(network):
    _, receiver, order = network
    source = np.random.default_rng(1).uniform(50, 150, receiver.shape)
    expected = np.zeros(receiver.size)
    flat = receiver.ravel()
    for start in range(flat.size):
        cell = start
        expected[cell] += source.flat[start]
        while flat[cell] != cell:
            cell = flat[cell]
            expected[cell] += source.flat[start]
    np.testing.assert_allclose(drained_area(receiver, order, source).ravel(), expected, rtol=1e-6)


def test_what_leaves_is_all_that_has_fallen(network):
    _, receiver, order = network
    area = drained_area(receiver, order, 100.0)
    leaves = receiver.ravel() == np.arange(receiver.size)
    assert area.ravel()[leaves].sum() == pytest.approx(receiver.size * 100.0, rel=1e-6)


def test_the_first_marked_cell_is_that_of_walking_down(network):
    _, receiver, order = network
    marked = np.random.default_rng(2).random(receiver.shape) < 0.05
    found = first_marked(marked, receiver, order).ravel()
    flat = receiver.ravel()
    for start in range(0, flat.size, 7):
        cell = start
        while not marked.flat[cell] and flat[cell] != cell:
            cell = flat[cell]
        assert found[start] == (cell if marked.flat[cell] else -1)
