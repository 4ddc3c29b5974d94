"""Files that hold several groups of statistics by name: the only one, or the one that the user names with --pick."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from onnxscale.errors import StatisticsError, names
from onnxscale.statistics import Reading

Group = TypeVar("Group")


def picked(groups: Mapping[str, Group], reading: Reading, what: str = "groups of statistics") -> tuple[str, Group]:
    """(name, group). Raises StatisticsError, naming every group, where there are several and none is named."""
    if reading.pick:
        if reading.pick not in groups:
            raise StatisticsError(f"--pick {reading.pick}: not among the {what}, which are {names(sorted(groups), 20)}")
        return reading.pick, groups[reading.pick]
    if len(groups) != 1:
        raise StatisticsError(
            f"holds several {what}: {names(sorted(groups), 20)}; name the one that is meant with --pick"
        )
    return next(iter(groups.items()))
