"""The calls that a script makes between a model's output and its backward pass, kept so that they can be made again.

With them a loss is known however it is written: as a function of an output and of the targets that it reads.
"""

from __future__ import annotations

import linecache
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from nonsingular.diagnosis.arithmetic import DIFFERENCES, PRODUCTS, TURNED_DIFFERENCES
from nonsingular.diagnosis.loop.places import at_line, variable
from nonsingular.objective.graph import behind
from nonsingular.places import Place, here

MOST = 2000
"""Calls of one step that are kept; a loop that makes more between output and loss is not read."""


@dataclass(frozen=True)
class Called:
    """One call of a function of torch's.

    Attributes:
        function, args, kwargs: as it was called.
        out: what it returned.
        place: the user's line.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    out: Any
    place: Place | None

    @property
    def name(self) -> str:
        """Of the function."""
        return str(getattr(self.function, "__name__", ""))

    @property
    def given(self) -> list[Tensor]:
        """The tensors among its arguments."""
        return _tensors([self.args, dict(self.kwargs)])

    @property
    def returned(self) -> list[Tensor]:
        """The tensors that it returned."""
        return _tensors(self.out)


@dataclass(frozen=True)
class Read:
    """A loss that was read off a tape.

    Attributes:
        loss: (output, target) -> scalar, whatever the number of samples.
        target: the tensor that it compares the output with, or a tuple of several.
        words: the functions it calls, which tell one loss from another.
        call: whose output it takes, as ``begin`` was told.
    """

    loss: Callable[[Any, Any], Tensor]
    target: Any
    words: tuple[str, ...]
    call: Any = None


@dataclass(frozen=True)
class ReadOff:
    """A number that was read off a tensor.

    Attributes:
        value: the number.
        tensor: of one entry.
        place: the user's line.
    """

    value: float
    tensor: Tensor
    place: Place | None


READING = {"item", "__float__", "numpy"}
"""Functions of tensors that return what no graph knows of."""

REWARDS = re.compile(r"(^|_)(rewards?|returns?|advantages?|advs?|gaes?|scores?)(_|$)", re.IGNORECASE)
"""Names under which what a policy earns goes; a cost, which is to be small, has others."""
OUTPUTS = 2  # of models, one of which a loss may be of: a student's, then its teacher's


@dataclass(frozen=True)
class Rewarded:
    """Log-probabilities that were multiplied by what they earned.

    Attributes:
        log_probability: or the ratio of probabilities, or minus the former.
        wanted: the way that it should go to be less likely: minus what should grow.
        place: of the product.
    """

    log_probability: Tensor
    wanted: Tensor
    place: Place | None


@dataclass(frozen=True)
class _Begun:
    """What was kept from one output of a model to the next.

    Attributes:
        output, call: what the model returned, and by which call.
        calls: of torch's functions since.
        numbers: that were read off tensors.
        earned: products of log-probabilities and rewards among them.
        weights: by what log-probabilities were multiplied, whatever its name.
        untrained: what something trained was compared with.
    """

    output: Any
    call: Any
    calls: list[Called] = field(default_factory=list)
    numbers: list[ReadOff] = field(default_factory=list)
    earned: list[Rewarded] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)
    untrained: list[Tensor] = field(default_factory=list)


class Tape(TorchFunctionMode):
    """While it is entered, and between ``begin`` and ``end``, calls are kept.

    It is entered once, below all modes of the user's own, because modes must leave in the order in which they came.
    """

    def __init__(self) -> None:
        super().__init__()
        self._begun: list[_Begun] = []
        self._paused, self._thread = False, threading.get_ident()

    def begin(self, output: Any, call: Any = None) -> None:
        """A model has returned this, by this call; of earlier ones the latest is kept."""
        self._begun = [*self._begun[1 - OUTPUTS :], _Begun(output, call)]

    def pause(self) -> None:
        """Another model is called: what it computes inside is no part of the loss."""
        self._paused = True

    def resume(self) -> None:
        """It returned."""
        self._paused = False

    def end(self) -> None:
        """Let go of everything."""
        self._begun = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the function and, where it returns tensors, keep the call."""
        out = func(*args, **(kwargs or {}))
        if self._begun and not self._paused and threading.get_ident() == self._thread:
            if _tensors(out):
                self._keep(Called(_own(func), tuple(args), dict(kwargs or {}), out, here()))
            elif getattr(func, "__name__", "") in READING and args[0].numel() == 1 and not args[0].is_complex():
                self._begun[-1].numbers.append(ReadOff(float(args[0].detach().reshape(())), args[0], here()))
        return out

    def _keep(self, call: Called) -> None:
        kept, name = self._begun[-1], call.name
        kept.calls.append(call)
        if name in PRODUCTS and (weighted := _weighted(call.args)) is not None:
            kept.weights.append(weighted[1].detach())
            if (earned := _earned(*weighted)) is not None:
                kept.earned.append(earned)
        elif name in DIFFERENCES | TURNED_DIFFERENCES:
            kept.untrained.extend(_untrained(call.args))
        if sum(len(b.calls) for b in self._begun) > MOST:
            self.end()

    def read(self, root: Tensor) -> Read | None:
        """The loss whose value is ``root``, as a function of a model's output; None where it is more than that.

        It is more where another call of a model goes into it with its graph, and where it reads nothing that has a row
        a sample. What another call returned without its graph, as a teacher's, is a target.
        """
        since = (self._begun[i:] for i in reversed(range(len(self._begun))))
        return next((read for some in since if (read := self._of(root, some)) is not None), None)

    def _of(self, root: Tensor, since: Sequence[_Begun]) -> Read | None:
        """The same as a function of the first of these outputs, by what was called since."""
        begun = since[0]
        outputs = {id(t): i for i, t in enumerate(_tensors(begun.output))}
        calls = _behind(root, [call for some in since for call in some.calls], set(outputs))
        sizes = {t.shape[0] for t in _tensors(begun.output) if t.ndim}
        calls = [call for call in calls if not (len(sizes) == 1 and _chooses(call, *sizes))]
        outside = _outside(calls, set(outputs))
        if outside is None or not calls or len(sizes) != 1 or not any(id(t) in outputs for c in calls for t in c.given):
            return None
        made = {t.grad_fn for t in outside.values() if t.grad_fn is not None}
        if made and made & comes_back_to(root):
            return None
        [samples] = sizes
        leaf = lambda t: t.requires_grad and t.grad_fn is None  # noqa: E731
        rows = {i: t.detach() for i, t in outside.items() if t.ndim and t.shape[0] == samples and not leaf(t)}
        if not rows or samples < 1:
            return None
        again = _again(calls, outputs, list(rows), id(root))
        target = next(iter(rows.values())) if len(rows) == 1 else tuple(rows.values())
        words = tuple(call.name for call in calls)
        return Read(_any_number(again, samples), target, words, begun.call)

    def rewarded(self) -> list[Rewarded]:
        """Products of log-probabilities and rewards that were computed since the model returned."""
        return [earned for begun in self._begun for earned in begun.earned]

    def weights(self) -> list[Tensor]:
        """By what log-probabilities, or what may be some, were multiplied since the model returned."""
        return [w for begun in self._begun for w in begun.weights]

    def calls(self) -> list[Called]:
        """Everything that is kept, in order."""
        return [call for begun in self._begun for call in begun.calls]

    def numbers(self) -> list[ReadOff]:
        """Numbers that were read off tensors since the model returned."""
        return [number for begun in self._begun for number in begun.numbers]

    def untrained(self) -> list[Tensor]:
        """What something trained was compared with by a difference since the model returned."""
        return [t for begun in self._begun for t in begun.untrained]


def _behind(root: Tensor, calls: Sequence[Called], outputs: set[int]) -> list[Called]:
    """The calls that the root was made by, in order."""
    wanted, found = {id(root)}, list[Called]()
    for call in reversed(calls):
        if any(id(t) in wanted for t in call.returned):
            found.append(call)
            wanted |= {id(t) for t in call.given} - outputs
    return found[::-1]


def _chooses(call: Called, samples: int) -> bool:
    """Whether a call takes the rows of a batch out of a table of all: its result is the target, not its index."""
    if call.name not in ("__getitem__", "index_select") or call.out.requires_grad:
        return False
    tables = [t for t in call.given if t.ndim and t.shape[0] != samples]
    return bool(call.out.ndim) and call.out.shape[0] == samples and len(tables) == 1 and call.given[0] is tables[0]


def _weighted(args: Sequence[Any]) -> tuple[Tensor, Tensor] | None:
    """Of a product of something trained and of something that is not, of one shape, the two."""
    tensors = [x for x in args if isinstance(x, Tensor) and x.numel() > 1]
    trained = [x for x in tensors if x.requires_grad]
    given = [x for x in tensors if not x.requires_grad]
    if len(trained) != 1 or len(given) != 1 or trained[0].shape != given[0].shape:
        return None
    return trained[0], given[0]


def _earned(logs: Tensor, rewards: Tensor) -> Rewarded | None:
    """Whether these are log-probabilities and rewards, the latter by the name that the user gave them."""
    place, name = here(), variable(rewards)
    line = linecache.getline(place.file, place.line) if place is not None else ""
    if not (REWARDS.search(name) if name else any(map(REWARDS.search, re.findall(r"\w+", line)))):
        return None
    values, node = logs.detach(), logs.grad_fn
    ratio = node is not None and node.name().startswith("Exp")
    if ratio or bool((values <= 0).all()):
        return Rewarded(logs, rewards.detach(), place)
    minus = bool((values >= 0).all()) and node is not None and node.name().startswith("Neg")
    return Rewarded(logs, -rewards.detach(), place) if minus else None


def _untrained(args: Sequence[Any]) -> list[Tensor]:
    """Of a difference between something trained and something that is not, the latter."""
    tensors = [x for x in args if isinstance(x, Tensor) and x.ndim]
    given = [x for x in tensors if not x.requires_grad]
    return given if len(tensors) == 2 and len(given) == 1 else []


def comes_back_to(root: Any) -> set[Any]:
    """The operations that a backward pass comes back to."""
    return set(behind([getattr(root, "grad_fn", None)]))


def _own(function: Any) -> Any:
    """Torch's function itself, where it is one that is listened to."""
    listened = getattr(F, getattr(function, "__name__", ""), None) is function
    return getattr(function, "__wrapped__", function) if listened else function


def _outside(calls: Sequence[Called], known: set[int]) -> dict[int, Tensor] | None:
    """What the calls read and did not make; None where they change some of it, as a sum that grows over steps."""
    found: dict[int, Tensor] = {}
    for call in calls:
        new = {id(t): t for t in call.given if id(t) not in known}
        name = call.name
        if new and (name.startswith("__i") or (name.endswith("_") and not name.endswith("__"))):
            return None
        found |= new
        known |= {*new, *(id(t) for t in call.returned)}
    return found


def _again(
    calls: Sequence[Called], outputs: Mapping[int, int], targets: Sequence[int], root: int
) -> Callable[[Any, Any], Tensor]:
    """The same calls, with another output and other targets; whatever else they read stays as it was."""
    recorded = [
        (_at(call), _held(call.args, outputs, targets, calls),
         _held(dict(call.kwargs), outputs, targets, calls), [id(t) for t in call.returned])
        for call in calls
    ]  # fmt: skip

    def loss(output: Any, target: Any) -> Tensor:
        new, rows = _tensors(output), [target] if isinstance(target, Tensor) else list(target)
        known = {i: new[k] for i, k in outputs.items()} | dict(zip(targets, rows, strict=True))
        for function, args, kwargs, made in recorded:
            put = lambda x: known[x.number] if isinstance(x, _Later) else x  # noqa: E731
            out = function(*_mapped(args, put), **_mapped(kwargs, put))
            known.update(zip(made, _tensors(out), strict=True))
        return known[root]

    return loss


def _at(call: Called) -> Callable[..., Any]:
    function = call.function
    return at_line(lambda *args, **kwargs: function(*args, **kwargs), call.place)


@dataclass(frozen=True)
class _Later:
    """Stands for a tensor that is known when the calls are made again."""

    number: int


def _held(x: Any, outputs: Mapping[int, int], targets: Sequence[int], calls: Sequence[Called]) -> Any:
    later = set(outputs) | set(targets) | {id(t) for call in calls for t in call.returned}
    return tree_map_only(Tensor, lambda t: _Later(id(t)) if id(t) in later else t.detach(), x)


def _mapped(x: Any, put: Callable[[Any], Any]) -> Any:
    return tree_map_only(_Later, put, x)


def _any_number(loss: Callable[[Any, Any], Tensor], samples: int) -> Callable[[Any, Any], Tensor]:
    """A loss of exactly so many samples, for any number: rows are repeated, or taken in parts whose mean is the loss.

    A script's own numbers, as in ``view(64, -1)`` or ``/ len(x)``, belong to the batch that they were read from.
    """

    def whole(output: Any, target: Any) -> Tensor:
        n = next(len(t) for t in _tensors(output) if t.ndim)
        if n == samples:
            return loss(output, target)
        values = []
        for start in range(0, n, samples):
            rows = torch.arange(start, start + samples) % n
            cut = lambda t: t[rows.to(t.device)] if t.ndim and len(t) == n else t  # noqa: B023, E731
            values.append(loss(tree_map_only(Tensor, cut, output), tree_map_only(Tensor, cut, target)))
        return torch.stack(values).mean()

    return whole


def _tensors(x: Any) -> list[Tensor]:
    return [x] if isinstance(x, Tensor) else [t for t in tree_leaves(x) if isinstance(t, Tensor)]
