"""U-Net and the frame it lends to EGCN: its size, its norms, its sizes."""

import pytest
import torch
from torch import nn

from coslide.networks import parameter_count
from coslide.networks.base import norm_layer
from coslide.networks.unet import UNet

NORMS = ["channel_ln", "full_ln", "gn1", "bn", "none"]


def on_meta(*args, **options):
    with torch.device("meta"):
        return UNet(*args, **options)


@pytest.mark.parametrize(
    ("bands", "norm", "count"),
    [
        (30, "bn", 31_059_138),
        (3, "none", 31_031_810),
        # weight and bias of each channel in 18 norms: 2 * (4 * (64 + 128 + 256 + 512) + 2 * 1024)
        (30, "none", 31_059_138 - 11_776),
        (30, "channel_ln", 31_059_138),
        (30, "gn1", 31_059_138),
        # weight and bias of each pixel instead: 2 C H W for four norms of depths 1 to 4 and two of depth 5
        (30, "full_ln", 31_059_138 - 11_776 + 2 * 64 * 128**2 * (4 + 4 / 2 + 4 / 4 + 4 / 8 + 2 / 16)),
    ],
)
def test_u_net_has_its_number_of_parameters(bands, norm, count):
    assert parameter_count(on_meta(bands, norm=norm)) == count


def test_the_default_is_batch_normalisation_and_relu_after_each_of_eighteen_convolutions():
    kinds = [type(module).__name__ for module in UNet(3, width=4).modules()]
    counts = [kinds.count(kind) for kind in ("Conv2d", "BatchNorm2d", "ReLU", "ConvTranspose2d")]
    assert counts == [18 + 1, 18, 18, 4]  # and the head


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_every_norm_and_activation_trains(norm, activation):
    torch.manual_seed(0)
    net = UNet(3, width=4, norm=norm, activation=activation, tile=32)
    net(torch.randn(2, 3, 32, 32)).square().mean().backward()
    assert [name for name, parameter in net.named_parameters() if not parameter.grad.isfinite().all()] == []


def test_a_norm_over_the_whole_map_refuses_maps_of_another_size():
    with pytest.raises(ValueError, match=r"height and width of 64 \(full_ln\), found \(32, 64\)"):
        UNet(3, width=4, norm="full_ln", tile=64)(torch.zeros(1, 3, 32, 64))


def test_a_tile_that_halves_badly_is_refused():
    with pytest.raises(ValueError, match="tile: found 40, expected a multiple of 16"):
        UNet(3, width=4, norm="full_ln", tile=40)


@pytest.mark.parametrize("size", [(72, 64), (64, 100)])
def test_a_size_that_is_no_multiple_of_sixteen_is_refused(size):
    with pytest.raises(ValueError, match=f"multiples of 16, found .{size[0]}, {size[1]}"):
        UNet(3, width=4)(torch.zeros(1, 3, *size))


@pytest.mark.parametrize("norm", ["full_ln", "gn1"])
def test_norms_over_the_whole_map_have_mean_zero_and_variance_one(norm):
    torch.manual_seed(0)
    y = norm_layer(norm, 3, side=8)(5 + 2 * torch.randn(2, 3, 8, 8)).flatten(1)
    torch.testing.assert_close(torch.stack([y.mean(1), y.var(1, correction=0)]), torch.tensor([[0.0, 0.0], [1.0, 1.0]]))


def test_without_norm_it_is_the_sum_of_its_parts():
    """One decoder step by hand: the deconvolution comes first in the concatenation."""
    torch.manual_seed(0)
    net, seen = UNet(3, width=4, norm="none"), {}
    net.encoder[0].register_forward_hook(lambda *args: seen.update(skip=args[2]))
    net.up[0].register_forward_hook(lambda *args: seen.update(up=args[2]))
    net.decoder[0].register_forward_hook(lambda *args: seen.update(out=args[2]))
    logits = net(torch.randn(1, 3, 32, 32))
    first, second = net.decoder[0][0][0], net.decoder[0][1][0]
    hidden = nn.functional.relu(second(nn.functional.relu(first(torch.cat([seen["up"], seen["skip"]], 1)))))
    torch.testing.assert_close(logits, net.head(hidden))
