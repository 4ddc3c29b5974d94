"""A contract: what a service takes and gives, as a JSON Schema file. Its properties `inputs` and `outputs` have a property for each
tensor, in which these keywords say what no JSON Schema can:

    dtype, shape        of the array; null in a shape is any size
    space               "raw", a path of statistics, or statistics themselves: by what the values are scaled
    normalized          "l2": vectors of length 1
    embedding           which model's vectors they are
    features, units     of each feature its name and its unit, lists in the order of the features

An object that has `inputs` and `outputs` itself, without `properties` around them, is read too.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from onnxscale import origins, ports
from onnxscale.errors import ChainError, StatisticsError, names
from onnxscale.graph import InputSpec
from onnxscale.sources import jsons
from onnxscale.spaces import RAW, UNKNOWN, Space, settled
from onnxscale.step import Step
from onnxscale.transform import Transform

LARGEST = 4 << 20
KEYWORDS = ("dtype", "shape", "space", "normalized", "embedding", "features", "units")
L2 = Transform((Step("RowNorm", (), {"norm": "l2", "floor": 1e-12}),))


@dataclass(frozen=True, eq=False)
class Tensor:
    """What crosses a stage's boundary. space: of the values. inside: what the stage's own operators work with, where it scales.
    embedding: of which model these are vectors, "" where nobody says. wrong: what its declaration contradicts itself in."""

    name: str
    spec: InputSpec | None
    space: Space
    inside: Space = UNKNOWN
    how: str = ""
    embedding: str = ""
    wrong: str = ""


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The inputs and the outputs of a contract. Raises ChainError naming the place where it is not one."""
    if not path.is_file():
        raise ChainError(f"{path}: no such file; expected the contract of a service, as JSON")
    if path.stat().st_size > LARGEST:
        raise ChainError(f"{path}: {path.stat().st_size:,} bytes; a contract has at most {LARGEST:,}")
    try:
        content = jsons.read(path.read_bytes())
    except StatisticsError as error:
        raise ChainError(f"{path}: {error}") from None
    if not isinstance(content, Mapping):
        raise ChainError(f"{path}: expected a JSON Schema with the properties inputs and outputs")
    top = _properties(content)
    if not isinstance(top, Mapping) or not {"inputs", "outputs"} & set(top):
        raise ChainError(f"{path}: has neither inputs nor outputs among its properties ({names(content)})")
    try:
        inputs, outputs = (_tensors(top.get(part), part, path.parent) for part in ("inputs", "outputs"))
    except ChainError as error:
        raise ChainError(f"{path}: {error}") from None
    return inputs, outputs


def _properties(content: Any) -> Any:
    return content.get("properties", content) if isinstance(content, Mapping) else content


def _tensors(content: Any, where: str, folder: Path) -> dict[str, Tensor]:
    listed = _properties(content if content is not None else {})
    if not isinstance(listed, Mapping) or not all(isinstance(v, Mapping) for v in listed.values()):
        raise ChainError(f"{where}: expected an object of tensors")
    return {str(n): _tensor(str(n), v, f"{where}.{n}", folder) for n, v in listed.items()}


def _tensor(name: str, content: Mapping[str, Any], where: str, folder: Path) -> Tensor:
    for key in content:
        close = difflib.get_close_matches(str(key).lower(), KEYWORDS, 1, 0.75) if key not in KEYWORDS else []
        if close:
            raise ChainError(f"{where}: the key {key!r} is not known; did you mean {close[0]!r}?")
    shape, dtype = content.get("shape"), content.get("dtype", "")
    if shape is not None and not (
        isinstance(shape, list) and all(d is None or isinstance(d, int | str) for d in shape)
    ):
        raise ChainError(f"{where}.shape: expected a list of sizes, null for any, got {str(shape)[:60]}")
    if not isinstance(dtype, str):
        raise ChainError(f"{where}.dtype: expected a name such as float32, got {str(dtype)[:40]!r}")
    space = declared(content.get("space"), f"{where}.space", folder)
    norm = content.get("normalized")
    if norm not in (None, False, "l2"):
        raise ChainError(f'{where}.normalized: expected "l2", got {str(norm)[:40]!r}')
    if norm == "l2":
        space = replace(space, transform=(space.transform or Transform()) | L2)
    elif norm is False and space.transform is None:
        space = RAW
    for key in ("features", "units"):
        listed = content.get(key)
        if listed is None:
            continue
        if not isinstance(listed, list) or not all(isinstance(v, str) for v in listed):
            raise ChainError(f"{where}.{key}: expected a list of texts, one per feature, got {str(listed)[:60]}")
        space = replace(space, features=tuple(listed)) if key == "features" else replace(space, units=tuple(listed))
    known = InputSpec(name, dtype, None if shape is None else tuple(shape))
    space, wrong = fitted(space, known)
    return Tensor(name, known, space, how="contract", embedding=str(content.get("embedding", "")), wrong=wrong)


def fitted(space: Space, spec: InputSpec | None) -> tuple[Space, str]:
    """The space of a tensor, its axis counted from the start; and in words, where the tensor has no room for its features."""
    if spec is None or spec.shape is None or space.transform is None:
        return space, ""
    dims, wide = spec.shape, space.transform.result
    space = settled(space, len(dims))
    first = [space.axis] if space.axis is not None else list(range(min(1, len(dims) - 1), len(dims)))
    if wide in ((), (1,)) or any(_room(dims[i : i + len(wide)], wide) for i in first):
        return space, ""
    at = f" at axis {space.axis}" if space.axis is not None else ""
    return space, f"is declared by statistics of {'x'.join(map(str, wide))} feature(s){at}, and is {spec.prose()}"


def _room(dims: Sequence[int | str | None], wide: Sequence[int]) -> bool:
    return len(dims) == len(wide) and all(not isinstance(d, int) or d == w for d, w in zip(dims, wide, strict=True))


def declared(content: Any, where: str, folder: Path) -> Space:
    """The space that "raw", a path of statistics or statistics themselves stand for; unknown for None. Raises ChainError."""
    if content is None:
        return UNKNOWN
    if content == "raw":
        return RAW
    if isinstance(content, str):
        path = content if "://" in content else str(folder / content)
    elif isinstance(content, Mapping):
        path = json.loads(json.dumps(content))
    else:
        raise ChainError(f'{where}: expected "raw", a path of statistics, or statistics, got {str(content)[:60]!r}')
    try:
        found = ports.of_statistics(origins.read(path))
    except StatisticsError as error:
        raise ChainError(f"{where}: {error}") from None
    if len(found) != 1:
        raise ChainError(f"{where}: speaks of {len(found)} tensors; expected statistics of one")
    return found[0].inside
