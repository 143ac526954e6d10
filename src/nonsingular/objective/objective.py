"""What a user brings: a model, a loss, data; checked once, and evaluated as a function of the weights."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, TypedDict, Unpack
from weakref import WeakSet

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.weak import WeakTensorKeyDictionary

from nonsingular import checks
from nonsingular.checks import checked
from nonsingular.errors import BadData, InputError
from nonsingular.objective import randomness
from nonsingular.objective.calm import MIXING, Calm
from nonsingular.objective.data import Batch, read, valid
from nonsingular.objective.differentiable import TwiceDifferentiable
from nonsingular.objective.failures import FAILURES, is_out_of_memory, out_of_memory, told
from nonsingular.objective.finite import first_not_finite
from nonsingular.objective.losses import Evaluated, Metric, cross_entropy_fits, misfit, no_scalar, said
from nonsingular.objective.models import evaluating, own_copies, precision, refuse_unusable, unwrap
from nonsingular.objective.modes import TOLD, Modes, in_words, named, put
from nonsingular.objective.reach import Reached
from nonsingular.objective.trees import fresh, tensors
from nonsingular.objective.weights import NAMES, SINGLE, Rule, determine, rules, trying
from nonsingular.places import warn
from nonsingular.spelling import spelled
from nonsingular.weights import described

State = Mapping[str, Tensor]

_warned_of: WeakSet[nn.Module] = WeakSet()
"""Models of which it was said that they are not measured in the mode they are in: once is enough of each."""


class Options(TypedDict, total=False):
    """What whoever takes (model, loss_fn, batches) hands on to the `Objective` that is made of them.

    >>> import torch
    >>> import nonsingular as ns
    >>> options: ns.objective.Options = {"weights": "samples", "seed": 0}
    >>> batch = torch.zeros(4, 3), torch.zeros(4).long()
    >>> ns.Hessian(torch.nn.Linear(3, 2), torch.nn.functional.cross_entropy, [batch], **options).shape
    (8, 8)
    """

    form: str | None
    weights: str | Callable[[Any], float] | None
    seed: int | None
    mode: str | None


class _Brought(Options, total=False):
    """What `brought` hands on."""

    reduction: str
    dtype: torch.dtype | None


@checked
class Objective:
    r"""A model, a loss and data as one function of the weights: the mean (or sum) over the whole data.

    All of it is copied, so training that goes on, or data that change, change nothing here. Anything that takes
    (model, loss_fn, batches) takes an `Objective` in their place.

    Args:
        model: any ``nn.Module``; compiled and data-parallel ones are unwrapped.
        loss_fn: ``loss_fn(output, target)`` or ``loss_fn(model, batch)``, a scalar. None: the model's own loss
            (``output.loss``, a scalar output, a LightningModule's ``training_step``), or cross-entropy where the data
            are class numbers beside scores of classes, and nowhere else.
        data: a pair (inputs, target), or an iterable of batches that is read once. A batch is a pair, a tensor, a list,
            a dictionary (``model(**batch)``, with ``labels`` as target) or an object with tensors. Inputs are a tensor,
            a tuple of arguments, or a dictionary of them. None for losses that need no data.
        form: ``"output"`` or ``"model"``, where the names of the loss's arguments do not tell which of the two it is.
        weights: what each batch weighs in the mean: ``"samples"``, ``"tokens"`` (entries of the target that are not
            ignored: tokens, pixels), ``"equal"``, or a function of the batch. By default whatever makes the mean that
            of the whole data, found and proved on the loss itself; where it cannot be, it is asked for.
        reduction: ``"mean"``; or ``"sum"`` for losses that add up over samples.
        mode: ``"eval"``, ``"train"``, or ``"own"``: every module as it is. By default ``"eval"``, with one
            warning a model where it is in training mode and its loss another one there. In training mode dropout needs
            a ``seed``, and batch normalisation takes the batch's statistics and leaves the running ones alone.
        seed: of the random numbers that the model or the loss draws, the same in every evaluation; without a seed
            random losses are refused.
        dtype: compute in this precision; by default in the parameters', and float32 where they have 16 bits.
        device: compute there; by default where the parameters are.
        samples: read the data only until there are so many; the rest of the last batch is left out where it can be cut.

    Attributes:
        model: the copy that is evaluated.
        loss_fn: the loss, or its copy where it is a module.
        form: ``output``, ``model``, ``own`` or ``step``.
        batches: on the model's device.
        weights: of the batches; they sum to 1 with ``reduction="mean"``.
        parameters, buffers: name -> tensor, copies.
        channels_last: whether tensors with four axes are in that order, as suits convolutions.
        mode: ``eval`` or ``train``, or ``own`` where modules are in different ones.
        mode_in_words: the same for people, with how many are in which.
        loss_name: of the function, or of its class; whose loss it is where none was given.
        notes: what was decided for the user, in words.

    Raises:
        InputError: anything about them that cannot be used, in one line.

    Example:
        >>> import torch
        >>> from nonsingular.objective import Objective
        >>> model = torch.nn.Linear(3, 2)
        >>> penalised = lambda model, batch: (model(batch) ** 2).mean() + 0.1 * model.weight.norm() ** 2
        >>> objective = Objective(model, penalised, torch.ones(8, 3))
        >>> objective.form, len(objective.batches), objective.value().shape
        ('model', 1, torch.Size([]))
    """

    @spelled
    def __init__(
        self,
        model: nn.Module,
        loss_fn: Callable[..., Tensor] | None = None,
        data: Any = None,
        *,
        form: str | None = None,
        weights: str | Callable[[Any], float] | None = None,
        reduction: str = "mean",
        mode: str | None = None,
        seed: int | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        samples: int | None = None,
    ) -> None:
        _refuse_options(reduction, dtype, samples, weights)
        refuse_unusable(model)
        inner, self.prefix = unwrap(model)
        refuse_unusable(inner)
        self._names: Any = WeakTensorKeyDictionary({p: n for n, p in inner.named_parameters()})
        self.model, self.loss_fn = own_copies(inner, loss_fn)
        was = _modes(self.model)
        put(self.model, mode)
        self._modes = _modes(self.model)
        if self.model is inner:  # no copy: it is put into its modes while it is evaluated
            for m, training in was:
                m.training = training
        self.reduction, self.seed, self.notes = reduction, seed, list[str]()
        self.dtype = dtype or precision(inner)
        self.device = checks.device(device) if device is not None else _device(inner)
        self.parameters = {n: self.prepare(p) for n, p in self.model.named_parameters()}
        self.buffers = {n: self.prepare(b) for n, b in self.model.named_buffers()}
        self.batches = [b.map(self.prepare) for b in read(data, samples)]
        if not self.batches:
            raise BadData("no batches: give at least one (inputs, target) pair")
        self._written: set[str] = set()  # buffers
        self._writes_data = False
        self._calm = False
        self.channels_last = False
        self.form = said(inner, loss_fn, form) or self._tried()
        self._evaluated = Evaluated(self.model, self.loss_fn, self.form)
        if self.form == "step" and self.model is not inner:
            self.model.log = self.model.log_dict = _nothing  # type: ignore[assignment]  # there is no trainer
        self._shorten(samples)
        self._check((inner, self.model))
        self._reorder()
        self._wanted = weights
        alone = reduction == "sum" or (len(self.batches) == 1 and not callable(weights))
        self.weights = _normalised([1.0] * len(self.batches) if alone else determine(self, weights)[0], reduction)
        if mode is None and self._differs_in(was):
            self.notes.append(TOLD)
            if inner not in _warned_of:
                _warned_of.add(inner)
                warn(TOLD)

    # --- the function ---------------------------------------------------------------------------------------

    def output(self, state: State, batch: Batch) -> Any:
        """The model's output on ``batch``, with the parameters and buffers of ``state`` instead of its own."""
        return self._evaluate(state, batch, "output")

    def loss(self, state: State, batch: Batch) -> Tensor:
        """The loss on ``batch``, a scalar, with the parameters and buffers of ``state`` instead of its own."""
        value = self._evaluate(state, batch, "loss")
        return value.reshape(()) if isinstance(value, Tensor) and value.numel() == 1 else value

    def _evaluate(self, state: State, batch: Batch, *what: Any) -> Any:
        batch = batch.map(fresh) if self._writes_data else batch
        with self.evaluating(batch):
            return functional_call(self._evaluated, self._named(state), (batch, *what), tie_weights=False)

    def of_output(self, output: Any, target: Any) -> Tensor:
        """The loss of an output of the model; only for the form ``output``."""
        with TwiceDifferentiable():
            return self._evaluated.of_output(output, target)

    def measured(self, state: State, batch: Batch, metrics: Sequence[Metric], mixed: bool = False) -> list[Any]:
        """The loss on ``batch``, and beside it what each metric says of the same pass through the model.

        Args:
            state: parameters and buffers instead of the model's own.
            batch: the batch.
            metrics: ``metric(output, target)``; ``metric(model, batch)`` where the loss is of that form.
            mixed: pass through the model in bfloat16 where PyTorch's autocast does.
        """
        cast = torch.autocast(self.device.type, torch.bfloat16) if mixed else nullcontext()
        loss, *found = self._evaluate(state, batch, "measured", tuple(metrics), cast)
        return [loss.reshape(()) if isinstance(loss, Tensor) and loss.numel() == 1 else loss, *found]

    def value(self, state: State | None = None) -> Tensor:
        """The loss over all batches."""
        parts = [w * self.loss(state or {}, b) for b, w in zip(self.batches, self.weights, strict=True)]
        return torch.stack(parts).sum()

    @contextmanager
    def evaluating(self, batch: Batch) -> Iterator[None]:
        """Within: the mode, the random numbers and the forms of all evaluations on ``batch``."""
        seed = None if self.seed is None else self.seed + batch.index
        changed = [(m, m.training) for m, training in self._modes if m.training != training]
        for m, training in self._modes:
            m.training = training
        try:
            # Losses that differentiate by inputs need gradients, whoever switched them off.
            calm = Calm() if self._calm else nullcontext()
            with torch.enable_grad(), evaluating(self.model), calm, randomness.seeded(seed, self.device):
                yield
        finally:
            for m, training in changed:
                m.training = training

    @functools.cached_property
    def rule(self) -> Rule | None:
        """What a batch, or a part of one, weighs; None where the loss is no mean by a rule that is known."""
        return None if self.reduction == "sum" else determine(self, self._wanted)[1]

    def masses(self) -> dict[str, float]:
        """What all of the batches weigh together, by each rule that may be right, for data spread over processes.

        Empty where the loss is no mean by a known rule. Rules that agree here may differ from part to part; whoever
        joins parts must see that they do not.
        """
        if self._wanted == "equal":
            return {"equal": float(len(self.batches))}
        known = {"wanted": self.rule} if self._wanted is not None else rules(self) if self.rule is not None else {}
        weighed = {n: [r(b) for b in self.batches] for n, r in known.items() if r is not None}
        return {n: sum(float(w) for w in ws if w is not None) for n, ws in weighed.items() if None not in ws}

    @functools.cached_property
    def follows(self) -> bool:
        """Whether a loss of outputs reads weights of the model as well: it sees them replaced, as the model does."""
        batch, reached = self.batches[0], Reached([self.model])
        if self.form == "output":
            output = self.output({}, batch)
            with reached:
                self.of_output(output, batch.target)
        return reached.found is not None

    def at(self, state: State) -> Objective:
        """The same objective with other weights as its own."""
        other = copy.copy(self)
        other.parameters = {n: self.prepare(state.get(n, t).detach()) for n, t in self.parameters.items()}
        other.buffers = {n: self.prepare(state.get(n, t).detach()) for n, t in self.buffers.items()}
        return other

    @property
    def mode(self) -> str:
        """``eval`` or ``train``, or ``own`` where modules are in different ones."""
        return named(self._modes)

    @property
    def mode_in_words(self) -> str:
        """``evaluation`` or ``training``, or how many modules are in which."""
        return in_words(self._modes)

    @property
    def loss_name(self) -> str:
        """What the loss is called: its own name, or whose it is."""
        if self.loss_fn is None:
            return "the model's own"
        return getattr(self.loss_fn, "__name__", type(self.loss_fn).__name__)

    def training(self, modules: Iterable[nn.Module]) -> Objective:
        """The same objective with some modules of ``self.model`` in train mode."""
        ids = {id(m) for m in modules}
        return self._in([(m, mode or id(m) in ids) for m, mode in self._modes])

    def calm(self) -> Objective | None:
        """The same objective, but that samples do not influence one another; None where no module is in train mode.

        Every module stays in its mode, by which a loss may go. Dropout and batch normalisation alone do as in
        evaluation mode.
        """
        if not any(mode for _, mode in self._modes):
            return None
        other = self._in([(m, mode and not isinstance(m, MIXING)) for m, mode in self._modes])
        other._calm = True
        return other

    def _in(self, modes: Modes) -> Objective:
        other = copy.copy(self)
        other._modes = list(modes)
        return other

    def own(self, chosen: Any) -> Any:
        """Parameters, modules and names of the user's model as those of the copy; anything else is left as it is."""
        if isinstance(chosen, nn.Module):
            known = all(p in self._names for p in chosen.parameters())
            return [self.own(p) for p in chosen.parameters()] or chosen if known else chosen
        if isinstance(chosen, Tensor):
            return dict(self.model.named_parameters(remove_duplicate=False)).get(self._names.get(chosen, ""), chosen)
        if isinstance(chosen, str):
            return chosen.removeprefix(self.prefix)
        if not isinstance(chosen, Iterable):
            return chosen
        owned = [self.own(c) for c in chosen]
        return [p for c in owned for p in (c if isinstance(c, list) else [c])]

    def off_centre(self, seed: int, size: float = 0.3) -> dict[str, Tensor]:
        """Weights moved by a share of their size, to where nothing is equal by symmetry; the user's own for seed 0."""
        if seed == 0:
            return dict(self.parameters)
        generator = torch.Generator().manual_seed(seed)
        moved = {}
        for name, p in self.parameters.items():
            if p.is_floating_point() and p.numel():
                noise = torch.randn(p.shape, generator=generator, dtype=torch.float32).to(p)
                scale = p.square().mean().sqrt()
                moved[name] = p + noise * torch.where(scale > 0, size * scale, 0.1)
            else:
                moved[name] = p
        return moved

    def on(self, batches: Sequence[Batch], weights: Sequence[float]) -> Objective:
        """The same objective over other batches, with what each weighs."""
        other = copy.copy(self)
        kept = [(b, w) for b, w in zip(batches, weights, strict=True) if w > 0]
        other.batches, other.weights = [b for b, _ in kept], _normalised([w for _, w in kept], self.reduction)
        return other

    # --- pieces ---------------------------------------------------------------------------------------------

    def cut(self, size: int) -> tuple[list[Batch], list[float]] | None:
        """The batches in pieces of at most ``size`` samples, and their weights, where that leaves the loss what it is.

        Every batch is held against its pieces, at the weights and away from them.

        Returns:
            None if some batch's loss is not the mean (or sum) of its pieces'.
        """
        if all(b.samples <= size for b in self.batches):
            return list(self.batches), list(self.weights)
        cuts = [b.split(size) for b in self.batches]
        shares = self._shares_of(cuts)
        if shares is None:
            return None
        weighed = [(p, w * s) for c, w, each in zip(cuts, self.weights, shares, strict=True)
                   for p, s in zip(c, each, strict=True) if s > 0]  # fmt: skip
        return [p for p, _ in weighed], [w for _, w in weighed]

    def _shares_of(self, cuts: Sequence[list[Batch]]) -> list[list[float]] | None:
        """What the pieces of each batch weigh in it, by a rule that gives its loss; None if there is none."""
        points = [self.off_centre(seed) for seed in (0, 1)]
        known = {"sum": lambda piece: 1.0} if self.reduction == "sum" else rules(self)
        for rule in known.values():
            shares = [_shares([rule(p) for p in pieces], self.reduction) for pieces in cuts]
            with trying():
                if all(shares) and self._harmless(cuts, shares, points):
                    return shares
        return None

    def _harmless(self, cuts: Sequence[list[Batch]], shares: Sequence[list[float]], points: Sequence[State]) -> bool:
        tolerance = 4 * SINGLE**0.75  # some losses are computed in float32 whatever the model is
        for batch, pieces, share in zip(self.batches, cuts, shares, strict=True):
            for state in points if len(pieces) > 1 else ():
                try:
                    whole, *each = (float(self.loss(state, b).detach()) for b in (batch, *pieces))
                except FAILURES:
                    return False
                parts = [s * loss for s, loss in zip(share, each, strict=True) if s > 0]
                if not abs(sum(parts) - whole) <= tolerance * (abs(whole) + sum(map(abs, parts))):
                    return False
        return True

    # --- what is checked at the door ------------------------------------------------------------------------

    def prepare(self, tensor: Tensor) -> Tensor:
        """A copy of the user's tensor, on the device and in the precision of the computation."""
        own = tensor.detach().to(self.device, self.dtype if tensor.is_floating_point() else tensor.dtype)
        if (own.device, own.dtype) == (tensor.device, tensor.dtype):
            own = own.clone()
        return own.requires_grad_() if tensor.requires_grad and not isinstance(tensor, nn.Parameter) else own

    def ordered(self, tensor: Tensor, channels_last: bool) -> Tensor:
        """The tensor in the memory order of the computation."""
        if tensor.layout != torch.strided or tensor.is_nested:
            return tensor
        order = torch.channels_last if channels_last and tensor.dim() == 4 else torch.contiguous_format
        return tensor.contiguous(memory_format=order)

    def _reorder(self) -> None:
        """Go on in channels-last order where the model has two-dimensional convolutions and takes it."""
        if not any(isinstance(m, nn.Conv2d) for m in self.model.modules()):
            return
        order = functools.partial(self.ordered, channels_last=True)
        own = {n: order(t) for n, t in {**self.parameters, **self.buffers}.items()}
        first = self.batches[0]
        try:
            self.channels_last = self._equal(self.loss({}, first), self.loss(own, first.map(order)))
        except FAILURES:  # a view of what has another order then
            return
        if self.channels_last:
            self.parameters = {n: own[n] for n in self.parameters}
            self.buffers = {n: own[n] for n in self.buffers}
            self.batches = [b.map(order) for b in self.batches]

    def _shorten(self, samples: int | None) -> None:
        """Leave out what is read beyond so many samples, if the last batch can be cut."""
        *others, last = self.batches
        wanted = (samples or 0) - sum(b.samples for b in others)
        if samples is None or last.samples <= wanted:
            return
        twice = min(last.samples, 2 * wanted)
        both = last.take(slice(0, twice), twice)
        head, rest = both.take(slice(0, wanted), wanted), both.take(slice(wanted, None), twice - wanted)
        if self.on([both], [1.0])._shares_of([[head, rest]]) is not None:
            self.batches = [*others, head]
        else:
            self.notes.append(f"batch {last.index} is used whole, since its samples are not independent")

    def _named(self, state: State) -> dict[str, Tensor]:
        full = {**self.parameters, **self.buffers, **state}
        own = {n: t.clone() if n in self._written else t for n, t in full.items()}
        return {place: own[n] for place, n in self._evaluated.places.items()}

    def _tried(self) -> str:
        """The form of a loss whose arguments have names that say nothing: the one that works on the first batch."""
        works = []
        for form in ("output", "model"):
            self._evaluated = Evaluated(self.model, self.loss_fn, form)
            try:
                if isinstance(self.loss({}, self.batches[0]), Tensor):
                    works.append(form)
            except Exception:  # calling a function with what it is not for may raise anything
                continue
        if len(works) == 2:
            raise InputError(
                "loss_fn could be loss_fn(output, target) or loss_fn(model, batch): say which by form='output' or "
                "form='model', or name its arguments so"
            )
        return works[0] if works else "output"

    def _check(self, originals: Sequence[nn.Module]) -> None:
        """Evaluate every batch once, and refuse what is no function of the weights that it is given."""
        kept: list[Batch] = []
        random: list[Batch] = []
        first: Tensor | None = None
        for batch in self.batches:
            with randomness.seeded(0, self.device):
                before = randomness.state(self.device)
                value = self._first(batch, originals)
                if randomness.drew(before, randomness.state(self.device)):
                    random.append(batch)
            if (usable := self._usable(value, batch)) is not None:
                kept.append(batch)
                first = usable if first is None else first
        if first is None:
            raise BadData("no batch has a target that the loss looks at: all are ignored")
        self.batches = kept
        if random:
            self._refuse_randomness(random[0])
        elif not self._equal(first, self.loss({}, kept[0])):
            raise InputError(
                "two evaluations of the loss on one batch differ, although PyTorch's, NumPy's and Python's random "
                "numbers were the same: it must be a function of the weights (a generator of its own? a counter?)"
            )

    def _first(self, batch: Batch, originals: Sequence[nn.Module]) -> Any:
        where = "the first batch" if batch.index == 0 else f"batch {batch.index}"
        buffers = {n: b.clone() for n, b in self.buffers.items()}
        own = batch.map(fresh)
        before = [t._version for t in (*buffers.values(), *tensors(own.whole))]
        reached = Reached(originals)
        try:
            with reached:
                value = self.loss({**self.parameters, **buffers}, own)
        except FAILURES as error:
            if isinstance(error, InputError):
                raise
            if is_out_of_memory(error):
                raise out_of_memory(batch) from error
            if self.form == "output" and batch.target is None:
                raise BadData(
                    f"batch {batch.index} must be a pair (inputs, target) for this loss_fn, or the loss be "
                    f"loss_fn(model, batch); it is {described(batch.whole)}: {told(error)}"
                ) from error
            raise BadData(f"the model or the loss failed on {where}: {told(error)}{self._misfit(batch)}") from error
        reached.look_behind(value)
        if reached.found is not None:
            raise InputError(
                f"the loss (or forward) reaches the model's {reached.found} by itself, past the weights it is "
                "evaluated with, so it would not see it change: write the loss as loss_fn(model, batch) and use that "
                "model"
            )
        self._written |= {n for n, b, v in zip(buffers, buffers.values(), before, strict=False) if b._version != v}
        self._writes_data |= [t._version for t in tensors(own.whole)] != before[len(buffers) :]
        return value

    def _misfit(self, batch: Batch) -> str:
        """What to write, where the model works and the loss does not take its output."""
        try:
            return misfit(self.output({}, batch), batch.target) if self.form == "output" else ""
        except Exception:  # then it is the model that fails, in whatever way
            return ""

    def _usable(self, value: Any, batch: Batch) -> Tensor | None:
        """The loss on a batch that counts; None where its targets are all ignored."""
        if value is None and self.form in ("own", "step"):
            self._default_loss(batch)
            value = self.loss({}, batch)
        if not isinstance(value, Tensor) or value.dim() > 0:
            raise no_scalar(value, batch)
        if torch.isfinite(value):
            return value.detach()
        if valid(batch, getattr(self.loss_fn, "ignore_index", -100)) == 0:
            self.notes.append(f"batch {batch.index} weighs nothing: all of its targets are ignored")
            return None
        where = "the first batch" if batch.index == 0 else f"batch {batch.index}"
        raise BadData(f"the loss on {where} is {value.item()}: {first_not_finite(self, batch)}")

    def _default_loss(self, batch: Batch) -> None:
        """Cross-entropy for a classifier whose model returns no loss; nothing else is guessed."""
        if self.form == "own":
            output = self.output({}, batch)
            if cross_entropy_fits(output, batch.target):
                self.loss_fn, self.form = F.cross_entropy, "output"
                self._evaluated = Evaluated(self.model, self.loss_fn, self.form)
                self.notes.append("the loss is cross-entropy: none was given, and the targets are class numbers")
                return
            what = f"a tensor of shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
            raise InputError(
                f"no loss_fn was given and the model returns none of its own but {what}: give loss_fn, for example "
                "torch.nn.functional.mse_loss (or labels in the batches, for models that then return a loss)"
                f"{misfit(output, batch.target)}"
            )
        raise InputError("training_step returns no loss (manual optimisation?): give loss_fn")

    def _differs_in(self, modes: Modes) -> bool:
        """Whether the loss on the first batch is another one in other modes, or fails in them."""
        if list(modes) == self._modes:
            return False
        batch, state = self.batches[0], {n: b.clone() for n, b in self.buffers.items()}
        try:
            with trying(), randomness.seeded(0, self.device):
                there = self._in(modes).loss(state, batch.map(fresh))
            return not self._equal(self.loss({}, batch).detach(), there.detach())
        except Exception:  # a user's code may raise anything in a mode that it is not made for
            return True

    def _refuse_randomness(self, batch: Batch) -> None:
        """Refuse losses that come out otherwise with other random numbers."""
        values = []
        for seed in range(3):
            with randomness.seeded(seed, self.device):
                values.append(self.loss(self.off_centre(1), batch))
        if all(self._equal(values[0], v) for v in values[1:]):
            self.seed = 0  # drawn for nothing, as far as can be seen; the same ones every time do no harm
            return
        with randomness.seeded(0, self.device), randomness.watching(self.model, self.device) as found:
            self.loss({}, batch)
        what = f"{found[0]} is random" if found else "loss_fn draws random numbers"
        training = " in train mode" if found and any(t for _, t in self._modes) else ""
        cure = "measure it in evaluation mode (mode='eval'), or give" if training else "give"
        raise InputError(
            f"{what}{training}, so the loss is no function of the weights: {cure} seed= for the same random numbers in "
            "every evaluation"
        )

    def _equal(self, a: Tensor, b: Tensor) -> bool:
        return bool((a - b).abs() <= 100 * SINGLE * a.abs()) or not bool(torch.isfinite(a))


@checked
@spelled
def brought(model: nn.Module | Objective, loss_fn: Any, data: Any, **options: Unpack[_Brought]) -> Objective:
    """The objective that was given, or that of what was given, with these options.

    Raises:
        InputError: as `Objective`; an objective and something beside it that it has already.

    >>> import torch
    >>> import nonsingular as ns
    >>> batch = torch.zeros(4, 3), torch.zeros(4, 1)
    >>> objective = ns.Objective(torch.nn.Linear(3, 1), torch.nn.functional.mse_loss, [batch])
    >>> ns.objective.brought(objective, None, None) is objective
    True
    """
    if not isinstance(model, Objective):
        return Objective(model, loss_fn, data, **options)
    unset = {"reduction": ("mean", model.reduction), "dtype": (None, model.dtype)}
    beside = [n for n, value in options.items() if value not in unset.get(n, (None,))]
    if loss_fn is not None or data is not None or beside:
        what = "loss_fn" if loss_fn is not None else "batches" if data is not None else beside[0]
        raise InputError(f"an Objective has its {what} already: give it when the Objective is made")
    return model


def _refuse_options(reduction: str, dtype: torch.dtype | None, samples: int | None, weights: Any) -> None:
    if reduction not in ("mean", "sum"):
        raise InputError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
    if dtype is not None and dtype not in (torch.float32, torch.float64):
        raise InputError(f"dtype must be torch.float32 or torch.float64, got {dtype}; 16 bits are too few")
    if weights is not None and not callable(weights) and weights not in NAMES:
        raise InputError(
            f"weights must be {', '.join(map(repr, NAMES))} or a function batch -> weight, got {weights!r}"
        )
    if samples is not None and samples < 1:
        raise InputError(f"samples must be at least 1, got {samples}")


def _modes(model: nn.Module) -> list[tuple[nn.Module, bool]]:
    return [(m, m.training) for m in model.modules()]


def _nothing(*args: Any, **kwargs: Any) -> None:
    """What logging does where there is nothing to log to."""


def _device(model: nn.Module) -> torch.device:
    first = next(iter([*model.parameters(), *model.buffers()]), None)
    return torch.device("cpu") if first is None else first.device


def _shares(weights: Sequence[float | None], reduction: str) -> list[float]:
    """Shares that make one (or ones, for a sum); none where there are no weights."""
    found = [float(w) for w in weights if w is not None]
    return _normalised(found, reduction) if len(found) == len(weights) and sum(found) > 0 else []


def _normalised(weights: Sequence[float], reduction: str) -> list[float]:
    total = sum(weights) if reduction == "mean" else 1.0
    return [w / total for w in weights]
