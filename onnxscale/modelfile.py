"""An ONNX file: opened lazily, edited as a skeleton, saved as a copy with splices, atomically.

file = modelfile.open_model(path)        # small fields decoded, large tensors known by where they lie
edited = file.editable()                 # an ordinary ModelProto; the file itself never changes
pieces = file.render(edited)             # what to copy and what to write
saving.save(file, pieces, out)
"""

from __future__ import annotations

import hashlib
import os
import shutil
import weakref
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from onnxscale import external, lazy, remote, rendering, walk
from onnxscale.digests import stamp
from onnxscale.errors import ModelError
from onnxscale.pieces import Copy, Piece, Pieces
from onnxscale.wire import LENGTH, Buffer, fields, file_window, read_exactly

SMALL = 1 << 22
_GRAPH, _OPSETS, _IR = 7, 8, 1


@dataclass(frozen=True)
class ModelFile:
    """An open model. data: its bytes, or a window on its file. skeleton: see lazy.py; never edited in place."""

    path: Path | None
    data: Buffer
    skeleton: onnx.ModelProto
    descriptor: int | None = None
    stamp: tuple[int, ...] = ()
    url: str = ""

    @property
    def name(self) -> str:
        """What to call the model in a message."""
        return self.path.name if self.path else self.url or "the model"

    def editable(self) -> onnx.ModelProto:
        """A copy of the skeleton to edit."""
        copy = onnx.ModelProto()
        copy.CopyFrom(self.skeleton)
        return copy

    def render(self, edited: onnx.ModelProto) -> Pieces:
        """The edited skeleton as pieces of this file."""
        return rendering.render(self.data, self.skeleton, edited)

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the file as they are."""
        return self.data[offset : offset + length]

    def sha256(self) -> str:
        """Of every byte of the file, in hex. Raises ModelError where the file changed since it was opened."""
        digest = hashlib.sha256()
        if self.descriptor is None:
            digest.update(self.data[0 : len(self.data)])
        else:
            for at in range(0, len(self.data), 1 << 20):
                digest.update(read_exactly(self.descriptor, at, min(1 << 20, len(self.data) - at)))
            self.unchanged()
        return digest.hexdigest()

    def unchanged(self) -> None:
        """Raises ModelError where another process changed the file since it was opened."""
        if self.descriptor is not None and stamp(self.descriptor) != self.stamp:
            raise ModelError(f"{self.path}: the file changed while it was read")

    def bytes_of(self, pieces: Iterable[Piece]) -> bytes:
        """The file that the pieces make, in memory."""
        return b"".join(self.read(*p) if isinstance(p, Copy) else p for p in pieces)

    def close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)

    def __enter__(self) -> ModelFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open_model(source: str | os.PathLike[str] | bytes | onnx.ModelProto) -> ModelFile:
    """Open a model: a path, a URL (of which only the parts that are asked for are read), its bytes, or a ModelProto
    (which is serialized once and never changed).

    Raises ModelError where it is missing, empty, damaged, cut off or something else than ONNX, saying what it is.
    """
    if isinstance(source, onnx.ModelProto):
        source = source.SerializeToString(deterministic=True)
    if isinstance(source, bytes):
        return _parsed(None, source)
    if isinstance(source, str) and remote.is_url(source):
        far = remote.opened(source)
        return far_model(source) if not far.ranges else replace(_parsed(None, far.window(), name=source), url=source)
    path = Path(os.path.abspath(source))
    if path.is_dir():
        raise ModelError(f"{source}: a folder; expected an ONNX file")
    if not path.exists():
        raise ModelError(f"{source}: no such file")
    descriptor = external.opened(path)
    length = os.fstat(descriptor).st_size
    if length > SMALL:
        return _parsed(path, file_window(descriptor, length), descriptor)
    try:
        return _parsed(path, read_exactly(descriptor, 0, length))
    finally:
        os.close(descriptor)


def far_model(url: str) -> ModelFile:
    """The model behind a URL and its external data, fetched into a folder that lives as long as the result."""
    folder = remote.scratch()
    try:
        path = remote.fetch(remote.opened(url), folder)
        model = open_model(path)
        outside = (t for t in walk.tensors(model.skeleton) if t.data_location == onnx.TensorProto.EXTERNAL)
        locations = {external.entries(t).get("location", "") for t in outside if lazy.payload(t) is None}
        remote.fetch_beside(url, sorted(locations), folder)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ModelError(f"{url}: cannot be fetched into {folder.parent} ({error.strerror})") from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(model, shutil.rmtree, folder, ignore_errors=True)
    return model


def _parsed(path: Path | None, data: Buffer, descriptor: int | None = None, name: str = "the model") -> ModelFile:
    name = path.name if path else name
    try:
        head = data[0 : min(len(data), 4096)]
        other = what_it_is(head)
        if other:
            raise ModelError(f"{path or name}: {other}; expected an ONNX model")
        try:
            counts = [f.number for f in fields(data, 0, len(data)) if _known(f.number, f.wire)]
            skeleton = lazy.skeleton(data)
        except ModelError as error:
            raise ModelError(f"{path or name}: not an ONNX model, or a damaged one: {error}") from None
        if counts.count(_GRAPH) > 1:
            raise ModelError(f"{name}: the file holds {counts.count(_GRAPH)} graphs where ONNX has one; it is damaged")
        missing = [
            what for n, what in ((_IR, "ir_version"), (_GRAPH, "graph"), (_OPSETS, "opset_import")) if n not in counts
        ]
        if missing:
            raise ModelError(
                f"{path or name}: not an ONNX model, or cut off: it has no {' and no '.join(missing)}. "
                f"Export or download it again"
            )
    except BaseException:
        if descriptor is not None:
            os.close(descriptor)
        raise
    return ModelFile(path, data, skeleton, descriptor, () if descriptor is None else stamp(descriptor))


def _known(number: int, wire: int) -> bool:
    return (number in (_GRAPH, _OPSETS) and wire == LENGTH) or (number == _IR and wire == 0)


_SIGNATURES = {
    b"version https://git-lfs": "a Git LFS pointer, not the file itself (run 'git lfs pull')",
    b"<": "an HTML or XML page, probably a failed download",
    b"\x1f\x8b": "gzip-compressed (unpack it first)",
    b"PK\x03\x04": "a zip archive",
    b"{": "JSON text",
    b"\x80\x02": "a Python pickle",
    b"\x80\x03": "a Python pickle",
    b"\x80\x04": "a Python pickle",
    b"\x80\x05": "a Python pickle",
    b"\x89HDF": "an HDF5 file",
}


def what_it_is(head: bytes) -> str:
    """What a file that is no ONNX model seems to be, from its first bytes; "" where it may be one."""
    if not head:
        return "the file is empty"
    return next((what for start, what in _SIGNATURES.items() if head.startswith(start)), "")
