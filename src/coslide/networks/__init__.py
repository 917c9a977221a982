"""The networks by name: what can be trained, compared and mapped with.

A network takes standardised indices (batch, band, row, col) and returns logits (batch, class, row, col). Importing this
package does not import torch; making a network does.
"""

import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any

from coslide.errors import InputError

if TYPE_CHECKING:
    from torch import nn

# name -> module and what to call there with (bands, classes=..., **options); one line adds a network
_NETWORKS = {
    "egcn": ("coslide.networks.egcn", "EGCN"),
}


def names() -> tuple[str, ...]:
    """Return the names that `create` knows, in the order in which tables list them.

    Examples
    --------
    >>> "egcn" in names()
    True
    """
    return tuple(_NETWORKS)


def create(name: str, bands: int = 30, *, classes: int = 2, **options: Any) -> "nn.Module":
    """Return a new, untrained network.

    Parameters
    ----------
    name
        One of `names()`.
    bands
        Bands of the input.
    classes
        Classes of the output, background (0) and landslide (1) by default.
    options
        The network's own options, by name: for "egcn" width, heads, k, select_factor, include_self and e_min (see
        `coslide.networks.egcn.EGCN`).

    Raises
    ------
    InputError
        If the network or an option is unknown, an option has the wrong type, or the network refuses a value.

    Notes
    -----
    Weights are drawn from the global generator: call ``torch.manual_seed`` first for a network that can be repeated.

    Examples
    --------
    >>> parameter_count(create("egcn", bands=5, width=8))
    616614
    >>> create("egcn", depth=3)
    Traceback (most recent call last):
        ...
    coslide.errors.InputError: network egcn: unknown option depth; expected one of width, heads, k, ...
    """
    if name not in _NETWORKS:
        raise InputError(f"network {name}: unknown; expected one of {', '.join(names())}")
    if bands < 1 or classes < 2:
        raise InputError(f"network {name}: found {bands} bands and {classes} classes; expected at least 1 and 2")
    module, attribute = _NETWORKS[name]
    make = getattr(import_module(module), attribute)
    _check_options(name, make, options)
    try:
        network: nn.Module = make(bands, classes=classes, **options)
    except ValueError as error:
        raise InputError(f"network {name}: {error}") from error
    return network


def parameter_count(network: "nn.Module") -> int:
    """Return the number of a network's learned numbers, each shared one counted once.

    Parameters
    ----------
    network
        Any module; it may be on the "meta" device, where making it costs no memory.

    Examples
    --------
    >>> import torch
    >>> with torch.device("meta"):
    ...     parameter_count(create("egcn"))
    38347526
    """
    return sum(parameter.numel() for parameter in network.parameters())


def _check_options(name: str, make: Any, options: dict[str, Any]) -> None:
    """Raise InputError for an option that `make` does not have, or whose type is not that of its default."""
    defaults = {key: known.default for key, known in inspect.signature(make).parameters.items()}
    known = [key for key in defaults if key not in ("bands", "classes")]
    for key, value in options.items():
        if key not in known:
            raise InputError(f"network {name}: unknown option {key}; expected one of {', '.join(known)}")
        expected = type(defaults[key])
        whole_as_float = expected is float and type(value) is int
        if expected in (bool, int, float, str) and type(value) is not expected and not whole_as_float:
            raise InputError(f"network {name}: option {key}: found {value!r}; expected {expected.__name__}")
