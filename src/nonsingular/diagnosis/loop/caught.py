"""What is trained, as far as the loop shows it: the model at its start, torch's loss, inputs and targets of batches."""

from __future__ import annotations

import copy
import math
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from nonsingular.diagnosis.untouched import untouched

BATCHES = 8
LARGEST = 50_000_000  # entries of a model that is copied


class Caught:
    """Pairs the latest call of a model with the loss of its output.

    Attributes:
        model: a copy of the model at its first loss, None where there was none, or none that can be copied.
        loss_fn: (output, target) -> scalar, as the loop calls it.
        pairs: (inputs, target) of the first batches.
    """

    def __init__(self, batches: int = BATCHES) -> None:
        self.model: nn.Module | None = None
        self.loss_fn: Callable[[Any, Any], Tensor] | None = None
        self.pairs: list[tuple[Any, Any]] = []
        self._most = batches
        self._call: tuple[nn.Module, tuple[Any, ...], dict[str, Any], weakref.ref[Tensor]] | None = None
        self._latest: tuple[nn.Module, tuple[Any, ...], dict[str, Any], Callable[[Any, Any], Tensor], Any] | None = None
        self._source: tuple[int, str] | None = None

    def called(self, model: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        """A model of the user's returned."""
        if isinstance(output, Tensor) and torch.is_grad_enabled():
            self._call = (model, inputs, named, weakref.ref(output))

    def lost(self, name: str, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        """One of torch's losses took an output."""
        output = args[0] if args else named.get("input")
        target = args[1] if len(args) > 1 else named.get("target")
        if self._call is None or output is not self._call[3]() or len(args) > 3 or not isinstance(target, Tensor):
            return
        model, inputs, arguments, _ = self._call
        options = {k: v for k, v in named.items() if k not in ("input", "target")}
        if len(args) > 2:
            options["weight"] = args[2]
        if options.get("reduction") == "none":
            return
        plain = getattr(F, name)
        loss_fn = getattr(plain, "__wrapped__", plain)

        def loss(output: Any, target: Any) -> Tensor:
            value: Tensor = loss_fn(output, target, **options)
            return value

        self._latest = (model, inputs, arguments, loss, target)
        if self._source is None and model.training:
            self._begin(model, loss, name)
        if self._source == (id(model), name) and len(self.pairs) < self._most and not (inputs and arguments):
            held: Any = arguments if arguments else inputs[0] if len(inputs) == 1 else inputs
            if not any(_same((held, target), pair) for pair in self.pairs):  # the one batch of full-batch training
                self.pairs.append(tree_map_only(Tensor, lambda t: t.detach().clone(), (held, target)))

    def _begin(self, model: nn.Module, loss: Callable[[Any, Any], Tensor], name: str) -> None:
        self._source = (id(model), name)
        if sum(p.numel() for p in model.parameters()) > LARGEST:
            return
        try:
            with torch.no_grad():
                self.model = copy.deepcopy(model)
        except Exception:  # what cannot be copied is not looked at
            return
        self.model.zero_grad(set_to_none=True)
        self.loss_fn = loss

    def replayed(self) -> str:
        """The operation that first makes a number that is not finite, by the latest call run again; "" if none does."""
        if self._latest is None:
            return ""
        model, inputs, named, loss_fn, target = self._latest
        return replay(model, inputs, named, lambda output: loss_fn(output, target))


def replay(model: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], loss: Callable[[Any], Tensor]) -> str:
    """Run a model and its loss again and name what first goes wrong: a layer, the loss, or an operation's gradient."""
    first: list[str] = []
    names = {id(m): n for n, m in model.named_modules()}

    def look(module: nn.Module, args: Any, output: Any) -> None:
        if not first and not _finite(output):
            came = "although its inputs are finite" if _finite(args) else "from inputs that are not finite"
            first.append(f"{names.get(id(module)) or type(module).__name__} ({type(module).__name__}), {came}")

    if not _finite(list(model.parameters())):
        bad = next(n for n, p in model.named_parameters() if not _finite(p))
        return f"the weights themselves: {bad}"
    if not _finite((inputs, named)):
        return "the inputs themselves"
    handles = [m.register_forward_hook(look) for m in model.modules()]
    try:
        with untouched(model), torch.enable_grad(), torch.autograd.set_detect_anomaly(True), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            output = model(*inputs, **named)
            if first:
                return first[0]
            value = loss(output)
            if not _finite(value):
                return "the loss, although the outputs are finite"
            parameters = [p for p in model.parameters() if p.requires_grad]
            torch.autograd.grad(value, parameters, allow_unused=True)
    except RuntimeError as error:
        text = str(error)
        if "returned nan values" in text:
            return f"the gradient of {text.split()[1].strip(chr(39))}"
    except Exception:
        return ""
    finally:
        for handle in handles:
            handle.remove()
    return ""


def _same(a: Any, b: Any) -> bool:
    pairs = zip(tree_leaves(a), tree_leaves(b), strict=True)
    return all(torch.equal(x, y) for x, y in pairs if isinstance(x, Tensor) and isinstance(y, Tensor))


def _finite(values: Any) -> bool:
    return all(
        bool(torch.isfinite(t).all()) for t in tree_leaves(values) if isinstance(t, Tensor) and t.is_floating_point()
    )


def constant_loss(name: str, targets: Tensor, classes: int) -> float:
    """The loss of the best constant prediction for these targets; NaN where it is not known."""
    t = targets.double()
    if name in ("cross_entropy", "nll_loss") and classes > 1 and not targets.is_floating_point():
        share = torch.bincount(targets[targets >= 0].long(), minlength=classes).double()
        share = share / share.sum()
        return float(-(share[share > 0] * share[share > 0].log()).sum())
    if name == "mse_loss":
        return float(t.var(correction=0))
    if name == "l1_loss":
        return float((t - t.median()).abs().mean())
    if name.startswith("binary_cross_entropy"):
        p = float(t.mean())
        return 0.0 if not 0 < p < 1 else -(p * math.log(p) + (1 - p) * math.log(1 - p))
    return math.nan
