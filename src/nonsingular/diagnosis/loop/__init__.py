"""The training loop: observed as it runs, unchanged; what it does to the weights, and what is wrong with that."""

from nonsingular.diagnosis.loop.observer import Observer
from nonsingular.diagnosis.loop.records import Loop
from nonsingular.diagnosis.loop.rehearse import Rehearsal, judged, rehearse
from nonsingular.diagnosis.loop.statistics import loop_statistics
from nonsingular.diagnosis.loop.taps import tapped

__all__ = ["Loop", "Observer", "Rehearsal", "judged", "loop_statistics", "rehearse", "tapped"]
