"""Lock: what moved is found, whatever it is, and said; the lock itself is sorted, stable, and safe to read and to review."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import onnxscale
from onnxscale import locking, locks, moved, signing
from onnxscale.errors import LockError, OutputError
from onnxscale.locks import Entry, Held, Lock, Tensor
from tests import build
from tests.test_probing import PIXELS, images
from tests.thinning import thinned

ROOT = Path(__file__).parent.parent
NAMES = ["age", "fare", "m\u00fcde", "d"]


def stats(mean: Any = build.MEAN, std: Any = build.STD, **more: Any) -> dict[str, Any]:
    return {"mean": np.asarray(mean).tolist(), "std": np.asarray(std).tolist(), "features": NAMES, **more}


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """Three models, one of them with external data and one bare, and a statistics file; locked."""
    folder = tmp_path / "repo"
    (folder / "models" / "deep").mkdir(parents=True)
    (folder / "stats.json").write_text(json.dumps(stats(ddof=0)))
    onnxscale.bake(build.mlp(), folder / "stats.json").save(folder / "models" / "a.onnx")
    onnxscale.bake(build.mlp(seed=1), stats(build.MEAN + 1), form="nodes").save(folder / "models" / "b.onnx")
    build.external(folder / "models" / "deep")
    onnxscale.lock([folder / "models", folder / "stats.json"], folder / locks.NAME)
    return folder


def found(repo: Path, **how: Any) -> list[tuple[str, str]]:
    return [(f.path, f.rule) for f in onnxscale.check_lock(file=repo / locks.NAME, **how).findings]


def message(repo: Path) -> str:
    (finding,) = onnxscale.check_lock(file=repo / locks.NAME).findings
    return finding.message


def test_what_was_locked_holds(repo: Path, cli) -> None:
    assert found(repo) == found(repo, frozen=True) == []
    got = cli("lock", "--check", cwd=repo)
    assert got.returncode == 0 and got.stdout == "HOLDS: 5 file(s) are as onnxscale.lock has them\n"
    assert cli("lock", "--frozen", "--json", cwd=repo).returncode == 0


def test_the_lock_is_stable_sorted_and_says_where_from(repo: Path, cli, tmp_path: Path) -> None:
    text = (repo / locks.NAME).read_text()
    made = locking.read(repo / locks.NAME)
    assert [e.path for e in made.entries] == ["models/a.onnx", "models/b.onnx", "models/deep/model.onnx", "stats.json"]
    assert made.entries[2].data[0].path == "models/deep/weights.bin"
    (tensor, _) = made.entries[0].tensors
    assert tensor.source["sha256"] == made.entries[3].file.sha256 and tensor.source["ddof"] == 0
    assert tensor.features == tuple(NAMES) and str(tmp_path) not in text
    assert tensor.fingerprint == made.entries[3].tensors[0].fingerprint
    assert locks.dumps(made) == text
    shutil.copytree(repo, tmp_path / "elsewhere")
    assert cli("lock", cwd=tmp_path / "elsewhere").returncode == 0  # the recorded paths again
    assert (tmp_path / "elsewhere" / locks.NAME).read_text() == text


def test_every_flipped_bit_is_found(repo: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("models/a.onnx", "models/b.onnx", "models/deep/model.onnx", "models/deep/weights.bin", "stats.json"):
        whole = (repo / name).read_bytes()
        for at in rng.integers(0, len(whole), 60):
            b = bytearray(whole)
            b[at] ^= 1 << int(rng.integers(8))
            (repo / name).write_bytes(b)
            assert found(repo), (name, at)
        (repo / name).write_bytes(whole)
    assert not found(repo)


def test_a_tensor_whose_name_is_no_longer_text(repo: Path) -> None:
    victim = repo / "models" / "a.onnx"
    whole = victim.read_bytes()
    at = whole.index(b"\n\x01x\x12", whole.index(b"Softmax"))  # the ValueInfo of the input x
    victim.write_bytes(whole[: at + 2] + b"\xf8" + whole[at + 3 :])
    assert found(repo) == [("models/a.onnx", "unreadable")] and "is not UTF-8" in message(repo)


@pytest.mark.slow
def test_every_single_bit_of_a_model_is_found(repo: Path) -> None:
    victim = repo / "models" / "b.onnx"
    whole = victim.read_bytes()
    for at in range(8 * len(whole)):
        b = bytearray(whole)
        b[at // 8] ^= 1 << at % 8
        victim.write_bytes(b)
        assert found(repo), at


@pytest.mark.parametrize("place", range(9))
def test_one_changed_digit_of_a_statistic_is_named(repo: Path, place: int) -> None:
    digits = "123.456789"
    (repo / "stats.json").write_text(json.dumps(stats([1, float(digits), 3, 4])))
    onnxscale.lock([repo / "stats.json"], repo / locks.NAME)
    at = [i for i, c in enumerate(digits) if c != "."][place]
    other = digits[:at] + str((int(digits[at]) + 1) % 10) + digits[at + 1 :]
    (repo / "stats.json").write_text(json.dumps(stats([1, float(other), 3, 4])))
    (finding,) = onnxscale.check_lock(file=repo / locks.NAME).findings
    assert finding.rule == "normalization" and [f.feature for f in finding.features] == [1]
    size = abs(float(other) - float(digits)) / build.STD[1]
    assert finding.features[0].sigmas == pytest.approx(size, rel=1e-4)
    assert f"feature 1 'fare': mean {digits} -> {float(other):.12g} (digit {place + 1})" in finding.message


def test_a_rebake_with_another_statistic_is_named(repo: Path) -> None:
    onnxscale.bake(build.mlp(), stats(std=build.STD * [1, 1, 1.002, 1])).save(repo / "models" / "a.onnx")
    assert "feature 2 'm\u00fcde': std 0.0125 -> 0.012525 (digit 4), 0.00599 sigmas" in message(repo)


def test_a_change_of_ddof_is_named(repo: Path) -> None:
    onnxscale.bake(build.mlp(), stats(std=build.STD * np.sqrt(200 / 199))).save(repo / "models" / "a.onnx")
    assert "ddof changed" in message(repo) and "large in the file as in the lock, for n about 200 rows" in message(repo)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (stats(build.MEAN * 255, build.STD * 255), "this one expects raw values 255 times as large as the locked one does"),
        (stats(build.MEAN / 255, build.STD / 255), "the locked one expects raw values 255 times as large as this one does"),
        (stats(build.MEAN * 0), "this one does not subtract the mean"),
        ({**stats(build.MEAN[::-1], build.STD[::-1]), "features": NAMES[::-1]}, "feature 0 is 'age' in the lock, 'd' in the file"),
    ],
)  # fmt: skip
def test_what_a_change_looks_like_is_told_of_the_lock_and_the_file(
    repo: Path, content: dict[str, Any], words: str
) -> None:
    (repo / "stats.json").write_text(json.dumps(content))
    assert words in message(repo)


def test_a_model_in_another_layout_is_locked_with_its_constants(tmp_path: Path) -> None:
    nhwc = [onnxscale.bake(images(), {**PIXELS, "std": [58.0, 57.0, s]}, layout="nhwc") for s in (57.0, 57.9)]
    nhwc[0].save(tmp_path / "m.onnx")
    onnxscale.lock([tmp_path], tmp_path / locks.NAME)
    assert found(tmp_path) == []
    nhwc[1].save(tmp_path / "m.onnx", force=True)
    assert "feature 2: std 57 -> 57.9 (digit 3)" in message(tmp_path)


def test_other_weights_under_the_same_normalization(repo: Path) -> None:
    onnxscale.bake(build.mlp(seed=5), repo / "stats.json").save(repo / "models" / "a.onnx")
    assert found(repo) == [("models/a.onnx", "bytes")] and "the normalization it carries is the same" in message(repo)
    (repo / "again.json").write_text(json.dumps(stats(ddof=0)) + "\n")
    onnxscale.bake(build.mlp(), repo / "again.json").save(repo / "models" / "a.onnx")
    assert found(repo) == [("models/a.onnx", "bytes")] and "sha256 of input 'x'" in message(repo)


def test_a_record_that_lies_about_its_nodes(repo: Path) -> None:
    """The record is untouched, a constant of the nodes is not."""
    path = repo / "models" / "b.onnx"
    model = onnx.load(path)
    (constant,) = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.DOUBLE and "sub" in t.name]
    values = onnx.numpy_helper.to_array(constant).copy()
    values[..., 3] += 1
    constant.CopyFrom(onnx.numpy_helper.from_array(values, constant.name))
    onnx.save(model, path)
    (finding,) = onnxscale.check_lock(file=repo / locks.NAME).findings
    assert finding.rule == "normalization" and [f.feature for f in finding.features] == [3]
    shown = onnxscale.diff(path, stats(build.MEAN + 1))
    assert not shown.same and "do not compute what its record says" in shown.tensors[0].notes[0]


def test_the_normalization_left(repo: Path) -> None:
    onnx.save(build.mlp(), repo / "models" / "a.onnx")
    assert "the normalization left the file" in message(repo)


def test_swapped_files(repo: Path) -> None:
    a, b, spare = (repo / "models" / n for n in ("a.onnx", "b.onnx", "spare"))
    a.rename(spare), b.rename(a), spare.rename(b)
    assert found(repo) == [("models/a.onnx", "swapped")]
    assert message(repo) == "and 'models/b.onnx' were swapped: each holds the bytes of the other"
    shutil.copy(a, b)
    assert found(repo) == [("models/a.onnx", "swapped")]
    assert message(repo) == "holds the bytes that 'models/b.onnx' was locked with"


def test_missing_moved_and_new(repo: Path) -> None:
    (repo / "models" / "a.onnx").rename(repo / "models" / "c.onnx")
    (repo / "models" / "deep" / "weights.bin").unlink()
    (repo / "stats.json").unlink()
    assert found(repo) == [
        ("models/a.onnx", "moved"), ("models/c.onnx", "new"), ("models/deep/model.onnx", "unreadable"), ("stats.json", "missing"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "content", [b"", b"\x08", b"version https://git-lfs.github.com/spec/v1\n", b"<html>", os.urandom(999)]
)
def test_what_is_no_model_any_more_is_a_finding(repo: Path, content: bytes) -> None:
    (repo / "models" / "a.onnx").write_bytes(content)
    assert found(repo) == [("models/a.onnx", "unreadable")]
    with pytest.raises(LockError, match=r"a\.onnx"):
        onnxscale.lock(file=repo / locks.NAME)


def test_a_model_that_became_a_folder_or_a_fifo(repo: Path) -> None:
    victim = repo / "models" / "a.onnx"
    victim.unlink(), victim.mkdir()
    assert found(repo) == [("models/a.onnx", "unreadable")]
    victim.rmdir(), os.mkfifo(victim)
    assert found(repo) == [("models/a.onnx", "unreadable")]


def test_external_data(repo: Path) -> None:
    data = repo / "models" / "deep" / "weights.bin"
    whole = data.read_bytes()
    data.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert found(repo) == [("models/deep/model.onnx", "data")]


def test_links(repo: Path, tmp_path: Path) -> None:
    """Inside the folder a link is a file like another; out of it none is followed, whether it was locked or not."""
    (repo / "models" / "link.onnx").symlink_to("a.onnx")
    assert found(repo) == [("models/link.onnx", "new")]
    onnxscale.lock(file=repo / locks.NAME)
    assert not found(repo)
    victim = repo / "models" / "b.onnx"
    victim.rename(tmp_path / "b.onnx"), victim.symlink_to(tmp_path / "b.onnx")
    assert found(repo) == [("models/b.onnx", "unreadable")] and "link out of the folder" in message(repo)
    with pytest.raises(LockError, match="link out of the folder"):
        onnxscale.lock(file=repo / locks.NAME)
    (tmp_path / "outside").mkdir()
    shutil.copy(repo / "models" / "a.onnx", tmp_path / "outside" / "x.onnx")
    (repo / "models" / "far").symlink_to(tmp_path / "outside")
    assert ("models/far/x.onnx", "new") not in found(repo)


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a/../../b", "a\\\\b", ""])
def test_a_lock_cannot_point_out_of_its_folder(repo: Path, path: str) -> None:
    text = (repo / locks.NAME).read_text().replace('path = "models/a.onnx"', f'path = "{path}"')
    (repo / locks.NAME).write_text(text)
    with pytest.raises(LockError, match="no path in the lock's own folder"):
        onnxscale.check_lock(file=repo / locks.NAME)


@pytest.mark.parametrize("paths", ['["../up"]', '["/etc"]'])
def test_nor_can_its_paths(repo: Path, paths: str, tmp_path: Path) -> None:
    text = (repo / locks.NAME).read_text().replace('paths = ["models", "stats.json"]', f"paths = {paths}")
    (repo / locks.NAME).write_text(text)
    with pytest.raises(LockError, match="no path in the lock's own folder"):
        onnxscale.check_lock(file=repo / locks.NAME)


def test_an_edited_lock_is_told(repo: Path) -> None:
    whole = (repo / locks.NAME).read_text()
    printed = locking.read(repo / locks.NAME).entries[0].tensors[0].fingerprint
    (repo / locks.NAME).write_text(whole.replace(printed, "0" * 32))
    assert ("models/a.onnx", "edited") in found(repo)
    (repo / locks.NAME).write_text(whole + "# nothing\n")
    assert found(repo) == [] and found(repo, frozen=True) == [(locks.NAME, "stale")]


BAD = {
    "no such file; write it": None,
    "broken TOML": b"version = ",
    "broken TOML: ": b"\xff\xfe",
    "version 2 of the lock format": b"version = 2\n",
    "version None": b"",
    "damaged at model": b"version = 1\npaths = ['.']\nmodel = 3\n",
    r"damaged at model\[0\].path, size": b"version = 1\npaths = []\n[[model]]\npath = 3\n",
    "stands twice": b"version = 1\npaths = []\n" + b"[[model]]\npath='a'\nsize=1\nsha256='b'\n" * 2,
    r"damaged at model\[0\].input": b"version = 1\n[[model]]\npath='a'\nsize=1\nsha256='b'\ninput=[1]\n",
}


@pytest.mark.parametrize("words", thinned(BAD))
def test_a_bad_lock_is_one_clear_message(words: str, cli, tmp_path: Path) -> None:
    if BAD[words] is not None:
        (tmp_path / locks.NAME).write_bytes(BAD[words])
    with pytest.raises(LockError, match=words):
        onnxscale.check_lock(file=tmp_path / locks.NAME)
    got = cli("lock", "--check", cwd=tmp_path)
    assert got.returncode == 2 and "Traceback" not in got.stderr and len(got.stderr.splitlines()) == 1


def test_line_ends_and_marks_of_windows_are_no_change(repo: Path, cli) -> None:
    whole = (repo / locks.NAME).read_bytes()
    for changed in (whole.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + whole):
        (repo / locks.NAME).write_bytes(changed)
        assert found(repo) == []
        assert cli("lock", cwd=repo).returncode == 0 and (repo / locks.NAME).read_bytes() == whole
    (repo / locks.NAME).write_bytes(whole.replace(b"\n", b"\r\n"))
    assert cli("lock", "--frozen", cwd=repo).returncode == 0


def test_a_merge_that_conflicts_is_told_and_locked_again(repo: Path, cli) -> None:
    whole = (repo / locks.NAME).read_text()
    head, mine, rest = whole.partition("[[model]]")
    left = f"{head}<<<<<<< HEAD\n{mine}\n=======\n{mine}\nsize = 3\n>>>>>>> theirs\n{rest}"
    (repo / locks.NAME).write_text(left)
    got = cli("lock", "--check", cwd=repo)
    assert got.returncode == 2 and "a merge left its marks" in got.stderr
    assert cli("lock", cwd=repo).returncode == 0 and (repo / locks.NAME).read_text() == whole
    (repo / locks.NAME).write_text(whole.replace("version = 1", "version = 2"))
    got = cli("lock", cwd=repo)
    assert got.returncode == 2 and "version 2" in got.stderr


def test_a_path_that_is_nowhere_is_no_success(repo: Path, cli) -> None:
    (repo / "empty").mkdir()
    for path in ("modles/a.onnx", "empty"):
        got = cli("lock", "--check", path, cwd=repo)
        assert got.returncode == 2 and "nothing was checked" in got.stderr


def test_a_constant_that_moved_below_the_ninth_digit_is_named(repo: Path) -> None:
    stats = json.loads((repo / "stats.json").read_text())
    before, after = stats["std"][1], float(np.nextafter(stats["std"][1], 99))
    stats["std"][1] = after
    (repo / "stats.json").write_text(json.dumps(stats))
    (finding,) = onnxscale.check_lock(file=repo / locks.NAME).findings
    assert finding.rule == "bytes" and f"below which Div of feature 1 moved: {before!r} -> {after!r}" in finding.message


def test_steps_in_a_lock_that_are_no_steps(repo: Path) -> None:
    text = (repo / locks.NAME).read_text().replace('op = "Sub"', 'op = "Nothing"')
    (repo / locks.NAME).write_text(text)
    (repo / "stats.json").write_text(json.dumps(stats(build.MEAN + 2)))
    with pytest.raises(LockError, match="damaged at input"):
        onnxscale.check_lock(file=repo / locks.NAME)


def test_what_cannot_be_locked(repo: Path, tmp_path: Path, cli) -> None:
    (tmp_path / "empty").mkdir()
    for paths, words in (
        ([tmp_path / "empty"], "outside the folder"), (["https://x.org/a.onnx"], "fetch the model first"), (["none"], "no such file"),
    ):  # fmt: skip
        with pytest.raises(LockError, match=words):
            onnxscale.lock(paths, repo / locks.NAME)
    with pytest.raises(LockError, match="nothing to lock"):
        onnxscale.lock(file=tmp_path / "empty" / locks.NAME)
    (repo / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="--force"):
        onnxscale.lock([repo / "models"], repo / "mine.txt")
    assert (repo / "mine.txt").read_text() == "mine"
    assert cli("lock", "--check", "--sign", "k", cwd=repo).returncode == 2


def test_only_a_part_is_checked(repo: Path, cli) -> None:
    (repo / "stats.json").unlink()
    assert not onnxscale.check_lock([repo / "models"], repo / locks.NAME).findings
    got = cli("lock", "--check", "stats.json", "--json", cwd=repo)
    assert got.returncode == 1 and [f["rule"] for f in json.loads(got.stdout)["findings"]] == ["missing"]


def test_hidden_folders_are_left_out(repo: Path) -> None:
    (repo / "models" / ".cache").mkdir()
    shutil.copy(repo / "models" / "a.onnx", repo / "models" / ".cache" / "a.onnx")
    assert not found(repo)


def test_names_can_neither_steer_a_terminal_nor_a_review(repo: Path, cli) -> None:
    evil = "\x1b[2J\u202ekcol\n.onnx"
    (repo / "models" / "a.onnx").rename(repo / "models" / evil)
    got = cli("lock", "--check", cwd=repo)
    assert got.returncode == 1 and not set("\x1b\u202e") & set(got.stdout) and "\\x1b[2J" in got.stdout
    assert cli("lock", cwd=repo).returncode == 0
    text = (repo / locks.NAME).read_text()
    assert not set("\x1b\u202e\u2028") & set(text) and f"models/{evil}" in [
        e.path for e in locking.read(repo / locks.NAME).entries
    ]


def test_a_name_that_is_not_utf8(repo: Path) -> None:
    name = os.fsencode(repo / "models") + b"/\xff.onnx"
    shutil.copy(os.fsencode(repo / "models" / "a.onnx"), name)
    assert [r for _, r in found(repo)] == ["unreadable"]
    with pytest.raises(LockError, match="UTF-8"):
        onnxscale.lock(file=repo / locks.NAME)


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
several = st.lists(words, max_size=30).map(tuple)
numbers = st.floats(width=64, allow_nan=False)
step = st.fixed_dictionaries({"op": words, "operands": st.lists(st.lists(numbers, max_size=20), max_size=2)})
tensors = st.builds(
    Tensor,
    role=st.sampled_from(["input", "output"]),
    **dict.fromkeys(["name", "type", "how", "space", "fingerprint"], words),
    axis=st.none() | st.integers(-9, 9),
    features=several,
    units=several,
    source=st.dictionaries(words.filter(bool), words | st.integers(0, 9), max_size=3),
    steps=st.none() | st.lists(step, min_size=1, max_size=2),
)
paths = words.filter(lambda s: s and not s.startswith("/") and not set("\\\0") & set(s) and ".." not in s)
held = st.builds(Held, paths, st.integers(0, 2**62), words)
entry = st.builds(
    Entry,
    st.sampled_from(["model", "statistics"]),
    held,
    st.lists(tensors, max_size=3).map(lambda t: tuple(sorted(t, key=lambda x: x.role))),
    st.lists(held, max_size=2).map(tuple),
)
entries = st.lists(entry, max_size=3, unique_by=lambda e: e.path)


@settings(max_examples=150, deadline=None)
@given(st.lists(paths, max_size=3).map(tuple), entries)
def test_a_lock_reads_back_as_it_was_written(asked, listed) -> None:
    lock = Lock(asked, tuple(sorted(listed, key=lambda e: e.path)))
    text = locks.dumps(lock)
    again = locks.loads(text.encode(), "x")
    assert again == lock and locks.dumps(again) == text


def test_too_many_constants_are_locked_by_their_fingerprint(tmp_path: Path) -> None:
    wide = 20_000
    content = {"mean": list(range(wide)), "std": [1.5] * wide}
    (tmp_path / "wide.json").write_text(json.dumps(content))
    onnxscale.lock([tmp_path / "wide.json"], tmp_path / locks.NAME)
    assert (tmp_path / locks.NAME).stat().st_size < 2000 and not found(tmp_path)
    content["mean"][7] = 8
    (tmp_path / "wide.json").write_text(json.dumps(content))
    assert found(tmp_path) == [("wide.json", "normalization")]


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    pytest.importorskip("model_signing", reason="needs the extra [signing]")
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import ec

    made = []
    for name in ("one", "two"):
        key = ec.generate_private_key(ec.SECP256R1())
        (tmp_path / f"{name}.pem").write_bytes(
            key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
        )
        public = key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
        (tmp_path / f"{name}.pub").write_bytes(public)
        made.append(tmp_path / name)
    return made[0], made[1]


def test_signatures_with_an_offline_key(repo: Path, keys: tuple[Path, Path], cli) -> None:
    one, two = keys
    got = cli("lock", "--sign", f"{one}.pem", cwd=repo)
    assert got.returncode == 0 and (repo / "onnxscale.lock.sig").exists(), got.stderr
    got = cli("lock", "--frozen", "--verify-key", f"{one}.pub", cwd=repo)
    assert got.returncode == 0 and "signature verified" in got.stdout
    assert "was not checked" in onnxscale.check_lock(file=repo / locks.NAME).notes[0]
    (wrong,) = onnxscale.check_lock(file=repo / locks.NAME, key=f"{two}.pub").findings
    assert wrong.rule == "signature" and "does not hold" in wrong.message
    (repo / locks.NAME).write_text((repo / locks.NAME).read_text() + "\n")
    assert found(repo, key=f"{one}.pub") == [(locks.NAME, "signature")]
    stale = cli("lock", cwd=repo)
    assert stale.returncode == 0 and "signs an earlier lock" in stale.stderr
    (repo / "onnxscale.lock.sig").write_text("{}")
    assert found(repo, key=f"{one}.pub") == [(locks.NAME, "signature")]
    (repo / "onnxscale.lock.sig").unlink()
    assert found(repo, key=f"{one}.pub") == [(locks.NAME, "signature")]
    for key in (f"{one}.pub", repo / "none", repo / locks.NAME):
        with pytest.raises(LockError, match="key"):
            signing.sign(repo / locks.NAME, key)
    with pytest.raises(LockError, match="no public elliptic curve key"):
        found(repo, key=f"{one}.pem")


def test_an_encrypted_key_and_its_password(repo: Path, keys: tuple[Path, Path], cli, monkeypatch) -> None:
    from cryptography.hazmat.primitives import serialization as s

    one, _ = keys
    key = s.load_pem_private_key(Path(f"{one}.pem").read_bytes(), None)
    sealed = s.BestAvailableEncryption("gehäuse".encode())
    (repo / "sealed.pem").write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, sealed))
    (repo / locks.NAME).unlink()
    for password in (None, "wrong"):
        if password:
            monkeypatch.setenv(signing.PASSWORD, password)
        got = cli("lock", ".", "--sign", "sealed.pem", cwd=repo)
        assert got.returncode == 2 and "has no password that opens it" in got.stderr
        assert not (repo / locks.NAME).exists(), "nothing is written where the key cannot sign"
    monkeypatch.setenv(signing.PASSWORD, "gehäuse")
    assert cli("lock", ".", "--sign", "sealed.pem", cwd=repo).returncode == 0
    assert found(repo, key=f"{one}.pub") == []


def test_the_hook_of_pre_commit_runs_what_it_says(repo: Path) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert hook["id"] == "onnxscale-lock" and hook["pass_filenames"] is False
    name, *arguments = shlex.split(hook["entry"])
    assert name == "onnxscale"
    command = [sys.executable, "-m", name, *arguments]
    assert subprocess.run(command, cwd=repo, capture_output=True, check=False).returncode == 0
    (repo / "models" / "a.onnx").unlink()
    assert subprocess.run(command, cwd=repo, capture_output=True, check=False).returncode == 1


def test_memory_is_flat(tmp_path: Path) -> None:
    """A model of 128 MB is locked and checked with a fraction of that."""
    pytest.importorskip("resource", reason="peak memory is asked of a POSIX system")
    wide = 4000
    weights = [build.tensor(np.zeros((wide, wide)), f"w{i}") for i in range(2)]
    nodes = [onnx.helper.make_node("MatMul", [a, w], [b]) for a, w, b in (("x", "w0", "h"), ("h", "w1", "y"))]
    big = build.model(nodes, [build.value("x", ("N", wide))], [build.value("y", ("N", wide))], weights)
    onnx.save(big, tmp_path / "big.onnx")
    code = (
        "import sys, resource, onnxscale.locking as l, onnxscale.moved as m, onnx, numpy\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak(); l.lock([], sys.argv[1]); m.check_lock([], sys.argv[1]); print(peak() - before)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / locks.NAME)], capture_output=True, text=True, check=True
    )
    assert int(out.stdout) < 40_000  # kilobytes


def test_nothing_is_written_where_a_check_is_asked_for(repo: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in repo.rglob("*")}
    assert isinstance(moved.check_lock(file=repo / locks.NAME), moved.Checked)
    assert {p: p.stat().st_mtime_ns for p in repo.rglob("*")} == before


def test_statistics_beside_a_model_are_locked_and_nothing_else_beside_it(tmp_path: Path) -> None:
    onnx.save(build.mlp(2), tmp_path / "m.onnx")
    (tmp_path / "stats.json").write_text('{"mean": [1.25, 2.5], "std": [3.0, 4.0]}')
    (tmp_path / "package.json").write_text('{"name": "a", "version": "1.0"}')
    made = onnxscale.lock([tmp_path], tmp_path / "onnxscale.lock")
    assert [(e.kind, e.file.path) for e in made.entries] == [("model", "m.onnx"), ("statistics", "stats.json")]
    (tmp_path / "stats.json").write_text('{"mean": [1.25, 2.5], "std": [3.0, 4.1]}')
    (tmp_path / "package.json").write_text("{}")
    told = onnxscale.check_lock(file=tmp_path / "onnxscale.lock").findings
    assert [f.path for f in told] == ["stats.json"]
