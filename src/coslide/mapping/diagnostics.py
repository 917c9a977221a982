"""What each depth of a trained network has learned, and what the map would lose without it.

A network can score well and be dead inside: where weight decay outgrows the gradient, the kernels of the lower depths
fade to nothing and only the depths near full resolution are left. So every trained network is diagnosed.
"""

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.func import functional_call

from coslide.evaluation.probabilities import average_precision, curve
from coslide.evaluation.scores import DepthDiagnostics, NetworkDiagnostics
from coslide.networks.cgblock import CGBlock
from coslide.networks.eisgnn import EISGNN
from coslide.networks.unet import DEPTHS, UNetOfBlocks

_BATCH = 8


class HeldOut(NamedTuple):
    """Held-out windows: inputs float32 (window, input, row, col), landslide and scored bool (window, row, col)."""

    inputs: NDArray[np.float32]
    landslide: NDArray[np.bool_]
    scored: NDArray[np.bool_]


def diagnose_network(network: nn.Module, first: nn.Module, held_out: HeldOut) -> NetworkDiagnostics:
    """Measure what each depth of a trained network has learned, and the precision lost without it (an ablation).

    Parameters
    ----------
    network
        The trained network.
    first
        The same before training.
    held_out
        Where to measure what is lost.

    Notes
    -----
    The windows are mapped once for each depth that is cut, so a few tens of them are enough.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    probe = copy.deepcopy(network).to(device).eval()
    truth = held_out.landslide[held_out.scored]

    @torch.no_grad()
    def ap_without(parameters: Sequence[str]) -> float:
        zeros = {name: torch.zeros_like(probe.get_parameter(name)) for name in parameters}
        batches = torch.split(torch.from_numpy(held_out.inputs), _BATCH)
        logits = torch.cat([functional_call(probe, zeros, batch.to(device)).cpu() for batch in batches])
        return average_precision(curve(logits.softmax(dim=1)[:, 1].numpy()[held_out.scored], truth))

    whole = ap_without(()) if truth.any() else None

    def lost(parameters: Sequence[str]) -> float | None:
        return None if whole is None or not parameters else whole - ap_without(parameters)

    if isinstance(network, UNetOfBlocks) and isinstance(first, UNetOfBlocks):
        depths = [
            DepthDiagnostics(
                depth=depth,
                kernel_spread=_spread(modules_of(network, depth), modules_of(first, depth)),
                ap_lost=lost(parameters_of_depth(network, depth)),
                **_factors(modules_of(network, depth)),
            )
            for depth in range(1, DEPTHS + 1)
        ]
    else:
        depths = [DepthDiagnostics(depth=1, kernel_spread=_spread(network, first))]
    measured: dict[str, Any] = {"average_precision": whole, "branch_ap_lost": lost(parameters_of_branch(network))}
    return NetworkDiagnostics(**measured, windows=len(held_out.inputs), depths=depths)


def modules_of(network: UNetOfBlocks, depth: int) -> nn.ModuleList:
    """Collect the blocks of one depth, of the encoder and the decoder."""
    level = slice(depth - 1, depth)
    return nn.ModuleList([*[*network.encoder, network.bottom][level], *network.decoder[level]])


def parameters_of_depth(network: UNetOfBlocks, depth: int) -> list[str]:
    """Name the parameters that bring up what a depth, 2 to 5, and all below it have found; depth 1 has none."""
    return [name for name, _ in network.named_parameters() if name.startswith(f"up.{depth - 2}.")]


def parameters_of_branch(network: nn.Module) -> list[str]:
    """Name the factors (beta) of the second branches of the CGBlocks."""
    return [f"{name}.beta" for name, module in network.named_modules() if isinstance(module, CGBlock)]


def _spread(module: nn.Module, first: nn.Module) -> float:
    """Average the spread of each convolution's kernel over its initial one.

    Kernel by kernel: together, the few large weights of the graph's patches would hide that all kernels have faded.
    """
    ratios = [
        float(now.weight.detach().std() / before.weight.detach().std())
        for now, before in zip(module.modules(), first.modules(), strict=True)
        if isinstance(now, nn.Conv2d) and isinstance(before, nn.Conv2d)
    ]
    return float(np.mean(ratios))


def _factors(modules: nn.ModuleList) -> dict[str, float]:
    """Average the learned factors of the blocks in `modules`."""
    found = {
        name: [getattr(module, name).mean().item() for module in modules.modules() if isinstance(module, kind)]
        for name, kind in {"alpha": CGBlock, "beta": CGBlock, "lambda_": EISGNN, "mu": EISGNN}.items()
    }
    return {name: float(np.mean(values)) for name, values in found.items() if values}
