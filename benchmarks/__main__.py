"""`python -m benchmarks NAME` runs one benchmark; the names are the modules of this folder."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

NAMES = sorted(
    p.stem
    for p in Path(__file__).parent.glob("*.py")
    if p.stem not in ("__init__", "__main__", "faults", "measuring", "subjects")
)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each case; more gives steadier figures")
    parser.add_argument(
        "--json", type=Path, default=None, help="where to write the figures; by default benchmarks/results/NAME.json"
    )
    asked = parser.parse_args()
    import_module(f"benchmarks.{asked.name}").main(asked.seconds, asked.json)
