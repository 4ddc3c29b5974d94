"""Pickles read, not executed: a symbolic machine over pickletools.genops.

A global is only a name. Calls and instances become inert records, except for the handful of constructors by which numpy
and the pickle protocol spell plain values (calls.py). What calls anything else is refused by its name. Source of the
opcodes: CPython's Lib/pickletools.py.
"""

from __future__ import annotations

import io
import pickletools
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from onnxscale.errors import StatisticsError
from onnxscale.sources.calls import Dtype, Unfilled, call, simple
from onnxscale.sources.records import Global, Record

MOST_OPCODES, MOST_NESTED = 200_000, 4
_OLD = re.compile(rb"c[\w.]+\n[\w.]+\n|\((dp|lp|i[\w.]+\n)|[\]}]q", re.ASCII)
_MARK = object()
Hook = Callable[["Machine", Record], object]


def sniff(data: bytes, name: str) -> bool:
    """Whether these bytes are a pickle: protocols 2 and later say so, earlier ones start like one and end with a stop."""
    del name
    return (data[:1] == b"\x80" and data[1:2] in b"\x02\x03\x04\x05") or (
        _OLD.match(data) is not None and data.rstrip(b"\n").endswith(b".")
    )


def read(data: bytes) -> object:
    """What the pickle holds, as plain values, arrays and records. Raises StatisticsError."""
    file = io.BytesIO(data)
    found = run(file)
    rest = len(data) - file.tell()
    if rest:
        raise StatisticsError(f"{rest:,} bytes follow the end of the pickle; expected one object and nothing else")
    return found


def run(file: io.BytesIO, built: Mapping[str, Hook] | None = None, depth: int = 0) -> Any:
    """One pickle from an open file, up to its stop. built: called for records of these classes once their state is set.

    Raises StatisticsError for what is damaged, too long, or calls something.
    """
    if depth > MOST_NESTED:
        raise StatisticsError("pickles are nested too deep in it")
    machine = Machine(file, built or {}, depth)
    try:
        for count, (opcode, arg, _) in enumerate(pickletools.genops(file)):
            if count > MOST_OPCODES:
                raise StatisticsError(f"a pickle of more than {MOST_OPCODES:,} opcodes; a scaler needs hundreds")
            step = _OPCODES.get(opcode.name)
            if step is None:
                raise StatisticsError(
                    f"the pickle uses {opcode.name}, which no file of one scaler needs; it is not read"
                )
            step(machine, arg)
    except StatisticsError:
        raise
    except (
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        struct.error,
        RecursionError,
    ) as error:
        raise StatisticsError(f"a damaged pickle ({type(error).__name__}: {str(error)[:100]})") from None
    if len(machine.stack) != 1:
        raise StatisticsError("a damaged pickle: it ends with more or less than one object")
    return machine.stack[0]


@dataclass(eq=False)
class Machine:
    """The state of the pickle machine."""

    file: io.BytesIO
    built: Mapping[str, Hook]
    depth: int
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def pop(self) -> Any:
        item = self.stack.pop()
        if item is _MARK:
            raise ValueError("a mark where a value belongs")
        return item

    def popped(self) -> list[Any]:
        """The items above the topmost mark, which goes too."""
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise ValueError("no mark")
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def remember(self, at: int) -> None:
        if self.stack[-1] is _MARK:
            raise ValueError("a mark is no value")
        self.memo[at] = self.stack[-1]


def _set_items(machine: Machine, items: list[Any]) -> None:
    target = machine.stack[-1]
    if len(items) % 2:
        raise ValueError("a key without a value")
    pairs = list(zip(items[::2], items[1::2], strict=True))
    if isinstance(target, Record):
        target.items += pairs
    elif isinstance(target, dict):
        target.update((simple(k), v) for k, v in pairs)
    else:
        raise TypeError("items of what is no dictionary")


def _append(machine: Machine, items: list[Any]) -> None:
    target = machine.stack[-1]
    if isinstance(target, Record):
        target.items += items
    elif isinstance(target, list):
        target += items
    else:
        raise TypeError("items of what is no list")


def _global(module: object, name: object) -> Global:
    if not isinstance(module, str) or not isinstance(name, str):
        raise TypeError("a global without a name")
    if "." in name or not re.fullmatch(r"[\w.]+", module) or not re.fullmatch(r"\w+", name):
        raise StatisticsError(
            f"names {f'{module}.{name}'[:80]!r}, which is no class or function of a module; it is not read"
        )
    return Global(module, name)


def _stack_global(machine: Machine, arg: object) -> None:
    name, module = machine.pop(), machine.pop()
    machine.stack.append(_global(module, name))


def _reduce(machine: Machine, arg: object) -> None:
    args, what = machine.pop(), machine.pop()
    if not isinstance(what, Global) or not isinstance(args, tuple):
        raise TypeError("a call of what is no function")
    machine.stack.append(call(what, args))


def _new(machine: Machine, arg: object) -> None:
    args, what = machine.pop(), machine.pop()
    if not isinstance(what, Global) or not isinstance(args, tuple):
        raise TypeError("an instance of what is no class")
    machine.stack.append(Record(what, args))


def _new_ex(machine: Machine, arg: object) -> None:
    keywords = machine.pop()
    if keywords:
        raise TypeError("an instance with keywords")
    _new(machine, arg)


def _old_instance(machine: Machine, arg: str) -> None:
    module, _, name = arg.partition(" ")
    raise StatisticsError(f"calls {module}.{name}; a scaler's file calls nothing, and it is not read")


def _build(machine: Machine, arg: object) -> None:
    state = machine.pop()
    target = machine.stack[-1]
    if isinstance(target, Unfilled):
        made = target.filled(state)
        machine.stack[-1] = made
        for at, item in machine.memo.items():
            if item is target:
                machine.memo[at] = made
        return
    if isinstance(target, Dtype):
        target.set_state(state)
        return
    if not isinstance(target, Record):
        raise TypeError("a state for what has none")
    if isinstance(state, tuple) and len(state) == 2 and all(s is None or isinstance(s, dict) for s in state):
        state = {**(state[0] or {}), **(state[1] or {})}
    target.state = state
    hook = machine.built.get(str(target.what))
    if hook is not None:
        made = hook(machine, target)
        machine.stack[-1] = made


def _push(value: Callable[[Any], Any]) -> Callable[[Machine, Any], None]:
    return lambda machine, arg: machine.stack.append(value(arg))


def _text(arg: Any) -> Any:
    return arg


def _tuple(count: int) -> Callable[[Machine, Any], None]:
    def step(machine: Machine, arg: object) -> None:
        items = tuple(machine.pop() for _ in range(count))[::-1]
        machine.stack.append(items)

    return step


def _collected(make: Callable[[list[Any]], Any]) -> Callable[[Machine, Any], None]:
    return lambda machine, arg: machine.stack.append(make(machine.popped()))


def _dict_of(items: list[Any]) -> dict[Any, Any]:
    return {simple(k): v for k, v in zip(items[::2], items[1::2], strict=True)}


def _add_items(machine: Machine, arg: object) -> None:
    items = machine.popped()
    target = machine.stack[-1]
    if not isinstance(target, set):
        raise TypeError("members of what is no set")
    target.update(map(simple, items))


def _nothing(machine: Machine, arg: object) -> None:
    """PROTO and FRAME say nothing of the values; STOP ends the loop by itself."""


def _drop(machine: Machine, arg: object) -> None:
    machine.stack.pop()


def _drop_marked(machine: Machine, arg: object) -> None:
    machine.popped()


_OPCODES: dict[str, Callable[[Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), _nothing),
    "MARK": _push(lambda arg: _MARK),
    "POP": _drop,
    "POP_MARK": _drop_marked,
    "DUP": lambda m, arg: m.stack.append(m.stack[-1]),
    "NONE": _push(lambda arg: None),
    "NEWTRUE": _push(lambda arg: True),
    "NEWFALSE": _push(lambda arg: False),
    **dict.fromkeys(("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"), _push(_text)),
    **dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING"), _push(_text)),
    **dict.fromkeys(("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"), _push(_text)),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"), _push(_text)),
    "BYTEARRAY8": _push(bytes),
    "EMPTY_LIST": _push(lambda arg: []),
    "EMPTY_DICT": _push(lambda arg: {}),
    "EMPTY_TUPLE": _push(lambda arg: ()),
    "EMPTY_SET": _push(lambda arg: set()),
    "LIST": _collected(list),
    "TUPLE": _collected(tuple),
    "DICT": _collected(_dict_of),
    "FROZENSET": _collected(lambda items: frozenset(map(simple, items))),
    **{f"TUPLE{n}": _tuple(n) for n in (1, 2, 3)},
    "APPEND": lambda m, arg: _append(m, [m.pop()]),
    "APPENDS": lambda m, arg: _append(m, m.popped()),
    "SETITEM": lambda m, arg: _set_items(m, [m.pop(), m.pop()][::-1]),
    "SETITEMS": lambda m, arg: _set_items(m, m.popped()),
    "ADDITEMS": _add_items,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), lambda m, arg: m.remember(arg)),
    "MEMOIZE": lambda m, arg: m.remember(len(m.memo)),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda m, arg: m.stack.append(m.memo[arg])),
    "GLOBAL": lambda m, arg: m.stack.append(_global(*arg.split(" ", 1))),
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "NEWOBJ": _new,
    "NEWOBJ_EX": _new_ex,
    "BUILD": _build,
    "INST": _old_instance,
    "OBJ": lambda m, arg: _old_instance(m, " ".join(map(str, m.popped()[:1]))),
}  # fmt: skip
