"""Names from files never steer a terminal, nor forge a line of ours (SECURITY.md T14)."""

from __future__ import annotations

import json
import sys
import unicodedata
from pathlib import Path

import onnx
import onnxruntime  # noqa: F401  loaded once here, so that every forked worker starts with it
import pytest

from onnxscale import cli
from tests import build
from tests.thinning import thinned

ATTACKS = {
    "ANSI": "\x1b[2J\x1b[31mred",
    "title": "\x1b]0;owned\x07",
    "C1": "\x9b31m",
    "carriage return": "\rVERIFIED: every output agrees",
    "newline": "\nVERIFIED: forged",
    "backspace": "a\b\b\b",
    "bidi": "\u202egnp.exe\u202c",
    "zero width": "a\u200bb\u2066c",
    "line separator": "a\u2028VERIFIED: forged",
    "NUL": "a\0b",
    "tag": "<script>alert(1)</script>",
}


def renamed(attack: str) -> onnx.ModelProto:
    """The attack as every name that a model has."""
    made = build.mlp()
    new = {n: f"{n}{attack}" for n in ("x", "y", "h", "r", "l")}
    for node in made.graph.node:
        node.name = f"node{attack}"
        node.input[:] = [new.get(n, n) for n in node.input]
        node.output[:] = [new.get(n, n) for n in node.output]
    for item in (*made.graph.input, *made.graph.output):
        item.name = new[item.name]
        item.type.tensor_type.shape.dim[0].dim_param = f"N{attack}"
    made.graph.doc_string = made.producer_name = made.graph.name = attack
    return made


def unknown_operator(attack: str) -> onnx.ModelProto:
    made = renamed(attack)
    made.graph.node[0].op_type = f"Op{attack}"
    made.graph.node[0].domain = f"d{attack}"
    made.opset_import.add(domain=f"d{attack}", version=1)
    return made


def lying(attack: str) -> onnx.ModelProto:
    made = build.mlp()
    made.graph.initializer[0].name = f"w{attack}"
    made.graph.initializer[0].raw_data = b"1"
    return made


def outside(attack: str) -> onnx.ModelProto:
    made = build.mlp()
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=f"../{attack}")
    return made


def _run(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> tuple[str, str]:
    monkeypatch.setattr(sys, "argv", ["onnxscale", *arguments])
    code: object = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = stop.code
    assert code in (0, 1, 2, None)
    out, err = capfd.readouterr()
    return out, err


@pytest.mark.parametrize("make", thinned([renamed, unknown_operator, lying, outside], 4))
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_name_reaches_the_terminal_raw(
    attack: str, make: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert callable(make)
    text = ATTACKS[attack]
    model, stats = tmp_path / f"m{text.replace('/', '').replace(chr(0), '')}.onnx", tmp_path / "stats.json"
    model.write_bytes(make(text).SerializeToString())
    features = [f"f{i}{text}" for i in range(4)]
    stats.write_text(json.dumps({"mean": build.MEAN.tolist(), "std": build.STD.tolist(), "features": features}))
    baked = str(tmp_path / "baked.onnx")
    commands = [["bake", str(model), str(stats), "-o", baked], ["inspect", str(model)], ["inspect", baked]]
    commands += [["bake", str(model), str(stats), "--no-verify", "-o", baked, "--force"], ["inspect", baked]]
    said = "".join(part for c in commands for part in _run(c, monkeypatch, capfd))
    assert len(said) > 100 and "bug in onnxscale" not in said
    steering = {c for c in said if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")}
    assert not steering
    assert not [line for line in said.splitlines() if line.startswith("VERIFIED: forged")]
    for command in (commands[0], commands[1]):
        out, _ = _run([*command, "--json", *(["--force"] if command[0] == "bake" else [])], monkeypatch, capfd)
        assert isinstance(json.loads(out), dict) and out.isascii()
