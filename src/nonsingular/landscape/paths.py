"""The plane that holds most of a training run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from nonsingular import checks
from nonsingular.checks import checked
from nonsingular.errors import InputError
from nonsingular.landscape.directions import VECTORS, kinds_of, known, same_architecture
from nonsingular.landscape.fitting import Direction, fitted, precise
from nonsingular.weights import Weights, state_of
from nonsingular.words import counted


@dataclass(frozen=True)
class Path:
    """A trajectory of checkpoints in the plane that holds most of it.

    Attributes:
        directions: orthonormal over all moved weights, the direction of largest variance first.
        coordinates: of each checkpoint, measured from the centre.
        explained: share of the trajectory's variance along each direction, in [0, 1].
        distances: of each checkpoint from the plane, Euclidean over all moved weights, in the units of coordinates.

    >>> import torch
    >>> import nonsingular as ns
    >>> states = [torch.nn.Linear(3, 2) for _ in range(4)]
    >>> path = ns.landscape.principal(states, states[-1])
    >>> path.coordinates.shape, bool(path.explained.sum() <= 1 + 1e-6)
    ((4, 2), True)
    """

    directions: tuple[Direction, ...]
    coordinates: Float[np.ndarray, "checkpoint direction"]
    explained: Float[np.ndarray, " direction"]
    distances: Float[np.ndarray, " checkpoint"]


@checked
def principal(states: Sequence[Weights], model: nn.Module, *, count: int = 2, keep: Sequence[str] = VECTORS) -> Path:
    """Principal components of a training run (li2018 section 7): of all checkpoints minus the last one.

    Solved in the space of checkpoints, which are few, not in that of weights.

    Args:
        states: the checkpoints in their order, each a module, a state dictionary, a file or a flat vector; the last is
            the centre of the coordinates.
        model: tells parameters from buffers, which stay at the last checkpoint's.
        count: directions wanted.
        keep: ``bias`` and ``norm`` to move biases and normalisation parameters too, as training did.

    Raises:
        InputError: too few or equal checkpoints, or checkpoints of different architectures.

    >>> import torch
    >>> import nonsingular as ns
    >>> states = [torch.nn.Linear(3, 2) for _ in range(4)]
    >>> ns.landscape.principal(states, states[-1]).coordinates[-1].round(6).tolist()  # the last one is the origin
    [0.0, 0.0]
    """
    checks.at_least(1, count=count)
    if len(states) <= count:
        wanted = counted(count, "principal direction")
        raise InputError(f"for {wanted} give at least {count + 1} checkpoints, got {len(states)}")
    named = [state_of(s, model) for s in states]
    same_architecture(named)
    known(keep)
    kinds = kinds_of(model)
    names = [n for n, kind in kinds.items() if n in named[-1] and (kind == "weight" or kind in keep)]
    offsets = torch.stack(
        [torch.cat([(s[n].double() - named[-1][n].double()).flatten().cpu() for n in names]) for s in named]
    )
    centred = offsets - offsets.mean(0)
    values, vectors = torch.linalg.eigh(centred @ centred.T)
    values, vectors = values.flip(0), vectors.flip(1)
    if not values[count - 1] > len(states) * torch.finfo(torch.float64).eps * values[0].clamp_min(1e-300):
        raise InputError(f"the checkpoints do not span {counted(count, 'direction')}: are some of them equal?")
    basis = (centred.T @ vectors[:, :count] / values[:count].sqrt()).T  # [direction, weight]
    # Of either sign of an eigenvector, the one in which training comes from the positive side.
    basis *= torch.where(basis @ offsets[0] < 0, -1.0, 1.0)[:, None]
    coordinates = offsets @ basis.T
    return Path(
        tuple(_unflatten(b, names, [named[-1][n] for n in names]) for b in basis),
        coordinates.numpy(),
        (values[:count] / values.clamp_min(0).sum()).numpy(),
        (offsets - coordinates @ basis).norm(dim=1).numpy(),
    )


@checked
def projected(states: Sequence[Weights], model: nn.Module, directions: Sequence[Direction]) -> Path:
    """A training run in a plane that is given: the nearest point of it to each checkpoint (least squares).

    Args:
        states: as in ``principal``; the plane goes through the last.
        model: the architecture.
        directions: of the plane, of any lengths and angle; a flat vector or names to tensors.

    Returns:
        The path: ``coordinates`` are multiples of the directions, ``explained`` the share of the squared distances from
        the last checkpoint that the first direction, and the others beside it, hold.

    Raises:
        InputError: fewer than two checkpoints, checkpoints of different architectures, directions that do not fit the
            model or are parallel.

    >>> import torch
    >>> import nonsingular as ns
    >>> states = [torch.nn.Linear(3, 2) for _ in range(4)]
    >>> x, y = (ns.landscape.gaussian(states[-1], seed) for seed in (0, 1))
    >>> ns.landscape.projected(states, states[-1], [x, y]).coordinates.shape
    (4, 2)
    """
    checks.not_empty(directions=directions)
    if len(states) < 2:
        raise InputError(f"a path needs at least 2 checkpoints, got {len(states)}")
    named = [state_of(s, model) for s in states]
    same_architecture(named)
    names = [n for n, _ in model.named_parameters() if n in named[-1]]
    fits = [fitted(d, model, f"direction {k}") for k, d in enumerate(directions, 1)]
    moving = {n for d in fits for n in d}
    if stray := sorted(moving - set(names)):
        raise InputError(f"a path is projected on weights only: a direction moves {stray[0]}")
    offsets = torch.stack(
        [torch.cat([(s[n].double() - named[-1][n].double()).flatten().cpu() for n in names]) for s in named]
    )
    columns = torch.stack(
        [
            torch.cat([(d[n] if n in d else torch.zeros_like(named[-1][n])).double().flatten().cpu() for n in names])
            for d in fits
        ],
        1,
    )
    Q, R = torch.linalg.qr(columns)
    if not bool((R.diagonal().abs() > 1e-9 * columns.norm(dim=0)).all()):
        raise InputError("the directions are parallel: they span no plane")
    inside = offsets @ Q
    total = offsets.square().sum().clamp_min(torch.finfo(torch.float64).tiny)
    return Path(
        tuple(fits),
        torch.linalg.solve_triangular(R, inside.T, upper=True).T.numpy(),
        (inside.square().sum(0) / total).numpy(),
        (offsets - inside @ Q.T).norm(dim=1).numpy(),
    )


def _unflatten(vector: Tensor, names: Sequence[str], like: Sequence[Tensor]) -> Direction:
    parts = vector.split([t.numel() for t in like])
    return {n: v.view(t.shape).to(t.device, precise(t).dtype) for n, v, t in zip(names, parts, like, strict=True)}
