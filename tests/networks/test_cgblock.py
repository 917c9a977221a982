"""The parts of CGBlock against torch's own general layers."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from coslide.networks.base import ChannelLayerNorm
from coslide.networks.cgblock import CGBlock, GraphBranch, PatchUp
from coslide.networks.eisgnn import EISGNN


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("rate", [1, 2, 4, 16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_up_sampling_equals_the_depthwise_deconvolution(rate, memory_format):
    up = PatchUp(6, rate)
    x = torch.randn(2, 6, 3, 5).to(memory_format=memory_format)
    expected = F.conv_transpose2d(x, up.weight, up.bias, stride=rate, groups=6)
    torch.testing.assert_close(up(x), expected)


def test_up_sampling_has_the_gradients_of_the_depthwise_deconvolution():
    up, x, g = PatchUp(6, 4), torch.randn(2, 6, 3, 5, requires_grad=True), torch.randn(2, 6, 12, 20)
    inputs = (x, up.weight, up.bias)
    expected = torch.autograd.grad(F.conv_transpose2d(*inputs, stride=4, groups=6), inputs, g)
    torch.testing.assert_close(torch.autograd.grad(up(x), inputs, g), expected)


def test_up_sampling_takes_the_weights_of_torchs_layer():
    torchs, up = nn.ConvTranspose2d(6, 6, 4, stride=4, groups=6), PatchUp(6, 4)
    up.load_state_dict(torchs.state_dict())
    x = torch.randn(1, 6, 2, 2)
    torch.testing.assert_close(up(x), torchs(x))


def test_up_sampling_is_drawn_like_torchs_layer():
    torch.manual_seed(1)
    torchs = nn.ConvTranspose2d(64, 64, 8, stride=8, groups=64)
    torch.manual_seed(1)
    torch.testing.assert_close(PatchUp(64, 8).state_dict(), torchs.state_dict())


def test_a_node_fills_its_own_patch_and_no_other():
    up, x = PatchUp(3, 4), torch.randn(1, 3, 3, 3)
    moved = x.clone()
    moved[:, :, 1, 2] += 1
    changed = (up(moved) - up(x)).abs().sum(dim=(0, 1)) > 0
    expected = torch.zeros(12, 12, dtype=torch.bool)
    expected[4:8, 8:12] = True
    assert torch.equal(changed, expected)


def test_the_norm_equals_torchs_over_the_channels():
    norm = ChannelLayerNorm(5)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(2, 5, 3, 4)
    variance, mean = torch.var_mean(x, dim=1, keepdim=True, correction=0)
    scale, shift = norm.weight.view(1, 5, 1, 1), norm.bias.view(1, 5, 1, 1)
    torch.testing.assert_close(norm(x), (x - mean) / (variance + 1e-6).sqrt() * scale + shift)


def test_the_norm_of_a_pixel_does_not_depend_on_the_others():
    norm, x = ChannelLayerNorm(5), torch.randn(1, 5, 3, 4)
    torch.testing.assert_close(norm(x)[:, :, :1, :1], norm(x[:, :, :1, :1]))


def branch_and_map():
    return GraphBranch(EISGNN(3, 16, k=4), rate=4), torch.randn(2, 3, 8, 12)


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


def test_the_block_is_the_weighted_sum_of_its_branches():
    branch, x = branch_and_map()
    block = CGBlock(3, 16, branch=branch)
    nn.init.constant_(block.alpha, 0.3)
    nn.init.constant_(block.beta, -2.0)
    convolved = F.conv2d(x, block.convolution.weight, block.convolution.bias, padding=1)
    torch.testing.assert_close(block(x), 0.3 * convolved - 2.0 * branch(x))


def test_both_branches_start_with_weight_one():
    block = CGBlock(3, 16, branch=branch_and_map()[0])
    assert (block.alpha.item(), block.beta.item()) == (1.0, 1.0)
