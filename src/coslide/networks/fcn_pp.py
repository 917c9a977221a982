"""FCN-PP: a fully convolutional network with pyramid pooling between its encoder and its decoder."""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from coslide.networks.base import Network, conv_norm_relu, decode, encode, units

Bins = Annotated[Sequence[PositiveInt], Field(min_length=1)]


def bin_means(x: Tensor, bins: int) -> Tensor:
    r"""Average the map over each of bins x bins equal parts, shape (batch, channel, bins, bins).

    Part i of a side of n pixels runs from ``i n / bins`` to ``(i + 1) n / bins``, and each pixel that it touches counts
    in full: pixels ``floor(i n / bins)`` to ``ceil((i + 1) n / bins) - 1``. Where bins does not divide n, parts share
    pixels. This is adaptive average pooling.

    Parameters
    ----------
    x
        Shape (batch, channel, row, col), floating point; a side may be shorter than `bins`.
    bins
        Parts of each side.

    Notes
    -----
    The mean over a rectangle is the mean over columns of means over rows, so it is ``R x C^T`` with a matrix of weights
    for the rows and one for the columns. `torch.nn.functional.adaptive_avg_pool2d` gives the same, but ONNX knows no
    such operation: where bins does not divide the side, an export of it is right for one size and silently wrong for
    others. On a GPU its gradient also has no deterministic form; that of a product has.

    Examples
    --------
    >>> bin_means(torch.tensor([[[[1.0, 2.0, 6.0], [1.0, 2.0, 6.0]]]]), 2)
    tensor([[[[1.5, 4.0],
              [1.5, 4.0]]]])
    """
    rows, cols = (_mean_weights(side, bins, x) for side in x.shape[-2:])
    return rows @ x @ cols.T


def _mean_weights(side: int, bins: int, x: Tensor) -> Tensor:
    """Weigh each pixel in each part's mean, shape (bins, side), in the dtype and on the device of x."""
    pixel = torch.arange(side, device=x.device)
    part = torch.arange(bins, device=x.device).unsqueeze(1)
    # pixel [p, p + 1) touches part [i side / bins, (i + 1) side / bins): in whole numbers, so that nothing is rounded
    touches = ((pixel + 1) * bins > part * side) & (pixel * bins < (part + 1) * side)
    weights = touches.to(x.dtype)
    return weights / weights.sum(dim=1, keepdim=True)


class PyramidPooling(nn.Module):
    """The map, and what it is on average over large parts of it, one above the other.

    For each number n of `bins`: the means over n x n parts (`bin_means`), a 1 x 1 convolution with batch normalisation
    and ReLU, and bilinear interpolation back to the map's size. The results follow the map's own channels.

    Parameters
    ----------
    channels
        C.
    bins
        Parts of each side, one branch for each number.

    Notes
    -----
    Shapes: (batch, C, row, col) to (batch, (1 + len(bins)) C, row, col), of any size. Interpolation takes pixels as
    areas (``align_corners=False``). Batch normalisation cannot train on one number: with 1 among the bins, training
    needs a batch of at least 2.

    Examples
    --------
    >>> PyramidPooling(4)(torch.zeros(2, 4, 8, 5)).shape
    torch.Size([2, 16, 8, 5])
    """

    def __init__(self, channels: int, bins: Sequence[int] = (2, 3, 6)) -> None:
        super().__init__()
        self.bins = tuple(bins)
        self.branches = nn.ModuleList(conv_norm_relu(channels, channels, 1) for _ in self.bins)

    def forward(self, x: Tensor) -> Tensor:
        """Append the averages to the map, shape (batch, (1 + len(bins)) C, row, col).

        Parameters
        ----------
        x
            Shape (batch, C, row, col), floating point.
        """
        levels = [x]
        for n, branch in zip(self.bins, self.branches, strict=True):
            # the products leave the channels first in memory; joined so, all convolutions after them would be slow
            means = bin_means(x, n).contiguous(memory_format=torch.channels_last)
            levels.append(F.interpolate(branch(means), size=x.shape[-2:], mode="bilinear", align_corners=False))
        return torch.cat(levels, dim=1)


class FCNPP(Network):
    """FCN-PP (Lei et al. 2019, doi:10.1109/LGRS.2018.2889307): VGG16's convolutions, pyramid pooling and a decoder.

    Every unit is a convolution, batch normalisation and ReLU; 3 x 3 unless said otherwise. For an input of H x W pixels
    and a width of 64:

    ======= ========================================================================== ================= ===========
    stage   layers                                                                     channels          map
    ======= ========================================================================== ================= ===========
    1       2 units (skip 1), 2 x 2 max pooling                                        64                H x W
    2       2 units (skip 2), max pooling                                              128               H/2 x W/2
    3       3 units (skip 3), max pooling                                              256               H/4 x W/4
    4       3 units (skip 4), max pooling                                              512               H/8 x W/8
    5       3 units                                                                    512               H/16 x W/16
    pyramid `PyramidPooling` over 2, 3 and 6 parts a side, 1 x 1 units                 512 to 2048       H/16 x W/16
    6       1 unit; if `wide`, one to 1024 and one to 512                              2048 to 512       H/16 x W/16
    7 to 10 bilinear to twice the size, the skip of that size before it, 1 unit        256, 128, 64, 64  H/8 ... H
    head    1 x 1 convolution                                                          classes           H x W
    ======= ========================================================================== ================= ===========

    Parameters
    ----------
    bands, classes
        Bands of the input, classes of the output.
    width
        Channels of stage 1; all others scale with it. 64 in the original.
    wide
        Whether stage 6 narrows the pyramid in two steps.
    bins
        Parts of each side in the pyramid, one branch for each number.

    Notes
    -----
    Input (batch, bands, row, col), output logits (batch, classes, row, col); the sides must be multiples of 16. With
    30 bands there are 28,140,418 parameters, with 6 bands 28,126,594; 42,299,266 with 30 bands if `wide`.
    The pyramid ties each pixel to whole parts of its tile, so the map of a scene depends on how it is cut into tiles.
    Batch normalisation cannot train on one number: a batch of one tile of 16 x 16 is refused in training by torch.

    Differs from the paper, or decides what we could not read there:

    - The layers are those of the code of the letter's laboratory (``FCN_PP_VGG16.py`` in
      sustdeeplearning/Liver_And_Tumor_Segmentation_UI). The size agrees with the 28.13 million that others report for
      FCN-PP with two images of three bands. `wide` is a second stage 6 that the code has switched off.
    - Parts of the pyramid: the code averages over 16, 8 and 4 pixels of a 32 x 32 map, which is 2, 4 and 8 parts a
      side, but names these layers 2, 3 and 6. We take the names; ``bins=(2, 4, 8)`` is the code's form.
    - The letter denoises both images and gives the network their difference. Yang et al. (2023,
      doi:10.3390/rs15040977) compare it as a network for one stack of indices, and so do we.
    - No weights of ImageNet: they are made for three bands.

    Examples
    --------
    >>> FCNPP(5, width=4)(torch.zeros(2, 5, 32, 48)).shape
    torch.Size([2, 2, 32, 48])
    """

    size_multiple = 16

    def __init__(
        self, bands: int = 30, *, classes: int = 2, width: PositiveInt = 64, wide: bool = False, bins: Bins = (2, 3, 6)
    ) -> None:
        super().__init__()
        channels, counts = [width, 2 * width, 4 * width, 8 * width, 8 * width], [2, 2, 3, 3, 3]
        self.encoder = nn.ModuleList(
            units(above, *[here] * count)
            for above, here, count in zip([bands, *channels], channels, counts, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.pyramid = PyramidPooling(8 * width, bins)
        joined = (1 + len(bins)) * 8 * width
        self.narrow = units(joined, 16 * width, 8 * width) if wide else conv_norm_relu(joined, 8 * width)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        joins = [(16, 4), (8, 2), (4, 1), (2, 1)]  # channels in and out, in widths
        self.decoder = nn.ModuleList(conv_norm_relu(found * width, kept * width) for found, kept in joins)
        self.head = nn.Conv2d(width, classes, 1)

    def features(self, x: Tensor) -> Tensor:
        """Compute the features of each pixel, shape (batch, width, row, col).

        Parameters
        ----------
        x
            Standardised indices, shape (batch, bands, row, col), floating point.
        """
        *skips, x = encode(self.encoder, x, self.pool)
        return decode(self.narrow(self.pyramid(x)), skips, [self.up] * len(skips), self.decoder, skip_first=True)
