"""CGBlock: a 3 x 3 convolution and a graph branch, added with learned weights."""

from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coslide.networks.base import check_choice
from coslide.networks.eisgnn import EISGNN
from coslide.networks.patches import PatchUp, add_patches, take_nodes

UpMode = Literal["depthwise", "grouped", "full", "k2_chain", "nearest"]
DownMode = Literal["nearest", "avg"]


class GraphBranch(nn.Module):
    """The graph branch of a CGBlock: every rate-th pixel is a node, and each node's result is spread over its patch.

    ``branch(x) = up(EISGNN(down(x)))``.

    Parameters
    ----------
    eisgnn
        The graph layer, from Cin to C channels.
    rate
        Distance between nodes [pixel].
    up_mode
        ``"depthwise"``: a learned patch for each channel (`PatchUp`). ``"full"``: a deconvolution with kernel = stride
        = rate that mixes all channels; ``"grouped"``: one that mixes those of a head. ``"k2_chain"``: log2(rate) full
        deconvolutions with kernel = stride = 2. ``"nearest"``: each pixel of the patch gets the node's value; nothing
        is learned.
    down_mode
        ``"nearest"``: a node is the upper left pixel of its patch, and the others do not enter the graph. ``"avg"``:
        it is the mean of the patch.

    Raises
    ------
    ValueError
        If a mode is none of its words, or `rate` is not a power of 2 where ``"k2_chain"`` needs one.

    Notes
    -----
    Shapes: (batch, Cin, row, col) to (batch, C, row, col); row and col must be multiples of `rate`. Nodes run row by
    row.

    Examples
    --------
    >>> GraphBranch(EISGNN(3, 8), rate=4)(torch.zeros(1, 3, 16, 8)).shape
    torch.Size([1, 8, 16, 8])
    """

    def __init__(
        self, eisgnn: EISGNN, *, rate: int, up_mode: UpMode = "depthwise", down_mode: DownMode = "nearest"
    ) -> None:
        super().__init__()
        check_choice("down_mode", down_mode, DownMode)
        self.rate, self.down_mode = rate, down_mode
        self.eisgnn = eisgnn
        self.up = _up(up_mode, eisgnn, rate)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the graph adds to each pixel, shape (batch, C, row, col).

        Parameters
        ----------
        x
            Shape (batch, Cin, row, col), floating point.

        Raises
        ------
        ValueError
            If the map has a single node and the graph leaves out the node itself.
        """
        _, nodes = self.nodes(x)
        up: Tensor = self.up(self._features(nodes, x).permute(0, 3, 1, 2))
        return up

    def nodes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return `x`, to be used instead of it by one convolution (`take_nodes`), and its nodes.

        Parameters
        ----------
        x
            Shape (batch, Cin, row, col), floating point.
        """
        if self.down_mode == "avg":
            return x, F.avg_pool2d(x, self.rate).flatten(2).mT
        return take_nodes(x, self.rate)

    def add_to(self, y: Tensor, nodes: Tensor, weight: Tensor) -> Tensor:
        """Return ``y + weight * up(EISGNN(nodes))``; `y` may be overwritten.

        Parameters
        ----------
        y
            Shape (batch, C, row, col).
        nodes
            Shape (batch, node, Cin), as `nodes` gives them.
        weight
            A scalar.
        """
        features = self._features(nodes, y)
        if isinstance(self.up, PatchUp):  # its bias joins that of the convolution, see CGBlock
            return add_patches(y, features, weight * self.up.patch)
        return torch.addcmul(y, weight, self.up(features.permute(0, 3, 1, 2)))

    def _features(self, nodes: Tensor, like: Tensor) -> Tensor:
        """Return the graph's result as (batch, i, j, C), for a map of the size of `like`."""
        features: Tensor = self.eisgnn(nodes)
        height, width = (side // self.rate for side in like.shape[-2:])
        return features.reshape(features.shape[0], height, width, -1)


class CGBlock(nn.Module):
    r"""The block of EGCN: local texture by a convolution, relations between distant places by a second branch.

    ``y = alpha conv3x3(x) + beta branch(x)`` with learned scalars alpha and beta that start at 1 (Yang et al. 2023,
    Table 3, doi:10.3390/rs15040977).

    Parameters
    ----------
    in_channels
        Cin.
    out_channels
        C.
    branch
        A module from (batch, Cin, row, col) to (batch, C, row, col); `GraphBranch` in EGCN.

    Notes
    -----
    The convolution is padded with one pixel of zeros, so the size stays. alpha is applied to the kernel instead of to
    the map, which is the same and touches fewer numbers; so are beta and the bias of the graph's patches. The layers
    inside are therefore applied by their weights: hooks put on them do not run, and others cannot take their place.

    Examples
    --------
    >>> block = CGBlock(3, 8, branch=GraphBranch(EISGNN(3, 8), rate=4))
    >>> block(torch.zeros(1, 3, 16, 16)).shape
    torch.Size([1, 8, 16, 16])
    """

    def __init__(self, in_channels: int, out_channels: int, *, branch: nn.Module) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.branch = branch
        self.alpha = nn.Parameter(torch.ones(()))
        self.beta = nn.Parameter(torch.ones(()))
        self.folded = False  # alpha is part of the kernel already, see coslide.networks.fuse

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted sum of both branches, shape (batch, C, row, col).

        Parameters
        ----------
        x
            Shape (batch, Cin, row, col), floating point.
        """
        if not isinstance(self.branch, GraphBranch):
            return torch.addcmul(self._convolved(x), self.beta, self.branch(x))
        x, nodes = self.branch.nodes(x)
        return self.branch.add_to(self._convolved(x), nodes, self.beta)

    def _convolved(self, x: Tensor) -> Tensor:
        """Return alpha conv3x3(x), with the constant that the graph's patches add to every pixel."""
        kernel, bias = self.convolution.weight, cast("Tensor", self.convolution.bias)
        if not self.folded:
            kernel, bias = self.alpha * kernel, self.alpha * bias
        if isinstance(self.branch, GraphBranch) and isinstance(self.branch.up, PatchUp):
            bias = torch.addcmul(bias, self.beta, self.branch.up.bias)
        return F.conv2d(x, kernel, bias, padding=1)


def _up(mode: UpMode, eisgnn: EISGNN, rate: int) -> nn.Module:
    """Return the up-sampling of a graph branch."""
    check_choice("up_mode", mode, UpMode)
    channels = eisgnn.out_channels
    if mode == "depthwise":
        return PatchUp(channels, rate)
    if mode == "nearest":
        return nn.Upsample(scale_factor=rate, mode="nearest")
    if mode in ("full", "grouped"):
        groups = eisgnn.heads if mode == "grouped" else 1
        return nn.ConvTranspose2d(channels, channels, rate, stride=rate, groups=groups)
    steps = rate.bit_length() - 1
    if 2**steps != rate:
        raise ValueError(f"up_mode k2_chain: found a rate of {rate}, expected a power of 2")
    return nn.Sequential(*(nn.ConvTranspose2d(channels, channels, 2, stride=2) for _ in range(steps)))
