"""What the parts of an observer share: the facts so far, the parameters, and where in a step the loop is."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import torch
from torch import nn

from nonsingular.diagnosis.loop.caught import Caught
from nonsingular.diagnosis.loop.records import Cut, Loop
from nonsingular.diagnosis.loop.tape import Tape
from nonsingular.diagnosis.loop.waiting import Waiting


@dataclass
class Shared:
    """Facts and state.

    Attributes:
        loop: what was seen.
        tape, caught: of what the script calls, and the losses that are read off it.
        most: steps of each optimiser after which ``Enough`` is raised; None for none.
        done: steps of those that train now, the most that one of them has taken.
        first, cadence: steps from the start that are measured one by one, and how often later ones are.
        parameters: that were seen, by id.
        waiting: backward passes whose gradients nobody has used yet.
        busy: within a backward pass, or a look of ours: what is called then is no call of the user's.
        within_steps: steps of optimisers that go on, as those that call a closure.
        signs: of the losses in the backward passes since the former step.
        made: id of a parameter -> norm of its gradient after the latest backward pass.
        reached: index of an optimiser -> parameters that a gradient reached since its former step.
        unclear: index of an optimiser -> its gradients that may be a former step's.
        drawn_together: ids of the parameters behind both ends of the distance that the latest loss is; None of others.
        taught: ids of the parameters that the latest loss trains to be like others' outputs, and for nothing else.
        cut: terms without a graph in the losses of the backward passes since the former step; None where none of them
            was looked at.
        scale: by which a scaler has multiplied the loss; None where gradients have no such factor.
    """

    loop: Loop
    tape: Tape
    caught: Caught
    most: int | None
    first: int
    cadence: int
    done: int = 0
    parameters: dict[int, nn.Parameter] = field(default_factory=dict)
    waiting: Waiting = field(init=False)
    busy: bool = False
    within_steps: int = 0
    signs: set[int] = field(default_factory=set)
    made: dict[int, float] = field(default_factory=dict)
    reached: dict[int, set[int]] = field(default_factory=dict)
    unclear: dict[int, set[int]] = field(default_factory=dict)
    drawn_together: tuple[set[int], set[int]] | None = None
    taught: set[int] = field(default_factory=set)
    cut: list[Cut] | None = None
    scale: float | None = None
    thread: int = field(default_factory=threading.get_ident)

    def __post_init__(self) -> None:
        self.waiting = Waiting(self.loop)

    @property
    def measuring(self) -> bool:
        """Whether the present step is measured."""
        optimisers = self.loop.optimisers
        done = self.done or max(0, self.loop.backwards - 1) * (not any(h.steps for h in optimisers))
        return done < self.first or done % self.cadence < 2 * max(1, len(optimisers))

    @property
    def elsewhere(self) -> bool:
        """Whether what happens is none of the loop's that is watched."""
        return self.busy or torch.compiler.is_compiling() or threading.get_ident() != self.thread

    @property
    def sign(self) -> int:
        """Of what is minimised: -1 where only losses are in it, each with a minus; 0 where none is known."""
        return (-1 if self.signs == {-1} else 1) if self.signs else 0

    def forget(self) -> None:
        """Nobody listens for a while: gradients that are there now say nothing about those that are seen next."""
        self.unclear, self.reached, self.signs, self.made, self.scale = {}, {}, set(), {}, None
        self.busy, self.drawn_together, self.cut, self.taught = False, None, None, set()
        self.waiting.forget()
