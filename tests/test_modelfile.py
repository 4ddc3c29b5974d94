"""The model file as pieces: what is not edited is copied, what is edited reads back, and every edit can be undone."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import onnx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from onnxscale import lazy, modelfile, pieces, tensors, walk
from onnxscale.errors import ModelError, OnnxscaleError
from onnxscale.pieces import Copy, Pieces
from onnxscale.wire import encode_varint, fields, varint
from tests import build
from tests.encodings import EDITS, rich, scrambled

SEEDS = st.integers(0, 2**32 - 1)


CHANGES = st.lists(st.sampled_from(sorted(EDITS)), max_size=6)


@pytest.fixture(params=[4096, 24], ids=["nothing is large", "everything is large"], autouse=True)
def large(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy, "LARGE", request.param)


def known(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without the fields that ONNX does not know; two messages compare equal where they mean the same."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    copy.DiscardUnknownFields()
    return copy


@given(seed=SEEDS)
@example(seed=0)
def test_an_unedited_model_is_one_copy(seed: int) -> None:
    data = scrambled(rich().SerializeToString(), onnx.ModelProto.DESCRIPTOR, random.Random(seed))
    file = modelfile.open_model(data)
    assert file.bytes_of(file.render(file.editable())) == data
    canonical = modelfile.open_model(rich())
    assert canonical.render(canonical.editable()) == [Copy(0, len(canonical.data))]


@given(seed=SEEDS, changes=CHANGES, clean=st.booleans())
def test_an_edit_reads_back_and_can_be_undone(seed: int, changes: list[str], clean: bool) -> None:
    plain = rich().SerializeToString()
    data = plain if clean else scrambled(plain, onnx.ModelProto.DESCRIPTOR, random.Random(seed))
    file = modelfile.open_model(data)
    edited, full = file.editable(), onnx.ModelProto.FromString(data)
    for proto in (edited, full):
        draw = random.Random(seed)
        for change in changes:
            EDITS[change](proto, draw)
    parts = file.render(edited)
    made = file.bytes_of(parts)
    assert len(made) == pieces.size(parts)
    assert known(onnx.ModelProto.FromString(made)) == known(full)
    back = pieces.from_json(pieces.to_json(pieces.inverted(parts, len(data), file.read)))
    assert b"".join(made[p.offset : p.offset + p.length] if isinstance(p, Copy) else p for p in back) == data


@given(seed=SEEDS)
def test_scrambling_keeps_the_meaning(seed: int) -> None:
    """The judge of the two laws above is itself held to account."""
    data = scrambled(rich().SerializeToString(), onnx.ModelProto.DESCRIPTOR, random.Random(seed))
    assert known(onnx.ModelProto.FromString(data)) == rich()


@given(number=st.integers(-(2**63), 2**64 - 1), extra=st.integers(0, 3))
def test_a_varint_reads_back(number: int, extra: int) -> None:
    encoded = encode_varint(number)
    assert varint(encoded, 0, len(encoded)) == (number % 2**64, len(encoded))
    with pytest.raises(ModelError, match="cut off" if len(encoded) < 10 else "more than 10 bytes"):
        varint(encoded[:-1] + b"\x80", 0, len(encoded))
    with pytest.raises(ModelError, match="more than 10 bytes"):
        varint(b"\x80" * (10 + extra) + b"\0", 0, 11 + extra)


@pytest.mark.parametrize("change", sorted(EDITS))
def test_only_what_changed_is_written(change: str) -> None:
    file = modelfile.open_model(rich(5000))
    edited = file.editable()
    EDITS[change](edited, random.Random(1))
    written = sum(len(p) for p in file.render(edited) if isinstance(p, bytes))
    assert written < 1200 or len(file.data) < lazy.LARGE * 64  # a changed element that is no stub is written whole
    assert len(file.data) > 100_000


def test_every_large_tensor_becomes_a_stub_with_its_values() -> None:
    file, whole = modelfile.open_model(rich(5000)), rich(5000)
    pairs = list(zip(walk.tensors(file.skeleton), walk.tensors(whole), strict=True))
    long = [(mine, theirs) for mine, theirs in pairs if theirs.dims]
    assert len(long) == 6
    for mine, theirs in long:
        assert lazy.payload(mine) is not None or len(file.data) < lazy.LARGE * 64
        assert tensors.values(file, mine).tobytes() == onnx.numpy_helper.to_array(theirs).tobytes()


def test_a_file_of_megabytes_is_read_by_windows(tmp_path: Path) -> None:
    made = rich(300_000)
    path = tmp_path / "big.onnx"
    path.write_bytes(made.SerializeToString())
    with modelfile.open_model(path) as file:
        assert file.descriptor is not None
        assert file.sha256() == hashlib.sha256(path.read_bytes()).hexdigest()
        assert file.skeleton.ByteSize() < 5000
        edited = file.editable()
        edited.graph.node[0].name = "renamed"
        made.graph.node[0].name = "renamed"
        assert onnx.ModelProto.FromString(file.bytes_of(file.render(edited))) == made
        with path.open("ab") as more:
            more.write(b"x")
        with pytest.raises(ModelError, match="changed while it was read"):
            file.sha256()


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)) | st.binary(max_size=5), max_size=8))
def test_pieces_turn_round(parts: list[tuple[int, int] | bytes]) -> None:
    """Whatever is copied, dropped, doubled or out of order: the source can be made again."""
    source = bytes(range(80))
    described: Pieces = [p if isinstance(p, bytes) else Copy(*p) for p in parts]

    def made(pieces_: Pieces, of: bytes) -> bytes:
        return b"".join(of[p.offset : p.offset + p.length] if isinstance(p, Copy) else p for p in pieces_)

    target = made(described, source)
    assert made(pieces.joined(described), source) == target
    back = pieces.inverted(described, len(source), lambda at, n: source[at : at + n])
    assert made(back, target) == source


FOREIGN = {
    "the file is empty": b"",
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "gzip-compressed": gzip.compress(b"model"),
    "HTML": b"<!DOCTYPE html><html>404</html>",
    "Python pickle": pickle.dumps([1], 4),
    "zip archive": b"PK\x03\x04" + bytes(30),
    "JSON text": b'{"mean": [1]}',
    "HDF5": b"\x89HDF\r\n\x1a\n",
}


@pytest.mark.parametrize("what", FOREIGN)
def test_what_a_file_is_instead(what: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(FOREIGN[what])
    with pytest.raises(ModelError, match=what):
        modelfile.open_model(path)


def _without(*numbers: int, twice: int = 0) -> bytes:
    data = rich().SerializeToString()
    kept = [f for f in fields(data, 0, len(data)) for _ in range(1 + (f.number == twice)) if f.number not in numbers]
    return b"".join(data[f.start : f.end] for f in kept)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_without(8), "no opset_import"),
        (_without(7), "no graph"),
        (_without(1), "no ir_version"),
        (_without(twice=7), "2 graphs"),
        (_without() + b"\x3a\xff", "cut off"),
        (_without() + b"\x3b", "wire type 3"),
        (_without() + b"\x02\x00", "field number 0"),
    ],
)
def test_a_model_must_be_whole(data: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        modelfile.open_model(data)


def test_a_file_cut_off_anywhere_is_refused_or_whole() -> None:
    data = build.mlp().SerializeToString()
    ends = [f.end for f in fields(data, 0, len(data))]
    whole = []
    for cut in range(len(data)):
        try:
            modelfile.open_model(data[:cut])
            whole.append(cut)
        except ModelError:
            pass
    assert set(whole) <= set(ends) - {ends[-1]}  # a cut may only leave out whole fields that a model can be without


@pytest.mark.parametrize("path", ["missing.onnx", ".", "missing/model.onnx", "nul\0.onnx"])
def test_a_path_that_is_no_file(path: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        modelfile.open_model(tmp_path / path)


def mutants(count: int, seed: int) -> Iterator[bytes]:
    """Models with a few bytes changed, cut, doubled or inserted."""
    draw = random.Random(seed)
    sources = [make().SerializeToString() for make in (*build.GOOD.values(), rich, build.int_ids)]
    for _ in range(count):
        data = bytearray(draw.choice(sources))
        for _ in range(draw.choice((1, 1, 2, 5))):
            at = draw.randrange(len(data))
            change = draw.randrange(4)
            if change == 0:
                data[at] = draw.randrange(256)
            elif change == 1:
                data[at] ^= 1 << draw.randrange(8)
            elif change == 2:
                del data[at : at + draw.randrange(1, 9)]
            else:
                data[at:at] = bytes(draw.randrange(256) for _ in range(draw.randrange(1, 9)))
            data = data or bytearray(b"\0")
        yield bytes(data)


@pytest.mark.parametrize("count", [1000, pytest.param(5000, marks=pytest.mark.slow)])
def test_a_damaged_model_bakes_or_is_refused(count: int) -> None:
    """Half for each size of `large`. No exception of another family, and none takes long."""
    baked = 0
    for data in mutants(count, seed=count + lazy.LARGE):
        start = time.process_time()
        with suppress(OnnxscaleError):
            baked += bool(build.bake(data, name="x").to_bytes())
        assert time.process_time() - start < 2
    assert count / 20 < baked < count
