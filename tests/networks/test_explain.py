"""Where a pixel looked, against the graph of the block asked directly."""

import numpy as np
import pytest
import torch

from coslide import networks
from coslide.networks.graph import neighbours


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return networks.create("egcn", bands=5, width=16)


@pytest.fixture(scope="module")
def x():
    return torch.randn(5, 96, 128, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def views(net, x):
    return net.explain(x, row=41, col=100)


def test_every_block_is_seen_once_in_the_order_in_which_it_runs(views):
    assert [view.depth for view in views] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1]


def test_a_node_stands_for_the_same_patch_at_every_depth(views):
    assert {(view.patch, view.node) for view in views} == {(16, (32, 96))}


def test_the_first_blocks_neighbours_are_nearest_among_the_corners_of_the_inputs_patches(views, x):
    nodes = x[:, ::16, ::16].flatten(1).T
    found = neighbours(nodes[None], 8)[0, 2 * 8 + 6]  # patch row 2, column 6, of 8 across
    expected = [[16 * (int(n) // 8), 16 * (int(n) % 8)] for n in found]
    assert views[0].neighbours.tolist() == expected


def test_the_pixels_own_patch_comes_first(views):
    assert all(tuple(view.neighbours[0]) == view.node for view in views)


def test_learned_weights_are_those_of_the_block(net, x):
    changed = networks.create("egcn", bands=5, width=16)
    block = changed.decoder[1][0][0]
    with torch.no_grad():
        block.alpha.fill_(0.5)
        block.beta.fill_(-2)
        block.branch.eisgnn.lambda_.copy_(torch.arange(8.0))
        block.branch.eisgnn.mu.fill_(3)
    view = next(view for view in changed.explain(x, 0, 0) if view.block == "decoder.1.0.0")
    assert (view.alpha, view.beta, view.lambda_.tolist(), view.mu.tolist()) == (0.5, -2, [*range(8)], [3.0] * 8)


def test_weights_sum_to_one_over_the_six_selected_of_eight(views):
    sums = np.array([view.weights.sum(axis=1) for view in views])
    selected = np.array([(view.weights > 0).sum(axis=1) for view in views])
    np.testing.assert_allclose(sums, 1, rtol=1e-5)
    assert (selected == 6).all()


def test_the_map_spreads_the_weights_over_the_neighbours_patches(views):
    looked = views[3].weight_map((96, 128))
    means = views[3].weights.mean(axis=0)
    row, col = views[3].neighbours[2]
    assert looked.sum() == pytest.approx(256, rel=1e-5)
    assert looked[row + 15, col + 15] == pytest.approx(means[2])


def test_looking_does_not_change_the_network(net, x):
    net.train()
    before = [hook for module in net.modules() for hook in module._forward_pre_hooks]
    net.explain(x, 0, 0)
    after = [hook for module in net.modules() for hook in module._forward_pre_hooks]
    assert net.training
    assert before == after == []


def test_one_set_of_coefficients_for_all_heads_is_one_row(x):
    views = networks.create("egcn", bands=5, width=16, eic_scope="full").explain(x[None], 0, 0)
    assert (views[0].eic.shape, views[0].attention.shape) == ((1, 8), (8, 8))


@pytest.mark.parametrize(
    ("shape", "pixel", "text"),
    [
        ((2, 5, 32, 32), (0, 0), r"expected shape \(band, row, col\)"),
        ((5, 32, 32), (32, 0), "found row 32, col 0"),
        ((5, 32, 32), (0, -1), "found row 0, col -1"),
        ((5, 40, 32), (0, 0), "multiples of 16"),
    ],
)
def test_what_is_no_pixel_of_one_map_is_refused(net, shape, pixel, text):
    with pytest.raises(ValueError, match=text):
        net.explain(torch.zeros(shape), *pixel)
