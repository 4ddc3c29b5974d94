"""What attacks on the command line found: files that hang, fill memory, read elsewhere or end in a traceback. Each was one once."""

from __future__ import annotations

import io
import os
import pickle
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxscale import cli, external, sources
from onnxscale.errors import DataError, ModelError, StatisticsError
from onnxscale.sources.pickled import is_pickle
from tests import build

Said = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Said:
    """Run a command in tmp_path that has to end with exit code 2, one message and no new file; the message."""
    monkeypatch.chdir(tmp_path)

    def run(*args: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        monkeypatch.setattr(sys, "argv", ["onnxscale", *args])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        said = capfd.readouterr().err
        assert stop.value.code == 2, said
        assert said.startswith("error: ") and "a bug in onnxscale" not in said and "Traceback" not in said
        assert sorted(tmp_path.rglob("*")) == before
        return said

    return run


def _outside(*entries: tuple[str, str]) -> bytes:
    """A model whose weights lie in another file, with exactly these entries."""
    made = build.mlp()
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in entries:
        tensor.external_data.add(key=key, value=value)
    return made.SerializeToString()


PLACES = {
    "a name too long for any file": ([("location", "x" * 5000)], "no such file"),
    "a path too long for any file": ([("location", "a/" * 3000 + "x")], "no such file"),
    "two locations": ([("location", "../secret"), ("location", "w.bin")], "twice"),
    "two offsets": ([("location", "w.bin"), ("offset", "4"), ("offset", "0")], "twice"),
    "a blank before the offset": ([("location", "w.bin"), ("offset", " 0")], "no number"),
    "an underscore": ([("location", "w.bin"), ("offset", "0_0")], "no number"),
    "digits of another script": ([("location", "w.bin"), ("length", "\u0664\u0668")], "no number"),
    "thousands of digits": ([("location", "w.bin"), ("offset", "1" * 5000)], "no number"),
}


@pytest.mark.parametrize("place", PLACES)
def test_what_one_reader_takes_and_another_does_not_is_refused(place: str, tmp_path: Path, refused: Said) -> None:
    entries, words = PLACES[place]
    (tmp_path / "m.onnx").write_bytes(_outside(*entries))
    (tmp_path / "w.bin").write_bytes(bytes(4096))
    (tmp_path / "s.json").write_text('{"mean": [1, 2, 3, 4], "std": [1, 2, 1, 1]}')
    said = refused("bake", "m.onnx", "s.json", "-o", "o.onnx", "--no-verify", "--form", "nodes")
    assert words in said and len(said) < 1000
    refused("expect", "m.onnx")


def test_a_link_put_on_the_way_after_the_check_is_not_followed(tmp_path: Path) -> None:
    """The race of SECURITY.md T1: a folder, or the file itself, is exchanged for a link between the check and the reading."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "w.bin").write_bytes(b"secret")
    home = tmp_path / "model"
    (home / "sub").mkdir(parents=True)
    for file in (home / "w.bin", home / "sub" / "w.bin"):
        file.write_bytes(b"honest")
    there = [external.located(home / "m.onnx", name, "t") for name in ("w.bin", "sub/w.bin")]
    os.close(external.opened(there[0], real=True))
    (home / "w.bin").unlink()
    (home / "w.bin").symlink_to(tmp_path / "elsewhere" / "w.bin")
    (home / "sub" / "w.bin").unlink()
    (home / "sub").rmdir()
    (home / "sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="cannot be read"):
        external.opened(there[0], real=True)
    if sys.platform == "linux":
        with pytest.raises(ModelError, match="became a link"):
            external.opened(there[1], real=True)


TEXT_PICKLES = {
    b"(S'touch x'\nios\nsystem\n.": r"os\.system",
    b"I1\ncos\nsystem\n(S'x'\ntR.": r"os\.system",
    b"S'a'\n0(S'x'\ni__builtin__\neval\n.": r"__builtin__\.eval",
    b"Pos.system\n.": "PERSID",
    b"\x80\x02csklearn.preprocessing._data\nStandardScaler\n)\x81}X\x0c\x00\x00\x00__setstate__cos\nsystem\nsb)b.": r"os\.system",
    b"\x80\x02csklearn.preprocessing._data\nStandardScaler\n)\x81N}X\x09\x00\x00\x00__class__cos\nsystem\ns\x86b.": r"os\.system",
}


@pytest.mark.parametrize("payload", TEXT_PICKLES)
def test_a_refusal_names_what_a_pickle_would_run(payload: bytes) -> None:
    with pytest.raises(StatisticsError, match=TEXT_PICKLES[payload]):
        sources.read(payload)


@pytest.mark.parametrize("text", [b"mean,std\n1,2.", b"c = 1\n.", b"# cos\nsystem\n.", b"Pages.\nmore\n.", b"."])
def test_text_that_only_looks_like_a_pickle_is_none(text: bytes) -> None:
    assert not is_pickle(text)
    assert is_pickle(pickle.dumps(1, protocol=2))


def test_text_is_told_from_a_pickle_in_linear_time() -> None:
    started = time.process_time()
    assert not is_pickle(b"c" * 1_000_000 + b".")
    assert time.process_time() - started < 2


def _bomb(path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 22, 4)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as file:
        file.write(header.getvalue())
        for _ in range(64):
            file.write(bytes(1 << 20))


def _header(path: Path) -> None:
    np.save(path, np.ones((40, 4), np.float32))
    path.write_bytes(path.read_bytes().replace(b"{'descr'", b"{{'desc'"))


def _field(path: Path) -> None:
    path.write_text('a,b\n"' + "x" * 200_000 + '",1\n')


def _page(path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    values = np.random.default_rng(0).normal(size=(4, 4000))
    parquet.write_table(pa.table({f"c{i}": v for i, v in enumerate(values)}), path)
    damaged = bytearray(path.read_bytes())
    damaged[4:300] = bytes(296)
    path.write_bytes(damaged)


def _message(path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import feather

    feather.write_feather(pa.table({f"c{i}": np.arange(4000.0) for i in range(4)}), path, compression="uncompressed")
    damaged = bytearray(path.read_bytes())
    at = damaged.index(b"\xff\xff\xff\xff", 600)  # of a record batch
    damaged[at + 8 : at + 40] = b"\xff" * 32
    path.write_bytes(damaged)


DATA = {"b.npz": _bomb, "h.npy": _header, "f.csv": _field, "p.parquet": _page, "m.arrow": _message}


@pytest.mark.parametrize("name", DATA)
def test_hostile_rows_are_one_message_whatever_reads_them(name: str, tmp_path: Path, refused: Said) -> None:
    """Files of data that are damaged where only reading the rows tells, and a zip that unpacks to 128 times its size."""
    (tmp_path / "m.onnx").write_bytes(build.mlp().SerializeToString())
    (tmp_path / "s.json").write_text('{"mean": [1, 2, 3, 4], "std": [1, 2, 1, 1]}')
    DATA[name](tmp_path / name)
    if not name.endswith(".arrow"):  # which bake does not read
        refused("bake", "m.onnx", "s.json", "-o", "o.onnx", "--data", name)
    refused("expect", "m.onnx", name)
    refused("check", "s.json", name)
    refused("fit", name, "-o", "o.json")


def _node(op: str, *constants: np.ndarray, shape: tuple[int | str, ...] = ("N", 4), **attributes: object) -> bytes:
    names = [f"k{i}" for i in range(len(constants))]
    node = onnx.helper.make_node(op, ["x", *names], ["y"], **attributes)
    held = [onnx.numpy_helper.from_array(c, n) for n, c in zip(names, constants, strict=True)]
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph([node], "g", [value("x", 1, shape)], [value("y", 1, None)], held)
    return onnx.helper.make_model(
        graph, ir_version=9, opset_imports=[onnx.helper.make_opsetid("", 17)]
    ).SerializeToString()


MISFITS: dict[str, Callable[[], bytes]] = {
    "a permutation of other axes": lambda: _node("Transpose", perm=[5, -9]),
    "a permutation that is text": lambda: _node("Transpose", perm="ab"),
    "a group of 0": lambda: _node("Conv", np.ones((1, 4, 3, 3), "f4"), shape=("N", 4, 8, 8), group=0),
    "a shape with more axes": lambda: _node("Reshape", np.array([1 << 40, -1, 0, 1 << 40])),
    "weights of another width": lambda: _node("Gemm", np.ones((7, 3), "f4")),
    "no weights": lambda: _node("MatMul", np.ones((0, 3), "f4")),
    "weights that are text": lambda: _node("MatMul", np.array([["a"] * 3] * 4, object)),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_constants_that_do_not_fit_are_no_crash(
    misfit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.onnx").write_bytes(MISFITS[misfit]())
    Path("s.json").write_text('{"mean": [1, 2, 3, 4], "std": [1, 2, 1, 1]}')
    for command in (
        ["bake", "m.onnx", "s.json", "-o", "o.onnx"],
        ["expect", "m.onnx"],
        ["inspect", "m.onnx"],
        ["diff", "m.onnx", "s.json"],
    ):
        monkeypatch.setattr(sys, "argv", ["onnxscale", *command])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        said = capfd.readouterr()
        assert stop.value.code in (0, 1, 2) and "a bug in" not in said.out + said.err, said
        if command[0] == "bake":
            assert stop.value.code == 1 and "NOT VERIFIED" in said.err and not Path("o.onnx").exists()


STATISTICS = {
    "true.json": ('{"mean": [1, 2, 3, 4], "std": [1, true, 1, 1]}', "true or false"),
    "true.toml": ("mean = [1, 2, 3, 4]\nstd = [1, true, 1, 1]\n", "true or false"),
    "clip.json": ('{"mean": [1, 2, 3, 4], "std": [1, 2, 1, 1], "clip": [-5, 5]}', "left out"),
    "half.json": ('{"mean": [1, 2, 3, 4], "std": [1, 2, 1, 1], "features": ["\\ud800", "b", "c", "d"]}', "surrogates"),
    "underscore.csv": ("feature,mean,std\na,1_0,1\nb,2,2\nc,3,1\nd,4,1\n", "expected numbers"),
    "script.csv": ("feature,mean,std\na,\u0661,1\nb,2,2\nc,3,1\nd,4,1\n", "expected numbers"),
    "dots.toml": (".".join(["a"] * 20_000) + " = 1\n", "64"),
    "quoted.toml": (".".join(['"a"'] * 900) + " = 1\n", "64"),
    "header.toml": ("[" + ".".join(["a"] * 20_000) + "]\nb = 1\n", "64"),
}


@pytest.mark.parametrize("name", STATISTICS)
def test_statistics_that_would_be_taken_for_others_are_refused(name: str, tmp_path: Path, refused: Said) -> None:
    """Booleans among numbers became 1, a z-score's clip was left out, keys of thousands of parts took gigabytes."""
    text, words = STATISTICS[name]
    (tmp_path / "m.onnx").write_bytes(build.mlp().SerializeToString())
    (tmp_path / name).write_text(text)
    started = time.process_time()
    assert words in refused("bake", "m.onnx", name, "-o", "o.onnx")
    assert time.process_time() - started < 5


@pytest.mark.skipif(sys.platform != "linux", reason="names that are not UTF-8 are Linux's")
def test_a_file_whose_name_is_not_utf8(tmp_path: Path, refused: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    statistics, data = "s\udcff.json", "d\udcfe.csv"
    (tmp_path / "m.onnx").write_bytes(build.mlp().SerializeToString())
    (tmp_path / statistics).write_text('{"mean": [1, 2, 3, 4], "std": [1, 2, 1, 1]}')
    (tmp_path / data).write_text("a,b\n1,2\n3,5\n2,2\n")
    assert "not UTF-8" in refused("fit", data, "-o", "f.json")
    monkeypatch.setattr(sys, "argv", ["onnxscale", "bake", "m.onnx", statistics, "-o", "o.onnx"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0
    assert sources.read(tmp_path / statistics).source.path == "s\\xff.json"


def test_a_compressed_tar_with_a_bomb_is_passed_over(tmp_path: Path) -> None:
    """A gigabyte of zeros in a megabyte took tarfile's own stream minutes; the picture behind it is still read."""
    pytest.importorskip("PIL")
    from PIL import Image

    from onnxscale import fitting

    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)).save(content, "PNG")
    path = tmp_path / "t.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, size in (("bomb.png", 300 << 20), ("good.png", len(content.getvalue()))):
            entry = tarfile.TarInfo(name)
            entry.size = size
            tar.addfile(entry, io.BytesIO(content.getvalue()) if name == "good.png" else _Zeros())  # type: ignore[arg-type]
    started = time.process_time()
    fitted = fitting.fit([str(path)])
    assert time.process_time() - started < 15
    assert fitted is not None


class _Zeros:
    def read(self, count: int) -> bytes:
        return bytes(count)


def test_labels_of_prometheus_hold_no_control_characters() -> None:
    from onnxscale.reporting import checks

    assert checks._label('a\x9b\x1b[31m\n"\\\u202e') == 'a\\\\x9b\\\\x1b[31m\\n\\"\\\\\\\\u202e'


@pytest.mark.parametrize("engine", ["duckdb", "pyarrow", "polars"])
def test_an_engine_that_fails_is_a_message(engine: str, tmp_path: Path) -> None:
    pytest.importorskip(engine)
    from onnxscale import fitting

    path = tmp_path / "d.jsonl"
    path.write_bytes(b'{"a": 1.0, "b": 2.0}\n' * 50 + b'{"a": 1.0, "b": \xff}\n')
    with pytest.raises(DataError, match=r"d\.jsonl"):
        fitting.fit(path, engine=engine)
