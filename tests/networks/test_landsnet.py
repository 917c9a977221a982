"""LandsNet, as reconstructed: its size, its block step by step, how far each part of it sees."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from coslide.networks import parameter_count
from coslide.networks.landsnet import CascadeBlock, LandsNet


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def settled(module):
    """The module in evaluation, in double precision, with numbers that neither fade nor are those of a new one."""
    for convolution in (part for part in module.modules() if isinstance(part, nn.Conv2d)):
        nn.init.kaiming_normal_(convolution.weight)
    for norm in (part for part in module.modules() if isinstance(part, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.3)
        nn.init.normal_(norm.running_mean, std=0.3)
        nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return module.eval().double()


def positive(module):
    """The module in evaluation with positive weights and no shifts: nothing that depends on a pixel cancels."""
    for name, parameter in module.named_parameters():
        nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)
    return module.eval().double()


def test_landsnet_has_its_number_of_parameters():
    with torch.device("meta"):
        assert parameter_count(LandsNet()) == 3_373_442


def test_the_size_grows_with_the_bands_by_what_the_first_block_takes_of_each():
    with torch.device("meta"):
        assert parameter_count(LandsNet(31)) - parameter_count(LandsNet(30)) == 32 * (9 + 1)  # 3 x 3, and the shortcut


@pytest.mark.parametrize("out_channels", [3, 5])
def test_a_block_is_its_cascade_joined_and_its_shortcut(out_channels):
    block, x = settled(CascadeBlock(3, out_channels)), torch.randn(2, 3, 9, 11, dtype=torch.float64)

    def normalised(y, norm):
        return F.batch_norm(y, norm.running_mean, norm.running_var, norm.weight, norm.bias)

    y, seen = x, []
    for (convolution, norm, _), dilation in zip(block.cascade, (1, 2, 4), strict=True):
        y = F.relu(
            normalised(F.conv2d(y, convolution.weight, convolution.bias, padding=dilation, dilation=dilation), norm)
        )
        seen.append(y)
    join, norm = block.join
    joined = normalised(F.conv2d(torch.cat(seen, dim=1), join.weight, join.bias), norm)
    changes = out_channels != 3
    shortcut = F.conv2d(x, block.shortcut.weight, block.shortcut.bias) if changes else x
    torch.testing.assert_close(block(x), F.relu(joined + shortcut))


def test_a_block_sees_three_seven_and_fifteen_pixels_a_side():
    block, fields = positive(CascadeBlock(1, 1)), []
    for unit in block.cascade:
        unit.register_forward_hook(lambda _, args, out: fields.append(out[0, 0].gt(0).nonzero().aminmax(dim=0)))
    x = torch.zeros(1, 1, 31, 31, dtype=torch.float64)
    x[..., 15, 15] = 1
    block(x)
    assert [(field.max - field.min + 1).tolist() for field in fields] == [[3, 3], [7, 7], [15, 15]]


def test_only_the_first_and_the_narrowing_or_widening_blocks_have_weights_in_their_shortcut():
    net = LandsNet(2, width=2)
    shortcuts = [type(block.shortcut).__name__ for block in (*net.encoder, *net.decoder)]
    assert shortcuts == ["Identity"] + 6 * ["Conv2d"]  # two bands become two channels; every other block changes them


def test_every_block_has_the_channels_and_the_map_of_the_table():
    net, shapes = LandsNet(3, width=2), []
    for block in (*net.encoder, *net.decoder, net.head):
        block.register_forward_hook(lambda _, args, out: shapes.append((args[0].shape[1], *out.shape[1:])))
    net(torch.zeros(2, 3, 128, 64))
    encoder = [(3, 2, 128, 64), (2, 4, 64, 32), (4, 8, 32, 16), (8, 16, 16, 8)]
    decoder = [(24, 8, 32, 16), (12, 4, 64, 32), (6, 2, 128, 64)]
    assert shapes == [*encoder, *decoder, (2, 2, 128, 64)]


def test_the_network_is_its_blocks_with_pooling_bilinear_doubling_and_the_skip_behind():
    net, x = settled(LandsNet(3, width=2)), torch.randn(2, 3, 16, 24, dtype=torch.float64)
    maps = [net.encoder[0](x)]
    for block in net.encoder[1:]:
        maps.append(block(F.max_pool2d(maps[-1], 2)))
    y = maps.pop()
    for block in net.decoder:
        skip = maps.pop()
        y = block(
            torch.cat([F.interpolate(y, size=skip.shape[-2:], mode="bilinear", align_corners=False), skip], dim=1)
        )
    torch.testing.assert_close(net(x), F.conv2d(y, net.head.weight, net.head.bias))


def test_a_pixel_reaches_as_far_as_the_layers_add_up_to():
    net = positive(LandsNet(1, width=1))
    x, pixel = torch.zeros(1, 1, 8, 512, dtype=torch.float64), 203
    x[..., pixel] = 1
    low, high = pixel - 7, pixel + 7  # a block sees 7 = 1 + 2 + 4 pixels to either side
    for _ in range(3):
        low, high = low // 2 - 7, high // 2 + 7
    for _ in range(3):
        low, high = 2 * low - 1 - 7, 2 * high + 2 + 7  # bilinear doubling spreads pixel i over 2i - 1 to 2i + 2
    assert net(x)[0, 0, 0].nonzero().flatten().tolist() == list(range(low, high + 1))


def test_every_convolution_computes_with_the_channels_last_in_memory():
    net, first = LandsNet(3, width=2), []
    for part in (part for part in net.modules() if isinstance(part, nn.Conv2d)):
        part.register_forward_pre_hook(
            lambda _, args: first.append(not args[0].is_contiguous(memory_format=torch.channels_last))
        )
    net(torch.randn(2, 3, 32, 32))
    assert sum(first) == 0


def test_one_tile_of_the_least_size_is_refused_in_training():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        LandsNet(3, width=2)(torch.zeros(1, 3, 8, 8))
