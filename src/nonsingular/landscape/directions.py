"""Directions in weight space along which a loss is looked at: one tensor for every weight that moves.

A direction is a dictionary from names of ``model.state_dict()`` to tensors; weights it does not name stay where they
are. Random directions leave biases and normalisation parameters alone unless they are asked to ``keep`` them
(Li et al. 2018, section 4: only then do surfaces of rescaled networks agree).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from nonsingular.checks import checked
from nonsingular.curvature import Hessian, eigenpairs
from nonsingular.errors import InputError
from nonsingular.landscape.fitting import Direction, fitted, precise
from nonsingular.objective import Loss, Objective, Options, brought
from nonsingular.objective.models import refuse_unusable
from nonsingular.spelling import spelled
from nonsingular.weights import Weights, state_of
from nonsingular.words import counted, percentage

RELATIVE = ("filter", "layer", "weight")
"""Normalisations to the size of the weights that move."""
NORMALISATIONS = (*RELATIVE, "dfilter", "dlayer", "none")
VECTORS = ("bias", "norm")
"""Kinds of parameters that random directions leave out unless kept: biases and other vectors, and normalisation's."""

_NORMS = (
    nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm, nn.RMSNorm,
)  # fmt: skip
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@checked
def gaussian(
    model: nn.Module,
    seed: int,
    *,
    normalise: str = "filter",
    keep: Sequence[str] = (),
    only: Sequence[str] = (),
    frozen: bool = False,
) -> Direction:
    """A random Gaussian direction, scaled to the weights it perturbs (li2018 section 4).

    Drawn on the CPU in the order of the parameters, so that one seed is one direction on every device, whatever the
    values of the weights and whatever is kept or frozen.

    Args:
        model: its parameters give the shapes, and the norms to scale to.
        seed: of the draw.
        normalise: ``filter`` (each filter's direction gets the norm of the filter: for a linear layer the weights of
            one unit), ``layer`` (each parameter's the norm of the parameter), ``weight`` (each entry is multiplied by
            its weight), ``dfilter`` and ``dlayer`` (each filter's, or parameter's, gets norm 1) or ``none``.
        keep: ``bias`` and ``norm`` to move biases (and other vectors) and normalisation parameters as well; each such
            vector counts as one filter.
        only: prefixes of parameter names: the others stay where they are. Empty for all.
        frozen: move weights that do not require a gradient as well.

    Raises:
        InputError: unknown normalisation or kind, nothing left to move, or nothing to scale to.

    Example:
        >>> import torch
        >>> from nonsingular import landscape
        >>> net = torch.nn.Linear(3, 2)
        >>> direction = landscape.gaussian(net, seed=0)
        >>> direction.keys()
        dict_keys(['weight'])
        >>> torch.allclose(direction["weight"].norm(dim=1), net.weight.norm(dim=1))
        True
    """
    refuse_unusable(model)
    kinds = kinds_of(model)
    known(keep)
    generator = torch.Generator().manual_seed(seed)
    drawn: Direction = {}
    parameters = dict(model.named_parameters())
    for name, p in parameters.items():
        draw = torch.randn(p.shape, generator=generator)  # drawn for all, so that none shifts the others
        wanted = (kinds[name] == "weight" or kinds[name] in keep) and (not only or name.startswith(tuple(only)))
        if wanted and p.is_floating_point():
            drawn[name] = draw.to(p.device, precise(p).dtype)
    trained = {name: d for name, d in drawn.items() if parameters[name].requires_grad}
    if drawn and not trained and not frozen:
        raise InputError(
            "no weights to move: all of them are frozen (requires_grad is False); unfreeze some, or give frozen=True"
        )
    drawn = drawn if frozen else trained
    if not drawn:
        what = f" below {', '.join(only)}" if only else ""
        raise InputError(f"no weights to move{what}: the model has {', '.join(list(kinds)[:8]) or 'no parameters'}")
    return normalised(drawn, model, normalise)


@checked
def normalised(direction: Direction, model: nn.Module, how: str) -> Direction:
    """The direction with each filter's (or layer's) part scaled to the norm of the weights it moves.

    The part of a zero filter is zero. A matrix whose every entry is zero (LoRA's second factor, a readout that starts
    at zero) has no norm to scale to, and would stay where it is; each of its filters (or the layer) gets the norm of
    as many weights of the typical size of those that move: the root mean square over all nonzero matrices.

    Args:
        direction: name -> tensor of the parameter's shape; buffers are left as they are.
        model: whose weights give the norms.
        how: ``filter``, ``layer``, ``weight`` (zero weights then stay), ``dfilter``, ``dlayer`` or ``none``.

    Raises:
        InputError: unknown normalisation, or every weight that moves is zero.

    >>> import torch
    >>> import nonsingular as ns
    >>> model = torch.nn.Linear(3, 2)
    >>> moved = ns.landscape.normalised({"weight": torch.ones(2, 3), "bias": torch.zeros(2)}, model, "filter")
    >>> torch.allclose(moved["weight"].norm(dim=1), model.weight.detach().norm(dim=1))
    True
    """
    if how not in NORMALISATIONS:
        raise InputError(f"unknown normalisation {how!r}; there are {', '.join(NORMALISATIONS)}")
    parameters = dict(model.named_parameters())
    if how == "none":
        return dict(direction)
    if how == "weight":
        return {n: d * precise(parameters[n].detach()) if n in parameters else d for n, d in direction.items()}
    transposed = {f"{n}.weight" for n, m in model.named_modules() if _is_transposed(m)}
    relative = how in RELATIVE
    typical = _typical([parameters[name].detach() for name in direction if name in parameters]) if relative else 1.0
    scaled = dict(direction)
    for name, d in direction.items():
        if name in parameters:
            weights = precise(parameters[name].detach())
            if weights.dim() > 1 and not bool(weights.any()):
                weights = torch.full_like(weights, typical)
            axes = _filter_axes(d, name in transposed) if how.endswith("filter") else tuple(range(d.dim()))
            ours = _norm(d, axes)
            wanted = _norm(weights, axes) if relative else torch.ones_like(ours)
            scaled[name] = d * torch.where(ours > 0, wanted / ours.clamp_min(torch.finfo(d.dtype).tiny), 0.0)
    return scaled


def _is_transposed(module: nn.Module) -> bool:
    """Whether the second axis of its weight counts outputs: transposed convolutions, and GPT-2's linear layers."""
    return isinstance(module, _TRANSPOSED) or type(module).__name__ == "Conv1D"


def _typical(weights: Sequence[Tensor]) -> float:
    """Root mean square over all entries of the matrices that are not zero."""
    matrices = [w for w in weights if w.dim() > 1 and bool(w.any())]
    if not matrices and not any(bool(w.any()) for w in weights):
        raise InputError("every weight that moves is zero: there is no norm to scale to; take normalise='none'")
    total = sum(float(w.double().square().sum()) for w in matrices)
    return math.sqrt(total / max(1, sum(w.numel() for w in matrices)))


@checked
def between(start: Weights, end: Weights, model: nn.Module | None = None) -> Direction:
    """The difference of two solutions: 0 is ``start``, 1 is ``end``, running statistics of batch norm included.

    Args:
        start: a model, its state dictionary, a checkpoint file, or a flat vector.
        end: likewise, of the same architecture.
        model: the architecture, where neither is a module: it gives flat vectors their shapes.

    Raises:
        InputError: the two do not have the same names and shapes, they are equal, or they move a tied weight apart.

    >>> import torch
    >>> import nonsingular as ns
    >>> a, b = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    >>> direction = ns.landscape.between(a, b)
    >>> torch.allclose(direction["weight"], (b.weight - a.weight).detach())
    True
    """
    if model is None:
        model = next((w for w in (start, end) if isinstance(w, nn.Module)), None)
    a, b = state_of(start, model), state_of(end, model)
    same_architecture([a, b])
    found = {n: precise(b[n].to(t.device)) - precise(t) for n, t in a.items() if t.is_floating_point()}
    if not any(bool(d.any()) for d in found.values()):
        raise InputError("the two solutions are equal: there is no direction between them")
    return found if model is None else fitted(found, model, "the direction between the two")


@checked
@spelled
def eigenvectors(
    model: nn.Module | Objective,
    loss_fn: Loss | None,
    batches: Any,
    *,
    count: int = 2,
    steps: int = 500,
    tolerance: float = 1e-3,
    start: int = 0,
    **options: Unpack[Options],
) -> tuple[list[Direction], Float[np.ndarray, " direction"]]:
    """Directions of largest absolute curvature: eigenvectors of the Hessian, of norm 1, by `curvature.eigenpairs`.

    Products are added until every direction v with its eigenvalue c has ``|H v - c v|`` at most ``tolerance |c|``.

    Args:
        model: as in ``landscape.line``.
        loss_fn: as in ``landscape.line``.
        batches: as in ``landscape.line``.
        count: directions wanted.
        steps: products of the Hessian at most.
        tolerance: largest residual, as a share of the eigenvalue.
        start: seed of the start vectors.
        **options: as in ``landscape.line``.

    Returns:
        The directions, largest absolute eigenvalue first, and the eigenvalues.

    Raises:
        InputError: as ``curvature.Hessian``; fewer than ``count`` parameters; not converged after ``steps`` products.

    >>> import torch
    >>> import nonsingular as ns
    >>> model, batch = torch.nn.Linear(3, 2), (torch.randn(8, 3), torch.arange(8) % 2)
    >>> directions, curvatures = ns.landscape.eigenvectors(model, torch.nn.functional.cross_entropy, [batch])
    >>> len(directions), bool(abs(curvatures[0]) >= abs(curvatures[1]))
    (2, True)
    """
    H = Hessian(brought(model, loss_fn, batches, **options))
    if H.shape[0] < count:
        raise InputError(f"a model of {counted(H.shape[0], 'parameter')} has no {counted(count, 'eigenvector')}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what has not converged is refused here
        found = eigenpairs(H, count, tolerance=tolerance, relative="own", max_products=steps, seed=start)
    if not found.converged:
        doubt = found.residuals / found.values.abs().clamp_min(torch.finfo(torch.float64).tiny)
        raise InputError(
            f"not converged in {counted(found.products, 'product')}: {counted(count, 'eigenvector')} (residual "
            f"{percentage(float(doubt.max()))} of the "
            "eigenvalue); give more steps, ask for fewer, or convert the model to float64"
        )
    return found.directions, found.values.numpy()


@checked
def cosine(a: Direction, b: Direction) -> float:
    """Cosine of the angle between two directions, in [-1, 1]; 0 where either is zero.

    >>> import torch
    >>> import nonsingular as ns
    >>> model = torch.nn.Linear(3, 2)
    >>> x = ns.landscape.gaussian(model, 0)
    >>> round(ns.landscape.cosine(x, x), 6)
    1.0
    """
    names = a.keys() & b.keys()
    inner = sum(float((a[n].double() * b[n].double()).sum()) for n in names)
    length = norm(a) * norm(b)
    return inner / length if length > 0 else 0.0


def norm(direction: Direction) -> float:
    """Euclidean norm over all its weights."""
    return float(sum(t.double().square().sum() for t in direction.values())) ** 0.5


def same_architecture(states: Sequence[Mapping[str, Tensor]]) -> None:
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


def kinds_of(model: nn.Module) -> dict[str, str]:
    """Parameter name -> ``weight``, ``bias`` (any other vector or scalar counts as one) or ``norm``."""
    norms = {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        if isinstance(module, _NORMS)
        for name, _ in module.named_parameters(recurse=False)
    }
    return {n: "norm" if n in norms else "bias" if p.dim() <= 1 else "weight" for n, p in model.named_parameters()}


def known(keep: Sequence[str]) -> None:
    """Refuse kinds of parameters that there are not."""
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
