"""Figures of the small exact models (matplotlib), drawn from the data sets of their experiments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from nonsingular.plots.style import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    PURPLE,
    SEQUENTIAL,
    SKY,
    VERMILION,
    colour,
    new_figure,
    style,
)
from nonsingular.words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INSIDE = BLACK
OUTSIDE = (VERMILION, ORANGE, BLUE)  # trajectories from outside the basin, the nearest first


# --- shared pieces ------------------------------------------------------------------------------------------


def _stream(ax: Axes, x: np.ndarray, y: np.ndarray, dx: np.ndarray, dy: np.ndarray, **options: Any) -> Any:
    """Streamlines coloured by log10 of the speed: dark is slow."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap, Normalize

    with np.errstate(divide="ignore"):
        speed = np.log10(np.hypot(dx, dy))
    finite = speed[np.isfinite(speed)]
    low, high = np.quantile(finite, [0.03, 0.99])
    readable = ListedColormap(colormaps[SEQUENTIAL](np.linspace(0, 0.88, 256)))  # its yellow end fades on white
    lines = ax.streamplot(
        x,
        y,
        np.ma.masked_invalid(dx),
        np.ma.masked_invalid(dy),
        color=np.clip(np.nan_to_num(speed, neginf=low), low, high),
        cmap=readable,
        norm=Normalize(low, high),
        linewidth=0.9,
        arrowsize=0.8,
        **{"density": 1.3, **options},
    )
    return lines.lines


def _speed_bar(figure: Figure, lines: Any, ax: Any, label: str, **options: Any) -> None:
    low, high = lines.norm.vmin, lines.norm.vmax
    bar = figure.colorbar(lines, ax=ax, label=label, **{"shrink": 0.9, "pad": 0.02, **options})
    ticks = [k + np.log10(d) for k in range(int(np.floor(low)), int(np.ceil(high))) for d in (1, 2, 5)]
    ticks = [t for t in ticks if low <= t <= high and (high - low < 2.5 or t == round(t))]
    bar.set_ticks(ticks, labels=[f"{10**t:.3g}" for t in ticks])
    bar.outline.set_visible(False)


def _plain_log(axis: Any) -> None:
    """Ticks at 1, 2, 5 with plain numbers, for logarithmic axes of few decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.set_minor_formatter(NullFormatter())


def _strip(ax: Axes, groups: list[np.ndarray], colours: list[str], *, log: bool = False) -> None:
    """One column of dots a group, with its mean and 95 % t interval (of the logarithm on a logarithmic axis)."""
    from scipy import stats

    for k, (values, c) in enumerate(zip(groups, colours, strict=True)):
        values = np.asarray(values, float)
        values = values[np.isfinite(values)]
        jitter = np.random.default_rng(0).uniform(-0.22, 0.22, values.size)
        ax.plot(k + jitter, values, "o", color=c, ms=3, alpha=0.45, mew=0)
        if values.size > 1:
            scaled = np.log10(values) if log else values
            half = stats.t.ppf(0.975, values.size - 1) * scaled.std(ddof=1) / np.sqrt(values.size)
            ends = [scaled.mean() - half, scaled.mean(), scaled.mean() + half]
            low, middle, high = 10.0 ** np.array(ends) if log else ends
            ax.errorbar(
                k, middle, [[middle - low], [high - middle]], fmt="_", color=BLACK, ms=16, mew=2, capsize=4, zorder=5
            )
    if log:
        ax.set_yscale("log")
    ax.set_xticks(range(len(groups)))
    ax.set_xlim(-0.6, len(groups) - 0.4)


def _letter(ax: Axes, letter: str, title: str) -> None:
    ax.set_title(f"$\\bf{{{letter}}}$  {title}" if letter else title, loc="left")


# --- orhan2018/fig2 -----------------------------------------------------------------------------------------


def fig2(results: xr.Dataset) -> dict[str, Figure]:
    """Figure 2: two hidden units (b, c), how exact their reduction is, and linear dependence (e)."""
    return {
        "two-units": _two_units(results),
        "two-units-checks": _two_units_checks(results),
        "linear-dependence": _linear_dependence(results),
    }


def _two_units(results: xr.Dataset) -> Figure:
    with style():
        figure = new_figure(10.4, 4.6)
        left, right = figure.subplots(1, 2, width_ratios=[1.2, 1])
        z, eta = results.z.values, results.eta.values
        left.grid(False)
        edge = np.minimum(results.edge_eta.values, 10)
        left.fill_between(results.edge_z, -edge, edge, color="#D9D9D9", lw=0)
        lines = _stream(left, z, eta, results.dz.values, results.deta.values)
        _speed_bar(figure, lines, left, "speed  (per unit of time, $1/wa$)")
        for side in (-1, 1):
            left.axvline(side, color=PURPLE, lw=1.4)
            left.plot([side, 2 * side], [0, 0], color=BLACK, lw=1.2, ls=(0, (4, 2)))
        left.plot([-1, 1], [0, 0], color=BLACK, lw=4, solid_capstyle="butt")
        white = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
        left.text(1.03, -1.38, "$z=1$\n(unit 2 eliminated)", color=PURPLE, fontsize=8, bbox=white)
        left.text(-1.03, -1.38, "$z=-1$\n(unit 1 eliminated)", color=PURPLE, fontsize=8, ha="right", bbox=white)
        left.text(-0.36, -0.16, "stable", fontsize=8, ha="center", bbox=white)
        left.text(-1.55, -0.16, "unstable", fontsize=8, ha="center", bbox=white)
        for name, c in _starts(results):
            path = results.sel(start=name)
            left.plot(path.path_z, path.path_eta, color=c, lw=2.2, zorder=4)
            left.plot(path.reduced_z, path.reduced_eta, color="white", lw=0.9, ls=(0, (2, 2)), zorder=5)
            left.plot(path.path_z[0], path.path_eta[0], "o", color=c, ms=6, mec="white", zorder=6)
        left.set(xlim=(z[0], z[-1]), ylim=(eta[0], eta[-1]))
        left.set(xlabel="elimination  $z=(w_1-w_2)/(w_1+w_2)$", ylabel="overlap  $h/w=\\pm|J_1-J_2|/(w_1+w_2)$")
        _letter(left, "b", "flow of two hidden units; basin of the stable segment in grey")

        for name, c in _starts(results):
            path = results.sel(start=name)
            where = "starts inside the basin" if name < 1 else f"{100 * (name - 1):.0f} % outside"
            right.plot(path.tau, path.path_loss, color=c, label=where)
        right.set_yscale("log")
        right.axhline(1, color=GREY, lw=0.8, ls=":")
        right.set(xlim=(0, 150), xlabel="time  ($1/wa$)", ylabel="loss  (relative to the best single unit's)")
        right.legend(loc="center left", bbox_to_anchor=(0.5, 0.42), fontsize=8)
        inset = right.inset_axes((0.57, 0.6, 0.42, 0.27))
        for name, c in _starts(results):
            path = results.sel(start=name)
            inset.plot(path.tau, 100 * (path.path_loss - 1), color=c, lw=1.2)
        inset.set(xlim=(0, 20), ylim=(-0.12, 0.7))
        inset.set_title("early: % above the single unit's", fontsize=7.5, pad=2)
        inset.tick_params(labelsize=7)
        _letter(right, "c", "a plateau even from outside the basin")
        figure.suptitle(
            "Solid: gradient flow of the full network (two erf units, Gaussian inputs); dotted white: reduced flow",
            fontsize=8.5,
            color=GREY,
        )
        return figure


def _starts(results: xr.Dataset) -> list[tuple[float, str]]:
    outside = iter(OUTSIDE)
    return [(float(s), INSIDE if s < 1 else next(outside)) for s in results.start.values]


def _two_units_checks(results: xr.Dataset) -> Figure:
    with style():
        figure = new_figure(9.0, 3.6)
        left, right = figure.subplots(1, 2)
        h = results.scale_h.values
        labels = {"uniform": "uniform in $h/w$ (drawn in b)", "narrow": "for $h \\ll w$ only"}
        for (name, label), c in zip(labels.items(), (BLUE, VERMILION), strict=True):
            left.plot(h, results.deviation.sel(flow=name), "o-", color=c, label=label)
        anchor = float(results.deviation.sel(flow="uniform")[0])
        left.plot(h, anchor * h / h[0], color=GREY, ls=":", label="order 1")
        left.set(xscale="log", yscale="log", xlabel="overlap $h$ at the start", ylabel="distance in $(z,\\,h/w)$")
        left.set_xticks(h, [f"{x:.2g}" for x in h])
        left.minorticks_off()
        left.legend(title="reduced flow", loc="center left")
        _letter(left, "", "largest distance between reduced and full flow")
        z = results.line_z
        lowest = results.lowest
        right.axhline(0, color=GREY, lw=0.8)
        right.plot(z, lowest, color=BLACK)
        right.fill_between(z, 0, lowest, where=lowest > 0, color=BLUE, alpha=0.3, label="stable", interpolate=True)
        right.fill_between(
            z, 0, lowest, where=lowest < 0, color=VERMILION, alpha=0.3, label="unstable", interpolate=True
        )
        for side in (-1, 1):
            right.axvline(side, color=PURPLE, lw=1.2)
        right.set(xlabel="elimination $z$, at $h=0$", ylabel="lowest curvature across the line  ($wa$)")
        right.legend(loc="upper right")
        _letter(right, "", "full Hessian along the overlap line")
        return figure


def _linear_dependence(results: xr.Dataset) -> Figure:
    with style():
        figure = new_figure(11.4, 3.9)
        axes = figure.subplots(1, 3, width_ratios=[1, 1, 0.85])
        m0, c0 = results.attrs["teacher_m"], results.attrs["teacher_c"]
        m, c = results.plane_m.values * m0, results.plane_c.values * c0
        m, c = np.linspace(m[0], m[-1], m.size), np.linspace(c[0], c[-1], c.size)
        titles = {"optimised": "all else re-optimised at each point", "teacher": "all else at the teacher's values"}
        for ax, letter, (rest, title) in zip(axes, "ee", titles.items(), strict=False):
            field = results.sel(rest=rest)
            ax.grid(False)
            lines = _stream(ax, m, c, field.plane_dm.values, field.plane_dc.values, density=1.1)
            ax.plot(m0, c0, "*", color=VERMILION, ms=13, mec="white", zorder=5)
            ax.set(xlim=(0, m[-1]), ylim=(0, c[-1]), xlabel="$m=\\|J_a+J_b-J_c\\|$", ylabel="$\\|J_c\\|$")
            _speed_bar(figure, lines, ax, "speed")
            _letter(ax, letter, title)
        systems = ["optimised", "teacher", "weights"]
        _strip(axes[2], [results.ratio.sel(system=s).values for s in systems], [BLUE, SKY, ORANGE], log=True)
        axes[2].axhline(1, color=GREY, lw=1, ls=":")
        axes[2].set_xticklabels(["re-\noptimised", "at the\nteacher's", "weights' own\ngradient flow"])
        _plain_log(axes[2].yaxis)
        axes[2].set_ylabel("rms speed of $m$ / rms speed of $\\|J_c\\|$")
        _letter(axes[2], "", f"{counted(results.sizes['teacher'], 'teacher')} (bars: 95 %)")
        figure.suptitle(
            "3-3-3 network of erf units; star: the teacher; below 1, m is the slower direction",
            fontsize=8.5,
            color=GREY,
        )
        return figure


# --- orhan2018/figS4 ----------------------------------------------------------------------------------------


def figs4(results: xr.Dataset) -> dict[str, Figure]:
    """Figure S4: the weights a of both modes, the error, and the times to converge."""
    return {"modes": _modes(results), "times": _times(results)}


def _modes(results: xr.Dataset) -> Figure:
    titles = {"small": "small random start", "equal norms": "equal starting norms"}
    until = {"small": 12.0, "equal norms": 6.0}
    with style():
        figure = new_figure(10.0, 5.4)
        axes = figure.subplots(2, 3)
        for row, letter, (start, title) in zip(axes, "ab", titles.items(), strict=True):
            for network in results.network.values:
                path = results.sel(start=start, network=network)
                for k in range(2):
                    for unit, dash in enumerate(("-", "--")):
                        label = network if unit == 0 else None
                        row[k].plot(
                            path.time, path.a.isel(mode=k, hidden=unit), dash, color=colour(network), label=label
                        )
                row[2].plot(path.time, path.error, color=colour(network))
            for k in range(2):
                row[k].set_ylabel(f"$a_{k + 1}$, hidden units 1 (—) and 2 (- -)")
            row[2].set(yscale="log", ylim=(1e-4, 2), ylabel="error  $|R|\\,/\\,|s|$")
            row[2].axhline(0.01, color=GREY, ls=":", lw=1)
            for ax in row:
                ax.set(xlim=(0, until[start]), xlabel="time  ($\\tau$)")
            _letter(row[0], letter, title)
        axes[0, 2].legend(*axes[0, 0].get_legend_handles_labels(), loc="lower center")
        stuck = float(results.error.sel(start="equal norms", network="plain")[-1])
        if stuck > 0.01:
            axes[1, 2].annotate(
                "plain stops on a saddle:\nmode 2 is never learnt",
                (5.0, stuck),
                xytext=(2.6, 0.012),
                fontsize=8,
                color=colour("plain"),
                arrowprops={"arrowstyle": "->", "color": colour("plain")},
            )
        s = results.attrs["s"]
        figure.suptitle(
            f"Three-layer linear networks, two modes (s = {s[0]:g}, {s[1]:g}); dotted: 1 % error", fontsize=9
        )
        return figure


def _times(results: xr.Dataset) -> Figure:
    with style():
        figure = new_figure(6.4, 3.6)
        axes = figure.subplots(1, 2, sharey=True)
        window = results.attrs["window"]
        for ax, draw in zip(axes, results.draw.values, strict=True):
            hours = np.minimum(results.converged.sel(draw=draw), window)
            names = [str(n) for n in results.network.values]
            _strip(ax, [hours.sel(network=n).values for n in names], [colour(n) for n in names], log=True)
            ax.set_xticklabels(names)
            ax.set_title(f"{draw} start")
        _plain_log(axes[0].yaxis)
        axes[0].set_ylabel("time to 1 % error  ($\\tau$)")
        figure.suptitle(
            f"{counted(results.sizes['run'], 'random start')}; bars: geometric mean and 95 % interval", fontsize=9
        )
        return figure


# --- orhan2018/figS5 ----------------------------------------------------------------------------------------


def figs5(results: xr.Dataset) -> dict[str, Figure]:
    """Figure S5: phase portraits of three layers (a), the product u(t) of many (b) and what it costs in steps."""
    return {"phase-portraits": _portraits(results), "ten-layers": _ten_layers(results)}


def _portraits(results: xr.Dataset) -> Figure:
    with style():
        figure = new_figure(11.2, 4.1)
        axes = figure.subplots(1, 3, sharex=True, sharey=True)
        grid = results.a.values
        skips = {"plain": (0, 0), "residual": (1, 1), "hyper-residual": (1, 2)}
        for ax, network in zip(axes, results.network.values, strict=True):
            field = results.sel(network=network)
            ax.grid(False)
            lines = _stream(ax, grid, grid, field.da.values, field.db.values, density=1.15)
            ca, cb = skips[str(network)]
            for branch in (np.linspace(-9, -0.05, 300), np.linspace(0.05, 9, 300)):
                ax.plot(branch - ca, 3.0 / branch - cb, color=BLACK, lw=2)
            for path in field.paths.transpose("path", "step", "coordinate").values:
                ax.plot(path[:, 0], path[:, 1], color=colour(str(network)), lw=1.8)
                ax.plot(*path[0], "o", color=colour(str(network)), ms=3.5, mec="white", mew=0.5)
            ax.plot(*field.saddle.values, "X", color=PURPLE, ms=11, mec="white")
            ax.plot(0, 0, "+", color=BLACK, ms=9, mew=1.5)
            ax.set(xlim=(-4, 3), ylim=(-4, 3), aspect="equal", xlabel="mode strength $a$ of layer 1")
            ax.set_title(f"{network}: saddle at ({_tidy(field.saddle[0])}, {_tidy(field.saddle[1])})")
        axes[0].set_ylabel("mode strength $b$ of layer 2")
        _speed_bar(figure, lines, axes, "speed  ($1/\\tau$)")
        figure.suptitle(
            "Three-layer linear networks, s = 3.  black: solutions;  X: saddle;  +: origin;  dots: starts near it",
            fontsize=9,
        )
        return figure


def _tidy(value: xr.DataArray) -> str:
    return f"{round(float(value), 3) + 0.0:g}"


def _ten_layers(results: xr.Dataset) -> Figure:
    with style():
        figure = new_figure(11.2, 3.7)
        left, middle, right = figure.subplots(1, 3, width_ratios=[1.3, 1, 1])
        shown = results.sel(s=3.0)
        names = [str(n) for n in results.network.values]
        time = np.maximum(results.time.values, results.time.values[1])
        for name in names:
            u = shown.u.sel(network=name).transpose("run", "time").values
            left.plot(time, np.median(u, axis=0), color=colour(name), label=name)
            left.fill_between(time, u.min(axis=0), u.max(axis=0), color=colour(name), alpha=0.25, lw=0)
        left.axhline(3.0, color=GREY, ls=":", lw=1)
        left.text(time[0] * 2, 3.3, "$s=3$", color=GREY)
        left.set(xscale="log", xlabel="time  ($\\tau$)", ylabel="$u=\\prod_l\\,(a_l+c_l)$")
        left.set_yscale("symlog", linthresh=1.0)
        left.set_ylim(-0.3, 2e6)
        left.set_yticks([0, 1, 10, 1e3, 1e5], ["0", "1", "10", "$10^3$", "$10^5$"])
        left.minorticks_off()
        left.legend(loc="upper right")
        _letter(
            left,
            "b",
            f"{counted(results.attrs['layers'], 'layer')} "
            f"(median and range of {counted(results.sizes['run'], 'start')})",
        )
        hours = np.minimum(shown.converged, results.attrs["window"])
        steps = hours * shown.curvature / 2
        colours = [colour(n) for n in names]
        _strip(middle, [hours.sel(network=n).values for n in names], colours, log=True)
        middle.set_ylabel("time to 1 %  ($\\tau$)")
        _letter(middle, "c", "in gradient flow's time")
        arrived = np.isfinite(shown.converged)
        _strip(right, [steps.where(arrived).sel(network=n).values for n in names], colours, log=True)
        right.set_ylabel("steps to 1 %")
        _plain_log(right.yaxis)
        _letter(right, "d", "in largest stable steps")
        for ax in (middle, right):
            ax.set_xticklabels(names)
        for k, name in enumerate(names):
            if not bool(arrived.sel(network=name).any()):
                middle.text(k, hours.max() / 3, "not\nreached", ha="center", va="top", fontsize=8)
                right.text(k, 0.5, "not reached", transform=right.get_xaxis_transform(), ha="center", fontsize=8)
        return figure


# --- orhan2017/binary ---------------------------------------------------------------------------------------

BINARY_COLOURS = {
    "plain": colour("plain"),
    "all-ones": GREY,
    "residual": colour("residual"),
    "random-skip": colour("orthogonal"),
    "biased": colour("bias-regularised"),
}


def binary(results: xr.Dataset) -> dict[str, Figure]:
    """Binary weights: the landscape's ties and minima, search success; and the rescaling symmetry."""
    return {"landscape": _landscape(results), "strength": _strength(results), "rescaling": _rescaling(results)}


def _landscape(results: xr.Dataset) -> Figure:
    panels = {
        "tied": ("states with the same loss", True),
        "optima": ("states of zero loss", True),
        "strict_minima": ("strict local minima", True),
        "greedy": ("greedy descent: starts that\nend at zero loss (%)", False),
        "annealing": ("annealing: chains that\nreach zero loss (%)", False),
    }
    names = [n for n in BINARY_COLOURS if n in results.network.values]
    with style():
        rows = results["shape"].size
        figure = new_figure(13.0, 0.6 + 2.7 * rows)
        axes = figure.subplots(rows, len(panels), squeeze=False, sharex=True)
        for row, shape in zip(axes, results["shape"].values, strict=True):
            for ax, (variable, (label, log)) in zip(row, panels.items(), strict=True):
                values = results[variable].sel(shape=shape)
                groups = [values.sel(network=n).values * (1 if log else 100) for n in names]
                if log:
                    groups = [np.maximum(g, 0.5) for g in groups]  # none at all is drawn at 0.5
                _strip(ax, groups, [BINARY_COLOURS[n] for n in names], log=log)
                if log:
                    _plain_log(ax.yaxis)
                ax.set_xticks(range(len(names)), names, rotation=35, ha="right", rotation_mode="anchor")
                ax.set_ylabel(label)
                if not log:
                    ax.set_ylim(-3, 103)
            bits = int(results.bits.sel(shape=shape))
            row[0].set_title(f"{shape} units, $2^{{{bits}}}$ states", loc="left")
        figure.suptitle(
            "Every assignment of binary weights; dots: teachers, bars: mean and 95 % interval (geometric on log axes). "
            "Permutations keep the loss of plain and all-ones, not of the other three",
            fontsize=9,
        )
        return figure


def _strength(results: xr.Dataset) -> Figure:
    panels = {
        "greedy": ("greedy descent: success (%)", 100),
        "annealing": ("annealing: success (%)", 100),
        "strict_minima": ("strict local minima", 1),
    }
    with style():
        figure = new_figure(10.5, 3.5)
        for ax, (variable, (label, scale)) in zip(figure.subplots(1, 3), panels.items(), strict=True):
            plain = scale * float(results[variable].isel(shape=0).sel(network="plain").mean())
            ax.axhline(plain, color=BINARY_COLOURS["plain"], ls="--", label="plain (no skip)")
            for skip in results["skip"].values:
                values = scale * results[f"strength_{variable}"].sel(skip=skip)
                middle = values.mean("teacher")
                error = values.std("teacher") / np.sqrt(max(values.sizes["teacher"] - 1, 1))
                ax.plot(results.strength, middle, "o-", color=BINARY_COLOURS[str(skip)], label=str(skip), ms=4)
                ax.fill_between(
                    results.strength, middle - error, middle + error, color=BINARY_COLOURS[str(skip)], alpha=0.2, lw=0
                )
            ax.set(xscale="log", xlabel="strength of the skip  ($\\|S\\|_F/\\sqrt{n}$)", ylabel=label)
            ax.set_xticks(results.strength.values, [f"{s:g}" for s in results.strength.values])
            ax.minorticks_off()
            ax.set_ylim(bottom=0)
        figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=4)
        name = results["shape"].values[0]
        count = results.sizes["teacher"]
        figure.suptitle(f"{name} units, {counted(count, 'teacher')} (mean, band: ±1 standard error)", fontsize=9)
        return figure


def _rescaling(results: xr.Dataset) -> Figure:
    networks = [str(n) for n in results.wiring.values]
    with style():
        figure = new_figure(11.5, 3.3)
        axes = figure.subplots(1, len(networks), sharey=True)
        pairs = [str(p) for p in results.pair.values]
        last = max(int(p.split("-")[1]) for p in pairs)
        shades = dict(zip(pairs, [ORANGE, SKY, BLACK, BLUE, VERMILION, PURPLE, GREY, GREY, GREY, GREY], strict=False))
        for ax, network in zip(axes, networks, strict=True):
            loss = results.rescaled.sel(wiring=network)
            for pair in pairs:
                middle = loss.sel(pair=pair).median("draw")
                ends = pair == f"1-{last}"
                label = f"$W_{pair[0]}$, $W_{pair[2]}$" + (" (first, last)" if ends else "")
                ax.plot(
                    loss.factor,
                    middle,
                    color=shades[pair],
                    lw=2.4 if ends else 1.4,
                    ls="--" if ends else "-",
                    label=label,
                )
            ax.set(xscale="log", yscale="log", xlabel="factor $c$", title=network)
            ax.set_xticks([0.25, 0.5, 1, 2, 4], ["1/4", "1/2", "1", "2", "4"])
            ax.minorticks_off()
        _plain_log(axes[0].yaxis)
        axes[0].set_ylabel("loss  (relative to $c=1$)")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center", title="$W_i \\to c\\,W_i$, $W_j \\to W_j/c$")
        figure.suptitle(
            f"Rescaling two weight matrices of ReLU networks (median of {counted(results.sizes['draw'], 'network')})",
            fontsize=9,
        )
        return figure
