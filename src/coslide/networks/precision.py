"""Which precision a CPU computes a network in: chosen by a timed trial."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from pydantic import BaseModel
from torch import nn

from coslide.config.records import read_record
from coslide.io.atomic import whole_output
from coslide.io.paths import file_exists
from coslide.networks.base import evaluating

Precision = Literal["32", "bf16"]
_log = logging.getLogger(__name__)
CHOSEN = "precision.json"
"""Name of the file that keeps which precision a trial chose, so that what is resumed keeps it."""
_WORTH = 0.7  # of the time in single precision: what gains less is not worth the digits, nor a choice by chance


class _Choice(BaseModel):
    """What the file `CHOSEN` holds."""

    precision: Precision


def mixed_precision(precision: str, device: str = "cpu") -> Any:
    """Make the context in which a device computes in bfloat16, or in which nothing changes.

    Examples
    --------
    >>> with mixed_precision("bf16"):
    ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    torch.bfloat16
    """
    return torch.autocast(device, torch.bfloat16) if precision == "bf16" else nullcontext()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread for what this thread asks of it; several threads may then compute side by side."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_precision(
    network: nn.Module, inputs: int, side_px: int, *, gradients: bool, what: str, kept: Path | None = None
) -> Precision:
    """Choose the precision in which a CPU computes a network, by a trial on made-up tiles.

    Processor time is compared, the least of three rounds, so that other programs do not decide. bfloat16 must save
    three tenths: processors without instructions for it (AVX512-BF16, AMX) emulate it and take longer.

    Parameters
    ----------
    network
        On the CPU; neither its weights nor its mode change.
    inputs
        Of the network.
    side_px
        Side of a tile.
    gradients
        Time the backward pass too.
    what
        What is computed, for the message.
    kept
        File that keeps the choice; where it has one, that is taken and nothing is tried.

    Raises
    ------
    InputError
        If the file cannot be read.

    Examples
    --------
    >>> choose_precision(nn.Conv2d(3, 2, 1), 3, 16, gradients=False, what="the map") in ("32", "bf16")
    True
    """
    if kept is not None and file_exists(kept):
        return read_record(kept, _Choice, advice="remove it").precision
    chosen, times = try_precisions(network, inputs, side_px, gradients=gradients)
    _log.info(f"{what} is computed in precision {chosen} (a trial took {times})")
    if kept is not None:
        with whole_output(kept) as part:
            part.write_text(_Choice(precision=chosen).model_dump_json(), encoding="utf-8")
    return chosen


def try_precisions(network: nn.Module, inputs: int, side_px: int, *, gradients: bool) -> tuple[Precision, str]:
    """Try in which precision a CPU computes a network faster; return it and the times in words. Parameters as above."""
    single_s, half_s = (_least_s(network, inputs, side_px, each, gradients=gradients) for each in get_args(Precision))
    chosen: Precision = "bf16" if half_s < _WORTH * single_s else "32"
    return chosen, f"{1e3 * half_s:.0f} ms in bfloat16 and {1e3 * single_s:.0f} ms in single precision"


def _least_s(network: nn.Module, inputs: int, side_px: int, precision: Precision, *, gradients: bool) -> float:
    """Measure the least processor time [s] that a network takes for two tiles."""
    tiles = torch.randn(2, inputs, side_px, side_px, generator=torch.Generator().manual_seed(0))
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    times = []
    with one_thread(), evaluating(network), torch.set_grad_enabled(gradients):
        for _ in range(4):  # the first one warms up
            started = time.thread_time()
            with mixed_precision(precision):
                found = network(tiles).float().square().mean()
            if gradients:
                torch.autograd.grad(found, parameters, allow_unused=True)
            times.append(time.thread_time() - started)
    return min(times[1:])
