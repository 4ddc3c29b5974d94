"""The models that inference and folding are measured on, fitted on scikit-learn's bundled real data, and onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

Array = npt.NDArray[Any]
ROWS = 4096
LSTM = Path(__file__).parent.parent / "models" / "digits_lstm" / "model.onnx"


@dataclass(frozen=True, eq=False)
class Case:
    """bare: the model without its scaler. whole: skl2onnx's model of the Pipeline, None where it has none. raw: rows.
    transform: scikit-learn's own, on float64 rows. framework: the answer of the training pipeline to raw rows. axis: of the
    features, where it must be said."""

    name: str
    bare: bytes
    whole: bytes | None
    scaler: StandardScaler
    raw: Array
    transform: Callable[[Array], Array]
    framework: Callable[[Array], Array] | None
    axis: int | None = None

    def scaled(self, rows: Array) -> Array:
        """As a Python host scales them: in float64, by scikit-learn, rounded once."""
        return self.transform(rows.astype(np.float64)).astype(np.float32)


def session(source: bytes | str) -> ort.InferenceSession:
    """On one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def ready(model: bytes) -> Callable[[Array], Any]:
    """A model's last output on rows."""
    live = session(model)
    name, last = live.get_inputs()[0].name, [live.get_outputs()[-1].name]
    return lambda x: live.run(last, {name: x})[0]


def converted(estimator: Any, width: int) -> bytes:
    """skl2onnx's model of an estimator or of a Pipeline."""
    options = {id(estimator): {"zipmap": False}} if hasattr(estimator, "predict_proba") else None
    made = convert_sklearn(
        estimator, initial_types=[("x", FloatTensorType([None, width]))], options=options,
        target_opset={"": 17, "ai.onnx.ml": 3},
    )  # fmt: skip
    return bytes(made.SerializeToString())


def cases() -> Iterator[Case]:
    """linear, MLP, random forest, gradient boosting, LSTM."""
    cancer, diabetes = load_breast_cancer(), load_diabetes(scaled=False)
    for name, estimator, data in (
        ("linear", LinearRegression(), diabetes),
        ("MLP", MLPClassifier((64, 64), max_iter=300, random_state=0), cancer),
        ("random forest", RandomForestClassifier(100, max_depth=8, random_state=0), cancer),
        ("gradient boosting", GradientBoostingRegressor(random_state=0), diabetes),
    ):
        rows = data.data.astype(np.float32)
        pipeline = make_pipeline(StandardScaler(), estimator).fit(rows.astype(np.float64), data.target)
        answer = pipeline.predict_proba if hasattr(pipeline, "predict_proba") else pipeline.predict
        yield Case(
            name, converted(estimator, rows.shape[1]), converted(pipeline, rows.shape[1]), pipeline[0], drawn(rows),
            pipeline[0].transform, lambda x, f=answer: f(x.astype(np.float64)),
        )  # fmt: skip
    images = load_digits().images
    scaler = StandardScaler().fit(images.reshape(-1, 8))
    yield Case(
        "LSTM", only_main(LSTM), None, scaler, drawn(images.astype(np.float32)),
        lambda x: scaler.transform(x.reshape(-1, 8)).reshape(x.shape), None, 2,
    )  # fmt: skip


def only_main(path: Path) -> bytes:
    return bytes(onnx.load(path).SerializeToString())


def drawn(rows: Array) -> Array:
    return np.ascontiguousarray(rows[np.random.default_rng(0).integers(0, len(rows), ROWS)])
