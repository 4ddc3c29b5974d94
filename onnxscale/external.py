"""External data: the files that a model says its tensors lie in, opened only inside the model's own folder.

The rule is onnxruntime's, which also serves the Hugging Face cache: the real file must lie under the folder the model
is named in, or, where the model is itself a link, under the folder of the real model file. Absolute paths, `..` and
NUL are refused whatever they lead to. Special files (FIFOs, devices) are never read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx

from onnxscale.errors import ModelError


def entries(tensor: onnx.TensorProto) -> dict[str, str]:
    """The external_data entries of a tensor as a dict."""
    return {e.key: e.value for e in tensor.external_data}


def located(model: Path, location: str, tensor: str) -> Path:
    """The real path of an external data file. Raises ModelError where it is missing or outside the model's folder."""

    def refused(reason: str) -> ModelError:
        return ModelError(
            f"{model.name}: tensor {tensor!r} keeps its data in {location!r}, which {reason}. "
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
    if not target.exists():
        raise ModelError(
            f"{model.name}: tensor {tensor!r} keeps its data in {location!r}, and there is no such file in "
            f"{model.parent}. Put the data file beside the model"
        )
    return target


def opened(path: Path) -> int:
    """A descriptor of a regular file, for reading. Raises ModelError for a directory, a FIFO, a device, a socket."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({os.strerror(error.errno or 0)})") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ModelError(f"{path}: not a regular file")
    return descriptor


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
