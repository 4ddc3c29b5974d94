"""Pickles that would do harm if somebody unpickled them, by name; and a child process that notices if anything is done.

`python -m tests.hostile FOLDER` writes each payload in every wrapper, reads it with onnxscale under an audit hook, and
prints as JSON what was not refused and what was done.
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np

MARKER = "owned-by-a-pickle"


class Calls:
    """Pickles as a call."""

    def __init__(self, function: object, *args: object) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.function, self.args  # type: ignore[return-value]


def text_call(name: str, *args: str) -> bytes:
    """A protocol-0 call of `module name`."""
    return f"c{name}\n({''.join(f'V{a}{chr(10)}' for a in args)}tR.".encode()


def stack_call(module: str, name: str, *args: str) -> bytes:
    """A protocol-4 call by STACK_GLOBAL, which takes dotted names."""

    def short(text: str) -> bytes:
        return b"\x8c" + bytes([len(text)]) + text.encode()

    return b"\x80\x04" + short(module) + short(name) + b"\x93(" + b"".join(map(short, args)) + b"tR."


TEXT = {
    "os.system": ("os\nsystem", f"touch {MARKER}"),
    "posix.system": ("posix\nsystem", f"touch {MARKER}"),
    "eval": ("builtins\neval", "__import__('os').getpid()"),
    "exec": ("builtins\nexec", "import os"),
    "old eval": ("__builtin__\neval", "1"),
    "getattr": ("builtins\ngetattr", "a", "b"),
    "import": ("builtins\n__import__", "antigravity"),
    "open": ("builtins\nopen", MARKER, "w"),
    "io.open": ("io\nopen", MARKER, "w"),
    "compile": ("builtins\ncompile", "1", "x", "eval"),
    "breakpoint": ("builtins\nbreakpoint",),
    "subprocess": ("subprocess\nPopen", f"touch {MARKER}"),
    "runpy": ("runpy\nrun_path", "x.py"),
    "pty": ("pty\nspawn", "sh"),
    "pip": ("pip\nmain", "install"),
    "ctypes": ("ctypes\nCDLL", "libc.so.6"),
    "socket": ("socket\ncreate_connection", "127.0.0.1"),
    "webbrowser": ("webbrowser\nopen", "http://127.0.0.1"),
    "numpy.load": ("numpy\nload", "x.npy"),
    "numpy.fromfile": ("numpy\nfromfile", "/etc/passwd"),
    "numpy runstring": ("numpy.testing._private.utils\nrunstring", "import os", "d"),
    "numpy.f2py": ("numpy.f2py.crackfortran\ngetlincoef", "x", "y"),
    "numpy distutils": ("numpy.distutils.exec_command\nexec_command", "touch x"),
    "memmap": ("numpy\nmemmap", "/etc/passwd"),
    "joblib.load": ("joblib\nload", "x"),
    "joblib memory": ("joblib.memory\nMemory", "x"),
    "pickle.loads": ("pickle\nloads", "x"),
    "pandas": ("pandas.io.pickle\nread_pickle", "x"),
    "torch": ("torch\nload", "x"),
    "sklearn function": ("sklearn.datasets\nload_iris",),
    "scipy function": ("scipy.io\nloadmat", "x"),
    "operator": ("operator\nattrgetter", "system"),
    "functools": ("functools\npartial", "x"),
    "types": ("types\nCodeType", "x"),
    "marshal": ("marshal\nloads", "x"),
    "importlib": ("importlib\nimport_module", "antigravity"),
    "timeit": ("timeit\ntimeit", "1"),
    "shutil": ("shutil\nrmtree", "x"),
    "tempfile": ("tempfile\nmkstemp",),
}


def payloads() -> dict[str, bytes]:
    """Name -> pickle."""
    found = {name: text_call(*call) for name, call in TEXT.items()}
    found |= {
        "dotted": stack_call("numpy", "f2py.os.system", f"touch {MARKER}"),
        "dotted under a scaler": stack_call("sklearn.preprocessing._data", "np.os.system", f"touch {MARKER}"),
        "by reduce": pickle.dumps(Calls(print, "x")),
        "by an object array": pickle.dumps(np.array([Calls(print, "x")], dtype=object)),
        "inst": f"(Vtouch {MARKER}\nios\nsystem\n.".encode(),
        "obj": b"(cos\nsystem\nVx\no.",
        "persistent id": b"\x80\x02Vx\nQ.",
        "old persistent id": b"Px\n.",
        "extension": b"\x80\x02\x82\x01.",
        "buffer": b"\x80\x05\x97.",
        "second pickle": pickle.dumps({"mean": 1}) + text_call("os\nsystem", f"touch {MARKER}"),
        "marks": b"\x80\x04" + b"(" * 2_000_000 + b".",
        "memo": b"\x80\x02" + b"(lq\x00" + b"h\x00h\x00e" * 100_000 + b".",
        "doubling": b"\x80\x04]\x94" + b"".join(b"(h" + bytes([i]) + b"h" + bytes([i]) + b"l\x94" for i in range(200)) + b".",
        "deep tuples": b"\x80\x04)" + b"\x85" * 400_000 + b".",
        "a deep key": b"\x80\x04})" + b"\x85" * 400_000 + b"K\x01s.",
        "a long number": b"\x80\x02\x8b" + struct.pack("<i", 1 << 20) + b"\x01" * (1 << 20) + b".",
        "a long decimal": b"L" + b"9" * 100_000 + b"L\n.",
        "a huge frame": b"\x80\x04\x95" + b"\xff" * 8 + b"N.",
        "a huge string": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"x.",
        "a huge array": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01\x8a\x08"
        + b"\xff" * 7 + b"\x0f\x85cnumpy\ndtype\n(U\x02f8K\x00K\x01tR\x89U\x00tb.",
        "no stop": b"\x80\x04]",
        "nothing": b"\x80\x04.",
    }  # fmt: skip
    return found


def wrapped(payload: bytes) -> dict[str, bytes]:
    """File name -> content."""
    holder = io.BytesIO()
    np.savez(holder, mean=np.ones(3))
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w") as archive:
        archive.writestr("schema.json", payload)
    return {
        "plain.pkl": payload, "zlib.joblib": zlib.compress(payload), "gzip.joblib": gzip.compress(payload),
        "renamed.json": payload, "renamed.npz": payload, "in.skops": bomb.getvalue(),
    }  # fmt: skip


def _judge(folder: Path) -> dict[str, object]:
    from onnxscale import sources
    from onnxscale.errors import StatisticsError

    files = {f"{n}/{w}": content for n, p in payloads().items() for w, content in wrapped(p).items()}
    for i, content in enumerate(files.values()):
        (folder / f"{i}").write_bytes(content)
    sources.read({"mean": [0.0], "std": [1.0]})
    done: list[str] = []
    watched = (
        "os.system",
        "subprocess.Popen",
        "exec",
        "compile",
        "import",
        "pickle.find_class",
        "socket.connect",
        "os.exec",
    )
    quiet = [True]

    def hook(event: str, args: tuple[object, ...]) -> None:
        if quiet[0]:
            return
        if event in watched or (event == "open" and isinstance(args[0], str | bytes) and str(args[0]) != str(current)):
            done.append(f"{event} {str(args)[:200]}")

    current: Path | None = None
    for i, _ in enumerate(files):  # once, so that lazy imports of our own are done
        try:
            sources.read(folder / f"{i}")
        except StatisticsError:
            continue
    sys.addaudithook(hook)
    read = []
    for i, name in enumerate(files):
        current = folder / f"{i}"
        quiet[0] = False
        try:
            sources.read(current)
            read.append(name)
        except StatisticsError:
            pass
        finally:
            quiet[0] = True
    return {"read": read, "done": done, "files": len(files), "marker": Path(MARKER).exists()}


if __name__ == "__main__":
    print(json.dumps(_judge(Path(sys.argv[1]))))
