"""What a network has learned at each depth."""

import numpy as np
import pytest
import torch

from coslide import networks
from coslide.evaluation.probabilities import average_precision, curve
from coslide.mapping.diagnostics import HeldOut, diagnose_network, modules_of, parameters_of_branch


@pytest.fixture
def held_out():
    random = np.random.default_rng(0)
    inputs = random.normal(size=(3, 4, 32, 32)).astype(np.float32)
    return HeldOut(inputs, inputs[:, 0] > 1, np.ones((3, 32, 32), dtype=bool))


def made(name="egcn", seed=0):
    torch.manual_seed(seed)
    return networks.create(name, 4, width=8).eval()


def test_a_network_that_has_not_learned_has_the_spread_and_the_factors_that_it_began_with(held_out):
    signs = diagnose_network(made(), made(), held_out)
    assert [row.depth for row in signs.depths] == [1, 2, 3, 4, 5]
    assert all(row.kernel_spread == pytest.approx(1) for row in signs.depths)
    assert all((row.alpha, row.beta, row.lambda_, row.mu) == (1, 1, 1, 1) for row in signs.depths)
    assert signs.depths[0].ap_lost is None
    assert signs.warnings() == []


def test_a_depth_whose_kernels_have_faded_is_called_dead(held_out):
    network = made()
    with torch.no_grad():
        for name, parameter in modules_of(network, 4).named_parameters():
            if "convolution" in name:  # the graph beside them, with its larger weights, stays as it was
                parameter.mul_(0.01)
    signs = diagnose_network(network, made(), held_out)
    assert [row.dead for row in signs.depths] == [False, False, False, True, False]
    assert signs.depths[3].kernel_spread == pytest.approx(0.01, rel=1e-4)
    assert signs.warnings() == ["warning: depth 4 is dead: its kernels have 0.01 of their initial spread"]


def test_the_precision_lost_is_that_of_the_network_with_what_comes_up_set_to_zero(held_out):
    """The witness sets the weights and the bias of the deconvolution that brings a depth up to zero."""
    network = made()
    found = diagnose_network(network, made(), held_out).depths[2].ap_lost

    def ap():
        with torch.no_grad():
            given = network(torch.from_numpy(held_out.inputs)).softmax(1)[:, 1].numpy()
        return average_precision(curve(given.ravel(), held_out.landslide.ravel()))

    whole = ap()
    with torch.no_grad():
        network.up[1].weight.zero_()
        network.up[1].bias.zero_()
    assert found == pytest.approx(whole - ap(), abs=1e-6)


def test_the_precision_lost_without_the_graph_is_that_of_the_network_with_beta_at_zero(held_out):
    network = made()
    found = diagnose_network(network, made(), held_out)
    with torch.no_grad():
        for name in parameters_of_branch(network):
            network.get_parameter(name).zero_()
    assert found.branch_ap_lost == pytest.approx(
        found.average_precision - diagnose_network(network, made(), held_out).average_precision, abs=1e-6
    )


def test_diagnosing_a_network_does_not_change_it(held_out):
    network = made().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    diagnose_network(network, made(), held_out)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_pixels_that_are_not_scored_do_not_count(held_out):
    half = np.zeros_like(held_out.scored)
    half[:, :16] = True
    other = held_out._replace(scored=half, landslide=held_out.landslide & half)
    assert diagnose_network(made(), made(), held_out._replace(scored=half)) == diagnose_network(made(), made(), other)


def test_a_network_without_depths_has_one_entry_and_no_graph(held_out):
    held_out = held_out._replace(inputs=held_out.inputs[..., :32])
    signs = diagnose_network(made("landsnet"), made("landsnet"), held_out)
    assert [(row.depth, row.ap_lost) for row in signs.depths] == [(1, None)]
    assert signs.branch_ap_lost is None


def test_without_a_landslide_to_score_what_is_lost_is_not_measured(held_out):
    for empty in (
        held_out._replace(landslide=np.zeros_like(held_out.landslide)),
        held_out._replace(scored=np.zeros_like(held_out.scored)),
    ):
        signs = diagnose_network(made(), made(), empty)
        assert (signs.average_precision, signs.branch_ap_lost, signs.depths[3].ap_lost) == (None, None, None)
        assert signs.depths[3].kernel_spread == pytest.approx(1)
