"""Why will this deep network not train, and what would make it?

Singularities, symmetries, signals and curvature of PyTorch networks: measured, treated, and the treatment proved.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_MODULES = (
    "curvature",
    "data",
    "diagnosis",
    "experiments",
    "landscape",
    "measures",
    "networks",
    "objective",
    "plots",
    "search",
    "theory",
    "training",
)
_NAMES = {
    "Population": "training",
    "Trainer": "training",
    "TrainingSpec": "training",
    "InputError": "errors",
    "Objective": "objective",
    "Monitor": "diagnosis",
    "diagnose": "diagnosis",
    "rehearse": "diagnosis",
    "treatments": "diagnosis",
}

__all__ = [*_MODULES, *_NAMES]


def __getattr__(name: str) -> Any:
    """Import on first use, so that ``import nonsingular`` and ``nonsingular --help`` stay fast."""
    if name in _MODULES:
        return importlib.import_module(f"nonsingular.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(f"nonsingular.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'nonsingular' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
