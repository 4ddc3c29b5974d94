"""What was fitted, as text: a line per column, then what the user should know."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxscale.profile import Profile
from onnxscale.reporting.clean import clean
from onnxscale.reporting.text import MOST_FEATURES
from onnxscale.statistics import Fitted


def fitted(f: Fitted, what: str = "") -> str:
    """A table of the columns, and the scaler in words."""
    assert f.profile is not None
    lines = [f"{what}{f.scaler.kind}: {f.transform().prose()}", *columns(f.profile)]
    return "\n".join(map(clean, lines))


def columns(p: Profile) -> list[str]:
    """A line per column: finite values, those left out, mean, std, range, median."""
    shape = p.about.get("shape") or [p.width]  # of what is fitted by step, a column is named by its place: 3,0
    called = list(p.features) or [",".join(map(str, place)) for place in np.ndindex(*shape)]
    table: list[tuple[str, list[str]]] = [("column", called)]
    if p.dtypes:
        table.append(("dtype", list(p.dtypes)))
    if any(p.units):
        table.append(("unit", list(p.units)))
    table.append(("count", [f"{c:,}" for c in p.count]))
    table += [
        (title, [f"{c:,}" for c in v]) for title, v in (("nulls", p.nulls), ("not finite", p.nonfinite)) if np.any(v)
    ]
    table += [(k, [f"{v:.6g}" for v in getattr(p, k)]) for k in ("mean", "std", "min")]
    if p.quantiles is not None:
        table.append(("median", [f"{v:.6g}" for v in p.quantiles[:, 32]]))
    table.append(("max", [f"{v:.6g}" for v in p.max]))
    shown = [[title, *cells[:MOST_FEATURES]] for title, cells in table]
    widths = [max(map(len, cells)) for cells in shown]
    left = {0, 1} if p.dtypes else {0}
    rows = [
        "  "
        + "  ".join(
            c[i].ljust(w) if k in left else c[i].rjust(w) for k, (c, w) in enumerate(zip(shown, widths, strict=True))
        )
        for i in range(len(shown[0][: MOST_FEATURES + 1]))
    ]
    if p.width > MOST_FEATURES:
        rows.append(f"  ... {p.width - MOST_FEATURES} more columns (the file has all)")
    about = p.about
    files = about.get("files", [])
    read = f" in {len(files)} file(s), {about.get('bytes', 0):,} bytes" if files else ""
    if "pictures" in about:
        read = f" of {about['pictures']:,} pictures, {about.get('bytes', 0):,} bytes"
    return [
        *rows,
        f"  {p.rows:,} {'pixels' if 'pictures' in about else 'rows'}{read}, by {about.get('engine', 'numpy')}",
    ]


def plain(f: Fitted) -> dict[str, Any]:
    """What --json prints of it."""
    assert f.profile is not None
    return {
        "kind": f.scaler.kind,
        "steps": f.transform().to_json(),
        "rows": f.profile.rows,
        "profile": f.profile.to_json(),
        "warnings": list(f.warnings),
    }
