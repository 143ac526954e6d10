"""The demonstration: what skip connections do for a 20-layer network, on scikit-learn's digits, in two minutes.

Four kinds are trained: ``plain`` networks, ``residual`` ones (each layer adds the one before), ``hyper-residual`` ones
(each adds fixed random combinations of all earlier layers too), and ``bias-regularised``: plain, with a penalty that
pulls the biases to fixed random targets, one for each unit. A run is a seed: equal weights in all four.
"""

from nonsingular.experiments.figure import Curves, Figure
from nonsingular.experiments.scales import Scales, Size
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.verbs import claim, faster, larger
from nonsingular.networks import named
from nonsingular.papers.orhan2018.parts import bias_regularisation, protocol
from nonsingular.training import Member

COLUMNS = ("train_accuracy", "test_accuracy", "weight_norm", "mean_overlap", "linear_dependence", "zero_response")


def study(size: Size) -> Spec:
    """Four 20-layer networks of 128 units."""
    images = protocol.images(size.data or "digits", size.scale)
    networks = (
        *protocol.networks("plain", "residual", "hyper-residual", depth=20),
        Member("bias-regularised", named("plain", depth=20), bias_regularisation.penalty(images.name)),
    )
    return protocol.study(size, networks, dict.fromkeys(COLUMNS), data=images)


FIGURE = Figure(
    "demo",
    "Four kinds of 20-layer networks on handwritten digits",
    source="orhan2018 §2.3",
    sizes=Scales(runs=(2, 10, 20, 50), epochs=(2, 30, 60, 100)),
    study=study,
    draw={
        "training": Curves(
            "train_accuracy", "mean_overlap", "linear_dependence", title="20-layer networks on handwritten digits"
        )
    },
    claims={
        "training/residual-faster-than-plain": claim(
            "Residual networks train faster than plain ones", faster("residual", "plain") > 0
        ),
        "training/hyper-faster-than-residual": claim(
            "Hyper-residual networks train faster than residual ones", faster("hyper-residual", "residual") > 0
        ),
        "training/bias-faster-than-plain": claim(
            "Bias regularisation alone, without skips, trains faster than plain",
            faster("bias-regularised", "plain") > 0,
            source="orhan2018 §2.6",
        ),
        "training/residual-less-dependent": claim(
            "Units of residual networks are less linearly dependent than those of plain ones",
            larger("linear_dependence", "residual", "plain") < 0,
            source="orhan2018 §2.1, §2.4",
        ),
    },
)
