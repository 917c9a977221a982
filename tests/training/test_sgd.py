"""Stochastic gradient descent with momentum."""

import pytest
import torch

from coslide.config.training import TrainingSettings
from coslide.errors import InputError
from coslide.training.module import Training

SGD = TrainingSettings().changed(
    {
        "optimiser.name": "sgd",
        "optimiser.momentum": 0.9,
        "optimiser.learning_rate": 0.1,
        "optimiser.weight_decay": 0.01,
        "optimiser.poly_power": 0,
        "loss.reduction": "mean",
        "loss.normalise": True,
    }
)


@pytest.mark.parametrize("decay", ["all", "weights"])
def test_two_steps_are_those_of_the_closed_form(decay):
    network = torch.nn.Conv2d(1, 2, 1)
    before = [one.detach().clone() for one in network.parameters()]
    training = Training(network, SGD.changed({"optimiser.decay": decay}), total_steps=10)
    optimiser = training.configure_optimizers()["optimizer"]
    for gradient in (2.0, -1.0):
        for one in network.parameters():
            one.grad = torch.full_like(one, gradient)
        optimiser.step()
    for one, first in zip(network.parameters(), before, strict=True):
        share = 0.01 if one.ndim > 1 or decay == "all" else 0.0
        velocity = 2.0 + share * first
        second = first - 0.1 * velocity
        velocity = 0.9 * velocity - 1.0 + share * second
        torch.testing.assert_close(one.detach(), second - 0.1 * velocity)


def test_it_lowers_the_loss():
    torch.manual_seed(0)
    network = torch.nn.Conv2d(2, 2, 1)
    training = Training(network, SGD, total_steps=30)
    optimiser, inputs = training.configure_optimizers()["optimizer"], torch.randn(2, 2, 16, 16)
    labels, losses = (inputs[:, 0] > 0.5).long(), []
    for _ in range(30):
        optimiser.zero_grad()
        loss = training._loss(network(inputs), labels)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_momentum_goes_with_sgd_alone(name):
    message = f"optimiser: momentum: found 0.9 with name = '{name}', expected name = 'sgd' with it"
    with pytest.raises(InputError, match=message):
        SGD.changed({"optimiser.name": name})
