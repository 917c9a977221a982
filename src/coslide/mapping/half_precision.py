"""How much of a model is lost where its weights are kept in half precision (float16)."""

import copy
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from coslide.errors import InputError
from coslide.evaluation.probabilities import apply_temperature
from coslide.mapping.model import Model
from coslide.mapping.weights import in_half

MOST_LOST = 0.002  # that a probability may change by where a model is kept in half precision


def half_precision_loss(model: Model, tiles: NDArray[np.float32]) -> float:
    """Measure by how much the probabilities of a map change at most where the weights are rounded to half precision.

    Parameters
    ----------
    model
        The model.
    tiles
        What it is fed, encoded: float32 (tile, input, row, col).

    Raises
    ------
    InputError
        If a weight is beyond what half precision can hold.
    """
    rounded = replace(model, networks=tuple(_rounded(network) for network in model.networks))
    return float(np.abs(_probability(model, tiles) - _probability(rounded, tiles)).max())


def _rounded(network: nn.Module) -> nn.Module:
    found = copy.deepcopy(network)
    for name, tensor in found.state_dict().items():
        if not (half := in_half(tensor)).isfinite().all():
            largest = torch.finfo(torch.float16).max
            raise InputError(f"{name}: holds {tensor.abs().max():g}, but half precision holds {largest:g} at most")
        tensor.copy_(half)
    return found


def _probability(model: Model, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
    mean = np.mean([predict(tiles) for predict in model.predictors()], axis=0)
    return apply_temperature(mean, model.metadata.temperature)
