"""Rules over outputs, loss, targets and data held against each other."""

from __future__ import annotations

from nonsingular.diagnosis.rules.rule import Rule

RULES: tuple[Rule, ...] = ()

EXPLAINS: dict[str, tuple[str, ...]] = {}
