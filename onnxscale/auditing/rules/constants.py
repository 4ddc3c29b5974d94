"""Constants that look like a mistake: a slipped digit beside a known constant, a std that is a variance, another order, a unit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from onnxscale import linting
from onnxscale.auditing import comparing, graph
from onnxscale.auditing.facts.base import Facts, Norm, Pixels, Table
from onnxscale.auditing.facts.values import SLIPS
from onnxscale.auditing.finding import Finding, Where
from onnxscale.auditing.graph import Repository
from onnxscale.auditing.rules.base import Rule
from onnxscale.auditing.rules.skew import ORDER, UNIT
from onnxscale.errors import StatisticsError
from onnxscale.scalers import Standard
from onnxscale.statistics import Fitted
from onnxscale.step import Array

NEAR = Rule(
    "near-miss", "warning", "a constant is nearly, and not quite, one in common use",
    "correct the digit, or ignore the finding where the constants are your own",
)  # fmt: skip
ODD = Rule(
    "suspicious-constants", "warning", "constants are well formed and look like a mistake: swapped, a variance, mixed units or order",
    "look them up in what training used, or ignore the finding where they are meant",
)  # fmt: skip
_CODES = {
    "digit": NEAR,
    "swapped": ODD,
    "units": UNIT,
    "variance": ODD,
    "mean-equals-std": ODD,
    "mean-outside": ODD,
    "std-too-large": ODD,
}


def check(repo: Repository) -> Iterator[Finding]:
    straight = _straight(repo)
    alike = any(c.role == "train" and any(_blue_first(p) for p in c.pixels) for c in repo.code)
    for facts in repo.files.values():
        if facts.role == "test":
            continue
        ordered = straight or any(p.straight and not p.turned for p in facts.pixels)
        seen: set[str] = set()
        for norm in facts.norms:
            kept = graph.resolved(repo, facts, norm)
            yield from _unit(kept)
            mean, std = kept.written
            if mean is not None and std is not None and mean.size == std.size:
                seen.add(_key(mean, std))
                yield from _lint(norm.where, norm.text, mean, std, ordered or norm.rgb)
            yield from _slip(norm)
        for where, text, mean, std in graph.pairs_of(facts):
            if _key(mean, std) not in seen:
                seen.add(_key(mean, std))
                yield from _lint(where, text, mean, std, ordered)
        for table in facts.tables:
            for code, message in table.lint:
                if code in _CODES:
                    yield _CODES[code].at(table.where, message, table.norm.text, severity="warning")
                elif code == "permuted" and not table.reverse and (straight or "mixed up" in message):
                    yield ORDER.at(table.where, message, table.norm.text, severity="warning")
            if table.reverse and _is_known(_moments(table)):
                said = "offsets in the order of RGB, and channels that the runtime puts blue first"
                yield ORDER.at(table.where, said, table.norm.text, severity="warning")
        yield from _pixels(facts, straight, alike)
        yield from _feeds(repo, facts)


def _key(mean: Array, std: Array) -> str:
    return f"{mean.tolist()} {std.tolist()}"


def _lint(where: Where, text: str, mean: Array, std: Array, straight: bool) -> Iterator[Finding]:
    try:
        found = linting.findings(Fitted(Standard(mean, std)))
    except StatisticsError as error:
        if std.any():  # else no std at all: an offset, a difference of neighbours
            yield ODD.at(where, str(error), text)
        return
    for one in found:
        rule = _CODES.get(one.code)
        if one.code == "permuted" and (straight or "mixed up" in one.message):
            yield ORDER.at(where, one.message, text, severity="warning")
        elif one.code == "mean-equals-std" and np.unique(mean).size == 1:
            continue  # 0.5 and 0.5, 1 and 1: meant
        elif rule is not None and not (one.code == "digit" and _rounded(mean, std)):
            yield rule.at(where, one.message, text, severity="warning")


def _rounded(mean: Array, std: Array) -> bool:
    """Whether every constant is a known one rounded to the digits it is written with."""
    for known in linting.KNOWN:
        for unit in linting.UNITS:
            pairs = [(mean, np.array(known.mean) * unit), (std, np.array(known.std) * unit)]
            if all(
                v.shape == k.shape and all(abs(a - b) <= 0.51 * 10.0 ** -_digits(a) for a, b in zip(v, k, strict=True))
                for v, k in pairs
            ):
                return True
    return False


def _digits(value: float) -> int:
    return len(f"{value!r}".partition(".")[2])


def _unit(norm: Norm) -> Iterator[Finding]:
    """Within one place: pixels divided by 255 meet constants of 0 to 255; pixels that nobody divided meet those of 0 to 1."""
    divided = False
    for i, (op, v) in enumerate(norm.steps):
        if not isinstance(v, np.ndarray):
            return
        if v.size == 1 and (comparing.is_rescale(Norm(norm.where, ((op, v),), "", "")) or float(v.ravel()[0]) in SLIPS):
            divided = True
        after = norm.steps[i + 1] if i + 1 < len(norm.steps) else None
        if (
            op != "Sub"
            or v.size not in (1, 3)
            or after is None
            or after[0] != "Div"
            or not isinstance(after[1], np.ndarray)
        ):
            continue
        large = bool((v > 20).all() and (after[1] > 2).all())
        small = bool((v <= 1).all() and (v > 0).all() and (after[1] < 1).all())
        if divided and large:
            yield UNIT.at(norm.where, "divides by the range of pixels, then subtracts constants of 0 to 255", norm.text)
        elif not divided and small and norm.unit == 255 and norm.by == "code" and v.size == 3:
            yield UNIT.at(
                norm.where,
                "constants for values of 0 to 1 meet pixels of 0 to 255: nothing divides them by 255",
                norm.text,
            )


def _straight(repo: Repository) -> bool:
    """Whether a known set of constants stands somewhere in its own order."""
    return any(_is_known(n.written) for f in repo.files.values() for n in f.norms)


def _moments(table: Table) -> tuple[Array | None, Array | None]:
    return comparing.known(table.norm) or (None, None)


def _is_known(written: tuple[Array | None, Array | None]) -> bool:
    mean, std = written
    if mean is None or std is None:
        return False
    for known in linting.KNOWN:
        if len(known.mean) == 3 and len(set(known.mean)) == 3:
            for unit in linting.UNITS:
                if mean.shape == (3,) == std.shape and np.allclose(
                    mean, np.array(known.mean) * unit, rtol=linting.NEAR
                ):
                    return True
    return False


def _feeds(repo: Repository, code: Facts) -> Iterator[Finding]:
    """Pixels of 0 to 255 go into a model whose own scaler is for values of 0 to 1."""
    for run in code.runs:
        named = graph.located(repo, code.path, run.model) if run.model else ""
        model = repo.models.get(named)
        if model is None or run.steps != () or run.unit != 255:
            continue
        for inside in comparing.carried(model):
            one = comparing.known(inside)
            if (
                one is not None
                and comparing.is_full(inside)
                and (np.abs(one[0]) <= 1).all()
                and (np.abs(one[1]) < 1).all()
            ):
                yield UNIT.at(
                    run.where, f"pixels of 0 to 255 go into {named}, whose own scaler takes values of 0 to 1",
                    f"{run.text}  ~  {inside.text}", model.where, fix="divide the pixels by 255, or bake the division in as well",
                )  # fmt: skip


def _blue_first(pixels: Pixels) -> bool:
    return not pixels.turned and not pixels.straight


def _slip(norm: Norm) -> Iterator[Finding]:
    """Pixels are divided by a number that is nearly 255."""
    for op, v in norm.steps[:1]:
        if (
            op == "Div"
            and isinstance(v, np.ndarray)
            and v.size == 1
            and float(v.ravel()[0]) in SLIPS
            and norm.unit == 255
        ):
            yield NEAR.at(
                norm.where, f"pixels of 0 to 255 are divided by {float(v.ravel()[0]):g}: a slipped digit?", norm.text
            )


def _pixels(facts: Facts, straight: bool, alike: bool) -> Iterator[Finding]:
    """Pixels as OpenCV reads them, blue first, meet constants in the order of RGB."""
    first = next((p for p in facts.pixels if _blue_first(p)), None)
    if first is None or not straight or (facts.role != "train" and alike):
        return
    norm = next((n for n in facts.norms if _is_known(n.written)), None)
    if norm is not None:
        yield ORDER.at(
            norm.where, "constants in the order of RGB meet pixels as OpenCV reads them, blue first", norm.text, first.where,
            severity="warning", fix="turn the pixels first: cv2.cvtColor(image, cv2.COLOR_BGR2RGB)",
        )  # fmt: skip
