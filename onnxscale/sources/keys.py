"""What the keys of a statistics file are called, and tables of features turned into one list per statistic."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from onnxscale.errors import StatisticsError, names

# what a key may be called -> what it means here
SYNONYMS = {
    **dict.fromkeys(("mean", "mean_", "scaler_mean", "means", "mu", "average", "avg"), "mean"),
    **dict.fromkeys(("std", "std_", "stds", "sigma", "stddev", "stdev", "std_dev", "sd", "standard_deviation"), "std"),
    **dict.fromkeys(("scale", "scale_", "scaler_scale"), "scale"),
    **dict.fromkeys(("var", "var_", "variance"), "var"),
    **dict.fromkeys(("min", "min_"), "min"),
    **dict.fromkeys(("max", "max_"), "max"),
    **dict.fromkeys(("data_min", "data_min_"), "data_min"),
    **dict.fromkeys(("data_max", "data_max_"), "data_max"),
    **dict.fromkeys(("center", "center_"), "center"),
    **dict.fromkeys(("median", "50%"), "median"),
    **dict.fromkeys(("max_abs", "max_abs_", "maxabs"), "max_abs"),
    **dict.fromkeys(("eps", "epsilon"), "eps"), **dict.fromkeys(("istd", "inv_std", "rstd"), "istd"),
    **{n: n for n in ("iqr", "offset", "shift", "norm_factor", "lower_bound", "upper_bound", "feature_range", "clip")},
    **dict.fromkeys(("features", "feature_names", "feature_names_in_", "columns", "names", "feature_names_in"), "features"),
    **dict.fromkeys(("units", "unit"), "units"),
    **{n: n for n in ("applied", "axis", "kind", "ddof", "profile", "steps", "data_range_", "25%", "75%")},
    "data_range_": "data_range", "data_range": "data_range",
}  # fmt: skip
# what the column that names the features is called, in a table or a list of objects
NAMES = ("feature", "name", "column", "feature_name", "features", "variable", "index", "statistic", "")
# what a file may say beside, and nothing here reads
INFORMATION = frozenset(
    (
        "n_features",
        "n_features_in_",
        "n_samples",
        "n_samples_seen",
        "n_samples_seen_",
        "count",
        "null_count",
        "n_rows",
        "num_samples",
        "num_features",
        "created",
        "created_at",
        "fitted_at",
        "timestamp",
        "version",
        "framework",
    )
) | {"data_range", "comment", "description", "dtype", "$schema", "source"}
# keys that say in a word which scaler it is, and the words
WORDS_AT = (
    "type",
    "scaler_type",
    "scaler",
    "scaler_class",
    "class",
    "class_name",
    "method",
    "normalization",
    "norm_type",
    "scaling",
)
WORDS = {
    **dict.fromkeys(("standard", "standardscaler", "standardize", "standardization", "standardisation", "zscore"), "standard"),
    **dict.fromkeys(("minmax", "minmaxscaler"), "minmax"), **dict.fromkeys(("robust", "robustscaler"), "robust"),
    **dict.fromkeys(("maxabs", "maxabsscaler"), "maxabs"),
}  # fmt: skip
STATISTICS = set(SYNONYMS) | INFORMATION
_PERCENTILE = re.compile(r"\d{1,3}(\.\d+)?%")
BESIDE = {"features", "units", "axis", "kind", "ddof", "applied", "profile"}


def spelled(key: Any) -> str:
    """The name of a statistic as the tables here have it, "Mean" and "Std Dev" too; any other key as it is."""
    text = str(key)
    plain = re.sub(r"[\s.-]+", "_", text.strip().lower())
    return plain if text not in STATISTICS and plain in STATISTICS else text


def informs(key: str) -> bool:
    """Whether this is said beside the statistics and nothing here reads it: counts, versions, other percentiles than the quartiles."""
    return key in INFORMATION or (key not in SYNONYMS and _PERCENTILE.fullmatch(key) is not None)


def is_statistic(key: Any) -> bool:
    return spelled(key) in STATISTICS or informs(str(key))


def worded(flat: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The statistics without the word that says which scaler they are of, and its kind; "" where no known word stands there."""
    for key in WORDS_AT:
        said = flat.get(key)
        words = {str(w) for w in said} if isinstance(said, list) else {str(said)}  # a list: of every feature
        word = words.pop() if len(words) == 1 else ""
        kind = WORDS.get(re.sub(r"[-_ ]", "", word.lower()), "")
        if kind and "kind" not in flat:
            return {k: v for k, v in flat.items() if k != key}, kind
    return dict(flat), ""


def _respelled(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Raises StatisticsError where two keys are the same statistic in two spellings."""
    made = {spelled(k): v for k, v in row.items()}
    if len(made) < len(row):
        raise StatisticsError(f"among {names(row)} two keys are the same but for their spelling; only one can be meant")
    return made


def columns(given: Mapping[Any, Any] | Sequence[Any]) -> tuple[dict[str, Any], bool]:
    """Per-feature objects (and pandas' tables) turned into one list per statistic; and whether it is a describe() table."""
    alone = isinstance(given, Mapping) and all(k == "features" or informs(str(k)) for k in given)
    inside = given.get("features") if alone and isinstance(given, Mapping) else None
    given = inside if isinstance(inside, list) and inside and all(isinstance(r, Mapping) for r in inside) else given
    content = dict(given) if isinstance(given, Mapping) else _by_name(given)
    if {"schema", "data"} == set(content) and isinstance(content["schema"], Mapping):
        content = _of_schema(content["schema"], content["data"])
    if {"columns", "index", "data"} <= set(content):  # pandas, orient="split"
        content = _split(content["columns"], content["index"], content["data"])
    if not content or not all(isinstance(v, Mapping) for v in content.values()):
        if any(isinstance(v, Mapping) for v in content.values()) and not any(k in SYNONYMS for k in content):
            odd = [k for k, v in content.items() if not isinstance(v, Mapping)]
            raise StatisticsError(f"some keys hold objects and some do not: {names(odd)}")
        return _respelled(content), False
    if all(map(is_statistic, content)) and not all(
        is_statistic(s) for v in content.values() for s in v
    ):  # orient="index"
        features = {f for row in content.values() for f in row}
        short = next((s for s, row in content.items() if set(row) != features), None)
        if short is not None:
            raise StatisticsError(f"{short!r} is not given for each of {names(sorted(map(str, features)))}")
        content = {f: {s: row[f] for s, row in content.items()} for f in next(iter(content.values()))}
    if not content:
        raise StatisticsError("a table without a feature")
    content = {f: _respelled(row) for f, row in content.items()}
    first = set(next(iter(content.values())))
    for feature, row in content.items():
        if set(row) != first:
            raise StatisticsError(
                f"feature {feature!r} has the statistics {names(sorted(map(str, row)))}, the first has "
                f"{names(sorted(map(str, first)))}"
            )
    flat: dict[str, Any] = {str(s): [row[s] for row in content.values()] for s in next(iter(content.values()))}
    listed = [] if all(f.startswith(_NUMBERED) for f in map(str, content)) else [str(f) for f in content]
    return flat | ({"features": listed} if listed else {}), "count" in flat and "50%" in flat


_NUMBERED = "\0"  # starts the name of a feature that has none


def _by_name(rows: Sequence[Any]) -> dict[str, Any]:
    """A list of objects that name their feature, all or none."""
    if not rows or not all(isinstance(r, Mapping) for r in rows):
        raise StatisticsError("expected an object with statistics, or a list of objects, one per feature")
    label = next((n for n in NAMES if all(n in r for r in rows)), None)
    if label is None and not any(map(is_statistic, rows[0])):
        raise StatisticsError(
            f"a list of rows with the keys {names(rows[0])} and no name of a statistic among them; pandas leaves the index out "
            f"with orient='records': write the table with orient='index' or 'table'"
        )
    made: dict[str, Any] = {}
    for i, row in enumerate(rows):
        name = f"{_NUMBERED}{i}" if label is None else str(row[label])
        if name in made:
            raise StatisticsError(f"two features are called {name!r}")
        made[name] = {k: v for k, v in row.items() if k != label}
    return made


def _split(columns: Any, index: Any, data: Any) -> dict[str, Any]:
    """pandas, orient="split": a list of rows, the names of the rows and of the columns."""
    lists = [columns, index, data, *(data if isinstance(data, list) else [])]
    if (
        not all(isinstance(v, list) for v in lists)
        or len(data) != len(index)
        or any(len(r) != len(columns) for r in data)
    ):
        raise StatisticsError("columns, index and data are not the lists that pandas writes with orient='split'")
    if any(isinstance(n, list | Mapping) for n in (*columns, *index)):
        raise StatisticsError("columns and index: expected names")
    turned = zip(*data, strict=True)
    return {str(c): dict(zip(map(str, index), v, strict=True)) for c, v in zip(columns, turned, strict=True)}


def _of_schema(schema: Mapping[Any, Any], rows: Any) -> dict[str, Any]:
    """pandas, orient="table": rows that name themselves in the column of the primary key."""
    key = schema.get("primaryKey")
    if not isinstance(key, list) or len(key) != 1 or not isinstance(key[0], str) or not isinstance(rows, list):
        raise StatisticsError("a table schema without one primaryKey; expected what pandas writes with orient='table'")
    if not all(isinstance(r, Mapping) and key[0] in r for r in rows):
        raise StatisticsError(f"a table schema whose rows do not all have the primary key {key[0]!r}")
    return {str(r[key[0]]): {k: v for k, v in r.items() if k != key[0]} for r in rows}
