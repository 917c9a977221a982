"""EISGNN on a CPU, compiled: loops over the heads and graphs of a batch, forward and backward.

It computes what `coslide.networks.eisgnn.EISGNN` computes with its default options, in single precision and on the k
edges of each node alone, so memory grows with the nodes and not with their square. A call runs in one thread, shares
nothing with others, and leaves Python's lock free.

Importing this module imports numba, which compiles at the first call and keeps the result on the disk.
"""

# Compiled functions have no annotations, for numba finds the types, and as many arguments as there are arrays.
# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: ANN001, ANN202, PLR0913, PLR0917

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from coslide.networks.graph import selected_count
from coslide.networks.node_kernel import nearest

if TYPE_CHECKING:
    from coslide.networks.eisgnn import EISGNN

_ZERO, _ONE, _INFINITY = np.float32(0), np.float32(1), np.float32(np.inf)
_NEGATIVE_SLOPE, _COSINE_EPS = np.float32(0.2), np.float32(1e-6)  # as in EISGNN
_TIE = np.float32(2 * np.finfo(np.float32).eps)
_FEW = 8  # channels of a head: a loop over fewer costs more than its sums
_LOG2_E, _LN_2_HIGH, _LN_2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)

_exact = njit(nogil=True, cache=True, error_model="numpy")
_compiled = njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "arcp"})


def apply_layer(layer: "EISGNN", x: Tensor) -> Tensor:
    """Apply a layer to nodes on a CPU; float32 (batch, node, C).

    Parameters
    ----------
    layer
        A layer with float32 weights and the default options, apart from `heads`, `k`, `select_factor`, `include_self`,
        `e_min` and `share_w1`.
    x
        Shape (batch, node, Cin), float32 or less precise.

    Raises
    ------
    ValueError
        As `EISGNN.forward` does.
    """
    with torch.autocast("cpu", enabled=False):
        x = x.float().contiguous()  # nodes taken from a map lie apart
        edges = nearest(x, layer.k, include_self=layer.include_self)
        h, h3 = F.linear(x, layer.w1.weight), F.linear(x, layer.w3.weight)
        own = None if layer.w1_of_equation_1 is None else F.linear(x, layer.w1_of_equation_1.weight)
        both = torch.cat(layer.w2.chunk(2, dim=1), dim=2)  # W2 [h_i || h_j] = A h_i + B h_j
        ends = torch.bmm(h.view(-1, layer.heads, layer.w2.shape[2]).transpose(0, 1), both)
        graphs = (edges, selected_count(edges.shape[-1], layer.select_factor), layer.e_min)
        inputs = (h, ends, h3, layer.attention, layer.lambda_, layer.mu)
        if not torch.is_grad_enabled():
            return _run(graphs, own, *inputs)[0]
        out: Tensor = _Graphs.apply(graphs, own, *inputs)  # type: ignore[no-untyped-call]
        return out


class _Graphs(torch.autograd.Function):
    """The layer between its linear maps; no gradient flows through the choice of neighbours or their selection."""

    @staticmethod
    def forward(ctx: Any, graphs: tuple[Tensor, int, float], own: Tensor | None, *inputs: Tensor) -> Tensor:
        """Compute the nodes' new features, (batch, node, C)."""
        out, *kept = _run(graphs, own, *inputs)
        ctx.shares_own = own is None
        ctx.save_for_backward(*inputs, graphs[0], *kept)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Compute the gradients of the maps and of the weights."""
        h, ends, h3, *factors = ctx.saved_tensors[:6]
        grad = grad.contiguous()
        of_h = grad.clone() if ctx.shares_own else torch.zeros(h.shape)
        of_others = [torch.zeros(one.shape) for one in (ends, h3, *factors)]  # written to: they lie in one piece
        _backward(*_arrays(of_h, *of_others, grad, *ctx.saved_tensors))
        return None, None if ctx.shares_own else grad, of_h, *of_others


def _run(graphs: tuple[Tensor, int, float], own: Tensor | None, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Compute the nodes' new features, and what the gradient needs by channel, by edge and by node."""
    h, attention, (edges, selected, e_min) = inputs[0], inputs[3], graphs
    (batch, nodes, k), (heads, d) = edges.shape, attention.shape
    by_channel = h.new_empty(4, batch, heads, nodes, d)
    by_edge, by_node = h.new_empty(3, batch, heads, nodes, k), h.new_empty(2, batch, heads, nodes)
    results = (h.new_empty(h.shape), by_channel, by_edge, by_node)
    arrays = _arrays(*results, *inputs, edges, h if own is None else own)
    arguments = (*arrays, selected, np.float32(e_min))
    _forward(*arguments)
    return results


def _arrays(*tensors: Tensor) -> list[Any]:
    return [one.detach().contiguous().numpy() for one in tensors]


@_compiled
def _exponentials(values):
    """Write the exponentials of numbers over them."""
    for i in range(len(values)):
        values[i] = _exp(values[i])


@_exact
def _exp(x):
    """Compute the exponential of a number that is not above 0; unlike the C library's, eight are computed at once."""
    above = np.float32(-87) if x < np.float32(-87) else x
    power = np.floor(above * _LOG2_E + np.float32(0.5))
    r = (above - power * _LN_2_HIGH) - power * _LN_2_LOW
    taylor = np.float32(1 / 5040)
    for factorial in (np.float32(1 / 720), np.float32(1 / 120), np.float32(1 / 24), np.float32(1 / 6)):
        taylor = taylor * r + factorial
    taylor = ((taylor * r + np.float32(0.5)) * r + _ONE) * r + _ONE
    taylor *= np.int32((np.int32(power) + np.int32(127)) << np.int32(23)).view(np.float32)
    return _ZERO if x < np.float32(-87) else taylor


@_compiled
def _forward(out, by_channel, by_edge, by_node, h, ends, h3, a, lam, mu, edges, own, m, e_min):
    _, batch, heads, nodes, d = by_channel.shape
    attended, p, below, unit = by_channel[0], by_channel[1], by_channel[2], by_channel[3]
    alpha, weights, slope, log_sum, scale = by_edge[0], by_edge[1], by_edge[2], by_node[0], by_node[1]
    out, own = out.reshape(batch, nodes, heads, d), own.reshape(batch, nodes, heads, d)
    h, h3 = h.reshape(batch, nodes, heads, d), h3.reshape(batch, nodes, heads, d)
    ends = ends.reshape(heads, batch, nodes, 2, d)
    own_h, mixed = np.empty((nodes, d), np.float32), np.empty((nodes, d), np.float32)
    for b in range(batch):
        for c in range(heads):
            _spread_of_channels(p[b, c], below[b, c], log_sum[b, c], unit[b, c], scale[b, c], h3[b], c)
            own_h[:] = h[b, :, c]
            _attend(attended[b, c], alpha[b, c], own_h, ends[c, b], a[c], edges[b])
            _select(weights[b, c], slope[b, c], p[b, c], below[b, c], log_sum[b, c], unit[b, c], edges[b], m, e_min)
            _mix(mixed, weights[b, c], attended[b, c], edges[b])
            for i in range(nodes):
                for e in range(d):
                    out[b, i, c, e] = lam[c] * mixed[i, e] + mu[c] * attended[b, c, i, e] + own[b, i, c, e]


@_compiled
def _spread_of_channels(p, below, log_sum, unit, scale, h3, c):
    """Write what cross-entropy and cosine are made of, for one head: log p = below - log_sum, cos = unit . unit."""
    d = h3.shape[2]
    for i in range(len(h3)):
        top, squares = h3[i, c, 0], _ZERO
        for e in range(d):
            top = max(top, h3[i, c, e])
            squares += h3[i, c, e] * h3[i, c, e]
        scale[i] = _ONE / np.sqrt(max(squares, _COSINE_EPS * _COSINE_EPS))
        for e in range(d):
            unit[i, e] = h3[i, c, e] * scale[i]
            below[i, e] = h3[i, c, e] - top
            p[i, e] = below[i, e]
    _exponentials(p.reshape(-1))
    for i in range(len(p)):
        total = _ZERO
        for e in range(d):
            total += p[i, e]
        log_sum[i] = np.log(total)
        for e in range(d):
            p[i, e] /= total


@_compiled
def _attend(attended, alpha, h, ends, a, edges):
    """Write the attention weights of one head and what they add up to."""
    (rows, k), d = edges.shape, len(a)
    for i in range(rows):
        for s in range(k):
            j, logit = edges[i, s], _ZERO
            for e in range(d):
                z = ends[i, 0, e] + ends[j, 1, e]
                logit += a[e] * (z if z > _ZERO else _NEGATIVE_SLOPE * z)
            alpha[i, s] = logit
    _softmax(alpha)
    _mix(attended, alpha, h, edges)


@_compiled
def _mix(mixed, weights, x, edges):
    """Write the weighted sum of each node's neighbours in one head."""
    (rows, k), d = edges.shape, x.shape[1]
    for i in range(rows):
        if d < _FEW:
            for e in range(d):
                total = _ZERO
                for s in range(k):
                    total += weights[i, s] * x[edges[i, s], e]
                mixed[i, e] = total
            continue
        for e in range(d):
            mixed[i, e] = weights[i, 0] * x[edges[i, 0], e] if k % 2 else _ZERO
        for s in range(k % 2, k, 2):  # two at once halve the loads of the sum
            j, w, other, w_other = edges[i, s], weights[i, s], edges[i, s + 1], weights[i, s + 1]
            for e in range(d):
                mixed[i, e] += w * x[j, e] + w_other * x[other, e]


@_compiled
def _select(weights, slope, p, below, log_sum, unit, edges, m, e_min):
    """Write the weights of the m neighbours with the largest eic of one head, 0 for the others, and d eic / d e."""
    (rows, k), d = edges.shape, p.shape[1]
    for i in range(rows):
        for s in range(k):
            j, entropy, cosine = edges[i, s], log_sum[edges[i, s]], _ZERO
            for e in range(d):
                entropy -= p[i, e] * below[j, e]
                cosine += unit[i, e] * unit[j, e]
            slope[i, s], weights[i, s] = entropy, cosine
    for i in range(rows):
        for s in range(k):
            entropy = slope[i, s]
            weights[i, s] += _ONE / (e_min if entropy < e_min else entropy)
            slope[i, s] = _ZERO if entropy < e_min else -_ONE / (entropy * entropy)
    _drop_worst(weights, k - m, _TIE * (_ONE / e_min + _ONE))
    _softmax(weights)


@_compiled
def _drop_worst(values, count, step):
    """Write minus infinity over the `count` smallest of each row; of equals, apart by less than `step`, the last."""
    rows, k = values.shape
    ordered = np.empty(k, np.float32)
    for i in range(rows):
        last, top = -_INFINITY, -_INFINITY
        for s in range(k):
            ordered[s] = values[i, s] - np.float32(s) * step
            top = max(top, ordered[s])
        for _ in range(count):  # no branches, which a processor could not foresee
            worst = _INFINITY
            for s in range(k):
                worst = min(worst, ordered[s] if ordered[s] > last else _INFINITY)
            last = worst
        for s in range(k):  # whatever rounding does to equals, the best is kept
            kept = (ordered[s] > last) | (ordered[s] == top)
            values[i, s] = values[i, s] if kept else -_INFINITY


@_compiled
def _softmax(values):
    """Write the softmax of each row over it."""
    rows, k = values.shape
    for i in range(rows):
        top = values[i, 0]
        for s in range(1, k):
            top = max(top, values[i, s])
        for s in range(k):
            values[i, s] -= top
    _exponentials(values.reshape(-1))
    for i in range(rows):
        total = _ZERO
        for s in range(k):
            total += values[i, s]
        for s in range(k):
            values[i, s] /= total


@_compiled
def _backward(d_h, d_ends, d_h3, d_a, d_lam, d_mu, grad, h, ends, _h3, a, lam, mu, edges, by_channel, by_edge, by_node):
    _, batch, heads, nodes, d = by_channel.shape
    attended, p, below, unit = by_channel[0], by_channel[1], by_channel[2], by_channel[3]
    alpha, weights, slope, scale = by_edge[0], by_edge[1], by_edge[2], by_node[1]
    h, grad = h.reshape(batch, nodes, heads, d), grad.reshape(batch, nodes, heads, d)
    d_h, d_h3 = d_h.reshape(batch, nodes, heads, d), d_h3.reshape(batch, nodes, heads, d)
    ends, d_ends = ends.reshape(heads, batch, nodes, 2, d), d_ends.reshape(heads, batch, nodes, 2, d)
    d_attended, d_eic = np.empty((nodes, d), np.float32), np.empty(edges.shape[1:], np.float32)
    for b in range(batch):
        for c in range(heads):
            _aggregate_back(
                d_attended, d_eic, d_lam, d_mu, grad[b], attended[b, c], weights[b, c], edges[b], c, lam, mu
            )
            _select_back(d_h3[b], d_eic, slope[b, c], p[b, c], below[b, c], unit[b, c], scale[b, c], edges[b], c)
            _attend_back(d_h[b], d_ends[c, b], d_a[c], d_attended, h[b], ends[c, b], a[c], alpha[b, c], edges[b], c)


@_compiled
def _aggregate_back(d_attended, d_eic, d_lam, d_mu, grad, attended, weights, edges, c, lam, mu):
    """Write the gradients of one head's attention outputs and eic, and add those of lambda and mu."""
    (rows, d), k, along = d_attended.shape, edges.shape[1], _ZERO
    for i in range(rows):
        for e in range(d):
            d_attended[i, e] = mu[c] * grad[i, c, e]
            along += grad[i, c, e] * attended[i, e]
    d_mu[c] += along
    for i in range(rows):
        mean = _ZERO
        for s in range(k):
            j, w, product = edges[i, s], lam[c] * weights[i, s], _ZERO
            if weights[i, s] != _ZERO:
                for e in range(d):
                    product += grad[i, c, e] * attended[j, e]
                for e in range(d):
                    d_attended[j, e] += w * grad[i, c, e]
            d_eic[i, s] = product
            mean += weights[i, s] * product
        d_lam[c] += mean
        for s in range(k):
            d_eic[i, s] = lam[c] * weights[i, s] * (d_eic[i, s] - mean)


@_compiled
def _select_back(d_h3, d_eic, slope, p, below, unit, scale, edges, c):
    """Add one head's gradient of h' by way of the cross-entropy, -sum p_i log p_j, and of the cosine."""
    (rows, k), d = edges.shape, p.shape[1]
    d_p, d_unit = np.zeros((rows, d), np.float32), np.zeros((rows, d), np.float32)
    d_log_sum = np.zeros(rows, np.float32)
    for i in range(rows):
        for s in range(k):
            j, of_cosine = edges[i, s], d_eic[i, s]
            of_entropy = of_cosine * slope[i, s]
            if of_cosine != _ZERO:
                d_log_sum[j] += of_entropy
                for e in range(d):
                    d_p[i, e] -= of_entropy * below[j, e]
                    d_h3[j, c, e] -= of_entropy * p[i, e]
                    d_unit[i, e] += of_cosine * unit[j, e]
                for e in range(d):  # after the loop above: a node may be its own neighbour
                    d_unit[j, e] += of_cosine * unit[i, e]
    for i in range(rows):
        mean, along = _ZERO, _ZERO
        for e in range(d):
            mean += p[i, e] * d_p[i, e]
            along += unit[i, e] * d_unit[i, e]
        if scale[i] * _COSINE_EPS >= _ONE:  # the norm is kept above eps, and has no gradient there
            along = _ZERO
        for e in range(d):
            d_h3[i, c, e] += p[i, e] * (d_p[i, e] - mean + d_log_sum[i])
            d_h3[i, c, e] += scale[i] * (d_unit[i, e] - along * unit[i, e])


@_compiled
def _attend_back(d_h, d_ends, d_a, d_attended, h, ends, a, alpha, edges, c):
    """Add one head's gradients of h, of both terms of z and of a."""
    (rows, k), d = edges.shape, len(a)
    d_logit = np.empty(k, np.float32)
    for i in range(rows):
        mean = _ZERO
        for s in range(k):
            j, w, product = edges[i, s], alpha[i, s], _ZERO
            for e in range(d):
                product += d_attended[i, e] * h[j, c, e]
            for e in range(d):
                d_h[j, c, e] += w * d_attended[i, e]
            d_logit[s] = product
            mean += w * product
        for s in range(k):
            j, of_logit = edges[i, s], alpha[i, s] * (d_logit[s] - mean)
            for e in range(d):
                z = ends[i, 0, e] + ends[j, 1, e]
                bent = of_logit if z > _ZERO else _NEGATIVE_SLOPE * of_logit
                d_a[e] += bent * z
                d_ends[i, 0, e] += bent * a[e]
                d_ends[j, 1, e] += bent * a[e]
