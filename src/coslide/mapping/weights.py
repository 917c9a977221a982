"""Weights in a safetensors file, which are looked at before memory is taken for them."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from coslide.errors import InputError, first_line
from coslide.io.paths import require_regular_file
from coslide.io.stored import BEYOND_MEASURE
from coslide.networks.base import beyond_measure


def require_tensors(path: Path, expected: Mapping[str, Tensor], network: str) -> None:
    """Require that a file holds the tensors of a network, by its header.

    Parameters
    ----------
    path
        A safetensors file.
    expected
        The state of the network; it may be on the meta device.
    network
        What it is called.

    Raises
    ------
    InputError
        If it cannot be read, or a tensor is missing, unknown, or of another shape or type.
    """
    require_regular_file(path)
    problem = ""
    try:
        with safe_open(path, "pt") as file:
            names = set(file.keys())
            if apart := sorted(names ^ expected.keys()):
                problem = f"{apart[0]} is {'unknown' if apart[0] in names else 'missing'}"
            for name in sorted(names & expected.keys()):
                found, wanted = file.get_slice(name), expected[name]
                types = _TYPES.get(wanted.dtype, ())
                if tuple(found.get_shape()) != tuple(wanted.shape) or found.get_dtype() not in types:
                    problem = f"{name} is {found.get_dtype()} {found.get_shape()}, expected {list(wanted.shape)}"
                    break
    except (OSError, SafetensorError) as error:
        problem = first_line(error)
    if problem:
        raise InputError(f"{path}: does not fit {network} ({problem}); train again")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file that `require_tensors` has let pass; those in half precision become float32.

    Raises
    ------
    InputError
        If one holds NaN, infinity, or numbers that no network can compute with.
    """
    found = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in load_file(path).items()}
    for name, tensor in found.items():
        if beyond_measure(tensor):
            raise InputError(f"{path}: {name} holds NaN or infinity, or beyond {BEYOND_MEASURE:g}; train again")
    return found


def in_half(tensor: Tensor) -> Tensor:
    """Round a tensor of floating point to half precision (float16); another stays as it is."""
    return tensor.half() if tensor.is_floating_point() else tensor


_TYPES = {torch.float32: ("F32", "F16"), torch.int64: ("I64",)}
