"""Both attentions against their definitions, pixel by pixel, and the networks made of them."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from coslide.networks.attention import EGCNESA, EGCNMSA, EfficientSelfAttention, WindowAttention
from coslide.networks.cgblock import CGBlock

SIZES = [(8, 8), (16, 24), (4, 4), (3, 11), (9, 18), (8, 20), (20, 8), (12, 7)]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def drawn(module):
    """Return the module in float64 with every parameter normal, so that no term is hidden by a zero or a one."""
    module = module.double()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


def attend(queries, keys, values, bias):
    """Return softmax(QK^T d^-0.5 + bias) V of one head."""
    scores = queries @ keys.T * queries.shape[1] ** -0.5 + bias
    weights = scores.exp() / scores.exp().sum(dim=1, keepdim=True)
    return weights @ values


def window_reference(module, x):
    """Compute by the definition: borders at shift + m window, every pixel attends to those of its own window."""
    height, width = x.shape[1:]
    side = module.window
    down, right = (module.shift if length > side else 0 for length in (height, width))
    windows = {}
    for row in range(height):
        for col in range(width):
            windows.setdefault(((row - down) // side, (col - right) // side), []).append((row, col))
    channels = module.proj.in_features
    attended = torch.zeros(channels, height, width, dtype=x.dtype)
    weight, bias = module.qkv.weight, module.qkv.bias
    table = module.bias_table.view(2 * side - 1, 2 * side - 1, module.heads)
    for pixels in windows.values():
        features = torch.stack([x[:, row, col] for row, col in pixels])
        projected = [features @ weight[n * channels :][:channels].T + bias[n * channels :][:channels] for n in range(3)]
        for head in range(module.heads):
            own = slice(head * channels // module.heads, (head + 1) * channels // module.heads)
            offsets = [[table[i - row + side - 1, j - col + side - 1, head] for row, col in pixels] for i, j in pixels]
            result = attend(*(part[:, own] for part in projected), torch.tensor(offsets, dtype=x.dtype))
            for (row, col), value in zip(pixels, result, strict=True):
                attended[own, row, col] = value
    return torch.einsum("oc,chw->ohw", module.proj.weight, attended) + module.proj.bias[:, None, None]


def reduced_patches(module, x):
    """Return the normalised patches, shape (patch, Cin)."""
    side = module.reduction
    patches = []
    for row in range(0, x.shape[1], side):
        for col in range(0, x.shape[2], side):
            patch = x[:, row : row + side, col : col + side]
            patch = (module.reduce.weight * patch).sum(dim=(1, 2, 3)) + module.reduce.bias
            centred = patch - patch.mean()
            patch = centred / (centred.square().mean() + 1e-5).sqrt()
            patches.append(patch * module.norm.weight + module.norm.bias)
    return torch.stack(patches)


def efficient_reference(module, x):
    """Compute by the definition: every pixel attends to every pixel of the reduced map."""
    pixels = torch.stack([x[:, row, col] for row in range(x.shape[1]) for col in range(x.shape[2])])
    attended = pixels if module.reduction == 1 else reduced_patches(module, x)
    channels = module.proj.in_features
    queries = pixels @ module.q.weight.T + module.q.bias
    keys = attended @ module.kv.weight[:channels].T + module.kv.bias[:channels]
    values = attended @ module.kv.weight[channels:].T + module.kv.bias[channels:]
    heads = []
    for head in range(module.heads):
        own = slice(head * channels // module.heads, (head + 1) * channels // module.heads)
        heads.append(attend(queries[:, own], keys[:, own], values[:, own], 0))
    out = torch.cat(heads, dim=1) @ module.proj.weight.T + module.proj.bias
    return out.T.reshape(channels, *x.shape[1:])


# torch has other kernels where no gradient is asked for
@pytest.mark.parametrize("grad", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("shift", [0, 4])
@pytest.mark.parametrize("size", SIZES)
def test_window_attention_equals_its_definition(size, shift, grad):
    module = drawn(WindowAttention(5, 6, heads=2, shift=shift))
    x = torch.randn(2, 5, *size, dtype=torch.float64)
    with torch.no_grad():
        expected = torch.stack([window_reference(module, one) for one in x])
    with torch.set_grad_enabled(grad):
        torch.testing.assert_close(module(x), expected)


@pytest.mark.parametrize(("window", "shift"), [(2, 1), (3, 2), (5, 2), (7, 3)])
def test_windows_and_shifts_of_other_lengths_equal_the_definition(window, shift):
    module = drawn(WindowAttention(4, 6, heads=3, window=window, shift=shift))
    x = torch.randn(1, 4, 13, 14, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(module(x)[0], window_reference(module, x[0]))


@pytest.mark.parametrize("grad", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize(("reduction", "size"), [(1, (5, 6)), (2, (6, 8)), (4, (8, 12)), (16, (32, 16)), (8, (8, 8))])
def test_efficient_self_attention_equals_its_definition(reduction, size, grad):
    module = drawn(EfficientSelfAttention(5, 6, heads=2, reduction=reduction))
    x = torch.randn(2, 5, *size, dtype=torch.float64)
    with torch.no_grad():
        expected = torch.stack([efficient_reference(module, one) for one in x])
    with torch.set_grad_enabled(grad):
        torch.testing.assert_close(module(x), expected)


MODULES = {
    "windows": lambda: WindowAttention(5, 8, heads=2),
    "shifted windows": lambda: WindowAttention(5, 8, heads=2, shift=4),
    "reduced": lambda: EfficientSelfAttention(5, 8, heads=2, reduction=4),
    "not reduced": lambda: EfficientSelfAttention(5, 8, heads=2, reduction=1),
}
each_module = pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)


def test_without_a_limit_on_distance_both_attentions_are_the_same():
    window = drawn(WindowAttention(5, 8, heads=2, window=12))
    nn.init.zeros_(window.bias_table)
    reduced = drawn(EfficientSelfAttention(5, 8, heads=2, reduction=1))
    reduced.proj.load_state_dict(window.proj.state_dict())
    reduced.q.load_state_dict({name: value[:8] for name, value in window.qkv.state_dict().items()})
    reduced.kv.load_state_dict({name: value[8:] for name, value in window.qkv.state_dict().items()})
    x = torch.randn(2, 5, 12, 9, dtype=torch.float64)
    torch.testing.assert_close(window(x), reduced(x))


@each_module
def test_the_bias_of_the_keys_has_no_effect(make):
    module, x = drawn(make()), torch.randn(1, 5, 12, 12, dtype=torch.float64)
    before = module(x)
    bias, start = (module.qkv.bias, 8) if isinstance(module, WindowAttention) else (module.kv.bias, 0)
    with torch.no_grad():
        bias[start : start + 8] += 1
    torch.testing.assert_close(module(x), before)


@each_module
def test_the_map_keeps_its_values_in_another_memory_order(make):
    module, x = drawn(make()), torch.randn(2, 5, 12, 20, dtype=torch.float64)
    torch.testing.assert_close(module(x.contiguous(memory_format=torch.channels_last)), module(x))


@each_module
def test_the_result_lies_in_memory_with_the_channels_last(make):
    assert make()(torch.randn(2, 5, 12, 20)).is_contiguous(memory_format=torch.channels_last)


@each_module
@pytest.mark.parametrize("grad", [True, False], ids=["training", "inference"])
def test_bfloat16_is_close_to_float32(make, grad):
    module, x = make(), torch.randn(2, 5, 12, 12)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    with torch.set_grad_enabled(grad):
        expected = module(x)
        torch.testing.assert_close(module.bfloat16()(x.bfloat16()).float(), expected, rtol=0.05, atol=0.1)


@each_module
def test_automatic_mixed_precision_is_supported(make):
    with torch.autocast("cpu", torch.bfloat16):
        assert make()(torch.randn(1, 5, 12, 12)).dtype == torch.bfloat16


@each_module
def test_an_exported_module_gives_the_same_for_any_batch(make):
    module = make().eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(module, (torch.randn(2, 5, 12, 12),), dynamic_shapes=({0: batch},)).module()
    x = torch.randn(3, 5, 12, 12)
    torch.testing.assert_close(exported(x), module(x))


@each_module
def test_gradients_are_those_of_finite_differences(make):
    module = drawn(make())
    names = [name for name, _ in module.named_parameters()]
    x = torch.randn(1, 5, 12, 4, dtype=torch.float64, requires_grad=True)

    def result(x, *parameters):
        return torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(result, (x, *module.parameters()), fast_mode=True)


def counted(make, *size):
    """Return the multiply-adds that torch counts; on "meta", as it does not know those of the CPU's fused kernel."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        make()(torch.empty(1, 5, *size))
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("kind", ["windows", "shifted windows"])
def test_torch_counts_every_multiply_add_of_window_attention(kind):
    pixels, keys, c_in, c = 16 * 24, 64, 5, 8
    assert counted(MODULES[kind], 16, 24) == pixels * (c_in * 3 * c + 2 * keys * c + c * c)


def test_torch_counts_every_multiply_add_of_efficient_self_attention():
    pixels, reduced, c_in, c = 16 * 24, 4 * 6, 5, 8
    reduction = reduced * 16 * c_in * c_in
    attention = pixels * c_in * c + reduced * c_in * 2 * c + 2 * pixels * reduced * c + pixels * c * c
    assert counted(MODULES["reduced"], 16, 24) == reduction + attention


def spreads_and_biases(weights, biases):
    return [weight.std().item() for weight in weights], [bias.abs().max().item() for bias in biases]


def test_weights_start_small_and_biases_at_zero_as_in_swin():
    module = WindowAttention(256, 256, heads=64)
    weights = [module.qkv.weight, module.proj.weight, module.bias_table]
    spreads, biases = spreads_and_biases(weights, [module.qkv.bias, module.proj.bias])
    assert (spreads, biases) == (pytest.approx([0.02] * 3, rel=0.05), [0, 0])


def test_weights_start_small_and_biases_at_zero_as_in_segformer():
    module = EfficientSelfAttention(64, 128, reduction=4)
    layers = [module.q, module.kv, module.proj, module.reduce]
    spreads, biases = spreads_and_biases([layer.weight for layer in layers], [layer.bias for layer in layers])
    fan_out = 64 * 4 * 4
    assert (spreads, biases) == (pytest.approx([0.02] * 3 + [(2 / fan_out) ** 0.5], rel=0.05), [0] * 4)


def test_channels_that_are_no_multiple_of_the_heads_are_refused():
    for make in (WindowAttention, partial(EfficientSelfAttention, reduction=2)):
        with pytest.raises(ValueError, match="expected channels that are a multiple of heads, found 12 and 8"):
            make(3, 12, heads=8)


# The networks


def on_meta(network, **options):
    with torch.device("meta"):
        return network(**options)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def branches(net):
    return [module.branch for module in net.modules() if isinstance(module, CGBlock)]


@pytest.mark.parametrize(
    ("network", "options", "parameters"),
    [
        (EGCNMSA, {}, 44_023_286),
        (EGCNESA, {}, 70_186_496),
        (EGCNESA, {"reductions": (8, 4, 2, 1, 1)}, 48_904_192),
    ],
)
def test_the_network_has_its_number_of_parameters(network, options, parameters):
    assert count(on_meta(network, **options)) == parameters


def test_the_second_of_two_blocks_has_its_windows_shifted_by_half():
    found = [(branch.window, branch.shift) for branch in branches(EGCNMSA(3, width=8, window=6))]
    assert found == [(6, 0), (6, 3)] * 9


def test_which_block_is_the_second_does_not_depend_on_the_networks_before():
    EGCNMSA(3, width=8)
    assert branches(EGCNMSA(8, width=8))[1].shift == 4


@pytest.mark.parametrize("reductions", [(16, 8, 4, 2, 1), [8, 4, 2, 1, 1]])
def test_the_map_is_reduced_by_the_factor_of_its_depth(reductions):
    factors = [branch.reduction for branch in branches(EGCNESA(3, width=8, reductions=reductions))]
    pairs = [factor for factor in reductions for _ in range(2)]
    assert factors == pairs + pairs[:8]  # the encoder and depth 5, then the decoder, whose list begins at depth 1


def test_every_pixel_of_a_tile_attends_to_as_many_pixels_as_the_graph_has_nodes():
    net, counts = EGCNESA(3, width=8), []
    for branch in branches(net):
        branch.kv.register_forward_pre_hook(lambda _, args: counts.append(args[0].shape[1]))
    with torch.no_grad():
        net(torch.randn(1, 3, 128, 128))
    assert counts == [64] * 18


@pytest.mark.parametrize(
    "reductions",
    [(16, 8, 4, 2), (16, 8, 4, 2, 1, 1), (16, 8, 4, 2, 2), (3, 8, 4, 2, 1), (0, 8, 4, 2, 1)],
)
def test_reductions_that_do_not_fit_every_input_are_refused(reductions):
    with pytest.raises(ValueError, match=r"reductions: found \[.*, expected 5 numbers that divide \[16, 8"):
        EGCNESA(3, width=8, reductions=reductions)


NETWORKS = [EGCNMSA, EGCNESA]
each_network = pytest.mark.parametrize("network", NETWORKS)


@each_network
def test_a_width_that_the_heads_do_not_divide_is_refused(network):
    with pytest.raises(ValueError, match="multiple of heads, found 12 and 8"):
        network(3, width=12)


@each_network
@pytest.mark.parametrize("size", [(128, 128), (32, 48), (144, 16)])
def test_logits_have_the_inputs_size(network, size):
    with torch.no_grad():
        assert network(3, classes=4, width=8)(torch.randn(1, 3, *size)).shape == (1, 4, *size)


@each_network
@pytest.mark.parametrize("size", [(64, 64), (48, 32)])
def test_every_parameter_receives_a_gradient(network, size):
    net = network(3, width=16)
    net(torch.randn(2, 3, *size)).square().mean().backward()
    assert [name for name, parameter in net.named_parameters() if not parameter.grad.any()] == []
