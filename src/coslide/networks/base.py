"""What every network has in common: the sizes it takes, the memory order it computes in, its norms and activations."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

Norm = Literal["channel_ln", "full_ln", "gn1", "bn", "none"]
Activation = Literal["relu", "gelu"]


class Network(nn.Module):
    """A network from standardised indices to the logits of each class; subclasses say how in `logits`.

    Attributes
    ----------
    size_multiple
        The height and the width of the input must be multiples of it [pixel].

    Examples
    --------
    >>> class Pixelwise(Network):
    ...     size_multiple = 2
    ...     def logits(self, x):
    ...         return x[:, :2]
    >>> Pixelwise()(torch.zeros(1, 3, 4, 5))
    Traceback (most recent call last):
        ...
    ValueError: expected a height and width that are multiples of 2, found (4, 5)
    """

    size_multiple: int = 1

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of each class, shape (batch, class, row, col), unit free.

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
        return self.logits(x.contiguous(memory_format=torch.channels_last))  # up to three times faster so on a CPU

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits of an input whose size fits, shape (batch, class, row, col).

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
        """Return the normalised map, shape (batch, C, row, col), unit free.

        Parameters
        ----------
        x
            Shape (batch, C, row, col), floating point.
        """
        channels_last = x.permute(0, 2, 3, 1)
        return F.layer_norm(channels_last, self.weight.shape, self.weight, self.bias, self.eps).permute(0, 3, 1, 2)


def norm_layer(kind: Norm, channels: int, *, side: int | None = None) -> nn.Module:
    """Return a new normalisation of maps (batch, channel, row, col).

    Parameters
    ----------
    kind
        ``"channel_ln"``: each pixel over its channels (`ChannelLayerNorm`). ``"full_ln"``: each map over channels and
        pixels, with a scale and shift for every one of them. ``"gn1"``: each map over channels and pixels, with a scale
        and shift per channel. ``"bn"``: each channel over the batch. ``"none"``: nothing.
    channels
        C.
    side
        Height and width of the map [pixel], which ``"full_ln"`` must know.

    Raises
    ------
    ValueError
        If there is no such kind, or ``"full_ln"`` is not told the side.

    Examples
    --------
    >>> norm_layer("bn", 4)
    BatchNorm2d(4, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
    """
    if kind == "channel_ln":
        return ChannelLayerNorm(channels)
    if kind == "full_ln" and side is not None:
        return nn.LayerNorm([channels, side, side], eps=1e-6)
    if kind == "gn1":
        return nn.GroupNorm(1, channels)
    if kind == "bn":
        return nn.BatchNorm2d(channels)
    if kind == "none":
        return nn.Identity()
    check_choice("norm", kind, Norm)
    raise ValueError("norm full_ln: found no side; expected that of the map")


def activation_layer(kind: Activation) -> nn.Module:
    """Return a new activation, ``"relu"`` or ``"gelu"``.

    Raises
    ------
    ValueError
        If there is no such kind.

    Examples
    --------
    >>> activation_layer("gelu")
    GELU(approximate='none')
    """
    check_choice("activation", kind, Activation)
    return nn.GELU() if kind == "gelu" else nn.ReLU()


def check_choice(option: str, found: str, words: object) -> None:
    """Return nothing if `found` is one of `words`, a Literal.

    Raises
    ------
    ValueError
        If not, with the name of the option and the words there are.

    Examples
    --------
    >>> check_choice("norm", "ln", Literal["bn", "none"])
    Traceback (most recent call last):
        ...
    ValueError: norm: found 'ln'; expected one of bn, none
    """
    if found not in get_args(words):
        raise ValueError(f"{option}: found {found!r}; expected one of {', '.join(get_args(words))}")


def may_run_compiled(x: Tensor) -> bool:
    """Tell whether a compiled loop may read `x`: on a CPU, and not while a program is made of it or work is counted.

    Parameters
    ----------
    x
        Any tensor.

    Examples
    --------
    >>> may_run_compiled(torch.zeros(2)), may_run_compiled(torch.zeros(2, device="meta"))
    (True, False)
    """
    traced = torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
    recorded = traced or torch.compiler.is_compiling() or is_in_torch_dispatch_mode()
    return x.is_cpu and type(x) in (Tensor, nn.Parameter) and not recorded


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


def conv_norm_relu(in_channels: int, out_channels: int, kernel: int = 3, *, dilation: int = 1) -> nn.Sequential:
    """Return convolution, batch normalisation and ReLU, which keep the map's size.

    Parameters
    ----------
    in_channels, out_channels
        Channels in and out.
    kernel
        Side of the kernel [pixel], odd.
    dilation
        Distance between the kernel's cells [pixel].

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
