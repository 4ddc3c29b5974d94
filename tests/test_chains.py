"""Chains: whether what one stage gives is what the next takes, the adapter between them, one model of all, and real chains."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper

import onnxscale
from onnxscale import chaining, looking, pipeline, ports
from onnxscale.chaining import drawing
from onnxscale.errors import ChainError, OnnxscaleError
from onnxscale.scalers import Standard
from onnxscale.statistics import Fitted, Source, Statistics
from tests import build, real
from tests.test_instances import answers
from tests.thinning import thinned

INNER = {"mean": [0.5] * 4, "std": [2.0] * 4}
SPACE = {"mean": [1.0, 2.0, 3.0, 4.0], "std": [1.0, 2.0, 3.0, 4.0]}
OTHER = {"mean": [10.0, 20.0, 30.0, 40.0], "std": [5.0, 5.0, 5.0, 5.0]}


def dense(width: int, out: int, opset: int = 17, x: str = "x", y: str = "y", seed: int = 0) -> onnx.ModelProto:
    w = build.tensor(np.random.default_rng(seed).standard_normal((width, out)), "w")
    nodes = [helper.make_node("MatMul", [x, "w"], ["h"]), helper.make_node("Tanh", ["h"], [y])]
    return build.model(nodes, [build.value(x, ("N", width))], [build.value(y, ("N", out))], [w], opset=opset)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """a.baked gives raw values; b takes scaled ones, b.baked raw ones; statistics beside."""
    for name, content in (("inner", INNER), ("space", SPACE), ("other", OTHER)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    onnx.save(dense(4, 4), tmp_path / "a.onnx")
    onnx.save(dense(4, 2, seed=1), tmp_path / "b.onnx")
    onnxscale.bake(tmp_path / "a.onnx", INNER, target=SPACE).save(tmp_path / "a.baked.onnx")
    onnxscale.bake(tmp_path / "b.onnx", SPACE).save(tmp_path / "b.baked.onnx")
    return tmp_path


def written(folder: Path, stages: Mapping[str, Any], *edges: str) -> Path:
    path = folder / "chain.yaml"
    path.write_text(json.dumps({"stages": stages, "edges": list(edges)}))
    return path


def run(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "onnxscale", *map(str, args)], capture_output=True, text=True, check=False
    )


A, B = {"model": "a.baked.onnx"}, {"model": "b.baked.onnx"}
SCALED = {"model": "b.onnx", "inputs": {"x": "space.json"}}


@pytest.mark.parametrize(
    ("stages", "edge", "verdict", "words"),
    [
        ({"a": A, "b": B}, "a.y -> b.x", "holds", ""),
        ({"a": A, "b": B}, "a -> b", "holds", ""),
        ({"a": A, "b": {**B, "inputs": {"x": "raw"}}}, "a.y -> b.x", "holds", ""),
        ({"a": A, "b": SCALED}, "a.y -> b.x", "differs", "a is raw, b is scaled"),
        ({"a": A, "b": {"model": "b.onnx"}}, "a.y -> b.x", "unknown", "nothing says how b.x is scaled"),
        ({"a": {"model": "a.onnx"}, "b": B}, "a.y -> b.x", "unknown", "nothing says how a.y is scaled"),
        ({"a": {"model": "a.onnx", "outputs": {"y": "space.json"}}, "b": SCALED}, "a.y -> b.x", "holds", ""),
        ({"a": {"model": "a.onnx", "outputs": {"y": "space.json"}}, "b": B}, "a.y -> b.x", "differs", "scaled twice"),
        ({"a": {"model": "a.onnx", "outputs": {"y": "other.json"}}, "b": SCALED}, "a.y -> b.x", "differs", "the constants differ"),
        ({"a": A, "b": {**B, "inputs": {"x": "space.json"}}}, "a.y -> b.x", "differs", "the model itself says raw"),
    ],
)  # fmt: skip
def test_the_ends_of_an_edge(folder: Path, stages: dict, edge: str, verdict: str, words: str) -> None:
    path = written(folder, stages, edge)
    found = chaining.check(chaining.read(path))
    assert found.verdict == verdict
    assert words in " ".join([*found.conflicts, *(r for e in found.edges for r in e.reasons)])
    assert found.free == ("a.x",)
    told = run("chain", "check", path, "--json")
    assert told.returncode == {"holds": 0, "differs": 1, "unknown": 2}[verdict]
    assert json.loads(told.stdout)["verdict"] == verdict
    schema = json.loads(run("schema", "chain").stdout)
    jsonschema.validate(json.loads(path.read_text()), schema)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("stages: {a: {model: a.onnx}}\nedges: ['a.y -> b.x']", "there is no stage 'b'"),
        ("stages: {a: {model: a.onnx}}\nedgs: []", "did you mean 'edges'"),
        ("stages: {a: {modle: a.onnx}}", "did you mean 'model'"),
        ("stages: {a: {}}", "has neither"),
        ("stages: {a: {model: a.onnx, contract: c.json}}", "has both"),
        ("stages: {a.b: {model: a.onnx}}", "has no dot"),
        ("stages: {a: {model: a.onnx, inputs: {z: raw}}}", "no tensor 'z'"),
        ("stages: {a: {model: a.onnx, inputs: {x: 3}}}", "expected 'raw' or the path"),
        ("stages: {a: {model: a.onnx, inputs: {x: nowhere.json}}}", "no such file"),
        ("stages: {a: {model: nowhere.onnx}}", "no such file"),
        ("stages: {a: {model: space.json}}", "expected an ONNX model"),
        ("stages: {a: &x {model: a.onnx}, b: *x}", "anchors"),
        ("stages: {a: {model: a.onnx}, b: {model: b.onnx}}\nedges: ['a.y -> b.x', 'a.y -> b.x']", "fed twice"),
        ("stages: {a: {model: a.onnx}, b: {model: a.onnx}}\nedges: ['a.y -> b.x', 'b.y -> a.x']", "in a circle"),
        ("stages: {a: {model: a.onnx}, b: {model: b.onnx}}\nedges: ['a.q -> b.x']", "no output 'q'"),
        ("stages: {a: {model: a.onnx}}\nedges: ['a.y']", "is no edge"),
        ("just words", "expected an object"),
        ("", "expected"),
    ],
)  # fmt: skip
def test_what_is_no_chain_is_said(folder: Path, content: str, words: str) -> None:
    path = folder / "chain.yaml"
    path.write_text(content)
    told = run("chain", "check", path)
    assert told.returncode == 2 and words in told.stderr, told.stderr
    assert "Traceback" not in told.stderr and "bug" not in told.stderr


def test_names_units_shapes_and_types_count_too(folder: Path) -> None:
    contract = {
        "inputs": {"x": {"shape": [None, 3], "dtype": "float64", "space": {**SPACE, "features": ["a", "b", "c", "d"]}}},
        "outputs": {},
    }
    (folder / "svc.json").write_text(json.dumps(contract))
    giver = {"model": "a.onnx", "outputs": {"y": "named.json"}}
    (folder / "named.json").write_text(json.dumps({**SPACE, "features": ["b", "a", "c", "d"]}))
    found = chaining.check(
        chaining.read(written(folder, {"a": giver, "svc": {"contract": "svc.json"}}, "a.y -> svc.x"))
    )
    said = " ".join(found.edges[0].reasons)
    assert found.verdict == "differs" and "float32" in said and "do not fit" in said and "in another order" in said


def baked(folder: Path, stage: str, **known: Any) -> dict[str, str]:
    """A model that gives or takes raw values of features with these names and units."""
    stats = {**SPACE, **known}
    made = onnxscale.bake(
        folder / f"{stage}.onnx", INNER if stage == "a" else stats, target=stats if stage == "a" else None
    )
    made.save(folder / f"{stage}.named.onnx", force=True)
    return {"model": f"{stage}.named.onnx"}


@pytest.mark.parametrize(
    ("given", "taken", "verdict", "words"),
    [
        ({"features": ["p", "q", "r", "s"]}, {"features": ["p", "q", "r", "s"]}, "holds", ""),
        ({"features": ["p", "q", "r", "s"]}, {"features": ["q", "p", "r", "s"]}, "differs", "the features are in another order"),
        ({"features": ["p", "q", "r", "s"]}, {"features": ["p", "q", "r", "t"]}, "differs", "at 3 it is 's' in y, 't' in x"),
        ({"features": ["p", "q", "r", "s"]}, {"features": ["t", "u", "v", "w"]}, "holds", ""),
        ({"units": ["cm"] * 4}, {"units": ["cm", "mm", "cm", "cm"]}, "differs", "at 1 it is 'cm' in y, 'mm' in x"),
    ],
)  # fmt: skip
def test_raw_values_have_names_and_units_too(folder: Path, given: dict, taken: dict, verdict: str, words: str) -> None:
    for kind in ("baked", "contract"):
        stages = {"a": baked(folder, "a", **given), "b": baked(folder, "b", **taken)}
        if kind == "contract" and set(given["features" if "features" in given else "units"]) & set(
            next(iter(taken.values()))
        ):
            for name, part, tensor, known in (("a", "outputs", "y", given), ("b", "inputs", "x", taken)):
                (folder / f"{name}.json").write_text(json.dumps({part: {tensor: {"space": "raw", **known}}}))
                jsonschema.validate(
                    json.loads((folder / f"{name}.json").read_text()), json.loads(run("schema", "contract").stdout)
                )
            stages = {n: {"contract": f"{n}.json"} for n in "ab"}
        (edge,) = chaining.check(chaining.read(written(folder, stages, "a.y -> b.x"))).edges
        assert edge.verdict == verdict and words in " ".join(edge.reasons) and edge.adapter is None
        assert bool(edge.notes) == (verdict == "holds" and given != taken)


def test_a_misspelt_keyword_of_a_contract_is_no_silence(folder: Path) -> None:
    (folder / "svc.json").write_text(json.dumps({"inputs": {"x": {"space": "raw", "unit": ["cm"]}}}))
    with pytest.raises(ChainError, match="did you mean 'units'"):
        chaining.check(chaining.read(written(folder, {"svc": {"contract": "svc.json"}})))


def test_statistics_of_another_width_are_told(folder: Path) -> None:
    (folder / "three.json").write_text(json.dumps({"mean": [1.0, 2, 3], "std": [1.0, 2, 4]}))
    stages = {
        "a": {"model": "a.onnx", "outputs": {"y": "three.json"}}, "b": {"model": "b.onnx", "inputs": {"x": "three.json"}},
    }  # fmt: skip
    found = chaining.check(chaining.read(written(folder, stages, "a.y -> b.x")))
    assert found.verdict == "differs" and len(found.conflicts) == 2
    assert "of 3 feature(s), and is 'y' float32 [N, 4]" in found.conflicts[0]


def test_how_an_edge_differs_is_told_by_the_names_of_its_stages(folder: Path) -> None:
    (folder / "ddof.json").write_text(
        json.dumps({**SPACE, "std": (np.array(SPACE["std"]) * np.sqrt(100 / 99)).tolist()})
    )
    takes = {"model": "b.onnx", "inputs": {"x": "ddof.json"}}
    gives = {"model": "a.onnx", "outputs": {"y": "space.json"}}
    (edge,) = chaining.check(chaining.read(written(folder, {"left": gives, "right": takes}, "left.y -> right.x"))).edges
    assert "ddof changed" in edge.reasons[0] and "as large in right as in left, for n about 100 rows" in edge.reasons[0]
    (edge,) = chaining.check(chaining.read(written(folder, {"a": gives, "b": B}, "a.y -> b.x"))).edges
    (crossed,) = chaining.check(chaining.read(written(folder, {"B": gives, "A": takes}, "B.y -> A.x"))).edges
    assert "as large in A as in B, for n about 100 rows" in crossed.reasons[0]
    assert "scaled twice with mean [1, 2, 3, 4], std [1, 2, 3, 4]" in edge.reasons[0]
    other = {"model": "a.onnx", "outputs": {"y": "other.json"}}
    (edge,) = chaining.check(chaining.read(written(folder, {"a": other, "b": B}, "a.y -> b.x"))).edges
    assert "b then scales it itself" in edge.reasons[0] and "scaled twice" in edge.reasons[0]


def test_no_adapter_is_offered_where_values_are_of_other_features(folder: Path) -> None:
    for name, order in (("one", "abcd"), ("two", "bacd")):
        (folder / f"{name}.json").write_text(
            json.dumps({**(SPACE if name == "one" else OTHER), "features": list(order)})
        )
    stages = {
        "a": {"model": "a.onnx", "outputs": {"y": "one.json"}},
        "b": {"model": "b.onnx", "inputs": {"x": "two.json"}},
    }
    path = written(folder, stages, "a.y -> b.x")
    (edge,) = chaining.check(chaining.read(path)).edges
    assert edge.verdict == "differs" and edge.adapter is None and "chain fix" not in " ".join(edge.reasons)
    for act in (chaining.fix, chaining.merge):
        with pytest.raises(ChainError, match="in another order"):
            act(chaining.read(path))


def test_no_adapter_behind_an_output_that_others_take_as_it_is(folder: Path) -> None:
    """a.y is right for one of the two that it feeds: an adapter in a would break that edge."""
    path = written(folder, {"a": A, "b": B, "c": SCALED}, "a.y -> b.x", "a.y -> c.x")
    with pytest.raises(ChainError, match=r"a.y feeds b.x too, which would get other values; fix c instead"):
        chaining.fix(chaining.read(path), "a")
    made, (edge,) = chaining.fix(chaining.read(path))
    assert edge.edge.target == "c" and made.verify().comparison.verified  # type: ignore[union-attr]


def test_a_chain_without_edges_proves_nothing(folder: Path) -> None:
    told = run("chain", "check", written(folder, {"a": A, "b": B}))
    assert told.returncode == 2 and "no edges: nothing was compared" in told.stdout


@pytest.mark.parametrize("into", ["a", "b"])
@pytest.mark.parametrize("giver", ["raw", "other"])
def test_the_adapter_makes_an_edge_hold(folder: Path, into: str, giver: str) -> None:
    a = A if giver == "raw" else {"model": "a.onnx", "outputs": {"y": "other.json"}}
    path = written(folder, {"a": a, "b": SCALED}, "a.y -> b.x")
    out = folder / "fixed.onnx"
    told = run("chain", "fix", path, "--into", into, "-o", out)
    assert told.returncode == 0, told.stderr
    stages = {"a": a, "b": SCALED}
    stages[into] = {"model": "fixed.onnx"}
    assert chaining.check(chaining.read(written(folder, stages, "a.y -> b.x"))).verdict == "holds"
    x = np.random.default_rng(0).standard_normal((9, 4)).astype("f")
    first = answers((folder / a["model"]).read_bytes(), x=x)[0].astype("d")
    if giver == "other":
        first = first * OTHER["std"] + OTHER["mean"]
    scaled = ((first - SPACE["mean"]) / SPACE["std"]).astype("f")
    want = answers((folder / "b.onnx").read_bytes(), x=scaled)[0]
    models = {"a": folder / a["model"], "b": folder / "b.onnx", into: out}
    got = answers(models["b"].read_bytes(), x=answers(models["a"].read_bytes(), x=x)[0])[0]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    onnxscale.unbake(out, folder / "back.onnx", force=True)
    assert (folder / "back.onnx").read_bytes() == (folder / (a if into == "a" else SCALED)["model"]).read_bytes()
    again = run("chain", "fix", written(folder, stages, "a.y -> b.x"), "-o", folder / "no.onnx")
    assert again.returncode == 2 and "nothing to fix" in again.stderr and not (folder / "no.onnx").exists()


@pytest.mark.parametrize("opsets", thinned([(17, 17), (13, 17), (17, 11), (9, 18)], 4))
@pytest.mark.parametrize("scaled", [True, False])
def test_one_model_of_a_chain(tmp_path: Path, opsets: tuple[int, int], scaled: bool) -> None:
    onnx.save(dense(4, 4, opsets[0]), tmp_path / "a.onnx")
    onnx.save(dense(4, 2, opsets[1], seed=1), tmp_path / "b.onnx")
    onnxscale.bake(tmp_path / "a.onnx", INNER, target=SPACE).save(tmp_path / "a.baked.onnx")
    (tmp_path / "space.json").write_text(json.dumps(SPACE))
    if not scaled:
        onnxscale.bake(tmp_path / "b.onnx", SPACE).save(tmp_path / "b.baked.onnx")
    path = written(tmp_path, {"a": A, "b": SCALED if scaled else B}, "a.y -> b.x")
    told = run("chain", "merge", path, "-o", tmp_path / "m.onnx", "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["verification"]["verdict"] == "VERIFIED"
    content = (tmp_path / "m.onnx").read_bytes()
    onnx.checker.check_model(onnx.load_from_string(content))
    x = np.random.default_rng(0).standard_normal((9, 4)).astype("f")
    first = answers((tmp_path / "a.baked.onnx").read_bytes(), x=x)[0]
    if scaled:
        first = ((first.astype("d") - SPACE["mean"]) / SPACE["std"]).astype("f")
    want = answers((tmp_path / ("b.onnx" if scaled else "b.baked.onnx")).read_bytes(), x=first)[0]
    np.testing.assert_allclose(answers(content, x=x)[0], want, rtol=1e-5, atol=1e-6)
    (port,) = [p for p in ports.of(content) if p.role == "input"]
    assert port.how == "baked" and port.outside.raw and not port.inside.raw
    record = looking.inspect(content).record
    jsonschema.validate(record, json.loads(run("schema", "record").stdout))
    with pytest.raises(OnnxscaleError, match="not in it"):
        onnxscale.unbake(content, tmp_path / "u.onnx")


def test_fan_in_and_fan_out(tmp_path: Path) -> None:
    """One encoder feeds two heads, and both feed a judge with two inputs; equal names stay apart."""
    onnx.save(dense(4, 4), tmp_path / "enc.onnx")
    for i in (1, 2):
        onnx.save(dense(4, 3, seed=i), tmp_path / f"head{i}.onnx")
    add = build.model(
        [helper.make_node("Sub", ["l", "r"], ["y"])],
        [build.value(n, ("N", 3)) for n in "lr"],
        [build.value("y", ("N", 3))],
        [],
    )
    onnx.save(add, tmp_path / "judge.onnx")
    raw_in, raw_out = {"inputs": {"x": "raw"}}, {"outputs": {"y": "raw"}}
    stages = {n: {"model": f"{n}.onnx", **raw_in, **raw_out} for n in ("enc", "head1", "head2")}
    stages["judge"] = {"model": "judge.onnx", "inputs": {"l": "raw", "r": "raw"}}
    path = written(tmp_path, stages, "enc -> head1", "enc -> head2", "head1 -> judge.l", "head2 -> judge.r")
    made = chaining.merge(chaining.read(path)).verify()
    assert made.comparison is not None and made.comparison.verified, made.comparison
    x = np.random.default_rng(0).standard_normal((5, 4)).astype("f")
    held = answers((tmp_path / "enc.onnx").read_bytes(), x=x)[0]
    left, right = (answers((tmp_path / f"head{i}.onnx").read_bytes(), x=held)[0] for i in (1, 2))
    np.testing.assert_allclose(answers(made.to_bytes(), x=x)[0], left - right, rtol=1e-5, atol=1e-6)


def test_a_merge_that_is_not_the_chain_is_found(folder: Path) -> None:
    made = chaining.merge(chaining.read(written(folder, {"a": A, "b": B}, "a.y -> b.x")))
    bad = onnx.ModelProto()
    bad.CopyFrom(made.proto)
    weights = next(t for t in bad.graph.initializer if t.name.startswith("b/") and t.dims == [4, 2])
    weights.CopyFrom(build.tensor(onnx.numpy_helper.to_array(weights) * 1.001, weights.name))
    found = type(made)(made.report, bad, made.inputs, made.outputs, made.models, made.adapted, made.notes).verify()
    assert found.comparison is not None and found.comparison.verdict == "DIFFERS"


def test_services_are_checked_and_not_merged(folder: Path) -> None:
    """Three agents: an embedder gives unit vectors, a ranker takes unit vectors of the same model, a second one of another."""
    unit = {"space": "raw", "normalized": "l2", "embedding": "e5-base", "shape": [None, 384], "dtype": "float32"}
    contracts = {
        "embedder": {"properties": {"inputs": {"properties": {}}, "outputs": {"properties": {"v": unit}}}},
        "ranker": {"inputs": {"v": unit}, "outputs": {}},
        "other": {"inputs": {"v": {**unit, "embedding": "bge-small"}}, "outputs": {}},
        "plain": {"inputs": {"v": {**unit, "normalized": None}}, "outputs": {}},
    }
    schema = json.loads(run("schema", "contract").stdout)
    for name, content in contracts.items():
        jsonschema.validate(content, schema)
        (folder / f"{name}.json").write_text(json.dumps(content))
    stages = {n: {"contract": f"{n}.json"} for n in contracts}
    path = written(folder, stages, "embedder.v -> ranker.v", "embedder.v -> other.v", "embedder.v -> plain.v")
    found = {e.edge.target: e for e in chaining.check(chaining.read(path)).edges}
    assert found["ranker"].verdict == "holds"
    assert found["other"].verdict == "differs" and "'bge-small'" in found["other"].reasons[0]
    assert found["plain"].verdict == "differs"
    assert run("chain", "check", path).returncode == 1
    with pytest.raises(ChainError, match="cannot be merged"):
        chaining.merge(chaining.read(path))


def test_pictures(folder: Path) -> None:
    path = written(folder, {"a": A, 'b <&"': SCALED}, 'a.y -> b <&".x')
    report = chaining.check(chaining.read(path))
    svg = ElementTree.fromstring(chaining.draw(report, "svg"))
    assert {t.text for t in svg.iter("{http://www.w3.org/2000/svg}text")} >= {"a", 'b <&"'}
    mermaid = chaining.draw(report, "mermaid")
    assert mermaid.startswith("flowchart LR") and '"b #60;#38;#34;"' in mermaid and "differs" in mermaid
    assert "a.y -> b" in chaining.draw(report, "text")
    told = run("chain", "show", path, "--format", "svg", "-o", folder / "c.svg")
    assert told.returncode == 0 and ElementTree.parse(folder / "c.svg").getroot().tag.endswith("svg")
    assert run("chain", "show", path, "--format", "svg", "-o", folder / "c.svg").returncode == 2
    with pytest.raises(ChainError, match="choose one of"):
        chaining.draw(report, "png")
    assert set(drawing.FORMATS) == {"text", "mermaid", "svg"}


def test_latents_between_an_autoencoder_and_a_denoiser(tmp_path: Path) -> None:
    """A VAE gives z; a denoiser takes z scaled by the config's factor; the decoder takes z again."""
    config = {"_class_name": "AutoencoderKL", "scaling_factor": 0.18215}
    encode, decode = (
        onnxscale.read(config, onnxscale.Reading(dialect=d)).inputs[None].transform() for d in ("encode", "decode")
    )
    for name, transform in (("encode", encode), ("decode", decode)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"kind": "steps", "steps": transform.to_json()}))
    shape = ("N", 4, 8, 8)
    for name in ("vae", "unet", "decoder"):
        node = helper.make_node("Tanh", ["x"], ["y"])
        onnx.save(
            build.model([node], [build.value("x", shape)], [build.value("y", shape)], []), tmp_path / f"{name}.onnx"
        )
    stages = {
        "vae": {"model": "vae.onnx", "outputs": {"y": "raw"}},
        "unet": {"model": "unet.onnx", "inputs": {"x": "encode.json"}, "outputs": {"y": "encode.json"}},
        "decoder": {"model": "decoder.onnx", "inputs": {"x": "raw"}},
    }
    found = chaining.check(chaining.read(written(tmp_path, stages, "vae -> unet", "unet -> decoder")))
    assert [e.verdict for e in found.edges] == ["differs", "differs"]
    assert "0.18215" in " ".join(found.edges[0].reasons)
    assert found.edges[1].adapter is not None
    np.testing.assert_allclose(found.edges[1].adapter(np.array([0.18215])), [1.0], rtol=1e-12)
    made = chaining.merge(chaining.read(tmp_path / "chain.yaml")).verify()
    assert made.comparison is not None and made.comparison.verified and len(made.adapted) == 2
    x = np.random.default_rng(0).standard_normal((2, 4, 8, 8)).astype("f")
    want = np.tanh(np.tanh(np.tanh(x) * 0.18215) / 0.18215)
    np.testing.assert_allclose(answers(made.to_bytes(), x=x)[0], want, rtol=1e-5, atol=1e-6)


def fetched(name: str) -> Path:
    row = next(r for r in real.ROWS if r.name == name)
    try:
        return row.path()
    except real.Unavailable as why:
        pytest.skip(str(why))


@pytest.mark.slow
def test_an_ocr_chain(tmp_path: Path) -> None:
    """Detector, a service that cuts the words out, classifier and recognizer of RapidOCR, which scale pixels in two ways."""
    names = {n: fetched(f"rapidocr-{n}") for n in ("det", "cls", "rec")}
    imagenet = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "axis": 1}
    half = {"mean": [127.5] * 3, "std": [127.5] * 3, "axis": 1}
    for file, content in (("imagenet.json", imagenet), ("half.json", half)):
        (tmp_path / file).write_text(json.dumps(content))
    for n, stats in (("det", imagenet), ("cls", half)):
        onnxscale.bake(names[n], stats, form="nodes").save(tmp_path / f"{n}.onnx")
    (tmp_path / "rec.onnx").write_bytes(names["rec"].read_bytes())
    pixels = {"shape": [None, 3, None, None], "dtype": "float32", "space": "raw"}
    contract = {"inputs": {"map": {}, "image": pixels}, "outputs": {"word": pixels, "upright": pixels}}
    (tmp_path / "cut.json").write_text(json.dumps(contract))
    (det_out,) = [o.name for o in looking.inspect(names["det"]).outputs]
    stages = {
        "det": {"model": "det.onnx", "outputs": {det_out: "raw"}}, "cut": {"contract": "cut.json"},
        "cls": {"model": "cls.onnx"}, "rec": {"model": "rec.onnx", "inputs": {"x": "imagenet.json"}},
    }  # fmt: skip
    edges = (f"det.{det_out} -> cut.map", "cut.word -> cls.x", "cut.upright -> rec.x")
    found = {e.edge.target: e for e in chaining.check(chaining.read(written(tmp_path, stages, *edges))).edges}
    assert (found["cls"].verdict, found["rec"].verdict) == ("holds", "differs")
    stages["rec"]["inputs"]["x"] = "half.json"
    baked, _ = chaining.fix(chaining.read(written(tmp_path, stages, *edges)), "rec")
    baked.verify().save(tmp_path / "rec.fixed.onnx")
    stages["rec"] = {"model": "rec.fixed.onnx"}
    found = {e.edge.target: e for e in chaining.check(chaining.read(written(tmp_path, stages, *edges))).edges}
    assert found["rec"].verdict == "holds"


@pytest.mark.slow
def test_a_log_mel_front_end_and_a_speech_quality_model(tmp_path: Path) -> None:
    """Power spectra to log-mel, scaled as the quality model was trained on; one model of both."""
    quality = fetched("dnsmos-p808")
    mel = build.tensor(np.abs(np.random.default_rng(0).standard_normal((161, 120))) + 1e-3, "mel")
    nodes = [
        helper.make_node("MatMul", ["power", "mel"], ["energies"]), helper.make_node("Add", ["energies", "least"], ["some"]),
        helper.make_node("Log", ["some"], ["logmel"]),
    ]  # fmt: skip
    front = build.model(
        nodes,
        [build.value("power", (1, 900, 161))],
        [build.value("logmel", (1, 900, 120))],
        [mel, build.tensor(1e3, "least")],
    )
    onnx.save(front, tmp_path / "front.onnx")
    (tmp_path / "quality.onnx").write_bytes(quality.read_bytes())
    (tmp_path / "logmel.json").write_text(json.dumps({"mean": 4.0, "std": 2.0}))
    stages = {
        "front": {"model": "front.onnx", "outputs": {"logmel": "raw"}},
        "quality": {"model": "quality.onnx", "inputs": {"input_1": "logmel.json"}},
    }
    path = written(tmp_path, stages, "front.logmel -> quality.input_1")
    assert chaining.check(chaining.read(path)).verdict == "differs"
    made = chaining.merge(chaining.read(path)).verify()
    assert made.comparison is not None and made.comparison.verified, made.comparison
    assert len(made.adapted) == 1


def test_a_pipeline_of_scaler_model_target_and_scaler(folder: Path) -> None:
    """fit, model, target, and the next one's scaler: the whole in real units, and after a bake of the second in one file."""
    chain = written(folder, {"a": A, "b": SCALED}, "a.y -> b.x")
    baked, edges = chaining.fix(chaining.read(chain))
    assert [e.edge.target for e in edges] == ["b"]
    assert baked.verify().comparison.verified
    direct = pipeline.bake(
        folder / "b.onnx",
        Statistics({"x": Fitted(Standard(np.array(SPACE["mean"]), np.array(SPACE["std"])))}, {}, Source("t")),
    )
    x = np.random.default_rng(0).standard_normal((7, 4)).astype("f") * 3
    np.testing.assert_allclose(
        answers(baked.to_bytes(), x=x)[0], answers(direct.to_bytes(), x=x)[0], rtol=1e-5, atol=1e-6
    )


def test_text_and_whole_numbers_need_no_space(tmp_path: Path) -> None:
    for name in ("ids", "more"):
        node = helper.make_node("Identity", ["x"], ["y"])
        values = [helper.make_tensor_value_info(n, T.STRING, ["N"]) for n in "xy"]
        onnx.save(helper.make_model(helper.make_graph([node], "g", values[:1], values[1:]), ir_version=8,
                                    opset_imports=[helper.make_opsetid("", 17)]), tmp_path / f"{name}.onnx")  # fmt: skip
    path = written(tmp_path, {"a": {"model": "ids.onnx"}, "b": {"model": "more.onnx"}}, "a -> b")
    assert chaining.check(chaining.read(path)).verdict == "holds"


@pytest.mark.parametrize("shape", [(1,) * 70, (1 << 40, 1 << 22)])
def test_a_merge_of_shapes_that_no_array_has_is_not_verified(tmp_path: Path, shape: tuple[int, ...]) -> None:
    for name, x, y in (("a", "x", "y"), ("b", "y", "z")):
        made = build.model(
            [helper.make_node("Relu", [x], [y])], [build.value(x, shape)], [build.value(y, shape)], opset=17
        )
        onnx.save(made, tmp_path / f"{name}.onnx")
    (tmp_path / "chain.json").write_text(
        json.dumps({"stages": {n: {"model": f"{n}.onnx"} for n in "ab"}, "edges": ["a.y -> b.y"]})
    )
    found = chaining.merge(chaining.read(tmp_path / "chain.json")).verify().comparison
    assert found is not None and found.verdict == "NOT VERIFIED" and "can be made" in found.reason
