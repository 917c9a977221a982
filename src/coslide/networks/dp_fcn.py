"""DP-FCN: two encoders, one for each date, and one decoder that sees both at every scale."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from coslide.networks.base import Network, decode, encode, units
from coslide.networks.dates import date_bands

STAGES = 5  # resolutions; each halves the side and doubles the channels


class DatePath(nn.Module):
    """The encoder of one date: at each of five stages two 3 x 3 convolutions, with 2 x 2 max pooling between stages.

    Each convolution is followed by batch normalisation and ReLU.

    Parameters
    ----------
    bands
        Bands of the date.
    channels
        Channels of each stage, from full resolution down.

    Examples
    --------
    >>> [tuple(stage.shape) for stage in DatePath(3, [4, 8])(torch.zeros(1, 3, 6, 4))]
    [(1, 4, 6, 4), (1, 8, 3, 2)]
    """

    def __init__(self, bands: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(units(above, here, here) for above, here in pairwise([bands, *channels]))
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Compute the features of each stage, the first at full resolution, shapes (batch, channel, row, col).

        Parameters
        ----------
        x
            The bands of the date, shape (batch, bands, row, col), floating point.
        """
        return encode(self.stages, x, self.pool)


class DPFCN(Network):
    r"""Reconstruction of DP-FCN, with low confidence: little more than the original's title is known.

    Two fully convolutional encoders of the same layers and their own weights, one for each date (`DatePath`). The
    decoder starts from both deepest maps, one after the other, and at each scale appends those of both dates. With
    C_d = width 2^(d-1):

    ===== ============= ===================== ======================================= ============
    stage each path     both dates            decoder                                 map
    ===== ============= ===================== ======================================= ============
    1     C_1           2 C_1                 up C_2 to C_1, [up, both], 3 C_1 to C_1 H x W
    2     C_2           2 C_2                 up C_3 to C_2, [up, both], 3 C_2 to C_2 H/2 x W/2
    3     C_3           2 C_3                 up C_4 to C_3, [up, both], 3 C_3 to C_3 H/4 x W/4
    4     C_4           2 C_4                 up 2 C_5 to C_4, the same, 3 C_4 to C_4 H/8 x W/8
    5     C_5           2 C_5                                                         H/16 x W/16
    ===== ============= ===================== ======================================= ============

    "Up" is a 2 x 2 deconvolution with stride 2; two 3 x 3 convolutions follow, each with batch normalisation and ReLU.
    A 1 x 1 convolution gives the logits. After Lv, Liu, Kong, Shi and Benediktsson (2020): Landslide inventory mapping
    with bitemporal aerial remote sensing images based on the dual-path fully convolutional network, IEEE Journal of
    Selected Topics in Applied Earth Observations and Remote Sensing 13.

    Parameters
    ----------
    bands
        Bands of the stacked input; 30 in the full set of Yang et al. (2023, doi:10.3390/rs15040977).
    classes
        Classes of the output: 0 background, 1 landslide.
    width
        Channels of each path at full resolution.
    dates
        Those of `coslide.networks.dates.date_bands` by name: pre, post and static, which tell the bands of each date;
        needed unless there are 30 bands.

    Raises
    ------
    ValueError
        If the bands of the dates do not fit.

    Notes
    -----
    Input (batch, bands, row, col), output logits (batch, classes, row, col); the sides must be multiples of 16. With 30
    bands, 19 of them at each date, there are 13,799,074 parameters. Weights do not depend on the order of the bands of
    the input, only `pre` and `post` do; static bands keep the order of the input.

    Differs from the paper, which was not available:

    - What its two paths are could not be established; here they are the two dates. Weights are not shared, as "dual
      path" rather than "Siamese" suggests.
    - Stages, channels, where the paths meet and the decoder are our choice. `width` is 32 because with 64 there
      would be 55.1 million parameters, half as many again as EGCN has.
    - Pre- and post-processing, if it has any, is left out, so that networks are compared without it.

    Examples
    --------
    >>> net = DPFCN(5, width=4, pre=[0, 1], post=[2, 3])
    >>> net(torch.zeros(1, 5, 16, 32)).shape
    torch.Size([1, 2, 16, 32])
    """

    size_multiple = 2 ** (STAGES - 1)

    def __init__(self, bands: int = 30, *, classes: int = 2, width: PositiveInt = 32, **dates: Any) -> None:
        super().__init__()
        self.dates = date_bands(bands, **dates)
        channels = [width * 2**stage for stage in range(STAGES)]
        self.path_pre = DatePath(len(self.dates.pre), channels)
        self.path_post = DatePath(len(self.dates.post), channels)
        below = [*channels[1:-1], 2 * channels[-1]]  # the decoder starts from both deepest maps
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(inputs, outputs, 2, stride=2) for inputs, outputs in zip(below, channels, strict=False)
        )
        self.decoder = nn.ModuleList(units(3 * outputs, outputs, outputs) for outputs in channels[:-1])
        self.head = nn.Conv2d(width, classes, 1)

    def features(self, x: Tensor) -> Tensor:
        """Compute the features of each pixel, shape (batch, width, row, col).

        Parameters
        ----------
        x
            Standardised indices, shape (batch, bands, row, col), floating point.

        Raises
        ------
        ValueError
            If the input has another number of bands.
        """
        before, after = self.dates.split(x)
        paths = zip(self.path_pre(before), self.path_post(after), strict=True)
        *skips, x = [torch.cat(dates, dim=1) for dates in paths]
        return decode(x, skips, reversed(self.up), reversed(self.decoder))
