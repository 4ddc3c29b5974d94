"""Statistics of speech toolkits: mean and variance of acoustic features, kept as sums over frames (Kaldi, WeNet, ESPnet).

Kaldi (src/transform/cmvn.cc; matrix of 2 x (F + 1): sums and the count, sums of squares, as text or binary), WeNet
(wenet/utils/cmvn.py, JSON: mean_stat, var_stat, frame_num), ESPnet (espnet2/layers/global_mvn.py, npz: count, sum, sum_square):
mean = sum / count, var = squares / count - mean^2, not below 1e-20.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError
from onnxscale.scalers import Standard, Steps
from onnxscale.scalers.values import numbers
from onnxscale.statistics import Fitted, Reading, Source, Statistics, alone
from onnxscale.step import Array, Step
from onnxscale.transform import Transform

FLOOR = 1e-20
_ROW = rb"[ \t]*(?:[-+\d.eE]+[ \t]+)+[-+\d.eE]+[ \t\r]*"
_TEXT = re.compile(rb"\s*(?:[^\s\[\]{}\"',]+\s+)?\[[ \t\r]*\n?" + _ROW + rb"\n" + _ROW + rb"\]\s*")
_BINARY = re.compile(rb"(?:[^\s\0]+ )?\0B([DF])M \x04", re.DOTALL)
_FORMULAS = {
    "mean-var": "(x - mean) / sqrt(var), apply-cmvn --norm-vars=true, WeNet",
    "mean-only": "x - mean, Kaldi's default",
}
_KEYS = {"WeNet": ("mean_stat", "var_stat", "frame_num"), "ESPnet": ("sum", "sum_square", "count")}


def sniff(data: bytes, name: str) -> bool:
    del name
    return _BINARY.match(data) is not None or (
        data[-1:] in b"]\n " and len(data) < 1 << 20 and _TEXT.fullmatch(data) is not None
    )


def read(data: bytes, reading: Reading) -> Statistics:
    """The scaler of one matrix of Kaldi's. Raises StatisticsError without reading.dialect: the file does not say whether the variance
    is used."""
    held = _binary(data) if _BINARY.match(data) else _text(data)
    if held.shape[0] != 2 or held.shape[1] < 2:
        raise StatisticsError(
            f"a matrix of Kaldi's of shape {held.shape}; statistics have 2 rows: sums with the count, and squares"
        )
    if reading.dialect not in _FORMULAS:
        listed = "; ".join(f"--dialect {name}: {formula}" for name, formula in _FORMULAS.items())
        raise StatisticsError(f"CMVN statistics can be applied in two ways, and the recipe says which: {listed}")
    mean, var = _moments(held[0, :-1], held[1, :-1], held[0, -1])
    scaler = Steps(Transform((Step("Sub", (mean,)),))) if reading.dialect == "mean-only" else _scaled(mean, var)
    return alone(Fitted(scaler, axis=-1), Source("Kaldi", framework="Kaldi", ddof=0, eps=FLOOR))


def _text(data: bytes) -> Array:
    rows = data[data.index(b"[") + 1 : data.rindex(b"]")].strip().split(b"\n")
    try:
        return np.array([[float(v) for v in row.split()] for row in rows])
    except ValueError:
        raise StatisticsError("a matrix of Kaldi's with rows of different lengths, or with what is no number") from None


def _binary(data: bytes) -> Array:
    match = _BINARY.match(data)
    assert match is not None
    kind, at = ("<f8" if match[1] == b"D" else "<f4"), match.end()
    try:
        rows, four, columns = struct.unpack_from("<ibi", data, at)
    except struct.error:
        raise StatisticsError("a matrix of Kaldi's that ends early") from None
    held = data[at + 9 :]
    if four != 4 or rows < 0 or columns < 0 or len(held) != rows * columns * int(kind[-1]):
        raise StatisticsError(
            f"a matrix of Kaldi's of shape ({rows}, {columns}) with {len(held):,} bytes; one matrix alone is read"
        )
    return np.frombuffer(held, kind).astype(np.float64).reshape(rows, columns)


def is_cmvn(content: Mapping[Any, Any]) -> bool:
    return any(set(keys) <= set(content) for keys in _KEYS.values())


def statistics(content: Mapping[Any, Any], reading: Reading, source: Source) -> Statistics:
    """The scaler of WeNet's JSON, x - mean times 1 / sqrt(var), or of ESPnet's npz, x - mean divided by sqrt(var)."""
    del reading
    framework = next(f for f, keys in _KEYS.items() if set(keys) <= set(content))
    sums, squares, count = (numbers(content[k], k) for k in _KEYS[framework])
    mean, var = _moments(sums, squares, count)
    scaler = _scaled(mean, var) if framework == "WeNet" else Standard(mean, np.sqrt(var))
    return alone(Fitted(scaler, axis=-1), replace(source, framework=framework, ddof=0, eps=FLOOR))


def _scaled(mean: Array, var: Array) -> Steps:
    return Steps(Transform((Step("Sub", (mean,)), Step("Mul", (1.0 / np.sqrt(var),)))))


def _moments(sums: Array, squares: Array, count: Any) -> tuple[Array, Array]:
    if sums.shape != squares.shape or sums.ndim != 1 or np.size(count) != 1 or not float(count) > 0:
        raise StatisticsError(
            f"sums of shape {sums.shape} and squares of {squares.shape} over {count} frames are no CMVN statistics"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        mean = sums / float(count)
        var = squares / float(count) - mean * mean
    if not np.isfinite(mean).all() or not np.isfinite(var).all():
        raise StatisticsError("sums so large that their moments are not finite")
    if (var < -1e-6 * mean * mean).any():
        raise StatisticsError("a variance below zero: the squares do not belong to the sums")
    return mean, np.maximum(var, FLOOR)
