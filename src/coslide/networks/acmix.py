"""ACmix: attention to the 7 x 7 pixels around each pixel, beside a convolution of the same projections; its U-Net.

The attention stands in plain torch, for any device and precision. On a CPU it runs compiled
(`coslide.networks.neighbourhood`), on a quarter of the pairs.
"""

import math
from functools import partial
from typing import Any

import torch
from pydantic import FiniteFloat, PositiveInt
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from coslide.networks.base import from_windows, head_channels, run_loops, runs_compiled, to_windows
from coslide.networks.unet import UNetOfBlocks

KERNEL = 7
"""Side of the neighbourhood in the original [pixel], and the only one that runs compiled."""

_WINDOW = 8  # side of the windows that share their keys [pixel]; 4 and 16 took longer to train on a CPU


def neighbourhood_attention(q: Tensor, k: Tensor, v: Tensor, *, heads: int, kernel: int) -> Tensor:
    r"""Average v around each pixel, for each head, weighted by the softmax of ``q . k / sqrt(d)``.

    The d = C / heads channels of a head at pixel p attend to the kernel x kernel pixels n around p::

        out_p = sum_n w_pn v_n      w_pn = softmax_n (q_p . k_n / sqrt(d))

    Parameters
    ----------
    q, k, v
        Queries, keys and values, each (batch, C, row, col), floating point; the channels of a head are consecutive.
    heads
        Number of heads, a divisor of C.
    kernel
        Side of the neighbourhood [pixel], odd.

    Returns
    -------
    Tensor
        Shape (batch, C, row, col), in channels-last memory order.

    Notes
    -----
    Beyond its border the map is mirrored about its outermost pixels, as often as it takes (NumPy's "reflect"), so a map
    may be smaller than the neighbourhood.

    The weights of all neighbours would take kernel^2 times the memory of a one-channel map per head, and a loop over
    the neighbours reads and writes whole maps for little arithmetic. So the map is cut into windows of 8 x 8 pixels.
    The queries of a window attend to its pixels and to a rim of ``kernel // 2`` around them, and a mask hides the keys
    that are too far from a query. That is 4 times the products for a kernel of 7, but as products of matrices, and
    PyTorch's fused attention keeps none of the weights for the backward pass.

    Examples
    --------
    >>> ramp = torch.arange(5.0).view(1, 1, 1, 5)
    >>> same = torch.zeros(1, 1, 1, 5)  # equal logits: the mean of the mirrored ramp 1 [0 1 2 3 4] 3
    >>> neighbourhood_attention(same, same, ramp, heads=1, kernel=3).flatten().tolist()
    [0.67, 1.00, 2.00, 3.00, 3.33]
    """
    batch, channels, height, width = q.shape
    rim, padding = kernel // 2, (0, -width % _WINDOW, 0, -height % _WINDOW)
    padded = (F.pad(q, padding) if any(padding) else q).permute(0, 2, 3, 1)
    pixels = _window_pixels(height, width, rim=rim, device=q.device)

    def by_head(windows: Tensor) -> Tensor:  # (batch * window, head, pixel, d)
        return windows.reshape(-1, windows.shape[-2], heads, channels // heads).transpose(1, 2)

    def take(x: Tensor) -> Tensor:  # the pixels of each window and its rim
        found = x.permute(0, 2, 3, 1).reshape(batch, height * width, channels).index_select(1, pixels.flatten())
        return by_head(found.view(batch, *pixels.shape, channels))

    queries = by_head(to_windows(padded, _WINDOW))
    out = F.scaled_dot_product_attention(queries, take(k), take(v), attn_mask=_near(rim, device=q.device))
    windows = out.transpose(1, 2).reshape(batch, -1, _WINDOW**2, channels)
    return from_windows(windows, *padded.shape[1:3])[:, :height, :width].permute(0, 3, 1, 2)


class ACmix(nn.Module):
    r"""Self-attention and convolution that share their projections, added with learned weights (Pan et al. 2022).

    With H heads of d = C / H channels::

        q, k, v = projections of x: 1 x 1 convolutions Cin -> C
        e       = 1 x 1 convolution 2 -> d of the pixel's coordinates (x, y), each from -1 to 1 over the map
        att_p   = sum_n softmax_n( q_p . (k_n + e_p - e_n) / sqrt(d) ) v_n    per head, n in the 7 x 7 around p
        f_i     = sum_j mixing_ij [q || k || v]_j                             j: the 3 H heads, i = 1..9; per channel
        conv    = 3 x 3 convolution of the nine f_i of each of the d channels to the H channels of its group
        y       = attention_rate att + convolution_rate conv

    The 3 x 3 convolution starts as nine shifts (f_i is taken at row i // 3 - 1, column i % 3 - 1 from the pixel, i from
    0) and is learned from there.

    Parameters
    ----------
    in_channels
        Cin.
    out_channels
        C, a multiple of `heads`.
    heads
        H.
    kernel
        Side of the neighbourhood [pixel], odd; 7 in the original.
    attention_rate, convolution_rate
        What the learned scalars start at.

    Raises
    ------
    ValueError
        If `out_channels` is not a multiple of `heads`.

    Notes
    -----
    Shapes: (batch, Cin, row, col) to (batch, C, row, col), of any size. Parameters: 3 (Cin C + C) + 3 d + 27 H + 81 C
    + 2. Attention mirrors the map at its border (`neighbourhood_attention`); the convolution sees zeros there.

    On a CPU, in float32 or under automatic mixed precision, the attention runs compiled in single precision where the
    kernel is 7; it has first derivatives only, and a call uses one thread, however many torch may use.

    What is computed is the above with less work; the results are the same up to rounding:

    - q_p . e_p is the same for all neighbours n and cancels in the softmax. So the logits are q_p . (k_n - e_n), and e
      is subtracted from k once rather than from each of 49 neighbours.
    - The bias of e cancels in the same way: it has no influence, and its gradient is zero. It is kept because the
      original has it, as part of the number of parameters. Its gradient is computed as an exact zero, since an
      optimiser that divides by the gradient's size, like Adam, would enlarge what rounding leaves.
    - mixing and the 3 x 3 convolution are linear, so one grouped 3 x 3 convolution with their product does both.

    Differs from the authors' code (github.com/LeapLabTHU/ACmix, the ResNet form): the rates start at 1, as Yang et al.
    (2023, doi:10.3390/rs15040977) say, instead of 0.5, and maps smaller than 4 x 4 are mirrored repeatedly instead of
    refused. As there, the 3 x 3 convolution has no bias, its group g gives the channels g H to g H + H - 1 while a head
    of the attention has d consecutive ones, and coordinates depend on the map's size, so a map and a part of it differ.

    Source: Pan et al. 2022, "On the Integration of Self-Attention and Convolution", CVPR, arXiv:2111.14556.

    Examples
    --------
    >>> ACmix(3, 8)(torch.zeros(2, 3, 16, 20)).shape
    torch.Size([2, 8, 16, 20])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        heads: int = 4,
        kernel: int = KERNEL,
        attention_rate: float = 1.0,
        convolution_rate: float = 1.0,
    ) -> None:
        super().__init__()
        self.out_channels, self.heads, self.kernel = out_channels, heads, kernel
        self.projections = nn.Conv2d(in_channels, 3 * out_channels, 1)  # of q, k and v, in this order
        self.position = nn.Linear(2, head_channels(out_channels, heads))
        self.mixing = nn.Parameter(torch.empty(9, 3 * heads))
        self.shifts = nn.Parameter(torch.empty(out_channels, 9, 3, 3))
        self.attention_rate = nn.Parameter(torch.full((), float(attention_rate)))
        self.convolution_rate = nn.Parameter(torch.full((), float(convolution_rate)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw projections, position and mixing as PyTorch draws convolutions, and set the shifts."""
        self.projections.reset_parameters()
        self.position.reset_parameters()
        nn.init.kaiming_uniform_(self.mixing, a=math.sqrt(5))
        with torch.no_grad():
            self.shifts.copy_(torch.eye(9).view(9, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Compute the weighted sum of attention and convolution, shape (batch, C, row, col).

        Parameters
        ----------
        x
            Shape (batch, Cin, row, col), floating point.
        """
        projected = self.projections(x)
        q, k, v = projected.chunk(3, dim=1)
        k = k - self._positions(*x.shape[-2:])
        if self.kernel == KERNEL and runs_compiled(x, self.shifts):
            attention = _attend(q, k, v, heads=self.heads)
        else:
            attention = neighbourhood_attention(q, k, v, heads=self.heads, kernel=self.kernel)
        y: Tensor = self.attention_rate * attention + self.convolution_rate * self._convolution(projected)
        return y

    def _positions(self, height: int, width: int) -> Tensor:
        """Compute e for every head, (C, row, col), in channels-last memory order; its bias is multiplied by zero."""
        weight = self.position.weight
        x, y = (torch.linspace(-1, 1, side, device=weight.device, dtype=weight.dtype) for side in (width, height))
        e = F.linear(torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1), weight) + 0 * self.position.bias
        return e.repeat(1, 1, self.heads).permute(2, 0, 1)

    def _convolution(self, projected: Tensor) -> Tensor:
        """Apply mixing and 3 x 3 convolution to projections (batch, 3 C, row, col), shape (batch, C, row, col)."""
        groups = self.out_channels // self.heads
        weight = torch.einsum("oirc,ij->ojrc", self.shifts, self.mixing)
        rows = torch.unflatten(projected.permute(0, 2, 3, 1), -1, (3 * self.heads, groups))
        by_group = rows.transpose(-1, -2).flatten(-2).permute(0, 3, 1, 2)
        return F.conv2d(by_group, weight, padding=1, groups=groups)


class AcmixUnet(UNetOfBlocks):
    """A U-Net of ACmix layers: the network with which Yang et al. (2023) compare their graph.

    EGCN's frame (`coslide.networks.unet.UNetOfBlocks`), with an ACmix layer in place of each of its 18 CGBlocks:
    ``f = GELU(LN(ACmix(x)))``.

    Parameters
    ----------
    bands
        Bands of the input.
    classes
        Classes of the output: 0 background, 1 landslide.
    width
        Channels at depth 1, a multiple of `heads`.
    heads
        Heads of every layer.
    attention_rate, convolution_rate
        What the two learned weights of every layer start at.

    Raises
    ------
    ValueError
        If `width` is not a multiple of `heads`.

    Notes
    -----
    Input (batch, bands, row, col), output logits (batch, classes, row, col); the sides must be multiples of 16. With
    the defaults there are 12,717,502 parameters (12,717,238 with 8 heads).

    The coordinates of the positional term run from -1 to 1 over whatever map is given, so the network is best applied
    to tiles of the size it was trained with.

    Differs from the paper (doi:10.3390/rs15040977), which gives only the layers' place and their initial rates, 1: the
    layer is ACmix's own ResNet form with its defaults, 7 x 7 neighbourhoods and 4 heads (see `ACmix`). The paper calls
    AcmixUnet larger than EGCN. With the grouped convolution of ACmix's authors it is a third of EGCN's size; 82.9
    million parameters result where that convolution is counted, or built, without groups.

    Examples
    --------
    >>> AcmixUnet(5, width=8)(torch.zeros(1, 5, 32, 48)).shape
    torch.Size([1, 2, 32, 48])
    """

    def __init__(
        self,
        bands: int = 30,
        *,
        classes: int = 2,
        width: PositiveInt = 64,
        heads: PositiveInt = 4,
        attention_rate: FiniteFloat = 1.0,
        convolution_rate: FiniteFloat = 1.0,
    ) -> None:
        layer = partial(ACmix, heads=heads, attention_rate=attention_rate, convolution_rate=convolution_rate)
        super().__init__(bands, lambda cin, cout, _depth: layer(cin, cout), classes=classes, width=width)


def _window_pixels(height: int, width: int, *, rim: int, device: torch.device) -> Tensor:
    """Find the pixels of every window and its rim, as row * width + col mirrored into the map, (window, pixel)."""
    inside = torch.arange(-rim, _WINDOW + rim, device=device)

    def lines(size: int) -> Tensor:
        return _mirrored(torch.arange(0, size, _WINDOW, device=device).unsqueeze(1) + inside, size)

    pixels = lines(height).view(-1, 1, len(inside), 1) * width + lines(width).view(1, -1, 1, len(inside))
    return pixels.flatten(0, 1).flatten(1)


def _mirrored(places: Tensor, size: int) -> Tensor:
    """Find the rows, or columns, of a map of `size` that are seen at places in and beyond it."""
    return size - 1 - (places.remainder(max(2 * (size - 1), 1)) - (size - 1)).abs()


def _near(rim: int, *, device: torch.device) -> Tensor:
    """Tell whether a key of a window and its rim is at most `rim` rows and columns from a query, (query, key)."""
    query = torch.arange(_WINDOW, device=device).unsqueeze(1) + rim
    near = (torch.arange(_WINDOW + 2 * rim, device=device) - query).abs() <= rim  # along one axis
    both = near.view(_WINDOW, 1, -1, 1) & near.view(1, _WINDOW, 1, -1)
    return both.flatten(0, 1).flatten(1)


def _attend(q: Tensor, k: Tensor, v: Tensor, *, heads: int) -> Tensor:
    """Compute what `neighbourhood_attention` does with a kernel of 7, on a CPU and in float32."""
    attended: Tensor = _Attention.apply(heads, q.float(), k.float(), v.float())  # type: ignore[no-untyped-call]
    return attended.to(q.dtype)


class _Attention(torch.autograd.Function):
    """`neighbourhood_attention` compiled; nothing but its inputs is kept for the gradient."""

    @staticmethod
    def forward(ctx: Any, heads: int, *inputs: Tensor) -> Tensor:
        """Compute the weighted means."""
        ctx.heads = heads
        ctx.save_for_backward(*inputs)
        out = torch.zeros_like(inputs[0], memory_format=torch.channels_last)
        run_loops("neighbourhood.attend", *_by_head((out, *inputs), heads), *_rim_of(out))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Compute the gradients of queries, keys and values."""
        inputs = ctx.saved_tensors
        of_inputs = [torch.zeros_like(one, memory_format=torch.channels_last) for one in inputs]
        by_head = _by_head((*of_inputs, grad, *inputs), ctx.heads)
        run_loops("neighbourhood.attend_back", *by_head, *_rim_of(grad))
        return None, *of_inputs


def _by_head(maps: tuple[Tensor, ...], heads: int) -> list[Tensor]:
    """View maps as (batch, row, col, head, d)."""
    return [torch.unflatten(x.permute(0, 2, 3, 1), 3, (heads, -1)) for x in maps]


def _rim_of(x: Tensor) -> list[Tensor]:
    """Find the rows and columns that are seen in a map and in the rim of 3 around it."""
    return [_mirrored(torch.arange(-(KERNEL // 2), size + KERNEL // 2), size) for size in x.shape[2:]]
