"""CGBlock: a 3 x 3 convolution and a graph branch, added with learned weights."""

import math

import torch
from torch import Tensor, nn

from coslide.networks.eisgnn import EISGNN


class PatchUp(nn.Module):
    r"""Up-sampling by a learned rate x rate patch per channel: a depthwise deconvolution with stride = kernel = rate.

    ``y[c, rate i + u, rate j + v] = x[c, i, j] weight[c, 0, u, v] + bias[c]``. Each input pixel fills its own patch and
    no other.

    Parameters
    ----------
    channels
        C.
    rate
        Side of the patch [pixel].

    Notes
    -----
    Shapes: (batch, C, h, w) to (batch, C, rate h, rate w). `weight` (C, 1, rate, rate) and `bias` (C) are those of
    ``nn.ConvTranspose2d(C, C, rate, stride=rate, groups=C)``, with its initialisation. The patches do not overlap, so
    the deconvolution is one broadcast product, which a CPU computes several times faster than the general one.

    Examples
    --------
    >>> up = PatchUp(1, 2)
    >>> _ = up.load_state_dict({"weight": torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), "bias": torch.zeros(1)})
    >>> up(torch.tensor([[[[1.0, 10.0]]]]))[0, 0].tolist()
    [[1.0, 2.0, 10.0, 20.0], [3.0, 4.0, 30.0, 40.0]]
    """

    def __init__(self, channels: int, rate: int) -> None:
        super().__init__()
        self.rate = rate
        self.weight = nn.Parameter(torch.empty(channels, 1, rate, rate))
        self.bias = nn.Parameter(torch.empty(channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Return nothing; draw weight and bias anew, uniform within 1 / rate, as nn.ConvTranspose2d does."""
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        nn.init.uniform_(self.bias, -1 / self.rate, 1 / self.rate)

    def forward(self, x: Tensor) -> Tensor:
        """Return the map at `rate` times the size, shape (batch, C, rate h, rate w).

        Parameters
        ----------
        x
            Shape (batch, C, h, w), floating point.
        """
        batch, channels, height, width = x.shape
        rate = self.rate
        pixels = x.permute(0, 2, 3, 1).contiguous().view(batch, height, 1, width, 1, channels)
        patch = self.weight.permute(1, 2, 3, 0).contiguous().view(1, 1, rate, 1, rate, channels)
        filled = torch.addcmul(self.bias, pixels, patch)
        return filled.reshape(batch, height * rate, width * rate, channels).permute(0, 3, 1, 2)


class GraphBranch(nn.Module):
    """The graph branch of a CGBlock: every rate-th pixel is a node, and each node's result is spread over its patch.

    ``branch(x) = up(EISGNN(down(x)))``, down being ``x[..., ::rate, ::rate]`` (nearest) and up a `PatchUp`.

    Parameters
    ----------
    eisgnn
        The graph layer, from Cin to C channels.
    rate
        Distance between nodes [pixel].

    Notes
    -----
    Shapes: (batch, Cin, row, col) to (batch, C, row, col); row and col must be multiples of `rate`. Nodes run row by
    row. The node of a patch is its upper left pixel: the other pixels of the patch do not enter the graph.

    Examples
    --------
    >>> GraphBranch(EISGNN(3, 8), rate=4)(torch.zeros(1, 3, 16, 8)).shape
    torch.Size([1, 8, 16, 8])
    """

    def __init__(self, eisgnn: EISGNN, *, rate: int) -> None:
        super().__init__()
        self.rate = rate
        self.eisgnn = eisgnn
        self.up = PatchUp(eisgnn.out_channels, rate)

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
        nodes = x[:, :, :: self.rate, :: self.rate]
        batch, _, height, width = nodes.shape
        features = self.eisgnn(nodes.flatten(2).transpose(1, 2))
        grid = features.view(batch, height, width, -1).permute(0, 3, 1, 2)
        up: Tensor = self.up(grid)
        return up


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
    The convolution is padded with one pixel of zeros, so the size stays.

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

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted sum of both branches, shape (batch, C, row, col).

        Parameters
        ----------
        x
            Shape (batch, Cin, row, col), floating point.
        """
        y: Tensor = self.alpha * self.convolution(x) + self.beta * self.branch(x)
        return y
