"""What a fused network refuses; that it is equal is part of the contract of every network."""

import pytest

from coslide import networks
from coslide.networks.cgblock import fuse


def test_the_originals_weights_are_not_loaded_into_a_fused_network():
    net = networks.create("egcn", bands=3, width=8)
    with pytest.raises(RuntimeError, match="alpha"):
        fuse(net).load_state_dict(net.state_dict())


def test_fusing_leaves_the_original_as_it_was():
    net = networks.create("cdcnn", bands=3, width=4, pre=[0], post=[1]).train()
    before = {key: one.clone() for key, one in net.state_dict().items()}
    fuse(net)
    assert net.training
    assert all((one == before[key]).all() for key, one in net.state_dict().items())
