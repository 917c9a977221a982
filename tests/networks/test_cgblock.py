"""CGBlock and its graph branch against torch's own general layers."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from coslide.networks.cgblock import CGBlock, GraphBranch, PatchUp
from coslide.networks.eisgnn import EISGNN
from coslide.networks.graph import GraphOptions


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def branch_and_map():
    return GraphBranch(EISGNN(3, 16, GraphOptions(k=4)), rate=4), torch.randn(2, 3, 8, 12)


def test_the_graph_has_one_node_per_patch_row_by_row_from_its_upper_left_pixel():
    branch, x = branch_and_map()
    seen = []
    branch.eisgnn.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    branch(x)
    corners = [(row, col) for row in (0, 4) for col in (0, 4, 8)]
    torch.testing.assert_close(seen[0], torch.stack([x[:, :, row, col] for row, col in corners], dim=1))


def test_each_nodes_result_goes_back_to_its_own_patch():
    branch, x = branch_and_map()
    features = branch.eisgnn(F.interpolate(x, scale_factor=0.25, mode="nearest").flatten(2).transpose(1, 2))
    grid = features.transpose(1, 2).reshape(2, 16, 2, 3)
    expected = F.conv_transpose2d(grid, branch.up.weight, branch.up.bias, stride=4, groups=16)
    torch.testing.assert_close(branch(x), expected)


@pytest.mark.parametrize(
    ("mode", "general"),
    [
        ("full", lambda up, x: F.conv_transpose2d(x, up.weight, up.bias, stride=4)),
        ("grouped", lambda up, x: F.conv_transpose2d(x, up.weight, up.bias, stride=4, groups=8)),
        ("nearest", lambda _, x: x.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)),
        (
            "k2_chain",
            lambda up, x: F.conv_transpose2d(
                F.conv_transpose2d(x, up[0].weight, up[0].bias, stride=2), up[1].weight, up[1].bias, stride=2
            ),
        ),
    ],
)
def test_every_way_up_is_its_deconvolution(mode, general):
    branch = GraphBranch(EISGNN(3, 16, GraphOptions(k=4)), rate=4, up_mode=mode)
    x = torch.randn(2, 3, 8, 12)
    nodes = x[:, :, ::4, ::4].flatten(2).mT
    grid = branch.eisgnn(nodes).mT.reshape(2, 16, 2, 3)
    torch.testing.assert_close(branch(x), general(branch.up, grid))


def test_a_node_may_be_the_mean_of_its_patch():
    branch = GraphBranch(EISGNN(3, 16, GraphOptions(k=4)), rate=4, down_mode="avg")
    x, seen = torch.randn(2, 3, 8, 12), []
    branch.eisgnn.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    branch(x)
    means = [x[:, :, row : row + 4, col : col + 4].mean(dim=(2, 3)) for row in (0, 4) for col in (0, 4, 8)]
    torch.testing.assert_close(seen[0], torch.stack(means, dim=1))


def with_weights(block):
    nn.init.constant_(block.alpha, 0.3)
    nn.init.constant_(block.beta, -2.0)
    return block


MODES = [
    ("depthwise", "nearest"),
    ("depthwise", "avg"),
    ("grouped", "nearest"),
    ("nearest", "avg"),
    ("full", "nearest"),
]


@pytest.mark.parametrize(("up", "down"), MODES)
def test_the_block_has_the_values_and_gradients_of_the_sum_written_out(up, down):
    graph = GraphBranch(EISGNN(3, 16, GraphOptions(k=4)), rate=4, up_mode=up, down_mode=down)
    block = with_weights(CGBlock(3, 16, branch=graph)).double()
    x = torch.randn(2, 3, 8, 12, dtype=torch.float64, requires_grad=True)
    g = torch.randn(2, 16, 8, 12, dtype=torch.float64)
    down_sampled = F.interpolate(x, scale_factor=0.25) if down == "nearest" else F.avg_pool2d(x, 4)
    grid = graph.eisgnn(down_sampled.flatten(2).mT).mT.reshape(2, 16, 2, 3)
    general = {
        "depthwise": lambda: F.conv_transpose2d(grid, graph.up.weight, graph.up.bias, stride=4, groups=16),
        "grouped": lambda: F.conv_transpose2d(grid, graph.up.weight, graph.up.bias, stride=4, groups=8),
        "full": lambda: F.conv_transpose2d(grid, graph.up.weight, graph.up.bias, stride=4),
        "nearest": lambda: F.interpolate(grid, scale_factor=4),
    }[up]()
    conv = block.convolution
    written_out = block.alpha * F.conv2d(x, conv.weight, conv.bias, padding=1) + block.beta * general
    y, inputs = block(x), [x, *block.parameters()]
    torch.testing.assert_close(y, written_out)
    torch.testing.assert_close(torch.autograd.grad(y, inputs, g), torch.autograd.grad(written_out, inputs, g))


def test_both_branches_start_with_weight_one():
    block = CGBlock(3, 16, branch=branch_and_map()[0])
    assert (block.alpha.item(), block.beta.item()) == (1.0, 1.0)


@pytest.mark.parametrize("down", ["nearest", "avg"])
@pytest.mark.parametrize(("channels", "rate"), [(8, 1), (16, 4), (56, 5)])
def test_the_tuned_block_has_the_values_and_gradients_of_the_plain_one(channels, rate, down):
    eisgnn = EISGNN(3, channels, GraphOptions(k=4, select_factor=1))
    block = with_weights(CGBlock(3, channels, branch=GraphBranch(eisgnn, rate=rate, down_mode=down)))
    x, g = torch.randn(2, 3, 3 * rate, 4 * rate), torch.randn(2, channels, 3 * rate, 4 * rate)

    def results(dtype):
        twin, given = copy.deepcopy(block).to(dtype), x.to(dtype, memory_format=torch.channels_last).requires_grad_()
        y = twin(given)  # double precision runs in the plain form
        return [one.float() for one in (y, *torch.autograd.grad(y, [given, *twin.parameters()], g.to(dtype)))]

    torch.testing.assert_close(results(torch.float32), results(torch.float64), rtol=1e-4, atol=1e-4)


def test_under_automatic_mixed_precision_the_tuned_block_adds_its_branches_in_single_precision():
    block, x = CGBlock(3, 16, branch=branch_and_map()[0]), torch.randn(2, 3, 8, 12)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = block(x)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, block(x), rtol=0, atol=0.05)


@pytest.mark.parametrize("rate", [1, 4])
def test_patches_are_the_depthwise_deconvolution_values_and_gradients(rate):
    up, x, g = PatchUp(6, rate), torch.randn(2, 6, 3, 5, requires_grad=True), torch.randn(2, 6, 3 * rate, 5 * rate)
    expected = F.conv_transpose2d(x, up.weight, up.bias, stride=rate, groups=6)
    torch.testing.assert_close(up(x), expected)
    inputs = (x, up.weight, up.bias)
    torch.testing.assert_close(torch.autograd.grad(up(x), inputs, g), torch.autograd.grad(expected, inputs, g))


def test_a_node_fills_its_own_patch_and_no_other():
    up, x = PatchUp(3, 4), torch.randn(1, 3, 3, 3)
    moved = x.clone()
    moved[:, :, 1, 2] += 1
    expected = torch.zeros(12, 12, dtype=torch.bool)
    expected[4:8, 8:12] = True
    assert torch.equal((up(moved) - up(x)).abs().sum(dim=(0, 1)) > 0, expected)
