"""What names mean: of files and functions (who trains, who serves), of variables (a mean, a std, test data), of classes."""

from __future__ import annotations

import re

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

ROLES = {
    **dict.fromkeys(
        ("train", "trainer", "training", "fit", "finetune", "pretrain", "dataset", "datasets", "dataloader", "datamodule", "loaders",
         "augment", "augmentation", "augmentations"), "train"),
    **dict.fromkeys(
        ("serve", "server", "serving", "service", "services", "infer", "inference", "predict", "predictor", "prediction",
         "predictions", "app", "api", "deploy", "deployment", "deployed", "handler", "handlers", "endpoint", "endpoints", "production",
         "prod", "client", "lambda", "runtime", "webapp", "gateway", "score", "scoring", "onnxruntime",
         "ort", "demo"), "serve"),
    **dict.fromkeys(("test", "tests", "testing", "conftest", "bench", "benchmark", "benchmarks"), "test"),
}  # fmt: skip
GENERIC = {
    "src", "lib", "models", "model", "config", "configs", "conf", "cfg", "notebooks", "notebook", "scripts", "script", "data",
    "artifacts", "artifact", "weights", "checkpoints", "docs", "doc", "utils",
    "util", "common", "core", "backend", "frontend", "web", "pipeline",
    "pipelines", "preprocess", "preprocessing", "stats", "statistics", "scalers", "assets", "resources", "export", "exports", "onnx",
    "research", "experiments", "ml", "code", "tools", "release", "dist", "jobs", "registry", "triton", "deepstream", "mlruns",
    "shared",
}  # fmt: skip
HELD_OUT = {"test", "tests", "val", "valid", "validation", "holdout", "heldout", "eval", "evaluation", "unseen", "oos"}
_PARTS = {
    **dict.fromkeys(("mean", "means", "mu", "avg", "average", "center", "offset", "median"), "mean"),
    **dict.fromkeys(("std", "stds", "sigma", "stdev", "stddev", "scale", "scales", "iqr", "sd", "sdev"), "std"),
    **dict.fromkeys(("var", "variance"), "var"),
    **dict.fromkeys(("min", "mins", "minimum", "lo", "low"), "min"),
    **dict.fromkeys(("max", "maxs", "maximum", "hi", "high", "range", "span"), "max"),
}  # fmt: skip
SCALERS = {
    "StandardScaler", "MinMaxScaler", "RobustScaler", "MaxAbsScaler", "PowerTransformer", "QuantileTransformer",
    "ColumnTransformer", "KBinsDiscretizer", "SimpleImputer", "TimeSeriesScalerMeanVariance", "TimeSeriesScalerMinMax",
    "DStandardScaler", "DMinMaxScaler", "DQuantileScaler", "VarianceScaler",
}  # fmt: skip
_SCALER_NAMES = {"scaler", "scalers", "normalizer", "standardizer", "normaliser", "standardiser", "scaling"}
_DRAWN = {
    "mask",
    "masks",
    "color",
    "colour",
    "colors",
    "alpha",
    "label",
    "labels",
    "palette",
    "cmap",
    "overlay",
    "loss",
    "heatmap",
}


def words(name: str) -> tuple[str, ...]:
    """`X_trainScaled` -> ("x", "train", "scaled")."""
    return tuple(w.lower() for w in _WORD.findall(name))


def role_of_path(path: str) -> str:
    """Who a file is of, by its name, then by its folders from the inside: "train", "serve", "test" or ""."""
    parts = path.split("/")
    if any(w in ("tests", "conftest", "benchmarks") for part in parts for w in words(part)) or words(parts[-1])[:1] == (
        "test",
    ):
        return "test"
    parts[-1] = parts[-1].rsplit(".", 1)[0]
    for part in reversed(parts):
        found = [ROLES[w] for w in words(part) if w in ROLES]
        if found:
            return found[0]
    return ""


_SERVING = {
    "serve",
    "infer",
    "inference",
    "predict",
    "predictions",
    "prediction",
    "handle",
    "handler",
    "endpoint",
    "score",
}
_TRAINING = {"train", "fit", "training", "finetune"}


def role_of_function(name: str) -> str:
    """The same of a function's name."""
    said = words(name)
    if set(said) & _TRAINING:
        return "train"
    return "serve" if set(said) & _SERVING else ""


def part(name: str) -> str:
    """Which statistic a name stands for: "mean", "std", "var", "min", "max" or ""."""
    return next((_PARTS[w] for w in reversed(words(name.rsplit(".", 1)[-1])) if w in _PARTS), "")


def is_scaler(name: str) -> bool:
    """Whether an object's class or variable is a scaler by its name."""
    last = name.rsplit(".", 1)[-1]
    return last in SCALERS or bool(set(words(last)) & _SCALER_NAMES)


def held_out(name: str) -> bool:
    """Whether a variable holds data that nothing may be fitted on."""
    said = words(name)
    return bool(set(said) & HELD_OUT) and not set(said) & {"train", "training", "split", "size"}


def is_drawn(name: str) -> bool:
    """Whether a variable is a picture of something, never a model's input."""
    return bool(set(words(name)) & _DRAWN)
