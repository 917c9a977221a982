"""Compiled neighbours and patches against their plain form in torch."""

import pytest
import torch

from coslide.networks import node_kernel
from coslide.networks.graph import neighbours
from coslide.networks.patches import add_patches


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


FEATURES = {
    "drawn": lambda *shape: torch.randn(shape),
    "zero": lambda *shape: torch.zeros(shape),
    "of few values": lambda *shape: torch.randint(2, shape).float(),
    "far from zero": lambda *shape: 30 + torch.randn(shape),
}


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("nodes", [2, 9, 64, 512, 600])
@pytest.mark.parametrize("kind", FEATURES)
def test_neighbours_are_those_of_the_matrix_product(kind, nodes, include_self):
    x = FEATURES[kind](2, nodes, 3)
    found = node_kernel.nearest(x, 8, include_self=include_self)
    assert torch.equal(found.long(), neighbours(x, 8, include_self=include_self))


def test_what_is_no_number_is_a_node_like_another():
    x = torch.randn(1, 20, 3)
    x[0, 3:5] = torch.nan
    x[0, 7:9] = torch.inf
    found = node_kernel.nearest(x, 8, include_self=True)
    assert ((found >= 0) & (found < 20)).all()


@pytest.mark.parametrize("rate", [1, 2, 5])
@pytest.mark.parametrize("channels", [1, 7, 16])
def test_patches_have_the_values_and_gradients_of_the_plain_form(rate, channels):
    shapes = [(2, channels, 3 * rate, 4 * rate), (2, 3, 4, channels), (rate, rate, channels)]
    inputs, g = [torch.randn(shape, requires_grad=True) for shape in shapes], torch.randn(shapes[0])

    def results(dtype):
        y, nodes, patch = (one.to(dtype) for one in inputs)
        total = add_patches(y * 1, nodes, patch)  # double precision runs in the plain form
        return total.float(), *torch.autograd.grad(total, inputs, g.to(dtype))

    torch.testing.assert_close(results(torch.float32), results(torch.float64), rtol=1e-5, atol=1e-5)
