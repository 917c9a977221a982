"""EISGNN: a graph attention layer that keeps the neighbours that are close in entropy and in direction.

Here it is in the words of its equations. On CPUs the default options run compiled, which is several times faster
(`coslide.networks.graph_kernel`).
"""

import math
from typing import Literal, NamedTuple, TypedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coslide.networks.base import check_choice, may_run_compiled
from coslide.networks.graph import neighbours, selected_count

_NEGATIVE_SLOPE = 0.2  # of LeakyReLU, Eq. 5
_COSINE_EPS = 1e-6  # a node whose features are all zero has cosine 0 with every other
_TIE = 2  # roundings of the largest possible eic: those that differ by less are equal
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
    Shapes: input (batch, node, Cin), output (batch, node, C). The form below computes scores between all nodes at once
    (64 x 64 for a tile), so its memory grows with the square of the number of nodes. The compiled one, taken on a CPU
    in float32 or under automatic mixed precision, computes in float32 on the edges alone; it has first derivatives only
    and the options ``attn_order="gatv2"``, ``attn_param="eq5_concat"``, ``eic_norm="softmax_selected"`` and
    ``eic_scope="head"``.

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
        check_choice("attn_order", attn_order, AttentionOrder)
        check_choice("attn_param", attn_param, AttentionParameters)
        check_choice("eic_norm", eic_norm, EicNorm)
        check_choice("entropy_norm", entropy_norm, EntropyNorm)
        check_choice("eic_scope", eic_scope, EicScope)
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
        """Draw the weights anew (Xavier normal, gain of ReLU) and set lambda and mu to 1."""
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
        if self._runs_compiled(x):
            from coslide.networks.graph_kernel import apply_layer

            return apply_layer(self, x)
        h = F.linear(x, self.w1.weight)
        slots, attention, _, weights = self._weigh(x, h)
        attended = _spread(attention, slots) @ self._split_heads(h)
        aggregated = _spread(weights.to(attended.dtype), slots) @ self._split_scopes(_join(attended))
        own = h if self.w1_of_equation_1 is None else F.linear(x, self.w1_of_equation_1.weight)
        lambda_, mu = self.lambda_.view(-1, 1, 1), self.mu.view(-1, 1, 1)
        return _join(lambda_ * self._split_heads(_join(aggregated)) + mu * attended) + own

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
        slots, *weights = self._weigh(x, F.linear(x, self.w1.weight))
        return Neighbourhood(slots[:, 0], *weights)

    def _runs_compiled(self, x: Tensor) -> bool:
        """Tell whether the compiled form can do this."""
        options = (self.attn_order, self.attn_param, self.eic_norm, self.eic_scope)
        usual = options == ("gatv2", "eq5_concat", "softmax_selected", "head")
        single = self.attention.dtype == torch.float32 and x.dtype in (torch.float32, torch.bfloat16, torch.float16)
        return usual and single and may_run_compiled(x)

    def _weigh(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return neighbours (batch, 1, node, k), attention, eic and weights (batch, head or scope, node, k)."""
        nearest = neighbours(x, self.k, include_self=self.include_self)
        slots = nearest.unsqueeze(1)
        eic = self._scores(F.linear(x, self.w3.weight), slots)
        return slots, self._attention_weights(x, h, nearest), eic, self._selection_weights(eic)

    def _split_heads(self, x: Tensor) -> Tensor:
        """Lay x (batch, node, C) as (batch, head, node, d)."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def _split_scopes(self, x: Tensor) -> Tensor:
        """Lay x (batch, node, C) as (batch, scope, node, channel): one scope for each set of eic."""
        return self._split_heads(x) if self.eic_scope == "head" else x.unsqueeze(1)

    def _attention_weights(self, x: Tensor, h: Tensor, nearest: Tensor) -> Tensor:
        """Return the weights of each node's neighbours, (batch, head, node, k); they sum to 1 over k."""
        if self.attn_param == "dgl":
            of_node, of_neighbour = self._split_heads(F.linear(x, self.w_dst.weight)), self._split_heads(h)
        else:  # W2 [h_i || h_j] = A h_i + B h_j
            of_node, of_neighbour = (self._split_heads(h) @ half for half in self.w2.chunk(2, dim=1))
        graph = torch.arange(x.shape[0], device=x.device).view(-1, 1, 1)
        z = of_node.transpose(1, 2).unsqueeze(2) + of_neighbour.transpose(1, 2)[graph, nearest]
        if self.attn_order == "eq5":  # z: (batch, node, k, head, d)
            logits = F.leaky_relu((z * self.attention).sum(dim=-1), _NEGATIVE_SLOPE)
        else:
            logits = (F.leaky_relu(z, _NEGATIVE_SLOPE) * self.attention).sum(dim=-1)
        return logits.permute(0, 3, 1, 2).softmax(dim=-1)

    def _scores(self, h: Tensor, slots: Tensor) -> Tensor:
        """Return eic of each node's neighbours, (batch, scope, node, k), for h' (batch, node, C)."""
        h = self._split_scopes(h)
        h = h.to(torch.promote_types(h.dtype, torch.float32))  # squares of half precision overflow
        slots = slots.expand(-1, h.shape[1], -1, -1)
        log_p = h.log_softmax(dim=-1)
        entropy = -(log_p.exp() @ log_p.mT).gather(3, slots)  # row i: p_i against every log p_j
        unit = h * h.square().sum(dim=-1, keepdim=True).clamp_min(_COSINE_EPS**2).rsqrt()
        return entropy.clamp_min(self.e_min).reciprocal() + (unit @ unit.mT).gather(3, slots)

    def _selection_weights(self, eic: Tensor) -> Tensor:
        """Return the weight of each neighbour (batch, scope, node, k), 0 for those that are not selected."""
        kept = _best(eic, selected_count(eic.shape[-1], self.select_factor), largest=1 / self.e_min + 1)
        if self.eic_norm == "softmax_selected":
            return eic.masked_fill(~kept, -math.inf).softmax(dim=-1)
        if self.eic_norm == "softmax_all":
            return eic.softmax(dim=-1) * kept
        selected = eic * kept
        if self.eic_norm == "none":
            return selected
        total = selected.sum(dim=-1, keepdim=True)
        return selected / torch.where(total.abs() < _SUM_EPS, _SUM_EPS, total)


def _join(x: Tensor) -> Tensor:
    """Lay x (batch, head or scope, node, channel) as (batch, node, C)."""
    return x.transpose(1, 2).flatten(2)


def _best(scores: Tensor, count: int, *, largest: float) -> Tensor:
    """Return whether each of the scores (..., k) is among the `count` best of its node; the first of equals.

    No score is above `largest`.
    """
    number = torch.arange(scores.shape[-1], device=scores.device)
    ordered = scores.detach() - number * (_TIE * torch.finfo(scores.dtype).eps * largest)
    return torch.zeros_like(scores, dtype=torch.bool).scatter(-1, ordered.topk(count).indices, value=True)


def _spread(weights: Tensor, slots: Tensor) -> Tensor:
    """Return weights (batch, head, node i, k) as a matrix (batch, head, node i, node j), 0 where there is no edge."""
    nodes = weights.shape[2]
    matrix = weights.new_zeros(*weights.shape[:3], nodes)
    return matrix.scatter(3, slots.expand(-1, weights.shape[1], -1, -1), weights)
