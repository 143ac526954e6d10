"""Figure 6: gradient norms by layer at the start of the first epochs, and what one batch normalisation adds."""

from nonsingular.experiments.drawings import only
from nonsingular.experiments.figure import Curves, Figure, OverLayers
from nonsingular.experiments.quantities import HALF, SPEED, decay, of
from nonsingular.experiments.verbs import average, claim, faster, more, most, question, weighed
from nonsingular.papers.orhan2018 import bias
from nonsingular.papers.orhan2018.bias import BIAS, NORMALISED
from nonsingular.papers.orhan2018.differs import DAMPED, EPOCHS, EVALUATED_ON

NETWORKS = only("residual", "malicious", BIAS, NORMALISED, "plain")

NEARLY = 0.1
"""log10 of gradient norms that are "almost identical": within a quarter. The paper gives no number."""
SIMILAR = 0.3
"""The same for gradients that "behave similarly": within a factor of two."""
FLAT = 1.0
"""log10 of a gradient that neither decays nor grows: through 30 layers by less than a factor of ten."""
NEAR = 0.5
"""Share of the gap between bias-regularised and residual networks that may remain where performance "approaches"."""

FIRST = of("gradient_norm", 1, log=True)  # before it plain and bias-regularised networks are the same
LATER = of("gradient_norm", (1, 2), log=True)

GAP = most(
    {
        "what remains": weighed(SPEED, {"residual": 1 - NEAR, NORMALISED: -1, BIAS: NEAR}),
        "what goes beyond": weighed(SPEED, {NORMALISED: 1, "residual": -1 - NEAR, BIAS: NEAR}),
    }
)

FIGURE = Figure(
    "orhan2018/fig6",
    "Gradient norms by layer in the first epochs; bias regularisation with one batch normalisation",
    source="orhan2018 §2.6, figure 6",
    sizes=bias.SIZES,
    study=bias.study,
    draw={
        "gradients": OverLayers(
            "gradient_norm",
            epochs=bias.SHOWN,
            title="Gradients with respect to activations, {layers} layers",
            view=NETWORKS,
        ),
        "accuracy": Curves("train_accuracy", title="{layers}-layer networks", view=NETWORKS),
    },
    needs=bias.NEEDS,
    claims={
        "residual-no-decay": claim(
            "Gradients do not decay toward early layers in residual networks", average(decay(), "residual") > HALF
        ),
        "malicious-no-decay": claim("Nor do they after the malicious start", average(decay(), "malicious") > HALF),
        **{
            f"{name}-flat": question(
                f"At the start gradients neither decay nor grow tenfold through {words}",
                average(decay(), name).between(-FLAT, FLAT),
            )
            for name, words in (("residual", "residual networks"), ("malicious", "those that start maliciously"))
        },
        "plain-decay": claim(
            "Gradients decay toward early layers in plain networks, to less than half", average(decay(), "plain") < HALF
        ),
        "bias-decay": claim(
            "They do so in bias-regularised networks too, also after the first epoch", average(decay(1), BIAS) < HALF
        ),
        "bias-like-plain": claim(
            "Early in training plain and bias-regularised networks have nearly the same gradients",
            more(FIRST, BIAS, "plain").between(-NEARLY, NEARLY),
        ),
        "residual-larger-later": claim(
            "As training goes on gradients are larger in residual than in plain networks",
            more(LATER, "residual", "plain") > 0,
        ),
        "residual-larger-than-bias": claim(
            "And larger than in bias-regularised networks", more(LATER, "residual", BIAS) > 0
        ),
        "malicious-like-residual": claim(
            "After the malicious start they are like those of residual networks later on",
            more(LATER, "malicious", "residual").between(-SIMILAR, SIMILAR),
            source="orhan2018 §2.6, figure 6a",
        ),
        "bn-helps-bias": claim(
            "One batch normalisation brings bias-regularised networks nearer to residual ones",
            faster(NORMALISED, BIAS) > 0,
        ),
        "bn-near-residual": claim(
            "With it their performance approaches that of residual networks: at most half of the gap remains, or is "
            "gone beyond",
            GAP < 0,
        ),
        "bn-alleviates": claim("It alleviates the vanishing of their gradients", more(decay(), NORMALISED, BIAS) > 0),
    },
    differs=(
        *bias.DIFFERS,
        "At epoch 0 plain and bias-regularised networks are the same, with equal weights and biases of zero: how their "
        "gradients agree is judged after the first epoch, which has 200 steps at every scale but smoke.",
        "The paper says 'approaches', 'similarly' and 'do not decay' without numbers: the regions are ours.",
        "The paper shows CIFAR-100; laptop and overnight scales train on CIFAR-10.",
        EPOCHS,
        DAMPED,
        EVALUATED_ON,
    ),
)
