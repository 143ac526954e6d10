"""The project's one training loop: a population, one epoch at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.func import functional_call

from nonsingular import checks
from nonsingular.checks import checked
from nonsingular.data import Task
from nonsingular.errors import InputError
from nonsingular.training.arithmetic import OrderFree
from nonsingular.training.augmentation import crop_and_mirror
from nonsingular.training.breakers import Breaker
from nonsingular.training.linear_stacks import LinearStack, cross_entropy_gradient, fits
from nonsingular.training.memory import keep_freed_memory
from nonsingular.training.mixup import Loss, Targets, mix, partners
from nonsingular.training.population import Population
from nonsingular.training.regularisers import BiasPenalty, penalty
from nonsingular.training.spec import TrainingSpec
from nonsingular.training.vectorising import vectorises
from nonsingular.words import counted


@dataclass(frozen=True)
class Accuracy:
    """Means over samples, one number a run; the accuracy is NaN where labels are not class numbers."""

    accuracy: Float[Tensor, " run"]
    loss: Float[Tensor, " run"]


@checked
class Trainer:
    """Trains the networks of a population side by side, each with mini-batches in an order of its own.

    The order of run ``k`` in an epoch follows from its seed and the epoch alone, so run ``k`` of a population and run
    ``k`` alone see the same batches, and a resumed run goes on as if it had not stopped. (Dropout too follows from the
    seeds; in a vectorised population from those of all runs together.)

    Args:
        networks: one network a run, of equal structure.
        seeds: one seed a run.
        task: inputs and labels; moved to the device.
        spec: protocol.
        penalties: a bias penalty or None for each run.
        device: where to train.
        loss: what is minimised; cross-entropy unless another is given.
        vectorised: one vectorised call for all networks (True), or one after another (False); by default what
            ``vectorises`` says.
        breakers: what breaks the symmetry of each run's features, or None. With an arithmetic other than the library's
            the networks go one after another.
        optimiser: stacked parameters by name -> what steps them, instead of the protocol's optimiser and rates.

    Attributes:
        population: the networks.
        epoch: finished epochs.

    Raises:
        InputError: a batch larger than the training set, augmentation of inputs that are no images, or vectorised
            convolutions in bfloat16 on a CPU, where torch's automatic casts do not reach them.

    >>> import nonsingular as ns
    >>> task = ns.data.prepare(ns.data.DataSpec("digits", train=300, test=100))
    >>> spec = ns.networks.named("plain", depth=3, width=16)
    >>> networks = [ns.networks.build(spec, 64, 10, seed) for seed in range(4)]
    >>> trainer = ns.Trainer(networks, range(4), task, ns.TrainingSpec(batch=50, learning_rate=0.01))
    >>> for epoch in range(5):
    ...     trainer.train_epoch()
    >>> bool((trainer.evaluate(task.test_inputs, task.test_labels).accuracy > 0.5).all())  # each of the four
    True
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        seeds: Sequence[int],
        task: Task,
        spec: TrainingSpec,
        penalties: Sequence[BiasPenalty | None] = (),
        device: torch.device | str = "cpu",
        loss: Loss = F.cross_entropy,
        vectorised: bool | None = None,
        breakers: Sequence[Breaker | None] = (),
        optimiser: Callable[[Mapping[str, Tensor]], torch.optim.Optimizer] | None = None,
    ) -> None:
        seeds = list(seeds)
        checks.as_many(networks=networks, seeds=seeds)
        if spec.batch > len(task.train_labels):
            raise InputError(
                f"batch {spec.batch} is larger than the training set of {counted(len(task.train_labels), 'image')}"
            )
        self._images = len(task.shape) == 3
        if spec.augment != "none" and not self._images:
            raise InputError(f"augmentation {spec.augment} needs images; these inputs have shape {task.shape}")
        self.spec, self.seeds, self.device, self.loss = spec, seeds, checks.device(device), _function(loss)
        self.task = task.to(self.device)
        self._inputs = self._stored(self.task.train_inputs)
        self._batch: Tensor | None = None
        if self.device.type == "cpu":
            keep_freed_memory()
        self._breakers = [b or Breaker() for b in breakers] or [Breaker()] * len(networks)
        networks = [b.started(n, seed) for n, seed, b in zip(networks, seeds, self._breakers, strict=True)]
        arithmetics = {breaker.arithmetic for breaker in self._breakers}
        self._breakers = [breaker.on(self.device) for breaker in self._breakers]
        if arithmetics != {"library"}:
            vectorised = False
        elif vectorised is None:
            vectorised = vectorises(networks, self.task, spec, self.device)
        self.population = Population(networks, self.device, vectorised)
        lower = torch.bfloat16 if spec.precision == "bfloat16" else None
        fitting = fits(self.population, self.task, spec)
        self._stack = LinearStack(self.population, spec.batch, lower) if fitting else None
        mixed = spec.precision == "bfloat16" and self.device.type == "cpu"
        if mixed and self.population.vectorised and self.population.convolves:
            raise InputError("vectorised convolutions know no bfloat16 on a CPU; leave vectorised out, or take float32")
        # A fused step rounds by place in memory; of the plain one every operation rounds once.
        self._update: AbstractContextManager[object] = OrderFree() if "order-free" in arithmetics else nullcontext()
        self._scheduled, parameters = optimiser is None, self.population.parameters
        fused = "order-free" not in arithmetics
        self.optimiser = optimiser(parameters) if optimiser else _optimiser(spec, list(parameters.values()), fused)
        self.epoch = 0
        penalties = list(penalties) or [None] * len(networks)
        self._targets = _stacked_targets(networks, seeds, penalties, self.device)
        self._strength = torch.tensor([p.strength if p else 0.0 for p in penalties], device=self.device)

    @property
    def steps(self) -> int:
        """Steps of one epoch."""
        return self.spec.steps(len(self.task.train_labels))

    def bias_gap(self) -> Float[Tensor, " run"]:
        """How far hidden biases are from their penalty's targets: root mean square, relative to that of the targets.

        1 at the start, where biases are zero; 0 at the targets. NaN for runs without penalty, or with targets of zero.
        """
        zero = torch.zeros_like(self._strength)
        left = sum(((self.population.parameters[n] - t).square().sum(-1) for n, t in self._targets.items()), zero)
        whole = sum((t.square().sum(-1) for t in self._targets.values()), zero)
        return torch.where((self._strength > 0) & (whole > 0), left / whole, torch.nan).sqrt().detach()

    def train_epoch(self, on_step: Callable[[], None] = lambda: None) -> None:
        """One pass through the training set; ``on_step`` is called after every step of all networks."""
        self.population.train()
        for group in self.optimiser.param_groups if self._scheduled else ():
            group["lr"] = self.spec.rate(self.epoch)
        augmentation = [_generator(seed, self.epoch, 1) for seed in self.seeds]
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(_number(*self.seeds, self.epoch))
            for number, rows in enumerate(self._batches()):
                self._step(number, rows, augmentation)
                on_step()
        self.epoch += 1

    def _batches(self) -> list[Int64[Tensor, "run sample"]]:
        count, batch = len(self.task.train_labels), self.spec.batch
        orders = torch.stack([_permutation(count, seed, self.epoch) for seed in self.seeds]).to(self.device)
        return [orders[:, i * batch : (i + 1) * batch] for i in range(self.steps)]

    def _stored(self, inputs: Float[Tensor, "sample ..."]) -> Float[Tensor, "sample ..."]:
        """The inputs as steps gather them, converted once: images channels-last, numbers in the precision asked for."""
        if inputs.is_floating_point() and self.spec.precision == "bfloat16":
            inputs = inputs.to(torch.bfloat16)
        return inputs.permute(0, 2, 3, 1).contiguous() if self._images else inputs.contiguous()

    def _gather(
        self, rows: Int64[Tensor, "run sample"], augmentation: Sequence[torch.Generator]
    ) -> Float[Tensor, "run sample ..."]:
        """The rows' inputs, in one buffer that every step uses again.

        A fresh tensor of tens of megabytes a step costs more in page faults than the copy itself.
        """
        if self._batch is None:
            self._batch = self._inputs.new_empty(rows.numel(), *self._inputs.shape[1:])
        batch = self._batch[: rows.numel()]
        torch.index_select(self._inputs, 0, rows.flatten(), out=batch)
        batch = batch.unflatten(0, rows.shape)
        if self.spec.augment != "none":
            reflect = self.spec.augment == "reflected-crop+mirror"
            pairs = zip(batch, augmentation, strict=True)
            batch = torch.stack([crop_and_mirror(x, g, reflect=reflect) for x, g in pairs])
        return batch.permute(0, 1, 4, 2, 3) if self._images else batch

    def _step(self, number: int, rows: Int64[Tensor, "run sample"], augmentation: Sequence[torch.Generator]) -> None:
        """One step of every run, on the samples in its row of ``rows``."""
        if self._stack:
            for part in self._stack.parts():
                x, labels = self._gather(rows[part], ()), self.task.train_labels[rows[part]]
                self._stack.differentiate(part, x.flatten(2), partial(self._by_outputs, labels=labels))
        else:
            self._differentiate_all(number, self._gather(rows, augmentation), self.task.train_labels[rows])
        self._perturb(number)
        if self._targets:
            penalty(self.population.parameters, self._targets, self._strength).sum().backward()
        with self._update:
            self.optimiser.step()

    def _differentiate_all(self, number: int, inputs: Float[Tensor, "run sample ..."], labels: Tensor) -> None:
        """Set every run's gradients: ``labels`` are ``[run, sample]`` class numbers, or what the loss takes."""
        self.optimiser.zero_grad(set_to_none=self.population.vectorised)
        targets = Targets(labels)
        if self.spec.mixup:
            inputs, targets = self._mixed(number, inputs, labels)
        if self.population.vectorised:
            with self._autocast():
                outputs = self.population(inputs)
            # Runs share no parameters: the gradient of the sum over runs is every run's own gradient.
            targets.loss(self._losses, outputs).sum().backward()
        else:
            for run, x in enumerate(inputs):
                torch.manual_seed(_number(self.seeds[run], self.epoch, number))
                self._differentiate(run, x, targets.of(run))

    def _by_outputs(self, outputs: Float[Tensor, "run sample ..."], labels: Tensor) -> Tensor:
        """The gradient of the sum of all runs' losses by their outputs."""
        if self.loss is F.cross_entropy and labels.ndim == 2 and not labels.is_floating_point():
            return cross_entropy_gradient(_full(outputs), labels)
        leaf = outputs.detach().contiguous().requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(self._losses(leaf, labels).sum(), leaf)[0]

    def _mixed(self, number: int, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Targets]:
        """Inputs mixed with those of the same batch, and the labels of both."""
        keys = [np.random.SeedSequence([seed, self.epoch, number, 2]) for seed in self.seeds]
        partner, share = partners(labels.shape[1], self.spec.mixup, keys)
        partner, share = partner.to(self.device), share.to(self.device)
        others = torch.stack([y[p] for y, p in zip(labels, partner, strict=True)])
        return mix(inputs, partner, share), Targets(labels, others, share)

    def _perturb(self, number: int) -> None:
        """Add the breakers' noise to the gradients."""
        precision = torch.bfloat16 if self.spec.precision == "bfloat16" else torch.float32
        for run, breaker in enumerate(self._breakers):
            if breaker.gradient_noise:
                generator = _generator(self.seeds[run], self.epoch, number, 3)
                for p in self.population.parameters.values():
                    if p.grad is not None:
                        p.grad[run] = breaker.perturb(p.grad[run], precision, generator)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.spec.precision == "bfloat16")

    def _differentiate(self, run: int, x: Float[Tensor, "sample ..."], targets: Targets) -> None:
        """Set one run's part of the gradients; what its forward pass kept is free again before the next run's."""
        stacked = {name: p for name, p in self.population.parameters.items() if p.requires_grad}
        # Leaves that share memory with the run's part of the stacked parameters.
        leaves = {name: p.detach()[run].requires_grad_() for name, p in stacked.items()}
        rest = {k: v[run] for k, v in (self.population.parameters | self.population.buffers).items() if k not in leaves}
        with self._breakers[run].mode():
            with self._autocast():
                output = functional_call(self.population.skeletons[run], leaves | rest, (x,))
            loss = targets.loss(self.loss, _full(output))
            gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        for p, gradient in zip(stacked.values(), gradients, strict=True):
            if p.grad is None:
                p.grad = torch.zeros_like(p)
            if gradient is not None:
                p.grad[run] = gradient

    def _losses(self, outputs: Float[Tensor, "run sample ..."], labels: Tensor) -> Float[Tensor, " run"]:
        if self.loss is F.cross_entropy and outputs.ndim == 3 and labels.ndim == 2:
            # Samples innermost: over the few classes of a row PyTorch's softmax takes ten times as long.
            return F.cross_entropy(_full(outputs).mT, labels, reduction="none").mean(1)
        return torch.stack([self.loss(_full(o), y) for o, y in zip(outputs, labels, strict=True)])

    @torch.no_grad()
    def evaluate(self, inputs: Float[Tensor, "sample ..."], labels: Tensor, batch: int | None = None) -> Accuracy:
        """Accuracy and mean loss of every run; NaN for runs whose outputs are not finite.

        Args:
            inputs: samples.
            labels: their class numbers, or what the loss takes.
            batch: samples at a time; by default few where they are images.
        """
        self.population.train(False)
        correct = torch.zeros(len(self.population), device=self.device)
        loss = torch.zeros_like(correct)
        batch = batch or (500 if self._images else 2000)
        for x, y in zip(inputs.split(batch), labels.split(batch), strict=True):
            x, y = x.to(self.device), y.to(self.device)
            if self._images:
                x = x.contiguous(memory_format=torch.channels_last)
            outputs = self.population(x, shared=True)
            if outputs.ndim == 3 and not y.is_floating_point():
                correct += (outputs.argmax(-1) == y).sum(-1)
            else:
                correct += torch.nan
            loss += self._losses(outputs, y.expand(len(outputs), *y.shape)) * len(y)
        alive = torch.isfinite(loss) & self.finite()
        mean_loss = torch.where(alive, loss / len(labels), torch.nan)
        return Accuracy(torch.where(alive, correct / len(labels), torch.nan), mean_loss)

    @torch.no_grad()
    def finite(self) -> Tensor:
        """Which runs have finite parameters; the others have diverged and are marked NaN in all results."""
        return torch.stack([torch.isfinite(p).flatten(1).all(1) for p in self.population.parameters.values()]).all(0)

    def state(self) -> dict[str, object]:
        """Everything needed to go on, for a checkpoint."""
        return {"population": self.population.state(), "optimiser": self.optimiser.state_dict(), "epoch": self.epoch}

    def load(self, state: dict[str, object]) -> None:
        """Go on from a checkpoint."""
        self.population.load(state["population"])  # type: ignore[arg-type]
        self.optimiser.load_state_dict(state["optimiser"])  # type: ignore[arg-type]
        self.epoch = int(state["epoch"])  # type: ignore[call-overload]


def _optimiser(spec: TrainingSpec, parameters: list[Tensor], fused: bool) -> torch.optim.Optimizer:
    trained = [p for p in parameters if p.requires_grad]
    rate, decay = spec.learning_rate, spec.weight_decay
    how: dict[str, Any] = {"fused": True} if fused else {"foreach": False}
    if spec.optimiser == "sgd":
        return torch.optim.SGD(
            trained, lr=rate, momentum=spec.momentum, weight_decay=decay, nesterov=spec.nesterov, **how
        )
    if decay:
        return torch.optim.AdamW(trained, lr=rate, weight_decay=decay, **how)
    return torch.optim.Adam(trained, lr=rate, **how)


def _function(loss: Loss) -> Loss:
    """The function that a loss is, where it is cross-entropy as a module: that of all runs is one call."""
    if type(loss) is not nn.CrossEntropyLoss or loss.weight is not None:
        return loss
    plain = loss.ignore_index == -100 and loss.reduction == "mean" and not loss.label_smoothing
    return F.cross_entropy if plain else loss


def _full(outputs: Tensor) -> Tensor:
    """Losses are computed in single precision at least."""
    return outputs.float() if outputs.dtype in (torch.bfloat16, torch.float16) else outputs


def _number(*key: int) -> int:
    """A seed that follows from the numbers of ``key``."""
    return int(np.random.SeedSequence(list(key)).generate_state(1, np.uint64)[0] >> 1)


def _generator(*key: int) -> torch.Generator:
    return torch.Generator().manual_seed(_number(*key))


def _permutation(count: int, seed: int, epoch: int) -> Int64[Tensor, " sample"]:
    return torch.randperm(count, generator=_generator(seed, epoch))


def _stacked_targets(
    networks: Sequence[nn.Module], seeds: Sequence[int], penalties: Sequence[BiasPenalty | None], device: torch.device
) -> dict[str, Float[Tensor, "run unit"]]:
    if not any(penalties):
        return {}
    drawn = [(p or BiasPenalty()).targets(n, s) for n, s, p in zip(networks, seeds, penalties, strict=True)]
    return {name: torch.stack([d[name] for d in drawn]).to(device) for name in drawn[0]}
