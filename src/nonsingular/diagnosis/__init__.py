"""Why a user's own network will not train: look, say, treat, prove, report, monitor."""

from nonsingular.diagnosis import treatments
from nonsingular.diagnosis.batches import samples_for
from nonsingular.diagnosis.course import Curve, Protocol
from nonsingular.diagnosis.diagnosis import Diagnosis, diagnose
from nonsingular.diagnosis.findings import Finding
from nonsingular.diagnosis.keeping import Kept, discard, earlier, plan
from nonsingular.diagnosis.learnability import Learnability
from nonsingular.diagnosis.look import Budget, look
from nonsingular.diagnosis.loop import Rehearsal, rehearse
from nonsingular.diagnosis.monitor import Monitor
from nonsingular.diagnosis.prove import Proof, Trial, prove
from nonsingular.diagnosis.records import Layer, Look
from nonsingular.diagnosis.trying import own_steps

__all__ = [
    "Budget",
    "Curve",
    "Diagnosis",
    "Finding",
    "Kept",
    "Layer",
    "Learnability",
    "Look",
    "Monitor",
    "Proof",
    "Protocol",
    "Rehearsal",
    "Trial",
    "diagnose",
    "discard",
    "earlier",
    "look",
    "own_steps",
    "plan",
    "prove",
    "rehearse",
    "samples_for",
    "treatments",
]
