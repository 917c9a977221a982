"""What decides about a pixel: the neighbours that EGCN's graphs chose for it, and how much each counted."""

from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from coslide.networks.base import evaluating
from coslide.networks.cgblock import CGBlock, GraphBranch


class BlockView(NamedTuple):
    """One pixel as a CGBlock sees it.

    A node of a graph stands for a square patch of the input, at every depth the same; a pixel is seen through the node
    of its patch. H is the number of heads, k that of neighbours (nearest in feature space first), and scopes are the
    heads or, with ``eic_scope="full"``, one for all.

    Attributes
    ----------
    block
        Name of the block in the network, such as ``encoder.0.1.0``.
    depth
        1 at full resolution to 5.
    patch
        Side of a node's patch [pixel of the input].
    alpha, beta
        Learned weights of the convolution and of the graph.
    lambda_, mu
        Learned weights of the aggregated and of the attended features, float (H,).
    node
        Upper left pixel of the pixel's own patch (row, col).
    neighbours
        Upper left pixels of the neighbours' patches, int (k, 2), each (row, col).
    attention
        Weights of GATv2, float (H, k).
    eic
        Entropy importance coefficients, float (scope, k).
    weights
        Weights in the aggregation, float (scope, k); 0 for neighbours that were not selected.
    """

    block: str
    depth: int
    patch: int
    alpha: float
    beta: float
    lambda_: NDArray[np.float32]
    mu: NDArray[np.float32]
    node: tuple[int, int]
    neighbours: NDArray[np.int64]
    attention: NDArray[np.float32]
    eic: NDArray[np.float32]
    weights: NDArray[np.float32]

    def weight_map(self, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Draw the weight of each neighbour on its patch, the mean over scopes, as a map (row, col).

        Parameters
        ----------
        shape
            Height and width of the input [pixel].
        """
        drawn = np.zeros(shape, np.float32)
        for (row, col), weight in zip(self.neighbours, self.weights.mean(axis=0), strict=True):
            drawn[row : row + self.patch, col : col + self.patch] += weight
        return drawn


def explain(network: nn.Module, x: Tensor, row: int, col: int) -> list[BlockView]:
    """Find what each CGBlock of a network makes of one pixel, in the order in which they run.

    Parameters
    ----------
    network
        A network whose CGBlocks have a graph. It is run once in evaluation mode, without gradients.
    x
        Standardised indices of one map, shape (band, row, col) or (1, band, row, col).
    row, col
        The pixel.

    Raises
    ------
    ValueError
        If `x` is not one map, the pixel lies outside it, or the network does not take its size.
    TypeError
        If the network has no CGBlock, or one without a graph.
    """
    x = x.unsqueeze(0) if x.ndim == 3 else x
    if x.ndim != 4 or len(x) != 1:
        raise ValueError(f"x: expected shape (band, row, col) or (1, band, row, col), found {tuple(x.shape)}")
    height, width = x.shape[-2:]
    if not (0 <= row < height and 0 <= col < width):
        raise ValueError(f"expected a pixel of a map of {height} x {width}, found row {row}, col {col}")
    blocks = [(name, module) for name, module in network.named_modules() if isinstance(module, CGBlock)]
    if not blocks:
        raise TypeError(f"expected a network of CGBlocks, found {type(network).__name__}")
    views: list[BlockView] = []

    def see(name: str, block: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        views.append(_view(name, block, inputs[0], shrink=height // inputs[0].shape[-2], pixel=(row, col)))

    with evaluating(network), ExitStack() as hooks:
        for name, block in blocks:
            hooks.enter_context(block.register_forward_pre_hook(partial(see, name)))
        network(x)
    return views


def _view(name: str, block: nn.Module, x: Tensor, *, shrink: int, pixel: tuple[int, int]) -> BlockView:
    """View one pixel of the input from a block whose own input is a `shrink` times smaller map."""
    if not (isinstance(block, CGBlock) and isinstance(block.branch, GraphBranch)):
        raise TypeError(f"{name}: expected a CGBlock with a graph, found {type(block).__name__}")
    branch, eisgnn = block.branch, block.branch.eisgnn
    patch, across = branch.rate * shrink, x.shape[-1] // branch.rate
    row, col = pixel[0] // patch, pixel[1] // patch
    nodes, *weights = (one[0, ..., row * across + col, :] for one in eisgnn.neighbourhood(branch.nodes(x)))
    attention, eic, selection = map(_floats, weights)
    return BlockView(
        block=name,
        depth=shrink.bit_length(),
        patch=patch,
        alpha=block.alpha.item(),
        beta=block.beta.item(),
        lambda_=_floats(eisgnn.lambda_),
        mu=_floats(eisgnn.mu),
        node=(row * patch, col * patch),
        neighbours=(torch.stack([nodes // across, nodes % across], dim=1) * patch).cpu().numpy(),
        attention=attention,
        eic=eic,
        weights=selection,
    )


def _floats(values: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = values.detach().float().cpu().numpy()
    return array
