"""What does this model expect? Ranked hypotheses with their evidence, for a model that nobody baked.

A new cue is one file, a function from a Subject to Evidence, one row of CUES and one of weighing.TRUSTS.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxscale import data as datas
from onnxscale import graph, pipeline, ports, recognition, rows
from onnxscale.errors import ModelError, PlanError, names
from onnxscale.expecting.base import Evidence, Subject, columns, first_readers
from onnxscale.expecting.hypotheses import BY_NAME, Hypothesis
from onnxscale.expecting.leading import leading
from onnxscale.expecting.normalization import normalization
from onnxscale.expecting.outputs import outputs
from onnxscale.expecting.prototypes import prototypes
from onnxscale.expecting.quantized import quantized
from onnxscale.expecting.saying import INTEGERS, saying, sort_of
from onnxscale.expecting.thresholds import thresholds
from onnxscale.expecting.weighing import SURE, TELLS, TELLS_SCALED, favour, weighed
from onnxscale.expecting.weights import weights
from onnxscale.graph import InputSpec
from onnxscale.modelfile import ModelFile
from onnxscale.pipeline import Model
from onnxscale.rows import Slot
from onnxscale.spaces import worded
from onnxscale.step import Array

Cue = Callable[[Subject], Iterator[Evidence]]
CUES: tuple[Cue, ...] = (saying, leading, normalization, quantized, thresholds, prototypes, weights, outputs)

BAKED, LIKELY, SCALED, CANNOT_TELL, CODES = "baked", "likely", "scaled", "cannot tell", "codes"
UNSCALED = ("raw", "pixels")
ROWS, MOST_ROWS = (".npy", ".npz", ".csv", ".parquet"), 20_000
LOOKUPS = ("Gather", "OneHot", "OneHotEncoder", "LabelEncoder", "CategoryMapper", "TfIdfVectorizer", "StringNormalizer")


@dataclass(frozen=True)
class Ranked:
    """A hypothesis. name: of hypotheses.py. probability: see docs/expecting.md for how often such a claim was right.
    pro, con: what the cues say for it and against it."""

    name: str
    says: str
    feed: str
    probability: float
    pro: tuple[str, ...]
    con: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """What one input expects. verdict: "baked" (its record says so), "likely" (the first of ranked), "scaled" (not raw,
    but which scaler cannot be told), "cannot tell", or "codes" (ids or text, no quantity).
    ranked: the most probable first; () for codes. given: what your rows look like themselves, or ""."""

    input: InputSpec
    sort: str
    verdict: str
    reason: str
    ranked: tuple[Ranked, ...]
    evidence: tuple[Evidence, ...]
    given: str = ""

    @property
    def answered(self) -> bool:
        return self.verdict != CANNOT_TELL


@dataclass(frozen=True)
class Expectation:
    """An answer for each input of a model."""

    model: str
    answers: tuple[Answer, ...]
    notes: tuple[str, ...] = ()

    @property
    def answered(self) -> bool:
        """Whether every input has an answer."""
        return all(a.answered for a in self.answers)


def _silent(count: int) -> None:
    del count


def expect(
    model: Model, data: object = None, *, input: str = "", seconds: float = 60, tell: Callable[[int], None] = _silent
) -> Expectation:
    """What the inputs of a model expect: from its record, else from its nodes, constants and thresholds, and how it answers.

    data: rows of the user's, or None: an npy, npz, csv or parquet file, an array, a dict of arrays by input name; of a model with one
    input also a folder, pattern, URL, Arrow or JSON lines file, or a frame. input: only
    this one. seconds: that onnxruntime may take for one run; it runs in a process of its own. tell: called with 1 for each cue.
    Raises ModelError for a model that cannot be read, PlanError for rows that do not fit it.
    """
    m = pipeline.opened(model)
    specs = [s for s in graph.inputs(m.skeleton) if input in ("", s.name)]
    if not specs:
        known = names(s.name for s in graph.inputs(m.skeleton))
        raise ModelError(
            f"{m.name}: no input {input!r}; its inputs are {known}" if input else f"{m.name}: has no input"
        )
    fed = _rows(m, data)
    held = {p.name: p for p in ports.of_model(m) if p.role == "input"}
    return Expectation(m.name, tuple(_answer(m, s, held.get(s.name), fed, seconds, tell) for s in specs))


def _rows(m: ModelFile, data: object) -> Mapping[str, Array]:
    """Rows by input."""
    specs = [s for s in graph.inputs(m.skeleton) if s.dtype in (*graph.FLOATS, *INTEGERS)]
    if data is None:
        return {}
    own = isinstance(data, str | os.PathLike) and os.path.isfile(data) and str(data).endswith(ROWS)
    if own:  # several inputs may have arrays of their own there, of any rank
        slots = [Slot(s, "float64" if s.dtype in graph.FLOATS else s.dtype) for s in specs]
        arrays = rows.read_slots(data, slots)  # type: ignore[arg-type]
    elif isinstance(data, Mapping) and all(isinstance(v, np.ndarray) for v in data.values()):
        arrays = {str(k): np.asarray(v) for k, v in data.items()}
    elif len(specs) != 1:
        raise PlanError(
            f"one table given, and the inputs are {names(s.name for s in specs)}; give a dict by their names"
        )
    else:
        arrays = {specs[0].name: data if isinstance(data, np.ndarray) else _table(data)}
    for s in specs:
        if s.name not in arrays or s.shape is None:
            continue
        got = arrays[s.name].shape
        if len(got) != len(s.shape) or any(
            isinstance(d, int) and d != g for d, g in zip(s.shape[1:], got[1:], strict=True)
        ):
            raise PlanError(
                f"the rows have the shape {got}, input {s.prose()} takes other ones; are there columns too many?"
            )
    return arrays


def _table(data: object) -> Array:
    """The first rows of anything that onnxscale.data reads: a folder, a pattern, a URL, a frame, batches."""
    taken, count = list[Array](), 0
    for values in datas.opened(data).arrays():
        taken.append(values)
        count += len(values)
        if count >= MOST_ROWS:
            break
    if not count:
        raise PlanError("the rows are empty; expected at least one")
    return np.concatenate(taken)[:MOST_ROWS]


def _answer(
    m: ModelFile,
    spec: InputSpec,
    port: ports.Port | None,
    fed: Mapping[str, Array],
    seconds: float,
    tell: Callable[[int], None],
) -> Answer:
    if port is not None and port.how == "baked":
        return _baked(spec, port)
    first = first_readers(m, spec.name)
    sort = sort_of(spec.name, spec.shape)
    coded = next((f.node.op_type for f in first if f.node.op_type in LOOKUPS), "")
    if spec.dtype not in (*graph.FLOATS, *INTEGERS) or (coded and spec.dtype in INTEGERS):
        what = f"it is looked up by {coded}" if coded else f"it holds {spec.dtype}"
        return Answer(spec, sort, CODES, f"no quantity: {what}", (), ())
    lead = recognition.leading(m, spec.name)
    behind = first_readers(m, lead.seam)
    data = fed.get(spec.name)
    others = {n: v for n, v in fed.items() if n != spec.name}
    subject = Subject(m, spec, sort, lead, behind, data, others, seconds)
    evidence: tuple[Evidence, ...] = ()
    for cue in CUES:
        evidence += _of_cue(cue, subject)
        tell(1)
    ranked = tuple(_ranked(BY_NAME[n], p, evidence, sort) for n, p in weighed(sort, evidence).items())
    telling = [e for e in evidence if e.scores]
    scaled = sum(r.probability for r in ranked if r.name not in UNSCALED)
    sure = (LIKELY, ranked[0].probability - TELLS), (SCALED, scaled - TELLS_SCALED)
    verdict = next((v for v, p in sure if telling and p >= 0), CANNOT_TELL)
    if not telling:
        reason = "nothing in the model says what its input is like; only how often such inputs are scaled is known"
    elif verdict == CANNOT_TELL:
        reason = f"{names(r.name for r in ranked[:2])} explain what is seen about as well"
    elif verdict == SCALED:
        reason = f"scaled values, not raw ones ({scaled:.0%}); which scaler made them cannot be told"
    else:
        reason = f"{ranked[0].says} ({ranked[0].probability:.0%})"
    return Answer(spec, sort, verdict, reason, ranked, evidence, _looks(subject))


def _of_cue(cue: Cue, subject: Subject) -> tuple[Evidence, ...]:
    """What a cue finds. Constants that do not fit each other, or are text where numbers belong, are no evidence, and it is said."""
    try:
        return tuple(cue(subject))
    except (ValueError, LookupError, ArithmeticError, TypeError) as error:
        what = f"not weighed, the model's constants do not fit each other ({type(error).__name__}: {str(error)[:100]})"
        return (Evidence(cue.__name__, what, {}),)


def _baked(spec: InputSpec, port: ports.Port) -> Answer:
    raw = BY_NAME["raw"]
    inside = "a converted transformer" if port.inside.transform is None else worded(port.inside.transform)
    given = "" if not port.outside.transform or not port.outside.transform.steps else f", given {port.outside.prose()}"
    said = f"its record says that the model scales raw values itself: {inside}{given}"
    row = Ranked("raw", raw.says, raw.feed, SURE, (said,), ())
    return Answer(
        spec, sort_of(spec.name, spec.shape), BAKED, said, (row,), (Evidence("record", said, {"raw": 0.0}, True),)
    )


def _ranked(h: Hypothesis, probability: float, evidence: Sequence[Evidence], sort: str) -> Ranked:
    telling = [(e, favour(e, sort)[h.name]) for e in evidence if e.scores]
    pro = tuple(f"{e.cue}: {e.says}" for e, f in telling if f > -0.7)
    con = tuple(f"{e.cue}: {e.says}" for e, f in telling if f < -2)
    return Ranked(h.name, h.says, h.feed, probability, pro, con)


def _looks(subject: Subject) -> str:
    """What the user's rows look like by themselves."""
    if subject.data is None or not subject.data.size:
        return ""
    flat = columns(subject.data.astype(np.float64), subject.spec)
    with np.errstate(invalid="ignore"):
        mean, std, low, high = np.nanmean(flat, 0), np.nanstd(flat, 0), float(np.nanmin(flat)), float(np.nanmax(flat))
    if subject.sort == "picture" and high > 2 and low >= 0:
        return "pixels"
    if (np.abs(mean) < 0.25).mean() > 0.9 and ((std > 0.6) & (std < 1.6)).mean() > 0.9:
        return "standard"
    if low >= -1e-6 and high <= 1 + 1e-6:
        return "unit"
    return "symmetric" if low >= -1 - 1e-6 and high <= 1 + 1e-6 else "raw"


__all__ = ["CUES", "Answer", "Evidence", "Expectation", "Ranked", "expect"]
