"""torchvision beside a torch that it was not built for: its kernels for boxes are missing, which no transform needs."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def torchvision() -> Any:
    """The module, or None where it is not installed. What imports it by itself (timm, transformers) finds it imported then."""
    if find_spec("torch") is None or find_spec("torchvision") is None:
        return None
    try:
        return import_module("torchvision")
    except RuntimeError:
        for name in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        sys.modules["torchvision._meta_registrations"] = ModuleType("torchvision._meta_registrations")
        return import_module("torchvision")
