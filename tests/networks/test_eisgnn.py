"""EISGNN against its equations written as loops, and its attention against torch_geometric."""

import dataclasses
import math
import warnings

import numpy as np
import pytest
import torch

from coslide.networks.eisgnn import EISGNN
from coslide.networks.graph import GraphOptions


@pytest.fixture
def layer():
    torch.manual_seed(0)
    layer = EISGNN(5, 12, GraphOptions(heads=3, k=4)).double()
    with torch.no_grad():  # lambda and mu of 1 would hide a swap
        layer.lambda_.copy_(torch.tensor([0.5, 1.5, -2.0]))
        layer.mu.copy_(torch.tensor([2.0, 0.3, 0.7]))
    return layer


@pytest.fixture
def nodes():
    return torch.randn(2, 9, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def changed(layer, **options):
    """Change options of a layer that leave its weights as they are."""
    layer.options = dataclasses.replace(layer.options, **options)
    return layer


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


def reference_attention(layer, x, h, head, nearest):
    """Return the attention weights of each node's neighbours, as lists, from Eq. 5-6."""
    d = h.shape[1]
    a = layer.attention[head].detach().numpy()
    rows = slice(head * d, (head + 1) * d)
    weights = []
    for i, chosen in enumerate(nearest):
        if layer.options.attn_param == "dgl":
            z = [layer.w_dst.weight.detach().numpy()[rows] @ x[i] + h[j] for j in chosen]
        else:
            z = [np.concatenate([h[i], h[j]]) @ layer.w2[head].detach().numpy() for j in chosen]
        if layer.options.attn_order == "gatv2":
            logits = [a @ np.where(value > 0, value, 0.2 * value) for value in z]
        else:
            logits = [value @ a if value @ a > 0 else 0.2 * (value @ a) for value in z]
        weights.append(softmax(logits))
    return weights


def reference_selection(layer, h3, i, chosen):
    """Return the selected neighbours of node i and their weights, from Eq. 7-10."""
    m = max(1, int(len(chosen) * layer.options.select_factor))
    eic = {j: reference_eic(h3, i, j, layer.options.e_min) for j in chosen}
    ranked = sorted(chosen, key=lambda j: -eic[j])[:m]
    of_all = dict(zip(chosen, softmax(list(eic.values())), strict=True))
    weights = {
        "softmax_selected": softmax([eic[j] for j in ranked]),
        "softmax_all": [of_all[j] for j in ranked],
        "sum": [eic[j] / sum(eic[other] for other in ranked) for j in ranked],
        "none": [eic[j] for j in ranked],
    }[layer.options.eic_norm]
    return list(zip(ranked, weights, strict=True))


def reference_head(layer, x, head):
    """Return one head's output for the nodes x (node, Cin), from section 1.4's equations, node by node."""
    d = layer.out_channels // layer.options.heads
    rows = slice(head * d, (head + 1) * d)
    h = x @ layer.w1.weight.detach().numpy()[rows].T
    h3 = x @ layer.w3.weight.detach().numpy()[rows if layer.options.eic_scope == "head" else slice(None)].T
    first = h if layer.options.share_w1 else x @ layer.w1_of_equation_1.weight.detach().numpy()[rows].T
    nearest = reference_neighbours(x, layer.options.k, layer.options.include_self)
    weights = reference_attention(layer, x, h, head, nearest)
    attended = [sum(w * h[j] for w, j in zip(*pair, strict=True)) for pair in zip(weights, nearest, strict=True)]
    out = []
    for i, chosen in enumerate(nearest):
        aggregated = sum(w * attended[j] for j, w in reference_selection(layer, h3, i, chosen))
        out.append(layer.lambda_[head].item() * aggregated + layer.mu[head].item() * attended[i] + first[i])
    return np.array(out)


def reference(layer, x):
    heads = range(layer.options.heads)
    return np.stack([np.concatenate([reference_head(layer, one, c) for c in heads], axis=1) for one in x.numpy()])


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("select_factor", [0.3, 0.8, 1.0])
@pytest.mark.parametrize("k", [4, 9])
def test_the_layer_equals_its_equations_written_as_loops(layer, nodes, k, select_factor, include_self):
    layer = changed(layer, k=k, select_factor=select_factor, include_self=include_self)
    np.testing.assert_allclose(layer(nodes).detach().numpy(), reference(layer, nodes), rtol=0, atol=1e-10)


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("select_factor", [0.3, 0.8, 1.0])
@pytest.mark.parametrize("k", [4, 9])
def test_the_compiled_layer_equals_its_equations_written_as_loops(layer, nodes, k, select_factor, include_self):
    layer = changed(layer, k=k, select_factor=select_factor, include_self=include_self)
    expected = reference(layer, nodes)
    np.testing.assert_allclose(layer.float()(nodes.float()).detach().numpy(), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"attn_order": "eq5"},
        {"attn_param": "dgl"},
        {"attn_order": "eq5", "attn_param": "dgl"},
        {"share_w1": False},
        {"eic_norm": "softmax_all"},
        {"eic_norm": "sum"},
        {"eic_norm": "none"},
        {"eic_scope": "full"},
        {"eic_scope": "full", "eic_norm": "sum", "share_w1": False, "attn_param": "dgl"},
    ],
    ids=str,
)
def test_every_option_equals_its_equations_written_as_loops(layer, nodes, options):
    torch.manual_seed(0)
    other = EISGNN(5, 12, GraphOptions(heads=3, k=4, select_factor=0.5, **options)).double()
    with torch.no_grad():
        other.lambda_.copy_(layer.lambda_)
        other.mu.copy_(layer.mu)
    np.testing.assert_allclose(other(nodes).detach().numpy(), reference(other, nodes), rtol=0, atol=1e-10)


def test_the_floor_of_the_entropy_equals_the_equations_where_it_holds(layer, nodes):
    layer = changed(layer, e_min=1.5)  # log 4 = 1.39 is the entropy of equal channels: most pairs are on the floor
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


def features(layer, nodes):
    """Return W1 x of the first graph as (node, head, d)."""
    return layer.w1(nodes)[0].unflatten(-1, (layer.options.heads, -1))


def edges(nearest):
    return torch.stack([nearest.flatten(), torch.arange(len(nearest)).repeat_interleave(nearest.shape[1])])


def test_the_attention_weights_are_those_of_torch_geometric(layer, nodes, gatv2):
    found = layer.neighbourhood(nodes)
    h = layer.w1(nodes)[0]
    _, (_, expected) = gatv2(h, edges(found.nodes[0]), return_attention_weights=True)
    torch.testing.assert_close(found.attention[0], expected.view(9, 4, 3).permute(2, 0, 1), rtol=0, atol=1e-12)


def test_the_attention_output_is_that_of_torch_geometric_whose_message_is_b_h(layer, nodes, gatv2):
    found = layer.neighbourhood(nodes)
    attended = torch.einsum("cik,ikcd->icd", found.attention[0], features(layer, nodes)[found.nodes[0]])
    of_neighbour = layer.w2.chunk(2, dim=1)[1]  # torch_geometric sums B h_j where EISGNN sums h_j: sum B h = B sum h
    mapped = torch.einsum("icd,cde->ice", attended, of_neighbour).flatten(1)
    expected = gatv2(layer.w1(nodes)[0], edges(found.nodes[0]))
    torch.testing.assert_close(mapped, expected, rtol=0, atol=1e-12)


def test_with_maps_of_its_own_for_both_ends_the_whole_attention_is_that_of_torch_geometric(nodes, gatv2):
    """With mu 1, lambda 0 and W1 of Eq. 1 zero the layer gives its attention output alone."""
    torch.manual_seed(0)
    layer = EISGNN(5, 12, GraphOptions(heads=3, k=4, attn_param="dgl", share_w1=False)).double()
    conv = type(gatv2)(5, 4, heads=3, bias=False, add_self_loops=False).double()
    with torch.no_grad():
        layer.lambda_.zero_()
        layer.w1_of_equation_1.weight.zero_()
        conv.lin_l.weight.copy_(layer.w1.weight)
        conv.lin_r.weight.copy_(layer.w_dst.weight)
        conv.att.copy_(layer.attention[None])
    expected = conv(nodes[0], edges(layer.neighbourhood(nodes).nodes[0]))
    torch.testing.assert_close(layer(nodes)[0], expected, rtol=0, atol=1e-12)


def test_equal_nodes_attend_to_their_neighbours_evenly(layer):
    same = torch.ones(1, 9, 5, dtype=torch.float64)
    weights = layer.neighbourhood(same).attention
    torch.testing.assert_close(weights, torch.full_like(weights, 0.25))


def test_six_of_eight_neighbours_are_selected_with_the_defaults():
    weights = EISGNN(4, 16).neighbourhood(torch.randn(1, 64, 4)).weights
    assert ((weights > 0).sum(dim=-1) == 6).all()


def test_exactly_the_share_is_selected_where_all_are_equal(layer):
    weights = layer.neighbourhood(torch.ones(2, 9, 5, dtype=torch.float64)).weights
    torch.testing.assert_close(weights, torch.tensor([1, 1, 1, 0.0]).double().div(3).expand_as(weights))


def test_the_weights_of_the_selected_sum_to_one(layer, nodes):
    weights = layer.neighbourhood(nodes).weights
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 3, 9, dtype=torch.float64))


def test_the_selected_have_the_largest_coefficients(layer, nodes):
    found = layer.neighbourhood(nodes)
    lowest_kept = found.eic.masked_fill(found.weights == 0, torch.inf).amin(dim=-1)
    highest_left = found.eic.masked_fill(found.weights > 0, -torch.inf).amax(dim=-1)
    assert (lowest_kept >= highest_left).all()


def test_a_sum_of_coefficients_near_zero_leaves_the_output_finite(layer):
    layer = changed(layer, eic_norm="sum")
    opposite = torch.tensor([[1.0], [-1.0]], dtype=torch.float64).expand(1, 2, 5)  # cosine 1 and -1
    layer = changed(layer, e_min=1e9)  # 1 / e vanishes
    layer = changed(layer, select_factor=1.0)
    assert layer(opposite).isfinite().all()


def test_nodes_may_be_numbered_in_any_order(layer, nodes):
    order = torch.randperm(9, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(layer(nodes[:, order]), layer(nodes)[:, order], rtol=0, atol=1e-12)


def test_graphs_of_a_batch_do_not_see_each_other(layer, nodes):
    torch.testing.assert_close(layer(nodes)[1:], layer(nodes[1:]), rtol=0, atol=1e-12)


def test_a_node_of_small_features_has_a_direction_like_any_other(layer, nodes):
    nodes[0, 3] *= 1e-3
    np.testing.assert_allclose(layer(nodes).detach().numpy(), reference(layer, nodes), rtol=0, atol=1e-10)


@pytest.mark.parametrize("e_min", [0.1, 0.01, 0.001])
def test_exactly_the_share_is_selected_of_equal_peaked_nodes_in_single_precision(layer, peaked, e_min):
    layer = changed(layer, e_min=e_min)
    weights = layer.float().neighbourhood(peaked.float()).weights
    assert ((weights > 0).sum(dim=-1) == 3).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("options", [{}, {"attn_order": "eq5"}, {"eic_scope": "full"}, {"attn_param": "dgl"}], ids=str)
def test_it_runs_without_gradients_in_automatic_mixed_precision(nodes, dtype, options):
    layer = EISGNN(5, 12, GraphOptions(heads=3, k=4, **options))
    with torch.no_grad(), torch.autocast("cpu", dtype=dtype):
        assert layer(nodes.float()).isfinite().all()


def test_large_features_keep_their_cosine_in_half_precision(layer, nodes):
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.float16):
        found = layer.float().neighbourhood(1000 * nodes.float()).eic
    expected = layer.double().neighbourhood(1000 * nodes).eic
    torch.testing.assert_close(found[..., 0].double(), expected[..., 0], rtol=0.02, atol=0)  # of a node with itself


@pytest.fixture
def peaked(layer, nodes):
    """Return nodes whose h' has a softmax that is one-hot on the same channel of each head, for every node."""
    with torch.no_grad():
        layer.w3.weight.zero_()
        layer.w3.weight[::4, 0] = 1e4
    nodes[..., 0] = 1
    return nodes


def test_equal_peaked_features_have_a_score_of_the_floor_and_a_cosine_of_one(layer, peaked):
    eic = layer.neighbourhood(peaked).eic
    torch.testing.assert_close(eic, torch.full_like(eic, 1 / 0.1 + 1))


def test_equal_peaked_features_have_finite_gradients(layer, peaked):
    layer.neighbourhood(peaked).eic.sum().backward()
    assert layer.w3.weight.grad.isfinite().all()


def test_nodes_that_are_all_zero_have_finite_gradients(layer):
    layer(torch.zeros(1, 9, 5, dtype=torch.float64)).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


def test_channels_that_heads_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="multiple of heads, found 12 and 8"):
        EISGNN(3, 12)


@pytest.mark.parametrize(
    "option",
    [{"k": 0}, {"select_factor": 0.0}, {"select_factor": 1.1}, {"e_min": 0.0}, {"eic_norm": "other"}],
    ids=str,
)
def test_an_option_outside_its_range_is_refused(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        GraphOptions(**option)


def test_each_head_is_drawn_with_the_spread_of_its_own_size():
    torch.manual_seed(0)
    layer = EISGNN(64, 512, GraphOptions(heads=2))
    expected = math.sqrt(2) * math.sqrt(2 / (512 + 256))  # Xavier normal, gain of ReLU, 2d -> d
    assert layer.w2.std().item() == pytest.approx(expected, rel=0.02)
