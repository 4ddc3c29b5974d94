"""ai.onnx.ml's linear models: LinearRegressor, LinearClassifier, SVMs with a linear kernel, Scaler.

    scores    coefficients (a x + b) + intercepts  =  (coefficients diag(a)) x + (intercepts + coefficients b)
    kernel    <a x + b, s_i>                       =  <x, a s_i> + <b, s_i>
    Scaler    (a x + b - o) s                      =  (x - (o - b) / a) (a s)

An SVM sums d_i <., s_i> over its support vectors, so that its rho takes sum d_i <b, s_i>; an SVMClassifier does so for
every pair of classes (libsvm's order: the coefficients of class i against class j). What follows the scores (softmax,
Platt's probabilities, the vote) sees the same scores. These operators compute in float32 whatever they are fed.
Sources: ONNX ai.onnx.ml 1 to 5; onnxruntime core/providers/cpu/ml/{linear*,svm*,scaler}.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxscale.folding import linear
from onnxscale.folding.base import Change, Error, Reach, Refusal, Site
from onnxscale.folding.bound import Sums, error
from onnxscale.folding.dense import along
from onnxscale.step import Affine, Array

SINGLE = np.dtype(np.float32)


def linear_model(site: Site) -> Change | Refusal:
    """LinearRegressor and LinearClassifier."""
    said = site.attributes
    flat = np.asarray(said.get("coefficients", ()), np.float32)
    count = int(said.get("targets", 1)) if site.node.op_type == "LinearRegressor" else len(said.get("intercepts", ()))
    found = _features(site, flat.size // count if count else 0)
    if isinstance(found, Refusal):
        return found
    affine, reach = found
    width = affine.scale.size
    if not flat.size or flat.size % width:
        return Refusal(f"{flat.size} coefficients for {width} features")
    made = linear.fold(flat.reshape(-1, width), *linear.place(affine, reach, (1, -1)), (1,))
    if isinstance(made, Refusal):
        return made
    before = np.asarray(said.get("intercepts") or np.zeros(len(flat) // width), np.float64)
    if before.size != made.moved.size:
        return Refusal(f"{before.size} intercepts for {made.moved.size} scores")
    after = linear.rounded(before + made.moved.ravel(), SINGLE)
    if isinstance(after, Refusal):
        return after
    bound = made.error(np.abs(before)[:, None], np.abs(after)[:, None], "float32")
    changed: dict[str, Any] = {"coefficients": made.weights.ravel().tolist()}
    if made.moved.any():
        changed["intercepts"] = after.tolist()
    return Change(bound, attributes=changed)


def svm(site: Site) -> Change | Refusal:
    """SVMRegressor and SVMClassifier."""
    said = site.attributes
    kernel = said.get("kernel_type", b"LINEAR")
    kernel = kernel.decode("utf-8", "replace") if isinstance(kernel, bytes) else str(kernel)
    if kernel != "LINEAR":
        return Refusal(f"a {kernel} kernel is not linear")
    classes = [int(v) for v in said.get("vectors_per_class", ())]
    supports = sum(classes) if site.node.op_type == "SVMClassifier" else int(said.get("n_supports", 0))
    name = "support_vectors" if supports else "coefficients"
    flat = np.asarray(said.get(name, ()), np.float32)
    rho = np.asarray(said.get("rho", (0.0,)), np.float64)
    found = _features(site, flat.size // supports if supports else 0)
    if isinstance(found, Refusal):
        return found
    affine, reach = found
    width = affine.scale.size
    if not flat.size or flat.size % width or (supports and flat.size != supports * width):
        return Refusal(f"{flat.size} {name} for {width} features")
    rows = flat.reshape(-1, width)
    made = linear.fold(rows, *linear.place(affine, reach, (1, -1)), (1,))
    if isinstance(made, Refusal):
        return made
    duals = np.asarray(said.get("coefficients", ()), np.float64)
    mix = _pairs(duals, classes) if classes else (duals.reshape(1, -1) if supports else np.eye(len(rows)))
    if mix is None or mix.shape[1] != len(rows) or (supports and mix.shape[0] > rho.size):
        return Refusal("coefficients and support vectors do not fit each other")
    shift = (mix @ made.moved).ravel()
    if not supports:
        if np.ptp(shift) > 0:
            return Refusal("one rho for several classes cannot take the shift of each")
        shift = shift[:1]
    rho_after = linear.rounded(rho + np.concatenate([shift, np.zeros(rho.size - shift.size)]), SINGLE)
    if isinstance(rho_after, Refusal):
        return rho_after
    bound = _mixed(made, mix, rho, np.asarray(rho_after), len(rows))
    changed: dict[str, Any] = {name: made.weights.ravel().tolist()}
    if shift.any():
        changed["rho"] = rho_after.tolist()
    return Change(bound, attributes=changed)


def scaler(site: Site) -> Change | Refusal:
    """A Scaler that the model has already: one with its own statistics, composed in float64."""
    said = site.attributes
    offset = np.asarray(said.get("offset") or (0.0,), np.float64)
    factor = np.asarray(said.get("scale") or (1.0,), np.float64)
    found = _features(site, max(offset.size, factor.size))
    if isinstance(found, Refusal):
        return found
    affine, reach = found
    if (affine.scale == 0).any():
        return Refusal("a feature that the scaler makes constant")
    new_offset = linear.rounded((offset - affine.shift) / affine.scale, SINGLE)
    new_factor = linear.rounded(factor * affine.scale, SINGLE)
    if isinstance(new_offset, Refusal) or isinstance(new_factor, Refusal):
        return new_offset if isinstance(new_offset, Refusal) else Refusal("a folded scale passes float32")
    size = np.abs(np.broadcast_to(factor, affine.scale.shape))
    before = np.abs(offset * size)
    after = np.abs(np.asarray(new_offset, np.float64) * affine.scale * size)
    sums = Sums(size * reach.z, size * reach.ax, size * reach.err, reach.x, size * np.abs(affine.shift), size, 3)
    return Change(
        error(sums, before, after, "float32"),
        attributes={"offset": _list(new_offset), "scale": _list(new_factor)},
    )


def _list(values: Array) -> list[float]:
    listed: list[float] = values.astype(np.float32).ravel().tolist()
    return listed


def _features(site: Site, width: int) -> tuple[Affine, Reach] | Refusal:
    """affine and reach as vectors of the columns. width: how many the model has, where the scaler does not say."""
    if site.carried.dtype not in ("float32", "float64"):
        return Refusal(f"{site.node.op_type} reads {site.carried.dtype}")
    found = along(site, -1)
    if isinstance(found, Refusal) or found[0].scale.size > 1:
        return found
    if width < 1:
        return Refusal("the number of features is unknown")
    return linear.widened(*found, width)


def _pairs(duals: Array, classes: list[int]) -> Array | None:
    """Per pair of classes (i, j), what each support vector counts: libsvm's coefficients [classes - 1, vectors]."""
    count, total = len(classes), sum(classes)
    if duals.size != (count - 1) * total:
        return None
    table = duals.reshape(count - 1, total)
    start = np.concatenate([[0], np.cumsum(classes)])
    rows = []
    for i in range(count):
        for j in range(i + 1, count):
            row = np.zeros(total)
            row[start[i] : start[i + 1]] = table[j - 1, start[i] : start[i + 1]]
            row[start[j] : start[j + 1]] = table[i, start[j] : start[j + 1]]
            rows.append(row)
    return np.array(rows)


def _mixed(made: linear.Folded, mix: Array, before: Array, after: Array, vectors: int) -> Error:
    """The bound of sums of scalar products: two sums in a row, so the roundings of both."""
    m, s = np.abs(mix), made.sums
    count = len(m)
    moved = m @ np.abs(made.moved)
    mixed = Sums(m @ s.wz, m @ s.wa, m @ s.werr, m @ s.x, m @ s.wb, m @ s.w, s.terms + vectors + 2)
    old, new = np.abs(before[:count])[:, None], np.abs(after[:count])[:, None]
    return error(mixed, old + 0 * moved, np.maximum(new, moved), "float32")
