"""Dense networks in other number formats: quantized, float16, float64, and weights in a file of their own."""

# mypy: disable-error-code="import-untyped,import-not-found"
from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx.external_data_helper import convert_model_to_external_data
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from onnxruntime.transformers import float16
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import RobustScaler, StandardScaler
from torch import manual_seed, nn

from models import statfiles as st
from models.built import Array, Built, documented, some, wide
from models.torch_export import answer, legacy, train


def cancer_mlp() -> Built:
    data = load_breast_cancer()
    s = StandardScaler().fit(data.data)
    fitted = MLPClassifier(hidden_layer_sizes=(12,), max_iter=150, random_state=0).fit(
        s.transform(data.data), data.target
    )
    model = convert_sklearn(
        fitted,
        name="cancer_mlp",
        initial_types=[("X", FloatTensorType([None, 30]))],
        target_opset={"": 13, "ai.onnx.ml": 3},
        options={"zipmap": False},
    )
    rows, chain = some(data.data), make_pipeline(s, fitted)
    return Built(
        "cancer_mlp",
        documented(model, "Benign or malignant", author="models/make.py"),
        {"X": s.transform},
        {"X": rows},
        {"label": chain.predict(wide(rows)), "probabilities": chain.predict_proba(wide(rows))},
        {
            "stats.json": st.as_json(st.mean_scale(s, data.feature_names)),
            "stats.yaml": st.as_yaml(st.mean_std(s)),
            "stats.csv": st.csv(s, data.feature_names),
        },
        5e-6,
        "a Cast, then MatMul and Add, as skl2onnx writes an MLP",
        dumps={"scaler.joblib": s},
    )


def diabetes_double() -> Built:
    """float64 from input to output: nothing is lost, so the answers agree to 1e-13."""
    x, y = load_diabetes(return_X_y=True, scaled=False)
    s = RobustScaler().fit(x)
    fitted = MLPRegressor(hidden_layer_sizes=(10,), solver="lbfgs", max_iter=80, random_state=0).fit(s.transform(x), y)
    model = convert_sklearn(
        fitted,
        name="diabetes_double",
        initial_types=[("X", DoubleTensorType([None, 10]))],
        target_opset={"": 15, "ai.onnx.ml": 3},
    )
    rows = some(x, dtype=np.float64)
    return Built(
        "diabetes_double",
        model,
        {"X": s.transform},
        {"X": rows},
        {"variable": make_pipeline(s, fitted).predict(rows).reshape(-1, 1)},
        {"stats.json": st.as_json(st.robust(s))},
        1e-12,
        "float64 input, weights and output",
        dumps={"scaler.joblib": s},
    )


def wine_float16() -> Built:
    """Proline in micrograms per litre, 1,680,000 at most: the raw values are beyond float16."""
    data = load_wine()
    x = data.data.copy()
    x[:, 12] *= 1000
    s = StandardScaler().fit(x)
    manual_seed(0)
    net = train(nn.Sequential(nn.Linear(13, 10), nn.ReLU(), nn.Linear(10, 3)), [s.transform(x)], data.target)
    model = float16.convert_float_to_float16(legacy(net, {"x": (13,)}, "logits", 13), keep_io_types=False)
    rows = some(x)
    return Built(
        "wine_float16",
        model,
        {"x": s.transform},
        {"x": rows},
        {"logits": answer(net, s.transform(wide(rows)))},
        {"stats.json": st.as_json(st.mean_std(s))},
        4e-3,
        "float16 graph input and output; rows are float32, because raw proline overflows float16",
        dumps={"scaler.joblib": s},
    )


class Rows(CalibrationDataReader):  # type: ignore[misc]
    """Scaled rows in batches, for the calibration of a quantized model."""

    def __init__(self, x: Array) -> None:
        self.batches = iter([{"x": part} for part in np.array_split(x.astype(np.float32), 8)])

    def get_next(self) -> dict[str, Array] | None:
        return next(self.batches, None)


def cancer_quantized() -> Built:
    """Static quantization (QDQ). The right answer is the quantized model's own on rows scaled in float64, since
    quantization changes it; one step of a quantizer may still flip."""
    data = load_breast_cancer()
    s = StandardScaler().fit(data.data)
    manual_seed(0)
    net = train(nn.Sequential(nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 2)), [s.transform(data.data)], data.target)
    with tempfile.TemporaryDirectory() as folder:
        plain, small = Path(folder) / "plain.onnx", Path(folder) / "small.onnx"
        onnx.save(legacy(net, {"x": (30,)}, "logits", 13), plain)
        quantize_static(plain, small, Rows(s.transform(data.data)), quant_format=QuantFormat.QDQ)
        model = onnx.load(small)
    rows = some(data.data)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"x": s.transform(wide(rows)).astype(np.float32)})
    return Built(
        "cancer_quantized",
        model,
        {"x": s.transform},
        {"x": rows},
        {"logits": wide(logits)},
        {"stats.json": st.as_json(st.mean_scale(s, data.feature_names))},
        2e-2,
        "QuantizeLinear reads the input; expected is the quantized model on rows scaled in float64",
        dumps={"scaler.joblib": s},
    )


def digits_external() -> Built:
    """The weights of both layers, 114 kB, lie in weights.bin beside the model; biases stay in it."""
    x, y = load_digits(return_X_y=True)
    s = StandardScaler().fit(x)
    manual_seed(0)
    net = train(nn.Sequential(nn.Linear(64, 384), nn.ReLU(), nn.Linear(384, 10)), [s.transform(x)], y, 25)
    model = legacy(net, {"pixels": (64,)}, "logits", 17)
    convert_model_to_external_data(model, location="weights.bin", size_threshold=4096)
    rows = some(x)
    return Built(
        "digits_external",
        model,
        {"pixels": s.transform},
        {"pixels": rows},
        {"logits": answer(net, s.transform(wide(rows)))},
        {"stats.json": st.as_json(st.mean_std(s)), "stats.npz": st.npz(mean=s.mean_, std=s.scale_)},
        5e-6,
        "external data in weights.bin; constant pixels have std 1",
        dumps={"scaler.joblib": s},
        external=True,
    )


def all_precisions() -> Iterator[Built]:
    """In the order of the table in README.md."""
    for make in (cancer_mlp, diabetes_double, wine_float16, cancer_quantized, digits_external):
        yield make()
