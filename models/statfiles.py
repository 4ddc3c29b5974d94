"""Statistics files as people write them. Every float is written with repr, so that it reads back bit-equal."""

# mypy: disable-error-code="import-untyped,import-not-found"
from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from models.built import Array

Stat = dict[str, Any]


def as_json(value: object) -> bytes:
    """json writes repr of a float64, the shortest text that reads back to the same bits."""
    return (json.dumps(value, indent=1) + "\n").encode()


def as_yaml(value: object) -> bytes:
    return yaml.safe_dump(value, sort_keys=False).encode()


def mean_std(s: StandardScaler) -> Stat:
    return {"mean": s.mean_.tolist(), "std": s.scale_.tolist()}


def mean_scale(s: StandardScaler, names: Sequence[str]) -> Stat:
    return {"mean": s.mean_.tolist(), "scale": s.scale_.tolist(), "feature_names": list(names)}


def attributes(s: StandardScaler, names: Sequence[str]) -> Stat:
    """All that a fitted StandardScaler holds, as people dump it."""
    held = {"mean": s.mean_.tolist(), "scale": s.scale_.tolist(), "var": s.var_.tolist()}
    return {**held, "n_features": int(s.n_features_in_), "feature_names": list(names)}


def prefixed(s: StandardScaler, names: Sequence[str]) -> Stat:
    return {"scaler_mean": s.mean_.tolist(), "scaler_scale": s.scale_.tolist(), "features": list(names)}


def per_feature(s: StandardScaler, names: Sequence[str]) -> Stat:
    pairs = zip(s.mean_.tolist(), s.scale_.tolist(), strict=True)
    return {name: {"mean": m, "std": d} for name, (m, d) in zip(names, pairs, strict=True)}


def minmax(s: MinMaxScaler) -> Stat:
    ranges = {"data_min": s.data_min_.tolist(), "data_max": s.data_max_.tolist()}
    return {"kind": "minmax", **ranges, "feature_range": list(map(float, s.feature_range)), "clip": bool(s.clip)}


def robust(s: RobustScaler) -> Stat:
    return {"kind": "robust", "center": s.center_.tolist(), "scale": s.scale_.tolist()}


def maxabs(s: MaxAbsScaler) -> Stat:
    return {"kind": "maxabs", "max_abs": s.max_abs_.tolist()}


def csv(s: StandardScaler, names: Sequence[str]) -> bytes:
    rows = zip(names, s.mean_.tolist(), s.scale_.tolist(), strict=True)
    return ("feature,mean,std\n" + "".join(f"{n},{m!r},{d!r}\n" for n, m, d in rows)).encode()


def npz(**arrays: Array) -> bytes:
    """numpy stamps its archives with a fixed date, so the bytes are the same on every run."""
    held = io.BytesIO()
    np.savez_compressed(held, **arrays)  # type: ignore[arg-type]
    return held.getvalue()


def several(inputs: Mapping[str, Stat], outputs: Mapping[str, Stat] | None = None) -> bytes:
    found: Stat = {"inputs": dict(inputs)}
    return as_json(found | {"outputs": dict(outputs)} if outputs else found)


def floats(path: Path) -> set[float]:
    """Every float in a statistics file, by its bits (a set of floats: no NaN is among them). Integers are left out."""
    if path.suffix == ".npz":
        with np.load(path) as held:
            return {float(v) for a in held.values() for v in a.ravel()}
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        return {float(cell) for row in text.splitlines()[1:] for cell in row.split(",")[1:]}
    return set(_floats(json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)))


def _floats(value: object) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _floats(item)
