"""What figure 2 shows: two hidden units (b, c) and linear dependence (d, e), solved."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from nonsingular.errors import InputError
from nonsingular.experiments.effects import ROUNDING
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec
from nonsingular.theory import linear_dependence, two_units
from nonsingular.theory import student_teacher as st

STARTS = (0.9, 1.02, 1.1, 1.5)  # eta at z = 0.4, relative to the edge of the basin: one inside, three outside


def run(spec: Spec, workspace: Workspace) -> xr.Dataset:
    """Two hidden units (b, c) and linear dependence (d, e)."""
    settings = spec.settings
    teacher = two_units.close_teacher(0.5)
    edge = np.linspace(-1, 1, 402)  # an even number of points leaves out z = 0, where it is infinite
    parts = [
        two_units.reduced_flow(np.linspace(-2, 2, settings["grid"]), np.linspace(-1.5, 1.5, settings["grid"])),
        _trajectories(teacher),
        two_units.convergence(settings["scales"], points=101).rename(h="scale_h", separation="scale_separation"),
        two_units.singular_lines(teacher).rename(z="line_z"),
        xr.Dataset({"edge_eta": ("edge_z", two_units.separatrix(edge))}, coords={"edge_z": edge}),
    ]
    ratios, segments = [], []
    for seed in workspace.each("flow fields", spec.seeds, "teachers"):
        field = linear_dependence.flow(
            linear_dependence.random_teacher(seed), np.linspace(0.2, 2, settings["teachers_plane"])
        )
        ratios.append(linear_dependence.speed_ratio(field).ratio.values)
        segments.append([_stable_segments(inputs, seed) for inputs in (1, 2, 3)])
    shown = linear_dependence.flow(linear_dependence.random_teacher(spec.seed), np.linspace(0.1, 2, settings["plane"]))
    parts.append(shown.rename({name: f"plane_{name}" for name in (*shown.data_vars, "m", "c")}))
    parts.append(
        xr.Dataset(
            {
                "ratio": (("teacher", "system"), np.array(ratios), {"long_name": "rms speed of m / of |Jc|"}),
                "segments": (("teacher", "inputs"), np.array(segments), {"long_name": "stable segments of h = 0"}),
            },
            coords={"teacher": list(spec.seeds), "system": ["optimised", "teacher", "weights"], "inputs": [1, 2, 3]},
        )
    )
    return xr.merge(parts, combine_attrs="drop_conflicts")


def _trajectories(teacher: st.Network) -> xr.Dataset:
    """Full and reduced trajectories from ``STARTS``; losses relative to the best single unit's."""
    single = two_units.best_single_unit(teacher)
    tau = np.concatenate([[0], np.geomspace(0.05, 150, 600)])
    z, edge = 0.4, float(two_units.separatrix(0.4))
    full, reduced = [], []
    for start in STARTS:
        path = two_units.full_trajectory(
            two_units.start_near(single, z, start * edge), teacher, tau / (single.w * single.a)
        )
        full.append([path.z, path.h / single.w, path.loss / single.loss, path.rate])
        short = two_units.reduced_trajectory(z, start * edge, 150.0, points=1501)
        reduced.append([np.interp(tau, short.tau, short[name], right=np.nan) for name in ("z", "eta")])
    names = ("path_z", "path_eta", "path_loss", "path_rate")
    dims = ("start", "tau")
    variables: dict[str, Any] = {n: (dims, np.array([f[i] for f in full])) for i, n in enumerate(names)}
    variables |= {n: (dims, np.array([r[i] for r in reduced])) for i, n in enumerate(("reduced_z", "reduced_eta"))}
    return xr.Dataset(variables, coords={"start": list(STARTS), "tau": ("tau", tau, {"units": "1 / (w a)"})})


def _stable_segments(inputs: int, seed: int) -> float:
    """How many of the segments |z| < 1 and |z| > 1 of h = 0 attract, for a random two-unit teacher; NaN without one.

    The segment |z| < 1 attracts when w A has no negative eigenvalue, |z| > 1 when it has no positive one.
    """
    rng = np.random.default_rng(seed)
    teacher = st.Network(rng.standard_normal((2, inputs)), rng.standard_normal((1, 2)))
    try:
        single = two_units.best_single_unit(teacher)
    except InputError:
        return np.nan
    values = np.linalg.eigvalsh(single.w * single.A)
    values /= np.abs(values).max()  # directions orthogonal to J and the teacher's weights have eigenvalue 0
    return float((values > -ROUNDING).all()) + float((values < ROUNDING).all())
