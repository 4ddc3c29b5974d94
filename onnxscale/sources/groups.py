"""Of many named arrays, such as a state dict, the one group that is statistics: those that share a prefix ("normalizer.mean",
"normalizer.std"), or the buffers of a known normalizer, whose constants are not stored and are asked for."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError, names
from onnxscale.scalers import Steps
from onnxscale.sources.keys import BESIDE, SYNONYMS, informs, spelled
from onnxscale.sources.picking import picked
from onnxscale.statistics import Fitted, Reading, Source, Statistics, alone
from onnxscale.step import Array, Step
from onnxscale.transform import Transform

DIVIDES = {"std", "istd", "var", "scale", "data_max", "max", "max_abs", "iqr"}
# a neighbour of a mean and a std that would change their formula
_CHANGES = re.compile(r"_?(eps(ilon)?|clip\w*|clamp\w*|floor|log\w*|invert|(min|max)_(std|scale)|std_(min|max|floor))")
DEPTH = 4
# what may stand before the name of a statistic and says whose it is; a word that could change the numbers (log_mean) is none
_WHOSE = re.compile(
    r"(x|y|data|train|training|inputs?|features?|obs|observations?|states?|actions?|pixels?|images?|img|rgb|targets?|outputs?|"
    r"labels?|global|dataset|channels?|normalization|normalizer|scaler|stats)_(\w+)", re.I
)  # fmt: skip
Values = Mapping[str, Array]


@dataclass(frozen=True)
class Normalizer:
    """A class whose buffers are known by their names. needs: the buffers. defaults: what its constructor takes and the file does not
    have. steps: (buffers, constants) -> steps, in the arithmetic of the class."""

    framework: str
    name: str
    needs: frozenset[str]
    defaults: Mapping[str, float]
    steps: Callable[[Values, Mapping[str, float]], tuple[Step, ...]]


def _float(values: Array) -> Array:
    return np.asarray(values).astype(np.float32)


def _clipped(limit: float) -> tuple[Step, ...]:
    return Step("Max", (np.array(-limit),)), Step("Min", (np.array(limit),))


def _rsl(held: Values, said: Mapping[str, float]) -> tuple[Step, ...]:
    """rsl_rl/modules/normalization.py: (x - _mean) / (_std + eps), in float32."""
    return Step("Sub", (_float(held["_mean"]),)), Step("Div", (_float(held["_std"]) + np.float32(said["eps"]),))


def _skrl(held: Values, said: Mapping[str, float]) -> tuple[Step, ...]:
    """skrl/resources/preprocessors/torch/running_standard_scaler.py: (x - mean) / (sqrt(variance) + epsilon), clamped; float32."""
    spread = np.sqrt(_float(held["running_variance"])) + np.float32(said["epsilon"])
    return Step("Sub", (_float(held["running_mean"]),)), Step("Div", (spread,)), *_clipped(said["clip_threshold"])


def _rl_games(held: Values, said: Mapping[str, float]) -> tuple[Step, ...]:
    """rl_games/algos_torch/running_mean_std.py: (x - mean) / sqrt(var + epsilon), clamped to 5; float32."""
    spread = np.sqrt(_float(held["running_var"]) + np.float32(said["epsilon"]))
    return Step("Sub", (_float(held["running_mean"]),)), Step("Div", (spread,)), *_clipped(5.0)


NORMALIZERS = (
    Normalizer("RSL-RL", "EmpiricalNormalization", frozenset(("_mean", "_var", "_std", "count")), {"eps": 1e-2}, _rsl),
    Normalizer(
        "skrl",
        "RunningStandardScaler",
        frozenset(("running_mean", "running_variance", "current_count")),
        {"epsilon": 1e-8, "clip_threshold": 5.0},
        _skrl,
    ),
    Normalizer(
        "rl_games",
        "RunningMeanStd",
        frozenset(("running_mean", "running_var", "count")),
        {"epsilon": 1e-5, "norm_only": 0.0},
        _rl_games,
    ),
)


def statistics(
    named: Mapping[str, Any], reading: Reading, value: Callable[[Any], Any] = lambda v: v
) -> dict[str, Any] | Statistics:
    """The statistics among named arrays. value: decodes one of them, once it is known to be needed.

    Raises StatisticsError where nothing is statistics, where several groups are and none is picked, and for a constant not stored.
    """
    by_prefix: dict[str, dict[str, Any]] = defaultdict(dict)
    for name, item in named.items():
        prefix, _, last = name.rpartition(".")
        whose = None if last in SYNONYMS else _WHOSE.fullmatch(last)
        if whose and spelled(whose[2]) in SYNONYMS:  # pixel_mean and pixel_std among the weights: a group of its own
            by_prefix[f"{prefix}.{whose[1]}" if prefix else whose[1]][spelled(whose[2])] = item
        else:
            by_prefix[prefix][last] = item
    found = {p: g for p, g in by_prefix.items() if _normalizer(g) or _plain(g)}
    if found:
        name, group = picked(found, reading)
        row = _normalizer(group)
        if not row and {"scale", "shift"} <= set(group) and not reading.dialect:
            raise StatisticsError(
                "buffers 'scale' and 'shift' can be read in 2 ways, and only the module's code says which: --dialect affine: "
                "x * scale + shift; --dialect shift-div: (x - shift) / scale, as LPIPS"
            )
        return (
            _read(row, name, {k: value(group[k]) for k in row.needs}, reading) if row else _spelled(name, group, value)
        )
    if set(by_prefix) == {""} and set(named) <= set(SYNONYMS):
        return {k: value(v) for k, v in named.items()}
    running = any(n.rpartition(".")[2] == "running_var" for n in named)
    hint = (
        " (running_mean and running_var are of a BatchNormalization, whose eps is not stored here)" if running else ""
    )
    raise StatisticsError(
        f"holds no statistics among {names(sorted(named)[:6])}{hint}; expected one group such as 'mean' and 'std'"
    )


def nested(content: Mapping[Any, Any], reading: Reading) -> Mapping[Any, Any]:
    """Of a document that holds objects with a list for each statistic, the one that is meant; any other document as it is.

    A feature's own object has a number for each statistic, so that it is never taken for one. Raises StatisticsError where there are
    several and none is picked, and for what stands beside and would change the formula.
    """
    if any(SYNONYMS.get(str(k), "eps") != "eps" for k in content):
        return content
    found: dict[str, Mapping[Any, Any]] = {}

    def walk(item: Mapping[Any, Any], at: str, depth: int) -> None:
        for key, value in item.items():
            if not isinstance(value, Mapping) or depth > DEPTH:
                continue
            name = f"{at}.{key}" if at else str(key)
            if _plain(value) and any(isinstance(v, list | np.ndarray) for k, v in value.items() if k in SYNONYMS):
                found[name] = value
                beside[name] = [str(k) for k in item if _CHANGES.fullmatch(str(k))]
            else:
                walk(value, name, depth + 1)

    beside: dict[str, list[str]] = {}
    walk(content, "", 0)
    if not found:
        return content
    name, group = picked(found, reading)
    if beside[name]:
        raise StatisticsError(
            f"{names(beside[name])} stand(s) beside {name!r}: where it enters the formula is not in the file; write the scaler as "
            f"steps (onnxscale schema stats)"
        )
    return group


def prefixed(content: Mapping[Any, Any], reading: Reading) -> Mapping[Any, Any]:
    """Of a document in which every statistic says whose it is (x_mean, x_std, y_mean, y_std), the group that is meant, without the
    prefix; any other document as it is. Raises StatisticsError where there are several groups and none is picked."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for key, value in content.items():
        match = _WHOSE.fullmatch(str(key))
        meant = spelled(match[2]) if match else ""
        if meant in SYNONYMS and match:
            found[match[1]][meant] = value
        elif not informs(str(key)) and SYNONYMS.get(str(key)) not in BESIDE:
            return content
    if not found or set(map(str, content)) <= set(SYNONYMS) or not all(map(_plain, found.values())):
        return content
    _, group = picked(found, reading)
    return {k: v for k, v in content.items() if SYNONYMS.get(str(k)) in BESIDE and len(found) == 1} | group


def _normalizer(group: Mapping[str, Any]) -> Normalizer | None:
    return next((row for row in NORMALIZERS if row.needs <= set(group)), None)


def _plain(group: Mapping[str, Any]) -> bool:
    meant = {SYNONYMS[k] for k in group if k in SYNONYMS}
    return bool(meant & DIVIDES) and len(meant) > 1


def _spelled(name: str, group: Mapping[str, Any], value: Callable[[Any], Any]) -> dict[str, Any]:
    changes = [k for k in group if _CHANGES.fullmatch(k) and SYNONYMS.get(k) != "eps"]
    if changes:
        at = f" of {name!r}" if name else ""
        raise StatisticsError(
            f"{names(changes)} stand(s) beside the statistics{at}: where it enters the formula is not in the file; write the "
            f"scaler as steps (onnxscale schema stats)"
        )
    return {k: value(v) for k, v in group.items() if k in SYNONYMS}


def _read(row: Normalizer, name: str, held: Values, reading: Reading) -> Statistics:
    said = ", ".join(f"{k} {v:g}" for k, v in row.defaults.items())
    label = f"{row.framework}'s {row.name}"
    if not reading.accept_defaults:
        raise StatisticsError(
            f"{name or 'this'} is a {label}, which does not store {' and '.join(row.defaults)}; the defaults of the class are {said}. "
            f"Accept them with --accept-defaults, or write the scaler as steps"
        )
    if not all(isinstance(v, np.ndarray) for v in held.values()):
        raise StatisticsError(f"{name or 'this'} is a {label}, but its buffers are no tensors")
    if any((np.asarray(v) < 0).any() for k, v in held.items() if "mean" not in k):
        raise StatisticsError(f"{name or 'this'} is a {label} with a negative variance or count")
    steps = row.steps({k: v[0] if v.ndim > 1 and len(v) == 1 else v for k, v in held.items()}, row.defaults)
    notes = (f"{label}: {said}, the defaults of its class (--accept-defaults)", *_untrained(held))
    source = Source(
        row.framework,
        framework=row.framework,
        zero_variance=f"{' and '.join(row.defaults)} of the class",
        eps=next((v for k, v in row.defaults.items() if k.startswith("eps")), None),
    )
    _finite(steps, label)
    return alone(Fitted(Steps(Transform(steps)), notes=notes), source)


def _untrained(held: Values) -> tuple[str, ...]:
    count = next((float(np.asarray(v).ravel()[0]) for k, v in held.items() if k.endswith("count") and v.size), 1.0)
    return ("its count is 0: it has seen no data",) if count == 0 else ()


def _finite(steps: tuple[Step, ...], label: str) -> None:
    for step in steps:
        if not np.isfinite(step.operands[0]).all() or (step.op == "Div" and (step.operands[0] <= 0).any()):
            raise StatisticsError(f"the constants of {label} are not all finite, or not above zero where they divide")
