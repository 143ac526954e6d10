"""Shares of degenerate and negative eigenvalues of Hessians too large to be counted exactly (§2.3, Note 3).

They are estimated from four moments as in the paper, and by Lanczos quadrature beside it; a claim about them is judged
by both, by each over the epochs at which it was taken. The sizes of a figure have the epochs after which each is done:
``moment_epochs``, ``lanczos_epochs``.
"""

from __future__ import annotations

from collections.abc import Callable

import xarray as xr

from nonsingular.experiments.drawings import Curves, Drawing, Picture, View, titled
from nonsingular.experiments.scales import Size
from nonsingular.experiments.verbs import Declared, Test, claim
from nonsingular.plots import spectra
from nonsingular.words import counted

METHODS = {"": ("moments", "by the paper's four moments"), "-lanczos": ("lanczos", "estimated by Lanczos")}
"""What ids end in -> name and words. The paper's claims are about the first; the second is beside it, as ours."""

EARLY = 3
"""The epoch that stands for early in training: the one whose spectra the paper shows (figure 3d)."""


def instruments(size: Size) -> dict[str, tuple[int, ...] | None]:
    """Of a study: moments and Lanczos estimates, each where there are epochs for them."""
    epochs = {"hessian_moments": size.moment_epochs, "hessian_few_lanczos": size.lanczos_epochs}
    return {name: when for name, when in epochs.items() if when}


def by_both(
    name: str, statement: str, part: str, test: Callable[[str], Test], source: str | None = None
) -> dict[str, Declared]:
    """A claim about a share of eigenvalues, once by each method.

    Args:
        name: of the claim; that of the second ends in ``-lanczos``.
        statement: what the paper says.
        part: ``degenerate`` or ``negative``.
        test: of a variable.
        source: where, if not where it has the figure.
    """
    return {
        name + end: claim(f"{statement}, {how}", test(f"{part}_{method}"), source=source, ours=bool(end))
        for end, (method, how) in METHODS.items()
    }


def shares(title: str, view: View | None = None) -> dict[str, Drawing]:
    """The drawings ``spectra``, by moments, and ``spectra-lanczos``."""
    return {
        f"spectra{end}": Curves(f"degenerate_{method}", f"negative_{method}", title=f"{title}, {how}", view=view)
        for end, (method, how) in METHODS.items()
    }


def fitted(title: str) -> Drawing:
    """Densities fitted to the moments after three epochs, or after the last of a shorter training."""

    def draw(results: xr.Dataset) -> Picture:
        measured = results.dropna("epoch", how="all", subset=["mixture_w"])
        epoch = EARLY if EARLY in measured.epoch else int(measured.epoch[-1])
        words = f"{titled(title, results)} after {counted(epoch, 'epoch')}; bands: standard errors"
        return spectra.fitted(measured.sel(epoch=epoch), words)

    return draw
