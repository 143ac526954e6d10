"""Losses of torch's: by which line, of which targets, of which value where a gradient comes back to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from nonsingular.diagnosis.contract.refusals import of_call, refused_by
from nonsingular.diagnosis.loop.calls import Calls
from nonsingular.diagnosis.loop.inputs import Inputs, dense
from nonsingular.diagnosis.loop.records import Site
from nonsingular.diagnosis.loop.shared import Shared
from nonsingular.diagnosis.values import evenly
from nonsingular.places import here

TARGETS = 4096  # of a loss that are kept
COLUMNS = 64  # numbers of a sample's target, evenly spread over it


def _sample(target: Tensor) -> Tensor:
    """Some of the targets, on the CPU: rows of numbers, each of which has a constant of its own, else flat."""
    if not target.is_floating_point() or target.ndim < 2 or len(target) == 1:
        return target.flatten()[:TARGETS].cpu()
    rows = target.flatten(1)
    rows = rows[:, evenly(rows.shape[1], COLUMNS).to(rows.device)]
    return rows[: TARGETS // rows.shape[1]].cpu()


class Losses:
    """Keeps them by the lines that compute them."""

    def __init__(self, shared: Shared, calls: Calls, inputs: Inputs) -> None:
        self._shared, self._calls, self._inputs = shared, calls, inputs

    def lost(self, name: str, args: tuple[Any, ...], named: dict[str, Any], value: Tensor) -> Any:
        """See ``taps.Listener``; the loss's target where it is kept, None where it is not."""
        loop = self._shared.loop
        output = args[0] if args else named.get("input")
        target = args[1] if len(args) > 1 else named.get("target")
        for call in self._calls.made_by(dense(output)):
            call.tested = True
        if value.requires_grad and isinstance(target, Tensor):
            stayed, went = self._inputs.turned.compared(target)
            loop.counts.update({"targets stayed": stayed, "targets turned": went})
        if not (value.requires_grad and self._shared.measuring):
            return None
        place = here()
        loop.places["dense targets"] = place
        if isinstance(target, Tensor) and (apart := self._inputs.rows_apart(target)) is not None:
            loop.counts["rows apart" if apart else "rows together"] += 1
            loop.places["rows"] = place
        if (drawn := self._inputs.loaders.apart(output, target)) is not None:
            loop.counts["loaders apart" if drawn[0] else "loaders together"] += 1
            loop.places["loaders"] = drawn[1]
        site = loop.sites.setdefault((name, place), Site(name, place))
        plain = named.get("reduction", "mean") == "mean" and named.get("weight") is None
        site.weighted = site.weighted or not plain
        if isinstance(output, Tensor) and isinstance(target, Tensor):
            site.classes = output.shape[1] if output.ndim > 1 and not target.is_floating_point() else 0
            if target.numel() and sum(t.numel() for t in site.targets) < TARGETS:
                site.targets.append(_sample(target.detach()))
        if value.numel() == 1 or named.get("reduction") == "none":
            number, shown = loop.steps, value.detach()
            value.register_hook(lambda g: self._felt(site, number, shown, g))
        if not self._calls.inside:
            self._shared.caught.lost(name, args, named)
        return target

    def _felt(self, site: Site, number: int, value: Tensor, gradient: Tensor) -> None:
        """A gradient came back to a loss: it is minimised where that is positive."""
        total = float(gradient.sum())
        site.values.append((number, float(value.mean())))
        if total:
            self._shared.signs.add(1 if total > 0 else -1)

    def refused(self, function: Any, args: tuple[Any, ...], named: dict[str, Any], error: Exception) -> None:
        """See ``taps.Listener``."""
        loop = self._shared.loop
        if not loop.refused and (found := of_call(function, args, named)) is not None:
            where = str(here() or "")
            made = refused_by(found, error, op=function.__name__)
            loop.refused = {name: replace(s, where=where) for name, s in made.items()}
