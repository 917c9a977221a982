"""DP-FCN: its size, its two paths, and what its decoder sees of each date."""

import pytest
import torch
from torch import nn

from coslide.networks import parameter_count
from coslide.networks.dp_fcn import DPFCN, DatePath


def on_meta(make, *args, **options):
    with torch.device("meta"):
        return make(*args, **options)


def small(bands=5, **options):
    """Return a network in float64 whose norms have been moved from their start, so that each of them shows."""
    torch.manual_seed(0)
    net = DPFCN(bands, **{"width": 4, "pre": [0, 1], "post": [2, 3]} | options).double()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net


def tiles(*shape):
    torch.manual_seed(1)
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 13_799_074),
        ({"width": 64}, 55_143_746),  # the 55.1 million that made 32 the default
        # 8 static bands fewer enter one 3 x 3 convolution to 32 channels in each path
        ({"static": "none"}, 13_799_074 - 2 * 8 * 32 * 9),
        ({"classes": 3}, 13_799_074 + 32 + 1),
    ],
)
def test_dp_fcn_has_its_number_of_parameters(options, count):
    assert parameter_count(on_meta(DPFCN, **options)) == count


def test_each_path_has_its_number_of_parameters():
    channels = [32, 64, 128, 256, 512]
    pairs = zip([19, *channels[:-1]], channels, strict=True)
    count = sum(9 * inputs * outputs + 9 * outputs**2 + 2 * outputs + 4 * outputs for inputs, outputs in pairs)
    net = on_meta(DPFCN)
    assert (parameter_count(net.path_pre), parameter_count(net.path_post)) == (count, count)


def test_every_convolution_of_three_by_three_is_followed_by_norm_and_relu():
    net = small()
    kinds = [type(module).__name__ for module in net.modules()]
    counts = [kinds.count(kind) for kind in ("Conv2d", "BatchNorm2d", "ReLU", "ConvTranspose2d", "MaxPool2d")]
    assert counts == [2 * 10 + 8 + 1, 28, 28, 4, 2]  # and the head; one pooling layer serves each path


def test_stages_have_their_channels_and_sizes():
    net, shapes = small(), []
    for module in [*net.path_post.stages, *reversed(net.up), *reversed(net.decoder)]:
        module.register_forward_hook(
            lambda _, args, out: shapes.append((tuple(args[0].shape[1:]), tuple(out.shape[1:])))
        )
    net(tiles(1, 5, 32, 48))
    path = [
        ((3, 32, 48), (4, 32, 48)),
        ((4, 16, 24), (8, 16, 24)),
        ((8, 8, 12), (16, 8, 12)),
        ((16, 4, 6), (32, 4, 6)),
        ((32, 2, 3), (64, 2, 3)),
    ]
    decoder = [
        ((128, 2, 3), (32, 4, 6)),
        ((96, 4, 6), (32, 4, 6)),
        ((32, 4, 6), (16, 8, 12)),
        ((48, 8, 12), (16, 8, 12)),
        ((16, 8, 12), (8, 16, 24)),
        ((24, 16, 24), (8, 16, 24)),
        ((8, 16, 24), (4, 32, 48)),
        ((12, 32, 48), (4, 32, 48)),
    ]
    assert shapes == path + decoder


def test_the_logits_are_the_decoder_of_both_paths_by_hand():
    net, x = small().eval(), tiles(2, 5, 32, 48)
    before, after = net.path_pre(x[:, [0, 1, 4]]), net.path_post(x[:, [2, 3, 4]])
    y = torch.cat([before[4], after[4]], dim=1)
    for stage in (3, 2, 1, 0):
        up = net.up[stage]
        # a 2 x 2 deconvolution with stride 2: each pixel fills its own patch
        y = torch.einsum("bihw,iouv->bohuwv", y, up.weight).flatten(2, 3).flatten(3) + up.bias.view(1, -1, 1, 1)
        y = net.decoder[stage](torch.cat([y, before[stage], after[stage]], dim=1))
    torch.testing.assert_close(net(x), net.head(y), rtol=0, atol=1e-10)


def test_a_path_halves_the_map_by_its_largest_values():
    path, x = DatePath(3, [4, 8]).eval(), tiles(1, 3, 6, 4).float()
    first, second = path(x)
    largest = first.unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).amax((3, 5))
    torch.testing.assert_close((first, second), (path.stages[0](x), path.stages[1](largest)), rtol=0, atol=0)


def features(net, x):
    """Return what each path makes of its date."""
    seen = {}
    handles = [
        path.register_forward_hook(lambda _, args, out, date=date: seen.update({date: out}))
        for date, path in (("pre", net.path_pre), ("post", net.path_post))
    ]
    net(x)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize(("changed", "other"), [("pre", "post"), ("post", "pre")])
def test_weights_of_one_path_do_not_touch_the_other(changed, other):
    net, x = small().eval(), tiles(1, 5, 16, 32)
    as_made = features(net, x)
    with torch.no_grad():
        for parameter in getattr(net, f"path_{changed}").parameters():
            parameter.mul_(1.5)
    now = features(net, x)
    assert [torch.equal(a, b) for a, b in zip(as_made[other], now[other], strict=True)] == [True] * 5
    assert [torch.equal(a, b) for a, b in zip(as_made[changed], now[changed], strict=True)] == [False] * 5


@pytest.mark.parametrize(("band", "date", "other"), [(0, "pre", "post"), (1, "pre", "post"), (2, "post", "pre")])
def test_a_band_of_one_date_touches_only_its_path(band, date, other):
    net, x = small().eval(), tiles(1, 5, 16, 32)
    changed = x.clone()
    changed[:, band] += 1
    as_made, now = features(net, x), features(net, changed)
    assert torch.equal(as_made[other][4], now[other][4])
    assert not torch.equal(as_made[date][4], now[date][4])


def test_a_static_band_touches_both_paths():
    net, x = small().eval(), tiles(1, 5, 16, 32)
    changed = x.clone()
    changed[:, 4] += 1
    as_made, now = features(net, x), features(net, changed)
    assert [torch.equal(as_made[date][0], now[date][0]) for date in ("pre", "post")] == [False, False]


@pytest.mark.parametrize(
    ("static", "order"),
    [
        ("none", [6, 2, 4, 0, 5, 3, 1]),
        ("both", [2, 0, 4, 1, 5, 3, 6]),  # the static bands 4, 5, 6 keep their order
    ],
)
def test_a_cube_in_another_order_has_the_same_logits_if_its_map_says_so(static, order):
    net = small(7, static=static).eval()
    place = {band: number for number, band in enumerate(order)}
    other = small(7, pre=[place[0], place[1]], post=[place[2], place[3]], static=static).eval()
    other.load_state_dict(net.state_dict())
    x = tiles(1, 7, 16, 32)
    assert torch.equal(other(x[:, order]), net(x))


def test_the_split_leaves_nothing_of_its_own_in_the_weights():
    names = small().state_dict()
    assert {name.split(".")[0] for name in names} == {"path_pre", "path_post", "up", "decoder", "head"}


def test_other_bands_than_the_papers_need_to_be_told_apart():
    text = "found 5 bands and no pre and post; expected the bands of each date, or the paper's 30"
    with pytest.raises(ValueError, match=f"^{text}$"):
        DPFCN(5)


@pytest.mark.parametrize(
    ("shape", "text"),
    [((1, 5, 24, 16), r"multiples of 16, found \(24, 16\)"), ((1, 6, 16, 16), "expected 5 bands, found 6")],
)
def test_an_input_that_does_not_fit_is_refused(shape, text):
    with pytest.raises(ValueError, match=text):
        small()(tiles(*shape))
