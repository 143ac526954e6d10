"""Loss surfaces to turn with the mouse (plotly, loaded only here and only when asked for)."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from nonsingular.errors import MissingExtra
from nonsingular.plots import live
from nonsingular.plots.landscape_parts import DEEP, Scale
from nonsingular.plots.style import SEQUENTIAL, VERMILION


def surface(found: xr.Dataset, title: str) -> Any:
    """One surface, its height the logarithm of the loss where that is positive everywhere; with the path of a run.

    Args:
        found: ``loss`` over ``y`` and ``x``; perhaps ``path_x`` and ``path_y``.
        title: of the figure.

    Raises:
        MissingExtra: plotly is not installed.
    """
    try:
        import plotly.graph_objects as go
    except ImportError:
        raise MissingExtra("interactive surfaces", "interactive") from None
    loss, scale = found.loss.transpose("y", "x").values, Scale.of([found])
    label = "log10 loss" if scale.logarithmic else "loss"
    with np.errstate(divide="ignore", invalid="ignore"):
        height = np.where(np.isfinite(loss), np.log10(loss) if scale.logarithmic else loss, np.nan)
    figure = go.Figure(
        go.Surface(
            x=found.x.values,
            y=found.y.values,
            z=height,
            customdata=loss,
            hovertemplate="x = %{x:.3g}<br>y = %{y:.3g}<br>loss = %{customdata:.4g}<extra></extra>",
            colorscale=SEQUENTIAL.capitalize(),
            colorbar={"title": label},
            contours={"z": {"show": True, "usecolormap": True, "project": {"z": True}}},
        )
    )
    if "path_x" in found:
        x, y = found.path_x.values, found.path_y.values
        over = found.assign(log=(("y", "x"), height)).log.interp(
            x=xr.DataArray(x, dims="checkpoint"), y=xr.DataArray(y, dims="checkpoint")
        )
        figure.add_trace(
            go.Scatter3d(
                x=x, y=y, z=over.values + 0.01 * float(np.nanmax(height) - np.nanmin(height)), mode="lines+markers",
                line={"color": VERMILION, "width": 5}, marker={"size": 3, "color": VERMILION}, name="training",
                text=[f"checkpoint {k}" for k in range(len(x))], hovertemplate="%{text}<extra></extra>",
            )
        )  # fmt: skip
    else:
        i, j = (int(np.abs(found[axis].values).argmin()) for axis in ("y", "x"))
        figure.add_trace(
            go.Scatter3d(
                x=[float(found.x[j])], y=[float(found.y[i])], z=[height[i, j]], mode="markers", showlegend=False,
                marker={"size": 5, "color": VERMILION}, hovertemplate="the weights themselves<extra></extra>",
            )
        )  # fmt: skip
    red = "the path of the run" if "path_x" in found else "the weights themselves"
    caption = f"<br><sup>red: {red}{'<br>' + DEEP if scale.logarithmic else ''}</sup>"
    axes = {"xaxis_title": "first direction", "yaxis_title": "second direction", "zaxis_title": label}
    look = {"template": "plotly_white", "paper_bgcolor": "rgba(0,0,0,0)", "margin": {"l": 0, "r": 0, "b": 0}}
    return figure.update_layout(title=title + caption, scene=axes, **look)


def page(found: xr.Dataset, title: str) -> str:
    """The surface as a page of its own, with the library that draws it; light or dark as the reader's other pages are.

    Args:
        found: as ``surface`` takes it.
        title: of the figure.

    Raises:
        MissingExtra: plotly is not installed.
    """
    return live.page(surface(found, title), title)
