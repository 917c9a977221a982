"""The compiled form of EISGNN and its graph against the plain ones in torch, values and gradients."""

import copy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from coslide.networks import kernels
from coslide.networks.eisgnn import EISGNN
from coslide.networks.graph import GraphOptions, nearest, neighbours


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def some_layer(cin, channels, **options):
    layer = EISGNN(cin, channels, GraphOptions(**options))
    with torch.no_grad():  # lambda and mu of 1 would hide a swap
        layer.lambda_.normal_()
        layer.mu.normal_()
    return layer


def plain(layer, dtype=torch.float32):
    """Copy a layer so that it runs as it is written in torch."""
    twin = copy.deepcopy(layer).to(dtype)
    twin._runs_tuned = lambda x: False
    return twin


def value_and_gradients(layer, x, g):
    x = x.to(layer.mu.dtype).requires_grad_()
    y = layer(x)
    names = ["x", *(name for name, _ in layer.named_parameters())]
    found = torch.autograd.grad(y, [x, *layer.parameters()], g.to(y.dtype))
    return {"y": y.detach(), **dict(zip(names, found, strict=True))}


def assert_same(found, expected, tolerance):
    for name, one in expected.items():
        close = {"rtol": 0, "atol": tolerance * max(1, one.abs().max().item())}
        torch.testing.assert_close(found[name].to(one.dtype), one, msg=lambda text, n=name: f"{n}: {text}", **close)


LAYERS = [  # Cin, channels, batch, nodes, options
    (5, 16, 2, 64, {}),
    (30, 32, 1, 64, {}),
    (3, 8, 2, 12, {}),  # one channel a head
    (12, 24, 3, 20, {"heads": 3, "k": 5}),
    (6, 160, 2, 16, {"heads": 2, "k": 7, "select_factor": 0.5}),
    (6, 16, 2, 16, {"include_self": False}),
    (6, 16, 2, 5, {}),  # fewer nodes than k
    (6, 16, 1, 1, {}),
    (6, 16, 1, 2, {"include_self": False}),
    (6, 32, 2, 16, {"share_w1": False}),
    (6, 32, 2, 16, {"e_min": 1.35}),  # log 4 = 1.39: many pairs are on the floor
    (6, 16, 2, 16, {"select_factor": 1.0, "k": 1}),
    (4, 16, 1, 600, {}),  # neighbours by a matrix product
]


@pytest.mark.parametrize(("cin", "channels", "batch", "nodes", "options"), LAYERS, ids=str)
def test_it_has_the_values_and_gradients_of_the_plain_form(cin, channels, batch, nodes, options):
    layer, x, g = (
        some_layer(cin, channels, **options),
        torch.randn(batch, nodes, cin),
        torch.randn(batch, nodes, channels),
    )
    found = value_and_gradients(layer, x, g)
    assert_same(found, value_and_gradients(plain(layer), x, g), 1e-5)
    assert_same(found, value_and_gradients(plain(layer, torch.float64), x, g), 1e-5)


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("equal", [20, 12], ids=["all", "some"])
@pytest.mark.parametrize("value", [0.0, 0.7])
def test_equal_nodes_have_the_values_and_gradients_of_the_plain_form(value, equal, include_self):
    """Nodata areas are full of zeros; which of equal neighbours is taken must not differ."""
    layer, x, g = some_layer(6, 16, include_self=include_self), torch.randn(2, 20, 6), torch.randn(2, 20, 16)
    x[:, :equal] = value
    assert_same(value_and_gradients(layer, x, g), value_and_gradients(plain(layer), x, g), 1e-5)


@pytest.mark.parametrize("scale", [1e-8, 2e-7, 1e-3, 1e3])
def test_small_and_large_features_have_the_values_and_gradients_of_the_plain_form(scale):
    """All neighbours are selected: of coefficients that differ by roundings either may be the larger."""
    layer = some_layer(6, 32, select_factor=1.0)
    x, g = scale * torch.randn(2, 20, 6), torch.randn(2, 20, 32)
    found, expected = value_and_gradients(layer, x, g), value_and_gradients(plain(layer, torch.float64), x, g)
    of_size = {name: one / one.abs().max() for name, one in found.items()}
    assert_same(of_size, {name: one / one.abs().max() for name, one in expected.items()}, 1e-3)


def test_nodes_that_lie_apart_in_memory_are_the_same_nodes_and_need_no_other_program():
    layer, x = some_layer(6, 16), torch.randn(2, 6, 40)
    with torch.no_grad():
        torch.testing.assert_close(layer(x.mT[:, ::2]), layer(x.mT[:, ::2].contiguous()), rtol=0, atol=0)
    assert len(kernels.nearest.signatures) == len(kernels.run_graphs.signatures) == 1


def test_a_weight_that_is_not_learned_leaves_the_gradients_of_the_others():
    layer, x, g = some_layer(6, 16), torch.randn(2, 20, 6), torch.randn(2, 20, 16)
    expected = value_and_gradients(layer, x, g)
    layer.requires_grad_(requires_grad=False).mu.requires_grad_()
    (found,) = torch.autograd.grad(layer(x), layer.mu, g)
    torch.testing.assert_close(found, expected["mu"], rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_under_automatic_mixed_precision_it_computes_in_single_precision(dtype):
    layer, x, g = some_layer(6, 16), torch.randn(2, 20, 6).bfloat16(), torch.randn(2, 20, 16)
    expected = value_and_gradients(layer, x, g)
    given = x.to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(given)
    (found,) = torch.autograd.grad(y, given, g)
    assert (y.dtype, found.dtype) == (torch.float32, dtype)
    torch.testing.assert_close(y, expected["y"], rtol=0, atol=0)
    torch.testing.assert_close(found, expected["x"].to(dtype), rtol=0, atol=0)


def test_a_node_that_is_no_number_makes_none_elsewhere_in_the_batch():
    layer, x = some_layer(6, 16), torch.randn(2, 20, 6)
    with torch.no_grad():
        expected = layer(x)
        x[1, 3] = torch.nan
        found = layer(x)
    assert found[1, 3].isnan().all()
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=0)


def test_threads_that_run_it_at_once_find_what_one_alone_finds():
    layer, tiles = some_layer(6, 64), torch.randn(24, 2, 64, 6)
    with torch.no_grad():
        expected = [layer(x) for x in tiles]

    def run(x):
        with torch.no_grad():  # each thread has its own mode
            return layer(x)

    with ThreadPoolExecutor(4) as pool:
        assert all(torch.equal(*pair) for pair in zip(pool.map(run, tiles), expected, strict=True))


def test_a_window_of_a_thousand_pixels_has_a_graph_of_4096_nodes():
    with torch.no_grad():
        assert some_layer(3, 8)(torch.randn(1, 4096, 3)).isfinite().all()


def test_a_single_node_without_itself_is_refused():
    with pytest.raises(ValueError, match="found k = 8 and 0 nodes"):
        EISGNN(6, 16, GraphOptions(include_self=False))(torch.zeros(2, 1, 6))


def test_a_map_in_place_of_nodes_is_refused():
    with pytest.raises(ValueError, match=r"expected shape \(batch, node, channel\), found \(1, 2, 3, 6\)"):
        EISGNN(6, 16)(torch.zeros(1, 2, 3, 6))


@pytest.fixture
def refused(monkeypatch):
    def refuse(*_):
        raise AssertionError("compiled")

    monkeypatch.setattr(kernels, "run_graphs", refuse)


@pytest.mark.usefixtures("refused")
def test_the_default_options_run_compiled():
    with pytest.raises(AssertionError, match="compiled"):
        EISGNN(6, 16)(torch.zeros(1, 9, 6))


OTHER_OPTIONS = [{"attn_order": "eq5"}, {"attn_param": "dgl"}, {"eic_norm": "sum"}, {"eic_scope": "full"}]


@pytest.mark.usefixtures("refused")
@pytest.mark.parametrize("options", OTHER_OPTIONS, ids=str)
def test_options_that_it_lacks_run_in_the_plain_form(options):
    assert EISGNN(6, 16, GraphOptions(**options))(torch.zeros(1, 9, 6)).isfinite().all()


@pytest.mark.usefixtures("refused")
def test_double_precision_runs_in_the_plain_form():
    assert EISGNN(6, 16).double()(torch.zeros(1, 9, 6).double()).isfinite().all()


@pytest.mark.usefixtures("refused")
def test_what_is_counted_or_traced_runs_in_the_plain_form():
    layer, x = EISGNN(6, 16), torch.randn(1, 9, 6)
    with FlopCounterMode(display=False) as counter:
        layer(x)
    assert counter.get_total_flops() > 0
    assert torch.export.export(layer, (x,)).module()(x).isfinite().all()


def test_numba_is_not_imported_before_a_network_runs():
    code = "import sys; from coslide import networks; assert not {'torch', 'numba'} & {*sys.modules}"
    code += "; networks.create('egcn', 4, width=8); assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603


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
    found = nearest(x, 8, include_self=include_self)
    assert torch.equal(found.long(), neighbours(x, 8, include_self=include_self))


def test_what_is_no_number_is_a_node_like_another():
    x = torch.randn(1, 20, 3)
    x[0, 3:5] = torch.nan
    x[0, 7:9] = torch.inf
    found = nearest(x, 8, include_self=True)
    assert ((found >= 0) & (found < 20)).all()
