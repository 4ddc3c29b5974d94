"""Faults in other styles, each with a clean twin: dataclasses, torch Datasets, serving frameworks, JAX, TensorFlow."""

from __future__ import annotations

from tests import planted as P

PAIRS: dict[str, tuple[str, P.Files, P.Files]] = {}


def pair(name: str, rule: str, bad: P.Files, good: P.Files, **base: P.Content) -> None:
    shared = {k.replace("__", "/").replace("_dot_", "."): v for k, v in base.items()}
    PAIRS[name] = (rule, {**shared, **bad}, {**shared, **good})


M, S, M255, S255 = P.M, P.S, P.M255, P.S255
MEAN, STD = P.MEAN, P.STD
BARE, T, B, BT = P.image(), P.tabular(), P.baked("image"), P.baked("table")

# 1 dataclass config
DC = """from dataclasses import dataclass
import numpy as np
import onnxruntime as ort


@dataclass(frozen=True)
class Preprocess:
    mean: tuple[float, ...] = {mean}
    std: tuple[float, ...] = {std}

    def __call__(self, x):
        x = x.astype(np.float32) / 255.0
        return (x - np.asarray(self.mean)) / np.asarray(self.std)


class Predictor:
    def __init__(self, path="model.onnx"):
        self.session = ort.InferenceSession(path)
        self.pre = Preprocess()

    def predict(self, image):
        x = self.pre(image)
        return self.session.run(None, {{"x": x.transpose(2, 0, 1)[None].astype(np.float32)}})
"""
pair(
    "dataclass of constants, skew",
    "train-serve-skew",
    {"inference.py": DC.format(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))},
    {"inference.py": DC.format(mean=tuple(M), std=tuple(S))},
    train_dot_py=P.train_image(),
    model_dot_onnx=BARE,
)
pair(
    "dataclass of constants, baked",
    "scaled-twice",
    {"model.onnx": B},
    {"model.onnx": BARE},
    inference_dot_py=DC.format(mean=tuple(M), std=tuple(S)),
)

# 2 torch Dataset
DS = """import numpy as np
import torch
from torch.utils.data import Dataset
from PIL import Image


class Pictures(Dataset):
    def __init__(self, files, labels):
        self.files, self.labels = files, labels
        self.mean = torch.tensor({m}).view(3, 1, 1)
        self.std = torch.tensor({s}).view(3, 1, 1)

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        image = torch.from_numpy(np.array(Image.open(self.files[i]).convert("RGB"))).permute(2, 0, 1).float()
        return (image.div(255.0) - self.mean) / self.std, self.labels[i]


def train(net, loader, opt):
    for x, y in loader:
        opt.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        opt.step()
"""
pair(
    "a Dataset's own constants",
    "train-serve-skew",
    {"dataset.py": DS.format(m=[0.5] * 3, s=[0.5] * 3)},
    {"dataset.py": DS.format(m=M, s=S)},
    serve_dot_py=P.serve_image(P.SCALE),
    model_dot_onnx=BARE,
)

# 3 FastAPI, pydantic
FA = """from contextlib import asynccontextmanager
import numpy as np
import onnxruntime as rt
from fastapi import FastAPI
from pydantic import BaseModel

MU = np.array({mu}, dtype=np.float32)
SIGMA = np.array({sd}, dtype=np.float32)


class Row(BaseModel):
    values: list[float]


state = {{}}


@asynccontextmanager
async def lifespan(app):
    state["sess"] = rt.InferenceSession("models/model.onnx")
    yield


app = FastAPI(lifespan=lifespan)


@app.post("/score")
def score(row: Row):
    x = np.asarray(row.values, dtype=np.float32)[None]
    x = {expr}
    return {{"y": state["sess"].run(None, {{"x": x}})[0].tolist()}}
"""
Z = "(x - MU) / SIGMA"
pair(
    "FastAPI with lifespan scales a baked model",
    "scaled-twice",
    {"main.py": FA.format(mu=MEAN, sd=STD, expr=Z)},
    {"main.py": FA.format(mu=MEAN, sd=STD, expr="x")},
    models__model_dot_onnx=BT,
)
pair(
    "FastAPI forgets",
    "not-scaled",
    {
        "main.py": FA.format(mu=MEAN, sd=STD, expr="x")
        .replace(f"MU = np.array({MEAN}, dtype=np.float32)\n", "")
        .replace(f"SIGMA = np.array({STD}, dtype=np.float32)\n", "")
    },
    {"main.py": FA.format(mu=MEAN, sd=STD, expr=Z)},
    models__model_dot_onnx=T,
    models__scaler_dot_json={"mean": MEAN, "std": STD},
)
pair(
    "FastAPI with one digit other than the file",
    "train-serve-skew",
    {"main.py": FA.format(mu=[MEAN[0] * 1.01, *MEAN[1:]], sd=STD, expr=Z)},
    {"main.py": FA.format(mu=MEAN, sd=STD, expr=Z)},
    models__model_dot_onnx=T,
    models__scaler_dot_json={"mean": MEAN, "std": STD},
)

# 4 np.subtract/divide
pair(
    "np.subtract and np.divide",
    "scaled-twice",
    {"serve.py": P.serve_table(f"    x = np.divide(np.subtract(x, np.array({MEAN})), np.array({STD}))")},
    {"serve.py": P.serve_table("    pass")},
    model_dot_onnx=BT,
)
pair(
    "multiply by the inverse",
    "scaled-twice",
    {"serve.py": P.serve_table(f"    x = (x - np.array({MEAN})) * (1.0 / np.array({STD}))")},
    {"serve.py": P.serve_table("    pass")},
    model_dot_onnx=BT,
)
pair(
    "scale and bias of pixels",
    "scaled-twice",
    {"serve.py": P.serve_image(f"    x = x * (1 / (255 * np.array({S}))) + (-np.array({M}) / np.array({S}))")},
    {"serve.py": P.serve_image(P.RAW)},
    model_dot_onnx=B,
)
pair(
    "list comprehension",
    "scaled-twice",
    {
        "serve.py": P.serve_table(
            f"    x = np.array([[(v - m) / s for v, m, s in zip(row, {MEAN}, {STD})] for row in rows])"
        )
    },
    {"serve.py": P.serve_table("    pass")},
    model_dot_onnx=BT,
)
pair(
    "channel by channel",
    "scaled-twice",
    {
        "serve.py": P.serve_image(
            "    x = x / 255.0\n    x[..., 0] = (x[..., 0] - 0.485) / 0.229\n    x[..., 1] = (x[..., 1] - 0.456) / 0.224\n    x[..., 2] = (x[..., 2] - 0.406) / 0.225"
        )
    },
    {"serve.py": P.serve_image(P.RAW)},
    model_dot_onnx=B,
)
pair(
    "cv2.subtract/cv2.multiply in place",
    "scaled-twice",
    {
        "serve.py": f"import cv2\nimport numpy as np\nimport onnxruntime as ort\nsession = ort.InferenceSession('model.onnx')\nmean = np.float64(np.array({M255}).reshape(1, -1))\nstdinv = 1 / np.float64(np.array({S255}).reshape(1, -1))\n\n\ndef predict(path):\n    img = cv2.imread(path).astype(np.float32)\n    cv2.cvtColor(img, cv2.COLOR_BGR2RGB, img)\n    cv2.subtract(img, mean, img)\n    cv2.multiply(img, stdinv, img)\n    return session.run(None, {{'x': img.transpose(2, 0, 1)[None]}})\n"
    },
    {
        "serve.py": "import cv2\nimport numpy as np\nimport onnxruntime as ort\nsession = ort.InferenceSession('model.onnx')\n\n\ndef predict(path):\n    img = cv2.imread(path).astype(np.float32)\n    img = cv2.cvtColor(img, cv2.COLOR_BGR2RGB)\n    return session.run(None, {'x': img.transpose(2, 0, 1)[None]})\n"
    },
    model_dot_onnx=B,
)
# 5 config
JS = "import json\nfrom pathlib import Path\ncfg = json.loads((Path(__file__).parent / 'config.json').read_text())\nMEAN, STD = np.array(cfg['preprocess']['mean']), np.array(cfg['preprocess']['std'])"
pair(
    "constants from JSON, nested, by pathlib",
    "scaled-twice",
    {"serve.py": P.serve_table("    x = (x - MEAN) / STD", JS)},
    {"serve.py": P.serve_table("    pass")},
    config_dot_json={"name": "m", "preprocess": {"mean": MEAN, "std": STD}},
    model_dot_onnx=BT,
)
pair(
    "constants from JSON are not training's",
    "train-serve-skew",
    {"config.json": {"preprocess": {"mean": [0.5] * 3, "std": [0.5] * 3}}},
    {"config.json": {"preprocess": {"mean": M, "std": S}}},
    serve_dot_py=P.serve_image("    x = (x / 255 - MEAN) / STD", JS),
    train_dot_py=P.train_image(),
    model_dot_onnx=BARE,
)
pair(
    "YAML read by omegaconf",
    "train-serve-skew",
    {"conf/data.yaml": "mean: [0.5, 0.5, 0.5]\nstd: [0.5, 0.5, 0.5]\n"},
    {"conf/data.yaml": f"mean: {M}\nstd: {S}\n"},
    serve_dot_py=P.serve_image(
        "    x = (x / 255 - np.array(cfg.mean)) / np.array(cfg.std)",
        "from omegaconf import OmegaConf\ncfg = OmegaConf.load('conf/data.yaml')",
    ),
    train_dot_py=P.train_image(),
    model_dot_onnx=BARE,
)
# 6 tf / keras
TF = "import tensorflow as tf\nnorm = tf.keras.layers.Normalization(mean={m}, variance={v})\nds = ds.map(lambda x, y: (norm(x), y))\nmodel.fit(ds, epochs=3)\n"
pair(
    "keras Normalization against serving",
    "train-serve-skew",
    {"train.py": TF.format(m=[1.0, 2.0, 3.0, 4.0], v=[1.0, 4.0, 9.0, 16.0])},
    {"train.py": TF.format(m=MEAN, v=[v * v for v in STD])},
    serve_dot_py=P.serve_table(f"    x = (x - np.array({MEAN})) / np.array({STD})"),
    model_dot_onnx=T,
)
pair(
    "keras Rescaling against / 255",
    "train-serve-skew",
    {
        "train.py": "import tensorflow as tf\nmodel = tf.keras.Sequential([])\nds = ds.map(lambda x, y: (tf.keras.layers.Rescaling(1/127.5, offset=-1)(x), y))\nmodel.fit(ds)\n"
    },
    {
        "train.py": "import tensorflow as tf\nmodel = tf.keras.Sequential([])\nds = ds.map(lambda x, y: (tf.keras.layers.Rescaling(1/255)(x), y))\nmodel.fit(ds)\n"
    },
    serve_dot_py=P.serve_image("    x = x / 255.0"),
    model_dot_onnx=BARE,
)
pair(
    "keras preprocess_input caffe",
    "train-serve-skew",
    {
        "train.py": "from tensorflow.keras.applications.resnet50 import preprocess_input\nx = preprocess_input(x)\nmodel.fit(x, y)\n"
    },
    {
        "train.py": "from tensorflow.keras.applications.mobilenet_v2 import preprocess_input\nx = preprocess_input(x)\nmodel.fit(x, y)\n"
    },
    serve_dot_py=P.serve_image("    x = x / 127.5 - 1"),
    model_dot_onnx=BARE,
)
pair(
    "tf.image in serving a baked model",
    "scaled-twice",
    {
        "serve.py": "import tensorflow as tf\nimport onnxruntime as ort\nsess = ort.InferenceSession('model.onnx')\n\n\ndef predict(b):\n    x = tf.cast(tf.io.decode_jpeg(b), tf.float32)\n    x = (x / 255.0 - tf.constant([0.485, 0.456, 0.406])) / tf.constant([0.229, 0.224, 0.225])\n    return sess.run(None, {'x': tf.transpose(x, [2, 0, 1])[None].numpy()})\n"
    },
    {
        "serve.py": "import tensorflow as tf\nimport onnxruntime as ort\nsess = ort.InferenceSession('model.onnx')\n\n\ndef predict(b):\n    x = tf.cast(tf.io.decode_jpeg(b), tf.float32)\n    return sess.run(None, {'x': tf.transpose(x, [2, 0, 1])[None].numpy()})\n"
    },
    model_dot_onnx=B,
)
# 7 jax
pair(
    "jax.numpy",
    "scaled-twice",
    {
        "serve.py": f"import jax.numpy as jnp\nimport jax\nimport onnxruntime as ort\nsess = ort.InferenceSession('model.onnx')\nMU, SD = jnp.array({MEAN}), jnp.array({STD})\n\n\n@jax.jit\ndef standardize(x):\n    return (x - MU) / SD\n\n\ndef predict(x):\n    return sess.run(None, {{'x': standardize(x)}})\n"
    },
    {
        "serve.py": "import onnxruntime as ort\nsess = ort.InferenceSession('model.onnx')\n\n\ndef predict(x):\n    return sess.run(None, {'x': x})\n"
    },
    model_dot_onnx=BT,
)
# 8 albumentations
pair(
    "albumentations in training",
    "train-serve-skew",
    {
        "train.py": "import albumentations as A\nfrom albumentations.pytorch import ToTensorV2\nimport torch\n\ntrain_tf = A.Compose([A.RandomCrop(16, 16), A.Normalize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)), ToTensorV2()])\n\n\ndef train(net, data):\n    for x, y in data:\n        torch.nn.functional.cross_entropy(net(train_tf(image=x)['image']), y).backward()\n"
    },
    {
        "train.py": "import albumentations as A\nfrom albumentations.pytorch import ToTensorV2\nimport torch\n\ntrain_tf = A.Compose([A.RandomCrop(16, 16), A.Normalize(), ToTensorV2()])\n\n\ndef train(net, data):\n    for x, y in data:\n        torch.nn.functional.cross_entropy(net(train_tf(image=x)['image']), y).backward()\n"
    },
    serve_dot_py=P.serve_image(P.SCALE),
    model_dot_onnx=BARE,
)
pair(
    "torchvision functional",
    "train-serve-skew",
    {
        "serve.py": P.serve_image(
            "    x = TF.normalize(TF.to_tensor(x), [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]).numpy()",
            "import torchvision.transforms.functional as TF",
        )
    },
    {
        "serve.py": P.serve_image(
            f"    x = TF.normalize(TF.to_tensor(x), {M}, {S}).numpy()", "import torchvision.transforms.functional as TF"
        )
    },
    train_dot_py=P.train_image(),
    model_dot_onnx=BARE,
)
pair(
    "a near miss as keyword of a call in a class",
    "near-miss",
    {
        "data.py": "import torchvision.transforms as T\n\n\nclass Data:\n    norm = T.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.255])\n"
    },
    {
        "data.py": "import torchvision.transforms as T\n\n\nclass Data:\n    norm = T.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])\n"
    },
)
pair(
    "a near miss in pixels",
    "near-miss",
    {"config.py": "PIXEL_MEAN = [123.675, 116.28, 130.53]\nPIXEL_STD = [58.395, 57.12, 57.375]\n"},
    {"config.py": f"PIXEL_MEAN = {M255}\nPIXEL_STD = {S255}\n"},
)
pair(
    "a near miss in mmdet's config",
    "near-miss",
    {"config.py": "img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.735], to_rgb=True)\n"},
    {"config.py": "img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)\n"},
)
pair(
    "dict of constants",
    "train-serve-skew",
    {
        "serve.py": P.serve_image(
            "    x = (x / 255 - np.array(NORM['mean'])) / np.array(NORM['std'])",
            "NORM = {'mean': [0.5, 0.5, 0.5], 'std': [0.5, 0.5, 0.5]}",
        )
    },
    {
        "serve.py": P.serve_image(
            "    x = (x / 255 - np.array(NORM['mean'])) / np.array(NORM['std'])", f"NORM = {{'mean': {M}, 'std': {S}}}"
        )
    },
    train_dot_py=P.train_image(),
    model_dot_onnx=BARE,
)
# 9 fitting
pair(
    "fit in a Flask route, pandas",
    "fit-in-serving",
    {
        "app.py": "from flask import Flask, request\nimport pandas as pd\nfrom sklearn.preprocessing import RobustScaler\napp = Flask(__name__)\n\n\n@app.route('/predict', methods=['POST'])\ndef predict():\n    df = pd.DataFrame(request.json)\n    df[df.columns] = RobustScaler().fit_transform(df)\n    return model.predict(df).tolist()\n"
    },
    {
        "app.py": "from flask import Flask, request\nimport pandas as pd\napp = Flask(__name__)\n\n\n@app.route('/predict', methods=['POST'])\ndef predict():\n    df = pd.DataFrame(request.json)\n    df[df.columns] = scaler.transform(df)\n    return model.predict(df).tolist()\n"
    },
)
pair(
    "a Celery task fits",
    "fit-in-serving",
    {
        "worker.py": "from celery import Celery\nfrom sklearn.preprocessing import StandardScaler\nimport onnxruntime as ort\napp = Celery('w')\nsess = ort.InferenceSession('model.onnx')\n\n\n@app.task\ndef score(rows):\n    x = StandardScaler().fit_transform(rows)\n    return sess.run(None, {'x': x.astype('float32')})[0].tolist()\n"
    },
    {
        "worker.py": "from celery import Celery\nimport onnxruntime as ort\napp = Celery('w')\nsess = ort.InferenceSession('model.onnx')\n\n\n@app.task\ndef score(rows):\n    return sess.run(None, {'x': rows})[0].tolist()\n"
    },
    model_dot_onnx=BT,
)
pair(
    "streamlit fits on what is uploaded",
    "fit-in-serving",
    {
        "app.py": "import streamlit as st\nimport pandas as pd\nfrom sklearn.preprocessing import StandardScaler\nimport onnxruntime as ort\nsess = ort.InferenceSession('model.onnx')\nf = st.file_uploader('csv')\nif f:\n    df = pd.read_csv(f)\n    X = StandardScaler().fit_transform(df)\n    st.write(sess.run(None, {'x': X.astype('float32')})[0])\n"
    },
    {
        "app.py": "import streamlit as st\nimport pandas as pd\nimport onnxruntime as ort\nsess = ort.InferenceSession('model.onnx')\nf = st.file_uploader('csv')\nif f:\n    df = pd.read_csv(f)\n    st.write(sess.run(None, {'x': df.to_numpy('float32')})[0])\n"
    },
    model_dot_onnx=BT,
)
pair(
    "a handler of SageMaker fits",
    "fit-in-serving",
    {
        "inference.py": "import numpy as np\nfrom sklearn.preprocessing import StandardScaler\n\n\ndef model_fn(d):\n    return load(d)\n\n\ndef input_fn(body, content_type):\n    return StandardScaler().fit_transform(np.loadtxt(body))\n\n\ndef predict_fn(x, model):\n    return model.run(x)\n"
    },
    {
        "inference.py": "import numpy as np\n\n\ndef model_fn(d):\n    return load(d)\n\n\ndef input_fn(body, content_type):\n    return np.loadtxt(body)\n\n\ndef predict_fn(x, model):\n    return model.run(x)\n"
    },
)
pair(
    "z-score of the request by scipy",
    "fit-in-serving",
    {"serve.py": P.serve_table("    x = zscore(x, axis=0)", "from scipy.stats import zscore")},
    {"serve.py": P.serve_table(f"    x = (x - np.array({MEAN})) / np.array({STD})")},
    model_dot_onnx=T,
    train_dot_py=P.TRAIN_TABLE,
)
pair(
    "min-max of the request itself",
    "fit-in-serving",
    {"serve.py": P.serve_table("    x = (x - x.min(axis=0)) / (x.max(axis=0) - x.min(axis=0))")},
    {"serve.py": P.serve_table(f"    x = (x - np.array({MEAN})) / np.array({STD})")},
    model_dot_onnx=T,
    train_dot_py=P.TRAIN_TABLE,
)
pair(
    "a pipeline fitted on test data",
    "fit-on-test",
    {
        "train.py": "from sklearn.pipeline import make_pipeline\nfrom sklearn.preprocessing import StandardScaler\nfrom sklearn.svm import SVC\nfrom sklearn.model_selection import train_test_split\nX_train, X_test, y_train, y_test = train_test_split(X, y)\npipe = make_pipeline(StandardScaler(), SVC())\npipe.fit(X_test, y_test)\n"
    },
    {
        "train.py": "from sklearn.pipeline import make_pipeline\nfrom sklearn.preprocessing import StandardScaler\nfrom sklearn.svm import SVC\nfrom sklearn.model_selection import train_test_split\nX_train, X_test, y_train, y_test = train_test_split(X, y)\npipe = make_pipeline(StandardScaler(), SVC())\npipe.fit(X_train, y_train)\npipe.score(X_test, y_test)\n"
    },
)
pair(
    "a second scaler for the test set",
    "fit-on-test",
    {
        "prepare.py": "from sklearn.preprocessing import StandardScaler\nimport pandas as pd\n\n\ndef prepare(train_df, test_df, cols):\n    train_df[cols] = StandardScaler().fit_transform(train_df[cols])\n    test_df[cols] = StandardScaler().fit_transform(test_df[cols])\n    return train_df, test_df\n"
    },
    {
        "prepare.py": "from sklearn.preprocessing import StandardScaler\nimport pandas as pd\n\n\ndef prepare(train_df, test_df, cols):\n    scaler = StandardScaler().fit(train_df[cols])\n    train_df[cols] = scaler.transform(train_df[cols])\n    test_df[cols] = scaler.transform(test_df[cols])\n    return train_df, test_df\n"
    },
)
pair(
    "fit on everything, then split, pandas",
    "fit-before-split",
    {
        "train.py": "import pandas as pd\nfrom sklearn.preprocessing import MinMaxScaler\nfrom sklearn.model_selection import train_test_split\ndf = pd.read_csv('d.csv')\nfeatures = df.drop(columns=['t'])\nmm = MinMaxScaler()\nscaled = mm.fit_transform(features)\nXtr, Xte, ytr, yte = train_test_split(scaled, df['t'], test_size=0.2)\n"
    },
    {
        "train.py": "import pandas as pd\nfrom sklearn.preprocessing import MinMaxScaler\nfrom sklearn.model_selection import train_test_split\ndf = pd.read_csv('d.csv')\nfeatures = df.drop(columns=['t'])\nXtr, Xte, ytr, yte = train_test_split(features, df['t'], test_size=0.2)\nmm = MinMaxScaler().fit(Xtr)\nXtr, Xte = mm.transform(Xtr), mm.transform(Xte)\n"
    },
)
# 10 pickles
pair(
    "dill",
    "pickle-executed",
    {"serve.py": "import dill\nwith open('scaler.pkl', 'rb') as f:\n    scaler = dill.load(f)\n"},
    {"serve.py": "import json\nscaler = json.load(open('s.json'))\n"},
)
pair(
    "pd.read_pickle",
    "pickle-executed",
    {"serve.py": "import pandas as pd\nstats = pd.read_pickle('stats.pkl')\n"},
    {"serve.py": "import pandas as pd\nstats = pd.read_parquet('stats.parquet')\n"},
)
pair(
    "cloudpickle in a class",
    "pickle-executed",
    {
        "serve.py": "import cloudpickle as cp\n\n\nclass M:\n    def __init__(self, p):\n        self.s = cp.loads(open(p, 'rb').read())\n"
    },
    {
        "serve.py": "import json\n\n\nclass M:\n    def __init__(self, p):\n        self.s = json.loads(open(p).read())\n"
    },
)
pair(
    "mlflow.sklearn.load_model",
    "pickle-executed",
    {"serve.py": "import mlflow\nscaler = mlflow.sklearn.load_model('runs:/x/scaler')\n"},
    {"serve.py": "import mlflow\nm = mlflow.onnx.load_model('runs:/x/model')\n"},
)
# 11 width/stale
pair(
    "CSV of statistics of another width",
    "wrong-width",
    {"scaler_stats.csv": "feature,mean,std\na,1,2\nb,3,4\nc,5,6\n"},
    {"scaler_stats.csv": "feature,mean,std\na,1,2\nb,3,4\nc,5,6\nd,7,8\n"},
    model_dot_onnx=T,
)
pair(
    "joblib of another width",
    "wrong-width",
    {"scaler.joblib": P.dumped(P.fitted([*MEAN, 1.0], [*STD, 2.0]))},
    {"scaler.joblib": P.dumped(P.fitted())},
    model_dot_onnx=T,
)
pair(
    "an old copy under deploy",
    "stale-copy",
    {"deploy/scaler_params.json": P.NEW},
    {"deploy/scaler_params.json": {"mean": MEAN, "std": STD}},
    training__scaler_params_dot_json={"mean": MEAN, "std": STD},
)
pair(
    "YAML and JSON copies differ",
    "stale-copy",
    {"serving/scaler.yaml": f"mean: {P.NEW['mean']}\nstd: {STD}\n"},
    {"serving/scaler.yaml": f"mean: {MEAN}\nstd: {STD}\n"},
    training__scaler_dot_json={"mean": MEAN, "std": STD},
)
# 12 settings
pair(
    "OpenVINO arguments in a Makefile-like script against training",
    "train-serve-skew",
    {
        "convert.sh": "ovc model.onnx\nmo --input_model model.onnx --mean_values [127.5,127.5,127.5] --scale_values [127.5,127.5,127.5]\n"
    },
    {
        "convert.sh": f"mo --input_model model.onnx --mean_values {str(M255).replace(' ', '')} --scale_values {str(S255).replace(' ', '')}\n"
    },
    train_dot_py=P.train_image(),
    model_dot_onnx=BARE,
)
pair(
    "RKNN's settings against training",
    "train-serve-skew",
    {
        "to_rknn.py": "from rknn.api import RKNN\nrknn = RKNN()\nrknn.config(mean_values=[[127.5, 127.5, 127.5]], std_values=[[127.5, 127.5, 127.5]], target_platform='rk3588')\nrknn.load_onnx(model='model.onnx')\n"
    },
    {
        "to_rknn.py": f"from rknn.api import RKNN\nrknn = RKNN()\nrknn.config(mean_values=[{M255}], std_values=[{S255}], target_platform='rk3588')\nrknn.load_onnx(model='model.onnx')\n"
    },
    train_dot_py=P.train_image(),
    model_dot_onnx=BARE,
)
pair(
    "OpenVINO PrePostProcessor on a baked model",
    "scaled-twice",
    {
        "compile.py": "import openvino as ov\nfrom openvino.preprocess import PrePostProcessor\ncore = ov.Core()\nmodel = core.read_model('model.onnx')\nppp = PrePostProcessor(model)\nppp.input().preprocess().mean([123.675, 116.28, 103.53]).scale([58.395, 57.12, 57.375])\nmodel = ppp.build()\n"
    },
    {"compile.py": "import openvino as ov\ncore = ov.Core()\nmodel = core.read_model('model.onnx')\n"},
    model_dot_onnx=B,
)
pair(
    "README in pixels",
    "docs-differ",
    {"README.md": "Preprocessing: subtract mean `(103.939, 116.779, 123.68)` and divide by std `(1, 1, 1)`.\n"},
    {
        "README.md": "Preprocessing: subtract mean `(123.675, 116.28, 103.53)` and divide by std `(58.395, 57.12, 57.375)`.\n"
    },
    train_dot_py=P.train_image(),
)
pair(
    "docs table",
    "docs-differ",
    {"docs/model.md": "| parameter | value |\n| --- | --- |\n| mean | 0.5, 0.5, 0.5 |\n| std | 0.5, 0.5, 0.5 |\n"},
    {
        "docs/model.md": "| parameter | value |\n| --- | --- |\n| mean | 0.485, 0.456, 0.406 |\n| std | 0.229, 0.224, 0.225 |\n"
    },
    train_dot_py=P.train_image(),
)
pair(
    "PIL in RGB, constants in BGR of 255",
    "channel-order",
    {"serve.py": P.serve_image(f"    x = (x - np.array({M255[::-1]})) / np.array({S255[::-1]})")},
    {"serve.py": P.serve_image(f"    x = (x - np.array({M255})) / np.array({S255})")},
    train_dot_py=P.train_image(),
    model_dot_onnx=BARE,
)
pair(
    "channels turned by [..., ::-1] twice",
    "channel-order",
    {
        "serve.py": "import cv2\nimport numpy as np\nimport onnxruntime as ort\nsess = ort.InferenceSession('model.onnx')\n\n\ndef predict(buf):\n    img = cv2.imdecode(np.frombuffer(buf, np.uint8), cv2.IMREAD_COLOR)\n    x = (img / 255.0 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]\n    return sess.run(None, {'x': x.transpose(2, 0, 1)[None].astype('float32')})\n"
    },
    {
        "serve.py": "import cv2\nimport numpy as np\nimport onnxruntime as ort\nsess = ort.InferenceSession('model.onnx')\n\n\ndef predict(buf):\n    img = cv2.imdecode(np.frombuffer(buf, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]\n    x = (img / 255.0 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]\n    return sess.run(None, {'x': x.transpose(2, 0, 1)[None].astype('float32')})\n"
    },
    train_dot_py=P.train_image(),
    model_dot_onnx=BARE,
)
pair(
    "pixels of 0 to 255 into torchvision's Normalize",
    "unit-mismatch",
    {
        "serve.py": P.serve_image(
            "    x = norm(torch.from_numpy(x.transpose(2, 0, 1))).numpy().transpose(1, 2, 0)",
            f"import torch\nfrom torchvision import transforms as T\nnorm = T.Normalize({M}, {S})",
        )
    },
    {
        "serve.py": P.serve_image(
            "    x = norm(torch.from_numpy(x.transpose(2, 0, 1) / 255)).numpy().transpose(1, 2, 0)",
            f"import torch\nfrom torchvision import transforms as T\nnorm = T.Normalize({M}, {S})",
        )
    },
    train_dot_py=P.train_image(),
    model_dot_onnx=BARE,
)
