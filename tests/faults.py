"""A scaler on columns of realistic scale, and the ways in which people get it wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from onnxscale.scalers import Scaler
from onnxscale.statistics import Fitted, Source, Statistics
from onnxscale.step import Step
from onnxscale.transform import Transform
from tests.build import Array

MEAN = np.array([5.8, 101325.0, 0.0031, -40.0, 1500.0, 22.5])  # of realistic scale: pressure, humidity, altitude, ...
STD = np.array([0.83, 912.0, 0.0007, 12.5, 430.0, 6.0])
WIDTH = len(MEAN)
LOW, HIGH = MEAN - 2 * STD, MEAN + 2.5 * STD


@dataclass(frozen=True, eq=False)
class Steps:
    """A scaler made of any steps: how faults are planted."""

    steps: tuple[Step, ...]
    kind: str = "test"

    def transform(self) -> Transform:
        return Transform(self.steps)


def steps(*pairs: tuple[str, object]) -> Steps:
    return Steps(tuple(Step(op, (np.asarray(c, np.float64),)) for op, c in pairs))


def zscore(mean: Array = MEAN, std: Array = STD) -> Steps:
    return steps(("Sub", mean), ("Div", std))


def statistics(scaler: Scaler | Steps, **known: object) -> Statistics:
    return Statistics({"x": Fitted(scaler, **known)}, {}, Source("test"))  # type: ignore[arg-type]


def at(values: Array, column: int, change: Callable[[float], float]) -> Array:
    changed = values.copy()
    changed[column] = change(changed[column])
    return changed


def swapped(values: Array, a: int = 0, b: int = 5) -> Array:
    order = np.arange(len(values))
    order[[a, b]] = b, a
    return values[order]


def low_precision(values: Array, dtype: str) -> Array:
    return values.astype(dtype).astype(np.float64)


WRONG: dict[str, Steps] = {
    "one mean off by 0.1 %": zscore(at(MEAN, 1, lambda v: v * 1.001)),
    "one small mean off by 0.1 %": zscore(at(MEAN, 2, lambda v: v * 1.001)),
    "one mean off by 1e-6": zscore(at(MEAN, 4, lambda v: v * (1 + 1e-6))),
    "one std off by 1 %": zscore(std=at(STD, 3, lambda v: v * 1.01)),
    "one std off by 1e-5": zscore(std=at(STD, 0, lambda v: v * (1 + 1e-5))),
    "two columns swapped": zscore(swapped(MEAN), swapped(STD)),
    "two means swapped": zscore(swapped(MEAN)),
    "two stds swapped": zscore(std=swapped(STD)),
    "shifted by one column": zscore(np.roll(MEAN, 1), np.roll(STD, 1)),
    "columns reversed": zscore(MEAN[::-1], STD[::-1]),
    "min-max instead of z": steps(("Mul", 1 / (HIGH - LOW)), ("Add", -LOW / (HIGH - LOW))),
    "float32 statistics": zscore(low_precision(MEAN, "float32"), low_precision(STD, "float32")),
    "float16 statistics": zscore(low_precision(np.minimum(MEAN, 6e4), "float16"), STD),
    "six digits printed": zscore(np.array([float(f"{v * 1.0000003:.6g}") for v in MEAN]), STD * (1 + 4e-7)),
    "sign of the mean": zscore(-MEAN),
    "sign of one mean": zscore(at(MEAN, 3, lambda v: -v)),
    "variance for std": zscore(std=STD**2),
    "root of std": zscore(std=np.sqrt(STD)),
    "ddof": zscore(std=STD * np.sqrt(150 / 149)),
    "multiplied by std": steps(("Sub", MEAN), ("Mul", STD)),
    "mean added": steps(("Add", MEAN), ("Div", STD)),
    "divided first": steps(("Div", STD), ("Sub", MEAN)),
    "no mean": steps(("Div", STD)),
    "no std": steps(("Sub", MEAN)),
    "one std is 1": zscore(std=at(STD, 2, lambda v: 1.0)),
    "epsilon on std": zscore(std=STD + 1e-7),
    "clipped at 3": Steps((*zscore().steps, *steps(("Max", -3.0), ("Min", 3.0)).steps)),
    "scaled twice": Steps((*zscore().steps, *zscore().steps)),
    "the inverse": steps(("Mul", STD), ("Add", MEAN)),
    "divided by 255 before": Steps((*steps(("Mul", 1 / 255)).steps, *zscore().steps)),
    "another scaler": steps(("Div", np.maximum(abs(LOW), abs(HIGH)))),
    "one for all columns": zscore(np.full(WIDTH, MEAN.mean()), np.full(WIDTH, STD.mean())),
}
