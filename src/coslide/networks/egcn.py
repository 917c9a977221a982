"""EGCN: the U-Net of CGBlocks that maps coseismic landslides, and what decides in it about a pixel."""

from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveInt
from torch import Tensor

from coslide.networks.base import Norm, evaluating
from coslide.networks.cgblock import CGBlock, DownMode, GraphBranch, UpMode
from coslide.networks.eisgnn import EISGNN
from coslide.networks.graph import GraphOptions
from coslide.networks.unet import UNetOfBlocks


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


class EGCN(UNetOfBlocks):
    r"""The graph-convolution network of Yang et al. (2023): a U-Net of CGBlocks.

    Each block is ``y = alpha conv3x3(x) + beta up(EISGNN(down(x)))`` (`CGBlock`, `GraphBranch`, `EISGNN`), and
    ``f = GELU(LN(y))``. For an input of H x W pixels and r = 16 / 2^(d-1):

    ===== ========== ================= === ====================
    depth channels   map               r   graph nodes
    ===== ========== ================= === ====================
    1     width      H x W             16  (H / 16) x (W / 16)
    2     2 width    H / 2 x W / 2     8   the same
    3     4 width    H / 4 x W / 4     4   the same
    4     8 width    H / 8 x W / 8     2   the same
    5     16 width   H / 16 x W / 16   1   the same
    ===== ========== ================= === ====================

    So a tile of 128 x 128 has a graph of 64 nodes at every depth. In larger maps the graph grows, k does not.

    Parameters
    ----------
    bands
        Bands of the input; 30 in the paper's full set.
    classes
        Classes of the output: 0 background, 1 landslide.
    width
        Channels at depth 1, a multiple of the graph's heads. 64 in the paper; smaller ones run on a CPU.
    up_mode, down_mode
        How the graph's result is brought back to the pixels, and how nodes are made of them, see `GraphBranch`.
    norm
        LN is taken over the channels of each pixel (``"channel_ln"``), over channels and pixels with a scale and shift
        for each of them (``"full_ln"``, which fixes the input's side to `tile`), or the same with a scale and shift per
        channel (``"gn1"``); ``"bn"`` is batch normalisation.
    tile
        Side of the input that ``"full_ln"`` is made for [pixel].
    graph
        Those of `coslide.networks.graph.GraphOptions` by name: heads, k, select_factor, ...

    Raises
    ------
    ValueError
        If an option of the graph is unknown or outside its range, or `width` is not a multiple of its heads.

    Notes
    -----
    Input (batch, bands, row, col), output logits (batch, classes, row, col); the sides must be multiples of 16. With
    the defaults there are 38,347,526 parameters. The graph of the first block is built on the input itself, by
    Euclidean distance, so the scaling of the indices matters.

    Differs from the paper, or decides what it leaves open (doi:10.3390/rs15040977):

    - The logarithm, normalisation, order of operations and neighbourhood of the graph: see `EISGNN`.
    - 18 blocks, as many as U-Net has 3 x 3 convolutions. Depth 5 has one block in the encoder and one in the decoder
      (Eq. 18 names an F_5,2 that does not exist).
    - LN normalises each pixel over its channels. Over (C, H, W) it would add 16 million parameters and fix the tile
      size.
    - Down-sampling is nearest, as the paper says, with r = 16 at depth 1: there the graph sees one pixel in 256, while
      92 % of the landslides are at most 11 pixels. It is blind to most of them and sees their surroundings; what it
      adds at depth 1 is coarse context. ``down_mode="avg"`` lets every pixel of the patch count.
    - "Deconvolution layer" is a depthwise one with kernel = stride = r. A full one would cost a million parameters in
      each block and make EGCN larger than the networks it is said to be smaller than (`up_mode`).
    - Initialisation: convolutions as PyTorch draws them, the graph as in `EISGNN`, alpha = beta = lambda = mu = 1.

    Examples
    --------
    >>> net = EGCN(5, width=8)
    >>> net(torch.zeros(1, 5, 64, 96)).shape
    torch.Size([1, 2, 64, 96])
    """

    def __init__(
        self,
        bands: int = 30,
        *,
        classes: int = 2,
        width: PositiveInt = 64,
        up_mode: UpMode = "depthwise",
        down_mode: DownMode = "nearest",
        norm: Norm = "channel_ln",
        tile: int = 128,
        **graph: Any,
    ) -> None:
        options = GraphOptions(**graph)

        def block(in_channels: int, out_channels: int, depth: int) -> CGBlock:
            rate = self.size_multiple >> (depth - 1)  # the same nodes at every depth
            eisgnn = EISGNN(in_channels, out_channels, options)
            branch = GraphBranch(eisgnn, rate=rate, up_mode=up_mode, down_mode=down_mode)
            return CGBlock(in_channels, out_channels, branch=branch)

        super().__init__(bands, block, classes=classes, width=width, norm=norm, tile=tile)

    def explain(self, x: Tensor, row: int, col: int) -> list[BlockView]:
        """Find what each block makes of one pixel: its learned weights and the neighbours it chose, in their order.

        Parameters
        ----------
        x
            Standardised indices of one map, shape (band, row, col) or (1, band, row, col). The network is run on it
            once in evaluation mode, without gradients.
        row, col
            The pixel.

        Returns
        -------
        list of BlockView
            One for each of the 18 blocks; `BlockView.weight_map` draws its weights.

        Raises
        ------
        ValueError
            If `x` is not one map, the pixel lies outside it, or a side is not a multiple of 16.

        Examples
        --------
            >>> views = EGCN(5, width=16).explain(torch.randn(5, 64, 64), row=20, col=40)
        >>> len(views), views[0].node, views[0].neighbours.shape, views[0].eic.shape
        (18, (16, 32), (8, 2), (8, 8))
        """
        x = x.unsqueeze(0) if x.ndim == 3 else x
        if x.ndim != 4 or len(x) != 1:
            raise ValueError(f"x: expected shape (band, row, col) or (1, band, row, col), found {tuple(x.shape)}")
        height, width = x.shape[-2:]
        if not (0 <= row < height and 0 <= col < width):
            raise ValueError(f"expected a pixel of a map of {height} x {width}, found row {row}, col {col}")
        views: list[BlockView] = []

        def see(name: str, block: CGBlock, inputs: tuple[Tensor, ...]) -> None:
            (seen,), branch = inputs, cast("GraphBranch", block.branch)
            eisgnn, shrink = branch.eisgnn, height // seen.shape[-2]
            patch, across = branch.rate * shrink, seen.shape[-1] // branch.rate
            node = row // patch * across + col // patch
            chosen = eisgnn.neighbourhood(branch.nodes(seen))._asdict()
            nodes = chosen.pop("nodes")[0, node]
            numbers = {"lambda_": eisgnn.lambda_, "mu": eisgnn.mu}
            numbers |= {key: one[0, :, node] for key, one in chosen.items()}
            view = BlockView(
                block=name,
                depth=shrink.bit_length(),
                patch=patch,
                alpha=block.alpha.item(),
                beta=block.beta.item(),
                node=(row // patch * patch, col // patch * patch),
                neighbours=(torch.stack([nodes // across, nodes % across], dim=1) * patch).numpy(force=True),
                **{key: one.float().numpy(force=True) for key, one in numbers.items()},
            )
            views.append(view)

        with evaluating(self), ExitStack() as hooks:
            for name, module in self.named_modules():
                if isinstance(module, CGBlock):
                    hooks.enter_context(module.register_forward_pre_hook(partial(see, name)))
            self(x)
        return views
