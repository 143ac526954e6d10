"""Figure S1: exact Hessian spectra of small networks, plain against residual.

Plain and residual networks of 10 layers and 16 units are trained on 128 principal components of the images: with 20
classes 4 852 parameters, so few that all eigenvalues of the loss's Hessian are computed. Degenerate: within 0.1 of
zero; negative: below -0.1; both as shares of all. A run is a seed: equal weights in both.
"""

from nonsingular.experiments.figure import Curves, Figure
from nonsingular.experiments.scales import Scales, every_nth_epoch
from nonsingular.papers.orhan2018.parts.protocol import STARTED
from nonsingular.papers.orhan2018.parts.small_networks import DIFFERS, residual_ahead, small_networks

FIGURE = Figure(
    "orhan2018/figS1",
    "Exact Hessian spectra of 10-layer, 16-wide networks, plain against residual",
    source="orhan2018 Note 4, figure S1",
    sizes=Scales(
        runs=(2, 16, 20, 4),
        epochs=(2, 15, 300, 300),
        hessian_epochs=((0, 2), (0, 5, 15), every_nth_epoch(30, last=300), every_nth_epoch(10, last=300)),
    ),
    study=lambda size: small_networks(size, "plain", "residual"),
    draw={
        "accuracy": Curves("train_accuracy", "test_accuracy", title="{layers} layers of 16 units"),
        "spectra": Curves("negative_exact", "degenerate_exact", title="Exact Hessian spectra, window ±0.1"),
    },
    needs=STARTED,
    claims=residual_ahead("Small"),
    differs=DIFFERS,
)
