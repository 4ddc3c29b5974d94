"""Spark ML folders: what Spark saves here and now is read, and gives what Spark's own transform gives, bit for bit."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxscale import sources
from onnxscale.errors import StatisticsError
from onnxscale.statistics import Fitted, Reading

arrow = pytest.importorskip("pyarrow", reason="needs pyarrow")
from pyarrow import parquet  # noqa: E402

from tests import damaging  # noqa: E402

ROWS = np.random.default_rng(7).normal(size=(60, 5)) * [1, 30, 1e5, 1e-4, 1] + [0.1, -5, 3e5, 0, 0]
ROWS[:, 4] = 5.3  # constant
ROWS = np.ascontiguousarray(ROWS)


def one(path: Path, **flags: object) -> Fitted:
    found = sources.read(path, Reading(**flags))
    assert list(found.inputs) == [None] and found.source.framework == "Spark ML" and not found.outputs
    return found.inputs[None]


# what Spark writes, by hand: for every day, without Java -------------------------------------------------------------


def dense(*values: float) -> dict[str, Any]:
    return {"type": 1, "size": None, "indices": None, "values": list(values)}


def sparse(size: int, held: dict[int, float]) -> dict[str, Any]:
    return {"type": 0, "size": size, "indices": list(held), "values": list(held.values())}


VECTOR = arrow.struct(
    [
        ("type", arrow.int8()),
        ("size", arrow.int32()),
        ("indices", arrow.list_(arrow.int32())),
        ("values", arrow.list_(arrow.float64())),
    ]
)


def save(path: Path, name: str, row: dict[str, Any] | None = None, version: str = "3.5.1", **params: Any) -> Path:
    (path / "metadata").mkdir(parents=True)
    package = "" if name == "PipelineModel" else "regression." if name.endswith("RegressionModel") else "feature."
    held = {"class": f"org.apache.spark.ml.{package}{name}", "timestamp": 1, "sparkVersion": version, "uid": path.name}
    (path / "metadata" / "part-00000").write_text(
        json.dumps({**held, "paramMap": params, "defaultParamMap": {}}) + "\n"
    )
    (path / "metadata" / "_SUCCESS").touch()
    if row is not None:
        (path / "data").mkdir()
        types = [(k, VECTOR if isinstance(v, dict) else arrow.float64()) for k, v in row.items()]
        table = arrow.Table.from_pylist([row], schema=arrow.schema(types))
        parquet.write_table(table, path / "data" / "part-00000-c000.snappy.parquet", compression="snappy")
        (path / "data" / "_SUCCESS").touch()
    return path


def pipeline(path: Path, *stages: tuple[str, dict[str, Any] | None, dict[str, Any]]) -> Path:
    uids = [f"{name}_{i:03x}" for i, (name, _, _) in enumerate(stages)]
    save(path, "PipelineModel", stageUids=uids)
    for i, (name, row, params) in enumerate(stages):
        save(path / "stages" / f"{i:0{len(str(len(stages)))}d}_{uids[i]}", name, row, **params)
    return path


IO = {"inputCol": "x", "outputCol": "y"}
BOTH = {"withMean": True, "withStd": True}
STD = ("StandardScalerModel", {"std": dense(2.0, 0.0, 0.3), "mean": dense(1.0, 5.0, -7.0)})
ASSEMBLED = ("VectorAssembler", None, {"inputCols": ["a", "b", "c"], "outputCol": "x"})


def test_a_constant_feature_becomes_zero(tmp_path: Path) -> None:
    fitted = one(save(tmp_path / "m", *STD, **IO, **BOTH))
    x = np.random.default_rng(0).normal(size=(9, 3))
    want = (x - [1.0, 5.0, -7.0]) * [1 / 2.0, 0.0, 1 / 0.3]
    np.testing.assert_array_equal(fitted.transform()(x, 1), want)


def test_sparse_vectors(tmp_path: Path) -> None:
    row = {"std": sparse(4, {2: 4.0, 0: 2.0}), "mean": sparse(4, {})}
    fitted = one(save(tmp_path / "m", "StandardScalerModel", row, **IO, withMean=False, withStd=True))
    assert fitted.transform()(np.ones((1, 4)), 1).tolist() == [[0.5, 0.0, 0.25, 0.0]]


OLD = {
    "MinMaxScalerModel": (
        {"originalMin": dense(1.0, 5.0), "originalMax": dense(4.1, 5.0)}, {"min": -1.0, "max": 2.0},
        lambda x: np.stack([(x[:, 0] - 1.0) / (4.1 - 1.0) * 3.0 - 1.0, np.full(len(x), 0.5 * 3.0 - 1.0)], 1),
    ),
    "MaxAbsScalerModel": ({"maxAbs": dense(4.9, 0.0)}, {}, lambda x: x / [4.9, 1.0]),
}  # fmt: skip


@pytest.mark.parametrize("name", OLD)
def test_spark_2_divides(name: str, tmp_path: Path) -> None:
    row, params, formula = OLD[name]
    x = np.random.default_rng(0).normal(size=(200, 2))
    old, new = (one(save(tmp_path / v, name, row, v, **IO, **params)).transform()(x, 1) for v in ("2.4.8", "3.0.0"))
    np.testing.assert_array_equal(old, formula(x))
    assert (old != new).any() and np.allclose(old, new, rtol=1e-14)


def test_a_pipeline_is_followed_by_its_columns(tmp_path: Path) -> None:
    path = pipeline(
        tmp_path / "p",
        ("StringIndexerModel", None, {"inputCol": "kind", "outputCol": "label"}),
        (
            "ImputerModel",
            {"a": 3.5, "c": -1.0},
            {"inputCols": ["c", "a"], "outputCols": ["ci", "ai"], "missingValue": -999.0},
        ),
        ("VectorAssembler", None, {"inputCols": ["ai", "b", "ci"], "outputCol": "x"}),
        (*STD, {**IO, **BOTH}),
        ("LinearRegressionModel", None, {"featuresCol": "y", "labelCol": "label"}),
    )
    fitted = one(path)
    assert fitted.features == ("a", "b", "c")
    assert any("LinearRegressionModel" in n for n in fitted.notes)
    x = np.array([[-999.0, 1.0, 2.0], [3.0, -999.0, -999.0]])
    filled = np.array([[3.5, 1.0, 2.0], [3.0, -999.0, -1.0]])
    np.testing.assert_array_equal(fitted.transform()(x, 1), (filled - [1, 5, -7]) * [1 / 2, 0, 1 / 0.3])


REFUSED: dict[str, tuple[list[Any], str]] = {
    "unknown stage in the way": (
        [ASSEMBLED, ("PCAModel", None, {"inputCol": "x", "outputCol": "p"}), (*STD, {**IO, "inputCol": "p", **BOTH})],
        "made by a PCAModel",
    ),
    "a stage that may do anything": ([("SQLTransformer", None, {"statement": "DROP"})], "SQLTransformer is not known"),
    "a width that does not fit": (
        [("VectorAssembler", None, {"inputCols": ["a", "v"], "outputCol": "x"}), (*STD, {**IO, **BOTH})],
        "'a', 'v' may be vectors",
    ),
    "two scaled columns": (
        [(*STD, {**IO, **BOTH}),
         (*STD, {"inputCol": "v", "outputCol": "w", **BOTH})],
        "'w', 'y'; name the one that is meant with --pick",
    ),
    "a predictor beside": (
        [(*STD, {**IO, **BOTH}), ("LinearRegressionModel", None, {"featuresCol": "x"})],
        "which no scaler of the pipeline makes",
    ),
    "nothing": ([("LinearRegressionModel", None, {"featuresCol": "x"})], "which no scaler"),
    "what a predictor makes": (
        [(*STD, {**IO, **BOTH}), ("KMeansRegressionModel", None, {"featuresCol": "y", "predictionCol": "k"}),
         ("VectorAssembler", None, {"inputCols": ["y", "k"], "outputCol": "z"})],
        "the column 'k', made by a KMeansRegressionModel",
    ),
    "a formula": (
        [("RFormulaModel", None, {"featuresCol": "x", "labelCol": "l"}), (*STD, {**IO, **BOTH})], "made by a RFormulaModel",
    ),
    "no scaler": ([("StringIndexerModel", None, {"inputCol": "a", "outputCol": "b"})],
                  "no scaler that is known; it has 'StringIndexerModel'"),
    "no default": ([(*STD, {**IO, "withMean": True})], "has no 'withStd'. Its default is True: accept it with --accept-defaults"),
    "widths that are not stored": (
        [("ImputerModel", {"a": 1.0}, {"inputCols": ["a"], "outputCols": ["ai"], "missingValue": "NaN"}),
         ("VectorAssembler", None, {"inputCols": ["ai", "b"], "outputCol": "x"})],
        "'b', whose widths are not stored",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_told_is_refused(name: str, tmp_path: Path) -> None:
    stages, message = REFUSED[name]
    with pytest.raises(StatisticsError, match=message):
        sources.read(pipeline(tmp_path / "p", *stages))


def test_a_column_that_is_taken_twice(tmp_path: Path) -> None:
    row = {"originalMin": dense(0.0, 1.0, 0.0), "originalMax": dense(2.0, 5.0, 2.0)}
    path = pipeline(
        tmp_path / "p",
        ("VectorAssembler", None, {"inputCols": ["a", "b", "a"], "outputCol": "x"}),
        ("MinMaxScalerModel", row, {**IO, "min": 0.0, "max": 1.0}),
    )
    fitted = one(path)
    assert fitted.features == ("a", "b") and fitted.data_min is None
    assert fitted.transform()(np.array([[1.0, 2.0]]), 1).tolist() == [[0.5, 0.25, 0.5]]


def test_what_may_be_accepted_is(tmp_path: Path) -> None:
    stages, _ = REFUSED["widths that are not stored"]
    assert one(pipeline(tmp_path / "p", *stages), accept_defaults=True).features == ("a", "b")
    stages, _ = REFUSED["two scaled columns"]
    assert one(pipeline(tmp_path / "q", *stages), pick="w").transform().shape == (3,)


def _two_rows(path: Path) -> None:
    shutil.copy(next((path / "data").glob("*.parquet")), path / "data" / "part-00001.parquet")


def _link(path: Path) -> None:
    file = next((path / "data").glob("*.parquet"))
    file.rename(path / "elsewhere")
    os.symlink(path / "elsewhere", file)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no data": (lambda p: shutil.rmtree(p / "data"), "data of the StandardScalerModel is missing"),
    "two rows": (_two_rows, "has 2 rows"),
    "a link": (_link, "data of the StandardScalerModel is missing"),
    "metadata of nothing": (lambda p: (p / "metadata" / "part-00000").write_text(""), "holds 0 lines"),
    "metadata of a list": (lambda p: (p / "metadata" / "part-00000").write_text("[1]"), "names no class"),
    "no JSON": (lambda p: (p / "metadata" / "part-00000").write_text("{1"), "broken JSON"),
    "not parquet": (lambda p: next((p / "data").glob("*.parquet")).write_bytes(b"PAR1xxPAR1"), "damaged parquet"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_folders_are_refused(name: str, tmp_path: Path) -> None:
    path = save(tmp_path / "m", *STD, **IO, **BOTH)
    BROKEN[name][0](path)
    with pytest.raises(StatisticsError, match=BROKEN[name][1]):
        sources.read(path)


@pytest.mark.slow
def test_damage_is_refused_and_never_a_traceback(tmp_path: Path) -> None:
    path = save(tmp_path / "m", *STD, **IO, **BOTH)
    for file in (next((path / "data").glob("*.parquet")), path / "metadata" / "part-00000"):
        whole = file.read_bytes()
        refused, total = damaging.refused([b"", *damaging.cut(whole, short=1)], file, path)
        assert refused == total
        refused, _ = damaging.refused(damaging.flipped(whole, 200), file, path)
        assert refused > 0  # a flipped bit of a value is another value: parquet has no checksum here
        file.write_bytes(whole)


BAD_VECTORS = {
    "dense of nothing": dense(),
    "nan": dense(1.0, float("nan"), 2.0),
    "negative": dense(1.0, -2.0, 3.0),
    "subnormal": dense(1.0, 5e-324, 2.0),
    "too wide": sparse(2_000_000_000, {0: 1.0}),
    "index outside": sparse(3, {3: 1.0}),
    "index below": sparse(3, {-1: 1.0}),
    "two types": {"type": 7, "size": 3, "indices": [], "values": [1.0, 2.0, 3.0]},
    "other width": dense(1.0, 2.0),
}


@pytest.mark.parametrize("name", BAD_VECTORS)
def test_bad_vectors_are_refused(name: str, tmp_path: Path) -> None:
    row = {"std": BAD_VECTORS[name], "mean": dense(1.0, 5.0, -7.0)}
    with pytest.raises(StatisticsError):
        sources.read(save(tmp_path / "m", "StandardScalerModel", row, **IO, **BOTH))


def test_a_pipeline_inside_itself_ends(tmp_path: Path) -> None:
    path = pipeline(tmp_path / "p", ("PipelineModel", None, {"stageUids": ["PipelineModel_000"]}))
    deepest = path / "stages" / "0_PipelineModel_000"
    for _ in range(12):
        shutil.copytree(
            path / "stages" / "0_PipelineModel_000" / "metadata",
            (inner := deepest / "stages" / "0_PipelineModel_000") / "metadata",
        )
        deepest = inner
    with pytest.raises(StatisticsError, match="inside each other"):
        sources.read(path)


# what Spark itself writes --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    pytest.importorskip("pyspark", reason="needs pyspark")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    from pyspark.sql import SparkSession

    made = (
        SparkSession.builder.master("local[1]").config("spark.driver.memory", "1g").config("spark.ui.enabled", "false")
    )
    session = made.config("spark.sql.shuffle.partitions", "1").getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


def framed(spark: Any, rows: np.ndarray, names: tuple[str, ...] = ()) -> Any:
    from pyspark.ml.linalg import Vectors

    if names:
        return spark.createDataFrame([tuple(map(float, r)) for r in rows], list(names))
    return spark.createDataFrame([(Vectors.dense(r.tolist()),) for r in rows], ["x"])


def answers(model: Any, data: Any, column: str = "y") -> np.ndarray:
    return np.array([r[column].toArray() for r in model.transform(data).select(column).collect()])


def estimators() -> dict[str, Any]:
    from pyspark.ml import feature as f

    return {
        "standard": f.StandardScaler(withMean=True, withStd=True), "std only": f.StandardScaler(),
        "mean only": f.StandardScaler(withMean=True, withStd=False),
        "minmax": f.MinMaxScaler(), "minmax -3 to 7.7": f.MinMaxScaler(min=-3.0, max=7.7), "maxabs": f.MaxAbsScaler(),
        "robust": f.RobustScaler(), "robust centered": f.RobustScaler(withCentering=True, lower=0.1, upper=0.8),
        "robust center only": f.RobustScaler(withCentering=True, withScaling=False),
    }  # fmt: skip


@pytest.mark.slow
def test_every_scaler_gives_what_spark_gives(spark: Any, tmp_path: Path) -> None:
    zeros = np.where(np.arange(5) == 4, 0.0, ROWS)  # MaxAbsScaler's own constant; and vectors that Spark stores sparse
    new = np.random.default_rng(1).normal(size=(300, 5)) * 100
    for name, estimator in estimators().items():
        for rows in (ROWS, zeros, zeros * [1, 0, 0, 0, 0]):
            model = estimator.setInputCol("x").setOutputCol("y").fit(framed(spark, rows))
            model.write().overwrite().save(str(tmp_path / "m"))
            fitted = one(tmp_path / "m")
            got = fitted.transform()(new, 1)
            np.testing.assert_array_equal(got, answers(model, framed(spark, new)), err_msg=name)


@pytest.mark.slow
def test_pipelines_give_what_spark_gives(spark: Any, tmp_path: Path) -> None:
    from pyspark.ml import Pipeline
    from pyspark.ml import feature as f
    from pyspark.ml.evaluation import RegressionEvaluator
    from pyspark.ml.regression import LinearRegression
    from pyspark.ml.tuning import CrossValidator, ParamGridBuilder

    rows = ROWS.copy()
    rows[3, 0] = rows[5, 1] = np.nan
    data = framed(spark, rows, ("a", "b", "c", "d", "e"))
    line = LinearRegression(featuresCol="y", labelCol="d")
    stages = [
        f.Imputer(inputCols=["b", "a"], outputCols=["bi", "ai"], strategy="median"),
        f.VectorAssembler(inputCols=["ai", "bi"], outputCol="ab"), f.RobustScaler(inputCol="ab", outputCol="abs", withCentering=True),
        f.VectorAssembler(inputCols=["e", "abs", "c"], outputCol="x"),
        f.StandardScaler(inputCol="x", outputCol="y", withMean=True), line,
    ]  # fmt: skip
    model = Pipeline(stages=stages).fit(data)
    model.write().save(str(tmp_path / "p"))
    fitted = one(tmp_path / "p")
    assert fitted.features == ("e", "a", "b", "c")
    np.testing.assert_array_equal(fitted.transform()(rows[:, [4, 0, 1, 2]], 1), answers(model, data))

    imputer = model.stages[0]
    imputer.write().save(str(tmp_path / "i"))
    alone = one(tmp_path / "i")
    got = np.array([[r.bi, r.ai] for r in imputer.transform(data).select("bi", "ai").collect()])
    np.testing.assert_array_equal(alone.transform()(rows[:, [1, 0]], 1), got)

    grid = ParamGridBuilder().addGrid(line.regParam, [0.1]).build()
    tuned = CrossValidator(
        estimator=Pipeline(stages=stages),
        estimatorParamMaps=grid,
        evaluator=RegressionEvaluator(labelCol="d"),
        numFolds=2,
    ).fit(data)
    tuned.write().save(str(tmp_path / "cv"))
    again = one(tmp_path / "cv").transform()(rows[:, [4, 0, 1, 2]], 1)
    np.testing.assert_array_equal(again, answers(tuned.bestModel, data))
