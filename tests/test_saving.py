"""An output is complete or absent and an input never changes, whatever kills the writer (SECURITY.md T13)."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import resource
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from onnxscale import pipeline, saving, spilling
from onnxscale.errors import OnnxscaleError, OutputError
from tests import build

CALLS = ("write", "copy_file_range", "fsync", "link", "replace", "chmod", "fchmod", "unlink")
MODES = ("new", "force", "external")


def _digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.is_file()}


def _forked(job: Callable[[], object]) -> int:
    """Run a job in a child; returns the child's process id. It exits 0, or 7 for an expected refusal, or 9."""
    child = os.fork()
    if child:
        return child
    code = 9
    try:
        job()
        code = 0
    except OnnxscaleError:
        code = 7
    finally:
        os._exit(code)


class Bench:
    """A model, a folder to bake it to, and what must hold afterwards."""

    def __init__(self, folder: Path, mode: str, hidden: int = 4000) -> None:
        self.mode, self.model = mode, folder / "in" / "model.onnx"
        self.out = folder / "out" / "baked.onnx"
        for place in (self.model.parent, self.out.parent):
            place.mkdir()
        made = build.mlp(hidden=hidden)
        if mode == "external":
            build.external(self.model.parent, made=made)
        else:
            self.model.write_bytes(made.SerializeToString())
        self.baked = build.bake(self.model)
        self.whole = hashlib.sha256(self.baked.to_bytes()).hexdigest()
        self.before = _digests(self.model.parent)
        self.old = hashlib.sha256(b"old").hexdigest()
        self.reset()

    def reset(self) -> None:
        for path in self.out.parent.iterdir():
            path.unlink()
        if self.mode == "force":
            self.out.write_bytes(b"old")

    def save(self) -> None:
        self.baked.save(self.out, force=self.mode == "force")

    def holds(self) -> bool:
        """Asserts the promise; returns whether the output is there. A hidden temporary file may be left only by a kill
        between the two system calls that --force needs, as Linux has no single one."""
        assert _digests(self.model.parent) == self.before
        found = _digests(self.out.parent)
        allowed = {self.out.name: {self.whole}}
        if self.mode == "force":
            allowed[self.out.name].add(self.old)
        if self.mode == "external":
            allowed["weights.bin"] = {self.before["weights.bin"]}
        debris = [n for n in found if n not in allowed]
        assert len(debris) <= (self.mode == "force") and all(n.endswith(".tmp") for n in debris), debris
        for name, digest in found.items():
            assert name in debris or digest in allowed[name], name
        if self.mode == "external" and self.out.name in found:
            assert "weights.bin" in found, "the model came before its data"
        assert self.mode != "force" or self.out.name in found
        return found.get(self.out.name) == self.whole


@pytest.fixture(params=MODES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    return Bench(tmp_path, request.param)


@pytest.mark.parametrize("named", [False, True], ids=["O_TMPFILE", "temporary name"])
def test_an_undisturbed_save_leaves_only_the_output(bench: Bench, named: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if named:
        monkeypatch.setattr(saving, "_unnamed", lambda folder: None)
    bench.save()
    assert bench.holds()
    expected = {"baked.onnx", "weights.bin"} if bench.mode == "external" else {"baked.onnx"}
    assert set(_digests(bench.out.parent)) == expected


def _seconds(bench: Bench) -> float:
    bench.reset()
    start = time.perf_counter()
    os.waitpid(_forked(bench.save), 0)
    return time.perf_counter() - start


@pytest.mark.parametrize("count", [8, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("mode", MODES)
def test_kill_at_a_random_moment(mode: str, count: int, tmp_path: Path) -> None:
    bench = Bench(tmp_path, mode, hidden=400_000)
    whole = min(_seconds(bench) for _ in range(3))
    draw = random.Random(count)
    killed = 0
    for _ in range(count):
        bench.reset()
        child = _forked(bench.save)
        time.sleep(draw.uniform(0, 1.1 * whole))
        os.kill(child, signal.SIGKILL)
        killed += os.waitpid(child, 0)[1] == signal.SIGKILL
        bench.holds()
    assert killed >= count / 10  # else the moments were all too late


@pytest.mark.parametrize("count", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_kill_a_whole_bake_at_a_random_moment(count: int, tmp_path: Path) -> None:
    """From reading to renaming: MODEL stays as it was, OUT is absent or whole."""
    bench = Bench(tmp_path, "external", hidden=400_000)

    def job() -> None:
        build.bake(bench.model).save(bench.out)

    start = time.perf_counter()
    os.waitpid(_forked(job), 0)
    whole = time.perf_counter() - start
    assert bench.holds()
    draw, seen = random.Random(count), []
    for _ in range(count):
        bench.reset()
        child = _forked(job)
        time.sleep(draw.uniform(0, 1.1 * whole))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        seen.append(bench.holds())
    assert not all(seen)  # else the moments were all too late


def _at(monkeypatch: pytest.MonkeyPatch, moment: int, then: Callable[[], None]) -> list[str]:
    """Call `then` before the system call number `moment` of those that change something; returns the calls made."""
    made: list[str] = []

    def counted(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            made.append(name)
            if len(made) == moment + 1:
                then()
            return real(*arguments, **named)

        return call

    for name in CALLS:
        monkeypatch.setattr(os, name, counted(name, getattr(os, name)))
    return made


def _moments(bench: Bench) -> int:
    with pytest.MonkeyPatch.context() as patch:
        calls = _at(patch, -1, lambda: None)
        bench.save()
    bench.reset()
    return len(calls)


@pytest.mark.parametrize("named", [False, True], ids=["O_TMPFILE", "temporary name"])
def test_kill_before_every_system_call(bench: Bench, named: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if named:
        monkeypatch.setattr(saving, "_unnamed", lambda folder: None)
    moments = _moments(bench)
    assert moments >= 3
    for moment in range(moments):
        bench.reset()

        def job(moment: int = moment) -> None:
            with pytest.MonkeyPatch.context() as patch:
                _at(patch, moment, lambda: os.kill(os.getpid(), signal.SIGKILL))
                bench.save()

        assert os.waitpid(_forked(job), 0)[1] == signal.SIGKILL
        if not named:
            bench.holds()
        else:  # where the system has no nameless files, a kill leaves the hidden one; still nothing that looks whole
            assert _digests(bench.model.parent) == bench.before
            found = _digests(bench.out.parent)
            assert found.get(bench.out.name, bench.whole) in (bench.whole, bench.old)
            assert len([n for n in found if n.startswith(".") and n.endswith(".tmp")]) <= 1


@pytest.mark.parametrize("named", [False, True], ids=["O_TMPFILE", "temporary name"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_an_error_of_any_system_call(bench: Bench, code: int, named: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Injected into every call in turn: one clear error and no debris."""
    if named:
        monkeypatch.setattr(saving, "_unnamed", lambda folder: None)

    def fail() -> None:
        raise OSError(code, "injected")

    failed = 0
    for moment in range(_moments(bench)):
        bench.reset()
        with pytest.MonkeyPatch.context() as patch:
            calls = _at(patch, moment, fail)
            said = ""
            try:
                bench.save()
            except OutputError as error:
                said, failed = str(error), failed + 1
        if calls[moment] == "unlink":
            continue  # the very call that would clear up
        assert os.strerror(code) in said and str(bench.out.parent) in said, calls[moment]
        there = bench.holds()
        names = set(_digests(bench.out.parent)) - {"weights.bin"}
        assert names <= {bench.out.name}, "a temporary file was left"
        assert there or "weights.bin" not in _digests(bench.out.parent), "data were left without their model"
    assert failed >= 3


@pytest.mark.parametrize("size", [0, 1, 100, 4096, 50_000, 100_000])
def test_a_limit_on_the_size_of_files(bench: Bench, size: int) -> None:
    """RLIMIT_FSIZE, which acts as a full disk does."""

    def job() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        bench.save()

    assert os.waitstatus_to_exitcode(os.waitpid(_forked(job), 0)[1]) == 7
    assert not bench.holds()
    assert set(_digests(bench.out.parent)) == ({bench.out.name} if bench.mode == "force" else set())


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that a user without rights can reach."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_folder_that_cannot_be_written(public: Path) -> None:
    baked = build.bake(build.mlp())
    folder = public / "locked"
    folder.mkdir(mode=0o555)

    def job() -> None:
        if os.geteuid() == 0:
            os.setuid(65534)
        baked.save(folder / "out.onnx")

    assert os.waitstatus_to_exitcode(os.waitpid(_forked(job), 0)[1]) == 7
    assert not list(folder.iterdir())


@pytest.mark.parametrize("same", [True, False], ids=["one name", "two names"])
def test_several_at_once_in_one_folder(same: bool, tmp_path: Path) -> None:
    bench = Bench(tmp_path, "external", hidden=50_000)
    outs = [bench.out if same else bench.out.with_name(f"baked{i}.onnx") for i in range(6)]
    for _ in range(3):
        bench.reset()
        children = [_forked(lambda out=out: bench.baked.save(out)) for out in outs]  # type: ignore[misc]
        codes = [os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children]
        found = _digests(bench.out.parent)
        assert sorted(found) == sorted({*(o.name for o in outs), "weights.bin"})
        assert codes.count(0) >= 1 if same else codes == [0] * len(outs)
        assert set(codes) <= {0, 7}, "7: the other came first between the look and the link"
        assert {found[o.name] for o in outs} == {bench.whole}
        assert found["weights.bin"] == bench.before["weights.bin"]


def test_data_beside_the_model_are_copied_on_request(tmp_path: Path) -> None:
    model = build.external(tmp_path)
    before = _digests(tmp_path)
    out = build.bake(model).save(tmp_path / "out.onnx", data="copy")
    assert _digests(tmp_path) == before | _digests(tmp_path) and (tmp_path / "out.weights.bin").exists()
    (tmp_path / "moved").mkdir()
    for name in ("out.onnx", "out.weights.bin"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    moved = tmp_path / "moved" / out.name
    x = build.draw(5, build.WIDTH).astype("f")
    want = ort.InferenceSession(model).run(None, {"x": ((x - build.MEAN) / build.STD).astype("f")})[0]
    np.testing.assert_allclose(ort.InferenceSession(moved).run(None, {"x": x})[0], want, rtol=1e-5, atol=1e-6)
    assert pipeline.unbake(moved, tmp_path / "moved" / "back.onnx").read_bytes() == model.read_bytes()
    assert _digests(tmp_path) == before


def test_data_elsewhere_are_linked_on_request(tmp_path: Path) -> None:
    model = build.external(tmp_path)
    (tmp_path / "away").mkdir()
    build.bake(model).save(tmp_path / "away" / "out.onnx", data="link")
    assert (tmp_path / "away" / "weights.bin").samefile(tmp_path / "weights.bin")
    build.bake(model).save(tmp_path / "beside.onnx", data="link")
    assert {p.name for p in tmp_path.iterdir()} == {"away", "beside.onnx", "model.onnx", "weights.bin"}


def test_data_are_never_written_over(tmp_path: Path) -> None:
    model = build.external(tmp_path)
    (tmp_path / "out.weights.bin").write_bytes(b"somebody's")
    with pytest.raises(OutputError, match="exists already"):
        build.bake(model).save(tmp_path / "out.onnx", data="copy")
    assert (tmp_path / "out.weights.bin").read_bytes() == b"somebody's" and not (tmp_path / "out.onnx").exists()
    with pytest.raises(OutputError, match="choose one of share, copy, link"):
        build.bake(model).save(tmp_path / "out.onnx", data="move")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["nodes", "auto"])
def test_a_result_over_the_limit_of_protobuf_spills(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(build.mlp(hidden=20_000).SerializeToString())
    monkeypatch.setattr(spilling, "LIMIT", spilling.RESERVE + 20_000)
    made = build.bake(model, form=form)
    assert "passes" in str(made.plan.notes) or "2 GB" in str(made.plan.notes)
    made = made.verify()
    assert made.comparison is not None and made.comparison.verified and made.comparison.how == "proof"
    out = made.save(tmp_path / "out.onnx")
    assert {p.name for p in tmp_path.iterdir()} == {"model.onnx", "out.onnx", "out.data"}
    assert out.stat().st_size < (
        20_000 if form == "nodes" else 2 * model.stat().st_size
    )  # a fold keeps what it replaced
    x = build.draw(5, build.WIDTH).astype("f")
    want = ort.InferenceSession(model).run(None, {"x": ((x - build.MEAN) / build.STD).astype("f")})[0]
    np.testing.assert_allclose(ort.InferenceSession(out).run(None, {"x": x})[0], want, rtol=1e-4, atol=1e-5)
    (tmp_path / "away").mkdir()
    pipeline.unbake(out, tmp_path / "away" / "back.onnx")
    assert {p.name for p in (tmp_path / "away").iterdir()} == {"back.onnx"}
    assert (tmp_path / "away" / "back.onnx").read_bytes() == model.read_bytes()
    whole = (tmp_path / "out.data").read_bytes()
    (tmp_path / "out.data").write_bytes(whole[:5000] + b"x" + whole[5001:])
    with pytest.raises(OnnxscaleError, match="cannot be restored byte for byte"):
        pipeline.unbake(out, tmp_path / "back.onnx")
    (tmp_path / "out.data").unlink()
    with pytest.raises(OnnxscaleError, match="no such file"):
        pipeline.unbake(out, tmp_path / "back.onnx")
    (tmp_path / "other.data").write_bytes(b"somebody's")
    with pytest.raises(OutputError, match="exists already"):
        made.save(tmp_path / "other.onnx")
    assert (tmp_path / "other.data").read_bytes() == b"somebody's" and not (tmp_path / "other.onnx").exists()


@pytest.mark.parametrize("missing", [(), ("copy_file_range",), ("copy_file_range", "sendfile")])
def test_every_way_to_copy_gives_the_same_bytes(
    missing: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a system has no such call, or two file systems do not go together, the next way takes over in the middle."""

    def unable(*args: object) -> int:
        raise OSError(errno.EXDEV, "another file system")

    for name in missing:
        monkeypatch.setitem(saving.WAYS, name, unable)
    content = os.urandom((1 << 22) + 12345)
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(content)
    told: list[int] = []
    with source.open("rb") as a, target.open("w+b") as b:
        saving._copy(a.fileno(), saving.Copy(77, len(content) - 100), b.fileno(), told.append)
    assert target.read_bytes() == content[77:-23]
    assert sum(told) == len(content) - 100
