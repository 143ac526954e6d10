"""The whole: look at a network, say what is wrong, try what may help."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from nonsingular.checks import checked
from nonsingular.diagnosis import healthy
from nonsingular.diagnosis.batches import LossFn, problem
from nonsingular.diagnosis.contract.refusals import REFUSED
from nonsingular.diagnosis.course import Curve, Protocol
from nonsingular.diagnosis.examine import examine
from nonsingular.diagnosis.findings import Finding, findings, named
from nonsingular.diagnosis.learnability import Learnability
from nonsingular.diagnosis.look import Budget
from nonsingular.diagnosis.loop.rehearse import plainly
from nonsingular.diagnosis.optimisers import Optimiser, made
from nonsingular.diagnosis.prove import Build, Proof
from nonsingular.diagnosis.records import Layer, Look, Statistic
from nonsingular.diagnosis.trying import advised, own_steps, tried
from nonsingular.objective import read
from nonsingular.spelling import spelled
from nonsingular.words import counted

if TYPE_CHECKING:
    import pandas as pd


UNTRAINED = "; nothing was trained: steps=200 tells whether it learns, ns.rehearse whether your own loop does its part"


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        findings: worst first; empty for a network without anything wrong.
        look: all measures.
        numbers: the statistics that findings come from.
        learns: what copies learned, and what from, where it was asked for.
        data: what it was found on, by name and scaling or by file; empty where batches came from Python.
        proof: of the treatments, where any was tried. Findings then advise only what helped.

    >>> import torch
    >>> import nonsingular as ns
    >>> model, batch = torch.nn.Linear(6, 3), (torch.randn(60, 6), torch.arange(60) % 3)
    >>> found = ns.diagnose(model, torch.nn.functional.cross_entropy, [batch])
    >>> sorted(found.to_json())
    ['findings', 'layers', 'network', 'spectrum']
    """

    findings: tuple[Finding, ...]
    look: Look
    numbers: Mapping[str, Statistic]
    learns: Learnability | None = None
    data: Mapping[str, str] = field(default_factory=dict)
    proof: Proof | None = None

    @property
    def layers(self) -> list[Layer]:
        """One row a layer, in the order in which they were called."""
        return self.look.layers

    @property
    def treatments(self) -> tuple[str, ...]:
        """All treatments advised, best first."""
        named = [t for f in sorted(self.findings, key=lambda f: bool(f.because)) for t in f.treatments]
        return tuple(dict.fromkeys(named))

    def frame(self) -> pd.DataFrame:
        """The layers as a pandas frame."""
        return self.look.frame()

    def to_json(self) -> dict[str, Any]:
        """The object that ``nonsingular diagnose --json`` prints."""
        out = self.look.outputs
        shown = {
            "task": out.task, "outputs": out.outputs, "loss": out.loss, "excess": out.excess,
            "confidence": out.confidence, "accuracy": out.accuracy, "samples": self.look.samples,
 "complete": self.look.complete,
            "parameters": sum(p.size for p in self.look.parameters),
        }  # fmt: skip
        found: dict[str, Any] = {
            "findings": [f.to_json() for f in self.findings],
            "layers": [layer.to_json() for layer in self.layers],
            "network": {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in shown.items()},
        }
        if self.data:
            found["data"] = dict(self.data)
        if self.look.spectrum is not None:
            found["spectrum"] = self.look.spectrum.to_json()
        if self.learns is not None:
            found["learns"] = self.learns.to_json()
        if self.proof is not None:
            found["proof"] = self.proof.to_json()
        return found

    def report(self, path: str | Path, title: str = "network", source: str | Path | None = None) -> Path:
        """Write a self-contained HTML page and return its path.

        Args:
            path: of the page.
            title: what was diagnosed.
            source: the file that builds the network, or ``FILE.py:build``: the next step is then a diff where it can
                be.
        """
        from nonsingular.diagnosis.report import write_report

        return write_report(Path(path), self, title, source)

    def __str__(self) -> str:
        lines = [f"{f.severity:.2f}  {f.kind}  {named(f.layers) or f.where}".rstrip() for f in self.findings]
        lines = lines or ["nothing wrong found" + ("" if self.learns else UNTRAINED)]
        if self.learns is not None:
            lines += ["", self.learns.words]
        if self.proof is not None:
            lines += ["", *(f"{t.verdict}: {t.treatment} ({t.what})" for t in self.proof.trials)]
        return "\n".join(lines)


@checked
@spelled
def diagnose(
    model: nn.Module,
    loss_fn: LossFn | None,
    batches: Iterable[tuple[Any, Any]],
    *,
    steps: int = 0,
    protocol: Protocol | None = None,
    build: Build | None = None,
    budget: Budget | None = None,
    curvature: bool | None = None,
    kept: MutableMapping[str, Curve] | None = None,
    observed: Mapping[str, Statistic] | None = None,
    optimiser: Optimiser | None = None,
    held_out: Iterable[tuple[Any, Any]] = (),
    data: Mapping[str, str] | None = None,
    on_progress: Callable[[str], None] = lambda what: None,
) -> Diagnosis:
    """Tell why a network will not train, and with ``steps`` prove what would make it.

    The model is looked at as training sees it (normalisations by the batch's statistics, dropout off), and is exactly
    as before afterwards.

    Args:
        model: any PyTorch classifier or regressor.
        loss_fn: (output, target) -> scalar, a mean over samples; or (model, batch) -> scalar, or None for the model's
            own. Checks that need outputs and targets then see what they can. ``steps`` need the first form.
        batches: pairs (inputs, target); inputs are a tensor, or a tuple or dictionary of what the model takes.
        steps: of training for each copy, untreated and treated; 0 tries nothing.
        protocol: how copies are trained; ``steps`` comes first.
        build: seed -> network, so that copies differ in their first weights too.
        budget: bounds of memory and time of the look.
        curvature: count the Hessian's degenerate and negative eigenvalues; by default where the network has at most
            1500 parameters.
        kept: trained copies of an earlier, stopped call, as ``prove`` takes them.
        held_out: batches of the evaluation: their samples are looked for in training.
        data: what the batches are, to be said with the results: ``name`` and ``scaling``, or ``batches``.
        observed: further statistics, such as those of a training loop, to be judged together with the network's.
        optimiser: your own, over the model's parameters, or model -> optimiser: some plain steps of it are rehearsed
            where nothing was ``observed``, and copies are trained with it instead of the protocol's.
        on_progress: called with a line of what has been done.

    Raises:
        InputError: a model, loss, batches or optimiser that cannot be used.

    >>> import torch
    >>> import nonsingular as ns
    >>> random = torch.manual_seed(0)
    >>> layers = [module for _ in range(20) for module in (torch.nn.Linear(16, 16), torch.nn.ReLU())]
    >>> model = torch.nn.Sequential(*layers, torch.nn.Linear(16, 4))
    >>> batch = torch.randn(200, 16), torch.arange(200) % 4
    >>> found = ns.diagnose(model, torch.nn.functional.cross_entropy, [batch])
    >>> found.findings[0].kind
    'vanishing-signal'
    """
    budget = budget or Budget()
    stepped = own_steps(optimiser, model) if steps else None
    if optimiser is not None and not steps:
        made(optimiser, model)  # what is none is refused before anything is measured
    if not isinstance(batches, list | tuple):
        batches = [b.whole for b in read(batches, None if steps else budget.samples)]
    seen, measured = examine(model, loss_fn, batches, budget, curvature, list(held_out))
    seen = replace(seen, scaling=(data or {}).get("scaling", ""))
    on_progress(f"looked at {counted(len(seen.layers), 'layer')} on {counted(seen.samples, 'sample')}")
    if observed is None and optimiser is not None:
        observed, said = plainly(problem(model, loss_fn, batches, budget.samples), optimiser)
        seen = replace(seen, notes=(*seen.notes, said))
        on_progress(said)
    numbers = {**measured, **(observed or {})}
    found = tuple(findings(numbers, healthy.limits(), seen))
    diagnosis = Diagnosis(found, seen, numbers, data=dict(data or {}))
    refused = any(numbers[name].value > 0 for name in REFUSED)
    if refused and steps:
        note = "no copies were trained: the loss raises an error on what it is given"
        return replace(diagnosis, look=replace(seen, notes=(*seen.notes, note)))
    if not steps:
        return diagnosis
    protocol = replace(protocol or Protocol(), steps=steps)
    names, roots = diagnosis.treatments, [f.treatments for f in found if not f.because and f.treatments]
    out = tried(
        build or model, loss_fn, batches, names, protocol, stepped, kept, on_progress, bool(found),
        second=roots[1] if len(roots) > 1 else (),
    )  # fmt: skip
    return replace(
        diagnosis,
        look=replace(seen, notes=(*seen.notes, out.note)) if out.note else seen,
        learns=out.learns,
        proof=out.proof,
        findings=tuple(advised(f, out.proof) for f in found),
    )
