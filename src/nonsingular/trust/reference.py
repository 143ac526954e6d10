"""The same numbers the slow and obvious way: float64, plain automatic differentiation, one row after another.

Nothing here uses the parts of this package that are judged by it.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from nonsingular.trust.layers import Checkpointed
from nonsingular.trust.programs import Program


class Reference:
    """Loss, gradient and second derivatives of a program over all its data.

    Args:
        program: whose model is copied.
        train: mode; by default the model's own.
        state: parameters by name instead of the model's own.
    """

    def __init__(self, program: Program, train: bool | None = None, state: Mapping[str, Tensor] | None = None) -> None:
        self.program = program
        self.model = copy.deepcopy(program.model).double()
        self.model.train(program.model.training if train is None else train)
        if state is not None:
            with torch.no_grad():
                for name, p in self.model.named_parameters():
                    p.copy_(state.get(name, p))
        for module in self.model.modules():
            if isinstance(module, Checkpointed):  # where no input wants a gradient, the reentrant kind gives none
                module.reentrant = False
            if isinstance(module, nn.Embedding) and module.padding_idx is not None:
                module.__class__ = _Padded
            if isinstance(module, nn.PReLU):
                module.__class__ = _OneSided
        self._buffers = {m: dict(m.named_buffers(recurse=False)) for m in self.model.modules()}
        self.batches = [_double(b) for b in program.batches]
        self.parameters = {n: p for n, p in self.model.named_parameters() if p.requires_grad}

    def weights(self) -> list[float]:
        """Of the batches."""
        program = self.program
        if program.reduction == "sum":
            return [1.0] * len(self.batches)
        masses = [1.0 if program.mass is None else program.mass(b) for b in self.batches]
        return [m / sum(masses) if sum(masses) else float("nan") for m in masses]

    def output(self, batch: Any) -> Any:
        """Of the model."""
        self._restore()
        with sdpa_kernel(SDPBackend.MATH):
            return call(self.model, _double(batch))

    def loss(self, batch: Any) -> Tensor:
        """Of one batch."""
        self._restore()
        with sdpa_kernel(SDPBackend.MATH):
            return loss(self.program, self.model, _double(batch))

    def _restore(self) -> None:
        """Running statistics as they were: copies, since graphs hold on to what was used before."""
        for module, buffers in self._buffers.items():
            module._buffers.update({n: b.clone() for n, b in buffers.items()})

    def value(self) -> Tensor:
        """Of all batches."""
        return torch.stack([w * self.loss(b) for w, b in zip(self.weights(), self.batches, strict=True) if w]).sum()

    def hessian(self) -> Tensor:
        """``[P, P]``."""
        inputs = list(self.parameters.values())
        first = _flat(torch.autograd.grad(self.value(), inputs, create_graph=True, allow_unused=True), inputs)
        matrix = torch.stack([_row(entry, inputs) for entry in first])
        if bool(((matrix - matrix.T).abs() > 1e-9 * matrix.abs().max()).any()):
            return self._by_differences()  # PyTorch's own second derivatives are not all right: weight_norm's are not
        return matrix

    def _by_differences(self, step: float = 1e-5) -> Tensor:
        inputs, rows = list(self.parameters.values()), []
        for p in inputs:
            for i in range(p.numel()):
                ends = []
                for sign in (1, -1):
                    with torch.no_grad():
                        p.view(-1)[i] += sign * step
                    ends.append(_flat(torch.autograd.grad(self.value(), inputs, allow_unused=True), inputs))
                    with torch.no_grad():
                        p.view(-1)[i] -= sign * step
                rows.append((ends[0] - ends[1]) / (2 * step))
        matrix = torch.stack(rows)
        marks = {id(m.weight): m.padding() for m in self.model.modules() if isinstance(m, _Padded)}
        constant = torch.cat([marks.get(id(p), torch.zeros_like(p).bool()).expand_as(p).flatten() for p in inputs])
        matrix[constant] = matrix[:, constant].T  # they were moved, too
        return matrix

    def gauss_newton(self) -> Tensor:
        """``[P, P]``: outputs' Jacobian on both sides of the loss's Hessian by the outputs; for tensors as outputs."""
        inputs = list(self.parameters.values())
        total = torch.zeros(2 * (sum(p.numel() for p in inputs),), dtype=torch.float64)
        for weight, batch in zip(self.weights(), self.batches, strict=True):
            if weight:
                z = self.output(batch)
                jacobian = torch.stack([_row(entry, inputs) for entry in z.flatten()])
                leaf = z.detach().requires_grad_()
                loss = self.program.loss_fn(leaf, _target(batch))
                first = torch.autograd.grad(loss, leaf, create_graph=True)[0].flatten()
                inner = torch.stack([_row(entry, [leaf]) for entry in first])
                total += weight * jacobian.T @ inner @ jacobian
        return total


class _Padded(nn.Embedding):
    """With the padding token's vector as a constant, which it is to PyTorch's gradients, whatever comes of it."""

    def padding(self) -> Tensor:
        rows = torch.zeros(self.num_embeddings, 1, dtype=torch.bool)
        rows[self.padding_idx] = True
        return rows

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(input, torch.where(self.padding(), self.weight.detach(), self.weight))


class _OneSided(nn.PReLU):
    """At zero, too, all derivatives on the side of PyTorch's gradient, whose own derivative is on the other one."""

    def forward(self, input: Tensor) -> Tensor:
        slopes = self.weight.view(-1, *[1] * (input.dim() - 2)) if len(self.weight) > 1 else self.weight
        return torch.where(input > 0, input, slopes * input)


def _row(entry: Tensor, inputs: list[Any]) -> Tensor:
    if not entry.requires_grad:
        return torch.zeros(sum(p.numel() for p in inputs), dtype=torch.float64)
    found = torch.autograd.grad(entry, inputs, retain_graph=True, allow_unused=True)
    return _flat(found, inputs).detach()


def _flat(found: Any, inputs: list[Any]) -> Tensor:
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in zip(found, inputs, strict=True)])


def call(model: nn.Module, batch: Any) -> Any:
    """The model's output on a batch of a program."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own, about checkpoints
        if isinstance(batch, dict):
            return model(**{k: v for k, v in batch.items() if k != "labels"})
        inputs = batch[0]
        if isinstance(inputs, dict):
            return model(**inputs)
        return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def loss(program: Program, model: nn.Module, batch: Any) -> Tensor:
    """As the program's author computes it."""
    return program.loss_fn(model, batch) if program.of_model else program.loss_fn(call(model, batch), _target(batch))


def _target(batch: Any) -> Tensor:
    target: Tensor = batch["labels"] if isinstance(batch, dict) else batch[1]
    return target


def _double(data: Any) -> Any:
    """In float64, and copied: layers in place write over their inputs."""
    if isinstance(data, Tensor):
        return data.double().clone() if data.is_floating_point() else data
    if isinstance(data, dict):
        return {k: _double(v) for k, v in data.items()}
    return tuple(_double(v) for v in data)
