"""Reinforcement learning: the running mean and variance of observations, as stable-baselines3 and gymnasium pickle them.

stable_baselines3/common/vec_env/vec_normalize.py: clip((obs - mean) / sqrt(var + epsilon), -clip_obs, clip_obs), in float64;
gymnasium/wrappers/stateful_observation.py: (obs - mean) / sqrt(var + epsilon).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError, names
from onnxscale.scalers import Steps
from onnxscale.scalers.values import numbers
from onnxscale.sources.inert import Estimator
from onnxscale.sources.picking import picked
from onnxscale.statistics import Fitted, Reading, Source, Statistics, alone
from onnxscale.step import Step
from onnxscale.transform import Transform

PACKAGES = {"stable_baselines3": "stable-baselines3", "gymnasium": "gymnasium", "gym": "gymnasium"}
# what the class of the wrapper takes where it is not told otherwise; a bare RunningMeanStd does not know its wrapper
_DEFAULTS = {"epsilon": 1e-8, "clip_obs": 10.0}


def sniff(root: Estimator) -> bool:
    """Whether this is a VecNormalize, or the RunningMeanStd inside one."""
    return root.package in PACKAGES and root.name in ("VecNormalize", "RunningMeanStd")


def read(root: Estimator, reading: Reading, source: Source) -> Statistics:
    """The scaler of the observations; of a Dict space one per key, by its name. Raises StatisticsError naming the attribute."""
    framework = PACKAGES[root.package]
    source = dataclasses.replace(source, framework=framework, ddof=0, zero_variance="epsilon is added to the variance")
    asked: list[str] = []

    def constant(key: str) -> float:
        if key in root.state:
            value = float(numbers(root.state[key], key))
            if value <= 0:
                raise StatisticsError(f"{key} is {value!r}; expected a number above zero")
            return value
        if not reading.accept_defaults:
            raise StatisticsError(
                f"this {root.name} does not hold {key!r}; its default in {framework} is {_DEFAULTS[key]!r}. Accept it with "
                f"--accept-defaults, or write the scaler as steps"
            )
        asked.append(f"{key} is not in the file: taken as {_DEFAULTS[key]!r} (--accept-defaults)")
        return _DEFAULTS[key]

    clips = root.name == "VecNormalize" or framework == "stable-baselines3"
    moments = _moments(root) if root.name == "VecNormalize" else root
    epsilon, limit = constant("epsilon"), constant("clip_obs") if clips else None

    source = dataclasses.replace(source, eps=epsilon)

    def one(rms: Any) -> Fitted:
        return Fitted(Steps(_transform(rms, epsilon, limit)), notes=(*asked, *_notes(root, rms)))

    if not isinstance(moments, Mapping):
        return alone(one(moments), source)
    if reading.pick:
        return alone(one(picked(moments, reading, "observations")[1]), source)
    return Statistics({key: one(rms) for key, rms in moments.items()}, {}, source)


def _moments(root: Estimator) -> Any:
    """obs_rms, one or by the key of a Dict space; only what norm_obs and norm_obs_keys say is normalized."""
    state = root.state
    for key in ("norm_obs", "obs_rms"):
        if key not in state and not (key == "obs_rms" and state.get("norm_obs") is False):
            raise StatisticsError(f"this VecNormalize has no {key!r}; was it saved with VecNormalize.save?")
    if not isinstance(state["norm_obs"], bool | np.bool_):
        raise StatisticsError(f"norm_obs is {str(state['norm_obs'])[:40]!r}; expected True or False")
    if not state["norm_obs"]:
        raise StatisticsError(
            "norm_obs is False: this VecNormalize leaves observations as they are; there is nothing to bake"
        )
    moments = state["obs_rms"]
    if not isinstance(moments, Mapping):
        return moments
    keys = state.get("norm_obs_keys") or list(moments)
    missing = [k for k in keys if k not in moments]
    if missing or not keys:
        raise StatisticsError(
            f"norm_obs_keys names {names(missing)}, of which obs_rms has nothing; it has {names(moments)}"
        )
    return {str(k): moments[k] for k in keys}


def _transform(rms: Any, epsilon: float, limit: float | None) -> Transform:
    if not isinstance(rms, Estimator) or rms.name != "RunningMeanStd" or not {"mean", "var"} <= set(rms.state):
        raise StatisticsError(f"obs_rms holds {str(rms)[:60]}; expected a RunningMeanStd with mean and var")
    mean, variance = numbers(rms.state["mean"], "mean"), numbers(rms.state["var"], "var")
    if mean.shape != variance.shape:
        raise StatisticsError(f"mean has the shape {mean.shape}, var {variance.shape}")
    if (variance < 0).any():
        raise StatisticsError(f"var is {float(variance.min())!r}: a variance is not negative")
    clip = () if limit is None else (Step("Max", (np.array(-limit),)), Step("Min", (np.array(limit),)))
    return Transform((Step("Sub", (mean,)), Step("Div", (np.sqrt(variance + epsilon),)), *clip))


def _notes(root: Estimator, rms: Estimator) -> tuple[str, ...]:
    said: tuple[tuple[Callable[[], bool], str], ...] = (
        (
            lambda: bool(root.state.get("norm_reward")),
            "rewards were normalized in training too; a policy does not see them",
        ),
        (lambda: float(rms.state.get("count", 1)) < 1, "its count is below 1: it has seen no observation"),
    )
    return tuple(text for holds, text in said if holds())
