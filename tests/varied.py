"""Small repositories as people write them, each with what an audit must find in it, or nothing."""

from __future__ import annotations

from tests import planted as P

CASES: dict[str, tuple[set[str], P.Files]] = {}


def case(name: str, rules: set[str], **files: P.Content) -> None:
    """rules: all that must be found, notes left out; the empty set for a clean repository."""
    CASES[name] = (rules, {k.replace("__", "/").replace("_dot_", "."): v for k, v in files.items()})


B, T, I, BT = P.baked("image"), P.tabular(), P.image(), P.baked("table")
b01 = P.stored(I, {"mean": P.M, "std": P.S, "axis": 1})
flask = """from flask import Flask, request, jsonify
import onnxruntime as rt, numpy as np, os
{imp}
app = Flask(__name__)
BASE = os.path.dirname(os.path.abspath(__file__))
sess = rt.InferenceSession(os.path.join(BASE, "models", "model.onnx"), providers=["CPUExecutionProvider"])
input_name = sess.get_inputs()[0].name
{setup}

@app.route("/predict", methods=["POST"])
def predict():
    payload = request.get_json()
    features = np.array(payload["features"], dtype=np.float32).reshape(1, -1)
    {body}
    out = sess.run(None, {{input_name: features.astype(np.float32)}})
    return jsonify(prediction=out[0].tolist())
"""
case(
    "flask baked scaler",
    {"scaled-twice"},
    app_dot_py=flask.format(
        imp="import json",
        setup="with open('stats.json') as fh:\n    params = json.load(fh)\nmu, sigma = np.array(params['mean']), np.array(params['std'])",
        body="features = (features - mu) / sigma",
    ),
    models__model_dot_onnx=BT,
    stats_dot_json={"mean": P.MEAN, "std": P.STD},
)
case(
    "flask bare scaler clean",
    set(),
    app_dot_py=flask.format(
        imp="import json",
        setup="with open('stats.json') as fh:\n    params = json.load(fh)\nmu, sigma = np.array(params['mean']), np.array(params['std'])",
        body="features = (features - mu) / sigma",
    ),
    models__model_dot_onnx=T,
    stats_dot_json={"mean": P.MEAN, "std": P.STD},
)
case(
    "flask bare unscaled",
    {"not-scaled"},
    app_dot_py=flask.format(imp="", setup="", body="pass"),
    models__model_dot_onnx=T,
    train_dot_py=P.TRAIN_TABLE,
)
case(
    "flask baked clean",
    set(),
    app_dot_py=flask.format(imp="", setup="", body="pass"),
    models__model_dot_onnx=BT,
    train_dot_py=P.TRAIN_TABLE,
)
case(
    "flask minmax other",
    {"train-serve-skew"},
    app_dot_py=flask.format(
        imp="",
        setup="lo = np.array([0., 1, 2, 3])\nhi = np.array([4., 5, 6, 7])",
        body="features = (features - lo) / (hi - lo)",
    ),
    models__model_dot_onnx=T,
    train_dot_py="""import numpy as np, torch
lo = np.array([0., 1, 2, 3])
hi = np.array([4., 5, 6, 8])
X = (np.load("x.npy") - lo) / (hi - lo)
for epoch in range(3):
    loss(model(torch.tensor(X))).backward()
""",
)
keras_train = """import tensorflow as tf
(x_train, y_train), (x_test, y_test) = tf.keras.datasets.mnist.load_data()
x_train = x_train.astype("float32") / 255.0
x_test = x_test.astype("float32") / 255.0
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
model.fit(x_train, y_train, epochs=5)
"""
case(
    "keras 255 missing", {"not-scaled"}, train_dot_py=keras_train, predict_dot_py=P.serve_image(P.RAW), model_dot_onnx=I
)
case(
    "keras 255 clean",
    set(),
    train_dot_py=keras_train,
    predict_dot_py=P.serve_image("    x = x / 255."),
    model_dot_onnx=I,
)
case(
    "timm consts clean",
    set(),
    train_dot_py="""from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torchvision import transforms as T
tf = T.Compose([T.RandomResizedCrop(224), T.ToTensor(), T.Normalize(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)])
""",
    serve_dot_py=P.serve_image(P.SCALE),
    model_dot_onnx=I,
)
case(
    "timm inception vs imagenet",
    {"train-serve-skew"},
    train_dot_py="""from timm.data import IMAGENET_INCEPTION_MEAN, IMAGENET_INCEPTION_STD
from torchvision import transforms as T
tf = T.Compose([T.RandomResizedCrop(224), T.ToTensor(), T.Normalize(IMAGENET_INCEPTION_MEAN, IMAGENET_INCEPTION_STD)])
""",
    serve_dot_py=P.serve_image(P.SCALE),
    model_dot_onnx=I,
)
shared = "import numpy as np\nMEAN=np.array([0.485, 0.456, 0.406])\nSTD=np.array([0.229, 0.224, 0.225])\ndef preprocess(img):\n    x = np.asarray(img, dtype=np.float32) / 255.0\n    return (x - MEAN) / STD\n"
case(
    "shared preprocess clean",
    set(),
    src__preprocessing_dot_py=shared,
    src__train_dot_py="from src.preprocessing import preprocess\nimport torch\nfor img, y in data:\n    loss(net(torch.tensor(preprocess(img))), y).backward()\n",
    src__serve_dot_py="import onnxruntime\nfrom src.preprocessing import preprocess\ns = onnxruntime.InferenceSession('models/net.onnx')\ndef infer(img):\n    return s.run(['y'], {'x': preprocess(img)})\n",
    models__net_dot_onnx=I,
)
case(
    "shared preprocess baked",
    {"scaled-twice"},
    src__preprocessing_dot_py=shared,
    src__train_dot_py="from src.preprocessing import preprocess\nimport torch\nfor img, y in data:\n    loss(net(torch.tensor(preprocess(img))), y).backward()\n",
    src__serve_dot_py="import onnxruntime\nfrom src.preprocessing import preprocess\ns = onnxruntime.InferenceSession('models/net.onnx')\ndef infer(img):\n    return s.run(['y'], {'x': preprocess(img)})\n",
    models__net_dot_onnx=B,
)
case(
    "shared preprocess forgotten",
    {"not-scaled"},
    src__preprocessing_dot_py=shared,
    src__train_dot_py="from src.preprocessing import preprocess\nimport torch\nfor img, y in data:\n    loss(net(torch.tensor(preprocess(img))), y).backward()\n",
    src__serve_dot_py="import onnxruntime\ns = onnxruntime.InferenceSession('models/net.onnx')\ndef infer(img):\n    return s.run(['y'], {'x': img})\n",
    models__net_dot_onnx=I,
)
case(
    "argparse path, baked, scale",
    {"scaled-twice"},
    infer_dot_py="import argparse, onnxruntime as ort, numpy as np\nfrom PIL import Image\np = argparse.ArgumentParser()\np.add_argument('--model', default='weights/resnet.onnx')\na = p.parse_args()\nsess = ort.InferenceSession(a.model)\nimg = np.array(Image.open('x.jpg').resize((16, 16))).astype(np.float32)\nimg /= 255.\nimg = (img - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]\nprint(sess.run(None, {'x': img.transpose(2, 0, 1)[None]}))\n",
    weights__resnet_dot_onnx=B,
)
case(
    "notebook trains, exports, feeds raw",
    {"not-scaled"},
    nb_dot_ipynb=P.notebook(
        "from sklearn.preprocessing import StandardScaler\nfrom sklearn.model_selection import train_test_split\nfrom sklearn.neural_network import MLPClassifier",
        "X_train, X_test, y_train, y_test = train_test_split(X, y)\nscaler = StandardScaler().fit(X_train)\nX_train_s = scaler.transform(X_train)\nX_test_s = scaler.transform(X_test)\nclf = MLPClassifier().fit(X_train_s, y_train)",
        "import onnxruntime as ort\nsess = ort.InferenceSession('clf.onnx')\npred = sess.run(None, {'x': X_test.astype('float32')})[0]",
    ),
    clf_dot_onnx=T,
)
case(
    "notebook trains, exports, clean",
    set(),
    nb_dot_ipynb=P.notebook(
        "from sklearn.preprocessing import StandardScaler\nfrom sklearn.model_selection import train_test_split\nfrom sklearn.neural_network import MLPClassifier",
        "X_train, X_test, y_train, y_test = train_test_split(X, y)\nscaler = StandardScaler().fit(X_train)\nX_train_s = scaler.transform(X_train)\nX_test_s = scaler.transform(X_test)\nclf = MLPClassifier().fit(X_train_s, y_train)",
        "import onnxruntime as ort\nsess = ort.InferenceSession('clf.onnx')\npred = sess.run(None, {'x': X_test_s.astype('float32')})[0]",
    ),
    clf_dot_onnx=T,
)
case(
    "nested yaml config differ",
    {"train-serve-skew"},
    config_dot_yaml="model: resnet\npreprocessing:\n  mean: [0.5, 0.5, 0.5]\n  std: [0.5, 0.5, 0.5]\n",
    serve_dot_py=P.serve_image(P.SCALE),
    model_dot_onnx=I,
)
case(
    "nested yaml read clean",
    set(),
    config_dot_yaml="model: resnet\npreprocessing:\n  mean: [0.485, 0.456, 0.406]\n  std: [0.229, 0.224, 0.225]\n",
    serve_dot_py=P.serve_image(
        "    x = (x / 255 - cfg['preprocessing']['mean']) / cfg['preprocessing']['std']",
        "import yaml\ncfg = yaml.safe_load(open('config.yaml'))",
    ),
    model_dot_onnx=I,
    train_dot_py=P.train_image(),
)
case(
    "scaler.joblib vs stats.json",
    {"stale-copy"},
    model_dot_onnx=T,
    scaler_dot_joblib=P.dumped(P.fitted()),
    stats_dot_json=P.NEW,
)
case("baked and other stats", {"stale-copy"}, model_dot_onnx=BT, stats_dot_json=P.NEW)
case("baked with same stats", set(), model_dot_onnx=BT, stats_dot_json={"mean": P.MEAN, "std": P.STD})
case("train other than baked", {"train-serve-skew"}, model_dot_onnx=B, train_dot_py=P.train_image([0.5] * 3, [0.5] * 3))
case(
    "two models with own scalers clean",
    set(),
    models__a_dot_onnx=P.tabular(4),
    models__b_dot_onnx=P.tabular(6),
    models__a_scaler_dot_json={"mean": P.MEAN, "std": P.STD},
    models__b_scaler_dot_json={"mean": [1.0] * 6, "std": [2.0, 3, 4, 5, 6, 7]},
)
case(
    "two models scalers swapped",
    {"wrong-width"},
    models__a_dot_onnx=P.tabular(4),
    models__b_dot_onnx=P.tabular(6),
    models__b_scaler_dot_json={"mean": P.MEAN, "std": P.STD},
    models__a_scaler_dot_json={"mean": [1.0] * 6, "std": [2.0, 3, 4, 5, 6, 7]},
)
case(
    "sklearn scale() in serving",
    {"fit-in-serving"},
    serve_dot_py=P.serve_table("    x = scale(x)", "from sklearn.preprocessing import scale"),
    train_dot_py=P.TRAIN_TABLE,
    model_dot_onnx=T,
)
case(
    "opencv both bgr consistent clean",
    set(),
    train_dot_py="import cv2, torch\nimport numpy as np\nM = np.array([0.406, 0.456, 0.485])\nS = np.array([0.225, 0.224, 0.229])\nclass DS(torch.utils.data.Dataset):\n    def __getitem__(self, i):\n        x = cv2.imread(self.files[i]).astype('float32') / 255\n        return (x - M) / S\nloss.backward()\n",
    serve_dot_py=P.CV.format("", " / 255", [0.406, 0.456, 0.485], [0.225, 0.224, 0.229]),
    model_dot_onnx=I,
)
case("0-1 baked fed 255", {"unit-mismatch"}, serve_dot_py=P.serve_image(P.RAW), model_dot_onnx=b01)
case(
    "mo script baked",
    {"scaled-twice"},
    convert_dot_sh="mo --input_model model.onnx --mean_values [123.675,116.28,103.53] --scale_values [58.395,57.12,57.375] --data_type FP16\n",
    model_dot_onnx=B,
)
case(
    "mo script clean",
    set(),
    convert_dot_sh="mo --input_model model.onnx --mean_values [123.675,116.28,103.53] --scale_values [58.395,57.12,57.375] --data_type FP16\n",
    model_dot_onnx=I,
    train_dot_py=P.train_image(),
)
case(
    "triton",
    {"scaled-twice"},
    repo__net__config_dot_pbtxt='name: "net"\nparameters: { key: "mean" value: { string_value: "123.675, 116.28, 103.53" } }\nparameters: { key: "std" value: { string_value: "58.395,57.12,57.375" } }\n',
    repo__net__1__model_dot_onnx=B,
)
case(
    "export wrapper clean",
    set(),
    model_dot_onnx=P.image(scaled=True),
    export_dot_py="import torch\nclass Wrapped(torch.nn.Module):\n    def __init__(self, net):\n        super().__init__()\n        self.net = net\n        self.mean = torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1)\n        self.std = torch.tensor([58.395, 57.12, 57.375]).view(1, 3, 1, 1)\n    def forward(self, x):\n        return self.net((x - self.mean) / self.std)\ntorch.onnx.export(Wrapped(net), dummy, 'model.onnx')\n",
    serve_dot_py=P.serve_image(P.RAW),
    train_dot_py=P.train_image(),
)
case(
    "compare script clean",
    set(),
    model_dot_onnx=I,
    model_dot_baked_dot_onnx=B,
    check_dot_py="import onnxruntime as ort, numpy as np\na = ort.InferenceSession('model.onnx')\nb = ort.InferenceSession('model.baked.onnx')\nx = np.random.rand(1, 3, 16, 16).astype('f') * 255\nmean = np.array([123.675, 116.28, 103.53]).reshape(1, 3, 1, 1)\nstd = np.array([58.395, 57.12, 57.375]).reshape(1, 3, 1, 1)\ny1 = a.run(None, {'x': ((x - mean) / std).astype('f')})\ny2 = b.run(None, {'x': x})\nassert np.allclose(y1, y2)\n",
)
case(
    "target scaler inverse clean",
    set(),
    model_dot_onnx=T,
    serve_dot_py=P.serve_table(
        f"    x = (x - np.array({P.MEAN})) / np.array({P.STD})\n    def back(y):\n        return y * 3.0 + 7.0"
    ),
    y_scaler_dot_json={"mean": [7.0, 1, 2], "std": [3.0, 1, 1]},
    stats_dot_json={"mean": P.MEAN, "std": P.STD},
)
case(
    "random forest no scaling clean",
    set(),
    model_dot_onnx=T,
    train_dot_py="from sklearn.ensemble import RandomForestClassifier\nclf = RandomForestClassifier().fit(X, y)\n",
    serve_dot_py=P.serve_table("    pass"),
)
case(
    "kaggle fit on both",
    {"fit-on-test"},
    train_dot_py="import pandas as pd\nfrom sklearn.preprocessing import StandardScaler\ntrain = pd.read_csv('train.csv'); test = pd.read_csv('test.csv')\nsc = StandardScaler()\ncols = ['a', 'b']\ntrain[cols] = sc.fit_transform(train[cols])\ntest[cols] = sc.fit_transform(test[cols])\n",
)
case(
    "kaggle clean",
    set(),
    train_dot_py="import pandas as pd\nfrom sklearn.preprocessing import StandardScaler\ntrain = pd.read_csv('train.csv'); test = pd.read_csv('test.csv')\nsc = StandardScaler()\ncols = ['a', 'b']\ntrain[cols] = sc.fit_transform(train[cols])\ntest[cols] = sc.transform(test[cols])\n",
)
case(
    "async fastapi fits",
    {"fit-in-serving"},
    main_dot_py="from fastapi import FastAPI\nfrom sklearn.preprocessing import MinMaxScaler\nimport numpy as np, onnxruntime as ort\napp = FastAPI()\nsess = ort.InferenceSession('model.onnx')\nscaler = MinMaxScaler()\n@app.post('/infer')\nasync def infer(req: dict):\n    x = scaler.fit_transform(np.array(req['rows']))\n    return sess.run(None, {'x': x.astype('float32')})[0].tolist()\n",
    model_dot_onnx=T,
)
case(
    "swapped digits near miss tuple",
    {"near-miss"},
    data_dot_py="import torchvision.transforms.v2 as v2\nt = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize((0.485, 0.465, 0.406), (0.229, 0.224, 0.225))])\n",
)
case(
    "cifar clean",
    set(),
    train_dot_py=P.train_image([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
    serve_dot_py=P.serve_image(P.scale([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010])),
    model_dot_onnx=I,
)
case(
    "mnist skew",
    {"train-serve-skew"},
    train_dot_py=P.train_image([0.1307], [0.3081]),
    serve_dot_py=P.serve_image("    x = (x / 255 - 0.5) / 0.5"),
    model_dot_onnx=I,
)
case(
    "own constants clean",
    set(),
    train_dot_py=P.train_image([0.31, 0.22, 0.17], [0.11, 0.12, 0.13]),
    serve_dot_py=P.serve_image(P.scale([0.31, 0.22, 0.17], [0.11, 0.12, 0.13])),
    model_dot_onnx=I,
)
case(
    "pixel consts in 255 clean",
    set(),
    train_dot_py=P.train_image(),
    serve_dot_py=P.CV.format(P.RGB, "", P.M255, P.S255),
    model_dot_onnx=I,
)
case(
    "readme 1-1 clean",
    set(),
    README_dot_md="Normalize with mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225].\n",
    train_dot_py=P.train_image(),
)
case(
    "joblib.load",
    {"pickle-executed"},
    serve_dot_py="import joblib\nscaler = joblib.load('scaler.joblib')\ndef predict(x):\n    return scaler.transform(x)\n",
    scaler_dot_joblib=P.dumped(P.fitted()),
)
case(
    "augment constants clean",
    set(),
    train_dot_py=P.train_image()
    + "\ninv = transforms.Normalize(mean=[-m / s for m, s in zip([0.485], [0.229])], std=[1 / 0.229])\n",
    serve_dot_py=P.serve_image(P.SCALE),
    model_dot_onnx=I,
)
case(
    "0-1 baked fed /255 clean",
    set(),
    serve_dot_py=P.serve_image("    x = x / 255"),
    model_dot_onnx=b01,
    train_dot_py=P.train_image(),
)
case(
    "baked folded scale",
    {"scaled-twice"},
    serve_dot_py=P.serve_table(f"    x -= np.array({P.MEAN})\n    x /= np.array({P.STD})"),
    model_dot_onnx=P.stored(T, {"mean": P.MEAN, "std": P.STD}, form="auto"),
)

CHAIN = """import onnxruntime
import numpy as np
from preprocessing import preprocess
s = onnxruntime.InferenceSession('net.onnx')


def infer(img):
    x = preprocess(img)
    {}
    return s.run(['y'], {{'x': x}})
"""
case("scaled by an imported function, then again", {"scaled-twice"}, preprocessing_dot_py=shared, net_dot_onnx=I,
     serve_dot_py=CHAIN.format(f"x = (x - np.array({P.M255})) / np.array({P.S255})"))  # fmt: skip
case("divided by 255 after an imported function did", {"scaled-twice"}, preprocessing_dot_py=shared, net_dot_onnx=I,
     serve_dot_py=CHAIN.format("x = x / 255"))  # fmt: skip
case(
    "scaled by an imported function only",
    set(),
    preprocessing_dot_py=shared,
    net_dot_onnx=I,
    serve_dot_py=CHAIN.format("x = x[None]"),
)
case("a file of no role beside a baked model", {"scaled-twice"}, pipeline_dot_py=shared, net_dot_onnx=B)
case("a file of training beside a baked model", set(), pipeline_dot_py=shared, net_dot_onnx=B,
     train_dot_py="from pipeline import preprocess\nloss(preprocess(x)).backward()\n")  # fmt: skip
case(
    "two folders of statistics",
    {"stale-copy"},
    north__stats_dot_json={"mean": P.MEAN, "std": P.STD},
    south__stats_dot_json=P.NEW,
)
case("two runs", set(), runs__run1__stats_dot_json={"mean": P.MEAN, "std": P.STD}, runs__run2__stats_dot_json=P.NEW)
case("two teams", set(), cats__stats_dot_json={"mean": P.MEAN, "std": P.STD}, dogs__stats_dot_json=P.NEW,
     cats__train_dot_py=P.TRAIN_TABLE, dogs__train_dot_py=P.TRAIN_TABLE)  # fmt: skip
