"""What a call inside a pickle stands for. A short table turns what numpy, joblib and Python write into plain data; any other
call stays a record, and one of Python's or numpy's own functions outside the table is refused by name. Nothing is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from onnxscale.errors import StatisticsError
from onnxscale.sources import arrays, dills, storages
from onnxscale.sources.inert import Global, Held, Odd, Record, refused


def named(module: Any, name: Any) -> Global:
    """The name that these two strings make. Raises StatisticsError where they are none: dots in the name reach into objects."""
    if not isinstance(module, str) or not isinstance(name, str) or not name:
        raise StatisticsError("a global without a name")
    if "." in name or not all(part.isidentifier() for part in (*module.split("."), name.strip("<>"))):
        raise StatisticsError(f"the global {f'{module}.{name}'[:120]!r}, which is no name of a class or function")
    return Global(module, name)


def instance(of: Any, arguments: Any) -> Record:
    """A record of an object of the class `of`."""
    if not isinstance(of, Global) or not isinstance(arguments, tuple):
        raise StatisticsError("makes an object of something that is no class")
    if of.key in OLD:
        raise StatisticsError(
            f"{of} keeps its arrays in files beside this one, as joblib before 0.10 did; save it again"
        )
    if of.standard and not _closed(of) and of.key != WRAPPER:
        raise StatisticsError(refused(of))
    return Record(of, arguments)


def _closed(of: Global) -> bool:
    """Whether this makes plain data that nothing here reads: Python's containers, numpy's random states."""
    return of.key in DATA or (
        of.module.startswith("numpy.random.") and of.name.startswith(("__", "MT19937", "SeedSequence"))
    )


def called(of: Any, arguments: Any) -> Any:
    """What calling `of` stands for: plain data where the table knows it, else a record. Nothing is called."""
    if not isinstance(of, Global) or not isinstance(arguments, tuple):
        raise StatisticsError(
            f"calls {'an object of ' + str(of.of) if isinstance(of, Record) else 'something that is no name'}"
        )
    row = PLAIN.get(of.key)
    if row is not None:
        return row(arguments)
    if of.standard and not _closed(of):
        raise StatisticsError(refused(of))
    return Record(of, arguments, called=True)


def _reconstruct(arguments: tuple[Any, ...]) -> Held:
    of = arguments[0] if arguments else None
    if not isinstance(of, Global) or of.key != ("numpy", "ndarray"):
        raise StatisticsError(
            f"holds an array of the class {of if isinstance(of, Global) else 'unknown'}; only numpy.ndarray is read"
        )
    return Held()


def _reconstructor(arguments: tuple[Any, ...]) -> Any:
    return instance(arguments[0] if arguments else None, tuple(arguments[2:]))


def _encoded(arguments: tuple[Any, ...]) -> bytes:
    if len(arguments) != 2 or arguments[1] not in ("latin1", "latin-1") or not isinstance(arguments[0], str):
        raise StatisticsError("bytes are not written as Python does")
    return arguments[0].encode("latin1")


def _bytes(arguments: tuple[Any, ...]) -> bytes:
    if not arguments:
        return b""
    if isinstance(arguments[0], str):
        return _encoded((arguments[0], arguments[1] if len(arguments) > 1 else "latin1"))
    if len(arguments) == 1 and isinstance(arguments[0], bytes | bytearray):
        return bytes(arguments[0])
    raise StatisticsError("bytes are not written as Python does")


def _ufunc(arguments: tuple[Any, ...]) -> Global:
    return named(*arguments[:2]) if len(arguments) == 2 else named(None, None)


OLD = {("joblib.numpy_pickle", "NDArrayWrapper"), ("joblib.numpy_pickle", "ZNDArrayWrapper")}
WRAPPER = ("joblib.numpy_pickle", "NumpyArrayWrapper")
# functions that write plain data, and what they give
PLAIN: dict[tuple[str, str], Callable[[tuple[Any, ...]], Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): arrays.scalar,
    ("numpy.core.numeric", "_frombuffer"): arrays.from_buffer,
    ("numpy.core", "_ufunc_reconstruct"): _ufunc,
    ("numpy", "dtype"): arrays.dtype,
    ("_codecs", "encode"): _encoded,
    ("builtins", "bytes"): _bytes,
    ("builtins", "bytearray"): _bytes,
    ("copyreg", "_reconstructor"): _reconstructor,
    ("copyreg", "__newobj__"): lambda arguments: instance(arguments[0] if arguments else None, tuple(arguments[1:])),
    ("collections", "OrderedDict"): lambda arguments: {},
    ("collections", "defaultdict"): lambda arguments: {},
    ("dill._dill", "_create_array"): dills.array,
    ("dill._dill", "_load_type"): dills.kind,
    ("torch._utils", "_rebuild_tensor_v2"): storages.tensor,
    ("torch._utils", "_rebuild_tensor_v3"): storages.tensor,
    ("torch._utils", "_rebuild_parameter"): storages.parameter,
    ("torch.storage", "_load_from_bytes"): storages.packed,
    ("torch", "Size"): storages.size,
    ("torch", "device"): lambda arguments: Odd("device"),
}
# classes of plain data that stay closed records
DATA = {
    *(("builtins", n) for n in ("set", "frozenset", "slice", "complex", "range", "object", "list", "dict", "tuple")),
    *(("collections", n) for n in ("deque", "Counter")),
    *(("datetime", n) for n in ("datetime", "date", "timedelta", "timezone")),
    ("decimal", "Decimal"), ("uuid", "UUID"), ("numpy.ma.core", "_mareconstruct"),  # the last: results of a search over parameters
}  # fmt: skip
