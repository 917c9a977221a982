"""What networks have in common: the sizes they take, their memory order, norms, and the shape of a U."""

import importlib
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from coslide.io.stored import BEYOND_MEASURE

Norm = Literal["channel_ln", "full_ln", "gn1", "bn", "none"]
Activation = Literal["relu", "gelu"]


class Network(nn.Module):
    """A network from standardised indices to the logits of each class; subclasses define `features` and `head`.

    Attributes
    ----------
    size_multiple
        The height and the width of the input must be multiples of it [pixel].
    head
        The last layers, from the features of each pixel to its logits.

    Examples
    --------
    >>> class Pixelwise(Network):
    ...     size_multiple, head = 2, nn.Identity()
    ...     def features(self, x):
    ...         return x[:, :2]
    >>> Pixelwise()(torch.zeros(1, 3, 4, 5))
    Traceback (most recent call last):
        ...
    ValueError: expected a height and width that are multiples of 2, found (4, 5)
    """

    size_multiple: int = 1
    head: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits of each class, shape (batch, class, row, col), unit free.

        Parameters
        ----------
        x
            Standardised indices, shape (batch, band, row, col), floating point; nodata is 0 after standardising.

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
        x = x.contiguous(memory_format=torch.channels_last)  # up to three times faster on a CPU
        logits: Tensor = self.head(self.features(x))
        return logits

    def features(self, x: Tensor) -> Tensor:
        """Compute the features of each pixel of an input whose size fits, shape (batch, channel, row, col).

        Parameters
        ----------
        x
            Shape (batch, band, row, col), in channels-last memory order.
        """
        raise NotImplementedError


class ChannelLayerNorm(nn.Module):
    r"""Layer normalisation of each pixel over its channels, with one learned scale and shift per channel.

    ``y = weight (x - mean_c x) / sqrt(var_c x + eps) + bias``, with the biased variance. It does not depend on the size
    of the map, on the batch or on other pixels, so a scene may be mapped in tiles of any size.

    Parameters
    ----------
    channels
        C.
    eps
        Added to the variance.

    Notes
    -----
    Shapes: (batch, C, row, col) in and out. The output lies in memory with the channels last, which the convolutions
    that follow compute faster; its axes keep their order.

    Examples
    --------
    >>> x = torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)
    >>> ChannelLayerNorm(2)(x).flatten().tolist()
    [-1.0, 1.0]
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise a map, shape (batch, C, row, col), unit free.

        Parameters
        ----------
        x
            Shape (batch, C, row, col), floating point.
        """
        channels_last = x.permute(0, 2, 3, 1)
        return F.layer_norm(channels_last, self.weight.shape, self.weight, self.bias, self.eps).permute(0, 3, 1, 2)


def norm_layer(kind: Norm, channels: int, *, side: int) -> nn.Module:
    """Make a normalisation of maps (batch, channel, row, col).

    Parameters
    ----------
    kind
        ``"channel_ln"``: each pixel over its channels (`ChannelLayerNorm`). ``"full_ln"``: each map over channels and
        pixels, with a scale and shift for every one of them. ``"gn1"``: each map over channels and pixels, with a scale
        and shift per channel. ``"bn"``: each channel over the batch. ``"none"``: nothing.
    channels
        C.
    side
        Height and width of the map [pixel], which ``"full_ln"`` is made for.

    Examples
    --------
    >>> norm_layer("bn", 4, side=8)
    BatchNorm2d(4, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
    """
    if kind == "full_ln":
        return nn.LayerNorm([channels, side, side], eps=1e-6)
    if kind == "gn1":
        return nn.GroupNorm(1, channels)
    if kind == "bn":
        return nn.BatchNorm2d(channels)
    return ChannelLayerNorm(channels) if kind == "channel_ln" else nn.Identity()


def runs_compiled(x: Tensor, weight: Tensor) -> bool:
    """Tell whether compiled loops may compute on `x`: on a CPU, in single precision, and not while work is recorded.

    Parameters
    ----------
    x
        What a layer is given; less precise ones, of automatic mixed precision, are computed in single precision.
    weight
        A weight of the layer.

    Examples
    --------
    >>> weight = torch.zeros(2)
    >>> runs_compiled(torch.zeros(2), weight), runs_compiled(torch.zeros(2, device="meta"), weight)
    (True, False)
    """
    traced = torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
    recorded = traced or torch.compiler.is_compiling() or is_in_torch_dispatch_mode()
    single = weight.dtype == torch.float32 and x.dtype in (torch.float32, torch.bfloat16, torch.float16)
    return single and x.is_cpu and type(x) in (Tensor, nn.Parameter) and not recorded


def run_loops(name: str, *arguments: Any) -> None:
    """Run a compiled function ("module.name") on the memory of tensors on a CPU; outputs must be contiguous."""
    module, _, function = name.partition(".")
    loops = getattr(importlib.import_module(f"coslide.networks.{module}"), function)
    tensors_as_arrays = (one.detach().contiguous().numpy() if isinstance(one, Tensor) else one for one in arguments)
    loops(*tensors_as_arrays)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Run a network in evaluation mode and without gradients; every module then gets back the mode it had.

    Parameters
    ----------
    network
        Any module.

    Examples
    --------
    >>> net = nn.Dropout()
    >>> with evaluating(net):
    ...     net.training
    False
    >>> net.training
    True
    """
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def encode(stages: Iterable[nn.Module], x: Tensor, pool: nn.Module | None = None) -> list[Tensor]:
    """Compute the map of each stage, pooled between them; the last one is the deepest.

    Parameters
    ----------
    stages
        From full resolution down.
    x
        Shape (batch, channel, row, col).
    pool
        None where the stages themselves have strides.
    """
    maps: list[Tensor] = []
    for stage in stages:
        maps.append(stage(x if not maps else maps[-1] if pool is None else pool(maps[-1])))
    return maps


def decode(
    x: Tensor, skips: list[Tensor], ups: Iterable[nn.Module], units: Iterable[nn.Module], *, skip_first: bool = False
) -> Tensor:
    """Bring the deepest map back to full resolution; ``x = unit([up(x), skip])`` at each size.

    Parameters
    ----------
    x
        The deepest map, (batch, channel, row, col).
    skips
        The encoder's other maps, from full resolution down.
    ups, units
        What enlarges the map, and what joins it with the skip, from the deepest up.
    skip_first
        Append the map to the skip, instead of the skip to the map.
    """
    for skip, up, unit in zip(reversed(skips), ups, units, strict=True):
        x = unit(torch.cat([skip, up(x)] if skip_first else [up(x), skip], dim=1))
    return x


def to_windows(x: Tensor, side: int) -> Tensor:
    """Cut a map (batch, row, col, channel) into windows, row by row: (batch, window, pixel, channel).

    Parameters
    ----------
    x
        Its rows and columns are multiples of `side`.
    side
        Of a window [pixel].
    """
    batch, rows, cols, channels = x.shape
    windows = x.reshape(batch, rows // side, side, cols // side, side, channels).transpose(2, 3)
    return windows.reshape(batch, -1, side * side, channels)


def from_windows(windows: Tensor, rows: int, cols: int) -> Tensor:
    """Join the windows that `to_windows` cut from a map of rows x cols pixels: (batch, row, col, channel)."""
    pixels, channels = windows.shape[-2:]
    side = math.isqrt(pixels)
    tiled = windows.reshape(-1, rows // side, cols // side, side, side, channels)
    return tiled.transpose(2, 3).reshape(-1, rows, cols, channels)


def head_channels(channels: int, heads: int) -> int:
    """Divide channels among heads.

    Raises
    ------
    ValueError
        If they cannot be.
    """
    if channels % heads:
        raise ValueError(f"expected channels that are a multiple of heads, found {channels} and {heads}")
    return channels // heads


def units(*channels: int) -> nn.Sequential:
    """Make 3 x 3 units of convolution, batch normalisation and ReLU in a row, for the channels before and after each.

    Examples
    --------
    >>> units(3, 8, 4)(torch.zeros(1, 3, 5, 6)).shape
    torch.Size([1, 4, 5, 6])
    """
    return nn.Sequential(*(conv_norm_relu(found, made) for found, made in pairwise(channels)))


def conv_norm_relu(in_channels: int, out_channels: int, kernel: int = 3, *, dilation: int = 1) -> nn.Sequential:
    """Make a convolution, batch normalisation and ReLU, which keep the map's size.

    Parameters
    ----------
    in_channels, out_channels
        Channels in and out.
    kernel
        Side of the kernel [pixel], odd.
    dilation
        Distance between the pixels that the kernel multiplies.

    Examples
    --------
    >>> conv_norm_relu(3, 8)(torch.zeros(1, 3, 5, 6)).shape
    torch.Size([1, 8, 5, 6])
    """
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, padding=padding, dilation=dilation),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def beyond_measure(tensor: Tensor) -> bool:
    """Tell whether a tensor holds NaN, infinity, or what no network can compute with.

    Examples
    --------
    >>> beyond_measure(torch.tensor([0.0, 1e29])), beyond_measure(torch.tensor([0.0, -1e38]))
    (False, True)
    """
    return not bool((tensor.abs() < BEYOND_MEASURE).all())
