"""PMML: what sklearn2pmml and Nyoka write for a scaler in front of a model, and every expression by hand."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import preprocessing as p
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline

from onnxscale import sources
from onnxscale.errors import StatisticsError
from tests import damaging

pytest.importorskip("defusedxml", reason="needs defusedxml")

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(RNG.normal(size=(60, 3)) * [1, 10, 1e3] + [1, 2, -3], columns=["a", "b", "c"])
X = RNG.normal(size=(40, 3)) * 50
SCALERS = {
    "standard": p.StandardScaler(), "minmax": p.MinMaxScaler(), "minmax -3 to 5": p.MinMaxScaler((-3, 5)), "maxabs": p.MaxAbsScaler(),
    "robust": p.RobustScaler(), "mean only": p.StandardScaler(with_std=False), "std only": p.StandardScaler(with_mean=False),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", SCALERS)
def test_sklearn2pmml(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = pytest.importorskip("sklearn2pmml", reason="needs sklearn2pmml")
    if shutil.which("java") is None:
        pytest.skip("sklearn2pmml needs Java")
    # its converter knows scikit-learn up to 1.9.0, and what these scalers write did not change since
    monkeypatch.setattr("sklearn.base.__version__", "1.9.0")
    piped = writer.pipeline.PMMLPipeline([("i", SimpleImputer()), ("s", SCALERS[name]), ("m", LinearRegression())])
    piped.fit(FRAME, FRAME.sum(axis=1))
    writer.sklearn2pmml(piped, str(tmp_path / "m.pmml"))
    found = sources.read(tmp_path / "m.pmml")
    rows = X.copy()
    rows[0, 1] = np.nan
    want = piped[:-1].transform(pd.DataFrame(rows, columns=FRAME.columns))
    fitted = found.inputs[None]
    assert fitted.features == ("a", "b", "c") and found.source.framework == "PMML"
    np.testing.assert_array_equal(fitted.transform()(rows, 1), want)


@pytest.mark.parametrize("name", [n for n in SCALERS if "only" not in n])
def test_nyoka(name: str, tmp_path: Path) -> None:
    nyoka = pytest.importorskip("nyoka", reason="needs nyoka")
    piped = Pipeline([("s", SCALERS[name]), ("m", LinearRegression())]).fit(FRAME, FRAME.sum(axis=1))
    nyoka.skl_to_pmml(piped, list(FRAME.columns), "y", str(tmp_path / "m.pmml"))
    got = sources.read(tmp_path / "m.pmml").inputs[None].transform()(X, 1)
    # Nyoka writes 16 decimals, so a small constant loses digits in the file
    np.testing.assert_allclose(
        got, piped[:-1].transform(pd.DataFrame(X, columns=FRAME.columns)), rtol=1e-11, atol=1e-11
    )


def document(derived: str, fields: str = "", dictionary: str = "", inner: str = "") -> bytes:
    mining = fields or '<MiningField name="y" usageType="target"/><MiningField name="a"/><MiningField name="b"/>'
    held = dictionary or "".join(f'<DataField name="{n}" optype="continuous" dataType="double"/>' for n in "yab")
    return (
        f'<?xml version="1.0"?><PMML xmlns="http://www.dmg.org/PMML-4_4"><Header/><DataDictionary>{held}</DataDictionary>'
        f"<TransformationDictionary>{derived}</TransformationDictionary><RegressionModel functionName='regression'>"
        f"<MiningSchema>{mining}</MiningSchema>{inner}</RegressionModel></PMML>"
    ).encode()


def field(expression: str, name: str = "d") -> str:
    return f'<DerivedField name="{name}" optype="continuous" dataType="double">{expression}</DerivedField>'


def norm(
    name: str = "a", more: str = "", points: str = '<LinearNorm orig="10" norm="-1"/><LinearNorm orig="30" norm="3"/>'
) -> str:
    return f'<NormContinuous field="{name}" {more}>{points}</NormContinuous>'


def apply(function: str, *parts: str, more: str = "") -> str:
    return f'<Apply function="{function}" {more}>{"".join(parts)}</Apply>'


A, C = '<FieldRef field="a"/>', "<Constant>4</Constant>"
V = np.array([[5.0, 7.0], [20.0, 7.0], [np.nan, 7.0], [100.0, np.nan]])
EXPRESSIONS: dict[str, tuple[str, list[float]]] = {
    "two points": (norm(), [-2, 1, np.nan, 17]),
    "cut at the points": (norm(more='outliers="asExtremeValues"'), [-1, 1, np.nan, 3]),
    "missing to a value": (norm(more='mapMissingTo="0.25"'), [-2, 1, 0.25, 17]),
    "a - c": (apply("-", A, C), [1, 16, np.nan, 96]),
    "c - a": (apply("-", C, A), [-1, -16, np.nan, -96]),
    "c * a": (apply("*", C, A), [20, 80, np.nan, 400]),
    "a / c": (apply("/", A, C), [1.25, 5, np.nan, 25]),
    "a + c": (apply("+", A, C), [9, 24, np.nan, 104]),
    "min and max": (
        apply("max", apply("min", A, "<Constant>50</Constant>"), "<Constant>6</Constant>"),
        [6, 20, np.nan, 50],
    ),
    "missing in a function": (apply("+", A, C, more='mapMissingTo="0"'), [9, 24, 0, 104]),
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_expressions(name: str) -> None:
    expression, want = EXPRESSIONS[name]
    got = sources.read(document(field(expression))).inputs[None].transform()(V, 1)
    np.testing.assert_array_equal(got, np.stack([want, V[:, 1]], 1))


def test_derived_of_derived_and_the_mining_schema() -> None:
    derived = field(apply("/", '<FieldRef field="c"/>', C), "d") + field(apply("-", A, "<Constant>1</Constant>"), "c")
    mining = '<MiningField name="b"/><MiningField name="a" outliers="asExtremeValues" lowValue="9" highValue="29" '
    mining += 'missingValueReplacement="13"/>'
    fitted = sources.read(document(derived, mining)).inputs[None]
    assert fitted.features == ("b", "a")
    np.testing.assert_array_equal(fitted.transform()(V[:, ::-1], 1)[:, 1], (np.array([9, 20, 13, 29]) - 1) / 4)


def test_a_value_that_means_missing() -> None:
    held = '<DataField name="a"><Value value="-999" property="missing"/></DataField><DataField name="b"/>'
    got = sources.read(
        document(
            field(apply("-", A, C)), '<MiningField name="a" missingValueReplacement="5"/><MiningField name="b"/>', held
        )
    )
    assert got.inputs[None].transform()(np.array([[-999.0, 1.0]]), 1).tolist() == [[1.0, 1.0]]
    with pytest.raises(StatisticsError, match="no replacement"):
        sources.read(document(field(apply("-", A, C)), "", held))


def test_a_neural_network_with_its_target() -> None:
    inner = (
        "<NeuralInputs><NeuralInput id='0'>" + field(norm("b")) + "</NeuralInput><NeuralInput id='1'>" + field(norm("a"))
        + "</NeuralInput></NeuralInputs><NeuralOutputs><NeuralOutput outputNeuron='9'>"
        + field(norm("y")) + "</NeuralOutput></NeuralOutputs>"
    )  # fmt: skip
    found = sources.read(document("", inner=inner))
    assert found.inputs[None].features == ("b", "a")
    assert found.outputs[None].transform()(np.array([[20.0]]), 1).tolist() == [[1.0]]


REFUSED: dict[str, tuple[Any, str]] = {
    "a curve": (document(field(norm(points="".join(f'<LinearNorm orig="{i}" norm="{i * i}"/>' for i in range(3))))), "of 3 points"),
    "missing": (document(field(norm(more='outliers="asMissingValues"'))), "asMissingValues"),
    "not in order": (document(field(norm(points='<LinearNorm orig="2" norm="0"/><LinearNorm orig="1" norm="1"/>'))), "not in order"),
    "a function": (document(field(apply("ln", A))), "'ln' is not known"),
    "two fields": (document(field(apply("+", A, '<FieldRef field="b"/>'))), "one field and one constant"),
    "a constant over a field": (document(field(apply("/", C, A))), "constant / a field"),
    "a category": (document(field('<NormDiscrete field="a" value="x"/>')), "NormDiscrete is not known"),
    "twice": (document(field(norm()) + field(apply("+", A, C), "e")), "'a' is scaled in two ways"),
    "one name": (document(field(norm()) + field(apply("+", A, C))), "two derived fields are called 'd'"),
    "not listed": (document(field(norm("z"))), "'z' are scaled, and the MiningSchema does not list"),
    "itself": (document(field(apply("+", '<FieldRef field="e"/>', C), "d") + field(apply("+", '<FieldRef field="d"/>', C), "e") +
                        field(apply("+", '<FieldRef field="d"/>', C), "f")), "inside each other"),
    "nothing": (document(""), "scales none of the fields"),
    "no number": (document(field(apply("+", A, "<Constant>x</Constant>"))), "expected a number, got 'x'"),
    "infinite": (document(field(apply("+", A, "<Constant>1e999</Constant>"))), "finite"),
    "outliers": (document(field(norm()), '<MiningField name="a" outliers="asMissingValues"/>'), "takes outliers asMissingValues"),
    "no XML": (b'<PMML version="4.4"><', "broken XML"),
    "entities": (b'<!DOCTYPE PMML [<!ENTITY a "1">]><PMML>&a;</PMML>', "DTD or entities"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_scaler_is_refused(name: str) -> None:
    content, message = REFUSED[name]
    with pytest.raises(StatisticsError, match=message):
        sources.read(content)


def test_damage_is_refused_and_never_a_traceback() -> None:
    whole = document(field(norm()))
    refused, total = damaging.refused(damaging.cut(whole))
    assert refused == total
    refused, _ = damaging.refused(damaging.flipped(whole, 500))
    assert refused > 100
