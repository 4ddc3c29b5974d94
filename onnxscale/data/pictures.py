"""Pictures in folders, tars and behind URLs, counted: how often each value occurs in each channel, as whole numbers.

From these counts mean, std, range and every quantile of the pixels follow exactly, and the counts of shards add. Each pixel weighs the
same, so that a large picture weighs more than a small one. Pictures are taken as stored, before any resizing, without alpha;
gray ones among coloured ones count in all three channels, as loaders that convert to RGB see them.
"""

from __future__ import annotations

import io
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from onnxscale.data.albums import PICTURES, items
from onnxscale.data.base import Batch, Data, Part, Selection
from onnxscale.errors import DataError, names
from onnxscale.step import Array

WORKERS = 2  # pillow decodes without Python's lock
NAMED = 20  # so many of the pictures that could not be read are named
ROWS = 1 << 16  # pixels of a batch
# What a mode of pillow is counted as: channels and bits. An alpha channel is left out.
_COUNTED = {
    **dict.fromkeys(("1", "L", "LA", "La"), ("L", 8)),
    **dict.fromkeys(("RGB", "RGBA", "RGBa", "RGBX", "P", "PA", "CMYK", "YCbCr", "HSV", "LAB"), ("RGB", 8)),
    **dict.fromkeys(("I;16", "I;16L", "I;16B", "I;16N"), ("I;16", 16)),
}
_ALPHA = ("LA", "La", "RGBA", "RGBa", "PA")
CHANNELS = {1: ("gray",), 3: ("red", "green", "blue")}


@dataclass(eq=False)
class Pixels:
    """counts: how often each value occurs, int64 of (C, 2 ** bits), by what was counted ("L", "RGB", "I;16"). pictures: how
    many of each mode of pillow. size: bytes of the files. unread: how many could not be read; why: of the first of these."""

    counts: dict[str, Array] = field(default_factory=dict)
    pictures: Counter[str] = field(default_factory=Counter)
    size: int = 0
    unread: int = 0
    why: dict[str, str] = field(default_factory=dict)

    def add(self, other: Pixels) -> None:
        """Takes in what another shard counted."""
        for kind, found in other.counts.items():
            self.counts[kind] = self.counts[kind] + found if kind in self.counts else found
        self.pictures += other.pictures
        self.size += other.size
        self.unread += other.unread
        self.why = dict([*self.why.items(), *other.why.items()][:NAMED])

    @property
    def bits(self) -> int:
        return 16 if "I;16" in self.counts else 8

    def channels(self) -> Array:
        """The counts of each channel, int64 of (1, 2 ** bits) or (3, 256). Raises DataError where there is nothing, or where
        pictures of 8 and of 16 bits are mixed."""
        if not self.counts:
            raise DataError(f"no picture could be read{self.unread_said(': ')}")
        if "I;16" in self.counts and len(self.counts) > 1:
            deep = sum(n for mode, n in self.pictures.items() if mode.startswith("I;16"))
            raise DataError(
                f"{deep} pictures have 16 bits and {self.pictures.total() - deep} have 8: one scaler cannot be right for both; "
                f"fit them apart"
            )
        if "RGB" in self.counts:
            found: Array = self.counts["RGB"] + self.counts.get("L", 0)
            return found
        return next(iter(self.counts.values()))

    def notes(self) -> tuple[str, ...]:
        """What was decided on the way, for the user."""
        gray = sum(n for mode, n in self.pictures.items() if _COUNTED[mode][0] == "L")
        alpha = sum(n for mode, n in self.pictures.items() if mode in _ALPHA)
        said = []
        if gray and "RGB" in self.counts:
            said.append(f"{gray} of {self.pictures.total()} pictures are gray: counted in all three channels")
        if alpha:
            said.append(f"{alpha} of {self.pictures.total()} pictures have an alpha channel: left out")
        return tuple(said)

    def unread_said(self, before: str = "") -> str:
        """`3 could not be read: ...`, or nothing."""
        if not self.unread:
            return ""
        first = "; ".join(f"{name} ({reason})" for name, reason in list(self.why.items())[:3])
        return f"{before}{self.unread} could not be read: {first}{' ...' if self.unread > 3 else ''}"

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        counts = {kind: found.tolist() for kind, found in self.counts.items()}
        plain = {"size": self.size, "unread": self.unread, "why": dict(self.why)}
        return {"counts": counts, "pictures": dict(self.pictures)} | plain

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Pixels:
        """The reverse of `to_json`."""
        counts = {k: np.asarray(v, np.int64) for k, v in content["counts"].items()}
        return Pixels(counts, Counter(content["pictures"]), content["size"], content["unread"], dict(content["why"]))


def refuse(chosen: Selection) -> None:
    """Raises DataError where columns or rows are chosen: a picture has neither."""
    if replace(chosen, shard=(1, 1)) != Selection():
        raise DataError(
            "pictures have no columns, targets, groups or conditions to choose; their channels are all taken"
        )


def counted(
    paths: Sequence[str], tell: Callable[[int], None] = lambda pictures: None, *, shard: tuple[int, int] = (1, 1)
) -> Pixels:
    """Every picture of these folders, tars, files, patterns and URLs, counted. shard: (i, n), every n-th picture from the i-th.

    tell: called with 1 for each. Raises DataError where there is none, or none that can be read.
    """
    _pillow()
    found = Pixels()
    with ThreadPoolExecutor(WORKERS) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pillow, about files that it reads all the same
        waiting: deque[Future[Pixels]] = deque()
        for i, (name, read) in enumerate(items(paths)):
            if i % shard[1] != shard[0] - 1:
                continue
            # a tar is read here, one entry after the other; a file where it is decoded
            waiting.append(pool.submit(_count, name, read))
            if len(waiting) > 8 * WORKERS:
                found.add(waiting.popleft().result())
                tell(1)
        for done in waiting:
            found.add(done.result())
            tell(1)
    if not found.pictures and not found.unread:
        raise DataError(f"{names(paths)}: no pictures there ({', '.join(PICTURES)})")
    found.channels()
    return found


def _pillow() -> None:
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise DataError("pictures need pillow: pip install 'onnxscale[images]'") from None


def _count(name: str, read: Callable[[], bytes]) -> Pixels:
    try:
        content = read()
        image, mode = _decoded(content)
        kind, bits = _COUNTED[mode]
        if bits == 8:
            counts = np.asarray(image.histogram(), np.int64).reshape(-1, 256)
        else:
            counts = np.bincount(np.asarray(image).reshape(-1), minlength=1 << bits)[None].astype(np.int64)
    except Exception as error:  # noqa: BLE001  each of pillow's decoders raises its own types
        return Pixels(unread=1, why={name: str(error).replace("\n", " ")[:120] or type(error).__name__})
    return Pixels({kind: counts}, Counter([mode]), len(content))


def _decoded(content: bytes) -> tuple[Any, str]:
    """The picture in a mode that is counted, and the mode it is stored in. Raises what pillow does, and DataError."""
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(content))
    except UnidentifiedImageError:
        raise DataError("no picture that pillow knows" if content else "empty") from None
    limit = Image.MAX_IMAGE_PIXELS or 1 << 27
    if image.width * image.height > limit:
        raise DataError(f"{image.width} x {image.height} pixels, more than {limit:,}: a decompression bomb?")
    mode = str(image.mode)
    if mode not in _COUNTED:
        raise DataError(f"mode {mode}, not of 8 or 16 bits: save such values as arrays (.npy)")
    image.load()
    kind = _COUNTED[mode][0]
    return (image if kind in (mode, "I;16") else image.convert(kind)), mode


def opened(paths: Sequence[str], about: Mapping[str, Any] | None = None) -> Data:
    """Pictures as rows of pixels, (n, channels) of float32 with the stored values, for what asks for samples. The first one
    that can be read says how many channels. Raises DataError where one cannot be read."""
    _pillow()
    first = next((kind for kind, _ in _pixels(paths)), None)
    if first is None:
        raise DataError(f"{names(paths)}: no pictures there ({', '.join(PICTURES)})")
    features = CHANNELS[3 if first == "RGB" else 1]

    def read(columns: Sequence[int]) -> Iterator[Batch]:
        for kind, image in _pixels(paths):
            if kind != first and {kind, first} != {"L", "RGB"}:
                raise DataError("pictures of 8 and of 16 bits are mixed: one scaler cannot be right for both")
            rows = np.asarray(image if kind == first else image.convert(first), np.float32).reshape(-1, len(features))
            for at in range(0, len(rows), ROWS):
                yield Batch(rows[at : at + ROWS, list(columns)])

    dtype = "uint16" if first == "I;16" else "uint8"
    return Data(features, (dtype,) * len(features), (Part(read),), dict(about or {}), engine="pillow")


def _pixels(paths: Sequence[str]) -> Iterator[tuple[str, Any]]:
    for name, read in items(paths):
        try:
            image, mode = _decoded(read())
        except Exception as error:  # noqa: BLE001  each of pillow's decoders raises its own types
            raise DataError(f"{name}: cannot be read as a picture ({error})") from None
        yield _COUNTED[mode][0], image
