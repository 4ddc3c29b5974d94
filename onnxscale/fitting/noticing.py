"""What a user should know of the columns that were measured: no values, constant, values missing, digits that storage destroyed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxscale.errors import DataError, names
from onnxscale.profile import Profile
from onnxscale.step import Array

NARROW = {"float16": np.float16, "float32": np.float32, "float": np.float32, "halffloat": np.float16}


def column_names(profile: Profile) -> list[str]:
    """The names of the columns, or their numbers."""
    return list(profile.features) or [str(i) for i in range(profile.width)]


def refuse_useless(profile: Profile) -> None:
    """Raises DataError for columns without a finite value, and for those whose spread is more than float64 holds."""
    called = column_names(profile)
    empty = [called[i] for i in np.flatnonzero(profile.count == 0)]
    if empty:
        raise DataError(f"{names(empty)}: no finite value in {profile.rows:,} rows; leave them out with --exclude")
    wide = [called[i] for i in np.flatnonzero(~np.isfinite(profile.std))]
    if wide:
        raise DataError(
            f"{names(wide)}: values so far apart that their std is no float64; leave them out, or cut them with --where"
        )


def warnings(profile: Profile) -> tuple[str, ...]:
    """In words, a line each."""
    called = np.asarray(column_names(profile), dtype=object)
    found = []
    constant = profile.min == profile.max
    if constant.any():
        found.append(f"constant: {names(called[constant])}; whatever they are at serving, the model has seen one value")
    steps = _steps(profile)
    coarse = constant & (steps >= 1)
    if coarse.any():
        i = int(np.flatnonzero(coarse)[0])
        found.append(
            f"{names(called[coarse])}: in {profile.dtypes[i]} the numbers around {profile.mean[i]:.6g} are {steps[i]:g} apart: "
            f"were they one value before they were stored? Store them as float64, or subtract a constant first"
        )
    worn = (profile.std < 2 * steps) & ~constant
    if worn.any():
        i = int(np.flatnonzero(worn)[0])
        found.append(
            f"{names(called[worn])}: {profile.dtypes[i]} has destroyed them: the std of {called[i]!r} ({profile.std[i]:.3g}) is under "
            f"2 ULP of its mean ({profile.mean[i]:.6g}). Store them as float64, or subtract a constant before they are stored"
        )
    error = profile.about.get("quantile_rank_error")
    if error:
        found.append(
            f"quantiles are approximate, ranks off by up to {error:.2g} of the rows; stats merge --next makes them exact"
        )
    for what, counts in (("missing", profile.nulls), ("NaN or infinite", profile.nonfinite)):
        found += _shares(what, counts, profile.rows, called)
    return tuple(found)


def _shares(what: str, counts: Array, rows: int, called: Array) -> list[str]:
    there = np.flatnonzero(counts)
    if not there.size:
        return []
    worst = there[np.argsort(-counts[there], kind="stable")][:3]
    said = ", ".join(f"{called[i]!r} {counts[i]:,} ({counts[i] / max(rows, 1):.2%})" for i in worst)
    more = f", and {there.size - 3} more columns" if there.size > 3 else ""
    return [f"left out as {what}: {said}{more}"]


def _steps(profile: Profile) -> Array:
    """float64 of (F,): the distance of two numbers of a column's storage at its mean, 0 for float64."""
    steps = np.zeros(profile.width)
    for i, dtype in enumerate(profile.dtypes):
        narrow = NARROW.get(dtype.lower())
        if narrow is not None:
            with np.errstate(over="ignore"):
                steps[i] = np.spacing(narrow(abs(profile.mean[i])))
    return steps


def confidence(profile: Profile) -> dict[str, Sequence[float | None]]:
    """Half-widths of 95 % intervals for mean and std of (F,): 1.96 std / sqrt(n), 1.96 std / sqrt(2 (n - 1)). The second one is
    that of a normal distribution (its std has the variance var / (2 (n - 1)), to first order)."""
    n = profile.count.astype(np.float64)
    with np.errstate(all="ignore"):
        found = {"mean": 1.96 * profile.std / np.sqrt(n), "std": 1.96 * profile.std / np.sqrt(2 * (n - 1))}
    return {k: [x if np.isfinite(x) else None for x in v.tolist()] for k, v in found.items()}
