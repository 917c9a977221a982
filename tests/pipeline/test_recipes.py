"""Under every recipe a network learns at every depth, and its graph too."""

import numpy as np
import pytest
import torch
from torch.func import functional_call

from coslide import networks
from coslide.config.training import RECIPES, TrainingSettings
from coslide.mapping.diagnostics import modules_of, parameters_of_branch, parameters_of_depth
from coslide.pipeline.labelled_scene import open_labelled_scene
from coslide.pipeline.train import fit_model
from coslide.pipeline.training_data import held_out_windows
from coslide.training.module import Training


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=() if name == "modern" else pytest.mark.slow) for name in sorted(RECIPES)],
)
def trained(request, made_up_cube, tmp_path_factory):
    """A short training by each recipe."""
    length = {"steps": 60} if TrainingSettings(recipe=request.param).sampling.places == "random" else {"epochs": 12}
    settings = TrainingSettings(
        recipe=request.param,
        network="egcn",
        width=8,
        optimiser=length,
        sampling={"tile": 32, "stride": 24},
        split={"block_windows": 1},
        runtime={"precision": "32"},
    )
    area = open_labelled_scene(made_up_cube)
    model, scenes = fit_model([area], tmp_path_factory.mktemp(request.param), settings, compare=False)
    return model, held_out_windows(scenes, model.metadata)


@pytest.mark.parametrize("cut", [2, 3, 4, 5, "graph"])
def test_every_depth_and_the_graph_move_the_logits(trained, cut):
    model, held_out = trained
    network, inputs = model.networks[0], torch.from_numpy(held_out.inputs)
    with torch.no_grad():
        whole = network(inputs)
        names = parameters_of_branch(network) if cut == "graph" else parameters_of_depth(network, cut)
        zeros = {name: torch.zeros_like(network.get_parameter(name)) for name in names}
        moved = (functional_call(network, zeros, inputs) - whole).abs().max()
    assert moved > 1e-3


def test_no_depth_is_dead_and_the_model_records_what_each_has_learned(trained):
    model, held_out = trained
    (signs,) = model.metadata.vital_signs
    assert signs.windows == len(held_out.inputs) > 0
    assert min(row.kernel_spread for row in signs.depths) > 0.8
    assert np.isfinite([row.ap_lost for row in signs.depths[1:]]).all()


def decay_over_gradient(settings):
    """How much the decay of the kernels of each depth weighs against their gradient, before training (A10)."""
    torch.manual_seed(0)
    network = networks.create("egcn", 30, width=16)
    inputs = torch.randn(4, 30, 128, 128)
    labels = (torch.rand(4, 128, 128) < 1 / 29).long()
    Training(network, settings, total_steps=1).training_step((inputs, labels), 0).backward()
    ratios = []
    for depth in range(1, 6):
        kernels = [
            p for name, p in modules_of(network, depth).named_parameters() if name.endswith("convolution.weight")
        ]
        pairs = [(settings.optimiser.weight_decay * p.detach().norm(), p.grad.norm()) for p in kernels]
        ratios.append(max(float(decay / gradient) for decay, gradient in pairs))
    return ratios


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_decay_does_not_outgrow_the_gradient_of_any_depth(recipe, monkeypatch):
    """What killed depths 3 to 5: with the mean loss a decay of 7e-4 is larger than the gradient at depth 5."""
    monkeypatch.setattr(Training, "log", lambda *_, **__: None)
    assert max(decay_over_gradient(TrainingSettings(recipe=recipe))) < 0.2
    of_old = {"reduction": "mean", "normalise": True, "scope": "batch"}
    assert max(decay_over_gradient(TrainingSettings(loss=of_old))) > 1


@pytest.mark.slow
def test_a_training_whose_decay_outgrows_the_gradient_is_called_dead(made_up_cube, tmp_path, listening):
    """The witness that the checks above can fail: decay alone takes the kernels to nothing, and a message tells it."""
    settings = TrainingSettings(
        recipe="modern",
        network="egcn",
        width=8,
        sampling={"tile": 32, "stride": 24},
        split={"block_windows": 1},
        optimiser={"steps": 60, "weight_decay": 100.0, "learning_rate": 2e-3, "average": 0.0},
        runtime={"precision": "32"},
    )
    messages = listening()
    model, _ = fit_model([open_labelled_scene(made_up_cube)], tmp_path, settings, compare=False)
    (signs,) = model.metadata.vital_signs
    dead = [row.depth for row in signs.depths if row.dead]
    assert 5 in dead
    assert sum("is dead: its kernels have" in line for line in messages) == len(dead)
