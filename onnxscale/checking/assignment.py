"""The best one-to-one assignment of rows to columns of a square matrix of gains."""

from __future__ import annotations

import numpy as np

from onnxscale.step import Array


def assigned(gains: Array) -> Array:
    """The permutation p of (n,) with the largest sum of gains[i, p[i]], for finite gains (n, n).

    Shortest augmenting paths with potentials (Jonker, Volgenant 1987; Kuhn 1955), O(n^3); rows whose best column is free need
    no search, which is most of them where little has moved.
    """
    cost = -np.asarray(gains, np.float64)
    n = cost.shape[0]
    v = cost.min(axis=0)
    cost_v = cost - v
    u = cost_v.min(axis=1)
    row_of = np.full(n, -1)
    free = []
    for i in range(n):
        zero = np.flatnonzero((cost_v[i] - u[i] <= 0) & (row_of < 0))
        if zero.size:
            row_of[zero[0]] = i
        else:
            free.append(i)
    for start in free:
        _augment(cost, u, v, row_of, start)
    found = np.empty(n, np.int64)
    found[row_of] = np.arange(n)
    return found


def _augment(cost: Array, u: Array, v: Array, row_of: Array, start: int) -> None:
    n = cost.shape[0]
    shortest = np.full(n, np.inf)
    came = np.full(n, -1)
    done = np.zeros(n, np.bool_)
    row, reached = start, 0.0
    while True:
        reduced = reached + cost[row] - u[row] - v
        better = ~done & (reduced < shortest)
        shortest[better] = reduced[better]
        came[better] = row
        column = int(np.argmin(np.where(done, np.inf, shortest)))
        reached = float(shortest[column])
        done[column] = True
        if row_of[column] < 0:
            break
        row = int(row_of[column])
    u[start] += reached
    inside = np.flatnonzero(done & (row_of >= 0))
    u[row_of[inside]] += reached - shortest[inside]
    v[done] -= reached - shortest[done]
    while True:  # back along the path
        row = int(came[column])
        previous = np.flatnonzero(row_of == row)
        row_of[column] = row
        if row == start:
            return
        column = int(previous[previous != column][0])
