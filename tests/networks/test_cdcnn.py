"""CDCNN: its size, its residual units by hand, what its head sees of each date, and how it normalises them."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from coslide.networks import parameter_count
from coslide.networks.cdcnn import CDCNN, ResUnet, ResUnit


def on_meta(make, *args, **options):
    with torch.device("meta"):
        return make(*args, **options)


def small(bands=5, **options):
    """Return a network in float64 whose norms have been moved from their start, so that each of them shows."""
    torch.manual_seed(0)
    options = {"width": 4, "pre": [0, 1], "post": [2, 3]} | options
    return with_used_norms(CDCNN(bands, **options).double())


def with_used_norms(net):
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net


def tiles(*shape):
    torch.manual_seed(1)
    return torch.randn(*shape, dtype=torch.float64)


def seen_by(net, x):
    """Return the features before, the features after and the rest that enters the head."""
    seen = []
    handle = net.head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    net(x)
    handle.remove()
    return seen[0].split(net.head[0][0].out_channels, dim=1)


# 3 x 3 and 1 x 1 convolutions with bias, norms with weight and bias: 9 io + o, 9 oo + o, io + o, then 2i, 2o and 2o
UNITS = [
    (64, 128, 9 * 64 * 128 + 9 * 128**2 + 64 * 128 + 3 * 128 + 2 * 64 + 4 * 128),
    (256, 512, 9 * 256 * 512 + 9 * 512**2 + 256 * 512 + 3 * 512 + 2 * 256 + 4 * 512),
]


@pytest.mark.parametrize(("inputs", "outputs", "count"), UNITS)
def test_a_residual_unit_has_its_number_of_parameters(inputs, outputs, count):
    assert parameter_count(on_meta(ResUnit, inputs, outputs)) == count


def test_the_plain_resunet_has_its_number_of_parameters():
    assert parameter_count(on_meta(ResUnet, 30)) + parameter_count(on_meta(nn.Conv2d, 64, 2, 1)) == 8_241_154


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 8_344_898),
        # 8 static bands fewer enter one 3 x 3 and one 1 x 1 convolution to 64 channels
        ({"static": "none"}, 8_344_898 - 8 * 64 * (9 + 1)),
        ({"classes": 3}, 8_344_898 + 64 + 1),
    ],
)
def test_cdcnn_has_its_number_of_parameters(options, count):
    assert parameter_count(on_meta(CDCNN, **options)) == count


def norm(x, module):
    """Batch normalisation in use, from its equation."""
    mean, var, weight, bias = (
        value.view(1, -1, 1, 1) for value in (module.running_mean, module.running_var, module.weight, module.bias)
    )
    return (x - mean) / (var + 1e-5).sqrt() * weight + bias


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("first", [False, True])
def test_a_residual_unit_is_its_equation(stride, first):
    torch.manual_seed(0)
    unit = with_used_norms(ResUnit(3, 4, stride=stride, first=first).double()).eval()
    convolutions = [module for module in unit.residual if isinstance(module, nn.Conv2d)]
    norms = [module for module in unit.residual if isinstance(module, nn.BatchNorm2d)]
    x = tiles(2, 3, 8, 6)
    y = x if first else norm(x, norms[0]).clamp(min=0)
    y = F.conv2d(y, convolutions[0].weight, convolutions[0].bias, stride=stride, padding=1)
    y = F.conv2d(norm(y, norms[-1]).clamp(min=0), convolutions[1].weight, convolutions[1].bias, padding=1)
    beside = torch.einsum("oi,bihw->bohw", unit.shortcut[0].weight[:, :, 0, 0], x[:, :, ::stride, ::stride])
    beside = norm(beside + unit.shortcut[0].bias.view(1, -1, 1, 1), unit.shortcut[1])
    torch.testing.assert_close(unit(x), y + beside, rtol=0, atol=1e-12)


def test_stages_have_their_channels_and_sizes():
    trunk, shapes = ResUnet(5, width=4), []
    for unit in [*trunk.encoder, trunk.bridge, *reversed(trunk.decoder)]:
        unit.register_forward_hook(lambda _, args, out: shapes.append((tuple(args[0].shape[1:]), tuple(out.shape[1:]))))
    trunk(torch.zeros(2, 5, 16, 24))
    assert shapes == [
        ((5, 16, 24), (4, 16, 24)),
        ((4, 16, 24), (8, 8, 12)),
        ((8, 8, 12), (16, 4, 6)),
        ((16, 4, 6), (32, 2, 3)),
        ((48, 4, 6), (16, 4, 6)),
        ((24, 8, 12), (8, 8, 12)),
        ((12, 16, 24), (4, 16, 24)),
    ]


def test_only_the_first_unit_takes_its_input_without_norm_and_activation():
    trunk = ResUnet(5, width=4)
    starts = [type(unit.residual[0]).__name__ for unit in [*trunk.encoder, trunk.bridge, *trunk.decoder]]
    assert starts == ["Conv2d"] + 6 * ["BatchNorm2d"]


def test_the_decoder_appends_the_encoders_map_to_the_one_below_with_each_pixel_doubled():
    trunk, seen = ResUnet(5, width=4), {}
    trunk.encoder[2].register_forward_hook(lambda *args: seen.update(skip=args[2]))
    trunk.bridge.register_forward_hook(lambda *args: seen.update(below=args[2]))
    trunk.decoder[2].register_forward_pre_hook(lambda _, args: seen.update(both=args[0]))
    trunk(tiles(2, 5, 16, 24).float())
    doubled = seen["below"].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert torch.equal(seen["both"], torch.cat([doubled, seen["skip"]], dim=1))


def test_the_head_sees_each_date_through_the_same_trunk_and_their_absolute_difference():
    net, x = small().eval(), tiles(2, 5, 16, 24)
    before, after, difference = seen_by(net, x)
    torch.testing.assert_close(before, net.trunk(x[:, [0, 1, 4]]), rtol=0, atol=1e-12)
    torch.testing.assert_close(after, net.trunk(x[:, [2, 3, 4]]), rtol=0, atol=1e-12)
    torch.testing.assert_close(difference, (before - after).abs(), rtol=0, atol=0)


@pytest.mark.parametrize("training", [False, True])
def test_swapped_dates_swap_what_the_head_sees_and_leave_the_difference(training):
    net, x = small().train(training), tiles(2, 5, 16, 24)
    before, after, difference = seen_by(net, x)
    swapped = seen_by(net, x[:, [2, 3, 0, 1, 4]])
    assert (before - after).abs().max() > 0.1
    torch.testing.assert_close(swapped, (after, before, difference), rtol=0, atol=1e-10)


@pytest.mark.parametrize("training", [False, True])
def test_equal_dates_have_no_difference(training):
    net, x = small().train(training), tiles(2, 5, 16, 24)
    x[:, 2:4] = x[:, :2]
    before, after, difference = seen_by(net, x)
    assert torch.equal(before, after)
    assert not difference.any()
    assert before.any()


def test_running_statistics_are_those_of_both_dates_together():
    net, x = small(), tiles(2, 5, 16, 24)
    x[:, 2:4] = 3 * x[:, 2:4] + 2  # the dates have statistics of their own
    convolution, first = net.trunk.encoder[0].residual[:2]
    first.reset_running_stats()
    net(x)
    y = F.conv2d(torch.cat([x[:, [0, 1, 4]], x[:, [2, 3, 4]]]), convolution.weight, convolution.bias, padding=1)
    torch.testing.assert_close(first.running_mean, 0.1 * y.mean((0, 2, 3)))
    torch.testing.assert_close(first.running_var, 0.9 + 0.1 * y.var((0, 2, 3)))
    assert first.num_batches_tracked == 1


def test_training_sees_the_features_that_running_statistics_give_later():
    """One training step at momentum 1 leaves the batch's own statistics: they must give the step's features again."""
    net, x = small(), tiles(2, 5, 64, 64)
    x[:, 2:4] = 3 * x[:, 2:4] + 2
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1
    trained = torch.cat(seen_by(net, x), dim=1)
    used = torch.cat(seen_by(net.eval(), x), dim=1)
    # not closer: running variances are divided by n - 1, and n is 256 at the smallest maps
    torch.testing.assert_close(used, trained, rtol=0, atol=0.02 * trained.std().item())


def test_weights_do_not_depend_on_the_map():
    """The split leaves nothing of its own in the weights."""
    names = small().state_dict().keys()
    assert {name.split(".")[0] for name in names} == {"trunk", "head"}
    assert small(7, pre=[6, 2], post=[0, 1], static="none").state_dict().keys() == names


@pytest.mark.parametrize(
    ("static", "order"),
    [
        ("none", [6, 2, 4, 0, 5, 3, 1]),
        ("both", [2, 0, 4, 1, 5, 3, 6]),  # the static bands 4, 5, 6 keep their order
    ],
)
def test_a_cube_in_another_order_has_the_same_logits_if_its_map_says_so(static, order):
    net = small(7, pre=[0, 1], post=[2, 3], static=static).eval()
    place = {band: number for number, band in enumerate(order)}
    pre, post = [place[0], place[1]], [place[2], place[3]]
    other = small(7, pre=pre, post=post, static=static).eval()
    other.load_state_dict(net.state_dict())
    x = tiles(1, 7, 16, 16)
    assert torch.equal(other(x[:, order]), net(x))


def test_static_bands_that_are_left_out_do_not_matter():
    net, x = small(static="none").eval(), tiles(1, 5, 16, 16)
    changed = x.clone()
    changed[:, 4] += 1
    assert torch.equal(net(changed), net(x))


@pytest.mark.parametrize("band", range(5))
def test_every_band_of_a_date_and_every_static_one_matters(band):
    net, x = small().eval(), tiles(1, 5, 16, 16)
    changed = x.clone()
    changed[:, band] += 1
    assert (net(changed) - net(x)).abs().max() > 1e-3


def test_single_precision_trains_with_the_gradients_of_double_precision():
    """Eight channels before a stride: there a strided 1 x 1 convolution has crashed."""
    gradients, x = [], tiles(1, 5, 64, 64)
    for precision in (torch.float32, torch.float64):
        net = small(width=8).to(precision)
        net(x.to(precision)).square().mean().backward()
        gradients.append(torch.cat([parameter.grad.double().flatten() for parameter in net.parameters()]))
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-4 * gradients[1].abs().max().item())


def test_no_convolution_of_one_by_one_has_a_stride():
    ones = [module for module in small().modules() if getattr(module, "kernel_size", 0) == (1, 1)]
    assert {module.stride for module in ones} == {(1, 1)}


def test_its_export_takes_batches_and_maps_of_other_sizes():
    """Both dates share the batch's axis inside, which must not fix its size."""
    net = small().eval()
    sizes = {0: torch.export.Dim("batch", min=1), 2: 8 * torch.export.Dim("rows", min=1, max=64), 3: 24}
    exported = torch.export.export(net, (tiles(2, 5, 16, 24),), dynamic_shapes=(sizes,)).module()
    x = tiles(3, 5, 32, 24)
    torch.testing.assert_close(exported(x), net(x), rtol=0, atol=1e-10)


def test_other_bands_than_the_papers_need_to_be_told_apart():
    text = "found 5 bands and no pre and post; expected the bands of each date, or the paper's 30"
    with pytest.raises(ValueError, match=f"^{text}$"):
        CDCNN(5)


@pytest.mark.parametrize(
    ("shape", "text"),
    [((1, 5, 12, 16), r"multiples of 8, found \(12, 16\)"), ((1, 6, 16, 16), "expected 5 bands, found 6")],
)
def test_an_input_that_does_not_fit_is_refused(shape, text):
    with pytest.raises(ValueError, match=text):
        small()(tiles(*shape))
