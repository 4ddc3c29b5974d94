"""Pickle, read and never executed: a symbolic machine over the opcodes that pickletools lists.

A global is only a name. REDUCE, NEWOBJ, OBJ, INST and BUILD make inert records; a short table decodes what numpy, joblib and
Python use to write plain data. There is no Unpickler here, no import, no call and no attribute of what a file names.
Bounded: number of opcodes, bytes, size of integers. What follows the pickle is refused.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from onnxscale.errors import StatisticsError
from onnxscale.sources import arrays
from onnxscale.sources.calls import WRAPPER, called, instance, named
from onnxscale.sources.inert import Document, Global, Held, Odd, Record
from onnxscale.sources.pickled import OPCODES, is_pickle

BITS = 256
_JOBLIB = b"joblib.numpy_pickle"


def sniff(data: bytes, name: str) -> bool:
    del name
    return is_pickle(data)


def sniff_joblib(data: bytes, name: str) -> bool:
    return sniff(data, name) and _JOBLIB in data


def read(data: bytes, persistent: Callable[[Any], Any] | None = None) -> Document:
    """What the pickle holds. persistent: what a persistent id stands for, where the format has them.

    Raises StatisticsError naming what is refused and where it stands.
    """
    stream = io.BytesIO(data)
    machine = Machine(stream, len(data), persistent=persistent)
    found = machine.run()
    if stream.tell() != len(data):
        raise StatisticsError(f"{len(data) - stream.tell():,} bytes follow the pickle; a scaler's file ends with it")
    return Document(found)


@dataclass(eq=False)
class Machine:
    """The stack, marks and memo of one pickle. inner: a pickle inside an array of joblib's. persistent: as in `read`."""

    stream: io.BytesIO
    size: int
    left: int = OPCODES
    inner: bool = False
    persistent: Callable[[Any], Any] | None = None
    stack: list[Any] = field(default_factory=list)
    marks: list[list[Any]] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def run(self) -> Any:
        at = 0
        try:
            for opcode, argument, position in pickletools.genops(self.stream):
                at = position or 0
                self.left -= 1
                if self.left < 0:
                    raise StatisticsError(f"a pickle of more than {OPCODES:,} opcodes; save the scaler alone")
                if opcode.name == "STOP":
                    break
                step = STEPS.get(opcode.name)
                if step is None:
                    raise StatisticsError(f"the opcode {opcode.name}, which no scaler's file has")
                step(self, argument)
            if self.marks or len(self.stack) != 1:
                raise StatisticsError("the pickle ends with an unfinished object")
            return self.stack[0]
        except StatisticsError as error:
            if self.inner:
                raise
            raise StatisticsError(f"a pickle that is not read, at byte {at:,}: {error}") from None
        except (ValueError, OverflowError, IndexError, KeyError, AssertionError) as error:
            raise StatisticsError(f"a damaged pickle, after byte {at:,} ({str(error)[:120]})") from None

    def pop(self) -> Any:
        if not self.stack:
            raise StatisticsError("an opcode takes more than there is")
        return self.stack.pop()

    def since_mark(self) -> list[Any]:
        if not self.marks:
            raise StatisticsError("an opcode needs a mark, and there is none")
        items, self.stack = self.stack, self.marks.pop()
        return items

    def top(self) -> Any:
        if not self.stack:
            raise StatisticsError("an opcode needs an object, and there is none")
        return self.stack[-1]


def _push(machine: Machine, argument: Any) -> None:
    if isinstance(argument, int) and argument.bit_length() > BITS:
        raise StatisticsError(f"an integer of {argument.bit_length():,} bits")
    machine.stack.append(argument)


def _mark(machine: Machine, argument: Any) -> None:
    del argument
    machine.marks.append(machine.stack)
    machine.stack = []


def _fresh(make: Callable[[], Any]) -> Callable[[Machine, Any], None]:
    return lambda machine, argument: machine.stack.append(make())


def _gathered(make: Callable[[list[Any]], Any]) -> Callable[[Machine, Any], None]:
    def step(machine: Machine, argument: Any) -> None:
        del argument
        made = make(machine.since_mark())  # first: this exchanges the stack
        machine.stack.append(made)

    return step


def _tuple(count: int) -> Callable[[Machine, Any], None]:
    def step(machine: Machine, argument: Any) -> None:
        del argument
        made = tuple(reversed([machine.pop() for _ in range(count)]))
        machine.stack.append(made)

    return step


def _pairs(items: list[Any]) -> dict[Any, Any]:
    if len(items) % 2:
        raise StatisticsError("a dictionary has a key without a value")
    return {_key(k): v for k, v in zip(items[::2], items[1::2], strict=True)}


def _key(key: Any) -> Any:
    # hashing a tuple would run over all that it holds, however deep
    return key if key is None or isinstance(key, str | int | float | bytes) else Odd("key")


def _add(machine: Machine, items: list[Any]) -> None:
    target = machine.top()
    if isinstance(target, list):
        target.extend(items)
    elif isinstance(target, Record):
        target.items.extend(items)
    else:
        raise StatisticsError("values are added to something that is no list")


def _set(machine: Machine, items: list[Any]) -> None:
    target, pairs = machine.top(), _pairs(items)
    if isinstance(target, dict):
        target.update(pairs)
    elif isinstance(target, Record):
        target.items.append(pairs)
    else:
        raise StatisticsError("keys are set on something that is no dictionary")


def _append(machine: Machine, argument: Any) -> None:
    del argument
    item = machine.pop()
    _add(machine, [item])


def _set_item(machine: Machine, argument: Any) -> None:
    del argument
    value, key = machine.pop(), machine.pop()
    _set(machine, [key, value])


def _put(machine: Machine, argument: Any) -> None:
    machine.memo[len(machine.memo) if argument is None else int(argument)] = machine.top()


def _get(machine: Machine, argument: Any) -> None:
    if int(argument) not in machine.memo:
        raise StatisticsError(f"the memo has no entry {str(argument)[:20]}")
    machine.stack.append(machine.memo[int(argument)])


def _pop(machine: Machine, argument: Any) -> None:
    del argument
    if machine.stack:
        machine.stack.pop()
    else:
        machine.since_mark()


def _frame(machine: Machine, argument: Any) -> None:
    if argument > machine.size - machine.stream.tell():
        raise StatisticsError(f"a frame of {argument:,} bytes, more than the file has")


def _global(machine: Machine, argument: Any) -> None:
    machine.stack.append(named(*str(argument).split(" ", 1)))


def _stack_global(machine: Machine, argument: Any) -> None:
    del argument
    name, module = machine.pop(), machine.pop()
    machine.stack.append(named(module, name))


def _reduce(machine: Machine, argument: Any) -> None:
    del argument
    arguments, of = machine.pop(), machine.pop()
    machine.stack.append(called(of, arguments))


def _new(machine: Machine, argument: Any) -> None:
    del argument
    arguments, of = machine.pop(), machine.pop()
    machine.stack.append(instance(of, arguments))


def _new_ex(machine: Machine, argument: Any) -> None:
    del argument
    _, arguments, of = machine.pop(), machine.pop(), machine.pop()
    machine.stack.append(instance(of, arguments))


def _obj(machine: Machine, argument: Any) -> None:
    del argument
    items = machine.since_mark()
    if not items:
        raise StatisticsError("an object without a class")
    machine.stack.append(called(items[0], tuple(items[1:])))


def _inst(machine: Machine, argument: Any) -> None:
    items = machine.since_mark()
    machine.stack.append(called(named(*str(argument).split(" ", 1)), tuple(items)))


def _persistent(machine: Machine, argument: Any) -> None:
    del argument
    if machine.persistent is None:
        raise StatisticsError("the opcode BINPERSID, which no scaler's file has")
    identity = machine.pop()
    machine.stack.append(machine.persistent(identity))


def _build(machine: Machine, argument: Any) -> None:
    del argument
    state, target = machine.pop(), machine.top()
    if isinstance(target, Held):
        arrays.set_array(target, state)
    elif isinstance(target, arrays.DType):
        arrays.set_dtype(target, state)
    elif isinstance(target, Record):
        _plain_names(target, state)
        if isinstance(target.state, dict) and isinstance(state, dict):
            target.state.update(state)
        else:
            target.state = state
        if target.of.key == WRAPPER:
            machine.stack[-1] = _wrapped(machine, target)
    elif not (isinstance(target, dict) and (state is None or _versions(state))):
        raise StatisticsError(
            f"sets the attributes of {target if isinstance(target, Global) else 'something that has none'}"
        )


def _plain_names(target: Record, state: Any) -> None:
    """Raises StatisticsError where a state sets what Python itself calls: with a __setstate__ of its own, BUILD runs anything."""
    for part in state if isinstance(state, tuple) else (state,):
        for name, value in part.items() if isinstance(part, dict) else ():
            if isinstance(name, str) and name.startswith("__") and name.endswith("__"):
                what = value if isinstance(value, Global) else f"a {type(value).__name__}"
                raise StatisticsError(f"sets {name[:40]} of {target.of} to {what}, which no fitted scaler does")


def _versions(state: Any) -> bool:
    """Whether this is all that torch hangs on a state dict: the versions of its modules, which no tensor depends on."""
    return isinstance(state, dict) and set(state) == {"_metadata"}


def _wrapped(machine: Machine, wrapper: Record) -> Held:
    if machine.inner:
        raise StatisticsError("an array of joblib's inside an array of joblib's")
    held = arrays.wrapped(wrapper.state, machine.stream, machine.size - machine.stream.tell())
    if held is not None:
        return held
    nested = Machine(machine.stream, machine.size, machine.left, inner=True)
    found = nested.run()
    machine.left = nested.left
    if not isinstance(found, Held):
        what = f"{found.of}" if isinstance(found, Record) else f"a {type(found).__name__}"
        raise StatisticsError(f"an array of objects holds {what}, not an array")
    return found


LITERALS = (
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
)  # fmt: skip
_SETS = Global("builtins", "set")
STEPS: dict[str, Callable[[Machine, Any], None]] = {
    **dict.fromkeys(LITERALS, _push),
    "NONE": _fresh(lambda: None), "NEWTRUE": _fresh(lambda: True), "NEWFALSE": _fresh(lambda: False),
    "EMPTY_LIST": _fresh(list), "EMPTY_TUPLE": _fresh(tuple), "EMPTY_DICT": _fresh(dict),
    "EMPTY_SET": _fresh(lambda: Record(_SETS)), "FROZENSET": _gathered(lambda items: Record(_SETS, items=items)),
    "LIST": _gathered(list), "TUPLE": _gathered(tuple), "DICT": _gathered(_pairs),
    "TUPLE1": _tuple(1), "TUPLE2": _tuple(2), "TUPLE3": _tuple(3),
    "APPEND": _append, "SETITEM": _set_item,
    "APPENDS": lambda machine, argument: _add(machine, machine.since_mark()),
    "ADDITEMS": lambda machine, argument: _add(machine, machine.since_mark()),
    "SETITEMS": lambda machine, argument: _set(machine, machine.since_mark()),
    "MARK": _mark, "POP": _pop, "DUP": lambda machine, argument: machine.stack.append(machine.top()),
    "POP_MARK": lambda machine, argument: machine.since_mark().clear(),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _put), **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _get),
    "GLOBAL": _global, "STACK_GLOBAL": _stack_global, "REDUCE": _reduce, "NEWOBJ": _new, "NEWOBJ_EX": _new_ex,
    "OBJ": _obj, "INST": _inst, "BUILD": _build, "FRAME": _frame,
    "BINPERSID": _persistent, "PROTO": lambda machine, argument: None,
}  # fmt: skip
