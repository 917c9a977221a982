"""The attention of ACmix to the 7 x 7 pixels around each pixel on a CPU, compiled by numba.

It computes what `coslide.networks.acmix.neighbourhood_attention` does by products of matrices, on the 49 neighbours of
each pixel alone, on contiguous float32 arrays. A call runs in one thread, shares nothing with others, and leaves
Python's lock free.

The map of a head is laid out as planes, one per channel, whose rows have the rim around the map. So each neighbour is
at the same distance along the plane from every pixel, and a run of pixels is computed at once, across the ends of rows;
of what is computed for pixels of the rim nothing is made. The weights of a run fit the processor's nearest cache. They
are not kept: the gradient computes them anew.

As in `coslide.networks.kernels`, nothing is compiled here that another file defines, hence the exponential of its own.
"""

# Compiled functions have no annotations, for numba finds the types, and as many arguments as there are arrays.
# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: ANN001, ANN201, ANN202, PLR0913, PLR0917

import numpy as np
from numba import njit

_KERNEL = 7  # side of the neighbourhood: `coslide.networks.acmix.KERNEL`
_NEIGHBOURS, _RIM, _REACH = _KERNEL**2, _KERNEL // 2, _KERNEL - 1
_RUN, _GAP = 64, 16  # pixels of a run, and zeros between the runs of neighbours; both whole vectors
_PITCH = _GAP + _RUN
_TOGETHER = 4  # channels that share the loads of a loop
_ZERO, _ONE = np.float32(0), np.float32(1)

_LOG2_E, _LN_2_HIGH, _LN_2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)

_exact = njit(nogil=True, cache=True, error_model="numpy")
_compiled = njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})


@_compiled
def attend(out, q, k, v, rows, cols):
    """Write the mean of the values around each pixel, weighted by the softmax of q . k / sqrt(d).

    Parameters
    ----------
    out
        Output, shape of `q`.
    q, k, v
        Queries, keys and values, (batch, row, col, head, d).
    rows, cols
        Of each row and column of the map with its rim, the one of the map that is mirrored there, int64.
    """
    batch, height, _, heads, d = q.shape
    pitch, planes = len(cols), -(-d // _TOGETHER) * _TOGETHER
    length = -(-height * pitch // _RUN) * _RUN
    inside = np.zeros((2, planes, length), np.float32)
    around = np.zeros((2, planes, length + _REACH * pitch + _GAP), np.float32)
    queries, mixed, keys, values = inside[0], inside[1], around[0], around[1]
    weights, total = np.zeros((_NEIGHBOURS + 1) * _PITCH, np.float32), np.empty(_RUN, np.float32)
    run = np.zeros((planes + 1) * _PITCH, np.float32)
    for b in range(batch):
        for h in range(heads):
            _lay(queries, q[b, :, :, h], rows[_RIM:-_RIM], cols[_RIM:-_RIM], pitch, _ONE / np.sqrt(np.float32(d)))
            _lay(keys, k[b, :, :, h], rows, cols, pitch, _ONE)
            _lay(values, v[b, :, :, h], rows, cols, pitch, _ONE)
            for start in range(0, length, _RUN):
                _take(run, queries, start)
                _multiply(weights, run, keys, start, pitch)
                _exponentiate(weights, total)
                _mix(run, weights, values, start, pitch)
                _scale(run, total)
                _put(mixed, run, start)
            _add(out[b, :, :, h], mixed, pitch, _ONE)


@_compiled
def attend_back(d_q, d_k, d_v, grad, q, k, v, rows, cols):
    """Add the gradients of the inputs of `attend` for that of its output.

    What is no number, or infinite, stays in its neighbourhood in `attend`, but not here: a run crosses the gaps between
    rows, whose gradient is 0 but which see the borders of two rows, and 0 times NaN is added to the gradients of both.
    """
    batch, height, _, heads, d = q.shape
    pitch, planes, scale = len(cols), -(-d // _TOGETHER) * _TOGETHER, _ONE / np.sqrt(np.float32(d))
    length = -(-height * pitch // _RUN) * _RUN
    inside = np.zeros((3, planes, length), np.float32)
    around = np.zeros((4, planes, length + _REACH * pitch + _GAP), np.float32)
    queries, grads, d_queries, keys, values = inside[0], inside[1], inside[2], around[0], around[1]
    weights, total = np.zeros((_NEIGHBOURS + 1) * _PITCH, np.float32), np.empty(_RUN, np.float32)
    run, d_weights = np.zeros((planes + 1) * _PITCH, np.float32), np.zeros_like(weights)
    d_run = np.zeros_like(run)
    for b in range(batch):
        for h in range(heads):
            _lay(queries, q[b, :, :, h], rows[_RIM:-_RIM], cols[_RIM:-_RIM], pitch, scale)
            _lay(grads, grad[b, :, :, h], rows[_RIM:-_RIM], cols[_RIM:-_RIM], pitch, _ONE)
            _lay(keys, k[b, :, :, h], rows, cols, pitch, _ONE)
            _lay(values, v[b, :, :, h], rows, cols, pitch, _ONE)
            around[2:] = _ZERO
            for start in range(0, length, _RUN):
                _take(run, queries, start)
                _take(d_run, grads, start)
                _multiply(weights, run, keys, start, pitch)
                _exponentiate(weights, total)
                _scale(d_run, total)  # rather than the weights, which are more
                _multiply(d_weights, d_run, values, start, pitch)
                _softmax_back(d_weights, weights, total)
                _spread(around[3], weights, d_run, start, pitch)
                _spread(around[2], d_weights, run, start, pitch)
                _mix(run, d_weights, keys, start, pitch)
                _put(d_queries, run, start)
            _add(d_q[b, :, :, h], d_queries, pitch, scale)
            _add_mirrored(d_k[b, :, :, h], around[2], rows, cols)
            _add_mirrored(d_v[b, :, :, h], around[3], rows, cols)


@_compiled
def _lay(planes, image, rows, cols, pitch, scale):
    """Write the map (row, col, d), scaled, at those rows and columns."""
    for i in range(len(rows)):
        for c in range(image.shape[2]):
            line, to = image[rows[i], :, c], planes[c, i * pitch :]
            for j in range(len(cols)):
                to[j] = line[cols[j]] * scale


@_compiled
def _add(image, planes, pitch, scale):
    """Add planes, scaled, to the map (row, col, d)."""
    for i in range(len(image)):
        for c in range(image.shape[2]):
            line, of = image[i, :, c], planes[c, i * pitch :]
            for j in range(len(line)):
                line[j] += of[j] * scale


@_compiled
def _add_mirrored(image, planes, rows, cols):
    """Add planes with their rim to the map."""
    width = image.shape[1]
    for i in range(len(rows)):
        for c in range(image.shape[2]):
            line, of = image[rows[i], :, c], planes[c, i * len(cols) :]
            for j in range(width):
                line[j] += of[_RIM + j]
            for j in range(_RIM):
                line[cols[j]] += of[j]
                line[cols[_RIM + width + j]] += of[_RIM + width + j]


@_compiled
def _take(run, planes, start):
    """Write the pixels from `start` on."""
    for c in range(len(planes)):
        to, plane = run[c * _PITCH + _GAP :], planes[c, start:]
        for j in range(_RUN):
            to[j] = plane[j]


@_compiled
def _put(planes, run, start):
    """Write a run over the pixels from `start` on."""
    for c in range(len(planes)):
        of, plane = run[c * _PITCH + _GAP :], planes[c, start:]
        for j in range(_RUN):
            plane[j] = of[j]


@_compiled
def _multiply(products, run, planes, start, pitch):
    """Write the product of each pixel of a run with each of its neighbours."""
    products[:] = _ZERO
    for c in range(0, len(planes), _TOGETHER):
        a = run[c * _PITCH + _GAP :]
        for row in range(_KERNEL):
            to, at = products[row * _KERNEL * _PITCH + _GAP :], start + row * pitch
            b0, b1, b2, b3 = planes[c, at:], planes[c + 1, at:], planes[c + 2, at:], planes[c + 3, at:]
            for j in range(_RUN):
                a0, a1, a2, a3 = a[j], a[_PITCH + j], a[2 * _PITCH + j], a[3 * _PITCH + j]
                for n in range(_KERNEL):
                    to[n * _PITCH + j] += a0 * b0[n + j] + a1 * b1[n + j] + a2 * b2[n + j] + a3 * b3[n + j]


@_compiled
def _exponentiate(logits, total):
    """Write the powers of e of logits, less the greatest of each pixel, over them, and one over their sum."""
    top = np.empty(_RUN, np.float32)
    for j in range(_RUN):
        top[j] = logits[_GAP + j]
        total[j] = _ZERO
    for n in range(1, _NEIGHBOURS):
        of_n = logits[n * _PITCH + _GAP :]
        for j in range(_RUN):
            top[j] = max(top[j], of_n[j])
    for n in range(_NEIGHBOURS):
        of_n = logits[n * _PITCH + _GAP :]
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
def _scale(run, scale):
    """Multiply each pixel of a run."""
    for c in range(len(run) // _PITCH - 1):
        of_c = run[c * _PITCH + _GAP :]
        for j in range(_RUN):
            of_c[j] *= scale[j]


@_compiled
def _softmax_back(d_logits, powers, scale):
    """Write the gradient of the logits over that of the weights, which are the powers, scaled; it is scaled already."""
    mean = np.zeros(_RUN, np.float32)
    for n in range(_NEIGHBOURS):
        power, slope = powers[n * _PITCH + _GAP :], d_logits[n * _PITCH + _GAP :]
        for j in range(_RUN):
            mean[j] += power[j] * slope[j]
    for j in range(_RUN):
        mean[j] *= scale[j]
    for n in range(_NEIGHBOURS):
        power, slope = powers[n * _PITCH + _GAP :], d_logits[n * _PITCH + _GAP :]
        for j in range(_RUN):
            slope[j] = power[j] * (slope[j] - mean[j])


@_compiled
def _mix(run, weights, planes, start, pitch):
    """Write the weighted sum of the neighbours of each pixel of a run."""
    run[:] = _ZERO
    for c in range(0, len(planes), _TOGETHER):
        to = run[c * _PITCH + _GAP :]
        for row in range(_KERNEL):
            weight, at = weights[row * _KERNEL * _PITCH + _GAP :], start + row * pitch
            b0, b1, b2, b3 = planes[c, at:], planes[c + 1, at:], planes[c + 2, at:], planes[c + 3, at:]
            for j in range(_RUN):
                t0, t1, t2, t3 = to[j], to[_PITCH + j], to[2 * _PITCH + j], to[3 * _PITCH + j]
                for n in range(_KERNEL):
                    w = weight[n * _PITCH + j]
                    t0 += w * b0[n + j]
                    t1 += w * b1[n + j]
                    t2 += w * b2[n + j]
                    t3 += w * b3[n + j]
                to[j], to[_PITCH + j], to[2 * _PITCH + j], to[3 * _PITCH + j] = t0, t1, t2, t3


@_compiled
def _spread(planes, weights, run, start, pitch):
    """Add each pixel of a run, weighted, to its neighbours; zeros beside the runs are added too."""
    spread = np.empty(_TOGETHER * _PITCH, np.float32)
    for c in range(0, len(planes), _TOGETHER):
        a = run[c * _PITCH + _GAP - _REACH :]
        for row in range(_KERNEL):
            weight = weights[row * _KERNEL * _PITCH + _GAP - _REACH :]
            for j in range(_PITCH):
                t0, t1, t2, t3 = _ZERO, _ZERO, _ZERO, _ZERO
                for n in range(_KERNEL):
                    at = _REACH - n + j
                    w = weight[n * _PITCH + at]
                    t0 += w * a[at]
                    t1 += w * a[_PITCH + at]
                    t2 += w * a[2 * _PITCH + at]
                    t3 += w * a[3 * _PITCH + at]
                spread[j], spread[_PITCH + j], spread[2 * _PITCH + j], spread[3 * _PITCH + j] = t0, t1, t2, t3
            for e in range(_TOGETHER):
                plane, part = planes[c + e, start + row * pitch :], spread[e * _PITCH :]
                for j in range(_PITCH):
                    plane[j] += part[j]
