"""A fitted transformer as an ONNX graph, by skl2onnx: numbers in float64 where its operators have such kernels, else in float32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from onnxscale.converting import encoders, iterating, nodes
from onnxscale.converting.columns import Column, every
from onnxscale.errors import PlanError, StatisticsError
from onnxscale.worker import Failure, Runnable, started

NEWEST_ML = 3


@dataclass(frozen=True, eq=False)
class Exported:
    """graph: inputs as `apart` says, one output [N, width]. apart: an input for each column, by its name; else one matrix.
    dtype: in which numbers go in. version: of skl2onnx."""

    graph: onnx.ModelProto
    apart: bool
    dtype: str
    version: str


def exported(estimator: Any, columns: Sequence[Column], opset: int, ml: int | None) -> Exported:
    """The graph of a transformer for a model of these operator sets. ml: of ai.onnx.ml, or None where the model has none.

    Raises StatisticsError where skl2onnx is missing, or cannot export the transformer, saying which part.
    """
    try:
        import skl2onnx
    except ImportError:
        raise StatisticsError("this needs skl2onnx: pip install 'onnxscale[sklearn]'") from None
    apart = hasattr(_first(estimator), "transformers_")
    texts = {c.text for c in columns}
    if not apart and len(texts) > 1:
        raise StatisticsError(
            "numbers and text in one array: fit a ColumnTransformer, which says what is done to which"
        )
    reasons = list(dict.fromkeys(_ours(estimator)))
    if reasons:
        raise StatisticsError(reasons[0])
    for dtype in ("float64", "float32"):
        try:
            made = _exported(estimator, columns, apart, dtype, opset, ml)
        except (
            RuntimeError,
            NotImplementedError,
            TypeError,
            ValueError,
            AttributeError,
            KeyError,
            IndexError,
            PlanError,
            AssertionError,
            StatisticsError,
        ) as error:
            reasons.append(f"{type(error).__name__}: {str(error).splitlines()[0][:200]}")
            continue
        failure = _fails(made)
        if not failure:
            return Exported(made, apart, dtype, str(skl2onnx.__version__))
        reasons.append(failure)
    raise StatisticsError(f"skl2onnx {skl2onnx.__version__} cannot export it ({'; '.join(dict.fromkeys(reasons))})")


def _first(estimator: Any) -> Any:
    steps = getattr(estimator, "steps", None)
    return _first(steps[0][1]) if steps else estimator


def _ours(estimator: Any) -> Iterator[str]:
    """Why estimators inside that are ours cannot be written."""
    for part in every(estimator):
        said = nodes.known(part)
        if said:
            yield said


def _exported(
    estimator: Any, columns: Sequence[Column], apart: bool, dtype: str, opset: int, ml: int | None
) -> onnx.ModelProto:
    from skl2onnx import __max_supported_opset__, convert_sklearn
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType, StringTensorType

    number = DoubleTensorType if dtype == "float64" else FloatTensorType
    kinds = [StringTensorType if c.text else Int64TensorType if c.whole else number for c in columns]
    if apart:
        types = [(c.name, kind([None, 1])) for c, kind in zip(columns, kinds, strict=True)]
    else:
        types = [("X", (StringTensorType if columns[0].text else number)([None, len(columns)]))]
    wanted = min(opset, __max_supported_opset__)
    conversions, shapes = ({**a, **b} for a, b in zip(encoders.tables(), iterating.tables(), strict=True))
    made = convert_sklearn(
        estimator, initial_types=types, target_opset={"": wanted, "ai.onnx.ml": min(ml or NEWEST_ML, NEWEST_ML)},
        custom_conversion_functions=conversions, custom_shape_calculators=shapes,
    )  # fmt: skip
    assert isinstance(made, onnx.ModelProto)
    if len(made.graph.output) != 1:
        raise PlanError(f"it has {len(made.graph.output)} outputs, and a model takes one tensor")
    return _at(made, opset)


def _at(made: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The graph for an operator set that may be newer than the one it was written for."""
    for node in made.graph.node:
        if node.domain in ("", "ai.onnx"):
            old, new = (onnx.defs.get_schema(node.op_type, v, "").since_version for v in (_version(made), opset))
            if old != new:
                return onnx.version_converter.convert_version(made, opset)
    return made


def _version(made: onnx.ModelProto) -> int:
    return next(o.version for o in made.opset_import if o.domain in ("", "ai.onnx"))


def _fails(made: onnx.ModelProto) -> str:
    """Why onnxruntime does not load the graph, "" where it does."""
    with started(1 << 20, 120) as worker:
        answer = worker.run(Runnable(made.SerializeToString()), [])
    return answer.message[:200] if isinstance(answer, Failure) else ""
