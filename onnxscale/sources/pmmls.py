"""PMML: the derived fields of a model's inputs (NormContinuous, and arithmetic with constants), a row of steps per field.

Formulas of PMML 4.4 (Transformations, MiningSchema): NormContinuous with the points (a1, b1), (a2, b2) is
(x - a1) / (a2 - a1) * (b2 - b1) + b1; an outlier is taken as it is, or as the point at that end. Features are in the order of
NeuralInputs, else of the MiningSchema.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError, names
from onnxscale.scalers import Steps
from onnxscale.scalers.values import numbers
from onnxscale.sources import xmls
from onnxscale.sources.blocks import Block, side_by_side
from onnxscale.statistics import Fitted, Reading, Source, Statistics
from onnxscale.step import Step, constant
from onnxscale.transform import Transform

DEPTH, FIELDS = 32, 20_000
_EXPRESSIONS = (
    "FieldRef",
    "Constant",
    "NormContinuous",
    "NormDiscrete",
    "Discretize",
    "MapValues",
    "Apply",
    "Aggregate",
    "Lag",
    "TextIndex",
)
# a function of x and a constant: (x, c) -> steps, (c, x) -> steps or None
_FUNCTIONS: dict[str, tuple[Callable[[float], tuple[Step, ...]], Callable[[float], tuple[Step, ...]] | None]] = {
    "+": (lambda c: _steps(("Add", c)), lambda c: _steps(("Add", c))),
    "*": (lambda c: _steps(("Mul", c)), lambda c: _steps(("Mul", c))),
    "-": (lambda c: _steps(("Sub", c)), lambda c: _steps(("Mul", -1.0), ("Add", c))),
    "/": (lambda c: _steps(("Div", c)), None),
    "min": (lambda c: _steps(("Min", c)), lambda c: _steps(("Min", c))),
    "max": (lambda c: _steps(("Max", c)), lambda c: _steps(("Max", c))),
}  # fmt: skip


@dataclass(frozen=True)
class Path:
    """field: the raw field that a derived one is made of, or "" for a constant. steps: from the one to the other."""

    field: str
    steps: tuple[Step, ...] = ()


def _steps(*parts: tuple[str, float]) -> tuple[Step, ...]:
    return tuple(Step(op, (constant([value]),)) for op, value in parts)


def _imputed(value: float, missing: float = np.nan) -> Step:
    return Step("Impute", (constant([value]), constant([missing]), constant([0.0])))


def sniff(data: bytes, name: str) -> bool:
    del name
    return xmls.root_name(data) == "PMML"


def read(data: bytes, reading: Reading) -> Statistics:
    """The scalers of the inputs, and of the target of a neural network. Raises StatisticsError naming the field."""
    del reading
    root = xmls.parse(data)
    for element in root.iter():
        element.tag = xmls.local(element)
    derived = _derived(root)
    inputs = [e for n in root.iter("NeuralInput") for e in n.iterfind("DerivedField")]
    targets = [e for n in root.iter("NeuralOutput") for e in n.iterfind("DerivedField")]
    used = {_reference(f) for e in derived.values() for f in _references(e)}
    leaves = inputs or [e for n, e in derived.items() if n not in used]
    paths = [_field(e, derived) for e in leaves]
    raw = [p.field for p in paths] if inputs else _fields(root)
    before = _treatments(root)
    made: dict[str, Path] = {}
    for path in paths:
        if path.field in made and made[path.field] != path:
            raise StatisticsError(
                f"the field {path.field!r} is scaled in two ways; which one the model takes cannot be told"
            )
        made[path.field] = path
    gone = [f for f in made if f not in raw]
    if gone:
        raise StatisticsError(
            f"the fields {names(gone)} are scaled, and the MiningSchema does not list them; it has {names(raw)}"
        )
    blocks = [Block(f, (i,), Transform((*before.get(f, ()), *made.get(f, Path(f)).steps))) for i, f in enumerate(raw)]
    if len(set(raw)) != len(raw) or not any(b.transform.steps for b in blocks):
        raise StatisticsError(f"scales none of the fields {names(raw)} (no DerivedField of a model's input)")
    transform = side_by_side(blocks, len(raw))
    note = "features in the order of the PMML, which leaves out those that its model does not use"
    outputs: dict[str | None, Fitted] = {}
    if targets:
        ends = [_field(e, derived) for e in targets]
        shown = Fitted(
            Steps(side_by_side([Block(p.field, (i,), Transform(p.steps)) for i, p in enumerate(ends)], len(ends)))
        )
        outputs = {None: shown} if shown.transform().steps else {}
    application = next(root.iter("Application"), None)
    version = "" if application is None else f"{application.get('name', '')} {application.get('version', '')}".strip()
    fitted = Fitted(Steps(transform), features=tuple(raw), notes=(note,))
    return Statistics({None: fitted}, outputs, Source("PMML", framework="PMML", version=version))


def _derived(root: Any) -> dict[str, Any]:
    """Derived fields by name, of the whole document. Raises StatisticsError for a name that means two things."""
    found: dict[str, Any] = {}
    for part in ("TransformationDictionary", "LocalTransformations"):
        for element in (e for p in root.iter(part) for e in p.iterfind("DerivedField")):
            name = str(element.get("name"))
            if name in found and _text(found[name]) != _text(element):
                raise StatisticsError(f"two derived fields are called {name!r}")
            found[name] = element
    if len(found) > FIELDS:
        raise StatisticsError(f"{len(found):,} derived fields; expected at most {FIELDS:,}")
    return found


def _text(element: Any) -> list[Any]:
    return [(e.tag, sorted(e.attrib.items()), (e.text or "").strip()) for e in element.iter()]


def _references(element: Any) -> list[Any]:
    return [
        e
        for e in element.iter()
        if e.tag in ("FieldRef", "NormContinuous", "NormDiscrete", "Discretize", "FieldColumnPair")
    ]


def _reference(element: Any) -> str:
    return str(element.get("field"))


def _fields(root: Any) -> list[str]:
    """The active fields of the model, in its order; of a document without a model, its data dictionary."""
    models = [e for e in root if e.find("MiningSchema") is not None]
    if len(models) > 1:
        raise StatisticsError(f"holds {len(models)} models; expected one")
    if not models:
        return [str(e.get("name")) for e in root.iterfind("./DataDictionary/DataField")]
    listed = models[0].iterfind("./MiningSchema/MiningField")
    return [str(e.get("name")) for e in listed if e.get("usageType", "active") == "active"]


def _treatments(root: Any) -> dict[str, tuple[Step, ...]]:
    """What the data dictionary and the MiningSchema do with a field before it is derived from."""
    missing: dict[str, list[float]] = {}
    for field in root.iterfind("./DataDictionary/DataField"):
        values = [v for v in field.iterfind("Value") if v.get("property") == "missing"]
        missing[str(field.get("name"))] = [_number(v.get("value"), str(field.get("name"))) for v in values]
    found: dict[str, tuple[Step, ...]] = {}
    for model in (e for e in root if e.find("MiningSchema") is not None):
        for field in model.iterfind("./MiningSchema/MiningField"):
            name = str(field.get("name"))
            steps: list[Step] = []
            if field.get("outliers", "asIs") == "asExtremeValues":
                low, high = (_number(field.get(k), name) for k in ("lowValue", "highValue"))
                steps += _steps(("Max", low), ("Min", high))
            elif field.get("outliers", "asIs") != "asIs":
                raise StatisticsError(
                    f"the field {name!r} takes outliers {field.get('outliers')}; only asIs and asExtremeValues are read"
                )
            if field.get("missingValueReplacement") is not None and field.get("usageType", "active") == "active":
                value = _number(field.get("missingValueReplacement"), name)
                steps = [*(_imputed(value, m) for m in missing.get(name, [])), _imputed(value), *steps]
            elif missing.get(name):
                raise StatisticsError(f"the field {name!r} has values that mean missing, and no replacement for them")
            found[name] = tuple(steps)
    return found


def _field(element: Any, derived: dict[str, Any]) -> Path:
    """The raw field that a DerivedField is made of, and the steps."""
    name = str(element.get("name") or element.get("displayName") or "of a NeuralInput")
    inner = [e for e in element if e.tag in _EXPRESSIONS]
    if len(inner) != 1:
        raise StatisticsError(f"the derived field {name[:60]!r} has {len(inner)} expressions; expected one")
    try:
        path = _path(inner[0], derived, 0)
    except StatisticsError as error:
        raise StatisticsError(f"the derived field {name[:60]!r}: {error}") from None
    if not path.field:
        raise StatisticsError(f"the derived field {name[:60]!r} is a constant")
    return path


def _path(element: Any, derived: dict[str, Any], depth: int) -> Path:
    if depth > DEPTH:
        raise StatisticsError(f"more than {DEPTH} expressions inside each other")
    if element.tag == "FieldRef":
        return _mapped(_of_field(_reference(element), derived, depth), element)
    if element.tag == "NormContinuous":
        before = _of_field(_reference(element), derived, depth)
        return _mapped(Path(before.field, (*before.steps, *_norm(element))), element)
    if element.tag == "Apply":
        return _mapped(_applied(element, derived, depth), element)
    if element.tag == "Constant":
        return Path("", _steps(("Add", _constant(element))))
    raise StatisticsError(f"{element.tag} is not known; known are FieldRef, Constant, NormContinuous and Apply")


def _of_field(name: str, derived: dict[str, Any], depth: int) -> Path:
    if name not in derived:
        return Path(name)
    inner = [e for e in derived[name] if e.tag in _EXPRESSIONS]
    if len(inner) != 1:
        raise StatisticsError(f"the derived field {name[:60]!r} has {len(inner)} expressions; expected one")
    return _path(inner[0], derived, depth + 1)


def _mapped(path: Path, element: Any) -> Path:
    given = element.get("mapMissingTo")
    return path if given is None else Path(path.field, (*path.steps, _imputed(_number(given, "mapMissingTo"))))


def _applied(element: Any, derived: dict[str, Any], depth: int) -> Path:
    function = str(element.get("function"))
    parts = [e for e in element if e.tag in _EXPRESSIONS]
    if function not in _FUNCTIONS:
        raise StatisticsError(f"the function {function[:40]!r} is not known; known are {names(_FUNCTIONS)}")
    fixed = [e.tag == "Constant" for e in parts]
    if len(parts) != 2 or sum(fixed) != 1:
        raise StatisticsError(f"{function!r} of {names(e.tag for e in parts)}; expected one field and one constant")
    value = _constant(parts[fixed.index(True)])
    make = _FUNCTIONS[function][int(fixed[0])]
    if make is None:
        raise StatisticsError(f"a constant {function} a field is not read")
    before = _path(parts[fixed.index(False)], derived, depth + 1)
    return Path(before.field, (*before.steps, *make(value)))


def _norm(element: Any) -> tuple[Step, ...]:
    """NormContinuous. Raises StatisticsError for a curve of more than two points."""
    points = [(_number(p.get("orig"), "orig"), _number(p.get("norm"), "norm")) for p in element.iterfind("LinearNorm")]
    if len(points) != 2:
        raise StatisticsError(
            f"a NormContinuous of {len(points)} points; two make a scaler, more a curve, which is not read"
        )
    (a1, b1), (a2, b2) = points
    if not a1 < a2:
        raise StatisticsError(f"the points of a NormContinuous are not in order: {a1!r}, then {a2!r}")
    outliers = element.get("outliers", "asIs")
    if outliers not in ("asIs", "asExtremeValues"):
        raise StatisticsError(f"outliers are taken {outliers}; only asIs and asExtremeValues are read")
    cut = _steps(("Max", a1), ("Min", a2)) if outliers == "asExtremeValues" else ()
    return (*cut, *_steps(("Sub", a1), ("Div", a2 - a1), ("Mul", b2 - b1), ("Add", b1)))


def _constant(element: Any) -> float:
    if element.get("missing") == "true":
        raise StatisticsError("a constant that is missing")
    return _number(element.text, "Constant")


def _number(text: str | None, what: str) -> float:
    try:
        return float(numbers(float(str(text)), what))
    except ValueError:
        raise StatisticsError(f"{what}: expected a number, got {str(text)[:60]!r}") from None
