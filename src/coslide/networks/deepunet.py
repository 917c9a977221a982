"""DeepUNet: a small, deep U-Net of constant width with connections around every block."""

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from coslide.networks.base import Network, conv_norm_relu, encode


def _body(in_channels: int, width: int) -> list[nn.Module]:
    """List the layers that every block has: a unit of twice the width, then convolution and norm without a ReLU."""
    return [conv_norm_relu(in_channels, 2 * width), nn.Conv2d(2 * width, width, 3, padding=1), nn.BatchNorm2d(width)]


class DownBlock(nn.Module):
    """A block of the encoder: it halves the map and adds what it learns to it.

    ``p = maxpool2x2(ReLU(x))`` and ``b = body(p) + p`` (the plus connection); body is a 3 x 3 convolution to twice the
    width with batch normalisation and ReLU, then one back to the width with batch normalisation. b has no ReLU yet, and
    so it is kept for the decoder.

    Parameters
    ----------
    width
        C.

    Notes
    -----
    Shapes: (batch, C, row, col) to (batch, C, row / 2, col / 2); both sides must be even.

    Examples
    --------
    >>> DownBlock(4)(torch.zeros(2, 4, 8, 6)).shape
    torch.Size([2, 4, 4, 3])
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.body = nn.Sequential(*_body(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Compute b, before its ReLU, shape (batch, C, row / 2, col / 2).

        Parameters
        ----------
        x
            Shape (batch, C, row, col), floating point.
        """
        pooled: Tensor = self.pool(F.relu(x))
        b: Tensor = self.body(pooled) + pooled
        return b


class UpBlock(nn.Module):
    """A block of the decoder: it doubles the map and adds what it learns from it and from the encoder.

    ``u = nearest2x(x)`` and ``y = ReLU(body([b, u]) + u)`` with the body of `DownBlock` on 2 C channels: b of the same
    size first (the U-connection), then u, which is also added (the plus connection).

    Parameters
    ----------
    width
        C.

    Notes
    -----
    Shapes: (batch, C, row, col) and b (batch, C, 2 row, 2 col) to (batch, C, 2 row, 2 col).

    Examples
    --------
    >>> UpBlock(4)(torch.zeros(2, 4, 4, 3), torch.zeros(2, 4, 8, 6)).shape
    torch.Size([2, 4, 8, 6])
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.body = nn.Sequential(*_body(2 * width, width))

    def forward(self, x: Tensor, b: Tensor) -> Tensor:
        """Compute the larger map, shape (batch, C, 2 row, 2 col).

        Parameters
        ----------
        x
            Shape (batch, C, row, col), floating point.
        b
            What the encoder kept at twice the size, shape (batch, C, 2 row, 2 col).
        """
        u: Tensor = self.up(x)
        return F.relu(self.body(torch.cat([b, u], dim=1)) + u)


class DeepUNet(Network):
    """DeepUNet (Li et al. 2018, doi:10.1109/JSTARS.2018.2833382): U-connections and plus connections, few parameters.

    Every convolution but the head is 3 x 3 and has batch normalisation. For an input of H x W pixels and a width of 32:

    ============== ================================================================== =======================
    part           layers                                                             map after it, 32 channels
    ============== ================================================================== =======================
    stem           30 to 32 and ReLU, 32 to 64 and ReLU, 64 to 32: b0                 H x W
    down 1 to 6    `DownBlock` of b, which gives the next b: b1 to b6                 H / 2 to H / 64
    up 6 to 1      `UpBlock` of ReLU(b6) or the block below, with b5 to b0            H / 32 to H
    head           1 x 1 convolution                                                  H x W, `classes` channels
    ============== ================================================================== =======================

    Parameters
    ----------
    bands, classes
        Bands of the input, classes of the output.
    width
        Channels of every map; inside a block they are twice as many. 32 in the original.
    depth
        Down blocks, and up blocks. 6 in the authors' code.

    Attributes
    ----------
    size_multiple
        2^depth [pixel].

    Notes
    -----
    Input (batch, bands, row, col), output logits (batch, classes, row, col); the sides must be multiples of 2^depth, 64
    by default. With 30 bands there are 602,370 parameters, and 695,106 at depth 7. A tile of 128 x 128 ends as 2 x 2.
    Batch normalisation cannot train on one number: a batch of one tile of 2^depth x 2^depth is refused in training by
    torch.

    Differs from the paper, or decides what we could not read there: the layers are those of a co-author's code
    (shsun-xq/DeepUNet), whose readme mentions differences from the paper, but not which.

    - Six blocks down, six up, and 3 x 3 convolutions throughout, as in that code. Others' versions have seven blocks,
      and one names the paper's second convolution in an up block as 2 x 2.
    - One output. The code also trains outputs at 1/2, 1/4 and 1/8 of the size (deep supervision), of equal weight; a
      network here returns one tensor of logits, and every network is trained with the same loss.
    - Batch normalisation as PyTorch has it: its scale is learned and its running statistics move by 0.1. MXNet's
      default, which the code uses, fixes the scale at 1, and the code moves the statistics by 0.01.

    Examples
    --------
    >>> DeepUNet(5, width=4, depth=3)(torch.zeros(2, 5, 16, 24)).shape
    torch.Size([2, 2, 16, 24])
    """

    def __init__(self, bands: int = 30, *, classes: int = 2, width: PositiveInt = 32, depth: PositiveInt = 6) -> None:
        super().__init__()
        self.size_multiple = 2**depth
        self.stem = nn.Sequential(conv_norm_relu(bands, width), *_body(width, width))
        self.down = nn.ModuleList(DownBlock(width) for _ in range(depth))
        self.up = nn.ModuleList(UpBlock(width) for _ in range(depth))
        self.head = nn.Conv2d(width, classes, 1)

    def features(self, x: Tensor) -> Tensor:
        """Compute the features of each pixel, shape (batch, width, row, col).

        Parameters
        ----------
        x
            Standardised indices, shape (batch, bands, row, col), floating point.
        """
        *kept, b = encode([self.stem, *self.down], x)
        x = F.relu(b)
        for up, b in zip(self.up, reversed(kept), strict=True):
            x = up(x, b)
        return x
