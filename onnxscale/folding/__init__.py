"""Folding: the scaler goes into the operators that read the scaled tensor, and costs nothing at inference.

    fold = folding.fold_input(model, proto, spec, transform, axis, ...)     pure
    folding.apply(proto, fold, taken)                                       edits the skeleton

The rows below are the operators that absorb: each is one function from a node that reads the tensor (`Site`) to a `Change`
of it or a `Refusal`. A new one is one function and one row. What they share (the walk, constants, shared weights, the
bound, the edit) lives once, beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import onnx

from onnxscale import tensors
from onnxscale.folding import classical, conv, dense, ensembles, normalization, outputs, quantized, recurrent, walk
from onnxscale.folding.base import Absorber, Refusal
from onnxscale.folding.choosing import Absorption, Judge
from onnxscale.folding.editing import Draft, Edit, Fold, apply, dequantized
from onnxscale.folding.lookups import known
from onnxscale.folding.settling import settle
from onnxscale.graph import InputSpec, Reader, needs_opset
from onnxscale.modelfile import ModelFile
from onnxscale.step import Array
from onnxscale.transform import Transform

ML = "ai.onnx.ml"
AFFINE: Mapping[tuple[str, str], Absorber] = {
    ("", "Gemm"): dense.gemm,
    ("", "MatMul"): dense.matmul,
    ("", "Einsum"): dense.einsum,
    ("", "Conv"): conv.conv,
    ("", "ConvTranspose"): conv.conv_transpose,
    ("", "BatchNormalization"): normalization.batch,
    ("", "InstanceNormalization"): normalization.instance,
    ("", "QuantizeLinear"): quantized.quantize,
    ("", "DynamicQuantizeLinear"): quantized.dynamic,
    **{("", op): recurrent.recurrent for op in ("LSTM", "GRU", "RNN")},
    **{(ML, op): classical.linear_model for op in ("LinearRegressor", "LinearClassifier")},
    **{(ML, op): classical.svm for op in ("SVMRegressor", "SVMClassifier")},
    (ML, "Scaler"): classical.scaler,
}
MONOTONE: Mapping[tuple[str, str], Absorber] = {
    (ML, "TreeEnsembleClassifier"): ensembles.ensemble,
    (ML, "TreeEnsembleRegressor"): ensembles.ensemble,
    (ML, "TreeEnsemble"): ensembles.ensemble,
}
"""Operators that absorb any monotone scaler, not only an affine one."""


def fold_input(
    model: ModelFile,
    proto: onnx.ModelProto,
    spec: InputSpec,
    transform: Transform,
    axis: int,
    *,
    tolerance: float | None = None,
    precision: str = "exact",
    span: tuple[Array, Array] | None = None,
) -> Fold:
    """How the scaler of one input is folded into the graph `proto`, an edited skeleton of `model`; nothing is changed.

    spec, axis: the input as it is in `proto`, and where the transform's features lie in it. tolerance: how far a folded
    layer may be from the original, relative to its largest output; None: GROWTH times its own rounding error.
    precision: of nodes that have to stay. span: least and largest raw values, of the features' shape, where known.
    """
    first = walk.start(spec, transform, axis)
    if isinstance(first, Refusal) or not transform.steps or not transform.elementwise:
        why = first.reason if isinstance(first, Refusal) else f"{transform.prose()} is not elementwise"
        return Fold(spec.name, "input", "nodes", (Absorption("every reader", "nothing", why),))
    look = known(model, proto)
    trail = walk.follow(proto, look, first)
    judge = Judge(proto, look, AFFINE, MONOTONE, tolerance, span, transform.shape, partial(tensors.values, model))
    settled = settle(judge, trail)
    if not settled.composed and all(v.change is None for v in settled.verdicts):
        return Fold(spec.name, "input", "nodes", settled.absorptions)
    draft = Draft(proto, spec, precision)
    for passage in settled.passing:
        draft.pass_on(passage, trail)
        if passage in settled.composed and trail.outputs.intersection(passage.results):
            draft.write_output(passage, trail)
    order = {id(n): i for i, n in enumerate(proto.graph.node)}
    for verdict in sorted(settled.verdicts, key=lambda v: order[id(v.leaf.node)]):
        if verdict.change is not None:
            draft.absorb(verdict, trail)
        else:
            draft.scaled(verdict, trail, transform, axis)
    return draft.finish("input", settled.absorptions)


def fold_pixels(model: ModelFile, proto: onnx.ModelProto, spec: InputSpec, transform: Transform, axis: int) -> Fold:
    """An input that the app will feed as uint8: the scaler as one DequantizeLinear, where its zero is an integer.

    The caller declares the input as uint8. spec: the input as it is in `proto`, float32. Else the form is "nodes".
    """
    found = quantized.pixels(transform, needs_opset(proto))
    if spec.dtype != "float32" or spec.shape is None:
        found = Refusal(f"{spec.prose()}: a float32 input of known rank is needed")
    if isinstance(found, Refusal):
        return Fold(spec.name, "input", "nodes", (Absorption("uint8 pixels", "nothing", found.reason),))
    return dequantized(proto, spec, *found, axis)


def fold_output(
    model: ModelFile,
    proto: onnx.ModelProto,
    spec: InputSpec,
    inverse: Transform,
    axis: int,
    *,
    tolerance: float | None = None,
) -> Fold:
    """How the inverse of a target scaler is folded into the layer that makes an output; nothing is changed.

    The whole of it or nothing: then the form is "nodes". tolerance: as in `fold_input`.
    """
    what = f"what makes output {spec.name!r}"
    pair = outputs.vectors(inverse)
    rank = None if spec.shape is None else len(spec.shape)
    back = outputs.Back(proto, known(model, proto), partial(tensors.values, model), axis, rank)
    made = pair if isinstance(pair, Refusal) else back.push(spec.name, *pair)
    if isinstance(made, Refusal):
        return Fold(spec.name, "output", "nodes", (Absorption(what, "nothing", made.reason),))
    bound = max(change.error.relative for _, change in made)
    if not bound <= (np.inf if tolerance is None else tolerance):
        reason = f"the bound would be {bound:.2g} of the layer's output, the tolerance is {tolerance:.2g}"
        return Fold(spec.name, "output", "nodes", (Absorption(what, "nothing", reason),))
    draft = Draft(proto, spec, "exact")
    for node, change in made:
        if change.node is not None:
            draft.node(node).CopyFrom(change.node)
        draft.change(node, change.operands, change.attributes, change.after)
    said = tuple(Absorption(Reader(n, "").prose(), "all", "", c.error) for n, c in made)
    return draft.finish("output", said)


__all__ = ["AFFINE", "MONOTONE", "Absorption", "Edit", "Fold", "apply", "fold_input", "fold_output", "fold_pixels"]
