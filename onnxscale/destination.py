"""Where a baked file goes: what may be replaced there, and the external data that go along."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from onnxscale import external, modelfile, recognition, saving, tensors, walk
from onnxscale.errors import ModelError
from onnxscale.modelfile import ModelFile


def same_file(a: Path, b: Path) -> bool:
    return os.path.realpath(a) == os.path.realpath(b) or (b.exists() and os.path.samefile(a, b))


def replaceable(path: Path, *, baked: bool) -> bool:
    """Whether a file that is there is a model of the kind that is to be written, with a scaler in it or without."""
    if not path.is_file():
        return False
    try:
        return (recognition.recorded(modelfile.open_model(path)) is not None) == baked
    except ModelError:
        return False


def data_files(model: ModelFile) -> dict[str, Path]:
    return external.files(model.path, (t for t in walk.tensors(model.skeleton) if tensors.is_outside(t)))


def beside(model: ModelFile, out: Path) -> bool:
    return model.path is not None and os.path.realpath(model.path.parent) == os.path.realpath(out.parent)


@contextmanager
def carried(model: ModelFile, out: Path) -> Iterator[None]:
    """The external data files of a model copied beside `out`, where it goes to another folder, for a block that puts the
    model there; where the block fails, they are removed again. Bakes into one folder wait for each other: none may
    remove what another has come to rely on."""
    files = {} if beside(model, out) else data_files(model)
    made: list[Path] = []
    with saving.locked(out.parent) if files else nullcontext():
        try:
            for location, source in files.items():
                target = out.parent / location
                target.parent.mkdir(parents=True, exist_ok=True)
                if target.exists() and saving.equal_files(source, target):
                    continue
                descriptor = external.opened(source)
                try:
                    saving.place(target, lambda to, d=descriptor: saving.copy_all(d, to))  # type: ignore[misc]
                finally:
                    os.close(descriptor)
                made.append(target)
            yield
        except BaseException:
            for data in made:
                data.unlink(missing_ok=True)
            raise
