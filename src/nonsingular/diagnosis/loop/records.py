"""What was seen of a training loop: optimisers, models, steps, losses; only facts, no judgement."""

from __future__ import annotations

import math
import weakref
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakSet

from torch import Tensor, nn

from nonsingular.diagnosis.contract.noising import Mixture
from nonsingular.diagnosis.records import Statistic
from nonsingular.places import Place

BY_HAND = -1
"""Stands for the optimiser where the user's own code changes the weights."""
MOST = 4000
"""Entries that are kept of what is seen again and again: a loop may go on for days."""

T = TypeVar("T")


class Thinned(list[T]):
    """A list of at most ``MOST`` entries, evenly spread in pairs over all that was appended, and the latest.

    >>> few = Thinned[int]()
    >>> for number in range(10 * MOST + 1):
    ...     few.append(number)
    >>> few[:3], few[-1], len(few) <= MOST
    ([0, 1, 32], 40000, True)
    """

    def __init__(self, entries: Iterable[T] = ()) -> None:
        super().__init__(entries)
        self._appended, self._stride, self._spare = 0, 1, False

    def append(self, entry: T) -> None:
        """Two of every so many are kept: neighbours, in which one shows what the other leaves."""
        if self._spare:
            del self[-1]  # it was the latest only
        super().append(entry)
        self._spare = self._appended // 2 % self._stride != 0
        self._appended += 1
        if len(self) > MOST:
            self[:] = [x for i, x in enumerate(self) if i // 2 % 2 == 0]
            self._stride *= 2


@dataclass(frozen=True)
class Movement:
    """What one step did to one parameter.

    Attributes:
        weight: norm before the step.
        moved: norm of the change.
        gradient: norm of the gradient that the step was made of.
        uphill: inner product of gradient and change; negative is downhill.
        inward: inner product of the change with minus the weights.
        lost: share of the entries with a gradient whose value the step left as it was.
        zeros: share of the gradient's entries that are zero.
        outward: inner product of the weights with minus the gradient; positive where larger ones lessen the loss.
    """

    weight: float
    moved: float
    gradient: float
    uphill: float
    inward: float
    lost: float
    zeros: float
    outward: float = 0.0


@dataclass
class Update:
    """One measured step of an optimiser, or by hand.

    Attributes:
        number: steps before it.
        optimiser: its index, or ``BY_HAND``.
        rate: largest learning rate of its groups; NaN by hand.
        peak: the learning rate that the schedule starts from, for the group of ``rate``.
        decay: norm of weight decay's part over that of the gradient's, in what the optimiser adds up; 0 without decay.
        shrinks: part of itself that decay takes from a weight.
        coupled: id of a parameter -> by what its weights are multiplied and added to its gradient, if that is not 0.
        made: norm of the gradient as the backward pass left it, without a scaler's factor.
        used: norm of the gradient as the optimiser met it.
        cut: part of the gradient that is left by a clipping before a factor of the loss was divided out again; NaN
            where it was not so.
        stale: share of the entries whose gradient was in a former step too and was not cleared since; NaN where
            the former step was not seen.
        sign: of what is minimised: -1 where only losses are in it, each with a minus; 0 where none is known.
        kept: part of what the former step of the same optimiser did that was still there at this one; NaN where it was
            not seen.
        pending: a forward pass of before the step whose backward pass came after it.
        parameters: id -> its movement.
        dtype: of the parameters, of most entries.
    """

    number: int
    optimiser: int
    rate: float = math.nan
    peak: float = math.nan
    decay: float = 0.0
    shrinks: float = 0.0
    coupled: dict[int, float] = field(default_factory=dict)
    made: float = math.nan
    used: float = math.nan
    stale: float = math.nan
    cut: float = math.nan
    sign: int = 0
    kept: float = math.nan
    pending: list[Call] = field(default_factory=list)
    parameters: dict[int, Movement] = field(default_factory=dict)
    dtype: str = "float32"


@dataclass
class Held:
    """An optimiser.

    Attributes:
        label: the user's name for it, or its class.
        kind: its class.
        made: where.
        ids: of the parameters it holds.
        size: their entries.
        entered: steps of all optimisers before it was made.
        steps: taken; ``place`` is where.
        empty: steps at which no parameter had a gradient other than zero.
        asked: steps that a gradient scaler was asked for; it skips those with infinities.
        scaled: steps with gradients that still had a scaler's factor.
        rates: largest learning rate of each step; ``momentum`` of that group, 0 without.
        unclipped: share of what a step uses that was not clipped, where the rest was, at each step with a clipping.
        states: (step, what some of its weights were before it), as a number that tells them from others.
        latest: steps of all optimisers before its latest one.
        remade: how often the same line made another of the same parameters.
        base: the learning rate that its schedule multiplies.
        epsilon: what it adds to the root of the gradient's mean square, 0 where it has none.
        settings: of its first group, as it was made.
        schedulers: that were made for it after its first step, the latest at ``schedule_made``.
        schedule: its scheduler's class; ``scheduler`` itself, stepped ``schedule_steps`` times at ``schedule_place``.
        metrics: (number, latest loss) of each step of a scheduler that is given a number.
    """

    label: str
    kind: str
    made: Place | None
    ids: set[int] = field(default_factory=set)
    size: int = 0
    entered: int = 0
    steps: int = 0
    place: Place | None = None
    empty: int = 0
    asked: int = 0
    scaled: int = 0
    rates: Thinned[float] = field(default_factory=Thinned)
    momentum: float = 0.0
    unclipped: Thinned[float] = field(default_factory=Thinned)
    states: Thinned[tuple[int, int]] = field(default_factory=Thinned)
    latest: int = 0
    remade: int = 0
    base: float = math.nan
    epsilon: float = 0.0
    settings: dict[str, Any] = field(default_factory=dict)
    schedulers: list[Any] = field(default_factory=list)
    schedule: str = ""
    schedule_place: Place | None = None
    schedule_made: Place | None = None
    schedule_steps: int = 0
    scheduler: Any = None
    metrics: list[tuple[float, float]] = field(default_factory=list)

    def remakes(self, other: Held, ids: set[int]) -> bool:
        """Whether another optimiser was made by the same line, of the same parameters."""
        return self.made is not None and (self.kind, self.made, self.ids) == (other.kind, other.made, ids)


@dataclass
class Call:
    """One call of a model from the user's code.

    Attributes:
        training: the model's mode.
        tracked: whether autograd was on.
        graded: whether a gradient came back to its output.
        fed: its output went into another model.
        tested: its input came from a data loader, or its output went into a loss.
        probed: a gradient is wanted by its inputs, which no model made: an attack, or an image that is optimised.
        level: mean and standard deviation of its inputs, where they are numbers of data.
        ids: how often each token id is among its inputs, where they are tokens.
        passed: how often the loader of its batch had been begun, and which of its batches this is; zeros without one.
        cut_from: ids of the parameters of the models whose outputs are its inputs without their graph.
        cut_state: what tells its other inputs from those of other calls, where it was given its model's former output
            without the graph beside them; None where it was not.
        rewritten: whether the tensor that its input is a part of was written over since the former call.
    """

    number: int
    training: bool
    tracked: bool
    place: Place | None
    graded: bool = False
    fed: bool = False
    tested: bool = False
    sample: Any = None
    sliced: bool = False
    probed: bool = False
    level: tuple[float, float] | None = None
    ids: Tensor | None = None
    rewritten: bool = False
    passed: tuple[int, int] = (0, 0)
    cut_from: set[int] = field(default_factory=set)
    cut_state: Any = None


@dataclass(frozen=True)
class Tested:
    """Weights with which a model was called in evaluation mode, without autograd.

    Attributes:
        steps: before it.
        own: id of each of its parameters -> some entries.
        stepped: of every parameter that a step has moved, what the latest measured one left.
    """

    steps: int
    own: dict[int, Tensor]
    stepped: dict[int, Tensor]


@dataclass(eq=False)
class Cut:
    """A term of a loss without its graph.

    Attributes:
        place: of the call that adds it.
        made_by: the calls that made it and what it was made of, each as name, line and how many of them came before.
        behind: ids of the parameters that its value hangs on.
        own: those of them that the rest of its loss does not hang on.
        graded: whether a gradient came back, by another way or in another pass, to what it was made of.
    """

    place: Place | None
    made_by: set[tuple[str, Place | None, int]]
    behind: set[int] = field(default_factory=set)
    own: set[int] = field(default_factory=set)
    graded: bool = False


@dataclass
class Trainee:
    """A model that the user's code called.

    Attributes:
        label: the user's name for it.
        module: itself.
        calls: in order; the early and the latest.
        ids: of its parameters, as it was called last.
        reached: ids of parameters that a gradient reached.
        called: ids of the modules that were called within it.
        strangers: modules that were called within it and that it does not have as submodules.
        untracked: ids of the modules that ran with autograd off while the model was called with it on.
        lively: ids of the modules that were called in training mode.
        agreement: of each graded call with known targets, the cosine between the gradient by the outputs and that of
            the plain loss (cross-entropy, squared error) of these targets.
        latest: its latest input.
        switched: where it was last switched to evaluation or training.
        told: how often the user's code called its ``train()``.
        tests: calls without autograd, of whose inputs the size is kept.
        tested: weights at one of the latest tests, which were made between ``between`` different steps.
        ready: whether it was loaded or trained before steps that train one model to be like another.
    """

    label: str
    module: nn.Module
    calls: list[Call] = field(default_factory=list)
    ids: set[int] = field(default_factory=set)
    reached: set[int] = field(default_factory=set)
    called: dict[int, int] = field(default_factory=dict)
    strangers: dict[int, nn.Module] = field(default_factory=dict)
    untracked: set[int] = field(default_factory=set)
    lively: set[int] = field(default_factory=set)
    agreement: Thinned[float] = field(default_factory=Thinned)
    switched: Place | None = None
    told: int = 0
    tests: int = 0
    tested: Tested | None = None
    between: set[int] = field(default_factory=set)
    latest: weakref.ref[Tensor] | None = None
    ready: bool = False


@dataclass
class Site:
    """A line that computes one of torch's losses.

    Attributes:
        name: of the function in ``torch.nn.functional``.
        values: (step, value) of every call that a gradient came back to, and of no other.
        targets: a sample of the targets, flat; of numbers ``[sample, number]``, where each has several.
        classes: of the outputs, where they are classes.
    """

    name: str
    place: Place | None
    values: Thinned[tuple[int, float]] = field(default_factory=Thinned)
    targets: list[Tensor] = field(default_factory=list)
    classes: int = 0
    weighted: bool = False


@dataclass
class Loader:
    """A data loader.

    Attributes:
        begun: how often it was.
        length: how many batches it has.
        drawn: how many were taken from it.
        changed: how often its data set's own numbers were others than when it was begun before.
    """

    begun: int = 0
    length: int = 0
    place: Place | None = None
    drawn: int = 0
    changed: int = 0
    numbers: Any = None


@dataclass
class Broken:
    """The first number that is not finite.

    Attributes:
        what: "loss" or "gradient".
        number: the step.
        place: of the backward pass.
        parameters: ids of those with such a gradient.
        made: by what, where a replay found it.
        grew: the loss before over the first loss.
    """

    what: str
    number: int
    place: Place | None
    parameters: tuple[int, ...] = ()
    made: Statistic | None = None
    grew: float = 1.0


@dataclass
class Loop:
    """Everything seen of a loop.

    Attributes:
        optimisers, trainees, updates: optimisers that were made or stepped, models that were called, measured steps.
        losses: (step, value) of what backward passes began from.
        sites: lines that compute one of torch's losses.
        loaders: by id.
        places, counts: of backward passes, clipping, clearing, ...
        still: id of a parameter -> backward passes that reached it without any change of its value before the next.
        moved: ids of parameters that changed.
        steps, backwards: how many.
        drawn_together: ids of the parameters behind both ends of a distance that is all of a loss, where a step moved
            both; None where none did.
        cuts: terms without their graph -> steps on a loss with them.
        taught: ids of the parameters that steps have moved for nothing but to be like a model with other losses too.
        broken: the first number that is not finite.
        sharpness: largest eigenvalue of the Hessian at the start; NaN where it was not computed.
        rewards: of each backward pass with log-probabilities times rewards, the cosine between what a step does to the
            former and what the latter ask for, turned round: 1 is the wrong sign.
        factors: by which the loss was multiplied last, before each backward pass.
        starts: id of a parameter -> some of its entries when it was first seen.
        running: id of a normalisation -> its running mean and variance when its model was first seen.
        ends, running_ends: as ``starts`` and ``running``, when the loop was over; empty before.
        mixtures, tables: of signal and noise that were handed to a model, and the tables in sight of their factors.
        used, wasted: backward passes by their line, whose gradients a step used, or that were cleared before any did.
        seeds: how often random numbers were begun anew since the first step, by seed and line.
        returns: how returns are made of rewards, where they are not the sums of what comes later; "" otherwise.
        modes: loss of a batch at the end, in training mode without dropout and in evaluation mode; None if not known.
        together: decades by which outputs of different samples have come together since the start; NaN where not known.
        constant: loss of the best constant prediction, of what backward passes begin from; NaN where it is not known.
        ended: whether the loop came to its own end.
        raised: the error by which it did not, with its line; "" where none was raised.
        loaded: modules that weights were loaded into.
        refused: facts of one of torch's losses that raised an error; empty where none did.
        notes: what could not be seen.
    """

    optimisers: list[Held] = field(default_factory=list)
    trainees: list[Trainee] = field(default_factory=list)
    updates: Thinned[Update] = field(default_factory=Thinned)
    losses: Thinned[tuple[int, float]] = field(default_factory=Thinned)
    sites: dict[Any, Site] = field(default_factory=dict)
    loaders: dict[int, Loader] = field(default_factory=dict)
    places: dict[str, Place | None] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    still: Counter[int] = field(default_factory=Counter)
    moved: set[int] = field(default_factory=set)
    steps: int = 0
    backwards: int = 0
    drawn_together: tuple[set[int], set[int]] | None = None
    cuts: Counter[Cut] = field(default_factory=Counter)
    taught: set[int] = field(default_factory=set)
    broken: Broken | None = None
    sharpness: float = math.nan
    constant: float = math.nan
    rewards: Thinned[float] = field(default_factory=Thinned)
    factors: Thinned[float] = field(default_factory=Thinned)
    starts: dict[int, Tensor] = field(default_factory=dict)
    running: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    ends: dict[int, Tensor] = field(default_factory=dict)
    running_ends: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    mixtures: list[Mixture] = field(default_factory=list)
    tables: list[Tensor] = field(default_factory=list)
    used: Counter[Place | None] = field(default_factory=Counter)
    wasted: Counter[Place | None] = field(default_factory=Counter)
    seeds: Counter[tuple[Any, Place | None]] = field(default_factory=Counter)
    returns: str = ""
    modes: tuple[float, float] | None = None
    together: float = math.nan
    ended: bool = False
    raised: str = ""
    seconds: float = 0.0
    refused: dict[str, Statistic] = field(default_factory=dict)
    loaded: WeakSet[nn.Module] = field(default_factory=WeakSet)
    notes: list[str] = field(default_factory=list)

    def names(self) -> dict[int, str]:
        """Of every parameter, by id; with the model's label in front where there are several models."""
        found: dict[int, str] = {}
        several = len(self.trainees) > 1
        for trainee in self.trainees:
            for name, p in trainee.module.named_parameters():
                found.setdefault(id(p), f"{trainee.label}.{name}" if several and trainee.label else name)
            for module in trainee.strangers.values():
                for name, p in module.named_parameters(recurse=False):
                    found.setdefault(id(p), f"{type(module).__name__}.{name}")
        return found
