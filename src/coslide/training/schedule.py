"""How the learning rate falls, step by step."""

import math
from functools import partial
from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

Shape = Literal["poly", "cosine"]


def rate_factor(
    step: int, total_steps: int, *, shape: Shape = "poly", power: float = 0.9, warmup_steps: int = 0
) -> float:
    """Compute the share of the initial learning rate that holds at a step.

    ``"poly"`` is (1 - step / total_steps)^power, the schedule of Yang et al. (2023, doi:10.3390/rs15040977) with the
    power that DeepLab made common (Chen et al. 2018, arXiv:1606.00915); ``"cosine"`` is (1 + cos(pi step /
    total_steps)) / 2 (Loshchilov and Hutter 2017, arXiv:1608.03983, without restarts).

    Parameters
    ----------
    step
        Steps done, >= 0. From `total_steps` on the factor is 0.
    total_steps
        Steps of the whole training, >= 1.
    shape
        How the rate falls.
    power
        Exponent of ``"poly"``, >= 0; 0 keeps the rate constant.
    warmup_steps
        Over the first so many steps, >= 0, the share is multiplied with (step + 1) / (warmup_steps + 1).

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Examples
    --------
    >>> [round(rate_factor(step, 100), 3) for step in (0, 50, 99, 100, 101)]
    [1.0, 0.536, 0.016, 0.0, 0.0]
    >>> [round(rate_factor(step, 100, shape="cosine"), 3) for step in (0, 50, 100)]
    [1.0, 0.5, 0.0]
    >>> [round(rate_factor(step, 100, power=0, warmup_steps=3), 2) for step in (0, 1, 2, 3)]
    [0.25, 0.5, 0.75, 1.0]
    """
    if step < 0 or total_steps < 1 or not power >= 0 or warmup_steps < 0:
        raise ValueError(
            f"expected step >= 0, total_steps >= 1, power >= 0 and warmup_steps >= 0, found {step}, {total_steps}, "
            f"{power} and {warmup_steps}"
        )
    done = min(step, total_steps) / total_steps
    fall = (1 - done) ** power if shape == "poly" else (1 + math.cos(math.pi * done)) / 2
    return float(min(1.0, (step + 1) / (warmup_steps + 1)) * fall)


def rate_schedule(
    optimizer: Optimizer, total_steps: int, *, shape: Shape = "poly", power: float = 0.9, warmup_steps: int = 0
) -> LambdaLR:
    """Make the scheduler that multiplies each group's initial learning rate by `rate_factor`; step it once per step.

    Parameters
    ----------
    optimizer
        Its learning rates are the initial ones.
    total_steps
        Steps of the whole training.
    shape, power, warmup_steps
        As for `rate_factor`.

    Raises
    ------
    ValueError
        As `rate_factor`.

    Notes
    -----
    Its ``state_dict`` holds plain numbers: a training that is resumed makes the schedule anew with the same
    `total_steps` and loads the state into it.

    Examples
    --------
    >>> import torch
    >>> optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=1e-4)
    >>> schedule = rate_schedule(optimizer, 100)
    >>> for _ in range(50):
    ...     optimizer.step()
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [5.36e-05]
    """
    factor = partial(rate_factor, total_steps=total_steps, shape=shape, power=power, warmup_steps=warmup_steps)
    return LambdaLR(optimizer, factor)
