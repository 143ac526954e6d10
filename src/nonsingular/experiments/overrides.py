"""An experiment's spec at a scale, with what the caller changes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nonsingular.errors import InputError
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.spec import Spec
from nonsingular.training import Member


@dataclass(frozen=True)
class Overrides:
    """What the caller changes of an experiment's spec; None leaves the scale's own value.

    A precision of ``auto`` is the experiment's own: a trained network's digits are results, and bfloat16 changes them
    by more than rounding, however fast a machine is in it.
    """

    data: str | None = None
    scaling: str | None = None
    runs: int | None = None
    epochs: int | None = None
    seed: int | None = None
    networks: tuple[str, ...] = ()
    precision: str | None = None

    def __post_init__(self) -> None:
        if self.precision == "auto":
            object.__setattr__(self, "precision", None)


def make_spec(experiment: Experiment, scale: str, overrides: Overrides) -> Spec:
    """The experiment's spec at a scale, with the caller's changes.

    Raises:
        InputError: unknown scale, data set, scaling or network; numbers out of range; a change of what the experiment
            does not have (epochs where nothing is trained).
    """
    Spec(experiment.id, scale)  # an unknown scale is refused with the list of scales
    spec = experiment.spec(scale)
    trains = spec.data is not None and spec.training is not None
    asked = [n for n in ("data", "scaling", "epochs", "networks", "precision") if getattr(overrides, n)]
    if not trains and (asked or overrides.epochs is not None):
        raise InputError(f"{experiment.id} trains nothing on images: --{(asked or ['epochs'])[0]} does not apply")
    if overrides.epochs is not None and overrides.epochs < experiment.fewest_epochs:
        least, got = experiment.fewest_epochs, overrides.epochs
        why = ", without which it has nothing to draw" if least > 1 else ""
        raise InputError(f"{experiment.id}: --epochs must be at least {least}{why}, got {got}")
    if overrides.precision and "precisions" in spec.settings:
        both = " and ".join(spec.settings["precisions"])
        raise InputError(f"{experiment.id} compares {both} and trains in each: --precision does not apply")
    if overrides.data is not None:
        spec = experiment.spec(scale, data=overrides.data)
    return override(spec, overrides)


def override(spec: Spec, overrides: Overrides) -> Spec:
    """``spec`` with the caller's changes of everything but the data set.

    Raises:
        InputError: unknown scaling or network; numbers out of range.
    """
    if overrides.scaling is not None and spec.data is not None:
        spec = replace(spec, data=replace(spec.data, scaling=overrides.scaling))
    if spec.training is not None:
        training = {"epochs": overrides.epochs, "precision": overrides.precision}
        spec = replace(spec, training=replace(spec.training, **_given(training)))  # type: ignore[arg-type]
    if overrides.networks:
        spec = replace(spec, networks=_chosen(spec, overrides.networks))
    return replace(spec, **_given({"runs": overrides.runs, "seed": overrides.seed}))  # type: ignore[arg-type]


def _given(fields: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}


def _chosen(spec: Spec, names: Sequence[str]) -> tuple[Member, ...]:
    members = {m.name: m for m in spec.networks}
    for name in names:
        if name not in members:
            raise InputError(f"unknown network {name!r} in {spec.experiment}; it has {', '.join(members)}")
    return tuple(members[name] for name in names)
