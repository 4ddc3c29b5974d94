"""Fitted scikit-learn estimators -> scalers, by class name and attributes, whether they were read from a file or are live objects.

`SKLEARN` has the scalers, `COMPOSED` what is made of other estimators. Nothing is looked up in scikit-learn itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError, Unread, names
from onnxscale.scalers import SKLEARN, Function, Scaler, Steps
from onnxscale.scalers.states import function_name
from onnxscale.sources import blocks, wrappers
from onnxscale.sources.attributes import check_width, complete, feature_names, predicts, version_note
from onnxscale.sources.blocks import Block
from onnxscale.sources.inert import Estimator, Global, Record
from onnxscale.statistics import Fitted, Source, Statistics
from onnxscale.step import Step
from onnxscale.transform import Transform

PARTS, DEPTH = 500, 16
ZERO_VARIANCE = "a constant feature is divided by 1"
GUARDED = {"StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler", "PowerTransformer"}  # whose rule that is


@dataclass
class Inside:
    """How many estimators were met so far, of which classes, and how deep inside each other the reading is: a file may say that one
    holds itself."""

    met: int = 0
    depth: int = 0
    classes: set[str] = field(default_factory=set)


def look(value: object) -> Estimator | None:
    """An estimator read from a file, or the attributes of a live one; None for anything else."""
    if isinstance(value, Estimator):
        return wrappers.unwrapped(value, look)
    if isinstance(value, type) or not hasattr(value, "__dict__") or isinstance(value, Global | Record):
        return None
    of = type(value)
    if of.__module__.partition(".")[0] == "darts" and of.__name__ == "Scaler":
        return wrappers.unwrapped(Estimator("darts", of.__module__, of.__name__, wrappers.Taken(vars(value))), look)
    if not any(c.__module__.partition(".")[0] == "sklearn" for c in of.__mro__):
        return (
            Estimator(of.__module__.partition(".")[0], of.__module__, of.__name__, {})
            if hasattr(value, "fit")
            else None
        )
    return wrappers.unwrapped(
        Estimator(of.__module__.partition(".")[0], of.__module__, of.__name__, wrappers.Taken(vars(value))), look
    )


def statistics(root: Estimator, source: Source, version: str = "") -> Statistics:
    """The scalers of an estimator: for the input, and for the output where a transformed target is among them.

    version: of scikit-learn, where the attributes do not say it. Raises StatisticsError naming the class and the attribute; as
    Unread where the estimator is one of scikit-learn's that others may know how to convert.
    """
    root = wrappers.unwrapped(root, look)
    try:
        return _statistics(root, source, version)
    except StatisticsError as error:
        if not _foreign(root):
            raise
        known = str(root.state.get("_sklearn_version") or version)
        raise Unread(str(error), root, dataclasses.replace(source, framework="scikit-learn", version=known)) from None


def _foreign(root: Estimator, depth: int = 0) -> bool:
    """Whether there is a class of scikit-learn's inside that no steps stand for, or a column of text."""
    if root.package != "sklearn" or depth > DEPTH or predicts(root):
        return False
    state = root.state
    if root.name not in COMPOSED:
        filled = state.get("statistics_")
        texts = (
            []
            if filled is None
            else [v for v in np.asarray(filled).ravel() if not isinstance(v, int | float | np.number)]
        )
        return root.name not in SKLEARN or bool(texts)
    listed = [item for key in ("steps", "transformers_", "transformer_list") for item in state.get(key) or ()]
    inside = [look(item[1]) for item in listed if isinstance(item, list | tuple) and len(item) > 1]
    return any(_foreign(part, depth + 1) for part in inside if part is not None)


def _statistics(root: Estimator, source: Source, version: str) -> Statistics:
    version = str(root.state.get("_sklearn_version") or version)
    parts = Inside()
    inputs, outputs = _parts(root, version, parts)
    source = dataclasses.replace(
        source, framework="scikit-learn", version=version,
        ddof=0 if parts.classes & {"StandardScaler", "PowerTransformer"} else source.ddof,
        zero_variance=ZERO_VARIANCE if parts.classes & GUARDED else "",
    )  # fmt: skip
    return Statistics(inputs, outputs, source)


Parts = dict[str | None, Fitted]


def _parts(root: Estimator, version: str, parts: Inside) -> tuple[Parts, Parts]:
    """The scalers for the input and for the output."""
    said = version_note(version)
    if root.name == "TransformedTargetRegressor" and root.package == "sklearn":
        inputs, outputs = _transformed_target(root, parts)
        return _noted(inputs, said), _noted(outputs, () if inputs else said)
    last = _last_step(root)
    if last is not None and last.name == "TransformedTargetRegressor":
        inputs, outputs = _transformed_target(last, parts)
        before = dataclasses.replace(root, raw=wrappers.Taken({**root.state, "steps": list(root.state["steps"])[:-1]}))
        if _scales(before):
            if inputs:
                raise StatisticsError(
                    "this Pipeline scales, then a TransformedTargetRegressor inside it again; save the parts alone"
                )
            inputs = {None: fitted(before, parts)}
        return _noted(inputs, said), _noted(outputs, () if inputs else said)
    return _noted({None: fitted(root, parts)}, said), {}


def fitted(estimator: Estimator, parts: Inside | None = None) -> Fitted:
    """One scaler, or several composed. Raises StatisticsError for a class that is not known, naming it."""
    parts = parts or Inside()
    parts.met += 1
    parts.classes.add(estimator.name)
    if parts.met > PARTS or parts.depth >= DEPTH:
        raise StatisticsError(f"more than {PARTS} estimators, or more than {DEPTH} inside each other")
    if estimator.package != "sklearn":
        raise StatisticsError(
            f"{Global(estimator.module, estimator.name)} is no class of scikit-learn's; known are {names(_known())}"
        )
    row, composed = SKLEARN.get(estimator.name), COMPOSED.get(estimator.name)
    if row is None and composed is None:
        raise StatisticsError(
            f"scikit-learn's {estimator.name} is not a scaler that is known; known are {names(_known(), 20)}"
        )
    parts.depth += 1
    try:
        made = composed(estimator, parts) if composed else _scaler(row, estimator)  # type: ignore[arg-type]
        check_width(estimator, made.transform().shape)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise StatisticsError(
            f"the attributes of this {estimator.name} are not what scikit-learn writes ({type(error).__name__}: {str(error)[:100]})"
        ) from None
    finally:
        parts.depth -= 1
    return made


def _known() -> list[str]:
    return [*SKLEARN, *COMPOSED, "TransformedTargetRegressor"]


def _scaler(row: type[Scaler], estimator: Estimator) -> Fitted:
    state, name = estimator.state, estimator.name
    complete(name, state)
    low, high = (None if state.get(k) is None else np.asarray(state[k], np.float64) for k in ("data_min_", "data_max_"))
    return Fitted(row.from_sklearn(state), features=feature_names(state), data_min=low, data_max=high)


def _pipeline(estimator: Estimator, parts: Inside) -> Fitted:
    steps = _entries(estimator, "steps", 2)
    made: list[Fitted] = []
    notes: list[str] = []
    for i, (label, step) in enumerate(steps):
        if step is None or (isinstance(step, str) and step == "passthrough"):
            continue
        part = look(step)
        if part is None:
            raise StatisticsError(f"the step {str(label)[:40]!r} of the Pipeline is {str(step)[:60]}, not an estimator")
        if i == len(steps) - 1 and predicts(part):
            notes.append(
                f"the scalers before the {part.name} of the Pipeline; the model is what the {part.name} was exported to"
            )
            continue
        try:
            made.append(fitted(part, parts))
        except StatisticsError as error:
            raise StatisticsError(f"step {str(label)[:40]!r} of the Pipeline: {error}") from None
    if not made:
        raise StatisticsError(f"the Pipeline has no scaler; it has {names(label for label, _ in steps)}")
    total = Transform()
    for part_made in made:
        total = total | part_made.transform()
    first, inside = made[0], [n for m in made for n in m.notes]
    scaler = first.scaler if len(made) == 1 else Steps(total)
    return dataclasses.replace(first, scaler=scaler, notes=(*inside, *notes))


def _column_transformer(estimator: Estimator, parts: Inside) -> Fitted:
    state = estimator.state
    if "transformers_" not in state:
        raise StatisticsError("this ColumnTransformer is not fitted: it has no transformers_")
    listed, width = feature_names(state), int(state["n_features_in_"])
    weights = state.get("transformer_weights") or {}
    made = []
    for label, step, columns in _entries(estimator, "transformers_", 3):
        if isinstance(step, str) and step == "drop":
            continue
        taken = blocks.positions(columns, listed, width)
        if taken:
            made.append(_block(str(label), step, taken, weights, parts))
    return _side_by_side(estimator, made, width, listed)


def _feature_union(estimator: Estimator, parts: Inside) -> Fitted:
    entries = [
        (label, step) for label, step in _entries(estimator, "transformer_list", 2) if step not in (None, "drop")
    ]
    first = [
        part for part in (look(step) for _, step in entries) if part is not None and "n_features_in_" in part.state
    ]
    if not first:
        raise StatisticsError("this FeatureUnion does not say how many features it takes: no part has n_features_in_")
    width = int(first[0].state["n_features_in_"])
    weights = estimator.state.get("transformer_weights") or {}
    made = [_block(str(label), step, tuple(range(width)), weights, parts) for label, step in entries]
    return _side_by_side(estimator, made, width, feature_names(first[0].state))


def _block(label: str, step: Any, taken: tuple[int, ...], weights: Mapping[str, Any], parts: Inside) -> Block:
    part = None if isinstance(step, str) else look(step)
    if part is None and step != "passthrough":
        raise StatisticsError(f"the part {label[:40]!r} is {str(step)[:60]}, not an estimator")
    try:
        transform = Transform() if part is None else fitted(part, parts).transform()
    except StatisticsError as error:
        raise StatisticsError(f"part {label[:40]!r}: {error}") from None
    if label in weights:
        transform = transform | Transform((Step("Mul", (np.asarray(weights[label], np.float64),)),))
    return Block(label, taken, transform)


def _side_by_side(estimator: Estimator, made: Sequence[Block], width: int, listed: tuple[str, ...]) -> Fitted:
    if not made:
        raise StatisticsError(f"the {estimator.name} keeps no column")
    return Fitted(Steps(blocks.side_by_side(made, width)), features=listed)


def _entries(estimator: Estimator, attribute: str, size: int) -> list[Any]:
    entries = estimator.state.get(attribute)
    if not isinstance(entries, list | tuple) or not all(
        isinstance(e, list | tuple) and len(e) == size for e in entries
    ):
        raise StatisticsError(f"this {estimator.name} has no {attribute}, or one that scikit-learn would not write")
    if len(entries) > PARTS:
        raise StatisticsError(f"the {estimator.name} has {len(entries):,} parts")
    return list(entries)


def _last_step(root: Estimator) -> Estimator | None:
    if root.name != "Pipeline" or root.package != "sklearn":
        return None
    steps = _entries(root, "steps", 2)
    return look(steps[-1][1]) if steps else None


def _transformed_target(root: Estimator, parts: Inside) -> tuple[Parts, Parts]:
    """(inputs, outputs): the scaler inside the regressor, and the target's own."""
    target, regressor = look(root.state.get("transformer_")), look(root.state.get("regressor_"))
    if target is None or regressor is None:
        raise StatisticsError("this TransformedTargetRegressor is not fitted: it has no transformer_ and regressor_")
    _undone(target)
    out = fitted(target, parts)
    note = "the target's scaler, whose inverse goes onto the output"
    outputs: dict[str | None, Fitted] = {None: dataclasses.replace(out, notes=(*out.notes, note))}
    return ({None: fitted(regressor, parts)} if _scales(regressor) else {}), outputs


def _scales(part: Estimator) -> bool:
    """Whether this is a Pipeline with something before its predictor."""
    if part.name != "Pipeline":
        return False
    steps = [look(step) for _, step in _entries(part, "steps", 2)]
    return any(p is not None and not predicts(p) for p in steps)


def _undone(target: Estimator) -> None:
    """A FunctionTransformer's inverse_func must be the inverse that would be baked: scikit-learn takes it as it is."""
    if target.name != "FunctionTransformer":
        return
    state = target.state
    forward = Function.from_sklearn(state).transform().inverse()
    name = function_name(state.get("inverse_func")).rpartition(".")[2] or "identity"
    inverse = Function.from_sklearn(
        {"func": state.get("inverse_func"), "kw_args": state.get("inv_kw_args")}
    ).transform()
    if forward != inverse:
        raise StatisticsError(
            f"the target's inverse_func is {name!r}, which does not undo its func {function_name(state.get('func'))!r}"
        )


def _noted(given: Mapping[str | None, Fitted], said: tuple[str, ...]) -> dict[str | None, Fitted]:
    return {k: dataclasses.replace(f, notes=(*f.notes, *said)) if said else f for k, f in given.items()}


COMPOSED: dict[str, Callable[[Estimator, Inside], Fitted]] = {
    "Pipeline": _pipeline,
    "ColumnTransformer": _column_transformer,
    "FeatureUnion": _feature_union,
}
