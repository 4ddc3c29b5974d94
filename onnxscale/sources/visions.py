"""torchvision's transforms: ToTensor, ConvertImageDtype and ToDtype bring pixels to 0..1, Normalize subtracts and divides.

torchvision/transforms/functional.py (to_tensor: div(255)), _functional_tensor.py (convert_image_dtype: / 255; normalize: sub(mean),
div(std)), v2/functional/_misc.py (to_dtype_image: mul(1 / 255)), _presets.py (what the weights of a model bring along).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from onnxscale.errors import StatisticsError, names
from onnxscale.scalers import Image, Scaler, Standard, Steps
from onnxscale.scalers.values import divisor, numbers
from onnxscale.sources.inert import Estimator, Global, plain
from onnxscale.sources.storages import Tensor
from onnxscale.sources.torches import array
from onnxscale.statistics import Fitted, Reading, Source, Statistics, alone
from onnxscale.step import Step
from onnxscale.transform import Transform

DIVIDED = Step("Div", (np.array(255.0),))
MULTIPLIED = Step("Mul", (np.array(1 / 255),))
PRESETS = ("ImageClassification", "SemanticSegmentation", "ObjectDetection")
TYPES = ("PILToTensor", "ToImage", "ToPureTensor", "ToPILImage", "ToImagePIL", "ToImageTensor")
# they move pixels and mix them with weights that sum to 1, so that they may stand between two scalings
MOVES = ("Resize", "CenterCrop", "RandomResizedCrop", "RandomHorizontalFlip", "RandomVerticalFlip")
DEPTH, STEPS = 8, 200


def sniff(root: Estimator) -> bool:
    """Whether this is a transform of torchvision's, or a Sequential of them."""
    return root.package == "torchvision" or (root.package == "torch" and root.name == "Sequential")


def read(root: Estimator, reading: Reading, source: Source) -> Statistics:
    """The scaler that a transform is for pixels of 0..255. Raises StatisticsError for what changes pixels otherwise."""
    del reading
    steps: list[Step] = []
    left: list[str] = []
    for part in _parts(root, 0):
        made = _steps(part)
        if made is None:
            if part.name in TYPES:
                continue
            if steps and (steps[-1] not in (DIVIDED, MULTIPLIED) or part.name not in MOVES):
                raise StatisticsError(
                    f"{part.name} comes after the pixels are scaled; a scaler inside the model would come after it"
                )
            left.append(part.name)
        else:
            if steps and made[0] in (DIVIDED, MULTIPLIED):
                if steps[-1] in (DIVIDED, MULTIPLIED):
                    continue  # a float tensor is left as it is
                raise StatisticsError(f"{part.name} comes after Normalize, where it does nothing; take it out")
            steps += made
    if not steps:
        raise StatisticsError(f"{root.name} holds no Normalize and no ToTensor; it has {names(left)}")
    return alone(_fitted(steps, left), dataclasses.replace(source, framework="torchvision"))


def _fitted(steps: list[Step], left: list[str]) -> Fitted:
    scales = steps[0] in (DIVIDED, MULTIPLIED)
    notes = (
        "pixels come in as 0..255: ToTensor divides uint8 by 255, and so does the scaler"
        if scales
        else "no ToTensor is in it: pixels come in as the pipeline had them before Normalize (0..1 after ToTensor)",
        *((f"{', '.join(dict.fromkeys(left))} stay with the app",) if left else ()),
    )
    transform = Transform(tuple(steps))
    layout = {"Image.NominalPixelRange": "NominalRange_0_255"} if scales else {}
    if scales and transform.shape == (3,):
        layout["Image.BitmapPixelFormat"] = "Rgb8"
    return Fitted(_scaler(transform), notes=notes, layout=layout)


def _scaler(transform: Transform) -> Scaler:
    """An Image where it multiplies; a division by 255 is not the same number, and stays one."""
    ops, values = [s.op for s in transform.steps], [s.operands[0] for s in transform.steps]
    if ops == ["Sub", "Div"]:
        return Standard(*values)
    return Image(*values) if ops == ["Mul", "Sub", "Div"] else Steps(transform)


def look(value: Any) -> Estimator | None:
    """A transform read from a file, or a live one; None for anything else."""
    if isinstance(value, Estimator):
        return value
    of = type(value)
    if isinstance(value, Global | type) or of.__module__.partition(".")[0] not in ("torchvision", "torch"):
        return None
    return Estimator(of.__module__.partition(".")[0], of.__module__, of.__name__, dict(getattr(value, "__dict__", {})))


def _field(part: Estimator, key: str) -> Any:
    """One attribute; the others stay closed. Tensors, of a file or live, become arrays."""
    if not isinstance(part.raw, Mapping) or key not in part.raw:
        raise StatisticsError(f"this {part.name} has no {key!r}")
    value = plain(part.raw[key])
    if isinstance(value, Tensor):
        return array(value)
    if isinstance(value, list | tuple):
        return [array(v) if isinstance(v, Tensor) else v for v in value]
    return value.numpy() if type(value).__module__ == "torch" and hasattr(value, "numpy") else value


def _parts(part: Estimator, depth: int) -> Iterator[Estimator]:
    """The transforms in order, Compose and Sequential opened."""
    if depth > DEPTH:
        raise StatisticsError(f"transforms nested more than {DEPTH} levels deep")
    if part.name not in ("Compose", "Sequential"):
        if not part.module.startswith("torchvision.transforms"):
            raise StatisticsError(f"{part.module}.{part.name} is no transform of torchvision's")
        yield part
        return
    inside = _field(part, "transforms" if part.name == "Compose" else "_modules")
    if not isinstance(inside, list | dict) or len(inside) > STEPS:
        raise StatisticsError(f"{part.name} holds no list of transforms")
    for item in inside.values() if isinstance(inside, dict) else inside:
        found = look(item)
        if found is None:
            raise StatisticsError(f"{part.name} holds {str(item)[:60]}, which is no transform of torchvision's")
        yield from _parts(found, depth + 1)


def _steps(part: Estimator) -> list[Step] | None:
    """What a transform does to the values of pixels; None where it leaves them, or moves them."""
    if part.name in ("Lambda", "LinearTransformation"):
        raise StatisticsError(f"{part.name} holds code or a matrix; which scaler it is cannot be told")
    if part.name == "Normalize":
        return _normalize(part)
    if part.name in PRESETS:
        return [DIVIDED, *([] if part.name == "ObjectDetection" else _normalize(part))]
    if part.name == "ToTensor":
        return [DIVIDED]
    if part.name in ("ConvertImageDtype", "ConvertDtype", "ToDtype"):
        return _converted(part)
    return None


def _converted(part: Estimator) -> list[Step] | None:
    dtype = _field(part, "dtype")
    name = dtype.name if isinstance(dtype, Global) else str(dtype).removeprefix("torch.")
    if name != "float32":
        raise StatisticsError(f"{part.name} converts to {name[:40]}; expected float32")
    if part.name == "ToDtype" and _field(part, "scale") is not True:
        return None
    return [MULTIPLIED if ".v2" in part.module else DIVIDED]


def _normalize(part: Estimator) -> list[Step]:
    mean, std = numbers(_field(part, "mean"), "mean"), divisor(_field(part, "std"), "std")
    for key, values in (("mean", mean), ("std", std)):
        if values.ndim > 1:
            raise StatisticsError(f"{key} of Normalize has the shape {values.shape}; expected one value per channel")
    width = max(mean.size, std.size)
    if {mean.size, std.size} - {1, width}:
        raise StatisticsError(f"the statistics have different widths: mean has {mean.size}, std has {std.size} values")
    flat = [v.reshape(()) if v.size == 1 and width > 1 else v for v in (mean, std)]
    return [Step("Sub", (flat[0],)), Step("Div", (flat[1],))]
