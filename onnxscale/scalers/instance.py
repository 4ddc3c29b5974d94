"""Instance: each row (image, utterance, series) by statistics of its own, which nobody fits; per utterance with a mask, RevIN,
Chronos' mean of |x|. See steps/instance.py for the formulas and their sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from onnxscale.errors import StatisticsError
from onnxscale.scalers.values import divisor, numbers, optional, same_shape
from onnxscale.step import Array, Option, Step
from onnxscale.steps.moments import CENTERS, EPS_AT, SPREADS
from onnxscale.transform import Transform


def axes(over: object) -> str:
    """Axes as an option of a step. Raises StatisticsError for what is no list of whole numbers, or names axis 0."""
    listed = [over] if isinstance(over, int) else over
    if not isinstance(listed, list | tuple) or not listed or not all(isinstance(a, int) and a != 0 for a in listed):
        raise StatisticsError(
            f"over: expected the axes of a row, such as [-1] or [2, 3] (axis 0 counts rows), got {over!r}"
        )
    return ",".join(map(str, listed))


@dataclass(frozen=True, eq=False)
class Instance:
    """over: axes of a row that its statistics are taken over. center: mean, min or none. spread: std, abs, range or none.
    eps, eps_at: what keeps the divisor from 0. ddof: of the std. of: the input whose statistics they are, for an output that is
    scaled back by them. mask: an input that says what counts; mask_kind: "mask" ([N, T]) or "length" ([N]); pad: what stands
    elsewhere. skip_nan: NaN counts for nothing. weight, bias: per feature, applied afterwards (RevIN's affine)."""

    over: Any
    center: str = "mean"
    spread: str = "std"
    eps: float = 0.0
    eps_at: str = "none"
    ddof: int = 0
    of: str = ""
    mask: str = ""
    mask_kind: str = "mask"
    pad: float | None = None
    skip_nan: bool = False
    weight: Array | None = None
    bias: Array | None = None
    kind: ClassVar[str] = "instance"
    sklearn: ClassVar[str] = ""

    def __post_init__(self) -> None:
        axes(self.over)
        for name, known in (
            ("center", CENTERS),
            ("spread", SPREADS),
            ("eps_at", EPS_AT),
            ("mask_kind", ("mask", "length")),
        ):
            if getattr(self, name) not in known:
                raise StatisticsError(f"{name}: expected one of {', '.join(known)}, got {getattr(self, name)!r}")
        numbers(self.eps, "eps")
        if isinstance(self.ddof, bool) or self.ddof not in (0, 1):
            raise StatisticsError(f"ddof: expected 0 or 1, got {self.ddof!r}")
        if self.eps_at in ("var", "var-floor") and self.spread != "std":
            raise StatisticsError(
                f"eps_at: {self.eps_at!r} is a place in a standard deviation, and spread is {self.spread!r}"
            )
        if self.eps and self.eps_at == "none":
            raise StatisticsError(
                f"eps: {self.eps!r} without eps_at, which says where it enters: {', '.join(EPS_AT[1:])}"
            )
        if self.pad is not None:
            numbers(self.pad, "pad")
        if self.pad is not None and not self.mask:
            raise StatisticsError("pad: says what stands where the mask does not count, and there is no mask")
        if self.mask and self.of:
            raise StatisticsError(
                "of, mask: statistics of another input under a mask are not supported; leave one away"
            )
        object.__setattr__(self, "weight", optional(divisor, self.weight, "weight"))
        object.__setattr__(self, "bias", optional(numbers, self.bias, "bias"))
        same_shape(weight=self.weight, bias=self.bias)

    def transform(self) -> Transform:
        options: dict[str, Option] = {
            "over": axes(self.over), "center": self.center, "spread": self.spread, "eps": float(self.eps),
            "eps_at": self.eps_at, "ddof": self.ddof,
        }  # fmt: skip
        options |= {k: v for k, v in (("of", self.of), ("mask", self.mask), ("skip_nan", self.skip_nan)) if v}
        options |= {"mask_kind": self.mask_kind} if self.mask else {}
        options |= {} if self.pad is None else {"pad": float(self.pad)}
        after = (("Mul", self.weight), ("Add", self.bias))
        return Transform(
            (Step("Instance", (), options), *(Step(op, (values,)) for op, values in after if values is not None))
        )

    @classmethod
    def from_sklearn(cls, state: Mapping[str, Any]) -> Instance:
        raise StatisticsError("no scikit-learn class scales each row by its own mean")
