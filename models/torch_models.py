"""Networks of torch: images in both layouts, sequences, several inputs; by both of its exporters."""

# mypy: disable-error-code="import-untyped,import-not-found"
from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from sklearn.datasets import load_diabetes, load_digits
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from torch import nn

from models import statfiles as st
from models.built import Array, Built, Formula, documented, some, wide
from models.torch_export import answer, dynamo, legacy, train


def by_axis(mean: Array, std: Array, axis: int, rank: int) -> Formula:
    """(x - mean) / std along one axis."""
    shape = [1] * rank
    shape[axis] = len(mean)
    return lambda x: (x - mean.reshape(shape)) / std.reshape(shape)


def digits() -> tuple[Array, Array]:
    data = load_digits()
    return data.images, data.target


def colours() -> tuple[Array, Array]:
    """Digits as RGB pixels 0..255: ink in three strengths on a background that differs per channel. NCHW."""
    images, y = digits()
    ink = np.round(images * (255 / 16))
    return np.stack([ink, 255 - ink * 0.5, np.round(ink * 0.3 + 20)], axis=1).round(), y


class Convolutions(nn.Module):
    """Two zero-padded convolutions: the shift of a scaler cannot be folded into their bias at the border."""

    def __init__(self, channels: int, nhwc: bool = False) -> None:
        super().__init__()
        self.nhwc = nhwc
        self.first = nn.Conv2d(channels, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 8, 3, padding=1, stride=2)
        self.last = nn.Linear(8 * 4 * 4, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.permute(0, 3, 1, 2) if self.nhwc else x
        x = torch.relu(self.second(torch.relu(self.first(x))))
        return torch.as_tensor(self.last(x.flatten(1)))


class Recurrent(nn.Module):
    """An LSTM over the rows of an image, from the top down."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(8, 12, batch_first=True)
        self.last = nn.Linear(12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen, _ = self.cell(x)
        return torch.as_tensor(self.last(seen[:, -1]))


class Two(nn.Module):
    """Two inputs, each with a branch of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 8)
        self.blood = nn.Linear(6, 8)
        self.last = nn.Linear(16, 1)

    def forward(self, body: torch.Tensor, blood: torch.Tensor) -> torch.Tensor:
        both = torch.cat([torch.tanh(self.body(body)), torch.tanh(self.blood(blood))], dim=1)
        return torch.as_tensor(self.last(both))


def digits_cnn() -> Built:
    """Two channels on different scales: the ink, and its running sum down the image."""
    images, y = digits()
    x = np.stack([images, images.cumsum(axis=1)], axis=1)
    mean, std = x.mean(axis=(0, 2, 3)), x.std(axis=(0, 2, 3))
    scale = by_axis(mean, std, 1, 4)
    torch.manual_seed(0)
    net = train(Convolutions(2), [scale(x)], y)
    rows = some(x)
    plain = {"mean": mean.tolist(), "std": std.tolist()}
    return Built(
        "digits_cnn",
        documented(legacy(net, {"image": (2, 8, 8)}, "logits", 13), "Digits 0 to 9", labels=",".join("0123456789")),
        {"image": scale},
        {"image": rows},
        {"logits": answer(net, scale(wide(rows)))},
        {"stats.json": st.as_json({**plain, "axis": 1}), "plain.json": st.as_json(plain)},
        5e-6,
        "NCHW, zero-padded Conv, per-channel statistics; plain.json has no axis and only axis 1 fits",
    )


def digits_nhwc() -> Built:
    x, y = colours()
    x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    mean, std = x.mean(axis=(0, 1, 2)), x.std(axis=(0, 1, 2))
    scale = by_axis(mean, std, 3, 4)
    torch.manual_seed(0)
    net = train(Convolutions(3, nhwc=True), [scale(x)], y)
    rows = some(x)
    return Built(
        "digits_nhwc",
        legacy(net, {"image": (8, 8, 3)}, "logits", 12),
        {"image": scale},
        {"image": rows},
        {"logits": answer(net, scale(wide(rows)))},
        {
            "stats.json": st.as_json({"mean": mean.tolist(), "std": std.tolist()}),
            "stats.npz": st.npz(mean=mean, std=std),
        },
        5e-6,
        "NHWC: a Transpose before the first Conv; only axis 3 fits",
    )


def digits_huggingface() -> Built:
    x, y = colours()
    mean, std = (x / 255).mean(axis=(0, 2, 3)), (x / 255).std(axis=(0, 2, 3))
    normalize = by_axis(mean, std, 1, 4)

    def scale(raw: Array) -> Array:
        return normalize(raw * (1 / 255))

    torch.manual_seed(0)
    net = train(Convolutions(3), [scale(x)], y)
    rows = some(x)
    config = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": False,
        "size": {"height": 8, "width": 8},
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": mean.tolist(),
        "image_std": std.tolist(),
    }
    return Built(
        "digits_huggingface",
        dynamo(net, {"pixel_values": (3, 8, 8)}, "logits", 18),
        {"pixel_values": scale},
        {"pixel_values": rows},
        {"logits": answer(net, scale(wide(rows)))},
        {"preprocessor_config.json": st.as_json(config)},
        5e-6,
        "RGB pixels 0 to 255, do_rescale and do_normalize",
    )


def digits_scalar() -> Built:
    """One mean and one std for all pixels, written as plain numbers: there is no feature axis."""
    images, y = digits()
    x = images[:, None]
    mean, std = float(x.mean()), float(x.std())
    torch.manual_seed(0)
    net = train(Convolutions(1), [(x - mean) / std], y)
    rows = some(x)
    return Built(
        "digits_scalar",
        legacy(net, {"image": (1, 8, 8)}, "logits", 10),
        {"image": lambda raw: (raw - mean) / std},
        {"image": rows},
        {"logits": answer(net, (wide(rows) - mean) / std)},
        {"stats.json": st.as_json({"mean": mean, "std": std}), "stats.yaml": st.as_yaml({"mean": mean, "std": std})},
        5e-6,
        "one channel, scalar statistics",
    )


def digits_lstm() -> Built:
    images, y = digits()
    s = StandardScaler().fit(images.reshape(-1, 8))
    scale = by_axis(s.mean_, s.scale_, 2, 3)
    torch.manual_seed(0)
    net = train(Recurrent(), [scale(images)], y, 80)
    rows = some(images)
    return Built(
        "digits_lstm",
        legacy(net, {"sequence": (8, 8)}, "logits", 9),
        {"sequence": scale},
        {"sequence": rows},
        {"logits": answer(net, scale(wide(rows)))},
        {"stats.json": st.as_json(st.mean_std(s))},
        5e-6,
        "[N, T, F] with T = F = 8, so the axis must be said; the input is also read by Shape",
        axis=2,
        dumps={"scaler.joblib": s},
    )


def digits_conv1d() -> Built:
    """Statistics of every pixel, [T, F]: some pixels never change and have the std 1 that scikit-learn gives them."""
    images, y = digits()
    s = StandardScaler().fit(images.reshape(-1, 64))
    mean, std = s.mean_.reshape(8, 8), s.scale_.reshape(8, 8)
    torch.manual_seed(0)
    layers = nn.Conv1d(8, 12, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(96, 10)
    net = train(nn.Sequential(*layers), [(images - mean) / std], y)
    rows = some(images)
    return Built(
        "digits_conv1d",
        legacy(net, {"signal": (8, 8)}, "logits", 11),
        {"signal": lambda raw: (raw - mean) / std},
        {"signal": rows},
        {"logits": answer(net, (wide(rows) - mean) / std)},
        {
            "stats.json": st.as_json({"mean": mean.tolist(), "std": std.tolist()}),
            "stats.npz": st.npz(mean=mean, std=std),
        },
        5e-6,
        "[N, C, L] with statistics [8, 8]; constant pixels have std 1",
    )


def diabetes_two() -> Built:
    data = load_diabetes(scaled=False)
    body, blood = data.data[:, :4], data.data[:, 4:]
    s, m = StandardScaler().fit(body), MinMaxScaler().fit(blood)
    goal = MinMaxScaler().fit(data.target.reshape(-1, 1))
    torch.manual_seed(0)
    net = train(Two(), [s.transform(body), m.transform(blood)], goal.transform(data.target.reshape(-1, 1))[:, 0])
    rows = {"body": some(body), "blood": some(blood)}
    scaled = answer(net, s.transform(wide(rows["body"])), m.transform(wide(rows["blood"])))
    inputs, target = {"body": st.mean_std(s), "blood": st.minmax(m)}, st.minmax(goal)
    return Built(
        "diabetes_two",
        dynamo(net, {"body": (4,), "blood": (6,)}, "progression", 21),
        {"body": s.transform, "blood": m.transform},
        rows,
        {"progression": goal.inverse_transform(scaled)},
        {
            "stats.json": st.several(inputs, {"progression": target}),
            "stats.yaml": st.as_yaml({"inputs": inputs, "outputs": {"progression": target}}),
        },
        5e-6,
        "two scalers of two kinds and a MinMax target, all in one file",
        unscale={"progression": goal.inverse_transform},
        dumps={"body.joblib": s, "blood.joblib": m, "target.joblib": goal},
    )


def all_torch() -> Iterator[Built]:
    """In the order of the table in README.md."""
    for make in (digits_cnn, digits_nhwc, digits_huggingface, digits_scalar):
        yield make()
    for make in (digits_lstm, digits_conv1d, diabetes_two):
        yield make()
