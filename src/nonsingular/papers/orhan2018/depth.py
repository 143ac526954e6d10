"""Where trainability ends: plain and residual networks of 2 to 50 layers.

Plain and residual networks of 128 units are trained, with 2 to 50 hidden layers (``plain-2`` ... ``residual-50``). A
run is a seed. Its gain is its training accuracy after the last epoch less that before training. Training of a kind
ends at the depth, interpolated, at which a run's gain falls below half of its best gain at any depth of either kind;
where it never does 50 stands for that depth, where it does from the first 2.
"""

from nonsingular.experiments.figure import Figure, OverNumbers
from nonsingular.experiments.quantities import SPEED, first_over_last
from nonsingular.experiments.scales import Scales
from nonsingular.experiments.verbs import average, faster, larger, question, weighted_sum
from nonsingular.networks import named
from nonsingular.papers.orhan2018.parts import differences, protocol
from nonsingular.papers.orhan2018.parts.trainable_depth import DEPTHS, GAIN, KINDS, SERIES, TRAINABLE_DEPTH, of_kinds
from nonsingular.training import Member

ENDED = 40
"""Layers, between the last two depths: a run that ends nowhere counts with the largest, which no mean exceeds."""

FIGURE = Figure(
    "orhan2018/depth",
    "Where trainability ends: plain and residual networks of 2 to 50 layers",
    source="orhan2018 §1, §2.3 (skips make very deep networks trainable); the depths are ours",
    sizes=Scales(runs=(2, 3, 5, 20), epochs=(2, 8, 20, 100)),
    study=lambda size: protocol.study(
        size,
        [Member(f"{kind}-{d}", named(kind, depth=d)) for kind in KINDS for d in DEPTHS],
        {"train_accuracy": None, "gradient_norm": (0,)},
    ),
    draw={
        "depth": OverNumbers(
            GAIN,
            first_over_last(),
            series=SERIES,
            label="hidden layers",
            title="Depth with and without skips, {epochs} epochs",
            base=2,
            ends=TRAINABLE_DEPTH,
        )
    },
    needs=protocol.STARTED,
    claims={
        **{
            f"residual-ahead-{d}": question(
                f"Residual networks of {d} layers train faster than plain ones",
                faster(f"residual-{d}", f"plain-{d}") > 0,
            )
            for d in DEPTHS
        },
        "plain-falls": question(
            "Plain networks train worse with 50 layers than with 10", faster("plain-50", "plain-10") < 0
        ),
        "residual-loses-less": question(
            "From 10 to 50 layers residual networks lose less than half of what plain ones lose",
            weighted_sum(SPEED, {"residual-10": 1, "residual-50": -1, "plain-10": -0.5, "plain-50": 0.5}) < 0,
        ),
        "plain-ends": question(
            f"Training of plain networks ends before {ENDED} layers",
            of_kinds(average(TRAINABLE_DEPTH, "plain")) < ENDED,
        ),
        "residual-outlasts-plain": question(
            "Residual networks train at depths where plain ones do not",
            of_kinds(larger(TRAINABLE_DEPTH, "residual", "plain")) > 0,
        ),
    },
    differs=(
        "The paper has no such figure: its networks have 2, 10, 20 or 30 hidden layers, and it compares no depths.",
        differences.damped,
        *differences.IMAGES,
    ),
)
