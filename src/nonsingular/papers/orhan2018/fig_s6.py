"""Figure S6: shallow networks, plain against residual, in which gradients should not vanish (Note 7).

Plain and residual networks of two hidden layers of 16 units are trained. The paper takes them to show that skips
change degeneracy and overlap also where they have no vanishing gradients to mend. A run is a seed. Eigenvalues of the
Hessian are counted exactly (degenerate: within 0.1 of zero). That one thing tracks another is a rank correlation over
the epochs of a run.
"""

from math import log10

from nonsingular.experiments.figure import Curves, Figure
from nonsingular.experiments.quantities import first_over_last, of, tracks
from nonsingular.experiments.scales import Scales, every_nth_epoch
from nonsingular.experiments.verbs import across, average, claim, larger
from nonsingular.papers.orhan2018.parts import differences
from nonsingular.papers.orhan2018.parts.protocol import STARTED
from nonsingular.papers.orhan2018.parts.small_networks import DIFFERS, residual_ahead, small_networks

NETWORKS = ("plain", "residual")
SECOND = 2
"""The hidden layer whose overlap figure S6f shows, of two: the fewest that can have a skip."""
CLOSELY = 0.5
"""The rank correlation from which on one thing closely tracks another; the paper gives no number."""
TITLE = "Two hidden layers of 16 units"

FIGURE = Figure(
    "orhan2018/figS6",
    "Shallow networks of two hidden layers",
    source="orhan2018 Note 7, figure S6",
    sizes=Scales(
        runs=(2, 6, 16, 16),  # smoke has too few epochs for what tracks what
        epochs=(4, 20, 100, 100),
        hessian_epochs=((0, 2, 4), (0, 1, 2, 4, 8, 14, 20), every_nth_epoch(4, last=100), every_nth_epoch(4, last=100)),
    ),
    study=lambda size: small_networks(
        size, *NETWORKS, depth=2, measured=("train_accuracy", "test_accuracy", "gradient_norm", "mean_overlap")
    ),
    draw={
        "accuracy": Curves("train_accuracy", "test_accuracy", title=TITLE),
        "spectra": Curves("negative_exact", "degenerate_exact", title=f"{TITLE}: exact Hessian spectra, window ±0.1"),
        "gradients": Curves("gradient_norm", title=f"{TITLE}: gradients, mean over layers"),
        "overlap": Curves("mean_overlap", title=f"{TITLE}: overlap in the second layer", layer=SECOND),
    },
    needs=STARTED,
    claims={
        **residual_ahead("Shallow", "train-accuracy", "abdc"),
        "gradients": claim(
            "Shallow residual networks have larger gradients with respect to activations",
            larger("gradient_norm", "residual", "plain") > 0,
            panel="e",
        ),
        "plain-does-not-vanish": claim(
            "Gradients do not vanish in the shallow plain networks, even at the start",
            average(first_over_last(), "plain") > log10(1 / 2),
            panel="e",
        ),
        "overlap": claim(
            "The second hidden layer of shallow residual networks has less overlap",
            larger(of("mean_overlap", layer=SECOND), "residual", "plain") < 0,
            panel="f",
        ),
        "gradients-track-overlap": claim(
            "Gradient norms closely track overlap: the more of it, the smaller they are",
            across(tracks("gradient_norm", "mean_overlap", layer=SECOND), NETWORKS, "mean") < -CLOSELY,
            panel="e, f",
        ),
        "gradients-track-degeneracy": claim(
            "Gradient norms closely track degeneracy: the more of it, the smaller they are",
            across(tracks("gradient_norm", "degenerate_exact"), NETWORKS, "mean") < -CLOSELY,
            panel="d, e",
        ),
        "accuracy-tracks-overlap": claim(
            "Accuracy too is strongly correlated with the distance from overlap",
            across(tracks("train_accuracy", "mean_overlap", layer=SECOND), NETWORKS, "mean") < -CLOSELY,
            source="orhan2018 §3 (v)",
        ),
    },
    differs=(
        "The paper does not say how it counted these networks' eigenvalues: here inputs are reduced to 128 "
        "principal components, as in its figures S1 to S3, and all eigenvalues are counted.",
        "That one thing tracks another is judged over the epochs of each run; the paper shows curves.",
        "Where the paper says 'slightly' of the accuracies, which network is ahead is judged, not by how much.",
        differences.EPOCHS,
        *DIFFERS,
    ),
)
