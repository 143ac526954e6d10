"""What a user brings on the command line: a model from their own code, its weights, its data."""

from __future__ import annotations

import inspect
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nonsingular import weights
from nonsingular.cli.code import code
from nonsingular.cli.options import SAMPLES, SCALING
from nonsingular.cli.terminal import complain
from nonsingular.data import DataSpec, load, prepare
from nonsingular.data.prepare import parse_scaling
from nonsingular.errors import BadData, InputError, a_kind
from nonsingular.objective import (
    Evaluated,
    cross_entropy_fits,
    is_of_code,
    misfit,
    own_loss,
    read,
    taken_by,
    told,
)
from nonsingular.objective.models import refuse_without_values

if TYPE_CHECKING:
    from nonsingular.diagnosis.loop import Rehearsal

FORM = "package.module:factory or file.py:factory"
COMPANIONS = ("batches", "optimiser")
LOSSES = ("loss_fn", "loss", "criterion")
"""Names under which a user's file may have its loss."""
REASON = 160  # characters quoted of an error beside another
Batches = list[Any]
LossFn = Callable[..., Tensor]


class UsersCode:
    """A user's file or module, executed, with the functions that it may have beside the one that is named."""

    name: str
    _code: Any

    def companion(self, name: str) -> Any:
        """Another function of the same code, such as ``optimiser(model)``; None where it has none."""
        found = getattr(self._code.module, name, None)
        return found if callable(found) and not isinstance(found, type) else None

    def loss(self) -> tuple[Any, str]:
        """The code's own loss, a function or a module of it, and what to call it; None and "" where it has none.

        Raises:
            InputError: it has several.
        """
        found = {name: self.companion(name) for name in LOSSES}
        found = {name: loss for name, loss in found.items() if loss is not None}
        place = self.name.rpartition(":")[0]
        if len({id(loss) for loss in found.values()}) > 1:
            raise InputError(
                f"{place} has {' and '.join(found)}: let the factory return (module, loss_fn) with the one you mean"
            )
        return next(((loss, f"{name} of {place}") for name, loss in found.items()), (None, ""))

    def batches(self) -> Batches:
        """What the code's own function ``batches()`` gives.

        Raises:
            InputError: it fails, or gives nothing that can be read batch by batch.
        """
        where = f"batches() of {self.name.rpartition(':')[0]}"
        given = self._code.run(self.companion("batches"), f"{where} failed")
        with named(batches=where):
            found = [b.whole for b in read(given)]
        if not found:
            raise InputError(f"{where} gives no batches: let it return a list of (inputs, targets)")
        return found


class Target(UsersCode):
    """A TARGET's code, executed, and the factory in it.

    Args:
        target: ``package.module:factory`` or ``file.py:factory``; the factory takes no arguments and returns a module,
            or a pair (module, loss_fn). The code is run: name only code you trust.

    Raises:
        InputError: no such file, module or factory, or the code fails.
    """

    def __init__(self, target: str) -> None:
        self.name = target
        place, separator, name = target.rpartition(":")
        if not (separator and place and name):
            raise InputError(f"TARGET must be {FORM}, got {target!r}{_offers(target)}")
        try:
            self._code = code(place)
        except InputError as error:
            if error.__cause__ is None or isinstance(error.__cause__, InputError):  # not found, rather than failed
                raise InputError(f"{error}; TARGET must be {FORM}") from error
            raise
        module = self._code.module
        self._name = name
        self._factory: Any = getattr(module, name, None)
        if self._factory is None:
            raise InputError(f"{place} has no {name!r}{_offers(place) or '; it has no function and no module either'}")
        if not callable(self._factory):
            raise InputError(f"{target} is {a_kind(self._factory)}; it must be a function that returns a model")

    @property
    def file(self) -> Path | None:
        """The file that the code is in, where it is one."""
        found = getattr(self._code.module, "__file__", None)
        return Path(found) if found else None

    @property
    def place(self) -> str | None:
        """The same with the name of the factory: ``FILE.py:factory``."""
        return None if self.file is None else f"{self.file}:{self._name}"

    def build(self, checkpoint: Path | None = None, seed: int | None = None) -> tuple[nn.Module, LossFn | None]:
        """A model in evaluation mode, and the loss that came with it, if one did.

        Args:
            checkpoint: weights for it, as ``read_weights`` takes them.
            seed: random state (of Python, NumPy and PyTorch) in which the factory is called.

        Raises:
            InputError: the factory fails or returns something else, or a model without values; wrong weights.
        """
        if seed is not None:
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002 (what users' factories draw from)
            torch.manual_seed(seed)
        made = self._factory if isinstance(self._factory, nn.Module) else self._call()
        model, loss_fn = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
        if not isinstance(model, nn.Module) or not (loss_fn is None or callable(loss_fn)):
            what = f"({', '.join(type(part).__name__ for part in made)})" if isinstance(made, tuple) else a_kind(made)
            raise InputError(f"{self.name} must return a torch.nn.Module, or (module, loss_fn); it returned {what}")
        if checkpoint is not None:
            weights.load(model, weights.state_of(checkpoint, model), f"{checkpoint} does")
        refuse_without_values(model)
        return model.eval(), loss_fn

    def _call(self) -> Any:
        try:
            inspect.signature(self._factory).bind()
        except TypeError as error:
            raise InputError(f"{self.name} must work without arguments: {error}") from error
        except ValueError:  # built-in, without a signature
            pass
        return self._code.run(self._factory, f"{self.name} failed")


def _offers(place: str) -> str:
    """What could be meant in a file or module of the user's, as the rest of a message; "" where nothing could."""
    if place.endswith(".py") and not Path(place).is_file():
        return ""
    try:
        module = code(place.rstrip(":")).module
    except InputError:
        return ""
    own = {n: f for n, f in vars(module).items() if getattr(f, "__module__", None) == module.__name__}
    named = {n: f for n, f in own.items() if not n.startswith("_") and n not in (*COMPANIONS, *LOSSES)}
    functions = [n for n, f in named.items() if inspect.isfunction(f)]
    classes = [n for n, f in named.items() if isinstance(f, type) and issubclass(f, nn.Module)]
    made = [n for n, f in vars(module).items() if isinstance(f, nn.Module) and n not in LOSSES]
    free = [n for n in (*functions, *made, *classes) if n in made or _is_free(named[n])]
    bound = [n for n in (*functions, *classes) if n not in free]
    what = [", ".join(free)] if free else []
    what += [f"{', '.join(bound)} (which want{'s' if len(bound) == 1 else ''} arguments)"] if bound else []
    example = f", as in {place.rstrip(':')}:{free[0]}" if free else ""
    return f"; it has {' and '.join(what)}{example}" if what else ""


def _is_free(function: Any) -> bool:
    """Whether it can be called without arguments."""
    try:
        inspect.signature(function).bind()
    except (TypeError, ValueError):
        return False
    return True


REHEARSED, SECONDS = 100, 30.0  # steps of the user's own, and the time after which there is no further one


class TrainingStep(UsersCode):
    """A user's own training step, with the batches and the optimiser that its file may have.

    Args:
        step: ``file.py:train_step`` or ``package.module:train_step``: (model, batch, optimiser) -> loss.

    Raises:
        InputError: no such file or function, or the code fails.
    """

    def __init__(self, step: str) -> None:
        self.name = step
        place, separator, name = step.rpartition(":")
        if not (separator and place and name):
            many = f"; so many steps of a proof are --steps {step}" if step.isdigit() else ""
            raise InputError(f"--step must be FILE.py:train_step, got {step!r}{many}")
        self._code = code(place)
        self._step: Any = getattr(self._code.module, name, None)
        if not callable(self._step):
            raise InputError(f"{place} has no function {name!r}: --step calls it as {name}(model, batch, optimiser)")

    def rehearse(self, model: nn.Module, batches: Batches, optimiser: str, rate: float) -> Rehearsal:
        """Some steps, observed; afterwards the model is as before.

        Args:
            model: that trains.
            batches: used where the file has no function ``batches()``.
            optimiser: "adam" or "sgd", where it has no function ``optimiser(model)``.
            rate: learning rate of that.

        Raises:
            InputError: the step fails.
        """
        from nonsingular.diagnosis.loop import rehearse

        own_optimiser = self.companion("optimiser")
        given = batches if self.companion("batches") is None else self.batches()

        def go() -> Rehearsal:
            model.train()  # as a training loop has it, that its step may take for granted
            return rehearse(model, self._step, given, own_optimiser or usual, steps=REHEARSED, seconds=SECONDS)

        def usual(model: nn.Module) -> torch.optim.Optimizer:
            kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimiser]
            return kind([p for p in model.parameters() if p.requires_grad], lr=rate)

        mode = model.training
        try:
            return self._code.run(go, f"{self.name} failed")
        except InputError as error:
            if isinstance(error.__cause__, InputError):
                raise InputError(f"{self.name}: {error.__cause__}") from error
            raise
        finally:
            model.train(mode)


def one_optimiser(code: UsersCode, model: nn.Module) -> Any:
    """The code's own ``optimiser(model)``; None where it has none, or makes several."""
    function = code.companion("optimiser")
    if function is None:
        return None
    try:
        several = isinstance(function(model), tuple | list | dict)
    except Exception:  # said where it is used
        return function
    if several:
        complain("optimiser(model) makes several optimisers: a --step rehearses them, copies are trained with one Adam")
    return None if several else function


@dataclass(frozen=True)
class Brought:
    """What a user brought: the target, its model, loss (None: the model's own), batches and what they are.

    ``samples`` were asked for of a named data set; 0 for batches of the user's own, which are taken whole.
    """

    target: Target
    model: nn.Module
    loss_fn: Any
    batches: Batches
    data: Mapping[str, str]
    samples: int

    @property
    def made(self) -> str:
        """What is said of weights that no file gave."""
        return f"weights: as {self.target.name} makes them (--checkpoint FILE for trained ones)"

    def named(self, held_out: Path | None = None) -> AbstractContextManager[None]:
        """Within: what is wrong with batches of the user's own begins with where they came from."""
        return named(batches=self.data.get("batches"), held_out=held_out)


@contextmanager
def named(**places: object) -> Iterator[None]:
    """Within: what is wrong with batches begins with the place that they came from, where there is one."""
    try:
        yield
    except BadData as error:
        place = places.get(error.of)
        raise InputError(f"{place}: {error}" if place else str(error)) from error


def bring(
    target: str,
    checkpoint: Path | None,
    data: str | None,
    batches: Path | None,
    data_dir: Path | None,
    scaling: str | None = None,
    samples: int | None = None,
    seed: int | None = None,
    usual: Callable[[], int] = lambda: SAMPLES,
    step: TrainingStep | None = None,
) -> Brought:
    """Everything that a command needs of a user's own network; arguments as in `Target.build` and `load_batches`.

    Without ``data`` and ``batches`` the function ``batches()`` of the target's own file gives them, or of the step's,
    where one has it. Of a user's own batches nothing is scaled and nothing left out, so that ``scaling`` and
    ``samples`` are refused beside them. ``usual`` gives the samples of a data set where none are asked for. With a
    ``step`` the loss may be missing: it computes its own.
    """
    if scaling is not None:
        parse_scaling(scaling)
    # PyTorch says so of each call that it cannot vectorise: it is right all the same, and nothing here is faster.
    warnings.filterwarnings("ignore", "There is a performance drop because we have not yet implemented the batching")
    found = Target(target)
    giver = next((c for c in (found, step) if c is not None and c.companion("batches") is not None), None)
    brings_data = batches is not None or giver is not None
    if data is None and brings_data:
        file = f"batches() of {giver.name.rpartition(':')[0]}" if giver and batches is None else str(batches)
        for option, given in (("--scaling", scaling), ("--samples", samples)):
            if given is not None:
                raise InputError(f"{option} is of named data sets (--data); {file} is taken as it is")
    model, loss_fn = found.build(checkpoint, seed)
    if data is None and brings_data:
        if batches is not None:
            pairs = read_batches(batches)
        elif giver is not None:
            pairs = giver.batches()
        described, samples = {"batches": file}, 0
    else:
        scaling, samples = scaling or SCALING, usual() if samples is None else samples
        pairs = load_batches(model, data, batches, data_dir, scaling, samples)
        described = {"name": data or "digits", "scaling": scaling}
    if loss_fn is None and step is None:
        own = _own_loss(found)
        with named(batches=described.get("batches")):
            loss_fn = default_loss(target, model, pairs) if own is None else own
    return Brought(found, model, loss_fn, pairs, described, samples)


def followed(model: nn.Module, seen: Rehearsal, step: str) -> str:
    """The name of that part of a model of several networks that its training step trains first; "" for the whole."""
    names = {id(m): name for name, m in model.named_modules()}
    part = names.get(id(seen.followed), "")
    if part:
        complain(
            f"{step} trains networks of its own: {part}, the first, is looked at with its loss; the loop as a whole"
        )
    return part


def with_loss(brought: Brought, seen: Rehearsal, step: str, part: str = "") -> Brought:
    """The same with a loss, where there was none: the one that the training step computes, on its own data.

    Args:
        brought: what the user brought.
        seen: the rehearsal of the step.
        step: its name.
        part: of the model that is looked at alone.

    Raises:
        InputError: it cannot be read off the step, and nobody could guess it.
    """
    if brought.loss_fn is not None and not part:
        return brought
    if seen.loss_fn is not None and seen.pairs:
        data = {"batches": f"those that {step} trained on"}
        return replace(brought, loss_fn=seen.loss_fn, batches=list(seen.pairs), data=data)
    own = _own_loss(brought.target)
    usual = default_loss(brought.target.name, brought.model, brought.batches) if own is None else own
    return replace(brought, loss_fn=usual)


def _own_loss(found: UsersCode) -> Any:
    """The loss that a file has beside its factory, and a word that it is taken; None where it has none."""
    loss, name = found.loss()
    if loss is None:
        return None
    try:
        inspect.signature(loss.forward if isinstance(loss, nn.Module) else loss).bind(None, None)
    except TypeError:
        raise InputError(
            f"{name} does not take two arguments: write loss_fn(output, target) or loss_fn(model, batch), or call it "
            "otherwise if it is no loss"
        ) from None
    except ValueError:  # built in, without a signature
        pass
    complain(f"the loss is {name}")
    return loss


def default_loss(target: str, model: nn.Module, batches: Batches) -> LossFn | None:
    """The loss of a target that returned none: the model's own, or cross-entropy if anybody would take that."""
    batch = next(read(batches))
    if all(isinstance(t, Tensor) and t.layout == torch.strided for t in (batch.inputs, batch.target)):
        batch = batch.take(slice(0, 2), 2)
    batch = batch.map(taken_by(model))
    try:
        with torch.no_grad(), torch.random.fork_rng():
            output = Evaluated(model, None, "own").output(batch)
    except Exception:
        output = None
    if output is None or next(model.parameters(), None) is None:
        return F.cross_entropy  # whoever uses the model says what is wrong with it
    if own_loss(output) is not None:
        return None
    if isinstance(output, Tensor) and isinstance(batch.target, Tensor) and output.shape[:1] != batch.target.shape[:1]:
        return F.cross_entropy  # likewise: they do not belong together
    labels = batch.target
    numbers = isinstance(labels, Tensor) and not labels.is_floating_point() and labels.dtype != torch.bool
    if numbers and isinstance(output, Tensor) and output.dim() > 1:
        labels = labels.clamp(0, output.shape[1] - 1)  # labels out of range are for the diagnosis to tell
    if cross_entropy_fits(output, labels):
        return F.cross_entropy
    raise InputError(
        f"{target} returns no loss, and cross-entropy does not fit outputs {_form(output)} and targets "
        f"{_form(batch.target)}: let it return (module, loss_fn){misfit(output, batch.target)}"
    )


def _form(value: Any) -> str:
    if isinstance(value, Tensor):
        shape = ", ".join(["N", *map(str, value.shape[1:])][: value.dim()])
        return f"[{shape}] of {str(value.dtype).removeprefix('torch.')}"
    return a_kind(value)


def load_batches(
    model: nn.Module, data: str | None, batches: Path | None, data_dir: Path | None, scaling: str, samples: int
) -> Batches:
    """Batches for a user's model: from a named data set, or from a file.

    Args:
        model: decides whether images are flattened: only where it does not take them as [sample, channel, row, column].
        data: name of a data set; the bundled digits by default.
        batches: a file of ``torch.load(weights_only=True)``: a list of batches as `Objective` takes them (pairs of
            inputs and targets, dictionaries, tensors), or one of them.
        data_dir: as in ``data.load``.
        scaling: as in ``data.DataSpec``.
        samples: training images taken from the data set.

    Raises:
        InputError: both given, an unreadable file, an unknown data set, or images that the model does not take.
    """
    if data is not None and batches is not None:
        raise InputError("give --data or --batches, not both")
    if batches is not None:
        return read_batches(batches)
    spec = DataSpec(data or "digits", train=samples, scaling=scaling)
    task = prepare(spec, data_dir)
    shape = load(spec.name, data_dir).train.shape[1:]
    images = task.train_inputs.view(-1, *shape)
    failures: list[Exception] = []
    for inputs in (images, task.train_inputs):
        try:
            with torch.no_grad():
                model(inputs[:2])
        except Exception as error:
            failures.append(error)
        else:
            return [(inputs, task.train_labels)]
    for failure in filter(is_of_code, failures):
        raise InputError(f"the model fails: {told(failure)}") from failure
    reasons = [told(error, REASON) for error in failures]
    size = " x ".join(map(str, images.shape[1:]))
    others = " or ".join(name for name in ("cifar10", "mnist", "digits") if name != spec.name)
    why = reasons[0] if reasons[0] == reasons[1] else f"images: {reasons[0]}; flattened: {reasons[1]}"
    raise InputError(
        f"the model takes {spec.name} neither as {size} images nor flattened to {task.train_inputs.shape[1]} "
        f"numbers ({why}); bring your own: a function batches() in the same file that returns (inputs, targets) pairs, "
        f"such as a DataLoader; or --batches FILE, a torch.save of a list of them; or name data that it takes, as in "
        f"--data {others}"
    )


def read_batches(path: Path) -> Batches:
    """Pairs (inputs, targets) in a file of ``torch.save``: a list of them, or one.

    Raises:
        InputError: no such file, or one of something else.
    """
    if not path.is_file():
        raise InputError(f"no batches at {path}")
    found = weights.read_tensors(path, "a file of tensors (torch.save of pairs)")
    if not isinstance(found, Tensor) and not found:
        raise InputError(f"{path} holds no batches: torch.save a list of pairs (inputs, targets), one or more")
    if isinstance(found, list) and len(found) == 2 and isinstance(found[0], Tensor):
        found = tuple(found)  # one pair
    # A dictionary is a model's arguments by name, which weights have not.
    if isinstance(found, Tensor) or (isinstance(found, Mapping) and not all(str(k).isidentifier() for k in found)):
        raise InputError(
            f"{path} must hold a list of pairs (inputs, targets) or of dictionaries, or one of them, not "
            f"{weights.described(found)}"
        )
    with named(batches=path):
        return [batch.whole for batch in read(found)]
