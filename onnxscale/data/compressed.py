"""Text files that are compressed: .csv.gz and the like."""

from __future__ import annotations

import bz2
import gzip
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

from onnxscale.errors import DataError

SUFFIXES = (".gz", ".zst", ".bz2")


def bare(path: str) -> str:
    """A name without the suffix of its compression, in lower case."""
    low = path.lower()
    return next((low.removesuffix(s) for s in SUFFIXES if low.endswith(s)), low)


@contextmanager
def opened(path: str, system: Any = None) -> Iterator[IO[bytes]]:
    """The content of a file, of an fsspec file system or a local one. Raises DataError where it cannot be read."""
    low = path.lower()
    reader = next((r for s, r in _READERS.items() if low.endswith(s)), None)
    try:
        with system.open(path, "rb") if system is not None else open(path, "rb") as raw:
            if reader is None:
                yield raw
            else:
                with reader(raw) as file:
                    yield file
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None


def _zstandard(raw: IO[bytes]) -> IO[bytes]:
    try:
        import pyarrow as pa
    except ImportError:
        raise DataError("zst files need pyarrow: pip install 'onnxscale[parquet]'") from None
    return cast("IO[bytes]", io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd")))


_READERS: dict[str, Callable[[IO[bytes]], Any]] = {
    ".gz": lambda raw: gzip.GzipFile(fileobj=raw),
    ".bz2": bz2.BZ2File,
    ".zst": _zstandard,
}
