"""A baseline: findings that are known and accepted, by what they say and not by their lines."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from onnxscale import saving
from onnxscale.auditing.finding import Finding
from onnxscale.errors import OnnxscaleError, OutputError

FORMAT = "onnxscale-baseline/1"
LARGEST = 64 << 20


def write(findings: tuple[Finding, ...], path: Path) -> None:
    """Write the findings as a baseline, atomically, in place of an older baseline. Raises OutputError."""
    if path.exists():
        try:
            read(path)
        except OnnxscaleError:
            raise OutputError(f"{path}: is there and is no baseline; name another file with --write-baseline") from None
    rows = [{"key": f.key(), "rule": f.rule, "path": f.where.path, "message": f.message} for f in findings]
    rows.sort(key=lambda r: (r["path"], r["rule"], r["key"]))
    data = (
        json.dumps({"format": FORMAT, "findings": rows}, indent=1, sort_keys=True, ensure_ascii=True) + "\n"
    ).encode()
    saving.place(path, lambda target: saving.write(target, data), replace=path.exists())


def read(path: Path) -> Counter[str]:
    """How often each finding is accepted. Raises OnnxscaleError where the file is no baseline."""
    try:
        if path.stat().st_size > LARGEST:
            raise OnnxscaleError(f"{path}: larger than a baseline can be")
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError("format")
        return Counter(str(row["key"]) for row in content["findings"])
    except FileNotFoundError:
        raise OnnxscaleError(f"{path}: no such baseline; write one with --write-baseline {path}") from None
    except OSError as error:
        raise OnnxscaleError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise OnnxscaleError(f"{path}: no baseline of an audit; write one with --write-baseline FILE") from None


def new(findings: tuple[Finding, ...], accepted: Counter[str]) -> tuple[Finding, ...]:
    """The findings that the baseline does not have, or has less often."""
    left = Counter(accepted)
    kept = []
    for finding in findings:
        if left[finding.key()] > 0:
            left[finding.key()] -= 1
        else:
            kept.append(finding)
    return tuple(kept)
