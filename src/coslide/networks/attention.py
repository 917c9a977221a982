"""EGCN with attention in place of the graph: in windows (Swin), or to a reduced map (SegFormer).

On a CPU, in float32 or automatic mixed precision, attention runs compiled (`coslide.networks.few_keys`).
"""

from collections.abc import Sequence
from itertools import cycle
from typing import Annotated, Any, cast

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from coslide.networks.base import from_windows, head_channels, run_loops, runs_compiled, to_windows
from coslide.networks.cgblock import CGBlock
from coslide.networks.unet import DEPTHS, UNetOfBlocks

Side = Annotated[int, Field(ge=2)]  # of a window [pixel]


class WindowAttention(nn.Module):
    r"""Multi-head self-attention within square windows, with a learned bias per offset (Swin's W-MSA and SW-MSA).

    For each head, with d = C / heads channels, and the pixels i, j of one window::

        q, k, v = Wqkv x + bqkv                                   Wqkv: Cin -> 3C, split into heads
        a_ij    = softmax_j(q_i . k_j / sqrt(d) + B[row_i - row_j, col_i - col_j])
        y_i     = Wproj concat_heads(sum_j a_ij v_j) + bproj      Wproj: C -> C

    The borders between windows lie at multiples of `window`, or `shift` further on.

    Parameters
    ----------
    in_channels
        Cin.
    out_channels
        C, a multiple of `heads`.
    heads
        Number of heads.
    window
        Side of the window [pixel].
    shift
        How far the windows' borders are moved along rows and columns [pixel], from 0 to window - 1.

    Raises
    ------
    ValueError
        If `out_channels` is not a multiple of `heads`.

    Notes
    -----
    Shapes: (batch, Cin, row, col) to (batch, C, row, col), for maps of any size. A window that reaches beyond the map
    has fewer pixels: what lies outside takes no part in the softmax, whether the map is smaller than a window, is not a
    multiple of it, or is cut by the shift. A side that is not longer than the window is not shifted, as it is one
    window already.

    `bias_table` has a row for each of the (2 window - 1)^2 offsets and a column per head. The bias of the keys (the
    middle third of ``qkv.bias``) adds the same to all scores of a query, so softmax cancels it: its gradient is zero
    but for rounding. It is kept because Swin has it.

    Initialisation as Swin's authors do: all weights and `bias_table` normal with standard deviation 0.02, other biases
    zero.

    Differs from Swin (Liu et al. 2021, arXiv:2103.14030): the window is 8, not 7, so that it divides the maps of a
    128 x 128 tile; Cin may differ from C; there is no multi-layer perceptron, inner norm or residual, which the block
    around it supplies. Much code derived from it pads maps that are no multiple of the window and lets pixels attend to
    the padding; here they do not.

    Examples
    --------
    >>> WindowAttention(3, 16, shift=4)(torch.zeros(1, 3, 16, 20)).shape
    torch.Size([1, 16, 16, 20])
    """

    def __init__(self, in_channels: int, out_channels: int, *, heads: int = 8, window: int = 8, shift: int = 0) -> None:
        super().__init__()
        head_channels(out_channels, heads)
        self.heads, self.window, self.shift = heads, window, shift
        self.qkv = nn.Linear(in_channels, 3 * out_channels)
        self.proj = nn.Linear(out_channels, out_channels)
        self.apply(_draw)
        self.bias_table = nn.Parameter(nn.init.trunc_normal_(torch.empty((2 * window - 1) ** 2, heads), std=0.02))

    def forward(self, x: Tensor) -> Tensor:
        """Compute what attention gives each pixel, shape (batch, C, row, col).

        Parameters
        ----------
        x
            Shape (batch, Cin, row, col), floating point.
        """
        size, side = (x.shape[-2], x.shape[-1]), self.window
        padding = (-size[0] % side, -size[1] % side)
        shifts = tuple(self.shift if length > side else 0 for length in size)
        x = F.pad(x, (0, padding[1], 0, padding[0])).permute(0, 2, 3, 1)
        x = x.roll((-shifts[0], -shifts[1]), (1, 2))  # so that the moved borders fall on multiples of the window
        bias = self._offset_bias()[None]
        if any((*padding, *shifts)):
            bias = bias.masked_fill(self._apart(size, padding, shifts), -torch.inf)
        windows = to_windows(x, side)
        q, k, v = self.qkv(windows).unflatten(-1, (3, self.heads, -1)).flatten(0, 1).unbind(2)
        attention = _attend if runs_compiled(x, self.bias_table) else _attention
        y = torch.unflatten(attention(q, k, v, bias).flatten(2), 0, (-1, windows.shape[1]))
        y = from_windows(y, *x.shape[1:3]).roll(shifts, (1, 2))
        out: Tensor = self.proj(y[:, : size[0], : size[1]]).permute(0, 3, 1, 2)
        return out

    def _offset_bias(self) -> Tensor:
        """Look up the bias of each pair of a window's pixels, shape (head, query, key)."""
        place = torch.arange(self.window**2, device=self.bias_table.device)
        row, col = place // self.window, place % self.window
        down, right = (one[:, None] - one + self.window - 1 for one in (row, col))
        return self.bias_table[down * (2 * self.window - 1) + right].permute(2, 0, 1).contiguous()

    def _apart(self, size: tuple[int, int], padding: tuple[int, ...], shifts: tuple[int, ...]) -> Tensor:
        """Find which pixels of each rolled window may not attend to each other, (window, 1, query, key).

        Rolling brings the first rows to the end of the last window, and padding fills it up. Rows in place (0), rolled
        round (1) and padded (2) are kept apart, and so are columns. Padding attends to padding, so that no softmax is
        empty; it is cut off afterwards.
        """
        kinds = []
        for length, pad, shift in zip(size, padding, shifts, strict=True):
            place = torch.arange(length + pad, device=self.bias_table.device)
            kinds.append(((place < shift) + 2 * (place >= length)).roll(-shift, 0))
        kind = to_windows((3 * kinds[0][:, None] + kinds[1])[None, :, :, None], self.window)[0, :, :, 0]
        return (kind[:, :, None] != kind[:, None, :])[:, None]


class EfficientSelfAttention(nn.Module):
    r"""Multi-head self-attention of every pixel to a reduced map (SegFormer's efficient self-attention).

    For each head, with d = C / heads channels, pixels i, and pixels j of the map reduced R times::

        z    = LN(conv_RxR,stride R(x))                    Cin -> Cin; z = x where R = 1
        q    = Wq x + bq,   k, v = Wkv z + bkv             Wq: Cin -> C, Wkv: Cin -> 2C, split into heads
        a_ij = softmax_j(q_i . k_j / sqrt(d))
        y_i  = Wproj concat_heads(sum_j a_ij v_j) + bproj  Wproj: C -> C

    Parameters
    ----------
    in_channels
        Cin.
    out_channels
        C, a multiple of `heads`.
    heads
        Number of heads.
    reduction
        R [pixel].

    Raises
    ------
    ValueError
        If `out_channels` is not a multiple of `heads`.

    Notes
    -----
    Shapes: (batch, Cin, row, col) to (batch, C, row, col); row and col must be multiples of R. With R = 1 there is
    neither convolution nor norm. Every pixel is compared with (row / R) (col / R) pixels. Positions are not encoded.

    The bias of the keys (the first half of ``kv.bias``) adds the same to all scores of a query, so softmax cancels it:
    its gradient is zero but for rounding. It is kept because SegFormer has it. With one input channel the norm leaves
    nothing of the map, and a reduction above 1 gives all of them the same value.

    Initialisation as SegFormer's authors do: linear weights normal with standard deviation 0.02, those of the
    convolution normal with variance 2 / (R^2 Cin), biases zero.

    Differs from SegFormer (Xie et al. 2021, arXiv:2105.15203): Cin may differ from C; there is no multi-layer
    perceptron, outer norm or residual, which the block around it supplies.

    Examples
    --------
    >>> EfficientSelfAttention(3, 16, reduction=4)(torch.zeros(1, 3, 16, 20)).shape
    torch.Size([1, 16, 16, 20])
    """

    def __init__(self, in_channels: int, out_channels: int, *, heads: int = 8, reduction: int) -> None:
        super().__init__()
        head_channels(out_channels, heads)
        self.heads, self.reduction = heads, reduction
        self.q = nn.Linear(in_channels, out_channels)
        self.kv = nn.Linear(in_channels, 2 * out_channels)
        self.proj = nn.Linear(out_channels, out_channels)
        smaller = reduction > 1
        self.reduce = nn.Conv2d(in_channels, in_channels, reduction, stride=reduction) if smaller else nn.Identity()
        self.norm = nn.LayerNorm(in_channels) if smaller else nn.Identity()
        self.apply(_draw)

    def forward(self, x: Tensor) -> Tensor:
        """Compute what attention gives each pixel, shape (batch, C, row, col).

        Parameters
        ----------
        x
            Shape (batch, Cin, row, col), floating point.
        """
        size = (x.shape[-2], x.shape[-1])
        reduced = self.norm(self.reduce(x).flatten(2).transpose(1, 2))
        q = self.q(x.flatten(2).transpose(1, 2)).unflatten(-1, (self.heads, -1))
        k, v = self.kv(reduced).unflatten(-1, (2, self.heads, -1)).unbind(2)
        attention = _attend if runs_compiled(x, self.q.weight) else _attention
        out: Tensor = self.proj(attention(q, k, v).flatten(2)).transpose(1, 2).unflatten(2, size)
        return out


class EGCNMSA(UNetOfBlocks):
    """EGCN with Swin's window attention in place of the graph ("patch MSA" of Yang et al. 2023, Table 7b).

    A U-Net of blocks ``y = alpha conv3x3(x) + beta WindowAttention(x)`` (`CGBlock`, `WindowAttention`), each followed
    by LN and GELU. Of the two blocks at each depth of the encoder, and of the decoder, the second has its windows
    shifted by half a window; so has the decoder's block at depth 5, which follows the encoder's.

    Parameters
    ----------
    bands, classes
        Bands of the input, classes of the output.
    width
        Channels at depth 1, a multiple of `heads`; 64 in the paper.
    heads, window
        Options of the attention, see `WindowAttention`.

    Raises
    ------
    ValueError
        If an option is outside its range, or `width` is not a multiple of `heads`.

    Notes
    -----
    Input (batch, bands, row, col), output logits (batch, classes, row, col); the sides must be multiples of 16. With
    the defaults there are 44,023,286 parameters. At depth 5 the map of a 128 x 128 tile is a single window, and that of
    a smaller one is less; see `WindowAttention` for windows that are not full.

    The windows start at the upper left corner of the input. A pixel's logits therefore depend on where it lies in the
    window, at depth 5 a window of 128 x 128 pixels.

    Differs from the paper (doi:10.3390/rs15040977), or decides what it leaves open: the paper names the method, not its
    settings. Here the branch, with its down- and up-sampling, is replaced as a whole, and the rest is as in EGCN.
    Windows of 8, so that depth 5 is one window and has the 64 pixels that the graph has nodes; 8 heads, as many as the
    graph.

    Examples
    --------
    >>> EGCNMSA(5, width=8)(torch.zeros(1, 5, 32, 48)).shape
    torch.Size([1, 2, 32, 48])
    """

    def __init__(
        self, bands: int = 30, *, classes: int = 2, width: PositiveInt = 64, heads: PositiveInt = 8, window: Side = 8
    ) -> None:
        shifts = cycle((0, window // 2))  # the frame asks for both blocks of a pair in turn

        def block(in_channels: int, out_channels: int, _depth: int) -> CGBlock:
            branch = WindowAttention(in_channels, out_channels, heads=heads, window=window, shift=next(shifts))
            return CGBlock(in_channels, out_channels, branch=branch)

        super().__init__(bands, block, classes=classes, width=width)


class EGCNESA(UNetOfBlocks):
    """EGCN with SegFormer's efficient self-attention in place of the graph ("ESA" of Yang et al. 2023, Table 7b).

    A U-Net of blocks ``y = alpha conv3x3(x) + beta EfficientSelfAttention(x)`` (`CGBlock`, `EfficientSelfAttention`),
    each followed by LN and GELU.

    Parameters
    ----------
    bands, classes
        Bands of the input, classes of the output.
    width
        Channels at depth 1, a multiple of `heads`; 64 in the paper.
    heads
        Heads of the attention.
    reductions
        How many times smaller the map is that pixels attend to, at depths 1 to 5 [pixel of that depth]. They must
        divide 16, 8, 4, 2 and 1, so that every input the network takes can be reduced.

    Raises
    ------
    ValueError
        If the reductions are not five such numbers, or `width` is not a multiple of `heads`.

    Notes
    -----
    Input (batch, bands, row, col), output logits (batch, classes, row, col); the sides must be multiples of 16. With
    the defaults there are 70,186,496 parameters, and 48,904,192 with ``reductions=(8, 4, 2, 1, 1)``.

    Differs from the paper (doi:10.3390/rs15040977), or decides what it leaves open: the paper names the method, not its
    settings. Here the branch, with its down- and up-sampling, is replaced as a whole, and the rest is as in EGCN. Each
    pixel of a 128 x 128 tile attends to 8 x 8 pixels at every depth, as many as the graph has nodes. SegFormer's own
    four reductions are 8, 4, 2, 1; the variant above repeats the last.

    Examples
    --------
    >>> EGCNESA(5, width=8)(torch.zeros(1, 5, 32, 48)).shape
    torch.Size([1, 2, 32, 48])
    """

    def __init__(
        self,
        bands: int = 30,
        *,
        classes: int = 2,
        width: PositiveInt = 64,
        heads: PositiveInt = 8,
        reductions: Sequence[PositiveInt] = (16, 8, 4, 2, 1),
    ) -> None:
        largest = [self.size_multiple >> level for level in range(DEPTHS)]
        fit = (r > 0 and most % r == 0 for most, r in zip(largest, reductions, strict=False))
        if len(reductions) != DEPTHS or not all(fit):
            raise ValueError(f"reductions: found {list(reductions)}, expected {DEPTHS} numbers that divide {largest}")

        def block(in_channels: int, out_channels: int, depth: int) -> CGBlock:
            branch = EfficientSelfAttention(in_channels, out_channels, heads=heads, reduction=reductions[depth - 1])
            return CGBlock(in_channels, out_channels, branch=branch)

        super().__init__(bands, block, classes=classes, width=width)


def _attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Average v for each query and head, weighted by the softmax of ``q . k / sqrt(d) + bias``.

    Parameters
    ----------
    q
        Shape (group, query, head, d).
    k, v
        Shape (group, key, head, d).
    bias
        Shape (part, head, query, key), for group g that of part g modulo parts.
    """
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    if bias is None:
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
    # Fused kernels take four axes. A bias that differs between windows is given one "head" per window and head.
    of_heads = bias.flatten(0, 1)
    queries, keys, values = (x.reshape(-1, len(of_heads), *x.shape[-2:]) for x in (q, k, v))
    out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=of_heads[None])
    return out.reshape(-1, *q.shape[1:]).transpose(1, 2)


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute what `_attention` does, on a CPU and in float32."""
    added = q.new_empty(0, 1, 1, 1) if bias is None else bias.transpose(2, 3)
    out: Tensor = _Attention.apply(*(x.float() for x in (q, k, v, added)))  # type: ignore[no-untyped-call]
    return out.to(q.dtype)


class _Attention(torch.autograd.Function):
    """`_attention` compiled, with a bias (part, head, key, query); nothing but its inputs is kept for the gradient."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        """Compute the weighted means."""
        ctx.save_for_backward(*inputs)
        out = torch.empty(inputs[0].shape)
        run_loops("few_keys.attend", out, *inputs)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        """Compute the gradients of queries, keys, values and bias."""
        found = tuple(torch.zeros(one.shape) for one in ctx.saved_tensors)
        run_loops("few_keys.attend_back", *found, grad, *ctx.saved_tensors)
        return found


def _draw(layer: nn.Module) -> None:
    """Draw the weights of a layer as the authors of Swin and SegFormer do, and set its biases to zero."""
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(layer, nn.Linear):
        nn.init.trunc_normal_(layer.weight, std=0.02)
    if isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.zeros_(cast("Tensor", layer.bias))
