"""Spline: a basis of B-splines for each feature, as SplineTransformer fits it (sklearn/preprocessing/_polynomial.py; de Boor, A
Practical Guide to Splines, 1978, chapter IX)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from onnxscale.errors import StatisticsError
from onnxscale.scalers.states import inner
from onnxscale.scalers.values import numbers
from onnxscale.step import Array, Option, Step
from onnxscale.transform import Transform

Pieces = tuple[Array, Array, Array]
EXTRAPOLATIONS = ("error", "constant", "linear", "continue", "periodic")


@dataclass(frozen=True, eq=False)
class Spline:
    """knots: of each feature, those beyond the data's range too, shape (F, knots). degree: of the polynomials. extrapolation: what
    lies outside: error gives NaN. include_bias: whether the last spline of each feature stays. missing: "zeros" for NaN."""

    knots: Array
    degree: int = 3
    extrapolation: str = "constant"
    include_bias: bool = True
    missing: str = "error"
    kind: ClassVar[str] = "spline"
    sklearn: ClassVar[str] = "SplineTransformer"

    def __post_init__(self) -> None:
        knots = numbers(self.knots, "knots")
        if isinstance(self.degree, bool) or not isinstance(self.degree, int) or not 0 <= self.degree <= 12:
            raise StatisticsError(f"degree: expected a whole number from 0 to 12, got {self.degree!r}")
        if knots.ndim != 2 or knots.shape[1] < 2 * self.degree + 2 or (np.diff(knots, axis=1) < 0).any():
            raise StatisticsError("knots: expected rising numbers for each feature, 2 x degree + 2 of them at least")
        if self.extrapolation not in EXTRAPOLATIONS:
            raise StatisticsError(
                f"extrapolation: expected one of {', '.join(EXTRAPOLATIONS)}, got {self.extrapolation!r}"
            )
        if self.missing not in ("error", "zeros"):
            raise StatisticsError(f"missing: expected error or zeros, got {self.missing!r}")
        object.__setattr__(self, "knots", knots)

    def transform(self) -> Transform:
        made = [_pieces(t, self.degree, self.extrapolation, i) for i, t in enumerate(self.knots)]
        powers, bounds, left = (np.stack(v) for v in zip(*(_padded(m, made) for m in made), strict=True))
        powers = powers if self.include_bias else powers[:, :, :-1]
        k = self.degree
        ends = np.stack([self.knots[:, k], self.knots[:, -k - 1] - self.knots[:, k]])
        options: dict[str, Option] = {"missing": "zeros"} if self.missing == "zeros" else {}
        operands = (powers, bounds, left, *([ends] if self.extrapolation == "periodic" else []))
        return Transform((Step("Spline", operands, options),))

    @classmethod
    def from_sklearn(cls, state: Mapping[str, Any]) -> Spline:
        """Raises StatisticsError for one that is not fitted."""
        if not state.get("bsplines_"):
            raise StatisticsError("this SplineTransformer is not fitted: it has no bsplines_")
        held = [inner(b) for b in state["bsplines_"]]
        knots = np.stack([np.asarray(b["_t"] if "_t" in b else b["t"], np.float64) for b in held])
        return cls(
            knots, int(held[0]["k"]), str(state.get("extrapolation", "constant")), bool(state.get("include_bias", True)),
            "zeros" if state.get("handle_missing") == "zeros" else "error",
        )  # fmt: skip


def _basis(t: Array, degree: int, j: int) -> Array:
    """The splines on the interval from t[j] on, as polynomials of x - t[j]: shape (splines, degree + 1), lowest power first.

    Cox and de Boor: B_i,d = (x - t_i) / (t_i+d - t_i) B_i,d-1 + (t_i+d+1 - x) / (t_i+d+1 - t_i+1) B_i+1,d-1, where 0 / 0 is 0.
    """
    made = np.zeros((len(t) - 1, degree + 1))
    made[j, 0] = 1.0
    for d in range(1, degree + 1):
        last = made
        made = np.zeros((len(t) - 1 - d, degree + 1))
        for i in range(max(j - d, 0), min(j + 1, len(made))):
            up, down = t[i + d] - t[i], t[i + d + 1] - t[i + 1]
            if up > 0:
                made[i] += ((t[j] - t[i]) * last[i] + np.roll(last[i], 1)) / up
            if down > 0:
                made[i] += ((t[i + d + 1] - t[j]) * last[i + 1] - np.roll(last[i + 1], 1)) / down
    return made


def _pieces(t: Array, k: int, extrapolation: str, feature: int) -> Pieces:
    """The polynomials of every piece (J, S, degree + 1), their lower bounds (J,), and where their powers start (J,)."""
    start, several = _linear(k, feature) if extrapolation == "linear" else (k, k)
    whole, n = len(t) - k - 1, len(t) - start - 1
    inside = list(range(start, min(n + 1, whole)))
    powers = [_basis(t, k, j) for j in inside]
    left, bounds = [t[j] for j in inside], [t[j] for j in inside]
    if extrapolation == "periodic":
        wrap = np.concatenate([np.eye(n - k), np.eye(n - k)[:k]])
        powers = [wrap.T @ p for p in powers]
    if extrapolation in ("continue", "periodic"):
        bounds[0] = -np.inf
        return np.stack(powers), np.array(bounds), np.array(left)

    def end(x: float, taken: slice) -> Array:
        j = min(int(np.searchsorted(t, x, "right")) - 1, whole - 1)
        return _end(_basis(t, k, j), x - t[j], extrapolation, taken)

    first, last = end(t[start], slice(0, several)), end(t[n], slice(max(len(powers[0]) - several, 0), None))
    powers = [first, *powers, last]
    beyond = float(np.nextafter(t[n], np.inf))
    return np.stack(powers), np.array([-np.inf, *bounds, beyond]), np.array([t[start], *left, t[n]])


def _padded(one: Pieces, every: list[Pieces]) -> Pieces:
    """As many pieces as the feature with the most has: the last once more, from infinity on."""
    more = max(len(m[0]) for m in every) - len(one[0])
    powers, bounds, left = one
    ends = np.full(more, np.inf)
    return (
        np.concatenate([powers, *[powers[-1:]] * more]),
        np.concatenate([bounds, ends]),
        np.concatenate([left, *[left[-1:]] * more]),
    )


def _linear(k: int, feature: int) -> tuple[int, int]:
    """The knot at which the range of a feature starts, and how many splines go on beyond it. scikit-learn raises a degree of 0 or 1
    by one for each feature that it meets, for the features after it too, so that their ranges start further inside."""
    now = k
    for _ in range(feature):
        now += now <= 1
    return now, now + (now <= 1)


def _end(powers: Array, u: float, extrapolation: str, taken: slice) -> Array:
    """The piece beyond an end of the range, of which `powers` is the last inside and u the place on it."""
    if extrapolation == "error":
        return np.full_like(powers, np.nan)
    made = np.zeros_like(powers)
    orders = np.arange(powers.shape[1])
    made[taken, 0] = (powers * u**orders).sum(axis=1)[taken]
    if extrapolation == "linear" and len(orders) > 1:
        made[taken, 1] = (powers[:, 1:] * orders[1:] * u ** (orders[1:] - 1)).sum(axis=1)[taken]
    return made
