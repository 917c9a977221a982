"""The compiled attention to a few keys against its equation and against the plain one in torch."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from coslide.networks import attention, few_keys
from coslide.networks.attention import EGCNESA, EGCNMSA, EfficientSelfAttention, WindowAttention


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def reference(q, k, v, bias=None):
    """Return the weighted means of the values in double precision, one group and head at a time."""
    out = torch.empty(q.shape, dtype=torch.float64)
    for group in range(len(q)):
        for head in range(q.shape[2]):
            queries, keys, values = (x[group, :, head].double() for x in (q, k, v))
            logits = queries @ keys.T / queries.shape[1] ** 0.5
            if bias is not None:
                logits = logits + bias[group % len(bias), head].double()
            powers = (logits - logits.max(1, keepdim=True).values).exp()
            out[group, :, head] = powers @ values / powers.sum(1, keepdim=True)
    return out


def made_up(groups, queries, keys, heads, d, parts):
    """Return inputs: queries, keys, values and, with parts, a bias."""
    q, (k, v) = torch.randn(groups, queries, heads, d), torch.randn(2, groups, keys, heads, d)
    return [q, k, v, torch.randn(parts, heads, queries, keys)] if parts else [q, k, v]


def value_and_gradients(function, inputs):
    inputs = [x.detach().requires_grad_() for x in inputs]
    y = function(*inputs)
    upstream = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)
    return [y.detach(), *torch.autograd.grad(y, inputs, upstream)]


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        of_size = max(1, other.abs().max().item())
        torch.testing.assert_close(one, other.to(one.dtype), rtol=0, atol=1e-5 * of_size)


CASES = [  # groups, queries, keys, heads, d, parts; runs have 64 queries
    (1, 1, 1, 1, 1, 1),
    (4, 64, 64, 8, 2, 1),  # windows of 8 x 8
    (6, 49, 49, 2, 3, 3),  # windows that differ
    (2, 200, 10, 3, 5, 0),  # runs of which the last is not full
    (3, 130, 7, 2, 1, 3),
    (1, 70, 256, 2, 16, 0),
]


@pytest.mark.parametrize("sizes", CASES, ids=str)
def test_it_has_the_values_and_gradients_of_the_equation_and_of_the_plain_form(sizes):
    inputs = made_up(*sizes)
    found = value_and_gradients(attention._attend, inputs)
    assert_same(found, value_and_gradients(reference, inputs))
    assert_same(found, value_and_gradients(attention._attention, inputs))


def test_a_key_that_is_hidden_has_no_part_in_values_or_gradients():
    inputs = made_up(2, 5, 6, 1, 3, 1)
    inputs[3][..., 2] = -torch.inf
    found = value_and_gradients(attention._attend, inputs)
    seen = [inputs[0], *(x[:, [0, 1, 3, 4, 5]] for x in inputs[1:3]), inputs[3][..., [0, 1, 3, 4, 5]]]
    y, d_q, *_ = value_and_gradients(reference, seen)
    assert_same(found[:2], [y, d_q])
    for hidden in (found[2][:, 2], found[3][:, 2], found[4][..., 2]):
        assert (hidden == 0).all()


def test_large_logits_choose_one_key():
    q, k, v = made_up(1, 3, 9, 1, 4, 0)
    assert_same([attention._attend(1e6 * q, k, v)], [reference(1e6 * q, k, v)])


@pytest.mark.parametrize("size", [(16, 16), (32, 48), (64, 64)])  # windows that are not full, moved, and several
@pytest.mark.parametrize("network", [EGCNMSA, EGCNESA])
def test_at_all_depths_a_network_has_the_features_of_the_plain_form(network, size, monkeypatch):
    net, x = network(3, width=8), torch.randn(2, 3, *size)
    found = net(x)
    of_found = torch.autograd.grad(found.square().mean(), [*net.parameters()])
    monkeypatch.setattr(attention, "runs_compiled", lambda *_: False)
    expected = net(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    of_expected = torch.autograd.grad(expected.square().mean(), [*net.parameters()])
    greatest = max(one.abs().max() for one in of_expected)
    for one, other in zip(of_found, of_expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4 * greatest)


def test_threads_that_run_it_at_once_find_what_one_alone_finds():
    tiles = [made_up(2, 64, 64, 2, 4, 1) for _ in range(12)]
    expected = [attention._attend(*one) for one in tiles]
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda one: attention._attend(*one), tiles)
        assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
    assert len(few_keys.attend.signatures) == 1


@pytest.fixture(params=["windows", "reduced"])
def layer(request):
    """Return a layer whose weights are large enough that what it computes is of the size of its input."""
    windows = request.param == "windows"
    made = WindowAttention(3, 8, heads=2, shift=4) if windows else EfficientSelfAttention(3, 8, heads=2, reduction=2)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    return made


def test_under_automatic_mixed_precision_attention_is_in_single_precision(layer):
    x = torch.randn(1, 3, 12, 12)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
        y.sum().backward()
    expected = layer(x)
    assert expected.abs().max() > 0.5
    torch.testing.assert_close(y.float(), expected, rtol=0.05, atol=0.05)


def test_a_layer_runs_compiled_on_a_cpu_in_single_precision_and_else_plain(layer, monkeypatch):
    def refuse(*_):
        raise AssertionError("compiled")

    monkeypatch.setattr(few_keys, "attend", refuse)
    x = torch.zeros(1, 3, 12, 12)
    for mixed in (False, True):
        with pytest.raises(AssertionError, match="compiled"), torch.autocast("cpu", enabled=mixed):
            layer(x)
    assert copy.deepcopy(layer).double()(x.double()).isfinite().all()
    assert torch.export.export(layer, (x,)).module()(x).isfinite().all()
