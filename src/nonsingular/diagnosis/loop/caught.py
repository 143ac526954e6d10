"""What is trained, as far as the loop shows it: the model at its start, torch's loss, inputs and targets of batches."""

from __future__ import annotations

import copy
import math
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only, tree_structure

from nonsingular.diagnosis.batches import problem
from nonsingular.diagnosis.constants import best_constant
from nonsingular.diagnosis.contract.finite import given, not_finite
from nonsingular.diagnosis.course import joined
from nonsingular.diagnosis.loop.between import Output
from nonsingular.diagnosis.loop.places import at_line
from nonsingular.diagnosis.loop.tape import Rewarded, Tape
from nonsingular.diagnosis.records import Statistic
from nonsingular.diagnosis.relation import chance_of_relation
from nonsingular.diagnosis.tokens import ids_of
from nonsingular.diagnosis.untouched import as_training, untouched
from nonsingular.errors import InputError
from nonsingular.objective.finite import finite, samples_not_finite
from nonsingular.objective.models import not_copied
from nonsingular.places import here, user_frame

BATCHES = 8
CALLS = 4  # latest calls of models among which that is looked for whose output a loss takes
NETWORKS = 3  # trained one after another that are looked at, as a teacher and its student are
RELATED, UNRELATED = 128, 0.1  # samples from where, and p-values beyond which, inputs are said to tell nothing
SURE = 0.01  # p-value up to which they do tell something
LARGEST = 50_000_000  # entries of a model that is copied


@dataclass(frozen=True, eq=False)
class _Call:
    """One of the latest calls of models."""

    model: nn.Module
    inputs: tuple[Any, ...]
    named: dict[str, Any]
    returned: Output | None

    @property
    def held(self) -> Any:
        """The inputs as a batch has them."""
        return self.named or (self.inputs[0] if len(self.inputs) == 1 else self.inputs)


@dataclass(frozen=True)
class _Lost:
    """A call of a model with the loss of its output."""

    call: _Call
    loss: Callable[[Any, Any], Tensor]
    target: Any
    words: tuple[str, ...]
    whole: bool = False


class Caught:
    """Pairs calls of a model with the losses of their outputs.

    Args:
        batches: that are kept; 0 keeps the latest alone, and no copy of the model.
        tape: of what the script calls, where one runs: with it losses are known however they are written, without it
            only torch's and modules of the user's.
        networks: that may come, this one and those trained after it.

    Attributes:
        model: a copy of the model at its first loss, None where there was none, or none that can be copied.
        loss_fn: (output, target) -> scalar, as the loop calls it.
        pairs: (inputs, target) of the first batches.
        whole: whether ``loss_fn`` is what backward passes begin from, and no part of it.
        fed: whether its inputs are made by another network, and are no data.
        later: the same of another network, whose training began after this one's; None where there is none.
    """

    def __init__(self, batches: int = BATCHES, tape: Tape | None = None, networks: int = NETWORKS) -> None:
        self.model: nn.Module | None = None
        self.loss_fn: Callable[[Any, Any], Tensor] | None = None
        self.pairs: list[tuple[Any, Any]] = []
        self.whole = self.fed = False
        self.later: Caught | None = None
        self._most, self.tape, self._networks = batches, tape, networks
        self._calls = deque[_Call](maxlen=CALLS)
        self._latest: _Lost | None = None
        self._source: tuple[int, tuple[str, ...]] | None = None
        self._live: nn.Module | None = None
        self._rewarded: list[Rewarded] = []
        self._untrained: list[Tensor] = []
        self._weights: list[Tensor] = []

    def called(self, model: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        """A model of the user's returned."""
        if not torch.is_grad_enabled() or not any(
            isinstance(t, Tensor) and t.requires_grad for t in tree_leaves(output)
        ):
            return  # of a teacher
        self._calls.append(_Call(model, inputs, named, Output(output) if isinstance(output, Tensor) else None))
        if self.tape is not None and self._wants(model):
            self.tape.begin(output, self._calls[-1])

    def lost(
        self, name: str, args: tuple[Any, ...], named: dict[str, Any], module: Callable[..., Tensor] | None = None
    ) -> None:
        """A loss took an output: one of torch's functions by its name, or a module of the user's."""
        output = args[0] if args else named.get("input")
        target = args[1] if len(args) > 1 else named.get("target")
        if len(args) > 3 or not isinstance(target, Tensor):
            return
        place = here()
        found = ((c, c.returned.until(output, place)) for c in reversed(self._calls) if c.returned is not None)
        call, between = next(((c, made) for c, made in found if made is not None), (None, None))
        if call is None or between is None:
            return
        options = {k: v for k, v in named.items() if k not in ("input", "target")}
        if len(args) > 2:
            if module is not None:
                return
            options["weight"] = args[2]
        if options.get("reduction") == "none":
            return
        plain: Callable[..., Tensor] = module if module is not None else getattr(F, name)
        loss_fn: Callable[..., Tensor] = plain if module is not None else getattr(plain, "__wrapped__", plain)

        def loss(output: Any, target: Any) -> Tensor:
            return loss_fn(between(output), target, **options)

        loss = at_line(loss, place)  # its operations are the script's, for all that is said of them
        self._latest = _Lost(call, loss, target, (name,))

    def before_backward(self, root: Any) -> None:
        """A backward pass begins: the loss that it begins from is the one that trains."""
        if not self._calls:
            return
        self._rewarded, self._untrained, self._weights = [], [], []
        if self.tape is not None and isinstance(root, Tensor):
            read = self.tape.read(root)
            self._rewarded, self._untrained = self.tape.rewarded(), self.tape.untrained()
            self._weights = self.tape.weights()
            self.tape.end()
            if read is not None:
                self._latest = _Lost(read.call, read.loss, read.target, read.words, whole=True)
        lost = self._latest
        if lost is not None and lost.call in self._calls and self._most:
            self._keep(lost)

    @property
    def followed(self) -> nn.Module | None:
        """The user's own network of which model, loss and batches are kept."""
        return self._live

    @property
    def goals(self) -> list[Tensor]:
        """What the latest loss compared outputs with, as it is read and as it was computed on the way."""
        read = tree_leaves(self._latest.target) if self._latest is not None else []
        return [*(t for t in read if isinstance(t, Tensor)), *self._untrained]

    @property
    def weights(self) -> list[Tensor]:
        """By what log-probabilities were multiplied in the latest loss."""
        return self._weights

    def rewarded(self) -> list[Rewarded]:
        """Of the present backward pass."""
        return self._rewarded

    def each(self) -> Iterator[Caught]:
        """This network, and those trained after it."""
        yield self
        if self.later is not None:
            yield from self.later.each()

    def _wants(self, model: nn.Module) -> bool:
        """Whether the loss of a model's output would be kept."""
        if self._source is None or self._follows(model):
            return len(self.pairs) < self._most
        return self._networks > 1 if self.later is None else self.later._wants(model)

    def _follows(self, model: nn.Module) -> bool:
        return self._source is not None and self._source[0] == id(model)

    def _keep(self, lost: _Lost) -> None:
        """The model at its first loss, and the first batches."""
        call = lost.call
        other = self._source is not None and not self._follows(call.model)
        if other and self._networks > 1 and (self.pairs or self.model is None):
            self.later = self.later or Caught(self._most, networks=self._networks - 1)
            self.later._keep(lost)
            return
        if self._source is None and call.model.training:
            self._begin(call.model, lost)
        wanted = self._source == (id(call.model), lost.words) and not (call.inputs and call.named)
        if not wanted or len(self.pairs) >= self._most:
            return
        pair = (call.held, lost.target)
        if given(*pair) is not None:
            return  # told where the loss is not finite
        if self.pairs and tree_structure(pair) != tree_structure(self.pairs[0]):
            return  # a loss that reads more in one step than in another
        if not any(_same(pair, other) for other in self.pairs):  # the one batch of full-batch training
            self.pairs.append(tree_map_only(Tensor, lambda t: t.detach().clone(), pair))

    def _begin(self, model: nn.Module, lost: _Lost) -> None:
        self._source = (id(model), lost.words)
        if sum(p.numel() for p in model.parameters()) > LARGEST:
            return
        try:
            with torch.no_grad():
                self.model = copy.deepcopy(model, not_copied(model))
        except Exception:  # what cannot be copied is not looked at
            return
        self.model.zero_grad(set_to_none=True)
        self._live = model
        self.loss_fn, self.whole = lost.loss, lost.whole
        self.fed = any(isinstance(t, Tensor) and t.grad_fn is not None for t in tree_leaves(lost.call.held))

    def together(self) -> float:
        """Decades by which the spread of outputs over samples is less than at the start; NaN where it is not known."""
        if self.model is None or self._live is None or not self.pairs:
            return math.nan
        before, after = (_spread(m, self.pairs[0][0]) for m in (self.model, self._live))
        return math.log10(before / max(after, 1e-12 * before)) if before > 0 and after >= 0 else math.nan

    def modes(self) -> tuple[float, float] | None:
        """The loss of the first batch at the end, in training mode without dropout, and in evaluation mode."""
        model, loss_fn = self._live, self.loss_fn
        if model is None or loss_fn is None or not (self.whole and self.pairs):
            return None
        if not any(isinstance(m, nn.modules.batchnorm._NormBase) and m.track_running_stats for m in model.modules()):
            return None
        try:
            task = problem(model, loss_fn, self.pairs[:1], sys.maxsize)
            with untouched(model), torch.no_grad():
                with as_training(model):
                    train = float(task.run(task.batches[0])[1])
                model.eval()
                return train, float(task.run(task.batches[0])[1])
        except (InputError, RuntimeError, ValueError, TypeError):
            return None

    def unrelated(self) -> Statistic:
        """Whether samples whose inputs are alike have targets no more alike than others, in the kept batches."""
        words = "chance that targets without any relation to the inputs look like these (permutation test)"
        nothing = Statistic(math.nan, (), words)
        if self.model is None or self.loss_fn is None or not self.pairs:
            return nothing
        if ids_of(self.pairs[0][0]) is not None and not _has_table(self.model):
            return nothing  # whole numbers that choose nothing are no tokens
        try:
            batches = problem(self.model, self.loss_fn, self.pairs, sys.maxsize).batches
            chance = chance_of_relation(batches)
        except (InputError, RuntimeError, ValueError, TypeError):
            return nothing
        samples = sum(b.samples for b in batches)
        evidence = ({"measure": words, "value": chance}, {"measure": "samples", "value": samples})
        remedy = (
            "Look at how inputs and targets were put together before they reach the loop: shuffled apart, shifted by a "
            "row, sorted, or joined by the wrong key."
        )
        return Statistic(float(samples >= RELATED and chance > UNRELATED), (), words, "", evidence, remedy)

    def soft_apart(self) -> Statistic:
        """Whether soft targets are not alike where inputs are, although another target of the same loss is."""
        words = "chance that soft targets without any relation to the inputs look like these (permutation test)"
        nothing = Statistic(math.nan, (), words)
        if self.model is None or self.loss_fn is None or not self.pairs or not isinstance(self.pairs[0][1], tuple):
            return nothing
        try:
            task = problem(self.model, self.loss_fn, self.pairs, sys.maxsize)
            batch = joined(task.batches)
            with torch.no_grad():
                answered = task.run(task.batches[0])[0]
            leaves = [t for t in tree_leaves(batch.target) if isinstance(t, Tensor) and len(t) == batch.samples]
            alike = [isinstance(answered, Tensor) and t.shape[1:] == answered.shape[1:] for t in leaves]
            soft = [
                same and t.is_floating_point() and t.ndim == 2 and t.shape[1] > 1 and len(t.unique()) > 2
                for t, same in zip(leaves, alike, strict=True)
            ]
            if batch.samples < RELATED or not any(soft):
                return nothing
            chances = [chance_of_relation([replace(batch, target=t)]) for t in leaves]
        except (InputError, RuntimeError, ValueError, TypeError, IndexError):
            return nothing
        worst = max((c for c, s in zip(chances, soft, strict=True) if s and not math.isnan(c)), default=math.nan)
        best = min((c for c in chances if not math.isnan(c)), default=math.nan)
        evidence = ({"measure": words, "value": worst}, {"measure": "of the target that is related", "value": best})
        remedy = (
            "Look at how soft targets find their samples: a teacher's answers that were kept are in the order in which "
            "they were made; index them by the sample's own number, not by its place among shuffled ones."
        )
        return Statistic(float(worst > UNRELATED and best <= SURE), (), words, "", evidence, remedy)

    def constant(self, seconds: float = math.inf) -> float:
        """The loss of the best constant prediction on the kept batches; NaN where it is not known, or there is none.

        Args:
            seconds: that it may take: a loss is made again some tens of times for it, however long it is.
        """
        if self.model is None or self.loss_fn is None or not (self.whole and self.pairs):
            return math.nan
        try:
            task = problem(self.model, self.loss_fn, self.pairs, sys.maxsize)
            return best_constant(task, joined(task.batches), seconds)
        except (InputError, RuntimeError, ValueError, TypeError):
            return math.nan

    def replayed(self, batch: Sequence[Tensor] = ()) -> Statistic | None:
        """What makes a number that is not finite, by the latest call run again; None where that does not show it.

        Args:
            batch: that was drawn last, where a loader drew it.
        """
        lost = self._latest
        call = self._calls[-1] if self._calls else None
        target = lost.target if lost is not None and lost.call is call else None
        if call is not None and (handed := given(call.held, [target, *batch, *_broken_rows(call.held)])) is not None:
            return handed
        if lost is None:
            return None
        try:
            task = problem(lost.call.model, lost.loss, [(lost.call.held, lost.target)], sys.maxsize)
            found = not_finite(task, task.batches[0])
        except (InputError, RuntimeError, ValueError, TypeError):
            return _broken_weights(lost.call.model)
        return next((s for s in found.values() if s.value > 0), None)


def _broken_rows(inputs: Any) -> list[Tensor]:
    """What the user's code has in sight for samples of this batch, of which some and not all are not finite."""
    n = next((len(t) for t in tree_leaves(inputs) if isinstance(t, Tensor) and t.ndim), 0)
    frame = user_frame()
    held = [] if frame is None else [t for t in frame.f_locals.values() if isinstance(t, Tensor)]
    rows = [t for t in held if not t.requires_grad and t.ndim and len(t) == n]
    return [t for t in rows if 0 < len(samples_not_finite(t, n)) < n]


def _broken_weights(model: nn.Module) -> Statistic | None:
    name = next((name for name, p in model.named_parameters() if not finite(p)), None)
    if name is None:
        return None
    remedy = (
        f"{name} had NaN or infinite entries before this batch: look at the steps before it, and at the gradients that "
        "they took; smaller steps or clipped gradients keep weights finite that grow beyond all bounds."
    )
    return Statistic(1.0, (name.rpartition(".")[0] or name,), "", name, (), remedy)


def _spread(model: nn.Module, inputs: Any) -> float:
    """Root mean square deviation over samples of what a model returns, dropout off; NaN where that is no tensor."""
    given: tuple[Any, ...] = inputs if isinstance(inputs, tuple) else (inputs,)
    try:
        with untouched(model), as_training(model), torch.no_grad():
            out = model(**inputs) if isinstance(inputs, dict) else model(*given)
    except (RuntimeError, ValueError, TypeError, IndexError):
        return math.nan
    usable = isinstance(out, Tensor) and out.is_floating_point() and out.ndim and len(out) > 1
    return float(out.double().var(0, correction=0).mean().sqrt()) if usable else math.nan


def _has_table(model: nn.Module) -> bool:
    """Whether ids may choose rows in it."""
    return any(isinstance(m, nn.Embedding | nn.EmbeddingBag) for m in model.modules())


def _same(a: Any, b: Any) -> bool:
    pairs = zip(tree_leaves(a), tree_leaves(b), strict=True)
    return all(_equal(x, y) for x, y in pairs if isinstance(x, Tensor) and isinstance(y, Tensor))


def _equal(x: Tensor, y: Tensor) -> bool:
    if x.layout == y.layout == torch.strided:
        return torch.equal(x, y)
    if x.layout != y.layout or x.shape != y.shape:
        return False
    one, other = (t.coalesce().values() if t.layout == torch.sparse_coo else t.values() for t in (x, y))
    return torch.equal(one, other)


def constant_loss(name: str, targets: Tensor, classes: int) -> float:
    """The loss of the best constant prediction for these targets; NaN where it is not known.

    Args:
        name: of the loss.
        targets: labels or numbers ``[sample]``, or numbers ``[sample, number]``, of which each has its own constant.
        classes: of the outputs, where targets are labels.
    """
    t = targets.double()
    if name in ("cross_entropy", "nll_loss") and classes > 1 and not targets.is_floating_point():
        share = torch.bincount(targets[targets >= 0].long(), minlength=classes).double()
        share = share / share.sum()
        return float(-(share[share > 0] * share[share > 0].log()).sum())
    if name == "mse_loss":
        return float(t.var(0, correction=0).mean())
    if name == "l1_loss":
        return float((t - t.median(0).values).abs().mean())
    if name.startswith("binary_cross_entropy"):
        p = t.mean(0)
        return float(-(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p)).mean())
    return math.nan
