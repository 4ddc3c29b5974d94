"""Check a lock: what moved since it was written, told as precisely as the files allow.

Every byte of every file is hashed again; where a hash differs, the file is read and its spaces are compared with those of
the lock. A file that can no longer be read is a finding like any other.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from onnxscale import changes, locking, locks, signing
from onnxscale.canonical import DIGITS
from onnxscale.changes import Changed, digit
from onnxscale.errors import LockError, names
from onnxscale.locking import Survey
from onnxscale.locks import Entry, Lock, Tensor

SHOWN = 3
Tell = Callable[[int], None]


@dataclass(frozen=True)
class Finding:
    """One thing that moved. path: relative to the lock. rule: "missing", "new", "swapped", "moved", "unreadable", "data",
    "normalization", "interface", "bytes", "edited", "stale" or "signature". tensor: "input 'x'" or "". features: those that
    changed."""

    path: str
    rule: str
    message: str
    tensor: str = ""
    features: tuple[Changed, ...] = ()


@dataclass(frozen=True)
class Checked:
    """What a check found. files: how many the lock names. signed: whether a signature was verified. notes: what was not."""

    findings: tuple[Finding, ...]
    files: int
    signed: bool = False
    notes: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        return not self.findings


def check_lock(
    paths: Sequence[str | os.PathLike[str]] = (), file: str | os.PathLike[str] = locks.NAME, *, frozen: bool = False,
    key: str | os.PathLike[str] | None = None, tell: Tell = lambda count: None,
) -> Checked:  # fmt: skip
    """Compare the files with their lock. paths: only what the lock has of these; none stands for all of it.

    frozen: the lock file itself must be, byte for byte, what `lock` would write now. key: a public key that the lock's
    signature must hold for. Raises LockError where there is no lock, or a damaged one.
    """
    place = Path(os.path.abspath(file))
    old = locking.read(place)
    notes: list[str] = []
    findings = signing.verified(place, key) if key is not None else []
    broken = [Finding(place.name, "signature", message) for message in findings]
    if key is None and signing.beside(place).exists():
        notes.append(f"{signing.beside(place).name} was not checked; give its public key with --verify-key")
    whole = old
    if paths:
        old = _part(old, locking.wanted(paths, place) if all(map(os.path.exists, paths)) else _named(paths, place))
    now = locking.survey(place.parent, old.paths, [(e.kind, e.path) for e in old.entries], tell)
    found = [*broken, *moved(old, now)]
    if paths:
        _met(old, [*now.held, *now.failures], place)
    if frozen and not found:
        text = locks.dumps(replace(now.lock, paths=old.paths)).encode()
        if old == whole and text != place.read_bytes().replace(b"\r\n", b"\n"):
            found.append(
                Finding(place.name, "stale", "is not what `onnxscale lock` writes for these files; write it again")
            )
    files = sum(1 + len(e.data) for e in old.entries)
    return Checked(tuple(found), files, key is not None and not broken, tuple(notes))


def _named(paths: Sequence[str | os.PathLike[str]], place: Path) -> tuple[str, ...]:
    return tuple(Path(os.path.relpath(os.path.abspath(p), place.parent)).as_posix() for p in paths)


def _met(lock: Lock, there: Sequence[str], place: Path) -> None:
    """Raises LockError for a path that is neither in the lock nor anything that could be: a check of it says nothing."""
    known = [*(e.path for e in lock.entries), *there]
    for path in lock.paths:
        if path != "." and not any(k == path or k.startswith(f"{path}/") for k in known):
            raise LockError(f"{path}: {place.name} names nothing there, and no model lies there; nothing was checked")


def _part(lock: Lock, paths: Sequence[str]) -> Lock:
    """What a lock has at or under these paths."""

    def under(path: str) -> bool:
        return any(p in (".", path) or path.startswith(f"{p}/") for p in paths)

    return Lock(tuple(paths), tuple(e for e in lock.entries if under(e.path)))


def moved(old: Lock, now: Survey) -> list[Finding]:
    """What differs between a lock and what lies there now, in the order of the paths."""
    then = {e.path: e for e in old.entries}
    entries = {e.path: e for e in now.lock.entries}
    owners: dict[str, list[str]] = {}
    for e in old.entries:
        for held in (e.file, *e.data):
            owners.setdefault(held.sha256, []).append(held.path)
    fresh = sorted((set(entries) | set(now.failures)) - set(then))
    findings: list[Finding] = []
    for path, entry in then.items():
        findings += _entry(entry, entries.get(path), now, owners, fresh)
    for path in fresh:
        if path in now.failures:
            findings.append(Finding(path, "unreadable", f"not in the lock, and {_short(now.failures[path], path)}"))
        else:
            findings.append(Finding(path, "new", "is not in the lock"))
    return sorted(_swapped(findings, then, now), key=lambda f: f.path)


def _entry(
    old: Entry, new: Entry | None, now: Survey, owners: Mapping[str, Sequence[str]], fresh: Sequence[str]
) -> Iterator[Finding]:
    path, held = old.path, now.held.get(old.path)
    if held is None and path not in now.failures:
        there = [p for p in fresh if p in now.held and now.held[p].sha256 == old.file.sha256]
        said = f"; the same bytes are now in {names(there)}" if there else ""
        yield Finding(path, "moved" if there else "missing", f"is missing{said}")
        return
    if held is not None and held.sha256 != old.file.sha256:
        others = [p for p in owners.get(held.sha256, ()) if p != path]
        if others:
            yield Finding(path, "swapped", f"holds the bytes that {names(others)} was locked with")
            return
    if new is None:
        why = _short(now.failures[path], path)
        same = held is not None and held.sha256 == old.file.sha256
        yield Finding(path, "unreadable", why if same else f"its bytes changed, and it cannot be read: {why}")
        return
    assert held is not None
    data = list(_data(old, new, owners))
    yield from data
    yield from _tensors(old, new, held.sha256 == old.file.sha256, bool(data))


def _short(message: str, path: str) -> str:
    for start in (f"{path}: ", f"{Path(path).name}: "):
        message = message.removeprefix(start)
    return message.split(": ", 1)[1] if message.startswith("/") and ": " in message else message


def _data(old: Entry, new: Entry, owners: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    then, now = ({d.path: d for d in e.data} for e in (old, new))
    for path in sorted(set(then) | set(now)):
        if path not in now:
            yield Finding(old.path, "data", f"no longer keeps its data in {path!r}")
        elif path not in then:
            yield Finding(old.path, "data", f"keeps data in {path!r}, which is not in the lock")
        elif then[path].sha256 != now[path].sha256:
            others = [p for p in owners.get(now[path].sha256, ()) if p != path]
            said = f"holds the bytes that {names(others)} was locked with" if others else "changed"
            yield Finding(old.path, "data", f"its data file {path!r} {said}")


def _tensors(old: Entry, new: Entry, same: bool, data: bool) -> Iterator[Finding]:
    """What became of the spaces. same: the bytes of the file did not change. data: those of a data file did."""
    then, now = ({(t.role, t.name): t for t in e.tensors} for e in (old, new))
    told = False
    for key in sorted(set(then) | set(now)):
        finding = _tensor(old.path, then.get(key), now.get(key))
        if finding is not None:
            told = True
            if same and not data:
                message = f"the lock is not true of these bytes ({finding.message}); it was edited, or another onnxscale wrote it"
                finding = replace(finding, rule="edited", message=message)
            yield finding
    if same or told:
        return
    below = "".join(_below(t, now[role, name]) for (role, name), t in then.items() if (role, name) in now)
    if old.kind == "statistics":
        yield Finding(old.path, "bytes", f"its bytes changed; the statistics are the same{below}")
        return
    scaled = any(t.fingerprint for t in old.tensors)
    said = "the normalization it carries is the same" if scaled else "it carries no normalization, then as now"
    sources = _sources(old, new)
    size = f", {old.file.size:,} bytes then, {new.file.size:,} now" if old.file.size != new.file.size else ""
    yield Finding(old.path, "bytes", f"its bytes changed (weights, nodes or metadata{size}); {said}{below}{sources}")


def _below(old: Tensor, new: Tensor) -> str:
    """The first constant that moved below the digits that count, in words."""
    here, there = old.as_space(), new.as_space()
    if here is None or there is None or here.transform is None or there.transform is None:
        return ""
    for s, t in zip(here.transform.steps, there.transform.steps, strict=False):
        for v, w in zip(s.operands, t.operands, strict=False):
            off = np.argwhere(v != w) if v.shape == w.shape else np.empty((0, v.ndim), int)
            if len(off):
                at = tuple(int(i) for i in off[0])
                where = f" of feature {', '.join(map(str, at))}" if at else ""
                return f" to {DIGITS} significant digits, below which {s.op}{where} moved: {float(v[at])!r} -> {float(w[at])!r}"
    return ""


def _sources(old: Entry, new: Entry) -> str:
    """Provenance that changed though the function did not."""
    now = {(t.role, t.name): t.source for t in new.tensors}
    found = []
    for t in old.tensors:
        there = now.get((t.role, t.name), {})
        keys = [k for k in sorted({*t.source, *there}) if t.source.get(k) != there.get(k)]
        found += [
            f"{k} of {t.role} {t.name!r}: {t.source.get(k, 'none')} then, {there.get(k, 'none')} now" for k in keys
        ]
    return f"; {', '.join(found[:SHOWN])}" if found else ""


def _tensor(path: str, old: Tensor | None, new: Tensor | None) -> Finding | None:
    one = old or new
    if old == new or one is None:
        return None
    label = f"{one.role} {one.name!r}" if one.name else one.role
    if old is None or new is None:
        what = "is no longer there" if new is None else "was not there when it was locked"
        return Finding(path, "interface", f"{label} {what}", label)
    if old.type != new.type:
        return Finding(path, "interface", f"{label} was {old.type}, is {new.type}", label)
    if bool(old.fingerprint) != bool(new.fingerprint):
        what = (
            f"the normalization left the file ({old.space})"
            if old.fingerprint
            else f"a normalization came in ({new.space})"
        )
        return Finding(path, "normalization", f"{label}: {what}", label)
    here, there = old.as_space(), new.as_space()
    found = changes.differs(here, there) if here is not None and there is not None else None
    if old.fingerprint == new.fingerprint and old.axis == new.axis and found is None:
        called = (("features", old.features, new.features), ("units", old.units, new.units))
        wrong = next((f"{k} were {names(u)}, are {names(v)}" for k, u, v in called if u != v), "")
        return Finding(path, "normalization", f"{label}: the {wrong}", label) if wrong else None
    if here is None or there is None or found is None:
        moved_axis = f", axis {old.axis} then, {new.axis} now" if old.axis != new.axis else ""
        return Finding(path, "normalization", f"{label}: was {old.space}, is {new.space}{moved_axis}", label)
    features = changes.changed(here, there, found)
    reason = changes.reordered(here, there) or found.reason
    for letter, who, where in (("A|the first", "the locked one", "the lock"), ("B|the second", "this one", "the file")):
        reason = re.sub(rf"(?<!')\b(?:{letter})\b(?!')", who, re.sub(rf"\bin (?:{letter})\b", f"in {where}", reason))
    return Finding(path, "normalization", f"{label}: {reason}{_told(features)}", label, features)


def _told(features: Sequence[Changed]) -> str:
    """The first features that changed: constants, digit and size."""
    parts = []
    for f in features[:SHOWN]:
        each = [f"{k} {u:.12g} -> {v:.12g}{_digit(u, v)}" for k, (u, v) in f.constants.items()]
        name = f" {f.name!r}" if f.name else ""
        parts.append(f"feature {f.where}{name}: {', '.join(each) or 'its function'}, {f.sigmas:.3g} sigmas")
    more = f"; and {len(features) - SHOWN} more" if len(features) > SHOWN else ""
    return f"; {'; '.join(parts)}{more}" if parts else ""


def _digit(here: float, there: float) -> str:
    place = digit(here, there)
    return f" (digit {place})" if place else ""


def _swapped(findings: list[Finding], then: Mapping[str, Entry], now: Survey) -> list[Finding]:
    """Two files that hold each other's bytes are one finding."""
    taken: set[str] = set()
    found: list[Finding] = []
    for f in findings:
        if f.rule != "swapped" or f.path in taken:
            if f.path not in taken:
                found.append(f)
            continue
        pair = next(
            (
                g.path
                for g in findings
                if g.rule == "swapped"
                and g.path != f.path
                and g.path not in taken
                and now.held[f.path].sha256 == then[g.path].file.sha256
                and now.held[g.path].sha256 == then[f.path].file.sha256
            ),
            None,
        )
        if pair is None:
            found.append(f)
            continue
        taken |= {f.path, pair}
        found.append(Finding(f.path, "swapped", f"and {pair!r} were swapped: each holds the bytes of the other"))
    return found
