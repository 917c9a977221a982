"""CGBlock: a 3 x 3 convolution and a graph branch, added with learned weights.

First the block as the paper draws it, in plain torch, for any device and precision. Then the same for a CPU, which
passes over memory less often and runs compiled where that gains most (`coslide.networks.kernels`).
"""

import copy
from itertools import pairwise
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from coslide.networks.base import run_loops, runs_compiled
from coslide.networks.eisgnn import EISGNN

UpMode = Literal["depthwise", "grouped", "full", "k2_chain", "nearest"]
DownMode = Literal["nearest", "avg"]


class CGBlock(nn.Module):
    r"""The block of EGCN: local texture by a convolution, relations between distant places by a second branch.

    ``y = alpha conv3x3(x) + beta branch(x)`` with learned scalars alpha and beta that start at 1 (Yang et al. 2023,
    Table 3, doi:10.3390/rs15040977).

    Parameters
    ----------
    in_channels
        Cin.
    out_channels
        C.
    branch
        A module from (batch, Cin, row, col) to (batch, C, row, col); `GraphBranch` in EGCN.

    Notes
    -----
    The convolution is padded with one pixel of zeros, so the size stays. On a CPU, in float32 or under automatic mixed
    precision, a block whose branch is a `GraphBranch` with `PatchUp` runs in the tuned form: alpha multiplies the
    kernel instead of the map, beta the patches, and the patches are added in place. Hooks on `convolution`, `branch`
    and its `up` do not run there.

    Examples
    --------
    >>> block = CGBlock(3, 8, branch=GraphBranch(EISGNN(3, 8), rate=4))
    >>> block(torch.zeros(1, 3, 16, 16)).shape
    torch.Size([1, 8, 16, 16])
    """

    def __init__(self, in_channels: int, out_channels: int, *, branch: nn.Module) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.branch = branch
        self.alpha = nn.Parameter(torch.ones(()))
        self.beta = nn.Parameter(torch.ones(()))
        self.folded = False  # alpha is part of the kernel already, see `fuse`

    def forward(self, x: Tensor) -> Tensor:
        """Compute the weighted sum of both branches, shape (batch, C, row, col).

        Parameters
        ----------
        x
            Shape (batch, Cin, row, col), floating point.
        """
        branch = self.branch
        if isinstance(branch, GraphBranch) and isinstance(branch.up, PatchUp) and runs_compiled(x, self.beta):
            return self._tuned(x, branch, branch.up)
        y = self.convolution(x)
        return torch.addcmul(y if self.folded else self.alpha * y, self.beta, branch(x))

    def _tuned(self, x: Tensor, branch: "GraphBranch", up: "PatchUp") -> Tensor:
        """Compute what `forward` does, in float32."""
        if branch.down_mode == "nearest":
            x, nodes = _TakeNodes.apply(x, branch.rate)  # type: ignore[no-untyped-call]
        else:
            nodes = branch.nodes(x)
        kernel, bias = self.convolution.weight, cast("Tensor", self.convolution.bias)
        if not self.folded:
            kernel, bias = self.alpha * kernel, self.alpha * bias
        y = F.conv2d(x, kernel, torch.addcmul(bias, self.beta, cast("Tensor", up.bias)), padding=1)
        y = y.float().contiguous(memory_format=torch.channels_last)
        grid = branch.eisgnn(nodes).unflatten(1, (y.shape[2] // branch.rate, -1))
        added: Tensor = _AddPatches.apply(y, grid, self.beta * up.patch)  # type: ignore[no-untyped-call]
        return added


class GraphBranch(nn.Module):
    """The graph branch of a CGBlock: every rate-th pixel is a node, and each node's result is spread over its patch.

    ``branch(x) = up(EISGNN(down(x)))``.

    Parameters
    ----------
    eisgnn
        The graph layer, from Cin to C channels.
    rate
        Distance between nodes [pixel]; a power of 2.
    up_mode
        ``"depthwise"``: a learned patch for each channel (`PatchUp`). ``"full"``: a deconvolution with kernel = stride
        = rate that mixes all channels; ``"grouped"``: one that mixes those of a head. ``"k2_chain"``: log2(rate) full
        deconvolutions with kernel = stride = 2. ``"nearest"``: each pixel of the patch gets the node's value; nothing
        is learned.
    down_mode
        ``"nearest"``: a node is the upper left pixel of its patch, and the others do not enter the graph. ``"avg"``:
        it is the mean of the patch.

    Notes
    -----
    Shapes: (batch, Cin, row, col) to (batch, C, row, col); row and col must be multiples of `rate`. Nodes run row by
    row.

    Examples
    --------
    >>> GraphBranch(EISGNN(3, 8), rate=4)(torch.zeros(1, 3, 16, 8)).shape
    torch.Size([1, 8, 16, 8])
    """

    def __init__(
        self, eisgnn: EISGNN, *, rate: int, up_mode: UpMode = "depthwise", down_mode: DownMode = "nearest"
    ) -> None:
        super().__init__()
        self.rate, self.down_mode = rate, down_mode
        self.eisgnn = eisgnn
        channels = eisgnn.out_channels
        self.up: nn.Module
        if up_mode == "depthwise":
            self.up = PatchUp(channels, rate)
        elif up_mode == "nearest":
            self.up = nn.Upsample(scale_factor=rate, mode="nearest")
        elif up_mode == "k2_chain":
            doubling = (nn.ConvTranspose2d(channels, channels, 2, stride=2) for _ in range(rate.bit_length() - 1))
            self.up = nn.Sequential(*doubling)
        else:
            groups = eisgnn.options.heads if up_mode == "grouped" else 1
            self.up = nn.ConvTranspose2d(channels, channels, rate, stride=rate, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """Compute what the graph adds to each pixel, shape (batch, C, row, col).

        Parameters
        ----------
        x
            Shape (batch, Cin, row, col), floating point.

        Raises
        ------
        ValueError
            If the map has a single node and the graph leaves out the node itself.
        """
        features = self.eisgnn(self.nodes(x))
        up: Tensor = self.up(features.transpose(-1, -2).unflatten(2, (x.shape[2] // self.rate, -1)))
        return up

    def nodes(self, x: Tensor) -> Tensor:
        """Take the nodes of a map, (batch, node, Cin).

        Parameters
        ----------
        x
            Shape (batch, Cin, row, col), floating point.
        """
        down = F.avg_pool2d(x, self.rate) if self.down_mode == "avg" else x[:, :, :: self.rate, :: self.rate]
        return down.permute(0, 2, 3, 1).flatten(1, 2)


class PatchUp(nn.ConvTranspose2d):
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
    Shapes: (batch, C, h, w) to (batch, C, rate h, rate w). The patches do not overlap, so the deconvolution is one
    broadcast product, which is computed several times faster than the general one.

    Examples
    --------
    >>> up = PatchUp(1, 2)
    >>> _ = up.load_state_dict({"weight": torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), "bias": torch.zeros(1)})
    >>> up(torch.tensor([[[[1.0, 10.0]]]]))[0, 0].tolist()
    [[1.0, 2.0, 10.0, 20.0], [3.0, 4.0, 30.0, 40.0]]
    """

    def __init__(self, channels: int, rate: int) -> None:
        super().__init__(channels, channels, rate, stride=rate, groups=channels)

    @property
    def patch(self) -> Tensor:
        """The weight with the channels last, (rate, rate, C)."""
        return self.weight.squeeze(1).permute(1, 2, 0)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Compute the map at `rate` times the size, shape (batch, C, rate h, rate w), channels last in memory.

        Parameters
        ----------
        x
            Shape (batch, C, h, w), floating point.
        output_size
            Not used.
        """
        patches = x.permute(0, 2, 3, 1)[:, :, None, :, None] * self.patch[:, None]  # (batch, i, u, j, v, C)
        up = patches.flatten(3, 4).flatten(1, 2) + cast("Tensor", self.bias)
        return up.permute(0, 3, 1, 2)


@torch.no_grad()
def fuse(network: nn.Module) -> nn.Module:
    """Copy a network, in evaluation mode, so that it gives the same logits with less work.

    alpha of every CGBlock is multiplied into its kernel once instead of at every call, and a batch normalisation that
    follows a convolution is folded into it.

    Parameters
    ----------
    network
        Any network; it is not changed.

    Notes
    -----
    Equal up to rounding: sums are taken in another order. The copy's parameters need no gradient and its state dict is
    not that of the original; train, save and explain the original.

    Examples
    --------
    >>> from coslide import networks
    >>> net = networks.create("egcn", bands=4, width=8).eval()
    >>> x = torch.randn(1, 4, 32, 32)
    >>> bool((fuse(net)(x) - net(x)).abs().max() < 1e-5)
    True
    """
    fused = copy.deepcopy(network).eval().requires_grad_(False)
    for module in fused.modules():
        if isinstance(module, CGBlock):
            for values in module.convolution.parameters():
                values.mul_(module.alpha)
            del module.alpha  # so that weights of the original, in which it is not folded, cannot be loaded by mistake
            module.folded = True
        elif isinstance(module, nn.Sequential):
            for number, (convolution, norm) in enumerate(pairwise(list(module))):
                if type(convolution) is nn.Conv2d and isinstance(norm, nn.BatchNorm2d):
                    module[number], module[number + 1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()
    return fused


class _TakeNodes(torch.autograd.Function):
    """A map and every rate-th pixel of it as nodes, (batch, node, channel).

    The gradient of the nodes is added in place to that of the returned map, rather than to a map of zeros. The map must
    therefore go to one consumer whose backward pass makes its gradient anew, such as a convolution.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, rate: int) -> tuple[Tensor, Tensor]:
        """Take the nodes."""
        ctx.rate = rate
        return x.view_as(x), x[:, :, ::rate, ::rate].permute(0, 2, 3, 1).flatten(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, of_nodes: Tensor) -> tuple[Tensor, None]:
        """Compute the gradient of the map from those of both results."""
        at_nodes = grad[:, :, :: ctx.rate, :: ctx.rate].permute(0, 2, 3, 1)
        at_nodes.add_(of_nodes.view(at_nodes.shape))
        return grad, None


class _AddPatches(torch.autograd.Function):
    """``y[b, c, rate i + u, rate j + v] + nodes[b, i, j, c] patch[u, v, c]``, written over y, channels last."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, nodes: Tensor, patch: Tensor) -> Tensor:
        """Add the patches."""
        rate = len(patch)
        nodes, patch = nodes.flatten(0, 1).unsqueeze(2).expand(-1, -1, rate, -1).flatten(2), patch.flatten(1)
        run_loops("kernels.add_patches", _rows_of_patches(y, rate), nodes, patch)
        ctx.mark_dirty(y)
        ctx.save_for_backward(nodes, patch)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the gradients of map, nodes and patch."""
        nodes, patch = ctx.saved_tensors
        rate, of_nodes, of_patch = len(patch), torch.zeros_like(nodes), torch.zeros_like(patch)
        grad = grad.contiguous(memory_format=torch.channels_last)
        run_loops("kernels.add_patches_back", of_nodes, of_patch, _rows_of_patches(grad, rate), nodes, patch)
        of_nodes = of_nodes.view(len(grad), -1, nodes.shape[1], rate, grad.shape[1]).sum(dim=3)
        return grad, of_nodes, of_patch.view(rate, rate, -1)


def _rows_of_patches(x: Tensor, rate: int) -> Tensor:
    """View maps, channels last in memory, as (batch and i, u, j, v and channel), row = rate i + u, col = rate j + v."""
    return x.permute(0, 2, 3, 1).view(-1, rate, x.shape[3] // rate, rate * x.shape[1])
