"""safetensors: arrays by name, read by the safetensors library; of a whole state dict, the one group that is statistics."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from onnxscale.errors import StatisticsError, names
from onnxscale.sources.keys import SYNONYMS
from onnxscale.sources.picking import picked
from onnxscale.statistics import Reading

HEADER = 16 << 20
_DIVIDES = {"std", "var", "scale", "data_max", "max", "max_abs", "iqr"}


def sniff(data: bytes, name: str) -> bool:
    """Whether these bytes start with the length of a JSON header and that header."""
    del name
    if len(data) < 10:
        return False
    (length,) = struct.unpack("<Q", data[:8])
    return (
        2 <= length <= min(len(data) - 8, HEADER)
        and data[8:9] == b"{"
        and data[7 + length : 8 + length].strip() in (b"}", b"")
    )


def read(data: bytes, reading: Reading) -> object:
    """{key: array}. Raises StatisticsError where nothing in it is statistics, or several groups are."""
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load
    except ImportError:
        raise StatisticsError("reading safetensors needs the library: pip install 'onnxscale[safetensors]'") from None
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise StatisticsError(
            f"a damaged safetensors file, or a type that numpy has not ({str(error)[:150]})"
        ) from None
    return statistics(tensors, reading)


def statistics(tensors: Mapping[str, Any], reading: Reading) -> dict[str, Any]:
    """The statistics among named tensors: those that share a prefix ("normalizer.mean", "normalizer.std")."""
    groups: dict[str, dict[str, Any]] = defaultdict(dict)
    for name, values in sorted(tensors.items()):  # the library gives them in an order of its own
        prefix, _, last = name.rpartition(".")
        if last in SYNONYMS:
            groups[prefix][last] = values
    found = {p: g for p, g in groups.items() if {SYNONYMS[k] for k in g} & _DIVIDES and len(g) > 1}
    if found:
        return picked(found, reading)[1]
    running = [n for n in tensors if n.rpartition(".")[2] == "running_var"]
    hint = (
        " (running_mean and running_var are of a BatchNormalization, whose eps is not stored here)" if running else ""
    )
    raise StatisticsError(
        f"holds no statistics among {names(sorted(tensors)[:6])}{hint}; expected one group such as 'mean' and 'std'"
    )
