"""What a network costs: its parameters, its multiply-adds, and the measure of the paper's Table 4."""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel  # the counter does not know the fused kernels of a CPU
from torch.utils.flop_counter import FlopCounterMode

from coslide import networks
from coslide.errors import InputError
from coslide.networks.acmix import ACmix
from coslide.networks.base import evaluating
from coslide.networks.cgblock import PatchUp

if TYPE_CHECKING:
    from coslide.cube.band import Band

PAPER_TILE = 128  # pixels


class Cost(NamedTuple):
    """The cost of a network for one input.

    Attributes
    ----------
    parameters
        Learned numbers, each shared one counted once.
    params_table4
        ``sum K^2 Cin Cout + sum M^2 Cout`` over its layers (Yang et al. 2023, Table 4).
    multiply_adds
        Multiplications with an addition, for one tile.
    """

    parameters: int
    params_table4: int
    multiply_adds: int


def cost(network: nn.Module, bands: int, *, side: int = PAPER_TILE) -> Cost:
    """Measure the cost of a network for one tile of side x side pixels.

    Parameters
    ----------
    network
        The network, on any device; on "meta" nothing is computed.
    bands
        Bands of its input.
    side
        Height and width of the tile [pixel].

    Raises
    ------
    ValueError
        If the network does not take tiles of that size.

    Notes
    -----
    Multiply-adds are those of convolutions, deconvolutions, linear maps, matrix products and attention, as they are
    computed here: EISGNN scores all pairs of nodes, and ACmix the 196 pixels around a window of 64, of which each uses
    49. Norms, activations, pooling and sums are left out, as is usual.

    ``params_table4`` is the formula that the paper calls "Params": K is the side of a kernel and M that of the layer's
    output. It counts weights and the elements of feature maps alike, has no term for groups or biases, and counts a
    layer each time it is applied. Here its layers are the convolutions, deconvolutions and linear maps; W2 of EISGNN,
    which works on edges, and attention are none.

    Examples
    --------
    >>> with torch.device("meta"):
    ...     layer = nn.Conv2d(3, 8, 3, padding=1)
    >>> cost(layer, 3, side=4)
    Cost(parameters=224, params_table4=344, multiply_adds=3456)
    """
    weight = next(network.parameters())
    x = torch.zeros(1, bands, side, side, device=weight.device, dtype=weight.dtype)
    table4 = patches = 0

    def count(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal table4, patches
        table4 += _table4(module, output)
        patches += output[0].numel() if isinstance(module, PatchUp) else 0  # products that torch does not count

    counter = FlopCounterMode(display=False)
    with evaluating(network), ExitStack() as hooks, sdpa_kernel(SDPBackend.MATH), counter:
        for module in network.modules():
            hooks.enter_context(module.register_forward_hook(count))
        network(x)
    return Cost(networks.parameter_count(network), table4, counter.get_total_flops() // 2 + patches)


def table(bands: int = 30, *, inputs: Sequence["Band"] | None = None) -> list[dict[str, Any]]:
    """List each network: its name, its cost for a tile of 128 x 128, and whether it is a reconstruction.

    Parameters
    ----------
    bands
        Bands of the input.
    inputs
        The bands themselves, from which the networks that compare two dates know those of each date; `bands` is then
        ignored. Without them those networks are only known at the paper's 30 bands.

    Returns
    -------
    list of dict
        `network`, `width` (channels at full resolution), `parameters`, `params_table4`, `multiply_adds` (None where it
        cannot be told which bands belong to which date) and `reconstruction` (why it is one; empty if it is not).

    Examples
    --------
    >>> rows = table(30)
    >>> rows[0]["network"], rows[0]["parameters"]
    ('egcn', 38347526)
    """
    count = bands if inputs is None else len(inputs)
    rows = []
    for name in networks.names():
        known = networks.spec(name)
        numbers: dict[str, Any] = dict.fromkeys(Cost._fields)
        try:
            options: dict[str, Any] = {} if inputs is None else networks.date_options(name, inputs)
            with torch.device("meta"):
                numbers = cost(networks.create(name, count, **options), count)._asdict()
        except InputError:
            if not known.two_dates:  # those need to be told the bands of each date, or have none of one
                raise
        rows.append({"network": name, "width": known.width, **numbers, "reconstruction": known.reconstruction})
    return rows


def _table4(layer: nn.Module, output: Tensor) -> int:
    """Compute K^2 Cin Cout + M^2 Cout of a layer, 0 of another module."""
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d):
        kernel = math.prod(layer.kernel_size)
        return kernel * layer.in_channels * layer.out_channels + output[0].numel()
    if isinstance(layer, ACmix):  # beside its three projections: positions, mixing, and one 3 x 3 convolution
        per_head, pixels = layer.out_channels // layer.heads, output[0, 0].numel()
        weights = 2 * per_head + 27 * layer.heads + 9 * (9 * per_head) * layer.out_channels
        return weights + pixels * (per_head + 9 * per_head + layer.out_channels)
    if isinstance(layer, nn.Linear):
        return layer.in_features * layer.out_features + output[0].numel()
    return 0
