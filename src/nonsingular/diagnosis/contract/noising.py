"""Noise that a program adds to a signal: by a factor that is a variance where a deviation is meant."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from nonsingular.diagnosis.arithmetic import ADDED, POWERS, PRODUCTS, QUOTIENTS, in_place
from nonsingular.diagnosis.contract.scene import Scene
from nonsingular.diagnosis.contract.trace import Op
from nonsingular.diagnosis.records import Statistic

NOISES = {"randn", "randn_like", "normal", "normal_"}
MULTIPLYING = PRODUCTS | in_place(PRODUCTS) | {"addcmul", "addcmul_"}
ADDING = ADDED | in_place(ADDED) | {"sum", "addcmul", "addcmul_"}
SQUARES = POWERS | PRODUCTS | QUOTIENTS | {"square"}
ENTRIES = 3  # of a sample, from where two factors are overdetermined
LOOKED_AT = 256  # samples, and entries of each, at most
EXACT = 1e-4  # of a mixture's size: the rest that rounding leaves
VARIED = 0.05  # deviation of the factors, from where a relation between them is no chance
ROOT = "A factor is a variance where its root is meant: a.sqrt() * signal + (1 - a).sqrt() * noise."
WORDS = "by how much the variances of signal and noise, of one each, do not add up to one"


@dataclass(frozen=True)
class Mixture:
    """A tensor that is a signal times one factor plus noise times another, both a number a sample.

    Attributes:
        signal, noise: the factors, ``[sample]``.
    """

    signal: Tensor
    noise: Tensor


def mixture(mixed: Tensor, signal: Tensor, noise: Tensor) -> Mixture | None:
    """The factors by which a tensor is made of two others; None where it is not made so.

    >>> x, e = torch.randn(4, 8), torch.randn(4, 8)
    >>> found = mixture(0.6 * x + 0.8 * e, x, e)
    >>> [round(float(f[0]), 3) for f in (found.signal, found.noise)]
    [0.6, 0.8]
    """
    if not mixed.shape == signal.shape == noise.shape or mixed.ndim < 2 or mixed[0].numel() < ENTRIES:
        return None
    stride = max(1, mixed[0].numel() // LOOKED_AT)
    rows = [t.detach()[:LOOKED_AT].flatten(1)[:, ::stride].double() for t in (mixed, signal, noise)]
    parts = torch.stack(rows[1:], 2)
    solved = torch.linalg.lstsq(parts, rows[0][..., None]).solution
    rest = (parts @ solved)[..., 0] - rows[0]
    if not bool(torch.isfinite(solved).all()) or float(rest.norm()) > EXACT * float(rows[0].norm()):
        return None
    return Mixture(solved[:, 0, 0], solved[:, 1, 0])


def wrong_power(mixtures: Sequence[Mixture], tables: Sequence[Tensor] = ()) -> float | None:
    """By how much variances do not add up to one; None unless a factor is seen to be a variance.

    Factors whose squares add up to one keep the variance, a factor of one for the signal lets it grow, and factors that
    add up to one go straight from one to the other: all of these are meant. One factor that is one minus the *square*
    of the other is a variance in the place of a deviation. Both are where the signal's are products of a table in
    sight, as what is left of a variance is.

    Args:
        mixtures: of several samples at several strengths.
        tables: one-dimensional, in sight.

    >>> a = torch.linspace(0.1, 0.9, 9)
    >>> wrong_power([Mixture(a.sqrt(), (1 - a).sqrt())]), wrong_power([Mixture(a, 1 - a)])
    (None, None)
    >>> wrong_power([Mixture(a.sqrt(), 1 - a)]) > 0.1
    True
    """
    a, b = (torch.cat([getattr(m, what) for m in mixtures]) for what in ("signal", "noise"))
    if len(a) < 4 or min(float(a.std()), float(b.std())) < VARIED or bool((a < -EXACT).any() or (b < -EXACT).any()):
        return None

    def holds(difference: Tensor) -> bool:
        return float(difference.abs().max()) < 10 * EXACT

    one_of_them = holds(b - (1 - a**2)) or holds(a - (1 - b**2))
    both = holds(a + b - 1) and any(_among(x, t) for x in (a, b) for t in tables if _of_products(t, tables))
    return float((a**2 + b**2 - 1).abs().max()) if one_of_them or both else None


def _of_products(table: Tensor, tables: Sequence[Tensor]) -> bool:
    """Whether its entries are the products of another table's up to there, or of one minus those."""
    t = table.detach().double()
    others = [u.detach().double() for u in tables if u is not table and u.shape == t.shape and len(t) > ENTRIES]
    return any(torch.allclose(factors.cumprod(0), t, rtol=1e-3) for u in others for factors in (u, 1 - u))


def _among(values: Tensor, table: Tensor) -> bool:
    t = table.detach().double().to(values.device)
    return bool(((values[:, None] - t[None]).abs().amin(1) < 10 * EXACT).all())


def noised(scene: Scene) -> Statistic:
    """By how much variances of a signal and of noise that the model itself mixes do not add up to one."""
    drawn = _drawn(scene)
    if not drawn:
        return Statistic(math.nan, (), WORDS)
    signals = [t for t in _inputs(scene) if t.is_floating_point() and t.ndim > 1]
    for op in scene.trace.ops:
        if op.name not in ADDING or not isinstance(op.out, Tensor):
            continue
        for noise in drawn:
            found = [m for x in signals if (m := mixture(op.out, x, noise)) is not None]
            wrong = wrong_power(found[:1], _tables(scene)) if found else None
            if wrong is not None:
                return Statistic(wrong, op.layers, WORDS, op.where, remedy=ROOT)
    return Statistic(0.0, (), WORDS)


def reparameterised(scene: Scene) -> Statistic:
    """Whether noise is multiplied by the exponential that the loss takes for a variance."""
    words = "noise is multiplied by the exponential that the loss has for the noise's variance"
    drawn = {id(t) for t in _drawn(scene)}
    products = [op for op in scene.trace.ops if op.name in MULTIPLYING and any(id(t) in drawn for t in op.tensors)]
    for op in products:
        for scale in (t for t in op.tensors if id(t) not in drawn and t.requires_grad and t.ndim):
            source = scene.trace.source(scale)
            if source is None or source.name != "exp":
                continue
            taken = [t for t in _exponentials(scene) if t.shape == scale.shape]
            if any(torch.allclose(t, scale**2, rtol=1e-4) for t in taken if t is not scale):
                return Statistic(0.0, (), words)
            same = [t for t in taken if torch.allclose(t, scale, rtol=1e-5)]
            if any(_added(scene.trace.ops, t) for t in same) and not any(_squared(scene.trace.ops, t) for t in same):
                remedy = "Multiply the noise by the deviation: torch.exp(0.5 * log_variance) * noise."
                sizes = float(scale.detach().mean()), float(scale.detach().sqrt().mean())
                evidence = ({"measure": "mean factor of the noise", "value": sizes[0]},
                            {"measure": "of the root of that variance", "value": sizes[1]})  # fmt: skip
                return Statistic(1.0, op.layers, words, op.where, evidence, remedy)
    return Statistic(0.0 if products else math.nan, (), words)


def _drawn(scene: Scene) -> list[Tensor]:
    return [op.out for op in scene.trace.ops if op.name in NOISES and isinstance(op.out, Tensor) and op.out.ndim > 1]


def _inputs(scene: Scene) -> list[Tensor]:
    return [t for t in tree_leaves((scene.batch.inputs, scene.batch.target)) if isinstance(t, Tensor)]


def _tables(scene: Scene) -> list[Tensor]:
    model = scene.task.model
    held = [*model.buffers(), *(x for m in model.modules() for x in vars(m).values() if isinstance(x, Tensor))]
    return [t for t in held if t.ndim == 1 and t.is_floating_point()]


def _exponentials(scene: Scene) -> list[Tensor]:
    return [op.out for op in scene.trace.ops if op.name == "exp" and isinstance(op.out, Tensor)]


def _added(ops: Sequence[Op], x: Tensor) -> bool:
    return any(op.name in ADDING and any(t is x for t in op.tensors) for op in ops)


def _squared(ops: Sequence[Op], x: Tensor) -> bool:
    """Whether a tensor is multiplied by itself, raised to a power, or divided by: a deviation is used so."""
    return any(
        op.name in SQUARES and sum(t is x for t in op.tensors) >= (2 if op.name in MULTIPLYING else 1) for op in ops
    )
