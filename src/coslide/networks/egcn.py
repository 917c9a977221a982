"""EGCN: the U-Net of CGBlocks that maps coseismic landslides."""

from typing import Any

from pydantic import PositiveInt
from torch import Tensor

from coslide.networks.base import Norm
from coslide.networks.cgblock import CGBlock, DownMode, GraphBranch, UpMode
from coslide.networks.eisgnn import EISGNN
from coslide.networks.explain import BlockView, explain
from coslide.networks.graph import GraphOptions
from coslide.networks.unet import UNetOfBlocks


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
    >>> import torch
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
            One for each of the 18 blocks; `coslide.networks.explain.BlockView.weight_map` draws its weights.

        Raises
        ------
        ValueError
            If `x` is not one map, the pixel lies outside it, or a side is not a multiple of 16.

        Examples
        --------
        >>> import torch
        >>> views = EGCN(5, width=16).explain(torch.randn(5, 64, 64), row=20, col=40)
        >>> len(views), views[0].node, views[0].neighbours.shape, views[0].eic.shape
        (18, (16, 32), (8, 2), (8, 8))
        """
        return explain(self, x, row, col)
