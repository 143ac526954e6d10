"""What a user's loss is: a function of output and target, of model and batch, or the model's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.loss import _Loss

from nonsingular.errors import InputError
from nonsingular.objective.data import TARGETS, Batch
from nonsingular.objective.models import is_lightning
from nonsingular.objective.trees import tree_map
from nonsingular.words import counted

FORMS = ("output", "model")
MODELS = {"model", "net", "network", "module", "nn_module", "pl_module"}
OUTPUTS = {
    "output", "outputs", "out", "outs", "input", "pred", "preds", "prediction", "predictions", "predicted", "y_pred",
    "y_hat", "yhat", "logits", "logit", "scores", "probs", "log_probs", "recon", "reconstruction",
}  # fmt: skip
AFTER_OUTPUTS = {"target", "targets", "label", "labels", "y", "y_true", "truth", "tgt", "gt"}
AFTER_MODELS = {"batch"}


Metric = Callable[..., Any]
"""(model output, target) -> a number; (model, batch) -> a number where the loss is of that form."""


class Loss(Protocol):
    """(model output, target) -> scalar, or (model, batch) -> scalar.

    >>> import torch
    >>> import nonsingular as ns
    >>> def penalised(model, batch):
    ...     inputs, target = batch
    ...     penalty = sum(p.square().sum() for p in model.parameters())
    ...     return (model(inputs) - target).square().mean() + 1e-3 * penalty
    >>> objective = ns.Objective(torch.nn.Linear(3, 1), penalised, [(torch.zeros(4, 3), torch.zeros(4, 1))])
    >>> objective.form
    'model'
    """

    def __call__(self, output: Any, target: Any, /) -> Tensor:
        """The loss."""


class Evaluated(nn.Module):
    """A model and its loss as one module, so that both see the same replaced weights.

    Attributes:
        places: where the model's parameters and buffers are in this module -> their names in the model.

    >>> import torch
    >>> import nonsingular as ns
    >>> both = ns.objective.Evaluated(torch.nn.Linear(3, 2), torch.nn.functional.cross_entropy, "output")
    >>> [name for name, _ in both.named_parameters()]
    ['model.weight', 'model.bias']
    """

    loss: Any

    def __init__(self, model: nn.Module, loss: Any, form: str) -> None:
        super().__init__()
        self.model, self.form = model, form
        self.loss = loss  # registered where it is a module
        # A tied tensor is replaced wherever it is, but once in a module that has two names.
        names = {id(t): n for n, t in (*model.named_parameters(), *model.named_buffers())}
        self.places = {
            f"{prefix}.{local}": names[id(t)]
            for prefix, module in self.named_modules()
            for local, t in (*module._parameters.items(), *module._buffers.items())
            if id(t) in names
        }
        self._signature = _signature(model)
        self._arguments = _arguments(model.training_step if form == "step" else loss)

    def forward(self, batch: Batch, part: str = "loss", *options: Any) -> Any:
        """The loss on ``batch``; or, as other parts, the model's ``output``, or what is ``measured``."""
        if part != "loss":
            return getattr(self, part)(batch, *options)
        if self.form == "output":
            return self.of_output(self.output(batch), batch.target)
        if self.form == "model":
            return self._with_as_many(self.loss, self.model, batch.whole)
        if self.form == "step":
            return own_loss(
                self._with_as_many(
                    self.model.training_step,  # type: ignore[arg-type]
                    batch.whole,
                    batch.index,
                )
            )
        return own_loss(self.output(batch))

    def measured(self, batch: Batch, metrics: Sequence[Metric], mixed: AbstractContextManager[Any]) -> list[Any]:
        """The loss on ``batch``, and what each metric says of the same pass through the model.

        Args:
            batch: the batch.
            metrics: ``metric(output, target)``; ``metric(model, batch)`` where the loss is of model and batch.
            mixed: within it the model is evaluated; the loss and metrics of an output are of full precision.
        """
        if self.form not in ("output", "own"):
            with mixed:
                return [self.forward(batch), *(m(self.model, batch.whole) for m in metrics)]
        with mixed:
            output = self.output(batch)
        if not isinstance(mixed, nullcontext):
            output = tree_map(lambda t: t.float() if t.dtype in (torch.bfloat16, torch.float16) else t, output)
        loss = self.of_output(output, batch.target) if self.form == "output" else own_loss(output)
        return [loss, *(m(output, batch.target) for m in metrics)]

    def output(self, batch: Batch) -> Any:
        """The model's output: tuples are positional arguments, mappings are keywords, anything else is one."""
        inputs, signature = batch.inputs, self._signature
        if isinstance(inputs, Mapping):
            wanted = {k: v for k, v in inputs.items() if k not in TARGETS or _accepts(signature, k)}
            as_one = not _binds(signature, **wanted) and _binds(signature, inputs)
            return self.model(inputs) if as_one else self.model(**wanted)
        if type(inputs) in (tuple, list):
            as_one = not _binds(signature, *inputs) and _binds(signature, inputs)
            return self.model(inputs) if as_one else self.model(*inputs)
        if self.form == "own" and batch.pair and not _binds(signature, inputs) and _binds(signature, *batch.whole):
            return self.model(*batch.whole)  # a module whose forward is the loss
        return self.model(inputs)

    def of_output(self, output: Any, target: Any) -> Any:
        """The loss of an output, for those that are functions of it."""
        return self._with_as_many(self.loss, output, target)

    def _with_as_many(self, function: Callable[..., Any], *args: Any) -> Any:
        """``function`` with the first of ``args`` that it takes: losses without targets take one argument."""
        required, most = self._arguments
        count = required if args[-1] is None else most
        return function(*args[: int(max(1, min(len(args), count)))])


def _signature(model: nn.Module) -> inspect.Signature:
    """Of ``forward``; of anything at all where the module does not say (TorchScript)."""
    try:
        return inspect.signature(model.forward)
    except ValueError:
        return inspect.signature(lambda *args, **kwargs: None)


def _accepts(signature: inspect.Signature, name: str) -> bool:
    parameters = signature.parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _binds(signature: inspect.Signature, *args: Any, **kwargs: Any) -> bool:
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def _arguments(function: Any) -> tuple[float, float]:
    """How many positional arguments a function needs, and takes."""
    try:
        parameters = _positional(function)
    except (TypeError, ValueError):  # built in, without a signature
        return float("inf"), float("inf")
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return float("inf"), float("inf")
    return sum(p.default is p.empty for p in parameters), len(parameters)


def _positional(function: Callable[..., Any]) -> list[inspect.Parameter]:
    of = function.forward if isinstance(function, nn.Module) else function
    parameters = inspect.signature(of).parameters.values()
    return [p for p in parameters if p.kind not in (p.KEYWORD_ONLY, p.VAR_KEYWORD)]


def own_loss(output: Any) -> Any:
    """The loss in what a model returns of itself.

    >>> import torch
    >>> import nonsingular as ns
    >>> ns.objective.own_loss({"loss": torch.tensor(0.5), "logits": torch.zeros(3)})
    tensor(0.5000)
    """
    if isinstance(output, Mapping):
        return output.get("loss")
    if hasattr(output, "loss"):
        return output.loss
    if isinstance(output, tuple) and output and isinstance(output[0], Tensor) and output[0].dim() == 0:
        return output[0]
    return output if isinstance(output, Tensor) and output.dim() == 0 else None


def said(model: nn.Module, loss: Any, form: str | None) -> str | None:
    """The form of a loss as far as the user or the names of its arguments say it; None where they do not.

    Raises:
        InputError: an unknown form, or a loss that cannot be called.
    """
    if form is not None and form not in FORMS:
        raise InputError(
            f"form must be 'output' (loss_fn(output, target)) or 'model' (loss_fn(model, batch)), got {form!r}"
        )
    if loss is None:
        return "step" if is_lightning(model) else "own"
    if not callable(loss):
        raise InputError(
            f"loss_fn must be callable as loss_fn(output, target) or loss_fn(model, batch), got {type(loss).__name__}"
        )
    if isinstance(loss, type) and issubclass(loss, nn.Module):
        raise InputError(f"loss_fn is the class {loss.__name__}: give an instance, {loss.__name__}()")
    if form is not None or isinstance(loss, _Loss):
        return form or "output"
    try:
        parameters = _positional(loss)
    except (TypeError, ValueError):
        return None
    names = [p.name.lower() for p in parameters]
    first, second = (*names, "", "")[:2]
    if first in MODELS or _is_module(parameters[0].annotation if parameters else None):
        return "model"
    if first in OUTPUTS or second in AFTER_OUTPUTS:
        return "output"
    return "model" if second in AFTER_MODELS else None


def _is_module(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return annotation.split(".")[-1] == "Module"
    return isinstance(annotation, type) and issubclass(annotation, nn.Module)


def no_scalar(loss: Any, batch: Batch) -> InputError:
    """What is said of a loss that is no single number."""
    what = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
    if isinstance(loss, Tensor) and loss.dim() and loss.shape[0] == batch.samples:
        what += f" for {counted(batch.samples, 'sample')}, a number each (reduction='none'?)"
    return InputError(f"loss_fn must return a scalar tensor, got {what}; reduce it, for example by .mean()")


SCORES = ("logits", "scores", "output", "outputs", "out", "prediction", "predictions", "pred", "y_hat")


def misfit(output: Any, target: Any) -> str:
    """What to write where a loss does not fit an output and a target, after what went wrong; "" where nobody knows.

    >>> import torch
    >>> import nonsingular as ns
    >>> ns.objective.misfit({"logits": torch.zeros(4, 3)}, torch.zeros(4).long())
    '; the model returns a dict: take output["logits"] in loss_fn(output, target)'
    >>> ns.objective.misfit(torch.zeros(4, 3), torch.tensor([0.0, 2.0, 1.0, 0.0]))
    '; the targets are float32: if they are class numbers, give target.long()'
    """
    if not isinstance(output, Tensor):
        place = _scores(output)
        kind = type(output).__name__
        return f"; the model returns a {kind}: take output{place} in loss_fn(output, target)" if place else ""
    if not isinstance(target, Tensor) or output.dim() < 2 or output.shape[1] < 2:
        return ""
    numbers = target.is_floating_point() or target.dtype == torch.bool
    if numbers and cross_entropy_fits(output, target.long()):
        classes = target.double()
        whole = bool(((classes == classes.round()) & (classes >= 0) & (classes < output.shape[1])).all())
        kind = str(target.dtype).removeprefix("torch.")
        return f"; the targets are {kind}: if they are class numbers, give target.long()" if whole else ""
    if target.dim() == 2 and target.shape[1] == 1 and cross_entropy_fits(output, target[:, 0]):
        return "; the targets are a column: if they are class numbers, give target.squeeze(1)"
    return ""


def _scores(output: Any) -> str:
    """Where in an output the scores probably are, as one would write it; "" where that cannot be told."""
    if isinstance(output, Mapping):
        named = {k: v for k, v in output.items() if isinstance(v, Tensor) and v.is_floating_point() and v.dim()}
        found = next((k for k in SCORES if k in named), next(iter(named), None) if len(named) == 1 else None)
        return "" if found is None else f'["{found}"]'
    if isinstance(output, tuple | list):
        return next((f"[{i}]" for i, v in enumerate(output) if isinstance(v, Tensor) and v.is_floating_point()), "")
    return next((f".{k}" for k in SCORES if isinstance(getattr(output, k, None), Tensor)), "")


def cross_entropy_fits(output: Any, target: Any) -> bool:
    """Whether cross-entropy is what anybody would take: class numbers beside one score a class, two classes or more.

    >>> import torch
    >>> import nonsingular as ns
    >>> ns.objective.cross_entropy_fits(torch.zeros(4, 3), torch.tensor([0, 1, 2, 0]))
    True
    >>> ns.objective.cross_entropy_fits(torch.zeros(4, 1), torch.zeros(4, 1))
    False
    """
    return (
        isinstance(output, Tensor)
        and isinstance(target, Tensor)
        and output.is_floating_point()
        and not target.is_floating_point()
        and target.dtype != torch.bool
        and output.dim() >= 2
        and output.shape[1] >= 2
        and target.shape == (output.shape[0], *output.shape[2:])
    )
