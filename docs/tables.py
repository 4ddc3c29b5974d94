"""The README's tables, from the registries: `python -m docs.tables` writes them, with --check it only says whether they hold."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

from onnxscale import scalers, sources
from onnxscale.auditing.facts import KINDS as KINDS_READ
from onnxscale.auditing.rules import RULES
from onnxscale.folding import AFFINE, MONOTONE
from onnxscale.sources.configs import CONFIGS
from onnxscale.sources.dialects import DIALECTS
from onnxscale.sources.folders import FOLDERS
from onnxscale.targets import TARGETS

README = Path(__file__).parents[1] / "README.md"


def _first(text: str | None) -> str:
    """The first sentence of a docstring."""
    flat = " ".join((text or "").split())
    return re.split(r"\.\s", flat)[0].rstrip(".:;")


def _table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [titles, ("---",) * len(titles), *rows]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines)


def kinds() -> str:
    rows = [
        (f"`{kind}`", _first(import_module(row.__module__).__doc__).split(": ", 1)[-1], row.sklearn)
        for kind, row in scalers.KINDS.items()
    ]
    return _table(("kind", "what it computes", "scikit-learn"), rows)


def formats() -> str:
    rows = [(c.format, _first(import_module(c.read.__module__).__doc__)) for c in sources.CONTAINERS]
    return _table(("file", "how it is read"), rows)


def configs() -> str:
    rows = [(c.name, _first(import_module(c.read.__module__).__doc__).split(": ", 1)[-1]) for c in CONFIGS]
    rows += [(f"folder: {f.format}", _first(import_module(f.read.__module__).__doc__)) for f in FOLDERS]
    return _table(("what", "how it is read"), rows)


def keys() -> str:
    rows = [(", ".join(f"`{k}`" for k in sorted(d.needs)), f"`{d.kind}`", d.name) for d in DIALECTS if d.name]
    return _table(("keys", "kind", "--dialect"), rows)


def absorbers() -> str:
    rows = [
        (", ".join(sorted(op for _, op in AFFINE)), "any affine scaler"),
        (", ".join(sorted(op for _, op in MONOTONE)), "any monotone scaler"),
    ]
    return _table(("operator", "absorbs"), rows)


def targets() -> str:
    rows = [(f"`{w.format}`", _first(w.write.__doc__ if w.format in ("openvino", "deepstream", "rknn", "tflite")
            else import_module(w.write.__module__).__doc__)) for w in TARGETS]  # fmt: skip
    return _table(("--to", "what is written"), rows)


TABLES = {
    "kinds": kinds,
    "formats": formats,
    "configs": configs,
    "keys": keys,
    "absorbers": absorbers,
    "targets": targets,
}


def rules() -> str:
    rows = [(f"`{r.name}`", r.severity, r.what, r.fix) for r in RULES]
    return _table(("rule", "severity", "what it finds", "the way out"), rows)


def kinds_read() -> str:
    rows = [(k.what, ", ".join(f"`{e}`" for e in k.ends)) for k in KINDS_READ]
    return _table(("read", "files"), rows)


AUDITING = README.parent / "docs" / "auditing.md"
PAGES = {README: TABLES, AUDITING: {"rules": rules, "files": kinds_read}}


def filled(text: str, tables: Mapping[str, Callable[[], str]] = TABLES) -> str:
    """A page, the README by default, with its tables made anew."""
    for name, make in tables.items():
        start, end = f"<!-- {name}: made by python -m docs.tables -->\n", f"\n<!-- {name} end -->"
        if start not in text or end not in text:
            raise SystemExit(f"there is no place for the table {name!r}")
        before, rest = text.split(start)
        text = before + start + make() + end + rest.split(end)[1]
    return text


def main() -> None:
    for page, tables in PAGES.items():
        text = page.read_text(encoding="utf-8")
        new = filled(text, tables)
        if "--check" in sys.argv and new != text:
            raise SystemExit(f"{page.name}'s tables are not those of the code: run python -m docs.tables")
        page.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
