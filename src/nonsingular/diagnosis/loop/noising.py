"""Signal and noise that a script puts together before it hands them to a model, by the variables where it does."""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from nonsingular.diagnosis.contract.noising import Mixture, mixture
from nonsingular.places import user_frame

MOST = 6  # tensors in sight that are tried


def mixture_in_sight(x: Tensor) -> tuple[Mixture, list[Tensor]] | None:
    """How an input is made of two tensors that the user's code has names for, and its tables; None where it is not."""
    frame = user_frame()
    if frame is None or not x.is_floating_point() or x.requires_grad:
        return None
    names = {**frame.f_globals, **frame.f_locals}
    owner = names.get("self")
    held = [*getattr(owner, "__dict__", {}).values(), *(owner.buffers() if isinstance(owner, nn.Module) else ())]
    tensors = [t for t in (*frame.f_locals.values(), *held, *names.values()) if isinstance(t, Tensor)]
    tensors = list({id(t): t for t in tensors if t.is_floating_point() and not t.requires_grad}.values())
    parts = [t for t in tensors if t is not x and t.shape == x.shape][:MOST]
    found = next((m for a, b in itertools.combinations(parts, 2) if (m := mixture(x, a, b)) is not None), None)
    return None if found is None else (found, [t for t in tensors if t.ndim == 1])
