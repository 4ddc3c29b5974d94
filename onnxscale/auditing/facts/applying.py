"""What a call does: makes something that scales, applies it, fits it, loads it, runs a model. Rows are tried in order."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace

from onnxscale.auditing.facts import calls, words
from onnxscale.auditing.facts.answers import NOT_MINE, Answer, Call, Pass
from onnxscale.auditing.facts.base import Fit, Operand, Pixels, Ref, Run, Split, Unsafe
from onnxscale.auditing.facts.formulas import formulas
from onnxscale.auditing.facts.making import makes, rescaled, settings
from onnxscale.auditing.facts.options import options
from onnxscale.auditing.facts.scope import Book, Scope, dotted, named
from onnxscale.auditing.facts.values import Data, Held, Known, Made, Own, Steps, Text, Value, arithmetic

_FITS = {"fit", "fit_transform", "partial_fit", "adapt"}


def call(book: Book, node: ast.Call, scope: Scope, c: Call) -> Value:
    """The value of a call; what it says of normalization is noted on the way."""
    mean, std = c.given.get("mean"), c.given.get("std")
    if isinstance(mean, Known) and isinstance(std, Known) and mean.values.size == std.values.size > 1:
        book.pairs.append((book.where(node), book.text(node), mean.values.ravel(), std.values.ravel()))
    for row in _ROWS:
        found = row(book, node, scope, c)
        if not isinstance(found, Pass):
            return found
    made = _unknown(c)
    return replace(made, foreign=c.name) if isinstance(made, Data) and c.name in book.imported else made


def _fits(book: Book, node: ast.Call, scope: Scope, c: Call) -> Answer:
    if c.last not in _FITS or not isinstance(node.func, ast.Attribute):
        return NOT_MINE
    base = dotted(node.func.value)
    made = c.base if isinstance(c.base, Made) else None
    mine = (made is not None and (made.of in words.SCALERS or made.of == "Pipeline")) or words.is_scaler(base)
    if isinstance(node.func.value, ast.Subscript) and isinstance(
        node.func.value.slice, ast.Constant
    ):  # pipe.named_steps["scaler"]
        base = str(node.func.value.slice.value)
        mine = mine or words.is_scaler(base) or base in ("scale", "standardize", "normalize")
    layer = made is not None and made.of == "Normalization"
    if not mine and not (c.last == "adapt" and (layer or "norm" in base.lower())):
        return NOT_MINE
    pipeline = made is not None and made.of == "Pipeline"
    on = tuple(n for a in [*node.args, *(k.value for k in node.keywords)] for n in named(a))
    of = made.of if made else base
    if on:
        kept = tuple(n for n in (base, scope.target) if n)
        book.fits.append(Fit(book.where(node), book.text(node), of, on, kept, scope.function, scope.role or book.role))
    if c.last != "fit_transform":
        return made if made is not None else Made("StandardScaler")
    return c.data if pipeline else _through(book, node, scope, c, base or of)


def _through(book: Book, node: ast.Call, scope: Scope, c: Call, by: str) -> Data:
    data = c.data or Data("")
    steps: Steps = (*data.steps, ("Sub", Ref("mean", f"{by}.mean_")), ("Div", Ref("std", f"{by}.scale_")))
    return book.noted(node, Data(data.root, steps), scope, by="scaler", old=data.serial)


def _transforms(book: Book, node: ast.Call, scope: Scope, c: Call) -> Answer:
    """scaler.transform(x), normalize(x, mean, std), preprocess_input(x), transform(x) of a composed object."""
    base = dotted(node.func.value) if isinstance(node.func, ast.Attribute) else ""
    if c.last == "transform" and c.given and base:
        if (
            (isinstance(c.base, Made) and c.base.of in (*words.SCALERS, "Pipeline"))
            or words.is_scaler(base)
            or "preproc" in base.lower()
        ):
            return _through(book, node, scope, c, base or "scaler")
        return NOT_MINE
    home, name = book.imported.get(c.name.split(".")[0], ("", ""))
    if (
        c.last in calls.OWN_SCALERS
        and c.data is not None
        and home.startswith(("sklearn", "scipy"))
        and "Data" not in name
    ):
        steps = (*c.data.steps, ("Sub", Ref("mean", f"{c.last}()")), ("Div", Ref("std", f"{c.last}()")))
        return book.noted(node, Data(c.data.root, steps, own=True), scope, by="scaler", old=c.data.serial)
    if c.last == "inverse_transform":
        return Data("")
    if c.last in ("normalize", "imnormalize", "imnormalize_") and not c.name.startswith(("cv2", "self")):
        mean, std = c.given.get("mean", c.given.get("1")), c.given.get("std", c.given.get("2"))
        if c.name in book.functions or not isinstance(mean, Known | Ref) or not isinstance(std, Known | Ref):
            return NOT_MINE if c.name in book.functions else c.data
        data = c.data or Data("")
        steps = (*data.steps, ("Sub", calls.operand(mean, "mean")), ("Div", calls.operand(std, "std")))
        return book.noted(node, Data(data.root, steps), scope, old=data.serial)
    if c.last == "preprocess_input":
        data = c.data or Data("")
        does = calls.keras_mode(_home(book, c.name))
        if does is None:
            does = (("Sub", Ref("mean", c.name)), ("Div", Ref("std", c.name)))
        return book.noted(node, Data(data.root, (*data.steps, *does)), scope, old=data.serial) if does else data
    if c.last in ("to_tensor", "img_to_float", "img_as_float", "img_as_float32", "pil_to_tensor"):
        data = c.data or Data("")
        if c.last == "pil_to_tensor" or rescaled(data.steps):
            return data
        return book.noted(
            node, Data(data.root, (*data.steps, *calls.rescale(255.0)), unit=255.0), scope, old=data.serial
        )
    if c.last == "resize" and _home(book, c.name).startswith("skimage") and "preserve_range" not in c.given:
        data = c.data or Data("")  # as floats, of 0 to 1
        known = data.unit == 255 and not rescaled(data.steps)
        return book.noted(node, replace(data, steps=(*data.steps, *calls.rescale(255.0))), scope) if known else data
    held = c.base if c.last in {"__call__", "forward"} else scope.names.get(c.name)
    if isinstance(held, Made) and held.steps and c.given:
        data = c.data or Data("")
        add = held.steps[1:] if rescaled(data.steps) and rescaled(held.steps[:1]) and not held.whole else held.steps
        book.norms.pop(held.serial, None)
        made = Data(data.root, (*data.steps, *add), unit=held.unit or data.unit, written=held.written)
        return book.noted(node, made, scope, old=data.serial, by="scaler" if held.of == "Processor" else "code")
    return NOT_MINE


def _home(book: Book, name: str) -> str:
    """The module that a called name is taken from, as far as imports say it."""
    head, *rest = name.split(".")
    module, of = book.imported.get(head, ("", ""))
    return ".".join(p for p in (module, *((of, *rest[:-1]) if rest else ())) if p)


def _loads(book: Book, node: ast.Call, scope: Scope, c: Call) -> Answer:
    """Loads that execute what they read, train_test_split, runs of a model, pixels."""
    home, _ = book.imported.get(c.name.split(".")[0], ("", ""))
    full = ".".join([home, *c.name.split(".")[1:]]) if home else c.name
    if home and "." not in c.name:
        full = ".".join(p for p in book.imported[c.name] if p)
    role = scope.role or book.role
    if full in calls.LOADERS:
        book.unsafe.append(Unsafe(book.where(node), book.text(node), True, role))
        return None
    flags = {k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)}
    if full == "torch.load" and flags.get("weights_only") is not True:
        book.unsafe.append(Unsafe(book.where(node), book.text(node), flags.get("weights_only") is False, role))
        return None
    if c.last == "load" and flags.get("allow_pickle") is True:
        book.unsafe.append(Unsafe(book.where(node), book.text(node), True, role))
        return None
    if c.last in calls.SPLITS or (c.last == "split" and _folds(book, node)):
        base = [node.func.value] if isinstance(node.func, ast.Attribute) and c.last != "split" else []
        of = tuple(n for a in [*base, *node.args] for n in named(a) if n not in book.imported)
        book.splits.append(Split(book.where(node), of, scope.function))
        return None
    encoded = c.last in calls.FRAMES and any(
        isinstance(v, Text) and v.value.lower().startswith("bgr") for v in c.given.values()
    )
    if encoded or (c.last in ("imread", "imdecode", "VideoCapture") and c.name.startswith(("cv2.", "cv."))):
        turned = any(
            w in line for line in book.lines for w in ("2RGB", "::-1", "swapRB=True", "flip(", "[2, 1, 0]", ".convert(")
        )
        book.pixels.append(Pixels(book.where(node), turned))
    if c.last == "convert" and isinstance(c.first, Text) and c.first.value == "RGB":
        turned = any(w in line for line in book.lines for w in ("2BGR", "::-1", "[2, 1, 0]", "flip(", "cv2.", "split("))
        book.pixels.append(Pixels(book.where(node), turned, straight=True))
    if c.last in calls.PIXELS and c.name.startswith(
        ("cv2.", "cv.", "Image.", "PIL.", "tf.", "imageio.", "skimage.", "io.", "torchvision.")
    ):
        return Data(scope.target or "image", unit=255.0)
    return NOT_MINE


def _folds(book: Book, node: ast.Call) -> bool:
    """Whether `x.split(...)` is that of folds: KFold(5).split(X), cv.split(X, y)."""
    of = node.func.value if isinstance(node.func, ast.Attribute) else None
    name = dotted(of.func if isinstance(of, ast.Call) else of) if of is not None else ""
    said = set(words.words(name))
    return bool(node.args) and (
        bool(said & {"fold", "folds", "kf", "skf", "cv", "splitter"}) or name.endswith("ShuffleSplit")
    )


def _runs(book: Book, node: ast.Call, scope: Scope, c: Call) -> Answer:
    base = dotted(node.func.value) if isinstance(node.func, ast.Attribute) else ""
    session = isinstance(c.base, Made) and c.base.of == "Session"
    known = session or bool({"sess", "session", "ort", "model"} & set(words.words(base)))
    sent = c.last in ("setInput", "set_data_from_numpy")
    if not sent and not (c.last == "run" and len(node.args) >= 2 and known):
        return NOT_MINE
    fed = c.given.get("0" if sent else "1")
    if isinstance(fed, Held):
        fed = next((v for v in fed.items.values() if isinstance(v, Data)), None)
    steps = fed.steps if isinstance(fed, Data) and fed.root else None
    model = c.base.text if isinstance(c.base, Made) else ""
    norm = book.norms.get(fed.serial) if isinstance(fed, Data) else None
    role = scope.role or book.role
    at = None if norm is None else norm.where
    root, unit = (fed.root, fed.unit) if isinstance(fed, Data) else ("", 0.0)
    touched = isinstance(fed, Data) and fed.touched
    book.runs.append(
        Run(book.where(node), book.text(node), steps, model, scope.function, role, at, root, unit, touched)
    )
    return Data("answer", out=True)


def _arithmetic(book: Book, node: ast.Call, scope: Scope, c: Call) -> Answer:
    """np.subtract(x, mean), x.sub(mean).div(std): arithmetic by name."""
    op = calls.ARITHMETIC.get(c.last)
    if op is None or not isinstance(node.func, ast.Attribute):
        return NOT_MINE
    method = isinstance(c.base, Data | Known | Ref)
    left, right = (c.base, c.first) if method and "1" not in c.given else (c.first, c.given.get("1"))
    made = arithmetic(op, left, right)
    if isinstance(made, Data) and made.steps and made is not left:
        made = book.noted(node, made, scope)
    held = {k.arg: k.value for k in node.keywords}
    into = held.get("out", held.get("dst", node.args[2] if len(node.args) > 2 and c.name.startswith("cv2.") else None))
    into = node.func.value if method and c.last.endswith("_") else into  # torch's, in place
    if into is not None and dotted(into) and isinstance(made, Data):
        scope.names[dotted(into)] = made
    return made


def _own(book: Book, node: ast.Call, scope: Scope, c: Call) -> Answer:
    """x.mean(), np.std(x): a statistic of the data itself, or of constants."""
    del book, node, scope
    role = calls.OWN.get(c.last)
    if role is None:
        return NOT_MINE
    of = c.base if isinstance(c.base, Data) and c.base.root else c.first
    if isinstance(of, Data) and of.root and not (c.base is None and c.name == c.last):
        return Own(role, of.root)
    return NOT_MINE


def _local(book: Book, node: ast.Call, scope: Scope, c: Call) -> Answer:
    """A function of the same file: what it does to its argument."""
    name = c.name if c.name in book.functions else f"{scope.within}.{c.last}" if c.name.startswith("self.") else ""
    if name not in book.functions:
        return NOT_MINE
    made = book.returned.get(name) if name in book.returned else book.summary(name)
    parameters = [a.arg for a in book.functions[name].args.args if a.arg not in ("self", "cls")]
    bound = {p: c.given.get(p, c.given.get(str(i))) for i, p in enumerate(parameters)}
    if isinstance(made, Data) and made.root in bound:
        given = bound[made.root]
        data = given if isinstance(given, Data) else Data("")
        steps = tuple((op, _bound(v, bound)) for op, v in made.steps)
        if not data.steps and all(a is b for (_, a), (_, b) in zip(steps, made.steps, strict=True)):
            return replace(made, root=data.root, unit=made.unit or data.unit)
        book.norms.pop(made.serial, None)
        joined = Data(
            data.root,
            (*data.steps, *steps),
            own=made.own or data.own,
            unit=data.unit or made.unit,
            written=made.written,
        )
        return book.noted(node, joined, scope, old=data.serial) if joined.steps else joined
    return made if made is not None else Data("")


def _bound(value: Operand, bound: dict[str, Value]) -> Operand:
    if isinstance(value, Ref) and value.text in bound and bound[value.text] is not None:
        return calls.operand(bound[value.text], value.role)
    return value


def _same(book: Book, node: ast.Call, scope: Scope, c: Call) -> Answer:
    """Another type, layout or size of the same values."""
    del scope
    if c.last not in calls.CONSTANT:
        return NOT_MINE
    of = c.base if isinstance(c.base, Data | Known | Ref) else c.first
    if isinstance(c.base, Data) and not c.base.root and isinstance(c.first, Data | Known):
        of = c.first
    if isinstance(of, Data) and c.last in ("cvtColor", "convert"):
        red = "2RGB" in book.text(node) or (isinstance(c.first, Text) and c.first.value == "RGB")
        return replace(of, rgb=red and "2BGR" not in book.text(node))
    return of if isinstance(of, Data | Known | Ref | Made | Own) else _unknown(c)


def _unknown(c: Call) -> Value:
    """Of a call of which nothing is known: the values may be anything. Of data that were scaled, no more is known."""
    scaled = any(isinstance(v, Data) and (v.steps or v.touched) for v in (*c.given.values(), c.base))
    return Data(c.name if c.last != "__call__" else "", touched=scaled)


Row = Callable[[Book, ast.Call, Scope, Call], Answer]
_ROWS: tuple[Row, ...] = (
    _loads, settings, makes, options, _fits, _runs, _local, _transforms, _arithmetic, _own, formulas, _same,
)  # fmt: skip
