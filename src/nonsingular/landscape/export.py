"""Surfaces for other programs: ParaView, and the scripts of the loss-landscape project (Li et al. 2018)."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from nonsingular.checks import checked
from nonsingular.errors import InputError, MissingExtra
from nonsingular.files import write_whole
from nonsingular.landscape.fitting import Direction
from nonsingular.landscape.metrics import beside
from nonsingular.weights import aliases

HEIGHTS = ("log", "loss", "flat")


@checked
def save_vtk(found: xr.Dataset, path: Path | str, height: str = "log", most: float | None = None) -> list[Path]:
    """Write a surface or a line for ParaView: a structured grid in VTK's legacy format, with all that was measured.

    Args:
        found: from ``surface``, ``line`` or ``trajectory``; the path of a run goes to a second file, ``NAME-path.vtk``.
        path: the file, ``NAME.vtk``.
        height: of the points: ``log`` (the loss's logarithm to base 10), ``loss``, or ``flat`` (0). Values that are not
            finite stand as the highest finite one, as do logarithms of losses that are not positive as the lowest;
            ``finite`` is 0 there.
        most: losses above it are drawn at its height, so that a peak does not flatten the rest; what was measured is
            written all the same.

    Returns:
        The files written.

    Raises:
        InputError: an unknown height, or results without ``loss`` over ``x`` alone or ``y`` and ``x``.

    >>> import tempfile
    >>> import torch
    >>> import nonsingular as ns
    >>> model, batch = torch.nn.Linear(3, 2), (torch.randn(8, 3), torch.arange(8) % 2)
    >>> x, y = (ns.landscape.gaussian(model, seed) for seed in (0, 1))
    >>> found = ns.surface(model, torch.nn.functional.cross_entropy, [batch], x, y, grid=9)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     (written,) = ns.landscape.save_vtk(found, f"{folder}/surface.vtk")
    ...     text = written.read_text()
    >>> text.splitlines()[2:4]
    ['ASCII', 'DATASET STRUCTURED_GRID']
    """
    path = Path(path)
    if height not in HEIGHTS:
        raise InputError(f"unknown height {height!r}; there are {', '.join(HEIGHTS)}")
    found = _grid(found)
    x = found.x.values
    y = found.y.values if "y" in found.dims else np.zeros(1)
    X, Y = np.meshgrid(x, y)
    loss = found.loss.values.reshape(X.shape)
    scalars = {name: found[name].values.reshape(X.shape) for name in _measured(found)}
    scalars["finite"] = np.isfinite(loss).astype(float)
    lines = [*_header("STRUCTURED_GRID", path), f"DIMENSIONS {len(x)} {len(y)} 1"]
    drawn = _height(loss if most is None else np.fmin(loss, most), height)
    lines += _points(np.stack([X, Y, drawn], -1).reshape(-1, 3))
    lines.append(f"POINT_DATA {X.size}")
    for name, values in scalars.items():
        lines += [f"SCALARS {name} double 1", "LOOKUP_TABLE default"]
        lines += [f"{v:.17g}" for v in _finite(values).ravel()]
    write_whole(path, "\n".join(lines) + "\n")
    if "path_x" not in found:
        return [path]
    beside = path.with_name(f"{path.stem}-path{path.suffix}")
    write_whole(beside, "\n".join(_path(found, drawn, beside)) + "\n")
    return [path, beside]


@checked
def save_h5(
    found: xr.Dataset,
    path: Path | str,
    directions: Sequence[Direction] = (),
    model: nn.Module | None = None,
    split: str = "train",
) -> list[Path]:
    """Write a surface or a line as the loss-landscape project's scripts do, so that their plots go on working.

    ``NAME.h5`` has ``xcoordinates``, ``ycoordinates`` and ``train_loss`` ``[y, x]``, ``train_acc`` in percent where
    ``accuracy`` was measured (``plot_1D.py`` needs it), and other metrics by their names. Directions go to
    ``NAME-directions.h5``, each a group of one data set a tensor, in the order of ``model.parameters()``, or of
    ``model.state_dict()`` where buffers move (their ``weights`` and ``states``); the path of a run to
    ``NAME-projection.h5``. A map of the Hessian's extremes gives ``min_eig`` and ``max_eig``.

    Args:
        found: from ``surface``, ``line`` or ``trajectory``; or from ``convexity``.
        path: the file, ``NAME.h5``.
        directions: of x, and of y; none writes no file of directions.
        model: whose they are.
        split: ``train`` or ``test``: what the data are called in the file.

    Returns:
        The files written.

    Raises:
        MissingExtra: h5py is not installed.
        InputError: results without ``loss`` over ``x`` alone or ``y`` and ``x``; directions without a model.

    >>> import tempfile
    >>> import torch
    >>> import nonsingular as ns
    >>> model, batch = torch.nn.Linear(3, 2), (torch.randn(8, 3), torch.arange(8) % 2)
    >>> x, y = (ns.landscape.gaussian(model, seed) for seed in (0, 1))
    >>> found = ns.surface(model, torch.nn.functional.cross_entropy, [batch], x, y, grid=9)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [path.name for path in ns.landscape.save_h5(found, f"{folder}/surface.h5")]
    ['surface.h5']
    """
    path = Path(path)
    mapped = {"min_eig": "smallest", "max_eig": "largest"} if "smallest" in found else {}
    found = found if mapped else _grid(found)
    if directions and model is None:
        raise InputError("directions are written in the order of a model's parameters: give the model too")
    along = path.with_name(f"{path.stem}-directions{path.suffix}")
    content: dict[str, Any] = {"dir_file": str(along) if directions else "", "xcoordinates": found.x.values}
    if "y" in found.dims:
        content["ycoordinates"] = found.y.values
    for name, variable in mapped.items():
        content[name] = found[variable].transpose("y", "x").values
    for name in () if mapped else _measured(found):
        if name == "loss":
            content[f"{split}_loss"] = found[name].values
        elif name == "accuracy":
            content[f"{split}_acc"] = 100 * found[name].values
        else:
            content[name] = found[name].values
    files = {path: content}
    explained = {"explained_variance_ratio_": found.explained.values} if "explained" in found else {}
    if directions:
        assert model is not None
        named = zip(("xdirection", "ydirection"), directions, strict=False)
        files[along] = {name: _listed(d, model) for name, d in named} | explained
    if "path_x" in found:
        beside = path.with_name(f"{path.stem}-projection{path.suffix}")
        files[beside] = {"proj_xcoord": found.path_x.values, "proj_ycoord": found.path_y.values}
    for file, values in files.items():
        write_whole(file, _hdf5(values))
    return list(files)


def _grid(found: xr.Dataset) -> xr.Dataset:
    dims = set(found.loss.dims) if "loss" in found else set()
    if dims not in ({"x"}, {"x", "y"}):
        raise InputError(f"one line or one surface can be written, with loss over x, or y and x; got {sorted(dims)}")
    return found.transpose(*(("y", "x") if "y" in dims else ("x",)), ...)


def _measured(found: xr.Dataset) -> list[str]:
    """The loss and the metrics beside it, with their standard errors where a subset was taken."""
    names = ["loss", *beside(found)]
    errors = ["standard_error", *(f"{name}_standard_error" for name in names[1:])]
    return names + [e for e in errors if bool((found[e] > 0).any())]


def _height(loss: np.ndarray, height: str) -> np.ndarray:
    if height == "flat":
        return np.zeros_like(loss)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _finite(np.log10(loss) if height == "log" else loss)


def _finite(values: np.ndarray) -> np.ndarray:
    """Values that are not finite as the highest finite one, -infinity as the lowest: VTK's text has no word for it."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    return np.nan_to_num(values.astype(float), nan=high, posinf=high, neginf=low)


def _header(kind: str, path: Path) -> list[str]:
    return ["# vtk DataFile Version 3.0", path.stem[:200], "ASCII", f"DATASET {kind}"]


def _points(points: np.ndarray) -> list[str]:
    return [f"POINTS {len(points)} double", *(f"{x:.17g} {y:.17g} {z:.17g}" for x, y, z in points)]


def _path(found: xr.Dataset, heights: np.ndarray, path: Path) -> list[str]:
    """The run as one line over the surface, with the number of each checkpoint and its distance from the plane."""
    x, y = (xr.DataArray(found[f"path_{k}"].values, dims="checkpoint") for k in ("x", "y"))
    over = xr.DataArray(heights, dims=("y", "x"), coords={"y": found.y, "x": found.x}).interp(x=x, y=y).values
    n = len(x)
    lines = _header("POLYDATA", path) + _points(np.stack([x.values, y.values, over], 1))
    lines += [f"LINES 1 {n + 1}", " ".join(map(str, [n, *range(n)])), f"POINT_DATA {n}"]
    for name, values in {
        "checkpoint": np.arange(n),
        **({"distance": found.distance.values} if "distance" in found else {}),
    }.items():
        lines += [f"SCALARS {name} double 1", "LOOKUP_TABLE default", *(f"{v:.17g}" for v in values)]
    return lines


def _listed(direction: Mapping[str, Tensor], model: nn.Module) -> list[np.ndarray]:
    """One array for every parameter, zero where nothing moves; of all the state where buffers move."""
    parameters = dict(model.named_parameters())
    whole: Mapping[str, Tensor] = parameters if direction.keys() <= parameters.keys() else model.state_dict()
    firsts = aliases(model)
    tensors = [direction.get(firsts.get(name, name), torch.zeros_like(t)) for name, t in whole.items()]
    return [(t.float() if t.dtype == torch.bfloat16 else t).detach().cpu().numpy() for t in tensors]


def require_h5py() -> Any:
    """The h5py package.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise MissingExtra("writing .h5", "h5") from None
    return h5py


def _hdf5(content: Mapping[str, Any]) -> bytes:
    h5py = require_h5py()
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, values in content.items():
            if isinstance(values, list):
                group = file.create_group(name)
                for k, array in enumerate(values):
                    group.create_dataset(str(k), data=array)
            else:
                file[name] = values
    return buffer.getvalue()
