"""A figure or table declared: sizes, study, drawings, claims, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING

import xarray as xr

from nonsingular.checks import checked, shown
from nonsingular.errors import InputError
from nonsingular.experiments.checking import check
from nonsingular.experiments.claims import Effect
from nonsingular.experiments.drawings import Curves, Drawing, OverLayers, OverNumbers, View
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.run.sharing import run_shared
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.scales import Scales, Size
from nonsingular.experiments.spec import SCALES, Spec
from nonsingular.experiments.verbs import Declared, Needs

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture
    from plotly.graph_objects import Figure as PlotlyFigure

__all__ = ["Curves", "Figure", "OverLayers", "OverNumbers"]

Difference = Callable[[Callable[[str], Spec]], str]


@checked
@dataclass(frozen=True, init=False)
class Figure(Experiment):
    """One figure or table of a paper, declared; it is an ``Experiment``.

    Args:
        id: ``paper/figure``.
        title: one line for listings.
        source: where the paper has it; claims may name another place.
        sizes: its numbers at the four scales; ``runs`` is among them.
        study: its spec at a scale; by default one without training, whose settings are the sizes.
        draw: name -> drawing (``drawings.py``), or a function that gives all pictures by name.
        claims: last part of its id -> claim, from verbs (``verbs.claim``, or ``verbs.question`` of ours).
        needs: what networks must have done to be compared (``needs.py``); of networks that have not nothing is judged.
        differs: as ``Experiment``; what follows from the study is a function: (scale -> spec) -> sentence.
        run: as ``Experiment``; by default a study, trained once for all figures that have the same.
        reads: what makes of results that an earlier version kept in another shape what this one keeps.
        labels: as ``Experiment``.
        interactive: as ``Experiment``.
        fewest_epochs: as ``Experiment``.
        examples: +1 -> results such as the claims describe, -1 -> the opposite, to show that its judges can hold and
            fail: of figures whose claims no random results of their instruments decide (``tests/experiments``).

    Attributes:
        declared: the claims as they were given.

    Raises:
        InputError: what is declared is no claim or drawing; ``spec`` raises it where claims, drawings or needs name
            networks that the study does not have, or variables that it does not measure, at any scale.

    >>> import nonsingular as ns
    >>> from nonsingular.experiments.figure import Curves
    >>> from nonsingular.experiments.scales import Scales
    >>> from nonsingular.experiments.verbs import claim, faster
    >>> from nonsingular.training import Member
    >>> def study(size):
    ...     return size.spec(
    ...         data=ns.data.DataSpec(size.dataset("digits")),
    ...         networks=[Member(str(n), ns.networks.named("plain", depth=n)) for n in (5, 10)],
    ...         training=ns.TrainingSpec(epochs=size.epochs, batch=100),
    ...         instruments=["train_accuracy"],
    ...     )
    >>> figure = ns.Figure(
    ...     "mine/half",
    ...     "Half the layers",
    ...     source="my notes",
    ...     sizes=Scales(runs=(3, 10, 20, 50), epochs=(2, 20, 50, 100)),
    ...     study=study,
    ...     draw={"accuracy": Curves("train_accuracy", title="Five and ten layers")},
    ...     claims={"faster": claim("Five layers train faster than ten", faster("5", "10") > 0)},
    ... )
    >>> figure.spec("smoke").runs, figure.claims[0].id
    (3, 'mine/half/faster')
    """

    declared: Mapping[str, Declared] = field(default_factory=dict)
    examples: Callable[[int], xr.Dataset] | None = None

    def __init__(
        self,
        id: str,
        title: str,
        *,
        source: str,
        sizes: Scales,
        study: Callable[[Size], Spec] | None = None,
        draw: Mapping[str, Drawing] | Callable[[xr.Dataset], Mapping[str, Picture]],
        claims: Mapping[str, Declared] | None = None,
        needs: Needs | None = None,
        differs: tuple[str | Difference, ...] = (),
        run: Callable[[Spec, Workspace], xr.Dataset] = run_shared,
        reads: View | None = None,
        labels: Mapping[str, str] | None = None,
        interactive: Callable[[xr.Dataset], Mapping[str, PlotlyFigure]] | None = None,
        fewest_epochs: int = 1,
        examples: Callable[[int], xr.Dataset] | None = None,
    ) -> None:
        def made(scale: str, data: str | None = None) -> Spec:
            size = sizes.at(scale, id, data)
            found = study(size) if study else size.spec(settings=size.settings)
            if not isinstance(found, Spec):
                raise InputError(f"{id}: study must return a spec, as size.spec(...) makes it, got {found!r}")
            return found

        @cache
        def checked() -> None:
            drawings = {} if callable(draw) else draw
            check([made(scale) for scale in SCALES], claims or {}, drawings, needs, run is run_shared)

        def spec(scale: str, data: str | None = None) -> Spec:
            found = made(scale, data)
            checked()
            return found

        def pictures(results: xr.Dataset) -> Mapping[str, Picture]:
            results = reads(results) if reads else results
            if callable(draw):
                return draw(results)
            drawn = {name: drawing(results) for name, drawing in draw.items()}
            return {name: picture for name, picture in drawn.items() if picture is not None}

        if not isinstance(claims or {}, Mapping):
            raise InputError(f"{id}: claims are a dictionary of names and claims, as in {{'faster': claim(...)}}")
        if not callable(draw) and not isinstance(draw, Mapping):
            raise InputError(f"{id}: draw must be a dictionary of drawings or a function, got {shown(draw)}")
        if not callable(draw):
            for name, drawing in draw.items():
                if not callable(drawing):
                    raise InputError(f"{id}: drawing {name!r} must be a drawing such as Curves(...), got {drawing!r}")
        told = tuple(sentence if isinstance(sentence, str) else sentence(made) for sentence in differs)
        whole = [declared.claim(f"{id}/{name}", source, needs) for name, declared in (claims or {}).items()]
        if reads:
            whole = [replace(c, effect=_reading(reads, c.effect)) for c in whole]
        super().__init__(
            id, title, spec, run, pictures, tuple(whole), interactive, differs=told, labels=labels or {},
            fewest_epochs=fewest_epochs,
        )  # fmt: skip
        object.__setattr__(self, "declared", dict(claims or {}))
        object.__setattr__(self, "examples", examples)


def _reading(reads: View, effect: Callable[[xr.Dataset], Effect]) -> Callable[[xr.Dataset], Effect]:
    return lambda results: effect(reads(results))
