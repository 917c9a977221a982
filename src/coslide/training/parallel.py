"""A batch shared by threads: each computes the gradients of some of its tiles with one of torch's threads.

Operations of a network of 16 channels are too small for two cores to share. With two threads inside each operation, a
training step takes longer than with one as soon as another program runs; two halves of a batch in two Python threads,
with one of torch's each, have nothing to wait for.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from coslide.networks.precision import mixed_precision, one_thread

TILES_PER_PART = 2  # of one, the convolutions of the lower depths take a third longer; of two, a twentieth


def parts_of(network: nn.Module, count: int) -> list[slice]:
    """Divide a batch of `count` tiles into the parts that are computed by themselves.

    They depend on the batch alone, not on the number of threads, so that sums are made in the same order anywhere. A
    network that normalises over the batch takes it whole.

    Examples
    --------
    >>> parts_of(nn.Conv2d(1, 1, 1), 5)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    whole = any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    size = count if whole else TILES_PER_PART
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def summed_loss(
    network: nn.Module, parts: Sequence[Callable[[], Tensor]], pool: ThreadPoolExecutor, *, precision: str
) -> Tensor:
    """Sum the losses of the parts of a batch; the gradients are computed along with them, in the threads of `pool`.

    Parameters
    ----------
    network
        Whose parameters get gradients.
    parts
        Each computes the loss of its part, a scalar.
    pool
        Threads of this process.
    precision
        ``"bf16"``: under automatic mixed precision; ``"32"``: not.

    Returns
    -------
    Tensor
        A scalar whose backward pass hands on what was computed already, so that whatever wraps it (gradient hooks,
        scaling) works as for any other loss.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    loss: Tensor = _SummedLoss.apply(parts, pool, precision, *parameters)  # type: ignore[no-untyped-call]
    return loss


class _SummedLoss(torch.autograd.Function):
    """`summed_loss`: parameters in, loss out, the gradients between them computed on the way forward."""

    @staticmethod
    def forward(
        ctx: Any, parts: Sequence[Callable[[], Tensor]], pool: ThreadPoolExecutor, precision: str, *parameters: Tensor
    ) -> Tensor:
        """Compute loss and gradients; added part by part in their order, whichever is done first."""

        def gradients(part: Callable[[], Tensor]) -> tuple[Tensor, tuple[Tensor | None, ...]]:
            with one_thread(), torch.enable_grad():
                with mixed_precision(precision):
                    loss = part()
                return loss.detach(), torch.autograd.grad(loss, parameters, allow_unused=True)

        total = torch.zeros(())
        summed: list[Tensor | None] = [None] * len(parameters)
        for loss, of_part in pool.map(gradients, parts):
            total = total + loss
            summed = [_added(one, other) for one, other in zip(summed, of_part, strict=True)]
        ctx.summed = summed
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        """Hand on the gradients."""
        return None, None, None, *(None if one is None else one * scale for one in ctx.summed)


def _added(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other  # autograd may give two parameters one gradient, so nothing is added in place
