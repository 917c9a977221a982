"""A model that is fed further bands: the same answer at first, and weights that learn."""

import numpy as np
import pytest
import torch

from coslide import networks
from coslide.errors import InputError
from coslide.mapping.metadata import load_metadata
from coslide.mapping.model import Model
from coslide.mapping.widen import widen

REFUSED = "egcn-esa"  # reduces its inputs channel by channel
WIDENED = [name for name in networks.names() if not networks.spec(name).two_dates and name != REFUSED]
KNOWN = 4  # bands


def parts(bundle, name, *, flags=()):
    """A model of random weights that sees four bands of a bundle, and the encoder of the others."""
    metadata = load_metadata(bundle)
    few = {"channels": metadata.channels[:KNOWN], "network": name, "options": {"width": 8}, "flags": list(flags)}
    torch.manual_seed(0)
    known = metadata.model_copy(update=few)
    network = networks.create(name, len(known.encoder.names), width=8).eval()
    others = metadata.model_copy(update={"channels": metadata.channels[KNOWN:], "flags": []}).encoder
    return Model((network,), known), others


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in {"egcn-msa", "acmix-unet"} else ()) for name in WIDENED],
)
def test_further_bands_change_nothing_until_they_are_learned(made_up_model, name):
    model, further = parts(made_up_model, name)
    wide = widen(model, further)
    assert [band.name for band in wide.metadata.bands] == [band.name for band in load_metadata(made_up_model).bands]
    random = np.random.default_rng(0)
    tiles = random.standard_normal((2, len(wide.metadata.encoder.names), 64, 64), dtype=np.float32)
    (old,), (new,) = model.predictors(), wide.predictors()
    apart = np.abs(new(tiles) - old(np.ascontiguousarray(tiles[:, :KNOWN])))
    assert apart.max() < 1e-5 or (name == "egcn" and apart.mean() < 0.01)  # whose neighbours are found by all inputs
    network = wide.networks[0].train()
    network(torch.from_numpy(tiles)).square().sum().backward()
    first = [p.grad for p in network.parameters() if p.ndim > 1 and p.shape[1] == tiles.shape[1] and p.grad is not None]
    assert any(gradient[:, KNOWN:].abs().max() > 0 for gradient in first)


def test_flags_stay_behind_the_bands(made_up_model):
    model, further = parts(made_up_model, "unet", flags=["pre"])
    wide = widen(model, further)
    assert wide.metadata.encoder.names[-1] == model.metadata.encoder.names[-1] == "has_pre"
    tiles = np.random.default_rng(0).standard_normal((1, len(wide.metadata.encoder.names), 32, 32), dtype=np.float32)
    own = np.concatenate([tiles[:, :KNOWN], tiles[:, -1:]], axis=1)
    (old,), (new,) = model.predictors(), wide.predictors()
    np.testing.assert_allclose(new(tiles), old(own), atol=1e-6)


def test_a_network_whose_weights_have_no_axis_for_bands_is_refused(made_up_model):
    with pytest.raises(InputError, match=f"network {REFUSED} cannot be fed further bands: .* has no axis for them"):
        widen(*parts(made_up_model, REFUSED))


def test_a_network_that_compares_two_dates_is_refused(made_up_model):
    model, further = parts(made_up_model, "unet")
    two = next(name for name in networks.names() if networks.spec(name).two_dates)
    metadata = model.metadata.model_copy(update={"network": two})
    with pytest.raises(InputError, match=f"network {two} compares two dates, and cannot be fed further bands"):
        widen(Model(model.networks, metadata), further)
