"""EISGNN against its equations written as loops, and its attention against torch_geometric."""

import math
import warnings

import numpy as np
import pytest
import torch

from coslide.networks.eisgnn import EISGNN, neighbours, selected_count


@pytest.fixture
def layer():
    torch.manual_seed(0)
    layer = EISGNN(5, 12, heads=3, k=4).double()
    with torch.no_grad():  # lambda and mu of 1 would hide a swap
        layer.lambda_.copy_(torch.tensor([0.5, 1.5, -2.0]))
        layer.mu.copy_(torch.tensor([2.0, 0.3, 0.7]))
    return layer


@pytest.fixture
def nodes():
    return torch.randn(2, 9, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def softmax(values):
    powers = [math.exp(value - max(values)) for value in values]
    return np.array([power / sum(powers) for power in powers])


def reference_neighbours(x, k, include_self):
    lists = []
    for i in range(len(x)):
        others = sorted((math.dist(x[i], x[j]), j) for j in range(len(x)) if j != i)
        first = [i] if include_self else []
        lists.append((first + [j for _, j in others])[:k])
    return lists


def reference_eic(h3, i, j, e_min):
    p_i, p_j = softmax(h3[i]), softmax(h3[j])
    entropy = max(e_min, -sum(a * math.log(b) for a, b in zip(p_i, p_j, strict=True)))
    cosine = h3[i] @ h3[j] / (np.linalg.norm(h3[i]) * np.linalg.norm(h3[j]))
    return 1 / entropy + cosine


def reference_head(layer, x, head):
    """Return one head's output for the nodes x (node, Cin), from section 1.4's equations, node by node."""
    d = layer.out_channels // layer.heads
    rows = slice(head * d, (head + 1) * d)
    h = x @ layer.w1.weight.detach().numpy()[rows].T
    h3 = x @ layer.w3.weight.detach().numpy()[rows].T
    w2, a = layer.w2[head].detach().numpy(), layer.attention[head].detach().numpy()
    nearest = reference_neighbours(x, layer.k, layer.include_self)
    attended = []
    for i, chosen in enumerate(nearest):
        z = [np.concatenate([h[i], h[j]]) @ w2 for j in chosen]
        weights = softmax([a @ np.where(value > 0, value, 0.2 * value) for value in z])
        attended.append(sum(w * h[j] for w, j in zip(weights, chosen, strict=True)))
    out = []
    for i, chosen in enumerate(nearest):
        m = max(1, int(len(chosen) * layer.select_factor))
        ranked = sorted(((reference_eic(h3, i, j, layer.e_min), j) for j in chosen), reverse=True)[:m]
        weights = softmax([eic for eic, _ in ranked])
        aggregated = sum(w * attended[j] for w, (_, j) in zip(weights, ranked, strict=True))
        out.append(layer.lambda_[head].item() * aggregated + layer.mu[head].item() * attended[i] + h[i])
    return np.array(out)


def reference(layer, x):
    heads = range(layer.heads)
    return np.stack([np.concatenate([reference_head(layer, one, c) for c in heads], axis=1) for one in x.numpy()])


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("select_factor", [0.3, 0.8, 1.0])
@pytest.mark.parametrize("k", [4, 9])
def test_the_layer_equals_its_equations_written_as_loops(layer, nodes, k, select_factor, include_self):
    layer.k, layer.select_factor, layer.include_self = k, select_factor, include_self
    np.testing.assert_allclose(layer(nodes).detach().numpy(), reference(layer, nodes), rtol=0, atol=1e-10)


def test_the_floor_of_the_entropy_equals_the_equations_where_it_holds(layer, nodes):
    layer.e_min = 1.5  # log 4 = 1.39 is the entropy of equal channels: most pairs are on the floor
    np.testing.assert_allclose(layer(nodes).detach().numpy(), reference(layer, nodes), rtol=0, atol=1e-10)


@pytest.fixture
def gatv2(layer):
    """Return torch_geometric's GATv2Conv with the layer's weights: lin_r is A h_i, lin_l is B h_j, per head."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # its import still scripts functions
        from torch_geometric.nn import GATv2Conv
    conv = GATv2Conv(12, 4, heads=3, bias=False, add_self_loops=False).double()
    of_node, of_neighbour = layer.w2.detach().chunk(2, dim=1)
    with torch.no_grad():
        conv.lin_r.weight.copy_(torch.block_diag(*of_node.transpose(1, 2)))
        conv.lin_l.weight.copy_(torch.block_diag(*of_neighbour.transpose(1, 2)))
        conv.att.copy_(layer.attention[None])
    return conv


def attention(layer, nodes):
    """Return h, the neighbours and the layer's attention weights of the first graph."""
    nearest = neighbours(nodes, layer.k)
    h = layer._split_heads(layer.w1(nodes))
    return h[0], nearest[0], layer._attention_weights(h, nearest)[0]


def edges(nearest):
    return torch.stack([nearest.flatten(), torch.arange(len(nearest)).repeat_interleave(nearest.shape[1])])


def test_the_attention_weights_are_those_of_torch_geometric(layer, nodes, gatv2):
    h, nearest, weights = attention(layer, nodes)
    _, (_, expected) = gatv2(h.transpose(0, 1).flatten(1), edges(nearest), return_attention_weights=True)
    torch.testing.assert_close(weights, expected.view(9, 4, 3).permute(2, 0, 1), rtol=0, atol=1e-12)


def test_the_attention_output_is_that_of_torch_geometric_whose_message_is_b_h(layer, nodes, gatv2):
    h, nearest, weights = attention(layer, nodes)
    attended = torch.einsum("cik,cikd->cid", weights, h[:, nearest])
    of_neighbour = layer.w2.chunk(2, dim=1)[1]  # torch_geometric sums B h_j where EISGNN sums h_j: sum B h = B sum h
    mapped = (attended @ of_neighbour).transpose(0, 1).flatten(1)
    torch.testing.assert_close(mapped, gatv2(h.transpose(0, 1).flatten(1), edges(nearest)), rtol=0, atol=1e-12)


def test_equal_nodes_attend_to_their_neighbours_evenly(layer):
    same = torch.ones(1, 9, 5, dtype=torch.float64)
    _, _, weights = attention(layer, same)
    torch.testing.assert_close(weights, torch.full_like(weights, 0.25))


def test_neighbours_are_ordered_by_distance_with_the_node_itself_first():
    line = torch.tensor([0.0, 10.0, 1.0, 5.0, 12.5]).view(1, 5, 1)
    assert neighbours(line, 3)[0].tolist() == [[0, 2, 3], [1, 4, 3], [2, 0, 3], [3, 2, 0], [4, 1, 3]]


def test_neighbours_without_self_leave_the_node_out():
    line = torch.tensor([0.0, 10.0, 1.0, 5.0, 12.5]).view(1, 5, 1)
    assert neighbours(line, 2, include_self=False)[0].tolist() == [[2, 3], [4, 3], [0, 3], [2, 0], [1, 3]]


def test_among_equal_nodes_each_comes_first_for_itself_and_the_rest_follow_by_index():
    same = torch.full((1, 40, 7), 1e3)
    found = neighbours(same, 3)[0].tolist()
    assert found == [[0, 1, 2], [1, 0, 2]] + [[i, 0, 1] for i in range(2, 40)]


def test_nodes_far_from_the_origin_are_told_apart():
    place = torch.randperm(64, generator=torch.Generator().manual_seed(3))
    features = 1000 + place.view(1, 64, 1).float() / 100  # squares, as a matrix product needs, would round this off
    found = place[neighbours(features, 2, include_self=False)[0]]
    assert ((found - place[:, None]).abs() <= 2).all()


def test_distances_are_euclidean():
    corner = torch.tensor([[[0.0, 0.0], [3.0, 3.0], [0.0, 5.0]]])  # L1 would choose node 2, and so would the largest
    assert neighbours(corner, 2)[0, 0].tolist() == [0, 1]


@pytest.mark.parametrize(("include_self", "count"), [(True, 3), (False, 2)])
def test_with_fewer_nodes_than_k_all_are_used(include_self, count):
    assert neighbours(torch.randn(2, 3, 4), 8, include_self=include_self).shape == (2, 3, count)


def test_half_precision_nodes_have_neighbours():
    line = torch.tensor([0.0, 10.0, 1.0], dtype=torch.bfloat16).view(1, 3, 1)
    assert neighbours(line, 2)[0].tolist() == [[0, 2], [1, 2], [2, 0]]


def test_a_single_node_without_itself_is_refused():
    with pytest.raises(ValueError, match="found k = 8 and 0 nodes"):
        neighbours(torch.zeros(1, 1, 4), 8, include_self=False)


def test_a_map_in_place_of_nodes_is_refused():
    with pytest.raises(ValueError, match=r"expected shape \(batch, node, channel\), found \(1, 2, 3, 4\)"):
        neighbours(torch.zeros(1, 2, 3, 4), 8)


@pytest.mark.parametrize(("k", "factor", "m"), [(8, 0.8, 6), (16, 0.8, 12), (1, 0.2, 1), (3, 0.2, 1), (50, 0.58, 29)])
def test_the_selection_keeps_the_whole_part_of_its_share(k, factor, m):
    assert selected_count(k, factor) == m


def test_six_of_eight_neighbours_are_selected_with_the_defaults():
    layer = EISGNN(4, 16)
    nearest = neighbours(torch.randn(1, 64, 4), layer.k)
    _, nodes = layer._select(torch.randn(1, 8, 64, 8), nearest)
    assert nodes.shape == (1, 8, 64, 6)


def test_the_weights_of_the_selected_sum_to_one_when_applied(layer, nodes):
    """With every node's attention output the same, aggregating it with weights that sum to 1 gives it back."""
    same = torch.ones_like(nodes)
    h = layer._split_heads(layer.w1(same))
    scale = (1 + layer.mu + layer.lambda_).view(1, 3, 1, 1)
    torch.testing.assert_close(layer(same), (scale * h).transpose(1, 2).flatten(2))


def test_nodes_may_be_numbered_in_any_order(layer, nodes):
    order = torch.randperm(9, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(layer(nodes[:, order]), layer(nodes)[:, order], rtol=0, atol=1e-12)


def test_graphs_of_a_batch_do_not_see_each_other(layer, nodes):
    torch.testing.assert_close(layer(nodes)[1:], layer(nodes[1:]), rtol=0, atol=1e-12)


def peaked(layer, nodes):
    """Return h' whose softmax is one-hot on the same channel for every node."""
    h = torch.zeros(len(nodes), layer.heads, nodes.shape[1], 4, dtype=torch.float64)
    h[..., 0] = 1e4
    return h.requires_grad_()


def test_equal_peaked_features_have_a_score_of_the_floor_and_a_cosine_of_one(layer, nodes):
    scores = layer._scores(peaked(layer, nodes), neighbours(nodes, 4))
    torch.testing.assert_close(scores, torch.full_like(scores, 1 / 0.1 + 1))


def test_equal_peaked_features_have_a_finite_gradient(layer, nodes):
    h = peaked(layer, nodes)
    layer._scores(h, neighbours(nodes, 4)).sum().backward()
    assert h.grad.isfinite().all()


def test_nodes_that_are_all_zero_have_finite_gradients(layer):
    layer(torch.zeros(1, 9, 5, dtype=torch.float64)).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


def test_channels_that_heads_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="multiple of heads, found 12 and 8"):
        EISGNN(3, 12)


@pytest.mark.parametrize("option", [{"k": 0}, {"select_factor": 0.0}, {"select_factor": 1.1}, {"e_min": 0.0}])
def test_an_option_outside_its_range_is_refused(option):
    with pytest.raises(ValueError, match="expected k >= 1"):
        EISGNN(3, 16, **option)


def test_each_head_is_drawn_with_the_spread_of_its_own_size():
    torch.manual_seed(0)
    layer = EISGNN(64, 512, heads=2)
    expected = math.sqrt(2) * math.sqrt(2 / (512 + 256))  # Xavier normal, gain of ReLU, 2d -> d
    assert layer.w2.std().item() == pytest.approx(expected, rel=0.02)
