"""Figure 9: paths of SGD over the plane of their first two principal components, with and without weight decay.

VGG-9 is trained as in figure 2: small and large batches, without and with weight decay. A run's weights after every
epoch are a path; its plane is that of the first two principal components of the path. How steeply the path crosses the
isocurves of the loss in that plane is the absolute cosine between a step and the gradient there: 1 straight down, 0
along an isocurve.
"""

from __future__ import annotations

import xarray as xr

from nonsingular import landscape
from nonsingular.experiments.claims import Effect, mean
from nonsingular.experiments.figure import Figure
from nonsingular.experiments.verbs import Measure, average, claim, larger, question
from nonsingular.papers.li2018.parts import drawings, paths, surfaces, vgg9
from nonsingular.papers.li2018.parts.comparisons import of_trained

IN_PLANE = of_trained("in_plane", "share of a path's variance in its plane")
LATE_CROSSING = of_trained(
    "late_crossing", "mean absolute cosine between step and gradient in the last half", "cosine", (0, 1)
)
"""How steeply a path crosses isocurves late in training."""


def beyond_a_walk(network: str) -> Measure:
    """How much more of a path's variance two directions hold than of a random walk's."""

    def effect(results: xr.Dataset) -> Effect:
        points = results.sizes["epoch"]
        share, walk = 100 * IN_PLANE(results, network), 100 * landscape.random_walk(points)
        note = f"path {float(share.mean()):.1f} %, random walk of {points} points {walk:.1f} %"
        return mean(share - walk, within=(-walk, 100 - walk), note=note)

    words = f"share of a path's variance in two directions minus that of a random walk with as many points: {network}"
    return Measure(effect, words, "percentage points", (network,))


FIGURE = Figure(
    "li2018/fig9",
    "Optimiser paths on the first two PCA directions",
    source="li2018 slides, the effect of the optimizer; figure 9",
    sizes=vgg9.sizes(grid=(9, 21, 31, 51)),
    study=vgg9.study,
    run=paths.run,
    fewest_epochs=2,  # a plane through a path takes three points, the start among them
    draw={"paths": drawings.paths, "crossing": drawings.crossing},
    interactive=drawings.each_path,
    claims={
        **{
            f"two-directions-{name}": claim(
                "Paths lie in few dimensions: two directions hold much of their variance",
                beyond_a_walk(name) > 0,
                source="li2018 section 7.2",
                expected="40 to 90 % in two directions",
            )
            for name in vgg9.PROTOCOLS
        },
        **{
            f"decay-crosses-isocurves-{size}": claim(
                "With weight decay the path crosses the isocurves late in training more than without",
                larger(LATE_CROSSING, f"{size}-batch-decay", f"{size}-batch") > 0,
            )
            for size in ("small", "large")
        },
        **{
            f"along-isocurves-{size}": question(
                "Without weight decay the path runs along the isocurves late in training, more than a step of random "
                "direction",
                average(LATE_CROSSING, f"{size}-batch") < landscape.RANDOM,
            )
            for size in ("small", "large")
        },
    },
    differs=(
        "The paper says that 40 to 90 % of the variance lies in two directions. A random walk has 76 % there: paths "
        "are held against a walk of as many points.",
        "The slides say that without weight decay paths often run in parallel with isocurves; what counts as that, a "
        "mean absolute cosine below the 0.64 of random directions, is ours.",
        "Directions are the first two principal components of all checkpoints minus the last, each of length one: this "
        "is how the normalised PCA directions of the slides are read. They are of all parameters, normalisation's "
        "included; the authors' code leaves those out. Running statistics stay those of the end.",
        *vgg9.DIFFERS,
    ),
    labels=surfaces.STORED | paths.LABELS,
)
