"""One Normalization or Rescaling layer of Keras': its configuration and its variables -> steps, in the layer's compute dtype.

keras/src/layers/preprocessing/normalization.py: (x - mean) / maximum(sqrt(variance), epsilon()); rescaling.py: x * scale + offset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError, names
from onnxscale.scalers import Steps
from onnxscale.scalers.values import numbers
from onnxscale.sources.hdf5_nodes import Node
from onnxscale.statistics import Fitted
from onnxscale.step import Array, Step
from onnxscale.transform import Transform

EPSILON = 1e-7  # keras/src/backend/config.py; a file does not say it
DTYPES = {n: np.dtype(t) for n, t in (
    ("float32", "f4"), ("float64", "f8"), ("float16", "f2"), ("mixed_float16", "f2"),
)}  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """One layer. name: its path of names. weights: the paths where its variables may lie, the first that is there counts.
    sources: names of the layers that feed it, beside each other in one model."""

    name: str
    kind: str
    config: Mapping[str, Any]
    weights: str
    sources: tuple[str, ...]
    shape: tuple[Any, ...] | None


def fitted(layer: Layer, nodes: Mapping[str, Node], version: str = "") -> Fitted:
    """The scaler of one layer. nodes: of the file of its weights. version: of the Keras that wrote it.

    Raises StatisticsError naming the layer.
    """
    dtype = _dtype(layer)
    if layer.kind == "Rescaling":
        scale, offset = (_array(layer, key).astype(dtype) for key in ("scale", "offset"))
        if max(scale.ndim, offset.ndim) > 1:
            raise StatisticsError(
                f"{layer.name!r}: a scale of shape {scale.shape} and an offset of {offset.shape} are not read"
            )
        add = (Step("Add", (offset,)),) if (offset != 0).any() else ()
        return Fitted(Steps(Transform((Step("Mul", (scale,)), *add))), -1 if scale.ndim or offset.ndim else None)
    if layer.config.get("mean") is not None:
        # a list becomes a tensor of floatx first, whatever the layer computes in
        mean, variance = (_array(layer, key).astype(np.float32) for key in ("mean", "variance"))
    else:
        mean, variance = _variables(layer, nodes)
    axes = _axes(layer)
    if mean.shape != variance.shape or mean.ndim > len(axes):
        raise StatisticsError(
            f"{layer.name!r}: mean {mean.shape} and variance {variance.shape} along the axes {axes} do not fit"
        )
    if layer.config.get("invert", False) not in (True, False):
        raise StatisticsError(f"{layer.name!r}: invert is {layer.config['invert']!r}; expected true or false")
    invert = bool(layer.config.get("invert", False))
    axes = axes[len(axes) - mean.ndim :]  # the last ones, where the constructor was given fewer
    return Fitted(normalization(mean, variance, axes, dtype, invert, layer.name, version), axes[0] if axes else None)


def normalization(
    mean: Array,
    variance: Array,
    axes: tuple[int, ...],
    dtype: np.dtype[Any],
    invert: bool,
    name: str,
    version: str = "",
) -> Steps:
    held = [numbers(v, f"{name} {what}").astype(dtype) for v, what in ((mean, "mean"), (variance, "variance"))]
    if (held[1] < 0).any() or not np.isfinite(held[1]).all():
        raise StatisticsError(f"{name!r}: a variance is negative, or too large for {dtype}")
    # maximum of a float64 tensor and a Python float is float32 in Keras 3 (keras/src/backend/common/dtypes.py, result_type)
    bound = np.dtype("f4") if dtype == np.float64 and not version.startswith("2.") else dtype
    spread = np.maximum(np.sqrt(held[1]).astype(bound), np.asarray(EPSILON, bound))
    gaps = np.diff(axes[len(axes) - mean.ndim :]) if mean.ndim else ()
    shape = list(mean.shape[:1]) + [
        n for gap, size in zip(gaps, mean.shape[1:], strict=True) for n in (*[1] * (gap - 1), size)
    ]
    subtracted, divisor = held[0].reshape(shape), spread.reshape(shape)
    steps = (
        (Step("Mul", (divisor,)), Step("Add", (subtracted,)))
        if invert
        else (Step("Sub", (subtracted,)), Step("Div", (divisor,)))
    )
    return Steps(Transform(steps))


def _axes(layer: Layer) -> tuple[int, ...]:
    """The axes that keep their features, counted from the end, ascending."""
    given = layer.config.get("axis", -1)
    axes = [] if given is None else [given] if isinstance(given, int) else given
    if not isinstance(axes, list) or any(not isinstance(a, int) or isinstance(a, bool) for a in axes) or len(axes) > 8:
        raise StatisticsError(f"{layer.name!r}: axis is {str(given)[:40]}; expected whole numbers")
    if all(a < 0 for a in axes):
        return tuple(sorted(axes))
    if layer.shape is None:
        raise StatisticsError(f"{layer.name!r}: its axes are {axes} of an input whose rank the file does not say")
    made = tuple(sorted(a if a < 0 else a - len(layer.shape) for a in axes))
    if any(not -len(layer.shape) < a < 0 for a in made):
        raise StatisticsError(
            f"{layer.name!r}: the axes {axes} are not those of one row of an input of shape {layer.shape}"
        )
    return made


def _array(layer: Layer, key: str) -> Array:
    """A number, a list, or an array as keras/src/saving/serialization_lib.py writes it."""
    value = layer.config.get(key, 0.0 if key == "offset" else None)
    if isinstance(value, Mapping):
        inner = value.get("config")
        value = inner.get("value") if isinstance(inner, Mapping) else None
    return numbers(value, f"{layer.name} {key}")


def _dtype(layer: Layer) -> np.dtype[Any]:
    given = layer.config.get("dtype", "float32")
    if isinstance(given, Mapping):
        inner = given.get("config")
        given = inner.get("name") if isinstance(inner, Mapping) else None
    if given not in DTYPES:
        raise StatisticsError(f"{layer.name!r} computes in {str(given)[:40]!r}; expected one of {names(DTYPES)}")
    return DTYPES[given]


def _variables(layer: Layer, nodes: Mapping[str, Node]) -> tuple[Array, Array]:
    """mean and variance among the weights: by the name that the group carries, else where saving_lib puts it; by name in a .h5."""
    short = layer.name.rpartition("/")[2]
    outer = layer.name.partition("/")[0]  # a model inside the model keeps the weights of its layers
    legacy = nodes.get(f"model_weights/{outer}")
    if legacy is not None:
        held = np.asarray(legacy.attributes.get("weight_names", ())).ravel()
        said = [w.decode() if isinstance(w, bytes) else str(w) for w in held]
        parts = {w: w.split(":")[0].split("/") for w in said}
        found = [
            nodes.get(f"model_weights/{outer}/{w}")
            for what in ("mean", "variance")
            for w, (*path, last) in parts.items()
            if last == what and (not path or short in path[-1:] or outer == short)
        ]
    else:
        at = _group(layer, short, nodes)
        found = [nodes.get(f"{at}/0"), nodes.get(f"{at}/1")]
    if len(found) != 2 or any(n is None or n.shape is None for n in found):
        raise StatisticsError(
            f"the weights hold no mean and variance of {layer.name!r}: it was never adapted, or the file is not whole"
        )
    return found[0].read(), found[1].read()  # type: ignore[union-attr]


def _group(layer: Layer, short: str, nodes: Mapping[str, Node]) -> str:
    at = f"{layer.weights}/vars"
    named = str(nodes[at].attributes.get("name", short)) if at in nodes else None
    if named is None:
        at = at.replace("layers/", "_layer_checkpoint_dependencies/", 1)
        named = short if at in nodes else None
    if named != short:
        raise StatisticsError(
            f"the weights of {layer.name!r} are expected at {layer.weights!r}, where {named or 'nothing'} is"
        )
    return at
