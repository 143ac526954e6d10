"""The Hessian's degenerate and negative fraction, where a network is small enough or time is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from nonsingular import progress
from nonsingular.diagnosis.batches import LossFn, problem
from nonsingular.diagnosis.records import Look
from nonsingular.diagnosis.untouched import as_training, untouched
from nonsingular.errors import InputError

EXACT = 1500  # parameters
SAMPLES = 256
SECONDS = 2.0  # of one core that counting may take where nobody asked for it
BYTES = 2e8  # that a product with the Hessian moves a second, of what autograd keeps of the loss


def with_spectrum(
    look: Look, model: nn.Module, loss_fn: LossFn | None, batches: Sequence[tuple[Any, Any]], wanted: bool | None = None
) -> Look:
    """The look with the counts of the Hessian's eigenvalues.

    Args:
        look: without them.
        model: that was looked at.
        loss_fn: of that look.
        batches: of that look; at most 256 samples are used.
        wanted: whether they are; by default where there are at most 1500 parameters. Up to there the counts are exact,
            beyond they come with intervals from a few hundred products with the Hessian.
    """
    size = sum(p.size for p in look.parameters if not p.frozen)
    overflow = any(not layer.finite for layer in look.layers)
    if wanted is False or (wanted is None and size > EXACT) or not size or overflow:
        return look
    expected = size * look.kept_bytes / max(look.piece, 1) * min(SAMPLES, look.samples) / BYTES
    if wanted is None and expected > SECONDS:
        return replace(
            look, notes=(*look.notes, f"no Hessian: counting takes about {expected:.0f} s; ask for curvature")
        )
    from nonsingular.curvature import Hessian, spectrum  # SciPy's linear algebra with it: where eigenvalues are counted
    from nonsingular.curvature.algebra import PRODUCTS

    task = problem(model, loss_fn, batches, SAMPLES)
    try:
        with untouched(model), as_training(model), progress.stretch("its curvature", None, PRODUCTS):
            H = Hessian(model, loss_fn, [b.whole for b in task.batches], mode="own")
            if size <= EXACT:
                found = spectrum(H, method="exact")
            else:
                found = spectrum(H, method="lanczos", max_steps=100, max_probes=4, error=0.2)
    except InputError as reason:  # no second derivatives: what was measured stays worth telling
        return replace(look, notes=(*look.notes, f"no Hessian: {reason}"))
    return replace(look, spectrum=found)
