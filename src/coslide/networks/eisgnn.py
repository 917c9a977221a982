"""EISGNN: a graph attention layer that keeps the neighbours that are close in entropy and in direction.

First the layer as its equations stand, in torch, for any device, precision and option. Then the same for a CPU, on the
edges alone and compiled (`coslide.networks.kernels`), which is several times faster.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from coslide.networks.base import head_channels, run_loops, runs_compiled
from coslide.networks.graph import PAPER, GraphOptions, nearest, neighbours, selected_count

_NEGATIVE_SLOPE = 0.2  # of LeakyReLU, Eq. 5
_COSINE_EPS = 1e-6  # a node whose features are all zero has cosine 0 with every other
_SUM_EPS = 1e-6  # eic may be negative, and so may its sum be near zero
_COMPILED_AS_IN_PAPER = ("attn_order", "attn_param", "eic_norm", "eic_scope")
_TIE = 2  # roundings of the largest possible eic: those that differ by less are equal


class Neighbourhood(NamedTuple):
    """The neighbours of each node of a graph layer and their weights; k slots a node, nearest first.

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
        C, a multiple of H.
    options
        How the equations are read, see `GraphOptions`.

    Raises
    ------
    ValueError
        If `out_channels` is not a multiple of H.

    Notes
    -----
    Shapes: input (batch, node, Cin), output (batch, node, C). The plain form computes scores between all nodes at once
    (64 x 64 for a tile), so its memory grows with the square of the number of nodes. The tuned one, taken on a CPU in
    float32 or under automatic mixed precision, computes in float32 on the edges alone; it has first derivatives only
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
    >>> layer = EISGNN(6, 16, GraphOptions(heads=2))
    >>> layer(torch.zeros(4, 64, 6)).shape
    torch.Size([4, 64, 16])
    """

    def __init__(self, in_channels: int, out_channels: int, options: GraphOptions = PAPER) -> None:
        super().__init__()
        heads, d = options.heads, head_channels(out_channels, options.heads)
        self.out_channels, self.options = out_channels, options
        self.w1 = nn.Linear(in_channels, out_channels, bias=False)
        self.w1_of_equation_1 = None if options.share_w1 else nn.Linear(in_channels, out_channels, bias=False)
        if options.attn_param == "dgl":
            self.w_dst = nn.Linear(in_channels, out_channels, bias=False)
        else:
            self.w2 = nn.Parameter(torch.empty(heads, 2 * d, d))
        self.attention = nn.Parameter(torch.empty(heads, d))
        self.w3 = nn.Linear(in_channels, out_channels, bias=False)
        self.lambda_ = nn.Parameter(torch.ones(heads))
        self.mu = nn.Parameter(torch.ones(heads))
        gain = nn.init.calculate_gain("relu")
        with torch.no_grad():
            for head in range(heads):  # each head is a map of its own, with its own fan in and out
                if options.attn_param == "eq5_concat":
                    nn.init.xavier_normal_(self.w2[head], gain)
                nn.init.xavier_normal_(self.attention[head : head + 1], gain)
        for module in self.children():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight, gain)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the nodes' new features, (batch, node, C).

        Parameters
        ----------
        x
            Node features, shape (batch, node, Cin), floating point.

        Raises
        ------
        ValueError
            If `x` has not three axes, or holds a single node and `include_self` is false.
        """
        if self._runs_tuned(x):
            return self._tuned(x)
        h = self.w1(x)
        found = self.neighbourhood(x, h)
        attended = _spread(found.attention, found.nodes) @ self._by_head(h)
        aggregated = _spread(found.weights.to(h.dtype), found.nodes) @ self._by_scope(_joined(attended))
        lambda_, mu = self.lambda_.view(-1, 1, 1), self.mu.view(-1, 1, 1)
        return _joined(lambda_ * self._by_head(_joined(aggregated)) + mu * attended) + self._own(x, h)

    def neighbourhood(self, x: Tensor, h: Tensor | None = None) -> Neighbourhood:
        """Find which neighbours each node has, and how it weighs them.

        Parameters
        ----------
        x
            Node features, shape (batch, node, Cin), floating point.
        h
            W1 x, where it is there already.

        Raises
        ------
        ValueError
            If `x` has not three axes, or holds a single node and `include_self` is false.
        """
        h = self.w1(x) if h is None else h
        nodes = neighbours(x, self.options.k, include_self=self.options.include_self)
        eic = self._eic(self.w3(x), nodes)
        return Neighbourhood(nodes, self._attention_weights(x, h, nodes), eic, self._selection_weights(eic))

    def _own(self, x: Tensor, h: Tensor) -> Tensor:
        """Compute the last term of Eq. 1."""
        own: Tensor = h if self.w1_of_equation_1 is None else self.w1_of_equation_1(x)
        return own

    def _by_head(self, x: Tensor) -> Tensor:
        """Lay x (batch, node, C) as (batch, head, node, d)."""
        return x.reshape(*x.shape[:2], self.options.heads, -1).transpose(1, 2)

    def _by_scope(self, x: Tensor) -> Tensor:
        """Lay x (batch, node, C) as (batch, scope, node, channel): one scope for each set of eic."""
        return self._by_head(x) if self.options.eic_scope == "head" else x.unsqueeze(1)

    def _attention_weights(self, x: Tensor, h: Tensor, nodes: Tensor) -> Tensor:
        """Weigh each node's neighbours by Eq. 5-6, (batch, head, node, k)."""
        if self.options.attn_param == "dgl":
            of_node, of_neighbour = self._by_head(self.w_dst(x)), self._by_head(h)
        else:  # W2 [h_i || h_j] = A h_i + B h_j
            of_node, of_neighbour = (self._by_head(h) @ half for half in self.w2.chunk(2, dim=1))
        graph = torch.arange(x.shape[0], device=x.device).view(-1, 1, 1)
        z = of_node.transpose(1, 2).unsqueeze(2) + of_neighbour.transpose(1, 2)[graph, nodes]
        if self.options.attn_order == "eq5":  # z: (batch, node, k, head, d)
            logits = F.leaky_relu((z * self.attention).sum(dim=-1), _NEGATIVE_SLOPE)
        else:
            logits = (F.leaky_relu(z, _NEGATIVE_SLOPE) * self.attention).sum(dim=-1)
        return logits.permute(0, 3, 1, 2).softmax(dim=-1)

    def _eic(self, h: Tensor, nodes: Tensor) -> Tensor:
        """Score each node's neighbours by Eq. 7, (batch, scope, node, k), for h' (batch, node, C)."""
        h = self._by_scope(h)
        h = h.to(torch.promote_types(h.dtype, torch.float32))  # squares of half precision overflow
        slots = nodes.unsqueeze(1).expand(-1, h.shape[1], -1, -1)
        log_p = h.log_softmax(dim=-1)
        entropy = -(log_p.exp() @ log_p.transpose(-1, -2)).gather(3, slots)  # row i: p_i against every log p_j
        unit = h * h.square().sum(dim=-1, keepdim=True).clamp_min(_COSINE_EPS**2).rsqrt()
        return entropy.clamp_min(self.options.e_min).reciprocal() + (unit @ unit.transpose(-1, -2)).gather(3, slots)

    def _selection_weights(self, eic: Tensor) -> Tensor:
        """Weigh the selected neighbours by Eq. 9-10, (batch, scope, node, k), 0 for those that are not selected."""
        number = torch.arange(eic.shape[-1], device=eic.device)
        tie = _TIE * torch.finfo(eic.dtype).eps * (1 / self.options.e_min + 1)
        ordered = eic.detach() - number * tie  # the first of equals
        best = ordered.topk(selected_count(eic.shape[-1], self.options.select_factor)).indices
        kept = torch.zeros_like(eic).scatter(-1, best, 1.0).bool()
        if self.options.eic_norm == "softmax_selected":
            return eic.masked_fill(~kept, -math.inf).softmax(dim=-1)
        if self.options.eic_norm == "softmax_all":
            return eic.softmax(dim=-1) * kept
        selected = eic * kept
        if self.options.eic_norm == "none":
            return selected
        total = selected.sum(dim=-1, keepdim=True)
        return selected / torch.where(total.abs() < _SUM_EPS, _SUM_EPS, total)

    def _runs_tuned(self, x: Tensor) -> bool:
        usual = all(getattr(self.options, name) == getattr(PAPER, name) for name in _COMPILED_AS_IN_PAPER)
        return usual and runs_compiled(x, self.attention)

    def _tuned(self, x: Tensor) -> Tensor:
        """Compute what `forward` does, in float32 on the edges alone."""
        options = self.options
        with torch.autocast("cpu", enabled=False):
            x = x.float().contiguous()  # nodes taken from a map lie apart
            edges = nearest(x, options.k, include_self=options.include_self)
            m = selected_count(edges.shape[-1], options.select_factor)
            h = self.w1(x)
            own, h, h3 = (one.unflatten(2, (options.heads, -1)) for one in (self._own(x, h), h, self.w3(x)))
            both = torch.cat(self.w2.chunk(2, dim=1), dim=2)  # W2 [h_i || h_j] = A h_i + B h_j
            ends = torch.bmm(h.flatten(0, 1).transpose(0, 1), both)
            inputs = (own, h, ends.view(options.heads, *x.shape[:2], 2, -1), h3, self.attention, self.lambda_, self.mu)
            if not torch.is_grad_enabled():
                return _run_graphs(edges, (m, options.e_min), *inputs)[0].flatten(2)
            out: Tensor = _Graphs.apply(edges, (m, options.e_min), *inputs)  # type: ignore[no-untyped-call]
            return out.flatten(2)


def _run_graphs(edges: Tensor, selection: tuple[int, float], own: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Compute the layer between its linear maps, and what its gradient needs by channel and by edge."""
    batch, nodes, heads, d = own.shape
    out = torch.empty(own.shape)
    kept = torch.empty(4, batch, heads, nodes, d), torch.empty(3, batch, heads, nodes, edges.shape[-1])
    run_loops("kernels.run_graphs", out, *kept, edges, own, *inputs, selection[0], np.float32(selection[1]))
    return out, *kept


class _Graphs(torch.autograd.Function):
    """`EISGNN` between its linear maps; no gradient flows through the choice of neighbours or their selection."""

    @staticmethod
    def forward(ctx: Any, edges: Tensor, selection: tuple[int, float], own: Tensor, *inputs: Tensor) -> Tensor:
        """Compute lambda_c sum_s w_is F_s + mu_c F_i + own_i, (batch, node, head, d)."""
        out, *kept = _run_graphs(edges, selection, own, *inputs)
        ctx.save_for_backward(*inputs, edges, *kept)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Compute the gradients of the inputs."""
        of_inputs = [torch.zeros(one.shape) for one in ctx.saved_tensors[:6]]
        run_loops("kernels.run_graphs_back", *of_inputs, grad, *ctx.saved_tensors)
        return None, None, grad, *of_inputs


def _joined(x: Tensor) -> Tensor:
    """Lay x (batch, head or scope, node, channel) as (batch, node, C)."""
    return x.transpose(1, 2).flatten(2)


def _spread(weights: Tensor, nodes: Tensor) -> Tensor:
    """Lay weights (batch, head, node i, k) as a matrix (batch, head, node i, node j), 0 where there is no edge."""
    slots = nodes.unsqueeze(1).expand(-1, weights.shape[1], -1, -1)
    return weights.new_zeros(*weights.shape[:3], nodes.shape[1]).scatter(3, slots, weights)
