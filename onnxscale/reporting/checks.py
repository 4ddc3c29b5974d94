"""What a check found, as text for a terminal, JSON values, Markdown for a pull request, or Prometheus' text format."""

from __future__ import annotations

from typing import Any

from onnxscale.checking.result import VERDICTS, Check, Column
from onnxscale.reporting.clean import clean
from onnxscale.reporting.plain import value

HEADS = {"ok": "AS EXPECTED", "warning": "WARNING", "drift": "DRIFT", "mismatch": "MISMATCH", "unknown": "CANNOT TELL"}


def text(found: Check, limit: int = 10) -> str:
    """The verdict, what to do, the columns concerned (limit at most), and what was not tested."""
    lines = [f"{HEADS[found.level]}: {found.story}"]
    if found.todo:
        lines.append(f"  do: {found.todo}")
    lines += [f"  {_line(c)}" for c in found.columns[:limit]]
    if len(found.columns) > limit:
        lines.append(f"  ... {len(found.columns) - limit} more columns (--limit)")
    lines += [f"  warning: {w.column}: {w.message}" for w in found.warnings[:limit]]
    if len(found.warnings) > limit:
        lines.append(f"  ... {len(found.warnings) - limit} more warnings (--limit)")
    if found.also:
        lines.append(f"  it could also be: {', '.join(found.also)}")
    lines += [f"  not tested: {u}" for u in found.untested]
    lines.append(
        f"  {found.rows:,} rows of {found.width:,} columns against {found.source}{f', input {found.input}' if found.input else ''}"
    )
    return "\n".join(map(clean, lines))


def _line(c: Column) -> str:
    numbers = []
    if c.mean is not None and c.expected_mean is not None:
        numbers.append(f"mean {c.mean:.4g} (expected {c.expected_mean:.4g})")
    if c.shift is not None:
        numbers.append(f"{c.shift:+.2f} sigma")
    if c.distance is not None:
        numbers.append(f"KS {c.distance:.2f}")
    if c.psi is not None:
        numbers.append(f"PSI {c.psi:.2f}")
    return f"{c.name}: {'; '.join(([c.said] if c.said else []) + [', '.join(numbers)] if numbers else [c.said])}"


def plain(found: Check) -> dict[str, Any]:
    """What `check --json` prints."""
    content: dict[str, Any] = value(found)
    return {"verdict": found.verdict, "level": found.level, "expected": found.expected, **content}


def markdown(found: Check, limit: int = 10) -> str:
    """For a pull request."""
    lines = [f"### {HEADS[found.level]}: {_cell(found.story)}", ""]
    if found.todo:
        lines += [f"**Do:** {_cell(found.todo)}", ""]
    if found.columns:
        lines += ["| column | | mean | expected | shift (sigma) | KS | PSI |", "|---|---|--:|--:|--:|--:|--:|"]
        for c in found.columns[:limit]:
            numbers = [_number(v) for v in (c.mean, c.expected_mean, c.shift, c.distance, c.psi)]
            lines.append(f"| {_cell(c.name)} | {_cell(c.said)} | {' | '.join(numbers)} |")
        if len(found.columns) > limit:
            lines.append(f"| ... {len(found.columns) - limit} more | | | | | | |")
        lines.append("")
    lines += [f"- warning: {_cell(w.column)}: {_cell(w.message)}" for w in found.warnings[:limit]]
    lines += [f"- not tested: {_cell(u)}" for u in found.untested]
    lines += ["", f"{found.rows:,} rows of {found.width:,} columns against {_cell(found.source)}."]
    return "\n".join(lines)


def _number(v: float | None) -> str:
    return "" if v is None else f"{v:.4g}"


def _cell(said: str) -> str:
    return clean(said).replace("|", "\\|").replace("<", "&lt;").replace("`", "'")


def prometheus(found: Check) -> str:
    """The text exposition format, version 0.0.4: the verdict as a state set, rows, and numbers of the columns concerned."""
    labels = f'source="{_label(found.source)}",input="{_label(found.input)}"'
    lines = [
        "# HELP onnxscale_check_verdict The verdict of the last check: 1 for the one that holds.",
        "# TYPE onnxscale_check_verdict gauge",
        *(f'onnxscale_check_verdict{{{labels},verdict="{v}"}} {int(v == found.verdict)}' for v in VERDICTS),
        "# HELP onnxscale_check_level The level of the last check: 1 for the one that holds.",
        "# TYPE onnxscale_check_level gauge",
        *(f'onnxscale_check_level{{{labels},level="{v}"}} {int(v == found.level)}' for v in HEADS),
        "# HELP onnxscale_check_rows Rows that were read.",
        "# TYPE onnxscale_check_rows gauge",
        f"onnxscale_check_rows{{{labels}}} {found.rows}",
        "# HELP onnxscale_check_warnings Warnings.",
        "# TYPE onnxscale_check_warnings gauge",
        f"onnxscale_check_warnings{{{labels}}} {len(found.warnings)}",
    ]
    for key, help_ in (
        ("distance", "Kolmogorov-Smirnov distance of a column concerned."),
        ("shift", "Shift of the mean of a column concerned, in sigmas of the training data."),
        ("psi", "Population stability index of a column concerned, its bias removed."),
    ):
        rows = [(c, getattr(c, key)) for c in found.columns if getattr(c, key) is not None]
        if rows:
            lines += [f"# HELP onnxscale_check_column_{key} {help_}", f"# TYPE onnxscale_check_column_{key} gauge"]
            lines += [
                f'onnxscale_check_column_{key}{{{labels},column="{_label(c.name)}",index="{c.index}"}} {v!r}'
                for c, v in rows
            ]
    return "\n".join(lines)


def _label(said: str) -> str:
    """A label's value: the three escapes of the format, and control characters as text."""
    lines = (clean(line).replace("\\", "\\\\").replace('"', '\\"') for line in said.split("\n"))
    return "\\n".join(lines)
