"""Which precision a CPU computes a network in: chosen by a timed trial."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import nn

from coslide.errors import InputError
from coslide.io.atomic import whole_output
from coslide.networks.base import evaluating

Precision = Literal["32", "bf16"]
_log = logging.getLogger(__name__)
CHOSEN = "precision.json"
"""Name of the file that keeps which precision a trial chose, so that what is resumed keeps it."""
_WORTH = 0.7  # of the time in single precision: what gains less is not worth the digits, nor a choice by chance
_TILES, _ROUNDS = 2, 3


class Trial(NamedTuple):
    """What a trial chose, and the processor time of both sides [s]."""

    precision: Precision
    single_s: float
    half_s: float

    def __str__(self) -> str:
        times = f"{1e3 * self.half_s:.0f} ms against {1e3 * self.single_s:.0f} ms"
        name = "bfloat16" if self.precision == "bf16" else "single"
        return f"computed in {name} precision (a trial took {times} in bfloat16 and in single)"


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


def time_precisions(network: nn.Module, inputs: int, side_px: int, *, gradients: bool) -> Trial:
    """Try a network on made-up tiles in single precision and in bfloat16, and choose the faster.

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

    Examples
    --------
    >>> time_precisions(nn.Conv2d(3, 2, 1), 3, 16, gradients=False).precision in ("32", "bf16")
    True
    """
    tiles = torch.randn(_TILES, inputs, side_px, side_px, generator=torch.Generator().manual_seed(0))
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]

    def compute(precision: Precision) -> None:
        with torch.set_grad_enabled(gradients), mixed_precision(precision):
            found = network(tiles).float().square().mean()
        if gradients:
            torch.autograd.grad(found, parameters, allow_unused=True)

    with one_thread(), evaluating(network):
        single, half = _least_s(partial(compute, "32")), _least_s(partial(compute, "bf16"))
    return Trial("bf16" if half < _WORTH * single else "32", single, half)


def kept_choice(trial: Callable[[], Trial], kept: Path | None, what: str) -> Precision:
    """Choose a precision by a trial, once: where the file `kept` has a choice, that is taken.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    if kept is not None and kept.exists():
        try:
            found = json.loads(kept.read_text(encoding="utf-8"))["precision"]
        except (OSError, ValueError, KeyError, TypeError):
            found = None
        if found in get_args(Precision):
            choice: Precision = found
            return choice
        raise InputError(
            f"{kept}: found no precision in it, expected one of {', '.join(get_args(Precision))}; remove it"
        )
    result = trial()
    _log.info(f"{what} is {result}")
    if kept is not None:
        with whole_output(kept) as part:
            part.write_text(json.dumps({"precision": result.precision}), encoding="utf-8")
    return result.precision


def _least_s(work: Callable[[], None]) -> float:
    times = []
    for _ in range(_ROUNDS + 1):  # the first one warms up
        started = time.thread_time()
        work()
        times.append(time.thread_time() - started)
    return min(times[1:])
