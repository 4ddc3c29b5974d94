"""The audit: planted faults and a clean twin, reports and their formats, baselines, comments, hostile trees, executors."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import onnxscale
from onnxscale.auditing import baselines
from onnxscale.auditing.facts import python
from onnxscale.auditing.rules import RULES
from onnxscale.errors import OnnxscaleError, OutputError
from onnxscale.reporting import audits
from tests import build, idioms, others, planted, styled, teams, varied
from tests.conftest import Cli
from tests.planted import M, S


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    planted.write(folder, bad=True)
    return folder


@pytest.fixture(scope="module")
def found(bad: Path) -> onnxscale.Audit:
    return onnxscale.audit(bad)


def repository(folder: Path, **files: str | bytes) -> Path:
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def rules(folder: Path, **how: Any) -> list[str]:
    return [f.rule for f in onnxscale.audit(folder, **how).findings]


def test_planted_faults_are_found(found: onnxscale.Audit, bad: Path) -> None:
    seen = {(f.rule, f.where.path) for f in found.findings}
    faults = {home.name: planted.FAULTS[i] for i, home in enumerate(sorted(bad.iterdir()))}
    missed = [f.name for home, f in faults.items() if (f.rule, f"{home}/{f.at}") not in seen]
    assert len(faults) >= 60
    assert len(missed) <= len(faults) * 0.05, missed


def test_the_clean_twin_is_clean(tmp_path: Path) -> None:
    planted.write(tmp_path, bad=False)
    false = onnxscale.audit(tmp_path).findings
    assert len(false) <= 2, [f"{f.where} {f.rule}: {f.message}" for f in false]


def test_every_rule_has_a_planted_fault() -> None:
    assert {f.rule for f in planted.FAULTS} == {r.name for r in RULES}


def test_every_finding_says_where_what_and_what_to_do(found: onnxscale.Audit, bad: Path) -> None:
    for f in found.findings:
        assert (bad / f.where.path).is_file()
        assert f.where.line >= 1 and f.message and f.evidence and f.fix
    notebook = next(f for f in found.findings if f.where.path.endswith("inference.ipynb"))
    assert (notebook.where.cell, notebook.where.line) == (3, 2)


# formats


SARIF = {
    "type": "object",
    "required": ["$schema", "version", "runs"],
    "properties": {
        "version": {"const": "2.1.0"},
        "$schema": {"type": "string", "format": "uri"},
        "runs": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["tool", "results"],
                "additionalProperties": False,
                "properties": {
                    "tool": {
                        "type": "object",
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "type": "object",
                                "required": ["name", "rules"],
                                "properties": {
                                    "rules": {
                                        "type": "array",
                                        "uniqueItems": True,
                                        "items": {
                                            "type": "object",
                                            "required": ["id"],
                                            "properties": {
                                                "shortDescription": {"required": ["text"]},
                                                "help": {"required": ["text"]},
                                                "defaultConfiguration": {
                                                    "properties": {
                                                        "level": {"enum": ["none", "note", "warning", "error"]}
                                                    }
                                                },
                                            },
                                        },
                                    }
                                },
                            }
                        },
                    },
                    "results": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["message", "ruleId", "level", "locations"],
                            "additionalProperties": False,
                            "properties": {
                                "ruleId": {"type": "string"},
                                "ruleIndex": {"type": "integer", "minimum": 0},
                                "level": {"enum": ["none", "note", "warning", "error"]},
                                "message": {
                                    "required": ["text"],
                                    "additionalProperties": False,
                                    "properties": {"text": {"type": "string", "minLength": 1}},
                                },
                                "locations": {"type": "array", "items": {"$ref": "#/$defs/location"}},
                                "relatedLocations": {
                                    "type": "array",
                                    "uniqueItems": True,
                                    "items": {"$ref": "#/$defs/location"},
                                },
                                "partialFingerprints": {"additionalProperties": {"type": "string"}},
                            },
                        },
                    },
                },
            },
        },
    },
    "$defs": {
        "location": {
            "type": "object",
            "required": ["physicalLocation"],
            "additionalProperties": False,
            "properties": {
                "id": {"type": "integer", "minimum": -1},
                "logicalLocations": {"type": "array"},
                "physicalLocation": {
                    "type": "object",
                    "required": ["artifactLocation"],
                    "properties": {
                        "artifactLocation": {
                            "required": ["uri"],
                            "properties": {"uri": {"type": "string", "format": "uri-reference"}},
                        },
                        "region": {"properties": {"startLine": {"type": "integer", "minimum": 1}}},
                    },
                },
            },
        }
    },
}


def test_sarif_has_the_outline_of_the_standard(found: onnxscale.Audit) -> None:
    made = json.loads(json.dumps(audits.sarif(found)))
    jsonschema.validate(made, SARIF)
    run = made["runs"][0]
    assert len(run["results"]) == len(found.findings)
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]


def test_sarif_is_read_by_models_of_the_standard(found: onnxscale.Audit) -> None:
    sarif = pytest.importorskip("sarif_pydantic")
    read = sarif.Sarif.model_validate_json(json.dumps(audits.sarif(found)))
    assert len(read.runs[0].results) == len(found.findings)


@pytest.mark.slow
def test_sarif_holds_against_the_published_schema(found: onnxscale.Audit) -> None:
    try:
        with urllib.request.urlopen(audits.SCHEMA, timeout=20) as answer:
            schema = json.load(answer)
    except (urllib.error.URLError, OSError, ValueError):
        pytest.skip("the schema of SARIF cannot be fetched here; its outline is checked without")
    jsonschema.Draft7Validator(schema).validate(json.loads(json.dumps(audits.sarif(found))))


def test_the_command_line(bad: Path, tmp_path: Path, cli: Cli) -> None:
    got = cli("audit", bad / "p00")
    assert got.returncode == 1
    assert "serve.py:10: error [scaled-twice] scales what model.onnx scales itself" in got.stdout
    assert json.loads(cli("audit", bad / "p00", "--json").stdout)["findings"][0]["rule"] == "scaled-twice"
    assert json.loads(cli("audit", bad / "p00", "--format", "sarif").stdout)["version"] == "2.1.0"
    known = tmp_path / "known.json"
    assert cli("audit", bad / "p00", "--write-baseline", known).returncode == 0
    assert cli("audit", bad / "p00", "--baseline", known).returncode == 0
    assert cli("audit", bad / "p00", "--exclude", "serve.py").returncode == 0
    pickles = next(bad / f"p{i:02d}" for i, f in enumerate(planted.FAULTS) if f.rule == "pickle-executed")
    assert cli("audit", pickles).returncode == 1
    assert cli("audit", pickles, "--fail-on", "error").returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("nowhere",),
        (".", "--format", "xml"),
        (".", "--fail-on", "all"),
        (".", "--baseline", "none.json"),
        pytest.param((".", "--scheduler", "tcp://127.0.0.1:9"), marks=pytest.mark.slow),
    ],
)
def test_what_cannot_be_done_is_one_message(arguments: tuple[str, ...], tmp_path: Path, cli: Cli) -> None:
    if "--scheduler" in arguments:
        pytest.importorskip("distributed")
    got = cli("audit", *arguments, cwd=tmp_path)
    assert got.returncode == 2 and got.stderr.startswith("error: ") and "Traceback" not in got.stderr


# baselines and comments


def test_a_baseline_survives_shifted_lines_and_nothing_else(tmp_path: Path) -> None:
    code = planted.serve_image(planted.SCALE)
    repository(tmp_path / "r", serve_dot_py=code, model_dot_onnx=planted.baked("image"))
    known = tmp_path / "known.json"
    baselines.write(onnxscale.audit(tmp_path / "r").findings, known)
    (tmp_path / "r" / "serve.py").write_text("# one\n# two\n" + code)
    shifted = onnxscale.audit(tmp_path / "r").findings
    assert [f.where.line for f in shifted] == [12] and baselines.new(shifted, baselines.read(known)) == ()
    (tmp_path / "r" / "serve.py").write_text(code.replace(planted.SCALE, f"{planted.SCALE}\n    x = x / 255 / 255"))
    assert baselines.new(onnxscale.audit(tmp_path / "r").findings, baselines.read(known))


def test_a_baseline_never_replaces_another_file(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("{}")
    with pytest.raises(OutputError, match="is there and is no baseline"):
        baselines.write((), tmp_path / "mine.json")
    for text in ("[]", "{", '{"format": "onnxscale-baseline/1"}'):
        (tmp_path / "odd.json").write_text(text)
        with pytest.raises(OnnxscaleError, match="no baseline of an audit"):
            baselines.read(tmp_path / "odd.json")


@pytest.mark.parametrize(
    ("comment", "left"),
    [
        ("  # onnxscale: ignore[pickle-executed]", 0), ("  # onnxscale: ignore", 0), ("  # onnxscale: ignore[near-miss]", 1),
        ("  # onnxscale: ignore[near-miss, pickle-executed]", 0), ("", 1),
    ],
)  # fmt: skip
def test_a_comment_silences_a_line(comment: str, left: int, tmp_path: Path) -> None:
    repository(tmp_path, serve_dot_py=f"import pickle\nx = pickle.load(open('x.pkl', 'rb')){comment}\n")
    found = onnxscale.audit(tmp_path)
    assert (len(found.findings), found.silenced) == (left, 1 - left)


def test_a_comment_above_silences_the_next_line_also_in_a_notebook(tmp_path: Path) -> None:
    text = "import pickle\n# onnxscale: ignore[pickle-executed]\nx = pickle.load(f)\ny = pickle.load(f)"
    repository(tmp_path, a_dot_py=text, b_dot_ipynb=planted.notebook(text))
    assert [str(f.where) for f in onnxscale.audit(tmp_path).findings] == ["a.py:4", "b.ipynb:2:4"]


@pytest.mark.parametrize(
    ("comment", "left"), [("# onnxscale: ignore[train-serve-skew]", 0), ("", 1), ("# onnxscale: ignore[near-miss]", 1)]
)
def test_a_comment_at_the_code_speaks_for_the_json_file_that_it_contradicts(
    comment: str, left: int, tmp_path: Path
) -> None:
    settings = {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}
    settings |= {"image_mean": [0.31, 0.85, 0.17], "image_std": [0.4, 0.2, 0.1]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    (tmp_path / "train.py").write_text(
        planted.train_image().replace("transforms.Compose([", f"transforms.Compose([  {comment}")
    )
    found = onnxscale.audit(tmp_path)
    assert ([f.rule for f in found.findings], found.silenced) == (["train-serve-skew"] * left, 1 - left)


# what is clean


CLEAN = {
    "train alone": {"train.py": planted.train_image()},
    "train and serve alike": {
        "train.py": planted.train_image(), "serve.py": planted.serve_image(planted.SCALE), "model.onnx": planted.image()
    },
    "a baked model and raw values": {
        "train.py": planted.train_image(), "serve.py": planted.serve_image(planted.RAW), "model.onnx": planted.baked("image")
    },
    "a graph that divides by 255 and constants of 0 to 1": {
        "train.py": planted.train_image(),
        "serve.py": planted.serve_image(f"    x = (x - np.array({planted.M255})) / np.array({planted.S255})"),
        "model.onnx": planted.image(),
    },
    "arithmetic that is no normalization": {
        "serve.py": "import onnxruntime as ort\nsession = ort.InferenceSession('m.onnx')\n\n\ndef predict(x, box):\n"
        "    y = session.run(None, {'x': x})[0]\n    area = (box[2] - box[0]) * (box[3] - box[1]) / 2\n"
        "    score = (y - y.min()) * 100 / area\n    return score, (area - 3) / 7\n",
        "m.onnx": planted.baked("table"),
    },
    "two projects with constants of their own": {
        "cats/train.py": planted.train_image(), "cats/serve.py": planted.serve_image(planted.SCALE),
        "dogs/train.py": planted.train_image([0.5] * 3, [0.5] * 3),
        "dogs/serve.py": planted.serve_image(planted.scale([0.5] * 3, [0.5] * 3)),
    },
    "target statistics beside a model": {
        "model.onnx": planted.tabular(), "stats.json": json.dumps({"mean": planted.MEAN, "std": planted.STD}),
        "y_stats.json": json.dumps({"mean": [1.0, 2.0, 3.0], "std": [1.0, 2.0, 2.5]}),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CLEAN)
def test_clean_repositories_are_clean(name: str, tmp_path: Path) -> None:
    for path, content in CLEAN[name].items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert [f"{f.where} {f.rule} {f.message}" for f in onnxscale.audit(tmp_path).findings] == []


@pytest.mark.parametrize("name", styled.PAIRS)
def test_other_styles(tmp_path: Path, name: str) -> None:
    rule, bad, good = styled.PAIRS[name]
    for folder, files in (("bad", bad), ("good", good)):
        planted.put(tmp_path / folder, files)
    told = [{f.rule for f in onnxscale.audit([tmp_path / f]).findings if f.severity != "note"} for f in ("bad", "good")]
    assert rule in told[0] and not told[1]


@pytest.mark.parametrize("name", [*teams.PAIRS, *others.PAIRS, *idioms.PAIRS])
def test_styles_of_other_teams(tmp_path: Path, name: str) -> None:
    rules, bad, good = {**teams.PAIRS, **others.PAIRS, **idioms.PAIRS}[name]
    for folder, files in (("bad", bad), ("good", good)):
        planted.put(tmp_path / folder, files)
    told = [[f for f in onnxscale.audit([tmp_path / f]).findings if f.severity != "note"] for f in ("bad", "good")]
    assert rules & {f.rule for f in told[0]} and not told[1]


@pytest.mark.parametrize("name", teams.CLEAN)
def test_clean_ones_that_look_like_something(tmp_path: Path, name: str) -> None:
    planted.put(tmp_path, teams.CLEAN[name])
    assert [f for f in onnxscale.audit([tmp_path]).findings if f.severity != "note"] == []


@pytest.mark.parametrize("name", varied.CASES)
def test_repositories_as_people_write_them(name: str, tmp_path: Path) -> None:
    expected, files = varied.CASES[name]
    planted.put(tmp_path, files)
    found = [f for f in onnxscale.audit(tmp_path).findings if f.severity != "note"]
    assert {f.rule for f in found} == expected, [f"{f.where} {f.rule} {f.message}" for f in found]


# reading code


@pytest.mark.parametrize(
    ("code", "steps"),
    [
        ("x = (img / 255 - MEAN) / STD", "Div Sub Div"),
        ("x = img * (1 / 255)\nx -= MEAN\nx /= STD", "Mul Sub Div"),
        ("x = np.divide(img, 255)", "Div"),
        ("x = img.div(255).sub(MEAN).div_(STD)", "Div Sub Div"),
        ("x = img.astype('f') / 127.5 - 1", "Div Sub"),
        ("for i in range(3):\n    img[i] = (img[i] - MEAN[i]) / STD[i]", "Sub Div"),
        (
            "x = img.reshape(1, -1) / 255.0\ny = (x - np.array(MEAN)[None, :, None, None]) / np.array(STD)[None, :, None, None]",
            "Div Sub Div",
        ),
        ("if flag:\n    x = img / 255\nelse:\n    x = img / 255\nx = (x - MEAN) / STD", "Div Sub Div"),
        ("x = F.normalize(img, MEAN, STD)", "Sub Div"),
        ("x = (img - stats['mean']) / stats['std']", "Sub Div"),
        ("x = (a - b) / c", ""),
        ("x = img * STD + MEAN", ""),
        ("C = dict(a=1)\nx = [v / 255 for v in img]", "Div"),
    ],
)
def test_normalizations_are_read_from_code(code: str, steps: str) -> None:
    text = f"import numpy as np\nMEAN = {M}\nSTD = {S}\n{code}\n"
    norms = python.read(text.encode(), "serve.py").norms
    assert " ".join(" ".join(op for op, _ in n.steps) for n in norms) == steps


@pytest.mark.parametrize(
    "text",
    ["x = " + "(" * 5000 + ")" * 5000, "x = " + "+".join(["1"] * 20000), "def f(:\n", "\0", "x = [0] * 10 ** 10 ** 10", "print 'old'",
     "a = [" * 90 + "]" * 90, "x = 1e999 * 10", "f(" * 90 + ")" * 90, "lambda: (yield)",
     "match x:\n    case {'a': 1}:\n        y = x / 255",
     "class A:\n    def f(self):\n        return self.f()\n", "def f(x):\n    return g(x)\n\n\ndef g(x):\n    return f(x) / 255\n"],
)  # fmt: skip
def test_no_source_breaks_the_reader(text: str) -> None:
    made = python.read(text.encode("utf-8", "surrogatepass"), "a.py")
    assert made.path == "a.py"


# hostile trees, and where files come from


def test_a_hostile_tree(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    repository(outside, serve_dot_py="import pickle\npickle.load(f)\n")
    home = repository(tmp_path / "r", serve_dot_py="import pickle\npickle.load(f)\n", cut_dot_onnx=planted.tabular()[:40],
                      empty_dot_onnx=b"",
                      big_dot_json="[" * 100_000, deep_dot_yaml="a: " + "[" * 5000, latin_dot_py="# \xe9".encode("latin1"),
                      nb_dot_ipynb="{}", odd_dot_json='{"mean": "x", "std": [0]}', bom_dot_json=b"\xff\xfe{}")  # fmt: skip
    os.symlink(outside, home / "linked")
    os.symlink(outside / "serve.py", home / "linked_serve.py")
    os.symlink(home, home / "loop")
    os.symlink("serve.py", home / "inside_serve.py")
    os.mkfifo(home / "pipe.py")
    os.mkfifo(home / "pipe.onnx")
    (home / os.fsdecode(b"bad\xff.py")).write_text("import pickle\npickle.load(f)\n")
    found = onnxscale.audit(home).findings
    places = {f.where.path for f in found}
    assert {"serve.py", "inside_serve.py", "cut.onnx", "empty.onnx", "bad\\xff.py", "latin.py", "nb.ipynb"} == places
    assert json.loads(json.dumps(audits.sarif(onnxscale.audit(home))))


def test_nothing_is_executed(tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    code = f"open({str(witness)!r}, 'w').write('x')\n"
    repository(
        tmp_path / "r",
        setup_dot_py=code,
        conftest_dot_py=code,
        nb_dot_ipynb=planted.notebook(code),
        sitecustomize_dot_py=code,
    )
    onnxscale.audit(tmp_path / "r")
    assert not witness.exists()


@pytest.mark.parametrize("pool", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_any_executor_gives_the_same(pool: Any, bad: Path, found: onnxscale.Audit) -> None:
    with pool(2) as executor:
        assert onnxscale.audit(bad, executor).findings == found.findings


def test_a_bucket_is_read_in_parts() -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    large = build.mlp(4, hidden=200_000)
    for name, content in (("serve.py", planted.serve_image(planted.SCALE).encode()), ("model.onnx", planted.baked("image")),
                          ("other/model.onnx", large.SerializeToString())):  # fmt: skip
        memory.pipe(f"/audited/{name}", content)
    fetched = []
    whole = memory.cat_file

    def counted(path: str, start: int | None = None, end: int | None = None, **kw: Any) -> bytes:
        data = bytes(whole(path, start=start, end=end, **kw))
        fetched.append((path, len(data)))
        return data

    try:
        type(memory).cat_file = lambda self, path, **kw: counted(path, **kw)
        found = onnxscale.audit("memory://audited")
    finally:
        del type(memory).cat_file
        memory.rm("/audited", recursive=True)
    assert [(f.rule, f.where.path) for f in found.findings] == [("scaled-twice", "serve.py")]
    assert sum(n for p, n in fetched if p.endswith("other/model.onnx")) < 50_000 < len(large.SerializeToString())


def test_a_missing_path_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OnnxscaleError, match="no such file or folder"):
        onnxscale.audit(tmp_path / "none")
