"""The project's one training loop: a population, one epoch at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from nonsingular.data import Task
from nonsingular.errors import InputError
from nonsingular.training.population import Population
from nonsingular.training.regularisers import BiasPenalty, penalty
from nonsingular.training.spec import TrainingSpec


@dataclass(frozen=True)
class Accuracy:
    """Means over samples, one number a run."""

    accuracy: Float[Tensor, " run"]
    loss: Float[Tensor, " run"]


class Trainer:
    """Trains the networks of a population side by side, each with mini-batches in an order of its own.

    The order of run ``k`` in an epoch follows from its seed and the epoch alone, so run ``k`` of a population and run
    ``k`` alone see the same batches, and a resumed run goes on as if it had not stopped.

    Args:
        networks: one network a run, of equal structure.
        seeds: one seed a run.
        task: inputs and labels; moved to the device.
        spec: protocol.
        penalties: a bias penalty or None for each run.
        device: where to train.

    Attributes:
        population: the networks.
        epoch: finished epochs.

    Raises:
        InputError: a batch larger than the training set.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        seeds: Sequence[int],
        task: Task,
        spec: TrainingSpec,
        penalties: Sequence[BiasPenalty | None] = (),
        device: torch.device | str = "cpu",
    ) -> None:
        if spec.batch > len(task.train_labels):
            raise InputError(f"batch {spec.batch} is larger than the training set of {len(task.train_labels)} images")
        self.spec, self.seeds, self.device = spec, list(seeds), torch.device(device)
        self.task = task.to(self.device)
        # Converted once, not in every step.
        self._inputs = self.task.train_inputs.to(torch.bfloat16 if spec.precision == "bfloat16" else torch.float32)
        self._batch: Tensor | None = None
        self.population = Population(networks, self.device)
        self.optimiser = _optimiser(spec, list(self.population.parameters.values()))
        self.epoch = 0
        penalties = list(penalties) or [None] * len(networks)
        self._targets = _stacked_targets(networks, seeds, penalties, self.device)
        self._strength = torch.tensor([p.strength if p else 0.0 for p in penalties], device=self.device)

    @property
    def steps(self) -> int:
        """Steps of one epoch."""
        return len(self.task.train_labels) // self.spec.batch

    def train_epoch(self, on_step: Callable[[], None] = lambda: None) -> None:
        """One pass through the training set; ``on_step`` is called after every step of all networks."""
        self.population.train()
        for rows in self._batches():
            self._step(self._gather(rows), self.task.train_labels[rows])
            on_step()
        self.epoch += 1

    def _batches(self) -> list[Int64[Tensor, "run sample"]]:
        count, batch = len(self.task.train_labels), self.spec.batch
        orders = torch.stack([_permutation(count, seed, self.epoch) for seed in self.seeds]).to(self.device)
        return [orders[:, i * batch : (i + 1) * batch] for i in range(self.steps)]

    def _gather(self, rows: Int64[Tensor, "run sample"]) -> Float[Tensor, "run sample input"]:
        """The rows' inputs, in one buffer that every step uses again.

        A fresh tensor of tens of megabytes a step costs more in page faults than the copy itself.
        """
        if self._batch is None:
            self._batch = torch.empty(
                rows.numel(), *self._inputs.shape[1:], dtype=self._inputs.dtype, device=self.device
            )
        torch.index_select(self._inputs, 0, rows.flatten(), out=self._batch)
        return self._batch.unflatten(0, rows.shape)

    def _step(self, inputs: Float[Tensor, "run sample input"], labels: Int64[Tensor, "run sample"]) -> None:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.spec.precision == "bfloat16"):
            outputs = self.population(inputs)
        # Runs share no parameters: the gradient of the sum over runs is every run's own gradient.
        loss = F.cross_entropy(outputs.flatten(0, 1).float(), labels.flatten(), reduction="sum") / labels.shape[1]
        if self._targets:
            loss = loss + penalty(self.population.parameters, self._targets, self._strength).sum()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()

    @torch.no_grad()
    def evaluate(
        self, inputs: Float[Tensor, "sample input"], labels: Int64[Tensor, " sample"], batch: int = 2000
    ) -> Accuracy:
        """Accuracy and mean cross-entropy of every run; NaN for runs whose outputs are not finite."""
        self.population.train(False)
        correct = torch.zeros(len(self.population), device=self.device)
        loss = torch.zeros_like(correct)
        for x, y in zip(inputs.split(batch), labels.split(batch), strict=True):
            outputs = self.population(x.to(self.device), shared=True)
            y = y.to(self.device)
            correct += (outputs.argmax(-1) == y).sum(-1)
            losses = F.cross_entropy(outputs.flatten(0, 1), y.repeat(len(outputs)), reduction="none")
            loss += losses.view(len(outputs), -1).sum(-1)
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


def _optimiser(spec: TrainingSpec, parameters: list[Tensor]) -> torch.optim.Optimizer:
    if spec.optimiser == "adam":
        return torch.optim.Adam(parameters, lr=spec.learning_rate, fused=True)
    return torch.optim.SGD(parameters, lr=spec.learning_rate, momentum=spec.momentum, fused=True)


def _permutation(count: int, seed: int, epoch: int) -> Int64[Tensor, " sample"]:
    state = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0]
    return torch.randperm(count, generator=torch.Generator().manual_seed(int(state >> 1)))


def _stacked_targets(
    networks: Sequence[nn.Module], seeds: Sequence[int], penalties: Sequence[BiasPenalty | None], device: torch.device
) -> dict[str, Float[Tensor, "run unit"]]:
    if not any(penalties):
        return {}
    drawn = [(p or BiasPenalty()).targets(n, s) for n, s, p in zip(networks, seeds, penalties, strict=True)]
    return {name: torch.stack([d[name] for d in drawn]).to(device) for name in drawn[0]}


# --- memory -------------------------------------------------------------------------------------------------


def runs_that_fit(network: nn.Module, task: Task, spec: TrainingSpec, device: torch.device, share: float = 0.4) -> int:
    """How many runs of one vectorised step fit in ``share`` of the free memory, at least 1.

    Counted per run: parameters, gradients and two optimiser moments; what autograd keeps of a forward pass, twice, for
    the gradients that flow back; and the batch. Measured on a pass without data (device ``meta``).
    """
    skeleton = Population([network], "meta")
    kept: dict[int, int] = {}

    def keep(t: Tensor) -> Tensor:
        kept[id(t.untyped_storage())] = t.untyped_storage().nbytes()
        return t

    inputs = torch.empty(1, spec.batch, task.inputs, device="meta")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        skeleton(inputs)
    parameters = sum(p.numel() * p.element_size() for p in skeleton.parameters.values())
    activations = sum(kept.values())
    a_run = 4 * parameters + 2 * activations + 2 * inputs.numel() * inputs.element_size()
    return max(1, int(share * _free_memory(device) / a_run))


def _free_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
