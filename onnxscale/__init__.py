"""onnxscale: put the scaler inside the ONNX model, and prove that the answers are the training pipeline's.

    import onnxscale

    baked = onnxscale.bake("model.onnx", "stats.json").verify()
    assert baked.comparison.verified
    baked.save("model.baked.onnx")

Nothing heavy is imported until a name is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxscale.auditing import Audit, Finding, audit
    from onnxscale.chaining import Chain
    from onnxscale.checking import Check, check
    from onnxscale.comparing import Comparison
    from onnxscale.diffing import Diff, diff
    from onnxscale.errors import (
        ChainError,
        DataError,
        LockError,
        ModelError,
        OnnxscaleError,
        OutputError,
        PlanError,
        StatisticsError,
        VerificationError,
    )
    from onnxscale.expecting import Expectation, expect
    from onnxscale.fitting import fit, summarize
    from onnxscale.locking import lock
    from onnxscale.locks import Lock
    from onnxscale.looking import Inspection, Selftest, inspect, selftest
    from onnxscale.moved import Checked, check_lock
    from onnxscale.origins import read
    from onnxscale.pipeline import Baked, bake, unbake, verify
    from onnxscale.plans import Options, Plan
    from onnxscale.scalers import Scaler, make
    from onnxscale.statistics import Fitted, Reading, Source, Statistics
    from onnxscale.step import Step
    from onnxscale.targets import convert
    from onnxscale.transform import Transform

_HOME = {
    # the main job
    **dict.fromkeys(("bake", "verify", "unbake", "Baked"), "pipeline"),
    **dict.fromkeys(("inspect", "selftest", "Inspection", "Selftest"), "looking"),
    # what it gives
    **dict.fromkeys(("Options", "Plan"), "plans"),
    "Comparison": "comparing",
    **dict.fromkeys(("expect", "Expectation"), "expecting"),
    # governance; chains have functions of their own names: from onnxscale import chaining
    **dict.fromkeys(("audit", "Audit", "Finding"), "auditing"),
    "Chain": "chaining",
    **dict.fromkeys(("diff", "Diff"), "diffing"),
    "lock": "locking",
    "Lock": "locks",
    **dict.fromkeys(("check_lock", "Checked"), "moved"),
    # statistics and scalers
    "read": "origins",
    **dict.fromkeys(("fit", "summarize"), "fitting"),
    **dict.fromkeys(("check", "Check"), "checking"),
    "convert": "targets",
    **dict.fromkeys(("Fitted", "Reading", "Source", "Statistics"), "statistics"),
    **dict.fromkeys(("Scaler", "make"), "scalers"),
    "Step": "step",
    "Transform": "transform",
    # what can go wrong
    **dict.fromkeys(
        (
            "OnnxscaleError",
            "ModelError",
            "StatisticsError",
            "DataError",
            "PlanError",
            "LockError",
            "ChainError",
            "OutputError",
            "VerificationError",
        ),
        "errors",
    ),
}

__all__ = [
    "Audit",
    "Baked",
    "Chain",
    "ChainError",
    "Check",
    "Checked",
    "Comparison",
    "DataError",
    "Diff",
    "Expectation",
    "Finding",
    "Fitted",
    "Inspection",
    "Lock",
    "LockError",
    "ModelError",
    "OnnxscaleError",
    "Options",
    "OutputError",
    "Plan",
    "PlanError",
    "Reading",
    "Scaler",
    "Selftest",
    "Source",
    "Statistics",
    "StatisticsError",
    "Step",
    "Transform",
    "VerificationError",
    "audit",
    "bake",
    "check",
    "check_lock",
    "convert",
    "diff",
    "expect",
    "fit",
    "inspect",
    "lock",
    "make",
    "read",
    "selftest",
    "summarize",
    "unbake",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'onnxscale' has no attribute {name!r}")
    return getattr(import_module(f"onnxscale.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
