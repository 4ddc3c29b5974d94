"""Encoders of categories inside an export by skl2onnx, as nodes of our own: OneHotEncoder and OrdinalEncoder with rare categories,
dropped ones, missing ones, and every rule for unknown ones.

What an encoder makes of a category is asked of the encoder itself, one category of each feature at a time, and of one that nobody
has seen: x -> its place among the categories -> a table. Where unknown categories are an error the table ends before their place,
so that a runtime refuses the row, as scikit-learn does. skl2onnx knows no rare categories and compares numbers as integers.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxscale.converting import nodes
from onnxscale.converting.columns import UNKNOWN
from onnxscale.converting.nodes import Container
from onnxscale.converting.rebuilding import classes
from onnxscale.errors import StatisticsError
from onnxscale.step import Array

ENCODERS = ("OneHotEncoder", "OrdinalEncoder")
ROWS = 1000


def categories(estimator: Any) -> list[list[Any]]:
    """Those of each feature: text, which is never missing in ONNX; or numbers as float64, NaN at the end where missing is one."""
    found = []
    for held in estimator.categories_:
        known = [v.item() if isinstance(v, np.generic) else v for v in np.asarray(held)]
        text = any(isinstance(v, str) for v in known)
        kept = [v for v in known if isinstance(v, str) == text and (not text or v is not None)]
        if not text and not all(isinstance(v, int | float) for v in kept):
            raise StatisticsError(
                f"{type(estimator).__name__} has categories that are neither text nor numbers: {str(kept)[:60]}"
            )
        found.append(kept if text else [float(v) for v in kept])
    return found


def answers(estimator: Any, known: list[list[Any]]) -> list[Array]:
    """For each feature what stands for each of its categories, and for an unknown one where those are taken: of an OrdinalEncoder a
    float64 number, of a OneHotEncoder the int64 column of the feature's own that is 1, or their count where none is."""
    probes = [
        [*k, *([] if estimator.handle_unknown == "error" else [UNKNOWN if _text(k) else _other(k)])] for k in known
    ]
    made: list[list[Any]] = [[] for _ in known]
    widths = getattr(estimator, "_n_features_outs", [1] * len(known))
    ends = np.cumsum([0, *widths])
    for start in range(0, max(map(len, probes)), ROWS):
        rows = [[p[min(i, len(p) - 1)] for i in range(start, start + ROWS)] for p in probes]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            given = estimator.transform(_frame(estimator, rows))
        given = given.tocsc() if hasattr(given, "tocsc") else np.asarray(given)
        for j, feature in enumerate(made):
            block = given[:, ends[j] : ends[j + 1]]
            feature.extend(_numbers(block, type(estimator).__name__))
    kind = np.float64 if type(estimator).__name__ == "OrdinalEncoder" else np.int64
    return [np.array(feature[: len(p)], kind) for feature, p in zip(made, probes, strict=True)]


def _numbers(block: Any, name: str) -> list[Any]:
    if name == "OrdinalEncoder":
        return list(np.asarray(block, np.float64)[:, 0])
    dense = block.toarray() if hasattr(block, "toarray") else block
    hot = np.asarray(dense) != 0
    return list(np.where(hot.any(axis=1), hot.argmax(axis=1) if hot.shape[1] else 0, hot.shape[1]))


def _text(known: list[Any]) -> bool:
    return any(isinstance(v, str) for v in known)


def _other(known: list[Any]) -> float:
    finite = [v for v in known if np.isfinite(v)]
    return max(finite, default=0.0) + 1.0


def _frame(estimator: Any, columns: list[list[Any]]) -> Any:
    """Rows as the encoder takes them: a DataFrame where it was fitted on one, else an array."""
    named = getattr(estimator, "feature_names_in_", None)
    if named is None:
        kind = object if any(map(_text, columns)) else np.float64
        return np.array(columns, kind).T
    import pandas as pd

    return pd.DataFrame(
        {n: np.array(c, object if _text(c) else np.float64) for n, c in zip(named, columns, strict=True)}
    )


def convert(scope: Any, operator: Any, container: Any) -> None:
    """The nodes: [N, F] in one or several inputs -> float64 [N, width]."""
    build = Container(scope, container)
    estimator = operator.raw_operator
    known = categories(estimator)
    places = [(v.full_name, i) for v in operator.inputs for i in range(int(v.type.shape[1]))]
    parts: list[str] = []
    for (name, i), cats, table in zip(places, known, answers(estimator, known), strict=True):
        x = name if len(known) == 1 else build.node("Gather", name, build.tensor(np.array([i]), "column"), axis=1)
        place = build.node("Reshape", _place(build, x, cats), build.tensor(np.array([-1, 1]), "shape"))
        told = build.node("Gather", build.tensor(table, "table"), place, axis=0)
        if table.dtype == np.int64:
            width = int(operator.raw_operator._n_features_outs[len(parts)])
            hot = build.node("Equal", told, build.tensor(np.arange(width)[None], "columns"))
            told = build.node("Cast", hot, to=np.float64)
        parts.append(told)
    made = parts[0] if len(parts) == 1 else build.node("Concat", *parts, axis=1)
    container.add_node(
        "Identity",
        [made],
        [operator.outputs[0].full_name],
        op_version=1,
        name=scope.get_unique_operator_name("Identity"),
    )


def _place(build: Container, x: str, cats: list[Any]) -> str:
    """Where x stands among the categories, int64 [N, 1]; their count where it does not."""
    if _text(cats):
        return build.node(
            "LabelEncoder",
            x,
            domain="ai.onnx.ml",
            keys_strings=cats,
            values_int64s=list(range(len(cats))),
            default_int64=len(cats),
        )
    if build.opset < 11:
        raise build.refuse("categories that are numbers need opset 11")
    x = build.node("Cast", x, to=np.float64)
    numbers = [v for v in cats if v == v]  # noqa: PLR0124
    hits = [build.node("Equal", x, build.tensor(np.array([numbers]), "categories"))] if numbers else []
    if len(numbers) < len(cats):
        hits.append(build.node("Not", build.node("Equal", x, x)))
    hit = build.node("Cast", hits[0] if len(hits) == 1 else build.node("Concat", *hits, axis=1), to=np.float64)
    back = build.tensor(np.arange(len(cats), dtype=np.float64)[:, None] - len(cats), "places")
    shifted = build.node("Add", build.node("MatMul", hit, back), build.tensor(np.array([[float(len(cats))]]), "count"))
    return build.node("Cast", shifted, to=np.int64)


def shape(operator: Any) -> None:
    from skl2onnx.common.data_types import DoubleTensorType

    estimator = operator.raw_operator
    width = sum(getattr(estimator, "_n_features_outs", [1] * len(estimator.categories_)))
    operator.outputs[0].type = DoubleTensorType([None, int(width)])


def tables() -> tuple[Mapping[type, Any], Mapping[type, Any]]:
    """custom_conversion_functions and custom_shape_calculators of skl2onnx, for all that is written by nodes of ours."""
    conversions, shapes = nodes.tables()
    encoding = [c for name, c in classes().items() if name in ENCODERS]
    return {**conversions, **dict.fromkeys(encoding, convert)}, {**shapes, **dict.fromkeys(encoding, shape)}
