"""Patches against torch's own deconvolution and slicing, values and gradients."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from coslide.networks.patches import PatchUp, add_patches, take_nodes


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


def slow_sum(y, nodes, patch):
    """Return add_patches written pixel by pixel."""
    out, rate = y.clone(), len(patch)
    for row in range(y.shape[2]):
        for col in range(y.shape[3]):
            out[:, :, row, col] += nodes[:, row // rate, col // rate] * patch[row % rate, col % rate]
    return out


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_patches_are_added_pixel_by_pixel(memory_format):
    y = torch.randn(2, 5, 6, 9).to(memory_format=memory_format)
    nodes, patch = torch.randn(2, 2, 3, 5), torch.randn(3, 3, 5)
    expected = slow_sum(y, nodes, patch)
    torch.testing.assert_close(add_patches(y, nodes, patch), expected)


def test_adding_patches_passes_the_check_of_its_gradients():
    y, nodes = torch.randn(2, 3, 4, 6, dtype=torch.float64), torch.randn(2, 2, 3, 3, dtype=torch.float64)
    inputs = [one.requires_grad_() for one in (y, nodes, torch.randn(2, 2, 3, dtype=torch.float64))]
    assert torch.autograd.gradcheck(lambda y, nodes, patch: add_patches(y * 1, nodes, patch), inputs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_sum_keeps_the_type_of_the_map(dtype):
    y = torch.zeros(1, 2, 4, 4, dtype=dtype)
    assert add_patches(y, torch.ones(1, 2, 2, 2), torch.ones(2, 2, 2)).dtype == dtype


def test_nodes_are_the_upper_left_pixels_row_by_row():
    x = torch.randn(2, 3, 8, 12)
    corners = [(row, col) for row in (0, 4) for col in (0, 4, 8)]
    _, nodes = take_nodes(x, 4)
    torch.testing.assert_close(nodes, torch.stack([x[:, :, row, col] for row, col in corners], dim=1))


def used_by_convolution_and_nodes(x, take):
    through, nodes = take(x)
    return F.conv2d(through, torch.ones(2, 3, 3, 3, dtype=x.dtype), padding=1).square().sum() + nodes.pow(3).sum()


def test_the_gradient_of_taking_nodes_is_that_of_slicing():
    x = torch.randn(2, 3, 8, 12, dtype=torch.float64, requires_grad=True)
    by_slicing = used_by_convolution_and_nodes(x, lambda x: (x, x[:, :, ::4, ::4].flatten(2).mT))
    (expected,) = torch.autograd.grad(by_slicing, x)
    (found,) = torch.autograd.grad(used_by_convolution_and_nodes(x, lambda x: take_nodes(x, 4)), x)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("used", [0, 1])
def test_either_result_of_taking_nodes_may_be_left_unused(used):
    x = torch.randn(1, 3, 4, 4, requires_grad=True)
    (grad,) = torch.autograd.grad((take_nodes(x, 2)[used] * 2).sum(), x)
    expected = torch.full_like(x, 2.0)
    if used:
        expected[:] = 0
        expected[:, :, ::2, ::2] = 2
    torch.testing.assert_close(grad, expected)
