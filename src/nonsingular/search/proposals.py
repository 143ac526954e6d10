"""Optuna's side of a search: its samplers by name, its study in SQLite, trials asked for and told about in rounds.

A trial belongs to a *round*: those that are trained together. The round's number and size are kept with the trial, so
that a search stopped at any moment completes its last round, goes on with it in the same folder, and ends with the same
numbers as one that was not stopped.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nonsingular.errors import InputError, MissingExtra
from nonsingular.files import PARTIAL
from nonsingular.search.numbers import NUMBERS, Range, searched

if TYPE_CHECKING:
    import optuna
    from optuna import Study
    from optuna.trial import FrozenTrial

SAMPLERS = ("random", "tpe", "cmaes", "gp")
STUDY = "search"
ROUND = "round"


@contextmanager
def full_disk_named(path: Path) -> Iterator[None]:
    """Turn SQLite's error, however it is wrapped, into the system's own.

    Raises:
        OSError: there is no space for the study.
    """
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            if "disk is full" in str(cause):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
            cause = cause.__cause__ or cause.__context__
        raise


@dataclass
class Proposals:
    """The trials of a search.

    Args:
        path: SQLite file of the study; made where there is none.
        found: what is searched.
        sampler: a name in ``SAMPLERS``.
        seed: with it, trial ``k`` of the random sampler is decided, however the trials are cut into rounds and
            however often the search is stopped.

    Raises:
        MissingExtra: Optuna, or the package that the sampler needs, is not installed.
        InputError: unknown sampler, one that cannot search a single number, or a damaged file.
    """

    path: Path
    found: Sequence[Range]
    sampler: str
    seed: int

    def __post_init__(self) -> None:
        check(self.sampler, self.found)
        try:
            self.study = _study(self.path)
            self._abandon_half_made()
        except Exception as error:
            if type(error).__module__.split(".")[0] not in ("sqlalchemy", "sqlite3", "alembic", "optuna"):
                raise
            raise InputError(f"{self.path} is not a readable Optuna study; name another --out") from error

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials that were fully proposed, in their order."""
        return [t for t in self.study.get_trials(deepcopy=False) if ROUND in t.user_attrs]

    def unfinished(self) -> int | None:
        """The round that was stopped before the study was told about all of it, or None; it is completed here."""
        for trial in self.trials:
            if not trial.state.is_finished():
                number, size = trial.user_attrs[ROUND]
                self._ask(number, size)
                return int(number)
        return None

    def round(self, number: int) -> dict[int, FrozenTrial]:
        """The trials of a round by their place among all (Optuna counts those too that were never fully proposed)."""
        return {place: t for place, t in enumerate(self.trials) if t.user_attrs[ROUND][0] == number}

    def ask(self, count: int) -> int:
        """Have the sampler propose ``count`` trials; the number of their round."""
        number = max((t.user_attrs[ROUND][0] for t in self.trials), default=-1) + 1
        self._ask(number, count)
        return number

    def _ask(self, number: int, size: int) -> None:
        space = {r.name: _distribution(r) for r in searched(self.found)}
        for _ in range(size - len(self.round(number))):
            # Optuna does not keep a sampler's random state: a stopped search would propose its first trials again.
            seed = int(np.random.SeedSequence([self.seed, len(self.trials)]).generate_state(1)[0])
            self.study.sampler = _sampler(self.sampler, seed)
            self.study.ask(space).set_user_attr(ROUND, [number, size])

    def tell(self, trial: FrozenTrial, value: float | None) -> None:
        """Tell the study a trial's value; None marks it as failed. A trial that was told before stays as it is."""
        from optuna.trial import TrialState

        if not trial.state.is_finished():
            self.study.tell(trial.number, value, state=TrialState.FAIL if value is None else None)

    def values(self, trial: FrozenTrial) -> dict[str, float]:
        """The numbers of a trial, the fixed ones among them."""
        return {r.name: r.low if r.fixed else trial.params[r.name] for r in self.found}

    def _abandon_half_made(self) -> None:
        """A trial killed while it was proposed has no round: it is told as failed, and another takes its place."""
        from optuna.trial import TrialState

        for trial in self.study.get_trials(deepcopy=False):
            if ROUND not in trial.user_attrs and not trial.state.is_finished():
                self.study.tell(trial.number, state=TrialState.FAIL)


def check(sampler: str, found: Sequence[Range]) -> None:
    """Refuse what cannot be searched before anything is written.

    Raises:
        MissingExtra: Optuna, or the package that the sampler needs, is not installed.
        InputError: unknown sampler, or one that cannot search a single number.
    """
    if sampler not in SAMPLERS:
        raise InputError(f"unknown sampler {sampler!r}; there are {', '.join(SAMPLERS)}")
    if sampler == "cmaes" and len(searched(found)) < 2:
        raise InputError("the sampler cmaes needs at least two numbers to search; random, tpe and gp search one")
    _optuna()
    if sampler == "cmaes" and importlib.util.find_spec("cmaes") is None:
        raise MissingExtra("the sampler cmaes", "search")


def _study(path: Path) -> Study:
    """The study kept in a file, which is whole or not there."""
    optuna = _optuna()
    if not path.exists():
        partial = path.with_name(path.name + PARTIAL)
        partial.unlink(missing_ok=True)
        try:
            storage = optuna.storages.RDBStorage(f"sqlite:///{partial}")
            optuna.create_study(storage=storage, study_name=STUDY, direction="maximize")
            storage.remove_session()
            storage.engine.dispose()
        except Exception:
            partial.unlink(missing_ok=True)  # half a file would keep a full disk full
            raise
        partial.replace(path)
    return optuna.load_study(study_name=STUDY, storage=f"sqlite:///{path}")


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise MissingExtra("nonsingular search", "search") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    from optuna import samplers

    with warnings.catch_warnings():  # Optuna calls some of these experimental whenever they are made
        warnings.simplefilter("ignore")
        made: Mapping[str, Any] = {
            "random": samplers.RandomSampler,
            # Trials of one round must not crowd where nothing is known yet about the others of it.
            "tpe": lambda seed: samplers.TPESampler(seed=seed, constant_liar=True),
            "cmaes": samplers.CmaEsSampler,
            "gp": samplers.GPSampler,
        }
        return made[name](seed=seed)


def _distribution(found: Range) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import FloatDistribution, IntDistribution

    number = NUMBERS[found.name]
    if number.whole:
        return IntDistribution(int(found.low), int(found.high), log=number.log)
    return FloatDistribution(found.low, found.high, log=number.log)
