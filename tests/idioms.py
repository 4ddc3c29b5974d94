"""A fifth set: the same faults in other idioms of Python (properties, static methods, named tuples, concatenations, helpers), each
with a clean twin; written after the fourth set was mended, before it was run."""

from __future__ import annotations

from tests import planted as P
from tests.teams import (
    BARE,
    BT,
    FIVE_M,
    FIVE_S,
    HALF,
    MEAN,
    OLD,
    STATS,
    STD,
    TORCH_TABLE,
    B,
    M,
    S,
    T,
    serving,
)
from tests.twins import Twins

PAIRS = Twins()
pair, swap = PAIRS.pair, PAIRS.swap


def twice(name: str, code: P.Files, kind: str = "table") -> None:
    bad, good = (BT, T) if kind == "table" else (B, BARE)
    pair(name, "scaled-twice", {"model.onnx": bad}, {"model.onnx": good}, code)


HEAD = "import numpy as np\nimport onnxruntime as ort\n\n"
RUN = "        return self.session.run(None, {'x': x.astype(np.float32)})[0]\n"
twice(
    "properties of a class",
    {
        "predictor.py": HEAD
        + """
class Predictor:
    def __init__(self):
        self.session = ort.InferenceSession("model.onnx")

    @property
    def mean(self):
        return np.array(<<MEAN>>)

    @property
    def std(self):
        return np.array(<<STD>>)

    def predict(self, rows):
        x = (np.asarray(rows) - self.mean) / self.std
"""
        + RUN
    },
)
twice(
    "a static method of a class of tools",
    {
        "serve.py": HEAD
        + """
class Rows:
    MEAN = np.array(<<MEAN>>)
    STD = np.array(<<STD>>)

    @staticmethod
    def standardize(x):
        return (x - Rows.MEAN) / Rows.STD


session = ort.InferenceSession("model.onnx")


def predict(rows):
    return session.run(None, {"x": Rows.standardize(np.asarray(rows)).astype(np.float32)})[0]
"""
    },
)
twice(
    "an imported function under another name",
    {
        "tools/pixels.py": """import numpy as np

MEAN, STD = np.array(<<M>>), np.array(<<S>>)


def prepare(image):
    x = np.asarray(image, dtype=np.float32) / 255.0
    return ((x - MEAN) / STD).transpose(2, 0, 1)[None].astype(np.float32)
""",
        "tools/__init__.py": "",
        "app.py": HEAD
        + """from PIL import Image
from tools.pixels import prepare as to_input

session = ort.InferenceSession("model.onnx")


def predict(path):
    return session.run(None, {"x": to_input(Image.open(path).convert("RGB"))})[0]
""",
    },
    "image",
)
twice(
    "a module under another name",
    {
        "lib/preprocessing.py": """import numpy as np

CENTER = <<MEAN>>
SCALE = <<STD>>


def prepare(rows):
    return (np.asarray(rows, dtype=np.float32) - np.array(CENTER)) / np.array(SCALE)
""",
        "lib/__init__.py": "",
        "api.py": HEAD
        + """import lib.preprocessing as pp

session = ort.InferenceSession("model.onnx")


def predict(rows):
    return session.run(None, {"x": pp.prepare(rows).astype(np.float32)})[0]
""",
    },
)
twice(
    "reduce over a list of lambdas",
    {
        "infer.py": HEAD
        + """from functools import reduce
from imageio.v3 import imread

CHAIN = [
    lambda x: x.astype(np.float32) / 255.0,
    lambda x: (x - np.array(<<M>>)) / np.array(<<S>>),
    lambda x: x.transpose(2, 0, 1)[None].astype(np.float32),
]
session = ort.InferenceSession("model.onnx")


def infer(path):
    return session.run(None, {"x": reduce(lambda x, f: f(x), CHAIN, imread(path))})[0]
"""
    },
    "image",
)
twice(
    "the inverse of a std as a factor",
    {
        "worker.py": HEAD
        + """
MEAN = np.float32(<<MEAN>>)
INV_STD = 1.0 / np.float32(<<STD>>)


class Worker:
    def __init__(self):
        self.session = ort.InferenceSession("model.onnx")

    def infer(self, x):
        x = (x - MEAN[None, :]) * INV_STD[None, :]
"""
        + RUN
    },
)
twice(
    "mean and std out of one npz",
    {
        "serve.py": P.serve_table(
            "    x = (x - MEAN) / STD", "MEAN, STD = np.load('stats.npz')['mean'], np.load('stats.npz')['std']"
        ),
        "stats.npz": P.npz(mean=MEAN, std=STD),
    },
)
twice(
    "low and high of each feature",
    {
        "serve.py": P.serve_table(
            "    x = (x - LOW) / (HIGH - LOW)",
            "LOW = np.array([0.0, -180.0, 0.0, 950.0])\nHIGH = np.array([30.0, 180.0, 1.5, 1060.0])",
        )
    },
)
swap(
    "named tuples of constants",
    "train-serve-skew",
    "serve.py",
    P.serve_image("    x = (x / 255.0 - np.array(NORM.mean)) / np.array(NORM.std)", "from norms import <<?>> as NORM"),
    "INCEPTION",
    "IMAGENET",
    {
        "norms.py": """from typing import NamedTuple


class Norm(NamedTuple):
    mean: tuple[float, ...]
    std: tuple[float, ...]


IMAGENET = Norm((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
INCEPTION = Norm(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
""",
        "train.py": P.train_image(),
        "model.onnx": BARE,
    },
)
swap(
    "statistics by a function that reads JSON",
    "train-serve-skew stale-copy",
    "serving/config.json",
    '{"model": "model.onnx", "scaling": {"mean": <<?>>, "std": <<STD>>}}',
    OLD,
    MEAN,
    {
        "serving/model.onnx": T,
        "training/fit.py": TORCH_TABLE,
        "serving/app.py": HEAD
        + """import json


def load_config(path="config.json"):
    with open(path) as f:
        return json.load(f)


config = load_config()
session = ort.InferenceSession(config["model"])


def predict(rows):
    scaling = config["scaling"]
    x = (np.asarray(rows) - np.array(scaling["mean"])) / np.array(scaling["std"])
    return session.run(None, {"x": x.astype(np.float32)})[0]
""",
    },
)
swap(
    "a preprocess that only casts",
    "not-scaled",
    "service/model.py",
    HEAD
    + """
class Service:
    def __init__(self):
        self.session = ort.InferenceSession("model.onnx")

    def preprocess(self, rows):
        return <<?>>

    def predict(self, rows):
        x = self.preprocess(rows)
"""
    + RUN,
    "np.asarray(rows, dtype=np.float32).reshape(-1, 4)",
    "(np.asarray(rows, dtype=np.float32).reshape(-1, 4) - np.array(<<MEAN>>)) / np.array(<<STD>>)",
    {"service/model.onnx": T, "training/fit.py": TORCH_TABLE},
)
swap(
    "frames scaled by their own mean in training, raw in serving",
    "not-scaled",
    "serving/app.py",
    P.serve_table("<<?>>"),
    "    pass",
    "    x = (x - np.array(<<MEAN>>)) / np.array(<<STD>>)",
    {
        "serving/model.onnx": T,
        "training/train.py": """import pandas as pd
import torch

frame = pd.read_csv("train.csv")
features = frame.drop(columns=["y"])
mean, std = features.mean(), features.std()
features = (features - mean) / std
net = torch.nn.Linear(4, 1)
opt = torch.optim.Adam(net.parameters())
for _ in range(100):
    opt.zero_grad()
    torch.nn.functional.mse_loss(net(torch.tensor(features.values).float()).squeeze(), torch.tensor(frame.y.values).float()).backward()
    opt.step()
torch.onnx.export(net, torch.zeros(1, 4), "model.onnx", input_names=["x"])
""",
    },
)
swap(
    "a digit in Normalize by position",
    "near-miss",
    "data.py",
    "from torchvision import transforms as T\n\ntf = T.Compose([T.ToTensor(),\n"
    "    T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, <<?>>))])\n",
    0.255,
    0.225,
    {},
)
swap(
    "a blob by 255, then constants of pixels",
    "unit-mismatch",
    "detect.py",
    """import cv2
import numpy as np

net = cv2.dnn.readNetFromONNX("model.onnx")


def detect(path):
    image = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
    image = image.astype(np.float32)<<?>>
    image -= np.array([123.675, 116.28, 103.53])
    image /= np.array([58.395, 57.12, 57.375])
    net.setInput(image.transpose(2, 0, 1)[None])
    return net.forward()
""",
    " / 255.0",
    "",
    {"model.onnx": BARE},
)
swap(
    "divided by 255 in the reader and in the network's front",
    "scaled-twice",
    "infer.py",
    HEAD
    + """import cv2

session = ort.InferenceSession("model.onnx")


def read(path):
    image = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
    return cv2.resize(image, (224, 224)).astype(np.float32) / 255.0


def prepare(image):
    x = image<<?>>
    return ((x - np.array(<<M>>)) / np.array(<<S>>)).transpose(2, 0, 1)[None].astype(np.float32)


def infer(path):
    return session.run(None, {"x": prepare(read(path))})[0]
""",
    " / 255.0",
    "",
    {"model.onnx": BARE},
)
swap(
    "partial_fit on what is served",
    "fit-in-serving",
    "online.py",
    HEAD
    + """import json
from fastapi import FastAPI
from sklearn.preprocessing import StandardScaler

app = FastAPI()
session = ort.InferenceSession("model.onnx")
STATS = json.load(open("stats.json"))
scaler = StandardScaler()
scaler.mean_, scaler.scale_ = np.array(STATS["mean"]), np.array(STATS["std"])


@app.post("/predict")
def predict(rows: list[list[float]]):
    x = np.asarray(rows)
<<?>>    return session.run(None, {"x": scaler.transform(x).astype(np.float32)})[0].tolist()
""",
    "    scaler.partial_fit(x)\n",
    "",
    {"model.onnx": T, "stats.json": STATS},
)
swap(
    "training and test rows fitted together",
    "fit-on-test",
    "kaggle.py",
    """import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

train, test = pd.read_csv("train.csv"), pd.read_csv("test.csv")
X_train, X_test = train.drop(columns=["y"]), test
scaler = StandardScaler()
scaler.fit(<<?>>)
clf = LogisticRegression().fit(scaler.transform(X_train), train["y"])
pd.DataFrame({"y": clf.predict(scaler.transform(X_test))}).to_csv("submission.csv")
""",
    "pd.concat([X_train, X_test])",
    "X_train",
    {},
)
swap(
    "a frame scaled by itself, then split",
    "fit-before-split",
    "train.py",
    """import pandas as pd
from sklearn.linear_model import Ridge
from sklearn.model_selection import train_test_split

frame = pd.read_csv("houses.csv")
X, y = frame.drop(columns=["price"]), frame["price"]
<<?>>
model = Ridge().fit(X_train, y_train)
print(model.score(X_test, y_test))
""",
    "X = (X - X.mean()) / X.std()\nX_train, X_test, y_train, y_test = train_test_split(X, y)",
    "X_train, X_test, y_train, y_test = train_test_split(X, y)\n"
    "mu, sd = X_train.mean(), X_train.std()\nX_train, X_test = (X_train - mu) / sd, (X_test - mu) / sd",
    {},
)
pair(
    "a scaler of joblib with five features",
    "wrong-width",
    {"artifacts/scaler.joblib": P.dumped(P.fitted(FIVE_M, FIVE_S))},
    {"artifacts/scaler.joblib": P.dumped(P.fitted())},
    {
        "artifacts/model.onnx": T,
        "predict.py": HEAD
        + """from pathlib import Path
import joblib

ROOT = Path(__file__).resolve().parent / "artifacts"
scaler = joblib.load(ROOT / "scaler.joblib")  # onnxscale: ignore[pickle-executed]
session = ort.InferenceSession(str(ROOT / "model.onnx"))


def predict(rows):
    return session.run(None, {"x": scaler.transform(rows).astype(np.float32)})[0]
""",
    },
)
swap(
    "albumentations in training, only / 255 in serving",
    "train-serve-skew",
    "serving/app.py",
    P.serve_image("    x = x / 255.0<<?>>"),
    "",
    "\n    x = (x - np.array(<<M>>)) / np.array(<<S>>)",
    {
        "serving/model.onnx": BARE,
        "training/dataset.py": """import albumentations as A
import cv2
from albumentations.pytorch import ToTensorV2
from torch.utils.data import Dataset

augment = A.Compose([A.RandomCrop(224, 224), A.HorizontalFlip(), A.Normalize(), ToTensorV2()])


class Pictures(Dataset):
    def __init__(self, files):
        self.files = files

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        return augment(image=cv2.cvtColor(cv2.imread(self.files[i]), cv2.COLOR_BGR2RGB))["image"]
""",
    },
)
pair(
    "a processor's file against training's code",
    "train-serve-skew stale-copy",
    {"export/preprocessor_config.json": P.processor(HALF, HALF)},
    {"export/preprocessor_config.json": P.processor()},
    {"export/model.onnx": BARE, "training/train.py": P.train_image()},
)
swap(
    "trained on BGR, served in RGB",
    "channel-order train-serve-skew",
    "serving/app.py",
    HEAD
    + """import cv2

session = ort.InferenceSession("model.onnx")


def predict(path):
    image = cv2.imread(path)
    image = <<?>>
    image = (image.astype(np.float32) / 255.0 - np.array(<<m>>)) / np.array(<<s>>)
    return session.run(None, {"x": image.transpose(2, 0, 1)[None].astype(np.float32)})
""".replace("<<m>>", str(M[::-1])).replace("<<s>>", str(S[::-1])),
    "cv2.cvtColor(image, cv2.COLOR_BGR2RGB)",
    "cv2.resize(image, (224, 224))",
    {"serving/model.onnx": BARE, "training/README.md": "# Training\n\nIn RGB, with ImageNet's constants.\n"},
)
swap(
    "another scaler's file than the one beside the model",
    "pickle-executed",
    "app.py",
    "import json\nimport dill as serializer\n\nwith open('scaler.bin', 'rb') as f:\n    scaler = <<?>>\n",
    "serializer.load(f)",
    "json.load(f)",
    {},
)
swap(
    "constants of a class of configuration, against training",
    "train-serve-skew",
    "deploy/predictor.py",
    HEAD
    + """from PIL import Image


class Config:
    class Image:
        mean = <<?>>
        std = <<S>>


class Predictor:
    def __init__(self, config=Config):
        self.mean = np.array(config.Image.mean).reshape(3, 1, 1)
        self.std = np.array(config.Image.std).reshape(3, 1, 1)
        self.session = ort.InferenceSession("model.onnx")

    def predict(self, path):
        x = np.asarray(Image.open(path).convert("RGB"), dtype=np.float32).transpose(2, 0, 1) / 255
        x = ((x - self.mean) / self.std)[None]
"""
    + RUN,
    [0.5, 0.5, 0.5],
    M,
    {"deploy/model.onnx": BARE, "train.py": P.train_image()},
)
pair(
    "two services, one scales and one does not",
    "train-serve-skew not-scaled",
    {"api/grpc_server.py": P.serve_image(P.RAW, model="models/model.onnx")},
    {"api/grpc_server.py": serving(M, S).replace("model.onnx", "models/model.onnx")},
    {
        "models/model.onnx": BARE,
        "api/rest_server.py": serving(M, S).replace("model.onnx", "models/model.onnx"),
        "training/train.py": P.train_image(),
    },
)
