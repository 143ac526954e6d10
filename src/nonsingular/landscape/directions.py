"""Directions in weight space along which a loss is looked at: one tensor for every weight that moves.

A direction is a dictionary from names of ``model.state_dict()`` to tensors; weights it does not name stay where they
are. Random directions leave biases and normalisation parameters alone unless they are asked to ``keep`` them
(Li et al. 2018, section 4: only then do surfaces of rescaled networks agree).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from nonsingular.curvature import Hessian, Lanczos
from nonsingular.curvature.problem import Loss
from nonsingular.errors import InputError

Direction = dict[str, Tensor]
State = Mapping[str, Tensor]

NORMALISATIONS = ("filter", "layer", "none")
VECTORS = ("bias", "norm")
"""Kinds of parameters that random directions leave out unless kept: biases and other vectors, and normalisation's."""

_NORMS = (
    nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm, nn.RMSNorm,
)  # fmt: skip
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def gaussian(
    model: nn.Module, seed: int, *, normalise: str = "filter", keep: Sequence[str] = (), only: Sequence[str] = ()
) -> Direction:
    """A random Gaussian direction, scaled to the weights it perturbs (li2018 section 4).

    Drawn on the CPU in the order of the parameters, so that one seed is one direction on every device, whatever the
    values of the weights and whatever is kept.

    Args:
        model: its parameters give the shapes, and the norms to scale to.
        seed: of the draw.
        normalise: ``filter`` (each filter's direction gets the norm of the filter: for a linear layer the weights of
            one unit), ``layer`` (each parameter's the norm of the parameter) or ``none``.
        keep: ``bias`` and ``norm`` to move biases (and other vectors) and normalisation parameters as well; each such
            vector counts as one filter.
        only: prefixes of parameter names: the others stay where they are. Empty for all.

    Raises:
        InputError: unknown normalisation or kind, or nothing left to move.
    """
    kinds = _kinds(model)
    _known(keep)
    generator = torch.Generator().manual_seed(seed)
    drawn: Direction = {}
    for name, p in model.named_parameters():
        draw = torch.randn(p.shape, generator=generator)  # drawn for all, so that none shifts the others
        moves = kinds[name] == "weight" or kinds[name] in keep
        if moves and p.is_floating_point() and (not only or name.startswith(tuple(only))):
            drawn[name] = draw.to(p.device, p.dtype)
    if not drawn:
        what = f" below {', '.join(only)}" if only else ""
        raise InputError(f"no weights to move{what}: the model has {', '.join(list(kinds)[:8]) or 'no parameters'}")
    return normalised(drawn, model, normalise)


def normalised(direction: Direction, model: nn.Module, how: str) -> Direction:
    """The direction with each filter's (or layer's) part scaled to the norm of the weights it moves.

    Args:
        direction: name -> tensor of the parameter's shape; buffers are left as they are.
        model: whose weights give the norms. The part of a zero filter is zero.
        how: ``filter``, ``layer`` or ``none``.

    Raises:
        InputError: unknown normalisation.
    """
    if how not in NORMALISATIONS:
        raise InputError(f"unknown normalisation {how!r}; there are {', '.join(NORMALISATIONS)}")
    if how == "none":
        return dict(direction)
    parameters = dict(model.named_parameters())
    transposed = {f"{n}.weight" for n, m in model.named_modules() if isinstance(m, _TRANSPOSED)}
    scaled = dict(direction)
    for name, d in direction.items():
        if name in parameters:
            axes = _filter_axes(d, name in transposed) if how == "filter" else tuple(range(d.dim()))
            ours, theirs = (_norm(t, axes) for t in (d, parameters[name].detach()))
            scaled[name] = d * torch.where(ours > 0, theirs / ours.clamp_min(torch.finfo(d.dtype).tiny), 0.0)
    return scaled


def between(start: State | nn.Module, end: State | nn.Module) -> Direction:
    """The difference of two solutions: 0 is ``start``, 1 is ``end``, running statistics of batch norm included.

    Args:
        start: a model or its state dictionary.
        end: likewise, of the same architecture.

    Raises:
        InputError: the two do not have the same names and shapes, or they are equal.
    """
    a, b = _state(start), _state(end)
    same_architecture([a, b])
    found = {n: (b[n] - t).detach() for n, t in a.items() if t.is_floating_point()}
    if not any(d.any() for d in found.values()):
        raise InputError("the two solutions are equal: there is no direction between them")
    return found


@dataclass(frozen=True)
class Path:
    """A trajectory of checkpoints in the plane that holds most of it.

    Attributes:
        directions: orthonormal over all moved weights, the direction of largest variance first.
        coordinates: of each checkpoint, measured from the centre.
        explained: share of the trajectory's variance along each direction, in [0, 1].
    """

    directions: tuple[Direction, ...]
    coordinates: Float[np.ndarray, "checkpoint direction"]
    explained: Float[np.ndarray, " direction"]


def principal(states: Sequence[State], model: nn.Module, *, count: int = 2, keep: Sequence[str] = VECTORS) -> Path:
    """Principal components of a training run (li2018 section 7): of all checkpoints minus the last one.

    Solved in the space of checkpoints, which are few, not in that of weights.

    Args:
        states: state dictionaries of the checkpoints in their order; the last is the centre of the coordinates.
        model: tells parameters from buffers, which stay at the last checkpoint's.
        count: directions wanted.
        keep: ``bias`` and ``norm`` to move biases and normalisation parameters too, as training did.

    Raises:
        InputError: too few or equal checkpoints, or checkpoints of different architectures.
    """
    if len(states) <= count:
        raise InputError(f"{count} principal directions need at least {count + 1} checkpoints, got {len(states)}")
    same_architecture(states)
    _known(keep)
    kinds = _kinds(model)
    names = [n for n, kind in kinds.items() if n in states[-1] and (kind == "weight" or kind in keep)]
    rows = [torch.cat([(s[n] - states[-1][n]).flatten().double() for n in names]) for s in states]
    offsets = torch.stack(rows)
    centred = offsets - offsets.mean(0)
    values, vectors = torch.linalg.eigh(centred @ centred.T)
    values, vectors = values.flip(0), vectors.flip(1)
    if not values[count - 1] > len(states) * torch.finfo(torch.float64).eps * values[0].clamp_min(1e-300):
        raise InputError(f"the checkpoints do not span {count} directions: are some of them equal?")
    basis = (centred.T @ vectors[:, :count] / values[:count].sqrt()).T  # [direction, weight]
    # Of either sign of an eigenvector, the one in which training comes from the positive side.
    basis *= torch.where(basis @ offsets[0] < 0, -1.0, 1.0)[:, None]
    shapes = [states[-1][n] for n in names]
    return Path(
        tuple(_unflatten(b, names, shapes) for b in basis),
        (offsets @ basis.T).numpy(),
        (values[:count] / values.clamp_min(0).sum()).numpy(),
    )


def eigenvectors(
    model: nn.Module,
    loss_fn: Loss,
    batches: Iterable[tuple[Any, Any]],
    *,
    count: int = 2,
    steps: int = 30,
    seed: int = 0,
) -> tuple[list[Direction], Float[np.ndarray, " direction"]]:
    """Directions of largest absolute curvature: eigenvectors of the Hessian, by Lanczos, of norm 1.

    Args:
        model: in evaluation mode.
        loss_fn: (model output, target) -> scalar.
        batches: (inputs, target) pairs.
        count: directions wanted.
        steps: products of the Hessian; the extreme eigenvectors converge first.
        seed: of the start vector.

    Returns:
        The directions, largest absolute eigenvalue first, and the eigenvalues.

    Raises:
        InputError: as ``curvature.Hessian``; fewer than ``count`` parameters.
    """
    H = Hessian(model, loss_fn, batches)
    if H.shape[0] < count:
        raise InputError(f"a model of {H.shape[0]} parameters has no {count} eigenvectors")
    generator = torch.Generator().manual_seed(seed)
    process = Lanczos(H, torch.randn(H.shape[0], generator=generator))
    process.extend(max(steps, count))
    values = process.ritz()[0]
    largest = np.argsort(-np.abs(values))[:count]
    columns = process.ritz_vectors(largest)
    named = H.problem.names
    found = [
        dict(zip(named, (t.detach().clone() for t in H.problem.split(column.contiguous())), strict=True))
        for column in columns.T
    ]
    return found, values[largest]


def cosine(a: Direction, b: Direction) -> float:
    """Cosine of the angle between two directions, in [-1, 1]; 0 where either is zero."""
    names = a.keys() & b.keys()
    inner = sum(float((a[n].double() * b[n].double()).sum()) for n in names)
    length = norm(a) * norm(b)
    return inner / length if length > 0 else 0.0


def norm(direction: Direction) -> float:
    """Euclidean norm over all its weights."""
    return float(sum(t.double().square().sum() for t in direction.values())) ** 0.5


def same_architecture(states: Sequence[State]) -> None:
    """Refuse state dictionaries that do not hold the same tensors.

    Raises:
        InputError: names or shapes differ; the message names the first that does.
    """
    first = states[0]
    for i, state in enumerate(states[1:], 2):
        for name in [*first, *state]:
            shapes = [tuple(s[name].shape) if name in s else "nothing" for s in (first, state)]
            if shapes[0] != shapes[1]:
                raise InputError(f"checkpoints 1 and {i} differ in {name}: {shapes[0]} and {shapes[1]}")


# --- parts --------------------------------------------------------------------------------------------------


def _kinds(model: nn.Module) -> dict[str, str]:
    """Parameter name -> ``weight``, ``bias`` (any other vector or scalar counts as one) or ``norm``."""
    norms = {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        if isinstance(module, _NORMS)
        for name, _ in module.named_parameters(recurse=False)
    }
    return {n: "norm" if n in norms else "bias" if p.dim() <= 1 else "weight" for n, p in model.named_parameters()}


def _known(keep: Sequence[str]) -> None:
    for kind in keep:
        if kind not in VECTORS:
            raise InputError(f"unknown kind of parameters {kind!r} to keep; there are {', '.join(VECTORS)}")


def _filter_axes(tensor: Tensor, transposed: bool) -> tuple[int, ...]:
    if tensor.dim() <= 1:
        return tuple(range(tensor.dim()))
    output = 1 if transposed else 0
    return tuple(axis for axis in range(tensor.dim()) if axis != output)


def _norm(tensor: Tensor, axes: tuple[int, ...]) -> Tensor:
    return tensor.square().sum(axes, keepdim=True).sqrt() if axes else tensor.abs()


def _state(of: State | nn.Module) -> State:
    return of.state_dict() if isinstance(of, nn.Module) else of


def _unflatten(vector: Tensor, names: Sequence[str], like: Sequence[Tensor]) -> Direction:
    parts = vector.split([t.numel() for t in like])
    return {n: v.view(t.shape).to(t.dtype) for n, v, t in zip(names, parts, like, strict=True)}
