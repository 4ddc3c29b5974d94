"""One family of errors. A message says what was found, where, what was expected and what to do.

The command line prints the message and exits with `code`; nothing else in the package prints or exits.
"""

from __future__ import annotations

from collections.abc import Iterable


class OnnxscaleError(Exception):
    """Something that cannot go on. Every expected failure of the package is one of these."""

    code = 2


class ModelError(OnnxscaleError):
    """The file is not an ONNX model that can be worked on."""


class StatisticsError(OnnxscaleError):
    """The statistics are missing, malformed, ambiguous or impossible."""


class Unread(StatisticsError):
    """A fitted estimator that no steps of ours stand for. estimator: it, or the record of it that a file holds; source: where it
    is from (statistics.Source)."""

    def __init__(self, message: str, estimator: object, source: object) -> None:
        super().__init__(message)
        self.estimator, self.source = estimator, source


class DataError(OnnxscaleError):
    """The data cannot be read, or its columns are not what was asked for."""


class PlanError(OnnxscaleError):
    """The statistics and the model do not fit each other, or the request contradicts itself."""


class LockError(OnnxscaleError):
    """The lock file is missing or damaged, or what it is to name cannot be locked."""


class ChainError(OnnxscaleError):
    """The chain's file is malformed, or names what is not there."""


class OutputError(OnnxscaleError):
    """The result cannot be put where it was asked to go."""


class VerificationError(OnnxscaleError):
    """The baked model was run and its answers are not the pipeline's, or it could not be run. Nothing was written."""

    code = 1


def names(items: Iterable[object], most: int = 8) -> str:
    """`'a', 'b' and 3 more`: a short list for a message, whatever the items are."""
    listed = [repr(str(item)) for item in items]
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more if listed else "none"
