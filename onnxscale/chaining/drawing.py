"""A chain as a picture: text, Mermaid, or SVG. Stages in columns from left to right, an edge with its verdict and its space."""

from __future__ import annotations

from xml.sax.saxutils import escape

from onnxscale.chaining import tensors
from onnxscale.chaining.checking import DIFFERS, HOLDS, Checked, Report
from onnxscale.errors import ChainError, names

FORMATS = ("text", "mermaid", "svg")
_COLORS = {HOLDS: "#2e7d32", DIFFERS: "#c62828"}
_WIDTH, _HEIGHT, _GAP, _DOWN = 180, 46, 150, 40


def draw(report: Report, form: str = "text") -> str:
    """The picture of a checked chain. Raises ChainError for a format that is not known."""
    if form not in FORMATS:
        raise ChainError(f"--format {form}: unknown; choose one of {names(FORMATS)}")
    return {"text": _text, "mermaid": _mermaid, "svg": _svg}[form](report)


def _label(e: Checked) -> str:
    return f"{e.edge.output} to {e.edge.input}: {e.verdict}"


def _text(report: Report) -> str:
    columns = _columns(report)
    lines = [f"{'  ' * depth}{stage}" for depth, column in enumerate(columns) for stage in column]
    return "\n".join([*lines, *(f"{e.edge.prose()}  [{e.verdict}]" for e in report.edges)])


def _mermaid(report: Report) -> str:
    ids = {name: f"s{i}" for i, name in enumerate(report.chain.stages)}
    lines = ["flowchart LR"]
    for name, stage in report.chain.stages.items():
        shape = ('["', '"]') if stage.model else ('(["', '"])')
        lines.append(f"  {ids[name]}{shape[0]}{_quoted(name)}{shape[1]}")
    for i, e in enumerate(report.edges):
        lines.append(f'  {ids[e.edge.source]} -->|"{_quoted(_label(e))}"| {ids[e.edge.target]}')
        lines.append(f"  linkStyle {i} stroke:{_COLORS.get(e.verdict, '#f9a825')}")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """Text inside Mermaid's quotes, where # starts an entity and no other character is special."""
    return "".join(c if c.isalnum() or c in " ._-:" else f"#{ord(c)};" for c in text)


def _columns(report: Report) -> list[list[str]]:
    """The stages by how many others lie before them at most."""
    depth = dict.fromkeys(report.chain.stages, 0)
    for name in tensors.order(report.chain, [e.ends for e in report.edges]):
        depth[name] = max((depth[e.edge.source] + 1 for e in report.edges if e.edge.target == name), default=0)
    return [[s for s, d in depth.items() if d == i] for i in range(max(depth.values(), default=0) + 1)]


def _svg(report: Report) -> str:
    place = {
        s: (20 + i * (_WIDTH + _GAP), 20 + j * (_HEIGHT + _DOWN))
        for i, column in enumerate(_columns(report))
        for j, s in enumerate(column)
    }
    width = max(x for x, _ in place.values()) + _WIDTH + 20
    height = max(y for _, y in place.values()) + _HEIGHT + 20
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        '<defs><marker id="end" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0L10 5L0 10z"/></marker></defs>',
    ]
    for e in report.edges:
        (x0, y0), (x1, y1) = place[e.edge.source], place[e.edge.target]
        a, b = (x0 + _WIDTH, y0 + _HEIGHT / 2), (x1, y1 + _HEIGHT / 2)
        color, middle = _COLORS.get(e.verdict, "#f9a825"), (a[0] + b[0]) / 2
        lines.append(
            f'<path d="M{a[0]} {a[1]}C{middle} {a[1]} {middle} {b[1]} {b[0]} {b[1]}" fill="none" stroke="{color}" '
            f'stroke-width="2" marker-end="url(#end)"><title>{escape("; ".join(e.reasons) or e.verdict)}</title></path>'
            f'<text x="{middle}" y="{(a[1] + b[1]) / 2 - 6}" text-anchor="middle" fill="{color}">{escape(_label(e)[:28])}</text>'
        )
    for name, (x, y) in place.items():
        round_ = 6 if report.chain.stages[name].model else 22
        lines.append(
            f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="{round_}" fill="#eceff1" stroke="#455a64"/>'
            f'<text x="{x + _WIDTH / 2}" y="{y + _HEIGHT / 2 + 4}" text-anchor="middle">{escape(name[:26])}</text>'
        )
    return "\n".join([*lines, "</svg>"])
