"""Put a file in place: complete or not at all, whatever happens on the way.

The bytes go to a file without a name in the target folder (O_TMPFILE), or to a hidden temporary one where the file
system has none; they are synced, and only then the file gets its name. Large runs are copied by the kernel.
"""

from __future__ import annotations

import errno
import os
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from onnxscale.errors import OutputError
from onnxscale.modelfile import ModelFile
from onnxscale.pieces import Copy, Piece

CHUNK, EARLY = 1 << 24, 1 << 26
Progress = Callable[[int], None]
_TAKEN = "{}: exists already. Pass --force to replace it, or name another output with -o"


def _nothing(count: int) -> None:
    del count


def save(
    source: ModelFile, pieces: Iterable[Piece], out: Path, *, replace: bool = False, progress: Progress = _nothing
) -> None:
    """Write the file that the pieces of `source` make to `out`.

    replace: whether a file that is there may be replaced. progress: told the number of bytes after each write.
    Raises OutputError where it cannot be written; then nothing is left behind.
    """
    place(out, lambda target: _fill(source, pieces, target, progress), replace=replace)


def _fill(source: ModelFile, pieces: Iterable[Piece], target: int, progress: Progress) -> None:
    for piece in pieces:
        if isinstance(piece, Copy) and source.descriptor is not None:
            _copy(source.descriptor, piece, target, progress)
            if piece.length > EARLY:  # what follows may wait for a hash; the disk need not
                os.fsync(target)
        elif isinstance(piece, Copy):
            for at in range(piece.offset, piece.offset + piece.length, CHUNK):
                data = source.read(at, min(CHUNK, piece.offset + piece.length - at))
                write(target, data)
                progress(len(data))
        else:
            write(target, piece)
            progress(len(piece))


@contextmanager
def scratch(source: ModelFile, pieces: Iterable[Piece]) -> Iterator[str]:
    """The file that the pieces make, for as long as the block lasts: a path that this process and its children can open.

    Without a name where the system can (nothing is left behind even by kill -9), beside the model where that is writable.
    """
    beside = (
        source.path.parent if source.path and os.access(source.path.parent, os.W_OK) else Path(tempfile.gettempdir())
    )
    named: Path | None = None
    target: int | None = None
    try:
        try:
            target = _unnamed(beside)
            if target is None:
                named = beside / f".{secrets.token_hex(6)}.onnxscale.tmp"
                target = os.open(named, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            _fill(source, pieces, target, _nothing)
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise OutputError(f"{beside}: cannot be written to for verification ({reason})") from None
        yield str(named or f"/proc/self/fd/{target}")
    finally:
        if target is not None:
            os.close(target)
        if named is not None:
            named.unlink(missing_ok=True)


def place(out: Path, fill: Callable[[int], None], *, replace: bool = False) -> None:
    """Make `out` with what `fill` writes to a descriptor. See `save`."""
    check(out, replace=replace)
    folder, hidden = out.parent, out.parent / f".{out.name}.{secrets.token_hex(6)}.tmp"
    try:
        target, named = _unnamed(folder), False
        if target is None:
            target, named = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
        try:
            fill(target)
            if replace and out.exists():
                os.fchmod(target, out.stat().st_mode & 0o7777)
            os.fsync(target)
            if not named and not replace:
                _link(target, out)
            else:
                if not named:
                    _link(target, hidden)
                    named = True
                os.replace(hidden, out) if replace else os.link(hidden, out)
        finally:
            os.close(target)
            hidden.unlink(missing_ok=True)
        try:
            _sync(folder)
        except OSError:
            if not replace:
                out.unlink(missing_ok=True)
            raise
    except FileExistsError:
        raise OutputError(_TAKEN.format(out)) from None
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({os.strerror(error.errno or 0)}); nothing was written") from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Other processes that ask for the same folder wait until the block is left; where the system has no such locks, not."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def check(out: Path, *, replace: bool = False) -> None:
    """Raises OutputError where `out` can be seen beforehand not to be writable."""
    if out.is_dir():
        raise OutputError(f"{out}: a folder; expected a file name for the output")
    if not out.parent.is_dir():
        raise OutputError(f"{out.parent}: no such folder; make it first, or name another output with -o")
    if out.exists() and not out.is_file():
        raise OutputError(f"{out}: neither a file nor new; expected a file name for the output")
    if out.exists() and not replace:
        raise OutputError(_TAKEN.format(out))
    if not os.access(out.parent, os.W_OK):
        raise OutputError(f"{out.parent}: the folder is not writable; name another output with -o")


def equal_files(a: Path, b: Path) -> bool:
    """Whether two files hold the same bytes."""
    if a.stat().st_size != b.stat().st_size:
        return False
    with a.open("rb") as one, b.open("rb") as other:
        while chunk := one.read(1 << 20):
            if chunk != other.read(1 << 20):
                return False
    return True


def copy_all(source: int, target: int) -> None:
    """Every byte of one open file to another."""
    _copy(source, Copy(0, os.fstat(source).st_size), target, _nothing)


def _unnamed(folder: Path) -> int | None:
    flag = getattr(os, "O_TMPFILE", None)
    if flag is None or not os.path.isdir("/proc/self/fd"):
        return None
    try:
        return os.open(folder, os.O_RDWR | flag, 0o666)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL):
            return None
        raise


def _link(descriptor: int, path: Path) -> None:
    """Give a file without a name its name. With a directory descriptor, Python asks linkat to follow the /proc link."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


def _ranged(source: int, target: int, offset: int, count: int) -> int:
    return os.copy_file_range(source, target, count, offset)  # a reflink where the file system has it


def _sent(source: int, target: int, offset: int, count: int) -> int:
    return os.sendfile(target, source, offset, count)


def _read(source: int, target: int, offset: int, count: int) -> int:
    data = os.pread(source, min(count, CHUNK >> 4), offset)
    write(target, data)
    return len(data)


# ways to copy, the fastest first; each but the last may be missing on a system, or between two file systems
WAYS = {"copy_file_range": _ranged, "sendfile": _sent, "pread": _read}
_UNABLE = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


def _copy(source: int, piece: Copy, target: int, progress: Progress) -> None:
    offset, left = piece
    ways = [way for name, way in WAYS.items() if hasattr(os, name)]
    while left:
        try:
            done = ways[0](source, target, offset, min(left, CHUNK))
        except OSError as error:
            if error.errno not in _UNABLE or len(ways) == 1:
                raise
            del ways[0]
            continue
        if done == 0:
            raise OutputError("the model became shorter while it was copied; nothing was written")
        offset, left = offset + done, left - done
        _begin_writing(target, done)
        progress(done)


def _begin_writing(target: int, count: int) -> None:
    """Lets the disk begin with the last `count` bytes, so that the sync at the end has little left to wait for: on Linux this
    advice starts the writing of dirty pages, and only of clean ones drops the cache (mm/fadvise.c)."""
    if hasattr(os, "posix_fadvise") and count >= CHUNK:
        end = os.lseek(target, 0, os.SEEK_CUR)
        os.posix_fadvise(target, end - count, count, os.POSIX_FADV_DONTNEED)


def write(target: int, data: bytes) -> None:
    """All of the bytes to a descriptor."""
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EROFS):  # some file systems cannot sync a folder
            raise
    finally:
        os.close(descriptor)
