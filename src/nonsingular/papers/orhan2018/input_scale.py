"""What the scale of the inputs decides: the paper's orderings under several scalings, and what may turn them round.

With Glorot weights and zero biases a network's activations are proportional to its inputs. By what a layer multiplies
their squared norm depends on its skips: 1/2 without, 1 + 1/2 with dense orthogonal ones, and more with the identity,
the more the units agree in sign. Over 20 layers this may make the first logits so large that they take long to
unlearn, or the gradients so small that Adam's epsilon damps its steps. All of this is asked here.

Figure 3's plain, residual and hyper-residual networks are trained (hyper-residual ones add all earlier layers, times
fixed random matrices) and one with dense orthogonal skips, each at six scalings of the inputs: ``unit*K``
(standardised, then divided so that their root mean square norm is K), ``standardised`` by pixel, ``raw``. A network is
called ``residual@unit*10``. A run is a seed.
"""

from dataclasses import replace

from nonsingular.experiments.drawings import OverLayers
from nonsingular.experiments.figure import Figure
from nonsingular.experiments.quantities import SPEED, START, of
from nonsingular.experiments.scales import Scales, Size
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.verbs import across, average, correlation_along, faster, question
from nonsingular.networks import named
from nonsingular.papers.orhan2018.parts import differences, protocol
from nonsingular.papers.orhan2018.parts.input_scalings import (
    CHANGE_OF_GROWTH,
    GROWTH_PER_LAYER,
    NETWORKS,
    PROPORTIONAL,
    SCALINGS,
    SKIPS,
    at,
    everywhere,
    flat,
    run,
    scaling,
    unit,
)
from nonsingular.training import Member

SUM = (1.35, 1.65)
"""Growth of the squared norm where those of skip and layer add up, 1 + 1/2, to a tenth; an identity skip exceeds it."""

ORDERS = (
    ("residual", "plain", "Residual networks train faster than plain ones", "orhan2018 §2.3, figure 3a"),
    (
        "hyper-residual",
        "residual",
        "Hyper-residual networks train faster than residual ones",
        "orhan2018 §2.3, figure 3a",
    ),
    ("orthogonal", "residual", "Dense orthogonal skips work better than identity skips", "orhan2018 §2.7, figure 7a"),
)


def study(size: Size) -> Spec:
    """Networks of figure 3 and the dense orthogonal one, at every input scaling."""
    members = [Member(at(n, s), named(n, depth=size.depth)) for s in SCALINGS for n in NETWORKS]
    start = ("activation_norm", "gradient_norm", "logit_norm", "weight_gradient", "below_epsilon", "input_norm")
    spec = protocol.study(size, members, {"train_accuracy": None} | dict.fromkeys(start, (START,)))
    return replace(spec, settings={"data": {at(n, s): {"scaling": s} for s in SCALINGS for n in NETWORKS}})


FIGURE = Figure(
    "orhan2018/input-scale",
    "What the scale of the inputs decides: growth, first logits, gradients against epsilon",
    source="how the networks of orhan2018 depend on the scale of their inputs, which it does not mention",
    sizes=Scales(depth=(10, 20, 20, 20), runs=(2, 3, 5, 10), epochs=(2, 6, 12, 100)),
    study=study,
    run=run,
    reads=flat,
    draw={
        "scaling": scaling,
        "growth": OverLayers(
            "activation_norm", title="Growth through {layers} layers (proportional to the inputs)", view=unit
        ),
    },
    needs=protocol.STARTED,
    claims={
        **{
            f"{first}-above-{second}/{s}": question(
                f"With {s} inputs: {statement}", faster(at(first, s), at(second, s)) > 0, source=source
            )
            for first, second, statement, source in ORDERS
            for s in SCALINGS
        },
        "growth-plain": question(
            "A plain layer halves the squared norm", average(GROWTH_PER_LAYER, at("plain", "unit")).between(0.4, 0.6)
        ),
        "growth-residual": question(
            "An identity skip makes the squared norm grow faster than by the sum of its parts' squared norms",
            average(GROWTH_PER_LAYER, at("residual", "unit")).between(SUM[1], 2.3),
        ),
        "growth-orthogonal": question(
            "A dense orthogonal skip adds the squared norms of its parts",
            average(GROWTH_PER_LAYER, at("orthogonal", "unit")).between(*SUM),
        ),
        "proportional": question(
            "Growth does not depend on the scale: networks with zero biases are proportional",
            across(CHANGE_OF_GROWTH, [at(n, s) for s in PROPORTIONAL for n in NETWORKS], "max") < 0.01,
        ),
        "large-logits-slow": question(
            "Networks with skips train more slowly the larger their first logits",
            correlation_along(SPEED, of("logit_norm", epoch=START), everywhere(*SKIPS)) < 0,
        ),
        "damped-gradients-slow": question(
            "Plain networks train more slowly the more gradients are below Adam's epsilon",
            correlation_along(SPEED, of("below_epsilon", epoch=START), everywhere("plain")) < 0,
        ),
    },
    differs=(
        "The paper has no such figure: it does not mention how it scaled its images.",
        differences.EVALUATED_ON,
    ),
    labels={"image_norm": "root mean square norm of an image", "scaling": "scaling of the inputs"},
)
