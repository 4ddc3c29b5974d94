"""onnxscale expect: what a model expects, on models whose scaler is known; and how often its confidence is right."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper

import onnxscale
from docs import expected as corpus
from onnxscale.expecting import BAKED, CANNOT_TELL, CODES, LIKELY, SCALED, UNSCALED, expect
from tests.pipelines import Case, cases
from tests.real import ROWS, Unavailable

CASES = cases()
SCALER = {"diabetes_svr": "unit", "iris_neighbours": "unit", "cancer_boosting": "unit", "wine_lightgbm": "symmetric"}
KNOWN = (
    "wine_svm", "diabetes_svr", "iris_neighbours", "wine_forest", "diabetes_boosting", "diabetes_tree", "diabetes_xgboost",
    "wine_lightgbm", "cancer_quantized",
)  # fmt: skip


def _model(nodes: list, constants: dict, shape: list, dtype: int = 1, metadata: dict | None = None) -> bytes:
    held = [numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in constants.items()]
    x, y = helper.make_tensor_value_info("x", dtype, shape), helper.make_tensor_value_info("p", 1, None)
    made = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], held), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    helper.set_model_props(made, metadata or {})
    return made.SerializeToString()


@pytest.mark.parametrize("case", [c for c in CASES if c.name in KNOWN], ids=str)
@pytest.mark.parametrize("rows", [False, True], ids=["alone", "rows"])
def test_models_that_remember_their_input_are_told(case: Case, rows: bool) -> None:
    answer = expect(case.model, case.rows if rows else None).answers[0]
    assert answer.verdict == LIKELY
    assert answer.ranked[0].name == SCALER.get(case.name, "standard"), answer.reason
    assert sum(r.probability for r in answer.ranked) == pytest.approx(1)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_no_shipped_model_is_taken_for_one_of_raw_values(case: Case) -> None:
    for data in (None, case.rows):
        for answer in expect(case.model, data).answers:
            if answer.verdict == LIKELY and answer.input.dtype.startswith("float"):
                assert answer.ranked[0].name not in UNSCALED, (data, answer.reason)


def test_a_baked_model_answers_from_its_record(tmp_path: Path) -> None:
    case = next(c for c in CASES if c.name == "wine_forest")
    out = onnxscale.bake(case.model, case.stats[0]).save(tmp_path / "baked.onnx")
    answer = onnxscale.expect(out).answers[0]
    assert answer.verdict == BAKED and answer.ranked[0].name == "raw" and "its record" in answer.reason


def test_a_batch_normalization_in_front_tells_the_moments() -> None:
    for mean, var, truth in (([0.01, -0.02, 0], [1, 0.98, 1.01], "standard"), ([41, 1e5, 7], [90, 4e6, 2], "raw")):
        held = {"g": [1, 1, 1], "b": [0, 0, 0], "m": mean, "v": var}
        model = _model([helper.make_node("BatchNormalization", ["x", "g", "b", "m", "v"], ["p"])], held, [None, 3])
        answer = expect(model).answers[0]
        assert (answer.verdict, answer.ranked[0].name) == (LIKELY, truth), answer


def test_a_batch_normalization_that_met_no_data_tells_nothing() -> None:
    held = {"g": [1, 1, 1], "b": [0, 0, 0], "m": [0, 0, 0], "v": [1, 1, 1]}
    model = _model([helper.make_node("BatchNormalization", ["x", "g", "b", "m", "v"], ["p"])], held, [None, 3])
    answer = expect(model).answers[0]
    assert not answer.evidence, answer


@pytest.mark.parametrize("truth", list(corpus.PIXELS))
def test_a_hidden_batch_normalization_gives_the_mean_of_the_channels(truth: str) -> None:
    """The flower's mean is solved for; it lies in the middle of no other normalization's range."""
    pytest.importorskip("PIL", reason="scikit-learn's picture of a flower needs pillow")
    flower = list(corpus.patches())[1][1]
    x = corpus.PIXELS[truth](flower)
    answer = expect(corpus._convolved(x, 11)).answers[0]
    assert answer.ranked[0].name == truth
    said = next(e.says for e in answer.evidence if e.cue == "hidden normalization")
    assert f"mean [{x[:, 0].mean():.3g}"[:9] in said


def test_known_constants_in_front_say_which_pixels() -> None:
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    for unit, truth in ((1, "unit"), (255, "pixels")):
        held = {"m": (mean * unit).reshape(1, 3, 1, 1), "s": (std * unit).reshape(1, 3, 1, 1)}
        nodes = [helper.make_node("Sub", ["x", "m"], ["d"]), helper.make_node("Div", ["d", "s"], ["p"])]
        answer = expect(_model(nodes, held, [None, 3, 8, 8])).answers[0]
        assert (answer.verdict, answer.ranked[0].name) == (LIKELY, truth)
        assert "ImageNet" in answer.evidence[0].says


def test_metadata_and_types_say_it_too() -> None:
    relu = [helper.make_node("Relu", ["x"], ["p"])]
    said = {"Image.NominalPixelRange": "Normalized_0_1"}
    assert expect(_model(relu, {}, [None, 3, 8, 8], metadata=said)).answers[0].ranked[0].name == "unit"
    cast = [helper.make_node("Cast", ["x"], ["p"], to=1)]
    assert expect(_model(cast, {}, [None, 3, 8, 8], dtype=2)).answers[0].ranked[0].name == "pixels"


def test_ids_are_codes_and_nothing_is_nothing() -> None:
    look_up = [helper.make_node("Gather", ["e", "x"], ["p"])]
    assert expect(_model(look_up, {"e": np.ones((9, 4))}, [None, 7], dtype=7)).answers[0].verdict == CODES
    answer = expect(_model([helper.make_node("Relu", ["x"], ["p"])], {}, [None, 4])).answers[0]
    assert answer.verdict == CANNOT_TELL and "nothing in the model" in answer.reason


def test_rows_come_as_frames_and_other_files_too(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="needs pandas")
    case = next(c for c in CASES if c.name == "wine_forest")
    raw = next(iter(case.raw().values())).astype(float)
    plain = expect(case.model, raw).answers[0]
    lines = tmp_path / "rows.jsonl"
    frame = pandas.DataFrame(raw, columns=[f"f{i}" for i in range(raw.shape[1])])
    frame.to_json(lines, orient="records", lines=True)
    assert plain.given == "raw" and plain.ranked[0].name == "standard"
    for data in (frame, lines):
        assert expect(case.model, data).answers[0].reason == plain.reason
    with pytest.raises(onnxscale.OnnxscaleError, match="the rows have the shape"):
        expect(case.model, raw[:, :5])


def test_the_command_line_says_what_to_do_and_exits_with_it(cli) -> None:
    told = cli("expect", "models/wine_forest/model.onnx", "models/wine_forest/rows.npz", cwd=corpus.PAGE.parents[1])
    assert told.returncode == 0 and "LIKELY" in told.stdout and "subtract the training mean" in told.stdout
    unsure = cli("expect", "models/digits_cnn/model.onnx", "--json", cwd=corpus.PAGE.parents[1])
    assert unsure.returncode == 2
    assert json.loads(unsure.stdout)["inputs"][0]["verdict"] == CANNOT_TELL
    bad = cli("expect", "models/wine_forest/model.onnx", "--input", "nope", cwd=corpus.PAGE.parents[1])
    assert bad.returncode == 2 and "no input 'nope'" in bad.stderr


@pytest.mark.slow
def test_confidence_is_what_it_was_right_to_say() -> None:
    """On tables that no trust was tuned on."""
    warnings.simplefilter("ignore")
    told = [t for case in corpus.cases(("iris", "counts")) for t in corpus.asked(case)]
    sure = [t for t in told if t.verdict == LIKELY and t.probability >= 0.9]
    assert len(sure) > 60 and np.mean([t.right for t in sure]) >= 0.95
    claimed = [t for t in told if t.verdict in (LIKELY, SCALED)]
    assert np.mean([t.right for t in claimed]) >= 0.85


@pytest.mark.real
@pytest.mark.parametrize("real", [r for r in ROWS if r.name.startswith(("rapidocr-cls", "silero", "magika"))], ids=str)
def test_shipped_models_are_not_claimed_wrongly(real) -> None:
    """RapidOCR's take (pixels / 255 - 0.5) / 0.5, Silero's sound of -1 to 1, Magika's ids of bytes."""
    try:
        answers = expect(real.path()).answers
    except Unavailable as reason:
        pytest.skip(str(reason))
    for answer in answers:
        if answer.input.name in ("x", "input") and answer.verdict == LIKELY:
            assert answer.ranked[0].name == "symmetric", answer.reason
        if answer.input.name == "bytes":
            assert answer.verdict == CODES or answer.ranked[0].name == "raw", "whole numbers, fed as they are"
