"""What dill writes instead of pickle's own calls: arrays, and names of types that no module exports (dill/_dill.py:
_create_array, _load_type). Like every other call in a pickle they are decoded, and nothing is called."""

from __future__ import annotations

from typing import Any

from onnxscale.errors import StatisticsError
from onnxscale.sources import arrays
from onnxscale.sources.inert import Global, Held

# Python's types as dill names them, in its old way and its new one (dill/_dill.py, _reverse_typemap), those that a scaler may hold
TYPES = dict.fromkeys(("SliceType", "slice"), "slice") | dict.fromkeys(("TypeType", "type"), "type")


def array(arguments: tuple[Any, ...]) -> Held:
    """_create_array(numpy's _reconstruct, its arguments, state[, attributes]): an array and its state in one call."""
    if len(arguments) not in (3, 4) or not isinstance(arguments[1], tuple) or not arguments[1]:
        raise StatisticsError("an array is not written as dill does")
    make, (of, *_), state = arguments[:3]
    if not isinstance(make, Global) or make.key != ("numpy.core.multiarray", "_reconstruct"):
        raise StatisticsError("an array of dill's is not made as numpy does")
    if not isinstance(of, Global) or of.key != ("numpy", "ndarray"):
        raise StatisticsError(
            f"holds an array of the class {of if isinstance(of, Global) else 'unknown'}; only numpy.ndarray is read"
        )
    held = Held()
    arrays.set_array(held, state)
    return held


def kind(arguments: tuple[Any, ...]) -> Global:
    """_load_type(name): one of Python's types, by dill's name for it."""
    name = arguments[0] if len(arguments) == 1 else None
    if not isinstance(name, str) or name not in TYPES:
        raise StatisticsError(f"a type that dill calls {str(name)[:40]!r}, which no fitted scaler holds")
    return Global("builtins", TYPES[name])
