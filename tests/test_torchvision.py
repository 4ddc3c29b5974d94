"""torchvision's transforms, from files that torch and pickle wrote and from Python: the same numbers bit for bit."""

from __future__ import annotations

import functools
import io
import pickle
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from onnxscale import sources
from onnxscale.errors import StatisticsError
from onnxscale.statistics import Statistics
from tests import damaging, vision

torchvision = vision.torchvision()
if torchvision is None:
    pytest.skip("needs torch and torchvision", allow_module_level=True)
torch = import_module("torch")
v1, v2 = torchvision.transforms, import_module("torchvision.transforms.v2")

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 8, 8)).astype(np.uint8)
TENSOR = torch.from_numpy(PIXELS)


def saved(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


WAYS: dict[str, Callable[[Any], Any]] = {
    "python": lambda t: t,
    "torch.save": saved,
    **{f"pickle {p}": functools.partial(pickle.dumps, protocol=p) for p in range(2, 6)},
}
TRANSFORMS: dict[str, Any] = {
    "to tensor": v1.Compose([v1.ToTensor(), v1.Normalize(MEAN, STD)]),
    "only to tensor": v1.Compose([v1.ToTensor()]),
    "convert": v1.Compose([v1.ConvertImageDtype(torch.float), v1.Normalize(MEAN, STD)]),
    "sequential": torch.nn.Sequential(v1.CenterCrop(8), v1.ConvertImageDtype(torch.float), v1.Normalize(MEAN, STD)),
    "nested": v1.Compose([v1.Compose([v1.CenterCrop(8), v1.ToTensor()]), v1.Normalize(MEAN, STD)]),
    "one value": v1.Compose([v1.ToTensor(), v1.Normalize([0.5], [0.25])]),
    "tuples": v1.Compose([v1.ToTensor(), v1.Normalize(tuple(MEAN), tuple(STD))]),
    "tensors": v1.Compose([v1.ToTensor(), v1.Normalize(torch.tensor(MEAN), torch.tensor(STD))]),
    "v2": v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]),
    "preset": torchvision.models.ResNet50_Weights.DEFAULT.transforms(crop_size=8, resize_size=8),
}


def applied(transform: Any) -> Any:
    """As the app does: ToTensor takes rows, columns, channels; the others take a tensor."""
    given = PIXELS.transpose(1, 2, 0) if "ToTensor()" in str(transform) else TENSOR
    if "nested" in str(transform) or (given is not TENSOR and "CenterCrop" in str(transform)):
        given = v1.ToPILImage()(TENSOR)
    return np.asarray(transform(given))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("label", TRANSFORMS)
def test_pixels_are_scaled_as_torchvision_does(label: str, way: str) -> None:
    found: Statistics = sources.read(WAYS[way](TRANSFORMS[label]))
    fitted = found.inputs[None]
    got = fitted.transform()(PIXELS, -3, dtype=np.float32)
    want = applied(TRANSFORMS[label])
    assert want.dtype == np.float32
    np.testing.assert_array_equal(got, want)
    assert any("by 255" in note for note in fitted.notes)
    assert found.source.framework == "torchvision"


@pytest.mark.parametrize("way", WAYS)
def test_normalize_alone_in_float64(way: str) -> None:
    alone = v1.Normalize(MEAN, STD)
    fitted = sources.read(WAYS[way](alone)).inputs[None]
    x = np.random.default_rng(1).random((3, 5, 4))
    np.testing.assert_array_equal(fitted.transform()(x, -3), alone(torch.from_numpy(x.copy())).numpy())
    assert any("no ToTensor" in note for note in fitted.notes)


def test_what_stays_with_the_app_is_said() -> None:
    chain = v1.Compose([v1.Resize(256), v1.CenterCrop(224), v1.ToTensor(), v1.Normalize(MEAN, STD)])
    fitted = sources.read(pickle.dumps(chain)).inputs[None]
    assert any("Resize, CenterCrop stay with the app" in note for note in fitted.notes)
    assert fitted.layout["Image.BitmapPixelFormat"] == "Rgb8"


class Own:
    def __call__(self, x: Any) -> Any:
        return x


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (v1.Compose([v1.Resize(8)]), "no Normalize and no ToTensor"),
        (v1.Compose([v1.ToTensor(), v1.Lambda(print), v1.Normalize(MEAN, STD)]), "Lambda"),
        (v1.Compose([v1.ToTensor(), v1.Normalize(MEAN, STD), v1.Pad(2)]), "Pad comes after"),
        (v1.Compose([v1.ToTensor(), v1.Grayscale(), v1.Normalize(MEAN, STD)]), "Grayscale comes after"),
        (v1.Compose([v1.ToTensor(), v1.Normalize(MEAN, STD), v1.ToTensor()]), "after Normalize"),
        (v1.Compose([Own(), v1.ToTensor()]), "no transform of torchvision's"),
        (v1.Normalize(MEAN, STD[:2]), "different widths"),
        (v1.Normalize(MEAN, [0.0, 1.0, 1.0]), "std is 0"),
        (v1.Normalize([float("nan")] * 3, STD), "finite"),
        (v2.Compose([v2.ToDtype(torch.float64, scale=True)]), "float64"),
        (v2.Compose([v2.ToDtype({"others": None}, scale=True)]), "expected float32"),
        (torch.nn.Linear(2, 2), "Linear"),
        (torch.nn.Sequential(torch.nn.Linear(2, 2)), "no transform of torchvision's"),
    ],
)
def test_what_is_no_scaler_is_refused(transform: Any, message: str) -> None:
    with pytest.raises(StatisticsError, match=message):
        sources.read(pickle.dumps(transform))


def test_damage_is_refused_or_read() -> None:
    data = pickle.dumps(TRANSFORMS["to tensor"])
    refused, total = damaging.refused(damaging.cut(data))
    assert refused == total
    refused, total = damaging.refused(damaging.flipped(data, 500, at_once=3))
    assert refused > 0
