"""The few calls by which pickles spell plain values, done here: numpy's arrays, scalars and data types, bytes, sets.

Source: numpy/_core/src/multiarray/methods.c (array_reduce), numpy/_core/numeric.py (_frombuffer), CPython's Lib/copyreg.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError
from onnxscale.sources.records import Global, Opaque, Record, decoded

_SIMPLE = (str, bytes, int, float, bool, type(None))


def simple(key: object) -> object:
    """A dictionary key or a member of a set: hashing anything nested could go deeper than the C stack."""
    if not isinstance(key, _SIMPLE):
        raise StatisticsError(f"a dictionary in it has a {type(key).__name__} as key; a scaler's have text and numbers")
    return key


@dataclass(eq=False)
class Dtype:
    """numpy.dtype(code), then a state that says the byte order."""

    code: str

    def set_state(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise TypeError("a data type with a strange state")
        plain = self.code.lstrip("<>|=")  # of a structured type only the size is kept: "V64"
        self.code = plain if plain.startswith("V") else f"{state[1]}{plain}"


@dataclass(eq=False)
class Unfilled:
    """An array before its state: (version, shape, dtype, Fortran order, data)."""

    def filled(self, state: object) -> object:
        if not isinstance(state, tuple) or len(state) != 5:
            raise TypeError("an array with a strange state")
        _, shape, dtype, fortran, data = state
        return array(data, dtype, shape, "F" if fortran else "C")


def array(data: object, dtype: object, shape: object, order: str) -> object:
    """An array of plain numbers or text; an array of objects as a list."""
    if not isinstance(dtype, Dtype) or not isinstance(shape, tuple):
        raise TypeError("an array without data type or shape")
    if isinstance(data, list):
        return list(data) if len(shape) == 1 else Opaque("an array of objects")
    if isinstance(data, str):
        data = data.encode("latin-1")
    if not isinstance(data, bytes | bytearray):
        raise TypeError("an array without bytes")
    return decoded(bytes(data), dtype.code, shape, order)


def dtype_code(dtype: object) -> str:
    """The code of a data type that a pickle holds, "O" for objects."""
    if not isinstance(dtype, Dtype):
        raise TypeError("no data type")
    return dtype.code


def _scalar(dtype: object, data: object = b"") -> object:
    found = array(data, dtype, (), "C")
    return found[()] if isinstance(found, np.ndarray) else found


def _encoded(text: str, encoding: str = "utf-8") -> bytes:
    if encoding not in ("latin1", "latin-1", "utf-8", "ascii") or not isinstance(text, str):
        raise TypeError("a strange encoding")
    return text.encode(encoding)


def _reconstructed(what: Global, base: object, state: object) -> Record:
    if not isinstance(what, Global) or not isinstance(base, Global):
        raise TypeError("an instance of what is no class")
    return Record(what)


def _unfilled(kind: Global, *_: object) -> Unfilled:
    if str(kind) not in ("numpy.ndarray",):
        raise StatisticsError(f"holds a {kind}, which is not a plain array; save the scaler with plain numpy arrays")
    return Unfilled()


def _from_buffer(data: object, dtype: object, shape: object, order: object = "C", *_: object) -> object:
    return array(data, dtype, shape, str(order))


def _members(kind: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda items=(): kind(map(simple, items))


_CORES = ("numpy.core", "numpy._core")
_CALLS: dict[str, Callable[..., Any]] = {
    **{f"{core}.multiarray._reconstruct": _unfilled for core in _CORES},
    **{f"{core}.multiarray.scalar": _scalar for core in _CORES},
    **{f"{core}.numeric._frombuffer": _from_buffer for core in _CORES},
    "numpy.dtype": lambda code, *_: Dtype(str(code)),
    "_codecs.encode": _encoded,
    **{f"{m}._reconstructor": _reconstructed for m in ("copyreg", "copy_reg")},
    "collections.OrderedDict": lambda pairs=(): {simple(k): v for k, v in pairs},
    **{f"{m}.set": _members(set) for m in ("builtins", "__builtin__")},
    **{f"{m}.frozenset": _members(frozenset) for m in ("builtins", "__builtin__")},
    **{f"{m}.bytearray": lambda text="", encoding="latin-1": _encoded(text, encoding) for m in ("builtins", "__builtin__")},
    **{f"{m}.slice": lambda *a: Record(Global("builtins", "slice"), a) for m in ("builtins", "__builtin__")},
}  # fmt: skip
_CLASS = re.compile(r"_{0,2}[A-Z]\w*|__?\w*_(ctor|unpickle)|__pyx_unpickle_\w+|__newobj__")
_INERT = ("sklearn", "numpy.random", "scipy", "xgboost", "lightgbm", "catboost", "pandas", "copyreg", "copy_reg")


def call(what: Global, args: tuple[Any, ...]) -> object:
    """What a call makes: a plain value where it spells one, an inert record where it makes an instance of a library of
    models. Raises StatisticsError, naming it, for everything else: a scaler's file has no other calls."""
    made = _CALLS.get(str(what))
    if made is not None:
        return made(*args)
    if what.name == "__newobj__" and what.module in ("copyreg", "copy_reg") and args and isinstance(args[0], Global):
        return Record(args[0], args[1:])
    known = any(what.module == root or what.module.startswith(root + ".") for root in _INERT)
    if not known or not _CLASS.fullmatch(what.name):
        raise StatisticsError(f"calls {what}; a scaler's file calls nothing of the kind, and it is not read")
    return Record(what, args, called=True)
