"""Under every recipe a network learns at every depth, and its graph too."""

import numpy as np
import pytest
import torch

from coslide.chain.areas import open_area
from coslide.chain.held_out import held_out_windows
from coslide.chain.train import fit_model
from coslide.mapping.vital_signs import without_depth, without_graph
from coslide.settings import RECIPES, TrainingSettings


@pytest.fixture(scope="module", params=sorted(RECIPES))
def trained(request, made_up_cube, tmp_path_factory):
    """A short training: enough steps for a decay that outgrows the gradient to be seen."""
    settings = TrainingSettings(
        recipe=request.param, width=8, tile=32, stride=24, block_windows=1, epochs=12, steps=60, precision="32"
    )
    area = open_area(made_up_cube)
    found = fit_model([area], tmp_path_factory.mktemp(request.param), settings, compare=False)
    return found, held_out_windows([area], found.splits, found.seen, found.model.card)


@pytest.mark.parametrize("cut", [2, 3, 4, 5, "graph"])
def test_every_depth_and_the_graph_move_the_logits(trained, cut):
    found, held_out = trained
    network, inputs = found.model.networks[0], torch.from_numpy(held_out.inputs)
    with torch.no_grad():
        whole = network(inputs)
        with without_graph(network) if cut == "graph" else without_depth(network, cut):
            moved = (network(inputs) - whole).abs().max()
    assert moved > 1e-3


def test_no_depth_is_dead_and_the_model_says_what_each_has_learned(trained):
    found, held_out = trained
    (signs,) = found.model.card.vital_signs
    assert signs.windows == len(held_out.inputs) > 0
    assert min(row.kernel_spread for row in signs.depths) > 0.8
    assert np.isfinite([row.ap_lost for row in signs.depths[1:]]).all()
