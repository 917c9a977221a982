"""How the learning rate falls, step by step."""

import math

from coslide.config.training import OptimiserSettings

PAPER = OptimiserSettings()


def rate_factor(step: int, total_steps: int, settings: OptimiserSettings = PAPER) -> float:
    """Compute the share of the initial learning rate that holds at a step.

    ``"poly"`` is (1 - step / total_steps)^power, the schedule of Yang et al. (2023, doi:10.3390/rs15040977) with the
    power that DeepLab made common (Chen et al. 2018, arXiv:1606.00915); ``"cosine"`` is (1 + cos(pi step /
    total_steps)) / 2 (Loshchilov and Hutter 2017, arXiv:1608.03983, without restarts). Over the first warm-up steps
    the share is multiplied with (step + 1) / (warmup_steps + 1).

    Parameters
    ----------
    step
        Steps done, >= 0. From `total_steps` on the factor is 0.
    total_steps
        Steps of the whole training, >= 1.
    settings
        Shape of the schedule, power and warm-up.

    Examples
    --------
    >>> [round(rate_factor(step, 100), 3) for step in (0, 50, 99, 100, 101)]
    [1.0, 0.536, 0.016, 0.0, 0.0]
    >>> [round(rate_factor(step, 100, OptimiserSettings(schedule="cosine")), 3) for step in (0, 50, 100)]
    [1.0, 0.5, 0.0]
    >>> rising = OptimiserSettings(poly_power=0, warmup_steps=3)
    >>> [round(rate_factor(step, 100, rising), 2) for step in (0, 1, 2, 3)]
    [0.25, 0.5, 0.75, 1.0]
    """
    done = min(step, total_steps) / total_steps
    cosine = (1 + math.cos(math.pi * done)) / 2
    fall = (1 - done) ** settings.poly_power if settings.schedule == "poly" else cosine
    return float(min(1.0, (step + 1) / (settings.warmup_steps + 1)) * fall)
