r"""How the batches' losses add up to the whole set's, proved on the loss itself.

A loss that averages, over samples, tokens, pixels that are not ignored, or by class weights, has a denominator that
only its author knows. But two parts and their union tell it: if :math:`\ell` is a mean with weights w, then
:math:`(w_A + w_B)\,\ell_{AB} = w_A \ell_A + w_B \ell_B`, at any weights of the model. So rules are held against
this at a point away from the centre, where nothing is equal by symmetry, and a rule that fails is no rule.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nonsingular.errors import InputError
from nonsingular.objective.data import TARGETS, Batch, count, valid
from nonsingular.objective.failures import FAILURES
from nonsingular.objective.trees import NotAlike, merge, tensors, tree_map

if TYPE_CHECKING:
    from nonsingular.objective.objective import Objective

NAMES = ("samples", "tokens", "equal")
SINGLE = torch.finfo(torch.float32).eps
Rule = Callable[[Batch], "float | None"]


@dataclass(frozen=True)
class Union:
    """Two parts of the data, their losses, and the loss of both together."""

    parts: tuple[Batch, Batch]
    losses: tuple[float, float]
    together: float
    eps: float

    def allows(self, expected: float, eps: float = SINGLE) -> bool:
        """Whether the union's loss is ``expected`` but for rounding, in float32 somewhere for all we know."""
        scale = abs(self.together) + sum(map(abs, self.losses))
        return abs(self.together - expected) <= 4 * eps**0.75 * scale

    def obeys(self, rule: Rule, eps: float) -> bool:
        """Whether the loss is a mean with the weights of ``rule``."""
        a, b = (rule(part) for part in self.parts)
        if a is None or b is None or not a + b > 0:
            return False
        return self.allows((a * self.losses[0] + b * self.losses[1]) / (a + b), eps)

    @property
    def of_rows(self) -> bool:
        """Whether the parts differ in nothing but the number of rows, so that the union is what it would be by hand."""
        a, b = ([t.shape[1:] for t in tensors(part.whole)] for part in self.parts)
        return a == b

    @property
    def ratio(self) -> float:
        """Weight of the second part over that of the first, if the loss is a mean; NaN where it cannot be told."""
        first, second = self.losses
        if self.allows(first, self.eps) and self.allows(second, self.eps):
            return float("nan")
        return (self.together - first) / (second - self.together) if second != self.together else float("inf")


def rules(objective: Objective) -> dict[str, Rule]:
    """``samples`` and ``tokens``: what a batch weighs by its target."""
    ignore = getattr(objective.loss_fn, "ignore_index", -100)
    shift = int(skips_first(objective, ignore))
    return {"samples": count, "tokens": lambda batch: valid(batch, ignore, shift)}


@contextmanager
def trying() -> Iterator[None]:
    """Within: warnings about shapes are not shown; parts of a batch may be cut where they should not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def determine(objective: Objective, wanted: str | Callable[[Any], float] | None) -> tuple[list[float], Rule | None]:
    """What each batch weighs, by the rule that is wanted or else by one that is proved; and that rule, if any.

    Raises:
        InputError: weights that are no numbers, or no rule to be told.
    """
    batches = objective.batches
    if callable(wanted):
        return _usable([wanted(b.whole) for b in batches], "the function"), lambda b: wanted(b.whole)
    if wanted == "equal":
        return [1.0] * len(batches), None
    known = rules(objective)
    if wanted is not None:
        return _usable([known[wanted](b) for b in batches], f"{wanted!r}"), known[wanted]
    with trying():
        evidence = _evidence(objective, known)
        if not evidence.proves and (calm := objective.calm()) is not None:  # samples of a union mix in train mode
            other = _evidence(calm, known)
            evidence = other if other.unions else evidence
        return evidence.measured or _concluded(evidence, known)


@dataclass(frozen=True)
class _Evidence:
    """What unions tell of an objective in its mode: which rules they obey, or else the weights, and that rule."""

    objective: Objective
    unions: list[Union]
    across: bool  # whether they are of batches, not of parts of one
    obeyed: list[str]
    measured: tuple[list[float], None] | None = None

    @property
    def proves(self) -> bool:
        """Whether there is a rule, or weights, that they tell."""
        return bool(self.obeyed or self.measured)


def _evidence(objective: Objective, known: dict[str, Rule]) -> _Evidence:
    unions = across = list(_across(objective, 1))
    if len(across) < len(objective.batches) - 1:  # some cannot be joined
        unions = across = []
    obeyed = _obeyed(known, across)
    if across and not obeyed and (measured := _measured(across, list(_across(objective, 2)))) is not None:
        return _Evidence(objective, unions, True, [], (measured, None))
    if not obeyed and not any(u.of_rows for u in across):
        unions = list(_within(objective))
        obeyed = _obeyed(known, unions)
    if unions and all(u.allows(sum(u.losses)) for u in unions) and not obeyed:
        raise InputError("the loss adds up over samples instead of averaging: give reduction='sum'")
    return _Evidence(objective, unions, bool(across), obeyed)


def _concluded(evidence: _Evidence, known: dict[str, Rule]) -> tuple[list[float], Rule | None]:
    objective, obeyed = evidence.objective, evidence.obeyed
    batches = objective.batches
    shares = {n: c for n in (obeyed or known) if (c := _shares([known[n](b) for b in batches])) is not None}
    if obeyed:
        shares = _narrowed(objective, known, shares, evidence.across)
    first = next(iter(shares), "")
    agree = _agree(shares)
    no_mean = bool(evidence.unions and not obeyed)
    if len(batches) == 1:
        return [1.0], known[first] if agree and not no_mean else None
    if agree and (not no_mean or _close(shares[first], [1 / len(batches)] * len(batches))):
        return shares[first], known[first]
    if not shares and _of_one_shape(batches):
        return [1.0] * len(batches), None
    raise InputError(_ask(objective, known, no_mean))


def _agree(shares: dict[str, list[float]]) -> bool:
    every = list(shares.values())
    return bool(every) and all(_close(c, every[0]) for c in every)


def _narrowed(
    objective: Objective, known: dict[str, Rule], shares: dict[str, list[float]], across: bool
) -> dict[str, list[float]]:
    """Of rules that are all obeyed, but differ, those that go on to be obeyed where losses differ more."""
    for size, parts in ((3.0, across), (0.3, False), (3.0, False)):
        if _agree(shares):
            break
        unions = list(_across(objective, 1, size) if parts else _within(objective, size))
        found = _obeyed({n: known[n] for n in shares}, unions)
        shares = {n: shares[n] for n in found} or shares
    return shares


def _obeyed(known: dict[str, Rule], unions: Sequence[Union]) -> list[str]:
    """Rules that all unions obey: exactly, if there are any, else as far as float32 tells."""
    for single in (False, True):
        found = [n for n, rule in known.items() if all(u.obeys(rule, SINGLE if single else u.eps) for u in unions)]
        if unions and found:
            return found
    return []


def _ask(objective: Objective, known: dict[str, Rule], no_mean: bool) -> str:
    said = []
    for name, rule in known.items():
        weights = [rule(b) for b in objective.batches[:3]]
        if None not in weights:
            said.append(f"by {name} " + " : ".join(f"{w:g}" for w in weights if w is not None))
    why = "the loss of two batches together is no mean of theirs, so " if no_mean else ""
    how = f" ({', or '.join(said)})" if said else ""
    return (
        f"{why}what each batch weighs in the whole loss is not clear{how}: give weights='samples', 'tokens', 'equal' "
        "or a function batch -> weight"
    )


def _measured(first: Sequence[Union], second: Sequence[Union]) -> list[float] | None:
    """Weights by the unions with batch 0 themselves, if two points of weight space agree on them."""
    if not first or len(first) != len(second):
        return None
    weights = [1.0]
    for u, v in zip(first, second, strict=True):
        if not (0 <= u.ratio < float("inf")) or abs(u.ratio - v.ratio) > 100 * u.eps**0.75 * (1 + u.ratio):
            return None
        weights.append(u.ratio)
    return weights


def _across(objective: Objective, seed: int, size: float = 0.3) -> Iterator[Union]:
    """Unions of batch 0 and each other, joined behind the model if the loss is a function of outputs, else before."""
    first, *rest = objective.batches
    away = objective.off_centre(seed, size)
    try:
        if objective.form != "output":
            yield from (_evaluated(objective, away, (first, b), first.joined(b)) for b in rest)
            return
        output = objective.output(objective.off_centre(0), first)
        for batch in rest:
            yield _union(objective, (first, batch), (output, objective.output(away, batch)))
    except (NotAlike, *FAILURES):
        return


def _evaluated(objective: Objective, state: Any, parts: tuple[Batch, Batch], union: Batch) -> Union:
    a, b, both = (_number(objective.loss(state, x)) for x in (*parts, union))
    if not all(map(math.isfinite, (a, b, both))):
        raise NotAlike
    return Union(parts, (a, b), both, torch.finfo(objective.dtype).eps)


def _union(objective: Objective, parts: tuple[Batch, Batch], outputs: tuple[Any, Any]) -> Union:
    triples = [
        (outputs[0], parts[0].target),
        (outputs[1], parts[1].target),
        (merge(*outputs), merge(parts[0].target, parts[1].target)),
    ]
    try:  # float64 tells more rules apart
        first, second, both = (_number(objective.of_output(_precise(o), _precise(t))) for o, t in triples)
        eps = torch.finfo(torch.float64).eps
    except FAILURES:
        first, second, both = (_number(objective.of_output(o, t)) for o, t in triples)
        eps = torch.finfo(objective.dtype).eps
    return Union(parts, (first, second), both, eps)


def _within(objective: Objective, size: float = 0.3) -> Iterator[Union]:
    """Each batch as the union of its first third and the rest."""
    state = objective.off_centre(1, size)
    for batch in objective.batches:
        third = max(1, batch.samples // 3)
        if batch.samples < 2:
            continue
        parts = batch.take(slice(0, third), third), batch.take(slice(third, None), batch.samples - third)
        try:
            yield _evaluated(objective, state, parts, batch)
        except (NotAlike, *FAILURES):
            continue


def _number(loss: Tensor) -> float:
    return float(loss.detach())


def _precise(tree: Any) -> Any:
    """In float64."""
    return tree_map(lambda t: t.detach().double() if t.is_floating_point() else t.detach(), tree)


def skips_first(objective: Objective, ignore: int = -100) -> bool:
    """Whether the loss does not look at the first entry of each target's row, as causal language models do not.

    >>> import torch
    >>> import nonsingular as ns
    >>> objective = ns.Objective(torch.nn.Linear(3, 2), None, (torch.zeros(4, 3), torch.zeros(4).long()))
    >>> ns.objective.skips_first(objective)
    False
    """
    batch = objective.batches[0]
    target = batch.target
    if not isinstance(target, Tensor) or target.dim() < 2 or target.is_floating_point() or target.dtype == torch.bool:
        return False
    seen = (target[..., 0] != ignore) & (target[..., 0] >= 0)
    if not seen.any() or target.shape[-1] < 2:
        return False
    other = target.clone()
    other[..., 0] = torch.where(seen, (target[..., 0] == 0).to(target.dtype), target[..., 0])

    inputs = batch.inputs
    if isinstance(inputs, Mapping):
        inputs = {k: other if k in TARGETS and v.shape == other.shape else v for k, v in inputs.items()}
    changed = replace(batch, inputs=inputs, target=other)
    state = objective.off_centre(1)
    try:
        return bool(objective.loss(state, changed) == objective.loss(state, batch))
    except FAILURES:
        return False


def _shares(weights: Sequence[float | None]) -> list[float] | None:
    found = [float(w) for w in weights if w is not None]
    return [w / sum(found) for w in found] if len(found) == len(weights) and sum(found) > 0 else None


def _close(a: Sequence[float], b: Sequence[float]) -> bool:
    return all(abs(x - y) <= 1e-12 for x, y in zip(a, b, strict=True))


def _of_one_shape(batches: Sequence[Batch]) -> bool:
    return len({tuple(t.shape for t in tensors(b.whole)) for b in batches}) == 1


def _usable(weights: Sequence[Any], whose: str) -> list[float]:
    try:
        found = [float(w) for w in weights]
    except (TypeError, ValueError):
        raise InputError(f"weights: {whose} gives {weights[0]!r} for a batch, not a number; give a function") from None
    if not all(0 <= w < float("inf") for w in found) or not sum(found) > 0:
        raise InputError(f"weights: {whose} must give numbers of at least 0, not all 0; got {found[:5]}")
    return found
