"""What an app feeds a fitted scikit-learn transformer: one array of numbers, or a column of its own for each feature where some
are text; and rows that it knows what to do with, made up from what it was fitted on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError
from onnxscale.step import Array

UNKNOWN = "onnxscale: a category that nobody has seen"


@dataclass(frozen=True, eq=False)
class Column:
    """A raw feature. categories: those it was fitted on, text or numbers; () for a measured one. open: whether others may come.
    center, spread: of measured numbers. used: whether anything reads it. text: whether it holds text. whole: whether its
    categories are integers."""

    name: str
    categories: tuple[Any, ...] = ()
    open: bool = False
    center: float = 0.0
    spread: float = 1.0
    used: bool = True

    @property
    def text(self) -> bool:
        return any(isinstance(c, str) for c in self.categories)

    @property
    def whole(self) -> bool:
        return bool(self.categories) and all(isinstance(c, int) for c in self.categories)


def columns(estimator: Any) -> tuple[Column, ...]:
    """The raw features of a fitted transformer, in order. Raises StatisticsError where it does not say how many there are."""
    width = getattr(estimator, "n_features_in_", None)
    if not isinstance(width, int | np.integer) or width < 1:
        raise StatisticsError(f"this {type(estimator).__name__} does not say how many features it takes; is it fitted?")
    names = getattr(estimator, "feature_names_in_", None)
    listed = [f"x{i}" for i in range(width)] if names is None else [str(n) for n in names]
    seen: dict[int, list[Column]] = {}
    for part, places in raw_parts(estimator, tuple(range(width))):
        for i, place in enumerate(places):
            found = _column(part, i, len(places), listed[place])
            seen.setdefault(place, []).extend([found] if found else [])
    dropped = _dropped(estimator)
    return tuple(replace(_one(listed[i], seen.get(i, [])), used=i not in dropped) for i in range(width))


def _dropped(estimator: Any) -> set[int]:
    """The raw columns that a ColumnTransformer leaves out."""
    steps = getattr(estimator, "steps", None)
    if steps:
        return _dropped(steps[0][1])
    taken = getattr(estimator, "_transformer_to_input_indices", None)
    if taken is None or not hasattr(estimator, "transformers_"):
        return set()
    kept = [taken[label] for label, part, _ in estimator.transformers_ if label in taken and part != "drop"]
    return set(range(estimator.n_features_in_)) - {int(i) for places in kept for i in places}


def apart(found: Sequence[Column]) -> bool:
    """Whether each column that is used is an input of its own; else all are one matrix."""
    return any(c.text for c in found)


def _one(name: str, found: Sequence[Column]) -> Column:
    """What all parts that take a column know of it: its categories where one has them, and whether every part takes others."""
    sorted_ = [c for c in found if len(c.categories) > 1] or [c for c in found if c.categories]
    if sorted_:
        return Column(name, sorted_[0].categories, all(c.open for c in sorted_))
    return found[0] if found else Column(name)


def every(estimator: Any) -> Iterator[Any]:
    """Every estimator inside another, itself first."""
    yield estimator
    inside = [s for _, s in getattr(estimator, "steps", [])] + [
        s for _, s in getattr(estimator, "transformer_list", [])
    ]
    for part in inside + [s for _, s, _ in getattr(estimator, "transformers_", [])]:
        if part is not None and not isinstance(part, str):
            yield from every(part)


def raw_parts(estimator: Any, places: tuple[int, ...]) -> Iterator[tuple[Any, tuple[int, ...]]]:
    """The estimators that see raw columns, and which: inside a pipeline those up to the first that is no imputer."""
    steps = getattr(estimator, "steps", None)
    if steps:
        for step in (s for _, s in steps if s is not None and not isinstance(s, str)):
            yield from raw_parts(step, places)
            if type(step).__name__ != "SimpleImputer" or getattr(step, "add_indicator", False):
                break
    elif hasattr(estimator, "transformers_"):
        taken = getattr(estimator, "_transformer_to_input_indices", {})
        for label, part, _ in estimator.transformers_:
            if not isinstance(part, str) and label in taken:
                yield from raw_parts(part, tuple(places[i] for i in taken[label]))
    elif hasattr(estimator, "transformer_list"):
        for _, part in estimator.transformer_list:
            if not isinstance(part, str):
                yield from raw_parts(part, places)
    else:
        yield estimator, places


def _column(part: Any, i: int, width: int, name: str) -> Column | None:
    held = getattr(part, "categories_", None)
    if held is not None and len(held) == width:
        known = [v.item() if isinstance(v, np.generic) else v for v in np.asarray(held[i])]
        kept = tuple(v for v in known if isinstance(v, str) or (isinstance(v, int | float) and v == v))  # noqa: PLR0124
        others = getattr(part, "handle_unknown", "ignore" if type(part).__name__ == "TargetEncoder" else "error")
        return Column(name, kept, open=others != "error")
    filled = getattr(part, "statistics_", None)
    if filled is not None and isinstance(filled[i], str):
        return Column(name, (str(filled[i]),), open=True)
    turn: Callable[[Any, Any], tuple[float, float]]
    for center, spread, turn in _MOMENTS:
        c, s = getattr(part, center, None), getattr(part, spread, None)
        if c is not None and s is not None and np.shape(c)[-1:] == np.shape(s)[-1:] == (width,):
            low, high = turn(np.asarray(c, np.float64)[..., i], np.asarray(s, np.float64)[..., i])
            return Column(name, center=low, spread=high or 1.0)
    if filled is not None:
        return Column(name, center=float(filled[i]), spread=abs(float(filled[i])) / 3 or 1.0)
    return None


_MOMENTS: tuple[tuple[str, str, Callable[[Any, Any], tuple[float, float]]], ...] = (
    ("mean_", "var_", lambda m, v: (float(m), float(np.sqrt(v)))),
    ("data_min_", "data_max_", lambda a, b: (float(a + b) / 2, float(b - a) / 4)),
    ("center_", "scale_", lambda c, s: (float(c), float(s))),
    ("quantiles_", "quantiles_", lambda q, _: (float(np.median(q)), float(np.ptp(q)) / 4)),
    ("mean_", "mean_", lambda m, _: (float(m), abs(float(m)) / 3)),
)


def rows(
    found: Sequence[Column],
    count: int,
    rng: np.random.Generator,
    dtype: str,
    far: float = 1.0,
    odd: float | None = None,
) -> dict[str, Array]:
    """Made-up raw rows, [count, 1] for each column by its name. far: how many spreads the numbers lie out. odd: a number that
    stands in a fifth of all measured places."""
    made: dict[str, Array] = {}
    for column in found:
        if column.text:
            words = [*column.categories, *([UNKNOWN, ""] if column.open else [])]
            made[column.name] = rng.choice(np.array(words, object), (count, 1))
        elif column.categories:
            most = max(column.categories)
            values = [*column.categories, *([most + 1] if column.open else [])]
            made[column.name] = rng.choice(np.array(values), (count, 1)).astype("int64" if column.whole else dtype)
        else:
            numbers = column.center + far * column.spread * rng.standard_normal((count, 1))
            if odd is not None:
                numbers = np.where(rng.random(numbers.shape) < 0.2, odd, numbers)
            with np.errstate(over="ignore"):
                made[column.name] = numbers.astype(dtype)
    return made


def frame(estimator: Any, raw: Mapping[str, Array], found: Sequence[Column]) -> Any:
    """Raw columns as the estimator takes them: a DataFrame where it was fitted on one, else an array; numbers in float64."""
    parts = [raw[c.name] if c.text or c.whole else raw[c.name].astype(np.float64) for c in found]
    if getattr(estimator, "feature_names_in_", None) is None:
        return np.concatenate([p.astype(object) for p in parts] if any(c.text for c in found) else parts, axis=1)
    import pandas as pd

    return pd.DataFrame({c.name: p[:, 0] for c, p in zip(found, parts, strict=True)})


def answer(estimator: Any, raw: Mapping[str, Array], found: Sequence[Column]) -> Array | None:
    """What the transformer itself gives, float64 [N, width]; None where it refuses the rows."""
    try:
        with np.errstate(all="ignore"):
            made = estimator.transform(frame(estimator, raw, found))
    except ValueError:
        return None
    dense = made.toarray() if hasattr(made, "toarray") else made
    return np.asarray(dense, np.float64)
