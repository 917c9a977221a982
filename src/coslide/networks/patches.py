"""Between pixels and patches: nodes taken out of a map, and patches of values added to it.

A node stands for a patch of rate x rate pixels. Both directions touch every pixel of full-resolution maps, so they are
written to pass over memory once; their gradients likewise (on CPUs compiled, `coslide.networks.node_kernel`).
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from coslide.networks.base import may_run_compiled


def take_nodes(x: Tensor, rate: int) -> tuple[Tensor, Tensor]:
    """Return `x`, to be used instead of it from here on, and every rate-th pixel of it as nodes.

    Parameters
    ----------
    x
        Map, shape (batch, channel, row, col).
    rate
        Distance between nodes [pixel]; it divides row and col.

    Returns
    -------
    tuple of Tensor
        The map, and (batch, node, channel), row by row: the upper left pixel of each patch.

    Notes
    -----
    In training, the gradient of the nodes is added in place to that of the returned map. The map must therefore go to
    one consumer whose backward pass makes its gradient anew, such as a convolution.

    Examples
    --------
    >>> _, nodes = take_nodes(torch.arange(16.0).view(1, 1, 4, 4), 2)
    >>> nodes.flatten().tolist()
    [0.0, 2.0, 8.0, 10.0]
    """
    if torch.is_grad_enabled() and x.requires_grad:
        both: tuple[Tensor, Tensor] = _TakeNodes.apply(x, rate)  # type: ignore[no-untyped-call]
        return both
    return x, _nodes(x, rate)


def add_patches(y: Tensor, nodes: Tensor, patch: Tensor) -> Tensor:
    """Return ``y[b, c, rate i + u, rate j + v] + nodes[b, i, j, c] patch[u, v, c]``, written over `y`.

    Parameters
    ----------
    y
        Map, shape (batch, channel, row, col); its values are lost.
    nodes
        Shape (batch, row / rate, col / rate, channel).
    patch
        Shape (rate, rate, channel).

    Examples
    --------
    >>> patch = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).unsqueeze(-1)
    >>> add_patches(torch.zeros(1, 1, 2, 4), torch.tensor([1.0, 10.0]).view(1, 1, 2, 1), patch)[0, 0].tolist()
    [[1.0, 2.0, 10.0, 20.0], [3.0, 4.0, 30.0, 40.0]]
    """
    y = y.contiguous(memory_format=torch.channels_last)
    # Automatic mixed precision gives each its own type; nodes that lie apart in memory would slow the sum down.
    nodes, patch = nodes.to(y.dtype).contiguous(), patch.to(y.dtype).contiguous()
    if torch.is_grad_enabled() and (y.requires_grad or nodes.requires_grad or patch.requires_grad):
        added: Tensor = _AddPatches.apply(y, nodes, patch)  # type: ignore[no-untyped-call]
        return added
    return _add_in_place(y, nodes, patch)


class PatchUp(nn.Module):
    r"""Up-sampling by a learned rate x rate patch per channel: a depthwise deconvolution with stride = kernel = rate.

    ``y[c, rate i + u, rate j + v] = x[c, i, j] weight[c, 0, u, v] + bias[c]``. Each input pixel fills its own patch and
    no other.

    Parameters
    ----------
    channels
        C.
    rate
        Side of the patch [pixel].

    Notes
    -----
    Shapes: (batch, C, h, w) to (batch, C, rate h, rate w). `weight` (C, 1, rate, rate) and `bias` (C) are those of
    ``nn.ConvTranspose2d(C, C, rate, stride=rate, groups=C)``, with its initialisation. The patches do not overlap, so
    the deconvolution is one broadcast product, which a CPU computes several times faster than the general one.

    Examples
    --------
    >>> up = PatchUp(1, 2)
    >>> _ = up.load_state_dict({"weight": torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), "bias": torch.zeros(1)})
    >>> up(torch.tensor([[[[1.0, 10.0]]]]))[0, 0].tolist()
    [[1.0, 2.0, 10.0, 20.0], [3.0, 4.0, 30.0, 40.0]]
    """

    def __init__(self, channels: int, rate: int) -> None:
        super().__init__()
        self.channels, self.rate = channels, rate
        self.weight = nn.Parameter(torch.empty(channels, 1, rate, rate))
        self.bias = nn.Parameter(torch.empty(channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew, uniform within 1 / rate, as nn.ConvTranspose2d does."""
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        nn.init.uniform_(self.bias, -1 / self.rate, 1 / self.rate)

    @property
    def patch(self) -> Tensor:
        """Return the weight as `add_patches` takes it, (rate, rate, C)."""
        return self.weight.permute(1, 2, 3, 0).squeeze(0)

    def forward(self, x: Tensor) -> Tensor:
        """Return the map at `rate` times the size, shape (batch, C, rate h, rate w).

        Parameters
        ----------
        x
            Shape (batch, C, h, w), floating point.
        """
        batch, channels, height, width = x.shape
        size = (batch, channels, height * self.rate, width * self.rate)
        bias = self.bias.to(x.dtype).view(1, -1, 1, 1).expand(size)
        return add_patches(bias.clone(memory_format=torch.channels_last), x.permute(0, 2, 3, 1), self.patch)


def _nodes(x: Tensor, rate: int) -> Tensor:
    return x[:, :, ::rate, ::rate].permute(0, 2, 3, 1).flatten(1, 2)


def _by_patch(y: Tensor, rate: int) -> Tensor:
    """Return a channels-last map (batch, C, row, col) as a view (batch, i, u, j, v, C), row = rate i + u."""
    batch, channels, height, width = y.shape
    return y.permute(0, 2, 3, 1).view(batch, height // rate, rate, width // rate, rate, channels)


def _add_in_place(y: Tensor, nodes: Tensor, patch: Tensor) -> Tensor:
    if y.dtype == torch.float32 and may_run_compiled(y):
        from coslide.networks import node_kernel

        node_kernel.add_patches(y, nodes, patch)
        return y
    _by_patch(y, len(patch)).addcmul_(nodes[:, :, None, :, None], patch[:, None])
    return y


class _TakeNodes(torch.autograd.Function):
    """`take_nodes` with a gradient that needs no map of zeros around the nodes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rate: int) -> tuple[Tensor, Tensor]:
        """Return the map and its nodes."""
        ctx.rate, ctx.shape = rate, x.shape
        ctx.set_materialize_grads(False)
        return x.view_as(x), _nodes(x, rate)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_map: Tensor | None, of_nodes: Tensor | None) -> tuple[Tensor | None, None]:
        """Return the gradient of the map, from those of both results."""
        if of_nodes is None:
            return of_map, None
        if of_map is None:
            of_map = of_nodes.new_zeros(ctx.shape)
        at_nodes = of_map[:, :, :: ctx.rate, :: ctx.rate].permute(0, 2, 3, 1)
        at_nodes.add_(of_nodes.view(at_nodes.shape))
        return of_map, None


class _AddPatches(torch.autograd.Function):
    """`add_patches`, with a gradient that makes no map of products for the whole batch."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, nodes: Tensor, patch: Tensor) -> Tensor:
        """Return the sum, written over `y`."""
        ctx.mark_dirty(y)
        ctx.save_for_backward(nodes, patch)
        return _add_in_place(y, nodes, patch)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of map, nodes and patch."""
        nodes, patch = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        if grad.dtype == torch.float32 and may_run_compiled(grad):
            from coslide.networks import node_kernel

            return grad, *node_kernel.patch_gradients(grad, nodes, patch)
        of_patch = torch.zeros_like(patch)
        for one, node in zip(_by_patch(grad, len(patch)), nodes, strict=True):
            of_patch += (one * node[:, None, :, None]).sum(dim=0).sum(dim=1)
        kernel = patch.permute(2, 0, 1).unsqueeze(1)
        of_nodes = F.conv2d(grad, kernel, stride=len(patch), groups=len(kernel)).permute(0, 2, 3, 1)
        return grad, of_nodes, of_patch
