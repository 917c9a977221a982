"""The graph of EISGNN: how it may be built, which nodes are neighbours, and how many of them are kept."""

from typing import Annotated, Literal

import torch
from pydantic import ConfigDict, Field, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass
from torch import Tensor

from coslide.networks.base import run_loops

SEARCHED = 512
"""Nodes of a graph up to which `coslide.networks.kernels` numbers them; it compares all with all."""
_TIE = 2.0**-50  # of the largest squared norm: above the rounding of a matrix product, below that of the features
_SMALLEST = 1e-290  # where all features are 0, the indices still count


@dataclass(frozen=True, config=ConfigDict(strict=True))
class GraphOptions:
    """How the graph layer reads what the paper's equations leave open; the defaults are the paper's.

    Attributes
    ----------
    heads
        H.
    k
        Neighbours of each node, itself included where `include_self` is true. With fewer nodes than that, all are used
        and m follows the number there is.
    select_factor
        Share of the neighbours that eic keeps, in (0, 1].
    include_self
        Whether a node is its own first neighbour.
    e_min
        Floor of the cross-entropy [nat]; bounds 1 / e and its gradient.
    attn_order
        ``"gatv2"``: as in `EISGNN`. ``"eq5"``: LeakyReLU after the product with a_c, as Eq. 5 is printed (which is
        GAT).
    attn_param
        ``"eq5_concat"``: W2 as in `EISGNN`. ``"dgl"``: instead of W2_c [h_i || h_j] the sum W_dst x_i + W1 x_j with a
        map W_dst: Cin -> C of its own, as GATv2 is commonly implemented.
    share_w1
        Whether Eq. 1 and Eq. 3 use one W1. If not, the last term of out_i is that of another map, Cin -> C.
    eic_norm
        What makes w_is of eic_is: ``"softmax_selected"``: as in `EISGNN`. ``"softmax_all"``: softmax over all k, the
        selected kept. ``"sum"``: divided by their sum over S(i), which is kept 1e-6 away from zero. ``"none"``: eic
        itself.
    eic_scope
        ``"head"``: every head has its own eic and selection. ``"full"``: one of each, over all C channels.
    """

    heads: PositiveInt = 8
    k: PositiveInt = 8
    select_factor: Annotated[float, Field(gt=0, le=1)] = 0.8
    include_self: bool = True
    e_min: PositiveFloat = 0.1
    attn_order: Literal["gatv2", "eq5"] = "gatv2"
    attn_param: Literal["eq5_concat", "dgl"] = "eq5_concat"
    share_w1: bool = True
    eic_norm: Literal["softmax_selected", "softmax_all", "sum", "none"] = "softmax_selected"
    eic_scope: Literal["head", "full"] = "head"


PAPER = GraphOptions()


def neighbours(features: Tensor, k: int, *, include_self: bool = True) -> Tensor:
    """Find the k nodes nearest to each node in feature space (Euclidean), nearest first.

    Eq. 12-13 of Yang et al. (2023, doi:10.3390/rs15040977): edges run from a neighbour to the node, and the graph is
    not made symmetric. Equal distances are ordered by index. No gradient flows through the choice.

    Parameters
    ----------
    features
        Node features, shape (batch, node, channel), floating point.
    k
        Number of neighbours, the node itself included where `include_self` is true.
    include_self
        Keep the node itself, always in slot 0 (also where other nodes have the same features). False leaves it out.

    Returns
    -------
    Tensor
        int64, shape (batch, node, k). Where fewer than k nodes can be chosen the last axis is shorter: all of them are
        used.

    Raises
    ------
    ValueError
        If `features` has not three axes, if k is below 1, or if a node would have no neighbour at all (a single node
        without itself).

    Notes
    -----
    Squared distances are compared through a matrix product in double precision. Two of them that differ by less than
    its rounding (1e-15 of the largest squared norm, for each step between their indices) count as equal: equal nodes,
    of which nodata areas are full, keep the order of their indices.

    Examples
    --------
    >>> line = torch.tensor([[[0.0], [1.0], [3.0], [3.5]]])
    >>> neighbours(line, 2)[0].tolist()
    [[0, 1], [1, 0], [2, 3], [3, 2]]
    >>> neighbours(line, 2, include_self=False)[0].tolist()
    [[1, 2], [0, 2], [3, 1], [2, 1]]
    """
    if features.ndim != 3:
        raise ValueError(f"features: expected shape (batch, node, channel), found {tuple(features.shape)}")
    nodes = features.shape[1]
    available = nodes if include_self else nodes - 1
    if k < 1 or available < 1:
        raise ValueError(f"expected k >= 1 and a node to choose, found k = {k} and {available} nodes to choose from")
    with torch.no_grad():
        features = features.double()
        squares = features.square().sum(dim=-1)
        number = torch.arange(nodes, device=features.device)
        largest = squares.amax(dim=-1, keepdim=True).clamp_min(_SMALLEST)
        by_number = squares + number * (largest * _TIE)
        itself = number == number.unsqueeze(1)
        own_place = squares.new_zeros(nodes, nodes).masked_fill(itself, -torch.inf if include_self else torch.inf)
        # |x_j|^2 - 2 x_i . x_j, which orders like |x_i - x_j|^2
        order = torch.baddbmm(by_number.unsqueeze(1) + own_place, features, features.transpose(-1, -2), alpha=-2)
        return order.topk(min(k, available), largest=False).indices


def nearest(x: Tensor, k: int, *, include_self: bool) -> Tensor:
    """Find the neighbours of each node as `neighbours` does, compiled; int32 (batch, node, k).

    Parameters
    ----------
    x, k, include_self
        Those of `neighbours`; `x` is float32, contiguous and on the CPU.

    Raises
    ------
    ValueError
        As `neighbours` does.
    """
    batch, nodes, _ = x.shape if x.ndim == 3 else (0, 0, 0)
    count = min(k, nodes if include_self else nodes - 1)
    if nodes > SEARCHED or count < 1:  # a matrix product finds them faster, or `neighbours` names what is wrong
        return neighbours(x, k, include_self=include_self).int()
    edges = torch.empty(batch, nodes, count, dtype=torch.int32)
    run_loops("kernels.nearest", edges, x, include_self)
    return edges


def selected_count(k: int, select_factor: float) -> int:
    """Count how many of k neighbours the entropy-cosine score keeps: m = max(1, int(k * select_factor)).

    Parameters
    ----------
    k
        Number of neighbours.
    select_factor
        Share to keep, in (0, 1].

    Examples
    --------
    >>> [selected_count(32, share) for share in (0.2, 0.4, 0.6, 0.8, 1.0)]
    [6, 12, 19, 25, 32]
    """
    return max(1, int(k * select_factor + 1e-9))  # 0.58 * 50 is 28.999... in binary
