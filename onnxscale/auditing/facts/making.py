"""Calls that make what scales: transforms and their compositions, scalers, processors, sessions, settings of converters."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import replace

from onnxscale.auditing.facts import calls, words
from onnxscale.auditing.facts.answers import NOT_MINE, Answer, Call
from onnxscale.auditing.facts.base import Ref
from onnxscale.auditing.facts.scope import Book, Scope
from onnxscale.auditing.facts.values import Data, Held, Known, Made, Steps, Text
from onnxscale.step import Array

_TRANSFORMS = {
    "transform",
    "transforms",
    "normalize",
    "normalization",
    "preprocess",
    "preprocessing",
    "preprocessor",
    "augmentation",
}
_TO_TENSOR = {"ToTensor", "PILToTensor", "ConvertImageDtype", "ToDtype", "ToImageTensor"}


def rescaled(steps: Steps) -> bool:
    return any(
        op in ("Div", "Mul") and not isinstance(v, Ref) and v.size == 1 and _is_255(op, float(v.ravel()[0]))
        for op, v in steps
    )


def _is_255(op: str, by: float) -> bool:
    return abs(by - 255) < 1 if op == "Div" else abs(by * 255 - 1) < 0.01


def composed(items: Iterable[Made], of: str = "Compose") -> Made:
    """Objects in order, as one."""
    steps: Steps = ()
    unit, text, serial = 0.0, "", 0
    inner = ""
    written: tuple[Array | None, Array | None] = (None, None)
    for item in items:
        add = item.steps
        joins = item.of in (*_TO_TENSOR, "Normalize", "Compose", "list") and not item.whole
        if joins and rescaled(steps) and rescaled(add[:1]):
            add = add[1:]
        steps = (*steps, *add)
        unit, text, serial = item.unit or unit, item.text or text, item.serial or serial
        inner = item.of if item.of in words.SCALERS or item.of == "Pipeline" else inner
        written = item.written if any(w is not None for w in item.written) else written
    made = Made("Pipeline" if inner else of, steps, text, serial, unit)
    return replace(made, written=written)


def makes(book: Book, node: ast.Call, scope: Scope, c: Call) -> Answer:
    """Normalize, ToTensor, Compose, scalers, processors, sessions."""
    if c.last == "Normalize":
        made = calls.normalize(c.given, book.text(node) if "." not in c.name else c.name + "(", book.rescaled)
        return NOT_MINE if made is None else book.declared(node, replace(made, text=book.text(node)), scope)
    if c.last in _TO_TENSOR:
        flagged = c.last in ("ToTensor", "ConvertImageDtype") or isinstance(c.given.get("scale", Data("")), type(None))
        return Made(c.last, calls.rescale(255.0) if flagged else (), unit=255.0)
    if c.last in (
        "Compose",
        "Sequential",
        "OneOf",
        "make_pipeline",
        "Pipeline",
        "ColumnTransformer",
        "make_column_transformer",
    ):
        listed = [v for v in c.given.values() if isinstance(v, Made)]
        made = composed(listed, c.last if c.last in ("Compose", "Sequential") else "Compose")
        if any(v.of in words.SCALERS or v.of == "Pipeline" for v in listed):
            made = replace(made, of="Pipeline")
        elif made.steps:
            for v in listed:
                book.norms.pop(v.serial, None)
            return book.declared(node, made, scope)
        return made
    layer = calls.keras_layer(c.last, c.given)
    if layer is not None:
        return book.declared(node, Made(c.last, layer, book.text(node), unit=255.0 if rescaled(layer) else 0.0), scope)
    listed_steps = calls.intensity(c.last, c.given)
    if listed_steps is not None:
        return book.declared(node, Made(c.last, listed_steps, book.text(node)), scope)
    if c.last in words.SCALERS or (c.last == "Normalization" and not c.given.keys() & {"mean", "1"}):
        return Made(c.last)
    if c.last == "create_transform" and "timm" in ".".join(book.imported.get(c.name.split(".")[0], ())):
        steps = calls.timm(c.given, any(k.arg is None for k in node.keywords))
        return book.declared(node, Made("Compose", steps, book.text(node), unit=255.0), scope)
    if c.last == "instantiate" and set(words.words(book.text(node))) & _TRANSFORMS:
        return Made("Processor", (("Sub", Ref("mean", "mean")), ("Div", Ref("std", "std"))), book.text(node))
    if c.name == "dict" and not (
        c.given.keys() == {"0"} and isinstance(c.first, Known)
    ):  # else dict(zip(names, values))
        return Held(dict(c.given))
    if c.last == "Lambda" and isinstance(c.first, Made):
        return c.first
    if c.last in calls.SESSIONS:
        path = next((v.value for v in c.given.values() if isinstance(v, Text)), "")
        return Made("Session", text=path)
    if c.last == "from_pretrained" and c.name.split(".")[-2:-1] and c.name.split(".")[-2].endswith(calls.PROCESSORS):
        steps = (("Sub", Ref("mean", "image_mean")), ("Div", Ref("std", "image_std")))
        return Made("Processor", steps, book.text(node))
    return NOT_MINE


def settings(book: Book, node: ast.Call, scope: Scope, c: Call) -> Answer:
    """Settings of a runtime's converter, and OpenCV's blobs."""
    if "mean_values" in c.given or "std_values" in c.given or ("scale_values" in c.given):
        steps = calls.values(c.given)
        if steps:
            book.noted(node, Data("the input", steps, unit=255.0), scope, by="config")
        return Made("Session")
    if c.last == "preprocess" and not c.given:
        return Made("Preprocess")  # OpenVINO's: .preprocess().mean([...]).scale([...])
    if isinstance(c.base, Made) and c.base.of == "Preprocess":
        by = c.first
        if c.last not in ("mean", "scale") or not isinstance(by, Known):
            return c.base
        steps = (*c.base.steps, ("Sub" if c.last == "mean" else "Div", by.values.ravel()))
        made = replace(c.base, steps=steps, text=book.text(node))
        return book.declared(node, made, scope, by="config")
    if c.last in ("blobFromImage", "blobFromImages"):
        steps = calls.blob(c.given)
        data = c.data or Data("image")
        if not steps:
            return data
        blob = Data(data.root, (*data.steps, *steps), unit=255.0, written=calls.blob_moments(steps))
        return book.noted(node, blob, scope, old=data.serial)
    if c.last in ("crop_mirror_normalize", "CropMirrorNormalize"):  # NVIDIA's DALI
        steps = (("Sub", calls.operand(c.given.get("mean"), "mean")), ("Div", calls.operand(c.given.get("std"), "std")))
        return book.noted(node, Data("image", steps, unit=255.0), scope)
    return NOT_MINE
