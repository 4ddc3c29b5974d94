"""Python sources and notebooks, by their syntax tree: normalizations, fits, loads, files named, models run."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from onnxscale.auditing.facts import calls, flow, words
from onnxscale.auditing.facts.base import Facts, Mention, Trouble
from onnxscale.auditing.facts.ignoring import ignores
from onnxscale.auditing.facts.scope import Book, dotted
from onnxscale.auditing.facts.values import scales
from onnxscale.auditing.finding import Where

LARGEST = 2 << 20
FILES = (
    ".onnx", ".json", ".yaml", ".yml", ".npz", ".npy", ".joblib", ".pkl", ".pickle", ".skops", ".csv", ".safetensors", ".pt", ".pth",
    ".h5", ".toml", ".parquet", ".txt", ".pbtxt",
)  # fmt: skip
_SERVES = re.compile(
    r"InferenceSession|import flask|from flask|fastapi|tritonclient|bentoml|onnxruntime|readNetFromONNX|gradio|streamlit|"
    r"triton_python_backend_utils|torch_handler|kserve|from ray import serve|litserve|pyfunc\.PythonModel|rknnlite|tflite_runtime"
)
_TRAINS = re.compile(
    r"\.backward\(|\.fit\(|DataLoader\(|optim\.|\.fit_transform\(|\.compile\(\s*(?:optimizer|loss)|ImageFolder\(|train_test_split"
)
_WORTH = re.compile(  # a file without any of these says nothing of normalization, and is not read further
    r"mean|mu\b|std|sigma|255|256|127|128|65535|scal|normali|standardi|onnx|pickle|joblib|load|\.fit|adapt|imread|preprocess|_values|"
    r"totensor|to_tensor|min|max|\.json|\.npz|\.ya?ml|split|stats|log1p|infer\(|0\.\d{3},",
    re.IGNORECASE,
)
_RESCALED = re.compile(r"(?<!PIL)ToTensor\(|to_tensor\(|scale\s*=\s*True|ConvertImageDtype\(")


def read(data: bytes, path: str) -> Facts:
    """The facts of a Python file."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return Facts(path, "python", troubles=(Trouble(Where(path), "not UTF-8"),))
    return _source(text, path, "python", lambda line: Where(path, line))


def read_notebook(data: bytes, path: str) -> Facts:
    """The facts of the code cells of a notebook, read as one program in their order."""
    try:
        content = json.loads(data.decode("utf-8-sig"))
        cells = [c for c in content["cells"] if isinstance(c, dict)]
    except (ValueError, KeyError, TypeError, RecursionError):
        return Facts(path, "notebook", troubles=(Trouble(Where(path), "no Jupyter notebook, or a damaged one"),))
    lines: list[str] = []
    places: list[Where] = []
    for at, cell in enumerate(cells, 1):
        if cell.get("cell_type") != "code":
            continue
        source = cell.get("source", "")
        text = "".join(map(str, source)) if isinstance(source, list) else str(source)
        if text.lstrip().startswith("%%") and not text.lstrip().startswith(("%%time", "%%capture")):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            lines.append(_no_magic(line))
            places.append(Where(path, number, at))
    return _source("\n".join(lines), path, "notebook", lambda n: places[n - 1] if 0 < n <= len(places) else Where(path))


def _no_magic(line: str) -> str:
    """A line without IPython's own syntax, which is no Python."""
    bare = line.lstrip()
    indent = line[: len(line) - len(bare)]
    return f"{indent}pass" if bare[:1] in "%!?" and bare else line.rstrip("?") if line.endswith("?") else line


def _source(text: str, path: str, kind: str, place: Callable[[int], Where]) -> Facts:
    role = words.role_of_path(path) or _role_of_text(text)
    if not _WORTH.search(text):
        return Facts(path, kind, role)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        what = (
            "nested too deeply"
            if isinstance(error, RecursionError | MemoryError)
            else f"no Python 3 ({str(error)[:80]})"
        )
        return Facts(path, kind, role, troubles=(Trouble(Where(path), what),))
    try:
        book = Book(text.splitlines(), place, role, bool(_RESCALED.search(text)))
        names = flow.walk(book, tree)
    except RecursionError:
        return Facts(path, kind, role, troubles=(Trouble(Where(path), "nested too deeply"),))
    mentions = tuple(_mentions(tree, place, role))
    imports: dict[str, list[str]] = {}
    for module, name in book.imported.values():
        imports.setdefault(module, []).append(name)
    return Facts(
        path, kind, role, tuple(n for n in book.norms.values() if scales(n.steps)),
        tuple(dict.fromkeys(book.fits)), tuple(dict.fromkeys(book.splits)),
        tuple(dict.fromkeys(book.unsafe)), mentions, tuple(book.runs), tuple(dict.fromkeys(book.pixels)),
        pairs=tuple(book.pairs), constants=flow.constants(names), imports=tuple((m, tuple(n)) for m, n in imports.items()),
        ignores=ignores(text, place),
    )  # fmt: skip


def _role_of_text(text: str) -> str:
    serves, trains = bool(_SERVES.search(text)), bool(_TRAINS.search(text))
    return "serve" if serves and not trains else "train" if trains and not serves else ""


def _mentions(tree: ast.Module, place: Callable[[int], Where], role: str) -> Iterator[Mention]:
    """Every file that a string names, and whether it is read or written there."""
    stack: list[tuple[ast.AST, str]] = [(tree, "names")]
    while stack:
        node, how = stack.pop()
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # a docstring
        if isinstance(node, ast.Call):
            yield from _places(node, place, role)
            how = _how(node, how)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 300:
            name = node.value.strip()
            loaded = how == "loads" and name and not name.startswith("-")
            if PurePosixPath(name).suffix.lower() in FILES or loaded:
                yield Mention(place(node.lineno), name.replace("\\", "/"), how, role)
        stack.extend((child, how) for child in ast.iter_child_nodes(node))


def _places(node: ast.Call, place: Callable[[int], Where], role: str) -> Iterator[Mention]:
    """A folder of settings (Hydra), and a model of a server by its name (Triton)."""
    last = dotted(node.func).rpartition(".")[2]
    given = {k.arg: k.value for k in node.keywords}
    if last in ("main", "initialize", "initialize_config_dir"):
        found, how = given.get("config_path", given.get("config_dir")), "folder"
    elif last in ("infer", "async_infer", "async_stream_infer"):
        found, how = given.get("model_name", node.args[0] if node.args else None), "served"
    else:
        return
    if isinstance(found, ast.Constant) and isinstance(found.value, str):
        yield Mention(place(node.lineno), found.value, how, role)


def _how(node: ast.Call, before: str) -> str:
    last = dotted(node.func).rpartition(".")[2] or (node.func.attr if isinstance(node.func, ast.Attribute) else "")
    if last in calls.WRITERS:
        return "writes"
    if last == "open":
        modes = [
            a.value
            for a in [*node.args[1:2], *(k.value for k in node.keywords if k.arg == "mode")]
            if isinstance(a, ast.Constant)
        ]
        return "writes" if any(isinstance(m, str) and set(m) & set("wax") for m in modes) else "reads"
    if last == "from_pretrained":
        return "loads"
    return before if before == "writes" else "reads"
