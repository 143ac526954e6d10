"""Populations of networks trained side by side, their regularisers and the store of their results."""

from nonsingular.machine import emulates_bfloat16
from nonsingular.training.breakers import Breaker
from nonsingular.training.memory import runs_that_fit
from nonsingular.training.population import Population
from nonsingular.training.regularisers import BiasPenalty
from nonsingular.training.spec import Member, TrainingSpec
from nonsingular.training.store import Store
from nonsingular.training.trainer import Trainer

__all__ = [
    "BiasPenalty", "Breaker", "Member", "Population", "Store", "Trainer", "TrainingSpec",
    "emulates_bfloat16", "runs_that_fit",
]  # fmt: skip
