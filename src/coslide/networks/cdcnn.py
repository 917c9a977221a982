"""CDCNN: one residual U-Net for both dates, and a head that compares their features."""

from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from coslide.networks.base import Network, conv_norm_relu, decode, encode
from coslide.networks.dates import date_bands


class ResUnit(nn.Module):
    r"""A residual unit with activation before convolution.

    ``y = conv3x3(relu(bn(conv3x3_s(relu(bn(x)))))) + bn(conv1x1_s(x))``, s the stride (Zhang, Liu and Wang 2018,
    doi:10.1109/LGRS.2018.2802944). The sum leaves the unit without norm and activation: those of the next unit follow.

    Parameters
    ----------
    in_channels, out_channels
        Channels in and out.
    stride
        Of the first convolution and the shortcut [pixel].
    first
        True for the unit that takes the network's input: its first norm and activation are left out.

    Notes
    -----
    Shapes: (batch, in_channels, row, col) to (batch, out_channels, row / stride, col / stride), rounded up.

    Examples
    --------
    >>> ResUnit(3, 8, stride=2)(torch.zeros(1, 3, 6, 4)).shape
    torch.Size([1, 8, 3, 2])
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, first: bool = False) -> None:
        super().__init__()
        activation = [] if first else [nn.BatchNorm2d(in_channels), nn.ReLU(inplace=True)]
        self.residual = nn.Sequential(
            *activation,
            nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )
        self.stride = stride
        self.shortcut = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1), nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Compute the sum of residual and shortcut, shape (batch, out_channels, row / stride, col / stride).

        Parameters
        ----------
        x
            Shape (batch, in_channels, row, col), floating point.
        """
        # A strided 1 x 1 convolution would be the same. With few channels its gradient is wrong or crashes on CPUs, in
        # the oneDNN 3.12 of torch 2.13 and others (github.com/uxlfoundation/oneDNN/issues/6035).
        y: Tensor = self.residual(x) + self.shortcut(x[:, :, :: self.stride, :: self.stride])
        return y


class ResUnet(nn.Module):
    """The deep residual U-Net of Zhang, Liu and Wang (2018, doi:10.1109/LGRS.2018.2802944) without its last layer.

    Seven `ResUnit`; strides take the place of pooling, and each decoder unit takes the map below it at twice the size
    (nearest) with the encoder's map of its own size appended.

    ========= ============= ========= ======= ============
    unit      channels in   out       stride  map
    ========= ============= ========= ======= ============
    encoder 1 bands         width     1       H x W
    encoder 2 width         2 width   2       H/2 x W/2
    encoder 3 2 width       4 width   2       H/4 x W/4
    bridge    4 width       8 width   2       H/8 x W/8
    decoder 3 8 + 4 width   4 width   1       H/4 x W/4
    decoder 2 4 + 2 width   2 width   1       H/2 x W/2
    decoder 1 2 + 1 width   width     1       H x W
    ========= ============= ========= ======= ============

    Parameters
    ----------
    bands
        Bands of the input.
    width
        Channels at full resolution; 64 in the original.

    Notes
    -----
    Input (batch, bands, row, col), output features (batch, width, row, col); the sides must be multiples of 8. With 30
    bands, and the original's 1 x 1 convolution to two classes behind it, there are 8,241,154 parameters.

    Differs from the paper: it reports 7.8 million parameters and does not say how it counts. Here every convolution has
    a bias and every shortcut a 1 x 1 convolution and a batch normalisation. The first unit has a shortcut too.

    Examples
    --------
    >>> ResUnet(5, width=4)(torch.zeros(1, 5, 16, 24)).shape
    torch.Size([1, 4, 16, 24])
    """

    def __init__(self, bands: int, *, width: int = 64) -> None:
        super().__init__()
        halved = (ResUnit(channels, 2 * channels, stride=2) for channels in (width, 2 * width))
        self.encoder = nn.ModuleList([ResUnit(bands, width, first=True), *halved])
        self.bridge = ResUnit(4 * width, 8 * width, stride=2)
        self.up = nn.Upsample(scale_factor=2)  # nearest
        self.decoder = nn.ModuleList(ResUnit(3 * channels, channels) for channels in (width, 2 * width, 4 * width))

    def forward(self, x: Tensor) -> Tensor:
        """Compute features of each pixel, shape (batch, width, row, col), unit free.

        Parameters
        ----------
        x
            Shape (batch, bands, row, col), floating point; row and col are multiples of 8.
        """
        *skips, x = encode([*self.encoder, self.bridge], x)
        return decode(x, skips, [self.up] * len(skips), reversed(self.decoder))


class CDCNN(Network):
    r"""Reconstruction of CDCNN, with medium confidence in its trunk and low confidence in its head.

    ``f_pre = ResUnet(x_pre)``, ``f_post = ResUnet(x_post)`` with the same weights (`ResUnet`); then
    ``logits = conv1x1(relu(bn(conv3x3([f_pre, f_post, |f_pre - f_post|]))))`` at full resolution, with 3 width, width
    and `classes` channels. After Shi, Zhang, Ke, Fang, Zhan and Chen (2021, IEEE Transactions on Geoscience and Remote
    Sensing 59, doi:10.1109/TGRS.2020.3015826).

    Parameters
    ----------
    bands
        Bands of the stacked input; 30 in the full set of Yang et al. (2023, doi:10.3390/rs15040977).
    classes
        Classes of the output: 0 background, 1 landslide.
    width
        Channels at full resolution.
    dates
        Those of `coslide.networks.dates.date_bands` by name: pre, post and static, which tell the bands of each date;
        needed unless there are 30 bands.

    Raises
    ------
    ValueError
        If the bands of the dates do not fit.

    Notes
    -----
    Input (batch, bands, row, col), output logits (batch, classes, row, col); the sides must be multiples of 8. With 30
    bands, 19 of them at each date, there are 8,344,898 parameters. Weights do not depend on the order of the bands of
    the input, only `pre` and `post` do; static bands keep the order of the input.

    Both dates pass the trunk as one batch, so in training batch normalisation takes its mean and variance over both,
    and treats them alike as it does in use: a place that is the same at both dates has the same features, a change of
    the whole scene is not normalised away, and neither date weighs more in the running statistics. With one pass for
    each date, training would see other features than those that the running statistics give later.

    Differs from the paper, of which only the abstract was available:

    - The abstract names a CNN trained on landslide images (an improved ResUnet, say Yang et al. 2023) and a change
      detection network built on it. Its layers, and what is improved, are not known: the trunk is the plain ResUnet and
      the head our choice, trained together from the first step.
    - Change is decided for each pixel, not for image objects.
    - The conditional random field and the rules (such as a smallest area) that follow in the original are left out, so
      that networks are compared without them.

    Examples
    --------
    >>> net = CDCNN(5, width=4, pre=[0, 1], post=[2, 3])
    >>> net(torch.zeros(1, 5, 16, 24)).shape
    torch.Size([1, 2, 16, 24])
    """

    size_multiple = 8

    def __init__(self, bands: int = 30, *, classes: int = 2, width: PositiveInt = 64, **dates: Any) -> None:
        super().__init__()
        self.dates = date_bands(bands, **dates)
        self.trunk = ResUnet(len(self.dates.pre), width=width)
        self.head = nn.Sequential(conv_norm_relu(3 * width, width), nn.Conv2d(width, classes, 1))

    def features(self, x: Tensor) -> Tensor:
        """Compute the features of each pixel, shape (batch, 3 width, row, col).

        Parameters
        ----------
        x
            Standardised indices, shape (batch, bands, row, col), floating point.

        Raises
        ------
        ValueError
            If the input has another number of bands.
        """
        features = self.trunk(torch.cat(self.dates.split(x)))
        before, after = features.unflatten(0, (2, -1)).unbind()
        return torch.cat([before, after, (before - after).abs()], dim=1)
