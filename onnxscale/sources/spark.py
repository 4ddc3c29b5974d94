"""A saved scaler of Spark ML, or a PipelineModel whose stages are followed from column to column up to the predictor's.

The layout is that of ml/util/ReadWrite.scala: metadata/part-* has one line of JSON (class, sparkVersion, paramMap,
defaultParamMap), data/*.parquet one row, and the stages of a pipeline lie in stages/<number>_<uid>.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnxscale.errors import StatisticsError, names
from onnxscale.scalers import Steps
from onnxscale.sources import blocks, jsons, parquets
from onnxscale.sources.blocks import Block
from onnxscale.sources.picking import picked
from onnxscale.sources.sparkstages import SCALERS, Stage
from onnxscale.statistics import Fitted, Reading, Source, Statistics, alone
from onnxscale.step import Array, Step, constant
from onnxscale.transform import Transform

DEPTH, PARTS, LARGEST = 8, 500, 64 << 20
_TAKEN = (
    "featuresCol",
    "labelCol",
    "weightCol",
    "userCol",
    "itemCol",
    "censorCol",
    "offsetCol",
)  # what a predictor takes
PIPELINE, TUNED = "PipelineModel", ("CrossValidatorModel", "TrainValidationSplitModel")


@dataclass(frozen=True)
class Column:
    """A column of the data frame. features: (raw column, number in it) that it is made of, in order; None for a raw one whose
    width is not known yet. unsure: raw columns that were taken as one number each. unknown: the stage that made it, where that
    is not known here."""

    features: tuple[tuple[str, int], ...] | None
    transform: Transform = field(default_factory=Transform)
    unsure: tuple[str, ...] = ()
    unknown: str = ""
    low: Array | None = None
    high: Array | None = None


@dataclass
class Frame:
    """The columns that the stages so far have made, and what is to be said of them."""

    columns: dict[str, Column] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    predicts: dict[str, str] = field(default_factory=dict)  # column -> predictor
    notes: list[str] = field(default_factory=list)
    zero: list[str] = field(default_factory=list)
    together: tuple[str, ...] = ()  # the columns that one Imputer made
    ddof: int | None = None
    stages: int = 0

    def take(self, name: str, by: Stage) -> Column:
        self.used.add(name)
        found = self.columns.get(name, Column(None))
        if found.unknown:
            raise StatisticsError(
                f"the {by.name} takes the column {name!r}, made by a {found.unknown}, which is not a stage that is known; "
                f"known are {names([*SCALERS, 'VectorAssembler', PIPELINE])}"
            )
        return found


def is_spark(path: Path) -> bool:
    """Whether a folder is one that Spark ML saved."""
    return any(files(path / "metadata", "part-"))


def read(path: Path, reading: Reading, source: Source) -> Statistics:
    """The scaler of a saved model. Raises StatisticsError naming the stage, the column or the parameter."""
    frame = Frame()
    version = _run(path, reading, frame, 0)
    zero = "; ".join(dict.fromkeys(z for z in frame.zero if z))
    source = dataclasses.replace(source, framework="Spark ML", version=version, ddof=frame.ddof, zero_variance=zero)
    name = _last(frame, reading)
    return alone(_fitted(frame, name, reading), source)


def files(folder: Path, start: str, end: str = "") -> list[Path]:
    """The plain files of a folder; Spark's own marks (_SUCCESS, .crc) and links are none."""
    if not folder.is_dir() or folder.is_symlink():
        return []
    held = (p for p in folder.iterdir() if p.name.startswith(start) and p.name.endswith(end))
    return sorted(p for p in held if p.is_file() and not p.is_symlink() and not p.name.startswith((".", "_")))


def content(file: Path) -> bytes:
    try:
        if file.stat().st_size > LARGEST:
            raise StatisticsError(f"{file.name}: {file.stat().st_size:,} bytes; expected at most {LARGEST:,}")
        return file.read_bytes()
    except OSError as error:
        raise StatisticsError(f"{file.name}: cannot be read ({error.strerror})") from None


def _metadata(path: Path) -> Mapping[str, Any]:
    lines = [line for f in files(path / "metadata", "part-") for line in content(f).splitlines() if line.strip()]
    if len(lines) != 1:
        raise StatisticsError(
            f"{path.name}/metadata holds {len(lines)} lines; expected one of JSON, as Spark writes it"
        )
    held = jsons.read(lines[0])
    if not isinstance(held, Mapping) or not isinstance(held.get("class"), str):
        raise StatisticsError(f"{path.name}/metadata names no class")
    return held


def _stage(path: Path, reading: Reading, notes: list[str]) -> Stage:
    held = _metadata(path)
    params: dict[str, Any] = {}
    for key in ("defaultParamMap", "paramMap"):
        given = held.get(key, {})
        if not isinstance(given, Mapping):
            raise StatisticsError(f"{path.name}/metadata: {key} is no object")
        params |= given
    package, _, name = str(held["class"]).rpartition(".")
    return Stage(name, package, str(held.get("uid", "")), str(held.get("sparkVersion", "")), params, {}, reading, notes)


def _row(path: Path, name: str) -> Mapping[str, Any]:
    rows: list[Mapping[str, Any]] = []
    for file in files(path / "data", "", ".parquet"):
        try:
            table = parquets.table(content(file))
        except StatisticsError as error:
            raise StatisticsError(f"data/{file.name}: {error}") from None
        if table.rows + len(rows) > 1:
            raise StatisticsError(f"the data of the {name} has {table.rows + len(rows):,} rows; expected one")
        rows += [dict(zip(table.header, values, strict=True)) for values in zip(*table.columns, strict=True)]
    if len(rows) != 1:
        raise StatisticsError(f"the data of the {name} is missing; expected one row in data/*.parquet")
    return dict(rows[0])


def _run(path: Path, reading: Reading, frame: Frame, depth: int) -> str:
    """Follow the stages of a saved model; returns the version of Spark that wrote it."""
    frame.stages += 1
    if depth > DEPTH or frame.stages > PARTS:
        raise StatisticsError(f"more than {PARTS} stages, or more than {DEPTH} pipelines inside each other")
    stage = _stage(path, reading, frame.notes)
    ours = stage.package.startswith("org.apache.spark.ml")
    if ours and stage.name == PIPELINE:
        for part in _parts(path, stage):
            _run(part, reading, frame, depth + 1)
    elif ours and stage.name in TUNED:
        _run(path / "bestModel", reading, frame, depth + 1)
    elif ours and stage.name == "VectorAssembler":
        _assemble(stage, frame)
    elif ours and stage.name in SCALERS:
        _scale(dataclasses.replace(stage, row=_row(path, stage.name)), frame)
    elif "featuresCol" in stage.params and not (ours and stage.package.endswith(".feature")):
        frame.predicts[str(stage.params["featuresCol"])] = stage.name
        _unknown(stage, frame, [k for k in stage.params if k.endswith("Col") and k not in _TAKEN])
    else:
        outputs = [k for k in ("outputCol", "outputCols") if k in stage.params]
        _unknown(stage, frame, outputs or [k for k in ("featuresCol", "labelCol") if k in stage.params])
        if not outputs and "featuresCol" not in stage.params:
            raise StatisticsError(
                f"the stage {stage.name} is not known; known are {names([*SCALERS, 'VectorAssembler'])}"
            )
    return stage.version


def _parts(path: Path, stage: Stage) -> list[Path]:
    uids = stage.param("stageUids", None, list)
    held = {p.name: p for p in (path / "stages").iterdir()} if (path / "stages").is_dir() else {}
    found = []
    for i, uid in enumerate(uids):
        fits = [p for n, p in held.items() if n.partition("_")[0].isdecimal() and int(n.partition("_")[0]) == i]
        fits = [p for p in fits if p.name.partition("_")[2] == uid and p.is_dir() and not p.is_symlink()]
        if len(fits) != 1:
            raise StatisticsError(f"the stage {i} ({str(uid)[:60]}) of the pipeline is not in its folder stages/")
        found += fits
    return found


def _unknown(stage: Stage, frame: Frame, keys: list[str]) -> None:
    """A stage that is not known, or predicts: what it makes, named by these parameters, may not be taken by one that is known."""
    for key in keys:
        made = stage.params[key]
        for column in made if isinstance(made, list) else [made]:
            frame.columns[str(column)] = Column(None, unknown=stage.name)


def _assemble(stage: Stage, frame: Frame) -> None:
    """VectorAssembler: its columns side by side. A raw column is taken as one number; a scaler after it says whether that is so."""
    taken = [(name, frame.take(name, stage)) for name in stage.columns("inputCol", "inputCols")]
    frame.columns[str(stage.param("outputCol", None, str))] = _side_by_side(taken)


def _side_by_side(taken: Sequence[tuple[str, Column]]) -> Column:
    parts: list[Block] = []
    features: list[tuple[str, int]] = []
    unsure: list[str] = []
    for name, column in taken:
        own = ((name, 0),) if column.features is None else column.features
        parts.append(Block(name, tuple(range(len(features), len(features) + len(own))), column.transform))
        features += own
        unsure += [name] if column.features is None else column.unsure
    return Column(tuple(features), blocks.side_by_side(parts, len(features)), tuple(unsure))


def _scale(stage: Stage, frame: Frame) -> None:
    make, zero, ddof = SCALERS[stage.name]
    transform = make(stage)
    taken, made = stage.columns("inputCol", "inputCols"), stage.columns("outputCol", "outputCols")
    frame.zero.append(zero)
    frame.ddof = ddof if ddof is not None else frame.ddof
    if len(taken) != len(made) or len(set(taken)) != len(taken) or len(set(made)) != len(made):
        raise StatisticsError(f"the {stage.name} makes {names(made)} of {names(taken)}, which Spark would not write")
    if stage.name == "ImputerModel":
        (step,) = transform.steps
        for i, (name, column) in enumerate([(n, frame.take(n, stage)) for n in taken]):
            one = Transform((Step(step.op, tuple(v[i : i + 1] for v in step.operands), step.options),))
            frame.columns[made[i]] = Column(column.features or ((name, 0),), column.transform | one)
        frame.together = made
        return
    before = frame.take(taken[0], stage)
    if not transform.steps and not before.features:
        raise StatisticsError(f"the {stage.name} neither centers nor scales; there is nothing to bake")
    width = transform.shape[-1] if transform.shape else len(before.features or ())
    features = before.features or tuple((taken[0], i) for i in range(width))
    if not width or len(features) != width:
        doubt = f"; of these {names(before.unsure)} may be vectors, whose width is not stored" if before.unsure else ""
        raise StatisticsError(
            f"the {stage.name} is for {width} features, its column {taken[0]!r} is made of {len(features)}{doubt}"
        )
    low, high = (before.low, before.high)
    if stage.name == "MinMaxScalerModel" and not before.transform.steps:
        low, high = constant(stage.vector("originalMin")), constant(stage.vector("originalMax"))
    frame.columns[made[0]] = Column(features, before.transform | transform, low=low, high=high)


def _last(frame: Frame, reading: Reading) -> str:
    """The column that the model takes: a predictor's, else the one that no stage takes. Raises StatisticsError for several."""
    if frame.predicts:
        name, predictor = picked(frame.predicts, reading, "columns that predictors take")
        by = Stage(predictor, "", "", "", {}, {}, reading, frame.notes)
        if not frame.take(name, by).features:
            raise StatisticsError(f"the {predictor} takes the column {name!r}, which no scaler of the pipeline makes")
        frame.notes.append(f"the scalers before the {predictor}; the model is what the {predictor} was exported to")
        return name
    free = {n: c for n, c in frame.columns.items() if n not in frame.used and not c.unknown and c.transform.steps}
    if not free:
        made = sorted({c.unknown for c in frame.columns.values() if c.unknown})
        raise StatisticsError(
            f"no scaler that is known{f'; it has {names(made)}' if made else ''}: known are {names(SCALERS)}"
        )
    if len(free) > 1 and set(free) == set(frame.together) and not reading.pick:
        frame.columns[""] = _side_by_side([(n, free[n]) for n in frame.together])
        frame.notes.append(f"the columns {names(frame.together)} are taken as features in this order")
        return ""
    return picked(free, reading, "columns that were scaled")[0]


def _fitted(frame: Frame, name: str, reading: Reading) -> Fitted:
    column = frame.columns[name]
    notes = list(dict.fromkeys(frame.notes))
    if column.unsure:
        if not reading.accept_defaults:
            raise StatisticsError(
                f"the VectorAssembler takes {names(column.unsure)}, whose widths are not stored and no scaler says; if each is "
                f"one number, pass --accept-defaults"
            )
        notes.append(f"{names(column.unsure)} are taken as one number each (--accept-defaults)")
    assert column.features is not None
    raw = tuple(dict.fromkeys(column.features))
    transform = column.transform
    if raw != column.features:
        at = {f: i for i, f in enumerate(raw)}
        order = constant([at[f] for f in column.features])
        transform = Transform((Step("Select", (order,), {"features": len(raw)}),)) | transform
    counts = Counter(n for n, _ in raw)
    listed = tuple(n if counts[n] == 1 else f"{n}_{i}" for n, i in raw)
    low, high = (column.low, column.high) if raw == column.features else (None, None)
    return Fitted(Steps(transform), None, listed if len(counts) > 1 else (), (), low, high, tuple(notes))
