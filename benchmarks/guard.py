"""What a guard costs at inference: the baked MLP with and without one, side by side in one run on one thread, all outputs fetched.

The guard's work does not grow with the model, so a second column has an MLP with wider layers. `identities` is the floor: the same
model with as many outputs as `observe` has, each of one Identity of the input, which any guard of so many outputs costs at least.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

import onnxscale
from benchmarks import measuring
from benchmarks.subjects import converted, models, session

BATCHES = (1, 64)
GUARDS: dict[str, dict[str, Any]] = {
    "unguarded": {}, "observe": {"guard": "observe"}, "clamp": {"guard": "clamp"}, "nan": {"guard": "nan"},
    "statistics": {"guard_stats": True}, "observe and statistics": {"guard": "observe", "guard_stats": True},
}  # fmt: skip


def identities(content: bytes, count: int) -> bytes:
    model = onnx.ModelProto.FromString(content)
    for i in range(count):
        model.graph.node.append(onnx.helper.make_node("Identity", [model.graph.input[0].name], [f"floor_{i}"]))
        model.graph.output.append(onnx.helper.make_tensor_value_info(f"floor_{i}", onnx.TensorProto.FLOAT, None))
    return bytes(model.SerializeToString())


def main(seconds: float, out: Path | None) -> None:
    print(__doc__)
    _, target, data = models()["MLP"]
    scaler = StandardScaler().fit(data)
    stats = {"kind": "standard", "mean": scaler.mean_.tolist(), "std": scaler.scale_.tolist()}
    stats |= {"data_min": data.min(0).tolist(), "data_max": data.max(0).tolist()}
    many = data[np.random.default_rng(0).integers(0, len(data), max(BATCHES))].astype(np.float32)
    figures: list[dict[str, Any]] = []
    for hidden in ((64, 64), (512, 512)):
        estimator = MLPClassifier(hidden, max_iter=300, random_state=0).fit(scaler.transform(data), target)
        bare = converted(estimator, data.shape[1])
        for form in ("auto", "nodes"):
            sessions = {}
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.onnx"
                path.write_bytes(bare)
                for name, asked in GUARDS.items():
                    content = onnxscale.bake(path, stats, form=form, **asked).to_bytes()
                    sessions[name] = session(content)
                    if name == "unguarded":
                        sessions["identities"] = session(identities(content, 3))
            expected = sessions["unguarded"].run(None, {"x": many})
            for name in ("observe", "clamp", "statistics"):
                got = sessions[name].run(None, {"x": many})
                assert all(np.array_equal(a, b) for a, b in zip(expected, got, strict=False)), f"{name} changes answers"
            for batch in BATCHES:
                x = many[:batch]
                runs = {k: (lambda s=s, x=x: s.run(None, {"x": x})) for k, s in sessions.items()}
                times = measuring.interleaved(runs, seconds, 20)
                figures += [
                    {
                        "hidden": list(hidden),
                        "form": form,
                        "guard": k,
                        "batch": batch,
                        "microseconds": t,
                        "ratio": t / times["unguarded"],
                    }
                    for k, t in times.items()
                ]
    _print(figures)
    measuring.write("guard", {"threads": 1, "rows": figures}, out)


def _print(figures: list[dict[str, Any]]) -> None:
    lines = []
    for hidden, form, guard in dict.fromkeys((tuple(f["hidden"]), f["form"], f["guard"]) for f in figures):
        mine = {f["batch"]: f for f in figures if (tuple(f["hidden"]), f["form"], f["guard"]) == (hidden, form, guard)}
        cells = [f"{mine[b]['microseconds']:.1f} ({mine[b]['ratio']:.2f})" for b in BATCHES]
        lines.append([hidden, form, guard, *cells])
    print(measuring.table(["hidden layers", "form", "guard", *(f"batch {b}: us (ratio)" for b in BATCHES)], lines))
