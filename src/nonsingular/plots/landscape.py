"""Loss surfaces (matplotlib): contours, surfaces in three dimensions, lines, and the paths of training runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from nonsingular.intervals import Effect, mean
from nonsingular.landscape.metrics import beside
from nonsingular.plots.landscape_parts import DEEP, Scale, across, bar, eigenvalue_ratios, filled, frames, how
from nonsingular.plots.style import (
    BLACK,
    BLUE,
    GREY,
    SEQUENTIAL,
    VERMILION,
    colour,
    heading,
    new_figure,
    style,
)
from nonsingular.words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_RADIUS = "multiple of the direction"


def draw(found: xr.Dataset, title: str) -> Mapping[str, Figure]:
    """The figures of what ``nonsingular landscape`` found, by name.

    Args:
        found: from ``landscape.explore``.
        title: of each.
    """
    kind, metrics = found.attrs["kind"], beside(found)
    if kind == "line":
        return {"line": line(found, title)}
    if kind == "trajectory":
        figures = {"trajectory": trajectories([found], [""], title), "surface": relief([found], [""], title)}
        return figures | {m: trajectories([found], [""], title, variable=m) for m in metrics}
    planes = [found.isel(plane=k) for k in range(found.sizes["plane"])]
    names = [f"directions {k + 1}" if len(planes) > 1 else "" for k in range(len(planes))]
    figures = {"contours": contours(planes, names, title), "surface": relief(planes, names, title)}
    figures |= {m: contours(planes, names, title, variable=m) for m in metrics}
    if "hessian_ratio" in found:
        figures["convexity"] = ratios([found.isel(plane=0)], [""], title)
    return figures


def contours(
    surfaces: Sequence[xr.Dataset], names: Sequence[str], title: str, columns: int = 0, variable: str = "loss"
) -> Figure:
    """Filled contours of each surface, all on one scale of colours, logarithmic for the loss.

    Args:
        surfaces: each with ``variable`` over ``y`` and ``x``.
        names: above the panels.
        title: above all.
        columns: panels in a row; 0 for at most four.
        variable: ``loss``, or a metric.
    """
    with style():
        figure, axes = frames(surfaces, columns)
        scale = Scale.of(surfaces, variable)
        for number, (ax, surface, name) in enumerate(zip(axes, surfaces, names, strict=False)):
            drawn = filled(ax, surface, scale)
            ax.plot(0, 0, "+", color="white", ms=9, mew=1.8)
            ax.set_title(name)
            ax.set_xlabel(f"first direction ({_RADIUS})" if len(surfaces) == 1 else "first direction")
            if number % across(len(surfaces), columns) == 0:
                ax.set_ylabel(f"second direction ({_RADIUS})" if len(surfaces) == 1 else "second direction")
        bar(figure, drawn, axes, scale)
        figure.suptitle(f"{title}\n{how(surfaces)}", fontsize=10)
        return figure


def relief(surfaces: Sequence[xr.Dataset], names: Sequence[str], title: str, columns: int = 0) -> Figure:
    """Surfaces in three dimensions: first by the logarithm of the loss, then by the loss; each one scale for all.

    Only both together show a surface: the logarithm draws every small loss as a deep pit, the loss every large one as a
    steep wall.
    """
    with style():
        width = across(len(surfaces), columns)
        rows = -(-len(surfaces) // width)
        scales = [Scale.of(surfaces)]
        scales += [Scale.of(surfaces, linear=True)] if scales[0].logarithmic else []
        beside = len(surfaces) == 1  # one surface stands beside itself, several one below the other
        shape = (1, len(scales)) if beside else (rows * len(scales), width)
        figure = new_figure(4.4 * shape[1], 3.5 * shape[0] + 0.5)
        for level, scale in enumerate(scales):
            for number, (surface, name) in enumerate(zip(surfaces, names, strict=True), 1):
                place = level * (1 if beside else rows * width) + number
                ax: Any = figure.add_subplot(*shape, place, projection="3d")
                _stand(ax, surface, scale)
                ax.set_title(name if not level else "", y=0.98)
        both = f"{'left' if beside else 'above'}: {DEEP}; {'right' if beside else 'below'}: the loss itself; "
        heading(figure, title, (both if len(scales) > 1 else "") + how(surfaces))
        return figure


def _stand(ax: Any, surface: xr.Dataset, scale: Scale) -> None:
    """One surface in three dimensions."""
    from matplotlib.ticker import MaxNLocator

    X, Y = np.meshgrid(surface.x, surface.y)
    ax.plot_surface(
        X, Y, scale.heights(surface), cmap=SEQUENTIAL, vmin=scale.low, vmax=scale.high, rcount=120, ccount=120,
        linewidth=0, antialiased=True,
    )  # fmt: skip
    ax.set_zlim(scale.low, scale.high)
    ticks, labels = scale.ticks(5)
    ax.set_zticks(ticks, labels=labels)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(4))
    ax.set_xlabel("first direction", labelpad=-2)
    ax.set_ylabel("second direction", labelpad=-2)
    ax.set_zlabel(scale.label, labelpad=4)
    ax.tick_params(pad=0, labelsize=7)
    ax.view_init(elev=32, azim=-58)
    ax.set_box_aspect(None, zoom=0.85)


def line(found: xr.Dataset, title: str) -> Figure:
    """The loss along a line, and each metric below it; the two solutions are marked."""
    shown = ["loss", *beside(found)]
    with style():
        figure = new_figure(5.6, 1.4 + 2.0 * len(shown))
        axes = np.atleast_1d(figure.subplots(len(shown), 1, sharex=True))
        for ax, name in zip(axes, shown, strict=True):
            values, error = found[name], found[_error(name)].fillna(0)
            ax.plot(found.x, values, color=BLUE)
            if float(error.max()) > 0:
                ax.fill_between(found.x, values - error, values + error, color=BLUE, alpha=0.25, lw=0)
            for at, end, side in ((0, " first", "left"), (1, "second ", "right")):
                if at not in found.x:
                    continue
                ax.axvline(at, color=GREY, lw=1, ls="--")
                ax.plot(at, values.sel(x=at), "o", color=BLUE, ms=5)
                ax.text(
                    at, 0.97, end, transform=ax.get_xaxis_transform(), color=GREY, fontsize=8, va="top", ha=side
                )  # fmt: skip
            ax.set_xlim(float(found.x[0]), float(found.x[-1]))
            if name == "loss" and 0 < 3 * float(values.min()) < float(values.max()):
                ax.set_yscale("log")
            ax.set_ylabel(f"{name} (log scale)" if ax.get_yscale() == "log" else name.replace("_", " "))
        axes[-1].set_xlabel("from the first solution (0) to the second (1)")
        band = "; band: ±1 standard error of the subset" if float(found.standard_error.fillna(0).max()) > 0 else ""
        figure.suptitle(f"{title}\n{how([found])}{band}", fontsize=10)
        return figure


def _error(name: str) -> str:
    return "standard_error" if name == "loss" else f"{name}_standard_error"


def trajectories(
    surfaces: Sequence[xr.Dataset], names: Sequence[str], title: str, columns: int = 0, variable: str = "loss"
) -> Figure:
    """Paths of training runs over the planes of their first two principal components.

    Args:
        surfaces: from ``landscape.trajectory``.
        names: above the panels.
        title: above all.
        columns: panels in a row; 0 for at most four.
        variable: ``loss``, or a metric.
    """
    with style():
        figure, axes = frames(surfaces, columns, shared=False)
        scale = Scale.of(surfaces, variable)
        for ax, surface, name in zip(axes, surfaces, names, strict=False):
            drawn = filled(ax, surface, scale)
            ax.plot(surface.path_x, surface.path_y, "-", color="white", lw=2.6)
            ax.plot(surface.path_x, surface.path_y, "o-", color=VERMILION, lw=1.3, ms=3)
            ax.plot(surface.path_x[0], surface.path_y[0], "o", color="white", mec=BLACK, ms=6)
            ax.plot(surface.path_x[-1], surface.path_y[-1], "*", color="white", mec=BLACK, ms=10)
            first, second = 100 * surface.explained.values[:2]
            ax.set_xlabel(f"1st component ({first:.1f} % of variance)")
            ax.set_ylabel(f"2nd component ({second:.1f} %)")
            ax.set_title("\n".join(filter(None, (name, _off(surface)))), fontsize=9)
        bar(figure, drawn, axes, scale)
        figure.suptitle(f"{title}\ncircle: start, star: end, dots: checkpoints; {how(surfaces)}", fontsize=10)
        return figure


def _off(surface: xr.Dataset) -> str:
    """How far a path leaves its plane, where that was measured."""
    if "distance" not in surface:
        return ""
    length = np.hypot(surface.path_x, surface.path_y).values
    return f"up to {float(surface.distance.max()):.2g} off the plane, {length.max():.2g} from the end in it"


def lines(results: xr.Dataset, title: str) -> Figure:
    """Losses along lines, a panel for each pair of solutions and a line for each run.

    Beyond both ends variances of batch normalisation are extrapolated; where they are negative there is no loss.

    Args:
        results: ``loss`` over ``pair``, ``run`` and ``x``; 0 and 1 are the solutions.
        title: above all.
    """
    with style():
        figure = new_figure(4.2 * results.sizes["pair"], 3.4)
        axes = np.atleast_1d(figure.subplots(1, results.sizes["pair"], sharey=True))
        for ax, pair in zip(axes, results.pair.values, strict=True):
            ax.plot(results.x, results.loss.sel(pair=pair).transpose("x", "run"), color=BLUE, lw=1, alpha=0.6)
            for at in (0, 1):
                ax.axvline(at, color=GREY, lw=1, ls="--")
            ax.set_yscale("log")
            ax.set_title(str(pair))
            ax.set_xlabel("from the first solution (0) to the second (1)")
        axes[0].set_ylabel("loss (log scale)")
        ends = "; lines end where extrapolated variances are negative" if results.loss.isnull().any() else ""
        figure.suptitle(f"{title}\none line a run; {how([results])}{ends}", fontsize=10)
        return figure


def ratios(surfaces: Sequence[xr.Dataset], names: Sequence[str], title: str) -> Figure:
    """Maps of abs(smallest / largest eigenvalue), all on one scale of colours, with contours of the loss over them.

    Args:
        surfaces: each with ``hessian_ratio`` over ``curvature_y`` and ``curvature_x``, and ``loss`` over ``y`` and
            ``x``.
        names: above the panels.
        title: above all.
    """
    with style():
        figure, axes = frames(surfaces, 0)
        scale = Scale.of(surfaces)
        values = np.concatenate([s.hessian_ratio.values.ravel() for s in surfaces])
        values = values[np.isfinite(values)]
        top = max(float(np.quantile(values, 0.99)), 1e-3) if values.size else 1.0
        for ax, surface, name in zip(axes, surfaces, names, strict=False):
            drawn = eigenvalue_ratios(ax, surface, np.linspace(0, top, 25))
            ax.contour(surface.x, surface.y, scale.heights(surface), colors="white", linewidths=0.6,
                       levels=np.linspace(scale.low, scale.high, 10)[1:-1], linestyles="solid")  # fmt: skip
            ax.set_title(name)
            ax.set_xlabel("first direction")
        axes[0].set_ylabel("second direction")
        beside = figure.colorbar(drawn, ax=axes, label=r"$|\lambda_{\min} / \lambda_{\max}|$, 0: convex", pad=0.02)
        beside.outline.set_visible(False)
        beside.set_ticks(list(np.linspace(0, top, 6)), labels=[f"{t:.2g}" for t in np.linspace(0, top, 6)])
        dots = "dots: where eigenvalues were computed, linear between them; lines: contours of the loss"
        heading(figure, title, f"{dots}; {how(surfaces)}")
        return figure


# --- experiments: several networks and runs -----------------------------------------------------------------


def caption(title: str, results: xr.Dataset) -> str:
    """A title with the data set."""
    return f"{title}; {results.attrs['data']}" if "data" in results.attrs else title


def panels(results: xr.Dataset, by_kind: bool = False) -> tuple[list[xr.Dataset], list[str]]:
    """Every run of every network as a surface of its own, and what stands above its panel.

    Args:
        results: ``loss`` over ``network``, ``run``, ``y`` and ``x``.
        by_kind: all networks with skips first, then those without.

    A run whose ``trained`` is 0 is marked as not trained.
    """
    names = [str(n) for n in results.network.values]
    if by_kind:
        names.sort(key=lambda name: name.startswith("plainnet"))
    several = results.sizes["run"] > 1
    found, titles = [], []
    for name in names:
        for run in results.run.values:
            one = results.sel(network=name, run=run)
            error = f"\ntest error {float(one.test_error):.1f} %" if "test_error" in one else ""
            error += "" if _trained(one) else " (not trained)"
            found.append(one)
            titles.append(_called(name) + (f", run {run}" if several else "") + error)
    return found, titles


def roughness(
    results: xr.Dataset, labels: Mapping[str, str], title: str, within: Mapping[str, tuple[float, float]]
) -> Figure:
    """Each measure of roughness: one dot a run, with the mean and its 95 % bootstrap interval.

    Where the axis is logarithmic the mean is the geometric one, and the interval that of the mean logarithm.

    Dots of runs whose ``trained`` is 0 are hollow.

    Args:
        results: with the measures over ``network`` and ``run``.
        labels: measure -> label of its axis.
        title: above all.
        within: measure -> the values that are possible.
    """
    names = [str(n) for n in results.network.values]
    with style():
        columns = -(-len(labels) // (1 if len(labels) < 5 else 2))
        figure = new_figure(2.9 * columns, 3.6 * -(-len(labels) // columns))
        axes = np.ravel(figure.subplots(-(-len(labels) // columns), columns))
        for ax in axes[len(labels) :]:
            ax.set_visible(False)
        for ax, (variable, label) in zip(axes, labels.items(), strict=False):
            finite = results[variable].values[np.isfinite(results[variable].values)]
            log = bool(finite.size and finite.min() > 0 and finite.max() > 30 * finite.min())
            ax.set_yscale("log" if log else "linear")
            for k, name in enumerate(names):
                one = results.sel(network=name)
                one = one.isel(run=np.isfinite(one[variable].values))
                values = one[variable].values
                for run, value in enumerate(values):
                    ax.plot(k - 0.12, value, "o", color=_colour(name), ms=4, alpha=0.6, **_marker(one.isel(run=run)))
                if len(values) > 1:
                    effect = mean(np.log(values) if log else values, within=_possible(within[variable], log))
                    _bar(ax, k + 0.12, effect, log, float(finite.max()), _colour(name))
            ax.set_xticks(range(len(names)), labels=[_called(n) for n in names], rotation=45, ha="right")
            ax.set_xlim(-0.6, len(names) - 0.4)
            ax.set_ylabel(label)
        runs = results.sizes["run"]
        hollow = "" if _trained(results) else "; hollow: not trained"
        told = f"{counted(runs, 'run')} each; bars: mean (on log axes geometric), 95 % interval (arrow: no end){hollow}"
        figure.suptitle(f"{title}\n{told}", fontsize=10)
        return figure


def _bar(ax: Axes, x: float, effect: Effect, log: bool, top: float, colour: str) -> None:
    """A mean and its interval; one without an upper end goes up to ``top``, with an arrow there."""
    at, low, high = (float(np.exp(v)) if log else v for v in (effect.value, effect.low, effect.high))
    if open_end := math.isinf(high):
        high = max(top, at)
        ax.plot(x, high, "^", color=colour, ms=5)
    ends = np.maximum([[at - low], [high - at]], 0)  # of equal runs rounding could make it negative
    ax.errorbar(x, at, ends, fmt="_", color=colour, ms=10, mew=2, capsize=0 if open_end else 3)


def _possible(within: tuple[float, float], log: bool) -> tuple[float, float]:
    """What values a mean may have, or one of logarithms."""
    low, high = within
    return (float(np.log(low)) if low > 0 else -np.inf, float(np.log(high))) if log else within


def flatness(results: xr.Dataset, label: str, title: str) -> Figure:
    """Sharpness against test error, one dot a network; those of runs whose ``trained`` is 0 are hollow."""
    with style():
        figure = new_figure(5.0, 3.6)
        ax = figure.subplots()
        markers = "osD^v"
        seen: dict[str, int] = {}
        for name in map(str, results.network.values):
            kind = name.split("-")[0]
            seen[kind] = seen.get(kind, -1) + 1
            for run in range(results.sizes["run"]):
                one = results.sel(network=name).isel(run=run)
                ax.plot(one.sharpness, one.test_error, markers[seen[kind] % len(markers)], color=_colour(name),
                        label="" if run else _called(name), ms=6, alpha=0.8, **_marker(one))  # fmt: skip
        positive = results.sharpness.values[np.isfinite(results.sharpness.values)]
        if positive.size and positive.min() > 0 and positive.max() > 10 * positive.min():
            ax.set_xscale("log")
        ax.set_xlabel(label.replace("\n", " "))
        ax.set_ylabel("test error (%)")
        figure.legend(loc="outside right center")
        figure.suptitle(title if _trained(results) else f"{title}\nhollow: not trained", fontsize=10)
        return figure


def crossing(results: xr.Dataset, title: str) -> Figure:
    """How steeply the steps of each path cross the isocurves, over training; mean and standard error of the runs."""
    colours = {name: colour(name) for name in map(str, results.network.values)}
    with style():
        figure = new_figure(6.4, 3.6)
        ax = figure.subplots()
        steps = np.arange(results.sizes["step"]) + 0.5
        for name, c in colours.items():
            values = results.crossing.sel(network=name).transpose("run", "step").values
            mean = np.nanmean(values, axis=0)
            ax.plot(steps, mean, color=c, label=name.replace("-", " ").replace("decay", "weight decay"))
            if len(values) > 1:
                error = np.nanstd(values, axis=0, ddof=1) / np.sqrt(len(values))
                ax.fill_between(steps, mean - error, mean + error, color=c, alpha=0.2, lw=0)
        ax.axhline(2 / np.pi, color=GREY, ls="--", lw=1)
        ax.text(0.99, 2 / np.pi, "random direction", color=GREY, fontsize=8, va="bottom", ha="right",
                transform=ax.get_yaxis_transform())  # fmt: skip
        ax.set_xlabel("epoch")
        ax.set_ylabel("|cos| of step and gradient\n(1: across isocurves, 0: along)")
        ax.set_ylim(0, 1)
        figure.legend(loc="outside lower center", ncols=2)
        figure.suptitle(
            f"{title}\nmean of {counted(results.sizes['run'], 'run')}; bands: ±1 standard error", fontsize=10
        )
        return figure


def _trained(results: xr.Dataset) -> bool:
    """Whether all that is in the results has trained, as far as they say."""
    return "trained" not in results or bool((results.trained > 0).all())


def _marker(one: xr.Dataset) -> dict[str, Any]:
    """A filled dot for a trained network, a hollow one for one that has not trained."""
    return {"mew": 0} if _trained(one) else {"mew": 1, "mfc": "none"}


def _called(name: str) -> str:
    """How a network is called in a figure."""
    kind, _, rest = name.partition("-")
    label = rest.replace("k", "k = ") if rest.startswith("k") else rest
    return {"resnet": f"skips, {label}", "plainnet": f"no skips, {label}"}.get(kind, name)


def _colour(name: str) -> str:
    """Of a network by its kind: ``resnet-20``, ``densenet-22``; of any other name its own."""
    kind = name.rpartition("-")[0]
    return colour(kind if kind in ("resnet", "plainnet", "densenet") else name)
