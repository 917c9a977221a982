"""The poly schedule of the learning rate, stepped once per iteration."""

from functools import partial

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def poly_factor(step: int, total_steps: int, *, power: float = 0.9, warmup_steps: int = 0) -> float:
    """Return the share of the initial learning rate that holds at an iteration: (1 - step / total_steps)^power.

    The poly schedule of Yang et al. (2023, doi:10.3390/rs15040977), with the power that DeepLab made common (Chen et
    al. 2018, arXiv:1606.00915).

    Parameters
    ----------
    step
        Iterations done, >= 0. From `total_steps` on the factor is 0.
    total_steps
        Iterations of the whole training, >= 1: steps per epoch times epochs.
    power
        Exponent, >= 0; 0 keeps the rate constant.
    warmup_steps
        Over the first so many iterations, >= 0, the share is multiplied with (step + 1) / (warmup_steps + 1).

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Examples
    --------
    >>> [round(poly_factor(step, 100), 3) for step in (0, 50, 99, 100, 101)]
    [1.0, 0.536, 0.016, 0.0, 0.0]
    >>> [round(poly_factor(step, 100, power=0, warmup_steps=3), 2) for step in (0, 1, 2, 3)]
    [0.25, 0.5, 0.75, 1.0]
    """
    if step < 0 or total_steps < 1 or not power >= 0 or warmup_steps < 0:
        raise ValueError(
            f"expected step >= 0, total_steps >= 1, power >= 0 and warmup_steps >= 0, found {step}, {total_steps}, "
            f"{power} and {warmup_steps}"
        )
    rise = min(1.0, (step + 1) / (warmup_steps + 1))
    return float(rise * (1 - min(step, total_steps) / total_steps) ** power)


def poly_schedule(optimizer: Optimizer, total_steps: int, *, power: float = 0.9, warmup_steps: int = 0) -> LambdaLR:
    """Return a scheduler that multiplies each group's initial learning rate by `poly_factor`; step it per iteration.

    Parameters
    ----------
    optimizer
        Its learning rates are the initial ones.
    total_steps
        Iterations of the whole training.
    power, warmup_steps
        As for `poly_factor`.

    Raises
    ------
    ValueError
        As `poly_factor`.

    Notes
    -----
    Its ``state_dict`` holds plain numbers: a training that is resumed makes the schedule anew with the same
    `total_steps` and loads the state into it.

    Examples
    --------
    >>> import torch
    >>> optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=1e-4)
    >>> schedule = poly_schedule(optimizer, 100)
    >>> for _ in range(50):
    ...     optimizer.step()
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [5.36e-05]
    """
    return LambdaLR(optimizer, partial(poly_factor, total_steps=total_steps, power=power, warmup_steps=warmup_steps))
