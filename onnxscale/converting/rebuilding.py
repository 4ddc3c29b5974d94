"""A live scikit-learn estimator from the record of one that a file holds: a table of known classes, plain state and arrays.

Nothing is unpickled and nothing that the file names is looked up: the table says which class a name stands for, and the
state is made of numbers, text, arrays, lists and further estimators of the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from inspect import signature
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError, names
from onnxscale.scalers.states import function_name
from onnxscale.sources import sklearns, wrappers
from onnxscale.sources.arrays import DType
from onnxscale.sources.attributes import predicts
from onnxscale.sources.inert import Estimator, Global

CLASSES = {
    name: f"sklearn.{module}"
    for module, listed in {
        "preprocessing": "StandardScaler MinMaxScaler MaxAbsScaler RobustScaler Normalizer PowerTransformer QuantileTransformer "
        "Binarizer KBinsDiscretizer PolynomialFeatures SplineTransformer OneHotEncoder OrdinalEncoder LabelBinarizer TargetEncoder "
        "FunctionTransformer KernelCenterer",
        "compose": "ColumnTransformer",
        "pipeline": "Pipeline FeatureUnion",
        "impute": "SimpleImputer MissingIndicator KNNImputer",
        "decomposition": "PCA IncrementalPCA TruncatedSVD KernelPCA",
        "feature_selection": "VarianceThreshold SelectKBest SelectPercentile SelectFpr SelectFdr SelectFwe GenericUnivariateSelect "
        "SelectFromModel RFE RFECV SequentialFeatureSelector",
        "linear_model": "LinearRegression LogisticRegression Ridge RidgeClassifier Lasso LassoCV ElasticNet ElasticNetCV",
        "svm": "LinearSVC LinearSVR",
        "random_projection": "GaussianRandomProjection",
        "feature_extraction.text": "TfidfTransformer",
    }.items()
    for name in listed.split()
}
FUNCTIONS = (
    "log",
    "log1p",
    "log2",
    "log10",
    "exp",
    "expm1",
    "sqrt",
    "square",
    "abs",
    "arcsinh",
    "sinh",
    "tanh",
    "cbrt",
)
MASKED = (
    "RFE",
    "RFECV",
    "SequentialFeatureSelector",
)  # selectors that keep what they chose: the model that chose is not needed
SCORES = ("f_regression", "f_classif", "chi2", "r_regression", "mutual_info_classif", "mutual_info_regression")
_TYPES = {
    f"numpy.{t}": getattr(np, t) for t in ("float64", "float32", "int64", "int32", "uint8", "bool_", "object_", "str_")
}
_TYPES |= {
    "builtins.float": float,
    "builtins.int": int,
    "builtins.str": str,
    "builtins.object": object,
    "builtins.bool": bool,
}
DEPTH = 16


def rebuilt(record: Estimator) -> Any:
    """The estimator. Raises StatisticsError naming the class or the attribute that is not known here."""
    return _estimator(record, 0)


def _estimator(record: Estimator, depth: int) -> Any:
    if record.package != "sklearn" or record.name not in CLASSES:
        raise StatisticsError(
            f"{Global(record.module, record.name)} cannot be rebuilt from a file; known are {names(CLASSES, 40)}. "
            f"Bake it from Python, where the estimator is at hand"
        )
    made: Any = object.__new__(_class(record.name))
    vars(made).update(_defaults(record.name))
    left = ("estimator", "estimator_") if record.name in MASKED else ()
    state = {str(k): v for k, v in record.state.items() if k not in left}
    vars(made).update({k: _value(v, f"{record.name}.{k}", depth + 1) for k, v in state.items()})
    if left:
        vars(made).update(dict.fromkeys(left, import_module("sklearn.base").BaseEstimator()))
    return made


def _defaults(name: str) -> dict[str, Any]:
    """What a version of scikit-learn that wrote fewer attributes meant by those that this one has: its constructor's defaults."""
    parameters = signature(_class(name).__init__).parameters.values()  # type: ignore[misc]
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    return defaults | {k: v for (of, k), v in _PRIVATE.items() if of == name}


_PRIVATE: dict[tuple[str, str], Any] = {
    ("OneHotEncoder", "_infrequent_enabled"): False,
    ("OneHotEncoder", "_drop_idx_after_grouping"): None,
    ("OrdinalEncoder", "_infrequent_enabled"): False,
    ("OrdinalEncoder", "_missing_indices"): {},
    ("SimpleImputer", "indicator_"): None,
}


def classes() -> dict[str, type]:
    """The classes of the table that this scikit-learn has, by name. Raises StatisticsError where it is not installed."""
    try:
        modules = {m: import_module(m) for m in set(CLASSES.values())}
    except ImportError:
        raise StatisticsError("this needs scikit-learn: pip install 'onnxscale[sklearn]'") from None
    return {name: getattr(modules[m], name) for name, m in CLASSES.items() if hasattr(modules[m], name)}


def transformer(held: object) -> Any:
    """The live transformer: the one at hand, or the one that a file's record is rebuilt to; without the predictor at the end of a
    pipeline, which is the model. Raises StatisticsError naming what cannot be rebuilt."""
    made: Any = (
        rebuilt(_before_the_model(wrappers.unwrapped(held, sklearns.look)))
        if isinstance(held, Estimator)
        else _served(held)
    )
    steps = getattr(made, "steps", None)
    if steps and hasattr(steps[-1][1], "predict") and not hasattr(steps[-1][1], "get_support"):  # RFE predicts too
        made = made[:-1]
    if not hasattr(made, "transform"):
        raise StatisticsError(f"a {type(made).__name__} does not transform anything; expected a fitted transformer")
    return made


def _served(live: Any) -> Any:
    """What serves in the place of a search, or of a pipeline with samplers."""
    live = getattr(live, "best_estimator_", live)
    if type(live).__module__.partition(".")[0] != "imblearn" or not hasattr(live, "steps"):
        return live
    kept = [(n, s) for n, s in live.steps if not hasattr(s, "fit_resample")]
    return import_module("sklearn.pipeline").Pipeline(kept)


def _before_the_model(held: Estimator) -> Estimator:
    steps = held.state.get("steps") if held.name == "Pipeline" else None
    last = steps[-1][1] if steps else None
    if not isinstance(last, Estimator) or not predicts(last):
        return held
    return replace(held, raw=wrappers.Taken({**held.state, "steps": list(steps or [])[:-1]}))


def _class(name: str) -> type:
    try:
        found = getattr(import_module(CLASSES[name]), name)
    except ImportError:
        raise StatisticsError(f"{name} needs scikit-learn: pip install 'onnxscale[sklearn]'") from None
    assert isinstance(found, type)
    return found


def _value(value: Any, where: str, depth: int) -> Any:
    if depth > DEPTH:
        raise StatisticsError(f"{where}: nested more than {DEPTH} levels deep")
    if isinstance(value, Estimator):
        return _inside(value, where, depth)
    if isinstance(value, Global):
        return _named(value, where)
    if isinstance(value, DType) and value.code[:1] in "fiubOU":
        return np.dtype(value.code if value.order == "|" else value.order + value.code)
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        turned = np.empty(value.shape, object)
        for place, item in np.ndenumerate(value):
            turned[place] = _value(item, where, depth + 1)
        return turned
    if isinstance(value, Mapping):
        return {_value(k, where, depth + 1): _value(v, where, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([_value(v, where, depth + 1) for v in value])
    if value is None or isinstance(value, bool | int | float | str | slice | np.ndarray | np.generic):
        return value
    raise StatisticsError(f"{where} is {str(value)[:60]}, which cannot be rebuilt from a file")


def _inside(value: Estimator, where: str, depth: int) -> Any:
    """An object in an estimator's state: another estimator, or one of the few helpers that scikit-learn keeps there."""
    helper = _HELPERS.get(value.name) if value.package in ("sklearn", "scipy") else None
    if helper is not None:
        state = value.state if value.raw and helper is not _chosen else {}
        return helper({str(k): _value(v, where, depth + 1) for k, v in state.items() if k not in _LEFT})
    return _estimator(value, depth)


def _bunch(state: Mapping[str, Any]) -> Any:
    from sklearn.utils import Bunch

    return Bunch(**state)


def _spline(state: Mapping[str, Any]) -> Any:
    from scipy.interpolate import BSpline

    t, c = (np.asarray(state[k if k in state else f"_{k}"], np.float64) for k in ("t", "c"))
    return BSpline(t, c, int(state["k"]), extrapolate=state.get("extrapolate", True))


def _chosen(state: Mapping[str, Any]) -> None:
    """make_column_selector: what it chose stands in the fitted transformer."""
    del state


_LEFT = ("_asarray",)  # functions of scipy's own, which its constructor puts there again
_HELPERS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "Bunch": _bunch, "BSpline": _spline, "make_column_selector": _chosen,
}  # fmt: skip


def _named(value: Global, where: str) -> Any:
    module, name = value.key
    known = _TYPES.get(f"{module}.{name}")
    if known is not None:
        return known
    if module.startswith("sklearn.feature_selection") and name in SCORES:
        return getattr(import_module("sklearn.feature_selection"), name)
    if module.partition(".")[0] == "numpy" and name in FUNCTIONS:
        return getattr(np, name)
    raise StatisticsError(
        f"{where} is the function {function_name(value)[:60]!r}; known are numpy's {names(FUNCTIONS, 20)}"
    )
