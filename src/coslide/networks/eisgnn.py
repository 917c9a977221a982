"""EISGNN: a graph attention layer that keeps the neighbours that are close in entropy and in direction."""

import math
from typing import Literal, NamedTuple, TypedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coslide.networks.base import require_word
from coslide.networks.graph import neighbours, selected_count

_NEGATIVE_SLOPE = 0.2  # of LeakyReLU, Eq. 5
_COSINE_EPS = 1e-6  # a node whose features are all zero has cosine 0 with every other
_TIE = 2  # roundings of the largest possible eic: those that differ by less are equal
_CACHED_CHANNELS = 128  # of as many, the edges of a batch of tiles stay in a processor's cache
_SUM_EPS = 1e-6  # eic may be negative, and so may its sum be near zero

AttentionOrder = Literal["gatv2", "eq5"]
AttentionParameters = Literal["eq5_concat", "dgl"]
EicNorm = Literal["softmax_selected", "softmax_all", "sum", "none"]
EntropyNorm = Literal["softmax"]
EicScope = Literal["head", "full"]


class GraphOptions(TypedDict, total=False):
    """The options of `EISGNN` by name, for those who pass them on."""

    heads: int
    k: int
    select_factor: float
    include_self: bool
    e_min: float
    attn_order: AttentionOrder
    attn_param: AttentionParameters
    share_w1: bool
    eic_norm: EicNorm
    entropy_norm: EntropyNorm
    eic_scope: EicScope


class Neighbourhood(NamedTuple):
    """What one graph layer decided for each node; k slots a node, nearest first.

    Attributes
    ----------
    nodes
        The neighbours, int64 (batch, node, k).
    attention
        Weights of GATv2, (batch, head, node, k); they sum to 1 over the slots.
    eic
        Entropy importance coefficients, (batch, scope, node, k); scope runs over the heads, or is one for all.
    weights
        Weights with which the neighbours' outputs are added, shape of `eic`; 0 for those not selected.
    """

    nodes: Tensor
    attention: Tensor
    eic: Tensor
    weights: Tensor


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
    attn_order
        ``"gatv2"``: as above. ``"eq5"``: LeakyReLU after the product with a_c, as Eq. 5 is printed (which is GAT).
    attn_param
        ``"eq5_concat"``: W2 as above. ``"dgl"``: instead of W2_c [h_i || h_j] the sum W_dst x_i + W1 x_j with a map
        W_dst: Cin -> C of its own, as GATv2 is commonly implemented.
    share_w1
        Whether Eq. 1 and Eq. 3 use one W1. If not, the last term of out_i is that of another map, Cin -> C.
    eic_norm
        What makes w_is of eic_is: ``"softmax_selected"``: as above. ``"softmax_all"``: softmax over all k, the selected
        kept. ``"sum"``: divided by their sum over S(i), which is kept 1e-6 away from zero. ``"none"``: eic itself.
    entropy_norm
        What makes p of h': ``"softmax"``; there is no other yet.
    eic_scope
        ``"head"``: every head has its own eic and selection. ``"full"``: one of each, over all C channels.

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
      2022, arXiv:2105.14491), the method the text cites; ``attn_order="eq5"`` is the printed form.
    - Eq. 7 takes the logarithm of features that may be negative. Here they pass through a softmax first, and e is kept
      above `e_min`. The cosine uses them as they are.
    - "Normalised" in Eq. 10 is read as a softmax over the selected neighbours (`eic_norm`).
    - Eq. 13 does not take the node out of its own neighbourhood, so it is kept; `include_self=False` leaves it out.
    - W1 is one matrix in Eq. 1 and Eq. 3 (`share_w1`).
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
        attn_order: AttentionOrder = "gatv2",
        attn_param: AttentionParameters = "eq5_concat",
        share_w1: bool = True,
        eic_norm: EicNorm = "softmax_selected",
        entropy_norm: EntropyNorm = "softmax",
        eic_scope: EicScope = "head",
    ) -> None:
        super().__init__()
        if heads < 1 or out_channels % heads:
            raise ValueError(f"expected channels that are a multiple of heads, found {out_channels} and {heads}")
        if k < 1 or not 0 < select_factor <= 1 or not e_min > 0:
            raise ValueError(
                f"expected k >= 1, 0 < select_factor <= 1 and e_min > 0, found {k}, {select_factor} and {e_min}"
            )
        require_word("attn_order", attn_order, AttentionOrder)
        require_word("attn_param", attn_param, AttentionParameters)
        require_word("eic_norm", eic_norm, EicNorm)
        require_word("entropy_norm", entropy_norm, EntropyNorm)
        require_word("eic_scope", eic_scope, EicScope)
        self.out_channels = out_channels
        self.heads, self.k, self.select_factor = heads, k, select_factor
        self.include_self, self.e_min = include_self, e_min
        self.attn_order, self.attn_param, self.share_w1 = attn_order, attn_param, share_w1
        self.eic_norm, self.entropy_norm, self.eic_scope = eic_norm, entropy_norm, eic_scope
        head_channels = out_channels // heads
        self.w1 = nn.Linear(in_channels, out_channels, bias=False)
        self.w1_of_equation_1 = None if share_w1 else nn.Linear(in_channels, out_channels, bias=False)
        if attn_param == "dgl":
            self.w_dst = nn.Linear(in_channels, out_channels, bias=False)
        else:
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
                if self.attn_param == "eq5_concat":
                    nn.init.xavier_normal_(self.w2[head], gain)
                nn.init.xavier_normal_(self.attention[head : head + 1], gain)
        for module in self.children():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight, gain)
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
        h = _map(x, self.w1)
        slots, attention, _, weights = self._weigh(x, h)
        per_head = (1, self.heads, 1, 1)
        rows = self._split_heads(h)  # (batch, head, d, node): the layout in which small products are fastest
        spread = _spread(attention, slots)
        attended = rows @ spread
        weights = weights.to(attended.dtype)
        alike = (attention.shape, attention.dtype) == (weights.shape, weights.dtype)
        reused = spread if alike and not torch.is_grad_enabled() else None
        aggregated = self._by_scope(attended) @ _spread(weights, slots, over=reused)
        own = rows if self.w1_of_equation_1 is None else self._split_heads(_map(x, self.w1_of_equation_1))
        out = self.lambda_.view(per_head) * aggregated.view_as(rows) + self.mu.view(per_head) * attended + own
        return out.flatten(1, 2).mT

    def neighbourhood(self, x: Tensor) -> Neighbourhood:
        """Return which neighbours each node has, and how it weighs them.

        Parameters
        ----------
        x
            Node features, shape (batch, node, Cin), floating point.

        Raises
        ------
        ValueError
            If `x` has not three axes, or holds a single node and `include_self` is false.
        """
        slots, *weights = self._weigh(x, _map(x, self.w1))
        return Neighbourhood(slots[:, 0].mT, *(one.mT for one in weights))

    def _weigh(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return neighbours (batch, 1, k, node), attention, eic and weights (batch, head or scope, k, node)."""
        nearest = neighbours(x, self.k, include_self=self.include_self)
        slots = nearest.mT.unsqueeze(1)
        attention = self._attention_weights(x, h, nearest)
        eic = self._scores(_map(x, self.w3), slots)
        return slots, attention, eic, self._selection_weights(eic)

    def _split_heads(self, x: Tensor) -> Tensor:
        return x.mT.reshape(x.shape[0], self.heads, -1, x.shape[1])  # (batch, head, d, node)

    def _by_scope(self, x: Tensor) -> Tensor:
        """Return x (batch, ..., node) as (batch, scope, channel, node): one scope for each set of eic."""
        scopes = self.heads if self.eic_scope == "head" else 1
        return x.reshape(x.shape[0], scopes, -1, x.shape[-1])

    def _attention_weights(self, x: Tensor, h: Tensor, nearest: Tensor) -> Tensor:
        """Return the weights of each node's neighbours, (batch, head, k, node); they sum to 1 over k."""
        batch, count, channels = h.shape
        if self.attn_param == "dgl":
            of_node, of_neighbour = _map(x, self.w_dst), h
        else:  # W2 [h_i || h_j] = A h_i + B h_j
            per_head = h.reshape(batch * count, self.heads, -1).transpose(0, 1)
            both = torch.bmm(per_head, torch.cat(self.w2.chunk(2, dim=1), dim=2)).transpose(0, 1)
            of_node, of_neighbour = (half.reshape(batch, count, channels) for half in both.chunk(2, dim=2))
        first = torch.arange(batch, device=h.device).view(-1, 1, 1) * count
        rows = (nearest + first).flatten()  # of the neighbours, in all graphs of the batch
        heads = max(1, _CACHED_CHANNELS * self.heads // channels)
        parts = [torch.split(end, heads * channels // self.heads, dim=-1) for end in (of_node, of_neighbour)]
        logits = [
            self._logits(node, neighbour.flatten(0, 1).index_select(0, rows), attention)
            for node, neighbour, attention in zip(*parts, torch.split(self.attention, heads), strict=True)
        ]
        return torch.cat(logits, dim=-1).permute(0, 3, 2, 1).contiguous().softmax(dim=2)

    def _logits(self, of_node: Tensor, of_neighbours: Tensor, attention: Tensor) -> Tensor:
        """Return the logits of some heads (batch, node, k, head) from both terms of z; those of neighbours are lost."""
        batch, count, channels = of_node.shape
        z = of_neighbours.view(batch, count, -1, channels).add_(of_node.unsqueeze(2))
        z = z.view(batch, count, -1, *attention.shape)
        if self.attn_order == "eq5":
            return F.leaky_relu((z * attention).sum(dim=-1), _NEGATIVE_SLOPE)
        z = F.leaky_relu(z, _NEGATIVE_SLOPE, inplace=True)
        return (z * attention if torch.is_grad_enabled() else z.mul_(attention)).sum(dim=-1)

    def _scores(self, h: Tensor, slots: Tensor) -> Tensor:
        """Return eic of each node's neighbours, (batch, scope, k, node), for h' (batch, node, C)."""
        h = self._by_scope(h.mT)
        h = h.to(torch.promote_types(h.dtype, torch.float32))  # squares of half precision overflow
        slots = slots.expand(-1, h.shape[1], -1, -1)
        log_p = h.log_softmax(dim=2)
        log_likelihood = (log_p.mT @ log_p.exp()).gather(2, slots)  # column i: p_i against every log p_j
        unit = h * h.square().sum(dim=2, keepdim=True).clamp_min(_COSINE_EPS**2).rsqrt()
        return (-log_likelihood).clamp_min(self.e_min).reciprocal() + (unit.mT @ unit).gather(2, slots)

    def _selection_weights(self, eic: Tensor) -> Tensor:
        """Return the weight of each neighbour (batch, scope, k, node), 0 for those that are not selected."""
        kept = _best(eic, selected_count(eic.shape[2], self.select_factor), largest=1 / self.e_min + 1)
        if self.eic_norm == "softmax_selected":
            return eic.masked_fill(~kept, -math.inf).softmax(dim=2)
        if self.eic_norm == "softmax_all":
            return eic.softmax(dim=2) * kept
        selected = eic * kept
        if self.eic_norm == "none":
            return selected
        total = selected.sum(dim=2, keepdim=True)
        return selected / torch.where(total.abs() < _SUM_EPS, _SUM_EPS, total)


def _map(x: Tensor, layer: nn.Linear) -> Tensor:
    """Return the linear map of nodes (batch, node, Cin); on a CPU by a 1 x 1 convolution, which takes half the time."""
    if not x.is_cpu:  # convolutions of a GPU may be less exact than its matrix products
        return F.linear(x, layer.weight)
    return F.conv2d(x.mT.unsqueeze(2), layer.weight[:, :, None, None]).squeeze(2).mT


def _best(scores: Tensor, count: int, *, largest: float) -> Tensor:
    """Return whether each of the scores (..., k, node) is among the `count` best of its node; the first of equals.

    No score is above `largest`. Comparing all pairs is several times faster than sorting many short lists.
    """
    with torch.no_grad():
        number = torch.arange(scores.shape[2], device=scores.device).view(-1, 1)
        ordered = scores - number * (_TIE * torch.finfo(scores.dtype).eps * largest)
        better = ordered.unsqueeze(2) > ordered.unsqueeze(3)  # (batch, scope, one, other, node): other is better
        return better.sum(dim=3, dtype=torch.int32) < count


def _spread(weights: Tensor, slots: Tensor, *, over: Tensor | None = None) -> Tensor:
    """Return weights (batch, head, k, node) as a matrix from all nodes, (batch, head, node j, node i), 0 off edges.

    `over` is such a matrix of the same edges, which is no longer needed.
    """
    nodes = weights.shape[-1]
    matrix = weights.new_zeros(*weights.shape[:2], nodes, nodes) if over is None else over
    return matrix.scatter_(2, slots.expand(-1, weights.shape[1], -1, -1), weights)
