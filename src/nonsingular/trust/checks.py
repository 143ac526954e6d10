"""What is asked of every program, each held against the slow reference: the right number, or one line that refuses."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import nonsingular as ns
from nonsingular import landscape
from nonsingular.curvature import GaussNewton, Hessian, eigenpairs, spectrum, trace
from nonsingular.diagnosis import treatments
from nonsingular.errors import InputError
from nonsingular.trust.programs import Program
from nonsingular.trust.reference import Reference, call, loss

TOLERANCE = {torch.float64: 1e-7}
SINGLE = 5e-3
"""Relative to the largest number that is compared; of everything that is computed in float32."""
LINE = 500
"""Characters that a refusal may have."""


@dataclass
class Verdict:
    """Of one check on one program.

    Attributes:
        check: its name.
        outcome: ``right``, ``refused``, ``wrong``, ``crashed`` or ``beyond`` (the reference has no number to compare).
        detail: the refusal, or what is wrong.
    """

    check: str
    outcome: str
    detail: str = ""


class Wrong(Exception):
    """A number, or a model afterwards, that is not what it should be."""


class Beyond(Exception):
    """There is nothing to compare with."""


@dataclass
class Case:
    """A program, and what several checks want of it."""

    program: Program

    @property
    def tolerance(self) -> float:
        """Of relative differences, by the precision of the weights."""
        return TOLERANCE.get(next(self.program.model.parameters()).dtype, SINGLE)

    @cached_property
    def operator(self) -> Hessian:
        """That is judged: one for all checks, each of which finds it as the one before has left it."""
        return Hessian(self.program.model, self.program.loss_fn, self.program.batches, **self.options())

    @property
    def hessian(self) -> Tensor:
        """Of the reference.

        Raises:
            Beyond: PyTorch cannot differentiate it twice either, or it is not finite.
        """
        if isinstance(self._reference, str):
            raise Beyond(self._reference)
        return self._reference

    @cached_property
    def _reference(self) -> Tensor | str:
        """The matrix, or why there is none."""
        try:
            matrix = Reference(self.program).hessian()
        except (RuntimeError, NotImplementedError, ValueError) as error:
            return str(error).split("\n")[0]
        return matrix if torch.isfinite(matrix).all() else "the reference is not finite"

    def options(self) -> dict[str, Any]:
        """What the program's author would have to say."""
        program = self.program
        several = len(program.batches) > 1 and program.reduction == "mean"
        weights = {"weights": "equal"} if several and program.mass is None else {}
        return {"reduction": program.reduction, "mode": "own", **weights}


def alike(found: Any, expected: Any, tolerance: float, what: str) -> None:
    """Refuse numbers that differ by more than a share of the largest of them."""
    a, b = torch.as_tensor(found).double(), torch.as_tensor(expected).double()
    scale = max(float(b.abs().max()), 1e-12)
    gap = float((a - b).abs().max()) / scale
    if not gap <= tolerance:
        raise Wrong(f"{what} differ by {gap:.1e} of {scale:.3g}")


# --- the checks ---------------------------------------------------------------------------------------------


def products(case: Case) -> None:
    """``H @ v``, of a vector and of a block."""
    H = case.operator
    generator = torch.Generator().manual_seed(2)
    V = torch.randn(H.shape[0], 2, generator=generator, dtype=torch.float64)
    product, block = H @ V[:, 0].to(H.dtype), H @ V.to(H.dtype)
    expected = case.hessian @ V
    alike(product, expected[:, 0], case.tolerance, "H @ v")
    alike(block, expected, case.tolerance, "H @ V")


def gauss_newton(case: Case) -> None:
    """The generalised Gauss-Newton matrix."""
    G = GaussNewton(case.program.model, case.program.loss_fn, case.program.batches, **case.options())
    reference = Reference(case.program)
    if not isinstance(reference.output(reference.batches[0]), Tensor):
        raise Beyond("outputs that are no tensor")
    try:
        expected = reference.gauss_newton()
    except (RuntimeError, NotImplementedError) as error:
        raise Beyond(str(error).split("\n")[0]) from None
    if not torch.isfinite(expected).all():
        raise Beyond("the reference is not finite")
    alike(G.dense(), expected, case.tolerance, "Gauss-Newton matrices")


def counts(case: Case) -> None:
    """Exact counts in a window whose edges lie in gaps of the spectrum."""
    H = case.operator
    found = spectrum(H, window := _window(case), method="exact")
    values = torch.linalg.eigvalsh((case.hessian + case.hessian.T) / 2)
    expected = [int((values < -window).sum()), int((values > window).sum())]
    if [found.negative.count, found.positive.count] != expected:
        raise Wrong(f"counts {found.negative.count}, {found.positive.count} instead of {expected}")


def _window(case: Case) -> float:
    """In the middle of the widest gap between absolute eigenvalues."""
    size = torch.linalg.eigvalsh((case.hessian + case.hessian.T) / 2).abs().sort().values
    size = size[size > 1e-3 * size[-1]]
    if len(size) < 2:
        raise Beyond("no two eigenvalues that differ")
    ratio = size[1:] / size[:-1]
    if float(ratio.max()) < 1.05:
        raise Beyond("no gap between eigenvalues")
    i = int(ratio.argmax())
    return float((size[i] * size[i + 1]).sqrt())


def traces(case: Case) -> None:
    """The trace: exact for as few parameters as this, or an interval."""
    H = case.operator
    found, expected = trace(H), float(case.hessian.trace())
    low, high = found.interval
    scale = max(float(case.hessian.diagonal().abs().sum()), 1e-12)
    room = case.tolerance * scale + 2 * (high - low)  # a 95 % interval may miss; three times as far it may not
    if not low - room <= expected <= high + room:
        raise Wrong(f"trace {found.value:.6g} in {low:.6g} to {high:.6g} instead of {expected:.6g}")


def pairs(case: Case) -> None:
    """The two eigenpairs of largest absolute value."""
    H = case.operator
    if H.shape[0] < 2:
        raise Beyond("a single parameter")
    found = eigenpairs(H, 2)
    values = torch.linalg.eigvalsh((case.hessian + case.hessian.T) / 2)
    expected = values.abs().sort(descending=True).values[:2]
    alike(found.values.abs(), expected, max(case.tolerance, 1e-6), "eigenvalues")
    back = case.hessian @ found.vectors.double() - found.vectors.double() * found.values.double()
    if float(back.norm(dim=0).max()) > 2 * float(found.residuals.max()) + case.tolerance * float(expected[0]):
        raise Wrong(f"residuals {back.norm(dim=0).tolist()} instead of {found.residuals.tolist()}")


def lines(case: Case) -> None:
    """Five losses along a line and nine over a plane, in evaluation mode."""
    program = case.program
    generator = torch.Generator().manual_seed(3)
    x, y = (
        {n: 0.1 * torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)
         for n, p in program.model.named_parameters() if p.requires_grad}
        for _ in range(2)
    )  # fmt: skip
    options = case.options() | {"mode": "eval"}
    settings = landscape.Settings(tolerance=0.0, reduction=options.pop("reduction"))
    data = (program.model, program.loss_fn, program.batches)
    found = landscape.line(*data, x, grid=5, settings=settings, **options)
    _compare(case, found.loss.values, [(float(a), 0.0) for a in found.x], x, y, "losses along a line")
    plane = landscape.surface(*data, x, y, grid=3, settings=settings, **options)
    points = [(float(a), float(b)) for b in plane.y for a in plane.x]
    _compare(case, plane.loss.values.ravel(), points, x, y, "losses over a plane")


def _compare(case: Case, found: np.ndarray, points: Any, x: Any, y: Any, what: str) -> None:
    own = {n: p.detach().double() for n, p in case.program.model.named_parameters()}
    expected = []
    for a, b in points:
        moved = {n: own[n] + a * x[n].double() + b * y[n].double() for n in x}
        expected.append(float(Reference(case.program, train=False, state=moved).value().detach()))
    if not np.isfinite(expected).all():
        raise Beyond("the reference is not finite")
    alike(found, expected, case.tolerance, what)


def look(case: Case) -> None:
    """``diagnose`` without steps: findings whose severities are shares, and (as everywhere) all as it was before."""
    found = ns.diagnose(case.program.model, case.program.loss_fn, case.program.batches)
    for finding in found.findings:
        if not 0 <= finding.severity <= 1:
            raise Wrong(f"severity {finding.severity} of {finding.kind}")


TREATMENTS = ("reinitialise", "insert_normalisation", "add_skips", "rescale_input", "zero_readout", "break_symmetry")


def treated(case: Case) -> None:
    """Treated copies run, and a zeroed readout gives zeros."""
    batch = copy.deepcopy(case.program.batches[0])
    inputs: Any = batch["x"] if isinstance(batch, dict) else batch[0]
    refused = 0
    for name in TREATMENTS:
        try:
            copied = getattr(treatments, name)(case.program.model, inputs).model
        except InputError as error:
            _one_line(error)
            refused += 1
            continue
        with torch.no_grad():
            output = call(copied.eval(), batch)
        if name == "zero_readout":
            output = output["logits"] if isinstance(output, dict) else output
            if bool((output != output.mean(0, keepdim=True)).any()):
                raise Wrong("outputs of a zeroed readout differ between samples")
    if refused == len(TREATMENTS):
        raise InputError("no treatment applies")


def monitored(case: Case) -> None:
    """Two training steps with a monitor give the weights that they give without one."""
    plain, watched = copy.deepcopy(case.program.model), copy.deepcopy(case.program.model)
    _train(plain, case.program, None)
    _train(watched, case.program, 1)
    for (name, a), b in zip(plain.state_dict().items(), watched.state_dict().values(), strict=True):
        if not torch.equal(torch.nan_to_num(a.float()), torch.nan_to_num(b.float())):
            raise Wrong(f"{name} differs under a monitor")
    hooks = [
        n for n, m in watched.named_modules() if len(m._forward_hooks) > len(plain.get_submodule(n)._forward_hooks)
    ]
    if hooks:
        raise Wrong(f"hooks left on {', '.join(hooks)}")


def _train(model: nn.Module, program: Program, every: int | None) -> None:
    torch.manual_seed(4)
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
    monitor = None if every is None else ns.Monitor(model, every=every, optimiser=optimiser, on_finding=None)
    with monitor or torch.enable_grad():
        for batch in copy.deepcopy(program.batches[:2]):  # layers in place write over their inputs
            optimiser.zero_grad()
            loss(program, model, batch).backward()
            optimiser.step()
            if monitor is not None:
                monitor.step()


CHECKS: Mapping[str, Callable[[Case], None]] = {
    "Hessian products": products,
    "Gauss-Newton": gauss_newton,
    "exact counts": counts,
    "trace": traces,
    "eigenpairs": pairs,
    "line and surface": lines,
    "look": look,
    "treatments": treated,
    "monitor": monitored,
}


# --- judged -------------------------------------------------------------------------------------------------


def runs(program: Program) -> bool:
    """Whether a person could train it: forward and backward on every batch, in its own mode and precision."""
    model = copy.deepcopy(program.model)
    try:
        for batch in copy.deepcopy(program.batches):
            loss(program, model, batch).backward()
    except (RuntimeError, ValueError, NotImplementedError):
        return False
    return True


def judged(program: Program, names: Any = tuple(CHECKS)) -> list[Verdict]:
    """Every check of one program that runs by itself."""
    case = Case(program)
    return [_judged(name, CHECKS[name], case) for name in names]


def _judged(name: str, check: Callable[[Case], None], case: Case) -> Verdict:
    before = _state(case.program)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check(case)
        verdict = Verdict(name, "right")
    except InputError as error:
        try:
            verdict = Verdict(name, "refused", _one_line(error))
        except Wrong as wrong:
            verdict = Verdict(name, "wrong", str(wrong))
    except Wrong as error:
        verdict = Verdict(name, "wrong", str(error))
    except Beyond as reason:
        verdict = Verdict(name, "beyond", str(reason))
    except Exception as error:  # whatever it is, nobody should meet it
        verdict = Verdict(name, "crashed", f"{type(error).__name__}: {str(error)[:300]}")
    after = _state(case.program)
    changed = [k for k in before if not _same(before[k], after.get(k))]
    if changed or before.keys() != after.keys():
        return Verdict(name, "wrong", f"not as before: {', '.join(changed[:3])}")
    return verdict


def _one_line(error: InputError) -> str:
    text = str(error)
    if len(text) > LINE:
        raise Wrong(f"a refusal of {len(text)} characters: {text[:200]}")
    return text


def _state(program: Program) -> dict[str, Any]:
    model = program.model
    found: dict[str, Any] = {n: t.detach().clone() for n, t in model.state_dict().items()}
    found |= {f"data {i}": t.clone() for i, t in enumerate(tree_leaves(program.batches))}
    for name, p in model.named_parameters():
        found |= {f"{name}.requires_grad": p.requires_grad, f"{name}.grad": p.grad}
    for name, m in model.named_modules():
        found |= {f"{name}.training": m.training, f"{name} hooks": (len(m._forward_hooks), len(m._forward_pre_hooks))}
    return found


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and bool(torch.equal(torch.nan_to_num(a.double()), torch.nan_to_num(b.double())))
    if isinstance(a, float) and math.isnan(a):
        return isinstance(b, float) and math.isnan(b)
    return bool(a is b or a == b)
