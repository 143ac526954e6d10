"""How good the diagnosis is: thresholds measured on healthy networks, sensitivity and false alarms on fresh seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from nonsingular.data import Task
from nonsingular.diagnosis import healthy as table
from nonsingular.diagnosis.bench.loops import PROGRAMS, healthy_loops, loop_answers
from nonsingular.diagnosis.bench.mistakes import mistakes
from nonsingular.diagnosis.bench.ordinary import ordinary
from nonsingular.diagnosis.bench.patients import Case, healthy, sick
from nonsingular.diagnosis.examine import examine
from nonsingular.diagnosis.findings import Finding, findings
from nonsingular.diagnosis.look import Budget
from nonsingular.diagnosis.records import Look, Statistic
from nonsingular.files import to_json, write_whole
from nonsingular.intervals import wilson
from nonsingular.training import Trainer, TrainingSpec

CALIBRATION_SEED, FRESH_SEED = 0, 10_000
TRAINED_EPOCHS = 6
TRAINED_SAMPLES = 384
BUDGET = Budget(samples=256)


@dataclass(frozen=True)
class Answer:
    """What the diagnosis said of one network.

    Attributes:
        case, seed, trained: which.
        expected: kinds that are right in the first place; none for a healthy one.
        found: kinds found, worst first.
    """

    case: str
    seed: int
    trained: bool
    expected: tuple[str, ...]
    found: tuple[str, ...]

    @property
    def right(self) -> bool:
        """Whether the first finding is the planted illness, or nothing was found in a healthy network."""
        return self.found[0] in self.expected if self.expected and self.found else not (self.expected or self.found)


@dataclass(frozen=True)
class Rate:
    """Successes of so many trials with Wilson's 95 % interval."""

    successes: int
    trials: int

    @property
    def value(self) -> float:
        """Part of the trials."""
        return self.successes / self.trials if self.trials else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson 1927."""
        return wilson(self.successes, self.trials)

    def to_json(self) -> dict[str, object]:
        """``{"successes", "trials", "value", "interval"}``."""
        return {
            "successes": self.successes, "trials": self.trials, "value": self.value, "interval": list(self.interval),
        }  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """All answers and the two rates."""

    answers: tuple[Answer, ...]

    @property
    def sensitivity(self) -> Rate:
        """Sick networks whose first finding is the planted illness."""
        return self._rate(True, right=True)

    @property
    def false_alarms(self) -> Rate:
        """Healthy networks with a finding."""
        return self._rate(False, right=False)

    def _rate(self, ill: bool, right: bool) -> Rate:
        kept = [a for a in self.answers if bool(a.expected) == ill]
        return Rate(sum(a.right == right for a in kept), len(kept))

    def to_json(self) -> dict[str, object]:
        """Rates and what went wrong."""
        wrong = [a for a in self.answers if not a.right]
        return {
            "sensitivity": self.sensitivity.to_json(),
            "false_alarms": self.false_alarms.to_json(),
            "wrong": [
                {
                    "case": a.case,
                    "seed": a.seed,
                    "trained": a.trained,
                    "expected": list(a.expected),
                    "found": list(a.found),
                }
                for a in wrong
            ],
        }


def calibrating() -> list[Case]:
    """The healthy networks that limits come from."""
    return [*healthy(), *ordinary()]


def everything() -> list[Case]:
    """Healthy networks, sick ones, and programs with a mistake beside their healthy twins."""
    return [*calibrating(), *sick(), *(case for both in mistakes() for case in both)]


def trained(case: Case, network: nn.Module, seed: int) -> nn.Module:
    """The network after some epochs, when most of what there is to learn is learnt."""
    pairs = case.data(seed, TRAINED_SAMPLES)
    inputs, labels = (torch.cat([pair[i] for pair in pairs]) for i in (0, 1))
    task = Task(inputs, labels, inputs[:2], labels[:2], classes=0)
    spec = TrainingSpec(epochs=TRAINED_EPOCHS, batch=64, learning_rate=2e-3)
    trainer = Trainer([network], [seed], task, spec, loss=case.loss, vectorised=False)
    for _ in range(spec.epochs):
        trainer.train_epoch()
    return trainer.population.network(0)


def bench(
    seeds: Sequence[int], on_case: Callable[[str], None] = lambda name: None, cases: Sequence[Case] | None = None
) -> Outcome:
    """Diagnose every sick network, every healthy one before and after training, and watch every loop, for each seed.

    Args:
        seeds: of the networks, their data and the loops; thresholds must not have seen them.
        on_case: called with the name of each kind of network or loop that is done.
        cases: kinds of networks; by default all, and the loops.
    """
    answers = []
    for case in everything() if cases is None else cases:
        for seed in seeds:
            network = case.network(seed)
            answers.append(_answer(case, network, seed, False))
            if not case.expected and case.trains:
                answers.append(_answer(case, trained(case, network, seed), seed, True))
        on_case(case.name)
    if cases is None:
        answers += [
            Answer(name, seed, False, kinds, found) for name, seed, kinds, found in loop_answers(seeds, on_case)
        ]
    return Outcome(tuple(answers))


def calibrate(seeds: Sequence[int], on_case: Callable[[str], None] = lambda name: None) -> dict[str, object]:
    """The table of limits: statistics of healthy networks, before and after training, and of healthy loops."""
    measured: list[dict[str, float]] = []
    for case in calibrating():
        for seed in seeds:
            measured += healthy_numbers(case, seed)
        on_case(case.name)
    measured += healthy_loops(seeds, on_case)
    return tabulated(measured, seeds)


def healthy_numbers(case: Case, seed: int) -> list[dict[str, float]]:
    """The statistics of one healthy network at the start and after training."""
    network = case.network(seed)
    states = [network, trained(case, network, seed)] if case.trains else [network]
    both = [_examined(case, one, seed)[1] for one in states]
    return [{name: s.value for name, s in numbers.items()} for numbers in both]


def tabulated(measured: Sequence[Mapping[str, float]], seeds: Sequence[int]) -> dict[str, object]:
    """The table of many networks' and loops' statistics: of those that a rule judges, over the rows that have them."""
    names = dict.fromkeys(name for row in measured for name in row if name in table.MATERIAL)
    return {
        "networks": [c.name for c in calibrating()],
        "loops": list(PROGRAMS),
        "seeds": [min(seeds), max(seeds)],
        "states": ["at the start", f"after {TRAINED_EPOCHS} epochs"],
        "torch": torch.__version__.partition("+")[0],
        "quantiles": table.quantiles({name: [row[name] for row in measured if name in row] for name in names}),
    }


def write_table(path: Path, measured: Mapping[str, object]) -> None:
    """Keep a calibration."""
    write_whole(path, to_json(measured) + "\n")


def diagnose_case(case: Case, network: nn.Module, seed: int) -> list[Finding]:
    """Findings of one network of the bench."""
    seen, numbers = _examined(case, network, seed)
    return findings(numbers, table.limits(), seen)


def _examined(case: Case, network: nn.Module, seed: int) -> tuple[Look, dict[str, Statistic]]:
    held_out = case.held_out(seed) if case.held_out is not None else ()
    return examine(network, case.loss, case.data(seed), BUDGET, held_out=held_out)


def _answer(case: Case, network: nn.Module, seed: int, after: bool) -> Answer:
    return Answer(case.name, seed, after, case.expected, tuple(f.kind for f in diagnose_case(case, network, seed)))
