"""Figure 6: gradient norms by layer before training and after the first epochs, and what one batch normalisation adds.

The networks of figure 5 (30 layers; ``malicious``: residual, with W - I in place of W at the start, against the skip;
``bias-regularised``: plain, its biases pulled to fixed random targets by a penalty), and ``bias-regularised+bn`` with
one batch normalisation at layer 15. Before training ("at the start") and after epochs 1 and 2 the norm of the loss's
gradient with respect to each layer's activations is measured. "First over last" is its log10 at hidden layer 1 less
that at layer 30: below 0 where gradients vanish on the way back. A run is a seed.
"""

from math import log10

from nonsingular.experiments.drawings import Only
from nonsingular.experiments.figure import Curves, Figure, OverLayers
from nonsingular.experiments.quantities import SPEED, first_over_last, of
from nonsingular.experiments.verbs import average, claim, faster, larger, lies_between, question
from nonsingular.papers.orhan2018.parts import bias_regularisation, differences
from nonsingular.papers.orhan2018.parts.bias_regularisation import BIAS, NORMALISED

NETWORKS = Only("residual", "malicious", BIAS, NORMALISED, "plain")

NEARLY = 0.1
"""log10 of gradient norms that are "almost identical": within a quarter. The paper gives no number."""
SIMILAR = 0.3
"""The same for gradients that "behave similarly": within a factor of two."""
FLAT = 1.0
"""log10 of a gradient that neither decays nor grows: through 30 layers by less than a factor of ten."""
NEAR = 0.5
"""Share of the gap between bias-regularised and residual networks below which performance "approaches"."""

FIRST_EPOCH = of("gradient_norm", epoch=1, log=True)  # before it plain and bias-regularised networks are the same
FIRST_TWO = of("gradient_norm", epoch=(1, 2), log=True)

FIGURE = Figure(
    "orhan2018/fig6",
    "Gradient norms by layer in the first epochs; bias regularisation with one batch normalisation",
    source="orhan2018 §2.6, figure 6",
    sizes=bias_regularisation.SIZES,
    study=bias_regularisation.study,
    draw={
        "gradients": OverLayers(
            "gradient_norm",
            epochs=bias_regularisation.SHOWN,
            title="Gradients with respect to activations, {layers} layers",
            view=NETWORKS,
        ),
        "accuracy": Curves("train_accuracy", title="{layers}-layer networks", view=NETWORKS),
    },
    needs=bias_regularisation.NEEDS,
    claims={
        "residual-no-decay": claim(
            "Gradients do not decay toward early layers in residual networks",
            average(first_over_last(), "residual") > log10(1 / 2),
        ),
        "malicious-no-decay": claim(
            "Gradients do not decay toward early layers from the malicious start either",
            average(first_over_last(), "malicious") > log10(1 / 2),
        ),
        **{
            f"{name}-flat": question(
                f"At the start gradients neither decay nor grow tenfold through {words}",
                average(first_over_last(), name).between(-FLAT, FLAT),
            )
            for name, words in (("residual", "residual networks"), ("malicious", "those that start maliciously"))
        },
        "plain-decay": claim(
            "Gradients decay toward early layers in plain networks, to less than half",
            average(first_over_last(), "plain") < log10(1 / 2),
        ),
        "bias-decay": claim(
            "After the first epoch gradients decay to less than half in bias-regularised networks too",
            average(first_over_last(epoch=1), BIAS) < log10(1 / 2),
        ),
        "bias-like-plain": claim(
            "After the first epoch plain and bias-regularised networks have nearly the same gradients",
            larger(FIRST_EPOCH, BIAS, "plain").between(-NEARLY, NEARLY),
        ),
        "residual-larger-later": claim(
            "Once training goes on gradients are larger in residual than in plain networks",
            larger(FIRST_TWO, "residual", "plain") > 0,
        ),
        "residual-larger-than-bias": claim(
            "Once training goes on gradients are larger in residual than in bias-regularised networks",
            larger(FIRST_TWO, "residual", BIAS) > 0,
        ),
        "malicious-like-residual": claim(
            "Once training goes on gradients from the malicious start are like those of residual networks",
            larger(FIRST_TWO, "malicious", "residual").between(-SIMILAR, SIMILAR),
            source="orhan2018 §2.6, figure 6a",
        ),
        "bn-helps-bias": claim(
            "One batch normalisation brings bias-regularised networks nearer to residual ones",
            faster(NORMALISED, BIAS) > 0,
        ),
        "bn-near-residual": claim(
            "With one batch normalisation the performance of bias-regularised networks approaches that of residual "
            "ones: less than half of the gap remains, on either side",
            lies_between(SPEED, NORMALISED, {"residual": 1 - NEAR, BIAS: NEAR}, {"residual": 1 + NEAR, BIAS: -NEAR}),
        ),
        "bn-alleviates": claim(
            "One batch normalisation alleviates the vanishing of gradients, before training",
            larger(first_over_last(), NORMALISED, BIAS) > 0,
        ),
    },
    differs=(
        *bias_regularisation.DIFFERS,
        "At epoch 0 plain and bias-regularised networks are the same, with equal weights and biases of zero: how their "
        "gradients agree is judged after the first epoch, which has 200 steps at every scale but smoke. What one batch "
        "normalisation does for vanishing gradients is judged at epoch 0, of plain networks with and without it.",
        "What the paper says of training as it goes on is judged by the mean after epochs 1 and 2, the last it shows; "
        "the first of them is also what stands for early in training.",
        "The paper says 'approaches', 'similarly' and 'do not decay' without numbers: the regions are ours.",
        differences.EPOCHS,
        differences.damped,
        *differences.IMAGES,
    ),
)
