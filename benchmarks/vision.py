"""Packages that import torchvision, beside a PyTorch that its kernels were not built for.

The package index's torchvision is built for another PyTorch than the one for CPUs. Its import then fails because two
of its operations (suppression of overlapping boxes) are not there. No model here uses them; declared, they let the
import pass.
"""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch

_LIBRARIES: list[torch.library.Library] = []  # operations live as long as these


def importorskip(name: str) -> Any:
    """A package, or the test is skipped where it is not installed."""
    make_importable()
    return pytest.importorskip(name, reason=f"{name} is not installed here: `make bench` sets it up")


def make_importable() -> None:
    """See to it that torchvision, where it is installed, can be imported; every process has to call this itself."""
    try:
        import torchvision  # noqa: F401
    except ImportError:
        pass
    except RuntimeError:
        _declare()


def _declare() -> None:
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operation in ("nms", "qnms"):
        library.define(f"{operation}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _LIBRARIES.append(library)
    importlib.invalidate_caches()
