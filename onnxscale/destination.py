"""Where a baked file goes: what may be replaced there, and the external data that go along."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

from onnxscale import external, modelfile, recognition, saving, tensors, walk
from onnxscale.errors import ModelError, OutputError
from onnxscale.modelfile import ModelFile
from onnxscale.pieces import Pieces


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


def copies(model: ModelFile, out: Path) -> dict[str, str]:
    """Location -> another name in the same folder for the external data of a model that is to have its own beside `out`."""
    if not beside(model, out):
        return {}
    renamed = {where: Path(where).with_name(f"{out.stem}.{Path(where).name}") for where in data_files(model)}
    return {where: name.as_posix() for where, name in renamed.items()}


@contextmanager
def carried(
    model: ModelFile, out: Path, names: Mapping[str, str] | None = None, *, link: bool = False, without: str = ""
) -> Iterator[None]:
    """The external data files of a model copied beside `out`, where it goes to another folder or asks for other names, for
    a block that puts the model there; where the block fails, they are removed again. Bakes into one folder wait for each
    other: none may remove what another has come to rely on. names: location -> another. link: hard links, no copies.
    without: a location that does not go along."""
    names = names or {}
    files = data_files(model) if names or not beside(model, out) else {}
    files.pop(without, None)
    made: list[Path] = []
    with saving.locked(out.parent) if files else nullcontext():
        try:
            for location, source in files.items():
                target = out.parent / names.get(location, location)
                target.parent.mkdir(parents=True, exist_ok=True)
                if target.exists() and (os.path.samefile(source, target) or saving.equal_files(source, target)):
                    continue
                _linked(source, target) if link else _copied(source, target)
                made.append(target)
            yield
        except BaseException:
            for data in made:
                data.unlink(missing_ok=True)
            raise


def _copied(source: Path, target: Path) -> None:
    descriptor = external.opened(source, real=True)
    try:
        saving.place(target, lambda to: saving.copy_all(descriptor, to))
    finally:
        os.close(descriptor)


def _linked(source: Path, target: Path) -> None:
    saving.check(target)
    try:
        os.link(source, target)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise OutputError(
            f"{target}: cannot be a hard link to {source} ({reason}); leave --link-data away to copy it"
        ) from None


@contextmanager
def held(model: ModelFile, content: Pieces, path: Path, *, replace: bool) -> Iterator[None]:
    """A data file of the pieces of `model`, where there are any, for a block that puts the model there; where the block
    fails, it is removed again."""
    if content:
        saving.save(model, content, path, replace=replace)
    try:
        yield
    except BaseException:
        if content:
            path.unlink(missing_ok=True)
        raise
