"""What the README says of the code is true of it."""

from __future__ import annotations

import re
from pathlib import Path

from docs import tables

README = Path(tables.README).read_text(encoding="utf-8")


def test_the_tables_are_those_of_the_code() -> None:
    assert tables.filled(README) == README, "run python -m docs.tables"


def test_every_command_is_in_the_readme_and_the_reverse(cli) -> None:
    listed = set(re.findall(r"^  (\w+)  ", cli("--help").stdout.split("Commands:")[1], re.MULTILINE))
    assert listed == set(re.findall(r"^\| `onnxscale (\w+)", README, re.MULTILINE))


def test_every_file_that_is_named_is_there() -> None:
    root = Path(tables.README).parent
    for name in re.findall(r"`((?:tests|benchmarks|models|docs)/[\w/.]+)`", README):
        assert (root / name).exists(), name
