"""What people save together with a scaler: {"scaler": ..., "model": ..., "features": [...]}, (scaler, "v1"), [for x, for y]. Of the
objects inside, the only one that can scale inputs, or the one that --pick names: by its key, or by its place from 0."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from onnxscale.errors import StatisticsError, names
from onnxscale.sources.attributes import predicts
from onnxscale.sources.groups import DIVIDES
from onnxscale.sources.inert import Estimator, Global, Odd
from onnxscale.sources.keys import SYNONYMS
from onnxscale.sources.picking import picked
from onnxscale.sources.sklearns import look
from onnxscale.statistics import Reading, Statistics

DEPTH, ITEMS = 4, 1000
LABELS = ("LabelEncoder", "LabelBinarizer", "MultiLabelBinarizer")  # of the answers, never of the inputs


def scaler(root: Any, reading: Reading) -> tuple[Estimator, tuple[str, ...]] | None:
    """(the estimator that is meant, the names of features that stand beside it); None where `root` holds no estimator.

    Raises StatisticsError where several could be meant and none is picked.
    """
    if not isinstance(root, Mapping | list | tuple):
        return None
    inside = dict(_inside(root, "", 0))
    objects = {k: look(v) or v for k, v in inside.items() if isinstance(v, Estimator)}
    if not objects:
        return None
    meant = {k: v for k, v in objects.items() if not predicts(v) and v.name not in LABELS}
    if not meant:
        said = ", ".join(f"{k!r} is a {v.name}" for k, v in list(objects.items())[:4])
        raise StatisticsError(f"holds {_kind(root)} in which nothing scales: {said}")
    beside = [k for k in inside if SYNONYMS.get(k.rpartition(".")[2]) in DIVIDES | {"mean"}]
    if beside and not reading.pick:
        raise StatisticsError(
            f"holds {names(meant)} and beside it {names(beside)}: which of them scales the model cannot be told; name the object "
            f"with --pick, or save the statistics alone"
        )
    _, found = picked(meant, reading, "objects that could scale the model")
    return found, _features(root)


def named(read: Statistics, features: tuple[str, ...]) -> Statistics:
    """The statistics with these names for the features of the input, where it has none and as many."""
    fitted = read.inputs.get(None)
    if fitted is None or fitted.features or not features or fitted.transform().shape[-1:] != (len(features),):
        return read
    return dataclasses.replace(read, inputs={**read.inputs, None: dataclasses.replace(fitted, features=features)})


def _inside(root: Any, prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    pairs = root.items() if isinstance(root, Mapping) else enumerate(root)
    for count, (key, value) in enumerate(pairs):
        if count >= ITEMS:
            return
        name = f"{prefix}{key}"
        if isinstance(value, Mapping | list | tuple) and depth < DEPTH and not _plain(value):
            yield from _inside(value, f"{name}.", depth + 1)
        else:
            yield name, value


def _plain(value: Any) -> bool:
    """Whether this is a list of plain values, such as names."""
    return not isinstance(value, Mapping) and all(v is None or isinstance(v, str | int | float) for v in value)


def _features(root: Any) -> tuple[str, ...]:
    listed = [v for k, v in root.items() if SYNONYMS.get(str(k)) == "features"] if isinstance(root, Mapping) else []
    found = listed[0] if len(listed) == 1 else ()
    return tuple(found) if isinstance(found, list | tuple) and all(isinstance(v, str) for v in found) else ()


def _kind(root: Any) -> str:
    return "a dictionary" if isinstance(root, Mapping) else f"a {type(root).__name__}"


def closed(root: Mapping[Any, Any]) -> None:
    """Raises StatisticsError for a value among plain statistics that nothing here reads."""
    odd = {str(k)[:40]: v for k, v in root.items() if isinstance(v, Odd | Global)}
    if odd:
        said = ", ".join(
            f"{k!r} is {f'the name {v}' if isinstance(v, Global) else v}" for k, v in list(odd.items())[:4]
        )
        raise StatisticsError(
            f"holds a dictionary of {names(str(k)[:40] for k in root)}, where {said}, which is no statistic"
        )
