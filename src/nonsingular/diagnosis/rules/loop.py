"""Rules over what a rehearsal of the training loop shows: optimiser, step, gradients, modes."""

from __future__ import annotations

from nonsingular.diagnosis.rules.rule import Rule

RULES: tuple[Rule, ...] = ()

EXPLAINS: dict[str, tuple[str, ...]] = {}
