"""A rehearsal: some steps of the user's own training step, observed, after which everything is as before."""

from __future__ import annotations

import copy
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._pytree import tree_leaves

from nonsingular import progress
from nonsingular.checks import checked
from nonsingular.diagnosis import healthy
from nonsingular.diagnosis.batches import Problem
from nonsingular.diagnosis.findings import Finding, findings
from nonsingular.diagnosis.look import Budget
from nonsingular.diagnosis.loop.caught import Caught
from nonsingular.diagnosis.loop.movement import ADAPTIVE
from nonsingular.diagnosis.loop.observer import Observer
from nonsingular.diagnosis.loop.records import BY_HAND, Loop
from nonsingular.diagnosis.loop.statistics import loop_statistics
from nonsingular.diagnosis.loop.statistics.losses import constant, latest, no_better, step_losses, trains
from nonsingular.diagnosis.loop.statistics.steps import ratio
from nonsingular.diagnosis.loop.statistics.told import ENOUGH, NOTHING
from nonsingular.diagnosis.loop.taps import tapped
from nonsingular.diagnosis.optimisers import called
from nonsingular.diagnosis.records import Look, Statistic
from nonsingular.diagnosis.untouched import untouched
from nonsingular.errors import InputError
from nonsingular.objective import Batch
from nonsingular.places import here
from nonsingular.spelling import spelled

Step = Callable[[Any, Any, Any], Any]
SHARPEST = 2_000_000  # parameters of a model whose sharpness is computed
OF_INPUTS = (
    "constant-inputs", "duplicates", "contradictions", "near-contradictions", "uneven-features", "raw-bytes",
)  # fmt: skip
"""Statistics of inputs that are data: codes that a network makes of them may be few, and of any size."""
LOOK = 20.0  # seconds after which no further batch is looked at
LEAST, SHARE = 5.0, 0.2  # seconds, and part of the loop's own, that the best constant prediction may take


@dataclass(frozen=True)
class Rehearsal:
    """What a training loop was seen to do.

    Attributes:
        findings: worst first; empty for a loop without anything wrong.
        loop: all facts.
        numbers: the statistics that findings come from.
        look: at the network and data that the loop trains, where it was asked for and the loop showed them: of several
            networks trained one after another at the first with a finding, or else the first.
        loss_fn: (output, target) -> scalar, as the loop computes it; None where that is not known.
        pairs: (inputs, target) of its first batches, as the loop hands them to the model and to the loss.
        followed: the network that these are of, the first that the loop trains; None where none is known.

    >>> import torch
    >>> import nonsingular as ns
    >>> model = torch.nn.Linear(4, 1)
    >>> optimiser = torch.optim.SGD(model.parameters(), 0.1)
    >>> def train_step(model, batch, optimiser):
    ...     loss = torch.nn.functional.mse_loss(model(batch[0]), batch[1])
    ...     loss.backward()  # and nobody clears the gradients
    ...     optimiser.step()
    ...     return loss
    >>> batches = [(torch.randn(16, 4), torch.randn(16, 1)) for _ in range(8)]
    >>> found = ns.rehearse(model, train_step, batches, optimiser)
    >>> found.findings[0].kind
    'gradients-accumulate'
    """

    findings: tuple[Finding, ...]
    loop: Loop
    numbers: Mapping[str, Statistic]
    look: Look | None = None
    loss_fn: Callable[[Any, Any], Tensor] | None = None
    pairs: tuple[tuple[Any, Any], ...] = ()
    followed: nn.Module | None = None

    def summary(self) -> dict[str, Any]:
        """The loop in a few numbers: steps, losses, the step over the weights, the best constant prediction's loss."""
        losses, updates = step_losses(self.loop), [u for u in self.loop.updates if math.isfinite(ratio(u))]
        best, _ = constant(self.loop)
        shown = {
            "steps": self.loop.steps or self.loop.counts["hand"],
            "backwards": self.loop.backwards,
            "optimisers": [h.kind for h in self.loop.optimisers if h.steps],
            "first_loss": losses[0] if losses else math.nan,
            "last_loss": losses[-1] if losses else math.nan,
            "constant_loss": best,
            "step_over_weight": _middle([ratio(u) for u in updates]),
            "sharpness": self.loop.sharpness,
            "seconds": self.loop.seconds,
        }
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in shown.items()}

    def to_json(self) -> dict[str, Any]:
        """The object that ``nonsingular watch --json`` prints."""
        return {
            "findings": [f.to_json() for f in self.findings],
            "layers": [layer.to_json() for layer in self.look.layers] if self.look is not None else [],
            "loop": self.summary(),
            "notes": list(self.loop.notes),
        }

    @property
    def empty(self) -> bool:
        """Whether nothing of a training was seen: no backward pass, no step of an optimiser, and nothing wrong."""
        return not (self.loop.backwards or self.loop.steps or self.loop.counts["hand"] or self.findings)

    def nothing(self) -> str:
        """What is said where there are no findings: also that nothing was learnt, where that is known."""
        if self.loop.raised:
            return f"nothing wrong found in the loop, until the script raised {self.loop.raised}"
        best, values = constant(self.loop)
        if len(values) >= 2 * ENOUGH and math.isfinite(best) and (late := latest(values)) >= best:
            return (
                f"nothing wrong found in the loop, but its loss did not get below that of the best constant prediction "
                f"in these steps: {late:.3g} at the end, against {best:.3g}"
            )
        return "nothing wrong found in the loop"

    def __str__(self) -> str:
        if not self.findings:
            return self.nothing()
        return "\n".join(f"{f.severity:.2f}  {f.kind}  {f.place}" for f in self.findings)


FEWEST = 5
"""Steps of a loop that tell anything of it."""


def refuse_few(steps: int, name: str = "steps") -> None:
    """Refuse to judge a loop by a step or two.

    Raises:
        InputError: there are fewer than ``FEWEST``.
    """
    if steps < FEWEST:
        raise InputError(f"{name} must be at least {FEWEST}, got {steps}: fewer tell too little of a loop")


@checked
@spelled
def rehearse(
    model: nn.Module, step: Step, batches: Iterable[Any], optimiser: Any = None, steps: int = 30,
    seconds: float = math.inf,
) -> Rehearsal:  # fmt: skip
    """Run some steps of a user's own training step and say what is wrong with the loop.

    Weights, buffers, gradients, modes, random states and the optimiser's state are as before afterwards.

    Args:
        model: that trains.
        step: ``step(model, batch, optimiser)`` does one training step and returns its loss.
        batches: handed to ``step`` one by one, from the start again when they end.
        optimiser: handed to ``step``: an optimiser, several in a tuple, list or dictionary, a function of the model
            that returns one, or None where the step changes the weights by hand.
        steps: calls of ``step``, at least 5.
        seconds: after which there is no further one, once there were 5.

    Raises:
        InputError: too few steps, no batches, or a step that fails.

    Example:
        >>> import torch, nonsingular as ns
        >>> def step(model, batch, optimiser):
        ...     loss = torch.nn.functional.mse_loss(model(batch[0]), batch[1])
        ...     loss.backward()
        ...     optimiser.step()
        ...     return loss
        >>> model = torch.nn.Linear(4, 2)
        >>> data = [(torch.randn(16, 4), torch.randn(16, 2)) for _ in range(4)]
        >>> found = ns.rehearse(model, step, data, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> found.findings[0].kind  # optimiser.zero_grad() is missing
        'gradients-accumulate'
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if not callable(step):
        raise InputError(f"step must be callable as step(model, batch, optimiser), got {type(step).__name__}")
    refuse_few(steps)
    return judged(_rehearsed(model, step, _some(batches, steps), optimiser, steps, seconds))


def _rehearsed(model: nn.Module, step: Step, kept: list[Any], optimiser: Any, steps: int, seconds: float) -> Observer:
    """An observer of so many steps, or of those that there is time for."""
    observer = Observer(measured=steps, kept=steps)
    with ExitStack() as stack:
        stack.enter_context(observer.tape)
        stack.enter_context(tapped(observer))
        stack.enter_context(progress.stretch("rehearsing steps, at most", steps, "steps"))
        if callable(optimiser) and not isinstance(optimiser, Optimizer):
            optimiser = called(optimiser, model)  # observed too: its line is where the optimiser is made
        held = [o for o in _leaves(optimiser) if isinstance(o, Optimizer)]
        stack.enter_context(_put_back(model, held))
        for o in held:
            observer.met(o)
        end = time.perf_counter() + seconds
        for number, batch in enumerate(itertools.islice(itertools.cycle(kept), steps)):
            if number >= 5 and time.perf_counter() > end:
                break
            progress.count("steps")
            observer.drawn(batch)
            observer.loop.counts["rehearsed"] += 1
            try:
                loss = step(model, batch, optimiser)
            except Exception as error:
                if observer.loop.refused:
                    break  # that is what is wrong
                raise InputError(f"step {number} fails: {type(error).__name__}: {_line(error)}") from error
            if not observer.loop.backwards and isinstance(loss, Tensor | float):
                observer.loop.losses.append((number, float(loss)))
        observer.finish()
    return observer


def plainly(
    task: Problem, optimiser: Any, steps: int = 100, seconds: float = 15.0
) -> tuple[Mapping[str, Statistic], str]:
    """The statistics of plain steps: clear, forward, loss, backward, step; and what came of them in words, or why none.

    Args:
        task: model, loss and batches.
        optimiser: over the model's parameters, or model -> optimiser.
        steps: at most.
        seconds: after which no further step is taken.
    """
    _ = task.writes_data  # found out by a pass of its own, which is none of the loop's

    def step(model: nn.Module, batch: Batch, optimiser: Optimizer) -> Tensor:
        model.train()
        optimiser.zero_grad()
        _, loss = task.run(batch)
        loss.backward()
        optimiser.step()
        return loss

    try:
        with untouched(task.loss_fn) if isinstance(task.loss_fn, nn.Module) else nullcontext():
            seen = _rehearsed(task.model, step, task.batches, optimiser, steps, seconds)
            numbers = judged(seen).numbers
    except InputError as error:
        return {}, f"no plain steps of your optimiser were rehearsed: {error}"
    caller = str(here())  # these steps are none of the user's lines
    numbers = {name: replace(s, where="") if s.where == caller else s for name, s in numbers.items()}
    return numbers, _came_of_it(seen.loop)


def _came_of_it(loop: Loop) -> str:
    """How the loss went in plain steps: the means of the first and last tenth of them."""
    losses = [float(value) for _, value in loop.losses]
    some = max(1, len(losses) // 10)
    first, last = (sum(part) / some for part in (losses[:some], losses[-some:])) if losses else (math.nan, math.nan)
    verdict = ", and they learn" if trains(loop) else ", no better than a constant yet" if no_better(loop) else ""
    went = f": loss {first:.3g} at first, {last:.3g} at last{verdict}" if losses else ""
    return f"rehearsed {loop.steps} plain steps of your optimiser{went}"


def judged(observer: Observer, look: bool = False) -> Rehearsal:
    """Findings of a loop that was observed.

    Args:
        observer: that has finished.
        look: also at the network with its loss and first batches, as ``diagnose`` does, where the loop showed them.
    """
    loop, seen, network = observer.loop, None, dict[str, Statistic]()
    if look:
        looks = [_network(caught, loop) for caught in observer.caught.each()]
        seen, network = next((one for one in looks if findings(one[1], healthy.limits(), one[0])), looks[0])
    loop.constant = observer.caught.constant(max(LEAST, SHARE * loop.seconds))
    numbers = loop_statistics(loop)
    if not math.isnan(numbers["loop-large-step"].value):
        loop.sharpness = sharpness(observer.caught, loop)
        numbers = loop_statistics(loop)
    numbers = network | numbers | loop.refused | _of_later_batches(loop, network)
    caught = observer.caught
    found = tuple(findings(numbers, healthy.limits(), seen))
    if look and not found:
        apart = next((s for one in caught.each() if (s := one.soft_apart()).value > 0), None)
        if apart is not None:
            numbers["loop-soft-apart"] = replace(apart, where=str(loop.places.get("backward") or ""))
            found = tuple(findings(numbers, healthy.limits(), seen))
    if look and not found and no_better(loop) and not loop.rewards:  # a policy has no targets
        drawn = max((x for x in loop.loaders.values() if x.place), key=lambda x: x.drawn, default=None)
        place = drawn.place if drawn is not None else loop.places.get("backward")
        numbers["loop-unrelated"] = replace(caught.unrelated(), where=str(place or ""))  # the data, or where they end
        found = tuple(findings(numbers, healthy.limits(), seen))
    return Rehearsal(found, loop, numbers, seen, caught.loss_fn, tuple(caught.pairs), caught.followed)


def _network(caught: Caught, loop: Loop) -> tuple[Look | None, dict[str, Statistic]]:
    """What ``diagnose`` measures of the model as it was before the first step."""
    from nonsingular.diagnosis.examine import examine

    if caught.model is None or caught.loss_fn is None or not caught.pairs:
        if loop.backwards or loop.steps:
            loop.notes.append(
                "the network itself was not looked at: its loss was not seen, in training mode, as a function of one "
                "output of the model and of targets"
            )
        return None, {}
    try:
        seen, numbers = examine(caught.model, caught.loss_fn, caught.pairs, Budget(seconds=LOOK), curvature=False)
    except (InputError, RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        loop.notes.append(f"the network itself was not looked at: {_line(error)}")
        return None, {}
    for name in ("left-alone", "set-aside", "unused", "unreached", "untrained"):
        numbers.pop(name, None)  # what is frozen there, the loop freezes on purpose or tells itself
    for name in OF_INPUTS if caught.fed else ():
        numbers.pop(name, None)
    return seen, numbers


def _of_later_batches(loop: Loop, network: Mapping[str, Statistic]) -> dict[str, Statistic]:
    """What the loop knows better than its first batches: targets that are all alike there may have others."""
    told = [t for site in loop.sites.values() for t in site.targets]
    adversaries = sum(h.steps > 0 for h in loop.optimisers) > 1
    if adversaries:  # each has its labels for the same samples
        return {"constant-targets": NOTHING, "constant-goal": NOTHING, "contradictions": NOTHING}
    if any(bool((t != told[0].flatten()[0]).any()) for t in told):
        return {"constant-targets": NOTHING, "constant-goal": NOTHING}
    goal = network.get("constant-goal", NOTHING)
    if goal.value == 1 and told and bool(told[0].any()):  # it is all that training has; a residual's would be zero
        return {"constant-targets": goal, "constant-goal": NOTHING}
    return {}


def sharpness(caught: Caught, loop: Loop) -> float:
    """Largest eigenvalue of the Hessian at the start, where plain gradient steps make it matter; NaN elsewhere."""
    from scipy.sparse.linalg import ArpackNoConvergence, eigsh

    from nonsingular.curvature import Hessian

    plain = [u for u in loop.updates if u.optimiser != BY_HAND and loop.optimisers[u.optimiser].kind not in ADAPTIVE]
    model, loss_fn = caught.model, caught.loss_fn
    if not plain or model is None or loss_fn is None or not caught.pairs:
        return math.nan
    size = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if not 2 < size <= SHARPEST:
        return math.nan
    try:
        with untouched(model):
            operator = Hessian(model, loss_fn, caught.pairs[:1], mode="own").to_scipy()
            values = eigsh(operator, k=1, which="LA", tol=1e-2, maxiter=30, return_eigenvectors=False)
    except (InputError, RuntimeError, ArpackNoConvergence, ValueError):
        return math.nan
    return float(values[0])


@contextmanager
def _put_back(model: nn.Module, optimisers: list[Optimizer]) -> Iterator[None]:
    """Weights, gradients, buffers, modes, random states and optimisers' states are afterwards as they were."""
    parameters = {
        id(p): p for p in (*model.parameters(), *(p for o in optimisers for g in o.param_groups for p in g["params"]))
    }
    values = [
        (p, p.detach().clone(), None if p.grad is None else p.grad.clone(), p.requires_grad)
        for p in parameters.values()
    ]
    states = [copy.deepcopy(o.state_dict()) for o in optimisers]
    try:
        with untouched(model):
            yield
    finally:
        with torch.no_grad():
            for p, value, gradient, wanted in values:
                p.copy_(value)
                p.grad = gradient
                p.requires_grad_(wanted)
        for o, state in zip(optimisers, states, strict=True):
            o.load_state_dict(state)


def _some(batches: Iterable[Any], steps: int) -> list[Any]:
    try:
        kept = list(itertools.islice(iter(batches), steps))
    except TypeError:
        raise InputError(f"batches must be an iterable of batches, got {type(batches).__name__}") from None
    if not kept:
        raise InputError("batches are empty: give at least one")
    return kept


def _leaves(optimiser: Any) -> list[Any]:
    return tree_leaves(optimiser) if isinstance(optimiser, tuple | list | dict) else [optimiser]


def _middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2] if values else math.nan


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
