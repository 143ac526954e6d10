"""The same pictures with hover values (plotly, loaded only here and only when asked for)."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from nonsingular.errors import MissingExtra
from nonsingular.plots.style import BLACK, BLUE, GREY, ORANGE, PURPLE, SEQUENTIAL, VERMILION, colour
from nonsingular.plots.theory import BINARY_COLOURS


def _plotly() -> Any:
    try:
        import plotly.graph_objects as go
    except ImportError:
        raise MissingExtra("interactive figures", "interactive") from None
    return go


def _field(
    x: np.ndarray, y: np.ndarray, dx: np.ndarray, dy: np.ndarray, names: tuple[str, str], **options: Any
) -> list[Any]:
    """Speed as a heat map with the velocity in the hover text, and arrows of equal length."""
    go = _plotly()
    from plotly.colors import sample_colorscale

    with np.errstate(divide="ignore"):
        speed = np.log10(np.hypot(dx, dy))
    hover = (
        f"{names[0]} = %{{x:.3g}}<br>{names[1]} = %{{y:.3g}}<br>"
        f"d{names[0]}/dt = %{{customdata[0]:.3g}}<br>d{names[1]}/dt = %{{customdata[1]:.3g}}<extra></extra>"
    )
    heat = go.Heatmap(
        x=x,
        y=y,
        z=np.where(np.isfinite(speed), speed, np.nan),
        customdata=np.stack([dx, dy], axis=-1),
        hovertemplate=hover,
        colorscale=sample_colorscale(SEQUENTIAL, list(np.linspace(0, 0.75, 16))),  # white arrows stay visible
        zmin=float(np.nanquantile(speed[np.isfinite(speed)], 0.03)),
        colorbar={"title": "log10 speed"},
        **options,
    )
    every = max(1, len(x) // 16)
    X, Y = np.meshgrid(x[::every], y[::every])
    step = 0.7 * every * np.array([x[1] - x[0], y[1] - y[0]])
    ux, uy = dx[::every, ::every] / step[0], dy[::every, ::every] / step[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 1 / np.hypot(ux, uy)
        tip_x, tip_y = X + ux * scale * step[0], Y + uy * scale * step[1]
    ok = np.isfinite(tip_x) & np.isfinite(tip_y)
    gap = np.full(ok.sum(), np.nan)
    stems = go.Scatter(
        x=np.stack([X[ok], tip_x[ok], gap], 1).ravel(),
        y=np.stack([Y[ok], tip_y[ok], gap], 1).ravel(),
        mode="lines",
        line={"color": "white", "width": 1},
        hoverinfo="skip",
        showlegend=False,
    )
    heads = go.Scatter(
        x=tip_x[ok],
        y=tip_y[ok],
        mode="markers",
        marker={
            "symbol": "arrow",
            "color": "white",
            "size": 7,
            "angle": np.degrees(np.arctan2(ux[ok] * step[0] / np.ptp(x), uy[ok] * step[1] / np.ptp(y))),
        },
        hoverinfo="skip",
        showlegend=False,
    )
    return [heat, stems, heads]


def _line(x: Any, y: Any, name: str, c: str, hover: str = "", **options: Any) -> Any:
    go = _plotly()
    line = {"color": c, **options.pop("line", {})}
    return go.Scatter(
        x=np.asarray(x), y=np.asarray(y), name=name, mode="lines", line=line, hovertemplate=hover or None, **options
    )


def _layout(figure: Any, title: str, x: str, y: str, **options: Any) -> Any:
    return figure.update_layout(
        title=title, xaxis_title=x, yaxis_title=y, template="plotly_white", hovermode="closest", **options
    )


def fig2(results: xr.Dataset) -> dict[str, Any]:
    """The two-unit flow, its trajectories and losses, and the linear-dependence flow."""
    go = _plotly()
    z, eta = results.z.values, results.eta.values
    flow = go.Figure(_field(z, eta, results.dz.values, results.deta.values, ("z", "h/w")))
    edge = np.where(results.edge_eta <= eta[-1], results.edge_eta, np.nan)
    for side in (-1, 1):
        shown: dict[str, Any] = {"legendgroup": "edge", "showlegend": side == 1, "line": {"width": 3, "dash": "dot"}}
        flow.add_trace(_line(results.edge_z, side * edge, "edge of the basin (white)", "white", **shown))
    flow.add_trace(_line([-1, 1], [0, 0], "stable segment", BLACK, line={"width": 6}))
    for side in (-1, 1):
        flow.add_trace(_line([side, side], eta[[0, -1]], f"elimination z = {side}", PURPLE))
    losses = go.Figure()
    colours = [BLACK, VERMILION, ORANGE, BLUE]
    for start, c in zip(results.start.values, colours, strict=False):
        path = results.sel(start=start)
        inside = (np.abs(path.path_z) <= 2) & (path.path_eta <= eta[-1])
        data = np.stack([path.tau, path.path_loss], axis=-1)
        name = f"start at {start:g} of the basin's edge"
        hover = "t = %{customdata[0]:.3g}/wa<br>z = %{x:.3f}<br>h/w = %{y:.3f}<br>loss = %{customdata[1]:.4f}"
        flow.add_trace(_line(path.path_z.where(inside), path.path_eta.where(inside), name, c, hover, customdata=data))
        losses.add_trace(_line(path.tau, path.path_loss, name, c, "t = %{x:.3g}/wa<br>loss = %{y:.5f}"))
    _layout(flow, "Two hidden units: overlap and elimination", "z", "h / w")
    flow.update_layout(legend={"orientation": "h", "y": -0.2})
    _layout(losses, "Near-singularity plateau", "time (1 / wa)", "loss / best single unit's", yaxis_type="log")
    field = results.sel(rest="optimised")
    m, c = results.plane_m.values * results.attrs["teacher_m"], results.plane_c.values * results.attrs["teacher_c"]
    plane = go.Figure(_field(m, c, field.plane_dm.values, field.plane_dc.values, ("m", "|Jc|")))
    _layout(plane, "Linear dependence: all else at its optimum", "m = |Ja + Jb - Jc|", "|Jc|")
    return {"two-units": flow, "plateau": losses, "linear-dependence": plane}


def figs4(results: xr.Dataset) -> dict[str, Any]:
    """Mode strengths over time, for both starts."""
    go = _plotly()
    figures = {}
    for start in results.start.values:
        figure = go.Figure()
        for network in results.network.values:
            path = results.sel(start=start, network=network)
            for k, dash in enumerate(("solid", "dash")):
                name = f"{network}, mode {k + 1}"
                hover = "t = %{x:.3g}<br>strength = %{y:.4f}"
                figure.add_trace(
                    _line(path.time, path.strength.isel(mode=k), name, colour(str(network)), hover, line={"dash": dash})
                )
        _layout(figure, f"Strength of both modes, {start} start", "time (tau)", "diagonal of the network's map")
        figures[f"modes-{str(start).replace(' ', '-')}"] = figure
    return figures


def figs5(results: xr.Dataset) -> dict[str, Any]:
    """A phase portrait for each network, and u(t)."""
    go = _plotly()
    figures = {}
    for network in results.network.values:
        field = results.sel(network=network)
        grid = results.a.values
        portrait = go.Figure(_field(grid, grid, field.da.values, field.db.values, ("a", "b")))
        a, b = field.saddle.values
        portrait.add_trace(
            go.Scatter(
                x=[a], y=[b], name="saddle", mode="markers", marker={"color": VERMILION, "size": 12, "symbol": "x"}
            )
        )
        _layout(
            portrait,
            f"Three-layer {network} network, s = 3",
            "a",
            "b",
            yaxis_scaleanchor="x",
            xaxis_constrain="domain",
            showlegend=False,
        )
        figures[f"portrait-{network}"] = portrait
    growth = go.Figure()
    for network in results.network.values:
        u = results.u.sel(network=network, s=3.0).median("run")
        growth.add_trace(
            _line(results.time[1:], u[1:], str(network), colour(str(network)), "t = %{x:.3g}<br>u = %{y:.4g}")
        )
    growth.add_hline(y=3.0, line={"color": GREY, "dash": "dot"})
    _layout(
        growth,
        f"{results.attrs['layers']} layers, median of the starts",
        "time (tau)",
        "u (plain: below the axis)",
        xaxis_type="log",
    )
    growth.update_yaxes(type="log", range=[-0.5, 6])
    return {**figures, "u": growth}


def binary(results: xr.Dataset) -> dict[str, Any]:
    """Search success of every teacher, and the loss under rescaling."""
    go = _plotly()
    figures = {}
    titles = {
        "greedy": "greedy descent: share of starts that end at zero loss",
        "annealing": "annealing: share of chains that reach zero loss",
        "strict_minima": "strict local minima under single flips",
    }
    for measure, title in titles.items():
        figure = go.Figure()
        for network in results.network.values:
            values = results[measure].sel(network=network).stack(all=("shape", "teacher"))
            text = [f"{s}, teacher {t}" for s, t in values["all"].values]
            figure.add_trace(
                go.Box(
                    y=values.values,
                    name=str(network),
                    boxpoints="all",
                    text=text,
                    marker_color=BINARY_COLOURS[str(network)],
                )
            )
        _layout(figure, f"Binary weights, {title}", "", measure.replace("_", " "), showlegend=False)
        figures[measure.replace("_", "-")] = figure
    rescaling = go.Figure()
    for wiring in results.wiring.values:
        for pair in results.pair.values:
            loss = results.rescaled.sel(wiring=wiring, pair=pair).median("draw")
            hover = f"{wiring}, W{pair[0]} and W{pair[2]}<br>c = %{{x:.3g}}<br>loss = %{{y:.4g}}<extra></extra>"
            rescaling.add_trace(
                _line(loss.factor, loss, str(wiring), colour(str(wiring)), hover, legendgroup=str(wiring),
                      showlegend=bool(pair == results.pair.values[0]))
            )  # fmt: skip
    _layout(rescaling, "W_i times c, W_j divided by c", "c", "loss / loss at c = 1", xaxis_type="log", yaxis_type="log")
    return {**figures, "rescaling": rescaling}
