"""External data: the files that a model says its tensors lie in, opened only inside the model's own folder.

The rule is onnxruntime's, which also serves the Hugging Face cache: the real file must lie under the folder the model
is named in, or, where the model is itself a link, under the folder of the real model file. Absolute paths, `..` and
NUL are refused whatever they lead to. Special files (FIFOs, devices) are never read.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx

from onnxscale.errors import ModelError, names

_DIGITS = re.compile(r"[0-9]{1,18}")  # what onnxruntime reads too; Python's int would take ' 1_0' and '+1'


def entries(tensor: onnx.TensorProto) -> dict[str, str]:
    """The external_data entries of a tensor as a dict. Raises ModelError for a key that stands there twice: of two locations
    one reader takes the first and another the last, so that what is checked would not be what is read."""
    found = {e.key: e.value for e in tensor.external_data}
    if len(found) < len(tensor.external_data):
        twice = names(k for k, n in Counter(e.key for e in tensor.external_data).items() if n > 1)
        raise ModelError(f"tensor {tensor.name!r} says {twice} of its data twice; the model is damaged")
    return found


def extent(tensor: onnx.TensorProto) -> tuple[int, int | None]:
    """(offset, length or None) of the external data of a tensor. Raises ModelError for anything but digits."""
    said = entries(tensor)
    wrong = [k for k in ("offset", "length") if not _DIGITS.fullmatch(said.get(k, "0"))]
    if wrong:
        raise ModelError(
            f"tensor {tensor.name!r} has an {wrong[0]} that is no number ({said[wrong[0]][:40]!r}); the model is damaged"
        )
    return int(said.get("offset", "0")), int(said["length"]) if "length" in said else None


def located(model: Path, location: str, tensor: str) -> Path:
    """The real path of an external data file. Raises ModelError where it is missing or outside the model's folder."""

    def refused(reason: str) -> ModelError:
        return ModelError(
            f"{model.name}: tensor {tensor!r} keeps its data in {location[:200]!r}, which {reason}. "
            f"External data must lie in the model's own folder ({model.parent}); nothing outside it is opened"
        )

    posix, windows = PurePosixPath(location), PureWindowsPath(location)
    if not location or "\0" in location:
        raise refused("is not a file name")
    if posix.is_absolute() or windows.is_absolute() or windows.drive or windows.root:
        raise refused("is an absolute path")
    if ".." in posix.parts or ".." in windows.parts:
        raise refused("leads out of it with '..'")
    named = Path(os.path.abspath(model)).parent
    target = Path(os.path.realpath(named / location))
    homes = {Path(os.path.realpath(named))}
    if model.is_symlink():
        homes.add(Path(os.path.realpath(model)).parent)
    if not any(target.is_relative_to(home) for home in homes):
        raise refused("is a link that leads out of it")
    if not _exists(target):
        raise ModelError(
            f"{model.name}: tensor {tensor!r} keeps its data in {location[:200]!r}, and there is no such file in "
            f"{model.parent}. Put the data file beside the model"
        )
    return target


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long for any file
        return False


def opened(path: Path, *, real: bool = False) -> int:
    """A descriptor of a regular file, for reading. real: the path is one that `located` gave, so that a link anywhere in it was
    put there since. Raises ModelError for such a link, a directory, a FIFO, a device, a socket."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        descriptor = os.open(path, flags | (getattr(os, "O_NOFOLLOW", 0) if real else 0))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({os.strerror(error.errno or 0)})") from None
    wrong = "not a regular file" if not stat.S_ISREG(os.fstat(descriptor).st_mode) else ""
    if real and not wrong and _moved(descriptor, path):
        wrong = "became a link while it was read"
    if wrong:
        os.close(descriptor)
        raise ModelError(f"{path}: {wrong}")
    return descriptor


def _moved(descriptor: int, path: Path) -> bool:
    """Whether a folder on the way was exchanged for a link before the file was opened; only Linux says what was opened."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}") != str(path)
    except OSError:
        return False


def files(model: Path | None, tensors: Iterable[onnx.TensorProto]) -> dict[str, Path]:
    """Location -> real path of every external data file that the tensors name."""
    found: dict[str, Path] = {}
    for tensor in tensors:
        location = entries(tensor).get("location", "")
        if location not in found:
            found[location] = located(needs_path(model, tensor), location, tensor.name)
    return found


def needs_path(model: Path | None, tensor: onnx.TensorProto) -> Path:
    """The model's path; ModelError where the model came as bytes, so that nobody knows its folder."""
    if model is None:
        raise ModelError(
            f"tensor {tensor.name!r} keeps its data in another file, and a model given as bytes has no folder to look "
            f"in: pass the model's path"
        )
    return model
