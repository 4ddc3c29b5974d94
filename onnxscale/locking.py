"""Write a lock: which files there are, their hashes, and the space of each of their tensors.

Folders are searched for ONNX models and for statistics beside or above them; others are locked where they are named.
Links are followed inside the lock's own folder only, hidden folders are left out, and files are read in pieces, so that
memory stays flat.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from onnxscale import destination, external, locks, modelfile, origins, ports, remote, saving
from onnxscale.errors import LockError, ModelError, OnnxscaleError, OutputError, names
from onnxscale.locks import Entry, Held, Lock, Tensor
from onnxscale.ports import Port
from onnxscale.spaces import fingerprint

CHUNK = 1 << 20
MOST_NUMBERS = 10_000  # constants of one tensor that a lock spells out; more are locked by their fingerprint alone
LARGEST = 16 << 20  # bytes of a statistics file that is found, not named
STATISTICS = frozenset(
    (".json", ".yaml", ".yml", ".toml", ".csv", ".npz", ".npy", ".safetensors", ".joblib", ".pkl", ".pickle", ".skops")
)
OURS = re.compile(rb"(?:\xef\xbb\xbf)?(#[^\n]*\n|\s)*version\s*=")
Tell = Callable[[int], None]
# What readers, numpy and protobuf raise on bytes that are no longer a model, beside the package's own errors.
DAMAGE = (ValueError, KeyError, IndexError, TypeError, AttributeError, ArithmeticError, RecursionError, MemoryError)


def _quiet(count: int) -> None:
    del count


@dataclass(frozen=True)
class Survey:
    """What lies there now. lock: of all that could be read. failures: path -> why it could not. held: what could be hashed."""

    lock: Lock
    failures: Mapping[str, str] = field(default_factory=dict)
    held: Mapping[str, Held] = field(default_factory=dict)


def lock(
    paths: Sequence[str | os.PathLike[str]] = (), file: str | os.PathLike[str] = locks.NAME, *, force: bool = False,
    tell: Tell = _quiet,
) -> Lock:  # fmt: skip
    """Write the lock of all models in these files and folders, and of the statistics files among them.

    paths: none stands for those that the lock file names already, else for its folder. file: is replaced where it is a
    lock. tell: called with bytes as they are hashed. Raises LockError, ModelError, StatisticsError or OutputError; then
    nothing is written.
    """
    place = Path(os.path.abspath(file))
    made, text = written(paths, place, tell)
    ours = place.is_file() and OURS.match(place.read_bytes()[:4096]) is not None
    saving.place(place, lambda target: saving.write(target, text), replace=force or ours)
    return made


def written(paths: Sequence[str | os.PathLike[str]], place: Path, tell: Tell = _quiet) -> tuple[Lock, bytes]:
    """The lock of these paths, and the bytes that its file is to hold. Raises as `lock` does."""
    asked = wanted(paths, place)
    found = survey(place.parent, asked, tell=tell)
    if found.failures:
        first, why = next(iter(found.failures.items()))
        more = f" ({len(found.failures) - 1} more cannot be locked)" if len(found.failures) > 1 else ""
        raise LockError(why if first in why else f"{first}: {why}{more}")
    if not found.lock.entries:
        raise LockError(f"no ONNX model in {names(asked)} ({place.parent}); nothing to lock")
    return found.lock, locks.dumps(found.lock).encode()


def wanted(paths: Sequence[str | os.PathLike[str]], place: Path) -> tuple[str, ...]:
    """The paths to lock relative to the folder of the lock file, sorted. Raises LockError where one lies outside it."""
    if not paths:
        ours = place.is_file() and OURS.match(place.read_bytes()[:4096]) is not None
        return locks.salvaged(place.read_bytes(), place.name) if ours else (".",)
    found = set()
    for path in paths:
        if remote.is_url(path):
            raise LockError(f"{path}: a lock names files beside it; fetch the model first")
        there = Path(os.path.abspath(path))
        if not there.exists():
            raise LockError(f"{path}: no such file or folder")
        if not there.is_relative_to(place.parent):
            raise LockError(
                f"{path}: lies outside the folder of the lock ({place.parent}); put the lock above it with --lock"
            )
        found.add(there.relative_to(place.parent).as_posix())
    return tuple(sorted(found))


def read(place: Path) -> Lock:
    """A lock file. Raises LockError."""
    try:
        return locks.loads(place.read_bytes(), place.name)
    except FileNotFoundError:
        raise LockError(f"{place}: no such file; write it with `onnxscale lock`") from None
    except OSError as error:
        raise LockError(f"{place}: cannot be read ({os.strerror(error.errno or 0)})") from None


def survey(root: Path, paths: Sequence[str], also: Sequence[tuple[str, str]] = (), tell: Tell = _quiet) -> Survey:
    """Hash and read what lies at these paths. also: (kind, path) of files to look at in any case."""
    failures: dict[str, str] = {}
    kinds = {
        **dict(_found(root, paths, failures)),
        **{p: k for k, p in also if (root / p).is_symlink() or (root / p).exists()},
    }
    known: dict[str, Held] = {}
    entries: list[Entry] = []
    for path, kind in sorted(kinds.items()):
        try:
            path.encode("utf-8")
            held = _held(root, path, known, tell)
            entries.append(_model(root, held, known, tell) if kind == "model" else _statistics(root, held))
        except UnicodeEncodeError:
            failures[path] = f"{path!r}: its name is not UTF-8; rename it"
        except OnnxscaleError as error:
            failures[path] = str(error)
        except DAMAGE as error:
            failures[path] = f"{path}: damaged ({type(error).__name__}: {str(error)[:100]})"
    return Survey(Lock(tuple(paths), tuple(entries)), failures, known)


def _found(root: Path, paths: Sequence[str], failures: dict[str, str]) -> Iterator[tuple[str, str]]:
    """(path, kind) of every file to lock."""
    for path in paths:
        top = root / path
        if not top.is_dir():
            if top.is_symlink() or top.exists():
                yield path, "model" if top.suffix.lower() == ".onnx" or origins.is_model(top) else "statistics"
            continue
        lived: set[Path] = set()  # folders with models in or below them
        others: list[Path] = []
        for folder, inner, files in os.walk(top, onerror=lambda e: failures.update({str(e.filename): str(e)})):
            inner[:] = sorted(d for d in inner if not d.startswith("."))
            for name in sorted(n for n in files if not n.startswith(".")):
                there = Path(folder) / name
                if there.suffix.lower() == ".onnx":
                    lived.update(there.parents)
                    yield there.relative_to(root).as_posix(), "model"
                elif there.suffix.lower() in STATISTICS:
                    others.append(there)
        for there in others:
            if there.parent in lived and _is_statistics(there):
                yield there.relative_to(root).as_posix(), "statistics"


def _is_statistics(path: Path) -> bool:
    """Whether a file reads as statistics: what they lie among (settings, pictures, results) is not locked."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST:
        return False
    try:
        return any(p.inside.transform is not None for p in ports.of_statistics(origins.read(path)))
    except (OnnxscaleError, *DAMAGE):
        return False


def _held(root: Path, path: str, known: dict[str, Held], tell: Tell) -> Held:
    """A file by its hash. Raises ModelError for a link out of the folder, and for what is no regular file."""
    if path not in known:
        there = root / path
        if not Path(os.path.realpath(there)).is_relative_to(os.path.realpath(root)):
            raise ModelError(
                f"{path}: a link out of the folder of the lock, which is not followed; lock it where it lies"
            )
        descriptor = external.opened(there)
        try:
            digest, size = hashlib.sha256(), 0
            while chunk := os.read(descriptor, CHUNK):
                digest.update(chunk)
                size += len(chunk)
                tell(len(chunk))
        except OSError as error:
            raise ModelError(f"{path}: cannot be read ({os.strerror(error.errno or 0)})") from None
        finally:
            os.close(descriptor)
        known[path] = Held(path, size, digest.hexdigest())
    return known[path]


def _model(root: Path, held: Held, known: dict[str, Held], tell: Tell) -> Entry:
    with modelfile.open_model(root / held.path) as model:
        places = sorted(destination.data_files(model))
        tensors = tuple(tensor(p) for p in ports.of_model(model))
    home = Path(held.path).parent
    data = tuple(_held(root, (home / Path(where)).as_posix(), known, tell) for where in places)
    return Entry("model", held, tensors, data)


def _statistics(root: Path, held: Held) -> Entry:
    return Entry("statistics", held, tuple(tensor(p) for p in ports.of_statistics(origins.read(root / held.path))))


def tensor(port: Port) -> Tensor:
    """A port as a lock has it."""
    space = port.inside
    steps = [] if space.transform is None else space.transform.to_json()
    numbers = 0 if space.transform is None else sum(o.size for s in space.transform.steps for o in s.operands)
    spec = "" if port.spec is None else port.spec.prose().removeprefix(f"{port.spec.name!r} ")
    return Tensor(
        port.role, port.name or "", spec, port.how, space.prose(), fingerprint(space), space.axis, space.features,
        space.units, space.source.to_json(), steps if steps and numbers <= MOST_NUMBERS else None,
    )  # fmt: skip


__all__ = ["LockError", "OutputError", "Survey", "lock", "read", "survey", "wanted", "written"]
