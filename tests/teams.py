"""A third set: small repositories as different teams write them, each with one fault and a clean twin, and clean ones alone.

Written before its author had read how audit works; docs/auditing.md has the figure of that first run.
"""

from __future__ import annotations

from typing import Any

from tests import planted as P

PAIRS: dict[str, tuple[frozenset[str], P.Files, P.Files]] = {}
CLEAN: dict[str, P.Files] = {}

M, S, M255, S255, MEAN, STD = P.M, P.S, P.M255, P.S255, P.MEAN, P.STD
BARE, T, B, BT, INSIDE = P.image(), P.tabular(), P.baked("image"), P.baked("table"), P.image(scaled=True)
VALUES = {"M": M, "S": S, "M255": M255, "S255": S255, "MEAN": MEAN, "STD": STD}
HALF = [0.5, 0.5, 0.5]


def fill(text: P.Content, **more: Any) -> P.Content:
    if isinstance(text, str):
        for name, value in {**VALUES, **more}.items():
            text = text.replace(f"<<{name}>>", str(value))
    return text


def filled(files: P.Files, **more: Any) -> P.Files:
    return {path: fill(content, **more) for path, content in files.items()}


def case(name: str, rule: str, bad: P.Files, good: P.Files, **base: P.Content) -> None:
    """Files that differ, and those in both (`__` is a slash, `_dot_` a dot). rule: one, or several that name the fault rightly."""
    shared = {k.replace("__", "/").replace("_dot_", "."): v for k, v in base.items()}
    assert name not in PAIRS
    PAIRS[name] = (frozenset(rule.split()), filled({**shared, **bad}), filled({**shared, **good}))


def swap(name: str, rule: str, path: str, text: str, bad: Any, good: Any, **base: P.Content) -> None:
    """One file, `<<?>>` in it written in two ways."""
    text = str(fill(text))
    case(name, rule, {path: str(fill(text, **{"?": bad}))}, {path: str(fill(text, **{"?": good}))}, **base)


def models(
    name: str, code: P.Files, bad: bytes, good: bytes, at: str = "model.onnx", rule: str = "scaled-twice"
) -> None:
    """The same code beside a model that scales itself, and one that does not."""
    case(name, rule, {**code, at: bad}, {**code, at: good})


def clean(name: str, files: P.Files) -> None:
    assert name not in CLEAN
    CLEAN[name] = filled(files)


# scaled twice ---------------------------------------------------------------------------------------------------------

models(
    "Triton ensemble with a Python backend",
    {
        "models/preprocess/1/model.py": """import io
import json
import numpy as np
import triton_python_backend_utils as pb_utils
from PIL import Image

MEAN = np.array(<<M>>, dtype=np.float32)
STD = np.array(<<S>>, dtype=np.float32)


class TritonPythonModel:
    def initialize(self, args):
        self.config = json.loads(args["model_config"])

    def execute(self, requests):
        responses = []
        for request in requests:
            raw = pb_utils.get_input_tensor_by_name(request, "RAW").as_numpy()
            image = Image.open(io.BytesIO(raw.tobytes())).convert("RGB").resize((16, 16))
            arr = np.array(image).astype(np.float32) / 255.0
            arr = (arr - MEAN) / STD
            out = pb_utils.Tensor("x", arr.transpose(2, 0, 1)[None])
            responses.append(pb_utils.InferenceResponse(output_tensors=[out]))
        return responses
""",
        "models/preprocess/config.pbtxt": 'name: "preprocess"\nbackend: "python"\nmax_batch_size: 0\n',
        "models/classifier/config.pbtxt": 'name: "classifier"\nplatform: "onnxruntime_onnx"\nmax_batch_size: 0\n',
        "models/pipeline/config.pbtxt": """name: "pipeline"
platform: "ensemble"
ensemble_scheduling {
  step [
    { model_name: "preprocess" model_version: -1
      input_map { key: "RAW" value: "RAW" } output_map { key: "x" value: "pixels" } },
    { model_name: "classifier" model_version: -1
      input_map { key: "x" value: "pixels" } output_map { key: "y" value: "SCORES" } }
  ]
}
""",
    },
    B,
    BARE,
    "models/classifier/1/model.onnx",
)
models(
    "TorchServe handler",
    {
        "handler.py": """import os
import onnxruntime
import torch
from torchvision import transforms
from ts.torch_handler.vision_handler import VisionHandler


class Classifier(VisionHandler):
    image_processing = transforms.Compose([
        transforms.Resize((16, 16)),
        transforms.ToTensor(),
        transforms.Normalize(mean=<<M>>, std=<<S>>),
    ])

    def initialize(self, context):
        folder = context.system_properties.get("model_dir")
        self.session = onnxruntime.InferenceSession(os.path.join(folder, "model.onnx"))
        self.initialized = True

    def inference(self, data, *args, **kwargs):
        return torch.from_numpy(self.session.run(None, {"x": data.numpy()})[0])
"""
    },
    B,
    BARE,
)
models(
    "BentoML service",
    {
        "service.py": """import bentoml
import numpy as np
import onnxruntime as ort

CENTER = np.array(<<MEAN>>)
SPREAD = np.array(<<STD>>)


@bentoml.service(resources={"cpu": "1"})
class Forecast:
    def __init__(self) -> None:
        self.session = ort.InferenceSession("model.onnx")

    @bentoml.api
    def predict(self, rows: np.ndarray) -> np.ndarray:
        z = ((rows - CENTER) / SPREAD).astype(np.float32)
        return self.session.run(None, {"x": z})[0]
"""
    },
    BT,
    T,
)
models(
    "Ray Serve deployment",
    {
        "app/deploy.py": """import numpy as np
import onnxruntime as rt
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=2)
class Scorer:
    def __init__(self, path: str = "weights/model.onnx"):
        self._sess = rt.InferenceSession(path, providers=["CPUExecutionProvider"])
        self._mu = np.asarray(<<MEAN>>, np.float32)
        self._sigma = np.asarray(<<STD>>, np.float32)

    async def __call__(self, request: Request):
        body = await request.json()
        features = np.asarray(body["features"], np.float32)
        features -= self._mu
        features /= self._sigma
        return {"scores": self._sess.run(["y"], {"x": features})[0].tolist()}


app = Scorer.bind()
"""
    },
    BT,
    T,
    "weights/model.onnx",
)
models(
    "Kafka consumer",
    {
        "consumer.py": """import json
import numpy as np
import onnxruntime as ort
from kafka import KafkaConsumer, KafkaProducer

MU, SIGMA = np.array(<<MEAN>>), np.array(<<STD>>)


def standardize(v):
    return (v - MU) / SIGMA


def run():
    session = ort.InferenceSession("model.onnx")
    consumer = KafkaConsumer("sensor", value_deserializer=json.loads)
    producer = KafkaProducer(value_serializer=lambda v: json.dumps(v).encode())
    for message in consumer:
        vector = np.array([message.value[k] for k in ("t", "lon", "slope", "p")], dtype="float64")
        (score,) = session.run(None, {"x": standardize(vector)[None, :].astype("float32")})
        producer.send("scores", score.tolist())


if __name__ == "__main__":
    run()
"""
    },
    BT,
    T,
)
models(
    "AWS Lambda with constants in the environment's defaults",
    {
        "lambda_function.py": """import json
import os
import numpy as np
import onnxruntime as ort

FEATURE_MEAN = [float(v) for v in os.environ.get("FEATURE_MEAN", "5.5,-120.25,0.031,1013.2").split(",")]
FEATURE_STD = [float(v) for v in os.environ.get("FEATURE_STD", "2.5,33.0,0.0125,8.1").split(",")]
sess = ort.InferenceSession(os.path.join(os.path.dirname(__file__), "model.onnx"))


def lambda_handler(event, context):
    x = np.array(json.loads(event["body"])["rows"], dtype=np.float32)
    x = (x - np.array(FEATURE_MEAN, dtype=np.float32)) / np.array(FEATURE_STD, dtype=np.float32)
    y = sess.run(None, {"x": x})[0]
    return {"statusCode": 200, "body": json.dumps(y.tolist())}
"""
    },
    BT,
    T,
)
models(
    "Gradio with torchvision v2",
    {
        "app.py": """import gradio as gr
import onnxruntime as ort
import torch
from torchvision.transforms import v2

session = ort.InferenceSession("model.onnx")
prep = v2.Compose([
    v2.ToImage(),
    v2.Resize((16, 16), antialias=True),
    v2.ToDtype(torch.float32, scale=True),
    v2.Normalize(<<M>>, <<S>>),
])


def classify(picture):
    return dict(enumerate(session.run(None, {"x": prep(picture).unsqueeze(0).numpy()})[0][0].tolist()))


gr.Interface(classify, gr.Image(type="pil"), gr.Label()).launch()
"""
    },
    B,
    BARE,
)
models(
    "Streamlit with a cached session",
    {
        "pages/predict.py": """import numpy as np
import onnxruntime as ort
import streamlit as st
from PIL import Image

IMAGENET = {"mean": <<M>>, "std": <<S>>}


@st.cache_resource
def load():
    return ort.InferenceSession("model.onnx")


def to_batch(picture):
    pixels = np.array(picture.convert("RGB").resize((16, 16)), dtype="float32")
    pixels = pixels / 255
    for c in range(3):
        pixels[:, :, c] = (pixels[:, :, c] - IMAGENET["mean"][c]) / IMAGENET["std"][c]
    return np.expand_dims(np.moveaxis(pixels, -1, 0), 0)


upload = st.file_uploader("Picture")
if upload is not None:
    st.write(load().run(None, {"x": to_batch(Image.open(upload))}))
"""
    },
    B,
    BARE,
)
models(
    "Hydra instantiates the transforms",
    {
        "conf/serve.yaml": """model_path: model.onnx
transform:
  _target_: torchvision.transforms.Compose
  transforms:
    - _target_: torchvision.transforms.ToTensor
    - _target_: torchvision.transforms.Normalize
      mean: <<M>>
      std: <<S>>
""",
        "serve.py": """import hydra
import onnxruntime as ort
from hydra.utils import instantiate
from PIL import Image


@hydra.main(config_path="conf", config_name="serve", version_base=None)
def main(cfg):
    session = ort.InferenceSession(cfg.model_path)
    transform = instantiate(cfg.transform)
    for name in cfg.files:
        print(session.run(None, {"x": transform(Image.open(name)).unsqueeze(0).numpy()}))


if __name__ == "__main__":
    main()
""",
    },
    B,
    BARE,
)
models(
    "AutoImageProcessor of a folder",
    {
        "processor/preprocessor_config.json": P.processor(),
        "infer.py": """import onnxruntime
from PIL import Image
from transformers import AutoImageProcessor

processor = AutoImageProcessor.from_pretrained("./processor")
session = onnxruntime.InferenceSession("model.onnx")


def classify(path):
    inputs = processor(images=Image.open(path), return_tensors="np")
    return session.run(None, {"x": inputs["pixel_values"]})[0].argmax(-1)
""",
    },
    B,
    BARE,
)
models(
    "functools.partial",
    {
        "predict.py": """from functools import partial
import onnxruntime as ort
import torchvision.transforms.functional as TF
from PIL import Image

normalize = partial(TF.normalize, mean=<<M>>, std=<<S>>)
session = ort.InferenceSession("model.onnx")


def predict(path):
    tensor = normalize(TF.to_tensor(Image.open(path).convert("RGB").resize((16, 16))))
    return session.run(None, {"x": tensor[None].numpy()})[0]
"""
    },
    B,
    BARE,
)
models(
    "lambda",
    {
        "infer.py": """import sys
import numpy as np
import onnxruntime as ort
from imageio.v3 import imread

prep = lambda im: ((im / 255. - np.array(<<M>>)) / np.array(<<S>>)).astype("f4")
sess = ort.InferenceSession("model.onnx")
for name in sys.argv[1:]:
    print(name, sess.run(None, {"x": prep(imread(name)).transpose(2, 0, 1)[None]})[0])
"""
    },
    B,
    BARE,
)
models(
    "a list of functions applied in a loop",
    {
        "inference/pipeline.py": """import numpy as np
import onnxruntime as ort


def to_float(x):
    return x.astype(np.float32) / 255.0


def subtract_mean(x):
    return x - np.array(<<M>>, np.float32)


def divide_std(x):
    return x / np.array(<<S>>, np.float32)


def to_nchw(x):
    return x.transpose(2, 0, 1)[None]


STAGES = [to_float, subtract_mean, divide_std, to_nchw]


class Inference:
    def __init__(self):
        self.session = ort.InferenceSession("model.onnx")

    def __call__(self, image):
        x = image
        for stage in STAGES:
            x = stage(x)
        return self.session.run(None, {"x": x})
"""
    },
    B,
    BARE,
)
models(
    "constants in a subclass",
    {
        "core/base.py": """import numpy as np


class BasePreprocessor:
    mean = None
    std = None

    def __call__(self, x):
        x = np.asarray(x, dtype=np.float32) / 255.0
        return (x - self.mean) / self.std
""",
        "core/vision.py": """import numpy as np
import onnxruntime as ort
from .base import BasePreprocessor


class ImagenetPreprocessor(BasePreprocessor):
    mean = np.array(<<M>>)
    std = np.array(<<S>>)


class Predictor:
    def __init__(self, path="model.onnx"):
        self.pre = ImagenetPreprocessor()
        self.net = ort.InferenceSession(path)

    def predict(self, image):
        return self.net.run(None, {"x": self.pre(image).transpose(2, 0, 1)[None].astype(np.float32)})
""",
    },
    B,
    BARE,
)
models(
    "the export wrapped the model, serving scales again",
    {
        "serve.py": P.serve_image("    x = (x - np.array(<<M255>>)) / np.array(<<S255>>)"),
    },
    INSIDE,
    BARE,
)
models(
    "a decorator scales",
    {
        "api.py": """import functools
import numpy as np
import onnxruntime as ort
from flask import Flask, jsonify, request

app = Flask(__name__)
session = ort.InferenceSession("model.onnx")


def standardized(mean, std):
    mean, std = np.asarray(mean), np.asarray(std)

    def outer(function):
        @functools.wraps(function)
        def inner(x):
            return function((x - mean) / std)
        return inner
    return outer


@standardized(mean=<<MEAN>>, std=<<STD>>)
def infer(x):
    return session.run(None, {"x": x.astype(np.float32)})[0]


@app.post("/predict")
def predict():
    return jsonify(infer(np.array(request.get_json()["rows"])).tolist())
"""
    },
    BT,
    T,
)
models(
    "kornia",
    {
        "serving/worker.py": """import kornia as K
import onnxruntime as ort
import torch


class Worker:
    def __init__(self):
        self.norm = K.enhance.Normalize(mean=torch.tensor(<<M>>), std=torch.tensor(<<S>>))
        self.session = ort.InferenceSession("model.onnx")

    def infer(self, path):
        image = K.io.load_image(path, K.io.ImageLoadType.RGB32)[None]
        return self.session.run(None, {"x": self.norm(image).numpy()})
"""
    },
    B,
    BARE,
)
models(
    "cupy",
    {
        "predict_gpu.py": """import cupy as cp
import numpy as np
import onnxruntime as ort

mean = cp.asarray(<<M>>, dtype=cp.float32).reshape(1, 3, 1, 1)
std = cp.asarray(<<S>>, dtype=cp.float32).reshape(1, 3, 1, 1)
session = ort.InferenceSession("model.onnx", providers=["CUDAExecutionProvider"])


def predict(frames: np.ndarray):
    batch = cp.asarray(frames).transpose(0, 3, 1, 2).astype(cp.float32)
    batch *= 1.0 / 255
    batch = cp.divide(cp.subtract(batch, mean), std)
    return session.run(None, {"x": cp.asnumpy(batch)})[0]
"""
    },
    B,
    BARE,
)
models(
    "polars expressions",
    {
        "score.py": """import onnxruntime as ort
import polars as pl

FEATURES = ["age", "longitude", "slope", "pressure"]
AVG = dict(zip(FEATURES, <<MEAN>>))
SD = dict(zip(FEATURES, <<STD>>))


def score(path: str):
    df = pl.read_parquet(path)
    z = df.select([((pl.col(c) - AVG[c]) / SD[c]).cast(pl.Float32) for c in FEATURES])
    return ort.InferenceSession("model.onnx").run(None, {"x": z.to_numpy()})[0]
"""
    },
    BT,
    T,
)
models(
    "pandas Series of statistics",
    {
        "batch_score.py": """import pandas as pd
import onnxruntime as ort

COLS = ["age", "longitude", "slope", "pressure"]
means = pd.Series(<<MEAN>>, index=COLS)
stds = pd.Series(<<STD>>, index=COLS)


def main(src, dst):
    df = pd.read_csv(src)
    scaled = df[COLS].sub(means).div(stds)
    sess = ort.InferenceSession("model.onnx")
    df["score"] = sess.run(None, {"x": scaled.to_numpy("float32")})[0]
    df.to_csv(dst)
"""
    },
    BT,
    T,
)
models(
    "nvinfer settings in YAML",
    {
        "configs/nvinfer.yml": """property:
  gpu-id: 0
  net-scale-factor: 0.01735207357279195
  offsets: 123.675;116.28;103.53
  onnx-file: ../model.onnx
  model-color-format: 0
  batch-size: 1
"""
    },
    B,
    BARE,
)
models(
    "OpenVINO convert_model",
    {
        "export_ir.py": """from openvino.tools import mo
from openvino.runtime import serialize

ir = mo.convert_model("model.onnx", mean_values=<<M255>>, scale_values=<<S255>>, compress_to_fp16=True)
serialize(ir, "model.xml")
"""
    },
    B,
    BARE,
)
models(
    "cv2.dnn.blobFromImage",
    {
        "detect.py": """import cv2

net = cv2.dnn.readNetFromONNX("model.onnx")
capture = cv2.VideoCapture(0)
while capture.isOpened():
    ok, frame = capture.read()
    if not ok:
        break
    blob = cv2.dnn.blobFromImage(frame, 1 / 57.6, (16, 16), (123.675, 116.28, 103.53), swapRB=True, crop=False)
    net.setInput(blob)
    print(net.forward().argmax())
"""
    },
    B,
    BARE,
)
models(
    "gRPC servicer",
    {
        "server/servicer.py": """import numpy as np
import onnxruntime as ort
from . import scoring_pb2, scoring_pb2_grpc
from .normalization import Normalizer


class Scoring(scoring_pb2_grpc.ScoringServicer):
    def __init__(self):
        self.session = ort.InferenceSession("model.onnx")
        self.normalizer = Normalizer()

    def Score(self, request, context):
        row = np.array([[request.age, request.lon, request.slope, request.pressure]], dtype=np.float32)
        out = self.session.run(None, {"x": self.normalizer.apply(row)})
        return scoring_pb2.ScoreReply(score=float(out[0][0, 0]))
""",
        "server/normalization.py": """import numpy as np
from .constants import FEATURE_MEANS, FEATURE_STDS


class Normalizer:
    def __init__(self, mean=FEATURE_MEANS, std=FEATURE_STDS):
        self.mean = np.array(mean, dtype=np.float32)
        self.std = np.array(std, dtype=np.float32)

    def apply(self, x):
        return (x - self.mean) / self.std
""",
        "server/constants.py": "FEATURE_MEANS = (5.5, -120.25, 0.031, 1013.2)\nFEATURE_STDS = (2.5, 33.0, 0.0125, 8.1)\n",
        "server/__init__.py": "",
    },
    BT,
    T,
)
models(
    "Django view, constants of another package",
    {
        "common/__init__.py": "",
        "common/imagenet.py": "MEAN = <<M>>\nSTD = <<S>>\n",
        "shop/ml/__init__.py": "",
        "shop/ml/preprocessing.py": """import numpy as np
from common import imagenet


def prepare(image, size=(16, 16)):
    image = image.convert("RGB").resize(size)
    data = np.asarray(image, dtype=np.float32) / 255
    data -= imagenet.MEAN
    data /= imagenet.STD
    return data.transpose((2, 0, 1))[np.newaxis]
""",
        "shop/views.py": """import onnxruntime
from django.conf import settings
from django.http import JsonResponse
from django.views import View
from PIL import Image
from .ml.preprocessing import prepare

session = onnxruntime.InferenceSession(str(settings.BASE_DIR / "model.onnx"))


class ClassifyView(View):
    def post(self, request):
        batch = prepare(Image.open(request.FILES["image"]))
        return JsonResponse({"label": int(session.run(None, {"x": batch})[0].argmax())})
""",
    },
    B,
    BARE,
)
models(
    "DALI in front of the model",
    {
        "serving/dali_pipeline.py": """import nvidia.dali.fn as fn
import nvidia.dali.types as types
from nvidia.dali import pipeline_def


@pipeline_def(batch_size=8, num_threads=2, device_id=0)
def preprocess():
    raw = fn.external_source(device="cpu", name="RAW")
    images = fn.decoders.image(raw, device="mixed", output_type=types.RGB)
    images = fn.resize(images, resize_x=16, resize_y=16)
    return fn.crop_mirror_normalize(
        images, dtype=types.FLOAT, output_layout="CHW",
        mean=[0.485 * 255, 0.456 * 255, 0.406 * 255], std=[0.229 * 255, 0.224 * 255, 0.225 * 255],
    )
""",
        "serving/run.py": """import onnxruntime as ort
from dali_pipeline import preprocess

pipe = preprocess()
pipe.build()
session = ort.InferenceSession("../model.onnx")


def infer(batch):
    pipe.feed_input("RAW", batch)
    (images,) = pipe.run()
    return session.run(None, {"x": images.as_cpu().as_array()})
""",
    },
    B,
    BARE,
)
models(
    "jit and vmap of JAX",
    {
        "serve_jax.py": """import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime as ort

stats = {"mean": jnp.array(<<MEAN>>), "std": jnp.array(<<STD>>)}


@jax.jit
def whiten(row):
    return (row - stats["mean"]) / stats["std"]


batched = jax.vmap(whiten)
session = ort.InferenceSession("model.onnx")


def predict(rows):
    return session.run(None, {"x": np.asarray(batched(jnp.asarray(rows)), dtype=np.float32)})[0]
"""
    },
    BT,
    T,
)
models(
    "MLflow pyfunc with a skops scaler",
    {
        "wrapper.py": """import mlflow
import onnxruntime as ort
import skops.io as sio


class Scored(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        self.scaler = sio.load("scaler.skops", trusted=[])
        self.session = ort.InferenceSession("model.onnx")

    def predict(self, context, model_input, params=None):
        scaled = self.scaler.transform(model_input)
        return self.session.run(None, {"x": scaled.astype("float32")})[0]
""",
        "scaler.skops": __import__("skops.io", fromlist=["dumps"]).dumps(P.fitted()),
    },
    BT,
    T,
)
models(
    "a tf.function for the rows",
    {
        "serve.py": """import numpy as np
import onnxruntime as ort
import tensorflow as tf

MEAN = tf.constant(<<MEAN>>, tf.float32)
STD = tf.constant(<<STD>>, tf.float32)


@tf.function
def standardize(x):
    return tf.math.divide(tf.math.subtract(x, MEAN), STD)


class Model:
    def __init__(self, path="model.onnx"):
        self.session = ort.InferenceSession(path)

    def predict(self, rows):
        z = standardize(tf.convert_to_tensor(rows, tf.float32))
        return self.session.run(None, {"x": z.numpy()})[0]
"""
    },
    BT,
    T,
)

# not scaled -----------------------------------------------------------------------------------------------------------

LIT = """import lightning as L
from torch.utils.data import DataLoader
from torchvision import transforms as T
from torchvision.datasets import ImageFolder


class Pictures(L.LightningDataModule):
    def __init__(self, root="data", batch_size=64):
        super().__init__()
        self.root, self.batch_size = root, batch_size
        self.tf = T.Compose([T.Resize(256), T.CenterCrop(224), T.ToTensor(), T.Normalize(<<M>>, <<S>>)])

    def setup(self, stage=None):
        self.train = ImageFolder(f"{self.root}/train", self.tf)
        self.val = ImageFolder(f"{self.root}/val", self.tf)

    def train_dataloader(self):
        return DataLoader(self.train, self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val, self.batch_size)
"""
LIT_MAIN = """import lightning as L
from datamodule import Pictures
from model import Net

if __name__ == "__main__":
    net = Net()
    trainer = L.Trainer(max_epochs=10)
    trainer.fit(net, Pictures())
    net.to_onnx("model.onnx", input_names=["x"])
"""
swap(
    "Lightning trains scaled, FastAPI serves raw",
    "not-scaled train-serve-skew",
    "api/main.py",
    """import io
import numpy as np
import onnxruntime as ort
from fastapi import FastAPI, File, UploadFile
from PIL import Image

app = FastAPI()
session = ort.InferenceSession("model.onnx")


@app.post("/classify")
async def classify(file: UploadFile = File(...)):
    image = Image.open(io.BytesIO(await file.read())).convert("RGB").resize((224, 224))
    x = np.asarray(image).astype(np.float32)
<<?>>    scores = session.run(None, {"x": x.transpose(2, 0, 1)[np.newaxis].astype(np.float32)})[0]
    return {"label": int(scores.argmax())}
""",
    "",
    "    x = (x / 255.0 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])\n",
    training__datamodule_dot_py=LIT,
    training__train_dot_py=LIT_MAIN,
    model_dot_onnx=BARE,
)
TORCH_TABLE = """import numpy as np
import pandas as pd
import torch
from torch import nn

FEATURES = ["age", "longitude", "slope", "pressure"]
MEAN = torch.tensor(<<MEAN>>)
STD = torch.tensor(<<STD>>)


def batches(frame, size=256):
    data = torch.tensor(frame[FEATURES].to_numpy(), dtype=torch.float32)
    target = torch.tensor(frame["y"].to_numpy(), dtype=torch.float32)
    for i in range(0, len(data), size):
        yield (data[i:i + size] - MEAN) / STD, target[i:i + size]


def fit(net, frame, epochs=20):
    opt = torch.optim.AdamW(net.parameters(), lr=1e-3)
    for _ in range(epochs):
        for x, y in batches(frame):
            opt.zero_grad()
            loss = nn.functional.mse_loss(net(x).squeeze(-1), y)
            loss.backward()
            opt.step()
    torch.onnx.export(net, torch.zeros(1, 4), "model.onnx", input_names=["x"])
"""
swap(
    "a Kafka consumer that forgets",
    "not-scaled",
    "stream/consumer.py",
    """import json
import numpy as np
import onnxruntime as ort
from confluent_kafka import Consumer

MEAN = np.array(<<MEAN>>, dtype=np.float32)
STD = np.array(<<STD>>, dtype=np.float32)
FEATURES = ["age", "longitude", "slope", "pressure"]
session = ort.InferenceSession("model.onnx")
consumer = Consumer({"bootstrap.servers": "kafka:9092", "group.id": "score"})
consumer.subscribe(["events"])
while True:
    msg = consumer.poll(1.0)
    if msg is None or msg.error():
        continue
    event = json.loads(msg.value())
    row = np.array([[event[f] for f in FEATURES]], dtype=np.float32)
    print(session.run(None, {"x": <<?>>})[0])
""",
    "row",
    "(row - MEAN) / STD",
    training__fit_dot_py=TORCH_TABLE,
    model_dot_onnx=T,
)
AIRFLOW = """from datetime import datetime
import numpy as np
import pandas as pd
from airflow.decorators import dag, task


@dag(schedule="@daily", start_date=datetime(2024, 1, 1), catchup=False)
def churn():
    @task
    def train():
        import torch
        from net import Net
        frame = pd.read_parquet("/data/train.parquet")
        x = (frame[["a", "b", "c", "d"]].to_numpy() - <<MEAN>>) / <<STD>>
        net = Net()
        opt = torch.optim.SGD(net.parameters(), lr=0.01)
        for _ in range(100):
            opt.zero_grad()
            torch.nn.functional.mse_loss(net(torch.tensor(x).float()), torch.tensor(frame["y"].to_numpy())).backward()
            opt.step()
        torch.onnx.export(net, torch.zeros(1, 4), "model.onnx", input_names=["x"])

    @task
    def score():
        import onnxruntime as ort
        frame = pd.read_parquet("/data/today.parquet")
        x = frame[["a", "b", "c", "d"]].to_numpy()
<<?>>        session = ort.InferenceSession("model.onnx")
        frame["score"] = session.run(None, {"x": x.astype(np.float32)})[0]
        frame.to_parquet("/data/scored.parquet")

    train() >> score()


churn()
"""
swap(
    "one Airflow task scales, the other does not",
    "not-scaled",
    "dags/churn.py",
    AIRFLOW,
    "",
    "        x = (x - <<MEAN>>) / <<STD>>\n".replace("<<MEAN>>", str(MEAN)).replace("<<STD>>", str(STD)),
    model_dot_onnx=T,
)
PREFECT = """import joblib
import pandas as pd
from prefect import flow, task
from sklearn.linear_model import Ridge
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import MinMaxScaler
from skl2onnx import to_onnx


@task
def load():
    return pd.read_csv("houses.csv")


@task
def fit(frame):
    train, test = train_test_split(frame, random_state=1)
    scaler = MinMaxScaler().fit(train[["a", "b", "c", "d"]])
    ridge = Ridge().fit(scaler.transform(train[["a", "b", "c", "d"]]), train["price"])
    joblib.dump(scaler, "scaler.joblib")
    with open("model.onnx", "wb") as f:
        f.write(to_onnx(ridge, scaler.transform(train[["a", "b", "c", "d"]][:1])).SerializeToString())


@flow
def training():
    fit(load())
"""
swap(
    "a Prefect flow fits a scaler that serving never loads",
    "not-scaled",
    "serving/service.py",
    """import numpy as np
import onnxruntime as ort
<<?>>
session = ort.InferenceSession("model.onnx")
LOW = np.array([0.0, -180.0, 0.0, 950.0])
HIGH = np.array([30.0, 180.0, 1.5, 1060.0])


def predict(rows):
    x = prepare(np.asarray(rows, dtype=np.float64))
    return session.run(None, {"x": x.astype(np.float32)})[0]
""",
    "\n\ndef prepare(x):\n    return x\n\n",
    "\n\ndef prepare(x):\n    return (x - LOW) / (HIGH - LOW)\n\n",
    flows__training_dot_py=PREFECT,
    model_dot_onnx=T,
)
TFDATA = """import tensorflow as tf

norm = tf.keras.layers.Normalization(mean=<<MEAN>>, variance=[6.25, 1089.0, 0.00015625, 65.61])


def build(x, y):
    ds = tf.data.Dataset.from_tensor_slices((x, y))
    return ds.map(lambda a, b: (norm(a), b)).shuffle(1000).batch(32).prefetch(tf.data.AUTOTUNE)


def train(x, y):
    model = tf.keras.Sequential([tf.keras.layers.Dense(8, activation="relu"), tf.keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(build(x, y), epochs=5)
    return model
"""
swap(
    "tf.data map in training only",
    "not-scaled",
    "serve.py",
    """import numpy as np
import onnxruntime as ort
from flask import Flask, request

app = Flask(__name__)
session = ort.InferenceSession("model.onnx")
MU, VAR = np.array(<<MEAN>>), np.array([6.25, 1089.0, 0.00015625, 65.61])


@app.route("/predict", methods=["POST"])
def predict():
    x = np.array(request.json["instances"])
    return {"predictions": session.run(None, {"x": <<?>>.astype("float32")})[0].tolist()}
""",
    "x",
    "((x - MU) / np.sqrt(VAR))",
    train_dot_py=TFDATA,
    model_dot_onnx=T,
)
swap(
    "a Triton client sends raw pixels",
    "not-scaled train-serve-skew",
    "client/client.py",
    """import numpy as np
import tritonclient.http as httpclient
from PIL import Image

client = httpclient.InferenceServerClient("localhost:8000")


def classify(path):
    image = np.asarray(Image.open(path).convert("RGB").resize((224, 224)), dtype=np.float32)
<<?>>    data = image.transpose(2, 0, 1)[None].astype(np.float32)
    tensor = httpclient.InferInput("x", data.shape, "FP32")
    tensor.set_data_from_numpy(data)
    return client.infer("classifier", [tensor]).as_numpy("y")
""",
    "",
    "    image = (image / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]\n",
    training__datamodule_dot_py=LIT,
    training__train_dot_py=LIT_MAIN,
    model_repository__classifier__1__model_dot_onnx=BARE,
    model_repository__classifier__config_dot_pbtxt='name: "classifier"\nplatform: "onnxruntime_onnx"\n',
)
swap(
    "MONAI dictionary transforms in training only",
    "not-scaled",
    "deploy/infer.py",
    """import nibabel as nib
import numpy as np
import onnxruntime as ort

session = ort.InferenceSession("model.onnx")


def segment(path):
    slices = np.asarray(nib.load(path).dataobj, dtype=np.float32)
<<?>>    return session.run(None, {"x": slices[None]})[0]
""",
    "",
    "    slices = (slices - 103.5) / 47.25\n",
    training__train_dot_py="""import torch
from monai.data import DataLoader, Dataset
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, NormalizeIntensityd, RandFlipd

transforms = Compose([
    LoadImaged(keys=["image", "label"]),
    EnsureChannelFirstd(keys=["image", "label"]),
    NormalizeIntensityd(keys="image", subtrahend=103.5, divisor=47.25),
    RandFlipd(keys=["image", "label"], prob=0.5),
])


def train(files, net, loss):
    optimizer = torch.optim.Adam(net.parameters())
    for batch in DataLoader(Dataset(files, transforms), batch_size=2, shuffle=True):
        optimizer.zero_grad()
        loss(net(batch["image"]), batch["label"]).backward()
        optimizer.step()
""",
    model_dot_onnx=BARE,
)

# training and serving differ ------------------------------------------------------------------------------------------

SERVE_RGB = P.serve_image("    x = (x / 255.0 - np.array(<<m>>)) / np.array(<<s>>)")


def serving(m: Any, s: Any) -> str:
    return str(fill(SERVE_RGB, m=m, s=s))


def other_constants(name: str, path: str, text: str, **base: P.Content) -> None:
    """Training with ImageNet's constants in some style; serving with others."""
    case(name, "train-serve-skew", {"inference.py": serving(HALF, HALF)}, {"inference.py": serving(M, S)},
         **{path.replace("/", "__").replace(".", "_dot_"): text}, model_dot_onnx=BARE, **base)  # fmt: skip


other_constants(
    "OmegaConf's values in training",
    "train.py",
    """import hydra
import torch
from torchvision import transforms as T
from torchvision.datasets import ImageFolder


@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    tf = T.Compose([T.ToTensor(), T.Normalize(tuple(cfg.data.mean), tuple(cfg.data.std))])
    loader = torch.utils.data.DataLoader(ImageFolder(cfg.data.root, tf), batch_size=cfg.data.batch)
    net = hydra.utils.instantiate(cfg.model)
    opt = torch.optim.Adam(net.parameters())
    for x, y in loader:
        opt.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        opt.step()


if __name__ == "__main__":
    main()
""",
    conf__config_dot_yaml="defaults:\n  - data: pets\n  - _self_\nmodel:\n  _target_: net.Net\n",
    conf__data__pets_dot_yaml="root: /data/pets\nbatch: 32\nmean: [0.485, 0.456, 0.406]\nstd: [0.229, 0.224, 0.225]\n",
)
other_constants(
    "pydantic settings in training",
    "training/train.py",
    """import torch
from torchvision import datasets, transforms
from .settings import settings


def loader():
    tf = transforms.Compose([
        transforms.ToTensor(),
        transforms.Normalize(mean=settings.pixel_mean, std=settings.pixel_std),
    ])
    return torch.utils.data.DataLoader(datasets.ImageFolder(settings.data_dir, tf), batch_size=settings.batch_size)


def train(net):
    opt = torch.optim.SGD(net.parameters(), lr=settings.lr)
    for x, y in loader():
        opt.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        opt.step()
""",
    training____init___dot_py="",
    training__settings_dot_py="""from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="TRAIN_")
    data_dir: str = "data"
    batch_size: int = 32
    lr: float = Field(default=1e-3, gt=0)
    pixel_mean: list[float] = Field(default_factory=lambda: [0.485, 0.456, 0.406])
    pixel_std: list[float] = Field(default=[0.229, 0.224, 0.225])


settings = Settings()
""",
)
other_constants(
    "argparse defaults in training",
    "train.py",
    """import argparse
import torch
from torchvision import datasets, transforms

parser = argparse.ArgumentParser()
parser.add_argument("--data", default="data")
parser.add_argument("--epochs", type=int, default=90)
parser.add_argument("--mean", type=float, nargs=3, default=[0.485, 0.456, 0.406])
parser.add_argument("--std", type=float, nargs=3, default=[0.229, 0.224, 0.225])


def main():
    args = parser.parse_args()
    tf = transforms.Compose([transforms.ToTensor(), transforms.Normalize(args.mean, args.std)])
    loader = torch.utils.data.DataLoader(datasets.ImageFolder(args.data, tf), 64, shuffle=True)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(10))
    opt = torch.optim.Adam(net.parameters())
    for _ in range(args.epochs):
        for x, y in loader:
            opt.zero_grad()
            torch.nn.functional.cross_entropy(net(x), y).backward()
            opt.step()


if __name__ == "__main__":
    main()
""",
)
other_constants(
    "albumentations in a Dataset with a registry of constants",
    "src/data/dataset.py",
    """import albumentations as A
import cv2
from albumentations.pytorch import ToTensorV2
from torch.utils.data import Dataset

from .stats import STATS


def train_transforms(size=224, name="imagenet"):
    mean, std = STATS[name]
    return A.Compose([
        A.RandomResizedCrop(size, size),
        A.HorizontalFlip(p=0.5),
        A.Normalize(mean=mean, std=std, max_pixel_value=255.0),
        ToTensorV2(),
    ])


class Birds(Dataset):
    def __init__(self, frame):
        self.frame, self.tf = frame, train_transforms()

    def __len__(self):
        return len(self.frame)

    def __getitem__(self, i):
        image = cv2.cvtColor(cv2.imread(self.frame.path[i]), cv2.COLOR_BGR2RGB)
        return self.tf(image=image)["image"], self.frame.label[i]
""",
    src__data__stats_dot_py="""STATS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
""",
    src__data____init___dot_py="",
    src____init___dot_py="",
)
other_constants(
    "a buffer in the trained module",
    "train_module.py",
    """import lightning.pytorch as pl
import torch
from torch import nn


class Classifier(pl.LightningModule):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.register_buffer("mean", torch.tensor(<<M>>).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(<<S>>).view(1, 3, 1, 1))

    def training_step(self, batch, i):
        x, y = batch
        x = (x.float() / 255 - self.mean) / self.std
        return nn.functional.cross_entropy(self.backbone(x), y)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters())

    def export(self):
        torch.onnx.export(self.backbone, torch.zeros(1, 3, 224, 224), "model.onnx", input_names=["x"])
""",
)
other_constants(
    "Trainer of transformers with set_transform",
    "finetune.py",
    """from datasets import load_dataset
from torchvision.transforms import Compose, Normalize, RandomResizedCrop, ToTensor
from transformers import AutoImageProcessor, AutoModelForImageClassification, Trainer, TrainingArguments

processor = AutoImageProcessor.from_pretrained("processor")
normalize = Normalize(mean=processor.image_mean, std=processor.image_std)
augment = Compose([RandomResizedCrop(processor.size["height"]), ToTensor(), normalize])
data = load_dataset("imagefolder", data_dir="pets")


def apply(examples):
    examples["pixel_values"] = [augment(image.convert("RGB")) for image in examples["image"]]
    return examples


data.set_transform(apply)
model = AutoModelForImageClassification.from_pretrained("google/vit-base-patch16-224")
Trainer(model, TrainingArguments("out"), train_dataset=data["train"]).train()
""",
    processor__preprocessor_config_dot_json=P.processor(),
)
KERAS_FIT = """import tensorflow as tf
from tensorflow.keras.applications import MobileNetV2
from tensorflow.keras.applications.mobilenet_v2 import preprocess_input


def load(path, label):
    image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
    return preprocess_input(tf.cast(tf.image.resize(image, (224, 224)), tf.float32)), label


def train(files, labels):
    ds = tf.data.Dataset.from_tensor_slices((files, labels)).map(load).batch(32)
    model = MobileNetV2(weights=None, classes=10)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(ds, epochs=3)
"""
swap(
    "preprocess_input in training, / 255 in serving",
    "train-serve-skew",
    "inference.py",
    P.serve_image("    x = <<?>>"),
    "x / 255.",
    "x / 127.5 - 1.",
    train_dot_py=KERAS_FIT,
    model_dot_onnx=BARE,
)
swap(
    "z-score in training, min-max in serving",
    "train-serve-skew",
    "serving/app.py",
    P.serve_table("    x = <<?>>"),
    "(x - np.array([0.0, -180.0, 0.0, 950.0])) / (np.array([30.0, 180.0, 1.5, 1060.0]) - np.array([0.0, -180.0, 0.0, 950.0]))",
    "(x - np.array(<<MEAN>>)) / np.array(<<STD>>)".replace("<<MEAN>>", str(MEAN)).replace("<<STD>>", str(STD)),
    training__fit_dot_py=TORCH_TABLE,
    serving__model_dot_onnx=T,
)
OLD = [5.5, -120.25, 0.031, 1018.2]
swap(
    "TOML in serving, other than training's code",
    "train-serve-skew stale-copy",
    "serving/stats.toml",
    'features = ["age", "longitude", "slope", "pressure"]\nmean = <<?>>\nstd = <<STD>>\n',
    OLD,
    MEAN,
    training__fit_dot_py=TORCH_TABLE,
    serving__app_dot_py="""import pathlib
import tomllib
import numpy as np
import onnxruntime as ort

HERE = pathlib.Path(__file__).parent
with (HERE / "stats.toml").open("rb") as f:
    STATS = tomllib.load(f)
session = ort.InferenceSession(str(HERE / "model.onnx"))


def predict(rows):
    z = (np.asarray(rows, np.float32) - np.asarray(STATS["mean"])) / np.asarray(STATS["std"])
    return session.run(None, {"x": z.astype(np.float32)})[0]
""",
    serving__model_dot_onnx=T,
)
case(
    "npz in serving, other than training's code",
    "train-serve-skew stale-copy",
    {"serving/norm.npz": P.npz(mu=OLD, sigma=STD)},
    {"serving/norm.npz": P.npz(mu=MEAN, sigma=STD)},
    training__fit_dot_py=TORCH_TABLE,
    serving__predictor_dot_py="""import os
import numpy as np
import onnxruntime


class Predictor:
    def __init__(self, folder=os.path.dirname(__file__)):
        with np.load(os.path.join(folder, "norm.npz")) as data:
            self.mu, self.sigma = data["mu"], data["sigma"]
        self.session = onnxruntime.InferenceSession(os.path.join(folder, "model.onnx"))

    def __call__(self, x):
        return self.session.run(None, {"x": ((x - self.mu) / self.sigma).astype("float32")})[0]
""",
    serving__model_dot_onnx=T,
)
swap(
    "Dagster asset against a job of scoring",
    "train-serve-skew",
    "jobs/score.py",
    """import numpy as np
import onnxruntime as ort
from dagster import OpExecutionContext, job, op


@op
def rows(context: OpExecutionContext):
    return np.load("/data/rows.npy")


@op
def score(rows):
    mean, std = np.array(<<?>>), np.array(<<STD>>)
    z = ((rows - mean) / std).astype(np.float32)
    return ort.InferenceSession("model.onnx").run(None, {"x": z})[0]


@job
def scoring():
    score(rows())
""",
    [5.5, -102.25, 0.031, 1013.2],
    MEAN,
    assets__trained_dot_py="""import numpy as np
import torch
from dagster import asset


@asset
def trained_model(table):
    mean = np.array(<<MEAN>>)
    std = np.array(<<STD>>)
    x = torch.tensor((table[["a", "b", "c", "d"]].to_numpy() - mean) / std).float()
    net = torch.nn.Linear(4, 1)
    opt = torch.optim.LBFGS(net.parameters())

    def closure():
        opt.zero_grad()
        loss = ((net(x) - torch.tensor(table["y"].to_numpy())) ** 2).mean()
        loss.backward()
        return loss

    opt.step(closure)
    return net
""",
    model_dot_onnx=T,
)
swap(
    "decibels scaled by 80 in training, by 40 in serving",
    "train-serve-skew",
    "serve.py",
    """import librosa
import numpy as np
import onnxruntime as ort

session = ort.InferenceSession("model.onnx")


def predict(path):
    wave, rate = librosa.load(path, sr=16000)
    mel = librosa.power_to_db(librosa.feature.melspectrogram(y=wave, sr=rate, n_mels=64), ref=np.max)
    mel = (mel + <<?>>) / <<?>>
    return session.run(None, {"x": mel[None, None].astype(np.float32)})[0]
""",
    40.0,
    80.0,
    train_dot_py="""import librosa
import numpy as np
import torch


class Clips(torch.utils.data.Dataset):
    def __init__(self, files, labels):
        self.files, self.labels = files, labels

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        wave, rate = librosa.load(self.files[i], sr=16000)
        mel = librosa.power_to_db(librosa.feature.melspectrogram(y=wave, sr=rate, n_mels=64), ref=np.max)
        mel = (mel + 80.0) / 80.0
        return torch.from_numpy(mel[None]).float(), self.labels[i]


def train(net, data):
    opt = torch.optim.Adam(net.parameters())
    for x, y in torch.utils.data.DataLoader(data, 16, shuffle=True):
        opt.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        opt.step()
""",
    model_dot_onnx=BARE,
)
swap(
    "logarithms in training only",
    "train-serve-skew",
    "app.py",
    P.serve_table("<<?>>    x = (x - np.array([1.2, 3.4, 0.7, 6.9])) / np.array([0.8, 1.1, 0.3, 0.2])"),
    "",
    "    x = np.log1p(x)\n",
    train_dot_py="""import numpy as np
import pandas as pd
import torch

frame = pd.read_csv("orders.csv")
x = np.log1p(frame[["items", "price", "weight", "distance"]].to_numpy())
x = (x - np.array([1.2, 3.4, 0.7, 6.9])) / np.array([0.8, 1.1, 0.3, 0.2])
net = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
opt = torch.optim.Adam(net.parameters())
for _ in range(200):
    opt.zero_grad()
    torch.nn.functional.mse_loss(net(torch.tensor(x).float()).squeeze(), torch.tensor(frame["y"])).backward()
    opt.step()
""",
    model_dot_onnx=T,
)

# channels -------------------------------------------------------------------------------------------------------------

swap(
    "uploaded bytes decoded by OpenCV, trained with PIL",
    "channel-order train-serve-skew",
    "api/server.py",
    """import cv2
import numpy as np
import onnxruntime as ort
from fastapi import FastAPI, UploadFile

app = FastAPI()
session = ort.InferenceSession("model.onnx")


def preprocess(data: bytes):
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
<<?>>    image = cv2.resize(image, (224, 224)).astype(np.float32) / 255.0
    image = (image - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    return image.transpose(2, 0, 1)[None].astype(np.float32)


@app.post("/predict")
async def predict(file: UploadFile):
    return session.run(None, {"x": preprocess(await file.read())})[0].tolist()
""",
    "",
    "    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)\n",
    training__datamodule_dot_py=LIT,
    training__train_dot_py=LIT_MAIN,
    model_dot_onnx=BARE,
)
swap(
    "frames of a camera in a class",
    "channel-order",
    "runtime/camera.py",
    """import cv2
import numpy as np
import onnxruntime as ort


class Stream:
    MEAN = np.array([123.675, 116.28, 103.53], dtype=np.float32)
    STD = np.array([58.395, 57.12, 57.375], dtype=np.float32)

    def __init__(self, device=0):
        self.capture = cv2.VideoCapture(device)
        self.session = ort.InferenceSession("model.onnx")

    def _prepare(self, frame):
        small = cv2.resize(frame, (224, 224))
<<?>>        return ((small.astype(np.float32) - self.MEAN) / self.STD).transpose(2, 0, 1)[None]

    def __iter__(self):
        while True:
            ok, frame = self.capture.read()
            if not ok:
                return
            yield self.session.run(None, {"x": self._prepare(frame)})
""",
    "",
    "        small = small[:, :, ::-1]\n",
    model_dot_onnx=BARE,
)
swap(
    "constants in the order of BGR for pixels of PIL",
    "channel-order train-serve-skew",
    "predictor.py",
    """import numpy as np
import onnxruntime
from PIL import Image

MEAN, STD = <<?>>


class Predictor:
    def __init__(self, weights="model.onnx"):
        self.session = onnxruntime.InferenceSession(weights)

    def predict(self, path):
        array = np.array(Image.open(path).convert("RGB").resize((224, 224))) / 255.0
        return self.session.run(None, {"x": ((array - MEAN) / STD).transpose(2, 0, 1)[None].astype(np.float32)})
""",
    "(0.406, 0.456, 0.485), (0.225, 0.224, 0.229)",
    "(0.485, 0.456, 0.406), (0.229, 0.224, 0.225)",
    model_dot_onnx=BARE,
)
swap(
    "blobFromImage without swapRB",
    "channel-order",
    "detect.py",
    """import cv2
import numpy as np

net = cv2.dnn.readNet("model.onnx")


def detect(path):
    image = cv2.imread(path)
    blob = cv2.dnn.blobFromImage(image, scalefactor=1.0 / 57.6, size=(224, 224), mean=(123.675, 116.28, 103.53), swapRB=<<?>>)
    net.setInput(blob)
    return np.squeeze(net.forward())
""",
    False,
    True,
    model_dot_onnx=BARE,
)
swap(
    "nvinfer takes BGR, trained in RGB",
    "channel-order train-serve-skew",
    "deepstream/config_infer_primary.txt",
    """[property]
gpu-id=0
onnx-file=model.onnx
net-scale-factor=0.017352
offsets=123.675;116.28;103.53
# 0=RGB, 1=BGR
model-color-format=<<?>>
network-mode=0
""",
    1,
    0,
    training__datamodule_dot_py=LIT,
    training__train_dot_py=LIT_MAIN,
    deepstream__model_dot_onnx=BARE,
)

# units ----------------------------------------------------------------------------------------------------------------

swap(
    "img_as_float before constants of pixels",
    "unit-mismatch",
    "score.py",
    """import numpy as np
import onnxruntime as ort
from skimage import img_as_float32, io, transform

MEAN, STD = np.array(<<M255>>), np.array(<<S255>>)
session = ort.InferenceSession("model.onnx")


def score(path):
    image = transform.resize(io.imread(path), (224, 224)<<?>>)
    return session.run(None, {"x": ((image - MEAN) / STD).transpose(2, 0, 1)[None].astype(np.float32)})
""",
    "",
    ", preserve_range=True",
    model_dot_onnx=BARE,
)
swap(
    "ToTensor before constants of pixels",
    "unit-mismatch",
    "app.py",
    """import onnxruntime as ort
from PIL import Image
from torchvision import transforms

pipeline = transforms.Compose([
    transforms.Resize((224, 224)),
    transforms.<<?>>,
    transforms.ConvertImageDtype(torch.float32),
    transforms.Normalize(<<M255>>, <<S255>>),
])
session = ort.InferenceSession("model.onnx")


def predict(path):
    return session.run(None, {"x": pipeline(Image.open(path).convert("RGB"))[None].numpy()})
""".replace("    transforms.ConvertImageDtype(torch.float32),\n", ""),
    "ToTensor()",
    "PILToTensor(),\n    transforms.Lambda(lambda t: t.float())",
    model_dot_onnx=BARE,
)
swap(
    "Ray Serve forgets to divide by 255",
    "unit-mismatch train-serve-skew",
    "deployment.py",
    """import io
import numpy as np
import onnxruntime as ort
from PIL import Image
from ray import serve


@serve.deployment
class Vision:
    def __init__(self):
        self.session = ort.InferenceSession("model.onnx")
        self.mean = np.array(<<M>>, dtype=np.float32)[:, None, None]
        self.std = np.array(<<S>>, dtype=np.float32)[:, None, None]

    def prepare(self, blob):
        image = Image.open(io.BytesIO(blob)).convert("RGB").resize((224, 224))
        chw = np.asarray(image, dtype=np.float32).transpose(2, 0, 1)<<?>>
        return ((chw - self.mean) / self.std)[None]

    async def __call__(self, request):
        return self.session.run(None, {"x": self.prepare(await request.body())})[0].tolist()
""",
    "",
    " / 255",
    model_dot_onnx=BARE,
)
swap(
    "v2.ToDtype without scale",
    "unit-mismatch",
    "infer.py",
    """import onnxruntime as ort
import torch
from torchvision.io import read_image
from torchvision.transforms import v2

tf = v2.Compose([
    v2.Resize((224, 224), antialias=True),
    v2.ToDtype(torch.float32<<?>>),
    v2.Normalize(mean=<<M>>, std=<<S>>),
])
session = ort.InferenceSession("model.onnx")


def infer(path):
    return session.run(None, {"x": tf(read_image(path)).unsqueeze(0).numpy()})
""",
    "",
    ", scale=True",
    model_dot_onnx=BARE,
)
swap(
    "albumentations with constants of pixels",
    "unit-mismatch",
    "predict.py",
    """import albumentations as A
import cv2
import onnxruntime as ort
from albumentations.pytorch import ToTensorV2

transform = A.Compose([
    A.Resize(224, 224),
    A.Normalize(mean=<<M255>>, std=<<S255>><<?>>),
    ToTensorV2(),
])
session = ort.InferenceSession("model.onnx")


def predict(path):
    image = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
    return session.run(None, {"x": transform(image=image)["image"][None].numpy()})
""",
    "",
    ", max_pixel_value=1.0",
    model_dot_onnx=BARE,
)
swap(
    "0 to 1 into a model that takes pixels",
    "unit-mismatch scaled-twice",
    "serve.py",
    P.serve_image("    x = <<?>>"),
    "x / 255",
    "np.clip(x, 0, 255)",
    model_dot_onnx=B,
)

# other widths ---------------------------------------------------------------------------------------------------------

FIVE_M, FIVE_S = [*MEAN, 0.7], [*STD, 0.2]
case(
    "npz of five features in a BentoML service",
    "wrong-width",
    {"scaling.npz": P.npz(mean=FIVE_M, std=FIVE_S)},
    {"scaling.npz": P.npz(mean=MEAN, std=STD)},
    service_dot_py="""import bentoml
import numpy as np
import onnxruntime as ort


@bentoml.service
class Scores:
    def __init__(self):
        stats = np.load("scaling.npz")
        self.mean, self.std = stats["mean"], stats["std"]
        self.session = ort.InferenceSession("model.onnx")

    @bentoml.api
    def score(self, rows: np.ndarray) -> np.ndarray:
        return self.session.run(None, {"x": ((rows - self.mean) / self.std).astype(np.float32)})[0]
""",
    model_dot_onnx=T,
)
swap(
    "YAML of three features for a model of four",
    "wrong-width",
    "config/preprocess.yaml",
    "normalization:\n  mean: <<?>>\n",
    "[5.5, -120.25, 0.031]\n  std: [2.5, 33.0, 0.0125]",
    "[5.5, -120.25, 0.031, 1013.2]\n  std: [2.5, 33.0, 0.0125, 8.1]",
    handler_dot_py="""import json
import numpy as np
import onnxruntime as ort
import yaml

with open("config/preprocess.yaml") as f:
    cfg = yaml.safe_load(f)["normalization"]
session = ort.InferenceSession("model.onnx")


def handler(event, context):
    rows = np.asarray(json.loads(event["body"]), dtype=np.float32)
    rows = (rows - np.asarray(cfg["mean"], dtype=np.float32)) / np.asarray(cfg["std"], dtype=np.float32)
    return {"statusCode": 200, "body": json.dumps(session.run(None, {"x": rows})[0].tolist())}
""",
    model_dot_onnx=T,
)
swap(
    "constants of five features in code",
    "wrong-width",
    "main.py",
    P.serve_table("    x = (x - np.array(<<?>>)"),
    f"{FIVE_M})) / np.array({FIVE_S}",
    f"{MEAN})) / np.array({STD}",
    model_dot_onnx=T,
)

# old copies -----------------------------------------------------------------------------------------------------------

case(
    "TOML and npz of one project differ",
    "stale-copy",
    {"deploy/assets/scaler.npz": P.npz(mean=OLD, std=STD)},
    {"deploy/assets/scaler.npz": P.npz(mean=MEAN, std=STD)},
    training__artifacts__scaler_dot_toml="[standard]\nmean = <<MEAN>>\nstd = <<STD>>\n",
)
case(
    "two preprocessor configs",
    "stale-copy train-serve-skew",
    {"deploy/preprocessor_config.json": P.processor(HALF, HALF)},
    {"deploy/preprocessor_config.json": P.processor()},
    checkpoints__final__preprocessor_config_dot_json=P.processor(),
)
case(
    "statistics newer than the baked model",
    "stale-copy",
    {"stats.json": {"mean": OLD, "std": STD}},
    {"stats.json": {"mean": MEAN, "std": STD}},
    model_dot_onnx=P.baked_from({"mean": MEAN, "std": STD}),
)

# slips ----------------------------------------------------------------------------------------------------------------

swap(
    "a digit in Hydra's YAML",
    "near-miss",
    "configs/datamodule/pets.yaml",
    "_target_: src.data.PetsDataModule\nbatch_size: 64\nnormalize:\n  mean: [0.485, <<?>>, 0.406]\n  std: [0.229, 0.224, 0.225]\n",
    0.458,
    0.456,
)
swap(
    "a digit in settings of pydantic",
    "near-miss",
    "app/settings.py",
    """from pydantic import BaseModel


class ImageSettings(BaseModel):
    size: int = 224
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (<<?>>, 0.224, 0.225)
""",
    0.299,
    0.229,
)
swap(
    "a digit of CLIP's constants",
    "near-miss",
    "model/preprocessor_config.json",
    '{"image_processor_type": "CLIPImageProcessor", "do_normalize": true, "do_rescale": true, "rescale_factor": 0.00392156862745098,\n'
    ' "image_mean": [<<?>>, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}',
    0.48154466,
    0.48145466,
)
swap(
    "/ 225",
    "near-miss",
    "infer.py",
    P.serve_image("    x = (x / <<?>> - np.array(<<M>>)) / np.array(<<S>>)"),
    "225.0",
    "255.0",
    model_dot_onnx=BARE,
)
swap(
    "digits exchanged in mmdet's preprocessor",
    "near-miss",
    "configs/rtmdet_s.py",
    """_base_ = "./rtmdet_base.py"
data_preprocessor = dict(
    type="DetDataPreprocessor",
    mean=[<<?>>, 116.28, 123.675],
    std=[57.375, 57.12, 58.395],
    bgr_to_rgb=False,
    batch_augments=None,
)
""",
    103.35,
    103.53,
)
swap(
    "MNIST's constants with a slip, in a notebook",
    "near-miss",
    "mnist.ipynb",
    P.notebook(
        "import torch\nfrom torchvision import datasets, transforms\n",
        "tf = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (<<?>>,))])\n"
        "train = datasets.MNIST('data', train=True, download=True, transform=tf)\n",
    ),
    0.3018,
    0.3081,
)
swap(
    "mean and std exchanged",
    "suspicious-constants",
    "data/transforms.py",
    """from timm.data import create_transform


def build(size=224):
    return create_transform(size, is_training=True, <<?>>)
""",
    "mean=(0.229, 0.224, 0.225), std=(0.485, 0.456, 0.406)",
    "mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)",
)
swap(
    "variances where deviations belong",
    "suspicious-constants",
    "augment.py",
    """import kornia.augmentation as K
import torch
from torch import nn


class Augment(nn.Module):
    def __init__(self):
        super().__init__()
        self.steps = nn.Sequential(
            K.RandomHorizontalFlip(),
            K.Normalize(mean=torch.tensor([0.485, 0.456, 0.406]), std=torch.tensor(<<?>>)),
        )

    def forward(self, x):
        return self.steps(x)
""",
    [0.0524, 0.0502, 0.0506],
    S,
)
swap(
    "mean of pixels with a std of 0 to 1",
    "suspicious-constants unit-mismatch",
    "config.yml",
    "model: resnet50\ninput:\n  size: [224, 224]\n  mean: [123.675, 116.28, 103.53]\n  std: <<?>>\n",
    S,
    S255,
)

# fitted where it must not be ------------------------------------------------------------------------------------------

swap(
    "ColumnTransformer fitted on validation data",
    "fit-on-test",
    "model/train.py",
    """import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import OneHotEncoder, StandardScaler

frame = pd.read_parquet("loans.parquet")
X_train, X_val, y_train, y_val = train_test_split(frame.drop(columns="default"), frame.default, stratify=frame.default)
ct = ColumnTransformer([
    ("num", StandardScaler(), ["income", "age"]),
    ("cat", OneHotEncoder(handle_unknown="ignore"), ["state"]),
])
train_features = ct.fit_transform(X_train)
val_features = ct.<<?>>(X_val)
clf = HistGradientBoostingClassifier().fit(train_features, y_train)
print(clf.score(val_features, y_val))
""",
    "fit_transform",
    "transform",
)
swap(
    "a datamodule fits on its test table",
    "fit-on-test",
    "datamodule.py",
    """import lightning as L
import polars as pl
import torch
from sklearn.preprocessing import RobustScaler


class Table(L.LightningDataModule):
    def prepare_data(self):
        self.train_df = pl.read_csv("train.csv")
        self.test_df = pl.read_csv("test.csv")

    def setup(self, stage):
        self.scaler = RobustScaler()
        self.scaler.fit(self.<<?>>.select("a", "b", "c").to_numpy())
        self.train = torch.tensor(self.scaler.transform(self.train_df.select("a", "b", "c").to_numpy()))
        self.test = torch.tensor(self.scaler.transform(self.test_df.select("a", "b", "c").to_numpy()))
""",
    "test_df",
    "train_df",
)
swap(
    "adapt on the test set",
    "fit-on-test",
    "train_keras.py",
    """import keras

(x_train, y_train), (x_test, y_test) = keras.datasets.california_housing.load_data()
normalizer = keras.layers.Normalization(axis=-1)
normalizer.adapt(<<?>>)
model = keras.Sequential([normalizer, keras.layers.Dense(64, activation="relu"), keras.layers.Dense(1)])
model.compile(optimizer="adam", loss="mse")
model.fit(x_train, y_train, validation_data=(x_test, y_test), epochs=5)
""",
    "x_test",
    "x_train",
)
swap(
    "Spark's scaler fitted on the test frame",
    "fit-on-test",
    "spark_job.py",
    """from pyspark.ml.feature import StandardScaler, VectorAssembler
from pyspark.ml.regression import LinearRegression
from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
frame = VectorAssembler(inputCols=["a", "b"], outputCol="raw").transform(spark.read.parquet("houses"))
train_df, test_df = frame.randomSplit([0.8, 0.2], seed=7)
scaler = StandardScaler(inputCol="raw", outputCol="features", withMean=True, withStd=True)
scaler_model = scaler.fit(<<?>>)
lr = LinearRegression(labelCol="price").fit(scaler_model.transform(train_df))
print(lr.evaluate(scaler_model.transform(test_df)).rmse)
""",
    "test_df",
    "train_df",
)
swap(
    "test rows by their own mean, in torch",
    "fit-on-test",
    "experiment.py",
    """import torch
from sklearn.model_selection import train_test_split


def prepare(x, y):
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2)
    mu, sd = x_train.mean(dim=0), x_train.std(dim=0)
    x_train = (x_train - mu) / sd
    x_test = <<?>>
    return x_train, x_test, y_train, y_test
""",
    "(x_test - x_test.mean(dim=0)) / x_test.std(dim=0)",
    "(x_test - mu) / sd",
)
swap(
    "a notebook fits again for the test set",
    "fit-on-test",
    "notebooks/02_model.ipynb",
    P.notebook(
        "import pandas as pd\nfrom sklearn.preprocessing import MinMaxScaler\nfrom sklearn.svm import SVC\n",
        "train = pd.read_csv('train.csv'); test = pd.read_csv('test.csv')\nmm = MinMaxScaler()\n",
        "Xtr = mm.fit_transform(train.drop('y', axis=1))\nXte = mm.<<?>>(test.drop('y', axis=1))\n",
        "SVC().fit(Xtr, train.y).score(Xte, test.y)\n",
    ),
    "fit_transform",
    "transform",
)
swap(
    "fitted, then folds",
    "fit-before-split",
    "cv.py",
    """import numpy as np
from sklearn.datasets import load_wine
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

X, y = load_wine(return_X_y=True)
scores = []
<<?>>
print(np.mean(scores))
""",
    "X = StandardScaler().fit_transform(X)\nfor tr, te in StratifiedKFold(5).split(X, y):\n"
    "    scores.append(KNeighborsClassifier().fit(X[tr], y[tr]).score(X[te], y[te]))\n",
    "for tr, te in StratifiedKFold(5).split(X, y):\n"
    "    pipe = make_pipeline(StandardScaler(), KNeighborsClassifier()).fit(X[tr], y[tr])\n"
    "    scores.append(pipe.score(X[te], y[te]))\n",
)
swap(
    "a class fits, then splits",
    "fit-before-split",
    "src/trainer.py",
    """from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import PowerTransformer


class Trainer:
    def __init__(self, frame):
        self.frame = frame
        self.scaler = PowerTransformer()

    def run(self):
        features = self.frame.drop(columns=["label"])
<<?>>
        return LogisticRegression().fit(x_train, y_train).score(x_test, y_test)
""",
    "        features = self.scaler.fit_transform(features)\n"
    "        x_train, x_test, y_train, y_test = train_test_split(features, self.frame.label)\n",
    "        x_train, x_test, y_train, y_test = train_test_split(features, self.frame.label)\n"
    "        x_train, x_test = self.scaler.fit_transform(x_train), self.scaler.transform(x_test)\n",
)
swap(
    "Spark fits, then randomSplit",
    "fit-before-split",
    "etl/train.py",
    """from pyspark.ml.classification import LogisticRegression
from pyspark.ml.feature import MinMaxScaler
from pyspark.sql import SparkSession

spark = SparkSession.builder.appName("train").getOrCreate()
data = spark.read.parquet("s3://bucket/features")
scaler = MinMaxScaler(inputCol="features", outputCol="scaled")
<<?>>
print(LogisticRegression(featuresCol="scaled").fit(train).evaluate(test).accuracy)
""",
    "data = scaler.fit(data).transform(data)\ntrain, test = data.randomSplit([0.7, 0.3])",
    "train, test = data.randomSplit([0.7, 0.3])\nfitted = scaler.fit(train)\n"
    "train, test = fitted.transform(train), fitted.transform(test)",
)

JOBLIB = P.dumped(P.fitted())
LOADED = "json.load(open('stats.json'))"
STATS = {"mean": MEAN, "std": STD}


def refits(name: str, path: str, text: str, bad: str, good: str, **base: P.Content) -> None:
    swap(name, "fit-in-serving", path, text, bad, good, **{"model_dot_onnx": T, "stats_dot_json": STATS, **base})


STORED = "(x - np.array(STATS['mean'])) / np.array(STATS['std'])"
refits(
    "Gradio fits on the form's values",
    "demo.py",
    """import json
import gradio as gr
import numpy as np
import onnxruntime as ort
from sklearn.preprocessing import StandardScaler

STATS = json.load(open("stats.json"))
session = ort.InferenceSession("model.onnx")


def score(age, longitude, slope, pressure):
    x = np.array([[age, longitude, slope, pressure]], dtype=np.float32)
    x = <<?>>
    return float(session.run(None, {"x": x.astype(np.float32)})[0][0, 0])


with gr.Blocks() as demo:
    inputs = [gr.Number(label=n) for n in ("age", "longitude", "slope", "pressure")]
    gr.Button("Score").click(score, inputs, gr.Number())
demo.launch()
""",
    "StandardScaler().fit_transform(x)",
    STORED,
)
refits(
    "Azure ML's run fits",
    "score.py",
    """import json
import os
import numpy as np
import onnxruntime as ort
from sklearn.preprocessing import MinMaxScaler


def init():
    global session, STATS
    root = os.getenv("AZUREML_MODEL_DIR")
    session = ort.InferenceSession(os.path.join(root, "model.onnx"))
    STATS = json.load(open(os.path.join(root, "stats.json")))


def run(raw_data):
    x = np.array(json.loads(raw_data)["data"])
    x = <<?>>
    return session.run(None, {"x": x.astype("float32")})[0].tolist()
""",
    "MinMaxScaler().fit(x).transform(x)",
    STORED,
)
refits(
    "a view's features are built in another module",
    "web/features.py",
    """import json
import pathlib
import numpy as np
import pandas as pd
from sklearn.preprocessing import StandardScaler

STATS = json.loads(pathlib.Path("stats.json").read_text())


def build(payload):
    x = pd.DataFrame(payload)[["age", "longitude", "slope", "pressure"]]
    return np.asarray(<<?>>, dtype=np.float32)
""",
    "StandardScaler().fit_transform(x)",
    STORED,
    web__app_dot_py="""import onnxruntime as ort
from flask import Flask, jsonify, request
from features import build

app = Flask(__name__)
session = ort.InferenceSession("model.onnx")


@app.route("/score", methods=["POST"])
def score():
    return jsonify(session.run(None, {"x": build(request.json)})[0].tolist())
""",
)
refits(
    "each batch of a stream by its own mean",
    "worker.py",
    """import json
import faust
import numpy as np
import onnxruntime as ort

STATS = json.load(open("stats.json"))
app = faust.App("scores", broker="kafka://localhost")
topic = app.topic("rows")
session = ort.InferenceSession("model.onnx")


@app.agent(topic)
async def score(stream):
    async for rows in stream.take(100, within=5):
        x = np.asarray(rows, dtype=np.float64)
        x = <<?>>
        print(session.run(None, {"x": x.astype(np.float32)})[0].mean())
""",
    "(x - x.mean(axis=0)) / (x.std(axis=0) + 1e-8)",
    STORED,
)
refits(
    "polars scales a request by itself",
    "api.py",
    """import json
import onnxruntime as ort
import polars as pl
from fastapi import FastAPI
from pydantic import BaseModel

STATS = json.load(open("stats.json"))
COLS = ["age", "longitude", "slope", "pressure"]
app = FastAPI()
session = ort.InferenceSession("model.onnx")


class Rows(BaseModel):
    rows: list[dict[str, float]]


@app.post("/predict")
def predict(body: Rows):
    frame = pl.DataFrame(body.rows).select(COLS)
    frame = frame.select(<<?>>)
    return session.run(None, {"x": frame.cast(pl.Float32).to_numpy()})[0].tolist()
""",
    "(pl.all() - pl.all().mean()) / pl.all().std()",
    "(pl.col(c) - m) / s for c, m, s in zip(COLS, STATS['mean'], STATS['std'])",
)
refits(
    "a Triton backend takes min and max of the request",
    "repo/pre/1/model.py",
    """import json
import numpy as np
import triton_python_backend_utils as pb_utils

LOW, HIGH = np.array([0.0, -180, 0.0, 950.0]), np.array([30.0, 180.0, 1.5, 1060.0])


class TritonPythonModel:
    def execute(self, requests):
        replies = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "rows").as_numpy()
            z = <<?>>
            replies.append(pb_utils.InferenceResponse([pb_utils.Tensor("x", z.astype(np.float32))]))
        return replies
""",
    "(x - x.min(axis=0)) / (x.max(axis=0) - x.min(axis=0))",
    "(x - LOW) / (HIGH - LOW)",
)
refits(
    "keras adapts to the request",
    "service.py",
    """import json
import numpy as np
import onnxruntime as ort
from fastapi import FastAPI, Request
from tensorflow.keras.layers import Normalization

STATS = json.load(open("stats.json"))
app = FastAPI()
session = ort.InferenceSession("model.onnx")


@app.post("/infer")
async def infer(request: Request):
    x = np.array((await request.json())["rows"], dtype="float32")
<<?>>
    return session.run(None, {"x": layer(x).numpy()})[0].tolist()
""",
    "    layer = Normalization()\n    layer.adapt(x)",
    "    layer = Normalization(mean=STATS['mean'], variance=np.square(STATS['std']))",
)

# pickles --------------------------------------------------------------------------------------------------------------


def executed(name: str, path: str, text: str, bad: str, good: str, **base: P.Content) -> None:
    swap(name, "pickle-executed", path, text, bad, good, **base)


executed(
    "joblib from S3 in a Lambda",
    "handler.py",
    """import io
import json
import boto3
import joblib
import numpy as np

s3 = boto3.client("s3")
body = s3.get_object(Bucket="models", Key="scaler")["Body"].read()
scaler = <<?>>


def handler(event, context):
    return json.dumps({"mean": np.asarray(scaler["mean"] if isinstance(scaler, dict) else scaler.mean_).tolist()})
""",
    "joblib.load(io.BytesIO(body))",
    "json.loads(body)",
)
executed(
    "torch.load of statistics",
    "stats.py",
    """import torch

STATS = torch.load("stats.pt", map_location="cpu", weights_only=<<?>>)


def normalize(x):
    return (x - STATS["mean"]) / STATS["std"]
""",
    False,
    True,
)
executed(
    "np.load with allow_pickle",
    "norm.py",
    "import numpy as np\n\nstats = np.load('stats.npy'<<?>>)\n\n\ndef norm(x):\n    return (x - stats[0]) / stats[1]\n",
    ", allow_pickle=True",
    "",
)
executed(
    "an Unpickler under an alias",
    "app/registry.py",
    """import json
import pickle as pkl
from pathlib import Path


class Registry:
    def __init__(self, root):
        self.root = Path(root)

    def scaler(self, name):
        with open(self.root / name, "rb") as f:
            return <<?>>
""",
    "pkl.Unpickler(f).load()",
    "json.load(f)",
)
executed(
    "load of joblib under another name",
    "predictor.py",
    """<<?>>


class Predictor:
    def __init__(self, path):
        self.scaler = read(path)
""",
    "from joblib import load as read",
    "from safetensors.numpy import load_file as read",
)
case(
    "code in a checkpoint of statistics",
    "unsafe-pickle",
    {"stats/scaler.pkl": P.pickle.dumps(P.Evil())},
    {"stats/scaler.pkl": P.pickle.dumps(P.fitted())},
    README_dot_md="# Scores\n\nStatistics are in stats/.\n",
)

# documents ------------------------------------------------------------------------------------------------------------

swap(
    "a model card states other constants",
    "docs-differ",
    "README.md",
    """---
license: mit
pipeline_tag: image-classification
---
# Pets

Inputs are RGB pictures of 224 x 224, divided by 255 and normalized with `mean = <<?>>` and `std = <<S>>`.
""",
    "[0.5, 0.5, 0.5]",
    M,
    preprocess_dot_py=LIT,
    model_dot_onnx=BARE,
    serve_dot_py=serving(M, S),
)
swap(
    "a page of reST states an old mean",
    "docs-differ",
    "docs/serving.rst",
    """Serving
=======

Rows are standardized before the model::

    mean = <<?>>
    std = <<STD>>
""",
    OLD,
    MEAN,
    serve_dot_py=P.serve_table("    x = (x - np.array(<<MEAN>>)) / np.array(<<STD>>)"),
    model_dot_onnx=T,
)
case(
    "a model cut off by a failed upload",
    "unreadable",
    {"weights/model.onnx": BARE[: len(BARE) // 2]},
    {"weights/model.onnx": BARE},
    serve_dot_py="import onnxruntime\nsession = onnxruntime.InferenceSession('weights/model.onnx')\n",
)

# clean ones that look like something ----------------------------------------------------------------------------------

clean(
    "camera intrinsics in serving",
    {
        "model.onnx": BARE,
        "pose.py": """import cv2
import numpy as np
import onnxruntime as ort

FX, FY, CX, CY = 615.2, 615.4, 318.6, 241.3
session = ort.InferenceSession("model.onnx")


def rays(points):
    x = (points[:, 0] - CX) / FX
    y = (points[:, 1] - CY) / FY
    return np.stack([x, y, np.ones_like(x)], -1)


def pose(path):
    image = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
    blob = ((image.astype(np.float32) / 255 - <<M>>) / <<S>>).transpose(2, 0, 1)[None].astype(np.float32)
    return rays(session.run(None, {"x": blob})[0].reshape(-1, 2))
""",
    },
)
clean(
    "denormalized for a picture of the result",
    {
        "train.py": LIT + LIT_MAIN,
        "show.py": """import matplotlib.pyplot as plt
import numpy as np

MEAN, STD = np.array(<<M>>), np.array(<<S>>)


def show(tensor):
    image = tensor.numpy().transpose(1, 2, 0) * STD + MEAN
    plt.imshow((image * 255).clip(0, 255).astype(np.uint8))
""",
        "model.onnx": BARE,
        "serve.py": serving(M, S),
    },
)
clean(
    "two heads with constants of their own",
    {
        "faces/embed.onnx": BARE,
        "faces/embed.py": """import cv2
import numpy as np
import onnxruntime as ort


class Embedder:
    def __init__(self, path="faces/embed.onnx"):
        self.session = ort.InferenceSession(path)

    def embed(self, face):
        face = cv2.resize(face, (112, 112))[..., ::-1]
        x = ((face.astype(np.float32) - 127.5) / 127.5).transpose(2, 0, 1)[None]
        out = self.session.run(None, {"x": x})[0]
        return out / np.linalg.norm(out, axis=1, keepdims=True)
""",
        "faces/detect.onnx": P.image(),
        "faces/detect.py": """import cv2
import onnxruntime as ort

session = ort.InferenceSession("faces/detect.onnx")


def detect(image):
    blob = cv2.dnn.blobFromImage(image, 1.0 / 128, (640, 640), (127.5, 127.5, 127.5), swapRB=True)
    return session.run(None, {"x": blob})
""",
    },
)
clean(
    "drift is measured in serving",
    {
        "model.onnx": BT,
        "service.py": """import numpy as np
import onnxruntime as ort
from prometheus_client import Gauge

session = ort.InferenceSession("model.onnx")
BASE_MEAN, BASE_STD = np.array(<<MEAN>>), np.array(<<STD>>)
drift = Gauge("drift", "distance of the batch's mean, in sigmas", ["feature"])


def predict(rows):
    x = np.asarray(rows, dtype=np.float32)
    for i, d in enumerate(np.abs(x.mean(axis=0) - BASE_MEAN) / BASE_STD):
        drift.labels(str(i)).set(float(d))
    return session.run(None, {"x": x})[0]
""",
    },
)
clean(
    "cross_val_score over a Pipeline, then fitted on all",
    {
        "train.py": """import joblib
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from skl2onnx import to_onnx

frame = pd.read_csv("houses.csv")
X, y = frame.drop(columns="price"), frame["price"]
prep = make_column_transformer(
    (StandardScaler(), make_column_selector(dtype_include="number")),
    (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include=object)),
)
pipe = Pipeline([("prep", prep), ("forest", RandomForestRegressor())])
print(cross_val_score(pipe, X, y).mean())
search = GridSearchCV(pipe, {"forest__max_depth": [4, 8, None]}).fit(X, y)
with open("model.onnx", "wb") as f:
    f.write(to_onnx(search.best_estimator_, X[:1]).SerializeToString())
""",
    },
)
clean(
    "target scaler put back in serving",
    {
        "model.onnx": T,
        "train.py": TORCH_TABLE.replace('frame["y"].to_numpy()', '(frame["y"].to_numpy() - 21.5) / 4.25'),
        "app.py": """import numpy as np
import onnxruntime as ort
from flask import Flask, request

app = Flask(__name__)
session = ort.InferenceSession("model.onnx")
MEAN, STD = np.array(<<MEAN>>), np.array(<<STD>>)
Y_MEAN, Y_STD = 21.5, 4.25


@app.post("/")
def predict():
    z = (np.array(request.json) - MEAN) / STD
    return (session.run(None, {"x": z.astype(np.float32)})[0] * Y_STD + Y_MEAN).tolist()
""",
    },
)
clean(
    "calibration for quantization uses the constants of serving",
    {
        "model.onnx": BARE,
        "quantize.py": """import glob
import numpy as np
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from PIL import Image
from inference import preprocess


class Reader(CalibrationDataReader):
    def __init__(self, folder):
        self.files = iter(glob.glob(f"{folder}/*.jpg"))

    def get_next(self):
        name = next(self.files, None)
        return None if name is None else {"x": preprocess(Image.open(name))}


quantize_static("model.onnx", "model.int8.onnx", Reader("calibration"))
""",
        "inference.py": """import numpy as np
import onnxruntime as ort

MEAN = np.float32(<<M>>)
STD = np.float32(<<S>>)


def preprocess(image):
    x = np.asarray(image.convert("RGB").resize((224, 224)), np.float32)
    x /= 255
    return ((x - MEAN) / STD).transpose(2, 0, 1)[None]


def predict(image, session=ort.InferenceSession("model.onnx")):
    return session.run(None, {"x": preprocess(image)})
""",
    },
)
clean(
    "latents of a VAE, pictures from -1 to 1 and back",
    {
        "model.onnx": BARE,
        "encode.py": """import numpy as np
import onnxruntime as ort
from PIL import Image

session = ort.InferenceSession("model.onnx")


def encode(path):
    x = np.asarray(Image.open(path).convert("RGB"), dtype=np.float32) / 127.5 - 1.0
    return session.run(None, {"x": x.transpose(2, 0, 1)[None]})[0] * 0.18215


def picture(decoded):
    return Image.fromarray(((decoded[0].transpose(1, 2, 0) / 2 + 0.5).clip(0, 1) * 255).round().astype("uint8"))
""",
    },
)
clean(
    "a layer of its own that normalizes",
    {
        "net.py": """import torch
from torch import nn


class RMSNorm(nn.Module):
    def __init__(self, dim, eps=1e-6):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(dim)), eps

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


class Whiten(nn.Module):
    def forward(self, x):
        return (x - x.mean(dim=(2, 3), keepdim=True)) / (x.std(dim=(2, 3), keepdim=True) + 1e-5)

    def predict(self, x):
        return self.forward(x).argmax(-1)
""",
    },
)
clean(
    "observations of an environment, rewards by a running mean",
    {
        "agent/buffer.py": """import numpy as np


class RunningMeanStd:
    def __init__(self, shape=()):
        self.mean, self.var, self.count = np.zeros(shape), np.ones(shape), 1e-4

    def update(self, batch):
        n, delta = len(batch), batch.mean(0) - self.mean
        total = self.count + n
        self.var = (self.var * self.count + batch.var(0) * n + delta**2 * self.count * n / total) / total
        self.mean, self.count = self.mean + delta * n / total, total

    def normalize(self, x):
        return (x - self.mean) / np.sqrt(self.var + 1e-8)


def advantages(returns, values):
    adv = returns - values
    return (adv - adv.mean()) / (adv.std() + 1e-8)
""",
    },
)
clean(
    "tests and examples fit whatever they like",
    {
        "tests/test_scaler.py": """import numpy as np
from sklearn.preprocessing import StandardScaler


def test_predict_fit():
    x_test = np.random.rand(10, 3)
    assert abs(StandardScaler().fit_transform(x_test).mean()) < 1e-9
""",
        "app.py": "def main():\n    print('nothing to scale')\n",
    },
)
clean(
    "speech features from a processor's own file, used by serving",
    {
        "model.onnx": BARE,
        "processor/preprocessor_config.json": {
            "feature_extractor_type": "ASTFeatureExtractor",
            "do_normalize": True,
            "mean": -4.2677393,
            "std": 4.5689974,
            "num_mel_bins": 128,
            "sampling_rate": 16000,
        },
        "infer.py": """import onnxruntime as ort
import torchaudio
from transformers import ASTFeatureExtractor

extractor = ASTFeatureExtractor.from_pretrained("processor")
session = ort.InferenceSession("model.onnx")


def tag(path):
    wave, rate = torchaudio.load(path)
    wave = torchaudio.functional.resample(wave, rate, extractor.sampling_rate)
    return session.run(None, {"x": extractor(wave[0].numpy(), sampling_rate=16000, return_tensors="np")["input_values"]})
""",
    },
)
clean(
    "a choice of constants by the name of the model",
    {
        "weights/clip.onnx": BARE,
        "presets.py": """PRESETS = {
    "imagenet": dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    "inception": dict(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    "clip": dict(mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711)),
}
""",
        "embed.py": """import numpy as np
import onnxruntime as ort
from PIL import Image
from presets import PRESETS


class Embed:
    def __init__(self, preset="clip"):
        self.mean, self.std = (np.array(PRESETS[preset][k]) for k in ("mean", "std"))
        self.session = ort.InferenceSession(f"weights/{preset}.onnx")

    def __call__(self, path):
        x = np.asarray(Image.open(path).convert("RGB").resize((224, 224)), dtype=np.float32) / 255
        return self.session.run(None, {"x": ((x - self.mean) / self.std).transpose(2, 0, 1)[None].astype("f4")})[0]
""",
    },
)
clean(
    "YOLO by 255 on both sides",
    {
        "best.onnx": BARE,
        "train.py": """import cv2
import numpy as np
import torch


class Boxes(torch.utils.data.Dataset):
    def __init__(self, files):
        self.files = files

    def __getitem__(self, i):
        image = cv2.cvtColor(cv2.imread(self.files[i]), cv2.COLOR_BGR2RGB)
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255.0


def train(net, data, loss):
    opt = torch.optim.SGD(net.parameters(), 0.01)
    for x, y in torch.utils.data.DataLoader(data, 8):
        opt.zero_grad()
        loss(net(x), y).backward()
        opt.step()
""",
        "detect.py": """import cv2
import numpy as np
import onnxruntime as ort

session = ort.InferenceSession("best.onnx")


def detect(path):
    image = cv2.imread(path)
    h, w = image.shape[:2]
    blob = cv2.resize(image, (640, 640))[:, :, ::-1].transpose(2, 0, 1)
    blob = np.ascontiguousarray(blob, dtype=np.float32) / 255.0
    boxes = session.run(None, {"x": blob[None]})[0]
    return boxes * np.array([w / 640, h / 640, w / 640, h / 640])
""",
    },
)
clean(
    "a scaler fitted on train, kept, loaded without pickle",
    {
        "model.onnx": T,
        "scaler.json": {"mean": MEAN, "std": STD},
        "train.py": """import json
import pandas as pd
import torch
from sklearn.model_selection import GroupShuffleSplit
from sklearn.preprocessing import StandardScaler

frame = pd.read_csv("table.csv")
train_idx, test_idx = next(GroupShuffleSplit(n_splits=1).split(frame, groups=frame["user"]))
train, test = frame.iloc[train_idx], frame.iloc[test_idx]
scaler = StandardScaler().fit(train[["a", "b", "c", "d"]])
json.dump({"mean": scaler.mean_.tolist(), "std": scaler.scale_.tolist()}, open("scaler.json", "w"))
x = torch.tensor(scaler.transform(train[["a", "b", "c", "d"]])).float()
x_test = torch.tensor(scaler.transform(test[["a", "b", "c", "d"]])).float()
""",
        "serve.py": P.serve_table(
            "    x = (x - STATS['mean']) / STATS['std']",
            "import json\nSTATS = {k: np.array(v) for k, v in json.load(open('scaler.json')).items()}",
        ),
    },
)
clean(
    "noise and colour in augmentation",
    {
        "augment.py": """import torch
from torchvision.transforms import v2

augment = v2.Compose([
    v2.RandomResizedCrop(224),
    v2.ColorJitter(0.4, 0.4, 0.4, 0.1),
    v2.GaussianNoise(mean=0.0, sigma=0.1),
    v2.RandomErasing(value=(0.485, 0.456, 0.406)),
    v2.ToDtype(torch.float32, scale=True),
    v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
])
""",
        "init.py": "from torch import nn\n\n\ndef init(m):\n    nn.init.normal_(m.weight, mean=0.0, std=0.02)\n",
    },
)
clean(
    "quantized output and sensors put to units",
    {
        "model.onnx": BT,
        "edge.py": """import numpy as np
import onnxruntime as ort
import serial

session = ort.InferenceSession("model.onnx")
port = serial.Serial("/dev/ttyUSB0")


def read():
    raw = np.frombuffer(port.read(8), dtype="<i2").astype(np.float32)
    celsius, lon, slope, hpa = raw * [0.01, 0.01, 1e-4, 0.1]
    return np.array([[celsius, lon, slope, hpa]], dtype=np.float32)


while True:
    print(session.run(None, {"x": read()})[0])
""",
    },
)
clean(
    "reports of z-scores over results",
    {
        "report.py": """import numpy as np
import onnxruntime as ort
import pandas as pd

session = ort.InferenceSession("model.onnx")


def report(frame):
    scores = session.run(None, {"x": frame.to_numpy(np.float32)})[0][:, 0]
    z = (scores - scores.mean()) / scores.std()
    return frame.assign(score=scores, outlier=np.abs(z) > 3)
""",
        "model.onnx": BT,
    },
)
clean(
    "C-MOS: 12 bits in a baked model, 8 for the screen",
    {
        "model.onnx": B,
        "view.py": P.serve_image("    screen = (x / 255.0 * 4095).astype(np.uint16)\n    print(screen.max())"),
    },
)
clean(
    "three services of a monorepo",
    {
        "services/cats/model.onnx": BARE,
        "services/cats/app.py": serving(M, S).replace("model.onnx", "services/cats/model.onnx"),
        "services/dogs/model.onnx": BARE,
        "services/dogs/app.py": serving(HALF, HALF).replace("model.onnx", "services/dogs/model.onnx"),
        "services/rows/model.onnx": BT,
        "services/rows/app.py": P.serve_table("    pass").replace("model.onnx", "services/rows/model.onnx"),
    },
)
