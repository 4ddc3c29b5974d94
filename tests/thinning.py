"""Of many alike, some in the fast tests and all in the slow ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def thinned(values: Iterable[Any], every: int = 3) -> list[Any]:
    """Parameters of a test: one in `every` runs by `make test`, the others by `make test-all`."""
    return [v if i % every == 0 else pytest.param(v, marks=pytest.mark.slow) for i, v in enumerate(values)]
