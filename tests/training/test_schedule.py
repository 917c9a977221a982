"""The poly schedule at its ends, in its middle, and after a training is resumed."""

from functools import partial

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

from coslide.config.training import OptimiserSettings
from coslide.training.module import rate_factor

PAPER = OptimiserSettings()


def adam(*rates):
    return torch.optim.Adam([{"params": [torch.zeros(1, requires_grad=True)], "lr": rate} for rate in rates])


def rate_schedule(optimizer, total_steps, settings=PAPER):
    """Make the schedule as a training does."""
    return LambdaLR(optimizer, partial(rate_factor, total_steps=total_steps, settings=settings))


def rates_of(optimizer, schedule, steps):
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize(
    ("step", "factor"), [(0, 1.0), (4585, 0.5**0.9), (9169, (1 / 9170) ** 0.9), (9170, 0.0), (20000, 0.0)]
)
def test_the_factor_falls_from_one_to_zero_over_the_papers_training(step, factor):
    assert rate_factor(step, 9170) == pytest.approx(factor, rel=1e-12)


def test_a_power_of_one_is_a_straight_line():
    assert [rate_factor(step, 4, OptimiserSettings(poly_power=1)) for step in range(5)] == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_the_rate_follows_the_factor_step_by_step():
    optimizer = adam(1e-4)
    found = rates_of(optimizer, rate_schedule(optimizer, 10), 12)
    assert found == pytest.approx([1e-4 * max(0, 1 - step / 10) ** 0.9 for step in range(12)])


def test_the_power_reaches_the_schedule():
    optimizer = adam(1e-4)
    assert rates_of(optimizer, rate_schedule(optimizer, 4, OptimiserSettings(poly_power=2)), 3) == pytest.approx(
        [1e-4, 0.5625e-4, 0.25e-4]
    )


def test_every_group_keeps_its_own_initial_rate():
    optimizer = adam(1e-4, 1e-2)
    schedule = rate_schedule(optimizer, 10)
    rates_of(optimizer, schedule, 5)
    assert schedule.get_last_lr() == pytest.approx([1e-4 * 0.5**0.9, 1e-2 * 0.5**0.9])


def test_a_resumed_training_follows_the_same_rates(tmp_path):
    optimizer = adam(1e-4)
    schedule = rate_schedule(optimizer, 10)
    rates_of(optimizer, schedule, 4)
    torch.save({"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}, tmp_path / "state.pt")

    state = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed = adam(1e-4)
    again = rate_schedule(resumed, 10)
    resumed.load_state_dict(state["optimizer"])
    again.load_state_dict(state["schedule"])
    assert rates_of(resumed, again, 6) == rates_of(optimizer, schedule, 6)
