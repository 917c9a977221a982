"""The graph of EISGNN: which nodes are neighbours, and how many of them are kept."""

import torch
from torch import Tensor

_TIE = 2.0**-50  # of the largest squared norm: above the rounding of a matrix product, below that of the features
_SMALLEST = 1e-290  # where all features are 0, the indices still count


def neighbours(features: Tensor, k: int, *, include_self: bool = True) -> Tensor:
    """Return the indices of the k nodes nearest to each node in feature space (Euclidean), nearest first.

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
        itself = torch.eye(nodes, dtype=torch.bool, device=features.device)
        own_place = squares.new_zeros(nodes, nodes).masked_fill(itself, -torch.inf if include_self else torch.inf)
        # |x_j|^2 - 2 x_i . x_j, which orders like |x_i - x_j|^2
        order = torch.baddbmm(by_number.unsqueeze(1) + own_place, features, features.mT, alpha=-2)
        return order.topk(min(k, available), largest=False).indices


def selected_count(k: int, select_factor: float) -> int:
    """Return how many of k neighbours the entropy-cosine score keeps: m = max(1, int(k * select_factor)).

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
