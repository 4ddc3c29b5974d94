"""A fourth set, written after the third was mended and before it was run: twenty faults in styles of none of the others, each
with a clean twin. docs/auditing.md has the figure of the first run."""

from __future__ import annotations

from tests import planted as P
from tests.teams import (
    BARE,
    BT,
    FIVE_M,
    FIVE_S,
    HALF,
    LIT,
    LIT_MAIN,
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


pair(
    "KServe's preprocess",
    "scaled-twice",
    {"model.onnx": BT},
    {"model.onnx": T},
    {
        "kserve_model.py": """import numpy as np
import onnxruntime as ort
from kserve import Model, ModelServer


class Churn(Model):
    def __init__(self, name: str):
        super().__init__(name)
        self.ready = False
        self.load()

    def load(self):
        self.session = ort.InferenceSession("model.onnx")
        self.center, self.spread = np.array(<<MEAN>>), np.array(<<STD>>)
        self.ready = True

    def preprocess(self, payload, headers=None):
        rows = np.array(payload["instances"], dtype=np.float64)
        return ((rows - self.center) / self.spread).astype(np.float32)

    def predict(self, payload, headers=None):
        return {"predictions": self.session.run(None, {"x": payload})[0].tolist()}


if __name__ == "__main__":
    ModelServer().start([Churn("churn")])
"""
    },
)
pair(
    "SageMaker's input_fn and predict_fn",
    "scaled-twice",
    {"code/model.onnx": B},
    {"code/model.onnx": BARE},
    {
        "code/inference.py": """import io
import json
import os
import numpy as np
import onnxruntime
from PIL import Image

_MEAN = np.asarray(<<M>>, dtype=np.float32)[:, np.newaxis, np.newaxis]
_STD = np.asarray(<<S>>, dtype=np.float32)[:, np.newaxis, np.newaxis]


def model_fn(model_dir):
    return onnxruntime.InferenceSession(os.path.join(model_dir, "model.onnx"))


def input_fn(request_body, content_type):
    assert content_type == "application/x-image"
    image = Image.open(io.BytesIO(request_body)).convert("RGB").resize((224, 224))
    chw = np.transpose(np.asarray(image, dtype=np.float32) / 255.0, (2, 0, 1))
    return np.expand_dims((chw - _MEAN) / _STD, 0)


def predict_fn(data, session):
    return session.run(None, {"x": data})[0]


def output_fn(prediction, accept):
    return json.dumps(prediction.tolist())
"""
    },
)
swap(
    "Cog forgets the division",
    "unit-mismatch train-serve-skew",
    "predict.py",
    """import numpy as np
import onnxruntime as ort
from cog import BasePredictor, Input, Path
from PIL import Image


class Predictor(BasePredictor):
    def setup(self):
        self.net = ort.InferenceSession("model.onnx")

    def predict(self, image: Path = Input(description="a picture")) -> int:
        pixels = np.array(Image.open(str(image)).convert("RGB").resize((224, 224))).astype("float32")
        pixels = <<?>>
        pixels = (pixels - np.float32(<<M>>)) / np.float32(<<S>>)
        return int(self.net.run(None, {"x": pixels.transpose(2, 0, 1)[None]})[0].argmax())
""",
    "pixels[:, :, :3]",
    "pixels[:, :, :3] / 255",
    {"model.onnx": BARE},
)
swap(
    "a pandas_udf fits within each batch",
    "fit-in-serving",
    "jobs/score_spark.py",
    """import json
import numpy as np
import pandas as pd
from pyspark.sql import SparkSession
from pyspark.sql.functions import pandas_udf
from sklearn.preprocessing import StandardScaler

spark = SparkSession.builder.getOrCreate()
STATS = json.load(open("stats.json"))


@pandas_udf("double")
def score(a: pd.Series, b: pd.Series, c: pd.Series, d: pd.Series) -> pd.Series:
    import onnxruntime as ort
    x = np.column_stack([a, b, c, d])
    x = <<?>>
    return pd.Series(ort.InferenceSession("model.onnx").run(None, {"x": x.astype(np.float32)})[0][:, 0])


spark.read.parquet("rows").withColumn("score", score("a", "b", "c", "d")).write.parquet("scores")
""",
    "StandardScaler().fit_transform(x)",
    "(x - np.array(STATS['mean'])) / np.array(STATS['std'])",
    {"model.onnx": T, "stats.json": STATS},
)
pair(
    "a DoFn of Beam",
    "scaled-twice",
    {"pipeline/model.onnx": BT},
    {"pipeline/model.onnx": T},
    {
        "pipeline/score.py": """import apache_beam as beam
import numpy as np
import onnxruntime as ort
from pipeline.normalize import NormalizeFn


class ScoreFn(beam.DoFn):
    def setup(self):
        self.session = ort.InferenceSession("pipeline/model.onnx")

    def process(self, row):
        yield self.session.run(None, {"x": row[None]})[0][0, 0]


with beam.Pipeline() as p:
    (p | beam.io.ReadFromText("rows.csv")
       | beam.Map(lambda line: np.array(line.split(","), dtype=np.float32))
       | beam.ParDo(NormalizeFn())
       | beam.ParDo(ScoreFn())
       | beam.io.WriteToText("scores"))
""",
        "pipeline/normalize.py": """import apache_beam as beam
import numpy as np

MEANS = np.array(<<MEAN>>, dtype=np.float32)
SDS = np.array(<<STD>>, dtype=np.float32)


class NormalizeFn(beam.DoFn):
    def process(self, row):
        yield (row - MEANS) / SDS
""",
        "pipeline/__init__.py": "",
    },
)
swap(
    "a ROS node takes bgr8",
    "channel-order",
    "ros/detector_node.py",
    """import numpy as np
import onnxruntime as ort
import rclpy
from cv_bridge import CvBridge
from rclpy.node import Node
from sensor_msgs.msg import Image


class Detector(Node):
    def __init__(self):
        super().__init__("detector")
        self.bridge = CvBridge()
        self.session = ort.InferenceSession("model.onnx")
        self.create_subscription(Image, "/camera/image_raw", self.on_image, 10)

    def on_image(self, msg):
        frame = self.bridge.imgmsg_to_cv2(msg, desired_encoding="<<?>>").astype(np.float32)
        x = (frame - np.array([123.675, 116.28, 103.53])) / np.array([58.395, 57.12, 57.375])
        self.get_logger().info(str(self.session.run(None, {"x": x.transpose(2, 0, 1)[None].astype(np.float32)})[0]))


rclpy.init()
rclpy.spin(Detector())
""",
    "bgr8",
    "rgb8",
    {"model.onnx": BARE},
)
swap(
    "Detectron2's PIXEL_MEAN against serving",
    "train-serve-skew",
    "serve.py",
    """import cv2
import numpy as np
import onnxruntime as ort

session = ort.InferenceSession("model.onnx")
PIXEL_MEAN, PIXEL_STD = np.array(<<?>>), np.array([57.375, 57.12, 58.395])


def detect(path):
    image = cv2.imread(path).astype(np.float32)
    return session.run(None, {"x": ((image - PIXEL_MEAN) / PIXEL_STD).transpose(2, 0, 1)[None].astype(np.float32)})
""",
    [102.9801, 115.9465, 122.7717],
    [103.53, 116.28, 123.675],
    {
        "model.onnx": BARE,
        "train_net.py": """from detectron2.config import get_cfg
from detectron2.engine import DefaultTrainer

cfg = get_cfg()
cfg.MODEL.PIXEL_MEAN = [103.53, 116.28, 123.675]
cfg.MODEL.PIXEL_STD = [57.375, 57.12, 58.395]
cfg.SOLVER.MAX_ITER = 3000
trainer = DefaultTrainer(cfg)
trainer.train()
""",
    },
)
pair(
    "OpenMMLab's pipeline against serving",
    "train-serve-skew",
    {"deploy/infer.py": serving(HALF, HALF)},
    {"deploy/infer.py": serving(M, S)},
    {
        "deploy/model.onnx": BARE,
        "configs/train_resnet.py": """img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="RandomResizedCrop", size=224),
    dict(type="Normalize", **img_norm_cfg),
    dict(type="ImageToTensor", keys=["img"]),
]
""",
    },
)
swap(
    "ImageDataGenerator by 255, serving to -1 and 1",
    "train-serve-skew",
    "serving/predict.py",
    P.serve_image("    x = <<?>>"),
    "(x - 127.5) / 127.5",
    "x / 255.0",
    {
        "serving/model.onnx": BARE,
        "training/train.py": """from tensorflow.keras.preprocessing.image import ImageDataGenerator
from tensorflow.keras import layers, models

flow = ImageDataGenerator(rescale=1.0 / 255, horizontal_flip=True).flow_from_directory("data/train", target_size=(16, 16))
model = models.Sequential([layers.Conv2D(8, 3), layers.GlobalAveragePooling2D(), layers.Dense(4, activation="softmax")])
model.compile(optimizer="adam", loss="categorical_crossentropy")
model.fit(flow, epochs=3)
""",
    },
)
swap(
    "Flax trains on scaled rows, serving sends raw ones",
    "not-scaled",
    "server/main.py",
    """import numpy as np
import onnxruntime as ort
from litestar import Litestar, post

session = ort.InferenceSession("model.onnx")


@post("/predict")
async def predict(data: list[list[float]]) -> list[float]:
    rows = np.asarray(data, dtype=np.float32)
<<?>>    return session.run(None, {"x": rows})[0][:, 0].tolist()


app = Litestar([predict])
""",
    "",
    "    rows = ((rows - np.float32(<<MEAN>>)) / np.float32(<<STD>>)).astype(np.float32)\n",
    {
        "model.onnx": T,
        "common/constants.py": "FEATURE_MEAN = <<MEAN>>\nFEATURE_STD = <<STD>>\n",
        "training/train_flax.py": """import jax
import jax.numpy as jnp
import optax
from flax.training import train_state
from common.constants import FEATURE_MEAN, FEATURE_STD


def normalize(batch):
    return (batch["x"] - jnp.array(FEATURE_MEAN)) / jnp.array(FEATURE_STD)


@jax.jit
def train_step(state, batch):
    def loss_fn(params):
        return jnp.mean((state.apply_fn(params, normalize(batch)) - batch["y"]) ** 2)
    grads = jax.grad(loss_fn)(state.params)
    return state.apply_gradients(grads=grads)
""",
    },
)
swap(
    "a digit in LitServe's setup",
    "near-miss",
    "server.py",
    """import litserve as ls
import numpy as np
import onnxruntime as ort


class VisionAPI(ls.LitAPI):
    def setup(self, device):
        self.mean = np.array([0.485, <<?>>, 0.406], dtype=np.float32).reshape(3, 1, 1)
        self.std = np.array([0.229, 0.224, 0.225], dtype=np.float32).reshape(3, 1, 1)
        self.session = ort.InferenceSession("model.onnx")

    def predict(self, image):
        x = image.transpose(2, 0, 1).astype(np.float32) / 255
        return self.session.run(None, {"x": ((x - self.mean) / self.std)[None]})


if __name__ == "__main__":
    ls.LitServer(VisionAPI()).run(port=8000)
""",
    0.465,
    0.456,
    {"model.onnx": BARE},
)
swap(
    "a command line with statistics of another width",
    "wrong-width",
    "assets/normalization.toml",
    "[features]\nmean = <<?>>\n",
    f"{FIVE_M}\nstd = {FIVE_S}",
    f"{MEAN}\nstd = {STD}",
    {
        "assets/model.onnx": T,
        "cli.py": """import tomllib
from pathlib import Path
import numpy as np
import onnxruntime as ort
import typer

app = typer.Typer()
ASSETS = Path(__file__).parent / "assets"


@app.command()
def score(rows: Path) -> None:
    stats = tomllib.loads((ASSETS / "normalization.toml").read_text())["features"]
    x = np.loadtxt(rows, delimiter=",")
    x = (x - stats["mean"]) / stats["std"]
    print(ort.InferenceSession(ASSETS / "model.onnx").run(None, {"x": x.astype(np.float32)})[0])


if __name__ == "__main__":
    app()
""",
    },
)
swap(
    "a scaler from a web service, unpickled",
    "pickle-executed",
    "client/fetch.py",
    """import json
import pickle
import aiohttp


async def fetch(url):
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return <<?>>(await answer.read())
""",
    "pickle.loads",
    "json.loads",
    {},
)
swap(
    "Tornado scales each request by itself",
    "fit-in-serving",
    "server.py",
    """import json
import numpy as np
import onnxruntime as ort
import tornado.ioloop
import tornado.web
from sklearn import preprocessing

STATS = json.load(open("stats.json"))


class Predict(tornado.web.RequestHandler):
    def initialize(self):
        self.session = ort.InferenceSession("model.onnx")

    def post(self):
        rows = np.array(json.loads(self.request.body))
        rows = <<?>>
        self.write({"y": self.session.run(None, {"x": rows.astype(np.float32)})[0].tolist()})


tornado.web.Application([("/", Predict)]).listen(8888)
tornado.ioloop.IOLoop.current().start()
""",
    "preprocessing.StandardScaler().fit(rows).transform(rows)",
    "(rows - STATS['mean']) / np.array(STATS['std'])",
    {"model.onnx": T, "stats.json": STATS},
)
swap(
    "darts' Scaler on the series to forecast",
    "fit-on-test",
    "forecast.py",
    """import pandas as pd
from darts import TimeSeries
from darts.dataprocessing.transformers import Scaler
from darts.models import NBEATSModel

series = TimeSeries.from_dataframe(pd.read_csv("load.csv"), "time", "load")
train, val = series.split_before(0.8)
scaler = Scaler()
train_scaled = scaler.fit_transform(train)
val_scaled = scaler.<<?>>(val)
model = NBEATSModel(24, 12).fit(train_scaled, val_series=val_scaled)
""",
    "fit_transform",
    "transform",
    {},
)
swap(
    "a table of a README",
    "docs-differ",
    "README.md",
    "# Rows\n\n| | age | longitude | slope | pressure |\n|---|---|---|---|---|\n\nModel inputs are standardized with\n"
    "`mean = <<?>>`, `std = <<STD>>`.\n",
    OLD,
    MEAN,
    {
        "model.onnx": T,
        "training/fit.py": TORCH_TABLE,
        "serve.py": P.serve_table("    x = (x - np.array(<<MEAN>>)) / np.array(<<STD>>)"),
    },
)
swap(
    "a pipeline fitted for its report",
    "fit-on-test",
    "evaluate.py",
    """from sklearn.datasets import load_breast_cancer
from sklearn.metrics import classification_report
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
clf = Pipeline(steps=[("scale", StandardScaler()), ("svc", SVC())])
clf.fit(X_train, y_train)
<<?>>
print(classification_report(y_test, clf.predict(X_test)))
""",
    'clf.named_steps["scale"].fit(X_test)',
    'print(clf.named_steps["scale"].mean_)',
    {},
)
swap(
    "mean and std exchanged, in a dataclass of defaults",
    "suspicious-constants",
    "vision/config.py",
    """from __future__ import annotations

import dataclasses


@dataclasses.dataclass
class VisionConfig:
    size: int = 224
    interpolation: str = "bicubic"
    mean: list[float] = dataclasses.field(default_factory=lambda: <<?>>)
""",
    "[0.229, 0.224, 0.225])\n    std: list[float] = dataclasses.field(default_factory=lambda: [0.485, 0.456, 0.406]",
    "[0.485, 0.456, 0.406])\n    std: list[float] = dataclasses.field(default_factory=lambda: [0.229, 0.224, 0.225]",
    {},
)
pair(
    "an old scaler in the image that is deployed",
    "stale-copy",
    {"docker/rootfs/scaler.json": {"mean": OLD, "std": STD}},
    {"docker/rootfs/scaler.json": {"mean": MEAN, "std": STD}},
    {"artifacts/2024-05/scaler.json": {"mean": MEAN, "std": STD}, "Dockerfile": "FROM python:3.12\nCOPY rootfs /\n"},
)
swap(
    "scaled, then cut by rows",
    "fit-before-split",
    "lstm.py",
    """import numpy as np
import pandas as pd
from sklearn.preprocessing import MinMaxScaler

series = pd.read_csv("prices.csv")["close"].to_numpy().reshape(-1, 1)
scaler = MinMaxScaler()
size = int(len(series) * 0.8)
<<?>>
""",
    "scaled = scaler.fit_transform(series)\ntrain, test = scaled[:size], scaled[size:]",
    "train, test = series[:size], series[size:]\ntrain, test = scaler.fit_transform(train), scaler.transform(test)",
    {},
)
pair(
    "Lightning's data in training, OpenCV's blob in serving",
    "train-serve-skew unit-mismatch",
    {
        "serving/blob.py": """import cv2

net = cv2.dnn.readNetFromONNX("model.onnx")


def classify(path):
    net.setInput(cv2.dnn.blobFromImage(cv2.imread(path), 1 / 127.5, (224, 224), (127.5, 127.5, 127.5), True))
    return net.forward().argmax()
"""
    },
    {
        "serving/blob.py": """import cv2
import numpy as np

net = cv2.dnn.readNetFromONNX("model.onnx")


def classify(path):
    blob = cv2.dnn.blobFromImage(cv2.imread(path), 1 / 255, (224, 224), (123.675, 116.28, 103.53), swapRB=True)
    blob /= np.array(<<S>>, np.float32).reshape(1, 3, 1, 1)
    net.setInput(blob)
    return net.forward().argmax()
"""
    },
    {"serving/model.onnx": BARE, "training/datamodule.py": LIT, "training/train.py": LIT_MAIN},
)
