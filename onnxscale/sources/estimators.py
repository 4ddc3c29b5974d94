"""Fitted scikit-learn estimators: objects at hand in Python, or records of them from a file, read by their attributes.

scikit-learn itself is not imported. An estimator is its class's name and its attributes, whichever of the two it is.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError, names
from onnxscale.scalers import SKLEARN, Steps
from onnxscale.scalers.states import inner
from onnxscale.sources.records import Opaque, Record
from onnxscale.statistics import Fitted, Source, Statistics
from onnxscale.step import Step
from onnxscale.transform import Transform

_MODELS = (
    "linear_model", "ensemble", "svm", "tree", "neighbors", "neural_network", "naive_bayes", "gaussian_process", "dummy",
    "calibration", "discriminant_analysis", "multiclass", "multioutput", "isotonic", "kernel_ridge", "cross_decomposition",
)  # fmt: skip
PREDICTORS = (*(f"sklearn.{m}" for m in _MODELS), "xgboost", "lightgbm", "catboost")
WIDEST = 1 << 20
PLAIN = (str, bytes, int, float, bool, type(None), np.ndarray, np.generic, list, tuple, dict)


def is_estimator(source: object) -> bool:
    """Whether this is an object of scikit-learn's, of a subclass of one, or the record of an instance."""
    return isinstance(source, Record) or any(c.__module__.split(".")[0] == "sklearn" for c in type(source).__mro__)


def read(source: object, where: Source | None = None) -> Statistics:
    """The scaler of a fitted estimator, or of a Pipeline, a ColumnTransformer or a TransformedTargetRegressor of them.

    where: what is known of the file it comes from. Raises StatisticsError for what is not known, by its name.
    """
    name = _name(source)
    version = str(getattr(sys.modules.get("sklearn"), "__version__", ""))
    if isinstance(source, Record) or where is not None:
        version = _version(source)
    standard = name == "StandardScaler"
    zero = "a constant feature is divided by 1" if name in ("StandardScaler", "MinMaxScaler", "RobustScaler") else ""
    described = dataclasses.replace(
        where or Source(f"scikit-learn {name}"), framework=f"scikit-learn {name}" if where else "scikit-learn",
        version=version, ddof=0 if standard else None, zero_variance=zero,
    )  # fmt: skip
    try:
        if name == "TransformedTargetRegressor":
            return _with_target(_state(source, name), described)
        return Statistics({None: fitted(source)}, {}, described)
    except StatisticsError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
        if where is None:
            raise
        raise StatisticsError(
            f"the attributes of this {name} are not what scikit-learn stores: the file is damaged, or of an unknown version "
            f"({type(error).__name__}: {str(error)[:100]})"
        ) from None


def only(content: object) -> Record | None:
    """The one estimator of a file: what it holds itself, or the only one in its dictionary; None where it holds none.

    Raises StatisticsError where a dictionary holds several, or beside it something that is no plain value.
    """
    if isinstance(content, Record):
        return content
    if not isinstance(content, dict):
        return None
    found = {k: v for k, v in content.items() if isinstance(v, Record)}
    odd = [k for k, v in content.items() if not isinstance(v, (*PLAIN, Record))]
    if not found:
        return None
    if len(found) > 1 or odd:
        listed = names([f"{k} ({v.what if isinstance(v, Record) else type(v).__name__})" for k, v in content.items()])
        raise StatisticsError(f"holds a dictionary with {listed}; expected one scaler: save the one that is meant")
    return next(iter(found.values()))


def _with_target(state: Mapping[str, Any], source: Source) -> Statistics:
    target = state.get("transformer_")
    if target is None:
        raise StatisticsError("this TransformedTargetRegressor is not fitted: it has no transformer_")
    inside = state.get("regressor_")
    inputs: dict[str | None, Fitted] = {}
    if inside is not None and _name(inside) == "Pipeline":
        inputs[None] = fitted(inside)
    return Statistics(inputs, {None: fitted(target)}, source)


def fitted(source: Any) -> Fitted:
    """The scaler that an estimator is."""
    name = _name(source)
    state = _state(source, name)
    special = _COMPOSED.get(name)
    if special is not None:
        return special(state)
    row = SKLEARN.get(name)
    if row is None:
        raise StatisticsError(
            f"{_full(source)} is not a scaler that is known; known are {names([*SKLEARN, *_COMPOSED])}"
        )
    low, high = (None if state.get(k) is None else np.asarray(state[k], np.float64) for k in ("data_min_", "data_max_"))
    try:
        return Fitted(row.from_sklearn(state), features=_features(state), data_min=low, data_max=high)
    except KeyError as missing:
        raise StatisticsError(
            f"this {name} has no {missing.args[0]}: it is not fitted, or of an unknown version"
        ) from None


def _pipeline(state: Mapping[str, Any]) -> Fitted:
    steps = [step for _, step in _pairs(state.get("steps"), 2, "Pipeline") if not _passes(step)]
    notes: tuple[str, ...] = ()
    if len(steps) > 1 and _full(steps[-1]).startswith(PREDICTORS):
        notes = (f"the Pipeline ends with {_name(steps[-1])}: what stands before it is taken as the scaler",)
        steps = steps[:-1]
    if not steps:
        raise StatisticsError("the Pipeline has no scaler in it")
    parts = [fitted(step) for step in steps]
    total = Transform()
    for part in parts:
        total = total | part.transform()
    first = parts[0]
    return Fitted(
        first.scaler if len(parts) == 1 else Steps(total), features=first.features, data_min=first.data_min,
        data_max=first.data_max, notes=(*notes, *first.notes),
    )  # fmt: skip


def _columns(state: Mapping[str, Any]) -> Fitted:
    """A ColumnTransformer of scalers that are affine: one subtraction and one division or product for each column."""
    rows = _pairs(state.get("transformers_"), 3, "ColumnTransformer")
    features = _features(state)
    width = state.get("n_features_in_", len(features))
    if not isinstance(width, int | np.integer) or not 0 < width <= WIDEST:
        raise StatisticsError(f"this ColumnTransformer says it has {str(width)[:40]} columns")
    width = int(width)
    values = [np.zeros(width), np.ones(width), np.ones(width), np.zeros(width)]
    order: list[int] = []
    notes = []
    for name, step, columns in rows:
        chosen = _chosen(columns, features, width, str(name))
        if step == "drop" or not chosen:
            if chosen:
                raise StatisticsError(
                    f"this ColumnTransformer drops the columns {names(map(str, chosen))}; a scaler keeps every column"
                )
            continue
        order += chosen
        if not _passes(step):
            part = fitted(step).transform()
            for op, operand in _arithmetic(part.steps, str(name)):
                values[_PLACES.index(op)][chosen] = np.broadcast_to(operand, len(chosen))
            notes.append(f"{_name(step)} on columns {names(map(str, chosen))}")
    if order != list(range(width)):
        raise StatisticsError(
            f"this ColumnTransformer gives its columns in the order {order[:12]}, the model would get them in another; "
            f"list its transformers in the order of the columns"
        )
    steps = tuple(
        Step(op, (v,)) for op, v, idle in zip(_PLACES, values, (0, 1, 1, 0), strict=True) if (v != idle).any()
    )
    return Fitted(Steps(Transform(steps)), features=features, notes=tuple(notes))


_PLACES = ("Sub", "Div", "Mul", "Add")


def _arithmetic(steps: Iterable[Step], where: str) -> list[tuple[str, Any]]:
    found = [(s.op, s.operands[0]) for s in steps if len(s.operands) == 1]
    at = [_PLACES.index(op) for op, _ in found if op in _PLACES]
    if len(at) != len(list(steps)) or at != sorted(set(at)):
        raise StatisticsError(
            f"the part {where!r} of this ColumnTransformer is not a plain subtraction, division, product and addition; "
            f"such a part is baked from Python only"
        )
    return found


def _chosen(columns: object, features: tuple[str, ...], width: int, where: str) -> list[int]:
    if isinstance(columns, Record) and columns.name == "slice":
        columns = slice(*columns.args)
    if isinstance(columns, slice):
        if any(isinstance(v, str) for v in (columns.start, columns.stop)):
            raise StatisticsError(f"the part {where!r} of this ColumnTransformer takes a slice of names; list them")
        return list(range(width))[columns]
    if isinstance(columns, str | int | np.integer) and not isinstance(columns, bool):
        columns = [columns]
    array = np.asarray(columns if columns is not None else [])
    if array.dtype.kind == "b" and array.shape == (width,):
        return [int(i) for i in np.flatnonzero(array)]
    if array.dtype.kind in "iu":
        return [int(i) % width for i in array.ravel()]
    wanted = [str(c) for c in array.ravel()]
    unknown = [c for c in wanted if c not in features]
    if unknown:
        raise StatisticsError(
            f"the part {where!r} of this ColumnTransformer takes the unknown columns {names(unknown)}"
        )
    return [features.index(c) for c in wanted]


_COMPOSED: Mapping[str, Callable[[Mapping[str, Any]], Fitted]] = {"Pipeline": _pipeline, "ColumnTransformer": _columns}


def _passes(step: object) -> bool:
    """Whether a step of a Pipeline changes nothing: scikit-learn itself fits a FunctionTransformer for "passthrough"."""
    return step is None or (isinstance(step, str) and step == "passthrough")


def _pairs(content: object, count: int, name: str) -> list[Any]:
    good = isinstance(content, list | tuple) and all(isinstance(r, list | tuple) and len(r) == count for r in content)
    if not good:
        raise StatisticsError(f"this {name} is not fitted, or of an unknown version: it has no list of its parts")
    return list(content)  # type: ignore[call-overload, no-any-return]


def _state(source: object, name: str) -> Mapping[str, Any]:
    if isinstance(source, Opaque | str) or (isinstance(source, Record) and not isinstance(source.state, dict)):
        raise StatisticsError(f"{_full(source)} is no fitted estimator: it has no attributes")
    return inner(source)


def _name(source: object) -> str:
    return source.name if isinstance(source, Record) else type(source).__name__


def _full(source: object) -> str:
    return str(source.what) if isinstance(source, Record) else f"{type(source).__module__}.{type(source).__name__}"


def _version(source: object) -> str:
    state = inner(source) if not isinstance(source, Record) or isinstance(source.state, dict) else {}
    return str(state.get("_sklearn_version", ""))


def _features(state: Mapping[str, Any]) -> tuple[str, ...]:
    found = state.get("feature_names_in_")
    if found is None:
        return ()
    if not isinstance(found, list | tuple | np.ndarray) or not all(isinstance(f, str) for f in found):
        raise StatisticsError("feature_names_in_: expected a list of names")
    return tuple(str(f) for f in found)
