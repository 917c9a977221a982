"""Softmax attention of many pixels to a few keys on a CPU, compiled by numba.

It computes what `torch.nn.functional.scaled_dot_product_attention` does, which is slow where a head has a few channels
and a bias must be learned, on contiguous float32 arrays. A call runs in one thread, shares nothing with others, and
leaves Python's lock free.

Queries are taken in runs, whose pixels are computed at once. The weights of a run, a row for each key, fit the
processor's caches. They are not kept: the gradient computes them anew.

As in `coslide.networks.kernels`, nothing is compiled here that another file defines, hence the exponential of its own.
"""

# Compiled functions have no annotations, for numba finds the types, and as many arguments as there are arrays.
# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: ANN001, ANN202, ANN201, PLR0913, PLR0917

import numpy as np
from numba import njit

_RUN = 64  # queries of a run, whole vectors
_TOGETHER = 4  # keys that share the loads of a loop
_ZERO, _ONE = np.float32(0), np.float32(1)

_LOG2_E, _LN_2_HIGH, _LN_2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)

_exact = njit(nogil=True, cache=True, error_model="numpy")
_compiled = njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})


@_compiled
def attend(out, q, k, v, bias):
    """Write the mean of the values for each query, weighted by the softmax of q . k / sqrt(d) + bias.

    Parameters
    ----------
    out
        Output, shape of `q`.
    q
        Queries, (group, query, head, d).
    k, v
        Keys and values, (group, key, head, d).
    bias
        Added to the logits, (part, head, key, query), for group g that of part g modulo parts; minus infinity hides a
        key, of which each query must see one. None with no part.
    """
    keys, d = k.shape[1], q.shape[3]
    of_keys, of_values = np.zeros((2, -(-keys // _TOGETHER) * _TOGETHER, d), np.float32)
    weights, total = np.zeros((len(of_keys), _RUN), np.float32), np.empty(_RUN, np.float32)
    run = np.zeros((d, _RUN), np.float32)
    for g in range(len(q)):
        for h in range(q.shape[2]):
            of_keys[:keys], of_values[:keys] = k[g, :, h], v[g, :, h]
            for start in range(0, q.shape[1], _RUN):
                _take(run, q[g, start : start + _RUN, h], _ONE / np.sqrt(np.float32(d)))
                _lay_bias(weights[:keys], bias, g, h, start)
                _multiply(weights[:keys], run, of_keys)
                _exponentiate(weights[:keys], total)
                _mix(run, weights, of_values)
                _scale(run, total)
                _put(out[g, start : start + _RUN, h], run, _ONE)


@_compiled
def attend_back(d_q, d_k, d_v, d_bias, grad, q, k, v, bias):
    """Write the gradient of the queries of `attend`, and add those of its other inputs, for that of its output."""
    keys, d, scale = k.shape[1], q.shape[3], _ONE / np.sqrt(np.float32(q.shape[3]))
    of_keys, of_values = np.zeros((2, -(-keys // _TOGETHER) * _TOGETHER, d), np.float32)
    weights, total = np.zeros((len(of_keys), _RUN), np.float32), np.empty(_RUN, np.float32)
    run, d_run, d_weights = np.zeros((d, _RUN), np.float32), np.zeros((d, _RUN), np.float32), np.zeros_like(weights)
    for g in range(len(q)):
        for h in range(q.shape[2]):
            of_keys[:keys], of_values[:keys] = k[g, :, h], v[g, :, h]
            for start in range(0, q.shape[1], _RUN):
                _take(run, q[g, start : start + _RUN, h], scale)
                _take(d_run, grad[g, start : start + _RUN, h], _ONE)
                _lay_bias(weights[:keys], bias, g, h, start)
                _multiply(weights[:keys], run, of_keys)
                _exponentiate(weights[:keys], total)
                _scale(weights[:keys], total)
                d_weights[:] = _ZERO
                _multiply(d_weights[:keys], d_run, of_values)
                _softmax_back(d_weights[:keys], weights)
                _spread(d_v[g, :, h], weights, d_run)
                _spread(d_k[g, :, h], d_weights, run)
                if len(bias):
                    _add_bias(d_bias[g % len(bias), h], d_weights, start)
                _mix(run, d_weights, of_keys)
                _put(d_q[g, start : start + _RUN, h], run, scale)


@_compiled
def _take(run, pixels, scale):
    """Write pixels (pixel, d), scaled, as rows of channels; zeros where there are fewer than a run."""
    for c in range(len(run)):
        to = run[c]
        for j in range(len(pixels)):
            to[j] = pixels[j, c] * scale
        for j in range(len(pixels), _RUN):
            to[j] = _ZERO


@_compiled
def _put(pixels, run, scale):
    """Write rows of channels, scaled, as pixels (pixel, d)."""
    for c in range(len(run)):
        of = run[c]
        for j in range(len(pixels)):
            pixels[j, c] = of[j] * scale


@_compiled
def _lay_bias(logits, bias, g, h, start):
    """Write the bias of the queries from `start` on, or zeros."""
    logits[:] = _ZERO
    if len(bias):
        of_head = bias[g % len(bias), h]
        for n in range(len(logits)):
            to, of = logits[n], of_head[n, start : start + _RUN]
            for j in range(len(of)):
                to[j] = of[j]


@_compiled
def _add_bias(d_bias, d_logits, start):
    """Add the gradient of logits to that of the bias (key, query) of the queries from `start` on."""
    for n in range(len(d_bias)):
        to, of = d_bias[n, start : start + _RUN], d_logits[n]
        for j in range(len(to)):
            to[j] += of[j]


@_compiled
def _multiply(products, run, keys):
    """Add the product of each query of a run with each key."""
    for n in range(len(products)):
        to = products[n]
        for c in range(len(run)):
            a, b = run[c], keys[n, c]
            for j in range(_RUN):
                to[j] += a[j] * b


@_compiled
def _exponentiate(logits, total):
    """Write the powers of e of logits, less the greatest of each query, over them, and one over their sum."""
    top = np.full(_RUN, -np.inf, np.float32)
    for n in range(len(logits)):
        of_n = logits[n]
        for j in range(_RUN):
            top[j] = max(top[j], of_n[j])
    total[:] = _ZERO
    for n in range(len(logits)):
        of_n = logits[n]
        for j in range(_RUN):
            power = _exp(of_n[j] - top[j])
            of_n[j] = power
            total[j] += power
    for j in range(_RUN):
        total[j] = _ONE / total[j]


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
def _scale(rows, scale):
    """Multiply each query of rows."""
    for c in range(len(rows)):
        of_c = rows[c]
        for j in range(_RUN):
            of_c[j] *= scale[j]


@_compiled
def _softmax_back(d_logits, weights):
    """Write the gradient of the logits over that of the weights."""
    mean = np.zeros(_RUN, np.float32)
    for n in range(len(weights)):
        weight, slope = weights[n], d_logits[n]
        for j in range(_RUN):
            mean[j] += weight[j] * slope[j]
    for n in range(len(weights)):
        weight, slope = weights[n], d_logits[n]
        for j in range(_RUN):
            slope[j] = weight[j] * (slope[j] - mean[j])


@_compiled
def _mix(run, weights, values):
    """Write the weighted sum of the values for each query of a run; the number of rows is a multiple of four."""
    for c in range(len(run)):
        to = run[c]
        for j in range(_RUN):
            to[j] = _ZERO
        for n in range(0, len(weights), _TOGETHER):
            w0, w1, w2, w3 = weights[n], weights[n + 1], weights[n + 2], weights[n + 3]
            v0, v1, v2, v3 = values[n, c], values[n + 1, c], values[n + 2, c], values[n + 3, c]
            for j in range(_RUN):
                to[j] += w0[j] * v0 + w1[j] * v1 + w2[j] * v2 + w3[j] * v3


@_compiled
def _spread(values, weights, run):
    """Add the weighted sum of the queries of a run to each value."""
    for n in range(len(values)):
        weight = weights[n]
        for c in range(len(run)):
            of_c, total = run[c], _ZERO
            for j in range(_RUN):
                total += weight[j] * of_c[j]
            values[n, c] += total
