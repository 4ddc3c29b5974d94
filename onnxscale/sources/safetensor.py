"""safetensors: arrays by name, read by the safetensors library; of a whole state dict, the one group that is statistics."""

from __future__ import annotations

import struct

from onnxscale.errors import StatisticsError
from onnxscale.sources import groups
from onnxscale.statistics import Reading

HEADER = 16 << 20


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
    return groups.statistics(tensors, reading)
