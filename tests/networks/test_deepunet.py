"""DeepUNet: its size, both kinds of connection step by step, and how far a pixel reaches."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from coslide.networks import parameter_count
from coslide.networks.deepunet import DeepUNet, DownBlock, UpBlock


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


def body_by_hand(block, x):
    """Return conv-BN-ReLU and conv-BN of the block's weights, from the equations."""
    (first, second), (norm, last) = (
        [part for part in block.body.modules() if isinstance(part, kind)] for kind in (nn.Conv2d, nn.BatchNorm2d)
    )

    def normalised(y, norm):
        mean, deviation = norm.running_mean, (norm.running_var + norm.eps).sqrt()
        return (y - mean.view(-1, 1, 1)) / deviation.view(-1, 1, 1) * norm.weight.view(-1, 1, 1) + norm.bias.view(
            -1, 1, 1
        )

    t = normalised(F.conv2d(x, first.weight, first.bias, padding=1), norm).clamp(min=0)
    return normalised(F.conv2d(t, second.weight, second.bias, padding=1), last)


@pytest.mark.parametrize(("depth", "count"), [(6, 602_370), (7, 695_106)])
def test_deepunet_has_its_number_of_parameters(depth, count):
    with torch.device("meta"):
        assert parameter_count(DeepUNet(depth=depth)) == count


@pytest.mark.parametrize("depth", [1, 3, 6])
def test_sides_must_be_multiples_of_two_to_the_depth(depth):
    net = DeepUNet(3, width=2, depth=depth).eval()
    assert net(torch.zeros(1, 3, 2**depth, 3 * 2**depth)).shape == (1, 2, 2**depth, 3 * 2**depth)
    with pytest.raises(ValueError, match=f"multiples of {2**depth}, found"):
        net(torch.zeros(1, 3, 2**depth, 3 * 2 ** (depth - 1)))


def test_a_down_block_adds_its_body_to_the_pooled_map():
    block, x = settled(DownBlock(4)), torch.randn(2, 4, 6, 8, dtype=torch.float64)
    p = x.clamp(min=0).unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(-2, -1))
    torch.testing.assert_close(block(x), body_by_hand(block, p) + p)


def test_an_up_block_joins_what_was_kept_then_the_doubled_map_and_adds_the_latter():
    block = settled(UpBlock(4))
    x, b = torch.randn(2, 4, 3, 4, dtype=torch.float64), torch.randn(2, 4, 6, 8, dtype=torch.float64)
    u = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(block(x, b), (body_by_hand(block, torch.cat([b, u], dim=1)) + u).clamp(min=0))


def test_blocks_whose_bodies_give_nothing_leave_the_plus_connections():
    net, x = settled(DeepUNet(3, width=4, depth=2)), torch.randn(1, 3, 8, 8, dtype=torch.float64)
    for block in (*net.down, *net.up):
        nn.init.zeros_(block.body[-1].weight)
        nn.init.zeros_(block.body[-1].bias)
    pooled = F.max_pool2d(F.relu(net.stem(x)), 4)
    torch.testing.assert_close(net(x), net.head(F.interpolate(pooled, scale_factor=4, mode="nearest")))


def test_every_part_has_the_channels_and_the_map_of_the_table():
    net, shapes = DeepUNet(3, width=2), []
    for part in (net.stem[0], net.stem[1], net.stem, *net.down, *net.up, net.head):
        part.register_forward_hook(lambda _, args, out: shapes.append((args[0].shape[1], *out.shape[1:])))
    net(torch.zeros(2, 3, 128, 128))
    stem = [(3, 2, 128, 128), (2, 4, 128, 128), (3, 2, 128, 128)]
    down = [(2, 2, side, side) for side in (64, 32, 16, 8, 4, 2)]
    up = [(2, 2, side, side) for side in (4, 8, 16, 32, 64, 128)]
    assert shapes == [*stem, *down, *up, (2, 2, 128, 128)]


def seen_in_a_run(depth=3):
    """Return what the stem and the blocks of a network took and gave: lists of (inputs, output)."""
    net = settled(DeepUNet(3, width=4, depth=depth))
    down, up = [], []
    net.stem.register_forward_hook(lambda _, args, out: down.append((args, out)))
    for block in net.down:
        block.register_forward_hook(lambda _, args, out: down.append((args, out)))
    for block in net.up:
        block.register_forward_hook(lambda _, args, out: up.append((args, out)))
    net(torch.randn(1, 3, 16, 16, dtype=torch.float64))
    return down, up


def test_the_way_up_gets_what_the_way_down_gave_before_its_relu():
    down, up = seen_in_a_run()
    assert all(b is gave and (b < 0).any() for ((_, b), _), (_, gave) in zip(up, down[-2::-1], strict=True))


def test_every_block_down_takes_the_map_above_it_and_the_first_block_up_the_relu_of_the_last():
    down, up = seen_in_a_run()
    assert all(x is gave for ((x, *_), _), (_, gave) in zip(down[1:], down, strict=False))
    (x, _), _ = up[0]
    torch.testing.assert_close(x, down[-1][1].clamp(min=0))


def test_every_other_block_up_takes_the_block_below_as_it_is():
    _, up = seen_in_a_run()
    assert all(x is gave for ((x, _), _), (_, gave) in zip(up[1:], up, strict=False))


def test_the_stem_is_three_convolutions_and_the_last_has_no_relu():
    kinds = [type(part).__name__ for part in DeepUNet(3, width=2).stem.modules() if not list(part.children())]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "BatchNorm2d"]


def test_a_pixel_reaches_as_far_as_the_layers_add_up_to():
    """All weights positive, so nothing cancels: what one bright pixel changes is what depends on it."""
    net = DeepUNet(1, width=1, depth=2).eval().double()
    for name, parameter in net.named_parameters():
        nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)
    x = torch.zeros(1, 1, 4, 96, dtype=torch.float64)
    pixel, sides = 45, 3 * [95]
    x[..., pixel] = 1
    low, high = pixel - 3, pixel + 3  # the stem
    for level in (1, 2):
        sides[level] = 96 // 2**level - 1
        low, high = low // 2 - 2, high // 2 + 2
    for level in (1, 0):
        low, high = max(2 * low - 2, 0), min(2 * high + 1 + 2, sides[level])
    assert net(x)[0, 0, 0].nonzero().flatten().tolist() == list(range(low, high + 1))


def test_every_convolution_computes_with_the_channels_last_in_memory():
    net, first = DeepUNet(3, width=2), []
    for part in (part for part in net.modules() if isinstance(part, nn.Conv2d)):
        part.register_forward_pre_hook(
            lambda _, args: first.append(not args[0].is_contiguous(memory_format=torch.channels_last))
        )
    net(torch.randn(2, 3, 128, 128))
    assert sum(first) == 0


def test_one_tile_of_the_least_size_is_refused_in_training():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        DeepUNet(3, width=2, depth=2)(torch.zeros(1, 3, 4, 4))
