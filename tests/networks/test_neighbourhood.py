"""The compiled attention of ACmix against its equation, pixel by pixel, and against the plain one in torch."""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from coslide.networks import acmix, neighbourhood
from coslide.networks.acmix import ACmix, AcmixUnet, neighbourhood_attention


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def refused(monkeypatch):
    def refuse(*_):
        raise AssertionError("compiled")

    monkeypatch.setattr(neighbourhood, "attend", refuse)


def reference(q, k, v, heads):
    """Return the means of the values around each pixel, in double precision: the equation, one pixel at a time."""
    q, k, v = (x.double() for x in (q, k, v))
    rows, cols = (np.pad(np.arange(size), 3, mode="reflect") for size in q.shape[2:])
    out = torch.empty_like(q)
    for row in range(q.shape[2]):
        for col in range(q.shape[3]):
            around = (..., rows[row : row + 7, None], cols[None, col : col + 7])
            keys, values = (x[around].flatten(2).unflatten(1, (heads, -1)) for x in (k, v))  # (batch, head, d, 49)
            query = q[:, :, row, col].unflatten(1, (heads, -1, 1))
            weights = ((query * keys).sum(2, keepdim=True) / query.shape[2] ** 0.5).softmax(-1)
            out[:, :, row, col] = (weights * values).sum(-1).flatten(1)
    return out


def value_and_gradients(attention, maps, upstream):
    maps = [x.detach().requires_grad_() for x in maps]
    y = attention(*maps)
    return [y.detach(), *torch.autograd.grad(y, maps, upstream.to(y.dtype))]


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        of_size = max(1, other.abs().max().item())
        torch.testing.assert_close(one, other.to(one.dtype), rtol=0, atol=1e-5 * of_size)


CASES = [  # batch, channels, heads, size; runs have 64 pixels of rows with their rim
    (1, 1, 1, (1, 1)),
    (2, 8, 4, (2, 9)),
    (2, 6, 2, (7, 3)),
    (1, 12, 2, (5, 6)),
    (2, 16, 4, (8, 8)),
    (1, 16, 4, (4, 58)),  # rows of one run
    (1, 10, 2, (9, 75)),
    (1, 64, 4, (13, 16)),
    (1, 256, 4, (3, 4)),
]


@pytest.mark.parametrize(("batch", "channels", "heads", "size"), CASES, ids=str)
def test_it_has_the_values_and_gradients_of_the_equation_and_of_the_plain_form(batch, channels, heads, size):
    *maps, upstream = torch.randn(4, batch, channels, *size)
    found = value_and_gradients(lambda *x: acmix._attend(*x, heads=heads), maps, upstream)
    assert_same(found, value_and_gradients(lambda *x: reference(*x, heads), maps, upstream))
    plain = value_and_gradients(lambda *x: neighbourhood_attention(*x, heads=heads, kernel=7), maps, upstream)
    assert_same(found, plain)


@pytest.mark.parametrize("size", [(16, 16), (32, 48)])  # 1 x 1 and 2 x 3 pixels at depth 5
@pytest.mark.parametrize("width", [8, 16, 64])
def test_at_all_depths_a_network_has_the_features_of_the_plain_form(width, size, monkeypatch):
    net, x = AcmixUnet(3, width=width), torch.randn(2, 3, *size)
    found = net(x)
    of_found = torch.autograd.grad(found.square().mean(), [*net.parameters()])
    monkeypatch.setattr(acmix, "runs_compiled", lambda *_: False)
    expected = net(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    of_expected = torch.autograd.grad(expected.square().mean(), [*net.parameters()])
    greatest = max(one.abs().max() for one in of_expected)
    for one, other in zip(of_found, of_expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4 * greatest)


def test_large_logits_choose_one_neighbour():
    k, v = torch.randn(2, 1, 1, 12, 12)
    q = torch.full_like(k, 1e6)
    torch.testing.assert_close(acmix._attend(q, k, v, heads=1).double(), reference(q, k, v, 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("which", ["q", "k", "v"])
def test_what_is_no_number_or_infinite_stays_in_its_neighbourhood(which, value):
    maps = dict(zip("qkv", torch.randn(3, 2, 8, 12, 12), strict=True))
    maps[which][1, :, 3, 0] = value
    lost = ~acmix._attend(*maps.values(), heads=2).isfinite().all(1)
    around = torch.zeros(2, 12, 12, dtype=torch.bool)
    around[(1, 3, 0) if which == "q" else (1, slice(7), slice(4))] = True
    assert lost.any()
    assert not (lost & ~around).any()
    if which != "k":  # an infinite key may have no weight
        assert torch.equal(lost, around)


def test_under_automatic_mixed_precision_attention_is_in_single_precision():
    q, k, v = torch.randn(3, 1, 8, 9, 9).bfloat16()
    found = acmix._attend(q, k, v, heads=2)
    assert torch.equal(found, acmix._attend(q.float(), k.float(), v.float(), heads=2).bfloat16())
    layer, x = ACmix(3, 8), torch.randn(1, 3, 9, 9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
        y.sum().backward()
    torch.testing.assert_close(y.float(), layer(x), rtol=0.05, atol=0.05)


def test_threads_that_run_it_at_once_find_what_one_alone_finds():
    tiles = torch.randn(12, 3, 1, 16, 20, 24)
    expected = [acmix._attend(*maps, heads=4) for maps in tiles]
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda maps: acmix._attend(*maps, heads=4), tiles)
        assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
    assert len(neighbourhood.attend.signatures) == 1


@pytest.mark.usefixtures("refused")
def test_the_layer_runs_compiled_on_a_cpu_in_single_precision_and_else_plain():
    layer, x = ACmix(3, 8), torch.zeros(1, 3, 9, 9)
    with pytest.raises(AssertionError, match="compiled"):
        layer(x)
    assert ACmix(3, 8, kernel=5)(x).isfinite().all()
    assert copy.deepcopy(layer).double()(x.double()).isfinite().all()
    assert torch.export.export(layer, (x,)).module()(x).isfinite().all()
