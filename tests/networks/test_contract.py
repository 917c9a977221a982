"""What every network promises, whatever is inside it."""

import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from coslide import networks
from coslide.mapping import export
from coslide.mapping.sliding_window import TilingOptions, predict_rows
from coslide.networks.cgblock import fuse

BANDS = 6
DATES = {"pre": [0, 1], "post": [2, 3]}
# Two heads leave a small network more than one channel each; with one, the softmax over it is constant.
HEADS = {"egcn": {"heads": 2}, "egcn-msa": {"heads": 2}, "egcn-esa": {"heads": 2}, "acmix-unet": {"heads": 2}}
# What cancels in a softmax has no gradient, by mathematics; the published networks have it nevertheless.
WITHOUT_GRADIENT = ("position.bias",)


def options(name):
    """Return the options of a small network: an eighth of the original's channels."""
    known = networks.spec(name)
    return {"width": known.width // 8, **HEADS.get(name, {}), **(DATES if known.two_dates else {})}


def make(name, bands=BANDS, **more):
    torch.manual_seed(0)
    return networks.create(name, bands, **options(name) | more)


def some_input(net, *, batch=2, bands=BANDS, rows=1, cols=1):
    """Return noise whose sides are multiples of what the network asks for, at least 32 pixels."""
    unit = max(32, net.size_multiple)
    return torch.randn(batch, bands, rows * unit, cols * unit, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=networks.names())
def name(request):
    return request.param


@pytest.fixture
def net(name):
    return make(name).eval()


class TestEveryNetwork:
    @pytest.mark.parametrize(("bands", "classes", "rows", "cols"), [(4, 2, 1, 1), (6, 3, 1, 2), (30, 2, 3, 1)])
    def test_it_gives_logits_of_the_inputs_size_and_trains_there(self, name, bands, classes, rows, cols):
        net = make(name, bands, classes=classes).train()
        x = some_input(net, bands=bands, rows=rows, cols=cols)
        logits = net(x)
        logits.square().mean().backward()
        finite = all(parameter.grad.isfinite().all() for parameter in net.parameters())
        assert (logits.shape, finite) == ((2, classes, *x.shape[-2:]), True)

    def test_every_parameter_gets_a_gradient(self, name):
        net = make(name).train()
        net(some_input(net, rows=2, cols=2)).square().mean().backward()
        idle = [key for key, one in net.named_parameters() if one.grad is None or not one.grad.any()]
        assert [key for key in idle if not key.endswith(WITHOUT_GRADIENT)] == []

    def test_a_second_pass_gives_the_same_logits(self, net):
        x = some_input(net)
        with torch.no_grad():
            assert torch.equal(net(x), net(x))

    def test_a_tile_is_mapped_the_same_alone_and_in_a_batch(self, net):
        x = some_input(net, batch=3).double()
        net = net.double()
        with torch.no_grad():
            torch.testing.assert_close(net(x)[1:2], net(x[1:2]), rtol=0, atol=1e-9)

    def test_the_memory_order_of_the_input_does_not_matter(self, net):
        net, x = net.double(), some_input(net).double()
        with torch.no_grad():
            torch.testing.assert_close(net(x), net(x.to(memory_format=torch.channels_last)), rtol=0, atol=1e-9)

    def test_it_runs_in_bfloat16(self, net):
        x = some_input(net)
        net.train()(x)  # from here on batch normalisation lets the input through
        net.eval()
        with torch.no_grad():
            expected = net(x)
            found = net.bfloat16()(x.bfloat16())
        assert found.dtype == torch.bfloat16
        # eight bits of mantissa through some twenty layers; a graph may choose other neighbours
        assert (found - expected).abs().mean() < 0.06 * (expected - expected.mean()).abs().mean()

    def test_it_trains_with_automatic_mixed_precision(self, name):
        net = make(name).train()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = net(some_input(net)).float().square().mean()
        loss.backward()
        assert all(one.grad.isfinite().all() for one in net.parameters() if one.grad is not None)

    def test_saved_weights_give_the_same_logits_in_another_network(self, name, net, tmp_path):
        save_file({key: one.contiguous() for key, one in net.state_dict().items()}, tmp_path / "weights.safetensors")
        torch.manual_seed(7)
        other = networks.create(name, BANDS, **options(name)).eval()
        other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
        x = some_input(net)
        with torch.no_grad():
            assert torch.equal(net(x), other(x))

    def test_a_size_it_cannot_take_is_refused_with_the_multiple_it_needs(self, net):
        with pytest.raises(ValueError, match=f"multiples of {net.size_multiple}, found"):
            net(torch.zeros(1, BANDS, net.size_multiple, net.size_multiple + net.size_multiple // 2))

    def test_a_scene_of_any_size_is_mapped(self, net):
        """The map pads to whole tiles: 50 x 71 pixels are a multiple of nothing."""
        scene = some_input(net, batch=1, rows=3, cols=3)[0, :, :50, :71].numpy()
        sizes = TilingOptions(tile=64, stride=32, batch=2)

        @torch.no_grad()
        def predict(tiles):
            return net(torch.from_numpy(tiles)).softmax(dim=1)[:, 1:].numpy()

        def read_rows(start, stop):
            return scene[:, start:stop], np.ones((stop - start, 71), dtype=bool)

        rows = list(predict_rows(read_rows, predict, scene.shape[1:], tiling=sizes))
        mapped = np.concatenate([block for _, block in rows], axis=1)
        assert mapped.shape == (1, 50, 71)
        assert np.isfinite(mapped).all()

    def test_fused_for_inference_it_gives_the_same_logits(self, name):
        net = make(name).train()
        x = some_input(net)
        net(x)  # moves the averages of batch normalisation away from 0 and 1
        with torch.no_grad():
            for key, one in net.named_parameters():
                if key.endswith(("alpha", "beta", "up.bias")):
                    one.add_(0.5)
            torch.testing.assert_close(fuse(net)(x), net.eval()(x), rtol=1e-4, atol=1e-5)

    @pytest.mark.slow
    def test_it_is_exported_by_torch_for_batches_of_any_size(self, net):
        x = some_input(net, batch=3)
        with torch.no_grad():
            program = torch.export.export(net, (x[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},))
            torch.testing.assert_close(program.module()(x), net(x), rtol=0, atol=1e-5)

    @pytest.mark.slow
    def test_it_is_traced_whole_by_torchs_compiler(self, net):
        """Without the code generator, which another test runs."""
        x = some_input(net)
        torch.compiler.reset()
        with torch.no_grad():
            compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
            torch.testing.assert_close(compiled(x), net(x), rtol=0, atol=1e-5)

    @pytest.mark.slow
    def test_it_is_compiled_for_training(self, name):
        net = make(name).train().double()  # in single precision a rounding may turn a ReLU, and with it a gradient
        x = some_input(net).double()
        torch.compiler.reset()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler warns of its own parts
            compiled = torch.compile(net)
            compiled(x).square().mean().backward()
        found = {key: one.grad.clone() for key, one in net.named_parameters() if one.grad is not None}
        net.zero_grad()
        net(x).square().mean().backward()
        expected = {key: one.grad for key, one in net.named_parameters() if key in found}
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)

    @pytest.mark.parametrize(
        "name",
        [
            pytest.param(name, marks=pytest.mark.slow if name in {"egcn-msa", "acmix-unet"} else ())
            for name in networks.names()
        ],
        indirect=True,
    )
    def test_onnx_runtime_gives_its_probability_for_batches_of_any_size(self, net):
        pytest.importorskip("onnxruntime")
        x = some_input(net, batch=3)
        predict = export._predictor(export._exported(net, x[:2], {}), BANDS, x.shape[-1], "the form")
        with torch.no_grad():
            expected = net(x).softmax(dim=1)[:, 1].numpy()
        for tiles in (slice(0, 1), slice(0, 3)):
            np.testing.assert_allclose(predict(x[tiles].numpy()), expected[tiles], rtol=0, atol=1e-4)
