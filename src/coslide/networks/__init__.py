"""The networks by name: what can be trained, compared and mapped with.

A network takes standardised indices (batch, band, row, col) and returns logits (batch, class, row, col). Importing this
package does not import torch; making a network does.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from coslide.errors import InputError
from coslide.networks.dates import paired_bands

if TYPE_CHECKING:
    from torch import nn

    from coslide.cube.band import Band


@dataclass(frozen=True)
class NetworkSpec:
    """What is known of a network without making it.

    Attributes
    ----------
    module, attribute
        Where its class is, called as class(bands, classes=..., **options).
    width
        Channels at full resolution in the original.
    fixed
        Options that the name stands for.
    two_dates
        Whether it splits its input into the bands before and after the event, and so must know which they are.
    reconstruction
        Why it is a reconstruction rather than the published network; empty if it is not one.
    """

    module: str
    attribute: str
    width: int = 64
    fixed: dict[str, Any] = field(default_factory=dict)
    two_dates: bool = False
    reconstruction: str = ""


_ABSTRACT_ONLY = "reconstruction: only the abstract could be read"
_TITLE_ONLY = "reconstruction, low confidence: neither paper nor code could be read"

# in the order in which tables list them; one line adds a network
_NETWORKS = {
    "egcn": NetworkSpec("egcn", "EGCN"),
    "egcn-msa": NetworkSpec("attention", "EGCNMSA"),
    "egcn-esa": NetworkSpec("attention", "EGCNESA"),
    "unet": NetworkSpec("unet", "UNet"),
    "acmix-unet": NetworkSpec("acmix", "AcmixUnet"),
    "fcn-pp": NetworkSpec("fcn_pp", "FCNPP"),
    "fcn-pp-wide": NetworkSpec("fcn_pp", "FCNPP", fixed={"wide": True}),
    "deepunet": NetworkSpec("deepunet", "DeepUNet", width=32),
    "cdcnn": NetworkSpec("cdcnn", "CDCNN", two_dates=True, reconstruction=_ABSTRACT_ONLY),
    "dp-fcn": NetworkSpec("dp_fcn", "DPFCN", width=32, two_dates=True, reconstruction=_TITLE_ONLY),
    "landsnet": NetworkSpec("landsnet", "LandsNet", width=32, reconstruction=_TITLE_ONLY),
}


def names() -> tuple[str, ...]:
    """Return the names that `create` knows, in the order in which tables list them.

    Examples
    --------
    >>> names()[:4]
    ('egcn', 'egcn-msa', 'egcn-esa', 'unet')
    """
    return tuple(_NETWORKS)


def spec(name: str) -> NetworkSpec:
    """Return what is known of the network of that name without making it.

    Raises
    ------
    InputError
        If there is no such network.

    Examples
    --------
    >>> spec("cdcnn").reconstruction
    'reconstruction: only the abstract could be read'
    """
    if name not in _NETWORKS:
        raise InputError(f"network {name}: unknown; expected one of {', '.join(names())}")
    return _NETWORKS[name]


def date_options(name: str, bands: Sequence["Band"]) -> dict[str, list[int]]:
    """Return the options that tell a network which bands show the ground before and after the event.

    Parameters
    ----------
    name
        One of `names()`.
    bands
        Of its input, in their order.

    Returns
    -------
    dict
        `pre` and `post` for a network that compares two dates (`coslide.networks.dates.paired_bands`); nothing for the
        others.

    Raises
    ------
    InputError
        If there is no such network, or it compares two dates and the bands are all of one.

    Examples
    --------
    >>> from coslide.cube.band import Band
    >>> bands = [Band(f"ndvi_{date}", date=date, quantity="ndvi") for date in ("post", "pre")]
    >>> date_options("cdcnn", bands)
    {'pre': [1], 'post': [0]}
    >>> date_options("egcn", bands)
    {}
    """
    if not spec(name).two_dates:
        return {}
    try:
        return paired_bands(bands)
    except ValueError as error:
        raise InputError(f"network {name}: {error}") from None


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
        The network's own options, by name; the paper's by default. All have `width`, the channels at full resolution,
        which scales the whole network. The others are those of its class: ``help(create(name))``.

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
    known = spec(name)
    if bands < 1 or classes < 2:
        raise InputError(f"network {name}: found {bands} bands and {classes} classes; expected at least 1 and 2")
    make = getattr(import_module(f"coslide.networks.{known.module}"), known.attribute)
    _check_options(name, make, options, known.fixed)
    try:
        network: nn.Module = make(bands, classes=classes, **options, **known.fixed)
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


def _check_options(name: str, make: Any, options: dict[str, Any], fixed: dict[str, Any]) -> None:
    """Raise InputError for an option that `make` does not have, or whose type is not that of its default."""
    defaults = {key: known.default for key, known in inspect.signature(make).parameters.items()}
    known = [key for key in defaults if key not in ("bands", "classes", *fixed)]
    for key, value in options.items():
        if key not in known:
            raise InputError(f"network {name}: unknown option {key}; expected one of {', '.join(known)}")
        expected = type(defaults[key])
        whole_as_float = expected is float and type(value) is int
        if expected in (bool, int, float, str) and type(value) is not expected and not whole_as_float:
            raise InputError(f"network {name}: option {key}: found {value!r}; expected {expected.__name__}")
        whole_numbers = isinstance(value, list | tuple) and all(type(one) is int for one in value)
        if expected is tuple and not whole_numbers:
            raise InputError(f"network {name}: option {key}: found {value!r}; expected a list of whole numbers")
    if options.get("width", 1) < 1:
        raise InputError(f"network {name}: option width: found {options['width']}; expected at least 1")
