"""Figure S2: the best and the worst of equal small plain networks, by their exact Hessian spectra.

One kind of network is trained many times: plain, 10 layers of 16 units on 128 principal components. A run is a seed,
and nothing else is varied. The runs are sorted by mean training accuracy over the epochs, and the best tenth is
compared with the worst in the weights and in all eigenvalues of the Hessian (degenerate: within 0.1 of zero; negative:
below -0.1).
"""

from nonsingular.experiments.figure import Curves, Figure
from nonsingular.experiments.quantities import of
from nonsingular.experiments.scales import Scales, every_nth_epoch
from nonsingular.experiments.verbs import claim
from nonsingular.papers.orhan2018.parts import best_and_worst
from nonsingular.papers.orhan2018.parts.best_and_worst import best_minus_worst
from nonsingular.papers.orhan2018.parts.protocol import STARTED
from nonsingular.papers.orhan2018.parts.small_networks import DIFFERS, small_networks

INITIALLY = range(1, 11)
"""Epochs that stand for "initially during training": the paper's axis goes to 300."""

TITLE = "Best and worst of {runs} plain networks, {layers} layers of 16 units"

FIGURE = Figure(
    "orhan2018/figS2",
    "Best and worst of many small plain networks, exact spectra",
    source="orhan2018 Note 4, figure S2",
    sizes=Scales(
        runs=(6, 100, 400, 400),
        epochs=(2, 10, 300, 300),
        hessian_epochs=((0, 2), (2, 10), (10, 50, 100, 200, 300), every_nth_epoch(20, last=300)),
    ),
    study=lambda size: small_networks(size, "plain"),
    run=best_and_worst.run,
    draw={
        "accuracy": Curves("train_accuracy", "test_accuracy", title=TITLE, view=best_and_worst.groups),
        "units": Curves("weight_norm", "mean_overlap", title=TITLE, view=best_and_worst.groups),
        "spectra": Curves("negative_exact", "degenerate_exact", title=TITLE, view=best_and_worst.groups),
    },
    needs=STARTED,
    claims={
        "test-accuracy": claim(
            "The best plain networks do better on the test images too",
            best_minus_worst(of("test_accuracy")) > 0,
            panel="b",
        ),
        "degenerate": claim(
            "The best plain networks are less degenerate than the worst",
            best_minus_worst(of("degenerate_exact")) < 0,
            panel="d",
        ),
        "negative": claim(
            "The best plain networks have more negative eigenvalues",
            best_minus_worst(of("negative_exact")) > 0,
            panel="c",
        ),
        "norms": claim(
            "At least initially the best plain networks have larger weight norms",
            best_minus_worst(of("weight_norm", epoch=INITIALLY)) > 0,
            panel="e",
        ),
        "overlap": claim(
            "The best plain networks have less overlap", best_minus_worst(of("mean_overlap")) < 0, panel="f"
        ),
    },
    differs=(
        "The paper says 'initially' of the norms without an epoch: here after each of the first ten, which smoke does "
        "not reach. It says 'slightly larger': by how much is not judged.",
        *DIFFERS,
    ),
)
