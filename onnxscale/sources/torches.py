"""PyTorch files (torch.save): tensors by name, read without torch; of a checkpoint, the one group that is statistics.

The zip of torch 1.6 on holds <name>/data.pkl, <name>/data/<key> and <name>/byteorder; the format before is four pickles and then the
storages (torch/serialization.py: _save, _legacy_save). The pickles go through the inert machine of pickles.py.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from onnxscale.errors import StatisticsError, names
from onnxscale.sources import groups, npzs, pickles
from onnxscale.sources.inert import Document
from onnxscale.sources.storages import CODES, Packed, Storage, Tensor, decoded, stored
from onnxscale.statistics import Reading
from onnxscale.step import Array

MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
MEMBERS, LEAVES, DEPTH = 100_000, 200_000, 16


def sniff(data: bytes, name: str) -> bool:
    """A zip with a data.pkl in its folder, or the magic number of torch before 1.6."""
    del name
    if data.startswith(MAGIC):
        return True
    if data[:4] != b"PK\x03\x04" or b"data.pkl" not in data:
        return False
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return any(n.rpartition("/")[2] == "data.pkl" for n in archive.namelist())
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return True  # said by read, as what it is


def read(data: bytes) -> Document:
    """What the file holds, its tensors not decoded yet. Raises StatisticsError for a bomb, a damaged archive, a hostile pickle."""
    return Document(_legacy(data) if data.startswith(MAGIC) else _zipped(data))


def _zipped(data: bytes) -> Any:
    archive = _safely(lambda: zipfile.ZipFile(io.BytesIO(data)))
    members = {info.filename: info for info in archive.infolist()}
    roots = [n for n in members if n.rpartition("/")[2] == "data.pkl"]
    if len(members) > MEMBERS or len(members) != len(archive.infolist()) or len(roots) != 1:
        raise StatisticsError(
            f"an archive of {len(archive.infolist()):,} members with {len(roots)} data.pkl; expected one"
        )
    folder = roots[0].removesuffix("data.pkl")
    if any(n.startswith(f"{folder}code/") or n == f"{folder}constants.pkl" for n in members):
        raise StatisticsError(
            "TorchScript: a program, not a state dict; save it with torch.save(module.state_dict(), path)"
        )

    def content(name: str) -> bytes:
        if name not in members:
            raise StatisticsError(f"the archive does not hold {name[:80]!r}, which a tensor needs")
        return bytes(_safely(lambda: npzs.member(archive, members[name])))

    order = content(f"{folder}byteorder").strip() if f"{folder}byteorder" in members else b"little"
    if order not in (b"little", b"big"):
        raise StatisticsError(f"byteorder is {order[:20]!r}; expected little or big")
    return pickles.read(
        content(roots[0]),
        lambda identity: stored(identity, lambda key: lambda: content(f"{folder}data/{key}"), big=order == b"big"),
    ).root


def _safely(do: Callable[[], Any]) -> Any:
    try:
        return do()
    except npzs.DAMAGE as error:
        raise StatisticsError(f"a damaged archive of torch's ({str(error)[:120]})") from None


def _legacy(data: bytes) -> Any:
    """Four pickles (magic, version, system, content), the keys of the storages, and each as its count and its values."""
    stream = io.BytesIO(data)
    held: dict[str, Storage] = {}
    found: dict[str, bytes] = {}

    def find(key: str) -> Callable[[], bytes]:
        return lambda: found[key]

    def persistent(identity: Any) -> Storage:
        if isinstance(identity, tuple) and len(identity) == 6 and identity[5] is not None:
            raise StatisticsError("a storage that is a part of another one (torch before 0.4); save it again")
        made = stored(identity, find)
        held[identity[2]] = made
        return made

    parts = [pickles.Machine(stream, len(data), persistent=persistent).run() for _ in range(5)]
    system, content, keys = parts[2:]
    if parts[1] != 1001 or not isinstance(system, dict) or system.get("little_endian") is not True:
        raise StatisticsError(
            "a torch file of another version or byte order than 1001 and little-endian; save it again"
        )
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(held):
        raise StatisticsError("the list of storages is not that of the tensors")
    for key in map(str, keys):
        # an untyped storage counts its bytes
        code = CODES.get(held[key].dtype, "u1" if held[key].dtype == "" else None)
        count = int.from_bytes(stream.read(8), "little", signed=True)
        if code is None or count != held[key].count:
            raise StatisticsError(
                f"a storage of {held[key].dtype[:40]!r} says {held[key].count:,} values, then {count:,}, or has no known type"
            )
        found[key] = stream.read(count * int(code[1]))
        if len(found[key]) != count * int(code[1]):
            raise StatisticsError(f"a storage of {count:,} values ends early: the file is cut off")
    if stream.tell() != len(data):
        raise StatisticsError(f"{len(data) - stream.tell():,} bytes follow the last storage")
    return content


def array(tensor: Tensor) -> Array:
    """The values of a tensor. Raises StatisticsError where its storage is not there, or is smaller than it says."""
    held = tensor.storage
    storage: Any = held
    if isinstance(held, Packed):
        storage = _legacy(held.data) if held.data.startswith(MAGIC) else None
    if not isinstance(storage, Storage):
        raise StatisticsError("a storage inside a pickle is not written as torch does")
    return decoded(tensor, storage)


def statistics(root: Mapping[Any, Any], reading: Reading) -> object:
    """The statistics among the tensors of a checkpoint, however deep its dictionaries: {key: array}, or Statistics; the mapping itself
    where it holds no tensor."""
    leaves = dict(_leaves(root, "", 0))
    if len(leaves) > LEAVES:
        raise StatisticsError(f"a checkpoint of {len(leaves):,} values; save the statistics alone")
    if not any(isinstance(v, Tensor) for v in leaves.values()):
        return root
    return groups.statistics(leaves, reading, lambda value: array(value) if isinstance(value, Tensor) else value)


def _leaves(content: Mapping[Any, Any], prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    if depth > DEPTH:
        raise StatisticsError(f"dictionaries nested more than {DEPTH} levels deep, under {names([prefix])}")
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.", depth + 1)
        else:
            yield f"{prefix}{key}", value
