"""The running statistics of reinforcement learning: files of stable-baselines3, RSL-RL, skrl, in their own arithmetic."""

from __future__ import annotations

import importlib.util
import io
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxscale import sources
from onnxscale.errors import StatisticsError
from onnxscale.statistics import Reading
from tests import damaging

pytestmark = pytest.mark.slow  # imports stable-baselines3 and torch
ROWS = np.random.default_rng(0).normal(1, 6, (40, 3)).astype(np.float32)
ACCEPT = Reading(accept_defaults=True)


def saved(tmp_path: Path, *, keys: Any = None, nested: bool = False, **how: Any) -> tuple[Any, Path]:
    """A VecNormalize that has seen some steps, and the file it saved."""
    gymnasium = pytest.importorskip("gymnasium", reason="needs gymnasium")
    vec_env = pytest.importorskip("stable_baselines3.common.vec_env", reason="needs stable-baselines3")
    spaces = gymnasium.spaces
    box = spaces.Box(-5, 5, (3,), np.float32)
    space = spaces.Dict({"joints": box, "goal": spaces.Box(-1, 1, (2,), np.float32)}) if nested else box

    class Env(gymnasium.Env):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            self.observation_space, self.action_space = space, spaces.Discrete(2)

        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            return space.sample(), {}

        def step(self, action: Any) -> Any:
            return space.sample(), 1.0, False, False, {}

    space.seed(3)
    made = vec_env.VecNormalize(vec_env.DummyVecEnv([Env]), norm_obs_keys=keys, **how)
    made.reset()
    for _ in range(30):
        made.step([0])
    made.save(str(tmp_path / "vecnormalize.pkl"))
    return made, tmp_path / "vecnormalize.pkl"


@pytest.mark.parametrize("how", [{}, {"clip_obs": 0.5}, {"epsilon": 0.01}, {"norm_reward": False}])
def test_vecnormalize(how: dict[str, Any], tmp_path: Path) -> None:
    made, path = saved(tmp_path, **how)
    found = sources.read(path)
    assert found.source.framework == "stable-baselines3" and found.source.ddof == 0
    got = found.inputs[None].transform()(ROWS)
    np.testing.assert_array_equal(got, made._normalize_obs(ROWS, made.obs_rms))  # float64
    np.testing.assert_array_equal(got.astype(np.float32), made.normalize_obs(ROWS))
    assert any("rewards" in n for n in found.inputs[None].notes) == made.norm_reward


@pytest.mark.parametrize("keys", [None, ["goal"]])
def test_a_dict_of_observations(keys: Any, tmp_path: Path) -> None:
    made, path = saved(tmp_path, nested=True, keys=keys)
    found = sources.read(path)
    given = {"joints": ROWS, "goal": ROWS[:, :2]}
    want = made.normalize_obs(given)
    assert set(found.inputs) == set(keys or given)
    for key, fitted in found.inputs.items():
        np.testing.assert_array_equal(fitted.transform()(given[str(key)]).astype(np.float32), want[key])
    one = sources.read(path, Reading(pick="goal")).inputs
    np.testing.assert_array_equal(one[None].transform()(ROWS[:, :2]).astype(np.float32), want["goal"])
    with pytest.raises(StatisticsError, match="not among the observations"):
        sources.read(path, Reading(pick="hands"))


@pytest.mark.parametrize("protocol", range(2, 6))
def test_running_moments_alone_ask_for_their_constants(protocol: int, tmp_path: Path) -> None:
    made, _ = saved(tmp_path)
    data = pickle.dumps(made.obs_rms, protocol=protocol)
    with pytest.raises(StatisticsError, match=r"does not hold 'epsilon'.*1e-08.*--accept-defaults"):
        sources.read(data)
    got = sources.read(data, ACCEPT).inputs[None]
    np.testing.assert_array_equal(got.transform()(ROWS), made._normalize_obs(ROWS, made.obs_rms))
    assert any("clip_obs is not in the file" in n for n in got.notes)


def test_gymnasium_does_not_clip(tmp_path: Path) -> None:
    pytest.importorskip("gymnasium", reason="needs gymnasium")
    from gymnasium.wrappers.utils import RunningMeanStd

    moments = RunningMeanStd(shape=(3,), dtype=np.float64)
    moments.update(ROWS)
    got = sources.read(pickle.dumps(moments), ACCEPT).inputs[None].transform()(ROWS)
    np.testing.assert_array_equal(got, (ROWS - moments.mean) / np.sqrt(moments.var + 1e-8))


def test_what_does_not_normalize_is_refused(tmp_path: Path) -> None:
    made, path = saved(tmp_path)

    def again(**state: Any) -> bytes:
        for key, value in state.items():
            setattr(made, key, value) if value is not None else delattr(made, key)
        data = pickle.dumps(made)
        made.__dict__.update(pickle.loads(path.read_bytes()).__dict__ | {"venv": made.venv})
        return data

    made.class_attributes, made.returns = {}, np.zeros(1)
    for state, message in (
        ({"norm_obs": False}, "leaves observations as they are"),
        ({"norm_obs": "no"}, "expected True or False"),
        ({"obs_rms": {}}, "norm_obs_keys names none"),
        ({"obs_rms": 3}, "expected a RunningMeanStd"),
        ({"clip_obs": -1.0}, "above zero"),
        ({"epsilon": float("nan")}, "finite"),
    ):
        made.class_attributes, made.returns = {}, np.zeros(1)
        with pytest.raises(StatisticsError, match=message):
            sources.read(again(**state))


def test_damaged_files_are_refused_or_read(tmp_path: Path) -> None:
    data = saved(tmp_path)[1].read_bytes()
    refused, total = damaging.refused(damaging.cut(data))
    assert refused == total
    refused, total = damaging.refused(damaging.flipped(data, 500, at_once=3))
    assert refused > 0


def empirical() -> Any:
    """RSL-RL's own class, from its own file; its package imports a simulator's worth of others."""
    pytest.importorskip("torch", reason="needs torch")
    root = importlib.util.find_spec("rsl_rl")
    if root is None or root.origin is None:
        pytest.skip("needs rsl-rl-lib")
    path = Path(root.origin).parent / "modules" / "normalization.py"
    spec = importlib.util.spec_from_file_location("rsl_rl_normalization", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.EmpiricalNormalization


def trained(shape: int = 3) -> Any:
    torch = pytest.importorskip("torch", reason="needs torch")

    made = empirical()(shape)
    for start in range(0, 40, 10):
        made.update(torch.from_numpy(ROWS[start : start + 10, :shape]))
    return made.eval()


def bytes_of(content: Any) -> bytes:
    torch = pytest.importorskip("torch", reason="needs torch")

    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def test_rsl_rl() -> None:
    torch = pytest.importorskip("torch", reason="needs torch")

    made = trained()
    for content in (made.state_dict(), {"obs_norm_state_dict": made.state_dict(), "iter": 3}):
        data = bytes_of(content)
        with pytest.raises(StatisticsError, match=r"EmpiricalNormalization, which does not store eps; .* eps 0.01"):
            sources.read(data)
        found = sources.read(data, ACCEPT)
        assert found.source.framework == "RSL-RL"
        with torch.no_grad():
            want = made(torch.from_numpy(ROWS)).numpy()
        np.testing.assert_array_equal(found.inputs[None].transform()(ROWS, dtype=np.float32), want)


def test_rsl_rl_actor_and_critic() -> None:
    state = {f"{who}_obs_normalizer.{k}": v for who in ("actor", "critic") for k, v in trained().state_dict().items()}
    data = bytes_of({"model_state_dict": state})
    with pytest.raises(StatisticsError, match=r"several groups.*actor_obs_normalizer.*--pick"):
        sources.read(data, ACCEPT)
    picked = Reading(accept_defaults=True, pick="model_state_dict.actor_obs_normalizer")
    assert sources.read(data, picked).inputs[None].transform().shape == (3,)


def test_an_untrained_one_is_said() -> None:
    notes = sources.read(bytes_of(empirical()(3).state_dict()), ACCEPT).inputs[None].notes
    assert any("no data" in n for n in notes)
    state = trained().state_dict()
    with pytest.raises(StatisticsError, match="negative variance"):
        sources.read(bytes_of(state | {"_std": -state["_std"]}), ACCEPT)


def test_skrl_and_rl_games_buffers() -> None:
    """Neither installs beside the others here; the formulas are those of their files, written out once more in torch."""
    torch = pytest.importorskip("torch", reason="needs torch")
    x = torch.from_numpy(ROWS)
    mean, var = x.double().mean(0), x.double().var(0)
    count = torch.tensor(40.0, dtype=torch.float64)
    skrl = {"running_mean": mean, "running_variance": var, "current_count": count}
    games = {"a.running_mean": mean, "a.running_var": var, "a.count": count}
    for state, want in (
        (skrl, torch.clamp((x - mean.float()) / (torch.sqrt(var.float()) + 1e-8), -5, 5)),
        (games, torch.clamp((x - mean.float()) / torch.sqrt(var.float() + 1e-5), -5, 5)),
    ):
        with pytest.raises(StatisticsError, match="epsilon"):
            sources.read(bytes_of(state))
        got = sources.read(bytes_of(state), ACCEPT).inputs[None].transform()(ROWS, dtype=np.float32)
        np.testing.assert_array_max_ulp(got, want.numpy(), 2)  # torch's square root is not always the nearest one
