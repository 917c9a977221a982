"""What networks share."""

import torch
from torch import nn

from coslide.networks.base import ChannelLayerNorm, conv_norm_relu


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


def test_convolution_norm_and_activation_keep_the_size_at_every_dilation():
    x = torch.zeros(2, 3, 9, 7)
    shapes = [conv_norm_relu(3, 4, kernel, dilation=d)(x).shape for kernel in (1, 3) for d in (1, 2, 4)]
    assert set(shapes) == {(2, 4, 9, 7)}
