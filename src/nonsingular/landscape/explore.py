"""What ``nonsingular landscape`` looks at: planes around one solution, the line between two, the plane of a run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import xarray as xr
from torch import nn

from nonsingular import progress
from nonsingular.checks import checked
from nonsingular.errors import InputError
from nonsingular.files import plain, to_json, write_whole
from nonsingular.landscape.convexity import convexity
from nonsingular.landscape.directions import NORMALISATIONS, RELATIVE, between, eigenvectors, gaussian
from nonsingular.landscape.export import require_h5py, save_h5, save_vtk
from nonsingular.landscape.fitting import Direction
from nonsingular.landscape.metrics import Metrics, beside
from nonsingular.landscape.paths import principal
from nonsingular.landscape.roughness import MEASURES, compare
from nonsingular.landscape.surface import Settings, line, surface, trajectory, with_weights
from nonsingular.objective import Loss, Objective, Options, brought
from nonsingular.spelling import spelled
from nonsingular.training import Store
from nonsingular.weights import Weights

DIRECTIONS = (*NORMALISATIONS, "hessian")
EXPORTS = ("vtk", "h5")
POINTS = "points"  # what progress is counted in
NUMBERS = "landscape.json"
LINE, PLANE = 101, 51  # points along an axis


@checked
@dataclass(frozen=True)
class Look:
    """What to look at.

    Attributes:
        directions: of planes: random ones, normalised as `gaussian` names it; or ``hessian``, the two eigenvectors of
            largest absolute curvature.
        keep: ``bias`` and ``norm`` to move biases and normalisation parameters too.
        seed: of the first pair of random directions; pair ``k`` has the seeds ``seed + 2 k`` and the next.
        planes: pairs of random directions.
        grid: points along each axis; None takes 101 on a line and 51 on a plane. The solutions are always among them.
        span: planes reach from ``-span`` to ``span``; None takes 1 for directions as large as the weights, and for the
            others the multiple of a direction that is a tenth of the weights' norm.
        convexity: points along each axis of a map of the Hessian's extreme eigenvalues; 0 for none.
        export: files for other programs: ``vtk`` (ParaView), ``h5`` (the loss-landscape project's scripts).

    Raises:
        InputError: unknown directions, numbers out of range.

    >>> import nonsingular as ns
    >>> ns.landscape.Look(planes=5, grid=21).directions
    'filter'
    """

    directions: str = "filter"
    keep: tuple[str, ...] = ()
    seed: int = 0
    planes: int = 1
    grid: int | None = None
    span: float | None = None
    convexity: int = 0
    export: tuple[str, ...] = ()

    def points(self, states: int) -> tuple[int, ...]:
        """How many there are along each axis, by the number of states that are looked at."""
        usual = LINE if states == 2 else PLANE
        return (usual if self.grid is None else self.grid,) * (1 if states == 2 else 2)

    def __post_init__(self) -> None:
        if self.directions not in DIRECTIONS:
            raise InputError(f"unknown directions {self.directions!r}; there are {', '.join(DIRECTIONS)}")
        if self.planes < 1:
            raise InputError(f"planes must be at least 1, got {self.planes}")
        if self.planes > 1 and self.directions == "hessian":
            raise InputError("there is one plane of the Hessian's eigenvectors; leave out planes")
        if self.grid is not None and self.grid < 2:
            raise InputError(f"grid must be at least 2 points, got {self.grid}")
        if self.span is not None and not 0 < self.span < float("inf"):
            raise InputError(f"span must be positive, got {self.span}")
        if self.convexity < 0:
            raise InputError(f"convexity must be at least 0, got {self.convexity}")
        for kind in self.export:
            if kind not in EXPORTS:
                raise InputError(f"unknown export {kind!r}; there are {', '.join(EXPORTS)}")
        if "h5" in self.export:
            require_h5py()


@checked
@spelled
def explore(
    model: nn.Module,
    loss_fn: Loss | None,
    batches: Any,
    states: Sequence[Weights],
    look: Look,
    settings: Settings,
    folder: Path,
    on_points: Callable[[int], None] = lambda count: None,
    *,
    metrics: Metrics = (),
    **options: Unpack[Options],
) -> xr.Dataset:
    """Planes around a solution, the line between two, or the plane of a run.

    Args:
        model: the architecture, and the solution where ``states`` is empty.
        loss_fn: as in ``line``.
        batches: as in ``line``.
        states: none or one: planes around that solution (dimensions ``plane``, ``y``, ``x``). Two: the line from the
            first (0) to the second (1). More: the plane of the run they are checkpoints of.
        look: what to look at.
        settings: exactness and speed.
        folder: where points are kept as they come.
        on_points: as in ``line``; the map of curvature is none of them.
        metrics: as in ``line``.
        **options: as in ``line``.

    Raises:
        InputError: as ``line``, ``surface`` and ``trajectory``.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import torch
    >>> import nonsingular as ns
    >>> model, batch = torch.nn.Linear(3, 2), (torch.randn(8, 3), torch.arange(8) % 2)
    >>> loss_fn = torch.nn.functional.cross_entropy
    >>> look, settings = ns.landscape.Look(grid=9), ns.landscape.Settings()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = ns.landscape.explore(model, loss_fn, [batch], [model], look, settings, Path(folder))
    >>> sorted(found.loss.dims)
    ['plane', 'x', 'y']
    """
    here = with_weights(model, states[-1 if len(states) > 2 else 0]) if len(states) else model
    brings = brought(here, loss_fn, batches, reduction=settings.reduction, **options), None, None
    grid = look.points(len(states))[0]
    common: dict[str, Any] = {"grid": grid, "metrics": metrics, "settings": settings, "on_points": on_points}
    if len(states) > 2:
        found = trajectory(*brings, states, keep=folder / "points-path.npz", **common)
        _export(look, folder / "path", found, principal(states, here).directions, here)
        return found.assign_attrs(kind="trajectory")
    if len(states) == 2:
        direction = between(states[0], states[1], here)
        found = line(*brings, direction, span=(-0.5, 1.5), keep=folder / "points-line.npz", **common)
        _export(look, folder / "line", found, [direction], here)
        return found.assign_attrs(kind="line")
    planes = []
    for k in range(look.planes):
        x, y = _pair(here, brings[0], look, k)
        if k == 0:
            reach = look.span or (1.0 if look.directions in RELATIVE else _tenth(here, x))
        span = -reach, reach
        planes.append(surface(*brings, x, y, span=span, keep=folder / f"points-{k}.npz", **common))
        _export(look, folder / f"plane-{k}", planes[-1], [x, y], here)
        if k == 0 and look.convexity:
            with progress.stretch("map of curvature", look.convexity**2, POINTS):
                curved = convexity(
                    *brings,
                    x,
                    y,
                    span=span,
                    grid=look.convexity,
                    start=look.seed,
                    on_points=partial(progress.count, POINTS),
                )
    found = xr.concat(planes, "plane", combine_attrs="drop_conflicts", join="exact")
    each = {name: ("plane", [p.attrs[name] for p in planes]) for name in VARYING}
    notes = "; ".join(dict.fromkeys(p.attrs["notes"] for p in planes if p.attrs["notes"]))
    found = found.rename(evaluated="was_evaluated").assign(each)
    found = found.assign_attrs(kind="planes", directions=look.directions, notes=notes)
    if look.convexity:
        curved = curved.rename(x="curvature_x", y="curvature_y")
        found = found.assign({f"hessian_{name}": curved[name] for name in curved})
    return found


VARYING = ("evaluated", "interpolation_error", "interpolation_worst", "interpolation_checked", "range", "cosine")
"""Attributes of a surface that become variables over planes."""


@checked
def summary(found: xr.Dataset) -> dict[str, Any]:
    """The numbers of a result, for a table or JSON: what was evaluated, with what error, and how rough it is.

    What there is no number for is None: a deviation over one plane, say, or the ends of losses that are never finite.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import torch
    >>> import nonsingular as ns
    >>> model, batch = torch.nn.Linear(3, 2), (torch.randn(8, 3), torch.arange(8) % 2)
    >>> loss_fn = torch.nn.functional.cross_entropy
    >>> look, settings = ns.landscape.Look(grid=9), ns.landscape.Settings()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = ns.landscape.explore(model, loss_fn, [batch], [model], look, settings, Path(folder))
    >>> "roughness" in ns.landscape.summary(found)
    True
    """
    numbers: dict[str, Any] = {k: v for k, v in found.attrs.items() if k not in VARYING}
    numbers |= {k: found.attrs[k] for k in VARYING if k in found.attrs} | {"mode": numbers.pop("model_mode")}
    if found.attrs["kind"] == "planes":
        numbers |= {name: [v.item() for v in found[name].values] for name in VARYING}
        if (found.loss > 0).all() and min(found.sizes["x"], found.sizes["y"]) >= 3:
            spread = compare([found.isel(plane=k) for k in range(found.sizes["plane"])])
            numbers["roughness"] = {n: {"mean": spread[n][0], "deviation": spread[n][1]} for n in MEASURES}
    if "explained" in found:
        numbers["explained"] = found.explained.values.tolist()
    if "distance" in found:
        numbers["largest_distance"] = float(found.distance.max())
    if "hessian_ratio" in found:
        numbers["largest_hessian_ratio"] = float(found.hessian_ratio.max())
    numbers["solutions"] = _solutions(found)
    loss = found.loss.where(np.isfinite(found.loss))
    numbers["smallest_loss"], numbers["largest_loss"] = float(loss.min()), float(loss.max())
    numbers["not_finite"] = int(loss.isnull().sum())
    numbers["metrics"] = {
        name: {"smallest": float(found[name].min()), "largest": float(found[name].max())} for name in beside(found)
    }
    return plain(numbers)


def _solutions(found: xr.Dataset) -> dict[str, dict[str, float]]:
    """The loss and the metrics at the weights themselves, by what each is called in the figures."""
    if "plane" in found.dims:
        found = found.isel(plane=0)
    kinds = {"line": {"first": 0.0, "second": 1.0}, "trajectory": {"end": 0.0}}
    return {
        name: {q: float(found[q].sel(dict.fromkeys(found[q].dims, at))) for q in ("loss", *beside(found))}
        for name, at in kinds.get(found.attrs["kind"], {"centre": 0.0}).items()
    }


@checked
def earlier(folder: Path) -> str | None:
    """What a folder holds of an earlier surface, in words; None where it holds none.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import nonsingular as ns
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "landscape.json").write_text('{"target": "my_file.py:build"}')
    ...     ns.landscape.earlier(Path(folder))
    'the landscape of my_file.py:build'
    """
    try:
        return f"the landscape of {json.loads((folder / NUMBERS).read_text(encoding='utf-8'))['target']}"
    except FileNotFoundError:
        return "points of a landscape" if any(folder.glob("points-*.npz")) else None
    except (ValueError, KeyError, TypeError):
        return "a landscape that is damaged"


@checked
def discard(folder: Path) -> None:
    """Throw an earlier surface away: its points, and the numbers drawn from them.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import nonsingular as ns
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "landscape.json").write_text('{"target": "my_file.py:build"}')
    ...     ns.landscape.discard(Path(folder))
    ...     ns.landscape.earlier(Path(folder)) is None
    True
    """
    for path in (*folder.glob("points-*.npz"), folder / NUMBERS):
        path.unlink(missing_ok=True)


@checked
def save(folder: Path, found: xr.Dataset, target: str, look: Look, settings: Settings) -> None:
    """Write ``results.zarr``, and ``landscape.json`` with the numbers and all that is needed to get them again.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import torch
    >>> import nonsingular as ns
    >>> model, batch = torch.nn.Linear(3, 2), (torch.randn(8, 3), torch.arange(8) % 2)
    >>> loss_fn = torch.nn.functional.cross_entropy
    >>> look, settings = ns.landscape.Look(grid=9), ns.landscape.Settings()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = ns.landscape.explore(model, loss_fn, [batch], [model], look, settings, Path(folder))
    ...     ns.landscape.save(Path(folder), found, "my_file.py:build", look, settings)
    ...     names = sorted(path.name for path in Path(folder).iterdir())
    >>> "landscape.json" in names and "results.zarr" in names
    True
    """
    store = folder / "results.zarr"
    if store.exists():
        shutil.rmtree(store)
    Store.save(store, found)
    numbers = {"target": target, "look": asdict(look), "settings": asdict(settings), "results": summary(found)}
    write_whole(folder / NUMBERS, to_json(numbers) + "\n")


def _export(look: Look, name: Path, found: xr.Dataset, directions: Sequence[Direction], model: nn.Module) -> None:
    """The files for other programs that are asked for, ``NAME.vtk`` and so on."""
    name.parent.mkdir(parents=True, exist_ok=True)
    if "vtk" in look.export:
        save_vtk(found, name.with_suffix(".vtk"))
    if "h5" in look.export:
        save_h5(found, name.with_suffix(".h5"), directions, model)


def _pair(model: nn.Module, objective: Objective, look: Look, plane: int) -> tuple[Direction, Direction]:
    if look.directions == "hessian":
        x, y = eigenvectors(objective, None, None, start=look.seed)[0]
        return x, y
    seed = look.seed + 2 * plane
    x, y = (gaussian(model, s, normalise=look.directions, keep=look.keep) for s in (seed, seed + 1))
    return x, y


def _tenth(model: nn.Module, direction: Direction) -> float:
    """The multiple of a direction whose length is a tenth of that of the weights it moves."""
    parameters = dict(model.named_parameters())
    weights = sum(float(parameters[n].detach().double().square().sum()) for n in direction if n in parameters) ** 0.5
    length = sum(float(d.double().square().sum()) for d in direction.values()) ** 0.5
    return 0.1 * weights / length if weights > 0 else 1.0
