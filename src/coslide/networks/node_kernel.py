"""The loops around EISGNN on a CPU, compiled: the neighbours of nodes, and patches added to a map.

They are those of `coslide.networks.graph.neighbours` and `coslide.networks.patches.add_patches`. Maps lie in memory as
(batch, row, col, channel), so a row of a patch is one run of numbers.

Importing this module imports numba, which compiles at the first call and keeps the result on the disk.
"""

# Compiled functions have no annotations, for numba finds the types, and as many arguments as there are arrays.
# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: ANN001, ANN202, PLR0917

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from coslide.networks.graph import neighbours

_SEARCHED = 512  # nodes of a graph up to which each distance is computed by itself, not all in a matrix product
_NUMBERS, _MOST = np.int64(_SEARCHED - 1), np.iinfo(np.int64).max

_exact = njit(nogil=True, cache=True, error_model="numpy")
_compiled = njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})


def nearest(x: Tensor, k: int, *, include_self: bool) -> Tensor:
    """Find the neighbours of each node as `neighbours` does, but int32 (batch, node, k).

    Parameters
    ----------
    x, k, include_self
        Those of `neighbours`; `x` is float32 and contiguous.

    Raises
    ------
    ValueError
        As `neighbours` does.
    """
    batch, nodes, _ = x.shape if x.ndim == 3 else (0, 0, 0)
    available = nodes if include_self else nodes - 1
    if nodes > _SEARCHED or min(available, k) < 1:  # `neighbours` also says what is wrong
        return neighbours(x, k, include_self=include_self).int()
    edges = torch.empty(batch, nodes, min(k, available), dtype=torch.int32)
    arguments = (*_arrays(edges, x), include_self)
    _nearest(*arguments)
    return edges


def add_patches(y: Tensor, nodes: Tensor, patch: Tensor) -> None:
    """Add patches to a map, all of them float32.

    Parameters
    ----------
    y
        In channels-last memory order.
    nodes, patch
        Those of `coslide.networks.patches.add_patches`, contiguous.
    """
    _add(*_arrays(y.permute(0, 2, 3, 1), nodes, patch))


def patch_gradients(grad: Tensor, nodes: Tensor, patch: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the gradients of nodes and patch, all of them float32.

    Parameters
    ----------
    grad
        That of the map, in channels-last memory order.
    nodes, patch
        What was given to `add_patches`.
    """
    of_nodes, of_patch = torch.zeros_like(nodes), torch.zeros_like(patch)
    _gradients(*_arrays(of_nodes, of_patch, grad.permute(0, 2, 3, 1), nodes, patch))
    return of_nodes, of_patch


def _arrays(*tensors: Tensor) -> list[Any]:
    return [one.detach().numpy() for one in tensors]


@_exact
def _nearest(edges, x, include_self):
    """Write the nearest nodes of each node, in order; of equal distances the first, and before all the node itself.

    Positive numbers are ordered as their bits are. With a node's number in its last bits, a distance is a key by which
    the nearest are found without branches, which a processor could not foresee; it is rounded to one part in 10^13.
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
                    key = keys[i, j]
                    smallest = min(smallest, key if key > last else _MOST)
                edges[b, i, s] = smallest & _NUMBERS
                last = smallest


@_compiled
def _distances(apart, x):
    """Write the squared distances between all nodes; in double precision, differences of float32 are exact."""
    nodes, channels = x.shape
    own = np.empty(channels)
    for i in range(nodes):
        for e in range(channels):
            own[e] = x[i, e]
        for j in range(i):
            total = 0.0
            for e in range(channels):
                total += (own[e] - x[j, e]) ** 2
            apart[i, j] = apart[j, i] = total


@_compiled
def _add(y, nodes, patch):
    batch, height, width, channels = nodes.shape
    rate = len(patch)
    runs, rows = y.reshape(batch, height, rate, width, rate * channels), patch.reshape(rate, rate * channels)
    spread = np.empty((width, rate * channels), np.float32)
    for b in range(batch):
        for i in range(height):
            _spread(spread, nodes[b, i])
            for u in range(rate):
                for j in range(width):
                    for e in range(rows.shape[1]):
                        runs[b, i, u, j, e] += spread[j, e] * rows[u, e]


@_compiled
def _spread(spread, nodes):
    """Write each node as often as its patch is wide."""
    width, channels = nodes.shape
    parts = spread.reshape(width, -1, channels)
    for j in range(width):
        for v in range(parts.shape[1]):
            for c in range(channels):
                parts[j, v, c] = nodes[j, c]


@_compiled
def _gradients(of_nodes, of_patch, grad, nodes, patch):
    batch, height, width, channels = nodes.shape
    rate = len(patch)
    runs = grad.reshape(batch, height, rate, width, rate * channels)
    rows, of_rows = patch.reshape(rate, rate * channels), of_patch.reshape(rate, rate * channels)
    spread, of_spread = np.empty((width, rate * channels), np.float32), np.empty((width, rate * channels), np.float32)
    parts = of_spread.reshape(width, rate, channels)
    for b in range(batch):
        for i in range(height):
            _spread(spread, nodes[b, i])
            of_spread[:] = 0
            for u in range(rate):
                for j in range(width):
                    for e in range(rows.shape[1]):
                        of_rows[u, e] += runs[b, i, u, j, e] * spread[j, e]
                        of_spread[j, e] += runs[b, i, u, j, e] * rows[u, e]
            for j in range(width):
                for v in range(rate):
                    for c in range(channels):
                        of_nodes[b, i, j, c] += parts[j, v, c]
