"""Every model of models/, with every statistics file that means its scaler: fed raw rows, the baked model gives the
answers of the framework's own pipeline; and it can be taken back byte for byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

import onnxscale
from onnxscale.pipeline import Baked
from tests.pipelines import Case, cases
from tests.thinning import thinned

ALL = cases()
FILES = [(case, file) for case in ALL for file in case.stats]


def baked(case: Case, file: Path, **options: object) -> Baked:
    return onnxscale.bake(case.model, file, target=case.target, axis=case.axis, input=case.input or "", **options)


def answers(path: Path, case: Case) -> dict[str, np.ndarray]:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    types = {i.name: i.type for i in session.get_inputs()}
    raw = {n: v.astype(np.float64) if types[n] == "tensor(double)" else v for n, v in case.raw().items()}
    found = dict(zip([o.name for o in session.get_outputs()], session.run(None, raw), strict=True))
    return {n: np.array([list(row.values()) for row in v]) if isinstance(v, list) else v for n, v in found.items()}


@pytest.mark.parametrize("form", thinned(["auto", "nodes"]))
@pytest.mark.parametrize(("case", "file"), FILES, ids=[f"{c}-{f.name}" for c, f in FILES])
def test_raw_rows_give_the_pipelines_answers(case: Case, file: Path, form: str, tmp_path: Path) -> None:
    made = baked(case, file, form=form).verify()
    assert made.comparison is not None and made.comparison.verified, made.comparison
    out = made.save(tmp_path / "baked.onnx")
    got = answers(out, case)
    for name, expected in case.answers().items():
        if expected.dtype.kind in "OUS" or (case.exact and expected.dtype.kind in "iu"):
            assert np.array_equal(got[name].astype(expected.dtype), expected), name
        else:
            limit = case.rtol * np.abs(expected.astype(float)).max()
            np.testing.assert_allclose(got[name].reshape(expected.shape), expected, rtol=0, atol=limit, err_msg=name)
    back = onnxscale.unbake(out, tmp_path / "back.onnx")
    assert back.read_bytes() == case.model.read_bytes()


@pytest.mark.parametrize("case", ALL, ids=str)
def test_statistics_files_of_a_model_mean_the_same(case: Case) -> None:
    plans = [baked(case, file).plan for file in case.stats]
    steps = [[(p.spec.name, p.role, p.transform, p.axis) for p in plan.placements] for plan in plans]
    assert all(s == steps[0] for s in steps)


ON_THE_COMMAND_LINE = [
    pytest.param(c, marks=() if i % 15 == 0 else pytest.mark.slow, id=str(c))
    for i, c in enumerate(c for c in ALL if c.target is None)
]


@pytest.mark.parametrize("case", ON_THE_COMMAND_LINE)
def test_verify_inspect_and_selftest_on_the_command_line(case: Case, cli, tmp_path: Path) -> None:
    out = tmp_path / "baked.onnx"
    made = cli("bake", case.model, case.stats[0], "-o", out, *case.flags())
    assert made.returncode == 0, made.stderr
    assert "VERIFIED" in made.stdout
    axis = [] if case.axis is None else ["--axis", case.axis]
    checked = cli("verify", out, "--against", case.model, case.stats[0], *axis)
    assert checked.returncode == 0, checked.stdout
    assert "scaler on input" in cli("inspect", out).stdout


def test_the_manifest_is_small_and_diverse() -> None:
    folder = ALL[0].model.parent.parent
    assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) < 5 << 20
    assert len(ALL) >= 12
