"""Hostile scaler files: pickles that run code or take the machine down where they are unpickled, and wrappers to hide them in.

`python -m tests.hostile FOLDER` reads every file of a folder under an audit hook and prints what happened, as JSON.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import struct
import sys
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

TOUCH = "touch owned_by_a_pickle"
STOP = b"."


def call(module: str, name: str, *arguments: object) -> bytes:
    """Protocol 0 GLOBAL and REDUCE: what `__reduce__` writes."""
    return f"c{module}\n{name}\n".encode() + pickle.dumps(arguments, protocol=0)[:-1] + b"R."


def stacked(module: str, name: str, *arguments: object) -> bytes:
    """Protocol 4: STACK_GLOBAL and REDUCE."""

    def text(value: str) -> bytes:
        return b"\x8c" + bytes([len(value)]) + value.encode()

    return b"\x80\x04" + text(module) + text(name) + b"\x93" + pickle.dumps(arguments, protocol=4)[2:-1] + b"R."


CODE: dict[str, bytes] = {
    "os.system": call("os", "system", TOUCH),
    "posix.system": call("posix", "system", TOUCH),
    "nt.system": stacked("nt", "system", TOUCH),
    "subprocess.Popen": call("subprocess", "Popen", ["touch", "owned"]),
    "subprocess.check_output": stacked("subprocess", "check_output", ["touch", "owned"]),
    "builtins.eval": call("builtins", "eval", "__import__('os').system('true')"),
    "builtins.exec": stacked("builtins", "exec", "open('owned', 'w')"),
    "py2 eval": call("__builtin__", "eval", "1"),
    "builtins.getattr": call("builtins", "getattr", "os", "system"),
    "builtins.__import__": call("builtins", "__import__", "antigravity"),
    "builtins.open": call("builtins", "open", "owned", "w"),
    "builtins.compile": call("builtins", "compile", "1", "a", "eval"),
    "numpy.load": call("numpy", "load", "evil.npy", None, True),
    "numpy.lib.npyio.load": stacked("numpy.lib.npyio", "load", "evil.npy"),
    "numpy runstring": call("numpy.testing._private.utils", "runstring", "import os", {}),
    "numpy.f2py": stacked("numpy.f2py.crackfortran", "getlincoef", "__import__('os')", {}),
    "numpy.fromfile": call("numpy", "fromfile", "/etc/passwd"),
    "joblib.load": call("joblib", "load", "evil.joblib"),
    "joblib.numpy_pickle.load": stacked("joblib.numpy_pickle", "load", "evil.joblib"),
    "runpy": call("runpy", "run_path", "evil.py"),
    "pip.main": call("pip", "main", ["install", "evil"]),
    "torch.load": stacked("torch", "load", "evil.pt"),
    "pandas.read_pickle": call("pandas", "read_pickle", "evil.pkl"),
    "importlib": call("importlib", "import_module", "evil"),
    "pickle.loads": call("pickle", "loads", b"cos\nsystem\n."),
    "pdb": call("pdb", "run", "1"),
    "ctypes": stacked("ctypes", "CDLL", "evil.so"),
    "socket": call("socket", "create_connection", ("127.0.0.1", 9)),
    "urllib": call("urllib.request", "urlopen", "http://127.0.0.1:9"),
    "webbrowser": call("webbrowser", "open", "http://127.0.0.1:9"),
    "operator.attrgetter": call("operator", "attrgetter", "system"),
    "functools.partial": stacked("functools", "partial", "os"),
    "types.FunctionType": call("types", "FunctionType", "code", {}),
    "timeit": call("timeit", "timeit", "1"),
    "code.interact": call("code", "interact"),
    "copyreg hidden": call("copyreg", "_reconstructor", 1, 2, 3),
    "INST": b"(S'true'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'true'\no.",
    "NEWOBJ": b"\x80\x02csubprocess\nPopen\n(]q\x00X\x04\x00\x00\x00truet\x81.",
    "NEWOBJ_EX": b"\x80\x04csubprocess\nPopen\n)}\x92.",
    "NEWOBJ through copyreg": b"\x80\x02ccopyreg\n__newobj__\ncsubprocess\nPopen\n\x85R.",
    "reconstructor of a class": b"\x80\x02ccopyreg\n_reconstructor\n(csubprocess\nPopen\ncbuiltins\nobject\nNtR.",
    "reconstruct of a class": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(csubprocess\nPopen\nK\x00\x85C\x01btR.",
    "called result": call("os", "system", TOUCH)[:-1] + b")R.",
    "BUILD on a name": b"\x80\x02cos\nenviron\n}b.",
    "dotted STACK_GLOBAL": stacked("sklearn.utils", "os.system", TOUCH),
    "dotted GLOBAL": b"csklearn\nutils.os.system\n(S'true'\ntR.",
    "name with spaces": b"cos system\nx y\n.",
    "name without module": b"c\n\n.",
    "persistent id": b"Pevil\n.",
    "binary persistent id": b"\x80\x02K\x01Q.",
    "EXT1": b"\x80\x02\x82\x01.",
    "EXT2": b"\x80\x02\x83\x01\x00.",
    "EXT4": b"\x80\x02\x84\x01\x00\x00\x00.",
    "out of band buffer": b"\x80\x05\x97.",
    "read-only buffer": b"\x80\x05\x97\x98.",
    "memmap": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nmemmap\nK\x00\x85C\x01btR.",
    "old joblib": b"\x80\x02cjoblib.numpy_pickle\nNDArrayWrapper\n)\x81}b.",
}
STRAIN: dict[str, bytes] = {
    "MARK flood": b"\x80\x02" + b"(" * 600_000 + STOP,
    "NONE flood": b"\x80\x02" + b"N" * 600_000 + STOP,
    "deep lists": b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + STOP,
    "deep tuples": b"\x80\x02)" + b"\x85" * 200_000 + STOP,
    "deep tuple as a key": b"\x80\x02})" + b"\x85" * 200_000 + b"Ns.",
    "deep attributes": b"\x80\x02csklearn.preprocessing._data\nStandardScaler\n)\x81}X\x05\x00\x00\x00mean_)"
    + b"\x85" * 100_000
    + b"sb.",
    "list laughs": b"\x80\x02]q\x00" + b"".join(
        b"]q%c(" % (i + 1) + b"h%c" % i * 10 + b"e0h%c" % (i + 1) for i in range(60)
    ) + STOP,
    "laughs as a mean": b"\x80\x02csklearn.preprocessing._data\nStandardScaler\n)\x81}(X\x06\x00\x00\x00scale_K\x01"
    b"X\x05\x00\x00\x00mean_]q\x00K\x01a0h\x00"
    + b"".join(b"q%c0]q%c(" % (i, i + 1) + b"h%c" % i * 10 + b"eh%c0" % (i + 1) for i in range(20)) + b"ub.",
    "cycle": b"\x80\x02]q\x00h\x00a.",
    "cycle of estimators": b"\x80\x02csklearn.pipeline\nPipeline\n)\x81q\x00}X\x05\x00\x00\x00steps]X\x01\x00\x00\x00ah\x00\x86asb.",
    "memo index": b"\x80\x02Nr\xff\xff\xff\xffj\xff\xff\xff\xff0.",
    "missing memo": b"\x80\x02h\x63.",
    "LONG4": b"\x80\x02\x8b" + struct.pack("<i", 400_000) + b"\x7f" * 400_000 + STOP,
    "LONG4 beyond the end": b"\x80\x02\x8b\xff\xff\xff\x7f" + STOP,
    "LONG4 negative": b"\x80\x02\x8b\xff\xff\xff\xff" + STOP,
    "LONG digits": b"L" + b"9" * 100_000 + b"L\n.",
    "LONG digits in a container": b"(lp0\nL" + b"9" * 100_000 + b"L\na.",
    "huge frame": b"\x80\x04\x95" + b"\xff" * 7 + b"\x7f" + b"N.",
    "huge string": b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7f" + b"N.",
    "huge bytes": b"\x80\x04\x8e" + b"\xff" * 8 + b"N.",
    "huge bytearray": b"\x80\x05\x96" + b"\xff" * 8 + b"N.",
    "huge shape": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR"
    b"(K\x01J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86"
    b"cnumpy\ndtype\nX\x02\x00\x00\x00f8\x85RX\x00\x00\x00\x00X\x00\x00\x00\x00tb.",
    "wrapper of a huge array": b"\x80\x02cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}(X\x08\x00\x00\x00subclasscnumpy\nndarray\n"
    b"X\x05\x00\x00\x00shapeJ\xff\xff\xff\x7f\x85"
    b"X\x05\x00\x00\x00orderX\x01\x00\x00\x00CX\x05\x00\x00\x00dtypecnumpy\ndtype\nX\x02\x00\x00\x00f8\x85Rub.",
    "second pickle": pickle.dumps({"mean": 1.0, "std": 1.0}) + call("os", "system", TOUCH),
    "trailing bytes": pickle.dumps({"mean": 1.0, "std": 1.0}) + b"\0",
    "no stop": b"\x80\x02N",
    "empty stack": b"\x80\x02.",
    "underflow": b"\x80\x02R.",
    "only a header": b"\x80\x05",
    "a name alone": b"\x80\x02cos\nsystem\n.",
}  # fmt: skip


def in_array(payload: bytes) -> bytes:
    """joblib's array of objects: a pickle inside the file, where old scanners and a strict find_class do not look."""
    import joblib

    file = io.BytesIO()
    joblib.dump({"mean": np.array([None], object)}, file)
    whole = file.getvalue()
    start = whole.index(b"ub\x80\x05") + 2
    end = whole.index(b"t\x94b.", start) + 4
    return whole[:start] + payload + whole[end:]


def in_skops(payload: bytes) -> bytes:
    """A skops archive whose array is the payload."""
    schema = {
        "__class__": "StandardScaler", "__module__": "sklearn.preprocessing._data", "__loader__": "ObjectNode", "__id__": 1,
        "content": {"__class__": "dict", "__module__": "builtins", "__loader__": "DictNode", "__id__": 2, "content": {
            name: {"__class__": "ndarray", "__module__": "numpy", "__loader__": "NdArrayNode", "type": "numpy", "file": "a.npy",
                   "__id__": 3} for name in ("mean_", "scale_")}},
    }  # fmt: skip
    return zipped({"schema.json": json.dumps(schema).encode(), "a.npy": payload})


def in_npz(payload: bytes) -> bytes:
    """An npz whose member is an array of objects: the payload stands where numpy.load would unpickle."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    return zipped({"mean.npy": header.getvalue() + payload, "std.npy": header.getvalue() + payload})


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


WRAPPERS: dict[str, Any] = {
    "pkl": lambda p: p,
    "json": lambda p: p,  # another name only
    "npz": in_npz,
    "zlib.joblib": zlib.compress,
    "gzip.joblib": lambda p: gzip.compress(p, mtime=0),
    "bz2.joblib": bz2.compress,
    "xz.joblib": lzma.compress,
    "lzma.joblib": lambda p: lzma.compress(p, lzma.FORMAT_ALONE),
    "array.joblib": in_array,
    "zlib.array.joblib": lambda p: zlib.compress(in_array(p)),
    "skops": in_skops,
}


def main(folder: str) -> None:
    from onnxscale.errors import OnnxscaleError
    from onnxscale.sources import read

    files = {p.name: p.read_bytes() for p in sorted(Path(folder).iterdir())}
    for name in [n for n in files if n.startswith("good.")]:
        read(files.pop(name))  # imports and caches that the honest use needs
    list(json.loads("[1]")), "a".encode("latin1"), "é".encode("idna")
    events: list[str] = []
    watching = False

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        parsed_only = event == "compile" and "<unknown>" in arguments  # ast.literal_eval, on the header of a .npy file
        if watching and not parsed_only and not event.startswith(("object.", "sys._getframe", "gc.")):
            events.append(f"{event} {str(arguments)[:100]}")

    sys.addaudithook(hook)
    said = {}
    for name, data in files.items():
        started = time.perf_counter()
        watching = True
        try:
            read(data)
            outcome = "read"
        except OnnxscaleError as error:
            outcome = f"{type(error).__name__}: {error}"
        except BaseException as error:  # noqa: BLE001  the parent says what must not come out here
            outcome = f"ESCAPED {type(error).__name__}: {error}"
        watching = False
        said[name] = {"outcome": outcome, "events": events[:5], "seconds": time.perf_counter() - started}
        events.clear()
    print(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1])
