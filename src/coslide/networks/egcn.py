"""EGCN: the U-Net of CGBlocks that maps coseismic landslides."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from coslide.networks.cgblock import CGBlock, ChannelLayerNorm, GraphBranch
from coslide.networks.eisgnn import EISGNN

DEPTHS = 5  # resolutions; each halves the side and doubles the channels


class UNetOfBlocks(nn.Module):
    """A U-Net of five depths whose 3 x 3 convolutions are replaced by a given block.

    At depth d = 1..5 the map has width * 2^(d-1) channels and 1 / 2^(d-1) of the side. Every block is followed by layer
    normalisation over the channels and GELU: ``f = GELU(LN(block(x)))``. Encoder: two f at depths 1 to 4, each pair
    followed by 2 x 2 max pooling, and one f at depth 5. Decoder: one f at depth 5, then at depths 4 to 1 a 2 x 2
    deconvolution with stride 2 (Eq. 20), the encoder's map of that depth appended (Eq. 21), and two f. A 1 x 1
    convolution gives the logits. That is 18 blocks.

    Parameters
    ----------
    bands
        Bands of the input.
    block
        Called as block(in_channels, out_channels, depth), depth from 1 to 5; returns a module that keeps the
        map's size.
    classes
        Classes of the output.
    width
        Channels at depth 1.

    Examples
    --------
    >>> net = UNetOfBlocks(3, lambda cin, cout, depth: nn.Conv2d(cin, cout, 3, padding=1), width=4)
    >>> net(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 2, 32, 32])
    """

    size_multiple = 2 ** (DEPTHS - 1)

    def __init__(
        self, bands: int, block: Callable[[int, int, int], nn.Module], *, classes: int = 2, width: int = 64
    ) -> None:
        super().__init__()
        channels = [width * 2**level for level in range(DEPTHS)]

        def f(in_channels: int, depth: int) -> nn.Sequential:
            out_channels = channels[depth - 1]
            return nn.Sequential(block(in_channels, out_channels, depth), ChannelLayerNorm(out_channels), nn.GELU())

        def pair(in_channels: int, depth: int) -> nn.Sequential:
            return nn.Sequential(f(in_channels, depth), f(channels[depth - 1], depth))

        inputs = [bands, *channels]
        self.encoder = nn.ModuleList(pair(inputs[depth - 1], depth) for depth in range(1, DEPTHS))
        self.bottom = nn.Sequential(f(channels[-2], DEPTHS), f(channels[-1], DEPTHS))
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(channels[depth], channels[depth - 1], 2, stride=2) for depth in range(1, DEPTHS)
        )
        self.decoder = nn.ModuleList(pair(2 * channels[depth - 1], depth) for depth in range(1, DEPTHS))
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of each class, shape (batch, classes, row, col).

        Parameters
        ----------
        x
            Standardised indices, shape (batch, bands, row, col), floating point; nodata is 0 after standardising.

        Raises
        ------
        ValueError
            If the map's height or width is not a multiple of `size_multiple`.

        Notes
        -----
        Convolutions see zeros beyond the map's border, so predictions within some pixels of it are less certain.
        """
        if any(side % self.size_multiple for side in x.shape[-2:]):
            raise ValueError(
                f"expected a height and width that are multiples of {self.size_multiple}, found {tuple(x.shape[-2:])}"
            )
        x = x.contiguous(memory_format=torch.channels_last)  # convolutions are up to three times faster so on a CPU
        skips = []
        for pair in self.encoder:
            x = pair(x)
            skips.append(x)
            x = self.pool(x)
        x = self.bottom(x)
        for skip, up, pair in zip(reversed(skips), reversed(self.up), reversed(self.decoder), strict=True):
            x = pair(torch.cat([up(x), skip], dim=1))
        logits: Tensor = self.head(x)
        return logits


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
        Channels at depth 1, a multiple of `heads`. 64 in the paper; smaller ones run on a CPU.
    heads, k, select_factor, include_self, e_min
        Options of the graph, see `EISGNN`.

    Raises
    ------
    ValueError
        If a graph option is outside its range, or `width` is not a multiple of `heads`.

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
      adds at depth 1 is coarse context.
    - "Deconvolution layer" is a depthwise one with kernel = stride = r. A full one would cost a million parameters in
      each block and make EGCN larger than the networks it is said to be smaller than.
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
        width: int = 64,
        heads: int = 8,
        k: int = 8,
        select_factor: float = 0.8,
        include_self: bool = True,
        e_min: float = 0.1,
    ) -> None:
        def block(in_channels: int, out_channels: int, depth: int) -> CGBlock:
            eisgnn = EISGNN(
                in_channels,
                out_channels,
                heads=heads,
                k=k,
                select_factor=select_factor,
                include_self=include_self,
                e_min=e_min,
            )
            rate = self.size_multiple >> (depth - 1)  # the same nodes at every depth
            return CGBlock(in_channels, out_channels, branch=GraphBranch(eisgnn, rate=rate))

        super().__init__(bands, block, classes=classes, width=width)
