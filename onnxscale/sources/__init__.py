"""Where statistics are read from: files recognised by their content, dictionaries, scalers, fitted scikit-learn objects.

Four tables: `CONTAINERS` turns bytes into plain values, `configs.CONFIGS` and `dialects.DIALECTS` turn plain values into
scalers, `folders.FOLDERS` reads folders. A new format is one file and one row.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from onnxscale import linting, remote
from onnxscale.errors import ModelError, StatisticsError, Unread
from onnxscale.scalers import KINDS, Scaler
from onnxscale.sources import (
    cmvns,
    csvs,
    deepstreams,
    estimators,
    folders,
    hdf5s,
    joblibs,
    jsons,
    keras_models,
    npzs,
    openvinoargs,
    openvinos,
    pandases,
    parquets,
    pickles,
    pmmls,
    records,
    safetensor,
    skopses,
    tflites,
    tomls,
    torches,
    tritons,
    yamls,
)
from onnxscale.sources.inert import Document
from onnxscale.sources.native import from_mapping
from onnxscale.statistics import Fitted, Reading, Source, Statistics
from onnxscale.transform import Transform

LARGEST = 256 << 20


@dataclass(frozen=True)
class Container:
    """A file format. sniff: whether these bytes, of a file of this name, are it. read: the bytes as plain values, or as
    statistics where the format is a framework's own; raises StatisticsError. beside: the same for a format that keeps a part of
    itself in a file beside, given the path where there is one."""

    format: str
    sniff: Callable[[bytes, str], bool]
    read: Callable[[bytes, Reading], object]
    beside: Callable[[bytes, Reading, Path | None], object] | None = None


def _plain(read: Callable[[bytes], object]) -> Callable[[bytes, Reading], object]:
    """A reader to which nothing that the user says makes a difference."""

    @functools.wraps(read)
    def reader(data: bytes, reading: Reading) -> object:
        del reading
        return read(data)

    return reader


CONTAINERS = (
    Container("skops", skopses.sniff, _plain(skopses.read)),
    Container("keras", keras_models.sniff, keras_models.read),
    Container("hdf5", hdf5s.sniff, hdf5s.read),
    Container("pytorch", torches.sniff, _plain(torches.read)),
    Container("TFLite", tflites.sniff, tflites.read),
    Container("npz", npzs.sniff, _plain(npzs.read)),
    Container("parquet", parquets.sniff, _plain(parquets.read)),
    Container("joblib", pickles.sniff_joblib, _plain(pickles.read)),
    Container("pickle", pickles.sniff, _plain(pickles.read)),
    Container("compressed pickle", joblibs.sniff, _plain(joblibs.read)),
    Container("OpenVINO IR", openvinos.sniff, openvinos.read, openvinos.beside),
    Container("PMML", pmmls.sniff, pmmls.read),
    Container("OpenVINO arguments", openvinoargs.sniff, openvinoargs.read),
    Container("Triton configuration", tritons.sniff, _plain(tritons.read)),
    Container("DeepStream configuration", deepstreams.sniff, deepstreams.read),
    Container("Kaldi matrix", cmvns.sniff, cmvns.read),
    Container("toml", tomls.sniff, _plain(tomls.read)),
    Container("json", jsons.sniff, _plain(jsons.read)),
    Container("safetensors", safetensor.sniff, safetensor.read),
    Container("csv", csvs.sniff, _plain(csvs.read)),
    Container("yaml", yamls.sniff, _plain(yamls.read)),
)


_NEVER = {  # what stands where a file of statistics was meant to be
    b"version https://git-lfs": "a Git LFS pointer, not the file itself (run 'git lfs pull')",
    b"<": "an HTML or XML page, probably a failed download",
    b"\xff\xfe": "text in UTF-16 (save it as UTF-8)",
    b"\xfe\xff": "text in UTF-16 (save it as UTF-8)",
}


def read(source: object, reading: Reading | None = None) -> Statistics:
    """The scalers that `source` holds: a path, bytes, a dict, a data frame of pandas or Polars, a Scaler, Fitted,
    Statistics or Transform, or a fitted scikit-learn scaler. What looks like a mistake in the
    numbers is a warning of its Fitted (linting.py).

    Raises StatisticsError saying what was found, what was expected and what to do; under reading.strict for a warning too.
    """
    reading = reading or Reading()
    if isinstance(source, Statistics):
        return source
    return linted(_read(source, reading), reading)


def linted(found: Statistics, reading: Reading) -> Statistics:
    """The statistics with warnings of what looks like a mistake in the numbers. Raises StatisticsError under reading.strict."""
    inputs, outputs = ({n: _linted(f, reading) for n, f in part.items()} for part in (found.inputs, found.outputs))
    return dataclasses.replace(found, inputs=inputs, outputs=outputs)


def _linted(fitted: Fitted, reading: Reading) -> Fitted:
    said = tuple(f.message for f in linting.findings(fitted))
    if said and reading.strict:
        raise StatisticsError(f"--strict: {'; '.join(said)}")
    return dataclasses.replace(fitted, warnings=(*fitted.warnings, *said)) if said else fitted


def _read(source: object, reading: Reading) -> Statistics:
    if isinstance(source, Fitted):
        return Statistics({None: source}, {}, Source("python"))
    if isinstance(source, Transform):
        return _read_mapping({"kind": "steps", "steps": source}, reading, Source("python"))
    if isinstance(source, tuple(KINDS.values())):
        return Statistics({None: Fitted(_scaler(source))}, {}, Source("python"))
    if isinstance(source, Mapping | list):
        given = pandases.live(source) if isinstance(source, Mapping) else source
        return _read_mapping(given, reading, Source("python dict"))
    if isinstance(source, bytes):
        return _read_bytes(source, "the statistics", reading)
    if isinstance(source, str) and remote.is_url(source):
        return _read_far(source, reading)
    if isinstance(source, str | os.PathLike):
        return _read_file(Path(source), reading)
    if pandases.is_frame(source):
        return _read_mapping(pandases.live(source), reading, Source(f"python {type(source).__name__}"))
    if estimators.is_estimator(source):
        return estimators.read(source, reading)
    raise StatisticsError(
        f"cannot read statistics from a {type(source).__module__}.{type(source).__name__}; expected a path, a dict, a "
        f"Scaler or a fitted scikit-learn scaler"
    )


def _scaler(source: object) -> Scaler:
    assert isinstance(source, tuple(KINDS.values()))
    return source  # type: ignore[return-value]


def _read_file(path: Path, reading: Reading) -> Statistics:
    if path.is_dir():
        inside = folders.member(path)
        return folders.read(path, reading) if inside is None else _read_file(inside, reading)
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise StatisticsError(f"{path}: no such file") from None
    except OSError as error:
        raise StatisticsError(f"{path}: cannot be read ({os.strerror(error.errno or 0)})") from None
    with os.fdopen(descriptor, "rb") as file:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise StatisticsError(f"{path}: not a regular file")
        if state.st_size > LARGEST:
            raise StatisticsError(f"{path}: {state.st_size:,} bytes; a statistics file has at most {LARGEST:,}")
        data = file.read(LARGEST + 1)
    name = os.fsencode(path.name).decode("utf-8", "backslashreplace")  # it stands in records, which are UTF-8
    return _read_bytes(data, name, reading, path)


def _read_far(url: str, reading: Reading) -> Statistics:
    try:
        far = remote.opened(url)
        if far.size > LARGEST:
            raise StatisticsError(f"{url}: {far.size:,} bytes; a statistics file has at most {LARGEST:,}")
        return _read_bytes(far.whole(), url, reading)
    except ModelError as error:
        raise StatisticsError(str(error)) from None


def _read_bytes(data: bytes, name: str, reading: Reading, path: Path | None = None) -> Statistics:
    if not data.strip():
        raise StatisticsError(f"{name}: the file is empty")
    container = next((c for c in CONTAINERS if c.sniff(data, name)), None)
    if container is None:
        said = next((what for start, what in _NEVER.items() if data.lstrip().startswith(start)), "")
        if said:
            raise StatisticsError(f"{name}: {said}; expected statistics")
        if name.lower().endswith(".py"):
            raise StatisticsError(
                f"{name}: a Python program, which is never run; expected its numbers, such as a JSON file with "
                f'{{"mean": [...], "std": [...]}}, or what the fitted scaler was saved as'
            )
        raise StatisticsError(
            f"{name}: not a format that is known; known are {', '.join(c.format for c in CONTAINERS)}"
        )
    source = Source(container.format, name, hashlib.sha256(data).hexdigest())
    try:
        content = container.beside(data, reading, path) if container.beside else container.read(data, reading)
        if isinstance(content, Statistics):
            return dataclasses.replace(content, source=records.located(content.source, source))
        if isinstance(content, Document):
            return records.statistics(content, reading, source)
        return _read_mapping(content, reading, source)
    except Unread as unread:
        raise Unread(f"{name}: {unread}", unread.estimator, unread.source) from None
    except StatisticsError as error:
        raise StatisticsError(f"{name}: {error}") from None


def _read_mapping(content: object, reading: Reading, source: Source) -> Statistics:
    return from_mapping(content, reading, source)
