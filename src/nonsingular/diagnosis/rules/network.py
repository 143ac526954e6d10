"""Rules over one look at the network: signals, gradients, units, representations, outputs, curvature."""

from __future__ import annotations

from nonsingular.diagnosis.records import Look
from nonsingular.diagnosis.rules.rule import Rule, certain, decades, share


def _inputs_scale(look: Look) -> str:
    if look.input_norm > 10:
        return f"The inputs' root mean square is {look.input_norm:.3g}{_to_about_1(look, '')}."
    sizes = [look.input_norm, *(layer.signal for layer in look.layers)]
    steps = [(b / a, layer.name) for a, b, layer in zip(sizes, sizes[1:], look.layers, strict=False) if a > 0 and b > 0]
    factor, where = max(steps, default=(0.0, ""))
    if factor > 5:
        return (
            f"The signal grows most at {where}, {factor:.2g}-fold: divide what is summed there by its number or norm."
        )
    return ""


def _to_about_1(look: Look, why: str) -> str:
    """What to do about the scale of inputs: by whose scaling they have it."""
    if look.scaling:
        return f", by --scaling {look.scaling}: {why}try --scaling standardised"
    return f": {why}scale them to about 1"


def which_parameters(look: Look) -> str:
    """The first names of parameters that no step moves, by why."""
    frozen, unused, zero = (
        [p.name for p in look.parameters if getattr(p, what)] for what in ("frozen", "unused", "zero_gradient")
    )
    words = [
        f"{word}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
        for word, names in (("frozen", frozen), ("not reached by the loss", unused), ("zero gradient", zero))
        if names
    ]
    hint = ". Frozen parameters are right where they were trained before." if frozen else "."
    return "; ".join(words) + hint


def _killers(look: Look) -> str:
    killers = [n for n, (before, after, _) in look.norms.items() if after < 1e-4 * before]
    if killers:
        return f"Normalisation {killers[0]} removes what tells samples apart: it has too few values to normalise over."
    if look.input_norm < 0.05:
        return f"The inputs' root mean square is {look.input_norm:.2g}{_to_about_1(look, 'biases drown them; ')}."
    plain = sum(layer.bypassed is False for layer in look.layers)
    return f"{plain} of {len(look.layers)} layers have no connection that leads around them."


def treatments_for(rule: Rule, look: Look | None) -> tuple[str, ...]:
    """Those of a rule's that there is something to treat for: sigmoids are replaced where there are any."""
    replaceable = look is not None and _sigmoids(look) > 0
    return tuple(t for t in rule.treatments if replaceable or t != "replace_sigmoids")


def _sigmoids(look: Look) -> int:
    """How many hidden layers end in one."""
    return sum(layer.activation == "sigmoid" for layer in look.layers[:-1])


def _squashed(look: Look) -> str:
    hidden, sigmoids = len(look.layers) - 1, _sigmoids(look)
    if 2 * sigmoids <= hidden:
        return _killers(look)
    return (
        f"{sigmoids} of {hidden} hidden layers end in a sigmoid, whose slope is at most 1/4 and whose outputs all "
        f"have one sign: rectifiers (nn.ReLU) between layers pass on more. {_killers(look)}"
    )


def _narrowest(look: Look) -> str:
    classes = look.outputs.outputs
    narrow = [layer for layer in look.layers[:-1] if layer.units < classes - 1 and not layer.bypassed]
    if not narrow:
        return ""
    worst = min(narrow, key=lambda layer: layer.units)
    return f"{worst.name} has {worst.units} units for {classes} classes: this bottleneck is too narrow, widen it."


SPREAD = ("spread over samples", lambda layer: layer.spread)
GRADIENT = ("gradient norm", lambda layer: layer.gradient)

HALF_A_DECADE = (
    0.5  # of a first loss, which a readout undoes in its first steps, as of sums over the neighbours in a graph
)
FIVE_TIMES = 0.7  # decades of spread, which products of a dozen factors drawn from N(0, 1) stay below, and learn

RULES: tuple[Rule, ...] = (
    Rule(
        "exploding-signal", "overflow",
        "Some layer's numbers leave the range of floating point; nothing behind it can be computed.",
        "He et al. 2015, section 2.2; li2018, gradient identity",
        ("reinitialise", "insert_normalisation", "rescale_input", "shrink_branches"), certain(1.0),
        material=0.5,
    ),
    Rule(
        "identical-features", "copies",
        "Units with the same incoming and outgoing weights get the same gradient, so they stay the same for ever and "
        "the layer is as wide as the number of different units.",
        "blumenfeld2020, section 2 and figure 1",
        ("break_symmetry", "reinitialise"), lambda v: 1 - 1 / v,
        detail=("different units, share", lambda layer: layer.distinct),
        material=3.5,
    ),
    Rule(
        "eliminated-units", "eliminated",
        "A unit without incoming weights is at an elimination singularity: its response is constant, the loss does not "
        "depend on its outgoing weights, and no gradient leads away from there.",
        "orhan2018, section 2.1",
        ("revive_units", "add_skips", "reinitialise"), share,
        detail=("share of units eliminated", lambda layer: layer.eliminated),
        material=0.05,
    ),
    Rule(
        "dead-units", "dead",
        "A rectified unit whose input is negative for every sample passes neither signal nor gradient, so nothing it "
        "is made of will change.",
        "orhan2018, section 2.7 and figure 7b (zero responses)",
        ("reset_biases", "insert_normalisation", "reinitialise", "add_skips"), share,
        detail=("share of units dead", lambda layer: layer.dead),
        material=0.2,
    ),
    Rule(
        "saturated-units", "saturated",
        "At the bounds of tanh or sigmoid the slope is zero: the response says little and no gradient passes.",
        "Glorot and Bengio 2010, section 3",
        ("reinitialise", "insert_normalisation", "rescale_input"), share,
        detail=("share of responses at a bound", lambda layer: layer.saturated),
        material=0.2,
    ),
    Rule(
        "overlap", "twins",
        "Two units with the same incoming weights are at an overlap singularity: only the sum of their outgoing "
        "weights matters, and the difference has no gradient.",
        "orhan2018, section 2.1 and figure 4d",
        ("break_symmetry", "add_skips", "reinitialise"), lambda v: v / 2,
        detail=("different units, share", lambda layer: layer.distinct),
        material=0.05,
    ),
    Rule(
        "linear-dependence", "missing-rank",
        "Incoming weights that are linearly dependent leave directions of the layer's output unused, and along the "
        "combinations of outgoing weights that cancel the loss is flat.",
        "orhan2018, section 2.1 and figure 4e",
        ("reinitialise", "add_skips", "break_symmetry"), share,
        detail=("missing directions, share", lambda layer: layer.missing_rank),
        material=0.1,
    ),
    Rule(
        "vanishing-signal", "signal-decades",
        "What tells samples apart shrinks from layer to layer, so the last layers see nearly the same input for every "
        "sample and have nothing to learn from.",
        "blumenfeld2020, section 3; Schoenholz et al. 2017",
        ("replace_sigmoids", "add_skips", "insert_normalisation", "reinitialise"), decades, sign=-1, detail=SPREAD,
        material=1, remark=_squashed,
    ),
    Rule(
        "vanishing-signal", "blind",
        "All samples look alike behind these layers: their mean has outgrown what tells them apart.",
        "blumenfeld2020, section 3; Schoenholz et al. 2017",
        ("replace_sigmoids", "add_skips", "insert_normalisation", "reinitialise"), decades, detail=SPREAD,
        material=1, remark=_squashed,
    ),
    Rule(
        "exploding-signal", "signal-decades",
        "Every layer, or every residual sum, makes the signal larger: the outputs are huge before anything is learnt "
        "and a small step of an early weight changes them by more than the loss can follow.",
        "He et al. 2015, section 2.2; blumenfeld2020, section 3 (Fixup)",
        ("reinitialise", "insert_normalisation", "shrink_branches"), decades, detail=SPREAD,
        material=1,
    ),
    Rule(
        "vanishing-gradient", "gradient-decades",
        "The gradient shrinks on its way back, so early layers hardly move while late ones fit what those pass on.",
        "orhan2018, section 2.8 and figure 6; li2018, gradient identity",
        ("replace_sigmoids", "add_skips", "insert_normalisation", "reinitialise"), decades, detail=GRADIENT,
        material=1, remark=_squashed,
    ),
    Rule(
        "exploding-gradient", "gradient-decades",
        "The gradient grows on its way back: a step that suits the last layers throws the first ones far off.",
        "li2018, gradient identity; Yang et al. 2019 (batch normalisation without skips)",
        ("add_skips", "reinitialise", "insert_normalisation"), decades, sign=-1, detail=GRADIENT,
        material=1, remark=_killers,
    ),
    Rule(
        "singular-representation", "collapse",
        "The hidden representation has fewer directions than the targets need: no readout can tell the classes apart.",
        "oyedotun2021, figures 5 to 8",
        ("add_skips", "insert_normalisation", "reinitialise"), lambda v: min(1.0, 1 - 10**-v),
        detail=("directions", lambda layer: layer.directions),
        material=0.3, remark=_narrowest,
    ),
    Rule(
        "saturated-output", "output",
        "The softmax is sure of itself before anything is learnt: the loss is far above that of equal odds, and "
        "training first has to undo it.",
        "orhan2018, protocol (the scale of the inputs decides); Glorot and Bengio 2010",
        ("rescale_input", "shrink_embeddings", "zero_readout", "insert_normalisation"), lambda v: min(1.0, v / 2),
        material=HALF_A_DECADE, remark=_inputs_scale,
    ),
    Rule(
        "saturated-output", "output-scale",
        "The outputs spread far beyond the targets before anything is learnt: the squared error and its gradient are "
        "huge, and training first has to shrink them.",
        "orhan2018, protocol (the scale of the inputs decides); LeCun et al. 1998, section 4.3",
        ("rescale_input", "shrink_embeddings", "zero_readout", "insert_normalisation"), lambda v: min(1.0, v / 2),
        material=FIVE_TIMES, remark=_inputs_scale,
    ),
    Rule(
        "untrained-parameters", "untrained",
        "No gradient reaches these parameters (frozen, detached, unused, or behind something dead): they stay as they "
        "are.",
        "orhan2018, section 2.1 (flat directions)",
        ("unfreeze",), share,
        material=0.01, remark=which_parameters,
    ),
    Rule(
        "degenerate-curvature", "flat",
        "Nearly all directions of the loss are flat: gradients there are small and steps lead nowhere.",
        "orhan2018, section 2.3 and figure 3",
        ("add_skips", "bias_targets", "insert_normalisation"), share,
        material=0.99, most=0.995, alone=False,
    ),
)  # fmt: skip

EXPLAINS: dict[str, tuple[str, ...]] = {
    "identical-features": (
        "overlap", "linear-dependence", "singular-representation", "untrained-parameters", "degenerate-curvature",
        "vanishing-gradient", "dead-units",
    ),
    "overlap": ("linear-dependence", "singular-representation"),
    "linear-dependence": ("singular-representation",),
    "eliminated-units": (
        "dead-units", "vanishing-signal", "vanishing-gradient", "untrained-parameters", "singular-representation",
        "linear-dependence",
    ),
    "dead-units": ("vanishing-signal", "vanishing-gradient", "untrained-parameters", "singular-representation"),
    "saturated-units": ("vanishing-gradient", "singular-representation"),
    "vanishing-signal": (
        "vanishing-gradient", "singular-representation", "untrained-parameters", "degenerate-curvature", "dead-units",
    ),
    "exploding-signal": (
        "exploding-gradient", "saturated-output", "saturated-units", "singular-representation", "dead-units",
    ),
    "vanishing-gradient": ("degenerate-curvature", "singular-representation", "untrained-parameters", "dead-units"),
    "exploding-gradient": ("singular-representation",),
    "singular-representation": ("degenerate-curvature",),
}  # fmt: skip
