"""Arguments of OpenVINO's model conversion: --mean_values and --scale_values, (x - mean) / scale in the channel order of the model.

The grammar is that of openvino/tools/mo/utils/cli_parser.py: [1,2,3] or (1,2,3) for the only input, data[1,2,3],info[4] by
name; --scale is one number for all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from onnxscale.errors import StatisticsError, names
from onnxscale.scalers import Standard
from onnxscale.statistics import Fitted, Reading, Source, Statistics
from onnxscale.step import Array, constant

_FLAG = re.compile(
    r"--(mean[_-]values|scale[_-]values|scale|reverse[_-]input[_-]channels)(?:\s*=\s*|\s+|$)(\"[^\"]*\"|'[^']*'|[^\s-]\S*)?"
)
_GROUP = re.compile(r"(?:([^\[\](){},:\s][^\[\](){},:]*?)\s*:?\s*)?[\[(]([^\[\]()]*)[\])]")
_UNSET = {"", "none", "()", "[]", "{}", "unset", "not specified"}


def sniff(data: bytes, name: str) -> bool:
    del name
    return b"\0" not in data and re.search(rb"(^|\s)--(mean|scale)[_-]values[=\s]", data[:65536]) is not None


def read(data: bytes, reading: Reading) -> Statistics:
    """The scaler of a converter's command line. Raises StatisticsError."""
    del reading
    text = data.decode("utf-8", "replace").replace("\\\n", " ")
    given: dict[str, str] = {}
    for flag, value in _FLAG.findall(text):
        key = flag.replace("-", "_")
        if key in given:
            raise StatisticsError(f"--{key} stands twice; only one can be meant")
        given[key] = value.strip("\"'") or "true"
    return Statistics(dict(arguments(given)), {}, Source("OpenVINO arguments", framework="OpenVINO"))


def arguments(given: Mapping[str, str], inputs: Sequence[str] = ()) -> dict[str | None, Fitted]:
    """Input -> scaler. given: the arguments by name, with underscores. inputs: of the model, where they are known.

    Raises StatisticsError where the two speak of different inputs, or neither says anything.
    """
    means = groups(given.get("mean_values", ""), "mean_values")
    scales = groups(given.get("scale_values", ""), "scale_values")
    if given.get("scale", "").lower() not in _UNSET:
        if scales:
            raise StatisticsError("--scale and --scale_values are both given; only one can be meant")
        scales = {name: _numbers(given["scale"], "scale") for name in means or {None: []}}
    if not means and not scales:
        raise StatisticsError("neither mean_values nor scale_values: nothing is scaled")
    if means and scales and set(means) != set(scales) and (None in means or None in scales):
        raise StatisticsError("mean_values and scale_values do not name the same inputs")
    made: dict[str | None, Fitted] = {}
    notes = ("reverse_input_channels: the app's channels are in the reverse order",) if _on(given) else ()
    for name in [*means, *(n for n in scales if n not in means)]:
        mean, scale = means.get(name), scales.get(name)
        made[name] = Fitted(Standard(_one(mean), _one(scale)), notes=notes)
    if None in made and len(inputs) > 1:
        raise StatisticsError(f"the values name no input, and the model has {names(inputs)}")
    return made


def _one(values: list[float] | None) -> Array | None:
    """One value is for all channels."""
    return None if values is None else constant(values[0] if len(values) == 1 else values)


def _on(given: Mapping[str, str]) -> bool:
    return given.get("reverse_input_channels", "false").lower() in ("true", "1", "yes")


def groups(text: str, what: str) -> dict[str | None, list[float]]:
    """{input: values}; one group without a name is {None: values}. Raises StatisticsError for anything else."""
    if text.strip().lower() in _UNSET:
        return {}
    found: dict[str | None, list[float]] = {}
    for name, inner in _GROUP.findall(text):
        key = name.strip(" '\"") or None
        if key in found:
            raise StatisticsError(f"{what}: {text[:80]!r} has two groups for {key or 'an input without a name'}")
        found[key] = _numbers(inner, what)
    rest = _GROUP.sub("", text).strip(" ,{}[]()")
    if rest or not found or (None in found and len(found) > 1):
        raise StatisticsError(f"{what}: {text[:80]!r}; expected [1,2,3], or name[1,2,3] for several inputs")
    return found


def _numbers(text: str, what: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise StatisticsError(f"{what}: expected numbers, got {text[:60]!r}") from None
