"""FCN-PP against its table of layers, written out in torch's functions, and its pyramid against torch's pooling."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from coslide.networks import parameter_count
from coslide.networks.fcn_pp import FCNPP, PyramidPooling, bin_means


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


def units_of(module):
    """Return a function that applies the module's units in their order, one a call, in torch's functions alone."""
    convolutions = iter([part for part in module.modules() if isinstance(part, nn.Conv2d)])
    norms = iter([part for part in module.modules() if isinstance(part, nn.BatchNorm2d)])

    def unit(x):
        convolution, norm = next(convolutions), next(norms)
        kernel = convolution.weight.shape[-1]
        x = F.conv2d(x, convolution.weight, convolution.bias, padding=kernel // 2)
        return F.relu(F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias))

    return unit


def bilinear(x, size):
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def pyramid_by_hand(unit, x, bins):
    return torch.cat([x] + [bilinear(unit(F.adaptive_avg_pool2d(x, n)), x.shape[-2:]) for n in bins], dim=1)


@pytest.mark.parametrize(
    ("bands", "wide", "count"), [(30, False, 28_140_418), (6, False, 28_126_594), (30, True, 42_299_266)]
)
def test_fcn_pp_has_its_number_of_parameters(bands, wide, count):
    with torch.device("meta"):
        assert parameter_count(FCNPP(bands, wide=wide)) == count


def test_the_encoder_has_the_parameters_of_vgg16_with_batch_normalisation():
    with torch.device("meta"):
        assert parameter_count(FCNPP(3).encoder) == 14_714_688 + 2 * 4_224  # 13 convolutions of 4224 channels in all


@pytest.mark.parametrize("size", [(8, 8), (4, 4), (5, 7), (1, 3), (12, 6), (13, 10)])
@pytest.mark.parametrize("bins", [1, 2, 3, 6])
def test_the_means_over_parts_equal_torchs_adaptive_pooling(size, bins):
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(bin_means(x, bins), F.adaptive_avg_pool2d(x, bins))


def test_the_means_over_parts_have_the_gradient_of_torchs_adaptive_pooling():
    x, g = torch.randn(2, 3, 8, 7, requires_grad=True), torch.randn(2, 3, 6, 6)
    (expected,) = torch.autograd.grad(F.adaptive_avg_pool2d(x, 6), x, g)
    (found,) = torch.autograd.grad(bin_means(x, 6), x, g)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_means_of_a_map_of_half_precision_stay_in_its_range(dtype):
    x = torch.full((1, 2, 64, 50), 30_000.0, dtype=dtype)
    torch.testing.assert_close(bin_means(x, 3), F.adaptive_avg_pool2d(x, 3), rtol=0.01, atol=0)


def test_the_means_export_for_every_size():
    """Torch's own pooling would hold for the one size only: 6 divides none of these sides."""

    class Means(nn.Module):
        def forward(self, x):
            return bin_means(x, 6)

    side = torch.export.Dim.DYNAMIC
    program = torch.export.export(Means(), (torch.zeros(1, 2, 8, 10),), dynamic_shapes=({2: side, 3: side},))
    x = torch.randn(1, 2, 9, 5)
    torch.testing.assert_close(program.module()(x), F.adaptive_avg_pool2d(x, 6))


@pytest.mark.parametrize(("bins", "size"), [((2, 3, 6), (8, 8)), ((2, 3, 6), (4, 5)), ((1, 5), (3, 7))])
def test_the_pyramid_joins_the_map_and_its_pooled_branches_in_order(bins, size):
    pyramid, x = settled(PyramidPooling(4, bins)), torch.randn(2, 4, *size, dtype=torch.float64)
    torch.testing.assert_close(pyramid(x), pyramid_by_hand(units_of(pyramid), x, bins))


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("bins", [(2, 3, 6), (2, 4, 8)])
def test_the_network_equals_its_table_of_layers_in_torchs_functions(wide, bins):
    net, x = settled(FCNPP(3, width=2, wide=wide, bins=bins)), torch.randn(2, 3, 64, 96, dtype=torch.float64)
    unit, skips, y = units_of(net), [], x
    for repeats in (2, 2, 3, 3):
        for _ in range(repeats):
            y = unit(y)
        skips.append(y)
        y = F.max_pool2d(y, 2)
    y = pyramid_by_hand(unit, unit(unit(unit(y))), bins)
    for _ in range(1 + wide):
        y = unit(y)
    for skip in reversed(skips):
        y = unit(torch.cat([skip, bilinear(y, skip.shape[-2:])], dim=1))
    torch.testing.assert_close(net(x), F.conv2d(y, net.head.weight, net.head.bias))


def test_every_stage_has_the_channels_and_the_map_of_the_table():
    net, shapes = FCNPP(3, width=2), []
    stages = [*net.encoder, net.pyramid, net.narrow, *net.decoder, net.head]
    for stage in stages:
        stage.register_forward_hook(lambda _, args, out: shapes.append((args[0].shape[1], *out.shape[1:])))
    net(torch.zeros(2, 3, 128, 128))
    encoder = [(3, 2, 128, 128), (2, 4, 64, 64), (4, 8, 32, 32), (8, 16, 16, 16), (16, 16, 8, 8)]
    middle = [(16, 64, 8, 8), (64, 16, 8, 8)]
    decoder = [(32, 8, 16, 16), (16, 4, 32, 32), (8, 2, 64, 64), (4, 2, 128, 128)]
    assert shapes == [*encoder, *middle, *decoder, (2, 2, 128, 128)]


def test_wide_narrows_the_pyramid_in_two_steps():
    convolutions = [part for part in FCNPP(3, width=2, wide=True).narrow.modules() if isinstance(part, nn.Conv2d)]
    assert [tuple(part.weight.shape) for part in convolutions] == [(32, 64, 3, 3), (16, 32, 3, 3)]


@pytest.mark.parametrize("side", [16, 32, 64])
def test_maps_smaller_than_the_parts_of_the_pyramid_work(side):
    net = FCNPP(3, width=2).eval()  # 1, 2 and 4 pixels a side at the pyramid, for 6 parts
    assert net(torch.randn(1, 3, side, side)).isfinite().all()


def test_every_convolution_computes_with_the_channels_last_in_memory():
    net, first = FCNPP(3, width=2), []
    for part in (part for part in net.modules() if isinstance(part, nn.Conv2d)):
        part.register_forward_pre_hook(
            lambda _, args: first.append(not args[0].is_contiguous(memory_format=torch.channels_last))
        )
    net(torch.randn(2, 3, 64, 64))
    assert sum(first) == 0


def test_one_tile_of_the_least_size_is_refused_in_training():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        FCNPP(3, width=2)(torch.zeros(1, 3, 16, 16))


def test_bins_may_come_as_the_list_that_json_makes_of_them():
    assert FCNPP(3, width=2, bins=[2, 3]).pyramid.bins == (2, 3)
