"""LandsNet: a reconstruction of a small cascaded network for landslides in single images."""

from itertools import pairwise

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from coslide.networks.base import Network, conv_norm_relu, decode, encode


class CascadeBlock(nn.Module):
    """Three dilated convolutions in a row, what each of them sees, and a shortcut.

    ``y1 = u1(x)``, ``y2 = u2(y1)``, ``y3 = u4(y2)`` with u_r a 3 x 3 convolution of dilation r, batch normalisation and
    ReLU; ``y = ReLU(BN(conv1x1([y1, y2, y3])) + shortcut(x))``. The shortcut is x itself, or a 1 x 1 convolution of it
    where the number of channels changes. So y depends on 3, 7 and 15 pixels a side at once.

    Parameters
    ----------
    in_channels
        Cin.
    out_channels
        C.

    Notes
    -----
    Shapes: (batch, Cin, row, col) to (batch, C, row, col), of any size.

    Examples
    --------
    >>> CascadeBlock(3, 4)(torch.zeros(2, 3, 8, 5)).shape
    torch.Size([2, 4, 8, 5])
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.cascade = nn.ModuleList(
            conv_norm_relu(channels, out_channels, dilation=dilation)
            for channels, dilation in ((in_channels, 1), (out_channels, 2), (out_channels, 4))
        )
        self.join = nn.Sequential(nn.Conv2d(3 * out_channels, out_channels, 1), nn.BatchNorm2d(out_channels))
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the block's map, shape (batch, C, row, col).

        Parameters
        ----------
        x
            Shape (batch, Cin, row, col), floating point.
        """
        return F.relu(self.join(torch.cat(encode(self.cascade, x), dim=1)) + self.shortcut(x))


class LandsNet(Network):
    """A *reconstruction with low confidence* of LandsNet (Yi and Zhang 2020, IEEE JSTARS 13).

    An encoder and a decoder of `CascadeBlock`, for an input of H x W pixels and a width of 32:

    ========= ============================================================= ================= ==================
    part      layers                                                        channels          map
    ========= ============================================================= ================= ==================
    encoder   1 block at each size, 2 x 2 max pooling between them          32, 64, 128, 256  H, H/2, H/4, H/8
    decoder   bilinear to twice the size, the encoder's map of that size
              behind it, 1 block                                            128, 64, 32       H/4, H/2, H
    head      1 x 1 convolution                                             classes           H
    ========= ============================================================= ================= ==================

    Parameters
    ----------
    bands, classes
        Bands of the input, classes of the output.
    width
        Channels at full size; they double with each halving of the map.

    Notes
    -----
    Input (batch, bands, row, col), output logits (batch, classes, row, col); the sides must be multiples of 8. With
    30 bands there are 3,373,442 parameters. Batch normalisation cannot train on one number: a batch of one tile of
    8 x 8 is refused in training by torch.

    Differs from the paper: nobody should take this for the authors' network. We could reach neither the paper nor code
    of it, and the following is all that is known to us.

    - Known: it is a "cascaded end-to-end" convolutional network for RapidEye images of one date, trained with
      augmented data, followed by morphological post-processing; it is small, and its authors report an F1 of 86.89 %,
      7 and 8 points above ResUNet and DeepUNet.
    - Ours: every layer. Convolutions in cascade, an encoder and a decoder of four sizes, the dilations, the widths, the
      concatenations and the shortcuts are choices that fit that description and the size class.
    - Left out: the post-processing and the augmentation, so that all networks are compared with the same pipeline
      (Yang et al. 2023, doi:10.3390/rs15040977). It takes the whole stack of indices, where the original takes the
      bands of one image.

    Examples
    --------
    >>> LandsNet(5, width=4)(torch.zeros(2, 5, 16, 24)).shape
    torch.Size([2, 2, 16, 24])
    """

    size_multiple = 8

    def __init__(self, bands: int = 30, *, classes: int = 2, width: PositiveInt = 32) -> None:
        super().__init__()
        channels = [width, 2 * width, 4 * width, 8 * width]
        self.encoder = nn.ModuleList(CascadeBlock(above, here) for above, here in pairwise([bands, *channels]))
        self.pool = nn.MaxPool2d(2)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.decoder = nn.ModuleList(CascadeBlock(3 * here, here) for here in reversed(channels[:-1]))
        self.head = nn.Conv2d(width, classes, 1)

    def features(self, x: Tensor) -> Tensor:
        """Compute the features of each pixel, shape (batch, width, row, col).

        Parameters
        ----------
        x
            Standardised indices, shape (batch, bands, row, col), floating point.
        """
        *skips, x = encode(self.encoder, x, self.pool)
        return decode(x, skips, [self.up] * len(skips), self.decoder)
