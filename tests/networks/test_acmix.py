"""ACmix against its equations, neighbour by neighbour, and the U-Net made of it."""

import numpy as np
import pytest
import torch
from torch import nn

from coslide.networks import parameter_count
from coslide.networks.acmix import ACmix, AcmixUnet, neighbourhood_attention

SIZES = [(8, 8), (9, 11), (16, 5), (3, 20), (2, 9), (1, 1)]  # whole windows, parts of them, less than the neighbourhood


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def noise(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def drawn(layer):
    """Return the layer in float64 with every parameter normal, so that no term is hidden by a zero or a one."""
    layer = layer.double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.7)
    return layer


def neighbours(x, kernel):
    """Return the map as each of the kernel^2 neighbours sees it, offsets on the first axis, mirrored at the border."""
    rim = kernel // 2
    rows, cols = (np.pad(np.arange(size), rim, mode="reflect") for size in x.shape[-2:])
    height, width = x.shape[-2:]
    return torch.stack(
        [
            x[..., rows[i : i + height], :][..., cols[j : j + width]]
            for i in range(kernel)
            for j in range(kernel)  # from the upper left to the lower right
        ]
    )


def attention_reference(q, k, v, position, kernel):
    """Return sum_n softmax_n(q . (k_n + e - e_n) / sqrt(d)) v_n, all (batch, head, d, row, col) but e (d, row, col)."""
    keys, values, positions = (neighbours(x, kernel) for x in (k, v, position))
    logits = (q * (keys + position - positions[:, None, None])).sum(3) / q.shape[2] ** 0.5
    weights = logits.exp() / logits.exp().sum(0)
    return (weights.unsqueeze(3) * values).sum(0)


def coordinates(height, width):
    """Return x and y of each pixel from -1 to 1, (2, row, col); a single row or column is at -1."""
    place = torch.zeros(2, height, width, dtype=torch.float64)
    for row in range(height):
        for col in range(width):
            place[0, row, col] = -1 + 2 * col / max(width - 1, 1)
            place[1, row, col] = -1 + 2 * row / max(height - 1, 1)
    return place


def layer_reference(layer, x):
    """Return what the equations of the layer give, its two convolutions one after the other."""
    heads, head_channels = layer.heads, layer.out_channels // layer.heads
    projected = torch.einsum("oc,bchw->bohw", layer.projections.weight[:, :, 0, 0], x)
    projected = projected + layer.projections.bias[:, None, None]
    stack = projected.unflatten(1, (3 * heads, head_channels))
    q, k, v = stack.chunk(3, dim=1)
    position = torch.einsum("dc,chw->dhw", layer.position.weight, coordinates(*x.shape[-2:]))
    position = position + layer.position.bias[:, None, None]
    attention = attention_reference(q, k, v, position, layer.kernel).flatten(1, 2)

    mixed = torch.einsum("ij,bjghw->bgihw", layer.mixing, stack)
    padded = nn.functional.pad(mixed, (1, 1, 1, 1))
    shifts = layer.shifts.unflatten(0, (head_channels, heads))  # (group, head, i, row, col)
    height, width = x.shape[-2:]
    convolution = sum(
        torch.einsum("gmi,bgihw->bgmhw", shifts[..., row, col], padded[..., row : row + height, col : col + width])
        for row in range(3)
        for col in range(3)
    )
    return layer.attention_rate * attention + layer.convolution_rate * convolution.flatten(1, 2)


class TestNeighbourhoodAttention:
    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize(("heads", "kernel"), [(1, 7), (3, 7), (2, 3), (6, 1), (1, 11)])
    def test_it_is_the_sum_over_the_neighbours(self, size, heads, kernel):
        q, k, v = noise(3, 2, 6, *size)
        by_head = [x.unflatten(1, (heads, -1)) for x in (q, k, v)]
        expected = attention_reference(*by_head, torch.zeros(6 // heads, *size), kernel).flatten(1, 2)
        found = neighbourhood_attention(q, k, v, heads=heads, kernel=kernel)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)

    def test_its_gradient_is_that_of_finite_differences(self):
        q, k, v = (x.requires_grad_() for x in noise(3, 1, 4, 3, 9))
        assert torch.autograd.gradcheck(lambda *x: neighbourhood_attention(*x, heads=2, kernel=5), (q, k, v))

    def test_the_corner_of_a_map_sees_it_mirrored_about_its_first_row_and_column(self):
        """With equal logits a pixel has the mean of nine; the first row and column are the middle ones there."""
        v = torch.arange(9.0, dtype=torch.float64).view(1, 1, 3, 3)
        same = torch.zeros_like(v)
        found = neighbourhood_attention(same, same, v, heads=1, kernel=3)[0, 0, :2, :2]
        corner = (4 + 3 + 4) + (1 + 0 + 1) + (4 + 3 + 4)
        upper = (3 + 4 + 5) + (0 + 1 + 2) + (3 + 4 + 5)
        left = (1 + 0 + 1) + (4 + 3 + 4) + (7 + 6 + 7)
        expected = torch.tensor([[corner, upper], [left, sum(range(9))]], dtype=torch.float64) / 9
        torch.testing.assert_close(found, expected)

    @pytest.mark.parametrize(("row", "col"), [(10, 11), (7, 8), (15, 16)])  # also beside the borders of windows
    def test_a_pixel_is_seen_from_the_seven_by_seven_around_it_and_no_further(self, row, col):
        q, k, v = noise(3, 1, 2, 24, 24)
        changed = v.clone()
        changed[..., row, col] += 1
        difference = neighbourhood_attention(q, k, changed, heads=1, kernel=7)
        difference -= neighbourhood_attention(q, k, v, heads=1, kernel=7)
        seen = torch.zeros(24, 24, dtype=torch.bool)
        seen[row - 3 : row + 4, col - 3 : col + 4] = True
        assert torch.equal(difference[0, 0] != 0, seen)

    @pytest.mark.parametrize(("down", "right"), [(1, 0), (3, 5), (8, 16)])
    def test_away_from_the_border_a_shifted_map_gives_the_shifted_result(self, down, right):
        q, k, v = noise(3, 1, 4, 32, 40)
        moved = [x.roll((down, right), (2, 3)) for x in (q, k, v)]
        found = neighbourhood_attention(*moved, heads=2, kernel=7).roll((-down, -right), (2, 3))
        inside = (..., slice(3, 32 - down - 3), slice(3, 40 - right - 3))
        expected = neighbourhood_attention(q, k, v, heads=2, kernel=7)
        torch.testing.assert_close(found[inside], expected[inside], rtol=0, atol=1e-12)

    def test_heads_do_not_see_each_other(self):
        q, k, v = noise(3, 1, 6, 9, 9)
        expected = torch.cat(
            [neighbourhood_attention(*(x[:, i : i + 2] for x in (q, k, v)), heads=1, kernel=7) for i in (0, 2, 4)], 1
        )
        found = neighbourhood_attention(q, k, v, heads=3, kernel=7)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)

    def test_large_logits_choose_one_neighbour(self):
        k, v = noise(2, 1, 1, 12, 12)
        found = neighbourhood_attention(torch.full_like(k, 1e6), k, v, heads=1, kernel=7)
        best = neighbours(k, 7).argmax(0, keepdim=True)
        torch.testing.assert_close(found, neighbours(v, 7).gather(0, best)[0], rtol=0, atol=1e-12)

    def test_much_less_is_kept_for_the_backward_pass_than_the_neighbours_of_each_pixel(self):
        kept = {}

        def keep(tensor):
            kept[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        q, k, v = (x.requires_grad_() for x in torch.randn(3, 1, 16, 64, 64))
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            neighbourhood_attention(q, k, v, heads=4, kernel=7)
        maps = sum(x.untyped_storage().nbytes() for x in kept.values()) / (q.numel() * q.element_size())
        assert maps < 2 + 2 * (14 / 8) ** 2 + 1.5  # q and the result, k and v with their rims, indices and sums


class TestACmix:
    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize(("heads", "kernel"), [(4, 7), (8, 7), (2, 3)])
    def test_it_is_what_its_equations_say(self, size, heads, kernel):
        layer = drawn(ACmix(5, 16, heads=heads, kernel=kernel))
        x = noise(2, 5, *size)
        torch.testing.assert_close(layer(x), layer_reference(layer, x), rtol=0, atol=1e-10)

    def test_its_gradients_are_those_of_its_equations(self):
        layer, x = drawn(ACmix(3, 8, heads=2)), noise(2, 3, 9, 12).requires_grad_()
        upstream = noise(2, 8, 9, 12)
        wanted = [x, *layer.parameters()]
        found = torch.autograd.grad(layer(x), wanted, upstream)
        expected = torch.autograd.grad(layer_reference(layer, x), wanted, upstream)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)

    def test_with_attention_silent_a_new_layer_sums_shifted_mixtures(self):
        layer = ACmix(3, 8, heads=2, attention_rate=0.0).double()
        x = noise(1, 3, 6, 7)
        stack = layer.projections(x).unflatten(1, (6, 4))[0]  # q, k and v of each head, 4 channels each
        expected = torch.zeros(8, 6, 7, dtype=torch.float64)
        for channel in range(8):
            for i in range(9):
                mixture = sum(layer.mixing[i, j] * stack[j, channel // 2] for j in range(6))
                down, right = i // 3 - 1, i % 3 - 1
                for row in range(max(0, -down), 6 - max(0, down)):
                    for col in range(max(0, -right), 7 - max(0, right)):
                        expected[channel, row, col] += mixture[row + down, col + right]
        torch.testing.assert_close(layer(x)[0], expected, rtol=0, atol=1e-12)

    def test_with_convolution_silent_it_is_the_attention(self):
        layer = ACmix(3, 8, heads=2, convolution_rate=0.0).double()
        nn.init.zeros_(layer.position.weight)
        x = noise(1, 3, 10, 10)
        q, k, v = layer.projections(x).chunk(3, dim=1)
        torch.testing.assert_close(layer(x), neighbourhood_attention(q, k, v, heads=2, kernel=7))

    @pytest.mark.parametrize(("axis", "moved"), [(0, -1), (1, -2)])
    def test_a_position_term_of_x_acts_along_rows_and_one_of_y_along_columns(self, axis, moved):
        """Equal queries and keys: only the position tells neighbours apart, and far along -x (or -y) has the weight."""
        layer = ACmix(1, 1, heads=1, convolution_rate=0.0).double()
        with torch.no_grad():
            for parameter in (layer.projections.weight, layer.projections.bias, layer.position.weight):
                parameter.zero_()
            layer.projections.bias[0] = 1  # q = 1 everywhere
            layer.projections.weight[2] = 1  # v = x
            layer.position.weight[0, axis] = 1e5  # logit -1e5 (coordinate of the neighbour)
        x = coordinates(12, 12)[axis][None, None]
        inside = (..., slice(3, 9), slice(3, 9))
        torch.testing.assert_close(layer(x)[inside], x.roll(3, moved)[inside])

    def test_the_bias_of_the_position_has_no_influence_and_a_gradient_of_exactly_zero(self):
        layer, x = drawn(ACmix(3, 8, heads=2)), noise(1, 3, 9, 9)
        before = layer(x)
        before.square().sum().backward()
        with torch.no_grad():
            layer.position.bias += 10
        assert torch.equal(layer.position.bias.grad, torch.zeros(4, dtype=torch.float64))
        torch.testing.assert_close(layer(x), before, rtol=0, atol=0)

    def test_every_other_parameter_has_a_gradient(self):
        layer = ACmix(3, 8)
        layer(torch.randn(2, 3, 16, 16)).square().mean().backward()
        assert [name for name, one in layer.named_parameters() if not one.grad.any()] == ["position.bias"]

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision_stays_near(self, dtype):
        layer, x = ACmix(4, 16), torch.randn(1, 4, 16, 16)
        expected = layer(x)
        found = layer.to(dtype)(x.to(dtype))
        assert found.dtype == dtype
        torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05)

    def test_one_export_serves_any_batch(self):
        layer = ACmix(3, 8).eval()
        batch = torch.export.Dim("batch", min=1, max=64)
        exported = torch.export.export(layer, (torch.randn(2, 3, 12, 9),), dynamic_shapes=({0: batch},)).module()
        x = torch.randn(5, 3, 12, 9)
        torch.testing.assert_close(exported(x), layer(x))

    @pytest.mark.parametrize(("channels", "out", "heads"), [(3, 8, 4), (64, 64, 4), (30, 64, 8), (512, 1024, 4)])
    def test_it_has_its_number_of_parameters(self, channels, out, heads):
        with torch.device("meta"):
            found = parameter_count(ACmix(channels, out, heads=heads))
        assert found == 3 * (channels * out + out) + 3 * out // heads + 27 * heads + 81 * out + 2

    def test_drawing_it_anew_brings_the_shifts_back(self):
        layer = ACmix(3, 8)
        nn.init.zeros_(layer.shifts)
        layer.reset_parameters()
        places = [tuple(place) for place in layer.shifts.nonzero().tolist()]
        assert places == [(channel, i, i // 3, i % 3) for channel in range(8) for i in range(9)]

    def test_channels_that_heads_do_not_divide_are_refused(self):
        with pytest.raises(ValueError, match="multiple of heads, found 8 and 3"):
            ACmix(3, 8, heads=3)


class TestAcmixUnet:
    @pytest.mark.parametrize(("heads", "count"), [(4, 12_717_502), (8, 12_717_238)])
    def test_it_has_its_number_of_parameters(self, heads, count):
        with torch.device("meta"):
            assert parameter_count(AcmixUnet(heads=heads)) == count

    def test_eighteen_layers_replace_the_convolutions_of_u_net(self):
        layers = [module for module in AcmixUnet(5, width=8).modules() if isinstance(module, ACmix)]
        channels = [(layer.projections.in_channels, layer.out_channels) for layer in layers]
        encoder = [(5, 8), (8, 8), (8, 16), (16, 16), (16, 32), (32, 32), (32, 64), (64, 64)]
        decoder = [(16, 8), (8, 8), (32, 16), (16, 16), (64, 32), (32, 32), (128, 64), (64, 64)]
        assert channels == [*encoder, (64, 128), (128, 128), *decoder]

    def test_layers_are_followed_by_norm_and_gelu(self):
        kinds = [type(module).__name__ for module in AcmixUnet(5, width=4).encoder[0][0]]
        assert kinds == ["ACmix", "ChannelLayerNorm", "GELU"]

    def test_its_options_reach_every_layer(self):
        net = AcmixUnet(5, width=4, heads=2, attention_rate=0.5, convolution_rate=0.25)
        layers = [module for module in net.modules() if isinstance(module, ACmix)]
        found = {(one.heads, one.kernel, one.attention_rate.item(), one.convolution_rate.item()) for one in layers}
        assert found == {(2, 7, 0.5, 0.25)}

    def test_rates_start_at_one(self):
        rates = [one for name, one in AcmixUnet(5, width=4).named_parameters() if name.endswith("_rate")]
        assert [rate.item() for rate in rates] == [1.0] * 36

    @pytest.mark.parametrize("size", [(16, 16), (32, 48)])  # 1 x 1 and 2 x 3 pixels at depth 5
    def test_small_tiles_give_finite_logits_and_gradients(self, size):
        net = AcmixUnet(3, width=8)
        logits = net(torch.randn(2, 3, *size))
        logits.square().mean().backward()
        finite = all(parameter.grad.isfinite().all() for parameter in net.parameters())
        assert (logits.shape, finite) == ((2, 2, *size), True)

    def test_a_width_that_heads_do_not_divide_is_refused(self):
        with pytest.raises(ValueError, match="multiple of heads, found 6 and 4"):
            AcmixUnet(3, width=6)

    def test_training_steps_lower_the_loss_on_one_tile(self):
        net, x = AcmixUnet(3, width=8), torch.randn(2, 3, 32, 32)
        targets = torch.zeros(2, 32, 32, dtype=torch.int64)
        targets[:, 8:16, 4:20] = 1
        optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
        losses = []
        for _ in range(15):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x), targets)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.7 * losses[0]
