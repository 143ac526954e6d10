"""The next step: the first thing to change, in words and to copy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nonsingular.diagnosis.findings import TRIFLE
from nonsingular.diagnosis.learnability import points
from nonsingular.diagnosis.patches import IMPORT, called, diff
from nonsingular.diagnosis.treatments import PRESCRIPTIONS, looks_at_inputs
from nonsingular.words import counted

if TYPE_CHECKING:
    from nonsingular.diagnosis.diagnosis import Diagnosis
    from nonsingular.diagnosis.prove import Proof, Trial


@dataclass(frozen=True)
class Advice:
    """What to do next.

    Attributes:
        words: a sentence or two.
        code: to copy: a diff against the user's file, or Python; or "".
    """

    words: str
    code: str = ""


def next_step(diagnosis: Diagnosis, source: str | Path | None = None) -> Advice | None:
    """The proved change that helps most, else what the first findings call for; None where there is nothing to do.

    Args:
        diagnosis: with or without a proof.
        source: the file that builds the network, or ``FILE.py:build``.
    """
    proof, called_for = diagnosis.proof, _called_for(diagnosis)
    if proof is not None and proof.best is not None:
        return _proved(proof.best, called_for, source)
    tried = "" if proof is None else _undecided(proof)
    if called_for:
        return Advice(f"{called_for} {tried}".strip())
    if tried:
        return Advice(tried)
    if diagnosis.findings and diagnosis.learns is None:
        return Advice(TRY)
    return None


TRY = "Add --steps 200 (steps=200 in Python) to see which treatment helps on your own batches."


def _called_for(diagnosis: Diagnosis) -> str:
    """The remedy of the first finding; and that another one is a cause of its own, where it is."""
    roots = [f for f in diagnosis.findings if not f.because]
    if not roots or not roots[0].remedy:
        return ""
    first, others = roots[0], [f for f in roots[1:] if f.severity >= TRIFLE and (f.treatments or f.remedy)]
    if not others:
        return first.remedy
    other = others[0]
    which = "; --steps 200 tells which helps" if other.treatments and not other.remedy else ""
    of_it = "" if diagnosis.proof is not None else f": {other.advice.rstrip('.')}{which}"
    return f"{first.remedy} That does not cure {other.kind}, which has a cause of its own{of_it}."


def _proved(best: Trial, called_for: str, source: str | Path | None) -> Advice:
    gained = (
        f"{points(best.gained.value).lstrip('+')} points more" if best.gained.runs else "where untreated ones diverge"
    )
    words = f"{called_for} Proved here: {best.what}; treated copies learn {gained}.".strip()
    path, factory = _parts(source)
    if path is not None and (change := diff(path, best, factory)):
        return Advice(words, change)
    lines = code(best)
    return Advice(f"{words} {WHERE}" if lines else words, lines)


WHERE = "Put it where the network has been made, before its optimiser is:"


def _undecided(proof: Proof) -> str:
    """That nothing helps within these steps, and which treatment deserves more of them."""
    nothing = f"Nothing that was tried helps within {counted(proof.protocol.steps, 'step')}."
    hopeful = [t for t in proof.trials if t.verdict in ("too few runs", "too little") and t.gained.value > 0]
    if not hopeful:
        return f"{nothing} Give the treatments more of them with --steps."
    best = max(hopeful, key=lambda t: t.gained.value)
    ends = f"{points(best.gained.low)} to {points(best.gained.high)}"
    right = f", held-out accuracy {best.accuracy.value:+.1f}" if math.isfinite(best.accuracy.value) else ""
    return (
        f"{nothing} Nearest to it comes {best.treatment}: {points(best.gained.value)} points ({ends}{right}). "
        f"Give the treatments more steps: --steps {4 * proof.protocol.steps}."
    )


def _parts(source: str | Path | None) -> tuple[Path | None, str]:
    """A file, and the function in it after a colon."""
    if source is None:
        return None, ""
    file, colon, factory = str(source).rpartition(":")
    return (Path(file), factory) if colon and factory.isidentifier() else (Path(source), "")


def code(trial: Trial) -> str:
    """A treatment of the network as lines of Python; "" for one of the program."""
    names = [name for name in trial.treatment.split(" + ") if name in PRESCRIPTIONS]
    lines = [IMPORT, ""] if names else []
    if any(map(looks_at_inputs, names)):
        lines.append("inputs, _ = next(iter(batches))  # one batch of yours")
    given = {name: ", inputs" if looks_at_inputs(name) else "" for name in names}
    return "\n".join([*lines, *(f"model = {called(name)}(model{given[name]}).model" for name in names)])
