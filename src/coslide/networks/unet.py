"""U-Net, and the frame of five depths that EGCN and its variants share with it."""

from collections.abc import Callable

from pydantic import PositiveInt
from torch import Tensor, nn

from coslide.networks.base import Activation, Network, Norm, decode, encode, norm_layer

DEPTHS = 5  # resolutions; each halves the side and doubles the channels


class UNetOfBlocks(Network):
    """A U-Net of five depths whose 3 x 3 convolutions are replaced by a given block.

    At depth d = 1..5 the map has width * 2^(d-1) channels and 1 / 2^(d-1) of the side. Every block is followed by a
    norm and an activation: ``f = activation(norm(block(x)))``. Encoder: two f at depths 1 to 4, each pair followed by
    2 x 2 max pooling, and one f at depth 5. Decoder: one f at depth 5, then at depths 4 to 1 a 2 x 2 deconvolution with
    stride 2 (Eq. 20 of Yang et al. 2023), the encoder's map of that depth appended (Eq. 21), and two f. A 1 x 1
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
    norm
        Kind of normalisation, see `coslide.networks.base.norm_layer`; ``"full_ln"`` fixes the input's side to `tile`.
    activation
        ``"gelu"`` or ``"relu"``.
    tile
        Side of the input that ``"full_ln"`` is made for [pixel]; other norms take any multiple of 16.

    Raises
    ------
    ValueError
        If `tile` is not a multiple of 16.

    Examples
    --------
    >>> net = UNetOfBlocks(3, lambda cin, cout, depth: nn.Conv2d(cin, cout, 3, padding=1), width=4)
    >>> import torch
    >>> net(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 2, 32, 32])
    """

    size_multiple = 2 ** (DEPTHS - 1)

    def __init__(
        self,
        bands: int,
        block: Callable[[int, int, int], nn.Module],
        *,
        classes: int = 2,
        width: int = 64,
        norm: Norm = "channel_ln",
        activation: Activation = "gelu",
        tile: int = 128,
    ) -> None:
        super().__init__()
        if tile < 1 or tile % self.size_multiple:
            raise ValueError(f"tile: found {tile}, expected a multiple of {self.size_multiple}")
        self.fixed_side = tile if norm == "full_ln" else None
        channels = [width * 2**level for level in range(DEPTHS)]

        def f(in_channels: int, depth: int) -> nn.Sequential:
            return nn.Sequential(
                block(in_channels, channels[depth - 1], depth),
                norm_layer(norm, channels[depth - 1], side=tile >> (depth - 1)),
                nn.GELU() if activation == "gelu" else nn.ReLU(),
            )

        def pair(in_channels: int, depth: int) -> nn.Sequential:
            return nn.Sequential(f(in_channels, depth), f(channels[depth - 1], depth))

        inputs = [bands, *channels]
        self.encoder = nn.ModuleList(pair(inputs[depth - 1], depth) for depth in range(1, DEPTHS))
        self.bottom = pair(channels[-2], DEPTHS)
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(channels[depth], channels[depth - 1], 2, stride=2) for depth in range(1, DEPTHS)
        )
        self.decoder = nn.ModuleList(pair(2 * channels[depth - 1], depth) for depth in range(1, DEPTHS))
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
            If the norm is made for maps of another size.
        """
        if self.fixed_side is not None and tuple(x.shape[-2:]) != (self.fixed_side, self.fixed_side):
            raise ValueError(f"expected a height and width of {self.fixed_side} (full_ln), found {tuple(x.shape[-2:])}")
        *skips, x = encode([*self.encoder, self.bottom], x, self.pool)
        return decode(x, skips, reversed(self.up), reversed(self.decoder))


class UNet(UNetOfBlocks):
    """U-Net (Ronneberger et al. 2015, doi:10.1007/978-3-319-24574-4_28) with padded convolutions.

    Two ``activation(norm(conv3x3(x)))`` at each of five depths of 1, 2, 4, 8 and 16 times `width` channels, 2 x 2 max
    pooling on the way down, 2 x 2 deconvolution and concatenation on the way up.

    Parameters
    ----------
    bands, classes, width
        Bands of the input, classes of the output, channels at depth 1 (64 in the original).
    norm
        ``"bn"``, today's usual form; ``"none"`` is that of 2015; also ``"channel_ln"``, ``"gn1"`` and ``"full_ln"``.
    activation
        ``"relu"`` or ``"gelu"``. With ``norm="channel_ln"`` and ``"gelu"`` it is EGCN without the graph.
    tile
        Side of the input that ``"full_ln"`` is made for [pixel].

    Raises
    ------
    ValueError
        If `tile` is not a multiple of 16.

    Notes
    -----
    Input (batch, bands, row, col), output logits (batch, classes, row, col); the sides must be multiples of 16. With
    30 bands there are 31,059,138 parameters.

    Differs from the paper: the original has convolutions without padding and no normalisation. Padding keeps the map's
    size, as the comparison of Yang et al. (2023, doi:10.3390/rs15040977) needs; its authors do not say which
    normalisation they used.

    Examples
    --------
    >>> import torch
    >>> UNet(5, width=8)(torch.zeros(1, 5, 32, 48)).shape
    torch.Size([1, 2, 32, 48])
    """

    def __init__(
        self,
        bands: int = 30,
        *,
        classes: int = 2,
        width: PositiveInt = 64,
        norm: Norm = "bn",
        activation: Activation = "relu",
        tile: int = 128,
    ) -> None:
        def block(in_channels: int, out_channels: int, _depth: int) -> nn.Module:
            return nn.Conv2d(in_channels, out_channels, 3, padding=1)

        super().__init__(bands, block, classes=classes, width=width, norm=norm, activation=activation, tile=tile)
