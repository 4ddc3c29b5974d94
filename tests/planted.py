"""A repository with faults planted in it, and its clean twin: many small projects of real files, one fault in each.

`write(folder, bad=True)` writes every project with its fault, `bad=False` the same projects without. A fault names the rule
that must find it and the file where.
"""

from __future__ import annotations

import io
import json
import pickle
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
from onnx import helper
from sklearn.preprocessing import StandardScaler

import onnxscale
from tests import build

M, S = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
M255, S255 = [round(v * 255, 3) for v in M], [round(v * 255, 3) for v in S]
MEAN, STD = [5.5, -120.25, 0.031, 1013.2], [2.5, 33.0, 0.0125, 8.1]
Content = str | bytes | dict[str, Any]
Files = dict[str, Content]


@dataclass(frozen=True)
class Fault:
    """rule: that must find it. at: the file where it must. bad, good: the files that differ; base: those that are in both."""

    name: str
    rule: str
    at: str
    bad: Files
    good: Files
    base: Files


FAULTS: list[Fault] = []


def plant(name: str, rule: str, at: str, bad: Files, good: Files, **base: Content) -> None:
    files = {k.replace("__", "/").replace("_dot_", "."): v for k, v in base.items()}
    FAULTS.append(Fault(name, rule, at, bad, good, files))


# models ---------------------------------------------------------------------------------------------------------------


@cache
def tabular(width: int = 4, seed: int = 0) -> bytes:
    return bytes(build.mlp(width, seed=seed).SerializeToString())


@cache
def image(*, rescale: bool = False, scaled: bool = False) -> bytes:
    constants = [build.tensor(build.draw(4, 3, 3, 3), "w")]
    nodes, x = [], "x"
    if rescale:
        constants.append(build.tensor(1 / 255, "k"))
        nodes.append(helper.make_node("Mul", ["x", "k"], ["r"]))
        x = "r"
    if scaled:
        constants += [build.tensor(np.reshape(v, (1, 3, 1, 1)), n) for v, n in ((M255, "m"), (S255, "s"))]
        nodes += [helper.make_node("Sub", ["x", "m"], ["c"]), helper.make_node("Div", ["c", "s"], ["z"])]
        x = "z"
    nodes += [
        helper.make_node("Conv", [x, "w"], ["h"]),
        helper.make_node("ReduceMean", ["h"], ["y"], axes=[2, 3], keepdims=0),
    ]
    made = build.model(nodes, [build.value("x", ("N", 3, 16, 16))], [build.value("y", ("N", 4))], constants)
    return bytes(made.SerializeToString())


def stored(model: bytes, stats: dict[str, Any], form: str = "nodes") -> bytes:
    """The bytes of a model with a scaler baked in."""
    result = onnxscale.bake(onnx.ModelProto.FromString(model), stats, options=onnxscale.Options(form=form))
    with tempfile.TemporaryDirectory() as folder:
        return result.save(Path(folder) / "m.onnx").read_bytes()


@cache
def baked(kind: str) -> bytes:
    if kind == "image":
        return stored(image(), {"mean": M255, "std": S255, "axis": 1})
    return stored(tabular(), {"mean": MEAN, "std": STD})


def baked_from(stats: dict[str, Any]) -> bytes:
    """A model baked from a file stats.json of this content."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "stats.json").write_text(json.dumps(stats))
        (Path(folder) / "m.onnx").write_bytes(tabular())
        result = onnxscale.bake(
            Path(folder) / "m.onnx", Path(folder) / "stats.json", options=onnxscale.Options(form="nodes")
        )
        return result.save(Path(folder) / "b.onnx").read_bytes()


# code -----------------------------------------------------------------------------------------------------------------


def train_image(mean: list[float] = M, std: list[float] = S) -> str:
    return f"""import torch
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

tf = transforms.Compose([
    transforms.Resize(256),
    transforms.ToTensor(),
    transforms.Normalize(mean={mean}, std={std}),
])
loader = DataLoader(datasets.ImageFolder("data/train", transform=tf), batch_size=32)


def main(model, optimizer, loss):
    for x, y in loader:
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()
"""


TRAIN_TABLE = """import json

import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

df = pd.read_csv("data.csv")
X_train, X_test, y_train, y_test = train_test_split(df.drop(columns="y"), df["y"], random_state=0)
scaler = StandardScaler()
X_train = scaler.fit_transform(X_train)
X_test = scaler.transform(X_test)
model = LogisticRegression().fit(X_train, y_train)
print(model.score(X_test, y_test))
"""


def serve_image(body: str, head: str = "", model: str = "model.onnx") -> str:
    return f"""import numpy as np
import onnxruntime as ort
from PIL import Image
{head}
session = ort.InferenceSession("{model}")


def predict(path):
    x = np.asarray(Image.open(path).convert("RGB").resize((16, 16)), dtype=np.float32)
{body}
    x = x.transpose(2, 0, 1)[None].astype(np.float32)
    return session.run(None, {{"x": x}})[0]
"""


def serve_table(body: str, head: str = "") -> str:
    return f"""import numpy as np
import onnxruntime as ort
{head}
session = ort.InferenceSession("model.onnx")


def predict(rows):
    x = np.asarray(rows, dtype=np.float32)
{body}
    return session.run(None, {{"x": x.astype(np.float32)}})[0]
"""


SCALE = f"    x = (x / 255.0 - np.array({M})) / np.array({S})"
RAW = "    # the model takes raw pixels"


def notebook(*cells: str) -> str:
    made = [{"cell_type": "markdown", "metadata": {}, "source": ["# Notes\n"]}]
    made += [
        {
            "cell_type": "code",
            "metadata": {},
            "execution_count": None,
            "outputs": [],
            "source": c.splitlines(keepends=True),
        }
        for c in cells
    ]
    return json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def processor(mean: list[float] = M, std: list[float] = S) -> dict[str, Any]:
    return {
        "image_processor_type": "ViTImageProcessor", "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
        "image_mean": mean, "image_std": std, "do_resize": True,
    }  # fmt: skip


def deepstream(offsets: list[float], factor: float = 1 / 57.6) -> str:
    return f"""[property]
gpu-id=0
net-scale-factor={factor!r}
offsets={";".join(map(str, offsets))}
onnx-file=model.onnx
model-color-format=0
"""


def fitted(mean: list[float] = MEAN, std: list[float] = STD) -> StandardScaler:
    made = StandardScaler()
    made.mean_, made.scale_, made.var_ = np.array(mean), np.array(std), np.array(std) ** 2
    made.n_features_in_, made.n_samples_seen_ = len(mean), 100
    return made


def dumped(made: object) -> bytes:
    out = io.BytesIO()
    joblib.dump(made, out)
    return out.getvalue()


def npz(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


class Evil:
    """What a hostile pickle holds: a call."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        import os

        return os.system, ("true",)


# scaled twice ---------------------------------------------------------------------------------------------------------

plant("numpy before a baked model", "scaled-twice", "serve.py", {"serve.py": serve_image(SCALE)}, {"serve.py": serve_image(RAW)},
      model_dot_onnx=baked("image"), train_dot_py=train_image())  # fmt: skip
plant("torchvision before a baked model", "scaled-twice", "app/infer.py",
      {"app/infer.py": serve_image("    x = tf(x)", "from torchvision import transforms as T\n"
                                   f"tf = T.Compose([T.ToTensor(), T.Normalize({M}, {S})])", "app/model.onnx")},
      {"app/infer.py": serve_image(RAW, model="app/model.onnx")}, app__model_dot_onnx=baked("image"))  # fmt: skip
plant("albumentations before a baked model", "scaled-twice", "predict.py",
      {"predict.py": serve_image('    x = pre(image=x)["image"]', "import albumentations as A\npre = A.Compose([A.Resize(16, 16), A.Normalize()])")},
      {"predict.py": serve_image('    x = pre(image=x)["image"]', "import albumentations as A\npre = A.Compose([A.Resize(16, 16)])")},
      model_dot_onnx=baked("image"))  # fmt: skip
plant("blobFromImage before a baked model", "scaled-twice", "server.py",
      {"server.py": f"import cv2\nnet = cv2.dnn.readNetFromONNX('model.onnx')\n\n\ndef handle(image):\n    blob = cv2.dnn.blobFromImage(image, 1 / 57.6, (16, 16), {tuple(M255)}, swapRB=True)\n    net.setInput(blob)\n    return net.forward()\n"},
      {"server.py": "import cv2\nnet = cv2.dnn.readNetFromONNX('model.onnx')\n\n\ndef handle(image):\n    blob = cv2.dnn.blobFromImage(image, 1.0, (16, 16), (0, 0, 0), swapRB=True)\n    net.setInput(blob)\n    return net.forward()\n"},
      model_dot_onnx=baked("image"))  # fmt: skip
plant("a processor before a baked model", "scaled-twice", "serve.py",
      {"serve.py": "import onnxruntime as ort\nfrom transformers import AutoImageProcessor\nprocessor = AutoImageProcessor.from_pretrained('facebook/deit')\nsession = ort.InferenceSession('model.onnx')\n\n\ndef predict(image):\n    x = processor(images=image, return_tensors='np')['pixel_values']\n    return session.run(None, {'x': x})[0]\n"},
      {"serve.py": serve_image(RAW)}, model_dot_onnx=baked("image"))  # fmt: skip
plant("a function of another module before a baked model", "scaled-twice", "prep.py",
      {"prep.py": f"import numpy as np\nMEAN = np.array({M})\nSTD = np.array({S})\n\n\ndef prepare(img):\n    x = np.asarray(img, dtype=np.float32)\n    x /= 255\n    x -= MEAN\n    x /= STD\n    return x\n"},
      {"prep.py": "import numpy as np\n\n\ndef prepare(img):\n    return np.asarray(img, dtype=np.float32)\n"},
      serve_dot_py=serve_image("    x = prepare(x)", "from prep import prepare"), model_dot_onnx=baked("image"))  # fmt: skip
plant("a notebook before a baked model", "scaled-twice", "inference.ipynb",
      {"inference.ipynb": notebook("import numpy as np\nimport onnxruntime as ort\n%matplotlib inline\nsess = ort.InferenceSession('model.onnx')\n", f"x = np.load('x.npy')\nz = (x - np.array({MEAN})) / np.array({STD})\nsess.run(None, {{'x': z}})\n")},
      {"inference.ipynb": notebook("import numpy as np\nimport onnxruntime as ort\n%matplotlib inline\nsess = ort.InferenceSession('model.onnx')\n", "x = np.load('x.npy')\nsess.run(None, {'x': x})\n")},
      model_dot_onnx=baked("table"))  # fmt: skip
plant("a scaler object before a baked model", "scaled-twice", "service.py",
      {"service.py": serve_table("    x = scaler.transform(x)", "from skops.io import load\nscaler = load('scaler.skops')")},
      {"service.py": serve_table("    # raw")}, model_dot_onnx=baked("table"), train_dot_py=TRAIN_TABLE)  # fmt: skip
plant("a scaler before a model whose graph starts with one", "scaled-twice", "serve.py", {"serve.py": serve_image(SCALE)},
      {"serve.py": serve_image(RAW)}, model_dot_onnx=image(scaled=True))  # fmt: skip
plant("/ 255 before a graph that rescales", "scaled-twice", "serve.py", {"serve.py": serve_image("    x = x / 255.0")},
      {"serve.py": serve_image(RAW)}, model_dot_onnx=image(rescale=True))  # fmt: skip
plant("/ 255 twice", "scaled-twice", "serve.py",
      {"serve.py": "import numpy as np\n\n\ndef load(img):\n    return np.asarray(img).astype('float32') / 255.0\n\n\ndef predict(img):\n    x = load(img)\n    x = x / 255.0\n    return x\n"},
      {"serve.py": "import numpy as np\n\n\ndef load(img):\n    return np.asarray(img).astype('float32') / 255.0\n\n\ndef predict(img):\n    x = load(img)\n    return x\n"})  # fmt: skip
plant("transform twice", "scaled-twice", "serve.py",
      {"serve.py": serve_table("    x = scaler.transform(x)\n    x = clean(x)", "from skops.io import load\nscaler = load('scaler.skops')\n\n\ndef clean(rows):\n    return scaler.transform(rows)\n")},
      {"serve.py": serve_table("    x = clean(x)", "from skops.io import load\nscaler = load('scaler.skops')\n\n\ndef clean(rows):\n    return scaler.transform(rows)\n")},
      train_dot_py=TRAIN_TABLE, model_dot_onnx=tabular())  # fmt: skip
plant("statistics read from a file before a baked model", "scaled-twice", "serve.py",
      {"serve.py": serve_table("    x = (x - np.array(stats['mean'])) / np.array(stats['std'])", "import json\nwith open('stats.json') as f:\n    stats = json.load(f)")},
      {"serve.py": serve_table("    # raw")}, model_dot_onnx=baked("table"), stats_dot_json={"mean": MEAN, "std": STD})  # fmt: skip
plant("settings of DeepStream on a baked model", "scaled-twice", "config_infer.txt", {"config_infer.txt": deepstream(M255)},
      {"config_infer.txt": deepstream([0, 0, 0], 1.0)}, model_dot_onnx=baked("image"))  # fmt: skip
plant("a processor's settings beside a baked model", "scaled-twice", "preprocessor_config.json", {"preprocessor_config.json": processor()},
      {"preprocessor_config.json": {**processor(), "do_normalize": False, "do_rescale": False}}, model_dot_onnx=baked("image"))  # fmt: skip
plant("RKNN's settings on a baked model", "scaled-twice", "deploy/to_rknn.py",
      {"deploy/to_rknn.py": f"from rknn.api import RKNN\nrknn = RKNN()\nrknn.config(mean_values=[{M255}], std_values=[{S255}], target_platform='rk3588')\nrknn.load_onnx(model='model.onnx')\n"},
      {"deploy/to_rknn.py": "from rknn.api import RKNN\nrknn = RKNN()\nrknn.config(mean_values=[[0, 0, 0]], std_values=[[1, 1, 1]], target_platform='rk3588')\nrknn.load_onnx(model='model.onnx')\n"},
      model_dot_onnx=baked("image"))  # fmt: skip

# nobody scales --------------------------------------------------------------------------------------------------------

plant("raw rows into a model trained on scaled ones", "not-scaled", "serve.py", {"serve.py": serve_table("    # as they come")},
      {"serve.py": serve_table("    x = scaler.transform(x)", "from skops.io import load\nscaler = load('scaler.skops')")},
      model_dot_onnx=tabular(), train_dot_py=TRAIN_TABLE)  # fmt: skip
plant("raw pixels into a model trained on scaled ones", "not-scaled", "serve.py", {"serve.py": serve_image(RAW)},
      {"serve.py": serve_image(SCALE)}, model_dot_onnx=image(), train_dot_py=train_image())  # fmt: skip
plant("statistics lie beside and nobody reads them", "not-scaled", "serve.py", {"serve.py": serve_table("    # as they come")},
      {"serve.py": serve_table("    x = (x - s['mean']) / s['std']", "s = np.load('stats.npz')")}, model_dot_onnx=tabular(),
      stats_dot_npz=npz(mean=MEAN, std=STD))  # fmt: skip
plant("a notebook feeds raw rows", "not-scaled", "predict.ipynb",
      {"predict.ipynb": notebook("import onnxruntime as ort\nimport numpy as np\nsess = ort.InferenceSession('model.onnx')", "sess.run(None, {'x': np.load('rows.npy')})")},
      {"predict.ipynb": notebook("import onnxruntime as ort\nimport numpy as np\nsess = ort.InferenceSession('model.onnx')", f"x = (np.load('rows.npy') - np.array({MEAN})) / np.array({STD})\nsess.run(None, {{'x': x}})")},
      model_dot_onnx=tabular(), train_dot_py=TRAIN_TABLE)  # fmt: skip
plant("a service class feeds raw pixels", "not-scaled", "service/handler.py",
      {"service/handler.py": "import numpy as np\nimport onnxruntime\n\n\nclass Handler:\n    def __init__(self):\n        self.session = onnxruntime.InferenceSession('model.onnx')\n\n    def handle(self, image):\n        x = np.asarray(image, np.float32).transpose(2, 0, 1)[None]\n        return self.session.run(None, {'x': x})\n"},
      {"service/handler.py": f"import numpy as np\nimport onnxruntime\n\n\nclass Handler:\n    mean = np.array({M})\n    std = np.array({S})\n\n    def __init__(self):\n        self.session = onnxruntime.InferenceSession('model.onnx')\n\n    def handle(self, image):\n        x = (np.asarray(image, np.float32) / 255 - self.mean) / self.std\n        return self.session.run(None, {{'x': x.transpose(2, 0, 1)[None]}})\n"},
      model_dot_onnx=image(), train_dot_py=train_image())  # fmt: skip

# training and serving differ ------------------------------------------------------------------------------------------

CLIP_M, CLIP_S = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def scale(mean: list[float], std: list[float], by: str = " / 255.0") -> str:
    return f"    x = (x{by} - np.array({mean})) / np.array({std})"


for name, mean, std in (("CLIP for ImageNet", CLIP_M, CLIP_S), ("0.5 for ImageNet", [0.5] * 3, [0.5] * 3)):
    plant(name, "train-serve-skew", "serve.py", {"serve.py": serve_image(scale(mean, std))}, {"serve.py": serve_image(SCALE)},
          model_dot_onnx=image(), train_dot_py=train_image())  # fmt: skip
plant("only / 255", "train-serve-skew", "serve.py", {"serve.py": serve_image("    x = x / 255.0")}, {"serve.py": serve_image(SCALE)},
      model_dot_onnx=image(), train_dot_py=train_image())  # fmt: skip
plant("/ 127.5 - 1 for ImageNet", "train-serve-skew", "serve.py", {"serve.py": serve_image("    x = x / 127.5 - 1.0")},
      {"serve.py": serve_image(SCALE)}, model_dot_onnx=image(), train_dot_py=train_image())  # fmt: skip
plant("constants in code are not the file's", "train-serve-skew", "serve.py",
      {"serve.py": serve_table(f"    x = (x - np.array({[5.5, -120.25, 0.041, 1013.2]})) / np.array({STD})")},
      {"serve.py": serve_table(f"    x = (x - np.array({MEAN})) / np.array({STD})")}, model_dot_onnx=tabular(),
      stats_dot_json={"mean": MEAN, "std": STD})  # fmt: skip
plant("a processor's settings are not training's", "train-serve-skew", "preprocessor_config.json",
      {"preprocessor_config.json": processor([0.5] * 3, [0.5] * 3)}, {"preprocessor_config.json": processor()},
      train_dot_py=train_image(), model_dot_onnx=image())  # fmt: skip
plant("DeepStream's settings are not training's", "train-serve-skew", "config_infer.txt",
      {"config_infer.txt": deepstream([127.5] * 3, 1 / 127.5)}, {"config_infer.txt": deepstream(M255, 1 / 58.395)},
      train_dot_py=train_image(M, [0.229] * 3), model_dot_onnx=image())  # fmt: skip
plant("constants imported from another module", "train-serve-skew", "serving/serve.py",
      {"serving/config.py": f"MEAN = {CLIP_M}\nSTD = {CLIP_S}\n"}, {"serving/config.py": f"MEAN = {M}\nSTD = {S}\n"},
      serving__serve_dot_py=serve_image("    x = (x / 255 - np.array(MEAN)) / np.array(STD)", "from config import MEAN, STD"),
      train_dot_py=train_image(), model_dot_onnx=image())  # fmt: skip
plant("min-max for z-score", "train-serve-skew", "serve.py",
      {"serve.py": serve_table("    x = (x - data_min) / (data_max - data_min)", "from constants import data_max, data_min")},
      {"serve.py": serve_table("    x = (x - mean) / std", "from constants import mean, std")}, model_dot_onnx=tabular(),
      train_dot_py=TRAIN_TABLE)  # fmt: skip

# order and unit -------------------------------------------------------------------------------------------------------

plant("BGR constants", "channel-order", "serve.py", {"serve.py": serve_image(scale(M[::-1], S[::-1]))}, {"serve.py": serve_image(SCALE)},
      model_dot_onnx=image(), train_dot_py=train_image())  # fmt: skip
CV = "import cv2\nimport numpy as np\nimport onnxruntime as ort\nsession = ort.InferenceSession('model.onnx')\n\n\ndef predict(path):\n    x = cv2.imread(path)\n{}    x = cv2.resize(x, (16, 16)).astype('float32'){}\n    x = (x - np.array({})) / np.array({})\n    return session.run(None, {{'x': x.transpose(2, 0, 1)[None]}})\n"
RGB = "    x = cv2.cvtColor(x, cv2.COLOR_BGR2RGB)\n"
plant("pixels of OpenCV as they are", "channel-order", "serve.py", {"serve.py": CV.format("", " / 255", M, S)},
      {"serve.py": CV.format(RGB, " / 255", M, S)}, model_dot_onnx=image(), train_dot_py=train_image())  # fmt: skip
plant("statistics with mixed up channels", "channel-order", "norm.json", {"norm.json": {"mean": [0.456, 0.485, 0.406], "std": [0.224, 0.229, 0.225]}},
      {"norm.json": {"mean": M, "std": S}}, train_dot_py=train_image(), model_dot_onnx=image())  # fmt: skip
plant("a processor with its mean the other way round", "channel-order", "preprocessor_config.json", {"preprocessor_config.json": processor(M[::-1], S)},
      {"preprocessor_config.json": processor()}, model_dot_onnx=image(), train_dot_py=train_image())  # fmt: skip
plant("offsets the other way round", "channel-order", "config_infer.txt", {"config_infer.txt": deepstream(M255[::-1], 1 / 58.395)},
      {"config_infer.txt": deepstream(M255, 1 / 58.395)}, train_dot_py=train_image(M, [0.229] * 3), model_dot_onnx=image())  # fmt: skip
plant("no / 255", "unit-mismatch", "serve.py", {"serve.py": CV.format(RGB, "", M, S)}, {"serve.py": CV.format(RGB, " / 255", M, S)},
      model_dot_onnx=image(), train_dot_py=train_image())  # fmt: skip
plant("/ 255 before constants of 0 to 255", "unit-mismatch", "serve.py", {"serve.py": serve_image(scale(M255, S255))},
      {"serve.py": serve_image(scale(M255, S255, ""))}, model_dot_onnx=image())  # fmt: skip
plant("ToTensor before constants of 0 to 255", "unit-mismatch", "train.py", {"train.py": train_image(M255, S255)},
      {"train.py": train_image()})  # fmt: skip
plant("a mean of 0 to 255 with a std of 0 to 1", "unit-mismatch", "norm.yaml", {"norm.yaml": f"mean: {M255}\nstd: {S}\n"},
      {"norm.yaml": f"mean: {M255}\nstd: {S255}\n"})  # fmt: skip
plant("a processor that rescales before constants of 0 to 255", "unit-mismatch", "preprocessor_config.json",
      {"preprocessor_config.json": processor(M255, S255)}, {"preprocessor_config.json": processor()}, train_dot_py=train_image(),
      model_dot_onnx=image())  # fmt: skip

# width ----------------------------------------------------------------------------------------------------------------

plant("statistics of another width beside the model", "wrong-width", "stats.json", {"stats.json": {"mean": [1.0, 2.0, 3.0], "std": [2.0, 3.0, 4.0]}},
      {"stats.json": {"mean": MEAN, "std": STD}}, model_dot_onnx=tabular())  # fmt: skip
plant("a scaler of another width that the service loads", "wrong-width", "serve.py",
      {"artifacts/scaler.npz": npz(mean=[*MEAN, 0.5], std=[*STD, 1.5])}, {"artifacts/scaler.npz": npz(mean=MEAN, std=STD)},
      serve_dot_py=serve_table("    x = (x - s['mean']) / s['std']", "s = np.load('artifacts/scaler.npz')"), model_dot_onnx=tabular())  # fmt: skip
plant("an array of another width", "wrong-width", "stats.npz", {"stats.npz": npz(mean=np.arange(7.0), std=np.arange(7.0) + 1.5)}, {"stats.npz": npz(mean=MEAN, std=STD)}, model_dot_onnx=tabular())  # fmt: skip
plant("constants of another width", "wrong-width", "serve.py", {"serve.py": serve_table(f"    x = (x - np.array({MEAN[:3]})) / np.array({STD[:3]})")},
      {"serve.py": serve_table(f"    x = (x - np.array({MEAN})) / np.array({STD})")}, model_dot_onnx=tabular())  # fmt: skip
MLMODEL = """artifact_path: model
flavors:
  onnx:
    data: model.onnx
    onnx_version: 1.16.0
  python_function:
    data: model.onnx
    loader_module: mlflow.onnx
signature:
  inputs: '[{{"type": "tensor", "tensor-spec": {{"dtype": "float32", "shape": [-1, {}]}}}}]'
"""
plant("a signature of another width", "wrong-width", "MLmodel", {"MLmodel": MLMODEL.format(6)}, {"MLmodel": MLMODEL.format(4)},
      model_dot_onnx=tabular())  # fmt: skip

# old copies -----------------------------------------------------------------------------------------------------------

NEW = {"mean": [5.9, -119.0, 0.035, 1010.0], "std": STD}
plant("the file moved on after the bake", "stale-copy", "stats.json", {"stats.json": NEW}, {"stats.json": {"mean": MEAN, "std": STD}},
      model_dot_onnx=baked_from({"mean": MEAN, "std": STD}))  # fmt: skip
plant("training and serving have a copy each", "stale-copy", "serving/stats.json", {"training/stats.json": NEW},
      {"training/stats.json": {"mean": MEAN, "std": STD}}, serving__stats_dot_json={"mean": MEAN, "std": STD})  # fmt: skip
plant("the deployed scaler is another", "stale-copy", "deploy/scaler.joblib", {"training/scaler.joblib": dumped(fitted(NEW["mean"]))},
      {"training/scaler.joblib": dumped(fitted())}, deploy__scaler_dot_joblib=dumped(fitted()))  # fmt: skip
plant("two formats of one name", "stale-copy", "scaler.npz", {"scaler.npz": npz(mean=NEW["mean"], std=STD)},
      {"scaler.npz": npz(mean=MEAN, std=STD)}, scaler_dot_json={"mean": MEAN, "std": STD})  # fmt: skip
plant("one digit in the copy", "stale-copy", "serving/norm.csv", {"training/norm.csv": "feature,mean,std\na,1.0,2.0\nb,3.01,4.0\n"},
      {"training/norm.csv": "feature,mean,std\na,1.0,2.0\nb,3.0,4.0\n"}, serving__norm_dot_csv="feature,mean,std\na,1.0,2.0\nb,3.0,4.0\n")  # fmt: skip

# constants ------------------------------------------------------------------------------------------------------------

plant(
    "0.458 for 0.456",
    "near-miss",
    "train.py",
    {"train.py": train_image([0.485, 0.458, 0.406])},
    {"train.py": train_image()},
)
plant("0.244 for 0.224 in a processor", "near-miss", "preprocessor_config.json", {"preprocessor_config.json": processor(M, [0.229, 0.244, 0.225])},
      {"preprocessor_config.json": processor()}, model_dot_onnx=image())  # fmt: skip
plant("a slipped digit of CLIP's", "near-miss", "norm.yaml", {"norm.yaml": f"mean: [0.48145466, 0.4587275, 0.40821073]\nstd: {CLIP_S}\n"},
      {"norm.yaml": f"mean: {CLIP_M}\nstd: {CLIP_S}\n"})  # fmt: skip
plant("a slipped digit in constants of a module", "near-miss", "constants.py", {"constants.py": f"IMAGENET_MEAN = [0.485, 0.456, 0.460]\nIMAGENET_STD = {S}\n"},
      {"constants.py": f"IMAGENET_MEAN = {M}\nIMAGENET_STD = {S}\n"})  # fmt: skip
plant(
    "a variance for a std",
    "suspicious-constants",
    "norm.json",
    {"norm.json": {"mean": M, "std": [v**2 for v in S]}},
    {"norm.json": {"mean": M, "std": S}},
)
plant(
    "mean and std swapped",
    "suspicious-constants",
    "train.py",
    {"train.py": train_image(S, M)},
    {"train.py": train_image()},
)

# fitting --------------------------------------------------------------------------------------------------------------


def fits(line: str) -> str:
    return TRAIN_TABLE.replace("X_test = scaler.transform(X_test)\n", line)


plant(
    "fit_transform on test data",
    "fit-on-test",
    "train.py",
    {"train.py": fits("X_test = scaler.fit_transform(X_test)\n")},
    {"train.py": TRAIN_TABLE},
)
plant("fit on training and test data", "fit-on-test", "train.py",
      {"train.py": TRAIN_TABLE.replace("X_train = scaler.fit_transform(X_train)", "scaler.fit(pd.concat([X_train, X_test]))\nX_train = scaler.transform(X_train)")},
      {"train.py": TRAIN_TABLE})  # fmt: skip
plant("a notebook fits on validation data", "fit-on-test", "train.ipynb",
      {"train.ipynb": notebook("from sklearn.preprocessing import MinMaxScaler\nscaler = MinMaxScaler()", "X_train = scaler.fit_transform(X_train)\nX_val = scaler.fit_transform(X_val)")},
      {"train.ipynb": notebook("from sklearn.preprocessing import MinMaxScaler\nscaler = MinMaxScaler()", "X_train = scaler.fit_transform(X_train)\nX_val = scaler.transform(X_val)")})  # fmt: skip
plant("fit before the split", "fit-before-split", "train.py",
      {"train.py": "from sklearn.model_selection import train_test_split\nfrom sklearn.preprocessing import StandardScaler\n\n\ndef main(X, y):\n    X = StandardScaler().fit_transform(X)\n    return train_test_split(X, y)\n"},
      {"train.py": "from sklearn.model_selection import train_test_split\nfrom sklearn.preprocessing import StandardScaler\n\n\ndef main(X, y):\n    X_train, X_test, y_train, y_test = train_test_split(X, y)\n    scaler = StandardScaler().fit(X_train)\n    return scaler.transform(X_train), scaler.transform(X_test), y_train, y_test\n"})  # fmt: skip
plant("fit in a route", "fit-in-serving", "app.py",
      {"app.py": "from fastapi import FastAPI\nfrom sklearn.preprocessing import StandardScaler\napp = FastAPI()\n\n\n@app.post('/predict')\ndef run(rows: list):\n    scaler = StandardScaler()\n    return scaler.fit_transform(rows).tolist()\n"},
      {"app.py": "from fastapi import FastAPI\nfrom skops.io import load\napp = FastAPI()\nscaler = load('scaler.skops')\n\n\n@app.post('/predict')\ndef run(rows: list):\n    return scaler.transform(rows).tolist()\n"},
      train_dot_py=TRAIN_TABLE)  # fmt: skip
plant("the batch's own mean and std", "fit-in-serving", "serve.py", {"serve.py": serve_table("    x = (x - x.mean(axis=0)) / x.std(axis=0)")},
      {"serve.py": serve_table(f"    x = (x - np.array({MEAN})) / np.array({STD})")}, model_dot_onnx=tabular(), train_dot_py=TRAIN_TABLE,
      stats_dot_json={"mean": MEAN, "std": STD})  # fmt: skip
plant("fit in predict", "fit-in-serving", "model.py",
      {"model.py": "from sklearn.preprocessing import MinMaxScaler\n\n\nclass Model:\n    def __init__(self, net):\n        self.net = net\n        self.scaler = MinMaxScaler()\n\n    def fit(self, X, y):\n        return self.net.fit(self.scaler.fit_transform(X), y)\n\n    def predict(self, X):\n        return self.net.predict(self.scaler.fit_transform(X))\n"},
      {"model.py": "from sklearn.preprocessing import MinMaxScaler\n\n\nclass Model:\n    def __init__(self, net):\n        self.net = net\n        self.scaler = MinMaxScaler()\n\n    def fit(self, X, y):\n        return self.net.fit(self.scaler.fit_transform(X), y)\n\n    def predict(self, X):\n        return self.net.predict(self.scaler.transform(X))\n"})  # fmt: skip

# pickles, prose, damage -----------------------------------------------------------------------------------------------

for name, bad, good in (
    ("pickle.load", "import pickle\nwith open('scaler.pkl', 'rb') as f:\n    scaler = pickle.load(f)\n", "import json\nwith open('s.json') as f:\n    scaler = json.load(f)\n"),
    ("joblib.load by another name", "from joblib import load as read\nscaler = read('scaler.joblib')\n", "from skops.io import load as read\nscaler = read('scaler.skops')\n"),
    ("torch.load without weights_only", "import torch\nstate = torch.load('norm.pt', weights_only=False)\n", "import torch\nstate = torch.load('norm.pt', weights_only=True)\n"),
    ("numpy.load with pickles", "import numpy as np\nstats = np.load('stats.npy', allow_pickle=True).item()\n", "import numpy as np\nstats = np.load('stats.npy')\n"),
):  # fmt: skip
    plant(name, "pickle-executed", "serve.py", {"serve.py": bad}, {"serve.py": good})
plant("a registry's pickle", "pickle-executed", "MLmodel",
      {"MLmodel": "artifact_path: model\nflavors:\n  sklearn:\n    pickled_model: model.pkl\n    serialization_format: cloudpickle\n"},
      {"MLmodel": "artifact_path: model\nflavors:\n  sklearn:\n    pickled_model: model.skops\n    serialization_format: skops\n"})  # fmt: skip
plant(
    "a pickle that calls",
    "unsafe-pickle",
    "scaler.pkl",
    {"scaler.pkl": pickle.dumps(Evil())},
    {"scaler.pkl": pickle.dumps(fitted())},
)
plant("a README of old constants", "docs-differ", "README.md", {"README.md": "# Model\n\nInputs are normalized with\nmean = [0.5, 0.5, 0.5] and\nstd = [0.5, 0.5, 0.5].\n"},
      {"README.md": f"# Model\n\nInputs are normalized with\nmean = {M} and\nstd = {S}.\n"}, train_dot_py=train_image())  # fmt: skip
plant("a model that is an LFS pointer", "unreadable", "model.onnx",
      {"model.onnx": "version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 12\n"}, {"model.onnx": tabular()})  # fmt: skip


def put(home: Path, files: Files) -> None:
    """Files by their path; a dictionary as JSON."""
    for name, content in files.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))


def write(folder: Path, *, bad: bool) -> dict[str, Fault]:
    """Every project, with its fault or without; gives the faults by their folder."""
    made = {}
    for number, fault in enumerate(FAULTS):
        home = folder / f"p{number:02d}"
        made[home.name] = fault
        put(home, {**fault.base, **(fault.bad if bad else fault.good)})
    return made
