"""Statistics of pictures: those of numpy over the pixels, from files that pillow wrote, whatever holds them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from onnxscale.data import albums, pictures
from onnxscale.errors import DataError
from onnxscale.fitting import images
from onnxscale.profile import PROBABILITIES

Image = pytest.importorskip("PIL.Image", reason="needs pillow")


def save(path: Path, values: np.ndarray, mode: str | None = None) -> np.ndarray:
    """The pixels as they read back (JPEG loses some), (n, channels) of RGB or gray."""
    image = Image.fromarray(values) if mode is None else Image.fromarray(values).convert(mode)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    read = Image.open(path)
    read = read.convert("RGB") if read.mode in ("P", "RGBA", "CMYK", "RGB") else read
    return np.asarray(read).reshape(-1, 3 if read.mode == "RGB" else 1)


@pytest.fixture
def rgb(tmp_path: Path) -> tuple[Path, np.ndarray]:
    draw = np.random.default_rng(0)
    kept = []
    for i, suffix in enumerate(["png", "jpg", "webp", "bmp", "tif", "PNG"]):
        size = (20 + i, 30 - i, 3)
        values = draw.integers(0, 60 * (i % 4) + 40, size).astype(np.uint8)
        kept.append(save(tmp_path / "set" / f"class{i % 2}" / f"{i}.{suffix}", values))
    (tmp_path / "set" / "labels.csv").write_text("a,b\n")
    return tmp_path / "set", np.concatenate(kept)


def matches(pixels: pictures.Pixels, rows: np.ndarray) -> None:
    found = images.profile(pixels)
    exact = rows.astype(np.longdouble)
    np.testing.assert_array_equal(found.mean, exact.mean(axis=0).astype(np.float64))
    np.testing.assert_allclose(found.std, exact.std(axis=0).astype(np.float64), rtol=3e-16)
    np.testing.assert_array_equal(found.min, rows.min(axis=0))
    np.testing.assert_array_equal(found.max, rows.max(axis=0))
    assert found.quantiles is not None and found.rows == len(rows)
    expected = np.quantile(rows, PROBABILITIES, axis=0, method="inverted_cdf").T
    np.testing.assert_array_equal(found.quantiles, expected)


def test_a_folder_of_pictures_with_texts_beside_them(rgb: tuple[Path, np.ndarray]) -> None:
    """What the directory lists first decides nothing; folders and patterns of tars are pictures too."""
    folder, rows = rgb
    for path in list(folder.rglob("*.*")):
        if path.name != "labels.csv":
            path.with_suffix(".txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (folder / "README.md").write_text("# pictures\n")
    assert albums.is_pictures(folder)
    shards = folder.parent / "shards"
    shards.mkdir()
    for i, path in enumerate(p for p in sorted(folder.rglob("*.*")) if p.suffix.lower() in albums.PICTURES):
        with tarfile.open(shards / f"{i}.tar", "w") as tar:
            tar.add(path, f"{i}{path.suffix}")
    for source in (folder, shards, shards / "*.tar"):
        assert albums.is_pictures(source)
        matches(pictures.counted([str(source)]), rows)
    tables = folder.parent / "tables"
    tables.mkdir()
    (tables / "a.csv").write_text("a,b\n1,2\n")
    Image.new("RGB", (2, 2)).save(tables / "plot.png")
    assert not albums.is_pictures(tables)


def test_a_folder(rgb: tuple[Path, np.ndarray]) -> None:
    folder, rows = rgb
    told: list[int] = []
    pixels = pictures.counted([str(folder)], told.append)
    matches(pixels, rows)
    assert sum(told) == 6 and pixels.unread == 0
    fitted = images.fitted(pixels)
    values = rows[:50].astype(np.float64)
    scaled = (values * (1 / 255) - rows.mean(axis=0) / 255) / (rows.std(axis=0) / 255)
    np.testing.assert_allclose(fitted.transform()(values), scaled, rtol=1e-12)
    assert fitted.features == ("red", "green", "blue") and fitted.profile is not None
    json.dumps(fitted.profile.to_json())


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz"])
def test_a_tar_a_pattern_and_shards_say_the_same(rgb: tuple[Path, np.ndarray], tmp_path: Path, suffix: str) -> None:
    folder, rows = rgb
    with tarfile.open(tmp_path / f"all{suffix}", "w:gz" if "g" in suffix else "w") as tar:
        tar.add(folder, "set")
    matches(pictures.counted([str(tmp_path / f"all{suffix}")]), rows)
    matches(pictures.counted([str(folder / "class0"), str(folder / "class1" / "*")]), rows)
    whole = pictures.counted([str(folder)]).to_json()
    shards = [pictures.counted([str(folder)], shard=(i, 4)).to_json() for i in (1, 2, 3, 4)]
    merged = pictures.Pixels.from_json(json.loads(json.dumps(shards[0])))
    for other in shards[1:]:
        merged.add(pictures.Pixels.from_json(other))
    assert merged.to_json() == whole


def test_other_modes_are_counted_as_loaders_see_them(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    gray = draw.integers(0, 256, (9, 8)).astype(np.uint8)
    color = draw.integers(0, 256, (7, 5, 3)).astype(np.uint8)
    alpha = draw.integers(0, 256, (6, 5, 4)).astype(np.uint8)
    rows = [np.repeat(save(tmp_path / "gray.png", gray), 3, axis=1), save(tmp_path / "palette.gif", color, "P")]
    rows += [save(tmp_path / "rgba.png", alpha), save(tmp_path / "cmyk.jpg", color, "CMYK")]
    pixels = pictures.counted([str(tmp_path)])
    matches(pixels, np.concatenate(rows))
    said = " ".join(images.fitted(pixels).notes)
    assert "1 of 4 pictures are gray" in said and "1 of 4 pictures have an alpha channel" in said


def test_gray_alone_is_one_channel(tmp_path: Path) -> None:
    gray = np.random.default_rng(2).integers(0, 200, (30, 20)).astype(np.uint8)
    rows = save(tmp_path / "a.png", gray)
    pixels = pictures.counted([str(tmp_path)])
    matches(pixels, rows)
    fitted = images.fitted(pixels)
    assert fitted.features == () and np.ndim(fitted.scaler.mean) == 0  # type: ignore[attr-defined]


def test_16_bits(tmp_path: Path) -> None:
    deep = np.random.default_rng(3).integers(0, 65536, (30, 20)).astype(np.uint16)
    rows = save(tmp_path / "a.png", deep)
    pixels = pictures.counted([str(tmp_path)])
    matches(pixels, rows)
    assert images.fitted(pixels).scaler.rescale == 1 / 65535  # type: ignore[attr-defined]
    save(tmp_path / "b.png", deep.astype(np.uint8))
    with pytest.raises(DataError, match="1 pictures have 16 bits and 1 have 8"):
        pictures.counted([str(tmp_path)])


def test_what_cannot_be_read_is_counted_apart(rgb: tuple[Path, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, rows = rgb
    (folder / "text.png").write_text("no picture")
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)).save(whole, "jpeg")
    (folder / "cut.jpg").write_bytes(whole.getvalue()[:2000])
    (folder / "empty.png").write_bytes(b"")
    Image.fromarray(np.random.default_rng(0).random((4, 4)).astype(np.float32)).save(folder / "float.tiff")
    Image.fromarray(np.zeros((1200, 1000), np.uint8)).save(folder / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)
    pixels = pictures.counted([str(folder)])
    matches(pixels, rows)
    assert pixels.unread == 5
    why = {Path(k).name: v for k, v in pixels.why.items()}
    assert "decompression bomb" in why["bomb.png"] and "mode F" in why["float.tiff"] and "truncated" in why["cut.jpg"]
    assert why["empty.png"] == "empty" and why["text.png"] == "no picture that pillow knows"
    (warned,) = images.fitted(pixels).warnings
    assert warned.startswith("5 could not be read")


def test_behind_a_url(rgb: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec", reason="needs fsspec")
    folder, rows = rgb
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/pictures-of-a-test", recursive=True)
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        tar.add(folder, "set")
    memory.put(str(tmp_path / "all.tar"), "/pictures-of-a-test.tar")
    for url in ("memory://pictures-of-a-test/", "memory://pictures-of-a-test/**/*", "memory://pictures-of-a-test.tar"):
        matches(pictures.counted([url]), rows)
    assert albums.is_pictures("memory://pictures-of-a-test/") and not albums.is_pictures("memory://none/")
    with pytest.raises(DataError, match="no picture could be read"):
        pictures.counted(["memory://pictures-of-a-test/none.png"])


def test_pixels_as_rows(rgb: tuple[Path, np.ndarray]) -> None:
    folder, rows = rgb
    data = pictures.opened([str(folder)])
    assert data.names == ("red", "green", "blue")
    found = np.concatenate(list(data.arrays()))
    assert found.dtype == np.float32 and sorted(map(tuple, found.tolist())) == sorted(map(tuple, rows.tolist()))


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pictures there"):
        pictures.counted([str(tmp_path)])
    with pytest.raises(DataError, match="no such file"):
        pictures.counted([str(tmp_path / "none" / "*.png")])
    (tmp_path / "bad.tar").write_bytes(b"x" * 2000)
    with pytest.raises(DataError, match="cannot be read as a tar"):
        pictures.counted([str(tmp_path / "bad.tar")])
    (tmp_path / "one.png").write_text("no picture")
    with pytest.raises(DataError, match="no picture could be read: 1 could not be read"):
        pictures.counted([str(tmp_path / "one.png")])
    Image.fromarray(np.full((3, 3), 7, np.uint8)).save(tmp_path / "one.png")
    with pytest.raises(DataError, match="every pixel of gray is 7"):
        images.fitted(pictures.counted([str(tmp_path / "one.png")]))
