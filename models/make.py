"""Trains, exports, writes and checks every model of this folder: `python -m models.make [NAME ...]`.

The check is the reason to trust the set: the model without its scaler, fed with rows that its scaler transformed in
float64 and that were then rounded to the graph's dtype, must give the answers of the framework's own pipeline.
"""

# mypy: disable-error-code="import-untyped,import-not-found"
from __future__ import annotations

import json
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import onnxruntime

HERE = Path(__file__).resolve().parent
if __package__ in (None, ""):  # run as a file: `models` is found beside the tests, where -m would have found it
    sys.path.insert(0, str(HERE.parent))

from models.built import Array, Built, in_order, wide  # noqa: E402
from models.statfiles import as_json, floats, npz  # noqa: E402

DTYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}


def every() -> Iterator[Built]:
    """All models, trained one by one. Imports here, so that `--help` and the types cost nothing."""
    from models.hand_models import all_by_hand
    from models.linear_models import all_linear
    from models.precision_models import all_precisions
    from models.torch_models import all_torch
    from models.tree_models import all_trees

    return chain(all_linear(), all_by_hand(), all_trees(), all_precisions(), all_torch())


def write(built: Built, root: Path) -> dict[str, Any]:
    """The folder of one model, from nothing, and its line of the manifest."""
    folder = root / built.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    onnx.save(in_order(built.model), folder / "model.onnx")
    files = {**built.stats, "rows.npz": npz(**built.rows), "expected.npz": npz(**built.expected)}
    if built.target:
        files[built.target[0]] = built.target[1]
    for name, content in files.items():
        (folder / name).write_bytes(content)
    for name, held in built.dumps.items():
        joblib.dump(held, folder / name)
    at = built.name + "/"
    return {
        "name": built.name,
        "model": at + "model.onnx",
        "stats": [at + name for name in built.stats],
        "target": at + built.target[0] if built.target else None,
        "axis": built.axis,
        "input": built.input,
        "rows": at + "rows.npz",
        "expected": at + "expected.npz",
        "rtol": built.rtol,
        "exact": built.exact,
        "joblib": [at + name for name in built.dumps],
        "notes": built.notes,
    }


def plain(answer: object) -> Array:
    """An output as an array; a sequence of maps (ZipMap) as one column for each key, in order."""
    if isinstance(answer, list):
        return np.array([[row[key] for key in sorted(row)] for row in answer])
    return np.asarray(answer)


def check(built: Built, folder: Path) -> float:
    """The worst difference, relative to the largest |expected| of its output. Raises where it is above rtol, where a
    label differs, where an output is constant (such a check could not fail), or where the scaler does nothing."""
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    with np.load(folder / "rows.npz") as rows, np.load(folder / "expected.npz") as expected:
        raw, right = dict(rows), dict(expected)
    feed, unscaled = {}, {}
    for spec in session.get_inputs():
        x = raw[spec.name]
        dtype = DTYPES.get(spec.type)
        unscaled[spec.name] = x.astype(dtype) if dtype else x
        feed[spec.name] = built.scale[spec.name](wide(x)).astype(dtype) if spec.name in built.scale else x
    names = [o.name for o in session.get_outputs()]
    if set(names) != set(right) or set(built.scale) - set(feed):
        raise ValueError(f"{built.name}: outputs {names}, expected has {sorted(right)}; inputs {sorted(feed)}")
    worst, without = 0.0, 0.0
    with np.errstate(all="ignore"):
        answers = zip(names, session.run(names, feed), session.run(names, unscaled), strict=True)
        for name, got, bare in answers:
            real, poor, want = wide(plain(got)), wide(plain(bare)), wide(right[name])
            if name in built.unscale:
                real, poor = built.unscale[name](real), built.unscale[name](poor)
            if real.shape != want.shape or np.ptp(want) == 0:
                raise ValueError(f"{built.name}: {name} is {real.shape}, expected {want.shape} and not constant")
            if right[name].dtype.kind == "i" and not np.array_equal(real, want):
                raise ValueError(f"{built.name}: {(real != want).sum()} labels of {name} differ from the pipeline's")
            worst = max(worst, float(np.abs(real - want).max() / np.abs(want).max()))
            without = max(without, float(np.nan_to_num(np.abs(poor - want), nan=np.inf).max() / np.abs(want).max()))
    if not worst <= built.rtol:
        raise ValueError(f"{built.name}: {worst:.2g} from the pipeline's answers, allowed {built.rtol:.2g}")
    if without < 3 * built.rtol:
        raise ValueError(f"{built.name}: raw rows answer nearly the same ({without:.2g}): a bake proves nothing")
    return worst


def check_statistics(built: Built, folder: Path) -> None:
    """Every file of one model holds the numbers of the first, bit for bit, whatever its format."""
    first, *others = (folder / name for name in built.stats)
    wanted = floats(first)
    for path in others:
        if missing := wanted - floats(path):
            raise ValueError(
                f"{built.name}: {path.name} lacks {len(missing)} numbers of {first.name}: {min(missing)!r}"
            )


def main(only: list[str]) -> None:
    """Writes all, or only those named, and the manifest when all are written."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    lines = []
    for built in every():
        if only and built.name not in only:
            continue
        lines.append(write(built, HERE))
        check_statistics(built, HERE / built.name)
        worst = check(built, HERE / built.name)
        size = sum(f.stat().st_size for f in (HERE / built.name).iterdir())
        print(f"{built.name:20} {worst:9.2g} of {built.rtol:<8.2g} {size:8,} bytes", file=sys.stderr)
    if not only:
        (HERE / "manifest.json").write_bytes(as_json(lines))
    print(json.dumps({"models": len(lines)}))


if __name__ == "__main__":
    main(sys.argv[1:])
