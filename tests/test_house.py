"""The house rules that a machine can judge: which way imports point, which room may import what, how long a file is."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "onnxscale"
FILES = sorted(ROOT.rglob("*.py"))

# Each row may import rows above it and itself.
ORDER = [
    {"errors"},
    {"step"},
    {"steps"},
    {"transform"},
    {"scalers"},
    {"profile", "precision", "samples", "canonical"},
    {"statistics", "probing", "likening"},
    {"spaces"},
    {"changes"},
    {"digests"},
    {"wire", "pieces", "external", "walk"},
    {"remote", "linting"},
    {"data"},
    {"sources"},
    {"runs"},
    {"lazy"},
    {"rendering"},
    {"modelfile"},
    {"tensors", "saving"},
    {"preflight", "graph"},
    {"recognition", "placing", "pixels", "companions"},
    {"origins"},
    {"ports"},
    {"fitting"},
    {"targets"},
    {"folding"},
    {"guarding"},
    {"plans"},
    {"planning"},
    {"baking"},
    {"worker", "comparing", "feeding", "rows"},
    {"seam", "judging", "reference", "watching"},
    {"layer"},
    {"verifying"},
    {"proving"},
    {"converting"},
    {"record", "destination", "spilling", "rebaking"},
    {"pipeline"},
    {"looking"},
    {"checking", "expecting"},
    {"effects"},
    {"diffing", "locks", "signing"},
    {"locking", "chaining"},
    {"moved"},
    {"auditing"},
    {"reporting"},
    {"cli"},
    {"__init__", "__main__"},
]
LEVEL = {name: level for level, row in enumerate(ORDER) for name in row}
NUMPY_ONLY = {
    "profile",
    "errors",
    "step",
    "steps",
    "transform",
    "scalers",
    "statistics",
    "precision",
    "samples",
    "linting",
    "changes",
    "probing",
    "likening",
}
HEAVY = {"sklearn", "torch", "pyarrow", "skl2onnx", "yaml", "h5py", "pandas"}
LIGHT = {"numpy", "onnxscale"}


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def own_rooms(path: Path, **how: bool) -> set[str]:
    parts = [name.split(".") for name in imports(path, **how)]
    return {p[1] for p in parts if p[0] == "onnxscale" and len(p) > 1 and p[1] in LEVEL}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    mine = room(path)
    assert mine in LEVEL, f"{mine} has no place in the order of the house (tests/test_house.py)"
    wrong = {r for r in own_rooms(path, top_level_only=True) if LEVEL[r] > LEVEL[mine]}
    assert not wrong, f"{path.name} imports {wrong}, which stand above it"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_each_room_keeps_to_its_libraries(path: Path) -> None:
    top = {name.split(".")[0] for name in imports(path, top_level_only=True)}
    outside = top - set(sys.stdlib_module_names) - LIGHT
    if room(path) in NUMPY_ONLY:
        assert not outside, f"{path.name} may import numpy only, not {outside}"
    assert not outside & HEAVY, f"{path.name} imports {outside & HEAVY} outside the function that needs it"
    if room(path) != "worker":
        assert "onnxruntime" not in {n.split(".")[0] for n in imports(path)}, "onnxruntime runs only in the worker"
    if room(path) not in ("cli", "reporting"):
        assert not outside & {"typer", "rich"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_one_job_a_file(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 330
    assert path.name == "__init__.py" or ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_public_names_are_there() -> None:
    import onnxscale

    for name in onnxscale.__all__:
        assert getattr(onnxscale, name).__doc__, f"{name} has no docstring"


@pytest.mark.parametrize("code", ["import onnxscale", "from onnxscale.cli import app"])
def test_a_cheap_import_imports_nothing_heavy(code: str) -> None:
    check = f"{code}; import sys; print([m for m in ('onnx', 'onnxruntime', 'numpy', 'sklearn', 'rich.console') if m in sys.modules])"
    got = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert got.stdout.strip() == "[]"
