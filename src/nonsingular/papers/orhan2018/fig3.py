"""Figure 3: 20-layer plain, residual and hyper-residual networks; their training accuracy and their singularities.

20-layer networks of 128 units are trained that differ in their skips alone: ``plain`` has none; ``residual`` adds x,
the layer before; ``hyper-residual`` adds Q_k x_k of every earlier layer k too, divided by how many there are, with
fixed random Q_k (four copies of 32 orthonormal vectors); in ``hyper-orthogonal`` Q_k is a dense orthogonal matrix. A
run is a seed: equal weights in all four. After some epochs the shares of the Hessian's eigenvalues within 0.1 of zero
(degenerate) and below -0.1 (negative) are estimated, by four moments as in the paper and by Lanczos from one random
vector (ids in ``-lanczos``).
"""

from nonsingular.experiments.figure import Curves, Figure
from nonsingular.experiments.quantities import END, of
from nonsingular.experiments.scales import Scales
from nonsingular.experiments.spec import LAST
from nonsingular.experiments.verbs import Declared, claim, faster, larger
from nonsingular.papers.orhan2018.parts import differences, eigenvalue_shares, protocol
from nonsingular.papers.orhan2018.parts.eigenvalue_shares import EARLY, by_both

SECTION = "orhan2018 §2.3, figure 3"
UNITS = ("weight_norm", "mean_overlap", "linear_dependence", "zero_response")


def order(more_degenerate: str, less: str) -> dict[str, Declared]:
    """The claims about the eigenvalues of two networks, one of which is the more degenerate."""
    a, b = more_degenerate, less
    return {
        **by_both(
            f"degenerate-{a}-{b}",
            f"{a.capitalize()} networks have more degenerate eigenvalues than {b} ones",
            "degenerate",
            lambda v: larger(v, a, b) > 0,
            f"{SECTION}b",
        ),
        **by_both(
            f"negative-{a}-{b}",
            f"{a.capitalize()} networks have fewer negative eigenvalues than {b} ones",
            "negative",
            lambda v: larger(v, a, b) < 0,
            f"{SECTION}c",
        ),
        **by_both(
            f"early-{a}-{b}",
            f"{a.capitalize()} networks have more degenerate eigenvalues than {b} ones, by more early on than at the "
            "end",
            "degenerate",
            lambda v: larger(of(v, epoch=EARLY) - of(v, epoch=END), a, b) > 0,
            f"{SECTION}b",
        ),
    }


def crossover(name: str, skips: str) -> dict[str, Declared]:
    """That networks with skips end more degenerate than those without."""
    statement = f"Late in training the order turns: {skips} networks end more degenerate than plain ones"
    return by_both(name, statement, "degenerate", lambda v: larger(of(v, epoch=END), skips, "plain") > 0, f"{SECTION}b")


FIGURE = Figure(
    "orhan2018/fig3",
    "20-layer plain, residual and hyper-residual networks: accuracy and singularities over training",
    source=f"{SECTION}a",
    sizes=Scales(
        runs=(3, 8, 10, 50),
        epochs=(2, 25, 40, 100),
        moment_epochs=(
            (0, LAST),  # smoke has no epoch 3, of which the claims early-* are, and no Lanczos
            (0, 1, 3, 10, LAST),
            (0, 1, 3, 10, 20, LAST),
            (0, 1, 2, 3, 5, 10, 20, 30, 50, 75, LAST),
        ),
        lanczos_epochs=((), (EARLY, LAST), (EARLY, LAST), (EARLY, 30, LAST)),
    ),
    study=lambda size: protocol.study(
        size,
        protocol.networks("plain", "residual", "hyper-residual", "hyper-orthogonal", depth=20),
        dict.fromkeys(("train_accuracy", "test_accuracy", "activation_norm", *UNITS))
        | eigenvalue_shares.instruments(size),
    ),
    draw={
        "accuracy": Curves("train_accuracy", "test_accuracy", title="{layers}-layer networks"),
        **eigenvalue_shares.shares("Eigenvalues of the Hessian, {layers} layers"),
        "densities": eigenvalue_shares.fitted("Hessian spectra fitted to four moments, {layers} layers,"),
        "units": Curves(*UNITS, title="Distance from singularities, {layers}-layer networks (mean over layers)"),
    },
    needs=protocol.STARTED,
    claims={
        "residual-faster-than-plain": claim(
            "Residual networks train faster than plain ones", faster("residual", "plain") > 0
        ),
        "hyper-faster-than-residual": claim(
            "Hyper-residual networks train faster than residual ones", faster("hyper-residual", "residual") > 0
        ),
        "copies-above-orthogonal": claim(
            "Hyper-residual networks do better when their Q are copies of 32 vectors than when orthogonal",
            faster("hyper-residual", "hyper-orthogonal") > 0,
            source="orhan2018 Note 2",
        ),
        **order("plain", "residual"),
        **order("residual", "hyper-residual"),
        **crossover("crossover", "residual"),
        **crossover("crossover-hyper", "hyper-residual"),
    },
    differs=(*differences.ESTIMATED, differences.EPOCHS, *differences.IMAGES),
)
