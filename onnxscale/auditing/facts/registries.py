"""MLflow's MLmodel: whether loading it unpickles something, and the width that its signature promises."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from onnxscale.auditing.facts.base import Facts, Signature, Unsafe
from onnxscale.auditing.finding import Where
from onnxscale.errors import StatisticsError
from onnxscale.sources import yamls


def read(data: bytes, path: str) -> Facts:
    """The facts of an MLmodel file."""
    try:
        content = yamls.read(data)
    except StatisticsError:
        return Facts(path, "mlflow")
    flavors = content.get("flavors") if isinstance(content, Mapping) else None
    if not isinstance(flavors, Mapping) or not isinstance(content, Mapping):
        return Facts(path, "mlflow")
    text = data.decode("utf-8", "replace").splitlines()
    unsafe = []
    for flavor in flavors.values():
        kind = flavor.get("serialization_format") if isinstance(flavor, Mapping) else None
        if kind in ("pickle", "cloudpickle"):
            line = next((i for i, t in enumerate(text, 1) if "serialization_format" in t), 1)
            unsafe.append(Unsafe(Where(path, line), f"serialization_format: {kind}", True, "serve"))
    onnx = flavors.get("onnx")
    model = str(onnx.get("data", "")) if isinstance(onnx, Mapping) else ""
    widths = _widths(content.get("signature"))
    line = next((i for i, t in enumerate(text, 1) if t.startswith("signature")), 1)
    signed = (Signature(Where(path, line), widths, model),) if widths and model else ()
    return Facts(path, "mlflow", "serve", unsafe=tuple(unsafe[:1]), signatures=signed)


def _widths(signature: Any) -> tuple[int, ...]:
    """The last dimension of each tensor of the signature, or the number of its columns."""
    given = signature.get("inputs") if isinstance(signature, Mapping) else None
    try:
        inputs: Any = json.loads(given) if isinstance(given, str) else given
        shapes = [i["tensor-spec"]["shape"] for i in inputs if i.get("type") == "tensor"]
        columns = [i for i in inputs if i.get("type") in ("double", "float", "long", "integer")]
        return tuple(int(s[-1]) for s in shapes if s and int(s[-1]) > 0) or ((len(columns),) if columns else ())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return ()


_STEP = re.compile(r'model_name\s*:\s*"([^"]+)"|(input|output)_map\s*[:{]|value\s*:\s*"([^"]+)"')


def read_ensemble(data: bytes, path: str) -> Facts | None:
    """Which model of a Triton ensemble gives to which; None of a file that is none."""
    if b"ensemble_scheduling" not in data:
        return None
    steps: list[tuple[str, set[str], set[str]]] = []
    into = ""
    for found in _STEP.finditer(data.decode("utf-8", "replace").partition("ensemble_scheduling")[2]):
        if found[1]:
            steps.append((found[1], set(), set()))
        elif found[2]:
            into = found[2]
        elif steps and into:
            (steps[-1][1] if into == "input" else steps[-1][2]).add(found[3])
    feeds = tuple((a, b) for a, _, gives in steps for b, takes, _ in steps if a != b and gives & takes)
    return Facts(path, "triton", feeds=feeds)
