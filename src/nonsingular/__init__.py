"""Why will this deep network not train, and what would make it?

Singularities, symmetries, signals and curvature of PyTorch networks: measured, treated, and the treatment proved.
"""

from typing import TYPE_CHECKING

__version__ = "0.2.0"

if TYPE_CHECKING:
    from nonsingular import curvature as curvature
    from nonsingular import data as data
    from nonsingular import diagnosis as diagnosis
    from nonsingular import experiments as experiments
    from nonsingular import landscape as landscape
    from nonsingular import measures as measures
    from nonsingular import networks as networks
    from nonsingular import objective as objective
    from nonsingular import plots as plots
    from nonsingular import search as search
    from nonsingular import theory as theory
    from nonsingular import training as training
    from nonsingular.curvature import Hessian as Hessian
    from nonsingular.curvature.spectrum import spectrum as spectrum
    from nonsingular.diagnosis import Monitor as Monitor
    from nonsingular.diagnosis import diagnose as diagnose
    from nonsingular.diagnosis import rehearse as rehearse
    from nonsingular.diagnosis import treatments as treatments
    from nonsingular.errors import InputError as InputError
    from nonsingular.experiments.claims import Claim as Claim
    from nonsingular.experiments.figure import Figure as Figure
    from nonsingular.landscape.surface import surface as surface
    from nonsingular.objective import Objective as Objective
    from nonsingular.papers.reproducing import reproduce as reproduce
    from nonsingular.training import Population as Population
    from nonsingular.training import Trainer as Trainer
    from nonsingular.training import TrainingSpec as TrainingSpec

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
    "Claim": "experiments.claims",
    "Figure": "experiments.figure",
    "Hessian": "curvature",
    "InputError": "errors",
    "Monitor": "diagnosis",
    "Objective": "objective",
    "Population": "training",
    "Trainer": "training",
    "TrainingSpec": "training",
    "diagnose": "diagnosis",
    "rehearse": "diagnosis",
    "reproduce": "papers.reproducing",
    "spectrum": "curvature",
    "surface": "landscape",
    "treatments": "diagnosis",
}

__all__ = [*_MODULES, *_NAMES]

if not TYPE_CHECKING:  # to a type checker the names above are all there is

    def __getattr__(name):
        """Import on first use, so that ``import nonsingular`` and ``nonsingular --help`` stay fast."""
        import importlib

        if name in _MODULES:
            return importlib.import_module(f"nonsingular.{name}")
        if name in _NAMES:
            return getattr(importlib.import_module(f"nonsingular.{_NAMES[name]}"), name)
        from nonsingular.spelling import nearest

        near = None if name.startswith("_") else nearest(name, __all__)
        hint = f"; did you mean {near!r}?" if near else ""
        raise AttributeError(f"module 'nonsingular' has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
