"""What each depth of a trained network has learned, and what the map would lose without it.

A network can score well and be dead inside: where weight decay outgrows the gradient, the kernels of the lower depths
fade to nothing and only the depths near full resolution are left. So every training is looked into.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from coslide.config.training import StrictModel
from coslide.evaluation.curves import average_precision, curve
from coslide.networks.base import evaluating
from coslide.networks.cgblock import CGBlock
from coslide.networks.eisgnn import EISGNN
from coslide.networks.unet import DEPTHS, UNetOfBlocks

DEAD_BELOW = 0.1  # of the initial spread
_BATCH = 8


class DepthSigns(StrictModel):
    """What one depth has learned.

    Attributes
    ----------
    depth
        1, full resolution, to 5.
    kernel_spread
        Standard deviation of the kernel of a convolution over that before training, the mean over its convolutions.
    alpha, beta, lambda_, mu
        Means of the learned factors of its CGBlocks; None where it has none.
    ap_lost
        How much average precision falls when this depth and all below it give nothing to the depth above; None for
        depth 1, without which there is no map, and where no scored pixel is a landslide.
    """

    depth: int
    kernel_spread: float
    alpha: float | None = None
    beta: float | None = None
    lambda_: float | None = None
    mu: float | None = None
    ap_lost: float | None = None

    @property
    def dead(self) -> bool:
        """Tell whether the kernels have faded to a tenth of their initial spread or less."""
        return self.kernel_spread < DEAD_BELOW


class VitalSigns(StrictModel):
    """What a network has learned, by depth.

    Attributes
    ----------
    average_precision
        On the held-out pixels of the windows that were looked at; None where none of them is a landslide.
    windows
        How many of them.
    depths
        From full resolution down; one entry for the network as a whole where it is not made of depths.
    branch_ap_lost
        How much average precision falls without the graph, or whatever the second branch of the CGBlocks is (beta = 0);
        None where there is none.
    """

    average_precision: float | None
    windows: int
    depths: list[DepthSigns]
    branch_ap_lost: float | None = None

    def warnings(self) -> list[str]:
        """Say in a line for each dead depth that it is."""
        return [
            f"warning: {f'depth {signs.depth}' if len(self.depths) > 1 else 'the network'} is dead: its kernels have "
            f"{signs.kernel_spread:.2g} of their initial spread"
            for signs in self.depths
            if signs.dead
        ]


class HeldOut(NamedTuple):
    """Held-out windows: inputs float32 (window, input, row, col), landslide and scored bool (window, row, col)."""

    inputs: NDArray[np.float32]
    landslide: NDArray[np.bool_]
    scored: NDArray[np.bool_]


def take_vital_signs(network: nn.Module, first: nn.Module, held_out: HeldOut) -> VitalSigns:
    """Look into a trained network.

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
    truth = held_out.landslide[held_out.scored]

    def ap() -> float | None:
        if not truth.any():
            return None
        return average_precision(curve(_probability(network, held_out.inputs)[held_out.scored], truth))

    def lost() -> float | None:
        found = ap()
        return None if whole is None or found is None else whole - found

    whole = ap()
    if not isinstance(network, UNetOfBlocks) or not isinstance(first, UNetOfBlocks):
        signs = DepthSigns(depth=1, kernel_spread=_spread(network, first))
        return VitalSigns(average_precision=whole, windows=len(held_out.inputs), depths=[signs])
    depths = []
    for depth in range(1, DEPTHS + 1):
        ap_lost = None
        if depth > 1:
            with without_depth(network, depth):
                ap_lost = lost()
        own, before = modules_of(network, depth), modules_of(first, depth)
        depths.append(DepthSigns(depth=depth, kernel_spread=_spread(own, before), ap_lost=ap_lost, **_factors(own)))
    branch_lost = None
    if any(isinstance(module, CGBlock) for module in network.modules()):
        with without_branch(network):
            branch_lost = lost()
    return VitalSigns(average_precision=whole, windows=len(held_out.inputs), depths=depths, branch_ap_lost=branch_lost)


def modules_of(network: UNetOfBlocks, depth: int) -> nn.ModuleList:
    """Collect the blocks of one depth, of the encoder and the decoder."""
    if depth == DEPTHS:
        return nn.ModuleList([network.bottom])
    return nn.ModuleList([network.encoder[depth - 1], network.decoder[depth - 1]])


@contextmanager
def without_depth(network: UNetOfBlocks, depth: int) -> Iterator[None]:
    """Cut a depth, 2 to 5, and all below it: what is brought up from it is zero."""

    def nothing(_module: nn.Module, _given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return torch.zeros_like(output)

    hook = network.up[depth - 2].register_forward_hook(nothing)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def without_branch(network: nn.Module) -> Iterator[None]:
    """Switch off the second branch of every CGBlock: beta is 0."""
    betas = [module.beta for module in network.modules() if isinstance(module, CGBlock)]
    values = [beta.item() for beta in betas]
    with torch.no_grad():
        for beta in betas:
            beta.fill_(0)
    try:
        yield
    finally:
        with torch.no_grad():
            for beta, value in zip(betas, values, strict=True):
                beta.fill_(value)


def _probability(network: nn.Module, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device)
    try:
        with evaluating(network):
            found = [
                network(torch.from_numpy(inputs[i : i + _BATCH]).to(device)).softmax(dim=1)[:, 1].cpu().numpy()
                for i in range(0, len(inputs), _BATCH)
            ]
    finally:
        network.cpu()
    return np.concatenate(found)


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
    found: dict[str, list[float]] = {}
    for module in modules.modules():
        if isinstance(module, CGBlock):
            found.setdefault("alpha", []).append(module.alpha.item())
            found.setdefault("beta", []).append(module.beta.item())
        if isinstance(module, EISGNN):
            found.setdefault("lambda_", []).append(module.lambda_.mean().item())
            found.setdefault("mu", []).append(module.mu.mean().item())
    return {name: float(np.mean(values)) for name, values in found.items()}
