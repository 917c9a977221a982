"""The networks by name: what can be trained, compared and mapped with.

A network takes standardised indices (batch, band, row, col) and returns logits (batch, class, row, col). Importing this
package does not import torch; making a network does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from inspect import Parameter, signature
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import ConfigDict, ValidationError, create_model

from coslide.config.records import first_problem
from coslide.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from coslide.cube.band import Band


LARGEST_OPTION = 4096
"""No network has more of anything; and no bundle can ask for memory without bounds."""


@dataclass(frozen=True)
class NetworkSpec:
    """A network that can be made, and what is known of it without making it.

    Attributes
    ----------
    home
        Where its class is, ``"module:class"``, called as class(bands, classes=..., **options).
    width
        Channels at full resolution in the original.
    fixed
        Options that the name stands for.
    two_dates
        Whether it splits its input into the bands before and after the event, and so must know which they are.
    reconstruction
        Why it is a reconstruction rather than the published network; empty if it is not one.
    """

    home: str
    width: int = 64
    fixed: dict[str, Any] = field(default_factory=dict)
    two_dates: bool = False
    reconstruction: str = ""


_ABSTRACT_ONLY = "reconstruction: only the abstract could be read"
_TITLE_ONLY = "reconstruction, low confidence: neither paper nor code could be read"

# in the order in which tables list them; one line adds a network
_NETWORKS = {
    "egcn": NetworkSpec("egcn:EGCN"),
    "egcn-msa": NetworkSpec("attention:EGCNMSA"),
    "egcn-esa": NetworkSpec("attention:EGCNESA"),
    "unet": NetworkSpec("unet:UNet"),
    "acmix-unet": NetworkSpec("acmix:AcmixUnet"),
    "fcn-pp": NetworkSpec("fcn_pp:FCNPP"),
    "fcn-pp-wide": NetworkSpec("fcn_pp:FCNPP", fixed={"wide": True}),
    "deepunet": NetworkSpec("deepunet:DeepUNet", width=32),
    "cdcnn": NetworkSpec("cdcnn:CDCNN", two_dates=True, reconstruction=_ABSTRACT_ONLY),
    "dp-fcn": NetworkSpec("dp_fcn:DPFCN", width=32, two_dates=True, reconstruction=_TITLE_ONLY),
    "landsnet": NetworkSpec("landsnet:LandsNet", width=32, reconstruction=_TITLE_ONLY),
}


def names() -> tuple[str, ...]:
    """List the names that `create` knows, in the order of tables.

    Examples
    --------
    >>> names()[:4]
    ('egcn', 'egcn-msa', 'egcn-esa', 'unet')
    """
    return tuple(_NETWORKS)


def spec(name: str) -> NetworkSpec:
    """Look up what is known of a network without making it.

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
    """Find the options that tell a network which bands show the state before and after the event.

    A band before the event makes a pair with the band after it that shows the same quantity in the same channel. Pairs
    come in the order of their bands before the event. All other bands are static, such as slope, or a reflectance that
    only one of the scenes has.

    Parameters
    ----------
    name
        One of `names()`.
    bands
        Of its input, in their order.

    Returns
    -------
    dict
        `pre` and `post`, the numbers from 0 of the bands of each date, for a network that compares two; nothing for the
        others.

    Raises
    ------
    InputError
        If there is no such network, or it compares two dates and there is no pair.

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
    after = {(band.quantity, band.channel): number for number, band in enumerate(bands) if band.date == "post"}
    pairs = [
        (number, after[band.quantity, band.channel])
        for number, band in enumerate(bands)
        if band.date == "pre" and band.quantity and (band.quantity, band.channel) in after
    ]
    if not pairs:
        raise InputError(
            f"network {name}: needs bands before and after the event, such as reflectance_pre_B2 and "
            f"reflectance_post_B2; found {', '.join(band.name for band in bands) or 'no band'}"
        )
    return {"pre": [before for before, _ in pairs], "post": [after for _, after in pairs]}


def create(name: str, bands: int = 30, *, classes: int = 2, **options: Any) -> "nn.Module":
    """Make a new, untrained network.

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
    coslide.errors.InputError: network egcn: unknown option depth; expected one of width, up_mode, ...
    """
    known = spec(name)
    if bands < 1 or classes < 2:
        raise InputError(f"network {name}: found {bands} bands and {classes} classes; expected at least 1 and 2")
    make = resolve_name(f"coslide.networks.{known.home}")
    types = {option: kind for option, kind in _types_of_options(make).items() if option not in known.fixed}
    for unknown in (option for option in options if option not in types):
        raise InputError(f"network {name}: unknown option {unknown}; expected one of {', '.join(types)}")
    fields: dict[str, Any] = {option: (kind, None) for option, kind in types.items()}
    for option, value in options.items():
        if isinstance(value, int | float) and abs(value) > LARGEST_OPTION:
            raise InputError(f"network {name}: option {option}: found {value}, expected at most {LARGEST_OPTION}")
    try:
        create_model("Options", __config__=ConfigDict(strict=True), **fields).model_validate(options)
        network: nn.Module = make(bands, classes=classes, **options, **known.fixed)
    except ValidationError as error:
        raise InputError(f"network {name}: option {first_problem(error)}") from None
    except ValueError as error:
        raise InputError(f"network {name}: {error}") from error
    return network


def default_options(name: str) -> dict[str, Any]:
    """List the options of a network that have a default, with it.

    Raises
    ------
    InputError
        If there is no such network.

    Examples
    --------
    >>> default_options("egcn")["k"], "pre" in default_options("cdcnn")
    (8, False)
    """
    from coslide.networks.graph import GraphOptions

    known = spec(name)
    parameters = signature(resolve_name(f"coslide.networks.{known.home}").__init__).parameters
    groups = [GraphOptions] if "graph" in parameters else []
    found = [*parameters.values(), *(one for group in groups for one in signature(group).parameters.values())]
    ours = {"classes", *known.fixed}
    return {one.name: one.default for one in found if one.default is not Parameter.empty and one.name not in ours}


def parameter_count(network: "nn.Module") -> int:
    """Count the learned numbers of a network, each shared one once.

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


def _types_of_options(make: Any) -> dict[str, Any]:
    """List the options of a network's class with their types, those of its graph or dates among them."""
    from coslide.networks.dates import date_bands
    from coslide.networks.graph import GraphOptions

    types = get_type_hints(make.__init__, include_extras=True)
    for group, taker in (("graph", GraphOptions), ("dates", date_bands)):
        types |= get_type_hints(taker, include_extras=True) if types.pop(group, None) else {}
    return {option: kind for option, kind in types.items() if option not in ("bands", "classes", "return")}
