"""Each extra brings all that its commands need: everything that neither it nor the package itself asks for cannot be imported here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.requirements import Requirement

from tests import build

tomllib = pytest.importorskip("tomllib", reason="Python 3.11")

ROOT = Path(__file__).parent.parent
RUN = """import sys
hidden = set({hidden})
class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in hidden else self.finder.find_spec(name, path, target)
sys.meta_path[:] = map(Without, sys.meta_path)
from onnxscale.cli import main
sys.argv[0] = "onnxscale"
sys.exit(main())
"""
PLAIN: dict[str, Any] = {"mean": build.MEAN.tolist(), "std": build.STD.tolist()}


def _asked(extras: tuple[str, ...]) -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *(r for e in extras for r in project["optional-dependencies"][e])]


@cache
def _hidden(extras: tuple[str, ...]) -> frozenset[str]:
    """Top-level modules of the installed distributions that these extras do not bring."""
    brought: set[str] = set()
    waiting = [Requirement(r) for r in _asked(extras)]
    while waiting:
        one = waiting.pop()
        name = re.sub(r"[-_.]+", "-", one.name).lower()
        if name in brought or (one.marker and not one.marker.evaluate({"extra": ""})):
            continue
        try:
            more = metadata.distribution(name).requires or []
        except metadata.PackageNotFoundError:
            pytest.skip(f"{name} is not installed")
        brought.add(name)
        waiting += [
            asked
            for asked in map(Requirement, more)
            if not asked.marker or any(asked.marker.evaluate({"extra": e}) for e in ("", *one.extras))
        ]
    mine = {"onnxscale", "pip", "setuptools"}
    return frozenset(
        module
        for module, owners in metadata.packages_distributions().items()
        if not {re.sub(r"[-_.]+", "-", o).lower() for o in owners} & (brought | mine)
    )


def run(extras: tuple[str, ...], *args: object) -> str:
    code = RUN.format(hidden=sorted(_hidden(extras)))
    done = subprocess.run([sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (args, done.stdout, done.stderr)
    return done.stdout


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A model, its statistics in many formats, and data in many more."""
    import pandas as pd

    (tmp_path / "model.onnx").write_bytes(build.mlp().SerializeToString())
    (tmp_path / "stats.json").write_text(json.dumps(PLAIN))
    frame = pd.DataFrame(np.random.default_rng(0).normal(build.MEAN, build.STD, (200, 4)), columns=list("abcd"))
    frame.to_csv(tmp_path / "x.csv", index=False)
    frame.to_parquet(tmp_path / "x.parquet")
    frame.to_feather(tmp_path / "x.feather")
    frame.to_json(tmp_path / "x.jsonl", orient="records", lines=True)
    np.save(tmp_path / "x.npy", frame.to_numpy())
    return tmp_path


TABLES = ("x.csv", "x.parquet", "x.feather", "x.jsonl", "x.npy")


@pytest.mark.slow
@pytest.mark.parametrize("extra", ["fit", "parquet"])
@pytest.mark.parametrize("data", TABLES)
def test_tables_are_fitted_checked_and_merged(files: Path, data: str, extra: str) -> None:
    run((extra,), "fit", files / data, "-o", files / "fitted.json")
    run((extra,), "bake", files / "model.onnx", files / "fitted.json", "-o", files / "baked.onnx", "--guard", "observe")
    run((extra,), "check", files / "baked.onnx", files / data)
    run((extra,), "check", files / "fitted.json", files / data, "--format", "prometheus")
    for i in (1, 2):
        run((extra,), "fit", files / data, "--shard", f"{i}/2", "-o", files / f"part{i}.json")
    run((extra,), "stats", "merge", files / "part1.json", files / "part2.json", "-o", files / "whole.json")
    said = json.loads(run((extra,), "diff", files / "fitted.json", files / "whole.json", "--json"))
    assert said["same"] is True, said


def test_arrays_need_no_extra(files: Path) -> None:
    run((), "fit", files / "x.npy", "-o", files / "fitted.json")
    run(
        (),
        "bake",
        files / "model.onnx",
        files / "fitted.json",
        "-o",
        files / "baked.onnx",
        "--guard",
        "nan",
        "--guard-stats",
    )
    run((), "check", files / "baked.onnx", files / "x.npy")
    run((), "verify", files / "baked.onnx", "--against", files / "model.onnx", files / "fitted.json")
    for command in ("inspect", "selftest", "expect"):
        run((), command, files / "baked.onnx")
    run((), "lock", files / "baked.onnx", "--lock", files / "onnxscale.lock")
    run((), "lock", "--check", "--lock", files / "onnxscale.lock")
    run((), "unbake", files / "baked.onnx", "-o", files / "bare.onnx")
    assert (files / "bare.onnx").read_bytes() == (files / "model.onnx").read_bytes()


def test_conditions_are_read_by_fit_alone(files: Path) -> None:
    run(("fit",), "fit", files / "x.csv", "--where", "a > 0", "-o", files / "some.json")


def test_statistics_in_other_formats(files: Path) -> None:
    import yaml
    from safetensors.numpy import save_file

    (files / "stats.yaml").write_text(yaml.safe_dump(PLAIN))
    save_file({k: np.asarray(v) for k, v in PLAIN.items()}, files / "stats.safetensors")
    for extra, name in (("yaml", "stats.yaml"), ("safetensors", "stats.safetensors")):
        said = run((extra,), "bake", files / "model.onnx", files / name, "-o", files / f"{extra}.onnx", "--json")
        assert json.loads(said)["verification"]["verdict"] == "VERIFIED"


def test_pickles_need_no_extra(files: Path) -> None:
    import joblib
    from sklearn.preprocessing import StandardScaler

    joblib.dump(StandardScaler().fit(np.load(files / "x.npy")), files / "scaler.joblib", compress=3)
    run((), "bake", files / "model.onnx", files / "scaler.joblib", "-o", files / "baked.onnx")


def test_pictures(tmp_path: Path) -> None:
    Image = pytest.importorskip("PIL.Image")

    for i in range(3):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / f"{i}.png")
    run(("images",), "fit", tmp_path, "--kind", "image", "-o", tmp_path / "stats.json")


def test_repositories_are_audited_without_an_extra(files: Path) -> None:
    (files / "serve.py").write_text("import numpy as np\nx = np.zeros(4)\n")
    run((), "audit", files)
