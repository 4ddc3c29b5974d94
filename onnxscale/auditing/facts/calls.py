"""Calls that make, apply or load a normalization, by the name of what is called: tables of names, and what they stand for."""

from __future__ import annotations

import numpy as np

from onnxscale.auditing.facts.base import Ref
from onnxscale.auditing.facts.values import Known, Made, Steps, Value
from onnxscale.step import Array

# calls that give the same values in another type, layout or size: the method on data, or the function on its first argument
SAME = {
    "astype", "float", "half", "double", "to", "type", "cuda", "cpu", "numpy", "detach", "clone", "copy", "contiguous", "transpose",
    "permute", "reshape", "view", "flatten", "ravel", "squeeze", "unsqueeze", "expand_dims", "asarray", "array", "ascontiguousarray",
    "tensor", "as_tensor", "from_numpy", "resize", "letterbox", "crop", "center_crop", "pad", "moveaxis", "rollaxis", "swapaxes",
    "float32", "float64", "float16", "stack", "concatenate", "cast", "convert_to_tensor", "convert", "cvtColor", "atleast_2d",
    "atleast_1d", "require", "clip", "to_numpy", "fillna", "thumbnail", "tile", "expand", "flip", "nan_to_num", "constant",
    "Variable", "alias", "device_put", "values", "list", "interpolate", "asanyarray", "ToPILImage", "asnumpy", "to_device",
    "device_get", "to_pil_image", "fromarray", "rot90",
}  # fmt: skip
# of constants too
CONSTANT = SAME | {"tuple", "FloatTensor", "Tensor", "DoubleTensor", "broadcast_to"}
PIXELS = {
    "imread",
    "imdecode",
    "open",
    "read",
    "frombuffer",
    "load_img",
    "decode_jpeg",
    "decode_image",
    "decode_png",
    "read_image",
}
FRAMES = {"imgmsg_to_cv2", "compressed_imgmsg_to_cv2", "to_ndarray", "enable_stream"}  # of ROS, PyAV
OWN = {"mean": "mean", "average": "mean", "nanmean": "mean", "median": "mean", "std": "std", "nanstd": "std", "var": "std",
       "min": "min", "amin": "min", "max": "max", "amax": "max", "ptp": "max", "reduce_mean": "mean", "reduce_std": "std"}  # fmt: skip
ARITHMETIC = {
    **dict.fromkeys(("divide", "true_divide", "div", "div_", "truediv"), "Div"), **dict.fromkeys(("subtract", "sub", "sub_"), "Sub"),
    **dict.fromkeys(("multiply", "mul", "mul_"), "Mul"), **dict.fromkeys(("add", "add_"), "Add"),
}  # fmt: skip
_HALF = (0.5, 0.5, 0.5)
CONSTANTS = {  # of timm.data and transformers.image_utils
    **dict.fromkeys(("IMAGENET_DEFAULT_MEAN", "IMAGENET_MEAN"), (0.485, 0.456, 0.406)),
    **dict.fromkeys(("IMAGENET_DEFAULT_STD", "IMAGENET_STD"), (0.229, 0.224, 0.225)),
    **dict.fromkeys(("IMAGENET_INCEPTION_MEAN", "IMAGENET_INCEPTION_STD", "IMAGENET_STANDARD_MEAN", "IMAGENET_STANDARD_STD"), _HALF),
    "OPENAI_CLIP_MEAN": (0.48145466, 0.4578275, 0.40821073), "OPENAI_CLIP_STD": (0.26862954, 0.26130258, 0.27577711),
}  # fmt: skip
OWN_SCALERS = {"scale", "minmax_scale", "robust_scale", "maxabs_scale", "zscore"}
LOADERS = {
    "pickle.load", "pickle.loads", "cPickle.load", "cPickle.loads", "joblib.load", "dill.load", "dill.loads", "cloudpickle.load",
    "cloudpickle.loads", "pd.read_pickle", "pandas.read_pickle", "pickle.Unpickler", "jsonpickle.decode",
    "sklearn.externals.joblib.load", "mlflow.sklearn.load_model", "_pickle.load", "_pickle.loads",
}  # fmt: skip
SESSIONS = {
    "InferenceSession",
    "readNetFromONNX",
    "readNet",
    "compile_model",
    "read_model",
    "ORTModel",
    "load_onnx",
    "OnnxRuntime",
}
WRITERS = {
    "dump", "save", "export", "to_csv", "to_json", "savez", "savez_compressed", "write", "write_text", "write_bytes", "to_parquet",
    "save_model", "savetxt", "convert_sklearn", "to_onnx", "save_pretrained", "to_pickle", "export_onnx", "bake",
}  # fmt: skip
PROCESSORS = ("ImageProcessor", "ImageProcessorFast", "FeatureExtractor", "Processor", "ImageProcessorPil")
SPLITS = {"train_test_split", "random_split", "randomSplit"}
TEN = Known(np.array([0.485, 0.456, 0.406])), Known(np.array([0.229, 0.224, 0.225]))


def operand(value: Value, role: str) -> Array | Ref:
    """A mean or a std given to a call: its numbers, or what it is called."""
    if isinstance(value, Known):
        values = value.values.reshape([d for d in value.values.shape if d != 1] or ())
        return values if values.ndim <= 1 else values.ravel()
    return value if isinstance(value, Ref) else Ref(role, role)


def rescale(by: float) -> Steps:
    return (("Div", np.asarray(by)),)


def normalize(given: dict[str, Value], text: str, after: bool) -> Made | None:
    """torchvision's and albumentations' Normalize(mean, std): mean and std in 0 to 1. after: pixels were divided by 255 first,
    which albumentations does itself (max_pixel_value)."""
    pixels = given.get("max_pixel_value")
    own = text.partition("(")[0].partition(".")[0] in ("A", "albumentations", "alb") or pixels is not None
    mean, std = given.get("mean", given.get("0")), given.get("std", given.get("1"))
    if own and mean is None:
        mean, std = TEN
    if mean is None and std is None:
        return None
    m, s = operand(mean, "mean"), operand(std, "std")
    steps: Steps = (("Sub", m), ("Div", s))
    most = float(pixels.values.ravel()[0]) if isinstance(pixels, Known) and pixels.values.size else 255.0
    before = rescale(most) if (own and most != 1) or (after and not own) else ()
    written = tuple(None if isinstance(v, Ref) else v for v in (m, s))
    return Made(
        "Normalize", (*before, *steps), text, unit=255.0 if before else 0.0, whole=own, written=(written[0], written[1])
    )


_CAFFE = (("Sub", np.array([103.939, 116.779, 123.68])), ("Div", np.ones(3)))  # of BGR
_TORCH = (
    ("Div", np.asarray(255.0)),
    ("Sub", np.array([0.485, 0.456, 0.406])),
    ("Div", np.array([0.229, 0.224, 0.225])),
)
_TF = (("Div", np.asarray(127.5)), ("Sub", np.asarray(1.0)))
_MODES: tuple[tuple[tuple[str, ...], Steps], ...] = (  # the mode of keras.applications.MODEL.preprocess_input
    (("resnet_v2", "inception_v3", "inception_resnet_v2", "xception", "mobilenet", "mobilenet_v2", "nasnet"), _TF),
    (("resnet50", "resnet", "vgg16", "vgg19"), _CAFFE),
    (("densenet",), _TORCH),
    (("efficientnet", "efficientnet_v2", "convnext", "mobilenet_v3", "regnet"), ()),
)


def keras_mode(module: str) -> Steps | None:
    """What preprocess_input of a module of keras.applications does to pixels; None where the module is not known."""
    last = module.rpartition(".")[2]
    return next((steps for names, steps in _MODES if last in names), None) if "applications" in module else None


def keras_layer(last: str, given: dict[str, Value]) -> Steps | None:
    """keras.layers.Normalization(axis, mean, variance) and Rescaling(scale, offset), with constants; None for any other."""
    if last == "Normalization":
        mean, variance = given.get("mean", given.get("1")), given.get("variance", given.get("2"))
        if isinstance(mean, Known) and isinstance(variance, Known) and (variance.values > 0).all():
            return ("Sub", mean.values.ravel()), ("Div", np.sqrt(variance.values.ravel()))
    if last == "ImageDataGenerator" and isinstance(given.get("rescale"), Known):
        return (("Mul", operand(given["rescale"], "std")),)
    if last == "Rescaling":
        scale, offset = given.get("scale", given.get("0")), given.get("offset", given.get("1"))
        if isinstance(scale, Known) and scale.values.size == 1:
            added: Steps = (
                (("Add", offset.values.ravel()),) if isinstance(offset, Known) and offset.values.any() else ()
            )
            return ("Mul", scale.values.reshape(())), *added
    return None


def intensity(last: str, given: dict[str, Value]) -> Steps | None:
    """MONAI's NormalizeIntensity(subtrahend, divisor) and ScaleIntensityRange(a_min, a_max, b_min, b_max), with constants."""
    last = last.removesuffix("d").removesuffix("Dict")
    if last == "NormalizeIntensity":
        by, unit = given.get("subtrahend"), given.get("divisor")
        known = isinstance(by, Known) and isinstance(unit, Known)
        return (("Sub", operand(by, "mean")), ("Div", operand(unit, "std"))) if known else None
    if last != "ScaleIntensityRange":
        return None
    low, high, to, until = (given.get(k) for k in ("a_min", "a_max", "b_min", "b_max"))
    if not (isinstance(low, Known) and isinstance(high, Known) and isinstance(to, Known) and isinstance(until, Known)):
        return None
    span = (until.values - to.values) / (high.values - low.values)
    return (("Sub", low.values.ravel()), ("Mul", span.ravel()), ("Add", to.values.ravel()))


def timm(given: dict[str, Value], more: bool) -> Steps:
    """timm.data.create_transform(mean, std): those of ImageNet where nothing is said. more: arguments that are not written."""
    mean, std = given.get("mean"), given.get("std")
    if mean is None and std is None and not more:
        mean, std = TEN
    return (*rescale(255.0), ("Sub", operand(mean, "mean")), ("Div", operand(std, "std")))


def blob(given: dict[str, Value]) -> Steps | None:
    """cv2.dnn.blobFromImage(image, scalefactor, size, mean): (x - mean) * scalefactor."""
    factor, mean = given.get("scalefactor", given.get("1")), given.get("mean", given.get("3"))
    steps: Steps = ()
    if isinstance(mean, Known) and mean.values.any():
        steps = (("Sub", mean.values.ravel()),)
    if isinstance(factor, Known) and factor.values.size == 1 and float(factor.values.ravel()[0]) not in (0.0, 1.0):
        steps = (*steps, ("Mul", factor.values.reshape(())))
    return steps or None


def blob_moments(steps: Steps) -> tuple[Array | None, Array | None]:
    """The mean of a blob's three channels and its one factor, in the unit of what it gives; None where it has no mean."""
    op, mean = steps[0]
    if op != "Sub" or isinstance(mean, Ref) or mean.size != 3:
        return None, None
    factor = next((float(v.ravel()[0]) for op, v in steps if op == "Mul" and not isinstance(v, Ref)), 1.0)
    if abs(factor * 255 - 1) < 0.01:
        return mean * factor, np.full(3, 57.6 * factor)
    return mean, np.full(3, 57.6)


def values(given: dict[str, Value]) -> Steps | None:
    """mean_values and std_values of RKNN, mean_values and scale_values of OpenVINO: (x - mean) / std."""
    steps: Steps = ()
    for op, role, keys in (("Sub", "mean", ("mean_values",)), ("Div", "std", ("std_values", "scale_values"))):
        found = next((given[k] for k in keys if k in given), None)
        if isinstance(found, Known):
            numbers = found.values.ravel()
            if (numbers != (0 if op == "Sub" else 1)).any():
                steps = (*steps, (op, numbers))
        elif found is not None:
            steps = (*steps, (op, operand(found, role)))
    return steps or None
