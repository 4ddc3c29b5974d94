"""LSTM, GRU, RNN, one or both directions: the scaler goes into what the input is multiplied with.

    W (a x_t + b) + Wb + R h + Rb  =  (W diag(a)) x_t + (Wb + W b) + R h + Rb

for every gate and direction; W[directions, gates * hidden, features], B[directions, Wb then Rb]. The states see the same
gates, so nothing else changes. The bound is for what the gates are fed by the input, W x + Wb: what a recurrence does
with an error depends on its states. Sources: ONNX LSTM, GRU, RNN 1 to 22.
"""

from __future__ import annotations

import numpy as np

from onnxscale.folding import linear
from onnxscale.folding.base import Change, Refusal, Site
from onnxscale.folding.dense import along


def recurrent(site: Site) -> Change | Refusal:
    weights, old = site.operand(1), site.operand(3)
    if site.port != 0 or weights is None or isinstance(weights, Refusal):
        return weights if isinstance(weights, Refusal) else Refusal("the scaled tensor is not the sequence")
    if isinstance(old, Refusal):
        return old
    found = along(site, -1)
    if isinstance(found, Refusal):
        return Refusal("the scaler changes from step to step, the weights do not")
    made = linear.fold(weights, *linear.place(*found, (1, 1, -1)), (2,))
    if isinstance(made, Refusal):
        return made
    directions, gates, _ = weights.shape
    bias = np.zeros((directions, 2 * gates)) if old is None else old.astype(np.float64)
    if bias.shape != (directions, 2 * gates):
        return Refusal(f"a bias of shape {bias.shape} for weights of shape {weights.shape}")
    before = bias[:, :gates, None]
    after = before + made.moved
    bound = made.error(np.abs(before), np.abs(after), weights.dtype.name)
    if not made.moved.any():
        return Change(bound, {1: made.weights})
    total = linear.rounded(np.concatenate([after[..., 0], bias[:, gates:]], axis=1), weights.dtype)
    return total if isinstance(total, Refusal) else Change(bound, {1: made.weights, 3: total})
