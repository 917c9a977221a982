"""EISGNN: a graph attention layer that keeps the neighbours that are close in entropy and in direction."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_NEGATIVE_SLOPE = 0.2  # of LeakyReLU, Eq. 5
_COSINE_EPS = 1e-6  # a node whose features are all zero has cosine 0 with every other


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
    Distances are summed channel by channel rather than by a matrix product: the product's rounding would give equal
    nodes (nodata areas are full of them) unequal distances, and an order that changes with the batch.

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
        features = features.to(torch.promote_types(features.dtype, torch.float32))  # cdist takes no half precision
        distance = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
        own_place = -1.0 if include_self else torch.inf  # first in the order, or last
        itself = torch.eye(nodes, dtype=torch.bool, device=features.device)
        order = distance.masked_fill(itself, own_place).argsort(dim=-1, stable=True)
    return order[..., : min(k, available)]


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


class EISGNN(nn.Module):
    r"""The entropy- and cosine-selective graph layer of EGCN, for nodes given as rows.

    For each head c of H, with d = C / H channels, node i, and the k nearest nodes j in N(i) (`neighbours`)::

        h       = W1 x                                   (Eq. 3)   W1: Cin -> C, split into heads
        a_ij    = softmax_j a_c . LeakyReLU(W2_c [h_i || h_j])     W2_c: 2d -> d, a_c: d   (Eq. 5-6)
        F_i     = sum_j a_ij h_j                         (Eq. 4)
        h'      = W3 x                                   (Eq. 8)   W3: Cin -> C, split into heads
        e_ij    = max(e_min, -sum_ch p_i log p_j)                  p = softmax_ch h'
        eic_ij  = 1 / e_ij + cos(h'_i, h'_j)             (Eq. 7)
        S(i)    = the m neighbours with the largest eic  (Eq. 9)   m = max(1, int(k select_factor))
        w_is    = softmax_s eic_is over S(i)
        out_i   = lambda_c sum_s w_is F_s + mu_c F_i + h_i  (Eq. 10-11)

    and the heads are concatenated. F_s are the neighbours' own attention outputs, so a node sees two steps far. No
    linear map has a bias; lambda_c and mu_c are learned and start at 1.

    Parameters
    ----------
    in_channels
        Cin.
    out_channels
        C, a multiple of `heads`.
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

    Raises
    ------
    ValueError
        If `out_channels` is not a multiple of `heads`, or an option is outside its range.

    Notes
    -----
    Shapes: input (batch, node, Cin), output (batch, node, C). Scores are computed between all nodes at once (64 x 64
    for a tile), so memory grows with the square of the number of nodes.

    With one channel per head, p is 1 whatever h' is and the cosine is a sign: W3 then learns nothing. Give each head
    two channels or more.

    Initialisation: Xavier normal with the gain of ReLU for W1, W2, W3 and a, as GATv2's authors do; the paper names
    none.

    Differs from the paper (Yang et al. 2023, doi:10.3390/rs15040977):

    - Eq. 5 as printed applies LeakyReLU after a . W2, which is GAT. Here it comes before, as in GATv2 (Brody et al.
      2022, arXiv:2105.14491), the method the text cites.
    - Eq. 7 takes the logarithm of features that may be negative. Here they pass through a softmax first, and e is kept
      above `e_min`. The cosine uses them as they are.
    - "Normalised" in Eq. 10 is read as a softmax over the selected neighbours.
    - Eq. 13 does not take the node out of its own neighbourhood, so it is kept; `include_self=False` leaves it out.
    - W1 is one matrix in Eq. 1 and Eq. 3.
    - lambda and mu, called hyper-parameters with initial values, are learned per head.

    Examples
    --------
    >>> layer = EISGNN(6, 16, heads=2)
    >>> layer(torch.zeros(4, 64, 6)).shape
    torch.Size([4, 64, 16])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        heads: int = 8,
        k: int = 8,
        select_factor: float = 0.8,
        include_self: bool = True,
        e_min: float = 0.1,
    ) -> None:
        super().__init__()
        if heads < 1 or out_channels % heads:
            raise ValueError(f"expected channels that are a multiple of heads, found {out_channels} and {heads}")
        if k < 1 or not 0 < select_factor <= 1 or not e_min > 0:
            raise ValueError(
                f"expected k >= 1, 0 < select_factor <= 1 and e_min > 0, found {k}, {select_factor} and {e_min}"
            )
        self.out_channels = out_channels
        self.heads, self.k, self.select_factor = heads, k, select_factor
        self.include_self, self.e_min = include_self, e_min
        head_channels = out_channels // heads
        self.w1 = nn.Linear(in_channels, out_channels, bias=False)
        self.w2 = nn.Parameter(torch.empty(heads, 2 * head_channels, head_channels))
        self.attention = nn.Parameter(torch.empty(heads, head_channels))
        self.w3 = nn.Linear(in_channels, out_channels, bias=False)
        self.lambda_ = nn.Parameter(torch.ones(heads))
        self.mu = nn.Parameter(torch.ones(heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Return nothing; draw the weights anew (Xavier normal, gain of ReLU) and set lambda and mu to 1."""
        gain = nn.init.calculate_gain("relu")
        with torch.no_grad():
            for head in range(self.heads):  # each head is a map of its own, with its own fan in and out
                nn.init.xavier_normal_(self.w2[head], gain)
                nn.init.xavier_normal_(self.attention[head : head + 1], gain)
        nn.init.xavier_normal_(self.w1.weight, gain)
        nn.init.xavier_normal_(self.w3.weight, gain)
        nn.init.ones_(self.lambda_)
        nn.init.ones_(self.mu)

    def forward(self, x: Tensor) -> Tensor:
        """Return the nodes' new features.

        Parameters
        ----------
        x
            Node features, shape (batch, node, Cin), floating point.

        Returns
        -------
        Tensor
            Shape (batch, node, C).

        Raises
        ------
        ValueError
            If `x` has not three axes, or holds a single node and `include_self` is false.
        """
        nearest = neighbours(x, self.k, include_self=self.include_self)
        h = self._split_heads(self.w1(x))
        attended = _spread(self._attention_weights(h, nearest), nearest) @ h
        scores = self._scores(self._split_heads(self.w3(x)), nearest)
        selected, nodes = self._select(scores, nearest)
        aggregated = _spread(selected.softmax(dim=-1), nodes) @ attended
        per_head = (1, self.heads, 1, 1)
        out = self.lambda_.view(per_head) * aggregated + self.mu.view(per_head) * attended + h
        return out.transpose(1, 2).flatten(2)  # (batch, node, C)

    def _split_heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)  # (batch, head, node, d)

    def _attention_weights(self, h: Tensor, nearest: Tensor) -> Tensor:
        """Return GATv2's weights of each node's neighbours, (batch, head, node, k); each row sums to 1."""
        of_node, of_neighbour = self.w2.chunk(2, dim=1)  # W2 [h_i || h_j] = A h_i + B h_j
        right = _take_nodes((h @ of_neighbour).transpose(1, 2), nearest)  # (batch, node, k, head, d)
        left = (h @ of_node).transpose(1, 2).unsqueeze(2)
        z = F.leaky_relu(left + right, _NEGATIVE_SLOPE)
        return (z * self.attention).sum(dim=-1).softmax(dim=2).permute(0, 3, 1, 2)

    def _scores(self, h: Tensor, nearest: Tensor) -> Tensor:
        """Return eic of each node's neighbours, (batch, head, node, k)."""
        log_p = h.log_softmax(dim=-1)
        entropy = -(log_p.exp() @ log_p.transpose(-1, -2))  # row i: p_i against every log p_j
        unit = F.normalize(h, dim=-1, eps=_COSINE_EPS)
        eic = entropy.clamp_min(self.e_min).reciprocal() + unit @ unit.transpose(-1, -2)
        return eic.gather(-1, nearest.unsqueeze(1).expand(-1, self.heads, -1, -1))

    def _select(self, scores: Tensor, nearest: Tensor) -> tuple[Tensor, Tensor]:
        """Return the m largest scores and the nodes that have them, both (batch, head, node, m)."""
        m = selected_count(nearest.shape[-1], self.select_factor)
        top, slots = scores.topk(m, dim=-1)
        return top, nearest.unsqueeze(1).expand_as(scores).gather(-1, slots)


def _take_nodes(x: Tensor, nodes: Tensor) -> Tensor:
    """Return x (batch, node, ...) at nodes (batch, node, k), as (batch, node, k, ...)."""
    batch, count = x.shape[:2]
    first = torch.arange(batch, device=x.device).view(-1, 1, 1) * count
    rows = x.flatten(0, 1).index_select(0, (nodes + first).flatten())  # one copy of whole rows for all heads
    return rows.view(*nodes.shape, *x.shape[2:])


def _spread(weights: Tensor, nodes: Tensor) -> Tensor:
    """Return weights (batch, head, node, k) as a matrix over all nodes, (batch, head, node, node), 0 off the edges."""
    if nodes.ndim == 3:
        nodes = nodes.unsqueeze(1).expand_as(weights)
    count = weights.shape[-2]
    return weights.new_zeros(*weights.shape[:-1], count).scatter(-1, nodes, weights)
