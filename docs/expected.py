"""`python -m docs.expected` measures how often `onnxscale expect` is right, and writes the tables of docs/expecting.md.

The models are trained here, on tables that scikit-learn carries or draws, each raw and scaled in three ways; so the truth is known.
Half of the tables were looked at while the trusts of onnxscale/expecting/weighing.py were chosen ("tuned"), the other half were not.
"""

# mypy: disable-error-code="import-untyped,import-not-found"
from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from onnxscale.expecting import LIKELY, SCALED, UNSCALED, expect

PAGE = Path(__file__).parent / "expecting.md"
Array = Any
TUNED = ("diabetes", "wine", "breast_cancer", "sensors")
HELD_OUT = ("iris", "digits", "counts", "shop")
SCALINGS = ("raw", "standard", "unit", "symmetric")


@dataclass(frozen=True)
class Case:
    """A model whose truth is known. rows: raw ones, as a user has them."""

    family: str
    table: str
    truth: str
    model: bytes
    rows: Array


def table(name: str) -> tuple[Array, Array]:
    """Rows and classes of one table."""
    from sklearn import datasets

    draw = np.random.default_rng(7)
    if name == "diabetes":
        x, y = datasets.load_diabetes(return_X_y=True, scaled=False)
        return x, (y > 140).astype(int)
    if name in ("wine", "breast_cancer", "iris", "digits"):
        x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        return (x[:, x.std(axis=0) > 0], y)
    if name == "sensors":  # temperatures, pressures, shares, currents
        x, y = datasets.make_classification(600, 8, n_informative=6, random_state=1)
        return x * np.array([8, 1500, 0.05, 0.3, 40, 2, 1e-3, 12]) + np.array(
            [21, 101325, 0.4, 1.2, 300, 7, 5e-3, 230]
        ), y
    if name == "counts":
        x = draw.poisson(np.array([2, 7, 30, 0.8, 120]), (500, 5)).astype(float)
        return x, (x[:, 0] * 3 + x[:, 1] + x[:, 4] / 10 > 25).astype(int)
    x = np.column_stack(
        [draw.lognormal(3, 1, 500), draw.integers(18, 90, 500), draw.uniform(0, 1, 500), draw.lognormal(9, 0.5, 500)]
    )
    return x, (np.log(x[:, 0]) + x[:, 1] / 30 + x[:, 2] + draw.normal(0, 0.5, 500) > 5.2).astype(int)


def scaled(scaling: str, x: Array) -> Array:
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    made: dict[str, Callable[[], Array]] = {
        "raw": lambda: x,
        "standard": lambda: StandardScaler().fit_transform(x),
        "unit": lambda: MinMaxScaler().fit_transform(x),
        "symmetric": lambda: MinMaxScaler((-1, 1)).fit_transform(x),
    }
    return made[scaling]()


def _sklearn(estimator: Callable[[], Any]) -> Callable[[Array, Array], bytes]:
    def build(x: Array, y: Array) -> bytes:
        from skl2onnx import to_onnx

        fitted = estimator().fit(x, y)
        options = {id(fitted): {"zipmap": False}} if hasattr(fitted, "predict_proba") else None
        made = to_onnx(fitted, x[:1].astype(np.float32), options=options, target_opset={"": 17, "ai.onnx.ml": 3})
        return bytes(made.SerializeToString())

    return build


def _xgboost(x: Array, y: Array) -> bytes:
    from onnxmltools.convert import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType
    from xgboost import XGBClassifier

    fitted = XGBClassifier(n_estimators=20, max_depth=4, base_score=0.5).fit(x, y)
    return bytes(
        convert_xgboost(fitted, initial_types=[("x", FloatTensorType([None, x.shape[1]]))]).SerializeToString()
    )


def dense(x: Array, y: Array, hidden: int = 16) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """A trained MLP as plain nodes from "h" to "p"."""
    from sklearn.neural_network import MLPClassifier

    net = MLPClassifier((hidden,), max_iter=150, random_state=0).fit(x, y)
    (w1, w2), (b1, b2) = net.coefs_, net.intercepts_
    held = {"w1": w1, "b1": b1, "w2": w2, "b2": b2}
    constants = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in held.items()]
    last = "Sigmoid" if w2.shape[1] == 1 else "Softmax"
    nodes = [
        helper.make_node("Gemm", ["h", "w1", "b1"], ["a"]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["z"]),
        helper.make_node(last, ["z"], ["p"]),
    ]
    return nodes, constants


def whole(nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto], shape: list[Any], out: list[Any]) -> bytes:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, shape)],
        [helper.make_tensor_value_info("p", 1, out)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def _normalized(x: Array, y: Array) -> bytes:
    """A BatchNormalization first, with the running moments of the rows, then an MLP trained on what it gives."""
    mean, variance = x.mean(axis=0), x.var(axis=0)
    nodes, constants = dense((x - mean) / np.sqrt(variance + 1e-5), y)
    held = {"g": np.ones(len(mean)), "b": np.zeros(len(mean)), "m": mean, "v": variance}
    constants += [numpy_helper.from_array(v.astype(np.float32), k) for k, v in held.items()]
    return whole(
        [helper.make_node("BatchNormalization", ["x", "g", "b", "m", "v"], ["h"]), *nodes],
        constants,
        [None, x.shape[1]],
        [None, None],
    )


def _quantized(x: Array, y: Array) -> bytes:
    """A quantizer in front that was calibrated on the rows, then an MLP."""
    nodes, constants = dense(x, y)
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    scale = (high - low) / 255
    constants += [
        numpy_helper.from_array(np.float32(scale), "s"), numpy_helper.from_array(np.uint8(round(-low / scale)), "zp"),
    ]  # fmt: skip
    front = [
        helper.make_node("QuantizeLinear", ["x", "s", "zp"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "zp"], ["h"]),
    ]
    return whole([*front, *nodes], constants, [None, x.shape[1]], [None, None])


def families() -> dict[str, Callable[[Array, Array], bytes]]:
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.svm import SVC

    return {
        "linear regression": _sklearn(LinearRegression),
        "logistic regression": _sklearn(lambda: LogisticRegression(max_iter=3000)),
        "MLP": _sklearn(lambda: MLPClassifier((24,), max_iter=150, random_state=0)),
        "random forest": _sklearn(lambda: RandomForestClassifier(20, max_depth=6, random_state=0)),
        "gradient boosting": _sklearn(lambda: GradientBoostingClassifier(n_estimators=20, random_state=0)),
        "XGBoost": _xgboost,
        "SVM": _sklearn(lambda: SVC(random_state=0)),
        "nearest neighbours": _sklearn(lambda: KNeighborsClassifier(5)),
        "BatchNormalization, MLP": _normalized,
        "quantized MLP": _quantized,
    }


def patches() -> Iterator[tuple[str, Array]]:
    """Patches of scikit-learn's two photographs as NCHW of 0 to 255."""
    from sklearn.datasets import load_sample_images

    draw, size, count = np.random.default_rng(3), 32, 200
    for name, image in zip(("china", "flower"), load_sample_images().images, strict=True):
        ys, xs = (draw.integers(0, d - size, count) for d in image.shape[:2])
        yield (
            name,
            np.stack([image[a : a + size, b : b + size] for a, b in zip(ys, xs, strict=True)])
            .transpose(0, 3, 1, 2)
            .astype(float),
        )


PIXELS: dict[str, Callable[[Array], Array]] = {
    "pixels": lambda v: v,
    "unit": lambda v: v / 255,
    "symmetric": lambda v: v / 127.5 - 1,
    "standard": lambda v: (
        # pixels made up for measuring, and no model's here. onnxscale: ignore[train-serve-skew]
        (v / 255 - np.array([0.485, 0.456, 0.406])[:, None, None]) / np.array([0.229, 0.224, 0.225])[:, None, None]
    ),
    "centred": lambda v: v - np.array([123.68, 116.779, 103.939])[:, None, None],
}


def pictures() -> Iterator[Case]:
    """A convolution with a BatchNormalization that met the patches, as it stands in an exported network; and a quantizer."""
    for place, (name, raw) in enumerate(patches()):
        for seed in range(4):
            for truth, normalize in PIXELS.items():
                x = normalize(raw)
                yield Case("Conv, BatchNormalization", name, truth, _convolved(x, 10 * place + seed), raw)
                if seed == 0:
                    yield Case("quantized Conv", name, truth, _convolved(x, 10 * place + seed, quantize=True), raw)


def _convolved(x: Array, seed: int, quantize: bool = False) -> bytes:
    draw, units = np.random.default_rng(seed), 24
    weight = draw.normal(0, 0.15, (units, 3, 3, 3)) + draw.normal(0, 0.1, (units, 3, 1, 1))
    seen = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
    y = np.einsum("nchwij,ocij->nohw", seen, weight, optimize=True)
    held = {
        "w": weight,
        "g": np.ones(units),
        "b": np.zeros(units),
        "m": y.mean(axis=(0, 2, 3)),
        "v": y.var(axis=(0, 2, 3)),
    }
    constants = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in held.items()]
    front: list[onnx.NodeProto] = []
    if quantize:
        low, high = min(x.min(), 0.0), max(x.max(), 0.0)
        constants += [
            numpy_helper.from_array(np.float32((high - low) / 255), "s"),
            numpy_helper.from_array(np.uint8(round(-low / ((high - low) / 255))), "zp"),
        ]
        front = [
            helper.make_node("QuantizeLinear", ["x", "s", "zp"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "zp"], ["h"]),
        ]
    nodes = [
        *front,
        helper.make_node("Conv", ["h" if quantize else "x", "w"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node(
            "Relu" if quantize else "BatchNormalization", ["c"] if quantize else ["c", "g", "b", "m", "v"], ["n"]
        ),
        helper.make_node("GlobalAveragePool", ["n"], ["p"]),
    ]
    return whole(nodes, constants, [None, 3, 32, 32], [None, units, 1, 1])


def cases(tables: tuple[str, ...]) -> Iterator[Case]:
    """Every family on every table in every scaling."""
    for name in tables:
        x, y = table(name)
        rows = x[np.random.default_rng(5).permutation(len(x))[:200]]
        for scaling in SCALINGS:
            inputs = scaled(scaling, x)
            for family, build in families().items():
                yield Case(family, name, scaling, build(inputs, y), rows)


@dataclass(frozen=True)
class Told:
    """One answer. probability: of the first hypothesis."""

    case: Case
    with_data: bool
    first: str
    probability: float
    verdict: str

    @property
    def told(self) -> bool:
        return self.verdict in (LIKELY, SCALED)

    @property
    def right(self) -> bool:
        """Whether the first hypothesis is the truth; where only "scaled" is claimed, whether it was scaled."""
        if self.verdict == SCALED:
            return self.case.truth not in UNSCALED
        return self.first == self.case.truth


def asked(case: Case) -> Iterator[Told]:
    for with_data in (False, True):
        answer = expect(case.model, case.rows if with_data else None).answers[0]
        best = answer.ranked[0]
        yield Told(case, with_data, best.name, best.probability, answer.verdict)


def by_family(told: list[Told]) -> str:
    """Of each family: how often the first hypothesis is the truth, and what the claims are worth."""
    lines = [
        "| model | rows | first is the truth | claims one | right | claims scaled | right | cannot tell |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for family in dict.fromkeys(t.case.family for t in told):
        for data in (False, True):
            part = [t for t in told if t.case.family == family and t.with_data == data]
            likely, some = ([t for t in part if t.verdict == v] for v in (LIKELY, SCALED))
            first = sum(t.first == t.case.truth for t in part)
            cells = [f"{first} of {len(part)}"]
            for claims in (likely, some):
                cells += [str(len(claims)), str(sum(t.right for t in claims)) if claims else ""]
            lines.append(
                f"| {family} | {'raw' if data else 'none'} | "
                + " | ".join([*cells, str(len(part) - len(likely) - len(some))])
                + " |"
            )
    return "\n".join(lines)


BANDS = ((0.0, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 0.9), (0.9, 0.96), (0.96, 1.0))


def by_confidence(told: list[Told]) -> str:
    lines = ["| it says | answers | mean of what it says | right |", "|---|---|---|---|"]
    for low, high in BANDS:
        part = [t for t in told if low <= t.probability < high]
        if part:
            mean, right = np.mean([t.probability for t in part]), np.mean([t.first == t.case.truth for t in part])
            lines.append(f"| {low:.0%} to {high:.0%} | {len(part)} | {mean:.0%} | {right:.0%} |")
    return "\n".join(lines)


def main() -> None:
    warnings.simplefilter("ignore")
    measured: dict[str, list[Told]] = {}
    for title, source in (("tuned", cases(TUNED)), ("held out", cases(HELD_OUT)), ("pictures", pictures())):
        measured[title] = [t for case in source for t in asked(case)]
        print(f"{title}: {len(measured[title])} answers", file=sys.stderr)
    text = PAGE.read_text(encoding="utf-8")
    made = {
        "families": by_family(measured["held out"]),
        "tuned": by_family(measured["tuned"]),
        "pictures": by_family(measured["pictures"]),
        "confidence": by_confidence(measured["held out"] + measured["pictures"]),
    }
    for name, body in made.items():
        start, end = f"<!-- {name} -->\n", f"<!-- {name} end -->"
        text = text[: text.index(start) + len(start)] + body + "\n" + text[text.index(end) :]
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
