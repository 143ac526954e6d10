"""One look for every picture: a colour-blind-safe palette, and the same colour for the same network everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from nonsingular.plots.room import break_title

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which readers with any of the common colour deficiencies can tell apart.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
GREY = "#7F7F7F"
SEQUENTIAL = "cividis"  # for fields and surfaces: perceptually uniform, readable in grey

_COLOURS = {
    "plain": GREEN,
    "residual": BLUE,
    "hyper-residual": VERMILION,
    "hyper-orthogonal": PURPLE,
    "copied vectors": BLACK,
    "equalised": BLACK,
    "covariance": BLUE,
    "malicious": SKY,
    "bias-regularised": ORANGE,
    "bias-regularised+bn": YELLOW,
    "bias-l2": PURPLE,
    "plainnet": GREEN,
    "resnet": BLUE,
    "resnext": VERMILION,
    "densenet": ORANGE,
    "highway": PURPLE,
    "fractalnet": SKY,
    "copies": GREEN,
    "copies+noise": BLUE,
    "features alone": VERMILION,
    "constnet": BLUE,
    "constnet+bn": ORANGE,
    "constnet-he": VERMILION,
    "wide-resnet": BLACK,
    "computation-noise": BLUE,
    "gradient-noise": SKY,
    "parameter-noise": PURPLE,
    "dropout": ORANGE,
    "dropout-all": YELLOW,
    "library": GREY,
    "deterministic": GREEN,
    "linear-in-pixels": GREEN,
    "leakynet-1": GREEN,
    "leakynet-I": SKY,
    "he": VERMILION,
    "delta-orthogonal": BLACK,
    "isometric": PURPLE,
    "fixup": ORANGE,
    "vgg-11": BLACK,
    "vgg-13": SKY,
    "vgg-13-warm": SKY,
    "vgg-16": ORANGE,
    "vgg-16-warm": ORANGE,
    "best": BLUE,
    "worst": VERMILION,
    "small-batch": BLUE,
    "small-batch-decay": VERMILION,
    "large-batch": SKY,
    "large-batch-decay": ORANGE,
}
# Skip matrices, the less orthogonal the lighter, as in orhan2018 figures 7 and 8.
_SERIES = (
    ("orthogonal", "64-vectors", "32-vectors", "16-vectors", "8-vectors", "4-vectors", "2-vectors", "1-vector"),
    ("0-averages", "1-average", "3-averages", "5-averages", "7-averages", "13-averages"),
    *(tuple(f"{kind}tau={tau:g}" for tau in (0, 0.005, 0.01, 0.015, 0.02, 0.025)) for kind in ("", "covariance-")),
)
_SCALE = ("#000000", "#7201A8", "#99159F", "#BA3388", "#D5536F", "#E97257", "#F89540", "#FEBE2A")
"""Black and the part of matplotlib's plasma that shows on white and on dark: even steps in lightness, no blue."""
for _names in _SERIES:
    _steps = [round((len(_SCALE) - 1) * i / (len(_names) - 1)) for i in range(len(_names))]
    _COLOURS |= {_name: _SCALE[_step] for _name, _step in zip(_names, _steps, strict=True)}
Dashes = str | tuple[float, tuple[float, ...]]

# Networks of a user's own: every colour with the first dashes before any with the second. Those that say "residual" and
# the like in the papers' figures come last; grey is for zero lines and the like.
_SPARE = (PURPLE, ORANGE, SKY, BLACK, YELLOW, GREEN, BLUE, VERMILION)
_DASHES: tuple[Dashes, ...] = ("-", "--", "-.", (0, (1, 1.5)))
_LOOKS = tuple((tone, dashes) for dashes in _DASHES for tone in _SPARE)
_GIVEN: ContextVar[dict[str, tuple[str, Dashes]] | None] = ContextVar("looks of unknown names", default=None)


@contextmanager
def palette(names: Iterable[str] = ()) -> Iterator[None]:
    """Within this context names that the table of colours lacks look different from each other, and keep their look.

    Args:
        names: of the networks that figures will show, in order; known colours among them are not given to others while
            there are free ones. Others get the next look when they are first drawn.
    """
    names = list(names)
    taken = {_COLOURS[name] for name in names if name in _COLOURS}
    given: dict[str, tuple[str, Dashes]] = {}
    looks = [*(look for look in _LOOKS if look[0] not in taken), *(look for look in _LOOKS if look[0] in taken)]
    for name in names:
        if name not in _COLOURS and name not in given:
            given[name] = looks[len(given) % len(looks)]
    token = _GIVEN.set(given)
    try:
        yield
    finally:
        _GIVEN.reset(token)


def _look(network: str) -> tuple[str, Dashes]:
    """Of a name that the table lacks: the palette's, or a fixed one where there is no palette."""
    given = _GIVEN.get()
    if given is None:
        return _LOOKS[sum(map(ord, network)) % len(_SPARE)]
    if network not in given:
        used = set(given.values())
        given[network] = next((look for look in _LOOKS if look not in used), _LOOKS[len(given) % len(_LOOKS)])
    return given[network]


def colour(network: str) -> str:
    """The colour of a network's curve, the same in every figure; of unknown names it is the `palette`'s."""
    return _COLOURS.get(network) or _look(network)[0]


def line(network: str) -> Dashes:
    """The line style of a network's curve: variants of one architecture often lie on each other."""
    return _LINES.get(network, "-") if network in _COLOURS else _look(network)[1]


_LINES: dict[str, Dashes] = {
    "bias-regularised": "--",
    "bias-regularised+bn": (0, (1, 1.5)),
    "bias-l2": "-.",
    "vgg-13-warm": "--",
    "vgg-16-warm": "--",
}
for _names in _SERIES:  # neighbours differ in lightness by little
    for _name in _names[1::2]:
        _LINES[_name] = "--"

_RC: dict[Any, Any] = {
    "figure.dpi": 100,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}


@contextmanager
def style(names: Iterable[str] = ()) -> Iterator[None]:
    """Within this context every matplotlib figure has the project's look, and a `palette` unless one holds."""
    import matplotlib as mpl

    with mpl.rc_context(_RC), nullcontext() if _GIVEN.get() is not None else palette(names):
        yield


def new_figure(width: float = 7.0, height: float = 4.0) -> Figure:
    """An empty figure, in inches, that is not registered with pyplot (so nothing leaks and no display is needed)."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def legend_below(figure: Figure, ax: Axes | None = None) -> None:
    """One legend under all axes, for the curves of ``ax`` (else of the first), in columns as the figure is wide."""
    handles, labels = (ax or figure.axes[0]).get_legend_handles_labels()
    widest = max((len(label) for label in labels), default=1)
    columns = int(figure.get_figwidth() / (0.45 + 0.075 * widest))  # inches: the line, and the letters
    figure.legend(handles, labels, loc="outside lower center", ncols=min(max(columns, 1), max(len(labels), 1)))


def doublings(ax: Axes, numbers: Iterable[float]) -> None:
    """A horizontal axis of widths and the like, logarithmic: few numbers, each worth its tick."""
    numbers = list(numbers)
    ax.set_xscale("log", base=2)
    ax.set_xticks(numbers, [f"{v:g}" for v in numbers])
    ax.minorticks_off()


def zero_at_foot(axis: Axis, values: np.ndarray) -> float:
    """Room for exact zeros at the foot of a logarithmic axis, a decade or more below the rest, where a tick says 0.

    Args:
        axis: logarithmic once it is drawn on; its ticks are set.
        values: all that is drawn along it.

    Returns:
        Where zeros are drawn; where there are none nothing changes.
    """
    import numpy as np
    from matplotlib.ticker import NullLocator

    above = values[np.isfinite(values) & (values > 0)]
    if not (values == 0).any():
        return 0.0
    least, most = (np.log10(above.min()), np.log10(above.max())) if above.size else (0.0, 0.0)
    decades = np.arange(np.floor(least), np.ceil(most) + 1)
    decades = decades[:: max(1, len(decades) // 8)]
    foot = float(10.0 ** (np.floor(least) - max(1.0, 0.1 * (most - least))))
    axis.set_ticks([foot, *10.0**decades], labels=["0", *(f"$10^{{{int(d)}}}$" for d in decades)])
    axis.set_minor_locator(NullLocator())
    return foot


def heading(figure: Figure, *lines: str) -> None:
    """A title above all axes, its lines broken where the figure ends."""
    figure.suptitle("\n".join(lines), fontsize=10)
    break_title(figure)
