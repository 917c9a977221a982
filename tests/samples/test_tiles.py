"""What a network is fed with: normalisation, views and order."""

import numpy as np
import pytest
import torch

from coslide.indices.cube import Band
from coslide.indices.derivatives import aspect_class, slope_aspect_curvature
from coslide.samples.dataset import Draw, Order, Tiles
from coslide.samples.dihedral import turn, turn_aspect
from coslide.samples.normalise import fit_normalisation, normalise
from coslide.samples.windows import Window


def test_measurements_have_mean_0_and_deviation_1_on_the_training_ground():
    inputs = np.random.default_rng(0).normal(300, 40, (2, 50, 60)).astype(np.float32)
    where = np.zeros((50, 60), dtype=bool)
    where[:, :30] = True
    seen = normalise(inputs, fit_normalisation(inputs, [Band("a", "m", 0), Band("b", "m", 0)], where))
    np.testing.assert_allclose(seen[:, where].mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(seen[:, where].std(1), 1, atol=1e-5)


def test_held_out_ground_does_not_move_the_normalisation():
    inputs = np.random.default_rng(0).normal(0, 1, (1, 20, 20)).astype(np.float32)
    where = np.zeros((20, 20), dtype=bool)
    where[:10] = True
    before = fit_normalisation(inputs, [Band("a", "m", 0)], where)
    inputs[:, 10:] += 1000
    after = fit_normalisation(inputs, [Band("a", "m", 0)], where)
    assert before.offset == after.offset


def test_a_missing_value_is_fed_as_the_mean():
    inputs = np.array([[[1.0, 3.0, np.nan]]], dtype=np.float32)
    seen = normalise(inputs, fit_normalisation(inputs, [Band("a", "m", 0)], np.ones((1, 3), dtype=bool)))
    assert seen[0, 0].tolist() == [-1, 1, 0]


@pytest.mark.parametrize("values", [np.full((1, 4, 4), 7.0), np.full((1, 4, 4), np.nan)])
def test_a_constant_or_empty_channel_becomes_0(values):
    inputs = values.astype(np.float32)
    seen = normalise(inputs, fit_normalisation(inputs, [Band("a", "m", 0)], np.ones((4, 4), dtype=bool)))
    assert (seen == 0).all()


@pytest.mark.parametrize("view", range(8))
def test_turned_aspect_classes_are_those_of_the_turned_terrain(view):
    """The witness is the terrain kernel itself, run on the turned elevation."""
    rows, cols = np.mgrid[:40, :40]
    elevation = (50 * np.sin(rows / 7) + 40 * np.cos(cols / 5 + rows / 11)).astype(np.float32)

    def classes(z):
        terrain = slope_aspect_curvature(np.ascontiguousarray(z), 10.0)
        return aspect_class(terrain.aspect_deg, terrain.slope_deg)

    expected = classes(turn(elevation, view))
    found = turn_aspect(turn(classes(elevation), view), view)
    assert (found == expected).mean() > 0.995  # at a class edge, the edge itself may fall on the other side


def test_the_eight_views_of_a_tile_are_all_different():
    tile = np.arange(9).reshape(3, 3)
    assert len({turn(tile, view).tobytes() for view in range(8)}) == 8


def test_a_tile_and_its_labels_turn_together():
    inputs = np.random.default_rng(0).normal(size=(2, 64, 64)).astype(np.float32)
    labels = (inputs[0] > 1).astype(np.uint8)
    tiles = Tiles(inputs, labels, [Window(8, 16, 32, 32)])
    for view in range(8):
        x, y = tiles[Draw(0, view)]
        assert torch.equal(y, (x[0] > 1).long())


def test_a_turned_tile_leaves_the_raster_as_it_was():
    inputs = np.full((1, 32, 32), 3 / 9, dtype=np.float32)
    tiles = Tiles(inputs, np.zeros((32, 32), dtype=np.uint8), [Window(0, 0, 32, 32)], aspect=0)
    x, _ = tiles[Draw(0, 1)]
    np.testing.assert_allclose(x, 9 / 9)  # north-east turned left once is north-west
    np.testing.assert_allclose(inputs, 3 / 9)


def test_an_epoch_sees_every_tile_once_in_an_order_of_its_own():
    order = Order(20, seed=3, augment=True)
    epochs = []
    for epoch in (0, 1, 0):
        order.set_epoch(epoch)
        epochs.append(list(order))
    assert sorted(draw.tile for draw in epochs[0]) == list(range(20))
    assert epochs[0] == epochs[2] != epochs[1]


def test_without_augmentation_no_tile_is_turned():
    assert {draw.view for draw in Order(20, seed=3, augment=False)} == {0}
