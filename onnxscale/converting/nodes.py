"""Our own steps inside an export by skl2onnx: for every scikit-learn class that a scaler stands for, its nodes in float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from onnxscale.converting.rebuilding import classes
from onnxscale.errors import PlanError, StatisticsError
from onnxscale.graph import ELEMENTS
from onnxscale.scalers import SKLEARN
from onnxscale.sources import sklearns
from onnxscale.step import Array, Step, align
from onnxscale.steps import OPERATORS
from onnxscale.transform import Transform


class Container:
    """A `step.Builder` that writes into a container of skl2onnx's, for matrices of float64 [N, F]."""

    rank: int | None = 2
    axis = 1
    dtype: np.dtype[Any] = np.dtype(np.float64)

    def __init__(self, scope: Any, container: Any) -> None:
        self.opset: int = container.target_opset
        self._scope, self._container = scope, container

    def constant(self, values: npt.ArrayLike, name: str) -> str:
        return self.tensor(align(np.asarray(values), 2, 1).astype(self.dtype), name)

    def tensor(self, values: Array, name: str) -> str:
        made = self._scope.get_unique_variable_name(name)
        tensor = numpy_helper.from_array(np.ascontiguousarray(values).reshape(np.shape(values)), made)
        self._container.add_initializer(made, None, None, tensor)
        return str(made)

    def node(self, op: str, *inputs: str, domain: str = "", outputs: int = 1, **attributes: Any) -> str:
        if op == "Cast" and not isinstance(attributes["to"], int):
            attributes["to"] = ELEMENTS[str(np.dtype(attributes["to"]))]
        results = [self._scope.get_unique_variable_name(op) for _ in range(outputs)]
        version = onnx.defs.get_schema(op, self.opset if not domain else 2, domain).since_version
        self._container.add_node(
            op, list(inputs), results, op_domain=domain, op_version=version,
            name=self._scope.get_unique_operator_name(op), **attributes,
        )  # fmt: skip
        return str(results[0])

    def rank_of(self, name: str) -> int | None:
        del name
        return 2

    def refuse(self, reason: str) -> Exception:
        return PlanError(reason)


def _transform(estimator: Any) -> Transform | None:
    """The steps of an estimator; None for one that works on text, which passes it on unchanged."""
    if hasattr(estimator, "get_support"):  # skl2onnx gives a wrong graph where only the first column is selected
        chosen = estimator.get_support(indices=True)
        return Transform((Step("Select", (np.asarray(chosen),), {"features": int(estimator.n_features_in_)}),))
    held = sklearns.look(estimator)
    assert held is not None
    filled = np.asarray(held.state.get("statistics_", 0.0))
    if held.name == "SimpleImputer" and filled.dtype.kind in "OU" and any(isinstance(v, str) for v in filled.ravel()):
        return None
    return sklearns.fitted(held).transform()


def convert(scope: Any, operator: Any, container: Any) -> None:
    build = Container(scope, container)
    transform = _transform(operator.raw_operator)
    named = [v.full_name for v in operator.inputs]
    if transform is None:
        x = named[0] if len(named) == 1 else build.node("Concat", *named, axis=1)
    else:
        cast = [build.node("Cast", n, to=np.float64) for n in named]
        x = cast[0] if len(cast) == 1 else build.node("Concat", *cast, axis=1)
        for step in transform.steps:
            x = OPERATORS[step.op].nodes(build, x, step)
    container.add_node(
        "Identity", [x], [operator.outputs[0].full_name], op_version=1, name=scope.get_unique_operator_name("Identity")
    )


def shape(operator: Any) -> None:
    from skl2onnx.common.data_types import DoubleTensorType, StringTensorType

    transform = _transform(operator.raw_operator)
    width = sum(int(v.type.shape[1] or 0) for v in operator.inputs)
    after = width if transform is None or not transform.result else transform.result[-1]
    kind = StringTensorType if transform is None else DoubleTensorType
    operator.outputs[0].type = kind([None, after])


def tables() -> tuple[Mapping[type, Any], Mapping[type, Any]]:
    """custom_conversion_functions and custom_shape_calculators of skl2onnx.convert_sklearn, for the classes that are here."""
    held = classes()
    ours = [c for name, c in held.items() if name in SKLEARN or hasattr(c, "get_support")]
    return dict.fromkeys(ours, convert), dict.fromkeys(ours, shape)


def known(estimator: Any) -> str:
    """Why one of ours cannot be written, in its own words; "" where it can, or is not ours."""
    if type(estimator).__name__ not in SKLEARN:
        return ""
    try:
        _transform(estimator)
    except StatisticsError as error:
        return f"{type(estimator).__name__}: {error}"
    return ""
