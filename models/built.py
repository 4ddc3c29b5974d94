"""What a model of this folder is before it is written: the graph, its scalers, raw rows and the right answers."""

# mypy: disable-error-code="import-untyped,import-not-found"
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx

Array: TypeAlias = npt.NDArray[Any]
Formula: TypeAlias = Callable[[Array], Array]


@dataclass(frozen=True)
class Built:
    """One model.

    name: its folder. model: exported without a scaler. scale: input name -> its scaler's float64 formula; an input
    that is not named is not scaled. rows: raw rows by input name. expected: the framework's own pipeline on those
    rows, in float64, by output name. stats: statistics files that all mean the same scalers; file name -> content.
    unscale: output name -> the inverse of the target scaler. target: the statistics file for it, beside `stats`, or
    None. axis, input: the flags a bake of it needs, or None. rtol: tolerance relative to the largest |expected|.
    exact: a decision can flip (trees), so labels must be equal. dumps: fitted objects for joblib.
    external: weights go beside the model.
    """

    name: str
    model: onnx.ModelProto
    scale: Mapping[str, Formula]
    rows: Mapping[str, Array]
    expected: Mapping[str, Array]
    stats: Mapping[str, bytes]
    rtol: float
    notes: str
    unscale: Mapping[str, Formula] = field(default_factory=dict)
    target: tuple[str, bytes] | None = None
    axis: int | None = None
    input: str | None = None
    exact: bool = False
    dumps: Mapping[str, object] = field(default_factory=dict)
    external: bool = False


def some(x: Array, count: int = 32, dtype: npt.DTypeLike = np.float32) -> Array:
    """Rows spread over the whole set, so that every class is among them, in the model's raw dtype."""
    return np.ascontiguousarray(x[np.linspace(0, len(x) - 1, count).astype(int)].astype(dtype))


def wide(x: Array) -> Array:
    """The rows as the training framework sees them."""
    return x.astype(np.float64)


def only_used_domains(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drops opset imports that no node uses, as some exporters leave `ai.onnx.ml` alone in a file."""
    used = {n.domain for n in model.graph.node}
    kept = [o for o in model.opset_import if o.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return model


def in_order(model: onnx.ModelProto) -> onnx.ModelProto:
    """Opset imports by domain: skl2onnx takes them from a set, so their order changes from run to run."""
    imports = sorted(model.opset_import, key=lambda o: o.domain)
    del model.opset_import[:]
    model.opset_import.extend(imports)
    return model


def with_ir(model: onnx.ModelProto, ir: int) -> onnx.ModelProto:
    """The same model under another ir version; the set has several."""
    model.ir_version = ir
    return model


def documented(model: onnx.ModelProto, doc: str, **metadata: str) -> onnx.ModelProto:
    """A doc string and metadata, which every edit must keep."""
    model.doc_string = doc
    model.graph.doc_string = doc
    onnx.helper.set_model_props(model, metadata)
    return model
