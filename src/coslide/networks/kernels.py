"""The loops of EISGNN and CGBlock on a CPU, compiled by numba: on the edges of graphs, and on the patches of maps.

They compute what `coslide.networks.eisgnn` and `coslide.networks.cgblock` write out in torch, on contiguous float32
arrays and on the k edges of each node alone, so memory grows with the nodes and not with their square. A call runs in
one thread, shares nothing with others, and leaves Python's lock free.

Loops have no branches that depend on the data where a processor could not foresee them. Importing this module imports
numba, which compiles at the first call and keeps the result on the disk. It compiles anew where this file has changed,
and knows of no other: so nothing is compiled here that another file defines.
"""

# Compiled functions have no annotations, for numba finds the types, and as many arguments as there are arrays.
# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: ANN001, ANN201, ANN202, PLR0913, PLR0917

import numpy as np
from numba import njit

_SEARCHED = 512  # nodes of a graph, at most: `coslide.networks.graph.SEARCHED`
_NUMBERS, _MOST = np.int64(_SEARCHED - 1), np.iinfo(np.int64).max
_ZERO, _ONE, _INFINITY = np.float32(0), np.float32(1), np.float32(np.inf)
_NEGATIVE_SLOPE, _LEAST_SQUARES = np.float32(0.2), np.float32(1e-6) ** 2  # as in EISGNN
_TIE = np.float32(2 * np.finfo(np.float32).eps)
_FEW = 8  # channels of a head: a loop over fewer costs more than its sums
_LOG2_E, _LN_2_HIGH, _LN_2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)

_exact = njit(nogil=True, cache=True, error_model="numpy")
_compiled = njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})


@_exact
def nearest(edges, x, include_self):
    """Write the nearest nodes of each node, in order; of equal distances the first, and before all the node itself.

    Positive numbers are ordered as their bits are. With a node's number in its last bits, a distance is a key; it is
    rounded to one part in 10^13.

    Parameters
    ----------
    edges
        Output, int32 (batch, node, k).
    x
        Node features, (batch, node, channel).
    include_self
        Whether a node is its own first neighbour, or none of its own.
    """
    _, nodes, k = edges.shape
    apart = np.zeros((nodes, nodes))
    keys = apart.view(np.int64)
    for b in range(len(edges)):
        _distances(apart, x[b])
        for i in range(nodes):
            for j in range(nodes):
                keys[i, j] = (keys[i, j] & (_MOST - _NUMBERS)) | j
            keys[i, i] = i - _SEARCHED if include_self else _MOST
            last = -_MOST
            for s in range(k):
                smallest = _MOST
                for j in range(nodes):
                    smallest = min(smallest, keys[i, j] if keys[i, j] > last else _MOST)
                edges[b, i, s] = smallest & _NUMBERS
                last = smallest


@_compiled
def _distances(apart, x):
    """Write the squared distances between all nodes; in double precision, differences of float32 are exact."""
    nodes, channels = x.shape
    own = np.empty(channels)
    for i in range(nodes):
        own[:] = x[i]
        for j in range(i):
            total = 0.0
            for e in range(channels):
                total += (own[e] - x[j, e]) ** 2
            apart[i, j] = apart[j, i] = total


@_compiled
def run_graphs(out, by_channel, by_edge, edges, own, h, ends, h3, a, lam, mu, m, e_min):
    """Write lambda sum_s w_is F_s + mu F_i + own_i of each head, and what its gradient needs.

    Parameters
    ----------
    out
        Output, (batch, node, head, d).
    by_channel
        Outputs, each (batch, head, node, d): F, the softmax of h', its logarithm, and the direction of h'.
    by_edge
        Outputs, each (batch, head, node, k): attention, w, and the derivative of eic by the cross-entropy.
    edges
        Neighbours of each node, int32 (batch, node, k).
    own, h, h3
        The last term of the sum, h and h', (batch, node, head, d).
    ends
        A h and B h, the terms of z, (head, batch, node, 2, d).
    a, lam, mu
        Of each head, (head, d) and (head,).
    m, e_min
        Neighbours that are selected, and the floor of the cross-entropy.
    """
    attended, p, log_p, unit = by_channel[0], by_channel[1], by_channel[2], by_channel[3]
    alpha, weights, slope = by_edge[0], by_edge[1], by_edge[2]
    batch, nodes, heads, d = h.shape
    of_head, mixed = np.empty((nodes, d), np.float32), np.empty((nodes, d), np.float32)
    for b in range(batch):
        for c in range(heads):
            _attend(alpha[b, c], ends[c, b], a[c], edges[b])
            of_head[:] = h[b, :, c]
            _mix(attended[b, c], alpha[b, c], of_head, edges[b])
            of_head[:] = h3[b, :, c]
            _describe(p[b, c], log_p[b, c], unit[b, c], of_head)
            _select(weights[b, c], slope[b, c], p[b, c], log_p[b, c], unit[b, c], edges[b], m, e_min)
            _mix(mixed, weights[b, c], attended[b, c], edges[b])
            for i in range(nodes):
                for e in range(d):
                    out[b, i, c, e] = lam[c] * mixed[i, e] + mu[c] * attended[b, c, i, e] + own[b, i, c, e]


@_compiled
def run_graphs_back(d_h, d_ends, d_h3, d_a, d_lam, d_mu, grad, h, ends, h3, a, lam, mu, edges, by_channel, by_edge):
    """Write the gradients of the inputs of `run_graphs` but `own` over zeros; none flows through the choices."""
    attended, p, log_p, unit = by_channel[0], by_channel[1], by_channel[2], by_channel[3]
    alpha, weights, slope = by_edge[0], by_edge[1], by_edge[2]
    batch, nodes, heads, d = h.shape
    for b in range(batch):
        for c in range(heads):
            of_head = grad[b, :, c].copy()
            d_attended, d_edge = mu[c] * of_head, lam[c] * weights[b, c]
            d_mu[c] += np.sum(of_head * attended[b, c])
            _mix_back(d_attended, d_edge, of_head, attended[b, c], edges[b])
            d_lam[c] += _softmax_back(d_edge, weights[b, c])
            d_edge *= lam[c]
            of_head[:] = h3[b, :, c]
            d_h3[b, :, c] = _select_back(d_edge, slope[b, c], p[b, c], log_p[b, c], unit[b, c], of_head, edges[b])
            of_head[:] = h[b, :, c]
            d_head, d_edge = np.zeros((nodes, d), np.float32), alpha[b, c].copy()
            _mix_back(d_head, d_edge, d_attended, of_head, edges[b])
            d_h[b, :, c] = d_head
            _softmax_back(d_edge, alpha[b, c])
            _attend_back(d_ends[c, b], d_a[c], d_edge, ends[c, b], a[c], edges[b])


@_compiled
def _attend(alpha, ends, a, edges):
    """Write the attention weights of one head."""
    for i in range(len(edges)):
        for s in range(edges.shape[1]):
            j, logit = edges[i, s], _ZERO
            for e in range(len(a)):
                z = ends[i, 0, e] + ends[j, 1, e]
                logit += a[e] * (z if z > _ZERO else _NEGATIVE_SLOPE * z)
            alpha[i, s] = logit
    _softmax(alpha)


@_compiled
def _attend_back(d_ends, d_a, d_logits, ends, a, edges):
    for i in range(len(edges)):
        for s in range(edges.shape[1]):
            j = edges[i, s]
            for e in range(len(a)):
                z = ends[i, 0, e] + ends[j, 1, e]
                bent = d_logits[i, s] if z > _ZERO else _NEGATIVE_SLOPE * d_logits[i, s]
                d_a[e] += bent * z
                d_ends[i, 0, e] += bent * a[e]
                d_ends[j, 1, e] += bent * a[e]


@_compiled
def _mix(mixed, weights, x, edges):
    """Write the weighted sum of each node's neighbours."""
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
def _mix_back(d_x, weights, d_mixed, x, edges):
    """Add the gradient of x, and write that of the weights over them."""
    for i in range(len(edges)):
        for s in range(edges.shape[1]):
            j, w = edges[i, s], weights[i, s]
            weights[i, s] = _dot(d_mixed, i, x, j)
            for e in range(x.shape[1]):
                d_x[j, e] += w * d_mixed[i, e]


@_compiled
def _describe(p, log_p, unit, h3):
    """Write what cross-entropy and cosine are made of."""
    rows, d = h3.shape
    p[:] = h3
    _softmax(p)
    for i in range(rows):
        top, peak = h3[i, 0], p[i, 0]
        for e in range(d):
            top, peak = max(top, h3[i, e]), max(peak, p[i, e])
        log_peak, scale = np.log(peak), _ONE / np.sqrt(max(_dot(h3, i, h3, i), _LEAST_SQUARES))
        for e in range(d):
            log_p[i, e] = h3[i, e] - top + log_peak
            unit[i, e] = h3[i, e] * scale


@_compiled
def _select(weights, slope, p, log_p, unit, edges, m, e_min):
    """Write the weights of the m neighbours with the largest eic, 0 for the others, and d eic / d e."""
    rows, k = edges.shape
    step = _TIE * (_ONE / e_min + _ONE)  # coefficients that differ by less are equal
    ordered = np.empty(k, np.float32)
    for i in range(rows):
        for s in range(k):
            j, cosine, entropy = edges[i, s], _ZERO, _ZERO
            for e in range(p.shape[1]):
                cosine += unit[i, e] * unit[j, e]
                entropy -= p[i, e] * log_p[j, e]
            weights[i, s], slope[i, s] = cosine, entropy
    for i in range(rows):
        top, last = -_INFINITY, -_INFINITY
        for s in range(k):
            entropy = slope[i, s]
            weights[i, s] += _ONE / (e_min if entropy < e_min else entropy)
            slope[i, s] = _ZERO if entropy < e_min else -_ONE / (entropy * entropy)
        for s in range(k):
            ordered[s] = weights[i, s] - np.float32(s) * step
            top = max(top, ordered[s])
        for _ in range(k - m):
            worst = _INFINITY
            for s in range(k):
                worst = min(worst, ordered[s] if ordered[s] > last else _INFINITY)
            last = worst
        for s in range(k):  # whatever rounding does to equals, the best is kept
            kept = (ordered[s] > last) | (ordered[s] == top)
            weights[i, s] = weights[i, s] if kept else -_INFINITY
    _softmax(weights)


@_compiled
def _select_back(d_eic, slope, p, log_p, unit, h3, edges):
    """Compute the gradient of h' by way of the cross-entropy, -sum p_i log p_j, and of the cosine."""
    rows, d = p.shape
    gradients = np.zeros((3, rows, d), np.float32)
    d_p, d_log_p, d_unit, d_h3 = gradients[0], gradients[1], gradients[2], np.empty((rows, d), np.float32)
    for i in range(rows):
        for s in range(edges.shape[1]):
            j, of_cosine = edges[i, s], d_eic[i, s]
            of_entropy = of_cosine * slope[i, s]
            if of_cosine != _ZERO:
                for e in range(d):
                    d_p[i, e] -= of_entropy * log_p[j, e]
                    d_log_p[j, e] -= of_entropy * p[i, e]
                    d_unit[i, e] += of_cosine * unit[j, e]
                for e in range(d):  # after the loop above: a node may be its own neighbour
                    d_unit[j, e] += of_cosine * unit[i, e]
    for i in range(rows):
        squares = _dot(h3, i, h3, i)
        scale = _ONE / np.sqrt(max(squares, _LEAST_SQUARES))
        # the norm is kept above eps, and has no gradient there
        along = _dot(unit, i, d_unit, i) if squares > _LEAST_SQUARES else _ZERO
        mean, total = _dot(p, i, d_p, i), np.sum(d_log_p[i])
        for e in range(d):
            by_entropy = p[i, e] * (d_p[i, e] - mean - total) + d_log_p[i, e]
            d_h3[i, e] = by_entropy + scale * (d_unit[i, e] - along * unit[i, e])
    return d_h3


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
    flat = values.reshape(-1)
    for i in range(len(flat)):
        flat[i] = _exp(flat[i])
    for i in range(rows):
        total = _ZERO
        for s in range(k):
            total += values[i, s]
        for s in range(k):
            values[i, s] /= total


@_compiled
def _softmax_back(d_values, softmax):
    """Write the gradient of what a softmax was taken of over that of its result, and sum the latter, weighed."""
    total = _ZERO
    for i in range(len(softmax)):
        mean = _dot(softmax, i, d_values, i)
        for s in range(softmax.shape[1]):
            d_values[i, s] = softmax[i, s] * (d_values[i, s] - mean)
        total += mean
    return total


@_compiled
def _dot(a, i, b, j):
    """Compute the product of row i of a and row j of b."""
    total = _ZERO
    for e in range(a.shape[1]):
        total += a[i, e] * b[j, e]
    return total


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
def add_patches(y, nodes, patch):
    """Add nodes[i, j] patch[u] to y[i, u, j], where u is a row of a patch and values lie in runs of such rows."""
    rows, rate, width, run = y.shape
    for i in range(rows):
        for u in range(rate):
            for j in range(width):
                for e in range(run):
                    y[i, u, j, e] += nodes[i, j, e] * patch[u, e]


@_compiled
def add_patches_back(d_nodes, d_patch, grad, nodes, patch):
    """Add the gradients of nodes and patch for that of the map."""
    rows, rate, width, run = grad.shape
    for i in range(rows):
        for u in range(rate):
            for j in range(width):
                for e in range(run):
                    d_patch[u, e] += grad[i, u, j, e] * nodes[i, j, e]
                    d_nodes[i, j, e] += grad[i, u, j, e] * patch[u, e]
