"""What is measured of a network: one number a run, its words, unit and range. Verbs compare networks in it.

``of("mean_overlap")`` is the mean over layers and the measured epochs after the start, ``of("mean_overlap", epoch=3)``
that after epoch 3, ``of("gradient_norm", epoch=START, log=True)`` the mean log10 before training. Quantities are
subtracted: ``of("gradient_norm", epoch=0, layer=1, log=True) - of("gradient_norm", epoch=0, layer=LAST, log=True)``
tells how gradients change from the last layer to the first. ``docs/howto/variables.md`` lists all variables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from scipy import stats

from nonsingular.checks import checked
from nonsingular.experiments import fit
from nonsingular.experiments.claims import NotMeasured
from nonsingular.experiments.effects import per_run
from nonsingular.experiments.known import known
from nonsingular.experiments.run.instruments import LABELS, PERCENT
from nonsingular.experiments.spec import LAST
from nonsingular.intervals import EVERYWHERE

START, END = 0, LAST
AFTER_START = None
"""Of ``of``: all measured epochs but the first."""

Epochs = int | Sequence[int] | None
"""One epoch (0 is the start, ``END`` the last), several to be averaged, or ``AFTER_START``."""
Bounds = tuple[float, float]

POINTS = "percentage points"
CORRELATIONS = (-1.0, 1.0)
RANGES: dict[str, Bounds] = dict.fromkeys(
    (
        "mean_overlap",
        "maximum_overlap",
        "forward_correlation",
        "backward_correlation",
        "forward_centred",
        "backward_centred",
    ),
    CORRELATIONS,
) | dict.fromkeys(("feature_breaking", "gradient_breaking"), (0.0, 1.0))
"""What values of a variable are possible, where that is bounded and no share."""


@dataclass(frozen=True)
class Quantity:
    """Something measured of one network.

    Attributes:
        measure: (results, network) -> one number a run, by ``run``.
        words: what it is.
        unit: of a difference of two; empty where it has none.
        within: the values that are possible.
        before: whether it is measured before training, so that it does not matter whether the network trains.
        tells_training: whether it tells how well the network trains: not to train is a value of it like another
            (of what is made of several: ``asked_of``).
        limits: results -> the values that are possible of them, where that is narrower than ``within``.
        variables: of the results that it is made of, so that a misspelt one is told before networks are trained.
    """

    measure: Callable[[xr.Dataset, str], xr.DataArray]
    words: str
    unit: str = ""
    within: Bounds = EVERYWHERE
    before: bool = False
    tells_training: bool = False
    limits: Callable[[xr.Dataset], Bounds] | None = None
    variables: tuple[str, ...] = ()

    def possible(self, results: xr.Dataset) -> Bounds:
        """The values that are possible of these results."""
        return self.limits(results) if self.limits else self.within

    def __call__(self, results: xr.Dataset, network: str) -> xr.DataArray:
        """One number a run, without further coordinates.

        Raises:
            NotMeasured: the results lack it.
        """
        runs = {"run": results.run.values} if "run" in results.coords else None
        return xr.DataArray(self.measure(results, network).values, runs, "run")

    def __sub__(self, other: Quantity) -> Quantity:
        """The difference of two quantities of the same network."""
        (low, high), (least, most) = self.within, other.within
        before, tells = asked_of(self, other)
        return replace(
            self,
            measure=lambda results, network: self(results, network) - other(results, network),
            words=f"{self.words}, less {other.words}",
            within=(low - most, high - least),
            limits=None,
            variables=self.variables + other.variables,
            before=before,
            tells_training=tells,
        )

    def called(self, words: str) -> Quantity:
        """The same in other words."""
        return replace(self, words=words)


def asked_of(*parts: Any) -> tuple[bool, bool]:
    """``before`` and ``tells_training`` of what is made of quantities or measures: it asks as much as the most asking.

    Nothing where all are measured before training; that one of the networks has trained where all others tell how well
    networks train; else that each has.

    >>> asked_of(of("train_accuracy"), of("gradient_norm", epoch=START))
    (False, True)
    >>> asked_of(of("train_accuracy"), of("mean_overlap"))
    (False, False)
    """
    return all(part.before for part in parts), all(part.tells_training or part.before for part in parts)


@checked
def of(variable: str, *, epoch: Epochs = AFTER_START, layer: int | None = None, log: bool = False) -> Quantity:
    """A variable of an instrument, one number a run: what is not named is averaged over.

    Args:
        variable: its name (``docs/howto/variables.md`` lists them); shares are taken in percent.
        epoch: after which it was measured (``START``, ``END`` or a number), several to be averaged, or ``AFTER_START``.
        layer: the number of a layer, from 1; ``LAST`` (-1) for the last one; None for the mean over all.
        log: take log10 of every value (NaN at zero) before averages are taken.

    Raises:
        InputError: no instrument has such a variable.
    """
    share = variable in PERCENT and not log
    name, _, unit = LABELS[known("variable", variable, LABELS)].replace("\n", " ").partition(" (")

    def measure(results: xr.Dataset, network: str) -> xr.DataArray:
        values = _at(per_run(results, variable, network), epoch, variable)
        if "layer" in values.dims:
            values = values.dropna("layer", how="all")
        if log:
            values = xr.apply_ufunc(np.log10, values.where(values > 0))
        if layer is not None:
            values = values.isel(layer=-1) if layer == LAST else _layer(values, layer, variable)
        return (100.0 if share else 1.0) * values.mean([d for d in values.dims if d != "run"])

    return Quantity(
        measure,
        ("log10 of " if log else "") + name + _where(layer) + _epochs(epoch),
        "log10" if log else POINTS if share else unit.rstrip(")"),
        (0.0, 100.0) if share else EVERYWHERE if log else RANGES.get(variable, EVERYWHERE),
        before=epoch == START,
        tells_training=variable in TELL_TRAINING,
        variables=(variable,),
    )


TELL_TRAINING = ("train_accuracy", "test_accuracy", "train_loss", "test_loss")


def _at(values: xr.DataArray, epoch: Epochs, variable: str) -> xr.DataArray:
    """The epochs that are asked for."""
    if epoch is AFTER_START:
        return values.isel(epoch=slice(1, None))
    wanted = [epoch] if isinstance(epoch, int) else list(epoch)
    wanted = [int(values.epoch[-1]) if one == END else one for one in wanted]
    measured = values.epoch.values[values.notnull().any([d for d in values.dims if d != "epoch"])]
    if missing := [one for one in wanted if one not in measured]:
        raise NotMeasured(f"{variable} was not measured after epoch {missing[0]}")
    return values.sel(epoch=wanted)


def _layer(values: xr.DataArray, layer: int, variable: str) -> xr.DataArray:
    if layer not in values.layer:
        raise NotMeasured(f"{variable} of layer {layer}")
    return values.sel(layer=layer)


def _where(layer: int | None) -> str:
    return "" if layer is None else " of the last layer" if layer == LAST else f" of layer {layer}"


def _epochs(epoch: Epochs) -> str:
    if epoch is AFTER_START:
        return ", mean over the measured epochs after the start"
    if not isinstance(epoch, int):
        first, *_, last = epoch
        run_on = len(epoch) > 2 and list(epoch) == list(range(first, last + 1))
        return f", mean after epochs {first} to {last}" if run_on else f", mean after epochs {_and(epoch)}"
    return {START: " at the start", END: " after the last epoch"}.get(epoch, f" after epoch {epoch}")


def _and(numbers: Sequence[int]) -> str:
    return f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def _label(variable: str) -> str:
    """What an instrument's variable is called.

    Raises:
        InputError: no instrument measures it.
    """
    return LABELS[known("variable", variable, LABELS)].replace("\n", " ").partition(" (")[0]


SPEED = of("train_accuracy").called("mean training accuracy over the epochs")
"""Training speed, in percent."""

ON_THE_WAY = "on the way from guessing = 0 to no error = 100"


@checked
def reached(split: str = "train") -> Quantity:
    """How far a network came from guessing to no error by the last epoch, in percent; a run that diverged came nowhere.

    Args:
        split: ``train`` or ``test``.
    """

    def measure(results: xr.Dataset, network: str) -> xr.DataArray:
        return xr.DataArray(fit.fitted(results, network, split), dims="run")

    name = _label(f"{split}_accuracy").removesuffix(" accuracy")
    words = f"{name} accuracy after the last epoch, {ON_THE_WAY}"
    return Quantity(
        measure,
        words,
        "percent of the way",
        (-100.0, 100.0),
        tells_training=True,
        limits=fit.possible,
        variables=(f"{split}_accuracy",),
    )


@checked
def first_over_last(variable: str = "gradient_norm", *, epoch: int = START) -> Quantity:
    """log10 of a norm at the first over that at the last hidden layer: below 0 where gradients vanish on the way back.

    Of a norm that halves from the last layer to the first it is ``log10(1 / 2)``.
    """
    first, last = (of(variable, epoch=epoch, layer=layer, log=True) for layer in (1, LAST))
    return (first - last).called(f"log10 of {_label(variable)}, first over last hidden layer{_epochs(epoch)}")


@checked
def epochs_until(accuracy: float, split: str = "train") -> Quantity:
    """The first epoch after which a run's accuracy, in percent, is as high; where none is, the one after the last."""

    def measure(results: xr.Dataset, network: str) -> xr.DataArray:
        values = 100 * per_run(results, f"{split}_accuracy", network)
        there = (values >= accuracy).transpose("run", "epoch").values
        epochs = values.epoch.values
        first = np.where(there.any(1), epochs[there.argmax(1)], epochs[-1] + 1)
        return xr.DataArray(first.astype(float), dims="run")

    words = f"first epoch with {_label(f'{split}_accuracy')} of {accuracy:g} %, or the one after all"

    def limits(results: xr.Dataset) -> Bounds:
        return 0.0, float(results.epoch[-1]) + 1

    return Quantity(
        measure, words, "epochs", (0.0, np.inf), tells_training=True, limits=limits, variables=(f"{split}_accuracy",)
    )


FEWEST_EPOCHS = 5  # of a correlation over epochs


@checked
def tracks(first: str, second: str, *, layer: int | None = None) -> Quantity:
    """Rank correlation of two variables over the epochs after the start at which both were measured, of each run.

    Args:
        first: of an instrument; of variables by layer the mean over all.
        second: another; of layer ``layer`` where it is given.
        layer: the number of a layer, from 1.
    """

    def measure(results: xr.Dataset, network: str) -> xr.DataArray:
        both = [per_run(results, name, network).isel(epoch=slice(1, None)) for name in (first, second)]
        if layer is not None:
            both[1] = _layer(both[1], layer, second)
        a, b = (x.mean([d for d in x.dims if d not in ("run", "epoch")]).transpose("run", "epoch").values for x in both)
        epochs = np.isfinite(a).any(0) & np.isfinite(b).any(0)
        if epochs.sum() < FEWEST_EPOCHS:
            raise NotMeasured(f"needs {FEWEST_EPOCHS} epochs after the start, got {int(epochs.sum())}")
        found = [stats.spearmanr(x, y).statistic for x, y in zip(a[:, epochs], b[:, epochs], strict=True)]
        return xr.DataArray(found, dims="run")

    where = f"{FEWEST_EPOCHS} or more epochs after the start"
    words = f"rank correlation over {where} of {_label(first)} with {_label(second)}{_where(layer)}"
    return Quantity(measure, words, "rank correlation", CORRELATIONS, variables=(first, second))
