"""The next step: the first thing to change, in words and to copy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nonsingular.diagnosis.patches import diff
from nonsingular.diagnosis.programs import PROGRAMS
from nonsingular.diagnosis.treatments import PRESCRIPTIONS

if TYPE_CHECKING:
    from nonsingular.diagnosis.diagnosis import Diagnosis
    from nonsingular.diagnosis.prove import Trial


@dataclass(frozen=True)
class Advice:
    """What to do next.

    Attributes:
        words: a sentence or two.
        code: to copy: a diff against the user's file, or Python; or "".
    """

    words: str
    code: str = ""


def next_step(diagnosis: Diagnosis, source: Path | None = None) -> Advice | None:
    """The proved change that helps most, else the remedy of the first finding; None where there is nothing to do.

    Args:
        diagnosis: with or without a proof.
        source: the file that builds the network.
    """
    best = diagnosis.proof.best if diagnosis.proof else None
    first = next((f for f in diagnosis.findings if f.remedy), None)
    if best is not None:
        gained = f"{round(100 * best.gained.value)} points more" if best.gained.runs else "where untreated ones diverge"
        change = first.remedy if first is not None and first is diagnosis.findings[0] else ""
        words = f"{change} Proved here: {best.what}; treated copies learn {gained}.".strip()
        return Advice(words, (diff(source, best) if source else "") or code(best))
    if first is not None:
        return Advice(first.remedy)
    if diagnosis.proof is not None:
        steps = diagnosis.proof.protocol.steps
        return Advice(
            f"Nothing that was tried helps within {steps} steps. Give the treatments more of them with --steps."
        )
    if diagnosis.findings and diagnosis.learns is None:
        return Advice("Add --steps 200 (steps=200 in Python) to see which treatment helps on your own batches.")
    return None


def called(treatment: str) -> str:
    """What a treatment is called in Python; those of the program have no function and keep their names."""
    return f"ns.treatments.{treatment}" if treatment in PRESCRIPTIONS else treatment


def code(trial: Trial) -> str:
    """A treatment of the network as a line of Python; "" for one of the program."""
    names = [name for name in trial.treatment.split(" + ") if name not in PROGRAMS]
    return "\n".join(f"model = {called(name)}(model, inputs).model" for name in names)
